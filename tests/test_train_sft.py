"""train_sft.py as its user sees it: what it learns, what it writes, own data of every form, resume, errors."""

import dataclasses
import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch
from stages import ALIKE, OWN, lines, logprobs, refuses, result_of, train, weights, write

import train_sft
from minalign import checkpoint, cli, data, hub, losses
from minalign.generate import StopRule, score
from minalign.records import Record
from minalign.stage import load_policy
from minalign.tasks import grammar
from minalign.tasks.rng import MAIN
from minalign.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def own(tiny, tmp_path_factory):
    """Flags of a run on own data: 16 records to learn from and 8 that are held out."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in stages.pairs()]
    files = write(folder / "train.jsonl", rows[:16]), write(folder / "eval.jsonl", rows[16:])
    return ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1]]


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    """A run of 40 steps with everything switched on."""
    return train(train_sft, *own, "--plot", "--steps=40", "--eval_every=20", "--save_every=20", "--samples=8",
                 "--learning_rate=3e-2", "--lora_targets", "attn.c_attn", "mlp.c_fc", "lm_head",
                 out=tmp_path_factory.mktemp("runs") / "sft")  # fmt: skip


def tokens_of(folder, rows):
    """Return (prompt, response with its stop) of records, in token ids."""
    tokenizer = Tokenizer.from_folder(folder)
    return [(tokenizer.encode(r["prompt"]), tokenizer.encode(r["completion"]) + [tokenizer.eot]) for r in rows]


def flag_of(flags, name):
    return flags[flags.index(name) + 1]


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_run_folder_is_complete(finished):
    assert stages.inside(finished) == {
        "run.json", "metrics.jsonl", "result.json", "samples.jsonl", "predictions.jsonl", "adapter_config.json",
        "adapter_model.safetensors", "curves.png"}  # fmt: skip
    about = json.loads((finished / "run.json").read_text())
    assert about["config"].keys() == {f.name for f in dataclasses.fields(train_sft.Config)}
    assert about["config"]["steps"] == 40 and about["seed"] == 1
    assert sorted(p.name for p in (finished / "state").iterdir()) == ["step_000020", "step_000040"]
    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert all({"loss", "grad_norm", "lr", "epoch"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "eval/loss" in row] == [20, 40]
    result = result_of(finished)
    numbers = {"eval/loss", "eval/perplexity", "eval/mean_token_accuracy"}
    assert numbers | {f"base_{key}" for key in numbers} | {"steps", "seconds", "peak_memory_mb"} == result.keys()
    assert all(result[key] == rows[-1][key] for key in numbers)
    assert (finished / "curves.png").stat().st_size > 5_000


def test_it_learns_to_say_what_it_was_shown_and_to_stop(finished, own):
    """A model that never learned its stop would run on to the limit of 8 tokens."""
    result, shown = result_of(finished), {row["completion"] for row in lines(flag_of(own, "--data"))}
    assert result["base_eval/loss"] > 6 > 0.5 > result["eval/loss"]
    assert result["eval/mean_token_accuracy"] > 0.75 > 0.3 > result["base_eval/mean_token_accuracy"]
    samples = lines(finished / "samples.jsonl")
    assert len(samples) == 8 and all(row["step"] == 40 for row in samples)
    assert all(row.keys() == {"prompt", "response", "step", "stopped", "scores"} for row in samples)
    assert sum(row["response"] in shown and row["stopped"] for row in samples) >= 5


def test_the_numbers_are_those_of_plain_passes(finished, own, tiny):
    """Loss, perplexity and accuracy by an independent way: one row at a time, no padding, no shared prefix."""
    rows = lines(flag_of(own, "--eval_data"))
    for model, prefix in ((hub.from_pretrained(str(tiny)), "base_"), (load_policy("nano", str(finished))[0], "")):
        found = [logprobs(model, *ids) for ids in tokens_of(tiny, rows)]
        loss = -torch.cat(found).mean().item()
        result = result_of(finished)
        assert result[f"{prefix}eval/loss"] == pytest.approx(loss, abs=1e-4)
        assert result[f"{prefix}eval/perplexity"] == pytest.approx(math.exp(loss), rel=1e-3)
    predictions = {row["text"]: row["loss"] for row in lines(finished / "predictions.jsonl")}
    for row, nats in zip(rows, found):
        text = row["prompt"] + row["completion"] + "<|endoftext|>"
        assert predictions[text] == pytest.approx(-nats.mean().item(), abs=1e-4)


@pytest.mark.parametrize("on", ["completion", "all"])
def test_the_loss_counts_each_token_once(own, tiny, tmp_path, on):
    """The first step takes all 16 records: its loss is the mean over their tokens; of the prompts' only with `all`."""
    run = train(train_sft, *own, "--batch_size=16", "--steps=1", "--loss_on", on, "--samples=2", out=tmp_path / "run")
    model, nats = hub.from_pretrained(str(tiny)), []
    for prompt, response in tokens_of(tiny, lines(flag_of(own, "--data"))):
        start = [response[-1]]  # an end-of-text stands in front of the first token
        nats.append(logprobs(model, prompt, response) if on == "completion" else
                    logprobs(model, start, prompt + response))  # fmt: skip
    row = lines(run / "metrics.jsonl")[0]
    assert row["loss"] == pytest.approx(-torch.cat(nats).mean().item(), abs=1e-4)
    assert row["tokens"] == len(torch.cat(nats))
    asked = {r["prompt"] for r in lines(run / "samples.jsonl")}
    assert asked <= {r["prompt"] for r in lines(flag_of(own, "--eval_data"))}  # samples answer prompts all the same


