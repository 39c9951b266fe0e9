"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): fit a policy to pairs, no reward model.

    python train_dpo.py --task sentiment --init runs/sft-sentiment-nano
    python train_dpo.py --task sentiment --data runs/rm-sentiment-nano/preferences.jsonl
    python train_dpo.py --data my.jsonl                  # {"prompt": ..., "chosen": ..., "rejected": ...} a line

    loss = -log sigmoid(beta h),  h = [log pi(chosen) - log pi(rejected)] - [log ref(chosen) - log ref(rejected)]

Log-probs are sums over the response's tokens, its stop included, the prompt excluded; the reference is the same
backbone with the adapter off, and its log-probs are computed once. Chosen and rejected share the prompt's encoding.
`--loss ipo` and `simpo` use averages over tokens instead (losses.py says why); `--label_smoothing` is cDPO. The loss
begins at ln 2 (ipo, simpo and `--reference_free` elsewhere). That the log-probs of chosen responses fall as well, only
slower, is normal: it sees h alone.
"""
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from minalign import checkpoint, cli, data, dist, exact, lora, losses, memory, plot, precision, stage
from minalign.cli import flag
from minalign.data import Encoded
from minalign.errors import UserError
from minalign.generate import StopRule, left_pad, score
from minalign.model import GPT2
from minalign.optim import AdamW
from minalign.records import as_pairs
from minalign.respond import measure
from minalign.run import check_finite, pick_device, seed_everything
from minalign.stage import StageConfig
from minalign.tasks import rng
from minalign.tasks.setting import TEXTS, WORLDS, comparisons, setting

PRESETS = {
    None: {},
    "rng": dict(batch_size=128, learning_rate=2e-3, lora_targets=("attn.c_attn", "lm_head")),
    "grammar": dict(steps=510, batch_size=256, learning_rate=2e-3, examples=130_000, beta=1.0, label_noise=0.5,
                    lora_targets=lora.TARGETS),
    "sentiment": dict(temperature=0.7, label_noise=0.2),
    "descriptiveness": dict(temperature=0.7, label_noise=0.3),
    "puns": {},
    "summarize": {},
}


@dataclass
class Config(StageConfig):
    task: str | None = flag(None, "what to train on", choices=(*WORLDS, *TEXTS))
    data: tuple[str, ...] = flag((), "files of pairs {prompt, chosen, rejected}, or hh, tldr-comparisons:FILE")
    eval_data: tuple[str, ...] = flag((), "files of held-out pairs")
    examples: int = flag(4096, "pairs drawn from the task")
    eval_examples: int = flag(256, "held-out pairs")
    label_noise: float = flag(0.05, "temperature of the labeller, in units of the gold score")
    temperature: float = flag(1.0, "divides the logits, in sampling and in every log-prob alike")
    # objective
    loss: str = flag("sigmoid", "sigmoid (DPO), ipo or simpo", choices=("sigmoid", "ipo", "simpo"))
    beta: float = flag(0.1, "strength of the anchor to the reference; of simpo the scale of the average log-prob (2)")
    label_smoothing: float = flag(0.0, "share of labels taken to be wrong (cDPO)")
    reference_free: bool = flag(False, "take a uniform reference (sigmoid only)")
    samples: int = flag(128, "held-out prompts answered before and after")
    simpo_gamma: float = flag(1.0, "margin that simpo asks for, nats")
    # the rng and grammar tasks
    target: str = flag("uniform", f"rng: one of {', '.join(rng.DEFAULTS)}, or a file of lines `text probability`")
    grammar_reward: str = flag("animals", "grammar: its gold reward, animals, happy, length, words:SEED or table:SEED")

    def __post_init__(self):
        super().__post_init__()
        if self.task is None and not self.data:
            raise UserError(f"give --task or --data (or both).\nTasks: {', '.join((*WORLDS, *TEXTS))}.")
        if self.task in WORLDS and self.data:
            raise UserError(f"--task {self.task} makes its own pairs; leave out --data.")
        if self.task in WORLDS and self.temperature != 1:
            raise UserError(f"--task {self.task} has exact distributions: it needs --temperature 1.")
        if self.eval_data and not self.data:
            raise UserError("--eval_data goes with --data: a --task holds its own pairs out.")
        if self.task in WORLDS and (self.loss != "sigmoid" or self.reference_free or self.label_smoothing):
            raise UserError(f"--task {self.task} compares with the optimum of plain DPO: it needs --loss sigmoid, "
                            "without --reference_free and --label_smoothing.")  # fmt: skip
        if self.reference_free and self.loss != "sigmoid":
            raise UserError(f"--reference_free goes with --loss sigmoid, found {self.loss}: ipo needs its reference, "
                            "simpo has none.")  # fmt: skip
        cli.check_ranges(self, examples=(1, 1e8), eval_examples=(1, 1e8), label_noise=(1e-6, 1e6), beta=(1e-6, 1e6),
                         temperature=(0.01, 100), label_smoothing=(0, 0.5), simpo_gamma=(-1e6, 1e6),
                         samples=(0, 1e5))  # fmt: skip


def log_probs(model: GPT2, batch: list[Encoded], rule: StopRule, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return summed log-probs (b, 2) of (chosen, rejected), and their numbers of tokens (b, 2)."""
    prompts, prompt_mask = left_pad([r.prompt for r in batch], 0, model.device)
    tokens, mask = data.pad_responses([ids for r in batch for ids in (r.chosen, r.rejected)], 0)
    tokens, mask = tokens.to(model.device), mask.to(model.device)
    logprobs, _ = score(model, prompts, tokens, mask, rule.stop, rule.min_new_tokens, temperature, prompt_mask)
    return logprobs.sum(1).view(-1, 2), mask.sum(1).view(-1, 2)


