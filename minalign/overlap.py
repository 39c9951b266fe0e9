"""How much of a text is in another: BLEU and ROUGE, against references or, for diversity, against each other."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence

ORDERS = (1, 2, 3, 4)  # of BLEU's n-grams


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Return all runs of n words, in order."""
    return list(zip(*(words[i:] for i in range(n))))


def bleu(hypothesis: str, references: list[str]) -> float:
    """Return sentence BLEU-4 of words between white space, in 0..1, with a zero precision smoothed to 0.1 / total.

    exp(min(0, 1 - r/c)) prod_n p_n^(1/4), p_n the clipped n-gram precisions, r the length of the reference whose
    length is closest to that of the hypothesis, c (Papineni et al. 2002); smoothing is method 1 of Chen and
    Cherry 2014. Equal to nltk's sentence_bleu(..., smoothing_function=method1). A hypothesis of fewer than four words
    has no 4-grams, and by this smoothing a low score even where it equals a reference.
    """
    words, others = hypothesis.split(), [reference.split() for reference in references]
    matches, totals = [], []
    for n in ORDERS:
        counts = Counter(ngrams(words, n))
        most: Counter = Counter()
        for other in others:
            most |= Counter(ngrams(other, n))  # the larger count of each
        matches.append((counts & most).total())
        totals.append(counts.total())
    return _bleu(matches, totals, len(words), closest_length(len(words), map(len, others)))


def self_bleu(texts: list[str]) -> float:
    """Return the mean BLEU of each text with all others as its references; NaN for fewer than two. Low = diverse.

    Zhu et al. 2018 (Texygen, arXiv 1802.01886). Equal to the mean of `bleu`, but in time linear in the number of
    n-grams: of each n-gram the two largest counts say which is the largest among the other texts.
    """
    if len(texts) < 2:
        return math.nan
    words = [text.split() for text in texts]
    matches, totals = [[] for _ in texts], [[] for _ in texts]
    for n in ORDERS:
        counts = [Counter(ngrams(text, n)) for text in words]
        first: dict[tuple, tuple[int, int]] = {}  # n-gram: (largest count, whose)
        second: Counter = Counter()
        for i, mine in enumerate(counts):
            for gram, count in mine.items():
                largest, owner = first.get(gram, (0, i))
                second[gram] = max(second[gram], min(count, largest))
                first[gram] = max((largest, owner), (count, i))
        for i, mine in enumerate(counts):
            others = (second[gram] if first[gram][1] == i else first[gram][0] for gram in mine)
            matches[i].append(sum(map(min, mine.values(), others)))
            totals[i].append(mine.total())
    lengths = Counter(map(len, words))
    scores = [_bleu(matches[i], totals[i], len(text), closest_length(len(text), lengths - Counter([len(text)])))
              for i, text in enumerate(words)]  # fmt: skip
    return sum(scores) / len(scores)


def closest_length(length: int, others) -> int:
    """Return the reference length that is closest; of two the shorter."""
    return min(others, key=lambda other: (abs(other - length), other))


def _bleu(matches: list[int], totals: list[int], length: int, closest: int) -> float:
    """Return BLEU from the matched and all n-grams of n = 1..4 and the two lengths."""
    if matches[0] == 0:
        return 0.0
    precisions = [(match or 0.1) / max(1, total) for match, total in zip(matches, totals)]
    return math.exp(min(0.0, 1 - closest / length) + sum(map(math.log, precisions)) / len(precisions))


def rouge(hypothesis: str, reference: str) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2 and ROUGE-L as F1, {"rouge1", "rouge2", "rougeL"}, each in 0..1.

    F1 = 2PR / (P + R) of shared n-grams, for ROUGE-L of the longest common subsequence of the whole texts (Lin 2004).
    Equal to the rouge_score package without stemming: lower case, words are runs of a-z and 0-9.
    """
    mine, theirs = (re.findall("[a-z0-9]+", text.lower()) for text in (hypothesis, reference))
    found = {}
    for n in (1, 2):
        a, b = Counter(ngrams(mine, n)), Counter(ngrams(theirs, n))
        found[f"rouge{n}"] = _f1((a & b).total(), a.total(), b.total())
    found["rougeL"] = _f1(_common_subsequence(mine, theirs), len(mine), len(theirs))
    return found


def _f1(shared: int, mine: int, theirs: int) -> float:
    return 2 * shared / (mine + theirs) if shared else 0.0  # 2PR / (P + R) with P = shared / mine, R = shared / theirs


def _common_subsequence(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common subsequence, by the usual table, one row at a time."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for (left, above), y in zip(itertools.pairwise(row), b):
            new.append(left + 1 if x == y else max(above, new[-1]))
        row = new
    return row[-1]
