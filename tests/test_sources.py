"""Published data sets: readers against files of their form, and downloads from a server of this test's own."""

import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from minalign import sources
from minalign.data import read_prompts
from minalign.errors import UserError
from minalign.records import Record
from minalign.sources import fetch, hh, imdb, openai_labels, puns, read
from minalign.tokenizer import Tokenizer

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
ROOT = Path(__file__).resolve().parent.parent
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data files are not here")


# ---------------------------------------------------------------- readers


class GPT2Vocabulary:
    """As much of GPT-2's tokenizer as the reader looks at."""

    eot = 50256
    known = {
        "Hello world": [15496, 995],
        "Article:\n\n": [14906, 25, 628],
        "\n\nTL;DR:": [198, 198, 14990, 26, 7707, 25],
    }

    def encode(self, text):
        return self.known[text]

    def decode(self, ids):
        return f"text of {list(ids)}"

    def __len__(self):
        return 50257


def labels(path, **changes):
    """Write two rows as OpenAI's: the queries filled up with 50259, four samples of token ids."""
    row = {f"sample{i}": [10 + i, 13] for i in range(4)} | {"query": [464, 1049, 50259, 50259], "best": 2}
    path.write_text(json.dumps([row, row | changes]))
    return path


def test_openai_labels(tmp_path):
    path = labels(tmp_path / "labels.json", best=0, sample1=[7, 50256, 50259])
    samples = ((10, 13), (11, 13), (12, 13), (13, 13))
    first, second = openai_labels(path, GPT2Vocabulary())
    assert first == Record((464, 1049), samples, 2, where=f"{path}, row 1")
    assert second.best == 0 and second.responses[1] == (7, 50256)  # the end of text is a token like others
    assert first.kind == second.kind == "best"


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"query": [464, 50258]}, "query: .* the id 50258"),  # another file's padding
        ({"query": [464, 50257, 50259]}, "query: .* the id 50257"),
        ({"query": [50259, 464]}, "query: .* the id 50259"),  # padding on the wrong side
        ({"query": [50259, 50259]}, "query: .* nothing"),
        ({"sample3": [5, -1]}, "sample3: .* the id -1"),
        ({"sample0": "text"}, "sample0: .* list of token ids"),
        ({"sample0": [1.0]}, "sample0: .* list of token ids"),
        ({"best": 4}, "best 4"),
        ({"best": True}, "best True"),
        ({"best": None}, "best None"),
        ({"best": [0, 2, 3]}, r"best \[0, 2, 3\]"),  # a tie
    ],
)
def test_bad_labels_are_refused_by_row(changes, says, tmp_path):
    with pytest.raises(UserError, match=rf"(?s)labels.json, row 2: .*{says}"):
        openai_labels(labels(tmp_path / "labels.json", **changes), GPT2Vocabulary())


def test_labels_need_their_own_vocabulary(tmp_path, tokenizer):
    with pytest.raises(UserError, match="token ids of GPT-2's vocabulary.*\n.*--model gpt2"):
        openai_labels(labels(tmp_path / "labels.json"), tokenizer)


@needs_shared
def test_gpt2_s_own_vocabulary_is_known(tmp_path):
    for source, name in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (tmp_path / name).write_bytes((SHARED / "gpt2_bpe" / source).read_bytes())
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert len(openai_labels(labels(tmp_path / "labels.json"), tokenizer)) == 2
    assert {text: tokenizer.encode(text) for text in GPT2Vocabulary.known} == GPT2Vocabulary.known


DIALOGUE = "\n\nHuman: Hi\n\nAssistant:"


def hh_file(path, *pairs):
    rows = [{"chosen": DIALOGUE + a, "rejected": DIALOGUE + b} for a, b in pairs]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def test_hh(tmp_path):
    path, skipped = hh_file(tmp_path / "x.jsonl.gz", (" a", " b"), (" c", " c"), (" ", " d"), (" e", " f")), Counter()
    assert hh(path, skipped) == [
        Record(DIALOGUE, (" a", " b"), 0, where=f"{path}:1"), Record(DIALOGUE, (" e", " f"), 0, where=f"{path}:4")
    ]  # fmt: skip
    assert skipped == {str(path): 2} and len(hh(path)) == 2


