"""Files that are damaged by hand, met on the command line: exit code 2, three lines at most that name the file. And a
newcomer's mistakes: old versions, another folder, spaces, Windows, typos."""

import ast
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch
from safetensors.torch import load_file, save_file
from stages import OWN, train

import diversity
import minalign
import sample_bon
import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import cli, compare, export, judge, overlay, study
from minalign.errors import UserError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548118077\n"
REWARD = "def odd(prompts, responses):\n    return [len(r) % 2 for r in responses]\n"


@pytest.fixture(scope="module")
def world(tiny, tmp_path_factory):
    """A folder with a model, records, samples, a reward, a pmf, and finished runs of SFT and of a reward model."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(tiny, folder / "model")
    rows = stages.pairs()
    stages.write(folder / "data.jsonl", [row | {"completion": row["chosen"]} for row in rows[:16]])
    said = [{"prompt": "p", "response": f" {i}", "scores": {"gold": i}} for i in range(9)]
    stages.write(folder / "samples.jsonl", said)
    (folder / "decodes.json").write_text(json.dumps([{"input": "p", "output": ["a b", "b c"]}] * 2))
    (folder / "pmf.txt").write_text("1 0.25\n2 0.75\n")
    (folder / "my.py").write_text(REWARD)
    (folder / "prompts.txt").write_text("".join(f"Tom has {i} hats.\n" for i in range(24)))
    for script, name in ((train_sft, "sft"), (train_rm, "rm")):
        train(script, *flags(folder), "--data", folder / "data.jsonl", "--steps=2", "--save_every=1", out=folder / name)
    return folder


def flags(folder) -> list[str]:
    return ["--model", str(folder / "model"), *OWN]


COMMANDS = {  # what reads a file: the script and its flags; @ is the folder of the damaged copy
    "data": (train_sft, "--data @/data.jsonl"),
    "model": (train_sft, "--data @/data.jsonl"),
    "init": (train_dpo, "--data @/data.jsonl --init @/sft"),
    "reward run": (train_ppo, "--data @/data.jsonl --reward @/rm --samples_per_prompt=2"),
    "reward file": (train_ppo, "--data @/data.jsonl --reward @/my.py:odd --samples_per_prompt=2"),
    "samples": (diversity, "--files @/samples.jsonl --metrics distinct"),
    "decodes": (diversity, "--files @/decodes.json --metrics distinct"),
    "scores": (sample_bon, "--samples @/samples.jsonl"),
    "resume": (train_sft, "--data @/data.jsonl --steps=4 --save_every=1 --resume --out @/sft"),
    "target": (train_sft, "--task rng --target @/pmf.txt"),
}


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def line(**changes):
    """Return what changes keys of the third line; ... takes one away."""
    def change(data):
        rows = [json.loads(row) for row in data.splitlines()]
        rows[2] = {key: x for key, x in (rows[2] | changes).items() if x is not ...}
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    return change


def keys(**changes):
    """Return what changes keys of a JSON file; ... takes one away."""
    return lambda data: json.dumps({k: x for k, x in (json.loads(data) | changes).items() if x is not ...}).encode()


class OfPath:
    """What is done to a file or a folder, not to the bytes in it."""

    def __init__(self, do):
        self.do = do


def tensors(change):
    """Return what changes the tensors of a file."""
    @OfPath
    def on(path):
        found = load_file(path)
        change(found)
        save_file({key: x.contiguous() for key, x in found.items()}, path, {"format": "pt"})

    return on


def first(found):
    return next(key for key, x in found.items() if x.dim() > 0)


def spoil(value):
    return tensors(lambda found: found[first(found)].view(-1).__setitem__(0, value))


@OfPath
def cut_all(folder):
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(cut(path.read_bytes()))


gone = OfPath(lambda path: shutil.rmtree(path) if path.is_dir() else path.unlink())
lose = tensors(lambda found: found.pop(first(found)))
misshape = tensors(lambda found: found.update({first(found): torch.zeros(3, 5)}))
NAN, TENSORS = float("nan"), "model/model.safetensors"
CASES = [  # the command, the file, its damage, what the message says beside the file
    ("data", "data.jsonl", cut, "column"),
    ("data", "data.jsonl", line(prompt=NAN), "NaN"),
    ("data", "data.jsonl", line(prompt=...), '"prompt": missing'),
    ("data", "data.jsonl", line(completion=5), '"completion": expected a text'),
    ("data", "data.jsonl", line(completion=" "), '"completion": expected a text'),
    ("data", "data.jsonl", line(completion=..., chosen=..., completon=" x"), '"completon"'),
    ("data", "data.jsonl", lambda data: data.replace(b'"prompt"', b'"prompt": "x", "prompt"'), "twice"),
    ("data", "data.jsonl", lambda data: data.replace(b"market", b"march\xe9", 1), "UTF-8"),
    ("data", "data.jsonl", lambda data: data.replace(b"\n", b"\n\n", 1), "blank"),
    ("data", "data.jsonl", lambda data: b"", "there is none"),
    ("data", "data.jsonl", lambda data: LFS, "git-LFS"),
    ("data", "data.jsonl", lambda data: b"<!doctype html>", "web page"),
    ("data", "data.jsonl", lambda data: gzip.compress(data)[:-20], "cut short"),
    ("data", "data.jsonl", gone, "no such file"),
    ("model", TENSORS, cut, "cut short"),
    ("model", TENSORS, lambda data: data[:-1], "cut short"),
    ("model", TENSORS, lambda data: b"", "damaged"),
    ("model", TENSORS, lambda data: LFS, "git-LFS"),
    ("model", TENSORS, lambda data: b"<html>", "web page"),
    ("model", TENSORS, lose, "Missing: "),
    ("model", TENSORS, misshape, "has shape (3, 5)"),
    ("model", TENSORS, spoil(NAN), "not finite"),
    ("model", TENSORS, spoil(float("inf")), "not finite"),
    ("model", TENSORS, gone, "expected model.safetensors"),
    ("model", "model/config.json", cut, "JSON"),
    ("model", "model/config.json", keys(model_type="llama"), "model_type"),
    ("model", "model/config.json", keys(n_head=5), "n_head"),
    ("model", "model/config.json", keys(n_layer="2"), "n_layer"),
    ("model", "model/config.json", keys(vocab_size=7), "wte"),
    ("model", "model/config.json", gone, "not found"),
    ("model", "model/vocab.json", cut, "JSON"),
    ("model", "model/vocab.json", keys(a=0), "exactly once"),
    ("model", "model/vocab.json", gone, "vocab.json is missing"),
    ("model", "model/merges.txt", cut, "merges.txt"),
    ("model", "model/merges.txt", lambda data: b"a b c\n" + data, "two symbols"),
    ("init", "sft/adapter_config.json", cut, "JSON"),
    ("init", "sft/adapter_config.json", keys(peft_type="IA3"), "peft_type"),
    ("init", "sft/adapter_config.json", keys(r=0), "r is 0"),
    ("init", "sft/adapter_config.json", keys(r=3), "expected (3,"),
    ("init", "sft/adapter_config.json", keys(target_modules=5), "target_modules"),
    ("init", "sft/adapter_config.json", keys(base_model_name_or_path=[1]), "base_model_name_or_path"),
    ("init", "sft/adapter_model.safetensors", cut, "cut short"),
    ("init", "sft/adapter_model.safetensors", lose, "1 tensors missing"),
    ("init", "sft/adapter_model.safetensors", spoil(NAN), "not finite"),
    ("reward run", "rm/reward.json", cut, "stop_rule"),
    ("reward run", "rm/reward.json", keys(pool="mean"), "pool"),
    ("reward run", "rm/reward.json", keys(stop_rule={"stop": 10**9, "max_new_tokens": 4}), "stop_rule"),
    ("reward run", "rm/head.safetensors", lose, "Missing: "),
    ("reward run", "rm/head.safetensors", spoil(NAN), "not finite"),
    ("reward run", "rm/head.safetensors", misshape, "has shape (3, 5)"),
    ("reward file", "my.py", lambda data: b"def odd(", "cannot be imported"),
    ("reward file", "my.py", lambda data: b"import nowhere\n", "nowhere"),
    ("reward file", "my.py", lambda data: b"x = 1\n", "no function 'odd'"),
    ("reward file", "my.py", lambda data: b"def odd(p, r):\n    return [1 / 0]\n", "ZeroDivisionError"),
    ("reward file", "my.py", lambda data: b"def odd(p, r):\n    return [1.0]\n", "one each; got 1 values"),
    ("reward file", "my.py", lambda data: b"def odd(p, r):\n    return [float('nan') for x in r]\n", "got nan"),
    ("samples", "samples.jsonl", cut, "JSON object"),
    ("samples", "samples.jsonl", line(response=...), "response"),
    ("samples", "samples.jsonl", line(scores=[1]), "scores"),
    ("samples", "samples.jsonl", lambda data: b"\n", "found none"),
    ("decodes", "decodes.json", cut, "expected a list"),
    ("decodes", "decodes.json", lambda data: b"[]", "an empty list"),
    ("scores", "samples.jsonl", line(scores={"gold": None}), "no scores"),
    ("resume", "sft/run.json", cut, "run.json is damaged"),
    ("resume", "sft/run.json", keys(config=[1]), "run.json is damaged"),
    ("resume", "sft/run.json", lambda data: data.replace(b'"seed": 1', b'"seed": 2'), "--seed is 1 (was 2)"),
    ("resume", "sft/state/step_000002/manifest.json", keys(version=99), "version 99"),
    ("resume", "sft/state", cut_all, "all 2 checkpoints are damaged"),
    ("resume", "sft/state", gone, "no checkpoint yet"),
    ("target", "pmf.txt", lambda data: b"1 -0.5\n", "probability >= 0"),
    ("target", "pmf.txt", lambda data: b"1 0.5\n1 0.5\n", "each text once"),
    ("target", "pmf.txt", lambda data: b"\xff\xfe", "UTF-8"),
]


def run(monkeypatch, capsys, script, *argv) -> tuple[int, str]:
    """Run a command; return its exit code and what it says on stderr."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, argv)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(script.main)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("what, file, damage, words", CASES, ids=[f"{i}-{case[1]}" for i, case in enumerate(CASES)])
