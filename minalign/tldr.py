"""TL;DR and CNN/DM in their published files: posts and articles, people's summaries of them, and comparisons of two.

    train, held = read("tldr-comparisons:comparisons:subreddit=in", tokenizer, skipped=Counter())

tldr:FILE               lines {"subreddit", "title", "post", "summary"} (Stiennon et al. 2020, tldr_3_filtered)
cnndm:FILE              lines {"article", "highlights"} (See et al. 2017, cnn_dailymail 3.0.0)
tldr-comparisons:PATH   a file or a folder of comparisons (Stiennon et al. 2020): those of posts, lines
                        {"info", "summaries": [{"text"}, {"text"}], "choice", "batch", "split"}
cnndm-comparisons:PATH  the same files: those of articles, whose batch is named cnndm

The prompts (TEMPLATES) are those of Kirk et al. 2024 (arXiv 2310.06452), and so are the parts of the posts that a model
is trained on and then tested outside of. Endings of a name say which, and what becomes of a long post:

:subreddit=in  of the five SUBREDDITS    :length=in  of at most WORDS words between single spaces    =out  all others
:tokens=512    a prompt has at most 512 tokens: its post or article loses the last line until it fits, as in Stiennon
               et al.'s code, and of a single line the last words (there: characters). Without this ending
               `--max_prompt`, or the model's context, keeps the prompt's end, as Kirk et al. do.
"""

import bisect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from minalign.errors import UserError
from minalign.jsonl import BadRow, read_records
from minalign.records import Record
from minalign.tokenizer import Tokenizer

TEMPLATES = {
    "tldr": "SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\nTL;DR:",
    "cnndm": "ARTICLE: {article}\nTL;DR:",
}
FIELDS = {"tldr": ("subreddit", "title", "post"), "cnndm": ("article",)}  # the last one may be cut
SUMMARIES = {"tldr": "summary", "cnndm": "highlights"}
SUBREDDITS = frozenset({"relationship_advice", "AskReddit", "relationships", "tifu", "dating_advice"})
WORDS = 245
PARTS = {
    "subreddit": lambda texts: texts["subreddit"] in SUBREDDITS,
    "length": lambda texts: len(texts["post"].split(" ")) <= WORDS,
}
ENDINGS = {  # what they may be, for the reader and for the program
    "tldr": (":subreddit=in|out, :length=in|out, :tokens=NUMBER", r"(subreddit|length)=(in|out)|tokens=[1-9]\d{0,8}"),
    "cnndm": (":tokens=NUMBER", r"tokens=[1-9]\d{0,8}"),
}


def read(name: str, tokenizer: Tokenizer, skipped: Counter) -> tuple[list[Record], list[Record]]:
    """Return a source's records, (train, held out): completions, or comparisons as pairs.

    Held out are comparisons that the files mark as of another split than train, where they have both. skipped: counts
    what is left out because a summary is empty or both are the same. Prints how many prompts `:tokens` has cut. Raises
    UserError for a name or a line that is not of this form, and where no records are left.
    """
    corpus, compares, paths, options = _parse(name)
    limit = int(options.pop("tokens", 0))
    validation, n_cut = set(), 0

    def form(row: dict) -> dict | None:
        """Return a line with TRL's names; None if it is of the other corpus or part."""
        nonlocal n_cut
        if compares and ("cnndm" in str(row.get("batch"))) != (corpus == "cnndm"):
            return None
        info, inside = (row.get("info"), "info.") if compares else (row, "")
        texts = {key: _text(info, key, inside) for key in FIELDS[corpus]}
        if any(PARTS[key](texts) != (value == "in") for key, value in options.items()):
            return None
        prompt = whole = TEMPLATES[corpus].format(**texts)
        if limit:
            prompt = _fit(corpus, texts, tokenizer, limit)
            n_cut += prompt != whole
        if not compares:
            said = _text(row, SUMMARIES[corpus])
            lines = said.split("\n") if corpus == "cnndm" else [said]
            return {"prompt": prompt, "completion": _answer(" ".join(line.strip() for line in lines if line.strip()))}
        if row.get("split") not in (None, "train"):
            validation.add(prompt)
        return {"prompt": prompt, **_pair(row)}

    records = read_records(paths, ("pair" if compares else "completion",), skipped, form)
    if not records:
        raise UserError(f"--data {name}: expected records to learn from; there are none of this kind and part.")
    if n_cut:
        print(f"{name}: the ends of {n_cut} texts cut off, for prompts of {limit} tokens")
    sides: tuple[list, list] = ([], [])
    for record in records:
        sides[record.prompt in validation].append(record)
    return sides if all(sides) else (records, [])


