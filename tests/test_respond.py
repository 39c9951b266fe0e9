"""Stop rules, responses as text, the distance to the base, the means of an evaluation, entropies."""

import copy
import itertools
import math

import pytest
import torch
from torch.distributions import Categorical

from minalign import respond as responding
from minalign.generate import StopRule, generate, left_pad, score_states, states
from minalign.lora import add_adapter, use
from minalign.respond import Response, likelihoods, measure, respond, text_of

STOP = 5


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


def seed(n):
    return torch.Generator().manual_seed(n)


def train(model, name="policy"):
    """Stand in for training: give the adapter's B, zero at the start, random values."""
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(f"lora_B.{name}"):
                parameter.normal_(0, 0.2)
    return model


# ------------------------------------------------------------------------------------------------------- stop rules


RULES = [
    StopRule(STOP, most, least, ends, after)
    for most, least, (ends, after) in itertools.product(
        (1, 3, 8), (0, 2), (((), 0), ((3,), 0), ((3, 4), 1), ((3, 4), 4), ((3, 4), 8), ((3, 4), 20))
    )
]


@pytest.fixture(scope="module")
def drawn():
    """150 responses under each rule, from a model of 9 tokens, as lists of their real tokens; stopped or not."""
    from minalign.model import GPT2, GPT2Config

    torch.manual_seed(2)
    model = GPT2(GPT2Config(vocab_size=9, n_positions=16, n_embd=16, n_layer=1, n_head=2, initializer_range=0.3))
    found = {}
    for rule in RULES:
        samples = generate(model, torch.tensor([[1, 2], [7, 0]]), n=75, generator=seed(0), **rule.settings())
        rows = [ids[:n] for ids, n in zip(samples.tokens.tolist(), samples.mask.sum(1).tolist())]
        assert samples.lengths.tolist() == [len(r) - (r[-1] == STOP) for r in rows]
        found[rule] = list(zip(rows, samples.stopped.tolist()))
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.settings().values())))
def test_a_sample_is_what_the_rule_makes_of_its_text(rule, drawn):
    """`generate` and `cut` obey one rule: no response given as text ends elsewhere than a sampled one."""
    for r, stopped in drawn[rule]:
        ids = r[:-1] if r[-1] == STOP else r
        assert rule.cut(ids) == r
        by_token = r[-1] in rule.ends and len(r) >= rule.ends_after
        assert stopped == (r[-1] == STOP or by_token)
        assert stopped or len(r) == rule.max_new_tokens
        assert STOP not in r[:-1] and len(r) <= rule.max_new_tokens
        assert not (r[-1] == STOP and len(r) <= rule.min_new_tokens)
        if by_token or not stopped:
            assert rule.cut([*ids, 0, 3, 7]) == r  # a text that goes on is cut there
        assert not any(x in rule.ends and t >= rule.ends_after for t, x in enumerate(r[:-1], 1))


def test_every_kind_of_end_was_drawn(drawn):
    rule = StopRule(STOP, 8, 0, (3, 4), 4)
    ends = {(r[-1] == STOP, r[-1] in rule.ends, stopped) for r, stopped in drawn[rule]}
    assert ends == {(True, False, True), (False, True, True), (False, False, False)}
    assert any(3 in r[:3] for r, _ in drawn[rule])  # passed over: too early to end


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_other_ends_only_cut_what_would_have_been_said(after, make_model):
    """The rows with ends are those without, drawn with the same numbers, up to the first end that counts."""
    model = make_model(vocab_size=9)
    prompts, prompt_mask = left_pad([[1, 2, 6], [7], [8, 8]], 0)
    settings = dict(n=40, max_new_tokens=7, prompt_mask=prompt_mask)
    free = generate(model, prompts, STOP, generator=seed(3), **settings)
    found = generate(model, prompts, STOP, generator=seed(3), ends=(2, 6), ends_after=after, **settings)
    shorter = 0
    for i in range(120):
        whole = free.tokens[i, : free.mask[i].sum()].tolist()
        cut = next((t for t, x in enumerate(whole, 1) if x in (2, 6) and t >= after), len(whole))
        assert found.tokens[i, : found.mask[i].sum()].tolist() == whole[:cut]
        close(found.logprobs[i, :cut], free.logprobs[i, :cut])
        assert not found.logprobs[i, cut:].any() and (found.tokens[i, cut:] == STOP).all()
        shorter += cut < len(whole)
    assert shorter > 20


# ------------------------------------------------------------------------------------------------- responses as text


def test_the_text_is_without_the_stop_but_with_the_end_of_the_sentence(tokenizer):
    ids, (dot,) = tokenizer.encode("Tom lost his lantern"), tokenizer.encode(".")
    assert text_of(tokenizer, [*ids, tokenizer.eot]) == "Tom lost his lantern"
    assert text_of(tokenizer, [*ids, dot]) == "Tom lost his lantern."
    assert text_of(tokenizer, [tokenizer.eot]) == text_of(tokenizer, []) == ""


