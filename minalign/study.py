"""Generalisation against diversity: what every way to align a model gains, and what it costs (Kirk et al. 2024,
arXiv 2310.06452).

    python -m minalign.study                                       # SFT -> RM -> PPO, DPO, GFN, best of 16; nano
    python -m minalign.study --seeds 1,2,3 --data_fraction 0.1,0.5,1 --paper    # the paper's 500 inputs x 16 samples
    python -m minalign.study --models gpt2 --sft_data tldr:train.jsonl --rm_data tldr-comparisons:folder
        --eval_data tldr:test.jsonl --ood_data cnndm:test.jsonl --max_response 48 --ppo_flags "--steps 750"

It starts the scripts as a user would, a log beside each run folder. Start it again to go on where it stopped: what is
finished stays, what was interrupted is resumed. --seeds, --methods, --betas, --models and --data_fraction may change
from start to start; another value of anything else is another study. Every method is sampled alike, at temperature 1,
for the same inputs: in distribution (the first split) and out of it. PPO and GFN run at other KL coefficients, too.
Best of n takes its samples from groups of n of the SFT model, the best by the reward model.

Files: study.md (tables, findings), study.json (all numbers), study.png, overoptimisation.png, and with several
fractions data_fraction.png; MODEL/fFRACTION/seedS/ has the runs, its eval/ their samples.
"""

import itertools
import json
import random
import re
import shlex
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from minalign import cli, data, folder, study_figures, study_report, study_table
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write, disk_errors, plain, read_json
from minalign.hub import find_model
from minalign.jobs import Job, run_all
from minalign.nano.corpus import SPLITS
from minalign.records import write_records
from minalign.run import Run
from minalign.samples import read_rows
from minalign.study_table import Cell
from minalign.tasks.setting import TEXTS
from minalign.tokenizer import Tokenizer

METHODS, SWEPT = ("ppo", "dpo", "gfn", "bon"), ("ppo", "gfn")
FREE = {"seeds", "methods", "betas", "models", "data_fraction", "jobs", "out", "paper"}  # may change between starts


@dataclass
class Config:
    task: str | None = flag("summarize", "what is learned; none with --sft_data", choices=tuple(TEXTS))
    models: tuple[str, ...] = flag(("nano",), "nano (bundled), hub ids such as gpt2, or folders with GPT-2 weights")
    seeds: tuple[int, ...] = flag((1,), "each a study of its own, from SFT on")
    methods: tuple[str, ...] = flag(METHODS, "beside SFT", choices=METHODS)
    betas: tuple[float, ...] = flag((0.02, 0.2), "other KL coefficients of PPO and GFN; none = no sweep")
    data_fraction: tuple[float, ...] = flag((1.0,), "shares of the records that SFT and RM learn from, 1 among them")
    # evaluation
    inputs: int = flag(64, "inputs of each split")
    samples: int = flag(16, "samples of an input")
    paper: bool = flag(False, "as many as Kirk et al. took: --inputs 500 --samples 16")
    bon_n: int = flag(16, "n of best-of-n")
    eval_reward: str | None = flag(None, "judges in place of the gold score: any --reward of sample_bon.py")
    judge: str = flag("", 'flags of minalign.judge for a second opinion: "--judge chat --url ... --judge_model ..."')
    # data of one's own instead of a task
    sft_data: tuple[str, ...] = flag((), "records {prompt, completion}: as --data of train_sft.py")
    rm_data: tuple[str, ...] = flag((), "comparisons: as --data of train_rm.py; DPO learns from them, too")
    eval_data: tuple[str, ...] = flag((), "inputs in distribution; default: a tenth of --sft_data, held out")
    ood_data: tuple[str, ...] = flag((), "inputs out of distribution")
    max_response: int = flag(0, "tokens of a response at most, everywhere; 0 = the task's own limit (own data: 256)")
    # flags that are handed on; they win over the study's own
    flags: str = flag("", 'of every training script, such as "--lora_rank 8"')
    sft_flags: str = flag("", "of train_sft.py")
    rm_flags: str = flag("", "of train_rm.py")
    ppo_flags: str = flag("", "of train_ppo.py")
    dpo_flags: str = flag("", "of train_dpo.py")
    gfn_flags: str = flag("", "of train_gfn.py")
    eval_flags: str = flag("", "of sample_bon.py")
    diversity_flags: str = flag("", 'of diversity.py, such as "--nli roberta-large-mnli"')
    jobs: int = flag(0, "scripts at a time, 0 = 2 of nano, else 1")
    out: str = flag("", "folder; default runs/study-TASK")

    def __post_init__(self):
        cli.check_ranges(self, inputs=(2, 1e6), samples=(2, 1e4), bon_n=(2, 1e4), jobs=(0, 1e3))
        if bad := [x for x in self.data_fraction if not 0 < x <= 1]:
            raise UserError(f"--data_fraction: expected shares above 0, at most 1, found {bad[0]:g}.")
        if bad := [x for x in self.betas if not x > 0]:
            raise UserError(f"--betas: expected numbers above 0, found {bad[0]:g}.")
        for name in ("seeds", "models", "data_fraction"):
            if not getattr(self, name):
                raise UserError(f"--{name}: expected at least one.")
        if len({folder_name(model) for model in self.models}) < len(self.models):
            raise UserError(f"--models {','.join(self.models)}: two have the same name, and so the same folder.")
        if bool(self.sft_data) != bool(self.rm_data) or (self.eval_data or self.ood_data) and not self.sft_data:
            raise UserError("own data: expected --sft_data and --rm_data, and with them --eval_data and --ood_data.")
        if self.sft_data:
            self.task = None
        elif 1 not in self.data_fraction:
            raise UserError("--data_fraction: expected 1 among them: of what it learns from the others are shares.")
        self.jobs = self.jobs or (2 if self.models == ("nano",) else 1)


