"""Best of n: draw n responses, keep the one with the highest reward. Estimates from samples, and the exact law.

    means = bon.curve(reward, gold)                  # (b, N) samples each -> (b, N): gold score of best of 1 ... N
    picked = bon.law(logprobs, rewards, n)           # the distribution of the best of n, where all responses are known
    exact.kl(picked, logprobs) <= bon.kl_bound(n)

A tie is broken at random, each of the tied responses as likely as the others.
"""

import math

import torch
from torch import Tensor


def curve(by: Tensor, value: Tensor) -> Tensor:
    """Estimate E[value of the best of n by `by`] for n = 1 ... N from N samples, without bias.

        mean over all subsets of n = sum_k C(k - 1, n - 1) / C(N, n) value_(k),   value_(k) of the k-th smallest `by`

    (used by Nakano et al. 2021, arXiv 2112.09332), since the k-th smallest is the best of a subset where the other
    n - 1 are among the k - 1 below it. Values whose `by` is equal share their places.
    by, value: (..., N). Returns (..., N) float64; entry n - 1 is of best of n.
    """
    by, value = by.double(), value.double()
    N = by.size(-1)
    order = by.argsort(-1)
    by, value = by.gather(-1, order), value.gather(-1, order)
    rises = (by[..., 1:] != by[..., :-1]).long()
    tied = torch.cat([torch.zeros_like(order[..., :1]), rises.cumsum(-1)], -1)  # which group of equals each is in
    zeros = torch.zeros_like(value)
    sums, counts = zeros.scatter_add(-1, tied, value), zeros.scatter_add(-1, tied, torch.ones_like(value))
    value = (sums / counts.clamp(min=1)).gather(-1, tied)
    # From n to n + 1 a weight changes by (k - n) (n + 1) / (n (N - n)): no binomial, which would overflow at N = 1030.
    n, k = torch.arange(1, N, device=by.device)[:, None], torch.arange(1, N + 1, device=by.device)
    change = ((k - n).clamp(min=0) * (n + 1)).double() / (n * (N - n))
    weights = torch.cat([value.new_full((1, N), 1 / N), change]).cumprod(0)  # (n, k)
    return value @ weights.T


def kl_bound(n: int) -> float:
    """Return log n - (n - 1)/n, nats: KL(best of n || policy) where no two responses tie, else an upper bound.

    Stiennon et al. 2020; that it is only a bound: Beirami et al. 2024, arXiv 2401.01879.
    """
    return math.log(n) - (n - 1) / n


def win_rate_bound(n: int) -> float:
    """Return n / (n + 1): how often the best of n beats one more sample by the same reward, if no two tie, else at
    most (a tie counts half)."""
    return n / (n + 1)


def law(logprobs: Tensor, rewards: Tensor, n: int) -> Tensor:
    """Return the exact log-probs of the best of n responses, of a policy whose responses are listed.

        P_n(y) = (F(r_y)^n - F(r_y-)^n) p(y) / p(r = r_y),   F(r) = p(reward <= r)

    logprobs, rewards: (K,) of all outcomes; logprobs are normalised first, so that rounding is not raised to the n-th
    power. Returns (K,) float64. Its `exact.kl` to logprobs is exact also where an outcome stands for many responses of
    one reward, as `exact.outcomes` puts them together: within it the best of n is the policy.
    """
    logprobs = logprobs.double().log_softmax(0)
    possible = logprobs > -torch.inf
    logp = logprobs[possible]
    levels, level = rewards.double()[possible].unique(return_inverse=True)  # ascending
    one = logp.new_full(levels.shape, -torch.inf)
    # log p(r = r_y); by the largest of each level, so that the unlikeliest reward keeps all its digits
    top = one.scatter_reduce(0, level, logp, "amax")
    mass = top + torch.zeros_like(one).scatter_add(0, level, (logp - top[level]).exp()).log()
    F = mass.logcumsumexp(0)
    # F^n - F-^n = F^n (1 - (1 - mass/F)^n), which does not subtract two numbers of almost the same size.
    below = torch.log1p(-(mass - F).exp().clamp(max=1))  # log F-/F
    picked = n * F + torch.log(-torch.expm1(n * below))
    found = torch.full_like(logprobs, -torch.inf)
    found[possible] = picked[level] + logp - mass[level]
    return found
