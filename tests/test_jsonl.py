"""Records from files: every form that is read, and every line that is refused, by name of file, line and key."""

import builtins
import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from minalign.errors import UserError
from minalign.jsonl import EXAMPLES, TEMPLATE, read_records
from minalign.records import Record, serve, write_records

PREFS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "prefs"
ALL = ("prompt", "completion", "pair", "best", "ranking")
GOOD = '{"prompt": "Why?", "completion": " Because.", "chosen": " a", "rejected": " b"}'


@pytest.fixture
def read(tmp_path):
    """Return a function: rows or bytes of a file -> its records without `where`, which has a test of its own."""

    def do(content, wants=ALL, name="mine.jsonl", **more):
        if not isinstance(content, bytes):
            content = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in content).encode()
        path = tmp_path / name
        path.write_bytes(content)
        return [Record(r.prompt, r.responses, r.best, r.ranked, r.margin) for r in read_records(path, wants, **more)]

    return do


# ---------------------------------------------------------------- what is read


def test_each_form_of_trl(read):
    rows = [
        {"prompt": "p"},
        {"prompt": "p", "completion": " c"},
        {"prompt": "p", "chosen": " c", "rejected": " r"},
        {"prompt": "p", "chosen": " c", "rejected": " r", "margin": 2},
        {"prompt": "p", "completions": [" a", " b", " c"], "best": 2},
        {"prompt": "p", "completions": [" a", " b"], "best": 1},
        {"prompt": "p", "ranking": [" a", " b", " c"]},
    ]
    assert read(rows) == [
        Record("p"),
        Record("p", (" c",)),
        Record("p", (" c", " r"), 0),
        Record("p", (" c", " r"), 0, margin=2.0),
        Record("p", (" a", " b", " c"), 2),
        Record("p", (" b", " a"), 0),  # best of two is a pair, chosen first
        Record("p", (" a", " b", " c"), ranked=True),
    ]
    assert [r.kind for r in read(rows)] == ["prompt", "completion", "pair", "pair", "best", "pair", "ranking"]


def test_the_examples_of_the_messages_are_read(read):
    assert [read([EXAMPLES[kind]])[0].kind for kind in ALL if kind != "best"] == [k for k in ALL if k != "best"]
    assert read([EXAMPLES["best"]]) == [Record("Why?", (" Because.", " Eh?"), 0)]


def test_what_says_more_serves_where_less_is_wanted(read):
    ranking, best = {"prompt": "p", "ranking": ["a", "b", "c"]}, {"prompt": "p", "completions": list("abc"), "best": 1}
    pair = {"prompt": "p", "chosen": "c", "rejected": "r"}
    rows = [ranking, best, pair]
    assert read(rows, ("completion",)) == [Record("p", ("a",)), Record("p", ("b",)), Record("p", ("c",))]
    assert read(rows, ("prompt",)) == [Record("p")] * 3
    assert read([ranking], ("best",)) == [Record("p", ("a", "b", "c"), 0)]
    assert read([{"prompt": "p", "ranking": ["a", "b"]}], ("pair",)) == [Record("p", ("a", "b"), 0)]
    # A row that has several forms gives each stage its own; a stage looks at nothing that it does not need.
    both = {"prompt": "p", "completion": "own", "chosen": "c", "rejected": "r"}
    assert read([both], ("completion",)) == [Record("p", ("own",))]
    assert read([both], ("pair", "best")) == [Record("p", ("c", "r"), 0)]
    assert read([{"prompt": "p", "chosen": "", "rejected": 5}], ("prompt",)) == [Record("p")]


