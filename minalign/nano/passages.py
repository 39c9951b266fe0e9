"""Book-like passages: one scene, told at a richness of 0 (bare) to 3 (similes and sound).

The richness is drawn before a word is written and every sentence after the opening shows it:

* 0: plain facts, no adjectives;
* 1: some adjectives;
* 2: what is smelled, heard or touched;
* 3: similes and sound.

The opening is told the same way at every richness, because it is the prompt of the descriptiveness task: what follows
must not be given away by it. A scene is an opening, two to five details in any order, and a closing.
"""

import re
from dataclasses import replace

from minalign.nano.grammar import Beat, Document, Draw, Schema, tell
from minalign.nano.lexicon import LEXICON

ARRIVALS = {"stairs", "tower"}
"""Details that can only come first: one climbs before one looks around."""

RICHNESS = {"0": 3, "1": 4, "2": 3, "3": 2}
"""How often each richness is told: plain writing is more common than poetry."""

_ANIMALS = {
    "market": "goat hen duck goose rabbit lamb pony donkey calf",
    "attic": "cat mouse owl",
    "storm": "cat dog",
    "feast": "cat dog",
    "forest": "fox owl hedgehog squirrel badger rabbit crow",
}

LOCAL_KINDS = {
    f"{scene}_animal": [pair for pair in LEXICON["animal"] if pair[0].name in names.split()]
    for scene, names in _ANIMALS.items()
}
"""The animals that may be met in a scene: no cow in the attic, no seal on the square."""

# Word sets that many scenes share, written `<name>` in the templates below. Two sets used in one sentence are
# disjoint, so that no sentence says "the old man in the old coat".
_SETS = {
    "worn": "[old|worn|rough|heavy]",
    "small": "[small|little|low|narrow]",
    "big": "[big|tall|long|broad]",
    "bright": "[bright|clean|golden|yellow]",
    "dark": "[dark|grey|black|deep]",
    "soft": "[soft|warm|gentle]",
    "cold": "[cold|icy|sharp]",
    "calm": "[calm|quiet|still]",
    "hue": "[red~3|blue~3|green~2|white|brown]",
    "sea": "[salt~3|tar~2|fish~2|wet rope]",
    "creaked": "[creaked|groaned|sighed]",
    "knocked": "[knocked|tapped|bumped]",
    "stopped": "[stopped|waited|stood still] [for a while|for a moment|for a minute]",
}


_OWN_KINDS = ("thing", "job", "food", "color", "place")
_ANOTHER = re.compile(
    r"\{(?:job|friend)"
    r"|\b(fisherman|sailor|farmer|woman|man|girl|boy|soldier|nurse|student|guard|uncle|cook|baker|host)\b"
)
_OBJECT = r"(?:\b(?:to|under|behind|around|over|on|with|rocked|followed|held)|\[led\|pulled\]) $"


def _refer(template: str) -> str:
    """Let the first mention of the hero be a name or a pronoun; `_by_name` keeps the name where that is unclear."""
    first = re.search(r"\{hero(\.\w+)?\}", template)
    if not first:
        return template
    before, form, after = template[: first.start()], first.group(1), template[first.end() :]
    if form == ".his":
        return f"{before}[{{hero}}'s|{{hero.his}}~3]{after}"
    pronoun = "him" if form == ".him" or re.search(_OBJECT, before) else "he"
    return f"{before}[{{hero}}|{{hero.{pronoun}}}~2]{after}"


def _by_name(beat: Beat) -> Beat:
    """Return the beat with the hero's name where `_refer` allowed a pronoun."""
    unclear = re.compile(r"\[(\{hero\}(?:'s)?)\|\{hero\.\w+\}~\d\]")
    return replace(beat, options={key: [unclear.sub(r"\1", t) for t in told] for key, told in beat.options.items()})


def _names_another(beat: Beat, richness: str) -> bool:
    """Say whether the beat may bring in a second person, after whom "he" or "she" would be unclear."""
    return any(_ANOTHER.search(re.split(r"\blike\b", template)[0]) for template in beat.options[richness])


def _expand(template: str) -> str:
    """Write the shared word sets out."""
    for name, words in _SETS.items():
        template = template.replace(f"<{name}>", words)
    return template


def _rich(name: str, bare: list[str], some: list[str], senses: list[str], similes: list[str]) -> Beat:
    """A beat told at each of the four richnesses."""
    own = rf"{{\1_{name}"  # a thing of this detail is not the thing of another

    def write(template: str) -> str:
        return _refer(_expand(re.sub(r"\{(thing|job|food|color|friend|place)\b", own, template)))

    options = {str(level): [write(t) for t in told] for level, told in enumerate((bare, some, senses, similes))}
    return Beat(name, options, by="richness")


def _scene(name: str, opening: list[str], details: list[Beat], closing: Beat, weight: float = 1.0) -> Schema:
    """A scene as a schema; its first beat opens, its last closes, those between are told in any order."""
    beats = [Beat("opening", [_expand(t) for t in opening]), *details, *_ANYWHERE, closing]
    roles = {"hero": "person", "animal": f"{name}_animal", "thing": "thing"}
    roles |= {f"{kind}_{beat.name}": kind for beat in beats for kind in _OWN_KINDS}
    roles |= {f"friend_{beat.name}": "person" for beat in beats}
    roles = {role: kind for role, kind in roles.items() if kind in LEXICON or kind in LOCAL_KINDS}
    return Schema(name, roles, beats, weight=weight, facts={"richness": RICHNESS}, kinds=LOCAL_KINDS)


# Details of the mind and the hand, which fit every scene.
_ANYWHERE = [
    _rich(
        "memory",
        [
            "{hero} thought of {friend}, {job.a} {place.from}.",
            "{hero} [remembered|thought of|hummed a song about] [a day|an evening|a morning] {place.at} with {friend}.",
            "{hero} wanted to [ask|tell|show] {friend} [something|about {thing.a}|about a dream].",
        ],
        [
            "{hero} thought of the [old|small|lost|beautiful] {thing} of [poor|young|good|dear] {friend}.",
            "{hero} remembered a [long|happy|strange|sad] [day|evening|morning] {place.at} with {friend}.",
            "[poor|young|good|dear] {friend} had once lost {thing.a} on such a [quiet|fine|strange|long] day.",
        ],
        [
            "{hero} remembered the [soft|low|deep|rough] voice of {friend} and the [warm|sweet|rich] taste of {food}.",
            "{hero} could almost [hear|touch|smell] the [cool|warm|damp] [stones|boards|air] {place.at}, where "
            "{friend} [sang|whistled|laughed].",
            "the [cool|warm|damp] air smelled of [apples|smoke|rain], as it did {place.at} with {friend}.",
        ],
        [
            "the voice of {friend} [came back|returned] to {hero} like [a bell over water|a song from a boat|a "
            "bird in spring].",
            "a day {place.at} with {friend} [rose|glowed|stayed] in {hero.his} mind like [a lamp|a tune|a coin in "
            "a well].",
            "{hero} thought of {friend}, whose [voice|laugh] was as [warm as {food}|bright as a trumpet|soft as "
            "wool|clear as a bell].",
        ],
    ),
    _rich(
        "hand",
        [
            "{hero} [had|carried|held] {thing.a} for {friend}.",
            "{hero} [had|held|looked at] {thing.a} from {place.a}.",
            "{hero} had {thing.a}, a gift from {job.a}.",
        ],
        [
            "{hero} held {thing.a} in a [clean|brown|soft|torn] cloth for [poor|young|good|dear] {friend}.",
            "{hero} had [a new|a fine|an old|a broken] {thing} from [a kind|a rich|a busy] {job}.",
            "[a new|a fine|an old|a broken] {thing} with {color.a} mark was [safe|dry|warm] in {hero.his} bag.",
        ],
        [
            "the {thing} in {hero.his} hands felt [cold|smooth|rough|damp|warm] and smelled of "
            "[soap|smoke|wax|oil|apples].",
            "in {hero.his} bag the {thing} [knocked|bumped|tapped] [softly|dully|gently] against {hero.his} "
            "[cold|stiff|sore] [knee|side|arm].",
            "{hero} [rubbed|touched|stroked] the [cold|smooth|rough|damp] {thing} from {place.a} until it "
            "[squeaked|felt warm].",
        ],
        [
            "the {thing} from {friend} was as [heavy as a stone|cold as ice|smooth as an egg|warm as bread] in "
            "{hero.his} hands.",
            "the {thing} [knocked|bumped|tapped] in {hero.his} bag like [a heart|a bird in a box|a drum|a slow clock].",
            "{hero} held the {thing} like [a baby|a new egg|a little bird|a full cup] and [hummed|whistled].",
        ],
    ),
]

_HARBOUR = [
    _rich(
        "boats",
        [
            "the boats lay [by the wall|by the pier|in a row|side by side].",
            "there were [boats|three boats|four boats|some boats] [by the wall|by the steps|at the pier].",
        ],
        [
            "the <worn> boats lay [in a row|side by side|close together] by the <small> wall.",
            "[two|three|four] <hue> boats [lay|were tied|rested] at the [long|old|wooden] pier.",
        ],
        [
            "the boats smelled of <sea>, and their [wet|rough|heavy] ropes <creaked> [in the wind|against the wall].",
            "the <hue> boats <knocked> against the [wet|cold|rough] stones and [smelled|stank] of [tar|fish|old "
            "paint].",
        ],
        [
            "the boats <creaked> [like old doors|like old men on the stairs|like tired chairs] and smelled of <sea>.",
            "the <hue> boats <knocked> against the wall [like a slow drum|like a guest at the door|like a "
            "sleepy heart].",
        ],
    ),
    _rich(
        "water",
        [
            "the water [came up to|was under|moved by] the [steps|wall|pier].",
            "there was water [under the pier|on the steps|between the boats].",
        ],
        [
            "the <calm> water [was|looked] [green|grey|dark|clear] [under the pier|by the steps|between the boats].",
            "the [deep|dark|green] water [moved|turned] [slowly|a little] under the [old|long|wooden] pier.",
        ],
        [
            "the [cold|dark|green] water [slapped|splashed|whispered] [under the pier|at the steps] and smelled "
            "of <sea>.",
            "[cool|cold|salty] drops [touched|wet|stung] {hero.his} [hands|face|lips] as the water splashed [at "
            "the steps|under the pier].",
        ],
        [
            "the water [whispered|murmured|sang] under the pier [like a mother to a child|like an old "
            "secret|like people in church].",
            "the [still|dark|green] water [shone|lay] like [glass|a mirror], and it [sang|murmured] [at the "
            "steps|under the pier].",
        ],
    ),
    _rich(
        "gulls",
        [
            "[two|three|some] gulls sat on the [wall|roof|pier].",
            "gulls flew [over the boats|over the water|past the pier].",
        ],
        [
            "[two|three|some] [white|fat|young|hungry] gulls sat on the [old|wet|low] [wall|roof].",
            "[white|grey|hungry] gulls flew [over the small boats|in wide circles|past the long pier].",
        ],
        [
            "[white|hungry|loud] gulls [screamed|cried] over the boats, and the [salty|sharp|fresh] wind "
            "[stung|touched] {hero.his} [cheeks|lips].",
            "the [loud|sharp] cries of the gulls [rang|echoed] over the [wet|cold|stone] wall.",
        ],
        [
            "the gulls [cried|screamed] [like hungry babies|like rusty gates|like children at play] over the "
            "[wet|dark|grey] roofs.",
            "[white|pale] gulls [drifted|floated] over the boats [like scraps of paper|like torn clouds|like "
            "small kites], crying [softly|sharply].",
        ],
    ),
    _rich(
        "fisherman",
        [
            "a fisherman [mended|washed|folded] [a net|his net|the nets] [by the steps|on the wall|on the pier].",
            "{job.a} [came|stood|waited|talked to a sailor] [by the steps|on the pier|by a boat] with {thing.a}.",
        ],
        [
            "[an old|a thin|a tall|a young] fisherman [mended|washed|folded] a [brown|long|torn] net by the steps.",
            "[an old|a thin|a tall|a young] fisherman in {color.a} coat [counted|carried|sold] "
            "[silver|fresh|small|fat] fish.",
        ],
        [
            "[an old|a tall|a young] fisherman [hummed|whistled] over his [wet|rough|salty] net, and his pipe "
            "smelled [sweet|bitter].",
            "a fisherman [dragged|pulled] a [wet|dripping|rough] net over the stones, and it [scraped|hissed] "
            "[softly|loudly].",
        ],
        [
            "a fisherman with hands [like old roots|like rope|as rough as bark] [hummed|whistled] [over his "
            "net|a slow song].",
            "the fisherman's net [lay|dripped] on the stones like [a sleeping animal|a torn curtain], and he "
            "[hummed|whistled] over it.",
        ],
    ),
    _rich(
        "walk",
        [
            "{hero} <stopped> [at the steps|by the wall|at the end of the pier].",
            "{hero} sat down [on the wall|on a box|on the steps] and [watched the boats|watched the water|ate "
            "{food.a}|thought of {thing.a}].",
        ],
        [
            "{hero} sat down on [a low|a dry|an old|a wooden] [box|bench] and [watched the "
            "[slow|distant|little] ships|ate {food.a}].",
            "{hero.he} <stopped> by the [old|round|iron] lamp at the [far|quiet|empty] end of the pier.",
        ],
        [
            "{hero} put a hand on the [rough|cold|wet] wall and [tasted|smelled|breathed in] the salt [on the "
            "wind|in the air].",
            "the [loose|wet|old] boards [creaked|groaned|rang] under {hero.his} [boots|feet], and the "
            "[fresh|salty|sharp] air filled {hero.his} [lungs|nose].",
        ],
        [
            "the boards [sang|creaked|groaned] under {hero} [like an old piano|like a tired ship|like a nest of mice].",
            "the [salty|fresh|sharp] wind [tugged|pulled] at {hero.his} coat [like a child|like an old friend].",
        ],
    ),
]

