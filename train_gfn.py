"""GFlowNet fine-tuning (Hu et al. 2023, arXiv 2310.04363): make a language model *sample* in proportion to a reward.

    python train_gfn.py --task rng                 # skewed "random" numbers become uniform, 45 s on two cores
    python train_gfn.py --task rng --preset long   # the same to the fifth decimal, five minutes
    python train_gfn.py --task next_sentence       # whole sentences from p_ref(sentence)^(1/T), T = 0.8
    python train_gfn.py --task sentiment --reward gold  # from p_ref(y) exp(r(y) / beta); rewards as in train_ppo.py

Each step samples responses (on-policy, and some tempered, exploring or replayed) and moves log P(response) towards
log R(response) - log Z by balance losses (losses.py): SubTB compares the prefixes of a response, VarGrad the responses
of one prompt. No value network, no baseline, no KL penalty. Differs from the authors' code: the empty response is
impossible, not floored at -99; the stop at the maximal length has probability one; gradients come from one forward over
given tokens of several prompts, not through the sampler; the result is exact where responses can be listed.
"""
import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from minalign import checkpoint, cli, data, dist, exact, lora, losses, memory, plot, precision, rewards, stage
from minalign.cli import flag
from minalign.encoders import sentence_encoder
from minalign.errors import UserError
from minalign.generate import StopRule, generate, left_pad, prefix_logprobs, rows_of
from minalign.optim import AdamW
from minalign.records import Record
from minalign.replay import ReplayBuffer
from minalign.respond import measure, probe, text_of
from minalign.run import check_finite, pick_device, seed_everything
from minalign.stage import StageConfig
from minalign.tasks import next_sentence, rng
from minalign.tasks.setting import TEXTS, WORLDS, Setting, load_prompts, setting

TASKS = ("rng", "grammar", "next_sentence", *TEXTS)
# More steps of prompts that are all alike: replay and exploration find what the base hardly ever says.
NUMBERS = dict(reward="target", steps=600, learning_rate=5e-3, warmup_steps=20, lora_targets=("attn.c_attn", "lm_head"),
               clip_log_ratio=4.0, explored=0.1, replay_capacity=2000, replay_similarity=0.0, replay_margin=14.0,
               prefill=4096, eval_every=25, eval_samples=10_000)  # fmt: skip
TILTED = dict(reward="gold", objective="vargrad")
PRESETS = {
    ("rng", "default"): NUMBERS,
    ("rng", "long"): NUMBERS | dict(objective="vargrad", steps=3000, batch_size=256, learning_rate=4e-3),
    ("rng", "paper"): NUMBERS | rng.PUBLISHED,
    ("grammar", "default"): dict(samples_per_prompt=256, batch_size=256, lora_targets=lora.TARGETS),
    # nano stops in the middle of a sentence once in a million: there SubTB would fit numbers that nobody ever sees.
    ("next_sentence", "default"): dict(objective="vargrad", learning_rate=5e-4, examples=4096),
    ("next_sentence", "paper"): next_sentence.PUBLISHED,
    **{(task, "default"): TILTED | dict(temperature=0.7) for task in ("sentiment", "descriptiveness")},
    **{(task, "default"): TILTED | dict(steps=steps) for task, steps in (("puns", 300), ("summarize", 100))},
}


def preset(given) -> dict:
    """Return the values of --preset; responses of several tokens, as real numbers are, get larger batches."""
    if given.preset != "default" and (given.task, given.preset) not in PRESETS:
        raise UserError(f"--preset {given.preset}: only {', '.join(t for t, name in PRESETS if name == given.preset)}.")
    values = PRESETS.get((given.task, given.preset), {})
    if given.task == "rng" and given.preset == "default" and rng.of_real_numbers(given.target):
        values = values | dict(batch_size=192, eval_every=100)
    return values if given.reward in ("likelihood", "target") else TILTED | values


