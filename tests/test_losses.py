"""GFlowNet losses on a tree small enough to know everything: 4 tokens, at most 3 of them, 85 strings.

Nodes are numbered as in a heap: the root is 0, appending token a to node i gives 4 i + 1 + a. Stopping at node i gives
string i. The policy has one logit an edge.
"""

import math

import pytest
import torch

from minalign import losses

V, R = 4, 3
STRINGS, INNER = 85, 21  # all nodes; those from which one can go on
DEPTH = torch.tensor([0] + [1] * 4 + [2] * 16 + [3] * 64)
PATH = torch.zeros(STRINGS, R + 1, dtype=torch.int64)  # (string, S) nodes from the root to the string, 0 beyond its end
TOKEN = torch.zeros(STRINGS, R, dtype=torch.int64)  # (string, R) tokens on that way
for string in range(STRINGS):
    node = string
    for depth in range(int(DEPTH[string]), 0, -1):
        PATH[string, depth], TOKEN[string, depth - 1] = node, (node - 1) % V
        node = (node - 1) // V


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def policy(logits, empty=True):
    """Return log P_F (21, 4) of every edge and log pi_T (85,) of every stop, which is forced (0) at depth 3."""
    if not empty:
        logits = logits.masked_fill(torch.arange(INNER * (V + 1)).view(INNER, V + 1) == V, -torch.inf)
    logp = logits.log_softmax(1)
    return logp[:, :V], torch.cat([logp[:, V], torch.zeros(STRINGS - INNER)])


def batch(logits, log_reward, strings, empty=True):
    """Return what the losses take for these strings: log_reward, log_pf, log_pterm, mask and lengths."""
    log_pf, log_pterm = policy(logits, empty)
    lengths = DEPTH[strings]
    t = torch.arange(R + 1)
    mask = (t <= lengths[:, None]) & (t >= (0 if empty else 1))
    nodes = PATH[strings]
    steps = torch.where(t[:-1] < lengths[:, None], log_pf[nodes[:, :-1].clamp(max=INNER - 1), TOKEN[strings]], 0)
    return log_reward[nodes], steps, log_pterm[nodes], mask, lengths


