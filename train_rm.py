"""Reward modelling: learn from comparisons how good a response is.

    python train_rm.py --task sentiment                  # best-of-4 labels on samples of the base
    python train_rm.py --task puns                       # a pun against a plain statement
    python train_rm.py --data my.jsonl                   # lines {"prompt", "chosen", "rejected"}, best-of-k or rankings

The reward is a scalar head at the response's last token (or summed over its tokens). The records say what is learned:
pairs: -log sigmoid(r_chosen - r_rejected - margin) (Bradley and Terry 1952; Ouyang et al. 2022, eq. 1);
best of k: -log softmax(r)_best (Ziegler et al. 2019, eq. 1); rankings: the pair loss over all pairs.
All responses to a prompt share its encoding. Gain and bias make the reward's mean 0 and variance 1 on samples of the
base, before training and after it. On nano's tasks the labels are drawn from the exact gold score by a noisy labeller,
P(i is best) = softmax(gold / noise), so the accuracy that no reward model can beat is known: `label_ceiling`.
"""
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from minalign import checkpoint, cli, data, dist, lora, losses, memory, metrics, plot, precision, stage
from minalign.cli import flag
from minalign.data import Encoded
from minalign.errors import UserError
from minalign.generate import left_pad
from minalign.nano.corpus import SPLITS
from minalign.optim import AdamW
from minalign.records import Record, write_records
from minalign.respond import respond
from minalign.rewards import RewardHead, RewardModel, from_run, save_head
from minalign.run import check_finite, pick_device, seed_everything
from minalign.stage import StageConfig
from minalign.tasks.setting import TEXTS, comparisons, setting

PRESETS = {  # temperature: of Ziegler et al.
    None: {},
    "sentiment": dict(temperature=0.7, label_noise=0.2, examples=8192),
    "descriptiveness": dict(temperature=0.7, label_noise=0.3, examples=16_384, batch_size=64),
    "puns": dict(examples=2048, label_noise=0.25),
    # A summary may be wrong in one word of thirty: hence --pool sum.
    "summarize": dict(k=5, examples=9600, eval_examples=256, batch_size=16, steps=1000, pool="sum", lora_rank=0,
                      learning_rate=3e-4, label_noise=0.02, also=("ood_test", "long_test")),
}


@dataclass
class Config(StageConfig):
    task: str | None = flag(None, "what to train on; none with --data", choices=tuple(TEXTS))
    data: tuple[str, ...] = flag((), "files of comparisons, or hh, tldr-comparisons:FILE, openai:sentiment")
    eval_data: tuple[str, ...] = flag((), "files of held-out comparisons")
    pool: str = flag("last", "where the head is read: at the response's last token, or at every token and summed, "
                     "with which single wrong words are learned sooner", choices=("last", "sum"))  # fmt: skip
    # labels of a task
    examples: int = flag(4096, "comparisons to train on")
    eval_examples: int = flag(1024, "held-out comparisons")
    k: int = flag(4, "responses in a comparison; the labeller picks the best")
    label_noise: float = flag(0.05, "temperature of the labeller, in units of the gold score")
    temperature: float = flag(1.0, "that the compared responses are sampled at")
    also: tuple[str, ...] = flag((), "held-out comparisons that are only counted at the end: splits of the task, or "
                                 "with --data files: out of distribution, say")
    normalise: int = flag(256, "responses that gain and bias are set on, before and after; 0 = off")
    normalise_on: str = flag("base", "what then has mean 0 and variance 1: samples of the base, or the compared "
                             "responses (Kirk et al. 2024)", choices=("base", "compared"))  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        stage.check_source(self, tuple(TEXTS))
        if self.eval_only and not self.init:
            raise UserError("--eval_only needs --init: the run of train_rm.py to evaluate.")
        cli.check_ranges(self, examples=(1, 1e8), eval_examples=(1, 1e8), k=(2, 64),
                         label_noise=(1e-6, 1e6), temperature=(0.01, 100), normalise=(0, 1e6))  # fmt: skip


def score(reward_model: RewardModel, batch: list[Encoded]) -> Tensor:
    """Return the rewards (b, K) of records that all have K responses."""
    prompts, prompt_mask = left_pad([r.prompt for r in batch], 0, reward_model.model.device)
    tokens, mask = data.pad_responses([ids for record in batch for ids in record.responses], 0)
    device = reward_model.model.device
    return reward_model.score(prompts, prompt_mask, tokens.to(device), mask.to(device)).view(len(batch), -1)


