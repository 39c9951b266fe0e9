"""Sample responses, and score given ones. N responses of one prompt encode the prompt once, in both.

Shapes: b prompts, N responses a prompt, B = b * N rows (the N responses of prompt 0 first), P prompt, R response, V
vocabulary. A response's stop token belongs to it: it is in `tokens`, in `mask` and in every log-prob; what follows it
is padding. A row that reaches R tokens without a stop is cut there: `stopped` is False, its mask True throughout.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minalign import dist
from minalign.cache import KVCache, StaticCache
from minalign.compilation import capture
from minalign.losses import whole_logprobs
from minalign.model import GPT2
from minalign.sampling import inverse_cdf, sampled_from

WORTH = 16  # steps from which on a CUDA graph saves more than it takes to record it
CROWD = 0.75  # finished rows leave the batch once less than this share is being written: that copies the cache


def left_pad(sequences: list[list[int]], pad: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return prompts as tokens (b, P), padded on the left, and their mask (b, P), True on real tokens."""
    P = max(map(len, sequences))
    tokens = torch.tensor([[pad] * (P - len(s)) + s for s in sequences], device=device)
    mask = torch.tensor([[False] * (P - len(s)) + [True] * len(s) for s in sequences], device=device)
    return tokens, mask


@dataclass(frozen=True)
class StopRule:
    """When a response ends. A task has one, which every method obeys: `generate(model, prompts, **rule.settings())`."""

    stop: int  # this id always ends a response
    max_new_tokens: int
    min_new_tokens: int = 0  # the stop is impossible before
    ends: tuple[int, ...] = ()  # ids that end a response too, as ends of sentences, and stay part of its text, ...
    ends_after: int = 0  # ... once it has this many tokens, the ending one included
    forbidden: tuple[int, ...] = ()  # ids of probability zero

    def settings(self) -> dict:
        """Return the rule as keyword arguments of `generate`."""
        return dataclasses.asdict(self)

    def cut(self, ids: list[int]) -> list[int]:
        """Return a text's tokens as a response: with the stop, cut where a sampled response would have ended."""
        for t, token in enumerate(ids[: self.max_new_tokens]):
            if token in self.ends and t + 1 >= self.ends_after:
                return ids[: t + 1]
        return (ids + [self.stop])[: self.max_new_tokens]


@dataclass
class Samples:
    """What `generate` returns."""

    tokens: Tensor  # (B, R) int64, padded with the stop
    mask: Tensor  # (B, R) bool, True up to the token that ends the response, itself included
    logprobs: Tensor  # (B, R) nats, under the distribution that sampled; 0 in padding
    stopped: Tensor  # (B,) bool, whether it ended by itself and was not cut at R tokens
    lengths: Tensor  # (B,) int64, its tokens without the stop; an end of a sentence counts


def id_mask(model: GPT2, ids: Sequence[int] | Tensor) -> Tensor:
    """Return a mask (V,) bool, True on the given ids; of a mask, a copy."""
    mask = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device)
    if len(ids):
        mask[torch.as_tensor(ids, device=model.device)] = True
    return mask


