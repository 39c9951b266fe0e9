"""A sample of what tests/crash.py does: scripts that are killed, stopped, or out of disk end as if nothing had been."""

import os
import subprocess
import sys
from pathlib import Path


def test_runs_that_are_broken_and_resumed(tmp_path):
    """In a process of its own: it forks, which a process that has run backward passes must not."""
    command = [sys.executable, str(Path(__file__).with_name("crash.py"))]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    for kind in ("SIGKILL in a save", "SIGKILL at random", "SIGTERM, SIGINT", "full disk", "read-only folder"):
        assert kind in said, said
