"""grammar: 1,950 sentences that make up a whole world, so that what a method should end in is known to the last digit.

    world = Grammar(tokenizer)
    ref = world.logprobs(model)                                   # after SFT on completions(n, seed)
    world.evaluate(policy, ref, reward("animals"), beta=0.5)      # TV, KL to p*, expected reward, ...

Somebody does something, perhaps somewhere, perhaps with a feeling about it:

    {who} sang | laughed | found a dog | lost a small lantern | ...  [at the market | ...]  [and was happy | sad]

A sentence has no full stop and many go on where others end (`Tom sang`, `Tom sang at the market`), so the stop is a
choice as any other. SFT data are skewed, and not slot by slot: everybody has a favourite place, and feelings follow
from what happened. A response is valid when it is exactly a sentence, its leading space included; every other string
earns INVALID. Rewards lie in [-1, 1].

A sentence counts as written when its tokens are its own: spelt with others it has the text's reward, but is part of
the invalid mass here. SFT never shows it, and none of 4,096 responses of an SFT model was of that kind.

Shapes: K sentences, R tokens of the longest and its stop.
"""

import itertools
import math
import random
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from minalign import exact
from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.model import GPT2
from minalign.records import Record
from minalign.tokenizer import Tokenizer

PROMPT = "They say in town:"
INVALID = -2.0  # the reward of everything that is not a sentence

# Slot: its words and their weights in the SFT data. "" leaves the slot out.
WHO = {"Mira": 5, "Tom": 4, "Anna": 2, "Oskar": 1, "Lena": 0.5}
ALONE = {"sang": 2, "laughed": 1}
VERBS = {"found": 2, "lost": 3}
ANIMALS = {"dog": 4, "cat": 2, "goat": 1}
THINGS = {"lantern": 3, "hat": 2, "key": 1}
SIZES = {"": 3, "small": 1}
PLACES = {"": 4, "at the market": 2, "at the harbour": 2, "in the garden": 1, "on the bridge": 1}
FEELINGS = {"": 3, "happy": 1, "sad": 1}
FAVOURITES = {"Mira": "at the market", "Tom": "at the harbour", "Anna": "in the garden"}

Slots = tuple[str, str, str, str, str, str]  # who, verb, size, object, place, feeling


def text_of(slots: Slots) -> str:
    """Return a sentence with the space in front that makes it a response."""
    who, verb, size, thing, place, feeling = slots
    parts = (who, verb, "a" if thing else "", size, thing, place, feeling and f"and was {feeling}")
    return " " + " ".join(part for part in parts if part)


def weight_of(slots: Slots) -> float:
    """Return a sentence's weight in the SFT data."""
    who, verb, size, thing, place, feeling = slots
    weight = WHO[who] * PLACES[place] * FEELINGS[feeling] * (4 if FAVOURITES.get(who) == place else 1)
    weight *= 5 if feeling == ("sad" if verb == "lost" else "happy") else 1
    if not thing:
        return weight * ALONE[verb]
    return weight * VERBS[verb] * SIZES[size] * (ANIMALS | THINGS)[thing] / 10


@cache
def sentences() -> dict[str, Slots]:
    """Return all sentences, {text: its slots}, in the order of every (K,) here."""
    alone = itertools.product(WHO, ALONE, [""], [""], PLACES, FEELINGS)
    others = itertools.product(WHO, VERBS, SIZES, [*ANIMALS, *THINGS], PLACES, FEELINGS)
    return {text_of(slots): slots for slots in (*alone, *others)}


def pmf() -> Tensor:
    """Return the exact distribution of the SFT data, (K,) float64."""
    weights = torch.tensor([weight_of(slots) for slots in sentences().values()], dtype=torch.float64)
    return weights / weights.sum()


def completions(n: int, seed: int = 1) -> list[Record]:
    """Draw n independent records for SFT from `pmf`; what is held out is another seed."""
    drawn = random.Random(seed).choices(list(sentences()), weights=pmf().tolist(), k=n)
    return [Record(PROMPT, (text,)) for text in drawn]


