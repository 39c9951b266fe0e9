"""Numbers about samples and judgements: intervals, calibration, and the diversity of a set of texts.

Diversity (Tevet and Berant 2021, arXiv 2004.02990; Kirk et al. 2024, arXiv 2310.06452): each metric takes the texts of
one set, whatever the set is: the outputs of one input, one output of each input, or all. Most depend on how many texts
there are and on how long they are, so compare sets that are alike in both; `rarefied_distinct` is made for those that
are not. A set for which a metric is not defined gives NaN.
"""

import gzip
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from minalign.errors import UserError
from minalign.overlap import ngrams

ORDERS = (1, 2, 3, 4, 5)  # of the n-grams over which distinct-n and EAD are averaged


def wilson(wins: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) of a share of which `wins` of `n` were observed.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = wins/n (Wilson 1927; recommended by Brown, Cai and
    DasGupta 2001). Unlike p -+ z sqrt(p(1-p)/n) it stays inside 0..1 and has a width at p = 0 and 1. z = 1.96 is 95 %.
    wins may be fractional (a tie counts half): the interval is then a little too wide, never too narrow.
    n = 0 gives (0, 1): nothing is known. Observations count as independent.
    """
    if n == 0:
        return 0.0, 1.0
    p, shrink = wins / n, 1 + z * z / n
    center = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # The ends are 0 and 1 exactly where nothing or everything was won; rounding would miss them by 1e-17.
    return (0.0 if wins == 0 else center - half), (1.0 if wins == n else center + half)


def calibration_bins(entries: list[tuple[float, bool]], bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean predicted probability, observed share, n) of each non-empty bin of equal width.

    entries: (predicted probability, whether it happened).
    """
    sorted_in: dict[int, list[tuple[float, bool]]] = {}
    for p, happened in entries:
        sorted_in.setdefault(min(int(p * bins), bins - 1), []).append((p, happened))
    return [
        (sum(p for p, _ in found) / len(found), sum(happened for _, happened in found) / len(found), len(found))
        for _, found in sorted(sorted_in.items())
    ]


def calibration_error(entries: list[tuple[float, bool]], bins: int = 10) -> float:
    """Return the expected calibration error: mean |predicted - observed| over `calibration_bins`, weighted by n.

    Naeini et al. 2015. 0 = perfectly calibrated.
    """
    return sum(n * abs(p - q) for p, q, n in calibration_bins(entries, bins)) / max(1, len(entries))


