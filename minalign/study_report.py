"""A study's report in Markdown, from study.json: tables, and what the numbers say. See `study`."""

import json
import math
from pathlib import Path
from statistics import NormalDist

from minalign.bon import kl_bound
from minalign.study_table import NAMES, between, difference

QUALITY = {"gold": "gold score", "rm": "RM score", "win_references": "wins against the reference",
           "win_sft": "wins against SFT", "win_judge": "wins against SFT, judged", "rouge1": "ROUGE-1",
           "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "words": "words", "tokens": "tokens", "stopped": "stopped",
           "kl": "KL to SFT, nats", "agreement": "RM orders as gold"}  # fmt: skip
GAPS = ("gold", "rm", "win_references", "win_sft", "win_judge", "rougeL", "per_input/ead", "per_input/embedding")
VIEWS = {"per_input": "among the samples of an input", "across_input": "across inputs, one sample of each"}
LOW_IS_DIVERSE = ("self_bleu", "compression")
UNIT = ("An interval says what other inputs and samples would change; what another run would, the single seeds say. "
        "Where there is none, round brackets have the least and the greatest seed.")  # fmt: skip


def digits(x: float) -> str:
    x = round(x, 3) + 0.0  # which leaves no minus in front of a nought
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 2 else f"{x:.3f}"


def cell(entry: dict | None) -> str:
    """Return a number with its interval; without one the least and the greatest seed."""
    if entry is None:
        return ""
    value, low, high = entry["mean"]
    if low is not None:
        return f"{digits(value)} [{digits(low)}, {digits(high)}]"
    few = len(entry["seeds"]) < 2
    return digits(value) + ("" if few else f" ({digits(min(entry['seeds']))} to {digits(max(entry['seeds']))})")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table in Markdown; columns in which no row has anything are left out."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def called(name: str, bon_n: int) -> str:
    kind, _, beta = name.partition("-beta")
    return NAMES[kind].replace(" n", f" {bon_n}") + (f", beta {beta}" if beta else "")


# ---------------------------------------------------------------- tables


def of_row(row: dict, found: dict, bon_n: int) -> list[str]:
    """Return the tables of a model and a share of the records."""
    lines, first = [], found["splits"][0]
    main = [name for name in row["splits"][first] if "-beta" not in name]
    lines += table(["reward model: accuracy", *(f"seed {seed}" for seed in row["seeds"]), "who knows the gold score"], [
        [name, *(cell({"mean": [rm[f"{part}/accuracy{end}"] for end in ("", "_low", "_high")]}) for rm in row["rm"]),
         digits(sum(rm[ceiling] for rm in row["rm"]) / len(row["rm"])) if ceiling in row["rm"][0] else ""]
        for name, part, ceiling in accuracies(row["rm"][0])])
    for split in found["splits"]:
        of = {name: row["splits"][split][name] for name in main}
        lines += [f"### {split}: {'in' if split == first else 'out of'} distribution", ""]
        lines += table(["method", *QUALITY.values()], [[called(n, bon_n), *(cell(x.get(key)) for key in QUALITY)]
                                                       for n, x in of.items()])  # fmt: skip
        for view, what in VIEWS.items():
            names = [key.partition("/")[2] for key in of["sft"] if key.startswith(view)]
            marks = [f"{key} (low = diverse)" if key in LOW_IS_DIVERSE else key for key in names]
            shown = {n: x for n, x in of.items() if any(f"{view}/{key}" in x for key in names)}
            lines += [f"Diversity {what}:", "", *table(["method", *marks], [
                [called(n, bon_n), *(cell(x.get(f"{view}/{key}")) for key in names)] for n, x in shown.items()])]
    for split, of in row["gaps"].items():
        lines += [f"### gap: {first} - {split}", "", *table(["method", *(QUALITY.get(key, key) for key in GAPS)], [
            [called(n, bon_n), *(cell(of[n].get(key)) for key in GAPS)] for n in main])]
    if len(row["seeds"]) > 1:
        keys = ("gold", "rm", "win_sft", "kl", "per_input/ead", "per_input/embedding")
        lines += ["### each seed", "", *table(["split, method", *(QUALITY.get(key, key) for key in keys)], [
            [f"{split}, {called(n, bon_n)}", *("; ".join(map(digits, of[n][key]["seeds"])) if key in of[n] else ""
                                               for key in keys)]
            for split, of in row["splits"].items() for n in main])]  # fmt: skip
    return lines


def accuracies(rm: dict) -> list[tuple[str, str, str]]:
    """Return (name, its keys' first part, the ceiling's key) of every set of comparisons that an RM was counted on."""
    parts = [key.partition("/")[0] for key in rm if key.endswith("/accuracy")]
    return [("held out", part, "label_ceiling") if part == "eval" else (part, part, f"{part}/label_ceiling")
            for part in parts]  # fmt: skip


def sweeps(row: dict) -> dict[str, list[tuple[float, str]]]:
    """Return {method: (coefficient, name) of its runs, ascending} where there are several."""
    found: dict[str, list[tuple[float, str]]] = {}
    for name, beta in row["betas"].items():
        found.setdefault(name.partition("-")[0], []).append((beta, name))
    return {method: sorted(runs) for method, runs in found.items() if len(runs) > 1}


