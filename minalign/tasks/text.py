"""What the text tasks share: prompts and continuations of nano's world, how a response reads, preference labels.

    for prompt, continuation in tellings({"story": 2, "review": 1}, "train", seed=1): ...
    for clause in clauses(prompt, response, "story"): clause.read, clause.new, clause.valence
    records = labelled(prompts, responses, scores, noise=0.1, draw=random.Random(1))

A gold score reads what a model wrote with the grammar that the world is told with. A clause is a sentence, and it is
*read* where the grammar knows it as a sentence of the prompt's own kind of event that contradicts nothing before it
(who, what, where, why, how it ended), and *new* where neither its words nor its event (a step of the telling) have
been told before. What it says counts by its weight:
    w = 0 if it is not new,
        1 if it is read,
        max(0, 1 - 3 u) / 2 else, with u the share of its pairs of neighbouring words that nano's world does not know
            (beginning and end are words too); 0 without a mark at its end.
So a response gains nothing by lists of words, by copies, by the same event in other words or by the happy end of
another story, and a sentence that only nano found still says something. Nor by stopping while things go well: the
clauses that are missing to TOLD count as clauses without weight.
"""

import hashlib
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.nano.checker import NAMES, plots, sentences
from minalign.nano.corpus import SPLITS, documents, draw_document, split_of
from minalign.nano.grammar import Draw, Match, parse_sentence, split_sentences
from minalign.records import Record
from minalign.tokenizer import Tokenizer

TOLD = 2  # clauses that a continuation tells at least
_BEAM = 8
_MANNER = ("richness",)  # facts about how something is told; to tell it otherwise is no contradiction
_PAIRS_FROM = 3000  # documents that teach the pairs of neighbouring words
_PATIENCE = 5000  # draws in a row without anything new after which there is nothing new


# ---------------------------------------------------------------- prompts and continuations


