"""Find what a text of nano's world contradicts, by reading it with the grammar that such texts are told with.

    check("Tom lost the key. At last Anna was glad that Tom had never lost it.", "story")   # -> [Violation(kind, detail), ...]

The text is split into sentences, every sentence is read under the templates of its genre, and the kind of event (the schema) that
explains most sentences is taken for the plot. Then the readings must agree: a role is one person, place or thing throughout, two
persons are not one, and causes, outcomes and moods do not change. A sentence that no template reads is not wrong by itself: a
model may find new words for it, but they must be words of this world, about people who are in the text.

Kinds of violation: word (unknown form), unfinished (no sentence end), name, pronoun, place, thing, mood (an outcome or a mood
against another), plot (a sentence of another kind of event, or a cause against another), empty.
"""
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from minalign.nano.corpus import story_schemas
from minalign.nano.grammar import Document, Draw, Match, Schema, Telling, parse_sentence, sentences_of, split_sentences, tell
from minalign.nano.lexicon import LEXICON

NAMES = {entity.name: entity for entity, _ in LEXICON["person"]}
FEMALE, MALE = {"she", "her", "hers", "herself"}, {"he", "him", "his", "himself"}
# Words that bring a man or a woman into a text besides the names.
FEMALE_WORDS = set("woman women girl girls mother grandmother aunt sister daughter wife queen lady maid witch bride hen cow".split())
MALE_WORDS = set("man men boy boys father grandfather uncle brother son husband king mr captain groom fisherman rooster".split())
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

@lru_cache(maxsize=None)
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


def _words(schema: Schema, nodes, tails: frozenset, words: set) -> frozenset:
    """Add every word that a template's tree can write to `words`; `tails` are the unfinished words before and (returned) after it."""
    def add(text: str, tails: frozenset) -> frozenset:
        pieces = re.split(r"([^A-Za-z'])", text)
        ends = {tail + pieces[0] for tail in tails}
        if len(pieces) == 1:
            return frozenset(ends)
        words.update(ends, pieces[2:-1:2])
        return frozenset({pieces[-1]})

    for node in nodes:
        if isinstance(node, str):
            tails = add(node, tails)
        elif isinstance(node, tuple):
            role, form = node
            tails = frozenset().union(*(add(entity.form(form), tails) for entity, _ in schema.entities(role)))
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
        persons = [next(iter(names)) for role, names in bindings.items() if _is_person(match.schema, role) and len(names) == 1]
        if len(set(persons)) < len(persons):
            found.append(Violation("name", sentence))
        beat = match.beat
        claims = {name: frozenset(values if isinstance(values, (tuple, list, set)) else (values,)) for name, values in beat.when.items()}
        if match.key:
            claims[beat.by or beat.name] = frozenset({match.key}) & claims.get(beat.by or beat.name, frozenset({match.key}))
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
    """Return ([(sentence, its readings in the plot)], the reading with the fewest contradictions) under the best plot."""
    found = sentences(text)
    by_plot = {plot: [parse_sentence(sentence, schemas) for sentence in found] for plot, schemas in plots(genre).items()}
    most = max(sum(map(bool, matches)) for matches in by_plot.values())
    best = None
    for plot, matches in by_plot.items():
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
    """Return the violations of a text of `genre` (story, passage, review, joke, post or report); none means consistent."""
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
