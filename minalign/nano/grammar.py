"""A text is told from facts by a small grammar, and the same grammar reads it back.

A genre is data: `Schema`s made of `Beat`s made of templates. `tell` draws facts and words and writes the text;
`parse_sentence` compiles the same templates to regular expressions and recovers which beat a sentence tells and who
it is about; `check` uses that to find contradictions. Every random choice goes through one `Draw`, which keeps its
own -log p: the sum over a corpus is the loss that no language model can beat, the floor that pre-training is measured
against.

Template language: `[a|b|c]` one of several (nested; `[a~3|b]` weighs a three times; an empty one is allowed),
`{role}` the entity bound to a role, `{role.form}` one of its forms (`{hero.his}`, `{thing.a}`; a capital first letter
capitalises), ` || ` between sentences.
"""

import math
import random
import re
from dataclasses import dataclass, field
from functools import cache


class Draw:
    """Seeded random choices that add up their own surprisal.

    `nats` is -log p of everything drawn so far: an upper bound on -log p(text), tight when different choices give
    different texts.
    """

    def __init__(self, seed: int | str | random.Random):
        self.random = seed if isinstance(seed, random.Random) else random.Random(seed)
        self.nats = 0.0

    def pick(self, items, weights=None):
        """Return one of `items` with probability proportional to `weights` (uniform if None)."""
        items = list(items)
        if weights is None:
            self.nats += math.log(len(items))
            return items[int(self.random.random() * len(items))]
        total = sum(weights)
        level = self.random.random() * total
        for item, weight in zip(items, weights):  # noqa: B007 (rounding leaves the last item)
            level -= weight
            if level < 0:
                break
        self.nats -= math.log(weight / total)
        return item

    def chance(self, p: float) -> bool:
        """Return True with probability p."""
        yes = self.random.random() < p
        if 0 < p < 1:
            self.nats -= math.log(p if yes else 1 - p)
        return yes

    def integer(self, low: int, high: int) -> int:
        """Return a uniform integer in low..high, both included."""
        self.nats += math.log(high - low + 1)
        return low + int(self.random.random() * (high - low + 1))


@dataclass(frozen=True)
class Entity:
    """A person, place or thing: its bare name and its other surface forms (`a`, `at`, `he`, `his`, ...)."""

    name: str
    kind: str
    forms: dict[str, str] = field(default_factory=dict, hash=False, compare=False)

    def form(self, form: str) -> str:
        """Return a surface form; a capital first letter of `form` (`He`, `A`) capitalises the result."""
        surface = self.forms[form.lower()] if form else self.name
        return surface[0].upper() + surface[1:] if form[:1].isupper() else surface


@dataclass(frozen=True)
class Beat:
    """One step of a telling: `options` is a list of templates, or a dict key -> templates.

    A dict key (optionally `key~weight`) is drawn and recorded as the fact `name`, or looked up in the fact `by`; a
    beat without an option for that key is not told. `p` is the chance to be told, `when` {fact: value or values} a
    condition, `valence` how good the told event is for the main person (+1, 0, -1; a number or {key: number}).
    """

    name: str
    options: list | dict
    p: float = 1.0
    when: dict = field(default_factory=dict)
    by: str | None = None
    valence: int | dict = 0

    def keys(self) -> dict[str, float]:
        """Return {key: weight} of a dict of options (empty for a plain list)."""
        if isinstance(self.options, list):
            return {}
        split = [key.partition("~") for key in self.options]
        return {key: float(weight or 1) for key, _, weight in split}

    def templates(self, key: str) -> list[str]:
        """Return the templates under `key` ("" for a plain list)."""
        if isinstance(self.options, list):
            return self.options
        return next(templates for name, templates in self.options.items() if name.partition("~")[0] == key)

    def value(self, key: str) -> int:
        """Return the valence of the event that option `key` tells."""
        return self.valence.get(key, 0) if isinstance(self.valence, dict) else self.valence


