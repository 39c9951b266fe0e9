"""Read records from files, and refuse every line that is not plainly one.

    pairs = read_records(["mine.jsonl", "more.jsonl.gz"], wants=("pair",))

A file holds one JSON object a line (.jsonl, also gzipped), or is a .json with one list of them, or a .txt with one
prompt a line, spaces at its end left out. TRL's column names:

    {"prompt": "Why?"}
    {"prompt": "Why?", "completion": " Because."}
    {"prompt": "Why?", "chosen": " Because.", "rejected": " No.", "margin": 0.5}      the margin is optional
    {"prompt": "Why?", "completions": [" Eh?", " Because.", " No."], "best": 1}       best of k, counted from 0
    {"prompt": "Why?", "ranking": [" Because.", " No.", " Eh?"]}                      the best first

Texts are taken as they stand, so a response brings the space in front of it. Token ids may stand for a text. Also read:
    conversations: lists of {"role", "content"} as prompt and responses, or `messages` (its last turn, if it is the
        assistant's, is the completion), or whole dialogues as chosen and rejected; written out as in TEMPLATE
    HH's dialogues: chosen and rejected alone, as texts "\\n\\nHuman: ...\\n\\nAssistant: ..."
    Alpaca's {"instruction", "input", "output"}, with chosen and rejected where given; written out as in INSTRUCTION
Where two whole dialogues are given, the prompt is what they share up to the last turn of the assistant.

Other keys are ignored. Python's json takes NaN, duplicate keys and lone surrogates, and a misspelt key is just another
key; here each is an error that names file, line and key, because a misread record would train without a sound.
"""

import difflib
import functools
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minalign.errors import UserError
from minalign.records import Record, Text, serve

TEMPLATE = "{system}\n\nHuman: {user}\n\nAssistant: {assistant}"  # the prompt ends with "Assistant:"
INSTRUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"  # without the input where it is empty
)
SPEAKERS = {"system": "", "user": "Human: ", "assistant": "Assistant: "}
ANSWER = "\n\nAssistant:"
KEYS = {  # kind of record: the keys of its responses, from the most to the least that a record can say
    "ranking": ("ranking",),
    "best": ("completions", "best"),
    "pair": ("chosen", "rejected"),
    "completion": ("completion",),
    "prompt": (),
}
KNOWN = frozenset({"prompt", "margin", *(key for keys in KEYS.values() for key in keys)})
EXAMPLES = {
    "prompt": '{"prompt": "Why?"}',
    "completion": '{"prompt": "Why?", "completion": " Because."}',
    "pair": '{"prompt": "Why?", "chosen": " Because.", "rejected": " No."}',
    "best": '{"prompt": "Why?", "completions": [" Eh?", " Because."], "best": 1}',
    "ranking": '{"prompt": "Why?", "ranking": [" Because.", " No.", " Eh?"]}',
}
OTHER_FILES = {  # how other files begin
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"version https://git-lfs": "a git-LFS pointer",
    b"<!doctype": "a web page",
    b"<html": "a web page",
}


class BadRow(Exception):
    """What is wrong with a line; `read_records` adds where it is."""


class _Useless(BadRow):
    """It is well formed, but there is nothing to learn from it."""


# ---------------------------------------------------------------- reading


def read_records(
    paths: str | Path | Sequence[str | Path],
    wants: Sequence[str] = ("completion",),
    skipped: Counter | None = None,
    form: Callable[[dict], dict | None] | None = None,
) -> list[Record]:
    """Return the records of one or several files, each of a kind in `wants` (see `serve`).

    skipped: where given, pairs with equal or empty responses are counted there and left out; else they are errors.
    form: turns the object of a line, of another form, into one with TRL's names, or into None, which leaves it out; may
    raise BadRow. Of such files none needs to have a record.
    Lines may end in \\r\\n, a file may begin with a byte-order mark and end with blank lines. Raises UserError of three
    lines at most for anything else.
    """
    records = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        before, where, line, blank = len(records), str(path), b"", None
        example = "" if form else f"\nExample: {EXAMPLES[wants[0]]}"
        try:
            for where, line in _lines(Path(path).expanduser()):
                if not line.strip():
                    blank = blank or where
                    continue
                if blank:
                    where = blank
                    raise BadRow("expected one JSON object a line, found a blank line: delete it")
                try:
                    row = {"prompt": _decode(line).rstrip()} if ".txt" in Path(path).suffixes else _parse(line)
                    if form and isinstance(row, dict) and (row := form(row)) is None:
                        continue
                    records.append(_record(row, wants, where))
                except _Useless:
                    if skipped is None:
                        raise
                    skipped[str(path)] += 1
        except BadRow as error:
            shown = f"\nLine: {_printable(line.decode('utf-8', 'replace').strip(), 100)}" if line.strip() else ""
            raise UserError(f"{where}: {_printable(str(error), 300)}.{shown}{example}") from None
        except FileNotFoundError:
            raise UserError(f"{path}: expected a file of records; there is no such file.") from None
        except PermissionError:
            raise UserError(f"{path}: no permission to read it. Try: chmod u+r {path}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{where}: the gzip file is cut short or damaged here ({error}). Fetch it again.") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from None
        if len(records) == before and not form:
            if ".txt" in Path(path).suffixes:
                raise UserError(f"{path}: expected prompts, one a line; there is none.")
            raise UserError(f"{path}: expected records, one JSON object a line; there is none to learn from.{example}")
    return records


