"""What a GFlowNet adds to decoding: sentences that are likely under the base and yet unlike each other.

    python -m minalign.compare --task next_sentence     # the figure of Hu et al. 2023 (2310.04363), section 4.1

A token temperature and a GFlowNet both buy likelihood with diversity; the question is the rate of exchange. So every
sentence, whoever said it, is scored by the same frozen base, in nats a sentence and a token (the one that ends it
counts), and methods are compared at the same diversity. `own` is a sentence's log-prob where it came from: the tempered
or cut distribution, the GFlowNet; of a search it is the base's. Only the base's numbers can be compared.
On a small world the same can be asked exactly: `tempered`.
Shapes: P prompts, n sentences a prompt, L lengths, C points of a curve, W sets of weights of the prompts.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minalign import plot
from minalign.cache import KVCache
from minalign.decoding import beam_search
from minalign.encoders import sentence_encoder
from minalign.files import atomic_write, plain
from minalign.generate import StopRule, generate, left_pad, score
from minalign.metrics import bootstrap, embedding_diversity
from minalign.model import GPT2
from minalign.respond import text_of
from minalign.run import pick_device
from minalign.stage import load_policy
from minalign.tasks import next_sentence
from minalign.tokenizer import Tokenizer

TEMPERATURES = (0.95, 0.9, 0.85, 0.8)  # T of the GFlowNets' rewards
MORE = 5  # times the sentences, or the beams: what a search costs, given to the methods that sample
SAMPLERS = {
    "base": {},
    # 1.1: without a point beyond the base, what is as diverse by chance would only ever look worse.
    **{f"temperature {t:g}": {"temperature": t} for t in (1.1, 0.9, 0.8, 0.7, 0.5)},
    **{f"top {k}": {"top_k": k} for k in (50, 10)},
    **{f"nucleus {p:g}": {"top_p": p} for p in (0.95, 0.9, 0.8)},
}


@dataclass
class Method:
    """How sentences are found: `how` are settings of `generate`, or of `beam_search` where it has beams."""

    name: str
    how: dict
    n: int  # sentences a prompt
    gfn: float | None = None  # T of the reward that a GFlowNet has learned; None: the base decodes

    @property
    def line(self) -> str | None:
        """The curve that it is a point of. Greedy is temperature 0: n draws would be n copies of its sentence."""
        if self.gfn:
            return "GFN"
        return "temperature" if self.how.keys() <= {"temperature", "greedy"} else None


@dataclass
class Found:
    """What a method said: answers[prompt] are rows as `decode` returns them; values: name -> (P,)."""

    method: Method
    answers: list[list[dict]]
    positions: int
    values: dict[str, np.ndarray]


def methods(n: int) -> list[Method]:
    """Return all methods; x5: those that sample say 5 n sentences, searches have 5 n beams and keep n."""
    found = [Method("greedy", {"greedy": True}, 1)]
    for times, mark in ((1, ""), (MORE, f" x{MORE}")):
        many, groups = n * times, {"groups": n, "diversity_penalty": 1.0}
        found += [Method(name + mark, how, many) for name, how in SAMPLERS.items()]
        found += [Method(f"beam{mark}", {"beams": many}, n), Method(f"diverse beam{mark}", {"beams": many} | groups, n)]
        found += [Method(f"GFN {T:g}{mark}", {}, many, T) for T in TEMPERATURES]
    return found


@torch.no_grad()
def decode(
    model: GPT2, base: GPT2, tokenizer: Tokenizer, prompts: list[str], rule: StopRule, n: int, seed: int, how: dict,
    rows: int = 256,
) -> tuple[list[list[dict]], int]:  # fmt: skip
    """Return n sentences of a model to each prompt, scored by the base, and the token positions that were decoded.

    how: see `Method`. seed: of the random numbers, the same for every method. rows: sequences at a time, about.
    A row: prompt, response, stopped, tokens (with the one that ends it), loglik (base) and own_loglik, nats. A search
    that finds fewer than n returns fewer. Positions: rows x steps that the model computed after the prompts.
    """
    noise, found, positions = torch.Generator().manual_seed(seed), [], 0

    def count(module, args, named):
        nonlocal positions
        positions += args[0].numel() * isinstance(named.get("cache"), KVCache)  # neither prompts nor scoring have one

    counting = model.register_forward_pre_hook(count, with_kwargs=True)
    at_once = max(1, rows // how.get("beams", n))
    for asked in (prompts[i : i + at_once] for i in range(0, len(prompts), at_once)):
        tokens, mask = left_pad([tokenizer.encode(prompt) for prompt in asked], rule.stop, model.device)
        if "beams" in how:
            said = beam_search(model, tokens, rule, n=n, prompt_mask=mask, **how)
        else:
            said = generate(model, tokens, n=n, prompt_mask=mask, generator=noise, **how, **rule.settings())
        loglik = score(base, tokens, said.tokens, said.mask, rule.stop, rule.min_new_tokens, 1.0, mask, rule.forbidden)
        columns = (said.tokens, said.mask.sum(1), said.stopped, loglik[0].sum(1), said.logprobs.sum(1))
        answers = [
            {"response": text_of(tokenizer, ids[:length]), "stopped": stopped, "tokens": length, "loglik": nats,
             "own_loglik": own} for ids, length, stopped, nats, own in zip(*(x.tolist() for x in columns))
        ]  # fmt: skip
        found += [[{"prompt": prompt, **row} for row in answers[i * n : (i + 1) * n] if row["tokens"]]
                  for i, prompt in enumerate(asked)]  # fmt: skip
    counting.remove()
    return found, positions


def measure(answers: list[list[dict]], encoder: Callable[[list[str]], Tensor]) -> dict[str, np.ndarray]:
    """Return what each prompt's sentences are like, name -> (P,).

    mean, max: log-lik under the base, nats a sentence; token_mean, token_max: a token; own; length, tokens; stopped and
    distinct: shares; diversity: 1 - mean cosine of two sentences, 0 of one sentence (it stands for copies of it).
    """
    vectors = encoder([row["response"] for rows in answers for row in rows]).split([len(rows) for rows in answers])
    loglik = [np.array([row["loglik"] for row in rows]) for rows in answers]
    length = [np.array([row["tokens"] for row in rows]) for rows in answers]
    values = {
        "mean": [x.mean() for x in loglik],
        "max": [x.max() for x in loglik],
        "token_mean": [(x / k).mean() for x, k in zip(loglik, length)],
        "token_max": [(x / k).max() for x, k in zip(loglik, length)],
        "own": [np.mean([row["own_loglik"] for row in rows]) for rows in answers],
        "length": [k.mean() for k in length],
        "stopped": [np.mean([row["stopped"] for row in rows]) for rows in answers],
        "distinct": [len({row["response"] for row in rows}) / len(rows) for rows in answers],
        "diversity": [embedding_diversity(x) if len(x) > 1 else 0.0 for x in vectors],
    }
    return {name: np.array(x) for name, x in values.items()}


# ---------------------------------------------------------------- at the same diversity


def resamplings(P: int, n: int = 1000, seed: int = 0) -> np.ndarray:
    """Return weights of P prompts (1 + n, P): first all alike, then those of n bootstrap resamples."""
    drawn = np.random.default_rng(seed).integers(P, size=(n, P))
    return np.stack([np.full(P, 1 / P), *(np.bincount(row, minlength=P) / P for row in drawn)])


def at_diversity(diversity: np.ndarray, curve: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate the points (curve, values), both (W, C), linearly at `diversity` (W,); beyond an end the end counts.

    The lower end is greedy, at 0. What is beyond the upper one is compared with less diversity, to its disadvantage.
    """
    order = curve.argsort(1)
    x, y = np.take_along_axis(curve, order, 1), np.take_along_axis(values, order, 1)
    return np.array([np.interp(*point) for point in zip(diversity, x, y)])


