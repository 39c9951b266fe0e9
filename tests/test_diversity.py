"""Diversity: every metric against published code's numbers, an enumeration or a simulation; and the script.

"Kirk" are numbers that the code of Kirk et al. 2024 (facebookresearch/rlfh-gen-div) gives for these texts.
"""

import itertools
import json
import math
import random
import sys
import types
from collections import Counter

import numpy as np
import pytest
import stages
import torch

import diversity
from minalign import metrics, plot
from minalign.errors import UserError
from minalign.overlap import self_bleu

SONG = ["i am going", "i am going", "lets go i i"]
FRUITS = [[f"{start} {fruit}." for fruit in ("apples", "bananas", "oranges")]
          for start in ("I like to eat", "I love to eat", "I love muching on")]  # fmt: skip


# ---- n-grams ---------------------------------------------------------------------------------------------------------
def test_distinct_and_ead_as_published():
    """Kirk. The tolerance is the cancellation in their 1 - ((V - 1)/V)^C; they put a set without n-grams at 0."""
    distinct = [0.5, 0.7142857142857143, 0.75, 1.0, 0.0]
    ead = [0.5000447715147092, 0.7143283533991891, 0.7500223853103933, 0.9999999999977185, 0.0]
    assert [metrics.distinct_n(SONG, n) for n in metrics.ORDERS] == pytest.approx(distinct, abs=1e-15)
    assert [metrics.ead(SONG, n) for n in metrics.ORDERS] == pytest.approx(ead, abs=1e-10)
    nine, firsts = list(itertools.chain(*FRUITS)), [texts[0] for texts in FRUITS]
    for texts, distinct, ead in (
        (SONG, 0.5928571428571429, 0.592879102044402),
        (FRUITS[0], 0.6377777777777778, 0.6378211785884894),
        (nine, 0.5388888888888889, 0.538994964957481),
        (firsts, 0.8344444444444445, 0.8345037971855376),
    ):
        assert metrics.averaged_distinct(texts) == pytest.approx(distinct, abs=1e-15)
        assert metrics.averaged_ead(texts) == pytest.approx(ead, abs=1e-10)


def test_words():
    """As Kirk's code but for the line break, over which it says "cd"."""
    assert metrics.words("a.b c\nd  e, e.") == ["ab", "c", "d", "e,", "e"]
    assert metrics.ngram_counts(["a b", "b a b"], 2) == {("a", "b"): 2, ("b", "a"): 1}  # none from text to text


def test_ead_is_one_for_words_drawn_evenly():
    """Its denominator is the mean number of different words among C of V: compared with drawing them."""
    V, C = 40, 60
    draws = np.random.default_rng(0).integers(V, size=(4000, C))
    values = [metrics.ead([" ".join(map(str, row))], 1, V) for row in draws.tolist()]
    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values) - 1) < 4 * error < 0.005
    assert metrics.ead(["a b c d"], 1) == pytest.approx(1 + 3 / (2 * 50257), rel=1e-8)  # above 1 by (C - 1) / 2V


def test_rarefaction_is_the_mean_over_all_draws():
    texts = ["a b a b a", "c b a"]
    for n in (1, 2):
        grams = list(metrics.ngram_counts(texts, n).elements())
        for m in range(1, len(grams) + 1):
            kinds = [len(set(drawn)) for drawn in itertools.combinations(grams, m)]
            assert metrics.rarefied_distinct(texts, n, m) == pytest.approx(np.mean(kinds) / m, abs=1e-12)
        assert metrics.rarefied_distinct(texts, n, m) == pytest.approx(metrics.distinct_n(texts, n), abs=1e-12)
        assert math.isnan(metrics.rarefied_distinct(texts, n, m + 1))