_HARBOUR_MORNING_SKY = _rich(
    "sky",
    [
        "the sun came up [over the sea|behind the ships|over the roofs].",
        "it was [morning|day], and the [bakers|shops|sailors] were [awake|at work].",
    ],
    [
        "the [pale|red|round|young] sun came up [over the wide sea|behind the tall ships|over the wet roofs].",
        "the [pink|pale|clear] sky [grew|turned] [bright|golden|light] over the [wide|calm|grey] sea.",
    ],
    [
        "the [pale|young|red] sun [warmed|touched] {hero.his} [cheeks|hands|neck], and a bell rang [far "
        "away|over the water|somewhere].",
        "the [cool|fresh|damp] air smelled of [bread|coffee|smoke] [from the bakery|from the houses|from the town].",
    ],
    [
        "the sun [rose|climbed] from the sea like [a gold coin|a ripe orange|a slow balloon], and [the bells "
        "rang|the gulls sang].",
        "the light [poured|ran] over the roofs like [honey|melted butter|warm milk], and [a bell rang "
        "softly|the gutters hummed].",
    ],
)

_HARBOUR_EVENING_SKY = _rich(
    "sky",
    [
        "the sun went down [over the sea|behind the ships|behind the roofs].",
        "it was [evening|late], and the [shops|stalls|windows] were [closed|shut].",
    ],
    [
        "the [red|round|tired|low] sun went down [over the wide sea|behind the tall ships|behind the old roofs].",
        "the [pink|red|wide] sky [grew|turned] [dark|purple|grey] over the [calm|quiet|empty] sea.",
    ],
    [
        "the [last|low|red] sun [warmed|touched] {hero.his} [cheeks|hands|neck], and a bell rang [far away|over "
        "the water|somewhere].",
        "the [cool|soft|damp] air smelled of [soup|onions|smoke] [from the inn|from the houses|from the town].",
    ],
    [
        "the sun [sank|slipped] into the sea like [a gold coin|a tired swimmer|a red stone], and [a bell "
        "rang|the gulls fell silent].",
        "the dusk [fell|settled] on the roofs like [a soft blanket|grey wool|fine dust], and [a bell rang "
        "softly|the ropes hummed].",
    ],
)

_HARBOUR_CLOSING = _rich(
    "closing",
    [
        "then {hero} [went|walked] [home|back to town|up to the town].",
        "after that {hero.he} [turned around|bought a fish|said goodbye] and [went|walked] home.",
    ],
    [
        "then {hero} walked [home|back] along the [narrow|empty|crooked] street with a [light|quiet|happy] heart.",
        "{hero} took [a smooth|a round|a white] stone from the steps and went home by the [short|steep|old] street.",
    ],
    [
        "{hero} went home with salt on {hero.his} lips and [cold|damp|stiff] fingers.",
        "{hero.his} coat [still smelled|smelled all day] of [salt|tar|smoke], and the [cries|calls] of the "
        "gulls [rang|stayed] in {hero.his} ears.",
    ],
    [
        "{hero} went home, and the sea [sang|murmured|breathed] behind {hero.him} like [a sleeping giant|a "
        "shell at the ear|an old song].",
        "the sound of the water followed {hero} home like [a soft song|a shy child].",
    ],
)

_KITCHEN = [
    _rich(
        "stove",
        [
            "there was a fire in the [stove|oven].",
            "a pot [stood|was] on the [stove|fire], and {hero} [stirred|covered|lifted] it.",
        ],
        [
            "a <bright> fire burned in the [black|old|iron|round] stove.",
            "[an old|a black|a heavy] pot stood on the [hot|small|clean] stove.",
        ],
        [
            "the fire [crackled|hissed|popped] in the stove, and the air was [warm|smoky|thick] with "
            "[onions|garlic|butter].",
            "[hot|sweet|thick] steam [hissed|rose] from the pot and smelled of [soup|apples|onions|beans].",
        ],
        [
            "the fire [purred|hummed] in the stove like [a fat cat|a nest of bees|a happy old man].",
            "the pot [bubbled|muttered] on the stove [like an old aunt|like a sleepy frog].",
        ],
    ),
    _rich(
        "table",
        [
            "there was a table [in the middle|by the window|by the wall] with [two|three|four|six] chairs.",
            "on the table [lay|was] {thing.a}, and beside it [a knife|a spoon|a loaf].",
        ],
        [
            "a <big> [wooden|oak] table [stood|waited] in the middle with [two|four|six] [plain|blue|painted] chairs.",
            "on the [white|wooden|clean] table lay {thing.a} and [a sharp|a thin|an old] knife.",
        ],
        [
            "the [wooden|old|long] table felt [smooth|sticky|rough] under {hero.his} hands and smelled of "
            "[soap|flour|wax].",
            "[cups|plates|spoons] [clinked|rattled] on the [smooth|sticky] table.",
        ],
        [
            "the wood of the table was as [smooth as a stone from the river|soft as skin|warm as a hand], and "
            "it [creaked|groaned] a little.",
            "[cups|plates|spoons] [clinked|rang] on the table like [little bells|small coins|rain on tin].",
        ],
    ),
    _rich(
        "shelf",
        [
            "there were [jars|cups|plates|bowls] on the [shelf|shelves].",
            "the shelf held [salt|flour|tea|sugar|honey] and {thing.a}.",
        ],
        [
            "[blue|white|old|clean] [cups|plates|bowls] stood on the [high|crooked|dusty] shelf.",
            "the [high|long|crooked] shelf held {thing.a} and [small|round|tall] {color} jars of "
            "[jam|tea|beans|pepper].",
        ],
        [
            "[dry|green|bitter] herbs hung [over the shelf|from the beam] and smelled of [summer|pepper|mint].",
            "the jars on the shelf were [sticky|dusty|cold], and they [clinked|rattled] when [a cart passed|the "
            "door closed].",
        ],
        [
            "jars of jam [glowed|shone] on the shelf like [red lamps|church windows|little suns], and they "
            "[clinked|rang] [softly|a little].",
            "[dry|brown] herbs [rustled|whispered] over the shelf like [old letters|paper|autumn leaves].",
        ],
    ),
    _rich(
        "baking",
        [
            "{hero} [made|baked|cut|tasted] {food}.",
            "{hero} [cut|washed] [onions|apples] and put [some salt|some butter] [in a bowl|in a pan].",
        ],
        [
            "{hero} cut the [red|green|yellow|white|small] [apples|onions|pears] with [a short|a thin|an old] knife.",
            "{hero} made {food} in [a big|a brown|a deep|an old] [pan|bowl] for the [hungry|noisy|whole] family.",
        ],
        [
            "the [warm|sweet|rich] smell of {food} filled {hero.his} [nose|sleeves|hair].",
            "{hero} pressed the [soft|warm|sticky] dough with [both hands|{hero.his} thumbs], and it "
            "[sighed|squeaked].",
        ],
        [
            "the dough was as soft as [a cheek|a cloud|a pillow], and it [sighed|whispered] under {hero.his} hands.",
            "the smell of {food} [curled|went] around {hero} like [a warm scarf|an old song|a friendly cat].",
        ],
    ),
    _rich(
        "clock",
        [
            "there was a clock [over the door|on the wall|by the door].",
            "the clock [showed|said] [five|six|seven|eight|nine].",
        ],
        [
            "a <small> clock hung over the [green|old|heavy|back] door.",
            "the [old|round|wooden] clock on the [white|yellow|bare] wall said [six|seven|eight|nine].",
        ],
        [
            "the [old|slow|wooden] clock ticked [loudly|softly], and a [cold|cool|fresh] draught "
            "[touched|crossed] {hero.his} feet.",
            "the clock [chimed|ticked] over the [quiet|humming] room, and the [warm|stone] floor smelled of soap.",
        ],
        [
            "the clock ticked like [a tired heart|a dripping tap] over the [sleepy|warm] room.",
            "the clock [coughed|hummed] before it rang, like [an old man before a speech|a singer before a song].",
        ],
    ),
    _rich(
        "cat",
        [
            "a cat [slept|sat|lay] [under the table|by the stove|on a chair].",
            "a cat [came in|went out] and {hero} gave it [milk|some milk|some fish].",
        ],
        [
            "[a fat|a black|a striped|a grey] cat slept on the [small|red|soft] [rug|cushion] by the stove.",
            "[a lazy|a thin|a young|a white] cat drank [fresh|cool] milk from [a blue|a broken|a flat] bowl.",
        ],
        [
            "the [fat|lazy|grey|black] cat purred [by the stove|under the table], [warm|soft] and [heavy|silky] "
            "against {hero.his} foot.",
            "the cat's [rough|wet|warm] tongue [lapped|splashed] in the milk.",
        ],
        [
            "the cat lay by the stove like [a loaf of bread|a fur hat|a fat comma] and purred like [an engine|a "
            "mill|distant thunder].",
            "the cat [slipped|crept] through the room like [smoke|a shadow|a little thief], [purring|meowing] softly.",
        ],
    ),
]

