"""What every stage needs around its algorithm: seeds, device, the run folder, a clean stop.

    run = Run.create(cfg.out, run_name("gfn", cfg.task, cfg.model), cfg.resume, cfg.overwrite)
    run.start(cfg, device=device)                               # run.json
    step, tensors, meta = run.load() if run.resumed else (0, {}, {})
    with run.graceful_signals():
        while step < cfg.steps:
            ...                                                 # check_finite(step, loss=loss) before optimizer.step()
            step += 1
            run.log(step, loss=loss)                            # log before saving: what is logged later is redone
            if run.stopping or step % cfg.save_every == 0:
                run.save(step, tensors, meta)
            if run.stopping:
                run.leave(step)                             # a signal, or --max_seconds
    run.result({"kl": kl})

Of several processes (dist.py) the first decides on the folder and writes; all see the same `stopping`.
"""

import contextlib
import dataclasses
import json
import os
import random
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minalign import checkpoint, console, dist, folder
from minalign.errors import DiskError, NoMemoryError, NonFiniteError, UserError
from minalign.files import atomic_write, disk_errors, plain, read_json, settings_of
from minalign.hub import finite

# Settings that may change when a run is resumed; any other would make it a different run.
FREE = {"out", "resume", "overwrite", "steps", "max_seconds", "device", "micro_batch", "checkpoint", "compile", "shard",
        "plot", "save_every"}  # fmt: skip
TIME_UP = 1  # what `stopping` is after --max_seconds, in place of a signal's number; a signal counts for more
LOGS = ("metrics.jsonl", "samples.jsonl", "probes.jsonl")


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch (every device).

    deterministic: let torch use only algorithms that give the same bits each time; one that has none says so on stderr.
    """
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed: expected 0 to {2**32 - 1}, found {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it begins
    if deterministic != torch.are_deterministic_algorithms_enabled():  # to set what is set imports the compiler
        torch.use_deterministic_algorithms(deterministic, warn_only=True)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device for `auto` (cuda, else mps, else cpu), `cpu`, `cuda`, `cuda:1` or `mps`.

    Of several processes each gets a GPU of its own; they cannot share one, nor use mps.
    """
    several = dist.world() > 1
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available() and not several
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise UserError(f"--device: {name!r} is not one of auto, cpu, cuda, mps")
    if kind != "cpu" and not (cuda if kind == "cuda" else mps):
        what = "mps device for several processes" if several and kind == "mps" else f"{kind} device"
        raise UserError(f"--device {name}: torch {torch.__version__} finds no {what}\nuse --device auto or cpu")
    if kind == "cuda":
        if several and index:
            raise UserError(f"--device {name}: {dist.world()} processes need as many GPUs\nuse --device cuda")
        index = int(index or dist.local_rank())
        if index >= torch.cuda.device_count():
            raise UserError(f"--device: there is no cuda:{index}, only {torch.cuda.device_count()} GPUs are visible")
        torch.cuda.set_device(index)  # for graphs, and whatever else asks for the current one
        return torch.device("cuda", index)
    return torch.device(kind)


def check_finite(step: int, /, records: Sequence[str] | None = None, **named: Tensor | float | None) -> None:
    """Raise NonFiniteError, which names the step, the value and the records, if any value is NaN or infinite.

    Call it before the optimizer's step, so that the weights are still good. `records` go with the first dimension
    of the tensors. One synchronisation with the device however many tensors are given.
    """
    tensors = {name: torch.as_tensor(value).detach() for name, value in named.items() if value is not None}
    if not tensors or bool(torch.stack([t.isfinite().all().cpu() for t in tensors.values()]).all()):
        return
    name, bad = next((n, ~t.isfinite()) for n, t in tensors.items() if not t.isfinite().all())
    rows = bad.reshape(bad.shape[0], -1).any(1).nonzero().flatten().tolist() if bad.ndim else None
    found = tensors[name][bad].flatten()[0].item()
    where = f" in {int(bad.sum())} of {bad.numel()} values, rows {str(rows[:8])[1:-1]}" if rows else ""
    records = [records[i] for i in rows] if rows and len(records or ()) == len(bad) else records
    texts = "; ".join(repr(str(r)[:60]) for r in (records or [])[:4])
    raise NonFiniteError(
        f"step {step}: {name} is {found}{where}; stopped before the weights changed"
        + (f"\nrecords: {texts}" if texts else "")
        + "\nlower the learning rate, or look at these records and their rewards"
    )


def run_name(*parts: str) -> str:
    """Return the default folder of a run, as runs/gfn-rng-nano; of a part that is a path, the last name counts."""
    return "runs/" + "-".join(re.sub(r"[^\w.]+", "-", Path(p).name) for p in parts if p)


