"""The fifteen ways in which RLHF code is usually wrong, as a checklist: a test for each, or where it is tested.

Nearly all run the scripts themselves, on a random model of two layers, and compare with whole forward passes: one
sequence at a time, no padding, no prefix, no adapter (an earlier run's weights are loaded merged).
"""

import copy
import json
import math

import pytest
import torch

import train_dpo
import train_ppo
import train_rm
import train_sft
from minalign import checkpoint, cli, console, data, hub, lora, losses, optim, rewards, stage
from minalign.data import Encoded, encode, pad_responses
from minalign.errors import UserError
from minalign.generate import StopRule, generate, left_pad, score
from minalign.jsonl import read_records
from minalign.model import GPT2, GPT2Config
from minalign.records import Record
from minalign.rewards import RewardHead, RewardModel
from minalign.run import Run

SCRIPTS = {"sft": train_sft, "rm": train_rm, "dpo": train_dpo, "ppo": train_ppo}
COMMON = ("--device=cpu --no-plot --batch_size=8 --lora_rank=4 --max_response=8 --learning_rate=1e-2 --warmup_steps=0 "
          "--steps=4 --eval_every=2 --save_every=2").split()  # fmt: skip
OF = {
    "sft": ["--samples=4"],
    "rm": ["--normalise=16"],
    "dpo": ["--samples=4"],
    "ppo": "--samples_per_prompt=2 --epochs=2 --minibatches=2 --eval_samples=2 --eval_examples=3".split(),
}


def close(a, b, atol=1e-5):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=atol, rtol=1e-5)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def result_of(run):
    about = json.loads((run / "result.json").read_text())
    return {key: value for key, value in about.items() if key not in ("seconds", "peak_memory_mb")}


# ------------------------------------------------------------------------------------------------- a world to train in

WORDS = " his lantern at the market. Anna found it in the snow, 42 steps away"


