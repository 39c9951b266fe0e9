"""Several processes: each script takes the same steps, and writes the same files, with 1, 2 and 4 of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch
from stages import lines, result_of, train, weights, write

import sample_bon
import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import dist, stage
from minalign.checkpoint import load_state
from minalign.errors import UserError
from minalign.run import pick_device

SCRIPTS = {"sft": train_sft, "rm": train_rm, "dpo": train_dpo, "ppo": train_ppo, "gfn": train_gfn, "bon": sample_bon}
MORE = {"full": train_sft, "pool": train_rm}  # with other flags
DRIVER = Path(__file__).with_name("processes.py")
ROOT = DRIVER.parent.parent
DIVIDED = {2: ("sft", "rm", "dpo", "ppo", "gfn", "full"), 4: ("ppo", "full")}  # runs with --shard fsdp
COMMON = ["--device=cpu", "--no-plot", "--max_response=8"]
TRAIN = [*COMMON, "--lora_rank=4", "--batch_size=8", "--learning_rate=1e-3", "--warmup_steps=0", "--steps=4",
         "--eval_every=2"]  # fmt: skip


def torchrun(processes: int, jobs: list[dict], folder: Path) -> subprocess.CompletedProcess:
    """Run jobs in several processes, one job after the other."""
    file = folder / f"jobs-{processes}.json"
    file.write_text(json.dumps([{**job, "flags": list(map(str, job["flags"]))} for job in jobs]))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(DRIVER.parent)]), "OMP_NUM_THREADS": "1"}
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", DRIVER, file]
    return subprocess.run([sys.executable, *command], env=env, cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def flags(roomy, tmp_path_factory):
    """Flags of each script, but for --out. 18 records in steps of 8: the last step of an epoch has 2."""
    folder, rows = tmp_path_factory.mktemp("data"), stages.pairs()
    told = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    pairs = ["--data", write(folder / "train.jsonl", rows[:18]), "--eval_data", write(folder / "eval.jsonl", rows[18:])]
    sft = ["--data", write(folder / "sft.jsonl", told[:18]), "--eval_data", write(folder / "sft-eval.jsonl", told[18:])]
    reward = folder / "reward.py"
    reward.write_text("import random\ndef score(prompts, responses):\n"
                      "    return [len(r) / 10 for r in responses]\n"
                      "def noisy(prompts, responses):\n"  # every process has its own numbers, all must use the same
                      "    return [random.SystemRandom().random() for r in responses]\n")  # fmt: skip
    rm, model = folder / "rm", ["--model", roomy]
    train(train_rm, *TRAIN, *model, *pairs, out=rm)
    return {
        "sft": [*TRAIN, *model, *sft, "--micro_batch=2"],
        "rm": [*TRAIN, *model, *pairs],
        "pool": [*TRAIN, *model, *pairs, "--pool=sum"],
        "dpo": [*TRAIN, *model, *pairs],
        "ppo": [*TRAIN, *model, *pairs, "--reward", rm, "--samples_per_prompt=2", "--minibatches=2", "--epochs=1",
                "--eval_samples=2", "--kl_target=1", "--adam_eps=1e-5"],
        "gfn": [*TRAIN, *model, *pairs, f"--reward={reward}:score", "--objective=tb", "--samples_per_prompt=4",
                "--eval_samples=2"],
        "bon": [*COMMON, *model, *pairs[:2], "--n=6", "--rows=24", "--reward", rm, f"{reward}:score", "likelihood"],
        "noisy": [*TRAIN, *model, *pairs, f"--reward={reward}:noisy", "--samples_per_prompt=8", "--advantages=rloo"],
        "full": [*TRAIN, *model, *sft, "--lora_rank=0", "--freeze_layers=0.5"],
        "resumed": [*TRAIN, *model, *pairs, "--samples_per_prompt=2", "--eval_samples=2", "--schedule=constant",
                    "--reward_temperature_steps=0", "--lora_targets", "attn.c_attn", "lm_head"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(flags, roomy, tmp_path_factory):
    """{number of processes: the folder of its runs}; the run `resumed` takes 2 steps in 2 processes, 2 in 1, 2 in 4."""
    top = tmp_path_factory.mktemp("runs")
    folders = {processes: top / str(processes) for processes in (1, 2, 4)}
    for folder in folders.values():
        folder.mkdir()
    scripts = SCRIPTS | MORE

    def jobs(folder, divided=()):
        plain = [(script, flags[name], name) for name, script in scripts.items()]
        plain += [(scripts[name], [*flags[name], "--shard=fsdp"], f"fsdp-{name}") for name in divided]
        return [{"script": s.__name__, "flags": [*some, "--out", folder / name]} for s, some, name in plain]

    def resumed(steps, *more):
        return [*flags["resumed"], f"--steps={steps}", "--out", top / "resumed", *more]

    for job, script in zip(jobs(folders[1]), scripts.values()):
        train(script, *job["flags"])
    train(train_gfn, *flags["resumed"], "--steps=6", out=folders[1] / "resumed")
    two = [{"script": "train_gfn", "flags": resumed(2, "--shard=fsdp")},
           *({"script": "train_sft", "flags": [*flags["sft"], "--dtype=bf16", *more, "--out", folders[2] / name]}
             for name, more in (("bf16", []), ("bf16-fsdp", ["--shard=fsdp", "--checkpoint"]))),
           {"script": "train_ppo", "flags": [*flags["noisy"], "--out", folders[2] / "noisy"]},
           {"script": "train_dpo", "flags": [*flags["dpo"], "--out", folders[2] / "term"], "trouble": "SIGTERM"},
           {"script": "processes", "call": "parts", "flags": [roomy]}]
    said = {2: torchrun(2, jobs(folders[2], DIVIDED[2]) + two, folders[2])}
    train(train_gfn, *resumed(4, "--resume"))
    four = [{"script": "train_gfn", "flags": resumed(6, "--resume", "--shard=fsdp")}]
    said[4] = torchrun(4, jobs(folders[4], DIVIDED[4]) + four, folders[4])
    for processes, done in said.items():
        assert done.returncode == 0, done.stderr[-3000:]
        (folders[processes] / "said").write_text(done.stdout)
    return folders


def close(a, b, rel: float) -> bool:
    """Whether numbers, or lists and objects of numbers, differ by rounding only."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(x, b[key], rel) for key, x in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y, rel) for x, y in zip(a, b))
    return a == (pytest.approx(b, rel=rel, abs=1e-5) if isinstance(b, float) else b)  # sums of 60 nats, in fp32