@torch.no_grad()
@dist.with_whole
def generate(
    model: GPT2,
    prompts: Tensor,
    stop: int,
    n: int = 1,
    max_new_tokens: int = 48,
    min_new_tokens: int = 0,
    temperature: float | Tensor = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    greedy: bool = False,
    explore: float | Tensor = 0.0,
    prompt_mask: Tensor | None = None,
    forbidden: Sequence[int] | Tensor = (),
    generator: torch.Generator | None = None,
    ends: Sequence[int] = (),
    ends_after: int = 0,
) -> Samples:
    """Sample n responses to each prompt.

    prompts: (b, P) int64, left-padded where prompt_mask (b, P) is False.
    stop: id that ends a response; impossible before min_new_tokens tokens: its mass goes to the others.
    temperature: number or (B,). top_k, top_p: see sampling.py. greedy: take the likeliest token, draw nothing.
    explore: share of a uniform distribution over all allowed tokens mixed into every step, number or (B,).
    forbidden: ids that are never sampled, or a mask of them (V,). All of these are part of the distribution of
    `logprobs`.
    ends, ends_after: other ids that end a response, see `StopRule`.
    generator: source of randomness, on the CPU: the same numbers on every device. max_new_tokens x B are drawn at once,
    so that a row's numbers, and what is drawn next, do not depend on when the others finish.
    Of several processes (dist.py) each does its part; all return the whole.
    """
    uniform = torch.rand(max_new_tokens, prompts.size(0) * n, generator=generator)
    part, prompts, prompt_mask, uniform = dist.split(prompts, prompt_mask, uniform.T)
    uniform = uniform.T.to(model.device)  # (R, B) of the rows done here
    B = uniform.size(1)
    never = id_mask(model, forbidden)
    no_stop = never.clone()
    no_stop[stop] = True
    final = torch.zeros_like(never)  # ids that end a response of at least ends_after tokens
    final[list(ends)] = True
    of_rows = {name: part.rows(x.to(model.device).float())[:, None]
               for name, x in (("temperature", temperature), ("explore", explore)) if isinstance(x, Tensor)}
    of_all = {"temperature": temperature, "explore": explore, "top_k": top_k, "top_p": top_p}

    tokens = torch.full((B, max_new_tokens), stop, device=model.device)
    mask = torch.zeros(B, max_new_tokens, dtype=torch.bool, device=model.device)
    logprobs = torch.zeros(B, max_new_tokens, device=model.device)
    stopped = torch.zeros(B, dtype=torch.bool, device=model.device)
    prefix, hidden = model.encode_prefix(prompts, prompt_mask)
    captured = model.compiled and prompts.is_cuda and max_new_tokens >= WORTH
    cache = (StaticCache if captured else KVCache)(prefix.expand(B // len(prompts)), max_new_tokens - 1)
    step = capture(model, cache) if captured else lambda drawn: model(drawn[:, None], cache=cache)[:, -1]
    del prefix  # it is in the cache now
    if of_rows:  # else the first step needs only one row of logits a prompt: (b, D)
        hidden = hidden.repeat_interleave(cache.n, 0)
    alive = torch.arange(B, device=model.device)  # row i of the cache is row alive[i], cache.n of each prompt
    going = torch.ones_like(alive, dtype=torch.bool)  # whether it is still being written

    for t in range(max_new_tokens):
        logits = model.lm_head(hidden).float()  # (b or A, V), A = rows alive
        rows = alive.view(logits.size(0), -1)  # (b or A, draws a row of logits)
        banned = no_stop if t < min_new_tokens else never if len(forbidden) else None
        probs = sampled_from(logits, banned, **of_all | {name: x[alive] for name, x in of_rows.items()})
        if greedy:
            drawn = probs.argmax(-1, keepdim=True).expand(rows.shape)
        else:
            drawn = inverse_cdf(probs, uniform[t][rows])
        now, chosen, drawn = alive[going], probs.gather(1, drawn).log().flatten(), drawn.flatten()
        tokens[now, t], mask[now, t], logprobs[now, t] = drawn[going], True, chosen[going]

        over = (drawn == stop) | final[drawn] if ends and t + 1 >= ends_after else drawn == stop
        stopped[now] = over[going]
        going &= ~over
        left = going.view(-1, cache.n).sum(1)  # responses of each prompt
        if t + 1 == max_new_tokens or not left.any():
            break
        # Finished rows leave the batch, and finished prompts; a recorded step has all rows for ever.
        if not captured and (left > 0).sum() * left.max() < CROWD * len(alive):
            order = torch.arange(len(alive), device=alive.device).view(-1, cache.n)
            order = order.gather(1, going.view_as(order).int().argsort(dim=1, descending=True, stable=True))
            rows = order[left > 0, : left.max()]
            cache.keep(rows)
            alive, drawn, going = (x[rows.flatten()] for x in (alive, drawn, going))
        hidden = step(drawn)  # (A, D)
    tokens, mask, logprobs, stopped = map(part.join, (tokens, mask, logprobs, stopped))
    return Samples(tokens, mask, logprobs, stopped, lengths=mask.sum(1) - ((tokens == stop) & mask).sum(1))


def states(
    model: GPT2, prompts: Tensor, tokens: Tensor, prompt_mask: Tensor | None = None, last: bool = False
) -> tuple[Tensor, Tensor]:
    """Run given responses once; return the hidden states s_0 (b, D), one a prompt, and s_1, s_2, ... (B, T, D).

    prompts: (b, P), tokens: (B, R) with B = b * N, as `generate` returns them. s_t is the prompt and the first t
    tokens; gradients are exact, also through the prompt, which is encoded once. T = R - 1, the states in which the
    tokens are chosen; `last`: T = R, also the state after the last one.
    """
    read, P, n = tokens if last else tokens[:, :-1], prompts.size(1), tokens.size(0) // prompts.size(0)
    if n * (P + read.size(1)) < 1.1 * (P + n * read.size(1)):  # too little to share: one pass over both
        padded = prompt_mask is not None and not prompt_mask.all()
        known = F.pad(prompt_mask.repeat_interleave(n, 0), (0, read.size(1)), value=True) if padded else None
        hidden = model(torch.cat([prompts.repeat_interleave(n, 0), read], 1), known)
        return hidden[::n, P - 1], hidden[:, P:]
    prefix, first = model.encode_prefix(prompts, prompt_mask)
    if not read.size(1):
        return first, first.new_zeros(tokens.size(0), 0, first.size(1))
    # Right padding needs no mask: a real token never sees what comes after it, and padded positions are not used.
    return first, model(read, cache=prefix.expand(n))


def rows_of(prompts: Tensor, n: int) -> Tensor:
    """Return the rows of all n responses to some prompts, given by their numbers."""
    return (prompts[:, None] * n + torch.arange(n)).flatten()


def join(first: Tensor, later: Tensor) -> Tensor:
    """Return the `states` of each response in one tensor, s_0 included: (B, 1 + T, D)."""
    return torch.cat([first.repeat_interleave(later.size(0) // first.size(0), 0)[:, None], later], 1)


def score(
    model: GPT2,
    prompts: Tensor,
    tokens: Tensor,
    mask: Tensor,
    stop: int,
    min_new_tokens: int = 0,
    temperature: float = 1.0,
    prompt_mask: Tensor | None = None,
    forbidden: Sequence[int] | Tensor = (),
) -> tuple[Tensor, Tensor]:
    """Score given responses in one teacher-forced pass.

    prompts: (b, P), tokens and mask: (B, R) with B = b * N, as `generate` returns them; the other arguments as in
    `generate`.
    Returns logprobs (B, R), log p(tokens[:, t] | s_t), and stop_logprobs (B, R), log p(stop | s_t), see `states`. Both
    are 0 in padding; the stop's is -inf where t < min_new_tokens. The head runs only where mask is True. Of several
    processes (dist.py) each does its part; all return the whole.
    """
    longest = int(mask.sum(1).max())
    part, prompts, prompt_mask, tokens, mask = dist.split(prompts, prompt_mask, tokens, mask)
    first, later = states(model, prompts, tokens[:, :longest], prompt_mask)
    ids = torch.stack([tokens, torch.full_like(tokens, stop)], -1)  # (B, R, 2): the token taken at a state, the stop
    out = part.join(score_states(model, first, later, ids, mask, stop, min_new_tokens, temperature, forbidden)[0])
    return out[..., 0], out[..., 1]


def prefix_logprobs(
    model: GPT2,
    rule: StopRule,
    prompts: Tensor,
    prompt_mask: Tensor | None,
    tokens: Tensor,
    mask: Tensor,
    lengths: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Return the log-prob of every prefix of given responses as a whole response, in one teacher-forced pass.

    log P(w_1 .. w_t, stop) = sum_{k <= t} log p(w_k | s_{k-1}) + log p(stop | s_t), the last term 0 where the end is
    forced: after max_new_tokens tokens and after another end than the stop.
    prompts: (b, P). tokens, mask: (B, R), lengths: (B,) as `generate` returns them.
    Returns (B, R + 1), entry t of the first t tokens; 0 beyond a response's length and below rule.min_new_tokens.
    """
    logprobs, stop_logprobs = score(
        model, prompts, tokens, mask, rule.stop, rule.min_new_tokens, temperature, prompt_mask, rule.forbidden
    )
    t = torch.arange(tokens.size(1) + 1, device=tokens.device)
    log_pf = torch.where(t[:-1] < lengths[:, None], logprobs, 0)  # steps that append a token
    log_pterm = F.pad(stop_logprobs, (0, 1))  # (B, R + 1); `score` has 0 outside the mask, where the end is forced
    return whole_logprobs(log_pf, log_pterm, (t >= rule.min_new_tokens) & (t <= lengths[:, None]))


def score_states(
    model: GPT2,
    first: Tensor,
    later: Tensor,
    ids: Tensor,
    mask: Tensor,
    stop: int,
    min_new_tokens: int = 0,
    temperature: float = 1.0,
    forbidden: Sequence[int] | Tensor = (),
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return log p(ids[:, t] | s_t), (B, R, I), and with `entropy` that of each state's distribution (B, R), nats.

    first, later: from `states`. ids: (B, R, I) int64. The others as in `score`; all 0 where mask is False.
    """
    b, (B, R, I) = first.size(0), ids.shape
    banned = id_mask(model, forbidden) if len(forbidden) else None
    no_stop = id_mask(model, forbidden)
    no_stop[stop] = True
    out = torch.zeros(B, R, I, device=model.device)
    nats = torch.zeros(B, R, device=model.device) if entropy else None

    def logprobs(hidden, wanted, banned):
        found = model.token_logprobs(hidden, wanted, temperature, banned, entropy=entropy)
        return found if entropy else (found, None)

    # s_0 is the same for all responses of a prompt: one row of logits each.
    found, h = logprobs(first, ids[:, 0].reshape(b, B // b, I), no_stop if min_new_tokens > 0 else banned)
    out[:, 0] = torch.where(mask[:, :1], found.reshape(B, I), 0)
    if entropy:
        nats[:, 0] = torch.where(mask[:, 0], h.repeat_interleave(B // b), 0)
    t = torch.arange(1, R, device=model.device)
    for here, never in ((t < min_new_tokens, no_stop), (t >= min_new_tokens, banned)):
        rows, columns = (here & mask[:, 1:]).nonzero(as_tuple=True)
        if len(rows):
            found, h = logprobs(later[rows, columns], ids[rows, columns + 1], never)
            out[rows, columns + 1] = found
            if entropy:
                nats[rows, columns + 1] = h
    return out, nats
