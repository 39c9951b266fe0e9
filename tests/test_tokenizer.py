"""The tokenizer against transformers' GPT-2 tokenizer, and every way in which a vocabulary folder can be damaged."""

import json
import shutil
from pathlib import Path

import pytest

from minalign.errors import UserError
from minalign.nano.bpe import number_merges, train_bpe, write_vocab
from minalign.tokenizer import EOT, Tokenizer

GPT2 = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "gpt2_bpe"  # ../shared beside the repository

NASTY = [
    "",
    " ",
    "  ",
    "\n",
    "\t",
    "\n\n\n",
    " \n \t ",
    "a",
    "hello world",
    "  leading",
    "trailing  ",
    "trailing\n",
    "tab\tin\tit",
    "I'm, you're, it's, we'll, they've, I'd, can't, 'tis, O'REILLY'S",
    "don''t '' 'll",
    "Zürich Straße naïve café Ελληνικά Кириллица",
    "日本語の文章、中文字符。한국어",
    "שלום עולם مرحبا بالعالم",
    "\u202eRTL mark\u202c \u200f",
    "emoji 🙂🎉👩‍👩‍👧‍👦🇩🇪 and text",
    "e\u0301 a\u0308 combining \u0301\u0301\u0301",
    "zero\u200bwidth\ufeffbom",
    "NUL\x00byte \x01\x7f\x85",
    "1234567890123456789012345678901234567890",
    "0 7 42 100 101 520 007 3.14 -5 1,000 ١٢٣ ²³ Ⅷ",
    "a1b2c3 x86_64",
    "!!!???...---",
    '$%^&*()_+{}|:"<>?',
    "https://example.org/a?b=c&d=%20",
    "\u00a0nbsp \u2003em space\u3000wide",
    "line\r\nend\rhere",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
    "word" * 50,
    " " * 70 + "x",
    "\n" * 30 + "y",
    "a b  c   d    e",
    "def f(x):\n    return x  # note\n",
    "The following is a random integer drawn uniformly between 0 and 100: ",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small vocabulary of our own trainer, in a folder as Hugging Face writes it."""
    folder = tmp_path_factory.mktemp("small")
    texts = ["Tom lost his lantern at the market. Anna found it in the snow, 42 steps away.\n\n"] * 3
    write_vocab(folder, *train_bpe(texts + NASTY, 450, number_merges()))
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """GPT-2's own vocabulary under Hugging Face's file names."""
    if not GPT2.is_dir():
        pytest.skip(f"no {GPT2}")
    folder = tmp_path_factory.mktemp("gpt2")
    shutil.copyfile(GPT2 / "encoder.json", folder / "vocab.json")
    shutil.copyfile(GPT2 / "vocab.bpe", folder / "merges.txt")
    return folder


def equal_to_transformers(folder):
    transformers = pytest.importorskip("transformers")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert len(ours) == len(theirs) and ours.eot == theirs.eos_token_id
    every_word = [ours.decode([i]) for i in range(ours.n_vocab) if i != ours.eot]
    for text in NASTY + every_word[:5000]:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)


def test_equal_to_transformers_on_a_small_vocabulary(small):
    equal_to_transformers(small)


def test_equal_to_transformers_on_gpt2(gpt2):
    equal_to_transformers(gpt2)


def test_rng_prompt_under_gpt2(gpt2):
    tokenizer = Tokenizer.from_folder(gpt2)
    ids = [464, 1708, 318, 257, 4738, 18253, 7428, 42096, 1022, 657, 290, 1802, 25, 220]
    assert tokenizer.encode("The following is a random integer drawn uniformly between 0 and 100: ") == ids
    assert tokenizer.n_vocab == 50257 and tokenizer.eot == 50256
    assert all(len(tokenizer.encode(str(n))) == len(tokenizer.encode(f" {n}")) == 1 for n in range(101))


def test_round_trip(small):
    tokenizer = Tokenizer.from_folder(small)
    for text in NASTY:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(tokenizer.token_bytes(i) for i in ids) == text.encode("utf-8")


def test_end_of_text_in_user_text_is_plain_text(small):
    tokenizer = Tokenizer.from_folder(small)
    for text in (EOT, f"a{EOT}b", f" {EOT}\n{EOT}"):
        ids = tokenizer.encode(text)
        assert tokenizer.eot not in ids and tokenizer.decode(ids) == text
    assert tokenizer.decode([tokenizer.eot]) == EOT and tokenizer.token_bytes(tokenizer.eot) == EOT.encode()


def test_broken_unicode_does_not_raise(small):
    tokenizer = Tokenizer.from_folder(small)
    assert tokenizer.decode(tokenizer.encode("lone \ud800 surrogate")) == "lone \ufffd surrogate"
    assert tokenizer.decode(tokenizer.encode("ꙮ")[:1]) == "\ufffd"  # the first bytes of a character alone


def test_read_once_and_again_after_a_change(small, tmp_path):
    shutil.copytree(small, tmp_path / "m")
    first = Tokenizer.from_folder(tmp_path / "m")
    assert Tokenizer.from_folder(str(tmp_path / "m")) is first
    write_vocab(tmp_path / "m", *train_bpe(["a b"], 202, number_merges()))
    assert Tokenizer.from_folder(tmp_path / "m").n_vocab == 256 + 202 + 1


def test_save(small, tmp_path):
    tokenizer = Tokenizer.from_folder(small)
    tokenizer.save(tmp_path / "deep" / "copy")
    tokenizer.save(small)  # onto itself: nothing is lost
    assert Tokenizer.from_folder(tmp_path / "deep" / "copy").encode("Tom, 57") == tokenizer.encode("Tom, 57")
    assert (tmp_path / "deep" / "copy" / "vocab.json").read_bytes() == (small / "vocab.json").read_bytes()


def test_added_special_tokens_are_decoded_but_never_encoded(small, tmp_path):
    tokenizer = Tokenizer.from_folder(small)
    tokenizer.save(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(vocab | {"<pad>": len(vocab)}), encoding="utf-8")
    padded = Tokenizer.from_folder(tmp_path)
    assert padded.n_vocab == len(vocab) + 1 and padded.decode([len(vocab)]) == "<pad>"
    assert padded.encode("<pad>") == tokenizer.encode("<pad>")


def edit_vocab(change):
    def damage(folder):
        path = folder / "vocab.json"
        vocab = json.loads(path.read_text(encoding="utf-8"))
        change(vocab)
        path.write_text(json.dumps(vocab), encoding="utf-8")

    return damage


def edit_merges(change):
    def damage(folder):
        path = folder / "merges.txt"
        lines = path.read_text(encoding="utf-8").split("\n")
        change(lines)
        path.write_text("\n".join(lines), encoding="utf-8")

    return damage


def swap(vocab):
    vocab["00"], vocab["01"] = vocab["01"], vocab["00"]


DAMAGES = {
    "no vocab.json": (lambda folder: (folder / "vocab.json").unlink(), "vocab.json is missing"),
    "no merges.txt": (lambda folder: (folder / "merges.txt").unlink(), "merges.txt is missing"),
    "no folder": (shutil.rmtree, "no such folder"),
    "lfs pointer": (lambda folder: (folder / "vocab.json").write_text("version https://git-lfs"), "git-LFS"),
    "empty vocab": (lambda folder: (folder / "vocab.json").write_text(""), "expected a JSON object"),
    "vocab is a list": (lambda folder: (folder / "vocab.json").write_text("[1, 2]"), "expected a JSON object"),
    "ids are text": (edit_vocab(lambda vocab: vocab.update(a="64")), "whole numbers"),
    "ids are bool": (edit_vocab(lambda vocab: vocab.update(a=True)), "whole numbers"),
    "not utf-8": (lambda folder: (folder / "merges.txt").write_bytes(b"\xff\xfe t h"), "expected UTF-8"),
    "a gap in the ids": (edit_vocab(lambda vocab: vocab.update(a=99999)), "exactly once"),
    "an id twice": (edit_vocab(lambda vocab: vocab.update(a=vocab["b"])), "exactly once"),
    "no end of text": (edit_vocab(lambda vocab: vocab.update({"<end>": vocab.pop(EOT)})), "expected the token"),
    "a byte is missing": (edit_vocab(lambda vocab: vocab.update({"<a>": vocab.pop("a")})), "byte symbols"),
    "a merged token is missing": (edit_vocab(lambda vocab: vocab.update({"<57>": vocab.pop("57")})), "in vocab.json"),
    "two ids swapped": (edit_vocab(swap), "order of the merges"),
    "merges cut short": (edit_merges(lambda lines: lines.__delitem__(slice(-20, None))), "come from no line"),
    "a merge is missing": (edit_merges(lambda lines: lines.remove("5 7")), "neither a byte"),
    "a line with three symbols": (edit_merges(lambda lines: lines.insert(5, "a b c")), "merges.txt:6: expected two"),
    "a symbol out of the table": (edit_merges(lambda lines: lines.insert(5, "a \u4e2d")), "merges.txt:6: expected two"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_a_short_message(name, small, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(small, folder)
    damage, expected = DAMAGES[name]
    damage(folder)
    with pytest.raises(UserError) as error:
        Tokenizer.from_folder(folder)
    message = str(error.value)
    assert expected in message and str(folder) in message and 1 <= len(message.splitlines()) <= 3


def test_windows_line_ends_and_no_version_line_are_read(small, tmp_path):
    Tokenizer.from_folder(small).save(tmp_path)
    text = (tmp_path / "merges.txt").read_text(encoding="utf-8").split("\n", 1)[1]
    (tmp_path / "merges.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8"))
    assert Tokenizer.from_folder(tmp_path).encode("Tom 57") == Tokenizer.from_folder(small).encode("Tom 57")
