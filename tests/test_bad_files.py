"""Files that are damaged at random: every reader returns, or raises a UserError of three lines that names the file.

The damage is drawn from a seed: bytes of any file, and values and keys inside JSON. tests/test_jsonl.py, test_hub.py,
test_lora.py, test_tokenizer.py, test_samples.py and test_checkpoint.py have the damage that is made by hand.
"""

import contextlib
import gzip
import io
import json
import random
import shutil
import sys
import tarfile
from collections import Counter

import pytest
import stages
import torch
from test_encoders import TEXTS, make, vocab_txt  # noqa: F401
from test_sources import GPT2Vocabulary, hh_file, labels
from test_tldr import comparison, post

from minalign import adapters, checkpoint, encoders, export, hub, jsonl, judge, judges, lora, rewards, samples, sources
from minalign import stage as minalign_stage
from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.run import Run
from minalign.stage import StageConfig
from minalign.tasks import rng
from minalign.tokenizer import Tokenizer

ODD = (None, True, -1, 0, 3, 1.5, 1e308, 10**30, "", "x", "../../etc/passwd", "\u0000", [], [[]], {}, {"a": 1}, [None],
       ["x"] * 3, float("nan"))  # fmt: skip


def bytes_damaged(data: bytes, draw: random.Random) -> bytes:
    """Return a file with some of its bytes lost, changed, repeated or put in between."""
    i, j = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    j = min(j, i + draw.choice((1, 8, 10**9)))
    flipped = bytearray(data)
    if data:
        flipped[min(i, len(data) - 1)] ^= 1 << draw.randrange(8)
    noise = draw.choice((b"\0", b"\xff\xfe", b"\xc3", b"\n", b"{", b'"', b"]", draw.randbytes(20)))
    return draw.choice((data[:i], data[:i] + data[j:], data[:j] + data[i:], data[:i] + noise + data[i:], bytes(flipped),
                        b"", draw.randbytes(len(data))))  # fmt: skip