def test_what_is_damaged_is_refused(world, tmp_path, monkeypatch, capsys, what, file, damage, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    here, (script, argv) = tmp_path / "here", COMMANDS[what]
    shutil.copytree(world, here)
    for config in here.glob("*/adapter_config.json"):  # the copy's base is the copy's model
        config.write_text(config.read_text().replace(str(world), str(here)))
    for about in here.glob("*/run.json"):
        about.write_text(about.read_text().replace(str(world), str(here)))
    path = here / file
    if isinstance(damage, OfPath):
        damage.do(path)
    else:
        path.write_bytes(damage(path.read_bytes()))
    before = sorted(here.rglob("*"))
    argv = argv.replace("@", str(here)).split() + ([] if script in (diversity, sample_bon) else flags(here))
    out = [] if "--out" in argv else ["--out", str(tmp_path / "out")]
    code, said = run(monkeypatch, capsys, script, *argv, *out)
    message = said[said.rindex("error: ") :].strip()
    assert code == 2 and "Traceback" not in said and len(message.splitlines()) <= 3, said
    assert words in message and (str(path) in message or str(path.parent) in message or what == "resume"), message
    after = sorted(path for path in here.rglob("*") if path.name != ".lock")
    assert after == before, "it changed what it could not read"


def test_debug_shows_where_it_came_from(world, monkeypatch, capsys):
    code, said = run(monkeypatch, capsys, train_sft, "--data", "nowhere.jsonl", *flags(world), "--debug")
    assert code == 2 and said.startswith("Traceback") and said.count('  File "') > 2, said
    assert "error: --data nowhere.jsonl" in said


# ------------------------------------------------------------------------------------------ a newcomer's mistakes


ROOT = Path(cli.__file__).resolve().parent.parent
MODULES = (train_sft, train_rm, train_ppo, train_dpo, train_gfn, sample_bon, diversity, compare, export, judge, overlay,
           study)  # fmt: skip


def typos(word: str) -> set[str]:
    """Return a word with a letter left out, doubled, or swapped with the next one."""
    at = range(1, len(word)) if len(word) > 3 else range(len(word))
    found = {word[:i] + word[i] + word[i:] for i in at}
    found |= {word[:i] + word[i + 1 :] for i in at if len(word) > 3}
    return found | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in at if i + 1 < len(word)}


