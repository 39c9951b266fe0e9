"""train_rm.py as its user sees it: what it learns of every kind of comparison, its head, its files, resume, errors."""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch
from stages import ALIKE, OWN, lines, refuses, result_of, train, weights, write

import train_rm
from minalign import cli, hub
from minalign.nano.bpe import number_merges, train_bpe, write_vocab
from minalign.respond import respond
from minalign.rewards import RewardHead, from_run
from minalign.stage import load_policy
from minalign.tasks import sentiment
from minalign.tokenizer import Tokenizer

MIXED = [
    {"prompt": "Tom has", "chosen": " a good dog.", "rejected": " a bad dog today."},
    {"prompt": "Anna lost two of the", "chosen": " good hats.", "rejected": " bad hats.", "margin": 1.5},
    {"prompt": "Mira", "completions": [" was bad.", " had bad bread.", " was good today.", " is bad."], "best": 2},
    {"prompt": "Oskar", "completions": [" was bad.", ""], "best": 0},
    {"prompt": "At the market Tom", "ranking": [" was good.", " was.", " was bad."]},
    {"prompt": "At the market Mira", "ranking": [" is good.", " is a hat.", " is so so.", " is bad."]},
]


@pytest.fixture(scope="module")
def own(tiny, tmp_path_factory):
    """Flags of a run on own data: 16 pairs to learn from and 8 that are held out."""
    folder, rows = tmp_path_factory.mktemp("data"), stages.pairs()
    files = write(folder / "train.jsonl", rows[:16]), write(folder / "eval.jsonl", rows[16:])
    return ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1]]


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory):
    """Flags of a run on comparisons of every kind."""
    file = write(tmp_path_factory.mktemp("data") / "mixed.jsonl", MIXED)
    return ["--model", tiny, *OWN, "--data", file, "--eval_data", file]


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    """A run of 20 steps with everything switched on."""
    return train(train_rm, *own, "--plot", "--steps=20", "--eval_every=10", "--save_every=10",
                 out=tmp_path_factory.mktemp("runs") / "rm")  # fmt: skip


