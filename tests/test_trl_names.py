"""What is logged under TRL's names: those that TRL logs, copied from its source, and those that we leave out."""

import pytest
from stages import OWN, lines, train

import train_dpo
import train_ppo
import train_rm

# trl 1.16.0: trainer/dpo_trainer.py, trainer/reward_trainer.py; trl 1.12.0: experimental/ppo/ppo_trainer.py, which logs
# all of it itself. Not here: aux_loss, of mixtures of experts; learning_rate, which is lr here, as in TRL's PPO.
TRL = {
    "dpo": {"loss", "grad_norm", "epoch", "entropy", "num_tokens", "logits/chosen", "logits/rejected",
            "mean_token_accuracy", "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
            "logps/chosen", "logps/rejected"},
    "rm": {"loss", "grad_norm", "epoch", "num_tokens", "min_reward", "mean_reward", "max_reward", "accuracy", "margin"},
    "ppo": {"eps", "objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward",
            "objective/scores", "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg",
            "val/clipfrac_avg", "policy/entropy_avg", "val/ratio", "val/ratio_var", "val/num_eos_tokens", "lr",
            "episode"},
}  # fmt: skip
LEFT_OUT = {
    # A step never makes the logits of a whole vocabulary that these are read from; prompts are not counted.
    "dpo": {"entropy", "num_tokens", "logits/chosen", "logits/rejected", "mean_token_accuracy"},
    "rm": {"num_tokens"},
    "ppo": {"eps"},  # episodes a second: two equal runs have equal logs
}
RUNS = {
    "dpo": (train_dpo, ["--samples=0"]),
    "rm": (train_rm, ["--normalise=4"]),
    "ppo": (train_ppo, ["--advantages=gae", "--entropy_coef=0.01", "--samples_per_prompt=2", "--eval_examples=2",
                        "--eval_samples=1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_names(tiny, files, tmp_path, name):
    (tmp_path / "my.py").write_text("def odd(prompts, responses):\n    return [len(r) % 2 for r in responses]\n")
    script, more = RUNS[name]
    more = more + ["--reward", f"{tmp_path}/my.py:odd"] * (name == "ppo")
    run = train(script, "--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--steps=2", *more,
                out=tmp_path / "run")  # fmt: skip
    for row in lines(run / "metrics.jsonl"):
        assert TRL[name] - LEFT_OUT[name] <= row.keys() and not LEFT_OUT[name] & row.keys(), row.keys()
        assert all(isinstance(row[key], int | float) for key in TRL[name] - LEFT_OUT[name]), row


def test_the_ends_that_are_counted(tiny, files, tmp_path):
    """val/num_eos_tokens: of so many responses the stop was drawn."""
    (tmp_path / "my.py").write_text("def one(prompts, responses):\n    return [1.0 for r in responses]\n")
    run = train(train_ppo, "--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--steps=3",
                "--samples_per_prompt=2", "--eval_examples=2", "--eval_samples=1", "--reward", f"{tmp_path}/my.py:one",
                out=tmp_path / "run")  # fmt: skip
    rows = lines(run / "metrics.jsonl")
    assert all(row["val/num_eos_tokens"] == 8 * row["objective/stop_rate"] for row in rows)
    assert any(0 < row["val/num_eos_tokens"] < 8 for row in rows)