@pytest.mark.parametrize("script", MODULES, ids=lambda script: script.__name__)
def test_a_typo_in_every_flag_names_the_flag(script):
    """Or one that is as near, as explore of explorde; also in every choice. It is never taken."""
    fields, named = script.Config.__dataclass_fields__, []
    for name, field in fields.items():
        for typo in sorted(typos(name) - fields.keys()):
            with pytest.raises(UserError) as error:
                cli.parse(script.Config, [f"--{typo}", "1"])
            unknown, near = re.fullmatch(r"unknown flag --(.+)\nDid you mean --(.+)\?", str(error.value)).groups()
            assert unknown == typo and near.removeprefix("no_") in fields
            named.append(near == name)
        choices = [str(choice) for choice in field.metadata.get("choices") or ()]
        for typo in {typo for choice in choices for typo in typos(choice) if len(choice) > 3} - set(choices):
            with pytest.raises(UserError, match="(?s)is not one of .*Did you mean "):
                cli.parse(script.Config, [f"--{name}", typo])
    assert sum(named) > 0.97 * len(named)
    with pytest.raises(UserError, match="two dashes(?s:.*)\nDid you mean --out[?]$"):
        cli.parse(script.Config, ["-out", "x"])


def start(*argv, cwd=None, code=None, **env) -> subprocess.CompletedProcess:
    """Run Python as a newcomer does: a script by its path, or some code; no PYTHONPATH, whatever the folder."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MPLBACKEND", "DISPLAY")}
    command = [sys.executable, *(["-c", code] if code else []), *map(str, argv)]
    return subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=300)


def simulate(change: str, *lines: str) -> subprocess.CompletedProcess:
    """Import the package in a Python where something is different."""
    return start(code="\n".join([f"import sys; sys.path.insert(0, {str(ROOT)!r})", change, *lines, "import minalign"]))


@pytest.mark.parametrize("change, words", [
    ("sys.version_info = (3, 9, 18)", "needs Python 3.10 or newer, found 3.9.18"),
    ("from importlib import metadata; metadata.version = lambda name: '2.1.2+cu118'",
     "needs torch 2.6 or newer, found 2.1.2+cu118"),
    ("from importlib import metadata; metadata.version = lambda name: metadata.distribution('no-such-package')",
     "needs torch 2.6 or newer, found none"),
])  # fmt: skip
def test_an_old_python_and_an_old_torch_are_refused(change, words):
    done = simulate(change)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr, done.stderr
    assert done.stderr.count("\n") == 2 and "requirements.txt" in done.stderr


@pytest.mark.parametrize("change", ["sys.version_info = (3, 14, 0)",
                                    "from importlib import metadata; metadata.version = lambda name: '2.10.0a0+git1'"])
def test_newer_ones_are_not(change):
    done = simulate(change)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_oldest_versions_are_the_package_s():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={minalign.PYTHON}"
    assert f"torch>={minalign.TORCH}" in project["dependencies"]
    # An older Python must be able to read what leads to the message: the scripts, and the package's first file.
    for path in (*ROOT.glob("*.py"), ROOT / "minalign" / "__init__.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_without_matplotlib_a_run_does_not_begin(world, tmp_path, monkeypatch, capsys):
    argv = ["--data", world / "data.jsonl", *flags(world), "--plot", "--out", tmp_path / "out"]
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)  # what Python does where it is not there
    code, said = run(monkeypatch, capsys, train_sft, *argv)
    assert code == 2 and "figures need matplotlib" in said and "--no-plot" in said and not (tmp_path / "out").exists()


def test_figures_need_no_screen_and_no_backend(tmp_path):
    """MPLBACKEND of a notebook or of a desktop is not used; one that does not exist is named."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from minalign import plot; print(plot.prompt_statistics("
    code += f"__import__('pathlib').Path({str(tmp_path / 'x.png')!r}), [1, 2], [3, 4]))"
    done = start(code=code, MPLBACKEND="TkAgg")
    assert done.returncode == 0 and (tmp_path / "x.png").stat().st_size > 1000, done.stderr
    done = start(code=code, MPLBACKEND="TkAg")
    assert done.returncode == 1 and "unset MPLBACKEND" in done.stderr


