"""The figures of a study, drawn from its study.json. See `study`."""

import json
import math
from pathlib import Path

from minalign.plot import COLORS, _figure
from minalign.study_report import QUALITY, points, sweeps
from minalign.study_table import NAMES

METRICS = {"ead": "EAD", "embedding": "embeddings"}  # the two of Kirk et al. that need no classifier


def draw(folder: Path) -> list[Path]:
    """Draw all figures that a study has numbers for, into its folder; return their paths."""
    found = json.loads((folder / "study.json").read_text("utf-8"))
    drawn = [generalisation(folder, found)]
    if any(cell["best_of_n"] or cell["paths"] for cell in found["cells"] if cell["fraction"] == 1):
        drawn.append(overoptimisation(folder, found))
    if len({row["fraction"] for row in found["rows"]}) > 1:
        drawn.append(fractions(folder, found))
    return drawn


def ends(number: list) -> list[list[float]]:
    """Return an interval as matplotlib's error bar; nothing where there is none."""
    value, low, high = number
    return [[0], [0]] if low is None else [[max(0, value - low)], [max(0, high - value)]]


def dot(ax, x: dict, y: dict, **style) -> None:
    """Draw a point with both its intervals."""
    ax.errorbar(x["mean"][0], y["mean"][0], ends(y["mean"]), ends(x["mean"]), elinewidth=0.8, markersize=6, **style)


def generalisation(folder: Path, found: dict) -> Path:
    """Draw gold score against diversity per input, in and out of distribution, and both against the KL coefficient."""
    row, (first, *others) = found["rows"][0], found["splits"]
    runs, of = sweeps(row), row["splits"][first]
    figure, axes = _figure(2 if runs else 1, 2, (9.6, 7.4 if runs else 4.0))
    for ax, (metric, title) in zip(axes[0], METRICS.items()):
        key = f"per_input/{metric}"
        for name, inside in of.items():
            if "-beta" in name or key not in inside:
                continue
            for split, marker in zip([first, *others], "o^s"):
                outside = row["splits"][split][name]
                dot(ax, outside[key], outside["gold"], fmt=marker, color=COLORS[name],
                    markerfacecolor=COLORS[name] if split == first else "white",
                    label=NAMES[name] if split == first and ax is axes[0, 0] else None)  # fmt: skip
                ax.plot([inside[key]["mean"][0], outside[key]["mean"][0]],
                        [inside["gold"]["mean"][0], outside["gold"]["mean"][0]], color=COLORS[name], linewidth=0.7,
                        linestyle=":", zorder=1)  # fmt: skip
        ax.set(xlabel=f"diversity of an input's samples, {title}", ylabel=f"{found['gold']} score")
    for split, marker in zip([first, *others], "o^s"):  # what the shapes mean
        face = "#222222" if split == first else "white"
        axes[0, 1].plot([], [], marker, color="#222222", markerfacecolor=face, label=split)
    for ax, (key, title) in zip(axes[1] if runs else (), (("gold", f"{found['gold']} score"),
                                                          ("per_input/ead", "EAD of an input's samples"))):
        for name, pairs in runs.items() if key in of["sft"] else ():
            numbers = [of[run][key]["mean"] for _, run in pairs]
            errors = list(zip(*((down[0], up[0]) for down, up in map(ends, numbers))))
            ax.errorbar([beta for beta, _ in pairs], [x[0] for x in numbers], errors, fmt="o-", color=COLORS[name],
                        linewidth=1.4, elinewidth=0.8, markersize=5)  # fmt: skip
        ax.set_visible(key in of["sft"])
        ax.axhline(of["sft"].get(key, of["sft"]["gold"])["mean"][0], color=COLORS["sft"], linewidth=1.0, linestyle="--")
        ax.set(xscale="log", xlabel="KL coefficient beta (dashed: SFT)", ylabel=title)
        ticks = sorted({beta for pairs in runs.values() for beta, _ in pairs})
        ax.set_xticks(ticks, [f"{beta:g}" for beta in ticks])
        ax.minorticks_off()
    figure.legend(loc="outside lower center", ncols=9, frameon=False, fontsize=9)
    figure.suptitle(f"{row['model']}: generalisation against diversity, 95 % intervals", fontsize=11)
    return save(figure, folder / "study.png")


