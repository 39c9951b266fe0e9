"""Model files in Hugging Face's format, read and written without transformers.

    model = from_pretrained("nano")             # the bundled model
    model = from_pretrained("gpt2-medium")      # any hub id whose config says model_type gpt2
    model = from_pretrained("path/to/folder")   # config.json + model.safetensors or pytorch_model.bin
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from minalign.errors import NonFiniteError, UserError
from minalign.files import atomic_write, read_json, write_tensors
from minalign.model import ACTIVATIONS, GPT2, GPT2Config
from minalign.tokenizer import FILES

NANO = Path(__file__).parent / "nano" / "weights"
# Published GPT-2 weights are (in, out) matrices of a Conv1D; nn.Linear wants (out, in).
CONV1D = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
BUFFERS = (".attn.bias", ".attn.masked_bias")  # old files carry the causal mask; it is not a parameter


def find_model(name: str) -> Path:
    """Return the folder that holds a model's files: the bundled nano, a local folder, or a download from the hub.

    Raises UserError where there is neither such a folder nor, within 3 seconds, a network to fetch it from.
    """
    if name == "nano":
        return NANO
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"--model {name}: expected a folder with config.json and model.safetensors; there is no such folder.\n"
            "Give an existing folder, a hub id such as gpt2, or nano (the bundled model)."
        )
    hint = (f"Give a folder with config.json, model.safetensors, {' and '.join(FILES)} (--model PATH), "
            "or use the bundled --model nano.")  # fmt: skip
    return download(name, "--model", hint, _gpt2_files)


def _gpt2_files(folder: Path) -> tuple[Sequence[str], Sequence[str]]:
    read_config(folder)  # refuse a wrong model type before its weights are fetched
    return FILES, ()


def download(repo: str, flag: str, hint: str, files: Callable[[Path], tuple[Sequence[str], Sequence[str]]]) -> Path:
    """Return the folder in the hub's cache that holds a model's files, fetched where they are not there yet.

    flag, hint: what the error messages name and advise. files: gets the folder when it holds config.json alone, and
    returns the names of the files that are needed beside it and the weights, and of those that a model may have.
    """
    from huggingface_hub import hf_hub_download  # slow to import, needed by this one path
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") or not _reachable()
    try:
        folder = Path(hf_hub_download(repo, "config.json", local_files_only=offline)).parent
        needed, optional = files(folder)
        for file in needed:
            hf_hub_download(repo, file, local_files_only=offline)
        for file in optional:
            try:
                hf_hub_download(repo, file, local_files_only=offline)
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) and not offline:  # the connection was lost
                    raise
        for name in WEIGHTS:
            try:
                hf_hub_download(repo, name, local_files_only=offline)
                break
            except EntryNotFoundError:
                if name == WEIGHTS[-1]:
                    raise
        for part in (part for part in parts(weights_file(folder)) if not part.is_file()):
            hf_hub_download(repo, part.name, local_files_only=offline)
        return folder
    except HFValidationError:
        raise UserError(f"{flag} {repo}: neither an existing folder nor a hub id.\n{hint}") from None
    except LocalEntryNotFoundError:
        raise UserError(
            f"{flag} {repo}: not in the local cache, and the Hugging Face hub cannot be reached.\n{hint}"
        ) from None
    except OSError as error:  # not found, gated, connection lost half-way: the hub's own first line says which
        raise UserError(
            f"{flag} {repo}: could not be fetched from the Hugging Face hub.\n{str(error).strip().splitlines()[0]}\n"
            f"Check the id, or give a local folder ({flag} PATH)."
        ) from None


def _reachable(seconds: float = 2.0) -> bool:
    """Try the hub's port once: huggingface_hub itself retries for 23 seconds before it gives up."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT")):
        return True  # the way leads through another host; let the hub client find it
    try:
        socket.create_connection(("huggingface.co", 443), timeout=seconds).close()
        return True
    except OSError:
        return False


