"""Speed of the GFlowNet step on the rng task: ours beside the reference's, in one run, on random weights.

    python bench/rng_gfn.py                        # 124M shape, fp32 and bf16, both sides; and nano's shape
    python bench/rng_gfn.py --shapes nano --dtypes fp32

Both sides: prompt of 14 tokens, 64 responses an optimizer step, at most 5 tokens, LoRA r = 16 on c_attn, AdamW, same
threads and allocator. The reference step (transformers + peft) is written afresh after the public gfn-lm-tuning
notebook: 8 micro-batches of 8 rows that each carry their own prompt, gradients through the cached decoding steps,
full-vocabulary log-softmax at every step, SubTB over all pairs. Sides alternate in processes of their own (so that
peak memory is each one's own), and the ratio of medians counts. Random weights hardly ever stop, so all responses are
5 tokens long: the most expensive case for both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {
    "gpt2": dict(n_layer=12, n_head=12, n_embd=768, n_positions=1024, vocab_size=50257),
    "nano": dict(n_layer=4, n_head=4, n_embd=192, n_positions=512, vocab_size=2657),
}
PROMPT, NUMBERS, STOP, MAX_LEN, ROWS = list(range(300, 314)), range(400, 501), 0, 5, 64


def ours(shape: dict, dtype: torch.dtype):
    """Return a function that does one optimizer step as train_gfn.py does."""
    sys.path.insert(0, str(ROOT))
    import train_gfn
    from minalign import lora, losses
    from minalign.generate import StopRule, prefix_logprobs
    from minalign.model import GPT2, GPT2Config
    from minalign.tasks.rng import Condition

    model = GPT2(GPT2Config(**shape))
    model.compute_in(dtype)
    lora.add_adapter(model, rank=16, targets=("attn.c_attn",))
    cfg = train_gfn.Config(task="rng", reward="target", tempered=0.0)
    condition = Condition.__new__(Condition)  # a target without a tokenizer: these weights have none
    condition.penalty, condition.per_token = 14.0, 11.0
    condition.log_pmf, condition.log_beginning = {(n,): -4.6 for n in NUMBERS}, {}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)
    prompts, rule, noise = torch.tensor([PROMPT]), StopRule(STOP, MAX_LEN, 1), torch.Generator().manual_seed(0)

    def step():
        samples = train_gfn.behave(model, prompts, None, rule, ROWS, 0, cfg, noise, 1.0)
        t, lengths = torch.arange(MAX_LEN + 1), samples.lengths
        can_end = (t >= 1) & (t <= lengths[:, None])
        log_p = prefix_logprobs(model, rule, prompts, None, samples.tokens, samples.mask, lengths)
        g = torch.where(can_end, condition.log_reward(samples.tokens, lengths) - log_p, 0)
        loss = train_gfn.balance(g, can_end, lengths, None, ROWS, 1.0, losses.subtb_weight(can_end), cfg)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def reference(shape: dict, dtype: torch.dtype):
    """Return a function that does one optimizer step as the reference does."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(**shape, bos_token_id=STOP, eos_token_id=STOP, attn_pdrop=0.1, resid_pdrop=0.1, embd_pdrop=0.1)
    adapter = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.1, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    model = get_peft_model(GPT2LMHeadModel(config), adapter).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    micro, rows = 8, ROWS // 8
    prompt, numbers = torch.tensor(PROMPT).repeat(rows, 1), torch.tensor(list(NUMBERS))

    def log_reward(words):  # +8 for a number first, 0 for a later stop, -8 times the position for anything else
        position = torch.arange(1, words.size(1) + 1)
        value = -8.0 * position * torch.ones(words.shape)
        value[:, 1:][words[:, 1:] == STOP] = 0.0
        value[:, 0][torch.isin(words[:, 0], numbers)] = 8.0
        return value.sum(1)

    def micro_step():
        log_pf, log_pt = torch.zeros(rows, MAX_LEN + 1), torch.zeros(rows, MAX_LEN + 1)
        log_r = torch.full((rows, MAX_LEN + 1), -8.0)
        done, valid = torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, MAX_LEN, dtype=torch.bool)
        words, last, cache = prompt[:, :0], prompt[:, -1:], model(prompt[:, :-1]).past_key_values
        for t in range(MAX_LEN):
            out = model(last, past_key_values=cache)
            cache, logits = out.past_key_values, out.logits[:, -1]
            with torch.no_grad():
                choice = logits.clone()
                if t == 0:
                    choice[:, STOP] = -torch.inf
                pick = torch.multinomial(choice.float().softmax(-1), 1)[:, 0].masked_fill(done, STOP)
            logprob = logits.log_softmax(-1)
            log_pf[:, t] = logprob[torch.arange(rows), pick].masked_fill(done, 0)
            log_pt[:, t] = logprob[:, STOP].masked_fill(done, 0)
            words = torch.cat([words, pick[:, None]], 1)
            log_r[:, t + 1] = log_reward(words).masked_fill(done, 0)
            done = done | (pick == STOP)
            valid[:, t] = ~done
            last = pick[:, None]
        delta = log_r[:, :-1] - log_pt[:, :-1] + log_pf[:, :-1] - (log_r[:, 1:] - log_pt[:, 1:])
        total = torch.cat([torch.zeros(rows, 1), delta], 1).cumsum(1)
        loss, count = 0.0, 0.0
        for k in range(1, MAX_LEN + 1):
            loss = loss + ((total[:, k:] - total[:, :-k]) ** 2 * valid[:, k - 1 :]).sum()
            count = count + valid[:, k - 1 :].sum()
        (loss / count.clamp(min=1)).backward()

    def step():
        optimizer.zero_grad()
        for _ in range(micro):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                micro_step()
        optimizer.step()

    return step


def worker(side: str, shape: str, dtype: str, runs: int) -> None:
    """Time `runs` steps of one side after one to warm up; print a JSON line."""
    torch.manual_seed(0)
    step = {"ours": ours, "reference": reference}[side](
        SHAPES[shape], {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    )
    step()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak_mb": int(peak) / 1024,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=["gpt2", "nano"], choices=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3, help="processes a side; the sides alternate")
    parser.add_argument("--runs", type=int, default=3, help="timed steps a process")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "SHAPE", "DTYPE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker, args.runs)
    print(
        f"{'shape':6} {'dtype':5} {'side':10} {'steps/s':>9} {'peak MB':>8}   (median of {args.rounds} x {args.runs})"
    )
    for shape in args.shapes:
        for dtype in args.dtypes:
            if shape == "nano" and dtype == "bf16":
                continue  # nano always runs in fp32
            seconds, peak = {"reference": [], "ours": []}, {}
            for _ in range(args.rounds):
                for side in seconds:
                    command = [sys.executable, __file__, "--runs", str(args.runs), "--worker", side, shape, dtype]
                    out = subprocess.run(
                        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
                    )
                    if out.returncode:
                        sys.exit(f"{side} failed:\n{out.stderr[-2000:]}")
                    row = json.loads(out.stdout.splitlines()[-1])
                    seconds[side] += row["seconds"]
                    peak[side] = max(peak.get(side, 0), row["peak_mb"])
            rate = {side: 1 / statistics.median(values) for side, values in seconds.items()}
            for side in seconds:
                print(f"{shape:6} {dtype:5} {side:10} {rate[side]:9.3f} {peak[side]:8.0f}", flush=True)
            print(
                f"{shape:6} {dtype:5} {'ratio':10} {rate['ours'] / rate['reference']:8.2f}x "
                f"{peak['ours'] / peak['reference']:7.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
