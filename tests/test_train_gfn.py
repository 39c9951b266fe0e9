"""train_gfn.py as its user sees it: folders, numbers, resume, chains, errors. All on a model of one random layer."""

import dataclasses
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train_gfn
from minalign import cli, hub, lora, losses, stage
from minalign.generate import StopRule, generate, prefix_logprobs, score
from minalign.model import GPT2, GPT2Config
from minalign.stage import load_policy
from minalign.tasks import rng
from minalign.tokenizer import Tokenizer

SCRIPT = Path(train_gfn.__file__)
FAST = ["--batch_size=32", "--max_response=2", "--learning_rate=1e-2", "--warmup_steps=5", "--device=cpu"]
BARE = [*FAST, "--eval_samples=0", "--no-plot"]


def train(*flags):
    """Run the script in this process."""
    train_gfn.main(['--task=rng', *map(str, flags)])


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def result_of(run):
    return json.loads((Path(run) / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(rng_folder, tmp_path_factory):
    """A run of 200 steps with everything switched on."""
    out = tmp_path_factory.mktemp("runs") / "gfn"
    torch.manual_seed(0)
    train("--model", rng_folder, "--out", out, "--steps=200", *FAST, "--eval_samples=2000", "--save_every=90")
    return out


# ------------------------------------------------------------------------------------------------------ the folder


def test_a_run_folder_is_complete(finished, rng_folder):
    names = {path.name for path in finished.iterdir()}
    assert names == {"run.json", "metrics.jsonl", "result.json", "samples.jsonl", "adapter_config.json",
                     "adapter_model.safetensors", "state", "distribution.json",
                     "distribution.png", "curves.png"}  # fmt: skip
    about = json.loads((finished / "run.json").read_text())
    assert about["config"].keys() == {f.name for f in dataclasses.fields(train_gfn.Config)}
    assert about["config"]["steps"] == 200 and about["config"]["model"] == str(rng_folder) and about["seed"] == 1
    assert sorted(p.name for p in (finished / "state").iterdir()) == ["step_000180", "step_000200"]

    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 201))
    assert all({"loss", "grad_norm", "lr", "log_ratio_var", "length"} <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "kl_target_policy" in row] == list(range(25, 201, 25))
    assert all(v is not None and math.isfinite(v) for row in rows for v in row.values())


def test_result_json_has_the_outcome_of_the_task(finished):
    result = result_of(finished)
    outcome = {"kl_target_policy", "kl_policy_target", "tv", "valid_mass", "support", "min_ratio", "max_ratio"}
    assert outcome | {f"base_{key}" for key in outcome} <= result.keys()
    assert {"target_valid_mass", "head_floor", "seconds", "peak_memory_mb", "steps"} <= result.keys()
    assert all(isinstance(value, (int, float)) for value in result.values())
    last = lines(finished / "metrics.jsonl")[-1]
    assert all(result[key] == pytest.approx(last[key], rel=1e-6) for key in outcome)
    assert result["target_valid_mass"] > 0.99999 and result["head_floor"] > 0
    assert result["sampled_n"] == 2000 and result["sampled_nan"] < 20
    held = {key.split("/")[1] + "/" + key.split("/")[2] for key in result if key.startswith("held_out/")}
    assert held == {"uniform/generate", "uniform/sample", "uniform/here", "uniform/following",
                    "uniform-a0-b50/main", "uniform-a0-b520/main"}  # fmt: skip


def test_training_brings_the_policy_to_the_target(finished):
    result = result_of(finished)
    assert result["base_kl_target_policy"] > 0.2
    assert result["kl_target_policy"] < 0.25 * result["base_kl_target_policy"]
    assert result["tv"] < 0.5 * result["base_tv"] and result["valid_mass"] > 0.999
    assert result["support"] == 101 and result["min_ratio"] > 0.2  # 0 and 100 included


def test_samples_have_the_common_form(finished):
    rows = lines(finished / "samples.jsonl")
    assert len(rows) == 200 and all(row.keys() == {"prompt", "response", "step", "stopped", "scores"} for row in rows)
    assert {row["prompt"] for row in rows} == {rng.MAIN.format(a=0, b=100)} and {row["step"] for row in rows} == {200}
    numbers = [row["response"] for row in rows if row["stopped"]]
    assert sum(text in {str(n) for n in range(101)} for text in numbers) > 190
    assert len(set(numbers)) > 60


