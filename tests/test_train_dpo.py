"""train_dpo.py as its user sees it: every loss by hand, chains, exact optima, its files, resume, errors."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
import stages
import torch
from stages import ALIKE, OWN, lines, logprobs, refuses, result_of, train, write

import train_dpo
import train_sft
from minalign import cli, hub
from minalign.stage import load_policy
from minalign.tasks import grammar, sentiment
from minalign.tokenizer import Tokenizer

TRL = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"}


@pytest.fixture(scope="module")
def own(tiny, files):
    return ["--model", tiny, *OWN, "--samples=4", "--data", files[0], "--eval_data", files[1]]


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    """A run of 20 steps with everything switched on."""
    return train(train_dpo, *own, "--plot", "--steps=20", "--eval_every=10", "--save_every=10",
                 out=tmp_path_factory.mktemp("runs") / "dpo")  # fmt: skip


@pytest.fixture(scope="module")
def sft(tiny, files, tmp_path_factory):
    """An earlier stage."""
    return train(train_sft, "--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--steps=5",
                 out=tmp_path_factory.mktemp("runs") / "sft")  # fmt: skip


def sums(model, rows):
    """Return the summed log-probs of (chosen, rejected) of each row and their lengths, (n, 2) both, by plain passes."""
    tokenizer = Tokenizer.from_folder(hub.NANO)
    found = [[logprobs(model, tokenizer.encode(row["prompt"]), tokenizer.encode(row[key]) + [tokenizer.eot])
              for key in ("chosen", "rejected")] for row in rows]  # fmt: skip
    return (torch.tensor([[x.sum() for x in pair] for pair in found]).double(),
            torch.tensor([[len(x) for x in pair] for pair in found]).double())  # fmt: skip


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_run_folder_is_complete(finished):
    assert stages.inside(finished) == {
        "run.json", "metrics.jsonl", "result.json", "samples.jsonl", "predictions.jsonl", "adapter_config.json",
        "adapter_model.safetensors", "curves.png"}  # fmt: skip
    about = json.loads((finished / "run.json").read_text())
    assert about["config"].keys() == {f.name for f in dataclasses.fields(train_dpo.Config)}
    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all(TRL | {"loss", "grad_norm", "lr", "epoch"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "eval/loss" in row] == [10, 20]
    after = {f"eval/{key}" for key in (*TRL, "loss", "kl", "loglik", "loglik_max", "loglik_token", "length",
                                       "stop_rate", "distinct")}  # fmt: skip
    result = result_of(finished)
    assert result.keys() == after | {f"base_{key}" for key in after} | {"steps", "seconds", "peak_memory_mb"}
    samples = lines(finished / "samples.jsonl")
    assert len(samples) == 16 and all(row["step"] == 20 for row in samples)  # four to each of four prompts
    assert all(row.keys() == {"prompt", "response", "step", "stopped", "scores"} for row in samples)
    assert (finished / "curves.png").stat().st_size > 5_000


def test_it_learns_which_one_is_preferred(finished):
    """Also of prompts that it has not seen; with the sign wrong the accuracy would be 0."""
    result = result_of(finished)
    assert result["eval/rewards/accuracies"] == 1 and result["eval/loss"] < 0.4
    assert result["eval/rewards/chosen"] > result["eval/rewards/rejected"] + 1
    margin = result["eval/rewards/chosen"] - result["eval/rewards/rejected"]
    assert result["eval/rewards/margins"] == pytest.approx(margin, abs=1e-5)
    assert result["base_eval/kl"] == 0 < result["eval/kl"]


@pytest.mark.parametrize("flags, loss", [
    ([], lambda h, own, beta: math.log(1 + math.exp(-beta * h))),
    (["--label_smoothing=0.2"], lambda h, own, beta: 0.8 * math.log(1 + math.exp(-beta * h))
     + 0.2 * math.log(1 + math.exp(beta * h))),
    (["--reference_free", "--beta=0.3"], lambda h, own, beta: math.log(1 + math.exp(-0.3 * own))),
    (["--loss=ipo", "--beta=0.5"], lambda h, own, beta: (h - 1) ** 2),
    (["--loss=simpo", "--beta=2", "--simpo_gamma=0.7"], lambda h, own, beta: math.log(1 + math.exp(0.7 - 2 * own))),
], ids=["dpo", "cdpo", "reference-free", "ipo", "simpo"])  # fmt: skip
def test_every_loss_by_hand(tiny, own, files, tmp_path, flags, loss):
    """From log-probs by plain passes of the policy and of the base on disk: sums, or averages for ipo and simpo."""
    run, rows = train(train_dpo, *own, "--steps=2", *flags, out=tmp_path / "run"), lines(files[1])
    policy, lengths = sums(load_policy("nano", str(run))[0], rows)
    ref, _ = sums(hub.from_pretrained(str(tiny)), rows)
    mean = "--loss=ipo" in flags or "--loss=simpo" in flags
    policy, ref = (x / lengths if mean else x for x in (policy, ref))

    def expected(policy):
        margins = (policy - ref)[:, 0] - (policy - ref)[:, 1], policy[:, 0] - policy[:, 1]
        return sum(loss(h, x, 0.1) for h, x in zip(*(m.tolist() for m in margins))) / len(rows)

    result = result_of(run)
    assert result["eval/loss"] == pytest.approx(expected(policy), rel=1e-4)
    assert result["base_eval/loss"] == pytest.approx(expected(ref), rel=1e-4)
    assert result["eval/loss"] < result["base_eval/loss"]


@pytest.mark.parametrize("start", ["base", "sft"])
def test_rewards_are_measured_from_the_reference(own, tiny, sft, files, tmp_path, start):
    """beta (log p - log p_ref), of an earlier stage's result where there is one; and at step 0 the loss is ln 2."""
    init = ["--init", sft] if start == "sft" else []
    run, rows = train(train_dpo, *own, *init, "--steps=3", out=tmp_path / "run"), lines(files[1])
    first, result = lines(run / "metrics.jsonl")[0], result_of(run)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6) and result["base_eval/kl"] == 0
    assert result["base_eval/loss"] == pytest.approx(math.log(2), abs=1e-6)
    policy = load_policy("nano", str(run))[0]
    ref = load_policy("nano", str(sft))[0] if start == "sft" else hub.from_pretrained(str(tiny))
    implied = 0.1 * (sums(policy, rows)[0] - sums(ref, rows)[0])
    found = [row["rewards"] for row in lines(run / "predictions.jsonl")]
    torch.testing.assert_close(torch.tensor(found).double(), implied, atol=1e-5, rtol=1e-3)
    share = sum(a > b for a, b in found) / len(found)
    assert result["eval/rewards/accuracies"] == share
    assert result["eval/logps/chosen"] == pytest.approx(sums(policy, rows)[0][:, 0].mean().item(), abs=1e-3)


