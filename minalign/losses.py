"""Every objective as a pure function of tensors. No model, no sampling, no in-place change of an argument.

    part = losses.masked_mean(losses.ppo_policy(new_logprobs, logprobs, advantages, cfg.clip)[0], mask, count)

SFT needs nothing but `masked_mean(-logprobs, mask, count)`. Then come reward models, the KL to the reference,
advantages, PPO, the DPO family, and GFlowNets. Losses are one number an example or a token: the script reduces them,
by a mask and the count of the *global* batch. Functions of a mask ignore what stands where it is False.

Alignment, once for all files: `logprobs[:, t]` is log p(tokens[:, t] | prompt, tokens[:, :t]), the log-prob of a
response's token t; the stop is such a token, and `mask[:, t]` is True up to it and False after it.

Shapes: B examples (responses or pairs), R tokens of a response, K candidates of one prompt; b prompts with n samples
each make B = b n, those of a prompt side by side. Half precision becomes fp32 inside. Differences of up to 1e3 nats
and rows without a real token are finite, and so are their gradients.

GFlowNet notation (Bengio et al. 2021; Hu et al. 2023, arXiv 2310.04363). The state s_t is the prompt and the first t
response tokens. A step appends a token (log_pf) or stops (log_pterm); stopping at s_t earns the reward R(s_t) of that
finished string. States form a tree, so the backward policy is 1. Sampling is right when P(stop at s) = R(s) / Z for
every s. S = R + 1 states s_0 .. s_R.

Two conventions about the ends of a trajectory, which the authors' code (gfn-lm-tuning) gets wrong:
* Where the stop is forbidden (s_0 when the empty response is not allowed), `mask` is False and no reward is needed. A
  floor such as log R(s_0) = -99 instead would make every sub-trajectory from s_0 carry (-99 - log p(stop))^2.
* At the maximal length the stop is forced: it has probability one, so log_pterm is 0 there and the reward of a
  truncated string drops its own log p(stop) factor. Then a policy equal to the base has loss 0 under the base's own
  reward, truncated strings included.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_LOG_RATIO = 60.0  # exponents are cut here: thousands of e^60 still add up in fp32; sampled tokens stay far below


def _full(x: Tensor) -> Tensor:
    """Return x in fp32 where it is in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def masked_mean(x: Tensor, mask: Tensor, count: Tensor | float | None = None) -> Tensor:
    """Return sum(x where mask) / count, a scalar.

    x, mask: any one shape. count: of the global batch, over accumulation steps and processes; default that of mask;
    at least 1, so that a batch without a real token gives 0.
    """
    total = torch.where(mask, _full(x), 0).sum()
    return total / torch.as_tensor(mask.sum() if count is None else count).clamp(min=1)


# ------------------------------------------------------------------------------------------------- reward models


def pairwise(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Return -log sigmoid(chosen - rejected - margin), Bradley-Terry (Ouyang et al. 2022, eq. 1).

    chosen, rejected: (B,) scores. margin: what chosen should win by (Touvron et al. 2023, eq. 2). Returns (B,).
    """
    return -F.logsigmoid(_full(chosen) - _full(rejected) - margin)


def best_of_k(scores: Tensor, best: Tensor) -> Tensor:
    """Return -log softmax(scores)[best] (Ziegler et al. 2019, eq. 1).

    scores: (B, K). best: (B,) int64, the candidate that was preferred. Returns (B,); at K = 2 that is `pairwise`.
    """
    return F.cross_entropy(_full(scores), best, reduction="none")


def ranking(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(s_i - s_j) over all pairs i < j of a ranking (Ouyang et al. 2022, eq. 1).

    scores: (B, K), best first. mask: (B, K), True on real candidates. Returns (B,), 0 where there is no pair.
    """
    scores = torch.where(mask, _full(scores), 0)
    pairs = (mask[:, :, None] & mask[:, None, :]).triu(1)  # (B, K, K) i < j
    losses = -F.logsigmoid(scores[:, :, None] - scores[:, None, :])
    return torch.where(pairs, losses, 0).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


# --------------------------------------------------------------------------------------- distance to the reference


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: str) -> Tensor:
    """Estimate KL(policy || ref) from the policy's own samples, a number a token (joschu.net/blog/kl-approx.html).

    With d = log p - log p_ref:   k1 = d   k2 = d^2 / 2   k3 = e^-d - 1 + d
    The means of k1 and k3 are the KL, that of k2 is not; k2 and k3 are never negative. A response's KL is the sum over
    its tokens. In the reward, k1 gives the gradient of that KL. As a loss, the states of a sample taken as given, the
    mean gradient of k2 is that of KL(policy || ref) in each state, k3's is that of KL(ref || policy), k1's is zero.
    logprobs, ref_logprobs: (B, R). kind: k1, k2 or k3. Returns (B, R).
    """
    d = _full(logprobs) - _full(ref_logprobs)
    if kind == "k1":
        return d
    if kind == "k2":
        return d.square() / 2
    assert kind == "k3", kind
    return torch.expm1((-d).clamp(max=MAX_LOG_RATIO)) + d


