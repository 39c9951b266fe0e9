"""Time our sampling: 256 responses to one prompt of 17 tokens.

    python bench/sampling.py MODEL NEW STEPS [--rows 256] [--bf16] [--compile] [--cuda]     # prints JSON: work.Clock
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from work import Clock  # noqa: E402

from minalign import compilation, dist, hub, precision  # noqa: E402
from minalign.generate import generate  # noqa: E402


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("new", type=int)
    p.add_argument("steps", type=int)
    p.add_argument("--rows", type=int, default=256)
    for name in ("bf16", "compile", "cuda"):
        p.add_argument(f"--{name}", action="store_true")
    a = p.parse_args()
    dist.start()
    device = torch.device("cuda" if a.cuda else "cpu")
    model = hub.from_pretrained(a.model).eval()
    precision.place(model, "bf16" if a.bf16 else "fp32", device)
    if a.compile:
        compilation.activate(model)
    noise, clock = torch.Generator().manual_seed(0), Clock()
    prompt = torch.randint(0, 50_000, (1, 17), generator=noise).to(device)
    for _ in range(a.steps):
        found = generate(model, prompt, 50_256, a.rows, a.new, min_new_tokens=a.new, generator=noise)
        assert found.mask.all() and found.tokens.shape == (a.rows, a.new)
        clock.tick()
    clock.report(a.rows * a.new)
    dist.stop()


if __name__ == "__main__":
    main()
