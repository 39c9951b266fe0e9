"""Several processes, by torchrun: each runs the whole script on the same data, and shares only the passes of the model.

    torchrun --nproc_per_node=4 train_sft.py ...

Whoever runs a model on a batch takes the rows of this process, and puts the results of all processes together again:

    part, prompts, prompt_mask, tokens, mask = split(prompts, prompt_mask, tokens, mask)
    logprobs = part.join(...)                  # all rows, in every process; the gradient goes to this process' rows

So random numbers, losses, their counts, advantages and metrics are everywhere those of a single process, without a word
about processes where they are computed. Gradients are averaged before a step (`average_gradients`); therefore every
weight that is trained acts between `split` and `join`. The first process prints and writes. With one process nothing
of this does anything. Shapes: b prompts with n rows each, B = b * n.
"""

import contextlib
import datetime
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn

from minalign.errors import UserError

TIMEOUT = datetime.timedelta(minutes=10)  # that processes wait for one that still runs; for a dead one they do not
_alone = False


def start() -> None:
    """Join the processes that torchrun has started, if there are several; all but the first print nothing."""
    if "LOCAL_RANK" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return
    cuda = torch.cuda.is_available() and group.is_nccl_available()
    with _lost():
        group.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT)
    if rank():
        sys.stdout = open(os.devnull, "w")


def stop() -> None:
    """Leave the other processes."""
    if group.is_available() and group.is_initialized():
        group.destroy_process_group()


def world() -> int:
    """Return the number of processes that share the work."""
    return group.get_world_size() if group.is_available() and group.is_initialized() and not _alone else 1


def rank() -> int:
    """Return the number of this process, 0 for the first."""
    return group.get_rank() if group.is_available() and group.is_initialized() else 0


