"""Files that survive a kill, a full disk and a flipped bit; the state that a run needs to continue bit for bit.

    folder/state/step_000123/state.safetensors   every tensor: weights, optimizer, RNG states, replay buffer
                             state.json          every number and name that is no tensor
                             manifest.json       the format's version, size and sha256 of both

A checkpoint is written under a temporary name, synced to the disk and renamed: a name that begins with `step_` is a
complete checkpoint, whenever the process died. The checksums find what a rename cannot exclude (a bad disk, a copy cut
short); safetensors itself has none. No pickle is written or read.
"""

import contextlib
import itertools
import json
import math
import os
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from minalign import dist
from minalign.errors import UserError
from minalign.files import disk_errors, sha256_of, sync_folder, write_file, write_tensors

VERSION = 1  # of the format; a reader refuses what is newer
LOWER_IS_BETTER = ("loss", "perplexity", "kl", "tv", "error", "length", "_var")  # metrics with these in their names


def tidy(folder: str | os.PathLike, keep: int = 2) -> None:
    """Remove all but the last `keep` checkpoints, and what killed processes left of others."""
    _remove([path for _, path in checkpoints(folder)[:-keep]])
    for path in Path(folder, "state").glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):  # renamed first, so that half a deletion does not look like a checkpoint
            os.rename(path, path.with_name(f".tmp-old-{path.name}"))


def checkpoints(folder: str | os.PathLike) -> list[tuple[int, Path]]:
    """Return (step, path) of the checkpoints in a run folder, oldest first; none of them is verified."""
    found = []
    for path in Path(folder, "state").glob("step_*"):
        if match := re.fullmatch(r"step_(\d+)(?:\.(\d+))?", path.name):
            found.append((int(match[1]), int(match[2] or 0), path))
    return [(step, path) for step, _, path in sorted(found)]


def save_state(folder: str | os.PathLike, step: int, tensors: dict[str, Tensor], meta: dict, keep: int = 2) -> Path:
    """Save a checkpoint of `step` finished steps and drop all but the last `keep`; return its path.

    `meta` must be JSON (tuples come back as lists, keys as strings). Raises UserError if the disk refuses; the
    previous checkpoints are then untouched.
    """
    state = Path(folder, "state")
    # The same step saved again takes a new name: the old one stays valid until the new one is complete.
    names = (f"step_{step:06d}" + f".{n}" * (n > 0) for n in itertools.count())
    final = next(state / name for name in names if not (state / name).exists())
    temporary = state / f".tmp-{final.name}"
    with disk_errors(state):
        try:
            os.makedirs(state, exist_ok=True)
            tidy(folder, keep)
            os.mkdir(temporary)
            manifest = {
                "version": VERSION,
                "state.safetensors": write_file(temporary / "state.safetensors", lambda f: write_tensors(f, tensors)),
                "state.json": write_file(temporary / "state.json", json.dumps({"step": step, "meta": meta})),
            }
            write_file(temporary / "manifest.json", json.dumps(manifest, indent=1))
            sync_folder(temporary)
            os.rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(state)
    # A later step than this one is what a resumed run stepped back from (it was damaged): it must not come back.
    _remove([path for s, path in checkpoints(folder) if s > step])
    tidy(folder, keep)
    return final


