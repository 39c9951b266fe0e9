"""What the training scripts share: flags that mean the same in each, what is trained, what a stage hands on.

No loop is here: each script has its own, from data to checkpoint.
"""

import atexit
import copy
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minalign import adapters, cli, compilation, console, dist, hub, lora, memory, plot, precision
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import read_settings
from minalign.model import GPT2
from minalign.run import Run, run_name
from minalign.tokenizer import Tokenizer

TASK_FLAGS = {"rng": ("target", "template", "low", "high", "invalid_penalty", "invalid_per_token"),
              "grammar": ("grammar_reward",), "next_sentence": ("min_response", "illegal")}  # fmt: skip


@dataclass
class StageConfig:
    """Flags of every stage: where it starts, where it writes, optimizer, adapter, evaluation."""

    model: str = flag("nano", "nano (bundled), a hub id such as gpt2, or a folder with GPT-2 weights")
    init: str | None = flag(None, "folder of an earlier run to start from; its adapter is merged first")
    out: str | None = flag(None, "run folder; default runs/SCRIPT-TASK-MODEL, with the next number if taken")
    resume: bool = flag(False, "continue the run in --out from its last checkpoint")
    overwrite: bool = flag(False, "delete the run in --out first")
    eval_only: bool = flag(False, "train nothing: evaluate the model, or --init beside what that run started from")
    dry_run: bool = flag(False, "show settings and three records, take one step, save nothing")
    device: str = flag("auto", "auto, cpu, cuda, cuda:1 or mps")
    dtype: str = flag("auto", "of matrix products, and of frozen weights; auto = bf16 where the hardware has it, but "
                      "fp32 for nano; weights in training (--lora_rank 0) stay fp32",
                      choices=("auto", *precision.DTYPES))  # fmt: skip
    checkpoint: bool = flag(False, "activation checkpointing: of each block keep the input, run it again for gradients")
    compile: bool = flag(False, "compile the model's blocks; on a GPU capture decoding; pays off in long runs there")
    shard: str = flag("none", "of several processes each has all weights, or a part (FSDP)", choices=("none", "fsdp"))
    seed: int = flag(1, "seed of weights, data order and sampling")
    deterministic: bool = flag(False, "only algorithms that give the same bits each time: slower on a GPU")
    plot: bool = flag(True, "draw the figures")
    max_seconds: float = flag(0.0, "after this time save and end with exit code 0; --resume goes on; 0 = off")
    # records
    eval_fraction: float = flag(0.1, "share of --data held out where there is no --eval_data")
    max_response: int = flag(0, "tokens of a response at most, 0 = the task's own limit (own data: 256)")
    max_prompt: int = flag(0, "tokens of a prompt at most, its end is kept; 0 = what the model's context allows")
    # optimisation
    steps: int = flag(300, "optimizer steps; of PPO rollouts, each with epochs x minibatches of them")
    batch_size: int = flag(32, "records a step")
    micro_batch: str = flag("0", "records (PPO, GFN: responses of whole prompts) in a forward pass; gradients add up; "
                            "0 = all, auto = all, and half as many whenever memory runs out")  # fmt: skip
    learning_rate: float = flag(1e-3, "AdamW's, at its peak")
    schedule: str = flag("cosine", "of the learning rate after the warm-up, falling to 0 at the end",
                         choices=("constant", "linear", "cosine"))  # fmt: skip
    warmup_steps: int = flag(10, "steps of linear warm-up, 0 = off")
    weight_decay: float = flag(0.0, "AdamW's")
    max_grad_norm: float = flag(1.0, "clip the gradient's norm, 0 = off")
    # adapter
    lora_rank: int = flag(16, "rank of the adapters, 0 = full fine-tuning")
    lora_alpha: float = flag(0.0, "adapters are scaled by alpha / rank, 0 = twice the rank")
    lora_dropout: float = flag(0.0, "dropout on the adapters' input")
    lora_targets: tuple[str, ...] = flag(lora.TARGETS[:4], "layers that get one", choices=lora.TARGETS)
    freeze_layers: float = flag(0.0, "share of the blocks, the lowest, that stays as it is, with embeddings and head; "
                                "whole blocks, rounded down")  # fmt: skip
    # evaluation
    eval_every: int = flag(50, "steps between evaluations, 0 = only at the end")
    save_every: int = flag(500, "steps between checkpoints, 0 = only when stopped and at the end")
    keep_best: str | None = flag(None, "keep the weights of the evaluation with the best value of this metric")

    def __post_init__(self):
        self.micro_batch, self.auto_micro_batch = memory.read_size(self.micro_batch)
        self.plot = self.plot and not dist.rank()  # one of several processes draws
        plot.check() if self.plot else None  # now, not after the training
        cli.check_ranges(self, steps=(1, 1e9), batch_size=(1, 1e6), micro_batch=(0, 1e6), learning_rate=(0, 10),
                         warmup_steps=(0, 1e9), weight_decay=(0, 10), max_grad_norm=(0, 1e9), lora_rank=(0, 4096),
                         lora_alpha=(0, 1e6), lora_dropout=(0, 0.99), freeze_layers=(0, 1), eval_every=(0, 1e9),
                         save_every=(0, 1e9), max_seconds=(0, 1e9), eval_fraction=(1e-6, 0.9), max_response=(0, 1e5),
                         max_prompt=(0, 1e6))  # fmt: skip
        if self.lora_rank and not self.lora_targets:
            raise UserError(f"--lora_targets needs at least one value of {', '.join(lora.TARGETS)}.")
        dist.check_shares(self.batch_size, getattr(self, "samples_per_prompt", 1))
        if self.shard != "none" and dist.world() == 1:
            raise UserError("--shard fsdp divides the weights among processes: start several with torchrun.")
        if self.shard != "none" and self.dtype == "fp16":
            raise UserError(f"--shard {self.shard}: losses are not scaled over parts; use --dtype bf16 or fp32.")
        if self.dry_run and self.eval_only:
            raise UserError("--dry_run takes a step and --eval_only takes none: give one of them.")
        if self.keep_best and not self.eval_every:
            raise UserError("--keep_best needs evaluations to choose from: set --eval_every.")


