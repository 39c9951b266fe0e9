"""Twenty updates of each training script on nano, from recorded rollouts: what test_golden.py replays.

What a script learns from is in golden/records.jsonl; what it samples, in training and in evaluations, is in
golden/rollouts.safetensors, so that a token that falls on the other side of a rounded probability changes nothing.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import respond
from minalign.generate import Samples, generate
from minalign.run import Run

GOLDEN = Path(__file__).resolve().parent / "golden"
RECORDS, ROLLOUTS = GOLDEN / "records.jsonl", GOLDEN / "rollouts.safetensors"
TRAJECTORIES = GOLDEN / "trajectories.json"
REWARD = "def score(prompts, responses):\n    return [r.count('e') / 4 - abs(len(r) - 24) / 24 for r in responses]\n"
STEPS = 20
# A modest rate: rounding grows with every update. No evaluation but the two that a run has anyway.
ALIKE = ["--model=nano", "--device=cpu", "--dtype=fp32", "--no-plot", f"--steps={STEPS}", "--eval_every=0",
         "--save_every=0", "--lora_rank=4", "--learning_rate=1e-3", "--warmup_steps=4", "--max_response=12"]
EVALUATED = ["--eval_examples=2", "--eval_samples=2"]
SCRIPTS = {
    "sft": (train_sft, ["--batch_size=8", "--samples=0"]),
    "rm": (train_rm, ["--batch_size=8", "--normalise=16"]),
    "dpo": (train_dpo, ["--batch_size=8", "--samples=0"]),
    # every term of the loss: advantages of a value network, both clips, entropy, an adaptive KL coefficient
    "ppo": (train_ppo, ["--batch_size=8", "--samples_per_prompt=2", "--minibatches=2", "--epochs=2", "--clip=0.02",
                        "--entropy_coef=0.01", "--kl_target=1", "--kl_horizon=100", "--value_clip=0.02", *EVALUATED]),
    # prefixes (SubTB), responses (VarGrad), a temperature that falls, replay
    "gfn": (train_gfn, ["--batch_size=16", "--samples_per_prompt=4", "--reward_temperature_steps=10", "--probes=0",
                        "--explored=0.25", "--replay_capacity=8", "--examples=8", *EVALUATED]),
}  # fmt: skip
METRICS = ("loss", "grad_norm", "rewards/margins", "loss/policy_avg", "loss/value_avg", "objective/kl",
           "objective/kl_coef", "objective/rlhf_reward", "policy/entropy_avg", "log_ratio_var", "log_reward")


class Replay:
    """`generate`, but for the tokens: those of the recording, call by call."""

    def __init__(self, recorded: dict[str, torch.Tensor], name: str):
        self.recorded, self.name, self.calls = recorded, name, 0

    def __call__(self, model, prompts, stop, n=1, **settings) -> Samples:
        key, self.calls = f"{self.name}/{self.calls:03}", self.calls + 1
        assert f"{key}/tokens" in self.recorded, f"{self.name} samples more often than when it was recorded"
        tokens, logprobs = self.recorded[f"{key}/tokens"].long(), self.recorded[f"{key}/logprobs"]
        assert len(tokens) == len(prompts) * n, f"{key}: {len(tokens)} responses were recorded, not {len(prompts) * n}"
        mask = torch.arange(tokens.size(1)) < self.recorded[f"{key}/lengths"][:, None]
        ends = ((tokens == stop) & mask).any(1)
        return Samples(tokens, mask, logprobs, ends, mask.sum(1) - ends.long())


class Recorder(Replay):
    """`generate`, and remember what it returned."""

    def __call__(self, model, prompts, stop, n=1, **settings) -> Samples:
        found = generate(model, prompts, stop, n, **settings)
        key, self.calls = f"{self.name}/{self.calls:03}", self.calls + 1
        self.recorded |= {f"{key}/tokens": found.tokens.short(), f"{key}/logprobs": found.logprobs,
                          f"{key}/lengths": found.mask.sum(1).short()}  # fmt: skip
        assert torch.equal(found.stopped, ((found.tokens == stop) & found.mask).any(1))
        return found


class Enough(Exception):
    """The run has taken as many updates as are wanted."""


def run(name: str, folder: Path, sampler: Replay, patch, until: int = STEPS) -> dict:
    """Run a script with another `generate`; return its metrics of each step and a digest of its weights.

    patch: function of a module, a name and a value, as monkeypatch.setattr. until: the last step; before the end of the
    run there are only metrics.
    """
    script, flags = SCRIPTS[name]
    (folder / "reward.py").write_text(REWARD)
    for module in (respond, train_ppo, train_gfn):
        patch(module, "generate", sampler)
    more = ["--reward", f"{folder / 'reward.py'}:score"] if name == "ppo" else []
    rows, log = [], Run.log

    def see(self, step, metrics):
        rows.append(metrics)
        log(self, step, metrics)
        if step == until < STEPS:
            raise Enough

    patch(Run, "log", see)
    try:
        script.main([*ALIKE, *flags, *more, "--data", str(RECORDS), "--out", str(folder / name)])
        state = load_file(max((folder / name / "state").iterdir()) / "state.safetensors")
    except Enough:
        state = {}
    patch(Run, "log", log)
    trained = {key: x for key, x in state.items() if not key.startswith(("optimizer.", "rng.", "replay."))}
    return {"metrics": {key: [row[key] for row in rows] for key in METRICS if key in rows[0]},
            "weights": {key: digest(trained[key]) for key in sorted(trained)}}  # fmt: skip


def digest(x: torch.Tensor) -> list[float]:
    """Return a tensor's norm and three of its entries."""
    x = x.double().flatten()
    return [x.norm().item(), *x[[len(x) // 7, len(x) // 2, len(x) * 6 // 7]].tolist()]


def drift(golden: dict, found: dict) -> dict[str, float]:
    """Return the largest difference of two trajectories, {what: of it}: relative to the largest value of a metric, and
    of weights as they are. Of a run that was ended early its steps count."""
    old, new = golden["metrics"], found["metrics"]
    assert old.keys() == new.keys() and golden["weights"].keys() == (found["weights"] or golden["weights"]).keys()
    differ = {key: off(old[key][: len(new[key])], new[key]) / max(map(abs, old[key])) for key in old}
    if found["weights"]:
        differ["weights"] = max(off(numbers, found["weights"][key]) for key, numbers in golden["weights"].items())
    return differ


def off(old: list[float], new: list[float]) -> float:
    """Return the largest difference; infinite where one is no number."""
    differ = (torch.tensor(old, dtype=torch.float64) - torch.tensor(new, dtype=torch.float64)).abs()
    return differ.nan_to_num(torch.inf, torch.inf).max().item()
