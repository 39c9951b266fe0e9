"""Half precision: where a machine has it, matrix products in it, loss scaling for fp16.

What the blocks multiply is in half precision, what adds up or is exponentiated stays in fp32: the residual stream,
layer norms, logits, softmax, losses, adapters, heads, gradients of weights, the optimizer's state.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minalign.errors import UserError
from minalign.optim import AdamW

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALL = 20_000_000  # parameters of a model that gains nothing from half precision, as nano


def cpu_flags() -> set[str]:
    """Return what Linux says that the CPU can do; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bf16 matrices: CUDA from capability 8 on, CPUs that say so."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def pick_dtype(name: str, model: nn.Module, device: torch.device) -> str:
    """Return fp32, bf16 or fp16 for --dtype; UserError where the device has not got it.

    auto is bf16 where the hardware has it, fp32 elsewhere and for small models, nano among them: same seed, same bytes.
    """
    if name == "auto":
        return "bf16" if has_bf16(device) and sum(p.numel() for p in model.parameters()) >= SMALL else "fp32"
    if name == "bf16" and not has_bf16(device):
        raise UserError(f"--dtype bf16: this {device.type} device has no bf16 (CUDA needs capability 8 or more, a CPU "
                        "avx512_bf16 or amx_bf16).\nUse --dtype auto, fp32" + ", fp16." * (device.type == "cuda"))
    if name == "fp16" and device.type not in ("cuda", "cpu"):
        raise UserError(f"--dtype fp16: losses cannot be scaled on {device.type}.\nUse --dtype fp32.")
    return name


def place(model: nn.Module, name: str, device: torch.device, store: bool = True) -> str:
    """Move a GPT2 to a device and into the type that --dtype names; return that type's name, not auto.

    store: keep the frozen weights in it, too; False where they are trained: their updates are smaller than its steps.
    """
    name = pick_dtype(name, model, device)
    model.to(device).compute_in(DTYPES[name], store)
    return name


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input; weights in training may be stored in a finer one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Head(nn.Linear):
    """The output head: logits in fp32 of a product in `dtype`, None = that of the input.

    GPT-2's logits are near -100, where neighbours in bf16 are half a nat apart: rounded to it, a small step of the
    policy would change no probability, or change it by e^0.5.
    """

    dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.dtype in (None, torch.float32):
            return F.linear(x, self.weight)
        return _HalfProduct.apply(x, self.weight, self.dtype)


class _HalfProduct(torch.autograd.Function):
    """x W^T of fp32 tensors: factors rounded to half precision, sums in fp32."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dtype = dtype
        half = x.to(dtype)
        if x.is_cuda and torch.__version__ >= (2, 8):
            return torch.mm(half.flatten(0, -2), weight.to(dtype).T, out_dtype=torch.float32).unflatten(0, x.shape[:-1])
        if x.is_cpu and dtype == torch.bfloat16 and torch.__version__ >= (2, 9):
            setting = torch.backends.mkldnn.matmul
            before, setting.fp32_precision = setting.fp32_precision, "bf16"  # oneDNN rounds the weight on the way
            try:
                return F.linear(half.float(), weight)
            finally:
                setting.fp32_precision = before
        return F.linear(half.float(), weight.to(dtype).float())  # slower; a half product would round logits

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad, x_grad, weight_grad = grad.to(ctx.dtype), None, None
        if ctx.needs_input_grad[0]:
            x_grad = (grad @ weight.to(ctx.dtype)).to(x.dtype)
        if ctx.needs_input_grad[1]:
            weight_grad = (grad.flatten(0, -2).T @ x.to(ctx.dtype).flatten(0, -2)).to(weight.dtype)
        return x_grad, weight_grad, None


class Scaler(torch.amp.GradScaler):
    """Loss scaling for fp16, whose gradients would underflow (Micikevicius et al. 2018); nothing in other types.

        scaler.scale(loss).backward(); scaler.unscale_(optimizer)           # then clip
        check_finite(step, loss=loss, grad_norm=scaler.guarded(grad_norm))
        scaler.advance(optimizer)
    """

    skipped = 0

    def guarded(self, grad_norm: Tensor) -> Tensor | None:
        """Return what must be finite before the step: with loss scaling an infinite gradient is an ordinary event."""
        return None if self.is_enabled() else grad_norm

    def advance(self, optimizer: AdamW) -> None:
        """Take the optimizer's step; where a gradient overflowed, skip it and halve the scale."""
        before = self.get_scale()
        self.step(optimizer)
        self.update()
        self.skipped += self.get_scale() < before
        if self.get_scale() < 1e-3:
            raise UserError("--dtype fp16: gradients are not finite at any loss scale.\nUse --dtype bf16 or fp32, or a "
                            "lower --learning_rate.")  # fmt: skip

    def log(self) -> dict[str, float]:
        """Return the scale and the number of skipped steps, for metrics.jsonl."""
        return {"loss_scale": self.get_scale(), "skipped_steps": self.skipped} if self.is_enabled() else {}
