"""What is no finite number stops each script before the weights change; what was learned until then is saved."""

import functools
import math
import re

import pytest
import stages
import torch
from safetensors.torch import load_file
from stages import OWN, one_encoder, train  # noqa: F401

import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import checkpoint, data, dist, losses, rewards
from minalign.errors import UserError
from minalign.optim import AdamW

SCRIPTS = {"sft": train_sft, "rm": train_rm, "dpo": train_dpo, "ppo": train_ppo, "gfn": train_gfn}
MORE = {
    "sft": ["--samples=0"],
    "rm": ["--normalise=4"],
    "dpo": ["--samples=0"],
    "ppo": ["--samples_per_prompt=2", "--epochs=1", "--eval_examples=2", "--eval_samples=1"],
    "gfn": ["--objective=vargrad", "--samples_per_prompt=4", "--eval_examples=2", "--eval_samples=2", "--probes=0"],
}
REWARD = """
def odd(prompts, responses):
    return [float(len(r) % 2) for r in responses]
"""


@pytest.fixture(scope="module")
def flags(tiny, files, tmp_path_factory):
    """{script: its flags}"""
    path = tmp_path_factory.mktemp("reward") / "my.py"
    path.write_text(REWARD)
    alike = ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--eval_every=0", "--save_every=0",
             "--schedule=constant"]  # fmt: skip
    reward = ["--reward", f"{path}:odd"]
    return {name: alike + MORE[name] + reward * (name in ("ppo", "gfn")) for name in SCRIPTS}


@pytest.fixture(scope="module")
def first(flags, tmp_path_factory):
    """Return what a script has learned after its first step, {name: tensor}; asked once each."""

    @functools.cache
    def learned(name):
        run = train(SCRIPTS[name], *flags[name], "--steps=1", out=tmp_path_factory.mktemp("first") / name)
        return learned_in(run)

    return learned


def learned_in(run):
    tensors = load_file(checkpoint.checkpoints(run)[-1][1] / "state.safetensors")
    return {name: x for name, x in tensors.items() if name[:3] in ("mod", "cri", "log", "opt")}


class Clock:
    """Knows in which step a script is, by the batches that it has asked for."""

    def __init__(self, monkeypatch):
        self.step, take = 0, data.Stream.next

        def next(stream):
            self.step += 1
            return take(stream)

        monkeypatch.setattr(data.Stream, "next", next)


def poison(name, what, value, clock, patch):
    """Let a script meet `value` in its second step."""

    def spoil(owner, function, part):
        call = getattr(owner, function)

        def spoilt(*args, **kwargs):
            found = call(*args, **kwargs)
            return part(found) if clock.step == 2 and torch.is_grad_enabled() else found

        patch.setattr(owner, function, spoilt)

    def row(x):  # one row of a batch, the second
        x = x.clone()
        x[1] = value
        return x

    def gradients(parameters):
        next(iter(parameters)).grad.view(-1)[0] = value if clock.step == 2 else 0

    script = SCRIPTS[name]
    if what == "loss":
        owner, function = {
            "sft": (losses, "masked_mean"), "rm": (script, "preference_loss"), "dpo": (script, "dpo_loss"),
            "ppo": (losses, "ppo_value"), "gfn": (script, "balance"),
        }[name]  # fmt: skip
        spoil(owner, function, lambda x: (x[0] * value, x[1]) if name == "ppo" else x * value)
    elif what == "gradient":
        patch.setattr(dist, "average_gradients", gradients)
    elif name == "ppo":
        sampled, policy, values = script.generate, script.run_policy, script.run_values

        def generate(*args, **kwargs):
            samples = sampled(*args, **kwargs)
            samples.logprobs[1, 0] = value if clock.step == 2 and what == "log-prob" else samples.logprobs[1, 0]
            return samples

        patch.setattr(script, "generate", generate)
        if what == "reference":
            patch.setattr(script, "run_policy", lambda *a, **k: (row(policy(*a, **k)[0]), None, None) if clock.step == 2
                          and not torch.is_grad_enabled() else policy(*a, **k))  # fmt: skip
        if what == "values":
            patch.setattr(script, "run_values", lambda *a: row(values(*a)) if clock.step == 2 else values(*a))
    elif name == "dpo":
        found = script.log_probs
        patch.setattr(script, "log_probs", lambda *args: (row(found(*args)[0]), found(*args)[1]) if clock.step == 2
                      and torch.is_grad_enabled() == (what == "log-prob") else found(*args))  # fmt: skip
    else:
        function = {"sft": "score", "rm": "score", "gfn": "prefix_logprobs"}[name]
        spoil(script, function, lambda x: (row(x[0]), *x[1:]) if isinstance(x, tuple) else row(x))