def log_probability(logits, empty=True):
    """Return the exact log-prob of all 85 strings, by walking down the tree."""
    log_pf, log_pterm = policy(logits, empty)
    reached = torch.zeros(STRINGS)
    for node in range(1, STRINGS):
        reached[node] = reached[(node - 1) // V] + log_pf[(node - 1) // V, (node - 1) % V]
    return reached + log_pterm


def target(log_reward, empty=True):
    rewards = log_reward.exp()
    if not empty:
        rewards[0] = 0
    return rewards / rewards.sum()


def tv(logits, log_reward, empty=True):
    return (log_probability(logits.detach(), empty).exp() - target(log_reward, empty)).abs().sum().item() / 2


def optimum(log_reward, empty=True):
    """Return the logits that sample in proportion to the reward, from F(s) = R(s) + sum of F(children), and log Z."""
    stop = log_reward.exp()
    if not empty:
        stop[0] = 0
    flow = stop.clone()
    for node in range(STRINGS - 1, 0, -1):
        flow[(node - 1) // V] += flow[node]
    children = torch.arange(1, STRINGS).view(INNER, V)
    return torch.cat([flow[children], stop[:INNER, None]], 1).log(), flow[0].log()


def objective(name, logits, log_z, log_reward, strings, empty=True):
    *terms, mask, lengths = batch(logits, log_reward, strings, empty)
    g = losses.log_ratios(*terms, mask)
    ratio = losses.terminal(g, lengths)
    return {
        "subtb": lambda: losses.subtb(g, mask),
        "subtb with log_z": lambda: losses.subtb(g, mask, log_z=log_z),
        "vargrad": lambda: losses.vargrad(ratio),
        "subtb+vargrad": lambda: losses.subtb(g, mask) + losses.vargrad(ratio),
        "tb": lambda: losses.trajectory_balance(ratio, log_z),
    }[name]()


def naive_subtb(log_reward, log_pf, log_pterm, mask, lam, log_z=None):
    """The formula of the paper, term by term, from the delta_k: no telescoping, no tensors."""
    total = weight = 0.0
    for row in range(len(mask)):
        states = [t for t in range(mask.size(1)) if mask[row, t]]

        def delta(k, row=row):
            if log_z is not None and k == 0:  # the root's flow is learned: log F(s_0) + log P_F(s_1|s_0) - log F(s_1)
                return float(log_z + log_pf[row, 0] + log_pterm[row, 1] - log_reward[row, 1])
            return float(
                log_reward[row, k] + log_pf[row, k] + log_pterm[row, k + 1] - log_reward[row, k + 1] - log_pterm[row, k]
            )

        first = 0 if log_z is not None else states[0]
        for i in range(first, states[-1]):
            for j in range(i + 1, states[-1] + 1):
                w = lam ** (j - i - 1)
                total += w * sum(delta(k) for k in range(i, j)) ** 2
                weight += w
    return total / max(weight, 1e-12)


EVERY = torch.arange(STRINGS)
OBJECTIVES = [
    ("subtb+vargrad", True),
    ("subtb+vargrad", False),
    ("vargrad", True),
    ("vargrad", False),
    ("subtb with log_z", False),
    ("tb", True),
    ("tb", False),
]


@pytest.mark.parametrize("empty", [True, False])
def test_every_loss_is_zero_at_the_closed_form_optimum(empty):
    log_reward = 2 * torch.randn(STRINGS)
    logits, log_z = optimum(log_reward, empty)
    assert tv(logits, log_reward, empty) < 1e-15
    *terms, mask, lengths = batch(logits, log_reward, EVERY if empty else EVERY[1:], empty)
    g = losses.log_ratios(*terms, mask)
    assert (g[mask] - log_z).abs().max() < 1e-12  # "at the optimum every g is log Z"
    assert losses.terminal(g, lengths).sub(log_z).abs().max() < 1e-12
    for lam in (0.0, 0.3, 1.0, 1.7):
        assert losses.subtb(g, mask, lam) < 1e-20
        if not empty:
            assert losses.subtb(g, mask, lam, log_z) < 1e-20
    ratio = losses.terminal(g, lengths)
    assert losses.vargrad(ratio) < 1e-20 and losses.trajectory_balance(ratio, log_z) < 1e-20
    assert losses.trajectory_balance(ratio, log_z + 0.1) == pytest.approx(0.01)
    # And only there.
    worse = logits + 0.01 * torch.randn_like(logits)
    for name, _ in OBJECTIVES:
        if empty or name != "subtb":
            assert objective(name, worse, log_z, log_reward, EVERY[1:], empty) > 1e-7, name


def test_a_policy_equal_to_the_base_has_loss_zero_under_the_base_s_reward():
    base = torch.randn(INNER, V + 1)
    log_reward = log_probability(
        base
    )  # the reward of a truncated string drops its own log p(stop): it is log p(tokens)
    *terms, mask, lengths = batch(base, log_reward, EVERY)
    assert (lengths == R).any() and (lengths < R).any()
    g = losses.log_ratios(*terms, mask)
    assert g.abs().max() < 1e-14
    for name in ("subtb", "vargrad", "subtb+vargrad", "tb"):
        assert objective(name, base, torch.zeros(()), log_reward, EVERY) < 1e-25
    # The other convention keeps that factor. It is then wrong for a policy that is right.
    log_reward[INNER:] += math.log(0.1)
    assert objective("subtb", base, torch.zeros(()), log_reward, EVERY) > 0.1


def train(name, empty, sampled):
    log_reward = torch.randn(STRINGS)
    logits, log_z = torch.zeros(INNER, V + 1, requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [logits]}, {"params": [log_z], "scale": 2.0}])
    noise = torch.Generator().manual_seed(0)
    steps = 500 if sampled else 350
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.2 * group.get("scale", 1.0) * (1 - step / steps)
        strings = EVERY if empty else EVERY[1:]
        if sampled:
            with torch.no_grad():
                strings = log_probability(logits, empty).exp().multinomial(64, replacement=True, generator=noise)
        optimizer.zero_grad()
        objective(name, logits, log_z, log_reward, strings, empty).backward()
        optimizer.step()
    return tv(logits, log_reward, empty), float(log_z.detach()), float(optimum(log_reward, empty)[1])


@pytest.mark.parametrize("name, empty", OBJECTIVES)
def test_full_enumeration_reaches_the_target(name, empty):
    distance, log_z, true_log_z = train(name, empty, sampled=False)
    assert distance < 1e-3
    if name in ("tb", "subtb with log_z"):
        assert log_z == pytest.approx(true_log_z, abs=1e-3)


