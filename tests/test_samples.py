"""Files of samples: their forms, what is kept of them, and what is wrong with the others."""

import gzip
import json

import pytest

from minalign.errors import UserError
from minalign.samples import by_prompt, read_rows, read_samples, references, scores_of


def write(path, data):
    """Write lines, or a list as one JSON document, gzipped where the name says so."""
    lines = path.name.removesuffix(".gz").endswith(".jsonl")
    text = "".join(json.dumps(row) + "\n" for row in data) if lines else json.dumps(data)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


ROWS = [{"prompt": "p", "response": "a", "stopped": True, "scores": {"gold": 1.0, "rm": 0.0}, "reference": "human"},
        {"prompt": "q", "response": "b", "scores": {"gold": 2, "rm": 0.5}},
        {"prompt": "p", "response": "c", "scores": {"gold": 0.0, "rm": 0.2}}]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "run/samples.jsonl", "run"])
def test_rows_are_kept_whole(tmp_path, name):
    (tmp_path / "run").mkdir()
    write(tmp_path / (name if "." in name else "run/samples.jsonl"), ROWS)
    assert read_rows(str(tmp_path / name)) == ROWS
    assert read_samples(str(tmp_path / name)) == {"p": ["a", "c"], "q": ["b"]}
    assert by_prompt(ROWS) == {"p": [ROWS[0], ROWS[2]], "q": [ROWS[1]]}


def test_scores_and_references(tmp_path):
    assert scores_of(ROWS, "a.jsonl") == ("gold", [1.0, 2, 0.0]) == scores_of(ROWS, "a.jsonl", "gold")
    assert scores_of(ROWS, "a.jsonl", "rm") == ("rm", [0.0, 0.5, 0.2])
    several = {"prompt": "", "reference": ["x", "y"]}
    assert list(map(references, (*ROWS[:2], several))) == [["human"], [], ["x", "y"]]
    for rows, name, words in (
        ([{"prompt": "p", "response": "a"}], None, ("a.jsonl", "no scores")),
        (ROWS, "gld", ("--by", "Did you mean gold?")),
        ([*ROWS, {"prompt": "the one", "response": ""}], "gold", ("a.jsonl", "found None", "the one")),
        ([*ROWS, {"prompt": "the one", "response": "", "scores": {"gold": "1"}}], "gold", ("found 1",)),
    ):
        with pytest.raises(UserError) as error:
            scores_of(rows, "a.jsonl", name)
        assert all(word in str(error.value) for word in words), str(error.value)
    with pytest.raises(UserError, match="a text or a list of texts, found 3\n.*'why'"):
        references({"prompt": "why", "reference": 3})


@pytest.mark.parametrize("name", ["d.json", "d.json.gz"])
def test_decodes(tmp_path, name):
    """One output or several; an input that comes again adds to its first; without input each entry is one."""
    entries = [{"input": "p", "output": ["a", "b"]}, {"output": "c"}, {"input": "p", "output": "d"}, {"output": ["c"]}]
    assert read_samples(write(tmp_path / name, entries)) == {"p": ["a", "b", "d"], "#1": ["c"], "#3": ["c"]}


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "found an empty list"),
        ({"output": "a"}, "found dict"),
        ([{"output": "a"}, {"text": "b"}], 'entry 1: .*\nfound {"text": "b"}'),
        ([{"output": []}], "entry 0"),
        ([{"output": ["a", 1]}], "entry 0"),
        ([{"output": "a", "input": 5}], "entry 0"),
        (["a"], 'entry 0: .*\nfound "a"'),
    ],
)
def test_what_is_no_decodes_file(tmp_path, data, words):
    with pytest.raises(UserError, match=words):
        read_rows(write(tmp_path / "d.json", data))


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "d.json").write_text('[{"output": "a"}')
    with pytest.raises(UserError, match="d.json: expected a list"):
        read_rows(str(tmp_path / "d.json"))
    whole = gzip.compress(b'{"prompt": "p", "response": "r"}\n' * 50)
    for damaged in (whole[:-9], whole[:20] + b"\xff" * 20 + whole[40:]):
        (tmp_path / "a.jsonl.gz").write_bytes(damaged)
        with pytest.raises(UserError, match="cannot read .*a.jsonl.gz"):
            read_rows(str(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("key, value, words", [("scores", [1], "an object"), ("stopped", "no", "true or false"),
                                               ("split", ["x"], "a text")])  # fmt: skip
def test_optional_keys_are_checked_too(key, value, words, tmp_path):
    path = tmp_path / "samples.jsonl"
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "a", "response": "c", key: value}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=f"sample 2: {key}: expected {words}"):
        read_rows(str(path))