def folder_name(model: str) -> str:
    return re.sub(r"[^\w.]+", "-", Path(model).name)


# ---------------------------------------------------------------- what is run


def training(cfg: Config, cell: Cell, name: str) -> Job:
    """Return the training run `name`: sft, rm, ppo, dpo, gfn, or one with another coefficient, as ppo-beta0.2."""
    kind, _, beta = name.partition("-beta")
    at, out = cell.folder, Path(cfg.out)
    prompts = ["--task", cfg.task] if cfg.task else ["--data", str(out / "data" / "sft.jsonl")]
    learns, start = prompts, ["--init", str(at / "sft")]
    if kind in ("sft", "rm") and cell.fraction < 1:
        learns = share(cfg, cell, kind)
    elif kind == "rm" and not cfg.task:
        learns = ["--data", str(out / "data" / "rm.jsonl")]
    if kind == "rm" and (out / "data" / "rm_test.jsonl").exists():
        learns = [*learns, "--eval_data", str(out / "data" / "rm_test.jsonl")]
    elif kind == "dpo":  # the reward model's own comparisons, so that both have seen the same
        learns = (prompts if cfg.task else []) + ["--data", str(at / "rm" / "preferences.jsonl")]
    rewarded = ["--reward", str(at / "rm")] if kind in SWEPT else []
    often = ["--eval_every", "10"] if kind == "ppo" else []  # of 60 steps: the path of gold and proxy
    flags = [*learns, *([] if kind == "sft" else start), *rewarded, *often, *common(cfg, cell)]
    flags += shlex.split(cfg.flags) + shlex.split(getattr(cfg, f"{kind}_flags"))
    needs = {"sft": (), "rm": (at / "sft",)}.get(kind, (at / "rm",))
    return Job(at / name, f"train_{kind}", flags + (["--beta", beta] if beta else []), needs)


def common(cfg: Config, cell: Cell) -> list[str]:
    """Return the flags of all that trains or samples: at temperature 1, so that the evaluation is on-policy."""
    limit = ["--max_response", str(cfg.max_response)] if cfg.max_response else []
    return ["--model", cell.model, "--seed", str(cell.seed), "--temperature", "1", *limit]


def share(cfg: Config, cell: Cell, kind: str) -> list[str]:
    """Return the flags with which SFT or RM learns from a fraction of its records: of a task fewer, of a file some."""
    if cfg.task:
        whole = read_json(cell.folder.parent.parent / "f1" / cell.folder.name / kind / "run.json")
        return ["--task", cfg.task, "--examples", str(max(1, round(cell.fraction * whole["config"]["examples"])))]
    path = Path(cfg.out) / "data" / f"{kind}-f{cell.fraction:g}.jsonl"
    if not path.exists():
        lines = path.with_name(f"{kind}.jsonl").read_bytes().splitlines(keepends=True)
        random.Random(1).shuffle(lines)  # one order: a small share is part of a larger one
        atomic_write(path, b"".join(lines[: max(1, round(cell.fraction * len(lines)))]))
    return ["--data", str(path)]


