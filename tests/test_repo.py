"""The repository's own rules: who imports whom, what is never used, and commands that are what the README says."""

import ast
import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "minalign").rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("*.py"))
PRODUCT = LIBRARY + SCRIPTS
COMMANDS = ("python train_gfn.py --task rng", "pip install -r requirements-dev.txt && python -m pytest -q")


def named(path):
    """Return a file's module name: minalign.tasks.rng, train_gfn."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {named(path) for path in PRODUCT}


def imports(path, inner=True):
    """Return the modules that a file imports (`from minalign import x` is minalign.x); inner: in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if inner else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


def ids(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", PRODUCT, ids=ids(PRODUCT))
def test_no_model_library_is_imported(path):
    """From scratch: transformers, peft and the like are oracles of the tests and peers of the benchmarks."""
    foreign = {
        "transformers",
        "peft",
        "trl",
        "accelerate",
        "datasets",
        "deepspeed",
        "lightning",
        "pytorch_lightning",
        "wandb",
    }
    assert not {name.split(".")[0] for name in imports(path)} & foreign


@pytest.mark.parametrize("path", PRODUCT, ids=ids(PRODUCT))
def test_no_file_can_run_foreign_code(path):
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not {name.split(".")[0] for name in imports(path)} & forbidden
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Name):  # called or handed on
            assert node.id not in ("eval", "exec", "__import__", "builtins", "__builtins__"), where
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("torch.hub", "torch.package", "torch.jit", "yaml.load"), where
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy"):
            assert not {alias.name for alias in node.names} & {"load", "hub", "jit", "package"}, where
        if not isinstance(node, ast.Call):
            continue
        assert not isinstance(node.func, ast.Name) or node.func.id != "compile", where
        name = ast.unparse(node.func)
        assert "trust_remote_code" not in {keyword.arg for keyword in node.keywords}, where
        settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in ("torch.load", "np.load", "numpy.load"):
            safe = (
                settings.get("weights_only") == "True"
                if name == "torch.load"
                else settings.get("allow_pickle", "False") == "False"
            )
            assert safe, where
        assert name not in ("torch.save", "os.system") and "shell" not in settings, where


OUTSIDE = {  # what runs other code or speaks to others, and where: no other file does
    "exec_module": {"rewards.py"},  # a user's own reward file, which the command line names
    "import_module": {"judge.py"},  # of the tasks
    "subprocess.run": {"compare.py", "folder.py", "reproduce.py"}, "subprocess.Popen": {"jobs.py"},  # the scripts, git
    "urllib.request.urlopen": {"judges.py", "sources.py"}, "socket.create_connection": {"hub.py", "sources.py"},
    "hf_hub_download": {"hub.py"},
}  # fmt: skip


@pytest.mark.parametrize("call", OUTSIDE)
def test_few_places_run_code_or_speak_to_others(call):
    found = {path.name for path in PRODUCT for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call) and f".{ast.unparse(node.func)}".endswith(f".{call}")}  # fmt: skip
    assert found == OUTSIDE[call]


# dist, files -> losses, lora, tokenizer (torch) -> model -> generate -> rewards, data, tasks -> run, plot -> scripts.
LAYERS = {
    "errors": 0,
    "dist": 0,
    "files": 0,
    "losses": 1,
    "optim": 1,
    "sampling": 1,
    "replay": 1,
    "lora": 1,
    "cache": 1,
    "precision": 1,
    "compilation": 1,
    "tokenizer": 1,
    "model": 2,
    "hub": 3,
    "generate": 3,
    "exact": 4,
}


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_the_library_never_imports_a_script(path):
    scripts = {named(script) for script in SCRIPTS}
    assert not imports(path) & (scripts | {"tests", "bench", "conftest"})


@pytest.mark.parametrize("path", SCRIPTS, ids=ids(SCRIPTS))
def test_no_script_imports_a_script(path):
    assert not imports(path) & ({named(script) for script in SCRIPTS} | {"bench", "tests"})


