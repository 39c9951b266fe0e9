"""Published data sets in their own form, downloaded once and kept.

    train, test = read("hh:harmless", wants=("pair",), tokenizer=tokenizer, skipped=Counter())

`--data NAME` fetches it; `--data NAME:FILE` reads a copy of one's own. Downloads go to $MINALIGN_CACHE, or to
~/.cache/minalign, under host and path of their address: a file that is put there by hand is taken as it is.

hh, hh:harmless, hh:helpful               pairs (Bai et al. 2022)                     held out: its test files
openai:sentiment, openai:descriptiveness  best of 4, GPT-2's ids (Ziegler et al. 2019)  held out: after 4,992 rows
openai:tldr, openai:cnndm                 the same, of summaries                      held out: after 46,000 rows
imdb                                      completions (Maas et al. 2011)              held out: its test reviews
puns                                      completions (github JacksonPaull/RLHF)      held out: a tenth of the prompts

Summaries of posts and articles, and comparisons of these, are read from files that one has, in parts if wanted:
tldr:FILE, cnndm:FILE, tldr-comparisons:FILE, cnndm-comparisons:FILE (minalign/tldr.py says how).
"""

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from minalign import tldr
from minalign.errors import UserError
from minalign.files import sha256_of, sync_folder
from minalign.jsonl import read_records
from minalign.records import Record, serve, split
from minalign.tokenizer import Tokenizer

try:
    import fcntl
except ImportError:  # Windows: two processes that fetch the same file at once are not kept apart
    fcntl = None

NAMES = ("hh", "hh:harmless", "hh:helpful", "openai:sentiment", "openai:descriptiveness", "openai:tldr", "openai:cnndm",
         "imdb", "puns")  # fmt: skip
FROM_FILES = ("tldr:FILE", "tldr-comparisons:FILE", "cnndm:FILE", "cnndm-comparisons:FILE")
SERVES = {  # what kinds of records a stage may want of a source
    **dict.fromkeys(("hh", "tldr-comparisons", "cnndm-comparisons"), ("pair", "completion", "prompt")),
    **dict.fromkeys(("imdb", "puns", "tldr", "cnndm"), ("completion", "prompt")),
    "openai": ("best", "completion", "prompt"),
}
HH = "https://huggingface.co/datasets/Anthropic/hh-rlhf/resolve/main/{part}-base/{side}.jsonl.gz"
OPENAI = "https://openaipublic.blob.core.windows.net/lm-human-preferences/labels/{part}/{file}.json"
OPENAI_FILES = {  # file, rows that OpenAI trains on (of 6,264, 6,260, 46,287 and 46,545), text before and after a query
    "sentiment": ("offline_5k", 4992, "", ""),
    "descriptiveness": ("offline_5k", 4992, "", ""),
    "tldr": ("online_45k", 46_000, "", "\n\nTL;DR:"),
    "cnndm": ("online_45k", 46_000, "Article:\n\n", "\n\nTL;DR:"),
}
IMDB = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
IMDB_SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
PUNS = "https://raw.githubusercontent.com/JacksonPaull/RLHF/7460b32844386919e3ebfc7c6f6e63afcc8cc2c3/Pun_Dataset.json"
PUNS_SHA256 = "a087eeb4a0b581d780713746b262763d58eb0d280e051b426e6bc91821e331e4"
OPENAI_PAD = 50259  # fills up its queries; no token of GPT-2's 50,257


