"""train_ppo.py as its user sees it: rewards of every kind, exact optima, every option, chains, warnings, errors."""

import dataclasses
import json
import math

import pytest
import stages
import torch
from stages import ALIKE, OWN, lines, logprobs, refuses, result_of, train, write

import train_ppo
import train_rm
import train_sft
from minalign import cli, console, hub, rewards, stage
from minalign.errors import UserError
from minalign.model import GPT2, GPT2Config
from minalign.rewards import from_run
from minalign.stage import load_policy
from minalign.tasks import grammar, sentiment
from minalign.tokenizer import Tokenizer

REWARDS = """
def short(prompts, responses):
    return [-len(r) / 10 for r in responses]

def one(prompts, responses):
    return [1.0] * len(responses)

def odd(prompts, responses):
    return [float((len(p) + 3 * len(r)) % 11) - 2 for p, r in zip(prompts, responses)]

def nothing(prompts, responses):
    return [float("nan") if len(r) > 3 else 0.0 for r in responses]

def few(prompts, responses):
    return [0.0]

def raises(prompts, responses):
    return [1 / 0 for _ in responses]
"""
TRL = {"objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
       "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg", "val/clipfrac_avg",
       "val/ratio", "val/ratio_var", "lr", "episode"}  # fmt: skip


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    """Return a maker of --reward file.py:function."""
    path = tmp_path_factory.mktemp("rewards") / "my_rewards.py"
    path.write_text(REWARDS)
    return lambda name: f"--reward={path}:{name}"


@pytest.fixture(scope="module")
def plain(tiny, files):
    """Flags of a run on own data, which still needs a reward."""
    return ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--samples_per_prompt=2", "--epochs=2",
            "--eval_examples=4", "--eval_samples=2"]  # fmt: skip


@pytest.fixture(scope="module")
def own(plain, rule):
    return [*plain, rule("odd")]


@pytest.fixture(scope="module")
def finished(plain, rule, tmp_path_factory):
    """A run of 20 steps with everything switched on, in which short responses are good."""
    return train(train_ppo, *plain, rule("short"), "--plot", "--steps=20", "--eval_every=10", "--save_every=10",
                 "--batch_size=32", "--beta=0.02", "--lora_targets=attn.c_attn,lm_head",
                 out=tmp_path_factory.mktemp("runs") / "ppo")  # fmt: skip


@pytest.fixture(scope="module")
def chain(tiny, files, tmp_path_factory):
    """An SFT run, and a reward model on top of it."""
    folder = tmp_path_factory.mktemp("runs")
    flags = ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1]]
    sft = train(train_sft, *flags, "--steps=5", out=folder / "sft")
    return sft, train(train_rm, *flags, "--init", sft, "--steps=5", out=folder / "rm")


@pytest.fixture(autouse=True)
def unwarned(monkeypatch):
    """A warning is said once a process: each test is to hear it."""
    monkeypatch.setattr(console, "_said", set())


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_run_folder_is_complete(finished):
    assert stages.inside(finished) == {
        "run.json", "metrics.jsonl", "result.json", "samples.jsonl", "predictions.jsonl", "adapter_config.json",
        "adapter_model.safetensors", "curves.png"}  # fmt: skip
    about = json.loads((finished / "run.json").read_text())
    assert about["config"].keys() == {f.name for f in dataclasses.fields(train_ppo.Config)}
    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 21)) and [row["step"] for row in rows if "eval/score" in row
                                                                    ] == [10, 20]  # fmt: skip
    more = {"objective/kl_coef", "objective/length", "objective/stop_rate", "grad_norm"}
    assert all(TRL | more <= row.keys() for row in rows)
    after = {f"eval/{key}" for key in ("score", "score_se", "kl", "loglik", "loglik_max", "loglik_token", "length",
                                       "stop_rate", "distinct")}  # fmt: skip
    result = result_of(finished)
    times = {"steps", "seconds", "peak_memory_mb", "beta"}
    assert result.keys() == after | {f"base_{key}" for key in after} | times
    samples = lines(finished / "samples.jsonl")
    assert len(samples) == 8 and all(row["step"] == 20 for row in samples)  # two to each of four prompts
    assert all(row.keys() == {"prompt", "response", "step", "stopped", "scores"} for row in samples)
    assert (finished / "curves.png").stat().st_size > 5_000


