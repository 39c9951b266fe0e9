"""Reports: the town's affairs in the third person, as `REPORT: ... In short: ...` on one line.

The out-of-distribution side of the summarize task: the same world and the same machinery as `posts`, but other schemas,
other words and a formal voice. Facts and dates come first, feelings are left out.
"""

from minalign.nano.grammar import Beat, Document, Draw, Entity, Schema
from minalign.nano.posts import (
    END_VALENCE,
    LONG,
    OUTCOMES,
    SUMMARY_SHARE,
    about,
    digest,
    document,
    plain,
    summarise,
    tell_one,
    vary,
)

KINDS = {
    "day": [(Entity(str(day), "day", {}), 1.0) for day in range(1, 29)],
    "span": [(Entity(str(years), "span", {}), 1.0) for years in range(2, 41)],
    "month": plain(
        "month", "1: January, February, March, April, May, June, July, August, September, October, November, December"
    ),
    "ship": plain(
        "ship",
        "3: Swan, Grey Gull\n2: Northern Star, Good Hope\n1: Marigold, Sea Rose, White Bear, Old Duke, Silver Fish",
    ),
    "cargo": plain("cargo", "3: wool, salt, timber\n1: grain, lamp oil, tea, coal, smoked fish, glass, iron"),
    "district": plain("district", "3: lower town, old town\n1: mill quarter, fish quarter, upper town"),
    "road": plain("road", "3: hill road, coast road\n1: mill road, station road, north road"),
    "clock": [
        (Entity(f"{hour} in the {part}", "clock", {}), 1.0)
        for part, hours in (("morning", range(5, 12)), ("afternoon", range(2, 6)), ("evening", range(6, 11)))
        for hour in hours
    ],
    "town": plain("town", "3: Greyhaven, Northport\n1: Millbridge, Saltby, Eastcliff, Stonewick"),
}
# Roles that every report may use: when, who wrote it, how much.
COMMON = {
    "day": "day", "month": "month", "hour": "hour", "time": "time", "clock": "clock", "moment": "clock",
    "clerk": "person",
    "page": "number", "fee": "price", "sky": "weather", "trade": "job", "later": "day", "next_month": "month",
    "second": "person", "second_trade": "job", "site": "place", "hall": "place", "clerk_trade": "job", "crowd": "price",
    "square": "place", "witness": "person", "witness_trade": "job",
}

CLERK = Beat("clerk", [
    "this report was written by {clerk}, {clerk_trade.a}.", "the full account is on page {page} of the town book.",
    "{clerk}, {clerk_trade.a}, was a witness and signed the report.",
    "copies of this report may be had {site.at} for {fee} coins.",
    "the report was read aloud {site.at} at {clock}.", "questions should be sent to {clerk} {site.at}.",
    "the papers are kept {site.at} in box {page}.",
], p=0.6)
WEATHER = Beat("weather", [
    "the day was {sky}.", "it was {sky.a} day, and {crowd} people stood {square.at}.",
    "at {moment} the weather was still {sky}.", "all day it was {sky}.",
    "{witness}, {witness_trade.a}, noted that it was {sky}.",
    "{witness}, {witness_trade.a}, came {square.from} to see it.",
    "{witness}, {witness_trade.a}, took notes until {moment}.",
    "in spite of the {sky} weather {crowd} people came {square.to}.",
    "of {crowd} people {square.at} only {witness}, {witness_trade.a}, was calm.",
], p=0.8)
SECOND = Beat("second", [
    "{second}, {second_trade.a}, was [also |]heard {hall.at}.",
    "{second}, {second_trade.a}, gave a [long|short] account.",
], when=LONG)
SECOND_SAYS = Beat("second_says", [
    "{second} thinks that the town should have acted in {next_month}.",
    "{second} asked for {crowd} coins for lost time.", "{second} agrees with all that is said here.",
], when=LONG)

