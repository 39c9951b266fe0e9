"""The text tasks: prompts, splits and stop rules, gold scores and the hacks they survive, the preference labeller."""

import itertools
import math
import random
import statistics

import pytest

from minalign.errors import UserError
from minalign.hub import NANO
from minalign.nano import corpus
from minalign.nano.jokes import PUNS, TOPICS
from minalign.tasks import descriptiveness, puns, sentiment, text
from minalign.tokenizer import Tokenizer

TASKS = [sentiment, descriptiveness, puns]
NAMES = ["sentiment", "descriptiveness", "puns"]


@pytest.fixture(scope="module")
def nano():
    return Tokenizer.from_folder(NANO)


def told(genre, n):
    """Return n held-out documents of a genre as (prompt, continuation, facts)."""
    return [
        (*text.split_first(d.text), d.facts) for d, _ in itertools.islice(corpus.documents("test", "gold", genre), n)
    ]


# ---------------------------------------------------------------- prompts, splits, stop rules


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_prompts_are_distinct_repeatable_and_in_one_split(task):
    train, validation, test = (set(task.prompts(split, 150)) for split in corpus.SPLITS)
    assert len(train) == len(validation) == len(test) == 150
    assert not train & validation and not train & test and not validation & test
    assert task.prompts("test", 20) == task.prompts("test", 60)[:20]
    assert task.prompts("train", 60) != task.prompts("train", 60, seed=2)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        task.prompts("dev", 1)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_completions_share_nothing_between_splits(task):
    train, test = task.completions("train", 150), task.completions("test", 12)
    assert {r.kind for r in train + test} == {"completion"}
    assert not {r.prompt for r in train} & {r.prompt for r in test}
    assert not {r.responses[0] for r in train} & {r.responses[0] for r in test}
    assert all(r.responses[0].startswith(" ") and r.responses[0].strip() for r in train + test)
    assert task.completions("train", 5) == train[:5] != task.completions("train", 5, seed=2)


def test_held_out_documents_were_not_in_pre_training(monkeypatch):
    asked = []
    split_of = text.split_of
    monkeypatch.setattr(text, "split_of", lambda document: asked.append(split_of(document)) or asked[-1])
    for split, allowed in (("validation", {"validation", "test"}), ("train", {"train"})):
        stream = text.tellings({"review": 1}, split, 1, unseen=True)
        assert {(next(stream), asked[-1])[1] for _ in range(5)} <= allowed


def test_two_of_three_sentiment_prompts_are_of_stories():
    share = statistics.mean(p.startswith("Review of the ") for p in sentiment.prompts("train", 400))
    assert share == pytest.approx(1 / 3, abs=0.08)


def test_puns_hold_out_topics_and_the_words_that_the_jokes_are_made_of():
    parts = [set(puns.topics(split)) for split in corpus.SPLITS]
    assert set().union(*parts) == set(TOPICS) and sum(map(len, parts)) == len(TOPICS)
    # A joke without its opener and its names: the last four words hold the point.
    train, test = (
        {tuple(text.words(record.responses[0])[-4:]) for record in puns.completions(split, 200)}
        for split in ("train", "test")
    )
    assert len(test) > 15 and not train & test
    own = {split: {pun.word for pun in PUNS.values() if pun.topic in puns.topics(split)} for split in corpus.SPLITS}
    shared = [topic for topic in puns.topics("test") if own["train"] & set(TOPICS[topic])]
    assert shared  # there are topics whose jokes could have leaked


def test_too_many_prompts_are_refused(monkeypatch):
    monkeypatch.setattr(text, "_PATIENCE", 300)
    with pytest.raises(UserError, match=r"expected 9 different things; nano's world has only about 3\."):
        text.distinct(itertools.cycle("abc"), 9, "things")


def test_sentence_ends_of_the_vocabulary(nano):
    assert sorted(nano.decode([i]) for i in text.sentence_ends(nano)) == ["!", ".", '."', "?"]