_KITCHEN_CLOSING = _rich(
    "closing",
    [
        "then {hero} [called|fed] the [children|family|guests], and they [ate|sat down].",
        "at last {hero} [washed the plates|swept the floor|put out the fire] and went to bed.",
    ],
    [
        "then {hero} lit the [little|yellow|old] lamp, and the [hungry|tired|happy] family sat down.",
        "at last {hero} washed the [last|dirty|big] plate and closed the [heavy|green|wooden] door.",
    ],
    [
        "at last {hero} licked the [sweet|salty|hot] spoon and listened to the [low|soft] hum of the [stove|kettle].",
        "when {hero} went to bed, {hero.his} hands [still smelled|smelled] of [butter|onions|soap] and felt "
        "[warm|soft].",
    ],
    [
        "the kitchen held {hero} like [a warm hand|a nest|a soft coat], and the kettle [sang|whistled].",
        "when the lamp was out, the fire [whispered|crackled] on like [an old friend|a story without an end|a "
        "sleepy child].",
    ],
)

_MARKET = [
    _rich(
        "stalls",
        [
            "there were stalls [on the square|along the street|by the church].",
            "[women|sellers] sold [eggs|cheese|flowers|bread] [at the stalls|from carts|by the church].",
        ],
        [
            "<small> stalls with [striped|red|white|bright] roofs stood [in two straight rows|by the old church].",
            "[busy|old|cheerful|tired] sellers put out [fresh|brown|big] eggs and [round|yellow|soft] cheese.",
        ],
        [
            "the [busy|narrow|crowded] stalls smelled of [cheese|flowers|fish|coffee], and the sellers "
            "[shouted|called|sang] [loudly|on every side].",
            "the [striped|heavy|bright] roofs of the stalls [flapped|snapped] in the [cool|fresh|dusty] wind.",
        ],
        [
            "the roofs of the stalls [flapped|snapped] like [the sails of a ship|big birds].",
            "the sellers [shouted|called|sang] like [crows|a church choir|geese at a gate] over the "
            "[ripe|bright|sweet] fruit.",
        ],
    ),
    _rich(
        "fruit",
        [
            "there were [apples|plums|pears|cherries] in [boxes|baskets|bags].",
            "a farmer [weighed|counted|sold] [apples|plums|pears|cherries].",
        ],
        [
            "[red|ripe|round|shining] [apples|plums|pears|cherries] lay in [deep|flat|wooden] baskets.",
            "[a fat|a friendly|an old|a sleepy] farmer weighed [ripe|green|big] [apples|plums|pears].",
        ],
        [
            "the [plums|pears|cherries] were [sweet|sour|cool] on the tongue, and [sticky|cold] juice ran over "
            "{hero.his} [fingers|chin].",
            "the [ripe|red|warm] apples smelled of [honey|grass|summer] and [crunched|cracked] between "
            "{hero.his} teeth.",
        ],
        [
            "the [apples|plums|cherries] shone like [lamps|polished shoes|small suns] and [thumped|rolled] into "
            "the bag like [soft drums|little balls].",
            "the apple was as [sweet as a song|cold as a stream|crisp as snow], and it [cracked|crunched] like "
            "[ice|dry wood].",
        ],
    ),
    _rich(
        "crowd",
        [
            "people [came|walked] [from stall to stall|with baskets|with bags].",
            "{job.a} [asked for|paid for|carried|looked at|sold] {thing.a}.",
        ],
        [
            "[busy|happy|sleepy] people walked from stall to stall with [heavy|empty|big] baskets.",
            "[a tall|a young|a polite|an old] woman in {color.a} dress bought {thing.a} and [white|fresh|small] "
            "flowers.",
        ],
        [
            "[boots|wheels|carts] [clattered|rattled] over the [wet|rough|warm] stones, and [a dog barked|a "
            "baby cried|children laughed].",
            "[rough|wool|damp] coats [brushed|rubbed] against {hero.his} arms, and [loud|merry] voices "
            "[buzzed|rang] [everywhere|on all sides].",
        ],
        [
            "the crowd [hummed|buzzed] like [a hive|a big kettle|the sea in a shell].",
            "people [flowed|streamed] between the stalls like [water between stones|ants|a slow river], "
            "[laughing|singing].",
        ],
    ),
    _rich(
        "animal",
        [
            "there was {animal.a} [on a cart|by a stall|under a table].",
            "a [boy|girl|farmer] [sold|held|fed] {animal.a}.",
        ],
        [
            "[a shy|a small|a proud] girl with [long|red|curly] hair held {animal.a}.",
            "beside [a broken|a green|an old] cart sat {animal.a} on a [short|thin|dirty] rope.",
        ],
        [
            "beside a cart sat {animal.a}, [warm|soft] and [dusty|sleepy], and the hay under it "
            "[rustled|smelled sweet].",
            "{hero} [touched|stroked] {animal.a}, which felt [warm|soft|rough], and [a cart creaked|a bell "
            "rang] [close by|behind them].",
        ],
        [
            "beside a cart sat {animal.a}, as [still as a stone|proud as a king|calm as a judge], while the "
            "bells [rang|sang].",
            "a girl held {animal.a} like [a sick baby|a loaf of hot bread] and [hummed|sang] to it.",
        ],
    ),
    _rich(
        "baker",
        [
            "the baker [sold|gave away|brought out] [bread|rolls|cakes|{food}].",
            "{hero} [bought|tried|asked for] {food.a} [at the first stall|at the last stall|from {job.a}].",
        ],
        [
            "the [round|kind|busy|young] baker brought out [fresh|golden|dark] [bread|rolls].",
            "{hero} bought {food.a} at a [clean|crowded|green] stall for a [fair|low|good] price.",
        ],
        [
            "the [hot|warm|fresh] bread [crackled|steamed] in the basket and smelled of [butter|nuts].",
            "{hero} tasted {food}, [warm|salty|sweet] on the tongue, while a [fiddle|drum|flute] played [close "
            "by|near the church].",
        ],
        [
            "the loaves lay in the basket like [gold from a ship|warm stones] and crackled [softly|quietly].",
            "the smell of {food} [led|pulled] {hero} along like [a string|a hand|a tune on a flute].",
        ],
    ),
]

_MARKET_CLOSING = _rich(
    "closing",
    [
        "at noon {hero} [carried the basket|took the bags|went] home.",
        "then the [church clock|clock] struck [ten|eleven|twelve], and {hero} [went home|left|paid].",
    ],
    [
        "at noon {hero} carried the [full|heavy|brown] basket home through the [sunny|narrow|long] street.",
        "{hero} paid with the [last|biggest] coin and went home with a [full|light|paper] bag.",
    ],
    [
        "the [heavy|rough] handle of the basket [creaked|cut] in {hero.his} hand, and the smell of "
        "[cheese|fruit|bread] went along.",
        "even at home {hero} could hear the [loud|merry|distant] bells and taste the [sweet|sour] plums.",
    ],
    [
        "{hero} carried the basket home like [a full cradle|a prize|a treasure], and it [creaked|squeaked] at "
        "every step.",
        "behind {hero} the market [hummed|sang] on like [a hive in summer|a wheel that never stops|a big old organ].",
    ],
)

_TRAIN = [
    _rich(
        "window",
        [
            "[a village|a station|a bridge|a forest] [passed|went by].",
            "{hero} looked out of the window [at the fields|at the hills|at the houses|for an hour].",
        ],
        [
            "[a small|a dark|a sleeping|an empty] [village|station] went by behind the [dirty|wide|thin] glass.",
            "{hero} looked out at the [black|flat|endless] fields and the [few|distant|yellow] lights.",
        ],
        [
            "the [cold|smooth|wet] glass [shook|hummed|buzzed] against {hero.his} [cheek|hand].",
            "[cold|damp|smoky] air [hissed|whistled] in at the window and smelled of [coal|rain|grass].",
        ],
        [
            "the lights of the villages went by like [sparks|falling stars|beads on a string], and the glass "
            "hummed [softly|along].",
            "the moon ran beside the train like [a white dog|a lost balloon|a child with a lamp], and the wind "
            "[sang|whistled].",
        ],
    ),
    _rich(
        "wheels",
        [
            "the train [went on|stopped] [at a bridge|at a station|after an hour].",
            "the train [crossed|came to|left] [a river|a bridge|a valley].",
        ],
        [
            "the [long|old|slow|heavy] train crossed [a wide|a dark|a foggy] river.",
            "the [old|slow|green] train stopped at [a tiny|a lonely|an empty] station.",
        ],
        [
            "the [iron|heavy|old] wheels [clattered|rattled|sang] under the floor, and the [hard|warm] seat shook.",
            "the [hot|iron|wet] brakes [screamed|squealed|hissed], and it smelled of [oil|smoke|coal].",
        ],
        [
            "the wheels [beat|rattled|clicked] under the floor like [a drum|a horse on a bridge].",
            "the train [roared|sighed|groaned] through the dark like [a tired dragon|a storm in a bottle|a "
            "great iron beast].",
        ],
    ),
    _rich(
        "people",
        [
            "a [soldier|nurse|student|farmer] [slept|read|sat] [in the corner|by the door|on the other side].",
            "across the aisle sat {job.a} with {thing.a}.",
        ],
        [
            "[a tired|an old|a young|a thin] [soldier|nurse|farmer] slept in the [far|dark|warm] corner.",
            "across the aisle sat [a pale|a quiet|a tall] student with {thing.a} in {color.a} [box|bag].",
        ],
        [
            "a [tired|big|old] [soldier|farmer] snored in the corner, and his [wet|wool|rough] coat smelled of "
            "[smoke|rain|horses].",
            "a [pale|quiet|young] student turned the [dry|thin|rough] pages, and they [rustled|whispered].",
        ],
        [
            "a soldier snored in the corner like [a saw in wet wood|a bear in winter|an old engine].",
            "a student turned the pages, and they [rustled|whispered] like [leaves|dry grass|mice in straw].",
        ],
    ),
    _rich(
        "guard",
        [
            "the guard [came by|opened the door|walked through] and [asked for|looked at|took] the tickets.",
            "the guard [lit|put out|carried] [a lamp|the lamp].",
        ],
        [
            "the [fat|kind|sleepy|serious] guard looked at the [small|blue|torn] ticket.",
            "the [tall|kind|sleepy] guard carried a [green|round|dim] lamp through the [narrow|dark|long] aisle.",
        ],
        [
            "the guard's [heavy|wet|hard] boots [thumped|squeaked] past, and his lamp smelled of [oil|hot dust].",
            "the guard's [deep|low|rough] voice [called|rang], and [cold|fresh] air came in [at the door|behind him].",
        ],
        [
            "the guard's lamp swung [by|past] like [a sleepy moon|a yellow bird], squeaking [softly|at every step].",
            "the keys of the guard jingled like [a sleigh|small bells|coins in a pocket].",
        ],
    ),
    _rich(
        "seat",
        [
            "{hero} [read a letter|ate {food.a}|wrote a letter|looked for {thing.a}].",
            "{hero} [put|laid|had|found] {thing.a} [on the seat|under the seat].",
        ],
        [
            "{hero} read the [long|short|old|sad] letter under the [weak|yellow|dim] lamp.",
            "{hero} laid {thing.a} on the [empty|hard|narrow] {color} seat.",
        ],
        [
            "{hero} ate {food}, [cold|salty|dry] on the tongue, and the paper [rustled|crackled].",
            "the seat was [hard|rough|sticky] and [creaked|squeaked] whenever {hero} [moved|turned|leaned back].",
        ],
        [
            "the seat was as hard as [a church bench|a stone|old bread], and it creaked like [a gate|a basket].",
            "the lamp over {hero} [buzzed|hummed] like [a fly in a jar|a sleepy bee|a far violin].",
        ],
    ),
]

