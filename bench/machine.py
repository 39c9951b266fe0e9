"""What this machine can do: seconds of single matrix products, bytes a second of its memory; and what a model needs.

FLOPs are those of the matrix products of the blocks and the output head: 2 a parameter a token forward; backward as
many for the states' gradients, and as many again where the weights are trained. LoRA's backward is therefore one more
forward. nanoGPT's formula adds 4 L D T a token of attention for each of these passes, T = length.
"""

import statistics
import time
from collections.abc import Callable

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}  # dense bf16 operations a second, published


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    torch.cuda.synchronize() if device.type == "cuda" else None


def seconds_of(fn: Callable, device: torch.device, least: float = 0.05) -> float:
    """Return the median seconds of a call, after one to warm up: of at least 3, and of `least` seconds of them."""
    fn()
    wait(device)
    times: list[float] = []
    while len(times) < 3 or sum(times) < least:
        began = time.perf_counter()
        fn()
        wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def product_seconds(m: int, k: int, n: int, dtype: torch.dtype, device: torch.device,
                    flipped: tuple[bool, bool] = (False, True)) -> float:  # fmt: skip
    """Return the seconds of (m, k) x (k, n). flipped: which factors are stored transposed; a layer's weight is."""
    sizes = (m, k), (k, n)
    a, b = (torch.randn(size[::-1] if turn else size, device=device).to(dtype) for size, turn in zip(sizes, flipped))
    a, b = (x.T if turn else x for x, turn in zip((a, b), flipped))
    out = torch.empty(m, n, dtype=dtype, device=device)
    with torch.no_grad():
        return seconds_of(lambda: torch.mm(a, b, out=out), device)


def bandwidth(device: torch.device) -> float:
    """Return bytes a second that the memory delivers: the better of reading (a sum) and of copying."""
    x = torch.ones(2**28 if device.type == "cuda" else 2**26, device=device)
    y, size = torch.empty_like(x), x.numel() * 4
    return max(size / seconds_of(lambda: torch.sum(x), device), 2 * size / seconds_of(lambda: y.copy_(x), device))


def weights(shape: dict) -> tuple[int, int]:
    """Return the parameters of all matrices of the blocks, and those of the head."""
    return 12 * shape["n_layer"] * shape["n_embd"] ** 2, shape["vocab_size"] * shape["n_embd"]


def forward_seconds(shape: dict, rows: int, dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Return the seconds of a forward pass' products over so many tokens: of the blocks, and of the head."""
    D = shape["n_embd"]
    layer = sum(product_seconds(rows, *size, dtype, device) for size in ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)))
    return layer * shape["n_layer"], product_seconds(rows, D, shape["vocab_size"], dtype, device)


def flops(shape: dict, length: int, passes: int) -> int:
    """Return FLOPs a token. passes: 1 = forward, 2 = a LoRA step, 3 = all weights trained. length: of a row; attention
    has no weights, so its backward counts twice whatever is trained."""
    attention = 4 * shape["n_layer"] * shape["n_embd"] * length
    return passes * 2 * sum(weights(shape)) + (3 if passes > 1 else 1) * attention


def peak(device: torch.device) -> float | None:
    """Return the card's published bf16 operations a second, None where not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((rate for card, rate in PEAKS.items() if card in name), None)