def test_it_climbs_its_reward(finished):
    rows = lines(finished / "metrics.jsonl")
    assert rows[0]["objective/scores"] < -1.3 and rows[-1]["objective/scores"] > -0.7
    assert result_of(finished)["eval/score"] > result_of(finished)["base_eval/score"] + 0.5
    assert abs(rows[0]["objective/kl"]) < 1e-4 < 0.3 < rows[-1]["objective/kl"]
    assert rows[0]["val/ratio"] == pytest.approx(1, abs=0.05)


def test_samples_have_their_scores_and_their_distance(finished, tiny):
    """Scores by the user's function; KL of a response by plain passes of the policy and of the base on disk."""
    rows, result = lines(finished / "predictions.jsonl"), result_of(finished)
    assert all(row["scores"] == {"score": pytest.approx(-len(row["response"]) / 10)} for row in rows)
    assert result["eval/score"] == pytest.approx(sum(row["scores"]["score"] for row in rows) / 8)
    assert result["eval/kl"] == pytest.approx(sum(row["kl"] for row in rows) / 8)
    assert result["eval/stop_rate"] == sum(row["stopped"] for row in rows) / 8
    tokenizer, compared = Tokenizer.from_folder(tiny), 0
    models = load_policy("nano", str(finished))[0], hub.from_pretrained(str(tiny))
    for row in rows:
        ids = tokenizer.encode(row["response"])
        if row["stopped"] and len(ids) < 8:  # spelt with other tokens, a text is another response
            policy, base = (logprobs(m, tokenizer.encode(row["prompt"]), ids + [tokenizer.eot]).sum() for m in models)
            compared += row["kl"] == pytest.approx((policy - base).item(), abs=1e-3)
    assert compared >= 3


# --------------------------------------------------------------------------------------------------------- rewards


def test_the_reward_of_a_response_is_put_together_as_the_flags_say(plain, rule, tmp_path):
    """The function says 1 each time: scaled to 5, cut at 3, less what length and missing stops cost, less beta KL."""
    run = train(train_ppo, *plain, rule("one"), "--steps=3", "--reward_scale=5", "--reward_clip=3", "--beta=0.3",
                "--length_penalty=0.25", "--missing_stop_penalty=2", out=tmp_path / "run")  # fmt: skip
    rows = lines(run / "metrics.jsonl")
    for row in rows:
        assert row["objective/scores"] == 1 and row["objective/kl_coef"] == pytest.approx(0.3)
        penalties = 0.25 * row["objective/length"] + 2 * (1 - row["objective/stop_rate"])
        assert row["objective/non_score_reward"] == pytest.approx(-0.3 * row["objective/kl"], abs=1e-5)
        expected = 3 - penalties + row["objective/non_score_reward"]
        assert row["objective/rlhf_reward"] == pytest.approx(expected, abs=1e-5)
    assert any(0 < row["objective/stop_rate"] < 1 for row in rows) and abs(row["objective/kl"]) > 1e-3


def test_the_value_network_learns_what_a_response_is_worth(plain, rule, tmp_path):
    flags = ["--beta=0", "--missing_stop_penalty=0", "--value_clip=0", "--value_coef=1", "--value_learning_rate=0.05"]
    for critic in ("separate", "shared"):
        run = train(train_ppo, *plain, rule("one"), *flags, "--critic", critic, "--steps=12", out=tmp_path / critic)
        losses = [row["loss/value_avg"] for row in lines(run / "metrics.jsonl")]
        assert losses[0] > 0.2 and losses[-1] < 0.02, critic


def test_a_trained_reward_model(plain, chain, tiny, tmp_path):
    """SFT -> RM -> PPO. It shares the backbone with the policy; alone it gives the same scores."""
    sft, rm = chain
    run = train(train_ppo, *plain, "--init", sft, "--reward", rm, "--steps=3", out=tmp_path / "run")
    rows = lines(run / "predictions.jsonl")
    scores = from_run(str(rm))([row["prompt"] for row in rows], [row["response"] for row in rows])
    assert [row["scores"]["score"] for row in rows] == pytest.approx(scores, abs=1e-4)
    # Fully trained, the policy has weights of its own, and the reward model too.
    full = train(train_ppo, *plain, "--init", sft, "--reward", rm, "--steps=1", "--lora_rank=0", out=tmp_path / "full")
    assert result_of(full)["base_eval/score"] == pytest.approx(result_of(run)["base_eval/score"], abs=1e-4)