@needs_shared
def test_hh_as_published():
    path, skipped = SHARED / "prefs" / "hh_harmless_base_test.jsonl.gz", Counter()
    records = hh(path, skipped)
    assert skipped == {str(path): 4} and len(records) == 2308
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for record in records:
        row = rows[int(record.where.rsplit(":", 1)[1]) - 1]
        assert [record.prompt + r for r in record.responses] == [row["chosen"], row["rejected"]]
        assert record.prompt.endswith("\n\nAssistant:") and record.best == 0
    # In all but 5 records nothing is said after the answers.
    assert sum(any("\n\nHuman:" in response for response in record.responses) for record in records) <= 5


PUNS = [
    {"Direct Prompt": "make a pun about bees", "Conversation Prompt": None, "Example Response": "bee good"},
    {"Direct Prompt": "make a pun about tea", "Conversation Prompt": "More?", "Example Response": "tea-riffic"},
]


def test_puns(tmp_path):
    (tmp_path / "puns.json").write_text(json.dumps(PUNS))
    one, two = puns(tmp_path / "puns.json")
    assert one.prompt + one.responses[0] == "Human: make a pun about bees\n\nAssistant: bee good"
    assert two.prompt == "Human: make a pun about tea\n\nAssistant: Sure thing!\nA: More?\nB:"
    assert two.responses == (" tea-riffic",) and two.where.endswith("puns.json, row 2")
    (tmp_path / "puns.json").write_text(json.dumps([PUNS[0], {"Direct Prompt": "x"}]))
    with pytest.raises(UserError, match="row 2: expected Direct Prompt"):
        puns(tmp_path / "puns.json")


@needs_shared
def test_puns_as_published(tokenizer):
    path = SHARED / "puns" / "RLHF_Pun_Dataset.json"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sources.PUNS_SHA256
    train, held = read(f"puns:{path}", ("completion",), tokenizer, Counter())
    assert len(train) + len(held) == 114 and 5 <= len(held) <= 20
    assert sum("\nB:" in record.prompt for record in train + held) == 83  # 31 have no conversation
    asked = [{record.prompt.split("\n")[0] for record in side} for side in (train, held)]
    assert not asked[0] & asked[1] and len(asked[0] | asked[1]) == 103


def archive(path, reviews):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in reviews.items():
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def test_imdb(tmp_path):
    path = archive(tmp_path / "aclImdb_v1.tar.gz", {
        "README": "not a review. Not one. Not at all.",
        "train/pos/0_9.txt": "Mr. Bean is great. I laughed.<br /><br />A lot!",
        "train/neg/1_1.txt": 'She said "what a film!" Then she left.',
        "train/neg/2_1.txt": "One long sentence only",
        "train/unsup/3_0.txt": "Nobody has rated this. It is left out.",
        "test/pos/4_8.txt": "Caf\u00e9 society is fine? Yes it is.",
        "../../train/pos/evil.txt": "This name leads out. Nothing is written to the disk.",
    })  # fmt: skip
    before, skipped = set(tmp_path.rglob("*")), Counter()
    train, test = imdb(path, skipped)
    assert [(r.prompt, r.responses) for r in train[:2]] == [
        ("Mr. Bean is great.", (" I laughed.\n\nA lot!",)), ('She said "what a film!"', (" Then she left.",))
    ]  # fmt: skip
    assert train[0].where == f"{path}, train/pos/0_9.txt" and len(train) == 3
    assert [r.prompt for r in test] == ["Caf\u00e9 society is fine?"] and skipped == {str(path): 1}
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"PK", gzip.compress(b"no archive"), "cut", "none"])
def test_a_damaged_archive_is_refused(content, tmp_path):
    path = archive(tmp_path / "x.tar.gz", {"train/pos/0_9.txt": "a b c. " * 9999} if content == "cut" else {"a": "b"})
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif content != "none":
        path.write_bytes(content)
    with pytest.raises(UserError, match="x.tar.gz: expected"):
        imdb(path)


