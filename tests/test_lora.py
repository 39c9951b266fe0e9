"""LoRA: what an adapter changes and what it must leave alone, merging, chains of stages, and PEFT's files in both
directions."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minalign.adapters import load_adapter, save_adapter
from minalign.errors import UserError
from minalign.hub import from_pretrained, save_pretrained
from minalign.lora import TARGETS, LoRALinear, add_adapter, disabled, merge, set_adapter
from minalign.model import GPT2

TOKENS = torch.arange(30).view(2, 15)
BLOCK = TARGETS[:4]


def logits_of(model):
    with torch.no_grad():
        return model.lm_head(model(TOKENS))


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


def train(model, name="policy", seed=0):
    """Stand in for training: give the adapter's B, zero at the start, random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(f"lora_B.{name}"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def adapted(model, name="policy", seed=0, **settings):
    add_adapter(model, name, **settings)
    return train(model, name, seed)


def state_of(model):
    return {key: w.clone() for key, w in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# ---- the layer


@pytest.mark.parametrize("targets", [("attn.c_attn",), BLOCK, TARGETS], ids=str)
def test_a_new_adapter_changes_nothing(model, targets):
    before = logits_of(model)
    add_adapter(model, rank=4, targets=targets)
    assert torch.equal(logits_of(model), before)
    assert (logits_of(train(model)) - before).abs().max() > 1e-2


def test_the_branch_is_alpha_over_r_times_B_A(model):
    adapted(model, rank=4, alpha=12)
    layer = model.transformer.h[1].attn.c_attn
    x = torch.randn(5, 24)
    A, B = layer.lora_A["policy"], layer.lora_B["policy"]
    assert A.shape == (4, 24) and B.shape == (72, 4) and A.dtype == B.dtype == torch.float32
    close(layer(x), layer.base(x) + 12 / 4 * (x @ A.T) @ B.T)
    assert add_adapter(model, "other", rank=5) is None and layer.scale == {"policy": 3.0, "other": 2.0}


def test_targets_are_told_apart(model):
    add_adapter(model, rank=2, targets=("mlp.c_proj",))
    assert [path for path, m in model.named_modules() if isinstance(m, LoRALinear)] == [
        f"transformer.h.{i}.mlp.c_proj" for i in (0, 1)
    ]
    with pytest.raises(UserError, match="q_proj.*attn.c_attn"):
        add_adapter(model, targets=("q_proj",))


def test_gradients_reach_only_the_adapter_and_the_heads(model):
    model.add_head("value", std=0.1)
    adapted(model, rank=2, targets=TARGETS)
    hidden = model(TOKENS)
    (model.lm_head(hidden).logsumexp(-1).sum() + model.heads["value"](hidden).sum()).backward()
    for name, parameter in model.named_parameters():
        trained = ".lora_" in name or name.startswith("heads.")
        assert (
            parameter.requires_grad == trained
            and (parameter.grad is not None and bool(parameter.grad.any())) == trained
        ), name


def test_disabled_is_the_backbone_and_nests(model):
    reference = logits_of(model)
    adapted(model, rank=2)
    policy = logits_of(model)
    with disabled(model):
        assert torch.equal(logits_of(model), reference)
        with disabled(model):
            assert torch.equal(logits_of(model), reference)
        assert torch.equal(logits_of(model), reference)
    assert torch.equal(logits_of(model), policy)
    with pytest.raises(KeyError), disabled(model):
        raise KeyError
    assert torch.equal(logits_of(model), policy)  # restored after an error too


def test_several_adapters_share_a_backbone(model):
    reference, alone = logits_of(model), {}
    settings = {
        "policy": dict(rank=2),
        "value": dict(rank=3, targets=("mlp.c_fc", "attn.c_attn")),
        "reward": dict(rank=4, targets=("lm_head",)),
    }
    for i, name in enumerate(settings):
        torch.manual_seed(i)
        alone[name] = logits_of(adapted(copy.deepcopy(model), name, seed=i, **settings[name]))
    for i, name in enumerate(settings):
        torch.manual_seed(i)
        adapted(model, name, seed=i, **settings[name])
        assert torch.equal(logits_of(model), alone[name])  # the new one is active, the others are silent
    for name in settings:
        set_adapter(model, name)
        assert torch.equal(logits_of(model), alone[name]) and (alone[name] - reference).abs().max() > 1e-2
        close(logits_of(merge(model, name)), alone[name])
    set_adapter(model, None)
    assert torch.equal(logits_of(model), reference)


def test_only_the_active_adapter_gets_gradients(model):
    adapted(model, "policy", rank=2)
    adapted(model, "value", rank=2)
    set_adapter(model, "policy")
    model(TOKENS).sum().backward()
    assert all((p.grad is not None) == ("policy" in name) for name, p in model.named_parameters())


def test_dropout_is_on_the_branch_and_only_in_training(model):
    reference = logits_of(model)
    adapted(model, rank=4, dropout=0.5)
    model.eval()
    assert torch.equal(logits_of(model), logits_of(model))
    close(logits_of(merge(model)), logits_of(model))
    model.train()
    assert not torch.equal(logits_of(model), logits_of(model))
    with disabled(model):  # the frozen path has none
        assert torch.equal(logits_of(model), reference)
    layer, x = model.transformer.h[0].attn.c_attn, torch.randn(4, 24)
    mean = layer(x.repeat(5000, 1, 1)).mean(0)
    torch.testing.assert_close(mean, layer.eval()(x), atol=0.2, rtol=0)  # inverted dropout: right on average


def test_an_adapter_takes_the_models_mode(model):
    adapted(model.eval(), rank=4, dropout=0.5)
    assert not model.transformer.h[0].attn.c_attn.training and torch.equal(logits_of(model), logits_of(model))


def test_adapters_are_float32_on_a_bfloat16_backbone(model):
    model = model.to(torch.bfloat16)
    adapted(model, rank=2, targets=TARGETS)
    assert all(
        p.dtype == (torch.float32 if ".lora_" in name else torch.bfloat16) for name, p in model.named_parameters()
    )
    assert logits_of(model).dtype == torch.bfloat16


# ---- the output head


def test_a_head_adapter_leaves_the_embedding_alone(model):
    embedding, hidden = model.transformer.wte.weight.clone(), model(TOKENS)
    adapted(model, rank=3, targets=("lm_head",))
    model.lm_head(model(TOKENS)).sum().backward()
    assert torch.equal(model.transformer.wte.weight, embedding) and model.transformer.wte.weight.grad is None
    assert torch.equal(model(TOKENS), hidden)  # the input side is as before
    assert model.lm_head.weight is model.transformer.wte.weight  # still one matrix in memory


def test_merging_a_head_adapter_unties(model, tmp_path):
    adapted(model, rank=3, targets=("lm_head", "attn.c_attn"))
    merged = merge(model)
    assert not merged.config.tie_word_embeddings and model.config.tie_word_embeddings
    assert torch.equal(merged.transformer.wte.weight, model.transformer.wte.weight)
    assert not torch.equal(merged.lm_head.weight, merged.transformer.wte.weight)
    save_pretrained(merged, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is False
    close(logits_of(from_pretrained(str(tmp_path))), logits_of(model))
    transformers = pytest.importorskip("transformers")
    with torch.no_grad():
        close(transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()(TOKENS).logits, logits_of(model))


# ---- merging


@pytest.mark.parametrize("targets", [("attn.c_attn",), BLOCK, TARGETS], ids=str)
def test_merge_equals_the_adapter_and_leaves_the_argument(model, targets):
    adapted(model, rank=4, targets=targets)
    before, active = state_of(model), logits_of(model)
    merged = merge(model)
    close(logits_of(merged), active)
    assert not any(isinstance(m, LoRALinear) for m in merged.modules()) and type(merged) is GPT2
    assert merged.state_dict().keys() == GPT2(merged.config).state_dict().keys()
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert (
        same(state_of(model), before)
        and torch.equal(logits_of(model), active)
        and not hasattr(model, "merged_adapters")
    )


def test_merge_names_a_missing_adapter(model):
    add_adapter(model, "policy")
    with pytest.raises(ValueError, match="value"):
        merge(model, "value")


def test_merge_keeps_the_embedding_tied_without_a_head_adapter(model):
    merged = merge(adapted(model, rank=2))
    assert merged.lm_head.weight is merged.transformer.wte.weight and merged.config.tie_word_embeddings


def test_a_stage_on_top_of_a_merged_stage(model):
    """Adapter off is the previous stage, the right reference; at its start the new stage equals it."""
    first = logits_of(adapted(model, rank=4))
    second = merge(model)
    add_adapter(second, rank=2, targets=("mlp.c_fc",))
    close(logits_of(second), first)
    train(second, seed=1)
    assert (logits_of(second) - first).abs().max() > 1e-2
    with disabled(second):
        close(logits_of(second), first)


# ---- PEFT's files


@pytest.fixture
def base(model, tmp_path):
    """The folder of the original base."""
    save_pretrained(model, tmp_path / "base")
    return tmp_path / "base"


def in_peft(base, adapter):
    """Load an adapter with peft on transformers' GPT-2 and return its logits; what peft only warns of is an error."""
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    model = peft.PeftModel.from_pretrained(theirs, adapter)
    result = peft.set_peft_model_state_dict(copy.deepcopy(model), peft.load_peft_weights(adapter))
    assert not result.unexpected_keys and not [key for key in result.missing_keys if "lora_" in key]
    with torch.no_grad():
        return model.eval()(TOKENS).logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rank": 3, "alpha": 7.5, "targets": BLOCK},
        {"rank": 5, "targets": TARGETS},
        {"rank": 2, "targets": ("lm_head",)},
    ],
    ids=str,
)
def test_to_peft(model, base, tmp_path, settings):
    adapted(model, **settings)
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter", str(base))
    close(in_peft(base, tmp_path / "adapter"), logits_of(model), 1e-6 * 10)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and set(config["target_modules"]) == set(
        settings.get("targets", ["attn.c_attn"])
    )
    assert all(
        (tmp_path / "adapter" / name).stat().st_mode & 0o044 == 0o044
        for name in ("adapter_config.json", "adapter_model.safetensors")
    )
    again = from_pretrained(str(base))
    load_adapter(again, tmp_path / "adapter")
    close(logits_of(again), logits_of(model), 1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_chain_of_stages_is_saved_relative_to_the_original_base(model, base, tmp_path):
    """Three stages with other targets and ranks each, two of them merged: one adapter of the base that was there
    first."""
    stages = [
        dict(rank=4, targets=("attn.c_attn", "mlp.c_fc")),
        dict(rank=2, alpha=5, targets=("attn.c_attn", "lm_head")),
        dict(rank=3, targets=("attn.c_attn", "lm_head", "mlp.c_proj")),
    ]
    for i, settings in enumerate(stages):
        model = adapted(merge(model) if i else model, seed=i, **settings)
    (tmp_path / "end").mkdir()
    save_adapter(model, tmp_path / "end", str(base))
    close(in_peft(base, tmp_path / "end"), logits_of(model))
    again = from_pretrained(str(base))
    load_adapter(again, tmp_path / "end")
    close(logits_of(again), logits_of(model))
    config = json.loads((tmp_path / "end" / "adapter_config.json").read_text())
    assert (config["r"], config["rank_pattern"]) == (9, {"mlp.c_fc": 4, "lm_head": 5, "mlp.c_proj": 3})


def test_a_loaded_adapter_can_be_a_stage_of_a_chain(model, base, tmp_path):
    (tmp_path / "one").mkdir()
    save_adapter(adapted(model, rank=4, targets=BLOCK), tmp_path / "one", str(base))
    second = from_pretrained(str(base))
    load_adapter(second, tmp_path / "one")
    second = adapted(merge(second), seed=5, rank=2, targets=("mlp.c_fc",))
    (tmp_path / "two").mkdir()
    save_adapter(second, tmp_path / "two", str(base))
    end = from_pretrained(str(base))
    load_adapter(end, tmp_path / "two")
    close(logits_of(end), logits_of(second))


def test_a_saved_adapter_is_only_the_named_one(model, base, tmp_path):
    adapted(model, "policy", rank=2)
    policy = logits_of(model)
    adapted(model, "value", seed=1, rank=4, targets=BLOCK)
    save_adapter(model, tmp_path, str(base), "policy")
    assert len(load_file(tmp_path / "adapter_model.safetensors")) == 2 * 2
    again = from_pretrained(str(base))
    load_adapter(again, tmp_path)
    close(logits_of(again), policy)


# ---- adapters that are refused


@pytest.fixture
def folder(model, base, tmp_path):
    """A good adapter folder, to be damaged."""
    save_adapter(adapted(model, rank=4, targets=("attn.c_attn", "lm_head")), tmp_path, str(base))
    return tmp_path


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))