@pytest.mark.parametrize("frozen", [0, 0.5])
def test_peft_loads_the_end_of_a_chain_on_the_original_base(plain, chain, tiny, tmp_path, frozen):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    sft, rm = chain
    with stages.graphs() as behind:
        run = train(train_ppo, *plain, "--init", sft, "--reward", rm, "--steps=2", "--value_init=rm",
                    "--freeze_layers", frozen, out=tmp_path / "run")  # fmt: skip
    assert (True in behind[0]) == (not frozen)  # of the critic, too, which starts as the reward model
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny)
    tokens = torch.randint(0, 2000, (2, 12))
    with torch.no_grad():
        plain_logits = base(tokens).logits
        loaded = peft.PeftModel.from_pretrained(base, str(run)).eval()(tokens).logits
        model = load_policy("nano", str(run))[0].eval()
        mine = model.lm_head(model(tokens))
    assert (mine - loaded).abs().max() < 1e-5 < 1e-2 < (mine - plain_logits).abs().max()


@pytest.mark.parametrize("task", ["sentiment", "descriptiveness", "puns", "summarize"])
def test_a_text_task_with_its_gold_score(roomy, tmp_path, task):
    few = ["--examples=4", "--eval_examples=3", "--batch_size=4", "--samples_per_prompt=2", "--eval_samples=1"]
    run = train(train_ppo, "--model", roomy, *ALIKE, "--task", task, *few, "--steps=1", out=tmp_path / task)
    result, rows = result_of(run), lines(run / "predictions.jsonl")
    assert len(rows) == 3 and all(0 <= row["scores"]["score"] <= 1 for row in rows)
    assert "base_eval/score" in result and 0 <= lines(run / "metrics.jsonl")[0]["objective/scores"] <= 1


def test_the_gold_score_is_told_beside_a_reward_model_s(tiny, plain, chain, rule, tmp_path, monkeypatch):
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: 0.25)
    few = [flag for flag in plain if "jsonl" not in str(flag) and flag not in ("--data", "--eval_data")]
    for name, reward in (("rm", ["--reward", chain[1]]), ("rule", [rule("one")])):
        run = train(train_ppo, *few, "--task=sentiment", "--examples=8", *reward, "--steps=1", out=tmp_path / name)
        assert result_of(run)["eval/gold"] == 0.25 and "eval/score" in result_of(run)


@pytest.mark.parametrize("name, words", [
    ("nothing", ["expected a finite number, got nan", "for the response", "to the prompt"]),
    ("few", ["expected a list of 8 numbers", "got 1 values"]),
    ("raises", ["ZeroDivisionError", "the first of them", "to the prompt"]),
    ("absent", ["has no function 'absent'"]),
])  # fmt: skip
def test_a_reward_function_that_fails(plain, rule, tmp_path, name, words):
    said = refuses(train_ppo, *plain, rule(name), "--steps=1", "--out", tmp_path / "run")
    assert "--reward" in said and f"my_rewards.py:{name}" in said and all(word in said for word in words), said


# ------------------------------------------------------------------------------------------------------- exact optima


def poisson(text, lam=20):
    return int(text) * math.log(lam) - lam - math.lgamma(int(text) + 1)


def optimum(drawn, reward, beta):
    """Return p* of the listed strings given a valid one: p_ref exp(r / beta), from distribution.json."""
    p = torch.tensor(drawn["base"]).double() * torch.tensor([math.exp(reward(t) / beta) for t in drawn["texts"]])
    return p / p.sum()


@pytest.mark.parametrize("flags, beta", [
    (["--advantages=rloo"], 1), (["--advantages=group"], 1), (["--advantages=gae", "--critic=shared"], 1),
    (["--advantages=gae", "--lam=1"], 1), (["--advantages=rloo", "--beta=0.5"], 0.5),
    (["--advantages=rloo", "--kl_in=loss", "--kl_estimator=k2"], 1),
], ids=["rloo", "group", "shared critic", "separate critic", "beta 0.5", "KL in the loss"])  # fmt: skip
def test_rng_comes_near_its_exact_optimum(rng_folder, tmp_path, flags, beta):
    """Not near the target: with the anchor to a skewed base the optimum is skewed too."""
    run = train(train_ppo, "--model", rng_folder, *ALIKE, "--task=rng", "--target=poisson:lam=20", "--steps=40",
                "--learning_rate=1e-2", "--eval_examples=10", *flags, out=tmp_path / "rng")  # fmt: skip
    result, drawn = result_of(run), json.loads((run / "distribution.json").read_text())
    target, policy = optimum(drawn, poisson, beta), torch.tensor(drawn["policy"]).double()
    shown = torch.tensor(drawn["target"]).double()
    torch.testing.assert_close(shown / shown.sum(), target, atol=1e-6, rtol=1e-3)
    tv = (target - policy / policy.sum()).abs().sum().item() / 2
    assert result["exact/tv_valid"] == pytest.approx(tv, abs=1e-5)
    assert tv < 0.08 < 0.6 < result["base_exact/tv_valid"] and result["exact/valid_mass"] > 0.99
    keys = {f"exact/{key}" for key in ("kl_target_policy", "kl_policy_target", "tv", "valid_mass", "target_valid_mass")}
    assert keys | {f"base_{key}" for key in keys} <= result.keys()