def test_rarefaction_has_no_length_bias():
    """Texts of one source, short and long: distinct-1 falls by half, the rarefied one stays."""
    choice, words = random.Random(0), list(map(str, range(60)))
    short, long = ([[" ".join(choice.choices(words, k=k)) for _ in range(4)] for _ in range(200)] for k in (10, 60))
    plain = [np.mean([metrics.distinct_n(texts, 1) for texts in sets]) for sets in (short, long)]
    rarefied = [np.mean([metrics.rarefied_distinct(texts, 1, 40) for texts in sets]) for sets in (short, long)]
    assert plain[1] < 0.5 * plain[0] and rarefied[1] == pytest.approx(rarefied[0], abs=0.01)


def pairs_of(texts, n):
    """Return the mean cosine of n-gram counts over pairs, pair by pair, as an independent oracle."""
    def cosine(a, b):
        dot = sum(a[gram] * b[gram] for gram in a)
        return dot / math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))

    counts = [metrics.ngram_counts([text], n) for text in texts]
    return np.mean([cosine(a, b) for a, b in itertools.combinations(counts, 2)])


def test_ngram_cosine():
    assert metrics.ngram_diversity(SONG, 3) == pytest.approx(0.6666666666666667, abs=1e-12)  # Kirk
    # Kirk's mean over n = 1..5; there a text of fewer than n words is not even like itself, so 4 and 5 give 1.
    by_n = [metrics.ngram_diversity(SONG, n) for n in (1, 2, 3)] + [1, 1]
    assert np.mean(by_n) == pytest.approx(0.7371460638945291, abs=1e-12)
    texts = ["a b c a b d", "a b c", "d a b", "x y x y z"]
    for n in (1, 2, 3):
        assert metrics.ngram_diversity(texts, n) == pytest.approx(1 - pairs_of(texts, n), abs=1e-12)
        kernel = metrics.ngram_kernel(texts, (n,)).numpy()
        assert (kernel.sum() - 4) / 12 == pytest.approx(pairs_of(texts, n), abs=1e-12)
        assert np.diag(kernel) == pytest.approx(1) and (kernel == kernel.T).all()
    both = sum(metrics.ngram_kernel(texts, (n,)) for n in (1, 2)) / 2
    torch.testing.assert_close(metrics.ngram_kernel(texts), both)
    assert metrics.ngram_diversity(["7"] * 3, 3) == pytest.approx(0) and metrics.ngram_diversity(["", ""], 1) == 0


def test_compression():
    """By hand: 33 bytes in gzip's 42; the others as the `diversity` package 0.3.1 has them with one gzip."""
    assert metrics.compression_ratio(SONG) == 33 / 42
    assert metrics.compression_ratio(FRUITS[0]) == pytest.approx(1.155, abs=5e-4)
    assert metrics.compression_ratio(FRUITS[0] * 20) == pytest.approx(19.414, abs=5e-4)
    assert metrics.compression_ratio(["\ud83d"]) > 0  # half a character


# ---- vectors ---------------------------------------------------------------------------------------------------------
VECTORS = torch.tensor([[1, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8], [1, 0, 0]], dtype=torch.float64)


def test_vendi_as_in_its_own_package():
    """vendi-score 0.0.3, score_K; the first number is also in its README."""
    at = torch.tensor([0, 0, 10, 10, 20, 20], dtype=torch.float64)
    assert metrics.vendi((at[:, None] - at).abs().neg().exp()) == pytest.approx(2.999999995877713, abs=1e-11)
    kernel = torch.tensor([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], dtype=torch.float64)
    for q, score in ((0.5, 2.420348357053285), (1, 2.1573004833739833), (2, 1.948051948051948),
                     (math.inf, 1.5789473684210527)):  # fmt: skip
        assert metrics.vendi(kernel, q) == pytest.approx(score, abs=1e-11)
    for q, score in ((1, 2.30142367220713), (2, 2.0251113811259605), (math.inf, 1.584578982128348)):
        assert metrics.embedding_vendi(VECTORS, q) == pytest.approx(score, abs=1e-11)
        assert metrics.vendi(VECTORS @ VECTORS.T, q) == pytest.approx(score, abs=1e-11)  # X X' and X' X
        assert metrics.vendi(VECTORS.T @ VECTORS, q) == pytest.approx(score, abs=1e-11)


