"""TL;DR and CNN/DM: readers against files of the published form, and the stages that read them."""

import gzip
import json
from collections import Counter

import pytest
from stages import ALIKE, OWN, lines, refuses, result_of, train, write

import sample_bon
import train_rm
import train_sft
from minalign import data
from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.jsonl import read_records
from minalign.overlap import rouge
from minalign.records import Record
from minalign.sources import read
from minalign.tldr import TEMPLATES


def post(subreddit="tifu", title="I lost it", text="I lost my key.\nIt was new.", summary="lost my key", **more):
    """Return a row of tldr_3_filtered."""
    return {"id": "t3_1", "subreddit": subreddit, "title": title, "post": text, "summary": summary, **more}


def comparison(better, worse, choice=0, split="train", batch="batch9", **info):
    """Return a row of the comparison batches, as its README shows it."""
    texts = [better, worse] if choice == 0 else [worse, better]
    news = {"id": "1", "site": "cnn", "title": "Key", "article": "A key was lost."}
    about = news if "cnndm" in batch else {key: x for key, x in post().items() if key != "summary"}
    return {"info": about | info, "summaries": [{"text": text, "policy": "sup4", "note": None} for text in texts],
            "choice": choice, "worker": "w", "batch": batch, "split": split, "extra": {"confidence": 8}}  # fmt: skip


PROMPT = "SUBREDDIT: r/tifu\nTITLE: I lost it\nPOST: I lost my key.\nIt was new.\nTL;DR:"
NEWS = "ARTICLE: A key was lost.\nTL;DR:"


def records(name, wants="completion", tokenizer=None, skipped=None):
    return read(name, (wants,), tokenizer, Counter() if skipped is None else skipped)


# ---------------------------------------------------------------- what is read


def test_posts_and_articles(tmp_path):
    posts = tmp_path / "train.jsonl.gz"
    posts.write_bytes(gzip.compress("\n".join(json.dumps(x) for x in (post(), post(summary=" a {b}\nc \n"))).encode()))
    first = Record(PROMPT, (" lost my key",), where=f"{posts}:1")
    assert records(f"tldr:{posts}") == ([first, Record(PROMPT, (" a {b}\nc",), where=f"{posts}:2")], [])
    assert records(f"tldr:{posts}", "prompt")[0][0] == Record(PROMPT, where=f"{posts}:1")
    articles = write(tmp_path / "news.jsonl", [{"id": "0", "article": "(CNN) A key\nwas lost.", "highlights":
                                                "A key was lost . \n\n It was\u2028new .\n"}])  # fmt: skip
    prompt, summary = "ARTICLE: (CNN) A key\nwas lost.\nTL;DR:", " A key was lost . It was\u2028new ."
    assert records(f"cnndm:{articles}") == ([Record(prompt, (summary,), where=f"{articles}:1")], [])


