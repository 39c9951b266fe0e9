"""A task by its name, as the scripts use it: one face for texts, whose quality has a formula, and for worlds, whose
responses can all be listed."""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from minalign import console, data, exact
from minalign.files import atomic_write
from minalign.generate import StopRule
from minalign.model import GPT2
from minalign.records import Record
from minalign.respond import respond
from minalign.tasks import descriptiveness, grammar, next_sentence, puns, rng, sentiment, summarize, text
from minalign.tokenizer import Tokenizer

TEXTS: dict[str, ModuleType] = {"sentiment": sentiment, "descriptiveness": descriptiveness, "puns": puns,
                                "summarize": summarize}  # fmt: skip
WORLDS = ("rng", "grammar")
OWN_DATA = 256  # tokens of a response to one's own prompts, where --max_response does not say

Reward = Callable[[list[str], list[str]], list[float]]  # (prompts, responses) -> scores


@dataclass
class World:
    """A task with one prompt whose right responses are listed: shapes K strings, R tokens of the longest."""

    prompt: str
    texts: list[str]
    of: rng.Condition | grammar.Grammar  # has prompt (1, P), tokens and mask (K, R)
    rule: StopRule
    gold: Reward
    pmf: Tensor  # (K,) float64, log-probs of the distribution that samples for imitation come from

    def logprobs(self, model: GPT2) -> Tensor:
        """Return the exact log-prob of every string, (K,) float64."""
        of, rule = self.of, self.rule
        return exact.string_logprobs(model, of.prompt, of.tokens, of.mask, rule.stop, rule.min_new_tokens)

    def optimum(self, ref_logprobs: Tensor, reward: Reward, beta: float) -> Tensor:
        """Return log p* (K,), the optimum of E[reward] - beta KL to the reference with these log-probs (K,)."""
        if ref_logprobs.exp().sum() < 1e-3:
            console.warn("valid", "the base hardly ever writes a valid response, so there is nothing to learn from: "
                         "imitate some first (train_sft.py) and give that run as --init.")  # fmt: skip
        worth = torch.tensor(reward([self.prompt] * len(self.texts), self.texts), dtype=torch.float64)
        return exact.optimum(ref_logprobs, worth, beta, reward([self.prompt], [""])[0])[0]

    def write(self, folder: Path, target: Tensor, base: Tensor, policy: Tensor) -> None:
        """Write distribution.json: the probabilities of all strings, from log-probs (K,), for `plot.distribution`."""
        lists = {name: x.exp().tolist() for name, x in (("target", target), ("base", base), ("policy", policy))}
        of_all = exact.outcomes(target)
        kls = {"base_kl": exact.kl(of_all, exact.outcomes(base)), "policy_kl": exact.kl(of_all, exact.outcomes(policy))}
        row = {"prompt": self.prompt, "texts": self.texts, **lists, **kls}
        atomic_write(folder / "distribution.json", json.dumps(row))

    def samples(self, n: int, seed: int) -> list[Record]:
        """Return n samples of the distribution that imitation should reach."""
        if isinstance(self.of, rng.Condition):
            return self.of.records(n, random.Random(seed))
        return grammar.completions(n, seed)


@dataclass
class Setting:
    """rule: when a response ends. task: the module of a text task; world: of the others; own data have neither."""

    rule: StopRule
    task: ModuleType | None = None
    world: World | None = None

    @property
    def gold(self) -> Reward | None:
        """The task's exact scores; None for own data."""
        if self.world:
            return self.world.gold
        return self._of_texts if hasattr(self.task, "gold") else None

    def _of_texts(self, prompts: list[str], responses: list[str]) -> list[float]:
        return list(map(self.task.gold, prompts, responses))


def setting(
    name: str | None,
    tokenizer: Tokenizer,
    max_response: int,
    device: torch.device,
    target: str = "uniform",
    grammar_reward: str = "animals",
) -> Setting:
    """Return a task's setting; of no task (own data) only a stop rule.

    max_response: tokens, 0 = the task's own limit. target: of rng; grammar_reward: see `grammar.reward`.
    """
    if name == "rng":
        max_len = max_response or rng.MAX_LEN
        of = rng.Condition(rng.parse_target(target), "main", tokenizer, max_len, 14.0, device=device)
        return Setting(of.rule, world=World(of.text, of.target.texts, of, of.rule, of.gold, of.probs.log()))
    if name == "grammar":
        of, score = grammar.Grammar(tokenizer, device), grammar.reward(grammar_reward)
        gold = lambda prompts, responses: [score(response) for response in responses]  # noqa: E731
        texts = list(grammar.sentences())
        return Setting(of.rule, world=World(grammar.PROMPT, texts, of, of.rule, gold, grammar.pmf().log()))
    if name == "next_sentence":  # no gold score: what is wanted is likely under the base itself, and various
        return Setting(next_sentence.stop_rule(tokenizer, max_response or None), next_sentence)
    if name:
        return Setting(TEXTS[name].stop_rule(tokenizer, max_response or None), task=TEXTS[name])
    return Setting(StopRule(tokenizer.eot, max_response or OWN_DATA))