def check_source(cfg, tasks: tuple[str, ...]) -> None:
    """Raise a UserError unless just one of --task and --data is given, and --eval_data only with the latter."""
    if (cfg.task is None) == (not cfg.data):
        raise UserError(f"give one of --task and --data: a task brings its own data.\nTasks: {', '.join(tasks)}.")
    if cfg.task and cfg.eval_data:
        raise UserError("--eval_data goes with --data: a --task holds its own records out.")


def refuse_unused(cfg, argv: list[str], **why: str | bool) -> None:
    """Raise a UserError for a flag on the command line that this task does not read, or for one of `why`.

    why: of further flags why nothing would read them, False where something does.
    """
    of_others = {name: f"it belongs to --task {task}" for task, names in TASK_FLAGS.items() if task != cfg.task
                 for name in names}  # fmt: skip
    if cfg.task == "grammar" and cfg.max_response:
        of_others["max_response"] = "the sentences of grammar are listed, whatever their length"
    cli.refuse_unused(type(cfg), argv, of_others | why)


def learning_rate_factor(cfg, step: int) -> float:
    """Return the factor on the learning rate at a step, counted from 0: linear warm-up, then the schedule."""
    if step < cfg.warmup_steps:
        return (step + 1) / cfg.warmup_steps
    progress = (step - cfg.warmup_steps) / max(1, cfg.steps - cfg.warmup_steps)
    return {"constant": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}[cfg.schedule]


def open_run(cfg, script: str, task: str | None, reads: list[str | None]) -> Run:
    """Return the run of a stage; that of a dry run writes nothing. reads: what --overwrite must not delete."""
    if cfg.dry_run:
        return Run(Path("dry run"), writes=False)
    name = run_name(script, task or "data", cfg.model)
    run = Run.create(cfg.out, name, cfg.resume, cfg.overwrite, [cfg.model, *filter(None, [cfg.init, *reads])])
    run.max_seconds = cfg.max_seconds
    if run.writes:
        atexit.register(_forget, run.path.resolve())
    return run


