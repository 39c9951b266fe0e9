"""One run of bench/ablations.py, in a process of its own: a script with lines of its source changed, or a probe.

A probe measures a detail directly, where training for 20 seconds would show nothing: a function of the seed that
returns {"on": numbers, "off": numbers}.
"""

import importlib.machinery
import importlib.util
import json
import math
import random
import resource
import shutil
import sys
import types
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent


class Edited(importlib.machinery.SourceFileLoader):
    """Loads a module's file with some of its lines changed; nothing is read from or written to its bytecode cache."""

    changes: list[tuple[str, str]]

    def path_stats(self, path: str) -> dict:
        raise OSError  # what importlib takes for "not to be cached"

    def get_data(self, path: str) -> bytes:
        source = super().get_data(path).decode("utf-8")
        for old, new in self.changes:
            assert source.count(old) == 1, f"{Path(path).name} has {source.count(old)} times: {old}"
            source = source.replace(old, new)
        return source.encode("utf-8")


def edited(name: str, changes: list[tuple[str, str]]) -> types.ModuleType:
    """Import a module with lines changed, in the place of the one on disk."""
    loader = Edited(name, str(ROOT / (name.replace(".", "/") + ".py")))
    loader.changes = changes
    module = sys.modules[name] = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    package, _, last = name.rpartition(".")
    if package:
        setattr(importlib.import_module(package), last, module)
    loader.exec_module(module)
    return module


def apply(edits) -> None:
    """Import the modules that a row changes: [(module, old, new), ...], one that others import first."""
    for name in dict.fromkeys(module for module, *_ in edits):
        edited(name, [(old, new) for module, old, new in edits if module == name])