def overoptimisation(folder: Path, found: dict) -> Path:
    """Draw what gold score (solid) and RM score (dashed) gain as KL grows, in standard deviations of SFT's samples.

    As Gao et al. 2023, figure 1: the square root of KL. Of PPO and GFN the way of training, and the ends of the runs
    with other coefficients; of best of n its bound for n = 1, 2, 4 ...
    """
    cells = [cell for cell in found["cells"] if cell["fraction"] == 1 and cell["model"] == found["rows"][0]["model"]]
    figure, axes = _figure(1, 3, (9.6, 3.6))
    split, handles = found["splits"][0], []
    for ax, name in zip(axes[0], ("ppo", "gfn", "bon")):
        for cell in (cell for cell in cells if name in cell["numbers"]):
            found_way = points(cell, name)
            way = sorted(found_way, key=lambda p: p["kl"])
            for key, line in (("gold", "-"), ("proxy", "--")) if way else ():
                # From the start, not from the least KL: as an estimate that may be below 0.
                gains = [(p[key] - found_way[0][key]) / cell["unit"][key] for p in way]
                ax.plot([math.sqrt(max(0, p["kl"])) for p in way], gains, line, color=COLORS[name], linewidth=1.4,
                        marker="." if line == "-" else None)  # fmt: skip
            for other, of in cell["numbers"].items():
                if other.partition("-")[0] == name != "bon":
                    start, end = cell["numbers"]["sft"][split], of[split]
                    for key, measure, filled in (("gold", "gold", True), ("proxy", "rm", False)):
                        ax.plot(math.sqrt(max(0, end["kl"][0])),
                                (end[measure][0] - start[measure][0]) / cell["unit"][key], "D", markersize=4.5,
                                color=COLORS[name], markerfacecolor=COLORS[name] if filled else "white")  # fmt: skip
        ax.set_title(NAMES[name], fontsize=10, loc="left")
        ax.set_xlabel("square root of KL to SFT, nats", fontsize=9)
        ax.axhline(0, color=COLORS["sft"], linewidth=0.6)
        ax.set_visible(any(name in cell["numbers"] for cell in cells))
    for which in ("xlim", "ylim"):  # the same for all, so that distances can be compared
        lows, highs = zip(*(getattr(ax, f"get_{which}")() for ax in axes[0] if ax.get_visible()))
        for ax in axes[0]:
            ax.set(**{which: (min(lows), max(highs))})
    axes[0, 0].set_ylabel("gain, SDs of SFT's samples", fontsize=9)
    for style, label in ((dict(linestyle="-"), "gold"), (dict(linestyle="--"), "reward model"),
                         (dict(linestyle="", marker="D"), "every beta, at the end: gold"),
                         (dict(linestyle="", marker="D", markerfacecolor="white"), "reward model")):  # fmt: skip
        handles += axes[0, 0].plot([], [], color="#222222", markersize=4.5, label=label, **style)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return save(figure, folder / "overoptimisation.png")


def fractions(folder: Path, found: dict) -> Path:
    """Draw gold score and diversity of each method against the share of the records that SFT and RM learned from."""
    model, (first, *others) = found["rows"][0]["model"], found["splits"]
    rows = sorted((row for row in found["rows"] if row["model"] == model), key=lambda row: row["fraction"])
    shown = [("gold", first), *([("gold", others[0])] if others else []), ("per_input/ead", first)]
    figure, axes = _figure(1, len(shown), (3.4 * len(shown), 3.6))
    for ax, (key, split) in zip(axes[0], shown):
        for name in (name for name in COLORS if all(name in row["splits"][split] for row in rows)):
            numbers = [row["splits"][split][name][key]["mean"] for row in rows if key in row["splits"][split][name]]
            if not numbers:
                continue
            errors = list(zip(*((down[0], up[0]) for down, up in map(ends, numbers))))
            ax.errorbar([row["fraction"] for row in rows], [x[0] for x in numbers], errors, fmt="o-",
                        color=COLORS[name], linewidth=1.3, elinewidth=0.8, markersize=4,
                        label=NAMES[name] if ax is axes[0, 0] else None)  # fmt: skip
        ax.set(xscale="log", xlabel="share of the records")
        ax.set_title(f"{QUALITY.get(key, 'EAD per input')}, {split}", fontsize=10, loc="left")
        ax.set_xticks([row["fraction"] for row in rows], [f"{row['fraction']:g}" for row in rows])
        ax.minorticks_off()
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return save(figure, folder / "data_fraction.png")


def save(figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path