@dataclass
class Config(rng.Flags, StageConfig):
    task: str | None = flag(None, "what to train on; none with --data", choices=TASKS)
    preset: str = flag("default", "values for the flags below", choices=("default", "long", "paper"))
    data: tuple[str, ...] = flag((), "prompts: files (records, .txt), hh, imdb, puns, tldr:FILE")
    eval_data: tuple[str, ...] = flag((), "files of held-out prompts")
    examples: int = flag(1024, "prompts to train on, of the task or of --data")
    eval_examples: int = flag(64, "held-out prompts")
    eval_samples: int = flag(8, "responses to each held-out prompt in an evaluation; rng: samples of the cross-check")
    probes: int = flag(4, "prompts of either split whose responses are shown at every evaluation, 0 = off")
    encoder: str = flag("nano", "of texts, for their diversity: nano, a hub id, or a folder of a sentence encoder")
    # what to sample in proportion to: log R = log p_ref / T; of other rewards than the likelihood log p_ref + r / beta
    reward: str = flag("likelihood", "likelihood, gold, a run of train_rm.py, or file.py:function; rng: target")
    beta: float = flag(0.1, "score per nat: the optimum is p_ref exp(score / beta) / Z")
    reward_temperature: float = flag(0.8, "T of --reward likelihood, which is tempered as a whole")
    reward_temperature_start: float = flag(1.0, "T at the first step, from which it goes linearly to its value")
    reward_temperature_steps: int = flag(40, "steps of that, 0 = T is constant")
    validator: str = flag("none", "of sentences: none, or rule (next_sentence.is_sentence)", choices=("none", "rule"))
    temperature: float = flag(1.0, "divides the logits of p_ref and policy, in sampling and in every log-prob alike")
    min_response: int = flag(1, "next_sentence: tokens before the full stop at least")
    illegal: str = flag("basic", "next_sentence: impossible tokens, see there", choices=("basic", "published"))
    grammar_reward: str = flag("animals", "grammar: its gold reward, animals, happy, length, words:SEED or table:SEED")
    # objective
    objective: str = flag("subtb+vargrad", "balance loss", choices=("subtb+vargrad", "vargrad", "subtb", "tb"))
    subtb_lambda: float = flag(1.0, "weight of longer sub-trajectories; 1 = all pairs alike, in O(length)")
    clip_log_ratio: float = flag(2.0, "clip each log R - log P to this many nats around its prompt's median, 0 = off")
    # behaviour: shares of a prompt's responses that are not the policy's own; two decay with the learning rate
    tempered: float = flag(0.25, "share sampled at a temperature drawn from U(0.5, 2)")
    explored: float = flag(0.0, "share sampled with a uniform distribution over the vocabulary mixed in")
    explore: float = flag(0.2, "weight of that uniform distribution at every token")
    replayed: float = flag(0.25, "share drawn from the replay buffer, once all prompts of a step are in it")
    replay_capacity: int = flag(50, "best responses kept for each prompt")
    replay_similarity: float = flag(0.25, "responses closer than this, in edits per token, count as one: the better")
    replay_margin: float = flag(0.0, "drop responses whose log R is this many nats below their prompt's best, 0 = off")
    prefill: int = flag(0, "responses of the base to each prompt that the buffer is offered at the start, 0 = off")
    # optimisation
    batch_size: int = flag(128, "responses a step")
    samples_per_prompt: int = flag(8, "responses to one prompt (N); rng: its prompts share the batch evenly")
    log_z_learning_rate: float = flag(0.1, "AdamW's for log Z, which the objectives subtb and tb learn from the prompt")
    patience: int = flag(0, "evaluations without a better --keep_best that end the run, 0 = off")

    def __post_init__(self):
        super().__post_init__()
        if self.task != "next_sentence" or not self.data:
            stage.check_source(self, TASKS)
        cli.check_ranges(self, batch_size=(2, 1e6), samples_per_prompt=(2, 1e6), subtb_lambda=(0, 10),
            clip_log_ratio=(0, 1e6), tempered=(0, 1), explored=(0, 1), explore=(0, 1), replayed=(0, 1),
            replay_capacity=(1, 1e6), replay_similarity=(0, 1), replay_margin=(0, 1e6), prefill=(0, 1e6),
            log_z_learning_rate=(0, 10), examples=(1, 1e8), eval_examples=(1, 1e6),
            eval_samples=(0 if self.task == "rng" else 2, 1e8), probes=(0, 1e4), beta=(1e-9, 1e9),
            reward_temperature=(1e-3, 1e3), reward_temperature_start=(1e-3, 1e3), reward_temperature_steps=(0, 1e9),
            temperature=(1, 1) if self.task in WORLDS else (0.01, 100), min_response=(1, 1e4), patience=(0, 1e9))
        if self.tempered + self.explored + self.replayed > 1:
            raise UserError("--tempered, --explored and --replayed are shares of one batch: expected 1 at most in all, "
                            f"found {self.tempered + self.explored + self.replayed:g}.")
        if (self.reward == "target") != (self.task == "rng") or self.task in WORLDS and self.validator != "none":
            raise UserError(f"--reward {self.reward}: rng has target, no other; rng and grammar have no --validator.")
        if self.reward == "gold" and self.task in (None, "next_sentence"):
            raise UserError("--reward gold: there is none here; likelihood, a run of train_rm.py or file.py:function.")
        if not self.every_prefix and "subtb" in self.objective:
            raise UserError(f"--objective {self.objective} compares the rewards of prefixes, --reward {self.reward} "
                            "knows whole responses only.\nUse --objective vargrad or tb.")
        if self.task != "rng" and self.batch_size % self.samples_per_prompt:
            raise UserError(f"--batch_size {self.batch_size} responses must be a multiple of --samples_per_prompt "
                            f"{self.samples_per_prompt}; try {self.samples_per_prompt * 16}.")
        if self.patience and not self.keep_best:
            raise UserError("--patience counts evaluations without a better --keep_best METRIC: give that, too.")

    @property
    def every_prefix(self) -> bool:
        """Whether log R is known of every prefix as a whole response."""
        return self.reward in ("likelihood", "target")


