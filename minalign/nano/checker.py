"""Find what a text of nano's world contradicts, by reading it with the grammar that such texts are told with.

    check("Tom lost the key. At last Anna was glad that it was found.", "story")  # -> [Violation(kind, detail), ...]

The text is split into sentences, every sentence is read under the templates of its genre, and the kind of event (the
schema) that explains most sentences is taken for the plot. Then the readings must agree: a role is one person, place
or thing throughout, two persons are not one, and causes, outcomes and moods do not change. A sentence that no
template reads is not wrong by itself: a model may find new words for it, but they must be words of this world, about
people who are in the text.

Kinds of violation: word (unknown form), unfinished (no sentence end), name, pronoun, place, thing, mood (an outcome
or a mood against another), plot (a sentence of another kind of event, or a cause against another), empty.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from minalign.nano.corpus import story_schemas
from minalign.nano.grammar import (
    Document,
    Draw,
    Match,
    Schema,
    Telling,
    parse_sentence,
    sentences_of,
    split_sentences,
    tell,
)
from minalign.nano.lexicon import LEXICON

NAMES = {entity.name: entity for entity, _ in LEXICON["person"]}
FEMALE, MALE = {"she", "her", "hers", "herself"}, {"he", "him", "his", "himself"}
# Words that bring a man or a woman into a text besides the names.
FEMALE_WORDS = set(
    "woman women girl girls mother grandmother aunt sister daughter wife queen lady maid witch bride hen cow".split()
)
MALE_WORDS = set(
    "man men boy boys father grandfather uncle brother son husband king mr captain groom fisherman rooster".split()
)
_OUTCOMES = {"outcome", "feeling", "mood", "stars", "verdict"}
_CUES = re.compile(r"^SUBREDDIT: r/\w+ TITLE: | POST: | TL;DR: |^REPORT: | In short: ")
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_BEAM = 40


@dataclass(frozen=True)
class Violation:
    """One contradiction: its kind (see the module) and the words that show it."""

    kind: str
    detail: str


# ---------------------------------------------------------------- the grammar's words and plots


@cache
def plots(genre: str) -> dict[str, list[Schema]]:
    """Return {plot: schemas}: the schemas whose sentences may stand together in a text of `genre`."""
    from minalign.nano import jokes, passages, posts, reports, reviews

    families = {
        "story": [story_schemas()],
        "passage": [passages.SCHEMAS],
        "review": [reviews.SCHEMAS],
        "joke": [jokes.SCHEMAS],
        "post": [posts.SCHEMAS, posts.TITLES, posts.SUMMARIES, posts.VAGUE],
        "report": [reports.SCHEMAS, reports.SUMMARIES, reports.VAGUE],
    }
    if genre not in families:
        raise ValueError(f"unknown genre {genre!r}: expected one of {', '.join(families)}")
    result: dict[str, list[Schema]] = {}
    for schema in (schema for family in families[genre] for schema in family):
        result.setdefault(schema.name, []).append(schema)
    return result


@cache
def _surface_words(schema: Schema, role: str, form: str) -> tuple[frozenset, frozenset]:
    """Return (every word of the surfaces of a slot, their last words)."""
    surfaces = [re.split("[^A-Za-z']", entity.form(form)) for entity, _ in schema.entities(role)]
    return frozenset(word for surface in surfaces for word in surface), frozenset(surface[-1] for surface in surfaces)


def _words(schema: Schema, nodes, tails: frozenset, words: set) -> frozenset:
    """Add every word that a template's tree can write to `words`; `tails` are the unfinished words before and
    (returned) after it."""
    for node in nodes:
        if isinstance(node, str):
            first, *rest = re.split("[^A-Za-z']", node)
            tails = frozenset(tail + first for tail in tails)
            if rest:
                words.update(tails, rest)
                tails = frozenset({rest[-1]})
        elif isinstance(node, tuple):
            # A slot starts a word of its own, or is one word ("{job}s", "un{color}" are not written in this world).
            inside, tails = _surface_words(schema, *node)
            words.update(inside)
        else:
            tails = frozenset().union(*(_words(schema, choice, tails, words) for _, choice in node))
    return tails


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Return every word form, in lower case, that the templates of any genre can write."""
    words: set[str] = set()
    for genre in ("story", "passage", "review", "joke", "post", "report"):
        for schema in (schema for schemas in plots(genre).values() for schema in schemas):
            for beat in schema.beats:
                for template in (template for key in beat.keys() or [""] for template in beat.templates(key)):
                    for nodes in sentences_of(template):
                        words |= _words(schema, nodes, frozenset({""}), words)
    return frozenset(word.strip("'").lower() for word in words if word.strip("'"))