@pytest.mark.parametrize("content, says", [
    (b"[1]", "list of objects"), (b"{}", "list of objects"), (b"[]", "list of objects"), (b"[{", "damaged"),
    (b"\xff", "damaged"), (gzip.compress(b"[{}]")[:-9], "damaged"), (b"[" * 100_000, "damaged"), (None, "No such file"),
])  # fmt: skip
def test_a_damaged_list_is_refused(content, says, tmp_path):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=f"x.json: .*{says}"):
        puns(tmp_path / "x.json")


# ---------------------------------------------------------------- names


def test_names_fetch_their_files(tmp_path, tokenizer, monkeypatch):
    asked = []

    def fake(url, sha256=None):
        asked.append(url)
        return hh_file(tmp_path / f"{len(asked)}.gz", *[(f" a{i}", f" b{i}") for i in range(len(asked))])

    monkeypatch.setattr(sources, "fetch", fake)
    train, held = read("hh", ("pair",), tokenizer, Counter())
    assert (len(train), len(held)) == (1 + 2, 3 + 4)
    base = "https://huggingface.co/datasets/Anthropic/hh-rlhf/resolve/main/"
    files = ("harmless-base/train", "helpful-base/train", "harmless-base/test", "helpful-base/test")
    assert asked == [f"{base}{file}.jsonl.gz" for file in files]
    read("hh:helpful", ("pair",), tokenizer, Counter())
    assert asked[4:] == [base + f"helpful-base/{side}.jsonl.gz" for side in ("train", "test")]
    # A stage that imitates gets the chosen responses, one that samples the prompts.
    assert read("hh:helpful", ("completion",), tokenizer, Counter())[0][0].responses == (" a0",)
    assert read("hh:helpful", ("prompt",), tokenizer, Counter())[0][0] == Record(DIALOGUE, where=f"{tmp_path}/9.gz:1")


def test_openai_s_split(tmp_path, monkeypatch):
    row = {"query": [1], "sample0": [2], "sample1": [3], "sample2": [4], "best": 0}
    (tmp_path / "offline_5k.json").write_text(json.dumps([row] * 4995))
    monkeypatch.setattr(sources, "fetch", lambda url: tmp_path / url.rsplit("/", 1)[1])
    train, held = read("openai:sentiment", ("best",), GPT2Vocabulary(), Counter())
    assert (len(train), len(held)) == (4992, 3) and held[0].where.endswith("row 4993")


