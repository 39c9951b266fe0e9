"""The enumerable world and the exact numbers: against brute force over all strings, by hand, and against samples."""

import itertools
import math
import random
import re

import pytest
import torch

from minalign import exact
from minalign.errors import UserError
from minalign.generate import generate
from minalign.hub import find_model
from minalign.model import GPT2, GPT2Config
from minalign.tasks import grammar
from minalign.tasks.grammar import INVALID, PROMPT, Grammar, reward, sentences
from minalign.tokenizer import Tokenizer

ENGLISH = re.compile(
    r" (Mira|Tom|Anna|Oskar|Lena) (sang|laughed|(found|lost) a (small )?(dog|cat|goat|lantern|hat|key))"
    r"( at the market| at the harbour| in the garden| on the bridge)?( and was (happy|sad))?"
)
TEXTS = list(sentences())


@pytest.fixture(scope="module")
def vocabulary():
    return Tokenizer.from_folder(find_model("nano"))


@pytest.fixture(scope="module")
def world(vocabulary):
    return Grammar(vocabulary)


# ------------------------------------------------------------------------------ exact numbers, in a world of 39 strings

V, R, STOP = 4, 3, 3  # three tokens and the stop, at most three of them
EVERY = [(*s, STOP) for n in range(1, R) for s in itertools.product(range(3), repeat=n)] + list(
    itertools.product(range(3), repeat=R)
)


def little_model(seed=0):
    torch.manual_seed(seed)
    return GPT2(GPT2Config(V, n_positions=8, n_embd=8, n_layer=1, n_head=2, initializer_range=0.7)).eval()


def rows(strings):
    tokens = torch.tensor([[*s, *[STOP] * (R - len(s))] for s in strings])
    return tokens, torch.arange(R) < torch.tensor([len(s) for s in strings])[:, None]


PROMPT_IDS = torch.tensor([[1, 0, 2]])


def listed(model, strings, batch=1024):
    return exact.string_logprobs(model, PROMPT_IDS, *rows(strings), STOP, min_new_tokens=1, batch=batch)


def test_string_logprobs_are_the_products_of_the_model_s():
    model = little_model()
    found = listed(model, EVERY)
    assert found.shape == (39,) and found.dtype == torch.float64
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-6)
    for k, string in enumerate(EVERY):
        expected, state = 0.0, PROMPT_IDS[0].tolist()
        for t, token in enumerate(string):  # a forward pass of its own for every token
            with torch.no_grad():
                logits = model.lm_head(model(torch.tensor([state])))[0, -1].double()
            if t == 0:
                logits[STOP] = -math.inf
            expected += logits.log_softmax(0)[token].item()
            state.append(token)
        assert found[k].item() == pytest.approx(expected, abs=1e-5)
    for batch in (1, 7, 39):
        torch.testing.assert_close(listed(model, EVERY, batch), found, atol=1e-5, rtol=0)


def test_string_logprobs_are_those_under_which_generate_sampled():
    model = little_model()
    samples = generate(model, PROMPT_IDS, STOP, 200, R, 1, generator=torch.Generator().manual_seed(0))
    strings = [tuple(ids[:n]) for ids, n in zip(samples.tokens.tolist(), samples.mask.sum(1).tolist())]
    found = dict(zip(EVERY, listed(model, EVERY).tolist()))
    for string, logprob in zip(strings, samples.logprobs.sum(1).tolist()):
        assert found[string] == pytest.approx(logprob, abs=1e-5)


def brute_force(beta=0.5, worst=-1.5):
    """Return p_ref and rewards of all 39 strings, of which the first 20 are listed, and p* by its formula."""
    p_ref = listed(little_model(), EVERY)
    p_ref -= p_ref.logsumexp(0)
    rewards = torch.cat([2 * torch.rand(20) - 1, torch.full((19,), worst)]).double()
    weights = p_ref.exp() * (rewards / beta).exp()
    return p_ref, rewards, (weights / weights.sum()).log()


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_the_optimum_with_all_invalid_strings_as_one_is_that_over_all_strings(beta):
    p_ref, rewards, p_star = brute_force(beta)
    target, invalid = exact.optimum(p_ref[:20], rewards[:20], beta, -1.5)
    torch.testing.assert_close(target, p_star[:20], atol=1e-12, rtol=0)
    assert invalid == pytest.approx(p_star[20:].exp().sum().item(), rel=1e-9) and invalid > 1e-12
    assert exact.expected(target, rewards[:20], -1.5) == pytest.approx((p_star.exp() * rewards).sum().item(), rel=1e-9)


