"""Time the optimizer steps of one of our scripts: `python bench/ours.py AMOUNT STEPS SCRIPT FLAGS...`, see run.py.

The script runs as a user starts it, without evaluations and checkpoints; it ends after STEPS steps. With STEPS negative
the time counts from the start of the first step to the end of step -STEPS, as one.
By torchrun the amount is that of all processes, the memory that of the first.
"""

import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from work import Clock  # noqa: E402

from minalign import dist  # noqa: E402
from minalign.run import Run  # noqa: E402


def steps_of(script: str, flags: list[str], most: int, ended: Callable[[], bool], started=lambda: None) -> None:
    """Run a script; call `started` before its first step, `ended` after each step until that returns True."""

    def loop(self, rescue=None):
        started()
        return contextlib.nullcontext()

    def logged(self, *args, **more):
        if ended():
            raise SystemExit

    Run.graceful_signals, Run.log, Run.save = loop, logged, lambda self, *args: None
    always = ["--eval_every", "0", "--save_every", "0", "--no-plot", "--overwrite", "--steps", str(most + 1)]
    dist.start()
    try:
        importlib.import_module(script).main([*flags, *always])
    finally:
        dist.stop()


def main(amount: str, steps: str, script: str, *flags: str) -> None:
    clock, wanted = Clock(), abs(int(steps))

    def ended() -> bool:
        over = clock.tick() == wanted
        if over:
            clock.report(float(amount), whole=int(steps) < 0)
        return over

    def started() -> None:
        clock.began = time.perf_counter()

    steps_of(script, list(flags), wanted, ended, started)


if __name__ == "__main__":
    main(*sys.argv[1:])