def reward_of(run, prompt, response):
    """Return a reward by one plain pass over one row: the head at the last token, which is the stop."""
    model, tokenizer, _ = load_policy("nano", str(run), reward_model=True)
    head = {key.split()[-1]: x for key, x in weights(run).items() if key.startswith("head")}
    ids = tokenizer.encode(prompt) + tokenizer.encode(response) + [tokenizer.eot]
    with torch.no_grad():
        last = model.eval()(torch.tensor([ids]))[0, -1]
    return (head["gain"] * (head["weight"] @ last) + head["bias"]).item()


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_run_folder_is_complete(finished):
    assert stages.inside(finished) == {
        "run.json", "metrics.jsonl", "result.json", "predictions.jsonl", "preferences.jsonl", "adapter_config.json",
        "adapter_model.safetensors", "head.safetensors", "reward.json", "preferences.png", "curves.png"}  # fmt: skip
    about = json.loads((finished / "run.json").read_text())
    assert about["config"].keys() == {f.name for f in dataclasses.fields(train_rm.Config)}
    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all({"loss", "accuracy", "grad_norm", "lr", "epoch"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "eval/accuracy" in row] == [10, 20]
    result = result_of(finished)
    assert result.keys() == {"eval/loss", "eval/accuracy", "eval/accuracy_low", "eval/accuracy_high", "gain", "bias",
                             "eval/calibration_error", "steps", "seconds", "peak_memory_mb"}  # fmt: skip
    assert all((finished / name).stat().st_size > 5_000 for name in ("preferences.png", "curves.png"))
    rule = json.loads((finished / "reward.json").read_text())["stop_rule"]
    assert rule["max_new_tokens"] == 8 and rule["stop"] == Tokenizer.from_folder(hub.NANO).eot


def test_it_learns_which_one_is_preferred(finished):
    """Also of prompts that it has not seen; with the sign wrong the accuracy would be 0."""
    result = result_of(finished)
    assert result["eval/accuracy"] == 1 and result["eval/loss"] < 0.1
    # Wilson's interval for 8 of 8: from n / (n + z^2)
    assert result["eval/accuracy_low"] == pytest.approx(8 / (8 + 1.96**2)) and result["eval/accuracy_high"] == 1
    rewards = [row["rewards"] for row in lines(finished / "predictions.jsonl")]
    assert len(rewards) == 8 and all(chosen > rejected + 1 for chosen, rejected in rewards)


def test_the_reward_is_that_of_a_plain_pass(finished):
    """Whatever the padding: predictions are made of batches with rows of different lengths."""
    reward = from_run(str(finished))
    for row in lines(finished / "predictions.jsonl")[:4]:
        for response, score in zip(row["responses"], row["rewards"]):
            expected = reward_of(finished, row["prompt"], response)
            assert score == pytest.approx(expected, abs=1e-4)
            assert reward([row["prompt"]], [response])[0] == pytest.approx(expected, abs=1e-4)


def test_the_reward_is_normalised_on_samples_of_the_base(finished, tiny, monkeypatch, own, tmp_path):
    """Fresh samples of the base have mean 0 and variance 1, within what 24 samples can tell."""
    model, tokenizer = hub.from_pretrained(str(tiny)), Tokenizer.from_folder(tiny)
    reward, prompts = from_run(str(finished)), [row["prompt"] for row in stages.pairs()]
    answers = respond(model, tokenizer, [tokenizer.encode(p) for p in prompts], reward.rule, 8,
                      generator=torch.Generator().manual_seed(9))  # fmt: skip
    scores = torch.tensor(reward([p for p in prompts for _ in range(8)], [r.text for row in answers for r in row]))
    assert abs(scores.mean()) < 0.5 and 0.6 < scores.std() < 1.5

    seen, normalise = [], RewardHead.normalise

    def spied(head, rewards):
        normalise(head, rewards)
        seen.append((len(rewards), head.gain.item()))

    monkeypatch.setattr(RewardHead, "normalise", spied)
    run = train(train_rm, *own, "--steps=2", "--normalise=10", out=tmp_path / "twice")
    assert [n for n, _ in seen] == [10, 10] and seen[1][1] == result_of(run)["gain"] != seen[0][1]
    run = train(train_rm, *own, "--steps=2", "--normalise=0", out=tmp_path / "never")
    assert len(seen) == 2 and abs(result_of(run)["gain"] - 1) < 0.1


def test_rewards_of_the_compared_responses_can_be_normalised_instead(own, tmp_path):
    """As Kirk et al. do: over both responses of the pairs that were trained on the rewards have mean 0, variance 1."""
    run = train(train_rm, *own, "--steps=3", "--normalise=12", "--normalise_on=compared", out=tmp_path / "run")
    rows = lines(run / "preferences.jsonl")[:12]
    reward = from_run(str(run))
    told = torch.tensor([reward([row["prompt"]], [row[key]])[0] for row in rows for key in ("chosen", "rejected")])
    assert abs(told.mean()) < 1e-4 and told.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_further_files_are_counted_apart(own, tmp_path, capsys):
    """Turned around, the held-out pairs have the accuracy 1 - accuracy, and the training does not see them."""
    held = Path(own[own.index("--eval_data") + 1])
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in lines(held)]
    shifted = write(tmp_path / "shifted.jsonl", turned)
    alone, both = (train(train_rm, *own, "--steps=5", *more, out=tmp_path / f"run{i}")
                   for i, more in enumerate(([], ["--also", shifted, held])))  # fmt: skip
    result = result_of(both)
    assert result["shifted/accuracy"] == pytest.approx(1 - result["eval/accuracy"])
    assert result[f"{held.stem}/accuracy"] == result["eval/accuracy"] == result_of(alone)["eval/accuracy"]
    assert result["shifted/accuracy_low"] <= result["shifted/accuracy"] < result["shifted/accuracy_high"]
    assert stages.same(weights(alone), weights(both)) and "shifted" in capsys.readouterr().out


def test_the_head_starts_as_in_the_paper():
    torch.manual_seed(1)
    assert RewardHead(4000).weight.std().item() == pytest.approx(1 / math.sqrt(4001), rel=0.05)