def test_conversations_are_written_out_by_the_template(read):
    system, user, answer = ({"role": r, "content": r[0].upper()} for r in ("system", "user", "assistant"))
    other = {"role": "assistant", "content": "B"}
    whole = TEMPLATE.format(system="S", user="U", assistant="A")
    expected = Record("S\n\nHuman: U\n\nAssistant:", (" A",))
    assert expected.prompt + expected.responses[0] == whole
    assert read([{"messages": [system, user, answer]}]) == [expected]
    assert read([{"prompt": [system, user], "completion": [answer]}]) == [expected]
    assert read([{"messages": [user]}]) == [Record("Human: U\n\nAssistant:")]
    # Only the last turn of the assistant is the completion.
    assert read([{"messages": [user, answer, user, other]}]) == [
        Record("Human: U\n\nAssistant: A\n\nHuman: U\n\nAssistant:", (" B",))
    ]
    pair = Record("Human: U\n\nAssistant:", (" A", " B"), 0)
    assert read([{"prompt": [user], "chosen": [answer], "rejected": [other]}]) == [pair]
    assert read([{"chosen": [user, answer], "rejected": [user, other]}]) == [pair]
    # As UltraFeedback: a prompt as text beside whole dialogues.
    assert read([{"prompt": "U", "chosen": [user, answer], "rejected": [user, other]}]) == [pair]
    longer = Record("Human: U\n\nAssistant: A\n\nHuman: U\n\nAssistant:", (" A", " B"), 0)
    assert read([{"chosen": [user, answer, user, answer], "rejected": [user, answer, user, other]}]) == [longer]
    # Dialogues that part in a question: the answer before it is the last that they share.
    more = [user, answer, {"role": "user", "content": "V"}, other]
    assert read([{"chosen": [user, answer, user, other], "rejected": more}]) == [
        Record("Human: U\n\nAssistant:", (" A\n\nHuman: U\n\nAssistant: B", " A\n\nHuman: V\n\nAssistant: B"), 0)
    ]
    assert read([{"prompt": [user], "ranking": [[answer], [other]]}], ("pair",)) == [pair]


def test_hh_dialogues_are_split_at_the_last_answer_they_share(read):
    start = "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: So?\n\nAssistant:"
    assert read([{"chosen": start + " Yes", "rejected": start + " Yet"}]) == [Record(start, (" Yes", " Yet"), 0)]
    one, two = "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: So?\n\nAssistant: A", "\n\nHuman: Hi\n\nAssistant: Ha"
    assert read([{"chosen": one, "rejected": two}]) == [
        Record("\n\nHuman: Hi\n\nAssistant:", (" Ho\n\nHuman: So?\n\nAssistant: A", " Ha"), 0)
    ]


def test_instructions(read):
    (with_input,) = read([{"instruction": "Add.", "input": "1 + 1", "output": "2"}])
    (without,) = read([{"instruction": "Add {x}.", "input": "", "output": "2"}])
    assert with_input.prompt.endswith("### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n")
    assert without.prompt.endswith(" request.\n\n### Instruction:\nAdd {x}.\n\n### Response:\n")
    assert with_input.responses == ("2",)
    row = {"instruction": "Add.", "output": "2", "chosen": "2, please", "rejected": "2!"}
    assert read([row], ("pair",))[0].responses == ("2, please", "2!")
    assert read([row], ("completion",))[0].responses == ("2",)


def test_nulls_and_other_keys_are_ignored(read):
    row = {"id": 7, "prompt": "p", "prompt_id": "x", "completion": " c", "chosen": None, "score": {"a": [1, None]}}
    assert read([row]) == [Record("p", (" c",))]


def test_token_ids_may_stand_for_a_text(read):
    assert read([{"prompt": [5, 6], "completions": [[1, 2], [], [3]], "best": 0}]) == [
        Record((5, 6), ((1, 2), (), (3,)), 0)
    ]


def test_samples_of_a_model_may_be_empty_or_the_same_but_not_all(read):
    (record,) = read([{"prompt": "p", "completions": [" a", "", " a"], "best": 0}])
    assert record.responses == (" a", "", " a")
    assert read([{"prompt": "p", "chosen": " a", "rejected": ""}])[0].responses == (" a", "")
    assert read([{"prompt": "p", "ranking": [" a", "", " b"]}])[0].responses == (" a", "", " b")


