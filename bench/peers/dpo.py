"""trl's DPOTrainer and peft: 8 pairs a step; --cached: reference log-probs first; --whole: all of it is timed."""
from common import arguments, causal_lm, clocked, lora, rows, settings, tokenizer
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

a = arguments(cached=True, whole=True)
config = DPOConfig(**settings(a, 8, max_length=1024, precompute_ref_log_probs=a.cached))
clock = clocked(DPOTrainer, model=causal_lm(a.model), args=config, train_dataset=Dataset.from_list(rows(a.data)),
                processing_class=tokenizer(a.model), peft_config=lora())  # fmt: skip
clock.report(8 * (a.steps if a.whole else 1), a.whole)
