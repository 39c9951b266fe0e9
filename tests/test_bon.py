"""Best of n: the estimator against every subset and exact fractions, the law against every tuple, and one another."""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from minalign import bon, exact
from minalign.tasks import grammar


def close(a, b, atol=1e-12):
    torch.testing.assert_close(torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64),
                               atol=atol, rtol=0)  # fmt: skip


# -------------------------------------------------------------------------------------------------- the estimator


def over_all_subsets(by, value):
    """Return the means over all subsets of 1 ... N, with every tie's values averaged."""
    found = []
    for n in range(1, len(by) + 1):
        best = []
        for chosen in itertools.combinations(range(len(by)), n):
            tied = [value[i] for i in chosen if by[i] == max(by[j] for j in chosen)]
            best.append(sum(tied) / len(tied))
        found.append(sum(best) / len(best))
    return found


@pytest.mark.parametrize("levels", [1, 2, 4, 1000])
def test_curve_is_the_mean_over_all_subsets(levels):
    torch.manual_seed(levels)
    by, value = torch.randint(levels, (2, 3, 7)), torch.randn(2, 3, 7)
    found = bon.curve(by, value)
    assert found.shape == (2, 3, 7) and found.dtype == torch.float64
    for i, j in itertools.product(range(2), range(3)):
        close(found[i, j], over_all_subsets(by[i, j].tolist(), value[i, j].double().tolist()))
    close(bon.curve(value, value)[..., -1], value.amax(-1))
    close(found[..., 0], value.double().mean(-1))


def test_curve_of_one_sample():
    close(bon.curve(torch.tensor([[2], [5]]), torch.tensor([[7.0], [8.0]])), [[7.0], [8.0]])


def test_curve_does_not_depend_on_the_order_of_ties():
    by, value = torch.tensor([1.0, 0, 1, 0, 1]), torch.arange(5.0)
    for order in itertools.permutations(range(5)):
        close(bon.curve(by[list(order)], value[list(order)]), bon.curve(by, value))


def test_curve_of_1024_samples_against_fractions():
    """Of values 0 ... N - 1 the best of n is n (N + 1) / (n + 1) - 1 in the mean, the German tank problem; and values
    that are 1 for the k worst samples alone, whose share is C(k, n) / C(N, n)."""
    N = 1024
    order = torch.randperm(N)
    found = bon.curve(order, order)
    close(found / N, [float(Fraction(n * (N + 1), n + 1) - 1) / N for n in range(1, N + 1)])
    for k in (1, 500, 1023):
        exactly = [float(Fraction(math.comb(k, n), math.comb(N, n))) for n in range(1, N + 1)]
        close(bon.curve(order, order < k), exactly)


def test_bounds():
    """The numbers of Beirami et al.: nats and win rates of n = 2 ... 128, to the digits that are printed there."""
    nats = {2: 0.1931, 4: 0.6363, 8: 1.2044, 16: 1.8351, 32: 2.497, 64: 3.1745, 128: 3.8598}
    assert all(bon.kl_bound(n) == pytest.approx(value, abs=5.1e-5) for n, value in nats.items())
    assert bon.kl_bound(1) == 0
    assert [round(bon.win_rate_bound(n), 3) for n in (1, 2, 16, 128)] == [0.5, 0.667, 0.941, 0.992]


# --------------------------------------------------------------------------------------------------------- the law


def over_all_tuples(p, rewards, n):
    """Return the probability that each response is the best of n independent ones, ties broken evenly."""
    found = [0.0] * len(p)
    for drawn in itertools.product(range(len(p)), repeat=n):
        best = [i for i in drawn if rewards[i] == max(rewards[j] for j in drawn)]
        for i in best:
            found[i] += math.prod(p[j] for j in drawn) / len(best)
    return found


@pytest.mark.parametrize("rewards", [[0.0, 1, 2, 3, 4], [2.0, 2, 2, 2, 2], [1.0, 0, 1, -3, 0]])
def test_law_is_that_of_all_tuples(rewards):
    p = torch.tensor([0.4, 0.1, 0.3, 0.15, 0.05], dtype=torch.float64)
    for n in (1, 2, 3, 5):
        picked = bon.law(p.log(), torch.tensor(rewards), n)
        expected = over_all_tuples(p.tolist(), rewards, n)
        close(picked.exp(), expected)
        kl = sum(q * math.log(q / x) for q, x in zip(expected, p.tolist()) if q)
        close(exact.kl(picked, p.log()), kl)
        assert kl <= bon.kl_bound(n) + 1e-12


def test_law_of_extreme_probabilities():
    """A best response of probability e^-100 is found n times as often; what cannot happen never is."""
    logprobs = torch.tensor([-100.0, 0.0, -torch.inf, -3.0], dtype=torch.float64)
    logprobs = logprobs - logprobs.logsumexp(0)
    picked = bon.law(logprobs, torch.tensor([9.0, 1.0, 99.0, 0.0]), 1000)
    close((picked - logprobs)[0], math.log(1000), atol=1e-9)
    assert picked[2] == -torch.inf and picked.isnan().sum() == 0
    close(picked.logsumexp(0), 0.0)
    # Of the worst response, p^n: far below what 1 - (1 - p)^n could show.
    close(picked[3] / 1000, logprobs[3], atol=1e-9)


def test_equal_rewards_change_nothing_and_rounding_is_no_mass():
    logprobs = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    for over in (0.0, 1e-6):  # probabilities from float32 sum up to one within 1e-7
        close(bon.law(logprobs + over, torch.ones(3), 512), logprobs)


def test_many_levels_without_ties_reach_the_bound():
    """With k even responses the KL approaches log n - (n - 1)/n from below as k grows."""
    gaps = []
    for k in (10, 100, 1000, 10_000):
        even = torch.full((k,), -math.log(k), dtype=torch.float64)
        gaps.append(bon.kl_bound(8) - exact.kl(bon.law(even, torch.arange(k), 8), even))
    assert all(0 < b < a / 5 for a, b in zip(gaps, gaps[1:])) and gaps[-1] < 1e-3


def test_the_estimate_agrees_with_the_law_on_grammar():
    """Samples of grammar's own distribution: the reward that picks, and another number, of best of 1 ... 32, each
    within 4.5 standard errors."""
    p, texts, reward = grammar.pmf(), list(grammar.sentences()), grammar.reward("words:3")
    rewards = torch.tensor([reward(text) for text in texts], dtype=torch.float64)
    value = torch.tensor([len(text) / 10 for text in texts], dtype=torch.float64)
    drawn = torch.multinomial(p.expand(2000, -1), 32, replacement=True, generator=torch.Generator().manual_seed(0))
    for scored in (rewards, value):
        found = bon.curve(rewards[drawn], scored[drawn])  # (2000, 32)
        laws = [bon.law(p.log(), rewards, n) for n in range(1, 33)]
        exactly = torch.stack([law.exp() @ scored for law in laws])
        se = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - exactly).abs() < 4.5 * se).all()
        assert exactly[31] - exactly[0] > 10 * se.max()  # so that it can tell them apart
    # The mean of 2,000 best of 8 without the estimator, by maxima of blocks.
    best = rewards[drawn].view(-1, 8).amax(1)
    assert abs(best.mean() - laws[7].exp() @ rewards) < 4 * best.std() / len(best) ** 0.5
