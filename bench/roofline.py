"""A LoRA step beside the bound that the machine's own matrix products set, both measured in the same run.

    python bench/roofline.py                       # 124M shape, SFT of 8 x 128 tokens, LoRA r = 16 on c_attn
    python bench/roofline.py --device cuda --compile

The bound: a forward pass' products of all blocks and of the head over 1,024 tokens, each shape timed by itself, and as
much again for the backward pass, which with LoRA has the gradients of the states and hardly any of weights. No
attention, no layer norm, no GELU, no softmax, no loss, no optimizer: a step does all of them beside it. Processes of
the bound and of the step take turns. The loss is on all tokens but the first of each row.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import machine  # noqa: E402
import report  # noqa: E402
from run import ALL  # noqa: E402
from work import SHAPES, Clock, write_model, write_pairs  # noqa: E402

ROWS, LENGTH = 8, 128


def bound(shape: str, dtype: str, device: str, runs: int = 5) -> None:
    """Print what a step's products take: seconds, and GFLOP/s of the blocks and of the head."""
    clock, found = Clock(), []
    for _ in range(runs):
        found.append(machine.forward_seconds(SHAPES[shape], ROWS * LENGTH, machine.DTYPES[dtype], torch.device(device)))
    clock.ends = [time.perf_counter()]
    for body, head in found:
        clock.ends.append(clock.ends[-1] + 2 * (body + head))
    body, head = (sorted(times)[runs // 2] for times in zip(*found))
    rates = [2e-9 * ROWS * LENGTH * n / s for n, s in zip(machine.weights(SHAPES[shape]), (body, head))]
    clock.report(ROWS * LENGTH, rates=rates)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--dtypes", default="fp32,bf16")
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--compile", action="store_true")
    p.add_argument("--steps", type=int, default=6, help="a process, of which the first is left out")
    p.add_argument("--rounds", type=int, default=3, help="processes a side")
    p.add_argument("--bound", metavar="DTYPE", help=argparse.SUPPRESS)
    report.flags(p)
    args = p.parse_args()
    if args.bound:
        return bound(args.shape, args.bound, args.device)
    section = report.Section(__file__, args)
    section.head("dtype", "blocks, GFLOP/s", "head", "bound, tokens/s", "step, tokens/s", "of the bound", "others")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "model").mkdir()
        model = write_model(work / "model", args.shape)
        data = write_pairs(work / "data", ROWS * (args.steps + 1), 1, LENGTH - 2)  # and the stop
        held = write_pairs(work / "held", 2, 1, 4)
        for dtype in args.dtypes.split(","):
            common = ["--shape", args.shape, "--device", args.device]
            flags = ["--model", model, "--data", data, "--eval_data", held, "--out", work / "out", "--dtype", dtype,
                     "--device", args.device, "--batch_size", ROWS, "--max_response", LENGTH - 1, *ALL,
                     *["--compile"] * args.compile]  # fmt: skip
            sides = {"bound": [sys.executable, __file__, "--bound", dtype, *common],
                     "step": [sys.executable, Path(__file__).parent / "ours.py", ROWS * LENGTH, args.steps,
                              "train_sft", *flags]}  # fmt: skip
            found = report.alternate(sides, args.rounds, report.environment(args))
            if len(found) < 2:
                section.row(dtype, *["failed"] * 6)
                continue
            most, step = found["bound"], found["step"]
            section.row(dtype, *(f"{rate:,.0f}" for rate in most["rates"]), f"{most['rate']:,.0f}",
                        f"{step['rate']:,.0f}", f"**{step['rate'] / most['rate']:.0%}**",
                        f"{max(most['others'], step['others']):.2f}")  # fmt: skip
    section.close()


if __name__ == "__main__":
    main()
