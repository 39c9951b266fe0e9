"""The numbers of a study, read from its folders: see `study`.

A number is (value, low, high), with its 95 % interval. Of one run it is a mean over inputs with a bootstrap over them,
and so is the difference of two methods, which answer the same inputs. Means over seeds and differences between other
things get theirs by MOVER (Zou and Donner 2008, eq. 4; the parts count as independent):
    low = a - b - sqrt((a - low_a)^2 + (high_b - b)^2),   high = a - b + sqrt((high_a - a)^2 + (b - low_b)^2)
It says what other inputs and samples would change, not other runs: for that the seeds are there, one by one.
"""

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from minalign import bon, exact, metrics
from minalign.files import atomic_write, read_json
from minalign.hub import find_model
from minalign.plot import read_metrics
from minalign.samples import read_rows
from minalign.tokenizer import Tokenizer

SPLITS = ("test", "ood_test", "long_test")  # of a task, where it has them; the first is the one in distribution
OVERLAP = ("rouge1", "rouge2", "rougeL")
NAMES = {"references": "references", "sft": "SFT", "ppo": "PPO", "dpo": "DPO", "gfn": "GFN", "bon": "best of n"}
PATH = {"step": "step", "kl": "eval/kl", "proxy": "eval/score", "gold": "eval/gold", "proxy_se": "eval/score_se",
        "gold_se": "eval/gold_se"}  # fmt: skip

Number = tuple[float, float | None, float | None]  # value, low, high; no interval where there is one observation
Samples = dict[tuple[str, int], list[dict]]  # (split, input) -> its rows
Values = dict[str, dict[str, dict[int, float]]]  # split -> measure -> input -> its mean over samples


@dataclass
class Cell:
    """A model, a share of the records and a seed: SFT and all that starts from it, in one folder."""

    folder: Path
    model: str
    fraction: float
    seed: int


# ---------------------------------------------------------------- numbers with intervals


def estimate(values: list[float]) -> Number:
    """Return the mean of one value an input, with its bootstrap interval."""
    low, high = metrics.bootstrap(values)
    return sum(values) / len(values), *((None, None) if math.isnan(low) else (low, high))


def combine(weights: list[float], numbers: list[Number]) -> Number:
    """Return the weighted sum of independent numbers, by MOVER."""
    value = sum(w * number[0] for w, number in zip(weights, numbers))
    if any(number[1] is None for number in numbers):
        return value, None, None
    # The lower end moves with the lower end of what is added and with the upper end of what is taken away.
    down, up = (math.sqrt(sum((w * (x[side if w > 0 else 3 - side] - x[0])) ** 2 for w, x in zip(weights, numbers)))
                for side in (1, 2))  # fmt: skip
    return value, value - down, value + up


def minus(a: Number, b: Number) -> Number:
    return combine([1, -1], [a, b])


# ---------------------------------------------------------------- one cell


def grouped(folder: Path) -> Samples:
    """Return the samples of a folder by split and input, in the order in which they were drawn."""
    found: Samples = {}
    for row in read_rows(str(folder)):
        found.setdefault((row["split"], row["id"]), []).append(row)
    return found


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Write rows as JSON lines."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write(path, text.encode("utf-8", "backslashreplace"))


def write_best(folder: Path, n: int) -> None:
    """Write bon/samples.jsonl: of each group of n samples of bon-pool, in their order, the best by the first score."""
    if (folder / "bon" / "samples.jsonl").exists():
        return
    picked = []
    for rows in grouped(folder / "bon-pool").values():
        by = next(iter(rows[0]["scores"]))
        for i in range(0, len(rows), n):
            best = max(rows[i : i + n], key=lambda row: row["scores"][by])
            picked.append({key: x for key, x in best.items() if key not in ("rank", "logprob")})
    (folder / "bon").mkdir(exist_ok=True)
    write_rows(folder / "bon" / "samples.jsonl", picked)