def read(
    name: str, wants: Sequence[str], tokenizer: Tokenizer, skipped: Counter
) -> tuple[list[Record], list[Record]] | None:
    """Return a source's records, of kinds in `wants`, and those it holds out ([] where it is one file of several).

    None where the name is that of a file. skipped: what says nothing is left out and counted there. Raises UserError
    for a name that is neither, and where the source has no records of such a kind.
    """
    source, _, part = name.partition(":")
    parts = [n.partition(":")[2] for n in NAMES if n.startswith(source + ":")]
    if Path(name).expanduser().exists():
        return None
    if source not in SERVES:
        names = ", ".join(NAMES + FROM_FILES)
        raise UserError(f"--data {name}: expected a file, or one of {names}; there is no such file.")
    summaries = source.partition("-")[0] in tldr.TEMPLATES
    file = None if summaries or part in parts or (not part and source in NAMES) else Path(part).expanduser()
    if file is not None and not file.is_file():
        raise UserError(f"--data {name}: expected one of {', '.join(NAMES)}, or {source}:FILE; there is no such file.")
    if not set(wants) & set(SERVES[source]):
        able = [n for n in NAMES + FROM_FILES if set(wants) & set(SERVES[n.partition(":")[0]])]
        raise UserError(
            f"--data {name}: this stage needs records of kind {' or '.join(wants)}; {source} has {SERVES[source][0]}.\n"
            f"Sources that have them: {', '.join(able) or 'none'}. Or give a file of your own."
        )
    held: list[Record] = []
    if summaries:
        train, held = tldr.read(name, tokenizer, skipped)
    elif source == "hh" and file:
        train = hh(file, skipped)
    elif source == "hh":
        train, held = (
            [r for part in ([part] if part else parts) for r in hh(fetch(HH.format(part=part, side=side)), skipped)]
            for side in ("train", "test")
        )
    elif source == "openai":
        published, n, *frame = OPENAI_FILES.get(part, ("", 10**9))  # of a file of one's own nothing is known
        train = openai_labels(file or fetch(OPENAI.format(part=part, file=published)), tokenizer, *frame)
        train, held = train[:n], train[n:]
    elif source == "imdb":
        train, held = imdb(file or fetch(IMDB, IMDB_SHA256), skipped)
    else:
        train, held = split(puns(file or fetch(PUNS, PUNS_SHA256)), 0.1, key=lambda r: r.prompt.partition("\n\n")[0])
    return [serve(r, wants) for r in train], [serve(r, wants) for r in held]


# ---------------------------------------------------------------- readers


def hh(path: str | Path, skipped: Counter | None = None) -> list[Record]:
    """Read HH-RLHF: pairs of dialogues; what they share, up to the last turn of the assistant, is the prompt.

    A few pairs of the published files are equal or have an empty response: left out, counted in `skipped`.
    """
    return read_records(path, ("pair",), Counter() if skipped is None else skipped)


def openai_labels(path: str | Path, tokenizer: Tokenizer, before: str = "", after: str = "") -> list[Record]:
    """Read a label file of lm-human-preferences: rows {query, sample0, sample1, ..., best}, in GPT-2's token ids.

    before, after: texts to put around each query: OpenAI's policies read them, its reward models do not; here all read
    the same prompt. Queries, and samples if they must, are filled up with OPENAI_PAD; any other id that is not GPT-2's
    is a UserError, as is any other tokenizer.
    """
    if (tokenizer.eot, tokenizer.encode("Hello world")) != (50256, [15496, 995]):
        raise UserError(
            f"{path}: its texts are token ids of GPT-2's vocabulary; the model's is another one, of {len(tokenizer)} "
            "tokens.\nUse --model gpt2 (or -medium, -large, -xl)."
        )
    records, frame = [], [tokenizer.encode(text) if text else [] for text in (before, after)]
    for number, row in enumerate(_json_list(path), 1):
        where = f"{path}, row {number}"
        names, best = [f"sample{i}" for i in range(len(row)) if f"sample{i}" in row], row.get("best")
        if "query" not in row or len(names) < 2 or type(best) is not int or not 0 <= best < len(names):
            raise UserError(f"{where}: expected query, sample0, sample1, ... and best, the number of a sample.\n"
                            f"Found: {', '.join(row)[:100]}; best {str(best)[:20]}")  # fmt: skip
        texts = []
        for name in ("query", *names):
            ids = row[name]
            if not isinstance(ids, list) or not all(type(i) is int for i in ids):
                raise UserError(f"{where}: {name}: expected a list of token ids, found something else.")
            while ids and ids[-1] == OPENAI_PAD:
                ids = ids[:-1]
            wrong = [i for i in ids if not 0 <= i < 50257]
            if wrong or not ids:
                found = f"the id {wrong[0]}" if wrong else "nothing"
                raise UserError(f"{where}: {name}: expected GPT-2's token ids, 0 to 50256, and {OPENAI_PAD} as padding "
                                f"at the end; found {found}.")  # fmt: skip
            texts.append(tuple(ids))
        prompt = (*frame[0], *texts[0], *frame[1])
        records.append(Record(prompt, tuple(texts[1:]), best, where=where))
    return records


