"""The rng task: targets against independent oracles, the reward, exact numbers against brute force and samples."""

import itertools
import math

import numpy as np
import pytest
import torch

from minalign import hub
from minalign.errors import UserError
from minalign.generate import Samples
from minalign.model import GPT2, GPT2Config
from minalign.tasks import rng
from minalign.tasks.rng import Condition, distances, parse_target, prompt_of
from minalign.tokenizer import Tokenizer


class Digits:
    """A vocabulary of 12: the digits, one other token, the stop. Small enough to list every string of three tokens."""

    n_vocab, eot = 12, 11

    def encode(self, text):
        return [int(c) if c in "0123456789" else 10 for c in text]


def digits(spec="uniform", max_len=3, penalty=14.0, **settings):
    return Condition(parse_target(spec), "main", Digits(), max_len, penalty, **settings)


def every_string(max_len):
    return [s for n in range(1, max_len + 1) for s in itertools.product(range(11), repeat=n)]


@pytest.fixture
def tiny(rng_folder):
    return hub.from_pretrained(str(rng_folder)), Tokenizer.from_folder(rng_folder)


def small_model(n_embd=8, std=0.3, seed=0):
    torch.manual_seed(seed)
    model = GPT2(GPT2Config(12, n_positions=128, n_embd=n_embd, n_layer=1, n_head=2, initializer_range=std))
    with torch.no_grad():
        model.transformer.ln_f.weight += 0.3 * torch.randn(n_embd)
        model.transformer.ln_f.bias += 0.3 * torch.randn(n_embd)
    return model.eval()


# -------------------------------------------------------------------------------------------------------- targets


def test_the_support_is_0_to_100_both_included():
    target = parse_target("uniform")
    assert target.texts == [str(n) for n in range(101)]
    assert target.probs.tolist() == pytest.approx([1 / 101] * 101, rel=1e-14)
    assert parse_target("uniform", 5, 60).texts == [str(n) for n in range(5, 61)]
    assert parse_target("uniform:b=7", 5, 60).texts == ["5", "6", "7"]  # the spec wins over --low and --high