def reward(name: str) -> Callable[[str], float]:
    """Return a function of a response's text: a sentence's reward in [-1, 1], INVALID for every other text.

    animals: 1 with an animal, -1 with a thing, 0 with neither. happy: 1 happy, -1 sad, else 0. length: from -1, two
    words, to 1, eleven words. words:SEED: the mean of one random number in [-1, 1] for each slot's word; "" has one
    too. table:SEED: one random number in [-1, 1] for each sentence: nothing to generalise from.
    """
    kind, colon, seed = name.partition(":")
    if not (seed.isdecimal() if kind in ("words", "table") else kind in ("animals", "happy", "length") and not colon):
        raise UserError(
            f"--grammar_reward {name}: expected animals, happy, length, words:SEED or table:SEED, SEED a whole number; "
            "it is none of these."
        )

    def uniform(*key) -> float:  # the same on every machine
        return random.Random(" ".join(map(str, (name, *key)))).uniform(-1, 1)

    def formula(text: str) -> float:
        who, verb, size, thing, place, feeling = slots = sentences()[text]
        if kind == "animals":
            return float((thing in ANIMALS) - (thing in THINGS))
        if kind == "happy":
            return float((feeling == "happy") - (feeling == "sad"))
        if kind == "length":
            return (len(text.split()) - 2) / 4.5 - 1
        if kind == "words":
            return sum(uniform(i, word) for i, word in enumerate(slots)) / len(slots)
        return uniform(text)

    table = {text: formula(text) for text in sentences()}
    return lambda text: table.get(text, INVALID)


def preferences(n: int, seed: int, reward: Callable[[str], float], noise: float, invalid: float = 0.0) -> list[Record]:
    """Draw n pairs, labelled by Bradley-Terry: P(a is chosen) = sigmoid((reward(a) - reward(b)) / noise).

    Both are drawn from `pmf`, different from each other; in a share `invalid` of the pairs one is spoilt, by a word
    left out, doubled or moved, so that the pairs say something about invalid responses too.
    The labels know the reward in units of noise only: DPO with beta ends in `exact.optimum` at beta * noise.
    """
    rng, texts, weights = random.Random(seed), list(sentences()), list(itertools.accumulate(pmf().tolist()))
    records = []
    while len(records) < n:
        pair = rng.choices(texts, cum_weights=weights, k=2)
        if rng.random() < invalid:
            pair[1] = spoil(pair[1], rng)
        if pair[0] == pair[1]:
            continue
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, which cannot overflow
        wins = (1 + math.tanh((reward(pair[0]) - reward(pair[1])) / noise / 2)) / 2
        chosen, rejected = pair if rng.random() < wins else pair[::-1]
        records.append(Record(PROMPT, (chosen, rejected), best=0))
    return records


def spoil(text: str, rng: random.Random) -> str:
    """Return a text of almost the same words that is no sentence."""
    while text in sentences():
        words = text.split()
        word = words.pop(i := rng.randrange(len(words)))
        text = " " + " ".join(rng.choice((words, words[:i] + [word, word] + words[i:], [*words, word])))
    return text


class Grammar:
    """The sentences in one vocabulary, and the exact evaluation of any policy."""

    def __init__(self, tokenizer: Tokenizer, device: torch.device | str = "cpu"):
        """Tokenise prompt and sentences, apart: their concatenation is what a policy sees and writes."""
        self.tokenizer, self.stop = tokenizer, tokenizer.eot
        self.prompt = torch.tensor([tokenizer.encode(PROMPT)], device=device)  # (1, P)
        encoded = [tokenizer.encode(text) + [self.stop] for text in sentences()]
        lengths = torch.tensor([len(ids) for ids in encoded], device=device)
        R = int(lengths.max())
        self.rule = StopRule(self.stop, R, min_new_tokens=1)
        self.tokens = torch.tensor([ids + [self.stop] * (R - len(ids)) for ids in encoded], device=device)  # (K, R)
        self.mask = torch.arange(R, device=device) < lengths[:, None]  # (K, R), each with its stop

    def logprobs(self, model: GPT2) -> Tensor:
        """Return the log-prob of every sentence, (K,) float64."""
        return exact.string_logprobs(
            model, self.prompt, self.tokens, self.mask, self.stop, self.rule.min_new_tokens
        )

    def evaluate(
        self, model: GPT2, ref_logprobs: Tensor, reward: Callable[[str], float], beta: float
    ) -> dict[str, float]:
        """Return how far a policy is from p* = argmax E[reward] - beta KL(p || ref), see `exact.distances`.

        ref_logprobs: (K,) from `logprobs` of the reference. Adds expected_reward and kl_ref, the KL to the reference
        over all outcomes, of the policy, and of p* with `target_` in front.
        """
        rewards = torch.tensor([reward(text) for text in sentences()], dtype=torch.float64)  # (K,)
        target, _ = exact.optimum(ref_logprobs, rewards, beta, INVALID)
        policy, ref = self.logprobs(model), exact.outcomes(ref_logprobs)
        found = exact.distances(target, policy)
        for prefix, logprobs in (("", policy), ("target_", target)):
            found[f"{prefix}expected_reward"] = exact.expected(logprobs, rewards, INVALID)
            found[f"{prefix}kl_ref"] = exact.kl(exact.outcomes(logprobs), ref)
        return found
