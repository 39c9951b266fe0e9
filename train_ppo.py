"""Proximal policy optimisation for language models (Ziegler et al. 2019; Ouyang et al. 2022): climb a reward.

    python train_ppo.py --task sentiment --reward runs/rm-sentiment-nano       # a trained reward model
    python train_ppo.py --task sentiment --reward gold                         # the task's exact score
    python train_ppo.py --task sentiment --reward my.py:score                  # score(prompts, responses) -> numbers
    python train_ppo.py --task rng                                             # converges to its own optimum p*

    maximise  E[ r(x, y) - beta KL(policy || reference) ],  whose optimum is  p* = p_ref exp(r / beta) / Z

A step samples N responses to each prompt, scores them, and moves the policy by clipped ratios. One temperature divides
the logits everywhere. The token that ends a response belongs to it, what follows is masked out of every loss and
statistic; OpenAI's code trains on the tokens after its truncation, too. Policy, value, reference and reward model are
adapters (or none) of one backbone. `--advantages gae` learns a value function; `rloo` and `group` (GRPO) compare the
responses of one prompt instead.
"""
import math
import random
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from minalign import checkpoint, cli, console, data, dist, exact, lora, losses, memory, plot, precision, rewards, stage
from minalign.cli import flag
from minalign.errors import UserError
from minalign.generate import StopRule, generate, join, left_pad, rows_of, score_states, states
from minalign.model import GPT2
from minalign.optim import AdamW
from minalign.respond import measure, text_of
from minalign.run import check_finite, pick_device, seed_everything
from minalign.stage import StageConfig
from minalign.tasks import rng
from minalign.tasks.setting import TEXTS, WORLDS, load_prompts, setting

EXACT = dict(advantages="rloo", samples_per_prompt=256, batch_size=256, whiten="none", epochs=1, minibatches=1,
             schedule="linear", beta=1.0, missing_stop_penalty=0.0, reward="gold")  # fmt: skip
TEXT = dict(advantages="rloo", whiten="none", epochs=2, steps=60, beta=0.05)
PRESETS = {
    None: {},
    "rng": EXACT | dict(lora_targets=("attn.c_attn", "lm_head")),
    "grammar": EXACT | dict(lora_targets=lora.TARGETS),
    "sentiment": TEXT | dict(temperature=0.7),  # of Ziegler et al.
    "descriptiveness": TEXT | dict(temperature=0.7),
    "puns": TEXT,
    "summarize": TEXT,
}


