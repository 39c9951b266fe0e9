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
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
import work  # noqa: E402

SHAPES = work.SHAPES | {"nano": dict(n_layer=4, n_head=4, n_embd=192, n_positions=512, vocab_size=2657)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
N, LENGTH, STOP, RANK = 8, 30, 13, 64
PROMPT, FORBIDDEN = 35, list(range(1000, 1149))
TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def ours(shape: dict, dtype: torch.dtype, prompts: torch.Tensor):
    """Return a function that does one optimizer step with the library's parts, and returns its loss."""
    from minalign import lora, losses
    from minalign.generate import generate, score
    from minalign.model import GPT2, GPT2Config

    model = GPT2(GPT2Config(**shape)).to(prompts.device)
    model.compute_in(dtype)
    lora.add_adapter(model, rank=RANK, targets=TARGETS)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    # Where a sentence may end: not before its first token.
    states = (torch.arange(LENGTH + 1, device=prompts.device) >= 1).expand(N, -1)
    zero = torch.zeros(N, 1, device=prompts.device)

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


def make(side: str, shape: str, dtype: str, device: torch.device, prompts: int = 4) -> Callable:
    """Return a function that does one optimizer step of a side; the reference's runs on the CPU, in fp32."""
    torch.manual_seed(0)
    ids = torch.randint(14, 1000, (prompts, PROMPT)).to(device)
    step = ours(SHAPES[shape], DTYPES[dtype], ids) if side == "ours" else reference(SHAPES[shape], ids)
    return functools.partial(step, 0.8)


def worker(side: str, shape: str, dtype: str, prompts: int, runs: int) -> None:
    """Time `runs` steps of one side after one to warm up; print a line of JSON."""
    step = make(side, shape, dtype, torch.device("cpu"), prompts)
    before, clock, cpu = work.memory("VmRSS"), work.Clock(), []
    first = step.func(1.0)
    if abs(first) > 1e-4:
        sys.exit(f"the policy is the base, so the loss should be 0; found {first:g}")
    clock.tick()
    for _ in range(runs):
        start = time.process_time()
        step()
        clock.tick()
        cpu.append(time.process_time() - start)
    clock.report(1, added=work.memory("VmHWM") - before, cpu=statistics.median(cpu))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="gpt2", choices=list(SHAPES))
    parser.add_argument("--prompts", type=int, default=4, help="prompts an optimizer step")
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=list(DTYPES),
                        help="of ours; the reference runs in fp32")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=2, help="processes a side; the sides alternate")
    parser.add_argument("--runs", type=int, default=2, help="timed steps a process")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "SHAPE", "DTYPE"), help=argparse.SUPPRESS)
    report.flags(parser)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker, args.prompts, args.runs)
    section, peer = report.Section(__file__, args), report.peers_python()
    section.say(f"{args.prompts} prompts a step; ratios to the reference in brackets.")
    section.head("side", "steps/s", "CPU s a step", "a step adds, MB", "process peak, MB", "others")
    command = [__file__, "--prompts", args.prompts, "--runs", args.runs, "--worker"]
    sides = {"reference's step, fp32": [peer, *command, "reference", args.shape, "fp32"]} if peer else {}
    sides |= {f"ours, {dtype}": [sys.executable, *command, "ours", args.shape, dtype] for dtype in args.dtypes}
    found = report.alternate(sides, args.rounds, report.environment(args))
    base = found.get("reference's step, fp32")
    for side, it in found.items():
        cells = []
        for key, form in (("rate", ".3g"), ("cpu", ".3g"), ("added", ",.0f"), ("peak", ",.0f")):
            ratio = f" ({it[key] / base[key]:.2f}x)" if base and it is not base else ""
            cells.append(f"{it[key]:{form}}{ratio}")
        section.row(side, *cells, f"{it['others']:.2f}")
    section.close()


if __name__ == "__main__":
    main()
