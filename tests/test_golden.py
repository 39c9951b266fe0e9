"""Golden trajectories: twenty updates of each script on nano are what they were when golden/ was written.

A change that is meant to be neutral must pass; one that is meant to change training makes the files anew (golden/
make_trajectories.py) and shows curves. With the instruction sets of other CPUs (torch's, MKL's and oneDNN's AVX-512,
AVX2 and SSE4 code) the trajectories differ by 5e-6 of a metric's largest value and by 2e-6 of a weight at most,
and a loss that is 1 % off by more than 1e-3 within four updates.
"""

import json
import math

import pytest
from safetensors.torch import load_file
from trajectories import RECORDS, ROLLOUTS, SCRIPTS, STEPS, TRAJECTORIES, Replay, drift, run

from minalign import losses

METRIC, WEIGHT = 1e-4, 3e-5  # allowed, see `drift`


@pytest.fixture(scope="module")
def golden():
    assert sum(path.stat().st_size for path in (RECORDS, ROLLOUTS, TRAJECTORIES)) < 300_000
    return json.loads(TRAJECTORIES.read_text())


def replay(name, folder, monkeypatch, until=STEPS):
    recorded = load_file(ROLLOUTS)
    sampler = Replay(recorded, name)
    found = run(name, folder, sampler, monkeypatch.setattr, until)
    assert until < STEPS or sampler.calls == len({key for key in recorded if key.startswith(name)}) // 3
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_twenty_updates_are_what_they_were(golden, tmp_path, monkeypatch, name):
    found = replay(name, tmp_path, monkeypatch)
    off = drift(golden[name], found)
    assert all(x <= (WEIGHT if key == "weights" else METRIC) for key, x in off.items()), off


def test_the_files_are_of_runs_that_learn(golden):
    """What is known without running anything: DPO begins at ln 2, a GFlowNet at T = 1 at its optimum, losses fall."""
    loss = {name: golden[name]["metrics"].get("loss") for name in SCRIPTS}
    assert loss["dpo"][0] == pytest.approx(math.log(2), abs=1e-6) and loss["gfn"][0] < 1e-6
    assert golden["ppo"]["metrics"]["objective/kl"][0] == pytest.approx(0, abs=1e-5)
    for name in ("sft", "rm", "dpo"):
        assert sum(loss[name][-5:]) < 0.9 * sum(loss[name][:5]), name
    assert all(len(values) == STEPS for name in SCRIPTS for values in golden[name]["metrics"].values())


def wrong(name, **change):
    """Return a function of `losses` with some arguments changed, {position: function of the argument}."""
    right = getattr(losses, name)

    def function(*args, **kwargs):
        return right(*(change.get(f"at{i}", lambda x: x)(x) for i, x in enumerate(args)), **kwargs)

    return function


MUTANTS = {
    "sft: the count 1 % off": ("sft", "masked_mean", {"at2": lambda count: 1.01 * count}),
    "rm: a margin of 0.02": ("rm", "pairwise", {"at2": lambda margin: margin + 0.02}),
    "dpo: beta 1 % off": ("dpo", "dpo", {"at4": lambda beta: 1.01 * beta}),
    "dpo: chosen and rejected of the reference swapped": ("dpo", "dpo", {"at2": lambda ref: ref.flip(0)}),
    "ppo: a wider clip": ("ppo", "ppo_policy", {"at3": lambda clip: 1.5 * clip}),
    "ppo: lambda 1 % off": ("ppo", "gae", {"at4": lambda lam: 1.01 * lam}),
    "gfn: VarGrad 1 % off": ("gfn", "vargrad", {"at0": lambda ends: 1.005 * ends}),
    "gfn: one state too few": ("gfn", "subtb", {"at1": lambda mask: mask & (mask.cumsum(1) > 1)}),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_wrong_loss_is_seen(golden, tmp_path, monkeypatch, what):
    name, function, change = MUTANTS[what]
    monkeypatch.setattr(losses, function, wrong(function, **change))
    off = drift(golden[name], replay(name, tmp_path, monkeypatch, until=4))
    assert max(off.values()) > 10 * METRIC, off
