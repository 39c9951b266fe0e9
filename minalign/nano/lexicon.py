"""The words of nano's world: every entity that a text can mention, and the valence of the words that are used.

``LEXICON`` maps a kind to ``(Entity, weight)`` pairs. Weights are skewed on purpose: in a small town some names are
heard every day and some once a year, and a task that moves probabilities needs something to move.

Forms by kind (the base form is always the bare name):

========  ====================================================================================================
person    ``he him his himself`` (``she her her herself`` for women)
place     ``at`` ("at the market"), ``to`` ("to the market"), ``from`` ("from the market"), ``a`` ("a market")
thing     ``a`` ("a lantern"); concrete and small enough to be carried
animal    ``a``
job       ``a``; no gendered words
weather   ``a`` ("a rainy"); an adjective, as in "it was a {weather} day" and "the day was {weather}"
season    ``in`` ("in spring"), ``a`` ("a spring"), so that "one {season}" and "{season.in}" both work
time      ``in`` ("in the morning", "at night"), ``a``; the base works after one, that, the next
daytime   ``a``; morning, afternoon or day: never so late that "that evening" would go back in time
food      ``a`` ("an apple pie", "some bread"); the base works after the, some, and alone as an object
color     ``a``
mood_*    ``a``; adjectives that work after felt and was
number    0 to 100 as digits, uniform
price     2 to 100 as digits, uniform, so that "{price} coins" is never singular
age       2 to 100 as digits, uniform, so that "{age} years" is never singular
hour      2 to 12 as digits, uniform
few       two to nine as words
relation  ``a``; a person's part in another's life: friend, cousin ...
========  ====================================================================================================
"""

from minalign.nano.grammar import Entity

VOWELS = "aeiou"
# Words whose first letter misleads: an hour, an honest; a uniform, a one-eyed.
AN_WORDS = ("hour", "honest", "heir", "honour")
A_WORDS = ("uni", "use", "one", "euro", "uku")


def article(noun):
    """Return ``noun`` with the right indefinite article in front."""
    lower = noun.lower()
    if lower.startswith(AN_WORDS):
        vowel = True
    elif lower.startswith(A_WORDS):
        vowel = False
    else:
        vowel = lower[0] in VOWELS
    return ("an " if vowel else "a ") + noun


def noun(name, kind, **forms):
    """Build an entity of ``kind`` with the form ``a`` and any further ``forms``."""
    return Entity(name, kind, {"a": article(name), **forms})


def person(name, female):
    """Build a person with the pronoun forms ``he``, ``him``, ``his`` and ``himself``."""
    words = ("she", "her", "her", "herself") if female else ("he", "him", "his", "himself")
    return Entity(name, "person", dict(zip(("he", "him", "his", "himself"), words)))


def place(preposition, name):
    """Build a place: ``preposition`` says whether one is at, in or on it."""
    towards = {"at": "to", "in": "to", "on": "to"}[preposition]
    return noun(
        name, "place", at=f"{preposition} the {name}", to=f"{towards} the {name}", **{"from": f"from the {name}"}
    )


def weighted(kind, text):
    """Build ``(Entity, weight)`` pairs from lines ``weight: name, name``."""
    pairs = []
    for line in text.strip().splitlines():
        weight, names = line.split(":")
        pairs += [(noun(name.strip(), kind), float(weight)) for name in names.split(",")]
    return pairs


def digits(kind, low, high):
    """Build the integers from ``low`` to ``high``, all equally likely."""
    return [(Entity(str(value), kind, {}), 1.0) for value in range(low, high + 1)]


# weight: (women, men). Two names of each are five times as frequent as the common run, and the last are rare.
NAMES = {
    5.0: ("Mira Anna", "Tom Oskar"),
    2.5: ("Lena Ida Nora", "Ben Jonas Pavel"),
    1.0: (
        "Clara Ella Hanna Julia Marta Olga Petra Sonja Tilda Vera Greta Frida",
        "Adam David Emil Felix Hugo Ivan Karl Leo Martin Niels Peter Simon",
    ),
    0.4: ("Agnes Beatrix Dorothea Edith Johanna Rosalind Wanda", "Albert Casper Gustav Ludwig Rufus Tobias Viktor"),
}

