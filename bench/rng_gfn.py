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
import sys
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
import work  # noqa: E402

SHAPES = work.SHAPES | {"nano": dict(n_layer=4, n_head=4, n_embd=192, n_positions=512, vocab_size=2657)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PROMPT, NUMBERS, STOP, MAX_LEN, ROWS = list(range(300, 314)), range(400, 501), 0, 5, 64


def ours(shape: dict, dtype: torch.dtype, device: torch.device):
    """Return a function that does one optimizer step as train_gfn.py does."""
    import train_gfn
    from minalign import lora, losses
    from minalign.generate import StopRule, prefix_logprobs
    from minalign.model import GPT2, GPT2Config
    from minalign.tasks.rng import Condition

    model = GPT2(GPT2Config(**shape)).to(device)
    model.compute_in(dtype)
    lora.add_adapter(model, rank=16, targets=("attn.c_attn",))
    cfg = train_gfn.Config(task="rng", reward="target", tempered=0.0)
    condition = Condition.__new__(Condition)  # a target without a tokenizer: these weights have none
    condition.penalty, condition.per_token = 14.0, 11.0
    condition.log_pmf, condition.log_beginning = {(n,): -4.6 for n in NUMBERS}, {}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-4)
    prompts, noise = torch.tensor([PROMPT], device=device), torch.Generator().manual_seed(0)
    rule = StopRule(STOP, MAX_LEN, 1)

    def step():
        samples = train_gfn.behave(model, prompts, None, rule, ROWS, 0, cfg, noise, 1.0)
        t, lengths = torch.arange(MAX_LEN + 1, device=device), samples.lengths
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

    config = GPT2Config(**shape, bos_token_id=STOP, eos_token_id=STOP, attn_pdrop=0, resid_pdrop=0, embd_pdrop=0)
    adapter = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
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


def make(side: str, shape: str, dtype: str, device: torch.device) -> Callable:
    """Return a function that does one optimizer step of a side; the reference's runs on the CPU."""
    torch.manual_seed(0)
    more = [device] if side == "ours" else []
    return {"ours": ours, "reference": reference}[side](SHAPES[shape], DTYPES[dtype], *more)


def worker(side: str, shape: str, dtype: str, runs: int) -> None:
    """Time `runs` steps of one side after one to warm up; print a line of JSON."""
    step, clock = make(side, shape, dtype, torch.device("cpu")), work.Clock()
    for _ in range(runs + 1):
        step()
        clock.tick()
    clock.report(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=["gpt2", "nano"], choices=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=2, help="processes a side; the sides alternate")
    parser.add_argument("--runs", type=int, default=3, help="timed steps a process")
    parser.add_argument("--worker", nargs=3, metavar=("SIDE", "SHAPE", "DTYPE"), help=argparse.SUPPRESS)
    report.flags(parser)
    args = parser.parse_args()
    if args.worker:
        return worker(*args.worker, args.runs)
    section, pythons = report.Section(__file__, args), {"reference": report.peers_python(), "ours": sys.executable}
    section.head("shape", "dtype", "reference: steps/s, peak MB", "ours", "speed", "memory", "others")
    for shape in args.shapes:
        for dtype in args.dtypes:
            if shape == "nano" and dtype == "bf16":
                continue  # nano always runs in fp32
            sides = {side: [python, __file__, "--runs", args.runs, "--worker", side, shape, dtype]
                     for side, python in pythons.items() if python}  # fmt: skip
            found = report.alternate(sides, args.rounds, report.environment(args))
            a, b = (found.get(side) for side in pythons)
            cells = [f"{report.number(side['rate'])}, {side['peak']:,.0f}" if side else "-" for side in (a, b)]
            ratios = [f"{b['rate'] / a['rate']:.2f}x", f"{b['peak'] / a['peak']:.2f}x"] if a and b else ["", ""]
            others = max((side["others"] for side in found.values()), default=0)
            section.row(shape, dtype, *cells, *ratios, f"{others:.2f}")
    section.close()


if __name__ == "__main__":
    main()
