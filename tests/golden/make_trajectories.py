"""Write records.jsonl, rollouts.safetensors and trajectories.json: twenty updates of each script. See trajectories.py.

    python tests/golden/make_trajectories.py               # after a change that is meant to change the numbers
    python tests/golden/make_trajectories.py --compare     # writes nothing; says how far this machine is from the files

Make them anew only where the change is meant to show in training, and show curves with it (CONTRIBUTING.md). The
records stay as they are where there are some.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trajectories import RECORDS, ROLLOUTS, SCRIPTS, TRAJECTORIES, Recorder, Replay, drift, run

from minalign.tasks import sentiment


def records(n: int = 36) -> list[dict]:
    """Return pairs of nano's world: how a text goes on, and how another one does."""
    found = [(r.prompt, r.responses[0].split(". ")[0].rstrip(".") + ".") for r in sentiment.completions("train", n, 1)]
    return [{"prompt": prompt, "completion": own, "chosen": own, "rejected": found[i - 1][1]}
            for i, (prompt, own) in enumerate(found)]  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)  # as in the tests
    comparing = "--compare" in sys.argv
    if not RECORDS.exists():
        RECORDS.write_text("".join(json.dumps(row) + "\n" for row in records()))
    recorded = load_file(ROLLOUTS) if comparing else {}
    golden = json.loads(TRAJECTORIES.read_text()) if comparing else {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in SCRIPTS:
            found[name] = run(name, Path(folder), (Replay if comparing else Recorder)(recorded, name), setattr)
    if comparing:
        for name in SCRIPTS:
            print(name, {key: f"{x:.1e}" for key, x in drift(golden[name], found[name]).items()})
        return
    save_file(recorded, ROLLOUTS)
    ROLLOUTS.chmod(0o644)
    rounded = json.loads(json.dumps(found), parse_float=lambda x: float(f"{float(x):.7g}"))
    TRAJECTORIES.write_text(json.dumps(rounded, indent=0) + "\n")


if __name__ == "__main__":
    main()
