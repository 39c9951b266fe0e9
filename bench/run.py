"""Speed and memory beside the peers, both sides in one run: the tables of docs/performance.md.

    bash bench/peers/setup.sh                      # trl and transformers, once; without them only our side is timed
    python bench/run.py                            # 124M shape; half an hour on two quiet cores
    python bench/run.py --cases sft,dpo --dtypes bf16 --malloc --write
    python bench/run.py --all --write              # this, and all other benchmarks of the processor after it

Sides alternate, each in processes of their own with the same threads, allocator settings, weights, number format and
LoRA (c_attn, rank 16). The first step of a process does not count; of the others the median does. "FLOPs" is our
model-FLOPs utilisation: products that the work needs, no prompt shared, a second, over those of one large product
timed here. "others" is how many cores other programs kept busy meanwhile: above a quarter, repeat. The peers' side
stands in bench/peers/; the GFN steps have scripts of their own, rng_gfn.py and next_sentence_gfn.py.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

import machine  # noqa: E402
import report  # noqa: E402
from work import SHAPES, write_model, write_pairs  # noqa: E402

ALL = "--lora_rank 16 --lora_targets attn.c_attn".split()
PPO = """--batch_size 32 --samples_per_prompt 1 --micro_batch 8 --epochs 4 --max_response 32 --eval_examples 1
         --eval_samples 1 --missing_stop_penalty 0""".split()
PAIRS = ["--batch_size", "8", "--max_response", "64"]
OTHERS = "rng_gfn next_sentence_gfn phases roofline startup scaling ppo_memory freeze bon".split()


@dataclass
class Case:
    """What both sides do in optimizer steps of a script."""

    unit: str
    amount: int  # of units a step
    tokens: tuple[int, int]  # of a prompt and a response
    peers: dict[str, list]  # {what it is: script of peers/ and its flags}
    ours: dict[str, list]  # {what is special: our script and its flags}
    steps: int = 0  # 0 = --steps
    passes: float = 0  # over the tokens of a unit, forward and backward counted alike; 0 = not worked out
    head: bool = True  # whether they go through the output head
    whole: bool = False  # time all of them together, with what is computed once
    pairs: dict[str, int] = field(default_factory=dict)  # {side: different records}; else each step has new ones


CASES = {
    "sft": Case("tokens", 8 * 128, (63, 64), {"trl": ["sft.py"]},
                {"": ["train_sft", "--batch_size", "8", "--max_response", "65", "--loss_on", "all"]}, passes=2 / 127),
    "rm": Case("pairs", 8, (32, 63), {"trl": ["rm.py"]}, {"": ["train_rm", *PAIRS, "--normalise", "2"]},
               passes=4, head=False),
    # Three passes over 16 pairs; on the fly: one over 48, whose log-probs under the reference are all new.
    "dpo, 3 epochs": Case(
        "pairs", 8, (32, 63), {"trl": ["dpo.py", "--whole"], "trl, cached": ["dpo.py", "--whole", "--cached"]},
        {"": ["train_dpo", *PAIRS], "on the fly": ["train_dpo", *PAIRS]}, 6, 2 * (2 + 1 / 3), True, True,
        {"trl": 16, "trl, cached": 16, "": 16, "on the fly": 48}),
    "ppo": Case("episodes", 32, (32, 32), {"trl 1.12": ["ppo.py"]},
                {"value head on the policy": ["train_ppo", *PPO, "--critic", "shared"],
                 "value network": ["train_ppo", *PPO, "--critic", "separate"]}, 3),
}  # fmt: skip


def used(case: Case | None, label: str, dtype: str, shape: dict, rate: float) -> str:
    """Return the share of the machine's FLOPs that a rate of units a second makes use of."""
    if not case or not case.passes or label:
        return ""
    body, head = machine.weights(shape)
    needed = 2 * (body + head * case.head) * case.passes * sum(case.tokens) * rate
    return f"{needed / most(dtype):.0%}"


@functools.cache
def most(dtype: str) -> float:
    """Return the FLOPs a second of one large product."""
    m, k, n = 1024, 768, 3072
    return 2 * m * k * n / machine.product_seconds(m, k, n, machine.DTYPES[dtype], torch.device("cpu"))


