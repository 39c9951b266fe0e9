"""trl 1.12's PPOTrainer and peft: 32 episodes of 32 + 32 tokens, 4 epochs, micro-batches of 8."""
import os
import sys
from pathlib import Path

root = os.environ.get("MINALIGN_PEERS") or Path.home() / ".cache" / "minalign-peers"
sys.path.insert(0, str(Path(root) / "trl_ppo"))

from common import arguments, causal_lm, clocked, lora, rows, settings, tokenizer  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import GPT2ForSequenceClassification  # noqa: E402
from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: E402

a = arguments()
words = tokenizer(a.model)
words.padding_side = "left"
data = Dataset.from_list([{"input_ids": words(row["prompt"])["input_ids"]} for row in rows(a.data)])
reward, value = (GPT2ForSequenceClassification.from_pretrained(a.model, num_labels=1, pad_token_id=words.pad_token_id)
                 for _ in range(2))  # fmt: skip
how = settings(a, 8, gradient_accumulation_steps=4, num_mini_batches=1, num_ppo_epochs=4, response_length=32,
               total_episodes=32 * a.steps, num_sample_generations=0, temperature=1.0,
               local_rollout_forward_batch_size=32)  # fmt: skip
del how["max_steps"]
clocked(PPOTrainer, args=PPOConfig(**how), processing_class=words, model=causal_lm(a.model), ref_model=None,
        reward_model=reward, value_model=value, train_dataset=data, eval_dataset=data.select(range(2)),
        peft_config=lora()).report(32)  # fmt: skip
