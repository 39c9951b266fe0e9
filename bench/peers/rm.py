"""trl's RewardTrainer and peft: 8 pairs a step."""
from common import arguments, clocked, lora, rows, settings, tokenizer
from datasets import Dataset
from transformers import GPT2ForSequenceClassification
from trl import RewardConfig, RewardTrainer

a = arguments()
words = tokenizer(a.model)
model = GPT2ForSequenceClassification.from_pretrained(a.model, num_labels=1, pad_token_id=words.pad_token_id)
data = [{"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]} for row in rows(a.data)]
clocked(RewardTrainer, model=model, args=RewardConfig(**settings(a, 8, max_length=1024)),
        train_dataset=Dataset.from_list(data), processing_class=words,
        peft_config=lora("SEQ_CLS", modules_to_save=["score"])).report(8)  # fmt: skip
