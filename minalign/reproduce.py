"""Remake the results of README.md and docs/results/ from nothing: runs, tables, figures.

    python -m minalign.reproduce                          # all of it, three seeds, nano: hours on two cores
    python -m minalign.reproduce --quick                  # one seed and a few steps of everything: does it all work?
    python -m minalign.reproduce --only rng,methods --write      # tables and figures go into README.md and docs/

It starts the scripts as a user would, a log beside each run folder. Start it again to go on where it stopped: what is
finished stays. OUT/results/ has a Markdown file a section, with commands, commit, seeds and machine, and its figures;
--write copies them to docs/results/, and the tables into README.md, between `<!-- results/NAME -->` and its end.
"""

import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from minalign import cli, overlay
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write, disk_errors, read_json
from minalign.jobs import ROOT, Job, run_all
from minalign.study_report import table

QUICK = {"train_sft": "--steps 10 --examples 200", "train_rm": "--steps 5 --examples 60 --eval_examples 20",
         "train_ppo": "--steps 2", "train_dpo": "--steps 5 --examples 200", "train_gfn": "--steps 5",
         "sample_bon": "--examples 8 --n 8", "diversity": ""}  # fmt: skip


@dataclass
class Config:
    only: tuple[str, ...] = flag((), "these sections; none = all")
    seeds: tuple[int, ...] = flag((1, 2, 3), "of every section that repeats its runs")
    quick: bool = flag(False, "one seed and a few steps of everything, its numbers mean nothing")
    jobs: int = flag(2, "scripts at a time")
    write: bool = flag(False, "put tables and figures into docs/results/ and README.md")
    out: str = flag("", "folder; default runs/reproduce, or runs/reproduce-quick")

    def __post_init__(self):
        cli.check_ranges(self, jobs=(1, 1e3))
        for name in self.only:
            cli.check_choice("only", name, SECTIONS)
        if self.write and self.quick:
            raise UserError("--write --quick: numbers of a few steps are no results; leave one of them out.")
        if not self.seeds:
            raise UserError("--seeds: expected at least one.")
        self.seeds = self.seeds[:1] if self.quick else self.seeds
        self.out = self.out or ("runs/reproduce-quick" if self.quick else "runs/reproduce")


class Section:
    """What a section has to work with: its folder, seeds, and how to run things and to write down what came out."""

    def __init__(self, name: str, cfg: Config):
        self.name, self.cfg, self.seeds, self.at = name, cfg, cfg.seeds, Path(cfg.out) / name
        self.commands: list[str] = []  # of one seed
        self.runs: list[Path] = []

    def run(self, runs: dict[str, str]) -> dict[str, list[dict]]:
        """Run each command, "train_gfn --task rng", for every seed; return {name: result.json of each seed}.

        NAME in braces stands for the folder of that earlier run with the same seed.
        """
        jobs, found = [], {}
        for name, command in runs.items():
            self.commands.append(command)
            script, *flags = shlex.split(command)
            flags += shlex.split(QUICK[script]) if self.cfg.quick else []
            for seed in self.seeds:
                told = [word.format_map(self.folders(seed)) for word in flags]
                jobs.append(Job(self.folder(name, seed), script, [*told, "--seed", str(seed)]))
        run_all(jobs, self.cfg.jobs)
        for job in jobs:
            found.setdefault(job.out.parent.name, []).append(read_json(job.out / "result.json"))
        self.runs += [job.out for job in jobs]
        return found

    def folder(self, name: str, seed: int) -> Path:
        return self.at / name / f"seed{seed}"

    def folders(self, seed: int) -> dict[str, Path]:
        """Return the folders of the runs there are, by name."""
        return {path.name: path / f"seed{seed}" for path in self.at.glob("*")}

    def curves(self, name: str, *keys: str) -> Path:
        """Draw metrics of a run, with the band of its seeds; return the figure's path."""
        groups = overlay.load(tuple(str(self.folder(name, seed)) for seed in self.seeds))
        return overlay.draw(groups, overlay.choose(keys, groups), self.at / f"{name}.png")

    def start(self, module: str, name: str, flags: str, short: str, wrote: str) -> Path:
        """Run `python -m minalign.MODULE --out FOLDER`, which goes on by itself; return its folder.

        short: flags of --quick. wrote: its last file; where that is there it is finished.
        """
        out = self.at / name
        self.commands.append(f"-m minalign.{module} {flags}")
        words = [*shlex.split(flags), *(shlex.split(short) if self.cfg.quick else []), "--out", str(out)]
        if not (out / wrote).exists():
            print("$", shlex.join(["python", "-m", f"minalign.{module}", *words]), flush=True)
            with disk_errors(out):
                out.parent.mkdir(parents=True, exist_ok=True)
                with open(out.with_name(f"{name}.log"), "ab") as log:
                    done = subprocess.run([sys.executable, "-m", f"minalign.{module}", *words], stdout=log,
                                          stderr=subprocess.STDOUT)  # fmt: skip
            if done.returncode:
                raise UserError(f"minalign.{module} failed (exit code {done.returncode}); see {log.name}\n"
                                "start again to go on.")  # fmt: skip
        self.runs += sorted(path.parent for path in out.rglob("run.json"))
        return out

    def write(self, title: str, *parts: list[str], figures: dict[str, Path] | None = None) -> None:
        """Write results/NAME.md, with the tables `parts`, and its figures {name: file} beside it."""
        folder, drawn = Path(self.cfg.out) / "results", []
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in (figures or {}).items():
                shutil.copyfile(path, folder / f"{name}.png")
                drawn += [f"![{name}]({name}.png)", ""]
        about = [read_json(run / "run.json") for run in self.runs]
        commits = sorted({str(x["git"]) for x in about if x.get("git")})
        seconds = sum(read_json(run / "result.json").get("seconds", 0) for run in self.runs)
        lines = [f"# {title}", "", *(f"    python {command_line(command)}" for command in dict.fromkeys(self.commands)),
                 "", f"Seeds {', '.join(map(str, self.seeds))}; commit {', '.join(commits) or 'unknown'}; "
                 f"{machine()}; {seconds / 60:.0f} minutes of computing; {time.strftime('%Y-%m-%d')}.", "",
                 *(line for part in parts for line in part), *drawn]  # fmt: skip
        atomic_write(folder / f"{self.name}.md", "\n".join(lines).rstrip() + "\n")