def test_the_head_is_trained_and_saved_with_the_adapter(own, tmp_path):
    for rank in (4, 0):
        first, later = (train(train_rm, *own, "--steps", n, "--normalise=0", f"--lora_rank={rank}",
                              out=tmp_path / f"{rank}-{n}") for n in (1, 3))  # fmt: skip
        heads = [{k.split()[-1]: x for k, x in weights(run).items() if k.startswith("head")} for run in (first, later)]
        same = {key for key, x in heads[0].items() if torch.equal(x, heads[1][key])}
        assert heads[0].keys() == {"weight", "gain", "bias", "log_odds"}
        assert same == {"bias", "log_odds"}  # no comparison asks for the bias, and nothing was normalised
        row = lines(later / "predictions.jsonl")[0]
        expected = reward_of(later, row["prompt"], row["responses"][1])
        assert row["rewards"][1] == pytest.approx(expected, abs=1e-4)


# ----------------------------------------------------------------------------------------------- kinds of comparisons


def test_every_kind_of_comparison_by_hand(mixed, tmp_path, capsys):
    """Loss and accuracy from the rewards of each record, by the formulas of the papers."""
    run = train(train_rm, *mixed, "--steps=3", out=tmp_path / "run")
    assert "6 records; " in capsys.readouterr().out
    rows = lines(run / "predictions.jsonl")
    assert sorted(row["kind"] for row in rows) == ["best", "pair", "pair", "pair", "ranking", "ranking"]
    by_prompt = {row["prompt"]: row for row in rows}
    margins = {row["prompt"]: row.get("margin", 0) for row in MIXED}
    total, right, n = 0.0, 0, 0
    for prompt, row in by_prompt.items():
        r = row["log_odds"]
        if row["kind"] == "best":  # -log softmax
            total += math.log(sum(map(math.exp, r))) - r[2]
            right, n = right + (max(r) == r[2]), n + 1
            assert row["predicted"] == pytest.approx([math.exp(x) / sum(map(math.exp, r)) for x in r], rel=1e-4)
            assert row["observed"] == [False, False, True, False]
        else:  # -log sigmoid of each pair
            won = [(i, j) for i in range(len(r)) for j in range(i + 1, len(r))]
            total += sum(math.log(1 + math.exp(r[j] - r[i] + margins[prompt])) for i, j in won) / len(won)
            right, n = right + sum(r[i] > r[j] for i, j in won), n + len(won)
    assert n == 1 + 3 + 3 + 6
    result = result_of(run)
    assert result["eval/loss"] == pytest.approx(total / 6, rel=1e-5)
    assert result["eval/accuracy"] == pytest.approx(right / n)
    assert by_prompt["Oskar"]["responses"] == [" was bad.", ""]  # an empty response, drawn from a model, is no mistake
    step = lines(run / "metrics.jsonl")[0]
    assert step["accuracy"] * 13 == pytest.approx(round(step["accuracy"] * 13))


def test_what_is_logged_of_the_rewards(mixed, tmp_path):
    """Without a step to learn from, a row has the rewards that the run ends with, but for their scale."""
    run = train(train_rm, *mixed, "--steps=1", "--learning_rate=0", "--normalise=0", out=tmp_path / "run")
    (step,), told = lines(run / "metrics.jsonl"), {row["prompt"]: row for row in lines(run / "predictions.jsonl")}
    rewards = [r for row in told.values() for r in row["rewards"]]
    assert step["mean_reward"] == pytest.approx(sum(rewards) / len(rewards), rel=1e-4)
    assert (step["min_reward"], step["max_reward"]) == pytest.approx((min(rewards), max(rewards)), rel=1e-4)
    leads = []
    for row in told.values():
        r = row["rewards"]
        if row["kind"] == "ranking":
            leads.append(statistics.mean(r[i] - r[j] for i in range(len(r)) for j in range(i + 1, len(r))))
        else:
            leads.append(statistics.mean(r[row["best"]] - r[i] for i in range(len(r)) if i != row["best"]))
    assert step["margin"] == pytest.approx(statistics.mean(leads), rel=1e-3) and len(leads) == 6