def load_prompts(cfg, here: Setting, tokenizer: Tokenizer) -> tuple[list[Record], list[Record]]:
    """Return the prompts to train on and those held out: of --data, of a world (the same one), or of the task."""
    if cfg.data:
        train, held = data.load(cfg.data, cfg.eval_data, cfg.eval_fraction, cfg.seed, tokenizer, ("prompt",))
    elif here.world:
        train = held = [Record(here.world.prompt)]
    else:
        train, held = (
            [Record(prompt) for prompt in here.task.prompts(split, n, cfg.seed)]
            for split, n in (("train", cfg.examples), ("validation", cfg.eval_examples))
        )
    return train, held[: cfg.eval_examples]


def comparisons(
    here: Setting,
    name: str,
    split: str,
    n: int,
    seed: int,
    label_noise: float,
    model: GPT2,
    tokenizer: Tokenizer,
    noise: torch.Generator,
    draw: random.Random,
    k: int = 2,
    temperature: float = 1.0,
) -> tuple[list[Record], float | None]:
    """Return n comparisons labelled by the task's noisy labeller, and its ceiling (None of worlds).

    Of texts, k responses that `model` samples to each of n prompts (of puns: a pun and a plain statement; of summarize:
    a ranking of k, up to k/2 samples and `rivals`, no two of them tied); of worlds, pairs of strings. noise, draw:
    sources of randomness, of samples and of labels.
    """
    if name == "puns":
        records = puns.preferences(split, n, seed, label_noise)
        gold = [here.gold([record.prompt] * 2, list(record.responses)) for record in records]
        return records, text.ceiling(gold, label_noise)
    if name == "grammar":
        seed = draw.randrange(2**32)
        return grammar.preferences(n, seed, lambda t: here.gold([""], [t])[0], label_noise, invalid=0.1), None
    if name == "rng":
        said = respond(model, tokenizer, [tokenizer.encode(here.world.prompt)], here.rule, 1024, generator=noise)[0]
        return here.world.of.preferences([response.text for response in said], n, label_noise, draw), None
    prompts = here.task.prompts(split, n, seed)
    room = model.config.n_positions - here.rule.max_new_tokens
    asked = [tokenizer.encode(prompt)[-room:] for prompt in prompts]
    n_sampled = max(1, k // 2) if name == "summarize" else k
    sampled = respond(model, tokenizer, asked, here.rule, n_sampled, temperature, noise)
    texts = [[response.text for response in responses] for responses in sampled]
    if name == "summarize":
        found = [apart(here, prompt, mine, rivals, k, draw) for prompt, mine, rivals in
                 zip(prompts, texts, summarize.rivals(split, n, seed, len(summarize.RIVALS)))]  # fmt: skip
        prompts, texts = [p for p, shown in zip(prompts, found) if shown], [shown for shown in found if shown]
    gold = [here.gold([prompt] * k, answers) for prompt, answers in zip(prompts, texts)]
    told = [scores for scores, answers in zip(gold, texts) if len(set(answers)) > 1]  # the others are no comparison
    ranked = name == "summarize" and k > 2  # which is counted pair by pair
    told = [pair for scores in told for pair in itertools.combinations(scores, 2)] if ranked else told
    ceiling = text.ceiling(told, label_noise) if told else None
    return text.labelled(prompts, texts, gold, label_noise, draw, k == 2, ranked), ceiling


def apart(here: Setting, prompt: str, sampled: list[str], rivals: list[str], k: int, draw: random.Random) -> list[str]:
    """Return k texts of which no two are tied: first samples, then rivals; [] where there are fewer."""
    found: dict[str, float] = {}
    for answer in [*sampled, *draw.sample(rivals, len(rivals))]:
        [score] = here.gold([prompt], [answer])
        if all(abs(score - other) >= summarize.TIE for other in found.values()):
            found[answer] = score
        if len(found) == k:
            return list(found)
    return []
