"""Model files: every published layout loads, what is written loads in transformers, and every damaged folder is
refused in words."""

import json
import os
import pickle
import socket
import time
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from minalign.errors import UserError
from minalign.hub import CONV1D, find_model, from_pretrained, read_config, read_tensors, save_pretrained
from minalign.lora import add_adapter

TOKENS = torch.arange(30).view(2, 15)
MINIMAL = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")


def logits_of(model):
    with torch.no_grad():
        return model.lm_head(model(TOKENS))


def published(model, prefix="transformer.", dtype=torch.float32):
    """Return the tensors of a model as GPT-2's authors' files name and orient them, without a head."""
    state = {
        key.removeprefix("transformer."): w.t() if key.endswith(CONV1D) else w for key, w in model.state_dict().items()
    }
    state.pop("lm_head.weight")
    return {prefix + key: w.detach().to(dtype).contiguous().clone() for key, w in state.items()}


def causal_buffers(model, prefix, dtype):
    P = model.config.n_positions
    mask = torch.ones(1, 1, P, P).tril().to(dtype)
    return {
        f"{prefix}h.{i}.attn.{name}": value.clone()
        for i in range(model.config.n_layer)
        for name, value in (("bias", mask), ("masked_bias", torch.tensor(-1e4)))
    }


def write(folder, tensors, config, name="model.safetensors"):
    (folder / "config.json").write_text(json.dumps(config))
    (torch.save if name.endswith(".bin") else save_file)(tensors, folder / name)
    return str(folder)


def config_of(model, **changes):
    return {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]} | asdict(model.config) | changes


# ---- every published layout


@pytest.mark.parametrize("prefix", ["", "transformer."], ids=["bare keys", "transformer. keys"])
@pytest.mark.parametrize("buffers", [None, torch.float32, torch.uint8, torch.bool], ids=str)
def test_key_layouts(model, tmp_path, prefix, buffers):
    tensors = published(model, prefix) | (causal_buffers(model, prefix, buffers) if buffers else {})
    loaded = from_pretrained(write(tmp_path, tensors, config_of(model)))
    assert torch.equal(logits_of(loaded), logits_of(model)) and loaded.config == model.config
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert all(p.requires_grad and p.is_contiguous() for p in loaded.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_converted(make_model, tmp_path, dtype):
    model = make_model()
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()  # numbers that the file can hold
    folder = write(tmp_path, published(model, dtype=dtype), config_of(model))
    assert torch.equal(logits_of(from_pretrained(folder)), logits_of(model))
    assert {p.dtype for p in from_pretrained(folder, torch.bfloat16).parameters()} == {torch.bfloat16}


def test_a_head_that_equals_the_embedding_is_tied(model, tmp_path):
    tensors = published(model, "")
    loaded = from_pretrained(
        write(tmp_path, tensors | {"lm_head.weight": tensors["wte.weight"].clone()}, config_of(model))
    )
    assert torch.equal(logits_of(loaded), logits_of(model)) and loaded.lm_head.weight is loaded.transformer.wte.weight


def test_an_untied_head(make_model, tmp_path):
    model = make_model(tie_word_embeddings=False)
    tensors = published(model) | {"lm_head.weight": model.lm_head.weight.detach().clone()}
    loaded = from_pretrained(write(tmp_path, tensors, config_of(model)))
    assert (
        torch.equal(logits_of(loaded), logits_of(model)) and loaded.lm_head.weight is not loaded.transformer.wte.weight
    )


def test_bin_files(model, tmp_path):
    assert torch.equal(
        logits_of(from_pretrained(write(tmp_path, published(model), config_of(model), "pytorch_model.bin"))),
        logits_of(model),
    )


def test_safetensors_wins_over_bin(model, make_model, tmp_path):
    write(tmp_path, published(make_model(seed=2)), config_of(model), "pytorch_model.bin")
    assert torch.equal(
        logits_of(from_pretrained(write(tmp_path, published(model), config_of(model)))), logits_of(model)
    )


def in_parts(folder, tensors, config, ending=".safetensors"):
    """Write weights as transformers divides large ones: two files, and an index that says what is where."""
    names = [f"model-0000{i}-of-00002{ending}" for i in (1, 2)]
    places = {key: names[i % 2] for i, key in enumerate(tensors)}
    for name in names:
        write(folder, {key: tensors[key] for key in tensors if places[key] == name}, config, name)
    index = folder / ("model.safetensors.index.json" if ending == ".safetensors" else "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return str(folder)


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_weights_in_several_files(model, tmp_path, ending):
    loaded = from_pretrained(in_parts(tmp_path, published(model), config_of(model), ending))
    assert torch.equal(logits_of(loaded), logits_of(model))
    (tmp_path / f"model-00002-of-00002{ending}").unlink()
    refusal(lambda: from_pretrained(str(tmp_path)), f"model-00002-of-00002{ending}: not found")


def test_what_transformers_divides(model, twin_of, tmp_path):
    twin_of(model).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path / "model.safetensors").exists()
    assert torch.equal(logits_of(from_pretrained(str(tmp_path))), logits_of(model))


@pytest.mark.parametrize("name", ["../{}", "{}/../../x/model.safetensors", "/etc/passwd", "a/b.safetensors", "..",
                                  "", ".safetensors", "C:\\x.safetensors", "x.pkl", None, 5, ["x.bin"]])  # fmt: skip
def test_an_index_cannot_leave_its_folder(model, tmp_path, name):
    """The weights lie where the index points, and would load."""
    (tmp_path / "x").mkdir()
    write(tmp_path, published(model), config_of(model), "model.safetensors")
    write_config(tmp_path / "x", config_of(model))
    name = name.format("model.safetensors") if isinstance(name, str) else name
    index = tmp_path / "x" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(published(model), name)}))
    refusal(lambda: from_pretrained(str(tmp_path / "x")), str(index), "files of this folder", repr(str(name)))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