@pytest.mark.parametrize("path", LIBRARY, ids=ids(LIBRARY))
def test_imports_go_one_way(path):
    level = LAYERS.get(named(path).removeprefix("minalign."), 9)
    for module in imports(path, inner=False):
        if module.startswith("minalign."):
            assert LAYERS.get(module.removeprefix("minalign."), 9) <= level, f"{path.name} imports {module}"


def test_there_is_no_circle_of_imports():
    graph = {named(path): {m for m in imports(path, inner=False) if m in MODULES} - {"minalign"} for path in PRODUCT}
    done = set()
    while graph.keys() - done:
        free = {module for module in graph.keys() - done if graph[module] <= done | {module}}
        assert free, f"circle among {sorted(graph.keys() - done)}"
        done |= free


def test_only_dist_speaks_to_other_processes():
    users = [path.name for path in PRODUCT if any(name.startswith("torch.distributed") for name in imports(path))]
    assert set(users) <= {"dist.py"}


def test_importing_any_module_has_no_effect(tmp_path):
    code = f"""
import importlib, os, random, signal, sys, threading
sys.path.insert(0, {str(ROOT)!r})
import torch, numpy, regex, tiktoken, safetensors.torch, tqdm
def state():
    return (torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
            random.getstate(), numpy.random.get_state()[1].tolist(), dict(os.environ), os.getcwd(),
            threading.active_count(), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)])
before = state()
for name in {sorted(MODULES)}:
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert state() == before, "importing changed the state of the process"
assert not {{"transformers", "peft", "trl", "matplotlib.pyplot"}} & set(sys.modules)
"""
    env = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=ids(SCRIPTS))
def test_scripts_share_one_skeleton(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)) and text.rstrip().endswith(
        'if __name__ == "__main__":\n    cli.main(main)'
    )
    assert len(text.splitlines()) <= 400
    if path.name.startswith("train_"):
        banners = [
            line.strip()[2:].split(":")[0].split(",")[0]
            for line in text.splitlines()
            if line.startswith("            # ")
        ]
        order = [{"rollout", "data"}, {"advantages", "targets"}, {"update"}, {"log"}]
        places = [next((i for i, banner in enumerate(banners) if banner in names), None) for names in order]
        assert None not in places and places == sorted(places), banners


def test_the_readme_s_commands_are_the_real_ones():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert command in readme
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text().splitlines()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_requirements_are_the_package_s_dependencies():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(lines):
        return {line.split(">")[0].split("<")[0].split("=")[0].strip() for line in lines if line[:1].isalpha()}

    assert names(project["dependencies"]) == names((ROOT / "requirements.txt").read_text().splitlines())
    tests = names((ROOT / "requirements-dev.txt").read_text().splitlines())
    assert names(project["optional-dependencies"]["test"]) <= tests
    # Whatever the product imports is a dependency (regex comes with tiktoken) or comes with Python.
    known = (
        {name.replace("-", "_") for name in names(project["dependencies"])}
        | {"regex", "minalign"}
        | sys.stdlib_module_names
    )
    used = {module.split(".")[0] for path in PRODUCT for module in imports(path)}
    assert used <= known, used - known


@pytest.mark.parametrize("path", [p for p in SCRIPTS if p.name.startswith("train_")], ids=lambda path: path.name)
def test_every_flag_is_read(path):
    """A flag that nothing reads is a promise that nothing keeps: in the script, or where it hands its config on."""
    read = set()
    library = ROOT / "minalign"
    handed = ("stage.py", "memory.py", "rewards.py", "tasks/setting.py", "tasks/rng.py")
    for file in (path, *(library / name for name in handed)):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        read |= {node.attr for node in nodes if ast.unparse(node.value) in ("cfg", "given")}
    assert {f.name for f in dataclasses.fields(importlib.import_module(path.stem).Config)} - read == set()