def test_every_prompt_gets_its_own_responses(tokenizer, make_model):
    """Nearly without chance, each prompt has one response: the greedy one to it alone, whoever shares the batch."""
    model = make_model(vocab_size=tokenizer.n_vocab).eval()
    rule = StopRule(tokenizer.eot, 6)
    prompts = [tokenizer.encode(text) for text in ("Tom", "Anna found it in the snow", "lost his", "market. 42", "at")]
    answers = respond(model, tokenizer, prompts, rule, n=3, temperature=1e-4, generator=seed(0), rows=7)  # 2 at a time
    assert [len(found) for found in answers] == [3] * 5
    said = set()
    for prompt, found in zip(prompts, answers):
        alone = generate(model, torch.tensor([prompt]), greedy=True, **rule.settings())
        ids = alone.tokens[0, : alone.mask.sum()].tolist()
        expected = Response(tuple(ids), text_of(tokenizer, ids), bool(alone.stopped))
        assert found == [expected] * 3
        said.add(expected.tokens)
    assert len(said) > 1


# --------------------------------------------------------------------------------------------- distance to the base


def full_logprob(model, prompt, response, rule, temperature):
    """Return the log-prob of one response, written out: one forward pass, no prefix, no padding."""
    with torch.no_grad():
        logits = model.lm_head(model(torch.tensor([prompt + list(response)])))[0] / temperature
    logits[len(prompt) - 1 : len(prompt) - 1 + rule.min_new_tokens, rule.stop] = -math.inf
    logp = logits.log_softmax(-1)
    return sum(logp[len(prompt) - 1 + t, token].item() for t, token in enumerate(response))


def drawn_from(model, rule, temperature=1.0):
    prompts = [[1, 2, 3, 4], [8], [9, 10]]
    answers = []
    for prompt in prompts:
        samples = generate(
            model, torch.tensor([prompt]), n=5, temperature=temperature, generator=seed(1), **rule.settings()
        )
        rows = zip(samples.tokens.tolist(), samples.mask.sum(1).tolist())
        answers.append([Response(tuple(ids[:n]), "", True) for ids, n in rows])
    return prompts, answers


def test_a_fresh_adapter_is_at_distance_zero(model):
    add_adapter(model, rank=2)
    rule = StopRule(STOP, 8)
    own, base = likelihoods(model, model, *drawn_from(model, rule), rule)
    assert own == base and len(own) == 15


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("full", [False, True], ids=["adapter", "full"])
def test_the_distance_is_that_of_whole_passes(make_model, full, temperature):
    """Of a mixed-length, padded batch, in chunks; the reference: adapter off, or another model."""
    model, rule = make_model(vocab_size=12), StopRule(STOP, 8, min_new_tokens=1)
    base = copy.deepcopy(model)
    if full:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    else:
        add_adapter(model, rank=2)
        train(model)
    prompts, answers = drawn_from(model, rule, temperature)
    assert len({len(r.tokens) for found in answers for r in found}) > 1
    found = likelihoods(model, base if full else model, prompts, answers, rule, temperature, rows=10)
    pairs = [(prompt, r.tokens) for prompt, group in zip(prompts, answers) for r in group]
    expected = torch.tensor([[full_logprob(m, *pair, rule, temperature) for pair in pairs] for m in (model, base)])
    close(torch.tensor(found), expected, 1e-4)
    assert (expected[0] - expected[1]).abs().max() > 0.1


# --------------------------------------------------------------------------------------------- means of an evaluation


def test_means_by_hand(tokenizer, monkeypatch):
    said = [
        [Response((1, 2, 9), "ab", True), Response((1, 2, 9), "ab", True)],
        [Response((1, 9), "a", True), Response((1, 2, 3, 4), "abcd", False)],
        [Response((9,), "", True), Response((2, 2), "bb", False)],
    ]
    monkeypatch.setattr(responding, "respond", lambda *args: said)
    nats = [0.0, 0.0, -1.0, -2.0, -4.5, -8.5], [-1.0, -2.0, -4.0, -6.0, -5.0, -8.0]  # own, the base's
    monkeypatch.setattr(responding, "likelihoods", lambda *args: nats)
    prompts = [tokenizer.encode(text) for text in ("Tom", "Anna", "Tom lost")]
    asked = []

    def size(questions, texts):
        asked.extend(questions)
        return [float(len(text)) for text in texts]

    means, rows = measure(None, None, tokenizer, prompts, None, {"size": size, "one": lambda p, r: [1] * 6}, 2, None)
    assert asked == ["Tom", "Tom", "Anna", "Anna", "Tom lost", "Tom lost"]
    assert means == pytest.approx({
        "eval/size": (2 + 2.5 + 1) / 3,  # means of the prompts: 2, 2.5 and 1
        # their variance is ((1/6)^2 + (4/6)^2 + (5/6)^2) / 2 = 7/12; of a mean of three a third of it
        "eval/size_se": math.sqrt(7 / 12 / 3),
        "eval/one": 1.0, "eval/one_se": 0.0,
        "eval/kl": 10 / 6, "eval/loglik": -26 / 6, "eval/loglik_max": -10 / 3,
        "eval/loglik_token": -(1 / 3 + 2 / 3 + 4 / 2 + 6 / 4 + 5 + 8 / 2) / 6,
        "eval/length": (3 + 3 + 2 + 4 + 1 + 2) / 6, "eval/stop_rate": 4 / 6,
        "eval/distinct": (1 + 2 + 2) / 6,
    })  # fmt: skip
    assert rows[3] == {"prompt": "Anna", "response": "abcd", "stopped": False, "kl": 4.0, "loglik": -6.0,
                       "own_loglik": -2.0, "tokens": 4, "scores": {"size": 4.0, "one": 1}}  # fmt: skip
    assert len(rows) == 6 and [row["kl"] for row in rows] == [1.0, 2.0, 3.0, 4.0, 0.5, -0.5]


