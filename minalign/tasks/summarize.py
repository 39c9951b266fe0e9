"""summarize: say in a sentence or two what a post is about, and how it ended.

    prompts("train", 1000); completions("test", 100); gold(prompt, " Ben's goat keeps me awake. Nothing has changed.")

After Stiennon et al. 2020 (TL;DR) and Kirk et al. 2024, who ask what each method learns for texts of another kind.
nano's posts (`SUBREDDIT: ... TL;DR:`) are told from a record of facts, so what a good summary keeps is known. Beside
train, validation and test there are ood_validation and ood_test with reports (`REPORT: ... In short:`), another genre
with other events and another cue, and long_test with posts that have every optional sentence, half as long again.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.nano import posts, reports
from minalign.nano.checker import cast_of, plots, read, sentences
from minalign.nano.corpus import split_of
from minalign.nano.grammar import Document, Draw, Match, Telling, parse_sentence, split_sentences, tell
from minalign.records import Record
from minalign.tasks.text import claims, distinct
from minalign.tokenizer import Tokenizer

SPLITS = ("train", "validation", "test", "ood_validation", "ood_test", "long_test")
MAX_LEN = 48  # tokens
TOLD = 6  # summaries of each post to learn from
BRIEF = 25  # words that a summary may have
UNREAD, IDLE = 3, 1  # weight of a sentence that says nothing the grammar knows, and of one that says nothing more
TIE = 0.1  # a judge who compares summaries does not see smaller differences of the gold score
RIVALS = ("reference", "short", "wrong end", "wrong cause", "wrong actor", "added", "long", "lead", "vague")
ASIDE = ("feeling", "question")  # beats that differ with how it ended, and do not say it
_GENRES = {"post": posts, "report": reports}
_PROMPT = re.compile(r"(SUBREDDIT: .* TL;DR:)|(REPORT: .* In short:)", re.DOTALL)


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None) -> StopRule:
    """Return the task's stop rule: max_len tokens, or the end of the text."""
    return StopRule(tokenizer.eot, max_len or MAX_LEN)