# ---------------------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("targets", [[], ["--lora_targets=attn.c_attn,lm_head"]])
def test_peft_loads_the_end_of_a_chain_on_the_original_base(tiny, own, sft, tmp_path, targets):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    run = train(train_dpo, *own, "--init", sft, "--steps=3", *targets, out=tmp_path / "run")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    tokens = torch.randint(0, 2000, (2, 12))
    with torch.no_grad():
        plain = base(tokens).logits
        loaded = peft.PeftModel.from_pretrained(base, str(run)).eval()(tokens).logits
        model = load_policy("nano", str(run))[0].eval()
        mine = model.lm_head(model(tokens))
    assert (mine - loaded).abs().max() < 1e-5 < 1e-2 < (mine - plain).abs().max()


def test_evaluating_a_run_reproduces_its_numbers(finished, files, tmp_path):
    """Against the base that it was trained from, whose name is in its folder; --model need not repeat it."""
    flags = ["--data", files[0], "--eval_data", files[1], "--max_response=8", "--samples=4"]
    run = train(train_dpo, *ALIKE, *flags, "--eval_only", "--init", finished, out=tmp_path / "eval")
    assert stages.inside(run) == {"run.json", "result.json", "predictions.jsonl", "samples.jsonl"}
    old, new = result_of(finished), result_of(run)
    assert new["steps"] == 0
    for key in (*TRL, "loss"):
        assert new[f"eval/{key}"] == pytest.approx(old[f"eval/{key}"], abs=1e-4), key
    for a, b in zip(lines(finished / "predictions.jsonl"), lines(run / "predictions.jsonl"), strict=True):
        assert a["prompt"] == b["prompt"] and a["rewards"] == pytest.approx(b["rewards"], abs=1e-3)


