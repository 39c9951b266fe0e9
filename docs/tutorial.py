"""The numbers of tutorial.md: one answer through train_gfn.py, one preference through train_dpo.py, on nano.

    python docs/tutorial.py

Seconds of work, the same numbers on every CPU but for the last digits. Nothing is written.
"""

import math
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs from any folder
import train_dpo
import train_gfn
from minalign import cli, data, lora, losses, optim, stage
from minalign.generate import StopRule, left_pad, prefix_logprobs, score
from minalign.jsonl import read_records
from minalign.tasks import rng

PAIR = """{"prompt": "Review of the Brave Anchor Cafe: the coffee was cold.", \
"chosen": " But the fish soup was a dream.", "rejected": " Worse, I waited long."}"""


def begin(script, argv: list[str], preset) -> tuple:
    """Return a script's settings for a command line, nano, its tokenizer, and the weights of a fresh adapter."""
    cfg, _ = cli.parse(script.Config, argv, preset)
    torch.manual_seed(cfg.seed)
    model, tokenizer, _ = stage.load_policy("nano")
    return cfg, model, tokenizer, stage.make_trainable(model.requires_grad_(False), cfg)


def update(cfg, trained: dict, loss) -> None:
    """Take the first optimizer step of a run, as the scripts do."""
    rate = cfg.learning_rate * stage.learning_rate_factor(cfg, 0)
    optimizer = optim.AdamW(trained.values(), rate, weight_decay=cfg.weight_decay)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained.values(), cfg.max_grad_norm)
    optimizer.step()
    print(f"gradient norm {norm:.4f}, clipped to {cfg.max_grad_norm:.1f}; learning rate {rate:.6f}")


def one_number() -> None:
    """Follow sampled numbers through a step of train_gfn.py."""
    flags = ["--task=rng", "--batch_size=8", "--explored=0.125", "--seed=24"]
    cfg, model, tokenizer, trained = begin(train_gfn, flags, train_gfn.preset)
    [here] = rng.conditions(cfg, tokenizer, model.config.n_positions, "cpu")
    rule, text = here.rule, lambda ids: repr(tokenizer.decode(ids))

    print(f"# 1. text to token ids\nprompt  {here.text!r}\nids     {' '.join(map(str, here.prompt[0].tolist()))}")
    print("answers", *(f"{n!r} = {tokenizer.encode(n)[0]}," for n in ("7", "37", "100")), f"the stop = {rule.stop}")

    print("\n# 2. logits to log-probs")
    with torch.no_grad():
        logits = model.lm_head(model.encode_prefix(here.prompt)[1])[0]  # (V,)
        seven = torch.tensor([tokenizer.encode("7") + [rule.stop]])
        own, _ = score(model, here.prompt, seven, seven >= 0, rule.stop, rule.min_new_tokens)
    logits[rule.stop] = -torch.inf  # the empty answer is impossible
    log_p = logits.log_softmax(0)
    print(f"{len(logits)} logits, their log sum exp {logits.logsumexp(0):.4f}")
    for k in log_p.topk(4).indices.tolist():
        print(f"{text([k]):4}  logit {logits[k]:.4f}  log p {log_p[k]:.4f}  p {log_p[k].exp():.4f}")
    print("'7', stop: log P {:.4f} + {:.4f} = {:.4f}".format(*own[0], own.sum()))

    print("\n# 3. eight answers: log R, log P, and g = log R - log P")
    noise = torch.Generator().manual_seed(cfg.seed)
    samples = train_gfn.behave(model, here.prompt, None, rule, cfg.batch_size, 0, cfg, noise, 1.0)
    tokens, mask, lengths = samples.tokens, samples.mask, samples.lengths
    log_reward = here.log_reward(tokens, lengths)  # (B, S)
    log_p = prefix_logprobs(model, rule, here.prompt, None, tokens, mask, lengths)  # (B, S)
    log_p.retain_grad()
    t = torch.arange(rule.max_new_tokens + 1)
    can_end = (t >= rule.min_new_tokens) & (t <= lengths[:, None])
    g = torch.where(can_end, log_reward - log_p, 0)  # (B, S)
    said = [f"{i}  {text(ids[:n]):13}" for i, (ids, n) in enumerate(zip(tokens.tolist(), lengths.tolist()))]
    for row, *numbers in zip(said, *(losses.terminal(x, lengths).tolist() for x in (log_reward, log_p, g))):
        print(row, "{:9.4f} {:9.4f} {:9.4f}".format(*numbers))

    print("\n# 4. the loss")
    center = losses.terminal(g.detach(), lengths).median().repeat(len(g))
    clipped = losses.clip_ratios(g, center, cfg.clip_log_ratio)
    long, ends, weight = int(lengths.argmax()), losses.terminal(clipped, lengths), losses.subtb_weight(can_end)
    for k in range(1, int(lengths[long]) + 1):
        print(f"{text(tokens[long, :k].tolist()):14} g {g[long, k]:9.4f}  clipped {clipped[long, k]:8.4f}")
    print(f"the eight clipped g: median {center[0]:.4f}, mean {ends.mean():.4f}")
    loss = train_gfn.balance(g, can_end, lengths, None, len(g), 1.0, weight, cfg)
    subtb = losses.subtb(clipped, can_end, cfg.subtb_lambda, None, weight)
    print(f"SubTB {subtb:.4f} + VarGrad {losses.vargrad(ends):.4f} = loss {loss:.4f}")

    print("\n# 5. the slope of the loss in log P (VarGrad's part), and P before and after one update")
    update(cfg, trained, loss)
    after = losses.terminal(prefix_logprobs(model, rule, here.prompt, None, tokens, mask, lengths), lengths)
    slopes, by_hand = losses.terminal(log_p.grad, lengths), -2 * (ends - ends.mean()) / len(g)
    for row, slope, hand, p, q in zip(said, slopes, by_hand, losses.terminal(log_p, lengths).exp(), after.exp()):
        print(f"{row} {slope:8.4f} ({hand:7.4f})   {p:.4e} -> {q:.4e}")
    with lora.disabled(model):
        base = here.evaluate(model)["kl_target_policy"]
    print(f"KL(uniform, policy) {base:.5f} -> {here.evaluate(model)['kl_target_policy']:.5f}")


