"""All checks and measurements on one GPU, at most nine minutes; prints tables in Markdown.

    python bench/gpu.py                            # on a machine with a card; transformers is used where it is there
    python bench/gpu.py --device cpu --shape tiny  # tries the script itself

Checks, on nano: the GPU computes what the CPU computes, in samples, log-probs and the first steps of every stage; half
precision, --compile and CUDA graphs compute what the plain path does. Exit code 1 where one does not.
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

import machine  # noqa: E402
import report  # noqa: E402
from work import SHAPES, write_model, write_pairs  # noqa: E402

BUDGET = 9 * 60  # seconds, all in all
STAGES = {
    "train_sft": [], "train_rm": ["--normalise", "2"], "train_dpo": [],
    "train_ppo": ["--task", "rng"], "train_gfn": ["--task", "rng", "--prefill", "0", "--eval_samples", "0"],
}  # fmt: skip


def check_passes(section: report.Section, device: torch.device) -> bool:
    """Compare other ways of computing with fp32 on the CPU: log-probs of its samples, and samples."""
    from minalign import compilation, hub, precision
    from minalign.generate import generate, score
    from minalign.tasks import sentiment
    from minalign.tokenizer import Tokenizer

    tokenizer, cpu = Tokenizer.from_folder(hub.NANO), torch.device("cpu")
    prompts = torch.tensor([tokenizer.encode(sentiment.prompts("test", 1)[0])])

    def load(where: torch.device, dtype: str, compiled: bool):
        model = hub.from_pretrained("nano").eval()
        precision.place(model, dtype, where)
        compilation.activate(model) if compiled else None
        noise = torch.Generator().manual_seed(1)
        return model, generate(model, prompts.to(where), tokenizer.eot, 64, 32, generator=noise)

    def told(model) -> torch.Tensor:
        given = (x.to(model.device) for x in (prompts, plain.tokens, plain.mask))
        with torch.no_grad():
            return score(model, *given, tokenizer.eot)[0].float().cpu()

    model, plain = load(cpu, "fp32", False)
    expected, good = told(model), True
    section.head("nano", "log-probs, largest difference", "same samples", "")
    for dtype, compiled in (("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True)):
        if dtype == "bf16" and not precision.has_bf16(device):
            continue
        model, found = load(device, dtype, compiled)
        far, same = (told(model) - expected).abs().max().item(), (found.tokens.cpu() == plain.tokens).all(1)
        fine = far < (1e-3 if dtype == "fp32" else 0.5) and (dtype == "bf16" or same.float().mean() > 0.9)
        fine &= model.compiled == compiled  # where there is no compiler, the plain path would pass as the other one
        good &= fine
        section.row(f"{device.type} {dtype}{', --compile' * compiled}", f"{far:.1e}", f"{same.float().mean():.0%}",
                    "ok" if fine else "**FAILED**")  # fmt: skip
    return good


def check_stages(section: report.Section, device: str, work: Path, until: float) -> bool:
    """Compare three steps of each stage on nano with those on the CPU: losses and norms of gradients."""
    data, held = write_pairs(work / "few", 32, 8, 16), write_pairs(work / "few-held", 2, 8, 16)
    common = ["--steps", "3", "--eval_every", "0", "--no-plot", "--dtype", "fp32"]
    running, logs, good = {}, {}, True
    for script, flags in STAGES.items():  # all at once: they are small
        own = [] if "--task" in flags else ["--data", data, "--eval_data", held, "--batch_size", 8]
        for where in {"cpu", device}:
            command = [sys.executable, ROOT / f"{script}.py", *common, *flags, *own, "--device", where, "--out",
                       work / f"{script}-{where}"]  # fmt: skip
            running[script, where] = subprocess.Popen(
                list(map(str, command)), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
    for (script, where), process in running.items():
        try:
            said = process.communicate(timeout=max(1, until - time.monotonic()))[1]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1]
        file = work / f"{script}-{where}" / "metrics.jsonl"
        logs[script, where] = list(map(json.loads, file.read_text().splitlines())) if not process.returncode else []
        print(said[-800:] if process.returncode else "", end="", file=sys.stderr)
    section.head("three steps on nano", "losses, largest difference", "norm of the gradient", "")
    for script in STAGES:
        pairs = list(zip(logs[script, "cpu"], logs[script, device]))
        loss, norm = (
            max((abs(a[key] - b[key]) / max(least, abs(a[key])) for a, b in pairs for key in keys if key in a),
                default=float("nan"))
            for keys, least in ((("loss", "loss/policy_avg"), 1), (("grad_norm",), 1e-9)))  # fmt: skip
        fine = loss < 1e-3 and norm < 1e-2
        good &= fine
        section.row(f"{script} {device} fp32", f"{loss:.1e}", f"{norm:.1e}", "ok" if fine else "**FAILED**")
    return good


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    report.flags(p)
    args = p.parse_args()
    cuda, until = args.device == "cuda", time.monotonic() + BUDGET
    if cuda and not torch.cuda.is_available():
        sys.exit("bench/gpu.py: torch finds no GPU\nuse --device cpu --shape tiny to try the script")
    device, section = torch.device(args.device), report.Section(__file__, args)
    section.say(torch.cuda.get_device_name() if cuda else "No GPU: the script is being tried.")
    rows, length, steps = (16, 1024, 24) if cuda else (2, 64, 3)
    where, graph, dtype = ["--device", args.device], ["--compile"] * cuda, "bf16" if cuda else "fp32"

    def show(what: str, unit: str, command: list) -> float:
        found = report.once([sys.executable, *command], timeout=max(1, until - time.monotonic()))
        rate = found["amount"] / statistics.median(found["seconds"]) if found else float("nan")
        section.row(what, f"{report.number(rate)} {unit}/s" if found else "failed, or out of time",
                    f"{found.get('gpu_peak', 0):,.0f}" if found else "")  # fmt: skip
        return rate

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        good = check_passes(section, device) & check_stages(section, args.device, work, until)
        (work / "model").mkdir()
        model, shape = write_model(work / "model", args.shape), SHAPES[args.shape]
        data, held = write_pairs(work / "data", rows * (steps + 2), 1, length - 2), write_pairs(work / "held", 2, 1, 4)
        section.head("measurement", "rate", "peak GPU memory, MB")
        common = ["--model", model, "--data", data, "--eval_data", held, "--out", work / "out", *where]
        flags = ["--lora_rank", 0, "--batch_size", rows, "--max_response", length - 1, "--dtype", dtype, *graph]
        ours = show(f"SFT, all weights, {rows} x {length}, {dtype}" + ", --compile" * cuda, "tokens", [
            HERE / "ours.py", rows * length, steps, "train_sft", *common, *flags])  # fmt: skip
        peer = show("the same by a nanoGPT-style loop", "tokens", [
            HERE / "peers" / "plain_loop.py", model, rows, length, steps, *["--cpu"] * (not cuda)])  # fmt: skip
        needed, most = machine.flops(shape, length, passes=3), machine.peak(device)
        used = f"; {ours * needed / most:.1%} of the card's peak, the loop {peer * needed / most:.1%}" if most else ""
        section.row("ratio", f"**{ours / peer:.2f}x**{used}", "")

        new = 111 if cuda else 8  # 17 + 111 = 128
        half, on = ["--bf16"] * cuda, ["--cuda"] * cuda
        fast = show(f"decoding, 256 x {new}" + ", --compile" * cuda, "tokens",
                    [HERE / "sampling.py", model, new, 4, *half, *graph, *on])  # fmt: skip
        show("decoding, plain", "tokens", [HERE / "sampling.py", model, new, 3, *half, *on])
        if importlib.util.find_spec("transformers"):
            slow = show("decoding, transformers", "tokens",
                        [HERE / "peers" / "generate.py", model, new, 3, *half, *on])  # fmt: skip
            section.row("ratio", f"**{fast / slow:.2f}x**", "")
        else:
            section.row("decoding, transformers", "not installed", "")
        # A step reads all weights once, and of each row the keys and values so far: half of the way on average.
        size = 2 if cuda else 4
        read = sum(machine.weights(shape)) + 2 * shape["n_layer"] * shape["n_embd"] * (17 + 256 * new / 2)
        speed = machine.bandwidth(device)
        floor = 256 * speed / (size * read)
        section.row(f"floor of the memory, {speed / 1e9:,.0f} GB/s",
                    f"{floor:,.0f} tokens/s, **reached {fast / floor:.0%}**", "")  # fmt: skip

        flags = ["--task", "rng", "--model", model, "--out", work / "out", "--batch_size", 64, *where, *graph,
                 "--prefill", 0, "--eval_samples", 0]  # fmt: skip
        rate = show("GFN on rng, 64 responses a step", "steps",
                    [HERE / "ours.py", 1, 100 if cuda else 3, "train_gfn", *flags])  # fmt: skip
        section.row("2,560 such steps", f"**{2560 / rate:.0f} s**", "")
    section.say("", f"{BUDGET + time.monotonic() - until:.0f} s in all.")
    section.close()
    sys.exit(not good)


if __name__ == "__main__":
    main()