# ----------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("task", ["sentiment", "descriptiveness", "puns", "summarize"])
def test_a_text_task(roomy, tmp_path, task):
    few = ["--examples=12", "--eval_examples=8", "--batch_size=6", "--samples=3"]
    run = train(train_dpo, "--model", roomy, *ALIKE, "--task", task, "--steps=2", *few, out=tmp_path / task)
    result, samples = result_of(run), lines(run / "samples.jsonl")
    assert len(samples) == 12 and all(0 <= row["scores"]["gold"] <= 1 for row in samples)
    mean = sum(row["scores"]["gold"] for row in samples) / 12
    assert result["eval/gold"] == pytest.approx(mean, abs=1e-6) and "base_eval/gold" in result


def test_labels_may_come_from_elsewhere(tiny, own, files, tmp_path, monkeypatch):
    """--task with --data: the pairs are the file's, the gold score of the samples is the task's."""
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: 0.25)
    run = train(train_dpo, *own, "--task=sentiment", "--steps=1", out=tmp_path / "run")
    assert {row["prompt"] for row in lines(run / "predictions.jsonl")} == {row["prompt"] for row in lines(files[1])}
    assert result_of(run)["eval/gold"] == 0.25


def optimum(drawn, reward, beta):
    """Return p* of the listed strings given a valid one: p_ref exp(r / beta), from distribution.json."""
    p = torch.tensor(drawn["base"]).double() * torch.tensor([math.exp(reward(t) / beta) for t in drawn["texts"]])
    return p / p.sum()


def test_rng_comes_near_its_exact_optimum(rng_folder, tmp_path):
    lam = 20
    flags = ["--model", rng_folder, *ALIKE, "--task=rng", "--target=poisson:lam=20", "--beta=0.5", "--label_noise=1",
             "--steps=60", "--examples=2000", "--eval_examples=50", "--samples=1"]  # fmt: skip
    run = train(train_dpo, *flags, "--plot", "--learning_rate=1e-2", out=tmp_path / "rng")
    result, drawn = result_of(run), json.loads((run / "distribution.json").read_text())

    def log_pmf(text):
        return int(text) * math.log(lam) - lam - math.lgamma(int(text) + 1)

    target, policy = optimum(drawn, log_pmf, 0.5), torch.tensor(drawn["policy"]).double()
    shown = torch.tensor(drawn["target"]).double()
    torch.testing.assert_close(shown / shown.sum(), target, atol=1e-6, rtol=1e-3)
    tv = (target - policy / policy.sum()).abs().sum().item() / 2
    assert result["exact/tv_valid"] == pytest.approx(tv, abs=1e-5)
    assert tv < 0.5 * result["base_exact/tv_valid"] and result["base_exact/tv_valid"] > 0.5
    assert {"exact/kl_target_policy", "exact/kl_policy_target", "exact/tv", "exact/valid_mass"} <= result.keys()
    assert (run / "distribution.png").stat().st_size > 5_000


def test_grammar_has_its_optimum_too(tiny, tmp_path, monkeypatch):
    for name, slots in (("WHO", {"Mira": 5, "Tom": 4}), ("ANIMALS", {"dog": 4}), ("THINGS", {"key": 1}),
                        ("SIZES", {"": 3}), ("PLACES", {"": 4, "at the market": 2}), ("FEELINGS", {"": 3, "happy": 1})):
        monkeypatch.setattr(grammar, name, slots)  # fmt: skip
    grammar.sentences.cache_clear()
    try:
        flags = ["--model", tiny, *ALIKE, "--task=grammar", "--beta=2", "--label_noise=0.5", "--grammar_reward=happy"]
        run = train(train_dpo, *flags, "--steps=2", "--batch_size=8", "--examples=16", "--eval_examples=8",
                    "--samples=1", out=tmp_path / "run")  # fmt: skip
    finally:
        grammar.sentences.cache_clear()
    drawn = json.loads((run / "distribution.json").read_text())
    assert len(drawn["texts"]) == 48
    # With beta times noise = 1 a happy sentence is worth a factor of e, and what is none exp(-2).
    worth = torch.tensor([math.e if "happy" in text else 1 for text in drawn["texts"]])
    expected = torch.tensor(drawn["base"]).double() * worth
    expected /= expected.sum() + (1 - sum(drawn["base"])) * math.exp(-2)
    torch.testing.assert_close(torch.tensor(drawn["target"]).double(), expected, atol=1e-9, rtol=1e-3)
    assert {"exact/tv_valid", "base_exact/tv_valid"} <= result_of(run).keys()