def refusal(base, folder, *expected):
    with pytest.raises(UserError) as caught:
        load_adapter(from_pretrained(str(base)), folder)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 3
    for words in expected:
        assert words in message, message


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "absent"},
        {"peft_type": "IA3"},
        {"r": "absent"},
        {"lora_alpha": "absent"},
        {"target_modules": "absent"},
        {"r": 0},
        {"r": "4"},
        {"r": 4.0},
        {"lora_alpha": "8"},
        {"target_modules": []},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"layers_to_transform": [0]},
        {"layers_to_transform": 1},
        {"lora_bias": True},
        {"layer_replication": [[0, 2]]},
        {"exclude_modules": ["lm_head"]},
        {"trainable_token_indices": [1]},
        {"use_qalora": True},
        {"target_parameters": ["x"]},
        {"rank_pattern": [4]},
        {"alpha_pattern": {"lm_head": "8"}},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "loftq"},
    ],
    ids=str,
)
def test_settings_that_are_refused(base, folder, changes):
    edit(folder, **changes)
    refusal(base, folder, str(folder / "adapter_config.json"), next(iter(changes)), "expected")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100000], ids=lambda text: repr(text[:5]))
def test_configs_that_are_no_json_objects(base, folder, text):
    (folder / "adapter_config.json").write_text(text)
    refusal(base, folder, "adapter_config.json", "JSON object")