_TRAIN_CLOSING = _rich(
    "closing",
    [
        "before [morning|midnight|the border] {hero} [slept|fell asleep].",
        "at [five|six|seven] the train [arrived|stopped], and {hero} [got off|took the bag and got off].",
    ],
    [
        "in the [pale|grey|early] morning {hero} got off at a [small|quiet|white] station.",
        "at last {hero} fell asleep under the [thin|brown|warm] coat in the [dark|empty|quiet] corner.",
    ],
    [
        "{hero} fell asleep to the [low|steady|soft] hum of the wheels, with the [cold|cool] window at "
        "{hero.his} [cheek|ear].",
        "when {hero} got off, the [fresh|cold|damp] air smelled of [pines|snow|hay], and [birds|cocks] [sang|called].",
    ],
    [
        "the train rocked {hero} to sleep like [a cradle|a boat on a lake|a kind nurse], and the wheels [hummed|sang].",
        "when {hero} got off, the silence [rang|fell] like [a bell|deep snow|a heavy curtain].",
    ],
)

_GARDEN = [
    _rich(
        "drops",
        [
            "there was water on the [leaves|grass|path|bench].",
            "water [ran|dripped] from the [roof|leaves|branches].",
        ],
        [
            "[clear|round|shining|big] drops hung on the [green|long|thin] leaves.",
            "[clear|cool] water ran down the [old|crooked|stone] path in [thin|tiny|quick] streams.",
        ],
        [
            "[cold|cool|heavy] drops [fell|slid] down {hero.his} neck, and the leaves [dripped|whispered] "
            "[softly|all around].",
            "water [gurgled|trickled] in the [old|tin|rusty] gutter, and the path smelled of [wet stone|clean "
            "earth|rain].",
        ],
        [
            "the drops hung on the leaves like [glass beads|tears|tiny lamps] and [ticked|tapped] on the bench "
            "like [a clock|fingers].",
            "water [gurgled|laughed] in the gutter like [a baby in the bath|a happy brook|an old man at a joke].",
        ],
    ),
    _rich(
        "roses",
        [
            "[roses|tulips|lilies|daisies] [stood|grew] [by the fence|along the path|under the window].",
            "{hero} [cut|picked|counted] [a rose|two roses|five roses|some daisies].",
        ],
        [
            "[red|white|yellow|pale] [roses|tulips|lilies] grew by the [low|wooden|broken] fence.",
            "{hero} picked [two|three|five] [tall|fresh|perfect] [roses|daisies] for the [blue|old|glass] vase.",
        ],
        [
            "the [wet|red|heavy] roses smelled [sweet|fresh|of tea|of honey], and their [silky|cool|soft] "
            "leaves touched {hero.his} [hand|face].",
            "[sharp|hard] thorns [scratched|pricked] {hero.his} [thumb|wrist], and [bees|flies] hummed in the "
            "[sweet|wet] roses.",
        ],
        [
            "the roses [nodded|bowed] like [old ladies at tea|sleepy queens|dancers after a show], and the bees "
            "hummed [low|softly].",
            "the smell of the roses was as sweet as [cake|a kiss|warm honey], and it [filled|crossed] the "
            "garden like [music|a song].",
        ],
    ),
    _rich(
        "earth",
        [
            "a [worm|snail|frog] [sat|lay] [on the path|on a stone|by the fence].",
            "{hero} [dug|worked] [by the fence|in the beds|under the tree] and found {thing.a}.",
        ],
        [
            "[a fat|a slow|a tiny|a brown] [snail|frog] sat on [a flat|a wet|a grey] stone.",
            "{hero} found {thing.a} in the [black|rich|loose] earth beside the [young|straight|green] beans.",
        ],
        [
            "the [wet|black|soft] earth [sucked|squelched] at {hero.his} boots and smelled of "
            "[mushrooms|roots|old leaves].",
            "{hero} pushed {hero.his} fingers into the [cool|soft|damp] earth, and a frog [croaked|splashed] "
            "[close by|in the pond].",
        ],
        [
            "the earth was as [dark as chocolate|soft as cake|black as coffee], and it [squelched|sighed] under "
            "{hero.his} boots.",
            "a frog [sat|croaked] on a stone like [a fat king|a wet singer|a judge in green], and the pond "
            "[rang|answered].",
        ],
    ),
    _rich(
        "birds",
        [
            "a bird [sat on the fence|came back to the tree].",
            "[two|three|some] birds [sat|hopped] [in the tree|on the grass|on the path|around {thing.a}].",
        ],
        [
            "[a small|a black|a brown|a wet] bird sat on the [crooked|broken|white] fence.",
            "[two|three] [tiny|young|busy] birds hopped over the [green|short|shining] grass.",
        ],
        [
            "a [blackbird|thrush|robin] [sang|whistled] in the [dripping|wet|old] tree, [clear|loud] and [sweet|high].",
            "[wings|birds] [whirred|fluttered] in the hedge, and [cool|clean|wet] air [touched|brushed] "
            "{hero.his} face.",
        ],
        [
            "a [blackbird|thrush|robin] sang like [a silver flute|a bell of glass|a small choir] in the "
            "[dripping|wet] tree.",
            "the birds [burst|flew] from the hedge like [thrown pebbles|a handful of seeds|sparks], chirping "
            "[loudly|gladly].",
        ],
    ),
    _rich(
        "sun",
        [
            "the sun came out [again|behind the clouds|over the wall].",
            "the clouds [went away|moved on], and [the sky was blue|there was sun on the wall].",
        ],
        [
            "the [pale|bright|low|yellow] sun came out over the [old|wet|brick] wall.",
            "the [last|grey] clouds moved on, and a [wide|clear] rainbow stood [over the roof|over the hill].",
        ],
        [
            "the sun [warmed|dried] {hero.his} [wet|cold] sleeves, and [steam|mist] rose from the [warm|dark] "
            "bench with a smell of wood.",
            "[warm|soft|clean] light touched {hero.his} [face|hands], and the [wet|green] grass "
            "[smelled|tasted] [sweet|fresh].",
        ],
        [
            "the sun [spilled|ran] over the garden like [honey|warm oil|melted gold], and everything [hummed|sang].",
            "the rainbow stood over the roof like [a gate|a bridge|a painted ribbon], and the gutters [sang|rang].",
        ],
    ),
]

_GARDEN_CLOSING = _rich(
    "closing",
    [
        "then {hero} [went in|went back to work|sat on the bench].",
        "{hero} [closed the gate|took the basket|put the spade away] and went in.",
    ],
    [
        "then {hero} sat down on the [dry|old|green] bench with a [full|happy|quiet] heart.",
        "{hero} closed the [little|white|iron] gate and carried the [muddy|old|long] spade home.",
    ],
    [
        "{hero} breathed in the [sweet|clean|damp] air and listened to the [last|slow|soft] drops.",
        "{hero} went in with [muddy|cold|wet] hands that smelled of [earth|grass|roses].",
    ],
    [
        "the whole garden [breathed|sighed] like [a swimmer on the shore|a child after tears|a sleeper in the "
        "morning].",
        "{hero} stood there as still as [a post|a heron|a tree], and the drops [played|ticked] like [a "
        "harp|slow music].",
    ],
)

_WORKSHOP = [
    _rich(
        "bench",
        [
            "there was a bench [by the window|by the door|in the middle].",
            "on the bench lay {thing.a} and [a saw|a file|a chair leg|some nails].",
        ],
        [
            "a <big> bench with [deep|many|old] marks stood by the [dusty|square|high] window.",
            "on the [brown|old|low] bench lay [a sharp|a shining|a rusty] saw and [short|new|bent] nails.",
        ],
        [
            "the bench was [rough|sticky|smooth] to the touch and smelled of [glue|oil|pine].",
            "a hammer [rang|banged] on the [hard|rough|old] bench, and the [small|loose] nails [jumped|rattled].",
        ],
        [
            "the hammer rang on the bench like [a church bell|a stubborn woodpecker|a heart in love].",
            "the bench was as [rough as bark|broad as a bed], and it [groaned|thudded] at every blow.",
        ],
    ),
    _rich(
        "wood",
        [
            "{hero} [cut|measured|sawed|turned] [a board|the board|two boards].",
            "dust [lay|fell] on [the floor|the chairs|the window|{thing.a}].",
        ],
        [
            "{hero} cut the [long|pale|thick|straight] board with a [steady|slow|careful] hand.",
            "[pale|yellow|fine] dust lay on the [old|stone|wooden] floor and the [empty|low|plain] chairs.",
        ],
        [
            "the saw [sang|rasped|hissed] through the [pale|thick|dry] board, and the dust smelled [sweet|of "
            "resin|of summer].",
            "[thin|soft|curly] shavings [crackled|rustled] under {hero.his} [feet|shoes] and smelled of [pine|oak].",
        ],
        [
            "the saw [sang|rasped|snored] through the board like [a hoarse singer|a wasp|an old bear].",
            "the shavings fell like [curls at the barber's|yellow ribbons|leaves in October] and "
            "[rustled|whispered] on the floor.",
        ],
    ),
    _rich(
        "tools",
        [
            "the tools hung [on the wall|on hooks|over the bench].",
            "{hero} [took|needed|cleaned] [a hammer|a file|a plane|a knife].",
        ],
        [
            "the [clean|old|shining] tools hung [in a straight row|on the white wall|on thick hooks].",
            "{hero} took the [small|heavy|best|oldest] [hammer|file|knife] from its [wooden|rusty|long] hook.",
        ],
        [
            "the [cold|oily|heavy] tools [clinked|rang] on their hooks and smelled of [iron|rust].",
            "the handle of the [plane|hammer|file] felt [smooth|warm|greasy] in {hero.his} [palm|hand], and the "
            "iron [clinked|hummed].",
        ],
        [
            "the tools hung on the wall like [soldiers in line|fish in a shop] and clinked [softly|a little].",
            "the file [squealed|screamed] like [a pig at the gate|a gull|a bad violin].",
        ],
    ),
    _rich(
        "clock",
        [
            "{hero} [repaired|opened|cleaned|painted|made] {thing.a} for {job.a}.",
            "[on a shelf|under a cloth|in a box] was {thing.a}.",
        ],
        [
            "{hero} opened [a silver|an old|a broken|a round] [watch|clock] and looked at the "
            "[tiny|yellow|thin] wheels.",
            "[a wooden|a painted|a little] [horse|soldier|duck] stood beside {thing.a} on the "
            "[high|dusty|narrow] shelf.",
        ],
        [
            "a [music box|clock] [tinkled|chimed|ticked] under the [soft|dusty|thick] cloth, and the "
            "[warm|oily] wheels smelled of [brass|oil].",
            "the [tiny|cool|smooth] wheels [clicked|ticked|hummed] between {hero.his} fingers.",
        ],
        [
            "the tiny wheels [clicked|ticked] between {hero.his} fingers like [a cricket|small teeth|an insect "
            "in a jar].",
            "the music box [tinkled|played] like [rain on glass|a fairy in a tin|an icicle in the sun].",
        ],
    ),
    _rich(
        "stove",
        [
            "there was a stove [in the corner|by the door], and {hero} [put wood in it|made tea on it].",
            "{hero} [heated|stirred] the glue [on the stove|in a pot|in a can].",
        ],
        [
            "a [small|black|round|rusty] stove stood in the [warm|far|dark] corner.",
            "{hero} stirred the [thick|brown|yellow] glue in [a little|a black] pot.",
        ],
        [
            "the [small|black|hot] stove [hissed|crackled|popped] in the corner and smelled of [smoke|resin|hot iron].",
            "the [thick|sticky|hot] glue [bubbled|hissed] on the stove and smelled [bitter|sour|awful].",
        ],
        [
            "the stove [growled|hissed] in the corner like [a dog with a bone|an angry cat|a small dragon].",
            "the glue [bubbled|puffed] on the stove like [mud in a swamp|a sleeping toad|porridge in a giant's pot].",
        ],
    ),
]

