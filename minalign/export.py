"""Export a run as a plain model folder, which `transformers` and all that reads its format can load.

    python -m minalign.export runs/ppo-sentiment-nano                 # writes runs/ppo-sentiment-nano/merged
    python -m minalign.export runs/ppo-sentiment-nano --dtype fp16 --out my-model

A policy becomes what AutoModelForCausalLM loads, its adapters merged, with a generation_config.json that samples as the
run did. A reward model becomes what AutoModelForSequenceClassification loads, with one label, the reward:

    text = prompt + response + "<|endoftext|>"       # as in training: the reward is read after the response's end
    reward = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]

transformers reads that label at the last token that is not padding. GPT-2 has no padding token of its own, and where
<|endoftext|> stands in for it, as is usual, the reward would be read one token too early: the exported vocabulary
has one more token, <|pad|>. Padding goes to the right.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minalign import cli, hub, stage
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write, disk_errors, read_json, read_settings
from minalign.model import GPT2
from minalign.rewards import RewardModel, from_run
from minalign.tasks import rng
from minalign.tasks.setting import TEXTS, WORLDS, setting
from minalign.tokenizer import Tokenizer

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PAD = "<|pad|>"


@dataclass
class Config:
    run: str | None = flag(None, "folder of a run; also the first word of the command line")
    out: str | None = flag(None, "folder to write, default RUN/merged")
    dtype: str = flag("fp32", "of the weights in the file", choices=tuple(DTYPES))
    overwrite: bool = flag(False, "delete --out first")

    def __post_init__(self):
        if not self.run:
            raise UserError("expected the folder of a run: python -m minalign.export RUN [--out FOLDER]")


def settings(run: Path) -> dict:
    """Return what a run's run.json tells of model, task and sampling, {} where it has none; UserError where damaged."""
    config = {key: x for key, x in read_settings(run).items() if x is not None}
    right = {"model": lambda x: isinstance(x, str), "task": lambda x: x in [*WORLDS, *TEXTS, "next_sentence"],
             "temperature": lambda x: type(x) in (int, float) and 0 < x < 1e6,
             "max_response": lambda x: type(x) is int and 0 <= x < 1e6}  # fmt: skip
    if wrong := [key for key in right if key in config and not right[key](config[key])]:
        raise UserError(f"{run / 'run.json'}: {wrong[0]} is {str(config[wrong[0]])[:60]!r}\n"
                        "the file is damaged: write what the run was started with")  # fmt: skip
    return {key: x for key, x in config.items() if key in right}


def generation(config: dict, tokenizer: Tokenizer) -> dict:
    """Return generation_config.json of a run with these `settings`: samples from the policy itself, as it did.

    transformers keeps the 50 likeliest tokens unless it is told otherwise.
    """
    eot = tokenizer.eot
    found = {"bos_token_id": eot, "eos_token_id": eot, "pad_token_id": eot, "do_sample": True, "top_k": 0,
             "temperature": config.get("temperature", 1.0)}  # fmt: skip
    if not config:
        return found
    task, most = config.get("task"), config.get("max_response", 0)
    rule = rng.stop_rule(tokenizer, most) if task == "rng" else setting(task, tokenizer, most, torch.device("cpu")).rule
    return found | {"max_new_tokens": rule.max_new_tokens, "min_new_tokens": rule.min_new_tokens}


def export_policy(run: Path, out: Path, dtype: torch.dtype) -> None:
    """Write the policy of a run, merged, with its tokenizer and generation_config.json."""
    config = settings(run)
    policy, tokenizer, _ = stage.load_policy(config.get("model", "nano"), str(run))
    tokenizer.save(out)
    atomic_write(out / "generation_config.json", json.dumps(generation(config, tokenizer), indent=2) + "\n")
    hub.save_pretrained(policy, out, dtype)


def export_reward(run: Path, out: Path, dtype: torch.dtype) -> None:
    """Write the reward model of a run as GPT2ForSequenceClassification with one label.

    That class has no bias, so ours goes into the last layer norm: gain w . (h + d) = gain w . h + bias for
    d = bias w / (gain |w|^2).
    """
    found = from_run(str(run), flag="RUN")
    if found.pool != "last":
        raise UserError(f"{run}: this reward model sums over tokens (--pool sum), transformers' reads one.\n"
                        "Train it with --pool last, or load it here: minalign.rewards.from_run")  # fmt: skip
    model, weight = with_pad(found), found.head.gain * found.head.weight
    with torch.no_grad():
        model.transformer.ln_f.bias += found.head.bias * weight / weight.square().sum()
    write_with_pad(found.tokenizer, out)
    label, n = {"0": "reward"}, model.config.vocab_size
    settings = {"architectures": ["GPT2ForSequenceClassification"], "id2label": label, "label2id": {"reward": 0},
                "pad_token_id": n - 1, "problem_type": "regression"}  # fmt: skip
    hub.save_pretrained(model, out, dtype, {"score.weight": weight[None]}, settings)


def with_pad(reward_model: RewardModel) -> GPT2:
    """Return a copy of the backbone with one more token, the padding, whose embedding is zero."""
    old = reward_model.model
    model = GPT2(replace(old.config, vocab_size=old.config.vocab_size + 1, tie_word_embeddings=True))
    table = old.transformer.wte.weight
    state = {key: tensor for key, tensor in old.state_dict().items() if not key.startswith(("heads.", "lm_head."))}
    state["transformer.wte.weight"] = torch.cat([table, torch.zeros_like(table[:1])])
    model.load_state_dict(state | {"lm_head.weight": state["transformer.wte.weight"]})
    return model


def write_with_pad(tokenizer: Tokenizer, out: Path) -> None:
    """Write the vocabulary files with <|pad|> as the last token."""
    tokenizer.save(out)
    vocab = read_json(out / "vocab.json")
    if PAD in vocab or len(vocab) != max(vocab.values()) + 1:
        raise UserError(f"{tokenizer.folder / 'vocab.json'}: expected ids without gaps and no token {PAD}.")
    atomic_write(out / "vocab.json", json.dumps(vocab | {PAD: len(vocab)}, ensure_ascii=False))
    about = read_json(out / "tokenizer_config.json") | {"tokenizer_class": "GPT2Tokenizer", "pad_token": PAD,
                                                        "padding_side": "right"}  # fmt: skip
    atomic_write(out / "tokenizer_config.json", json.dumps(about, indent=2) + "\n")


def main(argv: list[str]) -> None:
    """Export the run that the command line names."""
    first = [f"--run={argv[0]}"] if argv and not argv[0].startswith("-") else []
    cfg, _ = cli.parse(Config, first + argv[len(first) :])
    run = Path(cfg.run).expanduser()
    out = Path(cfg.out).expanduser() if cfg.out else run / "merged"
    if not run.is_dir():
        raise UserError(f"{run}: expected the folder of a run; there is no such folder.")
    own, into = run.resolve(), out.resolve()
    if into in own.parents or own in (into, *into.parents) and into != own / "merged":
        raise UserError(f"--out {out}: expected a folder apart from the run's, or none for {run / 'merged'}")
    if out.exists() and not cfg.overwrite:
        raise UserError(f"--out {out} is there already\nchoose another folder, or --overwrite to delete it first")
    export = export_reward if (run / "head.safetensors").is_file() else export_policy
    with disk_errors(out.parent), tempfile.TemporaryDirectory(dir=out.parent) as folder:  # all of it, or nothing
        export(run, Path(folder) / "new", DTYPES[cfg.dtype])
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(Path(folder) / "new", out)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


if __name__ == "__main__":
    cli.main(main)
