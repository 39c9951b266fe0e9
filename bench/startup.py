"""Seconds from the start of Python to the end of the first optimizer step, on nano, as a user starts a script.

    python bench/startup.py                        # median of 5 processes a script
    python bench/startup.py --scripts "train_ppo --task sentiment"

The model is loaded, the base evaluated and the first batch sampled on the way; a flag that a user would not give is
none, but that figures, which come at the end, are not drawn. Files are warm: the first process does not count.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
from work import Clock  # noqa: E402

PARTS = ["Python", "torch", "minalign", "model, data, evaluation of the base", "first step"]


def child(began: str, script: str, *flags: str) -> None:
    """Run a script up to its first step; print when its parts were done."""
    clock = Clock()
    clock.ends = [float(began), time.monotonic()]

    def tick(*args, **settings):
        clock.ends.append(time.monotonic())

    import torch  # noqa: F401

    tick()
    module = importlib.import_module(script)
    tick()
    from minalign import optim
    from minalign.run import Run

    signals, step = Run.graceful_signals, optim.AdamW.step

    def loop(self, *args):
        tick()
        return signals(self, *args)

    def first(self, *args):
        step(self, *args)
        tick()
        clock.report(1)
        raise SystemExit

    Run.graceful_signals, optim.AdamW.step = loop, first
    module.main(list(flags))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--scripts", nargs="+", default=["train_sft --task rng", "train_gfn --task rng",
                                                    "train_gfn --task next_sentence", "train_ppo --task sentiment"])
    p.add_argument("--rounds", type=int, default=5, help="processes that count")
    report.flags(p)
    args = p.parse_args()
    section = report.Section(__file__, args)
    section.head("script", *PARTS, "in all, s", "others")
    with tempfile.TemporaryDirectory() as out:
        for script in args.scripts:
            runs = []
            for _ in range(args.rounds + 1):
                flags = [*script.split(), "--out", f"{out}/run", "--overwrite", "--no-plot"]
                command = [sys.executable, __file__, "--child", time.monotonic(), *flags]
                runs.append(report.once(command, report.environment(args)))
            runs = [run for run in runs[1:] if run]
            parts = [statistics.median(times) for times in zip(*(run["seconds"] for run in runs))]
            total = statistics.median(sum(run["seconds"]) for run in runs) if runs else float("nan")
            section.row(f"`{script}`", *(f"{s:.2f}" for s in parts), f"**{total:.2f}**",
                        f"{max((run['others'] for run in runs), default=0):.2f}")  # fmt: skip
    section.close()


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
