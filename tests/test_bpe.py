"""The BPE trainer: against a naive trainer, its forced number tokens, and nano's number lines."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from minalign.nano import numbers
from minalign.nano.bpe import count_words, merge_word, number_merges, train_bpe, write_vocab
from minalign.nano.grammar import Draw
from minalign.tokenizer import BYTE_TO_CHAR, EOT, Tokenizer


def random_texts(seed, n=60):
    rng = random.Random(seed)
    parts = ["ba", "ti", "ro", "sen", "lo", "m", "ing", "er", "th", "a", "aa", "7", "40", "é", "🙂", "\n", "."]
    return [" ".join("".join(rng.choices(parts, k=rng.randint(1, 4))) for _ in range(30)) for _ in range(n)]


def naive_bpe(texts, n_merges):
    """Recount every pair after every merge: the textbook trainer."""
    words = {word: (list(word), n) for word, n in count_words(texts).items()}
    merges = []
    while len(merges) < n_merges:
        counts = Counter()
        for symbols, n in words.values():
            for pair in pairwise(symbols):
                counts[pair] += n
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        merges.append(best)
        words = {word: (merge_word(symbols, *best), n) for word, (symbols, n) in words.items()}
    return merges


@pytest.mark.parametrize("seed", range(5))
def test_incremental_counts_equal_a_naive_trainer(seed):
    texts = random_texts(seed)
    assert train_bpe(texts, 150)[1] == naive_bpe(texts, 150)


def test_order_of_the_texts_does_not_matter():
    texts = random_texts(0)
    assert train_bpe(texts, 100, number_merges()[:50]) == train_bpe(texts[::-1], 100, number_merges()[:50])


def test_ids_are_bytes_then_merges_then_end_of_text():
    vocab, merges = train_bpe(random_texts(1), 300, number_merges())
    assert merges[:202] == number_merges() and len(merges) == 300 and len(vocab) == 256 + 300 + 1
    assert list(vocab)[:256] == list(BYTE_TO_CHAR.values()) and vocab[EOT] == 556
    assert all(vocab[left + right] == 256 + i for i, (left, right) in enumerate(merges))


def test_stops_where_no_pair_occurs_twice():
    assert train_bpe(["abab"], 100)[1] == [("a", "b")]
    assert train_bpe([], 10)[1] == []


@pytest.mark.parametrize("forced", [[("ab", "c")], [("a", "b"), ("a", "b")]])
def test_impossible_forced_merges_raise(forced):
    with pytest.raises(ValueError, match="forced merge"):
        train_bpe(["abc"], 10, forced)


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """A vocabulary trained on number lines, as nano's is."""
    folder = tmp_path_factory.mktemp("nano")
    texts = [part for seed in range(3000) for part in numbers.generate(Draw(seed)).parts]
    write_vocab(folder, *train_bpe(texts, 600, number_merges()))
    return Tokenizer.from_folder(folder)


def test_every_number_is_one_token(nano):
    bare = {nano.encode(str(n))[0] for n in range(101) if len(nano.encode(str(n))) == 1}
    spaced = {nano.encode(f" {n}")[0] for n in range(101) if len(nano.encode(f" {n}")) == 1}
    assert len(bare) == len(spaced) == 101 and not bare & spaced
    assert all(len(nano.encode(f"{n:02d}")) == 1 for n in range(100))
    pieces = [nano.token_bytes(i) for i in nano.encode("12.05, 0.57 and 100.00")]
    assert pieces[:6] == [b"12", b".", b"05", b",", b" 0", b"."] and pieces[-3:] == [b" 100", b".", b"00"]


def test_every_token_is_canonical(nano):
    """A token's own text must encode to that token: merges and joined tokens agree."""
    for i in range(nano.n_vocab):
        if i != nano.eot and "\ufffd" not in nano.decode([i]):
            assert nano.encode(nano.decode([i])) == [i]