def test_files_of_every_make(read, tmp_path):
    record = Record("Why?", (" Because.",))
    other = '{"prompt": "caf\u00e9 \u2028 x", "completion": " y"}'  # U+2028 ends no line
    content = f"{GOOD}\n{other}\n".encode()
    expected = [record, Record("caf\u00e9 \u2028 x", (" y",))]
    wants = ("completion",)
    assert read(content, wants) == expected
    assert read(content.replace(b"\n", b"\r\n"), wants) == expected
    assert read(b"\xef\xbb\xbf" + content, wants) == expected
    assert read(content.rstrip() + b"\n\n \n\n", wants) == expected  # blank lines at the end
    assert read(content.rstrip(), wants) == expected  # no end of line at the end
    assert read(gzip.compress(content), wants, "mine.jsonl.gz") == expected
    assert read(gzip.compress(b"\xef\xbb\xbf" + content), wants, "mine.jsonl") == expected  # known by its content
    assert read(f"[{GOOD},\n {other}]".encode(), wants, "mine.json") == expected
    assert read(b"\xef\xbb\xbf\n" + f"[{GOOD}, {other}]".encode(), wants, "mine.json") == expected
    assert read(gzip.compress(f"[{GOOD}]".encode()), wants, "mine.json.gz") == [record]
    assert read(content, wants, "lines.json") == expected


