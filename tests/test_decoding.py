"""Beam search: transformers' and, where a model is small enough, the enumeration's best responses, in their order."""

import itertools

import pytest
import torch

from minalign.decoding import beam_search
from minalign.errors import UserError
from minalign.generate import StopRule, generate, score
from minalign.model import GPT2, GPT2Config

STOP, PAD, V = 5, 22, 23


def close(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


@pytest.fixture
def model(make_model):
    """A random model in which the likeliest responses end early, late or never: the stop is likely at some states."""
    model = make_model(std=0.4, seed=11, vocab_size=V, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight[STOP] *= 2
    return model


@pytest.fixture
def prompts():
    """Three prompts of different lengths, and their mask."""
    mask = torch.arange(6) >= 6 - torch.tensor([6, 2, 4])[:, None]
    tokens = torch.randint(0, V, mask.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(mask, tokens, 0), mask


def rows_of(beams):
    return [row[m].tolist() for row, m in zip(beams.tokens, beams.mask)]


# ---- transformers, on the same weights

PLAIN = StopRule(STOP, 8)
CASES = {
    "one beam": (PLAIN, 1, 1, 0.0, False),
    "two": (PLAIN, 2, 1, 0.0, False),
    "all of five": (PLAIN, 5, 5, 0.0, False),
    "averages": (PLAIN, 4, 3, 1.0, False),
    "averages, never early": (PLAIN, 4, 3, 1.0, "never"),
    "averages, early": (PLAIN, 4, 3, 1.0, True),
    "long ones": (PLAIN, 3, 3, 2.0, False),
    "long ones, never early": (PLAIN, 3, 3, 2.0, "never"),
    "short ones": (PLAIN, 4, 2, -1.0, False),
    "early": (PLAIN, 3, 2, 0.0, True),
    "not early": (PLAIN, 3, 2, 0.0, False),
    "never early": (PLAIN, 3, 2, 0.0, "never"),
    "minimum": (StopRule(STOP, 8, 3), 4, 2, 0.0, False),
    "minimum of averages": (StopRule(STOP, 8, 5), 4, 4, 1.0, False),
    "minimum above the maximum": (StopRule(STOP, 4, 9), 3, 2, 0.0, False),
    "other ends": (StopRule(STOP, 8, ends=(1, 2, 3, 9)), 3, 3, 0.5, False),
    "likely ends": (StopRule(STOP, 6, ends=(0, 13, 22, 1, 2, 7)), 2, 2, 3.0, "never"),
    "forbidden": (StopRule(STOP, 8, forbidden=(0, 3, 7, 11)), 4, 4, 0.0, False),
    "one token": (StopRule(STOP, 1), 4, 3, 0.0, False),
    "more beams than tokens": (StopRule(STOP, 5), 30, 6, 0.0, False),
}


@pytest.mark.filterwarnings("ignore:Unfeasible length constraints")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_beams_equal_transformers(model, prompts, twin_of, case):
    rule, beams, n, length_penalty, early_stopping = case
    tokens, mask = prompts
    ours = beam_search(
        model, tokens, rule, beams, n, length_penalty=length_penalty, early_stopping=early_stopping, prompt_mask=mask
    )
    theirs = twin_of(model).generate(
        tokens, attention_mask=mask.long(), do_sample=False, num_beams=beams, num_return_sequences=n,
        length_penalty=length_penalty, early_stopping=early_stopping, max_new_tokens=rule.max_new_tokens,
        min_new_tokens=rule.min_new_tokens or None, suppress_tokens=list(rule.forbidden) or None,
        eos_token_id=[STOP, *rule.ends], pad_token_id=PAD, renormalize_logits=True, output_scores=True,
        return_dict_in_generate=True)  # fmt: skip
    longest, ends = theirs.sequences.size(1) - tokens.size(1), torch.tensor([STOP, *rule.ends])
    assert not ours.mask[:, longest:].any()
    for i, row in enumerate(theirs.sequences[:, tokens.size(1) :].tolist()):
        length = next((t + 1 for t, token in enumerate(row) if token in ends), len(row))
        assert ours.tokens[i, ours.mask[i]].tolist() == row[:length]
        assert ours.stopped[i] == (row[length - 1] in ends) and ours.lengths[i] == length - (row[length - 1] == STOP)
    if beams > 1:
        close(ours.scores, theirs.sequences_scores)
    # what is reported belongs together: the score of the whole, the log-probs of its tokens, padding
    close(ours.scores, ours.logprobs.sum(1) / ours.mask.sum(1) ** length_penalty, 1e-5)
    scored = score(model, tokens, ours.tokens, ours.mask, STOP, rule.min_new_tokens, 1.0, mask, rule.forbidden)[0]
    close(ours.logprobs, scored)
    assert (ours.tokens[~ours.mask] == STOP).all()


def test_the_cases_differ(model, prompts):
    """Else the comparison above is worth little: some end, some are cut, and every setting changes what is found."""
    found = {
        name: beam_search(model, prompts[0], rule, beams, n, length_penalty=penalty, early_stopping=early,
                          prompt_mask=prompts[1])
        for name, (rule, beams, n, penalty, early) in CASES.items()
    }  # fmt: skip
    assert any(0 < len(beams.stopped) - beams.stopped.sum() < len(beams.stopped) for beams in found.values())
    assert rows_of(found["not early"]) == rows_of(found["never early"])  # a log-prob only falls
    for one, other in [("averages", "averages, early"), ("long ones", "long ones, never early"),
                       ("early", "not early"), ("two", "one beam")]:  # fmt: skip
        assert rows_of(found[one]) != rows_of(found[other])


def test_one_beam_is_greedy(model, prompts):
    rule = StopRule(STOP, 8, 2, ends=(1, 2), ends_after=3, forbidden=(9,))
    ours = beam_search(model, prompts[0], rule, 1, prompt_mask=prompts[1])
    greedy = generate(model, prompts[0], **rule.settings(), greedy=True, prompt_mask=prompts[1])
    assert torch.equal(ours.tokens, greedy.tokens) and torch.equal(ours.mask, greedy.mask)
    assert torch.equal(ours.stopped, greedy.stopped) and torch.equal(ours.lengths, greedy.lengths)
    close(ours.logprobs, greedy.logprobs)


def test_samples_follow_the_warpers_of_transformers(model):
    """Temperature, then top-k, then the nucleus: each sampled token has the log-prob that transformers' chain gives."""
    process = pytest.importorskip("transformers.generation.logits_process")
    prompt = torch.randint(0, V, (1, 5))
    samples = generate(model, prompt, STOP, 400, 1, temperature=1.6, top_k=12, top_p=0.8)
    with torch.no_grad():
        logits = model.lm_head(model(prompt))[:, -1]
    for warp in (process.TemperatureLogitsWarper(1.6), process.TopKLogitsWarper(12), process.TopPLogitsWarper(0.8)):
        logits = warp(None, logits)
    expected = logits.log_softmax(-1)[0]
    assert set(samples.tokens[:, 0].tolist()) == set((expected > -torch.inf).nonzero().flatten().tolist())
    close(samples.logprobs[:, 0], expected[samples.tokens[:, 0]], 1e-5)


# ---- enumeration


def enumerate_responses(model, prompt, rule):
    """Return {response: log-prob} of all that the rule allows, one forward pass a prefix, no cache."""
    V, found, open_ = model.config.vocab_size, {}, {(): 0.0}
    for t in range(rule.max_new_tokens):
        longer = {}
        for prefix, logp in open_.items():
            with torch.no_grad():
                logits = model.lm_head(model(torch.tensor([prompt + list(prefix)])))[0, -1].double()
            allowed = [v for v in range(V) if v not in rule.forbidden and (v != rule.stop or t >= rule.min_new_tokens)]
            logz = logits[allowed].logsumexp(0)
            for v in allowed:
                ends = v == rule.stop or v in rule.ends and t + 1 >= rule.ends_after or t + 1 == rule.max_new_tokens
                (found if ends else longer)[prefix + (v,)] = logp + (logits[v] - logz).item()
        open_ = longer
    return found


RULES = {
    "plain": StopRule(2, 4),
    "minimum": StopRule(2, 4, 2),
    "ends": StopRule(2, 4, 1, ends=(0, 3), ends_after=3),
    "ends at once": StopRule(2, 4, 0, ends=(4,)),
    "ends too late": StopRule(2, 3, 0, ends=(0, 3), ends_after=4),
    "forbidden": StopRule(2, 5, 2, ends=(1,), ends_after=2, forbidden=(0,)),
}


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_with_enough_beams_the_search_is_exhaustive(make_model, rule, length_penalty):
    """All responses are found, in the order of their scores, and where there are no more, empty rows follow."""
    model = make_model(vocab_size=5, std=0.5, tie_word_embeddings=False)
    prompts = [[1, 3, 0, 4], [2, 2, 1, 0]]
    for early_stopping in ("never", False):  # no search has as many results as beams, so none ends early
        ours = beam_search(model, torch.tensor(prompts), rule, 5**4, 5**4, length_penalty=length_penalty,
                           early_stopping=early_stopping)  # fmt: skip
        for i, prompt in enumerate(prompts):
            expected = enumerate_responses(model, prompt, rule)
            ranked = sorted(expected, key=lambda y: -expected[y] / len(y) ** length_penalty)
            half = slice(i * 5**4, (i + 1) * 5**4)
            found = [tuple(row) for row in rows_of(ours)[half]]
            assert len(ranked) < 5**4 and sorted(found[: len(ranked)]) == sorted(ranked)
            close(ours.scores[half][: len(ranked)].double(),
                  torch.tensor([expected[y] / len(y) ** length_penalty for y in ranked]).double(), 1e-5)  # fmt: skip
            assert (ours.scores[half][:-1] >= ours.scores[half][1:]).all()
            close(ours.logprobs[half].sum(1)[: len(ranked)].double(),
                  torch.tensor([expected[y] for y in found[: len(ranked)]]).double(), 1e-5)  # fmt: skip
            last = [y[-1] == rule.stop or y[-1] in rule.ends and len(y) >= rule.ends_after for y in found if y]
            assert ours.stopped[half].tolist() == last + [False] * (5**4 - len(last))
            assert not ours.mask[half][len(ranked) :].any() and (ours.scores[half][len(ranked) :] == -torch.inf).all()
            assert not ours.logprobs[half][len(ranked) :].any() and not ours.lengths[half][len(ranked) :].any()


def test_few_beams_find_no_better_than_there_is(make_model):
    """On average over models more beams find more; none exceeds the enumeration's best, which eight always reach."""
    rule, best, found = StopRule(2, 4), 0.0, dict.fromkeys((1, 2, 8, 64), 0.0)
    for seed in range(6):
        model = make_model(vocab_size=5, std=0.5, seed=seed, tie_word_embeddings=False)
        best += max(enumerate_responses(model, [1, 3], rule).values())
        for beams in found:
            found[beams] += beam_search(model, torch.tensor([[1, 3]]), rule, beams).scores.item()
    assert found[1] < found[2] - 0.1 and found[2] <= found[8] <= best + 1e-4
    assert abs(found[64] - best) < 1e-4


# ---- diverse beam search

GOLDEN = {  # (beams, n, groups, diversity_penalty, length_penalty, early_stopping)
    (4, 4, 2, 0.7, 0.0, False): [
        ([6, 5], -4.6361), ([20, 5], -4.8517), ([6, 20, 6, 6, 6, 6], -9.9717), ([6, 6, 6, 6, 6, 6], -9.9924),
        ([5], -2.2617), ([18, 20, 5], -6.7387), ([20, 6, 6, 6, 6, 6], -10.0162), ([20, 6, 20, 6, 6, 6], -10.0373)],
    (6, 3, 3, 1.0, 0.0, True): [
        ([5], -2.6321), ([5], -2.6321), ([6, 5], -4.9361), ([5], -2.2617), ([5], -2.2617), ([7, 5], -5.3558)],
    (4, 4, 4, 0.5, 1.0, False): [
        ([6, 20, 6, 6, 6, 6], -1.6619), ([20, 6, 20, 20, 20, 20], -1.8297), ([6, 5], -2.218), ([20, 5], -2.3258),
        ([20, 6, 6, 6, 6, 6], -1.6694), ([6, 20, 20, 20, 20, 20], -1.855), ([5], -2.2617), ([5], -2.2617)],
}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_groups_equal_transformers(case):
    """Transformers 4.46.3, the last series with `num_beam_groups`, printed GOLDEN (torch 2.13, CPU). Its script:

    import torch, transformers as tf
    small = dict(vocab_size=23, n_positions=32, n_embd=24, n_layer=2, n_head=3, tie_word_embeddings=False)
    twin = tf.GPT2LMHeadModel(tf.GPT2Config(**small, bos_token_id=5, eos_token_id=5)).eval()
    state = twin.state_dict()
    with torch.no_grad():
        for i, (name, w) in enumerate(sorted(state.items())):
            w = w.t() if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else w
            w.copy_((torch.arange(w.numel(), dtype=torch.float64) ** 2 * (0.7 + 0.01 * i)).sin().view(w.shape) * 0.5)
        state["transformer.ln_f.bias"][0], state["lm_head.weight"][22, 0], state["lm_head.weight"][5, 0] = 3, -40, 0.3
    prompts = torch.tensor([[1, 2, 3, 4], [22, 9, 8, 7]])
    for beams, n, groups, penalty, length_penalty, early in CASES:
        out = twin.generate(
            prompts, attention_mask=(prompts != 22).long(), max_new_tokens=6, num_beams=beams, do_sample=False,
            num_return_sequences=n, num_beam_groups=groups, diversity_penalty=penalty, length_penalty=length_penalty,
            early_stopping=early, pad_token_id=22, eos_token_id=5, return_dict_in_generate=True, output_scores=True)
        print([[t for t in row if t != 22] for row in out.sequences[:, 4:].tolist()], out.sequences_scores)

    The padding token, which there counts as said by groups that are done, is impossible: nothing else depends on it.
    """
    beams, n, groups, penalty, length_penalty, early = case
    model = GPT2(GPT2Config(23, n_positions=32, n_embd=24, n_layer=2, n_head=3, tie_word_embeddings=False))
    state = model.state_dict()
    with torch.no_grad():
        for i, (_, w) in enumerate(sorted(state.items())):
            w.copy_((torch.arange(w.numel(), dtype=torch.float64) ** 2 * (0.7 + 0.01 * i)).sin().view(w.shape) * 0.5)
        state["transformer.ln_f.bias"][0], state["lm_head.weight"][22, 0], state["lm_head.weight"][5, 0] = 3, -40, 0.3
    prompts = torch.tensor([[1, 2, 3, 4], [22, 9, 8, 7]])
    ours = beam_search(model, prompts, StopRule(5, 6), beams, n, groups, penalty, length_penalty, early, prompts != 22)
    assert rows_of(ours) == [row for row, _ in GOLDEN[case]]
    close(ours.scores, torch.tensor([s for _, s in GOLDEN[case]]))
    plain = score(model, prompts, ours.tokens, ours.mask, 5, prompt_mask=prompts != 22)[0]
    close(ours.logprobs, plain)  # without the penalty, which is in the scores alone
    assert (ours.scores < ours.logprobs.sum(1) / ours.mask.sum(1) ** length_penalty - 0.05).any()


def test_the_first_group_is_a_plain_search(model, prompts):
    """It pays no penalty, whatever there is; with one group, the settings of groups do nothing."""
    settings = {"length_penalty": 0.7, "prompt_mask": prompts[1]}
    plain = beam_search(model, prompts[0], PLAIN, 3, 3, **settings)
    one = beam_search(model, prompts[0], PLAIN, 3, 3, groups=1, diversity_penalty=2.0, **settings)
    assert rows_of(plain) == rows_of(one) and torch.equal(plain.scores, one.scores)
    many = beam_search(model, prompts[0], PLAIN, 9, 9, groups=3, diversity_penalty=0.4, **settings)
    for i in range(3):
        found = list(zip(rows_of(many)[9 * i : 9 * i + 9], many.scores[9 * i : 9 * i + 9]))
        for row, value in zip(rows_of(plain)[3 * i : 3 * i + 3], plain.scores[3 * i : 3 * i + 3]):
            assert any(row == other and abs(value - s) < 1e-5 for other, s in found)
    assert len(set(map(tuple, rows_of(many)))) > len(set(map(tuple, rows_of(plain))))


# ---- the corners


def test_ties_go_to_the_better_beam_and_the_lower_id(model):
    """All tokens equally likely: what is found is the beginning of the dictionary."""
    with torch.no_grad():
        model.lm_head.weight.zero_()
    rule = StopRule(0, 3, 3, forbidden=(2,))
    ours = beam_search(model, torch.tensor([[1, 4], [7, 3]]), rule, 24, 24)
    words = list(itertools.islice(itertools.product([v for v in range(V) if v not in (0, 2)], repeat=3), 24))
    assert rows_of(ours) == 2 * [list(word) for word in words]
    mixed = beam_search(model, torch.tensor([[1, 4]]), StopRule(1, 3), 4, 4)  # the shorter, the likelier
    assert rows_of(mixed) == [[1], [0, 1], [0, 0, 0], [0, 0, 1]]


def test_a_prompt_alone_and_in_a_batch_find_the_same(model, prompts):
    tokens, mask = prompts
    settings = {"beams": 6, "n": 4, "groups": 2, "diversity_penalty": 0.5, "length_penalty": 0.8}
    together = beam_search(model, tokens, PLAIN, prompt_mask=mask, **settings)
    for i in range(3):
        alone = beam_search(model, tokens[i, mask[i]][None], PLAIN, **settings)
        assert rows_of(alone) == rows_of(together)[4 * i : 4 * i + 4]
        close(alone.scores, together.scores[4 * i : 4 * i + 4], 1e-5)


@pytest.mark.parametrize(
    "settings, text",
    [
        ({"n": 5}, "n = 5"),
        ({"n": 0}, "n = 0"),
        ({"groups": 3, "diversity_penalty": 1.0}, "3 groups"),
        ({"groups": 2}, "diversity_penalty > 0"),
        ({"diversity_penalty": -1.0}, "diversity_penalty > 0"),
        ({"early_stopping": "soon"}, "'soon'"),
        ({"rule": StopRule(STOP, 4, 0, forbidden=tuple(range(V)))}, "all 23 tokens"),
        ({"rule": StopRule(STOP, 4, 1, forbidden=tuple(v for v in range(V) if v != STOP))}, "all 23 tokens"),
    ],
)
def test_impossible_searches_are_errors(model, prompts, settings, text):
    with pytest.raises(UserError, match=text):
        beam_search(model, prompts[0], settings.pop("rule", PLAIN), 4, **settings)


def test_a_rule_that_leaves_only_the_stop_finds_one_response(model, prompts):
    rule = StopRule(STOP, 4, 0, forbidden=tuple(v for v in range(V) if v != STOP))
    ours = beam_search(model, prompts[0], rule, 3, 2, prompt_mask=prompts[1])
    assert rows_of(ours) == [[STOP], [], [STOP], [], [STOP], []]
    assert ours.stopped.tolist() == [True, False] * 3 and ours.lengths.tolist() == [0] * 6
    assert ours.scores.tolist() == [0.0, -torch.inf] * 3
