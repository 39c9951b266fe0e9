"""minalign.compare: equal budgets, numbers by hand, every method on a tiny model, best-of-n against enumeration."""

import importlib
import itertools
import json
import math
import shlex
import subprocess
from pathlib import Path

import pytest
import stages
import torch
from stages import refuses

from minalign import cli, compare
from minalign.compare import Config
from minalign.errors import UserError
from minalign.respond import Response
from minalign.tasks import sentiment


def parsed(script, flags):
    """Return the Config that a script makes of its flags, the task's preset included."""
    module = importlib.import_module(script)
    preset = getattr(module, "preset", None) or (lambda given: module.PRESETS[given.task])
    return cli.parse(module.Config, flags, preset)[0]


def in_this_process(script, out, *flags):
    """Run a script as `compare.start` does, without a process of its own."""
    small = ["--eval_samples=0"] if script == "train_gfn" else ["--eval_examples=8"]
    importlib.import_module(script).main([*flags, "--device=cpu", *small, "--out", str(out)])
    return json.loads((out / "result.json").read_text())


def write_distribution(folder, policy, base, target):
    folder.mkdir(parents=True)
    texts = [str(i) for i in range(len(policy))]
    drawn = {"prompt": "p", "texts": texts, "target": target, "base": base, "policy": policy}
    (folder / "distribution.json").write_text(json.dumps(drawn))
    return {"seconds": 2.0}


# ------------------------------------------------------------------------------------------------------------- rng


@pytest.mark.parametrize("samples", [100_000, 1_000])
def test_every_method_trains_on_as_many_responses(samples):
    runs = compare.rng_runs(Config(samples=samples, beta=0.5, entropy=0.2))
    found = {}
    for name, (script, flags) in runs.items():
        cfg = parsed(script, [*flags, "--seed=3", "--model=nano", "--no-plot", "--out=x", "--overwrite"])
        assert cfg.task == "rng"
        per_step = cfg.batch_size * (2 if script == "train_dpo" else 1)  # a pair is two responses
        passes = 8 if script == "train_sft" else 1
        assert passes * samples - per_step < cfg.steps * per_step <= passes * samples, name
        if script in ("train_sft", "train_dpo"):  # the others have prompts as examples
            assert cfg.examples * (2 if script == "train_dpo" else 1) == samples, name
        found[name] = cfg
    assert [found[name].beta for name in ("PPO, KL", "PPO, no KL", "PPO, entropy")] == [0.5, 0, 0]
    assert [found[name].entropy_coef for name in ("PPO, KL", "PPO, no KL", "PPO, entropy")] == [0, 0, 0.2]
    # The same optimum as PPO's: labels know the reward in units of their noise.
    assert found["DPO"].beta * found["DPO"].label_noise == 0.5


def test_a_distribution_is_described_by_hand():
    row = compare.describe([0.4, 0.2, 0.2], [0.25, 0.25, 0.5], [0.2, 0.2, 0.1])
    assert row["valid_mass"] == pytest.approx(0.8) and row["largest"] == pytest.approx(0.5)
    assert row["entropy"] == pytest.approx(1.5 * math.log(2))  # of 1/2, 1/4, 1/4
    assert row["kl_uniform"] == pytest.approx(sum(math.log(1 / 3 / p) for p in (0.4, 0.2, 0.2)) / 3)
    assert row["tv_optimum"] == pytest.approx(0.25)  # 1/2, 1/4, 1/4 against 1/4, 1/4, 1/2
    assert row["kl_optimum"] == pytest.approx(0.25 * math.log(0.5) + 0.5 * math.log(2))
    assert row["kl_base"] == pytest.approx(0.5 * math.log(0.5 / 0.4) + 0.25 * math.log(0.25 / 0.4)
                                           + 0.25 * math.log(0.25 / 0.2))  # fmt: skip