def test_all_kinds_are_learned_together(mixed, tmp_path):
    result = result_of(train(train_rm, *mixed, "--steps=30", out=tmp_path / "run"))
    assert result["eval/accuracy"] > 0.9 and result["eval/loss"] < 0.4


@pytest.mark.parametrize("task, k", [("sentiment", 4), ("descriptiveness", 2), ("puns", 4), ("summarize", 2)])
def test_a_text_task(roomy, tmp_path, capsys, task, k):
    few = ["--examples=12", "--eval_examples=8", "--batch_size=6", "--normalise=6", f"--k={k}"]
    run = train(train_rm, "--model", roomy, *ALIKE, "--task", task, "--steps=2", *few, out=tmp_path / task)
    said, result, rows = capsys.readouterr().out, result_of(run), lines(run / "preferences.jsonl")
    kinds = {"completions" if "completions" in row else "chosen" for row in rows}
    assert 1 / k <= result["label_ceiling"] <= 1 and "label ceiling" in said
    if task == "puns":
        assert kinds == {"chosen"}
    else:
        assert kinds <= ({"completions"} if k == 4 else {"chosen", "completions"})
    # The labels are there for other stages, such as this one once more.
    again = train(train_rm, "--model", roomy, *OWN, "--max_response=48", "--data", run / "preferences.jsonl",
                  "--steps=1", out=tmp_path / "again")  # fmt: skip
    assert lines(again / "metrics.jsonl")[0]["loss"] > 0


def test_a_prompt_beyond_the_context_keeps_its_end_and_is_counted(tiny, tmp_path, capsys):
    rows = stages.pairs(6)
    rows[0]["prompt"] = "hat " * 200 + "the end"
    data = write(tmp_path / "long.jsonl", rows)
    run = train(train_rm, "--model", tiny, *OWN, "--data", data, "--eval_data", data, "--steps=1", out=tmp_path / "run")
    assert "1 prompts cut to their last 88 tokens" in capsys.readouterr().out
    assert all(math.isfinite(x) for row in lines(run / "predictions.jsonl") for x in row["rewards"])


# ---------------------------------------------------------------------------------------------------- every script


def test_every_flag_is_read():
    stages.check_every_flag_is_read(train_rm)


def test_a_dry_run(own, tmp_path, monkeypatch, capsys):
    stages.check_dry_run(train_rm, own, tmp_path, monkeypatch, capsys)


def test_the_learning_rate(own, tmp_path):
    stages.check_schedule(train_rm, own, tmp_path)


def test_full_fine_tuning_and_frozen_layers(own, tiny, tmp_path):
    stages.check_full_fine_tuning(train_rm, own, tiny, tmp_path, unmoved={"transformer.ln_f.bias"})  # it cancels
    stages.check_frozen_adapters(train_rm, own, tmp_path)


def test_micro_batches(mixed, tmp_path):
    stages.check_micro_batches(train_rm, mixed, tmp_path, 2, "--normalise=0", constant=["head.safetensors weight"])


@pytest.mark.parametrize("more", [["--lora_dropout=0.3"], ["--lora_rank=0"], ["--keep_best=eval/loss"]])
def test_a_run_that_was_stopped_and_killed_ends_as_if_nothing_had_been(own, tmp_path, monkeypatch, more):
    stages.check_resume(train_rm, [*own, *more], tmp_path, monkeypatch)


def test_the_best_weights_are_kept(own, tmp_path, monkeypatch):
    stages.check_keep_best(train_rm, own, tmp_path, monkeypatch, "eval/accuracy", [1, 7, 3], 2)


def test_a_metric_that_does_not_exist(own, tmp_path):
    stages.check_unknown_metric(train_rm, own, tmp_path)


def test_nothing_is_learned_from_what_is_not_finite(own, tmp_path, monkeypatch):
    stages.check_finite_guard(train_rm, own, tmp_path, monkeypatch)


def test_every_setting_has_an_effect(own, tiny, tmp_path):
    stages.check_effects(train_rm, [*own, "--steps=2"], tmp_path, [
        "--batch_size=7", "--learning_rate=2e-2", "--schedule=constant", "--warmup_steps=2", "--weight_decay=0.5",
        "--max_grad_norm=1e-3", "--lora_rank=3", "--lora_alpha=5", "--lora_dropout=0.5", "--lora_targets=mlp.c_fc",
        "--seed=7", "--max_response=4", "--max_prompt=3", "--normalise=5"])  # fmt: skip


