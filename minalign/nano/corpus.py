"""The corpus of nano's world: the mix of genres, the held-out splits, and the endless stream of documents.

    for document, nats in documents("train", seed=1): ...

Every document has a record of facts, and a hash of that record decides which split it belongs to, so that no record
is ever in two splits. Some combinations (a hero in a kind of story, a place in a weather) are kept out of training
altogether.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from functools import lru_cache

from minalign.nano.grammar import Document, Draw, tell

# What share of the tokens each genre has, and its mean tokens per document (measured with the shipped vocabulary).
TOKEN_SHARES = {
    "story": 0.42,
    "passage": 0.12,
    "review": 0.10,
    "joke": 0.09,
    "post": 0.09,
    "report": 0.08,
    "number": 0.10,
}
TOKENS_PER_DOCUMENT = {"story": 107, "passage": 67, "review": 43, "joke": 20, "post": 134, "report": 96, "number": 16}
GENRES = tuple(TOKEN_SHARES)
SPLITS = ("train", "validation", "test")

# Facts that are wording, not facts: two tellings of one record belong to the same split.
_WORDING = ("title", "body", "summary", "summary_text", "text", "prompt")
_HELD_OUT_PAIRS = (("hero", "schema"), ("place", "weather"))
_BUCKETS = 1000


def _bucket(*names) -> int:
    """Return a number in 0..999 that depends on `names` alone: the same on every machine and in every run."""
    digest = hashlib.blake2b(json.dumps(names, sort_keys=True, default=str).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _BUCKETS


def held_out_pair(facts: dict) -> bool:
    """Return True if the record holds a combination that is never in train: 2 % of hero x schema, 2 % of place x
    weather."""
    return any(a in facts and b in facts and _bucket(a, b, facts[a], facts[b]) < 20 for a, b in _HELD_OUT_PAIRS)


def split_of(document: Document) -> str:
    """Return the split that a document's record of facts belongs to (train, validation, test about 96 : 2 : 2).

    A combination that is never in train is in test. Number lines have no split of their own: their records are so
    small that a held-out one would be a number that the model never saw as an answer.
    """
    if held_out_pair(document.facts):
        return "test"
    bucket = _bucket(document.genre, {name: value for name, value in document.facts.items() if name not in _WORDING})
    return "train" if bucket < 960 else "validation" if bucket < 980 else "test"


def splits_of(document: Document) -> tuple[str, ...]:
    """Return every split that may hold the document: one, except for number lines."""
    return SPLITS if document.genre == "number" else (split_of(document),)


@lru_cache(maxsize=1)
def story_schemas() -> list:
    """Return the schemas of all stories."""
    from minalign.nano import stories_town, stories_wild

    return stories_town.SCHEMAS + stories_wild.SCHEMAS


def story(draw: Draw) -> Document:
    """Tell a story: a schema drawn by weight, its facts and its words."""
    schemas = story_schemas()
    telling = tell(draw.pick(schemas, [schema.weight for schema in schemas]), draw)
    return Document("story", [telling.text], telling.record())


@lru_cache(maxsize=1)
def generators() -> dict:
    """Return {genre: function of a Draw that returns a Document}. Imported here: the modules are large, and the tasks
    need one each."""
    from minalign.nano import jokes, numbers, passages, posts, reports, reviews

    return {
        "story": story,
        "passage": passages.generate,
        "review": reviews.generate,
        "joke": jokes.generate,
        "post": posts.generate,
        "report": reports.generate,
        "number": numbers.generate,
    }


def draw_document(draw: Draw, genre: str | None = None) -> Document:
    """Draw one document of `genre`, or of a genre drawn at the corpus's shares."""
    if genre is None:
        genre = draw.pick(GENRES, [TOKEN_SHARES[genre] / TOKENS_PER_DOCUMENT[genre] for genre in GENRES])
    return generators()[genre](draw)


def documents(split: str, seed: int | str, genre: str | None = None) -> Iterator[tuple[Document, float]]:
    """Yield (document, nats) of one split for ever; the same arguments give the same documents.

    nats: -log p of the choices that made the document (its genre among them, unless `genre` is given), the floor of
    its loss. Documents of other splits are drawn and dropped.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    number = 0
    while True:
        draw = Draw(f"{split}-{seed}-{number}")
        document = draw_document(draw, genre)
        number += 1
        if split in splits_of(document):
            yield document, draw.nats


def genre_nats(genre: str) -> float:
    """Return -log p of drawing `genre` from the mix."""
    weights = {name: TOKEN_SHARES[name] / TOKENS_PER_DOCUMENT[name] for name in GENRES}
    return -math.log(weights[genre] / sum(weights.values()))


def encode(document: Document, tokenizer) -> list[int]:
    """Return the token ids of a document: its parts tokenised separately, and the end-of-text token."""
    return [token for part in document.parts for token in tokenizer.encode(part)] + [tokenizer.eot]