def puns(path: str | Path) -> list[Record]:
    """Read the pun data set in its own template; its two-speaker records are jokes between A and B."""
    records = []
    for number, row in enumerate(_json_list(path), 1):
        asked, said, pun = (row.get(k) for k in ("Direct Prompt", "Conversation Prompt", "Example Response"))
        if not (isinstance(asked, str) and isinstance(pun, str) and isinstance(said, str | None) and asked and pun):
            raise UserError(f"{path}, row {number}: expected Direct Prompt, Example Response and Conversation Prompt "
                            f"(or null), as texts.\nFound: {str(row)[:120]}")  # fmt: skip
        told = f" Sure thing!\nA: {said}\nB:" if said else ""
        prompt = f"Human: {asked}\n\nAssistant:{told}"
        records.append(Record(prompt, (" " + pun,), where=f"{path}, row {number}"))
    return records


def imdb(path: str | Path, skipped: Counter | None = None) -> tuple[list[Record], list[Record]]:
    """Read reviews from aclImdb_v1.tar.gz, (train, test): a review goes on from its first sentence, the prompt.

    Nothing is unpacked to the disk. Reviews of one sentence are left out, counted in `skipped`.
    """
    sides: dict[str, list] = {"train": [], "test": []}
    try:
        with tarfile.open(path, "r|gz") as tar:
            for member in tar:
                place = re.search(r"(train|test)/(?:pos|neg)/[^/]+\.txt$", member.name)
                if not place or not member.isfile():
                    continue
                text = re.sub(r"(\s*<br\s*/?>\s*)+", "\n\n", tar.extractfile(member).read().decode("utf-8")).strip()
                ends = (m.end() for m in re.finditer(r"[.!?][\"')]*(?=\s)", text))
                end = next((end for end in ends if len(text[:end].split()) > 2), None)  # not after "Mr."
                if end:
                    sides[place[1]].append(Record(text[:end], (text[end:],), where=f"{path}, {place[0]}"))
                elif skipped is not None:
                    skipped[str(path)] += 1
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        raise UserError(f"{path}: expected the film reviews aclImdb_v1.tar.gz; the file cannot be read ({error}).\n"
                        "Delete it and fetch it again.") from None  # fmt: skip
    if not sides["train"]:
        raise UserError(f"{path}: expected film reviews, aclImdb/train/pos/0_9.txt and so on; the archive has none.")
    return sides["train"], sides["test"]