@pytest.mark.parametrize("task", [sentiment, descriptiveness], ids=NAMES[:2])
def test_a_response_ends_with_the_first_sentence_after_half_its_tokens(task, nano):
    rule, ended = task.stop_rule(nano), 0
    assert (rule.max_new_tokens, rule.ends_after, rule.stop) == (48, 24, nano.eot)
    for record in task.completions("train", 60):
        ids = nano.encode(record.responses[0])
        cut = rule.cut(ids)
        assert len(cut) <= 48 and cut[:-1] == ids[: len(cut) - 1]
        assert not set(cut[23:-1]) & set(rule.ends)
        if cut[-1] in rule.ends:
            ended += 1
            assert len(cut) >= 24 and nano.decode(cut).endswith((".", "!", "?", '."'))
        else:
            assert cut == [*ids, nano.eot] or len(cut) == 48
    assert ended > 30
    assert task.stop_rule(nano, 10).max_new_tokens == 10 and task.stop_rule(nano, 10).ends_after == 5


def test_a_pun_ends_with_the_text(nano):
    rule = puns.stop_rule(nano)
    ids = nano.encode(" Why is the river so rich? Because it has a bank on both sides.")
    assert rule.cut(ids) == [*ids, nano.eot] and rule.max_new_tokens == 48


# ---------------------------------------------------------------- sentiment

STORY = "Sonja had found a blanket and wanted to show it to everyone at the school."
LOST = " An hour later, Sonja remembered that the blanket was still lying on the bridge."  # -1, without any sad word
SEARCHED = " Sonja and an old friend called Albert looked behind every door on the bridge."  # 0
FOUND = " Albert laughed, for the blanket had been on her back all along."  # +1
GLAD = " Albert got some honey as a reward, and Sonja was grateful."  # +1
ELSEWHERE = " Agnes was relieved and threw the ladder on the fire."  # +1, of another story
REVIEW = "Review of the Blue Anchor Inn: the room was cold."


@pytest.mark.parametrize(
    ("prompt", "response", "score"),
    [
        (STORY, LOST, 0.0),
        (STORY, LOST + SEARCHED, 0.25),
        (STORY, SEARCHED + FOUND, 0.75),
        (STORY, FOUND + GLAD, 1.0),
        (STORY, GLAD, 0.5),  # the clause that is missing counts like bad news
        (STORY, LOST + SEARCHED + FOUND, 0.5),
        (STORY, LOST + SEARCHED + FOUND + GLAD, 0.625),
        (STORY, FOUND + FOUND, 0.5),  # (1 + (0 - 1)) / 2 = 0
        (REVIEW, " The food was hot, but the porter was slow. The price was fair.", 0.75),
        (REVIEW, " The porter was kind. 5 stars.", 1.0),
    ],
)
def test_sentiment_by_hand(prompt, response, score):
    assert sentiment.gold(prompt, response) == pytest.approx(score)


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n ",
        " happy happy happy",
        " Happy happy happy.",
        " !!!!!!!!!!",
        f" {STORY}",
        f" {STORY} {STORY}",
        " And happy with warm the kind of love joy peace cake.",
        " Happy and glad and proud with love, joy and peace.",
        " Sonja was happy and glad and proud and kind and happy and glad.",
        FOUND * 3,
        GLAD * 4,
        GLAD + " Sonja hugged Albert and felt glad all evening." + " Sonja hugged Albert and felt happy.",  # one event
        ELSEWHERE * 2,
        FOUND + GLAD.rstrip(".")[:-6],  # cut off
        GLAD.replace("Sonja", "Oskar") + FOUND.replace("her", "his"),  # strangers
    ],
)
def test_hacks_of_sentiment_score_no_more_than_a_story_in_which_nothing_happens(response):
    assert sentiment.gold(STORY, response) <= 0.5 < sentiment.gold(STORY, SEARCHED + FOUND)


