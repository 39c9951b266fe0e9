"""Keys and values of earlier tokens: of prompts, shared by their responses, and of responses that are being written.

Shapes: b prompts with n responses each, B = b n rows, P prompt, T new tokens, t tokens of a response, H heads, w head
width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Attend to the tokens themselves: q, k, v (B, H, T, w), mask (B or 1, 1, T, T) bool, None = causal."""
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None and q.size(2) > 1, scale=scale)


class Prefix:
    """Keys and values of b prompts, which the tokens of n responses to each attend to: B = b n rows, prompt 0's first.

    Nothing in it is ever written, so gradients flow through it. keys, values: per layer (b, H, P, head width w).
    mask: (b, P) bool, True on real tokens, or None where no row is padded.
    """

    def __init__(self, keys: list[Tensor], values: list[Tensor], mask: Tensor | None = None, n: int = 1):
        self.keys, self.values, self.mask, self.n = keys, values, mask, n
        self.written = 0  # tokens of each response that are stored beside them

    @property
    def counts(self) -> Tensor | int:
        """The real tokens before each row's next one: (B, 1), or a number where no prompt is padded."""
        if self.mask is None:
            return self.written + (self.keys[0].size(2) if self.keys else 0)
        return self.written + self.mask.sum(1, keepdim=True).repeat_interleave(self.n, 0)

    def expand(self, n: int) -> "Prefix":
        """Return this prefix for n responses a prompt; nothing is copied."""
        return Prefix(self.keys, self.values, self.mask, n)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return all keys and values of the responses (B, H, t, w), those of the new tokens (k, v) last."""
        return k, v

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Attend to the prompts and to the responses' own tokens under one softmax.

            y = (sum_prompt e^s v + sum_own e^s v) / (sum_prompt e^s + sum_own e^s),   s = q . k scale - max

        The n responses of a prompt ask it together, as n T queries, so it is neither copied nor read n times.
        q, k, v: (B, H, T, w) of the new tokens. mask: (B or 1, 1, T, t) bool over the responses' tokens, None = causal.
        """
        keys, values, (B, _, T, w), n = self.keys[layer], self.values[layer], q.shape, self.n
        k, v = self.extend(layer, k, v)
        if mask is None and T > 1:
            mask = torch.ones(1, 1, T, k.size(2), dtype=torch.bool, device=q.device).tril(k.size(2) - T)
        if T == 1 or n > 1 and T <= 2 * w:
            return _SharedAttention.apply(q, k, v, keys, values, mask, self.mask, scale)
        # T weights of a key would take more memory than the copy that SDPA needs.
        seen = torch.ones(B, keys.size(2), dtype=torch.bool, device=q.device) if self.mask is None else self.mask
        seen = seen.repeat_interleave(B // len(seen), 0)[:, None, None].expand(B, 1, T, -1)
        k, v = (torch.cat([old.repeat_interleave(n, 0), new], 2) for old, new in ((keys, k), (values, v)))
        return F.scaled_dot_product_attention(q, k, v, torch.cat([seen, mask.expand(B, 1, T, -1)], 3), scale=scale)


class _SharedAttention(torch.autograd.Function):
    """What `Prefix.attend` says. Kept for the backward pass is one number per query and key, in half precision if v is.

    With p the softmax's weights, of the prompt's and of the own tokens alike: d s = p (d y . v - d y . y) scale.
    """

    @staticmethod
    def forward(ctx, q, k, v, keys, values, mask, seen, scale):
        asked = (_together(q, len(keys)) @ keys.transpose(-1, -2)).float() * scale  # (b, H, n T, P)
        own = (q @ k.transpose(-1, -2)).float() * scale  # (B, H, T, t)
        if seen is not None:
            asked.masked_fill_(~seen[:, None, None], -torch.inf)
        if mask is not None:
            own.masked_fill_(~mask, -torch.inf)
        top = torch.maximum(own.amax(-1, keepdim=True), _apart(asked.amax(-1, keepdim=True), q))
        own, asked = own.sub_(top).exp_(), asked.sub_(_together(top, len(keys))).exp_()
        total = own.sum(-1, keepdim=True) + _apart(asked.sum(-1, keepdim=True), q)
        y = (own.to(v.dtype) @ v + _apart(asked.to(v.dtype) @ values, q)) / total.to(v.dtype)
        if any(ctx.needs_input_grad):
            own, asked = own.div_(total).to(v.dtype), asked.div_(_together(total, len(keys))).to(v.dtype)
            ctx.save_for_backward(q, k, v, keys, values, own, asked, y)
            ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx, dy):
        q, k, v, keys, values, own, asked, y = ctx.saved_tensors
        b, along = len(keys), (dy.float() * y).sum(-1, keepdim=True)
        own_ds = ((dy @ v.transpose(-1, -2)).float().sub_(along) * own).mul_(ctx.scale).to(q.dtype)
        rows, queries = _together(dy, b), _together(q, b)
        asked_ds = (rows @ values.transpose(-1, -2)).float().sub_(_together(along, b)) * asked
        asked_ds = asked_ds.mul_(ctx.scale).to(q.dtype)
        dq = own_ds @ k + _apart(asked_ds @ keys, q)
        dk, dv = own_ds.transpose(-1, -2) @ q, own.transpose(-1, -2) @ dy
        return (dq, dk, dv, asked_ds.transpose(-1, -2) @ queries, asked.transpose(-1, -2) @ rows, *(None,) * 3)


