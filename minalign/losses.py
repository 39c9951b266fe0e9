"""Every objective as a pure function of tensors. No model, no sampling, no in-place change of an argument.

Alignment, once for all files: `logprobs[:, t]` is log p(tokens[:, t] | prompt, tokens[:, :t]), the log-prob of a
response's token t.

GFlowNet notation (Bengio et al. 2021; Hu et al. 2023, arXiv 2310.04363). The state s_t is the prompt and the first t
response tokens. A step appends a token (log_pf) or stops (log_pterm); stopping at s_t earns the reward R(s_t) of that
finished string. States form a tree, so the backward policy is 1. Sampling is right when P(stop at s) = R(s) / Z for
every s. Shapes: B trajectories, S = R + 1 states s_0 .. s_R, R tokens.

Two conventions about the ends of a trajectory, which the reference gets wrong:
* Where the stop is forbidden (s_0 when the empty response is not allowed), `mask` is False and no reward is needed. A
  floor such as log R(s_0) = -99 instead would make every sub-trajectory from s_0 carry (-99 - log p(stop))^2.
* At the maximal length the stop is forced: it has probability one, so log_pterm is 0 there and the reward of a
  truncated string drops its own log p(stop) factor. Then a policy equal to the base has loss 0 under the base's own
  reward, truncated strings included.
"""

import torch
from torch import Tensor


def log_ratios(log_reward: Tensor, log_pf: Tensor, log_pterm: Tensor, mask: Tensor) -> Tensor:
    """Return g(s_t) = log R(s_t) - log P(stop at s_t), where P(stop at s_t) = prod_{k<t} P_F(w_k|s_k) * pi_T(s_t).

    At the optimum every g is log Z. log_reward, log_pterm: (B, S). log_pf: (B, R), 0 in padding. mask: (B, S), True
    on the trajectory's states where stopping is allowed. Returns (B, S), 0 where mask is False.
    """
    reached = torch.cat([log_pf.new_zeros(log_pf.size(0), 1), log_pf.cumsum(1)], 1)  # (B, S) log-prob of coming to s_t
    zero = log_reward.new_zeros(())
    return torch.where(mask, log_reward, zero) - torch.where(mask, log_pterm, zero) - torch.where(mask, reached, zero)


def subtb(g: Tensor, mask: Tensor, lam: float = 1.0, log_z: Tensor | None = None) -> Tensor:
    """Return the modified sub-trajectory balance loss, SubTB(lambda) (Hu et al. 2023, eq. 3; Madan et al. 2023).

    L = sum_{i<j} lambda^(j-i-1) (sum_{k=i}^{j-1} delta_k)^2 / sum_{i<j} lambda^(j-i-1), with
    delta_k = log R(s_k) + log P_F(w_k|s_k) + log pi_T(s_{k+1}) - log R(s_{k+1}) - log pi_T(s_k) = g(s_k) - g(s_{k+1}).
    The inner sum telescopes to g(s_i) - g(s_j). For lambda = 1 the pairs of one trajectory with n states therefore
    add up to n sum g^2 - (sum g)^2 = n sum (g - mean g)^2: a variance, O(R) instead of O(R^2).
    g: (B, S) from `log_ratios`. mask: (B, S). log_z: scalar or (B,), learned log-flow of a root where the stop is
    forbidden; it then stands for g(s_0). Without it such a root takes no part.
    Returns a scalar; both sums run over the batch. Differs from the paper: that root, and the forced last stop (above).
    """
    if log_z is not None:
        root = torch.zeros_like(mask)
        root[:, 0] = True
        g = torch.where(root, log_z.reshape(-1, 1).expand_as(g), g)
        mask = mask | root
    if lam == 1.0:
        n = mask.sum(1)  # (B,) states of each trajectory
        mean = torch.where(mask, g, 0).sum(1) / n.clamp(min=1)
        # Centred before squaring: n sum g^2 - (sum g)^2 would cancel in fp32.
        squares = torch.where(mask, (g - mean[:, None]) ** 2, 0).sum(1)  # (B,)
        return (n * squares).sum() / (n * (n - 1) / 2).sum().clamp(min=1)
    t = torch.arange(g.size(1), device=g.device)
    distance = t[None, :] - t[:, None]  # (S, S) j - i
    pairs = mask[:, :, None] & mask[:, None, :] & (distance > 0)  # (B, S, S)
    weights = pairs * lam ** (distance - 1).clamp(min=0)
    squares = (g[:, :, None] - g[:, None, :]) ** 2
    return (weights * squares).sum() / weights.sum().clamp(min=1e-12)


def clip_ratios(g: Tensor, center: Tensor, limit: float) -> Tensor:
    """Return g with values at most `limit` away from `center`, and the gradient of the unclipped g.

    Under a squared loss this is Huber's idea: what is far off pulls no harder than what is `limit` off. At the optimum
    all g are equal and nothing is clipped, so it stays the optimum.
    g: (B, S). center: (B,). limit: nats. Returns (B, S).
    """
    near = center[:, None] + (g.detach() - center[:, None]).clamp(-limit, limit)
    return g + (near - g.detach())


def terminal(g: Tensor, lengths: Tensor) -> Tensor:
    """Return g at the state where each trajectory stopped: log R(w) - log P(w) of the finished strings, (B,).

    g: (B, S). lengths: (B,) int64, that state's index: the tokens before the stop.
    """
    return g.gather(1, lengths[:, None])[:, 0]


def trajectory_balance(log_ratio: Tensor, log_z: Tensor) -> Tensor:
    """Return the trajectory balance loss (Malkin et al. 2022, eq. 14): mean (log Z + log P(w) - log R(w))^2.

    log_ratio: (B,) log R(w) - log P(w), from `terminal`. log_z: scalar or (B,), learned. Returns a scalar.
    """
    return ((log_z - log_ratio) ** 2).mean()


def vargrad(log_ratio: Tensor, group: int | None = None) -> Tensor:
    """Return the VarGrad loss (Richter et al. 2020; Zhang et al. 2023): the variance of log_ratio within a prompt.

    Trajectory balance with log Z replaced by its estimate from the batch: nothing to learn, and log R may miss any
    constant. On-policy, its gradient is twice that of REINFORCE with reward log R - log P and the mean as baseline.
    log_ratio: (B,) log R(w) - log P(w), the N samples of a prompt side by side. group: N (default: one prompt, B).
    Returns a scalar, the mean over prompts.
    """
    grouped = log_ratio.view(-1, group or log_ratio.numel())  # (prompts, N)
    return ((grouped - grouped.mean(1, keepdim=True)) ** 2).mean()
