"""Speed and memory of the GFlowNet step on the next-sentence task: ours beside the reference's, on random weights.

    python bench/next_sentence_gfn.py                     # GPT-2 124M, fp32 and bf16; a quarter of an hour on two cores
    python bench/next_sentence_gfn.py --prompts 1 --dtypes fp32 --rounds 1

One optimizer step is the same work on both sides: 4 prompts of 35 tokens, 8 sentences each of exactly 30 tokens (the
stop is forbidden in sampling, and allowed in the loss), the frozen base's reward of every prefix, a loss over all pairs
of prefixes, LoRA r = 64 on all four layers of a block, AdamW, no dropout, 149 forbidden tokens.
The reference (transformers + peft) is written afresh after the public gfn-lm-tuning repository, which runs it in fp32:
one prompt at a time, each of its 8 rows carries its own prompt, gradients flow through 31 cached decoding steps, the
reward is a second pass over all rows with the log-softmax of every position, SubTB is a loop over lengths. Ours samples
for all prompts at once, then adds up the gradients of one prompt after the other; it runs in fp32 too, and with the
frozen backbone stored in bf16. Sides alternate in processes of their own, so that peak memory is each one's own; what
counts are ratios of medians, of memory of what the steps add to the loaded model. CPU seconds say more than seconds
where other programs run beside it.
Check: at reward temperature 1 a fresh adapter is already optimal, so the first loss of either side must be 0.
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
sys.path.insert(0, str(ROOT))
SHAPES = {
    "gpt2": dict(n_layer=12, n_head=12, n_embd=768, n_positions=1024, vocab_size=50257),
    "nano": dict(n_layer=4, n_head=4, n_embd=192, n_positions=512, vocab_size=2657),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
N, LENGTH, STOP, RANK = 8, 30, 13, 64
PROMPT, FORBIDDEN = 35, list(range(1000, 1149))
TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def ours(shape: dict, dtype: torch.dtype, prompts: torch.Tensor):
    """Return a function that does one optimizer step with the library's parts, and returns its loss."""
    from minalign import lora, losses
    from minalign.generate import generate, score
    from minalign.model import GPT2, GPT2Config

    model = GPT2(GPT2Config(**shape))
    model.compute_in(dtype)
    lora.add_adapter(model, rank=RANK, targets=TARGETS)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    states = (torch.arange(LENGTH + 1) >= 1).expand(N, -1)  # where a sentence may end: not before its first token
    zero = torch.zeros(N, 1)

    def step(temperature: float) -> float:
        optimizer.zero_grad(set_to_none=True)
        samples = generate(model, prompts, STOP, N, LENGTH, min_new_tokens=LENGTH, forbidden=FORBIDDEN)
        total = 0.0
        for prompt, tokens, mask in zip(prompts.split(1), samples.tokens.split(N), samples.mask.split(N)):
            with torch.no_grad(), lora.disabled(model):
                ref_logprobs, ref_stop = score(model, prompt, tokens, mask, STOP, forbidden=FORBIDDEN)
            logprobs, stop_logprobs = score(model, prompt, tokens, mask, STOP, forbidden=FORBIDDEN)
            log_reward = torch.cat([zero, ref_logprobs.cumsum(1)], 1) + torch.cat([ref_stop, zero], 1)  # (N, S)
            log_pterm = torch.cat([stop_logprobs, zero], 1)
            g = losses.log_ratios(log_reward / temperature, logprobs, log_pterm, states)
            loss = losses.subtb(g, states) + losses.vargrad(losses.terminal(g, mask.sum(1)))
            (loss / len(prompts)).backward()
            total += loss.item() / len(prompts)
        optimizer.step()
        return total

    return step