@pytest.fixture(scope="module")
def world(tmp_path_factory, tokenizer):
    """Return a folder with a model ("tiny") that ends every fifth response or so, and with data.

    pairs.jsonl (10), eight.jsonl (8 of them), held.jsonl: prompts and responses of 1 to 8 tokens; mixed.jsonl (8):
    pairs, best of three and rankings; reward.py: a reward of a text that differs for nearly all.
    """
    root = tmp_path_factory.mktemp("world")
    torch.manual_seed(3)
    model = GPT2(GPT2Config(len(tokenizer), n_positions=48, n_embd=32, n_layer=2, n_head=2, initializer_range=0.15))
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = 3
        model.transformer.wte.weight[tokenizer.eot, 0] = 1.5
    hub.save_pretrained(model, root / "tiny")
    tokenizer.save(root / "tiny")
    ids = tokenizer.encode(WORDS)
    take = lambda start, n: tokenizer.decode(ids[start : start + n])  # noqa: E731
    rows = [{"prompt": "Tom lost" + take(i, 1 + 5 * i % 7), "chosen": take(2 * i % 11, 1 + i % 7),
             "rejected": take(i % 9, 7 - 2 * i % 5)} for i in range(14)]  # fmt: skip
    mixed = rows[:4] + [{"prompt": "Tom", "completions": [take(i, n) for n in (1, 4, 6)], "best": 1} for i in (0, 3)]
    mixed += [{"prompt": "Anna found", "ranking": [take(i, n) for n in (6, 2, 5)]} for i in (1, 5)]
    for name, part in (("pairs", rows[:10]), ("eight", rows[:8]), ("held", rows[10:]), ("mixed", mixed)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (root / "reward.py").write_text("def score(prompts, responses):\n    return [value(*x) for x in zip(prompts, "
                                    "responses)]\ndef value(p, r):\n    return (len(r) * 7 + len(p)) % 11 / 5 - 1\n")
    return root


def value_of(prompt, response):
    """Return what reward.py gives."""
    return (len(response) * 7 + len(prompt)) % 11 / 5 - 1


def train(name, world, out, *flags, pairs="pairs"):
    """Run a script in this process; return its run folder. Later flags win."""
    reward = ["--reward", f"{world}/reward.py:score"] if name == "ppo" else []
    given = ["--model", world / "tiny", "--data", world / f"{pairs}.jsonl", "--eval_data", world / "held.jsonl"]
    SCRIPTS[name].main([*map(str, [*given, "--out", out]), *COMMON, *OF[name], *reward, *map(str, flags)])
    return out


CHAIN = {  # what each stage of the chain is run with; all of it has to survive an interruption
    "sft": ["--lora_dropout=0.1", "--keep_best=eval/loss"],
    "rm": ["--keep_best=eval/accuracy"],
    "dpo": ["--init={root}/sft", "--keep_best=eval/rewards/margins"],
    "ppo": ["--init={root}/sft", "--reward={root}/rm", "--value_init=rm", "--kl_target=1", "--keep_best=eval/score"],
}


def flags_of(name, root):
    return [flag.format(root=root) for flag in CHAIN[name]]


@pytest.fixture(scope="module")
def chain(world, tmp_path_factory):
    """Return a folder with the runs sft, rm (both on the base), dpo and ppo (both on sft)."""
    root = tmp_path_factory.mktemp("chain")
    for name in CHAIN:
        train(name, world, root / name, *flags_of(name, root))
    return root


@pytest.fixture
def tiny(world):
    """Return the model with an adapter "policy" that is no longer fresh, and its tokenizer."""
    model, tokenizer, _ = stage.load_policy(str(world / "tiny"))
    lora.add_adapter(model, "policy", 3, targets=lora.TARGETS[:4])
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if ".lora_B." in key:
                parameter.normal_(0, 0.1)
    return model, tokenizer


def rule_of(tokenizer):
    return StopRule(tokenizer.eot, 8)


@pytest.fixture
def batch(world, tiny):
    """Return eight encoded pairs of unequal lengths."""
    records = read_records(world / "pairs.jsonl", ("pair",))[:8]
    found = encode(records, tiny[1], rule_of(tiny[1]), 48)[0]
    assert len({len(r.prompt) for r in found}) > 3 and len({len(r.chosen) for r in found}) > 3
    return found


def token_logprobs(model, prompt, response, temperature=1.0):
    """Return the log-probs of a response's tokens, by the definition."""
    with torch.no_grad():
        logits = model.lm_head(model(torch.tensor([[*prompt, *response]])))[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1)[torch.arange(len(response)), list(response)]


def spy(monkeypatch, module, name, change=lambda found: found):
    """Record the calls of a function: a list of (arguments, result); `change` may replace what it returns."""
    calls, true = [], getattr(module, name)

    def wrapper(*args, **kwargs):
        found = change(true(*args, **kwargs))
        calls.append((args, found))
        return found

    monkeypatch.setattr(module, name, wrapper)
    return calls


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


# ================================================================= 1. padding and positions
# Also: test_model.py::test_padding_does_not_change_a_row, ::test_left_padded_prompts_with_right_padded_responses
# (prefill and decoding), test_generate.py::test_sampled_log_probs_are_the_scored_ones[padded prompts],
# test_rewards.py::test_the_reward_is_read_at_the_last_token_of_every_row (reward models).


def test_01_a_row_of_a_padded_batch_is_that_row_alone(tiny, batch):
    """Log-probs and values of PPO, log-probs of DPO and of SFT, of mixed lengths."""
    model, tokenizer = tiny
    rule, cfg = rule_of(tokenizer), train_ppo.Config(data=("x",), reward="x.py:f", temperature=0.7)
    model.add_head("value", 0.1)

    def outcome(rows):
        prompts, prompt_mask = left_pad([r.prompt for r in rows], 0)
        tokens, mask = pad_responses([r.chosen for r in rows], 0)
        logprobs, _, shared = train_ppo.run_policy(
            model, cfg, rule, prompts, prompt_mask, tokens, mask, values=True
        )
        separate = train_ppo.run_values(model, "policy", prompts, prompt_mask, tokens, mask)
        assert lora.active(model) == "policy"
        return logprobs, shared, separate, train_dpo.log_probs(model, rows, rule)[0]

    together = outcome(batch)
    sft = train_sft.evaluate(model, [Encoded(r.prompt, [r.chosen], None) for r in batch], rule, 8)[1]
    for i, r in enumerate(batch):
        n, alone = len(r.chosen), outcome([r])
        for a, b in zip(alone[:3], together[:3]):
            close(a[0, :n], b[i, :n])
        close(alone[3][0], together[3][i])
        close(together[0][i, :n], token_logprobs(model, r.prompt, r.chosen, 0.7))
        close(together[3][i, 1], token_logprobs(model, r.prompt, r.rejected).sum(), 1e-4)
        close(-sft[i], token_logprobs(model, r.prompt, r.chosen).sum().item(), 1e-4)


# ================================================================= 2. the sampling log-prob is the training log-prob
# Also: test_generate.py::test_sampled_log_probs_are_the_scored_ones.


@pytest.mark.parametrize("flags", [[], ["--lora_rank=0", "--temperature=1.6"], ["--lora_dropout=0.5"]], ids=str)
def test_02_the_ratio_is_one_before_every_first_update(world, tmp_path, monkeypatch, capsys, flags):
    """At the first minibatch of each step: one temperature everywhere; dropout is off in both, or refused."""
    console._said.clear()
    calls = spy(monkeypatch, losses, "ppo_policy")
    once = ["--steps=3", "--epochs=1", "--minibatches=1"]
    try:
        run = train("ppo", world, tmp_path / "run", *once, "--temperature=0.7", *flags)
    except UserError as error:
        assert "lora_dropout" in str(error) and "--lora_dropout=0.5" in flags
        return
    assert len(calls) == 3
    for (new, old, _, _), _ in calls:
        assert (new - old).abs().max() < 1e-4 and old.abs().max() > 1
    first, last = lines(run / "metrics.jsonl")[0], lines(run / "metrics.jsonl")[-1]
    assert first["val/ratio"] == pytest.approx(1, abs=1e-5) and first["val/ratio_var"] < 1e-8
    assert abs(first["objective/kl"]) < 1e-4 < abs(last["objective/kl"])  # it begins as its reference, and moves
    assert "WARNING" not in capsys.readouterr().err


def test_02_filters_of_the_samples_are_no_flags():
    for flag in ("--top_k=50", "--top_p=0.9", "--greedy"):
        with pytest.raises(UserError, match="unknown flag"):
            cli.parse(train_ppo.Config, ["--data=x", "--reward=x.py:f", flag])


# ================================================================= 3. padding is no end of text


def test_03_the_stop_is_a_label_and_padding_is_not(tiny):
    """Whatever their ids: also where both are the same."""
    _, tokenizer = tiny
    eot = tokenizer.eot
    rows = [Encoded([1, eot, 2], [[3, 4, eot]], None), Encoded([5], [[eot]], None), Encoded([6], [[7, 8, 9]], None)]
    prompts, prompt_mask, tokens, mask = train_sft.collate(rows, torch.device("cpu"))
    assert tokens[mask].tolist() == [3, 4, eot, eot, 7, 8, 9] and mask.sum(1).tolist() == [3, 1, 3]
    assert prompts[prompt_mask].tolist() == [1, eot, 2, 5, 6]
    # Left-padding with the stop, as PPO does, hides no stop of a prompt.
    assert left_pad([r.prompt for r in rows], eot)[1].tolist() == prompt_mask.tolist()


def test_03_a_trained_model_stops(world, tmp_path):
    records = [("Tom", " his lantern"), ("Anna found it", " at the market."), ("It was", "")]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c + " 42"}) + "\n" for p, c in records))
    run = train("sft", world, tmp_path / "run", "--data", path, "--eval_data", path, "--steps=25", "--lora_rank=0",
                "--batch_size=3", "--eval_every=0", "--samples=3", "--learning_rate=2e-2")  # fmt: skip
    said = {row["prompt"]: (row["response"], row["stopped"]) for row in lines(run / "samples.jsonl")}
    assert said == {p: (c + " 42", True) for p, c in records}