NAN, INF = math.nan, math.inf
CASES = [  # script, what is no number, its value, what the message calls it
    *((name, "loss", NAN, "loss") for name in SCRIPTS),
    *((name, "gradient", value, "grad_norm") for name in SCRIPTS for value in (NAN, -INF)),
    ("sft", "log-prob", -INF, "logprobs"), ("dpo", "log-prob", -INF, "logps"), ("ppo", "log-prob", NAN, "logprobs"),
    ("gfn", "log-prob", -INF, "ratios"), ("rm", "reward", NAN, "rewards"), ("dpo", "reference", -INF, "ref_logps"),
    ("ppo", "reference", -INF, "ref_logprobs"), ("ppo", "values", NAN, "values"),
]  # fmt: skip


@pytest.mark.parametrize("name, what, value, called", CASES, ids=lambda x: str(x))
def test_a_step_is_not_taken(flags, first, tmp_path, monkeypatch, name, what, value, called):
    expected, run = first(name), tmp_path / "run"
    with monkeypatch.context() as patch:
        poison(name, what, value, Clock(patch), patch)
        with pytest.raises(UserError) as error:
            train(SCRIPTS[name], *flags[name], "--steps=3", out=run)
    said = str(error.value)
    assert re.match(rf"step 2: {called} is -?(nan|inf)", said) and len(said.splitlines()) == 3, said
    assert said.endswith("step 1 is saved, --resume goes on with the next batch"), said
    records = re.search(r"\nrecords: (.*)", said)[1]
    if name != "ppo":  # of which the records are responses
        assert "train.jsonl:" in records if name != "gfn" else any(w in records for w in ("market", "hats")), said
    if what not in ("loss", "gradient"):  # the one that was spoilt, and no other; of gfn its prompt
        assert f" rows {0 if name == 'gfn' else 1};" in said and records.count(";") == 0, said
    assert stages.same(learned_in(run), expected), "a weight has changed"
    assert [row["step"] for row in stages.lines(run / "metrics.jsonl")] == [1]
    if what == "loss":
        train(SCRIPTS[name], *flags[name], "--steps=3", "--resume", out=run)  # without what was in its way
        assert [row["step"] for row in stages.lines(run / "metrics.jsonl")] == [1, 2, 3]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_weight_that_is_no_number_is_not_saved(flags, first, tmp_path, monkeypatch, name):
    """The state of the step before stays, and so do the files of the policy."""
    run, kept, clock = tmp_path / "run", {}, Clock(monkeypatch)

    class Spoilt(AdamW):
        def step(self):
            kept.update({path: path.read_bytes() for path in run.rglob("*.safetensors")})
            super().step()
            if clock.step == 2:
                self.param_groups[0]["params"][0].data.view(-1)[0] = NAN

    monkeypatch.setattr(SCRIPTS[name], "AdamW", Spoilt)
    with pytest.raises(UserError) as error:
        train(SCRIPTS[name], *flags[name], "--steps=3", "--save_every=1", out=run)
    assert "nothing was saved: weights: " in str(error.value) and "lora_A" in str(error.value)
    assert len(kept) >= 2 and {path: path.read_bytes() for path in run.rglob("*.safetensors")} == kept
    assert stages.same(learned_in(run), first(name))


@pytest.mark.parametrize("name", ["ppo", "gfn"])
def test_a_reward_that_is_no_number_names_the_response(flags, first, tmp_path, monkeypatch, name):
    clock, choose = Clock(monkeypatch), rewards.choose

    def spoilt(*args):
        reward, model = choose(*args)
        return rewards.checked(lambda p, r: [NAN if clock.step == 2 else x for x in reward(p, r)], "my.py:odd"), model

    monkeypatch.setattr(rewards, "choose", spoilt)
    words = "expected a finite number, got nan\nfor the response .*\nto the prompt .*; step 1 is saved"
    with pytest.raises(UserError, match=words):
        train(SCRIPTS[name], *flags[name], "--steps=3", out=tmp_path / "run")
    assert stages.same(learned_in(tmp_path / "run"), first(name))