def test_a_rule_of_one_s_own_has_an_exact_optimum_too(rng_folder, tmp_path):
    """Even numbers are good; the scale counts, and strings that are no numbers earn what the rule gives them."""
    (tmp_path / "even.py").write_text(
        "def even(prompts, responses):\n    return [(1.0 if int(r) % 2 == 0 else 0.0) if r.isdigit() else -9.0"
        " for r in responses]\n")  # fmt: skip
    run = train(train_ppo, "--model", rng_folder, *ALIKE, "--task=rng", "--steps=2", "--reward_scale=3", "--plot",
                "--eval_examples=10", "--reward", f"{tmp_path / 'even.py'}:even", out=tmp_path / "rng")  # fmt: skip
    drawn = json.loads((run / "distribution.json").read_text())
    worth = torch.tensor([math.exp(3) if int(text) % 2 == 0 else 1 for text in drawn["texts"]]).double()
    expected = torch.tensor(drawn["base"]).double() * worth
    expected /= expected.sum() + (1 - sum(drawn["base"])) * math.exp(-27)
    torch.testing.assert_close(torch.tensor(drawn["target"]).double(), expected, atol=1e-6, rtol=1e-3)
    assert {"eval/score", "eval/gold"} <= result_of(run).keys()
    assert {"distribution.png", "curves.png"} <= stages.inside(run)


def test_grammar_has_its_optimum_too(tiny, tmp_path, monkeypatch):
    for name, slots in (("WHO", {"Mira": 5, "Tom": 4}), ("ANIMALS", {"dog": 4}), ("THINGS", {"key": 1}),
                        ("SIZES", {"": 3}), ("PLACES", {"": 4, "at the market": 2}), ("FEELINGS", {"": 3, "happy": 1})):
        monkeypatch.setattr(grammar, name, slots)  # fmt: skip
    grammar.sentences.cache_clear()
    try:
        run = train(train_ppo, "--model", tiny, *ALIKE, "--task=grammar", "--grammar_reward=animals", "--beta=2",
                    "--steps=2", "--batch_size=16", "--samples_per_prompt=16", "--eval_examples=4",
                    out=tmp_path / "run")  # fmt: skip
    finally:
        grammar.sentences.cache_clear()
    drawn = json.loads((run / "distribution.json").read_text())
    worth = torch.tensor([math.exp(("dog" in t) / 2 - ("key" in t) / 2) for t in drawn["texts"]]).double()
    expected = torch.tensor(drawn["base"]).double() * worth
    expected /= expected.sum() + (1 - sum(drawn["base"])) * math.exp(-1)  # what is no sentence earns -2
    torch.testing.assert_close(torch.tensor(drawn["target"]).double(), expected, atol=1e-9, rtol=1e-3)
    assert len(worth) == 48 and {"exact/tv_valid", "base_exact/tv_valid"} <= result_of(run).keys()


# -------------------------------------------------------------------------------------------------------- options


def test_every_setting_has_an_effect(own, tmp_path):
    stages.check_effects(train_ppo, [*own, "--steps=2"], tmp_path, [
        "--batch_size=6", "--learning_rate=2e-2", "--schedule=constant", "--warmup_steps=2", "--weight_decay=0.5",
        "--max_grad_norm=1e-3", "--lora_rank=3", "--lora_alpha=5", "--lora_targets=lm_head", "--seed=7",
        "--max_response=4", "--max_prompt=3", "--samples_per_prompt=4", "--temperature=0.7", "--reward_scale=2",
        "--reward_clip=1", "--length_penalty=1", "--missing_stop_penalty=3", "--beta=1", "--kl_target=1e-4",
        "--kl_estimator=k3", "--advantages=rloo", "--advantages=group", "--gamma=0.5", "--lam=0.5",
        "--whiten=none", "--whiten=rewards", "--critic=shared", "--value_learning_rate=0.1", "--value_coef=1",
        "--value_clip=1e-3", "--clip=1e-3", "--epochs=1", "--minibatches=2", "--adam_eps=1e-3"])  # fmt: skip


