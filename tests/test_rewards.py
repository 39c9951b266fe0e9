"""Reward models: read at the last real token whatever the padding, saved and shared; critics; a user's own function."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

import train_ppo
from minalign import hub, lora, rewards, stage
from minalign.data import pad_responses
from minalign.errors import UserError
from minalign.generate import StopRule, left_pad, states
from minalign.rewards import RewardHead, RewardModel, from_file, from_run, make_critic, save_head
from minalign.stage import StageConfig
from minalign.tokenizer import Tokenizer

BLOCK = lora.TARGETS[:4]


def close(a, b, atol=1e-5):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=atol, rtol=1e-5)


def train(model, name, seed=0):
    """Stand in for training: give the adapter's B, zero at the start, random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(f"lora_B.{name}"):
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def random_head(width=24):
    head = RewardHead(width)
    with torch.no_grad():
        head.gain.fill_(1.7)
        head.bias.fill_(-0.4)
    return head


# ------------------------------------------------------------------------------------------------------------- scores

PROMPTS = [[1, 2, 3, 4, 5], [6], [5, 5, 7]]  # 5 is the stop: inside a prompt it ends nothing
ANSWERS = [[8, 9, 5], [10, 5], [5], [11, 12, 13, 14], [15, 16, 17, 5], [18]]  # two a prompt; two of them are cut


@pytest.fixture
def judge(model, request):
    """A reward model that is an adapter of a random model."""
    lora.add_adapter(model, "reward", 3, targets=BLOCK)
    lora.set_adapter(train(model, "reward"), None)
    return RewardModel(model, None, random_head(), "reward", StopRule(5, 8), getattr(request, "param", "last"))


both_pools = pytest.mark.parametrize("judge", ["last", "sum"], indirect=True)


def batch(prompts, answers):
    return *left_pad(prompts, 0), *pad_responses(answers, 0)


def alone(judge, prompt, answer):
    """Return the reward by its definition: gain (w . h) + bias, h after the last token of one whole sequence, or the
    sum of those after every token of the answer."""
    with torch.no_grad(), lora.use(judge.model, "reward"):
        hidden = judge.model(torch.tensor([prompt + answer]))[0]
    read = hidden[len(prompt) :] if judge.pool == "sum" else hidden[-1:]
    return sum(a * b for state in read.tolist() for a, b in zip(judge.head.weight.tolist(), state)) * 1.7 - 0.4


