"""A nanoGPT-style training loop: GPT-2 from torch.nn, autocast, torch.compile, fused AdamW; all weights, random tokens.

    python bench/peers/plain_loop.py MODEL ROWS LENGTH STEPS [--cpu]      # prints a line of JSON, see work.Clock

MODEL is a folder with a config.json. The vocabulary is padded to a multiple of 64, as nanoGPT pads it.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from work import Clock  # noqa: E402


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm_1, self.norm_2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in self.qkv(self.norm_1(x)).chunk(3, -1))  # fmt: skip
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width, vocab = config["n_embd"], -(-config["vocab_size"] // 64) * 64
        self.tokens, self.places = nn.Embedding(vocab, width), nn.Embedding(config["n_positions"], width)
        self.blocks = nn.ModuleList(Block(width, config["n_head"]) for _ in range(config["n_layer"]))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.places.weight[: tokens.size(1)]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def main(folder: str, rows: str, length: str, steps: str, *flags: str) -> None:
    device = "cpu" if "--cpu" in flags else "cuda"
    config, shape = json.loads((Path(folder) / "config.json").read_text()), (int(rows), int(length) + 1)
    torch.set_float32_matmul_precision("high")
    model = Model(config).to(device)
    run = model if "--cpu" in flags else torch.compile(model)
    optimizer, clock = torch.optim.AdamW(model.parameters(), 3e-4, fused=device == "cuda"), Clock()
    for _ in range(int(steps)):
        text = torch.randint(0, config["vocab_size"], shape, device=device)
        with torch.autocast(device, torch.bfloat16):
            loss = run(text[:, :-1], text[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # as a loop that logs
        clock.tick()
    clock.report(shape[0] * (shape[1] - 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
