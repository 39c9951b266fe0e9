"""Half precision, activation checkpointing and micro-batches: each against the plain path."""

import copy
import json
import random

import pytest
import stages
import torch
from stages import lines, train, weights
from torch import nn

import sample_bon
import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import hub, lora, precision, rewards, run, stage
from minalign.errors import UserError
from minalign.generate import generate, score
from minalign.model import GPT2, GPT2Config
from minalign.precision import DTYPES, Head, Scaler
from minalign.stage import StageConfig

CPU = torch.device("cpu")
# Half precision rounds to 8 (bf16) or 11 (fp16) binary digits: 2^-9 and 2^-12 of a number at most.
ROUNDING = {"bf16": 2**-9, "fp16": 2**-12}


def adapted(model: GPT2, rank: int = 3, seed: int = 2) -> GPT2:
    """Add an adapter that does something, the same one for each model."""
    torch.manual_seed(seed)
    lora.add_adapter(model, rank=rank, targets=lora.TARGETS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    return model


def batch(seed: int = 3, b: int = 3, n: int = 2, P: int = 6, R: int = 7):
    """Return prompts, their mask, tokens and mask of n responses to each."""
    g = torch.Generator().manual_seed(seed)
    prompts, tokens = (torch.randint(6, 67, shape, generator=g) for shape in ((b, P), (b * n, R)))
    prompt_mask = torch.arange(P) >= torch.tensor([0, 2, 3])[:b, None]
    mask = torch.arange(R) < torch.randint(2, R + 1, (b * n, 1), generator=g)
    return prompts, prompt_mask, tokens, mask


def logprobs(model: GPT2, prompts, prompt_mask, tokens, mask):
    return score(model, prompts, tokens, mask, stop=5, prompt_mask=prompt_mask)[0]


def gradients(model: GPT2, *given) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probs and the gradients of their mean, of everything that is trained."""
    found = logprobs(model, *given)
    found.sum().backward()
    return found.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def rounded(model: GPT2, dtype: torch.dtype) -> GPT2:
    """Return an fp32 copy of a model whose blocks' matrices hold numbers of a half type."""
    model = copy.deepcopy(model)
    for name, p in model.named_parameters():
        if ".h." in name and ".ln_" not in name and ".lora_" not in name:
            p.data = p.data.to(dtype).float()
    return model


# ------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.parametrize("store", [True, False])
def test_half_precision_is_fp32_but_for_rounding(make_model, name, store):
    plain = make_model(std=0.1, n_layer=3)
    half = copy.deepcopy(plain)
    half.compute_in(DTYPES[name], store)
    if store:
        adapted(plain), adapted(half)
    expected, found = gradients(plain, *batch()), gradients(half, *batch())
    assert found[0].dtype == torch.float32 and not torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[0], expected[0], atol=12 * ROUNDING[name], rtol=0)
    assert found[1].keys() == expected[1].keys() and len(found[1]) == (26 if store else 40), len(found[1])
    for key, grad in found[1].items():
        assert grad.dtype == torch.float32
        off = (grad - expected[1][key]).norm() / expected[1][key].norm()
        assert off < 20 * ROUNDING[name], (key, off)