def test_responses_of_one_record_share_its_prompt_and_count_alike(tiny):
    """Records of 1, 3 and 2 responses have the log-probs and gradients of six records with one response each."""
    model, tokenizer = hub.from_pretrained(str(tiny)), Tokenizer.from_folder(tiny)
    rows = [("At the market", (" Tom was good.",)), ("Mira lost", (" a hat.", " two small hats today.", " it.")),
            ("Why?", (" Eh?", " Because it was good."))]  # fmt: skip
    rule, losses_of, grads = StopRule(tokenizer.eot, 8), [], []
    for records in ([Record(*row) for row in rows], [Record(p, (r,)) for p, answers in rows for r in answers]):
        encoded, _ = data.encode(records, tokenizer, rule, 96)
        prompts, prompt_mask, tokens, mask = train_sft.collate(encoded, model.device)
        assert len(prompts) == len(records)
        logprobs, _ = score(model, prompts, tokens, mask, rule.stop, prompt_mask=prompt_mask)
        found, nats = train_sft.evaluate(model, encoded, rule, 2)
        assert sum(nats) == pytest.approx(-logprobs[mask].sum().item(), rel=1e-5) and len(nats) == len(records)
        model.zero_grad()
        losses.masked_mean(logprobs, mask, mask.sum()).backward()
        losses_of.append(found["eval/loss"])
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses_of[0] == pytest.approx(losses_of[1], rel=1e-5)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)


# ----------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("task", ["sentiment", "descriptiveness", "puns", "summarize"])
def test_a_text_task(roomy, tmp_path, capsys, task):
    few = ["--examples=12", "--eval_examples=6", "--batch_size=6", "--samples=3"]
    run = train(train_sft, "--model", roomy, *ALIKE, "--task", task, "--steps=2", *few, out=tmp_path / task)
    assert "12 records" in capsys.readouterr().out
    assert len(lines(run / "predictions.jsonl")) == 6 and len(lines(run / "samples.jsonl")) == 3
    assert result_of(run)["eval/loss"] < result_of(run)["base_eval/loss"]


def test_rng_comes_near_the_distribution_that_it_is_shown(rng_folder, tmp_path):
    flags = ["--model", rng_folder, *ALIKE, "--task=rng", "--target=poisson:lam=20", "--steps=60", "--batch_size=128"]
    run = train(train_sft, *flags, "--examples=2000", "--plot", "--samples=0", out=tmp_path / "rng")
    result, drawn = result_of(run), json.loads((run / "distribution.json").read_text())
    lam, pmf = 20, {}
    for text in drawn["texts"]:
        pmf[text] = math.exp(int(text) * math.log(lam) - lam - math.lgamma(int(text) + 1))
    p, policy = torch.tensor(list(pmf.values())).double(), torch.tensor(drawn["policy"]).double()
    p /= p.sum()
    torch.testing.assert_close(torch.tensor(drawn["target"]).double(), p, atol=1e-6, rtol=1e-4)
    assert result["exact/tv_valid"] == pytest.approx((p - policy / policy.sum()).abs().sum().item() / 2, abs=1e-5)
    assert result["exact/valid_mass"] == pytest.approx(policy.sum().item(), abs=1e-5)
    assert {f"{who}exact/{key}" for who in ("", "base_") for key in ("kl_target_policy", "kl_policy_target", "tv")
            } <= result.keys()  # fmt: skip
    assert result["exact/kl_target_policy"] < 0.2 < 1 < result["base_exact/kl_target_policy"]
    assert result["sampling_limit"] == (len(pmf) - 1) / 4000
    assert {"distribution.png", "curves.png"} <= stages.inside(run)