# Phrases that have several formal forms wherever a body uses them.
VARIANTS = {
    "it was found that": "[it was found that|it turned out that|the search showed that]",
    "because of": "[because of|owing to|as a result of]", "was flooded": "[was flooded|stood under water]",
    "the inspector found that": "[the inspector found that|it was noted that|the visit showed that]",
    "was accepted": "[was accepted|was approved]", "was rejected": "[was rejected|was turned down]",
    "accepted the plan": "[accepted|approved] the plan", "rejected the plan": "[rejected|turned down] the plan",
    "was put off until": "[was put off until|was moved to|will be held on]",
    "proposed to": "[proposed to|asked the members to]", "could not be sold": "[could not be sold|was of no use]",
    "nobody was hurt": "[nobody was hurt|no one was hurt|nobody came to harm]",
    "second visit": "[second|further] visit", "the school passed": "the school passed[| the inspection]",
    "the school failed": "the school failed[| the inspection]", "is not known": "[is not known|is not clear]",
    "the case is closed": "the [case|matter] is closed", "works well": "[works well|burns brightly|does its work well]",
    "was led by": "was [led by|in the hands of]", "and the fair made a loss": "and the fair [made a loss|lost money]",
    "cannot be repaired": "cannot be [repaired|mended]", "is planned for": "is [planned|set] for",
    "were missing": "[were missing|could not be found|had disappeared]",
    "arrived from": "[arrived from|came in from|reached the harbour from]", "took place": "[took place|was held]",
    "led the work": "[led the work|was in charge]", "was spoiled": "[was spoiled|had gone bad]",
    "had been stolen": "had been [stolen|carried off]", "in good order": "in [good order|perfect order]",
    "was a witness and signed": "[was a witness and|read and] signed",
    "the full account": "[the full account|a longer account]", "questions should": "[questions|complaints] should",
    "the papers are kept": "the papers [are kept|may be seen]",
    "is cracked and not safe": "is [cracked and not safe|no longer safe]",
    "the road is open again": "the road is [open|free] again", "stays closed": "[stays|remains] closed",
    "will stay closed": "will [stay|remain] closed", "took notes": "[took notes|wrote down all that was said]",
    "was opened again": "was [opened again|free again]", "in bad repair": "in [bad repair|a poor state]",
    "the best result in years": "the best [result|figure] in years",
    # Optional adjectives, only on nouns whose look matters to nobody later on.
    "storm": "[|heavy |great |sudden ]storm", "wind": "[|strong |cold ]wind", "rain": "[|heavy |steady ]rain",
    "fire": "[|small |sudden ]fire", "rope": "[|worn |thin ]rope", "the pier": "the [|stone |wooden |outer ]pier",
    "leaves": "[|wet |dead ]leaves", "stove": "[|iron |small ]stove", "cart": "[|heavy |loaded ]cart",
    "hill": "[|steep |wet ]hill", "tree": "[|large |dead ]tree", "lock": "[|new |iron ]lock",
    "bird": "[|large |white ]bird", "band": "[|brass |village |sailors' ]band", "soup": "[|hot |free ]soup",
    "letter": "[|long |short |sharp ]letter", "blankets": "[|warm |dry ]blankets", "candles": "[|common |wax ]candles",
    "works there": "[works|is at work] there", "for good": "for [good|ever]",
    "the search goes on": "the search [goes on|has not ended]",
}