# -------------------------------------------------------------------------------------------------------- own data


def test_comparisons_of_more_than_two_are_taken_apart(tiny, tmp_path, capsys):
    data = write(tmp_path / "mixed.jsonl", [
        {"prompt": "Tom", "completions": [" a", " b", " c", " b"], "best": 1},  # two others, which differ
        {"prompt": "Anna", "ranking": [" a", " b", " c"]},
        {"prompt": "Mira", "chosen": " a", "rejected": ""},
        {"prompt": [40, 41], "chosen": [42], "rejected": [43, 44]},
    ])  # fmt: skip
    run = train(train_dpo, "--model", tiny, *OWN, "--data", data, "--eval_data", data, "--steps=1", "--samples=2",
                out=tmp_path / "run")  # fmt: skip
    assert "7 records; " in capsys.readouterr().out
    said = [(row["prompt"], row["chosen"], row["rejected"]) for row in lines(run / "predictions.jsonl")]
    assert said == [("Tom", " b", " a"), ("Tom", " b", " c"), ("Anna", " a", " b"), ("Anna", " a", " c"),
                    ("Anna", " b", " c"), ("Mira", " a", ""), ([40, 41], [42], [43, 44])]  # fmt: skip


def test_a_prompt_beyond_the_context_keeps_its_end_and_is_counted(tiny, tmp_path, capsys):
    rows = stages.pairs(6)
    rows[0]["prompt"] = "hat " * 200 + "the end"
    data = write(tmp_path / "long.jsonl", rows)
    run = train(train_dpo, "--model", tiny, *OWN, "--data", data, "--eval_data", data, "--steps=1", "--samples=6",
                out=tmp_path / "run")  # fmt: skip
    assert "1 prompts cut to their last 88 tokens" in capsys.readouterr().out
    assert any(row["prompt"].endswith(" the end") and len(row["prompt"]) < 400 for row in lines(run / "samples.jsonl"))


# ---------------------------------------------------------------------------------------------------- every script


def test_every_flag_is_read():
    stages.check_every_flag_is_read(train_dpo)


def test_a_dry_run(own, tmp_path, monkeypatch, capsys):
    stages.check_dry_run(train_dpo, own, tmp_path, monkeypatch, capsys)


def test_the_learning_rate(own, tmp_path):
    stages.check_schedule(train_dpo, own, tmp_path)


def test_full_fine_tuning_and_frozen_layers(own, tiny, tmp_path):
    stages.check_full_fine_tuning(train_dpo, own, tiny, tmp_path)
    stages.check_frozen_adapters(train_dpo, own, tmp_path)


@pytest.mark.parametrize("loss", ["sigmoid", "simpo"])
def test_micro_batches(own, tmp_path, loss):
    stages.check_micro_batches(train_dpo, own, tmp_path, 3, f"--loss={loss}")


@pytest.mark.parametrize("more", [["--lora_dropout=0.3"], ["--lora_rank=0"], ["--keep_best=eval/loss"]])
def test_a_run_that_was_stopped_and_killed_ends_as_if_nothing_had_been(own, tmp_path, monkeypatch, more):
    stages.check_resume(train_dpo, [*own, *more], tmp_path, monkeypatch)


def test_a_task_is_resumed_with_the_pairs_that_it_had(rng_folder, tmp_path, monkeypatch):
    flags = ["--model", rng_folder, *ALIKE, "--task=rng", "--examples=64", "--eval_examples=8", "--batch_size=16"]
    stages.check_resume(train_dpo, [*flags, "--samples=4"], tmp_path, monkeypatch)


def test_the_best_weights_are_kept(own, tmp_path, monkeypatch):
    stages.check_keep_best(train_dpo, own, tmp_path, monkeypatch, "eval/rewards/margins", [1, 7, 3], 2)


def test_a_metric_that_does_not_exist(own, tmp_path):
    stages.check_unknown_metric(train_dpo, own, tmp_path)


def test_nothing_is_learned_from_what_is_not_finite(own, tmp_path, monkeypatch):
    stages.check_finite_guard(train_dpo, own, tmp_path, monkeypatch)