def command_line(command: str) -> str:
    """Return a command as a user would type it, `{name}` as the folder of that run."""
    script, _, flags = command.partition(" ")
    shown = re.sub(r"{([\w-]+)}", r"RUNS/\1", flags)
    return f"{script} {shown}" if script == "-m" else f"{script}.py {shown}"


def machine() -> str:
    """Return the processor, the number of cores and the versions that a result depends on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    name = (names or [platform.processor() or platform.machine()])[0]
    card = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores of {name}{card}, Python {platform.python_version()}, torch {torch.__version__}"


def each(results: list[dict], *keys: str, form: str = "{:.3f}") -> str:
    """Return the values of every seed: of one key "0.414, 0.426", of several, as `form` has places for."""
    return "; ".join(form.format(*(result[key] for key in keys)) for result in results)


# ---------------------------------------------------------------- sections


def rng(s: Section) -> None:
    """A GFlowNet samples random numbers: exact distances to their distribution."""
    targets = ("poisson", "binomial", "geometric", "gaussian", "exponential", "uniform_real")
    runs = {"uniform": "train_gfn --task rng", "long": "train_gfn --task rng --preset long"}
    found = s.run(runs | {name: f"train_gfn --task rng --target {name}" for name in targets})
    rows = [[name, each(x, "base_kl_target_policy", form="{:.2f}"), each(x, "kl_target_policy", form="{:.1e}"),
             each(x, "tv", form="{:.1e}"), each(x, "valid_mass", form="{:.5f}"),
             each(x, "support", "support_size", form="{}/{}"), each(x, "min_ratio", "max_ratio", form="{:.2f}-{:.2f}"),
             each(x, "seconds", form="{:.0f}")] for name, x in found.items()]  # fmt: skip
    curves = s.curves("uniform", "loss", "kl_target_policy", "tv")
    s.write("Random numbers by a GFlowNet", table(
        ["target", "KL(target, policy): base", "policy", "TV", "valid mass", "support", "ratio", "seconds"], rows),
        figures={"rng": s.folder("uniform", s.seeds[0]) / "distribution.png", "rng-curves": curves})  # fmt: skip


def methods(s: Section) -> None:
    """Every method on random numbers, each with its own optimum, with one budget of samples."""
    rows, seeds = {}, s.seeds
    for seed in seeds:
        out = s.start("compare", f"seed{seed}", f"--samples 51200 --seed {seed}", "--samples 1024", "compare.json")
        for name, row in read_json(out / "compare.json")["rows"].items():
            rows.setdefault(name, []).append(row)
    s.write("Every method on random numbers", table(
        ["", "valid mass", "entropy, nats (even: 4.615)", "largest p", "KL(even, policy)", "TV to its own optimum",
         "seconds"],
        [[name, each(x, "valid_mass", form="{:.4f}"), each(x, "entropy"), each(x, "largest"),
          each(x, "kl_uniform", form="{:.2g}"), *(["", ""] if name == "base" else
          [each(x, "tv_optimum", form="{:.2g}"), each(x, "seconds", form="{:.0f}")])] for name, x in rows.items()]),
        figures={"methods": s.at / f"seed{seeds[0]}" / "compare.png"})  # fmt: skip


def optimum(s: Section) -> None:
    """SFT, PPO and DPO where the optimum is known, on random numbers and on grammar."""
    found = s.run({
        "sft-rng": "train_sft --task rng", "ppo-rng": "train_ppo --task rng --steps 200",
        "sft-grammar": "train_sft --task grammar --steps 250"})  # fmt: skip
    found |= s.run({"ppo-grammar": "train_ppo --task grammar --init {sft-grammar} --beta 0.5 --steps 100",
                    "dpo-grammar": "train_dpo --task grammar --init {sft-grammar}"})  # fmt: skip
    rows = [[name, each(x, "exact/kl_target_policy", form="{:.1e}"), each(x, "exact/tv_valid", form="{:.4f}"),
             each(x, "exact/valid_mass", form="{:.4f}"), each(x, "seconds", form="{:.0f}")]
            for name, x in found.items()]  # fmt: skip
    s.write("Where the optimum is known", table(
        ["run", "KL(optimum, policy)", "TV, given a valid response", "valid mass", "seconds"], rows))  # fmt: skip


def sentiment(s: Section) -> None:
    """The pipeline SFT, RM, then PPO, DPO, GFN and best of n, on the sentiment of stories and reviews."""
    at, more = "--task sentiment", "--task sentiment --init {sft}"
    found = s.run({"sft": f"train_sft {at}"})
    found |= s.run({"rm": f"train_rm {more}"})
    found |= s.run({
        "ppo": f"train_ppo {more} --reward {{rm}}", "ppo-gold": f"train_ppo {more} --reward gold --beta 0.04",
        "dpo": f"train_dpo {more} --data {{rm}}/preferences.jsonl", "gfn": f"train_gfn {more} --reward {{rm}}",
        "bon": f"sample_bon {more} --reward {{rm}} --split validation --examples 128 --n 64 --temperature 0.7",
        "bon-gold": f"sample_bon {more} --reward gold --split validation --examples 128 --n 64 --temperature 0.7"})
    rows = [["reward model: accuracy (label ceiling)", each(found["rm"], "eval/accuracy", "label_ceiling",
                                                           form="{:.3f} ({:.3f})"), ""]]  # fmt: skip
    rows += [["SFT", each(found["ppo"], "base_eval/gold"), "0"]]
    rows += [[name, each(found[key], "eval/gold"), each(found[key], "eval/kl", form="{:.2f}")]
             for name, key in (("PPO", "ppo"), ("PPO with the gold score", "ppo-gold"), ("DPO", "dpo"), ("GFN", "gfn"))]
    for name, key in (("best of {} by the reward model", "bon"), ("best of {} by the gold score", "bon-gold")):
        for n in (4, 8) if s.cfg.quick else (16, 64):
            rows.append([name.format(n), each(found[key], f"validation/gold/best_of_{n}"),
                         f"at most {found[key][0][f'kl_bound/best_of_{n}']:.2f}"])  # fmt: skip
    keys = {"sft": ["loss", "eval/loss"], "rm": ["loss", "eval/accuracy"], "ppo": ["eval/gold", "eval/kl"],
            "dpo": ["loss", "rewards/margins", "rewards/accuracies"], "gfn": ["loss", "eval/gold", "log_ratio_var"]}
    curves = {f"sentiment-{name}": s.curves(name, *wanted) for name, wanted in keys.items()}
    s.write("Sentiment: the whole pipeline", table(["", "gold score, held-out prompts", "KL, nats"], rows),
            figures=curves)  # fmt: skip


def frontier(s: Section) -> None:
    """Reward against KL on sentiment, from nano itself."""
    out = s.start("compare", "seed1", "--task sentiment --samples 6400", "--samples 512", "compare.json")
    points: dict[str, list[dict]] = {}
    for point in read_json(out / "compare.json")["points"]:
        points.setdefault(point["method"], []).append(point)
    s.write("Sentiment: reward against KL", table(["method", "beta or n: KL, gold score"], [
        [name, "; ".join(f"{p.get('beta', p.get('n')):g}: {p['kl']:.2f}, {p['gold']:.3f}" for p in some)]
        for name, some in points.items()]), figures={"frontier": out / "frontier.png"})  # fmt: skip


def sentences(s: Section) -> None:
    """Sentences of GFlowNets beside every way of decoding: likelihood against diversity."""
    outs = [s.start("compare", f"seed{seed}", f"--task next_sentence --seed {seed}", "--steps 3 --prompts 2 --n 2",
                    "compare.json") for seed in s.seeds]  # fmt: skip
    rows = [[name, f"{x['mean']:.2f}", f"{x['max']:.2f}", f"{x['diversity']:.3f}", f"{x['distinct']:.2f}",
             f"{x['own']:.2f}"] for name, x in read_json(outs[0] / "compare.json")["rows"].items()]  # fmt: skip
    gains: dict[str, list[str]] = {}
    for seed, out in zip(s.seeds, outs):
        for x in read_json(out / "compare.json")["gains"]:
            cells = [f"{x[key][0]:.2f} ({x[key][1]:.2f} to {x[key][2]:.2f})" for key in ("mean", "matched", "max")]
            gains[f"{x['T']:g}, {x['n']} sentences, seed {seed}"] = cells
    s.write("Sentences: likelihood against diversity", table(
        ["method", "mean log-likelihood", "the best", "diversity", "distinct", "own mean"], rows), [
        "GFlowNet less token temperature at the same diversity, nats, 95 % intervals of a bootstrap over prompts:", ""],
        table(["T", "a sentence", "of equal length", "the best"], [[name, *x] for name, x in gains.items()]),
        figures={"sentences": outs[0] / "sentences.png"})  # fmt: skip


def tempered(s: Section) -> None:
    """The distribution p_ref^(1/T)/Z over grammar's sentences, exactly."""
    s.run({"sft": "train_sft --task grammar --steps 250"})
    rows = []
    for seed in s.seeds:
        flags = f"--task grammar --init {s.folder('sft', seed)} --seed {seed}"
        out = s.start("compare", f"seed{seed}", flags, "--steps 3", "compare.json")
        found = read_json(out / "compare.json")["rows"]
        exactly = {x["T"]: x for x in found if x["name"] == "exact"}
        rows += [[str(seed), f"{x['T']:g}", f"{x['tv']:.4f}", f"{x['loglik']:.4f}", f"{x['token_loglik']:.4f}",
                  f"{x['gain']:.4f} ({exactly[x['T']]['gain']:.4f})"] for x in found if x["name"] == "GFN"]
    s.commands = [re.sub(r"--init \S+", "--init RUNS/sft", command) for command in s.commands]
    s.write("Grammar: sentences tempered as a whole", table(
        ["seed", "T", "TV to p_ref^(1/T)/Z", "E log p_ref", "token temperature's", "gain (the exact one's)"], rows))


