"""Reviews of inns, cafes, boats, museums and shops: aspects that are good or bad, and sometimes the stars that follow.

A review is `Review of the Blue Lantern Inn: ...`: perhaps who came and when, then two to four aspects in any order,
perhaps a verdict, perhaps `4 stars.`. Aspects may disagree, and the words that join them say so: `But A.`, `A, but B.`,
`Although A, B.` The stars are always `rating(n_good, n_bad)`, and the verdict agrees with them.
"""

from minalign.nano.grammar import Beat, Document, Draw, Entity, Schema, tell
from minalign.nano.lexicon import LEXICON

ADJECTIVES = {
    3.0: "Blue Golden Old",
    2.0: "Red White Green Silver Little",
    1.0: "Black Quiet Happy Sleepy Windy Sunny Crooked Lucky Hungry Brave Merry Lost",
}
NOUNS = {
    3.0: "Lantern Anchor",
    2.0: "Goose Star Bell Whale Swan",
    1.0: "Fox Owl Heron Crown Key Moon Kettle Lion Otter Rose Sailor Shell Donkey Gull Candle Turtle",
}
VENUES = {
    "inn": "Inn~3 House~1",
    "cafe": "Cafe~3 Kitchen~1",
    "boat": "Ferry~2 Boat~1",
    "museum": "Museum~3 Gallery~1",
    "shop": "Shop~2 Store~1",
}


def _names(venue: str) -> list[tuple[Entity, float]]:
    """Compose the names of all venues of a kind, each with its weight."""
    return [
        (Entity(f"{adjective} {noun} {word}", venue), a_weight * n_weight * float(weight))
        for a_weight, adjectives in ADJECTIVES.items()
        for adjective in adjectives.split()
        for n_weight, nouns in NOUNS.items()
        for noun in nouns.split()
        for word, weight in (pair.split("~") for pair in VENUES[venue].split())
    ]


LOCAL_KINDS: dict[str, list[tuple[Entity, float]]] = {
    **{venue: _names(venue) for venue in VENUES},
    # Exact prices, every number as likely as any other, so that nano meets them all.
    "coins": [(Entity(f"{n} coin" if n == 1 else f"{n} coins", "coins"), 1.0) for n in range(101)],
}

_FOOD = {
    "good": [
        "the {food} was [very good|fresh|hot and fresh|the best in town|perfect|a dream]",
        "{me.we} [loved|liked|enjoyed] the {food}",
        "the food was [fresh|hot|excellent|simple and good|good]",
        "the {food} tasted [of summer|like home|of more]",
        "[the cook|a cook from the coast] makes the best {food} [I know|on the coast|in town]",
    ],
    "bad": [
        "the {food} was [cold|burnt|too salty|old|awful|a mistake]",
        "{me.we} [left|could not eat|sent back] the {food}",
        "the food was [cold|bad|late and cold|dull|awful]",
        "the {food} tasted [of soap|of nothing|like wet paper]",
        "there was [a hair|a fly|sand] in the {food}",
    ],
}

_PRICES = {
    "good": [
        "{me.we} paid only {coins}[| for everything| and not one more]",
        "{coins} is a [fair|good|low|small] price",
        "the price was [fair|low|good]",
        "at {coins} it is [a bargain|cheap|a gift]",
    ],
    "bad": [
        "{me.we} paid {coins}[| for nothing| for almost nothing| and got nothing back]",
        "{coins} is [far too much|too much|a joke|robbery]",
        "the price was [too high|a shock|a bad joke]",
        "at {coins} it is [too dear|a robbery|no bargain]",
    ],
}