# ================================================================= 4. nothing after the end counts
# Also: test_generate.py::test_tokens_after_the_stop_change_no_bit, test_rl_losses.py::test_what_lies_in_padding_has_no_
# influence, test_rewards.py::test_what_follows_the_end_changes_no_bit (scores).


def junk_after_the_end(samples):
    tokens = torch.where(samples.mask, samples.tokens, torch.randint(0, 500, samples.tokens.shape))
    return type(samples)(tokens, samples.mask, samples.logprobs, samples.stopped, samples.lengths)


@pytest.mark.parametrize(
    "flags",
    [["--whiten=rewards"], ["--critic=shared"], ["--advantages=group", "--kl_in=loss", "--kl_estimator=k3"],
     ["--entropy_coef=0.1"]],
    ids=str,
)  # fmt: skip
def test_04_ppo_sees_nothing_after_the_end(world, tmp_path, monkeypatch, flags):
    """No loss, no statistic, no weight differs in a bit."""
    clean = train("ppo", world, tmp_path / "clean", "--steps=2", *flags)
    calls = spy(monkeypatch, train_ppo, "generate", junk_after_the_end)
    dirty = train("ppo", world, tmp_path / "dirty", "--steps=2", *flags)
    assert all((samples.tokens != world_eot(world))[~samples.mask].any() for _, samples in calls)
    assert lines(clean / "metrics.jsonl") == lines(dirty / "metrics.jsonl")
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (clean / name).read_bytes() == (dirty / name).read_bytes()


def world_eot(world):
    return json.loads((world / "tiny" / "vocab.json").read_text(encoding="utf-8"))["<|endoftext|>"]


@pytest.mark.parametrize("name", ["sft", "rm", "dpo"])
def test_04_padding_changes_no_bit_of_the_other_losses(tiny, batch, monkeypatch, name):
    model, tokenizer = tiny
    head = RewardHead(32)
    weights = trainable(model) + (list(head.parameters()) if name == "rm" else [])

    def outcome(pad):
        monkeypatch.setattr(data, "pad_responses", lambda responses, _: pad_responses(responses, pad))
        for script in (train_sft, train_rm, train_dpo):
            monkeypatch.setattr(script, "left_pad", lambda prompts, _, device: left_pad(prompts, pad, device))
        if name == "sft":
            rows = [Encoded(r.prompt, [r.chosen], None) for r in batch]
            prompts, prompt_mask, tokens, mask = train_sft.collate(rows, model.device)
            logprobs, _ = score(model, prompts, tokens, mask, tokenizer.eot, prompt_mask=prompt_mask)
            loss = -losses.masked_mean(logprobs, mask)
        elif name == "rm":
            judge = RewardModel(model, tokenizer, head, "policy", rule_of(tokenizer))
            loss = train_rm.preference_loss(train_rm.score(judge, batch), [r.record for r in batch]).sum()
        else:
            policy, tokens = train_dpo.log_probs(model, batch, rule_of(tokenizer))
            loss = train_dpo.dpo_loss(train_dpo.Config(data=("x",)), policy, -tokens.float(), tokens).sum()
        return loss.detach(), *torch.autograd.grad(loss, weights, allow_unused=True)

    for a, b in zip(outcome(0), outcome(499)):
        assert (a is None and b is None) or torch.equal(a, b)


SETTINGS = ("--steps=5 --beta=0.3 --kl_target=0.4 --kl_horizon=100 --whiten=none --minibatches=1 --gamma=0.9 "
            "--reward_scale=2 --reward_clip=1.5 --length_penalty=0.1 --missing_stop_penalty=2.5").split()  # fmt: skip