SCHEMAS = vary([
    Schema(
        "council",
        {
            "chair": "person", "district": "district", "members": "price", "votes": "price", "against": "number",
            "cost": "price",
            **COMMON,
        },
        [
            Beat("opening", [
                "the town council met on {day} {month} before {members} guests.",
                "on {day} {month} {chair} opened the meeting of the council at {clock}.",
                "the council held its {month} meeting on {day} {month} {site.at}.",
                "{members} guests heard the council meeting of {day} {month}.",
            ]),
            Beat(
                "chair",
                ["{chair}, {trade.a}, was in the chair.", "the meeting was led by {chair}, who is {trade.a}."],
            ),
            Beat("subject", {
                "bridge~3": [
                    "{chair} proposed to build a new bridge for {cost} thousand coins.",
                    ("the plan of {chair} was a new stone bridge over the river, at a cost "
                     "of {cost} thousand coins."),
                ],
                "school~3": [
                    "{chair} proposed to build a second school in the {district}.",
                    "the plan of {chair} was a new school for {cost} children.",
                ],
                "fees~2": [
                    "{chair} proposed to raise the harbour fees by {cost} per cent.",
                    "the plan of {chair} was to raise the harbour fees to {cost} coins a ship.",
                ],
                "lights~2": [
                    "{chair} proposed to put {cost} new lamps in the streets.",
                    "the plan of {chair} was to light the streets with {cost} lamps.",
                ],
            }),
            WEATHER,
            Beat("debate", [
                "the members spoke about it for {hour} hours.", "{clerk}, {clerk_trade.a}, warned of the cost.",
                "the fishermen were in favour, and the shop owners were against it.",
                "a letter from {clerk} was read aloud.", "{against} questions were put to {chair}.",
            ], p=0.8),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the council accepted the plan with a lead of {votes} votes.",
                    "the plan was accepted, and work will begin on {later} {next_month}.",
                    "after a vote, which {chair} won by {votes} votes, the plan was accepted.",
                ],
                "bad": [
                    "the council rejected the plan by {votes} votes.",
                    "the plan was rejected because the town has only {votes} coins left.",
                    "after a vote, which {chair} lost by {votes} votes, the plan was rejected.",
                ],
                "open": [
                    "the vote was put off until {later} {next_month}.",
                    "no decision was taken, and the council will meet again on {later} {next_month}.",
                    "{votes} citizens asked for more time, so no decision was taken.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "accident",
        {
            "ship": "ship", "captain": "person", "crew": "price", "pier": "number", "depth": "price",
            "loss": "price",
            **COMMON,
        },
        [
            Beat("opening", [
                ("on {day} {month} the ship {ship} had an accident [in the harbour|near the "
                 "lighthouse|at pier {pier}]."),
                "an accident in the harbour was reported at {clock} on {day} {month}.",
                "the harbour office reports an accident at pier {pier} on {day} {month}.",
            ], valence=-1),
            Beat("crew", [
                "the {ship}, with {crew} people on board, was under Captain {captain}.",
                "Captain {captain} was in command of the {ship} and its {crew} passengers.",
                "on board the {ship} were Captain {captain} and a crew of {crew}.",
            ]),
            Beat("cause", {
                "fog~3": [
                    "in thick fog the {ship} ran [into the pier|onto the rocks].",
                    "the fog was so thick that the {ship} did not see the pier and struck it hard.",
                ],
                "rope~2": [
                    "a rope tore, and the {ship} was driven against the pier.",
                    "the {ship} broke loose from its rope and struck two fishing boats.",
                ],
                "fire~2": [
                    "a lamp fell over, and a fire broke out in the kitchen of the {ship}.",
                    "a fire began among the {depth} barrels of oil on board the {ship}.",
                ],
                "speed~2": [
                    "the {ship} entered the harbour too fast and struck the pier.",
                    "at {depth} miles an hour the {ship} was much too fast and hit the harbour wall.",
                ],
            }, valence=-1),
            WEATHER,
            Beat("help", [
                "{clerk}, {clerk_trade.a}, rowed out to help.", "the guard sent {crowd} men and a boat.",
                "the bell {site.at} was rung at {hour}.", "the water at this place is {depth} feet deep.",
            ], p=0.7),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "everyone on board was brought to land unhurt.",
                    "nobody was hurt, and the {ship} could sail again on {later} {next_month}.",
                    "all were saved, and the damage is below {loss} coins.",
                ],
                "bad": [
                    "the {ship} sank, and {pier} boxes of cargo were lost with it.",
                    "Captain {captain} was badly hurt, and the {ship} sank.",
                    "several people were hurt, and the {ship} cannot be repaired.",
                ],
                "open": [
                    "the damage is still being counted.", "Captain {captain} will be heard on {later} {next_month}.",
                    "the {ship} lies at pier {pier} until the damage is known.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "flood",
        {
            "district": "district", "warden": "person", "houses": "price", "height": "price", "inches": "price",
            "floor": "number", "families": "price", "sum": "price", "loss": "price",
            **COMMON,
        },
        [
            Beat("opening", [
                "on {day} {month} water flooded {houses} houses in the {district}.",
                "the {district} was flooded in the {time} of {day} {month}.",
                "{warden}, {trade.a}, reports a flood in the {district} on {day} {month}.",
            ], valence=-1),
            Beat("cause", {
                "rain~3": [
                    "after {height} days of rain the river rose over its banks.",
                    "rain had fallen for {hour} days.",
                ],
                "tide~3": [
                    "a spring tide, driven by wind, came over the harbour wall.",
                    "the tide stood {height} inches above the harbour wall.",
                ],
                "dam~2": [
                    "the old dam at the mill had broken.",
                    "a crack of {height} inches in the mill dam let the water out.",
                ],
                "drain~2": [
                    "the drains were full of leaves and could not take the water.",
                    "the drains, last cleaned {height} months ago, were blocked.",
                ],
            }, valence=-1),
            WEATHER,
            Beat("figures", [
                "the water stood {inches} inches high {site.at}.", "{families} families had to leave their homes.",
                "{families} sheep and {inches} hens were carried to the hill.",
                "the ground floor of number {floor} was under water until {hour}.",
            ], p=0.8, valence=-1),
            Beat("action", [
                "{warden} led the work and gave out {sum} blankets.", "{warden} ordered {sum} sacks of sand.",
                "under {warden} the guard worked until {clock}.", "{warden} had boats sent to the {district}.",
            ]),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "by {later} {next_month} all houses were dry and open again.",
                    "the repairs, which cost {loss} thousand coins, are complete, and all families are back.",
                    "the water has gone, and no house was lost.",
                ],
                "bad": [
                    "{houses} houses were lost and cannot be repaired.",
                    "the damage is {loss} thousand coins, and the families cannot return.",
                    "a whole street was destroyed, and the town has no money to build it again.",
                ],
                "open": [
                    "the water has not gone yet, and the damage cannot be counted.",
                    "it is not known when the families can return.",
                    "a decision about repairs is expected on {later} {next_month}.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "inspection",
        {
            "head": "person", "inspector": "person", "pupils": "price", "rooms": "few", "mark": "number",
            "district": "district",
            **COMMON,
        },
        [
            Beat("opening", [
                "the school in the {district} was inspected on {day} {month}.",
                "on {day} {month} inspector {inspector} visited the school of {head}.",
                "an inspection of the school in the {district} took place on {day} {month} at {clock}.",
            ]),
            Beat("school", [
                "the head teacher, {head}, has {pupils} pupils in {rooms} rooms.",
                "{head} leads the school and teaches {pupils} children.",
                "under {head} the school has grown to {pupils} pupils.",
            ]),
            Beat("finding", {
                "roof~3": [
                    "the inspector found that the roof lets in rain.", "above {rooms} rooms the roof is in bad repair.",
                ],
                "books~3": [
                    "the inspector found only one book for every {rooms} children.",
                    "there are too few books, and {mark} of them have no cover.",
                ],
                "stove~2": [
                    "the inspector found that the stove is old and full of smoke.",
                    "the stove does not heat the rooms, and {mark} children wore coats.",
                ],
                "stairs~2": [
                    "the inspector found that the stairs are dangerous.", "on the stairs {rooms} steps are broken.",
                ],
            }, valence=-1),
            WEATHER,
            Beat("lesson", [
                "the lessons in [reading|numbers|singing] were praised.",
                "of {pupils} pupils {mark} per cent can read well.", "the best pupil wants to be {trade.a}.",
                "the children answered [loudly|politely|well] and sang [three|two] songs.",
                "in the test the average mark was {mark}.",
            ], p=0.8),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the fault was mended at once, and the school passed with {mark} points.",
                    "{head} had it repaired before {later} {next_month}, and the school passed.",
                    "the school passed, and {head} was praised for quick repairs.",
                ],
                "bad": [
                    "the school failed and will be closed on {later} {next_month}.",
                    "{head} refused to mend it, and the school failed.", "the school failed with only {mark} points.",
                ],
                "open": [
                    "a second visit will take place on {later} {next_month}.",
                    "{head} has {pupils} days to mend it before a second visit.",
                    "no mark was given before a second visit.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "arrival",
        {
            "ship": "ship", "captain": "person", "town": "town", "cargo": "cargo", "tons": "price",
            "delay": "price", "pier": "number", "price": "price",
            **COMMON,
        },
        [
            Beat("opening", [
                "the ship {ship} arrived from {town} on {day} {month}.",
                "at {clock} on {day} {month} the {ship} came in and tied up at pier {pier}.",
                "at {clock} of {day} {month} the {ship} entered the harbour.",
            ]),
            Beat("cargo", [
                "Captain {captain} brought {tons} tons of {cargo}.",
                "on board were {tons} tons of {cargo} under Captain {captain}.",
                "Captain {captain} had loaded {tons} tons of {cargo} in {town}.",
            ]),
            Beat("cause", {
                "storm~3": [
                    "the ship was {delay} hours late because of a storm.",
                    "a storm had cost it two sails and {delay} hours.",
                ],
                "calm~2": [
                    "the ship was {delay} hours late because the air was still.",
                    "for {delay} hours the ship had lain without wind.",
                ],
                "repair~2": [
                    "the ship was {delay} hours late because the rudder had to be repaired.",
                    "at sea the crew had repaired the rudder for {delay} hours.",
                ],
                "ice~1": [
                    "the ship was {delay} hours late because of ice in the north.",
                    "ice in the north had held the ship for {delay} hours.",
                ],
            }, valence=-1),
            WEATHER,
            Beat("people", [
                "{price} passengers came ashore, among them {clerk}, {clerk_trade.a}.",
                "the crew of {price} was given soup {site.at}.", "a band played {site.at}.",
                "the harbour fee was {fee} coins.",
            ], p=0.7),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the {cargo} was in good order and was sold for {price} coins a ton.",
                    "all of the {cargo} was sold on the pier before {hour}.",
                    "the {cargo} was sold well, and the {ship} sailed again on {later} {next_month}.",
                ],
                "bad": [
                    "the {cargo} was wet and could not be sold.",
                    "most of the {cargo} was spoiled, at a loss of {price} coins a ton.",
                    "the {cargo} was found to be spoiled and was thrown away.",
                ],
                "open": [
                    "the {cargo} may not be sold before the office has looked at it.",
                    "the sale of the {cargo} is planned for {later} {next_month}.",
                    "no buyer has been found for the {cargo} yet.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "fair",
        {
            "master": "person", "visitors": "price", "stalls": "price", "income": "price", "per_cent": "number",
            "thing": "thing", "food": "food", "animal": "animal",
            **COMMON,
        },
        [
            Beat("opening", [
                "the {month} fair was opened by {master} on {day} {month}.",
                "on {day} {month} the market fair took place {site.at}.",
                "the fair of {day} {month} had {stalls} stalls.",
            ]),
            Beat("master", [
                "{master}, {trade.a}, was master of the fair.", "the fair was led by {master}, who is {trade.a}.",
                "the master of the fair, {master}, counted {visitors} hundred visitors.",
            ]),
            Beat("sales", [
                "most of the money was made with {food}.", "the dearest thing sold was {thing.a} at {income} coins.",
                "the prize for the best {animal} went to {clerk}.", "{stalls} plates of {food} were eaten.",
                "the {food} was praised by all.", "{stalls} animals were sold, among them {animal.a}.",
            ], p=0.9),
            Beat("cause", {
                "weather~3": ["the day was {sky}, and the weather decided much."],
                "music~2": ["a new band from Northport played until {hour}.", "the talk of the day was the music."],
                "prices~2": [
                    "the price of a stall had been changed to {fee} coins.",
                    "the fee at the gate had been changed to {fee} coins.",
                ],
                "circus~2": [
                    "a circus with {per_cent} animals stood next to the fair.", "on the same day a circus was in town.",
                ],
            }),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the income was {income} thousand coins, {per_cent} per cent more than last year.",
                    "the fair made {income} thousand coins, the best result in years.",
                    "{income} thousand coins were left for the town, so the fair was a success.",
                ],
                "bad": [
                    "the income fell by {per_cent} per cent, and the fair made a loss.",
                    "the fair made a loss of {income} coins.",
                    "only {per_cent} tickets were sold, and the fair made a loss.",
                ],
                "open": [
                    "the money has not been counted yet.",
                    "{master} will give the figures on {later} {next_month}.", "the figures are not known yet.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "road",
        {
            "road": "road", "engineer": "person", "length": "price", "workers": "price", "carts": "price",
            "mile": "number", "town": "town",
            **COMMON,
        },
        [
            Beat("opening", [
                "the {road} to {town} was closed on {day} {month}.",
                "since {clock} of {day} {month} the {road} has been closed.",
                "on {day} {month} {engineer} closed the {road} at mile {mile}.",
            ], valence=-1),
            Beat("cause", {
                "stones~3": [
                    "stones from the hill cover {length} feet of the road.",
                    "at mile {mile} a hill has slid onto the road.",
                ],
                "bridge~3": [
                    "the bridge at mile {mile} is cracked and not safe.",
                    "the small bridge at mile {mile} broke under a cart.",
                ],
                "mud~1": [
                    "mud lies {length} inches deep at mile {mile}.",
                    "after rain {length} feet of the road are under mud.",
                ],
                "tree~2": [
                    "a fallen tree lies across the road at mile {mile}.",
                    "the storm threw {length} trees onto the road.",
                ],
            }, valence=-1),
            WEATHER,
            Beat("traffic", [
                "on most days {carts} carts pass here.", "{carts} carts had to turn back.",
                "the post from {town} came {carts} hours late.",
                "traders go around by the mill, which takes {hour} hours more.",
                "{clerk}, {clerk_trade.a}, had to sleep in a cart.",
            ], p=0.8),
            Beat("work", [
                "{engineer}, {trade.a}, works there with {workers} men.",
                "{engineer} has asked for {workers} workers and {length} carts.",
                "the work is led by {engineer}, who is {trade.a}.",
            ]),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the road was opened again on {later} {next_month}.",
                    "{engineer} finished the work early, and the road is open again.",
                    "since {hour} today the road is open again.",
                ],
                "bad": [
                    "the work failed, and the road will stay closed all year.",
                    "the road cannot be repaired and has been given up.",
                    "{engineer} has stopped the work, and the road stays closed.",
                ],
                "open": [
                    "it is not known when the road will open again.",
                    "a new test is planned for {later} {next_month}, and until then nothing is certain.",
                    "{engineer} cannot say how long it will take.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "cargo",
        {
            "owner": "person", "guard": "person", "heard": "price", "cargo": "cargo", "boxes": "price",
            "store": "number", "ship": "ship", "value": "price",
            **COMMON,
        },
        [
            Beat("opening", [
                "on {day} {month} {boxes} boxes of {cargo} were missing from store {store}.",
                "{owner}, {trade.a}, reported on {day} {month} that {boxes} boxes of {cargo} were missing.",
                "the loss of {boxes} boxes of {cargo} from the {ship} was reported on {day} {month}.",
            ], valence=-1),
            Beat("owner", [
                "the boxes belong to {owner} and are worth {value} coins each.",
                "{owner}, the owner of the {cargo}, had paid {value} coins for it.",
                "the {cargo} had been bought by {owner} for {value} coins.",
            ]),
            WEATHER,
            Beat("search", [
                "{guard} of the harbour guard looked into {store} stores.",
                "{guard} of the harbour guard searched {site.at}.", "the search began at {clock}.",
                "{guard} of the harbour guard heard {heard} witnesses.",
            ], p=0.8),
            Beat("cause", {
                "theft~3": [
                    "it was found that the boxes had been stolen at night.",
                    "the lock of store {store} was broken, and it was a theft.",
                ],
                "ship~3": [
                    "it was found that the boxes had been put on the wrong ship.",
                    "by mistake the boxes had been loaded onto another ship to the south.",
                ],
                "count~2": [
                    "it was found that a clerk had written {boxes} boxes too many into the book.",
                    "an error on page {page} of the book is the reason.",
                ],
                "storm~1": [
                    "it was found that a storm had washed the boxes from the pier.",
                    "the sea had taken the boxes in the storm last week.",
                ],
            }, valence=-1),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "{owner} received everything on {later} {next_month}.",
                    "the matter was put right, and {owner} lost nothing.",
                    "{owner} has what was missing, and the case is closed.",
                ],
                "bad": [
                    "{owner} will get nothing back, and the case is closed.",
                    "the office will not pay, and {owner} has lost {value} coins.",
                    "the {cargo} is lost to {owner} for good.",
                ],
                "open": [
                    "the search goes on, and {owner} has been asked to wait.",
                    "{owner} will be told more on {later} {next_month}.",
                    "it is not clear whether {owner} will be paid.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
    Schema(
        "lamp",
        {
            "keeper": "person", "maker": "person", "cost": "price", "reach": "price", "span": "span",
            "miles": "price", "steps": "price",
            "age": "age", "town": "town",
            **COMMON,
        },
        [
            Beat("opening", [
                "on {day} {month} the lighthouse received a new lamp.",
                "a new lamp was carried up the {steps} steps of the lighthouse on {day} {month}.",
                "the keeper of the lighthouse, {keeper}, was given a new lamp on {day} {month}.",
            ]),
            Beat("cause", {
                "crack~3": [
                    "the glass of the old lamp was cracked.",
                    "a bird had flown into the old lamp and cracked the glass.",
                ],
                "weak~3": [
                    "the old lamp was too weak and could hardly be seen on dark nights.",
                    "captains had said {miles} times that the old lamp was too weak.",
                ],
                "oil~2": [
                    "the old lamp burned too much oil, {cost} barrels a year.",
                    "oil has become too dear for the old lamp.",
                ],
                "age~2": [
                    "the old lamp was {age} years old and worn out.",
                    "after {age} years the old lamp could not be repaired again.",
                ],
            }),
            Beat("maker", [
                "it was made by {maker} in {town} for {cost} coins.", "{maker} from {town} built it in {cost} weeks.",
                "it is the work of {maker}, {trade.a}, and cost {cost} coins.",
            ]),
            WEATHER,
            Beat("keeper", [
                "{keeper} has kept the light for {span} years.", "{keeper} lives there with {span} books and a cat.",
                "{keeper} carried it up {steps} steps with {clerk}, {clerk_trade.a}.",
                "{keeper} cleans the glass every {time}.",
            ], p=0.8),
            SECOND,
            SECOND_SAYS,
            Beat("end", {
                "good": [
                    "the new lamp works well and has already guided {reach} ships.",
                    "every captain praises the new light.",
                    "on {later} {next_month} the captains thanked {keeper} for the good light.",
                ],
                "bad": [
                    "the new lamp went out in the first night, and {keeper} had to use candles.",
                    "the new lamp broke after {reach} hours.",
                    "the new lamp does not work, and {maker} will not take it back.",
                ],
                "open": [
                    "the first test of the new lamp is planned for {later} {next_month}.",
                    "{keeper} has not lit the new lamp yet.", "it is not known yet how well the new lamp works.",
                ],
            }, by="outcome", valence=END_VALENCE),
            CLERK,
        ],
        facts={"outcome": OUTCOMES},
        kinds=KINDS,
    ),
], VARIANTS)
BY_NAME = {schema.name: schema for schema in SCHEMAS}

ACTORS = {
    "council": "chair", "accident": "ship", "flood": "warden", "inspection": "head", "arrival": "captain",
    "fair": "master", "road": "engineer", "cargo": "owner", "lamp": "keeper",
}

# Weight of each fact or role that a summary should keep.
KEY_FACTS = {
    "council": {"outcome": 3, "chair": 3, "subject": 2}, "accident": {"outcome": 3, "ship": 3, "cause": 2},
    "flood": {"outcome": 3, "warden": 3, "cause": 2, "district": 2},
    "inspection": {"outcome": 3, "head": 3, "finding": 2},
    "arrival": {"outcome": 3, "captain": 3, "cause": 2, "ship": 2, "cargo": 1},
    "fair": {"outcome": 3, "master": 3, "cause": 1}, "road": {"outcome": 3, "engineer": 3, "cause": 2, "road": 2},
    "cargo": {"outcome": 3, "owner": 3, "cause": 2, "cargo": 1}, "lamp": {"outcome": 3, "keeper": 3, "cause": 2},
}

SUMMARIES = [
    digest(
        BY_NAME["council"],
        {
            "bridge": [
                "{chair} proposed a new bridge to the council.", "the council spoke about {chair}'s plan for a bridge.",
            ],
            "school": [
                "{chair} proposed a new school to the council.", "the council spoke about {chair}'s plan for a school.",
            ],
            "fees": [
                "{chair} proposed higher harbour fees to the council.",
                "the council spoke about {chair}'s plan for higher harbour fees.",
            ],
            "lights": [
                "{chair} proposed new street lamps to the council.",
                "the council spoke about {chair}'s plan for new street lamps.",
            ],
        },
        {
            "good": ["it was accepted.", "the members said yes.", "the plan was agreed to."],
            "bad": ["it was rejected.", "the members said no.", "the plan was turned down."],
            "open": ["nothing was decided.", "the decision was put off.", "the vote will be held later."],
        },
        {
            "good": ["the council accepted a plan by {chair}.", "{chair} won the vote of the council."],
            "bad": ["the council rejected a plan by {chair}.", "{chair} lost the vote of the council."],
            "open": [
                "the council has not decided about a plan by {chair}.",
                "the vote of the council on {chair}'s plan was put off.",
            ],
        },
        by="subject",
    ),
    digest(
        BY_NAME["accident"],
        {
            "fog": ["the {ship} had an accident in fog.", "in fog the ship {ship} ran against something hard."],
            "rope": [
                "the {ship} had an accident because its rope broke.",
                "the ship {ship} broke loose and caused an accident.",
            ],
            "fire": ["there was a fire on board the {ship}.", "the ship {ship} caught fire."],
            "speed": [
                "the {ship} had an accident because it was too fast.",
                "the ship {ship} was too fast and hit the harbour.",
            ],
        },
        {
            "good": ["nobody was hurt.", "all on board are safe.", "it ended without harm."],
            "bad": ["the ship was lost.", "the loss is great.", "it could not be saved."],
            "open": ["the case is still open.", "the damage is not known yet.", "more will be known later."],
        },
        {
            "good": [
                "all on board are safe after an accident of the {ship}.",
                "the {ship} had an accident, but nobody was hurt.",
            ],
            "bad": ["the {ship} was lost in an accident.", "an accident of the {ship} ended badly."],
            "open": [
                "the {ship} had an accident, and the damage is not known yet.",
                "the case of the {ship} and its accident is still open.",
            ],
        },
    ),
    digest(
        BY_NAME["flood"],
        {
            "rain": [
                "rain flooded the {district}, where {warden} led the work.",
                "{warden} led the work after rain flooded the {district}.",
            ],
            "tide": [
                "a high tide flooded the {district}, where {warden} led the work.",
                "{warden} led the work after a high tide flooded the {district}.",
            ],
            "dam": [
                "a broken dam flooded the {district}, where {warden} led the work.",
                "{warden} led the work after a broken dam flooded the {district}.",
            ],
            "drain": [
                "blocked drains flooded the {district}, where {warden} led the work.",
                "{warden} led the work after blocked drains flooded the {district}.",
            ],
        },
        {
            "good": ["all is dry again.", "the families are safe at home.", "the damage was made good."],
            "bad": ["homes were lost.", "the damage cannot be made good.", "the families have lost their homes."],
            "open": ["the damage is not known yet.", "the families must wait.", "it is not over yet."],
        },
        {
            "good": [
                "the {district} is dry again after a flood, thanks to {warden}.",
                "{warden} led the work after the flood in the {district}, and all is well.",
            ],
            "bad": [
                "homes were lost in the flood of the {district}, where {warden} led the work.",
                "in spite of {warden}'s work the flood in the {district} did great damage.",
            ],
            "open": [
                "{warden} leads the work in the {district}, where the flood is not over yet.",
                "the flood damage in the {district} is not known yet, says {warden}.",
            ],
        },
    ),
    digest(
        BY_NAME["inspection"],
        {
            "roof": [
                "the school of {head} has a leaking roof.",
                "an inspector found rain coming through the roof of {head}'s school.",
            ],
            "books": [
                "the school of {head} has too few books.", "an inspector found too few books in {head}'s school.",
            ],
            "stove": ["the school of {head} has a bad stove.", "an inspector found a bad stove in {head}'s school."],
            "stairs": [
                "the school of {head} has broken stairs.", "an inspector found dangerous stairs in {head}'s school.",
            ],
        },
        {
            "good": ["it was mended, and the school passed.", "the school passed.", "the inspection ended well."],
            "bad": ["the school failed.", "it did not pass.", "the inspection ended badly."],
            "open": ["the school will be visited again.", "there is no result yet.", "a second visit will decide."],
        },
        {
            "good": ["the school of {head} passed the inspection.", "{head}'s school was inspected and passed."],
            "bad": ["the school of {head} failed the inspection.", "{head}'s school was inspected and failed."],
            "open": [
                "the school of {head} will be inspected again.",
                "{head}'s school was inspected, and there is no result yet.",
            ],
        },
        by="finding",
    ),
    digest(
        BY_NAME["arrival"],
        {
            "storm": [
                "Captain {captain} and the {ship} were late because of a storm.",
                "a storm made Captain {captain} arrive late with {cargo} on the {ship}.",
            ],
            "calm": [
                "Captain {captain} and the {ship} were late for want of wind.",
                "without wind Captain {captain} arrived late with {cargo} on the {ship}.",
            ],
            "repair": [
                "Captain {captain} and the {ship} were late because of a broken rudder.",
                "a repair made Captain {captain} arrive late with {cargo} on the {ship}.",
            ],
            "ice": [
                "Captain {captain} and the {ship} were late because of ice in the north.",
                "ice made Captain {captain} arrive late with {cargo} on the {ship}.",
            ],
        },
        {
            "good": ["the {cargo} was sold well.", "all of the cargo was sold.", "the sale was a success."],
            "bad": ["the {cargo} was spoiled.", "the cargo is lost.", "nothing could be sold."],
            "open": [
                "the {cargo} has not been sold yet.", "the sale is still to come.", "the cargo waits for a buyer.",
            ],
        },
        {
            "good": [
                "Captain {captain} of the {ship} sold a cargo of {cargo} well.",
                "the {cargo} that Captain {captain} brought on the {ship} was sold.",
            ],
            "bad": [
                "Captain {captain} of the {ship} brought spoiled {cargo}.",
                "the {cargo} that Captain {captain} brought on the {ship} was spoiled.",
            ],
            "open": [
                "Captain {captain} of the {ship} has not sold the {cargo} yet.",
                "the {cargo} that Captain {captain} brought on the {ship} waits for a buyer.",
            ],
        },
    ),
    digest(
        BY_NAME["fair"],
        {
            "weather": [
                "the weather decided much at the fair of {master}.",
                "{master} led the fair, and the weather decided much.",
            ],
            "music": ["there was new music at the fair of {master}.", "{master} led the fair, which had a new band."],
            "prices": [
                "there were new fees at the fair of {master}.", "{master} led the fair, which had changed its fees.",
            ],
            "circus": ["a circus stood beside the fair of {master}.", "{master} led the fair on the day of a circus."],
        },
        {
            "good": ["it was a success.", "it made good money.", "the result is better than before."],
            "bad": ["it made a loss.", "it lost money.", "the result is bad."],
            "open": [
                "the result is not known yet.", "the figures are still to come.", "nobody has counted the money yet.",
            ],
        },
        {
            "good": ["the fair led by {master} made good money.", "{master} led a fair that was a success."],
            "bad": ["the fair led by {master} made a loss.", "{master} led a fair that lost money."],
            "open": [
                "the result of the fair led by {master} is not known yet.",
                "{master} led the fair, and the figures are still to come.",
            ],
        },
    ),
    digest(
        BY_NAME["road"],
        {
            "stones": [
                "stones closed the {road}, where {engineer} led the work.",
                "{engineer} led the work on the {road}, which was closed by falling stones.",
            ],
            "bridge": [
                "a broken bridge closed the {road}, where {engineer} led the work.",
                "{engineer} led the work on the {road}, which was closed by a broken bridge.",
            ],
            "mud": [
                "mud closed the {road}, where {engineer} led the work.",
                "{engineer} led the work on the {road}, which was closed by mud.",
            ],
            "tree": [
                "fallen trees closed the {road}, where {engineer} led the work.",
                "{engineer} led the work on the {road}, which was closed by fallen trees.",
            ],
        },
        {
            "good": ["it is open again.", "carts can pass again.", "the work is done."],
            "bad": ["it will stay closed.", "it will not be opened again soon.", "the work was given up."],
            "open": ["nobody knows when it will open.", "the end of the work is not known.", "it may open later."],
        },
        {
            "good": ["{engineer} has opened the {road} again.", "the {road} is open again after work by {engineer}."],
            "bad": [
                "{engineer} could not open the {road}, which will stay closed.",
                "the {road} will stay closed in spite of work by {engineer}.",
            ],
            "open": [
                "{engineer} does not know when the {road} will open.",
                "the {road} is closed while {engineer} works, and nobody knows how long.",
            ],
        },
    ),
    digest(
        BY_NAME["cargo"],
        {
            "theft": ["{cargo} that belongs to {owner} was stolen.", "a thief took {owner}'s {cargo}."],
            "ship": [
                "{cargo} that belongs to {owner} went onto the wrong ship.",
                "{owner}'s {cargo} was loaded onto the wrong ship.",
            ],
            "count": [
                "{cargo} that belongs to {owner} seemed to be missing because of an error in the book.",
                "{owner}'s {cargo} was counted wrong.",
            ],
            "storm": ["{cargo} that belongs to {owner} was washed away in a storm.", "a storm took {owner}'s {cargo}."],
        },
        {
            "good": ["it was put right.", "nothing is missing now.", "{owner} has no loss."],
            "bad": ["the loss is final.", "{owner} gets nothing.", "nobody pays for it."],
            "open": ["the case is still open.", "{owner} must wait.", "it is not settled yet."],
        },
        {
            "good": [
                "{owner} missed some {cargo}, but has no loss.", "the case of {owner}'s missing {cargo} was put right.",
            ],
            "bad": ["{owner} missed some {cargo} and gets nothing.", "the loss of {owner}'s {cargo} is final."],
            "open": [
                "{owner} missed some {cargo} and must wait.", "the case of {owner}'s missing {cargo} is still open.",
            ],
        },
    ),
    digest(
        BY_NAME["lamp"],
        {
            "crack": [
                "{keeper} has a new lamp in the lighthouse because the old one was cracked.",
                "a cracked lamp was replaced at {keeper}'s lighthouse.",
            ],
            "weak": [
                "{keeper} has a new lamp in the lighthouse because the old one was weak.",
                "a weak lamp was replaced at {keeper}'s lighthouse.",
            ],
            "oil": [
                "{keeper} has a new lamp in the lighthouse because the old one needed too much oil.",
                "a lamp that burned too much oil was replaced at {keeper}'s lighthouse.",
            ],
            "age": [
                "{keeper} has a new lamp in the lighthouse because the old one was worn out.",
                "a very old lamp was replaced at {keeper}'s lighthouse.",
            ],
        },
        {
            "good": ["it works well.", "the light is good.", "the captains are pleased."],
            "bad": ["it does not work.", "it is already broken.", "the new light failed."],
            "open": ["it has not been tested yet.", "nobody knows yet how good it is.", "the test is still to come."],
        },
        {
            "good": [
                "the new lamp of {keeper}'s lighthouse works well.", "{keeper} has a good new lamp in the lighthouse.",
            ],
            "bad": [
                "the new lamp of {keeper}'s lighthouse does not work.",
                "{keeper} has a new lamp in the lighthouse, but it failed.",
            ],
            "open": [
                "the new lamp of {keeper}'s lighthouse has not been tested yet.",
                "{keeper} has a new lamp in the lighthouse, and the test is still to come.",
            ],
        },
    ),
]

# True, and of no use.
VAGUE = [
    about(
        BY_NAME[name],
        [Beat("vague", [f"a report about {topic}.", f"something about {topic}.", f"there is news of {topic}."])],
    )
    for name, topic in {
        "council": "a meeting", "accident": "a ship", "flood": "some water", "inspection": "a school",
        "arrival": "some {cargo}", "fair": "a fair", "road": "a road", "cargo": "some boxes", "lamp": "a lamp",
    }.items()
]


def generate(draw: Draw, long: bool | None = None, summary: str | None = None) -> Document:
    """Return a report; arguments and record as in `posts.generate`, with `In short:` as the cue."""
    telling = tell_one(SCHEMAS, draw, long)
    kind = summary or draw.pick(SUMMARY_SHARE, list(SUMMARY_SHARE.values()))
    text = "" if kind == "none" else summarise(telling, draw, kind, SUMMARIES, VAGUE)
    return document(
        "report", telling, f"REPORT: {telling.text}", " In short:", kind, text, ACTORS[telling.facts["schema"]]
    )
