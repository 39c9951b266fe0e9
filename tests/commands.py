"""Run every command that README.md and the pages of docs/ show, in their order, each made short by flags.

    python tests/commands.py               about a quarter of an hour on two cores
    python tests/commands.py judge         those with this word in them, and what comes before them

They run as a reader would type them, in an empty folder with the files that the pages speak of (`prepare`). A model of
the hub becomes a folder of the same form with few random weights. NOT_RUN says what is left out, and why; the flags of
these, too, are checked by test_commands.py.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
OURS = re.compile(r"(torchrun .*?)?(python )?(-m minalign\S*|\S*\w+\.py)( |$)")
TRAIN = "--steps 2 --batch_size 8 --eval_every 0 --no-plot"
SHORT = {
    "train_sft.py": f"{TRAIN} --examples 40 --eval_examples 8", "train_dpo.py": f"{TRAIN} --samples 2",
    "train_rm.py": f"{TRAIN} --examples 24 --eval_examples 8 --normalise 8",
    "train_ppo.py": f"{TRAIN} --samples_per_prompt 2 --examples 16 --eval_examples 4 --eval_samples 2",
    "train_gfn.py": "--steps 2 --eval_every 0 --no-plot", "sample_bon.py": "--n 4 --examples 4 --no-plot",
    "minalign.study": "--inputs 2 --samples 2 --bon_n 2 --betas 0.2 --flags '--steps 2' --sft_flags '--examples 40' "
                      "--rm_flags '--examples 40 --eval_examples 8 --normalise 8' --jobs 1",
    "minalign.compare": "--samples 512 --steps 2 --prompts 2", "minalign.reproduce": "--quick --only frontier",
}  # fmt: skip
NOT_RUN = {
    "--nnodes": "two machines", "api.openai.com": "an account", "--judge human": "a person answers",
    "roberta-large-mnli": "the published weights", "--preset paper": "hours, and GPT-2 XL", "--paper": "hours",
    "pytest": "these are the tests", "bench/": "minutes to hours; see docs/performance.md", "crash.py": "in the tests",
    "make_trajectories": "writes the golden files anew", "nano.pretrain": "two hours", "nano.polish": "minutes",
    "RUNS/": "of minalign.reproduce, which has run it", "FOLDER": "the published files",
}  # fmt: skip


def shown() -> list[tuple[str, str]]:
    """Return (page, command) of all commands of the pages: lines of code blocks, and whole `...` in a text."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for block, inline in re.findall(r"^```\w*\n(.*?)^```|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL):
            for line in (block or inline).replace("\\\n", " ").replace("\n    --", " --").splitlines():
                line = line.partition(" && ")[2] or line  # of the set-up
                if re.match(r"(python|torchrun) ", line.strip()) and OURS.match(line.strip()):
                    found.append((page, " ".join(line.split("  #")[0].split())))
    return list(dict.fromkeys(found))


def words(command: str) -> tuple[str, list[str]]:
    """Return script and flags of a command: ("train_sft.py", [...]) or ("minalign.judge", [...])."""
    for name, value in (("RUN...", "runs/sft-sentiment-nano"), ("RUN", "runs/sft-sentiment-nano"), ("S", "1")):
        command = re.sub(rf"(?<=[ /]){re.escape(name)}(?=$|[ /])", value, command)
    told = shlex.split(command)
    at = next(i for i, word in enumerate(told) if word.endswith(".py") or word.startswith("minalign"))
    return told[at], told[at + 1 :]


def why_not(command: str) -> str | None:
    """Return the reason why a command is not run, None where it is."""
    return next((reason for part, reason in NOT_RUN.items() if part in command), None)


def prepare(folder: Path) -> dict[str, str]:
    """Write the files that the pages speak of; return what stands for which model of the hub."""
    from stages import pairs, write_tiny

    def write(name: str, rows: list) -> None:
        (folder / name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))

    compared = pairs(16)
    write("pairs.jsonl", compared)
    write("mine.jsonl", [{"prompt": row["prompt"], "completion": row["chosen"]} for row in compared])
    write("my.jsonl", [{"prompt": row["prompt"], "completion": row["chosen"]} for row in compared])
    write("prompts.jsonl", [{"prompt": row["prompt"]} for row in compared])
    write("prompts.txt", ["Anna found an old map.", "The wind blew over the hill.", "Tom lost his lantern."])
    write("book.txt", ["Anna found an old map. She showed it to Tom. Tom laughed. They went to the hill. " * 20])
    write("my_pmf.txt", ["7 0.5", "8 0.25", "9 0.25"])
    write("my_reward.py", ["def score(prompts, responses): return [float(len(r)) for r in responses]"])
    for name, key in (("A.jsonl", "chosen"), ("B.jsonl", "rejected")):
        write(name, [{"prompt": row["prompt"], "response": row[key]} for row in compared])
    tiny = str(write_tiny(folder / "tiny-gpt2", n_positions=256))
    start(folder, "train_rm.py", ["--task", "puns", "--out", "runs/rm-puns-nano"])
    start(folder, "train_sft.py", ["--task", "grammar", "--out", "runs/sft-grammar-nano"])
    return dict.fromkeys(("gpt2", "gpt2-xl"), tiny)


def start(folder: Path, script: str, flags: list[str], before: str = "") -> subprocess.CompletedProcess:
    """Run a script in a folder, made short by its flags; before: of torchrun."""
    short = [] if "--prompt" in flags or "--samples" in flags else shlex.split(SHORT.get(script, ""))
    has = {word for word in flags if word.startswith("--")}
    for i in [i for i, word in enumerate(short) if word in has - {"--steps"}][::-1]:  # the page's own value stays
        del short[i : i + 2]
    call = ["-m", script] if script.startswith("minalign") else [str(ROOT / script)]
    launch = ["-m", "torch.distributed.run", *shlex.split(before)] if before else []
    return subprocess.run([sys.executable, *launch, *call, *flags, *short], cwd=folder, text=True, capture_output=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})  # fmt: skip


def main(*only: str) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stand_ins = prepare(folder)
        for page, command in shown():
            if reason := why_not(command):
                print(f"not run ({reason}): {command}")
                continue
            script, flags = words(command)
            flags = [stand_ins.get(word, word) for word in flags]
            launcher = re.match(r"torchrun (.*?)(-- )?\S+\.py", command)
            began = time.perf_counter()
            done = start(folder, script, flags, re.sub(r"=\d+", "=2", launcher[1]) if launcher else "")
            failed += bool(done.returncode)
            if not only or done.returncode or any(word in command for word in only):
                said = "FAILED" if done.returncode else "ok"
                print(f"{said:6} {time.perf_counter() - began:4.0f} s  {page}: {command}", flush=True)
            if done.returncode:
                print("   ", "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-4:]), flush=True)
    print(f"{failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
