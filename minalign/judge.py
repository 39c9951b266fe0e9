"""Judge samples: how often are A's responses better than B's to the same prompts, and can the judge be trusted?

    python -m minalign.judge runs/ppo runs/sft --judge gold --task sentiment       # the task's exact score
    python -m minalign.judge A.jsonl B.jsonl --judge rm --reward runs/rm-sentiment-nano
    python -m minalign.judge A.jsonl B.jsonl --judge my.py:score                   # (prompts, responses) -> numbers
    python -m minalign.judge A.jsonl B.jsonl --judge chat --url https://api.openai.com/v1 --judge_model gpt-4o-mini
    python -m minalign.judge A.jsonl B.jsonl --judge human --out runs/mine         # --resume continues
    python -m minalign.judge --labels pairs.jsonl --judge gold --task sentiment    # does it agree with known labels?

A and B are samples.jsonl files ({"prompt", "response"} a line) or run folders that have one. The k-th response of A to
a prompt meets the k-th of B; where lines have a step, those of the last step count. The win rate is (wins + ties/2) / n
with Wilson's 95 % interval, which takes pairs as independent: with many responses a prompt it is too narrow.
Files: judge.json (the numbers), verdicts.jsonl (each pair), and of a person's judging preferences.jsonl, on which
train_rm and train_dpo train ({"prompt", "chosen", "rejected"}, ties left out).
The chat judge's key is read from MINALIGN_JUDGE_KEY or OPENAI_API_KEY; what it is asked is TEMPLATE in judges.py.
"""

import importlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from minalign import cli
from minalign.cli import check_choice, check_ranges, flag
from minalign.errors import UserError
from minalign.files import atomic_write, disk_errors, plain
from minalign.jsonl import read_records
from minalign.judges import QUESTIONS, Pair, address, by_score, chat, human
from minalign.metrics import wilson
from minalign.records import as_pairs
from minalign.run import Run, pick_device, run_name
from minalign.samples import read_jsonl, read_samples

JUDGES = ("gold", "rm", "chat", "human", "file.py:function")
TASKS = tuple(task for task in QUESTIONS if task)  # that have a gold score


@dataclass
class Config:
    a: str | None = flag(None, "samples of A: a file or a run folder; also the first word of the command line")
    b: str | None = flag(None, "samples of B; also the second word")
    labels: str | None = flag(None, "instead of A and B: JSONL of prompt, chosen, rejected to test the judge on")
    judge: str = flag("gold", f"who judges: {', '.join(JUDGES)}")
    task: str | None = flag(None, "task whose gold score or question is meant", choices=TASKS)
    reward: str | None = flag(None, "run folder of the reward model, for --judge rm")
    url: str | None = flag(None, "address of an OpenAI-compatible API up to /v1, for --judge chat")
    judge_model: str | None = flag(None, "the model's name there")
    question: str | None = flag(None, "what chat and human are asked; default by task")
    device: str = flag("auto", "where --judge rm runs: auto, cpu, cuda, cuda:1 or mps")
    cache: str = flag("runs/judge_cache.jsonl", "file of all answers of chat models so far")
    parallel: int = flag(4, "chat requests at a time")
    n: int = flag(200, "pairs to judge, drawn by the seed (a larger n adds pairs to those of a smaller), 0 = all")
    seed: int = flag(1, "seed of the choice of pairs and of the order that a person sees")
    out: str | None = flag(None, "folder of the result; default runs/judge-JUDGE-TASK, with the next number if taken")
    resume: bool = flag(False, "continue a person's judging in --out")
    overwrite: bool = flag(False, "delete the result in --out first")

    def __post_init__(self):
        if ".py:" not in self.judge:
            check_choice("judge", self.judge, JUDGES)
        check_ranges(self, n=(0, 1e9), parallel=(1, 64))
        if (self.a is None) != (self.b is None) or (self.a is None) == (self.labels is None):
            raise UserError("expected two files of samples, A and B, or --labels FILE\n"
                            "python -m minalign.judge A.jsonl B.jsonl --judge gold --task sentiment")
        needs = {"gold": ("task",), "rm": ("reward",), "chat": ("url", "judge_model")}.get(self.judge, ())
        if missing := [name for name in needs if not getattr(self, name)]:
            hint = f": {', '.join(TASKS)}" if missing == ["task"] else ""
            raise UserError(f"--judge {self.judge} needs --{' and --'.join(missing)}{hint}")
        if self.url:
            address(self.url)  # before it is shown, and written to run.json
        if self.resume and (self.judge != "human" or not self.out):
            raise UserError("--resume continues a person's judging: it needs --judge human and --out FOLDER\n"
                            "(a chat model's answers are in --cache, the other judges cost nothing)")