def test_the_table_of_rng(tmp_path, monkeypatch, capsys):
    """Each method beside its own optimum; of the entropy bonus that is the even distribution."""
    policy, base, target = [0.5, 0.25, 0.25], [0.6, 0.2, 0.1], [0.5, 0.3, 0.2]
    asked = {}

    def started(script, out, *flags):
        asked[out.name] = flags
        return write_distribution(out, policy, base, target)

    monkeypatch.setattr(compare, "start", started)
    compare.main(["--samples=1024", "--seed=7", "--model=some/model", f"--out={tmp_path / 'run'}"])
    assert list(asked) == ["sft", "ppo-kl", "ppo-no-kl", "ppo-entropy", "dpo", "gfn"]
    assert all(flags[flags.index("--seed") + 1] == "7" and "some/model" in flags for flags in asked.values())
    found = json.loads((tmp_path / "run" / "compare.json").read_text())
    assert found["texts"] == ["0", "1", "2"] and list(found["rows"])[0] == "base" and len(found["rows"]) == 7
    assert found["distributions"]["base"] == [base, None]
    assert found["distributions"]["SFT"] == [policy, target]
    assert found["distributions"]["PPO, entropy"] == [policy, [1 / 3] * 3]
    assert found["rows"]["SFT"]["tv_optimum"] == pytest.approx(0.05) and found["rows"]["SFT"]["seconds"] == 2
    assert found["rows"]["PPO, entropy"]["tv_optimum"] == pytest.approx(1 / 6)
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in found["rows"])
    assert (tmp_path / "run" / "compare.png").stat().st_size > 5_000


def test_all_methods_on_a_tiny_model(rng_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "start", in_this_process)
    monkeypatch.setattr(compare.plot, "compare_distributions", lambda out: out)
    compare.main(["--samples=512", f"--model={rng_folder}", f"--out={tmp_path}", "--entropy=0.1"])
    found = json.loads((tmp_path / "compare.json").read_text())
    rows, drawn = found["rows"], found["distributions"]
    assert list(rows) == ["base", "SFT", "PPO, KL", "PPO, no KL", "PPO, entropy", "DPO", "GFN"]
    assert len(found["texts"]) == 101 and all(0 < row["valid_mass"] <= 1 for row in rows.values())
    base = torch.tensor(drawn["base"][0]).double()
    even = torch.full_like(base, 1 / 101)
    # With the same reward for every number, PPO's and DPO's optimum is the base itself given a number; SFT's and the
    # GFN's is the even distribution.
    for name, optimum in (("PPO, KL", base), ("DPO", base), ("SFT", even), ("GFN", even), ("PPO, entropy", even)):
        target = torch.tensor(drawn[name][1]).double()
        torch.testing.assert_close(target / target.sum(), optimum / optimum.sum(), atol=1e-6, rtol=1e-3)
    still = {name for name in rows if drawn[name][0] == drawn["base"][0]}
    assert still <= {"base", "PPO, no KL"}  # every response it drew may have been a number: nothing to prefer


# ------------------------------------------------------------------------------------------------- starting a script


def test_a_run_is_started_as_a_user_would_and_not_repeated(tmp_path, monkeypatch, capsys):
    commands = []

    def process(command, stdout, stderr):
        commands.append(command)
        stdout.write("what the script says\n")
        (tmp_path / "a" / "sft").mkdir(parents=True)
        (tmp_path / "a" / "sft" / "result.json").write_text('{"x": 1}')
        about = {"command": shlex.join(["python", *command[1:]])}
        (tmp_path / "a" / "sft" / "run.json").write_text(json.dumps(about))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(compare.subprocess, "run", process)
    for _ in range(2):
        assert compare.start("train_sft", tmp_path / "a" / "sft", "--task", "rng") == {"x": 1}
    assert len(commands) == 1 and Path(commands[0][1]).samefile(importlib.import_module("train_sft").__file__)
    assert commands[0][2:] == ["--task", "rng", "--out", str(tmp_path / "a" / "sft"), "--overwrite"]
    assert (tmp_path / "a" / "sft.log").read_text() == "what the script says\n"
    assert "$ python train_sft.py --task rng --out" in capsys.readouterr().out


def test_a_script_that_fails_is_shown_with_its_last_lines(tmp_path, monkeypatch):
    def process(command, stdout, stderr):
        stdout.write("one\ntwo\nerror: the disk is full\n")
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(compare.subprocess, "run", process)
    with pytest.raises(UserError) as error:
        compare.start("train_gfn", tmp_path / "gfn")
    said = str(error.value)
    assert "train_gfn.py failed (exit code 2)" in said and "gfn.log" in said and "error: the disk is full" in said