# weight, how one is there, names
PLACES = (
    (3.0, "at", "market, harbour, bakery"),
    (2.0, "at", "school, station, mill"),
    (2.0, "in", "library, garden, park"),
    (2.0, "on", "bridge, beach"),
    (1.0, "at", "inn, town hall, lighthouse, ferry, fountain, post office, shoe shop, cafe, farm, boat shed, theatre"),
    (1.0, "in", "museum, chapel, orchard, churchyard, fish hall, bookshop, workshop, town square, greenhouse"),
    (1.0, "on", "pier, main street, hill, old wall, river path"),
)

THINGS = """
3: lantern, umbrella, key, scarf, hat, book
2: watch, basket, coat, kettle, map, ring, violin, blue cup, suitcase
1: clock, lamp, mirror, pocket knife, wallet, fishing rod, flute, drum, teapot, blanket, pillow, toy boat, toy train
1: wooden box, brush, hammer, bell, necklace, notebook, photo, painting, radio, camera, telescope, compass
1: kite, ball, chess set, glove, silver spoon, jar, vase, rope, sail, oar, mug, stool, sewing box, purse
1: music box, wool hat, walking stick, rain coat, hand bag, candle, puppet, guitar, accordion, bread knife, paint box
"""

ANIMALS = """
4: dog, cat
2: goat, horse, hen, donkey, duck
1: sheep, cow, pig, goose, rabbit, fox, owl, crow, seagull, swan, hedgehog, squirrel, mouse, frog, turtle, parrot, pony
1: calf, lamb, otter, seal, badger, heron, robin
"""

JOBS = """
3: baker, teacher, sailor
2: farmer, doctor, cook, carpenter, gardener
1: tailor, painter, librarian, ferry pilot, clock maker, shoe maker, boat builder, blacksmith, miller, nurse, singer
1: postal worker, shop keeper, lighthouse keeper, bookbinder, potter, weaver, street sweeper, baker's helper, musician
1: train driver, cheese maker, bee keeper, glass blower, locksmith, market trader, diver, net maker, night guard
"""

WEATHER = """
4: rainy, sunny
2: windy, cold, warm, grey, cloudy
1: foggy, snowy, frosty, stormy, hot, clear, wet, misty, icy, mild
"""

FOODS = """
3: apple pie, *bread, fish soup*
2: *cheese, plum cake, onion soup*, honey cake
1: *honey, *butter, bean stew, potato salad*, lemon tart, *rye bread, pea soup*, berry jam*, cherry cake
1: fish pie, mushroom stew, carrot cake, smoked fish*, cheese tart, pear tart, roast chicken*, rice pudding*, *chocolate
"""

COLORS = """
3: red, blue
2: green, yellow, white, black
1: brown, grey, orange, purple, pink, golden, silver
"""

MOODS_GOOD = """
4: happy, glad
2: proud, grateful, cheerful, relieved
1: delighted, calm, hopeful, content, merry, thankful, pleased, joyful, excited, peaceful
"""

MOODS_BAD = """
4: sad, angry
2: upset, unhappy, lonely, disappointed
1: miserable, ashamed, bitter, gloomy, helpless, hurt, worried, hopeless, troubled, heartbroken
"""

RELATIONS = """
4: friend, neighbour
2: cousin, old friend
1: schoolmate, workmate, good friend, childhood friend, classmate
"""

SEASONS = """
2: summer, winter
1: spring, autumn
"""

TIMES = (
    ("morning", "in the morning", 3.0),
    ("afternoon", "in the afternoon", 2.0),
    ("evening", "in the evening", 2.0),
    ("night", "at night", 1.0),
)

# Times of the working day: whatever happens then can be followed by "that evening" or "the next day".
DAYTIMES = """
3: morning
2: afternoon, day
"""

FEW = """
4: two, three
2: four, five
1: six, seven
0.5: eight, nine
"""


