"""Whole ways through peft, minalign and transformers, on small random models: the same logits at every station.

peft writes an adapter; it is loaded, merged, exported, saved again, and trained on; each time peft or transformers is
asked what comes out. test_lora.py has the single steps, test_export.py the exports of runs.
"""

import copy
import json

import pytest
import torch
from stages import write_tiny
from test_lora import adapted, in_peft, logits_of

from minalign import export, stage
from minalign.adapters import load_adapter, save_adapter
from minalign.errors import UserError
from minalign.hub import from_pretrained, save_pretrained
from minalign.lora import disabled, merge

transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")
BLOCKS = ["c_attn", "c_proj", "c_fc"]
ADAPTERS = {  # as settings of peft.LoraConfig
    "one kind of layer": dict(target_modules=["c_attn"]),
    "one kind, of attention only": dict(target_modules=["attn.c_proj"], lora_alpha=6, lora_dropout=0.1),
    "one layer": dict(target_modules=["h.1.mlp.c_fc"], r=3),
    "one layer each of two kinds": dict(target_modules=["0.attn.c_attn", "1.mlp.c_proj"]),
    "all layers of the blocks": dict(target_modules="all-linear"),
    "all layers and the head": dict(target_modules=[*BLOCKS, "lm_head"]),
    "the head alone": dict(target_modules=["lm_head"], r=5),
    "rslora": dict(target_modules=BLOCKS, use_rslora=True),
    "rslora of the head": dict(target_modules=["c_attn", "lm_head"], use_rslora=True, lora_alpha=3),
    "ranks by layer": dict(target_modules=["c_attn", "c_fc"], rank_pattern={"c_fc": 2, "h.1.attn.c_attn": 6}),
    "alphas by layer": dict(target_modules=BLOCKS, alpha_pattern={"c_proj": 20, r"h\.0\..*": 5, r"mlp\.c_proj": 3}),
    "rslora, ranks and alphas by layer": dict(target_modules=["c_attn", "c_fc"], use_rslora=True,
                                              rank_pattern={r".*\.c_fc": 2}, alpha_pattern={"c_fc": 1}),
    "a regular expression": dict(target_modules=r".*\.h\.1\.(attn|mlp)\.c_.*"),
    "a regular expression with the head": dict(target_modules=r".*\.(c_attn)|lm_head"),
    "another start": dict(target_modules=["c_attn"], init_lora_weights="gaussian"),
    "rank 1": dict(target_modules=BLOCKS, r=1, lora_alpha=1),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("base") / "tiny")


def written_by_peft(base, folder, **settings):
    """Write an adapter with peft, its B random; return peft's model."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    settings = dict(task_type="CAUSAL_LM", r=4, lora_alpha=8, fan_in_fan_out=True) | settings
    model = peft.get_peft_model(theirs, peft.LoraConfig(**settings))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return model.eval()


def of(model):
    with torch.no_grad():
        return model(torch.arange(30).view(2, 15)).logits


def of_folder(folder):
    return of(transformers.AutoModelForCausalLM.from_pretrained(folder).eval())


def close(found, expected):
    assert (found - expected).abs().max() <= 1e-5, (found - expected).abs().max()


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_whole_way(base, tmp_path, name):
    theirs = written_by_peft(base, tmp_path / "theirs", **ADAPTERS[name])
    expected, plain = of(theirs), of_folder(base)
    assert (expected - plain).abs().max() > 1e-2
    model = from_pretrained(str(base))
    load_adapter(model, tmp_path / "theirs")
    close(logits_of(model), expected)
    with disabled(model):
        close(logits_of(model), plain)
    assert all(p.requires_grad == (".lora_" in key) for key, p in model.named_parameters())

    merged, head = merge(model), "lm_head" in theirs.targeted_module_names
    close(logits_of(merged), expected)
    if not head:  # of a tied head peft's merging changes the embedding, too, and so the model
        close(logits_of(merged), of(copy.deepcopy(theirs).merge_and_unload()))
    export.main([str(tmp_path / "theirs"), "--out", str(tmp_path / "exported")])
    close(of_folder(tmp_path / "exported"), expected)
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["tie_word_embeddings"] == (not head)

    further = adapted(merged, seed=3, rank=2, targets=("mlp.c_fc", "lm_head"))  # the next stage of a chain
    for folder, policy in (("again", model), ("next", further)):
        (tmp_path / folder).mkdir()
        save_adapter(policy, tmp_path / folder, str(base))
        close(in_peft(base, tmp_path / folder), logits_of(policy))
        reloaded = from_pretrained(str(base))
        load_adapter(reloaded, tmp_path / folder, "reward")  # under another name
        close(logits_of(reloaded), logits_of(policy))
    assert (logits_of(further) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("settings, key", [
    (dict(use_dora=True), "use_dora"), (dict(bias="all"), "bias"), (dict(bias="lora_only"), "bias"),
    (dict(modules_to_save=["lm_head"]), "modules_to_save"), (dict(layers_to_transform=[0]), "layers_to_transform"),
    (dict(exclude_modules=["h.0.attn.c_attn"]), "exclude_modules"), (dict(lora_bias=True), "lora_bias"),
    (dict(init_lora_weights="pissa"), "init_lora_weights"),
    (dict(trainable_token_indices=[3]), "trainable_token_indices"),
], ids=lambda x: str(x) if isinstance(x, dict) else "")  # fmt: skip
def test_what_peft_writes_and_is_refused(base, tmp_path, settings, key):
    written_by_peft(base, tmp_path / "theirs", target_modules=["c_attn"], **settings)
    with pytest.raises(UserError, match=rf"adapter_config.json: {key} is .*expected"):
        load_adapter(from_pretrained(str(base)), tmp_path / "theirs")


def test_other_methods_and_tasks_are_refused(base, tmp_path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(base)
    ia3 = peft.IA3Config(task_type="CAUSAL_LM", target_modules=["c_attn"], feedforward_modules=[])
    peft.get_peft_model(theirs, ia3).save_pretrained(tmp_path / "ia3")
    with pytest.raises(UserError, match="peft_type is 'IA3'; expected 'LORA'"):
        load_adapter(from_pretrained(str(base)), tmp_path / "ia3")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    peft.get_peft_model(theirs, peft.LoraConfig(task_type="SEQ_CLS")).save_pretrained(tmp_path / "classes")
    with pytest.raises(UserError, match="modules_to_save is "):
        load_adapter(from_pretrained(str(base)), tmp_path / "classes")


def test_full_fine_tuning_needs_no_export(base, tmp_path):
    """What --lora_rank 0 writes is transformers' own format, and what transformers writes is --init's and --model's."""
    model, tokenizer, name = stage.load_policy(str(base))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    stage.save_policy(model, tmp_path / "run", name, tokenizer)
    close(of_folder(tmp_path / "run"), logits_of(model))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    theirs.save_pretrained(tmp_path / "back")
    tokenizer.save(tmp_path / "back")
    close(logits_of(stage.load_policy("nano", str(tmp_path / "back"))[0]), logits_of(model))
    save_pretrained(from_pretrained(str(tmp_path / "back")), tmp_path / "third")
    first, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "third"))
    assert first == third