def by_length(answers: list[list[dict]], L: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of each prompt's sentences have each length, and their summed log-lik: (P, L) both."""
    counts, sums = np.zeros((len(answers), L)), np.zeros((len(answers), L))
    for i, rows in enumerate(answers):
        for row in rows:
            counts[i, row["tokens"]] += 1
            sums[i, row["tokens"]] += row["loglik"]
    return counts, sums


def length_matched(a: list[list[dict]], b: list[list[dict]], weights: np.ndarray) -> np.ndarray:
    """Return the mean log-lik of a less that of b, had both the same lengths, for each set of weights: (W,).

        sum_l h(l) (mean_a(l) - mean_b(l)),   h(l) proportional to min(share_a(l), share_b(l))

    Whole sentences favour who is brief, and tokens who is long, for the first words and the end cost most. Of the
    common histograms the overlap is the one in which no length counts that either hardly ever says.
    """
    L = 1 + max(row["tokens"] for rows in a + b for row in rows)
    (counts_a, sums_a), (counts_b, sums_b) = ([weights @ x for x in by_length(rows, L)] for rows in (a, b))  # (W, L)
    shares = [x / x.sum(1, keepdims=True) for x in (counts_a, counts_b)]
    common = np.minimum(*shares)
    difference = sums_a / np.where(common > 0, counts_a, 1) - sums_b / np.where(common > 0, counts_b, 1)
    with np.errstate(invalid="ignore"):  # no length in common: NaN
        return (common * difference).sum(1) / common.sum(1)


def gain(gfn: Found, curve: list[Found]) -> dict:
    """Return what a GFlowNet's sentences have over the token temperature's at the same diversity.

    Of mean, max, token_mean and `matched` (`length_matched`): {name: [nats, low, high]}, the 95 % interval from a
    bootstrap of prompts in which both keep what they said to a prompt. more_diverse: than every point of the curve.
    """
    weights = resamplings(len(gfn.answers))
    where = weights @ gfn.values["diversity"]
    x = np.stack([weights @ other.values["diversity"] for other in curve], 1)  # (W, C)
    over = {name: [weights @ (gfn.values[name] - other.values[name]) for other in curve]
            for name in ("mean", "max", "token_mean")}  # fmt: skip
    over["matched"] = [length_matched(gfn.answers, other.answers, weights) for other in curve]
    found = {"T": gfn.method.gfn, "n": gfn.method.n, "diversity": where[0], "more_diverse": bool(where[0] > x[0].max())}
    for name, differences in over.items():
        nats = at_diversity(where, x, np.stack(differences, 1))
        found[name] = [nats[0], *np.quantile(nats[1:], (0.025, 0.975))]
    return found


# ---------------------------------------------------------------- next_sentence


def describe(found: Found) -> dict:
    """Return a method's numbers: means over prompts with their 95 % intervals, NAME_low and NAME_high."""
    row = {"n": found.method.n, "line": found.method.line, "positions": found.positions}
    for name, values in found.values.items():
        low, high = bootstrap(values)
        row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    return row


def show(name: str, row: dict) -> None:
    """Print one line of the table."""
    def pm(key: str, digits: int) -> str:
        return f"{row[key]:7.{digits}f} ±{(row[f'{key}_high'] - row[f'{key}_low']) / 2:5.{digits}f}"

    print(f"{name:18} {pm('mean', 2)} {pm('max', 2)} {row['own']:7.2f} {row['token_mean']:7.3f} "
          f"{row['token_max']:7.3f} {pm('diversity', 3)} {row['distinct']:8.2f} {row['length']:7.1f} "
          f"{row['stopped']:7.2f} {row['positions']:9,}", flush=True)  # fmt: skip


def compare(cfg, out: Path, train: Callable[[float], Path]) -> None:
    """Decode by all methods; print, write and draw likelihood under the base against diversity.

    cfg: of `minalign.compare`. train: runs train_gfn.py with a temperature of the reward, returns the run's folder.
    Writes compare.json, sentences.png and samples/METHOD.jsonl, which diversity.py reads.
    """
    device = pick_device()
    base, tokenizer, _ = load_policy(cfg.model, cfg.init)
    base.to(device)
    own, encoder = next_sentence.flags_of(cfg.init), sentence_encoder(cfg.encoder, device)
    rule = next_sentence.stop_rule(tokenizer, own.get("max_response"), own.get("min_response", 1),
                                   own.get("illegal", "basic"))  # fmt: skip
    prompts = next_sentence.prompts("validation", cfg.prompts, cfg.seed)
    runs = {T: train(T) for T in TEMPERATURES}
    (out / "samples").mkdir(parents=True, exist_ok=True)
    print(f"\n{'':18} {'log-lik. under the base of':^29} {'own':>7} {'of a token':^15} {'':14} {'':8} {'':7} {'':7} "
          f"{'decoded':>9}\n{'':18} {'the mean':^14} {'the best':^14} {'mean':>7} {'mean':>7} {'best':>7} "
          f"{'diversity':^14} {'distinct':>8} {'tokens':>7} {'stopped':>7} {'positions':>9}")  # fmt: skip
    all_found, rows = [], {}
    for method in methods(cfg.n):
        model = load_policy(cfg.model, str(runs[method.gfn]))[0].to(device) if method.gfn else base
        answers, positions = decode(model, base, tokenizer, prompts, rule, method.n, cfg.seed, method.how)
        found = Found(method, answers, positions, measure(answers, encoder))
        all_found.append(found)
        rows[method.name] = describe(found)
        show(method.name, rows[method.name])
        atomic_write(out / "samples" / f"{method.name.replace(' ', '-')}.jsonl", "".join(
            json.dumps({"prompt": row["prompt"], "response": row["response"], "stopped": row["stopped"],
                        "scores": {"loglik": row["loglik"], "own_loglik": row["own_loglik"]}}) + "\n"
            for some in answers for row in some))  # fmt: skip
    gains = [gain(gfn, [other for other in all_found if other.method.line == "temperature"
                        and other.method.n in (1, gfn.method.n)])
             for gfn in all_found if gfn.method.gfn]  # fmt: skip
    show_gains(gains)
    written = {"task": cfg.task, "prompts": cfg.prompts, "n": cfg.n, "encoder": encoder.label, "rows": rows}
    atomic_write(out / "compare.json", json.dumps(plain(written | {"gains": gains}), indent=1))
    print("figure:", plot.sentences(out))


def show_gains(gains: list[dict]) -> None:
    """Print what GFlowNets have over the token temperature."""
    names = {"mean": "a sentence", "matched": "of equal length", "token_mean": "a token", "max": "the best sentence"}
    print("\nGFN less token temperature at the same diversity: nats under the base, 95 % paired over prompts\n"
          f"{'T':>4} {'n':>4} {'diversity':>10}" + "".join(f"{title:^25}" for title in names.values()))  # fmt: skip
    for row in gains:
        cells = (f"{row[name][0]:8.3f} ({row[name][1]:.3f} to {row[name][2]:.3f})" for name in names)
        beyond = "  more diverse than all temperatures" if row["more_diverse"] else ""
        print(f"{row['T']:4g} {row['n']:4} {row['diversity']:10.3f}" + "".join(f"{c:<25}" for c in cells) + beyond)