def check_same(one: Path, other: Path, rel: float = 1e-6) -> None:
    """Two runs have the same files with the same numbers in them; losses agree to `rel`, weights to twice as much:
    where a gradient is nearly zero, Adam makes steps of its rounding."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    # A reward head's first number meets a constant, which cancels: only noise moves it, and the bias makes up for it.
    level = dict.fromkeys(("mean_reward", "min_reward", "max_reward"), 0)
    for file in one.glob("*.jsonl"):
        for a, b in zip(lines(file), lines(other / file.name), strict=True):
            a, b = ({key: level.get(key, x) for key, x in row.items()} for row in (a, b))
            assert close(a, b, rel), (file.name, a, b)
            assert "step" not in a or a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=rel, abs=rel)
    unlike = {"seconds": 0, "peak_memory_mb": 0, "bias": 0}
    assert close(result_of(one) | unlike, result_of(other) | unlike, rel), (result_of(one), result_of(other))
    ours, theirs = weights(one), weights(other)
    for name in ours:
        if name == "head.safetensors weight":
            ours[name][0] = theirs[name][0]
        elif name.endswith("c_attn.bias"):  # that of the keys, which has no gradient either
            ours[name][32:64] = theirs[name][32:64]
        if name != "head.safetensors bias":
            torch.testing.assert_close(ours[name], theirs[name], atol=2 * rel, rtol=0)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("name", [*SCRIPTS, *MORE])
def test_the_number_of_processes_changes_nothing(runs, name, processes):
    check_same(runs[1] / name, runs[processes] / name)


@pytest.mark.parametrize("processes, name", [(n, name) for n, names in DIVIDED.items() for name in names])
def test_divided_weights_change_nothing(runs, processes, name):
    """Every process has a part of the weights and of the optimizer's state; files are those of whole weights."""
    check_same(runs[1] / name, runs[processes] / f"fsdp-{name}", 1e-5)
    saved, whole = (load_state(run)[1] for run in (runs[processes] / f"fsdp-{name}", runs[1] / name))
    assert {key: x.shape for key, x in saved.items()} == {key: x.shape for key, x in whole.items()}


def test_divided_weights_in_half_precision(runs):
    """What is gathered is in bf16 and so are gradients, until they are averaged; parts and their updates are not."""
    a, b = (lines(runs[2] / name / "metrics.jsonl") for name in ("bf16", "bf16-fsdp"))
    assert a[0]["loss"] == pytest.approx(b[0]["loss"], rel=1e-6)  # then gradients are rounded otherwise
    assert [row["loss"] for row in a] == pytest.approx([row["loss"] for row in b], rel=5e-3)
    saved = load_state(runs[2] / "bf16-fsdp")[1]
    assert all(x.dtype == torch.float32 for key, x in saved.items() if key.startswith(("model.", "optimizer.")))
    adapter = next(x for key, x in saved.items() if key.startswith("model.") and ".lora_B." in key)
    assert not torch.equal(adapter.bfloat16().float(), adapter)


def test_a_process_keeps_its_part_of_the_weights(runs, roomy):
    total = sum(p.numel() for p in stage.load_policy(str(roomy))[0].parameters())
    sizes = next(line for line in (runs[2] / "said").read_text().splitlines() if line.startswith("parts "))
    assert all(abs(int(size) / total - 0.5) < 0.01 for size in sizes.split()[1:]), (sizes, total)


def test_a_run_goes_on_with_another_number_of_processes(runs):
    check_same(runs[1] / "resumed", runs[1].parent / "resumed")