@pytest.mark.parametrize(
    "change, expected",
    [
        (
            lambda t: t.pop("base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"),
            "First missing: base_model.model.transformer.h.1",
        ),
        (lambda t: t.update(x=torch.zeros(1)), "first unexpected: x"),
        (
            lambda t: t.update({"base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight": torch.zeros(4, 24)}),
            "mlp.c_fc.lora_A",
        ),
        (
            lambda t: [t.update({key.removeprefix("base_model.model."): t.pop(key)}) for key in list(t)],
            "6 tensors missing, 6 unexpected",
        ),
        (lambda t: t.update({"base_model.model.lm_head.lora_A.weight": torch.zeros(4, 32)}), "lm_head has A (4, 32)"),
        (lambda t: t.update({"base_model.model.lm_head.lora_B.weight": torch.zeros(99, 4)}), "B (99, 4)"),
        (lambda t: t.update({"base_model.model.lm_head.lora_A.weight": torch.zeros(3, 24)}), "expected (4, 24)"),
    ],
    ids=["missing", "extra", "layer that is no target", "no prefix", "other width", "other vocabulary", "other rank"],
)
def test_tensors_that_do_not_fit(base, folder, change, expected):
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    refusal(base, folder, "adapter_model.safetensors", expected)


def test_other_refusals(base, folder, tmp_path):
    edit(folder, r=5)
    refusal(base, folder, "expected (5, 24)")
    edit(folder, r=4, target_modules="q_proj")
    refusal(base, folder, "unexpected")
    edit(folder, target_modules="*c_attn")
    refusal(base, folder, "target_modules", "regular expression")
    edit(folder, target_modules=["attn.c_attn", "lm_head"], rank_pattern={"(": 4})
    refusal(base, folder, "rank_pattern", "regular expressions")
    edit(folder, rank_pattern={})
    (folder / "adapter_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    refusal(base, folder, "git-LFS")
    (folder / "adapter_model.safetensors").unlink()
    refusal(base, folder, "adapter_model.safetensors: not found")
    refusal(base, tmp_path / "nowhere", "adapter_config.json: not found")


def test_what_older_versions_of_peft_wrote(model, base, folder):
    """`.default.` in the keys, a .bin file, the frozen head beside its adapter, and a config of the fields that
    matter."""
    logits = logits_of(model)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors = {key.replace(".weight", ".default.weight"): w for key, w in tensors.items()}
    tensors["base_model.model.lm_head.base_layer.weight"] = torch.full((67, 24), 9.0)
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({key: config[key] for key in ("peft_type", "r", "lora_alpha", "target_modules")})
    )
    again = from_pretrained(str(base))
    load_adapter(again, folder)
    close(logits_of(again), logits)