def one_preference() -> None:
    """Follow a pair through a step of train_dpo.py."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.jsonl"
        path.write_text(PAIR + "\n", encoding="utf-8")
        records = read_records(path, ("pair",))
        cfg, model, tokenizer, trained = begin(train_dpo, [f"--data={path}"], None)
    rule = StopRule(tokenizer.eot, max_new_tokens=256)
    [pair], _ = data.encode(records, tokenizer, rule, model.config.n_positions)
    print(f"\n# 6. the record, as token ids\n{PAIR}")
    for name, ids in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
        print(f"{name:8} {' '.join(map(str, ids))}")

    print("\n# 7. the log-probs of the responses' tokens, and their sums")
    prompt, _ = left_pad([pair.prompt], 0, model.device)
    tokens, mask = data.pad_responses([pair.chosen, pair.rejected], 0)
    for name, ids, row in zip(("chosen", "rejected"), (pair.chosen, pair.rejected),
                              score(model, prompt, tokens, mask, rule.stop)[0].tolist()):  # fmt: skip
        shown = [f"{'stop' if k == rule.stop else repr(tokenizer.decode([k]))} {x:.3f}" for k, x in zip(ids, row)]
        print(f"{name:8}", "  ".join(shown))
    policy, lengths = train_dpo.log_probs(model, [pair], rule)  # (1, 2): chosen, rejected
    policy.retain_grad()
    with torch.no_grad(), lora.disabled(model):
        ref, _ = train_dpo.log_probs(model, [pair], rule)
    print("policy    {:.4f} {:.4f}\nreference {:.4f} {:.4f}".format(*policy[0], *ref[0]))

    def compare(policy) -> torch.Tensor:
        loss = train_dpo.dpo_loss(cfg, policy, ref, lengths).mean()
        found = train_dpo.metrics_of(cfg, policy.detach(), ref, lengths)
        print("rewards", *(f"{key} {found[f'rewards/{key}']:.4f}," for key in ("chosen", "rejected", "margins")),
              f"loss {loss:.6f}, weight of the gradient {cfg.beta * (1 - math.exp(-loss.item())):.5f}")  # fmt: skip
        return loss

    print(f"\n# 8. implied rewards, margin and loss before the first update; ln 2 = {math.log(2):.6f}")
    loss = compare(policy)

    print("\n# 9. one update")
    update(cfg, trained, loss)
    print("slope of the loss in log p(chosen) {:.4f}, in log p(rejected) {:.4f}".format(*policy.grad[0]))
    policy = train_dpo.log_probs(model, [pair], rule)[0].detach()
    print("policy    {:.4f} {:.4f}".format(*policy[0]))
    compare(policy)


if __name__ == "__main__":
    one_number()
    one_preference()