@pytest.fixture
def short_is_good(monkeypatch):
    """Sentiment with a gold score in which a random model's responses differ: the fewer characters the better."""
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: -len(response))


LABELS = ["--task=sentiment", "--examples=16", "--eval_examples=8", "--batch_size=16", "--normalise=4",
          "--max_response=8", "--steps=1"]  # fmt: skip


def test_every_setting_of_the_labels_has_an_effect(tiny, tmp_path, short_is_good):
    flags = ["--model", tiny, *ALIKE, *LABELS]
    stages.check_effects(train_rm, flags, tmp_path, ["--k=3", "--temperature=2", "--label_noise=100"])


def test_labels_come_from_the_gold_score_and_noise(tiny, tmp_path, short_is_good):
    """Without noise the shortest response is the best and an accuracy of 1 can be reached; with noise alone 1 / k."""
    flags = ["--model", tiny, *ALIKE, *LABELS, "--temperature=1", "--label_noise"]
    sure, vague = (train(train_rm, *flags, noise, out=tmp_path / str(noise)) for noise in (1e-6, 1e6))
    rows = lines(sure / "preferences.jsonl")
    assert len(rows) == 16
    assert all(len(row["completions"][row["best"]]) == min(map(len, row["completions"])) for row in rows)
    assert result_of(sure)["label_ceiling"] > 0.9  # less than 1 where the two shortest are equally short
    assert result_of(vague)["label_ceiling"] == pytest.approx(1 / 4, abs=1e-4)
    assert {row["best"] for row in lines(vague / "preferences.jsonl")} == {0, 1, 2, 3}


def test_a_task_is_resumed_with_the_labels_that_it_had(tiny, tmp_path, monkeypatch, short_is_good):
    flags = ["--model", tiny, *ALIKE, *LABELS, "--batch_size=6"]
    stages.check_resume(train_rm, [*flags, "--k=2"], tmp_path, monkeypatch)


def test_responses_that_are_all_the_same_are_nothing_to_learn_from(tiny, tmp_path):
    """Next to temperature 0 a model says one thing to a prompt: there is no comparison."""
    said = refuses(train_rm, "--model", tiny, *ALIKE, *LABELS, "--temperature=0.01", "--out", tmp_path / "run")
    assert "--temperature" in said


# ---------------------------------------------------------------------------------------------------------- stages


def test_evaluating_a_run_reproduces_its_numbers(finished, own, tmp_path):
    run = train(train_rm, *own, "--eval_only", "--init", finished, out=tmp_path / "eval")
    assert not stages.inside(run) & {"metrics.jsonl", "adapter_model.safetensors", "head.safetensors"}
    old, new = result_of(finished), result_of(run)
    assert new["steps"] == 0 and all(new[key] == pytest.approx(old[key], abs=1e-5) for key in old if "eval/" in key)
    assert new["gain"] == old["gain"] and new["bias"] == old["bias"]
    for a, b in zip(lines(finished / "predictions.jsonl"), lines(run / "predictions.jsonl"), strict=True):
        assert a["prompt"] == b["prompt"] and a["rewards"] == pytest.approx(b["rewards"], abs=1e-4)