def score_names(samples: Samples, judged: bool) -> tuple[str, str]:
    """Return the names of the reward model's score and of the one that stands for the truth (without any the former).

    judged: --eval_reward was given; it comes second.
    """
    names = list(next(iter(samples.values()))[0]["scores"])
    return names[0], names[1] if judged else "gold" if "gold" in names else names[0]


def bon_kl(rewards: list[float], n: int) -> float:
    """Return KL(best of n || policy) of an input, nats, with its samples' own distribution in the policy's place.

    The samples' ties are counted, which the bound does not know. rewards: of many more than n samples.
    """
    policy = torch.full((len(rewards),), -math.log(len(rewards)), dtype=torch.float64)
    return exact.kl(bon.law(policy, torch.tensor(rewards), n), policy)


def win_rate(mine: list[float], theirs: list[float]) -> float:
    """Return how often one of mine is better than one of theirs, over all pairs; a tie counts half.

    Not the k-th against the k-th: methods draw with the same noise, and those two would be alike too often.
    """
    return sum(0.5 if x == y else float(x > y) for x in mine for y in theirs) / (len(mine) * len(theirs))


def agreement(proxy: list[float], gold: list[float]) -> float | None:
    """Return the share of pairs of an input's samples that both scores order alike; None where gold is the same."""
    pairs = [(p - proxy[j], g - gold[j]) for i, (p, g) in enumerate(zip(proxy, gold)) for j in range(i)]
    told = [0.5 if p == 0 else float((p > 0) == (g > 0)) for p, g in pairs if g]
    return sum(told) / len(told) if told else None


def of_method(samples: Samples, others: dict[str, Samples], proxy: str, gold: str, tokenizer: Tokenizer) -> Values:
    """Return the values of one method; others: references and sft, where it can be compared."""
    columns: Values = {}

    def score(rows: list[dict], name: str) -> list[float]:
        return [row["scores"][name] for row in rows]

    for (split, number), rows in samples.items():
        texts = [row["response"] for row in rows]
        found: dict[str, list] = {
            "gold": score(rows, gold), "rm": score(rows, proxy),
            "agreement": [agreement(score(rows, proxy), score(rows, gold))],
            **{name: score(rows, name) for name in OVERLAP if name in rows[0]["scores"]},
            "words": [len(text.split()) for text in texts], "tokens": [len(tokenizer.encode(text)) for text in texts],
            "stopped": [row.get("stopped", True) for row in rows]}  # fmt: skip
        if "logprob" in rows[0]:
            found["kl"] = [row["logprob"] - row["scores"]["likelihood"] for row in rows]
        for name, other in others.items():
            found[f"win_{name}"] = [win_rate(score(rows, gold), score(other[split, number], gold))]
        for name, values in found.items():
            if None not in values:
                columns.setdefault(split, {}).setdefault(name, {})[number] = sum(values) / len(values)
    return columns


def add_diversity(values: dict[str, Values], found: dict[str, Samples], folder: Path) -> dict[str, dict]:
    """Add what diversity.py says of each input to the values of the methods; return what it says across inputs."""
    places = {}
    for name, samples in found.items():
        splits = {split for split, _ in samples}
        for (split, number), rows in samples.items():  # it names a split only where a file has several
            places[f"{name} {split}" if len(splits) > 1 else name, rows[0]["prompt"]] = name, split, number
    for row in map(json.loads, (folder / "per_input.jsonl").read_text("utf-8").splitlines()):
        name, split, number = places[row.pop("file"), row.pop("prompt")]
        for metric, value in row.items():
            if value is not None:
                values[name][split].setdefault(f"per_input/{metric}", {})[number] = value
    across: dict[str, dict] = {name: {} for name in values}
    for (file, _), (name, split, _) in places.items():
        across[name].setdefault(split, {f"across_input/{metric}": (x["across_input"], None, None) for metric, x in
                                        read_json(folder / "diversity.json")["files"][file]["metrics"].items()
                                        if x.get("across_input") is not None})  # fmt: skip
    return across


