"""Micro-batches that fit into memory: `--micro_batch auto` halves them when it runs out, and does the step again."""

import sys
from collections.abc import Iterator

import torch

from minalign import dist
from minalign.errors import NoMemoryError, UserError
from minalign.optim import AdamW

ADVICE = "Lower --micro_batch (auto finds one that fits) or --batch_size, or keep fewer activations: --checkpoint."


def read_size(value: str | int) -> tuple[int, bool]:
    """Return --micro_batch as a number, 0 = all records of a step, and whether it may become smaller (auto)."""
    if value != "auto" and not str(value).isdecimal():
        raise UserError(f"--micro_batch: expected a whole number or auto, found {value!r}.")
    if value == "auto" and dist.world() > 1:
        raise UserError("--micro_batch auto is for one process: where one runs out of memory the others would wait.\n"
                        "Give a number.")  # fmt: skip
    return (0, True) if value == "auto" else (int(value), False)


def ran_out(error: BaseException | None) -> bool:
    """Return whether an exception says that memory ran out, on a GPU or of the process."""
    allocator = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or allocator


def prompts_at_once(cfg, n: int) -> int:
    """Return how many prompts, with n responses each, go through the model together; never less than one."""
    return max(1, cfg.micro_batch * dist.world() // n) if cfg.micro_batch else sys.maxsize


class Attempts:
    """Attempts at adding up a step's gradients, until one fits: each starts at zero, so halves change no result.

        for attempt in memory.Attempts(cfg, optimizer):
            with attempt:
                loss = 0.0
                for micro in data.chunks(batch, cfg.micro_batch): ... backward()

    cfg: a StageConfig; with --micro_batch auto its `micro_batch` becomes smaller, for the steps to come as well;
    never smaller than n, the responses to a prompt, which share its encoding.
    Raises NoMemoryError where memory runs out otherwise.
    """

    def __init__(self, cfg, optimizer: AdamW, n: int = 1):
        self.cfg, self.optimizer, self.n, self.again = cfg, optimizer, n, True

    def __iter__(self) -> Iterator["Attempts"]:
        while self.again:
            self.optimizer.zero_grad()
            yield self

    def __enter__(self) -> None:
        self.again = False

    def __exit__(self, kind, error: BaseException | None, trace) -> bool:
        if not ran_out(error):
            return False
        size = self.cfg.micro_batch or self.cfg.batch_size
        self.optimizer.zero_grad()  # half a sum is of no use to anybody
        if size <= self.n > 1:
            raise NoMemoryError(f"out of memory with {self.n} responses to one prompt; nothing was changed.\nThey go "
                                "through the model together: take fewer, or keep fewer activations: --checkpoint.")
        if not self.cfg.auto_micro_batch or size == 1:
            raise NoMemoryError(f"out of memory with {size} records in a forward pass; nothing was changed.\n{ADVICE}")
        self.cfg.micro_batch, self.again = max(self.n, size // 2), True
        print(f"\nout of memory with {size} records in a forward pass: from now on {self.cfg.micro_batch}",
              file=sys.stderr)  # fmt: skip
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True