def bootstrap(values: list[float], n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (low, high) of the mean of `values` (Efron 1979).

    From n resamples of as many values, with replacement: for a metric that was taken input by input, it says how much
    the mean would differ with other inputs. Few values (below about 20) make it too narrow; of one it is NaN.
    """
    if len(values) < 2:
        return math.nan, math.nan
    rng, x = np.random.default_rng(seed), np.asarray(values, dtype=float)
    means = [x[rng.integers(len(x), size=len(x))].mean() for _ in range(n)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


# ---- n-grams ---------------------------------------------------------------------------------------------------------
def words(text: str) -> list[str]:
    """Return the words of a text as the n-gram metrics see them: no full stops, split at spaces, case kept.

    The rule of Kirk et al.'s code, but for line breaks: there they vanish, which glues two words together; here they
    are spaces. Other punctuation stays with its word.
    """
    return [word for word in text.replace(".", "").replace("\n", " ").split(" ") if word]


def ngram_counts(texts: list[str], n: int) -> Counter:
    """Return how often each n-gram occurs in the texts; none reaches from one text into the next."""
    return Counter(itertools.chain.from_iterable(ngrams(words(text), n) for text in texts))


def distinct_n(texts: list[str], n: int) -> float:
    """Return the share of different n-grams among all n-grams; 0 where there are none (Li et al. 2016, 1510.03055).

    Falls with the length and the number of the texts.
    """
    counts = ngram_counts(texts, n)
    return len(counts) / max(1, counts.total())


def ead(texts: list[str], n: int, vocabulary: int = 50257) -> float:
    """Return expectation-adjusted distinct-n (Liu et al. 2022, 2202.13587); 0 without n-grams.

    N / (V (1 - ((V - 1)/V)^C)): N different n-grams of C, over the number that C draws from V equally likely ones are
    expected to show. Kirk et al. take V = 50257, GPT-2's vocabulary, for every n, although these are words: the
    correction is then 0.5 % at C = 500 and 17 % at 20,000, and EAD is near distinct-n for the outputs of one input.
    Not cut at 1: n-grams that all differ have about 1 + C / 2V, 1.0005 for C = 50, and means stay unbiased.
    """
    counts = ngram_counts(texts, n)
    # 1 - (1 - 1/V)^C, without the cancellation
    expected = -vocabulary * math.expm1(counts.total() * math.log1p(-1 / vocabulary))
    return len(counts) / expected if counts else 0.0


def averaged_distinct(texts: list[str]) -> float:
    """Return the mean distinct-n, n = 1..5. An n without n-grams counts as 0: very short texts look less diverse."""
    return sum(distinct_n(texts, n) for n in ORDERS) / len(ORDERS)


def averaged_ead(texts: list[str], vocabulary: int = 50257) -> float:
    """Return the mean EAD, n = 1..5; an n without n-grams counts as 0, as in `averaged_distinct`."""
    return sum(ead(texts, n, vocabulary) for n in ORDERS) / len(ORDERS)


def rarefied_distinct(texts: list[str], n: int, m: int) -> float:
    """Return the expected distinct-n of m n-grams drawn without replacement: what length has no part in.

    sum_g (1 - C(C - c_g, m) / C(C, m)) / m, for n-grams g that occur c_g times among C (Hurlbert 1971, who
    counts species). At one m, sets of any length compare; m = C gives distinct-n. NaN for fewer than m n-grams.
    """
    counts = ngram_counts(texts, n)
    total = counts.total()
    if not 1 <= m <= total:
        return math.nan

    def missed(c: int) -> float:
        """Return the probability that none of c occurrences is drawn."""
        if c > total - m:
            return 0.0
        log = math.lgamma(total - c + 1) - math.lgamma(total - c - m + 1)
        return math.exp(log - math.lgamma(total + 1) + math.lgamma(total - m + 1))

    return sum(grams * (1 - missed(c)) for c, grams in Counter(counts.values()).items()) / m


def ngram_vectors(texts: list[str], n: int) -> list[dict[tuple[str, ...], float]]:
    """Return the n-gram counts of each text, divided by their norm.

    A text of fewer than n words counts as one n-gram of its own, so that it is like itself. (In Kirk et al.'s code it
    is like nothing, and a set of one short text, many times over, is as diverse as can be.)
    """
    vectors = []
    for found in map(words, texts):
        counts = Counter(ngrams(found, n) or [tuple(found)])
        norm = math.sqrt(sum(c * c for c in counts.values()))
        vectors.append({gram: c / norm for gram, c in counts.items()})
    return vectors


def ngram_diversity(texts: list[str], n: int = 3) -> float:
    """Return 1 - the mean cosine of the n-gram counts of all pairs of texts; NaN for fewer than two texts."""
    total: Counter = Counter()
    for vector in ngram_vectors(texts, n):
        for gram, x in vector.items():
            total[gram] += x
    return _unlike(sum(x * x for x in total.values()), len(texts))


def ngram_kernel(texts: list[str], orders: tuple[int, ...] = (1, 2)) -> Tensor:
    """Return the cosines of the texts' n-gram counts, averaged over n, (texts, texts) float64: a kernel for `vendi`."""
    kernel = np.zeros((len(texts), len(texts)))
    for n in orders:
        having: dict[tuple, list[tuple[int, float]]] = {}
        for i, vector in enumerate(ngram_vectors(texts, n)):
            for gram, x in vector.items():
                having.setdefault(gram, []).append((i, x))
        for found in having.values():  # most n-grams are in one text: no matrix of texts by n-grams is made
            if len(found) == 1:
                kernel[found[0][0], found[0][0]] += found[0][1] ** 2
            else:
                rows, x = map(np.array, zip(*found))
                kernel[np.ix_(rows, rows)] += np.outer(x, x)
    return torch.from_numpy(kernel / len(orders))


def compression_ratio(texts: list[str]) -> float:
    """Return bytes / compressed bytes of the texts joined by spaces (Shaib et al. 2024, 2403.00553). Low = diverse.

    gzip at level 9 without name and time. Its 18 bytes of header count, so few short texts have a ratio below 1, and
    the ratio rises with the amount of text: compare sets of equal length.
    """
    data = " ".join(texts).encode("utf-8", "backslashreplace")
    return len(data) / len(gzip.compress(data, mtime=0))


# ---- vectors ---------------------------------------------------------------------------------------------------------
def _unlike(squared: float, n: int) -> float:
    """Return 1 - the mean cosine of all pairs of n normalised vectors, from the squared norm of their sum.

    |sum x|^2 holds every pair twice and n ones: n D operations instead of n^2 D.
    """
    return 1 - (squared - n) / (n * (n - 1)) if n > 1 else math.nan


def embedding_diversity(vectors: Tensor) -> float:
    """Return 1 - the mean cosine of all pairs of normalised sentence vectors (n, D); NaN for fewer than two.

    Tevet and Berant's SentBERT diversity, the remote-clique of Cox et al. 2021. Its level depends on the encoder:
    compare numbers of one encoder only.
    """
    total = vectors.double().sum(0)
    unlike = _unlike(float(total @ total), len(vectors))
    return 0.0 if -1e-6 < unlike < 0 else unlike  # of equal texts: rounding of vectors in float32


def vendi(kernel: Tensor, q: float = 1.0) -> float:
    """Return the Vendi score of order q, the effective number of different items, in 1..n.

    exp(-sum l log l) over the eigenvalues l of K / n (Friedman and Dieng 2022, 2210.02410); of order q
    (sum l^q)^(1/(1-q)), of infinite order 1 / max l. K is positive semi-definite with ones on its diagonal. It may
    be given as X' X instead of X X', for normalised rows X: the eigenvalues other than 0 are the same.
    """
    found = torch.linalg.eigvalsh(kernel.double())
    found = found / found.sum()
    found = found[found > len(found) * torch.finfo(torch.float64).eps]  # the others are rounding errors
    if q == 1:
        return torch.exp(-(found * found.log()).sum()).item()
    return 1 / found.max().item() if math.isinf(q) else (found**q).sum().item() ** (1 / (1 - q))


def embedding_vendi(vectors: Tensor, q: float = 1.0) -> float:
    """Return the Vendi score of normalised vectors (n, D) with their cosines as the kernel."""
    x = vectors.double()
    return vendi(x @ x.T if len(x) <= x.shape[1] else x.T @ x, q)


# ---- entailment ------------------------------------------------------------------------------------------------------
Classifier = Callable[[list[tuple[str, str]]], Tensor]  # pairs (premise, hypothesis) -> probabilities (n, labels)


def nli_diversity(texts: list[str], classifier: Classifier, pairs: int = 0, sentences: int = 0, seed: int = 0) -> float:
    """Return the mean of P(contradiction) - P(entailment) over all pairs, both ways, in -1..1. High = diverse.

    classifier: has `labels`, among them CONTRADICTION and ENTAILMENT. pairs: where there are more, so many are drawn
    (0 = take all). sentences: instead of whole texts compare so many random pairs of a sentence of one and a sentence
    of the other, which long texts need. NaN for fewer than two texts.
    After Stasaski and Hearst 2022 (2205.01497) and Kirk et al. 2024. Differs from the latter's code: that returns one
    minus this (so that entailment is diverse), counts only the most likely label, adds the two directions up, and
    takes single characters for sentences.
    """
    if len(texts) < 2:
        return math.nan
    contradiction, entailment = nli_columns(classifier.labels)
    choice, count = random.Random(seed), len(texts) * (len(texts) - 1) // 2
    numbers = choice.sample(range(count), pairs) if 0 < pairs < count else range(count)
    rows = [(k, (math.isqrt(8 * k + 1) + 1) // 2) for k in numbers]  # pair k is (i, j): the k-th with i > j, by rows
    couples = [(texts[i], texts[k - i * (i - 1) // 2]) for k, i in rows]
    if sentences:
        split = {text: sentences_of(text) for text in texts}
        couples = [(choice.choice(split[a]), choice.choice(split[b])) for a, b in couples for _ in range(sentences)]
    found = classifier([pair for a, b in couples for pair in ((a, b), (b, a))])
    return (found[:, contradiction] - found[:, entailment]).double().mean().item()


def nli_columns(labels: list[str]) -> tuple[int, int]:
    """Return the places of CONTRADICTION and ENTAILMENT, which differ from model to model; UserError without them."""
    if not {"CONTRADICTION", "ENTAILMENT"} <= set(labels):
        raise UserError("--nli: expected a model with the labels CONTRADICTION and ENTAILMENT, found "
                        f"{', '.join(labels)}\nif it is one, name them in id2label of its config.json")  # fmt: skip
    return labels.index("CONTRADICTION"), labels.index("ENTAILMENT")


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, which end with . ! or ? before white space; at least one, maybe empty."""
    return re.split(r"(?<=[.!?])\s+", text.strip())
