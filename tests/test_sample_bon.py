"""sample_bon.py as its user sees it: files and curves, every score, resume, samples scored again, talking, errors."""

import ast
import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch
from stages import ALIKE, OWN, inside, lines, refuses, result_of, train, write

import sample_bon
import train_gfn
import train_rm
import train_sft
from minalign import bon, exact, scores, stage
from minalign.errors import UserError
from minalign.overlap import bleu, rouge
from minalign.rewards import from_run
from minalign.tasks import grammar, next_sentence, sentiment
from minalign.tasks.setting import setting

REWARDS = """
def odd(prompts, responses):
    return [float((len(p) + 3 * len(r)) % 11) - 2 for p, r in zip(prompts, responses)]

def coarse(prompts, responses):
    return [float(len(r) > 20) for r in responses]

def broken(prompts, responses):
    return [1 / (len(r) - len(r)) for r in responses]
"""
FILES = {"run.json", "samples.jsonl", "best.jsonl", "best_of_n.json", "result.json"}


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    """Return a maker of file.py:function."""
    path = tmp_path_factory.mktemp("rewards") / "my_rewards.py"
    path.write_text(REWARDS)
    return lambda name: f"{path}:{name}"


@pytest.fixture
def short_gold(monkeypatch):
    """Stand in for sentiment's gold score, which takes ten seconds to learn what nano's world says."""
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: len(prompt) - len(response) / 7)


@pytest.fixture(scope="module")
def own(tiny, files):
    """Flags of a run on own prompts; its references are the preferred responses."""
    return ["--model", tiny, *ALIKE, "--data", files[0], "--max_response=8", "--n=6", "--examples=7"]


@pytest.fixture(scope="module")
def finished(own, rule, tmp_path_factory):
    """A run with two prompts in a batch (the last one alone), and the figure."""
    return train(sample_bon, *own, "--plot", "--rows=12", "--reward", rule("odd"), rule("coarse"), "rouge1",
                 "--best_of=1,3,6", out=tmp_path_factory.mktemp("runs") / "bon")  # fmt: skip


@pytest.fixture(scope="module")
def chain(tiny, files, tmp_path_factory):
    """An SFT run, and two reward models, one of the base and one of the SFT run."""
    folder = tmp_path_factory.mktemp("chain")
    flags = ["--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--steps=4", "--eval_every=0"]
    sft = train(train_sft, *flags, out=folder / "sft")
    rm = train(train_rm, *flags, "--normalise=0", out=folder / "rm")
    return sft, rm, train(train_rm, *flags, "--normalise=0", "--seed=7", "--init", sft, out=folder / "rm2")


def by_prompt(rows):
    return [list(group) for _, group in itertools.groupby(rows, lambda row: (row["split"], row["id"]))]


# ------------------------------------------------------------------------------------------------------- the files


def test_every_sample_with_every_score(finished, files):
    assert inside(finished) == FILES | {"best_of_n.png"} and (finished / "best_of_n.png").stat().st_size > 5_000
    rows, given = lines(finished / "samples.jsonl"), lines(files[0])
    groups = by_prompt(rows)
    assert [len(group) for group in groups] == [6] * 7
    for i, group in enumerate(groups):
        for row in group:
            assert list(row) == ["prompt", "response", "stopped", "scores", "split", "id", "logprob", "reference",
                                 "rank"]
            assert (row["prompt"], row["reference"]) == (given[i]["prompt"], given[i]["chosen"])
            assert (row["split"], row["id"]) == ("train", i)
            odd = float((len(row["prompt"]) + 3 * len(row["response"])) % 11) - 2
            overlap = rouge(row["response"], row["reference"])["rouge1"]
            assert row["scores"] == {"my_rewards.py:odd": odd, "my_rewards.py:coarse": len(row["response"]) > 20,
                                     "rouge1": overlap}  # fmt: skip
        order = sorted(group, key=lambda row: row["rank"])
        assert [row["rank"] for row in order] == [1, 2, 3, 4, 5, 6]
        values = [row["scores"]["my_rewards.py:odd"] for row in order]
        assert values == sorted(values, reverse=True)
    best = lines(finished / "best.jsonl")
    assert best == [next(row for row in group if row["rank"] == 1) for group in groups]
    assert len({row["response"] for row in rows}) > 20  # they are samples


