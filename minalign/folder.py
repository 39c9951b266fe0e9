"""A run's folder: which one it is, and what run.json says about the machine that the numbers came from."""

import atexit
import contextlib
import importlib.metadata
import itertools
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

from minalign import checkpoint
from minalign.errors import UserError
from minalign.files import disk_errors, settings_of

_locks: dict[Path, IO] = {}  # the open lock files of this process
PACKAGES = ("torch", "numpy", "safetensors", "tiktoken", "huggingface_hub", "matplotlib")


def choose(
    out: str | None, default: str, resume: bool | None = False, overwrite: bool = False, reads: Sequence[str] = ()
) -> Path:
    """Make a run's folder, or find the one to resume; return its path.

    out: --out, or None for `default`, with the next number if that is taken (--resume then takes the last number).
    resume: None where there is nothing to resume and so no such flag.
    reads: what this run reads (--init, --reward, --data), which --overwrite must not delete.
    Raises UserError where the folder is taken, in use, is no run, has nothing to resume, or cannot be written.
    """
    out = out or None
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite deletes it: give one of them")
    names = (f"{default}-{n}" if n > 1 else default for n in itertools.count(1))
    if out is None and resume:
        out = [default, *itertools.takewhile(os.path.lexists, names)][-1]
    with disk_errors(out or default):
        if out is None and not overwrite:
            os.makedirs(os.path.dirname(default) or ".", exist_ok=True)
            path = Path(next(name for name in names if _made(name)))
            lock(path)
            return path
        path = Path(out or default)
        if resume:
            run = (path / "run.json").is_file()
            if not run or not checkpoint.checkpoints(path):
                what = "has no checkpoint yet" if run else "is not a run folder" if path.exists() else "does not exist"
                raise UserError(f"--resume: {path} {what}\nstart it without --resume" + " (with --overwrite)" * run)
            lock(path)
            return path
        if os.path.lexists(path) and not is_free(path):
            if not overwrite:
                go_on = "" if resume is None else "--resume to continue it, or "
                raise UserError(f"--out {path} exists\nadd {go_on}--overwrite to delete it first")
            _delete_run(path, reads)
        os.makedirs(path, exist_ok=True)
        lock(path)
    return path


def is_free(path: Path) -> bool:
    """Return whether a folder has nothing in it but what a run leaves that was killed before its run.json."""
    return path.is_dir() and all(p.name == ".lock" or ".tmp-" in p.name for p in path.iterdir())


def lock(path: Path) -> None:
    """Keep other processes out of a run's folder, until `unlock` or the end of this process, however that comes.

    Also clears what a killed one was writing. Raises UserError that names the process that has the folder. Without
    effect where the system has no such locks.
    """
    name = path.resolve() / ".lock"
    if name in _locks and name.exists():
        return
    while True:
        file = open(name, "a+")
        try:
            import fcntl  # not on Windows

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read() or "another process"
            raise UserError(f"{path} is in use by {holder}\nwait for it or end it, or choose another --out") from None
        except (ImportError, OSError):
            pass
        if name.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(name)):
            break
        file.close()  # whoever had it removed it in this moment, so that it locks nothing
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _locks[name] = file
    atexit.register(unlock, path.resolve())
    for temporary in path.glob(".*.tmp-*"):
        temporary.unlink(missing_ok=True)
    checkpoint.tidy(path)


def unlock(path: Path) -> None:
    """Let other processes have a run's folder."""
    if file := _locks.pop(path.resolve() / ".lock", None):
        with file, contextlib.suppress(OSError):
            os.unlink(file.name)


def _made(path: str) -> bool:
    """Make a folder; False if the name is taken (also by a run that starts at this very moment)."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _delete_run(path: Path, reads: Sequence[str]) -> None:
    """Delete a run folder; refuse whatever does not look like one, and one that is needed."""
    real = path.resolve()
    if path.is_symlink() or not path.is_dir() or not settings_of(path):
        raise UserError(f"--overwrite: {path} is no run folder (no run.json), so it stays\nchoose another --out")
    for used in [os.getcwd(), *filter(None, reads)]:
        if real in [Path(used).resolve(), *Path(used).resolve().parents]:
            raise UserError(f"--overwrite would delete {used}, which this run needs\nchoose another --out")
    lock(path)
    for inside in real.iterdir():  # all but the lock
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside)
        elif inside.name != ".lock":
            inside.unlink()


def machine(device: Any = None) -> dict:
    """Return what a number in a result may depend on beside the settings."""
    device = torch.device(device or "cpu")
    return {
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),  # another number of threads adds in another order: other last bits
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "git": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process in MB (10^6 bytes); NaN where the system does not say."""
    # Linux: getrusage would count the memory of the parent process, if that was larger when it started this one.
    with contextlib.suppress(OSError):
        if match := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return int(match[1]) * 1024 / 1e6
    with contextlib.suppress(ImportError):
        import resource

        # Linux counts in KB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return math.nan


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout that this code lies in, with `+` if files differ from it."""
    root = Path(__file__).resolve().parent.parent

    def git(*args):
        return subprocess.run(["git", "-C", root, *args], capture_output=True, text=True, timeout=5, check=True).stdout

    try:
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").split("\n")[:2]
        # Installed into a virtual environment that lies in someone else's checkout: not our commit.
        return commit + "+" * bool(git("status", "--porcelain", "-uno")) if Path(top) == root else None
    except (OSError, subprocess.SubprocessError):
        return None
