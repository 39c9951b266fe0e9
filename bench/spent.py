"""A clock that says where a step's time goes: seconds, matrix products and their floor, phase by phase.

Functions that a program calls are wrapped (`Spent.wrap`): from call to return the time is their phase's, and not that
of the phase around it; what is in none is "other". The first step does not count. In one more after those that are
timed every product with a weight is counted by its shape (attention has others of its own, one or two percent).
A phase's floor is the time of its products alone, each shape measured by itself on this machine in this number format,
or that of reading the products' weights from memory, whichever is longer.
"""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import torch
from machine import bandwidth, product_seconds, wait
from torch.utils._python_dispatch import TorchDispatchMode
from work import Clock

from minalign import optim

PRODUCTS = {torch.ops.aten.mm: 0, torch.ops.aten.addmm: 1}  # where the two factors are among the arguments


class Products(TorchDispatchMode):
    """Counts the products of two matrices: those with a weight, forward and backward."""

    def __init__(self, found: Callable[[tuple], None]):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (first := PRODUCTS.get(func.overloadpacket)) is not None:
            a, b = args[first : first + 2]
            self.found((*a.shape, b.size(1), not a.is_contiguous(), not b.is_contiguous()))
        return func(*args, **(kwargs or {}))


class Spent(Clock):
    """steps: that are timed, between one to warm up and one to count. rest: the phase of what is in no other."""

    def __init__(self, steps: int, device: torch.device, dtype: torch.dtype, rest: str = "other"):
        super().__init__()
        self.steps, self.device, self.dtype, self.stack = steps, device, dtype, [rest]
        self.seconds, self.products = Counter(), defaultdict(Counter)
        self.counting, self.since = Products(self.count), self.began

    def count(self, product: tuple) -> None:
        self.products[self.stack[-1]][product] += 1

    def charge(self) -> None:
        """Give the time since the last call to the phase that has just been running."""
        wait(self.device)
        before, self.since = self.since, time.perf_counter()
        self.seconds[self.stack[-1]] += self.since - before

    def wrap(self, owner, name: str, phase: str | Callable[..., str | None]) -> None:
        """Charge calls of owner.name to a phase, or to the one that a function of the call's arguments names."""
        fn = getattr(owner, name)

        def timed(*args, **settings):
            found = phase(*args, **settings) if callable(phase) else phase
            with self.phase(found or self.stack[-1]):
                return fn(*args, **settings)

        setattr(owner, name, timed)

    def updates(self, backward: str) -> None:
        """Wrap what all training has: the backward pass, by this name, and AdamW's step."""
        self.wrap(torch.Tensor, "backward", backward)
        self.wrap(optim.AdamW, "step", "optimizer")

    @contextlib.contextmanager
    def phase(self, name: str):
        self.charge()
        self.stack.append(name)
        try:
            yield
        finally:
            self.charge()
            self.stack.pop()

    def tick(self) -> bool:
        """Note the end of a step; return whether it was the last one that is needed."""
        self.charge()
        done = super().tick()
        if done == 1:
            self.seconds.clear()
        elif done == self.steps + 1:
            self.spent = {name: s / self.steps for name, s in self.seconds.items()}
            self.counting.__enter__()
        elif done == self.steps + 2:
            self.counting.__exit__(None, None, None)
            del self.ends[-1]
        return done >= self.steps + 2

    def report(self, amount: float) -> None:
        """Measure the floors; print phases with their seconds, GFLOP and floor, beside what a Clock prints."""
        alone = {p: product_seconds(*p[:3], self.dtype, self.device, p[3:])
                 for p in set().union(*self.products.values())}  # fmt: skip
        speed, found = bandwidth(self.device), {}
        for name, seconds in self.spent.items():
            counts = self.products[name].items()
            flops = sum(times * 2 * m * k * n for (m, k, n, *_), times in counts)
            read = sum(times * k * n * self.dtype.itemsize for (_, k, n, *_), times in counts) / speed
            found[name] = seconds, flops / 1e9, max(read, sum(alone[p] * times for p, times in counts))
        super().report(amount, phases=found)
