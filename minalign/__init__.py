"""How language models are aligned, from scratch. A Python or a torch that is too old is refused here, by name."""

import os
import sys

PYTHON, TORCH = "3.10", "2.6"  # the oldest, as in pyproject.toml


def _check(name: str, found: str, least: str, fix: str) -> None:
    """Stop the program, as other mistakes do: what would fail first, new syntax or a missing function, says nothing."""
    numbers = [[int(part) for part in text.split(".")[:2] if part.isdigit()] for text in (found, least)]
    if numbers[0] < numbers[1]:
        print(f"error: minalign needs {name} {least} or newer, found {found}\n{fix}", file=sys.stderr)
        raise SystemExit(2)


# oneDNN keeps programs for 1,024 shapes; decoding meets a new one with each token: gigabytes in the end.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

_check("Python", ".".join(map(str, sys.version_info[:3])), PYTHON,
       "python3.12 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt")  # fmt: skip

from importlib import metadata  # noqa: E402

try:
    _check("torch", metadata.version("torch"), TORCH, "pip install -r requirements.txt")
except metadata.PackageNotFoundError:
    _check("torch", "none", TORCH, "pip install -r requirements.txt")