def test_a_run_with_other_settings_is_not_taken_for_the_one_that_is_asked_for(tmp_path, monkeypatch):
    """A finished run counts only if it ran with these flags."""
    started = []

    def process(command, stdout, stderr):
        started.append(command)
        folder = tmp_path / "sft"
        folder.mkdir(exist_ok=True)
        (folder / "result.json").write_text("{}")
        config = {"task": "rng", "steps": int(command[command.index("--steps") + 1])}
        (folder / "run.json").write_text(json.dumps({"config": config, "command": " ".join(command)}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(compare.subprocess, "run", process)
    compare.start("train_sft", tmp_path / "sft", "--task", "rng", "--steps", "10")
    try:
        compare.start("train_sft", tmp_path / "sft", "--task", "rng", "--steps", "1000")
    except UserError as error:  # to say so would do as well
        assert "--out" in str(error)
    else:
        assert len(started) == 2


# ------------------------------------------------------------------------------------------------------------ texts


def test_the_frontier_of_texts(tmp_path, monkeypatch, capsys):
    asked, numbers = {}, itertools.count(1)

    def started(script, out, *flags):
        asked[out.name] = parsed(script, flags) if script != "train_rm" else flags
        out.mkdir(parents=True)
        return {"eval/accuracy": 0.8, "label_ceiling": 0.9, "eval/kl": float(next(numbers)), "eval/gold": 0.5}

    best = [{"method": "best of n by gold", "n": n, "kl": math.log(n) - (n - 1) / n, "gold": 0.6} for n in (1, 2, 4)]
    monkeypatch.setattr(compare, "start", started)
    monkeypatch.setattr(compare, "best_of_n", lambda cfg, out: best)
    compare.main(["--task=sentiment", "--samples=6400", f"--out={tmp_path / 'run'}"])
    points = json.loads((tmp_path / "run" / "compare.json").read_text())["points"]
    methods = [point["method"] for point in points]
    assert {m: methods.count(m) for m in methods} == {"PPO, RM": 5, "PPO, gold": 5, "DPO": 5, "best of n by gold": 3}
    ppo, dpo = [cfg for n, cfg in asked.items() if "ppo" in n], [cfg for n, cfg in asked.items() if "dpo" in n]
    assert all(cfg.steps * cfg.batch_size == 6400 for cfg in ppo)
    assert all(cfg.steps * cfg.batch_size * 2 == 6400 for cfg in dpo)
    assert len({(cfg.beta, cfg.reward) for cfg in ppo}) == 10 and len({cfg.beta for cfg in dpo}) == 5
    rm = str(tmp_path / "run" / "rm")
    assert {cfg.reward for cfg in ppo} == {"gold", rm}
    assert {cfg.data for cfg in dpo} == {(str(tmp_path / "run" / "rm" / "preferences.jsonl"),)}
    assert "held-out accuracy 0.800, label ceiling 0.900" in capsys.readouterr().out
    assert (tmp_path / "run" / "frontier.png").stat().st_size > 5_000


def test_best_of_n_is_the_mean_over_all_choices_of_n(tmp_path, monkeypatch):
    """Against every subset of four responses to a prompt; and the analytic KL."""
    texts = {prompt: [" " + "x" * (k * k + p) for k in (2, 0, 3, 1)] for p, prompt in enumerate(("a", "b"))}
    monkeypatch.setattr(sentiment, "prompts", lambda split, n, seed: list(texts)[:n])
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: len(response) / 10)
    monkeypatch.setattr(compare, "respond", lambda *args, **named: [
        [Response((1,), text, True) for text in answers] for answers in texts.values()])  # fmt: skip
    model = stages.write_tiny(tmp_path / "tiny")
    reward = {text: -abs(len(text) - 4.3) for answers in texts.values() for text in answers}  # no two of a prompt tie
    monkeypatch.setattr(compare, "from_run", lambda folder, shared, base: lambda asked, told: [reward[t] for t in told])
    found = compare.best_of_n(Config(task="sentiment", model=str(model)), tmp_path, n_max=4, prompts=2)
    assert [point["n"] for point in found] == [1, 2, 4] * 2
    for point in found:
        n, by = point["n"], len if point["method"] == "best of n by gold" else reward.get
        best = [len(max(chosen, key=by)) / 10 for answers in texts.values()
                for chosen in itertools.combinations(answers, n)]  # fmt: skip
        assert point["gold"] == pytest.approx(sum(best) / len(best))
        assert point["kl"] == pytest.approx(math.log(n) - (n - 1) / n)


def test_bad_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = {"--task=puns": "--task: 'puns' is not one of rng", "--samples=10": "--samples: expected",
           "--beta=0": "--beta: expected", "--sample=9": "Did you mean --samples?"}  # fmt: skip
    for flag, words in bad.items():
        assert words in refuses(compare, flag)
    assert not list(tmp_path.iterdir())