def of_sweep(row: dict, split: str, bon_n: int) -> list[str]:
    """Return the table of the KL coefficients, and whether a larger one restores diversity."""
    keys, lines = ("kl", "rm", "gold", "win_sft", "per_input/ead", "per_input/embedding", "across_input/ead"), []
    runs, of = sweeps(row), row["splits"][split]
    lines += table(["method", *(QUALITY.get(key, key) for key in keys)], [
        [f"{NAMES[method]}, beta {beta:g}", *(cell(of[name].get(key)) for key in keys)]
        for method, pairs in runs.items() for beta, name in pairs] + [["SFT", *(cell(of["sft"].get(k)) for k in keys)]])
    for method, pairs in runs.items():
        (least, weak), (most, strong) = pairs[0], pairs[-1]
        lines += [f"- {NAMES[method]}, beta {least:g} to {most:g}: " + "; ".join(
            [moved("the gold score", between(row, split, strong, weak, "gold")),
             *(restored(row, split, f"per_input/{metric}", strong, weak) for metric in ("ead", "embedding")
               if f"per_input/{metric}" in of["sft"])]) + "."]  # fmt: skip
    return [*lines, ""]


def moved(what: str, d: dict) -> str:
    """Return in words how something changed: only what the interval and all seeds bear out."""
    way = {1: "rises", -1: "falls", 0: "does not change beyond noise"}[sign(d)]
    return f"{what} {way} ({cell(d)})"


def restored(row: dict, split: str, key: str, strong: str, weak: str) -> str:
    """Return in words whether a larger coefficient brings diversity back, and how much of what was lost."""
    d, lost = between(row, split, strong, weak, key), between(row, split, "sft", weak, key)["mean"][0]
    share = f", {d['mean'][0] / lost:.0%} of what the smaller coefficient had lost" if lost > 0 and sign(d) > 0 else ""
    return moved(f"{key.partition('/')[2]} per input", d) + share


def sign(d: dict) -> int:
    """Return 1 or -1 where the interval has no 0 in it and all seeds have that sign, else 0; without an interval it is
    that of all seeds, of which there must be several."""
    value, low, high = d["mean"]
    way = 1 if value > 0 else -1
    clear = low > 0 or high < 0 if low is not None else len(d["seeds"]) > 1
    return way if clear and all(x * way > 0 for x in d["seeds"]) else 0


# ---------------------------------------------------------------- over-optimisation


def points(cell: dict, name: str) -> list[dict]:
    """Return (KL, proxy, gold) of a method: along its training, or of best of 1, 2, 4 ...

    Along the way they are a run's own evaluations on held-out inputs; without a gold score it has none.
    """
    if name == "bon":
        return cell["best_of_n"]
    return [p for p in cell["paths"].get(name, ()) if p["gold"] is not None]


def of_overoptimisation(found: dict, bon_n: int) -> list[str]:
    """Return the table of proxy and gold score as KL grows, for each run, and where gold falls."""
    rows, said, split = [], [], found["splits"][0]
    for cell_ in (x for x in found["cells"] if x["fraction"] == 1):
        label = f"{cell_['model']}, seed {cell_['seed']}"
        for name in ("ppo", "gfn", "bon"):
            if name not in cell_["numbers"]:
                continue
            way = points(cell_, name)
            step = "n" if name == "bon" else "step"
            rows += [[label, f"{NAMES[name]}, {step} {p[step]}", digits(p["kl"]),
                      *(f"{digits(p[key])} ± {digits(1.96 * p[f'{key}_se'])}" if p.get(f"{key}_se") else digits(p[key])
                        for key in ("proxy", "gold"))] for p in way]  # fmt: skip
            said += [f"- {label}, {NAMES[name]}: {fall(way)}"] if len(way) > 1 else []
        for name, of in cell_["numbers"].items():
            if name not in ("sft", "bon", "references"):
                of = of[split]
                rows.append([label, f"{called(name, bon_n)}, at the end", digits(of["kl"][0]),
                             *(cell({"mean": of[key], "seeds": [0]}) for key in ("rm", "gold"))])  # fmt: skip
    return [*said, "", "<details><summary>every point</summary>", "",
            *table(["run", "point", "KL, nats", "RM score", "gold score"], rows),
            f"KL of {NAMES['bon']} is the bound log n - (n - 1)/n.", "", "</details>", ""]


def fall(way: list[dict]) -> str:
    """Return in words whether gold falls while KL grows: by more than its standard error lets the best of so many
    points stand out (95 %, Bonferroni)."""
    best, last = max(way, key=lambda p: p["gold"]), max(way, key=lambda p: p["kl"])
    z = NormalDist().inv_cdf(1 - 0.05 / (len(way) - 1))
    drop, noise = best["gold"] - last["gold"], z * math.hypot(best.get("gold_se") or 0, last.get("gold_se") or 0)
    at = f"KL {digits(last['kl'])} (RM score {digits(last['proxy'])}, gold {digits(last['gold'])})"
    if drop > noise:
        return (f"over-optimised: gold falls by {digits(drop)} (more than the noise, {digits(noise)}) from its best, "
                f"{digits(best['gold'])} at KL {digits(best['kl'])}, to {at}")  # fmt: skip
    return f"gold does not fall beyond noise up to {at}"


