"""GPT-2 (Radford et al. 2019), in the names and the file format of Hugging Face, with what alignment needs and no more.

    hidden = model(tokens)                                  # (B, T, D) after the last layer norm
    logits = model.lm_head(hidden)                          # (B, T, V); where there is a loss, rather token_logprobs
    prefix, last = model.encode_prefix(prompts)             # keys and values of prompts, computed once ...
    hidden = model(responses, cache=prefix.expand(N))       # ... and shared by N responses each, with exact gradients

Shapes: B batch, T tokens, P prompt, R response, N samples per prompt, D width, H heads, K keys, V vocabulary, L layers.
Dropout of the backbone is left out on purpose: a log-prob must not depend on a coin (LoRA has its own, on its branch).
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minalign import lora
from minalign.cache import Prefix, Recorder, attention
from minalign.compilation import compiled
from minalign.precision import Head, Linear

ACTIVATIONS = {
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),  # the tanh form is GPT-2's; exact GELU differs by up to 5e-4
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class GPT2Config:
    """The fields of Hugging Face's GPT-2 config that change the computation, with its defaults."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None


class Attention(nn.Module):
    def __init__(self, config: GPT2Config, layer: int):
        super().__init__()
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.n_head, self.layer = config.n_head, layer
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (y.unflatten(2, (self.n_head, -1)).transpose(1, 2) for y in self.c_attn(x).chunk(3, 2))
        return q, k, v  # (B, H, T, D/H)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cache: Prefix | None) -> Tensor:
        y = cache.attend(self.layer, q, k, v, mask, self.scale) if cache is not None else attention(
            q, k, v, mask, self.scale)  # fmt: skip
        return y.transpose(1, 2).flatten(2)  # (B, T, D)


class MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = Linear(config.n_embd, inner)
        self.c_proj = Linear(inner, config.n_embd)
        self.activation = ACTIVATIONS[config.activation_function]

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class Block(nn.Module):
    """Two halves around attention: they are what --compile compiles, one program for all layers and caches."""

    dtype: torch.dtype | None = None  # of matrix products, None = that of x; the residual stream x has its own
    compiled = False

    def __init__(self, config: GPT2Config, layer: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def before(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.attn.project(self.ln_1(x).to(self.dtype or x.dtype))

    def after(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.attn.c_proj(y)
        return x + self.mlp(self.ln_2(x).to(self.dtype or x.dtype))

    def forward(self, x: Tensor, mask: Tensor | None, cache: Prefix | None) -> Tensor:
        before, after = map(compiled, (Block.before, Block.after)) if self.compiled else (Block.before, Block.after)
        q, k, v = before(self, x)
        return after(self, x, self.attn.attend(q, k, v, mask, cache))


def _embedding(n: int, width: int) -> nn.Embedding:
    weight = torch.empty(n, width)
    if not weight.is_meta:
        return nn.Embedding(n, width)
    return nn.Embedding.from_pretrained(weight, freeze=False)  # the other one would import torch._dynamo: two seconds


class GPT2(nn.Module):
    """GPT-2 with a tied (or explicit) output head and optional scalar heads (`add_head`)."""

    dtype = torch.float32  # of matrix products, see `compute_in`
    compiled = False  # see compilation.activate
    checkpointing = False  # less memory for training, a third more time: see `_run_again_later`

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            dict(
                wte=_embedding(config.vocab_size, config.n_embd),
                wpe=_embedding(config.n_positions, config.n_embd),
                h=nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
                ln_f=nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon),
            )
        )
        self.lm_head = Head(config.n_embd, config.vocab_size, bias=False)
        self.heads = nn.ModuleDict()
        self.apply(self._init)
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight") and not weight.is_meta:
                # GPT-2, section 2.3: 2L of them add up in the residual stream.
                nn.init.normal_(weight, std=config.initializer_range / math.sqrt(2 * config.n_layer))
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)) and not module.weight.is_meta:
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    @property
    def device(self) -> torch.device:
        return self.transformer.wte.weight.device

    def compute_in(self, dtype: torch.dtype, store: bool = True) -> None:
        """Multiply matrices in `dtype`: fp32, bf16 or fp16; store: keep those of the blocks in it, too.

        In fp32 stay the residual stream, layer norms, adapters, scalar heads, logits, and the embedding, which is the
        output head's matrix as well.
        """
        self.dtype = self.lm_head.dtype = dtype
        for block in self.transformer.h:
            block.dtype = dtype
            for layer in block.modules() if store else ():
                if isinstance(layer, nn.Linear):
                    layer.to(dtype)

    def add_head(self, name: str, std: float) -> nn.Linear:
        """Add a trainable scalar head, weight N(0, std^2), bias 0; `model.heads[name](hidden)` is (B, T, 1)."""
        head = nn.Linear(self.config.n_embd, 1, device=self.device)
        nn.init.normal_(head.weight, std=std)
        nn.init.zeros_(head.bias)
        self.heads[name] = head
        return head

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, positions: Tensor | None = None, cache: Prefix | None = None
    ) -> Tensor:
        """Return the hidden states (B, T, D) after the final layer norm.

        tokens: (B, T) int64. mask: (B, T) bool, True on real tokens, padding left or right; None = no padding.
        positions: (B, T) int64; default: each row counts its own real tokens, after those of the cache.
        cache: earlier keys and values: a `Prefix` with gradients, or a `KVCache`, which also stores the new ones.
        """
        if positions is None:
            positions = self._positions(tokens, mask, cache)
        attn_mask = self._mask(tokens.size(1), mask, cache)
        x = self.transformer.wte(tokens) + self.transformer.wpe(positions)  # (B, T, D)
        for block in self.transformer.h:
            if self.checkpointing and torch.is_grad_enabled():
                x = self._run_again_later(block, x, attn_mask, cache)
            else:
                x = block(x, attn_mask, cache)
        return self.transformer.ln_f(x)

    def _run_again_later(self, block: Block, x: Tensor, mask: Tensor | None, cache: Prefix | None) -> Tensor:
        """Run a block and keep nothing but x for the backward pass, which runs it again (Chen et al. 2016)."""
        adapter = lora.active(block)  # by then another one may be active: a value network's pass ends before backward

        def contexts():
            return contextlib.nullcontext(), lora.use(block, adapter)

        return checkpoint(block, x, mask, cache, use_reentrant=False, context_fn=contexts)

    def _positions(self, tokens: Tensor, mask: Tensor | None, cache: Prefix | None) -> Tensor:
        if mask is None:
            own = torch.arange(tokens.size(1), device=tokens.device)[None]
        else:
            own = (mask.long().cumsum(1) - 1).clamp(min=0)
        # A left-padded prompt of P columns holds fewer than P tokens; what was decoded since then holds no padding.
        return own + cache.counts if cache is not None else own

    def _mask(self, T: int, mask: Tensor | None, cache: Prefix | None) -> Tensor | None:
        """Return the (B or 1, 1, T, t) bool attention mask over the t tokens that are not of a prefix.

        None where no token is padding: each sees itself and what is before it.
        """
        if mask is None:
            return None
        written = cache.written if cache is not None else 0
        causal = torch.ones(T, written + T, dtype=torch.bool, device=self.device).tril(written)[None, None]
        # A padded query sees at least itself: a row of the softmax without any key is NaN on some backends.
        itself = torch.eye(T, dtype=torch.bool, device=self.device)
        return causal & F.pad(mask, (written, 0), value=True)[:, None, None] | F.pad(itself, (written, 0))[None, None]

    def encode_prefix(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Prefix, Tensor]:
        """Run prompts once; return their `Prefix` and the hidden state (B, D) at each prompt's last token.

        tokens: (B, P) int64, left-padded where mask (B, P) has False (so that column -1 is every row's last token).
        """
        if mask is not None and bool(mask.all()):
            mask = None
        prefix = Recorder()
        hidden = self(tokens, mask, cache=prefix)
        return Prefix(prefix.keys, prefix.values, mask), hidden[:, -1]

    def token_logprobs(
        self,
        hidden: Tensor,
        tokens: Tensor,
        temperature: float | Tensor = 1.0,
        forbidden: Tensor | None = None,
        budget: int = 0,
        entropy: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return log p(tokens | hidden) without keeping an (M, V) tensor for the backward pass when that is large.

        hidden: (M, D). tokens: (M, ...) int64, one or several token ids a row. temperature: a number or (M,).
        forbidden: bool (V,) or (M, V), ids of probability zero (their own log-prob is -inf).
        budget: logits at a time, 0 = as many as pays. Through a frozen head none are kept (`_FrozenHead`); else, beyond
        the budget, each chunk's logits are computed again in backward (saves memory, costs up to 16 % time).
        Returns (M, ...) float32; with `entropy` also the entropy of each distribution, nats, (M,).
        """
        wide = tokens.flatten(1) if tokens.dim() > 1 else tokens[:, None]  # (M, ids a row)
        frozen = type(self.lm_head) is Head and not self.lm_head.weight.requires_grad and not entropy
        rows = max(1, (budget or (2**23 if frozen and hidden.is_cpu else 2**27)) // self.config.vocab_size)
        if isinstance(temperature, Tensor):
            temperature = temperature.to(hidden.device).expand(hidden.size(0))[:, None]
        if frozen:
            return _FrozenHead.apply(hidden, wide, self.lm_head, temperature, forbidden, rows).reshape(tokens.shape)

        def chunk(h, ids, temp, banned):
            logits = tempered(self.lm_head(h), temp, banned)  # (m, V)
            logz = logits.logsumexp(1, keepdim=True)
            picked = logits.gather(1, ids) - logz
            if not entropy:
                return picked
            logp = logits - logz
            nats = -(logp.exp() * logp.masked_fill(logp == -torch.inf, 0)).sum(1, keepdim=True)  # 0 log 0 = 0
            return torch.cat([picked, nats], 1)

        parts = [(hidden[i], wide[i], *given) for i, *given in chunks(hidden.size(0), rows, temperature, forbidden)]
        if len(parts) == 1:
            out = chunk(*parts[0])
        else:
            out = torch.cat([checkpoint(chunk, *part, use_reentrant=False) for part in parts])
        return (out[:, :-1].reshape(tokens.shape), out[:, -1]) if entropy else out.reshape(tokens.shape)


def tempered(logits: Tensor, temperature: float | Tensor, forbidden: Tensor | None) -> Tensor:
    """Return logits / temperature in fp32, -inf where they are forbidden; passes that would change nothing are left
    out: each is one over (M, V) numbers."""
    logits = logits.float()
    if isinstance(temperature, Tensor) or temperature != 1:
        logits = logits / temperature
    return logits if forbidden is None else logits.masked_fill(forbidden, -torch.inf)


def chunks(n: int, rows: int, *settings) -> Iterator[tuple]:
    """Yield slices of n rows, `rows` at a time, with those rows of the settings that are tensors of as many."""
    for i in range(0, max(n, 1), rows):
        at = slice(i, i + rows)
        yield at, *(x[at] if isinstance(x, Tensor) and x.dim() == 2 and x.size(0) == n else x for x in settings)


class _FrozenHead(torch.autograd.Function):
    """log p(ids | hidden) through an output head that is not trained; no logits are kept.

        d log p(y | h) / dh = (W_y - sum_v p_v W_v) / T

    does not depend on what comes from above, so it is computed while the probabilities are there: (M, D) numbers
    instead of (M, V), and none of the passes over (M, V) that a softmax needs in backward.
    """

    @staticmethod
    def forward(ctx, hidden, ids, head, temperature, forbidden, rows):  # shapes: `token_logprobs`
        found, slopes = [], []
        weight = head.weight.to(head.dtype or hidden.dtype) if ctx.needs_input_grad[0] else None
        for at, temp, banned in chunks(hidden.size(0), rows, temperature, forbidden):
            logits = tempered(head(hidden[at]), temp, banned)  # (m, V), and no other tensor of this size
            logits -= logits.amax(1, keepdim=True)
            chosen = logits.gather(1, ids[at])
            total = logits.exp_().sum(1, keepdim=True)
            found.append(chosen - total.log())
            if weight is not None:
                known = (chosen > -torch.inf).float()  # (m, ids a row)
                # The one is added before rounding to half precision: near p = 1 their difference is what counts.
                onehot_less_p = logits.div_(-total).scatter_add_(1, ids[at, :1], known[:, :1])
                of_ids = head.weight[ids[at]].float() * known[..., None]  # (m, ids a row, D)
                first = (onehot_less_p.to(weight.dtype) @ weight).float()[:, None]
                slopes.append(first + of_ids - of_ids[:, :1])
        ctx.temperature, ctx.like = temperature, hidden.dtype
        ctx.save_for_backward(torch.cat(slopes) if slopes else None)
        return torch.cat(found)

    @staticmethod
    def backward(ctx, grad):
        (slopes,) = ctx.saved_tensors
        total = (grad[:, None] @ slopes)[:, 0]  # (M, D)
        return (total / ctx.temperature).to(ctx.like), None, None, None, None, None