def test_another_folder_and_names_with_spaces(world, tmp_path, monkeypatch):
    """A chain of stages, started elsewhere, whose files and folders all have spaces in their names."""
    here = tmp_path / "my files"
    shutil.copytree(world / "model", here / "the model")
    for name in ("data.jsonl", "my.py"):
        shutil.copy(world / name, here / f"a {name}")
    own = ["--model", "the model", *OWN, "--steps=1", "--batch_size=4", "--max_response=4", "--data", "a data.jsonl"]
    done = start(ROOT / "train_sft.py", *own, "--out", "my runs/first run", cwd=here)
    assert done.returncode == 0 and (here / "my runs" / "first run" / "result.json").is_file(), done.stderr
    monkeypatch.chdir(here)
    train(train_ppo, *own, "--init", "my runs/first run", "--reward", "a my.py:odd", "--eval_examples=1")
    assert Path("runs/ppo-data-the-model/result.json").is_file()


def test_windows_line_endings_change_nothing(world, tmp_path):
    """In records, prompts, a pmf, a reward, a vocabulary and an adapter's settings; also a byte-order mark in texts."""
    here = tmp_path / "windows"
    shutil.copytree(world, here)
    texts = [path for path in here.rglob("*") if path.suffix in (".jsonl", ".txt", ".py", ".json")]
    for path in (path for path in texts if "state" not in path.parts):
        data = path.read_bytes().replace(b"\n", b"\r\n").replace(str(world).encode(), str(here).encode())
        path.write_bytes((b"\xef\xbb\xbf" if path.name in ("pmf.txt", "data.jsonl", "prompts.txt") else b"") + data)
    for script, argv in ((train_dpo, ["--data", "@/data.jsonl", "--init", "@/sft"]),
                         (train_sft, ["--task", "rng", "--target", "@/pmf.txt", "--examples=64", "--samples=1"]),
                         (train_ppo, ["--data", "@/prompts.txt", "--reward", "@/my.py:odd", "--epochs=1"])):
        outcome = []
        for i, folder in enumerate((world, here)):
            given = [word.replace("@", str(folder)) for word in argv]
            out = tmp_path / f"{script.__name__}-{i}"
            run = train(script, "--model", folder / "model", *OWN, *given, "--steps=2", out=out)
            outcome.append(stages.weights(run))
        assert outcome[0] and stages.same(*outcome), script.__name__


def test_the_first_command_twice(world, tmp_path, monkeypatch, capsys):
    """The second run gets a folder of its own; with the same --out it is told what to do."""
    monkeypatch.chdir(tmp_path)
    argv = ["--data", world / "data.jsonl", *flags(world), "--steps=1"]
    for _ in range(2):
        train(train_sft, *argv)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["sft-data-model", "sft-data-model-2"]
    assert all((path / "result.json").is_file() for path in Path("runs").iterdir())
    code, said = run(monkeypatch, capsys, train_sft, *argv, "--out", "runs/sft-data-model")
    assert code == 2 and "--out runs/sft-data-model exists" in said and "--resume" in said and "--overwrite" in said
