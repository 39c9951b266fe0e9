"""Jokes: a word with two senses, cues for both, and hand-written cores that play on it.

A text is one or two sentences: an opener (`my neighbour asks:`), a core (`why did {who} leave the bank? || because
{who.he} lost interest.`) and small alternatives. Kinds: `qa` (question and answer), `oneliner`, and `plain`, about
the same topics but with no second sense. The cue lists say what makes a text a pun: `pun_score` needs no model.
"""
import re
from dataclasses import dataclass
from functools import cache

from minalign.nano.grammar import Beat, Document, Draw, Entity, Schema, tell
from minalign.nano.lexicon import LEXICON


@dataclass(frozen=True)
class Pun:
    """One word with two senses: where a user meets it, what points at each sense, and the jokes made of it."""

    word: str
    topic: str  # a user asks for a pun about this
    sense_a: tuple[str, ...]  # cue words and phrases; the topic's own sense
    sense_b: tuple[str, ...]  # cues of the sense that surprises
    cores: tuple[str, ...]  # `question? || answer.` or one statement; `{who}` is a person
    also: tuple[str, ...] = ()  # other topics that the word serves


def _pun(word: str, topics: str, sense_a: str, sense_b: str, *cores: str) -> Pun:
    topic, *also = topics.split(", ")
    return Pun(word, topic, tuple(sense_a.split(", ")), tuple(sense_b.split(", ")), cores, tuple(also))