def integral(density, low, high, n=200):
    """Simpson's rule."""
    x = np.linspace(low, high, n + 1)
    weights = np.array([1, *[4, 2] * (n // 2 - 1), 4, 1])
    return float((weights * density(x)).sum() * (high - low) / n / 3)


def poisson(lam):
    p = [math.exp(-lam)]
    for n in range(1, 101):
        p.append(p[-1] * lam / n)
    return {str(n): p for n, p in enumerate(p)}


def binomial(n, p):
    weights = np.ones(1)
    for _ in range(n):  # the sum of n coins
        weights = np.convolve(weights, [1 - p, p])
    return {str(k): w for k, w in enumerate(weights)}


def geometric(p):
    left, out = 1.0, {}
    for n in range(1, 101):  # the trial of the first success
        out[str(n)] = left * p
        left *= 1 - p
    return out


def grid(density, low, high):
    points = {
        n: (max(n / 100 - 0.005, low), min(n / 100 + 0.005, high))
        for n in range(round(low * 100), round(high * 100) + 1)
    }
    return {f"{n / 100:.2f}": integral(density, *bounds) for n, bounds in points.items()}


def normal(mean, sd):
    return lambda x: np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))


ORACLES = {
    "uniform": {str(n): 1.0 for n in range(101)},
    "uniform:a=3:b=5": {"3": 1.0, "4": 1.0, "5": 1.0},
    "poisson": poisson(4),
    "poisson:lam=20": poisson(20),
    "poisson:lam=0.5": poisson(0.5),
    "poisson:lam=100": poisson(100),
    "binomial": binomial(10, 0.5),
    "binomial:n=100:p=0.3": binomial(100, 0.3),
    "geometric": geometric(0.5),
    "geometric:p=0.02": geometric(0.02),
    "gaussian": grid(normal(0, 1), -6, 6),
    "gaussian:mean=50:std_dev=0.5": grid(normal(50, 0.5), 47, 53),
    "exponential": grid(lambda x: np.exp(-x), 0, 20),
    "exponential:scale=0.1": grid(lambda x: 10 * np.exp(-10 * x), 0, 2),
    "uniform_real": grid(lambda x: np.ones_like(x), 0, 1),
    "uniform_real:a=-1:b=0.5": grid(lambda x: np.ones_like(x), -1, 0.5),
}


@pytest.mark.parametrize("spec", ORACLES)
def test_every_target_against_an_independent_formula(spec):
    oracle, target = ORACLES[spec], parse_target(spec)
    total = sum(oracle.values())
    oracle = {text: p / total for text, p in oracle.items() if p / total >= 1e-8}
    total = sum(oracle.values())
    found = dict(zip(target.texts, target.probs))
    assert list(found) == list(oracle)  # nothing twice, nothing beyond, in order
    np.testing.assert_allclose(target.probs, np.array(list(oracle.values())) / total, rtol=2e-6)
    assert target.probs.sum() == pytest.approx(1, abs=1e-12) and (target.probs > 0).all()


@pytest.mark.parametrize("spec, text, p", [
    ("poisson", "0", 0.018316), ("poisson", "4", 0.195367), ("poisson:lam=1", "3", 0.061313),
    ("binomial", "5", 0.246094), ("binomial", "0", 0.00097656), ("geometric", "1", 0.5), ("geometric", "3", 0.125),
    ("gaussian", "0.00", 0.0039894), ("gaussian", "-1.00", 0.0024197), ("gaussian", "1.96", 0.00058441),
    ("exponential", "0.00", 0.0049875), ("exponential", "1.00", 0.0036788), ("uniform_real", "0.50", 0.01),
    ("uniform_real", "0.00", 0.005), ("uniform_real", "1.00", 0.005),
])  # fmt: skip
def test_published_values(spec, text, p):
    target = parse_target(spec)
    assert target.probs[target.texts.index(text)] == pytest.approx(p, rel=1e-4)


@pytest.mark.parametrize("spec, words", [
    ("unifrom", "expected one of uniform, poisson, .*pmf file; it is neither"),
    ("poisson:lambda=3", "expected poisson:lam=NUMBER; found 'lambda=3'"),
    ("poisson:lam=three", "found 'lam=three'"), ("poisson:lam", "found 'lam'"), ("poisson:", "found ''"),
    ("poisson:lam=nan", "found 'lam=nan'"), ("uniform:a=nan", "found 'a=nan'"), ("binomial:n=inf", "found 'n=inf'"),
    ("poisson:lam=0", "0 < lam <= 100"), ("poisson:lam=101", "0 < lam <= 100"),
    ("binomial:n=101", "1 <= n <= 100"), ("binomial:n=2.5", "whole number"), ("binomial:p=1", "0 < p < 1"),
    ("geometric:p=0", "0.01 <= p < 1"), ("geometric:p=1", "p < 1"),
    ("gaussian:std_dev=0", "0.01 <= std_dev"), ("gaussian:mean=1e9", "mean <= 100"),
    ("exponential:scale=-1", "0.05 <= scale"), ("uniform_real:a=1:b=0", "a < b"),
    ("uniform_real:a=0.001:b=0.002", "none"),
    ("uniform:a=5:b=5", "0 <= a < b"), ("uniform:a=-3", "0 <= a < b"), ("uniform:a=0.5", "whole numbers"),
    ("uniform:b=1e5", "9999"),
])  # fmt: skip
def test_a_bad_target_is_refused_with_what_was_expected(spec, words):
    with pytest.raises(UserError, match=words) as error:
        parse_target(spec)
    assert str(error.value).startswith(f"--target {spec}: expected")


def test_a_pmf_from_a_file(tmp_path):
    path = tmp_path / "dice.txt"
    path.write_text("1 2\n2 0\n\n  3 1e0 \ntwo words 0.5\n6 0.5\n7 1e-12\n")
    target = parse_target(str(path))
    assert target.texts == ["1", "3", "two words", "6"]  # entries of probability 0, or next to it, are outside
    assert target.probs.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125])
    assert target.name == target.label == "dice"
    assert (
        prompt_of(target)
        == "The following is a random integer drawn from a dice distribution with parameters pmf=custom: "
    )
    twin = tmp_path / "uniform"  # a file with the name of a distribution is still that file
    twin.write_text("4 1\n5 3\n")
    assert "uniform" in prompt_of(parse_target(str(twin)))