def study(s: Section) -> None:
    """Generalisation against diversity: SFT, RM, PPO, DPO, GFN, best of 16 on summaries, in and out of distribution."""
    short = "--inputs 2 --samples 2 --bon_n 2 --betas 0.2 --flags '--steps 2' --sft_flags '--examples 60' --rm_flags " \
            "'--examples 60 --eval_examples 20'"  # fmt: skip
    out = s.start("study", "study", f"--seeds {','.join(map(str, s.seeds))} --jobs {s.cfg.jobs}", short, "study.md")
    text = (out / "study.md").read_text("utf-8")
    body = re.sub(r"!\[[^]]*\]\([^)]*\)\n", "", text.partition("\n## ")[2])  # its figures follow at the end
    s.write("Summaries: generalisation against diversity", [f"## {body}"],
            figures={name: out / f"{name}.png" for name in ("study", "overoptimisation")})  # fmt: skip


SECTIONS = {f.__name__: f for f in (rng, methods, optimum, sentiment, frontier, sentences, tempered, study)}


# ---------------------------------------------------------------- into the pages


def publish(results: Path, names: list[str]) -> None:
    """Copy the sections' files to docs/results/, and their first tables into the marked places of README.md."""
    docs, readme = ROOT / "docs" / "results", ROOT / "README.md"
    if not readme.exists():
        raise UserError(f"--write: expected a checkout of the repository at {ROOT}; the results are in {results}")
    docs.mkdir(exist_ok=True)
    text = readme.read_text("utf-8")
    for name in names:
        page = (results / f"{name}.md").read_text("utf-8")
        for file in (results / f"{name}.md", *(results / x for x in re.findall(r"\]\(([\w-]+\.png)\)", page))):
            shutil.copyfile(file, docs / file.name)
        shown = re.search(r"(^\|.*\n)+", page, re.MULTILINE)[0]
        before, mark, after = text.partition(f"<!-- results/{name} -->\n")
        if mark:
            text = before + mark + shown + after[after.index(f"<!-- end of results/{name} -->") :]
    atomic_write(readme, text)
    print(f"written: {docs}, {readme}")


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv)
    cli.show(cfg, changed)
    names = [name for name in SECTIONS if name in (cfg.only or SECTIONS)]
    for name in names:
        print(f"\n{name}: {SECTIONS[name].__doc__}", flush=True)
        SECTIONS[name](Section(name, cfg))
        print(f"  {Path(cfg.out) / 'results' / name}.md")
    if cfg.write:
        publish(Path(cfg.out) / "results", names)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cli.main(main)
