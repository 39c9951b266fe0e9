"""What --freeze_layers saves, stage by stage, on a model of GPT-2's size with random weights.

    python bench/freeze.py                         # LoRA and full fine-tuning, 0 and 0.8 frozen; ten minutes on a core

SFT -> RM -> PPO, DPO, GFN as the scripts run, each in a process of its own: 8 responses a step of 24 tokens to prompts
of 24, fp32, PPO with a value network, GFN and PPO with that reward model. Of the steps, not of loading and saving:
`held` is the memory of the process when the first step begins, `peak` its highest in two steps, both MB of 10^6 bytes;
the time is the processor's (user time) for the second step: it hardly depends on who else uses the machine.
"""

import argparse
import contextlib
import ctypes
import importlib
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
from work import memory, write_model, write_pairs  # noqa: E402

COMMON = ["--steps", "3", "--batch_size", "8", "--max_response", "24", "--eval_fraction", "0.1", "--eval_every", "0",
          "--save_every", "0", "--device", "cpu", "--dtype", "fp32", "--no-plot"]  # fmt: skip
ROLLOUT = ["--samples_per_prompt", "4", "--eval_examples", "2", "--eval_samples", "2"]
PPO = ["--epochs", "1", "--missing_stop_penalty", "0"]
STAGES = {
    "sft": ["--samples", "1"],
    "rm": ["--normalise", "2"],
    "dpo": [],
    "ppo": [*ROLLOUT, *PPO],
    "gfn": [*ROLLOUT, "--objective", "vargrad", "--probes", "0"],
}


def measure(script: str, argv: list[str]) -> None:
    """Run a script in this process, without checkpoints; print what two of its steps cost. It ends with them, unless
    another stage needs its result."""

    from minalign import optim
    from minalign.run import Run

    found, times, step = {}, [], optim.AdamW.step

    @contextlib.contextmanager
    def loop(self, rescue=None):
        ctypes.CDLL(None).malloc_trim(0)  # what loading and merging has left to the C library
        found["held"] = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the highest starts again from here
        yield

    def counted(self, *args):
        found["trained"] = sum(p.numel() for group in self.param_groups for p in group["params"])
        return step(self, *args)

    def logged(self, *args):
        times.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
        if len(times) == 2:
            print(json.dumps(found | {"peak": memory("VmHWM"), "seconds": times[1] - times[0]}), flush=True)
            if script not in ("train_sft", "train_rm"):
                raise SystemExit

    Run.graceful_signals, Run.log, Run.save = loop, logged, lambda self, *args: None
    optim.AdamW.step = counted
    importlib.import_module(script).main(argv)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--stages", default="sft,rm,dpo,ppo,gfn", help="which; ppo and gfn need rm, all need sft")
    p.add_argument("--rank", default="16,0", help="of the adapters, 0 = full fine-tuning")
    p.add_argument("--share", default="0,0.8", help="values of --freeze_layers")
    report.flags(p)
    args = p.parse_args()
    section = report.Section(__file__, args)
    section.head("stage", "rank", "share frozen", "trained, M", "held, MB", "peak, MB", "CPU s a step")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "base").mkdir()
        write_model(work / "base")
        write_pairs(work / "pairs.jsonl", 40, 24, 24)
        for rank in args.rank.split(","):
            for share in args.share.split(","):
                for name in args.stages.split(","):
                    flags = [*COMMON, *STAGES[name], "--model", work / "base", "--data", work / "pairs.jsonl",
                             "--lora_rank", rank, "--freeze_layers", share, "--out", work / name]  # fmt: skip
                    flags += ["--init", work / "sft"] if name != "sft" else []
                    flags += ["--reward", work / "rm"] if name in ("ppo", "gfn") else []
                    command = [sys.executable, __file__, "--child", f"train_{name}", *flags]
                    done = subprocess.run(list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL, env=report.environment(args))  # fmt: skip
                    found = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"held"'))
                    section.row(name, rank, share, f"{found['trained'] / 1e6:.1f}", f"{found['held']:,.0f}",
                                f"{found['peak']:,.0f}", f"{found['seconds']:.2f}")  # fmt: skip
                for name in ("sft", "rm"):
                    shutil.rmtree(work / name, ignore_errors=True)
    section.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        measure(sys.argv[2], sys.argv[3:])
    else:
        main()