def sentence_ends(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids of the tokens that end a sentence: a full stop (a closing quote may follow), ! or ?.

    Not those of ?" and !": in stories six of seven are followed by who said it.
    """
    end = re.compile(rb" ?(?:\.[\"']?|[!?])")
    return tuple(i for i in range(tokenizer.n_vocab) if end.fullmatch(tokenizer.token_bytes(i)))


def bucket(text: str, n: int) -> int:
    """Return a number in 0..n-1 that depends on `text` alone: the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % n


def split_first(text: str) -> tuple[str, str]:
    """Return a text as (its first sentence, the rest with the space in front)."""
    first = split_sentences(text)[0]
    return first, text.strip()[len(first) :]


def tellings(genres: dict[str, float], split: str, seed: int, unseen: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (first sentence, continuation) of documents for ever; the same arguments give the same ones.

    genres: {genre: weight}. A first sentence belongs to one split, by its own hash: train 1/2, validation 1/4, test
    1/4; `split_of` a document would not do, since two different passages may start alike.
    unseen: outside of train, leave out documents whose record is in the corpus's train split, which pre-training may
    have read. About one document in a hundred remains.
    """
    check_split(split)
    number = 0
    while True:
        draw = Draw(f"task-{split}-{seed}-{number}")
        number += 1
        document = draw_document(draw, draw.pick(genres, list(genres.values())))
        prompt, continuation = split_first(document.text)
        if ("train", "train", "validation", "test")[bucket(prompt, 4)] != split or not continuation:
            continue
        if unseen and (split == "train") != (split_of(document) == "train"):
            continue
        yield prompt, continuation


def check_split(split: str) -> None:
    """Raise ValueError unless `split` is one of the three."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")


def distinct(items: Iterable, n: int, what: str) -> list:
    """Return the first n different items; UserError where the source has no more."""
    found, since = {}, 0  # a dict keeps the order
    for item in items:
        if len(found) == n:
            break
        since = since + 1 if item in found else 0
        found[item] = None
        if since == _PATIENCE:
            raise UserError(
                f"expected {n:,} different {what}; nano's world has only about {len(found):,}.\nAsk for fewer."
            )
    return list(found)


def continuation_rule(tokenizer: Tokenizer, length: int) -> StopRule:
    """Return the stop rule of a continuation: `length` tokens, or the first sentence end in their second half."""
    return StopRule(tokenizer.eot, length, ends=sentence_ends(tokenizer), ends_after=length // 2)


def first_sentences(genres: dict[str, float], split: str, n: int, seed: int, task: str) -> list[str]:
    """Return n different first sentences; no sentence is in two splits."""
    return distinct((prompt for prompt, _ in tellings(genres, split, seed)), n, f"prompts of {task} ({split})")


def continuations(genres: dict[str, float], split: str, n: int, seed: int, task: str) -> list[Record]:
    """Return n records of a first sentence and the rest of its document.

    Those of validation and test were not in pre-training either.
    """
    texts = distinct(tellings(genres, split, seed, unseen=True), n, f"documents of {task} ({split})")
    return [Record(prompt, (continuation,)) for prompt, continuation in texts]


# ---------------------------------------------------------------- how a response reads


@dataclass(frozen=True)
class Clause:
    """One sentence of a response, see the module."""

    text: str
    read: bool
    new: bool
    weight: float  # in [0, 1]
    valence: int  # of the told event; 0 if not read


def words(text: str) -> list[str]:
    """Return the words and numbers of a text in lower case."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def _pairs(sentence: str) -> list[tuple[str, str]]:
    """Return the pairs of neighbouring words; a name is any name, a number any number."""
    found = re.findall(r"[A-Za-z]+|[0-9]+", sentence)
    told = ["NAME" if word in NAMES else "NUMBER" if word.isdigit() else word.lower() for word in found]
    return list(itertools.pairwise(["", *told, ""]))


@lru_cache(maxsize=8)
def _known_pairs(genre: str) -> frozenset[tuple[str, str]]:
    told = (document.text for document, _ in itertools.islice(documents("train", "pairs", genre), _PAIRS_FROM))
    return frozenset(pair for text in told for sentence in sentences(text) for pair in _pairs(sentence))


def _fluency(sentence: str, genre: str) -> float:
    """Return max(0, 1 - 3 * share of unknown pairs); 0 for what no mark ends."""
    if not re.search(r"[.!?]\"?$", sentence):
        return 0.0
    found = _pairs(sentence)
    return max(0.0, 1 - 3 * sum(pair not in _known_pairs(genre) for pair in found) / len(found))


@lru_cache(maxsize=1 << 16)
def _matches(sentence: str, genre: str) -> dict[str, list[Match]]:
    """Return {plot: the ways in which it reads a sentence}; plots that do not read it are left out."""
    found: dict[str, list[Match]] = {}
    for match in parse_sentence(sentence, [schema for schemas in plots(genre).values() for schema in schemas]):
        found.setdefault(match.schema.name, []).append(match)
    return found


def claims(match: Match) -> dict[tuple[str, str], frozenset]:
    """Return what a sentence says, {("role" or "fact", name): possible values}."""
    beat = match.beat
    found = {("role", role): names for role, names in match.bindings.items()}
    for fact, values in beat.when.items():
        found["fact", fact] = frozenset(values if isinstance(values, (tuple, list, set)) else (values,))
    if match.key and beat.by not in _MANNER:
        fact = ("fact", beat.by or beat.name)
        found[fact] = found.get(fact, frozenset({match.key})) & {match.key}
    return found


def _extend(known: dict, match: Match) -> dict | None:
    """Return {(role or fact): possible values} once `match` is told too, None if that contradicts what is known."""
    known = known | {name: values & known.get(name, values) for name, values in claims(match).items()}
    people = [
        next(iter(names))
        for (kind, role), names in known.items()
        if kind == "role" and len(names) == 1 and match.schema.roles.get(role) == "person"
    ]
    return known if all(known.values()) and len(set(people)) == len(people) else None


def _readings(options: list[list[Match]]) -> list[Match | None]:
    """Return one of the options of each sentence so that nothing contradicts, None where it must; most are read."""
    beam: list[tuple[dict, list]] = [({}, [])]
    for matches in options:
        longer = []
        for known, chosen in beam:
            extended = [(_extend(known, match), [*chosen, match]) for match in matches]
            longer += [state for state in extended if state[0] is not None] or [(known, [*chosen, None])]
        beam = sorted(longer, key=lambda state: state[1].count(None))[:_BEAM]
    return beam[0][1]


def clauses(prompt: str, response: str, genre: str) -> list[Clause]:
    """Return the clauses of a response, read as the continuation of `prompt` in `genre`."""
    asked, told = sentences(prompt), sentences(response)
    if not told:
        return []
    matches = [_matches(sentence, genre) for sentence in asked + told]
    # The plot that reads most of the prompt; where none does, any that reads something.
    counts = Counter(plot for found in matches[: len(asked)] for plot in found) or Counter(itertools.chain(*matches))
    readings = {
        plot: _readings([found.get(plot, []) for found in matches])
        for plot in counts or [""]
        if counts[plot] == max(counts.values(), default=0)
    }
    plot = min(readings, key=lambda plot: readings[plot].count(None))
    before, steps = f" {' '.join(words(prompt))} ", set()
    result = []
    for i, (sentence, match) in enumerate(zip(asked + told, readings[plot])):
        said, here = f" {' '.join(words(sentence))} ", set()
        if genre != "joke":  # in all other genres a step of a telling is one sentence, which may also contradict
            step = match or next(iter(matches[i].get(plot, [])), None)
            here = set(step.beat.name.split("_")) if step else set()  # the names say what the steps are about
        if i >= len(asked):
            new = said not in before and not here & steps
            weight = 0.0 if not new else 1.0 if match else _fluency(sentence, genre) / 2
            result.append(Clause(sentence, match is not None, new, weight, match.valence if match else 0))
            before += said
        steps |= here
    return result


# ---------------------------------------------------------------- preference labels


def _luce(scores: list[float], noise: float) -> list[float]:
    """Return P(i) = softmax(scores / noise), at 0 its limit."""
    best = max(scores)
    weights = [math.exp((score - best) / noise) if noise else float(score == best) for score in scores]
    return [weight / sum(weights) for weight in weights]


def label(scores: list[float], noise: float, draw: random.Random) -> int:
    """Return which response a judge prefers: i with P(i) = exp(score_i / noise) / sum_j exp(score_j / noise).

    Luce (1959); of two responses it is Bradley and Terry's (1952). noise: in units of the score, 0 = one of the best.
    """
    return draw.choices(range(len(scores)), _luce(scores, noise))[0]


def rank(scores: list[float], noise: float, draw: random.Random) -> list[int]:
    """Return the responses in a judge's order, best first: `label` again and again, of those that are left.

    Plackett (1975); of any two responses the order is that of `label`.
    """
    left, order = list(range(len(scores))), []
    while left:
        order.append(left.pop(label([scores[i] for i in left], noise, draw)))
    return order


def ceiling(scores: list[list[float]], noise: float) -> float:
    """Return the expected accuracy, against such labels, of who knows the scores: the mean of max_i P(i).

    One list of scores a record. Who must choose among equal scores guesses, and is right with just that probability.
    """
    return sum(max(_luce(row, noise)) for row in scores) / len(scores)


def labelled(
    prompts: list[str],
    responses: list[list[str]],
    scores: list[list[float]],
    noise: float,
    draw: random.Random,
    pairs: bool = False,
    ranked: bool = False,
) -> list[Record]:
    """Return records of best-of-k, one a prompt, labelled by `label`; with `pairs` (chosen, rejected), with `ranked` in
    the order of `rank`.

    responses, scores: k a prompt. A pair is two of the k, drawn evenly. Records whose responses are all the same text
    say nothing and are left out.
    """
    records = []
    for prompt, texts, values in zip(prompts, responses, scores, strict=True):
        if ranked:
            records.append(Record(prompt, tuple(texts[i] for i in rank(values, noise, draw)), ranked=True))
            continue
        shown = draw.sample(range(len(texts)), 2) if pairs else list(range(len(texts)))
        best = label([values[i] for i in shown], noise, draw)
        if len({texts[i] for i in shown}) == 1:
            continue
        if len(shown) == 2:  # pairs have the chosen one first
            shown, best = [shown[best], shown[1 - best]], 0
        records.append(Record(prompt, tuple(texts[i] for i in shown), best))
    return records
