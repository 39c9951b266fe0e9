"""What the benchmarks share that measure in processes of their own: starting them, and tables in docs/performance.md.

A process that measures prints one line of JSON (work.Clock): the amount of work in a step, seconds of steps, peak
memory. Sides that are compared take turns, with the same threads and allocator settings.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("MINALIGN_PEERS") or Path.home() / ".cache" / "minalign-peers")
PAGE = ROOT / "docs" / "performance.md"
# glibc gives large blocks back at once and asks for them anew, page by page: these settings let it keep them.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000",
          "MALLOC_TOP_PAD_": "67108864"}  # fmt: skip


def flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all of these scripts have."""
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every process that measures")
    parser.add_argument("--malloc", action="store_true", help="let glibc keep freed memory, on both sides")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Return the environment of a process that measures."""
    own = {"OMP_NUM_THREADS": str(args.threads), "MINALIGN_PEERS": str(PEERS), "HF_HUB_OFFLINE": "1"}
    return {key: x for key, x in os.environ.items() if key not in MALLOC} | own | (MALLOC if args.malloc else {})


def peers_python() -> str | None:
    """Return a Python that has the peers: of peers/setup.sh, else this one if it has them, else None."""
    if (python := PEERS / "venv" / "bin" / "python").exists():
        return str(python)
    return sys.executable if all(map(importlib.util.find_spec, ("transformers", "peft"))) else None


def once(command: list, env: dict | None = None, timeout: float | None = None) -> dict | None:
    """Run one side in a process of its own; return what it prints, with the cores that others used.

    None where it fails, which stderr tells, and where the time is up.
    """
    began, busy = time.perf_counter(), cpu()
    try:
        done = subprocess.run(list(map(str, command)), env=env, text=True, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"amount"')]
    if not lines:
        print(done.stderr[-1500:], file=sys.stderr)
        return None
    seconds, (all_, own) = time.perf_counter() - began, (b - a for a, b in zip(busy, cpu()))
    return json.loads(lines[-1]) | {"others": max(0.0, all_ - own) / seconds}


def cpu() -> tuple[float, float]:
    """Return seconds that all programs, and that we and our children, have used the processors."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    own = os.times()
    return (fields[0] + fields[1] + fields[2]) / os.sysconf("SC_CLK_TCK"), sum(own[:4])


def alternate(sides: dict[str, list], rounds: int, env: dict) -> dict[str, dict]:
    """Run the sides in turn; return what each printed last, with `rate` (median), `peak` and `others` (highest)."""
    runs: dict[str, list] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, command in sides.items():
            runs[side] += filter(None, [once(command, env)])
    return {side: found[-1] | {"rate": found[0]["amount"] / statistics.median(s for run in found
                                                                             for s in run["seconds"]),
                               "peak": max(run["peak"] for run in found),
                               "others": max(run["others"] for run in found)}
            for side, found in runs.items() if found}  # fmt: skip


def number(x: float) -> str:
    """Return a number with three digits that count, or whole."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


class Section:
    """What a script writes between its markers in docs/performance.md: lines of Markdown, printed as they come."""

    def __init__(self, script: str, args: argparse.Namespace):
        self.name, self.args, self.lines = Path(script).name, args, []
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        about = [found[1] if found else platform.processor(), f"{args.threads} thread{'s' * (args.threads > 1)}",
                 f"torch {importlib.metadata.version('torch')}"]  # fmt: skip
        self.say(", ".join(about) + ", glibc told to keep freed memory (`--malloc`)" * args.malloc + ".")

    def say(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def head(self, *columns: str) -> None:
        """Begin a table."""
        self.say("", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|")

    def row(self, *cells) -> None:
        """Add a line to the table."""
        self.say(f"| {' | '.join(map(str, cells))} |")

    def close(self) -> None:
        """With --write put the lines into the page."""
        if not self.args.write:
            return
        begin, end = (f"<!-- {of}bench/{self.name} -->\n" for of in ("", "end of "))
        text = PAGE.read_text()
        if text.count(begin) != 1 or text.count(end) != 1:
            sys.exit(f"{PAGE}: expected one pair of lines {begin.strip()} and {end.strip()}")
        before, _, rest = text.partition(begin)
        PAGE.write_text(before + begin + "\n".join(self.lines) + "\n" + end + rest.partition(end)[2])
