"""Posts: first-person troubles of a harbour town, as `SUBREDDIT: r/... TITLE: ... POST: ... TL;DR: ...` on one line.

`SCHEMAS` tell the body; `TITLES`, `SUMMARIES` and `VAGUE` continue the same telling, so that title, body and summary
agree by construction. Every schema has the facts `cause` and `outcome` (good, bad or open) and one person who acts
(`ACTORS`); the writer is the unnamed hero. Beats under the fact `long`, told in long posts only, add a second person.
"""

import re
from dataclasses import replace

from minalign.nano.grammar import Beat, Document, Draw, Entity, Schema, Telling, tell

LONG_SHARE = 0.05  # of the pre-training documents
SUMMARY_SHARE = {"none": 65, "good": 32.2, "lead": 1.4, "vague": 1.4}  # 8 % of the summaries are poor
OUTCOMES = {"good": 5, "bad": 5, "open": 3}
END_VALENCE = {"good": 1, "bad": -1}
LONG = {"long": "yes"}  # the condition of a beat that only a long document tells


def plain(kind: str, text: str) -> list[tuple[Entity, float]]:
    """Build (Entity, weight) pairs from `weight: name, name` lines; no forms but the bare name."""
    return [
        (Entity(name, kind, {}), float(weight))
        for weight, names in (line.split(": ") for line in text.strip().splitlines())
        for name in names.split(", ")
    ]


def _beast(name: str, cries: str, weight: float) -> tuple[Entity, float]:
    return Entity(name, "beast", {"a": f"a {name}", "cries": cries}), weight


def _family(name: str, female: bool, weight: float) -> tuple[Entity, float]:
    words = ("she", "her", "her") if female else ("he", "him", "his")
    return Entity(name, "family", dict(zip(("he", "him", "his"), words))), weight


KINDS = {
    "beast": [
        _beast("goat", "bleats", 3),
        _beast("dog", "barks", 3),
        _beast("donkey", "brays", 2),
        _beast("goose", "honks", 1),
        _beast("cow", "moos", 1),
        _beast("rooster", "crows", 2),
    ],
    "family": [
        _family("sister", True, 3),
        _family("brother", False, 3),
        _family("aunt", True, 1),
        _family("uncle", False, 1),
    ],
    "goal": plain("goal", "3: island, lighthouse\n1: old castle, north bay, hill fair, seal rocks"),
    "town": plain("town", "3: Greyhaven, Northport\n1: Millbridge, Saltby, Eastcliff, Stonewick"),
    "grown": [(Entity(str(years), "grown", {}), 1.0) for years in range(18, 81)],
    "pleased": plain(
        "pleased", "4: happy, glad\n2: relieved, grateful, cheerful, proud\n1: thankful, calm, content, pleased"
    ),
    "upset": plain(
        "upset", "4: sad, angry\n2: tired, upset, disappointed, worried\n1: bitter, hurt, unhappy, helpless"
    ),
    "weekday": plain("weekday", "3: Friday, Saturday, Sunday\n1: Monday, Tuesday, Wednesday, Thursday"),
}

# Roles of the optional sentences that every schema shares: the writer's own life and the people who listen.
COMMON = {
    "visits": "price", "today": "weather", "lunch": "food", "companion": "person", "companion_trade": "job",
    "spot": "place", "meal": "food", "own_thing": "thing", "who_age": "grown", "who_place": "place", "who_trade": "job",
    "who_food": "food", "who_season": "season", "who_years": "few", "who_thing": "thing", "part": "time",
    "tint": "color", "pleased": "pleased", "upset": "upset", "trade": "job", "scene": "place", "sky": "weather",
    "daytime": "time", "snack": "food", "listener": "person", "listener_trade": "job", "walk": "place", "own": "grown",
    "minutes": "price", "tie": "relation",
}

# The writer's trade is left to the schema where the trouble is about work.
PLAIN_INTRO = [
    "I am new here and have {visits} questions, but this one comes first.",
    "it is {today} today, and I am writing this {scene.at}.", "I am writing this {scene.at} with {lunch.a} beside me.",
    "this is my first post after {visits} days in this group.", "I have {lunch.a}, a seat {scene.at} and a question.",
]
INTRO = Beat(
    "intro",
    PLAIN_INTRO
    + [
        "I am {own} years old and work as {trade.a}.", "I am {trade.a}, {own} years old.",
        "I am {trade.a} and live near the {scene}.",
        "I am {own}, {trade.a}, and I like [my peace|a quiet life|good neighbours].",
    ],
    p=0.4,
)
WORK_INTRO = Beat("intro", PLAIN_INTRO, p=0.4)
LISTENER = Beat("listener", [
    "I told {listener} about it {walk.at}, over {snack.a}.", "my {tie} {listener} thinks that I worry too much.",
    "my {tie} {listener}, {listener_trade.a}, [laughed|sighed] when I told the story {walk.at}.",
    "I walked {walk.to} and back for {minutes} minutes to think.",
    "that {daytime} I went {walk.to} and ate {snack.a}, but it did not help.",
    "{listener}, {listener_trade.a}, heard of it and gave me {snack.a}.",
    "on {sky.a} {daytime} I even asked {listener}, who is {listener_trade.a}, what to do.",
    "now they talk about it {walk.at}, and {listener} tells it best.",
    "my {tie} {listener} had the same trouble {minutes} weeks ago.", "I dreamed about it for {minutes} nights.",
], p=0.55)
AFTER = Beat("after", [
    "tonight I will eat {meal.a} {spot.at} and think of something else.",
    "tomorrow I will go {spot.to} with {companion}, {companion_trade.a}.",
    "{companion}, {companion_trade.a}, read this and [nodded|laughed|sighed].",
    "in the meantime I have painted my {own_thing} {tint}.",
    "one {part} I told the whole story {spot.at} for {meal.a}.",
    "{companion} says hello to all of you from the {spot}.", "please be kind, {companion} reads this group too.",
    "next {part} I will be {spot.at}, if anyone wants to talk.",
    "whoever helps me gets {meal.a} or my {tint} {own_thing}.", "my only comfort is {meal.a} {spot.at} in the {part}.",
], p=0.45)


def who(role: str) -> Beat:
    """Build the sentence that tells the readers what sort of person `role` is."""
    return Beat("who", [
        sentence.replace("NAME", "{" + role + "}")
        for sentence in (
            "NAME is {who_age} years old and works {who_place.at}.",
            "NAME is {who_trade.a} and {who_age} years old.", "you may know NAME, who is often {who_place.at}.",
            "people {who_place.at} call NAME [stubborn|kind|proud|clever|a good soul|hard].",
            "NAME likes {who_food} more than [talk|people|work].",
            "in {who_season} NAME was {who_trade.a} in another town.",
            "I first met NAME {who_place.at} {who_years} years ago.",
            "NAME always has {who_food.a} in one hand and {who_thing.a} in the other.",
        )
    ], p=0.45)


# What every kind of trouble ends with: a feeling that its outcome causes.
FEELING = Beat("feeling", {
    "good": [
        "I am {pleased} [now|again|at last].", "I had almost lost hope, and now I am {pleased}.",
        "it may be a small thing, but it made me {pleased}.", "my heart is light, and I am {pleased}.",
    ],
    "bad": [
        "I am {upset} and [cannot forget it|think about it all day].", "I have been {upset} [ever since|all week].",
        "people say that I should forget it, but I am {upset}.", "it may be a small thing, but it made me {upset}.",
    ],
    "open": [
        "I do not know whether to be {pleased} or {upset}.", "I try to stay calm, but I am {upset}.",
        "one day I am {pleased}, and the next day I am {upset}.", "the waiting makes me {upset}.",
    ],
}, by="outcome", p=0.5, valence=END_VALENCE)


def question(good: list[str], bad: list[str], wait: list[str]) -> Beat:
    """Build the closing question to the readers: the schema's own ones beside those that always fit."""
    return Beat("question", {
        "good": good + ["has anyone else had such luck?", "did I do the right thing?"],
        "bad": bad + ["what would you do [now|in my place]?", "was it my own fault?"],
        "open": wait + ["what would you do [while you wait|in my place]?", "how do you think it will end?"],
    }, by="outcome", p=0.75)


