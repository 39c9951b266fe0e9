"""The run folder, the metrics log, the guard against NaN, and the clean stop."""

import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from minalign import cli, console, folder
from minalign.cli import flag
from minalign.errors import UserError
from minalign.run import NonFiniteError, Run, check_finite, pick_device, run_name, seed_everything


@dataclasses.dataclass
class Config:
    lr: float = flag(1e-3, "learning rate")
    steps: int = flag(10, "steps")
    seed: int = flag(1, "seed")
    targets: tuple[str, ...] = flag(("a", "b"), "targets")
    out: str | None = flag(None, "folder")


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lines(path):
    return [
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
        for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]


def started(path="runs/x", **settings):
    run = Run.create(path, "runs/unused")
    run.start(Config(**settings))
    return run


# -------------------------------------------------------------------------------------------------- folders


def test_the_default_name_takes_the_next_number():
    name = run_name("gfn", "rng", "/models/my gpt2/")
    assert name == "runs/gfn-rng-my-gpt2"
    assert [Run.create(None, name).path.name for _ in range(3)] == [f"gfn-rng-my-gpt2{n}" for n in ("", "-2", "-3")]
    with pytest.raises(UserError, match="gfn-rng-my-gpt2-3 is not a run folder"):
        Run.create(None, name, resume=True)


def test_an_explicit_folder_that_exists_needs_a_decision():
    started()
    with pytest.raises(UserError, match="--resume .* --overwrite"):
        Run.create("runs/x", "d")
    with pytest.raises(UserError, match="one of them"):
        Run.create("runs/x", "d", resume=True, overwrite=True)
    with pytest.raises(UserError, match="no checkpoint yet"):
        Run.create("runs/x", "d", resume=True)
    with pytest.raises(UserError, match="does not exist"):
        Run.create("runs/y", "d", resume=True)
    os.mkdir("empty")
    assert Run.create("empty", "d").path == Path("empty")


def test_overwrite_deletes_runs_and_nothing_else():
    started().log(1, loss=1)
    assert os.listdir(Run.create("runs/x", "d", overwrite=True).path) == [".lock"]
    os.mkdir("thesis")
    Path("thesis/chapter").write_text("words")
    Path("file").write_text("words")
    started("real")
    os.symlink("real", "link")
    Path("thesis/run.json").write_text("{}")
    for name in ("thesis", "file", "link"):
        with pytest.raises(UserError, match="is no run folder"):
            Run.create(name, "d", overwrite=True)
    assert Path("thesis/chapter").read_text() == Path("file").read_text() == "words" and Path("real/run.json").exists()


def test_overwrite_keeps_what_the_run_reads():
    run = started()
    for reads in (["runs/x"], ["runs/x/samples.jsonl"], [None, str(run.path.resolve() / "adapter_model.safetensors")]):
        with pytest.raises(UserError, match="which this run needs"):
            Run.create("runs/x", "d", overwrite=True, reads=reads)
    os.chdir("runs/x")
    with pytest.raises(UserError, match="which this run needs"):
        Run.create("../x", "d", overwrite=True)
    assert Path("run.json").exists()


