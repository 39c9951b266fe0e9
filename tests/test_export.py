"""Exported runs in transformers: the same logits, the same samples' distribution, the same rewards."""

import json
from types import SimpleNamespace

import pytest
import torch
from stages import inside, refuses, write_tiny

from minalign import export, stage
from minalign.lora import TARGETS
from minalign.rewards import RewardHead, from_run, save_head
from minalign.stage import StageConfig
from minalign.tasks import sentiment
from minalign.tasks.setting import setting
from minalign.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
PROMPTS = ["Tom lost his lantern at the market. Anna found it in the snow.", "42 steps away", "é 日本 🙂"]
RESPONSES = [" It is good.", " Anna has 7 hats, and bread.", ""]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("base"))


def write_run(folder, base, kind="policy", rank=2, targets=TARGETS[:4], pool="last", **config):
    """Write a run folder as a training script does; the training is random."""
    model, tokenizer, name = stage.load_policy(str(base))
    model.requires_grad_(False)
    if kind == "reward":
        model.heads["reward"] = RewardHead(model.config.n_embd)
    trained = stage.make_trainable(model, StageConfig(lora_rank=rank, lora_targets=targets), kind)
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.1 * torch.randn_like(parameter)
        if kind == "reward":
            model.heads["reward"].gain.fill_(1.7)
            model.heads["reward"].bias.fill_(-2.5)
    folder.mkdir()
    stage.save_policy(model, folder, name, tokenizer, kind)
    if kind == "reward":
        save_head(folder, model.heads["reward"], sentiment.stop_rule(tokenizer), pool)
    (folder / "run.json").write_text(json.dumps({"config": {"model": str(base), **config}}))
    return folder


# An adapter on the head unties it from the embedding.
@pytest.mark.parametrize("rank, targets", [(3, TARGETS[:4]), (2, ("attn.c_attn", "lm_head")), (0, ())],
                         ids=["adapter", "adapter of the head", "all weights"])  # fmt: skip
def test_a_policy_has_the_same_logits(tmp_path, base, rank, targets):
    run = write_run(tmp_path / "run", base, rank=rank, targets=targets)
    export.main([str(run)])
    ours, tokenizer, _ = stage.load_policy("nano", str(run))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "merged")
    words = transformers.AutoTokenizer.from_pretrained(run / "merged")
    start = stage.load_policy(str(base))[0]
    for text in PROMPTS:
        ids = words(text)["input_ids"]
        assert ids == tokenizer.encode(text)
        with torch.no_grad():
            expected = ours.lm_head(ours(torch.tensor([ids])))
            found = theirs.eval()(torch.tensor([ids])).logits
            assert (start.lm_head(start(torch.tensor([ids]))) - expected).abs().max() > 1e-2
        assert (found - expected).abs().max() <= 1e-5
    assert theirs.config.tie_word_embeddings == ("lm_head" not in targets)


@pytest.mark.parametrize("dtype, close", [("fp16", 0.02), ("bf16", 0.2)])
def test_weights_can_be_stored_in_half_precision(tmp_path, base, dtype, close):
    run = write_run(tmp_path / "run", base)
    export.main([str(run), "--dtype", dtype, "--out", str(tmp_path / "out")])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert theirs.dtype == export.DTYPES[dtype]
    ours, tokenizer, _ = stage.load_policy("nano", str(run))
    ids = torch.tensor([tokenizer.encode(PROMPTS[0])])
    with torch.no_grad():
        difference = (theirs.float().eval()(ids).logits - ours.lm_head(ours(ids))).abs().max()
    assert 1e-5 < difference < close


def test_transformers_samples_from_the_policy_itself(tmp_path, base):
    """generation_config.json: no top-k, the run's temperature and length; the distribution is the one that we score."""
    run = write_run(tmp_path / "run", base, task="sentiment", temperature=0.7)
    export.main([str(run)])
    ours, tokenizer, _ = stage.load_policy("nano", str(run))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "merged").eval()
    asked = torch.tensor([tokenizer.encode(PROMPTS[0])])
    with torch.no_grad():
        found = theirs.generate(asked, max_new_tokens=1, output_scores=True, return_dict_in_generate=True)
        logits = ours.lm_head(ours(asked))[0, -1]
    assert (found.scores[0][0].log_softmax(-1) - (logits / 0.7).log_softmax(-1)).abs().max() < 1e-4
    rule = setting("sentiment", tokenizer, 0, torch.device("cpu")).rule
    settings = theirs.generation_config
    assert (settings.max_new_tokens, settings.eos_token_id) == (rule.max_new_tokens, rule.stop)