def test_vendi_is_between_one_and_n():
    for q in (0, 0.5, 1, 3, math.inf):
        assert metrics.vendi(torch.eye(7), q) == pytest.approx(7)
        assert metrics.vendi(torch.ones(7, 7), q) == pytest.approx(1)
    x = torch.nn.functional.normalize(torch.randn(9, 4), dim=1)
    scores = [metrics.embedding_vendi(x, q) for q in (0, 0.5, 1, 2, math.inf)]
    assert scores[0] == pytest.approx(4) and scores == sorted(scores, reverse=True) and scores[-1] > 1  # 0: the rank


def test_embedding_diversity_is_a_mean_over_pairs():
    x = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    cosines = [float(a @ b) for a, b in itertools.combinations(x, 2)]
    assert metrics.embedding_diversity(x) == pytest.approx(1 - np.mean(cosines), abs=1e-6)
    assert metrics.embedding_diversity(VECTORS[[0, 3]]) == 0 and math.isnan(metrics.embedding_diversity(x[:1]))


# ---- entailment ------------------------------------------------------------------------------------------------------
class Entailment:
    """A classifier whose probabilities depend on the pair and its order; it keeps the pairs that it was asked about."""

    def __init__(self, labels=("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), sure=None):
        self.labels, self.sure, self.pairs = list(labels), sure, []

    def __call__(self, pairs):
        self.pairs += pairs
        rows = []
        for a, b in pairs:
            contradiction = 0.25 + 0.5 * (len(a) < len(b)) - 0.1 * (a == b)
            found = {"CONTRADICTION": contradiction, "ENTAILMENT": 0.2, "NEUTRAL": 0.8 - contradiction}
            found = {label: float(label == self.sure) for label in found} if self.sure else found
            rows.append([found.get(label, 0.0) for label in self.labels])
        return torch.tensor(rows)


def test_nli_by_hand():
    # Of three pairs two are of different lengths: 0.25 and 0.75 by direction; the third 0.25 twice; entailment 0.2.
    texts = ["aa", "bb", "c"]
    assert metrics.nli_diversity(texts, Entailment()) == pytest.approx((2 * (0.5 - 0.2) + 0.25 - 0.2) / 3)
    other = Entailment(("CONTRADICTION", "ENTAILMENT", "NEUTRAL"))
    assert metrics.nli_diversity(texts, other) == pytest.approx(metrics.nli_diversity(texts, Entailment()))
    assert sorted(other.pairs) == sorted(itertools.permutations(texts, 2))
    for sure, value in (("CONTRADICTION", 1), ("NEUTRAL", 0), ("ENTAILMENT", -1)):
        assert metrics.nli_diversity(texts, Entailment(sure=sure)) == value  # more entailment is less diverse
    assert math.isnan(metrics.nli_diversity(["alone"], Entailment()))
    for labels in (("LABEL_0", "LABEL_1", "LABEL_2"), ("NOT_ENTAILMENT", "ENTAILMENT")):
        with pytest.raises(UserError, match=f"CONTRADICTION and ENTAILMENT, found {labels[0]}.*\n.*id2label"):
            metrics.nli_diversity(texts, Entailment(labels))


def test_nli_draws_pairs_and_sentences():
    texts = [f"{'x' * i}. {'y' * i}! {'z' * i}" for i in range(1, 13)]
    drawn = Entailment()
    metrics.nli_diversity(texts, drawn, pairs=20, seed=3)
    asked = {frozenset(pair) for pair in drawn.pairs}
    assert len(asked) == 20 and len(drawn.pairs) == 40 and all(len(pair) == 2 for pair in asked)
    again, other = Entailment(), Entailment()
    metrics.nli_diversity(texts, again, pairs=20, seed=3)
    metrics.nli_diversity(texts, other, pairs=20, seed=4)
    assert again.pairs == drawn.pairs != other.pairs
    every = Entailment()
    for seed in range(60):
        metrics.nli_diversity(texts, every, pairs=20, seed=seed)
    assert {frozenset(pair) for pair in every.pairs} == set(map(frozenset, itertools.combinations(texts, 2)))
    whole = Entailment()
    metrics.nli_diversity(texts[:2], whole, sentences=50, seed=1)
    a, b = {"x.", "y!", "z"}, {"xx.", "yy!", "zz"}
    assert len(whole.pairs) == 100 and set(whole.pairs) == {*itertools.product(a, b), *itertools.product(b, a)}
    assert metrics.sentences_of(" One. Two?\nThree... ") == ["One.", "Two?", "Three..."]
    assert metrics.sentences_of("3.5 is one") == ["3.5 is one"] and metrics.sentences_of("") == [""]


# ---- intervals -------------------------------------------------------------------------------------------------------
def test_bootstrap_covers_the_mean_and_knows_its_seed():
    rng = np.random.default_rng(1)
    found = [metrics.bootstrap(x.tolist(), 300, seed) for seed, x in enumerate(rng.exponential(2.0, size=(300, 80)))]
    covered = np.mean([low <= 2.0 <= high for low, high in found])
    assert 0.90 < covered < 0.98  # of a skewed distribution somewhat below 0.95
    x = rng.normal(size=400)
    low, high = metrics.bootstrap(x.tolist(), 2000)
    assert high - low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.08)
    assert metrics.bootstrap([1, 2, 5], seed=1) == metrics.bootstrap([1, 2, 5], seed=1)
    assert metrics.bootstrap(x.tolist(), seed=1) != metrics.bootstrap(x.tolist(), seed=2)
    assert metrics.bootstrap([3.0, 3.0]) == (3, 3) and all(map(math.isnan, metrics.bootstrap([3.0])))


# ---- the script ------------------------------------------------------------------------------------------------------
class Encoder:
    """A bag of letters, which keeps what it was asked to encode."""

    label = "letters"

    def __init__(self, name="nano", device="cpu"):
        self.seen = []

    def __call__(self, texts):
        self.seen += texts
        counts = torch.tensor([[1e-3 + text.count(letter) for letter in "abcdefgho "] for text in texts])
        return torch.nn.functional.normalize(counts, dim=1)


@pytest.fixture
def encoders(monkeypatch):
    """Stand in for the models; return the last encoder and classifier that were made."""
    made = {}

    def encoder(name, device):
        if name not in ("nano", "other"):
            raise UserError(f"{name}: no such model")
        made["encoder"] = Encoder()
        return made["encoder"]

    def classifier(name, device):
        made["classifier"] = Entailment(("A", "B") if name == "unfit" else Entailment().labels)
        return made["classifier"]

    module = types.SimpleNamespace(sentence_encoder=encoder, classifier=classifier)
    monkeypatch.setitem(sys.modules, "minalign.encoders", module)
    return made


def rows_of(inputs=6, outputs=5, words="abcdefgh", seed=0, **more):
    choice = random.Random(seed)
    return [{"prompt": f"p{i}", "response": " ".join(choice.choices(words, k=choice.randint(4, 9))),
             "scores": {"gold": choice.random()}, **more} for i in range(inputs) for _ in range(outputs)]  # fmt: skip


def sets_of(rows):
    found = {}
    for row in rows:
        found.setdefault(row["prompt"], []).append(row["response"])
    return list(found.values())


def measure(*flags, out):
    diversity.main([*map(str, flags), "--out", str(out), "--device=cpu"])
    return json.loads((out / "diversity.json").read_text())["files"]


def test_every_number_is_that_of_its_set(encoders, tmp_path, capsys):
    a, b = rows_of(), rows_of(seed=1, words="abc")
    random.Random(0).shuffle(a)  # inputs are gathered, however the lines lie
    files = [stages.write(tmp_path / "a.jsonl", a), stages.write(tmp_path / "b.jsonl", b)]
    found = measure(*files, "--metrics", "ead,self_bleu", "vendi,embedding,cosine", "--overall_size=12",
                    out=tmp_path / "out")  # fmt: skip
    assert list(found) == ["a", "b"]
    encode = Encoder()
    for rows, file in ((a, found["a"]), (b, found["b"])):
        sets = sets_of(rows)
        assert (file["inputs"], file["outputs"]) == (6, 30)
        assert file["words"] == pytest.approx(np.mean([len(row["response"].split()) for row in rows]))
        overall = random.Random(1).sample([text for texts in sets for text in texts], 12)
        for name, f in (("ead", metrics.averaged_ead), ("self_bleu", self_bleu), ("cosine", metrics.ngram_diversity),
                        ("vendi", lambda texts: metrics.embedding_vendi(encode(texts))),
                        ("embedding", lambda texts: metrics.embedding_diversity(encode(texts)))):  # fmt: skip
            values, numbers = [f(texts) for texts in sets], file["metrics"][name]
            assert numbers["per_input"] == pytest.approx(np.mean(values), abs=1e-6), name
            assert numbers["per_input_std"] == pytest.approx(np.std(values), abs=1e-6) and numbers["per_input_n"] == 6
            assert numbers["per_input_low"] < numbers["per_input"] < numbers["per_input_high"]
            assert numbers["across_input"] == pytest.approx(f([texts[0] for texts in sets]), abs=1e-6), name
            assert numbers["overall"] == pytest.approx(f(overall), abs=1e-6), name
    seen = encoders["encoder"].seen
    assert Counter(seen) == Counter({row["response"] for row in a + b}), "each text is encoded once"
    flat = stages.result_of(tmp_path / "out")
    assert flat["b/ead/per_input_high"] == found["b"]["metrics"]["ead"]["per_input_high"]
    assert flat["a/vendi/overall"] == found["a"]["metrics"]["vendi"]["overall"]
    assert flat["a/words"] == found["a"]["words"]
    shown = capsys.readouterr().out
    assert f"{flat['a/ead/per_input']:.4g}" in shown and f"{flat['b/self_bleu/across_input']:.4g}" in shown
    assert (tmp_path / "out" / "diversity.png").stat().st_size > 5000


def test_every_metric_knows_equal_texts_from_different_ones(encoders, tmp_path):
    """All equal is the least that a metric can say, all different more: of one input, across inputs and overall."""
    def file(name, text):
        rows = [{"prompt": f"p{i}", "response": text(i, k)} for i in range(5) for k in range(4)]
        return stages.write(tmp_path / f"{name}.jsonl", rows)

    letters = "abcdefgh"
    same = file("same", lambda i, k: "a b c d e f")
    other = file("other", lambda i, k: " ".join(letters[i + k - 3] + str(x * (3 * i + k)) for x in range(6)))
    found = measure(same, other, out=tmp_path / "out")
    equal, different = (found[name]["metrics"] for name in ("same", "other"))
    assert list(equal) == [*diversity.METRICS, *diversity.EMBEDDED]
    for name in equal:
        for view in ("per_input", "across_input", "overall"):
            low, high = equal[name][view], different[name][view]
            assert (high < low if name in ("self_bleu", "compression") else high > low), (name, view)
            if name in ("vendi", "vendi_ngram", "cosine", "embedding", "self_bleu"):
                least = float(name not in ("cosine", "embedding"))
                assert low == pytest.approx(least, abs=1e-6), (name, view)
    assert different["vendi_ngram"]["overall"] <= 20 and different["vendi"]["per_input"] <= 4


def test_nli_only_where_it_is_asked_for(encoders, tmp_path):
    a = stages.write(tmp_path / "a.jsonl", rows_of(inputs=3, outputs=3))
    found = measure(a, "--nli=some", "--no-plot", out=tmp_path / "1")["a"]["metrics"]
    sets = sets_of(rows_of(inputs=3, outputs=3))
    values = [metrics.nli_diversity(texts, Entailment()) for texts in sets]
    assert found["nli"]["per_input"] == pytest.approx(np.mean(values)) and "across_input" in found["nli_sentences"]
    assert not (tmp_path / "1" / "diversity.png").exists()
    encoders.clear()
    found = measure(a, "--metrics=ead", "--nli=some", "--no-plot", out=tmp_path / "2")["a"]["metrics"]
    assert list(found) == ["ead"] and not encoders  # no model is loaded for what needs none
    with pytest.raises(UserError, match="need --nli"):
        measure(a, "--metrics=nli", out=tmp_path / "3")


def test_sets_that_are_too_small_are_left_out_and_named(encoders, tmp_path, capsys):
    one = stages.write(tmp_path / "one.jsonl", rows_of(outputs=1))
    rows = rows_of(inputs=4, outputs=3)[:-2] + [{"prompt": "e", "response": ""}]
    mixed = stages.write(tmp_path / "mixed.jsonl", rows)
    single = stages.write(tmp_path / "single.jsonl", rows_of(inputs=1, outputs=3))
    found = measure(one, mixed, single, "--metrics=ead,rarefied,self_bleu", out=tmp_path / "out")
    assert set(found["one"]["metrics"]["ead"]) == {"across_input", "overall"}
    assert found["mixed"]["metrics"]["ead"]["per_input_n"] == 3
    assert "across_input" not in found["single"]["metrics"]["ead"]
    assert "per_input_low" in found["single"]["metrics"]["ead"]  # one input: no interval
    assert found["single"]["metrics"]["ead"]["per_input_low"] is None
    said = capsys.readouterr().out
    for words in ("one: one output an input; per-input metrics need two and are left out",
                  "mixed: 2 of 5 inputs have one output", "mixed: 1 of 11 outputs are empty",
                  "single: one input; across-input", "one: overall is all 6 outputs, not --overall_size 500",
                  "the files differ in their inputs: 1 are in all of them"):  # fmt: skip
        assert words in said, words


def test_which_outputs_count(encoders, tmp_path, capsys):
    a, b = rows_of(), rows_of(outputs=3, seed=2)
    files = stages.write(tmp_path / "a.jsonl", a), stages.write(tmp_path / "b.jsonl", b)
    measure(*files, "--metrics=ead", out=tmp_path / "0")
    assert "differ in their number of outputs" in (said := capsys.readouterr().out) and "--responses 3 makes" in said
    found = measure(*files, "--metrics=ead", "--responses=3", "--prompts=4", out=tmp_path / "1")
    values = [metrics.averaged_ead(texts[:3]) for texts in sets_of(a)[:4]]
    assert found["a"]["metrics"]["ead"]["per_input"] == pytest.approx(np.mean(values)) and found["a"]["outputs"] == 12
    assert "number of outputs" not in capsys.readouterr().out
    found = measure(*files, "--metrics=ead", "--words=4", out=tmp_path / "2")
    values = [metrics.averaged_ead([" ".join(text.split()[:4]) for text in texts]) for texts in sets_of(a)]
    assert found["a"]["metrics"]["ead"]["per_input"] == pytest.approx(np.mean(values)) and found["a"]["words"] == 4
    rows = [{"prompt": "p", "response": "x " * n} for n in (1, *[7] * 9, *[9] * 10)]
    long = stages.write(tmp_path / "long.jsonl", rows)
    measure(long, "--metrics=ead", "--words=-1", out=tmp_path / "3")
    assert "cut to 7 words" in capsys.readouterr().out
    spread = [measure(files[0], "--metrics=ead", "--overall_size=5", f"--seed={seed}", out=tmp_path / f"s{seed}")
              for seed in (1, 2)]  # fmt: skip
    first, second = (found["a"]["metrics"]["ead"] for found in spread)
    assert first["overall"] != second["overall"] and first["per_input"] == second["per_input"]


def test_runs_are_named_by_their_folders(encoders, tmp_path, monkeypatch):
    for name in ("sft", "ppo", "dpo", "here"):
        (tmp_path / name).mkdir()
        stages.write(tmp_path / name / "samples.jsonl", rows_of(inputs=2))
    monkeypatch.chdir(tmp_path / "here")
    paths = [tmp_path / "sft", tmp_path / "ppo" / "samples.jsonl", f"{tmp_path}/dpo/", "."]
    assert list(measure(*paths, "--metrics=ead", "--no-plot", out=tmp_path / "out")) == ["sft", "ppo", "dpo", "here"]


def test_the_figure_shows_the_numbers(tmp_path):
    """A file that lacks a view has no dot there; other numbers are another picture."""
    def draw(value, **more):
        numbers = {"per_input": value, "per_input_low": 0.2, "per_input_high": 0.7, "across_input": 0.5}
        files = {"a": {"metrics": {"ead": numbers, "self_bleu": numbers}},
                 "b": {"metrics": {"ead": {"across_input": 0.4, **more}, "self_bleu": {}}}}  # fmt: skip
        (tmp_path / "diversity.json").write_text(json.dumps({"files": files}))
        return plot.diversity(tmp_path).read_bytes()

    first = draw(0.4)
    assert first == draw(0.4) and first != draw(0.5) and first != draw(0.4, per_input=0.5, per_input_low=None)


def test_splits_and_references_are_rows_of_their_own(encoders, tmp_path):
    rows = rows_of(inputs=3, split="test") + rows_of(inputs=2, outputs=2, seed=3, split="ood_test")
    for i, row in enumerate(rows):
        row["reference"] = [f"human {row['prompt']}", "another"] if i == 0 else f"human {row['prompt']}"
    a = stages.write(tmp_path / "a.jsonl", rows)
    found = measure(a, "--metrics=distinct", out=tmp_path / "1")
    outputs = {name: file["outputs"] for name, file in found.items()}
    assert outputs == {"a test": 15, "a ood_test": 4, "human references": 4}
    texts = ["human p0", "human p1", "human p2"]
    assert found["human references"]["metrics"]["distinct"]["across_input"] == metrics.averaged_distinct(texts)
    assert "human references" not in measure(a, "--metrics=distinct", "--no-references", out=tmp_path / "2")
    (tmp_path / "x").mkdir()
    twin = stages.write(tmp_path / "x" / "a.jsonl", rows_of())
    assert list(measure(a, twin, "--metrics=ead", out=tmp_path / "3"))[2] == str(twin)  # names that are alike are whole


def test_simulated_best_of_n(encoders, tmp_path, capsys):
    """Each output is the k-th best of M with probability C(M - k, N - 1) / C(M, N); all seeds are the same draw."""
    rows = [{"prompt": "p", "response": f"r{i}", "scores": {"other": 0, "gold": i}} for i in (3, 0, 4, 1, 2)]
    cfg = diversity.Config(files=("x",), simulate_bon=3, n_outputs=20000, by="gold")
    picked = Counter(diversity.simulate_bon(cfg, "x", {"p": rows})["p"])
    for i in range(5):
        expected = math.comb(i, 2) / math.comb(5, 3)
        assert picked[f"r{i}"] / 20000 == pytest.approx(expected, abs=0.015) and (expected > 0 or not picked[f"r{i}"])
    assert Counter(diversity.simulate_bon(cfg, "x", {"p": rows})["p"]) == picked
    a = stages.write(tmp_path / "a.jsonl", rows_of())
    capsys.readouterr()
    found = measure(a, "--metrics=distinct", "--simulate_bon=5", "--n_outputs=4", out=tmp_path / "out")
    said = capsys.readouterr().out
    assert "best of 5 by gold" in said and "repeat each other" in said and "--responses 4 --n_outputs 4" in said
    best = [max(rows_of()[i : i + 5], key=lambda row: row["scores"]["gold"]) for i in range(0, 30, 5)]
    file = found["a best of 5"]["metrics"]["distinct"]  # of all five: always the best
    assert file["across_input"] == metrics.averaged_distinct([row["response"] for row in best])
    assert file["per_input"] == pytest.approx(np.mean([metrics.averaged_distinct([r["response"]] * 4) for r in best]))


def test_rarefied_compares_at_counts_that_all_files_have(encoders, tmp_path):
    short, long = rows_of(inputs=30, seed=3), rows_of(inputs=30, seed=1)
    for row in long:
        row["response"] = " ".join([row["response"]] + random.Random(row["response"]).choices("abcdefgh", k=20))
    files = [stages.write(tmp_path / f"{n}.jsonl", rows) for n, rows in (("short", short), ("long", long))]
    found = measure(*files, "--metrics=distinct,rarefied", "--overall_size=0", out=tmp_path / "out")
    at = json.loads((tmp_path / "out" / "diversity.json").read_text())["rarefied_at"]["per_input"]
    totals = sorted(metrics.ngram_counts(texts, 2).total() for texts in sets_of(short))
    assert at["2"] == totals[1]  # the 5 % quantile of 30
    a, b = (found[name]["metrics"]["rarefied"] for name in ("short", "long"))
    assert 27 <= a["per_input_n"] < 30 == b["per_input_n"]  # for each n one of 30 has less
    plain = [found[name]["metrics"]["distinct"]["per_input"] for name in ("short", "long")]
    assert abs(a["per_input"] - b["per_input"]) < 0.2 * abs(plain[0] - plain[1])
    words = stages.write(tmp_path / "words.jsonl", [{"prompt": "p", "response": str(k)} for k in range(5)])
    alone = measure(words, "--metrics=rarefied,self_bleu", out=tmp_path / "words")["words"]["metrics"]
    assert alone["rarefied"]["per_input"] == 1  # single words: of n-grams only those of n = 1 count
    assert alone["self_bleu"]["per_input"] == 0


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], ("expected files of samples", "python diversity.py A.jsonl")),
        (["good.jsonl", "--metrics", "ead,vendy"], ("--metrics", "'vendy'", "Did you mean vendi?")),
        (["good.jsonl", "--metric", "ead"], ("unknown flag", "--metrics")),
        (["nowhere.jsonl"], ("nowhere.jsonl", "no such file")),
        (["."], ("samples.jsonl", "no such file")),
        (["empty.jsonl"], ("empty.jsonl", "found none")),
        (["keys.jsonl"], ("keys.jsonl:2", "response", "only prompt, text")),
        (["number.jsonl"], ("number.jsonl:1", "for response it has a int")),
        (["good.jsonl", "good.jsonl"], ("given twice",)),
        (["good.jsonl", "--encoder", "/no/such/folder"], ("/no/such/folder",)),
        (["good.jsonl", "--simulate_bon", "9"], ("--simulate_bon 9", "good.jsonl", "only 5 outputs", "'p0'")),
        (["good.jsonl", "--simulate_bon", "2", "--by", "gld"], ("--by", "Did you mean gold?")),
        (["plain.jsonl", "--simulate_bon", "2"], ("plain.jsonl", "no scores")),
        (["good.jsonl", "--nli", "unfit"], ("CONTRADICTION and ENTAILMENT, found A, B",)),
        (["good.jsonl", "--words", "-2"], ("--words",)),
        (["good.jsonl", "--out", "taken"], ("--out taken exists\nadd --overwrite to delete it first",)),
    ],
)
def test_what_the_user_got_wrong(encoders, monkeypatch, tmp_path, flags, words):
    monkeypatch.chdir(tmp_path)
    stages.write(tmp_path / "good.jsonl", rows_of())
    stages.write(tmp_path / "keys.jsonl", [{"prompt": "p", "response": "r"}, {"prompt": "p", "text": "r"}])
    stages.write(tmp_path / "number.jsonl", [{"prompt": "p", "response": 3}])
    stages.write(tmp_path / "plain.jsonl", [{"prompt": "p", "response": "r"}] * 3)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text("{}")
    said = stages.refuses(diversity, *flags)
    assert all(word in said for word in words), said
    assert not (tmp_path / "runs").exists()


def test_every_flag_is_read():
    stages.check_every_flag_is_read(diversity)
