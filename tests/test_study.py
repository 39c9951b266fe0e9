"""minalign.study: numbers by hand, refusals, what is repeated and what is not, processes, and every script on a tiny
model; minalign.jobs."""

import dataclasses
import functools
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import stages
import torch
from stages import refuses

from minalign import bon, hub, jobs, metrics, study, study_report
from minalign.errors import UserError
from minalign.jobs import Job, run_all
from minalign.model import GPT2
from minalign.study_table import agreement, bon_kl, combine, estimate, minus, win_rate
from minalign.tokenizer import Tokenizer

SMALL = ["--inputs=2", "--samples=2", "--bon_n=2", "--jobs=1"]


# ------------------------------------------------------------------------------------------------------- arithmetic


def test_intervals_of_differences_and_means():
    """MOVER by hand; of symmetric intervals it is the square root of the sum of squares."""
    assert minus((1.0, 0.7, 1.3), (0.5, 0.1, 0.9)) == pytest.approx((0.5, 0.0, 1.0))
    a, b = (0.5, 0.4, 0.8), (0.2, 0.16, 0.24)
    assert minus(a, b) == pytest.approx((0.3, 0.3 - math.hypot(0.1, 0.04), 0.3 + math.hypot(0.3, 0.04)))
    assert combine([0.5, 0.5], [a, b]) == pytest.approx(
        (0.35, 0.35 - math.hypot(0.1, 0.04) / 2, 0.35 + math.hypot(0.3, 0.04) / 2)
    )
    assert minus(a, (0.1, None, None)) == (0.4, None, None)
    # Half a chance that both draws are the same of two inputs: the interval is from the one to the other.
    assert estimate([0.2, 0.6]) == pytest.approx((0.4, 0.2, 0.6))
    assert estimate([0.2]) == (0.2, None, None)


def test_kl_of_best_of_n():
    """Two rewards, best of 2: 3/4 against 1/2; all alike: nothing; all different: the bound, as samples grow."""
    assert bon_kl([0.0] * 4 + [1.0] * 4, 2) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert bon_kl([0.3] * 9, 16) == pytest.approx(0)
    found = [bon_kl([float(i) for i in range(m)], 16) for m in (256, 4096)]
    assert found[0] < found[1] < bon.kl_bound(16) and bon.kl_bound(16) - found[1] < 0.01


def test_win_rates_and_agreement():
    assert win_rate([0.3, 0.4], [0.2, 0.4]) == 2.5 / 4  # all pairs; a tie counts half
    assert win_rate([0.3, 0.4, 0.1], [0.3]) == 0.5  # all against the only one
    assert agreement([1.0, 2.0, 3.0], [0.1, 0.3, 0.2]) == pytest.approx(2 / 3)
    assert agreement([1.0, 1.0], [0.1, 0.3]) == 0.5 and agreement([1.0, 2.0], [0.3, 0.3]) is None


def test_verdicts_need_the_interval_and_all_seeds():
    def entry(low, high, *seeds):
        return {"mean": (sum(seeds) / len(seeds), low, high), "seeds": list(seeds)}

    assert study_report.sign(entry(0.1, 0.3, 0.2, 0.2)) == 1
    assert study_report.sign(entry(-0.3, -0.1, -0.2)) == -1
    assert study_report.sign(entry(-0.1, 0.3, 0.1, 0.1)) == 0, "the interval has 0 in it"
    assert study_report.sign(entry(0.1, 0.3, 0.5, -0.1)) == 0, "the seeds disagree"
    assert study_report.sign(entry(None, None, 0.2)) == 0, "one number without an interval"
    assert study_report.sign(entry(None, None, 0.2, 0.1)) == 1
    way = [{"kl": k, "proxy": k, "gold": g, "gold_se": 0.01} for k, g in ((0.0, 0.2), (1.0, 0.5), (4.0, 0.3))]
    assert "over-optimised: gold falls by 0.200" in study_report.fall(way)
    assert "does not fall" in study_report.fall(way[:2])
    way[2]["gold_se"] = 0.2
    assert "does not fall" in study_report.fall(way), "that is within the noise"


# ------------------------------------------------------------------------------------- a study of made-up numbers