# One entry a word: topics, cues of sense a, cues of sense b, cores. `_forms` inflects words and cues.
_ENTRIES = (
    # banks and money
    _pun("interest", "banks, money", "bank, banker, money, savings, loan", "lost, lose, bored, boring, dull",
         "why did {who} [leave|stop working at] the bank? || because {who.he} lost [all |]interest.",
         "{who} [used|wanted] to be a banker, but {who.he} lost interest."),
    _pun("balance", "banks, money", "bank, banker, account, money", "fall, fell, pushed, ladder, wall",
         "why did the banker fall off the [wall|ladder|roof]? || because he lost his balance."),
    _pun("safe", "banks", "gold, bank, banker, money, key, iron box", "safe side, sorry, danger, sleep",
         "why did the banker sleep next to the [gold|money]? || because she wanted to be on the safe side.",
         "{who} kept {who.his} gold in an iron box, because it is better to be safe than sorry."),
    _pun("change", "money", "coin, money, purse, pocket, shop", "time for a change, new life, different, habits",
         "why did {who} empty {who.his} [purse|pocket]? || because it was time for a change.",
         "{who} found two coins in an old coat and said that it was time for a change."),
    # rivers, water and the sea
    _pun("bank", "rivers, banks, money", "river, water, stream, shore", "money, rich, coin, savings, gold, account",
         "why is the river so rich? || because it has a bank on [both sides|each side].",
         "the river never runs out of money, because it has two banks."),
    _pun("current", "rivers", "river, sea, swim, swam, stream", "news, newspaper, events, today",
         "why did {who} read the newspaper in the river? || because {who.he} wanted to keep up with current events."),
    _pun("well", "water", "water, bucket, deep, dig", "ill, sick, doctor, soon, better",
         "why did the sick man sit next to the bucket all day? || because he wanted to get well."),
    _pun("tap", "water, dance", "water, plumber, pipe, kitchen", "dance, dancer, dancing, shoes",
         "why did the dancer call the plumber? || because she could not stop the tap."),
    _pun("pool", "swimming", "swim, swimmer, water", "money, coin, share, together",
         "why did the swimmers throw their coins into the water? || because they wanted to pool their money."),
    _pun("stroke", "swimming", "swim, swimmer, water", "cat, dog, fur, pet",
         "why did the swimmer bring a cat to the lesson? || because he had to practise his stroke."),
    _pun("wave", "the sea", "sea, beach, ocean, water, sand", "hello, friendly, goodbye, hand, polite",
         "why is the sea so [friendly|polite]? || because it always waves.",
         "{who} said hello to the sea, and it waved back."),
    _pun("pinch", "the sea, cooking", "crab, beach, sea, claw", "salt, soup, cook, pepper",
         "why did the cook invite a crab to the kitchen? || because the soup needed a pinch."),
    # fishing and boats
    _pun("catch", "fishing", "fish, fisherman, fishing, sea", "free, cheap, trick, offer",
         "why was the fishing trip free? || because there was no catch.",
         "{who} got a free day of fishing, but there was no catch."),
    _pun("net", "fishing", "fish, fisherman, fishing, sea", "profit, money, earn, rich",
         "why did the fisherman get rich? || because all that he earned was net.",
         "{who} sold fish for [ten|twenty] years, and all of it was net profit."),
    _pun("scale", "fishing, fish", "fish, sea, swim", "weigh, weight, heavy, pounds",
         "why is it so easy to weigh a fish? || because it has its own scales.",
         "a fish always knows its weight, because it has its own scales."),
    _pun("school", "fish", "fish, sea, swim", "teacher, lesson, learn, clever",
         "why are fish so clever? || because they [live|swim|stay] in schools.",
         "the teacher went fishing on Sunday, because he missed his school."),
    _pun("hook", "fishing, fish", "fish, fishing, worm, bait", "off the hook, judge, blame, lucky",
         "why did the fish thank the judge? || because she let it off the hook.",
         "the fish said that it was sorry, so {who} let it off the hook."),
    _pun("sole", "shoes, fish", "shoe, shoe maker, boot", "fish, fishing, sea, net",
         "why did the shoe maker go fishing? || because he needed a new sole.",
         "{who} ordered fish from the shoe maker, and it was a sole."),
    _pun("port", "boats", "sailor, ship, boat, harbour, captain", "wine, bottle, drink, drank, glass",
         "why did the sailor open a bottle in the storm? || because any port is good in a storm.",
         "the captain asked for wine in the storm, because any port would do."),
    _pun("deck", "boats", "ship, boat, captain, sailor", "cards, game, play",
         "why could nobody play cards on the [ship|boat]? || because the captain was standing on the deck.",
         "{who} wanted to play cards on the boat, but the captain was sitting on the deck."),
    _pun("stern", "boats", "ship, boat, captain, sailor", "smile, laugh, strict, serious, friendly",
         "why did the captain of the [ship|boat] never smile? || because she was always at the stern."),
    _pun("bow", "boats", "ship, boat, sail", "king, queen, polite, hat",
         "why is a [ship|boat] so polite to the [king|queen]? || because it always comes in with a bow."),
    _pun("row", "boats, theatre", "oar, boat, lake", "theatre, seat, front, back",
         "why did {who} take an oar to the theatre? || because {who.he} had a seat in the [first|third|last] row."),
    _pun("knot", "boats", "rope, string, tie, tied", "fast, speed, ship, boat",
         "why was the boat full of rope so fast? || because it made [ten|twenty] knots."),
    _pun("dock", "boats, judges", "ship, boat, harbour, sailor", "judge, thief, court",
         "why was the ship afraid of the judge? || because it had to stand in the dock.",
         "the thief ran to the harbour, but the judge found him in the dock."),
    _pun("sink", "boats", "captain, ship, boat, sailor", "dishes, wash, plate, kitchen",
         "why does the captain never wash the dishes? || because he is afraid of the sink.",
         "the old sailor left the dishes to {who.obj}, because he was afraid of the sink."),
    _pun("log", "boats, fire", "captain, diary, ship, wrote", "fire, wood, tree, burn",
         "why did the captain throw his diary into the fire? || because it was only a log."),
    # trees and gardens
    _pun("branch", "trees, banks", "tree, bird, leaf, forest", "bank, banker, office, manager, shop",
         "why did the banker climb the tree? || because he wanted to open a new branch."),
    _pun("trunk", "trees", "tree, oak, forest", "holiday, travel, packed, journey, trip",
         "why was the tree ready for its [holiday|journey]? || because it had packed its trunk.",
         "the old oak is always ready to travel, because it has a trunk."),
    _pun("bark", "trees, dogs", "tree, oak, wood", "dog, bite, loud, noise",
         "how is a [big |tall |]tree like a [small |]dog? || it has a [loud|rough] bark."),
    _pun("leaves", "trees", "tree, autumn, branch", "goodbye, friend, lonely, home, visit",
         "why is the tree such a lonely guest? || because in spring it always leaves."),
    _pun("root", "trees", "tree, ground, dug", "problem, trouble, question",
         "why did {who} dig under the tree? || because {who.he} wanted to get to the root of the problem.",
         "{who} had trouble with a tree and got to the root of the problem."),
    _pun("palm", "trees", "tree, beach, leaf", "hand, finger, glove",
         "why did the tree on the beach need a glove? || because it was a palm."),
    _pun("pine", "trees, forests", "tree, forest, wood", "sad, alone, miss, lonely, friend",
         "why is the tree on the hill so [sad|lonely]? || because it pines for the forest."),
    _pun("bear", "forests", "forest, honey, wood, cave", "could not bear, cannot bear, pain, longer",
         "why did {who} [leave|run out of] the forest? || because {who.he} could not bear it.",
         "{who} tried to live in the forest, but {who.he} could not bear it."),
    _pun("plant", "gardens", "garden, flower, green, water", "job, factory, worker, boss",
         "why did {who} take water to {who.his} new job? || because it was at a plant.",
         "{who} got a job at a plant, so {who.he} watered it every morning."),
    _pun("bulb", "gardens, lamps", "garden, gardener, flower, spring", "lamp, light, dark",
         "why did {who} put a lamp in the ground of the garden? || because it came with a bulb.",
         "it was dark in the garden, so {who} put in a hundred bulbs."),
    _pun("bed", "gardens, sleep", "garden, gardener, flower, rose", "sleep, slept, tired, pillow, night",
         "why did the gardener sleep next to the [flowers|roses]? || because she had made the bed that morning.",
         "the tired gardener did not go home, because there was a bed in the garden."),
    _pun("rose", "gardens", "garden, gardener, flower, red", "early, got up, sun, late",
         "why is that flower always up so early? || because it rose before the sun.",
         "the gardener got up late, but the flower by the wall rose with the sun."),
    _pun("mole", "gardens, doctors", "garden, gardener, grass, dig", "doctor, skin, face, nose",
         "why did the gardener go to the doctor? || because he had found a mole.",
         "the doctor told {who.obj} to put the mole back in the garden."),
    _pun("mint", "gardens, tea", "garden, herb, tea, leaf", "money, rich, gold, coin",
         "why did the herb garden make {who.obj} rich? || because it was a mint.",
         "{who} got rich with a small garden, because it was a mint."),
    _pun("patch", "gardens, farms", "pumpkin, garden, field", "trousers, coat, hole, torn, sew",
         "how did the farmer mend the hole in his [trousers|coat]? || with a pumpkin patch.",
         "{who} tore {who.his} trousers in the garden, so {who.he} asked the farmer for a pumpkin patch."),
    # farms and animals
    _pun("ear", "farms", "corn, field, farm, farmer", "secret, hear, listen, whisper",
         "why should you never tell a secret in a corn field? || because it is full of ears.",
         "{who} whispered a secret in the corn field, but there were ears [everywhere|on every side]."),
    _pun("eye", "farms", "potato, field, farm", "see, look, watch, glasses",
         "why did the farmer hide from the potatoes? || because they looked at him with all their eyes.",
         "a potato does not need glasses, because it has so many eyes."),
    _pun("sack", "farms", "flour, potato, miller, mill", "boss, job, work",
         "why was the miller afraid of [the|his] boss? || because he did not want to get the sack."),
    _pun("yard", "farms, houses", "house, fence, grass, farm", "measure, feet, long, inch",
         "why did the farmer measure the grass behind the house? || because he wanted to know if it was a yard.",
         "the grass behind the house was three feet long, so {who} called it a yard."),
    _pun("kid", "goats", "goat, farm, milk", "believe, joke, serious, child, laugh",
         "why did nobody believe the goat? || because it was only kidding."),
    _pun("horn", "goats, music", "goat, cow, bull", "music, band, song, loud",
         "why did the goat join the band? || because it had two horns.",
         "the goat was born for music, because it came with two horns."),
    _pun("crook", "sheep, thieves", "shepherd, sheep, wool", "police, thief, steal, policeman",
         "why did the policeman follow the shepherd? || because he was seen with a crook.",
         "the shepherd is an honest man, but the police say that he walks with a crook."),
    _pun("fleece", "sheep", "sheep, wool, shepherd", "money, trick, cheat, poor",
         "why did the sheep have no money? || because the [farmer|shepherd] had fleeced it."),
    _pun("pen", "pigs", "pig, farm, farmer, fence", "write, wrote, ink, letter, paper",
         "why did the pig write such good letters? || because it lived in a pen.",
         "the pig wrote a letter to {who.obj}, because it had a pen of its own."),
    _pun("ham", "pigs, theatre", "pig, butcher, meat", "actor, theatre, stage, play",
         "why did the pig become an actor? || because it was a born ham.",
         "nobody at the theatre liked the pig, because it was such a ham."),
    _pun("litter", "pigs", "pig, dog, puppies", "street, rubbish, clean, dirty",
         "why did the pig have to clean the street? || because she had left a litter there."),
    _pun("calf", "cows", "cow, farm, bull", "leg, limp, foot, knee",
         "why did the cow have a pain in [her|one] leg? || because somebody had stepped on her calf.",
         "the farmer has one bad leg, because a cow stepped on his calf."),
    _pun("stable", "horses", "horse, hay, saddle", "calm, quiet, happy, family",
         "why is the horse so calm? || because it comes from a stable home."),
    _pun("stall", "horses, the market", "horse, hay, stable", "market, sell, sold, shop",
         "why did the horse feel at home at the market? || because it had its own stall."),
    _pun("bolt", "horses, carpenters", "horse, ran, run, rider", "workshop, nut, screw, door",
         "why did the horse run past the screws and the nuts? || because it wanted to bolt."),
    _pun("groom", "weddings, horses", "wedding, bride, marry, church", "stable, horse, brush, hay",
         "why did the bride look for a man in the stable? || because she needed a groom."),
    _pun("boxer", "dogs", "dog, puppy, bark", "fight, gloves, ring, fist",
         "why did the dog put on gloves for the fight? || because it was a boxer.",
         "{who} was afraid to fight with the dog, because it was a boxer."),
    _pun("fetch", "dogs", "dog, puppy, stick", "market, price, sell, money",
         "why did {who} take the dog to the market? || because {who.he} wanted to see what it would fetch."),
    _pun("lead", "dogs, theatre", "dog, puppy, walk", "actor, theatre, play, stage",
         "why did the dog get the best part in the theatre? || because it brought its own lead.",
         "the dog was the star of the play, because it always had the lead."),
    _pun("heel", "shoes, dogs", "shoe, boot, shoe maker", "dog, obey, follow, walk",
         "why does the dog of the shoe maker obey so well? || because it knows every heel."),
    # birds and bees
    _pun("bill", "birds, inns", "duck, bird, goose, pond", "pay, paid, waiter, inn, dinner",
         "how does a duck pay for its dinner? || it puts everything on its bill.",
         "the duck ate at the inn, and the waiter put it on its bill."),
    _pun("crane", "birds", "bird, nest, feather", "lift, builder, build, heavy",
         "why did the builders hire a bird? || because they needed a crane."),
    _pun("swallow", "birds", "bird, nest, feather", "throat, doctor, pill, food",
         "why did the bird with the sore throat fly to the doctor? || because it was a swallow.",
         "the doctor gave the bird a pill, and it was easy to swallow."),
    _pun("duck", "birds", "pond, bird, quack", "ball, head, threw, stone",
         "why did the ball hit {who.obj}? || because somebody shouted duck, and {who.he} looked at the pond.",
         "somebody threw a ball and shouted duck, so {who} looked for a bird."),
    _pun("comb", "bees, hair", "bee, honey", "hair, barber, curl",
         "why do bees have such sticky hair? || because they use a honey comb.",
         "{who} had honey in {who.his} hair, because {who.he} used the comb of a bee."),
    _pun("hive", "bees, doctors", "bee, bee keeper, honey", "doctor, skin, itch, red",
         "why did the bee keeper go to the doctor? || because he had hives.",
         "the doctor told the bee keeper to stay away from honey, because she had hives."),
    _pun("flies", "fruit", "fruit, banana, pear", "time, arrow, clock, hour",
         "time flies like an arrow, but fruit flies like a [banana|ripe pear]."),
    # fruit, market, inns
    _pun("date", "fruit", "fruit, palm, sweet, market", "dance, kiss, dinner, evening",
         "why did {who} buy fruit before the dance? || because {who.he} needed a date.",
         "{who} did not want to go to the dance alone, so {who.he} bought some fruit and had a date."),
    _pun("jam", "fruit, roads", "strawberry, strawberries, bread, jar, sweet", "road, cart, stuck, traffic",
         "why was the cart of strawberries so late? || because it was stuck in a jam."),
    _pun("stand", "the market, fruit", "fruit, market, apples, sell", "sit, chair, tired, legs",
         "why did the woman with the apples never sit down? || because she had a fruit stand.",
         "{who} worked at the market without a chair, because it was a fruit stand."),
    _pun("fair", "the market, judges", "market, village, music", "judge, cheat, just, rules",
         "why did the judge love the village market? || because it was fair.",
         "nobody may cheat at the [village |old |]market, because it is a fair."),
    _pun("house", "inns, houses", "inn, drink, beer, pay", "builder, roof, wall, brick",
         "why did the builder pay nothing for his [drink|beer]? || because it was on the house.",
         "{who} had a drink on the roof of the inn, so it was on the house."),
    _pun("glasses", "inns", "inn, wine, drink, drank", "see, saw, read, eyes",
         "why could the [captain|sailor] at the inn not see [well|straight]? || because he had too many glasses."),
    _pun("tip", "inns", "waiter, inn, dinner, money", "advice, told, shoes",
         "{who} had no money for the waiter, so the tip was only good advice.",
         "why did {who} tell the waiter to buy better shoes? || because {who.he} wanted to leave a tip."),
    _pun("order", "inns", "waiter, inn, dinner", "soldier, army, captain",
         "why was the soldier such a good waiter? || because he knew how to take orders.",
         "the old soldier loves to eat at the inn, because there he gives the orders."),
    _pun("serve", "tennis, inns", "tennis, ball", "waiter, dinner, soup, inn",
         "why is the waiter so good at tennis? || because she knows how to serve.",
         "the waiter lost her job at the inn, but in tennis she can still serve."),
    # baking and cooking
    _pun("dough", "baking", "bread, baker, oven, flour", "money, rich, poor, pay",
         "why did {who} become a baker when {who.his} money was gone? || because {who.he} needed the dough.",
         "{who} was too poor to stop, so {who.he} went back to the oven and made more dough."),
    _pun("roll", "baking", "bread, baker, butter", "hill, down, ball, wheel",
         "why did the baker run down the hill? || because he had dropped a roll."),
    _pun("bun", "baking, hair", "bread, baker, oven", "hair, head, barber",
         "why did the baker put bread on her head? || because she wanted to wear it in a bun.",
         "the baker has no time for her hair, so she wears it in a bun."),
    _pun("rise", "baking", "bread, baker, oven", "early, bed, sun, wake",
         "why does the baker get out of bed so early? || because he wants to see the sun and the bread rise."),
    _pun("loaf", "baking", "bread, baker, oven", "lazy, work, idle",
         "why did people say that the baker was lazy? || because every day he had another loaf."),
    _pun("batter", "baking", "cake, baker, oven, pan", "team, ball, game",
         "why is a ball team like a cake? || because it needs a good batter.",
         "the baker joined the ball team, because they needed a better batter."),
    _pun("sponge", "baking", "cake, baker, oven", "bath, wash, soap, water",
         "why did the baker take a cake to the bath? || because it was a sponge.",
         "{who} had no soap, but the cake in the bath was a sponge."),
    _pun("beat", "eggs", "egg, breakfast, boiled, cook", "hard to beat, win, won, lose",
         "why did the egg win every game? || because it was boiled and hard to beat.",
         "a boiled egg for breakfast is hard to beat."),
    _pun("crack", "eggs", "egg, hen, shell, breakfast", "joke, laugh, funny",
         "why does nobody tell jokes to an egg? || because it might crack.",
         "{who} told the egg a joke, and it began to crack."),
    _pun("poach", "eggs", "egg, breakfast, cook", "hunter, forest, policeman, deer",
         "why did the policeman come for the cook? || because she had poached an egg."),
    _pun("stew", "cooking", "meat, pot, cook, dinner", "angry, worried, upset, wait",
         "why did the cook leave the angry guest alone? || because she wanted to let him stew."),
    _pun("season", "cooking", "salt, pepper, cook, soup", "year, winter, summer, autumn",
         "why does the cook use salt all year? || because he likes every season."),
    _pun("sage", "cooking", "herb, soup, cook", "wise, clever, old man, advice",
         "why did the cook ask the herb for advice? || because it was a sage."),
    _pun("stock", "cooking", "soup, cook, pot", "shop, sell, shelf, buy",
         "why did the cook buy the whole shop? || because he needed stock.",
         "the shop sold so much soup that it had no stock."),
    _pun("course", "cooking, inns", "dinner, soup, cook, inn", "captain, ship, sail, storm",
         "why did the captain get no soup at dinner? || because he was off course."),
    _pun("bowl", "cooking", "soup, cook, spoon, kitchen", "ball, team, cricket",
         "why did the cricket team want the cook? || because she could bowl."),
    _pun("beef", "butchers", "butcher, meat, cow", "quarrel, angry, complain, argue",
         "why did {who} quarrel with the butcher? || because {who.he} had some beef with him.",
         "{who} was not angry with the butcher, but there was some beef between them."),
    _pun("chop", "butchers", "butcher, meat, lamb", "axe, wood, tree",
         "why did the butcher go to the forest with an axe? || because somebody had ordered a chop."),
    # tea
    _pun("steep", "tea", "tea, cup, pot", "hill, climb, mountain",
         "why did {who} drink tea on the hill? || because {who.he} liked it steep.",
         "{who} made tea on the mountain, because there it was steep enough."),
    _pun("mug", "tea, thieves", "tea, cup, kitchen", "thief, police, policeman, robbed",
         "why did the tea call the police? || because it was mugged.",
         "a thief ran off with the tea, so it was mugged."),
    # kings and castles
    _pun("ruler", "kings", "king, queen, castle, crown", "measure, inch, inches, long",
         "why was the king exactly twelve inches long? || because he was a ruler.",
         "the queen likes to measure her castle, because she is a ruler."),
    _pun("crown", "kings, dentists", "king, queen, castle, gold", "dentist, tooth, teeth",
         "why did the king go to the dentist? || because he wanted a gold crown.",
         "the queen lost a tooth, but the dentist gave her another crown."),
    _pun("subject", "kings, school", "king, queen, castle", "school, lesson, teacher, learn",
         "why did the king like school? || because he could choose his own subjects."),
    _pun("page", "kings, books", "king, queen, castle, servant", "book, read, library, tear",
         "why did the king keep his servant in a book? || because he was only a page."),
    _pun("mail", "castles, letters", "knight, castle, armour, sword", "postman, letter, envelope",
         "why did the knight wait for the postman? || because she needed new mail."),
    _pun("draw", "painting", "picture, painter, pencil, paint", "football, team, game, win",
         "why did the painter love football? || because so many games end in a draw."),
    # painting
    _pun("coat", "painting, clothes", "paint, painter, wall, gate, brush", "winter, cold, warm, wear, wore",
         "why did the painter wear so much in [summer|the sun]? || because the wall needed two coats.",
         "the [wall|gate|house] was cold, so {who} gave it a coat of [green |blue |red |]paint."),
    _pun("frame", "painting, thieves", "picture, painting, wall", "prison, police, innocent, judge",
         "why did the picture go to prison? || because it was framed.",
         "the picture told the judge that it was innocent, but it was framed."),
    _pun("shade", "painting", "paint, painter, blue, green", "sun, hot, under the tree, cool",
         "why did the painter sit under the tree? || because she wanted a darker shade."),
    _pun("brush", "painting", "painter, paint, wall, picture", "teeth, dentist, hair",
         "why does the painter have such clean teeth? || because he always has a brush.",
         "the dentist loves the painter, because he brushes all day."),
    # letters and books
    _pun("stamp", "letters", "letter, envelope, postman", "foot, feet, floor, angry",
         "why did the angry postman put his foot on the letter? || because it needed a stamp.",
         "{who} was so angry about the letter that {who.he} stamped on it."),
    _pun("seal", "letters", "letter, envelope, king", "sea, fish, swim, beach",
         "why did the king take his letter to the beach? || because it needed a seal.",
         "{who} found a letter in the sea, and there was a seal on it."),
    _pun("post", "letters", "letter, postman, envelope", "fence, gate, wood, field",
         "why did {who} tie the letter to the fence? || because {who.he} wanted to send it by post."),
    _pun("letter", "letters, school", "postman, envelope, stamp", "alphabet, word, read, spell",
         "why did the postman learn the alphabet? || because he had lost some letters."),
    _pun("draft", "books", "writer, book, wrote, story", "cold, wind, window, door",
         "why was the writer so cold? || because there was a draft on the desk.",
         "{who} wrote a book by the open window, and there was always another draft."),
    _pun("cover", "books, sleep", "book, read, library", "cold, warm, bed, sleep",
         "why is a book never cold in bed? || because it has a good cover."),
    _pun("spine", "books, doctors", "book, library, read", "doctor, back, pain, bone",
         "why did the book go to the doctor? || because it had a pain in the spine."),
    _pun("volume", "books", "book, library, shelf", "loud, noise, music",
         "why was the library so loud? || because somebody turned up the volume."),
    _pun("sentence", "judges, books", "judge, prison, court, thief", "writer, word, book, wrote",
         "why did the writer stay in prison? || because she could not finish her sentence.",
         "the judge was a man of few words, but he gave a long sentence."),
    # judges and thieves
    _pun("case", "judges", "judge, court, thief", "travel, journey, pack, packed, holiday, shirts",
         "why did the judge travel without any shirts? || because he had lost his case.",
         "the judge could not pack for her journey, because she had lost her case."),
    _pun("court", "tennis, judges", "tennis, ball, game", "judge, thief, prison",
         "why does the judge play tennis every day? || because she likes to be in court.",
         "the thief played a lot of tennis, because he was always in court."),
    _pun("charge", "thieves", "thief, police, policeman", "pay, paid, free, nothing, price",
         "why did the thief pay nothing at the police station? || because there was no charge.",
         "the thief got a free night with the police, because there was no charge."),
    _pun("time", "thieves, clocks", "thief, prison, police", "clock, hour, minute",
         "why did the thief stay in prison after he stole a clock? || because he was doing time.",
         "the thief took every clock in the shop, and now he is doing time."),
    _pun("file", "thieves", "thief, prison, iron bars", "office, clerk, paper, desk",
         "why did the thief in prison write to an office? || because he needed a file."),
    _pun("hold", "clothes, thieves", "trousers, belt", "police, thief, prison, policeman",
         "why did the belt go to prison? || because it was seen holding up some trousers."),
    # clothes and shoes
    _pun("suit", "clothes, judges", "tailor, trousers, jacket", "judge, court, lawyer",
         "why did the tailor go to the judge? || because he had lost a suit.",
         "the tailor thanked the judge, because she had won the suit."),
    _pun("tie", "clothes", "tailor, shirt, neck", "game, win, won, race, team",
         "why did nobody win the game of the tailors? || because it ended in a tie.",
         "{who} wore {who.his} best shirt to the [race|game], and it ended in a tie."),
    _pun("press", "clothes", "shirt, trousers, tailor, jacket", "newspaper, news, writer",
         "why did {who} take {who.his} [shirt|trousers] to the newspaper? || because {who.he} needed the press."),
    _pun("thread", "clothes", "tailor, needle, sew, button", "story, talk, speech, lost",
         "why did the tailor stop in the middle of the story? || because she had lost the thread."),
    _pun("iron", "clothes", "shirt, trousers, clothes", "blacksmith, horseshoe, hammer, metal",
         "why is the shirt of the blacksmith so smooth? || because he works with an iron."),
    _pun("tongue", "shoes", "shoe, boot, shoe maker", "secret, talk, mouth, speak",
         "why can a shoe not keep a secret? || because it has a tongue.",
         "{who} told an old boot a secret, but it had a tongue."),
    _pun("foot", "shoes", "shoe, boot, sock, toe", "grow, grew, grown, inch, tall",
         "why did {who} buy a third shoe? || because {who.he} had grown another foot.",
         "{who} grew so fast that the shoe maker had to make a shoe for another foot."),
    # hair
    _pun("lock", "hair", "hair, barber, scissors, curl", "key, door, open",
         "why does the barber never need a key? || because she can cut any lock.",
         "the barber could not open his door, so he took the scissors to the lock."),
    _pun("part", "theatre, hair", "actor, theatre, stage, play", "barber, hair, comb",
         "why did the actor go to the barber? || because he wanted a better part.",
         "the barber looked at the actor and gave her a new part."),
    # theatre and dance
    _pun("play", "theatre", "actor, theatre, stage", "children, child, toys, grow",
         "why do actors never grow up? || because they play every [night|evening].",
         "the actor is like a child, because all day she wants to play."),
    _pun("stage", "theatre", "actor, theatre, play", "going through, child, grow, young",
         "why did the actor fall through the floor? || because it was a stage he was going through.",
         "the actor fell through the floor [last night|on Sunday], but it was only a stage she was going through."),
    _pun("cast", "theatre, doctors", "actor, theatre, play", "leg, arm, broke, broken, doctor",
         "why did the actor break her leg? || because she wanted to be in the cast.",
         "{who} broke {who.his} leg at the theatre, and now there is a cast."),
    _pun("wing", "theatre, birds", "theatre, actor, stage", "bird, fly, feather, nest",
         "why did the bird want to be an actor? || because it was used to waiting in the wings."),
    _pun("step", "dance", "dance, dancer, music", "ladder, stairs, climb",
         "why did the dancer buy a ladder? || because she wanted to learn new steps."),
    _pun("ball", "dance, football", "dance, princess, prince, dress", "football, goal, kick, team",
         "why was the princess so bad at football? || because she always ran away from the ball."),
    # music
    _pun("note", "music", "singer, song, sing, piano, music", "bank, money, pay",
         "why did the singer go to the bank? || because she had lost her notes."),
    _pun("key", "music", "piano, music, song", "door, lock, open, house",
         "why did {who} [take|bring|use] a piano to open the door? || because it had so many keys.",
         "{who} could not open the piano, because the keys were inside."),
    _pun("organ", "music, doctors", "church, music, piano, song", "doctor, heart, body",
         "why does the doctor play music in the church? || because he knows all about organs.",
         "the doctor listened to the music and said that the church had a healthy organ."),
    _pun("pitch", "music, football", "sing, sang, singer, song, music", "football, team, ball, goal",
         "why did the football team sing so badly? || because they could not find the pitch."),
    _pun("bar", "music, inns", "sing, sang, singer, song, music", "drink, drank, beer, inn",
         "why did the singer need a drink? || because [he|she] had gone through [ten|twenty] bars.",
         "{who} sang a few bars last night and had a drink in each of them."),
    _pun("band", "music", "music, song, drum, concert", "rubber, stretch, string",
         "why did {who} bring rubber to the music lesson? || because {who.he} wanted to start a band."),
    _pun("string", "music", "violin, guitar, music", "attached, free, parcel, tie, tied",
         "why was the violin free? || because there were no strings attached.",
         "{who} got a free violin, with no strings attached."),
    _pun("record", "music", "music, song, listen", "runner, race, fast, broke",
         "why did the runner stop the music? || because she had broken the record.",
         "{who} ran so fast to the music that {who.he} broke the record."),
    _pun("sharp", "music", "piano, song, sing, music", "knife, cut, blade, finger",
         "why did {who} cut {who.his} finger on the piano? || because one note was too sharp.",
         "the song about the knife was good, but it was too sharp."),
    _pun("flat", "bicycles, music", "bicycle, wheel, ride, rode", "sing, sang, song, singer, piano",
         "why did the singer get off her bicycle? || because everything was flat."),
    _pun("score", "football, music", "football, team, goal, ball", "music, piano, song",
         "why did the football team bring a piano? || because they wanted to know the score.",
         "the football team asked for music, because they had no score."),
    # trains, roads, bicycles, cars
    _pun("conductor", "trains, music", "train, ticket, station", "music, orchestra, concert",
         "why was there always music on the train? || because it had a good conductor."),
    _pun("train", "trains", "station, railway, ticket", "runner, race, athlete, strong",
         "why did the runner live at the station? || because he had to train every day."),
    _pun("track", "trains", "railway, train, station", "lost, hours, time",
         "{who} worked on the railway for so long that {who.he} lost track.",
         "why was the railway worker always late? || because he lost track of the time."),
    _pun("coach", "football, roads", "football, team, goal", "horse, wheel, road, travel",
         "why did the football team travel with four horses? || because they needed a new coach."),
    _pun("fork", "roads", "road, street, walk", "dinner, eat, ate, spoon, soup",
         "why did {who} eat {who.his} dinner in the middle of the road? || because {who.he} came to a fork."),
    _pun("cross", "roads", "street, road", "angry, shout, happy, mood",
         "why did {who} get angry in the middle of the street? || because the sign said to cross.",
         "{who} was happy on one side of the road, but the sign said to cross."),
    _pun("park", "roads", "tree, bench, grass, pond", "cart, car, wheel, drive",
         "why did {who} leave the cart under the trees? || because the sign said that it was a park."),
    _pun("spoke", "bicycles", "bicycle, wheel, ride", "silent, word, quiet, talk",
         "why was the bicycle never silent? || because its wheels always spoke.",
         "the wheel was quiet for a year, and then it spoke."),
    _pun("exhaust", "cars", "car, motor, engine", "tired, sleep, slept, bed",
         "why did the car sleep so long? || because it was exhausted.",
         "the car drove all night, and in the morning it went to bed exhausted."),
    # clocks
    _pun("hand", "clocks", "clock, hour, tower", "help, finger, glove, carry",
         "why did {who} ask the clock for help? || because it always has a hand free.",
         "the clock helped {who.obj} with the [work|dishes], because it had two hands."),
    _pun("face", "clocks", "clock, hour, tower", "wash, mirror, smile, cry",
         "why did the clock look in the mirror? || because it had something on its face."),
    _pun("second", "clocks", "clock, minute, hour", "hungry, dinner, plate, eat",
         "why did the hungry clock go to the kitchen again? || because it wanted seconds.",
         "a hungry clock always goes back for a second plate of dinner."),
    _pun("tick", "clocks, dogs", "clock, watch, hour", "dog, fur, insect",
         "why did the dog run away from the clock? || because it was full of ticks."),
    _pun("strike", "clocks", "clock, noon, midnight, bell", "work, worker, pay, boss",
         "why did the clock stop work at [noon|midnight]? || because it wanted to strike.",
         "the clock wanted more pay, so at noon it went on strike."),
    _pun("watch", "clocks", "clock, gold, wrist, hour", "guard, look, eye, see",
         "why did the guard look at the clock all night? || because he had to watch."),
    # lamps, fire, houses
    _pun("light", "lamps", "lamp, candle, dark", "carry, heavy, weigh, lift",
         "why could {who} carry the lamp with one finger? || because it was light.",
         "the lamp looked heavy, but it was light."),
    _pun("bright", "lamps, school", "lamp, light, sun, dark glasses", "clever, school, teacher, pupil",
         "why did the teacher wear dark glasses? || because the children were so bright.",
         "the school does not need a lamp, because the children are so bright."),
    _pun("match", "football, fire", "football, team, game, goal", "fire, candle, lamp, burn",
         "why did {who} take a candle to the football game? || because {who.he} had heard about a match."),
    _pun("fire", "fire", "stove, smoke, oven, flame", "job, boss, work",
         "why did the old stove lose its job? || because it was time to fire it."),
    _pun("poker", "games, fire", "cards, game, win", "fire, stove, coal, smoke",
         "why did {who} take the cards to the fire? || because {who.he} found a poker there.",
         "{who} won at cards by the stove, because {who.he} had a poker."),
    _pun("leg", "houses", "table, chair, wood", "walk, run, shoe, race",
         "why did the table lose the race? || because its legs were made of wood."),
    _pun("flight", "houses", "stairs, upstairs, climb", "pilot, bird, plane, wing",
         "why did the pilot take the stairs? || because she never missed a flight."),
    # school and witches
    _pun("pupil", "school", "school, teacher, lesson", "eye, glasses, look, see",
         "why did the eye doctor work in a school? || because he liked to look at pupils."),
    _pun("table", "school, carpenters", "school, number, teacher, lesson", "carpenter, wood, chair, leg",
         "why was the carpenter so good with numbers? || because she knew all her tables.",
         "the teacher asked the carpenter for numbers, and he made a table."),
    _pun("pass", "school, football", "school, teacher, test, lesson", "football, ball, team, goal",
         "why did the football player do so well at school? || because she knew how to pass."),
    _pun("spell", "witches, school", "witch, magic, broom", "word, teacher, school, write",
         "why was the witch so good at school? || because she knew how to spell.",
         "the teacher asked the witch for a long word, because she could spell."),
    # carpenters
    _pun("box", "carpenters", "carpenter, wood, lid", "fight, fist, ring, gloves",
         "why did the carpenter win the fight? || because he knew how to box.",
         "{who} learned to fight from a carpenter, because {who.he} wanted to box."),
    _pun("nail", "carpenters", "carpenter, hammer, wood", "finger, bite, bit, hand",
         "why did the carpenter break a tooth? || because she bit her nails."),
    _pun("saw", "carpenters", "carpenter, wood, tree", "eye, glasses, look, blind",
         "why did the carpenter need no glasses? || because what he wanted, he saw.",
         "the carpenter looked at the tree, and then he saw."),
    _pun("plane", "carpenters", "carpenter, wood, board", "fly, pilot, sky",
         "why did the carpenter learn to fly? || because she already had a plane."),
    _pun("stick", "carpenters, dogs", "wood, brown, tree, dog", "sticky, glue, honey",
         "what is brown and sticky? || a stick.",
         "{who} needed no glue for the wood, because it was a stick."),
    # dentists and doctors
    _pun("drill", "dentists", "dentist, tooth, teeth", "soldier, army, march",
         "why was the soldier not afraid of the dentist? || because he knew the drill."),
    _pun("filling", "dentists, baking", "dentist, tooth, teeth", "cake, baker, pie",
         "why did the baker go to the dentist? || because his cake had no filling.",
         "the dentist makes a good pie, because he knows all about the filling."),
    _pun("bridge", "dentists, rivers", "dentist, tooth, teeth", "river, cross, boat",
         "why did the dentist go down to the river? || because she had heard about a new bridge.",
         "the dentist looked at the river and said that it needed a bridge."),
    _pun("shot", "doctors", "doctor, arm, needle, nurse", "hunter, gun, deer, forest",
         "why was the hunter afraid of the doctor? || because she wanted to give him a shot."),
    _pun("cold", "doctors, winter", "doctor, cough, nose, sneeze", "snow, snowman, winter, ice",
         "why did the snowman go to the doctor? || because he had a cold.",
         "the doctor does not go out in the snow, because she does not want to catch a cold."),
    _pun("chest", "pirates, doctors", "pirate, gold, treasure, key", "doctor, cough, heart, pain",
         "why did the pirate go to the doctor? || because he had a pain in his chest.",
         "the doctor listened to the pirate and found gold in his chest."),
    # sport
    _pun("racket", "tennis", "tennis, ball, game", "loud, noise, sleep, quiet",
         "why is tennis such a loud game? || because every player makes a racket.",
         "{who} could not sleep next to the tennis field, because of the racket."),
    _pun("goal", "football", "football, team, ball", "dream, life, plan, wish",
         "why did {who} give {who.his} life to football? || because {who.he} wanted to reach a goal.",
         "{who} dreamed of football all {who.his} life, and at last {who.he} reached {who.his} goal."),
    _pun("fan", "football", "football, team, goal, game", "wind, windy, cool, hot, air",
         "why was it so windy at the football game? || because there were so many fans.",
         "it was hot at the football game, but the team had a lot of fans."),
    _pun("bat", "cricket", "cricket, team, ball", "cave, night, dark, wings",
         "why did the cricket team look in the dark cave? || because they needed a bat."),
    _pun("cricket", "cricket", "team, ball, game, bat", "insect, grass, sing",
         "why did the insect join the team? || because it was a cricket."),
    # parties, weddings, games
    _pun("punch", "parties", "party, drink, guest, birthday", "boxer, fight, fist, nose",
         "why did the boxer enjoy the party? || because there was a lot of punch."),
    _pun("ring", "weddings", "wedding, bride, marry, gold", "boxer, fight, bell, gloves",
         "why did the boxer like his wedding? || because there was a ring.",
         "the boxer and his bride never fight, but they have a ring."),
    _pun("toast", "weddings, baking", "wedding, bride, wine, guest", "bread, butter, baker, breakfast",
         "why did the baker bring bread to the wedding? || because somebody had asked for a toast.",
         "there was no wine at the wedding, so {who} took some bread and made a toast."),
    _pun("mate", "games", "chess, king, game", "friend, lonely, alone, love",
         "why did the lonely man play chess? || because he wanted to find a mate.",
         "{who} was lonely, so {who.he} played chess until there was a mate."),
    _pun("pawn", "games", "chess, king, game", "shop, money, poor, sell",
         "why did the poor man take his chess game to the shop? || because he had something to pawn."),
    _pun("top", "games, mountains", "toy, child, spin", "mountain, climb, hill",
         "why did the child take a toy up the mountain? || because it was a top."),
    _pun("rock", "mountains, music", "mountain, stone, hill, climb", "music, band, song, concert",
         "why did the band climb the mountain? || because they loved rock.",
         "the music on the mountain was good, because it was rock."),
    # weather, winter and the sky
    _pun("hail", "weather", "storm, weather, ice, rain", "taxi, driver, cab",
         "why did the taxi stop in the storm? || because there was hail."),
    _pun("shower", "weather", "rain, weather, cloud", "soap, wash, bath, dirty",
         "why did {who} take soap into the rain? || because {who.he} wanted a shower."),
    _pun("degree", "weather, school", "sun, hot, weather, warm", "school, study, learn, student",
         "why did the sun never go to school? || because it already had a thousand degrees."),
    _pun("spring", "sleep, weather", "bed, mattress, sleep, slept", "winter, snow, summer, flower",
         "why did {who} sleep [badly|so badly] all winter? || because there was no spring in the bed."),
    _pun("ice", "winter", "winter, lake, skate, frozen, cold", "shy, friend, meet, talk",
         "why did {who} take an axe to meet {who.his} new friends? || because in winter somebody has to break the ice.",
         "{who} was shy, but on the [frozen |winter ]lake {who.he} broke the ice."),
    _pun("cool", "winter", "snow, snowman, winter, ice", "popular, friend, children, like",
         "why is the snowman so popular? || because he is cool.",
         "all the children like the snowman, because he is so cool."),
    _pun("drift", "winter", "snow, winter, wind", "talk, talked, understand, understood, story",
         "why did nobody understand the story about the snow? || because they did not get the drift.",
         "{who} talked about the snow for an hour, but nobody got the drift."),
    _pun("star", "stars", "sky, night, moon", "actor, theatre, famous, stage",
         "why is the night sky like a theatre? || because the stars come out in the evening."),
    _pun("phase", "the moon", "moon, sky, night", "going through, child, grow, young",
         "why does the moon look so thin? || because it is going through a phase.",
         "the moon may look like a child, but it is only going through a phase."),
    _pun("quarter", "the moon, money", "moon, sky, night", "bank, money, coin, pay",
         "why did the moon go to the bank? || because it was down to its last quarter.",
         "the moon has no money, because it is down to its last quarter."),
    _pun("full", "the moon", "moon, sky, night", "dinner, hungry, eat, ate",
         "why did the moon not eat its dinner? || because it was full."),
    # sleep and ghosts
    _pun("sheet", "sleep, books", "bed, sleep, slept, pillow", "paper, write, writer, wrote",
         "why did the writer work in bed? || because she needed a clean sheet.",
         "{who} wrote all night in bed, because {who.he} had a clean sheet."),
    _pun("down", "sleep, birds", "pillow, goose, feather, bed", "sad, cheer, happy, mood",
         "why was the goose so sad? || because it was full of down."),
    _pun("spirit", "ghosts, inns", "ghost, haunted, grave", "inn, drink, bottle, wine",
         "why did the ghost go to the inn? || because it liked the spirits.",
         "the ghost at the inn never pays for a drink, because it is a spirit."),
    _pun("medium", "ghosts, clothes", "ghost, spirit, haunted", "small, large, size, shirt",
         "why did the ghost not want a large shirt? || because it was looking for a medium."),
    _pun("grave", "ghosts", "ghost, church, dead, haunted", "serious, smile, laugh, joke",
         "why does the ghost never laugh? || because its home is so grave.",
         "the ghost told {who.obj} a joke, but its face was grave."),
)

