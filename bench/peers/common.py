"""What the peers' scripts share: `python peers/sft.py MODEL DATA STEPS [--bf16]` prints a line of JSON (work.Clock).

Settings are those that a user of the peer would choose for speed: no gradient checkpointing, no logging, no saving.
LoRA of rank 16 on c_attn, as on our side. The model folder sets GPT-2's dropout to 0: ours has none.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1",
               "ACCELERATE_USE_CPU": "1"}  # fmt: skip
warnings.filterwarnings("ignore")

from work import Clock  # noqa: E402


def arguments(**more):
    """Return the command line's model, data, steps, bf16, and further switches."""
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("data")
    p.add_argument("steps", type=int)
    for name in ("bf16", *more):
        p.add_argument(f"--{name}", action="store_true")
    return p.parse_args()


def rows(path):
    """Return the records of a JSONL file."""
    return [json.loads(line) for line in open(path)]


def tokenizer(model):
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(model)
    found.pad_token = found.eos_token
    return found


def causal_lm(model):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model)


def lora(task="CAUSAL_LM", **more):
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True, task_type=task, **more)


def settings(a, batch: int, **more):
    """Return the arguments that all of trl's configurations take."""
    return dict(output_dir=tempfile.mkdtemp(), max_steps=a.steps, per_device_train_batch_size=batch, bf16=a.bf16,
                gradient_checkpointing=False, report_to="none", use_cpu=True, logging_steps=10**6, save_strategy="no",
                disable_tqdm=True) | more  # fmt: skip


def clocked(trainer_class, clock=None, **more):
    """Train with a clock at the ends of steps; return the clock."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            clock.tick()

    trainer = trainer_class(callbacks=[Ticks()], **more)
    clock = clock or Clock()
    trainer.train()
    return clock