def test_the_evaluation_has_the_stop_rule_of_the_training(rng_folder, tmp_path):
    """On rng a response has a token at least: the stop is impossible before, in the loss that is reported too."""
    flags = ["--model", rng_folder, *ALIKE, "--task=rng", "--examples=64", "--eval_examples=64", "--batch_size=64"]
    run = train(train_sft, *flags, "--steps=1", "--learning_rate=0", "--seed=4", out=tmp_path / "rng")
    model, tokenizer = hub.from_pretrained(str(rng_folder)), Tokenizer.from_folder(rng_folder)
    asked = MAIN.format(a=0, b=100)
    for row in lines(run / "predictions.jsonl"):
        prompt, stop = tokenizer.encode(asked), tokenizer.eot  # apart from the response, as everywhere
        (number,) = tokenizer.encode(row["text"].removeprefix(asked).removesuffix("<|endoftext|>"))
        with torch.no_grad():
            logits = model.eval().lm_head(model(torch.tensor([prompt + [number]])))[0].double()
        logits[-2, tokenizer.eot] = -math.inf
        found = logits[-2:].log_softmax(-1)
        assert -(found[0, number] + found[1, stop]).item() / 2 == pytest.approx(row["loss"], abs=1e-4)


@pytest.fixture
def small_grammar(monkeypatch):
    """The grammar with 48 of its sentences."""
    for name, slots in (("WHO", {"Mira": 5, "Tom": 4}), ("ANIMALS", {"dog": 4}), ("THINGS", {"key": 1}),
                        ("SIZES", {"": 3}), ("PLACES", {"": 4, "at the market": 2}), ("FEELINGS", {"": 3, "happy": 1})):
        monkeypatch.setattr(grammar, name, slots)  # fmt: skip
    grammar.sentences.cache_clear()
    yield 48
    grammar.sentences.cache_clear()


def test_grammar_has_exact_distances_too(tiny, tmp_path, small_grammar):
    flags = ["--model", tiny, *ALIKE, "--task=grammar", "--steps=30", "--batch_size=32", "--examples=300",
             "--lora_targets=attn.c_attn,mlp.c_fc,lm_head", "--learning_rate=3e-2"]  # fmt: skip
    run = train(train_sft, *flags, "--eval_examples=32", "--samples=2", out=tmp_path / "run")
    result, drawn = result_of(run), json.loads((run / "distribution.json").read_text())
    assert len(drawn["texts"]) == small_grammar == len(set(drawn["texts"])) and sum(drawn["target"]) == pytest.approx(1)
    assert result["exact/valid_mass"] > 0.1 > 1e-5 > result["base_exact/valid_mass"]
    assert result["exact/kl_target_policy"] < 0.3 * result["base_exact/kl_target_policy"]


# -------------------------------------------------------------------------------------------------------- own data


FORMS = [
    ({"prompt": "Tom has", "completion": " a hat."}, "Tom has a hat."),
    ({"prompt": "Tom has", "chosen": " a dog.", "rejected": " a cat."}, "Tom has a dog."),
    ({"prompt": "Tom has", "completions": [" a cat.", " a key.", " a dog."], "best": 1}, "Tom has a key."),
    ({"prompt": "Tom has", "ranking": [" bread.", " a cat.", " a dog."]}, "Tom has bread."),
    ({"prompt": [40, 41], "completion": [42, 43]}, None),
    ({"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Yes"}]},
     "\n\nHuman: Hi\n\nAssistant: Yes"),
    ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]},
     "\n\nHuman: Hi\n\nAssistant: No"),
    ({"chosen": "\n\nHuman: A?\n\nAssistant: Good.", "rejected": "\n\nHuman: A?\n\nAssistant: Bad."},
     "\n\nHuman: A?\n\nAssistant: Good."),
    ({"instruction": "Sing.", "input": "", "output": "La."}, "### Response:\nLa."),
]  # fmt: skip


