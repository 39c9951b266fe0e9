"""Figures, drawn from the files of a run folder, so that any of them can be drawn again later.

    python -m minalign.plot RUN...      # curves of several runs over each other: overlay.py
"""

import io
import json
import math
import textwrap
from pathlib import Path

import numpy as np

from minalign.errors import UserError
from minalign.files import atomic_write
from minalign.metrics import calibration_bins, wilson

COLORS = {  # of every figure, one a method; they keep their contrast on white paper, which figures bring with them
    "target": "#222222", "base": "#b8b8b8", "policy": "#1f6fb4", "references": "#222222",
    "sft": "#8a8a8a", "rm": "#8c564b", "ppo": "#c23b3b", "dpo": "#e0902f", "gfn": "#1f6fb4", "bon": "#2f9e5b",
    "temperature": "#222222", "top": "#8c6bb1", "nucleus": "#d6499a", "beam": "#98972a", "diverse beam": "#17a2a2",
}  # fmt: skip


def color_of(name: str) -> str:
    """Return the colour of a method as a table names it: "PPO, RM", "best of n by gold"."""
    name = name.lower().partition(",")[0]
    return COLORS.get("bon" if name.startswith("best of n") else name, COLORS["policy"])


def read_metrics(folder: Path) -> list[dict]:
    """Return the rows of a run's metrics.jsonl."""
    with open(Path(folder) / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def check() -> tuple[type, type]:
    """Return matplotlib's Figure and a canvas that needs no screen; UserError where it cannot be imported."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except (ImportError, ValueError) as error:  # ValueError: of a backend in MPLBACKEND that does not exist
        raise UserError(f"figures need matplotlib, which cannot be imported: {str(error)[:200]}\n"
                        "pip install matplotlib and unset MPLBACKEND, or do without figures: --no-plot") from None
    return Figure, FigureCanvasAgg


def _figure(rows: int, columns: int, size: tuple[float, float]):
    """Return (figure, axes) with a look that is the same everywhere; no window, no global state."""
    Figure, FigureCanvasAgg = check()
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    return figure, axes


def _save(figure, path: Path) -> Path:
    """Write a figure as every file of a run is written; return its path."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=160, format="png")
    atomic_write(path, drawn.getvalue())
    return path


def distribution(folder: Path) -> Path:
    """Draw target, base and policy over the support, from distribution.json; return the figure's path.

    Twice, with a linear and with a logarithmic axis.
    """
    data = json.loads((Path(folder) / "distribution.json").read_text())
    figure, axes = _figure(2, 1, (8.0, 5.2))
    texts = data["texts"]
    numeric = all(map(_is_number, texts)) and len(set(map(float, texts))) == len(texts)
    numbers = [float(text) for text in texts] if numeric else range(len(texts))  # words stand side by side
    order = np.argsort(numbers)
    x = np.array(numbers)[order]
    width = float(np.diff(x).min()) if len(x) > 1 else 1.0
    target, base, policy = (np.array(data[name])[order] for name in ("target", "base", "policy"))
    size = 3.2 if len(x) < 200 else 1.6
    for ax, scale in zip(axes[:, 0], ("linear", "log")):
        ax.bar(x, base, width, color=COLORS["base"], label=f"base (KL {data['base_kl']:.2g} nats)")
        ax.plot(x, target, color=COLORS["target"], linewidth=1.0, linestyle=(0, (4, 2)), label="target", zorder=3)
        label = f"policy (KL {data['policy_kl']:.2g} nats)"
        ax.plot(x, policy, "o", markersize=size, color=COLORS["policy"], label=label, zorder=4)
        ax.set_yscale(scale)
        ax.set_xlim(x[0] - width, x[-1] + width)
        ax.set_ylabel("probability" + (" (log)" if scale == "log" else ""), fontsize=10)
    if axes[1, 0].get_ylim()[0] < 1e-6:
        axes[1, 0].set_ylim(bottom=1e-6)
    axes[0, 0].legend(frameon=False, fontsize=9, loc="upper right")
    axes[0, 0].set_title(textwrap.fill(data["prompt"], 90), fontsize=10, loc="left")
    axes[1, 0].set_xlabel("response", fontsize=10)
    if not numeric and len(texts) <= 20:
        for ax in axes[:, 0]:
            ax.set_xticks(x, texts)
    path = Path(folder) / "distribution.png"
    return _save(figure, path)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def curves(folder: Path, keys: list[str], logarithmic: bool = True) -> Path:
    """Draw metrics of a run against the step, one panel each; return the figure's path.

    logarithmic: of the values, where all of a panel's are positive.
    """
    rows = read_metrics(folder)
    figure, axes = _figure(1, len(keys), (3.4 * len(keys), 2.7))
    for ax, key in zip(axes[0], keys):
        points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
        ax.plot(*zip(*points), color=COLORS["policy"], linewidth=1.2, marker="o" if len(points) < 4 else None)
        if logarithmic and all(value > 0 for _, value in points):
            ax.set_yscale("log")
        ax.set_xlabel("step", fontsize=10)
        ax.set_title(key, fontsize=10, loc="left")
    path = Path(folder) / "curves.png"
    return _save(figure, path)


def preferences(folder: Path) -> Path:
    """Draw a reward model's calibration and its rewards of preferred and other responses, from predictions.jsonl."""
    with open(Path(folder) / "predictions.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    entries = [entry for row in rows for entry in zip(row["predicted"], row["observed"])]
    figure, (axes,) = _figure(1, 2, (8.0, 3.2))
    predicted, observed, n = zip(*calibration_bins(entries))
    low, high = zip(*(wilson(q * m, m) for q, m in zip(observed, n)))
    errors = [[q - a for q, a in zip(observed, low)], [b - q for q, b in zip(observed, high)]]
    axes[0].plot([0, 1], [0, 1], color=COLORS["base"], linewidth=1.0)
    axes[0].errorbar(predicted, observed, errors, fmt="o", markersize=4, color=COLORS["policy"], linewidth=1.0)
    axes[0].set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted preference", ylabel="observed, 95 %", aspect="equal")
    axes[0].set_title("calibration", fontsize=10, loc="left")
    best = [row["rewards"][row["best"] or 0] for row in rows]  # of a ranking the first
    others = [r for row in rows for i, r in enumerate(row["rewards"]) if i != (row["best"] or 0)]
    edges = np.histogram_bin_edges(best + others, bins=30)
    axes[1].hist(others, edges, density=True, color=COLORS["base"], label="others")
    axes[1].hist(best, edges, density=True, histtype="step", color=COLORS["policy"], linewidth=1.4, label="preferred")
    axes[1].set(xlabel="reward", ylabel="density")
    axes[1].legend(frameon=False, fontsize=9)
    path = Path(folder) / "preferences.png"
    return _save(figure, path)


def prompt_statistics(path: Path, sentences: list[int], tokens: list[int]) -> Path:
    """Draw how many sentences and how many tokens prompts have, into `path`."""
    figure, (axes,) = _figure(1, 2, (8.0, 2.8))
    for ax, values, name in zip(axes, (sentences, tokens), ("sentences", "tokens")):
        edges = np.arange(min(values), max(values) + 2) - 0.5 if name == "sentences" else 30
        ax.hist(values, edges, color=COLORS["policy"], rwidth=0.9)
        ax.set(xlabel=f"{name} of a prompt", ylabel="prompts")
    axes[0].set_xticks(range(min(sentences), max(sentences) + 1))
    return _save(figure, path)


def compare_distributions(folder: Path) -> Path:
    """Draw each method's distribution over the strings and its own optimum, one panel each, from compare.json."""
    data = json.loads((Path(folder) / "compare.json").read_text())
    shown, texts = data["distributions"], data["texts"]
    order = np.argsort([float(text) for text in texts]) if all(map(_is_number, texts)) else np.arange(len(texts))
    figure, axes = _figure(len(shown), 1, (8.0, 1.35 * len(shown)))
    for ax, (name, (policy, optimum)) in zip(axes[:, 0], shown.items()):
        row = data["rows"][name]
        ax.bar(range(len(order)), np.array(policy)[order], 1.0, color=color_of(name))
        if optimum is not None:
            ax.step(range(len(order)), np.array(optimum)[order], where="mid", color=COLORS["target"], linewidth=0.8)
        ax.set_yscale("log")
        ax.set_ylim(1e-5, 1.5)
        ax.set_title(f"{name}: KL(uniform, policy) {row['kl_uniform']:.2g}, valid {row['valid_mass']:.3f}"
                     + (f", TV to its own optimum (line) {row['tv_optimum']:.2g}" if optimum is not None else ""),
                     fontsize=9, loc="left")  # fmt: skip
    axes[-1, 0].set_xlabel("response", fontsize=10)
    path = Path(folder) / "compare.png"
    return _save(figure, path)


def frontier(folder: Path) -> Path:
    """Draw gold score against KL of each method and strength, from compare.json."""
    points = json.loads((Path(folder) / "compare.json").read_text())["points"]
    figure, ((ax,),) = _figure(1, 1, (6.4, 4.2))
    for method in dict.fromkeys(point["method"] for point in points):
        mine = sorted((point["kl"], point["gold"]) for point in points if point["method"] == method)
        line = "o--" if method.endswith("gold") else "o-"
        ax.plot(*zip(*mine), line, color=color_of(method), markersize=4, linewidth=1.2, label=method)
    ax.set(xlabel="KL to the base, nats a response", ylabel="gold score")
    ax.legend(frameon=False, fontsize=9)
    path = Path(folder) / "frontier.png"
    return _save(figure, path)


def best_of_n(folder: Path) -> Path:
    """Draw each score of best of n against n, a row of panels a split, with 95 % bands, from best_of_n.json."""
    data = json.loads((Path(folder) / "best_of_n.json").read_text())
    splits, n = data["splits"], data["n"]
    names = list(next(iter(splits.values())))
    figure, axes = _figure(len(splits), len(names), (3.6 * len(names), 2.9 * len(splits)))
    for row, (split, scores) in zip(axes, splits.items()):
        for ax, name in zip(row, names):
            mean = np.array(scores[name]["mean"])
            band = 1.96 * np.array([se or 0.0 for se in scores[name]["se"]])
            ax.fill_between(n, mean - band, mean + band, color=COLORS["base"], alpha=0.5, linewidth=0)
            ax.plot(n, mean, color=COLORS["policy"], linewidth=1.4, marker="o" if len(n) < 3 else None)
            if name == "gold" and "exact_gold" in data:
                ax.plot(n, data["exact_gold"], color=COLORS["target"], linewidth=1.0, linestyle="--", label="exact")
                ax.legend(frameon=False, fontsize=9)
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter("{x:g}")
            ax.set_title(f"{split}: {name}" + (", which picks" if name == data["by"] else ""), fontsize=10, loc="left")
            ax.set_xlabel("best of n", fontsize=10)
    path = Path(folder) / "best_of_n.png"
    return _save(figure, path)


def diversity(folder: Path) -> Path:
    """Draw each metric of each file, with 95 % intervals over inputs, and across inputs, from diversity.json."""
    files = json.loads((Path(folder) / "diversity.json").read_text())["files"]
    names = list(next(iter(files.values()))["metrics"])
    places = range(len(files), 0, -1)  # the first file on top
    figure, axes = _figure(len(names), 2, (8.0, 0.4 + len(names) * (0.45 + 0.2 * len(files))))
    for name, row in zip(names, axes):
        for ax, view in zip(row, ("per_input", "across_input")):
            for y, file in zip(places, files.values()):
                found = file["metrics"][name]
                ends = [found.get(f"{view}_low"), found.get(f"{view}_high")]
                if None not in ends:
                    ax.plot(ends, [y, y], color=COLORS["policy"], linewidth=1.4)
                if view in found:
                    ax.plot(found[view], y, "o", color=COLORS["policy"], markersize=4.5)
            ax.set(ylim=(0.4, len(files) + 0.6), yticks=places, yticklabels=list(files) if view == "per_input" else [])
            ax.grid(axis="x", color=COLORS["base"], linewidth=0.4)
            ax.locator_params(axis="x", nbins=5)
        lower = " (low = diverse)" if name in ("self_bleu", "compression") else ""
        row[0].set_title(f"{name}{lower}, outputs of an input", fontsize=9, loc="left")
        row[1].set_title(f"{name}, across inputs", fontsize=9, loc="left")
    path = Path(folder) / "diversity.png"
    return _save(figure, path)


def sentences(folder: Path) -> Path:
    """Draw log-likelihood under the base against diversity, with 95 % intervals, from compare.json.

    Panels: the mean and the best sentence of a prompt, a sentence and a token. What samples is drawn from as many
    sentences as there are where the mean is (the same, with less noise), else from n; dashed: the best of five times n.
    """
    data = json.loads((Path(folder) / "compare.json").read_text())
    lines = ("GFN", "temperature")
    families: dict[tuple[str, bool], list] = {}  # (method, more sentences) -> (its setting, row)
    for name, row in data["rows"].items():
        words = name.split()
        setting = [word for word in words if word[0].isdigit() or word[0] == "x"]
        family = row["line"] or " ".join(word for word in words if word not in setting)
        families.setdefault((family, row["n"] > data["n"]), []).append((" ".join(setting) or name, row))
    figure, axes = _figure(2, 2, (10.0, 8.0))
    for ax, key in zip(axes.flat, ("mean", "max", "token_mean", "token_max")):
        for (family, more), points in families.items():
            best = key.endswith("max")
            if more and best and family not in lines or not more and not best and (family, True) in families:
                continue
            points = sorted(points, key=lambda point: point[1]["diversity"])
            x, y = ([row[k] for _, row in points] for k in ("diversity", key))
            # Below zero only by rounding, where all prompts are alike; matplotlib would refuse it.
            ends = [[[max(0, row[k] - row[f"{k}_low"]) for _, row in points],
                     [max(0, row[f"{k}_high"] - row[k]) for _, row in points]] for k in (key, "diversity")]  # fmt: skip
            dashed = more and best
            style = ("o--" if dashed else "o-") if family in lines else "D"
            label = "token " * (family == "temperature") + family + dashed * f" x{points[0][1]['n'] // data['n']}"
            ax.errorbar(x, y, *([] if dashed else ends), fmt=style, color=color_of(family), elinewidth=0.4,
                        linewidth=1.2, markersize=3.5, label=label)  # fmt: skip
            for setting, row in points if not dashed else ():
                name = setting.rpartition("x")[0].strip() or "base" if more else setting
                ax.annotate(name, (row["diversity"], row[key]), (4, 4), textcoords="offset points", fontsize=7,
                            color=color_of(family))  # fmt: skip
        # Greedy's one sentence, at diversity 0, is where the curve of the temperature comes from, far on the left.
        ax.set_xlim(left=0.9 * min(row["diversity"] for row in data["rows"].values() if row["diversity"] > 0))
        whose, unit = ("best" if key.endswith("max") else "mean"), ("token" if key.startswith("token") else "sentence")
        ax.set_title(f"{whose} of {data['n']} sentences, nats a {unit}" if whose == "best" else f"mean, nats a {unit}",
                     fontsize=10, loc="left")  # fmt: skip
        ax.set_xlabel("diversity: 1 - mean cosine", fontsize=10)
        ax.set_ylabel("log-likelihood under the base", fontsize=10)
    entries = axes[0, 1].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    path = Path(folder) / "sentences.png"
    return _save(figure, path)


if __name__ == "__main__":
    from minalign import cli, overlay  # overlay draws with what is above

    cli.main(overlay.main)
