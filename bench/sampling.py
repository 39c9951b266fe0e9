"""Time our sampling: 256 responses to one prompt of 17 tokens.

    python bench/sampling.py MODEL NEW STEPS [--bf16] [--compile] [--cuda]      # prints a line of JSON, see work.Clock
"""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from work import Clock  # noqa: E402

from minalign import compilation, hub, precision  # noqa: E402
from minalign.generate import generate  # noqa: E402


def main(folder: str, new: str, steps: str, *flags: str) -> None:
    device = torch.device("cuda" if "--cuda" in flags else "cpu")
    model = hub.from_pretrained(folder).eval()
    precision.place(model, "bf16" if "--bf16" in flags else "fp32", device)
    if "--compile" in flags:
        compilation.activate(model)
    noise, clock = torch.Generator().manual_seed(0), Clock()
    prompt = torch.randint(0, 50_000, (1, 17), generator=noise).to(device)
    for _ in range(int(steps)):
        found = generate(model, prompt, 50_256, 256, int(new), min_new_tokens=int(new), generator=noise)
        assert found.mask.all() and found.tokens.shape == (256, int(new))
        clock.tick()
    clock.report(256 * int(new))


if __name__ == "__main__":
    main(*sys.argv[1:])