def child(spec: dict) -> dict[str, float]:
    """Run what a spec of ablations.py says; return its numbers."""
    if spec["script"] == "probe":
        return PROBES[spec["flags"][0]](spec["seed"])[spec["side"]]
    apply(spec["edits"])
    out = Path(spec["out"])
    importlib.import_module(spec["script"]).main([*spec["flags"], "--out", str(out), "--overwrite"])
    found = json.loads((out / "result.json").read_text())
    rows = (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else ["{}"]
    found |= {f"{name}/{key}": x for name, i in (("first", 0), ("last", -1)) for key, x in json.loads(rows[i]).items()}
    if spec["script"] == "train_rm":
        with (out / "predictions.jsonl").open() as file:
            found["reward_std"] = torch.tensor([json.loads(line)["rewards"] for line in file]).std().item()
    shutil.rmtree(out)
    return found | {"cpu_seconds": resource.getrusage(resource.RUSAGE_SELF).ru_utime}


# ---------------------------------------------------------------- probes


@cache
def nano():
    """Return the bundled model and its tokenizer."""
    from minalign import stage

    model, tokenizer, _ = stage.load_policy("nano")
    return model.eval().requires_grad_(False), tokenizer


def beginnings(seed: int, n: int = 32) -> list[str]:
    """Return n openings of stories."""
    from minalign.tasks import next_sentence

    return next_sentence.prompts("validation", n, seed)


@cache
def stories(seed: int, n: int = 64) -> list[str]:
    """Return n continuations that nano writes to one opening each, 40 tokens."""
    from minalign.generate import StopRule
    from minalign.respond import respond

    model, tokenizer = nano()
    asked = [tokenizer.encode(text) for text in beginnings(seed, n)]
    noise = torch.Generator().manual_seed(seed)
    return [r.text for (r,) in respond(model, tokenizer, asked, StopRule(tokenizer.eot, 40), 1, 1.0, noise)]


def joint(seed: int) -> dict:
    """Share of responses whose tokens are others when prompt and response are encoded as one text."""
    from minalign.tasks import puns, rng, sentiment

    _, tokenizer = nano()
    prompt = rng.prompt_of(rng.parse_target("uniform"))
    records = [(r.prompt, r.responses[0]) for task in (puns, sentiment) for r in task.completions("train", 101, seed)]
    records += [(prompt, str(n)) for n in range(101)]
    encode = tokenizer.encode
    changed = sum(encode(p + r) != encode(p) + encode(r) for p, r in records)
    return {"on": {"responses with other tokens": 0.0}, "off": {"responses with other tokens": changed / len(records)}}


def inverse_cdf(seed: int) -> dict:
    """The largest relative error with which a token of probability above 1e-6 is drawn."""
    model, tokenizer = nano()
    found = {}
    for side, dtype in (("on", torch.float64), ("off", torch.float32)):
        lost = []
        for text in beginnings(seed):
            probs = model.lm_head(model(torch.tensor([tokenizer.encode(text)])))[0, -1].softmax(-1)
            width = F.pad(probs.cumsum(-1, dtype=dtype), (1, 0)).diff()
            lost.append((width / probs - 1)[probs > 1e-6].abs().max().item())
        found[side] = {"largest relative error": max(lost)}
    return found


def half_logits(seed: int) -> dict:
    """Error of a token's log-prob when the product of the head is in bf16 and logits are fp32, or bf16 as well."""
    model, tokenizer = nano()
    found = {"on": [], "off": []}
    for text in beginnings(seed):
        ids = torch.tensor([tokenizer.encode(text)])
        hidden, wanted = model(ids)[:, :-1], ids[:, 1:, None]
        true = (hidden @ model.lm_head.weight.T).log_softmax(-1).gather(2, wanted)
        logits = hidden.bfloat16().float() @ model.lm_head.weight.bfloat16().float().T
        for side, x in (("on", logits), ("off", logits.bfloat16().float())):
            found[side].append((x.log_softmax(-1).gather(2, wanted) - true).abs().mean().item())
    return {side: {"mean error of a log-prob, nats": sum(x) / len(x)} for side, x in found.items()}


def extreme_margin(seed: int) -> dict:
    """The largest margin, of 1 ... 1000 in the wrong direction, whose loss and gradient are finite in fp32."""
    from minalign.losses import pairwise

    def largest(loss):
        for margin in range(1, 1001):
            x = torch.tensor([-float(margin)], requires_grad=True)
            value = loss(x)
            value.sum().backward()
            if not (value.isfinite().all() and x.grad.isfinite().all()):
                return margin - 1
        return 1000

    key = "largest finite margin (of 1000)"
    return {"on": {key: largest(lambda x: pairwise(x, torch.zeros(1)))},
            "off": {key: largest(lambda x: -torch.log(torch.sigmoid(x)))}}  # fmt: skip


def junk(seed: int) -> dict:
    """Probability of a number under the optimum of the reward itself, junk's log R falling with length or constant."""
    from minalign.tasks import rng

    _, tokenizer = nano()
    of = rng.Condition(rng.parse_target("uniform"), "main", tokenizer, rng.MAX_LEN, 14.0)
    others = sum((tokenizer.n_vocab - 1) ** length for length in range(1, rng.MAX_LEN + 1))
    key = "valid mass of the optimum"
    return {"on": {key: of.target_valid_mass}, "off": {key: 1 / (1 + others * math.exp(-of.penalty))}}


def numbers_of_nano():
    """Return the exact log-probs of nano's numbers and of `invalid` (102,), and a reward with ties: n // 10."""
    from minalign import exact
    from minalign.tasks import rng

    model, tokenizer = nano()
    of = rng.Condition(rng.parse_target("uniform"), "main", tokenizer, rng.MAX_LEN, 14.0)
    reward = torch.tensor([*(n // 10 for n in range(101)), -1.0])
    return exact.outcomes(of.probabilities(model).log()).log_softmax(0), reward


def best_of_n(seed: int) -> dict:
    """Error of the expected reward of best of 4, from 64 samples: all their subsets, or the first four."""
    from minalign import bon

    logp, reward = numbers_of_nano()
    true = (bon.law(logp, reward, 4).exp() @ reward.double()).item()
    noise = torch.Generator().manual_seed(seed)
    drawn = reward[torch.multinomial(logp.exp(), 64 * 500, replacement=True, generator=noise)].view(500, 64)
    key = "error (root mean square) of best of 4"
    return {side: {key: (x - true).square().mean().sqrt().item()}
            for side, x in (("on", bon.curve(drawn, drawn)[:, 3]), ("off", drawn[:, :4].amax(1).double()))}  # fmt: skip


def best_of_n_kl(seed: int) -> dict:
    """KL of best of 16 to the policy: the exact one, and log n - (n - 1)/n."""
    from minalign import bon, exact

    logp, reward = numbers_of_nano()
    key = "KL of best of 16, nats"
    return {"on": {key: exact.kl(bon.law(logp, reward, 16), logp)}, "off": {key: bon.kl_bound(16)}}


def change(a: float, b: float) -> dict:
    return {"change, %": 100 * (b / a - 1)}


def length_bias(seed: int) -> dict:
    """What halving all texts does to distinct-2: rarefied to the n-grams of the short ones, and plain."""
    from minalign import metrics

    whole = stories(seed)
    half = [" ".join(text.split()[: len(text.split()) // 2]) for text in whole]
    m = metrics.ngram_counts(half, 2).total()
    return {"on": change(metrics.rarefied_distinct(whole, 2, m), metrics.rarefied_distinct(half, 2, m)),
            "off": change(metrics.distinct_n(whole, 2), metrics.distinct_n(half, 2))}  # fmt: skip


def count_bias(seed: int) -> dict:
    """What leaving out three of four texts does to the averaged EAD, and to distinct-n."""
    from minalign import metrics

    whole = stories(seed)
    return {"on": change(metrics.averaged_ead(whole), metrics.averaged_ead(whole[::4])),
            "off": change(metrics.averaged_distinct(whole), metrics.averaged_distinct(whole[::4]))}  # fmt: skip


def self_pairs(seed: int) -> dict:
    """How 1 - the mean cosine of four texts, averaged over fours, differs from that of all: pairs, or all with all."""
    from minalign import metrics

    texts = stories(seed)
    texts = random.Random(seed).sample(texts, len(texts))
    fours = [metrics.ngram_diversity(texts[i : i + 4], 1) for i in range(0, len(texts), 4)]
    mean, n = sum(fours) / len(fours), len(texts)
    whole = metrics.ngram_diversity(texts, 1)
    return {"on": change(whole, mean), "off": change(whole * (n - 1) / n, mean * 3 / 4)}


PROBES = {f.__name__: f for f in (joint, inverse_cdf, half_logits, extreme_margin, junk, best_of_n, best_of_n_kl,
                                  length_bias, count_bias, self_pairs)}  # fmt: skip

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    numbers = child(json.loads(sys.argv[1]))
    print("\n" + json.dumps({key: x for key, x in numbers.items() if isinstance(x, int | float)}))
