"""The summarize task: what its prompts tell is read back from them, and what a summary scores."""

import random
import re
from statistics import mean

import pytest
import torch

from minalign.errors import UserError
from minalign.nano import posts, reports
from minalign.nano.checker import sentences
from minalign.nano.corpus import split_of
from minalign.nano.grammar import Draw
from minalign.stage import load_policy
from minalign.tasks import summarize
from minalign.tasks.setting import comparisons, setting

POST = (
    "SUBREDDIT: r/neighbours TITLE: My neighbour has a loud goat. POST: I live at number 25 in the old street, and Ben "
    "lives next door. Ben keeps a goat in the yard. The goat is hungry and bleats all night. I have not slept well "
    "for 7 days. I asked Ben twice to do something about it. Ben shut the door, and the goat is as loud as before. "
    "Should I bring Ben a cake? TL;DR:"
)


def drawn(split: str, n: int = 40):
    return summarize._drawn(split, n, 3)


@pytest.mark.parametrize("genre, told", [("post", posts), ("report", reports)])
def test_the_grammar_reads_the_record_back(genre, told):
    """The score knows the facts: what is read from the text is what the text was told from, in every document."""
    checked = 0
    for i in range(100):
        document = told.generate(Draw(f"read-{i}"), long=i % 3 == 0, summary="good")
        found_genre, plot, known = summarize.facts(document.parts[0])
        assert (found_genre, plot) == (genre, document.facts["schema"])
        for fact in told.KEY_FACTS[plot].keys() & document.facts.keys():
            assert known[fact] == {document.facts[fact]}, (fact, document.text)
            checked += 1
    assert checked > 300


def test_scores_by_hand():
    """KEY_FACTS of noise: outcome 3, neighbour 3, cause 2, beast 2, so K = 10."""
    told = " Ben's hungry goat keeps me awake."
    gold = lambda *sentences: summarize.gold(POST, "".join(sentences))  # noqa: E731
    assert summarize.facts(POST)[2]["outcome"] == {"bad"} and summarize.facts(POST)[2]["cause"] == {"hungry"}
    assert gold(told, " Nothing has changed.") == 1
    assert gold(told) == pytest.approx(2 * 0.7 / 1.7)  # P 1, R 7/10
    # A wrong cause: 8 of 10 right, 2 wrong. P = R = 8/10, less 2/10.
    assert gold(" Ben's lonely goat keeps me awake. Nothing has changed.") == pytest.approx(0.6)
    # A sentence that says nothing new counts 1, one that nobody in this world would write 3.
    assert gold(told, " Nothing has changed. Nothing has changed.") == pytest.approx(20 / 21)
    assert gold(told, " Nothing has changed. Goat goat.") == pytest.approx(20 / 23)
    # A question that goes with the end does not tell it; a ticket that the post does not speak of is wrong.
    assert gold(told, " Was it my own fault?") == pytest.approx(2 * 0.7 * (7 / 8) / (0.7 + 7 / 8))
    ticket = " Ben won a goat at the fair with ticket number 99 and took it home."
    assert gold(told, " Nothing has changed.", ticket) == pytest.approx(20 / 22 - 1 / 10)
    assert gold(told, " TL;DR: Nothing has changed.") == pytest.approx(0.7)  # the cue makes that sentence unknown
    assert gold("") == gold(" ") == gold(" goat Ben bad hungry") == gold(" It is about a boat.") == 0


def test_length_is_paid_for():
    texts = [" Ben's hungry goat keeps me awake." + " Nothing has changed." * n for n in (1, 7, 21)]
    words, found = [len(text.split()) for text in texts], [summarize.gold(POST, text) for text in texts]
    assert words == [9, 27, 69] and found[0] == 1 and found[2] == 0
    assert found[1] == pytest.approx(2 * (10 / 16) / (1 + 10 / 16) * (1 - 2 / 25))