PUNS: dict[str, Pun] = {pun.word: pun for pun in _ENTRIES}

# The same topics without a joke: what a reward model must tell from a pun, in the same frames.
PLAIN: dict[str, tuple[str, ...]] = {
    "banks": ("the bank opens at [eight|nine|ten] and closes at [four|five].",
              "why did {who} go to the bank? || because {who.he} needed [some money|twenty coins]."),
    "money": ("{who} counted {who.his} money and put it back into {who.his} [purse|pocket].",
              "why did {who} need money? || because {who.he} wanted to buy [a lamp|a coat|new shoes]."),
    "rivers": ("the river is [deep|cold|wide] near the old mill.",
               "{who} walked along the river [until noon|until it was dark]."),
    "water": ("the water in the bucket was [cold|clean|warm].",
              "why did {who} carry water to the garden? || because the roses were dry."),
    "swimming": ("{who} learned to swim in the lake [last summer|as a child].",
                 "the children swim in the lake every [morning|evening]."),
    "the sea": ("the sea was [grey|calm|blue] this morning.",
                "why did {who} walk down to the sea? || because {who.he} liked the fresh air."),
    "fishing": ("{who} went fishing on [Monday|Sunday] and came home with two small fish.",
                "why did the fisherman get up at four? || because the boats leave early."),
    "fish": ("{who} bought [two|three|four] fish for the soup.", "most fish in this lake are [small|brown|grey]."),
    "shoes": ("{who} cleaned {who.his} [brown|black|old] shoes on Sunday.",
              "why did {who} need new shoes? || because the old ones were too small."),
    "boats": ("the boat comes back to the harbour at [six|seven|noon].",
              "why did the boat stay in the harbour? || because the wind was too strong."),
    "trees": ("there are [five|six|seven] tall trees behind the school.",
              "{who} sat under a tree and read until [noon|the evening]."),
    "forests": ("the forest begins behind the [mill|farm|church].",
                "{who} walked through the forest with {who.his} dog."),
    "gardens": ("{who} worked in the garden until [noon|it was dark].",
                "why did the gardener go home early? || because it began to rain."),
    "farms": ("the farm lies between the river and the [mill|forest].",
              "{who} helped on the farm [in summer|for two weeks]."),
    "goats": ("the goat gives [a lot of|very little] milk.",
              "why did {who} buy a goat? || because {who.he} liked goat cheese."),
    "sheep": ("the sheep stay on the hill until [autumn|the evening].", "{who} counted the sheep and closed the gate."),
    "pigs": ("the farmer has [five|ten|twelve] pigs.", "{who} gave the pigs some [apples|potatoes|old bread]."),
    "cows": ("the cows come home at [five|six].", "why did {who} get up at five? || because the cows were waiting."),
    "horses": ("the [brown|white|old] horse belongs to the miller.", "{who} gave the horse an apple and some water."),
    "weddings": ("the wedding is on [Saturday|Sunday] at the old church.",
                 "why did {who} buy flowers? || because there was a wedding in the village."),
    "dogs": ("the dog of the [baker|miller|teacher] is [brown|white|black].",
             "{who} took the dog for a long walk by the river."),
    "birds": ("the birds fly south in [autumn|October].", "{who} saw [two|three|many] birds on the roof."),
    "bees": ("the bees fly from flower to flower [all day|all summer].", "{who} bought a jar of honey at the market."),
    "fruit": ("{who} bought [apples|pears|plums] and put them in a basket.", "the fruit is cheap this [week|month]."),
    "the market": ("the market is open on [Monday|Friday|Saturday].",
                   "why did {who} go to the market? || because {who.he} needed [apples|bread|potatoes]."),
    "inns": ("the inn has [six|eight|ten] rooms and a small garden.",
             "{who} slept at the inn and left after breakfast."),
    "tennis": ("{who} played tennis with a friend on [Friday|Saturday].", "the tennis lesson begins at [three|four]."),
    "baking": ("the baker makes [fifty|sixty|a hundred] loaves of white bread.",
               "why did {who} go to the baker? || because {who.he} wanted fresh bread."),
    "eggs": ("{who} bought [six|ten|twelve] eggs from the farmer.", "the eggs are in the basket by the door."),
    "cooking": ("{who} cooked soup for [two|four|six] people.",
                "why did the cook buy onions? || because they were good and cheap."),
    "butchers": ("the butcher closes at [five|six] on Saturday.", "{who} bought meat from the butcher for the feast."),
    "tea": ("{who} drank [a cup|two cups] of tea and went to bed.", "the tea is in the blue tin in the kitchen."),
    "kings": ("the old king had [two|three|four] sons.", "the king lived in the north of the country."),
    "castles": ("the castle is [three|four|six] hundred years old.", "{who} visited the castle with {who.his} class."),
    "painting": ("{who} painted the [gate|door|fence] [green|white|blue].",
                 "why did {who} buy blue paint? || because the door looked old."),
    "letters": ("{who} wrote a long letter to {who.his} mother.", "the postman comes at [nine|ten|eleven]."),
    "books": ("{who} borrowed [two|three] books from the library.",
              "why did {who} go to the library? || because {who.he} wanted to read."),
    "judges": ("the judge lives in the white house by the [park|church].",
               "{who} met the judge on the way to the [market|harbour]."),
    "thieves": ("the thief took a [lamp|clock|basket] and ran away.",
                "the police found the thief behind the [mill|station]."),
    "clothes": ("{who} washed {who.his} shirts and [trousers|socks] on Monday.",
                "the tailor made a [grey|blue|black] jacket."),
    "hair": ("{who} went to the barber on [Tuesday|Friday].", "the barber has [red|grey|brown] hair."),
    "theatre": ("the theatre opens at [seven|eight].", "{who} went to the theatre with {who.his} friends."),
    "dance": ("the dance begins at [seven|eight] in the town hall.",
              "{who} danced with {who.his} friends all evening."),
    "music": ("{who} listened to music until [nine|ten|late].",
              "why did {who} learn the piano? || because {who.his} mother had one."),
    "bicycles": ("{who} rode {who.his} bicycle to the [harbour|station|market].",
                 "the [red|green|old] bicycle is cheap."),
    "football": ("the football team won on [Saturday|Sunday].",
                 "{who} watched the football game with {who.his} friends."),
    "trains": ("the train leaves at [seven|eight|nine].",
               "why did {who} miss the train? || because {who.he} got up too late."),
    "roads": ("the road to the harbour is [narrow|long|new].", "{who} walked along the road to the [farm|mill]."),
    "cars": ("the doctor has a [red|grey|small] car.", "{who} washed the car on [Saturday|Sunday]."),
    "clocks": ("the clock on the church is [two|five|ten] minutes slow.", "{who} bought a clock for the kitchen."),
    "lamps": ("the lamp stands next to the [window|bed|door].", "{who} lit the lamp when it got dark."),
    "fire": ("{who} made a fire in the stove.", "the fire in the kitchen went out at [nine|ten]."),
    "games": ("{who} played chess with a neighbour [on Sunday|after dinner].",
              "the children play cards when it rains."),
    "houses": ("the house has [two|three|four] windows and a green door.",
               "{who} moved into a small house near the [park|station]."),
    "school": ("school begins at [eight|nine] and ends at [noon|one].",
               "why did {who} walk to school? || because it was near."),
    "witches": ("the witch in the story lives in a small hut.", "{who} read a story about a [good|bad|young] witch."),
    "carpenters": ("the carpenter made a [chair|shelf|door] for {who.obj}.",
                   "{who} asked the carpenter about the price of a shelf."),
    "dentists": ("{who} has to see the dentist on Monday.", "the dentist has a house near the [park|school]."),
    "doctors": ("the doctor comes to the village on [Monday|Friday].",
                "why did {who} call the doctor? || because {who.he} felt weak."),
    "pirates": ("the pirate in the story has a [black|red] hat.", "{who} read a book about pirates."),
    "cricket": ("the cricket game ended at [five|six].", "{who} watched the cricket team on Sunday."),
    "parties": ("the party begins at [six|seven|eight].", "{who} made a cake for the party."),
    "mountains": ("the mountain is white until [April|May|June].",
                  "{who} climbed the mountain in [three|four|five] hours."),
    "weather": ("the weather was [cold|warm|bad|fine] all week.",
                "why did {who} stay at home? || because the weather was bad."),
    "sleep": ("{who} slept until [eight|nine|noon].", "why did {who} go to bed early? || because {who.he} was tired."),
    "winter": ("the winter was long and [cold|dark|white].", "{who} wore a warm coat all winter."),
    "stars": ("the stars are easy to see from the [hill|beach|roof].", "{who} counted the stars and fell asleep."),
    "the moon": ("the moon came up behind the [hill|forest|church].", "{who} looked at the moon for a long time."),
    "ghosts": ("the children say that a ghost lives in the [mill|castle|tower].", "{who} read a book about a ghost."),
}