@dataclass
class Config(StageConfig):
    task: str | None = flag(None, "what to train on; none with --data", choices=(*WORLDS, *TEXTS))
    data: tuple[str, ...] = flag((), "files of prompts (any records), or hh, imdb, puns, tldr:FILE, cnndm:FILE")
    eval_data: tuple[str, ...] = flag((), "files of held-out prompts")
    examples: int = flag(4096, "prompts drawn from the task")
    eval_examples: int = flag(128, "held-out prompts")
    eval_samples: int = flag(4, "responses to each held-out prompt in an evaluation")
    reward: str = flag("gold", "gold (the task's own), a run of train_rm.py, or file.py:function")
    # rollout
    batch_size: int = flag(128, "responses a step")
    samples_per_prompt: int = flag(4, "responses to one prompt (N); they share its encoding")
    temperature: float = flag(1.0, "divides the logits, in sampling and in every log-prob alike")
    # reward
    reward_scale: float = flag(1.0, "the score is multiplied by this, before the clip")
    reward_clip: float = flag(0.0, "the score is cut at plus and minus this, 0 = off")
    length_penalty: float = flag(0.0, "subtracted from the score for each token")
    missing_stop_penalty: float = flag(1.0, "subtracted from the score of a response that did not end by itself")
    beta: float = flag(0.1, "KL coefficient, score per nat")
    kl_target: float = flag(0.0, "adapt beta towards this KL, nats per response; 0 = beta is fixed")
    kl_horizon: int = flag(10_000, "responses over which the adaptive beta moves")
    kl_estimator: str = flag("k1", "of the KL of a token", choices=("k1", "k2", "k3"))
    kl_in: str = flag("reward", "where the KL goes: into each token's reward, or into the loss",
                      choices=("reward", "loss"))
    # advantages
    advantages: str = flag("gae", "gae (a value function), rloo or group (GRPO)", choices=("gae", "rloo", "group"))
    gamma: float = flag(1.0, "discount, gae")
    lam: float = flag(0.95, "lambda, gae")
    whiten: str = flag("advantages", "mean 0 and variance 1 over all tokens of a step: none, or of the advantages, or "
                       "also of the rewards (variance only)", choices=("none", "advantages", "rewards"))
    critic: str = flag("separate", "gae: value network as an adapter of its own, or a head on the policy's states",
                       choices=("separate", "shared"))
    value_init: str = flag("zero", "gae: value network starts at zero or as the reward model", choices=("zero", "rm"))
    value_learning_rate: float = flag(0.0, "gae: of the value network, 0 = --learning_rate")
    value_coef: float = flag(0.1, "gae: weight of the value loss")
    value_clip: float = flag(0.2, "gae: values move at most this far from the old ones, 0 = off")
    # update
    clip: float = flag(0.2, "ratios beyond 1 -+ this earn nothing more")
    epochs: int = flag(4, "passes over a step's responses")
    minibatches: int = flag(1, "optimizer steps a pass")
    stop_kl: float = flag(0.0, "end a step's passes when the policy has moved this many nats per token, 0 = off")
    entropy_coef: float = flag(0.0, "weight of the entropy bonus")
    adam_eps: float = flag(1e-8, "AdamW's epsilon (OpenAI: 1e-5)")
    tf_adam: bool = flag(False, "add epsilon before the bias correction, as TensorFlow does")
    # the rng and grammar tasks
    target: str = flag("uniform", f"rng: one of {', '.join(rng.DEFAULTS)}, or a file of lines `text probability`")
    grammar_reward: str = flag("animals", "grammar: its gold reward, animals, happy, length, words:SEED or table:SEED")

    def __post_init__(self):
        super().__post_init__()
        stage.check_source(self, (*WORLDS, *TEXTS))
        cli.check_ranges(
            self, examples=(1, 1e8), eval_examples=(1, 1e6), eval_samples=(1, 1e4),
            samples_per_prompt=(1, 1e5), temperature=(0.01, 100), reward_scale=(1e-9, 1e9),
            reward_clip=(0, 1e9), missing_stop_penalty=(0, 1e9), beta=(0, 1e6), kl_target=(0, 1e6),
            kl_horizon=(1, 1e12), gamma=(0, 1), lam=(0, 1), value_learning_rate=(0, 10), value_coef=(0, 1e6),
            value_clip=(0, 1e9), clip=(0, 1e9), epochs=(1, 1000), minibatches=(1, 1e6),
            stop_kl=(0, 1e6), entropy_coef=(0, 1e6), adam_eps=(0, 1))  # fmt: skip
        shaped = self.reward_clip or self.length_penalty or self.missing_stop_penalty or self.kl_target
        if self.task in WORLDS and (self.temperature != 1 or self.samples_per_prompt != self.batch_size or shaped):
            raise UserError(f"--task {self.task} has one prompt and a known optimum: it needs --temperature 1, "
                            "--samples_per_prompt equal to --batch_size,\nand --reward_clip, --length_penalty, "
                            "--missing_stop_penalty and --kl_target 0.")  # fmt: skip
        if self.batch_size % self.samples_per_prompt:
            raise UserError(f"--batch_size {self.batch_size} responses must be a multiple of --samples_per_prompt "
                            f"{self.samples_per_prompt}; try {self.samples_per_prompt * 32}.")  # fmt: skip
        if self.advantages != "gae" and self.samples_per_prompt < 2:
            raise UserError(f"--advantages {self.advantages} compares the responses of one prompt: it needs "
                            "--samples_per_prompt of at least 2.")  # fmt: skip
        if self.minibatches > 1 and self.minibatches > self.batch_size // self.samples_per_prompt:
            raise UserError(f"--minibatches {self.minibatches}: a step has only "
                            f"{self.batch_size // self.samples_per_prompt} prompts to divide.")  # fmt: skip
        if self.whiten == "rewards" and self.advantages != "gae":
            raise UserError(f"--whiten rewards goes with --advantages gae, found {self.advantages}.")
        if self.lora_dropout:
            raise UserError("--lora_dropout: a policy that samples has none, or its ratios would not be 1; set 0.")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise UserError("--kl_in loss needs --kl_estimator k2 or k3: the gradient of k1 has the mean 0.")
        if self.value_init == "rm" and (self.reward == "gold" or ".py:" in self.reward):
            raise UserError("--value_init rm starts the value network as the reward model: give --reward RUN.")
        if self.reward == "gold" and self.task is None:
            raise UserError("--reward: own data has no gold score; give a run of train_rm.py or file.py:function.")


