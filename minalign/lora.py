"""LoRA (Hu et al. 2021): low-rank adapters, several by name, on one frozen backbone. adapters.py: their files.

    y = W x + (alpha / r) B A x          A: (r, in) random, B: (out, r) zero, so that a new adapter changes nothing

One backbone serves as policy, reference and reward model: `with disabled(model): ...` is the reference. Stages are
chained by `merge`: the old adapter goes into a copy of the weights, the new one starts on top, and "disabled" is then
the previous stage.
"""

import contextlib
import copy
import math
import re
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minalign.errors import UserError

TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "lm_head")


class LoRALinear(nn.Module):
    """A frozen linear layer plus any number of named low-rank adapters, of which at most one is active."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base = base
        self.lora_A, self.lora_B = nn.ParameterDict(), nn.ParameterDict()
        self.scale: dict[str, float] = {}
        self.dropout: dict[str, float] = {}
        self.active: str | None = None
        self.train(base.training)  # an adapter on a model in eval mode has no dropout

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for readers of shape, dtype and device."""
        return self.base.weight

    def add(self, name: str, A: Tensor, B: Tensor, scale: float, dropout: float) -> None:
        self.lora_A[name], self.lora_B[name] = nn.Parameter(A), nn.Parameter(B)
        self.scale[name], self.dropout[name] = scale, dropout

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        name = self.active
        if name is None or name not in self.lora_A:
            return y
        # The adapter is fp32 whatever the backbone is stored in; its two thin products run in the backbone's dtype.
        A, B = self.lora_A[name].to(x.dtype), self.lora_B[name].to(x.dtype)
        x = F.dropout(x, self.dropout[name], self.training)
        return y + F.linear(F.linear(x, A), B * self.scale[name])


def add_adapter(
    model: nn.Module,
    name: str = "policy",
    rank: int = 16,
    alpha: float | None = None,
    targets: tuple[str, ...] = ("attn.c_attn",),
    dropout: float = 0.0,
    first_block: int = 0,
) -> None:
    """Freeze the backbone, add a fresh adapter to every layer whose name ends in one of `targets`, make it active.

    rank: r >= 1. alpha: the branch is scaled by alpha / r; default 2 r. targets: of `TARGETS`; `lm_head` adapts the
    output side only, a tied input embedding stays as it is. first_block: blocks below get none. Scalar heads stay
    trainable.
    """
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        raise UserError(f"unknown LoRA target {unknown[0]!r}; the targets are {', '.join(TARGETS)}.")
    for parameter_name, parameter in model.named_parameters():
        if ".lora_" not in parameter_name and not parameter_name.startswith("heads."):
            parameter.requires_grad_(False)
    for path in layers_named(model, targets):
        if below(path, first_block):
            continue
        layer = wrap(model, path)
        out_features, in_features = layer.weight.shape
        A = torch.empty(rank, in_features, device=layer.weight.device)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))  # PEFT's and loralib's choice
        B = torch.zeros(out_features, rank, device=layer.weight.device)
        layer.add(name, A, B, (2 * rank if alpha is None else alpha) / rank, dropout)
    set_adapter(model, name)


def layers_named(model: nn.Module, targets) -> list[str]:
    """Return the paths of the linear layers that `targets` names.

    targets: a list of names (`mlp.c_proj` matches transformer.h.0.mlp.c_proj, ...); PEFT also writes one regular
    expression for whole paths, or "all-linear", which leaves the output head out.
    """

    def named(path: str) -> bool:
        if targets == "all-linear":
            return path != "lm_head"
        if isinstance(targets, str):
            return re.fullmatch(targets, path) is not None
        return any(path == target or path.endswith("." + target) for target in targets)

    linear = [path.removesuffix(".base") for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [path for path in linear if not path.startswith("heads.") and named(path)]


def below(path: str, block: int) -> bool:
    """Return whether a layer is in one of the first `block` blocks."""
    return path.startswith(tuple(f"transformer.h.{i}." for i in range(block)))


def wrap(model: nn.Module, path: str) -> LoRALinear:
    layer = model.get_submodule(path)
    if not isinstance(layer, LoRALinear):
        layer = LoRALinear(layer)
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return layer


def _lora_layers(model: nn.Module):
    return ((path, module) for path, module in model.named_modules() if isinstance(module, LoRALinear))


def has_adapter(model: nn.Module, name: str) -> bool:
    """Return whether any layer has an adapter of this name."""
    return any(name in layer.lora_A for _, layer in _lora_layers(model))


def active(model: nn.Module) -> str | None:
    """Return the name of the active adapter, None where there is none."""
    return next((layer.active for _, layer in _lora_layers(model) if layer.active), None)


def copy_adapter(model: nn.Module, source: str, name: str) -> None:
    """Add adapter `name`, to be trained, as a copy of adapter `source`."""
    for _, layer in _lora_layers(model):
        if source in layer.lora_A:
            A, B = layer.lora_A[source].detach().clone(), layer.lora_B[source].detach().clone()
            layer.add(name, A, B, layer.scale[source], layer.dropout[source])


def freeze(model: nn.Module, name: str, blocks: int | None = None) -> None:
    """Stop training adapter `name`: everywhere, or in the first `blocks` blocks."""
    for path, layer in _lora_layers(model):
        if name in layer.lora_A and (blocks is None or below(path, blocks)):
            layer.lora_A[name].requires_grad_(False)
            layer.lora_B[name].requires_grad_(False)


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Make one adapter active everywhere (None: the bare backbone)."""
    for _, layer in _lora_layers(model):
        layer.active = name


@contextlib.contextmanager
def use(model: nn.Module, name: str | None):
    """Run the backbone with adapter `name` for a while; the one that was active is restored afterwards."""
    before = [(layer, layer.active) for _, layer in _lora_layers(model)]
    for layer, _ in before:
        layer.active = name
    try:
        yield model
    finally:
        for layer, active in before:
            layer.active = active


def disabled(model: nn.Module):
    """Run the frozen backbone without its adapters, as a context: the reference model."""
    return use(model, None)


def merge(model: nn.Module, name: str = "policy") -> nn.Module:
    """Return a copy of the model with adapter `name` in its weights: W + (alpha/r) B A. The argument is left as it is.

    A merged `lm_head` is no longer the embedding: the copy's config then says `tie_word_embeddings: False`. The copy
    remembers what was merged (`merged_adapters`), so that a later adapter can be saved relative to the original base.
    """
    state = state_of(model, name)
    if not state:
        raise ValueError(f"there is no adapter {name!r} to merge")
    history = getattr(model, "merged_adapters", []) + [state]
    model = copy.deepcopy(model)
    for path, layer in list(_lora_layers(model)):
        base = layer.base
        if name in layer.lora_A:
            if path == "lm_head" and model.config.tie_word_embeddings:
                base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
                model.config = replace(model.config, tie_word_embeddings=False)
            with torch.no_grad():
                delta = layer.scale[name] * layer.lora_B[name] @ layer.lora_A[name]
                base.weight.copy_(base.weight.float() + delta)  # summed in fp32, rounded once
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, base)
    model.merged_adapters = history
    return model


def state_of(model: nn.Module, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {path: (A, scale * B)} of an adapter: two matrices a layer that need no further scale."""
    return {
        path: (layer.lora_A[name].detach().clone(), layer.lora_B[name].detach() * layer.scale[name])
        for path, layer in _lora_layers(model)
        if name in layer.lora_A
    }