def evaluation(cfg: Config, cell: Cell, name: str, splits: list[str]) -> Job:
    """Return the sampling of a run (`bon-pool`: of SFT, n times as often) for the inputs of the splits."""
    pool, at = name == "bon-pool", cell.folder
    files = [str(Path(cfg.out) / "data" / f"{split}.jsonl") for split in splits]
    inputs = ["--task", cfg.task, "--split", ",".join(splits)] if cfg.task else ["--data", *files]
    scores = [str(at / "rm"), *([cfg.eval_reward] if cfg.eval_reward else []), *([] if pool else ["likelihood"])]
    n = cfg.samples * (cfg.bon_n if pool else 1)
    scores += study_table.OVERLAP if has_references(cfg) else ()
    flags = [*inputs, "--init", str(at / ("sft" if pool else name)), "--reward", ",".join(scores), "--examples",
             str(cfg.inputs), "--n", str(n), "--rows", "512", "--no-plot", *common(cfg, cell),
             *shlex.split(cfg.eval_flags)]  # fmt: skip
    return Job(at / "eval" / name, "sample_bon", flags, (at / "rm", *(() if pool else (at / name,))))


def has_references(cfg: Config) -> bool:
    """Return whether every input comes with a reference."""
    if cfg.task:
        return hasattr(TEXTS[cfg.task], "completions")
    files = (Path(cfg.out) / "data").glob("[to]*.jsonl")  # test and ood
    return all('"completion":' in line for path in files for line in path.read_text("utf-8").splitlines())


def references(cfg: Config, cell: Cell) -> Job:
    """Return the scoring of the inputs' references, as if they were samples; writes eval/references.jsonl."""
    path, at = cell.folder / "eval" / "references.jsonl", cell.folder
    kept, told = {}, ("prompt", "reference", "split", "id")
    for row in read_rows(str(at / "eval" / "sft")):
        kept[row["split"], row["id"]] = {key: row[key] for key in told} | {"response": row["reference"]}
    study_table.write_rows(path, kept.values())
    scores = ",".join([str(at / "rm"), *([cfg.eval_reward] if cfg.eval_reward else [])])
    task = ["--task", cfg.task] if cfg.task else []
    return Job(at / "eval" / "references", "sample_bon", [
        *task, "--samples", str(path), "--reward", scores, "--model", cell.model, "--no-plot"])  # fmt: skip


def diversity(cfg: Config, cell: Cell, names: list[str]) -> Job:
    """Return the measuring of all samples of a cell together; again, where there are more of them than last time."""
    files = [str(cell.folder / "eval" / name / "samples.jsonl") for name in names]
    job = Job(cell.folder / "eval" / "diversity", "diversity", [
        *files, "--responses", str(cfg.samples), "--seed", str(cell.seed), "--no-references", "--no-plot",
        *shlex.split(cfg.diversity_flags)])  # fmt: skip
    if read_json(job.out / "run.json").get("config", {}).get("files") != files:
        (job.out / "result.json").unlink(missing_ok=True)
    return job


def judgement(cfg: Config, cell: Cell, name: str, split: str) -> Job:
    """Return the judging of a method's samples against those of SFT in one split; writes both as files of it."""
    files = []
    for who in (name, "sft"):
        files.append(cell.folder / "eval" / f"{who}-{split}.jsonl")
        rows = read_rows(str(cell.folder / "eval" / who))
        study_table.write_rows(files[-1], [row for row in rows if row["split"] == split])
    return Job(cell.folder / "eval" / f"judge-{name}-{split}", "minalign.judge",
               [*map(str, files), "--seed", str(cell.seed), *shlex.split(cfg.judge)])  # fmt: skip


# ---------------------------------------------------------------- in which order


def evaluated(cfg: Config, fraction: float) -> list[str]:
    """Return the names of all that is evaluated: SFT, the methods, and those with other KL coefficients."""
    swept = [f"{m}-beta{beta:g}" for m in SWEPT if m in cfg.methods for beta in cfg.betas if fraction == 1]
    return list(dict.fromkeys(["sft", *cfg.methods, *swept]))


def run_cells(cfg: Config, fraction: float, cells: list[Cell]) -> None:
    """Run every stage of the cells, in the order in which they need each other."""
    names, splits = evaluated(cfg, fraction), find_splits(cfg)
    first, then, last, measured = [], [], [], []
    pool, trained = ["bon-pool"] if "bon" in names else [], [name for name in names if name not in ("sft", "bon")]
    for cell in cells:  # in the order in which they are begun, where nothing else keeps them
        first += [training(cfg, cell, "sft"), training(cfg, cell, "rm")]
        then += [*(evaluation(cfg, cell, name, splits) for name in pool),
                 *(training(cfg, cell, name) for name in reversed(trained))]  # fmt: skip
        last += [evaluation(cfg, cell, name, splits[:1] if "-beta" in name else splits) for name in ["sft", *trained]]
    run_all(first + then + last, cfg.jobs)
    if has_references(cfg):
        run_all([references(cfg, cell) for cell in cells], cfg.jobs)
    for cell in cells:
        if pool:
            study_table.write_best(cell.folder / "eval", cfg.bon_n)
        if cfg.judge:
            measured += [judgement(cfg, cell, name, split) for name, split in itertools.product(cfg.methods, splits)]
        measured.append(diversity(cfg, cell, names + ["references"] * has_references(cfg)))
    run_all(measured, cfg.jobs)