# Phrases that have several natural forms wherever a body uses them.
VARIANTS = {
    "says that": "[says that|thinks that|tells everyone that]", "wanted to": "[wanted to|meant to|hoped to]",
    "on the way home": "[on the way home|on my way home|while I was walking home]",
    "all night": "[all night|the whole night|all night long]", "every evening": "[every evening|each evening]",
    "at once": "[at once|right away]", "near the": "[near the|close to the|not far from the]",
    "said sorry": "[said sorry|apologised|was sorry]", "small": "[small|little]", "mended": "[mended|repaired|fixed]",
    "repaired": "[repaired|mended|fixed]", "will not": "[will not|refuses to]",
    "has promised to": "[has promised to|has agreed to]",
    "told me that": "[told me that|explained that|let me know that]",
    "came and said that": "[came and said that|knocked and told me that|came by and explained that]",
    "old friends": "[old friends|good friends]", "nobody": "[nobody|no one]", "everybody": "[everybody|everyone]",
    "nights are quiet": "nights are [quiet|peaceful|calm]", "the mast broke": "the mast [broke|snapped|came down]",
    "will marry": "[will marry|are going to marry|are getting married]",
    "but on the same day": "but [on the same day|on that very day|at the same time]", "I must": "I [must|have to]",
    "for a long time": "for [a long time|years|many months]", "looked at": "[looked|stared] at",
    "at last": "[at last|finally]", "I do not know": "I [do not know|cannot tell]",
    "did I do the right thing": "[did I do the right thing|was I right|did I do well]",
    "was it my own fault": "[was it my own fault|is it all my fault|am I to blame]",
    "has anyone else had such luck": ("[has anyone else had such luck|have you ever been so "
                                      "lucky|does it end so well for you too]"),
    "how do you think it will end": "[how do you think it will end|what will happen next|how will this end]",
    "has not answered yet": "[has not answered yet|is still silent|has given no answer]",
    "I have not decided": "I [have not decided|cannot decide|still do not know]", "quarrelled": "[quarrelled|argued]",
    "had no money": "had [no money|not one coin|empty pockets]",
    "the rain comes in": "[the rain comes in|it rains in|the water runs in]",
    "an hour late": "[an hour|two hours|much too] late", "coins a week": "coins [a|each] week",
    "coins a month": "coins [a|each] month",
    "lives next door": "[lives next door|is my neighbour|lives in the next house]",
    "for hours": "[for hours|hour after hour]", "because": "[because|since]", "afraid of": "[afraid|scared] of",
    ", so": "[, so|, and so]", "but it did not help": "but it [did not help|was no use]",
    "in the end": "[in the end|after many words|at the very end]",
    "the money is gone": "[the money is gone|the money never came back]",
    "I went back": "I [went back|returned the next day|hurried back]", "took the work": "[took the work|said yes]",
    "wants to": "[wants to|would like to]", "on the same day": "on the [same|very same] day",
    "waited too long": "[waited|thought about it] too long",
    "dry and warm": "[dry and warm|warm and dry|as good as new]",
    "paid for everything": "[paid for everything|paid every coin of it]",
    "as loud as before": "[as loud as before|not one bit better]", "gave the work to": "[gave the work to|chose]",
    "offered me work": "offered me [work|a place]",
    # Optional adjectives, only on nouns whose look matters to nobody later on.
    "storm": "[|great |sudden |wild ]storm", "rock": "[|sharp |black |hidden ]rock",
    "rocks": "[|sharp |black |hidden ]rocks", "crowd": "[|thick |merry ]crowd", "pier": "[|long |old |wet ]pier",
    "beach": "[|wide |white |empty ]beach", "thief": "[|young |quick |clever ]thief", "pipe": "[|rusty |thin ]pipe",
    "wind": "[|hard |cold |east ]wind", "stairs": "[|dark |steep ]stairs", "cart": "[|red |heavy |full ]cart",
    "street": "[|narrow |busy ]street", "guard": "[|tall |sleepy |friendly ]guard", "fence": "[|low |wooden ]fence",
    "yard": "[|little |stony ]yard", "garden": "[|pretty |green ]garden", "bench": "[|wooden |wet ]bench",
    "blanket": "[|soft |blue |clean ]blanket", "soup": "[|hot |thin |cold ]soup", "note": "[|big |short ]note",
    "mast": "[|tall |thin ]mast", "shed": "[|dry |small ]shed", "seagulls": "[|loud |hungry |white ]seagulls",
    "ladder": "[|long |borrowed ]ladder", "carpenter": "[|good |young |quick ]carpenter",
    "speech": "[|short |funny |long ]speech", "chapel": "[|little |old ]chapel", "crack": "[|long |thin ]crack",
    "ship": "[|big |late |foreign ]ship", "button": "[|brass |broken ]button", "coat": "[|long |good |grey ]coat",
    "wool": "[|soft |white ]wool", "gate": "[|wooden |back ]gate", "thunder": "[|loud |sudden ]thunder",
    "shop": "[|little |corner ]shop", "is gone": "[is gone|has gone]", "a hole in": "[a hole|a big hole] in",
}


def vary(schemas: list[Schema], variants: dict[str, str]) -> list[Schema]:
    """Return the schemas with every phrase of `variants` replaced by its alternatives, once in each template's text."""
    phrase = re.compile(
        r"(?<![\w{.])(?:" + "|".join(map(re.escape, sorted(variants, key=len, reverse=True))) + r")(?![\w}])"
    )

    def each(templates: list[str]) -> list[str]:
        return [phrase.sub(lambda found: variants[found.group()], template) for template in templates]

    def beat(old: Beat) -> Beat:
        return replace(
            old,
            options=each(old.options)
            if isinstance(old.options, list)
            else {key: each(templates) for key, templates in old.options.items()},
        )

    return [replace(schema, beats=[beat(old) for old in schema.beats]) for schema in schemas]