def test_every_setting_that_needs_another_has_an_effect(own, tmp_path):
    for given, flags in ((["--adam_eps=1e-3"], ["--tf_adam"]), (["--kl_estimator=k2"], ["--kl_in=loss"]),
                         (["--kl_target=1e-4", "--steps=3"], ["--kl_horizon=10"]), (["--epochs=3"], ["--stop_kl=1e-9"]),
                         (["--kl_in=loss", "--kl_estimator=k3", "--epochs=3"], ["--kl_estimator=k2", "--beta=1"])
                         ):  # fmt: skip
        folder = tmp_path / given[0].strip("-")
        folder.mkdir()
        stages.check_effects(train_ppo, [*own, "--steps=2"], folder, flags, given)


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_the_entropy_bonus_raises_the_entropy(plain, rule, tmp_path, critic):
    flags = ["--steps=5", "--beta=0", "--missing_stop_penalty=0", "--batch_size=16", "--entropy_coef=10"]
    run = train(train_ppo, *plain, rule("one"), *flags, "--critic", critic, out=tmp_path / "run")
    nats = [row["policy/entropy_avg"] for row in lines(run / "metrics.jsonl")]
    assert nats[0] + 0.04 < nats[-1] < math.log(2657)


def test_dropout_is_refused_or_done(own, tmp_path):
    """A ratio of two passes with different coins is not 1: PPO trains without dropout, so it must not pretend to."""
    said = refuses(train_ppo, *own, "--steps=1", "--lora_dropout=0.5", "--out", tmp_path / "run")
    assert "--lora_dropout" in said


@pytest.mark.parametrize("advantages", ["gae", "rloo"])
def test_value_init_starts_at_the_reward_model(plain, chain, tmp_path, advantages):
    """Only a value function has a start."""
    runs = [train(train_ppo, *plain, "--init", chain[0], "--reward", chain[1], "--steps=1", "--advantages", advantages,
                  "--value_init", init, out=tmp_path / init) for init in ("zero", "rm")]  # fmt: skip
    rows = [lines(run / "metrics.jsonl")[0] for run in runs]
    assert (rows[0] == rows[1]) == (advantages == "rloo")
    if advantages == "gae":
        assert rows[0]["loss/value_avg"] != rows[1]["loss/value_avg"]


# ---------------------------------------------------------------------------------------------------- own data


def test_any_record_is_a_prompt(tiny, rule, tmp_path, capsys):
    data = write(tmp_path / "mixed.jsonl", [
        {"prompt": "Tom"}, {"prompt": "Anna", "completion": " a"}, {"prompt": "Mira", "chosen": " a", "rejected": " b"},
        {"prompt": "Oskar", "completions": [" a", " b"], "best": 1}, {"prompt": "Tom lost", "ranking": [" a", " b"]},
        {"prompt": [40, 41]}, {"messages": [{"role": "user", "content": "Hi"}]}, {"prompt": "hat " * 200 + "the end"},
    ])  # fmt: skip
    run = train(train_ppo, "--model", tiny, *OWN, "--data", data, "--eval_data", data, rule("one"), "--steps=1",
                "--eval_samples=1", "--samples_per_prompt=2", out=tmp_path / "run")  # fmt: skip
    assert "8 records; 1 prompts cut to their last 88 tokens" in capsys.readouterr().out
    prompts = [row["prompt"] for row in lines(run / "predictions.jsonl")]
    assert prompts[:5] == ["Tom", "Anna", "Mira", "Oskar", "Tom lost"] and prompts[-1].endswith(" the end")
    assert prompts[6] == "Human: Hi\n\nAssistant:" and prompts[5] == Tokenizer.from_folder(tiny).decode([40, 41])


def test_a_world_has_one_prompt(tmp_path):
    with pytest.raises(UserError, match="--samples_per_prompt equal to --batch_size"):
        train(train_ppo, "--task=rng", "--batch_size=16", "--samples_per_prompt=4", out=tmp_path / "run")


