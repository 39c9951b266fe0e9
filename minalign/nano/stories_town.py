"""Stories of town life: fourteen event schemas (lost and found, a quarrel, a gift, a trade, a theft, ...).

Every schema draws its `outcome` (good, bad or open) first, and every telling shows it. Other story modules may import
`WHEN`, `FRIEND`, `FAMILY` (pieces of templates), `SHARED_ROLES` (the roles of these), `SCENE`, `CLOSING` and `town`.
"""

import re
from dataclasses import replace

from minalign.nano.grammar import Beat, Entity, Schema
from minalign.nano.lexicon import LEXICON, noun

# How stories end; the two clear endings are equally frequent, so that a first sentence promises neither.
OUTCOME = {"good": 5, "bad": 5, "open": 2}
VALENCE_OF_OUTCOME = {"good": 1, "bad": -1, "open": 0}

# A sentence's "when". Season and weather never stand together: no snowy summers.
WHEN = (
    "[one {daytime}|one {weather} {daytime}~3|on {weather.a} {daytime}~2|one {season} {daytime}|one {daytime} "
    "{season.in}]"
)
# The first mention of the second person.
FRIEND = "[{hero.his} {relation} {friend}~4|{relation.a} called {friend}|{relation.a} named {friend}]"
FAMILY = "[mother|father|aunt|uncle|grandmother|grandfather]"

SHARED_ROLES = {
    "hero": "person",
    "friend": "person",
    "relation": "relation",
    "place": "place",
    "daytime": "daytime",
    "weather": "weather",
    "season": "season",
    "mood": "mood_good",
    "gloom": "mood_bad",
    "number": "age",  # never 0 or 1, which would ask for another plural
}


def some(kind, names):
    """Return the lexicon's pairs of ``kind`` whose name is in the comma-separated ``names``."""
    wanted = set(names.split(", "))
    return [(entity, weight) for entity, weight in LEXICON[kind] if entity.name in wanted]


def nouns(kind, names):
    """Return unweighted pairs of new entities of ``kind`` with the form ``a``."""
    return [(noun(name, kind), 1.0) for name in names.split(", ")]


# Passers-by: one sentence of town life that has nothing to do with the hero. It makes no two tellings alike.
SCENE = Beat("scene", {
    "passer-by": [
        "[outside|nearby|across the street|not far away], {passer.a} was [selling|eating|carrying|cooking] {snack}.",
        "{beast.a} [slept|sat|lay|waited|scratched itself] [on a wall|under a cart|in the grass|{spot.at}].",
        "a [child|boy|girl] [chased|sang to|fell over|ran after] {beast.a} [near the {spot}|and laughed|on the way to "
        "school].",
        "it smelled of {snack} and [wet wool|salt|smoke|soap|{beast}].",
        "{passer.a} [walked|ran|hurried|danced] by with {item.a} [on one shoulder|in each hand|and {beast.a}|under "
        "{paint.a} coat].",
        "[the radio|an old man|{passer.a}] said that it would be {forecast} [that night|all week|by Sunday].",
        "{paint.a} boat with {load} [boxes|barrels|baskets|sacks] of {snack} came in, [slowly|late|with {beast.a} on "
        "deck].",
        "[{passer.a}|somebody|a woman in {paint}] was [shouting at|singing to|looking for] {beast.a} {spot.at}.",
        "the bell rang {few9} times, [as if there were a fire|for no reason|a little late], and {beast.a} "
        "[answered|ran].",
    ],
}, p=0.5)

# What the hero did afterwards, and what people said. Only where no passer-by was met: eight sentences are enough.
CLOSING = Beat("closing", {
    "good": [
        "for supper {hero} had {meal} and {meal2}, and [everything tasted good|even {beast2.a} got some|there was "
        "enough for {passer2.a}].",
        "on the way home {hero} [gave {passer2.a} {few9} coins|bought {trinket.a}|sang to {beast2.a}|danced with "
        "{passer2.a}].",
        "people {spot2.at} [talked|laughed|sang|told stories] about it for {load2} days.",
        "{passer2.a} [wrote a song|made a joke|told {passer3.a}] about it, and {hero} [laughed|hummed along|liked it].",
    ],
    "bad": [
        "for supper there was only {meal}, and {hero} [gave it to {beast2.a}|burnt it|did not touch it|ate it cold].",
        "on the way home {hero} [walked past {passer2.a} without a word|tripped over {trinket.a}|was bitten by "
        "{beast2.a}].",
        "people {spot2.at} [whispered|shook their heads|gossiped|made jokes] about it for {load2} days.",
        "the next day was {forecast2}, and {hero} stayed [in bed|indoors] with {meal} and {beast2.a}.",
    ],
    "open": [
        "for now {hero} [eats {meal}|feeds {beast2.a}|helps {passer2.a}|sits {spot2.at}] and waits.",
        "people {spot2.at} [ask about it|have bets on it|talk of nothing else] every day.",
        "{passer2.a} says that it will all be clear in {load2} days.",
    ],
}, by="outcome", p=0.6, when={"scene": None}, valence=VALENCE_OF_OUTCOME)

SCENE_ROLES = {
    "passer": "job",
    "beast": "animal",
    "snack": "food",
    "meal": "food",
    "item": "thing",
    "trinket": "thing",
    "spot": "place",
    "paint": "color",
    "forecast": "weather",
    "load": "age",
}

# Small variations that any template can take: how much one feels and how one says it.
VARIATIONS = (
    (re.compile(r"(felt|was|were) (\{mood\})"), r"\1 [~5|very |quite |truly |really |rather ]\2"),
    (re.compile(r"(felt|was|were) (\{gloom\})"), r"\1 [~5|very |quite |truly |really |rather ]\2"),
    (re.compile(r"(?<=\" \{hero\} )said|(?<=\" \{friend\} )said"), "[said~5|muttered|whispered|declared|murmured]"),
    (re.compile(r"(?<=\" )said"), "[said~5|muttered|whispered|declared|murmured]"),
    (re.compile(r"(?<=\?\" )asked"), "[asked~5|wondered|called]"),
)


def varied(template):
    """Return the template with the small variations put in."""
    for pattern, replacement in VARIATIONS:
        template = pattern.sub(replacement, template)
    return template


def numbered(beats, known):
    """Return the kinds of the roles that templates use and `known` lacks: the name without its digits says the kind."""
    templates = [template for beat in beats for key in beat.keys() or [""] for template in beat.templates(key)]
    used = {role for template in templates for role in re.findall(r"\{(\w+)", template)}
    return {role: known.get(role.rstrip("0123456789"), role.rstrip("0123456789")) for role in sorted(used - set(known))}


def town(name, beats, roles=None, weight=1.0, kinds=None, scene=1):
    """Build a schema with the shared roles and a drawn outcome; a passer-by may appear after `scene` beats.

    `roles` names only what is special: `job2` is another job and `beast2` another beast without being declared.
    """
    told = []
    for beat in beats:
        if isinstance(beat.options, dict):
            options = {key: [varied(template) for template in templates] for key, templates in beat.options.items()}
        else:
            options = [varied(template) for template in beat.options]
        told.append(replace(beat, options=options))
    told.insert(scene, SCENE)
    told.append(CLOSING)
    known = {**SHARED_ROLES, **SCENE_ROLES, **(roles or {})}
    return Schema(name, {**known, **numbered(told, known)}, told, weight, {"outcome": OUTCOME}, kinds or {})


SNATCHERS = some("animal", "dog, goat, duck, donkey, goose, fox, crow, seagull, parrot, squirrel, pony, otter, pig, "
"cat")