@dataclass(frozen=True, eq=False)
class Schema:
    """A kind of event: roles {role: kind of entity}, beats in order, `facts` {name: {value: weight}} drawn before the
    telling."""

    name: str
    roles: dict[str, str]
    beats: list[Beat]
    weight: float = 1.0
    facts: dict = field(default_factory=dict)
    kinds: dict = field(default_factory=dict)  # kinds of entity beyond the common lexicon

    def entities(self, role: str) -> list[tuple[Entity, float]]:
        """Return the (entity, weight) pairs that may fill `role`."""
        from minalign.nano.lexicon import LEXICON  # the lexicon is made of this module's entities

        kind = self.roles[role]
        return self.kinds[kind] if kind in self.kinds else LEXICON[kind]


@dataclass
class Document:
    """One training document: `parts` are tokenised separately and concatenated; `facts` is the record that it was
    told from."""

    genre: str
    parts: list[str]
    facts: dict

    @property
    def text(self) -> str:
        """The document as a reader sees it."""
        return "".join(self.parts)


@dataclass
class Telling:
    """What `tell` returns: the text, its facts, role -> entity, and per sentence (sentence, beat name, key,
    valence)."""

    text: str
    facts: dict
    bindings: dict[str, Entity]
    sentences: list[tuple[str, str, str, int]]

    def record(self) -> dict:
        """Return the facts and the names of the bound entities as one flat JSON-able dict."""
        return {**self.facts, **{role: entity.name for role, entity in self.bindings.items()}}


# ---------------------------------------------------------------- templates


def _parse(template: str):
    """Return the template's tree: a list of str | (role, form) | [(weight, subtree), ...]."""
    position = 0

    def sequence(closing: str):
        nonlocal position
        nodes, literal = [], ""
        while position < len(template) and template[position] not in closing:
            char = template[position]
            if char in "[{":
                if literal:
                    nodes.append(literal)
                    literal = ""
                position += 1
                nodes.append(alternatives() if char == "[" else slot())
            elif char in "]}":
                raise ValueError(f"unbalanced {char!r} at {position} in template {template!r}")
            else:
                literal += char
                position += 1
        return nodes + [literal] if literal else nodes

    def alternatives():
        nonlocal position
        choices = []
        while True:
            nodes, weight = sequence("|]"), 1.0
            if position >= len(template):
                raise ValueError(f"missing ] in template {template!r}")
            if nodes and isinstance(nodes[-1], str) and "~" in nodes[-1]:
                text, _, number = nodes[-1].rpartition("~")
                nodes, weight = nodes[:-1] + ([text] if text else []), float(number)
            choices.append((weight, nodes))
            position += 1
            if template[position - 1] == "]":
                return choices

    def slot():
        nonlocal position
        end = template.index("}", position)
        role, _, form = template[position:end].partition(".")
        position = end + 1
        return role, form

    return sequence("")


@cache
def sentences_of(template: str) -> tuple:
    """Return the parsed trees of a template's sentences."""
    return tuple(_parse(sentence) for sentence in template.split(" || "))


def _render(nodes, slot_text, draw: Draw) -> str:
    out = []
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, tuple):
            out.append(slot_text(*node))
        else:
            choice = draw.pick([nodes for _, nodes in node], [weight for weight, _ in node])
            out.append(_render(choice, slot_text, draw))
    return "".join(out)


def _holds(when: dict, facts: dict) -> bool:
    return all(
        facts.get(name) in (values if isinstance(values, (tuple, list, set)) else (values,))
        for name, values in when.items()
    )


def tell(schema: Schema, draw: Draw, facts: dict | None = None, telling: Telling | None = None) -> Telling:
    """Tell `schema` once; facts and entities are drawn when first needed.

    `facts` fixes some facts beforehand; `telling` continues an earlier telling (its facts and bindings are kept, as a
    summary needs).
    """
    bindings = dict(telling.bindings) if telling else {}
    known = {**(telling.facts if telling else {"schema": schema.name}), **(facts or {})}
    for name, values in schema.facts.items():
        if name not in known:
            known[name] = draw.pick(values, list(values.values()))

    def slot_text(role: str, form: str) -> str:
        if role not in bindings:
            taken = {entity.name for entity in bindings.values()}
            free = [(entity, weight) for entity, weight in schema.entities(role) if entity.name not in taken]
            bindings[role] = draw.pick([entity for entity, _ in free], [weight for _, weight in free])
        return bindings[role].form(form)

    told = []
    for beat in schema.beats:
        if not _holds(beat.when, known):
            continue
        keys = beat.keys()
        if beat.by and known.get(beat.by) not in keys:
            continue
        if not draw.chance(beat.p):
            continue
        key = ""
        if keys:
            key = known[beat.by] if beat.by else draw.pick(keys, list(keys.values()))
            if not beat.by:
                known[beat.name] = key
        template = draw.pick(beat.templates(key))
        for nodes in sentences_of(template):
            sentence = _render(nodes, slot_text, draw)
            told.append((sentence[0].upper() + sentence[1:], beat.name, key, beat.value(key)))
    return Telling(" ".join(sentence for sentence, *_ in told), known, bindings, told)