def test_an_index_of_nothing(model, tmp_path, text):
    write_config(tmp_path, config_of(model))
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refusal(lambda: from_pretrained(str(tmp_path)), "model.safetensors.index.json: expected", "weight_map")


@pytest.mark.parametrize("model_type", ["gpt2", None], ids=["minimal", "legacy, without model_type"])
def test_old_and_minimal_configs(model, tmp_path, model_type):
    config = {key: getattr(model.config, key) for key in MINIMAL} | (
        {"model_type": model_type} if model_type else {"n_ctx": 32}
    )
    loaded = from_pretrained(write(tmp_path, published(model), config))
    assert torch.equal(logits_of(loaded), logits_of(model)) and loaded.config.layer_norm_epsilon == 1e-5


def test_published_fields_without_effect_are_accepted(model, tmp_path):
    extra = {
        "n_ctx": 32,
        "attn_pdrop": 0.1,
        "torch_dtype": "float32",
        "summary_type": "cls_index",
        "reorder_and_upcast_attn": True,
        "add_cross_attention": False,
        "task_specific_params": {"text-generation": {"max_length": 50}},
        "n_inner": None,
    }
    assert read_config(write_config(tmp_path, config_of(model, **extra))) == model.config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_inner": 50, "activation_function": "relu", "layer_norm_epsilon": 1e-3},
        {"tie_word_embeddings": False},
        {
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "vocab_size": 61,
            "bos_token_id": 3,
            "eos_token_id": 3,
        },
    ],
    ids=str,
)
def test_both_ways_with_transformers(make_model, twin_of, tmp_path, settings):
    transformers = pytest.importorskip("transformers")
    model = make_model(**settings)
    twin_of(model).save_pretrained(tmp_path / "theirs")
    assert torch.equal(logits_of(from_pretrained(str(tmp_path / "theirs"))), logits_of(model))

    save_pretrained(model, tmp_path / "ours")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        assert torch.equal(theirs.eval()(TOKENS).logits, twin_of(model)(TOKENS).logits)
    assert torch.equal(logits_of(from_pretrained(str(tmp_path / "ours"))), logits_of(model))
    assert from_pretrained(str(tmp_path / "ours")).config == model.config


def test_what_is_written(model, tmp_path):
    names = set(published(model))
    model.add_head("value", std=0.1)
    before = {key: w.clone() for key, w in model.state_dict().items()}
    save_pretrained(model, tmp_path / "new" / "folder", torch.float16)
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert all((folder / name).stat().st_mode & 0o044 == 0o044 for name in ("config.json", "model.safetensors"))
    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == names  # no stale head, no scalar head
    assert {w.dtype for w in tensors.values()} == {torch.float16} and json.loads((folder / "config.json").read_text())[
        "dtype"
    ] == "float16"
    assert all(torch.equal(w, before[key]) for key, w in model.state_dict().items())


