"""Time the optimizer steps of one of our scripts: `python bench/ours.py AMOUNT STEPS SCRIPT FLAGS...`, see run.py.

The script runs as a user starts it, without evaluations and checkpoints; it ends after STEPS steps. With STEPS negative
the time counts from the start of the run to the end of step -STEPS, as one: what is computed once is part of it.
"""

import contextlib
import importlib
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from work import Clock  # noqa: E402

from minalign.run import Run  # noqa: E402


def main(amount: str, steps: str, script: str, *flags: str) -> None:
    clock, wanted, start = Clock(), abs(int(steps)), Run.start

    def started(self, *args, **settings):
        start(self, *args, **settings)
        clock.began = time.perf_counter()

    def logged(self, *args, **more):
        if clock.tick() == wanted:
            clock.report(float(amount), whole=int(steps) < 0)
            raise SystemExit

    Run.start, Run.log, Run.save = started, logged, lambda self, *args: None
    Run.graceful_signals = lambda self, rescue=None: contextlib.nullcontext()
    always = ["--eval_every", "0", "--save_every", "0", "--no-plot", "--overwrite", "--steps", str(wanted + 1)]
    importlib.import_module(script).main([*flags, *always])


if __name__ == "__main__":
    main(*sys.argv[1:])