def _forget(folder: Path) -> None:
    """Remove the folder of a run that failed before its first step, so that its name is free again."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {"run.json", "probes.jsonl", ".lock"}:
        shutil.rmtree(folder)


def report(run: Run, step: int, before: dict, after: dict, rows: list[dict], figures: list[Path], **more) -> None:
    """End a run: print the numbers and some responses, write samples.jsonl and result.json, name the figures.

    before, after: evaluations; `before` gets base_ in front. rows: responses, {"prompt", "response", "stopped"} and
    perhaps "scores". more: further numbers of the result.
    """
    console.table(before, after)
    if rows:
        scores = {name: [row["scores"][name] for row in rows] for name in rows[0].get("scores", {})}
        run.samples(step, *([row[key] for row in rows] for key in ("prompt", "response", "stopped")), scores)
        console.samples(rows)
    if figures:
        print("figures:", *figures)
    result = run.result({**after, **{f"base_{key}": value for key, value in before.items()}, "steps": step, **more})
    print(f"{run.path}: {result['seconds']:.0f} s, {result['peak_memory_mb']:.0f} MB peak")


# ---------------------------------------------------------------- what is trained


def frozen_blocks(model: GPT2, cfg) -> int:
    """Return how many blocks, the lowest ones, --freeze_layers leaves as they are: whole ones, rounded down."""
    return int(cfg.freeze_layers * model.config.n_layer)


def kept(model: GPT2, cfg) -> list[nn.Parameter]:
    """Return the weights of a model that a stage does not train: with LoRA all, else those of --freeze_layers.

    These are the lowest blocks, the embeddings and the output head; the final layer norm and scalar heads are trained,
    as in Kirk et al.'s code. No gradient flows below the first block that is trained, so nothing down there is kept for
    the backward pass.
    """
    if cfg.lora_rank:
        return list(model.parameters())
    if not cfg.freeze_layers:
        return []
    body = model.transformer
    parts = [body.wte, body.wpe, model.lm_head, *body.h[: frozen_blocks(model, cfg)]]
    return [p for part in parts for p in part.parameters()]


def make_trainable(model: GPT2, cfg, name: str = "policy") -> dict[str, nn.Parameter]:
    """Add an adapter, or unfreeze the weights (--lora_rank 0), but for --freeze_layers; return what is to be trained.

    Blocks that stay as they are get no adapter; `lm_head` has one where --lora_targets says so. Scalar heads that the
    model has are trained.
    """
    if cfg.lora_rank:
        lora.add_adapter(model, name, cfg.lora_rank, cfg.lora_alpha or None, cfg.lora_targets, cfg.lora_dropout,
                         frozen_blocks(model, cfg))  # fmt: skip
    else:
        model.requires_grad_(True)
        for parameter in kept(model, cfg):
            parameter.requires_grad_(False)
    trained = {f"model.{key}": p for key, p in model.named_parameters() if p.requires_grad}
    dist.check_weights(model)
    if not trained:
        raise UserError(f"--freeze_layers {cfg.freeze_layers:g} leaves nothing to train; choose a smaller share.")
    return trained


def copy_for(model: GPT2, cfg) -> GPT2:
    """Return a copy of a model for another role in full fine-tuning; both have the weights that nobody trains."""
    return copy.deepcopy(model, {id(p): p for p in kept(model, cfg)})


# ---------------------------------------------------------------- what a stage hands on


def load_policy(
    model: str, init: str | None = None, reward_model: bool = False
) -> tuple[GPT2, Tokenizer, str]:
    """Load `--model`, or the result of an earlier run (`--init RUN`), as a plain GPT-2 with nothing left to switch off.

    An adapter is merged into the weights, so that the next stage's "adapter off" is the previous stage. Returns the
    model, its tokenizer, and the name of the original base, relative to which adapters are saved. reward_model: the
    run may have trained one, whose backbone is what is wanted. All in fp32: sums of weights and adapters are rounded
    once, by `precision.place`.
    """
    if init is None:
        return _checked(hub.from_pretrained(model), Tokenizer.from_folder(hub.find_model(model)), model)
    folder = Path(init).expanduser()
    if not folder.is_dir():
        raise UserError(f"--init {init}: expected the folder of an earlier run; there is no such folder.")
    if (folder / "head.safetensors").is_file() and not reward_model:
        raise UserError(f"--init {init}: expected a policy, found a reward model; train_ppo.py takes it as --reward.")
    if (folder / "adapter_config.json").is_file():
        base = adapter_base(folder) or model
        if not base:
            raise UserError(f"{folder / 'adapter_config.json'}: base_model_name_or_path is missing.\n"
                            "Write the name of the model there that the adapter was trained on.")  # fmt: skip
        policy = hub.from_pretrained(base)
        adapters.load_adapter(policy, folder)
        return _checked(lora.merge(policy), Tokenizer.from_folder(hub.find_model(base)), base)
    if (folder / "config.json").is_file():
        return _checked(hub.from_pretrained(str(folder)), Tokenizer.from_folder(folder), str(folder))
    raise UserError(
        f"--init {init}: expected adapter_config.json (LoRA) or config.json (a full model) in it; found neither.\n"
        "A run writes them when it saves; an interrupted one can be continued with --resume."
    )


def place(model: GPT2, cfg, device: torch.device) -> str:
    """Bring a model that was just loaded to the device and into --dtype; return its name, not auto."""
    model.checkpointing = cfg.checkpoint
    # Parts of weights (FSDP) stay in fp32: what is gathered of them is in half precision.
    name = precision.place(model, cfg.dtype, device, store=cfg.lora_rank > 0 and cfg.shard == "none")
    compilation.activate(model) if cfg.compile else None
    return name


def adapter_base(folder: Path) -> str:
    """Return the name of the base that a run's adapter belongs to: nano, a hub id, or the full path of a folder."""
    base = adapters.read_adapter_config(folder).get("base_model_name_or_path") or ""
    # The adapter names nano by its path, for peft; on another machine that path is another one.
    return "nano" if Path(base).parts[-2:] == hub.NANO.parts[-2:] else base