def test_a_step_has_as_many_responses_as_it_says(rng_folder, rule, tmp_path, monkeypatch):
    """Also where there are fewer prompts than a step takes."""
    data = write(tmp_path / "data.jsonl", [{"prompt": f"Sample {i}"} for i in range(3)])
    flags = ["--data", data, "--eval_data", data, rule("one"), "--max_response=4", "--samples_per_prompt=4"]
    drawn, generate = [], train_ppo.generate

    def counted(*args, **named):
        drawn.append(generate(*args, **named))
        return drawn[-1]

    monkeypatch.setattr(train_ppo, "generate", counted)
    run = train(train_ppo, "--model", rng_folder, *ALIKE, *flags, "--batch_size=16", "--steps=2", "--eval_examples=2",
                out=tmp_path / "run")  # fmt: skip
    assert lines(run / "metrics.jsonl")[-1]["episode"] == sum(len(samples.tokens) for samples in drawn)


# -------------------------------------------------------------------------------------------------------- warnings


def test_a_kl_that_is_negative_beyond_noise_is_loudly_warned_of(plain, rule, tmp_path, monkeypatch, capsys):
    """Here the sampler reports log-probs that are too low by one nat a token, as with a top-k that nobody mentions."""
    generate = train_ppo.generate

    def low(*args, **named):
        samples = generate(*args, **named)
        return dataclasses.replace(samples, logprobs=samples.logprobs - samples.mask.float())

    flags = [*plain, rule("one"), "--steps=1"]
    train(train_ppo, *flags, out=tmp_path / "quiet")
    assert "WARNING" not in capsys.readouterr().err
    monkeypatch.setattr(train_ppo, "generate", low)
    train(train_ppo, *flags, out=tmp_path / "loud")
    said = capsys.readouterr().err
    assert "WARNING: the KL to the reference is -" in said and "negative beyond noise" in said
    assert "WARNING: before any update the ratio is off 1" in said


def test_responses_that_no_longer_end_are_loudly_warned_of(plain, rule, tmp_path, monkeypatch, capsys):
    generate = train_ppo.generate

    def endless(*args, **named):
        samples = generate(*args, **named)
        return dataclasses.replace(samples, stopped=torch.zeros_like(samples.stopped))

    monkeypatch.setattr(train_ppo, "generate", endless)
    run = train(train_ppo, *plain, rule("one"), "--steps=3", out=tmp_path / "run")
    assert lines(run / "metrics.jsonl")[-1]["objective/stop_rate"] == 0
    said = capsys.readouterr().err
    assert said.count("WARNING: responses that end by themselves fell from") == 1 and "--missing_stop_penalty" in said


# ---------------------------------------------------------------------------------------------------- every script


def test_every_flag_is_read():
    stages.check_every_flag_is_read(train_ppo)


def test_a_dry_run(own, tmp_path, monkeypatch, capsys):
    stages.check_dry_run(train_ppo, own, tmp_path, monkeypatch, capsys)


def test_the_learning_rate(own, tmp_path):
    stages.check_schedule(train_ppo, own, tmp_path)


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_full_fine_tuning_and_frozen_layers(own, tiny, tmp_path, critic):
    stages.check_full_fine_tuning(train_ppo, [*own, "--critic", critic], tiny, tmp_path)
    stages.check_frozen_adapters(train_ppo, [*own, "--critic", critic], tmp_path)


@pytest.mark.parametrize("frozen, start", [(0.5, "zero"), (0.5, "rm"), (0, "zero")])
def test_frozen_weights_are_in_memory_once(plain, tmp_path, monkeypatch, frozen, start):
    """Policy, reference, reward model and critic of one SFT run, fully trained: else each has weights of its own."""
    full, roles = ["--lora_rank=0", "--freeze_layers", frozen, "--steps=1"], {}
    sft = train(train_sft, *plain[:-4], *full, out=tmp_path / "sft")
    rm = train(train_rm, *plain[:-4], *full, "--init", sft, out=tmp_path / "rm")
    reference, make_critic = stage.reference, rewards.make_critic

    def critic_of(model, cfg, reward_model):
        roles.update(policy=model, reward=reward_model.model, critic=make_critic(model, cfg, reward_model))
        return roles["critic"]

    monkeypatch.setattr(stage, "reference", lambda *args: roles.setdefault("reference", reference(*args)))
    monkeypatch.setattr(rewards, "make_critic", critic_of)
    train(train_ppo, *plain, *full, "--value_init", start, "--init", sft, "--reward", rm, out=tmp_path / "ppo")
    for name, weight in stage.load_policy("nano", str(sft))[0].named_parameters():
        shared = bool(frozen) and any(part in name for part in (".h.0.", ".wte.", ".wpe."))
        mine = {role: model.get_parameter(name) for role, model in roles.items()}
        assert len({p.data_ptr() for p in mine.values()}) == (1 if shared else 4), name
        assert torch.equal(mine["reference"], weight) and torch.equal(mine["policy"], weight) == shared, name