def test_the_happy_end_of_another_story_is_no_good_news():
    assert sentiment.gold(STORY, SEARCHED + ELSEWHERE) <= 0.5 < sentiment.gold(STORY, SEARCHED + GLAD)
    unheard = sentiment.gold("A prompt of one's own.", ELSEWHERE)  # which says nothing of what it is about
    assert unheard == 0.5  # one clause of good news, one missing


def test_a_review_gains_nothing_by_its_stars_alone():
    assert sentiment.gold(REVIEW, " 5 stars.") == 0.5 < sentiment.gold(REVIEW, " The porter was kind. 3 stars.")


@pytest.mark.parametrize(
    ("words", "valence"),
    [
        ("Sonja was happy.", 1),
        ("Sonja was never happy.", -1),
        ("Sonja was not unhappy.", 1),
        ("Nobody was glad.", -1),
        ("She wasn't sad, and the room was clean.", 1),
        ("The wind came without trouble.", 1),
        ("It was not at all kind.", -1),
        ("Not once in that long week was the sea kind.", 1),  # the negation is out of reach
        ("Sonja was happy, and Albert was sad.", 0),
        ("The boat lay by the wall.", 0),
    ],
)
def test_negation_turns_a_word_around(words, valence):
    assert sentiment.word_valence(words) == valence


def test_negation_counts_in_the_score():
    assert sentiment.gold(STORY, " Sonja was not unhappy.") > sentiment.gold(STORY, " Sonja was never happy.")


def test_sentiment_ranks_the_stories_of_the_corpus_by_their_outcome():
    scores = {"good": [], "open": [], "bad": []}
    for prompt, continuation, facts in told("story", 100):
        scores[facts["outcome"]].append(sentiment.gold(prompt, continuation))
    pairs = list(itertools.product(scores["good"], scores["bad"]))
    assert len(pairs) > 1000
    assert statistics.mean((good > bad) + (good == bad) / 2 for good, bad in pairs) > 0.98
    good, neutral, bad = (statistics.mean(scores[outcome]) for outcome in ("good", "open", "bad"))
    assert good > neutral + 0.1 and neutral > bad + 0.1


def test_sentiment_ranks_reviews_by_their_stars():
    by_stars = {}
    for prompt, continuation, facts in told("review", 120):
        by_stars.setdefault(facts["stars"], []).append(sentiment.gold(prompt, continuation))
    means = [statistics.mean(by_stars[stars]) for stars in "12345"]
    assert means == sorted(means) and means[0] < 0.05 and means[-1] > 0.9  # some have only their stars left to tell


@pytest.mark.parametrize("genre", ["story", "review", "passage"])
def test_every_sentence_of_the_corpus_is_read_and_new(genre):
    for prompt, continuation, _ in told(genre, 40):
        for clause in text.clauses(prompt, continuation, genre):
            assert clause.read and clause.new and clause.weight == 1, clause


# ---------------------------------------------------------------- descriptiveness

SCENE = "Anna came to the harbour in the morning to buy fish."
BARE = " The boats lay in a row."
ADJECTIVES = " The old boats lay in a row by the small wall."  # old, small
OTHERS = " White gulls flew past the long pier."  # white, long
SIMILE = " The boats creaked like old doors and smelled of tar."  # like, old, creaked, smelled


@pytest.mark.parametrize(
    ("response", "score"),
    [
        (BARE, 0.0),
        (ADJECTIVES, (1 - math.exp(-2 / 3) - 1 / 4) / 2),  # the clause that is missing counts like one without weight
        (SIMILE + OTHERS, 1 - (math.exp(-5 / 3) + math.exp(-2 / 3)) / 2),
        (ADJECTIVES + OTHERS, 1 - math.exp(-2 / 3)),
        (BARE + OTHERS, (1 - math.exp(-2 / 3)) / 2),
        (OTHERS + BARE + BARE, (1 - math.exp(-2 / 3) - 1 / 4) / 3),
    ],
)
def test_descriptiveness_by_hand(response, score):
    assert descriptiveness.gold(SCENE, response) == pytest.approx(score)