def preference_loss(rewards: Tensor, records: list[Record]) -> Tensor:
    """Return the loss of each record (b,), by what kind of comparison it is. rewards: (b, K)."""
    if records[0].kind == "ranking":
        return losses.ranking(rewards, torch.ones_like(rewards, dtype=torch.bool))
    best = torch.tensor([record.best for record in records], device=rewards.device)
    if records[0].kind == "best":
        return losses.best_of_k(rewards, best)
    margin = torch.tensor([record.margin for record in records], device=rewards.device)
    chosen, rejected = rewards.gather(1, best[:, None])[:, 0], rewards.gather(1, 1 - best[:, None])[:, 0]
    return losses.pairwise(chosen, rejected, margin)


def grouped(batch: list[Encoded]) -> list[list[Encoded]]:
    """Return the records of a batch by kind and number of responses: each group goes through the model at once."""
    groups: dict[tuple, list[Encoded]] = {}
    for record in batch:
        groups.setdefault((record.record.kind, len(record.responses)), []).append(record)
    return list(groups.values())


def judged(record: Record, rewards: Tensor) -> tuple[float, int, list[tuple[float, bool]]]:
    """Return how many of a record's comparisons are predicted right, of how many, and (P(wins), wins) of each entry.

    rewards: (K,). Best of k: one comparison, K entries with P = softmax; a ranking: its pairs, two entries each.
    """
    if record.kind == "ranking":
        first, second = torch.combinations(torch.arange(len(rewards))).T
        p = torch.sigmoid(rewards[first] - rewards[second]).tolist()
        return sum(x > 0.5 for x in p), len(p), [entry for x in p for entry in ((x, True), (1 - x, False))]
    others = torch.cat([rewards[: record.best], rewards[record.best + 1 :]])
    p = rewards.softmax(0).tolist()
    return float(rewards[record.best] > others.max()), 1, [(x, i == record.best) for i, x in enumerate(p)]


def margin_of(record: Record, rewards: Tensor) -> float:
    """Return by how much the preferred response's reward (K,) exceeds that of the others; of a ranking over its pairs.

    Of a pair this is TRL's `margin`.
    """
    if record.kind == "ranking":
        first, second = torch.combinations(rewards).T
        return (first - second).mean().item()
    best = rewards[record.best]
    return ((best - rewards).sum() / (len(rewards) - 1)).item()