def run_policy(
    model: GPT2, cfg: Config, rule: StopRule, prompts: Tensor, prompt_mask: Tensor, tokens: Tensor, mask: Tensor,
    entropy: bool = False, values: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Return log-probs (B, R) of the active adapter, entropies and a shared head's values if wanted; 0 in padding."""
    part, prompts, prompt_mask, tokens, mask = dist.split(prompts, prompt_mask, tokens, mask)
    first, later = states(model, prompts, tokens, prompt_mask)
    logprobs, nats = score_states(model, first, later, tokens[..., None], mask, rule.stop, rule.min_new_tokens,
                                  cfg.temperature, rule.forbidden, entropy)  # fmt: skip
    found = model.heads["value"](join(first, later).float())[..., 0] * mask if values else None
    return tuple(None if x is None else part.join(x) for x in (logprobs[..., 0], nats, found))


def run_values(model: GPT2, adapter: str | None, prompts: Tensor, prompt_mask: Tensor, tokens: Tensor, mask: Tensor):
    """Return the values (B, R) of a value network of its own, V(s_t) before token t is chosen; 0 outside the mask."""
    part, prompts, prompt_mask, tokens, mask = dist.split(prompts, prompt_mask, tokens, mask)
    with lora.use(model, adapter):
        values = model.heads["value"](join(*states(model, prompts, tokens, prompt_mask)).float())[..., 0]
    return part.join(values * mask)


def observe(moved: Tensor, pg: Tensor, clipped: Tensor, nats: Tensor | None) -> dict[str, Tensor]:
    """Return what is logged, a number per token. moved: (B, R) log-ratios. pg, clipped: of `losses.ppo_policy`."""
    found = {"policy/approxkl_avg": moved.square() / 2, "policy/clipfrac_avg": clipped.float(), "loss/policy_avg": pg,
             "val/ratio": moved.exp(), "ratio_square": (2 * moved).exp()}  # fmt: skip
    return found if nats is None else found | {"policy/entropy_avg": nats}


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv, lambda given: PRESETS[given.task])
    stage.refuse_unused(cfg, argv)
    cli.show(cfg, changed)
    device = pick_device(cfg.device)
    seed_everything(cfg.seed, cfg.deterministic)
    noise, choice = torch.Generator().manual_seed(cfg.seed), random.Random(cfg.seed)  # of sampling; of minibatches
    model, tokenizer, base = stage.load_policy(cfg.model, cfg.init)
    cfg.dtype = stage.place(model.requires_grad_(False), cfg, device)
    here = setting(cfg.task, tokenizer, cfg.max_response, device, cfg.target, cfg.grammar_reward)
    N = cfg.samples_per_prompt
    rule, world = here.rule, here.world  # world: all responses there are, so that the optimum is known

    # data: prompts
    train, held = load_prompts(cfg, here, tokenizer)
    (train, report), (held, _) = (data.encode(r, tokenizer, rule, model.config.n_positions, cfg.max_prompt)
                                  for r in (train, held))  # fmt: skip
    print(report)

    # models: reward model, value network and policy are adapters of one backbone; without any it is the reference
    reward, reward_model = rewards.choose(cfg.reward, here.gold, model, cfg, base, device)
    ref = stage.reference(model, cfg)
    trained, adapter = stage.make_trainable(model, cfg), "policy" if cfg.lora_rank else None
    critic, critic_adapter, value_trained = model, adapter, {}
    if cfg.advantages == "gae":
        if cfg.critic == "separate":
            critic_adapter = "value" if cfg.lora_rank else None
            critic = rewards.make_critic(model, cfg, reward_model)
        critic.add_head("value", 0.0)
        if cfg.value_init == "rm":
            reward_model.head.copy_to(critic.heads["value"])
        known = {id(p) for p in trained.values()}
        value_trained = {f"critic.{name}": p for name, p in critic.named_parameters()
                         if p.requires_grad and id(p) not in known}  # fmt: skip
        lora.set_adapter(model, adapter)
    if cfg.shard == "fsdp":
        divided = dist.shard(trained | value_trained, model, ref, critic, reward_model and reward_model.model)
        trained, value_trained = ({name: divided[name] for name in part} for part in (trained, value_trained))
    run = stage.open_run(cfg, "ppo", cfg.task, [*cfg.data, *cfg.eval_data, cfg.reward])
    run.start(cfg, device)
    if cfg.dry_run:
        print(data.preview(train, tokenizer))
    rates = (trained, cfg.learning_rate), (value_trained, cfg.value_learning_rate or cfg.learning_rate)
    groups = [{"params": list(part.values()), "peak": rate} for part, rate in rates if part]
    optimizer = AdamW(groups, cfg.learning_rate, eps=cfg.adam_eps, weight_decay=cfg.weight_decay)
    scaler = precision.Scaler(device.type, enabled=cfg.dtype == "fp16")
    trained |= value_trained
    beta, best, streams = cfg.beta, checkpoint.Best(cfg.keep_best, trained), {"noise": noise, "choice": choice}
    order = data.Stream([len(record.prompt) for record in train], cfg.batch_size // N, cfg.seed)
    shared, updates, episodes = cfg.critic == "shared" and bool(value_trained), 0, 0
    if world:  # the optimum p* of this reward and beta; the policy's distance from it needs no sampling
        with lora.disabled(ref):
            base_logprobs = world.logprobs(ref)
        target = world.optimum(base_logprobs, reward, (cfg.beta or 1e-6) / cfg.reward_scale)

    def evaluate() -> tuple[dict[str, float], list[dict]]:
        model.eval()
        named = {"score": reward} | ({"gold": here.gold} if here.gold else {})
        n = cfg.eval_samples * (cfg.eval_examples if world else 1)
        found, rows = measure(model, ref, tokenizer, [r.prompt for r in held], rule, named, n, noise, cfg.temperature)
        if world:
            distances = exact.distances(target, world.logprobs(model))
            found |= {f"exact/{key}": value for key, value in distances.items()}
        return found, rows

    def save(step: int) -> None:
        stage.save_policy(model, run.path, base, tokenizer)
        tensors, meta = checkpoint.pack_training(trained, optimizer, streams, scaler)
        run.save(step, {**tensors, **best.tensors}, {**meta, "order": order.state(), "best": best.meta(), "beta": beta,
                                                     "updates": updates, "episodes": episodes})  # fmt: skip

    before = {} if cfg.eval_only else evaluate()[0]
    best.check(before) if before else None
    step, steps = 0, 1 if cfg.dry_run else cfg.steps
    if cfg.resume:
        step, tensors, meta = run.load()
        checkpoint.unpack_training(tensors, meta, trained, optimizer, streams, scaler)
        order.restore(meta["order"])
        best.unpack(tensors, meta["best"])
        beta, updates, episodes = meta["beta"], meta["updates"], meta["episodes"]
    progress = tqdm(total=steps, initial=step, desc="PPO", disable=cfg.eval_only or dist.rank() > 0, mininterval=0.5)
    with progress, run.graceful_signals(lambda: step == run.logged and save(step)):
        while step < steps and not cfg.eval_only:
            # rollout: 1. N responses to each prompt, and their text
            model.eval()
            batch = [train[i] for i in order.next()]
            prompts, prompt_mask = left_pad([record.prompt for record in batch], rule.stop, device)
            samples = generate(model, prompts, n=N, temperature=cfg.temperature, prompt_mask=prompt_mask,
                               generator=noise, **rule.settings())  # fmt: skip
            R = int(samples.mask.sum(1).max())
            tokens, mask, old_logprobs = samples.tokens[:, :R], samples.mask[:, :R], samples.logprobs[:, :R]
            lengths = mask.sum(1)  # (B,)
            asked = [text for record in batch for text in [tokenizer.decode(record.prompt)] * N]
            texts = [text_of(tokenizer, ids[:n]) for ids, n in zip(tokens.tolist(), lengths.tolist())]
            per = memory.prompts_at_once(cfg, N)
            with torch.no_grad():
                parts = [(prompts[some], prompt_mask[some], tokens[rows := rows_of(some, N)], mask[rows])
                         for some in torch.arange(len(batch)).split(per)]  # fmt: skip
                # 2. score each response
                if reward_model:
                    raw = torch.cat([reward_model.score(*part) for part in parts])  # (B,)
                else:
                    raw = torch.tensor(reward(asked, texts), device=device)
                # 3. scale, clip, penalties
                scores = raw * cfg.reward_scale
                scores = scores.clamp(-cfg.reward_clip, cfg.reward_clip) if cfg.reward_clip else scores
                scores = scores - cfg.length_penalty * lengths - cfg.missing_stop_penalty * ~samples.stopped
                # 4. log-probs of the reference, values
                with lora.disabled(ref):
                    ref_logprobs = torch.cat([run_policy(ref, cfg, rule, *part)[0] for part in parts])  # (B, R)
                if shared or cfg.dtype != "fp32":  # half decoding rounds otherwise: ratios are of one kind of pass
                    again = [run_policy(model, cfg, rule, *part, values=shared) for part in parts]
                    old_logprobs = torch.cat([logprobs for logprobs, _, _ in again])
                if value_trained:
                    values = torch.cat([v for _, _, v in again] if shared else
                                       [run_values(critic, critic_adapter, *part) for part in parts])  # fmt: skip
                check_finite(step + 1, texts, score=raw, logprobs=old_logprobs, ref_logprobs=ref_logprobs,
                             values=values if value_trained else None)  # fmt: skip
                # 5. a reward per token: the KL's share, and the score on the token that ends the response
                kl = torch.where(mask, losses.kl_estimate(old_logprobs, ref_logprobs, cfg.kl_estimator), 0)
                non_score = -beta * kl if cfg.kl_in == "reward" else torch.zeros_like(kl)
                token_rewards = non_score.scatter_add(1, lengths[:, None] - 1, scores[:, None])  # (B, R)

            # advantages: over a value function, or over the other responses of the prompt
            if cfg.advantages == "gae":
                if cfg.whiten == "rewards":
                    token_rewards = losses.whiten(token_rewards, mask, shift_mean=False)
                advantages, returns = losses.gae(token_rewards, values, mask, cfg.gamma, cfg.lam)
            else:
                compare = losses.rloo if cfg.advantages == "rloo" else losses.group_advantages
                advantages = compare(token_rewards.sum(1), N)[:, None] * mask
            if cfg.whiten != "none":
                advantages = losses.whiten(advantages, mask)

            # update: the prompts in minibatches, each an optimizer step, made of micro-batches
            factor, stats = stage.learning_rate_factor(cfg, step), []
            for epoch in range(cfg.epochs):
                for part in torch.tensor(choice.sample(range(len(batch)), len(batch))).chunk(cfg.minibatches):
                    for attempt in memory.Attempts(cfg, optimizer, N):  # zero_grad; again in halves if memory runs out
                        with attempt:
                            count, stat, off = mask.view(len(batch), N, R)[part].sum(), Counter(), 0.0  # of its tokens
                            loss = logprobs = nats = v = None  # the graph of a failed attempt
                            for some in part.split(memory.prompts_at_once(cfg, N)):
                                old = old_logprobs[rows := rows_of(some, N)]
                                micro = (prompts[some], prompt_mask[some], tokens[rows], m := mask[rows])
                                logprobs, nats, v = run_policy(model, cfg, rule, *micro, cfg.entropy_coef > 0, shared)
                                pg, clipped = losses.ppo_policy(logprobs, old, advantages[rows], cfg.clip)
                                loss = losses.masked_mean(pg, m, count)
                                if cfg.kl_in == "loss":
                                    anchor = losses.kl_estimate(logprobs, ref_logprobs[rows], cfg.kl_estimator)
                                    loss = loss + beta * losses.masked_mean(anchor, m, count)
                                if cfg.entropy_coef:
                                    loss = loss - cfg.entropy_coef * losses.masked_mean(nats, m, count)
                                seen = observe(logprobs.detach() - old, pg, clipped, nats)
                                off = max(off, (logprobs - old)[m].abs().max().item())
                                if value_trained:
                                    if not shared:  # its own network: the policy's graph is done with, its memory free
                                        scaler.scale(loss).backward()
                                        loss, v = 0.0, run_values(critic, critic_adapter, *micro)
                                    bound = cfg.value_clip or torch.inf
                                    vl, v_clipped = losses.ppo_value(v, values[rows], returns[rows], bound)
                                    loss = loss + cfg.value_coef * losses.masked_mean(vl, m, count)
                                    seen |= {"loss/value_avg": vl, "val/clipfrac_avg": v_clipped.float()}
                                scaler.scale(loss).backward()
                                stat.update({key: losses.masked_mean(x, m, count).item() for key, x in seen.items()})
                    stat["val/ratio_var"] = max(0.0, stat.pop("ratio_square") - stat["val/ratio"] ** 2)
                    stats.append(stat)
                    if step == 0 and epoch == 0 and len(stats) == 1 and off > 1e-2:
                        console.warn("ratio", f"before any update the ratio is off 1 by {off:.2g}: "
                                     "sampling and training disagree about log-probs.")  # fmt: skip
                    updates += 1
                    dist.average_gradients(trained.values())
                    norms = []
                    scaler.unscale_(optimizer)
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak"] * factor
                        group["eps"] = cfg.adam_eps / (math.sqrt(1 - 0.999**updates) if cfg.tf_adam else 1)
                        norms.append(dist.clip_gradients(group["params"], cfg.max_grad_norm))
                    check_finite(step + 1, texts, loss=stat["loss/policy_avg"] + stat["loss/value_avg"],
                                 grad_norm=scaler.guarded(torch.stack(norms)))  # fmt: skip
                    scaler.advance(optimizer)  # optimizer.step(), but in fp16 not where a gradient overflowed
                if cfg.stop_kl and stats[-1]["policy/approxkl_avg"] > cfg.stop_kl:
                    break
            step, episodes = step + 1, episodes + len(tokens)

            # log, evaluate, save
            kl_seq = torch.where(mask, old_logprobs - ref_logprobs, 0).sum(1)  # (B,) k1
            metrics = {"objective/kl": kl_seq.mean(), "objective/entropy": -old_logprobs.sum(1).mean(),
                       "objective/kl_coef": beta, "objective/scores": raw.mean(), "grad_norm": norms[0],
                       "objective/non_score_reward": non_score.sum(1).mean(), "episode": episodes,
                       "objective/rlhf_reward": (scores + non_score.sum(1)).mean(), "objective/length": lengths.sum() /
                       len(tokens), "objective/stop_rate": samples.stopped.float().mean(), "val/num_eos_tokens":
                       (tokens == rule.stop)[mask].sum(), "lr": cfg.learning_rate * factor}  # fmt: skip
            metrics = {key: float(value) for key, value in metrics.items()}
            metrics |= {key: sum(s[key] for s in stats) / len(stats) for key in stats[0]}
            if value_trained:
                error = ((returns - values)[mask]).square().mean() / returns[mask].var(correction=0).clamp(min=1e-12)
                metrics["val/var_explained"] = 1 - error.item()
            if cfg.kl_target:  # after Ziegler et al.: proportional to the error, on the mean over the whole batch
                beta = losses.adaptive_beta(beta, metrics["objective/kl"], cfg.kl_target, len(tokens), cfg.kl_horizon)
            if metrics["objective/kl"] < -0.05 - 4 * kl_seq.std().item() / len(kl_seq) ** 0.5:
                console.warn("kl", f"the KL to the reference is {metrics['objective/kl']:.3f}, negative beyond noise: "
                             "the responses do not come from the policy that scores them.")  # fmt: skip
            if metrics["objective/stop_rate"] < 0.5 * before["eval/stop_rate"] - 2 / len(tokens):  # noise
                console.warn("stop", f"responses that end by themselves fell from {before['eval/stop_rate']:.0%} to "
                             f"{metrics['objective/stop_rate']:.0%}: raise --missing_stop_penalty.")  # fmt: skip
            if step == steps or cfg.eval_every and step % cfg.eval_every == 0:
                found, _ = evaluate()
                best.see(step, found)
                metrics |= found
            progress.set_postfix_str(f"score {metrics['objective/scores']:.3f}, KL {metrics['objective/kl']:.2f}")
            run.log(step, metrics | scaler.log())
            progress.update()
            if cfg.dry_run:
                progress.close()
                print(f"dry run: one step, score {metrics['objective/scores']:.4f}; nothing was saved")
                return
            if run.stopping or step == steps or cfg.save_every and step % cfg.save_every == 0:
                save(step)
            if run.stopping:
                run.leave(step, progress)

    best.restore()
    if best.tensors and not cfg.eval_only:
        stage.save_policy(model, run.path, base, tokenizer)  # state/ keeps the last step
    after, rows = evaluate()
    run.rows("predictions.jsonl", rows)
    if world:
        world.write(run.path, target, base_logprobs, world.logprobs(model))
    figures = [plot.distribution(run.path)] if cfg.plot and world else []
    if cfg.plot and not cfg.eval_only:
        keys = [f"objective/{key}" for key in ("scores", "kl", "length", "entropy", "stop_rate")]
        figures.append(plot.curves(run.path, keys, logarithmic=False))
    stage.report(run, step, before, after, rows, figures, beta=beta)


if __name__ == "__main__":
    cli.main(main)
