"""Break each training script and resume it: it must end, byte for byte, as if nothing had happened.

    python tests/crash.py                  a few faults of each kind, about a minute
    python tests/crash.py --all            13 SIGKILLs a script, half of them at a chosen point of a save; SIGTERM,
                                           SIGINT, a full disk at every write of a save, a read-only folder
    python tests/crash.py --all sft gfn    of these scripts only

Every run is a process of its own, forked from this one, which has only imported the scripts. There the functions that
touch the disk are wrapped (the product has no hooks for this): each call is up to three events, before (`<`), half done
(`/`, a write that is cut) and after (`>`), numbered from 1. A fault is an event's number, and what happens there.
"""

import atexit
import builtins
import contextlib
import errno
import functools
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import stages  # noqa: E402

import train_dpo  # noqa: E402
import train_gfn  # noqa: E402
import train_ppo  # noqa: E402
import train_rm  # noqa: E402
import train_sft  # noqa: E402
from minalign import checkpoint, cli, files, optim, run, stage  # noqa: E402
from minalign.encoders import sentence_encoder  # noqa: E402

SCRIPTS = {"sft": train_sft, "rm": train_rm, "dpo": train_dpo, "ppo": train_ppo, "gfn": train_gfn}
MORE = {
    "sft": ["--samples=4", "--lora_dropout=0.2"],
    "rm": ["--normalise=4", "--lora_dropout=0.2"],
    "dpo": ["--samples=4", "--keep_best=eval/loss"],
    "ppo": ["--samples_per_prompt=2", "--epochs=2", "--eval_examples=4", "--eval_samples=2", "--kl_target=0.01"],
    "gfn": ["--objective=vargrad", "--samples_per_prompt=4", "--replayed=0.25", "--eval_examples=2", "--probes=2",
            "--eval_samples=2"],
}  # fmt: skip
STEPS = 6
POINTS = ("open>", "write/", "fsync<", "rename<", "rename>", "remove<")  # of a save, where SIGKILL comes
FULL = ("open<", "write<", "write/", "fsync<", "rename<", "mkdir<", "append<")  # what a full disk refuses
CALLS = {"open": "open", "fsync": "fsync", "rename": "rename", "replace": "rename", "mkdir": "mkdir",
         "unlink": "remove", "rmdir": "remove"}  # fmt: skip


# ---------------------------------------------------------------- in the child


