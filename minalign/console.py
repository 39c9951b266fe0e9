"""What a person reads in the terminal at the end of a stage: numbers before and after, and some responses."""

import math
import shutil
import statistics
import sys
import textwrap
from collections import deque

from minalign import dist

_said: set[str] = set()


def warn(key: str, text: str) -> None:
    """Print a loud warning on stderr, once a run for each key."""
    if key not in _said and not dist.rank():
        _said.add(key)
        print(f"\nWARNING: {text}", file=sys.stderr)


class Watch:
    """Warns, while a stage trains, of a loss that jumps up and stays there and of a KL that runs away.

    A loss has jumped when three in a row are each over twice the largest of the 20 to 50 before them: one alone may be
    a hard batch, and those of GFlowNets have such peaks in healthy runs. A KL runs away when it is beyond 50 nats a
    response and five times its median over the last 50 steps.
    """

    def __init__(self):
        self.losses, self.kls = deque(maxlen=53), deque(maxlen=50)

    def see(self, step: int, metrics: dict) -> None:
        """Look at what is logged of a step."""
        self.losses.append(metrics.get("loss", math.nan))
        *before, a, b, c = self.losses if len(self.losses) >= 23 else [0.0] * 4
        if min(a, b, c) > 2 * max(before) > 0:
            warn("spike", f"step {step}: the loss has jumped to {c:.3g}; in the {len(before)} steps before it was "
                 f"{max(before):.3g} at most.\nLikely: --learning_rate is too high or --warmup_steps too few, "
                 "--max_grad_norm is off, or records of another kind have come.")  # fmt: skip
        kl = metrics.get("objective/kl", math.nan)
        if len(self.kls) >= 5 and kl > max(50, 5 * statistics.median(self.kls)):
            warn("runaway", f"step {step}: the KL to the reference has run away to {kl:.3g} nats a response.\n"
                 "Likely: --beta is too small or --learning_rate too high, or the reward has a loophole: read some "
                 "responses; --kl_target and --stop_kl hold it back.")  # fmt: skip
        self.kls.append(kl if math.isfinite(kl) else 0.0)


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
