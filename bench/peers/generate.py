"""transformers' generate: 256 samples to one prompt of 17 tokens; DATA is the number of new tokens, not a file."""
import torch
from common import arguments, causal_lm
from work import Clock

a = arguments(cuda=True)
device = "cuda" if a.cuda else "cpu"
model, new = causal_lm(a.model).eval().to(device), int(a.data)
model = model.bfloat16() if a.bf16 else model
prompt, clock = torch.randint(0, 50_000, (1, 17), generator=torch.Generator().manual_seed(0)).to(device), Clock()
how = dict(attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0, max_new_tokens=new, eos_token_id=None,
           pad_token_id=0, num_return_sequences=256)  # fmt: skip
for _ in range(a.steps):
    with torch.inference_mode():
        assert model.generate(prompt, **how).shape == (256, 17 + new)
        torch.cuda.synchronize() if a.cuda else None
    clock.tick()
clock.report(256 * new)