# ---------------------------------------------------------------- schemas

# Openers keep to what every core can follow. A question may be put by somebody; a statement may be reported.
_ASKERS = "my neighbour|my teacher|the old captain|a friend of mine"
_ASK = (f"[~9|tell me, ~2|so |now then, |quick: |here is one: |an old one: "
        f"|[{_ASKERS}] [asks|asked|wants to know]: ~3|{{teller}} [asks|asked|wants to know]: ~4]")
_ANSWER = "[~6|well, |easy: |that is easy: ]"
_SAY = (f"[~9|they say that ~2|people say that |everybody knows that |believe it or not, |at the market they say that "
        f"|[{_ASKERS}] says that ~3|{{teller}} [says|told me] that ~4]")

_FAMILY = (("my uncle", "he"), ("my aunt", "she"), ("my brother", "he"), ("my sister", "she"), ("my grandfather", "he"),
           ("my grandmother", "she"))
_PRONOUNS = {"he": ("him", "his"), "she": ("her", "her")}
_I_WEIGHT, _FAMILY_WEIGHT, _PEOPLE_WEIGHT = 12.0, 4.0, 40.0


def _tellers() -> list:
    """Return the (entity, weight) pairs a joke is about: `I`, the family and the town's people.

    Forms: `he him his` as for persons, and `obj`, the name where it is no subject ("hit me on the head").
    """
    pairs = [(Entity("I", "joker", {"he": "I", "him": "me", "his": "my", "obj": "me"}), _I_WEIGHT)]
    for name, he in _FAMILY:
        him, his = _PRONOUNS[he]
        pairs.append((Entity(name, "joker", {"he": he, "him": him, "his": his, "obj": name}), _FAMILY_WEIGHT))
    total = sum(weight for _, weight in LEXICON["person"])
    for person, weight in LEXICON["person"]:
        forms = {form: person.forms[form] for form in ("he", "him", "his")}
        pairs.append((Entity(person.name, "joker", {**forms, "obj": person.name}), weight / total * _PEOPLE_WEIGHT))
    return pairs