def load_state(folder: str | os.PathLike) -> tuple[int, dict[str, Tensor], dict]:
    """Return (step, tensors on the CPU, meta) of the newest checkpoint whose checksums hold.

    Says on stderr which damaged ones it passed over. Raises UserError where none is left, or one is of a newer version.
    """
    found = checkpoints(folder)[::-1]
    for _, path in found:
        try:
            manifest = json.loads((path / "manifest.json").read_bytes())
            if (version := manifest.get("version", 1)) > VERSION:
                raise UserError(f"cannot resume: {path} is of version {version}, this minalign reads up to {VERSION}\n"
                                "resume with the minalign that wrote it, or a newer one")  # fmt: skip
            for name in ("state.safetensors", "state.json"):
                _verify(path / name, manifest[name])
            saved = json.loads((path / "state.json").read_bytes())
            return saved["step"], load_file(path / "state.safetensors"), saved["meta"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            print(f"warning: {path} is damaged ({error}); trying the checkpoint before it", file=sys.stderr)
    what = f"all {len(found)} checkpoints are damaged" if found else "there is no checkpoint"
    raise UserError(f"cannot resume from {folder}: {what}\nstart again without --resume (with --overwrite)")


def _verify(path: Path, wanted: dict) -> None:
    """Raise ValueError unless a file has the size and sha256 of the manifest."""
    if path.stat().st_size != wanted["bytes"]:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {wanted['bytes']}")
    if sha256_of(path) != wanted["sha256"]:
        raise ValueError(f"{path.name} does not match its checksum")


def pack_optimizer(optimizer: torch.optim.Optimizer, name: str = "optimizer") -> tuple[dict[str, Tensor], dict]:
    """Return an optimizer's state as tensors (named `name.0.exp_avg`, ...) and JSON; `name` tells two apart."""
    saved = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    meta = {"state": {}, "groups": []}
    for i, values in saved["state"].items():
        meta["state"][str(i)] = _split(values, f"{name}.{i}", tensors)
    for g, values in enumerate(saved["param_groups"]):
        meta["groups"].append(_split(values, f"{name}.group{g}", tensors))
    return tensors, meta


def _split(values: dict, prefix: str, tensors: dict[str, Tensor]) -> dict:
    """Move the tensors of a dict to `tensors`; return the rest."""
    tensors.update({f"{prefix}.{key}": v for key, v in values.items() if isinstance(v, Tensor)})
    return {key: v for key, v in values.items() if not isinstance(v, Tensor)}


def _join(values: dict, prefix: str, tensors: dict[str, Tensor]) -> dict:
    """Undo `_split`; the tensors are copies, so that the optimizer's next step leaves the caller's alone."""
    mine = {key[len(prefix) + 1 :]: t.clone() for key, t in tensors.items() if key.startswith(prefix + ".")}
    # JSON has no tuples: Adam's betas must become one again, or the next state_dict would differ from the saved one.
    return {key: tuple(v) if key == "betas" else v for key, v in values.items()} | mine


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], meta: dict, name: str = "optimizer"
) -> None:
    """Put `pack_optimizer`'s result back; raise UserError where the parameters are not the saved ones."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for key, t in tensors.items():
        match = re.fullmatch(re.escape(name) + r"\.(\d+)\.(exp_avg|exp_avg_sq|momentum_buffer)", key)
        if match and (int(match[1]) >= len(params) or t.shape != params[int(match[1])].shape):
            raise UserError(f"cannot resume: {key} of shape {tuple(t.shape)} fits no parameter of this model\n"
                            "resume with the model and adapter settings that the run was started with")  # fmt: skip
    state = {int(i): _join(values, f"{name}.{i}", tensors) for i, values in meta["state"].items()}
    for i, values in state.items():
        state[i] = {key: dist.like(t, params[i]) if key != "step" else t for key, t in values.items()}
    groups = [_join(values, f"{name}.group{g}", tensors) for g, values in enumerate(meta["groups"])]
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise UserError(f"cannot resume: the optimizer's parameters are not the saved ones ({error})") from error


def _generators(given: dict) -> dict[str, Any]:
    """Return every random number generator but NumPy's: the global ones and those given by name."""
    cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    fixed = {"python": random, "torch": torch.default_generator, **{f"cuda.{i}": g for i, g in enumerate(cuda)}}
    return fixed | {f"given.{name}": generator for name, generator in given.items()}


def pack_rng(**generators: torch.Generator | random.Random) -> tuple[dict[str, Tensor], dict]:
    """Return the state of Python's, NumPy's and torch's random number generators and of those given by name."""
    _, words, *rest = np.random.get_state()
    tensors, meta = {"rng.numpy": torch.from_numpy(words.astype("i8"))}, {"numpy": rest}
    for name, generator in _generators(generators).items():
        if isinstance(generator, torch.Generator):
            tensors[f"rng.{name}"] = generator.get_state()
        else:
            version, words, gauss = generator.getstate()
            tensors[f"rng.{name}"], meta[name] = torch.tensor(words), [version, gauss]
    return tensors, meta