def test_own_data_of_every_form(tiny, own, tmp_path, capsys):
    """The preferred response is what is imitated, whatever the line says more."""
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps({"prompt": "Zipped", "completion": " too."}).encode()))
    forms = write(tmp_path / "forms.jsonl", [row for row, _ in FORMS])
    flags = [flag for flag in own if "jsonl" not in str(flag) and flag not in ("--data", "--eval_data")]
    run = train(train_sft, *flags, "--data", forms, packed, "--eval_data", forms, packed, "--max_response=16",
                "--steps=1", "--samples=1", out=tmp_path / "run")  # fmt: skip
    said = capsys.readouterr().out
    assert "10 records; " in said and "10 of the 10 held-out records have a prompt that is also trained on" in said
    texts = [row["text"] for row in lines(run / "predictions.jsonl")]
    ids = Tokenizer.from_folder(tiny).decode([40, 41, 42, 43])
    for text, expected in zip(texts, [expected or ids for _, expected in FORMS] + ["Zipped too."]):
        assert text.endswith(expected.strip() + "<|endoftext|>") and text.count("<|endoftext|>") == 1


def test_a_share_of_own_data_is_held_out_by_prompt(tiny, tmp_path, capsys):
    data = write(tmp_path / "data.jsonl", [{"prompt": f"Tom has {i // 2} hats.", "completion": f" So {i}."}
                                           for i in range(60)])  # fmt: skip
    held = []
    for seed in (1, 1, 2):
        run = train(train_sft, "--model", tiny, *OWN, "--data", data, "--steps=1", "--samples=1", "--seed", seed,
                    out=tmp_path / f"run{len(held)}")  # fmt: skip
        held.append(sorted(row["text"].split(" So")[0] for row in lines(run / "predictions.jsonl")))
        assert f"{60 - len(held[-1])} records; " in capsys.readouterr().out
    assert held[0] == held[1] != held[2] and 4 <= len(held[0]) <= 32
    assert all(held[0].count(prompt) == 2 for prompt in held[0])  # both records of a prompt are on one side


def test_a_prompt_beyond_the_context_keeps_its_end_and_is_counted(tiny, own, tmp_path, capsys):
    long = " ".join(["hat"] * 200) + " the end"
    nine = " one two three four five six seven eight nine"
    data = write(tmp_path / "long.jsonl", [{"prompt": long, "completion": " So."}, {"prompt": "A", "completion": nine}])
    run = train(train_sft, "--model", tiny, *OWN, "--data", data, "--eval_data", data, "--steps=1", "--samples=1",
                out=tmp_path / "run")  # fmt: skip
    said = capsys.readouterr().out
    assert "1 prompts cut to their last 88 tokens; 1 responses cut by the stop rule (at most 8 tokens)" in said
    texts = [row["text"] for row in lines(run / "predictions.jsonl")]
    assert texts[0].endswith(" the end So.<|endoftext|>") and len(texts[0]) < len(long)
    assert "<|endoftext|>" not in texts[1]  # cut at its eighth token: it did not end there
    train(train_sft, "--model", tiny, *OWN, "--data", data, "--eval_data", data, "--steps=1", "--max_prompt=3",
          out=tmp_path / "three")  # fmt: skip
    assert "1 prompts cut to their last 3 tokens" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------- every script


def test_every_flag_is_read():
    stages.check_every_flag_is_read(train_sft)


def test_a_dry_run(own, tmp_path, monkeypatch, capsys):
    stages.check_dry_run(train_sft, own, tmp_path, monkeypatch, capsys)


def test_the_learning_rate(own, tmp_path):
    stages.check_schedule(train_sft, own, tmp_path)


def test_full_fine_tuning_and_frozen_layers(own, tiny, tmp_path):
    stages.check_full_fine_tuning(train_sft, own, tiny, tmp_path)
    stages.check_frozen_adapters(train_sft, own, tmp_path)


def test_micro_batches(own, tmp_path):
    stages.check_micro_batches(train_sft, own, tmp_path, 3)


@pytest.mark.parametrize("more", [["--lora_dropout=0.3"], ["--lora_rank=0", "--loss_on=all", "--weight_decay=0.1"]])
def test_a_run_that_was_stopped_and_killed_ends_as_if_nothing_had_been(own, tmp_path, monkeypatch, more):
    stages.check_resume(train_sft, [*own, *more], tmp_path, monkeypatch)


