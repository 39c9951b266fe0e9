"""GFlowNets beside decoding: every method against plain forward passes, the comparison by hand, exact ones by formula.

The policies are random adapters, and a response's "text" is the list of its ids, so that files can be checked by token.
"""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import stages
import torch
from stages import refuses

from minalign import compare, exact, hub, lora, sentences, stage, tempered
from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.sentences import Found, Method, gain
from minalign.tasks import next_sentence
from minalign.tokenizer import Tokenizer

P, N = 4, 3
SAMPLING = ["base", *(f"temperature {t}" for t in (1.1, 0.9, 0.8, 0.7, 0.5)), "top 50", "top 10",
            *(f"nucleus {p}" for p in (0.95, 0.9, 0.8)), *(f"GFN {T}" for T in (0.95, 0.9, 0.85, 0.8))]  # fmt: skip
SEARCHES = ["beam", "diverse beam"]


def embed(texts):
    """Return a random unit vector for each text, the same for the same text."""
    vectors = [torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, text)))) for text in texts]
    return torch.nn.functional.normalize(torch.stack(vectors), dim=1)


def policy_of(folder, T, noise=0.3):
    """Return the random policy that stands for a GFlowNet; its adapter is not merged."""
    model = stage.load_policy(str(folder))[0]
    torch.manual_seed(round(100 * T))
    lora.add_adapter(model, rank=2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=noise)
    return model


def save(policy, folder, base):
    folder.mkdir(parents=True)
    stage.save_policy(policy, folder, str(base), Tokenizer.from_folder(base))


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """A tiny model that ends a sentence in a tenth of all places or so."""
    folder = stages.write_tiny(tmp_path_factory.mktemp("models") / "ending")
    model, tokenizer, _ = stage.load_policy(str(folder))
    with torch.no_grad():
        model.transformer.wte.weight[[tokenizer.encode(mark)[0] for mark in ".!"]] = (
            model.transformer.wte.weight[tokenizer.eot] * torch.tensor([[0.6], [0.5]]))  # fmt: skip
    hub.save_pretrained(model, folder)
    return folder


def run_compare(ending, out, *flags):
    """Run the whole command; return (its folder, its compare.json, the commands it started)."""
    started = {}

    def start(script, folder, *flags):
        started[folder.name] = (script, flags)
        save(policy_of(ending, float(folder.name[4:])), folder, ending)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "start", start)
        patch.setattr(sentences, "text_of", lambda tokenizer, ids: " ".join(map(str, ids)))
        patch.setattr(sentences, "sentence_encoder", lambda name, device: Labelled())
        compare.main(["--task=next_sentence", f"--model={ending}", f"--out={out}", *flags])
    return out, json.loads((out / "compare.json").read_text()), started


@pytest.fixture(scope="module")
def compared(ending, tmp_path_factory):
    return run_compare(ending, tmp_path_factory.mktemp("runs") / "ns", f"--prompts={P}", f"--n={N}", "--steps=7",
                       "--seed=3")  # fmt: skip


class Labelled:
    label = "random"

    def __call__(self, texts):
        return embed(texts)


def said(compared, name):
    """Return a method's samples: [(prompt, ids, row)]."""
    rows = stages.lines(compared[0] / "samples" / f"{name.replace(' ', '-')}.jsonl")
    return [(row["prompt"], list(map(int, row["response"].split())), row) for row in rows]


def plain_logprobs(model, tokenizer, prompt, ids, rule, temperature=1.0):
    """Return the log-prob of a response as the rule allows it, from one pass without cache and padding."""
    asked = tokenizer.encode(prompt)
    with torch.no_grad():
        logits = model.lm_head(model(torch.tensor([asked + ids])))[0, len(asked) - 1 : -1].double()
    logits[:, list(rule.forbidden)] = -torch.inf
    logits[: rule.min_new_tokens, rule.stop] = -torch.inf
    return (logits / temperature).log_softmax(-1)[range(len(ids)), ids].sum().item()


# ------------------------------------------------------------------------------------------------- every method


