"""train_gfn.py on sentences, texts, a small grammar and one's own data: losses by hand, exact optima, every option."""

import itertools
import json
import math
import re
import statistics
from pathlib import Path

import pytest
import stages
import torch
from stages import ALIKE, OWN, lines, one_encoder, refuses, result_of, train  # noqa: F401

import train_gfn
import train_rm
from minalign import checkpoint, hub, rewards, stage
from minalign.checkpoint import load_state
from minalign.generate import StopRule
from minalign.respond import respond
from minalign.stage import load_policy
from minalign.tasks import grammar, next_sentence, rng, sentiment, setting
from minalign.tokenizer import Tokenizer

REWARDS = """
def odd(prompts, responses):
    return [float((len(p) + 3 * len(r)) % 5) - 2 for p, r in zip(prompts, responses)]

def anna(prompts, responses):
    return [float(r.count("Anna") - r.count("Tom")) for r in responses]

def few(prompts, responses):
    return [0.0]
"""
NEXT = "--task=next_sentence"
FEW = ["--examples=8", "--eval_examples=3", "--eval_samples=3", "--samples_per_prompt=4", "--probes=2"]
MIXED = ["--tempered=0.25", "--explored=0.25", "--explore=0.9", "--replayed=0.5", "--prefill=8"]  # off-policy
EVALS = {f"eval/{key}" for key in ("kl", "loglik", "loglik_max", "loglik_token", "length", "stop_rate", "distinct",
                                   "diversity", "log_ratio_var")}  # fmt: skip