def test_files_concatenate_and_records_know_where_they_come_from(tmp_path):
    for name, text in (("a.jsonl", f"{GOOD}\n{GOOD}\n"), ("b.json", f"[{GOOD}]")):
        (tmp_path / name).write_text(text)
    records = read_records([tmp_path / "a.jsonl", str(tmp_path / "b.json")])
    places = [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:2", f"{tmp_path}/b.json, record 1"]
    assert [r.where for r in records] == places


def test_what_is_written_is_read_again(read, tmp_path):
    records = [
        Record("p"),
        Record("p\n\u00e9", (" c",)),
        Record("p", (" c", " r"), 0, margin=0.5),
        Record("p", (" a", " b", "", " a"), 1),
        Record("p", ("", " b"), 0),  # a labeller with noise preferred silence
        Record("p", (" a", " b", " c"), ranked=True),
        Record((1, 2), ((3,), (4,)), 1),
    ]
    write_records(tmp_path / "out.jsonl", [*records, Record("p", ("x", "x"), 0)])
    again = read((tmp_path / "out.jsonl").read_bytes())
    assert again == [*records[:-1], Record((1, 2), ((4,), (3,)), 0)]


def some_text(draw, empty=False):
    """Draw a text of any characters that JSON and UTF-8 have; not blank unless `empty`."""
    ranges = ((32, 126), (9, 13), (160, 767), (0x2028, 0x2029), (0x4E00, 0x4E80), (0x1F600, 0x1F64F), (65533, 65534))
    text = "".join(chr(draw.randint(*draw.choice(ranges))) for _ in range(draw.choice((0, 1, 3, 30))))
    return text if text.strip() or empty else "x" + text


def some_record(draw):
    prompt = draw.choice((some_text(draw), tuple(draw.sample(range(50_000), 3))))
    kind = draw.choice(ALL)
    if kind == "prompt":
        return Record(prompt)
    if kind == "completion":
        return Record(prompt, (some_text(draw),))
    texts = list(dict.fromkeys([some_text(draw), *(some_text(draw, True) for _ in range(draw.randint(1, 5))), " z"]))
    if kind == "pair":
        return Record(prompt, tuple(texts[:2]), 0, margin=draw.choice((0.0, 0.25, 3.0)))
    if kind == "ranking":
        return Record(prompt, tuple(texts), ranked=True)
    if len(texts) == 2:  # a pair by another name
        return Record(prompt, tuple(texts), 0)
    return Record(prompt, tuple(texts), draw.randrange(len(texts)))


@pytest.mark.parametrize("seed", range(60))
def test_any_records_come_back_from_any_make_of_file(read, tmp_path, seed):
    """Written as lines, as one list, with escapes or without, gzipped, with \\r\\n, a byte-order mark, blank lines."""
    draw = random.Random(seed)
    records = [some_record(draw) for _ in range(draw.randint(1, 12))]
    write_records(tmp_path / "out.jsonl", records)
    content = (tmp_path / "out.jsonl").read_bytes()
    assert read(content) == records
    rows = [json.loads(line) for line in content.split(b"\n") if line]
    for more in rows:  # what a reader ignores
        more |= draw.choice(({}, {"id": 3}, {"source": None}, {"scores": {"a": [1.5, None]}}))
    text = draw.choice(("\n", "\r\n")).join(json.dumps(x, ensure_ascii=draw.random() < 0.5) for x in rows)
    name = "mine.jsonl"
    if draw.random() < 0.3:
        text, name = json.dumps(rows, indent=draw.choice((None, 1))), "mine.json"
    data = draw.choice((b"", b"\xef\xbb\xbf")) + text.encode() + draw.choice((b"", b"\n", b"\r\n \n"))
    assert read(gzip.compress(data) if draw.random() < 0.3 else data, name=name) == records
    # A stage gets what serves it, or an error; never anything else.
    for wants in (("pair", "best", "ranking"), ("completion",), ("prompt",)):
        expected = [serve(record, wants) for record in records]
        if None in expected:
            with pytest.raises(UserError, match=f":{expected.index(None) + 1}: "):
                read(content, wants)
        else:
            assert read(content, wants) == expected


# ---------------------------------------------------------------- what is refused


def row(**changes):
    values = {"prompt": "Why?", "chosen": " Because.", "rejected": " No."} | changes
    return json.dumps({key: value for key, value in values.items() if value is not ...})


USER, BOT = {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}
BAD_LINES = {  # the line, and what the message must say
    "cut short": (GOOD[:40], "column"),
    "control character": ('{"prompt": "a\x01b", "chosen": "a", "rejected": "b"}', "control character"),
    "two objects": (GOOD + " " + GOOD, "after its end"),
    "single quotes": ("{'prompt': 'p'}", "double quotes"),
    "nested too deeply": ('{"prompt": ' + "[" * 200_000, "nested too deeply"),
    "a number of 5,000 digits": ('{"margin": ' + "9" * 5000 + "}", "4300"),
    "latin-1": (GOOD.replace("Why", "Voil\u00e0").encode("latin-1"), "UTF-8", "0xe0"),
    "half a character": (row(chosen="\ud800"), '"chosen"', "half a character"),
    "a null byte": (row(rejected="a\0"), '"rejected"', "null byte"),
    "NaN": (row(margin=float("nan")), "NaN"),
    "Infinity": (row(margin=float("inf")), "Infinity"),
    "1e999": (row(margin=5).replace("5}", "1e999}"), '"margin"', "at least 0"),
    "a key twice": (GOOD[:-1] + ', "prompt": "Who?"}', '"prompt"', "twice"),
    "a bare list": ('["Why?", " Because."]', "JSON object", "a list of 2"),
    "a bare text": ('"Why?"', "JSON object", "a text"),
    "null": ("null", "JSON object", "null"),
    "a key is missing": (row(rejected=...), '"rejected": missing', "Found keys: prompt, chosen"),
    "a key is null": (row(chosen=None), '"chosen": missing'),
    "no prompt": (row(prompt=...), '"prompt": missing'),
    "a misspelt key": (row(rejected=..., rejcted=" No."), '"rejcted"', '"rejected"?'),
    "a misspelt option": (row(margn=2), '"margn"', '"margin"?'),
    "a capital": (row(prompt=..., Prompt="Why?"), '"Prompt"', '"prompt"?'),
    "foreign keys": ('{"text": "Why? Because."}', '"prompt": missing', "Found keys: text"),
    "prompt of a wrong type": (row(prompt=5), '"prompt": expected a text, found a number'),
    "chosen of a wrong type": (row(chosen={"text": "x"}), '"chosen": expected a text, found an object'),
    "a truth value for a text": (row(rejected=True), '"rejected": expected a text, found true or false'),
    "ids below zero": (row(prompt=[1, -1]), '"prompt": expected a text, found a list of 2'),
    "empty chosen": (row(chosen=""), '"chosen"', "empty"),
    "blank chosen": (row(chosen=" \n"), '"chosen"', "empty"),
    "empty prompt": (row(prompt=""), '"prompt"', "empty"),
    "chosen is rejected": (row(rejected=" Because."), '"rejected"', "differ"),
    "margin below zero": (row(margin=-1), '"margin"', "-1"),
    "margin as text": (row(margin="1"), '"margin"', '"1"'),
    "margin true": (row(margin=True), '"margin"', "true"),
    "best out of range": ('{"prompt": "p", "completions": ["a", "b"], "best": 2}', '"best"', "0 to 1", "found 2"),
    "best below zero": ('{"prompt": "p", "completions": ["a", "b"], "best": -1}', '"best"', "found -1"),
    "best a fraction": ('{"prompt": "p", "completions": ["a", "b"], "best": 1.0}', '"best"', "whole number"),
    "best true": ('{"prompt": "p", "completions": ["a", "b"], "best": true}', '"best"', "found true"),
    "best missing": ('{"prompt": "p", "completions": ["a", "b"]}', '"best": missing'),
    "one completion": ('{"prompt": "p", "completions": ["a"], "best": 0}', '"completions"', "2 responses", "list of 1"),
    "completions as text": ('{"prompt": "p", "completions": "ab", "best": 0}', '"completions"', "a text"),
    "completions all the same": ('{"prompt": "p", "completions": ["a", "a"], "best": 0}', '"completions"', "differ"),
    "a number among completions": ('{"prompt": "p", "completions": ["a", 1], "best": 0}', '"completions[1]"'),
    "a ranking of one": ('{"prompt": "p", "ranking": ["a"]}', '"ranking"', "at least 2"),
    "a ranking with one twice": ('{"prompt": "p", "ranking": ["a", "b", "a"]}', '"ranking"', "twice"),
    "empty in a ranking": ('{"prompt": "p", "ranking": ["", "a"]}', '"ranking[0]"', "empty"),
    "no messages": (row(prompt=[]), '"prompt"'),
    "a role that there is not": (row(prompt=[USER | {"role": "bot"}]), '"prompt[0].role"', "bot"),
    "a role that is a list": (row(prompt=[USER | {"role": []}]), '"prompt[0].role"'),
    "system later": (row(prompt=[USER, USER | {"role": "system"}]), '"prompt[1].role"', "first"),
    "no content": (row(prompt=[USER, {"role": "user"}]), '"prompt[1]"', "content"),
    "content in parts": (row(prompt=[USER | {"content": [{"type": "text"}]}]), '"prompt[0].content"', "a list of 1"),
    "the user answers": (row(prompt=[USER], chosen=[BOT], rejected=[USER]), '"rejected"', "assistant"),
    "the assistant asks": (row(prompt=[USER, BOT]), '"prompt"', "user"),
    "dialogues without a common start": (row(prompt=..., chosen=[BOT], rejected=[USER, BOT]), "share their beginning"),
    "texts without a common start": (row(prompt=..., chosen="\n\nHuman: x", rejected="\n\nHuman: x"), '"prompt"'),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_refused(case, tmp_path):
    line, *fragments = BAD_LINES[case]
    path = tmp_path / "mine.jsonl"
    line = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(b"\n".join([row().encode(), row().encode(), line, b"x"]))
    with pytest.raises(UserError) as caught:
        read_records(path, ("pair", "best", "ranking"))
    message = str(caught.value)
    first, *others = message.splitlines()
    assert first.startswith(f"{path}:3: ") and all(fragment in first for fragment in fragments), message
    assert len(others) == 2 and others[0].startswith("Line: ") and others[1] == f"Example: {EXAMPLES['pair']}"
    assert all(len(text) < 450 and text.isprintable() for text in (first, *others))


@pytest.mark.parametrize(
    "line, wants, key",
    [
        ('{"prompt": "p", "completion": ""}', "completion", '"completion"'),
        ('{"prompt": "p"}', "completion", "completion"),
        ('{"prompt": "p", "completon": "c"}', "prompt", '"completion"?'),
        ('{"prompt": "p", "completion": "c"}', "pair", "keys for pair. Found keys: prompt, completion"),
        ('{"prompt": "p", "completions": ["a", "b", "c"], "best": 0}', "pair", "keys for pair. Found keys"),
        ('{"messages": []}', "completion", '"messages": expected a list of messages'),
        ('{"messages": [{"role": "user", "content": "U"}]}', "completion", "keys for completion"),
        ('{"instruction": 5}', "prompt", '"instruction"'),
        ('{"instruction": "Add.", "output": ""}', "completion", '"completion"'),
    ],
)
def test_a_stage_says_what_it_lacks(line, wants, key, tmp_path):
    (tmp_path / "mine.jsonl").write_text(line)
    with pytest.raises(UserError) as caught:
        read_records(tmp_path / "mine.jsonl", (wants,))
    assert key in str(caught.value).splitlines()[0] and str(caught.value).splitlines()[-1].endswith(EXAMPLES[wants])


def test_a_blank_line_between_records_is_refused(read):
    with pytest.raises(UserError, match=r"mine.jsonl:2: .*blank"):
        read([GOOD, "", "", GOOD])


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "there is none"),
        (b"\n \n", "there is none"),
        (b"[]", "there is none"),
        (b"[" + GOOD.encode() + b", 5]", "record 2: expected a JSON object"),
        (b"[" + GOOD.encode() + b",", "column"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (gzip.compress(b"PK\x03\x04"), "a zip archive"),
        (gzip.compress(("\n".join([GOOD] * 2000)).encode())[:-20], "cut short"),
        (gzip.compress(GOOD.encode())[:15] + b"\xff" * 40, "damaged"),
        (b"\x1f\x8b\x08", "cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_is_refused(content, says, read):
    with pytest.raises(UserError, match=says) as caught:
        read(content, ("completion",), "mine.json")
    assert "mine.json" in str(caught.value) and len(str(caught.value).splitlines()) <= 3


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="nowhere.jsonl: .* no such file"):
        read_records(tmp_path / "nowhere.jsonl")
    (tmp_path / "inside.jsonl").write_text(GOOD)
    with pytest.raises(UserError, match="found a folder with inside.jsonl"):
        read_records([tmp_path])

    def locked(path, *args):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(builtins, "open", locked)  # not chmod: root may read everything
    with pytest.raises(UserError, match="inside.jsonl: no permission"):
        read_records(tmp_path / "inside.jsonl")


def test_what_says_nothing_can_be_counted_instead(read):
    rows = [row(), row(chosen=""), row(rejected=" Because."), row()]
    skipped = Counter()
    assert len(read(rows, ("pair",), skipped=skipped)) == 2 and list(skipped.values()) == [2]
    with pytest.raises(UserError, match="there is none to learn from"):
        read(rows[1:3], ("pair",), skipped=skipped)
    with pytest.raises(UserError, match=":1: .*margin"):  # only that
        read([row(margin=-1)], ("pair",), skipped=skipped)


# ---------------------------------------------------------------- published files


@pytest.mark.skipif(not PREFS.is_dir(), reason="the shared data files are not here")
def test_published_instructions():
    records = read_records(PREFS / "instruction-data.json")
    rows = json.loads((PREFS / "instruction-data.json").read_text())
    assert len(records) == len(rows) == 1100
    assert all(r.responses == (row["output"],) and row["instruction"] in r.prompt for r, row in zip(records, rows))
    assert sum("### Input:" in r.prompt for r in records) == sum(bool(row["input"]) for row in rows)

    path, skipped = PREFS / "instruction-data-with-preference.json", Counter()
    rows = [row for row in json.loads(path.read_text()) if row["chosen"] != row["rejected"]]
    pairs = read_records(path, ("pair",), skipped)
    assert [r.responses for r in pairs] == [(row["chosen"], row["rejected"]) for row in rows]
    assert skipped == {str(path): 6} and len(pairs) == 1094
    with pytest.raises(UserError, match=f"{os.path.basename(path)}, record \\d+: .*differ"):
        read_records(path, ("pair",))


def test_a_text_file_is_a_prompt_a_line(tmp_path):
    """As the prompts of gfn-lm-tuning are: each line ends with a space, which is not part of the prompt."""
    path = tmp_path / "prompts.txt"
    path.write_bytes('\ufeffHe said "no". \nIt rained.  It snowed. \r\n'.encode())
    assert [record.prompt for record in read_records(path, ("prompt",))] == ['He said "no".', "It rained.  It snowed."]
    with pytest.raises(UserError, match="prompts.txt:1.*completion"):
        read_records(path, ("completion",))
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="prompts.txt:1: expected UTF-8, found the byte 0xe9"):
        read_records(path, ("prompt",))
