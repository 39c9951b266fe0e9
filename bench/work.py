"""What both sides of a benchmark share: shapes, model folders with random weights, texts of an exact length, a clock.

Times are wall-clock seconds between the ends of optimizer steps, data loading and logging included, the first step left
out. Nothing here is imported by minalign.
"""

import json
import random
import re
import sys
import time
from pathlib import Path

PUBLISHED = dict(n_positions=1024, vocab_size=50257)
SHAPES = {
    "gpt2": dict(n_layer=12, n_head=12, n_embd=768) | PUBLISHED,  # 124M
    "gpt2-medium": dict(n_layer=24, n_head=16, n_embd=1024) | PUBLISHED,  # 355M
    "gpt2-large": dict(n_layer=36, n_head=20, n_embd=1280) | PUBLISHED,  # 774M
    "gpt2-xl": dict(n_layer=48, n_head=25, n_embd=1600) | PUBLISHED,  # 1.5B
    "tiny": dict(n_layer=2, n_head=4, n_embd=64) | PUBLISHED,  # to try the benchmarks themselves
}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def write_model(folder: Path, shape: str = "gpt2", seed: int = 0) -> Path:
    """Write a GPT-2 with random weights that minalign and transformers load alike; return the folder.

    The vocabulary is made up: 256 bytes, 50,000 pairs of bytes, the end of text.
    """
    import torch

    from minalign.hub import save_pretrained
    from minalign.model import GPT2, GPT2Config
    from minalign.nano.bpe import write_vocab
    from minalign.tokenizer import BYTE_TO_CHAR, EOT

    torch.manual_seed(seed)
    save_pretrained(GPT2(GPT2Config(**SHAPES[shape])), folder)
    pairs = [(a, b) for a in BYTE_TO_CHAR.values() for b in BYTE_TO_CHAR.values()][:50_000]
    words = [*BYTE_TO_CHAR.values(), *(a + b for a, b in pairs), EOT]
    write_vocab(folder, {word: i for i, word in enumerate(words)}, pairs)
    about = {"tokenizer_class": "GPT2Tokenizer", **dict.fromkeys(("bos_token", "eos_token", "unk_token"), EOT)}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def text(tokens: int, draw: random.Random) -> str:
    """Return a text of that many tokens: letters and full stops in turn, which no vocabulary of GPT-2's joins."""
    return "".join(draw.choice(LETTERS) if i % 2 else "." for i in range(tokens))


def write_pairs(path: Path, n: int, prompt: int, response: int) -> Path:
    """Write n pairs, prompts and responses of that many tokens; return the path."""
    draw = random.Random(0)
    rows = [{"prompt": text(prompt, draw), "chosen": text(response, draw), "rejected": text(response, draw)}
            for _ in range(n)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def memory(key: str) -> float:
    """Return VmRSS (now) or VmHWM (at most) of this process, MB of 10^6 bytes."""
    return int(re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


class Clock:
    """Ends of steps; `report` prints one line of JSON, which run.py reads."""

    def __init__(self):
        self.began, self.ends = time.perf_counter(), []

    def tick(self) -> int:
        """Note the end of a step; return how many there were."""
        self.ends.append(time.perf_counter())
        return len(self.ends)

    def report(self, amount: float, whole: bool = False, **more) -> None:
        """amount: of work in a step, such as tokens. whole: time everything since the start instead, as one step."""
        seconds = [b - a for a, b in zip(self.ends, self.ends[1:])]
        if whole:
            seconds = [self.ends[-1] - self.began]
        found = {"amount": amount, "seconds": seconds, "peak": memory("VmHWM"), **more}
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
            found["gpu_peak"] = torch.cuda.max_memory_allocated() / 1e6
        print(json.dumps(found), flush=True)
