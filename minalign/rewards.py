"""Rewards: a trained reward model, or any function of texts, `f(prompts, responses) -> list of floats`.

    reward = from_run("runs/rm-sentiment-nano", model, base)    # shares the policy's backbone where it can
    scores = reward.score(prompts, prompt_mask, tokens, mask)   # (B,), on tokens, as in PPO
    scores = reward(["Tom lost the key."], [" Anna found it."]) # on texts, as every other reward

A reward model is a GPT-2 with a scalar head, read at the last token of the response (Stiennon et al. 2020), whatever
the padding:  r = gain * (w . h_last) + bias. With `--pool sum` it is r = gain * sum_t (w . h_t) + bias over the tokens
of the response, so that a fault can be charged where it stands. Gain and bias normalise it to mean 0 and variance 1
over samples of the policy's base, as Ziegler et al. 2019, section 2.1, do before and after training.
"""

import importlib.util
import itertools
import json
import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from minalign import adapters, dist, lora
from minalign.data import pad_responses
from minalign.errors import UserError
from minalign.files import atomic_write, read_json, write_tensors
from minalign.generate import StopRule, join, left_pad, states
from minalign.hub import check_tensors, find_model, read_tensors
from minalign.model import GPT2
from minalign.stage import adapter_base, copy_for, frozen_blocks, kept, load_policy, make_trainable
from minalign.tokenizer import Tokenizer


class RewardHead(nn.Module):
    """A scalar head with a gain and a bias: hidden states (..., D) -> rewards (...)."""

    def __init__(self, width: int, device: torch.device | None = None):
        super().__init__()
        # Ziegler et al.: N(0, 1 / (d + 1)), so that rewards start with a variance of about one.
        self.weight = nn.Parameter(torch.randn(width).to(device) / math.sqrt(width + 1))
        self.gain = nn.Parameter(torch.ones((), device=device))
        # Not trained: comparisons say nothing about it, and Adam would make steps of its rounding noise.
        self.register_buffer("bias", torch.zeros((), device=device))
        # Log-odds of a preference per unit of reward: rewards times this are on the scale on which comparisons were
        # learned, P(a preferred to b) = sigmoid(difference), whatever `normalise` does to their own scale.
        self.register_buffer("log_odds", torch.ones((), device=device))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.gain * (hidden.float() @ self.weight) + self.bias

    @torch.no_grad()
    def normalise(self, rewards: Tensor) -> None:
        """Set gain and bias so that samples which now have these rewards (n,) have mean 0 and variance 1."""
        std = rewards.std(correction=0)
        if not std > 0:
            raise UserError(f"all {len(rewards)} sampled responses have one reward: --normalise cannot scale it.")
        self.gain.div_(std)
        self.log_odds.mul_(std)
        self.bias.copy_((self.bias - rewards.mean()) / std)


    @torch.no_grad()
    def copy_to(self, head: nn.Linear) -> None:
        """Make a value head predict what this head says."""
        if head.in_features != len(self.weight):
            raise UserError(f"--value_init rm: the reward model's states have {len(self.weight)} numbers, the value "
                            f"network's {head.in_features}; use --value_init zero.")  # fmt: skip
        head.weight.copy_(self.gain * self.weight)
        head.bias.copy_(self.bias)