# ---------------------------------------------------------------- beside the paper


def claims(row: dict, splits: list[str]) -> list[list[str]]:
    """Return what Kirk et al. report of summarisation (RLHF is PPO), what this study finds, and if it agrees."""
    rows, first = [], splits[0]

    def say(published: str, d: dict, wanted: int) -> None:
        found = sign(d)
        rows.append([published, cell(d), "not separated" if not found else "agrees" if found == wanted else
                     "differs"])  # fmt: skip

    def compare(split: str, a: str, b: str, key: str, published: str, wanted: int) -> None:
        if d := between(row, split, a, b, key):
            say(f"{published} ({split})", d, wanted)

    for split in splits:
        compare(split, "bon", "ppo", "gold", "gold: best of n > PPO", 1)
        compare(split, "ppo", "sft", "gold", "gold: PPO > SFT", 1)
        compare(split, "bon", "sft", "gold", "gold: best of n > SFT", 1)
    for split in splits[1:]:
        for name in ("ppo", "bon"):
            inside, outside = (between(row, part, name, "sft", "gold") for part in (first, split))
            if inside and outside:
                say(f"gap of gold in and out: {NAMES[name]} like SFT ({split})", difference(inside, outside), 0)
    for split in splits:
        for metric in ("ead", "embedding"):
            compare(split, "ppo", "sft", f"per_input/{metric}", f"{metric} per input: PPO < SFT", -1)
            compare(split, "ppo", "sft", f"across_input/{metric}", f"{metric} across inputs: PPO < SFT", -1)
            a, b = (between(row, split, "ppo", "sft", f"{view}/{metric}") for view in VIEWS)
            if a and b:
                say(f"{metric}: PPO loses more per input than across inputs ({split})", difference(a, b), -1)
        compare(split, "ppo", "sft", "per_input/nli", "NLI per input: PPO like SFT", 0)
    if "ppo" in (runs := sweeps(row)):
        strong, weak = runs["ppo"][-1][1], runs["ppo"][0][1]
        for key, what in (("gold", "gold"), ("per_input/ead", "ead per input")):
            compare(first, strong, weak, key, f"{what} falls as PPO's KL coefficient grows", -1)
    return rows


def of_fractions(found: dict, bon_n: int) -> list[str]:
    """Return one table over models and shares of the records."""
    keys, splits = ("gold", "win_sft", "per_input/ead", "per_input/embedding"), found["splits"]
    rows = [[row["model"], f"{row['fraction']:g}", called(name, bon_n), *(
        cell(row["splits"][split].get(name, {}).get(key)) for split in splits for key in keys)]
        for row in found["rows"] for name in row["splits"][splits[0]] if "-beta" not in name and name != "references"]
    heads = [f"{QUALITY.get(key, key)}, {split}" for split in splits for key in keys]
    return table(["model", "share of the records", "method", *heads], rows)


def report(folder: Path) -> str:
    """Return the text of study.md."""
    found = json.loads((folder / "study.json").read_text("utf-8"))
    about, config, first = found["about"], found["about"]["config"], found["splits"][0]
    n = config["bon_n"]
    lines = [f"# Generalisation against diversity: {config['task'] or 'own data'}", "",
             f"`{about['command']}`" + (f", commit {about['git']}" if about["git"] else ""), "",
             f"{config['inputs']} inputs a split, {config['samples']} samples an input at temperature 1, "
             f"seeds {', '.join(map(str, config['seeds']))}. Numbers are means with 95 % intervals. {UNIT}", "",
             f"gold: {found['gold']}; wins are by it, a tie counts half. KL of best of {n} is estimated from its pool "
             f"(at most {kl_bound(n):.3f}). Minutes of computing: "
             f"{sum(sum(c['seconds'].values()) for c in found['cells']) / 60:.0f}.", "",
             "![generalisation against diversity](study.png)", ""]  # fmt: skip
    if len(found["rows"]) > 1:
        lines += ["## Models and shares of the records", "", *of_fractions(found, n)]
    for row in found["rows"]:
        lines += [f"## {row['model']}, {row['fraction']:.0%} of the records", "", *of_row(row, found, n)]
        if rows := claims(row, found["splits"]):
            lines += ["### Beside Kirk et al. (2024)", "", "Directions that they report of summarisation; ours is the "
                      "difference. Not separated: the interval has 0 in it, or the seeds disagree; that is no "
                      "proof that two are alike.", "",
                      *table(["published", "here", "verdict"], rows)]
        if sweeps(row):
            lines += ["### KL coefficients", "", *of_sweep(row, first, n)]
    if any(cell["best_of_n"] or cell["paths"] for cell in found["cells"]):
        lines += ["## Over-optimisation", "", "![gold and proxy against KL](overoptimisation.png)", "",
                  *of_overoptimisation(found, n)]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
