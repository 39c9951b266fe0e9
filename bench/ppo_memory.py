"""Peak memory of the stages on a model of GPT-2's size, random weights: what sharing a backbone saves.

    python bench/ppo_memory.py                     # SFT, RM, PPO as the scripts run; a few minutes on two cores

Each stage runs as its script, in a process of its own, on 32 records of 32 + 32 tokens, in micro-batches, LoRA
r = 16, fp32. PPO holds a policy, its reference, a value network and a reward model; sharing, they are one copy of the
weights and three adapters. "RM apart" gives the reward model a base of another name, and so its own copy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
from work import write_model, write_pairs  # noqa: E402


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--steps", type=int, default=2, help="optimizer steps a stage")
    p.add_argument("--folder", default="", help="where to work; default a temporary folder")
    p.add_argument("--micro_batch", type=int, default=4)
    report.flags(p)
    args = p.parse_args()
    section = report.Section(__file__, args)
    section.say(f"Micro-batches of {args.micro_batch}.")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.folder or temporary)
        for seed, name in enumerate(("base", "other")):
            if not (work / name / "config.json").exists():
                (work / name).mkdir(parents=True, exist_ok=True)
                write_model(work / name, seed=seed)  # equal weights would be shared
        write_pairs(work / "pairs.jsonl", 64, 32, 32)

        def run(name: str, script: str, base: str, *flags: str) -> dict:
            out = work / name
            command = [sys.executable, ROOT / script, "--model", work / base, "--data", work / "pairs.jsonl",
                       "--out", out, "--overwrite", "--steps", args.steps, "--batch_size", 32,
                       "--micro_batch", args.micro_batch, "--eval_fraction", 0.5, "--max_response", 32,
                       "--eval_every", 0, "--dtype", "fp32", "--no-plot", *flags]  # fmt: skip
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=report.environment(args))  # fmt: skip
            return json.loads((out / "result.json").read_text())

        few = ("--eval_examples", "4", "--eval_samples", "1", "--samples_per_prompt", "1")
        found = {
            "SFT": run("sft", "train_sft.py", "base", "--samples", "4"),
            "RM": run("rm", "train_rm.py", "base", "--normalise", "8"),
            "RM apart": run("rm_other", "train_rm.py", "other", "--normalise", "8"),
            "PPO, one backbone": run("ppo", "train_ppo.py", "base", "--reward", str(work / "rm"), *few),
            "PPO, RM apart": run("ppo_other", "train_ppo.py", "base", "--reward", str(work / "rm_other"), *few),
        }
        section.head("stage", "peak, MB", "of SFT's")
        for name, result in found.items():
            peak = result["peak_memory_mb"]
            section.row(name, f"{peak:,.0f}", f"{peak / found['SFT']['peak_memory_mb']:.2f}")
    section.close()


if __name__ == "__main__":
    main()