def test_a_gflownet_of_several_targets(tmp_path, base):
    """Its settings are lists; when a response ends does not depend on what it should be."""
    run = write_run(tmp_path / "run", base, task="rng", target=["uniform", "no/such/pmf.txt"], max_response=5)
    export.main([str(run)])
    told = json.loads((run / "merged" / "generation_config.json").read_text())
    assert (told["max_new_tokens"], told["min_new_tokens"], told["temperature"]) == (5, 1, 1.0)


@pytest.mark.parametrize("rank", [3, 0])
def test_a_reward_model_gives_the_same_rewards(tmp_path, base, rank):
    """In a batch whose rows are padded, empty responses and ends of texts included."""
    run = write_run(tmp_path / "run", base, "reward", rank)
    export.main([str(run)])
    expected = torch.tensor(from_run(str(run))(PROMPTS, RESPONSES))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(run / "merged").eval()
    words = transformers.AutoTokenizer.from_pretrained(run / "merged")
    texts = [a + b + "<|endoftext|>" for a, b in zip(PROMPTS, RESPONSES)]
    batch = words(texts, padding=True, return_tensors="pt")
    assert (batch["input_ids"] == theirs.config.pad_token_id).any() and words.pad_token == export.PAD
    with torch.no_grad():
        found = theirs(**batch).logits[:, 0]
    assert (found - expected).abs().max() <= 1e-5 and expected.std() > 0.1
    assert theirs.config.id2label == {0: "reward"}
    ours = Tokenizer.from_folder(run / "merged")  # takes the vocabulary with a further special token, too
    assert len(ours) == theirs.config.vocab_size and ours.encode(PROMPTS[0]) == words(PROMPTS[0])["input_ids"]


def test_where_it_is_written(tmp_path, base):
    run = write_run(tmp_path / "run", base)
    before = inside(run)
    export.main([str(run), "--out", str(tmp_path / "out")])
    assert inside(run) == before
    assert inside(tmp_path / "out") >= {"config.json", "generation_config.json", "model.safetensors", "vocab.json"}
    cli = SimpleNamespace(main=export.main)
    assert "--overwrite" in refuses(cli, run, "--out", tmp_path / "out")
    (tmp_path / "out" / "old").touch()
    export.main([str(run), "--out", str(tmp_path / "out"), "--overwrite"])
    assert not (tmp_path / "out" / "old").exists()


@pytest.mark.parametrize("out", [".", "state", "../run"])
def test_a_run_is_never_overwritten(tmp_path, base, out):
    run = write_run(tmp_path / "run", base)
    (run / "state").mkdir()
    before = inside(run)
    assert "--out" in refuses(SimpleNamespace(main=export.main), run, "--out", run / out, "--overwrite")
    assert inside(run) == before and (run / "state").is_dir()


def test_a_run_inside_of_the_folder_is_not_deleted(tmp_path, base):
    run = write_run(tmp_path / "run", base)
    assert "--out" in refuses(SimpleNamespace(main=export.main), run, "--out", tmp_path, "--overwrite")
    assert run.is_dir()


def test_what_cannot_be_exported(tmp_path, base):
    cli = SimpleNamespace(main=export.main)
    assert "no such folder" in refuses(cli, tmp_path / "none")
    assert "expected the folder of a run" in refuses(cli)
    (tmp_path / "empty").mkdir()
    assert "adapter_config.json" in refuses(cli, tmp_path / "empty")
    run = write_run(tmp_path / "rm", base, "reward", pool="sum")
    assert "--pool sum" in refuses(cli, run)
    assert not (tmp_path / "empty" / "merged").exists() and not (run / "merged").exists()