def test_the_curves_are_means_over_all_subsets(finished):
    groups, data, found = by_prompt(lines(finished / "samples.jsonl")), {}, result_of(finished)
    data = json.loads((finished / "best_of_n.json").read_text())
    assert data["by"] == "my_rewards.py:odd" and data["n"] == [1, 2, 3, 4, 5, 6]
    assert data["kl_bound"][3] == pytest.approx(math.log(4) - 3 / 4) and data["win_rate_bound"][3] == 4 / 5
    for name in ("my_rewards.py:odd", "my_rewards.py:coarse", "rouge1"):
        for n in (1, 3, 6):
            means = []
            for group in groups:
                best = []
                for chosen in itertools.combinations(group, n):
                    most = max(row["scores"]["my_rewards.py:odd"] for row in chosen)
                    tied = [r["scores"][name] for r in chosen if r["scores"]["my_rewards.py:odd"] == most]
                    best.append(sum(tied) / len(tied))
                means.append(sum(best) / len(best))
            mean = sum(means) / 7
            se = math.sqrt(sum((x - mean) ** 2 for x in means) / 6 / 7)
            curve = data["splits"]["train"][name]
            assert (curve["mean"][n - 1], curve["se"][n - 1]) == pytest.approx((mean, se), abs=1e-6)
            assert found[f"train/{name}/best_of_{n}"] == curve["mean"][n - 1]
            assert found[f"train/{name}/best_of_{n}_se"] == curve["se"][n - 1]
    assert not [key for key in found if "best_of_2" in key]  # --best_of
    rows = lines(finished / "samples.jsonl")
    assert found["train/stop_rate"] == sum(row["stopped"] for row in rows) / 42
    assert (found["train/prompts"], found["train/responses"]) == (7, 42)


def test_a_task_brings_prompts_rule_and_gold(tiny, rule, short_gold, tmp_path):
    """The proxy picks, gold stands beside it, in each split."""
    run = train(sample_bon, "--model", tiny, *ALIKE, "--task=sentiment", "--split=test,train", "--examples=3", "--n=4",
                "--reward", rule("odd"), out=tmp_path / "bon")  # fmt: skip
    rows = lines(run / "samples.jsonl")
    for split in ("test", "train"):
        mine = [row for row in rows if row["split"] == split]
        assert list(dict.fromkeys(row["prompt"] for row in mine)) == sentiment.prompts(split, 3, 1) and len(mine) == 12
        assert all(row["scores"]["gold"] == sentiment.gold(row["prompt"], row["response"]) for row in mine)
        assert list(mine[0]["scores"]) == ["my_rewards.py:odd", "gold"]
        assert {f"{split}/gold/best_of_4", f"{split}/stop_rate", f"{split}/length"} <= result_of(run).keys()
    config = json.loads((run / "run.json").read_text())["config"]
    assert config["temperature"] == 0.7  # the preset, as that of training
    again = train(sample_bon, "--model", tiny, *ALIKE, "--task=sentiment", "--split=train", "--examples=3", "--n=4",
                  out=tmp_path / "again")  # fmt: skip
    alone = lines(again / "samples.jsonl")  # a split's samples do not depend on the others, nor on the scores
    assert [row["response"] for row in alone] == [row["response"] for row in rows if row["split"] == "train"]
    assert json.loads((again / "best_of_n.json").read_text())["by"] == "gold"


def test_sentences_have_no_gold_score_but_a_likelihood(tmp_path):
    flags = [*ALIKE, "--task=next_sentence", "--examples=2", "--n=3"]
    run = train(sample_bon, *flags, "--reward=likelihood", out=tmp_path / "bon")
    assert all(list(row["scores"]) == ["likelihood"] for row in lines(run / "samples.jsonl"))
    assert "gold" in refuses(sample_bon, *flags, "--reward=gold")
    bare = train(sample_bon, *flags, out=tmp_path / "bare")
    assert inside(bare) == FILES - {"best.jsonl", "best_of_n.json"}
    assert all(row["scores"] == {} and "rank" not in row for row in lines(bare / "samples.jsonl"))
    assert "test/stop_rate" in result_of(bare)