# venue -> aspect -> good or bad -> clauses; a clause is a sentence without its end, in lower case.
CLAUSES: dict[str, dict[str, dict[str, list[str]]]] = {
    "inn": {
        "room": {
            "good": [
                "the room was [clean|warm|quiet|big and clean|warm and dry]",
                "{me.we} slept [well|like a stone|like a baby|until noon] in the [soft|wide|warm] bed",
                "the bed was [soft|clean|wide and warm|fit for a king]",
                "there were [fresh flowers|clean towels|two warm blankets|three pillows] in the room",
                "a fire burned in the room [every night|when we came|all evening]",
            ],
            "bad": [
                "the room was [cold|dirty|damp|small and dark|noisy|full of smoke]",
                "{me.we} did not sleep [at all|one minute|for the noise] in the [hard|cold|narrow] bed",
                "the bed was [hard|damp|too short|broken]",
                "there [was a mouse|was a frog|were fleas|was no lamp] in the room",
                "the rain came [through the roof|in at the window|into the bed]",
            ],
        },
        "food": _FOOD,
        "staff": {
            "good": [
                "the [owner|maid|porter|cook] was [kind|friendly|quick|very polite]",
                "the [owner|maid|porter] carried {me.my} bags [up the stairs|to the station]",
                "the [owner|maid|porter] found {me.my} {thing} [in an hour|under the bed|and sent it on]",
                "everybody was [kind|friendly|helpful] and had time for a [joke|chat|story]",
            ],
            "bad": [
                "the [owner|maid|porter|cook] was [rude|slow|angry|never there]",
                "the [owner|maid|porter] [shouted at {me.us}|slept at the desk|laughed at {me.my} hat]",
                "the [owner|maid|porter] lost {me.my} {thing} [on the first day|and did not care|and blamed the cat]",
                "nobody [helped {me.us}|said good morning|opened the door]",
            ],
        },
        "view": {
            "good": [
                "the view of the [sea|harbour|hills|river] was [lovely|wide|wonderful|worth the trip]",
                "from the window {me.we} saw the [ships|lighthouse|sun come up|whole town]",
                "every morning the [sea|harbour|hill] lay golden [under|before] the window",
            ],
            "bad": [
                "the view was [a wall|a grey yard|nothing but a wall|sad]",
                "from the window {me.we} saw [only a wall|the rubbish|a dead tree|nothing]",
                "the window [did not open|was dirty|showed {me.us} a coal yard]",
            ],
        },
        "price": _PRICES,
    },
    "cafe": {
        "food": _FOOD,
        "coffee": {
            "good": [
                "the coffee was [hot|strong|strong and hot|very good]",
                "the tea [came|was served] in a [warm|big|pretty] pot [with honey|with lemon|with a smile]",
                "{me.we} drank [two|three|four|five] cups of [coffee|tea|cocoa] and wanted more",
            ],
            "bad": [
                "the coffee was [cold|weak|weak and cold|like dirty water]",
                "the tea [came|was served] in a [dirty|broken|cold] cup",
                "{me.we} left [the coffee|the tea|the cocoa] after one [sip|spoon]",
            ],
        },
        "staff": {
            "good": [
                "the [waiter|owner|cook|girl at the counter] was [kind|quick|friendly|full of jokes]",
                "the [waiter|owner] knew [{me.my} name|all the children|every guest]",
                "the [waiter|owner] [brought water for {me.my} {pet}|ran after {me.us} with {me.my} {thing}]",
                "{me.we} never waited [long|more than a minute]",
            ],
            "bad": [
                "the [waiter|owner|cook|girl at the counter] was [rude|slow|tired and rude|asleep]",
                "the [waiter|owner] forgot [{me.my} order|the spoons|{me.us} twice|the bread]",
                "the [waiter|owner] [kicked {me.my} {pet}|spilled soup on {me.my} {thing}]",
                "{me.we} waited [an hour|two hours] for [the soup|a spoon|the bill]",
            ],
        },
        "table": {
            "good": [
                "{me.we} sat [in the sun|by the fire|under an old tree|by the window] and did not want to leave",
                "the tables were [clean|large|in the sun|full of flowers]",
                "a man played the [fiddle|piano|flute] [softly|beautifully|all evening]",
            ],
            "bad": [
                "{me.we} sat [by the toilet|in the wind|between two fat men|near the smoke] and wanted to leave",
                "the tables were [dirty|sticky|too small|never cleaned]",
                "a man played the [fiddle|piano|flute] [badly|too loudly|without mercy]",
            ],
        },
        "price": _PRICES,
    },
    "boat": {
        "crew": {
            "good": [
                "the captain was [kind|calm|careful|full of good stories]",
                "the captain let [{me.us}|the children] [steer|ring the bell|look at the map]",
                "the crew [helped {me.us}|sang for {me.us}|gave {me.us} blankets|shared bread with {me.us}]",
                "a sailor [jumped in after {me.my} {thing}|taught {me.us} a knot|carried the old people]",
            ],
            "bad": [
                "the captain was [rude|drunk|lost|asleep half of the time]",
                "the captain [shouted at|laughed at|forgot] [{me.us}|the children]",
                "the crew [quarrelled|played cards|did nothing] [the whole way|in the storm]",
                "a sailor [dropped {me.my} {thing} into the sea|stepped on {me.my} bags|stole {me.my} bread]",
            ],
        },
        "seats": {
            "good": [
                "the seats were [dry|soft|clean|wide and dry]",
                "there was room for [everyone|{me.my} bags|{me.my} {pet}|ten more people]",
                "the boat was [clean|new|steady|freshly painted]",
            ],
            "bad": [
                "the seats were [wet|hard|broken|full of fish]",
                "there was no room for [{me.us}|{me.my} bags|{me.my} {pet}|one more sardine]",
                "the boat was [dirty|old and wet|too full|full of holes]",
            ],
        },
        "trip": {
            "good": [
                "{me.we} [arrived|left] [on time|early|to the minute]",
                "the sea was [calm|blue|like glass] and the trip was [short|pleasant|over too soon]",
                "the trip took [{few}|twenty|thirty] minutes, and {me.we} enjoyed every one",
            ],
            "bad": [
                "{me.we} [arrived|left] [{few} hours late|after dark|a day late]",
                "the sea was rough and [{me.we} {me.was} sick|nobody gave {me.us} a bucket|everybody was sick]",
                "the trip took {few} hours, and {me.we} hated every one",
            ],
        },
        "view": {
            "good": [
                "{me.we} saw [seals|a whale|dolphins|the white cliffs|a hundred gulls] [on the way|near the "
                "island|at sunset]",
                "the view of the [coast|town|lighthouse|island] was [lovely|wonderful|worth the trip]",
            ],
            "bad": [
                "{me.we} saw [nothing|only fog|only rain|the back of a tall man] [on the way|all day]",
                "the view was [grey|nothing but fog|hidden by a wet sail]",
            ],
        },
        "price": _PRICES,
    },
    "museum": {
        "rooms": {
            "good": [
                "the rooms were [bright|quiet|clean|warm and bright]",
                "the house itself is [beautiful|a treasure|worth a visit]",
                "there was [a bench|a lamp|a chair] in every room for tired [feet|eyes|people]",
            ],
            "bad": [
                "the rooms were [dark|cold|dirty|dark and cold]",
                "the roof leaks and [the floor is wet|the maps are wet|it smells of mice]",
                "there was no [bench|chair|toilet] in the whole house",
            ],
        },
        "collection": {
            "good": [
                "{me.we} [loved|enjoyed] the old [ships|maps|clocks|dolls|bones] [best|most of all]",
                "the {thing} of {job.a} [is the best piece|made {me.us} laugh|made {me.us} cry|was wonderful]",
                "there was so much to see that {me.we} stayed {few} hours",
            ],
            "bad": [
                "half of the [ships|maps|clocks|dolls|bones] were [broken|missing|made of paper]",
                "the only thing to see was the {thing} of {job.a}",
                "{me.we} saw everything in {few} minutes and [yawned twice|{me.was} bored|left]",
            ],
        },
        "guide": {
            "good": [
                "the guide was [funny|clever|patient|kind] and knew every [story|name|nail]",
                "the guide [let {me.us} touch {thing.a}|showed {me.us} a secret door|answered {few} questions]",
                "the children [loved|listened to|followed] the guide [for an hour|all day]",
            ],
            "bad": [
                "the guide was [rude|bored|late|tired] and knew [nothing|less than a child|only one story]",
                "the guide [locked {me.us} in|lost half of the group|talked about {thing.a} for {few} hours]",
                "the children [fell asleep|cried|ran away] after [{few} minutes|the first room]",
            ],
        },
        "price": _PRICES,
    },
    "shop": {
        "goods": {
            "good": [
                "{me.my} new {thing} is [beautiful|strong|just right|a joy]",
                "the {thing} [works|still works] after {few} [weeks|months|years]",
                "they have everything from [pins|soap|nails] to [sails|stoves|pianos]",
                "everything was [new|clean|well made|fresh]",
            ],
            "bad": [
                "{me.my} new {thing} [broke|fell apart|was broken] [on the way home|after {few} days|the same day]",
                "the {thing} smells of [fish|mice|old soup]",
                "they had [nothing|neither soap nor nails|only dust and dead flies]",
                "everything was [old|dirty|badly made|broken]",
            ],
        },
        "staff": {
            "good": [
                "the [owner|seller|young man] was [kind|honest|patient|very helpful]",
                "the [owner|seller|young man] [repaired {me.my} {thing} for nothing|gave the children "
                "sweets|wrapped it up nicely]",
                "{me.we} got help [at once|with a smile|before asking]",
            ],
            "bad": [
                "the [owner|seller|young man] was [rude|lazy|dishonest|very slow]",
                "the [owner|seller|young man] [shouted at {me.us}|would not look up|talked only to a "
                "parrot|broke {me.my} {thing}]",
                "{me.we} waited [{few} minutes|an hour] and nobody [came|asked|looked up]",
            ],
        },
        "place": {
            "good": [
                "the window is [pretty|bright|full of lights] and [draws|calls] you in",
                "the shop is [clean|warm|bright and tidy] and smells of [wood|soap|coffee|apples]",
                "it is [easy to find|open on Sunday|next to the station|open till late]",
            ],
            "bad": [
                "the window is [dirty|empty|broken] and nobody [cares|cleans it]",
                "the shop is [dark|cold|dark and narrow] and smells of [cats|fish|smoke|old socks]",
                "it is [hard to find|closed half of the week|never open on time]",
            ],
        },
        "price": _PRICES,
    },
}