@pytest.fixture(scope="module")
def watched(world, chain, tmp_path_factory):
    """Five steps of PPO on top of SFT, and what was seen at each: samples, exact log-probs, values, advantages."""
    monkeypatch, seen = pytest.MonkeyPatch(), []
    ref, tokenizer, _ = stage.load_policy(str(world / "tiny"), str(chain / "sft"))  # a copy, with the adapter merged
    before, true, gae = copy.deepcopy(ref.state_dict()), train_ppo.generate, losses.gae

    def sample(model, prompts, n, prompt_mask, **settings):
        samples = true(model, prompts, n=n, prompt_mask=prompt_mask, **settings)
        rows = []
        for i, (ids, m) in enumerate(zip(samples.tokens, samples.mask)):
            prompt, response = prompts[i // n][prompt_mask[i // n]].tolist(), ids[m].tolist()
            with lora.use(model, "value"), torch.no_grad():
                hidden = model(torch.tensor([prompt + response]))[0, len(prompt) - 1 : -1]
                values = model.heads["value"](hidden)[:, 0]
            text = tokenizer.decode(response[:-1] if response[-1] == tokenizer.eot else response)
            policy, base = (token_logprobs(net, prompt, response) for net in (model, ref))
            rows.append({"n": len(response), "stopped": bool(samples.stopped[i]), "values": values, "policy": policy,
                         "ref": base, "raw": value_of(tokenizer.decode(prompt), text)})  # fmt: skip
        seen.append({"rows": rows})
        return samples

    def advantages(token_rewards, values, mask, gamma, lam):
        seen[-1] |= {"token_rewards": token_rewards, "values": values, "mask": mask, "settings": (gamma, lam)}
        return gae(token_rewards, values, mask, gamma, lam)

    monkeypatch.setattr(train_ppo, "generate", sample)
    monkeypatch.setattr(losses, "gae", advantages)
    run = tmp_path_factory.mktemp("watched") / "run"
    train("ppo", world, run, *SETTINGS, f"--init={chain}/sft")
    monkeypatch.undo()
    assert all(torch.equal(w, before[key]) for key, w in ref.state_dict().items())
    return seen, lines(run / "metrics.jsonl")


def test_04_a_token_s_reward_is_the_score_at_the_end_less_beta_kl(watched):
    """So their sum is the score - beta KL. The score: scaled, clipped, less the penalties, whatever the end."""
    kinds = set()
    for step, row in zip(*watched):
        beta = row["objective/kl_coef"]
        for r, found, m in zip(step["rows"], step["token_rewards"], step["mask"]):
            n, raw = r["n"], 2 * r["raw"]
            assert m.tolist() == [t < n for t in range(len(m))]
            final = min(max(raw, -1.5), 1.5) - 0.1 * n - 2.5 * (not r["stopped"])
            expected = -beta * (r["policy"] - r["ref"])
            expected[-1] += final
            close(found[:n], expected, 1e-4)
            assert not found[n:].any()
            close(found.sum(), final - beta * (r["policy"] - r["ref"]).sum(), 1e-4)
            kinds.add((r["stopped"], abs(raw) > 1.5, n < len(m)))
    assert {(True, True, True), (False, True, False), (True, False, True), (False, False, False)} <= kinds


def test_04_values_are_of_the_state_in_which_a_token_is_chosen(watched):
    for i, step in enumerate(watched[0]):
        assert step["settings"] == (0.9, 0.95)
        for r, found in zip(step["rows"], step["values"]):
            close(found[: len(r["values"])], r["values"], 1e-4)
        assert (step["values"].abs().max() > 1e-3) == (i > 0)  # it starts at zero and is trained


# ================================================================= 5. where the score is read
# test_rewards.py::test_the_reward_is_read_at_the_last_token_of_every_row, ::test_more_padding_changes_nothing,
# ::test_who_shares_the_batch_changes_nothing, ::test_what_follows_the_end_changes_no_bit (end of text in a prompt too).


# ================================================================= 6. the reference of a chain
# Also: test_lora.py::test_a_stage_on_top_of_a_merged_stage.


@pytest.mark.parametrize("start", ["base", "sft"])
@pytest.mark.parametrize("flags", [[], ["--lora_rank=0"]], ids=["adapter", "full"])
def test_06_dpo_starts_at_ln_2(world, chain, tmp_path, start, flags):
    """From the base and from an SFT run: its reference is that run."""
    init = [f"--init={chain}/sft"] if start == "sft" else []
    run = train("dpo", world, tmp_path / "run", "--steps=1", "--samples=0", *flags, *init)
    (row,) = lines(run / "metrics.jsonl")
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(row["rewards/margins"]) < 1e-5 and abs(row["rewards/chosen"]) < 1e-5
    before = result_of(run)["base_eval/loss"]
    assert before == pytest.approx(math.log(2), abs=1e-6) and result_of(run)["eval/loss"] != before


def test_06_sft_changed_what_the_others_start_from(world, chain):
    """Else the tests of this section would say nothing."""
    sft, base = (stage.load_policy(str(world / "tiny"), init)[0] for init in (str(chain / "sft"), None))
    tokens = torch.arange(20)[None]
    assert (sft.lm_head(sft(tokens)) - base.lm_head(base(tokens))).abs().max() > 0.1


def test_06_a_run_is_evaluated_against_its_own_base(world, chain, tmp_path):
    """Which --init knows, whatever --model says by default."""
    given = ["--data", world / "pairs.jsonl", "--eval_data", world / "held.jsonl", "--init", chain / "dpo"]
    found = []
    for name, model in (("named", ["--model", world / "tiny"]), ("known", [])):
        train_dpo.main([*map(str, [*given, *model, "--out", tmp_path / name]), *COMMON, *OF["dpo"], "--eval_only"])
        found.append(result_of(tmp_path / name))
    assert found[0] == found[1] and abs(found[0]["eval/kl"]) > 0.01


def test_06_ppo_starts_at_kl_0_and_its_reference_stays(watched):
    """The KL of all five steps is that to the SFT run, loaded apart."""
    seen, metrics = watched
    assert metrics[0]["objective/kl"] == pytest.approx(0, abs=1e-4)
    for step, row in zip(seen, metrics):
        exact = sum((r["policy"] - r["ref"]).sum().item() for r in step["rows"]) / len(step["rows"])
        assert row["objective/kl"] == pytest.approx(exact, abs=1e-4)
    assert abs(metrics[4]["objective/kl"]) > 1e-2


def test_06_the_implied_rewards_of_dpo_are_against_the_sft_run(world, chain):
    policy, ref = (stage.load_policy(str(world / "tiny"), str(chain / name))[0] for name in ("dpo", "sft"))
    tokenizer = stage.load_policy(str(world / "tiny"))[1]
    rows = lines(chain / "dpo" / "predictions.jsonl")
    assert len(rows) == 4
    for row in rows:
        prompt = tokenizer.encode(row["prompt"])
        for key, found in zip(("chosen", "rejected"), row["rewards"]):
            response = rule_of(tokenizer).cut(tokenizer.encode(row[key]))
            pair = (token_logprobs(model, prompt, response).sum().item() for model in (policy, ref))
            assert found == pytest.approx(0.1 * (next(pair) - next(pair)), abs=1e-4)
    assert max(abs(x) for row in rows for x in row["rewards"]) > 0.01


# ================================================================= 7. directions
# Also: test_rl_losses.py::test_one_step_of_gradient_descent_goes_the_right_way (of the log-probs themselves).


def descend(loss, weights, rate):
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    with torch.no_grad():
        for w, gradient in zip(weights, gradients):
            if gradient is not None:
                w -= rate * gradient


@pytest.mark.parametrize("kind", ["pair", "best", "ranking"])
def test_07_a_step_raises_the_reward_of_what_was_preferred(world, tiny, kind):
    model, tokenizer = tiny
    records = [r for r in read_records(world / "mixed.jsonl", ("pair", "best", "ranking")) if r.kind == kind]
    rows = encode(records, tokenizer, rule_of(tokenizer), 48)[0]
    judge = RewardModel(model, tokenizer, RewardHead(32), "policy", rule_of(tokenizer))

    def outcome():
        found = train_rm.score(judge, rows)
        best = torch.tensor([r.best or 0 for r in records])
        lead = found.gather(1, best[:, None])[:, 0] - found.mean(1)
        return train_rm.preference_loss(found, records).mean(), lead.mean().item()

    loss, lead = outcome()
    descend(loss, [*trainable(model), *judge.head.parameters()], 1e-3)
    after, higher = outcome()
    assert after < loss and higher > lead


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "simpo"])
def test_07_a_step_of_dpo_raises_the_margin(tiny, batch, loss):
    model, tokenizer = tiny
    cfg = train_dpo.Config(data=("x",), loss=loss)
    with torch.no_grad(), lora.disabled(model):
        ref, _ = train_dpo.log_probs(model, batch, rule_of(tokenizer))

    def outcome():
        policy, tokens = train_dpo.log_probs(model, batch, rule_of(tokenizer))
        scale = tokens if loss != "sigmoid" else torch.ones_like(tokens)  # averages or sums
        margins = ((policy - ref) / scale) @ torch.tensor([1.0, -1.0])
        return train_dpo.dpo_loss(cfg, policy, ref, tokens).mean(), margins.mean().item()

    value, margin = outcome()
    descend(value, trainable(model), 1e-4)
    after, higher = outcome()
    assert after < value and higher > margin