def read_config(folder: Path) -> GPT2Config:
    """Read config.json; fields that change the computation are honoured or refused by name (UserError)."""
    path = Path(folder) / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if Path(folder) == NANO:
            raise UserError(
                f"The bundled model is missing from {NANO}.\n"
                f"Rebuild it (about an hour): python -m minalign.nano.pretrain --out {NANO}"
            ) from None
        raise UserError(
            f"{path}: not found. A model folder holds config.json, model.safetensors, vocab.json, merges.txt."
        ) from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path}: expected a JSON object; the file is damaged or a git-LFS pointer. Fetch it again."
        ) from None

    def refuse(key: str, expected: str):
        raise UserError(
            f"{path}: {key} is {raw.get(key)!r}; expected {expected}.\nOnly GPT-2 models can be loaded: "
            "gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2 and their fine-tunes."
        )

    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected a JSON object, found a {type(raw).__name__}. Fetch the file again.")
    # The first published files name no model type; they are known by GPT-2's own names for the sizes.
    if raw.get("model_type", "gpt2" if "n_embd" in raw else None) != "gpt2":
        refuse("model_type", "'gpt2'")
    for key in ("add_cross_attention", "quantization_config"):
        if raw.get(key):
            refuse(key, "it to be absent or false")
    if raw.get("activation_function", "gelu_new") not in list(ACTIVATIONS):  # the value may be unhashable
        refuse("activation_function", "one of " + ", ".join(ACTIVATIONS))
    # reorder_and_upcast_attn needs nothing: it changes rounding in half precision only, and SDPA sums in fp32 anyway.
    known = {f.name: f.default for f in fields(GPT2Config)}
    config = GPT2Config(**{key: raw[key] for key in known if key in raw})
    for key, default in known.items():
        value, wanted = getattr(config, key), (int if default is None else type(default))
        if value is None and default is None:
            continue
        if (
            not isinstance(value, wanted)
            and not (wanted is float and isinstance(value, int))
            or isinstance(value, bool) != (wanted is bool)
        ):
            refuse(key, f"a value of type {wanted.__name__}")
        most = 1000 if key == "n_layer" else 10**9  # layers are made one by one
        if wanted is int and key not in ("bos_token_id", "eos_token_id") and not 1 <= value <= most:
            refuse(key, f"a number from 1 to {most}")
    if config.n_embd % config.n_head:
        refuse("n_head", f"a divisor of n_embd = {config.n_embd}")
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file, or a .bin through torch.load(weights_only=True); UserError where it is damaged."""
    return dict(each_tensor(path))


def each_tensor(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of everything that `read_tensors` reads; a .safetensors file is opened for each of them.

    They lie in the mapped file, whose pages count as ours for as long as it is open: for a moment, if they are copied.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(64)
        if start.startswith(b"version https://git-lfs"):
            raise UserError(f"{path}: expected weights, found a git-LFS pointer.\n"
                            "Run `git lfs pull` in that folder, or download the file itself.")  # fmt: skip
        if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise UserError(f"{path}: expected weights, found a web page.\n"
                            "Download the file itself (the hub's `resolve` link).")  # fmt: skip
        if path.suffix == ".bin":
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
                raise UserError(
                    f"{path}: expected a state dict, {{name: tensor}}; it holds something else.\n"
                    "Save model.state_dict() alone, or use the model's .safetensors file."
                )
            yield from finite(path, tensors).items()
            return
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        for name in names:
            with safe_open(path, "pt") as file:
                yield from finite(path, {name: file.get_tensor(name)}).items()
    except FileNotFoundError:
        raise UserError(f"{path}: not found.") from None
    except UserError:
        raise
    # torch.load has no exception of its own for a damaged or refused file: RuntimeError, EOFError, UnpicklingError, ...
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError, ImportError, AttributeError,
            ArithmeticError) as error:  # fmt: skip
        raise UserError(
            f"{path}: expected weights; the file is damaged or cut short "
            f"({(str(error).splitlines() or [type(error).__name__])[0][:80]}).\n"
            "Fetch it again."
        ) from None
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise UserError(
            f"{path}: refused: it is damaged, or holds more than tensors, and loading it could then run foreign code.\n"
            "Use the model's .safetensors file instead."
        ) from None


def finite(where: Any, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors; raise NonFiniteError, which names the first with a NaN or an infinity, if there is one."""
    for name, tensor in tensors.items():
        # The least and the greatest in one pass, without a mask as large as the weights; of NaN both are NaN.
        if tensor.is_floating_point() and tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            raise NonFiniteError(f"{where}: {name} has values that are not finite (NaN or infinite).\n"
                                 "The weights are damaged: take the file again, or an earlier checkpoint.")  # fmt: skip
    return tensors


def weights_file(folder: Path) -> Path:
    """Return the file with a model's weights; UserError where there is none."""
    for file in WEIGHTS:
        if (folder / file).is_file():
            return folder / file
    raise UserError(f"{folder}: expected model.safetensors or pytorch_model.bin next to config.json; neither is there.")


