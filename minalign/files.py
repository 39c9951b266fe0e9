"""Files that a crash, a full disk or a second reader never sees half-written; the safetensors format; plain JSON."""

import contextlib
import errno
import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from minalign import dist
from minalign.errors import DiskError, UserError

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"}
DTYPES |= {"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8"}
DISK_FIXES = {
    errno.ENOSPC: "the disk is full: free some space, or choose another folder with --out",
    errno.EDQUOT: "the disk quota is used up: free some space, or choose another folder with --out",
    errno.EACCES: "permission denied: choose a folder that you may write to with --out",
    errno.EPERM: "permission denied: choose a folder that you may write to with --out",
    errno.EROFS: "the file system is read-only: choose another folder with --out",
}


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn an OSError from writing into a DiskError, a UserError that names the path and the fix."""
    try:
        yield
    except OSError as error:
        fix = DISK_FIXES.get(error.errno, error.strerror or str(error))
        raise DiskError(f"cannot write {error.filename or path}\n{fix}") from error


class _Sum:
    """A file that is only written to, and its sha256."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def write(self, data) -> int:
        self.sha256.update(data)
        self.bytes += len(data)
        return self.file.write(data)


def write_file(path: Path, data: bytes | str | Callable[[Any], None]) -> dict:
    """Write and sync one new file; return its size and sha256."""
    # os.open, not tempfile: tempfile makes files that only their owner can read, whatever the umask says.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
        out = _Sum(file)
        data(out) if callable(data) else out.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": out.bytes, "sha256": out.sha256.hexdigest()}


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            sha256.update(chunk)
    return sha256.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable (Windows and some network disks cannot, and need not)."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def atomic_write(path: str | os.PathLike, data: bytes | str | Callable[[Any], None]) -> None:
    """Write a file so that a reader, and a crash, sees the old content or the new, never a mixture.

    `data` is the content, or a function that gets an object with `write(bytes)`. Raises UserError if the disk refuses.
    Of several processes only the first one writes.
    """
    if dist.rank():
        return
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with disk_errors(path):
        try:
            temporary.unlink(missing_ok=True)
            write_file(temporary, data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_tensors(file: Any, tensors: dict[str, Tensor]) -> None:
    """Write tensors in the safetensors format: 8 bytes of header length, a JSON header, the raw data.

    Differs from `safetensors.torch.save_file`: streams one tensor at a time (no second copy of the whole state), lets
    the caller hash, sync and place the file, and obeys the umask.
    """
    # The widest types first, as safetensors does: then every tensor lies at a multiple of its own width.
    items = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header, start = {"__metadata__": {"format": "pt"}}, 0
    for name, t in items:
        end = start + t.numel() * t.element_size()
        header[name] = {"dtype": DTYPES[str(t.dtype)[6:]], "shape": list(t.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for _, t in items:
        file.write(t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def read_json(path: Path) -> dict:
    """Return the object in a JSON file; {} where there is none."""
    try:
        data = json.loads(path.read_bytes())
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        return {}


def settings_of(folder: Path) -> dict:
    """Return the settings that a run folder's run.json tells; {} where there is none."""
    found = read_json(folder / "run.json").get("config")
    return found if isinstance(found, dict) else {}


def read_settings(folder: Path) -> dict:
    """Return `settings_of` a folder; UserError where its run.json is there and cannot be read."""
    found = settings_of(folder)
    if not found and (folder / "run.json").exists():
        raise UserError(f"{folder / 'run.json'} is damaged: it does not tell how the run was started\n"
                        "copy it again, or delete it to go by the flags alone")  # fmt: skip
    return found


def plain(x: Any) -> Any:
    """Return x in JSON's types: tensors and arrays as numbers or lists, NaN and infinities as null."""
    if isinstance(x, Tensor | np.ndarray | np.generic):
        x = x.tolist()
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x if x is None or isinstance(x, str | int | float) else str(x)