@pytest.mark.parametrize(
    "name, empty", [("subtb+vargrad", False), ("vargrad", True), ("subtb with log_z", False), ("tb", False)]
)
def test_samples_of_the_policy_reach_the_target(name, empty):
    assert train(name, empty, sampled=True)[0] < 0.02


def random_case(empty=True):
    logits = torch.randn(INNER, V + 1, requires_grad=True)
    return logits, torch.randn(STRINGS), torch.tensor([84, 3, 40, 7, 7, 21, 1] + [0] * empty)


@pytest.mark.parametrize("name, empty", [("subtb", True), *OBJECTIVES])
def test_a_constant_in_log_reward_changes_nothing_but_log_z(name, empty):
    logits, log_reward, strings = random_case(empty)
    learned = name in ("tb", "subtb with log_z")
    outcomes = []
    for constant in (0.0, 5.0):
        logits.grad = None
        loss = objective(name, logits, torch.tensor(0.7 + constant * learned), log_reward + constant, strings, empty)
        loss.backward()
        outcomes.append((loss.detach(), logits.grad))
    torch.testing.assert_close(outcomes[0], outcomes[1], atol=1e-12, rtol=1e-12)
    if learned:  # a log Z that does not follow is punished
        with torch.no_grad():
            stale = objective(name, logits, torch.tensor(0.7), log_reward + 5.0, strings, empty)
        assert (stale - outcomes[0][0]).abs() > 1


@pytest.mark.parametrize("name, empty", [("subtb", True), *OBJECTIVES])
def test_the_order_of_the_batch_does_not_matter(name, empty):
    logits, log_reward, strings = random_case(empty)
    a, b = (objective(name, logits, torch.tensor(0.3), log_reward, s, empty) for s in (strings, strings.flip(0)))
    torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("lam", [0.0, 0.25, 0.9, 1.0, 2.0])
@pytest.mark.parametrize("empty, rooted", [(True, False), (False, False), (False, True)])
def test_subtb_is_the_sum_over_all_pairs_of_the_deltas(lam, empty, rooted):
    logits, log_reward, strings = random_case(empty)
    *terms, mask, _ = batch(logits.detach(), log_reward, strings, empty)
    log_z = torch.tensor(1.3) if rooted else None
    loss = losses.subtb(losses.log_ratios(*terms, mask), mask, lam, log_z)
    assert loss.item() == pytest.approx(naive_subtb(*terms, mask, lam, log_z), rel=1e-12)


def test_small_lambda_is_detailed_balance():
    logits, log_reward, strings = random_case()
    reward, log_pf, log_pterm, mask, _ = batch(logits.detach(), log_reward, strings)
    delta = (reward + log_pterm.roll(-1, 1) - reward.roll(-1, 1) - log_pterm)[:, :-1] + log_pf
    real = mask[:, 1:]
    expected = delta[real].square().mean()
    g = losses.log_ratios(reward, log_pf, log_pterm, mask)
    assert losses.subtb(g, mask, 0.0).item() == pytest.approx(expected.item(), rel=1e-12)
    assert losses.subtb(g, mask, 1e-9).item() == pytest.approx(expected.item(), rel=1e-7)


def test_both_forms_agree_where_they_meet_and_have_the_same_gradient():
    logits, log_reward, strings = random_case()
    gradients = []
    for lam in (1.0, 1.0 + 1e-12):
        *terms, mask, _ = batch(logits, log_reward, strings)
        gradients.append(torch.autograd.grad(losses.subtb(losses.log_ratios(*terms, mask), mask, lam), logits)[0])
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-9)


def test_the_linear_form_keeps_its_digits_in_single_precision():
    g = torch.randn(50, 6) * 0.01
    mask = torch.ones_like(g, dtype=torch.bool)
    exact = losses.subtb(g, mask)
    # Far from zero: n sum g^2 - (sum g)^2 in float32 would lose everything (1000^2 * 6 has steps of 0.5).
    shifted = losses.subtb((g + 1000).float(), mask)
    assert shifted.item() == pytest.approx(exact.item(), rel=0.02)


def test_vargrad_is_twice_reinforce_with_the_mean_as_baseline():
    logits, log_reward, strings = random_case()
    *terms, mask, lengths = batch(logits, log_reward, strings)
    ratio = losses.terminal(losses.log_ratios(*terms, mask), lengths)
    (gradient,) = torch.autograd.grad(losses.vargrad(ratio), logits)

    log_p = log_probability(logits)[strings]
    reward = (log_reward[strings] - log_p).detach()
    (reinforce,) = torch.autograd.grad(-((reward - reward.mean()) * log_p).mean(), logits)
    torch.testing.assert_close(gradient, 2 * reinforce, atol=1e-13, rtol=1e-12)


