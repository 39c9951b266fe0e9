"""How speed and memory change with batch size, length, model size and processes: SFT and sampling.

    python bench/scaling.py                        # 124M and 355M shapes; a quarter of an hour on two cores
    python bench/scaling.py --sizes gpt2,gpt2-medium,gpt2-large,gpt2-xl --dtypes bf16
    python bench/scaling.py --device cuda --sizes gpt2,gpt2-medium,gpt2-large,gpt2-xl --dtypes bf16

SFT: LoRA of rank 16 on c_attn, the loss on all tokens but the first of each row; sampling: one prompt of 17 tokens.
From 8 x 128 tokens, and 64 responses of 32, one thing changes at a time. Utilisation is nanoGPT's: FLOPs that the model
needs (machine.flops) over those that the machine's own products do in this time, over 1,024 rows of this shape; on a
known card also over its published peak. Processes are torchrun's, with the threads shared out among them (on a GPU: one
for each); their memory is that of the first.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

import machine  # noqa: E402
import report  # noqa: E402
from run import ALL  # noqa: E402
from work import SHAPES, write_model, write_pairs  # noqa: E402

PROMPT = 17  # of sampling


def started(args: argparse.Namespace, command: list, processes: int) -> dict | None:
    """Run a command alone, or by torchrun as several processes that share the threads."""
    env = report.environment(args) | {"OMP_NUM_THREADS": str(max(1, args.threads // processes))}
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    return report.once([sys.executable, *many, *command], env, args.limit)


def sft(args: argparse.Namespace, dtype: str, model: Path, rows: int, length: int, processes: int) -> dict | None:
    """Time SFT steps of so many rows of so many tokens."""
    data = write_pairs(model / "data", rows * (args.steps + 1), 1, length - 2)  # and the stop
    held = write_pairs(model / "held", 2, 1, 4)
    return started(args, [HERE / "ours.py", rows * length, args.steps, "train_sft", "--model", model, "--data", data,
                          "--eval_data", held, "--out", model / "out", "--dtype", dtype, "--device", args.device,
                          "--batch_size", rows, "--max_response", length - 1, *ALL, *["--compile"] * args.compile],
                   processes)  # fmt: skip


def sampling(args: argparse.Namespace, dtype: str, model: Path, rows: int, new: int, processes: int) -> dict | None:
    """Time so many responses of so many tokens."""
    return started(args, [HERE / "sampling.py", model, new, args.steps, "--rows", rows, *["--bf16"] * (dtype == "bf16"),
                          *["--cuda"] * (args.device == "cuda"), *["--compile"] * args.compile], processes)  # fmt: skip


def variants(sizes: list[str], batches: list[int], lengths: list[int], processes: list[int], base: tuple[int, int]):
    """Yield (what changes, size, rows, length, processes): the base first, then each thing by itself."""
    rows, length = base
    yield "-", sizes[0], rows, length, 1
    yield from ((f"batch {n}", sizes[0], n, length, 1) for n in batches if n != rows)
    yield from ((f"length {n}", sizes[0], rows, n, 1) for n in lengths if n != length)
    yield from ((f"{n} processes", sizes[0], rows, length, n) for n in processes if n != 1)
    yield from ((size, size, rows, length, 1) for size in sizes[1:])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    numbers = dict(type=lambda x: list(map(int, x.split(","))))
    p.add_argument("--sizes", default="gpt2,gpt2-medium", type=lambda x: x.split(","),
                   help=f"of {', '.join(SHAPES)}; the first is the base. gpt2-xl needs 16 GB")  # fmt: skip
    p.add_argument("--dtypes", default="fp32,bf16")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--batches", default="1,4,16", help="rows of SFT, and 8 times as many responses", **numbers)
    p.add_argument("--lengths", default="32,512", help="tokens of a row of SFT; a quarter of them of a response",
                   **numbers)  # fmt: skip
    p.add_argument("--processes", default="1,2", **numbers)
    p.add_argument("--steps", type=int, default=3, help="of which the first is left out")
    p.add_argument("--limit", type=float, default=600, help="seconds that a process may take")
    p.add_argument("--compile", action="store_true")
    report.flags(p)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    device, section, speed = torch.device(args.device), report.Section(__file__, args), {}
    peak = machine.peak(device)
    with tempfile.TemporaryDirectory() as temporary:
        for size in args.sizes:
            (Path(temporary) / size).mkdir()
            write_model(Path(temporary) / size, size)
            for dtype in args.dtypes.split(","):
                seconds = sum(machine.forward_seconds(SHAPES[size], 1024, machine.DTYPES[dtype], device))
                speed[size, dtype] = 1024 * 2 * sum(machine.weights(SHAPES[size])) / seconds
        plans = {"SFT": (sft, args.batches, args.lengths, (8, 128)),
                 "sampling": (sampling, [8 * n for n in args.batches], [n // 4 for n in args.lengths], (64, 32))}
        for name, (run, batches, lengths, base) in plans.items():
            section.head(f"{name}: what changes", "dtype", "tokens/s", "FLOP/s used, of this machine's products",
                         *["of the card's peak"] * bool(peak), "peak memory, MB", "others")  # fmt: skip
            for dtype in args.dtypes.split(","):
                for what, size, rows, length, n in variants(args.sizes, batches, lengths, args.processes, base):
                    if args.device == "cuda" and n > torch.cuda.device_count():
                        continue
                    found = run(args, dtype, Path(temporary) / size, rows, length, n)
                    label = f"{size}, {rows} x {length}" if what == "-" else what
                    if found is None:
                        section.row(label, dtype, "failed, or out of time", *[""] * (3 + bool(peak)))
                        continue
                    rate = found["amount"] / statistics.median(found["seconds"])
                    context = length if run is sft else PROMPT + length // 2
                    used = rate * machine.flops(SHAPES[size], context, 2 if run is sft else 1)
                    shares = [f"{used / most:.0%}" for most in (speed[size, dtype], peak) if most]
                    section.row(label, dtype, report.number(rate), f"{used / 1e9:,.0f} G: {shares[0]}", *shares[1:],
                                f"{found.get('gpu_peak', found['peak']):,.0f}", f"{found['others']:.2f}")  # fmt: skip
    section.close()


if __name__ == "__main__":
    main()
