"""What one stage hands to the next: a policy on disk, and how a stage starts from it."""

from pathlib import Path

import torch

from minalign import hub, lora
from minalign.errors import UserError
from minalign.model import GPT2
from minalign.tokenizer import Tokenizer


def load_policy(model: str, init: str | None = None, dtype: torch.dtype = torch.float32) -> tuple[GPT2, Tokenizer, str]:
    """Load `--model`, or the result of an earlier run (`--init RUN`), as a plain GPT-2 with nothing left to switch off.

    An adapter is merged into the weights, so that the next stage's "adapter off" is the previous stage. Returns the
    model, its tokenizer, and the name of the original base, relative to which adapters are saved.
    """
    if init is None:
        return _checked(hub.from_pretrained(model, dtype), Tokenizer.from_folder(hub.find_model(model)), model)
    folder = Path(init).expanduser()
    if not folder.is_dir():
        raise UserError(f"--init {init}: expected the folder of an earlier run; there is no such folder.")
    if (folder / "adapter_config.json").is_file():
        base = lora.read_adapter_config(folder).get("base_model_name_or_path") or model
        if Path(base).parts[-2:] == hub.NANO.parts[-2:]:
            base = "nano"  # the adapter names nano by its path, for peft; on another machine that path is another one
        policy = hub.from_pretrained(base, dtype)
        lora.load_adapter(policy, folder)
        return _checked(lora.merge(policy), Tokenizer.from_folder(hub.find_model(base)), base)
    if (folder / "config.json").is_file():
        return _checked(hub.from_pretrained(str(folder), dtype), Tokenizer.from_folder(folder), str(folder))
    raise UserError(
        f"--init {init}: expected adapter_config.json (LoRA) or config.json (a full model) in it; found neither.\n"
        "A run writes them when it saves; an interrupted one can be continued with --resume."
    )


def _checked(model: GPT2, tokenizer: Tokenizer, base: str) -> tuple[GPT2, Tokenizer, str]:
    """Return the arguments, base as a full path where it is a folder; UserError where the vocabularies differ in size.

    With different sizes ids without a text could be sampled, or texts would have ids that the model lacks.
    """
    if tokenizer.n_vocab != model.config.vocab_size:
        raise UserError(
            f"{base}: the model has {model.config.vocab_size} tokens, its vocab.json {tokenizer.n_vocab}.\n"
            "Take vocab.json and merges.txt from the same model, or cut padded embedding rows off its weights."
        )
    # A local folder is named by its full path: the adapter's config must be found from any working directory.
    return model, tokenizer, str(Path(base).resolve()) if base != "nano" and Path(base).is_dir() else base


def save_policy(model: GPT2, folder: Path, base: str, tokenizer: Tokenizer) -> None:
    """Write the policy into a run folder: PEFT's adapter files where it has adapters, else a full checkpoint.

    base: hub id or folder of the original weights, relative to which the adapter is saved (`load_policy`).
    """
    if any(isinstance(module, lora.LoRALinear) for module in model.modules()):
        lora.save_adapter(model, folder, str(hub.find_model(base)) if base == "nano" else base)
    else:
        hub.save_pretrained(model, folder)
        tokenizer.save(folder)