def reference(model: GPT2, cfg) -> GPT2:
    """Return the model whose bare backbone is the reference of a stage that has just loaded `model`.

    It is `model` itself where an adapter will be trained on it, and a frozen copy where its own weights will be, but
    for those of --freeze_layers, which it shares. With --eval_only it is what the run in --init started from.
    """
    if cfg.eval_only and cfg.init:
        ref = load_policy(*origin(cfg))[0].to(model.device).requires_grad_(False)
        ref.compute_in(model.dtype, store=cfg.shard == "none")
        return ref
    return model if cfg.lora_rank else copy_for(model, cfg)


def origin(cfg) -> tuple[str, str | None]:
    """Return (--model, --init) that the run in `cfg.init` started from; of an adapter without a run.json its base."""
    folder = Path(cfg.init).expanduser()
    config = read_settings(folder)
    base = adapter_base(folder) if (folder / "adapter_config.json").is_file() else ""
    told = [config.get("model"), config.get("init")]
    if not all(isinstance(x or "", str) for x in told):
        raise UserError(f"{folder / 'run.json'}: expected names as model and init, found {str(told)[:80]}")
    return told[0] or base or cfg.model, told[1] or None


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


def save_policy(model: GPT2, folder: Path, base: str, tokenizer: Tokenizer, name: str = "policy") -> None:
    """Write the policy into a run folder: PEFT's adapter files where it has adapters, else a full checkpoint.

    base: hub id or folder of the original weights, relative to which the adapter is saved (`load_policy`). Raises
    NonFiniteError, and writes nothing, where a weight that is trained is no finite number.
    """
    with dist.whole(model):
        hub.finite("weights", {key: p.detach() for key, p in model.named_parameters() if p.requires_grad})
        if dist.rank():
            return
        if lora.has_adapter(model, name):
            adapters.save_adapter(model, folder, str(hub.find_model(base)) if base == "nano" else base, name)
        else:
            hub.save_pretrained(model, folder)
            tokenizer.save(folder)