# ---------------------------------------------------------------- reading a text


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; the cues of posts and reports only separate them."""
    return split_sentences(_CUES.sub(" ", text.strip()))


@dataclass(frozen=True)
class _Reading:
    """One way to read the sentences so far: role -> names, fact -> possible values, and what it contradicts."""

    bindings: dict
    facts: dict
    violations: tuple = ()

    def extend(self, match: Match, sentence: str) -> "_Reading":
        """Return this reading with one more sentence."""
        bindings, facts, found = dict(self.bindings), dict(self.facts), []
        for role, names in match.bindings.items():
            before = bindings.get(role)
            both = names if before is None else before & names
            if not both:
                found.append(Violation(_kind(match.schema, role, names, before), sentence))
            else:
                bindings[role] = both
        persons = [
            next(iter(names)) for role, names in bindings.items() if _is_person(match.schema, role) and len(names) == 1
        ]
        if len(set(persons)) < len(persons):
            found.append(Violation("name", sentence))
        beat = match.beat
        claims = {
            name: frozenset(values if isinstance(values, (tuple, list, set)) else (values,))
            for name, values in beat.when.items()
        }
        if match.key:
            claims[beat.by or beat.name] = frozenset({match.key}) & claims.get(
                beat.by or beat.name, frozenset({match.key})
            )
        for name, values in claims.items():
            both = facts.get(name, values) & values
            if both:
                facts[name] = both
            else:
                found.append(Violation("mood" if name in _OUTCOMES else "plot", sentence))
        return _Reading(bindings, facts, self.violations + tuple(found))


def _is_person(schema: Schema, role: str) -> bool:
    return schema.roles.get(role) == "person"


def _kind(schema: Schema, role: str, names: frozenset, before: frozenset | None) -> str:
    """Return what sort of contradiction it is that `role` cannot be both `names` and `before`."""
    if _is_person(schema, role):
        # A pronoun leaves many names open, a name only one.
        return "pronoun" if before is None or not names or len(names) > 1 or len(before) > 1 else "name"
    kind = schema.roles.get(role, "")
    return "place" if kind == "place" else "mood" if kind.startswith("mood") else "thing"


def _genders(names: Iterable[str]) -> set[str]:
    return {NAMES[name].form("he") for name in names if name in NAMES}


def _unread(sentence: str, cast: set[str], elsewhere: bool) -> list[Violation]:
    """Return the violations of a sentence that no template of the plot reads."""
    if elsewhere:
        return [Violation("plot", sentence)]
    words = _WORD.findall(sentence)
    strangers = [word for word in (word.removesuffix("'s") for word in words) if word in NAMES and word not in cast]
    if strangers:
        return [Violation("name", strangers[0])]
    lowered, genders = {word.lower() for word in words}, _genders(cast)
    for pronouns, gender, others in ((FEMALE, "she", FEMALE_WORDS), (MALE, "he", MALE_WORDS)):
        if lowered & pronouns and gender not in genders and not lowered & others:
            return [Violation("pronoun", sentence)]
    return []


def read(text: str, genre: str) -> tuple[list[tuple[str, list[Match]]], "_Reading"]:
    """Return ([(sentence, its readings in the plot)], the reading with the fewest contradictions) under the best
    plot."""
    found = sentences(text)
    by_plot = {
        plot: [parse_sentence(sentence, schemas) for sentence in found] for plot, schemas in plots(genre).items()
    }
    most = max(sum(map(bool, matches)) for matches in by_plot.values())
    best = None
    for matches in by_plot.values():
        if sum(map(bool, matches)) == most:
            beam = [_Reading({}, {})]
            for sentence, readings in zip(found, matches):
                if readings:
                    beam = [reading.extend(match, sentence) for reading in beam for match in readings]
                    beam = sorted(beam, key=lambda reading: len(reading.violations))[:_BEAM]
            if best is None or len(beam[0].violations) < len(best[1].violations):
                best = list(zip(found, matches)), beam[0], by_plot
    sentences_read, reading, by_plot = best
    cast = {next(iter(names)) for names in reading.bindings.values() if len(names) == 1}
    violations = list(reading.violations)
    for i, (sentence, matches) in enumerate(sentences_read):
        if not matches:
            elsewhere = any(other[i] for other in by_plot.values())
            violations += _unread(sentence, cast, elsewhere)
    return sentences_read, replace(reading, violations=tuple(violations))


def check(text: str, genre: str) -> list[Violation]:
    """Return the violations of a text of `genre` (story, passage, review, joke, post or report); none means
    consistent."""
    text = text.strip()
    if not text:
        return [Violation("empty", "")]
    violations = []
    if not re.search(r"[.!?]\"?$", text):
        violations.append(Violation("unfinished", text[-40:]))
    for word in _WORD.findall(_CUES.sub(" ", text)):
        if word.lower() not in known_words() and word.lower().removesuffix("'s") not in known_words():
            violations.append(Violation("word", word))
    _, reading = read(text, genre)
    return violations + list(reading.violations)


# ---------------------------------------------------------------- corrupting a text


def cast_of(document: Document) -> tuple[Schema, dict]:
    """Return the plot's first schema and role -> entity, from the record of a document."""
    schema = plots(document.genre)[document.facts["schema"]][0]
    bindings = {}
    for role in schema.roles.keys() & document.facts.keys():
        bindings[role] = next(entity for entity, _ in schema.entities(role) if entity.name == document.facts[role])
    return schema, dict(sorted(bindings.items()))


