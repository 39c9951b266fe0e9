"""What the scripts share: the schedule, what is trained, the best weights, checkpoints, ranges, dry runs.

Chains of stages (`load_policy`, `save_policy`) are tested in test_train_gfn.py and test_rewards.py.
"""

import math
import random

import pytest
import stages
import torch

import train_dpo
import train_gfn
import train_ppo
import train_sft
from minalign import checkpoint, cli, rewards, stage
from minalign.checkpoint import Best
from minalign.errors import UserError
from minalign.precision import Scaler
from minalign.stage import StageConfig


def shares(n, **settings):
    """Return the first n factors of the learning rate."""
    return [stage.learning_rate_factor(StageConfig(**settings), step) for step in range(n)]


# ------------------------------------------------------------------------------------------------------- the schedule


def test_the_learning_rate_by_hand():
    rise = [0.25, 0.5, 0.75, 1]
    assert shares(10, steps=10, warmup_steps=4, schedule="constant") == [*rise, 1, 1, 1, 1, 1, 1]
    down = [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert shares(10, steps=10, warmup_steps=4, schedule="linear") == pytest.approx(rise + down)
    # (1 + cos x) / 2 at 0, 30, 60, 90, 120 and 150 degrees
    half = 3**0.5 / 4
    cosine = [1, 0.5 + half, 0.75, 0.5, 0.25, 0.5 - half]
    assert shares(10, steps=10, warmup_steps=4, schedule="cosine") == pytest.approx(rise + cosine)


def test_the_ends_of_the_schedule():
    assert shares(1, warmup_steps=0)[0] == 1  # no warm-up: the peak at once
    assert shares(3, steps=3, warmup_steps=10) == pytest.approx([0.1, 0.2, 0.3])  # it never gets there
    assert shares(4, steps=4, warmup_steps=4, schedule="linear") == [0.25, 0.5, 0.75, 1]
    # The last step is one before 0: it still moves.
    assert 0 < shares(100, steps=100, warmup_steps=0)[-1] < 1e-3


# ----------------------------------------------------------------------------------------------------- what is trained


def names(model, **settings):
    return set(stage.make_trainable(model, StageConfig(**settings)))


def test_only_the_adapter_is_trained(model):
    found = names(model, lora_rank=2, lora_targets=("attn.c_attn", "mlp.c_fc"))
    paths = [f"model.transformer.h.{i}.{layer}" for i in (0, 1) for layer in ("attn.c_attn", "mlp.c_fc")]
    assert found == {f"{path}.lora_{side}.policy" for path in paths for side in "AB"}
    assert {f"model.{key}" for key, p in model.named_parameters() if p.requires_grad} == found


def test_alpha_is_twice_the_rank_unless_given(model, make_model):
    names(model, lora_rank=4)
    assert model.transformer.h[0].attn.c_attn.scale == {"policy": 2.0}
    other = make_model()
    names(other, lora_rank=4, lora_alpha=6.0)
    assert other.transformer.h[0].attn.c_attn.scale == {"policy": 1.5}


def test_heads_are_trained_with_the_adapter(model):
    """minalign's reward head too, which loralib's `mark_only_lora_as_trainable` would have frozen."""
    model.add_head("reward", 0.1)
    found = names(model, lora_rank=2, lora_targets=("attn.c_attn",))
    assert {"model.heads.reward.weight", "model.heads.reward.bias"} <= found and len(found) == 2 + 2 * 2


def test_full_fine_tuning_trains_every_weight_once(model):
    trained = stage.make_trainable(model.requires_grad_(False), StageConfig(lora_rank=0))
    assert {key.removeprefix("model.") for key in trained} == {key for key, _ in model.named_parameters()}
    assert "model.lm_head.weight" not in trained  # tied: it is the embedding


@pytest.mark.parametrize("rank", [0, 2])
def test_the_lowest_blocks_stay_as_they_are(make_model, rank):
    model = make_model(n_layer=4)
    found = names(model, lora_rank=rank, freeze_layers=0.5)
    blocks = {int(key.split(".h.")[1][0]) for key in found if ".h." in key}
    assert blocks == {2, 3}
    assert not any(".wte." in key or ".wpe." in key for key in found)
    assert any("ln_f" in key for key in found) == (rank == 0)
    # It is what is updated that counts: nothing below has a gradient.
    model.lm_head(model(torch.arange(10)[None])).logsumexp(-1).sum().backward()
    touched = {f"model.{key}" for key, p in model.named_parameters() if p.grad is not None}
    assert touched == found


@pytest.mark.parametrize("layers, share, n", [(12, 0.8, 9), (24, 0.8, 19), (32, 0.8, 25), (4, 0.7, 2), (4, 0.2, 0)])
def test_a_share_of_blocks_is_rounded_down(make_model, layers, share, n):
    """The first three are those of Kirk et al., 2310.06452: GPT-2, its medium size, LLaMA-7B."""
    model = make_model(n_layer=layers)
    for rank, first in ((0, "ln_1.weight"), (2, "attn.c_attn.lora_A.policy")):
        found = stage.make_trainable(model, StageConfig(lora_rank=rank, freeze_layers=share))
        assert next(iter(found)) == f"model.transformer.h.{n}.{first}"  # of any share no embedding is trained
    model = make_model(n_layer=layers)
    assert next(iter(stage.make_trainable(model, StageConfig(lora_rank=0)))) == "model.transformer.wte.weight"


def test_a_head_of_its_own_stays_with_the_embeddings(make_model):
    assert "model.lm_head.weight" in names(make_model(tie_word_embeddings=False), lora_rank=0)
    found = names(make_model(tie_word_embeddings=False), lora_rank=0, freeze_layers=0.5)
    assert found and not any("lm_head" in key or ".wte." in key for key in found)


def kept_for_backward(model) -> int:
    """Return the bytes of what a loss of the model keeps for its backward pass, weights left out."""
    sizes, own = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(x):
        if x.untyped_storage().data_ptr() not in own:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes(), x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = model.lm_head(model(torch.arange(60).view(3, 20))).logsumexp(-1).sum()
    del loss
    return sum(size for size, _ in sizes.values())


@pytest.mark.parametrize("rank", [0, 2])
def test_frozen_blocks_keep_nothing_for_the_backward_pass(make_model, rank):
    """Of six blocks, four of them frozen, as much as of a model that only has the other two."""
    def of(layers, share):
        model = make_model(n_layer=layers, n_head=2)
        stage.make_trainable(model, StageConfig(lora_rank=rank, freeze_layers=share))
        return kept_for_backward(model)

    frozen, whole, two = of(6, 0.7), of(6, 0), of(2, 0.1)
    assert 0 < frozen == two < 0.45 * whole, (frozen, two, whole)


def test_untrained_weights_are_shared_where_they_are_equal(make_model):
    for rank, shared in ((0, {"wte", "wpe", "h.0"}), (2, {"wte", "wpe", "h.0", "h.1", "ln_f"})):
        model, other, cfg = make_model(), make_model(), StageConfig(lora_rank=rank, freeze_layers=0.5)
        changed = "transformer.h.0.mlp.c_fc.weight"
        with torch.no_grad():
            other.get_parameter(changed)[0] += 1
        before = {name: p.clone() for name, p in other.named_parameters()}
        rewards.share_kept(model, other, cfg)
        for name, p in other.named_parameters():
            one = name != changed and any(f".{part}." in name for part in shared)
            assert (p.data_ptr() == model.get_parameter(name).data_ptr()) == one, name
            assert torch.equal(p, before[name])
    other = make_model(std=0.0).bfloat16()  # zeros are equal to zeros of any type
    rewards.share_kept(make_model(std=0.0), other, cfg)
    assert all(p.dtype == torch.bfloat16 for p in other.parameters())


def test_nothing_left_to_train_is_an_error(make_model):
    with pytest.raises(UserError, match="freeze_layers 1 leaves nothing"):
        names(make_model(), lora_rank=2, freeze_layers=1.0)
    model = make_model()
    model.add_head("reward", 0.1)  # a reward model of the base's own features
    assert names(model, lora_rank=2, freeze_layers=1.0) == {"model.heads.reward.weight", "model.heads.reward.bias"}
    above = names(make_model(), lora_rank=2, lora_targets=("lm_head", "attn.c_attn"), freeze_layers=1.0)
    assert above == {"model.lm_head.lora_A.policy", "model.lm_head.lora_B.policy"}


# ------------------------------------------------------------------------------------------------------ best weights


def seen(metric, values):
    """Return a `Best` that saw a weight of 0, 1, ... with these values of the metric, and the weight."""
    weight = torch.nn.Parameter(torch.zeros(1))
    best = Best(metric, {"w": weight})
    for step, value in enumerate(values):
        weight.data.fill_(step)
        best.see(step, {metric: value, "other": -value})
    return best, weight


@pytest.mark.parametrize(
    "metric, lowest",
    [("eval/loss", True), ("eval/perplexity", True), ("eval/kl", True), ("exact/tv_valid", True),
     ("eval/calibration_error", True), ("exact/kl_target_policy", True), ("eval/length", True),
     ("eval/accuracy", False), ("eval/score", False), ("eval/gold", False), ("eval/rewards/margins", False),
     ("eval/mean_token_accuracy", False), ("eval/stop_rate", False), ("exact/valid_mass", False),
     ("eval/distinct", False), ("eval/rewards/accuracies", False)],
)  # fmt: skip
def test_the_best_is_the_lowest_of_what_should_be_low(metric, lowest, capsys):
    best, weight = seen(metric, [0.5, 0.2, 0.9, 0.4])
    best.restore()
    assert weight.item() == (1 if lowest else 2) and best.step == weight.item()
    assert ("lowest" if lowest else "highest") in capsys.readouterr().out


def test_of_equally_good_ones_the_first_is_kept():
    best, weight = seen("eval/accuracy", [0.5, 0.9, 0.9])
    best.restore()
    assert weight.item() == 1


def test_what_is_no_number_is_never_the_best():
    """As the standard error of one prompt: nothing is lower or higher than NaN, so a first one would stay."""
    for metric in ("eval/loss", "eval/accuracy"):
        assert seen(metric, [float("nan"), 0.5, float("nan")])[0].step == 1


def test_without_a_metric_the_last_weights_stay(capsys):
    weight = torch.nn.Parameter(torch.ones(1))
    best = Best(None, {"w": weight})
    best.see(1, {"eval/loss": 1.0})
    best.restore()
    assert best.tensors == {} and weight.item() == 1 and capsys.readouterr().out == ""


def test_an_unknown_metric_is_an_error_that_lists_the_known():
    with pytest.raises(UserError, match="eval/gld: an evaluation has eval/gold, eval/kl"):
        Best("eval/gld", {}).see(1, {"eval/kl": 1.0, "eval/gold": 2.0})


def test_the_best_survives_a_resume():
    old, weight = seen("eval/loss", [0.5, 0.2, 0.9])
    best = Best("eval/loss", {"w": weight})
    best.unpack({**old.tensors, "model.x": torch.zeros(1)}, old.meta())
    best.see(3, {"eval/loss": 0.3})  # worse than what was best before
    best.restore()
    assert weight.item() == 1 and set(best.tensors) == {"best.w"}
    best.see(4, {"eval/loss": 0.1})
    assert best.meta() == {"value": 0.1, "step": 4, "since": 0}
    best.see(5, {"eval/loss": 0.1})
    best.see(6, {"eval/loss": math.nan})
    assert best.meta() == {"value": 0.1, "step": 4, "since": 2}  # evaluations, for --patience


def test_a_checkpoint_is_a_copy():
    best, weight = seen("eval/loss", [0.2])
    weight.data.fill_(7)
    best.restore()
    assert weight.item() == 0


# -------------------------------------------------------------------------------------------------------- checkpoints


def test_training_goes_on_bit_for_bit(make_model):
    def start():
        model = make_model(seed=4)
        trained = stage.make_trainable(model, StageConfig(lora_rank=2))
        streams = {"noise": torch.Generator().manual_seed(7), "choice": random.Random(7)}
        return model, trained, torch.optim.AdamW(trained.values(), 0.05), streams, Scaler("cpu", enabled=False)

    def steps(n, model, trained, optimizer, streams, scaler):
        drawn = []
        for _ in range(n):
            tokens = torch.randint(0, 67, (2, 6), generator=streams["noise"])
            drawn.append((tokens.tolist(), streams["choice"].random(), torch.rand(()).item()))
            optimizer.zero_grad()
            model.lm_head(model(tokens)).logsumexp(-1).sum().backward()
            optimizer.step()
        return drawn

    whole = start()
    steps(2, *whole)
    tensors, meta = checkpoint.pack_training(*whole[1:])
    tensors = {key: value.clone() for key, value in tensors.items()}
    expected = steps(2, *whole)

    again = start()
    steps(1, *again)  # somewhere else
    checkpoint.unpack_training(tensors, meta, *again[1:])
    assert steps(2, *again) == expected
    assert all(torch.equal(whole[1][key], again[1][key]) for key in whole[1])


# ------------------------------------------------------------------------------------------------- settings, dry runs


@pytest.mark.parametrize(
    "name, value",
    [("steps", 0), ("batch_size", 0), ("micro_batch", -1), ("learning_rate", -1e-3), ("learning_rate", 11.0),
     ("warmup_steps", -1), ("weight_decay", 11.0), ("max_grad_norm", -1.0), ("lora_rank", -1), ("lora_rank", 5000),
     ("lora_alpha", -1.0), ("lora_dropout", 1.0), ("freeze_layers", 1.1), ("eval_every", -1), ("save_every", -1)],
)  # fmt: skip
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(UserError, match=f"--{name}: expected .* found {value:g}"):
        StageConfig(**{name: value})


@pytest.mark.parametrize("script, flags, words", [
    (train_sft, "--task=grammar --max_response=9", "the sentences of grammar are listed"),
    (train_sft, "--task=sentiment --target=poisson", "it belongs to --task rng"),
    (train_ppo, "--task=sentiment --grammar_reward=happy", "it belongs to --task grammar"),
    (train_dpo, "--data=mine.jsonl --target=poisson", "it belongs to --task rng"),
    (train_gfn, "--data=mine.txt --illegal=basic", "it belongs to --task next_sentence"),
    (train_gfn, "--task=next_sentence --beta=1", "--reward likelihood has no scores"),
    (train_gfn, "--task=rng --beta=1", "--reward target has no scores"),
    (train_gfn, "--task=puns --template=main", "it belongs to --task rng"),
])  # fmt: skip
def test_a_flag_that_nothing_would_read_is_refused(script, flags, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = stages.refuses(script, *flags.split())
    assert said.startswith(f"--{flags.split('--')[2].partition('=')[0]} would have no effect: ") and words in said
    assert not list(tmp_path.iterdir())


def test_flags_that_are_read_are_taken():
    for flags in ("--task=rng --target=poisson --low=3", "--task=grammar --grammar_reward=happy --reward=gold --beta=1",
                  "--task=next_sentence --illegal=published --min_response=2 --max_response=9",
                  "--task=next_sentence --preset=paper"):  # fmt: skip
        cfg, _ = cli.parse(train_gfn.Config, flags.split(), train_gfn.preset)
        stage.refuse_unused(cfg, flags.split(), beta=cfg.every_prefix)


def test_settings_that_make_no_sense_together():
    with pytest.raises(UserError, match="lora_targets needs at least one"):
        StageConfig(lora_targets=())
    assert StageConfig(lora_targets=(), lora_rank=0)
    with pytest.raises(UserError, match="keep_best.*eval_every"):
        StageConfig(keep_best="eval/loss", eval_every=0)


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = StageConfig(dry_run=True, out=str(tmp_path / "out"), overwrite=True)
    run = stage.open_run(cfg, "sft", "sentiment", [])
    run.start(cfg, "cpu")
    run.log(1, {"loss": 1.0})
    run.samples(1, ["p"], ["r"], [True])
    run.rows("predictions.jsonl", [{"loss": 1.0}])
    run.save(1, {"w": torch.zeros(1)})
    run.result({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_named_by_script_task_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = StageConfig(model="some/folder/tiny")
    assert str(stage.open_run(cfg, "rm", "sentiment", []).path) == "runs/rm-sentiment-tiny"
    assert str(stage.open_run(cfg, "rm", None, []).path) == "runs/rm-data-tiny"
    assert str(stage.open_run(cfg, "rm", None, []).path) == "runs/rm-data-tiny-2"


@pytest.mark.parametrize("reader", ["model", "init", "data"])
def test_overwrite_spares_what_the_stage_reads(tmp_path, reader):
    out = tmp_path / "run"
    stage.open_run(StageConfig(out=str(out)), "rm", None, []).start(StageConfig(), "cpu")
    settings = {reader: str(out)} if reader != "data" else {}
    reads = [str(out / "preferences.jsonl"), None] if reader == "data" else []
    (out / "preferences.jsonl").touch()
    with pytest.raises(UserError, match="overwrite"):
        stage.open_run(StageConfig(out=str(out), overwrite=True, **settings), "rm", None, reads)
    assert (out / "run.json").exists()
