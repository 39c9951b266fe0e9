"""Draw the curves of several runs over each other.

    python -m minalign.plot runs/gfn-rng-nano runs/gfn-rng-nano-2 runs/gfn-rng-nano-3
    python -m minalign.plot runs/ppo-* runs/gfn-sentiment-nano --keys eval/gold,eval/kl --out curves.png

Runs that differ only in their seed, also in that of the runs that they started from, are one curve: their mean, and a
band from the least to the greatest of them. A method has the same colour as in every other figure; several settings of
a method are told apart by the line, and named by the flags in which they differ. An axis is logarithmic where all
values are positive and reach over more than two powers of ten. exact/... are distances of each run to its own optimum.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minalign import cli
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import disk_errors, settings_of
from minalign.plot import COLORS, _figure, _save, read_metrics
from minalign.run import FREE

MARKS = {"sft": "loss_on", "rm": "normalise_on", "ppo": "kl_estimator", "dpo": "simpo_gamma",
         "gfn": "subtb_lambda"}  # method: a flag that no other script has  # fmt: skip
KEYS = {  # of each script, those that its runs have
    "sft": ("loss", "eval/loss", "eval/mean_token_accuracy", "exact/tv"),
    "rm": ("loss", "accuracy", "eval/accuracy"),
    "ppo": ("objective/scores", "objective/kl", "objective/length", "eval/gold", "eval/kl", "exact/tv"),
    "dpo": ("loss", "rewards/margins", "rewards/accuracies", "eval/loss", "eval/rewards/accuracies", "exact/tv"),
    "gfn": ("loss", "log_ratio_var", "kl_target_policy", "exact/tv", "eval/gold", "eval/kl", "eval/loglik",
            "eval/diversity"),
}  # fmt: skip
EXACT = ("tv", "tv_valid", "valid_mass", "kl_policy_target")  # on rng train_gfn.py has them without exact/ in front
LINES = ("-", "--", ":", "-.")
STARTS = ("init", "reward", "data")  # settings that may name another run, or a file in one


@dataclass
class Config:
    runs: tuple[str, ...] = flag((), "folders of runs; also the first words of the command")
    keys: tuple[str, ...] = flag((), "of metrics.jsonl, one panel each; default: what its script is about")
    out: str = flag("curves.png", "the figure's file, .png; one that is there is replaced")


@dataclass
class Group:
    """Runs that differ only in their seed."""

    method: str | None
    settings: dict
    runs: list[list[dict]]  # the rows of each run's metrics.jsonl
    label: str

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps (S,) at which all of the runs have the metric, and its values (runs, S)."""
        found = [{row["step"]: row[key] for row in rows if row.get(key) is not None} for rows in self.runs]
        steps = sorted(set.intersection(*map(set, found)))
        return np.array(steps), np.array([[values[step] for step in steps] for values in found], dtype=float)


def told(folder: Path) -> dict:
    """Return the settings that make a run what it is, but for its seed; for a run that it started from, that run's."""
    drop = FREE - {"steps"} | {"seed"}
    found = {key: value for key, value in settings_of(folder).items() if key not in drop}
    for key in (key for key in STARTS if found.get(key)):
        names = found[key] if isinstance(found[key], list) else [found[key]]
        paths = [path for name in names for path in (Path(name), Path(name).parent) if settings_of(path)]
        if paths:
            found[key] = [Path(name).name for name in names if Path(name).suffix] + [told(path) for path in paths]
    return found


def load(folders: tuple[str, ...]) -> list[Group]:
    """Read runs and put those together that differ only in their seed."""
    groups: dict[str, Group] = {}
    for name in {Path(name).expanduser().resolve(): name for name in folders}.values():  # each run once
        folder = Path(name).expanduser()
        if not (folder / "metrics.jsonl").is_file():
            what = "it has none" if folder.is_dir() else "there is no such folder"
            raise UserError(f"{name}: expected the folder of a run, with a metrics.jsonl; {what}.\n"
                            "The train_*.py scripts write one (--out, by default in runs/).")  # fmt: skip
        try:
            rows = [row | {f"exact/{key}": row[key] for key in EXACT if key in row}
                    for row in read_metrics(folder) if row["step"] >= 0]  # fmt: skip
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{folder / 'metrics.jsonl'}: expected a JSON object with a step in every line; "
                            "found something else.") from None  # fmt: skip
        if not rows:
            raise UserError(f"{folder / 'metrics.jsonl'}: it is empty; the run has taken no step yet.")
        settings = told(folder)
        method = next((method for method, mark in MARKS.items() if mark in settings), None)
        same = json.dumps([method, settings], sort_keys=True) if settings else str(folder.resolve())
        groups.setdefault(same, Group(method, settings, [], folder.resolve().name)).runs.append(rows)
    found = sorted(groups.values(), key=lambda group: [*MARKS, None].index(group.method))
    for group in found:
        if group.method:
            group.label = label(group, found)
    return found