@pytest.fixture(scope="module")
def spoken(tiny, tmp_path_factory):
    """The tiny model, but it ends with a full stop where that one ends the text, and with an exclamation mark."""
    folder, tokenizer = tmp_path_factory.mktemp("models") / "spoken", Tokenizer.from_folder(tiny)
    model, [dot], [mark] = hub.from_pretrained(str(tiny)), tokenizer.encode("."), tokenizer.encode("!")
    with torch.no_grad():
        w = model.transformer.wte.weight
        w[[tokenizer.eot, dot]] = w[[dot, tokenizer.eot]]
        w[mark, 0] = 1.5
    hub.save_pretrained(model, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def own(spoken):
    """Flags of a run on sentences; about half of them come to their end."""
    return ["--model", spoken, *OWN, NEXT, "--max_response=6", "--objective=subtb+vargrad", *FEW]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """A file of prompts of different lengths, one a line."""
    path = tmp_path_factory.mktemp("data") / "prompts.txt"
    path.write_text("".join(f"{row['prompt']}\n" for row in stages.pairs(10)))
    return path


@pytest.fixture(scope="module")
def rewarded(tiny, files, tmp_path_factory):
    """{name: (--reward, its scores of a prompt and a response's ids, one row at a time)}"""
    folder, tokenizer = tmp_path_factory.mktemp("rewards"), Tokenizer.from_folder(tiny)
    (folder / "my.py").write_text(REWARDS)
    rm = train(train_rm, "--model", tiny, *OWN, "--data", files[0], "--eval_data", files[1], "--steps=2",
               out=folder / "rm")  # fmt: skip
    model, found = rewards.from_run(str(rm)), {}
    for name in ("odd", "anna", "few"):
        text = rewards.from_file(f"{folder / 'my.py'}:{name}")
        found[name] = f"{folder / 'my.py'}:{name}", lambda prompt, ids, text=text: text(
            [tokenizer.decode(prompt)], [tokenizer.decode([i for i in ids if i != tokenizer.eot])])[0]
    found["model"] = str(rm), lambda prompt, ids: model.score(
        torch.tensor([prompt]), None, torch.tensor([ids]), torch.ones(1, len(ids)) > 0).item()  # fmt: skip
    return found


# --------------------------------------------------------------------------------------------- mathematics, by hand


@torch.no_grad()
def prefixes(model, rule: StopRule, prompt: list[int], ids: list[int], temperature: float = 1.0) -> dict[int, float]:
    """Return {t: log-prob of the first t of ids and the end}, from one plain pass over one row: no cache, no padding.

    ids: a response without its stop. Where the end is forced, after it, there is no stop to pay for.
    """
    logits = model.eval().lm_head(model(torch.tensor([prompt + ids])))[0, len(prompt) - 1 :].double() / temperature
    logits[:, list(rule.forbidden)] = -math.inf
    logits[: rule.min_new_tokens, rule.stop] = -math.inf
    logp, n, reached, found = logits.log_softmax(-1), len(ids), 0.0, {}
    for t in range(n + 1):
        over = t == rule.max_new_tokens or (t and t >= rule.ends_after and ids[t - 1] in rule.ends)
        if t >= rule.min_new_tokens:
            found[t] = reached + (0.0 if over else logp[t, rule.stop].item())
        reached += logp[t, ids[t]].item() if t < n else 0
    return found


@pytest.fixture
def watched(monkeypatch):
    """What the losses were of: for each call of `balance` the model's rule and (prompt, response) of its rows."""
    calls, last = [], []
    scored, balanced = train_gfn.prefix_logprobs, train_gfn.balance

    def prefix_logprobs(model, rule, prompts, prompt_mask, tokens, mask, lengths, temperature):
        n = len(tokens) // len(prompts)
        padding = prompts < 0 if prompt_mask is None else ~prompt_mask
        last[:] = rule, [(prompts[i // n][~padding[i // n]].tolist(), ids[: lengths[i]].tolist(), ids[mask[i]].tolist())
                         for i, ids in enumerate(tokens)]  # fmt: skip
        return scored(model, rule, prompts, prompt_mask, tokens, mask, lengths, temperature)

    def balance(*args):
        calls.append(tuple(last))
        return balanced(*args)

    monkeypatch.setattr(train_gfn, "prefix_logprobs", prefix_logprobs)
    monkeypatch.setattr(train_gfn, "balance", balance)
    return calls


@pytest.mark.parametrize("flags", [
    ["--objective=subtb+vargrad"], ["--objective=subtb"], ["--objective=vargrad"], ["--objective=tb"],
    ["--lora_rank=0", "--clip_log_ratio=0", "--subtb_lambda=0.7"], ["--data"]], ids=" ".join)  # fmt: skip
def test_a_policy_that_is_the_base_has_loss_zero_at_t_1(own, tiny, prompts, tmp_path, watched, flags):
    """Whatever is sampled: on-policy, tempered, explored, replayed, truncated; and whatever the temperature of all."""
    if flags == ["--data"]:  # the end of the text is the stop, and the empty response is possible
        own, flags = ["--model", tiny, *OWN, "--max_response=6", *FEW], ["--data", prompts, "--eval_data", prompts]
    run = train(train_gfn, *own, *MIXED, "--reward_temperature=1", "--temperature=0.7", "--learning_rate=0",
                "--log_z_learning_rate=0", "--steps=3", *flags, out=tmp_path / "run")  # fmt: skip
    rows, (rule, _) = lines(run / "metrics.jsonl"), watched[0]
    assert all(row["loss"] < 1e-6 and row["log_ratio_var"] < 1e-6 for row in rows), rows
    assert any(0 < row["stop_rate"] < 1 for row in rows) and len(rows) == 3
    lengths = [len(ids) for _, responses in watched for _, ids, _ in responses]
    assert len(lengths) == 24 and rule.min_new_tokens <= min(lengths) < max(lengths) == rule.max_new_tokens == 6


def by_hand(cfg, rule, rows, policy, ref, score, log_z, T):
    """Return a step's loss, mean log R and mean variance of log R - log P, from plain passes, sums and loops."""
    N, tokenizer, g, log_rewards = cfg.samples_per_prompt, Tokenizer.from_folder(hub.NANO), [], []
    for prompt, ids, whole in rows:
        R = prefixes(ref, rule, prompt, ids, cfg.temperature)
        for t in R if cfg.validator == "rule" else ():
            said = tokenizer.decode(whole if t == len(ids) else [*ids[:t], rule.stop])
            R[t] = R[t] if next_sentence.is_sentence(said) else min(R[t], -50.0)
        R = {t: x / T for t, x in R.items()} if not score else {len(ids): R[len(ids)] + score(prompt, whole) / cfg.beta}
        P = prefixes(policy, rule, prompt, ids, cfg.temperature)
        g.append({t: R[t] - P[t] for t in R})
        log_rewards.append(R[len(ids)])
    groups = [g[i : i + N] for i in range(0, len(g), N)]  # of a prompt
    raw = [[list(x.values())[-1] for x in group] for group in groups]
    for group, ends in zip(groups, raw):
        middle = sorted(ends)[(N - 1) // 2]
        for x in group if cfg.clip_log_ratio else ():
            x |= {t: min(max(v, middle - cfg.clip_log_ratio), middle + cfg.clip_log_ratio) for t, v in x.items()}
    ends, loss = [[list(x.values())[-1] for x in group] for group in groups], 0.0
    if "subtb" in cfg.objective:
        pairs = []  # (weight, square) of all trajectories
        for group, z in zip(groups, log_z):
            for x in group:
                states = sorted((({0: z} if cfg.objective == "subtb" and rule.min_new_tokens else {}) | x).items())
                pairs += [(cfg.subtb_lambda ** (j - i - 1), (a - b) ** 2)
                          for k, (i, a) in enumerate(states) for j, b in states[k + 1 :]]  # fmt: skip
        loss += sum(w * square for w, square in pairs) / sum(w for w, _ in pairs)
    if "vargrad" in cfg.objective:
        loss += statistics.mean(map(statistics.pvariance, ends))
    if cfg.objective == "tb":
        loss += statistics.mean((z - x) ** 2 for z, group in zip(log_z, ends) for x in group)
    return loss, statistics.mean(log_rewards), statistics.mean(map(statistics.variance, raw))


CASES = {
    "default": ["--clip_log_ratio=1"],
    "subtb": ["--objective=subtb", "--subtb_lambda=0.7", "--clip_log_ratio=0"],
    "tb": ["--objective=tb", "--temperature=1.5"],
    "vargrad": ["--objective=vargrad", "--min_response=3"],
    "micro": ["--micro_batch=4", "--subtb_lambda=1.3"],
    "full": ["--lora_rank=0", "--clip_log_ratio=0"],
    "validator": ["--validator=rule", "--clip_log_ratio=0", "--model=nano", "--max_response=8"],
    "odd": ["--objective=tb", "--beta=0.5"],
    "model": ["--objective=vargrad", "--beta=2", "--clip_log_ratio=0", "--data"],
}


def config_of(run) -> dict:
    return json.loads((Path(run) / "run.json").read_text())["config"]


@pytest.mark.parametrize("case", CASES)
def test_the_loss_of_a_step_by_hand(own, tiny, prompts, rewarded, tmp_path, watched, case):
    """Of the second step, whose policy is no longer the base; with replayed responses, at a T that they never saw."""
    flags = [*own, *MIXED, "--learning_rate=0.05", "--reward_temperature_start=0.5", "--reward_temperature=0.25",
             "--reward_temperature_steps=2", *CASES[case]]  # fmt: skip
    if flags[-1] == "--data":
        flags = ["--model", tiny, *flags[2:], prompts, "--eval_data", prompts]
        flags.remove(NEXT)
    score = rewarded[case][1] if case in rewarded else None
    flags += ["--reward", rewarded[case][0]] if score else []
    one = train(train_gfn, *flags, "--steps=1", out=tmp_path / "one")
    watched.clear()
    two = train(train_gfn, *flags, "--steps=2", out=tmp_path / "two")
    calls = watched[len(watched) // 2 :]  # of the second step
    (rule, _), rows = calls[0], [row for _, some in calls for row in some]
    assert len(calls) == (2 if case == "micro" else 1) and len(rows) == 8 and rows[0][0] != rows[-1][0]
    cfg = train_gfn.Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in config_of(two).items()})
    policy, ref, tensors = load_policy("nano", str(one))[0], hub.from_pretrained(cfg.model), load_state(one)[1]
    w, b = tensors["log_z.weight"][0], tensors["log_z.bias"]
    log_z = [(ref(torch.tensor([prompt]))[0, -1] @ w / len(w) + b).item() for prompt, _, _ in rows[::4]]
    assert ("subtb" in (case, cfg.objective) or cfg.objective == "tb") == any(log_z)
    found, metrics = by_hand(cfg, rule, rows, policy, ref, score, log_z, 0.375), lines(two / "metrics.jsonl")
    assert metrics[1]["reward_temperature"] == (1 if score else 0.375)
    assert metrics[1]["loss"] == pytest.approx(found[0], rel=2e-3) and found[0] > 1e-3
    assert metrics[1]["log_reward"] == pytest.approx(found[1], rel=1e-4)
    assert metrics[1]["log_ratio_var"] == pytest.approx(found[2], rel=2e-3)


def test_the_validator_of_texts_puts_no_full_stop_after_them():
    """Where the end of the text is the stop, a prefix is worth its own words."""
    tokenizer = Tokenizer.from_folder(hub.NANO)
    ids = [*tokenizer.encode(" Tom lost his hat. Anna found it."), tokenizer.eot]
    tokens, n = torch.tensor([ids]), len(ids) - 1
    worth = next_sentence.floor_invalid(torch.zeros(1, n + 1), tokens, tokens >= 0, torch.tensor([n]), tokenizer,
                                        tokenizer.eot)[0]  # fmt: skip
    assert [t for t in range(n + 1) if worth[t] == 0] == [i + 1 for i, token in enumerate(ids) if token == 13]


# ------------------------------------------------------------------------------------------------------- convergence


@pytest.mark.parametrize("flags", [
    ["--objective=subtb+vargrad"], ["--objective=subtb", "--subtb_lambda=0.9"], ["--objective=vargrad", "--reward"],
    ["--objective=tb", "--reward"]], ids=" ".join)  # fmt: skip
def test_training_ends_in_the_distribution_that_is_asked_for(spoken, rewarded, tmp_path, monkeypatch, flags):
    """Where all responses can be listed, p_ref^(1/T) / Z and p_ref exp(r / beta) / Z are known; two prompts at once."""
    tokenizer, score = Tokenizer.from_folder(spoken), None
    words = [tokenizer.encode(text)[0] for text in (" he", " Anna", " Tom", " the")]  # the last: an end, the stop
    rule = StopRule(words[3], 3, 1, (words[2],), 2, tuple(set(range(tokenizer.n_vocab)) - set(words)))
    listed = [ids for n in (1, 2, 3) for ids in itertools.product(words[:3], repeat=n) if words[2] not in ids[1:-1]]
    monkeypatch.setattr(next_sentence, "stop_rule", lambda *args: rule)
    if "--reward" in flags:
        flags, score = [*flags, rewarded["anna"][0], "--beta=1"], rewarded["anna"][1]
    run = train(train_gfn, "--model", spoken, *ALIKE, NEXT, *FEW, "--examples=2", "--steps=80", "--batch_size=32",
                "--samples_per_prompt=16", "--learning_rate=1e-2", "--clip_log_ratio=0", "--eval_every=0",
                "--reward_temperature=0.4", "--reward_temperature_steps=30", *flags, out=tmp_path / "run")  # fmt: skip
    models = load_policy("nano", str(run))[0], hub.from_pretrained(str(spoken))
    for text in next_sentence.prompts("train", 2, 1):
        prompt = tokenizer.encode(text)
        policy, ref = (torch.tensor([list(prefixes(m, rule, prompt, [*ids]).values())[-1] for ids in listed])
                       for m in models)  # fmt: skip
        worth = ref + torch.tensor([score(prompt, ids) for ids in listed]) if score else ref / 0.4
        assert policy.exp().sum() == pytest.approx(1, abs=1e-4) and ref.exp().sum() == pytest.approx(1, abs=1e-4)
        tv, before = ((x.exp() - worth.softmax(0)).abs().sum().item() / 2 for x in (policy, ref))
        assert tv < 0.05 < 0.3 < before


# ------------------------------------------------------------------------------------------------ the folder, numbers


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    """A run with everything switched on."""
    return train(train_gfn, *own, "--plot", "--steps=6", "--eval_every=3", "--save_every=3", "--eval_samples=6",
                 "--reward_temperature=0.5", "--reward_temperature_steps=4",
                 out=tmp_path_factory.mktemp("runs") / "gfn")  # fmt: skip


def check_rows(run, rule, T, scale=0.0):
    """Each row's log-probs by plain passes, eval/log_ratio_var by hand; a text spelt otherwise is another response."""
    tokenizer, of_prompt, close = Tokenizer.from_folder(hub.NANO), {}, []
    trained = Path(config_of(run)["init"] or run)  # with --eval_only the run before
    models = load_policy("nano", str(trained))[0], hub.from_pretrained(config_of(trained)["model"])
    for row in lines(run / "predictions.jsonl"):
        log_ratio = row["loglik"] / T + scale * row["scores"].get("score", 0) - row["own_loglik"]
        of_prompt.setdefault(row["prompt"], []).append(log_ratio)
        ids = tokenizer.encode(row["response"]) + [tokenizer.eot] * (row["stopped"] and rule.stop == tokenizer.eot)
        if len(ids) == row["tokens"]:
            body = ids[:-1] if ids[-1] == rule.stop else ids
            prompt = tokenizer.encode(row["prompt"])
            own, base = (list(prefixes(m, rule, prompt, body).values())[-1] for m in models)
            close.append(abs(own - row["own_loglik"]) + abs(base - row["loglik"]) + abs(own - base - row["kl"]) < 3e-3)
    assert sum(close) > 0.8 * len(close) > 4, close
    variances = [statistics.variance(some) for some in of_prompt.values()]
    assert result_of(run)["eval/log_ratio_var"] == pytest.approx(statistics.mean(variances), rel=1e-4)


def test_a_run_folder_is_complete(finished, spoken):
    assert stages.inside(finished) == {
        "run.json", "metrics.jsonl", "result.json", "samples.jsonl", "predictions.jsonl", "probes.jsonl",
        "adapter_config.json", "adapter_model.safetensors", "curves.png"}  # fmt: skip
    assert (finished / "curves.png").stat().st_size > 5_000
    rows = lines(finished / "metrics.jsonl")
    assert [row["step"] for row in rows if EVALS <= row.keys()] == [3, 6] and len(rows) == 6
    assert [row["reward_temperature"] for row in rows] == pytest.approx([1, 0.875, 0.75, 0.625, 0.5, 0.5])
    result = result_of(finished)
    assert result.keys() == EVALS | {f"base_{x}" for x in EVALS} | {"steps", "seconds", "peak_memory_mb"}
    assert result["base_eval/kl"] == 0 != result["eval/kl"]
    check_rows(finished, next_sentence.stop_rule(Tokenizer.from_folder(spoken), 6), 0.5)


def test_probes_are_fixed_prompts_and_fixed_random_numbers(finished, spoken):
    """Those of step 0 are the base's, the last ones the policy's: sampled here once more."""
    rows, tokenizer = lines(finished / "probes.jsonl"), Tokenizer.from_folder(spoken)
    asked = {split: next_sentence.prompts(split, n, 1)[:2] for split, n in (("train", 8), ("validation", 3))}
    assert [row["step"] for row in rows] == [0] * 16 + [3] * 16 + [6] * 16
    rule = next_sentence.stop_rule(tokenizer, 6)
    for step, model in ((0, hub.from_pretrained(str(spoken))), (6, load_policy("nano", str(finished))[0])):
        for split, texts in asked.items():
            said = respond(model, tokenizer, [tokenizer.encode(x) for x in texts], rule, 4,
                           generator=torch.Generator().manual_seed(1))  # fmt: skip
            expected = [{"prompt": p, "response": r.text, "step": step, "stopped": r.stopped, "split": split}
                        for p, some in zip(texts, said) for r in some]  # fmt: skip
            assert [row for row in rows if row["step"] == step and row["split"] == split] == expected
    assert [row["response"] for row in rows[:16]] != [row["response"] for row in rows[-16:]]


def test_evaluating_the_base_and_a_run(finished, own, spoken, tmp_path):
    """Of the base the numbers are those that the run began with; a run is compared with what it was trained from."""
    flags = ["--eval_only", "--eval_samples=6", "--steps=6", "--reward_temperature=0.5", "--reward_temperature_steps=4"]
    base = train(train_gfn, *own, *flags, out=tmp_path / "base")
    again = train(train_gfn, *own[2:], *flags, "--init", finished, out=tmp_path / "again")
    assert {f"base_{key}": result_of(base)[key] for key in EVALS}.items() <= result_of(finished).items()
    assert stages.inside(again) == {"run.json", "result.json", "predictions.jsonl", "samples.jsonl"}
    check_rows(again, next_sentence.stop_rule(Tokenizer.from_folder(spoken), 6), 0.5)


def test_patience_ends_a_run_and_the_best_weights_are_kept(own, tmp_path, monkeypatch):
    see, values = checkpoint.Best.see, [1, 7, 3, 2, 9, 9]
    monkeypatch.setattr(checkpoint.Best, "see", lambda self, step, found: see(
        self, step, found | {"eval/loglik": values[step - 1]}))  # fmt: skip
    flags = [*own, "--schedule=constant", "--eval_every=1", "--reward_temperature_steps=2"]
    early = train(train_gfn, *flags, "--steps=2", out=tmp_path / "early")
    patient = [*flags, "--steps=6", "--keep_best=eval/loglik", "--patience=2", "--out", tmp_path / "patient"]
    for more in ([], ["--resume"]):  # a run that has ended this way stays so
        train(train_gfn, *patient, *more)
        assert [row["step"] for row in lines(tmp_path / "patient" / "metrics.jsonl")] == [1, 2, 3, 4]
        assert result_of(tmp_path / "patient")["steps"] == 4
        assert stages.same(stages.weights(early), stages.weights(tmp_path / "patient"))


def test_rewards_of_texts_and_their_numbers(tiny, prompts, rewarded, tmp_path):
    """Own data without a task; a reward model as an adapter, and, fully trained, as a model of its own."""
    flags = ["--model", tiny, *OWN, *FEW, "--data", prompts, "--eval_data", prompts, "--beta=0.5", "--steps=2"]
    for name, rank in (("odd", 4), ("model", 4), ("model", 0)):
        more = ["--reward", rewarded[name][0], f"--lora_rank={rank}"]
        run = train(train_gfn, *flags, *more, out=tmp_path / f"{name}{rank}")
        rows, result = lines(run / "predictions.jsonl"), result_of(run)
        score = rewards.from_run(rewarded[name][0]) if name == "model" else rewards.from_file(rewarded[name][0])
        expected = score([row["prompt"] for row in rows], [row["response"] for row in rows])
        assert [row["scores"]["score"] for row in rows] == pytest.approx(expected, abs=1e-4)
        assert result["eval/score"] == pytest.approx(statistics.mean(expected), abs=1e-4)
        assert config_of(run)["objective"] == "vargrad"
        assert [row["prompt"] for row in rows[::3]] == prompts.read_text().split("\n")[:3]
        check_rows(run, StopRule(Tokenizer.from_folder(tiny).eot, 8), 1, 2.0)


def test_the_gold_score_of_a_text_task(tiny, rewarded, tmp_path, monkeypatch):
    monkeypatch.setattr(sentiment, "gold", lambda prompt, response: 0.25)
    flags = ["--model", tiny, *OWN, *FEW, "--task=sentiment", "--steps=1"]
    run = train(train_gfn, *flags, out=tmp_path / "gold")
    assert [config_of(run)[key] for key in ("reward", "objective", "temperature")] == ["gold", "vargrad", 0.7]
    assert result_of(run)["eval/score"] == result_of(run)["eval/gold"] == 0.25
    learned = train(train_gfn, *flags, "--reward", rewarded["model"][0], out=tmp_path / "model")
    assert result_of(learned)["eval/gold"] == 0.25 != result_of(learned)["eval/score"]


@pytest.fixture
def small(tiny, monkeypatch):
    """Flags of a run on a grammar of 48 sentences."""
    for name, slots in (("WHO", {"Mira": 5, "Tom": 4}), ("ANIMALS", {"dog": 4}), ("THINGS", {"key": 1}),
                        ("SIZES", {"": 3}), ("PLACES", {"": 4, "at the market": 2}), ("FEELINGS", {"": 3, "happy": 1})):
        monkeypatch.setattr(grammar, name, slots)  # fmt: skip
    grammar.sentences.cache_clear()
    yield ["--model", tiny, *OWN, "--max_response=0", *FEW, "--task=grammar"]
    grammar.sentences.cache_clear()


def test_grammar_has_a_known_optimum(small, tiny, tmp_path):
    tokenizer, base = Tokenizer.from_folder(tiny), hub.from_pretrained(str(tiny))
    rule, prompt = StopRule(tokenizer.eot, 32, 1), tokenizer.encode(grammar.PROMPT)
    p_ref = torch.tensor([prefixes(base, rule, prompt, tokenizer.encode(text)).popitem()[1]
                          for text in grammar.sentences()]).double()  # fmt: skip
    good = torch.tensor([("dog" in text) - ("key" in text) for text in grammar.sentences()]).double()
    invalid = math.log1p(-p_ref.exp().sum()) - 1  # a reward of -2
    tilted = torch.cat([p_ref + good / 2, torch.tensor([invalid]).double()]).log_softmax(0)[:-1]
    for flags, target in ((["--reward_temperature=0.5"], (p_ref / 0.5).log_softmax(0)),
                          (["--reward=gold", "--beta=2"], tilted)):  # fmt: skip
        run = train(train_gfn, *small, *flags, "--steps=3", out=tmp_path / flags[0])
        drawn, result = json.loads((run / "distribution.json").read_text()), result_of(run)
        assert drawn["texts"] == list(grammar.sentences())
        shown, policy = (torch.tensor(drawn[key], dtype=torch.float64).log() for key in ("target", "policy"))
        torch.testing.assert_close(shown, target, atol=1e-3, rtol=1e-5)
        tv = (policy.softmax(0) - target.softmax(0)).abs().sum() / 2
        assert result["exact/tv_valid"] == pytest.approx(tv.item(), abs=1e-5) and "base_exact/tv_valid" in result
        assert ("eval/score" in result) == (flags[0] == "--reward=gold")
        assert len(lines(run / "predictions.jsonl")) == 9  # samples of as many held-out prompts
        again = train(train_gfn, *small[2:], *flags, "--init", run, "--eval_only", out=tmp_path / f"{flags[0]} again")
        for key in (key for key, x in result.items() if key.startswith("exact/") and x is not None):
            assert result_of(again)[key] == pytest.approx(result[key], rel=1e-3, abs=1e-9), key


# ------------------------------------------------------------------------------------------------------------ options


def test_every_setting_has_an_effect(own, rewarded, tmp_path):
    flags = [*own, *MIXED, "--steps=2", "--min_response=2", "--reward_temperature_start=0.7"]
    stages.check_effects(train_gfn, flags, tmp_path, [
        "--batch_size=4", "--learning_rate=2e-2", "--schedule=constant", "--warmup_steps=2", "--weight_decay=0.5",
        "--max_grad_norm=1e-3", "--lora_rank=3", "--lora_alpha=5", "--lora_dropout=0.5", "--lora_targets=lm_head",
        "--seed=7", "--max_response=4", "--max_prompt=3", "--samples_per_prompt=2", "--examples=5", "--min_response=3",
        "--illegal=published", "--temperature=0.7", "--reward_temperature=0.5", "--reward_temperature_start=0.6",
        "--reward_temperature_steps=1", "--validator=rule", "--objective=vargrad", "--objective=tb",
        "--objective=subtb", "--subtb_lambda=0.5", "--clip_log_ratio=0.01", "--tempered=0", "--explored=0",
        "--explore=0.1", "--replayed=0", "--replay_capacity=1", "--replay_margin=1", "--prefill=4",
        "--eval_samples=4", "--eval_examples=2", "--eval_every=1"])  # fmt: skip
    reward = ["--reward", rewarded["odd"][0], "--objective=vargrad"]
    for given, flag in ((reward, "--beta=1"), (reward, "--validator=rule"), (["--prefill=60"], "--replay_similarity=1"),
                        (["--objective=tb"], "--log_z_learning_rate=0.5")):  # fmt: skip
        (folder := tmp_path / flag).mkdir()
        stages.check_effects(train_gfn, flags, folder, [flag], given)


def test_every_flag_is_read():
    """Those of rng in its module, those of T's schedule by the Config itself."""
    files = [Path(module.__file__).read_text() for module in (train_gfn, stage, rewards, setting, rng)]
    read = set(re.findall(r"\b(?:cfg|given|self)\.(\w+)", "".join(files)))
    assert not train_gfn.Config.__dataclass_fields__.keys() - read


def test_what_every_script_does_alike(own, spoken, tmp_path, monkeypatch, capsys):
    stages.check_dry_run(train_gfn, own, tmp_path, monkeypatch, capsys)
    stages.check_schedule(train_gfn, own, tmp_path)
    stages.check_full_fine_tuning(train_gfn, own, spoken, tmp_path)
    stages.check_frozen_adapters(train_gfn, own, tmp_path)
    stages.check_unknown_metric(train_gfn, own, tmp_path)
    stages.check_finite_guard(train_gfn, own, tmp_path, monkeypatch)


def test_the_best_weights_are_kept(own, tmp_path, monkeypatch):
    flags = [*own, "--reward_temperature_steps=2"]
    stages.check_keep_best(train_gfn, flags, tmp_path, monkeypatch, "eval/diversity", [1, 7, 3], 2)


def test_a_short_run_reaches_its_temperature(own, tmp_path):
    """The schedule is no longer than the run."""
    run = train(train_gfn, *own, "--steps=4", "--reward_temperature=0.6", "--eval_every=0", out=tmp_path / "run")
    assert [row["reward_temperature"] for row in lines(run / "metrics.jsonl")] == pytest.approx([1.0, 0.9, 0.8, 0.7])


@pytest.mark.parametrize("more", [[], ["--objective=subtb", "--subtb_lambda=0.8"], ["--objective=tb", "--reward"]],
                         ids=" ".join)  # fmt: skip
def test_micro_batches(own, rewarded, tmp_path, more):
    more = [*more, rewarded["model"][0]] if "--reward" in more else more
    start = ["--max_grad_norm=0", "--reward_temperature_start=0.5"]
    stages.check_micro_batches(train_gfn, own, tmp_path, 4, *start, *MIXED, *more)


@pytest.mark.parametrize("more", [["--objective=subtb", "--prefill=4", "--keep_best=eval/loglik"],
                                  ["--objective=vargrad", "--lora_rank=0", "--reward"],
                                  ["--task=grammar", "--max_response=0", "--objective=tb",
                                   "--keep_best=exact/tv_valid"]],
                         ids=" ".join)  # fmt: skip
def test_a_run_that_was_stopped_and_killed_ends_alike(own, small, rewarded, tmp_path, monkeypatch, more):
    more = [*more, rewarded["model"][0]] if "--reward" in more else more
    stages.check_resume(train_gfn, [*own, *more], tmp_path, monkeypatch)


# ------------------------------------------------------------------------------------------------------------- errors


BAD = {
    "gold of sentences": ([NEXT, "--reward=gold"], "--reward gold: there is none", "file.py:function"),
    "gold of own data": (["--data=good.txt", "--reward=gold"], "--reward gold: there is none"),
    "subtb and a reward model": ([NEXT, "--reward=runs/rm", "--objective=subtb"], "--objective subtb", "vargrad or tb"),
    "no such reward": ([NEXT, "--reward=nowhere"], "--reward nowhere", "train_rm.py"),
    "a reward that fails": ([NEXT, "--reward=FEW"], "expected a list of", "one each"),
    "no such preset": (["--task=sentiment", "--preset=paper"], "--preset paper: only rng, next_sentence"),
    "patience without keep_best": ([NEXT, "--patience=3"], "--patience", "--keep_best METRIC"),
    "uneven batch": ([NEXT, "--batch_size=10", "--samples_per_prompt=4"], "--batch_size 10",
                     "multiple of --samples_per_prompt 4; try"),
    "unknown validator": ([NEXT, "--validator=ruel"], "--validator: 'ruel' is not one of", "Did you mean rule?"),
    "shares": ([NEXT, "--tempered=0.5", "--replayed=0.6"], "shares of one batch", "found 1.1"),
    "temperature of a world": (["--task=grammar", "--temperature=2"], "--temperature: expected 1 to 1, found 2"),
    "no such encoder": ([NEXT, "--encoder=./nowhere"], "--encoder", "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_leaves_nothing_behind(name, tiny, rewarded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text("Tom lost a hat.\nAnna found it.\nMira has two.\n")
    before = set(tmp_path.rglob("*"))
    flags, *words = BAD[name]
    flags = [flag.replace("FEW", rewarded["few"][0]) for flag in flags]
    few = ["--examples=4", "--eval_examples=2", "--eval_samples=3", "--steps=1", "--max_response=5"]
    said = refuses(train_gfn, "--model", tiny, *ALIKE, *few, *flags, "--out", tmp_path / "run")
    assert all(word in said for word in words), said
    stage._forget(tmp_path / "run")  # as the process does at its end
    assert set(tmp_path.rglob("*")) == before