LOST_FOUND = town(
    "lost_found",
    [
        Beat("opening", [
            WHEN + " {hero} [took|carried|brought] {hero.his} {thing} {place.to}.",
            WHEN + " {hero} went {place.to} with {hero.his} {thing} [in a bag|under one arm|wrapped in paper].",
            "{hero} [had|owned] {thing.a} and took it everywhere, [even to bed|even to the bath|rain or shine].",
            "{hero} was {job.a} and never left home without {hero.his} {thing}.",
            "[the best thing|the only fine thing|the oldest thing] that {hero} owned was {thing.a}"
            "[ from {hero.his} " + FAMILY + "|].",
            "{hero} had [bought|found|borrowed] {thing.a} and wanted to show it to everyone {place.at}.",
        ]),
        Beat("cause", {
            "forgot~3": [
                "{hero} put the {thing} down {place2.at} and [forgot it|walked off without it].",
                "[on the way home|an hour later|at supper], {hero} remembered that the {thing} was still [lying "
                "|]{place2.at}.",
                "{hero} stopped to [talk about the weather|pet {animal.a}|tie a shoe] and left the {thing} [on a "
                "bench|on a wall].",
            ],
            "animal~2": [
                "{animal.a} [snatched|grabbed|stole] the {thing} and ran before {hero} could [shout|move|blink].",
                "{hero} looked away for one moment, and {animal.a} [ran off with|took] the {thing}.",
            ],
            "hole": [
                "there was a hole in {hero.his} [bag|pocket|basket], and the {thing} fell out [somewhere |]near the "
                "{place2}.",
                "the {thing} [slipped|fell] through a hole in {hero.his} [bag|pocket|basket] [without a sound|near "
                "the {place2}].",
            ],
            "crowd": [
                "[in the crowd|in the noise] {place2.at} somebody bumped into {hero}, and then the {thing} was gone.",
                "so many people pushed and shouted {place2.at} that {hero} lost the {thing} [in a moment|in the "
                "crowd].",
            ],
        }, valence=-1),
        Beat("search", [
            "{hero} and " + FRIEND + " looked [under every bench|in every corner|behind every door] {place2.at}.",
            FRIEND + " came [at once|with a lantern|without a coat] and helped to [look|search] for [an hour|{few} "
            "hours].",
            FRIEND + " [asked everyone|knocked at every door] [in the street|{place2.at}] while {hero} searched the "
            "grass.",
            "{hero} told " + FRIEND + ", and together they searched [the whole street|the whole town|every corner] "
            "[twice|until dark].",
        ]),
        Beat("asking", [
            '"Has anyone seen [my {thing}|{thing.a}]?" asked {hero} [again and again|at every door|in every shop].',
            '"Think hard, where did you [see it last|have it last]?" asked {friend}.',
            '"It cannot be far," {friend} said [kindly|calmly|more than once].',
            '"{thing.A} does not [walk|swim|fly] away," [said {friend}|{friend} said].',
            '"I would give {price} coins to have it back," [said {hero}|{hero} said].',
        ], p=0.55),
        Beat("trace", [
            "[they found|there was] nothing but [an old shoe|a wet newspaper|{color.a} button|a sleeping cat].",
            "[the {job2}|a child|an old man] [pointed at|had seen something near] the {place3}.",
            "{hero} even looked [in the bread box|inside a boat|under a sleeping dog], just in case.",
        ], p=0.4),
        Beat("return", [
            "in the end the {animal} [came back|grew bored] and [dropped|laid] the {thing} at {hero.his} feet.",
            "they followed the {animal} and found the {thing} [in its nest of straw|behind a barrel], [wet|a little "
            "dirty] but whole.",
        ], when={"outcome": "good", "cause": "animal"}, valence=1),
        Beat("find", [
            "[at last|in the end], {friend} found the {thing} [under a bench|behind a barrel|between two boxes].",
            "[the next day|that evening], [the {job2}|a child] [knocked at the door|came by] and gave the {thing} "
            "back to {hero}.",
            "[the next day|in the end] the {thing} was found [on a shelf|on a wall|in the mud] {place2.at}, not even "
            "[wet|broken].",
            "{friend} laughed, for the {thing} had been [on {hero.his} back|in {hero.his} other bag|at home] [all "
            "along|the whole time].",
        ], when={"outcome": "good", "cause": ("forgot", "hole", "crowd")}, valence=1),
        Beat("end", {
            "bad": [
                "they never [found|saw] the {thing} again.",
                "[the next day|a week later] they found the {thing}, but [it was broken|it was ruined|the rain had "
                "ruined it].",
                "[when it grew dark|after {few} hours] they gave up, and the {thing} stayed lost.",
                "{friend} saw the {thing} [at the bottom of the river|under a cart wheel|far out at sea], where "
                "nobody could save it.",
            ],
            "open": [
                "it grew dark, and {hero} [wrote a note for the door {place2.at}|decided to look again the next day].",
                "a stranger was said to [have it|know more], but the stranger had [taken the ferry|left for the "
                "hills].",
                "perhaps somebody {place2.at} will find the {thing} [one day|soon].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} was so {mood} that {hero.he} [kissed the {thing}|bought tea for everyone|danced home].",
                "{hero} [hugged|thanked] {friend} and felt {mood}[ all evening|].",
                "{hero} felt {mood} and tied the {thing} to [a long|a short|{color.a}] string.",
                "{friend} got {food.a} as a reward, and {hero} was {mood}.",
            ],
            "bad": [
                "{hero} felt {gloom} and [did not eat that night|went home alone|said nothing all evening].",
                "{hero} was {gloom}, and no new {thing} was [ever as good|as dear as the old one].",
                "{friend} brought {food.a}, but {hero} was too {gloom} to eat.",
            ],
            "open": [
                "{hero} [slept badly|listened at the door], half {gloom} and half {mood}.",
                "since then {hero} looks [at every bench|into every bag] [twice|with care].",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"animal": "snatcher"},
    kinds={"snatcher": SNATCHERS},
)

QUARREL = town(
    "quarrel",
    [
        Beat("opening", [
            WHEN + " {hero} and {hero.his} {relation} {friend} [met|had lunch|sat in the shade|were playing cards] "
            "{place.at}.",
            "{hero} and {hero.his} {relation} {friend} had [shared a workshop|shared a boat|sung together] for {age} "
            "years.",
            "{hero} was {job.a}, and {friend}, {hero.his} {relation}, was {job2.a}.",
            "everybody {place.at} knew {hero} and {hero.his} {relation} {friend}, who did everything together.",
            "{hero} and " + FRIEND + " had [bought {thing2.a}|rented a boat|planned a trip|kept {animal.a}] together.",
        ]),
        Beat("cause", {
            "broke": [
                "then {friend} [sat on|dropped|stepped on] {hero}'s {thing} and broke it.",
                "but {friend} broke the {thing} that {hero} loved, and [blamed the {animal}|said nothing].",
            ],
            "joke": [
                "then {friend} made a [rude|bad|long] joke about {hero}'s [singing|nose|cooking|hat], and everyone "
                "laughed.",
                "but {friend} [laughed at|made fun of] the {color} [hat|coat|boat] that {hero} was so proud of.",
            ],
            "money": [
                "then {friend} asked for the {price} coins that {hero} [had borrowed|still owed], in front of "
                "everyone.",
                "but {hero} [said|thought] that {friend} owed {hero.him} {price} coins, and {friend} said it was "
                "{price2}.",
            ],
            "late": [
                "but {friend} came {few} hours late, and {hero} had waited [in the wind|in the cold|without lunch].",
                "then {friend} forgot that {hero} was waiting {place2.at}, and {hero} [got wet to the skin|missed "
                "the last boat].",
            ],
            "food": [
                "then {friend} ate the last of the {food}, which {hero} had [saved for later|made for a sick aunt].",
                "but {friend} [spat out|fed to a dog] the {food} that {hero} had cooked for {few} hours.",
            ],
        }, valence=-1),
        Beat("words", [
            '"You never think of anyone but yourself!" shouted {hero}.',
            '"That was [mean|unkind|foolish]," {hero} replied [coldly|quietly], and {friend} [grew red|shrugged].',
            '"It is only [a small thing|a joke|Monday], so do not cry about it," [said {friend}|{friend} said].',
            "[a loud word|one word] led to another, and soon {hero} and {friend} shouted [like two seagulls|like "
            "market traders].",
            '"Then find yourself another {relation}!" cried {friend}.',
            "{hero} [slammed the door|kicked a bucket|threw a shoe], and {friend} [left without a word|called {hero} "
            "a goat].",
        ], valence=-1),
        Beat("silence", [
            "for {few} days they [did not speak|walked on different sides of the street|did not greet each other].",
            "{hero} ate lunch alone and [talked only to {animal.a}|found that it tasted of nothing].",
            "{hero} [wrote|tore up|burnt] {few} letters and sent [none of them|only an empty one].",
            "{friend} bought {hero}'s favourite {food} {place2.at} and ate it alone.",
            "{friend} [passed|walked by] {hero}'s window every {daytime2} and [looked the other way|whistled too "
            "loudly].",
            "even [the {job3}|the old people] {place2.at} asked [what was wrong|why it was so quiet].",
        ], p=0.6, valence=-1),
        Beat("turn", {
            "good": [
                "then {friend} came with {food.a} and [apologised|said sorry], and {hero} [forgave|hugged] {friend}.",
                "in the end {hero} wrote a note with [one word, sorry|three words and a heart], and {friend} [ran "
                "over|came] at once.",
                "then a storm took {hero}'s [roof|fence], and {friend} was the first to come and help.",
                '"I was wrong, and I miss you," {hero} said, and {friend} [began to cry|took {hero.his} hand|nodded].',
                "[the {job3}|a child] locked them both in the [kitchen|boat shed], and after an hour {hero} and "
                "{friend} were laughing.",
            ],
            "bad": [
                "{hero} sent a letter, but {friend} [tore it up|sent it back unopened|burnt it].",
                "{friend} moved away [that {season2}|without saying goodbye], and they never spoke again.",
                "neither {hero} nor {friend} would say sorry first, and the friendship was over.",
                "{friend} found [other|new] friends and [did not even nod|turned away] when {hero} said good morning.",
            ],
            "open": [
                "{hero} stands at {friend}'s [door|gate] with {food.a} and has not [knocked|rung] yet.",
                "[yesterday|last week] {friend} smiled at {hero} for a moment, but nobody knows what it meant.",
                "they still do not talk, but somebody [waters {hero}'s flowers|leaves apples at {hero}'s door] every "
                "week.",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} felt {mood}, and {friend} [paid for supper|sang all the way home].",
                "since then {hero} and {friend} [laugh about it|quarrel only about cards], and both are {mood}.",
                "{hero} was {mood} to [have {friend} back|hear {friend} laugh again].",
            ],
            "bad": [
                "{hero} felt {gloom} whenever somebody [said {friend}'s name|laughed like {friend}].",
                "{hero} kept an empty chair at the table and was {gloom}.",
                "it was a [small|silly] thing, and it made {hero} {gloom} for [years|a long time].",
            ],
            "open": [
                "{hero} does not know whether to be {gloom} or {mood}.",
                "[people {place2.at}|the neighbours] [have made bets|hope for the best].",
            ],
        }, by="outcome", p=0.75, valence=VALENCE_OF_OUTCOME),
    ],
    {"age": "years", "daytime2": "daytime2"},
    kinds={"years": LEXICON["age"][:49], "daytime2": some("time", "morning, evening")},
)

GIFT = town(
    "gift",
    [
        Beat("opening", [
            WHEN + " {hero} wanted to give something to {hero.his} {relation} {friend}.",
            "{hero} [thought|wondered] for {few} days about a present for {hero.his} {relation} {friend}.",
            "{friend}, {relation.a} of {hero}, had [been ill|worked hard|been kind] all {season}, and {hero} planned "
            "a gift.",
            "{hero}, {job.a}, owed a big favour to {hero.his} {relation} {friend}.",
            WHEN + " {hero} heard that {hero.his} {relation} {friend} [needed|dreamed of|had always wanted] {thing.a}.",
        ]),
        Beat("cause", {
            "bought": [
                "{hero} bought {thing.a} {place.at} for {price} coins[, all that {hero.he} had|].",
                "{hero} saved {price} coins in a jar and [at last |]bought {thing.a} {place.at}.",
            ],
            "made": [
                "{hero} sat up {few} nights and made {thing.a} with {hero.his} own hands.",
                "{hero} could not afford one, so {hero.he} made {thing.a} out of [old wood|wire and paper|wool and "
                "hope].",
            ],
            "old": [
                "{hero} chose {hero.his} own {thing}, a [dear|very old] gift from {hero.his} " + FAMILY + ".",
                "in the attic {hero} found {thing.a}, cleaned it and [painted it {color}|tied a ribbon around it].",
            ],
            "food": [
                "{hero} [made|prepared|saved] {food.a}, {friend}'s favourite, and put the {thing} on top for luck.",
                "{hero} filled a basket with {food} and hid {thing.a} [at the bottom|under a napkin].",
            ],
        }),
        Beat("wrapping", [
            "{hero} wrapped everything in {color} paper, [with far too much string|with a bow|twice].",
            "the {color} parcel [looked like a cabbage|looked lovely|was bigger than {hero.his} head].",
            "on the card {hero} wrote a [short|funny|clumsy] poem about {animal.a}.",
            "{hero} carried it [through the wind|across the bridge|past the {place2}] as if it were [an egg|a baby].",
        ], p=0.6),
        Beat("handing", [
            '"This is for you," {hero} said, and [held out the parcel|grew red|looked at the floor].',
            '"Close your eyes and open your hands," {hero} told {friend}.',
            "{hero} [left it on {friend}'s step|hung it on {friend}'s door], [rang and ran|knocked and hid behind a "
            "tree].",
            "[after supper|over tea|at the door] {hero} handed it to {friend} [with a bow|without a word].",
            '"For me?" asked {friend}, [who never got presents|and sat down slowly|with wide eyes].',
        ]),
        Beat("turn", {
            "good": [
                "{friend} [laughed out loud|cried for joy|danced around the table] and [hugged|kissed] {hero}.",
                '"It is the [best|kindest|loveliest] thing that anyone ever gave me," {friend} said.',
                "{friend} put the {thing} [by the window|next to the bed|on the best shelf] and [showed it to|told] "
                "everyone.",
                "{friend} had a present for {hero} as well, and it was {thing.a} too, so they both [laughed|laughed "
                "until dark].",
            ],
            "bad": [
                "{friend} [looked at it coldly|did not even say thank you] and [put it in a drawer|gave it to the "
                "{animal}].",
                '"But I already have {few} of these," {friend} said [and yawned|with a frown|coldly].',
                "when {friend} opened it, the {thing} was [broken|cracked|in two pieces], and {hero} [wept|could not "
                "say a word].",
                "a week later {hero} saw the {thing} for sale {place2.at} [for {price2} coins|in a box of junk].",
            ],
            "open": [
                "{friend} [shook it|smelled it] and said that it must wait, so it stands unopened [on a shelf|under "
                "the bed].",
                "{friend} was out, so the parcel still lies [on the step|by the door].",
                "{friend} said nothing, and {hero} [is still guessing|cannot tell] what that [meant|silence meant].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} went home {mood}, [with empty hands|with empty pockets|humming].",
                "giving left {hero} {mood} for [days|a week|longer than any party].",
                "that night both {hero} and {friend} were {mood}.",
            ],
            "bad": [
                "{hero} felt {gloom} and [swore never to give anything again|walked home the long way].",
                "all that work had been for nothing, and {hero} was {gloom}.",
                "{hero} smiled politely, but {hero.he} was {gloom} [inside|for days].",
            ],
            "open": [
                "{hero} passes {friend}'s window [every day|twice a day] to look.",
                "{hero} tells {hero.himself} to be patient, which is hard.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
)

GUESTS = nouns("guest", "sailor, baker, teacher, postal worker, band of six, whole choir, old captain, very deaf aunt")

CAKES = [pair for pair in LEXICON["food"] if pair[0].name.endswith(("cake", "pie", "tart", "bread"))]

BIRTHDAY = town(
    "birthday",
    [
        Beat("opening", [
            WHEN + " {hero} turned {age} and [invited everyone|set a long table] {place.at}.",
            "{hero} was going to be {age}, and [the whole street|even the {animal}] knew it.",
            "it was {hero}'s birthday, number {age}, and [the kettle|the cat] was the first to [sing|notice].",
            "[for a week|for {few} days] {hero} had counted the hours until {hero.his} birthday.",
            "{hero}, {job.a}, [never liked|had always loved|often forgot] birthdays, and this was number {age}.",
        ]),
        Beat("cause", {
            "cake~2": [
                "{hero} baked {cake.a} with [{age2} candles|too much sugar|{color} icing].",
                "there was going to be {cake.a}, as big as [a cart wheel|a small boat|the oven allowed].",
            ],
            "music": [
                "{hero} [hired|asked for] a band with {few} drums and [one brave flute|a broken trumpet].",
                "{hero} had [practised a song|learned a dance] for the guests, [mostly|only] in the bath.",
            ],
            "garden": [
                "{hero} hung {color} lamps [in the apple tree|over the gate|along the fence].",
                "{hero} put {few} tables [in the garden|under the trees|in the yard] and a chair for the {guest}.",
            ],
        }),
        Beat("wait", [
            "at {hour} o'clock {hero} [put on a clean shirt|combed {hero.his} hair|lit the candles] and waited.",
            "{hero} had invited {number} people, [and a goat|among them the mayor|and the {guest}].",
            '"Will anybody come?" asked {hero}, [with an eye on the {animal}|pale with fear].',
            "{hero} [looked down the street|went to the window] [again and again|every two minutes].",
            "[the clock|the church bell] struck {hour}, and the street was [empty|very quiet].",
        ]),
        Beat("turn", {
            "good": [
                "then the door flew open, and [half the town|a crowd from the {place2}] [sang|shouted] a birthday "
                "song.",
                "then {thing.a} came by [boat|post|donkey], with love from all the people {place2.at}.",
                "they all came [at once|in the end], even the {guest}, and they danced until [the lamps went out|the "
                "floor shook].",
                "[behind the shed|in the dark kitchen] {number} friends had hidden, and they [cheered|jumped up] "
                "like one.",
            ],
            "bad": [
                "nobody came[, not even the {guest}|, and the candles burnt down|].",
                "then {animal.a} [jumped on the table|came in through the window] and [ate everything|ruined "
                "everything].",
                "a storm blew the tables [over|into the sea], and the guests [ran home|stayed at home].",
                "the guests came, [ate|drank] in silence and quarrelled about {thing.a} until {hero} [cried|sent "
                "them home].",
            ],
            "open": [
                "a parcel came [from far away|without a name], and {hero} has put it [on the table|by the bed] and "
                "[not opened it|waits].",
                "then a message came that the guests [were still on the ferry|had missed the train] and might come "
                "[the next day|late].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("speech", {
            "good": [
                '"I thought you had all forgotten me," said {hero}, [laughing|with wet eyes].',
                '"Make a wish!" they cried, and {hero} [could not think of one|wished for the same again].',
                '"You look not a day over {number2}," [said the {guest}|the {guest} said].',
                "[the {guest}|the {job2}] gave {hero} {thing.a}, [nearly new|tied with {color} string].",
            ],
            "bad": [
                '"Next year I will be {age} again and tell nobody," {hero} [said|told the {animal}].',
                '"So much for growing older," {hero} said and [blew out the lamps|washed {number2} plates].',
                "{hero} ate the last of the [cake|soup] [standing|in the dark|from the pot].",
            ],
            "open": [
                '"A birthday can last two days," {hero} told the {animal}.',
                "{hero} left one lamp [burning|in the window], [just in case|for luck].",
            ],
        }, by="outcome", p=0.65, valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} had never felt so {mood}.",
                "[that night|long after midnight] {hero} went to bed {mood}, [with cake in {hero.his} hair|with sore "
                "feet].",
                "{age} years old or not, {hero} was as {mood} as a child.",
            ],
            "bad": [
                "{hero} felt {gloom} and [very |]old.",
                "{hero} was {gloom} and went to bed at {hour2} o'clock.",
                "it was the worst birthday of them all, and {hero} was {gloom}.",
            ],
            "open": [
                "{hero} was not sure whether to feel {mood} or {gloom}.",
                "nobody can say yet what sort of birthday it was.",
            ],
        }, by="outcome", p=0.85, valence=VALENCE_OF_OUTCOME),
    ],
    {"number": "crowd", "age": "adult", "age2": "age"},
    kinds={"guest": GUESTS, "cake": CAKES, "crowd": LEXICON["age"], "adult": LEXICON["age"][16:]},
    scene=3,
)

# What is sold by the pot or the basket (mass nouns), and what the others sell (plurals).
WARES = nouns("ware", "honey, cheese, bread, butter, smoked fish, wool, soap, berry jam, salt, tea, soup, chocolate, "
"paint")
GOODS = nouns("goods", "buttons, apples, hats, onions, eggs, flowers, old books, fish hooks, candles, boots")

MARKET_TRADE = town(
    "market_trade",
    [
        Beat("opening", [
            WHEN + " {hero} went {place.to} to sell {few} baskets of {ware}.",
            WHEN + " {hero} set up [a small|a crooked|{color.a}] stall {place.at} and put out {hero.his} {ware}.",
            "{hero}, {job.a}, needed money for [the rent|new boots|a train ticket|{thing.a}] and had {ware} to sell.",
            "{hero} had made [far too much|enough|{crowd} pots of] {ware} and took it {place.to} to sell.",
            "[the first|the last|the smallest] stall {place.at} belonged to {hero}, who sold {ware}.",
        ]),
        Beat("cause", {
            "buyer~3": [
                "{friend}, {job2.a} with [deep pockets|a hard face|{color.a} hat], stopped and looked at {hero}'s "
                "{ware}.",
                "[before noon|at {hour} o'clock], {job2.a} called {friend} [picked up|pointed at|smelled] {hero}'s "
                "{ware}.",
            ],
            "swap": [
                "a trader named {friend} offered {hero} {thing2.a} for {hero.his} {ware}[, and no money|].",
                "{friend}, who sold {goods} in the next stall, wanted to swap {thing2.a} for {hero}'s {ware}.",
            ],
            "rival": [
                "but right across the way stood {friend}, who sold the same for {price2} coins.",
                "but {friend} had the next stall and [sang louder|shouted louder|rang a bell], and {hero} frowned.",
            ],
        }),
        Beat("haggling", [
            '"{price} coins," said {hero}, and {friend} [laughed|coughed|counted slowly].',
            '"For {price} coins I could [buy a horse|eat for a month|sail to the moon]," said {friend}.',
            '"My {ware} is the best between here and the [lighthouse|hills]," {hero} told {friend}.',
            "{hero} asked for {price}, {friend} offered {price2}, and {animal.a} [listened|yawned] beside them.",
            "they [talked|argued] for {few} minutes about [rain|fish|{price2} coins], as was the custom.",
            '"Make it {price2}, and I will carry your basket," [said {friend}|{friend} said].',
        ], when={"cause": ("buyer", "swap")}),
        Beat("contest", [
            "{hero} [painted a new sign|gave away small tastes|played the drum], and {friend} did the same.",
            '"Best {ware} in town, only {price} coins!" cried {hero} [in a deep voice|until it hurt|from a chair].',
            "{hero} went down to {price} coins, and {friend} went down to {price3}.",
            "{friend} told everybody that {hero}'s {ware} was [half sand|full of {animal} hair|older than the town "
            "hall].",
        ], when={"cause": "rival"}),
        Beat("deal", {
            "buyer": [
                "in the end {friend} paid {price4} coins, [a fair price|more than {hero} had hoped for], and they "
                "shook hands.",
                "{friend} smiled, paid {price4} coins and [ordered|asked for] {few} more for the next week.",
            ],
            "swap": [
                "{hero} agreed, and at home {hero.he} found {price4} silver coins inside the {thing2}.",
                "the swap was good, for the {thing2} was just what {hero} [needed|had been looking for {place2.at}].",
            ],
            "rival": [
                "at last {hero} and {friend} [laughed|shook hands], put the two stalls together and sold everything "
                "by {hour}.",
                "then [a whole ship's crew|a wedding party] came by and bought {hero}'s {ware} for {price4} coins.",
            ],
        }, by="cause", when={"outcome": "good"}, valence=1),
        Beat("no_deal", {
            "buyer": [
                "{friend} paid with {price4} coins, and that night {hero} saw that they were all [false|made of tin].",
                "{friend} [put it down again|walked off], and nobody else bought anything all day.",
                "{friend} took the {ware}, [ran for a purse|turned the corner] and never came back.",
            ],
            "swap": [
                "{hero} agreed, but the {thing2} [broke|fell apart] [on the way home|the next day].",
                "{hero} agreed, and then learned that the {thing2} was [stolen|worth nothing], and had to give it up.",
            ],
            "rival": [
                "by {hour} everyone had bought from {friend}, and {hero} had [sold nothing|earned {few} coins].",
                "{hero} lost {hero.his} temper, knocked over both stalls and had to pay {price4} coins.",
            ],
        }, by="cause", when={"outcome": "bad"}, valence=-1),
        Beat("undecided", [
            "{friend} said that such things must be [slept on|weighed], and will come back [on Friday|next week].",
            "then the {hour} o'clock bell rang, the market closed, and nothing was [settled|decided].",
            "[the market guard|the mayor] must decide now, and that takes {few} weeks.",
        ], when={"outcome": "open"}),
        Beat("evening", {
            "good": [
                "{hero} went home {mood} and ate {food2} [with both hands|with honey|twice].",
                "{hero} was {mood} and [whistled|sang] all the way [from the {place2}|up the hill].",
                "with the money {hero} bought {thing3.a} and felt {mood}.",
            ],
            "bad": [
                "{hero} packed up and was {gloom}, [with an empty purse|with wet feet].",
                "{hero} [counted|looked at] an empty purse and felt {gloom}.",
                "{gloom} and hungry, {hero} [pushed|pulled] the cart home.",
            ],
            "open": [
                "{hero} counts [the days|on nothing] and keeps the {ware} [under the bed|in the cellar].",
                '"Trade is like the sea," {hero} says, "it never says yes or no."',
            ],
        }, by="outcome", p=0.85, valence=VALENCE_OF_OUTCOME),
    ],
    {"crowd": "age", "price": "high", "price2": "low", "price3": "low", "price4": "price"},
    kinds={"ware": WARES, "goods": GOODS, "high": LEXICON["price"][38:], "low": LEXICON["price"][:38]},
)


def skill(name, doing, tool):
    """Build a skill: learn to `name`, {skill.doing}, and the {skill.tool} that it takes."""
    return Entity(name, "skill", {"doing": doing, "tool": tool})


SKILLS = [
    (skill("swim", "swimming", "cork belt"), 3.0),
    (skill("bake bread", "baking bread", "dough"), 3.0),
    (skill("play the flute", "playing the flute", "flute"), 2.0),
    (skill("play the violin", "playing the violin", "violin"), 2.0),
    (skill("sail", "sailing", "rudder"), 2.0),
    (skill("dance", "dancing", "ribbon"), 2.0),
    (skill("paint", "painting", "brush"), 1.0),
    (skill("ride a horse", "riding a horse", "saddle"), 1.0),
    (skill("mend nets", "mending nets", "net"), 1.0),
    (skill("play chess", "playing chess", "chess set"), 1.0),
    (skill("knit", "knitting", "wool"), 1.0),
    (skill("row", "rowing", "oar"), 1.0),
    (skill("milk a goat", "milking a goat", "bucket"), 1.0),
    (skill("read the stars", "reading the stars", "telescope"), 1.0),
]

LESSON = town(
    "lesson",
    [
        Beat("opening", [
            WHEN + " {hero} decided to learn to {skill}.",
            "at the age of {age}, {hero} still could not {skill}.",
            "{hero}, {job.a}, had dreamed of {skill.doing} [since childhood|for years|all {season}].",
            "everyone in {hero}'s family could {skill}, except {hero}.",
            "{hero} once told people {place.at} that {hero.he} could {skill}, and that was [not true|a lie|only half "
            "true].",
        ]),
        Beat("cause", {
            "friend~2": [
                FRIEND + " offered to teach {hero}, for {food.a} [a week|a lesson].",
                "{hero} asked " + FRIEND + " for help, and the lessons began {place2.at}.",
            ],
            "school": [
                "{hero} paid {price} coins for a course {place2.at}, where {friend} was the [strict|sleepy|famous] "
                "teacher.",
                "{place2.at} there was a class for beginners, and {friend}, {job2.a}, [taught|led] it.",
            ],
            "bet": [
                FRIEND + " bet {price} coins that {hero} would never learn it.",
                '"You will never learn it," said {hero.his} {relation} {friend}, and {hero} took the bet.',
            ],
        }),
        Beat("first", [
            "[the first lesson|the first try] ended [in the mud|with a black eye|after {few} minutes], and "
            "{animal.a} watched.",
            "at first {hero} held the {skill.tool} [upside down|like a broom|in the wrong hand].",
            "on the first {daytime2} {hero} [cut a finger|fell on {friend}|frightened {animal.a}].",
            "for {few} weeks [nothing worked|{hero} learned almost nothing|{hero} practised in secret].",
            "it looked easy when {friend} did it, but {hero} [only made a mess|made everybody laugh].",
        ], valence=-1),
        Beat("advice", [
            '"Slowly, the {skill.tool} can feel your fear," {friend} said.',
            '"Again," said {friend}, [for the {crowd}th time|who had never said anything else|and poured more tea].',
            '"Nobody is born with it, not even {animal.a}," [said {friend}|{friend} said].',
            '"Why is it so hard?" asked {hero}, [out of breath|covered in dust|close to tears].',
            "{friend} [told {hero} to think of {food}|drew a picture|counted aloud], which [helped|did not help] at "
            "all.",
        ], p=0.65),
        Beat("practice", [
            "{hero} practised every {daytime2}, [in rain and wind|behind the {place3}|until the neighbours "
            "complained].",
            "{hero} [dreamed|talked] of {skill.doing} and [forgot to eat|burnt the soup|missed the ferry].",
            "after {few} [weeks|months] {hero} was [a little better|only half as bad].",
        ], p=0.6),
        Beat("turn", {
            "good": [
                "then, on {weather2.a} {daytime3}, it [suddenly worked|went right], and {friend} [cheered|dropped "
                "the cup|clapped].",
                "[at the summer fair|at the wedding of {job3.a}] {hero} was asked to {skill}, and did it without one "
                "mistake.",
                "in the end {hero} could {skill} [better than {friend}|like {job3.a}|in the dark].",
                "today {hero} teaches [the children|beginners] {place3.at}, and {friend} sits in the first row.",
            ],
            "bad": [
                "on the day of the test {hero} [began to shake|forgot everything] and failed[ in front of {crowd} "
                "people|].",
                "then {hero} broke [the {skill.tool}|an arm], and the lessons were over.",
                "after {few2} months {friend} [gave up|sighed] and told {hero} to try {other} instead.",
                "{hero} [sold the {skill.tool}|burnt the notebook] and never tried again.",
            ],
            "open": [
                "the test is [next week|on Friday], and {friend} [keeps silent|only smiles] about it.",
                "{hero} is still learning, and {friend} still [brings tea|hopes|counts aloud].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} was so {mood} that {hero.he} [could not sleep|told {animal2.a}|did it all over again].",
                "{friend} [bowed|hugged {hero}], and {hero} felt {mood}.",
                "patience had paid off, and {hero} was {mood}.",
            ],
            "bad": [
                "{hero} felt {gloom} and [hid for {few3} days|would not speak of it].",
                "when other people talk of {skill.doing}, {hero} [leaves the room|looks at the floor], {gloom}.",
                "{hero} was {gloom}, and {friend} [did not know what to say|was tired too].",
            ],
            "open": [
                "some days {hero} is {mood}, and some days {gloom}.",
                "{hero} sleeps with the {skill.tool} [by the bed|in mind].",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"other": "hobby", "age": "adult", "crowd": "tens"},
    kinds={"skill": SKILLS, "adult": LEXICON["age"][16:], "tens": LEXICON["age"][18:99:10],
           "hobby": nouns("hobby", "fishing, gardening, cards, sleeping, singing, soup")},
    scene=3,
)

HIDDEN = nouns("hidden", "tunnel, boat, cave, room full of books, garden, stone stair, painted wall, well, owl's nest")

SECRET = town(
    "secret",
    [
        Beat("opening", [
            WHEN + " {hero} [wrote the truth on a paper|looked over {hero.his} shoulder] {place.at} and [burnt "
            "it|locked the door].",
            "{hero}, {job.a}, had a secret.",
            "{hero} never let anyone into the house[ near the {place}|], and there was a reason.",
            "for {few} years {hero} had kept a secret from everyone {place.at}.",
            "nobody {place.at} knew what {hero} did [on Sundays|after dark|behind the {place2}|between {hour} and "
            "midnight].",
        ]),
        Beat("cause", {
            "hidden": [
                "under the {place3} {hero} had found a [secret|dry|strange] {hidden}, and went there every {season2}.",
                "behind [{hero.his} house|an old cupboard] there was {hidden.a} that only {hero} knew.",
            ],
            "love": [
                "{hero} [was in love with|wrote poems to] {job2.a} {place3.at}, and blushed at the word "
                "[love|bread|fish].",
                "every week {hero} left {thing.a} on the step of {job2.a}, with no name on it.",
            ],
            "money": [
                "under the floor {hero} kept {thing.a} full of {price} gold coins.",
                "{hero} had {price} coins hidden in {thing.a} and told nobody where they came from.",
            ],
            "animal": [
                "{hero} was hiding {animal.a} in the [attic|bath|cellar], which the landlord did not allow.",
                "{hero} fed a wild {animal} [every night|with {food}|behind the shed], and the neighbours hated it.",
            ],
            "past": [
                "{hero} had once been {job2.a} [on a pirate ship|in another town|at a circus] and did not like to "
                "say so.",
                "{hero}'s famous {food} was really bought from {job2.a} for {price} coins.",
            ],
        }),
        Beat("told", [
            "one {daytime2} {hero} told " + FRIEND + ", in a low voice [and behind a barrel|over {food2}|under an "
            "umbrella].",
            "the secret grew [heavy|too big], so {hero} [shared it with|whispered it to] " + FRIEND + ".",
            "only " + FRIEND + " knew about it, because {friend} had [looked through a window|read a note|asked the "
            "right question].",
            "then " + FRIEND + " found out by accident, while looking for {thing2.a}.",
        ]),
        Beat("promise", [
            '"Swear that you will tell no one," {hero} [begged|whispered].',
            '"My lips are closed like {thing3.a}," {friend} [said|promised].',
            '"Is that all?" asked {friend}, [almost disappointed|with big eyes|and had to sit down].',
            "{friend} swore [by the moon|on a loaf of bread|with one hand on a goat] to tell nobody.",
            '"I never tell anything, except when I talk," said {friend}.',
        ], p=0.7),
        Beat("strain", [
            "it was hard for {friend}, who [talked even in sleep|loved news|could not lie].",
            "[the {job3}|an old aunt] asked questions, and {friend} [coughed|ate faster|talked about the rain].",
            "for {few2} days {friend} [walked around with a red face|spoke to nobody].",
        ], p=0.5),
        Beat("turn", {
            "good": [
                "but {friend} kept the promise, [year after year|even after {few3} glasses of wine], and the secret "
                "was safe.",
                "when it came out at last, everybody [laughed|clapped] and [liked {hero} even more|wanted to help].",
                "{friend} had a secret of the same kind, and the two [laughed until they cried|became friends for "
                "life].",
                "instead of telling it, {friend} helped {hero} to [say it aloud|put it right], and all went well.",
            ],
            "bad": [
                "the next {daytime3} [{number} people|the whole market|all the town] knew, and {friend} was the one "
                "who had told.",
                "{friend} sold the story to the newspaper for {price2} coins.",
                "then {friend} told it as a joke at a wedding, and {hero} [ran out|had to leave the town|stood there "
                "in tears].",
                "[the {job3}|the police] heard of it from {friend}, and {hero} [lost everything|had to pay {price2} "
                "coins].",
            ],
            "open": [
                "now {friend} has [written it down|asked for {price2} coins], and {hero} does not know why.",
                "somebody has [drawn|painted] {hidden2.a} on {hero}'s door, and it may or may not have been {friend}.",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} felt {mood}[, as light as a feather|, as if a stone had fallen from {hero.his} heart|].",
                "it is good to have {relation2.a} like {friend}, and {hero} was {mood}.",
                "{hero} was {mood} and [baked {food3.a} for {friend}|slept well again].",
            ],
            "bad": [
                "{hero} was {gloom} and never trusted {friend} again.",
                "{hero} felt {gloom}, and people {place4.at} [whispered|pointed] for {few3} weeks.",
                "from then on {hero} told {hero.his} secrets to {animal2.a}, and was still {gloom}.",
            ],
            "open": [
                "{hero} looks at {friend} and cannot decide whether to be {gloom}.",
                "{hero} lies awake and listens to the clock.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    kinds={"hidden": HIDDEN},
    scene=3,
)

BREAKABLE = some(
    "thing",
    "lantern, umbrella, watch, kettle, clock, lamp, music box, radio, camera, violin, toy boat, toy train, telescope, "
    "accordion, guitar, compass, drum, sewing box, stool, teapot",
) + nouns("thing", "bicycle, cart, oven, coffee mill, old boat, door bell, water pump, rocking chair")

REPAIR = town(
    "repair",
    [
        Beat("opening", [
            WHEN + " {hero}'s {broken} [stopped working|fell to pieces|gave a cough and died].",
            WHEN + " {hero} [dropped|sat on|tripped over] {hero.his} {broken}, and it broke.",
            "{hero}, {job.a}, could not work without {hero.his} {broken}, and now it was broken.",
            "the {broken} of {hero}'s {elder} had not worked for {age} years.",
            "there was a broken {broken} in {hero}'s [kitchen|yard|attic], and [it looked sad|everyone walked around "
            "it].",
        ], valence=-1),
        Beat("cause", {
            "self~2": [
                "{hero} opened it with [a spoon|a bread knife|a hammer] and [counted|lost] {number} tiny screws.",
                "{hero} [read a thick book about it|asked nobody|rolled up both sleeves] and began to take it apart.",
            ],
            "expert": [
                "{hero} brought it to {friend}, {mender.a} [with golden hands|with thick glasses|who could mend the "
                "moon].",
                "{hero} pushed it on a cart to the workshop of {friend}, the best {mender} in town.",
            ],
            "new": [
                "a new one cost {price} coins [{place.at}|in the shop window], and {hero} had only {few}.",
                "{hero.his} {relation} {friend} wanted to throw it [away|into the sea], but {hero} said no.",
            ],
        }),
        Beat("diagnosis", [
            "inside it was [full of sand|full of rust|dry as a bone], and {animal.a} had [slept|lived] in it.",
            "the [spring|wheel|screw|handle] was [bent|missing|worn thin], which was bad.",
            "out of it fell [a button|{few2} coins|a love letter|a dead bee].",
            "somebody had repaired it before, with [a fork|{thing.a}|{few2} hair pins|{color2} paint].",
            "it was [cold|warm|sticky] inside and [smelled of {food}|full of {food} crumbs].",
            "it [smelled of fish|rattled|made a sound like {animal.a}], and nobody knew why.",
        ], p=0.75),
        Beat("talk", [
            '"This needs patience and a [hair pin|new spring|drop of oil]," {hero} [said|muttered].',
            '"My {elder} mended it with {thing.a} once," said {hero}.',
            '"If it is to be done, then before supper," {hero} told the {broken}.',
            '"They do not make them like this any more," said {hero} [with pride|with a sigh].',
        ], p=0.5),
        Beat("work", [
            "the work took [all {daytime2}|{few3} evenings|half the night] and {few2} cups of tea.",
            "[for {few3} hours|until midnight] there was [hammering|knocking and cursing|the smell of oil] in the "
            "house.",
            "{hero} borrowed {thing2.a} from {job3.a} and [tied what could be tied|glued what could be glued].",
            "there was one [screw|wheel|spring] left over at the end, [as always|which was strange].",
            "they used wire, [glue|wax|string] and a piece of [{hero.his} coat|an old boat|{thing2.a}].",
        ]),
        Beat("turn", {
            "good": [
                "then the {broken} [shook|clicked|sneezed] once and worked [like new|better than before].",
                "at {hour} o'clock the {broken} was whole again, and {hero} [jumped for joy|kissed it].",
                "the {broken} has worked ever since, [though it hums a little|only backwards on Sundays].",
                "a child pressed [the right button|the {color} button], and the {broken} [started|came back to life].",
            ],
            "bad": [
                "but then there was a bang, and the {broken} [went up in smoke|fell into {number2} pieces].",
                "in the end the {broken} was worse than before, and [now the lamp was broken too|the cat was afraid "
                "of it].",
                "it cost {price2} coins, and the {broken} [broke again|stopped again] the very next day.",
                "nothing helped, and the {broken} ended [in the bin|as a flower pot|at the bottom of the harbour].",
            ],
            "open": [
                "now one last part must come by ship[, and the ship is late|].",
                "the {broken} is closed again, but nobody has [dared|wanted] to try it yet.",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} felt {mood} and looked for something else to mend.",
                "{hero} was {mood}, with [oil on {hero.his} nose|black hands|sore fingers].",
                "the whole street came to look, and {hero} was {mood}.",
                "{hero} was {mood} and [oils|dusts] it every {daytime3} now.",
            ],
            "bad": [
                "{hero} was {gloom} and kicked a bucket, [which hurt|which broke too].",
                "{hero} kept one little wheel of it in a pocket and felt {gloom}.",
                "{hero} felt {gloom}, and it was very quiet in the house.",
            ],
            "open": [
                "{hero} [walks around it|looks at it] every {daytime3} with [crossed fingers|held breath].",
                "{hero} says that waiting is half of every repair.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"broken": "breakable", "age": "years"},
    kinds={"mender": some("job", "clock maker, blacksmith, carpenter, locksmith, boat builder, glass blower"),
           "breakable": BREAKABLE, "years": LEXICON["age"][:49],
           "elder": nouns("elder", "grandmother, grandfather, aunt, uncle, father, mother")},
    scene=4,
)

NEW_JOB = town(
    "new_job",
    [
        Beat("opening", [
            WHEN + " {hero} began to work as {job.a} {place.at}.",
            "{hero} had been without work for {few} months when [a neighbour|somebody {place.at}] needed {job.a}.",
            "there was a note on the door: {job} wanted, {price} coins a week, and {hero} [knocked|went in].",
            "{hero} had always been {job2.a} and now wanted to become {job.a}.",
            "[after school|at {age}|to everyone's surprise], {hero} became {job.a}.",
        ]),
        Beat("boss", [
            "{hero.his} master was {friend}, who [never smiled|shouted a lot|sang all day|slept after lunch].",
            "{hero.his} {relation} {friend} was in charge there and [trusted nobody|loved order|drank {number} cups "
            "of coffee a day].",
            "old {friend}, who had done the work for {age2} years, showed {hero} [where everything was|how to hold "
            "{thing.a}].",
            '"The first rule is to [be on time|ask no questions|never feed the {animal}]," said the master, {friend}.',
        ]),
        Beat("cause", {
            "mistake~2": [
                "on the first day {hero} [dropped {thing2.a}|mixed up salt and sugar|fell asleep] in front of "
                "{friend}.",
                "after {few2} days {hero} [locked {friend} in the cellar|set fire to {thing2.a}], quite by accident.",
                "{hero} sent {number2} baskets of {food} to the wrong [island|town|house].",
            ],
            "crisis": [
                "then {friend} fell ill, and {hero} had to do everything alone [for {few2} days|on the busiest day].",
                "on {hero}'s first {daytime2} {number2} [guests|people|children] came at once, and {friend} was away.",
            ],
            "rival": [
                "another beginner [smiled more|was faster|knew everything], and there was room for only one.",
                "the other {job} did not like {hero} and [hid {hero.his} {thing2}|told lies about {hero}].",
            ],
        }, valence=-1),
        Beat("talk", [
            '"I can do better than that," {hero} [said|promised], with [red ears|shaking knees].',
            '"Did nobody teach you anything?" asked {friend}.',
            '"Everyone starts with two left hands," {friend} said.',
            '"A good {job} needs [clean hands|a cool head|strong arms]," said {friend}, as if it were a poem.',
            "in the evenings {hero} [soaked both feet|fell asleep over {food2}|told {animal.a} about it].",
        ], p=0.6),
        Beat("effort", [
            "{hero} came an hour early, [swept|washed|counted] everything and asked for more.",
            "{hero} learned {few3} new things a day and [forgot only two|wrote them on {hero.his} arm].",
            "{hero} [worked|ran up and down] until {hour} o'clock without [a break|a word|bread].",
            "{hero} [mended|cleaned|polished] {thing3.a} that had been [broken|in the way] for {age2} years.",
            "{hero} made friends with [{animal2.a}|{job2.a} next door|all the old customers], which helped.",
            "{hero} had the idea to [paint the door {color}|sell {food2} as well|open on Sundays], and did it.",
        ], p=0.7),
        Beat("turn", {
            "good": [
                "at the end of the month {friend} [shook {hero}'s hand|handed over the key] and raised the pay to "
                "{price2} coins.",
                '"I would not [change|give] you for ten others," {friend} told {hero}.',
                "soon people came from [far away|other towns|the {place2}] just to be served by {hero}.",
                "when {friend} grew old, {hero} [got|took over] the whole [business|shop], {animal2} and all.",
            ],
            "bad": [
                "after {few4} weeks {friend} [sent {hero} home|threw {hero} out] with {price2} coins and no thanks.",
                "then the business closed, and [{hero}|even {friend}] was out of work.",
                "{friend} [gave the job to a nephew|took somebody younger], and {hero} had to go.",
                '"You are the worst {job} I ever saw," shouted {friend}, and that was the end of it.',
            ],
            "open": [
                "on Friday {friend} will say whether {hero} may stay.",
                "{friend} has asked {hero} to stay {few4} more weeks, [on trial|without a promise].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} hung {hero.his} apron on {hero.his} own hook and felt {mood}.",
                "{hero} was {mood} and [bought|ate] {food3.a} with the first money.",
                "{hero} goes to work {mood} every {daytime3}[, even on Mondays|, before the birds are up|].",
            ],
            "bad": [
                "{hero} was {gloom} and sat [on a bench|by the fountain] until dark.",
                "{hero} felt {gloom} and told {hero.his} " + FAMILY + " [nothing|a lie].",
                "{hero} read the notes on the doors again, [tired|hungry] and {gloom}.",
            ],
            "open": [
                "{hero} irons {hero.his} [only shirt|apron] twice and hopes.",
                "{hero} [keeps the old boots|sleeps in the apron], to be on the safe side.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"age": "adult", "age2": "years"},
    kinds={"adult": LEXICON["age"][16:], "years": LEXICON["age"][:49]},
    scene=2,
)

CONTEST = town(
    "contest",
    [
        Beat("opening", [
            WHEN + " there was a {contest} contest {place.at}, and {hero} [put {hero.his} name on the list|wanted to "
            "win it].",
            "every {season} the town held a {contest} contest {place.at}, and this time {hero} [dared to enter|was "
            "number {number}].",
            "{hero}, {job.a}, entered the {contest} contest because of the prize: {price} coins and {thing.a}.",
            "{hero} had lost the {contest} contest {few} times and [tried once more|hoped for better luck].",
            "{hero}'s " + FAMILY + " had once won the {contest} contest {place.at}, and [now it was {hero}'s "
            "turn|{hero} had to win too].",
        ]),
        Beat("rival", [
            "{hero.his} {relation} {friend}, {job2.a}, was in it too and [promised|hoped|swore] to win.",
            "the one to beat was {friend}, {job2.a}, who had [won {few2} times|{color.a} hat|a secret plan|never "
            "lost].",
            "the [best|loudest|strangest] of the others was {hero.his} {relation} {friend}, {job2.a}[ with cold "
            "eyes|].",
            "among the {number2} others was {friend}, [{relation.a} from the {place2}|the winner of last year|a "
            "famous {job2}].",
        ]),
        Beat("practice", [
            "for {few3} weeks {hero} practised [day and night|in the attic|in front of a mirror|with {animal.a} for "
            "a judge].",
            "{hero} had a secret help, and that was [an old book|{thing2.a}|{hero.his} aunt's advice|{food.a} for "
            "breakfast].",
            "{hero} slept [badly|little|on the kitchen table] and dreamed of [gold|the jury|{animal.a} in a tall hat].",
        ], p=0.6),
        Beat("cause", {
            "calm~2": [
                "{hero} began [slowly|with a deep breath|late] and looked neither left nor right.",
                "[when the bell rang|at {hour} o'clock], {hero} rolled up {hero.his} sleeves and [started|closed "
                "{hero.his} eyes].",
            ],
            "accident": [
                "right in the middle {animal2.a} [ran between {hero}'s legs|jumped on the judges' table|bit {hero}].",
                "just then the wind [blew over {hero}'s table|took {hero}'s hat|put out the lamps], and people "
                "[gasped|laughed].",
            ],
            "cheating": [
                "when nobody looked, {friend} [pushed {hero}|hid {hero}'s {thing2}|paid a judge {price2} coins].",
                "{hero} saw that {friend} [cheated|had help from an uncle], and did not know what to do.",
            ],
        }, valence={"accident": -1, "cheating": -1}),
        Beat("speech", [
            '"May the best one win," said {friend}, [and did not mean it|and bowed|without a smile].',
            '"Are you afraid?" asked {friend}, and {hero} [shook {hero.his} head|said yes|laughed too loudly].',
            '"I have never seen anything like it," said [a judge|the mayor|{job3.a} in the crowd].',
            "the {few3} judges [frowned|whispered|yawned|wrote and wrote|ate {food2}].",
            "the crowd [held its breath|sang|stamped its feet|threw {color2} flowers].",
        ], p=0.7),
        Beat("turn", {
            "good": [
                "in the end {hero} got {price3} points, {friend} got fewer, and {hero} [won|had won].",
                "the judges [lifted|carried] {hero} on their shoulders, for {hero} had [won|beaten them all].",
                "they gave the [golden spoon|silver cup|{color} ribbon] to {hero}, and even {friend} "
                "[clapped|cheered].",
                "{hero} won by a [hair|nose|single point], and the prize was {thing3.a} [with a ribbon|and {price2} "
                "coins|made of gold].",
                "{hero} and {friend} [shared|split] the first prize, which had never happened before.",
            ],
            "bad": [
                "in the end {friend} won, and {hero} was [last|number {number3}|not even named].",
                "one judge [fell asleep|spat it out|laughed aloud|turned pale], and {hero} lost.",
                "{hero} dropped everything in the last minute and lost to {friend} by {price3} points.",
                "the prize went to {friend}, and {hero} got [nothing|a wet handshake|{food2.a} for trying].",
            ],
            "open": [
                "the judges [could not agree|had lost their notes] and will decide [on Sunday|next week|after the "
                "fair].",
                "then the rain came, and the rest was put off until [Sunday|next {season2}].",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} felt {mood} and hung the prize [over the bed|in the window|above the stove].",
                "{hero} was {mood} and treated [the whole town|everyone {place3.at}|{friend}] to {food3}.",
                "that night {hero} was too {mood} to sleep.",
            ],
            "bad": [
                "{hero} was {gloom} and left before the music began.",
                "{hero} said that it did not matter, but felt {gloom}.",
                "{gloom} as {hero.he} was, {hero} [went home by the back streets|ate {food3} alone|shook {friend}'s "
                "hand].",
            ],
            "open": [
                "{hero} and {friend} [nod politely|look away] when they meet {place3.at}.",
                "until then {hero} practises [every {daytime2}|with one eye shut].",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    kinds={"contest": nouns("contest", "cooking, baking, painting, singing, dancing, whistling, knot tying")},
    scene=4,
)

LETTER = town(
    "letter",
    [
        Beat("opening", [
            WHEN + " [a thick|a thin|{color.a}] letter for {hero} came to the {place}.",
            "{hero}, {job.a}, had waited for a letter for {few} [weeks|months].",
            WHEN + " {hero} found [a wet|a torn|a sealed|{color.a}] letter [under the door|in {hero.his} boot|in "
            "{thing.a}].",
            "the postal worker brought {hero} a letter with {few} stamps and [a broken seal|no name|a drawing of "
            "{animal.a}].",
            "every {daytime} {hero} asked for post {place.at}, and one {daytime} there was a letter.",
        ]),
        Beat("sender", [
            "it came from {friend}, {hero.his} {relation}, who [lived overseas|had gone to sea|lived {number} miles "
            "away].",
            "it was from {hero.his} {relation} {friend}, [not seen for {years} years|now {job2.a} in the north|who "
            "never wrote].",
            "on the back stood the name of {friend}, {relation.a} from [school days|the {place2}|old times].",
        ]),
        Beat("waiting", [
            "{hero} [put it on the table|held it to the light|smelled it] and [made tea|walked around it {few2} "
            "times|fed the {animal2}].",
            "{hero.his} hands shook, and it took {few2} minutes to [open it|find the glasses|cut the string].",
            "{hero} [carried it around|kept it in a pocket] until {hour} o'clock, [to be alone with it|out of fear].",
            '"Good news is never so heavy," {hero} told the {animal2}.',
            "[{job3.a}|an aunt|half the street] wanted to know what was in it, and [guessed {few2} times|bet {few} "
            "hens].",
            "first {hero} [ate {food}|swept the floor|brushed the {animal2}|wound the clock], slowly and with care.",
            "the neighbours [stood at the fence|asked what was in it], but {hero} [said nothing|closed the curtains].",
        ], p=0.7),
        Beat("cause", {
            "question~2": [
                "{hero} had asked {friend} for [a loan of {price} coins|a room for the winter|forgiveness|a job].",
                "months before, {hero} had written: I miss you, [please come|may I come|write to me].",
            ],
            "sickness": [
                "{friend} had been very ill[ since {season2}|], and everyone {place3.at} had feared the worst.",
                "the last that {hero} had heard was that {friend} [was in hospital|had been hurt|was lost at sea].",
            ],
            "money": [
                "{friend} still had {hero}'s {price} coins, and {hero} [needed them|had almost given up].",
                "{hero} had sent {friend} a [picture|story|song] to sell, and had heard nothing for {few2} weeks.",
            ],
        }),
        Beat("answer_good", {
            "question": [
                "{friend} wrote one big word, [yes|come|gladly], and [drew a heart|put in a ticket|underlined it].",
                "{friend} answered that [a bed|a seat by the fire|{food.a}] was waiting for {hero}.",
            ],
            "sickness": [
                "but now {friend} was well again and [could walk|ate like {animal3.a}|would come in {season3}].",
                "{friend} wrote in a strong hand: I am alive, [and hungry|so put the kettle on|more or less].",
            ],
            "money": [
                "{price2} coins fell out, [more than|twice what] {hero} had hoped for.",
                "{friend} [thanked {hero}|begged {hero}'s pardon] and sent {price2} coins and {thing2.a}.",
            ],
        }, by="cause", when={"outcome": "good"}, valence=1),
        Beat("answer_bad", {
            "question": [
                "{friend} wrote only [no|never], [and not one word more|and asked for the stamps back].",
                "{friend} answered that there was [no room|no place|no time] for {hero}, [now or ever|this {season3}].",
            ],
            "sickness": [
                "it was written by {job3.a}, and it said that {friend} had died[ in {season3}|].",
                "{friend} would not [get up|walk|sail] again, the letter said.",
            ],
            "money": [
                "{friend} had [lost it all|spent it all|gambled it away] and [said goodbye|asked for {price2} more].",
                "instead of money there was a bill for {price2} coins, [for the stamps|for {food}|signed by a judge].",
            ],
        }, by="cause", when={"outcome": "bad"}, valence=-1),
        Beat("no_answer", [
            "but the rain had washed the ink away, and only [{few3} words|the word soon|a comma] could be read.",
            "{hero} has not opened it yet, and [{few3} days|a week] have passed.",
            "but it was the wrong letter, for another {hero}, [and so the waiting goes on|who was {job3.a}].",
            "half of the letter had been eaten by {animal3.a}, and the better half, {hero} fears.",
        ], when={"outcome": "open"}),
        Beat("reaction", {
            "good": [
                "{hero} read it {few3} times, [the last time aloud|once to the {animal2}|dancing].",
                '"At last!" cried {hero}, [so that the windows shook|and threw a hat in the air].',
                "{hero} answered the same {time}, with [seven pages|{food2.a} in the parcel|many blots].",
            ],
            "bad": [
                "{hero} [burnt it|put it in a drawer|tore it in two] and [stared at the wall|went out in the rain].",
                '"Well," said {hero}, and after that nothing [for {few3} hours|until supper].',
                "the tea went cold, and {hero} [wept|did not notice|sat there until dark].",
            ],
        }, by="outcome", p=0.55, valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} was {mood} and [told it to all {place4.at}|kissed the postal worker].",
                "{hero} felt {mood}, and the letter hangs [by the door|over the stove] today.",
                "that night {hero} fell asleep {mood}, with the letter under the pillow.",
            ],
            "bad": [
                "{hero} was {gloom} and never went for the post again.",
                "{hero} felt {gloom}, as if the {season4} would never end.",
                "[the postal worker|the {job4}] saw how {gloom} {hero} was, and [said nothing|left {food2.a} at the "
                "door].",
            ],
            "open": [
                "{hero} is {mood} in the morning and {gloom} at night.",
                "{hero} wrote back at once, to ask what it meant.",
            ],
        }, by="outcome", p=0.85, valence=VALENCE_OF_OUTCOME),
    ],
    {"animal2": "pet"},
    kinds={"years": LEXICON["age"][:49],
           "pet": some("animal", "dog, cat, parrot, goat, hen, turtle, rabbit, donkey, goose")},
    scene=3,
)


def elder(name, female):
    """Build an old relative with pronouns."""
    words = ("she", "her", "her") if female else ("he", "him", "his")
    return Entity(name, "elder", dict(zip(("he", "him", "his"), words)))


ELDERS = [(elder(name, True), 1.0) for name in ("grandmother", "great-aunt", "old aunt")]
ELDERS += [(elder(name, False), 1.0) for name in ("grandfather", "great-uncle", "old uncle")]

VISIT = town(
    "visit",
    [
        Beat("opening", [
            WHEN + " {hero} went to see {hero.his} {elder}, who lived [near|behind|above] the {place}.",
            "{hero} had not [seen|visited] {hero.his} {elder} for {few} [months|years].",
            WHEN + " {hero} packed {thing.a} and {food.a} and set off to {hero.his} {elder}.",
            "{hero}'s {elder} was {age} years old, lived alone and had been {job.a} once.",
            "every {daytime} in {season} {hero} walked [past|around|behind] the {place} to see {hero.his} {elder}.",
        ]),
        Beat("journey", [
            "the way led [past|behind] the {place2} and was [long|steep|muddy], with {animal.a} in the road.",
            "it was {few2} miles, and {hero} counted [the steps|the trees|{number} gulls] to pass the time.",
            "{job3.a} [gave {hero} a lift|shared {food2} with {hero}] on a cart full of [hay|hens|barrels].",
            "on the way {hero} [picked {color} flowers|bought {food2.a}|fed {animal.a}|lost the map].",
            "{hero} [took the bus|took the ferry|borrowed a bicycle] and [got there|knocked] at {hour} o'clock.",
        ], p=0.6),
        Beat("cause", {
            "forgetful~2": [
                "the {elder} had grown [forgetful|a little deaf] and called {hero} {other}.",
                "of late the {elder} [mixed up names|put {food3} in the kettle|forgot what day it was].",
            ],
            "quarrel": [
                "they had parted in anger the last time, over [{thing2.a}|{price} coins|a game of cards|politics].",
                "the {elder} had never liked {hero}'s [work|hat|singing|cooking] and always said so.",
            ],
            "ill": [
                "the {elder} had been [in bed for {few3} weeks|coughing since {season2}|weak], the neighbours said.",
                "a note on the door said: I am in bed, [the key is under the pot|come in, do not shout].",
            ],
            "house": [
                "the old house was to be [sold|pulled down], and the {elder} would have to leave it.",
                "the roof let in the rain, and there were {few3} buckets [in the bedroom|on the stairs].",
            ],
        }, valence=-1),
        Beat("meeting", [
            '"You are thinner than {animal2.a}, sit and eat," the {elder} said.',
            '"Who is there?" called the {elder}, [though the door was open|with a broom in one hand].',
            '"You are late," said the {elder}, [who was pleased all the same|looking at the clock|by {few4} years].',
            "on the table stood {food2.a}, {few4} cups and [{thing3.a}|an old photo of {hero}|a sleeping {animal3}].",
            "the room smelled of [soap|smoke|apples|cats|medicine], as it [always had|did long ago].",
            "the {elder} told the story of [the great flood|the lost ship|{thing3.a}|the wedding] for the {tens}th "
            "time.",
        ]),
        Beat("doing", [
            "{hero} read aloud from [the newspaper|an old letter|a book about the {animal2}], and the {elder} "
            "[slept|corrected every word].",
            "they fed the {animal3} with {food4} and talked about [the war|the weather|{job2.a} they both knew].",
            "{hero} [swept the floor|fixed the lamp|cut the wood|washed {number} plates] and [listened|hummed|made "
            "tea].",
            "they played cards for [buttons|beans|{price2} coins], and the {elder} cheated [as ever|openly].",
            "they looked at old [photos|maps|letters], and {hero} learned that the {elder} had once [met a king|been "
            "{job2.a}].",
            "{hero} [made|had brought] {food4}, and the {elder} [found it too salty|ate {few4} plates|gave it to the "
            "{animal3}].",
        ], p=0.65),
        Beat("turn", {
            "good": [
                "when {hero} left, the {elder} [sang in the doorway|waved until dark|gave {hero} {thing4.a} and a "
                "kiss].",
                "[by evening|in the end] the {elder} laughed like a child, and {hero} promised to come every week.",
                "then the {elder} said {hero}'s name, quite clearly, and [took|held] {hero.his} hand.",
                "{hero} asked the {elder} to come and live with {hero.him}, and the answer was [yes|a long hug].",
            ],
            "bad": [
                "when {hero} [got up to go|said goodbye], the {elder} asked who {hero} was.",
                "then they quarrelled [about {thing4.a}|about money|again], and the {elder} showed {hero} the door.",
                "it was the last time, for the {elder} died [that week|before {season3}|in the night].",
                "the {elder} would not [eat|open the door|speak] any more, and {hero} had to [call a doctor|go home].",
            ],
            "open": [
                "at the door the {elder} gave {hero} a locked box and said: not before {season3}.",
                "the {elder} must decide whether to [move to {hero}'s house|see a doctor|sell the house], and is "
                "still thinking.",
            ],
        }, by="outcome", valence=VALENCE_OF_OUTCOME),
        Beat("feeling", {
            "good": [
                "{hero} rode home [in the dark|through the rain] and felt {mood}.",
                "{hero} was {mood} and [smelled of apples|full of {food4}|sang] all the way back.",
                "old people tire easily, but both of them were {mood}.",
            ],
            "bad": [
                "{hero} walked home {gloom}, [without turning around|with {thing4.a} under one arm].",
                "{hero} felt {gloom} and [wished to have come sooner|could not talk about it].",
                "the way back was twice as long, and {hero} was {gloom}.",
            ],
            "open": [
                "{hero} goes back [on Sunday|next week] and does not know what to [bring|hope for].",
                "{hero} lay awake, [a little|half] {gloom}, and thought about it.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"other": "person", "animal3": "pet", "age": "old"},
    kinds={"elder": ELDERS, "old": LEXICON["age"][58:], "tens": LEXICON["age"][18:99:10],
           "pet": some("animal", "dog, cat, parrot, goat, hen, turtle, rabbit, donkey, goose")},
    scene=2,
)

THEFT = town(
    "theft",
    [
        Beat("opening", [
            WHEN + " somebody stole {thing.a} from {hero}'s [shop|kitchen|boat|cart] {place.at}.",
            WHEN + " {hero} came home and saw at once that the {thing} was gone.",
            "{hero}, {job.a}, kept {thing.a} in the window[ for luck|, worth {price} coins|], and one {daytime} it "
            "was gone.",
            "{hero} was [asleep|cooking {food}|in the bath] when something came through the window and took the "
            "{thing}.",
            "there was a thief in town, and on {weather.a} {daytime} it was {hero}'s {thing} that [vanished|was "
            "stolen].",
        ], valence=-1),
        Beat("clue", [
            "somebody had left [{color.a} glove|{few} crumbs of {food2}|a muddy shoe|a smell of fish] behind.",
            "there were [wet|muddy|very small|{color}] footprints that led {place2.to}.",
            "[the {job2}|a child|an old man] had seen [{color.a} coat|a bicycle without light|a shadow] at {hour} "
            "o'clock.",
            "nobody had seen anything but {animal.a}, and it [would not talk|looked guilty].",
        ]),
        Beat("hunt", [
            "{hero} and " + FRIEND + " [followed the trail|asked everyone {place3.at}|hid in a barrel] for {few2} "
            "hours.",
            FRIEND + " [lent {hero} a lantern|brought a dog|knew every thief in town], and they [set out|began to "
            "search].",
            "{hero} told " + FRIEND + ", who [took out a notebook|climbed on a roof|offered {price2} coins as a "
            "reward].",
        ]),
        Beat("talk", [
            '"A thief always comes back," {friend} said, [chewing {food3}|with a wise face].',
            '"Who would steal {thing.a}?" asked {hero}, [over and over|shaking {hero.his} head].',
            '"I suspect the {animal}," [said {friend}|{friend} said].',
            '"The thief will [wash my floor|peel onions|feed my geese] for {few3} years," said {hero}.',
            "they put out a trap of {thing2.a}, {food3.a} and a [long|thin] string, and [waited|caught {job3.a}].",
        ], p=0.65),
        Beat("cause", {
            "hunger~2": [
                "the trail ended at {thief}, {job4.a} without work, who had [sold it for bread|{few3} hungry "
                "children].",
                "the thief was {thief}, [{job4.a}|a poor sailor|a neighbour], who had not eaten for {few3} days.",
            ],
            "magpie": [
                "the thief was {animal2.a}, which had carried the {thing} [up a tree|onto the roof|under the stage].",
                "the footprints led to a nest, and in it sat {animal2.a} [on the {thing}|with {few3} spoons].",
            ],
            "gang": [
                "the thief was {thief}, {job4.a} by day, who had a cellar full of other people's [clocks|coats|hens].",
                "the {thing} had been taken by {thief}, who robbed {number} houses that {season2}.",
            ],
        }),
        Beat("caught", {
            "hunger": [
                "{thief} wept and gave the {thing} back, and {hero} [cooked {food4} for both|forgave {thief}].",
                "{hero} got the {thing} back and [gave {thief} work|let {thief} go with {food4.a}].",
            ],
            "magpie": [
                "{friend} climbed up and came down with the {thing}, [{few4} scratches|a feather] and a smile.",
                "{hero} offered {thing3.a} for it, and the {animal2} [agreed|seemed to like that better|let go].",
            ],
            "gang": [
                "the police caught {thief} [on the ferry|in bed|asleep {place4.at}], and {hero} had the {thing} back "
                "by {hour2} o'clock.",
                "{hero} and {friend} locked the cellar, called the police and [saved|carried home] the {thing}.",
            ],
        }, by="cause", when={"outcome": "good"}, valence=1),
        Beat("gone", {
            "hunger": [
                "but the {thing} was already [sold|at sea|at the bottom of the river], and {thief} had no money to "
                "pay.",
                "{hero} shouted so loudly that {thief} [ran away|left town] and took the {thing} along.",
            ],
            "magpie": [
                "the {animal2} dropped the {thing}, and it [broke on the stones|fell into the sea|was broken].",
                "{friend} climbed after it, fell and broke [a leg|an arm], and the {thing} was lost.",
            ],
            "gang": [
                "but {thief} had [taken the night boat|fled] with the {thing} and was never caught.",
                "{thief} [laughed|lied], the judge believed {thief}, and {hero} even had to pay {price2} coins.",
            ],
        }, by="cause", when={"outcome": "bad"}, valence=-1),
        Beat("pending", [
            "the judge will hear the case [on Friday|next {season3}], and until then the {thing} lies "
            "[{place4.at}|in a safe].",
            "how the {thing} will [come back|be got down|be paid for], nobody knows yet.",
        ], when={"outcome": "open"}),
        Beat("feeling", {
            "good": [
                "{hero} was {mood} and bought [a big lock|{friend} a hat|{food5.a} for {friend}].",
                "that evening the {thing} stood on the table again, and {hero} felt {mood}.",
                "{hero} felt {mood}, and slept with the {thing} in {hero.his} arms.",
            ],
            "bad": [
                "{hero} felt {gloom} and [nailed the window shut|trusted nobody for {few4} weeks].",
                "{hero} was {gloom}, and the place where the {thing} had been [stayed|was left] empty.",
                "all that {hero} had left was the empty [box|shelf], and {hero.he} was {gloom}.",
            ],
            "open": [
                "{hero} has learned to wait, and to lock doors.",
                "{hero} and {friend} [sit on the steps|keep watch] and drink tea.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"thief": "person", "animal2": "climber"},
    kinds={"climber": some("animal", "crow, seagull, squirrel, parrot, owl, robin")},
)

MOVING_HOUSE = town(
    "moving_house",
    [
        Beat("opening", [
            WHEN + " {hero} moved into [a small|a crooked|an old|{color.a}] house near the {place}.",
            WHEN + " {hero} put {thing.a}, {thing2.a} and {animal.a} on a cart and moved to number {number}.",
            "{hero}, {job.a}, had to leave the house near the {place} after {age} years.",
            "{hero} rented a room above the {place} for {price} coins a [week|month].",
            "after the [wedding|flood|fire|long {season}], {hero} wanted to live [somewhere else|closer to the "
            "{place}].",
        ]),
        Beat("moving", [
            FRIEND + " [helped to carry|dropped|counted] the boxes, all {number2} of them, [up the stairs|over the "
            "bridge|singing].",
            "{hero} and " + FRIEND + " [pushed|pulled] the cart [{few} times|uphill|in the rain], and {thing3.a} "
            "fell off.",
            "{hero} and " + FRIEND + " painted the door {color2} and the [walls|shutters|stairs|roof] {color3}.",
            FRIEND + " came along to [taste the water|open the windows|drive out the mice], and brought {food.a}.",
        ]),
        Beat("cause", {
            "leak": [
                "on the first night the rain came through the roof and [into the bed|onto the {thing3}|in {few2} "
                "places].",
                "the stove [smoked|would not burn], the windows did not close, and {hero} slept in {hero.his} coat.",
            ],
            "neighbour~2": [
                "the neighbour, {other}, [played the drum|shouted|sawed wood] every night until {hour} o'clock.",
                "next door lived {other}, {job2.a}, who [greeted nobody|kept {few2} geese|had not smiled since "
                "{season2}].",
            ],
            "ghost": [
                "every night at {hour} there was a [knocking|singing|scratching] in the [wall|cellar|attic], like "
                "{job2.a} at work.",
                "people said that a ghost lived there, the ghost of {job2.a} [without a hat|with {animal2.a}].",
            ],
            "homesick": [
                "nothing was where it had been, and {hero} [fell over {thing4.a}|could not find {hero.his} "
                "bed|missed the old view].",
                "{hero} knew nobody in the street and [ate alone|talked to the {thing4}|counted the days].",
            ],
        }, valence=-1),
        Beat("talk", [
            '"A house is like a shoe, it must be worn," {friend} said.',
            '"You can always come back to us," said {friend}, [looking at the ceiling|over a cup of tea].',
            '"What was that noise?" asked {friend}, and {hero} [said that it was the wind|lit a candle|had heard '
            'nothing].',
            '"I will give it {few3} weeks," {hero} said.',
            "{hero} hung up {thing5.a}, and it [fell down|looked at home|hung crooked].",
        ], p=0.65),
        Beat("luck", {
            "leak": [
                "then {friend} and {few3} others came with [nails and tar|new wood|ladders], and by evening all was "
                "dry.",
                "behind the stove {hero} found {price2} coins, just enough for a new [roof|stove].",
            ],
            "neighbour": [
                "{hero} took {food2.a} next door, and {other} [cried a little|laughed|asked for more] and became a "
                "friend.",
                "when {hero} lay ill, {other} came with {food2} every {daytime2}, and they have been friends since.",
            ],
            "ghost": [
                "it was only {animal3.a}, and {hero} [gave it a name|let it stay|made it a bed of straw].",
                "{hero} and {friend} opened the wall and found {thing6.a} full of [gold|letters|silver spoons].",
            ],
            "homesick": [
                "then the whole street [knocked at the door|came in] with {food2}, {food3} and {number3} questions.",
                "one {daytime2} {hero} looked out at the {place2} and knew that this was home.",
            ],
        }, by="cause", when={"outcome": "good"}, valence=1),
        Beat("misfortune", {
            "leak": [
                "then the whole roof [fell in|blew away], and {hero} [lost everything|had to sleep {place2.at}].",
                "after {few3} weeks {hero} fell ill in the damp and had to [leave|pay {price2} coins for a doctor].",
            ],
            "neighbour": [
                "{hero} [complained|knocked], and {other} [threw {food2} over the fence|set a dog on {hero}].",
                "it got worse every week, and in the end {other} stayed and {hero} [had to go|moved out].",
            ],
            "ghost": [
                "one night {hero} ran out [in bare feet|screaming] and never went back, not even for {hero.his} "
                "{thing6}.",
                "nobody would [visit|sleep there] any more, and {hero} had to give it up after {few3} weeks.",
            ],
            "homesick": [
                "{hero} went back after {few3} months, but the old house [was sold|had burnt down|was full of "
                "strangers].",
                "nobody ever [knocked|said hello], and {hero} lived there like {animal3.a} in a box.",
            ],
        }, by="cause", when={"outcome": "bad"}, valence=-1),
        Beat("waiting", [
            "{hero} has not unpacked the last {few3} boxes, [and looks at them often|just in case].",
            "whether {hero} will stay is to be decided in {season3}, [by {hero.him} or by the house|when the rent is "
            "due].",
        ], when={"outcome": "open"}),
        Beat("feeling", {
            "good": [
                "{hero} sat on the [steps|roof|new bench] and felt {mood}.",
                "{hero} was {mood} and planted [an apple tree|beans|{color4} flowers] by the gate.",
                "when {friend} asked, {hero} said that {hero.he} had never been so {mood}.",
            ],
            "bad": [
                "{hero} felt {gloom}, and slept on {friend}'s floor [for {few4} weeks|that night].",
                "{hero} was {gloom} and still [dreams of the old house|has the key in a pocket].",
                "a home cannot be rented, thought {hero}, who was {gloom}.",
            ],
            "open": [
                "some nights {hero} is {mood} there, and on others {gloom}.",
                "{friend} has [made a bet|kept the cart], to be safe.",
            ],
        }, by="outcome", p=0.8, valence=VALENCE_OF_OUTCOME),
    ],
    {"other": "person", "animal": "pet", "animal2": "animal", "animal3": "roommate", "age": "years"},
    kinds={"years": LEXICON["age"][:49],
           "roommate": some("animal", "owl, cat, mouse, squirrel, hedgehog, hen, badger"),
           "pet": some("animal", "dog, cat, parrot, goat, hen, turtle, rabbit, donkey, goose")},
)

SCHEMAS = [LOST_FOUND, QUARREL, GIFT, BIRTHDAY, MARKET_TRADE, LESSON, SECRET, REPAIR, NEW_JOB, CONTEST, LETTER, VISIT,
    THEFT,
           MOVING_HOUSE]