def test_the_same_seed_gives_the_same_bytes(own, tmp_path):
    flags = [*own, "--steps=3", "--lora_dropout=0.3"]
    runs = [train(train_sft, *flags, *more, out=tmp_path / str(i)) for i, more in
            enumerate((["--deterministic"], ["--deterministic"], [], ["--seed=2"]))]  # fmt: skip
    files = [[(run / name).read_bytes() for name in ("adapter_model.safetensors", "metrics.jsonl", "samples.jsonl")]
             for run in runs]  # fmt: skip
    assert files[0] == files[1] == files[2]  # on the CPU it takes no flag
    assert all(a != b for a, b in zip(files[0], files[3]))


def test_a_run_in_slices_of_time(own, tmp_path):
    stages.check_max_seconds(train_sft, own, tmp_path)


def test_the_best_weights_are_not_forgotten_by_a_stop(own, tmp_path, monkeypatch, capsys):
    """Taken the wrong way round, the best evaluation is the first one, before the stop."""
    monkeypatch.setattr(checkpoint, "LOWER_IS_BETTER", ())
    stages.check_resume(train_sft, [*own, "--keep_best=eval/loss"], tmp_path, monkeypatch)
    assert capsys.readouterr().out.count("kept step 2, with the highest eval/loss") == 2


@pytest.mark.parametrize("metric, best", [("eval/loss", 2), ("eval/mean_token_accuracy", 1)])
def test_the_best_weights_are_kept(own, tmp_path, monkeypatch, metric, best):
    stages.check_keep_best(train_sft, own, tmp_path, monkeypatch, metric, [5, 1, 3], best)


def test_a_metric_that_does_not_exist(own, tmp_path):
    stages.check_unknown_metric(train_sft, own, tmp_path)


def test_nothing_is_learned_from_what_is_not_finite(own, tmp_path, monkeypatch):
    stages.check_finite_guard(train_sft, own, tmp_path, monkeypatch)


def test_every_setting_has_an_effect(own, tmp_path):
    stages.check_effects(train_sft, [*own, "--steps=2", "--samples=1"], tmp_path, [
        "--batch_size=7", "--learning_rate=2e-2", "--schedule=constant", "--warmup_steps=2", "--weight_decay=0.5",
        "--max_grad_norm=1e-3", "--lora_rank=3", "--lora_alpha=5", "--lora_dropout=0.5", "--lora_targets=lm_head",
        "--seed=7", "--max_response=4", "--max_prompt=3", "--loss_on=all"])  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- stages


def test_evaluating_a_run_reproduces_its_numbers(finished, own, tmp_path):
    run = train(train_sft, *own, "--eval_only", "--init", finished, "--samples=8", out=tmp_path / "eval")
    assert stages.inside(run) == {"run.json", "result.json", "predictions.jsonl", "samples.jsonl"}
    old, new = result_of(finished), result_of(run)
    assert new["steps"] == 0 and all(new[key] == pytest.approx(old[key], abs=1e-4) for key in old if "eval/" in key
                                     and "base" not in key)  # fmt: skip
    for a, b in zip(lines(finished / "predictions.jsonl"), lines(run / "predictions.jsonl"), strict=True):
        assert a["text"] == b["text"] and a["loss"] == pytest.approx(b["loss"], abs=1e-3)


def test_a_stage_on_top_of_a_stage(finished, own, tiny, tmp_path):
    run = train(train_sft, *own, "--init", finished, "--steps=3", out=tmp_path / "second")
    assert result_of(run)["base_eval/loss"] == pytest.approx(result_of(finished)["eval/loss"], abs=1e-4)
    model, tokenizer, base = load_policy("nano", str(run))
    assert base == str(tiny)
    nats = [logprobs(model, *ids) for ids in tokens_of(tiny, lines(flag_of(own, "--eval_data")))]
    assert -torch.cat(nats).mean().item() == pytest.approx(result_of(run)["eval/loss"], abs=1e-4)
    ranks = {target: {x.size(0) for key, x in weights(run).items() if f"{target}.lora_A" in key}
             for target in ("attn.c_attn", "attn.c_proj", "lm_head")}  # fmt: skip
    assert ranks == {"attn.c_attn": {8}, "attn.c_proj": {4}, "lm_head": {4}}  # the adapter is that of both stages


# ---------------------------------------------------------------------------------------------------------- errors