def test_07_a_step_of_ppo_follows_the_advantage(tiny, batch):
    model, tokenizer = tiny
    rule, cfg = rule_of(tokenizer), train_ppo.Config(data=("x",), reward="x.py:f")
    arguments = (*left_pad([r.prompt for r in batch], 0), *pad_responses([r.chosen for r in batch], 0))
    good = torch.tensor([1.0, -1.0] * 4)

    def logprobs():
        return train_ppo.run_policy(model, cfg, rule, *arguments)[0]

    before = logprobs()
    loss, _ = losses.ppo_policy(before, before.detach(), good[:, None], cfg.clip)
    descend(losses.masked_mean(loss, arguments[3]), trainable(model), 1e-2)
    assert (good * (logprobs() - before).detach().sum(1)).sum() > 1e-4


# ================================================================= 8. what is trained, saved and loaded
# Also: test_stage.py::test_only_the_adapter_is_trained, ::test_heads_are_trained_with_the_adapter (named lists),
# test_lora.py::test_merge_equals_the_adapter_and_leaves_the_argument and ::test_a_chain_of_stages_is_saved_relative_to_
# the_original_base (no double merge), test_checkpoint.py (any damage). No stage compiles: no `_orig_mod.` can be saved.


class Crash(Exception):
    pass


@pytest.mark.parametrize("name", SCRIPTS)
def test_08_a_run_that_was_killed_ends_as_if_nothing_had_been(world, chain, tmp_path, monkeypatch, name):
    """Bit for bit: weights, optimizer, order, random numbers (of dropout too), best weights, the adaptive beta."""
    log = Run.log

    def until(self, step, *args, **more):
        if step == 4:
            raise Crash
        return log(self, step, *args, **more)

    monkeypatch.setattr(Run, "log", until)
    with pytest.raises(Crash):
        train(name, world, tmp_path / name, *flags_of(name, chain))
    assert [row["step"] for row in lines(tmp_path / name / "metrics.jsonl")] == [1, 2, 3]  # saved was step 2
    monkeypatch.undo()
    again = train(name, world, tmp_path / name, *flags_of(name, chain), "--resume")
    whole = chain / name
    assert lines(again / "metrics.jsonl") == lines(whole / "metrics.jsonl")
    assert result_of(again) == result_of(whole)
    for path in whole.glob("*.safetensors"):
        assert path.read_bytes() == (again / path.name).read_bytes()
    assert lines(again / "predictions.jsonl") == lines(whole / "predictions.jsonl")


@pytest.mark.parametrize(
    "name, trained",
    [("sft", {"lora_B.policy"}), ("dpo", {"lora_B.policy"}),
     ("rm", {"lora_B.reward", "heads.reward.weight", "heads.reward.gain"}),
     ("ppo", {"lora_B.policy", "lora_B.value", "heads.value.weight", "heads.value.bias"})],
)  # fmt: skip
def test_08_adapters_and_heads_are_trained_and_nothing_else(world, chain, tmp_path, name, trained):
    """What a checkpoint has is what the optimizer moves: all of it differs from a run with a learning rate of 0."""
    still = train(name, world, tmp_path / "still", *flags_of(name, chain), "--learning_rate=0", "--steps=2")
    before, after = (checkpoint.load_state(run)[1] for run in (still, chain / name))
    names = {key for key in after if key.startswith(("model.", "critic."))}
    short = {".".join(key.split(".")[-2 if ".lora_" in key else -3 :]) for key in names}
    assert {key for key in short if "lora_A" not in key} == trained
    assert not any(torch.equal(before[key], after[key]) for key in names)


def test_08_a_reward_run_says_the_same_when_it_is_loaded(chain):
    """In training and evaluation mode alike; the last numbers of the run are those of its files."""
    judge = rewards.from_run(str(chain / "rm"))
    rows = lines(chain / "rm" / "predictions.jsonl")
    for mode in (True, False):
        judge.model.train(mode)
        for row in rows:
            close(judge([row["prompt"]] * 2, row["responses"]), row["rewards"], 1e-4)
    assert len({round(r, 4) for row in rows for r in row["rewards"]}) > 4