def test_vargrad_compares_the_samples_of_a_prompt_only():
    ratio = torch.randn(12)
    parts = [ratio[i : i + 4].var(unbiased=False) for i in (0, 4, 8)]
    torch.testing.assert_close(losses.vargrad(ratio, 4), torch.stack(parts).mean())
    torch.testing.assert_close(losses.vargrad(ratio), ratio.var(unbiased=False))
    prompts = torch.tensor([3.0, -50.0, 7.0]).repeat_interleave(4)  # each prompt has a log Z of its own
    torch.testing.assert_close(losses.vargrad(ratio + prompts, 4), losses.vargrad(ratio, 4))


@pytest.mark.parametrize("garbage", [1e30, math.nan, -math.inf])
@pytest.mark.parametrize("lam", [1.0, 0.5])
def test_what_lies_beyond_the_stop_has_no_influence(garbage, lam):
    logits, log_reward, strings = random_case()

    def outcome(value):
        reward, log_pf, log_pterm, mask, lengths = batch(logits, log_reward, strings)
        reward, log_pterm = (torch.where(mask, x, value) for x in (reward, log_pterm))
        g = losses.log_ratios(reward, log_pf, log_pterm, mask)
        loss = losses.subtb(g, mask, lam) + losses.vargrad(losses.terminal(g, lengths))
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    for clean, dirty in zip(outcome(0.0), outcome(garbage)):
        assert torch.equal(clean, dirty)  # to the last bit


@pytest.mark.parametrize("name", ["subtb", "subtb with log_z", "vargrad", "subtb+vargrad", "tb"])
def test_a_forbidden_stop_gives_no_nan(name):
    logits, log_reward, strings = random_case(empty=False)
    log_z = torch.zeros((), requires_grad=True)
    log_reward[0] = -math.inf  # the empty response is worth nothing, and nobody reads it
    assert policy(logits, empty=False)[1][0] == -math.inf
    loss = objective(name, logits, log_z, log_reward, strings, empty=False)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all() and logits.grad.abs().sum() > 0
    assert logits.grad[0, V] == 0


def test_log_z_is_the_flow_of_the_root():
    logits, log_reward, strings = random_case(empty=False)
    *terms, mask, _ = batch(logits.detach(), log_reward, strings, empty=False)
    g = losses.log_ratios(*terms, mask)
    log_z = torch.tensor(0.4, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.subtb(g, mask, 1.0, log_z), log_z)
    pairs = sum(n * (n + 1) / 2 for n in mask.sum(1).tolist())  # the root is one state more
    assert gradient.item() == pytest.approx(2 * (log_z - g[mask]).sum().item() / pairs)
    # One learned number a prompt, repeated for its samples, is the same as each prompt on its own.
    each = torch.tensor([0.4, -1.0]).repeat_interleave(2)
    both = losses.subtb(g[:4], mask[:4], 1.0, each)
    halves = [
        losses.subtb(g[i : i + 2], mask[i : i + 2], 1.0, each[i]) * (n := mask[i : i + 2].sum(1) + 1).mul(n - 1).sum()
        for i in (0, 2)
    ]
    n = mask[:4].sum(1) + 1
    torch.testing.assert_close(both, sum(halves) / (n * (n - 1)).sum())
    # Without it a forbidden root takes no part: whatever stands there.
    other = g.clone()
    other[:, 0] = 99.0
    assert torch.equal(losses.subtb(other, mask), losses.subtb(g, mask))


def test_arguments_stay_as_they_are():
    logits, log_reward, strings = random_case(empty=False)
    *terms, mask, lengths = batch(logits.detach(), log_reward, strings, empty=False)
    before = [x.clone() for x in (*terms, mask)]
    g = losses.log_ratios(*terms, mask)
    kept = g.clone()
    (
        losses.subtb(g, mask, 0.5, torch.tensor(1.0)),
        losses.subtb(g, mask, 1.0, torch.tensor(1.0)),
        losses.vargrad(losses.terminal(g, lengths)),
    )
    assert all(torch.equal(a, b) for a, b in zip(before, (*terms, mask))) and torch.equal(g, kept)
