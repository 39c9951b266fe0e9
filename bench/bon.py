"""Time of best-of-n as its user runs it: 64 responses to each of 100 prompts, sampled, scored, ranked, with all files.

    python bench/bon.py                            # sentiment on nano, gold score: about a minute on one core
    python bench/bon.py --reward likelihood --n 16

sample_bon.py runs in a process of its own. The wall clock counts the start of Python and what nano's world has to teach
the gold score (some ten seconds, once); the processor's time does not depend on who else uses the machine.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--task", default="sentiment")
    p.add_argument("--reward", default="gold")
    p.add_argument("--n", type=int, default=64, help="responses a prompt")
    p.add_argument("--prompts", type=int, default=100)
    p.add_argument("--repeat", type=int, default=1)
    report.flags(p)
    args = p.parse_args()
    section = report.Section(__file__, args)
    section.head("task", "reward", "responses", "seconds", "CPU seconds", "responses/s")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeat):
            command = [sys.executable, ROOT / "sample_bon.py", "--task", args.task, "--reward", args.reward,
                       "--n", args.n, "--examples", args.prompts, "--out", Path(folder) / "bon",
                       "--overwrite"]  # fmt: skip
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=report.environment(args))  # fmt: skip
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            section.row(args.task, args.reward, f"{args.n} x {args.prompts}", f"{wall:.1f}", f"{used:.1f}",
                        f"{args.n * args.prompts / wall:.0f}")  # fmt: skip
    section.close()


if __name__ == "__main__":
    main()