@both_pools
def test_the_reward_is_read_at_the_last_token_of_every_row_or_at_all(judge):
    found = judge.score(*batch(PROMPTS, ANSWERS))
    expected = [alone(judge, PROMPTS[i // 2], answer) for i, answer in enumerate(ANSWERS)]
    close(found.detach(), torch.tensor(expected))
    assert found.std() > 0.1


@both_pools
@pytest.mark.parametrize("left, right", [(4, 0), (0, 5), (3, 2)])
def test_more_padding_changes_nothing(judge, left, right):
    prompts, prompt_mask, tokens, mask = batch(PROMPTS, ANSWERS)
    before = judge.score(prompts, prompt_mask, tokens, mask).detach()
    prompts, prompt_mask = (torch.nn.functional.pad(x, (left, 0)) for x in (prompts, prompt_mask))
    tokens, mask = (torch.nn.functional.pad(x, (0, right)) for x in (tokens, mask))
    close(judge.score(prompts, prompt_mask, tokens, mask).detach(), before)


@both_pools
def test_who_shares_the_batch_changes_nothing(judge):
    together = judge.score(*batch(PROMPTS, ANSWERS)).detach()
    for i in (2, 0, 1):
        close(judge.score(*batch([PROMPTS[i]], ANSWERS[2 * i : 2 * i + 2])).detach(), together[2 * i : 2 * i + 2])
    order = [1, 2, 0]
    mixed = judge.score(*batch([PROMPTS[i] for i in order], [a for i in order for a in ANSWERS[2 * i : 2 * i + 2]]))
    close(mixed.detach(), together.view(3, 2)[order].flatten())


@both_pools
def test_what_follows_the_end_changes_no_bit(judge):
    """Nor of any gradient; of what is real every token counts."""
    prompts, prompt_mask, tokens, mask = batch(PROMPTS, ANSWERS)
    weights = [judge.head.weight, *(p for p in judge.model.parameters() if p.requires_grad)]

    def outcome(tokens):
        score = judge.score(prompts, prompt_mask, tokens, mask)
        return score.detach(), *torch.autograd.grad(score.square().sum(), weights)

    clean = outcome(tokens)
    for junk in (5, 66):
        assert all(torch.equal(a, b) for a, b in zip(clean, outcome(torch.where(mask, tokens, junk))))
    for row, column in mask.nonzero().tolist():
        changed = tokens.clone()
        changed[row, column] = 40
        moved = (outcome(changed)[0] - clean[0]).abs() > 1e-4
        assert moved.nonzero().flatten().tolist() == [row]


def test_scoring_leaves_the_policy_active(judge):
    lora.add_adapter(judge.model, "policy", 2)
    judge.score(*batch(PROMPTS, ANSWERS))
    assert lora.active(judge.model) == "policy"


def test_texts_are_scored_as_their_tokens(tokenizer, make_model):
    (dot,) = tokenizer.encode(".")
    rule = StopRule(tokenizer.eot, 8, ends=(dot,), ends_after=4)
    judge = RewardModel(make_model(vocab_size=len(tokenizer)), tokenizer, random_head(), None, rule)
    prompts = ["Tom lost his lantern", "Anna", "", "Tom lost his lantern at the market. Anna found it in the snow, 42"]
    texts = [" at the market.", " in the snow. Anna found it.", "", " 42 steps away, at the market, in the snow"]
    ids = [tokenizer.encode(text) for text in texts]
    assert dot in ids[1][3:8] and len(ids[3]) > 8 and len(tokenizer.encode(prompts[3])) > 32 - 8 - 8
    answers = [rule.cut(x) for x in ids]
    assert [r[-1] for r in answers] == [dot, dot, tokenizer.eot, ids[3][7]]  # each of them ends in its own way
    asked = [tokenizer.encode(prompt)[-(32 - 8) :] or [tokenizer.eot] for prompt in prompts]
    expected = judge.score(*left_pad(asked, 0), *pad_responses(answers, 0)).tolist()
    close(judge(prompts, texts), expected)
    close(judge(prompts, texts, rows=3), expected)
    assert judge([], []) == []


# --------------------------------------------------------------------------------------------------------- the head


def test_responses_that_share_a_prompt_have_the_rewards_that_they_have_alone(tokenizer, make_model):
    rule = StopRule(tokenizer.eot, max_new_tokens=6)
    judge = RewardModel(make_model(vocab_size=len(tokenizer)), tokenizer, random_head(), None, rule)
    prompts = ["Tom lost"] * 6 + ["A longer prompt, it is"] * 3 + ["Tom lost"] * 3
    responses = [f" {word} it" for word in "the a his her no two all some my your our their".split()]
    alone = [judge([prompt], [response])[0] for prompt, response in zip(prompts, responses)]
    for rows in (12, 3, 5, 1):  # runs of 3, of 3, of 1 and of 1 are encoded once
        assert judge(prompts, responses, rows) == pytest.approx(alone, abs=1e-5)


def test_rewards_start_with_a_variance_of_about_one():
    """For states as a layer norm makes them; and so does each weight: N(0, 1 / (d + 1))."""
    head = RewardHead(4096)
    assert head.weight.std().item() * math.sqrt(4097) == pytest.approx(1, abs=0.04)
    hidden = torch.nn.functional.layer_norm(torch.randn(4000, 128), (128,))
    found = [RewardHead(128)(hidden).var().item() for _ in range(30)]
    assert sum(found) / 30 == pytest.approx(128 / 129, abs=0.15)


def test_normalising_gives_mean_0_and_variance_1():
    head, hidden = random_head(), torch.randn(40, 24)
    head.log_odds.fill_(1.0)
    before = head(hidden).detach().double()
    order = before.argsort()
    for _ in range(2):  # once more changes nothing: gain and bias add up
        head.normalise(head(hidden).detach())
        found = head(hidden).double()
        assert abs(found.mean().item()) < 1e-6 and found.var(correction=0).item() == pytest.approx(1, abs=1e-5)
        assert torch.allclose((found * head.log_odds).diff(), before.diff(), atol=1e-5)  # preferences stay the same
    assert torch.equal(found.argsort(), order) and head.gain > 0
    with pytest.raises(UserError, match="all 5 sampled responses have one reward"):
        head.normalise(torch.full((5,), 0.25))
    with pytest.raises(UserError, match="all 1 sampled"):
        head.normalise(torch.ones(1))


def test_normalising_by_hand():
    head = random_head()  # gain 1.7, bias -0.4
    head.normalise(torch.tensor([1.0, 3.0, 5.0, 7.0]))  # mean 4, variance 5
    assert head.gain.item() == pytest.approx(1.7 / math.sqrt(5))
    assert head.bias.item() == pytest.approx(-4.4 / math.sqrt(5))


def test_a_value_head_can_start_as_the_reward():
    head, linear, hidden = random_head(), torch.nn.Linear(24, 1), torch.randn(7, 3, 24)
    head.copy_to(linear)
    close(linear(hidden)[..., 0].detach(), head(hidden).detach(), 1e-6)


def test_half_precision_is_read_in_full():
    hidden = torch.randn(5, 24).bfloat16()
    head = random_head()
    found = head(hidden)
    assert found.dtype == torch.float32 and torch.equal(found, head(hidden.float()))


# ------------------------------------------------------------------------------------------------------- run folders


@pytest.fixture(scope="module")
def family(tmp_path_factory, tokenizer):
    """Folders: a base, two SFT runs on it (other layers, other ranks), and a reward run on each of the three."""
    root = tmp_path_factory.mktemp("family")
    torch.manual_seed(1)
    from minalign.model import GPT2, GPT2Config

    base = GPT2(GPT2Config(len(tokenizer), n_positions=32, n_embd=24, n_layer=2, n_head=3, initializer_range=0.2))
    hub.save_pretrained(base, root / "base")
    tokenizer.save(root / "base")
    run(root, "sft", None, "policy", ("attn.c_attn", "mlp.c_fc"), 3)
    run(root, "other", None, "policy", ("attn.c_attn", "attn.c_proj"), 4)
    for name, init in (("rm", None), ("rm-sft", "sft"), ("rm-other", "other")):
        run(root, name, init, "reward", ("attn.c_attn", "mlp.c_proj"), 2)
    return root


def run(root, name, init, adapter, targets, rank, pool="last"):
    """Write a run folder as train_sft.py (policy) or train_rm.py (reward) do."""
    model, tokenizer, base = stage.load_policy(str(root / "base"), init and str(root / init))
    if adapter == "reward":
        model.heads["reward"] = RewardHead(24)
    stage.make_trainable(model, StageConfig(lora_rank=rank, lora_targets=targets), adapter)
    train(model, adapter, seed=len(name))
    (root / name).mkdir(exist_ok=True)
    stage.save_policy(model, root / name, base, tokenizer, adapter)
    if adapter == "reward":
        with torch.no_grad():
            model.heads["reward"].gain.fill_(1.3)
            model.heads["reward"].bias.fill_(0.2)
        save_head(root / name, model.heads["reward"], StopRule(tokenizer.eot, 6, 1, (7, 8), 3), pool)
    return model


def scores(judge):
    with torch.no_grad():
        return judge.score(*batch(PROMPTS, ANSWERS))


@pytest.mark.parametrize("pool", ["last", "sum"])
def test_head_and_rule_are_saved(family, tmp_path, tokenizer, pool):
    model = run(family, "again", None, "reward", ("attn.c_attn",), 2, pool)
    found = from_run(str(family / "again"))
    saved = model.heads["reward"].state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in found.head.state_dict().items())
    assert saved.keys() == {"weight", "gain", "bias", "log_odds"}
    assert found.rule.settings() | {"ends": (7, 8)} == StopRule(tokenizer.eot, 6, 1, (7, 8), 3).settings()
    assert found.rule.cut([1, 2, 7, 3]) == [1, 2, 7]
    close(scores(found), scores(RewardModel(model, tokenizer, model.heads["reward"], "reward", found.rule, pool)))
    assert found.adapter is None and not any(p.requires_grad for p in found.model.parameters())


@pytest.mark.parametrize("judge", ["rm", "rm-sft", "rm-other"])
@pytest.mark.parametrize("start", [None, "sft"], ids=["from the base", "from SFT"])
def test_a_shared_reward_model_equals_one_of_its_own(family, start, judge):
    """Whichever stage's weights the policy's backbone holds, and whether the reward model descends from it or not."""
    apart = from_run(str(family / judge))
    policy, _, base = stage.load_policy(str(family / "base"), start and str(family / start))
    before = policy.lm_head(policy(torch.tensor(PROMPTS[:1]))).detach()
    shared = from_run(str(family / judge), policy, base)
    assert shared.model is policy and shared.adapter == "reward" and lora.active(policy) is None
    expected = scores(apart)
    close(scores(shared), expected)
    assert torch.equal(policy.lm_head(policy(torch.tensor(PROMPTS[:1]))), before)  # the policy is as it was
    # What they score is different: a wrong backbone would show.
    assert (expected - scores(RewardModel(policy, None, shared.head, None, shared.rule))).abs().max() > 1e-2

    # It is frozen: training the policy leaves it as it is, bit for bit.
    trained = stage.make_trainable(policy, StageConfig(lora_rank=2))
    assert all(key.endswith(".policy") for key in trained) and not shared.head.weight.requires_grad
    exactly = scores(shared)
    optimizer = torch.optim.SGD(trained.values(), 1.0)
    for _ in range(2):
        policy.lm_head(policy(torch.tensor(PROMPTS[:1]))).logsumexp(-1).mean().backward()
        optimizer.step()
    assert not torch.equal(policy.lm_head(policy(torch.tensor(PROMPTS[:1]))), before)
    assert torch.equal(scores(shared), exactly)


def test_a_reward_model_is_no_policy(family):
    with pytest.raises(UserError, match="--init .*rm-sft: expected a policy, found a reward model"):
        stage.load_policy(str(family / "base"), str(family / "rm-sft"))


def test_a_shared_reward_model_is_no_second_backbone(family):
    policy, _, base = stage.load_policy(str(family / "base"), str(family / "sft"))
    count = sum(p.numel() for p in policy.parameters())
    from_run(str(family / "rm-sft"), policy, base)
    assert sum(p.numel() for p in policy.parameters()) - count == 2 * (2 * (24 + 72) + 2 * (96 + 24))  # its rank alone


def test_a_fully_trained_reward_model_is_loaded_apart(family, tokenizer, tmp_path):
    model, _, base = stage.load_policy(str(family / "base"))
    model.heads["reward"] = RewardHead(24)
    stage.make_trainable(model, StageConfig(lora_rank=0), "reward")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    stage.save_policy(model, tmp_path, base, tokenizer, "reward")
    save_head(tmp_path, model.heads["reward"], StopRule(tokenizer.eot, 6))
    expected = scores(RewardModel(model, tokenizer, model.heads["reward"], None, None))
    policy, _, _ = stage.load_policy(str(family / "base"))
    found = from_run(str(tmp_path), policy, base)
    assert found.model is not policy and found.adapter is None
    close(scores(found), expected)


def test_a_folder_that_is_no_reward_run(family, tmp_path):
    for folder in (tmp_path / "nowhere", family / "sft"):
        with pytest.raises(UserError, match="expected gold, file.py:function, or a run of train_rm.py"):
            from_run(str(folder))


@pytest.fixture(scope="module")
def stranger(family, tmp_path_factory):
    """A base with the same number of tokens, two of which mean each other."""
    folder = tmp_path_factory.mktemp("stranger")
    base, tokenizer, _ = stage.load_policy(str(family / "base"))
    hub.save_pretrained(base, folder)
    tokenizer.save(folder)
    vocab = (folder / "vocab.json").read_text(encoding="utf-8")
    assert '"A"' in vocab and '"B"' in vocab
    (folder / "vocab.json").write_text(
        vocab.replace('"A"', '"~~"').replace('"B"', '"A"').replace('"~~"', '"B"'), encoding="utf-8"
    )
    return folder


def test_vocabularies_are_compared_token_by_token(family, stranger, tokenizer):
    assert rewards.same_vocabulary(tokenizer, str(family / "base"))
    assert len(Tokenizer.from_folder(stranger)) == len(tokenizer)
    assert not rewards.same_vocabulary(tokenizer, str(stranger))


def test_a_reward_model_of_another_vocabulary_is_refused(family, stranger):
    policy, _, base = stage.load_policy(str(stranger))
    with pytest.raises(UserError, match="whose vocabulary is not that of") as caught:
        from_run(str(family / "rm"), policy, base)
    assert str(family / "base") in str(caught.value) and str(stranger) in str(caught.value)


def test_a_reward_model_of_another_vocabulary_is_refused_in_full_fine_tuning_too(family, stranger):
    """As train_ppo.py calls it with --lora_rank 0, where no backbone is shared."""
    with pytest.raises(UserError, match="whose vocabulary is not that of"):
        from_run(str(family / "rm"), None, str(stranger))


# ------------------------------------------------------------------------------------------------------------ critics


def settings(rank, start):
    return SimpleNamespace(lora_rank=rank, lora_alpha=0.0, lora_targets=("attn.c_attn",), lora_dropout=0.0,
                           freeze_layers=0.0, value_init=start)  # fmt: skip


def hidden_of(model, adapter):
    prompts, prompt_mask, tokens, _ = batch(PROMPTS, ANSWERS)
    with torch.no_grad(), lora.use(model, adapter):
        return states(model, prompts, tokens, prompt_mask)[1]


def test_a_critic_from_zero_is_an_adapter_that_changes_nothing_yet(model):
    stage.make_trainable(model, StageConfig(lora_rank=2))
    train(model, "policy")
    assert make_critic(model, settings(3, "zero"), None) is model
    assert torch.equal(hidden_of(model, "value"), hidden_of(model, None))  # the base's states, not the policy's
    assert not torch.equal(hidden_of(model, "policy"), hidden_of(model, None))
    values = {key for key, p in model.named_parameters() if key.endswith(".value")}
    assert len(values) == 4 and all(p.requires_grad for key, p in model.named_parameters() if key in values)


def test_a_critic_from_the_reward_model_is_a_copy_of_it(family):
    policy, _, base = stage.load_policy(str(family / "base"), str(family / "sft"))
    judge = from_run(str(family / "rm"), policy, base)
    stage.make_trainable(policy, StageConfig(lora_rank=2))
    expected, states_before = scores(judge), hidden_of(policy, "reward")
    assert make_critic(policy, settings(2, "rm"), judge) is policy
    assert torch.equal(hidden_of(policy, "value"), states_before)
    # With its head the critic says, after the last token, what the reward model says.
    judge.head.copy_to(policy.add_head("value", 0.0))
    value = RewardModel(policy, None, lambda h: policy.heads["value"](h)[..., 0], "value", judge.rule)
    close(scores(value), expected)
    # A copy: training it moves neither the reward model nor the policy.
    trained = {key: p for key, p in policy.named_parameters() if key.endswith((".value", "value.weight", "value.bias"))}
    assert all(p.requires_grad for p in trained.values()) and len(trained) > 4
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.1
    assert torch.equal(scores(judge), expected) and (scores(value) - expected).abs().max() > 1e-2


def test_a_critic_of_full_fine_tuning_is_a_model_of_its_own(model, judge):
    policy = copy.deepcopy(model)
    policy.requires_grad_(False)
    critic = make_critic(policy, settings(0, "zero"), None)
    assert critic is not policy and all(p.requires_grad for p in critic.parameters())
    assert torch.equal(hidden_of(critic, None), hidden_of(policy, None))
    with torch.no_grad():
        critic.transformer.wte.weight.add_(1)
    assert not torch.equal(hidden_of(critic, None), hidden_of(policy, None))
    # From a reward model with weights of its own: those.
    apart = lora.merge(judge.model, "reward")
    critic = make_critic(policy, settings(0, "rm"), RewardModel(apart, None, judge.head, None, judge.rule))
    assert critic is not apart and torch.equal(hidden_of(critic, None), hidden_of(apart, None))
    assert all(p.requires_grad for p in critic.parameters())


@pytest.mark.parametrize("reward", ["gold", "mine.py:score"])
def test_a_critic_cannot_start_as_what_is_no_reward_model(reward):
    with pytest.raises(UserError, match="value_init"):
        train_ppo.Config(task="sentiment", reward=reward, value_init="rm")
    assert train_ppo.Config(task="sentiment", reward="runs/rm", value_init="rm").value_init == "rm"


def test_a_critic_cannot_start_as_a_stranger(model, judge):
    stage.make_trainable(policy := copy.deepcopy(model), StageConfig(lora_rank=2))
    apart = RewardModel(lora.merge(judge.model, "reward"), None, judge.head, None, judge.rule)
    with pytest.raises(UserError, match="value_init rm.*adapter of the policy's base"):
        make_critic(policy, settings(2, "rm"), apart)


@pytest.mark.parametrize("judge", ["sum"], indirect=True)
def test_a_critic_cannot_start_as_a_sum_over_tokens(model, judge):
    with pytest.raises(UserError, match="value_init rm.*--pool sum"):
        make_critic(model, settings(2, "rm"), judge)


# ------------------------------------------------------------------------------------------------ a user's own function


def user(tmp_path, body, head="import math, torch, numpy as np\n"):
    """Return the reward function of a file with `def score(prompts, responses)` and this body."""
    path = tmp_path / "mine.py"
    path.write_text(f"{head}def score(prompts, responses):\n    {body}\n")
    return f"{path}:score"


ASK = (["Tom lost", "Anna found", "It was"], [" his hat.", " a dog.", " 42."])


@pytest.mark.parametrize(
    "body",
    [
        "return [0.5, 1, -2.25]",
        "return (0.5, 1, -2.25)",
        "return torch.tensor([0.5, 1, -2.25])",
        "return np.array([0.5, 1, -2.25])",
        "return [np.float64(0.5), 1, -2.25]",
        "return list(np.array([0.5, 1, -2.25], dtype=np.float32))",
        "return [0.5, np.int64(1), torch.tensor(-2.25)]",
    ],
)
def test_lists_tuples_tensors_and_arrays_of_numbers_are_taken(tmp_path, body):
    found = from_file(user(tmp_path, body))(*ASK)
    assert found == [0.5, 1.0, -2.25] and all(type(x) is float for x in found)


def test_the_function_gets_prompts_and_responses(tmp_path):
    reward = from_file(user(tmp_path, "return [len(p) + len(r) / 100 for p, r in zip(prompts, responses)]"))
    assert reward(*ASK) == [8.09, 10.07, 6.04]
    asked = ([*ASK[0]], [*ASK[1]])
    from_file(user(tmp_path, "prompts.clear(); responses.reverse(); return [1.0] * len(responses)"))(*asked)
    assert asked == ASK  # what it does with its lists stays there


@pytest.mark.parametrize(
    "body, found, record",
    [
        ("return [0.5, math.nan, 1.0]", "nan", 1),
        ("return [0.5, 0.0, -math.inf]", "-inf", 2),
        ("return [True, 0.0, 0.0]", "True", 0),
        ("return [0.5, None, 0.0]", "None", 1),
        ("return [0.5, 0.0, '0.7']", "'0.7'", 2),
        ("return torch.tensor([[0.5], [0.1], [0.2]])", "[0.5]", 0),
        ("return torch.tensor([0.5, float('nan'), 0.2])", "nan", 1),
        ("return [0.5, 1j, 0.0]", "1j", 1),
        ("return [0.5, 0.5, 10**400]", "1000", 2),
    ],
)
def test_a_score_that_is_no_finite_number_is_named_with_its_record(tmp_path, body, found, record):
    spec = user(tmp_path, body)
    with pytest.raises(UserError) as caught:
        from_file(spec)(*ASK)
    message = str(caught.value)
    assert spec in message and f"a finite number, got {found}" in message and len(message.splitlines()) <= 3
    assert repr(ASK[0][record]) in message and repr(ASK[1][record]) in message
    assert not any(repr(text) in message for text in ASK[1] if text != ASK[1][record])


@pytest.mark.parametrize(
    "body, found",
    [
        ("return [0.5, 1.0]", "2 values"),
        ("return [0.5] * 4", "4 values"),
        ("return []", "0 values"),
        ("return None", "NoneType"),
        ("pass", "NoneType"),
        ("return 0.5", "float"),
        ("return torch.tensor(0.5)", "float"),
        ("return (x for x in [0.1, 0.2, 0.3])", "generator"),
        ("return {'a': 1, 'b': 2, 'c': 3}", "dict"),
        ("return 'abc'", "str"),
    ],
)
def test_what_is_no_list_of_the_right_length_is_refused(tmp_path, body, found):
    with pytest.raises(UserError, match=f"expected a list of 3 numbers, one each; got {found}"):
        from_file(user(tmp_path, body))(*ASK)


@pytest.mark.parametrize(
    "body, said",
    [
        ("raise ValueError('no such word: lantern\\nand more')", "ValueError: no such word: lantern"),
        ("raise KeyError", "KeyError: no message"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise OSError('x' * 5000)", "OSError: xxx"),
    ],
)
def test_what_it_raises_is_shown_with_the_record(tmp_path, body, said):
    with pytest.raises(UserError) as caught:
        from_file(user(tmp_path, body))(*ASK)
    message = str(caught.value)
    assert said in message and len(message.splitlines()) == 3 and len(message) < 600
    assert "for 3 responses" in message and repr(ASK[0][0]) in message and repr(ASK[1][0]) in message
    assert caught.value.__cause__ is not None


def test_stopping_by_hand_is_no_error_of_the_function(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        from_file(user(tmp_path, "raise KeyboardInterrupt"))(*ASK)


@pytest.mark.parametrize(
    "head, said",
    [
        ("def broken(:\n    pass\n", "SyntaxError"),
        ("import no_such_package_anywhere\n", "ModuleNotFoundError.*no_such_package_anywhere"),
        ("raise RuntimeError('not today')\n", "RuntimeError: not today"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, head, said):
    with pytest.raises(UserError, match=rf"mine.py cannot be imported: {said}"):
        from_file(user(tmp_path, "return [0.0]", head=head))


def test_a_file_may_hold_data_classes(tmp_path):
    """With annotations kept as strings they look their module up by its name."""
    head = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Row:\n    text: str\n"
    spec = user(tmp_path, "return [len(Row(r).text) for r in responses]", head=head)
    assert from_file(spec)(*ASK) == [9, 7, 4]


def test_files_and_functions_that_are_not_there(tmp_path):
    spec = user(tmp_path, "return [0.0]", head="constant = 3\n")
    path = spec.removesuffix(":score")
    for bad in (f"{tmp_path}/missing.py:score", path, f"{tmp_path}:score", "score", f"{tmp_path}/mine.txt:score"):
        with pytest.raises(UserError, match="expected file.py:function with an existing file"):
            from_file(bad)
    for name in ("reward", "constant", ""):
        with pytest.raises(UserError, match=f"has no function {name!r}: def {name}"):
            from_file(f"{path}:{name}")


def test_two_files_of_one_name_are_two_modules(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    one = from_file(user(tmp_path / "a", "return [1.0] * 3"))
    two = from_file(user(tmp_path / "b", "return [2.0] * 3"))
    assert (one(*ASK), two(*ASK)) == ([1.0] * 3, [2.0] * 3)