def adaptive_beta(beta: float, kl: float, target: float, n: int, horizon: float) -> float:
    """Return the next coefficient, beta (1 + e n / horizon), e = clip(kl / target - 1, -0.2, 0.2).

    Ziegler et al. 2019, section 2.2, as in their code, which counts n responses of a batch against the horizon.
    kl: nats a response, mean of the global batch. n: its responses. horizon: 10,000 in the paper.
    """
    return beta * (1 + min(max(kl / target - 1, -0.2), 0.2) * n / horizon)


# ----------------------------------------------------------------------------------------------------- advantages


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Return (x - mean) / sqrt(var + 1e-8), plus the mean again unless shift_mean; 0 where mask is False.

    Ziegler et al. 2019, in code: the variance is the biased one. x: (B, R). Returns (B, R).
    Differs from TRL's masked_whiten, which corrects the variance by n / (n - 1) and does not mask what it returns.
    """
    x = _full(x)
    mean = masked_mean(x, mask)
    var = masked_mean((x - mean).square(), mask)
    whitened = (x - mean) * torch.rsqrt(var + 1e-8)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return generalised advantages and returns (Schulman et al. 2016, eq. 16).

        A_t = delta_t + gamma lam A_{t+1},   delta_t = r_t + gamma V(s_{t+1}) - V(s_t),   returns = A + V

    rewards: (B, R) r_t earned by token t. values: (B, R) V(s_t), of the state in which token t is chosen. Nothing
    follows the last real token, also where it is no stop: V is 0 there. Returns (B, R) twice, not whitened, 0 where
    mask is False.
    """
    rewards, values = torch.where(mask, _full(rewards), 0), torch.where(mask, _full(values), 0)
    advantage = following = torch.zeros_like(values[:, 0])
    backwards = []
    for t in reversed(range(values.size(1))):
        advantage = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * advantage
        following = values[:, t]
        backwards.append(advantage)
    advantages = torch.stack(backwards[::-1], 1)  # (B, R); 0 in right padding, where rewards and values are
    return advantages, advantages + values


def rloo(scores: Tensor, n: int) -> Tensor:
    """Return each score minus the mean of the other n - 1 samples' of its prompt (Ahmadian et al. 2024).

    scores: (b n,), n > 1. Returns (b n,).
    """
    assert n > 1, "leave-one-out needs at least two samples of a prompt"
    grouped = _full(scores).view(-1, n)
    return (grouped - (grouped.sum(1, keepdim=True) - grouped) / (n - 1)).flatten()


def group_advantages(scores: Tensor, n: int, scale: bool = True) -> Tensor:
    """Return (score - mean) / std within the n samples of a prompt: GRPO (Shao et al. 2024, section 4.1.2).

    scale: False leaves out the division, which weighs a prompt more the less its samples differ (Liu et al. 2025).
    scores: (b n,), n > 1. Returns (b n,). As in TRL, the std is the unbiased one, plus 1e-4.
    """
    assert n > 1, "a group needs at least two samples of a prompt"
    grouped = _full(scores).view(-1, n)
    centred = grouped - grouped.mean(1, keepdim=True)
    return (centred / (grouped.std(1, keepdim=True) + 1e-4) if scale else centred).flatten()


# ------------------------------------------------------------------------------------------------------------ PPO