def test_one_process_speaks(runs):
    said = [(runs[n] / "said").read_text() for n in (2, 4)]
    assert [text.count("peak\n") for text in said] == [len(SCRIPTS | MORE) + len(DIVIDED[2]) + 4,
                                                       len(SCRIPTS | MORE) + len(DIVIDED[4]) + 1], said  # fmt: skip


def test_all_use_the_same_rewards_of_a_function_that_draws_them(runs):
    """Else advantages would differ, and with them the weights; they are compared before the run of the next script."""
    rows = lines(runs[2] / "noisy" / "metrics.jsonl")
    assert len(rows) == 4 and len({row["objective/scores"] for row in rows}) == 4


def test_a_signal_to_one_process_stops_all_after_the_same_step(runs):
    run = runs[2] / "term"
    assert [row["step"] for row in lines(run / "metrics.jsonl")] == [1, 2, 3] and load_state(run)[0] == 3
    assert "train_dpo left with 143" in (runs[2] / "said").read_text()


@pytest.mark.parametrize("kind, cause", [("SIGKILL", "Signal 9 (SIGKILL)"), ("exception", "third step went wrong")])
def test_a_process_that_dies_takes_the_others_with_it(flags, runs, tmp_path, kind, cause):
    """torchrun says why; the run can be continued, here by one process, as if nothing had happened."""
    job = {"script": "train_sft", "flags": [*flags["sft"], "--save_every=1", "--out", tmp_path / "run"]}
    done = torchrun(2, [job | {"trouble": kind}], tmp_path)
    assert done.returncode != 0 and cause in done.stderr, done.stderr[-3000:]
    assert load_state(tmp_path / "run")[0] == 2
    train(train_sft, *job["flags"], "--resume")
    check_same(runs[1] / "sft", tmp_path / "run")


# ---------------------------------------------------------------------------------------- without other processes


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(dist, "world", lambda: 3)


def test_parts_cover_a_batch_once(three, monkeypatch):
    for b, n in ((7, 2), (3, 1), (2, 1), (1, 5), (2, 4), (1, 1)):
        x, found = torch.arange(b * n), []
        for rank in range(3):
            monkeypatch.setattr(dist, "rank", lambda rank=rank: rank)
            part, prompts, _, rows = dist.split(torch.arange(b), None, x)
            assert len(rows) and rows.tolist() == [p * n + i for p in prompts.tolist() for i in range(n)
                                                   if part.dim == 0 or i in range(n)[part.own]]  # fmt: skip
            found += [] if part.idle else rows.tolist()
        assert sorted(found) == x.tolist(), (b, n)


@pytest.mark.parametrize("settings, words", [
    (dict(batch_size=8), ("--batch_size 8 ", "3 processes", "--batch_size 6 or 9")),
    (dict(batch_size=2), ("--batch_size 3,",)),
    (dict(batch_size=32, samples_per_prompt=4), ("8 prompts of 4 responses", "--batch_size 24 or 36")),
    (dict(batch_size=8, samples_per_prompt=8), ("--batch_size 24,",)),
])  # fmt: skip
def test_a_batch_that_cannot_be_shared(three, settings, words):
    with pytest.raises(UserError) as error:
        dist.check_shares(settings["batch_size"], settings.get("samples_per_prompt", 1))
    assert all(word in str(error.value) for word in words), error.value


def test_batches_that_can(three):
    for batch_size, n in ((9, 1), (24, 4), (9, 9), (12, 6)):
        dist.check_shares(batch_size, n)
    with pytest.raises(UserError, match="3 processes"):
        stage.StageConfig(batch_size=32)


def test_one_process_has_nothing_to_divide():
    with pytest.raises(UserError, match="--shard fsdp .* torchrun"):
        stage.StageConfig(shard="fsdp")


def test_parts_of_weights_and_loss_scaling_do_not_go_together(three):
    with pytest.raises(UserError, match="--shard fsdp: .* --dtype bf16"):
        stage.StageConfig(shard="fsdp", dtype="fp16", batch_size=3)


def test_processes_that_differ_and_one_that_is_lost(monkeypatch):
    dist.check_alike("settings", {"steps": 3})
    monkeypatch.setattr(dist, "gather", lambda value: [value, {"steps": 4}])
    with pytest.raises(UserError, match="different settings"):
        dist.check_alike("settings", {"steps": 3})
    with pytest.raises(UserError, match="a process was lost.*\nConnection closed by peer"), dist._lost():
        raise RuntimeError("Connection closed by peer\nGLHF")


def test_devices_of_several_processes(three, monkeypatch):
    chosen = []
    monkeypatch.setattr(dist, "local_rank", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert pick_device() == pick_device("cuda") == torch.device("cuda", 1) and chosen == [1, 1]
    with pytest.raises(UserError, match="3 processes need as many GPUs"):
        pick_device("cuda:1")
    with pytest.raises(UserError, match="no mps device for several processes"):
        pick_device("mps")