@pytest.mark.parametrize("text, line", [
    ("1 0.5\n2\n", 2), ("1 0.5\n\n2 x\n", 3), ("1 -0.5\n", 1), ("1 nan\n", 1), ("1 inf\n", 1),
    ("1 0.5\n1 0.5\n", 2), ("0.5\n", 1),
])  # fmt: skip
def test_a_bad_line_of_a_pmf_file_is_named(tmp_path, text, line):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        parse_target(str(path))
    assert f"{path}:{line}: expected `text probability`" in str(error.value)
    assert repr(text.splitlines()[line - 1]) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"1 0\n2 0\n", b"\xff\xfe1 1\n"])
def test_a_pmf_file_without_a_pmf(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="empty.txt: expected"):
        parse_target(str(path))


def test_prompts_are_the_reference_s_to_the_letter():
    """rng/configs/config.yaml of gfn-lm-tuning: one prompt in use, four templates."""
    uniform = parse_target("uniform")
    assert prompt_of(uniform) == "The following is a random integer drawn uniformly between 0 and 100: "
    assert (
        prompt_of(parse_target("uniform:a=5:b=60"))
        == "The following is a random integer drawn uniformly between 5 and 60: "
    )
    kind, name, parameters = "integer", "uniform discrete", "a=0, b=100"
    assert prompt_of(uniform, "generate") == (
        f"Randomly generate one single random {kind} from a {name} distribution "
        f"with parameters {parameters}, and then stop: "
    )
    assert (
        prompt_of(uniform, "sample")
        == f"Sample a single output from a {name} distribution with parameters {parameters}: "
    )
    assert prompt_of(uniform, "here") == (
        f"Here is one single random {kind} sampled from a {name} distribution with parameters {parameters}: "
    )
    following = f"The following is a random {kind} drawn from a {name} distribution with parameters {parameters}: "
    assert prompt_of(uniform, "following") == following
    assert prompt_of(parse_target("gaussian")) == (
        "The following is a random real number drawn from a gaussian distribution with parameters mean=0, std_dev=1: "
    )
    assert "uniform continuous distribution with parameters a=0, b=1" in prompt_of(
        parse_target("uniform_real"), "sample"
    )


def test_what_was_not_trained_on_is_held_out(tiny):
    tokenizer = tiny[1]

    def build(target, template, max_len=2):
        return Condition(target, template, tokenizer, max_len, 14.0)

    labels = [c.label for c in rng.held_out([build(parse_target("uniform"), "main")], build)]
    assert labels == [f"uniform/{t}" for t in ("generate", "sample", "here", "following")] + [
        "uniform-a0-b50/main",
        "uniform-a0-b520/main",
    ]
    both = [build(parse_target("poisson"), t) for t in ("sample", "main")]
    held = rng.held_out(both, build)
    assert [c.label for c in held] == [f"poisson/{t}" for t in ("generate", "here")]  # `main` is `following` here
    assert not {c.text for c in held} & {c.text for c in both}
    # What does not fit into max_len is left out: it must not end a run that has been trained already.
    short = rng.held_out([build(parse_target("uniform"), "main", 1)], lambda *args: build(*args, max_len=1))
    assert [c.label for c in short][-1] == "uniform-a0-b50/main"


# --------------------------------------------------------------------------------------------------------- reward


@pytest.mark.parametrize(
    "spec, max_len", [("uniform", 3), ("poisson:lam=3", 2), ("uniform:a=57:b=62", 3), ("uniform:a=7:b=30", 2)]
)
@pytest.mark.parametrize("per_token", [0.0, 3.0])
def test_the_valid_mass_is_that_of_all_strings_listed(spec, max_len, per_token):
    condition = digits(spec, max_len, per_token=per_token)
    strings = every_string(max_len)
    tokens = torch.tensor([s + (11,) * (max_len - len(s)) for s in strings])
    lengths = torch.tensor([len(s) for s in strings])
    reward = condition.log_reward(tokens, lengths).gather(1, lengths[:, None])[:, 0].double().exp()
    valid = torch.tensor([s in condition.log_pmf for s in strings])
    assert reward[valid].sum().item() == pytest.approx(1, abs=1e-6)
    assert 1 - condition.target_valid_mass == pytest.approx((reward[~valid].sum() / reward.sum()).item(), rel=2e-5)