def test_every_setting_has_an_effect(own, tmp_path):
    stages.check_effects(train_dpo, [*own, "--steps=2"], tmp_path, [
        "--batch_size=7", "--learning_rate=2e-2", "--schedule=constant", "--warmup_steps=2", "--weight_decay=0.5",
        "--max_grad_norm=1e-3", "--lora_rank=3", "--lora_alpha=5", "--lora_dropout=0.5", "--lora_targets=lm_head",
        "--seed=7", "--max_response=4", "--max_prompt=3", "--loss=ipo", "--loss=simpo", "--beta=0.2",
        "--label_smoothing=0.1", "--reference_free"])  # fmt: skip
    (tmp_path / "simpo").mkdir()
    stages.check_effects(train_dpo, [*own, "--steps=2"], tmp_path / "simpo", ["--simpo_gamma=2"], ["--loss=simpo"])


# ---------------------------------------------------------------------------------------------------------- errors


BAD = {
    "neither task nor data": ([], "give --task or --data", "sentiment"),
    "unknown flag": (["--task=puns", "--label_smooth=1"], "unknown flag --label_smooth", "--label_smoothing?"),
    "unknown loss": (["--task=puns", "--loss=kto"], "--loss: 'kto' is not one of", "ipo"),
    "a world with data": (["--task=rng", "--data", "good.jsonl"], "--task rng makes its own pairs", "--data"),
    "ipo without reference": (["--task=puns", "--loss=ipo", "--reference_free"], "--reference_free goes with"),
    "more wrong labels than right": (["--task=puns", "--label_smoothing=0.6"], "--label_smoothing: expected 0 to 0.5"),
    "no strength": (["--task=puns", "--beta=0"], "--beta: expected", "found 0"),
    "unknown reward": (["--task=grammar", "--max_response=0", "--grammar_reward=cats"], "cats", "animals"),
    "chosen is rejected": (["--data", "same.jsonl"], "same.jsonl:2", "found the same text: delete the line"),
    "empty chosen": (["--data", "empty.jsonl"], "empty.jsonl:1", '"chosen"', "found an empty one"),
    "no pair": (["--data", "sft.jsonl"], "sft.jsonl:1", '"chosen"'),
    "misspelt key": (["--data", "key.jsonl"], "key.jsonl:1", '"choosen"', '"chosen"?'),
    "no such file": (["--data", "good.jsonl", "--eval_data", "no.jsonl"], "no.jsonl", "no such file"),
    "eval_data of a task": (["--task=puns", "--eval_data", "good.jsonl"], "--eval_data", "--data"),
}  # fmt: skip


@pytest.fixture
def bad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = stages.pairs(1)[0]
    write(tmp_path / "good.jsonl", [good])
    write(tmp_path / "same.jsonl", [good, {"prompt": "a", "chosen": " b", "rejected": " b"}])
    write(tmp_path / "empty.jsonl", [{"prompt": "a", "chosen": "", "rejected": " b"}])
    write(tmp_path / "sft.jsonl", [{"prompt": "a", "completion": " b"}])
    write(tmp_path / "key.jsonl", [{"prompt": "a", "choosen": " b", "rejected": " c"}])
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, tiny, bad):
    flags, *words = BAD[name]
    few = ["--examples=4", "--eval_examples=2", "--samples=0", "--max_response=8"]
    said = refuses(train_dpo, "--model", tiny, *ALIKE, *few, "--steps=1", *flags)
    assert all(word in said for word in words), said


def test_bad_data_leave_no_folder_behind(tiny, bad):
    """The corrected command must not find its --out taken."""
    before = set(bad.rglob("*"))
    flags = ["--model", tiny, *ALIKE, "--max_response=8", "--steps=1", "--data", "same.jsonl", "--out=run"]
    done = subprocess.run([sys.executable, train_dpo.__file__, *map(str, flags)], capture_output=True, cwd=bad)
    assert done.returncode == 2 and set(bad.rglob("*")) == before


def test_the_examples_of_the_docstring_are_commands():
    commands = [line.split("#")[0].split() for line in train_dpo.__doc__.splitlines() if "python train" in line]
    assert len(commands) == 3
    for command in commands:
        cli.parse(train_dpo.Config, command[2:], lambda given: train_dpo.PRESETS[given.task])
