"""trl 1.12's PPOTrainer and peft: 32 episodes of 32 + 32 tokens, 4 epochs, micro-batches of 8.

--phases: where the time goes, see spent.py.
"""

import os
import sys
from pathlib import Path

root = os.environ.get("MINALIGN_PEERS") or Path.home() / ".cache" / "minalign-peers"
sys.path.insert(0, str(Path(root) / "trl_ppo"))
if "--bf16" in sys.argv:  # this trainer ignores bf16=True, and takes it from accelerate's environment
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"

from common import arguments, causal_lm, clocked, lora, rows, settings, tokenizer  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import GPT2ForSequenceClassification  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer  # noqa: E402


def phases(steps):
    """Return a clock of phases, with the functions wrapped that the trainer calls."""
    import torch
    from spent import Spent

    half, grad = torch.bfloat16 if a.bf16 else torch.float32, torch.is_grad_enabled
    spent = Spent(steps - 2, torch.device("cpu"), half)
    spent.updates("update: backward")
    spent.wrap(ppo_trainer, "batch_generation", "rollout")
    spent.wrap(ppo_trainer, "forward", lambda *x: "update: forward" if grad() else "reference")
    spent.wrap(ppo_trainer, "get_reward", lambda model, *x: "reward model" if model is reward else "values")
    spent.wrap(ppo_trainer, "selective_log_softmax", lambda *x: "update: forward" if grad() else "old log-probs")
    return spent


a = arguments(phases=True)
words = tokenizer(a.model)
words.padding_side = "left"
data = Dataset.from_list([{"input_ids": words(row["prompt"])["input_ids"]} for row in rows(a.data)])
reward, value = (GPT2ForSequenceClassification.from_pretrained(a.model, num_labels=1, pad_token_id=words.pad_token_id)
                 for _ in range(2))  # fmt: skip
how = settings(a, 8, gradient_accumulation_steps=4, num_mini_batches=1, num_ppo_epochs=4, response_length=32,
               total_episodes=32 * a.steps, num_sample_generations=0, temperature=1.0,
               local_rollout_forward_batch_size=32)  # fmt: skip
del how["max_steps"]
clocked(PPOTrainer, phases(a.steps) if a.phases else None, args=PPOConfig(**how), processing_class=words,
        model=causal_lm(a.model), ref_model=None, reward_model=reward, value_model=value, train_dataset=data,
        eval_dataset=data.select(range(2)), peft_config=lora()).report(32)  # fmt: skip