def test_08_an_sft_run_says_the_same_when_it_is_loaded(world, chain):
    model, tokenizer, _ = stage.load_policy("nano", str(chain / "sft"))
    rows = encode(read_records(world / "held.jsonl", ("completion",)), tokenizer, rule_of(tokenizer), 48)[0]
    found = lines(chain / "sft" / "predictions.jsonl")
    for r, row in zip(rows, found, strict=True):
        assert row["loss"] == pytest.approx(-token_logprobs(model, r.prompt, r.responses[0]).mean().item(), abs=1e-4)


@pytest.mark.parametrize("name", ["sft", "rm", "dpo"])
def test_08_dropout_is_off_when_a_run_is_evaluated(world, tmp_path, name):
    """The numbers at the last step and those at the end are of the same weights: so are the numbers."""
    flags = ["--lora_dropout=0.9", "--normalise=0"] if name == "rm" else ["--lora_dropout=0.9"]
    run = train(name, world, tmp_path / "run", *flags)
    last, result = lines(run / "metrics.jsonl")[-1], result_of(run)
    assert "eval/loss" in last
    for key in (key for key in last if key.startswith("eval/")):
        assert result[key] == pytest.approx(last[key], abs=1e-6), key


# ================================================================= 9. the KL: estimators, sums, the controller
# Also: test_rl_losses.py::test_the_means_of_the_kl_estimators_and_their_gradients_as_losses (exact, all responses),
# ::test_adaptive_beta_by_the_closed_form_and_by_trl, ::test_k1_in_the_reward_is_the_gradient_of_the_kl; the sum over
# tokens: test_06_ppo_starts_at_kl_0_and_its_reference_stays.


def test_09_beta_follows_the_logged_kl_of_the_whole_batch(watched):
    """Target 0.4, horizon 100, eight responses a step, so at most 1.6 % up or down; the epoch's last step has four."""
    beta = 0.3
    for step, row in zip(*watched):
        assert row["objective/kl_coef"] == pytest.approx(beta, rel=1e-6)
        error = row["objective/kl"] / 0.4 - 1
        beta *= 1 + len(step["rows"]) / 100 * (0.2 if error > 0.2 else -0.2 if error < -0.2 else error)
    assert {len(step["rows"]) for step in watched[0]} == {4, 8}
    assert watched[1][1]["objective/kl_coef"] == pytest.approx(0.3 * (1 - 0.016))  # KL 0 is below any target


@pytest.mark.parametrize("kind", ["k2", "k3"])
def test_09_the_estimator_of_the_reward_is_the_one_asked_for(world, tmp_path, monkeypatch, kind):
    """The log keeps k1, whose mean is the KL."""
    calls = spy(monkeypatch, losses, "gae")
    run = train("ppo", world, tmp_path / "run", "--steps=2", f"--kl_estimator={kind}", "--beta=0.5", "--whiten=none")
    row = lines(run / "metrics.jsonl")[1]
    (token_rewards, _, mask, _, _), _ = calls[1]
    last = torch.nn.functional.one_hot(mask.sum(1) - 1, mask.size(1)).bool()
    assert (token_rewards[mask & ~last] <= 0).all() and (token_rewards[mask & ~last] < 0).any()  # never negative
    assert row["objective/non_score_reward"] < 0
    assert row["objective/non_score_reward"] != pytest.approx(-0.5 * row["objective/kl"], rel=1e-3)


# ================================================================= 10. advantages, whitening, clipping
# test_rl_losses.py::test_gae_is_the_sum_over_all_deltas (O(T^2), terminal value 0, returns-to-go at lambda 1),
# ::test_whiten_gives_the_published_table (biased variance, masked), ::test_ppo_agrees_with_trl,
# ::test_gae_and_whitening_agree_with_trl_but_for_its_unbiased_variance,
# ::test_ppo_clips_what_would_move_the_policy_further_and_nothing_else.


# ================================================================= 11. micro-batches and clipping


@pytest.mark.parametrize("name", SCRIPTS)
def test_11_micro_batches_add_up_to_the_batch(world, chain, tmp_path, monkeypatch, name):
    """8 = 4 x 2 rows of unequal lengths, all weights: the gradients before the clip; and then they are clipped."""
    clip, seen = torch.nn.utils.clip_grad_norm_, []

    def spied(parameters, limit):
        parameters = list(parameters)
        before = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        norm = clip(parameters, limit)
        after = sum(p.grad.square().sum() for p in parameters if p.grad is not None).sqrt()
        seen[-1].append((before, norm.item(), after.item()))
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spied)
    flags = ["--steps=1", "--lora_rank=0", "--max_grad_norm=0.01", "--eval_every=0"]
    flags += ["--epochs=1", "--minibatches=1", "--kl_in=loss", "--kl_estimator=k3", f"--reward={chain}/rm",
              "--value_init=rm"] if name == "ppo" else []  # fmt: skip
    rows = []
    for micro in (0, 2):
        seen.append([])
        run = train(name, world, tmp_path / str(micro), *flags, f"--micro_batch={micro}",
                    pairs="mixed" if name == "rm" else "eight")  # fmt: skip
        rows += lines(run / "metrics.jsonl")
    whole, parts = seen
    assert len(whole) == len(parts) == (2 if name == "ppo" else 1)  # PPO: policy and critic, each by its own norm
    for (a, norm, clipped), (b, _, _) in zip(whole, parts):
        assert norm > 0.02 and clipped == pytest.approx(0.01, rel=1e-3)  # after backward, before the step
        assert sum(bool(gradient.any()) for gradient in a) > 20
        for x, y in zip(a, b):
            torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-4)
    assert rows[0]["grad_norm"] == pytest.approx(whole[0][1], rel=1e-6) == pytest.approx(rows[1]["grad_norm"], rel=1e-4)