def _parse(name: str) -> tuple[str, bool, list[Path], dict[str, str]]:
    """Return the corpus, whether comparisons are asked for, the files, and the endings as {name: value}."""
    source, _, rest = name.partition(":")
    corpus, _, compares = source.partition("-")
    file, told = re.fullmatch(r"(.*?)((?::\w+=[^:/\\]*)*)", rest, re.DOTALL).groups()
    endings = told.split(":")[1:]
    options = dict(ending.split("=", 1) for ending in endings)
    may, pattern = ENDINGS[corpus]
    for ending in endings:
        if not re.fullmatch(pattern, ending) or len(options) < len(endings):
            raise UserError(f"--data {name}: expected after the file, each once: {may}.\nFound :{ending}.")
    path = Path(file).expanduser()
    if file and path.is_file():
        return corpus, bool(compares), [path], options
    if file and path.is_dir() and compares:
        if paths := sorted(p for p in path.iterdir() if ".json" in p.name):
            return corpus, True, paths, options
        raise UserError(f"--data {name}: expected a folder of comparisons, .json files; it has none.")
    what = "a file, or a folder of them" if compares else "a file"
    raise UserError(f"--data {name}: expected {source}:FILE, {what}; there is no such file.\nAfter it may come {may}.")


def _fit(corpus: str, texts: dict[str, str], tokenizer: Tokenizer, limit: int) -> str:
    """Return the prompt, its last text cut so that it has at most `limit` tokens: see `:tokens` above."""
    key = FIELDS[corpus][-1]

    def prompt(end: int) -> str:
        return TEMPLATES[corpus].format(**texts | {key: texts[key][:end]})

    def size(end: int) -> int:
        return len(tokenizer.encode(prompt(end)))

    if size(0) > limit:
        raise BadRow(f'"{key}": expected room for it in a prompt of {limit} tokens, found {size(0)} around it')
    end = len(texts[key])
    while size(end) > limit:
        line = texts[key].rfind("\n", 0, end)
        if line < 0:  # where a word ends, a longer text has no fewer tokens
            words = [0, *(word.end() for word in re.finditer(r"\S+", texts[key][:end]))]
            return prompt(words[bisect.bisect_right(words, limit, key=size) - 1])
        end = line
    return prompt(end)


def _pair(row: dict) -> dict:
    summaries, choice = row.get("summaries"), row.get("choice")
    if not isinstance(summaries, list) or len(summaries) != 2:
        raise BadRow(f'"summaries": expected a list of 2, found {_found(row, "summaries")}')
    texts = [_answer(_text(summary, "text", f"summaries[{i}].")) for i, summary in enumerate(summaries)]
    if type(choice) is not int or choice not in (0, 1):
        raise BadRow(f'"choice": expected 0 or 1, the place of the better summary, found {_found(row, "choice")}')
    return {"chosen": texts[choice], "rejected": texts[1 - choice]}


def _answer(text: str) -> str:
    """Return a summary as a response, with a space in front; an empty one stays empty."""
    return " " + text.strip() if text.strip() else ""


def _text(row: Any, key: str, inside: str = "") -> str:
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        raise BadRow(f'"{inside}{key}": expected a text, found {_found(row, key)}')
    return row[key]


def _found(row: Any, key: str) -> str:
    return json.dumps(row[key])[:40] if isinstance(row, dict) and key in row else "nothing"