_WORKSHOP_CLOSING = _rich(
    "closing",
    [
        "in the evening the [chair|table|box|boat] was [done|ready].",
        "then {hero} [swept the floor|locked the door|put the tools away] and went home.",
    ],
    [
        "in the evening the [strong|new|simple|little] [chair|table|box] stood [ready|complete] by the "
        "[open|wide|green] door.",
        "then {hero} swept the [dirty|long|wooden] floor with a [stiff|short|new] broom.",
    ],
    [
        "{hero} rubbed the [finished|smooth|new] [chair|table|box] with [warm|sweet] wax until it "
        "[squeaked|smelled of honey].",
        "at night {hero.his} hands were [rough|sore|sticky], and {hero.his} ears [rang|hummed] [from the "
        "hammer|from the saw].",
    ],
    [
        "the finished [chair|table|box] [shone|glowed] like [still water|a new coin], and it sang when {hero} "
        "tapped it.",
        "the silence came in like [a cat|a shy guest|soft snow] when {hero} put down the [singing|ringing] saw.",
    ],
)

_ATTIC = [
    _rich(
        "stairs",
        [
            "the [stairs|steps] [went up to|ended at] a door, and the door was [open|locked|shut].",
            "{hero} [climbed|counted] the [steps|stairs] and [opened|pushed] the door.",
        ],
        [
            "the <small> stairs ended at a [heavy|grey|crooked] door.",
            "{hero} opened the [old|low|stuck] door with a [rusty|long|thin] key.",
        ],
        [
            "the [steep|old|narrow] stairs <creaked> under {hero}, and the [dry|cold|stale] air smelled of "
            "[dust|mice|old paper].",
            "the [rough|cold|loose] door [squealed|scraped] on its hinges, and [dust|a cobweb] "
            "[tickled|brushed] {hero.his} nose.",
        ],
        [
            "the stairs <creaked> under {hero} like [a ship in a storm|a chair under a giant|the knees of an old man].",
            "the door [squealed|screamed] like [a frightened pig|a rusty trumpet|an angry gull].",
        ],
    ),
    _rich(
        "trunk",
        [
            "there was a trunk [under the roof|by the chimney|in the corner].",
            "{hero} opened a trunk and [found|saw|took out] {thing.a}[| and a book| and some letters| and a coat].",
        ],
        [
            "[a big|a brown|a heavy|an old] trunk with a [broken|rusty|golden] lock stood by the chimney.",
            "in the [deep|black|wooden] trunk lay {thing.a}, {color.a} dress and [thin|secret|short] letters.",
        ],
        [
            "the lid of the trunk [groaned|squeaked], and out came a [sweet|stale|bitter] smell of [roses|leather].",
            "the [dry|soft|thin] letters [rustled|crackled] between {hero.his} fingers and smelled of "
            "[smoke|lavender|dust].",
        ],
        [
            "the lid of the trunk [yawned|groaned] like [a bear in spring|a man on Monday].",
            "the letters [whispered|rustled] like [moths|a secret in church|dry petals] when {hero} "
            "[touched|opened] them.",
        ],
    ),
    _rich(
        "light",
        [
            "there was a window [in the roof|in the wall|over the trunk].",
            "{hero} [lit|carried|held] a [candle|lamp].",
        ],
        [
            "[pale|yellow|thin] light fell through a [small|round|dusty] window.",
            "{hero} held a [short|white|bright] candle over the [dark|dusty|crowded] floor.",
        ],
        [
            "[warm|hot|soft] wax ran over {hero.his} [thumb|fingers], and the candle [hissed|sputtered] and "
            "smelled of [honey|smoke].",
            "the sun [warmed|heated] the [dry|dusty|rough] boards until they [ticked|cracked] and smelled of "
            "[wood|resin].",
        ],
        [
            "the dust [danced|turned] in the light like [tiny stars|gold flour|fish in a bowl], and a board "
            "[cracked|ticked].",
            "the shadows [jumped|leaned] like [tall ghosts|black horses] when the candle [hissed|sputtered].",
        ],
    ),
    _rich(
        "mirror",
        [
            "[a mirror|a cradle|a doll|a drum] [stood|lay] [under a sheet|behind a chair|by the chimney] with "
            "{thing.a}.",
            "{hero} looked into a mirror and [waited|laughed|saw a face].",
        ],
        [
            "[a tall|a dim|a broken] mirror leaned against the [brick|crooked|warm] chimney.",
            "a [wooden|painted|tiny] doll with [blue|round|sad] eyes sat in [a broken|an empty|a little] cradle.",
        ],
        [
            "the mirror was [cold|smooth|dusty] to the touch and [rattled|clinked] in its frame.",
            "{hero} tapped a [dusty|tight|dry] drum, and it [boomed|thudded] [softly|through the house].",
        ],
        [
            "the mirror [lay|gleamed] like [a frozen pond|a sleeping eye|a piece of moon] and [rang|hummed] "
            "when {hero} touched it.",
            "the drum [boomed|answered] like [far thunder|a heart under a pillow|a giant on the stairs].",
        ],
    ),
    _rich(
        "roof",
        [
            "[rain fell|a bird walked|mice ran] [on the roof|under the roof|behind the wall] [for a while|now "
            "and then].",
            "there was {animal.a} [behind the chimney|in a box|on a beam].",
        ],
        [
            "[a thin|a grey|a quick|a tiny] mouse ran over a [broad|dusty|crooked] beam.",
            "behind [an old|a tall|a broken] chair sat {animal.a} with [bright|round] eyes.",
        ],
        [
            "[light|soft] rain [tapped|drummed] on the roof, and a [cool|damp|cold] draught touched {hero.his} "
            "[neck|ankles].",
            "mice [scratched|squeaked|rustled] behind the [dry|thin|rough] wall, and it smelled of "
            "[straw|nuts|cheese].",
        ],
        [
            "rain [tapped|drummed|ran] on the roof like [a thousand fingers|dancing mice|peas on a plate].",
            "the wind [whistled|moaned] in the chimney like [a lonely owl|a ghost with a cold|a boy with a bottle].",
        ],
    ),
]

_ATTIC_CLOSING = _rich(
    "closing",
    [
        "then {hero} [closed the trunk|took one letter|took a book] and went down.",
        "at [noon|four|five] somebody called, and {hero} went down.",
    ],
    [
        "then {hero} took one [small|yellow|old] book and went down to the [bright|warm|clean] kitchen.",
        "{hero} closed the [heavy|grey|low] door with a [quiet|strange|happy] smile.",
    ],
    [
        "{hero} went down with [grey|soft] dust in {hero.his} hair and the [dry|stale] taste of it on "
        "{hero.his} tongue.",
        "behind {hero} the [rusty|old|cold] lock clicked, and the smell of [paper|lavender|dust] stayed in "
        "{hero.his} clothes.",
    ],
    [
        "the attic closed behind {hero} like [an old book|a sleepy eye|a shell], and a board <creaked>.",
        "the old days [whispered|hummed] behind the door like [bees in a wall|people in the next room|a song "
        "under water].",
    ],
)

_STORM = [
    _rich(
        "rain",
        [
            "rain fell on the [street|garden|roofs|sea].",
            "water [ran|came] [down the street|down the glass|under the door].",
        ],
        [
            "[heavy|grey|thick] rain fell on the [muddy|dark|narrow] street.",
            "[brown|quick|deep] water ran down the [steep|muddy|long] street.",
        ],
        [
            "[heavy|hard|cold] rain [drummed|beat|rattled] on the glass, and the room smelled of [wet wood|damp "
            "wool|smoke].",
            "{hero} laid a hand on the [cold|wet|shaking] glass, and the rain [hissed|drummed] [outside|in the "
            "street].",
        ],
        [
            "the rain [drummed|beat] on the glass like [angry fingers|an army on the march].",
            "the rain came down like [ropes|a grey curtain|a river from the sky], [hissing|roaring] on the stones.",
        ],
    ),
    _rich(
        "wind",
        [
            "the wind [took|carried away|threw down] [a chair|a sign|a branch|{thing.a}].",
            "the wind [moved|shook|bent] the [trees|door|fence].",
        ],
        [
            "the [strong|wild|mad] wind carried away [a big|an old] [sign|branch] and {thing.a}.",
            "the [wild|strong|angry] wind bent the [tall|thin|bare] trees.",
        ],
        [
            "the [wild|cold|wet] wind [howled|moaned|whistled] in the chimney, and ash [stung|tickled] "
            "{hero.his} [nose|eyes].",
            "[cold|damp|thin] draughts touched {hero.his} [neck|ankles], and the [old|loose] shutters "
            "[banged|rattled].",
        ],
        [
            "the wind [howled|cried] in the chimney like [a hungry wolf|a lost dog|a pack of ghosts].",
            "the trees [bent|bowed] like [grass under a hand|dancers], and their branches [cracked|snapped].",
        ],
    ),
    _rich(
        "lightning",
        [
            "there was [lightning|thunder] [over the sea|over the hill|over the church].",
            "lightning [struck|hit] [a tree|the hill|the church], and {hero} counted to [three|four|five|six].",
        ],
        [
            "[white|long|blue|sudden] lightning stood over the [black|wild|far] sea.",
            "[sudden|bright|white] lightning showed the [wet|crooked|black] roofs of the "
            "[little|frightened|dark] town.",
        ],
        [
            "thunder [rolled|rumbled|boomed] over the [black|wet] roofs, and the [cold|thin] glass "
            "[shook|buzzed] under {hero.his} [hand|fingers].",
            "lightning [cracked|hissed] over the hill, and the [sharp|bitter|strange] air smelled of "
            "[metal|burnt stone].",
        ],
        [
            "thunder [rolled|rumbled] over the town like [barrels in a cellar|a cart on a bridge|a giant at "
            "breakfast].",
            "lightning [tore|ripped] the sky like [old cloth|a sheet of paper|a sail], and the thunder "
            "[roared|cracked] after it.",
        ],
    ),
    _rich(
        "street",
        [
            "{job.a} [ran|came|hurried] [down the street|past the house|to the church] with {thing.a}.",
            "the [shops|stalls|schools] were shut, and [nobody|no cart|no bus] [came|passed].",
        ],
        [
            "[a thin|a wet|a lonely|a brave] man in {color.a} coat ran past the house with {thing.a}.",
            "the [poor|little|empty] street was [dark|bare|black], and the [old|last|green] lamp went out.",
        ],
        [
            "[wet|quick|heavy] steps [splashed|slapped] past the house, and a dog [howled|barked] [in the "
            "cold|in the rain].",
            "a [loose|tin|rusty] sign [clanged|squeaked] in the street, and [icy|cold] drops [hit|touched] "
            "{hero.his} face at the window.",
        ],
        [
            "a man ran by, his coat [flapping|snapping] like [a broken wing|a black flag|a torn sail].",
            "the sign over the shop [clanged|screamed] like [a mad bell|a frightened bird].",
        ],
    ),
    _rich(
        "room",
        [
            "{hero} [lit a lamp|made tea|sat down|closed the curtains|ate {food.a}|looked for {thing.a}].",
            "there was a fire [in the room|in the stove], and {animal.a} [lay|slept|sat] beside it.",
        ],
        [
            "{hero} lit a [small|yellow|steady] lamp in the [quiet|low|dim] room.",
            "{hero} sat down in the [deep|soft|big|red] chair with a [thick|dry|warm] blanket.",
        ],
        [
            "the fire [crackled|hissed|popped] in the [warm|dim|dry] room, and the tea smelled of [mint|lemon|honey].",
            "{hero} pulled the [soft|rough|thick] blanket close and listened to the [clock|roof|old beams] "
            "[ticking|groaning|creaking].",
        ],
        [
            "the little lamp [burned|stood] like [a star|a brave soldier|a yellow flower], and the kettle "
            "[hummed|sang].",
            "the house [groaned|creaked] like [an old ship|a sleeper in a bad dream|a basket], but it held.",
        ],
    ),
]