def test_comparisons_of_posts_and_of_articles(tmp_path):
    """A folder of batches, JSON lines in files called .json; what is not of the split train is held out."""
    write(tmp_path / "batch9.json", [comparison(" good", " bad"), comparison(" fine ", "poor", 1, "valid1", title="B"),
                                     comparison(" yes", " no", 0, "valid2", title="D")])  # fmt: skip
    write(tmp_path / "cnndm0.json", [comparison("yes", "no", 1, "valid2", "cnndm0")])
    mixed = [comparison("one", "two", 0, "valid2", "batch0_cnndm"), comparison("three", "", 0, title="C")]
    (tmp_path / "edit_b2.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, mixed)).encode()))
    (tmp_path / "README.md").write_text("not data")

    def told(side):
        return [(r.prompt, r.responses, r.best, r.where.rpartition("/")[2]) for r in side]

    train, held = records(f"tldr-comparisons:{tmp_path}", "pair")
    third = PROMPT.replace("I lost it", "C")
    assert told(train) == [(PROMPT, (" good", " bad"), 0, "batch9.json:1"),
                           (third, (" three", ""), 0, "edit_b2.jsonl.gz:2")]  # fmt: skip
    assert told(held) == [(PROMPT.replace("I lost it", "B"), (" fine", " poor"), 0, "batch9.json:2"),
                          (PROMPT.replace("I lost it", "D"), (" yes", " no"), 0, "batch9.json:3")]  # fmt: skip
    news, none = records(f"cnndm-comparisons:{tmp_path}", "pair")  # all of them are held out: then none is
    assert told(news) == [(NEWS, (" yes", " no"), 0, "cnndm0.json:1"),
                          (NEWS, (" one", " two"), 0, "edit_b2.jsonl.gz:1")]  # fmt: skip
    assert none == []
    train, held = records(f"tldr-comparisons:{tmp_path}/batch9.json")  # for a stage that imitates
    assert [r.responses for r in train + held] == [(" good",), (" fine",), (" yes",)]


def test_comparisons_that_say_nothing_are_counted(tmp_path, tokenizer, capsys):
    rows = [comparison("a", "b"), comparison("a", " a"), comparison(" ", "b")]
    path = write(tmp_path / "batch9.json", [*rows, comparison("a", "b", 0, "valid2", "cnndm1")])
    train, held = data.load([f"tldr-comparisons:{path}"], (), 0, 1, tokenizer, ("pair",))
    assert [r.responses for r in train] == [(" a", " b")] and held == []
    assert capsys.readouterr().out == f"{path}: 2 records left out: there is no response, or the two are the same\n"


def test_parts_of_the_posts(tmp_path):
    """The published rule, and each part with its complement is the whole."""
    words = {"short": "w " * 244 + "w", "long": "w " * 245 + "w", "spaced": "w" + " " * 245, "lines": "w\n" * 400}
    names = ("relationship_advice", "AskReddit", "relationships", "tifu", "dating_advice", "Askreddit", "loseit", "")
    rows = [post(name, key, text) for name in names for key, text in words.items()]
    path = write(tmp_path / "posts.jsonl", rows)
    pairs = write(tmp_path / "batch9.json", [comparison("a", "b", subreddit=r["subreddit"], title=r["title"],
                                                        post=r["post"]) for r in rows])  # fmt: skip

    def part(ending, source=f"tldr:{path}"):
        found, _ = records(source + ending, "completion")
        return {(r.prompt.split("\n")[0].removeprefix("SUBREDDIT: r/"), r.prompt.split("\n")[1].removeprefix("TITLE: "))
                for r in found}  # fmt: skip

    all_of = {(name, key) for name in names for key in words}
    known = {(name, key) for name, key in all_of if name in names[:5]}
    short = {(name, key) for name, key in all_of if key in ("short", "lines")}
    for source in (f"tldr:{path}", f"tldr-comparisons:{pairs}"):
        assert part(":subreddit=in", source) == known and part(":subreddit=out", source) == all_of - known
        assert part(":length=in", source) == short and part(":length=out", source) == all_of - short
        assert part(":length=out:subreddit=in", source) == known - short


# ---------------------------------------------------------------- long texts


def cut_slowly(corpus, texts, limit, tokenizer):
    """Return a prompt whose last text has lost a line after the other, then a word after the other, until it fits."""
    texts, key = dict(texts), list(texts)[-1]

    def fits(text):
        return len(tokenizer.encode(TEMPLATES[corpus].format(**texts | {key: text}))) <= limit

    while not fits(texts[key]) and "\n" in texts[key]:
        texts[key] = texts[key][: texts[key].rindex("\n")]
    if not fits(texts[key]):
        words = [n for n in range(1, len(texts[key]) + 1)
                 if not texts[key][n - 1].isspace() and texts[key][n : n + 1].strip() == ""]  # fmt: skip
        texts[key] = texts[key][: max(n for n in [0, *words] if fits(texts[key][:n]))]
    return TEMPLATES[corpus].format(**texts)


def test_long_posts_lose_their_last_lines(tmp_path, tokenizer, capsys):
    texts = ["Tom lost his lantern at the market.\n\nAnna found it in the snow, 42 steps away.\nHe was glad.\n",
             " Tom lost  his lantern at the market. " * 5 + "\nAnna.", "caf\u00e9 \U0001f642 " * 30, "", "short",
             "Tom.\n" + "Tom lost his lantern at the market. " * 5]  # fmt: skip
    rows = [post(title="T", text=text) for text in texts]
    posts = write(tmp_path / "posts.jsonl", rows)
    pairs = write(tmp_path / "batch9.json", [comparison("a", "b", post=text) for text in texts])
    news = write(tmp_path / "news.jsonl", [{"article": text, "highlights": "h"} for text in texts])
    for limit in (40, *range(50, 90, 3), 1000):
        slowly = [cut_slowly("tldr", {"subreddit": "tifu", "title": "T", "post": x}, limit, tokenizer) for x in texts]
        capsys.readouterr()
        found, _ = records(f"tldr:{posts}:tokens={limit}", "prompt", tokenizer)
        assert [r.prompt for r in found] == slowly
        n = sum(TEMPLATES["tldr"].format(**row) != prompt for row, prompt in zip(rows, slowly))
        said = f"tldr:{posts}:tokens={limit}: the ends of {n} texts cut off, for prompts of {limit} tokens\n"
        assert capsys.readouterr().out == (said if n else "") and (n > 2 or limit > 70), n
        found, _ = records(f"cnndm:{news}:tokens={limit}", "prompt", tokenizer)
        assert [r.prompt for r in found] == [cut_slowly("cnndm", {"article": x}, limit, tokenizer) for x in texts]
    found, _ = records(f"tldr-comparisons:{pairs}:subreddit=in:tokens=60", "pair", tokenizer)
    assert max(len(tokenizer.encode(r.prompt)) for r in found) <= 60
    with pytest.raises(UserError, match='posts.jsonl:1: "post": expected room for it in a prompt of 9 tokens, '):
        records(f"tldr:{posts}:tokens=9", "prompt", tokenizer)


def test_without_a_limit_a_long_prompt_keeps_its_end_and_a_long_summary_is_reported(tmp_path, tokenizer):
    path = write(tmp_path / "posts.jsonl", [post(text="w " * 300, summary="word " * n) for n in (100, 2)])
    train, _ = data.load([f"tldr:{path}"], (), 0, 1, tokenizer, ("completion",))
    encoded, report = data.encode(train, tokenizer, StopRule(tokenizer.eot, 12), n_positions=64)
    assert (report.n_prompts_cut, report.n_responses_cut) == (2, 1)
    whole = tokenizer.encode(train[0].prompt)
    assert encoded[0].prompt == whole[-52:] and tokenizer.decode(encoded[0].prompt).endswith("\nTL;DR:")
    assert len(encoded[0].responses[0]) == 12 and encoded[1].responses[0][-1] == tokenizer.eot


# ---------------------------------------------------------------- what is refused


def without(row, key):
    return {k: x for k, x in row.items() if k != key}


GOOD = comparison("good", "bad")
BAD_COMPARISONS = [
    (without(GOOD, "choice"), '"choice": expected 0 or 1, the place of the better summary, found nothing'),
    (GOOD | {"choice": None}, '"choice": .* found null'),
    (GOOD | {"choice": 2}, '"choice": .* found 2'),
    (GOOD | {"choice": -1}, '"choice": .* found -1'),
    (GOOD | {"choice": True}, '"choice": .* found true'),
    (GOOD | {"choice": [0, 1]}, r'"choice": .* found \[0, 1\]'),
    (GOOD | {"choice": "0"}, '"choice": .* found "0"'),
    (GOOD | {"summaries": GOOD["summaries"][:1]}, '"summaries": expected a list of 2'),
    (GOOD | {"summaries": GOOD["summaries"] * 2}, '"summaries": expected a list of 2'),
    (without(GOOD, "summaries"), '"summaries": expected a list of 2, found nothing'),
    (GOOD | {"summaries": [{"text": "a"}, {"note": None}]}, r'"summaries\[1\].text": expected a text, found nothing'),
    (GOOD | {"summaries": [{"text": None}, {"text": "b"}]}, r'"summaries\[0\].text": expected a text, found null'),
    (GOOD | {"summaries": ["a", "b"]}, r'"summaries\[0\].text": expected a text'),
    (without(GOOD, "info"), '"info.subreddit": expected a text, found nothing'),
    (GOOD | {"info": without(GOOD["info"], "post")}, '"info.post": expected a text, found nothing'),
    (post(), '"info.subreddit": expected a text, found nothing'),  # of the other file
    ([], "expected a JSON object, found a list of 0"),
    (None, "expected a JSON object, found null"),
]


@pytest.mark.parametrize("row, says", BAD_COMPARISONS)
def test_a_bad_comparison_is_refused_by_file_line_and_key(row, says, tmp_path):
    path = write(tmp_path / "batch9.json", [GOOD, row])
    with pytest.raises(UserError, match=f"(?s)^{path}:2: {says}") as error:
        records(f"tldr-comparisons:{tmp_path}", "pair")
    assert len(str(error.value).splitlines()) <= 3 and "\nLine: " in str(error.value)


@pytest.mark.parametrize("source, row, says", [
    ("tldr", without(post(), "summary"), '"summary": expected a text, found nothing'),
    ("tldr", post(title=None), '"title": expected a text, found null'),
    ("tldr", GOOD, '"subreddit": expected a text, found nothing'),
    ("tldr", post(text="half \ud83d"), "half a character"),
    ("cnndm", post(), '"article": expected a text, found nothing'),
    ("cnndm", {"article": "a", "highlights": ["a", "b"]}, r'"highlights": expected a text, found \["a", "b"\]'),
    ("cnndm-comparisons", comparison("a", "b", 0, "valid2", "cnndm2", article=7), '"info.article": .* found 7'),
    ("cnndm-comparisons", comparison("a", "b", 3, "valid2", "cnndm2"), '"choice": .* found 3'),
])  # fmt: skip
def test_bad_lines_of_the_other_files(source, row, says, tmp_path):
    path = write(tmp_path / "x.jsonl", [row])
    with pytest.raises(UserError, match=f"{path}:1: .*{says}"):
        records(f"{source}:{path}", "prompt")


@pytest.mark.parametrize("best, says", [(None, '"best": missing'), ([0, 2], r"found \[0, 2\]"), ("0", 'found "0"'),
                                        (3, "from 0 to 2, found 3")])  # fmt: skip
def test_a_tie_of_three_is_no_best(best, says, tmp_path):
    path = write(tmp_path / "labels.jsonl", [{"prompt": "P", "completions": [" a", " b", " c"], "best": best}])
    with pytest.raises(UserError, match=f"{path}:1: .*{says}"):
        read_records(path, ("pair", "best", "ranking"))


@pytest.mark.parametrize("name, says", [
    ("tldr:{}/posts.jsonl:subredit=in", "once: :subreddit=in|out, :length=in|out, :tokens=NUMBER.\nFound :subredit=in"),
    ("tldr:{}/posts.jsonl:subreddit=tifu", "each once: :subreddit=in|out, :length=in|out, :tokens=NUMBER.\nFound :"),
    ("tldr:{}/posts.jsonl:length=in:length=out", "each once"),
    ("tldr:{}/posts.jsonl:tokens=0", "Found :tokens=0"),
    ("tldr:{}/posts.jsonl:sentiment=in", "Found :sentiment=in"),
    ("cnndm:{}/posts.jsonl:length=in", "each once: :tokens=NUMBER.\nFound :length=in"),
    ("tldr:{}/posts.jsonl?subreddit=in", "there is no such file"),
    ("tldr:{}/nowhere.jsonl:subreddit=in", "expected tldr:FILE, a file; there is no such file"),
    ("tldr:{}", "expected tldr:FILE, a file; there is no such file"),
    ("tldr", "After it may come :subreddit=in|out, :length=in|out, :tokens=NUMBER."),
    ("tldr-comparisons", "expected tldr-comparisons:FILE, a file, or a folder of them; there is no such file"),
    ("tldr-comparisons:{}/empty", "expected a folder of comparisons, .json files; it has none"),
    ("tldr:{}/posts.jsonl:length=out", "there are none of this kind and part"),
    ("cnndm-comparisons:{}/posts.jsonl", "there are none of this kind and part"),
])  # fmt: skip
def test_names_that_cannot_be_used(name, says, tmp_path, monkeypatch):
    write(tmp_path / "posts.jsonl", [post()])
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    name = name.format(tmp_path)
    with pytest.raises(UserError) as error:
        records(name, "prompt")
    assert str(error.value).startswith(f"--data {name}: ") and says in str(error.value), str(error.value)
    assert len(str(error.value).splitlines()) <= 3


# ---------------------------------------------------------------- the stages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Posts of two subreddits, and comparisons of summaries of them: of two posts those held out."""
    folder = tmp_path_factory.mktemp("summaries")
    rows = [post(("tifu", "loseit")[i % 2], f"T{i}", f"Tom lost {i} keys. " * (1 + i % 3), f"Tom lost {i}.")
            for i in range(8)]  # fmt: skip
    write(folder / "test.jsonl", rows)
    pairs = [comparison(row["summary"], worse, j, "valid1" if i > 5 else "train", subreddit=row["subreddit"],
                        title=row["title"], post=row["post"])
             for i, row in enumerate(rows) for j, worse in enumerate((" I am sad.", " It" + " is" * 40))]  # fmt: skip
    (folder / "comparisons").mkdir()
    write(folder / "comparisons" / "batch9.json", pairs)
    return folder


def test_stages_train_on_them(tiny, folder, tmp_path, capsys):
    flags = ["--model", tiny, *OWN, "--steps=1", "--eval_every=0"]
    train(train_sft, *flags, "--data", f"tldr:{folder}/test.jsonl:subreddit=in:tokens=40", "--max_response=4",
          "--samples=1", out=tmp_path / "sft")  # fmt: skip
    assert "responses cut by the stop rule (at most 4 tokens)" in capsys.readouterr().out
    rm = train(train_rm, *flags, "--normalise=2", "--data", f"tldr-comparisons:{folder}/comparisons",
               out=tmp_path / "rm")  # fmt: skip
    assert "12 records; 0 prompts cut" in (said := capsys.readouterr().out) and "6 responses cut" in said
    held = lines(rm / "predictions.jsonl")
    assert len(held) == 4 and {row["prompt"].split("\n")[1] for row in held} == {"TITLE: T6", "TITLE: T7"}
    assert [row["responses"][0] for row in held] == [" Tom lost 6."] * 2 + [" Tom lost 7."] * 2


def test_prompts_with_references_in_and_out_of_distribution(tiny, folder, tmp_path, capsys):
    """sample_bon.py takes them by name: the parts of one file are splits, and samples are scored again with them."""
    parts = [f"tldr:{folder}/test.jsonl:subreddit={side}" for side in ("in", "out")]
    more = f"tldr-comparisons:{folder}/comparisons"
    run = train(sample_bon, "--model", tiny, *ALIKE, "--data", *parts, more, "--reward=rougeL", "--n=2",
                "--max_response=6", out=tmp_path / "bon")  # fmt: skip
    rows = lines(run / "samples.jsonl")
    names = ["tldr:test:subreddit=in", "tldr:test:subreddit=out", "tldr-comparisons:comparisons"]
    assert list(dict.fromkeys(row["split"] for row in rows)) == names
    by = {name: [row for row in rows if row["split"] == name] for name in names}
    assert [len(by[name]) for name in names] == [8, 8, 4]  # of the comparisons two posts, each of which is in two
    for name, subreddit in zip(names, ("tifu", "loseit")):
        assert all(row["prompt"].startswith(f"SUBREDDIT: r/{subreddit}\nTITLE: T") for row in by[name])
    assert {row["reference"] for row in by[names[2]]} == {" Tom lost 6.", " Tom lost 7."}
    for row in rows:
        number = row["prompt"].split("\n")[1].removeprefix("TITLE: T")
        assert row["reference"] == f" Tom lost {number}."
        assert row["scores"]["rougeL"] == rouge(row["response"], row["reference"])["rougeL"]
    assert {f"{name}/rougeL/best_of_2" for name in names} <= result_of(run).keys()
    again = train(sample_bon, "--model", tiny, *ALIKE, "--samples", run, "--data", *parts, more, "--reward=rouge1",
                  out=tmp_path / "again")  # fmt: skip
    assert all(row["scores"]["rouge1"] == rouge(row["response"], row["reference"])["rouge1"]
               for row in lines(again / "samples.jsonl"))  # fmt: skip
    said = refuses(sample_bon, "--model", tiny, *ALIKE, "--data", f"tldr:{folder}/test.jsonl:subreddit=all")
    assert said.startswith("--data tldr:") and "subreddit=in|out" in said