def compared(cfg: Config, policy: Tensor, ref: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the loss compares, from summed log-probs (b, 2) of (chosen, rejected): sums, of ipo and simpo means
    a token; the reference's are 0 where it has no part."""
    if cfg.loss != "sigmoid":
        policy, ref = policy / lengths, ref / lengths
    return policy, torch.zeros_like(ref) if cfg.reference_free or cfg.loss == "simpo" else ref


def dpo_loss(cfg: Config, policy: Tensor, ref: Tensor, lengths: Tensor) -> Tensor:
    """Return the loss of each pair (b,). policy, ref: summed log-probs (b, 2) of (chosen, rejected)."""
    policy, ref = compared(cfg, policy, ref, lengths)
    if cfg.loss == "sigmoid":
        return losses.dpo(*policy.unbind(1), *ref.unbind(1), cfg.beta, cfg.label_smoothing)
    if cfg.loss == "ipo":
        return losses.ipo(*policy.unbind(1), *ref.unbind(1), cfg.beta)
    return losses.simpo(*policy.unbind(1), cfg.beta, cfg.simpo_gamma)


def metrics_of(cfg: Config, policy: Tensor, ref: Tensor, lengths: Tensor) -> dict[str, float]:
    """Return TRL's metrics of a batch: the implied rewards beta (log pi - log ref), their margins, log-probs."""
    mine, theirs = compared(cfg, policy, ref, lengths)
    implied = cfg.beta * (mine - theirs)
    margins = implied[:, 0] - implied[:, 1]
    return {"rewards/chosen": implied[:, 0].mean().item(), "rewards/rejected": implied[:, 1].mean().item(),
            "rewards/margins": margins.mean().item(), "rewards/accuracies": (margins > 0).float().mean().item(),
            "logps/chosen": policy[:, 0].mean().item(), "logps/rejected": policy[:, 1].mean().item()}  # fmt: skip


def main(argv: list[str]) -> None:
    simpo = {"beta": 2.0}  # the scale of average log-probs is another one
    cfg, changed = cli.parse(Config, argv, lambda given: PRESETS[given.task] | (simpo if given.loss == "simpo" else {}))
    stage.refuse_unused(cfg, argv)
    cli.show(cfg, changed)
    run = stage.open_run(cfg, "dpo", cfg.task, [*cfg.data, *cfg.eval_data])
    device = pick_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    noise, choice = torch.Generator().manual_seed(cfg.seed), random.Random(cfg.seed)  # of sampling; of labels
    model, tokenizer, base = stage.load_policy(cfg.model, cfg.init)
    cfg.dtype = stage.place(model.requires_grad_(False), cfg, device)
    # data: pairs (chosen, rejected) of a task, labelled by its gold score and noise, or one's own
    here = setting(cfg.task, tokenizer, cfg.max_response, device, cfg.target, cfg.grammar_reward)
    rule, world, T = here.rule, here.world, cfg.temperature
    ref = stage.reference(model, cfg)
    if cfg.data:
        train, held = data.load(cfg.data, cfg.eval_data, cfg.eval_fraction, cfg.seed, tokenizer,
                                ("pair", "best", "ranking"))  # fmt: skip
    else:
        (train, _), (held, _) = (
            comparisons(here, cfg.task, split, n, cfg.seed, cfg.label_noise, ref, tokenizer, noise, choice,
                        temperature=T)
            for split, n in (("train", cfg.examples), ("validation", cfg.eval_examples)))  # fmt: skip
    (train, report), (held, _) = (
        data.encode(records, tokenizer, rule, model.config.n_positions, cfg.max_prompt)
        for records in (as_pairs(train), as_pairs(held)[: cfg.eval_examples])
    )
    print(report)
    if not train or not held:
        raise UserError("no pairs: the two responses to each prompt are the same.")
    run.start(cfg, device)
    if cfg.dry_run:
        print(data.preview(train, tokenizer))

    # models: the policy is an adapter; the reference is the same backbone without it, asked once
    @torch.no_grad()
    def ref_log_probs(records: list[Encoded]) -> Tensor:  # (records, 2)
        with lora.disabled(ref):
            return torch.cat([log_probs(ref, some, rule, T)[0] for some in data.chunks(records, cfg.micro_batch or 64)])

    ref_held = ref_log_probs(held)
    ref_train = torch.full((len(train), 2), torch.nan, device=device)  # filled in when a pair is first met
    trained = stage.make_trainable(model, cfg)
    trained = dist.shard(trained, model, ref) if cfg.shard == "fsdp" else trained
    optimizer = AdamW(trained.values(), cfg.learning_rate, weight_decay=cfg.weight_decay)
    scaler = precision.Scaler(device.type, enabled=cfg.dtype == "fp16")
    lengths = [len(r.prompt) + max(map(len, r.responses)) for r in train]
    order, best = data.Stream(lengths, cfg.batch_size, cfg.seed), checkpoint.Best(cfg.keep_best, trained)
    streams = {"noise": noise, "choice": choice}
    if world:  # labels know the reward in units of their noise, so DPO ends in the optimum for beta * noise
        base_logprobs = world.logprobs(ref)
        target = world.optimum(base_logprobs, here.gold, cfg.beta * cfg.label_noise)

    @torch.no_grad()
    def evaluate() -> tuple[dict[str, float], list[dict]]:
        """Return held-out metrics, and a row a pair."""
        model.eval()
        found = [log_probs(model, batch, rule, T) for batch in data.chunks(held, cfg.micro_batch or cfg.batch_size)]
        policy, tokens = (torch.cat(parts) for parts in zip(*found))  # (held, 2)
        found = {"loss": dpo_loss(cfg, policy, ref_held, tokens).mean().item()}
        found = {f"eval/{key}": x for key, x in (found | metrics_of(cfg, policy, ref_held, tokens)).items()}
        if world:
            distances = exact.distances(target, world.logprobs(model))
            found |= {f"exact/{key}": value for key, value in distances.items()}
        mine, theirs = compared(cfg, policy, ref_held, tokens)
        implied = (cfg.beta * (mine - theirs)).tolist()
        return found, [{"prompt": r.record.prompt, "chosen": r.record.responses[0], "rejected": r.record.responses[1],
                        "rewards": values} for r, values in zip(held, implied)]  # fmt: skip

    def answer() -> tuple[dict[str, float], list[dict]]:
        """Return means over sampled responses, and a row a response."""
        prompts = list({tuple(record.prompt): record.prompt for record in held}.values())[: cfg.samples]
        if here.task:  # the prompts that the other stages answer, too
            prompts = [tokenizer.encode(prompt) for prompt in here.task.prompts("validation", cfg.samples, cfg.seed)]
        named = {"gold": here.gold} if here.gold else {}
        return measure(model.eval(), ref, tokenizer, prompts, rule, named, 4, noise, T) if prompts else ({}, [])

    before = {} if cfg.eval_only else evaluate()[0]
    best.check(before) if before else None
    before |= {} if cfg.eval_only else answer()[0]

    def save(step: int) -> None:
        stage.save_policy(model, run.path, base, tokenizer)
        tensors, meta = checkpoint.pack_training(trained, optimizer, streams, scaler)
        run.save(step, {**tensors, **best.tensors}, {**meta, "order": order.state(), "best": best.meta()})

    step = 0
    if cfg.resume:
        step, tensors, meta = run.load()
        checkpoint.unpack_training(tensors, meta, trained, optimizer, streams, scaler)
        order.restore(meta["order"])
        best.unpack(tensors, meta["best"])

    steps = 1 if cfg.dry_run else cfg.steps
    progress = tqdm(total=steps, initial=step, desc="DPO", disable=cfg.eval_only or dist.rank() > 0, mininterval=0.5)
    with progress, run.graceful_signals(lambda: step == run.logged and save(step)):
        while step < steps and not cfg.eval_only:
            # data: pairs of similar length, and what the reference says of them
            batch = order.next()
            if new := [i for i in batch if ref_train[i, 0].isnan()]:
                ref_train[new] = ref_log_probs([train[i] for i in new])
            model.train()

            # targets: the policy should prefer the chosen one more than the reference does
            for attempt in memory.Attempts(cfg, optimizer):  # zero_grad; again in halves if memory runs out
                with attempt:
                    loss, policies, counts, part, policy = 0.0, [], [], None, None  # None: a failed attempt's graph
                    for rows in data.chunks(batch, cfg.micro_batch * dist.world()):
                        policy, tokens = log_probs(model, [train[i] for i in rows], rule, T)  # (b, 2)
                        part = dpo_loss(cfg, policy, ref_train[rows], tokens).sum() / len(batch)
                        scaler.scale(part).backward()
                        loss += part.item()
                        policies.append(policy.detach())
                        counts.append(tokens)

            # update
            factor = stage.learning_rate_factor(cfg, step)
            optimizer.param_groups[0]["lr"] = cfg.learning_rate * factor
            dist.average_gradients(trained.values())
            scaler.unscale_(optimizer)
            grad_norm = dist.clip_gradients(trained.values(), cfg.max_grad_norm)
            check_finite(step + 1, [train[i].name for i in batch], logps=torch.cat(policies),
                         ref_logps=ref_train[batch], loss=loss, grad_norm=scaler.guarded(grad_norm))  # fmt: skip
            scaler.advance(optimizer)  # optimizer.step(), but in fp16 not where a gradient overflowed
            step += 1

            # log, evaluate, save
            metrics = {"loss": loss, **metrics_of(cfg, torch.cat(policies), ref_train[batch], torch.cat(counts)),
                       "grad_norm": grad_norm.item(), "lr": cfg.learning_rate * factor,
                       "epoch": order.epoch}  # fmt: skip
            if step == steps or cfg.eval_every and step % cfg.eval_every == 0:
                found, _ = evaluate()
                best.see(step, found)
                metrics |= found
                progress.set_postfix_str(f"held-out accuracy {found['eval/rewards/accuracies']:.3f}")
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
        stage.save_policy(model, run.path, base, tokenizer)  # state/ keeps the last step
    (after, pairs), (found, rows) = evaluate(), answer()
    run.rows("predictions.jsonl", pairs)
    if world:
        world.write(run.path, target, base_logprobs, world.logprobs(model))
    figures = [plot.distribution(run.path)] if cfg.plot and world else []
    if cfg.plot and not cfg.eval_only:
        keys = ["loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected"]
        figures.append(plot.curves(run.path, keys, logarithmic=False))
    stage.report(run, step, before, after | found, rows, figures)


if __name__ == "__main__":
    cli.main(main)
