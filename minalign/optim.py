"""AdamW by torch's own function. Its class imports torch._dynamo: 80 MB, and over a second of every start."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


class AdamW:
    """torch.optim.AdamW (Loshchilov & Hutter 2019): the same settings, arithmetic and `state_dict`.

    params: parameters, or groups {"params": ..., settings of their own}. Parameters without a gradient are left alone.
    On GPUs all of a group's are updated by one kernel.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter | dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        params = list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups = [settings | group | {"params": list(group["params"])} for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in (p for group in self.param_groups for p in group["params"]):
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            fused = _fused(group)
            for p in params:
                if p not in self.state:
                    self.state[p] = {"step": torch.zeros((), device=p.device if fused else "cpu"),
                                     "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}  # fmt: skip
            of = [self.state[p] for p in params]
            beta1, beta2 = group["betas"]
            adamw(params, [p.grad for p in params], [s["exp_avg"] for s in of], [s["exp_avg_sq"] for s in of], [],
                  [s["step"] for s in of], fused=fused or None, amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
                  weight_decay=group["weight_decay"], eps=group["eps"], maximize=False)  # fmt: skip

    def state_dict(self) -> dict:
        """Return the state with parameters by their number, as torch.optim.AdamW does."""
        number = {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        groups = [group | {"params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[p]: values for p, values in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved: dict) -> None:
        """Put a `state_dict` back; ValueError where its groups have other numbers of parameters."""
        if [len(g["params"]) for g in saved["param_groups"]] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("the saved groups have other numbers of parameters")
        for group, values in zip(self.param_groups, saved["param_groups"]):
            group |= {key: value for key, value in values.items() if key != "params"}
        places = [(p, p.device, p.device if _fused(group) else "cpu") for group in self.param_groups
                  for p in group["params"]]  # fmt: skip
        for i, values in saved["state"].items():
            p, device, of_step = places[i]
            self.state[p] = {key: x.to(of_step if key == "step" else device) for key, x in values.items()}


def _fused(group: dict) -> bool:
    """Return whether one kernel updates a group; it wants the number of the step on the GPU as well."""
    return all(p.is_cuda and type(p) is nn.Parameter for p in group["params"])