def test_p_star_maximises_the_reward_less_the_kl():
    beta = 0.5
    p_ref, rewards, p_star = brute_force(beta)

    def objective(log_p):
        return (log_p.exp() * (rewards - beta * (log_p - p_ref))).sum().item()

    best = objective(p_star)
    for scale in (1e-3, 0.1, 1.0, 5.0):
        for _ in range(20):
            other = (p_star + scale * torch.randn(39)).log_softmax(0)
            # What is missing to the best is beta KL(p || p*), no more and no less.
            assert best - objective(other) == pytest.approx(beta * exact.kl(other, p_star), abs=1e-12)
            assert objective(other) < best
    # The collapsed view of the same distributions sees at most as much.
    collapsed = exact.distances(p_star[:20], other[:20])
    assert 0 < collapsed["kl_policy_target"] <= exact.kl(other, p_star) + 1e-12
    assert collapsed["tv"] <= exact.tv(other, p_star) + 1e-12


def test_distances_by_hand():
    target, policy = torch.tensor([0.5, 0.3]).double().log(), torch.tensor([0.1, 0.6]).double().log()
    d, ln = exact.distances(target, policy), math.log
    assert d["tv"] == pytest.approx((0.4 + 0.3 + 0.1) / 2)
    assert d["kl_target_policy"] == pytest.approx(0.5 * ln(5) + 0.3 * ln(0.5) + 0.2 * ln(2 / 3))
    assert d["kl_policy_target"] == pytest.approx(0.1 * ln(0.2) + 0.6 * ln(2) + 0.3 * ln(1.5))
    assert d["tv_valid"] == pytest.approx(5 / 8 - 1 / 7)
    assert d["kl_target_policy_valid"] == pytest.approx(5 / 8 * ln(5 / 8 * 7) + 3 / 8 * ln(3 / 8 * 7 / 6))
    assert d["kl_policy_target_valid"] == pytest.approx(1 / 7 * ln(8 / 5 / 7) + 6 / 7 * ln(6 / 7 * 8 / 3))
    assert (d["valid_mass"], d["target_valid_mass"]) == (pytest.approx(0.7), pytest.approx(0.8))
    same = exact.distances(target, target)
    assert all(abs(value) < 1e-15 for key, value in same.items() if not key.endswith("mass"))
    # A string, or all invalid ones, that one of the two never writes.
    half = torch.tensor([0.0, -math.inf]).double()
    d = exact.distances(half, target)
    assert d["kl_target_policy"] == pytest.approx(ln(2)) and d["kl_policy_target"] == math.inf
    assert d["tv"] == pytest.approx(0.5) and d["target_valid_mass"] == 1
    assert exact.outcomes(torch.tensor([0.5, 0.5 + 1e-9], dtype=torch.float64).log())[-1] == -math.inf  # not NaN


# -------------------------------------------------------------------------------------------------------- the sentences


def test_the_sentences_are_all_of_a_small_language():
    assert len(TEXTS) == 5 * (2 + 2 * 2 * 6) * 5 * 3 == 1950
    assert all(ENGLISH.fullmatch(text) for text in TEXTS)
    assert {len(text.split()) for text in TEXTS} == {2, 4, 5, 7, 8, 10, 11}
    # The stop is a choice: many sentences go on where another ends.
    prefixes = {text[:i] for text in TEXTS for i, c in enumerate(text) if c == " "}
    assert sum(text in prefixes for text in TEXTS) > 300


def test_every_sentence_suits_nano_word_by_word(world, vocabulary):
    assert world.tokens.shape == world.mask.shape == (1950, 12) and world.rule.max_new_tokens == 12
    for text, ids, mask in zip(TEXTS, world.tokens.tolist(), world.mask.tolist()):
        n = sum(mask)
        assert mask == [True] * n + [False] * (12 - n)
        assert n == len(text.split()) + 1 and ids[n - 1 :] == [vocabulary.eot] * (13 - n)
        assert vocabulary.eot not in ids[: n - 1] and vocabulary.decode(ids[: n - 1]) == text
        assert world.rule.cut(vocabulary.encode(text)) == ids[:n]
    assert len({tuple(ids) for ids in world.tokens.tolist()}) == 1950
    assert vocabulary.decode(world.prompt[0].tolist()) == PROMPT


def test_the_sft_distribution_by_hand():
    p = dict(zip(TEXTS, grammar.pmf().tolist()))
    assert sum(p.values()) == pytest.approx(1, abs=1e-12) and min(p.values()) > 1e-6
    # 5 * (2 * 4) * 5 * (3 * 3 * 4 / 10) = 720 against 0.5 * 1 * 1 * (2 * 1 * 1 / 10) = 0.1
    common, rare = " Mira lost a dog at the market and was sad", " Lena found a small key on the bridge and was sad"
    assert p[common] / p[rare] == pytest.approx(7200) and p[common] == max(p.values())

    def share(pattern, given):
        return sum(q for t, q in p.items() if pattern in t and given in t) / sum(q for t, q in p.items() if given in t)

    assert share("sad", " lost ") == pytest.approx(5 / 9) and share("sad", " found ") == pytest.approx(1 / 9)
    assert share("market", "Mira") == pytest.approx(8 / 16) and share("market", "Tom") == pytest.approx(2 / 16)
    entropy = -sum(q * math.log(q) for q in p.values())
    assert 6 < entropy < math.log(1950) - 0.9  # skewed