@pytest.mark.parametrize("more", [["--critic=shared"], ["--critic=separate", "--minibatches=2"],
                                  ["--advantages=rloo", "--kl_in=loss", "--kl_estimator=k3"]])  # fmt: skip
def test_micro_batches(own, tmp_path, more):
    stages.check_micro_batches(train_ppo, own, tmp_path, 2, "--max_grad_norm=0", *more)


@pytest.mark.parametrize("more", [
    ["--critic=separate"], ["--critic=shared", "--keep_best=eval/score"], ["--kl_target=0.01", "--kl_horizon=20"],
    ["--advantages=rloo", "--tf_adam", "--adam_eps=1e-3", "--minibatches=2"], ["--lora_rank=0"],
], ids=["separate", "shared", "adaptive", "rloo", "full"])  # fmt: skip
def test_a_run_that_was_stopped_and_killed_ends_as_if_nothing_had_been(own, tmp_path, monkeypatch, more):
    stages.check_resume(train_ppo, [*own, *more], tmp_path, monkeypatch)
    rows = lines(tmp_path / "broken" / "metrics.jsonl")
    assert (len({row["objective/kl_coef"] for row in rows}) > 1) == ("--kl_target=0.01" in more)


def test_a_chain_is_resumed_too(plain, chain, tmp_path, monkeypatch):
    flags = [*plain, "--init", chain[0], "--reward", chain[1], "--value_init=rm"]
    stages.check_resume(train_ppo, flags, tmp_path, monkeypatch)


def test_the_best_weights_are_kept(own, tmp_path, monkeypatch):
    stages.check_keep_best(train_ppo, own, tmp_path, monkeypatch, "eval/score", [1, 7, 3], 2)


def test_a_metric_that_does_not_exist(own, tmp_path):
    stages.check_unknown_metric(train_ppo, own, tmp_path)


def test_nothing_is_learned_from_what_is_not_finite(own, tmp_path, monkeypatch):
    stages.check_finite_guard(train_ppo, own, tmp_path, monkeypatch)


def test_evaluating_a_run(finished, files, rule, tmp_path):
    """Against the base that it was trained from, whose name is in its folder; --model need not repeat it."""
    flags = ["--data", files[0], "--eval_data", files[1], "--max_response=8", "--eval_samples=16", rule("short")]
    run = train(train_ppo, *ALIKE, *flags, "--eval_only", "--init", finished, out=tmp_path / "eval")
    assert stages.inside(run) == {"run.json", "result.json", "predictions.jsonl", "samples.jsonl"}
    result, row = result_of(run), lines(finished / "metrics.jsonl")[-1]
    assert result["steps"] == 0 and len(lines(run / "predictions.jsonl")) == 8 * 16
    assert result["eval/score"] == pytest.approx(row["objective/scores"], abs=0.35)
    assert result["eval/kl"] == pytest.approx(row["objective/kl"], abs=0.6) and result["eval/kl"] > 0.3


# ---------------------------------------------------------------------------------------------------------- errors


