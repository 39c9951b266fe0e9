"""--compile: blocks as programs of torch.compile, and on a GPU a decoding step as a CUDA graph.

What is compiled are the two halves of a block (model.py), which all layers share, with sizes as variables: no length of
a prompt, a response or a batch makes a new program. One is made for each way to run them: with gradients or without,
each adapter or none, training or not, one row or one token or more of them. Never more than MOST for either half.
Attention stays outside, as it has kernels of its own and differs by kind of cache; so does sampling.
"""

import functools
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST = 256


@functools.cache
def compiled(fn: Callable) -> Callable:
    """Return torch.compile's version of a function; a break in its graph would be an error."""
    return torch.compile(fn, fullgraph=True, dynamic=True)


@functools.cache
def has_compiler(kind: str) -> bool:
    """Return whether torch.compile works on this kind of device; say so on stderr where it does not."""
    try:
        torch.compile(_probe, fullgraph=True)(torch.ones(8, device=kind))
    except Exception as error:  # every back end has errors of its own
        print(f"--compile: torch has no working compiler here ({type(error).__name__}: "
              f"{(str(error).strip().splitlines() or [''])[0][:100]}); going on without", file=sys.stderr)  # fmt: skip
        return False
    return True


def _probe(x: Tensor) -> Tensor:
    return torch.nn.functional.gelu(x * 2)


def activate(model: nn.Module) -> None:
    """Let a GPT2 that is on its device run compiled blocks from now on, where there is a compiler."""
    if has_compiler(next(model.parameters()).device.type):
        torch._dynamo.config.recompile_limit = MOST
        for part in (model, *model.transformer.h):
            part.compiled = True


def capture(model: nn.Module, cache) -> Callable[[Tensor], Tensor]:
    """Record a decoding step of a GPT2 with a `StaticCache` as a CUDA graph: tokens (B,) -> hidden states (B, D).

    What a step returns is valid until the next one, which writes to the same memory.
    """
    tokens = torch.zeros(cache.own[0].size(1), 1, dtype=torch.long, device=cache.at.device)

    def step() -> Tensor:
        hidden = model(tokens, cache=cache)[:, -1]
        cache.at += 1
        return hidden

    main, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(main)
    with torch.cuda.stream(side):  # libraries set themselves up in a first run, which a recording must not contain
        step()
    main.wait_stream(side)
    cache.at.zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        hidden = step()

    def replay(drawn: Tensor) -> Tensor:
        tokens[:, 0] = drawn
        graph.replay()
        return hidden

    return replay
