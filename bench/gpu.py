"""All checks and measurements on one GPU, at most nine minutes; prints tables in Markdown.

    python bench/gpu.py                            # on a machine with a card; transformers is used where it is there
    python bench/gpu.py --device cpu --shape tiny  # tries the script itself

Checks: the GPU computes what the CPU computes; half precision, --compile and CUDA graphs what the plain path does.
Measurements, each in a process of its own: full fine-tuning beside a nanoGPT-style loop (peers/plain_loop.py), decoding
beside transformers and the floor that the memory's bandwidth sets, and a GFlowNet's steps on rng.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from work import SHAPES, write_model, write_pairs  # noqa: E402

BUDGET = 9 * 60  # seconds, all in all
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}  # dense bf16 operations a second, published


def check(device: torch.device) -> list[str]:
    """Return rows of how far other ways of computing are from fp32 on the CPU, on nano: log-probs and samples."""
    from minalign import compilation, hub, precision
    from minalign.generate import generate, score
    from minalign.tasks import sentiment
    from minalign.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_folder(hub.NANO)
    prompts = torch.tensor([tokenizer.encode(sentiment.prompts("test", 1)[0])])

    def run(where: torch.device, dtype: str, compiled: bool) -> tuple[torch.Tensor, torch.Tensor]:
        model = hub.from_pretrained("nano").eval()
        precision.place(model, dtype, where)
        if compiled:
            compilation.activate(model)
        noise = torch.Generator().manual_seed(1)
        found = generate(model, prompts.to(where), tokenizer.eot, 64, 32, generator=noise)
        told = score(model, prompts.to(where), tokens.to(where), mask.to(where), tokenizer.eot) if len(tokens) else None
        return found, told

    tokens = mask = torch.zeros(0)
    plain, _ = run(torch.device("cpu"), "fp32", False)
    tokens, mask = plain.tokens, plain.mask
    _, expected = run(torch.device("cpu"), "fp32", False)
    rows = []
    for dtype, compiled in (("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True)):
        if dtype == "bf16" and not precision.has_bf16(device):
            continue
        found, told = run(device, dtype, compiled)
        same = (found.tokens.cpu() == tokens).all(1).float().mean().item()
        far = (told[0].float().cpu() - expected[0]).abs()[mask].max().item()
        rows.append(f"| {device.type} {dtype}{', --compile' * compiled} | {far:.1e} | {same:.0%} |")
    return rows


def timed(command: list, until: float) -> dict | None:
    """Run a benchmark in a process of its own; return what it prints, None where it fails or the time is up."""
    try:
        done = subprocess.run(list(map(str, command)), text=True, capture_output=True,
                              timeout=max(1, until - time.monotonic()))  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"amount"')]
    if not lines:
        print(done.stderr[-500:], file=sys.stderr)
        return None
    found = json.loads(lines[-1])
    return found | {"rate": found["amount"] / statistics.median(found["seconds"])}


def bandwidth(device: torch.device) -> float:
    """Return bytes a second that the memory delivers: a copy, read and written."""
    x = torch.empty(2**28 if device.type == "cuda" else 2**24, dtype=torch.float32, device=device)
    y, times = torch.empty_like(x), []
    for _ in range(8):
        torch.cuda.synchronize() if x.is_cuda else None
        began = time.perf_counter()
        y.copy_(x)
        torch.cuda.synchronize() if x.is_cuda else None
        times.append(time.perf_counter() - began)
    return 2 * x.numel() * 4 / statistics.median(times)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    args = p.parse_args()
    cuda, until = args.device == "cuda", time.monotonic() + BUDGET
    if cuda and not torch.cuda.is_available():
        sys.exit("bench/gpu.py: torch finds no GPU\nuse --device cpu --shape tiny to try the script")
    device = torch.device(args.device)
    name = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"{name}, torch {torch.__version__}\n\n| nano | log-probs, largest difference | same samples |")
    print("|---|---|---|", *check(device), sep="\n", flush=True)

    rows, length, steps = (16, 1024, 24) if cuda else (2, 64, 3)
    where, graph, dtype = ["--device", args.device], ["--compile"] * cuda, "bf16" if cuda else "fp32"
    print("\n| measurement | rate | peak GPU memory, MB |\n|---|---|---|")

    def show(what: str, unit: str, found: dict | None) -> float:
        if found is None:
            print(f"| {what} | failed, or out of time | |", flush=True)
            return float("nan")
        print(f"| {what} | {found['rate']:,.4g} {unit}/s | {found.get('gpu_peak', 0):,.0f} |", flush=True)
        return found["rate"]

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "model").mkdir()
        model, shape = write_model(work / "model", args.shape), SHAPES[args.shape]
        data, held = write_pairs(work / "data", rows * (steps + 2), 1, length - 2), write_pairs(work / "held", 2, 1, 4)
        common = ["--model", model, "--data", data, "--eval_data", held, "--out", work / "out", *where]
        flags = ["--lora_rank", 0, "--batch_size", rows, "--max_response", length - 1, "--dtype", dtype, *graph]
        ours = show(f"SFT, all weights, {dtype}" + ", --compile" * cuda, "tokens", timed(
            [sys.executable, HERE / "ours.py", rows * length, steps, "train_sft", *common, *flags], until))  # fmt: skip
        peer = show("the same by a nanoGPT-style loop", "tokens", timed([
            sys.executable, HERE / "peers" / "plain_loop.py", model, rows, length, steps,
            *([] if cuda else ["--cpu"])], until))  # fmt: skip
        weights = 12 * shape["n_layer"] * shape["n_embd"] ** 2 + shape["vocab_size"] * shape["n_embd"]
        flops = 6 * weights + 12 * shape["n_layer"] * shape["n_embd"] * length  # a token, forward and backward
        peak = next((x for card, x in PEAKS.items() if card in name), None)
        used = f"; {ours * flops / peak:.1%} of the card's peak" if peak else ""
        print(f"| ratio | {ours / peer:.2f}x{used} | |")

        new = 111 if cuda else 8  # 17 + 111 = 128
        half, on = ["--bf16"] * cuda, ["--cuda"] * cuda
        fast = show(f"decoding, 256 x {new}" + ", --compile" * cuda, "tokens", timed(
            [sys.executable, HERE / "sampling.py", model, new, 4, *half, *graph, *on], until))  # fmt: skip
        show("decoding, plain", "tokens", timed(
            [sys.executable, HERE / "sampling.py", model, new, 3, *half, *on], until))  # fmt: skip
        if importlib.util.find_spec("transformers"):
            slow = show("decoding, transformers", "tokens", timed(
                [sys.executable, HERE / "peers" / "generate.py", model, new, 3, *half, *on], until))  # fmt: skip
            print(f"| ratio | {fast / slow:.2f}x | |")
        else:
            print("| decoding, transformers | not installed | |")
        # A step reads all weights once, and of each row the keys and values so far: half of the way on average.
        size = 2 if cuda else 4
        step = size * weights + size * 2 * shape["n_layer"] * shape["n_embd"] * (17 + 256 * new / 2)
        floor = 256 * bandwidth(device) / step
        print(f"| floor of the memory's bandwidth | {floor:,.4g} tokens/s, reached {fast / floor:.0%} | |", flush=True)

        flags = ["--task", "rng", "--model", model, "--out", work / "out", "--batch_size", 64, *where, *graph]
        found = timed([sys.executable, HERE / "ours.py", 1, 40 if cuda else 3, "train_gfn", *flags, "--prefill",
                       0, "--eval_samples", 0], until)  # fmt: skip
        rate = show("GFN on rng, 64 responses a step", "steps", found)
        print(f"| 2,560 such steps | {2560 / rate:.0f} s | |")


if __name__ == "__main__":
    main()