# ---- data ------------------------------------------------------------------------------------------------------------
def match(a: dict[str, list[str]], b: dict[str, list[str]]) -> tuple[list[Pair], dict[str, int]]:
    """Pair the k-th response of A to a prompt with the k-th of B; return pairs and counts of what found no partner."""
    common = [prompt for prompt in a if prompt in b]
    pairs = [Pair(prompt, x, y) for prompt in common for x, y in zip(a[prompt], b[prompt])]
    left = sum(abs(len(a[prompt]) - len(b[prompt])) for prompt in common)
    return pairs, {"prompts_only_in_a": len(a) - len(common), "prompts_only_in_b": len(b) - len(common),
                   "responses_left_over": left}  # fmt: skip


def read_pairs(cfg: Config) -> tuple[list[Pair], dict[str, int]]:
    """Return the pairs that are to be judged, in the order of the seed, and counts of what was left out."""
    if cfg.labels:
        # Pairs of equal responses say nothing about a judge: any must call them a tie.
        skipped: Counter = Counter()
        records = as_pairs(read_records(cfg.labels, ("pair", "best", "ranking"), skipped))
        kept = [Pair(record.prompt, *record.responses) for record in records]
        left_out = {"same_chosen_and_rejected": sum(skipped.values())}
    else:
        a, b = read_samples(cfg.a), read_samples(cfg.b)
        kept, left_out = match(a, b)
        if not kept:
            raise UserError(f"A and B have no prompt in common: {len(a)} prompts such as {next(iter(a))[:50]!r}\n"
                            f"and {len(b)} such as {next(iter(b))[:50]!r}\ndraw both for the same prompts")
    if any(left_out.values()):
        print("left out:", ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left_out.items() if count))
    random.Random(cfg.seed).shuffle(kept)
    drawn = kept[: cfg.n or None]
    print(f"{len(drawn)} of {len(kept)} pairs")
    return drawn, left_out


# ---- verdicts --------------------------------------------------------------------------------------------------------
def make_judge(cfg: Config) -> Callable[[list[Pair]], Iterable[dict]]:
    """Return the function that gives each pair its verdict, in order (a person's may end early)."""
    question = cfg.question or QUESTIONS[cfg.task]
    if cfg.judge == "chat":
        return lambda pairs: chat(pairs, question, cfg.url, cfg.judge_model, Path(cfg.cache), cfg.parallel)
    if cfg.judge == "human":
        return lambda pairs: human(pairs, question, cfg.seed)
    if cfg.judge == "gold":
        gold = importlib.import_module(f"minalign.tasks.{cfg.task}").gold
        return lambda pairs: by_score(pairs, lambda prompts, responses: list(map(gold, prompts, responses)))
    from minalign.rewards import from_file, from_run  # only here: it loads models

    trained = cfg.judge == "rm"
    reward = from_run(cfg.reward, device=pick_device(cfg.device)) if trained else from_file(cfg.judge, "--judge")
    return lambda pairs: by_score(pairs, reward)


def summarize(rows: list[dict], name: str = "win_rate") -> dict:
    """Return counts and the share (wins + ties/2) / n called `name` with its 95 % interval, flat.

    Where the pairs were shown in an order: `position_bias`, the share of preferences that went to the response shown
    first (0.5 = none; ties and unreadable answers left out), `inconsistent` pairs, whose two orders disagree, and
    `unreadable` answers.
    """
    count = Counter(row["verdict"] for row in rows)
    share = count["a"] + count["tie"] / 2
    low, high = wilson(share, len(rows))
    numbers = {"n": len(rows), "prompts": len({row["prompt"] for row in rows}), "wins": count["a"],
               "ties": count["tie"], "losses": count["b"], name: share / max(1, len(rows)), f"{name}_low": low,
               f"{name}_high": high}  # fmt: skip
    shown = [row["views"] for row in rows if "views" in row]
    if shown:
        preferences = [view for views in shown for view in views if view["verdict"] in ("a", "b")]
        first = sum(view["verdict"] == view["first"] for view in preferences)
        low, high = wilson(first, len(preferences))
        bias = first / len(preferences) if preferences else None
        readable = [{view["verdict"] for view in views} for views in shown if all(view["verdict"] for view in views)]
        numbers |= {"position_bias": bias, "position_bias_low": low, "position_bias_high": high,
                    "position_n": len(preferences), "inconsistent": sum(len(verdicts) > 1 for verdicts in readable),
                    "unreadable": sum(view["verdict"] is None for views in shown for view in views)}  # fmt: skip
    return numbers