# ---------------------------------------------------------------- the grammar backwards


@dataclass(frozen=True)
class Match:
    """A way to read one sentence: who tells it (schema, beat, key), its valence, and role -> names that fit (empty =
    contradiction)."""

    schema: Schema
    beat: Beat
    key: str
    bindings: dict[str, frozenset] = field(hash=False)

    @property
    def valence(self) -> int:
        """How good the told event is for the main person."""
        return self.beat.value(self.key)


@cache
def _surfaces(schema: Schema, role: str, form: str) -> dict[str, frozenset]:
    """Return {surface: names of the entities that have it} for a slot."""
    table: dict[str, set] = {}
    for entity, _ in schema.entities(role):
        table.setdefault(entity.form(form), set()).add(entity.name)
    return {surface: frozenset(names) for surface, names in table.items()}


def _compile(schema: Schema, nodes, groups: list) -> str:
    pattern = []
    for node in nodes:
        if isinstance(node, str):
            pattern.append(re.escape(node))
        elif isinstance(node, tuple):
            groups.append(node)
            choices = sorted(_surfaces(schema, *node), key=len, reverse=True)
            # Hundreds of names in hundreds of patterns take minutes to compile: those are looked up after the match.
            listed = "|".join(map(re.escape, choices)) if len(choices) <= 120 else "[A-Za-z0-9' ]+?"
            pattern.append(f"({listed})")
        else:
            pattern.append("(?:" + "|".join(_compile(schema, choice, groups) for _, choice in node) + ")")
    return "".join(pattern)


# Compiled when first needed: a text needs few of a genre's thousand patterns.
_regex = cache(re.compile)


@cache
def _readers(schema: Schema) -> list:
    """Return (anchor, pattern, groups, beat, key) for every sentence of a schema's templates.

    The anchor is the longest literal that the sentence must contain: a substring test is 50 times cheaper than the
    regex it saves.
    """
    readers = []
    for beat in schema.beats:
        for key in beat.keys() or [""]:
            for template in beat.templates(key):
                for nodes in sentences_of(template):
                    groups: list = []
                    pattern = _compile(schema, nodes, groups)
                    anchor = max((node for node in nodes if isinstance(node, str)), key=len, default="").lower()
                    readers.append((anchor, pattern, groups, beat, key))
    return readers


def split_sentences(text: str) -> list[str]:
    """Split a paragraph where a sentence end is followed by a space and a capital, digit or opening quote."""
    return [
        piece
        for piece in re.split(r"(?<=[.!?])[ \n]+(?=[A-Z0-9\"])|(?<=[.!?]\")[ \n]+(?=[A-Z0-9\"])", text.strip())
        if piece
    ]


def parse_sentence(sentence: str, schemas: list[Schema]) -> list[Match]:
    """Return every reading of a sentence under the templates of `schemas`."""
    lowered = sentence.lower()
    variants = [sentence, sentence[:1].lower() + sentence[1:]]
    matches = []
    for schema in schemas:
        for anchor, pattern, groups, beat, key in _readers(schema):
            if anchor not in lowered:
                continue
            found = next((m for m in map(_regex(pattern).fullmatch, variants) if m), None)
            if not found:
                continue
            slots = [
                (role, _surfaces(schema, role, form).get(surface))
                for (role, form), surface in zip(groups, found.groups())
                if surface is not None
            ]
            if any(names is None for _, names in slots):
                continue
            bindings: dict[str, frozenset] = {}
            for role, names in slots:
                bindings[role] = bindings[role] & names if role in bindings else names
            matches.append(Match(schema, beat, key, bindings))
    return matches