def test_the_command_starts_four_runs_and_writes_every_method(compared):
    out, written, started = compared
    assert list(started) == ["gfn-0.95", "gfn-0.9", "gfn-0.85", "gfn-0.8"]
    for name, (script, flags) in started.items():
        flags = dict(zip(flags[::2], flags[1::2]))
        assert script == "train_gfn" and flags["--reward_temperature"] == name[4:] and "--init" not in flags
        assert (flags["--task"], flags["--steps"], flags["--seed"]) == ("next_sentence", "7", "3")
    methods = [name + mark for name in SAMPLING + SEARCHES for mark in ("", " x5")]
    assert set(written["rows"]) == {*methods, "greedy"}
    for name in written["rows"]:
        asked = [prompt for prompt, *_ in said(compared, name)]
        n = 1 if name == "greedy" else 5 * N if name.endswith("x5") and name[:-3] in SAMPLING else N
        assert asked == [p for p in next_sentence.prompts("validation", P, 3) for _ in range(n)]
    pixels = stages_image(out / "sentences.png")
    assert 0.01 < (pixels != 255).any(-1).mean() < 0.9


def stages_image(path):
    image = pytest.importorskip("matplotlib.image")
    return (image.imread(path)[..., :3] * 255).round()


def test_every_method_obeys_the_rule(compared, ending):
    rule = next_sentence.stop_rule(Tokenizer.from_folder(ending))
    ends, kinds = {rule.stop, *rule.ends}, set()
    for name in compared[1]["rows"]:
        for _, ids, row in said(compared, name):
            assert 1 < len(ids) <= rule.max_new_tokens and ids[0] != rule.stop and not set(ids) & set(rule.forbidden)
            assert not set(ids[1:-1]) & ends and row["stopped"] == (ids[-1] in ends)
            kinds.add((row["stopped"], ids[-1] == rule.stop))
    assert kinds == {(True, True), (True, False), (False, False)}


def test_a_base_that_is_a_gflownet_keeps_its_rule(ending, tmp_path):
    """And so do those that are trained from it: all say sentences of one kind."""
    save(policy_of(ending, 0.5), init := tmp_path / "init", ending)
    its = {"max_response": 6, "min_response": 2, "illegal": "published"}
    (init / "run.json").write_text(json.dumps({"config": {"task": "next_sentence", "model": str(ending), **its}}))
    told = run_compare(ending, tmp_path / "ns", f"--init={init}", "--prompts=2", "--n=2")
    for _, flags in told[2].values():
        assert dict(zip(flags[::2], flags[1::2])).items() >= {f"--{key}": str(x) for key, x in its.items()}.items()
    rule = next_sentence.stop_rule(Tokenizer.from_folder(ending), *its.values())
    for name in told[1]["rows"]:
        for _, ids, _ in said(told, name):
            assert len(ids) <= 6 and rule.stop not in ids[:2] and not set(ids) & set(rule.forbidden), name


def test_all_are_scored_by_the_frozen_base_and_by_what_drew_them(compared, ending):
    base, tokenizer, _ = stage.load_policy(str(ending))
    rule = next_sentence.stop_rule(tokenizer)
    for name in ("base", "temperature 0.5", "top 10", "nucleus 0.8", "GFN 0.8", "beam", "diverse beam x5", "greedy"):
        model, temperature = base, float(name.split()[1]) if name.startswith("temperature") else 1.0
        if name.startswith("GFN"):
            model = policy_of(ending, 0.8)
        for prompt, ids, row in said(compared, name):
            loglik, own = row["scores"]["loglik"], row["scores"]["own_loglik"]
            assert loglik == pytest.approx(plain_logprobs(base, tokenizer, prompt, ids, rule), abs=1e-3), name
            if name.startswith(("top", "nucleus")):
                assert own > loglik + 0.1, name  # what is left has all the mass
            else:
                assert own == pytest.approx(plain_logprobs(model, tokenizer, prompt, ids, rule, temperature), abs=1e-3)
    assert compared[1]["rows"]["base"]["own"] == pytest.approx(compared[1]["rows"]["base"]["mean"], abs=1e-4)
    assert abs(compared[1]["rows"]["GFN 0.8"]["own"] - compared[1]["rows"]["GFN 0.8"]["mean"]) > 0.5