@pytest.mark.parametrize(
    "code, words", [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")]
)
def test_a_folder_that_cannot_be_written_is_a_user_error(monkeypatch, code, words):
    run = started("ok")

    def refuse(path, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(path))

    for name, act in {
        "os.mkdir": lambda: Run.create("new/run", "d"),
        "os.replace": lambda: run.result({}),
        "builtins.open": lambda: run.log(1, loss=1),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(name, refuse)
            with pytest.raises(UserError, match=f"cannot write .*\n.*{words}.*--out"):
                act()


def test_a_file_in_the_way_is_a_user_error():
    Path("runs").write_text("")
    for out in (None, "runs/x"):
        with pytest.raises(UserError, match="cannot write"):
            Run.create(out, "runs/y")


# -------------------------------------------------------------------------------------------------- files


def test_run_json_says_where_the_numbers_come_from():
    about = json.loads((started(lr=0.5).path / "run.json").read_text())
    assert about["config"] == {"lr": 0.5, "steps": 10, "seed": 1, "targets": ["a", "b"], "out": None}
    assert about["packages"]["torch"] == torch.__version__ and about["threads"] == torch.get_num_threads()
    assert about["device"] == "cpu" and about["seed"] == 1 and about["command"].startswith("python ")


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("git is not installed")

    def git(*args):
        return subprocess.run(["git", "-C", tmp_path, *args], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(folder, "__file__", str(tmp_path.resolve() / "minalign/folder.py"))
    assert folder._git_commit() is None
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a")
    assert folder._git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "a").write_text("2")
    assert folder._git_commit() == git("rev-parse", "HEAD") + "+"
    monkeypatch.setattr(folder, "__file__", str(tmp_path.resolve() / "venv/minalign/folder.py"))
    assert folder._git_commit() is None  # someone else's checkout


def test_logs_are_plain_json():
    run = started()
    metrics = {"objective/kl": torch.tensor(0.5), "n": np.int64(2)}
    run.log(3, metrics, loss=float("nan"), margins=torch.tensor([1.0, 2.0]))
    assert lines(run.path / "metrics.jsonl") == [
        {"step": 3, "objective/kl": 0.5, "n": 2, "loss": None, "margins": [1.0, 2.0]}
    ]
    run.samples(3, ["p", "q"], ["é\ud800", "b\nc"], torch.tensor([True, False]), {"gold": torch.tensor([0.0, 1.5])})
    assert lines(run.path / "samples.jsonl") == [
        {"prompt": "p", "response": "é\ud800", "step": 3, "stopped": True, "scores": {"gold": 0.0}},
        {"prompt": "q", "response": "b\nc", "step": 3, "stopped": False, "scores": {"gold": 1.5}},
    ]
    with pytest.raises(ValueError):
        run.samples(3, ["p", "q"], ["a"], [True, True])


def test_result_is_flat_and_has_time_and_memory():
    run = started()
    written = run.result({"kl": torch.tensor(0.25), "steps": 3, "bad": float("inf")})
    assert json.loads((run.path / "result.json").read_text()) == written
    assert written["kl"] == 0.25 and written["bad"] is None and 0 <= written["seconds"] < 60
    assert 20 < written["peak_memory_mb"] < 100_000
    with pytest.raises(AssertionError):
        run.result({"nested": {"a": 1}})


def test_peak_memory_sees_an_allocation():
    pid = os.fork()  # a new process: the peak of this one may be far above what it holds now
    if pid == 0:
        before = folder.peak_memory_mb()
        block = torch.ones(30_000_000)
        grown = folder.peak_memory_mb() - before
        del block
        os._exit(0 if 100 < grown < 200 and folder.peak_memory_mb() - before >= 100 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_other_ranks_write_nothing():
    run = started()
    before = {p: p.read_bytes() for p in run.path.rglob("*")}
    other = Run(run.path, writes=False)
    other.start(Config(lr=7))
    other.log(1, loss=1)
    other.samples(1, ["a"], ["b"], [True])
    other.save(1, {"w": torch.ones(1)})
    other.result({"a": 1})
    assert {p: p.read_bytes() for p in run.path.rglob("*")} == before


# -------------------------------------------------------------------------------------------------- resume


def steps(run, first, last, save_at=()):
    for step in range(first + 1, last + 1):
        run.log(step, loss=step / 7)
        if step % 2 == 0:
            run.samples(step, ["p"], [f"r{step}"], [True])
        if step in save_at:
            run.save(step, {"w": torch.full((3,), float(step))}, {"position": step})


def test_resume_cuts_the_logs_to_the_checkpoint():
    whole = started("whole")
    steps(whole, 0, 9)
    run = started("cut")
    steps(run, 0, 6, save_at=(2, 4))  # steps 5 and 6 were logged, but not saved
    with open("cut/metrics.jsonl", "a") as file:
        file.write('{"step": 7, "lo')  # killed in the middle of a line
    (run.path / "result.json").write_text("{}")
    run = Run.create("cut", "d", resume=True)
    run.start(Config(steps=20, out="cut"))  # more steps, and where it lies, may change
    step, tensors, meta = run.load()
    assert (step, meta, tensors["w"].tolist()) == (4, {"position": 4}, [4.0] * 3)
    steps(run, step, 9)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert not (run.path / "result.json").exists()
    about = json.loads((run.path / "run.json").read_text())
    assert about["config"]["steps"] == 20 and len(about["history"]) == 1


def test_resume_falls_back_with_the_logs_too():
    run = started()
    steps(run, 0, 6, save_at=(2, 5))
    (run.path / "state/step_000005/state.safetensors").write_bytes(b"")
    run = Run.create("runs/x", "d", resume=True)
    assert run.load()[0] == 2
    assert [line["step"] for line in lines("runs/x/metrics.jsonl")] == [1, 2]


def test_resume_refuses_other_settings():
    steps(started(lr=0.1), 0, 2, save_at=(2,))
    run = Run.create("runs/x", "d", resume=True)
    with pytest.raises(UserError, match=r"--lr is 0.2 \(was 0.1\), --targets is \['a'\]") as error:
        run.start(Config(lr=0.2, targets=("a",)))
    assert "it ran: python" in str(error.value)
    run.start(Config(lr=0.2), free=("lr",))
    Path("runs/x/run.json").write_text("{")
    with pytest.raises(UserError, match="run.json is damaged"):
        run.start(Config(lr=0.1))


def test_resume_elsewhere_says_that_the_bits_may_differ(capsys):
    """Another number of threads adds in another order."""
    steps(started(), 0, 2, save_at=(2,))
    about = json.loads(Path("runs/x/run.json").read_text())
    for threads, told in ((about["threads"], False), (about["threads"] + 7, True), (None, False)):
        kept = about | {"threads": threads} if threads else {k: x for k, x in about.items() if k != "threads"}
        Path("runs/x/run.json").write_text(json.dumps(kept))  # of an older version it does not say
        Run.create("runs/x", "d", resume=True).start(Config())
        said = capsys.readouterr().err
        assert ("not to the last bit" in said and f"threads {threads}, now" in said) == told and (said == "") != told


def test_resume_without_out_takes_the_last_number():
    for _ in range(2):
        run = Run.create(None, "runs/d")
        run.start(Config())
        steps(run, 0, 1, save_at=(1,))
    assert Run.create(None, "runs/d", resume=True).path == Path("runs/d-2")


def test_seconds_add_up_over_a_resume():
    run = started()
    run._clock -= 1000
    run.save(1, {})
    run = Run.create("runs/x", "d", resume=True)
    run.load()
    assert 1000 <= run.seconds() < 1010


# -------------------------------------------------------------------------------------------------- seeds, device, NaN


def test_the_seed_fixes_every_generator():
    import random

    def draw(seed):
        seed_everything(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(3) == draw(3) and all(a != b for a, b in zip(draw(3), draw(4), strict=True))
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match="--seed"):
            seed_everything(seed)


def test_pick_device(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(UserError, match=f"--device {name}: .* finds no"):
            pick_device(name)
    with pytest.raises(UserError, match="not one of"):
        pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", 0) and chosen == [0, 0]
    assert pick_device("cuda:1") == torch.device("cuda", 1) and chosen[2:] == [1]
    with pytest.raises(UserError, match="no cuda:2, only 2"):
        pick_device("cuda:2")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_check_finite_names_step_value_and_records(bad):
    good = torch.randn(3, 4)
    check_finite(5, loss=torch.tensor(1.0), rewards=good, grad_norm=2.0, none=None, count=torch.tensor(3))
    rewards = good.clone()
    rewards[1, 2] = bad
    with pytest.raises(NonFiniteError) as error:
        check_finite(5, records=["a", "the culprit", "c"], loss=torch.tensor(1.0), rewards=rewards)
    text = str(error.value)
    assert "step 5: rewards is" in text and "rows 1" in text and "the culprit" in text and "'a'" not in text
    with pytest.raises(NonFiniteError, match="step 6: loss is .*\nrecords: 'a'; 'b'"):
        check_finite(6, records=["a", "b"], loss=bad)
    assert isinstance(error.value, UserError) and len(text.splitlines()) <= 3


def test_deterministic_algorithms_are_asked_for_and_left_again(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for wanted in (True, False):
        seed_everything(1, wanted)
        assert torch.are_deterministic_algorithms_enabled() == wanted
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


# -------------------------------------------------------------------------------------------------- warnings


@pytest.fixture
def warned(monkeypatch, capsys):
    """Return a function of a series of logged rows that says in which step which warning came."""

    def of(name, rows):
        monkeypatch.setattr(console, "_said", set())
        run = started(name)
        for step, row in enumerate(rows, 1):
            run.log(step, row)
        run.result({})
        return re.findall(r"WARNING: step (\d+): the (loss|KL)", capsys.readouterr().err)

    return of


def test_a_loss_that_jumps_and_a_kl_that_runs_away_are_told_once(warned):
    noise = [1 + 0.3 * math.sin(7 * i) for i in range(60)]
    jump = [*noise, 2.7, 2.8, 2.9, 9, 9, 9]
    assert warned("jump", [{"loss": x} for x in jump]) == [("63", "loss")]
    assert warned("peak", [{"loss": x} for x in [*noise, 500, *noise, 50, 60, *noise]]) == []
    assert warned("short", [{"loss": x} for x in [1.0] * 19 + [9] * 9]) == []  # nothing to compare with yet
    assert warned("other", [{"lr": 1.0}] * 70) == []
    rising = [1.02**i for i in range(100)]
    assert warned("rising", [{"loss": x, "objective/kl": 5 * x} for x in rising]) == []
    assert warned("runaway", [{"objective/kl": x} for x in (0, 1, 3, 8, 8, 9, 49, 51, 90)]) == [("8", "KL")]


# -------------------------------------------------------------------------------------------------- signals


def loop(out, seconds):
    """Start a process (forked: torch is imported already) that trains for ever; return its id and its stderr."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        errors = os.fdopen(read, "rb")
        assert errors.readline() == b"ready\n"
        return pid, errors

    def main(argv):
        run, step = Run(out), 0
        with run.graceful_signals():
            os.write(2, b"ready\n")
            while True:
                time.sleep(seconds)
                step += 1
                if run.stopping:
                    run.save(step, {"n": torch.tensor(step)})
                    run.leave(step)

    try:
        os.dup2(write, 2)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        cli.main(main)
    except SystemExit as end:
        os._exit(end.code)
    finally:
        os._exit(99)


def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("signum, exit_code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(signum, exit_code):
    pid, errors = loop("a", 0.1)
    os.kill(pid, signum)
    assert code(pid) == exit_code
    text = errors.read().decode()
    errors.close()
    assert f"stopped by {signum.name} after step" in text and "--resume --out a" in text
    step, tensors, _ = Run("a").load()
    assert tensors["n"] == step >= 1


def test_a_second_ctrl_c_kills_at_once():
    pid, errors = loop("a", 30)
    os.kill(pid, signal.SIGINT)
    assert b"stopping after this step" in errors.readline() + errors.readline()
    begin = time.monotonic()
    os.kill(pid, signal.SIGINT)
    assert code(pid) == -signal.SIGINT and time.monotonic() - begin < 10  # which a shell shows as 130
    errors.close()


def test_time_is_up_after_a_step_and_a_signal_counts_for_more(capsys):
    for signum, exit_code, why in ((None, 0, "--max_seconds 900"), (signal.SIGTERM, 143, "SIGTERM")):
        run = started(f"timed-{exit_code}")
        run.max_seconds = 900
        run.log(1, loss=1)
        assert not run.stopping
        run._began -= 1000
        with run.graceful_signals():
            if signum:
                os.kill(os.getpid(), signum)
        run.log(2, loss=1)
        assert run.stopping
        with pytest.raises(SystemExit) as end:
            run.leave(2)
        assert end.value.code == exit_code
        said = capsys.readouterr().err
        assert f"stopped by {why} after step 2" in said and f"--resume --out timed-{exit_code}" in said


# -------------------------------------------------------------------------------------------------- two processes


def other(act):
    """Do something in another process (forked, without the locks of this one); return its UserError, or ''."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        folder._locks.clear()  # closes nothing: this process keeps them
        try:
            act()
        except UserError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as found:
        text = found.read()
    os.waitpid(pid, 0)
    return text


def test_a_folder_in_use_is_refused_with_the_process_that_has_it():
    run = started()
    steps(run, 0, 2, save_at=(2,))
    acts = [lambda: Run.create("runs/x", "d", overwrite=True), lambda: Run.create("runs/x", "d", resume=True),
            lambda: Run("runs/x", resumed=True).start(Config())]  # fmt: skip
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    for act in acts:
        said = other(act)
        assert f"runs/x is in use by process {os.getpid()} on " in said and "--out" in said, said
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    assert other(lambda: Run("runs/x", writes=False).start(Config())) == ""  # torchrun's other processes
    Run.create("runs/x", "d", resume=True)  # this process has it
    run.result({})
    assert not (run.path / ".lock").exists()
    assert [other(act) for act in acts[1:]] == ["", ""]


def test_a_lock_dies_with_its_process():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        run = started("killed")
        (run.path / ".result.json.tmp-1").write_text("half of")
        os.write(write, b"x")
        time.sleep(60)
    assert os.read(read, 1) == b"x"
    with pytest.raises(UserError, match=f"in use by process {pid} on"):
        Run.create("killed", "d", overwrite=True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    steps(run := Run("killed"), 0, 1, save_at=(1,))
    Run.create("killed", "d", resume=True)
    assert sorted(p.name for p in run.path.iterdir()) == [".lock", "metrics.jsonl", "run.json", "state"]


def test_what_is_left_of_a_start_is_a_free_folder():
    os.mkdir("killed")
    for name in (".lock", ".run.json.tmp-99"):
        Path("killed", name).write_text("")
    run = Run.create("killed", "d")
    assert os.listdir(run.path) == [".lock"]


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    run = Run("x")
    with run.graceful_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.stopping == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