@pytest.fixture(scope="module")
def sentences(tiny, tmp_path_factory):
    """A GFlowNet of short sentences, with a list of impossible tokens that is not the default one."""
    flags = ["--task=next_sentence", "--max_response=6", "--min_response=3", "--illegal=published", "--examples=2"]
    few = ["--eval_examples=2", "--eval_samples=2", "--samples_per_prompt=4", "--batch_size=8", "--probes=0"]
    return train(train_gfn, "--model", tiny, *ALIKE, *flags, *few, "--steps=1", out=tmp_path_factory.mktemp("g") / "g")


def test_sentences_end_as_the_run_has_learned_them(tiny, sentences, tmp_path, monkeypatch):
    rules, generate = [], sample_bon.generate
    monkeypatch.setattr(sample_bon, "generate", lambda *args, **named: rules.append(named) or generate(*args, **named))
    flags = ["--model", tiny, *ALIKE, "--task=next_sentence", "--examples=2", "--n=3"]
    run = train(sample_bon, *flags, "--init", sentences, out=tmp_path / "its")
    train(sample_bon, *flags, "--init", sentences, "--max_response=9", "--illegal=basic", out=tmp_path / "mine")
    train(sample_bon, *flags, out=tmp_path / "base")
    _, tokenizer, _ = stage.load_policy(str(tiny))
    expected = [next_sentence.stop_rule(tokenizer, *which) for which in ((6, 3, "published"), (9, 3), ())]
    assert len(rules) == 3 and all(rule.items() >= e.settings().items() for rule, e in zip(rules, expected))
    # What scores these samples later knows it from their run.json; --task decides where none says.
    again = train(sample_bon, *flags[:4], "--samples", run, "--reward=likelihood", out=tmp_path / "again")
    config = json.loads((again / "run.json").read_text())["config"]
    names = ("task", "max_response", "min_response", "illegal")
    assert [config[name] for name in names] == ["next_sentence", 6, 3, "published"]


def test_a_likelihood_must_know_where_a_response_ends(tiny, tmp_path):
    """`likelihood` counts the stop: of a sentence the full stop is all there is, of own data a text has its end."""
    rows = [{"prompt": "Tom has a hat.", "response": " Anna has none."}]
    bare = write(tmp_path / "bare.jsonl", rows)
    flags = ["--model", tiny, *ALIKE, "--reward=likelihood", "--samples"]
    said = refuses(sample_bon, *flags, bare)
    assert "no run.json beside" in said and "--task" in said
    base, tokenizer, _ = stage.load_policy(str(tiny))
    prompt, ids = (tokenizer.encode(rows[0][key]) for key in ("prompt", "response"))
    of_sentence, of_text = (stages.logprobs(base, prompt, ids + end).sum().item() for end in ([], [tokenizer.eot]))
    (tmp_path / "run").mkdir()
    beside = write(tmp_path / "run" / "samples.jsonl", rows)
    for settings, more, expected in (
        (None, ["--max_response=50"], of_text), ({"task": None, "max_response": 50}, [], of_text),
        ({"task": "next_sentence", "max_response": 9}, [], of_sentence),
        ({"task": None, "max_response": 9}, ["--task=next_sentence"], of_sentence),
    ):  # fmt: skip
        if settings:
            (tmp_path / "run" / "run.json").write_text(json.dumps({"config": settings}))
        run = train(sample_bon, *flags, beside, *more, "--overwrite", out=tmp_path / "bon")
        assert lines(run / "samples.jsonl")[0]["scores"]["likelihood"] == pytest.approx(expected, abs=1e-4), settings


# -------------------------------------------------------------------------------------------------------- sampling


def test_more_samples_than_rows(own, tmp_path, monkeypatch):
    """One prompt is then sampled in several passes, each of which shares its encoding."""
    shapes, drawn = [], sample_bon.generate
    monkeypatch.setattr(sample_bon, "generate", lambda model, prompts, n, **more: (
        shapes.append((len(prompts), n)), drawn(model, prompts, n=n, **more))[1])  # fmt: skip
    run = train(sample_bon, *own, "--n=10", "--rows=4", "--examples=2", "--top_k=50", out=tmp_path / "bon")
    assert shapes == [(1, 4), (1, 4), (1, 2)] * 2
    groups = by_prompt(lines(run / "samples.jsonl"))
    assert [len(group) for group in groups] == [10, 10]
    texts = [row["response"] for row in groups[0]]
    assert texts[:4] != texts[4:8]  # other random numbers