BAD = {
    "neither task nor data": ([], "give one of --task and --data", "sentiment"),
    "both": (["--task=puns", "--data", "x.jsonl"], "give one of --task and --data", "rng"),
    "unknown flag": (["--task=puns", "--learning_rat=1"], "unknown flag --learning_rat", "--learning_rate?"),
    "unknown task": (["--task=sentimnt"], "--task: 'sentimnt' is not one of", "Did you mean sentiment?"),
    "unknown choice": (["--task=puns", "--loss_on=prompt"], "--loss_on: 'prompt' is not one of", "completion"),
    "out of range": (["--task=puns", "--eval_fraction=1"], "--eval_fraction: expected", "found 1"),
    "no such file": (["--data", "nowhere.jsonl"], "nowhere.jsonl", "no such file"),
    "no such model": (["--task=puns", "--model", "./nowhere"], "--model ./nowhere", "existing folder"),
    "no such run": (["--task=puns", "--init", "./nowhere"], "--init ./nowhere", "no such folder"),
    "no room for a prompt": (["--data", "good.jsonl", "--eval_data", "good.jsonl", "--max_response=200"],
                             "200 tokens leave no room", "--max_response"),
    "own data's default is too long here": (["--data", "good.jsonl", "--eval_data", "good.jsonl"],
                                            "256 tokens leave no room", "--max_response"),
    "too few prompts": (["--data", "good.jsonl", *OWN], "too few to hold out", "--eval_data"),
    "empty completion": (["--data", "empty.jsonl", *OWN], "empty.jsonl:2", "delete the line"),
    "no completion": (["--data", "prompts.jsonl", *OWN], "prompts.jsonl:1", "keys for completion", "Example:"),
    "foreign ids": (["--data", "ids.jsonl", "--eval_data", "ids.jsonl", *OWN], "ids.jsonl:1", "another vocabulary"),
    "end-of-text inside": (["--data", "eot.jsonl", "--eval_data", "eot.jsonl", *OWN], "eot.jsonl:1", "take it out"),
    "no such distribution": (["--task=rng", "--target=posson"], "posson", "poisson"),
    "no such device": (["--task=puns", "--device=tpu"], "--device", "tpu"),
    "keep_best without evaluations": (["--task=puns", "--keep_best=eval/loss", "--eval_every=0"], "--keep_best",
                                      "--eval_every"),
    "resume and overwrite": (["--data", "good.jsonl", "--eval_data", "good.jsonl", *OWN, "--resume", "--overwrite",
                              "--out=x"], "--resume continues", "give one of them"),
    "eval_data of a task": (["--task=puns", "--eval_data", "good.jsonl"], "--eval_data", "--task"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_leaves_nothing_behind(name, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = {"prompt": "a", "completion": " b"}
    write(tmp_path / "good.jsonl", [good])
    write(tmp_path / "empty.jsonl", [good, {"prompt": "a", "completion": " "}])
    write(tmp_path / "prompts.jsonl", [{"prompt": "a"}])
    write(tmp_path / "ids.jsonl", [{"prompt": [5, 99_999], "completion": [1]}])
    write(tmp_path / "eot.jsonl", [{"prompt": "a", "completion": " b<|endoftext|> c"}])
    before = set(tmp_path.rglob("*"))
    flags, *words = BAD[name]
    few = ["--examples=4", "--eval_examples=2", "--samples=0"]
    said = refuses(train_sft, "--model", tiny, *ALIKE, *flags, "--steps=1", *few)
    assert all(word in said for word in words), said
    assert set(tmp_path.rglob("*")) == before


def test_an_error_of_the_real_process(tmp_path):
    command = [sys.executable, train_sft.__file__, "--data", "nowhere.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.startswith("error: --data nowhere.jsonl: expected a file"), done.stderr
    assert len(done.stderr.splitlines()) <= 3 and not list(tmp_path.iterdir())


def test_the_examples_of_the_docstring_are_commands():
    usage = cli.usage(train_sft.Config)
    assert all(f"--{f.name}" in usage for f in dataclasses.fields(train_sft.Config))
    commands = [line.split("#")[0].split() for line in usage.splitlines() if line.strip().startswith("python ")]
    assert len(commands) == 4 and {Path(command[1]).name for command in commands} == {"train_sft.py"}
    for command in commands:
        cli.parse(train_sft.Config, command[2:], lambda given: train_sft.PRESETS[given.task])
