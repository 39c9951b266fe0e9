"""What the processes of tests/test_dist.py run: `torchrun ... tests/processes.py JOBS`, several scripts in one group.

JOBS: a JSON file of [{"script": "train_sft", "flags": [...]}, ...]. A job with "trouble" gets it in its third step, in
the second process only: SIGTERM, SIGKILL, or an exception; one with "call" calls another function than main.
"""

import importlib
import json
import signal
from pathlib import Path

from minalign import cli, dist, precision, stage

precision.has_bf16 = lambda device: True  # slowly, any CPU has


def trouble(script, kind: str) -> None:
    guard = script.check_finite

    def check_finite(step, *args, **named):
        script.check_finite = guard if step == 3 else check_finite
        if step == 3 and dist.rank() == 1:
            if kind == "exception":
                raise ValueError("the third step went wrong")
            signal.raise_signal(getattr(signal, kind))
        guard(step, *args, **named)

    script.check_finite = check_finite


def parts(argv: list[str]) -> None:
    """Print how many numbers of a model's weights each process keeps once they are divided."""
    model, _, _ = stage.load_policy(argv[0])
    divided = dist.shard(dict(model.named_parameters()), model)
    print("parts", *dist.gather(sum(p.to_local().numel() for p in divided.values())))


def main(argv: list[str]) -> None:
    for job in json.loads(Path(argv[0]).read_text()):
        script = importlib.import_module(job["script"])
        if job.get("trouble"):
            trouble(script, job["trouble"])
        try:
            getattr(script, job.get("call", "main"))(job["flags"])
        except SystemExit as end:
            print(f"{job['script']} left with {end.code}")


if __name__ == "__main__":
    cli.main(main)
