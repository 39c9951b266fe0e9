"""Sampling and scoring: the two agree, the samples follow the softmax, and masks alone decide what counts."""

import pytest
import torch

from minalign.generate import generate, score
from minalign.sampling import filter_logits, inverse_cdf

STOP, V = 5, 67


def close(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


def seed(n):
    return torch.Generator().manual_seed(n)


def left_padded(*lengths):
    P = max(lengths)
    mask = torch.arange(P) >= P - torch.tensor(lengths)[:, None]
    return torch.where(mask, torch.randint(0, V, mask.shape), 0), mask


def next_logits(model, prompt):
    with torch.no_grad():
        return model.lm_head(model(prompt[None]))[0, -1]


def chi_square(counts, probs):
    """Return how many standard deviations the statistic is above its mean; cells that expect fewer than 5 are put
    together."""
    expected = probs.double() * counts.sum()
    large = expected >= 5
    counts = torch.cat([counts[large].double(), counts[~large].sum()[None].double()])
    expected = torch.cat([expected[large], expected[~large].sum()[None]])
    keep = expected > 0
    assert not counts[~keep].any()  # nothing impossible was drawn
    counts, expected = counts[keep], expected[keep]
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum().item() - freedom) / (2 * freedom) ** 0.5


# ---- samples and scores agree

CASES = {
    "plain": {},
    "one response": {"n": 1},
    "hot": {"temperature": 1.7},
    "cold": {"temperature": 0.5},
    "minimum": {"min_new_tokens": 4},
    "minimum one": {"min_new_tokens": 1},
    "minimum above the maximum": {"min_new_tokens": 20},
    "forbidden": {"forbidden": (torch.arange(V) % 3 == 0)},
    "one token": {"max_new_tokens": 1},
    "all": {"temperature": 0.8, "min_new_tokens": 3, "forbidden": torch.arange(V) > 50},
}