def unpack_rng(tensors: dict[str, Tensor], meta: dict, **generators: torch.Generator | random.Random) -> None:
    """Put `pack_rng`'s result back, the given generators by the same names (a missing one is a KeyError)."""
    np.random.set_state(("MT19937", tensors["rng.numpy"].numpy().astype("u4"), *meta["numpy"]))
    for name, generator in _generators(generators).items():
        if name.startswith("cuda.") and f"rng.{name}" not in tensors:
            continue  # saved on a machine with fewer GPUs, or none
        if isinstance(generator, torch.Generator):
            generator.set_state(tensors[f"rng.{name}"].clone())
        else:
            version, gauss = meta[name]
            generator.setstate((version, tuple(tensors[f"rng.{name}"].tolist()), gauss))


def pack_training(trained: dict[str, Tensor], optimizer, streams: dict, scaler) -> tuple[dict[str, Tensor], dict]:
    """Return the (tensors, meta) that `Run.save` needs to continue: weights, optimizer, random streams, loss scale.

    streams: name -> torch.Generator or random.Random.
    """
    tensors, meta = pack_optimizer(optimizer)
    rng_tensors, rng_meta = pack_rng(**streams)
    return {**trained, **tensors, **rng_tensors}, {"optimizer": meta, "rng": rng_meta, "scaler": scaler.state_dict()}


def unpack_training(tensors: dict[str, Tensor], meta: dict, trained: dict[str, Tensor], optimizer, streams: dict,
                    scaler) -> None:  # fmt: skip
    """Put back what `pack_training` returned."""
    _put_back(trained, tensors)
    unpack_optimizer(optimizer, tensors, meta["optimizer"])
    unpack_rng(tensors, meta["rng"], **streams)
    scaler.load_state_dict(meta.get("scaler", {}))  # a checkpoint from before there was --dtype has none


def _put_back(trained: dict[str, Tensor], tensors: dict[str, Tensor], prefix: str = "") -> None:
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(dist.like(tensors[prefix + name], parameter))
    dist.forget_gathered()


# ---------------------------------------------------------------- the best weights


class Best:
    """The weights of the best evaluation so far (--keep_best METRIC)."""

    def __init__(self, metric: str | None, trained: dict[str, Tensor]):
        self.metric, self.trained = metric, trained
        self.lower = any(word in (metric or "").lower() for word in LOWER_IS_BETTER)
        self.value: float | None = None
        self.step, self.tensors = 0, {}
        self.since = 0  # evaluations since then

    def check(self, metrics: dict) -> None:
        """Raise a UserError unless an evaluation has the metric: before the first step, not after the fiftieth."""
        if self.metric and self.metric not in metrics:
            raise UserError(f"--keep_best {self.metric}: an evaluation has {', '.join(sorted(metrics))}.")

    def see(self, step: int, metrics: dict) -> None:
        """Compare an evaluation with the best one; remember the weights if it is better."""
        if self.metric is None:
            return
        self.check(metrics)
        value = metrics[self.metric]
        self.since += 1
        if not math.isnan(value) and (self.value is None or (value < self.value if self.lower else value > self.value)):
            self.value, self.step, self.since = value, step, 0
            self.tensors = {f"best.{name}": p.detach().clone() for name, p in self.trained.items()}

    def restore(self) -> None:
        """Put the best weights back, at the end of a run."""
        if self.tensors:
            print(f"kept step {self.step}, with the {'lowest' if self.lower else 'highest'} {self.metric}: "
                  f"{self.value:.5g}")  # fmt: skip
            _put_back(self.trained, self.tensors, "best.")

    def meta(self) -> dict:
        """Return what a checkpoint keeps beside `tensors`."""
        return {"value": self.value, "step": self.step, "since": self.since}

    def unpack(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Put back what a checkpoint kept."""
        self.value, self.step, self.since = meta["value"], meta["step"], meta["since"]
        self.tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("best.")}