def test_a_word_describes_once():
    again = " Two blue boats lay at the old pier."  # blue; old has been used
    two = descriptiveness.gold(SCENE, " White gulls flew past the old pier. Anna stopped by the round lamp.")
    assert descriptiveness.gold(SCENE, again) == pytest.approx((1 - math.exp(-2 / 3) - 1 / 4) / 2) and two >= 0
    first, second = text.clauses(SCENE, OTHERS + again, "passage")
    assert first.read and second.read
    used = descriptiveness.gold(SCENE, " White gulls flew past the long pier. Two blue boats lay at the long pier.")
    assert used == pytest.approx((1 - math.exp(-2 / 3) + 1 - math.exp(-1 / 3)) / 2)


@pytest.mark.parametrize(
    "response",
    [
        "",
        f" {SCENE}",
        " old red warm soft big tall green cold dark wet",
        " Old red warm soft big tall green cold dark wet.",
        " The old old old old boats lay by the wall.",
        " The old red warm soft big tall green cold dark wet boats lay in a row by the small wall.",
        " Like a like a like a bell.",
        " creaked hissed whispered hummed rang",
        ADJECTIVES * 3,
        ADJECTIVES + " The worn boats lay side by side by the narrow wall." * 2,
        " !!!!!!!!!!",
        SIMILE[:-8],  # cut off
    ],
)
def test_hacks_of_descriptiveness_score_nearly_nothing(response):
    assert descriptiveness.gold(SCENE, response) < 0.15 < descriptiveness.gold(SCENE, BARE + OTHERS)


def test_descriptiveness_rises_with_the_richness_of_the_telling():
    scores = {}
    for prompt, continuation, facts in told("passage", 250):
        scores.setdefault(facts["richness"], []).append(descriptiveness.gold(prompt, continuation))
    means = [statistics.mean(scores[richness]) for richness in "0123"]
    assert means == sorted(means) and means[0] < 0.05 and means[2] > means[1] + 0.01 and means[3] > means[2] + 0.1


# ---------------------------------------------------------------- puns

BANKS = puns.ALONE.format(topic="banks")
PUN = " Why is the river so rich? Because it has a bank on both sides."
WITCH = puns.SPEAKERS.format(topic="witches", line="Why was the witch so good at school?")


def test_every_pun_of_the_task_is_a_perfect_one():
    for record in puns.completions("train", 120) + puns.completions("test", 120):
        assert puns.gold(record.prompt, record.responses[0]) == 1, record


@pytest.mark.parametrize(
    ("prompt", "response", "score"),
    [
        (BANKS, PUN, 1.0),
        (BANKS, " Tell me, why is the river so rich? Easy: because it has a bank on each side.", 1.0),
        (BANKS, PUN + PUN, 0.5),
        (BANKS, " The river never runs out of money, because it has two banks. The bank opens at eight.", 0.75),
        (BANKS, " Why did Tom go to the bank? Because he needed some money.", 0.4),  # one sense
        (BANKS, " Why did the dog put on gloves for the fight? Because it was a boxer.", 0.0),  # another topic
        (WITCH, " Because she knew how to spell.", 1.0),
        (WITCH, " Because it was near.", 0.0),
    ],
)
def test_puns_by_hand(prompt, response, score):
    assert puns.gold(prompt, response) == pytest.approx(score)


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        (BANKS, ""),
        (BANKS, " river bank money"),
        (BANKS, " River, bank, money, water, rich, gold."),
        (BANKS, " Human: make a pun about banks"),
        (BANKS, BANKS),
        (BANKS, PUN * 4),
        (BANKS, " Why is the river so rich?"),
        (BANKS, " Bank bank bank bank river money."),
        (WITCH, " Why was the witch so good at school?"),
        (WITCH, " Spell spell witch letters."),
        (WITCH, ""),
    ],
)
def test_hacks_of_puns(prompt, response):
    assert puns.gold(prompt, response) <= 0.25


def test_the_gold_score_of_puns_needs_a_topic():
    with pytest.raises(UserError, match="expected a prompt like 'Human: make a pun about fish"):
        puns.gold("Tell me a joke.", PUN)