def foods(text):
    """Build the foods: a star before or after a name marks a food that takes "some" and no article."""
    pairs = []
    for entity, weight in weighted("food", text):
        name = entity.name.strip("*")
        forms = {"a": article(name) if name == entity.name else "some " + name}
        pairs.append((Entity(name, "food", forms), weight))
    return pairs


LEXICON = {
    "person": [
        (person(name, female), weight)
        for weight, (women, men) in NAMES.items()
        for female, names in ((True, women), (False, men))
        for name in names.split()
    ],
    "place": [
        (place(preposition, name), weight) for weight, preposition, names in PLACES for name in names.split(", ")
    ],
    "thing": weighted("thing", THINGS),
    "animal": weighted("animal", ANIMALS),
    "job": weighted("job", JOBS),
    "weather": weighted("weather", WEATHER),
    "season": [
        (noun(entity.name, "season", **{"in": "in " + entity.name}), weight)
        for entity, weight in weighted("season", SEASONS)
    ],
    "time": [(noun(name, "time", **{"in": phrase}), weight) for name, phrase, weight in TIMES],
    "daytime": weighted("daytime", DAYTIMES),
    "food": foods(FOODS),
    "color": weighted("color", COLORS),
    "mood_good": weighted("mood_good", MOODS_GOOD),
    "mood_bad": weighted("mood_bad", MOODS_BAD),
    "number": digits("number", 0, 100),
    "price": digits("price", 2, 100),
    "age": digits("age", 2, 100),
    "hour": digits("hour", 2, 12),
    "few": [(Entity(entity.name, "few", {}), weight) for entity, weight in weighted("few", FEW)],
    "relation": weighted("relation", RELATIONS),
}

# Words that are good or bad news wherever they stand; negation flips them. The events that are good or bad without
# any such word (a lost dog) are marked on the beats instead.
GOOD_WORDS = """
happy glad proud grateful cheerful relieved delighted calm hopeful content merry thankful pleased joyful excited
peaceful good better best kind kindest kindly warm warmly bright lovely loveliest beautiful wonderful fine sweet
gentle gently friendly honest clever wise brave safe safely fair perfect perfectly strong healthy cosy delicious fresh
clean excellent pleasant helpful generous comfortable cheap favourite dear famous funny golden alive lucky well
laughed laugh laughing laughs smiled smile smiles smiling grinned hugged hug kissed kiss sang sing singing danced
dancing cheered cheering clapped praised thanked thank thanks enjoyed enjoy loved love loves liked won win winner
found saved save rescued helped help helps mended repaired fixed forgave forgiven forgiveness apologised celebrated
welcomed welcome agreed succeeded improved learned shared trusted promised hummed bowed hoped hopes rewarded gift
present presents prize joy luck friends friendship party treat success peace hope pride surprise cake song feast
reward gold ribbon heart luckily happily proudly gladly cheerfully softly
"""

BAD_WORDS = """
sad angry upset lonely disappointed miserable ashamed bitter gloomy helpless hurt worried hopeless unhappy troubled
heartbroken bad worse worst cruel cold coldly dark ugly terrible awful poor sour rude mean unkind dishonest foolish
silly afraid frightened dangerous unfair broken weak sick ill dirty muddy burnt stale stolen ruined empty useless
horrible noisy rotten tired hungry sore dead guilty false wrong crooked missing forgetful expensive alone pale cried
cry crying wept sighed sigh shouted shout shouting screaming frowned frown groaned lost lose loser missed miss failed
fail broke cracked tore torn fell stole steal robbed vanished cheated lied lie lies refused blamed ruin spoiled
damaged drowned sank quarrelled quarrel argued complained insulted regretted hated hate feared forgot died fled
slammed kicked snatched tripped gossiped gambled bitten spat coughing shaking thief tears trouble shame fear pain
fault failure loss mistake mistakes storm damage debt grief anger danger mess junk accident hospital flood war ghost
rust bang trap unluckily sadly angrily bitterly badly gone
"""

VALENCE = {word: 1 for word in GOOD_WORDS.split()} | {word: -1 for word in BAD_WORDS.split()}