def test_a_reward_model_from_an_earlier_stage(finished, own, tiny, tmp_path):
    """Its adapter is relative to the original base, so whoever loads it needs no knowledge of the chain."""
    run = train(train_rm, *own, "--init", finished, "--steps=2", out=tmp_path / "second")
    row = lines(run / "predictions.jsonl")[0]
    assert row["rewards"][0] == pytest.approx(reward_of(run, row["prompt"], row["responses"][0]), abs=1e-4)
    assert json.loads((run / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny)


# ---------------------------------------------------------------------------------------------------------- errors


BAD = {
    "neither task nor data": ([], "give one of --task and --data", "sentiment"),
    "both": (["--task=puns", "--data", "x.jsonl"], "give one of --task and --data", "puns"),
    "a task without comparisons": (["--task=rng"], "--task: 'rng' is not one of sentiment, descriptiveness, puns"),
    "unknown flag": (["--task=puns", "--label_nose=1"], "unknown flag --label_nose", "--label_noise?"),
    "one response": (["--task=puns", "--k=1"], "--k: expected 2", "found 1"),
    "no noise": (["--task=puns", "--label_noise=0"], "--label_noise: expected"),
    "evaluate what": (["--task=puns", "--eval_only"], "--eval_only needs --init", "train_rm.py"),
    "chosen is rejected": (["--data", "same.jsonl"], "same.jsonl:2", "found the same text: delete the line"),
    "all completions the same": (["--data", "same4.jsonl"], "same4.jsonl:1", "found the same text"),
    "empty chosen": (["--data", "empty.jsonl"], "empty.jsonl:1", '"chosen"', "found an empty one"),
    "no comparison": (["--data", "sft.jsonl"], "sft.jsonl:1", '"chosen"'),
    "no such best": (["--data", "best.jsonl"], "best.jsonl:1", '"best"', "from 0 to 1", "found 2"),
    "too few prompts": (["--data", "good.jsonl"], "too few to hold out", "--eval_data"),
    "nothing to normalise by": (["--data", "good.jsonl", "--eval_data", "good.jsonl", "--normalise=1"], "--normalise"),
}  # fmt: skip


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, same = stages.pairs(1)[0], {"prompt": "a", "chosen": " b", "rejected": " b"}
    write(tmp_path / "good.jsonl", [good])
    write(tmp_path / "same.jsonl", [good, same])
    write(tmp_path / "same4.jsonl", [{"prompt": "a", "completions": [" b"] * 4, "best": 1}])
    write(tmp_path / "empty.jsonl", [{"prompt": "a", "chosen": "", "rejected": " b"}])
    write(tmp_path / "sft.jsonl", [{"prompt": "a", "completion": " b"}])
    write(tmp_path / "best.jsonl", [{"prompt": "a", "completions": [" b", " c"], "best": 2}])
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name, tiny, files):
    flags, *words = BAD[name]
    said = refuses(train_rm, "--model", tiny, *ALIKE, "--max_response=8", "--steps=1", *flags)
    assert all(word in said for word in words), said


def test_bad_data_leave_no_folder_behind(tiny, files):
    """The corrected command must not find its --out taken."""
    before = set(files.rglob("*"))
    flags = ["--model", tiny, *ALIKE, "--max_response=8", "--steps=1", "--data", "same.jsonl", "--out=run"]
    done = subprocess.run([sys.executable, train_rm.__file__, *map(str, flags)], capture_output=True, cwd=files)
    assert done.returncode == 2 and set(files.rglob("*")) == before


def test_a_run_is_evaluated_on_the_base_that_it_was_trained_from(finished, own, tmp_path):
    """Whatever --model says: token ids may mean something else there."""
    small = tmp_path / "small"
    write_vocab(small, *train_bpe(["Tom lost his lantern at the market."] * 3, 243, number_merges()))
    vocabulary = Tokenizer.from_folder(small)
    config = dataclasses.replace(hub.read_config(Path(own[1])), vocab_size=vocabulary.n_vocab)
    hub.save_pretrained(hub.GPT2(config), small)
    run = train(train_rm, *own, "--model", small, "--eval_only", "--init", finished, out=tmp_path / "run")
    for mine, theirs in zip(lines(run / "predictions.jsonl"), lines(finished / "predictions.jsonl"), strict=True):
        assert mine["prompt"] == theirs["prompt"] and mine["rewards"] == pytest.approx(theirs["rewards"], abs=1e-4)


def test_a_folder_that_is_no_reward_model_cannot_be_evaluated(own, tiny, tmp_path):
    said = refuses(train_rm, *own, "--eval_only", "--init", tiny, "--out", tmp_path / "run")
    assert "--init" in said and "train_rm.py" in said


def test_the_examples_of_the_docstring_are_commands():
    commands = [line.split("#")[0].split() for line in train_rm.__doc__.splitlines() if "python train" in line]
    assert len(commands) == 3
    for command in commands:
        cli.parse(train_rm.Config, command[2:])