SCHEMAS = vary([
    Schema(
        "noise",
        {
            "neighbour": "person", "beast": "beast", "house": "number", "price": "price", "count": "price",
            "friend": "person", "season": "season", "other": "number", "weekday": "weekday",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "I live at number {house} in the [old|lower|long] street, and {neighbour} lives next door.",
                "my house is number {house} near the harbour, right next to the house of {neighbour}.",
                "since {season} I have lived at number {house}, next door to {neighbour}.",
                "there is only a thin wall between number {house}, where I live, and the house of {neighbour}.",
            ]),
            Beat("animal", [
                "[last week|a month ago|in {season}] {neighbour} bought {beast.a} for {price} coins.",
                "{neighbour} keeps {beast.a} [in the yard|behind the house].",
                "{neighbour} won {beast.a} at the fair with ticket number {price} and took it home.",
            ]),
            who("neighbour"),
            Beat("cause", {
                "hungry~3": [
                    ("nobody feeds the {beast} [in the evening|after dark], so it "
                     "{beast.cries} [all night|until morning]."),
                    "the {beast} is hungry and {beast.cries} [all night|for hours].",
                ],
                "lonely~3": [
                    "the {beast} {beast.cries} [all night|until morning] because it is lonely.",
                    "the {beast} has no company, so it {beast.cries} [in the dark|all night].",
                ],
                "fence~2": [
                    ("the fence is broken, so the {beast} comes into my garden and "
                     "{beast.cries} [all night|until morning]."),
                    ("every night the {beast} walks through a hole in the fence and "
                     "{beast.cries} [at my door|under my window]."),
                ],
                "light": [
                    ("the {beast} is afraid of the lighthouse and {beast.cries} [each time "
                     "the light comes round|all night]."),
                    "when the lighthouse shines into the yard, the {beast} {beast.cries} [for hours|in fear].",
                ],
            }, valence=-1),
            Beat("effect", [
                "last night I counted {count} times before I fell asleep.",
                "I have not slept well for {count} days.", "I put wool in my ears, but it did not help.",
                "at work I fell asleep [over my soup|on my feet].",
            ], p=0.6, valence=-1),
            Beat("witness", [
                "my friend {friend} lives at number {other} and hears it too.",
                "even {friend}, who lives at number {other}, cannot sleep.",
            ], when=LONG),
            Beat("ask", [
                "I asked {neighbour} [kindly|twice|on {weekday}] to do something about it.",
                "I wrote {neighbour} a [kind|short|long] letter.",
                "I knocked on the door and asked {neighbour} for one quiet night.",
                '"Please make it stop," I said to {neighbour}.',
            ]),
            Beat("advice", [
                "{friend} told me to [stay calm|go to the council|bring {neighbour} a cake].",
                '"Talk to {neighbour} again," {friend} said.',
            ], when=LONG),
            LISTENER,
            Beat("answer", {
                "good": [
                    '"I am so sorry, I sleep like a stone," {neighbour} said.',
                    "{neighbour} [turned red|was surprised] and said sorry.",
                ],
                "bad": ['"It is only {beast.a}," {neighbour} said.', '"Then shut your window," {neighbour} said.'],
                "open": [
                    '"I will think about it," {neighbour} said.',
                    "{neighbour} [nodded|looked at the {beast}] and said nothing.",
                ],
            }, by="outcome", p=0.5),
            Beat("mended", {
                "hungry": [
                    "now {neighbour} feeds the {beast} every evening, and the nights are quiet.",
                    "since then the {beast} gets its supper on time and sleeps [all night|like a child].",
                ],
                "lonely": [
                    ("[then|later|some days later|one day] {neighbour} found a second "
                     "{beast}, and now [both sleep|nobody is lonely and the nights are quiet]."),
                    "now the {beast} may sleep in the kitchen with {neighbour}, and the nights are quiet.",
                ],
                "fence": [
                    "we mended the fence together, and now the {beast} [stays at home|sleeps in its own yard].",
                    "{neighbour} built a new fence, and the nights are quiet again.",
                ],
                "light": [
                    "{neighbour} hung a [thick|dark] cloth in front of the yard, and now the {beast} sleeps.",
                    "now the {beast} sleeps in a shed without a window, and the nights are quiet.",
                ],
            }, by="cause", when={"outcome": "good"}, valence=1),
            Beat("end", {
                "bad": [
                    "{neighbour} shut the door, and the {beast} is [as loud as before|louder than ever].",
                    "{neighbour} told me to move away, and nothing has changed.",
                    "{neighbour} laughed at me, and the nights are [still|as] loud as before.",
                ],
                "open": [
                    "{neighbour} promised to give me an answer on {weekday}.",
                    "{neighbour} may do something about it, but [not before {weekday}|I am not sure].",
                    "I am still waiting to see what {neighbour} will do.",
                ],
            }, by="outcome", valence={"bad": -1}),
            FEELING,
            AFTER,
            question(
                ["should I bring {neighbour} a cake?"],
                ["should I go to the council?", "should I buy the {beast} myself?"],
                ["should I wait until {weekday}?", "should I ask {neighbour} again?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "boat",
        {
            "friend": "person", "price": "price", "cost": "price", "deposit": "price", "years": "age",
            "witness": "person", "color": "color", "builder": "number", "weekday": "weekday", "season": "season",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "I own a [small|fast|good] {color} boat that is {years} years old.",
                "[last year|in {season}] I bought {color.a} boat for {price} coins.",
                "my {color} boat lies at place number {builder} in the harbour.",
                "I saved for {years} months to buy a [small|good] {color} boat.",
            ]),
            Beat("lend", [
                "on {weekday} {friend} asked to borrow it [for a day|to go fishing|to visit the island].",
                ("my friend {friend} wanted to [go fishing|sail around the bay], so I lent "
                 "it to {friend.him} on {weekday}."),
                '"May I take your boat on {weekday}?" asked my friend {friend}.',
            ]),
            who("friend"),
            Beat("warning", [
                "I told {friend} to be careful [near the rocks|with the sail].",
                "I said yes, because we are old friends.",
                "I asked for {deposit} coins [as a deposit|first], but {friend} only laughed.",
            ], p=0.5),
            Beat("cause", {
                "rock~3": [
                    "{friend} hit a rock near the [pier|lighthouse|island], and the mast broke.",
                    "{friend} sailed too close to the rocks and broke the [mast|bottom].",
                ],
                "storm~3": [
                    "{friend} went out in a storm, and the wind broke the mast.",
                    "a storm came, {friend} [did not turn back|stayed out], and the mast broke.",
                ],
                "rope~2": [
                    ("{friend} tied the boat with a bad rope, and at night it [drifted away "
                     "and |]broke on the stones."),
                    "{friend} forgot to tie the boat, and in the morning it lay broken on the beach.",
                ],
                "sleep": [
                    "{friend} fell asleep at the oars, and the boat ran onto the beach and broke.",
                    "{friend} took a [long|short] nap on board, and the boat broke on the pier.",
                ],
            }, valence=-1),
            Beat("witness", [
                "{witness} saw it all from the [pier|beach].", "{witness} helped to pull the boat out of the water.",
            ], when=LONG),
            Beat("repair", [
                "the boat builder asks {cost} coins for the repair.",
                "a new mast and new boards cost {cost} coins.", "the repair will take {cost} days.",
            ], p=0.8, valence=-1),
            Beat("opinion", [
                '"{friend} should pay for it," {witness} said.',
                "{witness} says that [such things happen at sea|{friend} was careless].",
            ], when=LONG),
            LISTENER,
            Beat("end", {
                "good": [
                    "{friend} paid for everything and [even |]helped me to paint the boat.",
                    "{friend} said sorry and worked with me every evening until the boat was mended.",
                    "on {weekday} {friend} came with a new mast, and we mended the boat together.",
                ],
                "bad": [
                    "{friend} will not pay and says that the boat was old.",
                    ("now {friend} [does not open the door|looks away] when I ask for the "
                     "money, and the boat stays broken."),
                    '"It was your own bad boat," {friend} said, and refused to pay.',
                ],
                "open": [
                    "{friend} says that {friend.he} will pay, but [has no money|not yet|cannot say when].",
                    "{friend} has asked me to wait until {weekday}.",
                    "{friend} wants to pay half of it, and I have not answered yet.",
                ],
            }, by="outcome", valence=END_VALENCE),
            FEELING,
            AFTER,
            question(
                ["would you lend {friend} a boat again?"],
                ["is {friend} still a friend?", "should I stop lending things to friends?"],
                [
                    "should I wait or take the boat to the builder myself?",
                    "is it fair to ask {friend} for all of it?",
                ],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "wages",
        {
            "boss": "person", "job": "job", "tries": "price", "pay": "price", "weekday": "weekday", "finder": "person",
            "years": "age", "thing": "thing", "house": "number",
            **COMMON,
        },
        [
            WORK_INTRO,
            Beat("setting", [
                "I work as {job.a} for {boss} and earn {pay} coins a week.",
                "I am {job.a}, and {boss} pays me {pay} coins every {weekday}.",
                "for {years} weeks I have worked for {boss} as {job.a}, at {pay} coins a week.",
            ]),
            who("boss"),
            Beat("plan", [
                "I wanted to buy {thing.a} with the money.",
                "I needed the money for [my rent|my mother|bread and wood].",
                "I had promised the money to my [mother|landlord].",
            ], p=0.6),
            Beat("cause", {
                "hole~3": [
                    "on {weekday} my wages fell through a hole in my pocket [on the way home|on the pier].",
                    ("there was a hole in my coat, and I lost my wages [between the harbour "
                     "and my house|on the way home]."),
                ],
                "thief~3": [
                    "on {weekday} a thief took my wages [in the crowd|on the ferry].",
                    "[at the market|at the inn] somebody stole my wages [out of my bag|while I was talking].",
                ],
                "count~2": [
                    "on {weekday} {boss} counted badly and gave me only half of my wages.",
                    "[this week|last week] half of my wages was missing, because {boss} had counted wrong.",
                ],
                "late~2": [
                    "[this month|since {weekday}] {boss} has paid me nothing, because trade is bad.",
                    "{boss} says that there is no money in the house, so my wages did not come.",
                ],
            }, valence=-1),
            Beat("search", {
                "hole": [
                    "I looked under every bench and found only a button.",
                    "I walked the same way {tries} times and looked at every stone.",
                ],
                "thief": [
                    "I told the guard at number {house}.",
                    "I ran after [the thief|him], but the street was full of people.",
                ],
                "count": [
                    "I counted the coins {tries} times, and it was never enough.",
                    "I showed {boss} the coins on my hand.",
                ],
                "late": [
                    "I have [eaten soup|lived on bread] for {tries} days.",
                    "I asked {boss} for my money [every day|twice].",
                ],
            }, by="cause", p=0.7),
            Beat("helper", [
                "{finder}, who works with me, lent me a few coins.", "{finder} gave me bread and told me not to worry.",
            ], when=LONG, valence=1),
            LISTENER,
            Beat("back", {
                "hole": [
                    ("[then|later|some days later|one day] {finder} found the coins and "
                     "brought all of them to my door."),
                    "[in the evening|next morning] {finder} knocked and held all my wages in one hand.",
                ],
                "thief": [
                    ("[then|later|some days later|one day] {finder} caught the thief, and I "
                     "got all my wages back."),
                    "{finder} held the thief by the coat until the guard came, and I got my wages back.",
                ],
                "count": [
                    ("[then|later|some days later|one day] {boss} counted again, said sorry "
                     "and gave me the other half."),
                    "{boss} looked into the book, turned red and paid me all the rest.",
                ],
                "late": [
                    "on {weekday} {boss} sold {thing.a} and paid me everything.",
                    ("[then|later|some days later|one day] a ship came in, trade was good "
                     "again, and {boss} paid me everything."),
                ],
            }, by="cause", when={"outcome": "good"}, valence=1),
            Beat("gone", {
                "hole": [
                    "nobody has found the money, and {boss} will not pay me twice.",
                    "the money is gone, and {boss} only laughed at me.",
                ],
                "thief": [
                    "the thief was never caught, and {boss} will not help me.",
                    "the money is gone, and {boss} says that it is my own fault.",
                ],
                "count": [
                    "{boss} says that I lost the rest myself, and refuses to pay.",
                    "{boss} will not count again and called me a liar.",
                ],
                "late": [
                    "now {boss} has closed the shop, and I will never see my money.",
                    "{boss} refused to pay and sent me away.",
                ],
            }, by="cause", when={"outcome": "bad"}, valence=-1),
            Beat("wait", [
                "{boss} has promised to talk about it on {weekday}.", "{boss} wants to help me, but has not said how.",
                "{boss} says that I will hear more [soon|on {weekday}].",
            ], when={"outcome": "open"}),
            FEELING,
            AFTER,
            question(
                ["how can I say thanks?"],
                ["should I look for other work?", "should I go to the council?"],
                ["should I trust {boss}?", "how long would you wait?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "trip",
        {
            "friend": "person", "goal": "goal", "price": "price", "days": "price", "years": "few",
            "third": "person", "weekday": "weekday", "hour": "hour", "food": "food", "family": "family",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "{friend} and I have been friends for {years} years.",
                "my best friend {friend} lives [across the street|two doors away].",
                "I have known {friend} since we were in school together.",
            ]),
            Beat("plan", [
                "we wanted to [sail|go] to the {goal} on {weekday}.", "for weeks we had planned a trip to the {goal}.",
                "we saved {price} coins for a trip to the {goal}.",
                "on {weekday} we were going to see the {goal} [together|at last].",
            ]),
            who("friend"),
            Beat("pack", [
                "I had packed {food.a} and two blankets.", "the ferry was to leave at {hour}.",
                "I paid {price} coins for the ferry.",
            ], p=0.6),
            Beat("cause", {
                "late~3": [
                    "{friend} came an hour late, and we missed the ferry.",
                    "{friend} overslept, so the ferry left without us.",
                ],
                "money~3": [
                    "on the pier {friend} had no money and wanted me to pay for both of us.",
                    "{friend} had spent {friend.his} part of the money [on cards|at the inn].",
                ],
                "guest~2": [
                    "{friend} brought {third} along without asking me.",
                    "without a word to me {friend} had asked {third} to come too.",
                ],
                "fear~1": [
                    "at the last moment {friend} was afraid of the [waves|water] and would not go on board.",
                    "{friend} saw the [high waves|grey sky] and refused to go.",
                ],
            }, valence=-1),
            Beat("quarrel", [
                "we quarrelled [on the pier|in front of everybody], and I went home alone.",
                '"You have spoiled it all," I shouted.', "I said [hard|bad] words that I should not have said.",
                "we shouted at each other until the seagulls flew away.",
            ], valence=-1),
            Beat("between", [
                "my {family} says that we are both as stubborn as donkeys.",
                "my {family} told me to write a letter first.",
            ], when=LONG),
            Beat("time", [
                "that was {days} days ago.", "since then I have eaten my supper alone.",
                "since then I have walked past {friend}'s door {days} times.",
            ], p=0.4),
            LISTENER,
            Beat("end", {
                "good": [
                    "on {weekday} {friend} came with {food.a}, and we forgave each other.",
                    ("[then|later|some days later|one day] I said sorry, {friend} said "
                     "sorry, and now we will go to the {goal} together."),
                    "at last we talked about it, laughed and made up.",
                ],
                "bad": [
                    "now {friend} does not speak to me [any more|at all].",
                    "I tried to make up, but {friend} shut the door.",
                    "{friend} has found a new best friend, and we are not friends any more.",
                ],
                "open": [
                    "I have written {friend} a letter, but there is no answer yet.",
                    "{friend} wants to talk on {weekday}, and I have not answered.",
                    "I have not decided whether to forgive {friend}.",
                ],
            }, by="outcome", valence=END_VALENCE),
            FEELING,
            AFTER,
            question(
                ["what should we take with us next time?", "do you also quarrel with your best friend?"],
                ["can a friendship of so many years end like this?", "how do I win {friend} back?"],
                ["who should speak first?", "should I forgive {friend}?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "offer",
        {
            "boss": "person", "town": "town", "job": "job", "pay": "price", "old_pay": "price", "years": "age",
            "miles": "price", "nights": "price", "rival": "person", "weekday": "weekday", "friend": "person",
            "family": "family",
            **COMMON,
        },
        [
            WORK_INTRO,
            Beat("setting", [
                "I have lived in this harbour for {years} years.",
                "here I work on the pier for {old_pay} coins a week.",
                "I carry boxes in the harbour and earn {old_pay} coins a week.",
            ]),
            Beat("offer", [
                "on {weekday} {boss} from {town} offered me work as {job.a} for {pay} coins a week.",
                "{boss}, who lives in {town}, needs {job.a} and asked me to come.",
                "a letter came from {boss} in {town}, who wants me as {job.a} for {pay} coins a week.",
            ], valence=1),
            who("boss"),
            Beat("dream", [
                "I have wanted such work since I was a child.", "{town} is {miles} miles from here.",
                "the house that comes with it has number {miles} and a garden.",
            ], p=0.5),
            Beat("cause", {
                "mother~3": [
                    "but my mother is ill and [needs me|cannot come along].", "but I cannot leave my old mother alone.",
                ],
                "house~2": [
                    "but I have just built a house here with my own hands.",
                    "but I have just bought a small house near the beach.",
                ],
                "sea~2": [
                    "but {town} is far from the sea, and I love the sea.",
                    "but in {town} there is no harbour, no pier and no sea.",
                ],
                "friend~2": ["but {friend} and I wanted to open a shop here.", "but I had promised {friend} to stay."],
            }),
            Beat("talk", [
                "my {family} says that I should go.", '"You will regret it if you stay," my {family} said.',
                "my {family} cried and gave me a warm coat.",
            ], when=LONG),
            Beat("doubt", [
                "for {nights} nights I lay awake and thought about it.",
                "I walked up and down the pier all night.", "I wrote two letters, one yes and one no.",
            ], p=0.5),
            LISTENER,
            Beat("happy", {
                "mother": [
                    ("[then|later|some days later|one day] {boss} found a warm room for my "
                     "mother too, and now we both live in {town}."),
                    "my mother told me to go, I took the work, and she is well again.",
                ],
                "house": [
                    ("[then|later|some days later|one day] my {family} moved into the house, "
                     "and I took the work in {town}."),
                    "I sold the house for a good price and took the work in {town}.",
                ],
                "sea": [
                    "I took the work, and every {weekday} I come home to the sea.",
                    "I took the work, and {boss} lets me spend the summer at the sea.",
                ],
                "friend": [
                    ("[then|later|some days later|one day] {friend} came with me to {town}, "
                     "and I took the work."),
                    "{friend} told me to go, so I took the work in {town}.",
                ],
            }, by="cause", when={"outcome": "good"}, valence=1),
            Beat("end", {
                "bad": [
                    "I waited too long, and {boss} gave the work to {rival}.",
                    "when I said yes at last, {rival} already had the work.",
                    ("[then|later|some days later|one day] {boss} wrote that {rival} would "
                     "do it for less, and the offer was gone."),
                ],
                "open": [
                    "I must give {boss} an answer on {weekday}.", "I have to decide before {weekday}.",
                    "{boss} is waiting, and I still have not decided.",
                ],
            }, by="outcome", valence={"bad": -1}),
            FEELING,
            AFTER,
            question(
                ["how did you make new friends in a new town?", "what should I pack?"],
                ["should I ask {boss} again?", "did I wait too long?"],
                ["should I stay or go?", "what would you choose, the work or the harbour?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "leak",
        {
            "landlord": "person", "rent": "price", "house": "number", "buckets": "few", "tenant": "person",
            "thing": "thing", "years": "age", "weekday": "weekday", "cost": "price", "count": "price",
            "season": "season",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "I rent a room at number {house} from {landlord} for {rent} coins a month.",
                "my landlord {landlord} takes {rent} coins a month for a small room.",
                "{landlord} owns number {house}, where I rent a room under the roof.",
                "for {years} months I have rented a room from {landlord}.",
            ]),
            who("landlord"),
            Beat("cause", {
                "storm~3": [
                    "in the last storm the wind took part of the roof, and now water comes in.",
                    "since the storm [in {season}|last week] the roof leaks [over my bed|in two places].",
                ],
                "pipe~3": [
                    "a pipe has burst in the wall, and the water runs [down the stairs|over the floor].",
                    "there is a crack in the pipe over my bed, and it drips all night.",
                ],
                "window~2": [
                    "the window does not shut, so the rain comes in.",
                    "the frame of the window is rotten, and the rain runs down the wall.",
                ],
                "gulls": [
                    "seagulls have built a nest on the roof and pulled out the stones, so it leaks.",
                    "the seagulls have made a hole in the roof, and now it leaks.",
                ],
            }, valence=-1),
            Beat("damage", [
                "my {thing} is [wet|ruined|soft as soup].", "I sleep between {buckets} buckets.",
                "the water reached my {thing}.", "in one night I emptied the bucket {count} times.",
            ], p=0.8, valence=-1),
            Beat(
                "tenant",
                ["{tenant}, who lives under me, has a wet bed too.", "now it drips on {tenant}, who lives below."],
                when=LONG,
                valence=-1,
            ),
            Beat("ask", [
                "I told {landlord} about it [on {weekday}|twice|the same day].",
                "I showed {landlord} the wet [wall|bed|floor].", "I wrote {landlord} a letter about the water.",
            ]),
            Beat("tenant_says", [
                "{tenant} does not want to pay the rent before it is dry.", "{tenant} has gone to {landlord} with me.",
            ], when=LONG),
            LISTENER,
            Beat("end", {
                "good": [
                    "{landlord} came [the same day|with a ladder] and repaired it.",
                    "{landlord} sent a carpenter, and now the room is dry and warm.",
                    "{landlord} paid {cost} coins for the repair and gave me a month for free.",
                ],
                "bad": [
                    "{landlord} will not repair it and wants more rent.",
                    '"A little water is healthy," {landlord} said, and did nothing.',
                    "{landlord} says that I must pay {cost} coins for the repair myself.",
                ],
                "open": [
                    "{landlord} has promised to [look at it|send somebody] on {weekday}.",
                    "{landlord} is looking for a cheap carpenter, and I am looking for a dry place to sleep.",
                    "{landlord} has not answered yet.",
                ],
            }, by="outcome", valence=END_VALENCE),
            FEELING,
            AFTER,
            question(
                ["how can I dry my {thing}?", "is there a better landlord in this town?"],
                ["should I stop paying the rent?", "should I move out?"],
                ["should I repair it myself?", "must I pay rent for a wet room?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "wedding",
        {
            "family": "family", "groom": "person", "weekday": "weekday", "guests": "price", "age": "age",
            "friend": "person", "place": "place", "price": "price", "weeks": "price", "food": "food",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "my {family} and {groom} will marry on {weekday}.",
                "on {weekday} there is a wedding, because my {family} is marrying {groom}.",
                "my {family} is going to marry {groom} on {weekday} with {guests} guests.",
            ]),
            who("groom"),
            Beat("plan", [
                "I am to bring {food.a}.", "I am to give the speech.", "the party will be {place.at}.",
                "the dress and the flowers cost {price} coins.", "the chapel is ready, and {price} candles are bought.",
            ], p=0.8),
            Beat("cause", {
                "race~3": [
                    "but on the same day there is the great boat race, and I have trained for {weeks} weeks.",
                    "but I am to sail in the boat race on the same day.",
                ],
                "work~3": [
                    "but I must work on the same day, because a ship comes in.",
                    "but on that day I have to work on the ferry.",
                ],
                "exam~2": [
                    "but on the same day I have my exam as a pilot.",
                    "but my school holds the exam on the very same day.",
                ],
                "wedding~2": [
                    "but my friend {friend} marries on the same day.",
                    "but I have promised to be at the wedding of {friend} on the same day.",
                ],
            }),
            Beat("anger", {
                "race": ["my {family} says that a boat is no {family}.", '"It is only a race," {groom} said.'],
                "work": ["{groom} says that work can wait.", '"You always work," my {family} said.'],
                "exam": [
                    "{groom} thinks that I could take the exam [next year|later].",
                    '"You always find a reason," my {family} said.',
                ],
                "wedding": [
                    "my {family} says that I must choose.", '"Is {friend} more to you than I am?" asked my {family}.',
                ],
            }, by="cause", p=0.6, valence=-1),
            Beat("mother", [
                "our mother, who is {age} years old, does not want to hear about it.",
                "our mother cried over the {food}.", "our mother says that families must stay together.",
            ], when=LONG),
            LISTENER,
            Beat("solved", {
                "race": [
                    ("[then|later|some days later|one day] the wind dropped, the race was "
                     "moved to the next day, and I could go to the wedding."),
                    "I won the race in the morning and danced at the wedding in the evening.",
                ],
                "work": [
                    ("[then|later|some days later|one day] a friend worked for me, and I "
                     "could dance at the wedding all night."),
                    ("[then|later|some days later|one day] I got the evening free and came "
                     "to the wedding in time."),
                ],
                "exam": [
                    ("[then|later|some days later|one day] the teacher let me take the exam "
                     "one day early, and I came to the wedding."),
                    "I took the exam in the morning and danced at the wedding in the evening.",
                ],
                "wedding": [
                    "in the end we made one big wedding of the two, with {guests} guests.",
                    ("[then|later|some days later|one day] {friend} moved the other wedding "
                     "to the next day, and I could go to both."),
                ],
            }, by="cause", when={"outcome": "good"}, valence=1),
            Beat("end", {
                "bad": [
                    "I missed the wedding, and my {family} does not speak to me any more.",
                    "I did not go, and {groom} sent my gift back.",
                    "I came too late to the wedding, and my {family} has not forgiven me.",
                ],
                "open": [
                    "I must choose before {weekday}.", "my {family} is waiting for my answer.",
                    "I have not decided where I will be on {weekday}.",
                ],
            }, by="outcome", valence={"bad": -1}),
            FEELING,
            AFTER,
            question(
                ["what do you give to two happy people?"],
                ["how do I make up with my {family}?", "would you forgive me?"],
                ["which of the two would you choose?", "how do I tell my {family}?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "refund",
        {
            "seller": "person", "thing": "thing", "price": "price", "house": "number", "days": "few",
            "friend": "person", "weekday": "weekday", "other": "price", "paid": "price", "relation": "relation",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "on {weekday} I bought {thing.a} for {price} coins [in the shop|at the stall] of {seller}.",
                "{seller} has a shop at number {house}, and there I bought {thing.a}.",
                "I paid {seller} {price} coins for {thing.a}.",
                "in the shop window of {seller} I saw {thing.a} for {price} coins and bought it.",
            ]),
            who("seller"),
            Beat("reason", [
                "it was to be a gift for my {relation}.", "I had wanted one for a long time.",
                "I had saved for {other} weeks.",
            ], p=0.6),
            Beat("cause", {
                "broke~3": [
                    "after {days} days the {thing} broke [in my hands|in two].",
                    "at home the {thing} broke [at once|the first time I used it].",
                ],
                "wrong~2": [
                    "at home I opened the box, and the {thing} was not the one I had paid for.",
                    "{seller} had put a different {thing} into my bag, a much cheaper one.",
                ],
                "never~2": [
                    "{seller} was going to send it to my house, but it never came.",
                    "I paid first, but {seller} never sent the {thing}.",
                ],
                "painted~2": [
                    "after the first rain the new paint came off, and under it was an old {thing}.",
                    "{seller} sold it as new, but the {thing} was old and freshly painted.",
                ],
            }, valence=-1),
            Beat("ask", [
                "I went back and asked for my money.", '"I want my money back," I said to {seller}.',
                "I asked {seller} for my money [twice|on {weekday}].",
                "I stood in the shop for {days} hours and asked for my money.",
            ]),
            Beat("friend", [
                "{friend} paid {paid} coins there and had the same trouble.",
                "{friend} was in the shop too and heard every word.",
            ], when=LONG),
            Beat("friend_says", [
                '"Never buy from {seller}," {friend} said.', "{friend} would [tell everybody|go there with a drum].",
            ], when=LONG),
            LISTENER,
            Beat("end", {
                "good": [
                    "{seller} gave me the money back and [said sorry|a jar of honey too].",
                    "in the end {seller} paid me back all of it.",
                    "{seller} looked at the paper, said sorry and gave me back my money.",
                ],
                "bad": [
                    "{seller} says that sold is sold and keeps my money.",
                    "{seller} will not pay me back and [told me to go|pointed at the door].",
                    "{seller} laughed, shut the shop and kept my money.",
                ],
                "open": [
                    "{seller} wants to see the paper first, and I am still looking for it.",
                    "{seller} has promised to decide on {weekday}.",
                    "{seller} says that I may get half of it, and I have not said yes.",
                ],
            }, by="outcome", valence=END_VALENCE),
            FEELING,
            AFTER,
            question(
                ["would you buy from {seller} again?"],
                ["should I tell the council?", "does anyone need a bad {thing}?"],
                ["should I wait or ask again?", "where do you keep your papers?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "found_dog",
        {
            "place": "place", "tag": "number", "color": "color", "owner": "person", "age": "age", "vet": "person",
            "price": "price", "notes": "price", "weather": "weather", "weekday": "weekday", "food": "food",
            "second": "person",
            **COMMON,
        },
        [
            INTRO,
            Beat("setting", [
                "on {weather.a} {weekday} I found a [small|thin|big] {color} dog {place.at}.",
                "last {weekday} {color.a} dog followed me home {place.from}.",
                "a [small|thin|wet] {color} dog was sitting {place.at} [all alone|on {weekday}].",
            ]),
            Beat("tag", [
                "on its neck was a tag with the number {tag}.", "it had no tag, only a piece of rope around its neck.",
                "I would say that it is about {age} dog years old.", "its tag said {tag} and nothing more.",
            ], p=0.7),
            Beat("care", [
                "I gave it {food.a} and a warm blanket.", "it ate all my {food} and slept on my feet.",
                "it will not leave my side.", "I washed it and paid {price} coins for its food.",
            ], p=0.8, valence=1),
            LISTENER,
            Beat("notice", [
                "I wrote {notes} notes and put them on every door.",
                "I asked [in every shop|at every door on the harbour].",
                "[then|later|some days later|one day] I put a note in the window of the bakery.",
            ]),
            Beat("cause", {
                "storm~3": [
                    "on {weekday} {owner} came and said that the dog had run away in a storm.",
                    ("[then|later|some days later|one day] {owner} told me that the thunder "
                     "had frightened the dog away."),
                ],
                "gate~3": [
                    "on {weekday} {owner} came and said that somebody had left the gate open.",
                    ("[then|later|some days later|one day] {owner} told me that the dog had "
                     "run out through an open gate."),
                ],
                "ferry~2": [
                    "on {weekday} {owner} came and said that the dog had jumped off the ferry.",
                    ("[then|later|some days later|one day] {owner} told me that the dog had "
                     "been lost on the ferry."),
                ],
                "cart": [
                    "on {weekday} {owner} came and said that the dog had fallen off a cart.",
                    ("[then|later|some days later|one day] {owner} told me that the dog had "
                     "jumped off a hay cart."),
                ],
            }),
            who("owner"),
            Beat("vet", [
                "{vet}, who looks after animals, says that it was thin and tired.",
                "{vet} from next door was there too and liked the dog.",
            ], when=LONG),
            Beat("end", {
                "good": [
                    "the dog [jumped for joy|knew {owner} at once], and I may visit it every {weekday}.",
                    "{owner} thanked me, and the dog is safe at home again.",
                    "{owner} is moving away and let me keep the dog.",
                ],
                "bad": [
                    "{owner} took the dog without a word of thanks, and my room is empty.",
                    "{owner} shouted at me and called me a thief, and the dog is gone.",
                    "before I could give it back, the dog ran away again, and nobody has seen it since.",
                ],
                "open": [
                    "but {second} says that the dog belongs to {second.him}, and I do not know whom to believe.",
                    "but the dog hid behind me, and I have not given it back yet.",
                    "but the dog does not know {owner}, and I have not given it back yet.",
                ],
            }, by="outcome", valence=END_VALENCE),
            FEELING,
            AFTER,
            question(
                ["should I get a dog of my own?"],
                ["would you have kept the dog?", "how do you forget a dog?"],
                ["how can I find out whose dog it is?", "may I keep the dog until then?"],
            ),
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
], VARIANTS)
BY_NAME = {schema.name: schema for schema in SCHEMAS}

ACTORS = {
    "noise": "neighbour", "boat": "friend", "wages": "boss", "trip": "friend", "offer": "boss", "leak": "landlord",
    "wedding": "family", "refund": "seller", "found_dog": "owner",
}

# Weight of each fact or role that a summary should keep.
KEY_FACTS = {
    "noise": {"outcome": 3, "neighbour": 3, "cause": 2, "beast": 2}, "boat": {"outcome": 3, "friend": 3, "cause": 2},
    "wages": {"outcome": 3, "boss": 3, "cause": 2}, "trip": {"outcome": 3, "friend": 3, "cause": 2, "goal": 1},
    "offer": {"outcome": 3, "boss": 3, "cause": 2, "town": 2, "job": 1},
    "leak": {"outcome": 3, "landlord": 3, "cause": 2}, "wedding": {"outcome": 3, "family": 3, "cause": 2, "groom": 1},
    "refund": {"outcome": 3, "seller": 3, "cause": 2, "thing": 2},
    "found_dog": {"outcome": 3, "owner": 3, "cause": 2, "place": 1},
}

SUBREDDITS = {
    "noise": ("neighbours", "advice"), "boat": ("boats", "friends"), "wages": ("work", "money"),
    "trip": ("friends", "advice"), "offer": ("work", "advice"), "leak": ("renting", "neighbours"),
    "wedding": ("family", "advice"), "refund": ("money", "shopping"), "found_dog": ("dogs", "harbour"),
}


def about(schema: Schema, beats: list[Beat], facts: dict | None = None) -> Schema:
    """Return a schema that tells more about a told `schema`: same name, roles and kinds of entity, other beats."""
    return Schema(schema.name, schema.roles, beats, facts=facts or {}, kinds=schema.kinds)


TITLES = [
    about(BY_NAME[name], [Beat("title", templates)])
    for name, templates in {
        "noise": [
            "my neighbour has a loud {beast}.", "{neighbour} and the {beast} next door.",
            "I cannot sleep because of {beast.a}.", "how do I stop {beast.a}?",
        ],
        "boat": [
            "I lent my boat to {friend}.", "my friend broke my {color} boat.", "never lend a boat to a friend.",
            "who pays for my broken boat?",
        ],
        "wages": [
            "my wages are gone.", "a week of work and no money.", "{boss} and my lost wages.",
            "how do I get my wages back?",
        ],
        "trip": [
            "I quarrelled with my best friend.", "our trip to the {goal} went wrong.", "{friend} spoiled our trip.",
            "a trip and a quarrel.",
        ],
        "offer": [
            "a job in {town}.", "I was offered work as {job.a}.", "should one leave the harbour for {town}?",
            "stay at home or go to {town}?",
        ],
        "leak": [
            "my room is full of water.", "my landlord and the leak.", "water in my room at number {house}.",
            "{landlord} and {buckets} buckets.",
        ],
        "wedding": [
            "two things on one day.", "the wedding of my {family}.", "the wedding is on the wrong day.",
            "my {family} marries on {weekday}.",
        ],
        "refund": [
            "I want my money back.", "I bought {thing.a} from {seller}.", "trouble with {thing.a}.",
            "{price} coins for a bad {thing}.",
        ],
        "found_dog": [
            "I found a dog {place.at}.", "whose dog is this?", "{color.a} dog came home with me.",
            "who has lost {color.a} dog?",
        ],
    }.items()
]


def digest(schema: Schema, what: dict, end: dict, whole: dict, by: str = "cause") -> Schema:
    """Return the summary schema of `schema`: what happened (by the fact `by`) and how it ended, or both at once."""
    return about(schema, [
        Beat("what", what, by=by, when={"form": "two"}),
        Beat("end", end, by="outcome", when={"form": "two"}),
        Beat("whole", whole, by="outcome", when={"form": "one"}),
    ], facts={"form": {"two": 3, "one": 1}})


SUMMARIES = [
    digest(
        BY_NAME["noise"],
        {
            "hungry": [
                "my neighbour {neighbour}'s {beast} is hungry and {beast.cries} at night.",
                "{neighbour} next door does not feed the {beast}, so it {beast.cries} at night.",
                "{neighbour}'s hungry {beast} keeps me awake.",
            ],
            "lonely": [
                "my neighbour {neighbour}'s {beast} is lonely and {beast.cries} at night.",
                "{neighbour}'s lonely {beast} keeps me awake.",
                "next door {neighbour}'s {beast} {beast.cries} because it is lonely.",
            ],
            "fence": [
                "my neighbour {neighbour}'s {beast} comes through the broken fence and {beast.cries}.",
                "{neighbour}'s fence is broken, and the {beast} keeps me awake.",
                "through a hole in the fence {neighbour}'s {beast} comes and {beast.cries} at night.",
            ],
            "light": [
                "my neighbour {neighbour}'s {beast} {beast.cries} because it is afraid of the lighthouse.",
                "{neighbour}'s {beast} fears the lighthouse and keeps me awake.",
            ],
        },
        {
            "good": [
                "now it is quiet.", "we found a way, and I can sleep again.",
                "{neighbour} said sorry and put it right.",
            ],
            "bad": [
                "{neighbour} will not do anything about it.", "nothing has changed.",
                "I asked, but {neighbour} does not care.",
            ],
            "open": [
                "{neighbour} has not decided what to do.", "I am waiting for an answer.", "it is not settled yet.",
            ],
        },
        {
            "good": [
                "{neighbour}'s {beast} kept me awake, but now it is quiet.",
                "my neighbour {neighbour} made the loud {beast} quiet when I asked.",
            ],
            "bad": [
                "{neighbour}'s {beast} keeps me awake, and {neighbour} will not do anything about it.",
                "my neighbour {neighbour} does not care that the {beast} is loud all night.",
            ],
            "open": [
                "{neighbour}'s {beast} keeps me awake, and I am waiting for an answer.",
                "my neighbour {neighbour} has not decided what to do about the loud {beast}.",
            ],
        },
    ),
    digest(
        BY_NAME["boat"],
        {
            "rock": [
                "{friend} borrowed my boat and hit a rock.", "I lent {friend} my boat, and it broke on a rock.",
                "my boat is broken because {friend} sailed onto the rocks.",
            ],
            "storm": [
                "{friend} borrowed my boat and broke it in a storm.", "I lent {friend} my boat, and a storm broke it.",
                "my boat is broken because {friend} took it out in a storm.",
            ],
            "rope": [
                "{friend} borrowed my boat and did not tie it well, so it broke.",
                "I lent {friend} my boat, and it broke because it was badly tied.",
            ],
            "sleep": [
                "{friend} borrowed my boat, fell asleep and broke it.",
                "I lent {friend} my boat, and it broke because {friend} fell asleep.",
            ],
        },
        {
            "good": [
                "{friend} made it good.", "we mended it, and all is well.",
                "{friend} said sorry and helped to repair it.",
            ],
            "bad": ["{friend} will not pay.", "now {friend} refuses to pay for it.", "I get no money for it."],
            "open": [
                "{friend} has not paid yet.", "we have not agreed who pays.", "it is not clear when {friend} will pay.",
            ],
        },
        {
            "good": [
                "{friend} broke my boat, but made it good.",
                "my boat was broken by {friend}, and we are still friends because it is mended.",
            ],
            "bad": [
                "{friend} broke my boat and will not pay.",
                "my boat was broken by {friend}, who refuses to pay for it.",
            ],
            "open": [
                "{friend} broke my boat and has not paid yet.",
                "my boat was broken by {friend}, and it is not clear who pays.",
            ],
        },
    ),
    digest(
        BY_NAME["wages"],
        {
            "hole": [
                "I work for {boss} and lost my wages through a hole in my pocket.",
                "my wages from {boss} fell through a hole.",
            ],
            "thief": ["I work for {boss}, and a thief took my wages.", "my wages from {boss} were stolen."],
            "count": [
                "{boss} counted wrong and gave me half of my wages.",
                "half of my wages was missing because {boss} counted badly.",
            ],
            "late": [
                "{boss} has no money and did not pay my wages.", "my wages did not come because {boss} has no money.",
            ],
        },
        {
            "good": [
                "in the end I got all of it.", "now I have my money, and all is well.", "I got my money after all.",
            ],
            "bad": ["the money is gone for good.", "I will never see the money.", "{boss} will not pay."],
            "open": ["{boss} has not said yet what will happen.", "I am waiting for {boss}.", "it is not settled yet."],
        },
        {
            "good": [
                "the wages I earn with {boss} were gone, but I got all of them in the end.",
                "I had trouble with my wages from {boss}, but now I have my money.",
            ],
            "bad": [
                "the wages I earn with {boss} are gone for good.",
                "I had trouble with my wages from {boss} and will never see the money.",
            ],
            "open": [
                "the wages I earn with {boss} are gone, and I wait for what {boss} will do.",
                "I had trouble with my wages from {boss}, and it is not settled yet.",
            ],
        },
    ),
    digest(
        BY_NAME["trip"],
        {
            "late": [
                "{friend} came late for our trip to the {goal}, and we quarrelled.",
                "I quarrelled with {friend}, who was late for our trip to the {goal}.",
            ],
            "money": [
                "{friend} had no money for our trip to the {goal}, and we quarrelled.",
                "I quarrelled with {friend}, who could not pay for our trip to the {goal}.",
            ],
            "guest": [
                "{friend} brought somebody else on our trip to the {goal}, and we quarrelled.",
                "I quarrelled with {friend}, who brought a guest to our trip to the {goal}.",
            ],
            "fear": [
                "{friend} was afraid to sail to the {goal}, and we quarrelled.",
                "I quarrelled with {friend}, who feared the waves on the way to the {goal}.",
            ],
        },
        {
            "good": ["now we have made up.", "we are friends again.", "we said sorry, and all is well."],
            "bad": [
                "now we are not friends any more.", "we have not made up, and {friend} will not talk.",
                "our friendship is over.",
            ],
            "open": [
                "we have not made up yet.", "I do not know how it will end.",
                "it is not clear whether we will make up.",
            ],
        },
        {
            "good": [
                "{friend} and I quarrelled about a trip to the {goal}, but have made up.",
                "after a quarrel about the {goal} {friend} and I are friends again.",
            ],
            "bad": [
                "{friend} and I quarrelled about a trip to the {goal} and are not friends any more.",
                "a trip to the {goal} ended my friendship with {friend}.",
            ],
            "open": [
                "{friend} and I quarrelled about a trip to the {goal} and have not made up yet.",
                "after a quarrel about the {goal} I do not know how it will end with {friend}.",
            ],
        },
    ),
    digest(
        BY_NAME["offer"],
        {
            "mother": [
                "{boss} offered me work as {job.a} in {town}, but my mother needs me.",
                "I could be {job.a} for {boss} in {town}, but I have an old mother here.",
            ],
            "house": [
                "{boss} offered me work as {job.a} in {town}, but I have a new house here.",
                "I could be {job.a} for {boss} in {town}, but my new house is here.",
            ],
            "sea": [
                "{boss} offered me work as {job.a} in {town}, but I love the sea.",
                "I could be {job.a} for {boss} in {town}, but it is far from the sea.",
            ],
            "friend": [
                "{boss} offered me work as {job.a} in {town}, but a friend wants me here.",
                "I could be {job.a} for {boss} in {town}, but a friend needs me.",
            ],
        },
        {
            "good": ["I took it, and all is well.", "in the end I said yes.", "now I work there."],
            "bad": ["somebody else got it.", "I lost the offer.", "now it is too late."],
            "open": ["I have not decided yet.", "I must choose soon.", "I still do not know what to do."],
        },
        {
            "good": [
                "I took work as {job.a} with {boss} in {town}.",
                "{boss} from {town} offered me work, and in the end I said yes.",
            ],
            "bad": [
                "I lost the offer of work with {boss} in {town}.",
                "{boss} from {town} offered me work, but somebody else got it.",
            ],
            "open": [
                "I have not decided about the work with {boss} in {town}.",
                "{boss} from {town} offered me work, and I must choose soon.",
            ],
        },
    ),
    digest(
        BY_NAME["leak"],
        {
            "storm": [
                "a storm broke the roof over the room I rent from {landlord}.",
                "my landlord {landlord}'s roof leaks since the storm.",
            ],
            "pipe": [
                "a pipe leaks in the room I rent from {landlord}.",
                "my landlord {landlord} has a broken pipe in the house.",
            ],
            "window": [
                "rain comes through the window of the room I rent from {landlord}.",
                "my landlord {landlord} has a bad window in my room, and it rains in.",
            ],
            "gulls": [
                "seagulls broke the roof over the room I rent from {landlord}.",
                "my landlord {landlord}'s roof leaks because of seagulls.",
            ],
        },
        {
            "good": ["{landlord} had it repaired.", "now it is mended and dry.", "it was repaired soon."],
            "bad": [
                "{landlord} will not repair it.", "nobody repairs it, and I am to pay.",
                "I asked, but {landlord} does not care.",
            ],
            "open": ["{landlord} has not repaired it yet.", "I am waiting for the repair.", "it is not settled yet."],
        },
        {
            "good": [
                "water came into my room, but my landlord {landlord} had it repaired.",
                "{landlord} mended the leak in the room I rent.",
            ],
            "bad": [
                "water comes into my room, and my landlord {landlord} will not repair it.",
                "{landlord} does not care about the leak in the room I rent.",
            ],
            "open": [
                "water comes into my room, and I wait for my landlord {landlord}.",
                "{landlord} has not repaired the leak in the room I rent yet.",
            ],
        },
    ),
    digest(
        BY_NAME["wedding"],
        {
            "race": [
                "my {family} marries {groom} on the day of my boat race.",
                "I am in the boat race on the day my {family} marries {groom}.",
            ],
            "work": [
                "my {family} marries {groom} on a day when I must work.",
                "I must work on the day of the wedding of my {family} and {groom}.",
            ],
            "exam": [
                "my {family} marries {groom} on the day of my exam.",
                "I have my exam on the day my {family} marries {groom}.",
            ],
            "wedding": [
                "my {family} marries {groom} on the same day as my friend.",
                "a friend marries on the same day as my {family} and {groom}.",
            ],
        },
        {
            "good": ["in the end I could go.", "it all went well.", "we found a way to do both."],
            "bad": [
                "I missed it, and my {family} is angry.", "now my {family} will not forgive me.",
                "I was not there, and we do not talk.",
            ],
            "open": ["I have not decided where to go.", "I must choose soon.", "I still do not know what to do."],
        },
        {
            "good": [
                "I had something else on the day my {family} married {groom}, but could go in the end.",
                "after some trouble I danced at the wedding of my {family} and {groom}.",
            ],
            "bad": [
                "I missed the wedding of my {family} and {groom}, and we are not on good terms.",
                "my {family} will not forgive me for missing the wedding.",
            ],
            "open": [
                "I have not decided whether to go to the wedding of my {family} and {groom}.",
                "I must choose between the wedding of my {family} and something else.",
            ],
        },
    ),
    digest(
        BY_NAME["refund"],
        {
            "broke": ["I bought {thing.a} from {seller}, and it broke.", "{seller} sold me {thing.a} that broke soon."],
            "wrong": [
                "I bought {thing.a} from {seller} and got the wrong one.",
                "{seller} gave me a different {thing} from the one I paid for.",
            ],
            "never": [
                "I paid {seller} for {thing.a} that never came.",
                "{seller} took my money for {thing.a} and did not send it.",
            ],
            "painted": [
                "I bought {thing.a} from {seller}, and it was old under the paint.",
                "{seller} sold me an old {thing} as a new one.",
            ],
        },
        {
            "good": ["I got my money back.", "in the end {seller} paid me back.", "{seller} gave back the money."],
            "bad": [
                "{seller} will not give back the money.", "I did not get my money back.", "{seller} keeps the money.",
            ],
            "open": [
                "it is not clear whether I will get my money back.", "I am waiting for the money.",
                "{seller} has not decided yet.",
            ],
        },
        {
            "good": [
                "I had trouble with {thing.a} from {seller}, but got my money back.",
                "after some trouble {seller} paid me back for {thing.a}.",
            ],
            "bad": [
                "I had trouble with {thing.a} from {seller} and did not get my money back.",
                "{seller} will not pay me back for {thing.a}.",
            ],
            "open": [
                "I had trouble with {thing.a} from {seller} and am waiting for the money.",
                "{seller} has not decided whether to pay me back for {thing.a}.",
            ],
        },
    ),
    digest(
        BY_NAME["found_dog"],
        {
            "storm": [
                "I found {owner}'s dog {place.at} after it ran away in a storm.",
                "{owner} had lost a dog in a storm, and I found it {place.at}.",
            ],
            "gate": [
                "I found {owner}'s dog {place.at} after it ran out of the gate.",
                "{owner} had lost a dog through an open gate, and I found it {place.at}.",
            ],
            "ferry": [
                "I found {owner}'s dog {place.at} after it was lost on the ferry.",
                "{owner} had lost a dog on the ferry, and I found it {place.at}.",
            ],
            "cart": [
                "I found {owner}'s dog {place.at} after it fell off a cart.",
                "{owner} had lost a dog from a cart, and I found it {place.at}.",
            ],
        },
        {
            "good": [
                "it ended well for all of us.", "now the dog has a good home.", "all of us are happy with the end.",
            ],
            "bad": [
                "now the dog is gone without thanks.", "I lost the dog and got no thanks.",
                "it ended badly, and I miss the dog.",
            ],
            "open": ["I still have the dog.", "it is not clear whose dog it is.", "I have not given it back yet."],
        },
        {
            "good": [
                "I found {owner}'s dog {place.at}, and it ended well for all of us.",
                "the dog I found {place.at} was {owner}'s, and now it has a good home.",
            ],
            "bad": [
                "I found {owner}'s dog {place.at}, and now it is gone and nobody thanked me.",
                "the dog I found {place.at} was {owner}'s, and I miss it.",
            ],
            "open": [
                "I found a dog {place.at} and have not given it to {owner} yet.",
                "{owner} came for the dog I found {place.at}, but it is not clear whose dog it is.",
            ],
        },
    ),
]

# The vague summaries of a hurried writer: true, and of no use.
VAGUE = [
    about(BY_NAME[name], [
        Beat(
            "vague",
            [f"some trouble with {topic}.", f"it is about {topic}.", f"I do not know what to think about {topic}."],
        )
    ])
    for name, topic in {
        "noise": "{beast.a}", "boat": "a boat", "wages": "money", "trip": "a trip", "offer": "some work",
        "leak": "some water", "wedding": "a wedding", "refund": "a shop", "found_dog": "a dog",
    }.items()
]


def longer(schema: Schema) -> Schema:
    """Return `schema` with every optional beat told."""
    return replace(schema, beats=[replace(beat, p=1.0) for beat in schema.beats])


def tell_one(schemas: list[Schema], draw: Draw, long: bool | None) -> Telling:
    """Draw one of `schemas` by weight and tell it; `long` None draws it at the share of pre-training."""
    long = draw.chance(LONG_SHARE) if long is None else long
    schema = draw.pick(schemas, [schema.weight for schema in schemas])
    return tell(
        longer(schema) if long else schema, draw, facts={"schema": schema.name, "long": "yes" if long else "no"}
    )


def summarise(telling: Telling, draw: Draw, kind: str, summaries: list[Schema], vague: list[Schema]) -> str:
    """Return a summary of `telling`: `good`, `lead` (its first sentence) or `vague`."""
    if kind == "lead":
        return telling.sentences[0][0]
    pool = summaries if kind == "good" else vague
    schema = next(schema for schema in pool if schema.name == telling.facts["schema"])
    return tell(schema, draw, telling=telling).text


def generate(draw: Draw, long: bool | None = None, summary: str | None = None) -> Document:
    """Return a post.

    `long` None draws long posts at `LONG_SHARE`; `summary` (none, good, lead, vague) None draws it by `SUMMARY_SHARE`.
    The facts hold `title`, `body` and `summary_text` beside the record. A summary is the second part: `parts[0]` is its
    prompt.
    """
    telling = tell_one(SCHEMAS, draw, long)
    name = telling.facts["schema"]
    title = tell(next(schema for schema in TITLES if schema.name == name), draw, telling=telling).text
    kind = summary or draw.pick(SUMMARY_SHARE, list(SUMMARY_SHARE.values()))
    text = f"SUBREDDIT: r/{draw.pick(SUBREDDITS[name])} TITLE: {title} POST: {telling.text}"
    return document(
        "post",
        telling,
        text,
        " TL;DR:",
        kind,
        "" if kind == "none" else summarise(telling, draw, kind, SUMMARIES, VAGUE),
        ACTORS[name],
        title=title,
    )


def document(
    genre: str, telling: Telling, text: str, cue: str, kind: str, summary: str, actor: str, **facts
) -> Document:
    """Assemble the document and its record of a told text and its summary."""
    record = {
        **telling.record(),
        **facts,
        "actor": actor,
        "body": telling.text,
        "summary": kind, "summary_text": summary,
    }
    return Document(genre, [text] if kind == "none" else [text + cue, " " + summary], record)