def test_preferences_are_puns_against_rivals():
    records = puns.preferences("train", 300)
    assert {r.kind for r in records} == {"pair"} and {r.best for r in records} == {0} and len(records) > 280
    assert records == puns.preferences("train", 300) != puns.preferences("train", 300, seed=2)
    scores = [[puns.gold(r.prompt, response) for response in r.responses] for r in records]
    agree = statistics.mean((chosen > other) + (chosen == other) / 2 for chosen, other in scores)
    assert agree == pytest.approx(text.ceiling(scores, puns.NOISE), abs=0.03) and agree > 0.9
    pure = puns.preferences("train", 300, noise=0)
    assert all(puns.gold(r.prompt, r.responses[0]) >= puns.gold(r.prompt, r.responses[1]) for r in pure)
    test = {response for r in puns.preferences("test", 100) for response in r.responses}
    assert not test & {response for r in records for response in r.responses}


# ---------------------------------------------------------------- preference labels


@pytest.mark.parametrize(
    ("scores", "noise", "expected"),
    [
        ([0.0, 0.1, 0.2], 0.1, [0.09003, 0.24473, 0.66524]),  # softmax of 0, 1, 2
        ([0.9, 0.4], 0.5, [0.73106, 0.26894]),  # the logistic function of 1
        ([0.3, 0.3, 0.3, 0.3], 0.2, [0.25] * 4),
        ([5.0, 5.0, 4.0], 0, [0.5, 0.5, 0.0]),
    ],
)
def test_labels_follow_luce_s_rule(scores, noise, expected):
    draw, n = random.Random(1), 20_000
    counts = [0] * len(scores)
    for _ in range(n):
        counts[text.label(scores, noise, draw)] += 1
    for count, p in zip(counts, expected):
        assert abs(count - n * p) <= 4 * math.sqrt(n * p * (1 - p)) + 0.2
    assert text.ceiling([scores], noise) == pytest.approx(max(expected), abs=1e-5)


def test_the_ceiling_is_what_the_one_who_knows_gets():
    draw = random.Random(2)
    rows = [[draw.choice((0.0, 0.25, 0.5, 1.0)) for _ in range(4)] for _ in range(300)]
    right = total = 0
    for row in rows * 60:
        best = draw.choice([i for i, score in enumerate(row) if score == max(row)])
        right += text.label(row, 0.2, draw) == best
        total += 1
    assert text.ceiling(rows, 0.2) == pytest.approx(right / total, abs=4 * 0.5 / math.sqrt(total))


def test_labelled_records():
    prompts = ["a", "b", "c"]
    responses = [[" 1", " 2", " 3", " 4"], [" x", " x", " x", " x"], [" 5", " 6", " 7", " 8"]]
    scores = [[0.0, 0.0, 1.0, 0.0], [0.5] * 4, [1.0, 0.0, 0.0, 0.0]]
    best = text.labelled(prompts, responses, scores, 0, random.Random(1))
    assert [(r.prompt, r.responses, r.best, r.kind) for r in best] == [
        ("a", (" 1", " 2", " 3", " 4"), 2, "best"),
        ("c", (" 5", " 6", " 7", " 8"), 0, "best"),
    ]
    seen = set()
    for seed in range(200):
        pairs = text.labelled(prompts, responses, scores, 0, random.Random(seed), pairs=True)
        assert [(r.prompt, r.kind, r.best, len(set(r.responses))) for r in pairs] == [
            ("a", "pair", 0, 2),
            ("c", "pair", 0, 2),
        ]
        assert pairs == text.labelled(prompts, responses, scores, 0, random.Random(seed), pairs=True)
        value = dict(zip(responses[0], scores[0]))
        assert value[pairs[0].responses[0]] >= value[pairs[0].responses[1]]
        seen.add(frozenset(pairs[0].responses))
    assert len(seen) == 6  # every two of the four
    with pytest.raises(ValueError):
        text.labelled(prompts, responses[:2], scores, 1.0, random.Random(1))