def test_how_it_samples(own, tmp_path):
    def sampled(name, *flags):
        rows = lines(train(sample_bon, *own, *flags, out=tmp_path / name) / "samples.jsonl")
        return [row["response"] for row in rows]

    greedy = sampled("greedy", "--greedy", "--n=1")
    assert sampled("k", "--top_k=1", "--n=2")[::2] == greedy == sampled("p", "--top_p=1e-6", "--n=1")
    assert sampled("cold", "--temperature=0.01", "--n=1") == greedy
    plain = sampled("plain")
    assert plain != sampled("seed", "--seed=2") and plain != sampled("hot", "--temperature=2")
    assert set(sampled("short", "--max_response=1", "--temperature=2")) != set(plain)


def test_each_sample_has_its_log_prob_where_it_was_drawn(own, tiny, tmp_path, monkeypatch):
    """Against plain passes over the tokens that were drawn: at another temperature, cut at top-p, of a whole batch."""
    drawn, generate = [], sample_bon.generate
    monkeypatch.setattr(sample_bon, "generate", lambda *args, **named: drawn.append(generate(*args, **named))
                        or drawn[-1])  # fmt: skip
    model, tokenizer, _ = stage.load_policy(str(tiny))
    for name, flags in (("hot", ["--temperature=1.5"]), ("nucleus", ["--top_p=0.8"])):
        drawn.clear()
        rows = lines(train(sample_bon, *own, *flags, out=tmp_path / name) / "samples.jsonl")
        said = [ids[mask] for found in drawn for ids, mask in zip(found.tokens, found.mask)]
        assert len(rows) == len(said) == 42 and len({len(ids) for ids in said}) > 3
        for row, ids in zip(rows, said):
            asked = tokenizer.encode(row["prompt"])
            with torch.no_grad():
                logits = model.lm_head(model(torch.tensor([asked + ids.tolist()])))[0, len(asked) - 1 : -1].double()
            probs = (logits / (1.5 if name == "hot" else 1)).softmax(-1)
            if name == "nucleus":  # the likeliest tokens until they have 0.8, and no other
                for p in probs:
                    order = p.argsort(descending=True)
                    p[order[(p[order].cumsum(0) < 0.8).sum() + 1 :]] = 0
                probs /= probs.sum(-1, keepdim=True)
            total = probs.gather(1, ids[:, None]).log().sum().item()
            assert row["logprob"] == pytest.approx(total, abs=1e-4) and total < 0


def test_a_long_prompt_keeps_its_end(tiny, tmp_path, capsys):
    end = " Tom lost the key."
    data = write(tmp_path / "long.jsonl", [{"prompt": "one two three " * 100 + end}, {"prompt": "Tom"}])
    flags = ["--model", tiny, *ALIKE, "--data", data, "--max_response=8", "--greedy", "--n=1", "--max_prompt=5"]
    long = lines(train(sample_bon, *flags, out=tmp_path / "bon") / "samples.jsonl")
    assert "long: 2 prompts, 1 cut to their last 5 tokens" in capsys.readouterr().out
    _, tokenizer, _ = stage.load_policy(str(tiny))
    data.write_text(json.dumps({"prompt": tokenizer.decode(tokenizer.encode("three " + end)[-5:])}))
    assert long[0]["response"] == lines(train(sample_bon, *flags, out=tmp_path / "b") / "samples.jsonl")[0]["response"]
    assert long[0]["prompt"].startswith("one two")  # as it was asked


