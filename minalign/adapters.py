"""Adapters on disk, in PEFT's format: `peft` loads what minalign saves, and the other way round."""

import json
import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from minalign.errors import UserError
from minalign.files import atomic_write, write_tensors
from minalign.hub import read_tensors
from minalign.lora import TARGETS, layers_named, set_adapter, state_of, wrap

PEFT_PREFIX = "base_model.model."


def save_adapter(model: nn.Module, folder: Path, base: str, name: str = "policy") -> None:
    """Write adapter_config.json and adapter_model.safetensors so that `peft` loads them on top of the original `base`.

    Adapters merged earlier in a chain of stages are part of it: their matrices are stacked, A = [A1; A2], B = [B1,
    B2], which adds their products. The scale is inside B, so lora_alpha = r. base: hub id or folder of the original
    weights.
    """
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, dict[str, int]] = {}  # target -> {path: rank}
    chain = getattr(model, "merged_adapters", []) + [state_of(model, name)]
    for path in sorted({path for state in chain for path in state}):
        A = torch.cat([state[path][0] for state in chain if path in state], 0).float().cpu()
        B = torch.cat([state[path][1] for state in chain if path in state], 1).float().cpu()
        tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"] = A.contiguous()
        tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"] = B.contiguous()
        ranks.setdefault(next(target for target in TARGETS if path.endswith(target)), {})[path] = A.size(0)
    # A target whose layers do not all have one rank (an adapter of some layers only) is written layer by layer.
    flat: dict[str, int] = {}
    for target, of in ranks.items():
        uniform = len(of) == len(layers_named(model, [target])) and len(set(of.values())) == 1
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
    targets = config["target_modules"]
    if not isinstance(targets, str) and not (isinstance(targets, list) and all(isinstance(x, str) for x in targets)):
        refuse("target_modules", "a list of layers or a regular expression")
    if not isinstance(config.get("base_model_name_or_path") or "", str):
        refuse("base_model_name_or_path", "a hub id or a folder")
    if isinstance(targets, str):
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
    """Load a PEFT adapter for GPT-2 onto a frozen backbone and make it active; UserError where it does not fit.

    Adapters on disk are relative to the original base. What `merge` has put into this model's weights since then is
    taken off again: a reward model and a policy of one family share a backbone, whichever stage's weights it holds.
    """
    folder = Path(folder)
    config = read_adapter_config(folder)
    path = folder / "adapter_model.safetensors"
    if not path.exists() and (folder / "adapter_model.bin").exists():
        path = folder / "adapter_model.bin"
    tensors = {  # beside an adapter of lm_head peft also writes the frozen head
        key.replace(".default.", "."): tensor for key, tensor in read_tensors(path).items() if ".base_layer." not in key
    }
    wanted = layers_named(model, config["target_modules"])
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
    merged = _merged(model)
    for p in wanted + [path for path in merged if path not in wanted]:
        layer = wrap(model, p)
        out_features, in_features = layer.weight.shape
        r, A, B = 0, torch.zeros(0, in_features), torch.zeros(out_features, 0)
        if p in wanted:
            A, B = (tensors[f"{PEFT_PREFIX}{p}.lora_{side}.weight"].float() for side in "AB")
            r = next((v for k, v in (config.get("rank_pattern") or {}).items() if _matches(p, k)), config["r"])
        if A.shape != (r, in_features) or B.shape != (out_features, r):
            raise UserError(
                f"{path}: {p} has A {tuple(A.shape)} and B {tuple(B.shape)}; "
                f"expected {(r, in_features)} and {(out_features, r)}.\nThe adapter belongs to a model of another size."
            )
        alpha = next(
            (v for k, v in (config.get("alpha_pattern") or {}).items() if _matches(p, k)), config["lora_alpha"]
        )
        scale = alpha / (math.sqrt(r) if config.get("use_rslora") else r) if r else 1.0
        if p in merged:
            A, B, scale = (*_without(A, B * scale, *merged[p]), 1.0)
        if len(A):
            layer.add(name, A.to(layer.weight.device), B.to(layer.weight.device), scale, 0.0)
    set_adapter(model, name)


def _merged(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {path: (A, B)} of everything that `merge` has put into the weights."""
    total: dict[str, tuple[Tensor, Tensor]] = {}
    for state in getattr(model, "merged_adapters", []):
        for path, (A, B) in state.items():
            above, left = total.get(path, (A[:0].cpu(), B[:, :0].cpu()))
            total[path] = torch.cat([above, A.cpu()]), torch.cat([left, B.cpu()], 1)
    return total


def _without(A: Tensor, B: Tensor, merged_A: Tensor, merged_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrices whose product is B A - merged_B merged_A; a beginning that both share simply drops out."""
    r = len(merged_A)
    if len(A) >= r and torch.equal(A[:r], merged_A) and torch.equal(B[:, :r], merged_B):
        return A[r:], B[:, r:]
    return torch.cat([A, merged_A]), torch.cat([B, -merged_B], 1)