def _json_list(path: str | Path) -> list[dict]:
    try:
        content = Path(path).read_bytes()
        rows = json.loads((gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig"))
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected one JSON list of objects; the file is damaged ({error}).") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected one JSON list of objects, found something else.")
    return rows


# ---------------------------------------------------------------- downloads


def fetch(url: str, sha256: str | None = None, cache: str | Path | None = None) -> Path:
    """Return the local file of a URL (http, https, file), downloaded if it is not in the cache.

    What was interrupted goes on where it stopped, unless the server has another version by now. Raises UserError,
    within 3 seconds where the host cannot be reached, that says where to put the file by hand.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        target = Path(urllib.request.url2pathname(parts.path))
        if not target.is_file():
            raise UserError(f"{url}: expected a file; there is none at {target}.")
    else:
        folder = Path(cache or os.environ.get("MINALIGN_CACHE") or "~/.cache/minalign").expanduser()
        # The whole path: several of OpenAI's label files have the same name.
        names = [parts.netloc.replace(":", "_"), *parts.path.split("/")]
        target = folder.joinpath(*(name for name in names if name.strip(".")))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _lock(folder / ".lock"):
                if not target.is_file():
                    _download(url, target, sha256)
                    return target
        except OSError as error:
            raise UserError(f"{error.filename or target}: cannot be written: {error.strerror or error}.\n"
                            "Choose another folder for downloads with MINALIGN_CACHE=FOLDER.") from None  # fmt: skip
    if sha256 and sha256_of(target) != sha256:
        raise UserError(f"{target}: not the published file: its sha256 is not {sha256}.\nDelete it and fetch it again.")
    return target


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process after the other download."""
    with open(path, "ab") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(url: str, target: Path, sha256: str | None) -> None:
    host = urllib.parse.urlsplit(url)
    part, version = target.with_name(target.name + ".part"), target.with_name(target.name + ".version")
    by_hand = f"You can also fetch it elsewhere and put it at {target}"
    port = host.port or {"http": 80, "https": 443}[host.scheme]
    if host.scheme not in urllib.request.getproxies() and not _answers(host.hostname, port):
        raise UserError(f"{url}: {host.hostname} cannot be reached.\n{by_hand}")
    with open(part, "ab") as file:
        try:
            _transfer(url, file, version)
        except urllib.error.HTTPError as error:
            raise UserError(f"{url}: the server answers {error.code} {error.reason}.\n{by_hand}") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            raise UserError(f"{url}: the connection was lost after {file.tell():,} bytes ({error}).\n"
                            f"Run the command again: it goes on from there.\n{by_hand}") from None  # fmt: skip
        file.flush()
        os.fsync(file.fileno())
    if sha256 and sha256_of(part) != sha256:
        part.unlink()
        raise UserError(f"{url}: not the published file (its sha256 is not {sha256}): it was deleted.\n{by_hand}")
    os.replace(part, target)
    version.unlink(missing_ok=True)
    sync_folder(target.parent)


def _transfer(url: str, file, version: Path) -> None:
    """Append to a file what it lacks."""
    request = urllib.request.Request(url, headers={"User-Agent": "minalign"})
    known = version.read_text() if version.is_file() else ""
    if file.tell() and known:
        request.add_header("Range", f"bytes={file.tell()}-")
        request.add_header("If-Range", known)  # another version: the server sends all of it
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not file.tell():
            raise
        _empty(file)  # there was nothing left to send, or something else is there now
        return _transfer(url, file, version)
    with response:
        if not (response.headers.get("Content-Range") or "").startswith(f"bytes {file.tell()}-"):
            _empty(file)
        version.write_text(response.headers.get("ETag") or "")
        length = response.headers.get("Content-Length")
        total = file.tell() + int(length) if length else None
        name = url.rsplit("/", 1)[-1]
        with tqdm(desc=name, total=total, initial=file.tell(), unit="B", unit_scale=True, disable=None) as bar:
            while chunk := _receive(response):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and file.tell() != total:
            raise ConnectionError(f"of {total:,}")


def _empty(file) -> None:
    file.seek(0)
    file.truncate()


def _receive(response) -> bytes:
    try:
        return response.read(1 << 20)
    except OSError as error:  # of the network, whatever its kind; those of the disk are another matter
        raise ConnectionError(str(error)) from None


def _answers(host: str, port: int, seconds: float = 2.5) -> bool:
    """Try to connect. In a thread, because looking a name up has no time limit of its own."""
    found = []

    def connect():
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=seconds).close()
            found.append(True)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(found)
