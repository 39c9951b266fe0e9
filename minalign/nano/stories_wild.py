"""Event schemas of the open air: storms, boats, animals, snow, fog and fire.

Each schema is one kind of event. A telling opens with the hero (who, where, when), names a cause, and comes to an
outcome (`good`, `bad` or `open`) from which the last sentences follow. Endings are written per cause where one sentence
could not fit them all, so that nothing is mended that never broke.
"""

from minalign.nano.grammar import Beat, Entity, Schema
from minalign.nano.lexicon import LEXICON

# Half of the stories end well and half badly; the few open ones keep the sentiment score from being a coin toss.
OUTCOME = {"outcome": {"good": 5, "bad": 5, "open": 2}}
VALENCE = {"good": 1, "bad": -1, "open": 0}
GOOD, BAD, OPEN = {"outcome": ("good",)}, {"outcome": ("bad",)}, {"outcome": ("open",)}
# Roles that a telling does not mention are never drawn, so all schemas share one table.
ROLES = {
    "hero": "person", "friend": "person", "place": "place", "thing": "thing", "job": "job", "food": "food",
    "color": "color", "number": "number", "few": "few", "count": "price", "trade": "job",
    "item": "thing", "prize": "thing", "gift": "thing", "dish": "food", "treat": "food",
    "worker": "job", "helper": "job", "beast": "animal", "creature": "animal", "several": "few", "sum": "price",
    "glad": "mood_good", "sad": "mood_bad",
}


def words(kind, **weights):
    """Return a kind of its own for one schema: `(Entity, weight)` pairs of plain nouns."""
    return [(Entity(name.replace("_", " "), kind, {}), float(weight)) for name, weight in weights.items()]


def animals(names):
    """Return the lexicon's animals named in `names` (a cow does not fall into a well, a seal is no pet)."""
    return [(entity, weight) for entity, weight in LEXICON["animal"] if entity.name in names.split()]


SMALL = animals("dog cat goat sheep pig rabbit fox hedgehog squirrel calf lamb badger")
PETS = animals("dog cat goat hen duck goose rabbit crow parrot pig hedgehog")
CROPS = words("crop", wheat=4, corn=3, barley=2, rye=1)
FISH = words("fish", herring=3, cod=3, mackerel=2, salmon=1)

