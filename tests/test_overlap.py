"""BLEU and ROUGE against the numbers of nltk 3.10.4 and rouge-score 0.1.2, computed once as

    sentence_bleu([r.split() for r in references], hypothesis.split(), smoothing_function=SmoothingFunction().method1)
    RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, hypothesis)[name].fmeasure
"""

import json
import math
import random
from pathlib import Path

import pytest

from minalign.overlap import bleu, rouge, self_bleu

GOLDEN = json.loads((Path(__file__).parent / "golden" / "rouge.json").read_text())  # golden/make_rouge.py made it
PAIRS = [  # hypothesis, reference, (rouge1, rouge2, rougeL), BLEU
    ("the cat sat on the mat", "the cat is on the mat", (0.8333333333333334, 0.6, 0.8333333333333334),
     0.25406637407730737),
    ("The Cat, the cat!", "the cat sat; THE cat", (0.888888888888889, 0.5714285714285715, 0.888888888888889),
     0.06257106818159155),
    ("it is", "it is a dog", (0.6666666666666666, 0.5, 0.6666666666666666), 0.11633369384516798),
    ("", "a b", (0.0, 0.0, 0.0), 0.0),
    ("a b", "", (0.0, 0.0, 0.0), 0.0),
    ("Tom lost his lantern at the market. Anna found it.",
     "At the market Anna found the lantern that Tom lost in the snow.",
     (0.6956521739130435, 0.4761904761904762, 0.4347826086956522), 0.0517486867320884),
    ("caf\u00e9 na\u00efve 42", "cafe naive 42", (0.28571428571428575, 0.0, 0.28571428571428575), 0.11362193664674995),
    ("the the the the the", "the cat the dog", (0.4444444444444445, 0.0, 0.4444444444444445), 0.06389431042462725),
]  # fmt: skip
SEVERAL = [
    ("the cat sat on the mat today",
     ["the cat is on the mat", "a cat sat on the mat", "there was a cat on the the mat"], 0.6803749333171202),
    ("the the the", ["the cat the", "the"], 0.13512001548070346),
    ("one two three", ["one two three", "four five six seven"], 0.5623413251903491),
]  # fmt: skip


@pytest.mark.parametrize("hypothesis, reference, rouges, score", PAIRS)
def test_a_pair_scores_as_in_nltk_and_rouge_score(hypothesis, reference, rouges, score):
    found = rouge(hypothesis, reference)
    assert list(found) == ["rouge1", "rouge2", "rougeL"] and list(found.values()) == pytest.approx(rouges, abs=1e-12)
    assert bleu(hypothesis, [reference]) == pytest.approx(score, abs=1e-12)
    assert list(rouge(reference, hypothesis).values()) == pytest.approx(rouges, abs=1e-12)  # F1 is symmetric


def test_rouge_of_fifty_pairs_as_in_rouge_score():
    """Empty and equal texts, apostrophes, numbers, other alphabets, and edited texts of up to 1,000 words."""
    assert len(GOLDEN["pairs"]) == 50 and GOLDEN["made_by"].endswith("rouge-score 0.1.2")
    for pair in GOLDEN["pairs"]:
        assert rouge(pair["hypothesis"], pair["reference"]) == pytest.approx(pair["rouge"], abs=1e-12, rel=0), pair


@pytest.mark.parametrize("hypothesis, references, score", SEVERAL)
def test_several_references_as_in_nltk(hypothesis, references, score):
    """Counts are clipped by the reference that has most, the length is that of the closest reference."""
    assert bleu(hypothesis, references) == pytest.approx(score, abs=1e-12)
    assert bleu(hypothesis, references[::-1]) == pytest.approx(score, abs=1e-12)


def test_self_bleu_as_in_nltk():
    assert self_bleu(["i am going", "i am going", "lets go i i"]) == pytest.approx(0.4016751640917211, abs=1e-12)
    fruits = [f"I like to eat {fruit}." for fruit in ("apples", "bananas", "oranges")]
    assert self_bleu(fruits) == pytest.approx(0.668740304976422, abs=1e-12)
    mixed = ["a b c d e f", "a b c", "", "a b c d x", "b b b b b b b", "c d e"]
    assert self_bleu(mixed) == pytest.approx(0.3906959418856757, abs=1e-12)
    assert math.isnan(self_bleu(["alone"])) and self_bleu(["one two three four"] * 5) == pytest.approx(1)


def test_the_fast_self_bleu_is_the_mean_of_bleu():
    """Counts that tie, repeated n-grams and texts without words: what the two largest counts could get wrong."""
    choice = random.Random(1)
    for _ in range(100):
        texts = [" ".join(choice.choices("abcd", k=choice.randrange(9))) for _ in range(choice.randrange(2, 7))]
        one_by_one = [bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
        assert self_bleu(texts) == pytest.approx(sum(one_by_one) / len(texts), abs=1e-12), texts
