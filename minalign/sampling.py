"""From logits to the next token: filters, temperature, exploration, and one random number a row.

    probs = sampled_from(logits, banned, temperature, explore, top_k, top_p)     # (b, V)
    drawn = inverse_cdf(probs, uniform)                                          # (b, n), one per number in uniform

Shapes: b rows, n draws from each, V vocabulary.
"""

import torch
from torch import Tensor


def filter_logits(logits: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Set to -inf what top-k and then nucleus (top-p, Holtzman et al. 2020) sampling leave out.

    logits: (B, V). top_k: 0 = off. top_p: 1.0 = off.
    """
    if top_k:
        least = logits.topk(min(top_k, logits.size(-1))).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of everything more likely
        drop = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, before >= top_p)  # back to vocabulary order
        logits = logits.masked_fill(drop, -torch.inf)
    return logits


BLOCK = 256  # tokens that `inverse_cdf` adds up at once


def inverse_cdf(probs: Tensor, uniform: Tensor) -> Tensor:
    """Draw from each row of probs (b, V) once per number in uniform (b, n) in [0, 1); returns (b, n) int64.

    One uniform a draw, where torch.multinomial makes V random numbers a row. First a block of tokens is found by the
    running sum of the blocks' masses, then the token in it: a running sum over all V is 15 times as slow on a CPU. The
    sums run in float64: in float32 one near 1 loses every token below 1e-7.
    """
    if probs.device.type == "mps":  # has no float64
        return inverse_cdf(probs.cpu(), uniform.cpu()).to(probs.device)
    V, whole = probs.size(1), probs.size(1) // BLOCK
    full, rest = probs.split([whole * BLOCK, V - whole * BLOCK], 1)
    masses = torch.cat([full.unflatten(1, (whole, BLOCK)).sum(2), rest.sum(1, keepdim=True)], 1).double()
    ends = masses.cumsum(1)
    at = uniform.double() * ends[:, -1:]
    block = torch.searchsorted(ends, at, right=True).clamp(max=whole)  # (b, n)
    ids = block[..., None] * BLOCK + torch.arange(BLOCK, device=probs.device)  # (b, n, BLOCK)
    inside = probs.gather(1, ids.clamp(max=V - 1).flatten(1)).view_as(ids).masked_fill(ids >= V, 0)
    inside = inside.cumsum(2, dtype=torch.float64)
    # Rounding must not lead out of the block, to a token that is impossible: not before its first, nor beyond its last.
    at = (at - (ends - masses).gather(1, block)).clamp(min=0).minimum(inside[..., -1] * (1 - 1e-15))
    return block * BLOCK + torch.searchsorted(inside, at[..., None], right=True)[..., 0]


def sampled_from(
    logits: Tensor,
    banned: Tensor | None,
    temperature: float | Tensor,
    explore: float | Tensor,
    top_k: int,
    top_p: float,
) -> Tensor:
    """Return the probabilities (rows, V) that a token is drawn from: see `generate`.

    banned: (V,) bool, impossible tokens. temperature, explore: numbers, or (rows, 1).
    At a large vocabulary each pass over the logits costs as much as a layer: those not in use are skipped.
    """
    if isinstance(temperature, Tensor) or temperature != 1:
        logits = logits / temperature
    if banned is not None:
        logits = logits.masked_fill(banned, -torch.inf)
    probs = filter_logits(logits, top_k, top_p).softmax(-1)
    if isinstance(explore, Tensor) or explore > 0:
        allowed = torch.ones_like(probs[0], dtype=torch.bool) if banned is None else ~banned
        probs = (1 - explore) * probs + explore * allowed / allowed.sum()
    return probs