def _printable(text: str, most: int) -> str:
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= most else text[:most] + "..."


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (file:number, line)."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if ".json" in p.name)[:3]
        raise BadRow(f"expected a file, found a folder{' with ' + ', '.join(inside) if inside else ''}")
    with open(path, "rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw  # whatever the file is called
        start = file.peek(64).lstrip().lower()
        for magic, name in OTHER_FILES.items():
            if start.startswith(magic.lower()):
                raise BadRow(f"expected JSON lines in UTF-8, found {name}: convert it or fetch the file itself")
        if ".json" in path.suffixes and start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            for number, row in enumerate(_parse(file.read().removeprefix(b"\xef\xbb\xbf")), 1):
                yield f"{path}, record {number}", json.dumps(row).encode()
            return
        for number, line in enumerate(file, 1):
            yield f"{path}:{number}", line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _object(pairs: list[tuple[str, Any]]) -> dict:
    twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
    if twice:
        raise BadRow(f'"{twice[0]}": expected each key once, found it twice')
    return dict(pairs)


def _constant(name: str):
    raise BadRow(f"expected JSON, which has no {name}")


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"the byte {line[error.start]:#x} at {error.start + 1}"
        raise BadRow(f"expected UTF-8, found {found}: save the file as UTF-8") from None


def _parse(line: bytes) -> Any:
    try:
        return json.loads(_decode(line).rstrip("\r\n"), object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise BadRow("expected one flat JSON object, found lists or objects nested too deeply") from None
    except json.JSONDecodeError as error:
        found = "something after its end" if error.msg == "Extra data" else error.msg.removesuffix(" at").lower()
        raise BadRow(f"expected one JSON object a line, found an error at column {error.colno}: {found}") from None
    except ValueError as error:  # an integer of more than 4,300 digits
        raise BadRow(f"expected JSON that can be read: {str(error).split(':')[0]}") from None


# ---------------------------------------------------------------- one record


def _record(row: Any, wants: Sequence[str], where: str) -> Record:
    if not isinstance(row, dict):
        raise BadRow(f"expected a JSON object, found {_type(row)}")
    row = {key: value for key, value in row.items() if value is not None}  # tables write null for a column not in use
    found = _printable(", ".join(row) or "none", 100)
    for key in row.keys() - KNOWN:
        meant = _meant(key, KNOWN.difference(row))
        if meant:
            raise BadRow(f'"{key}": unknown key; expected "{meant}"? Found keys: {found}')
    row = _named(row)
    if "prompt" not in row:
        raise BadRow(f'"prompt": missing. Found keys: {found}')

    # Of several kinds in one row the stage's own counts; of those it cannot use, the one that says most.
    full = [kind for kind, keys in KEYS.items() if all(key in row for key in keys)]
    kind = next((kind for kind in full if kind in wants), full[0])
    if kind == "prompt" and kind not in wants:
        kind = next((kind for kind, keys in KEYS.items() if any(key in row for key in keys)), "prompt")
        missing = [key for key in KEYS[kind] if key not in row]
        if missing:
            raise BadRow(f'"{missing[0]}": missing. Found keys: {found}')

    prompt = _prompt("prompt", row["prompt"])
    best, margin, name = None, 0.0, "rejected"
    if kind in ("best", "ranking"):
        name = KEYS[kind][0]
        if not isinstance(row[name], list) or len(row[name]) < 2:
            raise BadRow(f'"{name}": expected a list of at least 2 responses, found {_type(row[name])}')
        # What a model has drawn may be empty, and among completions one may be there twice: that is not a mistake.
        responses = [_response(f"{name}[{i}]", text, kind == "best" or i > 0) for i, text in enumerate(row[name])]
    else:
        responses = [_response(key, row[key], key == "rejected") for key in KEYS[kind]]
    if kind == "best":
        best = row["best"]
        if type(best) is not int or not 0 <= best < len(responses):
            found = json.dumps(best)[:40]
            raise BadRow(f'"best": expected a whole number from 0 to {len(responses) - 1}, found {found}')
        if len(responses) == 2:  # a pair has the chosen one first
            responses, best = [responses[best], responses[1 - best]], 0
    if kind == "pair":
        best, margin = 0, row.get("margin", 0.0)
        if type(margin) not in (int, float) or not 0 <= margin < 1e9:
            raise BadRow(f'"margin": expected a number of at least 0, found {json.dumps(margin)[:40]}')
    if len(responses) > 1 and len(set(responses)) == 1:
        raise _Useless(f'"{name}": expected responses that differ, found the same text: delete the line')
    if kind == "ranking" and len(set(responses)) < len(responses):
        raise BadRow('"ranking": expected responses that differ, found one of them twice')
    record = serve(Record(prompt, tuple(responses), best, kind == "ranking", float(margin), where), wants)
    if record is None:
        raise BadRow(f"expected keys for {' or '.join(wants)}. Found keys: {found}")
    return record


@functools.lru_cache(1024)  # a file has the same keys in every line
def _meant(key: str, absent: frozenset[str]) -> str | None:
    near = difflib.get_close_matches(key.lower(), absent, 1, 0.85)
    return near[0] if near else None


def _named(row: dict) -> dict:
    """Return a row with a prompt and TRL's names for the responses, whatever its form."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if _chat(chosen) and _chat(rejected) and not _chat(row.get("prompt")):
        a, b = _turns("chosen", chosen), _turns("rejected", rejected)
        same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)) - 1)
        cuts = [i for i in range(1, same + 1) if a[i][0] == b[i][0] == "assistant" and a[i - 1][0] == "user"]
        if not cuts:
            raise BadRow('"chosen", "rejected": expected dialogues that share their beginning, found two that do not')
        return row | {"prompt": chosen[: cuts[-1]], "chosen": chosen[cuts[-1] :], "rejected": rejected[cuts[-1] :]}
    if "messages" in row and not _chat(row.get("prompt")):
        turns = _turns("messages", row["messages"])
        if turns[-1][0] == "assistant":
            return row | {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}
        return row | {"prompt": row["messages"]}
    if "prompt" not in row and "instruction" in row:
        template, given = INSTRUCTION, _text("input", row.get("input", ""), True)
        if not given:
            template = template.replace("### Input:\n{input}\n\n", "")
        prompt = template.format(instruction=_text("instruction", row["instruction"]), input=given)
        return row | {"prompt": prompt} | ({"completion": row["output"]} if "output" in row else {})
    if "prompt" not in row and isinstance(chosen, str) and isinstance(rejected, str):
        shared = os.path.commonprefix([chosen, rejected])
        cut = shared.rfind(ANSWER) + len(ANSWER)
        if cut < len(ANSWER) or not shared.lstrip().startswith("Human:"):
            raise BadRow('"prompt": missing, and "chosen", "rejected" are not dialogues that share their beginning')
        return row | {"prompt": chosen[:cut], "chosen": chosen[cut:], "rejected": rejected[cut:]}
    return row


def _type(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    names = {str: "a text", dict: "an object", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "null")


def _text(name: str, value: Any, empty: bool = False) -> Text:
    if isinstance(value, list) and (value or empty) and all(type(x) is int and x >= 0 for x in value):
        return tuple(value)
    if not isinstance(value, str):
        raise BadRow(f'"{name}": expected a text, found {_type(value)}')
    if not empty and not value.strip():
        raise _Useless(f'"{name}": expected a text, found an empty one: delete the line')
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise BadRow(f'"{name}": expected a text, found half a character or a null byte in it')
    return value


def _chat(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _turns(name: str, value: Any) -> list[tuple[str, str]]:
    """Return a list of messages as (role, text)."""
    if not _chat(value):
        raise BadRow(f'"{name}": expected a list of messages, found {_type(value)}')
    turns = []
    for i, message in enumerate(value):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise BadRow(f'"{name}[{i}]": expected {{"role": ..., "content": ...}}, found {_type(message)}')
        role, content = message["role"], message["content"]
        if role not in list(SPEAKERS) or role == "system" and i:
            found = json.dumps(role)[:40]
            raise BadRow(f'"{name}[{i}].role": expected user, assistant or, first, system, found {found}')
        if not isinstance(content, str):
            raise BadRow(f'"{name}[{i}].content": expected a text, found {_type(content)}')
        turns.append((role, _text(f"{name}[{i}].content", content).strip()))
    return turns


def _written(turns: list[tuple[str, str]]) -> str:
    return "\n\n".join(SPEAKERS[role] + text for role, text in turns)


def _prompt(name: str, value: Any) -> Text:
    if not _chat(value):
        return _text(name, value)
    turns = _turns(name, value)
    if turns[-1][0] != "user":
        raise BadRow(f'"{name}": expected the user\'s turn last, found the {turns[-1][0]}\'s')
    return _written(turns) + ANSWER


def _response(name: str, value: Any, empty: bool) -> Text:
    if not _chat(value):
        return _text(name, value, empty)
    turns = _turns(name, value)
    if turns[0][0] != "assistant" or turns[-1][0] != "assistant":
        raise BadRow(f'"{name}": expected the assistant\'s turn first and last, found another\'s')
    return _written(turns).removeprefix("Assistant:")