def show(numbers: dict, name: str) -> None:
    """Print the numbers of `summarize` as a small table."""
    a, b = ("right", "wrong") if name == "accuracy" else ("A wins", "B wins")
    print(f"\n{a:>7} {'ties':>6} {b:>7} {'n':>6}  {name.replace('_', ' '):>8}  95 % interval")
    print(f"{numbers['wins']:>7} {numbers['ties']:>6} {numbers['losses']:>7} {numbers['n']:>6}  {numbers[name]:>8.3f}  "
          f"{numbers[f'{name}_low']:.3f} to {numbers[f'{name}_high']:.3f}")  # fmt: skip
    if numbers.get("position_bias") is not None:
        low, high = numbers["position_bias_low"], numbers["position_bias_high"]
        print(f"shown first, preferred: {numbers['position_bias']:.3f} ({low:.3f} to {high:.3f}) "
              f"of {numbers['position_n']} preferences; 0.5 = no bias")  # fmt: skip
    if numbers.get("inconsistent"):
        print(f"{numbers['inconsistent']} pairs got another verdict in the other order: ties")
    if numbers.get("unreadable"):
        print(f"{numbers['unreadable']} answers begin with neither A, B nor tie: ties (see verdicts.jsonl)")


def append(path: Path, row: dict) -> None:
    """Append one verdict, so that a person who leaves loses none."""
    with disk_errors(path), open(path, "ab") as file:
        file.write(_line(row))


def _line(row: dict) -> bytes:
    return (json.dumps(plain(row), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def judged(path: Path) -> list[dict]:
    """Return the verdicts of a run that goes on; half a line, left by a crash, is cut off."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        atomic_write(path, data := data[: data.rfind(b"\n") + 1])
    rows = read_jsonl(path, ("prompt", "a", "b", "verdict")) if data else []
    for number, row in enumerate(rows, 1):
        views = row.get("views", [])
        said = [row["verdict"], *(view.get("verdict") if isinstance(view, dict) else None for view in views)
                ] if isinstance(views, list) else []  # fmt: skip
        if not said or any(x not in ("a", "b", "tie") for x in said) or any("first" not in view for view in views):
            raise UserError(f"{path}:{number}: expected a verdict (a, b or tie) and how it was asked for\n"
                            "the file is damaged: delete this line, and its pair is asked for again")  # fmt: skip
    return rows


def main(argv: list[str]) -> None:
    """Judge as the command line says; write and print the result."""
    # The two files are the only words without a flag.
    files = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    if len(files) not in (0, 2):
        raise UserError(f"expected two files of samples, A and B, before the flags; found {' '.join(files)}")
    cfg, changed = cli.parse(Config, [f"--{x}={file}" for x, file in zip("ab", files)] + argv[len(files) :])
    cli.show(cfg, changed)
    pairs, left_out = read_pairs(cfg)
    judge = make_judge(cfg)

    if cfg.resume:
        run = Run(cfg.out, resumed=True)
        if not (run.path / "run.json").is_file():
            raise UserError(f"--resume: {run.path} is no run folder\nstart it without --resume")
    else:
        reads = [cfg.a or "", cfg.b or "", cfg.labels or "", cfg.reward or "", cfg.cache]
        run = Run.create(cfg.out, run_name("judge", cfg.judge, cfg.task or ""), overwrite=cfg.overwrite, reads=reads)
    run.start(cfg, free=("n",))
    rows = judged(run.path / "verdicts.jsonl") if cfg.resume else []
    before, done = len(rows), {(row["prompt"], row["a"], row["b"]) for row in rows}
    todo = [pair for pair in pairs if (pair.prompt, pair.a, pair.b) not in done]
    same = [pair for pair in todo if pair.a == pair.b]  # nobody needs to be asked
    asked = [pair for pair in todo if pair.a != pair.b]
    for pair, verdict in itertools.chain(((pair, {"verdict": "tie"}) for pair in same), zip(asked, judge(asked))):
        rows.append(asdict(pair) | verdict)
        append(run.path / "verdicts.jsonl", rows[-1])

    if cfg.judge == "human":
        preferences = [{"prompt": row["prompt"], "chosen": row[row["verdict"]],
                        "rejected": row["b" if row["verdict"] == "a" else "a"]}
                       for row in rows if row["verdict"] != "tie"]  # fmt: skip
        atomic_write(run.path / "preferences.jsonl", b"".join(map(_line, preferences)))
        if left := before + len(todo) - len(rows):
            print(f"{left} pairs are left; continue with the same flags and --resume --out {run.path}")
    if not rows:
        return
    name = "accuracy" if cfg.labels else "win_rate"
    numbers = summarize(rows, name)
    show(numbers, name)
    result = {"judge": cfg.judge, "a": cfg.a, "b": cfg.b, "labels": cfg.labels} | run.result(numbers | left_out)
    atomic_write(run.path / "judge.json", json.dumps(result, indent=1) + "\n")
    print(f"{run.path}: judge.json, verdicts.jsonl" + ", preferences.jsonl" * (cfg.judge == "human"))


if __name__ == "__main__":
    cli.main(main)