_STORM_CLOSING = _rich(
    "closing",
    [
        "after [an hour|two hours|three hours] the storm [was over|went away], and {hero} [opened the "
        "window|went to bed|slept].",
        "{hero} [stayed|sat|waited] at the window until [the end|midnight|the rain stopped].",
    ],
    [
        "in the [pale|quiet|cool] morning the [whole|little|wet] town was [clean|bright|still].",
        "at last the [tired|wild|dark] storm went away, and {hero} saw one [small|white|clear] star.",
    ],
    [
        "at last {hero} opened the window, and the [clean|cool|wet] air smelled of [leaves|earth|the sea].",
        "when the storm was over, [slow|heavy|cool] drops [ticked|fell] from the roof, and the silence "
        "[hummed|rang] in {hero.his} ears.",
    ],
    [
        "at last the storm [limped|went] off, [growling|grumbling] like [an old dog|a drunk giant|a beaten army].",
        "then the quiet [fell|spread] like [fresh snow|oil on water], and only the gutter [sang|dripped].",
    ],
)

_WINTER = [
    _rich(
        "snow",
        [
            "there was snow [on the roofs|on the street|on the steps|on the cars].",
            "snow [fell|lay] [on the roofs|on the trees|in the street].",
        ],
        [
            "[deep|white|fresh|clean] snow lay on the [old|steep|silent] roofs.",
            "[thick|slow|big|white] snow fell on the [narrow|empty|dark] street.",
        ],
        [
            "the [fresh|hard|dry] snow [crunched|squeaked|creaked] under {hero.his} boots.",
            "[cold|wet|soft] snow [melted|stung] on {hero.his} [lips|cheeks|neck], and the air smelled of "
            "[smoke|iron|pine].",
        ],
        [
            "the snow [crunched|squeaked] under {hero.his} boots like [sugar|dry bread|new leather].",
            "the snow lay on the roofs like [thick cream|a feather bed] and [whispered|hissed] when it slid down.",
        ],
    ),
    _rich(
        "windows",
        [
            "there was light in the [windows|houses|shops].",
            "{job.a} [stood|sat] at [a window|the window] with {thing.a}.",
        ],
        [
            "[yellow|warm|dim] light [shone|fell] from the [small|high|frosty] windows.",
            "in the [bright|warm|little] shop stood {thing.a} and [new|wooden|fine] [toys|boots].",
        ],
        [
            "from the [warm|yellow|open] door of the [bakery|inn] came [laughter|music|voices] and the smell of "
            "[soup|roast meat].",
            "{hero} touched the [icy|smooth|frosty] glass, and inside a [piano|fiddle|clock] [played|chimed|sang].",
        ],
        [
            "the windows [glowed|burned] like [lanterns|slices of orange|golden eyes], and a piano "
            "[tinkled|sang] behind them.",
            "the frost on the glass grew like [white ferns|lace], and it [crackled|ticked].",
        ],
    ),
    _rich(
        "children",
        [
            "[children|two boys|three girls|a boy and a girl] [played|pulled a sled|made a snowman] [in the "
            "street|by the church].",
            "a [boy|girl] [lost|found|carried] {thing.a} in the snow.",
        ],
        [
            "[two|three|some] [happy|small|noisy] children pulled a [red|long|broken] sled.",
            "[a tall|a fat|a crooked] snowman with a [black|funny|round] hat stood by the [low|white|stone] wall.",
        ],
        [
            "children [laughed|shouted|squealed] on the [hard|steep] hill, and the sled [hissed|scraped] over "
            "the [rough|dry] ice.",
            "a snowball [thumped|burst] against {hero.his} [coat|back], [cold|hard] and [wet|powdery], and "
            "children laughed [loudly|close by].",
        ],
        [
            "the children [flew|shot] down the hill like [birds|thrown stones], [screaming|singing|shouting].",
            "the laughter of children [rang|tinkled] in the street like [sleigh bells|glass|silver spoons].",
        ],
    ),
    _rich(
        "horse",
        [
            "a horse [pulled|stood before] a [cart|sleigh] [with wood|with milk|with coal].",
            "a man [sold|carried] [chestnuts|wood|coal] [at the corner|by the church].",
        ],
        [
            "[a brown|a big|a patient|an old] horse pulled [a green|a heavy|a slow] cart.",
            "[a bent|a cheerful] man sold [hot|big|brown] chestnuts at the [busy|dark|windy] corner.",
        ],
        [
            "the [warm|thick|wool] breath of a [horse|mule] [steamed|smoked], and its bells [jingled|rang] "
            "[softly|in the cold].",
            "the [hot|sweet|burnt] chestnuts [crackled|popped] in the pan and [warmed|burned] {hero.his} fingers.",
        ],
        [
            "the horse [breathed|steamed] like [a kettle|a small train|a dragon], and its bells [jingled|rang].",
            "the chestnuts [popped|crackled] like [tiny drums|small guns|dry twigs] and were as hot as [coals|a "
            "stove].",
        ],
    ),
    _rich(
        "cold",
        [
            "{hero} [put on|looked for] the [scarf|gloves|cap|coat] and [carried|took|held] {thing.a}.",
            "the [pond|river|well|pump] was [frozen|under ice].",
        ],
        [
            "{hero} wore [thick|long|old] {color} gloves and a [striped|huge|wide] scarf.",
            "the [round|still|little] pond was [white|hard|silver] under the [pale|short|clear] day.",
        ],
        [
            "the [icy|sharp|dry] wind [bit|pinched|stung] {hero.his} [ears|cheeks|nose] and [whistled|hissed] "
            "around the corner.",
            "{hero.his} [rough|wool|damp] scarf [scratched|tickled] {hero.his} chin and smelled of [smoke|soap|sheep].",
        ],
        [
            "the cold [bit|pinched] {hero.his} ears like [a crab|a small dog], and the wires [hummed|sang].",
            "{hero.his} breath hung in the air like [a white bird|smoke from a ship|a little cloud], and the "
            "ice [sang|groaned].",
        ],
    ),
]

_WINTER_CLOSING = _rich(
    "closing",
    [
        "then {hero} [came home|went in|shut the door] and [made tea|lit the fire|took off the boots].",
        "at [five|six|seven] it [was dark|was night], and {hero} went home.",
    ],
    [
        "then {hero} came home to the [bright|small|warm] room and a [big|full|brown] pot of [hot|black] tea.",
        "{hero} walked home under the [white|bare|silent] trees and the [first|cold|clear] stars.",
    ],
    [
        "at home {hero} held a [hot|warm] cup with [stiff|numb|red] fingers and listened to the "
        "[crackling|humming] stove.",
        "{hero} came home with [wet|numb|cold] feet, and the smell of [soup|bread|pine] met {hero.him} at the door.",
    ],
    [
        "at home the warmth [closed|wrapped] around {hero} like [a fur|a hot bath], and the kettle [sang|whistled].",
        "behind {hero} the street lay as quiet as [a held breath|a sleeping child|an empty church].",
    ],
)

_FEAST = [
    _rich(
        "table",
        [
            "there was [soup|{food}|meat and bread|fish and bread] [on the table|for everyone|on every plate].",
            "the guests [sat|ate] at [one table|two tables|three tables] [in the hall|under the trees|in the yard].",
        ],
        [
            "[fat|brown|golden] [geese|pies|loaves] lay on the [long|white|full] table.",
            "[many|happy|hungry] guests sat at the [long|crowded|wooden] tables under [green|paper|bright] lamps.",
        ],
        [
            "the [hot|crisp|brown] [goose|fish|pie] [hissed|crackled] on its plate and smelled of "
            "[garlic|pepper|butter].",
            "[spoons|glasses] [clinked|rang|rattled] on every side, and the [thick|hot] soup burned {hero.his} tongue.",
        ],
        [
            "the table [bent|groaned] like [an old donkey|a full cart|a ship with gold] under the plates.",
            "the [pies|geese|loaves] shone like [old gold|the sun at noon|polished wood] and [crackled|hissed] "
            "at the knife.",
        ],
    ),
    _rich(
        "music",
        [
            "{job.a} played the [fiddle|drum|flute|piano].",
            "the guests [danced|sang] [after the soup|after the cake|for an hour|until ten].",
        ],
        [
            "[a tall|a blind|a young|a cheerful] man in {color.a} coat played [an old|a fine|a little] fiddle.",
            "[young|happy|old] guests danced in [wide|slow|quick] circles under the [bright|paper|yellow] lamps.",
        ],
        [
            "a fiddle [sang|squeaked|laughed], and [heavy|quick|bare] feet [stamped|thumped] on the "
            "[smooth|dusty|warm] floor.",
            "the [low|loud|merry] drum [boomed|thudded] in {hero.his} [chest|ears], and the air was "
            "[hot|sweet|thick] with [smoke|flowers|wine].",
        ],
        [
            "the fiddle [sang|laughed] like [a happy bird|a cat in love].",
            "the dancers [turned|whirled] like [tops|leaves in the wind|coloured wheels], and their shoes "
            "[clattered|rang].",
        ],
    ),
    _rich(
        "cake",
        [
            "the cook [brought|cut|carried in] [the cake|a cake|two cakes].",
            "{hero} [ate|had|wanted] [one piece|two pieces|three pieces] of cake.",
        ],
        [
            "the [proud|round|red|busy] cook carried in [a huge|a white|a tall|a pink] cake.",
            "{hero} ate a [large|thin|second] piece of the [soft|white|sweet] cake.",
        ],
        [
            "the [sweet|soft] cake [melted|crumbled] on {hero.his} tongue and tasted of "
            "[lemon|almonds|cherries|honey].",
            "the cake smelled of [lemon|almonds], and its [hard|thin] crust [cracked|crunched] under the knife.",
        ],
        [
            "the cake [stood|shook] on its plate like [a castle|a snowy hill|a tower], and the guests "
            "[sighed|cheered].",
            "the cream was as [light as a cloud|cool as snow|soft as a feather], and the crust "
            "[cracked|snapped] like [ice|thin glass].",
        ],
    ),
    _rich(
        "speech",
        [
            "{hero} [made|gave|heard] a speech, and the guests [clapped|drank|stood up].",
            "{job.a} [told a story|made a joke|sang a song] about {thing.a}.",
        ],
        [
            "{hero} made a [short|kind|funny|clever] speech in a [clear|shy|proud] voice.",
            "a [fat|red] uncle told [a long|an old|a silly] story about {job.a} and {thing.a}.",
        ],
        [
            "the guests [clapped|roared|cheered], and [cold|sour|sweet] [wine|juice] ran over {hero.his} "
            "[hand|sleeve].",
            "{hero} raised a [cold|smooth|heavy] glass, and its [clear|thin|bright] ring [hushed|stilled] the "
            "[noisy|warm] hall.",
        ],
        [
            "the laughter [rolled|went] down the table like [a wave|a ball|thunder in spring].",
            "the uncle's voice [boomed|rumbled] like [an empty barrel|a bull in a barn|an organ].",
        ],
    ),
    _rich(
        "dog",
        [
            "{animal.a} [lay|sat|waited] under the table and got [bread|a bone|some meat].",
            "the children [ran|played|hid] [under the table|behind the door|in the yard].",
        ],
        [
            "under the [long|white|full] table lay {animal.a} with a [big|clean|white] bone.",
            "[small|wild|sticky] children hid behind the [heavy|red|long] curtain.",
        ],
        [
            "under the table {animal.a} [chewed|crunched] a [greasy|salty|hard] bone, [warm|heavy] against "
            "{hero.his} foot.",
            "children [squealed|giggled] under the table and wiped their [sticky|greasy|warm] fingers on "
            "{hero.his} [coat|knee].",
        ],
        [
            "the children [raced|ran] around the hall like [puppies|a flock of sparrows|marbles], "
            "[squealing|shouting].",
            "under the table {animal.a} waited like [a king for his crown|a thief at night], and the bones "
            "[cracked|crunched].",
        ],
    ),
]