def documents(split: str, seed: int) -> Iterator[Document]:
    """Yield documents of a split, each with a good summary, for ever; the same arguments give the same ones.

    They belong to the corpus's split of that name by their record, so pre-training has read none of the held-out ones.
    Left out are the few whose text lacks a fact that its summary would tell.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    kind, _, of = split.rpartition("_")
    genre, number = _GENRES["report" if kind == "ood" else "post"], 0
    while True:
        document = genre.generate(Draw(f"summarize-{split}-{seed}-{number}"), long=kind == "long", summary="good")
        number += 1
        if split_of(document) == of and genre.KEY_FACTS[document.facts["schema"]].keys() <= document.facts.keys():
            yield document


@lru_cache(maxsize=8)
def _drawn(split: str, n: int, seed: int) -> list[Document]:
    found: dict[str, Document] = {}

    def asked() -> Iterator[str]:
        for document in documents(split, seed):
            found.setdefault(document.parts[0], document)
            yield document.parts[0]

    return [found[prompt] for prompt in distinct(asked(), n, f"prompts of summarize ({split})")]


def prompts(split: str, n: int, seed: int = 1) -> list[str]:
    """Return n different posts (of ood splits reports) with the cue that asks for a summary."""
    return [document.parts[0] for document in _drawn(split, n, seed)]


def completions(split: str, n: int, seed: int = 1) -> list[Record]:
    """Return n records of such a prompt and a good summary, in the train split TOLD of them (some may be alike).

    A post is seven times as long as its summary, and is read once for all of them.
    """
    found = []
    for document in _drawn(split, n, seed):
        draw = Draw(document.text)
        more = [" " + rival(document, "good", draw) for _ in range(TOLD - 1 if split == "train" else 0)]
        found.append(Record(document.parts[0], (document.parts[1], *more)))
    return found


# ---------------------------------------------------------------- the gold score


@lru_cache(maxsize=1 << 15)
def facts(prompt: str) -> tuple[str, str, dict[str, frozenset]]:
    """Return the genre and the plot of a prompt, and what it tells: {fact or role: possible values}.

    Read back from the text by the grammar that told it; of nano's own prompts that gives the record itself. Raises
    UserError if the prompt has neither form.
    """
    found = _PROMPT.fullmatch(prompt.strip())
    if not found:
        raise UserError("the gold score of summarize: expected a prompt SUBREDDIT: ... TL;DR: or REPORT: ... In short:"
                        f"\nfound {prompt[-60:]!r}. Use a trained reward model for other prompts.")  # fmt: skip
    genre = "post" if found.group(1) else "report"
    matches, reading = read(prompt, genre)
    plot = next((match.schema.name for _, options in matches for match in options), "")
    return genre, plot, {**reading.bindings, **reading.facts}


def _said(match: Match, known: dict[str, frozenset], key: dict[str, int]) -> tuple[set[str], set[str]]:
    """Return the facts that a sentence states right and wrong; to know only some of what it leaves open is neither.

    Wrong is also whom, what or how many it names where the prompt does not say that.
    """
    told = {name: values for (_, name), values in claims(match).items()}
    right = {name for name in key if told.get(name) and told[name] == known.get(name)
             and not (name == "outcome" and match.beat.name in ASIDE)}  # fmt: skip
    made_up = {role for role, values in match.bindings.items() if role not in known and len(values) == 1}
    return right, made_up | {name for name, values in told.items() if name in known and not values & known[name]}


def _weigh(key: dict[str, int], names: set[str]) -> int:
    return sum(key.get(name, 1) for name in names)


@lru_cache(maxsize=1 << 16)  # a policy says the same again and again
def gold(prompt: str, response: str) -> float:
    """Return how good a summary is, in [0, 1].

        score = max(0, F1 * brevity - W / K)
        F1      = 2 P R / (P + R),  P = S / (S + W + I),  R = S / K
        S, W, K = weights of the facts that it states right (each once), that it states wrong, and of all key facts
        I       = UNREAD a sentence that the grammar does not know in this plot, IDLE a sentence that adds no fact
        brevity = 1 up to BRIEF words, then 1 - (words - BRIEF) / BRIEF, 0 at least

    Key facts and weights are those of `posts.KEY_FACTS`: how it ended and who did it 3, why 2, details 1 or 2; other
    facts that are wrong, or not in the prompt, weigh 1. A feeling or a question does not say how it ended. Where a
    sentence can be read in several ways the best one counts.
    """
    genre, plot, known = facts(prompt)
    key = _GENRES[genre].KEY_FACTS.get(plot, {})
    kept: set[str] = set()
    wrong = idle = 0
    for sentence in split_sentences(response.strip()):  # the cues of a post are no part of a summary
        options = [_said(match, known, key) for match in parse_sentence(sentence, plots(genre).get(plot, []))]
        if not options:
            idle += UNREAD
            continue
        right, false = max(options, key=lambda said: _weigh(key, said[0] - kept) - _weigh(key, said[1]))
        idle += IDLE * (not right - kept)
        wrong += _weigh(key, false)
        kept |= right
    total, stated = sum(key.values()), _weigh(key, kept)
    if not stated:
        return 0.0
    precision, recall = stated / (stated + wrong + idle), stated / total
    brevity = min(1.0, max(0.0, 2 - len(response.split()) / BRIEF))
    return max(0.0, 2 * precision * recall / (precision + recall) * brevity - wrong / total)


# ---------------------------------------------------------------- summaries to compare


def rivals(split: str, n: int, seed: int, k: int) -> list[list[str]]:
    """Return k summaries of each of `prompts(split, n, seed)`, good and bad ones, of different `RIVALS`."""
    found = []
    for number, document in enumerate(_drawn(split, n, seed)):
        draw = Draw(f"rivals-{split}-{seed}-{number}")
        kinds, texts = list(RIVALS), {}
        while len(texts) < k and kinds:
            kind = draw.pick(kinds)
            kinds.remove(kind)
            texts.setdefault(" " + rival(document, kind, draw))
        found.append(list(texts))
    return found


def rival(document: Document, kind: str, draw: Draw) -> str:
    """Return a summary of a document: the reference, another good one, or one that is short of facts, wrong in one,
    padded, copied from the beginning, or vague."""
    genre = _GENRES[document.genre]
    schema, cast = cast_of(document)
    telling = Telling(document.facts["body"], document.facts, cast, [])
    digest = next(s for s in genre.SUMMARIES if s.name == schema.name)
    of = {beat.name: beat for beat in digest.beats}  # what happened, how it ended; or both at once
    cause = of["what"].by

    def told(**changed) -> str:
        return tell(digest, draw, changed, telling).text

    if kind == "reference":
        return document.facts["summary_text"]
    if kind == "good":
        return told()
    if kind == "short":
        return draw.pick([told(form="two", outcome=""), told(form="two", **{cause: ""})])
    if kind in ("wrong end", "wrong cause"):
        fact = "outcome" if kind == "wrong end" else cause
        others = of["end" if kind == "wrong end" else "what"].keys().keys() - {document.facts[fact]}
        return told(form="two", **{fact: draw.pick(sorted(others))})
    if kind == "wrong actor":
        role = document.facts["actor"]
        others = [entity for entity, _ in schema.entities(role) if entity not in cast.values()]
        other = Telling("", telling.facts, {**cast, role: draw.pick(others)}, [])
        return tell(digest, draw, {}, other).text
    body = sentences(document.facts["body"])
    if kind == "added":
        return f"{document.facts['summary_text']} {draw.pick(body)}"
    if kind == "long":
        return " ".join([document.facts["summary_text"], *body[1:3]])
    if kind == "lead":
        return body[0]
    return tell(next(s for s in genre.VAGUE if s.name == schema.name), draw, {}, telling).text