@pytest.mark.parametrize("lengths", [(6,), (6, 6, 6), (6, 2, 1)], ids=["one prompt", "prompts", "padded prompts"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sampled_log_probs_are_the_scored_ones(model, case, lengths):
    prompts, prompt_mask = left_padded(*lengths)
    case = {"n": 8, "max_new_tokens": 9} | case
    samples = generate(model, prompts, STOP, prompt_mask=prompt_mask, generator=seed(0), **case)
    given = {key: case[key] for key in ("temperature", "min_new_tokens", "forbidden") if key in case}
    logprobs, stop_logprobs = score(
        model, prompts, samples.tokens, samples.mask, STOP, prompt_mask=prompt_mask, **given
    )
    assert samples.tokens.shape == (case["n"] * len(lengths), case["max_new_tokens"])
    close(samples.logprobs, logprobs)
    assert samples.logprobs[samples.mask].isfinite().all() and (samples.logprobs[~samples.mask] == 0).all()

    assert torch.equal(samples.stopped, ((samples.tokens == STOP) & samples.mask).any(1))
    assert (samples.tokens[~samples.mask] == STOP).all()  # padding
    minimum = case.get("min_new_tokens", 0)
    assert (samples.mask.sum(1)[samples.stopped] > minimum).all() and (
        samples.mask.sum(1)[~samples.stopped] == case["max_new_tokens"]
    ).all()
    allowed = samples.mask & (torch.arange(case["max_new_tokens"]) >= minimum)
    assert stop_logprobs[allowed].isfinite().all() and (stop_logprobs[samples.mask & ~allowed] == -torch.inf).all()
    taken = allowed & (samples.tokens == STOP)
    assert torch.equal(stop_logprobs[taken], logprobs[taken]) and (stop_logprobs[~samples.mask] == 0).all()
    if "forbidden" in case:
        assert not case["forbidden"][samples.tokens[samples.mask & (samples.tokens != STOP)]].any()


def test_scores_are_the_softmax_of_the_full_pass(model):
    """Against the definition, written out: one row at a time, no prefix, no head on selected positions."""
    prompts, tokens = torch.randint(0, V, (2, 4)), torch.randint(6, V, (6, 5))
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 2, 5, 4])[:, None]
    forbidden = torch.arange(V) < 4
    logprobs, stop_logprobs = score(model, prompts, tokens, mask, STOP, 2, 0.7, forbidden=forbidden)
    for i in range(6):
        with torch.no_grad():
            logits = (
                model.lm_head(model(torch.cat([prompts[i // 3], tokens[i]])[None]))[0, 3:-1] / 0.7
            )  # (5, V): states s_0 .. s_4
        logits[:, forbidden] = -torch.inf
        logits[:2, STOP] = -torch.inf
        expected = logits.log_softmax(-1)
        n = mask[i].sum()
        close(logprobs[i, :n], expected[torch.arange(n), tokens[i, :n]], 1e-5)
        close(stop_logprobs[i, :n], expected[:n, STOP], 1e-5)
        assert not logprobs[i, n:].any() and not stop_logprobs[i, n:].any()


def test_a_row_without_tokens_scores_zero(model):
    mask = torch.tensor([[True, True], [False, False]])
    logprobs, stop_logprobs = score(model, torch.randint(0, V, (1, 3)), torch.randint(6, V, (2, 2)), mask, STOP)
    assert logprobs[0].all() and not logprobs[1].any() and not stop_logprobs[1].any()


def test_tokens_after_the_stop_change_no_bit(model):
    prompts, prompt_mask = left_padded(5, 3)
    samples = generate(
        model,
        prompts,
        STOP,
        n=6,
        max_new_tokens=8,
        temperature=1.5,
        prompt_mask=prompt_mask,
        forbidden=torch.arange(V) > 12,
        generator=seed(3),
    )
    assert 0 < samples.mask.sum() < samples.mask.numel() - 8

    def run(tokens):
        logprobs, stops = score(model, prompts, tokens, samples.mask, STOP, prompt_mask=prompt_mask)
        loss = logprobs.square().sum() + stops.square().sum()
        return logprobs, stops, *torch.autograd.grad(loss, list(model.parameters()))

    junk = torch.where(samples.mask, samples.tokens, torch.randint(0, V, samples.tokens.shape))
    assert all(torch.equal(a, b) for a, b in zip(run(samples.tokens), run(junk)))


def test_the_stop_is_impossible_below_the_minimum(model):
    """Its mass goes to the others: the log-probs of what is left sum to one, in sampling and in scoring."""
    prompt, first = torch.randint(0, V, (1, 4)), torch.arange(V)[:, None]
    every = score(model, prompt, first, torch.ones_like(first, dtype=torch.bool), STOP, min_new_tokens=1)[0][:, 0]
    assert every[STOP] == -torch.inf
    close(every.exp().sum(), torch.tensor(1.0), 1e-5)
    logits = next_logits(model, prompt[0])
    logits[STOP] = -torch.inf
    close(every, logits.log_softmax(0), 1e-5)
    samples = generate(
        model, prompt, STOP, n=300, max_new_tokens=4, min_new_tokens=3, forbidden=torch.arange(V) > 8, generator=seed(0)
    )
    assert not (samples.tokens[:, :3] == STOP).any() and (samples.tokens[:, 3] == STOP).any()


# ---- what is drawn


def test_inverse_cdf_by_hand():
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    uniform = torch.tensor([[0.0, 0.2499, 0.25, 0.9999999]])
    assert inverse_cdf(probs, uniform).tolist() == [[1, 1, 3, 3]]
    assert inverse_cdf(2 * probs, uniform).tolist() == [[1, 1, 3, 3]]  # unnormalised is the same


def test_inverse_cdf_follows_the_probabilities():
    probs = torch.randn(3, 500).mul(2).softmax(-1)
    probs[:, ::7] = 0
    probs /= probs.sum(1, keepdim=True)
    drawn = inverse_cdf(probs, torch.rand(3, 30_000, generator=seed(0)))
    for row, p in zip(drawn, probs):
        assert abs(chi_square(row.bincount(minlength=500), p)) < 4


def test_inverse_cdf_is_the_running_sum_over_all_tokens():
    """Blocks and what is left over, impossible tokens and whole impossible blocks: as one running sum finds them."""
    probs = torch.randn(40, 3000).mul(3).softmax(-1)
    probs[:, 1::2], probs[:5, :600], probs[5:10, 2500:] = 0, 0, 0
    uniform = torch.cat([torch.rand(40, 500), torch.tensor([[0.0, 1 - 2**-24]]).expand(40, 2)], 1)
    cdf = probs.double().cumsum(1)
    wanted = torch.searchsorted(cdf, uniform.double() * cdf[:, -1:], right=True)
    drawn = inverse_cdf(probs, uniform)
    assert (drawn == wanted).float().mean() > 0.999 and (drawn - wanted).abs().max() <= 4  # sums of blocks are fp32
    assert (probs.gather(1, drawn) > 0).all()


def test_inverse_cdf_at_the_joints_of_blocks():
    """Exactly where a block begins, rounding may fall below it: its first tokens are impossible here."""
    probs = torch.rand(500, 2048, generator=seed(0)).view(500, 8, 256)
    probs[:, :, :3] = 0
    probs[:, 1::2] *= 1e-11  # so that sums in float64 are rounded as well
    probs = probs.flatten(1)
    ends = probs.unflatten(1, (8, 256)).sum(2).double().cumsum(1)
    drawn = inverse_cdf(probs, ends[:, :-1] / ends[:, -1:])
    assert (probs.gather(1, drawn) > 0).all()


def test_inverse_cdf_reaches_rare_tokens_at_the_end():
    """In float32 a running sum near one swallows every token below 6e-8."""
    probs = torch.cat([torch.tensor([1 - 1e-5]), torch.full((1000,), 1e-8)])[None]
    drawn = inverse_cdf(probs, 1 - (torch.arange(990, dtype=torch.float64)[None] + 0.5) * 1e-8)
    assert len(drawn.unique()) > 900


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.6},
        {"min_new_tokens": 1},
        {"top_k": 5},
        {"top_p": 0.6},
        {"explore": 0.3},
        {"forbidden": torch.arange(V) < 20},
    ],
    ids=str,
)
def test_first_tokens_follow_the_softmax(model, settings):
    prompts, N = torch.randint(0, V, (2, 4)), 20_000
    samples = generate(model, prompts, STOP, n=N, max_new_tokens=1, generator=seed(1), **settings)
    for i in range(2):
        logits = next_logits(model, prompts[i]) / settings.get("temperature", 1.0)
        banned = settings.get("forbidden", torch.zeros(V, dtype=torch.bool)).clone()
        banned[STOP] |= settings.get("min_new_tokens", 0) > 0
        probs = logits.masked_fill(banned, -torch.inf).softmax(0)
        if "top_k" in settings:
            probs = torch.where(probs >= probs.topk(5).values[-1], probs, 0)
        if "top_p" in settings:
            order = probs.argsort(descending=True)
            probs[order[int((probs[order].cumsum(0) < 0.6).sum()) + 1 :]] = 0
        probs /= probs.sum()
        if "explore" in settings:
            probs = 0.7 * probs + 0.3 * ~banned / (~banned).sum()
        drawn = samples.tokens[i * N : (i + 1) * N, 0]
        assert abs(chi_square(drawn.bincount(minlength=V), probs)) < 4
        close(samples.logprobs[i * N : (i + 1) * N, 0], probs.log()[drawn], 1e-5)


def test_second_tokens_follow_the_softmax(model):
    """Given the first token, with rows that have left the batch meanwhile: the cache belongs to the right rows."""
    prompts, N = torch.randint(0, V, (2, 3)), 20_000
    allowed = torch.zeros(V, dtype=torch.bool)
    allowed[[STOP, 7, 8, 9]] = True
    samples = generate(
        model, prompts, STOP, n=N, max_new_tokens=2, temperature=2.0, forbidden=~allowed, generator=seed(2)
    )
    for i in range(2):
        rows = samples.tokens[i * N : (i + 1) * N]
        for first in (7, 8, 9):
            logits = next_logits(model, torch.cat([prompts[i], torch.tensor([first])])) / 2.0
            probs = logits.masked_fill(~allowed, -torch.inf).softmax(0)
            assert chi_square(rows[rows[:, 0] == first, 1].bincount(minlength=V), probs) < 4


@pytest.mark.parametrize(
    "top_k, top_p", [(0, 1.0), (1, 1.0), (7, 1.0), (500, 1.0), (0, 0.9), (0, 0.3), (0, 1e-4), (20, 0.8)]
)
def test_filters_equal_transformers(top_k, top_p):
    process = pytest.importorskip("transformers.generation.logits_process")
    logits = 3 * torch.randn(50, 200)
    logits[:, 17] = -torch.inf
    theirs = logits
    if top_k:
        theirs = process.TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = process.TopPLogitsWarper(top_p)(None, theirs)
    before = logits.clone()
    assert torch.equal(filter_logits(logits, top_k, top_p), theirs) and torch.equal(logits, before)


def test_explored_log_probs_normalise(model):
    """At every step: (1 - e) p + e / (tokens allowed), summed over the vocabulary, is one."""
    prompt, N = torch.randint(0, V, (1, 4)), 4000
    forbidden = torch.arange(V) > 30
    samples = generate(
        model,
        prompt,
        STOP,
        n=N,
        max_new_tokens=1,
        min_new_tokens=1,
        explore=0.5,
        forbidden=forbidden,
        generator=seed(0),
    )
    drawn = dict(zip(samples.tokens[:, 0].tolist(), samples.logprobs[:, 0].tolist()))
    assert set(drawn) == set(range(31)) - {STOP}  # every allowed token occurs, no other
    assert sum(map(lambda x: 2.718281828459045**x, drawn.values())) == pytest.approx(1, abs=1e-5)
    assert min(drawn.values()) > torch.tensor(0.5 / 30).log()


# ---- randomness and rows


def test_the_same_seed_gives_the_same_samples(model):
    prompts = torch.randint(0, V, (2, 4))
    a, b, c = (generate(model, prompts, STOP, n=4, max_new_tokens=8, generator=seed(s)) for s in (1, 1, 2))
    assert (
        torch.equal(a.tokens, b.tokens) and torch.equal(a.logprobs, b.logprobs) and not torch.equal(a.tokens, c.tokens)
    )
    torch.manual_seed(5)  # without a generator: the global one
    a = generate(model, prompts, STOP, n=4, max_new_tokens=8)
    torch.manual_seed(5)
    assert torch.equal(a.tokens, generate(model, prompts, STOP, n=4, max_new_tokens=8).tokens)


def test_as_many_random_numbers_are_used_whoever_finishes(model):
    prompts, generator = torch.randint(0, V, (2, 4)), seed(4)
    allowed = torch.arange(V) == STOP
    allowed[7:9] = True
    samples = generate(
        model, prompts, STOP, n=5, max_new_tokens=12, temperature=4.0, forbidden=~allowed, generator=generator
    )
    lengths = samples.mask.sum(1)
    assert lengths.unique().numel() > 1
    rest = seed(4)
    torch.rand(12, 10, generator=rest)
    assert torch.equal(torch.rand(3, generator=rest), torch.rand(3, generator=generator))


def test_a_row_does_not_depend_on_the_others(model):
    """Scores of given responses: all prompts together, each prompt alone, each response alone."""
    prompts, prompt_mask = left_padded(6, 3, 5)
    samples = generate(
        model,
        prompts,
        STOP,
        n=4,
        max_new_tokens=8,
        temperature=1.5,
        prompt_mask=prompt_mask,
        forbidden=torch.arange(V) > 20,
        generator=seed(0),
    )
    together = score(model, prompts, samples.tokens, samples.mask, STOP, temperature=1.5, prompt_mask=prompt_mask)
    for i in range(12):
        prompt, row = prompts[i // 4][prompt_mask[i // 4]][None], slice(i, i + 1)
        alone = score(model, prompt, samples.tokens[row], samples.mask[row], STOP, temperature=1.5)
        for a, b in zip(alone, together):
            close(a[0], b[i], 1e-5)


def test_greedy_rows_are_the_same_alone_and_together(make_model):
    model = make_model(std=0.3)
    prompts, prompt_mask = left_padded(6, 3, 1, 5, 4)
    stop = int(generate(model, prompts, STOP, max_new_tokens=9, greedy=True, prompt_mask=prompt_mask).tokens[1, 3])
    together = generate(model, prompts, stop, n=2, max_new_tokens=9, greedy=True, prompt_mask=prompt_mask)
    assert together.stopped.any()
    for i in range(10):
        alone = generate(model, prompts[i // 2][prompt_mask[i // 2]][None], stop, max_new_tokens=9, greedy=True)
        assert torch.equal(alone.tokens[0], together.tokens[i]) and torch.equal(alone.mask[0], together.mask[i])


def test_a_temperature_a_row(model):
    prompts, prompt_mask = left_padded(4, 2)
    temperature = torch.tensor([0.1, 0.5, 1.0, 3.0, 2.0, 1.0, 0.7, 0.2])
    given = dict(prompt_mask=prompt_mask, forbidden=torch.arange(V) > 8)  # few tokens: rows finish at different times
    samples = generate(
        model, prompts, STOP, n=4, max_new_tokens=20, temperature=temperature, generator=seed(0), **given
    )
    assert samples.mask.sum(1).unique().numel() > 2
    for t in temperature.unique():
        rows = temperature == t
        logprobs = score(model, prompts, samples.tokens, samples.mask, STOP, temperature=t.item(), **given)[0]
        close(samples.logprobs[rows], logprobs[rows])
    same = generate(
        model,
        prompts,
        STOP,
        n=4,
        max_new_tokens=7,
        temperature=torch.full((8,), 0.7),
        prompt_mask=prompt_mask,
        generator=seed(1),
    )
    number = generate(
        model, prompts, STOP, n=4, max_new_tokens=7, temperature=0.7, prompt_mask=prompt_mask, generator=seed(1)
    )
    assert torch.equal(same.tokens, number.tokens)


def test_exploration_a_row(model):
    """A share for each row: 0 is the policy itself, 1 is uniform, in the first step (one row of logits a prompt else)
    and later."""
    prompt, explore = torch.randint(0, V, (1, 4)), torch.tensor([0.0, 0.5, 1.0, 0.0])
    samples = generate(model, prompt, STOP, n=4, max_new_tokens=6, explore=explore, generator=seed(0))
    policy = score(model, prompt, samples.tokens, samples.mask, STOP)[0]
    mixed = ((1 - explore[:, None]) * policy.exp() + explore[:, None] / V).log()
    close(samples.logprobs[samples.mask], mixed[samples.mask])


def test_the_longest_response_fills_the_context(model):
    """30 + 3 tokens in a model of 32 positions: the last token is sampled but never read."""
    prompts = torch.randint(0, V, (1, 30))
    samples = generate(model, prompts, STOP, n=3, max_new_tokens=3, min_new_tokens=3, generator=seed(0))
    assert samples.tokens.shape == (3, 3) and samples.mask.all() and not samples.stopped.any()
    close(score(model, prompts, samples.tokens, samples.mask, STOP, 3)[0], samples.logprobs)


def test_an_end_at_once(model):
    """Everything but the stop is forbidden: one token, and no step after it."""
    samples = generate(
        model,
        torch.randint(0, V, (2, 3)),
        STOP,
        n=2,
        max_new_tokens=5,
        forbidden=torch.arange(V) != STOP,
        generator=seed(0),
    )
    assert samples.stopped.all() and samples.mask.sum(1).tolist() == [1] * 4 and not samples.logprobs.any()


def test_sampling_records_no_gradient_and_changes_no_mode(model):
    model.train()
    samples = generate(model, torch.randint(0, V, (1, 3)), STOP, n=2, max_new_tokens=3, generator=seed(0))
    assert model.training and not samples.logprobs.requires_grad and torch.is_grad_enabled()
