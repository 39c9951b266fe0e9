"""LoRA (Hu et al. 2021): low-rank adapters, several by name, on one frozen backbone. Files in PEFT's format.

    y = W x + (alpha / r) B A x          A: (r, in) random, B: (out, r) zero, so that a new adapter changes nothing

One backbone serves as policy, reference and reward model: `with disabled(model): ...` is the reference. Stages are
chained by `merge`: the old adapter goes into a copy of the weights, the new one starts on top, and "disabled" is then
the previous stage.
"""

import contextlib
import copy
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minalign.errors import UserError
from minalign.files import atomic_write, write_tensors

TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "lm_head")
PEFT_PREFIX = "base_model.model."


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
) -> None:
    """Freeze the backbone, add a fresh adapter to every layer whose name ends in one of `targets`, make it active.

    rank: r >= 1. alpha: the branch is scaled by alpha / r; default 2 r. targets: of `TARGETS`; `lm_head` adapts the
    output side only, a tied input embedding stays as it is. Scalar heads stay trainable.
    """
    unknown = [target for target in targets if target not in TARGETS]
    if unknown:
        raise UserError(f"unknown LoRA target {unknown[0]!r}; the targets are {', '.join(TARGETS)}.")
    for parameter_name, parameter in model.named_parameters():
        if ".lora_" not in parameter_name and not parameter_name.startswith("heads."):
            parameter.requires_grad_(False)
    for path in _layers(model, targets):
        layer = _wrap(model, path)
        out_features, in_features = layer.weight.shape
        A = torch.empty(rank, in_features, device=layer.weight.device)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))  # PEFT's and loralib's choice
        B = torch.zeros(out_features, rank, device=layer.weight.device)
        layer.add(name, A, B, (2 * rank if alpha is None else alpha) / rank, dropout)
    set_adapter(model, name)


def _layers(model: nn.Module, targets) -> list[str]:
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


def _wrap(model: nn.Module, path: str) -> LoRALinear:
    layer = model.get_submodule(path)
    if not isinstance(layer, LoRALinear):
        layer = LoRALinear(layer)
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return layer


def _lora_layers(model: nn.Module):
    return ((path, module) for path, module in model.named_modules() if isinstance(module, LoRALinear))


def set_adapter(model: nn.Module, name: str | None) -> None:
    """Make one adapter active everywhere (None: the bare backbone)."""
    for _, layer in _lora_layers(model):
        layer.active = name


@contextlib.contextmanager
def disabled(model: nn.Module):
    """Run the frozen backbone without its adapters: the reference model. The active adapter is restored afterwards."""
    before = [(layer, layer.active) for _, layer in _lora_layers(model)]
    for layer, _ in before:
        layer.active = None
    try:
        yield model
    finally:
        for layer, name in before:
            layer.active = name


def merge(model: nn.Module, name: str = "policy") -> nn.Module:
    """Return a copy of the model with adapter `name` in its weights: W + (alpha/r) B A. The argument is left as it is.

    A merged `lm_head` is no longer the embedding: the copy's config then says `tie_word_embeddings: False`. The copy
    remembers what was merged (`merged_adapters`), so that a later adapter can be saved relative to the original base.
    """
    state = _state(model, name)
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


