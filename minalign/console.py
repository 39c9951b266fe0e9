"""What a person reads in the terminal at the end of a stage: numbers before and after, and some responses."""

import shutil
import sys
import textwrap

from minalign import dist

_said: set[str] = set()


def warn(key: str, text: str) -> None:
    """Print a loud warning on stderr, once a run for each key."""
    if key not in _said and not dist.rank():
        _said.add(key)
        print(f"\nWARNING: {text}", file=sys.stderr)


def table(before: dict[str, float], after: dict[str, float]) -> None:
    """Print the numbers of two evaluations side by side; of one where `before` is empty."""
    wide, columns = max(map(len, after)), [before, after] if before else [after]
    print(f"\n{'':{wide}} {'before':>10} {'after':>10}" if before else "")
    for key in after:
        print(f"{key:{wide}}", *(f"{column.get(key, float('nan')):10.4g}" for column in columns))


def samples(rows: list[dict], n: int = 4) -> None:
    """Print n responses of different prompts: `prompt >>> response`, with their scores.

    rows: {"prompt", "response", "stopped", "scores": {name: value}}, as in samples.jsonl.
    """
    first = {row["prompt"]: row for row in reversed(rows)}  # of several responses to a prompt the first
    for row in list(first.values())[::-1][:n]:
        scores = ", ".join(f"{name} {value:.3g}" for name, value in row.get("scores", {}).items())
        end = "" if row["stopped"] else " [cut]"
        text = f"{row['prompt']} >>>{row['response']}{end}" + (f"  ({scores})" if scores else "")
        print("\n" + textwrap.fill(text, min(120, shutil.get_terminal_size((120, 24)).columns)))
    print()
