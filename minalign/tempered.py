"""What a sentence tempered as a whole has over tempered tokens, exactly, on the small world of grammar.

    python -m minalign.compare --task grammar --init SFT_RUN        # SFT_RUN of train_sft.py --task grammar

p_T = p_ref^(1/T) / Z, over whole sentences, is what a GFlowNet learns (Hu et al. 2023, 2310.04363). At its entropy no
distribution has a higher E[log p_ref], for E_q[log p_ref] = T (E_q[log p_T] + log Z) and E_q[log p_T] <= -H(q). So what
it has over the token temperature of the same entropy is all that there is to gain, and what the GFlowNet has is how
much of that it gained. `sentences` asks the same of real sentences, with samples.
Shapes: K sentences.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from minalign import exact
from minalign.errors import UserError
from minalign.files import atomic_write
from minalign.model import GPT2
from minalign.run import pick_device
from minalign.stage import load_policy
from minalign.tasks.grammar import Grammar

TEMPERATURES = (0.9, 0.8)  # T of the GFlowNets' rewards


def entropy(logprobs: Tensor) -> float:
    """Return the entropy of log-probs (K,) that add up to one, nats."""
    return -exact.kl(logprobs, torch.zeros_like(logprobs))


def token_temperature(
    logprobs: Callable[[float], Tensor], wanted: float, low: float = 0.05, high: float = 2.0, within: float = 1e-6
) -> tuple[float, Tensor]:
    """Return the token temperature whose strings have the wanted entropy, given a listed one, and their log-probs (K,).

    logprobs: of all strings, at a temperature. Found by regula falsi (Illinois), which needs a third of bisection's
    steps. Raises UserError where no temperature from low to high has that entropy.
    """
    def missing(t: float) -> float:
        return entropy(logprobs(t).log_softmax(0)) - wanted

    # Given a listed string, the entropy rises with the temperature only up to about 1, and beyond that it may fall.
    top = next((t for t in (1.0, 1.25, 1.5, high) if missing(t) >= 0), high)
    high, a, b = top, missing(low), missing(top)
    if a * b > 0:
        raise UserError(f"no token temperature from {low:g} to {high:g} has an entropy of {wanted:.3f} nats; they have "
                        f"{wanted + a:.3f} to {wanted + b:.3f}.")  # fmt: skip
    for _ in range(100):
        t = (low * b - high * a) / (b - a)
        found = missing(t)
        low, a = (high, b) if found * b < 0 else (low, a / 2)  # halved, or one end could stay for ever
        high, b = t, found
        if abs(found) <= within:
            break
    return t, logprobs(t)


def beside_temperature(T: float, name: str, q: Tensor, target: Tensor, at: Callable[[float], Tensor]) -> dict:
    """Compare q, log-probs (K,) of all strings, with the token temperature of the same entropy, given a valid sentence.

    target: (K,) of the exact tempered distribution. at: the base's log-probs at a token temperature.
    """
    ref, valid = at(1.0), q.log_softmax(0)
    t, tempered = token_temperature(at, entropy(valid))
    loglik, token_loglik = ((p.exp() * ref).sum().item() for p in (valid, tempered.log_softmax(0)))
    return {"T": T, "name": name, "tv": exact.tv(target, valid), "valid_mass": q.exp().sum().item(),
            "entropy": entropy(valid), "loglik": loglik, "token_temperature": t, "token_loglik": token_loglik,
            "token_tv": exact.tv(target, tempered.log_softmax(0)), "token_valid_mass": tempered.exp().sum().item(),
            "gain": loglik - token_loglik}  # fmt: skip


def compare(cfg, out: Path, train: Callable[[float], Path]) -> None:
    """Compare GFlowNets, and p_ref^(1/T) itself, with the token temperature of the same entropy; print and write.

    cfg: of `minalign.compare`. train: runs train_gfn.py with a temperature of the reward, returns the run's folder.
    Writes compare.json.
    """
    device = pick_device()
    base, tokenizer, _ = load_policy(cfg.model, cfg.init)
    base.to(device)
    world = Grammar(tokenizer, device)

    def at(t: float, model: GPT2 = base) -> Tensor:
        return exact.string_logprobs(model, world.prompt, world.tokens, world.mask, world.stop,
                                     world.rule.min_new_tokens, t)  # fmt: skip

    ref = at(1.0)
    if ref.exp().sum() < 1e-3:
        raise UserError(f"--init {cfg.init}: expected a run of train_sft.py --task grammar; this one hardly ever says "
                        f"one of its sentences ({ref.exp().sum():.2g}).")  # fmt: skip
    rows = []
    for T in TEMPERATURES:
        target = (ref / T).log_softmax(0)
        policy = at(1.0, load_policy(cfg.model, str(train(T)))[0].to(device))
        rows += [beside_temperature(T, name, q, target, at) for name, q in (("exact", target), ("GFN", policy))]
    print(f"\nGiven a sentence; base: E log p {(ref.log_softmax(0).exp() * ref).sum():.4f}, entropy "
          f"{entropy(ref.log_softmax(0)):.4f}, valid {ref.exp().sum():.4f}\n{'':26} {'of the distribution':^35}  "
          f"{'of the token temperature of that entropy':^44}\n{'T':>4} {'':6} {'entropy':>14} {'TV to p*':>9} "
          f"{'valid':>7} {'E log p':>9}  {'t':>8} {'TV to p*':>9} {'valid':>7} {'E log p':>9} {'gain':>9}")  # fmt: skip
    for row in rows:
        print(f"{row['T']:4g} {row['name']:6} {row['entropy']:14.4f} {row['tv']:9.4f} {row['valid_mass']:7.4f} "
              f"{row['loglik']:9.4f}  {row['token_temperature']:8.4f} {row['token_tv']:9.4f} "
              f"{row['token_valid_mass']:7.4f} {row['token_loglik']:9.4f} {row['gain']:9.4f}")  # fmt: skip
    atomic_write(out / "compare.json", json.dumps({"task": cfg.task, "rows": rows}, indent=1))
