"""GPT-2's byte-level BPE through tiktoken, built from a model folder's own `vocab.json` and `merges.txt`.

tiktoken's own download is never used: a model's vocabulary is part of the model, and it works without a network.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import tiktoken

from minalign.errors import UserError
from minalign.files import atomic_write

EOT = "<|endoftext|>"
FILES = ("vocab.json", "merges.txt")

# GPT-2's split into words, numbers, punctuation and white space (tiktoken's r50k form of it: possessive, so that
# long runs of one class cannot overflow the matcher's stack). A word keeps the one space in front of it.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

# vocab.json and merges.txt write every byte as one printable character: printable Latin-1 bytes stand for themselves,
# the other 68 take the code points from 256 on (the space becomes U+0120). The order of this table is GPT-2's id order.
_PRINTABLE = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
_OTHER = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_TO_CHAR = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHER)}
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}


class Tokenizer:
    """Encode and decode text with one model's vocabulary. Build it with `from_folder`."""

    def __init__(self, folder, encoding, n_vocab):
        self.folder = Path(folder)
        self.encoding = encoding
        self.n_vocab = n_vocab
        self.eot = encoding._special_tokens[EOT]  # id of <|endoftext|>

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Return the tokenizer of a model folder; read once, and again only if the files have changed."""
        folder = Path(folder).expanduser().resolve()
        for name in FILES:
            if not (folder / name).is_file():
                found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else "no such folder"
                raise UserError(
                    f"{folder}: expected {' and '.join(FILES)} (GPT-2's vocabulary), but {name} is missing.\n"
                    f"Found: {found or 'an empty folder'}.\n"
                    "Copy both files from the model that this one was trained from (every GPT-2 folder has them)."
                )
        stamps = tuple(((folder / name).stat().st_mtime_ns, (folder / name).stat().st_size) for name in FILES)
        return _load(folder, stamps)

    def __len__(self):
        return self.n_vocab

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`. A literal "<|endoftext|>" in it is plain text, never the special token."""
        return self.encoding.encode_ordinary(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids (any iterable of int); bytes that are no valid UTF-8 become U+FFFD."""
        return self.encoding.decode([int(i) for i in ids])

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that one token stands for."""
        return self.encoding.decode_single_token_bytes(int(token_id))

    def save(self, folder: str | Path) -> None:
        """Copy the vocabulary files into `folder`, so that transformers' AutoTokenizer finds them there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES + ("tokenizer_config.json",):
            source, target = self.folder / name, folder / name
            if source.is_file() and source.resolve() != target.resolve():
                atomic_write(target, source.read_bytes())


@lru_cache(maxsize=16)
def _load(folder, stamps):
    """Build the tokenizer of a folder; `stamps` (time and size of the files) are only part of the cache's key."""
    vocab = read_vocab(folder / "vocab.json")
    ranks = _ranks(vocab, read_merges(folder / "merges.txt"), folder)
    # What neither is a byte nor comes from a merge must be a special token: <|endoftext|>, or a fine-tuner's <pad>.
    ordinary = set(ranks.values())
    special = {text: i for text, i in vocab.items() if i not in ordinary}
    stray = [text for text in special if not (text[:1] in "<[" and text[-1:] in ">]")]
    if stray:
        raise UserError(
            f"{folder}: {len(stray)} tokens of vocab.json come from no line of merges.txt, for example {stray[0]!r}.\n"
            "merges.txt is cut short or belongs to another model: copy both files from the same model again."
        )
    if EOT not in special:
        raise UserError(
            f"{folder / 'vocab.json'}: expected the token {EOT}, which ends every document; it is not there.\n"
            "Only GPT-2 vocabularies (model_type gpt2) can be read."
        )
    encoding = tiktoken.Encoding(folder.name, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    return Tokenizer(folder, encoding, len(vocab))


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text, found other bytes ({error.reason} at {error.start}).\n"
                        "The file is damaged: copy it again from the model's folder.") from None


def read_vocab(path: Path) -> dict[str, int]:
    """Return {token: id} of a vocab.json, every id from 0 on used once; UserError where the file is damaged."""
    text = _read_text(path)
    try:
        vocab = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{path}: expected a JSON object of token: id, found text that starts {text[:40]!r}.\n"
                        "The download is incomplete or a git-LFS pointer: fetch the file again.") from None
    if not isinstance(vocab, dict) or not all(type(i) is int for i in vocab.values()):
        raise UserError(f"{path}: expected a JSON object of token: id (whole numbers), found something else.\n"
                        "Copy vocab.json again from the model's folder.")
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise UserError(f"{path}: expected every id from 0 to {len(vocab) - 1} exactly once; "
                        "some are missing or used twice.\nCopy vocab.json again from the model's folder.")
    return vocab


def read_merges(path: Path) -> list[tuple[int, str, str]]:
    """Return a merges.txt as a list of (line number, left, right); UserError where the file is damaged."""
    merges = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        fields = line.split()
        if not fields or (number == 1 and line.startswith("#version")):
            continue
        if len(fields) != 2 or any(char not in CHAR_TO_BYTE for char in fields[0] + fields[1]):
            raise UserError(f"{path}:{number}: expected two symbols of byte-level BPE, found {line[:60]!r}.\n"
                            "Copy merges.txt again from the model's folder.")
        merges.append((number, *fields))
    return merges


def _ranks(vocab, merges, folder):
    """Return {token bytes: id}, checked to be what tiktoken needs.

    tiktoken takes a token's id for its merge priority, so ids must rise in the order of merges.txt.
    """
    fix = "The two files belong to different models: copy both from the same model again."
    missing = [char for char in CHAR_TO_BYTE if char not in vocab]
    if missing:
        raise UserError(f"{folder / 'vocab.json'}: expected all 256 byte symbols, {len(missing)} are missing "
                        f"(the first is {missing[0]!r}).\nOnly byte-level BPE vocabularies (GPT-2's) can be read.")
    known, last = set(CHAR_TO_BYTE), -1
    for number, left, right in merges:
        where, token = f"{folder / 'merges.txt'}:{number}", left + right
        for part in (left, right):
            if part not in known:
                raise UserError(f"{where}: {part!r} is neither a byte nor made by an earlier line.\n{fix}")
        if token not in vocab:
            raise UserError(f"{where}: expected the merged token {token!r} in vocab.json; it is not there.\n{fix}")
        if vocab[token] <= last:
            raise UserError(f"{where}: expected ids that rise in the order of the merges; {token!r} has "
                            f"id {vocab[token]} after {last}.\n{fix}")
        known.add(token)
        last = vocab[token]
    return {bytes(CHAR_TO_BYTE[char] for char in token): vocab[token] for token in known}