def rows(section: report.Section, name: str, dtype: str, unit: str, peers: list, ours: list, found: dict,
         shape: dict) -> None:  # fmt: skip
    """Write a line for each of our sides and each peer; of one side alone its numbers."""
    for label in ours:
        for peer in peers or [None]:
            mine, theirs, ratios = found.get(label), found.get(peer), ["", ""]
            if mine and theirs:
                ratios = [f"**{mine['rate'] / theirs['rate']:.2f}x**", f"{mine['peak'] / theirs['peak']:.2f}x"]
            tell = [side and f"{report.number(side['rate'])} {unit}/s, {side['peak']:,.0f} MB"
                    for side in (theirs, mine)]  # fmt: skip
            tell[0] = f"{peer}: {tell[0] or 'failed'}" if peer else "-"
            others = max((side["others"] for side in (mine, theirs) if side), default=0)
            flops = used(CASES.get(name), label, dtype, shape, mine["rate"]) if mine else ""
            section.row(", ".join(filter(None, [name, label])), dtype, tell[0], tell[1] or "failed", *ratios, flops,
                        f"{others:.2f}")  # fmt: skip


def cases(args: argparse.Namespace, dtype: str, work: Path) -> Iterator[tuple[str, str, dict, dict]]:
    """Yield name, unit and the commands of the peers and of ours, {label: command}, their data written."""
    python, half, model = report.peers_python(), ["--bf16"] * (dtype == "bf16"), work / "model"
    trl = python and (report.PEERS / "venv").exists()

    def wanted(name: str) -> bool:
        return args.cases == "all" or name.startswith(tuple(args.cases.split(",")))

    for new, steps in ((5, args.steps), (32, 3)) if wanted("sampling") else ():
        yield (f"sampling 256 x {new}", "tokens",
               {"transformers": [python, HERE / "peers" / "generate.py", model, new, steps, *half]} if python else {},
               {"": [sys.executable, HERE / "sampling.py", model, new, steps, *half]})  # fmt: skip
    for name, case in CASES.items():
        if not wanted(name):
            continue
        steps, held = case.steps or args.steps, write_pairs(work / "held.jsonl", 2, *case.tokens)

        def records(side: str) -> Path:
            number = case.pairs.get(side, 32 * steps)  # noqa: B023
            return write_pairs(work / f"pairs-{number}.jsonl", number, *case.tokens)  # noqa: B023

        ours = {}
        for label, (script, *flags) in case.ours.items():
            more = ["--reward", reward_model(work, records(label), dtype)] if script == "train_ppo" else []
            ours[label] = [sys.executable, HERE / "ours.py", case.amount * (steps if case.whole else 1),
                           -steps if case.whole else steps, script, "--model", model, "--data", records(label),
                           "--eval_data", held, "--dtype", dtype, "--out", work / "out", *ALL, *flags,
                           *more]  # fmt: skip
        peers = {label: [python, HERE / "peers" / script, model, records(label), steps, *flags, *half]
                 for label, (script, *flags) in case.peers.items() if trl}  # fmt: skip
        yield name, case.unit, peers, ours
    for name, steps in (("rng_gfn", args.steps), ("next_sentence_gfn", 2)):
        if wanted(name):
            worker = [HERE / f"{name}.py", "--runs", steps - 1, "--worker"]
            slow = name == "next_sentence_gfn" and dtype != "fp32"  # the reference has no other number format there
            peers = {"reference" + ", fp32" * slow: [python, *worker, "reference", args.shape, dtype]} if python else {}
            yield name, "steps", peers, {"": [sys.executable, *worker, "ours", args.shape, dtype]}


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
    p.add_argument("--cases", default="all", help="names that begin with one of these: sampling, sft, rm, dpo, ppo, "
                   "rng_gfn, next_sentence_gfn")  # fmt: skip
    p.add_argument("--all", action="store_true", help=f"then run {', '.join(OTHERS)} with their own defaults")
    p.add_argument("--dtypes", default="fp32,bf16")
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    p.add_argument("--steps", type=int, default=4, help="optimizer steps a process, of which the first is left out; "
                   "slow cases have fewer")  # fmt: skip
    p.add_argument("--rounds", type=int, default=1, help="processes a side")
    report.flags(p)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    section = report.Section(__file__, args)
    section.head("case", "dtype", "peer", "minalign", "speed", "memory", "FLOPs", "others")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "model").mkdir()
        write_model(work / "model", args.shape)
        for dtype in args.dtypes.split(","):
            for name, unit, peers, ours in cases(args, dtype, work):
                found = report.alternate(peers | ours, args.rounds, report.environment(args))
                rows(section, name, dtype, unit, list(peers), list(ours), found, SHAPES[args.shape])
    section.close()
    for name in OTHERS if args.all else ():
        print(f"\n## {name}", flush=True)
        same = ["--threads", args.threads, *["--malloc"] * args.malloc, *["--write"] * args.write]
        subprocess.run(list(map(str, [sys.executable, HERE / f"{name}.py", *same])))


if __name__ == "__main__":
    main()