def test_a_reward_whose_optimum_is_junk_is_refused():
    with pytest.raises(
        UserError, match=r"only 0\.\d+ .*\n?.*--invalid_penalty \(now 5\).*--invalid_per_token"
    ) as error:
        digits(penalty=5.0)
    assert len(str(error.value).splitlines()) <= 3
    with pytest.raises(UserError, match="only 0.0"):  # a constant penalty is swamped by the number of strings
        digits(penalty=8.0, per_token=1e-9, max_len=8)
    # The border: about 2.48 e^-penalty of junk.
    lengths = sum((11**l - n) / 12**l for l, n in ((1, 10), (2, 90), (3, 1)))
    border = -math.log((1 / 0.99999 - 1) / lengths)
    assert digits(penalty=border + 0.01).target_valid_mass == pytest.approx(0.99999, abs=1e-6)
    with pytest.raises(UserError):
        digits(penalty=border - 0.01)


def test_strings_that_are_too_long_are_refused():
    with pytest.raises(
        UserError, match="'100' needs 3 tokens in this vocabulary, --max_response allows 2.\nSet --max_response 3"
    ):
        digits(max_len=2)


def test_the_reward_of_every_prefix():
    condition = digits("uniform", max_len=4)
    pmf, junk = math.log(1 / 101), [None] + [-14 - t * math.log(12) for t in (1, 2, 3, 4)]
    tokens = torch.tensor([[5, 7, 11, 11], [1, 0, 0, 11], [1, 0, 0, 0], [0, 5, 11, 11], [10, 3, 3, 3], [7, 11, 3, 3]])
    rewards = condition.log_reward(tokens, torch.tensor([2, 3, 4, 2, 4, 1]))
    expected = [
        [0, pmf, pmf, 0, 0],  # 5, 57
        [0, pmf, pmf, pmf, 0],  # 1, 10, 100
        [0, pmf, pmf, pmf, junk[4]],  # and 1000, which is too much
        [0, pmf, junk[2], 0, 0],  # 05 is not 5
        [0, junk[1], junk[2], junk[3], junk[4]],
        [0, pmf, 0, 0, 0],  # what comes after the stop earns nothing
    ]
    torch.testing.assert_close(rewards, torch.tensor(expected), atol=1e-5, rtol=0)
    # The two beginnings of 57..62, "5" and "6", share one penalty and have no slope.
    tens = digits("uniform:a=57:b=62", max_len=4)
    rewards = tens.log_reward(torch.tensor([[5, 7, 11, 11], [6, 3, 11, 11], [7, 0, 11, 11]]), torch.tensor([2, 2, 2]))
    beginning, pmf = -14 - math.log(2), math.log(1 / 6)
    expected = [[0, beginning, pmf, 0, 0], [0, beginning, junk[2], 0, 0], [0, junk[1], junk[2], 0, 0]]
    torch.testing.assert_close(rewards, torch.tensor(expected), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------------ exact and sampled


def brute_force(model, condition, string):
    """Multiply the probabilities of one string's tokens and its stop, each from a forward pass of its own."""
    p, state = 1.0, condition.prompt[0].tolist()
    for t, token in enumerate((*string, condition.stop)[: condition.max_len]):
        with torch.no_grad():
            logits = model.lm_head(model(torch.tensor([state])))[0, -1].double()
        if t == 0:
            logits[condition.stop] = -math.inf
        p *= logits.softmax(0)[token].item()
        state = [*state, token]
    return p


@pytest.mark.parametrize("max_len", [3, 4])
def test_exact_probabilities_are_the_products_of_the_model_s(max_len):
    model, condition = small_model(), digits("uniform", max_len)
    exact = condition.probabilities(model)
    assert exact.dtype == torch.float64
    for k in (0, 9, 10, 57, 99, 100):
        assert exact[k].item() == pytest.approx(brute_force(model, condition, tuple(condition.log_pmf)[k]), rel=1e-5)


def test_all_strings_together_have_probability_one():
    model, condition = small_model(), digits("uniform:a=0:b=99", 2)
    total = sum(brute_force(model, condition, string) for string in every_string(2))
    assert total == pytest.approx(1, abs=1e-6)  # so a string of max_len tokens needs no stop


def test_exact_probabilities_are_the_frequencies_of_samples():
    model, condition = small_model(), digits("uniform", 3)
    p = condition.probabilities(model).numpy()
    n = 30_000
    found = condition.evaluate_sampled(model, n, torch.Generator().manual_seed(0))
    valid = p.sum()
    assert abs(found["sampled_valid_mass"] - valid) < 4.5 * math.sqrt(valid * (1 - valid) / n)
    counts = dict.fromkeys(condition.log_pmf, 0)
    for batch in condition.sample(model, n, torch.Generator().manual_seed(0)):
        for ids, mask in zip(batch.tokens.tolist(), batch.mask.tolist()):
            string = tuple(i for i, m in zip(ids, mask) if m and i != 11)
            if string in counts:
                counts[string] += 1
    assert sum(counts.values()) == n - found["sampled_nan"]
    z = (np.array(list(counts.values())) - n * p) / np.sqrt(n * p * (1 - p))
    assert abs(z).max() < 4.5 and 0.6 < z.std() < 1.4
    # and the sampled distance agrees with the exact one to about its noise
    exact = condition.evaluate(model)
    assert found["sampled_tv_valid"] == pytest.approx(exact["tv_valid"], abs=3 * found["sampled_tv_noise_floor"])
    assert found["sampled_kl_noise_floor"] == pytest.approx(100 / (2 * n))


def test_a_sample_is_valid_only_as_one_exact_token_sequence(tiny, monkeypatch):
    model, tokenizer = tiny
    condition = Condition(parse_target("uniform"), "main", tokenizer, 3, 14.0)
    stop, number = tokenizer.eot, lambda n: tokenizer.encode(str(n))[0]
    word = tokenizer.encode("random")[0]
    assert tokenizer.decode([number(5), number(7)]) == "57"
    rows = [
        ([number(57), stop], True),
        ([number(0), stop], True),
        ([number(100), stop], True),
        ([number(5), number(7), stop], False),  # reads 57, but is not how 57 is written
        ([*tokenizer.encode("101"), stop], False),
        ([*tokenizer.encode("-5"), stop], False),
        ([*tokenizer.encode(" 57"), stop], False),  # int() would take it
        ([number(57), word, word], False),  # never stopped
        ([number(57), word, stop], False),
        ([word, stop], False),
    ]
    tokens = torch.tensor([ids + [stop] * (3 - len(ids)) for ids, _ in rows])
    stopped = torch.tensor([stop in ids for ids, _ in rows])
    mask = torch.arange(3) < torch.tensor([len(ids) for ids, _ in rows])[:, None]
    samples = Samples(tokens, mask, torch.zeros(len(rows), 3), stopped, mask.sum(1) - stopped.long())
    monkeypatch.setattr(condition, "sample", lambda *args: [samples])
    found = condition.evaluate_sampled(model, len(rows), torch.Generator())
    assert found["sampled_nan"] == sum(not valid for _, valid in rows)
    assert found["sampled_valid_mass"] == pytest.approx(3 / 10) and found["sampled_support"] == 3
    assert found["sampled_kl_policy_target_valid"] == pytest.approx(math.log(101 / 3))
    assert found["sampled_tv_valid"] == pytest.approx(98 / 101)
    assert condition.decode(samples)[:4] == ["57", "0", "100", "57"]
    nothing = Samples(tokens[-1:], mask[-1:], torch.zeros(1, 3), stopped[-1:], samples.lengths[-1:])
    monkeypatch.setattr(condition, "sample", lambda *args: [nothing])
    assert math.isnan(condition.evaluate_sampled(model, 1, torch.Generator())["sampled_kl_policy_target_valid"])


# ------------------------------------------------------------------------------------------------------- distances


def test_distances_by_hand():
    target, policy = torch.tensor([0.5, 0.5]).double(), torch.tensor([0.6, 0.2]).double()
    d = distances(target, policy, 0.1)
    ln = math.log
    assert d["kl_target_policy"] == pytest.approx(0.5 * ln(0.5 / 0.6) + 0.5 * ln(0.5 / 0.2))
    assert d["kl_policy_target"] == pytest.approx(0.6 * ln(0.6 / 0.45) + 0.2 * ln(0.2 / 0.45) + 0.2 * ln(0.2 / 0.1))
    assert d["tv"] == pytest.approx((0.15 + 0.25 + 0.1) / 2)
    middle = [0.525, 0.325, 0.15]
    assert d["js"] == pytest.approx(sum(p * ln(p / m) for p, m in zip((0.6, 0.2, 0.2), middle)) / 2
                                    + sum(p * ln(p / m) for p, m in zip((0.45, 0.45, 0.1), middle)) / 2)  # fmt: skip
    assert d["kl_target_policy_valid"] == pytest.approx(0.5 * ln(0.5 / 0.75) + 0.5 * ln(0.5 / 0.25))
    assert d["kl_policy_target_valid"] == pytest.approx(0.75 * ln(1.5) + 0.25 * ln(0.5))
    assert d["tv_valid"] == pytest.approx(0.25) and d["valid_mass"] == pytest.approx(0.8)
    assert (d["support"], d["support_size"]) == (2, 2)
    assert (d["min_ratio"], d["max_ratio"]) == (pytest.approx(0.4), pytest.approx(1.2))


def test_distances_vanish_where_they_should_and_are_infinite_only_where_a_string_is_impossible():
    target = torch.rand(30).double()
    target /= target.sum()
    same = distances(target, target, 0.0)
    assert all(abs(same[key]) < 1e-14 for key in same if key.startswith(("kl", "js", "tv")))
    assert same["min_ratio"] == same["max_ratio"] == same["valid_mass"] == pytest.approx(1)
    optimum = distances(target, target * 0.9999, 1e-4)  # the reward's own optimum
    assert abs(optimum["kl_policy_target"]) < 1e-12 and optimum["tv"] < 1e-12
    other = torch.rand(30).double()
    other /= other.sum()
    there, back = distances(target, other, 0.0), distances(other, target, 0.0)
    assert there["js"] == pytest.approx(back["js"]) and there["tv"] == pytest.approx(back["tv"])
    assert there["kl_target_policy"] == pytest.approx(back["kl_policy_target"]) and there["kl_target_policy"] > 0
    holes = other.clone()
    holes[:5] = 0
    infinite = {key for key, value in distances(target, holes, 1e-6).items() if not math.isfinite(value)}
    assert infinite == {"kl_target_policy", "kl_target_policy_valid"}


def test_support_counts_what_gets_a_fifth_of_its_due():
    target = torch.full((10,), 0.1).double()
    policy = torch.tensor([0.0199, 0.0201, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3]).double()
    assert distances(target, policy, 0.0)["support"] == 8
    rare = torch.tensor([0.5, 0.49995, 0.00005]).double()  # too rare for a ratio to mean anything
    d = distances(rare, torch.tensor([0.5, 0.5, 0.0]).double(), 0.0)
    assert d["support"] == d["support_size"] == 2
    flat = torch.full((20_001,), 1 / 20_001).double()  # a wide grid: every string is rare
    assert distances(flat, flat, 0.0)["support"] == 20_001


# ------------------------------------------------------------------------------------------------ the head's floor


def sphere_floor(model, condition):
    """Minimise the same KL directly over what a layer norm puts out: a sphere of radius sqrt(D) in the zero-mean plane.

    Adam from 50 points of it at once: not L-BFGS, not through the layer norm, not from the model's own state.
    """
    mass = torch.zeros(11).double()
    for string, p in zip(condition.log_pmf, condition.target.probs):
        mass[string[0]] += p
    seen = mass > 0
    weight, norm = model.lm_head.weight.detach().double()[:11], model.transformer.ln_f  # the stop cannot come first
    D = weight.size(1)
    z = torch.randn(50, D, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    for _ in range(400):
        hidden = z - z.mean(1, keepdim=True)
        hidden = hidden / hidden.norm(dim=1, keepdim=True) * math.sqrt(D)
        hidden = hidden * norm.weight.detach().double() + norm.bias.detach().double()
        logp = (hidden @ weight.T).log_softmax(1)[:, seen]
        kl = (mass[seen] * (mass[seen].log() - logp)).sum(1)
        optimizer.zero_grad()
        kl.sum().backward()
        optimizer.step()
    return kl.min().item()


@pytest.mark.parametrize("n_embd, seed", [(4, 0), (4, 3), (6, 2), (8, 5)])
def test_the_floor_is_what_a_direct_search_finds(n_embd, seed):
    model, condition = small_model(n_embd, 0.5, seed), digits("poisson:lam=2", 2)
    floor = condition.head_floor(model)
    assert floor > 0.1  # so few dimensions cannot tell the digits apart
    assert floor == pytest.approx(sphere_floor(model, condition), abs=1e-4)
    assert condition.evaluate(model)["kl_target_policy"] > floor  # no policy with this head is below it


def test_a_wide_head_has_no_floor():
    assert digits("uniform:a=0:b=99", 2).head_floor(small_model(64, 1.0)) < 1e-3


def test_the_floor_changes_nothing():
    model, condition = small_model(), digits("poisson", 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert condition.head_floor(model) == condition.head_floor(model)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())