def parts(path: Path) -> list[Path]:
    """Return the files with the weights of `weights_file`: itself, or those beside it that it is the index of."""
    if path.suffix != ".json":
        return [path]
    of = read_json(path).get("weight_map")
    names = list(dict.fromkeys(map(str, of.values()))) if isinstance(of, dict) else []
    # A name is a file of this folder: a path could read any other.
    if wrong := [name for name in names or [""] if not re.fullmatch(r"[\w-][\w.-]*\.(safetensors|bin)", name)]:
        raise UserError(f'{path}: expected {{"weight_map": {{TENSOR: FILE.safetensors}}}} with files of this folder, '
                        f"found {wrong[0][:60]!r}.\nFetch it again.")  # fmt: skip
    return [path.with_name(name) for name in names]


def check_tensors(path: Path, state: dict[str, Tensor], model: nn.Module, kind: str) -> None:
    """Raise UserError naming the tensors that are missing, unexpected or misshapen for `model`, a `kind` of model."""
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        raise UserError(
            f"{path}: not the tensors of a {kind}.\n"
            f"Missing: {_some(missing)}. Unexpected: {_some(unexpected)}.\n"
            "config.json and the weights must come from the same model."
        )
    wrong = [key for key in wanted if state[key].shape != wanted[key]]
    if wrong:
        raise UserError(
            f"{path}: {wrong[0]} has shape {tuple(state[wrong[0]].shape)}, "
            f"config.json asks for {tuple(wanted[wrong[0]])}.\n"
            "config.json and the weights must come from the same model."
        )


def from_pretrained(name: str, dtype: torch.dtype = torch.float32) -> GPT2:
    """Load GPT-2 weights from nano, a hub id or a folder, in any published key layout.

    Keys may or may not start with `transformer.`; causal-mask buffers are dropped; fp16 and bf16 are converted to
    `dtype`; an explicit lm_head must equal the embedding unless the config says `tie_word_embeddings: false`.
    Raises UserError naming the missing, unexpected or misshapen tensors.
    """
    folder = find_model(name)
    config = read_config(folder)
    path = weights_file(folder)
    state = {}
    for key, tensor in (item for part in parts(path) for item in each_tensor(part)):
        if key.endswith(BUFFERS):
            continue
        key = key if key == "lm_head.weight" else "transformer." + key.removeprefix("transformer.")
        tensor = tensor.t() if key.endswith(CONV1D) and tensor.dim() == 2 else tensor
        state[key] = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)

    with torch.device("meta"):
        model = GPT2(config)
    embedding, head = state.get("transformer.wte.weight"), state.get("lm_head.weight")
    if config.tie_word_embeddings:
        if head is not None and embedding is not None and not torch.equal(head, embedding):
            raise UserError(
                f"{path}: lm_head.weight differs from wte.weight, but config.json says the two are tied.\n"
                'If the head was trained apart, write "tie_word_embeddings": false into config.json.'
            )
        state["lm_head.weight"] = embedding
    check_tensors(path, state, model, f"GPT-2 with n_layer {config.n_layer}")
    model.load_state_dict(state, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.transformer.wte.weight
    return model


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def save_pretrained(
    model: GPT2,
    folder: Path,
    dtype: torch.dtype | None = None,
    heads: Mapping[str, Tensor] = {},
    settings: Mapping[str, Any] = {},
) -> None:
    """Write config.json and model.safetensors as `transformers` writes and loads them.

    Adapters must be merged first (`lora.merge`), else ValueError. A tied head is left out: a stale copy would be loaded
    instead of the embedding. dtype: of the file, default the model's own. heads, settings: further weights, and
    settings, that another architecture than GPT2LMHeadModel has.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))  # FSDP divides them again for state_dict
    names = [name for name in parameters if ".lora_" in name]
    if names:
        raise ValueError(f"the model still carries adapters ({names[0]}): save lora.merge(model)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or model.transformer.wte.weight.dtype
    state = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in heads.items()}
    for key, tensor in parameters.items():
        if key.startswith("heads.") or key == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        tensor = tensor.t() if key.endswith(CONV1D) else tensor
        state[key] = tensor.detach().to("cpu", dtype).contiguous().clone()
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        **asdict(model.config),
        "dtype": str(dtype).removeprefix("torch."),
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        **settings,
    }
    # A reader of the folder sees a whole model or none: the config, without which nothing loads, is put in place last.
    atomic_write(folder / "model.safetensors", lambda file: write_tensors(file, state))
    atomic_write(folder / "config.json", json.dumps(config, indent=2) + "\n")