OPENINGS: dict[str, list[str]] = {
    "inn": [
        "{me} stayed [here|at this house] for {few} [nights|days] in [{season}|May|June|August].",
        "{me} came [late at night|in the rain|from the ferry|without a plan] and stayed {few} nights.",
        "{me} spent {few} nights here [in {season}|by the sea|in the rain].",
    ],
    "cafe": [
        "{me} [had lunch|ate|had supper|stopped] here [on Sunday|on Friday|after the market|before the theatre].",
        "{me} came here [for the {food}|because of the rain|after a long walk|for a birthday].",
    ],
    "boat": [
        "{me} took the [morning|evening|noon|last] boat [to the island|across the bay|to the lighthouse].",
        "{me} went [to the island|across the bay|out to the seals] [on Sunday|in {season}|with {pet.a}].",
    ],
    "museum": [
        "{me} went [on a rainy day|on Sunday|in {season}|with {few} children|after lunch].",
        "{me} came to see the [ships|old maps|clocks|dolls|bones] [on Sunday|in {season}|before the ferry].",
    ],
    "shop": [
        "{me} bought {thing.a} here [on Monday|in {season}|last week|for a friend|for a wedding].",
        "{me} went in for {thing.a} [on Saturday|in the rain|before a trip|by chance].",
    ],
}

