"""AdamW against torch's class, which it replaces."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minalign.optim import AdamW

ROOT = Path(__file__).resolve().parent.parent


def parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((3, 4), (5,), (2, 2), (1,))]


def step(optimizer, seed):
    """Take a step with gradients of their own for all parameters but the last, which has none."""
    noise = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    params = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(p.grad is None for p in params)
    for p in params[:-1]:
        p.grad = torch.randn(p.shape, generator=noise)
    optimizer.param_groups[0]["lr"] = 0.1 / (1 + seed)  # a schedule
    optimizer.step()


def build(kind):
    """Two groups with settings and keys of their own."""
    p = parameters()
    groups = [{"params": p[:2], "weight_decay": 0.1, "peak": 3}, {"params": p[2:], "lr": 0.02, "betas": (0.8, 0.9)}]
    return p, kind(groups, lr=0.1, eps=1e-4, weight_decay=0.0)


def test_steps_are_torch_s_bit_for_bit():
    (ours, a), (theirs, b) = build(AdamW), build(torch.optim.AdamW)
    for seed in range(20):
        step(a, seed), step(b, seed)
        assert all(map(torch.equal, ours, theirs))
    assert not any(torch.equal(x, y) for x, y in zip(ours[:-1], parameters()))


@pytest.mark.parametrize("first, then", [(AdamW, torch.optim.AdamW), (torch.optim.AdamW, AdamW)])
def test_the_state_goes_on_in_the_other_class(first, then):
    """`state_dict` has torch's form: checkpoints of either are read by either."""
    (p, a), (q, b), (whole, c) = build(first), build(then), build(torch.optim.AdamW)
    for seed in range(3):
        step(a, seed), step(c, seed)
    with torch.no_grad():
        for x, y in zip(p, q):
            y.copy_(x)
    b.load_state_dict(a.state_dict())
    assert b.param_groups[0]["peak"] == 3
    for seed in range(3, 6):
        step(b, seed), step(c, seed)
    assert all(map(torch.equal, q, whole))


def test_a_state_of_other_parameters_is_refused():
    _, a = build(AdamW)
    with pytest.raises(ValueError, match="numbers of parameters"):
        AdamW(parameters(), 0.1).load_state_dict(a.state_dict())


def test_training_does_not_import_the_compiler(tmp_path):
    """torch._dynamo takes a second and 80 MB."""
    flags = ["--task=rng", "--steps=1", "--batch_size=8", "--examples=8", "--eval_every=0", f"--out={tmp_path / 'run'}"]
    code = f"import sys, train_sft; train_sft.main({[*flags, '--no-plot']}); assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