class RewardModel:
    """A trained reward model: an adapter and a head on a backbone that others may share."""

    def __init__(
        self,
        model: GPT2,
        tokenizer: Tokenizer,
        head: RewardHead,
        adapter: str | None,
        rule: StopRule,
        pool: str = "last",
    ):
        """adapter: its name in `model`, None where the backbone itself is the reward model. pool: last or sum."""
        self.model, self.tokenizer, self.head, self.adapter, self.rule = model, tokenizer, head, adapter, rule
        self.pool = pool

    def score(self, prompts: Tensor, prompt_mask: Tensor | None, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the reward of each response (B,), with gradients.

        prompts (b, P), tokens and mask (B, R) as `generate` returns them: left-padded prompts, right-padded responses
        with the token that ended them. Of several processes (dist.py) each does its part; all return the whole.
        """
        longest = int(mask.sum(1).max())
        part, prompts, prompt_mask, tokens, mask = dist.split(prompts, prompt_mask, tokens, mask)
        with lora.use(self.model, self.adapter):
            first, later = states(self.model, prompts, tokens[:, :longest], prompt_mask, last=True)
        if self.pool == "sum":
            return part.join(self.head((later.float() * mask[:, :longest, None]).sum(1)))
        last = mask.sum(1)[:, None, None].expand(-1, -1, first.size(-1))  # the state after `length` tokens
        return part.join(self.head(join(first, later).gather(1, last)[:, 0]))

    @torch.no_grad()
    def __call__(self, prompts: list[str], responses: list[str], rows: int = 128) -> list[float]:
        """Return the reward of each text; a response ends where the task's stop rule ends it."""
        scores: list[float] = []
        longest = self.model.config.n_positions - self.rule.max_new_tokens
        n = math.gcd(rows, *(len(list(run)) for _, run in itertools.groupby(prompts)))  # responses that share a prompt
        for i in range(0, len(prompts), rows):
            asked = [self.tokenizer.encode(p)[-longest:] or [self.rule.stop] for p in prompts[i : i + rows : n]]
            answers = [self.rule.cut(self.tokenizer.encode(r)) for r in responses[i : i + rows]]
            tokens, mask = pad_responses(answers, self.rule.stop)
            padded, prompt_mask = left_pad(asked, self.rule.stop, self.model.device)
            device = self.model.device
            scores += self.score(padded, prompt_mask, tokens.to(device), mask.to(device)).tolist()
        told: dict[tuple[str, str], float] = {}  # rounding depends on the batch: what is said twice is tied with itself
        return [told.setdefault(pair, score) for pair, score in zip(zip(prompts, responses), scores)]


# ---------------------------------------------------------------- a run folder


def save_head(folder: Path, head: RewardHead, rule: StopRule, pool: str = "last") -> None:
    """Write head.safetensors and reward.json (pool, and the stop rule of its training data) beside the adapter."""
    tensors = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    atomic_write(Path(folder) / "head.safetensors", lambda file: write_tensors(file, tensors))
    about = {"pool": pool, "stop_rule": rule.settings()}
    atomic_write(Path(folder) / "reward.json", json.dumps(about, indent=1) + "\n")


def from_run(
    folder: str,
    shared: GPT2 | None = None,
    shared_base: str = "",
    device: torch.device | str = "cpu",
    flag: str = "--reward",
) -> RewardModel:
    """Load the reward model of a train_rm.py run, frozen.

    shared, shared_base: a policy and the name of its original base (`stage.load_policy`). Where the reward model is an
    adapter of the same base, it becomes one more adapter, "reward", of that backbone: no second copy of the weights.
    flag: what messages call `folder`.
    """
    path = Path(folder).expanduser()
    if not (path / "head.safetensors").is_file() or not (path / "reward.json").is_file():
        choice = "gold, file.py:function, or " if flag == "--reward" else ""
        raise UserError(
            f"{flag} {folder}: expected {choice}a run of train_rm.py (a folder with head.safetensors and "
            "reward.json)" + ("; it is none of them." if choice else "; it is not one.")
        )
    base = adapter_base(path) if (path / "adapter_config.json").is_file() else str(path.resolve())
    if shared is not None and base == shared_base:
        model, adapter, before = shared, "reward", lora.active(shared)
        adapters.load_adapter(shared, path, adapter)
        lora.freeze(shared, adapter)
        lora.set_adapter(shared, before)
        tokenizer = Tokenizer.from_folder(find_model(base))
    else:
        model, tokenizer, _ = load_policy("", folder, reward_model=True)
        model, adapter = model.to(device).requires_grad_(False), None
        if shared_base and not same_vocabulary(tokenizer, shared_base):
            raise UserError(
                f"{flag} {folder} was trained on {base}, whose vocabulary is not that of {shared_base}.\n"
                "Train it from the policy's base (or another model with the same vocab.json)."
            )
    head = RewardHead(model.config.n_embd, model.device)
    saved = read_tensors(path / "head.safetensors")
    check_tensors(path / "head.safetensors", saved, head, "reward model of this size")
    head.load_state_dict(saved)
    rule, pool = _read_rule(path / "reward.json", len(tokenizer))
    return RewardModel(model, tokenizer, head.requires_grad_(False), adapter, rule, pool)


def _read_rule(path: Path, n_vocab: int) -> tuple[StopRule, str]:
    """Return the stop rule and the pool in reward.json; UserError where it is damaged."""
    about, example = read_json(path), StopRule(stop=0, max_new_tokens=1).settings()
    rule, pool = about.get("stop_rule"), about.get("pool", "last")
    if isinstance(rule, dict) and {"stop", "max_new_tokens"} <= rule.keys() <= example.keys():
        rule = {key: tuple(x) if isinstance(x, list) else x for key, x in rule.items()}
        numbers = [i for x in rule.values() for i in (x if isinstance(x, tuple) else [x])]
        alike = all(type(x) is type(example[key]) for key, x in rule.items()) and rule["max_new_tokens"]
        if alike and all(type(i) is int and 0 <= i < n_vocab for i in numbers) and pool in ("last", "sum"):
            return StopRule(**rule), pool
    raise UserError(f'{path}: expected {{"pool": "last", "stop_rule": {{"stop": 0, "max_new_tokens": 24, ...}}}}, '
                    f"found {str(about)[:100]}\nThe file is damaged: copy it again, or train the reward model again.")


def same_vocabulary(tokenizer: Tokenizer, base: str) -> bool:
    """Return whether token ids mean the same in another model."""
    other = Tokenizer.from_folder(find_model(base))
    return len(tokenizer) == len(other) and all(
        tokenizer.token_bytes(i) == other.token_bytes(i) for i in range(len(other))
    )


def make_critic(model: GPT2, cfg, reward_model: RewardModel | None) -> GPT2:
    """Return the model whose states a value network of its own reads: the adapter "value" of `model`, or a copy of it.

    cfg: a StageConfig with --value_init (zero, or rm: start as the reward model).
    """
    start = reward_model if cfg.value_init == "rm" else None
    if start and start.pool != "last":
        raise UserError("--value_init rm: a value network reads one state, this reward model sums over tokens (--pool "
                        "sum); use --value_init zero, or train it with --pool last.")  # fmt: skip
    if cfg.lora_rank == 0:
        critic = copy_for(start.model if start else model, cfg)
        make_trainable(critic, cfg)
        return critic
    if start is None:
        make_trainable(model, cfg, "value")
    elif start.model is model:
        lora.copy_adapter(model, "reward", "value")
        lora.freeze(model, "value", frozen_blocks(model, cfg))
    else:
        raise UserError("--value_init rm: the reward model must be an adapter of the policy's base (train_rm.py with "
                        "the same --model); use --value_init zero.")  # fmt: skip
    return model


def share_kept(model: GPT2, other: GPT2, cfg) -> None:
    """Let another model of one family use the memory of those untrained weights of `model` that it has, too.

    A reward model that was trained from the same SFT run with the same --freeze_layers then adds only its own blocks.
    """
    untrained = set(map(id, kept(model, cfg)))
    mine = {name: p for name, p in model.named_parameters() if id(p) in untrained}
    for name, p in other.named_parameters():
        if name in mine and mine[name].dtype == p.dtype and torch.equal(mine[name], p):
            p.data = mine[name].data


def choose(
    spec: str, gold: Callable | None, model: GPT2, cfg, base: str, device: torch.device
) -> tuple[Callable | None, RewardModel | None]:
    """Return the reward of texts that --reward names, and the reward model where it is one.

    spec: file.py:function, a run of train_rm.py, or the name of what is `gold` here. With LoRA (cfg.lora_rank) a reward
    model of the policy's base becomes one more adapter of `model`.
    """
    if ".py:" in spec:
        return from_file(spec), None
    if spec in ("gold", "likelihood", "target"):
        return gold, None
    found = from_run(spec, model if cfg.lora_rank else None, base, device)
    if found.model is not model:
        found.model.compute_in(model.dtype, store=bool(cfg.lora_rank))
        share_kept(model, found.model, cfg)
    return found, found


# ---------------------------------------------------------------- a user's own function


def from_file(spec: str, flag: str = "--reward") -> Callable[[list[str], list[str]], list[float]]:
    """Return the function that `file.py:function` names, wrapped so that what it returns is checked.

    flag: what messages call it. Of several processes (dist.py) each asks it about its part of the responses.
    """
    name, _, function = spec.rpartition(":")
    path = Path(name).expanduser()
    if not name.endswith(".py") or not path.is_file():
        raise UserError(f"{flag} {spec}: expected file.py:function with an existing file; {name or spec!r} is none.")
    module_spec = importlib.util.spec_from_file_location(f"reward_file_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses look their module up there
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{flag} {spec}: {path} cannot be imported: {_short(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{flag} {spec}: {path} has no function {function!r}: def {function}(prompts, responses).")
    score = checked(found, spec, flag)
    return lambda prompts, responses: dist.spread(lambda some: score(*zip(*some)), list(zip(prompts, responses)))


def checked(function: Callable, spec: str, flag: str = "--reward") -> Callable[[list[str], list[str]], list[float]]:
    """Wrap a reward function of texts: what it raises or returns wrongly becomes an error that names the record."""

    def reward(prompts: list[str], responses: list[str]) -> list[float]:
        try:
            scores = function(list(prompts), list(responses))
        except (Exception, SystemExit) as error:
            line = traceback.extract_tb(error.__traceback__)[-1]  # where it happened
            raise UserError(
                f"{flag} {spec} raised {_short(error)} ({line.filename}:{line.lineno})\n"
                f"for {len(prompts)} responses, the first of them {responses[0]!r}\nto the prompt {prompts[0]!r}."
            ) from error
        scores = scores.tolist() if hasattr(scores, "tolist") else scores  # of a tensor or an array
        if not isinstance(scores, list | tuple) or len(scores) != len(responses):
            what = f"{len(scores)} values" if isinstance(scores, list | tuple) else type(scores).__name__
            raise UserError(f"{flag} {spec}: expected a list of {len(responses)} numbers, one each; got {what}.")
        scores = [score.item() if getattr(score, "ndim", None) == 0 else score for score in scores]
        for prompt, response, score in zip(prompts, responses, scores):
            if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
                raise UserError(
                    f"{flag} {spec}: expected a finite number, got {score!r}\nfor the response {response!r}\n"
                    f"to the prompt {prompt!r}."
                )
        return [float(score) for score in scores]

    return reward


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no message'}"