BAD = {
    "neither task nor data": ([], "give one of --task and --data", "sentiment"),
    "both": (["--task=puns", "--data", "good.jsonl"], "give one of --task and --data", "grammar"),
    "unknown flag": (["--task=puns", "--value_inti=rm"], "unknown flag --value_inti", "--value_init?"),
    "unknown advantages": (["--task=puns", "--advantages=grpo"], "--advantages: 'grpo' is not one of", "Did you mean"),
    "uneven batch": (["--task=puns", "--batch_size=10", "--samples_per_prompt=4"], "--batch_size 10",
                     "multiple of --samples_per_prompt 4", "try"),
    "one sample": (["--task=puns", "--advantages=rloo", "--samples_per_prompt=1"], "--advantages rloo", "at least 2"),
    "k1 in the loss": (["--task=puns", "--kl_in=loss"], "--kl_in loss needs --kl_estimator k2 or k3"),
    "temperature of a world": (["--task=rng", "--temperature=2"], "--task rng", "--temperature 1"),
    "no gold score": (["--data", "good.jsonl"], "--reward", "no gold score", "file.py:function"),
    "no such reward": (["--data", "good.jsonl", "--eval_data", "good.jsonl", "--reward=nowhere"], "--reward nowhere",
                       "train_rm.py"),
    "no such file of rewards": (["--data", "good.jsonl", "--eval_data", "good.jsonl", "--reward=my.py:f"],
                                "--reward my.py:f", "existing file"),
    "value_init without a reward model": (["--task=puns", "--value_init=rm"], "--value_init rm", "--reward"),
    "no such data": (["--data", "no.jsonl", "--reward=a.py:f"], "no.jsonl", "no such file"),
    "misspelt key": (["--data", "key.jsonl", "--reward=a.py:f"], "key.jsonl:1", '"promt"', '"prompt"?'),
    "another script's flag": (["--task=puns", "--top_k=5"], "unknown flag --top_k"),
    "nothing to train": (["--task=puns", "--freeze_layers=1"], "--freeze_layers 1 leaves nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_leaves_nothing_behind(name, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.jsonl", stages.pairs(1))
    write(tmp_path / "key.jsonl", [{"promt": "a"}])
    before = set(tmp_path.rglob("*"))
    flags, *words = BAD[name]
    few = ["--examples=4", "--eval_examples=2", "--eval_samples=1", "--max_response=8", "--steps=1"]
    said = refuses(train_ppo, "--model", tiny, *ALIKE, *few, *flags)
    assert all(word in said for word in words), said
    assert set(tmp_path.rglob("*")) == before


def test_the_limit_of_own_data_is_the_one_that_help_names(own, tmp_path):
    help = train_ppo.Config.__dataclass_fields__["max_response"].metadata["help"]
    said = refuses(train_ppo, *own, "--max_response=0", "--steps=1", "--out", tmp_path / "run")
    assert f"own data: {said.split('responses of ')[1].split()[0]}" in help


@pytest.mark.parametrize("rank", [4, 0])
def test_a_reward_run_of_another_vocabulary(plain, rng_folder, tmp_path, rank):
    rm = train(train_rm, "--model", rng_folder, *OWN, *plain[plain.index("--data") :][:4], "--steps=1",
               out=tmp_path / "rm")  # fmt: skip
    said = refuses(train_ppo, *plain, "--reward", rm, f"--lora_rank={rank}", "--steps=1", "--out", tmp_path / "run")
    assert "vocabulary" in said and str(rm) in said and "Train it from the policy's base" in said


def test_a_reward_run_of_another_backbone(plain, tiny, tmp_path):
    """With the same vocabulary it is a model of its own; a value network cannot start as it where it must be shared."""
    tokenizer = Tokenizer.from_folder(tiny)
    hub.save_pretrained(GPT2(GPT2Config(tokenizer.n_vocab, n_positions=96, n_embd=16, n_layer=1, n_head=2)),
                        tmp_path / "narrow")  # fmt: skip
    tokenizer.save(tmp_path / "narrow")
    data = plain[plain.index("--data") :][:4]
    rm = train(train_rm, "--model", tmp_path / "narrow", *OWN, *data, "--steps=2", out=tmp_path / "rm")
    run = train(train_ppo, *plain, "--reward", rm, "--steps=1", out=tmp_path / "run")
    rows = lines(run / "predictions.jsonl")
    scores = from_run(str(rm))([row["prompt"] for row in rows], [row["response"] for row in rows])
    assert [row["scores"]["score"] for row in rows] == pytest.approx(scores, abs=1e-4)
    for critic in ("separate", "shared"):
        said = refuses(train_ppo, *plain, "--reward", rm, "--steps=1", "--value_init=rm", "--critic", critic,
                       "--out", tmp_path / critic)  # fmt: skip
        assert "--value_init" in said and "zero" in said


def test_the_examples_of_the_docstring_are_commands():
    commands = [line.split("#")[0].split() for line in train_ppo.__doc__.splitlines() if "python train" in line]
    assert len(commands) == 4
    for command in commands:
        cli.parse(train_ppo.Config, command[2:], lambda given: train_ppo.PRESETS[given.task])