def reward_temperature(cfg: Config, step: int) -> float:
    """Return T at a step, counted from 0."""
    if cfg.reward != "likelihood":
        return 1.0
    progress = min(1.0, step / min(cfg.steps, cfg.reward_temperature_steps)) if cfg.reward_temperature_steps else 1.0
    return cfg.reward_temperature_start + progress * (cfg.reward_temperature - cfg.reward_temperature_start)


def behave(model, prompts: Tensor, prompt_mask: Tensor, rule: StopRule, N: int, n_replayed: int, cfg: Config,
           noise: torch.Generator, wander: float):  # fmt: skip
    """Sample N - n_replayed responses to each of b prompts: tempered ones, explored ones (wander: a factor on these two
    shares), and those of the policy itself."""
    b, fresh = len(prompts), N - n_replayed
    n_tempered, n_explored = min(round(wander * cfg.tempered * N), fresh), round(wander * cfg.explored * N)
    temperature, explore = torch.full((b, fresh), cfg.temperature), torch.zeros(b, fresh)
    temperature[:, :n_tempered] *= torch.empty(b, n_tempered).uniform_(0.5, 2.0, generator=noise)
    explore[:, n_tempered:n_tempered + n_explored] = cfg.explore
    return generate(model, prompts, n=fresh, prompt_mask=prompt_mask, generator=noise, **rule.settings(),
                    temperature=temperature.flatten() if n_tempered else cfg.temperature,
                    explore=explore.flatten() if n_explored else 0.0)  # fmt: skip