# gold scores of two samples of each of two inputs
GOLD = {"sft": [[0.2, 0.4], [0.6, 0.6]], "ppo": [[0.3, 0.4], [0.5, 0.7]], "dpo": [[0.1, 0.1], [0.1, 0.1]],
        "gfn": [[0.4, 0.6], [0.8, 0.8]], "bon-pool": [[0.1, 0.9, 0.5, 0.2], [0.3, 0.4, 0.8, 0.7]]}  # fmt: skip
RM = {"bon-pool": [[1.0, 3.0, 2.0, 0.0], [5.0, 4.0, 1.0, 1.0]]}  # picks 0.9 and 0.5; 0.3 and, the first of equals, 0.8
REFERENCE = [0.3, 0.6]
OUT = 0.1  # out of distribution all gold scores are lower by that much


def value_of(flags, name, default=None):
    return flags[flags.index(name) + 1] if name in flags else default


def write_training(job, seed):
    beta = float(value_of(job.flags, "--beta", 0.1))
    (job.out / "run.json").write_text(json.dumps({"config": {"examples": 40, "beta": beta}}))
    row = {"eval/kl": 0.0, "eval/score": 0.0, "eval/gold": 0.3, "eval/gold_se": 0.01, "eval/score_se": 0.1}
    later = [row | {"step": s, "eval/kl": s, "eval/score": s, "eval/gold": g} for s, g in ((1, 0.6), (4, 0.4))]
    stages.write(job.out / "metrics.jsonl", [{"step": 0}, *later])
    accuracy = {"eval/accuracy": 0.8, "eval/accuracy_low": 0.7, "eval/accuracy_high": 0.9}
    return {f"base_{key}": x for key, x in row.items()} | accuracy


