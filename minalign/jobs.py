"""Scripts, started one after the other or several at a time, as a user would start them.

    run_all([Job(Path("runs/a"), "train_sft", ["--task", "puns"]), Job(Path("runs/b"), "minalign.judge", [...])], 2)

What a job prints goes into FOLDER.log beside its run folder. A finished job is not repeated, one that was cut off is
resumed where its script can do that. Where one fails, or on Ctrl-C and SIGTERM, the others stop cleanly.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from minalign.checkpoint import checkpoints
from minalign.errors import UserError
from minalign.files import disk_errors

ROOT = Path(__file__).resolve().parent.parent  # where the scripts are


@dataclass
class Job:
    """A script, and the folder that it fills; finished where that has a result.json. needs: folders of other jobs."""

    out: Path
    script: str
    flags: list[str]
    needs: tuple[Path, ...] = ()

    def done(self) -> bool:
        return (self.out / "result.json").is_file()

    def begun(self) -> bool:
        """Whether --resume can go on: training from a checkpoint, sampling (not the scoring of samples) anyway."""
        able = self.script == "sample_bon" and "--samples" not in self.flags
        able = able or self.script.startswith("train_") and bool(checkpoints(self.out))
        return able and (self.out / "run.json").is_file()


class Crew:
    """The processes that are running. `stop` asks all to end, and lets none begin after that."""

    def __init__(self):
        self.running: set[subprocess.Popen] = set()
        self.stopped, self._lock = False, threading.Lock()

    def run(self, command: list[str], **how) -> int:
        """Run a command to its end; return its exit code."""
        with self._lock:
            if self.stopped:
                return -signal.SIGTERM
            child = subprocess.Popen(command, **how)
            self.running.add(child)
        code = child.wait()
        self.running.discard(child)
        return code

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for child in self.running.copy():
                child.terminate()  # it saves its state: the next start resumes it


def start(job: Job, crew: Crew, threads: int) -> None:
    """Run one job to its end; its output goes into FOLDER.log. UserError with the log's last lines where it fails."""
    where = ["-m", job.script] if "." in job.script else [str(ROOT / f"{job.script}.py")]
    flags = [*job.flags, "--out", str(job.out), "--resume" if job.begun() else "--overwrite"]
    shown = ["python", *(where if "." in job.script else [f"{job.script}.py"]), *flags]
    print("$", shlex.join(shown), flush=True)
    began, log = time.perf_counter(), job.out.with_name(f"{job.out.name}.log")
    with disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        file = open(log, "ab")
    with file:
        code = crew.run([sys.executable, *where, *flags], stdin=subprocess.DEVNULL, stdout=file,
                        stderr=subprocess.STDOUT, env={"OMP_NUM_THREADS": str(threads)} | os.environ)  # fmt: skip
    if code or not job.done():
        tail = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()][-3:]
        raise UserError(f"{job.script} failed (exit code {code}); what is finished stays, start again to go on. The "
                        f"end of {log}:\n" + "\n".join(line.rpartition("\r")[2][:300] for line in tail))  # fmt: skip
    print(f"  {job.out}: {time.perf_counter() - began:.0f} s", flush=True)


def run_all(jobs: list[Job], at_once: int) -> None:
    """Run what is not finished, `at_once` at a time, each when what it needs is there; raise the first error, once the
    others have stopped. Jobs share the processor's cores; one that all others wait for has them to itself."""
    waiting = [job for job in jobs if not job.done()]
    unfinished, running = {job.out for job in waiting}, set()
    crew, changed, cores = Crew(), threading.Condition(), os.cpu_count() or 1

    def next_job() -> tuple[Job, int] | None:
        with changed:
            while waiting and not crew.stopped:
                ready = [job for job in waiting if unfinished.isdisjoint(job.needs)]
                if ready:
                    threads = max(1, cores // min(at_once, len(ready) + len(running)))
                    waiting.remove(ready[0])
                    running.add(ready[0].out)
                    return ready[0], threads
                changed.wait()
        return None

    def work() -> None:
        try:
            while found := next_job():
                job, threads = found
                start(job, crew, threads)
                with changed:
                    unfinished.discard(job.out)
                    running.discard(job.out)
                    changed.notify_all()
        except BaseException:
            crew.stop()  # here, not below: another thread must not begin one more
            raise
        finally:
            with changed:
                changed.notify_all()

    with ThreadPoolExecutor(at_once) as pool:
        try:
            for future in as_completed([pool.submit(work) for _ in range(min(at_once, len(waiting)))]):
                future.result()
        except BaseException:
            crew.stop()
            with changed:
                changed.notify_all()
            raise
