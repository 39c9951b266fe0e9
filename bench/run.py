"""Speed and memory beside the peers, both sides in one run: the tables of docs/performance.md.

    bash bench/peers/setup.sh                      # trl and transformers, once; without them only our side is timed
    python bench/run.py                            # 124M shape; about an hour on two quiet cores
    python bench/run.py --cases sft,dpo --dtypes bf16 --write      # puts its table into docs/performance.md

Sides alternate, each in processes of their own with the same threads, allocator settings, weights, number format and
LoRA (c_attn, rank 16). The first step of a process does not count; of the others the median does. "others" is how many
cores other programs kept busy meanwhile: above a quarter, repeat. The peers' side stands in bench/peers/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from work import SHAPES, write_model, write_pairs  # noqa: E402

PEERS = Path(os.environ.get("MINALIGN_PEERS") or Path.home() / ".cache" / "minalign-peers")
BEGIN, END = "<!-- bench/run.py -->", "<!-- end of bench/run.py -->"
ALL = "--lora_rank 16 --lora_targets attn.c_attn".split()
PPO = """--batch_size 32 --samples_per_prompt 1 --micro_batch 8 --epochs 4 --max_response 32 --eval_examples 1
         --eval_samples 1 --missing_stop_penalty 0""".split()
PAIRS = ["--batch_size", "8", "--max_response", "64"]
# name: (unit, tokens of prompt and response, peer's script and flags, what a step of ours does, our script and flags)
CASES = {
    "sft": ("tokens", (63, 64), ["sft.py"], 8 * 128, ["train_sft", "--batch_size", "8", "--max_response", "65"]),
    "rm": ("pairs", (32, 63), ["rm.py"], 8, ["train_rm", *PAIRS, "--normalise", "2"]),
    "dpo": ("pairs", (32, 63), ["dpo.py"], 8, ["train_dpo", *PAIRS]),
    # 32 pairs, from the start of the run on: the reference's log-probs are part of it, once.
    "dpo, 3 epochs": ("pairs", (32, 63), ["dpo.py", "--cached", "--whole"], 96, ["train_dpo", *PAIRS]),
    "ppo, head on the policy": ("episodes", (32, 32), ["ppo.py"], 32, ["train_ppo", *PPO, "--critic", "shared"]),
    "ppo, value network": ("episodes", (32, 32), ["ppo.py"], 32, ["train_ppo", *PPO, "--critic", "separate"]),
}


def once(command: list, env: dict) -> dict | None:
    """Run one side in a process of its own; return what it prints, with the cores that others used."""
    began, busy = time.perf_counter(), cpu()
    done = subprocess.run(list(map(str, command)), env=env, text=True, capture_output=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"amount"')]
    if not lines:
        print(done.stderr[-600:], file=sys.stderr)
        return None
    seconds, (all_, own) = time.perf_counter() - began, (b - a for a, b in zip(busy, cpu()))
    return json.loads(lines[-1]) | {"others": max(0.0, all_ - own) / seconds}


def cpu() -> tuple[float, float]:
    """Return seconds that all programs, and that we and our children, have used the processors."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    own = os.times()
    return (fields[0] + fields[1] + fields[2]) / os.sysconf("SC_CLK_TCK"), sum(own[:4])


def alternate(sides: dict[str, list], rounds: int, threads: int) -> dict[str, dict]:
    """Run the sides in turn; return rate, peak memory and others of each."""
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "MINALIGN_PEERS": str(PEERS)}
    runs: dict[str, list] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, command in sides.items():
            runs[side] += filter(None, [once(command, env)])
    return {side: {"rate": found[0]["amount"] / statistics.median(s for run in found for s in run["seconds"]),
                   "peak": max(run["peak"] for run in found), "others": max(run["others"] for run in found)}
            for side, found in runs.items() if found}  # fmt: skip