@torch.no_grad()
def evaluate(reward_model: RewardModel, records: list[Encoded], rows: int) -> tuple[dict[str, float], list[dict]]:
    """Return held-out loss, accuracy with Wilson's 95 % interval and calibration error; and one row a record.

    Calibration error: mean difference, over ten bins of equal width, of predicted and observed preference.
    """
    reward_model.model.eval()
    predictions, entries, loss, right, n = [], [], 0.0, 0.0, 0
    for i in range(0, len(records), rows):
        for group in grouped(records[i : i + rows]):
            rewards = score(reward_model, group)
            odds = rewards * reward_model.head.log_odds
            loss += preference_loss(odds, [r.record for r in group]).sum().item()
            for encoded, found, logits in zip(group, rewards.cpu(), odds.cpu()):
                wins, compared, more = judged(encoded.record, logits)
                right, n, entries = right + wins, n + compared, entries + more
                row = {"prompt": encoded.record.prompt, "responses": encoded.record.responses,
                       "kind": encoded.record.kind, "best": encoded.record.best, "rewards": found.tolist(),
                       "log_odds": logits.tolist()}  # fmt: skip
                predictions.append(row | {"predicted": [p for p, _ in more], "observed": [won for _, won in more]})
    low, high = metrics.wilson(right, n)
    found = {"eval/loss": loss / len(records), "eval/accuracy": right / n, "eval/accuracy_low": low,
             "eval/accuracy_high": high, "eval/calibration_error": metrics.calibration_error(entries)}  # fmt: skip
    return found, predictions


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv, lambda given: PRESETS[given.task])
    cli.show(cfg, changed)
    run = stage.open_run(cfg, "rm", cfg.task, [*cfg.data, *cfg.eval_data])
    device = pick_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    noise, choice = torch.Generator().manual_seed(cfg.seed), random.Random(cfg.seed)  # of sampling; of labels
    start = stage.origin(cfg) if cfg.eval_only else (cfg.model, cfg.init)
    model, tokenizer, base = stage.load_policy(*start, reward_model=True)
    cfg.dtype = stage.place(model.requires_grad_(False), cfg, device)
    # data: comparisons of a task, labelled by its gold score and noise, or one's own
    here, ceilings = setting(cfg.task, tokenizer, cfg.max_response, device), {}
    rule, kinds = here.rule, ("pair", "best", "ranking")
    if cfg.data:
        train, held = data.load(cfg.data, cfg.eval_data, cfg.eval_fraction, cfg.seed, tokenizer, kinds)
        also = [data.load([name], (), 0, cfg.seed, tokenizer, kinds)[0] for name in cfg.also]
    else:
        for name in cfg.also:
            cli.check_choice("also", name, getattr(here.task, "SPLITS", SPLITS))
        drawn = [comparisons(here, cfg.task, split, n, cfg.seed, cfg.label_noise, model, tokenizer, noise, choice,
                             cfg.k, cfg.temperature)
                 for split, n in (("train", cfg.examples), ("validation", cfg.eval_examples),
                                  *((name, cfg.eval_examples) for name in cfg.also))]  # fmt: skip
        (train, held, *also), (_, *limits) = zip(*drawn)
        ceilings = dict(zip(("eval", *cfg.also), limits))
    if not train or not held:
        raise UserError("no comparisons: the responses to each prompt are all the same.\nRaise --temperature or --k.")
    records = train
    (train, report), (held, _), *also = (
        data.encode(r, tokenizer, rule, model.config.n_positions, cfg.max_prompt)
        for r in (train, *(held_out[: cfg.eval_examples] for held_out in (held, *also))))  # fmt: skip
    print(report)
    run.start(cfg, device)
    if cfg.dry_run:
        print(data.preview(train, tokenizer))
    elif not cfg.resume:  # for other stages: `--data RUN/preferences.jsonl`
        write_records(run.path / "preferences.jsonl", records)

    # models: an adapter and a head on the frozen base; samples of the base fix the reward's scale
    model.heads["reward"] = RewardHead(model.config.n_embd, device)
    trained = stage.make_trainable(model, cfg, "reward")
    head = model.heads["reward"]
    reward_model = RewardModel(model, tokenizer, head, "reward" if cfg.lora_rank else None, rule, cfg.pool)
    asked = [record.prompt for record in (train + held)[: cfg.normalise]]
    with lora.disabled(model):
        sampled = respond(model, tokenizer, asked, rule, 1, cfg.temperature, noise)
    base_samples = [Encoded(prompt, [list(r.tokens)], None) for prompt, (r,) in zip(asked, sampled)]

    scaled = base_samples if cfg.normalise_on == "base" else train[: cfg.normalise]

    @torch.no_grad()
    def normalise() -> None:
        if scaled:
            head.normalise(torch.cat([score(reward_model, group).flatten() for batch in data.chunks(scaled, 64)
                                      for group in (grouped(batch) if batch[0].record else [batch])]))  # fmt: skip

    if cfg.eval_only:
        reward_model = from_run(cfg.init, shared_base=base, device=device, flag="--init")
        reward_model.model.compute_in(model.dtype)
        head = reward_model.head
    else:
        normalise()
        head.log_odds.fill_(1.0)  # training starts from rewards of variance 1, taken as log-odds
    trained = dist.shard(trained, model) if cfg.shard == "fsdp" else trained
    optimizer = AdamW(trained.values(), cfg.learning_rate, weight_decay=cfg.weight_decay)
    scaler = precision.Scaler(device.type, enabled=cfg.dtype == "fp16")
    lengths = [len(r.prompt) + max(map(len, r.responses)) for r in train]
    order, best = data.Stream(lengths, cfg.batch_size, cfg.seed), checkpoint.Best(cfg.keep_best, trained)
    streams = {"noise": noise, "choice": choice}

    def export() -> None:
        stage.save_policy(model, run.path, base, tokenizer, "reward")
        save_head(run.path, head, rule, cfg.pool)

    def save(step: int) -> None:
        export()
        tensors, meta = checkpoint.pack_training(trained, optimizer, streams, scaler)
        run.save(step, {**tensors, **best.tensors}, {**meta, "order": order.state(), "best": best.meta()})

    if cfg.keep_best:
        best.check(evaluate(reward_model, held[:2], 2)[0])
    step = 0
    if cfg.resume:
        step, tensors, meta = run.load()
        checkpoint.unpack_training(tensors, meta, trained, optimizer, streams, scaler)
        order.restore(meta["order"])
        best.unpack(tensors, meta["best"])

    steps = 1 if cfg.dry_run else cfg.steps
    progress = tqdm(total=steps, initial=step, desc="RM", disable=cfg.eval_only or dist.rank() > 0, mininterval=0.5)
    with progress, run.graceful_signals(lambda: step == run.logged and save(step)):
        while step < steps and not cfg.eval_only:
            # data: comparisons of similar length
            model.train()
            batch = [train[i] for i in order.next()]

            # targets: the preferred response's reward should be the higher one
            for attempt in memory.Attempts(cfg, optimizer):  # zero_grad; again in halves if memory runs out
                with attempt:
                    loss, right, compared, seen, names, margins = 0.0, 0.0, 0, [], [], []
                    part = rewards = None  # the graph of a failed attempt
                    for group in grouped(batch):
                        for micro in data.chunks(group, cfg.micro_batch * dist.world()):
                            rewards = score(reward_model, micro)  # (b, K)
                            part = preference_loss(rewards, [r.record for r in micro]).sum() / len(batch)
                            scaler.scale(part).backward()
                            loss += part.item()
                            seen += rewards.detach()  # (K,) each
                            names += [r.name for r in micro]
                            for encoded, found in zip(micro, rewards.detach().cpu()):
                                wins, n, _ = judged(encoded.record, found)
                                right, compared = right + wins, compared + n
                                margins.append(margin_of(encoded.record, found))

            # update
            factor = stage.learning_rate_factor(cfg, step)
            optimizer.param_groups[0]["lr"] = cfg.learning_rate * factor
            dist.average_gradients(trained.values())
            scaler.unscale_(optimizer)
            grad_norm = dist.clip_gradients(trained.values(), cfg.max_grad_norm)
            check_finite(step + 1, names, rewards=torch.stack([x.sum() for x in seen]), loss=loss,
                         grad_norm=scaler.guarded(grad_norm))  # fmt: skip
            scaler.advance(optimizer)  # optimizer.step(), but in fp16 not where a gradient overflowed
            step += 1

            # log, evaluate, save
            rewards = torch.cat(seen)
            row = {"loss": loss, "accuracy": right / compared, "margin": sum(margins) / len(margins),
                   "mean_reward": rewards.mean().item(), "min_reward": rewards.min().item(),
                   "max_reward": rewards.max().item(), "grad_norm": grad_norm.item(),
                   "lr": cfg.learning_rate * factor, "epoch": order.epoch}  # fmt: skip
            if step == steps or cfg.eval_every and step % cfg.eval_every == 0:
                found, _ = evaluate(reward_model, held, cfg.micro_batch or cfg.batch_size)
                best.see(step, found)
                row |= found
                progress.set_postfix_str(f"held-out accuracy {found['eval/accuracy']:.3f}")
            run.log(step, row | scaler.log())
            progress.update()
            if cfg.dry_run:
                progress.close()
                print(f"dry run: one step, loss {loss:.4f}; nothing was saved")
                return
            if run.stopping or step == steps or cfg.save_every and step % cfg.save_every == 0:
                save(step)
            if run.stopping:
                run.leave(step, progress)

    model.eval()
    if not cfg.eval_only:
        best.restore()
        normalise()
        export()  # state/ keeps the last step as it was trained, to go on from
    found, predictions = evaluate(reward_model, held, cfg.micro_batch or cfg.batch_size)
    run.rows("predictions.jsonl", predictions)
    result = {**found, "steps": step, "gain": head.gain.item(), "bias": head.bias.item()}
    print(f"\nheld-out accuracy {found['eval/accuracy']:.3f} ({found['eval/accuracy_low']:.3f} to "
          f"{found['eval/accuracy_high']:.3f}), loss {found['eval/loss']:.3f}, calibration error "
          f"{found['eval/calibration_error']:.3f}")  # fmt: skip
    for name, (records, _) in zip(cfg.also, also):
        found, _ = evaluate(reward_model, records, cfg.micro_batch or cfg.batch_size)
        stem = data.short_name(name)
        result |= {key.replace("eval", stem): value for key, value in found.items()}
        print(f"{stem:17} {found['eval/accuracy']:.3f} ({found['eval/accuracy_low']:.3f} to "
              f"{found['eval/accuracy_high']:.3f})")  # fmt: skip
    for name, ceiling in ceilings.items():
        if ceiling is not None:
            result["label_ceiling" if name == "eval" else f"{name}/label_ceiling"] = ceiling
            print(f"label ceiling     {ceiling:.3f} ({name}): expected accuracy of the exact gold score against these "
                  "noisy labels")  # fmt: skip
    if cfg.plot:
        print("figures:", plot.preferences(run.path), *([] if cfg.eval_only else [plot.curves(
            run.path, ["loss", "accuracy", "eval/accuracy"], logarithmic=False)]))  # fmt: skip
    result = run.result(result)
    print(f"{run.path}: {result['seconds']:.0f} s, {result['peak_memory_mb']:.0f} MB peak")


if __name__ == "__main__":
    cli.main(main)