# ================================================================= 12. prompt and response are tokenised apart
# test_data.py::test_prompt_and_responses_are_tokenised_apart (the same prompt for chosen and rejected, in every stage:
# all go through `encode`), ::test_the_stop_is_there_once, ::test_an_end_of_text_inside_a_text_is_refused.


def test_12_the_stages_learn_from_the_tokens_that_sampling_gives(world, tiny):
    """A sampled response, written out and read again as data, is the response: with its stop, or cut at the limit."""
    model, tokenizer = tiny
    rule, prompt = rule_of(tokenizer), tokenizer.encode("Tom lost")
    noise = torch.Generator().manual_seed(1)
    samples = generate(model, torch.tensor([prompt]), n=200, generator=noise, **rule.settings())
    same = 0
    for tokens, m, stopped in zip(samples.tokens, samples.mask, samples.stopped):
        ids = tokens[m].tolist()
        text = tokenizer.decode(ids[: len(ids) - bool(stopped)])
        if tokenizer.encode(text) == ids[: len(ids) - bool(stopped)]:  # a random model spells some words oddly
            same += 1
            (found,), _ = encode([Record("Tom lost", (text,))], tokenizer, rule, 48)
            assert (found.prompt, found.responses) == (prompt, [ids])
    assert same > 20


# ================================================================= 13. truncation
# Also: test_data.py::test_long_prompts_keep_their_end_and_are_counted,
# ::test_long_responses_end_where_a_sampled_one_would, test_rl_losses.py::test_rows_without_a_real_token_are_finite,
# test_generate.py::test_the_longest_response_fills_the_context.


def test_13_a_long_prompt_and_the_longest_response_fill_the_context(tiny):
    """Of 100 tokens the last 40 stay, with all 8 of a response; an empty response is its stop. All of it is finite."""
    model, tokenizer = tiny
    ids = tuple(range(100, 200))
    records = [Record(ids, (tuple(range(20)), ()), 0), Record((7,), ((), tuple(range(8))), 1)]
    rows, report = encode(records, tokenizer, rule_of(tokenizer), 48)
    assert rows[0].prompt == list(ids[-40:]) and report.n_prompts_cut == 1
    assert rows[0].chosen == list(range(8)) and rows[0].rejected == [tokenizer.eot]
    policy, tokens = train_dpo.log_probs(model, rows, rule_of(tokenizer))
    assert policy.isfinite().all() and tokens.tolist() == [[8, 1], [8, 1]]
    close(policy[0, 0].detach(), token_logprobs(model, list(ids[-40:]), range(8)).sum(), 1e-4)
    judge = RewardModel(model, tokenizer, RewardHead(32), "policy", rule_of(tokenizer))
    assert train_rm.score(judge, rows).isfinite().all()


# ================================================================= 14. collapse is seen


def test_14_everything_that_shows_a_collapse_is_logged(watched):
    seen, metrics = watched
    for step, row in zip(seen, metrics):
        rows = step["rows"]
        n = len(rows)
        assert row["objective/stop_rate"] == pytest.approx(sum(r["stopped"] for r in rows) / n)
        assert row["objective/length"] == pytest.approx(sum(r["n"] for r in rows) / n)
        assert row["objective/scores"] == pytest.approx(sum(r["raw"] for r in rows) / n, abs=1e-6)
        assert row["objective/entropy"] == pytest.approx(-sum(r["policy"].sum().item() for r in rows) / n, abs=1e-3)
        keys = {"objective/kl", "objective/non_score_reward", "policy/approxkl_avg", "policy/clipfrac_avg",
                "loss/policy_avg", "loss/value_avg", "val/ratio", "val/clipfrac_avg", "val/var_explained", "lr",
                "grad_norm"}  # fmt: skip
        assert keys <= row.keys()
        total = sum(found.sum().item() for found in step["token_rewards"]) / n
        assert row["objective/rlhf_reward"] == pytest.approx(total, abs=1e-4)


def test_14_samples_are_there_to_be_read(chain):
    rows = lines(chain / "ppo" / "samples.jsonl")
    assert len(rows) == 6 and all(row.keys() == {"prompt", "response", "step", "stopped", "scores"} for row in rows)
    assert all(row["scores"].keys() == {"score"} for row in rows)


def test_14_the_anchor_bounds_the_kl(world, tmp_path):
    """A reward that is easy to hack (the shorter the better): without the anchor the policy leaves the reference."""
    (tmp_path / "short.py").write_text("def score(p, r):\n    return [-float(len(x)) for x in r]\n")
    kl = {}
    for beta in (0, 30):
        run = train("ppo", world, tmp_path / str(beta), "--reward", f"{tmp_path}/short.py:score", f"--beta={beta}",
                    "--steps=8", "--batch_size=32", "--samples_per_prompt=8", "--advantages=rloo", "--eval_every=0",
                    "--max_response=4")  # fmt: skip
        kl[beta] = result_of(run)["eval/kl"]
        rows = lines(run / "metrics.jsonl")
        if beta == 0:
            assert rows[-1]["objective/scores"] > rows[0]["objective/scores"]
    assert kl[0] > 0.5 and abs(kl[30]) < 0.2 * kl[0], kl


@pytest.mark.parametrize("limit, passes", [("0", 4), ("1e-9", 2)])
def test_14_passes_end_when_the_policy_has_moved_too_far(world, tmp_path, monkeypatch, limit, passes):
    """The first cannot be too far: it begins at ratio 1. The limit is one that any update exceeds, so the second is."""
    calls = spy(monkeypatch, losses, "ppo_policy")
    train("ppo", world, tmp_path / "run", "--steps=1", "--epochs=4", "--minibatches=1", f"--stop_kl={limit}")
    assert len(calls) == passes