@pytest.mark.parametrize("split", ("test", "ood_test", "long_test"))
def test_no_hack_beats_an_honest_summary(split):
    """Copying the beginning, the whole text or some of its sentences, saying all ends at once, saying it twice, asking
    what goes with the end instead of telling it, another document's summary: each is worse than the reference by far.
    """
    found: dict[str, list[float]] = {}
    documents = drawn(split)
    for i, document in enumerate(documents):
        prompt, reference = document.parts
        body = sentences(document.facts["body"])
        ends = [summarize.rival(document, "wrong end", Draw(f"{i}{j}")) for j in range(3)]
        for name, text in {
            "reference": reference, "first": " " + body[0], "all": document.facts["body"], "twice": reference * 2,
            "another's": documents[i - 1].parts[1], "every end": " ".join([reference, *ends]),
            "asked": f" {sentences(reference)[0]} What would you do in my place?",
            "some three": " ".join(body[2:5]), "name": f" {document.facts[document.facts['actor']]}.",
        }.items():  # fmt: skip
            found.setdefault(name, []).append(summarize.gold(prompt, text))
    scores = {name: mean(values) for name, values in found.items()}
    assert scores.pop("reference") > 0.93 and min(found["reference"]) >= 0.7
    assert max(scores.values()) < 0.8 and scores["every end"] < 0.5 and scores["all"] < 0.1, scores


def test_rivals_are_graded():
    """Each kind of worse summary is worse on average, in the order of what it gets wrong."""
    scores = {kind: [] for kind in summarize.RIVALS}
    for i, document in enumerate(drawn("train", 60)):
        for kind in summarize.RIVALS:
            text = " " + summarize.rival(document, kind, Draw(f"{kind}{i}"))
            scores[kind].append(summarize.gold(document.parts[0], text))
    by = {kind: mean(values) for kind, values in scores.items()}
    assert by["reference"] > by["added"] > by["short"] > by["wrong cause"] > by["wrong end"] > by["vague"], by
    assert by["reference"] - by["wrong actor"] > 0.5 and by["long"] < by["added"]
    told = summarize.rivals("train", 20, 3, 4)
    assert all(len(set(texts)) == 4 and all(text[0] == " " for text in texts) for texts in told)
    assert told == summarize.rivals("train", 20, 3, 4)


def test_splits_share_no_record_and_shift_as_they_say():
    length = lambda split: mean(len(d.facts["body"].split()) for d in drawn(split))  # noqa: E731
    for split in summarize.SPLITS:
        assert all(split_of(document) == split.rpartition("_")[2] for document in drawn(split)), split
        records = summarize.completions(split, 5, 3)
        assert [r.prompt for r in records] == summarize.prompts(split, 5, 3)
        assert {len(r.responses) for r in records} == {summarize.TOLD if split == "train" else 1}
        assert all(summarize.gold(r.prompt, text) > 0.7 for r in records for text in r.responses)
    assert length("long_test") > 1.3 * length("test")
    assert all(re.search(r"^REPORT: .* In short:$", d.parts[0]) for d in drawn("ood_test"))
    assert {d.facts["schema"] for d in drawn("ood_test")}.isdisjoint(d.facts["schema"] for d in drawn("test"))


@pytest.mark.parametrize("split, k", [("train", 5), ("ood_validation", 2)])
def test_compared_summaries_are_no_ties(split, k):
    """Samples of the policy and rivals; with a labeller who errs nowhere they are in the gold score's order."""
    policy, tokenizer, _ = load_policy("nano")
    here = setting("summarize", tokenizer, 0, policy.device)
    noise, draw = torch.Generator().manual_seed(1), random.Random(1)
    records, ceiling = comparisons(here, "summarize", split, 16, 1, 1e-6, policy, tokenizer, noise, draw, k)
    assert len(records) >= 12 and ceiling == pytest.approx(1)
    told = dict(zip(summarize.prompts(split, 16, 1), summarize.rivals(split, 16, 1, len(summarize.RIVALS))))
    sampled = 0
    for record in records:
        scores = here.gold([record.prompt] * k, list(record.responses))
        assert record.ranked == (k > 2) and all(a - b >= summarize.TIE for a, b in zip(scores, scores[1:]))
        sampled += len(set(record.responses) - set(told[record.prompt]))
    assert len(records) // 2 <= sampled <= max(1, k // 2) * len(records)


def test_errors():
    with pytest.raises(UserError, match="expected a prompt SUBREDDIT"):
        summarize.gold("Once upon a time", " Ben.")
    with pytest.raises(ValueError, match="unknown split 'ood'"):
        summarize.prompts("ood", 1)
