"""trl's DPOTrainer and peft: 8 pairs a step; --cached: reference log-probs first; --whole: all of it is timed."""
import time

from common import arguments, causal_lm, clocked, lora, rows, settings, tokenizer
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from work import Clock

a = arguments(cached=True, whole=True)
clock = Clock() if a.cached else None


class Trainer(DPOTrainer):
    def _precompute_ref_logps(self, *args):  # while it is being constructed
        clock.began = time.perf_counter()
        return super()._precompute_ref_logps(*args)


config = DPOConfig(**settings(a, 8, max_length=1024, precompute_ref_log_probs=a.cached))
clocked(Trainer, clock, model=causal_lm(a.model), args=config, train_dataset=Dataset.from_list(rows(a.data)),
        processing_class=tokenizer(a.model), peft_config=lora(),
        ).report(8 * (a.steps if a.whole else 1), a.whole)  # fmt: skip