def shifted(by):
    def change(samples):
        return type(samples)(samples.tokens, samples.mask, samples.logprobs - by * samples.mask, samples.stopped,
                             samples.lengths)  # fmt: skip

    return change


def test_14_a_sampler_that_disagrees_is_loudly_warned_of(world, tmp_path, monkeypatch, capsys):
    """Log-probs half a nat too low, as of a filtered or hotter sampler: the ratio is not 1, the KL is negative."""
    console._said.clear()
    spy(monkeypatch, train_ppo, "generate", shifted(0.5))
    train("ppo", world, tmp_path / "run", "--steps=1")
    said = capsys.readouterr().err
    assert said.count("WARNING") == 2
    assert "the ratio is off 1 by" in said and "negative beyond noise" in said


def test_14_responses_that_no_longer_end_are_loudly_warned_of(world, tmp_path, monkeypatch, capsys):
    console._said.clear()
    spy(monkeypatch, train_ppo, "generate",
        lambda s: type(s)(s.tokens, s.mask, s.logprobs, torch.zeros_like(s.stopped), s.lengths))  # fmt: skip
    train("ppo", world, tmp_path / "run", "--steps=2")
    said = capsys.readouterr().err
    assert said.count("WARNING") == 1 and "fell from" in said and "to 0%: raise" in said  # once, not at every step


# ================================================================= 15. numerics
# Also: test_rl_losses.py::test_extreme_differences_are_finite_and_so_are_their_gradients (+-1e3 nats, half precision),
# ::test_losses_of_pairs_agree_with_trl (IPO on averages), test_model.py::test_token_logprobs_are_computed_in_float32.


def test_15_log_probs_are_normalised_in_full_precision(tiny):
    """Under autocast the states are rounded, the softmax is not: all 500 tokens still add up to one."""
    model, tokenizer = tiny
    prompt, tokens = torch.tensor([tokenizer.encode("Tom lost his lantern")]), torch.arange(500)[:, None]
    mask = torch.ones(500, 1, dtype=torch.bool)
    full = score(model, prompt, tokens, mask, tokenizer.eot)[0]
    with torch.autocast("cpu", torch.bfloat16):
        half = score(model, prompt, tokens, mask, tokenizer.eot)[0]
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    for found in (full, half):
        close(found.double().exp().sum().item(), 1.0, 1e-5)
    assert (half - full).abs().max() < 0.15  # bfloat16 has three digits, logits here are up to 10


@pytest.mark.parametrize("h", [1e3, -1e3])
def test_15_extreme_pairs_have_finite_losses(h):
    """In every variant of the script; the implied reward of the sum would overflow an exponential."""
    for loss in ("sigmoid", "ipo", "simpo"):
        cfg = train_dpo.Config(data=("x",), loss=loss, beta=1.0)
        policy = torch.tensor([[h, -h]], requires_grad=True)
        found = train_dpo.dpo_loss(cfg, policy, torch.zeros(1, 2), torch.full((1, 2), 4))
        found.sum().backward()
        assert found.isfinite().all() and policy.grad.isfinite().all()
    rewards_ = torch.tensor([[h, -h]], requires_grad=True)
    found = train_rm.preference_loss(rewards_, [Record("", ("a", "b"), 0)])
    found.sum().backward()
    assert found.item() == pytest.approx(max(0.0, -2 * h)) and rewards_.grad.isfinite().all()


def test_15_averages_or_sums(tiny):
    """By hand: chosen of 2 tokens and -6 nats, rejected of 4 tokens and -16; the reference -5 and -20; beta 0.5."""
    policy, ref, tokens = torch.tensor([[-6.0, -16.0]]), torch.tensor([[-5.0, -20.0]]), torch.tensor([[2, 4]])

    def loss(name, **more):
        cfg = train_dpo.Config(data=("x",), loss=name, beta=0.5, **more)
        return train_dpo.dpo_loss(cfg, policy, ref, tokens).item()

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    # h: sums (-6 + 5) - (-16 + 20) = -5; averages (-3 + 2.5) - (-4 + 5) = -1.5
    assert loss("sigmoid") == pytest.approx(-math.log(sigmoid(-2.5)))
    smoothed = -0.9 * math.log(sigmoid(-2.5)) - 0.1 * math.log(sigmoid(2.5))
    assert loss("sigmoid", label_smoothing=0.1) == pytest.approx(smoothed)
    assert loss("sigmoid", reference_free=True) == pytest.approx(-math.log(sigmoid(0.5 * 10)), rel=1e-4)
    assert loss("ipo") == pytest.approx((-1.5 - 1 / (2 * 0.5)) ** 2)
    assert loss("simpo", simpo_gamma=0.25) == pytest.approx(-math.log(sigmoid(0.5 * (-3 + 4) - 0.25)))


@pytest.mark.parametrize("flags, factors", [([], (1, 1)), (["--tf_adam"], (0.001**0.5, 0.001999**0.5))], ids=str)
def test_15_epsilon_stands_where_tensorflow_has_it(world, tmp_path, monkeypatch, flags, factors):
    """eps / sqrt(1 - 0.999^t): 31.6 times as much in the first update, 22.4 times in the second."""
    seen, true = [], optim.AdamW.step

    def step(self, *args):
        seen.append({group["eps"] for group in self.param_groups})
        return true(self, *args)

    monkeypatch.setattr(optim.AdamW, "step", step)
    train("ppo", world, tmp_path / "run", "--steps=2", "--epochs=1", "--minibatches=1", "--adam_eps=1e-5", *flags)
    assert [len(eps) for eps in seen] == [1, 1]
    assert [eps.pop() for eps in seen] == pytest.approx([1e-5 / factor for factor in factors])