def test_completions_are_samples_of_it():
    n = 40_000
    records = grammar.completions(n, seed=3)
    assert records[0].kind == "completion" and records[0].prompt == PROMPT
    counts = dict.fromkeys(TEXTS, 0)
    for record in records:
        counts[record.responses[0]] += 1  # KeyError: no sentence
    p = grammar.pmf()
    chi2 = ((torch.tensor(list(counts.values())) - n * p) ** 2 / (n * p)).sum().item()
    assert abs(chi2 - 1949) < 5 * math.sqrt(2 * 1949 + (1 / p).sum().item() / n)
    assert grammar.completions(50, 3) == records[:50] != grammar.completions(50, 4)


# ------------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize("name, text, value", [
    ("animals", " Tom lost a small cat in the garden", 1), ("animals", " Tom lost a small key in the garden", -1),
    ("animals", " Tom sang in the garden", 0), ("happy", " Lena laughed and was happy", 1),
    ("happy", " Lena found a goat and was sad", -1), ("happy", " Lena found a goat", 0), ("length", " Lena sang", -1),
    ("length", " Lena found a small goat on the bridge and was sad", 1), ("length", " Tom lost a key", -5 / 9),
    ("table:1", " Tom sang", -0.343893), ("words:1", " Tom sang", 0.163456),
])  # fmt: skip
def test_rewards_by_hand(name, text, value):
    """The random ones are as they were on the first day: the same on every machine."""
    assert reward(name)(text) == pytest.approx(value, abs=1e-6)


def test_random_rewards():
    words, table, other = reward("words:7"), reward("table:7"), reward("table:8")
    a, b, c, d = " Tom lost a key", " Tom lost a hat", " Mira lost a key", " Mira lost a hat"
    assert words(a) - words(b) == pytest.approx(words(c) - words(d)) != 0
    assert abs((table(a) - table(b)) - (table(c) - table(d))) > 0.01
    numbers = torch.tensor([table(text) for text in TEXTS], dtype=torch.float64)
    assert len(set(numbers.tolist())) == 1950 and abs(numbers.mean()) < 0.05 and 0.55 < numbers.std() < 0.61
    assert abs(torch.corrcoef(torch.stack([numbers, torch.tensor([other(t) for t in TEXTS]).double()]))[0, 1]) < 0.1


@pytest.mark.parametrize("name", ["animals", "happy", "length", "words:2", "table:2"])
def test_nothing_but_a_sentence_earns_a_reward(name):
    formula = reward(name)
    assert all(-1 <= formula(text) <= 1 for text in TEXTS)
    assert len({formula(text) for text in TEXTS}) > 2
    for hack in ("", " ", "Tom sang", " Tom sang ", "  Tom sang", " Tom sang.", " tom sang", " Tom sang sang",
                 " dog dog dog", " Tom found a dog dog", " Tom found a", " Tom sang and was", PROMPT, " Mira",
                 " Tom found a dog and was happy and was happy", " Tom sang\n", " Tom sang Tom sang"):  # fmt: skip
        assert formula(hack) == INVALID < -1, hack


@pytest.mark.parametrize("name", ["", "animal", "animals:1", "happy:", "words", "words:", "words:x", "table:-1", ":1"])
def test_an_unknown_reward_is_refused(name):
    with pytest.raises(UserError, match=r"expected animals, happy, length, words:SEED or table:SEED") as error:
        reward(name)
    assert str(error.value).startswith(f"--grammar_reward {name}:")


# --------------------------------------------------------------------------------------------------------- preferences


@pytest.mark.parametrize("noise, invalid", [(1.0, 0.0), (0.3, 0.4)])
def test_labels_follow_bradley_terry(noise, invalid):
    formula = reward("words:5")
    records = grammar.preferences(6000, 1, formula, noise, invalid)
    assert len(records) == 6000 and all(r.kind == "pair" and r.best == 0 and r.prompt == PROMPT for r in records)
    assert all(r.responses[0] != r.responses[1] for r in records)
    # How often the better one of a pair was chosen, in bands of its margin, against sigmoid(margin / noise).
    gaps = torch.tensor([formula(a) - formula(b) for a, b in (r.responses for r in records)])
    right, expected = (gaps > 0).double(), torch.sigmoid(gaps.abs() / noise)
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 4)):
        band = (gaps.abs() > low) & (gaps.abs() <= high)
        spread = math.sqrt((expected * (1 - expected))[band].sum())
        assert abs((right - expected)[band].sum()) < 4.5 * spread and band.sum() > 200
    spoilt = sum(any(text not in sentences() for text in r.responses) for r in records) / 6000
    assert spoilt == pytest.approx(invalid, abs=0.03)