_FEAST_CLOSING = _rich(
    "closing",
    [
        "at [eleven|midnight] the guests went home, and {hero} [washed the plates|put out the lamps|slept].",
        "{hero} [thanked everyone|said good night|danced once more] and went to bed.",
    ],
    [
        "at midnight the [tired|happy|last] guests went home along the [dark|quiet|long] road.",
        "{hero} put out the [last|little|yellow] lamp with a [full|happy|proud] heart.",
    ],
    [
        "late at night {hero} still [heard|hummed] the [merry|quick|sweet] tune and tasted the [sweet|sharp] wine.",
        "the [empty|quiet|dark] hall smelled of [candles|smoke|oranges], and {hero.his} feet were [sore|hot|heavy].",
    ],
    [
        "the empty hall lay like [a beach after the tide|a stage after the play|a ship at rest], and a last "
        "glass [rang|clinked].",
        "sleep fell on {hero} like [a warm wave|a sack of flour|a feather bed], and the fiddle still "
        "[sang|hummed] in the dark.",
    ],
)

_LIGHTHOUSE = [
    _rich(
        "tower",
        [
            "the tower stood [on a rock|by the sea].",
            "{hero} [climbed|counted] the [stairs|steps] [to the lamp|to the top|once more].",
        ],
        [
            "the [white|tall|old|round] tower stood on a [bare|black|steep] rock.",
            "{hero} climbed the [steep|iron|narrow] stairs to the [great|small|bright] lamp.",
        ],
        [
            "the [iron|cold|steep] stairs [rang|clanged] under {hero.his} boots, and the [damp|rough|salty] "
            "wall smelled of [oil|the sea].",
            "{hero} held the [cold|rusty|smooth] rail and heard the wind [whistle|sing] in the tower.",
        ],
        [
            "the stairs went up like [the inside of a horn|a stone ribbon], and every step [rang|hummed].",
            "the tower stood on its rock like [a candle on a cake|an old soldier|a white finger], and the wind "
            "[sang|whistled] around it.",
        ],
    ),
    _rich(
        "lamp",
        [
            "{hero} [lit|cleaned|turned|watched] the lamp.",
            "the lamp [turned|burned|went around], and [a ship|two ships|three boats] [passed|turned away from "
            "the rocks].",
        ],
        [
            "the [great|bright|round|old] lamp turned over the [black|wide|empty] sea.",
            "{hero} cleaned the [thick|huge|dusty] glass with a [soft|dry|white] cloth.",
        ],
        [
            "the lamp [hummed|hissed|clicked] as it turned, [hot|warm] against {hero.his} face, and it smelled "
            "of [oil|burnt dust].",
            "{hero} rubbed the [smooth|warm|thick] glass until it [squeaked|sang].",
        ],
        [
            "the light [swept|walked] over the sea like [a broom|a long white arm|the hand of a clock], and the "
            "lamp [hummed|clicked].",
            "the lamp hummed like [a hive at night|a big sleepy bee|a choir of flies].",
        ],
    ),
    _rich(
        "sea",
        [
            "the waves [came to|hit|broke on] the rocks.",
            "the sea [brought|carried|took] {thing.a} [to the rocks|past the tower].",
        ],
        [
            "[high|grey|green|white] waves broke on the [black|sharp|bare] rocks.",
            "the [wide|wild|empty] sea carried {thing.a} past the [bare|black|steep] rocks.",
        ],
        [
            "the waves [roared|boomed|hissed] on the rocks, and [cold|salty|fine] spray [wet|stung] {hero.his} "
            "[face|hands].",
            "the [cold|wild|sharp] wind smelled of [salt|fish], and the [wet|loose] stones [rattled|growled] below.",
        ],
        [
            "the waves [roared|broke] on the rocks like [wild horses|falling walls].",
            "the foam [flew|hissed] over the rocks like [torn lace|spilled milk|white birds].",
        ],
    ),
    _rich(
        "fog",
        [
            "fog came [from the sea|in the night|over the rocks], and {hero} rang the bell.",
            "{hero} wrote [the hour|the date|the wind|a line] in a book.",
        ],
        [
            "[thick|white|cold|grey] fog came over the [cold|black|wide] sea.",
            "{hero} wrote the hour in the [big|blue|heavy] book with a [short|neat|black] pencil.",
        ],
        [
            "the [damp|cold|thick] fog [touched|wet] {hero.his} [cheeks|hair], and the bell "
            "[tolled|clanged|rang] [slowly|again and again].",
            "the horn [moaned|boomed] in the [damp|grey|salty] fog, and the rail [shook|hummed] under "
            "{hero.his} [hands|fingers].",
        ],
        [
            "the fog [crept|came] over the rocks like [a cat|a slow flood|wool from a bag], and the bell "
            "[tolled|called].",
            "the horn [moaned|called] in the fog like [a lost cow|a sad giant|a whale far from home].",
        ],
    ),
    _rich(
        "room",
        [
            "a bed, [a stove|a table|a shelf] and {thing.a} stood in the room.",
            "{hero} [cooked|ate|warmed up] {food} [at the window|on the stove|by the lamp].",
        ],
        [
            "the [small|round|white] room had a [narrow|hard|neat] bed and a [blue|square|worn] table.",
            "{hero} ate {food} from a [deep|tin] plate at the [round|little|clean] window.",
        ],
        [
            "the [small|round|warm] room smelled of [coffee|soup|soap], and the kettle [whistled|hissed].",
            "{hero} warmed {hero.his} [cold|stiff|wet] hands at the stove, and the coals [crackled|ticked].",
        ],
        [
            "the room was as [round as a cheese|snug as a nut|small as a ship's cabin], and the kettle "
            "[sang|whistled].",
            "the stove [purred|glowed] like [a red cat|a tame sun|a dragon in a cage], and the coals "
            "[ticked|whispered].",
        ],
    ),
]

_LIGHTHOUSE_CLOSING = _rich(
    "closing",
    [
        "in the morning {hero} [put out the lamp|went down|slept].",
        "[no ship|nobody] was lost, and {hero} [went to bed|put out the lamp|wrote it down].",
    ],
    [
        "in the [pale|clear|cold] morning {hero} put out the [great|hot|tired] lamp.",
        "a [little|distant|late] ship went safely past the [black|dangerous|sharp] rocks.",
    ],
    [
        "at dawn {hero} opened the window, and the [fresh|salty|cool] air and the [sharp|loud] cries of gulls came in.",
        "{hero} fell asleep to the [low|deep|slow] boom of the sea, with salt on {hero.his} [skin|lips].",
    ],
    [
        "at dawn the sea lay down like [a tired dog|a blue cloth|a child after play] and [sighed|breathed].",
        "a ship [called|sang] from far off like [a grateful goose|a friend at the gate|an old trumpet], and "
        "{hero} waved.",
    ],
)

_FOREST = [
    _rich(
        "trees",
        [
            "[oaks|pines|birches] stood [on both sides|along the path|by a brook|around a well].",
            "the path went [between the trees|past an oak|over a hill|down to a brook].",
        ],
        [
            "[tall|old|straight|dark] [oaks|pines|birches] stood [on both sides|close together|in a thick row].",
            "the [narrow|brown] path went past a [hollow|huge|fallen] oak.",
        ],
        [
            "the [tall|dark|old] pines <creaked> in the wind and smelled of [resin|rain].",
            "{hero} touched the [rough|cool|sticky] bark of [an oak|a pine], and the leaves [rustled|whispered] above.",
        ],
        [
            "the trees stood like [pillars in a church|an old army], and their leaves [whispered|sighed].",
            "the pines [whispered|murmured] like [old women at a well|the sea at night|people before a play].",
        ],
    ),
    _rich(
        "ground",
        [
            "under the leaves [lay|was] {thing.a}.",
            "{hero} [found|picked|counted] [mushrooms|berries|nuts] [by the path|under an oak].",
        ],
        [
            "[brown|dry|yellow|red] leaves lay on the [soft|narrow|dark] path.",
            "{hero} picked [small|ripe|black|sweet] berries from a [low|green] bush.",
        ],
        [
            "[dry|brown|old] leaves [crackled|rustled] under {hero.his} [feet|boots], and the ground smelled of "
            "[mushrooms|moss|earth].",
            "the [soft|damp|thick] moss was [cool|wet] under {hero.his} hand, and the berries tasted "
            "[sour|sweet|bitter].",
        ],
        [
            "the leaves [crackled|crunched] under {hero.his} feet like [paper|a small fire|thin toast].",
            "the moss was as soft as [a bed|fur], and {hero.his} steps [whispered|sighed] on it.",
        ],
    ),
    _rich(
        "brook",
        [
            "there was a brook, and {hero} [drank from it|jumped over it|crossed it].",
            "a brook ran [under a bridge|over stones|past the path].",
        ],
        [
            "a [clear|quick] brook ran under a [mossy|little|broken] bridge.",
            "{hero} crossed the [cold|narrow|shining] brook on [flat|round|white] stones.",
        ],
        [
            "the brook [gurgled|babbled|splashed] over the stones, and its [clear|icy|cool] water [stung|wet] "
            "{hero.his} [hands|fingers].",
            "the [cold|sweet|clear] water tasted of [stone|iron|leaves], and it [chuckled|gurgled] [under the "
            "bridge|by the path].",
        ],
        [
            "the brook [laughed|babbled] over the stones like [girls after school|a box of little bells].",
            "the water was as [cold as a key|clear as window glass|quick as a fish], and it [sang|chuckled] to itself.",
        ],
    ),
    _rich(
        "animal",
        [
            "{animal.a} [crossed|came to|left] the path, and {hero} [stopped|waited].",
            "{hero} saw {animal.a} [by the path|behind a tree|on a hill].",
        ],
        [
            "behind [a young|a thin|a mossy] tree stood {animal.a} with [calm|dark|bright] eyes.",
            "a [quick|tiny|red|young] squirrel ran up a [straight|smooth|tall] birch.",
        ],
        [
            "a [dry|thin] twig [snapped|cracked], and {hero} saw {animal.a} in the [damp|cool|sweet] ferns.",
            "a [woodpecker|owl] [knocked|called|cried] [far off|above], and a [cool|soft|mild] wind touched "
            "{hero.his} [neck|face].",
        ],
        [
            "{hero} saw {animal.a}, as [still as a picture|quiet as a shadow|grave as a priest], and a twig "
            "[snapped|cracked].",
            "a woodpecker [knocked|drummed] like [a guest in a hurry|a tiny carpenter].",
        ],
    ),
    _rich(
        "light",
        [
            "the sun [shone|came] [between the trees|through the leaves|on the path].",
            "after [a mile|an hour|a while] {hero} [sat down on a stone|ate {food.a}|rested].",
        ],
        [
            "[thin|golden|pale] light fell through the [green|high|thick] leaves.",
            "{hero} rested on a [flat|mossy|warm] stone in a [round|sunny|quiet] clearing.",
        ],
        [
            "the [warm|golden|mild] sun touched {hero.his} [face|arms], and [flies|bees] hummed in the "
            "[sweet|dry] grass.",
            "{hero} ate {food}, [warm|sweet|salty] on the tongue, and the [high|cool] leaves [rustled|whispered].",
        ],
        [
            "the light fell through the leaves like [gold rain|coins|honey from a spoon], and the bees [hummed|sang].",
            "the clearing lay like [a green bowl|a secret room|a lake of light], humming with [bees|flies].",
        ],
    ),
]