def test_the_figures_show_something(finished):
    image = pytest.importorskip("matplotlib.image")
    for name in ("distribution.png", "curves.png"):
        assert (finished / name).stat().st_size > 5_000
        pixels = (image.imread(finished / name)[..., :3] * 255).astype("u1").reshape(-1, 3)
        assert len({tuple(pixel) for pixel in pixels[::7]}) > 20
        assert (pixels == 255).all(1).mean() < 0.99
    from minalign import plot

    shown = [plot.COLORS[name] for name in ("target", "base", "policy")]
    colors = {tuple(round(int(c[i : i + 2], 16)) for i in (1, 3, 5)) for c in shown}
    pixels = (image.imread(finished / "distribution.png")[..., :3] * 255).round().astype("u1").reshape(-1, 3)
    assert colors <= {tuple(int(c) for c in pixel) for pixel in pixels}


def test_peft_loads_the_adapter_and_it_is_the_policy(finished, rng_folder):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base = transformers.AutoModelForCausalLM.from_pretrained(rng_folder)
    policy = peft.PeftModel.from_pretrained(base, str(finished)).eval()
    tokenizer, data = Tokenizer.from_folder(rng_folder), json.loads((finished / "distribution.json").read_text())
    prompt = tokenizer.encode(data["prompt"])
    rows = torch.tensor([prompt + tokenizer.encode(text) for text in data["texts"]])  # one token each
    with torch.no_grad():
        logits = policy(rows).logits.double()
    first = logits[:, len(prompt) - 1]
    first[:, tokenizer.eot] = -math.inf
    p = first.softmax(1).gather(1, rows[:, -1:])[:, 0] * logits[:, -1].softmax(1)[:, tokenizer.eot]
    torch.testing.assert_close(p, torch.tensor(data["policy"]).double(), atol=1e-6, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- stages


def test_evaluating_a_run_reproduces_its_numbers(finished, tmp_path):
    train("--eval_only", "--init", finished, "--out", tmp_path / "eval", *BARE)
    old, new = result_of(finished), result_of(tmp_path / "eval")
    for key in ("kl_target_policy", "kl_policy_target", "tv", "valid_mass", "support", "max_ratio"):
        assert new[key] == pytest.approx(old[key], rel=1e-2, abs=1e-5)  # merging rounds the weights
        # What that run started from; there the head has an adapter, which is off, and its sums are in another order.
        assert new[f"base_{key}"] == pytest.approx(old[f"base_{key}"], rel=1e-5, abs=1e-6)
    assert new["steps"] == 0 and not (tmp_path / "eval" / "metrics.jsonl").exists()
    assert not (tmp_path / "eval" / "adapter_model.safetensors").exists()


def test_a_stage_on_top_of_a_stage(finished, rng_folder, tmp_path):
    train("--init", finished, "--out", tmp_path / "second", "--steps=5", *BARE, "--target=poisson:lam=20")
    model, tokenizer, base = load_policy("nano", str(tmp_path / "second"))  # the base's name comes from the adapter
    assert base == str(rng_folder)
    condition = rng.Condition(rng.parse_target("poisson:lam=20"), "main", tokenizer, 2, 14.0)
    expected = result_of(tmp_path / "second")["kl_target_policy"]
    assert condition.evaluate(model)["kl_target_policy"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("init", [False, True])
def test_full_fine_tuning_writes_a_whole_model(rng_folder, finished, tmp_path, init):
    out = tmp_path / "full"
    start = ["--init", finished] if init else ["--model", rng_folder]
    train(*start, "--out", out, "--lora_rank=0", "--steps=40", *BARE)
    assert {"config.json", "model.safetensors", "vocab.json", "merges.txt"} <= {p.name for p in out.iterdir()}
    assert not (out / "adapter_config.json").exists()
    result = result_of(out)
    assert result["kl_target_policy"] != pytest.approx(result["base_kl_target_policy"], rel=1e-2)
    model = hub.from_pretrained(str(out))
    condition = rng.Condition(rng.parse_target("uniform"), "main", Tokenizer.from_folder(out), 2, 14.0)
    assert condition.evaluate(model)["kl_target_policy"] == pytest.approx(result["kl_target_policy"], rel=1e-4)
    before = hub.from_pretrained(str(rng_folder)).transformer.h[0].mlp.c_fc.weight
    assert not torch.equal(model.transformer.h[0].mlp.c_fc.weight, before)
    if not init:
        transformers = pytest.importorskip("transformers")
        twin = transformers.AutoModelForCausalLM.from_pretrained(out)
        tokens = torch.tensor([[1, 2, 3]])
        torch.testing.assert_close(twin(tokens).logits, model.lm_head(model(tokens)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("objective", ["subtb+vargrad", "subtb", "vargrad", "tb"])
def test_every_objective_learns(rng_folder, tmp_path, objective):
    train("--model", rng_folder, "--out", tmp_path / "run", "--steps=120", *BARE, "--objective", objective)
    result = result_of(tmp_path / "run")
    assert result["kl_target_policy"] < 0.5 * result["base_kl_target_policy"]
    assert result["kl_policy_target"] < 0.5 * result["base_kl_policy_target"]


def test_several_targets_and_templates_at_once(rng_folder, tmp_path):
    out = tmp_path / "many"
    train("--model", rng_folder, "--out", out, "--steps=250", *BARE, "--batch_size=128", "--eval_every=50",
          "--target", "uniform", "poisson:lam=20", "--template", "main", "sample")  # fmt: skip
    result = result_of(out)
    labels = [f"{target}/{template}" for target in ("uniform", "poisson-lam20") for template in ("main", "sample")]
    kl = [result[f"{label}/kl_target_policy"] for label in labels]
    assert result["kl_target_policy"] == kl[0]  # without a prefix: the first one
    assert lines(out / "metrics.jsonl")[-1]["kl_target_policy"] == pytest.approx(sum(kl) / 4, rel=1e-5)
    model, tokenizer, _ = load_policy("nano", str(out))
    for label in labels:  # one policy that tells them apart
        spec, template = label.replace("-lam20", ":lam=20").split("/")
        condition = rng.Condition(rng.parse_target(spec), template, tokenizer, 2, 14.0)
        base = condition.evaluate(hub.from_pretrained(str(rng_folder)))["tv"]
        assert condition.evaluate(model)["tv"] == pytest.approx(result[f"{label}/tv"], abs=1e-3)
        assert result[f"{label}/tv"] < 0.8 * base, label


def test_words_can_be_a_target_too(rng_folder, tmp_path):
    (tmp_path / "coin.txt").write_text("head 1\ntail 3\nnan 1\n")  # `nan` is a word here, also for the figure
    train("--model", rng_folder, "--out", tmp_path / "run", "--steps=3", *FAST, "--max_response=6", "--eval_samples=10",
          "--target", tmp_path / "coin.txt")  # fmt: skip
    assert (tmp_path / "run" / "distribution.png").stat().st_size > 5_000 and result_of(tmp_path / "run")[
        "support_size"
    ] == 3


@pytest.mark.parametrize("flags", [
    ["--replayed=1", "--tempered=0", "--explored=0"],
    ["--batch_size=3", "--tempered=0.5", "--explored=0", "--replayed=0.5"],
    ["--tempered=1", "--explored=0", "--replayed=0"], ["--explored=1", "--tempered=0", "--replayed=0", "--explore=1"],
    ["--batch_size=2"], ["--max_response=1"], ["--warmup_steps=0", "--max_grad_norm=0"],
    ["--eval_every=0", "--save_every=0"],
])  # fmt: skip
def test_the_edges_of_the_settings_work(rng_folder, tmp_path, flags):
    train("--model", rng_folder, "--out", tmp_path / "run", "--steps=4", *BARE, *flags)
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 4 and (tmp_path / "run" / "result.json").exists()


# ------------------------------------------------------------------------------------------- seeds, flags, presets


def test_the_same_command_twice(rng_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (1, 1, 2):
        train("--model", rng_folder, "--steps=5", *BARE, "--seed", seed)
    first, second, third = (tmp_path / "runs" / f"gfn-rng-tiny{n}" for n in ("", "-2", "-3"))
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["gfn-rng-tiny", "gfn-rng-tiny-2", "gfn-rng-tiny-3"]
    for name in ("metrics.jsonl", "adapter_model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes() != (third / name).read_bytes()


# Unclipped and with much exploration, so that also long and bad responses have a say within a few steps.
FEW = ["--max_response=3", "--steps=6", "--warmup_steps=2", "--objective=subtb+vargrad", "--clip_log_ratio=0"]
FEW += ["--tempered=0.2", "--explored=0.4", "--explore=0.8"]


@pytest.fixture(scope="module")
def plain_run(rng_folder, tmp_path_factory):
    """The last losses of a short run, by objective: what any other setting must change."""
    known = {}

    def of(*flags):
        if flags not in known:
            out = tmp_path_factory.mktemp("plain") / "run"
            train("--model", rng_folder, "--out", out, *BARE, *FEW, *flags)
            known[flags] = [(row["loss"], row.get("kl_target_policy")) for row in lines(out / "metrics.jsonl")][-2:]
        return known[flags]

    return of


@pytest.mark.parametrize("flag, given", [
    ("--target=poisson", ()), ("--template=sample", ()), ("--low=1", ()), ("--high=99", ()),
    ("--invalid_penalty=20", ()),
    ("--invalid_per_token=9", ()), ("--max_response=4", ()), ("--objective=vargrad", ()), ("--subtb_lambda=0.1", ()),
    ("--tempered=0.1", ()), ("--explored=0.2", ()), ("--explore=0.9", ()), ("--replayed=0", ()),
    ("--replay_capacity=1", ()), ("--prefill=0", ()), ("--replay_similarity=1", ()), ("--replay_margin=100", ()),
    ("--clip_log_ratio=1", ()),
    ("--batch_size=30", ()), ("--learning_rate=2e-2", ()), ("--log_z_learning_rate=0.5", ("--objective=tb",)),
    ("--schedule=linear", ()), ("--warmup_steps=3", ()), ("--weight_decay=1", ()), ("--max_grad_norm=1e-3", ()),
    ("--lora_rank=3", ()), ("--lora_alpha=5", ()), ("--lora_dropout=0.5", ()), ("--lora_targets=lm_head", ()),
    ("--seed=7", ()),
    ("--steps=7", ()),
])  # fmt: skip
def test_every_setting_has_an_effect(plain_run, flag, given):
    assert plain_run(*given, flag) != plain_run(*given)


def test_the_paper_s_preset_is_the_published_configuration():
    cfg, _ = cli.parse(train_gfn.Config, ["--task=rng", "--preset=paper"], preset=train_gfn.preset)
    published = dict(
        model="gpt2", objective="subtb", subtb_lambda=1.0, steps=2560,  # 2048 rows / 8 = 256 a pass, 10 passes
        batch_size=64,  # 8 fresh batches of 8 a step
        max_response=5, learning_rate=5e-4, schedule="linear", warmup_steps=10, weight_decay=0.01, max_grad_norm=0.0,
        lora_rank=512, lora_alpha=32.0, lora_dropout=0.1, lora_targets=("attn.c_attn",), tempered=0.0, explored=0.0,
        replayed=0.0, prefill=0, clip_log_ratio=0.0, seed=42, target=("uniform",), template=("main",), low=0, high=100,
    )  # fmt: skip
    assert {key: getattr(cfg, key) for key in published} == published
    assert cfg.steps * cfg.batch_size == 163_840
    mine, _ = cli.parse(train_gfn.Config, ["--task=rng", "--model=nano", "--preset=paper", "--steps=3"],
                        preset=train_gfn.preset)  # fmt: skip
    assert (mine.model, mine.steps, mine.lora_rank) == ("nano", 3, 512)


def test_the_learning_rate_warms_up_and_comes_down():
    def rates(**settings):
        cfg = train_gfn.Config(task="rng", reward="target", steps=10, warmup_steps=4, **settings)
        return [stage.learning_rate_factor(cfg, step) for step in range(10)]

    assert rates(schedule="constant") == [0.25, 0.5, 0.75, 1] + [1] * 6
    assert rates(schedule="linear") == pytest.approx([0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = rates(schedule="cosine")
    assert cosine[4] == 1 and cosine[7] == pytest.approx(0.5) and cosine[9] < 0.1


# ---------------------------------------------------------------------------------------------------- mathematics


@pytest.fixture
def rollout(rng_folder):
    """Two prompts of different lengths, 12 responses each from a tempered policy: finished and truncated ones."""
    model, tokenizer = hub.from_pretrained(str(rng_folder)).eval(), Tokenizer.from_folder(rng_folder)
    prompts = [tokenizer.encode(text) for text in ("Sample a number: ", "The following is a random integer: ")]
    tokens, mask = train_gfn.left_pad(prompts, tokenizer.eot)
    samples = generate(model, tokens, tokenizer.eot, 12, 3, 1, temperature=3.0, prompt_mask=mask,
                       generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert 0 < samples.stopped.sum() < 24
    return model, tokens, mask, samples, StopRule(tokenizer.eot, 3, 1)


OBJECTIVES = ["subtb+vargrad", "subtb", "vargrad", "tb"]


def balance(objective, model, prompts, prompt_mask, samples, rule, log_reward, log_z, tokens=None):
    """Return the loss of a step and log R - log P of each response, put together as the script does."""
    cfg, lengths = train_gfn.Config(task="rng", reward="target", objective=objective), samples.lengths
    tokens = samples.tokens if tokens is None else tokens
    t = torch.arange(tokens.size(1) + 1)
    can_end = (t >= 1) & (t <= lengths[:, None])
    log_p = prefix_logprobs(model, rule, prompts, prompt_mask, tokens, samples.mask, lengths)
    g = torch.where(can_end, log_reward - log_p, 0)
    weight = losses.subtb_weight(can_end | ((t == 0) & (objective == "subtb")))
    z = log_z if objective in ("subtb", "tb") else None
    return train_gfn.balance(g, can_end, lengths, z, 12, 1.0, weight, cfg), losses.terminal(g, lengths)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_policy_equal_to_the_base_has_loss_zero_under_the_base_s_reward(rollout, objective):
    model, prompts, prompt_mask, samples, rule = rollout
    with torch.no_grad():
        logp, stops = score(model, prompts, samples.tokens, samples.mask, rule.stop, 1, prompt_mask=prompt_mask)
    log_reward = torch.zeros(24, 4)
    for row, n in enumerate(samples.lengths.tolist()):
        for t in range(1, n + 1):  # log p(prefix, stop | prompt); a truncated one is not stopped
            log_reward[row, t] = logp[row, :t].sum() + (stops[row, t] if t < 3 else 0)
    lora.add_adapter(model, rank=4, targets=("attn.c_attn", "lm_head"))  # fresh: B = 0
    loss, log_ratio = balance(objective, *rollout, log_reward, torch.zeros(2))
    assert loss < 1e-9 and log_ratio.abs().max() < 1e-4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_prompt_has_a_log_z_of_its_own(rollout, objective):
    log_reward, found = torch.randn(24, 4), []
    for log_z in (torch.zeros(2), torch.tensor([4.0, -3.0])):  # a constant in a prompt's log R, and its log Z with it
        reward = log_reward + log_z.repeat_interleave(12)[:, None]
        found.append(balance(objective, *rollout, reward, log_z)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_tokens_after_the_stop_change_no_bit(rollout, objective):
    model, prompts, prompt_mask, samples, rule = rollout
    lora.add_adapter(model, rank=4, targets=("attn.c_attn", "mlp.c_fc", "lm_head"))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3)
    parameters = [p for p in model.parameters() if p.requires_grad]
    log_reward = torch.randn(24, 4)
    other = torch.where(samples.mask, samples.tokens, torch.randint(0, 300, samples.tokens.shape))
    assert not torch.equal(other, samples.tokens)
    outcomes = []
    for tokens, reward in (
        (samples.tokens, log_reward),
        (other, torch.where(torch.arange(4) <= samples.lengths[:, None], log_reward, 9.0)),
    ):
        log_z = torch.zeros(2, requires_grad=True)
        loss, _ = balance(objective, *rollout, reward, log_z, tokens)
        outcomes.append([loss, *torch.autograd.grad(loss, [*parameters, log_z], allow_unused=True)])
    assert outcomes[0][0] > 0.1
    for a, b in zip(*outcomes):
        assert a is b is None or torch.equal(a, b)


# --------------------------------------------------------------------------------------------------------- resume


def start(*flags):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, "--task=rng", *map(str, flags)]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert process.poll() is None and time.time() < end, process.stderr.read()
        time.sleep(0.01)


def test_a_run_that_was_stopped_and_killed_ends_as_if_nothing_had_been(rng_folder, tmp_path):
    flags = ["--model", rng_folder, *FAST, "--steps=150", "--eval_samples=100", "--no-plot", "--save_every=4",
             "--eval_every=10", "--lora_dropout=0.1", "--objective=subtb"]  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(*flags, "--out", whole)

    step = lambda: len(list((broken / "state").glob("step_*")))  # noqa: E731
    process = start(*flags, "--out", broken)
    wait_for(lambda: step() >= 2, process)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 143 and "--resume" in error and not (broken / "result.json").exists()

    done = len(lines(broken / "metrics.jsonl"))
    process = start(*flags, "--out", broken, "--resume")
    wait_for(lambda: len((broken / "metrics.jsonl").read_bytes().splitlines()) > done + 5, process)
    time.sleep(random.SystemRandom().uniform(0, 0.15))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    train(*flags, "--out", broken, "--resume")
    for name in ("metrics.jsonl", "adapter_model.safetensors", "samples.jsonl", "distribution.json"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    times = {"seconds": 0, "peak_memory_mb": 0}
    assert result_of(whole) | times == result_of(broken) | times


# --------------------------------------------------------------------------------------------------------- errors


def copy_with(folder, tmp_path, name, content):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content((folder / name).read_bytes()))
    return copy


def misfit(finished, tmp_path):
    """A run whose adapter names a base of another width."""
    small, run = tmp_path / "small", tmp_path / "run"
    base = Path(json.loads((finished / "adapter_config.json").read_text())["base_model_name_or_path"])
    shutil.copytree(base, small)
    hub.save_pretrained(GPT2(GPT2Config(hub.read_config(base).vocab_size, 96, 16, 1, 2)), small)
    shutil.copytree(finished, run)
    config = json.loads((run / "adapter_config.json").read_text()) | {"base_model_name_or_path": str(small)}
    (run / "adapter_config.json").write_text(json.dumps(config))
    return run


BAD = {
    "unknown flag": (lambda m, f, t: ["--model", m, "--stepz=3"], "unknown flag --stepz\nDid you mean --steps?"),
    "unknown task": (lambda m, f, t: ["--model", m, "--task=rgn"], "Did you mean rng?"),
    "unknown preset": (lambda m, f, t: ["--preset=papre"], "Did you mean paper?"),
    "unknown objective": (lambda m, f, t: ["--objective=subtp"], "Did you mean subtb?"),
    "unknown target": (lambda m, f, t: ["--model", m, "--target=posson"], "expected one of uniform, poisson"),
    "no such pmf": (lambda m, f, t: ["--model", m, "--target", t / "none.txt"], "path of a pmf file"),
    "no such folder": (lambda m, f, t: ["--model", t / "none"], "there is no such folder"),
    "no network": (lambda m, f, t: ["--model", "someone/no-such-model"], "cannot be reached"),
    "no weights": (lambda m, f, t: ["--model", copy_with(m, t, "model.safetensors", None)], "expected model"),
    "truncated": (lambda m, f, t: ["--model", copy_with(m, t, "model.safetensors", lambda b: b[:-100])], "cut short"),
    "LFS pointer": (
        lambda m, f, t: ["--model", copy_with(m, t, "model.safetensors", lambda b: b"version https://git-lfs.github.com/spec/v1\n")],
        "git-LFS pointer",
    ),
    "no config": (lambda m, f, t: ["--model", copy_with(m, t, "config.json", None)], "config.json: not found"),
    "other type": (
        lambda m, f, t: ["--model", copy_with(m, t, "config.json", lambda b: b.replace(b'"gpt2"', b'"llama"'))],
        "model_type",
    ),
    "no vocabulary": (lambda m, f, t: ["--model", copy_with(m, t, "vocab.json", None)], "vocab.json is missing"),
    "init is no folder": (lambda m, f, t: ["--model", m, "--init", t / "none"], "no such folder"),
    "init is no run": (lambda m, f, t: ["--model", m, "--init", t], "found neither"),
    "adapter of another model": (lambda m, f, t: ["--init", misfit(f, t)], "another size"),
    "too short": (lambda m, f, t: ["--model", m, "--max_response=1", "--high=120"], "--max_response allows 1"),
    "beyond the positions": (
        lambda m, f, t: ["--model", m, "--max_response=64", "--invalid_penalty=20", "--template=generate", "--low=3"],
        "exceed the model's 96 positions",
    ),
    "out in a file": (lambda m, f, t: ["--model", m, "--out", f / "run.json" / "new"], "cannot write"),
    "junk optimum": (lambda m, f, t: ["--model", m, "--invalid_penalty=3"], "--invalid_penalty"),
    "out exists": (lambda m, f, t: ["--model", m, "--out", f], "add --resume to continue it, or --overwrite"),
    "nothing to resume": (lambda m, f, t: ["--model", m, "--out", t / "new", "--resume"], "does not exist"),
    "resume another": (lambda m, f, t: ["--model", m, "--out", f, "--resume", "--seed=5"], "--seed is 5 (was 1)"),
    "overwrite the model": (lambda m, f, t: ["--model", m, "--out", m, "--overwrite"], "stays"),
    "small batch": (lambda m, f, t: ["--model", m, "--batch_size=3", "--target", "uniform", "poisson"], "at least 2"),
    "one prompt twice": (lambda m, f, t: ["--model", m, "--target", "uniform", "uniform"], "same prompt"),
    "shares": (lambda m, f, t: ["--tempered=0.9", "--replayed=0.9"], "shares of one batch"),
    "negative": (lambda m, f, t: ["--steps=-1"], "--steps: expected 1 to 1e+09, found -1"),
    "negative decay": (lambda m, f, t: ["--model", m, "--weight_decay=-1"], "--weight_decay: expected 0"),
    "negative clipping": (lambda m, f, t: ["--model", m, "--max_grad_norm=-1"], "--max_grad_norm: expected 0"),
    "negative penalty": (lambda m, f, t: ["--model", m, "--invalid_penalty=-1000"], "--invalid_penalty: expected 0"),
    "no number": (lambda m, f, t: ["--learning_rate=fast"], "expected a number, found 'fast'"),
    "no target": (lambda m, f, t: ["--target=none"], "at least one value"),
    "no such device": (lambda m, f, t: ["--device=tpu"], "--device: 'tpu' is not one of"),
    "seed": (lambda m, f, t: ["--model", m, "--seed=-1"], "--seed: expected 0"),
}  # fmt: skip


def files(*folders):
    """Return what is in the folders; of a run that has ended the lock is gone when its process is."""
    return {path: path.read_bytes() if path.is_file() else None
            for folder in folders for path in Path(folder).rglob("*") if path.name != ".lock"}  # fmt: skip


def fails(argv, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_gfn.py", "--task=rng", *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        cli.main(train_gfn.main)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and 1 <= len(error.splitlines()) <= 3, error
    return error


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_three_lines_and_leaves_nothing_behind(name, rng_folder, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, words = BAD[name]
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    argv = make(rng_folder, finished, tmp_path)
    before = files(tmp_path, rng_folder, finished)
    error = fails(argv, monkeypatch, capsys)
    assert words in error
    assert files(tmp_path, rng_folder, finished) == before


def test_a_folder_that_cannot_be_written(rng_folder, tmp_path, monkeypatch, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write anywhere")
    assert "permission denied" in fails(["--model", rng_folder, "--out", closed / "run"], monkeypatch, capsys)


def test_errors_and_help_of_the_real_process(tmp_path):
    def run(*flags):
        return subprocess.run(
            [sys.executable, SCRIPT, *flags], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    wrong = run("--stps=3")
    assert (
        wrong.returncode == 2
        and wrong.stderr == "error: unknown flag --stps\nDid you mean --steps?\n"
        and not wrong.stdout
    )
    told = run("--help")
    assert told.returncode == 0 and not told.stderr
    assert all(f"--{f.name}" in told.stdout for f in dataclasses.fields(train_gfn.Config))
    assert not list(tmp_path.iterdir())
    # The examples of the docstring are commands that can be copied, one a line.
    commands = [line.split("#")[0].split() for line in told.stdout.splitlines() if line.strip().startswith("python ")]
    assert len(commands) >= 3
    for command in commands:
        cli.parse(train_gfn.Config, command[2:], preset=train_gfn.preset)