def find_splits(cfg: Config) -> list[str]:
    """Return the splits that are evaluated, the one in distribution first."""
    if cfg.task:
        return [s for s in study_table.SPLITS if s in getattr(TEXTS[cfg.task], "SPLITS", SPLITS)]
    return ["test", *(["ood_test"] if cfg.ood_data else [])]


def prepare(cfg: Config) -> None:
    """Write one's own data as OUT/data/: sft, rm, test and ood_test, each a file of records."""
    folder = Path(cfg.out) / "data"
    if not cfg.sft_data or (folder / "rm.jsonl").exists():  # it is written last
        return
    tokenizer = Tokenizer.from_folder(find_model(cfg.models[0]))
    sft, held = data.load(cfg.sft_data, (), 0.0 if cfg.eval_data else 0.1, 1, tokenizer, ("completion",))
    parts = {"sft": sft, "test": held}
    for split, names in (("test", cfg.eval_data), ("ood_test", cfg.ood_data)):
        if names:
            parts[split] = sum(data.read_prompts(names, tokenizer).values(), [])
    compared, counted = data.load(cfg.rm_data, (), 0.0, 1, tokenizer, ("pair", "best", "ranking"))
    parts |= {"rm_test": counted} if counted else {}  # what its publishers hold out
    parts["rm"] = compared
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, records in parts.items():
        write_records(folder / f"{name}.jsonl", records)


def unused(out: Path) -> set[str]:
    """Return the settings that nothing has used which is finished: a mistake in them can be mended."""
    used_by = {"flags": "*", "diversity_flags": "eval/diversity", "judge": "eval/judge-*", "eval_flags": "eval/*",
               **{f"{kind}_flags": f"{kind}*" for kind in ("sft", "rm", *METHODS) if kind != "bon"}}  # fmt: skip
    found = {name for name, runs in used_by.items() if not any(out.glob(f"*/f*/seed*/{runs}/result.json"))}
    files = {"sft_data", "rm_data", "eval_data", "ood_data"} if not (out / "data" / "rm.jsonl").exists() else set()
    return found | files


def open_study(cfg: Config) -> Run:
    """Return the study's folder, new or begun with these settings; UserError that shows what differs."""
    out = Path(cfg.out)
    old = read_json(out / "run.json").get("config")
    if old is None and out.exists() and not folder.is_free(out) or old and "bon_n" not in old:
        raise UserError(f"--out {out} is there and no study\nchoose another --out")
    free = FREE | unused(out)
    differ = {k: v for k, v in plain(asdict(cfg)).items() if old and k in old.keys() - free and old[k] != v}
    if differ:
        shown = "\n".join(f"--{k}: {json.dumps(v)}, there {json.dumps(old[k])}" for k, v in differ.items())
        raise UserError(f"{out} is a study with other settings; give those, or another --out\n{shown}")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    run = Run(out, resumed=old is not None)
    run.start(cfg, free=free)
    return run


def main(argv: list[str]) -> None:
    # The value of a ..._flags begins with dashes itself.
    words = iter(argv)
    argv = [f"{w}={next(words, '')}" if re.fullmatch(r"--((\w+[-_])?flags|judge)", w) else w for w in words]
    cfg, changed = cli.parse(Config, argv, lambda given: {"inputs": 500, "samples": 16} if given.paper else {})
    cfg.out = cfg.out or f"runs/study-{cfg.task or 'data'}"
    cli.show(cfg, changed)
    run = open_study(cfg)
    prepare(cfg)
    cells = []
    for fraction in sorted(dict.fromkeys(cfg.data_fraction), reverse=True):  # the others are shares of 1
        now = [Cell(run.path / folder_name(model) / f"f{fraction:g}" / f"seed{seed}", model, fraction, seed)
               for model in dict.fromkeys(cfg.models) for seed in dict.fromkeys(cfg.seeds)]  # fmt: skip
        run_cells(cfg, fraction, now)
        cells += now
    names = {fraction: evaluated(cfg, fraction) for fraction in cfg.data_fraction}
    found = study_table.measure(cfg, cells, find_splits(cfg), names)
    about = read_json(run.path / "run.json")
    atomic_write(run.path / "study.json", json.dumps(plain({"about": about, **found}), indent=1) + "\n")
    atomic_write(run.path / "study.md", study_report.report(run.path))
    print((run.path / "study.md").read_text("utf-8"))
    print("figures:", *study_figures.draw(run.path))
    run.result(study_table.flat(found))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cli.main(main)