VERDICTS = {
    "5": [
        "{me.we} will [come|be] back [soon|in {season}|next year|every year].",
        "[go there|don't miss it|tell your friends].",
        "the best in [town|the harbour|the whole bay].",
    ],
    "4": [
        "{me.we} would go again.",
        "not perfect, but [good|better than most|a pleasure].",
        "on the whole {me.we} {me.was} [happy|glad|pleased].",
    ],
    "3": [
        "so it was [half good and half bad|neither good nor bad|a mixed day].",
        "[maybe|perhaps] {me.we} will [try|come] again.",
        "some things are right and some are wrong.",
    ],
    "2": [
        "{me.we} would not go again.",
        "{me.we} expected [more|better].",
        "on the whole {me.we} {me.was} [disappointed|sad|not pleased].",
    ],
    "1": [
        "never again.",
        "[stay at home|don't go there|tell your enemies].",
        "the worst in [town|the harbour|the whole bay].",
    ],
}

# How a sentence is joined to the one before it: by what that one said and what this one says.
_JOINS = {
    ("good", "good"): "[~6|also, ~1|besides, ~1|and ~2]",
    ("bad", "bad"): "[~6|also, ~1|worse, ~1|and ~2]",
    ("good", "bad"): "[but ~4|sadly, ~2|however, ~2|~1]",
    ("bad", "good"): "[but ~4|luckily, ~2|still, ~2|~1]",
}
_OPPOSITE = {"good": "bad", "bad": "good"}