STORM = Schema(
    "storm",
    ROLES,
    [
        Beat("opening", [
            ("[one|that] [autumn|windy|grey] [afternoon|morning] {hero}[, {job.a},|] was [mending a net|picking "
             "apples|painting the fence] [behind the house|near the {place}|at the end of the lane]."),
            ("{hero}[, {job.a},|] lived in a [small|low|white|crooked] house [by the sea|on the hill|near the "
             "{place}] [and never trusted a quiet sky|where the wind always came first]."),
            ("[late in autumn|in the last week of summer|early in spring] {hero}[, {job.a},|] went out to [the "
             "garden|the gate|the yard] [with {thing.a}|to see how the sky looked|to bring in the washing]."),
            ("{hero}[, {job.a},|] had just [hung up the washing|sat down with a cup of tea|put the bread in the "
             "oven] when the [light|air|wind] changed."),
            ("{hero}, {job.a} [from the coast|from the valley|with a good nose for weather], [smelled|felt] the "
             "storm [an hour|half a day] before it came."),
        ]),
        Beat("sky", [
            ("the sky over the [sea|hills|fields] turned [grey|black|dark green], and the birds [went quiet|flew "
             "inland|hid under the roofs]."),
            "far away the thunder rolled like [a cart on stones|an old man in bed|an empty barrel|a great drum].",
            ("first came [one drop|a few drops|a cold wind], then [a wall of rain|more rain than a bucket can "
             "hold|rain from every side]."),
            '"[This|That] will not be a small one," {hero} said [to the cat|quietly|to nobody at all].',
            ("the wind [pulled at|shook|rattled] the [doors|windows] and [threw leaves at|whistled round|bent] the "
             "[old trees|chimney]."),
            ("{hero} [carried in|saved|tied down] {item.a}, {several} chairs and [the hens|a bench] before the "
             "[first drops|rain] fell."),
            "{item.a} [flew|rolled] past the window, then {beast.a}, [and then {several} hats|looking surprised].",
            "the [clock|bell] at the {place} struck {several}, but the wind [carried it off|tore it to pieces].",
            "{several} {color} shirts [flew|sailed] off the line and [over the hill|toward the {place}].",
        ], p=0.75),
        Beat("hit", {
            "roof~3": [
                "then a [great|sudden|wild] gust [tore|pulled] half the roof off the [barn|shed|kitchen].",
                ("with a [crack|bang|long groan] the roof of the [barn|shed|kitchen] [came loose|opened like a "
                 "box|began to fly away]."),
                ("the wind took [half|most] of the roof, and the rain came [into the house|through the roof|down "
                 "on the beds]."),
            ],
            "boat~3": [
                ("then the rope [broke|slipped|gave way], and {hero.his} [little|{color}|only] boat drifted [out "
                 "of the bay|toward the rocks|into the waves]."),
                ("a [huge|grey|high] wave [lifted|took] {hero.his} [little|{color}|old] boat and [dragged it from "
                 "the shore|broke its rope like a thread]."),
                ("down at the pier {hero.his} [little|{color}|old] boat [pulled at its rope|beat against the "
                 "stones] until the rope [broke|tore]."),
            ],
            "tree~2": [
                ("lightning struck the [old|tall|biggest] [oak|apple tree] and it fell [across the road|onto the "
                 "fence|in front of the door]."),
                ("with a [crack|groan] the [old|tall] [oak|pine] came down [across the road|on the hen house|a "
                 "step from the door]."),
                ("the wind [pushed|bent] the [old|tall] [oak|pine] until it [fell|lay] [across the road|over the "
                 "garden wall]."),
            ],
        }, valence=-1),
        Beat("help", [
            ("[a neighbour|{trade.a}] called {friend} came running through the [rain|mud|storm] with [a rope|a "
             "lamp|a ladder]."),
            ("{hero.his} neighbour {friend} [saw it|heard the noise] and came over [in boots and a nightshirt|with "
             "a coat over one shoulder|without even a hat]."),
            ("[luckily|by good luck] a friend called {friend} was [only a field away|on the road|just passing with "
             "a cart] and [ran to help|did not ask twice]."),
            '"[Hold on|Wait for me|Leave it to both of us]!" shouted [a neighbour|{trade.a}] called {friend}.',
        ], valence=1),
        Beat("work", [
            ("{hero} and {friend} [pulled|pushed] and [shouted|swore a little] [for an hour|until their hands "
             "hurt|while the rain ran into their ears]."),
            ('the wind was so loud that when {friend} shouted "[left|pull|now]", {hero} heard '
             '"[lunch|wolf|cow|{food}]".'),
            "{hero} held [the lamp|the rope] and {friend} [did the rest|gave the orders|climbed up first].",
            "the two of them worked [side by side|without a word|as fast as they could], wet to the [skin|bone].",
        ], p=0.6),
        Beat("saved", {
            "roof": [
                ("they [tied|nailed|held] an old sail over the hole, and [not one drop more came in|the beds "
                 "stayed dry|it held all night]."),
                ("before dark the hole was [closed|covered] with [boards|an old sail], and the [house|barn] was "
                 "dry again."),
            ],
            "boat": [
                ("{friend} [threw|swung] the rope [twice|three times], and at last {hero} [caught the boat|pulled "
                 "the boat back to the pier]."),
                ("a wave all by itself pushed the boat back, and {hero} and {friend} dragged it [up the sand|onto "
                 "the stones], whole and dry inside."),
            ],
            "tree": [
                ("they cut the tree [into logs|into neat pieces] and [opened the road|cleared the way], and there "
                 "was firewood [for both houses|until spring]."),
                "nobody was hurt, and {friend} [sawed|cut] [a fine bench|two good chairs] out of the tree.",
            ],
        }, by="hit", when=GOOD, valence=1),
        Beat("lost", {
            "roof": [
                ("but the rest of the roof [followed|flew off too|fell in], and [everything under it was "
                 "spoiled|the rain ruined the floor]."),
                ("the hole [grew|only got bigger], and by [dark|midnight] {hero} had [no roof at all|four walls "
                 "and a lot of rain]."),
            ],
            "boat": [
                "but the boat [struck|hit] the rocks and [broke in two|went to the bottom|sank before their eyes].",
                ("{friend} threw the rope [too short|too late], and the boat [was gone|sank] behind the "
                 "[next|third] wave."),
            ],
            "tree": [
                ("but the tree was too heavy, and it broke the [fence|well|hen house] and blocked the road [for a "
                 "week|until the frost came]."),
                ("under the branches they found {hero.his} [cart|bench|garden], [broken into small pieces|flat as "
                 "a plate]."),
            ],
        }, by="hit", when=BAD, valence=-1),
        Beat("waiting", [
            ("[at midnight|after some hours] the storm was still going strong, and [they could only wait|nobody "
             "could say what the morning would show]."),
            ("then the lamp went out, and {hero} and {friend} sat [in the kitchen|behind the door] and [listened "
             "to|counted] the [gusts|thunder]."),
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and made [hot soup|{food.a}|strong tea] for two.",
                ("when the wind dropped, {hero} [was|felt] so {glad} that {hero.he} [laughed out loud|thanked "
                 "{friend} four times|kissed the door]."),
                "[the next morning|after breakfast] the sun came out, and {hero} was {glad} [at last|all day].",
                "{hero} [was|felt] {glad} and gave {friend} {gift.a}, {treat.a} and [dry socks|a bed for the night].",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and [did not sleep that night|would not eat|said nothing for a long time].",
                "in the grey light of the morning {hero} [walked round|looked at] the damage and [was|felt] {sad}.",
                "{friend} [brought {food.a}|made tea], but {hero} [was|felt] too {sad} to [talk|eat].",
                "{hero} found {gift.a} in a tree, {several} fields away, and [was|felt] {sad}.",
            ],
            "open": [
                '"[Tomorrow|In the morning] we will know," {friend} said, and {hero} [nodded|poured more tea].',
                "{hero} [looked at the window|held a cold cup of tea] and waited for the light.",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                "since then {hero} and {friend} [drink tea together|eat together] whenever it [rains|blows].",
                ("the storm took only [one hat|{few} shirts|a basket], and [the gulls are welcome to it|nobody "
                 "missed it]."),
            ],
            "bad": [
                ("it took {hero} [all winter|a whole year|three months] to [pay for|make good] what the storm had "
                 "broken in [one hour|one night]."),
                "since then {hero} [hates the sound of wind|sleeps badly in autumn].",
            ],
            "open": [
                "outside, something [banged|rolled about|knocked] in the dark, and neither of them went to look.",
            ],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

RACE = Schema(
    "race",
    ROLES,
    [
        Beat("opening", [
            ("every [summer|spring] the [village|town] held a race [round the lake|to the {place} and back|over "
             "the three hills], and [this time|this year] {hero} [put down {hero.his} name|wanted to win it]."),
            ("{hero}[, {job.a},|] wore number {number} in the [great|long] race [along the beach|round the "
             "lake|from the church to the {place}]."),
            ("{hero}, {job.a}, had never run [farther than the {place}|up a hill if there was a cart], but [on "
             "Sunday|one bright morning] {hero.he} stood at the start."),
            ("on the day of the race {hero} [got up before the birds|ate {food.a} for breakfast] and "
             "[tied|checked] {hero.his} [{color} |old |]shoes [twice|three times]."),
            ("one [bright|clear|cool] morning {hero}[, {job.a},|] stood at the starting line [with number {number} "
             "on {hero.his} shirt|and tried not to look down]."),
        ]),
        Beat("rival", [
            ("next to {hero} stood {hero.his} old rival {friend}, who [smiled like a cat|had won three years in a "
             "row|yawned on purpose]."),
            ("the runner to watch was [a neighbour|a farmer|a sailor] called {friend}, with legs [like a horse|as "
             "long as oars]."),
            '"[I hope|Tell me] you brought [a chair|a map|some lunch]," said a rival called {friend}.',
            "everybody put their money on [a tall|a quick|a young] runner called {friend}, and nobody on {hero}.",
        ]),
        Beat("start", [
            ("[the bell rang|the mayor dropped a handkerchief|somebody fired an old gun], and {count} "
             "[runners|pairs of shoes] [went off|shot away] like [hens before a fox|peas from a bag]."),
            ("{hero} started [slowly|too fast|well] and [counted {hero.his} steps|kept to the inside|listened to "
             "{hero.his} breath]."),
            "on the first hill {friend} was {count} steps ahead and [waving to the crowd|not even warm].",
            "the crowd [clapped|shouted|sang], and a [small dog|goose|fat cat] ran along [for fun|for a while].",
            "beside the road {worker.a} sold {dish} for {sum} coins and {item.a} for {several}.",
            "first prize was {prize.a}, second prize {dish.a}, and [third|last] prize [a handshake|{beast.a}].",
            ("{worker.a} with {item.a} [stood|sat] at the start and [blessed the runners|took bets] [for {sum} "
             "coins|on everyone]."),
            "{sum} people [stood|waited] at the {place}, and {several} of them had brought {item.a}.",
        ], p=0.75),
        Beat("trouble", {
            "shoe~3": [
                ("[half way|at the second hill|near the {place}] one of {hero.his} shoes [came off|fell apart|lost "
                 "its sole]."),
                ("then {hero} [lost a shoe|left one shoe] in the [mud|wet sand] and [ran on without it|had to go "
                 "on with one]."),
            ],
            "fall~3": [
                ("[at the bridge|in the last bend] {hero} [tripped over|slipped on] [a root|a stone|a sleeping "
                 "hen] and fell [flat on {hero.his} face|hard on one knee]."),
                ("[then|all at once] {hero} [put a foot wrong|stepped in a hole] and went down [in the dust|like a "
                 "sack]."),
            ],
            "rival~2": [
                ("[in the wood|at the bridge] {friend} [fell|slipped] and [sat in the dust|held one foot], and "
                 "{hero} [stopped to help|turned back]."),
                ('"My foot!" cried {friend} [at the bridge|in the last bend], and {hero} [stopped to help|could '
                 'not just run past].'),
            ],
            "wind~2": [
                ("on the [last|open|long] stretch the wind [turned|came up] and blew [straight into their "
                 "faces|sand into every eye]."),
                "[along the shore|by the lake] a [strong|cold] wind [pushed|held] {hero} back like a hand.",
            ],
        }, valence=-1),
        Beat("middle", {
            "shoe": ['"One shoe is enough!" shouted {hero}, and the crowd [cheered|clapped|laughed].',
                "{hero} ran on with [one bare foot|one wet sock] and [many|a few] short words."],
            "fall": [
                ("{hero} [got up|stood up again], [spat out some grass|wiped the blood away], and [ran on|did not "
                 "look back]."),
                ('"[Up|Get up|Keep going]!" cried the crowd, and {hero} [got up|ran on] with [a red knee|dust in '
                 'both eyes].'),
            ],
            "rival": [
                ('"[Go on|Run|Leave me here], you fool," {friend} said, but {hero} [would not|pulled {friend} up '
                 'by the arm].'),
                ("{hero} [tied a handkerchief round|rubbed] the bad foot, and then they [ran on|started again] "
                 "side by side."),
            ],
            "wind": [
                ("{hero} [bent low|pulled {hero.his} cap down] and ran [behind a fat baker|close to the wall], "
                 "where it was calm."),
                "{friend} [ran like a sail the wrong way|grew slower and slower], and {hero} [saw it|came closer].",
            ],
        }, by="trouble", p=0.6),
        Beat("finish", {
            "good": [
                ("at the [last|very last] moment {hero} [passed {friend}|came past {friend}] and won by [a "
                 "nose|one step|the length of a loaf]."),
                ("{hero} [crossed|reached] the line first, [just|a breath] ahead of {friend}, and [fell into the "
                 "grass|could not say a word]."),
                "when the dust lay down it was {hero} who had won [the cup|the race].",
            ],
            "bad": [
                ("{friend} [won easily|crossed the line first], and {hero} came in [last|behind the oldest man in "
                 "town|when the band had gone home]."),
                ("{hero} [gave everything|did not give up], but {friend} [won|was first] and {hero} [finished "
                 "last|was only ninth]."),
                ("a few steps before the end {hero.his} legs [gave way|would not go on], and {friend} [won|took "
                 "the cup]."),
            ],
            "open": [
                ("{hero} and {friend} crossed the line [together|at the very same moment], and the judges [began "
                 "to argue|looked at each other]."),
                ("nobody saw who was first, because [a gust of dust hid the line|the judge was eating {food.a}|a "
                 "cow stood in front of the judge]."),
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad}, and [the band played|even {friend} clapped|people threw their hats].",
                '"[Well run|That was fair]," {friend} said, and {hero} [was|felt] {glad}.',
                "with [the cup|the prize] in both hands {hero} [felt|was] {glad} and [very tired|a little dizzy].",
                "{hero} [was|felt] {glad} and shared {treat.a} with {helper.a} and {creature.a}.",
            ],
            "bad": [
                ("{hero} [was|felt] {sad} and went home [by the back road|before the music started|without the "
                 "others]."),
                ("that [evening|night] {hero} [put the shoes away|threw the shoes into a corner] and [was|felt] "
                 "{sad}."),
                "{hero} tried to smile at {friend}, but {hero.he} [was|felt] {sad}.",
                "{hero} gave {gift.a} to {helper.a}, ate {treat.a} alone and [was|felt] {sad}.",
            ],
            "open": [
                ('"[We can run it again|Let them talk]," {friend} said, and {hero} [was still too tired to '
                 'answer|only wanted water].'),
                "[at sunset|when the lamps were lit] the judges were still [talking|counting|looking at the mud].",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                ("the [cup|prize] stands [on the shelf|in the window] now, and {hero} [drinks tea from it|keeps "
                 "buttons in it|cleans it every Sunday]."),
                ("the [prize|reward] was [{thing.a}|a live goose|{color.a} blanket|{food.a}], and {hero} carried "
                 "it home [on {hero.his} back|singing]."),
            ],
            "bad": [
                "{hero} has not run since, not even [for the train|from the rain].",
                ("for [weeks|a month] the children [ran slowly past|called number {number} after] {hero} to "
                 "[tease|be funny]."),
            ],
            "open": ["in the [town|village] they still [argue|talk] about it [every summer|over their beer]."],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

RESCUE = Schema(
    "rescue",
    {**ROLES, "animal": "small animal"},
    [
        Beat("opening", [
            ("on the way home from the {place} {hero}[, {job.a},|] heard a [thin|strange|small] cry [behind the "
             "hedge|down by the river|from the ditch]."),
            ("{hero}[, {job.a},|] was walking [along the river|over the fields|down the lane] [one mild "
             "morning|one quiet afternoon] when {hero.he} [stopped|stood still] and listened."),
            ("{hero}, {job.a}, never [left the house without a bit of rope|went anywhere without bread], and [one "
             "day|one morning] it was [useful|needed]."),
            ("[early one morning|one afternoon in spring] {hero}[, {job.a},|] took the [river path|field path] [to "
             "the {place}|home], [humming|eating {food.a}|thinking of nothing]."),
        ]),
        Beat("danger", {
            "mud~3": [
                "{animal.a} [was stuck|had sunk] in the mud up to its [belly|neck] and could not [move|get out].",
                "in the [deep|black] mud below the bank lay {animal.a}, [too tired to cry|too weak to move].",
            ],
            "ice~2": [
                ("{animal.a} had gone [out on|too far out on] the thin ice [of the pond|of the river], and the ice "
                 "[was cracking|had begun to sing]."),
                "in the middle of the pond {animal.a} hung on to the edge of the ice.",
            ],
            "fence~3": [
                ("{animal.a} was caught in [the wire|an old fence|a broken fence], and every [pull|jump] made it "
                 "worse."),
                ("{animal.a} hung in [the wire|a fence] by one leg and looked at {hero} [without hope|with round "
                 "eyes]."),
            ],
            "well~2": [
                "at the bottom of [an old|a dry|the old] well sat {animal.a}, looking up.",
                ("{animal.a} had fallen into [an old|a dry] well, and its [voice|cry] came up [cold and "
                 "hollow|like a song from a jug]."),
            ],
        }, valence=-1),
        Beat("speech", [
            ('"[Easy|Quiet|Hold still] now," {hero} said, "[I am not as bad as I look|I have had worse mornings|we '
             'will find a way]."'),
            '"[Stay there|Do not go away]," said {hero}, [which was not a clever thing to say|as if it could].',
            "the {animal} [looked at|blinked at] {hero} and [trembled|did not make a sound].",
            "{hero} took off {hero.his} [coat|shoes|good jacket] and [looked for a stick|thought for a moment].",
            "in {hero.his} bag {hero} had {thing.a}, {several} coins and {dish.a}, and none of that was a rope.",
            ("it was {several} [fields|miles] to the {place}, and {beast.a} [stood|sat] on the bank and "
             "[watched|did nothing]."),
            "{color.a} ribbon [hung|was tied] round its neck, with the number {number} on it.",
            "{hero} held out {dish.a}, but the {animal} would not [look at|smell] it.",
        ], p=0.8),
        Beat("help", [
            ("[a farmer|{trade.a}] called {friend} [came past|was working nearby] and [brought a rope and a "
             "ladder|brought a rope and a long board|knew what to do]."),
            ("{hero} [shouted|called] until {hero.his} neighbour {friend} came with a rope and [a ladder|a long "
             "board|{food.a}]."),
            ("soon [a shepherd|{trade.a}] called {friend} [stood there|came up] and asked, \"[What is it this "
             "time|Is it alive|Who goes first]?\""),
        ], valence=1),
        Beat("attempt", {
            "mud": [
                "they laid [boards|branches] on the mud, and {hero} crawled out [on {hero.his} belly|like a frog].",
                "{hero} went in [to the knees|to the hips], and {friend} held {hero.his} [belt|hand].",
            ],
            "ice": [
                ("{hero} lay down flat and crept over the ice, with the rope round {hero.his} [waist|chest] and "
                 "{friend} at the other end."),
                ("{friend} pushed the [ladder|board] over the ice, and {hero} [crept along it|crawled out], not "
                 "breathing much."),
            ],
            "fence": [
                ("{friend} [cut|bent] the wire while {hero} [held the head|kept it still], and it took [a long "
                 "time|all their strength]."),
                ("{hero} opened the wire [piece by piece|with cold fingers] and {friend} [talked softly|sang to "
                 "the {animal}]."),
            ],
            "well": [
                "{friend} [lowered|let] {hero} down [on the rope|into the dark], [slowly|with many jokes].",
                "{hero} climbed down [hand under hand|into the cold], and {friend} held [the rope|the lamp] above.",
            ],
        }, by="danger", p=0.75),
        Beat("end", {
            "good": [
                ("at last the {animal} was [free|out], [shook itself|stood up] and [sneezed at {friend}|licked "
                 "{hero.his} hand|ate half of {hero.his} lunch]."),
                ("with [one last pull|a wet sound] the {animal} came [free|loose], and [all three of them fell "
                 "over|it was not even hurt]."),
                "in the end they [got it out|saved it], [cold and dirty|thin and shaking], but alive.",
            ],
            "bad": [
                "but they [were|came] too late, and the {animal} [lay still|did not breathe any more].",
                ("the {animal} [lived until the evening|closed its eyes] and then it died, though {hero} [rubbed "
                 "it warm|held it close|sat with it]."),
                ("they got it out, but it was too [weak|cold|badly hurt] and died [in {hero.his} arms|on the way "
                 "home]."),
            ],
            "open": [
                ("they got it out alive, but it would not [eat|stand], and {friend} said the night would "
                 "[decide|tell]."),
                ("the {animal} [tore itself loose|jumped up] and ran off on three legs between the trees before "
                 "anyone could [look at it|see how badly it was hurt]."),
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad}, [and wet to the neck|with mud in both ears].",
                "{hero} went home [dirty|with one shoe|in a torn coat] and was {glad}.",
                "[that evening|by the fire] {hero} told the story [twice|to everyone] and was {glad}.",
                "{friend} and {hero} shared {treat.a} with {helper.a}, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} buried the {animal} under [a tree|the hedge] and [was|felt] {sad}.",
                "{hero} [was|felt] {sad} and [walked home slowly|sat by the path a long time].",
                '"You did what you could," {friend} said, but {hero} [was|felt] {sad}.',
                ("{hero} laid {gift.a} on the grave, [gave {friend} {treat.a}|sat there until {several}] and "
                 "[was|felt] {sad}."),
            ],
            "open": [
                ("{hero} left [some water|a little bread] [by the path|near the spot] and [looked back|listened] "
                 "more than once."),
                "{hero} lay awake and wondered [if it was still alive|where it was now].",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                ("the {animal} comes to {hero.his} gate [every spring|on Sundays|when it rains], and nobody can "
                 "say why."),
                ("in the village they [call {hero} the {animal} doctor now|gave {hero} {food.a} with a ribbon "
                 "round it]."),
            ],
            "bad": [
                ("[a week|a month] later somebody closed [the place|the spot] off with [boards|stones], too late "
                 "for the {animal}."),
                "since that day {hero} walks [the other way|by another path].",
            ],
            "open": [
                ("[some days|a week] later there were [fresh tracks|small tracks] [in the mud|by the gate], but "
                 "[so many animals come that way|nobody knew whose]."),
            ],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
    kinds={"small animal": SMALL},
)

TRIP = Schema(
    "trip",
    ROLES,
    [
        Beat("opening", [
            ("{hero}[, {job.a},|] had [saved all year|waited since spring|sold {hero.his} bicycle] for a trip to "
             "the [islands|mountains|capital]."),
            ("on the first day of the [holidays|summer] {hero} packed [{thing.a}|{few} shirts|{food.a}] and left "
             "[before sunrise|early]."),
            ("{hero}, {job.a}, had never been [farther than the {place}|out of the valley], so [one morning|one "
             "fine day] {hero.he} [bought a ticket|set off]."),
            ("[one spring|one summer] morning {hero} [shut the door|left the key with a neighbour] and set out to "
             "see [the other coast|the big city|a cousin in the mountains]."),
        ]),
        Beat("way", {
            "boat~5": [
                ("the boat was [small|white|full of hens] and smelled of [fish|oranges|{food}], and {hero} [stood "
                 "at the front|found a seat on a barrel]."),
                ("{hero} took the [early|{color}|old] boat and found a place [by the rail|among the baskets|out of "
                 "the wind]."),
                "the ferry left the pier [{count} minutes late|on time], and {hero} waved at [strangers|the gulls].",
            ],
            "train~5": [
                ("the train was [long|old|slow] and [full of soldiers|half empty|full of singing children], and "
                 "{hero} [got a seat by the window|stood in the corridor]."),
                ("{hero} sat in wagon number {number}, on [a hard|{color.a}|a torn] seat "
                 "[by the window|near the stove]."),
                ("the train [whistled|sighed] and rolled out [between the gardens|over the bridge], and {hero} "
                 "[pressed {hero.his} nose to the glass|counted the cows]."),
            ],
        }),
        Beat("company", [
            ("on the next seat was a [young|tired|cheerful] [painter|nurse|sailor|{trade}] called {friend}, who "
             "[offered {hero} some {food}|knew everything about clouds|slept with open eyes]."),
            ("{hero} began to talk with [a traveller|{trade.a}] called {friend}, who [had a parrot in a box|was on "
             "the way to a wedding|had lost {few} hats that week|carried {item.a}]."),
            '"[Is this seat free|Do you like {food}|Going far]?" asked [a traveller|{trade.a}] called {friend}.',
        ]),
        Beat("view", {
            "boat": [
                ("the sea was [flat as a plate|green and slow|full of small lights], and a [seal|whale] [looked at "
                 "them|came up to breathe]."),
                "the islands came out of the [mist|blue] [one by one|like bread from an oven].",
                ("{friend} pointed at [a lighthouse|a white sail|the rocks] and told {hero} a story that could not "
                 "be true."),
                "in {hero.his} bag were {item.a}, {several} shirts and {dish.a}, [all {color}|packed by an aunt].",
                "across from them sat {worker.a} with {beast.a} and {prize.a}, [fast asleep|eating {dish}].",
            ],
            "train": [
                ("outside went [fields|hills] and [rivers|villages], and once [a horse ran beside them|a whole "
                 "wedding waved]."),
                "at every [stop|station] somebody [sold|passed up] [{food.a}|hot tea] through the window.",
                "{friend} knew [a song|a joke] for every hill, and there were {count} hills.",
                "the ticket had cost {sum} coins, and for {several} more one got {dish.a}.",
                "{friend} showed {hero} {prize.a} and said it [came from a king|was {sum} years old].",
            ],
        }, by="way", p=0.65, valence=1),
        Beat("trouble", {
            "bag~3": [
                "then {hero} saw that {hero.his} bag was [gone|not there any more].",
                '"Where is my bag?" asked {hero}, and [nobody answered|everyone looked at the ceiling].',
            ],
            "engine~3": [
                "[around noon|half way] the engine [coughed|banged|sneezed] [twice|three times] and [died|stopped].",
                ("in the middle of [nowhere|the journey] there was a [bang|smell of smoke], and the engine "
                 "[stopped|gave up]."),
            ],
            "wrong~2": [
                ("only then did {hero} [look at the ticket|ask the guard] and learn that this was the wrong "
                 "[line|way]."),
                '"This does not go there," the guard said, [looking at {hero.his} ticket|and shook a heavy head].',
            ],
        }, valence=-1),
        Beat("end_good", {
            "bag": [
                ("{friend} found it [under the seat|behind a basket], where a child was [asleep on it|as proud as "
                 "a king], and by [evening|sunset] they had arrived."),
                ("a boy had [carried it to the wrong seat|used it as a pillow], and {hero} arrived [in time|before "
                 "dark] with everything."),
            ],
            "engine": [
                ("{friend} [mended it with a spoon|hit it once with a shoe], the engine [ran|woke up], and they "
                 "arrived [before dark|only an hour late]."),
                ("after an hour of [cards|songs] the engine [ran again|woke up], and {hero} arrived [in time for "
                 "supper|under a red sky]."),
            ],
            "wrong": [
                ("{hero} got off at the next stop, and it was [the prettiest place {hero.he} had ever seen|even "
                 "better than the plan]."),
                ("but {friend} knew [a short way|another line], and {hero} came [where {hero.he} wanted|there] "
                 "[before sunset|the same day]."),
            ],
        }, by="trouble", when=GOOD, valence=1),
        Beat("end_bad", {
            "bag": [
                ("it had been stolen with [all the money|the tickets|{hero.his} good coat] in it, and {hero} had "
                 "to turn back [at the next stop|the same day]."),
                ("they looked [everywhere|under every seat], but it [was not found|had gone with a thief], and the "
                 "trip was over."),
            ],
            "engine": [
                "nobody could mend it, and they [spent the night on hard benches|were pulled back home in the dark].",
                ("after {few} hours they were brought back to where they had started, and [no money was given "
                 "back|that was the trip]."),
            ],
            "wrong": [
                ("there was no way back that day, and {hero} slept [on a bench|in a cold waiting room] with "
                 "{hero.his} shoes for a pillow."),
                ("the way back cost [all the money that was left|more than the ticket], and {hero} never saw the "
                 "[sights|place]."),
            ],
        }, by="trouble", when=BAD, valence=-1),
        Beat("end_open", [
            ("when night fell they were still [far from any town|on the way], and [the lamps were lit|somebody "
             "began to sing]."),
            "at night nothing was settled, and {friend} and {hero} shared the last [of the {food}|blanket].",
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and sent {few} cards home.",
                "{hero} [thanked|hugged] {friend} and was {glad} [to have come|the whole week].",
                "never had {hero} been so {glad} [with so little sleep|in such dirty shoes].",
                "{hero} bought {gift.a} for {friend} and {treat.a} for both, and [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and [swore never to travel again|wrote no cards].",
                "on the way home {hero} looked at [the floor|{hero.his} hands] and [was|felt] {sad}.",
                "{friend} told a joke, but {hero} was [too {sad} to laugh|{sad}].",
                ("all that {hero} brought home was {gift.a} and [a cold|a hole in one shoe], and {hero.he} "
                 "[was|felt] {sad}."),
            ],
            "open": [
                '"[It is still a trip|We are not home, at least]," {friend} said.',
                "{hero} [could not say|did not know yet] if this was [a story for later|a mistake].",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                "the ticket [hangs over {hero.his} bed|is still in {hero.his} coat] now.",
                "[a year|two years] later {hero} and {friend} made the same trip [on purpose|again].",
            ],
            "bad": [
                "now {hero} travels only [in books|with one finger on the map].",
                "when people say the word holiday, {hero} [leaves the room|counts to ten].",
            ],
            "open": [
                ("somewhere ahead a single light [went on|blinked], and it was [hard to say|not clear] how far "
                 "away it was."),
            ],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

LOST_WAY = Schema(
    "lost_way",
    ROLES,
    [
        Beat("opening", [
            ("{hero}[, {job.a},|] [went|walked] into the forest to look for [mushrooms|berries|firewood] and [took "
             "no map|told nobody]."),
            ("[one autumn|one cool] afternoon {hero}[, {job.a},|] took the short way [through the forest|over the "
             "moor] to the {place}."),
            ("{hero}[, {job.a},|] had to bring {thing.a} to [an aunt|a cousin|an old teacher] [behind the "
             "forest|on the other side of the hills]."),
            "{hero}, {job.a}, [knew|believed {hero.he} knew] every path between the village and the {place}.",
        ]),
        Beat("lost", {
            "fog~4": [
                ("then the fog came [down from the hills|up from the river], [thick as wool|white as milk], and "
                 "the path [was gone|went out like a lamp]."),
                "in [a few minutes|the time of one song] the fog had [eaten|taken] the [path|trees|hills].",
            ],
            "path~4": [
                "the path grew [thin|narrow], then [thinner|narrower], and then it was only [grass|moss].",
                ("at the [second|old] crossing {hero} [turned left instead of right|followed a deer], and soon "
                 "every tree looked [like its brother|the same]."),
            ],
            "dark~3": [
                ("the [berries|mushrooms] were so many that {hero} [forgot the time|did not see the sun go], and "
                 "it grew dark."),
                ("the sun went down [sooner|faster] than {hero} had thought, and under the trees it was [black|as "
                 "dark as a sack]."),
            ],
        }, valence=-1),
        Beat("search", [
            "{hero} walked for [an hour|a long time] and came back to {hero.his} own [tracks|footprints].",
            '"[Hello|Is anybody there]?" called {hero}, and only [an owl|the echo|a wet bird] answered.',
            ("{hero} [climbed a tree|stood on a rock] and saw [nothing but more trees|nothing at all], [in all "
             "directions|however hard {hero.he} looked]."),
            ('"I am not lost," {hero} told [a tree|a stone|an ant], "[I just do not know where I am|the village is '
             'lost]."'),
            ("twice {hero} passed the same [stone|stump|pond], and the second time {hero.he} [greeted it|took off "
             "{hero.his} hat to it]."),
            "{hero} had {several} coins, {item.a} and {dish.a}, and none of them [showed the way|was a map].",
            "{beast.a} [sat on a stump|crossed the path] and looked at {hero} as if it [lived there|knew the way].",
            "on a [tree|stone] stood the number {number}, in {color} paint, and it [meant nothing|was no help].",
            "{hero} counted {sum} steps to the [left|right], and then {sum} steps back.",
        ]),
        Beat("body", [
            "{hero.his} feet were [wet|cold|sore], and [the last of the {food} was eaten|the bread was gone].",
            ("something [cracked|rustled] in the bushes, and {hero} [walked faster|held {hero.his} breath|sang, "
             "badly]."),
            "{hero} [turned up {hero.his} collar|put leaves into {hero.his} coat] against the cold.",
        ], p=0.55, valence=-1),
        Beat("sign", {
            "voice~3": [
                ("after a while a voice [called|sang] [far away|between the trees], and it was [a hunter|a "
                 "shepherd|{trade.a}] called {friend}."),
                ("then somebody [whistled|coughed] close by, and [out of the grey|from behind a tree] came [a "
                 "hunter|a shepherd|{trade.a}] called {friend}."),
            ],
            "light~3": [
                ("at last there was a light, [small|weak] and yellow, in the window of a [hut|cottage], where an "
                 "old friend called {friend} lived."),
                "{hero} saw [a lamp|smoke] between the trees, and by the fire sat a stranger called {friend}.",
            ],
            "bell~2": [
                ("then a [church|cow|school] bell rang, [twice|three times], and {hero} followed the sound until "
                 "{hero.he} met [a neighbour|{trade.a}] called {friend}."),
                ("far off [a neighbour|{trade.a}] called {friend} was [beating on a pot|ringing a bell] [to call "
                 "{hero} home|with all {friend.his} strength]."),
            ],
        }),
        Beat("end", {
            "good": [
                ("{friend} [knew the way|had a lamp] and brought {hero} home [before midnight|in time for "
                 "supper|by a path as wide as a table]."),
                ("{friend} laughed, because the road [was|lay] [only ten steps away|just behind the next tree], "
                 "and soon {hero} was [home|warm]."),
                ('"[The village is right there|You walked in a circle]," said {friend}, and [half an hour|an hour] '
                 'later {hero} sat [by the stove|at home].'),
            ],
            "bad": [
                ("but {friend} [pointed the wrong way|did not know the way either], and {hero} spent the [whole "
                 "night|night] [under a wet tree|in a ditch]."),
                ("when {hero} was brought home the next day, {hero.he} had [a fever|a bad cough] and stayed in bed "
                 "for {few} weeks."),
                ("running toward {friend}, {hero} fell [over a root|into a ditch] and [broke a foot|lost "
                 "{hero.his} bag and all the money in it]."),
            ],
            "open": [
                "{friend} was [lost as well|looking for the way too], so now there were two of them.",
                ("{friend} [drew a map in the sand|named three paths], and {hero} took one of them [and "
                 "hoped|without being sure]."),
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [ate {food.a} at one sitting|slept for ten hours].",
                ("{hero} [was|felt] so {glad} that {hero.he} [kissed the door|hugged {friend}|even greeted the "
                 "geese]."),
                "with {hero.his} feet in hot water {hero} was {glad}.",
                "{hero} gave {friend} {gift.a} and {treat.a}, and [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad}, and [every bone hurt|{hero.his} teeth would not stop knocking].",
                "{hero} was {sad} [for days|for a long time] and did not want to [talk|hear] about it.",
                "afterwards {hero} felt {sad} [whenever the leaves fell|at the smell of wet leaves].",
                "{hero} sold {gift.a} to {helper.a}, because it smelled of rain, and [was|felt] {sad}.",
            ],
            "open": [
                ("{hero} and {friend} [went on|walked on] side by side, [which was better than alone|talking about "
                 "{food}]."),
                "{hero} [looked back once|turned round], but [the trees had closed|there was nothing to see].",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                "since then {hero} never leaves the house without [a map|a whistle|bread in both pockets].",
                "{friend} still visits {hero} [every month|at the first snow], by the [right|wide] path.",
            ],
            "bad": [
                "since then {hero} goes the long way, [by the road|round the forest], even in [the rain|a hurry].",
                "{hero.his} [hat|{color} hat] is still out there, [somewhere under the leaves|full of rain].",
            ],
            "open": ["ahead the path [split|parted] once more, and [neither way looked better|there was no sign]."],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

HARVEST = Schema(
    "harvest",
    {**ROLES, "crop": "crop"},
    [
        Beat("opening", [
            ("{hero}[, {job.a},|] had planted {crop} on the [long|upper|stony] field, and by August it stood [as "
             "high as a dog|yellow and heavy|better than ever]."),
            ("when the {crop} was ripe, {hero} [got out the old cart|took {hero.his} straw hat|got up at {few}] "
             "and went out to the field."),
            ("{hero}, {job.a}, had [won|bought|been left] a field behind the {place} and grew {crop} on it [for "
             "the first time|without much hope]."),
            ("all summer {hero}[, {job.a},|] had watched the {crop} grow behind the {place} and [talked to "
             "it|counted the days|chased off the crows]."),
            ("in the last week of August the {crop} was ready, and {hero} [looked at the sky|began to count "
             "hands|borrowed a second cart]."),
        ]),
        Beat("hands", [
            ("[a neighbour|{trade.a}] called {friend} came to help with [{few} children|{item.a}|two big baskets] "
             "and [a loud voice|a very small hat|{food.a}]."),
            ("{hero.his} cousin {friend} came from the town to help, in [white shoes|{color.a} coat|a good Sunday "
             "coat], with {thing.a}."),
            ("for the heavy work {hero} [hired|asked] [a strong helper|{trade.a}] called {friend}, who ate "
             "{food.a} [every hour|before every row]."),
            ('"[I can tie|I can cut|I can carry]," said [a neighbour|{trade.a}] called {friend}, "[if you do the '
             'rest|but only if there is {food}]."'),
        ]),
        Beat("work", [
            ("they cut [row after row|from the gate to the stream], and the [birds|children|crickets] [sang|made a "
             "great noise] over the field."),
            ("by noon {friend} had [{few} blisters|straw in both ears] and {hero} had [a sore back|lost the first "
             "hat]."),
            "at noon they sat in the shade and ate {food.a}, and [nobody|not even {friend}] wanted to get up again.",
            ("{hero} [cut|walked in front] and {friend} [tied the bundles|came behind with the basket], and the "
             "dust danced in the sun."),
            "at noon {worker.a} came by and sold them {dish} and {item.a} for {several} coins.",
            "in the straw they found {prize.a} and {several} {color} eggs, but no [hen|trace of a hen].",
            "{beast.a} [lay|slept] in the shade of the cart and [woke|moved] only for {dish}.",
            "the [price|word] at the {place} was {sum} coins a sack, and {hero} did the sum [twice|{several} times].",
        ], p=0.75),
        Beat("threat", {
            "hail~3": [
                ("on the [second|third] day a cloud [as dark as night|with a white edge] came up, and {hero} knew "
                 "that it carried hail."),
                '"That is hail," {friend} said and pointed at a [yellow|heavy|low] cloud over the hill.',
            ],
            "geese~2": [
                ("[at dawn|one morning] a flock of [wild geese|hungry crows] [came down on|dropped into] the field "
                 "like [guests at a wedding|a black sheet]."),
                "then the birds came, [hundreds|more than anyone could count] of them, and every one was hungry.",
            ],
            "cart~3": [
                "with half the {crop} still outside, the cart [lost a wheel|broke in two|would not move].",
                ("then the cart [tipped over|broke down] in the gate, with half the field [still to bring in|still "
                 "standing]."),
            ],
        }, valence=-1),
        Beat("answer", {
            "hail": [
                ("they [ran|worked] like [ants|people with the devil behind them] and threw the {crop} [onto the "
                 "cart|into the barn] as fast as they could."),
                '"[Everything|All of it] into the barn!" cried {hero}, and {friend} [ran|dropped the spoon].',
            ],
            "geese": [
                ("{friend} [beat on a pot|played the drum|put on a sheet], and {hero} ran up and down and "
                 "[sang|shouted]."),
                ("they made a man of straw, and {friend} gave it [a hat|a pipe], so that it looked [like the "
                 "mayor|rather like {hero}]."),
            ],
            "cart": [
                ("{friend} [cut|made] a new piece out of [a fence post|a bed leg] while {hero} held the cart up "
                 "with [one shoulder|a long beam]."),
                "{hero} carried the bundles home on {hero.his} back, and {friend} [did the same|counted them aloud].",
            ],
        }, by="threat", p=0.75),
        Beat("yield", {
            "good": [
                "by evening the last {crop} was [in the barn|under the roof], [every bit of it|dry and sweet].",
                "it was enough: the barn was [so full that the door would not shut|full up to the roof].",
                "in the end they brought in more {crop} than [the year before|{hero} had dared to hope].",
            ],
            "bad": [
                ("but it was too late, and half of the {crop} was [flat on the ground|lost|gone] [by "
                 "evening|before night]."),
                "in the end the barn stayed almost empty, and [the mice moved out|there would be little bread].",
                "they saved {few} sacks and {item.a}, and the rest of the {crop} was spoiled.",
            ],
            "open": [
                ("by dark half of the {crop} was in the barn, and nobody knew [what was left of the rest|if the "
                 "rest would last until morning]."),
                ("they worked until they could not see their hands, and the other half had to wait for "
                 "[morning|the next day]."),
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                ("{hero} [was|felt] {glad} and [danced with {friend}|gave {friend} {food.a}|lay down in the straw, "
                 "boots and all]."),
                "that night {hero} sat on the steps, {glad} and [too tired to wash|full of soup].",
                "there was [music|a long table] in the yard, and {hero} [was|felt] {glad}.",
                "{hero} bought {gift.a} for {friend} and {treat.a} for everyone, and [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} sat on the [empty cart|wall] and [was|felt] {sad}.",
                "{hero} [was|felt] {sad} and did not [come in to supper|look at the field again].",
                '"Next year," {friend} said, but {hero} [was|felt] too {sad} to listen.',
                "{hero} sold {gift.a} to {helper.a} for {sum} coins and [was|felt] {sad}.",
            ],
            "open": [
                "{hero} slept in {hero.his} boots, with one eye [open|on the window].",
                ('"[Sleep now|Let it be]," said {friend}, "[the field is not going anywhere|tomorrow has two hands '
                 'as well]."'),
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                "there was bread for the whole winter, and [some for the mice|{few} sacks to sell at the market].",
                "{friend} was paid in [sacks|bread and kisses] and [sang all the way home|asked about next year].",
            ],
            "bad": [
                "that winter {hero} had to sell the [cow|good clock|horse].",
                "the bread was thin that winter, and [so was {hero}|so was the soup].",
            ],
            "open": ["in the night the wind [turned|changed], and [nobody heard it|only the dog noticed]."],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
    kinds={"crop": CROPS},
)

FISHING = Schema(
    "fishing",
    {**ROLES, "fish": "fish"},
    [
        Beat("opening", [
            ("long before sunrise {hero}[, {job.a},|] [rowed out|pushed the boat into the water|carried the nets "
             "to the boat] to fish for {fish}."),
            ("{hero}[, {job.a},|] [sat down|had sat since dawn] in the boat with a rod, a net, {food.a} and [not "
             "much hope|a lot of time]."),
            ("the {fish} had come back to the bay, people said, and so {hero} [got out|mended|borrowed] {hero.his} "
             "[old |best |]net."),
            ("{hero}, {job.a}, had promised {fish} for [a wedding|Sunday lunch|twelve guests], and [the day was "
             "near|all the fish shops were empty]."),
            ("one [grey|quiet|soft] morning {hero}[, {job.a},|] took {hero.his} {color} boat out to the [sand "
             "bank|deep water|island] to catch {fish}."),
        ]),
        Beat("mate", [
            ("with {hero.him} came a friend called {friend}, who [feared worms|had never been quiet in all those "
             "years|brought a cushion]."),
            "{hero.his} neighbour {friend} came along [to row|to talk|to carry the bucket].",
            ("an old [sailor|fisher] called {friend} came with {hero} and [gave advice|knew every fish by "
             "name|brought {thing.a}, for luck]."),
        ]),
        Beat("waiting", [
            ("for {few} hours [nothing happened|not one fish came], except that [the bread got wet|a gull ate the "
             "{food}]."),
            ('"Fish can hear you," {hero} said, but {friend} [went on talking|sang one more verse|only talked more '
             'softly].'),
            "they caught [a boot|{item.a}|a bucket without a bottom] and [threw it back|kept it, to be polite].",
            "the water was [grey|{color}|like glass], and the boat moved no more than [a sleeping cat|a house].",
            ('"Are they there?" asked {friend}, and {hero} [looked into the water|shook {hero.his} head|said that '
             'fish do not answer].'),
            "in the boat were {item.a}, {several} hooks and {dish.a}, [all of it wet|under {color.a} cloth].",
            "{friend} told the story of {worker.a} who had caught {beast.a} with {prize.a}.",
            "on the next boat, number {number}, {worker.a} [ate|sold] {dish} and [waved|sang].",
            "at the {place} a fish brought {sum} coins, or {several} for {dish.a}.",
        ], p=0.8),
        Beat("bite", {
            "giant~3": [
                ("then the line [jumped|went tight] and something [huge|very big] pulled [the rod|{hero}] [nearly "
                 "out of the boat|toward the water]."),
                ("all at once the rod bent [like a bow|double], and a fish as long as [an oar|a child|the boat] "
                 "[rose|rolled] in the water."),
            ],
            "swarm~3": [
                "[suddenly|then] the water [boiled|turned silver], and the {fish} were [everywhere|all around them].",
                "the gulls [screamed|dived], and below them the water was [thick|white] with {fish}.",
            ],
            "net~2": [
                "when they pulled the net, it was [stuck|caught] on [a rock|something] at the bottom.",
                ("the net would not come up, [however hard they pulled|not by a finger], and {friend} said it was "
                 "[the devil|an anchor]."),
            ],
        }),
        Beat("fight", {
            "giant": [
                ("{hero} pulled and the fish pulled, and for [half an hour|a long time] [neither won|it was hard "
                 "to say who was fishing]."),
                '"[Let it run|Hold it]!" cried {friend} and [grabbed {hero} by the belt|fell over the bucket].',
            ],
            "swarm": [
                "{hero} [threw|let out] the net, and {friend} [held on|said a short prayer].",
                ("{hero} and {friend} pulled in the net [hand over hand|with red hands], and it was [as heavy as a "
                 "cow|so heavy that the boat leaned]."),
            ],
            "net": [
                ("{hero} [dived down|leaned far out] with a knife between {hero.his} teeth, and {friend} [held a "
                 "rope|looked away]."),
                "they rowed [round it|in circles], [left and right|three times], and pulled from every side.",
            ],
        }, by="bite", p=0.7),
        Beat("landed", {
            "giant": [
                ("at last {hero} [got it into the boat|landed it], and it was [longer than {friend}|so big that it "
                 "had to be carried by two]."),
                "with one last pull the fish was [in the boat|theirs], and [{friend} sat on it|it looked angry].",
            ],
            "swarm": [
                "they filled {few} [baskets|barrels] with {fish}, and then [their hats|the bucket|both boots].",
                "the boat came home so full of {fish} that {hero} had to [row standing|sit on the mast].",
            ],
            "net": [
                "at last the net came free, and in it were {few} [fat |big |]{fish} and [an old anchor|{thing.a}].",
                ("it came loose with a jump, full of {fish}, and [threw {friend} on the deck|nobody knew what had "
                 "held it]."),
            ],
        }, by="bite", when=GOOD, valence=1),
        Beat("gone", {
            "giant": [
                "then the line broke, and the fish [was gone|left] with [the hook|{hero.his} best hook].",
                ("at the very edge of the boat it turned, and {hero} fell into the water and the fish [went "
                 "home|swam away]."),
            ],
            "swarm": [
                "but the net tore from end to end, and the {fish} were gone [in a moment|like smoke].",
                ("but the boat took in water, and to stay afloat they had to [throw it all back|tip out the whole "
                 "catch]."),
            ],
            "net": [
                "then it tore, and {hero} pulled up one half and no {fish} at all.",
                ("in the end they had to cut it [loose|away], and the net that cost {hero} [a month's pay|a whole "
                 "winter's work] was gone."),
            ],
        }, by="bite", when=BAD, valence=-1),
        Beat("evening", [
            ("[at noon|when the bell rang on shore] they were still [pulling|at it], and neither {hero} nor "
             "{friend} would [let go|give up first]."),
            ("then the fog [closed in|came over the bay], and from the pier [nobody could see|one could only hear] "
             "how it went on."),
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [smelled of {fish} for a week|gave a fish to every house in the lane].",
                "that evening there was {fish} for everyone, and {hero} [was|felt] {glad}.",
                ("{friend} [patted|slapped] {hero} on the back, and {hero} was {glad}, [scales and all|down to "
                 "{hero.his} wet socks]."),
                "{hero} sold {several} of them to {helper.a} for {sum} coins and [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and rowed home [without a word|with an empty bucket].",
                "they [bought|ate] {food.a} instead, and {hero} [was|felt] {sad}.",
                "{hero} [was|felt] {sad}, and even {friend} [was silent|had nothing to say].",
                "{hero} gave {gift.a} to {helper.a} for {treat.a} and [was|felt] {sad}.",
            ],
            "open": ['"[One more time|Again]," said {hero}, [as {hero.he} had said all day|and {friend} groaned].'],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                "a drawing of the catch hangs [in the inn|over {hero.his} stove], a little too large.",
                "the cats of the harbour have followed {hero} [ever since|home every day since].",
            ],
            "bad": [
                "whenever {friend} tells the story, the fish [grows|gets bigger], and that does not help.",
                "the boat stayed [on the beach|under its cover] for the rest of the [month|year].",
            ],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
    kinds={"fish": FISH},
)

PET = Schema(
    "pet",
    {**ROLES, "pet": "pet", "relation": "relation"},
    [
        Beat("opening", [
            ("on {hero.his} birthday {hero}[, {job.a},|] was given {pet.a} [by an aunt|with {color.a} ribbon|on a "
             "string]."),
            ("[one rainy|one windy|one Monday] morning {pet.a} sat [in front of the house|at the door] of {hero} "
             "and [looked up|would not leave]."),
            ("{hero}[, {job.a},|] [had gone to the {place} to buy|only wanted to buy] {thing.a} and came home with "
             "{pet.a}."),
            "{hero}, {job.a} who lived alone at number {number}, [got|bought] {pet.a} for company.",
            "an aunt went to sea and left {hero} {pet.a}, {few} pages of rules and [{thing.a}|a kiss].",
        ]),
        Beat("name", [
            ("{hero} called it [Captain|Button|Doctor|Lady|Plum|Admiral], because it [walked like one|looked like "
             "one|came to no other name]."),
            ("the {pet} had [one white ear|a bent leg|a crooked smile] and [the look of a judge|very good "
             "manners|no manners at all]."),
            "on the first night the {pet} slept [in {hero.his} hat|on the stove|under the bed|in the bread box].",
            "within a week the {pet} had [a chair of its own|tasted every book|learned to open the door].",
            "it ate {dish}, [hid|sat on] {item.a} and woke {hero} at {several} every morning.",
            "it was afraid of {beast.a} made of wood, but not of {worker.a} with {prize.a}.",
            "{hero} built it {color.a} house out of {several} boards and {item.a}.",
            "{worker.a} at the {place} offered {sum} coins for it, but {hero} said no.",
        ], valence=1, p=0.85),
        Beat("other", [
            ("{hero.his} {relation} {friend} [did not like animals|came every day to look at it|was afraid of it] "
             "and said [so|nothing good would come of it]."),
            ('a neighbour called {friend} put {friend.his} head over the fence and asked, "[Does it bite|Is that '
             'food|What does it eat]?"'),
            ("the only one who knew about animals was [a neighbour|{trade.a}] called {friend}, who had once had "
             "[{few} of them|a bear, or so it was said]."),
        ]),
        Beat("problem", {
            "garden~3": [
                ("then the {pet} got into the garden of {friend} and ate [all the flowers|a whole row of beans|the "
                 "{food} on the table]."),
                "one day {friend} found the {pet} asleep in the [flower bed|beans], with a full belly.",
            ],
            "ill~3": [
                "then the {pet} [stopped eating|lay in a corner] and [looked at the wall|would not get up].",
                ("one [cold|bad] morning the {pet} was [hot and weak|shaking] and did not [lift its head|know "
                 "{hero}]."),
            ],
            "away~4": [
                "then, on a [windy|market] day, the gate [was|stood] open and the {pet} was gone.",
                "one morning the place by the stove was empty, and the {pet} [was gone|was nowhere in the house].",
            ],
        }, valence=-1),
        Beat("action", {
            "garden": [
                '"[It or me|This is the end]!" shouted {friend} across the fence.',
                ("{hero} brought {friend} {food.a} and many fine words, and the {pet} [looked at the sky|brought "
                 "nothing]."),
            ],
            "ill": [
                ("{hero} carried it to {friend}, [in {color.a} blanket|through wind and rain], and {friend} "
                 "[looked into its eyes|listened to its heart]."),
                ("{hero} sat up with it for {few} nights and [sang|read the newspaper] to it, and {friend} brought "
                 "[herbs|warm milk]."),
            ],
            "away": [
                ("{hero} and {friend} [searched|walked up and down] the [lanes|fields] until [dark|their voices "
                 "were gone] and [called|looked under every cart]."),
                ("{hero} wrote a note and [hung it at the {place}|nailed it to {few} trees], and {friend} [drew "
                 "the picture|painted it {color}]."),
            ],
        }, by="problem", p=0.8),
        Beat("end_good", {
            "garden": [
                ("but then the {pet} [caught {few} mice|chased off a thief], and {friend} [came with a present for "
                 "it|asked to borrow it on Sundays]."),
                ("in the end {friend} [built a little fence|planted a row just for it], and they all [became "
                 "friends|had supper together]."),
            ],
            "ill": [
                ("on the [third|fourth] day the {pet} [stood up|sneezed] and [asked for its breakfast|ate the "
                 "supper of {friend}|went to look for {food}]."),
                ("slowly it got better, and [by Sunday|a week later] it [chased the postman|ran through the house] "
                 "again."),
            ],
            "away": [
                ("they found it [on the roof of the inn|in the church|at the school], [perfectly well|listening to "
                 "the band], and {hero} carried it home."),
                ("[at midnight|three days later] something scratched at the door, and there sat the {pet}, [dirty "
                 "and thin|with a strange hat] and very pleased."),
            ],
        }, by="problem", when=GOOD, valence=1),
        Beat("end_bad", {
            "garden": [
                "{friend} would not forgive it, and {hero} had to give the {pet} away [to a farm|to strangers].",
                ("{friend} went to the mayor, and the {pet} [was taken away|had to leave the village] [in a "
                 "cart|the same week]."),
            ],
            "ill": [
                "but [nothing helped|it was too late], and [before morning|at dawn] the {pet} died.",
                "the {pet} died on the [third|fifth] day, [in {hero.his} arms|with its head on {hero.his} hand].",
            ],
            "away": [
                ("they never found it, only {few} tracks by the river that [could have been anybody's|ended in the "
                 "water]."),
                "the {pet} did not come back, not [that week|that year] and not [after|later].",
            ],
        }, by="problem", when=BAD, valence=-1),
        Beat("end_open", [
            ("a week later [things|it] still stood that way, and [nobody could say how it would end|{hero} and "
             "{friend} still hoped]."),
            '"[Give it time|Wait and see]," said {friend}, and {hero} [waited|put the {color} bowl by the door].',
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [pretended to be strict|gave it the best place by the fire].",
                "{hero} [was|felt] {glad}, and the {pet} [slept through it|was not surprised].",
                "nobody in the street was as {glad} as {hero}, [except the {pet}|that is certain].",
                "{hero} [was|felt] {glad} and gave {friend} {gift.a} and the {pet} {treat.a}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and kept [the bowl|the little blanket|the string] in a drawer.",
                "the house was [too quiet|very tidy] now, and {hero} [was|felt] {sad}.",
                "{hero} [was|felt] {sad}, and [even {friend} wiped away a tear|{friend} did not know what to say].",
                "{helper.a} offered {hero} {creature.a} instead, but {hero} [was|felt] {sad}.",
            ],
            "open": [
                ("every night {hero} [left a lamp|looked out] and listened to [the steps in the lane|every small "
                 "sound]."),
            ],
        }, by="outcome", p=0.9, valence=VALENCE),
    ],
    facts=OUTCOME,
    kinds={"pet": PETS},
)

FIRE = Schema(
    "fire",
    {**ROLES, "animal": "farm animal"},
    [
        Beat("opening", [
            ("late one [summer|dry] evening {hero}[, {job.a},|] was [walking home from the {place}|closing the "
             "shutters|letting the cat out] and [smelled smoke|saw a red light]."),
            ("{hero}, {job.a}, was [counting the day's money|almost asleep|eating {food.a}] when the [fire "
             "bell|dog next door] [began|would not stop]."),
            "it had not rained for [{few} weeks|a whole month], and {hero} [slept lightly|kept a bucket by the bed].",
            ("in the middle of the night {hero}[, {job.a},|] was woken by [a strange light on the wall|a crackling "
             "sound|somebody beating on the door]."),
            ("{hero}[, {job.a},|] [worked|slept] in a room behind the {place}, [under the roof|over the shop], "
             "with one window to the yards."),
        ]),
        Beat("where", {
            "mill~3": [
                ("the [old|great] mill was burning, and [sparks flew over the pond|its wheels still turned in the "
                 "light]."),
                ("smoke came out of the mill, [out of every window|thick and yellow], and the flour "
                 "[cracked|burned blue]."),
            ],
            "barn~4": [
                ("flames [stood on|ran along] the roof of the [big|long] barn, and inside {animal.a} "
                 "[screamed|cried]."),
                ("the barn [across the yard|behind the lane] was on fire, and {animal.a} was still [inside|tied up "
                 "in it]."),
            ],
            "bakery~2": [
                ("the [oven|chimney] of the baker's house had [caught fire|burst], and the [stairs|shop] "
                 "[burned|glowed] already."),
                ("fire came out of the baker's [roof|windows], and the whole lane smelled of [burnt sugar|black "
                 "bread]."),
            ],
        }, valence=-1),
        Beat("person", [
            ("[a guest|{trade.a}] called {friend} [jumped|climbed] out of the window [in a nightshirt|with "
             "{thing.a}] and cried for help."),
            ("the owner, an old friend called {friend}, stood in the yard [in a nightshirt|in one boot] and "
             "[cried|could not speak]."),
            ("the first one there was {hero.his} neighbour {friend}, with [two buckets|an axe and no shoes|a "
             "ladder on one shoulder]."),
            '"[Water|Buckets|Wake everybody]!" cried [a neighbour|{trade.a}] called {friend}.',
        ]),
        Beat("chain", [
            ("from the [well|pond] to the door they made a [line|chain] of {count} hands, [from the mayor to the "
             "smallest child|and passed every pot in the village]."),
            ("{hero} and {friend} [passed|carried] bucket after bucket until [their arms would not lift|the well "
             "was nearly dry]."),
            "the heat was so [great|strong] that [the plums cooked on the tree|the candles bent in the next house].",
            ("the wind [blew|pushed] the fire [toward|right at] the [next|nearest] roof, and [everyone|the whole "
             "lane] held their breath."),
            ("people threw {item.a}, {several} chairs and {prize.a} out of the windows, [and nobody caught "
             "them|into the mud]."),
            "{worker.a} ran past with {beast.a} under one arm and {prize.a} under the other.",
            ("the fire wagon, number {number}, came from the {place} with {several} men and [no water|{color.a} "
             "ladder]."),
            "in the yard lay {item.a} and {dish.a}, [quite warm|black with smoke].",
        ], p=0.75),
        Beat("deed", {
            "mill": [
                "{hero} [pulled up|opened] the gate of the pond, and the water [ran|rushed] into the burning cellar.",
                ("{hero} [wrapped a wet sack round {hero.his} head|took a deep breath] and ran in for the "
                 "[papers|money box|mill cat]."),
            ],
            "barn": [
                "{hero} [wrapped a wet sack round {hero.his} head|took an axe] and went in for the {animal}.",
                ('"The {animal}!" cried {hero}, and {hero.he} was [through the door|inside] before '
                 '[anyone|{friend}] could [stop it|say no].'),
            ],
            "bakery": [
                "{hero} climbed the [drain pipe|back stairs] to [close the chimney|wake the baker's children].",
                ("{hero} threw [flour sacks|wet sand] onto the flames, which is [the wrong thing|the last thing in "
                 "the book], as {friend} [cried|said]."),
            ],
        }, by="where", p=0.7),
        Beat("end", {
            "good": [
                "before dawn the fire was [out|dead], and nobody was [hurt|missing], not even [the mice|a hen].",
                ("then [the wind turned|the last bucket hit the last flame], and [the walls|most of the house] "
                 "still stood."),
                "when the sun rose, everyone was [safe|alive], [black as coal|barefoot], and only the roof was gone.",
            ],
            "bad": [
                "by dawn there was nothing left but [black beams|ashes and nails|a chimney].",
                ("then the roof fell in, and [all that {friend} owned|a hundred years of work] was [gone|lost] "
                 "[with it|in one breath]."),
                ("they could only save the [house next door|bell], and the rest [burned to the ground|burned all "
                 "night]."),
            ],
            "open": [
                "toward dawn it was only [smoking|glowing], and no one dared to [go in|say what was left].",
                ("when the sky grew light, they were still [carrying water|on the roof], and the fire [slept but "
                 "was not dead|hid in the beams]."),
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad}, with [no eyebrows left|a burnt sleeve|black hands].",
                "{friend} [kissed|thanked] everyone, even the mayor, and {hero} [was|felt] {glad}.",
                "they drank cold milk [on the steps|in the yard], and {hero} [was|felt] {glad}.",
                "{helper.a} brought {treat.a} for all of them, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} stood in the ashes and [was|felt] {sad}.",
                "{hero} [put a coat round {friend}|sat down by {friend}] and [was|felt] {sad}.",
                "for weeks the smell stayed in {hero.his} clothes, and {hero} [was|felt] {sad}.",
                "in the ashes {hero} found {gift.a}, {color} with heat, and [was|felt] {sad}.",
            ],
            "open": [
                ("{hero} washed {hero.his} face [in the last bucket|at the well] and [said nothing|looked at the "
                 "smoke]."),
                '"[How did it start|Who was in there last]?" asked {friend}, and [nobody|not one of them] answered.',
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                ("the [village|whole street] built a new roof in {few} [Sundays|weeks], with [a golden hen|a "
                 "{color} flag] on top."),
                "the town gave {hero} a new bucket, [painted {color}|with {hero.his} name spelled wrong].",
            ],
            "bad": [
                "grass grows there now, and [the children play elsewhere|nobody wants to buy it].",
                "it never came out [how it had begun|who had left the lamp there].",
            ],
            "open": [
                ("a man from the town would come on [Monday|Thursday], and [until then|before that] nothing could "
                 "be touched."),
            ],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
    kinds={"farm animal": animals("cow goat horse pig donkey pony calf sheep")},
)

SNOW_DAY = Schema(
    "snow_day",
    ROLES,
    [
        Beat("opening", [
            ("when {hero}[, {job.a},|] opened the [shutters|window] one [January|winter] morning, the "
             "[street|village|garden] was [gone|white|buried under snow]."),
            ("it had snowed [all night|for {few} days], and {hero}[, {job.a},|] could not open the [front|kitchen] "
             "door."),
            ("{hero}[, {job.a},|] looked out at [the {place}|the lane], and [everything|every roof] wore a [white "
             "hat|thick white coat]."),
            ("on the [coldest|whitest] morning of the [winter|year] {hero} [woke because it was so quiet|heard "
             "nothing at all, not even the milk cart]."),
            ("{hero}, {job.a}, [had an hour to get to the {place}|was due at the {place} at eight], and the snow "
             "lay [up to the window|higher than the gate]."),
        ]),
        Beat("out", [
            ("{hero} put on {few} shirts and [two left gloves|a blanket|{color.a} curtain] and [went out|climbed "
             "out of the window]."),
            "the snow sang under {hero.his} boots, and {hero.his} breath [stood in the air|hung like wool].",
            ("{hero} dug a path [to the gate|to the street|one shoe wide], and it was [snowed over|gone] again "
             "behind {hero.him}."),
            "the [sky|light] was [blue|pink|clear], and every branch [shone|was thick with snow].",
            "{several} steps from the door stood {item.a}, wearing a white hat.",
            "{worker.a} came past with {beast.a} on a rope and {dish.a} under one arm.",
            "only {color.a} [chimney|flag] showed where the {place} was.",
            "on the wall at number {number} sat {beast.a}, {color} against the snow.",
        ], p=0.75),
        Beat("meet", [
            ("over the fence {hero.his} neighbour {friend} [waved a shovel|threw the first snowball|was stuck to "
             "the hips]."),
            "down the lane, on [a door|two boards], came a friend called {friend}, [singing|waving|unable to stop].",
            ('"[School is closed|Nothing is open today|The milk is frozen]!" shouted [a neighbour|{trade.a}] '
             'called {friend}.'),
        ]),
        Beat("plan", {
            "sledge~3": [
                ("they carried [the old sledge|a bath tub] up the [church hill|long hill], and {friend} [sat in "
                 "front|drove]."),
                ('"[Once|Only once] down the hill," said {hero}, and {friend} already [sat on the sledge|held the '
                 'rope].'),
            ],
            "snowman~3": [
                ("they built a snowman as [tall as the door|fat as the mayor], with {hero.his} hat and [a carrot|a "
                 "pipe|{few} buttons|{thing.a}]."),
                "all morning they rolled snow, and the snowman was [taller than {friend}|to be the tallest in town].",
            ],
            "skates~2": [
                ("the pond was frozen, and {hero} [borrowed|found] {hero.his} grandmother's skates, {few} sizes "
                 "too [big|small]."),
                ("they went skating on the mill pond, {hero} [slowly|with a chair] and {friend} [backward|like a "
                 "queen]."),
            ],
            "bread~2": [
                ("{hero} and {friend} set out to bring {food.a} to an old woman [on the hill|at the end of the "
                 "valley]."),
                ("somebody had to bring [wood|medicine|{food}] to an old woman at the last farm, and so {hero} and "
                 "{friend} [went|set off]."),
            ],
        }),
        Beat("end_good", {
            "sledge": [
                ("they flew [over the wall|through {few} gardens], landed in [the deep snow|the hay] and [wanted "
                 "to go again|counted their arms and legs]."),
                ("it was the longest ride [in years|of the winter], past the church and [right into the bakery|as "
                 "far as the bridge]."),
            ],
            "snowman": [
                "the [whole village|mayor] came to look, and a [crow|robin] [sat|moved in] under its hat.",
                "the children sang round it, and the doctor said good morning to it [by mistake|twice].",
            ],
            "skates": [
                "by noon {hero} could [turn|skate a circle] and [only fell on purpose|wrote a name in the ice].",
                ("somebody brought [an accordion|a drum], and half the town danced on the ice until [sunset|the "
                 "lamps were lit]."),
            ],
            "bread": [
                ("they came through, [white as ghosts|with ice in their hair], and were given [{food.a}|hot milk] "
                 "by the stove."),
                ("the old woman [had not eaten since Friday|opened the door in tears], and she [made them "
                 "sing|would not let them go before dark]."),
            ],
        }, by="plan", when=GOOD, valence=1),
        Beat("end_bad", {
            "sledge": [
                "half way down they hit a [tree|stone], and [the sledge was in pieces|{hero} broke an arm].",
                ("they ran straight into [the fence of the priest|the milk cart], and [twenty jugs broke|{hero} "
                 "lost a tooth]."),
            ],
            "snowman": [
                "then a wagon came round the corner and [drove right over it|left nothing but the hat behind].",
                "in the night somebody [kicked it to pieces|stole the hat and the head].",
            ],
            "skates": [
                ("then the ice broke, and {hero} was pulled out [blue with cold|with {friend.his} scarf] and lay "
                 "in bed for {few} weeks."),
                "{hero} fell so hard that {hero.he} [could not sit|walked with a stick] until [March|Easter].",
            ],
            "bread": [
                ("but the road was [closed|gone], and they had to turn back, [frozen to the bone|with the basket "
                 "still full]."),
                ("on the hill the basket slipped and [went down into the valley|rolled away], and nobody "
                 "[ate|found] any of it."),
            ],
        }, by="plan", when=BAD, valence=-1),
        Beat("end_open", [
            ("then it began to snow again, so hard that {hero} could [no longer see {friend}|not see {hero.his} "
             "own hands]."),
            "[at three|in the afternoon] the light [went|faded], and they were still [out there|far from home].",
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad}, and {hero.his} [nose|ears] shone like [lamps|{color} lamps].",
                ("at home {hero} [put {hero.his} feet in the oven|hung {hero.his} socks over the stove] and "
                 "[was|felt] {glad}."),
                "{hero} [was|felt] {glad} and [hoped for more snow|did not want it to melt].",
                "{helper.a} brought {treat.a} out into the snow, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and [wished it would rain|called the snow a bad name].",
                "for the rest of the day {hero} sat [by the stove|at the window] and was {sad}.",
                "{friend} said [sorry|that it was only snow], but {hero} [was|felt] {sad}.",
                "{hero} [was|felt] {sad}, and not even {treat.a} and {gift.a} [helped|made it better].",
            ],
            "open": [
                ('"[Which way is home|Do you hear a bell]?" asked {friend}, and {hero} [listened|turned round '
                 'slowly].'),
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                ("in [April|March] the last snow lay [behind {hero.his} house|in the ditch], and {hero} [went to "
                 "say goodbye|took off a hat to it]."),
            ],
            "bad": ["when the thaw came, {hero} was the [only|first] one who [did not mind|opened a bottle]."],
            "open": [
                "the tracks behind them were [filled|gone] before they had [gone ten steps|turned their heads].",
            ],
        }, by="outcome", p=0.3, valence=VALENCE),
    ],
    facts=OUTCOME,
)

TREASURE = Schema(
    "treasure",
    ROLES,
    [
        Beat("opening", [
            ("{hero}[, {job.a},|] found an old map [in a book from the {place}|behind a loose brick|under the "
             "floor|inside a broken clock]."),
            ("in {hero.his} grandfather's [desk|sea chest|Sunday coat] {hero}[, {job.a},|] found a map with "
             "{color.a} cross on it."),
            ("{hero}[, {job.a},|] bought [an old chest|an old book|{color.a} box] [at the market|from {trade.a}], "
             "and in it lay [a map|a yellow map|a map drawn on leather]."),
            "{hero}, {job.a}, was [mending a wall|cleaning a cellar] when a [rolled|folded] map fell out of it.",
        ]),
        Beat("reading", [
            ('in the corner stood, in [tiny|crooked|{color}] letters: "{count} steps from the [oak|well|chapel], '
             'then dig."'),
            ('it said "[north|south|west] of the {place}, {count} steps", and under that was [a fish|a spot of '
             'coffee|{item.a}].'),
            ("there was a [river|hill] on it and [a whale|a lady with a fish tail], and [most of the names|all the "
             "names] were spelled wrong."),
            ("the cross lay [in the garden of the mayor|on the little island|under the old wall], if one held the "
             "map [the right way up|to the light]."),
        ], p=0.75),
        Beat("partner", [
            "{hero} told nobody but a friend called {friend}, who told [nobody but {few} cousins|only the cat].",
            "{hero.his} neighbour {friend} owned a spade, and so had to be [let into the secret|promised half].",
            '"[Half of it is mine|I knew it|I will carry the spade]," said {hero.his} cousin {friend} at once.',
        ]),
        Beat("dig", [
            ("{hero} and {friend} [dug|went out with lamps] [for {few} nights|every night for a week] and found [a "
             "boot|{prize.a}|a great many worms]."),
            "{hero} counted the steps [twice|three times] and {friend} counted them [differently|with longer legs].",
            "after an hour {friend} leaned on the spade and [spoke of {food}|asked if maps can lie].",
            "the hole was so deep that {hero} [could not see out|had to shout up to {friend}].",
            '"Deeper," said {hero}, and {friend} [sighed|spat on both hands|dug on].',
            "they took {item.a}, {several} lamps, {dish.a} and [a bag for the gold|no umbrella].",
            "{worker.a} with {beast.a} came past and asked if they were looking for [worms|{prize.a}].",
            "at the {place} they paid {sum} coins for {color.a} spade and {several} for {dish}.",
            "on the way they met {beast.a}, which {friend} took for a good sign.",
        ], p=0.8),
        Beat("hurdle", {
            "stone~3": [
                "at last the spade [rang|struck] on [a flat|a great] stone with [a ring in it|letters on it].",
                ("under [the roots|the sand] there was a stone, and it took [both of them|a beam and a song] to "
                 "lift it."),
            ],
            "chest~4": [
                "then the spade hit wood, and it was a chest with [an old|{color.a}] lock.",
                ("[deep down|in the last light] they found a [small|black|heavy] chest, [tied with a chain|green "
                 "with age]."),
            ],
            "owner~2": [
                ('"Dig if you like," said the owner of the land, who had come with a dog, "but [a third|half] of '
                 'it is mine."'),
                ("just then the owner of the land came up the path with a lamp, and [dug with them|asked for a "
                 "third]."),
            ],
        }),
        Beat("found", {
            "good": [
                "and there it was, [a bag|a jug|a pot] of gold coins, [bright|yellow] as [butter|the sun].",
                ("in the end {hero} and {friend} shared a treasure of [silver cups|gold coins], enough for [a new "
                 "roof each|two boats]."),
                ("it was [no gold|not gold], but {few} letters of a [queen|great painter], and the museum paid "
                 "[well|{sum} gold coins] for them."),
            ],
            "bad": [
                "but there was nothing in it except [a stone|dry leaves|an empty jar].",
                "it was empty, and on the bottom somebody had written [the date of last Monday|thank you].",
                ("[in the end|as it turned out] they had dug up [the town's water pipe|the mayor's dead parrot] "
                 "and had to pay {sum} coins."),
            ],
            "open": [
                "inside lay [half a map|a key|another map], and nothing else.",
                "they closed the hole again, and [neither of them|no one] has said what was in it.",
            ],
        }, by="outcome", valence=VALENCE),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [bought {friend} a new hat|ordered {food} for the whole inn].",
                "{hero} [was|felt] {glad} and had to [sit down|laugh] for a while.",
                '"[Who would have thought|I always said so]," said {friend}, and {hero} [was|felt] {glad}.',
                "{hero} bought {gift.a}, {creature.a} and {treat.a}, and [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and [tore up the map|burned the map|filled the hole again].",
                "{friend} [laughed|laughed until it hurt], but {hero} [was|felt] {sad}.",
                "they walked home [with muddy shoes|in the rain], and {hero} [was|felt] {sad}.",
                "{hero} sold the spade to {helper.a} for {several} coins and [was|felt] {sad}.",
            ],
            "open": [
                "{hero} and {friend} looked at [each other|the ground] for a long time.",
                '"And now?" asked {friend}, and {hero} [turned the map round|looked at the moon].',
            ],
        }, by="outcome", p=0.9, valence=VALENCE),
        Beat("after", {
            "good": [
                ("the map hangs [in the town hall|over {hero.his} bed] now, and the children [dig up the whole "
                 "beach|draw crosses everywhere]."),
                "{hero} kept one coin and [gives it to children to hold|wears it round {hero.his} neck].",
            ],
            "bad": [
                "the hole is [still there|a duck pond now], and people call it [the bank|the pit of {hero}].",
                "when {hero} [passes|walks by], the boys count their steps aloud.",
            ],
            "open": ["but on [some|certain] nights a lamp still moves along the [old wall|shore]."],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

INJURY = Schema(
    "injury",
    {**ROLES, "relation": "relation"},
    [
        Beat("opening", [
            ("{hero}[, {job.a},|] climbed [up the ladder|onto the roof|onto a chair] to [clean the window|hang up "
             "{thing.a}|look for the cat]."),
            ("{hero}, {job.a} with [quick feet|a bad sense of balance], ran [up|down] the stairs [with "
             "{thing.a}|to be in time for supper]."),
            ("on the way to the {place} {hero}[, {job.a},|] [took|tried] the short cut [over the rocks|across the "
             "old wall|over the roof of the mill]."),
            ("one [bright|quiet] [morning|afternoon] {hero}[, {job.a},|] climbed the [pear|apple|cherry] tree, "
             "[where the best ones hung|although {hero.he} was much too old for it]."),
            ("{hero}[, {job.a},|] wanted to show [the children|two cousins] how one jumps [over the stream|from "
             "wall to wall]."),
        ]),
        Beat("warning", [
            '"[Be careful|Take the stairs|That will not hold]," said {hero.his} {relation} {friend}.',
            "below stood {hero.his} {relation} {friend} and [watched|ate {food.a}|gave advice].",
            ("[a neighbour|{trade.a}] called {friend} looked up and [shook {friend.his} head|covered {friend.his} "
             "eyes|wanted to say something]."),
        ]),
        Beat("boast", [
            '"I have done this [a hundred|{count}] times," {hero} [said|answered].',
            "it went well [for a while|the first time], [even very well|and that was the trouble].",
            "{hero} [waved|laughed] and let go with [one hand|both hands].",
            "{worker.a} with {beast.a} stopped to look, and {several} children [came too|ate {dish}].",
            "in one hand {hero} held {item.a}, in the other {dish.a}.",
            "it was {several} steps high, and below lay {prize.a} and {color.a} bucket.",
            "somebody at the {place} had done it the year before, with {item.a} and {beast.a}.",
        ], p=0.7),
        Beat("fall", {
            "leg~3": [
                ("then [something gave way|a stone turned], {hero} fell and [one leg lay at a strange angle|heard "
                 "something in one leg crack]."),
                ("{hero} slipped, [turned over in the air|flew like a sack] and landed on {hero.his} [left|right] "
                 "leg."),
            ],
            "arm~3": [
                "one foot slipped, and {hero} came down on {hero.his} [left|right] arm with a short cry.",
                "then there was a crack and {hero} lay on the ground, holding one arm.",
            ],
            "head~2": [
                ("{hero} missed [the next step|the edge], fell backward and hit {hero.his} head [on the stones|on "
                 "a bucket]."),
                ("the next thing {hero} [knew|saw] was [a gull|a ring of faces|{friend}] and a bump as big as [an "
                 "egg|a plum]."),
            ],
        }, valence=-1),
        Beat("help", [
            "{friend} [put a coat under {hero.his} head|ran for the doctor in slippers|went as white as a sheet].",
            ("{friend} and a farmer laid {hero} on a [door|hay cart] and brought {hero.him} [slowly|very gently] "
             "to the doctor."),
            ('"Can you [hear me|move it]?" asked {friend}, and {hero} [said a word that is not in the hymn '
             'book|nodded, slowly].'),
            ('"[Do not move|Lie still]," said {friend}, "[the doctor is only at lunch|I once saw this done to a '
             'horse]."'),
        ], p=0.8, valence=1),
        Beat("doctor", [
            "the doctor touched it here and there and asked, \"Does that hurt?\"",
            "the doctor had [cold hands|{few} pairs of glasses] and [hummed|took a long time].",
            "the doctor wrote a long list and [ordered [rest|hot milk|{dish}]|took {count} coins].",
        ], p=0.45),
        Beat("end_good", {
            "leg": [
                "the leg was not broken, only twisted, and in a week {hero} could [walk|dance] again.",
                ("the leg healed [straight|well], and by [the fair|the first frost] {hero} ran [faster than "
                 "before|up the stairs again]."),
            ],
            "arm": [
                ("the arm was soon well, and [{friend} cut the meat until then|meanwhile {hero} learned to write "
                 "with the other]."),
                ("the arm was only bruised, [blue and green|in {few} colors], and after {few} days it "
                 "[moved|worked] again."),
            ],
            "head": [
                "it was nothing but a bump, and {hero} [slept it off|even remembered where the old key was].",
                ("after a night's sleep the head was [clear|fine], and [only the bucket was hurt|the hat no longer "
                 "fitted, for a while]."),
            ],
        }, by="fall", when=GOOD, valence=1),
        Beat("end_bad", {
            "leg": [
                "the leg was broken in {few} places, and it [stayed stiff|grew together crooked].",
                "since then {hero} walks with [a stick|a limp] and cannot [climb the hill|go to sea] any more.",
            ],
            "arm": [
                "the arm never [healed|grew straight], and {hero} could not [work|play the violin] with it again.",
                "the arm was broken [twice|badly], and {hero} lost [the whole summer|the job at the {place}].",
            ],
            "head": [
                "for months {hero} had bad dreams and forgot [names|what {hero.he} was saying].",
                "from then on there was a ringing in {hero.his} ears, and it would not stop.",
            ],
        }, by="fall", when=BAD, valence=-1),
        Beat("end_open", [
            ("the doctor could not say yet [how it would heal|if all would be well] and promised to come [on "
             "Friday|in a week]."),
            "for now {hero} must lie [flat|still] for {few} weeks, and then they would see.",
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [promised {friend} to use the stairs|threw the ladder on the fire].",
                "{hero} [was|felt] {glad} and ate the {food} that {friend} had brought.",
                ("when the doctor was gone, {hero} [hopped once round the table|winked at {friend}] and [was|felt] "
                 "{glad}."),
                "{helper.a} sent {treat.a}, {friend} brought {gift.a}, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and sat at the window [for hours|day after day].",
                "{friend} visited [often|every Sunday], but {hero} [was|felt] {sad}.",
                "{hero} [was|felt] {sad} whenever the others went [dancing|swimming].",
                "{helper.a} sent {treat.a}, {friend} brought {gift.a}, but {hero} [was|felt] {sad}.",
            ],
            "open": [
                "{friend} brought {food.a} and [{thing.a}|{few} thick books], and the days [were long|went by].",
                "{hero} [looked at the ceiling|counted the boards in the ceiling] and tried not to think.",
            ],
        }, by="outcome", p=0.9, valence=VALENCE),
    ],
    facts=OUTCOME,
)

BRIDGE_FLOOD = Schema(
    "bridge_flood",
    ROLES,
    [
        Beat("opening", [
            ("it had rained for {few} days, and the river [rose|climbed] [hour by hour|a hand every hour], up to "
             "the house of {hero} at number {number}."),
            ("{hero}[, {job.a},|] [lived|slept badly] by the old bridge and could hear the river [in bed|through "
             "the wall], louder every [hour|night]."),
            ("in [March|April], when the snow melted, {hero}[, {job.a},|] had to cross the river [with "
             "{thing.a}|to get to the {place}|to fetch {food.a}]."),
            ("{hero}, {job.a}, had crossed the bridge [every day for {few} years|twice a day since childhood] and "
             "never [looked at the water|thought about it]."),
            ("after a week of rain {hero}[, {job.a},|] stood on the bank and [watched {item.a} float by|saw a hen "
             "house sail past, with hens]."),
        ]),
        Beat("water", [
            "the water was [brown|yellow] and carried [branches|barrels], [doors|whole trees] and once {gift.a}.",
            "the bridge [shook|groaned] each time a tree [struck|hit] it.",
            "the first cellars were [full|under water], and [the potatoes swam|people carried their beds upstairs].",
            '"[It has never come so high|This is only the beginning]," said the [miller|oldest man in the village].',
            "people carried {item.a}, {several} beds and {dish.a} to the {place}, which was higher.",
            "{worker.a} with {beast.a} in a basket asked the way to the {place}.",
            "on {color.a} door {beast.a} came down the river, quite dry.",
            "the old mark on the wall, {sum} years old, was under water by {several} o'clock.",
        ], valence=-1, p=0.75),
        Beat("friend", [
            ("on the bank stood {hero.his} friend {friend} and [waved both arms|shouted something that the water "
             "swallowed]."),
            ("{hero.his} neighbour {friend} came [up the street in a bath tub|with {prize.a} in a sack|through "
             "water to the knees]."),
            ('"[Nobody crosses now|The bridge will not last]," said [the bridge guard, a serious person|{trade.a}] '
             'called {friend}.'),
        ]),
        Beat("crisis", {
            "stuck~3": [
                ("then a [wagon|milk cart] stuck in the middle of the bridge, with the [driver|horse] [still on "
                 "it|wild with fear]."),
                ("half way over the bridge a [cart wheel broke|horse lay down], and the [driver|cart] could go "
                 "[neither forward nor back|no farther]."),
            ],
            "pillar~3": [
                ("then a great tree [struck|broke] one of the [stone |middle |]pillars, and the bridge began to "
                 "[lean|bend]."),
                ("a great tree [hung|lay] across the pillars, and behind it the water [rose|grew] [like a "
                 "wall|with every minute]."),
            ],
            "dam~2": [
                ("then water came [through the sand bags|over the dike], at first [no more than from a tap|thin as "
                 "a finger]."),
                "at the weak place in the dike the water [began to come through|found a mouse hole].",
            ],
        }, valence=-1),
        Beat("effort", {
            "stuck": [
                ("{hero} tied a rope round {hero.his} waist, gave {friend} the end, and [went out|walked onto the "
                 "bridge]."),
                ('"[Leave the cart|Cut the straps]!" shouted {friend}, while {hero} [pulled|pushed] with all '
                 '{hero.his} strength.'),
            ],
            "pillar": [
                "{hero} and {friend} cut at the tree while the water flew [over them|into their eyes].",
                ("{hero} and {friend} closed the road with [benches|a rope and a lamp] and carried [stones|sand "
                 "bags] to the pillar."),
            ],
            "dam": [
                ("{hero} sat down in the hole, [which was cold|for want of something better], until {friend} came "
                 "with [sacks|a door]."),
                ("the whole village filled sacks, and {hero} and {friend} [carried|stacked] them [until "
                 "dark|without a break]."),
            ],
        }, by="crisis", p=0.8),
        Beat("end_good", {
            "stuck": [
                "with a jerk the cart came loose, and [a minute later|just behind it] the first plank [went|fell].",
                ("all of them got off the bridge, [wet but safe|horse and all], and [somebody cheered|the horse "
                 "sneezed]."),
            ],
            "pillar": [
                "at last the tree [broke free|swam off], and the bridge [sighed|shook itself] and stood.",
                ("the bridge held, [a little crooked|leaning like an old man], and in the night the water "
                 "[fell|went down]."),
            ],
            "dam": [
                "the dike held, and [toward morning|the next day] the water [began to fall|went back to its bed].",
                "the hole was closed, and [behind it|in the village] the streets stayed dry.",
            ],
        }, by="crisis", when=GOOD, valence=1),
        Beat("end_bad", {
            "stuck": [
                ("the [driver was saved|people got off], but the cart, the horse and the bridge [went down the "
                 "river|were gone] [in one wave|with a roar]."),
                ("then the planks broke, and {hero} could only [watch|hold on to the rail] as the cart [fell|went "
                 "under]."),
            ],
            "pillar": [
                ("with a [roar|long groan] the bridge fell, and [three hundred years|the only road] went down the "
                 "river."),
                ("the bridge broke in the middle, and {hero} and {friend} [lost everything on the other side|could "
                 "only run]."),
            ],
            "dam": [
                "but the dike broke, and in {few} minutes the [water stood in every room|whole street was a lake].",
                "the water won, and it took {hero.his} [garden|fence|cow] and [half the lane|{few} others].",
            ],
        }, by="crisis", when=BAD, valence=-1),
        Beat("end_open", [
            ("at nightfall the bridge [still stood|was still there], and the river [still rose|had not made up its "
             "mind]."),
            ("then the lamps went out, and all night {hero} and {friend} [heard|listened to] the water and [knew "
             "nothing|waited]."),
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and [slept|snored] on a [sack|bench] in the middle of the street.",
                "{hero} [emptied {hero.his} boots|threw {hero.his} wet socks] over the rail and [was|felt] {glad}.",
                "{friend} had {food.a} left, and {hero} [was|felt] {glad}.",
                "{helper.a} handed out {treat} and {several} blankets, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                "{hero} [was|felt] {sad} and [looked at the brown water|stood on the bank] for a long time.",
                "{hero} spent the night in the school with {few} other families and [was|felt] {sad}.",
                '"We are alive," {friend} said, but {hero} [was|felt] {sad}.',
                ("all that {hero} found on the bank was {gift.a} and {several} {color} boards, and {hero.he} "
                 "[was|felt] {sad}."),
            ],
            "open": [
                "{hero} put a stick in the bank to see if it rose and [looked at it every hour|would not leave it].",
            ],
        }, by="outcome", p=0.85, valence=VALENCE),
        Beat("after", {
            "good": [
                ("a small [line|mark] on the wall now shows how high the water [stood|came], and [the "
                 "children|cats] measure themselves against it."),
            ],
            "bad": [
                ("for years {hero} had to [take the ferry|walk round by the mill], and the ferry was [never on "
                 "time|not cheap]."),
            ],
            "open": ["at [four|five] in the morning [a bell rang|somebody called] from the other side."],
        }, by="outcome", p=0.35, valence=VALENCE),
    ],
    facts=OUTCOME,
)

NIGHT_WATCH = Schema(
    "night_watch",
    {**ROLES, "animal": "animal"},
    [
        Beat("opening", [
            ("that week {hero}[, {job.a},|] had to keep watch at the {place} [every night|from ten to six], with "
             "{thing.a} and {food.a}."),
            ("{hero}[, {job.a},|] could not sleep, because [the moon was too bright|the bed was too short|a door "
             "sang in the wind]."),
            ("one dark night {hero}[, {job.a},|] was alone [in the lighthouse|in the old mill|on the harbour wall] "
             "and [read|knitted|played cards against {hero.himself}]."),
            ("{hero}, {job.a}, had [agreed|promised] to guard the {place} for one night, [for {few} coins|as a "
             "favour]."),
            ("at {few} minutes past midnight {hero}[, {job.a},|] [sat up in bed|put down {hero.his} book] and "
             "[listened|held {hero.his} breath]."),
        ]),
        Beat("sign", {
            "steps~3": [
                "there were steps [close by|in the dark|on the stones], [slow|soft] and heavy.",
                ("something [walked|went] [up and down|back and forth] in the dark, [step by step|and stopped when "
                 "{hero} moved]."),
            ],
            "light~3": [
                ("a small [green|white|red] light moved [over the water|between the trees|along the shore] and "
                 "[went out|came nearer]."),
                ("in the empty house at number {number} somebody [lit|carried] a lamp, [from window to window|and "
                 "put it out again]."),
            ],
            "knock~3": [
                "there was a knock, [three times|twice], and then [a long silence|something like a laugh].",
                "something knocked [in the dark|quite close|down below], [quite politely|{few} times].",
            ],
            "song~2": [
                ("[a voice|somebody] was singing, [far off|down by the water], in no [language|tune] that {hero} "
                 "knew."),
                "from the [well|tower] came a [low|sad] song, and then it [stopped|began again].",
            ],
        }, valence=-1),
        Beat("fear", [
            '"It is the wind," {hero} told {hero.himself}, but [there was no wind|the leaves did not move].',
            "the lamp [shook|grew smaller], and so did {hero}.",
            '"Who is there?" asked {hero}, [very softly|in a voice like a mouse|not really wanting an answer].',
            "{hero} took [a broom|a spoon|a stick] in one hand and {thing.a} in the other.",
            "{hero} [counted to {number}|sang every song backward] and it was [still there|worse than before].",
            "on the table lay {item.a}, {several} cards and the rest of {dish.a}.",
            "{hero} thought of {worker.a} who had vanished there {sum} years before, with {beast.a}.",
            "it was {several} minutes to the {place} and {sum} steps to the next door.",
            "at the {place} they told of {color.a} lady who looked for {prize.a}.",
        ], p=0.8),
        Beat("fetch", [
            ("{hero} ran to wake [a neighbour|{trade.a}] called {friend}, who [came with {item.a}|did not want to "
             "come|asked if it could wait]."),
            ("luckily {hero.his} friend {friend} was [not far away|still awake] and came, [yawning|in a "
             "blanket|with {item.a}]."),
            ("on the path {hero} ran into {hero.his} neighbour {friend}, who had [heard it too|seen it the night "
             "before], and both [cried out|jumped]."),
        ]),
        Beat("creep", [
            ("they crept [closer|through the dark], {friend} [first|behind|holding on to {hero}], and the grass "
             "was [wet|cold]."),
            '"You go first," {friend} whispered, and {hero} [said the same|pushed {friend} forward].',
            "{hero} [raised|held up] the lamp, and the shadows [jumped|ran up the wall].",
            "the church clock struck [one|two|three], and [both of them jumped|neither dared to move].",
        ], p=0.65),
        Beat("guest", {
            "steps": [
                ("it was only {animal.a}, which [looked at them|blinked in the light] and [went on with its "
                 "supper|wanted {food}]."),
                ("it was the [mayor|old teacher], walking in a nightshirt, [fast asleep|with {prize.a}], and they "
                 "led the poor soul home."),
            ],
            "light": [
                ("it was a [young sailor|lost child] with a lamp, who had missed the [boat|way], and {hero} [found "
                 "a bed|warmed some milk] for the guest."),
                "it was {few} friends with lamps and {dish.a}, because it was {hero.his} birthday since midnight.",
            ],
            "knock": [
                "it was only {animal.a}, which had [found a drum|lost its way] and [was ashamed|wanted {food}].",
                ("it was {few} friends with {dish.a} and {prize.a}, because it was {hero.his} birthday since "
                 "midnight."),
            ],
            "song": [
                ("it was a [young sailor|lost child] who sang [not to be afraid|to stay awake], and {hero} [found "
                 "a bed|warmed some milk] for the guest."),
                ("it was the [mayor|old teacher], singing in a nightshirt, [fast asleep|with {prize.a}], and they "
                 "led the poor soul home."),
            ],
        }, by="sign", when=GOOD, valence=1),
        Beat("theft", [
            ("it was thieves, and before {hero} could [shout|call for help] they were gone with [the money box|the "
             "silver|{prize.a}]."),
            ("it was a thief, who knocked {hero} down and ran off with [the cash box|the lamp and the "
             "money|{count} coins]."),
            ("it was somebody who had come for {hero.his} [boat|bicycle|goat], and [by morning|the next day] it "
             "was [gone|sold]."),
        ], when=BAD, valence=-1),
        Beat("riddle", [
            "when they came to the place, there was nothing, only [{prize.a}|a wet shoe|an open window].",
            "it stopped, and the whole night was still, and [in the morning|by daylight] there was no trace of it.",
        ], when=OPEN),
        Beat("feeling", {
            "good": [
                "{hero} [was|felt] {glad} and laughed until [the lamp went out|it hurt].",
                ('"[I was not afraid|I knew it all the time]," said {friend}, and {hero}, who [had seen {friend} '
                 'shake|knew better], was {glad}.'),
                ("they made tea, and {hero} [was|felt] {glad} and [stayed up until sunrise|slept like a stone "
                 "after that]."),
                "at {several} they all ate {treat}, and {hero} [was|felt] {glad}.",
            ],
            "bad": [
                ("{hero} [was|felt] {sad} and [sat on the steps until the sun rose|gave back the whistle in the "
                 "morning]."),
                "in the morning {hero} had to [tell everyone|explain it at the town hall] and [was|felt] {sad}.",
                "{friend} said it could have been worse, but {hero} [was|felt] {sad}.",
                "{hero} paid {sum} coins for a new lock, too late, and [was|felt] {sad}.",
            ],
            "open": [
                "{hero} and {friend} did not [speak|talk] of it, and [both left the light on|neither slept].",
                '"Did you hear it or did I?" asked {friend}, and {hero} [was no longer sure|had no answer].',
            ],
        }, by="outcome", p=0.9, valence=VALENCE),
        Beat("after", {
            "good": [
                ("now whenever something knocks at night, {hero} [turns over|calls come in] and [sleeps on|puts "
                 "the kettle on]."),
            ],
            "bad": [
                "since then {hero} sleeps with {prize.a} [by the bed|under the pillow].",
            ],
            "open": [
                "the next night, at the same hour, {hero} sat [at the window|on the bed] and [waited|listened].",
            ],
        }, by="outcome", p=0.3, valence=VALENCE),
    ],
    facts=OUTCOME,
)

SCHEMAS: list[Schema] = [
    STORM, RACE, RESCUE, TRIP, LOST_WAY, HARVEST, FISHING, PET, FIRE, SNOW_DAY, TREASURE, INJURY, BRIDGE_FLOOD,
    NIGHT_WATCH,
]
