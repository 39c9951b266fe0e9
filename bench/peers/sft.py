"""trl's SFTTrainer and peft: 8 rows a step."""
from common import arguments, causal_lm, clocked, lora, rows, settings, tokenizer
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

a = arguments()
words = tokenizer(a.model)
data = [{"input_ids": words(row["prompt"] + row["chosen"])["input_ids"] + [words.eos_token_id]} for row in rows(a.data)]
clocked(SFTTrainer, model=causal_lm(a.model), args=SFTConfig(**settings(a, 8, max_length=len(data[0]["input_ids"]))),
        train_dataset=Dataset.from_list(data), processing_class=words, peft_config=lora(),
        ).report(8 * len(data[0]["input_ids"]))  # fmt: skip
