"""Supervised fine-tuning: make a language model imitate given responses.

    python train_sft.py --task sentiment                    # continue stories and reviews of nano's world
    python train_sft.py --task puns                         # "Human: make a pun about fish" -> a pun
    python train_sft.py --task rng                          # samples of a distribution: what imitation can reach
    python train_sft.py --data my.jsonl                     # {"prompt": ..., "completion": ...} a line

The loss is the negative log-likelihood of the response's tokens, its stop included, given the prompt: a sum over all
tokens of the step divided by their number, so that micro-batches and padding change nothing. `--loss_on all` trains on
the prompt as well. Rows of a step are of similar length (length buckets), each prompt is left-padded, each response
right-padded, and the output head runs only where there is a loss.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from minalign import checkpoint, cli, data, dist, exact, lora, losses, memory, plot, precision, stage
from minalign.cli import flag
from minalign.data import Encoded
from minalign.generate import StopRule, join, left_pad, score, states
from minalign.model import GPT2
from minalign.optim import AdamW
from minalign.respond import respond
from minalign.run import check_finite, pick_device, seed_everything
from minalign.stage import StageConfig
from minalign.tasks import rng
from minalign.tasks.setting import TEXTS, WORLDS, setting

PRESETS = {
    None: {},
    "sentiment": dict(temperature=0.7),
    "descriptiveness": dict(temperature=0.7),
    "puns": dict(steps=400),
    "summarize": dict(steps=500, batch_size=16, learning_rate=2e-3, lora_rank=32, examples=8000),
    "grammar": dict(steps=400, batch_size=256, examples=50_000, lora_targets=lora.TARGETS),
    # One prompt and an exact target: short responses, large steps; without lm_head the frozen head sets a floor.
    "rng": dict(steps=400, batch_size=512, learning_rate=5e-3, examples=10_000,
                lora_targets=("attn.c_attn", "lm_head")),
}  # fmt: skip


@dataclass
class Config(StageConfig):
    task: str | None = flag(None, "what to train on; none with --data", choices=(*WORLDS, *TEXTS))
    data: tuple[str, ...] = flag((), "files of records {prompt, completion}, or hh, imdb, puns, tldr:FILE, cnndm:FILE")
    eval_data: tuple[str, ...] = flag((), "files of held-out records")
    examples: int = flag(4096, "records drawn from the task")
    eval_examples: int = flag(256, "held-out records")
    loss_on: str = flag("completion", "tokens with a loss: of the completion, or all", choices=("completion", "all"))
    samples: int = flag(64, "held-out prompts answered at the end")
    temperature: float = flag(1.0, "of these answers")
    # the rng task
    target: str = flag("uniform", f"rng: one of {', '.join(rng.DEFAULTS)}, or a file of lines `text probability`")

    def __post_init__(self):
        super().__post_init__()
        stage.check_source(self, (*WORLDS, *TEXTS))
        cli.check_ranges(self, examples=(1, 1e8), eval_examples=(1, 1e8), samples=(0, 1e5),
                         temperature=(0.01, 100))  # fmt: skip


def collate(batch: list[Encoded], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return prompts, their mask (b, P), tokens and mask (B, R) of b records; b = 1 where all have the same prompt.

    The K responses of a record are rows one after the other and share its prompt; where one has fewer, rows are empty.
    """
    prompts = [record.prompt for record in batch]
    if all(prompt == prompts[0] for prompt in prompts):
        prompts = prompts[:1]
    padded, prompt_mask = left_pad(prompts, 0, device)
    K = max(len(record.responses) for record in batch)
    tokens, mask = data.pad_responses([ids for r in batch for ids in r.responses + [[]] * (K - len(r.responses))], 0)
    return padded, prompt_mask, tokens.to(device), mask.to(device)