def _swap_entity(document: Document, draw: Draw, wanted) -> str | None:
    """Return the text with one later mention of an entity replaced by another of its kind, or None if none is
    mentioned twice."""
    schema, bindings = cast_of(document)
    text, swaps = document.text, []
    for role, entity in bindings.items():
        if not wanted(schema.roles[role]):
            continue
        others = [other for other, _ in schema.entities(role) if not re.search(rf"\b{re.escape(other.name)}\b", text)]
        first = re.search(rf"\b{re.escape(entity.name)}\b", text)
        # The longest form that stands there is replaced: "on the pier" by "at the market", "an owl" by "a goat".
        for form in sorted(
            {"", "a", "at", "to", "from"} & {"", *entity.forms}, key=lambda form: -len(entity.form(form))
        ):
            for found in re.finditer(rf"\b{re.escape(entity.form(form))}\b", text):
                if (
                    first
                    and found.start() > first.end()
                    and others
                    and not any(a <= found.start() < b for _, _, a, b in swaps)
                ):
                    swaps.append((form, others, found.start(), found.end()))
    if not swaps:
        return None
    form, others, start, end = draw.pick(swaps)
    return text[:start] + draw.pick(others).form(form) + text[end:]


def _swap_pronoun(document: Document, draw: Draw) -> str | None:
    """Return the text with one pronoun flipped in a sentence that names the person, or None."""
    flips = {
        "he": ["she"],
        "she": ["he"],
        "his": ["her"],
        "him": ["her"],
        "her": ["his", "him"],
        "himself": ["herself"],
        "herself": ["himself"],
    }
    schemas, options = plots(document.genre)[document.facts["schema"]], []
    for sentence in sentences(document.text):
        if not any(name in sentence for name in NAMES):
            continue
        for found in re.finditer(r"\b(he|she|his|him|her|himself|herself)\b", sentence):
            changed = [sentence[: found.start()] + new + sentence[found.end() :] for new in flips[found.group()]]
            # Only what the grammar knows as a person's pronoun: "the old woman at her window" stays as it is.
            options += [(sentence, new) for new in changed if parse_sentence(new, schemas)][:1]
    if not options:
        return None
    sentence, changed = draw.pick(options)
    return document.text.replace(sentence, changed, 1)