def compared(values: dict[str, Values], splits: list[str]) -> dict[str, dict]:
    """Return {split: {"a - b": {measure: number}}} of all pairs of methods, input by input."""
    found: dict[str, dict] = {split: {} for split in splits}
    for split in splits:
        for a, b in itertools.combinations([name for name in values if split in values[name]], 2):
            mine, theirs = values[a][split], values[b][split]
            both = {key: mine[key].keys() & theirs[key].keys() for key in mine.keys() & theirs.keys()}
            found[split][f"{a} - {b}"] = {key: estimate([mine[key][i] - theirs[key][i] for i in sorted(inputs)])
                                          for key, inputs in both.items() if inputs}  # fmt: skip
    return found


def of_cell(cfg, cell: Cell, splits: list[str], names: list[str]) -> dict:
    """Return all numbers of a cell. names: of its evaluations, SFT first."""
    at = cell.folder / "eval"
    found = {name: grouped(at / name) for name in names}
    proxy, gold = score_names(found["sft"], bool(cfg.eval_reward))
    tokenizer = Tokenizer.from_folder(find_model(cell.model))
    if (at / "references" / "samples.jsonl").exists():
        found["references"] = grouped(at / "references")
    values: dict[str, Values] = {}
    for name, samples in found.items():
        others = {key: found[key] for key in ("references", "sft") if key in found and key != name != "references"}
        values[name] = of_method(samples, others, proxy, gold, tokenizer)
    across = add_diversity(values, found, at / "diversity")
    numbers = {name: {split: {key: estimate(list(x.values())) for key, x in of.items()} | across[name][split]
                      for split, of in mine.items()} for name, mine in values.items()}  # fmt: skip
    for of in numbers["sft"].values():  # it is the reference of the others; its likelihood is of what it started from
        of["kl"] = (0.0, None, None)
    curve = []
    if "bon" in found:
        pool, told = grouped(at / "bon-pool"), read_json(at / "bon-pool" / "best_of_n.json")
        for split in splits:
            numbers["bon"][split]["kl"] = estimate([
                bon_kl([row["scores"][proxy] for row in rows], cfg.bon_n)
                for (part, _), rows in pool.items() if part == split])  # fmt: skip
        part = told["splits"][splits[0]]
        for n in (2**i for i in range(len(told["n"]).bit_length())):
            curve.append({"n": n, "kl": told["kl_bound"][n - 1], **{
                f"{key}{end}": part[name][kind][n - 1] for key, name in (("proxy", proxy), ("gold", gold))
                for end, kind in (("", "mean"), ("_se", "se"))}})  # fmt: skip
    for path in at.glob("judge-*/judge.json"):
        _, name, split = path.parent.name.split("-", 2)
        if name in numbers:
            numbers[name][split]["win_judge"] = tuple(read_json(path)[f"win_rate{x}"] for x in ("", "_low", "_high"))
    rows = [row for (split, _), rows in found["sft"].items() if split == splits[0] for row in rows]
    unit = {key: torch.tensor([row["scores"][name] for row in rows]).std().item()
            for key, name in (("proxy", proxy), ("gold", gold))}  # fmt: skip
    runs = [p.parent for p in sorted([*cell.folder.glob("*/result.json"), *at.glob("*/result.json")])]
    rm = read_json(cell.folder / "rm" / "result.json")
    return {"model": cell.model, "fraction": cell.fraction, "seed": cell.seed, "gold": gold,
            "numbers": numbers, "differences": compared(values, splits), "best_of_n": curve, "unit": unit,
            "rm": {key: x for key, x in rm.items() if "accuracy" in key or "label_ceiling" in key},
            "betas": {name: read_json(cell.folder / name / "run.json")["config"]["beta"]
                      for name in names if name.partition("-")[0] in ("ppo", "gfn")},
            "paths": {name: way(cell.folder / name) for name in {"ppo", "gfn"} & set(names) if not cfg.eval_reward},
            "seconds": {run.name if run.parent == cell.folder else f"eval {run.name}":
                        read_json(run / "result.json")["seconds"] for run in runs}}  # fmt: skip