def label(group: Group, groups: list[Group]) -> str:
    """Return a group's name: its method, and the flags in which the groups of this method differ, or task and model."""
    shown = [f"{key} {text(value)}" for key, value in group.settings.items() if any(
        other.method and value != other.settings.get(key) for other in groups
        if other.method == group.method or key in ("task", "model"))]  # fmt: skip
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return " ".join([group.method.upper(), ", ".join(shown[:3])]).strip() + more


def text(value) -> str:
    """Return a setting as a legend shows it: of files and runs the last name."""
    if isinstance(value, dict):  # the settings of a run
        return str(value.get("task") or value.get("model"))
    if isinstance(value, list):
        return ",".join(map(text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else Path(str(value)).name


def choose(keys: tuple[str, ...], groups: list[Group]) -> list[str]:
    """Return the metrics to draw: those asked for, or what the methods are about; of several what most have.

    Raises UserError for a metric that no run has.
    """
    has = [{key for rows in group.runs for row in rows for key, value in row.items() if isinstance(value, int | float)}
           - {"step"} for group in groups]  # fmt: skip
    known = sorted(set.union(*has))
    for key in keys:
        cli.check_choice("keys", key, known)
    several = len({group.method for group in groups}) > 1  # their losses cannot be compared
    wanted = dict.fromkeys(key for group in groups for key in KEYS.get(group.method, ()) if key in known)
    spread = {key: sum(key in found for found in has) for key in wanted if not (several and key == "loss")}
    return list(keys) or [key for key in spread if spread[key] == max(spread.values())] or known[:6]


def draw(groups: list[Group], keys: list[str], path: Path) -> Path:
    """Draw one panel a metric, three in a row; return the figure's path."""
    columns = 2 if len(keys) == 4 else min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, axes = _figure(rows, columns, (max(4.8, 3.4 * columns), 2.7 * rows + 0.3 * len(groups) + 0.1))
    used: dict[str | None, itertools.cycle] = {}
    style = [next(used.setdefault(group.method, itertools.cycle(LINES))) for group in groups]
    for ax, key in itertools.zip_longest(axes.flat, keys):
        ax.set_visible(key is not None)
        drawn = []
        for group, line in zip(groups, style) if key else ():
            steps, values = group.curve(key)
            color = COLORS[group.method or "policy"]
            mark = "o" if len(steps) < 4 else None
            ax.plot(steps, values.mean(0), line, color=color, linewidth=1.3, marker=mark, markersize=3)
            if len(values) > 1:
                ax.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.22, linewidth=0)
            drawn += values.flatten().tolist()
        if drawn and 0 < min(drawn) < max(drawn) / 100:
            ax.set_yscale("log")
        ax.set_title(key, fontsize=10, loc="left")
        ax.set_xlabel("step", fontsize=10)
    first = axes[0, 0]
    for group, line in zip(groups, style):
        band = f" ({len(group.runs)} runs: mean, least to greatest)" if len(group.runs) > 1 else ""
        first.plot([], [], line, color=COLORS[group.method or "policy"], label=group.label + band)
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=9)
    return _save(figure, path)


def main(argv: list[str]) -> None:
    """Draw the runs that the command line names."""
    given = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    cfg, _ = cli.parse(Config, (["--runs", *given] if given else []) + argv[len(given) :])
    if not cfg.runs:
        raise UserError("give the folders of one or several runs: python -m minalign.plot RUN...")
    path = Path(cfg.out).expanduser()
    if path.suffix != ".png":
        raise UserError(f"--out {cfg.out}: expected a file name that ends with .png.")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    groups = load(cfg.runs)
    keys = choose(cfg.keys, groups)
    print(f"{draw(groups, keys, path)}: {', '.join(keys)}; {', '.join(group.label for group in groups)}")