def value_damaged(value, draw: random.Random):
    """Return JSON in which one value is another one, or one key is gone, renamed or new."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.15:
        return draw.choice(ODD)
    value = value.copy()
    key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
    how = draw.random()
    if how < 0.65:
        value[key] = value_damaged(value[key], draw) if draw.random() < 0.5 else draw.choice(ODD)
    elif how < 0.8:
        del value[key]
    elif isinstance(value, dict):
        value[draw.choice((str(key) + "x", "bias", ""))] = value.pop(key) if how < 0.9 else draw.choice(ODD)
    return value


def json_damaged(data: bytes, draw: random.Random) -> bytes:
    """Damage one line of JSONL, or a JSON file."""
    rows = data.split(b"\n")
    lines = [i for i, row in enumerate(rows) if row.strip()] if rows[0].rstrip().endswith(b"}") else None
    if lines:
        i = draw.choice(lines)
        rows[i] = json.dumps(value_damaged(json.loads(rows[i]), draw)).encode()
        return b"\n".join(rows)
    return json.dumps(value_damaged(json.loads(data), draw)).encode()


def check(path, read, n: int, name: str, ways=(bytes_damaged, json_damaged), where=None) -> int:
    """Damage a file n times and read it each time; return how often it was refused.

    where: what an error may name in place of the file or its folder.
    """
    good, refused = path.read_bytes(), 0
    try:
        for seed in range(n):
            draw = random.Random(f"{name} {path.name} {seed}")
            path.write_bytes(bad := draw.choice(ways)(good, draw))
            try:
                read()
            except UserError as error:
                refused += 1
                said = str(error).splitlines()
                assert 1 <= len(said) <= 3 and max(map(len, said)) < 700 and "Traceback" not in str(error), said
                assert any(str(name) in str(error) for name in (path, path.parent, where)), said
            except BaseException as error:
                what = f"{path.name}, seed {seed}: {type(error).__name__}: {error}"
                raise AssertionError(f"{what}\n{bad[:600]!r}") from error
    finally:
        path.write_bytes(good)
    read()
    return refused


def test_records(tmp_path):
    path = stages.write(tmp_path / "mine.jsonl", stages.pairs(6))
    wants = ("pair", "best", "ranking")
    assert check(path, lambda: jsonl.read_records(path, wants), 400, "pairs") > 250
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    mixed = [{"messages": turns}, {"prompt": turns[:1], "completion": turns[1:]}]
    mixed += [{"instruction": "Add.", "output": "3"}]
    path = stages.write(tmp_path / "chat.jsonl", mixed)
    assert check(path, lambda: jsonl.read_records(path), 300, "chat") > 150


def test_samples(tmp_path):
    rows = [{"prompt": "p", "response": f" {i}", "step": 3, "stopped": True, "scores": {"gold": 0.5}} for i in range(4)]
    path = stages.write(tmp_path / "samples.jsonl", rows)

    def read():
        found = samples.read_rows(str(path))
        samples.by_prompt(found), samples.scores_of(found, str(path)), [samples.references(row) for row in found]

    assert check(path, read, 400, "samples") > 150
    path = stages.write(tmp_path / "begun.jsonl", [row | {"split": "test"} for row in rows])
    assert check(path, lambda: samples.finished(path, [2, 2]), 200, "begun") > 40
    path = tmp_path / "decodes.json"
    path.write_text(json.dumps([{"input": "p", "output": ["a", "b"]}, {"output": "c"}]))
    assert check(path, lambda: samples.read_samples(str(path)), 300, "decodes") > 150


@pytest.fixture
def small(make_model, tmp_path, tokenizer):
    """A model folder with a vocabulary, an adapter of it, and a reward model."""
    model = make_model(vocab_size=len(tokenizer), n_layer=1)
    hub.save_pretrained(model, tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    lora.add_adapter(model, "policy", 2, None, ("attn.c_attn",))
    adapters.save_adapter(model, tmp_path / "model", str(tmp_path / "model"))
    head = rewards.RewardHead(model.config.n_embd)
    rewards.save_head(tmp_path / "model", head, StopRule(stop=tokenizer.eot, max_new_tokens=4))
    return tmp_path / "model"


def test_models(small):
    def read():
        hub.from_pretrained(str(small))

    assert check(small / "config.json", read, 250, "config") > 100
    assert check(small / "model.safetensors", read, 150, "weights", [bytes_damaged]) > 50


def test_adapters(small):
    model = hub.from_pretrained(str(small))

    def read():
        adapters.load_adapter(model, small)

    assert check(small / "adapter_config.json", read, 300, "adapter") > 150
    assert check(small / "adapter_model.safetensors", read, 150, "adapter", [bytes_damaged]) > 50


def test_vocabularies(small):
    def read():
        Tokenizer.from_folder(small).encode("Tom has 42 hats.")

    assert check(small / "vocab.json", read, 150, "vocabulary") > 100
    assert check(small / "merges.txt", read, 100, "merges", [bytes_damaged]) > 50


def test_reward_models(small, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # a damaged name of the base may look like one on the hub

    def read():
        rewards.from_run(str(small))(["Tom"], [" has 4"])

    for name, ways in (("reward.json", (bytes_damaged, json_damaged)), ("head.safetensors", [bytes_damaged]),
                       ("adapter_config.json", (bytes_damaged, json_damaged))):  # fmt: skip
        assert check(small / name, read, 120, "reward", ways, "--model") > 40


def places(value, at=()):
    """Yield where in some JSON a text, a number or nothing stands."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))
    else:
        yield at


def put(value, at, new):
    value = value.copy()
    value[at[0]] = put(value[at[0]], at[1:], new) if at[1:] else new
    return value


opened: list[str] | None = None  # paths, while a test listens


def listen(event, args):
    if opened is not None and event == "open" and isinstance(args[0], str | bytes):
        opened.append(str(args[0]))