def way(folder: Path) -> list[dict]:
    """Return what a run's own evaluations say of its way, on held-out inputs: KL, score and gold score."""
    rows = [{"step": 0, **{key.removeprefix("base_"): x for key, x in read_json(folder / "result.json").items()
                           if key.startswith("base_")}}, *read_metrics(folder)]  # fmt: skip
    return [{key: row.get(name) for key, name in PATH.items()} for row in rows if "eval/kl" in row]


# ---------------------------------------------------------------- all cells


def over_seeds(found: list[dict[str, Number]]) -> dict[str, dict]:
    """Return {measure: {"mean": number, "seeds": one value each}} of what each seed found."""
    shares = [1 / len(found)] * len(found)
    return {measure: {"mean": combine(shares, [x[measure] for x in found]), "seeds": [x[measure][0] for x in found]}
            for measure in found[0] if all(measure in x for x in found)}  # fmt: skip


def difference(a: dict, b: dict) -> dict:
    """Return a - b of two entries of `over_seeds` that are of other inputs."""
    return {"mean": minus(a["mean"], b["mean"]), "seeds": [x - y for x, y in zip(a["seeds"], b["seeds"])]}


def between(row: dict, split: str, a: str, b: str, key: str) -> dict | None:
    """Return a - b of two methods, input by input where there are values of inputs; None where one has none."""
    pairs, of = row["differences"][split], row["splits"][split]
    if key in (found := pairs.get(f"{a} - {b}", {})):
        return found[key]
    if key in (found := pairs.get(f"{b} - {a}", {})):
        value, low, high = found[key]["mean"]
        ends = (None, None) if low is None else (-high, -low)
        return {"mean": (-value, *ends), "seeds": [-x for x in found[key]["seeds"]]}
    return difference(of[a][key], of[b][key]) if key in of.get(a, {}) and key in of.get(b, {}) else None


def measure(cfg, cells: list[Cell], splits: list[str], names: dict[float, list[str]]) -> dict:
    """Return all there is to say of a study: {"cells": each alone, "rows": over seeds, for each model and fraction}.

    names: the evaluations of a cell, by its fraction.
    """
    alone = [of_cell(cfg, cell, splits, names[cell.fraction]) for cell in cells]
    rows = []
    for model, fraction in dict.fromkeys((cell.model, cell.fraction) for cell in cells):
        mine = [cell for cell in alone if (cell["model"], cell["fraction"]) == (model, fraction)]
        table = {split: {name: over_seeds([cell["numbers"][name][split] for cell in mine])
                         for name, of in mine[0]["numbers"].items() if split in of} for split in splits}  # fmt: skip
        pairs = {split: {pair: over_seeds([cell["differences"][split][pair] for cell in mine]) for pair in of}
                 for split, of in mine[0]["differences"].items()}  # fmt: skip
        gaps = {split: {name: {key: difference(table[splits[0]][name][key], x) for key, x in of.items()
                               if key in table[splits[0]][name]} for name, of in table[split].items()}
                for split in splits[1:]}  # fmt: skip
        rows.append({"model": model, "fraction": fraction, "seeds": [cell["seed"] for cell in mine],
                     "betas": mine[0]["betas"], "rm": [cell["rm"] for cell in mine], "splits": table,
                     "differences": pairs, "gaps": gaps})
    return {"splits": splits, "gold": alone[0]["gold"], "rows": rows, "cells": alone}


def flat(found: dict) -> dict[str, float]:
    """Return the means of all methods, named model/fraction/split/method/measure, for result.json."""
    return {f"{row['model']}/f{row['fraction']:g}/{split}/{name}/{key}": x["mean"][0]
            for row in found["rows"] for split, table in row["splits"].items() for name, of in table.items()
            for key, x in of.items()}  # fmt: skip