def _voice(who: str) -> Entity:
    """Build the one who tells: `who` at first mention, then I or we with their forms."""
    alone = who == "I"
    words = ("I", "my", "me", "was") if alone else ("we", "our", "us", "were")
    return Entity(who, "voice", dict(zip(("we", "my", "us", "was"), words)))


_PAIRS = ("my wife", "my husband", "my brother", "my sister", "my aunt", "a friend")
LOCAL_KINDS["voice"] = [
    (_voice("I"), 5.0),
    (_voice("we"), 5.0),
    *((_voice(f"{other} and I"), 1.0) for other in _PAIRS),
]
# Where no opening says who was there, only I and we can be told apart.
LOCAL_KINDS["plain voice"] = LOCAL_KINDS["voice"][:2]
LOCAL_KINDS["pet"] = [
    pair for pair in LEXICON["animal"] if pair[0].name in ("dog", "cat", "rabbit", "parrot", "goat", "turtle")
]


def rating(n_good: int, n_bad: int) -> int:
    """Return the stars, 1 to 5, that follow from the aspects: 1 + 4 * (share of good ones), rounded, halves down."""
    n = n_good + n_bad
    return 1 + (8 * n_good + n - 1) // (2 * n)


HEADER = "Review of the {venue}: "
_LIKING = {"good": 1, "bad": -1}


def _aspect(venue: str, aspect: str, joins: dict[str, str]) -> Beat:
    """An aspect in a sentence of its own; `joins` is what stands before a good one and before a bad one."""
    clauses = CLAUSES[venue][aspect]
    options = {value: [f"{join}{clause}." for clause in clauses[value]] for value, join in joins.items()}
    return Beat(aspect, options, by=aspect, valence=_LIKING)


def _pair(venue: str, first: str, second: str, header: str = "") -> Beat:
    """Two aspects that disagree, in one sentence; the key is what is said of the first."""
    told = {
        (aspect, value): "[" + "|".join(CLAUSES[venue][aspect][value]) + "]"
        for aspect in (first, second)
        for value in _OPPOSITE
    }
    options = {}
    for value, other in _OPPOSITE.items():
        one, two = told[first, value], told[second, other]
        options[value] = [f"{header}{one}, but {two}.", f"{header}although {one}, {two}."]
    return Beat(f"{first}_{second}", options, by=first)