def test_no_file_leads_out_of_its_folder(small, tmp_path, monkeypatch):
    """Whatever value of whatever JSON file is a path to another folder, nothing there is opened.

    Only an adapter names another folder, its base: of that it is what belongs to a model that is read.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys.modules[__name__], "opened", None)
    sys.addaudithook(listen)
    (small / "tokenizer_config.json").write_text('{"model_max_length": 32, "tokenizer_class": "GPT2Tokenizer"}')
    checkpoint.save_state(small, 1, {"w": torch.zeros(3)}, {"names": ["a"], "n": 1})
    state = checkpoint.checkpoints(small)[-1][1]
    (small / "run.json").write_text(json.dumps({"config": {"model": "nano", "task": "rng", "target": "uniform"}}))
    other = tmp_path / "other"
    shutil.copytree(small, other)
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")  # ../other is the other folder from here and from the files

    def reads():
        model = hub.from_pretrained(str(small))
        yield lambda: hub.from_pretrained(str(small))
        yield lambda: adapters.load_adapter(model, small)
        yield lambda: rewards.from_run(str(small))
        yield lambda: export.main([str(small), "--out", str(tmp_path / "out"), "--overwrite"])
        yield lambda: checkpoint.load_state(small)

    n, led = 0, set()
    names = ("config.json", "adapter_config.json", "reward.json", "tokenizer_config.json", "run.json")
    for path in (*(small / name for name in names), state / "manifest.json", state / "state.json"):
        good = json.loads(path.read_bytes())
        for at in places(good):
            for new in (f"../other/{path.name}", "../other", str(other)):
                path.write_text(json.dumps(good))
                all_reads = list(reads())
                path.write_text(json.dumps(put(good, at, new)))
                for read in all_reads:
                    monkeypatch.setattr(sys.modules[__name__], "opened", [])
                    with quietly(), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(UserError):
                        read()
                    found = [name for name in opened if "/other/" in str(name)]
                    monkeypatch.setattr(sys.modules[__name__], "opened", None)
                    if at == ("base_model_name_or_path",):
                        led |= {name.rpartition("/")[2] for name in found}
                    else:
                        assert not found, (path.name, at, new, found)
                    n += 1
        path.write_text(json.dumps(good))
    assert n > 500 and led <= {"config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer_config.json"}
    assert "model.safetensors" in led, "the base is read from there"
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before
    assert {path.name for path in tmp_path.iterdir()} <= {"model", "other", "run", "out"}


def test_targets(tmp_path):
    path = tmp_path / "pmf.txt"
    path.write_text("1 0.25\n2 0.5\n30 0.25\n")
    assert check(path, lambda: rng.parse_target(str(path)), 300, "target", [bytes_damaged]) > 100


def test_states(tmp_path):
    """Of two states the one that is whole is loaded, whatever happens to the other; of one, an error says so."""
    for step in (1, 2):
        checkpoint.save_state(tmp_path, step, {"w": torch.full((40,), float(step))}, {"list": [step]})
    shutil.copytree(tmp_path / "state", tmp_path / "both")
    for name, ways in (("manifest.json", (bytes_damaged, json_damaged)), ("state.json", (bytes_damaged, json_damaged)),
                       ("state.safetensors", [bytes_damaged])):  # fmt: skip

        def read():
            step, tensors, meta = checkpoint.load_state(tmp_path)
            assert (meta, set(tensors["w"].tolist())) == ({"list": [step]}, {float(step)})

        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "both", tmp_path / "state")
        assert check(tmp_path / "state/step_000002" / name, read, 100, "newest", ways, tmp_path) <= 3  # newer versions
        shutil.rmtree(tmp_path / "state/step_000001")
        assert check(tmp_path / "state/step_000002" / name, read, 100, "only", ways, tmp_path) > 60


def test_run_json(tmp_path):
    Run.create(str(tmp_path / "run"), "x").start(StageConfig())
    checkpoint.save_state(tmp_path / "run", 1, {}, {})

    def read():
        Run.create(str(tmp_path / "run"), "x", resume=True).start(StageConfig())

    assert check(tmp_path / "run/run.json", read, 200, "run", where="--resume") > 100


def test_published_files(tmp_path):
    """OpenAI's labels, the puns, HH, posts and comparisons, the archive of film reviews."""
    labelled = labels(tmp_path / "labels.json")
    assert check(labelled, lambda: sources.openai_labels(labelled, GPT2Vocabulary()), 300, "labels") > 150
    puns = tmp_path / "puns.json"
    jokes = {"Direct Prompt": "make a pun about fish", "Conversation Prompt": None, "Example Response": "Cod it."}
    puns.write_text(json.dumps([jokes, jokes | {"Conversation Prompt": "Hi"}]))
    assert check(puns, lambda: sources.puns(puns), 200, "puns") > 80
    dialogues = hh_file(tmp_path / "hh.jsonl.gz", (" Ho", " Ha"), (" Yes", " No"))
    assert check(dialogues, lambda: sources.hh(dialogues), 200, "hh", [bytes_damaged]) > 100
    dialogues.write_bytes(gzip.decompress(dialogues.read_bytes()))
    assert check(dialogues, lambda: sources.hh(dialogues), 200, "hh") > 80
    for name, rows in (("tldr", [post(), post(title="B")]),
                       ("tldr-comparisons", [comparison("a", "b"), comparison("c", "d", 1)])):  # fmt: skip
        path = stages.write(tmp_path / f"{name}.jsonl", rows)
        wants = ("pair",) if "comp" in name else ("completion",)

        def read(path=path, name=name, wants=wants):
            sources.read(f"{name}:{path}", wants, None, Counter())

        assert check(path, read, 200, name) > 60
    archive = tmp_path / "aclImdb.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for side in ("train", "test"):
            text = b"It was a good film. I liked it."
            about = tarfile.TarInfo(f"aclImdb/{side}/pos/0_9.txt")
            about.size = len(text)
            tar.addfile(about, io.BytesIO(text))
    assert check(archive, lambda: sources.imdb(archive), 150, "imdb", [bytes_damaged]) > 80