def test_the_pairs_of_a_labeller_without_noise_and_of_a_seed():
    formula = reward("table:1")
    records = grammar.preferences(500, 2, formula, 1e-9)
    assert all(formula(r.responses[0]) > formula(r.responses[1]) for r in records)
    assert grammar.preferences(500, 2, formula, 1e-9) == records != grammar.preferences(500, 3, formula, 1e-9)
    # Both are drawn from the SFT distribution (here: not Mira's share, 43 %, of the uniform 20 %).
    mira = sum("Mira" in text for r in records for text in r.responses) / 1000
    assert mira == pytest.approx(0.432, abs=0.07)


def test_spoilt_sentences_are_of_the_same_words_and_no_sentences():
    rng = random.Random(0)
    for text in rng.sample(TEXTS, 300):
        spoilt = grammar.spoil(text, rng)
        assert spoilt not in sentences() and spoilt.strip() and spoilt[0] == " "
        assert set(spoilt.split()) <= set(text.split())


# ---------------------------------------------------------------------------------------------------------- evaluation


def test_evaluate_knows_the_reference_and_the_optimum(world, monkeypatch):
    formula, beta = reward("animals"), 0.5
    rewards = torch.tensor([formula(text) for text in TEXTS]).double()
    ref = (grammar.pmf() * 0.9).log()  # a tenth of the reference is invalid
    now = {"policy": ref}
    monkeypatch.setattr(world, "logprobs", lambda model: now["policy"])
    at_ref = world.evaluate(None, ref, formula, beta)
    # By hand: animals, things and neither have 14, 12 and 3 parts of 29; the weights e^2, e^-2, 1, and e^-4.
    weights = [14 / 29 * 0.9 * math.e**2, 12 / 29 * 0.9 * math.e**-2, 3 / 29 * 0.9, 0.1 * math.e**-4]
    z = sum(weights)
    assert at_ref["target_valid_mass"] == pytest.approx(1 - weights[3] / z)
    assert at_ref["target_expected_reward"] == pytest.approx((weights[0] - weights[1] - 2 * weights[3]) / z)
    assert at_ref["expected_reward"] == pytest.approx(0.9 * (14 - 12) / 29 - 0.1 * 2)
    assert at_ref["valid_mass"] == pytest.approx(0.9) and at_ref["kl_ref"] == pytest.approx(0, abs=1e-14)
    assert at_ref["tv_valid"] == pytest.approx(weights[0] / (z - weights[3]) - 14 / 29)
    assert at_ref["kl_target_policy"] == pytest.approx(at_ref["target_kl_ref"])

    now["policy"] = exact.optimum(ref, rewards, beta, INVALID)[0]
    at_best = world.evaluate(None, ref, formula, beta)
    assert max(at_best["tv"], at_best["tv_valid"], abs(at_best["kl_policy_target"])) < 1e-12
    assert at_best["expected_reward"] == pytest.approx(at_best["target_expected_reward"])
    # What is missing to the best is beta KL(policy || p*).
    missing = [e["expected_reward"] - beta * e["kl_ref"] for e in (at_best, at_ref)]
    assert missing[0] - missing[1] == pytest.approx(beta * at_ref["kl_policy_target"])


def test_a_real_model_is_evaluated(world, vocabulary, make_model):
    """The log-prob of a sentence is what sampling it would have said, and training on it raises it."""
    model = make_model(vocab_size=vocabulary.n_vocab, std=0.05)
    logprobs = world.logprobs(model)
    assert logprobs.shape == (1950,) and logprobs.dtype == torch.float64 and logprobs.isfinite().all()
    for k in (0, 700, 1949):
        ids = world.prompt[0].tolist() + world.tokens[k][world.mask[k]].tolist()
        with torch.no_grad():
            logits = model.lm_head(model(torch.tensor([ids])))[0].double()
        P = world.prompt.size(1)
        logits[P - 1, world.stop] = -math.inf
        expected = logits.log_softmax(1)[range(P - 1, len(ids) - 1), ids[P:]].sum().item()
        assert logprobs[k].item() == pytest.approx(expected, abs=1e-4)
    found = world.evaluate(model, logprobs, reward("length"), 1.0)
    assert found["kl_ref"] == 0 and 0 <= found["tv_valid"] <= 1 and found["valid_mass"] < 1e-6
    samples = generate(model, world.prompt, n=8, generator=torch.Generator().manual_seed(0), **world.rule.settings())
    assert samples.tokens.shape == (8, 12) and (samples.tokens[:, 0] != world.stop).all()