def local_rank() -> int:
    """Return the number of this process on its machine: of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if world() > 1 else 0


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Turn what a broken connection raises into a UserError."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines()[0][:200]
        raise UserError(f"a process was lost: its own message, or torchrun's, says why.\n{said}") from error


# ---------------------------------------------------------------- rows of a batch


class Part:
    """What this process does of a batch: some of the prompts, or of few prompts some of each one's rows."""

    def __init__(self, b: int, n: int):
        self.shape = b, n
        self.dim = int(b < world() <= n)  # of b and n the one that is divided
        bounds = _bounds(self.shape[self.dim])
        self.sizes = [end - begin for begin, end in bounds]
        self.own = slice(*bounds[rank() if len(bounds) > 1 else 0])
        self.idle = self.own.start == self.own.stop
        if self.idle:  # it works for nothing: all processes make the same passes
            self.own = slice(0, 1)

    def prompts(self, x: Tensor | None) -> Tensor | None:
        """Return the prompts that this process' rows belong to. x: (b, ...)."""
        return x if x is None or self.dim or len(self.sizes) == 1 else x[self.own]

    def rows(self, x: Tensor) -> Tensor:
        """Return this process' rows. x: (B, ...)."""
        if len(self.sizes) == 1:
            return x
        x = x.unflatten(0, self.shape)
        return (x[:, self.own] if self.dim else x[self.own]).flatten(0, 1)

    def join(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, (B, ...), from those of this one; its gradient goes back to them."""
        return x if len(self.sizes) == 1 else _Join.apply(x, self)


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, part: Part) -> Tensor:
        ctx.part = part
        b, n = part.shape
        x = x.unflatten(0, (b, -1)).transpose(0, 1) if part.dim else x.unflatten(0, (-1, n))
        sent = x.new_zeros(max(part.sizes), *x.shape[1:])
        sent[: len(x)] = x
        found = [torch.empty_like(sent) for _ in part.sizes]
        with _lost():
            group.all_gather(found, sent)
        whole = torch.cat([rows[:size] for rows, size in zip(found, part.sizes)])
        return (whole.transpose(0, 1) if part.dim else whole).flatten(0, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        # Every process has the whole loss; its gradient is that of its rows, times all, for they are averaged later.
        return ctx.part.rows(grad) * (0 if ctx.part.idle else len(ctx.part.sizes)), None


def _bounds(n: int) -> list[tuple[int, int]]:
    """Return where the part of each process begins and ends, of n things."""
    return [(n * r // world(), n * (r + 1) // world()) for r in range(world())]


def split(prompts: Tensor, prompt_mask: Tensor | None, *rows: Tensor) -> tuple:
    """Return the `Part` of this process, and its part of prompts, their mask (b, ...) and rows (B, ...)."""
    part = Part(len(prompts), len(rows[0]) // len(prompts) if rows else 1)
    return part, part.prompts(prompts), part.prompts(prompt_mask), *map(part.rows, rows)


# ---------------------------------------------------------------- gradients


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of all processes, in place, by one all-reduce in fp32; FSDP has done it for its own."""
    found = [p.grad for p in parameters if p.grad is not None and not _sharded(p)]
    if world() == 1 or not found:
        return
    flat = torch.cat([grad.float().flatten() for grad in found])
    with _lost():
        group.all_reduce(flat)
    for grad, total in zip(found, flat.div_(world()).split([grad.numel() for grad in found])):
        grad.copy_(total.view_as(grad))


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients to a norm of at most max_norm in all, 0 = any; return the norm that they had."""
    parameters, norms = list(parameters), []
    kinds = [some for kind in (True, False) if (some := [p for p in parameters if _sharded(p) == kind])]
    if len(kinds) == 1:
        return full(nn.utils.clip_grad_norm_(parameters, max_norm or torch.inf))
    for some in kinds:
        norms.append(full(nn.utils.get_total_norm([p.grad for p in some if p.grad is not None])))
    norm = torch.stack(norms).norm()
    for some in kinds:
        nn.utils.clip_grads_with_norm_(some, max_norm or torch.inf, norm)
    return norm


# ---------------------------------------------------------------- FSDP


def shard(trained: dict[str, nn.Parameter], *models: nn.Module | None) -> dict[str, nn.Parameter]:
    """Divide the weights of models (GPT2, or None) among the processes, block by block; return the trained ones anew.

    FSDP2 gathers a block's weights while it runs, in the type that the model multiplies in. The parts are fp32, so are
    averages of gradients, layer norms, embeddings and head. Scalar heads stay whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    models = list(dict.fromkeys(model for model in models if model is not None))
    places = {id(p): (model, path) for model in models for path, p in model.named_parameters()}
    places = {name: places[id(p)] for name, p in trained.items()}
    mesh = init_device_mesh(models[0].device.type, (world(),))

    def divide(part: nn.Module, dtype: torch.dtype | None = None) -> None:
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        fully_shard(part, mesh=mesh, mp_policy=policy)

    for model in models:
        half = None if model.dtype == torch.float32 else model.dtype
        heads, model.heads = model.heads, nn.ModuleDict()
        for block in model.transformer.h:
            if half:
                divide(block.ln_1), divide(block.ln_2)
            divide(block, half)
        divide(model)
        model.heads = heads
    _sharded_models[:] = models
    return {name: model.get_parameter(path) for name, (model, path) in places.items()}


_sharded_models: list[nn.Module] = []


def forget_gathered() -> None:
    """Let go of weights that a pass has gathered and kept (the embeddings'): their parts were changed meanwhile."""
    for model in _sharded_models:
        for part in model.modules():
            if hasattr(part, "reshard"):
                part.reshard()


@contextlib.contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Keep the weights of a model gathered: for many short passes, and for whoever reads them."""
    parts = [module for module in model.modules() if hasattr(module, "unshard")]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


def with_whole(fn: Callable) -> Callable:
    """Decorate a function of a model: it keeps the model's weights gathered while it runs."""

    @functools.wraps(fn)
    def run(model: nn.Module, *args, **settings):
        with whole(model):
            return fn(model, *args, **settings)

    return run


def _sharded(x: Tensor) -> bool:
    return hasattr(x, "full_tensor")  # a DTensor; to import its class costs a second


def full(x: Tensor) -> Tensor:
    """Return the whole of a tensor of which each process may have a part."""
    return x.full_tensor() if _sharded(x) else x


def like(x: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor divided as a parameter is."""
    if not _sharded(parameter) or _sharded(x):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None)


# ---------------------------------------------------------------- values


def gather(value: Any) -> list:
    """Return the values of all processes, in their order; a value is JSON: no pickle goes over the wire."""
    if world() == 1:
        return [value]
    sent = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    with _lost():
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
        group.all_gather(sizes, torch.tensor([len(sent)]))
        room = int(max(sizes))
        found = [torch.zeros(room, dtype=torch.uint8) for _ in sizes]
        group.all_gather(found, torch.cat([sent, sent.new_zeros(room - len(sent))]))
    return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(found, sizes)]


def first(fn: Callable[[], Any]) -> Any:
    """Return, in every process, what fn returns in the first one, the only one that calls it; the result is JSON."""
    return gather(None if rank() else fn())[0]


def spread(fn: Callable[[Sequence], Sequence], items: Sequence) -> list:
    """Return fn(items), a value (JSON) for each item, of which each process does its part.

    Then all have the same values, also those of a function that draws random numbers.
    """
    global _alone
    if world() == 1 or not items:
        return list(fn(items)) if items else []
    begin, end = _bounds(len(items))[rank()]
    _alone = True  # what fn does concerns this process only
    try:
        found = list(fn(items[begin:end])) if end > begin else []
    finally:
        _alone = False
    return [x for part in gather(found) for x in part]


def check_shares(batch_size: int, n: int = 1) -> None:
    """Raise a UserError unless a step is the same work for all processes: its prompts with n rows each, or the rows."""
    b, unit = batch_size // n, world() * n
    if b % world() and (b > world() or n % world()):
        fits = [str(size) for size in (batch_size // unit * unit, (batch_size // unit + 1) * unit) if size]
        of = f", {b} prompts of {n} responses," if n > 1 else ""
        raise UserError(f"--batch_size {batch_size}{of} cannot be divided evenly among {world()} processes.\n"
                        f"Use --batch_size {' or '.join(fits)}, or another number of processes.")  # fmt: skip


def check_weights(model: nn.Module) -> None:
    """Raise a UserError unless all processes have the same weights."""
    if world() > 1:
        check_alike("weights", [f"{p.detach().abs().sum(dtype=torch.float64):.6g}" for p in model.parameters()])


def check_alike(what: str, value: Any) -> None:
    """Raise a UserError unless all processes have the same value (JSON)."""
    if any(other != value for other in gather(value)):
        raise UserError(f"the processes have different {what}.\n"
                        "Start all of them with the same command, files and versions.")  # fmt: skip