def ppo_policy(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return max(-A rho, -A clip(rho, 1 - clip, 1 + clip)) a token, rho = p / p_old (Schulman et al. 2017, eq. 7).

    logprobs, old_logprobs: (B, R), under the distribution that sampled. advantages: (B, R), or (B, 1) for one a
    response. Returns losses (B, R) and where the clipped term is the larger one (B, R) bool: no gradient there.
    """
    ratio = (_full(logprobs) - _full(old_logprobs)).clamp(max=MAX_LOG_RATIO).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(plain, clipped), clipped > plain


def ppo_value(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return 1/2 max((V - G)^2, (V_clip - G)^2) a token, V_clip = V_old + clip(V - V_old, -clip, clip).

    Ziegler et al. 2019, in code. values, old_values: (B, R). returns: (B, R), G. Returns losses (B, R) and where the
    clipped term is the larger one (B, R) bool.
    """
    values, old_values, returns = _full(values), _full(old_values), _full(returns)
    plain = (values - returns).square()
    clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    return torch.maximum(plain, clipped) / 2, clipped > plain


# ----------------------------------------------------------------------------------------------------- the DPO family


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h) (Rafailov et al. 2023, eq. 7).

        h = (log p(chosen) - log p(rejected)) - (log p_ref(chosen) - log p_ref(rejected))

    All (B,): log-probs of whole responses, *summed* over their tokens, nats. Zeros for the reference: reference-free.
    label_smoothing: e, the share of labels taken to be wrong (cDPO, Mitchell 2023, eq. 3). Returns (B,).
    """
    h = (_full(chosen) - _full(rejected)) - (_full(ref_chosen) - _full(ref_rejected))
    return -(1 - label_smoothing) * F.logsigmoid(beta * h) - label_smoothing * F.logsigmoid(-beta * h)


def ipo(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """Return (h - 1 / (2 beta))^2, with h as in `dpo` (Azar et al. 2024, eq. 17, where beta is tau).

    All (B,): log-probs *averaged* over a response's tokens. The target 1 / (2 beta) does not know how long responses
    are; with sums, a long pair would be at it after a tiny change a token. The paper is silent, its authors confirmed
    to TRL that their results are with averages. Differs from the DPO authors' code, which sums. Returns (B,).
    """
    h = (_full(chosen) - _full(rejected)) - (_full(ref_chosen) - _full(ref_rejected))
    return (h - 1 / (2 * beta)).square()


def simpo(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """Return -log sigmoid(beta (chosen - rejected) - gamma): no reference (Meng et al. 2024, eq. 6).

    chosen, rejected: (B,) log-probs *averaged* over a response's tokens. beta: about 2. gamma: the margin asked for.
    Returns (B,).
    """
    return -F.logsigmoid(beta * (_full(chosen) - _full(rejected)) - gamma)


# ------------------------------------------------------------------------------------------------------- GFlowNets


def whole_logprobs(log_pf: Tensor, log_pterm: Tensor, mask: Tensor) -> Tensor:
    """Return the log-prob of every prefix as a whole response: P(stop at s_t) = prod_{k<t} P_F(w_k|s_k) * pi_T(s_t).

    log_pf: (B, R), 0 in padding. log_pterm: (B, S). mask: (B, S), True on the trajectory's states where stopping is
    allowed. Returns (B, S), 0 where mask is False.
    """
    reached = torch.cat([log_pf.new_zeros(log_pf.size(0), 1), log_pf.cumsum(1)], 1)  # (B, S) log-prob of coming to s_t
    zero = log_pf.new_zeros(())
    return torch.where(mask, log_pterm, zero) + torch.where(mask, reached, zero)


def log_ratios(log_reward: Tensor, log_pf: Tensor, log_pterm: Tensor, mask: Tensor) -> Tensor:
    """Return g(s_t) = log R(s_t) - log P(stop at s_t); at the optimum every g is log Z.

    log_reward: (B, S). The others and what is returned as in `whole_logprobs`.
    """
    return torch.where(mask, log_reward, log_reward.new_zeros(())) - whole_logprobs(log_pf, log_pterm, mask)


def subtb(
    g: Tensor, mask: Tensor, lam: float = 1.0, log_z: Tensor | None = None, total: Tensor | float | None = None
) -> Tensor:
    """Return the modified sub-trajectory balance loss, SubTB(lambda) (Hu et al. 2023, eq. 3; Madan et al. 2023).

    L = sum_{i<j} lambda^(j-i-1) (sum_{k=i}^{j-1} delta_k)^2 / sum_{i<j} lambda^(j-i-1), with
    delta_k = log R(s_k) + log P_F(w_k|s_k) + log pi_T(s_{k+1}) - log R(s_{k+1}) - log pi_T(s_k) = g(s_k) - g(s_{k+1}).
    The inner sum telescopes to g(s_i) - g(s_j). For lambda = 1 the pairs of one trajectory with n states therefore
    add up to n sum g^2 - (sum g)^2 = n sum (g - mean g)^2: a variance, O(R) instead of O(R^2).
    g: (B, S) from `log_ratios`. mask: (B, S). log_z: scalar or (B,), learned log-flow of a root where the stop is
    forbidden; it then stands for g(s_0). Without it such a root takes no part. total: the denominator, `subtb_weight`
    of the whole batch where this is a part of it.
    Returns a scalar; both sums run over the batch. Differs from the paper: that root, and the forced last stop (above).
    """
    if log_z is not None:
        root = torch.zeros_like(mask)
        root[:, 0] = True
        g = torch.where(root, log_z.reshape(-1, 1).expand_as(g), g)
        mask = mask | root
    total = subtb_weight(mask, lam) if total is None else total
    if lam == 1.0:
        n = mask.sum(1)  # (B,) states of each trajectory
        mean = torch.where(mask, g, 0).sum(1) / n.clamp(min=1)
        # Centred before squaring: n sum g^2 - (sum g)^2 would cancel in fp32.
        squares = torch.where(mask, (g - mean[:, None]) ** 2, 0).sum(1)  # (B,)
        return (n * squares).sum() / total
    squares = (g[:, :, None] - g[:, None, :]) ** 2
    return (_pair_weights(mask, lam) * squares).sum() / total


def subtb_weight(mask: Tensor, lam: float = 1.0) -> Tensor:
    """Return sum_{i<j} lambda^(j-i-1) over all trajectories, the denominator of `subtb`; at least 1e-12."""
    n = mask.sum(1)
    weight = (n * (n - 1) / 2).sum() if lam == 1.0 else _pair_weights(mask, lam).sum()
    return weight.clamp(min=1e-12)


def _pair_weights(mask: Tensor, lam: float) -> Tensor:
    t = torch.arange(mask.size(1), device=mask.device)
    distance = t[None, :] - t[:, None]  # (S, S) j - i
    pairs = mask[:, :, None] & mask[:, None, :] & (distance > 0)  # (B, S, S)
    return pairs * lam ** (distance - 1).clamp(min=0)


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