def test_encoder_folders(make):  # noqa: F811
    folder, _, _ = make("BertForSequenceClassification")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 40, "do_lower_case": true}')

    def read():
        encoders.classifier(str(folder))(TEXTS[:2])

    assert check(folder / "config.json", read, 80, "classifier") > 30
    assert check(folder / "vocab.txt", read, 30, "vocabulary", [bytes_damaged]) > 3
    for name in ("sentence_bert_config.json", "tokenizer_config.json"):
        check(folder / name, read, 30, "settings")


@contextlib.contextmanager
def quietly():
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def test_the_run_json_of_a_run_that_is_used(small, tmp_path, monkeypatch):
    """--init and its base, and an export."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = tmp_path / "run"
    shutil.copytree(small, run)
    (run / "reward.json").unlink(), (run / "head.safetensors").unlink()
    config = {"model": str(small), "init": None, "task": "rng", "target": "uniform", "temperature": 0.7,
              "max_response": 0}  # fmt: skip
    path = run / "run.json"
    path.write_text(json.dumps({"config": config, "command": "python"}))

    class Given:
        init, model = str(run), "nano"

    def read():
        with quietly():
            export.main([str(run), "--overwrite"])
        minalign_stage.load_policy(*minalign_stage.origin(Given))

    assert check(path, read, 60, "run", where="--") > 30


def test_what_a_judge_goes_on_with(tmp_path):
    a, b = (stages.write(tmp_path / name, [{"prompt": f"p{i}", "response": name} for i in range(3)]) for name in "ab")
    out = tmp_path / "mine"
    flags = [str(a), str(b), "--judge", "human", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch, quietly():
        answers = iter("1q")
        patch.setattr("builtins.input", lambda prompt: next(answers, "q"))
        judge.main(flags)

        def read():
            judge.main([*flags, "--resume"])

        assert check(out / "verdicts.jsonl", read, 50, "verdicts") > 15
    cache = tmp_path / "cache.jsonl"
    cache.write_text('{"request": "a", "answer": "A"}\n{"request": "b", "answer": "B"}\n')
    assert check(cache, lambda: judges._read_cache(cache), 150, "cache") == 0  # a line that is none costs a request