def test_one_prompt_has_the_standard_error_of_its_responses(tokenizer, make_model):
    model = make_model(vocab_size=tokenizer.n_vocab)
    rule = StopRule(tokenizer.eot, 4)
    means, rows = measure(model, model, tokenizer, [tokenizer.encode("Tom")], rule,
                          {"score": lambda p, r: [0.0, 1.0] * 4}, 8, seed(0))  # fmt: skip
    assert means["eval/score"] == 0.5 and means["eval/score_se"] == pytest.approx((2 / 7 / 8) ** 0.5)
    one, _ = measure(model, model, tokenizer, [tokenizer.encode("Tom")], rule, {"x": lambda p, r: [1.0]}, 1, seed(0))
    assert math.isnan(one["eval/x_se"])
    assert means["eval/kl"] == 0 and len(rows) == 8 and {row["prompt"] for row in rows} == {"Tom"}
    assert means["eval/stop_rate"] == sum(row["stopped"] for row in rows) / 8
    assert means["eval/distinct"] == len({row["response"] for row in rows}) / 8


# ---------------------------------------------------------------------------------------------------------- entropies


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("least", [0, 2])
def test_entropies_are_those_of_torch_distributions(model, temperature, least):
    """Of every state of a padded batch, s_0 shared by the responses of a prompt; and so are their gradients."""
    add_adapter(model, rank=2)
    train(model)
    prompts, prompt_mask = left_pad([[1, 2, 3], [4]], 0)
    tokens = torch.randint(6, 67, (4, 5))
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 4])[:, None]
    forbidden = torch.arange(67) % 7 == 3
    first, later = states(model, prompts, tokens, prompt_mask)
    logprobs, nats = score_states(
        model, first, later, tokens[..., None], mask, STOP, least, temperature, forbidden, entropy=True
    )
    expected = torch.zeros(4, 5)
    for i, t in mask.nonzero().tolist():
        prefix = prompts[i // 2][prompt_mask[i // 2]]
        logits = model.lm_head(model(torch.cat([prefix, tokens[i, :t]])[None]))[0, -1] / temperature
        banned = forbidden.clone()
        banned[STOP] |= t < least
        choice = Categorical(logits=logits.masked_fill(banned, -math.inf))
        expected[i, t] = choice.entropy()
        if not banned[tokens[i, t]]:
            close(logprobs[i, t, 0], choice.log_prob(tokens[i, t]), 1e-4)
    close(nats, expected, 1e-4)
    assert (nats[mask] > 0).all() and nats[mask].unique().numel() > 8
    weights = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(torch.autograd.grad(nats.sum(), weights), torch.autograd.grad(expected.sum(), weights)):
        close(a, b, 1e-4)


def test_without_entropy_nothing_of_it_is_computed(model):
    first, later = states(model, torch.tensor([[1, 2]]), torch.tensor([[6, 7]]))
    logprobs, nats = score_states(model, first, later, torch.tensor([[[6], [7]]]), torch.ones(1, 2).bool(), STOP)
    assert nats is None and logprobs.shape == (1, 2, 1)


def test_a_uniform_distribution_has_the_entropy_of_its_size(model):
    """By hand: all logits equal. A forbidden id does not count."""
    add_adapter(model, rank=2)
    with torch.no_grad(), use(model, None):
        model.transformer.wte.weight.zero_()
        hidden = torch.randn(3, 24)
        for banned, n in ((None, 67), (torch.arange(67) < 60, 7), (torch.arange(67) > 0, 1)):
            ids = torch.zeros(3, dtype=torch.int64)
            found = model.token_logprobs(hidden, ids, forbidden=banned, entropy=True)[1]
            close(found, torch.full((3,), math.log(n)))


def test_entropies_in_chunks_are_the_same(model):
    hidden, ids = torch.randn(11, 24, requires_grad=True), torch.randint(0, 67, (11, 2))
    forbidden = torch.arange(67) < 3
    outcomes = []
    for budget in (2**27, 67 * 4):
        logp, nats = model.token_logprobs(hidden, ids, 0.8, forbidden, budget, entropy=True)
        assert logp.shape == (11, 2) and nats.shape == (11,)
        loss = nats.sum() + logp[ids >= 3].sum()
        outcomes.append((nats, *torch.autograd.grad(loss, [hidden, model.transformer.wte.weight])))
    for a, b in zip(*outcomes):
        close(a, b)