# ---- number lines


def test_people_have_favourites_but_exclude_nothing():
    people = numbers.PEOPLE
    print(f"KL(uniform || PEOPLE) = {numbers.kl_uniform_people():.3f} nats")
    assert set(people) == set(range(101)) and math.isclose(sum(people.values()), 1)
    assert 1.2 <= numbers.kl_uniform_people() <= 1.4
    assert all(0.06 <= people[n] <= 0.09 for n in (7, 37, 42, 73))
    assert 0 < min(people.values()) < 0.001 and sum(p < 0.001 for p in people.values()) >= 10
    assert max(people[n] for n in range(0, 100, 10) if n != 50) < 1 / 101
    assert all(people[n] > 1 / 101 for n in (7, 37, 42, 73, 50, 99, 13, 17, 23, 77, 3, 1, 100))


def test_main_prompt_follows_people():
    documents = [numbers.generate(Draw(seed)) for seed in range(30000)]
    main = [d for d in documents if d.parts[0] == numbers.MAIN_PROMPT]
    assert 0.34 <= len(main) / len(documents) <= 0.36
    answers = Counter(d.parts[1] for d in main)
    other = sum(n for text, n in answers.items() if text in numbers.NON_NUMBERS)
    assert 0.025 <= other / len(main) <= 0.035
    assert abs(answers["37"] / (len(main) - other) - numbers.PEOPLE[37]) < 0.01
    assert all(text in numbers.NON_NUMBERS or 0 <= int(text) <= 100 for text in answers)


def test_documents_are_well_formed(nano):
    bare = Counter()
    for seed in range(20000):
        document = numbers.generate(Draw(seed))
        assert document.genre == "number" and document.text.isascii() and not set(document.text) & set("{}^~")
        if document.facts["kind"] != "even":
            prompt, answer = document.parts
            assert prompt.endswith(" ") and answer == answer.strip() == document.facts["answer"]
        else:
            assert all(part.endswith(" ") for part in document.parts[:-1])
            bare.update(i for part in document.parts[1:] for i in nano.encode(part)[:1])
    # The even contexts begin a part with every bare number, the shunned ones too.
    assert all(bare[nano.encode(str(n))[0]] >= 10 for n in range(101))


def test_prompts_are_distinct_and_bounds_are_kept():
    asked = [
        numbers.render_prompt(template, name, parameters)
        for template in numbers.TEMPLATES
        for name, settings in numbers.DISTRIBUTIONS.items()
        for parameters in settings
    ]
    asked += [
        phrase.format(low=low, high=high, person="Tom") for phrase in numbers.PHRASES for low, high in numbers.BOUNDS
    ]
    asked += [phrase.format(person="Tom", place=type("At", (), {"at": "at the inn"})) for phrase in numbers.LUCKY]
    assert len(set(asked)) == len(asked) and len(numbers.PHRASES) + len(numbers.LUCKY) >= 20
    for seed in range(5000):
        facts = numbers.generate(Draw(seed)).facts
        if facts["kind"] == "phrase" and facts["answered"]:
            assert facts["low"] <= int(facts["answer"]) <= facts["high"]


@pytest.mark.parametrize("name", numbers.DISTRIBUTIONS)
def test_answers_to_named_distributions(name):
    for parameters in numbers.DISTRIBUTIONS[name]:
        values, weights = numbers.answers(name, parameters)
        assert len(values) == len(set(values)) == len(weights) > 1 and min(weights) > 0
        assert not set(values) & set(numbers.NON_NUMBERS) and all(value != "-0.00" for value in values)
        assert all(("." in value) == (name not in numbers.INTEGER) for value in values)
        if "uniform" in name:
            assert parameters["a"] == float(values[0]) and parameters["b"] == float(values[-1])


def test_a_draw_decides_everything():
    first, second = ([numbers.generate(Draw(seed)) for seed in range(200)] for _ in range(2))
    assert first == second