def write_samples(job, seed):
    name = job.out.name
    if "--samples" in job.flags:
        rows = stages.lines(value_of(job.flags, "--samples"))
        rows = [row | {"scores": {"rm": 1.0, "gold": float(row["response"])}} for row in rows]
    else:
        kind, rows, n = name.partition("-beta")[0], [], int(value_of(job.flags, "--n"))
        shift = 0.05 * (seed - 1) if kind == "ppo" else 0  # its second seed is better
        for split in value_of(job.flags, "--split").split(","):
            for i, golds in enumerate(GOLD[kind]):
                assert len(golds) == n
                for k, gold in enumerate(golds):
                    gold = gold + shift - (OUT if split != "test" else 0)
                    rm = RM[kind][i][k] if kind in RM else 10 * gold
                    scores = {"rm": rm, "likelihood": -12.0, "rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5, "gold": gold}
                    rows.append({"prompt": f"{split} {i}", "response": "Yes, it is." + " Yes." * k, "stopped": k == 0,
                                 "scores": scores, "split": split, "id": i, "logprob": -10.0,
                                 "reference": str(REFERENCE[i] - (OUT if split != "test" else 0))})  # fmt: skip
        curve = {s: {"mean": [0.1 * j for j in range(n)], "se": [0.01] * n} for s in ("rm", "gold")}
        (job.out / "best_of_n.json").write_text(json.dumps({
            "n": list(range(1, n + 1)), "kl_bound": [bon.kl_bound(j) for j in range(1, n + 1)],
            "splits": {"test": curve}}))  # fmt: skip
    stages.write(job.out / "samples.jsonl", rows)
    return {}


def write_diversity(job, seed):
    found, inputs = {}, []
    for path in job.flags[: job.flags.index("--responses")]:
        rows = stages.lines(path)
        name, splits = path.split(os.sep)[-2], list(dict.fromkeys(row["split"] for row in rows))
        x = {"sft": 0.9, "ppo": 0.3, "ppo-beta0.2": 0.6}.get(name, 0.5)
        for split in splits:
            key, step = f"{name} {split}" if len(splits) > 1 else name, 0.01 if name == "sft" else -0.01
            found[key] = {"metrics": dict.fromkeys(("ead", "embedding"), {"across_input": x})}
            inputs += [{"file": key, "prompt": f"{split} {i}", "ead": x + (step, -step)[i], "embedding": x}
                       for i in range(2)]  # fmt: skip
    (job.out / "run.json").write_text(json.dumps({"config": {"files": job.flags[: job.flags.index("--responses")]}}))
    (job.out / "diversity.json").write_text(json.dumps({"files": found}))
    stages.write(job.out / "per_input.jsonl", inputs)
    return {}


class Fake:
    """In the place of `jobs.start`: writes what a script would, counts, and fails at one folder."""

    def __init__(self, root):
        self.root, self.started, self.flags, self.fails, self.draws = root, [], {}, None, False

    def __call__(self, job, children, threads):
        name = str(job.out.relative_to(self.root / "s"))
        self.started.append(name)
        self.flags[name] = job.flags
        if name == self.fails:
            raise UserError("no memory")
        job.out.mkdir(parents=True, exist_ok=True)
        seed = int(job.out.relative_to(self.root / "s").parts[2].removeprefix("seed"))
        write = {"sample_bon": write_samples, "diversity": write_diversity}.get(job.script, write_training)
        (job.out / "result.json").write_text(json.dumps(write(job, seed) | {"seconds": 60}))

    def run(self, *flags):
        """Run the study; return its rows, and what was started in this run."""
        before = len(self.started)
        study.main([*SMALL, "--out", str(self.root / "s"), *flags])
        return json.loads((self.root / "s" / "study.json").read_text()), self.started[before:]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    found, draw = Fake(tmp_path), study.study_figures.draw
    monkeypatch.setattr(jobs, "start", found)
    monkeypatch.setattr(study.study_figures, "draw", lambda folder: draw(folder) if found.draws else [])
    monkeypatch.setattr(metrics, "bootstrap", functools.partial(metrics.bootstrap, n=100))
    return found


def test_numbers_by_hand(fake):
    fake.draws = True
    found, _ = fake.run()
    test, ood = (found["rows"][0]["splits"][split] for split in ("test", "ood_test"))
    gold = {name: of["gold"]["mean"] for name, of in test.items()}
    assert gold["sft"] == pytest.approx([0.45, 0.3, 0.6]) and gold["ppo"] == pytest.approx([0.475, 0.35, 0.6])
    assert gold["bon"] == pytest.approx([(0.9 + 0.5 + 0.3 + 0.8) / 4, 0.55, 0.7]), "the best of each group by the RM"
    assert gold["references"] == pytest.approx([0.45, 0.3, 0.6])
    assert test["ppo"]["win_sft"]["mean"] == pytest.approx([0.5625, 0.5, 0.625])
    assert test["ppo"]["win_references"]["mean"] == pytest.approx([0.625, 0.5, 0.75])
    assert test["sft"]["win_references"]["mean"] == pytest.approx([0.5, 0.5, 0.5]) and "win_sft" not in test["sft"]
    assert test["ppo"]["kl"]["mean"] == pytest.approx([2, 2, 2]) and test["sft"]["kl"]["mean"] == [0, None, None]
    kls = [bon_kl(rewards, 2) for rewards in RM["bon-pool"]]
    assert test["bon"]["kl"]["mean"] == pytest.approx([sum(kls) / 2, *sorted(kls)])
    assert test["ppo"]["words"]["mean"][0] == 3.5 and test["ppo"]["stopped"]["mean"][0] == 0.5
    assert ood["ppo"]["gold"]["mean"][0] == pytest.approx(0.375)
    assert ood["ppo"]["per_input/ead"]["mean"] == pytest.approx([0.3, 0.29, 0.31])
    gap = found["rows"][0]["gaps"]["ood_test"]["ppo"]["gold"]["mean"]
    assert gap == pytest.approx([0.1, 0.1 - math.hypot(0.125, 0.125), 0.1 + math.hypot(0.125, 0.125)])
    assert "ood_test" in found["splits"] and "ppo-beta0.2" in test and "ppo-beta0.2" not in ood
    result = stages.result_of(fake.root / "s")
    assert result["nano/f1/test/ppo/gold"] == pytest.approx(0.475)

    text = (fake.root / "s" / "study.md").read_text()
    assert "| PPO | 0.475 [0.350, 0.600] | 4.75 [3.50, 6.00] | 0.625 [0.500, 0.750] | 0.562 [0.500, 0.625] |" in text
    assert "| ead per input: PPO < SFT (test) | -0.600 [-0.620, -0.580] | agrees |" in text
    # 0.35 - 0.3 and 0.6 - 0.6: differences are those of each input, which both methods answer.
    assert "| gold: PPO > SFT (test) | 0.025 [0.000, 0.050] | not separated |" in text
    assert "| gold: best of n > PPO (test) | 0.150 [-0.050, 0.350] | not separated |" in text
    like = next(line for line in text.splitlines() if "PPO like SFT (ood_test)" in line)
    assert like.endswith("| not separated |"), "an interval with 0 in it is no proof that two are alike"
    # From 0.02 (0.5) to 0.2 (0.6) of 0.9: a quarter of what was lost.
    assert "- PPO, beta 0.02 to 0.2: the gold score does not change beyond noise (0.000 [0.000, 0.000]); ead per " \
        "input rises (0.100 [0.100, 0.100]), 25% of what the smaller coefficient had lost" in text  # fmt: skip
    assert "nano, seed 1, PPO: over-optimised: gold falls by 0.200 (more than the noise, 0.028) from its best, 0.600 " \
        "at KL 1.000, to KL 4.00" in text  # fmt: skip
    assert {"study.png", "overoptimisation.png"} <= stages.inside(fake.root / "s")


def test_seeds_fractions_and_models_are_more_of_the_same(fake):
    _, first = fake.run("--betas=none", "--methods=ppo,bon")
    assert len(first) == len(set(first)) == 8 and first[:2] == ["nano/f1/seed1/sft", "nano/f1/seed1/rm"], first
    fake.draws = True
    found, more = fake.run("--betas=none", "--methods=ppo,bon", "--seeds=1,2", "--data_fraction=0.1,1")
    assert len(set(more)) == len(more) == 3 * 8 and not set(first) & set(more)
    assert more.index("nano/f1/seed2/sft") < more.index("nano/f0.1/seed2/sft"), "shares are of what the whole took"
    for name in ("sft", "rm"):
        assert value_of(fake.flags[f"nano/f0.1/seed2/{name}"], "--examples") == "4"
        assert value_of(fake.flags[f"nano/f1/seed2/{name}"], "--examples") is None
    whole = found["rows"][0]
    assert [(row["fraction"], row["seeds"]) for row in found["rows"]] == [(1, [1, 2]), (0.1, [1, 2])]
    ppo = whole["splits"]["test"]["ppo"]
    assert ppo["gold"]["seeds"] == pytest.approx([0.475, 0.525]) and ppo["gold"]["mean"][0] == pytest.approx(0.5)
    text = (fake.root / "s" / "study.md").read_text()
    assert "| test, PPO | 0.475; 0.525 |" in text and (fake.root / "s" / "data_fraction.png").exists()
    assert "0.300 (0.300 to 0.300)" in text, "across inputs there is one number a seed, and their range"
    fake.draws = False
    # A new method needs its own runs, and diversity once more: it compares all files.
    _, added = fake.run("--betas=none", "--methods=ppo,bon,gfn", "--seeds=1")
    assert added == [f"nano/f1/seed1/{name}" for name in ("gfn", "eval/gfn", "eval/diversity")]


def test_what_is_finished_is_not_repeated(fake):
    fake.fails = "nano/f1/seed1/eval/dpo"
    with pytest.raises(UserError, match="no memory"):
        fake.run("--betas=none")
    before, fake.fails = list(fake.started), None
    _, after = fake.run("--betas=none")
    assert before[-1] == after[0] == "nano/f1/seed1/eval/dpo" and not set(before[:-1]) & set(after)
    assert fake.run("--betas=none")[1] == []


def test_another_study_is_refused_and_shown(fake, tmp_path):
    fake.run("--betas=none", "--methods=ppo")
    said = refuses(study, *SMALL, "--out", tmp_path / "s", "--samples=3", '--ppo_flags=--steps 2')
    assert '--samples: 3, there 2' in said and '--ppo_flags: "--steps 2", there ""' in said and "--inputs" not in said
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    assert "no study" in refuses(study, "--out", tmp_path / "other")
    assert "1 among them" in refuses(study, "--data_fraction=0.5")
    assert "--sft_data and --rm_data" in refuses(study, "--sft_data=x.jsonl")
    assert "same folder" in refuses(study, "--models=a/gpt2,b/gpt2")


def test_a_mistake_in_flags_can_be_mended(fake):
    """Until a run that has used them is finished: a typing error in the last stage's flags does not lose a study."""
    fake.fails = "nano/f1/seed1/ppo"
    with pytest.raises(UserError, match="no memory"):
        fake.run("--betas=none", "--methods=ppo", "--ppo_flags=--stepz 2")
    fake.fails = None
    said = refuses(study, *SMALL, "--out", fake.root / "s", "--betas=none", "--methods=ppo", "--sft_flags=--steps 2")
    assert "--sft_flags" in said and "--ppo_flags" not in said
    _, after = fake.run("--betas=none", "--methods=ppo", "--ppo_flags=--steps 2")
    assert after[0] == "nano/f1/seed1/ppo" and "nano/f1/seed1/sft" not in after


def test_flags_are_handed_on(fake):
    fake.run("--betas=0.5", "--methods=ppo", "--flags", "--lora_rank 4", "--ppo_flags", "--steps 9 --beta 3",
             "--eval_flags", "--top_p 1", "--max_response=20")  # fmt: skip
    for name in ("sft", "rm", "ppo"):
        flags = fake.flags[f"nano/f1/seed1/{name}"]
        assert value_of(flags, "--lora_rank") == "4" and ("--steps" in flags) == (name == "ppo")
    for name, flags in fake.flags.items():
        if not name.endswith(("references", "diversity")):
            assert value_of(flags, "--temperature") == "1" and value_of(flags, "--max_response") == "20", name
    swept = fake.flags["nano/f1/seed1/ppo-beta0.5"]
    assert swept[-2:] == ["--beta", "0.5"] and value_of(swept, "--steps") == "9"
    sft, run = str(fake.root / "s" / "nano" / "f1" / "seed1" / "sft"), fake.flags["nano/f1/seed1/ppo"]
    assert value_of(run, "--init") == sft and value_of(run, "--reward") == sft.replace("sft", "rm")


# ------------------------------------------------------------------------------------------------------- processes

SCRIPT = """
import json, os, pathlib, signal, sys, time
out, kind = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]), sys.argv[1]
def stop(*_):
    (out / "stopped").write_text("x")
    sys.exit(143)
out.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, stop)
print(kind, sys.argv[-1], os.environ["OMP_NUM_THREADS"])
(out / "began").write_text("x")
if kind == "bad":
    while not (out.parent / "slow" / "began").exists():
        time.sleep(0.01)
    sys.exit("error: the disk is full")
if kind == "slow":
    time.sleep(60)
if kind == "first":
    while not (out.parent / "third" / "began").exists():
        time.sleep(0.01)
if kind == "second" and not (out.parent / "first" / "result.json").exists():
    sys.exit("error: it came too early")
(out / "result.json").write_text("{}")
"""


def test_a_failure_stops_the_others_cleanly(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "train_x.py").write_text(SCRIPT)
    todo = [Job(tmp_path / "runs" / kind, "train_x", [kind]) for kind in ("good", "slow", "bad", "never")]
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        run_all(todo, 2)
    assert time.perf_counter() - began < 30, "it did not wait for the slow one"
    runs = tmp_path / "runs"
    assert str(error.value).splitlines() == [
        f"train_x failed (exit code 1); what is finished stays, start again to go on. The end of {runs / 'bad.log'}:",
        "bad --overwrite 7", "error: the disk is full"]  # fmt: skip
    assert (runs / "good" / "result.json").exists() and (runs / "slow" / "stopped").exists()
    assert not (runs / "never").exists() and (runs / "good.log").read_text() == "good --overwrite 7\n"
    todo[0].flags = ["bad"]
    run_all(todo[:1], 1)  # it is finished, and not started again


def test_a_job_that_all_others_wait_for_has_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "train_x.py").write_text(SCRIPT)
    runs = tmp_path / "runs"
    run_all([Job(runs / "good", "train_x", ["good"]), Job(runs / "first", "train_x", ["first"], (runs / "good",)),
             Job(runs / "third", "train_x", ["third"], (runs / "good",))], 2)  # fmt: skip
    threads = {name: (runs / f"{name}.log").read_text().split()[-1] for name in ("good", "first", "third")}
    assert threads == {"good": "4", "first": "2", "third": "2"}