def test_the_numbers_of_a_method_are_those_of_its_file(compared):
    for name in ("base x5", "GFN 0.9", "diverse beam"):
        row, rows = compared[1]["rows"][name], said(compared, name)
        asked = dict.fromkeys(prompt for prompt, *_ in rows)
        sets = [[(ids, r) for prompt, ids, r in rows if prompt == wanted] for wanted in asked]
        logliks = [[r["scores"]["loglik"] for _, r in some] for some in sets]
        tokens = [[r["scores"]["loglik"] / len(ids) for ids, r in some] for some in sets]
        pairs = []
        for some in sets:
            v = embed([r["response"] for _, r in some])
            pairs.append(np.mean([1 - float(v[i] @ v[j]) for i in range(len(v)) for j in range(i)]))
        by_hand = {"mean": np.mean(logliks), "max": np.mean([max(x) for x in logliks]), "token_mean": np.mean(tokens),
                   "token_max": np.mean([max(x) for x in tokens]), "diversity": np.mean(pairs),
                   "length": np.mean([len(ids) for _, ids, _ in rows]),
                   "distinct": np.mean([len({r["response"] for _, r in s}) / len(s) for s in sets])}  # fmt: skip
        assert {key: row[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-5), name
        assert all(row[f"{key}_low"] <= row[key] <= row[f"{key}_high"] for key in by_hand)


def test_positions_are_what_the_model_computed(compared):
    """A sampled sentence feeds each token but its last, and a few while finished ones wait for others to finish; a
    search may feed those of all its beams, to the end."""
    for name in (*SAMPLING, "base x5", "greedy"):
        needed = sum(len(ids) - 1 for _, ids, _ in said(compared, name))
        assert needed <= compared[1]["rows"][name]["positions"] <= 2 * needed, name
    few, many = (compared[1]["rows"][f"beam{mark}"]["positions"] for mark in ("", " x5"))
    assert P * N <= few <= P * N * 29 and 2 * few < many <= P * 5 * N * 29


# ------------------------------------------------------------------------------------------ at the same diversity


def found(seed, gfn=None, shift=0.0, prompts=40, n=6):
    """Return what a made-up method said."""
    draw = np.random.default_rng(seed)
    answers = [[{"tokens": int(k), "loglik": -k + draw.normal() + shift, "response": "", "stopped": True,
                 "own_loglik": 0.0} for k in draw.integers(3, 8, n)] for _ in range(prompts)]  # fmt: skip
    values = sentences.measure(answers, lambda texts: embed([str(seed)] * len(texts)))
    return Found(Method("", {}, n, gfn), answers, 0, values | {"diversity": draw.random(prompts) + seed})


def test_interpolation_by_hand():
    curve, values = np.array([[0.6, 0.2, 0.4]] * 4), np.array([[3.0, 1.0, 5.0]] * 4)  # in no order
    at = sentences.at_diversity(np.array([0.3, 0.55, 0.1, 0.9]), curve, values)
    assert at == pytest.approx([3.0, 3.5, 1.0, 3.0])


def test_a_point_of_the_curve_gains_nothing_and_a_better_one_what_it_is_better():
    curve = [found(0), found(1), found(2)]
    same = gain(found(1, gfn=0.8), curve)
    assert [same[key] for key in ("mean", "max", "token_mean", "matched")] == [[pytest.approx(0, abs=1e-9)] * 3] * 4
    better = gain(found(1, gfn=0.8, shift=0.5), curve)
    for key in ("mean", "max", "matched"):
        assert better[key] == pytest.approx([0.5] * 3), key
    each = np.mean([0.5 / row["tokens"] for rows in curve[1].answers for row in rows])
    assert better["token_mean"][0] == pytest.approx(each) and not better["more_diverse"]
    assert gain(found(3, gfn=0.8), curve)["more_diverse"]


def test_the_interval_is_that_of_paired_differences():
    a, b = found(1, gfn=0.8, prompts=400), found(1, prompts=400)
    noise = np.random.default_rng(5).normal(size=400)
    a.values["mean"] = b.values["mean"] + noise  # prompts differ by much more than the two methods do
    b.values["mean"] = b.values["mean"] + 0
    for values in (a.values, b.values):
        values["mean"] = values["mean"] + 50 * np.arange(400)
    nats, low, high = gain(a, [b])["mean"]
    assert nats == pytest.approx(noise.mean()) and high - low == pytest.approx(2 * 1.96 * noise.std() / 20, rel=0.15)


def test_matched_lengths_by_hand():
    """Of prompt 0: a says lengths 2, 2, 2, 4 and b 2, 4, 4, 6; in common are 2 and 4, a quarter each."""
    def said(*pairs):
        return [{"tokens": k, "loglik": x} for k, x in pairs]

    a = [said((2, -1.0), (2, -2.0), (2, -3.0), (4, -8.0)), said((3, 0.0))]
    b = [said((2, -3.0), (4, -5.0), (4, -6.0), (6, -9.0)), said((5, 0.0))]
    only, none, both = sentences.length_matched(a, b, np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
    assert only == pytest.approx(0.5 * (-2 + 3) + 0.5 * (-8 + 5.5)) == pytest.approx(both) and math.isnan(none)


# ---------------------------------------------------------------------------------------------- grammar, exactly


class World:
    """The 300 likeliest one-word answers of a model to a prompt, as `Grammar` gives its sentences."""

    def __init__(self, tokenizer, device):
        model = stage.load_policy(str(self.folder))[0]
        self.stop, self.rule = tokenizer.eot, StopRule(tokenizer.eot, 2, min_new_tokens=1)
        self.prompt = torch.tensor([tokenizer.encode("They say in town:")])
        with torch.no_grad():
            first = model.lm_head(model(self.prompt))[0, -1]
        first[self.stop] = -torch.inf
        words = first.topk(300).indices
        self.tokens = torch.stack([words, torch.full_like(words, self.stop)], 1)
        self.mask = torch.ones_like(self.tokens, dtype=torch.bool)

    def by_hand(self, model, t=1.0):
        """Return the log-probs of the answers at a token temperature."""
        rows = torch.cat([self.prompt.expand(300, -1), self.tokens[:, :1]], 1)
        with torch.no_grad():
            logits = model.lm_head(model(rows))[:, -2:].double() / t
        logits[:, 0, self.stop] = -torch.inf
        return logits.log_softmax(-1).gather(2, self.tokens[..., None]).sum((1, 2))


@pytest.fixture
def world(tiny, monkeypatch):
    monkeypatch.setattr(World, "folder", tiny, raising=False)
    monkeypatch.setattr(tempered, "Grammar", World)
    return World(Tokenizer.from_folder(tiny), "cpu")


def test_grammar_is_compared_exactly(world, tiny, tmp_path, monkeypatch, capsys):
    started = {}

    def start(script, folder, *flags):
        started[folder.name] = flags
        save(policy_of(tiny, float(folder.name[4:]), 0.05), folder, tiny)

    monkeypatch.setattr(compare, "start", start)
    compare.main(["--task=grammar", f"--model={tiny}", f"--init={tiny}", f"--out={tmp_path}"])
    assert list(started) == ["gfn-0.9", "gfn-0.8"] and all(str(tiny) in flags for flags in started.values())
    assert all("--init" in flags and "--steps" not in flags for flags in started.values())
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert [(row["T"], row["name"]) for row in rows] == [(0.9, "exact"), (0.9, "GFN"), (0.8, "exact"), (0.8, "GFN")]
    base = stage.load_policy(str(tiny))[0]
    ref = world.by_hand(base)
    for row in rows:
        weights = ref.exp() ** (1 / row["T"])
        target = weights / weights.sum()
        p = target if row["name"] == "exact" else world.by_hand(policy_of(tiny, row["T"], 0.05)).exp()
        q, r = p / p.sum(), world.by_hand(base, row["token_temperature"]).exp()
        r_valid = r / r.sum()
        by_hand = {"entropy": -(q * q.log()).sum(), "loglik": (q * ref).sum(), "tv": (q - target).abs().sum() / 2,
                   "valid_mass": p.sum(), "token_loglik": (r_valid * ref).sum(), "token_valid_mass": r.sum(),
                   "token_tv": (r_valid - target).abs().sum() / 2,
                   "gain": (q * ref).sum() - (r_valid * ref).sum()}  # fmt: skip
        assert {key: row[key] for key in by_hand} == pytest.approx({k: v.item() for k, v in by_hand.items()}, abs=1e-5)
        assert -(r_valid * r_valid.log()).sum().item() == pytest.approx(row["entropy"], abs=2e-6)

    assert capsys.readouterr().out.count("\n 0.9 ") == 2
    for row in rows:  # the gain is tiny here, and both entropies agree to 1e-6
        assert row["gain"] > -1e-6 and row["tv"] < 1e-6 if row["name"] == "exact" else row["tv"] > 0.01


@pytest.mark.parametrize("T", [0.97, 0.8, 0.5, 0.25])
def test_nothing_beats_the_exact_distribution_at_its_entropy(T, make_model):
    """On a model of 12 tokens and all its strings of three: neither token temperatures nor any other distribution."""
    model = make_model(vocab_size=12, std=0.4, seed=3)
    rest = torch.cartesian_prod(*[torch.arange(11)] * 3)
    tokens = torch.cat([rest, torch.full((len(rest), 1), 11)], 1)
    mask, prompt = torch.ones_like(tokens, dtype=torch.bool), torch.tensor([[1, 2, 3]])

    def at(t):
        return exact.string_logprobs(model, prompt, tokens, mask, 11, temperature=t)

    ref = at(1.0)
    target = (ref / T).log_softmax(0)
    row = tempered.beside_temperature(T, "exact", target, target, at)
    assert tempered.entropy(at(row["token_temperature"]).log_softmax(0)) == pytest.approx(row["entropy"], abs=1e-6)
    assert row["tv"] < 1e-12 and row["gain"] > 1e-5
    for i in range(20):
        other = torch.randn(len(ref), generator=torch.Generator().manual_seed(i)).double() + (i % 4) * ref

        def scaled(t, other=other):
            return other / t

        _, q = tempered.token_temperature(scaled, row["entropy"], low=0.01, high=100)
        assert (q.softmax(0) * ref).sum() < row["loglik"]


def test_an_entropy_that_no_temperature_has():
    p = torch.tensor([0.5, 0.3, 0.2]).double().log()
    with pytest.raises(UserError, match="no token temperature from 0.05 to 2 has an entropy of 2.000 nats"):
        tempered.token_temperature(lambda t: p / t, 2.0)


# ---------------------------------------------------------------------------------------------------------- errors


def test_bad_input(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "start", lambda *args: pytest.fail("training before the error"))
    assert "--task grammar" in refuses(compare, "--task=grammar")
    assert "--task grammar" in refuses(compare, "--task=rng", "--init=x")
    assert "hardly ever says" in refuses(compare, "--task=grammar", f"--init={tiny}")
    assert "no such folder" in refuses(compare, "--task=next_sentence", "--init=nowhere")
    assert "--n: expected 2" in refuses(compare, "--task=next_sentence", "--n=1")
    assert "--encoder" in refuses(compare, "--task=next_sentence", "--encoder=./none")


def test_a_search_that_finds_too_few_returns_fewer(make_model):
    """One word and the stop is all that this rule allows of a vocabulary of five: three responses, four beams."""
    model = make_model(vocab_size=5)
    tokenizer = SimpleNamespace(encode=lambda text: [0, 1], decode=lambda ids: str(ids), eot=4)
    rule = StopRule(4, 2, min_new_tokens=1, forbidden=(0,), ends=(1, 2, 3))
    answers, _ = sentences.decode(model, model, tokenizer, ["a", "b"], rule, 4, 0, {"beams": 4})
    assert [sorted(row["response"] for row in rows) for rows in answers] == [["[1]", "[2]", "[3]"]] * 2
    assert all(-10 < row["loglik"] < 0 for rows in answers for row in rows)