def _framed(core: str) -> str:
    """Return the core with the openers of its kind in front."""
    question, _, answer = core.partition(" || ")
    return f"{_ASK}{question} || {_ANSWER}{answer}" if answer else _SAY + core


def _schema(word: str, topic: str, kind: str, cores: list[str], weight: float, kinds: dict) -> Schema:
    facts = {"word": {word: 1.0}, "topic": {topic: 1.0}, "kind": {kind: 1.0}}
    beats = [Beat(kind, [_framed(core) for core in cores])]
    return Schema(f"joke {kind} {word or topic}", {"who": "joker", "teller": "person"}, beats, weight, facts, kinds)


def _schemas() -> list[Schema]:
    """Return a schema for each (word, kind) and one for each topic's plain statements.

    Weights: the first word of a topic is told three times as often as the third (the world repeats its jokes); a
    quarter of the texts is plain.
    """
    kinds = {"joker": _tellers()}
    schemas = []
    for pun in PUNS.values():
        siblings = [other.word for other in PUNS.values() if other.topic == pun.topic]
        weight = 3.0 / (1 + siblings.index(pun.word)) if siblings.index(pun.word) < 3 else 1.0
        for kind in ("qa", "oneliner"):
            cores = [core for core in pun.cores if (" || " in core) == (kind == "qa")]
            if cores:
                schemas.append(_schema(pun.word, pun.topic, kind, cores, weight, kinds))
    plain = sum(schema.weight for schema in schemas) / 3 / len(PLAIN)
    return schemas + [_schema("", topic, "plain", list(cores), plain, kinds) for topic, cores in PLAIN.items()]