@pytest.mark.parametrize("at_once", [2, 3])
def test_a_job_waits_for_what_it_needs_and_others_do_not(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    (tmp_path / "train_x.py").write_text(SCRIPT)
    runs = tmp_path / "runs"
    needs = {"second": (runs / "first",), "fourth": (runs / "first", runs / "elsewhere")}
    todo = [Job(runs / kind, "train_x", [kind], needs.get(kind, ())) for kind in ("first", "second", "third", "fourth")]
    run_all(todo, at_once)  # the first one waits for the third
    assert all(job.done() for job in todo)


def test_ctrl_c_ends_the_children(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    (tmp_path / "train_x.py").write_text(SCRIPT)

    def interrupt():
        while not (tmp_path / "runs" / "slow" / "began").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_all([Job(tmp_path / "runs" / "slow", "train_x", ["slow"])], 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "runs" / "slow" / "stopped").exists()


def test_what_can_be_resumed(tmp_path):
    sampling, scoring = Job(tmp_path, "sample_bon", []), Job(tmp_path, "sample_bon", ["--samples", "x"])
    training, measuring = Job(tmp_path, "train_ppo", []), Job(tmp_path, "diversity", [])
    assert not any(job.begun() for job in (sampling, scoring, training, measuring))
    (tmp_path / "run.json").write_text("{}")
    assert sampling.begun() and not (scoring.begun() or training.begun() or measuring.begun())


# ------------------------------------------------------------------------------------------------ the real scripts


@pytest.fixture
def in_this_process(monkeypatch):
    """Run the scripts here: a process each would take longer than what it does."""

    def run_here(todo, at_once):
        for job in todo:
            importlib.import_module(job.script).main([*job.flags, "--device=cpu", "--out", str(job.out)])

    monkeypatch.setattr(study, "run_all", run_here)
    # Figures, drawn above, and a thousand resamples take longer than all else.
    monkeypatch.setattr(study.study_figures, "draw", lambda folder: [])
    monkeypatch.setattr(metrics, "bootstrap", functools.partial(metrics.bootstrap, n=100))


@pytest.fixture(scope="module")
def long(tiny, tmp_path_factory):
    """The folder of the tiny model with 512 positions, which posts need, that says letters and seldom stops."""
    small, tokenizer = hub.from_pretrained(str(tiny)), Tokenizer.from_folder(tiny)
    model, weights = GPT2(dataclasses.replace(small.config, n_positions=512)), small.state_dict()
    weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"].repeat(6, 1)[:512]
    told = torch.tensor([tokenizer.token_bytes(i).isalpha() for i in range(tokenizer.n_vocab)])
    told[tokenizer.eot] = True
    weights["transformer.wte.weight"][:, 0] = torch.where(told, 0, -5.0)  # by the dimension that is constant
    model.load_state_dict(weights)
    folder = tmp_path_factory.mktemp("models") / "long"
    hub.save_pretrained(model, folder)
    tokenizer.save(folder)
    return folder


TRAINING = ["--flags=--lora_rank 4 --batch_size 8 --steps 1 --no-plot --eval_every 1", "--rm_flags=--eval_examples 8 "
            "--normalise 8 --examples 16 --also none", "--sft_flags=--examples 16 --eval_examples 8 --samples 2",
            "--ppo_flags=--examples 8 --eval_examples 2", "--dpo_flags=--samples 2",
            "--gfn_flags=--examples 8 --eval_examples 2 --probes 0",
            "--diversity_flags=--metrics ead"]  # fmt: skip


def test_every_script_takes_the_flags(long, tmp_path, in_this_process):
    study.main([*SMALL, f"--models={long}", "--out", str(tmp_path / "s"), "--betas=none",
                "--max_response=8", *TRAINING, "--judge", f"--judge {write_judge(tmp_path)}"])  # fmt: skip
    found = json.loads((tmp_path / "s" / "study.json").read_text())
    of = found["rows"][0]["splits"]["test"]
    assert set(of) == {"references", "sft", "ppo", "dpo", "gfn", "bon"}
    for name in ("ppo", "dpo", "gfn", "bon"):
        assert {"gold", "rm", "kl", "win_sft", "win_references", "rougeL", "win_judge", "per_input/ead",
                "across_input/ead"} <= set(of[name]), name  # fmt: skip
    assert of["references"]["gold"]["mean"][0] > 0.8 > of["sft"]["gold"]["mean"][0]
    at = tmp_path / "s" / "long" / "f1" / "seed1" / "eval"
    prompts = [[row["prompt"] for row in stages.lines(at / name / "samples.jsonl")] for name in ("sft", "gfn", "bon")]
    assert prompts[0] == prompts[1] == prompts[2] and len(prompts[0]) == 3 * 2 * 2


def write_judge(folder):
    (folder / "my.py").write_text("def f(prompts, responses):\n    return [len(r) for r in responses]\n")
    return f"{folder / 'my.py'}:f"


def test_comparisons_that_are_held_out_are_what_accuracy_is_of(tiny, tmp_path):
    """OpenAI's batches say which are; the reward model learns from the others, and all seeds are asked about these."""
    post = {"id": "t3_1", "subreddit": "tifu", "post": "I lost my key."}
    rows = [{"info": post | {"title": f"Key {i}"}, "summaries": [{"text": f"key {i}"}, {"text": f"no key {i}"}],
             "choice": 0, "split": part, "batch": "batch9"} for i, part in enumerate(("train", "train", "valid1"))]
    path = stages.write(tmp_path / "batch.json", rows)
    sft = stages.write(tmp_path / "sft.jsonl", [{"prompt": f"{i}", "completion": " yes"} for i in range(4)])
    cfg = study.Config(models=(str(tiny),), sft_data=(str(sft),), rm_data=(f"tldr-comparisons:{path}",),
                       eval_data=(str(sft),), out=str(tmp_path / "s"))  # fmt: skip
    study.prepare(cfg)
    assert [len(stages.lines(tmp_path / "s" / "data" / f"{name}.jsonl")) for name in ("rm", "rm_test")] == [2, 1]
    for fraction in (1, 0.5):
        flags = study.training(cfg, study.Cell(tmp_path / "s", str(tiny), fraction, 1), "rm").flags
        assert value_of(flags, "--eval_data") == str(tmp_path / "s" / "data" / "rm_test.jsonl")
    assert "--eval_data" not in study.training(cfg, study.Cell(tmp_path / "s", str(tiny), 1, 1), "sft").flags


def test_own_data(tiny, tmp_path, in_this_process):
    """Without a gold score another reward judges; the inputs out of distribution are a file of their own."""
    rows = stages.pairs(24)
    pairs = stages.write(tmp_path / "pairs.jsonl", rows)
    told = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    sft, ood = stages.write(tmp_path / "sft.jsonl", told[:20]), stages.write(tmp_path / "ood.jsonl", told[20:])
    study.main([*SMALL, f"--models={tiny}", "--out", str(tmp_path / "s"), f"--sft_data={sft}", f"--rm_data={pairs}",
                f"--eval_data={sft}", f"--ood_data={ood}", f"--eval_reward={write_judge(tmp_path)}", "--betas=none",
                "--methods=ppo", "--max_response=8", "--diversity_flags=--metrics ead",
                "--flags=--lora_rank 4 --batch_size 8 --steps 1 --no-plot --eval_fraction 0.5",
                "--rm_flags=--normalise 8"])  # fmt: skip
    found = json.loads((tmp_path / "s" / "study.json").read_text())
    assert found["gold"] == "my.py:f" and found["splits"] == ["test", "ood_test"]
    half = study.Config(sft_data=(str(sft),), rm_data=(str(pairs),), out=str(tmp_path / "s"))
    told = study.share(half, study.Cell(tmp_path, str(tiny), 0.5, 1), "sft")
    kept = stages.lines(told[1])
    assert told[0] == "--data" and len(kept) == 10 and all(row in stages.lines(sft) for row in kept)
    at = tmp_path / "s" / tiny.name / "f1" / "seed1" / "eval" / "sft" / "samples.jsonl"
    lengths = [len(row["response"]) for row in stages.lines(at) if row["split"] == "ood_test"]
    of = found["rows"][0]["splits"]["ood_test"]["sft"]
    assert of["gold"]["mean"][0] == pytest.approx(sum(lengths) / len(lengths))


def test_the_command(tmp_path):
    """As a user types it: a mistake, without a traceback."""
    done = subprocess.run([sys.executable, "-m", "minalign.study", "--out", str(tmp_path / "x"), "--method", "ppo"],
                          capture_output=True, text=True, cwd=jobs.ROOT)  # fmt: skip
    assert done.returncode == 2 and done.stderr.endswith("unknown flag --method\nDid you mean --methods?\n")
    assert not (tmp_path / "x").exists()