def _together(x: Tensor, b: int) -> Tensor:
    """Return rows (B, H, T, .) as those of b prompts, (b, H, n T, .)."""
    B, H, T, _ = x.shape
    return x.view(b, B // b, H, T, -1).transpose(1, 2).reshape(b, H, -1, x.size(3))


def _apart(x: Tensor, like: Tensor) -> Tensor:
    """Return the rows of b prompts (b, H, n T, .) as (B, H, T, .), in the order of those `like` (B, H, T, .)."""
    B, H, T, _ = like.shape
    return x.view(len(x), H, -1, T, x.size(3)).transpose(1, 2).reshape(B, H, T, -1)


class Recorder(Prefix):
    """A prefix under construction: keeps the keys and values that pass through."""

    def __init__(self):
        super().__init__([], [])

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        if len(self.keys) == layer:  # activation checkpointing runs a layer once more
            self.keys.append(k)
            self.values.append(v)
        return attention(q, k, v, mask, scale)


class KVCache(Prefix):
    """A prefix, and room for `room` tokens of each response, written in place: for decoding without gradients."""

    def __init__(self, prefix: Prefix, room: int):
        super().__init__(prefix.keys, prefix.values, prefix.mask, prefix.n)
        b, H, _, w = prefix.keys[0].shape
        self.own = [k.new_empty(2, b * self.n, H, room, w) for k in prefix.keys]  # keys and values, per layer

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        end, own = self.written + k.size(2), self.own[layer]
        own[0, :, :, self.written : end], own[1, :, :, self.written : end] = k, v
        if layer == len(self.own) - 1:
            self.written = end
        return own[0, :, :, :end], own[1, :, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Keep these rows, in this order; the others are finished. rows: int64 indices, (b', n'): n' of one prompt in
        each line, or (B',), each with a prompt of its own."""
        rows = rows.view(len(rows), -1)
        prompts, n = rows[:, 0] // self.n, rows.size(1)
        self.own, self.n = [x[:, rows.flatten()] for x in self.own], n
        if not torch.equal(prompts, torch.arange(self.keys[0].size(0), device=rows.device)):
            self.keys, self.values = [k[prompts] for k in self.keys], [v[prompts] for v in self.values]
            self.mask = None if self.mask is None else self.mask[prompts]


class StaticCache(KVCache):
    """The same with shapes that never change, so that a decoding step can be a CUDA graph: one token at a time.

    A token attends to the whole room, masked beyond `at`, the number of tokens written, which is a tensor.
    """

    def __init__(self, prefix: Prefix, room: int):
        super().__init__(prefix, room)
        for own in self.own:
            own.zero_()  # what is masked is multiplied by 0, and so must be finite
        self.at = torch.zeros(1, dtype=torch.long, device=self.own[0].device)

    @property
    def counts(self) -> Tensor:
        return self.at + super().counts

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.own[layer]
        return keys.index_copy_(2, self.at, k), values.index_copy_(2, self.at, v)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        written = torch.arange(self.own[layer].size(3), device=q.device) <= self.at
        return super().attend(layer, q, k, v, written[None, None, None], scale)
