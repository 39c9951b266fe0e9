"""Exact numbers for tasks whose right responses can be listed: a policy's distribution, its optimum, their distance.

    ref = exact.string_logprobs(base, prompt, tokens, mask, stop)
    target, invalid = exact.optimum(ref, rewards, beta, invalid_reward)
    exact.distances(target, exact.string_logprobs(policy, prompt, tokens, mask, stop))["tv_valid"]

A distribution is its log-probs of the K listed strings, (K,) float64 on the CPU. They add up to its valid mass; the
rest belongs to everything else a model can write, which is one more outcome, `invalid`. Nothing is sampled.
"""

import torch
from torch import Tensor

from minalign.generate import score
from minalign.model import GPT2


@torch.no_grad()
def string_logprobs(
    model: GPT2,
    prompt: Tensor,
    tokens: Tensor,
    mask: Tensor,
    stop: int,
    min_new_tokens: int = 0,
    temperature: float = 1.0,
    batch: int = 1024,
) -> Tensor:
    """Return the log-prob of each string as a response to a prompt.

    prompt: (1, P). tokens, mask: (K, R), the stop inside where a string ends by it. temperature: divides the logits of
    every token. batch: strings at a time, which bounds memory. Returns (K,).
    """
    parts = [
        score(model, prompt, t, m, stop, min_new_tokens, temperature)[0]
        for t, m in zip(tokens.split(batch), mask.split(batch))
    ]
    return torch.cat([part.cpu().double().sum(1) for part in parts])  # MPS has no float64


def outcomes(logprobs: Tensor) -> Tensor:
    """Return the log-probs of all outcomes, `invalid` as the last: (K,) -> (K + 1,)."""
    # A valid mass of one is above one by rounding half of the time.
    invalid = (1 - logprobs.exp().sum()).clamp(min=0).log()
    return torch.cat([logprobs, invalid[None]])


def optimum(ref_logprobs: Tensor, rewards: Tensor, beta: float, invalid_reward: float) -> tuple[Tensor, float]:
    """Return log p* of the listed strings and p*(invalid), p* = argmax_p E_p[r] - beta KL(p || p_ref).

        p*(y) = p_ref(y) exp(r(y) / beta) / Z   (Rafailov et al. 2023, eq. 4)

    Every invalid string has the same reward, so together they keep their proportions and are one outcome of it:
    p*(invalid) = p_ref(invalid) exp(invalid_reward / beta) / Z.
    ref_logprobs, rewards: (K,). beta: in units of the reward a nat. Returns (K,) and a probability.
    """
    rewards = torch.cat([rewards.double(), torch.tensor([invalid_reward], dtype=torch.float64)])
    log_p = (outcomes(ref_logprobs) + rewards / beta).log_softmax(0)
    return log_p[:-1], log_p[-1].exp().item()


def expected(logprobs: Tensor, rewards: Tensor, invalid_reward: float) -> float:
    """Return the expected reward of a response, invalid ones included."""
    p = outcomes(logprobs).exp()
    return ((p[:-1] * rewards).sum() + p[-1] * invalid_reward).item()


def kl(p: Tensor, q: Tensor) -> float:
    """Return KL(p || q), nats, of log-probs over the same outcomes; infinite where q is 0 and p is not."""
    terms = torch.where(p == -torch.inf, 0, p.exp() * (p - q))  # 0 log 0 = 0
    return terms.sum().item()


def tv(p: Tensor, q: Tensor) -> float:
    """Return the total variation distance of log-probs over the same outcomes, in [0, 1]."""
    return (p.exp() - q.exp()).abs().sum().item() / 2


def distances(target: Tensor, policy: Tensor) -> dict[str, float]:
    """Compare two distributions, (K,) log-probs.

    kl_target_policy, kl_policy_target, tv: over all outcomes, `invalid` is one of them. What lies inside it is not
    seen: these are lower bounds of the distances over everything a model can write. *_valid: given a valid response.
    valid_mass, target_valid_mass: of policy and target.
    """
    t, p = outcomes(target), outcomes(policy)
    t_valid, p_valid = target.log_softmax(0), policy.log_softmax(0)
    return {
        "kl_target_policy": kl(t, p),
        "kl_policy_target": kl(p, t),
        "tv": tv(t, p),
        "kl_target_policy_valid": kl(t_valid, p_valid),
        "kl_policy_target_valid": kl(p_valid, t_valid),
        "tv_valid": tv(t_valid, p_valid),
        "valid_mass": policy.exp().sum().item(),
        "target_valid_mass": target.exp().sum().item(),
    }