@torch.no_grad()
def evaluate(model: GPT2, records: list[Encoded], rule: StopRule, rows: int) -> tuple[dict[str, float], list[float]]:
    """Return held-out loss (nats per token), perplexity and token accuracy; and each record's negative log-prob."""
    nats, correct, count = [], 0, 0
    for batch in data.chunks(records, rows):
        prompts, prompt_mask, tokens, mask = collate(batch, model.device)
        # Of several processes (torchrun) each runs its share of the rows; with one, split and join do nothing.
        part, prompts, prompt_mask, tokens, mask = dist.split(prompts, prompt_mask, tokens, mask)
        found = torch.zeros(len(mask), 3, device=model.device)  # of each response: nats, right tokens, tokens
        places, hidden = mask.nonzero(), join(*states(model, prompts, tokens, prompt_mask))[mask]
        for h, at, ids in zip(*(x.split(512) for x in (hidden, places, tokens[mask]))):  # logits at a time
            logits = model.lm_head(h).float()  # (m, V)
            logits[at[:, 1] < rule.min_new_tokens, rule.stop] = -torch.inf
            nll = F.cross_entropy(logits, ids, reduction="none")
            right = (logits.argmax(-1) == ids).float()
            found.index_add_(0, at[:, 0], torch.stack([nll, right, torch.ones_like(nll)], 1))
        found = part.join(found).view(len(batch), -1, 3).sum(1)
        nats += found[:, 0].tolist()
        correct, count = correct + found[:, 1].sum().item(), count + found[:, 2].sum().item()
    loss = sum(nats) / count
    perplexity = math.exp(min(loss, 700))
    return {"eval/loss": loss, "eval/perplexity": perplexity, "eval/mean_token_accuracy": correct / count}, nats


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv, lambda given: PRESETS[given.task])
    stage.refuse_unused(cfg, argv)
    cli.show(cfg, changed)
    device = pick_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    noise = torch.Generator().manual_seed(cfg.seed)  # of sampling
    model, tokenizer, base = stage.load_policy(cfg.model, cfg.init)
    cfg.dtype = stage.place(model, cfg, device)
    here = setting(cfg.task, tokenizer, cfg.max_response, device, cfg.target)
    rule, world = here.rule, here.world

    # data: records of a task, or one's own
    if cfg.data:
        train, held = data.load(cfg.data, cfg.eval_data, cfg.eval_fraction, cfg.seed, tokenizer, ("completion",))
    elif world:
        train, held = world.samples(cfg.examples, cfg.seed), world.samples(cfg.eval_examples, -cfg.seed - 1)
    else:
        train, held = (here.task.completions(split, n, cfg.seed)
                       for split, n in (("train", cfg.examples), ("validation", cfg.eval_examples)))  # fmt: skip
    (train, report), (held, _) = (data.encode(records, tokenizer, rule, model.config.n_positions, cfg.max_prompt)
                                  for records in (train, held[: cfg.eval_examples]))  # fmt: skip
    print(report)
    asked = [record.prompt for record in held[: cfg.samples]]
    if here.task:  # the prompts that the other stages answer, too
        asked = [tokenizer.encode(prompt) for prompt in here.task.prompts("validation", cfg.samples, cfg.seed)]
    if cfg.loss_on == "all":  # the prompt becomes the beginning of the response to an end-of-text
        train, held = ([Encoded([rule.stop], [r.prompt + ids for ids in r.responses], r.record)
                        for r in records]
                       for records in (train, held))  # fmt: skip
    lengths = [len(r.prompt) + max(map(len, r.responses)) for r in train]

    run = stage.open_run(cfg, "sft", cfg.task, [*cfg.data, *cfg.eval_data])
    run.start(cfg, device)
    if cfg.dry_run:
        print(data.preview(train, tokenizer))

    def measure() -> tuple[dict[str, float], list[float]]:
        found, nats = evaluate(model.eval(), held, rule, cfg.micro_batch or cfg.batch_size)
        if world:  # the exact distance to the distribution that the data were drawn from
            distances = exact.distances(world.pmf, world.logprobs(model))
            found |= {f"exact/{key}": value for key, value in distances.items()}
        return found, nats

    before = {} if cfg.eval_only else measure()[0]
    base_logprobs = world.logprobs(stage.reference(model, cfg) if cfg.eval_only else model) if world else None
    trained = stage.make_trainable(model, cfg)
    trained = dist.shard(trained, model) if cfg.shard == "fsdp" else trained
    optimizer = AdamW(trained.values(), cfg.learning_rate, weight_decay=cfg.weight_decay)
    scaler = precision.Scaler(device.type, enabled=cfg.dtype == "fp16")
    order, best = data.Stream(lengths, cfg.batch_size, cfg.seed), checkpoint.Best(cfg.keep_best, trained)
    streams = {"noise": noise}

    def save(step: int) -> None:
        stage.save_policy(model, run.path, base, tokenizer)
        tensors, meta = checkpoint.pack_training(trained, optimizer, streams, scaler)
        run.save(step, {**tensors, **best.tensors}, {**meta, "order": order.state(), "best": best.meta()})

    best.check(before) if before else None
    step = 0
    if cfg.resume:
        step, tensors, meta = run.load()
        checkpoint.unpack_training(tensors, meta, trained, optimizer, streams, scaler)
        order.restore(meta["order"])
        best.unpack(tensors, meta["best"])

    steps = 1 if cfg.dry_run else cfg.steps
    progress = tqdm(total=steps, initial=step, desc="SFT", disable=cfg.eval_only or dist.rank() > 0, mininterval=0.5)
    with progress, run.graceful_signals(lambda: step == run.logged and save(step)):
        while step < steps and not cfg.eval_only:
            # data: records of similar length
            model.train()
            batch = [train[i] for i in order.next()]
            count = sum(len(ids) for record in batch for ids in record.responses)  # that have a loss

            # targets: the response's own tokens; the loss of a micro-batch is its share of the step's
            for attempt in memory.Attempts(cfg, optimizer):  # zero_grad; again in halves if memory runs out
                with attempt:
                    loss, found, part, logprobs = 0.0, [], None, None  # None: the graph of a failed attempt
                    for micro in data.chunks(batch, cfg.micro_batch * dist.world()):
                        prompts, prompt_mask, tokens, mask = collate(micro, device)
                        logprobs, _ = score(model, prompts, tokens, mask, rule.stop, rule.min_new_tokens,
                                            prompt_mask=prompt_mask)  # fmt: skip
                        part = -losses.masked_mean(logprobs, mask, count)
                        scaler.scale(part).backward()
                        loss += part.item()
                        found.append(logprobs.detach().sum(1).view(len(micro), -1).sum(1))

            # update
            factor = stage.learning_rate_factor(cfg, step)
            optimizer.param_groups[0]["lr"] = cfg.learning_rate * factor
            dist.average_gradients(trained.values())
            scaler.unscale_(optimizer)
            grad_norm = dist.clip_gradients(trained.values(), cfg.max_grad_norm)
            check_finite(step + 1, [r.name for r in batch], logprobs=torch.cat(found), loss=loss,
                         grad_norm=scaler.guarded(grad_norm))  # fmt: skip
            scaler.advance(optimizer)  # optimizer.step(), but in fp16 not where a gradient overflowed
            step += 1

            # log, evaluate, save
            metrics = {"loss": loss, "grad_norm": grad_norm.item(), "lr": cfg.learning_rate * factor,
                       "epoch": order.epoch, "tokens": count}  # fmt: skip
            if step == steps or cfg.eval_every and step % cfg.eval_every == 0:
                found, _ = measure()
                best.see(step, found)
                metrics |= found
                progress.set_postfix_str(f"held-out loss {found['eval/loss']:.4f}")
            run.log(step, metrics | scaler.log())
            progress.update()
            if cfg.dry_run:
                progress.close()
                print(f"dry run: one step, loss {loss:.4f}; nothing was saved")
                return
            if run.stopping or step == steps or cfg.save_every and step % cfg.save_every == 0:
                save(step)
            if run.stopping:
                run.leave(step, progress)

    best.restore()
    if best.tensors and not cfg.eval_only:
        stage.save_policy(model, run.path, base, tokenizer)  # what the next stage starts from; state/ keeps the last
    after, nats = measure()
    texts = [tokenizer.decode(record.prompt + record.responses[0]) for record in held]
    run.rows("predictions.jsonl", [{"text": text, "loss": nll / sum(map(len, record.responses))}
                                   for text, nll, record in zip(texts, nats, held)])  # fmt: skip
    answers = [found[0] for found in respond(model, tokenizer, asked, rule, 1, cfg.temperature, noise)]
    rows = [{"prompt": tokenizer.decode(prompt), "response": r.text, "stopped": r.stopped}
            for prompt, r in zip(asked, answers)]  # fmt: skip
    figures, more = [], {}
    if world:  # the expected KL of memorised samples; a model to which strings are alike can do better
        more["sampling_limit"] = (len(world.texts) - 1) / (2 * cfg.examples)
        print(f"\nsampling limit: whoever memorises {cfg.examples} samples has a KL of {more['sampling_limit']:.2g}")
        world.write(run.path, world.pmf, base_logprobs, world.logprobs(model))
        figures += [plot.distribution(run.path)] if cfg.plot else []
    if cfg.plot and not cfg.eval_only:
        keys = ["loss", "eval/loss", "exact/tv_valid" if world else "eval/mean_token_accuracy"]
        figures.append(plot.curves(run.path, keys, logarithmic=False))
    stage.report(run, step, before, after, rows, figures, **more)


if __name__ == "__main__":
    cli.main(main)
