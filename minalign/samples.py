"""Files of samples, read: who answered which prompt with what, and how the answers were scored.

    {"prompt": "Why?", "response": " Because.", "scores": {"gold": 0.5}, "stopped": true}       samples.jsonl, a line
    [{"input": "Why?", "output": [" Because.", " Eh?"]}, ...]                                   decodes, a .json

Of samples.jsonl `prompt` and `response` are needed. Also used where they are there: `step` (those of the last step
count), `scores`, `split`, and `reference`, a person's answer or a list of them. A decodes file is a list in which each
entry has one output or several; without `input` it is an input of its own. Either may be gzipped (.gz).
"""

import gzip
import json
import math
import zlib
from collections.abc import Iterable
from pathlib import Path

from minalign import files
from minalign.cli import check_choice
from minalign.errors import UserError
from minalign.files import atomic_write


def read_jsonl(path: Path, keys: tuple[str, ...]) -> list[dict]:
    """Read a JSONL file (or .gz), in which each line is an object with texts under `keys`; UserError names the line."""
    wanted, rows = f"expected a JSON object with the texts {', '.join(keys)}", []
    for number, line in enumerate(_read(path).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:
            raise UserError(f"{where}: {wanted}, found {line[:60]!r}\n{error}") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: {wanted}, found {type(row).__name__} {str(row)[:60]}")
        if bad := [key for key in keys if not isinstance(row.get(key), str)]:
            found = f"a {type(row[bad[0]]).__name__}" if bad[0] in row else f"only {', '.join(row) or 'no key'}"
            raise UserError(f"{where}: {wanted}; for {bad[0]} it has {found}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: expected lines with {', '.join(keys)}, found none")
    return rows


def read_decodes(path: Path) -> list[dict]:
    """Read a JSON list of {"output": text or list of texts, "input": text} as rows of prompt and response."""
    wanted, rows = 'expected a list of {"output": text or list of texts, "input": text (optional)}', []
    try:
        entries = json.loads(_read(path).decode("utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: {wanted}\n{error}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: {wanted}, found {'an empty list' if entries == [] else type(entries).__name__}")
    for i, entry in enumerate(entries):
        outputs, prompt = (entry.get("output"), entry.get("input", f"#{i}")) if isinstance(entry, dict) else (None, "")
        outputs = [outputs] if isinstance(outputs, str) else outputs
        texts = isinstance(outputs, list) and outputs and all(isinstance(text, str) for text in [*outputs, prompt])
        if not texts:
            raise UserError(f"{path}, entry {i}: {wanted}\nfound {json.dumps(entry)[:80]}")
        rows += [{"prompt": prompt, "response": text} for text in outputs]
    return rows


def _read(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_rows(name: str) -> list[dict]:
    """Return the samples of a file, or of the samples.jsonl of a run folder; of several steps those of the last.

    Each is a dict with at least `prompt` and `response`, in the order of the file.
    """
    path = Path(name)
    if path.is_dir():
        path = path / "samples.jsonl"
    if not path.exists():
        raise UserError(f"{path}: no such file\nexpected a samples.jsonl, or a run folder that has one")
    decodes = path.name.removesuffix(".gz").endswith(".json")
    rows = read_decodes(path) if decodes else read_jsonl(path, ("prompt", "response"))
    for number, row in enumerate(rows, 1):
        for key, kind, what in (("scores", dict, "an object"), ("stopped", bool, "true or false"),
                                ("split", str, "a text")):  # fmt: skip
            if key in row and not isinstance(row[key], kind):
                raise UserError(f"{path}, sample {number}: {key}: expected {what}, found {str(row[key])[:60]}")
    steps = {row["step"] for row in rows if isinstance(row.get("step"), int)}
    if len(steps) > 1:
        last = max(steps)
        kept = [row for row in rows if row.get("step") == last]
        print(f"{path}: {len(kept)} of {len(rows)} samples are of the last step, {last}; the others do not count")
        rows = kept
    return rows


def settings_of(name: str | None) -> dict:
    """Return the settings of the run whose folder this is, or whose samples; {} where no run.json tells."""
    path = Path(name or "").expanduser()
    return files.read_settings(path if path.is_dir() else path.parent) if name else {}


def _sample(where: str, line: bytes) -> dict:
    """Return a line that this program has written; UserError where something has happened to it since."""
    try:
        row = json.loads(line)
        if isinstance(row["scores"], dict) and all(isinstance(row[x], str) for x in ("prompt", "response", "split")):
            return row
    except (ValueError, LookupError, TypeError):
        pass
    raise UserError(f"--resume: {where} is damaged: {line[:60]!r}\nstart again with --overwrite")


def finished(path: Path, sizes: list[int]) -> list[list[dict]]:
    """Return the batches that a run has written, `sizes` rows each; what a kill has left of another is cut off."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    complete = sum(line.endswith(b"\n") for line in lines)
    batches: list[list[dict]] = []
    start = 0
    for size in sizes:
        if start + size > complete:
            break
        batches.append([_sample(f"{path}:{i + 1}", lines[i]) for i in range(start, start + size)])
        start += size
    if lines[start:]:
        atomic_write(path, b"".join(lines[:start]))
    return batches


def by_prompt(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """Return the rows of each prompt, in their order: a prompt that occurs again adds to its first occurrence."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["prompt"], []).append(row)
    return found


def read_samples(name: str) -> dict[str, list[str]]:
    """Return the responses to each prompt, in the order of the file; of several steps only those of the last."""
    return {prompt: [row["response"] for row in rows] for prompt, rows in by_prompt(read_rows(name)).items()}


def references(row: dict) -> list[str]:
    """Return a row's human references, possibly none."""
    found = row.get("reference")
    found = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UserError(f'"reference": expected a text or a list of texts, found {json.dumps(found)[:60]}\n'
                        f"with the prompt {row['prompt'][:60]!r}")  # fmt: skip
    return found


def scores_of(rows: list[dict], where: str, name: str | None = None) -> tuple[str, list[float]]:
    """Return a score's name and its value for each row; without a name the first score of the first row.

    where: the rows' file, for the errors: no scores at all, an unknown name, a row without a number.
    """
    named = list(rows[0].get("scores") or {})
    if not named:
        raise UserError(f'{where}: the samples have no scores\n'
                        'expected "scores": {"gold": 0.5, ...} in each line, as sample_bon.py writes')  # fmt: skip
    name = name or named[0]
    check_choice("by", name, named)
    values = [(row.get("scores") or {}).get(name) for row in rows]
    for row, value in zip(rows, values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where}: expected a number as the score {name} of each sample, found {value}\n"
                            f"with the prompt {row['prompt'][:60]!r}")  # fmt: skip
    return name, values