def reference(shape: dict, prompts: torch.Tensor):
    """Return a function that does one optimizer step as the reference does, and returns its loss."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(**shape, bos_token_id=STOP, eos_token_id=STOP, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)
    adapter = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True,
        task_type="CAUSAL_LM"
    )  # fmt: skip
    model = get_peft_model(GPT2LMHeadModel(config), adapter)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    everyone = torch.arange(N)

    def penalised(logits, penalty):
        logits = logits.clone()
        logits[..., FORBIDDEN] -= penalty
        return logits

    def sample(prompt):  # log P_F of each token, log pi_T of each state, both with gradients
        log_pf, log_pterm, words = [], [], prompt
        last, cache = prompt[:, -1:], model(prompt[:, :-1]).past_key_values
        for t in range(LENGTH + 1):
            out = model(last, past_key_values=cache)
            cache, logits = out.past_key_values, penalised(out.logits[:, -1], 99)
            logprob = logits.log_softmax(-1)
            log_pterm.append(logprob[:, STOP])
            if t < LENGTH:
                with torch.no_grad():
                    choice = logits.clone()
                    choice[:, STOP] = -torch.inf
                    last = torch.multinomial(choice.softmax(-1), 1)
                log_pf.append(logprob[everyone, last[:, 0]])
                words = torch.cat([words, last], 1)
        return words, torch.stack(log_pf, 1), torch.stack(log_pterm, 1)

    def log_reward(words):  # of every prefix, by the frozen base
        with torch.no_grad(), model.disable_adapter():
            logprob = penalised(model(words).logits[:, PROMPT - 1 :], 50).log_softmax(-1)  # (N, S, V)
        said = logprob[:, :-1].gather(2, words[:, PROMPT:, None])[..., 0].cumsum(1)
        return torch.cat([torch.zeros(N, 1), said], 1) + logprob[..., STOP]

    def balance(prompt, temperature):
        words, log_pf, log_pterm = sample(prompt)
        log_r = log_reward(words) / temperature
        delta = log_r[:, :-1] - log_pterm[:, :-1] + log_pf - (log_r[:, 1:] - log_pterm[:, 1:])
        total = torch.cat([torch.zeros(N, 1), delta], 1).cumsum(1)
        loss, count = 0.0, 0
        for distance in range(1, LENGTH + 1):
            squares = (total[:, distance:] - total[:, :-distance]) ** 2
            loss, count = loss + squares.sum(), count + squares.numel()
        return loss / count

    def step(temperature: float) -> float:
        optimizer.zero_grad()
        total = 0.0
        for prompt in prompts:
            loss = balance(prompt.repeat(N, 1), temperature) / len(prompts)
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return step


def memory_mb(field: str) -> float:
    """Return VmRSS, what this process occupies, or VmHWM, the most that it ever has."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def worker(side: str, dtype: str, shape: str, prompts: int, runs: int) -> None:
    """Time `runs` steps of one side after one to warm up; print a JSON line."""
    torch.manual_seed(0)
    ids = torch.randint(14, 1000, (prompts, PROMPT))
    step = ours(SHAPES[shape], DTYPES[dtype], ids) if side == "ours" else reference(SHAPES[shape], ids)
    before = memory_mb("VmRSS")
    first, seconds, cpu = step(1.0), [], []
    if abs(first) > 1e-4:
        sys.exit(f"the policy is the base, so the loss should be 0; found {first:g}")
    for _ in range(runs):
        start = time.perf_counter(), time.process_time()
        step(0.8)
        seconds.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    peak = memory_mb("VmHWM")
    print(json.dumps({"side": side, "dtype": dtype, "shape": shape, "prompts": prompts, "seconds": seconds,
                      "cpu_seconds": cpu, "added_mb": peak - before, "peak_mb": peak, "first_loss": first,
                      "threads": torch.get_num_threads(), "torch": torch.__version__}), flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="gpt2", choices=list(SHAPES))
    parser.add_argument("--prompts", type=int, default=4, help="prompts an optimizer step")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=list(DTYPES),
                        help="of ours; the reference runs in fp32")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="processes a side; the sides alternate")
    parser.add_argument("--runs", type=int, default=2, help="timed steps a process")
    parser.add_argument("--worker", nargs=2, metavar=("SIDE", "DTYPE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker, args.shape, args.prompts, args.runs)
    rows = {side: [] for side in [("reference", "fp32"), *(("ours", dtype) for dtype in args.dtypes)]}
    for _ in range(args.rounds):
        for side in rows:
            command = [sys.executable, __file__, "--worker", *side, "--shape", args.shape,
                       "--prompts", str(args.prompts), "--runs", str(args.runs)]  # fmt: skip
            out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
            if out.returncode:
                sys.exit(f"{' '.join(side)} failed:\n{out.stderr[-2000:]}")
            rows[side].append(json.loads(out.stdout.splitlines()[-1]))
            print(out.stdout.splitlines()[-1], flush=True)

    # Of memory the median too: it depends on when the allocator gives pages back.
    found = {side: [statistics.median(x for row in its for x in row[key]) for key in ("seconds", "cpu_seconds")]
             + [statistics.median(row[key] for row in its) for key in ("added_mb", "peak_mb")]
             for side, its in rows.items()}  # fmt: skip
    print(f"\n{'':26} {'s/step':>8} {'CPU s/step':>11} {'added, MB':>10} {'process, MB':>12}   "
          f"medians of {args.rounds} x {args.runs}")  # fmt: skip
    for side, (seconds, cpu, added, peak) in found.items():
        print(f"{' '.join(side):26} {seconds:8.3f} {cpu:11.3f} {added:10.0f} {peak:12.0f}")
    b = found["reference", "fp32"]
    for dtype in args.dtypes:
        a = found["ours", dtype]
        print(f"{f'ours {dtype} : reference':26} {b[0] / a[0]:7.2f}x {b[1] / a[1]:10.2f}x "
              f"{a[2] / b[2]:9.2f}x {a[3] / b[3]:11.2f}x")  # fmt: skip


if __name__ == "__main__":
    main()