SCHEMAS: list[Schema] = _schemas()
TOPICS: dict[str, list[str]] = {
    topic: [pun.word for pun in PUNS.values() if topic == pun.topic or topic in pun.also] for topic in PLAIN}


def generate(draw: Draw, topic: str | None = None, kind: str | None = None) -> Document:
    """Draw one joke or plain statement, about `topic` and of `kind` ("qa", "oneliner", "plain") if they are given.

    Facts: word ("" if plain), topic, kind, who the text names, and `telling`, the text: a joke is its wording, so the
    held-out splits are made of tellings, not of whole words.
    """
    if topic is not None and topic not in TOPICS:
        raise ValueError(f"unknown topic {topic!r}: expected one of {', '.join(TOPICS)}")
    schemas = [schema for schema in SCHEMAS if _about(schema, topic) and (kind is None or kind in schema.facts["kind"])]
    if not schemas:
        raise ValueError(f"no joke of kind {kind!r} about {topic!r}: expected qa, oneliner or plain")
    telling = tell(draw.pick(schemas, [schema.weight for schema in schemas]), draw)
    facts = {**telling.record(), "telling": telling.text}
    if topic is not None:
        facts["topic"] = topic  # a word may serve several topics
    return Document("joke", [telling.text], facts)


def _about(schema: Schema, topic: str | None) -> bool:
    """Return True if the schema tells of `topic`: its own, or one that its word serves besides."""
    return topic is None or topic in schema.facts["topic"] or bool(set(TOPICS[topic]) & set(schema.facts["word"]))