class Run:
    """One run's folder and clock. `stopping` is 0, or the signal that asked for an end after this step, or TIME_UP.

    max_seconds: after which this process is asked to end, 0 = never.
    """

    def __init__(self, path: str | os.PathLike, resumed: bool = False, writes: bool = True):
        self.path, self.resumed, self.writes = Path(path), resumed, writes and not dist.rank()
        self.stopping = self._asked = 0
        self._watch = console.Watch()
        self._clock = self._began = time.perf_counter()
        self.max_seconds = 0.0
        self.logged = self.saved = -1  # the last step that this process has finished; saved

    @classmethod
    def create(
        cls, out: str | None, default: str, resume: bool | None = False, overwrite: bool = False,
        reads: Sequence[str] = (),
    ) -> "Run":
        """Make the run's folder, or find the one to resume: see `folder.choose`."""
        path = dist.first(lambda: str(folder.choose(out, default, resume, overwrite, reads)))
        return cls(path, resumed=bool(resume))

    def start(self, config: Any, device: Any = None, free: Sequence[str] = ()) -> None:
        """Write run.json; a resumed run must have the settings that it began with, but for FREE and `free`."""
        settings = plain(dataclasses.asdict(config))
        dist.check_alike("settings", {**settings, "plot": None})
        if not self.writes:
            return
        with disk_errors(self.path):
            folder.lock(self.path)
        began, history, here = time.strftime("%Y-%m-%dT%H:%M:%S%z"), [], folder.machine(device)
        if self.resumed:
            old = read_json(self.path / "run.json")
            whole = isinstance(old.get("history"), list) and {"started", "command"} <= old.keys()
            if not (whole and settings_of(self.path)):
                raise UserError(f"--resume: {self.path}/run.json is damaged\nstart a new run with another --out")
            fixed = settings.keys() & old["config"].keys() - FREE - set(free)
            was = {k: v for k, v in old["config"].items() if k in fixed and v != settings[k]}
            if was:
                found = ", ".join(f"--{k} is {settings[k]} (was {v})" for k, v in was.items())
                raise UserError(f"--resume needs the settings of the run, but {found}\nit ran: {old['command']}")
            began, history = old["started"], [*old["history"], old["command"]]
            machine = ("device", "threads", "processes")
            if other := [f"{x} {old[x]}, now {here[x]}" for x in machine if old.get(x, here[x]) != here[x]]:
                print(f"warning: it began with {', '.join(other)}; it goes on, not to the last bit", file=sys.stderr)
            if not checkpoint.checkpoints(self.path):  # else `load` must succeed first
                self._unfinished()
        about = {
            "config": settings,
            "command": shlex.join(["python", *sys.orig_argv[1:]]),
            "history": history,
            "started": began,
            "seed": settings.get("seed"),
            **here,
        }
        atomic_write(self.path / "run.json", json.dumps(about, indent=1) + "\n")

    def log(self, step: int, metrics: dict | None = None, /, **more: Any) -> None:
        """Append one line to metrics.jsonl, what is not finite as null; then `listen`."""
        row = {"step": step, **(metrics or {}), **more}
        self.append("metrics.jsonl", [row])
        self.logged = step
        self._watch.see(step, row)
        self.listen()

    def listen(self) -> None:
        """Set `stopping` where a signal has come to any of several processes: all of them stop after the same step."""
        if self.max_seconds and time.perf_counter() - self._began >= self.max_seconds:
            self._asked = self._asked or TIME_UP
        self.stopping = max(dist.gather(self._asked))

    def samples(
        self, step: int, prompts: Sequence[str], responses: Sequence[str], stopped: Sequence, scores: dict | None = None
    ) -> None:
        """Append one line a response to samples.jsonl; scores is {name: one value a response}."""
        columns = {name: plain(values) for name, values in (scores or {}).items()}
        rows = []
        for i, (prompt, response, stop) in enumerate(zip(prompts, responses, plain(stopped), strict=True)):
            row_scores = {name: values[i] for name, values in columns.items()}
            rows.append({"prompt": prompt, "response": response, "step": step, "stopped": stop, "scores": row_scores})
        self.append("samples.jsonl", rows)

    def rows(self, name: str, rows: list[dict]) -> None:
        """Write a JSONL file of the run, such as predictions.jsonl, anew."""
        if self.writes:
            text = "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)
            atomic_write(self.path / name, text.encode("utf-8", "backslashreplace"))

    def append(self, name: str, rows: list[dict]) -> None:
        """Append lines to one of LOGS."""
        if self.writes:
            text = "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)
            with disk_errors(self.path / name), open(self.path / name, "ab") as file:
                file.write(text.encode("utf-8", "backslashreplace"))  # half a surrogate pair becomes its JSON escape

    def save(self, step: int, tensors: dict[str, Tensor], meta: dict | None = None) -> None:
        """Save what `load` returns, with the length of the logs and the time spent so far.

        Raises NonFiniteError, and saves nothing, where weights or the optimizer's moments are no finite numbers.
        """
        tensors = {name: dist.full(tensor.detach()) for name, tensor in tensors.items()}
        finite("weights", {name: t for name, t in tensors.items() if not name.startswith("replay")})
        if not self.writes:
            return
        lengths = {}
        for name in LOGS:
            if (self.path / name).exists():
                with disk_errors(self.path / name), open(self.path / name, "ab") as file:
                    os.fsync(file.fileno())  # the checkpoint must not outlive the lines that it counts
                    lengths[name] = file.tell()
        checkpoint.save_state(
            self.path, step, tensors, {"logs": lengths, "seconds": self.seconds(), "user": meta or {}}
        )
        self.saved = step

    def load(self) -> tuple[int, dict[str, Tensor], dict]:
        """Return (step, tensors, meta) of the last good checkpoint; cut from the logs what came after it."""
        step, tensors, about = checkpoint.load_state(self.path)
        self._unfinished()
        self._clock = time.perf_counter() - about["seconds"]
        for name in LOGS if self.writes else ():
            path, length = self.path / name, about["logs"].get(name, 0)
            if path.exists() and path.stat().st_size >= length:
                with disk_errors(path):
                    os.truncate(path, length)
            elif length:
                print(f"warning: {path} has lost lines since the checkpoint was saved", file=sys.stderr)
        return step, tensors, about["user"]

    def _unfinished(self) -> None:
        """Remove result.json, which says that a run has ended: this one goes on."""
        if self.writes:
            with disk_errors(self.path):
                (self.path / "result.json").unlink(missing_ok=True)

    def seconds(self) -> float:
        """Return the wall-clock time spent on this run, that before a resume included."""
        return time.perf_counter() - self._clock

    def result(self, numbers: dict) -> dict:
        """Write result.json, flat and last of all, with `seconds` and `peak_memory_mb`; return what was written."""
        numbers = plain(numbers) | {"seconds": round(self.seconds(), 3)}
        numbers["peak_memory_mb"] = round(folder.peak_memory_mb(), 1)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            numbers["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        assert not any(isinstance(v, dict | list) for v in numbers.values()), f"result.json is flat, not {numbers}"
        if self.writes:
            atomic_write(self.path / "result.json", json.dumps(plain(numbers), indent=1) + "\n")
            folder.unlock(self.path)
        return numbers

    @contextlib.contextmanager
    def graceful_signals(self, rescue: Callable[[], Any] | None = None) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C set `stopping` instead of ending the process; a second Ctrl-C ends it at once.

        rescue: called when a UserError ends the steps, to save what there is, unless it is disk or memory that fails:
        a resumed run goes on with the next batch.
        """

        def handle(signum, frame):
            # of several processes the first Ctrl-C comes twice: torchrun passes it on
            if self._asked > TIME_UP and signum == signal.SIGINT and dist.world() == 1:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            self._asked = signum
            if dist.world() == 1:
                self.stopping = signum
            if not dist.rank():  # print is not safe in a handler
                os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")

        main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
        before = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT) if main}
        try:
            yield
        except (DiskError, NoMemoryError):
            raise
        except UserError as error:
            # What one of several processes has met alone, the others do not save with it.
            if rescue and (dist.world() == 1 or isinstance(error, NonFiniteError)):
                raise type(error)(f"{error}{self._rescued(rescue)}") from error
            raise
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _rescued(self, rescue: Callable[[], Any]) -> str:
        """Save what there is; return what to tell of it."""
        saved = self.saved
        try:
            rescue()
        except UserError as error:
            return f"; nothing was saved: {str(error).splitlines()[0]}"
        return "" if self.saved == saved else f"; step {self.saved} is saved, --resume goes on with the next batch"

    def leave(self, step: int, progress: Any = None) -> None:
        """End the process, with exit code 143 or 130 as the signal asks, 0 when time is up; say how to continue.

        progress: the steps' bar, which is closed first: else the message would stand on its line.
        """
        if progress is not None:
            progress.close()
        timed = self.stopping == TIME_UP
        if self.writes:
            why = f"--max_seconds {self.max_seconds:g}" if timed else signal.Signals(self.stopping).name
            print(f"stopped by {why} after step {step}; continue with the same flags and --resume --out {self.path}",
                  file=sys.stderr)  # fmt: skip
        folder.unlock(self.path)
        raise SystemExit(0 if timed else 128 + self.stopping)