def test_resume_equals_an_uninterrupted_run(own, rule, tmp_path, monkeypatch):
    """SIGTERM in the second batch, a crash in the third and half a line: every file ends the same to the last byte."""
    flags = [*own, "--rows=12", "--reward", rule("odd")]
    whole, broken, calls, add = train(sample_bon, *flags, out=tmp_path / "whole"), tmp_path / "broken", [], scores.add

    def interrupted(rows, wanted):
        add(rows, wanted)
        calls.append(rows[0]["id"])
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        elif len(calls) == 4:
            raise RuntimeError("the machine went down")

    monkeypatch.setattr(scores, "add", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train(sample_bon, *flags, out=broken)
    assert stopped.value.code == 143 and calls == [0, 2] and inside(broken) == {"run.json", "samples.jsonl"}
    with pytest.raises(RuntimeError, match="went down"):
        train(sample_bon, *flags, "--resume", out=broken)
    path = broken / "samples.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:500])  # a batch that was not written to its end
    train(sample_bon, *flags, "--resume", out=broken)
    assert calls == [0, 2, 4, 6, 6]  # no prompt is sampled twice but the one that was lost
    for name in ("samples.jsonl", "best.jsonl", "best_of_n.json"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    times = {"seconds": 0, "peak_memory_mb": 0}
    assert result_of(whole) | times == result_of(broken) | times
    assert "--n is 5" in refuses(sample_bon, *flags, "--n=5", "--resume", "--out", broken)
    assert train(sample_bon, *flags, "--best_of=2", "--resume", out=broken) and len(calls) == 5


# ---------------------------------------------------------------------------------------------------------- scores


def test_reward_models_and_likelihood(own, chain, tiny, tmp_path):
    """Two reward models beside each other; the likelihood under what --init was trained from. Each by itself."""
    sft, rm, rm2 = chain
    run = train(sample_bon, *own, "--init", sft, "--reward", rm, rm2, "likelihood", out=tmp_path / "bon")
    rows = lines(run / "samples.jsonl")
    asked, said = [row["prompt"] for row in rows], [row["response"] for row in rows]
    for folder in (rm, rm2):
        expected = from_run(str(folder))(asked, said)
        found = [row["scores"][folder.name] for row in rows]
        assert found == pytest.approx(expected, abs=2e-5) and len(set(found)) > 10
    base, tokenizer, _ = stage.load_policy(str(tiny))
    policy, *_ = stage.load_policy(str(tiny), str(sft))
    gaps = []
    for row in rows:
        prompt, ids = tokenizer.encode(row["prompt"]), tokenizer.encode(row["response"])
        ids = (ids + [tokenizer.eot])[:8]
        total, drawn = (stages.logprobs(model, prompt, ids).sum().item() for model in (base, policy))
        if drawn == pytest.approx(row["logprob"], abs=1e-3):  # the text's tokens are those that were drawn
            assert row["scores"]["likelihood"] == pytest.approx(total, abs=1e-4)
            gaps.append(abs(total - drawn))
    assert len(gaps) > 10 and max(gaps) > 0.1


def test_the_likelihood_is_of_the_tokens_that_were_drawn(own, tiny, tmp_path):
    """Encoded again, some texts come out in other tokens; under the sampled model both log-probs are the same."""
    run = train(sample_bon, *own, "--reward=likelihood", out=tmp_path / "bon")
    rows = lines(run / "samples.jsonl")
    assert all("tokens" not in row for row in rows)
    gaps = [abs(row["scores"]["likelihood"] - row["logprob"]) for row in rows]
    assert max(gaps) < 1e-3, (max(gaps), len(rows))


def test_overlap_with_references_of_a_task(tiny, short_gold, tmp_path):
    run = train(sample_bon, "--model", tiny, *ALIKE, "--task=sentiment", "--examples=3", "--n=2",
                "--reward=bleu,rougeL", out=tmp_path / "bon")  # fmt: skip
    rows = lines(run / "samples.jsonl")
    told = {record.prompt: record.responses[0] for record in sentiment.completions("test", 3, 1)}
    for row in rows:
        assert row["reference"] == told[row["prompt"]]
        assert row["scores"]["bleu"] == bleu(row["response"], [row["reference"]])
        assert row["scores"]["rougeL"] == rouge(row["response"], row["reference"])["rougeL"]
    row = {"prompt": "p", "response": "a b", "reference": ["a c", "a b"]}  # the best of several references
    assert scores.overlap("rouge2")([row]) == [1.0]


def test_a_classifier_reads_prompt_and_response(monkeypatch):
    class Fake:
        labels = ["NEGATIVE", "POSITIVE"]

        def __call__(self, texts):
            good = torch.tensor([float("good" in text) for text in texts])
            return torch.stack([1 - good, good], 1)

    asked = []
    monkeypatch.setattr(scores, "classifier", lambda name, device, flag: asked.append(name) or Fake())
    rows = [{"prompt": "It is", "response": r} for r in (" good.", " bad.")] + [{"prompt": "good", "response": "?"}]
    assert scores.classified("classifier:some/model:positive", torch.device("cpu"))(rows) == [1.0, 0.0, 1.0]
    assert scores.classified("classifier:C:/a folder:NEGATIVE", torch.device("cpu"))(rows) == [0.0, 1.0, 0.0]
    assert asked == ["some/model", "C:/a folder"]
    for spec, words in (("classifier:m:JOY", "NEGATIVE, POSITIVE"), ("classifier:m", "classifier:MODEL:LABEL")):
        with pytest.raises(UserError, match=words):
            scores.classified(spec, torch.device("cpu"))


def test_equal_scores_rank_in_the_order_of_drawing():
    rows = [{"scores": {"b": 9, "a": value}} for value in (1, 2, 2, 1)]
    scores.rank(rows, "a")
    assert [row["rank"] for row in rows] == [3, 1, 2, 4] and list(rows[0]["scores"]) == ["a", "b"]


# ---------------------------------------------------------------------------------------------- samples scored again


def test_samples_get_another_score(finished, own, rule, files, tmp_path):
    """Nothing is lost, nothing is drawn; the new reward picks, or the one that --by names."""
    flags = [*own[:4], "--samples"]
    run = train(sample_bon, *flags, finished, "--data", files[0], "--reward=rouge2", out=tmp_path / "new")
    old, new = lines(finished / "samples.jsonl"), lines(run / "samples.jsonl")
    assert [row | {"scores": None, "rank": 0} for row in new] == [row | {"scores": None, "rank": 0} for row in old]
    for before, row in zip(old, new):
        added = {"rouge2": rouge(row["response"], row["reference"])["rouge2"]}
        assert row["scores"] == added | before["scores"] and list(row["scores"])[0] == "rouge2"
    data = json.loads((run / "best_of_n.json").read_text())
    assert data["by"] == "rouge2" and len(data["splits"]["train"]) == 4
    assert sum(row["rank"] == 1 for row in new) == 7
    same = train(sample_bon, *flags, finished, out=tmp_path / "same")  # as it was
    assert (same / "best_of_n.json").read_bytes() == (finished / "best_of_n.json").read_bytes()
    assert lines(same / "best.jsonl") == lines(finished / "best.jsonl")
    other = train(sample_bon, *flags, run / "samples.jsonl", "--by=rouge1", out=tmp_path / "by")
    assert json.loads((other / "best_of_n.json").read_text())["by"] == "rouge1"


def test_samples_of_others(tiny, rule, tmp_path):
    """A file with the two keys that count, of a trained run (its last step), with fewer responses to one prompt."""
    rows = [{"prompt": p, "response": r, "step": step} for p, r, step in
            (("a", "xx", 1), ("a", "x", 2), ("b", "xxxx", 2), ("a", "xxxxx", 2), ("a", "xxx", 2), ("b", "y", 2))]
    file = write(tmp_path / "samples.jsonl", rows)
    run = train(sample_bon, "--model", tiny, *ALIKE, "--samples", file, "--reward", rule("odd"), out=tmp_path / "bon")
    found = lines(run / "samples.jsonl")
    assert [row["response"] for row in found] == ["x", "xxxxx", "xxx", "xxxx", "y"]
    assert json.loads((run / "best_of_n.json").read_text())["n"] == [1, 2]
    assert "samples/stop_rate" not in result_of(run)


# ---------------------------------------------------------------------------------------------------------- worlds


def test_the_exact_law_stands_beside_the_estimate(rng_folder, tmp_path):
    """rng on the tiny model: 200 times best of 1 ... 4; within 4.5 standard errors."""
    flags = ["--model", rng_folder, *ALIKE, "--task=rng", "--target=poisson", "--examples=200", "--n=4",
             "--best_of=1,2,3,4"]  # fmt: skip
    run = train(sample_bon, *flags, out=tmp_path / "bon")
    found, data = result_of(run), json.loads((run / "best_of_n.json").read_text())
    for n in (1, 2, 3, 4):
        mean, se = found[f"test/gold/best_of_{n}"], found[f"test/gold/best_of_{n}_se"]
        assert abs(mean - found[f"exact_gold/best_of_{n}"]) <= 4.5 * se, n
        assert found[f"exact_kl/best_of_{n}"] == data["exact_kl"][n - 1] <= found[f"kl_bound/best_of_{n}"]
    model, tokenizer, _ = stage.load_policy(str(rng_folder))
    world = setting("rng", tokenizer, 0, model.device, "poisson").world
    gold = torch.tensor(world.gold([world.prompt] * len(world.texts), world.texts))
    invalid = world.gold([world.prompt], [""])[0]
    assert data["exact_gold"][0] == pytest.approx(exact.expected(world.logprobs(model), gold, invalid), abs=1e-5)
    assert abs(data["exact_kl"][0]) < 1e-12 < data["exact_kl"][3]
    warm = train(sample_bon, *flags, "--temperature=2", "--examples=2", out=tmp_path / "warm")
    assert "exact_kl" not in json.loads((warm / "best_of_n.json").read_text())


def test_grammar_s_law_counts_what_is_no_sentence(tiny, tmp_path):
    run = train(sample_bon, "--model", tiny, *ALIKE, "--task=grammar", "--examples=3", "--n=2", out=tmp_path / "bon")
    data, (model, tokenizer, _) = json.loads((run / "best_of_n.json").read_text()), stage.load_policy(str(tiny))
    logprobs = exact.outcomes(grammar.Grammar(tokenizer).logprobs(model))
    values = [*map(grammar.reward("animals"), grammar.sentences()), grammar.INVALID]
    even = bon.law(logprobs, torch.tensor(values), 2).exp() @ torch.tensor(values).double()
    assert data["exact_gold"][1] == pytest.approx(even.item()) and even < -1.9  # it hardly ever writes a sentence


# --------------------------------------------------------------------------------------------------------- talking


def test_one_prompt_is_answered_and_nothing_written(chain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--init", chain[0], "--device=cpu", "--prompt", "Tom has a hat, and so", "--max_response=8"]
    train(sample_bon, *flags)
    said = capsys.readouterr().out
    assert said.count(">>>") == 1 and said.strip().startswith("Tom has a hat, and so >>>")
    assert not list(tmp_path.iterdir())
    train(sample_bon, *flags, "--n=3", "--prompt=")  # of the empty prompt, too
    assert capsys.readouterr().out.count(">>>") == 3
    run = train(sample_bon, *flags, "--n=2", "--no-plot", out=tmp_path / "bon")
    assert [row["prompt"] for row in lines(run / "samples.jsonl")] == ["Tom has a hat, and so"] * 2


def test_a_file_of_prompts_is_answered(tiny, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("Tom has\nAnna sees  \n", encoding="utf-8")
    flags = ["--model", tiny, *ALIKE, "--data", tmp_path / "prompts.txt", "--n=1", "--max_response=8"]
    run = train(sample_bon, *flags, out=tmp_path / "bon")
    said = capsys.readouterr().out
    assert "\nTom has >>>" in said and "\nAnna sees >>>" in said
    assert [(r["prompt"], r["split"]) for r in lines(run / "samples.jsonl")] == [("Tom has", "prompts"),
                                                                                ("Anna sees", "prompts")]  # fmt: skip


def test_the_lines_of_python_in_its_docstring_and_in_the_readme(capsys):
    text = ast.get_docstring(ast.parse(Path(sample_bon.__file__).read_text(encoding="utf-8")))
    code = "\n".join(line.strip() for line in text.split("In Python:")[1].strip().splitlines())
    readme = (Path(sample_bon.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert len(code.splitlines()) == 5 and f"```python\n{code}\n```" in readme
    exec(code, names := {})
    assert len(ast.literal_eval(capsys.readouterr().out)) == 2 and names["samples"].stopped.all()


# ---------------------------------------------------------------------------------------------------------- errors


def test_what_the_user_got_wrong(own, finished, rule, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, plain = own[:4], [*own, "--reward", rule("odd")]
    task = [*model, "--task=sentiment", "--examples=2"]
    bare = write(tmp_path / "bare.jsonl", [{"prompt": "p", "response": "r"}])
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "Tom has a hat."}])
    (empty := tmp_path / "empty.txt").write_text("\n")
    asked = {
        ("--n=0",): "--n: expected 1 to",
        (*model,): "give --task, --data FILE, --prompt TEXT or --samples FILE",
        (*plain, "--best_of=3,9"): "--best_of 9: expected 1 to 6",
        (*plain, "--best_of=0"): "--best_of 0: expected 1 to 6",
        (*plain, "--prompt=x"): "leave out --data",
        (*model, "--task=grammar", "--prompt=x"): "one prompt of its own",
        (*plain, "--greedy"): "needs --n 1",
        (*plain, "--illegal=basic"): "--illegal would have no effect: it belongs to --task next_sentence",
        (*model, "--task=grammar", "--max_response=9"): "--max_response would have no effect",
        (*model, "--data", empty, "--n=1"): f"{empty}: expected prompts, one a line; there is none.",
        (*task, "--split=ood_test"): "--split ood_test: sentiment has train, validation, test.",
        (*model, "--task=rng", "--split=train"): "--split train: rng has test.",
        (*task, "--examples=0"): "without end",
        (*own, "--reward=gold"): "the gold score is a task's: give --task",
        (*own, "--reward=nowhere"): "--reward nowhere: expected",
        (*own, "--reward", rule("broken")): "ZeroDivisionError",
        (*model, "--data", prompts, "--max_response=8", "--reward=bleu"): "compares with references, but there is none",
        (*model, "--task=puns", "--examples=2", "--reward=rouge9"): "--reward rouge9: expected",
        (*plain, "--by=gold"): "--by: 'gold' is not one of my_rewards.py:odd",
        (*plain, "--resume"): "--resume continues sampling: it needs --out",
        (*plain, "--resume", "--out", tmp_path / "none"): "is no run folder",
        (*plain, "--out", finished): "exists",
        (*model, "--samples", finished, "--overwrite", "--out", finished): "--overwrite would delete",
        (*model, "--samples", "nowhere"): "no such file",
        (*model, "--samples", bare): "these have no scores; give --reward",
        (*model, "--samples", bare, "--reward=rouge1"): "compares with references",
        (*model, "--samples", bare, "--reward", rule("odd"), "--best_of=2"): "--best_of 2: expected 1 to 1",
        (*model, "--samples", finished, "--data", prompts, "--reward=rouge1"): "other prompts than --data",
        (*model, "--samples", finished, "--task=grammar"): "other prompts than --task grammar",
        (*model, "--init", finished, "--prompt=x"): "expected adapter_config.json",
    }  # fmt: skip
    for flags, words in asked.items():
        assert words in refuses(sample_bon, *flags), flags
    assert {path.name for path in tmp_path.iterdir()} <= {"bare.jsonl", "prompts.jsonl", "empty.txt", "runs"}


def test_the_same_name_again_is_told_apart(finished, own, rule, tmp_path):
    """A score of a name that the samples have gets its whole spec as its name, and then there is no third."""
    flags = [*own[:4], "--samples"]
    again = train(sample_bon, *flags, finished, "--reward", rule("odd"), out=tmp_path / "again")
    assert list(lines(again / "samples.jsonl")[0]["scores"])[0] == rule("odd")
    assert "has scores of that name" in refuses(sample_bon, *flags, again, "--reward", rule("odd"))


def test_as_a_command(own, tmp_path):
    """A score that is no number: an error without a traceback, and no folder is left behind."""
    (tmp_path / "bad.py").write_text("def f(prompts, responses):\n    return [float('nan') for _ in responses]\n")
    flags = [*map(str, own), "--reward", f"{tmp_path}/bad.py:f", "--out", str(tmp_path / "bon")]
    done = subprocess.run([sys.executable, sample_bon.__file__, *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.splitlines()[-3].startswith("error: --reward"), done.stderr
    assert "expected a finite number" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "bon").exists()