def balance(g: Tensor, can_end: Tensor, lengths: Tensor, log_z: Tensor | None, N: int, share: float, weight: Tensor,
            cfg: Config) -> Tensor:
    """Return the loss of some of a step's prompts, a share of them.

    g: (B, S) log R - log P of each prefix as a whole response. can_end: (B, S), whether it can be one. lengths: (B,)
    tokens before the stop. log_z: (b,), where it is learned. weight: of all sub-trajectories of the step.
    """
    if cfg.clip_log_ratio:  # else junk, 30 nats off, drowns what is 2 nats off until it is gone
        center = losses.terminal(g.detach(), lengths).view(-1, N).median(1).values.repeat_interleave(N)  # (B,)
        g = losses.clip_ratios(g, center, cfg.clip_log_ratio)
    ends = losses.terminal(g, lengths)  # (B,) log R - log P of the responses
    z = None if log_z is None else log_z.repeat_interleave(N)  # (B,)
    loss = torch.zeros((), device=g.device)
    if "subtb" in cfg.objective:  # prefixes of one response
        loss = loss + losses.subtb(g, can_end, cfg.subtb_lambda, z, weight)
    if "vargrad" in cfg.objective:  # responses of one prompt
        loss = loss + share * losses.vargrad(ends, N)
    if cfg.objective == "tb":
        loss = loss + share * losses.trajectory_balance(ends, z)
    return loss


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv, preset)
    stage.refuse_unused(cfg, argv, beta=cfg.every_prefix and f"--reward {cfg.reward} has no scores that it could weigh")
    cli.show(cfg, changed)
    device = pick_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    noise, choice = torch.Generator().manual_seed(cfg.seed), random.Random(cfg.seed)  # of sampling; of replay

    # models: one frozen backbone; the policy is its adapter, the reference is the same weights without it
    model, tokenizer, base = stage.load_policy(cfg.model, cfg.init)
    cfg.dtype = stage.place(model.requires_grad_(False), cfg, device)

    # data: prompts; those of rng bring the distribution that is asked for
    conditions = rng.conditions(cfg, tokenizer, model.config.n_positions, device) if cfg.task == "rng" else []
    here = (Setting(conditions[0].rule) if conditions else
            setting(cfg.task, tokenizer, cfg.max_response, device, grammar_reward=cfg.grammar_reward))  # fmt: skip
    if cfg.task == "next_sentence":
        here.rule = next_sentence.stop_rule(tokenizer, cfg.max_response, cfg.min_response, cfg.illegal)
    rule, world = here.rule, here.world  # world: all right responses are known, so the optimum is
    train, held = [[Record(c.text) for c in conditions]] * 2 if conditions else load_prompts(cfg, here, tokenizer)
    (train, said), (held, _) = (data.encode(r, tokenizer, rule, model.config.n_positions, cfg.max_prompt)
                                for r in (train[: cfg.examples], held))  # fmt: skip
    N = cfg.batch_size // len(conditions) if conditions else cfg.samples_per_prompt
    order = data.Stream([len(record.prompt) for record in train], cfg.batch_size // N, cfg.seed)
    n_replayed = min(round(cfg.replayed * N), N - 1)

    reward, reward_model = rewards.choose(cfg.reward, here.gold, model, cfg, base, device)
    ref = stage.reference(model, cfg)
    trained = stage.make_trainable(model, cfg)
    trained = dist.shard(trained, model, ref, reward_model and reward_model.model) if cfg.shard == "fsdp" else trained
    flow = torch.nn.Linear(model.config.n_embd, 1, device=device)  # log Z of a prompt, from its last state in p_ref
    torch.nn.init.zeros_(flow.weight), torch.nn.init.zeros_(flow.bias)
    optimizer = AdamW([
        {"params": list(trained.values()), "peak": cfg.learning_rate, "weight_decay": cfg.weight_decay},
        {"params": list(flow.parameters()), "peak": cfg.log_z_learning_rate, "weight_decay": 0.0}])
    scaler = precision.Scaler(device.type, enabled=cfg.dtype == "fp16")
    best, streams = checkpoint.Best(cfg.keep_best, trained), {"noise": noise, "choice": choice}
    trained = trained | {f"log_z.{name}": p for name, p in flow.named_parameters()}
    run = stage.open_run(cfg, "gfn", cfg.task, [*cfg.data, *cfg.eval_data, cfg.reward, *cfg.target])
    run.start(cfg, device)
    print(said, *([data.preview(train, tokenizer)] if cfg.dry_run else []), sep="\n")
    buffer = ReplayBuffer(cfg.replay_capacity, cfg.replay_similarity, cfg.replay_margin or math.inf)
    keys = [c.label for c in conditions] or [tokenizer.decode(record.prompt) for record in train]
    if world:
        with lora.disabled(ref):
            base_logprobs = world.logprobs(ref)
        target = ((base_logprobs / cfg.reward_temperature).log_softmax(0) if cfg.every_prefix
                  else world.optimum(base_logprobs, reward, cfg.beta))  # fmt: skip
    of_texts = () if conditions or world else (("train", train), ("validation", held))
    probes = {split: [record.prompt for record in some[: cfg.probes]] for split, some in of_texts}
    encoder = sentence_encoder(cfg.encoder, device) if of_texts else None

    @torch.no_grad()
    def log_rewards(batch, prompts, prompt_mask, tokens, mask, lengths, T: float) -> Tensor:
        """Return log R of every prefix of n responses to each prompt of a batch (B, S); 0 where it is not known."""
        n, part = len(tokens) // len(batch), (prompts, prompt_mask, tokens, mask)
        if conditions:
            return torch.cat([conditions[i].log_reward(*x) for i, *x in zip(batch, tokens.split(n), lengths.split(n))])
        with lora.disabled(ref):
            log_ref = prefix_logprobs(ref, rule, *part, lengths, cfg.temperature)  # (B, S)
        if cfg.validator == "rule":
            log_ref = next_sentence.floor_invalid(log_ref, tokens, mask, lengths, tokenizer, rule.stop)
        if cfg.every_prefix:
            return log_ref / T
        texts = [text_of(tokenizer, ids[:k]) for ids, k in zip(tokens.tolist(), mask.sum(1).tolist())]
        scores = (reward_model.score(*part) if reward_model else
                  torch.tensor(reward([keys[i] for i in batch for _ in range(n)], texts), device=device))  # (B,)
        return log_ref.scatter_add(1, lengths[:, None], scores[:, None] / cfg.beta)

    def evaluate(step: int | None = None) -> tuple[dict[str, float], list[dict]]:
        model.eval()
        if conditions:
            return rng.evaluate(conditions, model), []
        named = ({} if cfg.every_prefix else {"score": reward}) | ({"gold": here.gold} if here.gold else {})
        n = cfg.eval_samples * (cfg.eval_examples if world else 1)
        found, rows = measure(model, ref, tokenizer, [r.prompt for r in held], rule, named, n, noise, cfg.temperature,
                              encoder)
        for row in rows:  # log R - log P; at the optimum it is the log Z of the prompt
            bad = cfg.validator == "rule" and not next_sentence.is_sentence(row["response"])
            log_ref = min(row["loglik"], next_sentence.INVALID) if bad else row["loglik"]
            tilt = 0 if cfg.every_prefix else row["scores"]["score"] / cfg.beta
            row["log_ratio"] = log_ref / reward_temperature(cfg, cfg.steps) + tilt - row["own_loglik"]
        found["eval/log_ratio_var"] = torch.tensor([row["log_ratio"] for row in rows]).view(-1, n).var(1).mean().item()
        if world:
            found |= {f"exact/{key}": x for key, x in exact.distances(target, world.logprobs(model)).items()
                      if not cfg.every_prefix or key.endswith("valid") or key == "valid_mass"}  # else Z is not known
        if probes and step is not None:
            run.append("probes.jsonl", probe(model, tokenizer, probes, rule, step, cfg.temperature, cfg.seed))
        return found, rows

    def save(step: int) -> None:
        tensors, meta = checkpoint.pack_training(trained, optimizer, streams, scaler)
        replay_tensors, replay_meta = buffer.pack()
        stage.save_policy(model, run.path, base, tokenizer)
        run.save(step, {**tensors, **replay_tensors, **best.tensors},
                 {**meta, "replay": replay_meta, "order": order.state(), "best": best.meta()})

    step, steps = 0, 1 if cfg.dry_run else cfg.steps
    rng.describe(conditions, ref, cfg) if conditions else None
    before = {} if cfg.eval_only else evaluate(0)[0]
    best.check(before) if before else None
    if cfg.resume:
        step, tensors, meta = run.load()
        checkpoint.unpack_training(tensors, meta, trained, optimizer, streams, scaler)
        buffer.unpack(tensors, meta["replay"])
        order.restore(meta["order"])
        best.unpack(tensors, meta["best"])
        steps = step if 0 < cfg.patience <= best.since else steps  # its patience had ended
    elif cfg.replayed and cfg.prefill and not cfg.eval_only:
        # What the base hardly ever says would be pushed down, unseen, with the junk, and then be found too rarely.
        for i, record in enumerate(train):
            prompt = torch.tensor([record.prompt], device=device)
            for temperature in torch.empty(cfg.prefill).uniform_(0.5, 2.0, generator=noise).split(1024):
                samples = generate(model, prompt, n=len(temperature), temperature=temperature * cfg.temperature,
                                   generator=noise, **rule.settings())
                found = log_rewards([i], prompt, None, samples.tokens, samples.mask, samples.lengths, 1.0)
                buffer.add(keys[i], samples.tokens, samples.lengths, found)

    progress = tqdm(total=steps, initial=step, desc="GFN", disable=cfg.eval_only or dist.rank() > 0, mininterval=0.5)
    with progress, run.graceful_signals(lambda: step == run.logged and save(step)):
        while step < steps and not cfg.eval_only:
            # rollout: 1. responses of the behaviour policies
            model.eval()
            factor, T = stage.learning_rate_factor(cfg, step), reward_temperature(cfg, step)
            batch, R = sorted(order.next()), rule.max_new_tokens
            b, per = len(batch), memory.prompts_at_once(cfg, N)
            prompts, prompt_mask = left_pad([train[i].prompt for i in batch], rule.stop, device)
            replaying = n_replayed if all(keys[i] in buffer.entries for i in batch) else 0
            # Late steps need precision on what the policy says itself, so wandering decays with the learning rate.
            samples = behave(model, prompts, prompt_mask, rule, N, replaying, cfg, noise,
                             factor if step >= cfg.warmup_steps else 1.0)  # fmt: skip
            # 2. log R of each of their prefixes
            fresh = [x.unflatten(0, (b, -1)) for x in (samples.tokens, samples.mask, samples.lengths)]  # (b, n, ...)
            log_reward = torch.cat([log_rewards(batch[i:i + per], prompts[i:i + per], prompt_mask[i:i + per],
                                                *(x[i:i + per].flatten(0, 1) for x in fresh), T)
                                    for i in range(0, b, per)]).unflatten(0, (b, -1))  # (b, n, S)
            columns = [*fresh[:2], log_reward]
            if replaying:  # 3. and old responses, whose rewards are known
                old = zip(*(buffer.sample(keys[i], replaying, choice, R, rule.stop, T, rule.ends, rule.ends_after)
                            for i in batch))
                columns = [torch.cat([new, torch.stack(kept).to(device)], 1) for new, kept in zip(columns, old)]
            for i, *mine in zip(batch, fresh[0], fresh[2], log_reward) if cfg.replayed else ():
                buffer.add(keys[i], *mine, T)
            tokens, mask, log_reward = (x.flatten(0, 1) for x in columns)  # (B, R), (B, R), (B, S)
            lengths = mask.sum(1) - ((tokens == rule.stop) & mask).sum(1)  # (B,) tokens before the stop

            # targets: what log R(response) - log P(response) should all be equal to, and how far they are from it
            model.train()
            t, least = torch.arange(R + 1, device=device), rule.min_new_tokens if cfg.every_prefix else lengths[:, None]
            can_end = (t >= least) & (t <= lengths[:, None])  # (B, S) where log R is known
            rooted = cfg.objective == "subtb" and rule.min_new_tokens > 0  # s_0 cannot end, so log Z is its flow
            weight = losses.subtb_weight(can_end | (rooted & (t == 0)), cfg.subtb_lambda)
            for attempt in memory.Attempts(cfg, optimizer, N):  # zero_grad; again in halves if memory runs out
                with attempt:
                    loss, ratios, part_loss, log_p, g = 0.0, [], *[None] * 3  # None: the graph of a failed attempt
                    for some in torch.arange(b).split(memory.prompts_at_once(cfg, N)):
                        rows = rows_of(some, N)
                        part = prompts[some], prompt_mask[some], tokens[rows], mask[rows], lengths[rows]
                        log_p = prefix_logprobs(model, rule, *part, cfg.temperature)  # (rows, S)
                        g, log_z = torch.where(can_end[rows], log_reward[rows] - log_p, 0), None
                        if rooted or cfg.objective == "tb":
                            mine, *asked = dist.split(*part[:2])  # this process' share
                            with torch.no_grad(), lora.disabled(ref):
                                hidden = ref.encode_prefix(*asked)[1]  # (b, D)
                            log_z = mine.join(flow(hidden.float() / hidden.size(1))[:, 0])  # / D: log Z moves slower
                        part_loss = balance(g, can_end[rows], lengths[rows], log_z, N, len(some) / b, weight, cfg)
                        scaler.scale(part_loss).backward()
                        loss += part_loss.item()
                        ratios.append(losses.terminal(g.detach(), lengths[rows]))

            # update
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            dist.average_gradients(trained.values())
            scaler.unscale_(optimizer)
            grad_norm = dist.clip_gradients(best.trained.values(), cfg.max_grad_norm)
            check_finite(step + 1, [keys[i] for i in batch], ratios=torch.cat(ratios).view(b, N), loss=loss,
                         grad_norm=scaler.guarded(grad_norm))
            scaler.advance(optimizer)  # optimizer.step(), but in fp16 not where a gradient overflowed
            step += 1

            # log, evaluate, save
            metrics = {"loss": loss, "grad_norm": grad_norm.item(), "lr": cfg.learning_rate * factor,
                       "log_ratio_var": torch.cat(ratios).view(b, N).var(1).mean().item(), "reward_temperature": T,
                       "log_reward": losses.terminal(log_reward, lengths).mean().item(),
                       "length": lengths.float().mean().item(), "stop_rate": samples.stopped.float().mean().item()}
            if step == steps or cfg.eval_every and step % cfg.eval_every == 0:
                found, _ = evaluate(step)
                best.see(step, found)
                metrics |= found
                steps = step if 0 < cfg.patience <= best.since else steps
            progress.set_postfix_str(f"loss {loss:.3g}, Var(log R - log P) {metrics['log_ratio_var']:.3g}")
            run.log(step, metrics | scaler.log()), progress.update()
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
        stage.save_policy(model.eval(), run.path, base, tokenizer)  # state/ keeps the last step
    if conditions:
        return rng.finish(run, cfg, step, model.eval(), ref, conditions, noise)
    after, rows = evaluate()
    run.rows("predictions.jsonl", rows)
    world.write(run.path, target, base_logprobs, world.logprobs(model)) if world else None
    keys = ["loss", "log_ratio_var", "eval/loglik", "eval/length", "exact/tv_valid" if world else "eval/diversity"]
    figures = [plot.curves(run.path, keys, logarithmic=False)] if cfg.plot and not cfg.eval_only else []
    figures += [plot.distribution(run.path)] if cfg.plot and world else []
    stage.report(run, step, before, after, rows, figures)


if __name__ == "__main__":
    cli.main(main)