# ---------------------------------------------------------------- the gold score

def _forms(word: str) -> list[str]:
    """Return a word and its regular inflections (plural, -ed, -ing; some that do not exist and so do no harm)."""
    stem = word[:-1] if word.endswith("e") else word
    forms = [word, word + "s", word + "es", stem + "ed", stem + "ing", word + word[-1] + "ed", word + word[-1] + "ing"]
    return forms + [word[:-1] + "ies"] if word.endswith("y") else forms


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern:
    """Return a pattern that finds any of the phrases; the last word of a phrase may be inflected."""
    found = []
    for phrase in phrases:
        *front, last = phrase.split(" ")
        found.append(" ".join(front + ["(?:" + "|".join(_forms(last)) + ")"]))
    return re.compile(r"\b(?:" + "|".join(found) + r")\b")


def pun_score(text: str, topic: str) -> float:
    """Return the gold score of `text` as a pun about `topic`, in [0, 1].

        score = cues * shape
        cues  = 1 if the text holds a two-sense word of the topic and cues of both of its senses,
                0.4 with cues of one, else 0
        shape = 1 if the text has 4 to 40 words and ends with . ! or ?, else 0.5

    The best word counts. A topic that is not in `TOPICS` scores 0. Case does not matter.
    The syntax is not read: whether words in a heap are a joke is for the parser of `SCHEMAS` to say.
    """
    lowered = text.strip().lower()
    words = len(re.findall(r"[a-z']+", lowered))
    shape = 1.0 if 4 <= words <= 40 and lowered.endswith((".", "!", "?")) else 0.5
    best = 0.0
    for word in TOPICS.get(topic.strip().lower(), ()):
        pun = PUNS[word]
        if _pattern((word,)).search(lowered):
            senses = bool(_pattern(pun.sense_a).search(lowered)) + bool(_pattern(pun.sense_b).search(lowered))
            best = max(best, (0.0, 0.4, 1.0)[senses])
    return best * shape