def row(name: str, dtype: str, unit: str, found: dict[str, dict]) -> str:
    """Return a line of the table; of one side alone its numbers."""
    ours, peer = found.get("ours"), found.get("peer")
    if not found:
        return f"| {name} | {dtype} | failed | failed | | | |"
    tell = lambda side: f"{side['rate']:.3g} {unit}/s, {side['peak']:,.0f} MB" if side else "-"  # noqa: E731
    ratios = ["", ""]
    if ours and peer:
        ratios = [f"**{ours['rate'] / peer['rate']:.2f}x**", f"{ours['peak'] / peer['peak']:.2f}x"]
    others = f"{max(side['others'] for side in found.values()):.2f}"
    return f"| {' | '.join([name, dtype, tell(peer), tell(ours), *ratios, others])} |"


def commands(args: argparse.Namespace, dtype: str, work: Path) -> Iterator[tuple[str, str, dict[str, list]]]:
    """Yield name, unit, and the commands of both sides of all cases that are wanted, their data written."""
    python, here, half = PEERS / "venv" / "bin" / "python", Path(__file__).parent, ["--bf16"] * (dtype == "bf16")
    model = work / "model"

    def wanted(name: str) -> bool:
        return args.cases == "all" or name.startswith(tuple(args.cases.split(",")))

    for new, steps in ((5, args.steps), (32, 3)) if wanted("sampling") else ():
        yield f"sampling 256 x {new}", "tokens", {
            "peer": [python, here / "peers" / "generate.py", model, new, steps, *half],
            "ours": [sys.executable, here / "sampling.py", model, new, steps, *half]}  # fmt: skip
    for name, (unit, (prompt, response), peer, amount, (script, *flags)) in CASES.items():
        if not wanted(name):
            continue
        epochs = "epochs" in name
        steps = 12 if epochs else args.steps
        data = write_pairs(work / "pairs.jsonl", 32 if epochs else 32 * args.steps, prompt, response)
        more = ["--eval_data", write_pairs(work / "held.jsonl", 2, prompt, response)]
        more += ["--reward", reward_model(work, data, dtype)] if script == "train_ppo" else []
        yield name, unit, {
            "peer": [python, here / "peers" / peer[0], model, data, steps, *peer[1:], *half],
            "ours": [sys.executable, here / "ours.py", amount, -steps if epochs else steps, script, "--model", model,
                     "--data", data, "--dtype", dtype, "--out", work / "out", *ALL, *flags, *more]}  # fmt: skip


def reward_model(work: Path, data: Path, dtype: str) -> Path:
    """Return a run of train_rm.py on these weights, for PPO: as large a reward model as the peer's."""
    out = work / f"rm-{dtype}"
    if not out.exists():
        flags = ["--model", work / "model", "--data", data, "--dtype", dtype, "--steps", 1, "--batch_size", 2,
                 "--eval_fraction", 0.1, "--eval_every", 0, "--out", out, "--no-plot", *ALL]  # fmt: skip
        subprocess.run(list(map(str, [sys.executable, ROOT / "train_rm.py", *flags])), check=True, capture_output=True)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--cases", default="all", help="names that begin with one of these: sampling, sft, rm, dpo, ppo")
    p.add_argument("--dtypes", default="fp32,bf16")
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    p.add_argument("--steps", type=int, default=4, help="optimizer steps a process, of which the first is left out")
    p.add_argument("--rounds", type=int, default=2, help="processes a side")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    args = p.parse_args()
    lines = ["| case | dtype | peer | minalign | speed | memory | others |", "|---|---|---|---|---|---|---|"]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "model").mkdir()
        write_model(work / "model", args.shape)
        for dtype in args.dtypes.split(","):
            for name, unit, sides in commands(args, dtype, work):
                if not sides["peer"][0].exists():
                    del sides["peer"]
                lines.append(row(name, dtype, unit, alternate(sides, args.rounds, args.threads)))
                print(lines[-1], flush=True)
    if args.write:
        path = ROOT / "docs" / "performance.md"
        before, _, rest = path.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


if __name__ == "__main__":
    main()