def _ending() -> list[Beat]:
    """The verdict and the line of stars, both of which follow from the aspects."""
    stars = {key: [f"{key} star{'' if key == '1' else 's'}."] for key in VERDICTS}
    return [
        Beat("verdict", VERDICTS, by="stars", p=0.35, valence={"5": 1, "4": 1, "3": 0, "2": -1, "1": -1}),
        Beat("stars", stars, by="stars", p=0.45, valence={"5": 1, "4": 1, "3": 0, "2": -1, "1": -1}),
    ]


def _schema(venue: str, beats: list[Beat], voice: str = "voice", weight: float = 1.0) -> Schema:
    """A review of a kind of venue with the given beats."""
    roles = {"venue": venue, "me": voice, "food": "food", "thing": "thing", "job": "job", "pet": "pet"}
    roles |= {"coins": "coins", "few": "few", "season": "season"}
    return Schema(venue, roles, beats, weight=weight, kinds=LOCAL_KINDS)


def _everything(venue: str, weight: float) -> Schema:
    """Every sentence that a review of this kind of venue can hold, for reading reviews back."""
    anywhere = {
        value: "[" + "|".join(join[1:-1] for (_, now), join in _JOINS.items() if now == value) + "]"
        for value in _OPPOSITE
    }
    beats = [Beat("opening", [HEADER + opening for opening in OPENINGS[venue]])]
    for aspect in CLAUSES[venue]:
        beats.append(_aspect(venue, aspect, dict.fromkeys(_OPPOSITE, HEADER)))
        beats.append(_aspect(venue, aspect, anywhere))
        for other in CLAUSES[venue]:
            if other != aspect:
                beats += [_pair(venue, aspect, other, HEADER), _pair(venue, aspect, other)]
    return _schema(venue, beats + _ending(), weight=weight)


SCHEMAS: list[Schema] = [
    _everything("inn", 3.0),
    _everything("cafe", 2.5),
    _everything("boat", 2.0),
    _everything("museum", 1.5),
    _everything("shop", 2.0),
]
"""Every template of every kind of venue; `generate` tells a few of them in an order of its own."""


def generate(draw: Draw) -> Document:
    """Draw a venue, which aspects are told, in what order and how good each was, and tell the review."""
    venue = draw.pick(SCHEMAS, weights=[schema.weight for schema in SCHEMAS]).name
    count = draw.pick([2, 3, 4], weights=[4, 4, 2])
    free, aspects, facts = list(CLAUSES[venue]), [], {}
    for _ in range(count):
        aspect = draw.pick(free)
        free.remove(aspect)
        # Good and bad come in runs, as in life: a place that does one thing well often does the next.
        same = draw.chance(0.65 if aspects else 0.58)
        before = facts[aspects[-1]] if aspects else "good"
        facts[aspect] = before if same else _OPPOSITE[before]
        aspects.append(aspect)
    n_good = sum(value == "good" for value in facts.values())
    facts["stars"] = str(rating(n_good, count - n_good))

    opened = draw.chance(0.55 if count < 4 else 0.3)
    beats = [Beat("opening", [HEADER + opening for opening in OPENINGS[venue]])] if opened else []
    position = 0
    while position < count:
        aspect, header = aspects[position], "" if beats else HEADER
        after = aspects[position + 1] if position + 1 < count else aspect
        if facts[aspect] != facts[after] and draw.chance(0.35):
            beats.append(_pair(venue, aspect, after, header))
            position += 2
            continue
        join = _JOINS[facts[aspects[position - 1]], facts[aspect]] if position else header
        beats.append(_aspect(venue, aspect, {facts[aspect]: join}))
        position += 1
    telling = tell(_schema(venue, beats + _ending(), "voice" if opened else "plain voice"), draw, facts=facts)
    return Document("review", [telling.text], {"schema": venue, "aspects": " ".join(aspects), **telling.record()})