def test_adapters_must_be_merged_before_saving(model, tmp_path):
    add_adapter(model)
    with pytest.raises(ValueError, match="merge"):
        save_pretrained(model, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- refusals: one to three lines that name the file and the fix


def write_config(folder, config):
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def refusal(call, *expected):
    """Return the message of the UserError of `call`, checked for its form and for the words it must hold."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 3 and "Traceback" not in message
    for words in expected:
        assert words in message, message
    return message


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"model_type": "gpt_neo"}, "model_type is 'gpt_neo'"),
        ({"model_type": None}, "model_type is None"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"activation_function": "swish_glu"}, "activation_function is 'swish_glu'; expected one of gelu_new"),
        ({"n_head": 5}, "n_head is 5; expected a divisor of n_embd = 24"),
        ({"n_layer": "2"}, "n_layer is '2'"),
        ({"n_embd": 24.0}, "n_embd is 24.0"),
        ({"n_layer": True}, "n_layer is True"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"n_layer": 0}, "n_layer is 0"),
        ({"n_positions": -1}, "n_positions is -1"),
        ({"n_inner": 0}, "n_inner is 0"),
        ({"scale_attn_weights": 1}, "scale_attn_weights is 1"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings"),
        ({"activation_function": ["relu"]}, "activation_function"),
        ({"eos_token_id": [1, 2]}, "eos_token_id"),
    ],
    ids=str,
)
def test_configs_that_are_refused(model, tmp_path, changes, expected):
    write_config(tmp_path, config_of(model, **changes))
    refusal(lambda: from_pretrained(str(tmp_path)), "config.json", expected, "expected")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"gpt2"', "version https://git-lfs.github.com/spec/v1\n", "\x00\x01", "[" * 100000],
    ids=lambda text: repr(text[:12]),
)
def test_configs_that_are_no_json_objects(tmp_path, text):
    write_config(tmp_path, text)
    refusal(lambda: from_pretrained(str(tmp_path)), "config.json", "JSON object", "Fetch")


def test_config_without_gpt2s_fields_is_not_taken_for_gpt2(tmp_path):
    write_config(tmp_path, {"hidden_size": 64})
    refusal(lambda: from_pretrained(str(tmp_path)), "model_type")


def test_missing_files(model, tmp_path):
    refusal(lambda: from_pretrained(str(tmp_path)), "config.json", "not found", "model.safetensors")
    write_config(tmp_path, config_of(model))
    refusal(lambda: from_pretrained(str(tmp_path)), str(tmp_path), "model.safetensors or pytorch_model.bin")
    refusal(lambda: read_tensors(tmp_path / "model.safetensors"), "not found")


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/no-such-folder-here", "runs/sft/adapter"])
def test_missing_folders_are_not_taken_for_hub_ids(name, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("asked the network"))
    refusal(lambda: from_pretrained(name), name, "no such folder", "nano")


def broken(tensors, how):
    if how == "missing":
        del tensors["transformer.h.1.ln_2.bias"]
    elif how == "extra":
        tensors["v_head.summary.weight"] = torch.zeros(1, 24)
    elif how == "more layers":
        tensors["transformer.h.2.ln_1.weight"] = torch.zeros(24)
    elif how == "wrong shape":
        tensors["transformer.wpe.weight"] = torch.zeros(31, 24)
    elif how == "square matrix of another size":
        tensors["transformer.h.0.attn.c_proj.weight"] = torch.zeros(25, 25)
    elif how == "matrix without columns":
        tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(24)
    elif how == "no embedding":
        del tensors["transformer.wte.weight"]
    elif how == "stale head":
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1e-3
    elif how == "head of another size":
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"][:60].clone()
    return tensors


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "how, expected",
    [
        ("missing", "Missing: transformer.h.1.ln_2.bias."),
        ("extra", "v_head.summary.weight"),
        ("more layers", "transformer.h.2.ln_1.weight"),
        ("wrong shape", "transformer.wpe.weight has shape (31, 24), config.json asks for (32, 24)"),
        ("square matrix of another size", "(25, 25)"),
        ("matrix without columns", "(24,)"),
        ("no embedding", "Missing: transformer.wte.weight"),
        ("stale head", "lm_head.weight differs from wte.weight"),
        ("head of another size", "lm_head.weight differs"),
    ],
)
def test_weights_that_do_not_fit(model, tmp_path, name, how, expected):
    folder = write(tmp_path, broken(published(model), how), config_of(model), name)
    refusal(lambda: from_pretrained(folder), name, expected, "config.json")


def test_an_untied_config_needs_its_head(make_model, tmp_path):
    model = make_model(tie_word_embeddings=False)
    refusal(lambda: from_pretrained(write(tmp_path, published(model), config_of(model))), "Missing: lm_head.weight")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548118077\n"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "damage, expected",
    [
        (lambda data: LFS, "git-LFS pointer"),
        (lambda data: b"<!DOCTYPE html><html></html>", "web page"),
        (lambda data: b"\n <html lang=en>", "web page"),
        (lambda data: b"", "damaged or cut short"),
        (lambda data: data[: len(data) // 2], "damaged or cut short"),
        (lambda data: data[:-1], "damaged or cut short"),
        (lambda data: data[:8], "damaged or cut short"),
        (lambda data: b"\xff" * 500, ""),
        (lambda data: b"x" * 100, ""),
    ],
    ids=["LFS", "HTML", "html", "empty", "half", "one byte short", "eight bytes", "ff", "text"],
)
def test_files_that_are_no_weights(model, tmp_path, name, damage, expected):
    path = tmp_path / name
    write(tmp_path, published(model), config_of(model), name)
    path.write_bytes(damage(path.read_bytes()))
    message = refusal(lambda: from_pretrained(str(tmp_path)), str(path), expected)
    assert len(message.splitlines()) == 2  # the fix is in the second


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "write_file", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))], ids=["torch.save", "pickle"]
)
def test_a_malicious_pickle_is_refused_and_not_executed(model, tmp_path, write_file):
    write_config(tmp_path, config_of(model))
    write_file(published(model) | {"payload": Payload(tmp_path / "executed")}, tmp_path / "pytorch_model.bin")
    refusal(lambda: from_pretrained(str(tmp_path)), "pytorch_model.bin", "refused", "safetensors")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: list(state.values()),
        lambda state: state["transformer.wte.weight"],
    ],
    ids=["checkpoint", "list", "tensor"],
)
def test_bin_files_with_something_else_in_them(model, tmp_path, wrap):
    write_config(tmp_path, config_of(model))
    torch.save(wrap(published(model)), tmp_path / "pytorch_model.bin")
    refusal(lambda: from_pretrained(str(tmp_path)), "pytorch_model.bin", "state dict")


# ---- the hub, without a network


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No route to any host and an empty cache."""
    constants = pytest.importorskip("huggingface_hub").constants
    for name in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    return tmp_path / "cache"


def test_without_a_network_a_hub_id_is_refused_at_once(offline):
    start = time.monotonic()
    refusal(lambda: from_pretrained("gpt2"), "--model gpt2", "hub cannot be reached", "--model nano")
    assert time.monotonic() - start < 3


def test_a_network_that_never_answers(offline, monkeypatch):
    def silence(address, timeout):
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silence)
    start = time.monotonic()
    refusal(lambda: from_pretrained("someone/model"), "--model someone/model", "cannot be reached")
    assert time.monotonic() - start < 3


def test_ids_that_cannot_be_any(offline):
    refusal(lambda: from_pretrained("what is this?"), "--model what is this?", "nano")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", None], ids=str)
def test_without_a_network_the_cache_is_used(offline, model, tokenizer, name):
    repo = offline / "models--someone--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots" / ("0" * 40)).mkdir(parents=True)
    tokenizer.save(repo / "snapshots" / ("0" * 40))
    put, more = (write, [name]) if name else (in_parts, [])
    put(repo / "snapshots" / ("0" * 40), published(model), config_of(model), *more)
    assert find_model("someone/model") == repo / "snapshots" / ("0" * 40)
    assert torch.equal(logits_of(from_pretrained("someone/model")), logits_of(model))