def _state(model: nn.Module, name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {path: (A, scale * B)} of an adapter: two matrices a layer that need no further scale."""
    return {
        path: (layer.lora_A[name].detach().clone(), layer.lora_B[name].detach() * layer.scale[name])
        for path, layer in _lora_layers(model)
        if name in layer.lora_A
    }


# ---------------------------------------------------------------- PEFT's files


def save_adapter(model: nn.Module, folder: Path, base: str, name: str = "policy") -> None:
    """Write adapter_config.json and adapter_model.safetensors so that `peft` loads them on top of the original `base`.

    Adapters merged earlier in a chain of stages are part of it: their matrices are stacked, A = [A1; A2], B = [B1,
    B2], which adds their products. The scale is inside B, so lora_alpha = r. base: hub id or folder of the original
    weights.
    """
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, dict[str, int]] = {}  # target -> {path: rank}
    chain = getattr(model, "merged_adapters", []) + [_state(model, name)]
    for path in sorted({path for state in chain for path in state}):
        A = torch.cat([state[path][0] for state in chain if path in state], 0).float().cpu()
        B = torch.cat([state[path][1] for state in chain if path in state], 1).float().cpu()
        tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"] = A.contiguous()
        tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"] = B.contiguous()
        ranks.setdefault(next(target for target in TARGETS if path.endswith(target)), {})[path] = A.size(0)
    # A target whose layers do not all have one rank (an adapter of some layers only) is written layer by layer.
    flat: dict[str, int] = {}
    for target, of in ranks.items():
        uniform = len(of) == len(_layers(model, [target])) and len(set(of.values())) == 1
        flat |= {target: next(iter(of.values()))} if uniform else of
    rank = max(flat.values())
    pattern = {target: r for target, r in flat.items() if r != rank}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "lora_dropout": 0.0,
        "target_modules": list(flat),
        "fan_in_fan_out": True,
        "bias": "none",
        "modules_to_save": None,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }
    folder = Path(folder)
    atomic_write(folder / "adapter_model.safetensors", lambda file: write_tensors(file, tensors))
    atomic_write(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")


# Other features of PEFT that would change the computation: an adapter that uses one is refused, not half loaded.
UNSUPPORTED = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "target_parameters", "exclude_modules",
    "layers_to_transform", "layers_pattern", "layer_replication", "trainable_token_indices", "alora_invocation_tokens",
    "arrow_config", "megatron_config", "velora_config", "kasa_config", "monteclora_config",
)  # fmt: skip


def read_adapter_config(folder: Path) -> dict:
    """Read and check adapter_config.json; UserError names the field that cannot be honoured."""
    path = Path(folder) / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found. An adapter folder holds adapter_config.json and adapter_model.safetensors."
        ) from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a JSON object; the file is damaged. Save the adapter again.")

    def refuse(key: str, expected: str):
        raise UserError(f"{path}: {key} is {config.get(key)!r}; expected {expected}.")

    if config.get("peft_type") != "LORA":
        refuse("peft_type", "'LORA'")
    for key in ("r", "lora_alpha", "target_modules"):  # peft itself would guess these silently
        if not config.get(key):
            refuse(key, "a value: without it the adapter cannot be read correctly")
    if type(config["r"]) is not int or config["r"] < 1:
        refuse("r", "a whole number of at least 1")
    if type(config["lora_alpha"]) not in (int, float):
        refuse("lora_alpha", "a number")
    for key in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(key) or {}
        if not isinstance(pattern, dict) or not all(type(value) in (int, float) for value in pattern.values()):
            refuse(key, "an object of layer: number")
        for expression in pattern:
            _compile(expression) or refuse(key, "regular expressions for the names of layers")
    if isinstance(config["target_modules"], str):
        _compile(config["target_modules"]) or refuse("target_modules", "a regular expression or a list of layers")
    if config.get("bias", "none") != "none":
        refuse("bias", "'none'")
    if config.get("init_lora_weights", True) not in (True, False, "gaussian", "eva", "orthogonal"):
        refuse(
            "init_lora_weights",
            "true: this way to start changes the base's weights too (convert it with peft's "
            "path_initial_model_for_weight_conversion)",
        )
    for key in UNSUPPORTED:
        if config.get(key):
            refuse(key, "it to be absent or false: this feature of PEFT is not supported")
    return config


def _compile(expression: str) -> re.Pattern | None:
    try:
        return re.compile(expression)
    except re.error:
        return None


def _matches(path: str, key: str) -> bool:
    """Return whether a key of rank_pattern or alpha_pattern, a regular expression, fits a path or an end of it."""
    return re.fullmatch(rf"(.*\.)?({key})", path) is not None


def load_adapter(model: nn.Module, folder: Path, name: str = "policy") -> None:
    """Load a PEFT adapter for GPT-2 onto a frozen backbone and make it active; UserError where it does not fit."""
    from minalign.hub import read_tensors  # files are hub's business; hub does not know adapters

    folder = Path(folder)
    config = read_adapter_config(folder)
    path = folder / "adapter_model.safetensors"
    if not path.exists() and (folder / "adapter_model.bin").exists():
        path = folder / "adapter_model.bin"
    tensors = {  # beside an adapter of lm_head peft also writes the frozen head
        key.replace(".default.", "."): tensor for key, tensor in read_tensors(path).items() if ".base_layer." not in key
    }
    wanted = _layers(model, config["target_modules"])
    keys = {f"{PEFT_PREFIX}{p}.lora_{side}.weight" for p in wanted for side in "AB"}
    missing, unexpected = sorted(keys - tensors.keys()), sorted(tensors.keys() - keys)
    if not wanted or missing or unexpected:
        raise UserError(
            f"{path}: does not fit this model: {len(missing)} tensors missing, {len(unexpected)} unexpected.\n"
            f"First missing: {(missing or ['none'])[0]}; first unexpected: {(unexpected or ['none'])[0]}.\n"
            "The adapter must be a LoRA of the same GPT-2 (GPT2LMHeadModel) that is loaded here."
        )
    for parameter_name, parameter in model.named_parameters():
        if ".lora_" not in parameter_name and not parameter_name.startswith("heads."):
            parameter.requires_grad_(False)
    for p in wanted:
        A, B = (tensors[f"{PEFT_PREFIX}{p}.lora_{side}.weight"].float() for side in "AB")
        r = next((v for k, v in (config.get("rank_pattern") or {}).items() if _matches(p, k)), config["r"])
        alpha = next(
            (v for k, v in (config.get("alpha_pattern") or {}).items() if _matches(p, k)), config["lora_alpha"]
        )
        out_features, in_features = model.get_submodule(p).weight.shape
        if A.shape != (r, in_features) or B.shape != (out_features, r):
            raise UserError(
                f"{path}: {p} has A {tuple(A.shape)} and B {tuple(B.shape)}; "
                f"expected {(r, in_features)} and {(out_features, r)}.\nThe adapter belongs to a model of another size."
            )
        scale = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
        layer = _wrap(model, p)
        layer.add(name, A.to(layer.weight.device), B.to(layer.weight.device), scale, 0.0)
    set_adapter(model, name)