class Events:
    """Counts what the process does to the disk, and does something else at one of the events."""

    def __init__(self, at: int = 0, act=lambda: None, names: tuple[str, ...] = ()):
        """act: what happens at event number `at`; or with at = -1 at each event whose name is in `names`."""
        self.seen, self.at, self.act, self.names = [], at, act, names
        self.saves, self.inside = 1, False  # the number of the save to come; whether it has come

    def event(self, name: str) -> None:
        self.seen.append(f"{name} {self.saves if self.inside else 0}")
        if len(self.seen) == self.at or self.at < 0 and name in self.names:
            self.act()

    def around(self, name: str, call):
        def wrapped(*args, **kwargs):
            counts = name != "open" or args[1] & os.O_CREAT  # else it is opened to be read, or synced
            if counts:
                self.event(f"{name}<")
            found = call(*args, **kwargs)
            if counts:
                self.event(f"{name}>")
            return found

        return wrapped

    def write(self, name: str, call, file, data) -> int:
        """Write in two halves, each of which reaches the file."""
        data = bytes(data)
        self.event(f"{name}<")
        call(data[: len(data) // 2])
        file.flush()
        self.event(f"{name}/")
        call(data[len(data) // 2 :])
        self.event(f"{name}>")
        return len(data)

    def append(self, path, mode="r", *args, **kwargs):
        file = builtins.open(path, mode, *args, **kwargs)
        if "a" in mode:
            events, call = self, file.write
            return Appended(file, lambda data: events.write("append", call, file, data))
        return file

    def save(self, call, last: bool):
        def wrapped(*args, **kwargs):
            self.inside = True
            try:
                return call(*args, **kwargs)
            finally:
                self.inside, self.saves = False, self.saves + last

        return wrapped

    def install(self) -> None:
        for name, kind in CALLS.items():
            setattr(os, name, self.around(kind, getattr(os, name)))
        write = files._Sum.write

        def halves(out, data):
            return self.write("write", lambda part: write(out, part), out.file, data)

        files._Sum.write = halves
        run.open = self.append
        stage.save_policy, run.Run.save = self.save(stage.save_policy, False), self.save(run.Run.save, True)


class Appended:
    """A log that is open, with another `write`."""

    def __init__(self, file: io.BufferedWriter, write):
        self.file, self.write = file, write

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(code: int) -> None:
    raise OSError(code, os.strerror(code))


def start(script, flags: list[str], log: Path, events: Events | None = None) -> int:
    """Start a script in a process of its own, what it prints goes into `log`; return the process' number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(fd, 1), os.dup2(fd, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)
        sys.argv = [script.__file__, *flags]
        if events:
            events.install()
        try:
            cli.main(script.main)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        if events and not events.at:
            log.with_suffix(".events").write_text("\n".join(events.seen))
        sys.stdout.flush()
        atexit._run_exitfuncs()
    finally:
        os._exit(code)


def end(pid: int) -> int:
    """Wait for a process; return its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---------------------------------------------------------------- what must be the same


def contents(folder: Path) -> dict:
    """Return what a run has come to, without its times."""
    found: dict = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    config = json.loads(found.pop("run.json"))["config"]
    found["config"] = {key: value for key, value in config.items() if key not in ("out", "resume", "overwrite")}
    found["result.json"] = json.loads(found["result.json"]) | {"seconds": 0, "peak_memory_mb": 0}
    saved = checkpoint.checkpoints(folder)
    found["states"] = len(saved), saved[-1][0]  # which one is before the last, a stop decides
    found["state"] = (saved[-1][1] / "state.safetensors").read_bytes()
    found["left over"] = [str(path) for path in folder.rglob("*") if ".tmp" in path.name or path.name == ".lock"]
    return found


def differences(whole: dict, found: dict) -> list[str]:
    """Return the names of what differs; also where the log has not each step just once."""
    steps = [json.loads(line)["step"] for line in found["metrics.jsonl"].splitlines()]
    names = [name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)]
    return names + ["the steps of the log"] * (steps != list(range(1, STEPS + 1))) + found["left over"]


class Case:
    """A script, its flags, and what an uninterrupted run comes to."""

    def __init__(self, name: str, folder: Path, files: list[Path]):
        model, train, held, reward = files
        self.name, self.folder, self.script, self.numbers = name, folder, SCRIPTS[name], itertools.count(1)
        self.flags = ["--model", model, *stages.OWN, "--data", train, "--eval_data", held, f"--steps={STEPS}",
                      "--save_every=2", "--eval_every=3", *MORE[name]]  # fmt: skip
        self.flags += ["--reward", f"{reward}:odd"] if name in ("ppo", "gfn") else []
        self.log = folder / "log"
        began = time.perf_counter()
        assert self.go(folder / "whole", Events()) == 0, self.log.read_text()
        self.seconds = time.perf_counter() - began
        self.events = self.log.with_suffix(".events").read_text().split("\n")
        self.whole = contents(folder / "whole")
        assert not differences(self.whole, self.whole), differences(self.whole, self.whole)

    def begin(self, out: Path, events: Events | None = None) -> int:
        """Start or resume the run in `out`, as a user would."""
        more = ["--resume"] if checkpoint.checkpoints(out) else ["--overwrite"] * (out / "run.json").exists()
        return start(self.script, [*map(str, self.flags), "--out", str(out), *more], self.log, events)

    def go(self, out: Path, events: Events | None = None) -> int:
        return end(self.begin(out, events))

    def at(self, name: str, saves=range(1, 4)) -> list[int]:
        """Return the numbers of the events with this name, in these saves; in save 0 all that are in none."""
        wanted = {f"{name} {save}" for save in saves}
        return [number for number, seen in enumerate(self.events, 1) if seen in wanted]

    def new(self) -> Path:
        return self.folder / f"run{next(self.numbers)}"

    def resumed(self, out: Path) -> str:
        """Run to the end; return what is wrong with the result, '' if nothing is."""
        code = self.go(out)
        if code:
            return f"resumed with exit code {code}: {self.log.read_text()[-600:]}"
        wrong = differences(self.whole, contents(out))
        shutil.rmtree(out)
        return f"{', '.join(wrong)} differ" if wrong else ""

    # ---- faults; each returns what went wrong, '' if nothing did

    def killed_at(self, number: int) -> str:
        out = self.new()
        code = self.go(out, Events(number, kill))
        return f"exit code {code}, not SIGKILL" if code != -signal.SIGKILL else self.resumed(out)

    def killed_after(self, seconds: float) -> str:
        """Kill it after a time; then, for what is left of the time, the process that resumes it, and so on."""
        out, kills = self.new(), 0
        while not kills or seconds > 0.1 * self.seconds:
            pid = self.begin(out)
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
            kills += end(pid) == -signal.SIGKILL
            seconds *= 0.6
        return self.resumed(out)

    def signalled(self, signum: int, number: int) -> str:
        """Send a signal at an event; it must end the step, save and end."""
        out = self.new()
        code = self.go(out, Events(number, lambda: os.kill(os.getpid(), signum)))
        if code != 128 + signum:
            return f"exit code {code}, not {128 + signum}: {self.log.read_text()[-600:]}"
        if "continue with the same flags and --resume" not in self.log.read_text():
            return "it does not say how to go on"
        last = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()][-1]
        return f"step {last} was not saved" * (checkpoint.load_state(out)[0] != last) or self.resumed(out)

    def disk_full(self, number: int, resume: bool) -> str:
        """Let the disk be full from an event of the second save on; there is a state, and the message is short."""
        out = self.new()
        events = Events(number, names=FULL)

        def full():
            events.at = -1  # from now on; what is there can still be deleted
            refuse(errno.ENOSPC)

        events.act = full
        code = self.go(out, events)
        wrong = self.refused(code, "the disk is full")
        with contextlib.redirect_stderr(io.StringIO()) as said:
            wrong = wrong or "the state of step 2 is lost" * (checkpoint.load_state(out)[0] not in (2, 4))
        wrong = wrong or said.getvalue()
        if not wrong and [path for path in (out / "state").glob(".tmp*")]:
            wrong = "half a state is left"
        return wrong or (self.resumed(out) if resume else "")

    def read_only(self) -> str:
        """Let nothing be written from the start."""
        out = self.new()
        events = Events(-1, lambda: refuse(errno.EROFS), ("open<", "mkdir<", "rename<", "append<"))
        return self.refused(self.go(out, events), "read-only") or "it made the folder" * out.exists()

    def refused(self, code: int, words: str) -> str:
        said = self.log.read_text()
        message = said[said.rfind("error: "):].strip()
        good = code == 2 and "error: " in said and len(message.splitlines()) <= 3 and words in message
        return "" if good and "Traceback" not in said else f"exit code {code}: {said[-900:]}"


# ---------------------------------------------------------------- the command


def world(folder: Path) -> list[Path]:
    """Write a model, records and a reward; return their paths."""
    rows = stages.pairs()
    reward = folder / "reward.py"
    reward.write_text("def odd(prompts, responses):\n    return [float(len(r) % 2) for r in responses]\n")
    held = stages.write(folder / "held.jsonl", rows[16:20])
    return [stages.write_tiny(folder / "tiny"), stages.write(folder / "train.jsonl", rows[:16]), held, reward]


def faults(case: Case, whole: bool, rng: random.Random):
    """Yield (kind, what, how to do it)."""
    points = {name: case.at(name) for name in POINTS}
    assert all(points.values()), {name: len(found) for name, found in points.items()}
    for name in POINTS if whole else rng.sample(POINTS, 2):
        number = rng.choice(points[name])
        yield "SIGKILL in a save", f"{name} {number}", lambda number=number: case.killed_at(number)
    for _ in range(len(POINTS) if whole else 1):
        seconds = rng.uniform(0.05, 1) * case.seconds
        yield "SIGKILL at random", f"after {seconds:.2f} s", lambda seconds=seconds: case.killed_after(seconds)
    torn = case.at("append/", [0])
    for number in [rng.choice(torn)] if whole else []:
        yield "SIGKILL in a line of the log", str(number), lambda number=number: case.killed_at(number)
    for signum in (signal.SIGTERM, signal.SIGINT) if whole else [rng.choice([signal.SIGTERM, signal.SIGINT])]:
        number = rng.randrange(case.at("fsync<", [1])[0], case.at("fsync<", [2])[-1])  # in steps 2 to 4
        yield "SIGTERM, SIGINT", f"{signum.name} {number}", lambda s=signum, n=number: case.signalled(s, n)
    writes = [number for name in FULL for number in case.at(name, [2])]
    chosen = sorted(writes) if whole else rng.sample(writes, 1)
    for i, number in enumerate(chosen):
        resume = not whole or i % 6 == 0
        yield "full disk", f"event {number}", lambda number=number, resume=resume: case.disk_full(number, resume)
    if whole or case.name == "sft":
        yield "read-only folder", "", case.read_only


def main(argv: list[str]) -> int:
    torch.set_num_threads(1)
    whole, names = "--all" in argv, [name for name in argv if name in SCRIPTS] or list(SCRIPTS)
    rng, counts, failures = random.Random(1), {}, []
    train_gfn.sentence_encoder = functools.cache(sentence_encoder)  # once, before the forks
    train_gfn.sentence_encoder("nano", torch.device("cpu"))
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.zeros(1)
    optim.AdamW([p], 1e-3).step()  # what it imports, too; but no backward pass: its threads do not survive a fork
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp())  # no TemporaryDirectory: the first child to end would delete it
    try:
        paths = world(folder)
        for name in names:
            (folder / name).mkdir()
            case = Case(name, folder / name, paths)
            print(f"{name}: {case.seconds:.1f} s uninterrupted, {len(case.events)} events", flush=True)
            for kind, what, act in faults(case, whole, rng):
                wrong = act()
                good, n = counts.get(kind, (0, 0))
                counts[kind] = good + (not wrong), n + 1
                if wrong:
                    failures.append(f"{name}, {kind}, {what}: {wrong}")
                    print("FAILED", failures[-1], flush=True)
    finally:
        shutil.rmtree(folder)
    for kind, (good, n) in counts.items():
        print(f"{kind:30} {good} of {n}")
    print(f"{time.perf_counter() - began:.0f} s")
    return bool(failures)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