_FOREST_CLOSING = _rich(
    "closing",
    [
        "after [an hour|two hours|a mile|two miles] {hero} [came to|saw|reached] [the village|the road|a gate].",
        "then {hero} [turned around|went home|took the road home].",
    ],
    [
        "at last {hero} came to the [wide|white|dusty] road and the [first|small|red] houses.",
        "{hero} went home with a [full|brown|heavy] basket and a [quiet|light|glad] heart.",
    ],
    [
        "{hero} came home with [sticky|scratched|cold] hands and the [green|fresh|bitter] smell of "
        "[pine|moss|ferns] in {hero.his} hair.",
        "at the edge of the forest {hero} heard the [deep|slow|distant] bells and smelled [smoke|hay|soup] from "
        "the village.",
    ],
    [
        "the forest closed behind {hero} like [a green door|water over a stone|a sleepy eye], [whispering|rustling].",
        "the quiet of the trees [went|stayed] with {hero} like [a good dream|a tune|a hand on the shoulder].",
    ],
)


SCHEMAS: list[Schema] = [
    _scene(
        "harbour_morning",
        [
            "{hero} [walked|went] [along the harbour|down to the harbour|to the end of the pier] [at "
            "sunrise|before breakfast|early in the morning].",
            "every [Monday|Friday|Sunday] morning {hero} [walked|went] [along the harbour|down to the boats|to "
            "the pier].",
            "{hero} came to the harbour in the morning to [meet a boat|look at the boats|wait for the ferry|buy fish].",
            "the boats were [coming in|going out] when {hero} [came to the harbour|walked along the pier] in "
            "the morning.",
        ],
        [*_HARBOUR, _HARBOUR_MORNING_SKY],
        _HARBOUR_CLOSING,
        weight=0.7,
    ),
    _scene(
        "harbour_evening",
        [
            "{hero} [walked|went] [along the harbour|down to the harbour|to the end of the pier] [at "
            "sunset|after supper|late in the evening].",
            "every [Monday|Friday|Sunday] evening {hero} [walked|went] [along the harbour|down to the boats|to "
            "the pier].",
            "{hero} came to the harbour in the evening to [meet a boat|look at the boats|wait for the ferry|think].",
            "the boats were [coming in|going out] when {hero} [came to the harbour|walked along the pier] in "
            "the evening.",
        ],
        [*_HARBOUR, _HARBOUR_EVENING_SKY],
        _HARBOUR_CLOSING,
        weight=0.7,
    ),
    _scene(
        "kitchen",
        [
            "{hero} [stood|sat|worked|sang] in the kitchen of [the farm|the inn|the mill|the school].",
            "the kitchen was [under the stairs|behind the shop|at the end of the hall], and {hero} "
            "[cooked|worked] there.",
            "{hero} came into the kitchen [in the evening|before supper|after work|when it was dark].",
            "[on Sunday|on Friday|that evening] {hero} cooked for [the family|the guests|ten people|four children].",
        ],
        _KITCHEN,
        _KITCHEN_CLOSING,
    ),
    _scene(
        "market",
        [
            "{hero} went to the market [on Saturday|on Friday|on Monday|that] morning.",
            "the market [began|opened] at [six|seven|eight], and {hero} was [the first|early|there].",
            "in the morning {hero} took [a basket|a bag|some coins|a list] and went to the market.",
            "{hero} [walked|came] to the market [with a list|with two bags|with a cart|alone] in the morning.",
        ],
        _MARKET,
        _MARKET_CLOSING,
    ),
    _scene(
        "train",
        [
            "{hero} took the night train to [the coast|the city|the north|the border].",
            "the night train left at [nine|ten|eleven], and {hero} [found|had|took] a seat [by the window|near "
            "the door].",
            "at [nine|ten|eleven] that night {hero} [got on|caught] the train to [the coast|the city|the north].",
            "{hero} [sat|travelled] on the night train with [a bag|two bags|a letter|a ticket to the border].",
        ],
        _TRAIN,
        _TRAIN_CLOSING,
    ),
    _scene(
        "garden",
        [
            "{hero} went into the garden after the rain.",
            "when the rain stopped, {hero} [went|walked] into the garden [with a spade|with a basket|to look at "
            "the beans|to rest].",
            "the rain stopped at [noon|two|three|four], and {hero} [went out|came out] into the garden.",
            "after [an hour|a day|a night] of rain {hero} [opened the door to|stood in|walked through] the garden.",
        ],
        _GARDEN,
        _GARDEN_CLOSING,
    ),
    _scene(
        "workshop",
        [
            "{hero} had a workshop [by the river|behind the house|in the yard|near the church].",
            "{hero} [opened|unlocked] the workshop at [six|seven|eight] in the morning.",
            "all day {hero} [worked|was] in the workshop [behind the house|by the river|near the church].",
            "[on Monday|on Friday|after school|after lunch] {hero} [went|came] to the workshop to [make a "
            "gift|help|finish a job].",
        ],
        _WORKSHOP,
        _WORKSHOP_CLOSING,
    ),
    _scene(
        "attic",
        [
            "{hero} went up to the attic to look for [a book|a map|a coat].",
            "[one|that] [Sunday|Monday|Saturday] {hero} [climbed|went] up to the attic.",
            "nobody was at home, and {hero} [climbed|went] up to the attic of [the house|the school|the inn|the farm].",
            "{hero} had [never|not often|only once] been in the attic [before that day|of the house].",
        ],
        _ATTIC,
        _ATTIC_CLOSING,
    ),
    _scene(
        "storm",
        [
            "{hero} stood at the window when the storm [began|came|reached the town].",
            "the storm came [at noon|in the evening|at six|after supper], and {hero} [watched|saw] it from the window.",
            "{hero} [sat|stayed] at the window [all evening|that night|after supper] and watched the storm.",
            "from the window {hero} saw the storm come [over the sea|over the hill|from the west].",
        ],
        _STORM,
        _STORM_CLOSING,
    ),
    _scene(
        "winter",
        [
            "{hero} [walked|went] down the street in [December|January|February].",
            "it was [December|January|February], and {hero} [walked|went|came] [to the shop|home from "
            "school|home from work].",
            "on the first day of winter {hero} [walked down|stood in|went out into] the street.",
            "[after school|after work|at three|at four] {hero} walked [through the town|down the street|to the "
            "church] in the snow.",
        ],
        _WINTER,
        _WINTER_CLOSING,
    ),
    _scene(
        "feast",
        [
            "{hero} [went|came] to the [wedding|birthday|harvest] feast with {thing.a} [as a gift|for the host].",
            "there was a feast in the [village|hall|school], and {hero} was [a guest|there].",
            "the feast [began|started] at [five|six|seven], and {hero} [sat|took a seat] by the door.",
            "the whole [street|village|family] came to the feast, and {hero} came [too|last|first].",
        ],
        _FEAST,
        _FEAST_CLOSING,
    ),
    _scene(
        "lighthouse",
        [
            "{hero} kept the lighthouse [on the island|at the end of the bay|north of the town].",
            "{hero} came to the lighthouse [in March|in October|in the evening|on Monday] to keep the lamp.",
            "in the evening {hero} [climbed|went up] the lighthouse and looked at the sea.",
            "for [one year|two years|ten years] {hero} kept the lighthouse.",
        ],
        _LIGHTHOUSE,
        _LIGHTHOUSE_CLOSING,
    ),
    _scene(
        "forest",
        [
            "{hero} took the path through the forest [to the village|to an aunt|to school|to the mill].",
            "{hero} [walked|went] into the forest [with a basket|with a map|after lunch|at noon].",
            "one [Sunday|Saturday|Monday] {hero} followed the path [into the forest|through the forest|to the brook].",
            "the path [began|started] behind the [mill|church|school], and {hero} followed it into the forest.",
        ],
        _FOREST,
        _FOREST_CLOSING,
    ),
]
"""The scenes, each with all of its details; a text tells some of them."""


def generate(draw: Draw) -> Document:
    """Draw a scene, its richness, the details to tell and their order, and tell it."""
    scene = draw.pick(SCHEMAS, weights=[schema.weight for schema in SCHEMAS])
    richness = draw.pick(RICHNESS, weights=list(RICHNESS.values()))
    opening, *details, closing = scene.beats
    count = draw.pick([1, 2, 3, 4, 5], weights=[1, 3, 4, 3, 1])
    told = []
    if details[0].name in ARRIVALS:
        arrival = details.pop(0)
        told += [arrival] if draw.chance(0.5) else []
    while len(told) < count and details:
        detail = draw.pick(details)
        details.remove(detail)
        told.append(detail)
    beats = [opening]
    for beat in [*told, closing]:
        unclear = any(_names_another(earlier, richness) for earlier in beats[1:])
        beats.append(_by_name(beat) if unclear else beat)
    schema = Schema(scene.name, scene.roles, beats, facts=scene.facts, kinds=scene.kinds)
    telling = tell(schema, draw, facts={"richness": richness})
    return Document("passage", [telling.text], {"schema": scene.name, **telling.record()})


_ADJECTIVES = """
angry bare beautiful bent best big bitter black blind brave brick bright broad broken brown burnt calm careful
cheerful clean clear clever cold complete cool crisp crooked crowded curly damp dangerous dark dear deep dim
dirty distant dried dry dusty early empty endless fair fallen far fat few fine finished flat foggy fresh
friendly frightened frosty full funny glad golden good grave greasy great green grey happy hard heavy high
hollow hot huge hungry icy iron kind large lazy light little lonely long loose lost loud low mad merry mild
mossy muddy narrow neat new noisy numb oily old pale paper patient perfect pink plain polite poor powdery proud
purple quick quiet red rich ripe rough round rusty sad safe salty secret serious sharp shining short shy silent
silky silly silver simple sleepy slow small smoky smooth snug soft sore sour stale steady steaming steep sticky
stiff still straight strange striped strong sudden sunny sweet tall thick thin tight tiny tired torn warm weak
wet white wide wild windy wooden worn yellow young
"""
_SENSES = """
banged barked boomed bubbled buzzed chimed chirping clanged clattered clicked clinked coughed cracked
crackled crackling creaked creaking cried croaked crunched drummed echoed flapped flapping fluttered giggled
gleamed glowed groaned groaning growled growling grumbling gurgled hissed hissing howled hum hummed humming
jingled knocked lapped laughter moaned murmured muttered popped purred purring rang rasped rattled roared
roaring rumbled rustled rustling scraped scratched screamed screaming shone sighed silence singing slapped
smell smelled smoke snapped snapping snored sound splashed sputtered squeaked squeaking squealed squealing
squelched stamped stank steam stung tapped taste tasted thudded thumped ticked ticking tickled tinkled
tolled touched trickled voices whirred whispered whispering whistle whistled
"""

DESCRIPTIVE: frozenset[str] = frozenset(
    [*_ADJECTIVES.split(), *_SENSES.split(), *(color.name for color, _ in LEXICON["color"])]
)
"""Words that make a telling richer: adjectives, and words of smell, sound and touch; plain telling has next to none."""

SIMILE_MARKERS = (r"\blike\b", r"\bas \w+(?: \w+)? as\b")
"""Patterns of a simile; the scenes use "like" in no other sense."""