@pytest.mark.parametrize("part, before, n", [("tldr", (), 9), ("cnndm", (14906, 25, 628), 46_003)])
def test_openai_s_summaries(part, before, n, tmp_path, monkeypatch):
    """Of the later, larger files; their queries get the texts that OpenAI's policies read around them."""
    samples = {"sample0": [2], "sample1": [3, 50259], "sample2": [4], "best": 1}
    rows = [{"query": [100 + i // 2, 50259], **samples} for i in range(n)]
    (tmp_path / "labels.json").write_bytes(gzip.compress(json.dumps(rows).encode(), 1))
    asked = []
    monkeypatch.setattr(sources, "fetch", lambda url: asked.append(url) or tmp_path / "labels.json")
    train, held = read(f"openai:{part}", ("best",), GPT2Vocabulary(), Counter())
    base = "https://openaipublic.blob.core.windows.net/lm-human-preferences/labels/"
    assert asked == [f"{base}{part}/online_45k.json"]
    assert (len(train), len(held)) == (min(n, 46_000), max(0, n - 46_000))
    after = (198, 198, 14990, 26, 7707, 25)
    assert train[7].prompt == (*before, 103, *after) and train[7].responses == ((2,), (3,), (4,))
    # Prompts to answer: those held out, once each; token ids stay what they are, a reference is a text.
    ((name, found),) = read_prompts([f"openai:{part}"], GPT2Vocabulary()).items()
    asked_for = [100, 101, 102, 103, 104] if n == 9 else [23_100, 23_101]
    assert name == f"openai:{part}" and [r.prompt for r in found] == [(*before, i, *after) for i in asked_for]
    assert {r.responses for r in found} == {("text of [3]",)}


def test_labels_of_one_s_own(tmp_path):
    """Whose they are is not known, so the queries stay as they are and none is held out."""
    train, held = read(f"openai:{labels(tmp_path / 'labels.json')}", ("best",), GPT2Vocabulary(), Counter())
    assert [r.prompt for r in train] == [(464, 1049)] * 2 and held == []


def test_a_copy_of_one_s_own(tmp_path, tokenizer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hh_file(tmp_path / "mine.gz", (" a", " b"))
    train, held = read("hh:mine.gz", ("pair",), tokenizer, Counter())
    assert (len(train), held) == (1, [])
    assert read("mine.gz", ("pair",), tokenizer, Counter()) is None  # a file is a file
    (tmp_path / "hh").touch()
    assert read("hh", ("pair",), tokenizer, Counter()) is None


@pytest.mark.parametrize("name, wants, says", [
    ("hhh", "pair", "expected a file, or one of hh, hh:harmless"),
    ("tldrs:x", "completion", "puns, tldr:FILE, tldr-comparisons:FILE, cnndm:FILE, cnndm-comparisons:FILE; there is"),
    ("nowhere/x.jsonl", "pair", "there is no such file"),
    ("hh:harmful", "pair", "or hh:FILE; there is no such file"),
    ("openai", "best", "or openai:FILE"),
    ("imdb", "pair", "of kind pair; imdb has completion.\nSources that have them: hh, hh:harmless, hh:helpful, "
     "tldr-comparisons:FILE, cnndm-comparisons:FILE. Or give a file of your own."),
    ("openai:sentiment", "pair", "openai has best"),
])  # fmt: skip
def test_names_that_cannot_be_used(name, wants, says, tokenizer, monkeypatch):
    monkeypatch.setattr(sources, "fetch", None)  # refused before anything is fetched
    with pytest.raises(UserError) as caught:
        read(name, (wants,), tokenizer, Counter())
    assert str(caught.value).startswith(f"--data {name}: ") and says in str(caught.value)


# ---------------------------------------------------------------- downloads


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` of version `tag`, after `wait` seconds; cuts the connection after `cut` bytes of an answer."""

    content, tag, cut, wait, asked = bytes(range(256)) * 2000, '"v1"', None, 0, None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, headers = self.server, self.headers
        server.asked.append((self.path, headers.get("Range"), headers.get("If-Range")))
        time.sleep(server.wait)
        start = int(headers["Range"][6:-1]) if headers.get("Range") and headers.get("If-Range") == server.tag else 0
        if self.path == "/missing":
            return self.send_error(404)
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.content[start:][: server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def kept(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_a_file_is_fetched_once_and_kept_under_its_whole_address(server, tmp_path):
    path = fetch(server.url + "/sentiment/offline_5k.json", cache=tmp_path)
    assert path.read_bytes() == server.content
    assert path == tmp_path / f"127.0.0.1_{server.server_port}" / "sentiment" / "offline_5k.json"
    assert fetch(server.url + "/sentiment/offline_5k.json", cache=tmp_path) == path and len(server.asked) == 1
    assert fetch(server.url + "/descriptiveness/offline_5k.json", cache=tmp_path) != path and len(server.asked) == 2
    assert len(kept(tmp_path)) == 2  # nothing unfinished is left
    assert fetch(server.url + "/../../../x", cache=tmp_path).is_relative_to(tmp_path)


def test_the_cache_folder_comes_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MINALIGN_CACHE", str(tmp_path / "here"))
    assert fetch(server.url + "/x").is_relative_to(tmp_path / "here")
    monkeypatch.delenv("MINALIGN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch(server.url + "/x").is_relative_to(tmp_path / ".cache" / "minalign")


def test_what_was_interrupted_goes_on(server, tmp_path):
    server.cut = 100_000
    for got in (100_000, 200_000):
        with pytest.raises(UserError, match=f"lost after {got:,} bytes .*512,000") as caught:
            fetch(server.url + "/x", cache=tmp_path)
        assert "Run the command again" in str(caught.value) and len(str(caught.value).splitlines()) == 3
    server.cut = None
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert fetch(server.url + "/x", sha256, tmp_path).read_bytes() == server.content
    assert [r for _, r, _ in server.asked] == [None, "bytes=100000-", "bytes=200000-"]


def test_another_version_by_now_is_fetched_from_the_start(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(UserError):
        fetch(server.url + "/x", cache=tmp_path)
    server.cut, server.content, server.tag = None, server.content[::-1], '"v2"'
    assert fetch(server.url + "/x", cache=tmp_path).read_bytes() == server.content
    assert server.asked[1] == ("/x", "bytes=100000-", '"v1"')


def test_killed_before_the_last_rename(server, tmp_path):
    path = fetch(server.url + "/x", cache=tmp_path)
    path.rename(path.with_name("x.part"))
    path.with_name("x.version").write_text(server.tag)
    assert fetch(server.url + "/x", cache=tmp_path).read_bytes() == server.content
    assert [r for _, r, _ in server.asked] == [None, "bytes=512000-", None]


def test_a_wrong_checksum(server, tmp_path):
    with pytest.raises(UserError, match="not the published file") as caught:
        fetch(server.url + "/x", "0" * 64, tmp_path)
    target = tmp_path / f"127.0.0.1_{server.server_port}" / "x"
    assert str(target) in str(caught.value) and not target.exists() and "x.part" not in str(kept(tmp_path))
    target.write_bytes(b"put there by hand, and wrong")
    with pytest.raises(UserError, match="not the published file(.|\n)*Delete it"):
        fetch(server.url + "/x", hashlib.sha256(server.content).hexdigest(), tmp_path)
    target.write_bytes(server.content)
    assert fetch(server.url + "/x", hashlib.sha256(server.content).hexdigest(), tmp_path) == target


def test_a_file_that_is_not_there(server, tmp_path):
    with pytest.raises(UserError, match="/missing: the server answers 404 Not Found.\n.*put it at .*missing"):
        fetch(server.url + "/missing", cache=tmp_path)


def test_without_a_network(tmp_path, server, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    start = time.monotonic()
    with pytest.raises(UserError, match="127.0.0.1 cannot be reached.\n.*put it at ") as caught:
        fetch(url, cache=tmp_path)
    assert time.monotonic() - start < 1 and str(tmp_path) in str(caught.value)

    # A name server that never answers, which no time limit of a socket ends.
    over = threading.Event()

    def never(*args, **kwargs):
        over.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", never)
    with pytest.raises(UserError, match="somewhere.org cannot be reached"):
        fetch("https://somewhere.org/x", cache=tmp_path)
    assert time.monotonic() - start < 4
    over.set()
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written(.|\n)*MINALIGN_CACHE"):
        fetch(server.url + "/x", cache=tmp_path / "file")


def test_local_urls(tmp_path):
    path = tmp_path / "a b.json"
    path.write_bytes(b"x")
    assert fetch(path.as_uri()) == path
    assert fetch(path.as_uri(), hashlib.sha256(b"x").hexdigest()) == path
    with pytest.raises(UserError, match="not the published file"):
        fetch(path.as_uri(), "0" * 64)
    with pytest.raises(UserError, match="there is none"):
        fetch((tmp_path / "nowhere").as_uri())


@pytest.mark.skipif(os.name == "nt", reason="no lock on Windows")
def test_processes_that_want_the_same_file_do_not_mix_their_bytes(server, tmp_path):
    server.wait = 2
    code = "import sys; from minalign.sources import fetch; print(fetch(sys.argv[1], cache=sys.argv[2]).stat().st_size)"
    command = [sys.executable, "-c", code, server.url + "/x", str(tmp_path)]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["512000"] * 2
    assert len(server.asked) == 1