def _swap_outcome(document: Document, draw: Draw) -> str | None:
    """Return the text with one of its sentences that show the outcome replaced by one that shows the opposite, or
    None."""
    schema, bindings = cast_of(document)
    opposite = {"good": "bad", "bad": "good"}.get(document.facts.get("outcome"))
    shown = [
        (sentence, match.beat.name)
        for sentence in sentences(document.text)
        for match in parse_sentence(sentence, [schema])[:1]
        if match.beat.by == "outcome" or "outcome" in match.beat.when
    ]
    if opposite is None or len({beat for _, beat in shown}) < 2:
        return None  # with one such sentence the other would be another story, not a contradiction
    other = tell(schema, draw, {**document.facts, "outcome": opposite}, Telling("", {}, bindings, []))
    told = {beat: sentence for sentence, beat, _, _ in other.sentences if beat in {beat for _, beat in shown}}
    swaps = [(sentence, told[beat]) for sentence, beat in shown if beat in told]
    if not swaps:
        return None
    sentence, changed = draw.pick(swaps)
    return document.text.replace(sentence, changed, 1)


def _cut(document: Document, draw: Draw) -> str | None:
    """Return the text with the end of its last sentence cut off."""
    words = document.text.split(" ")
    last = len(sentences(document.text)[-1].split(" "))
    return " ".join(words[: len(words) - draw.integer(1, last - 1)]).rstrip('.!?,;:"') if last > 2 else None


def _misspell(document: Document, draw: Draw) -> str | None:
    """Return the text with two letters of a word exchanged, so that no such word exists."""
    options = []
    for found in re.finditer(r"(?<![/\w])[a-z]{5,}\b", document.text):
        word, i = found.group(), draw.integer(1, len(found.group()) - 3)
        wrong = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        if wrong not in known_words():
            options.append(document.text[: found.start()] + wrong + document.text[found.end() :])
    return draw.pick(options) if options else None


_CORRUPTIONS = {
    "name": lambda document, draw: _swap_entity(document, draw, "person".__eq__),
    "place": lambda document, draw: _swap_entity(document, draw, "place".__eq__),
    "thing": lambda document, draw: _swap_entity(
        document, draw, {"thing", "animal", "food", "job", "beast", "ship"}.__contains__
    ),
    "pronoun": _swap_pronoun,
    "mood": _swap_outcome,
    "unfinished": _cut,
    "word": _misspell,
}


def corrupt(document: Document, draw: Draw, kind: str | None = None) -> tuple[str, str]:
    """Return (text, kind): a document's text with one fact changed in one place, so that it contradicts itself.

    kind: one of name, place, thing, pronoun, mood, unfinished, word; None draws one that the document has room for.
    """
    kinds = [kind] if kind else list(_CORRUPTIONS)
    while kinds:
        drawn = draw.pick(kinds)
        text = _CORRUPTIONS[drawn](document, draw)
        if text is not None and text != document.text:
            return text, drawn
        kinds.remove(drawn)
    raise ValueError(f"nothing of kind {kind!r} to change in {document.text!r}")
