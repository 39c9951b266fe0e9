"""How the encoders split text: BERT's WordPiece from `vocab.txt`, RoBERTa's byte-level BPE from `vocab.json` and
`merges.txt`. Token ids equal those of transformers' tokenizers, with one intended exception: a special token's name in
the text, as "[SEP]" or "</s>", is plain text.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import regex
import tiktoken

from minalign.errors import UserError
from minalign.files import read_json
from minalign.tokenizer import BYTE_TO_CHAR, CHAR_TO_BYTE, PATTERN, read_merges, read_vocab

# Control, format and private characters go; unassigned ones stay, since they may be the emoji of a later Unicode.
DROPPED = regex.compile(r"[\uFFFD[\p{Cc}\p{Cf}\p{Co}\p{Cs}--[\t\n\r]]]", regex.V1)
CHINESE = regex.compile(
    r"[\u4E00-\u9FFF\u3400-\u4DBF\U00020000-\U0002A6DF\U0002A700-\U0002B81F\U0002B820-\U0002CEAF"
    r"\uF900-\uFAFF\U0002F800-\U0002FA1F]"
)
# One word, or one punctuation mark; BERT counts all ASCII that is no letter, digit or space as punctuation.
WORD = regex.compile(r"[\p{P}!-/:-@\[-`{-~]|[^\s\p{P}!-/:-@\[-`{-~]+")
LONGEST = 100  # characters; a longer word is one unknown token


@dataclass(frozen=True)
class Subwords:
    """A tokenizer without its frame, and the ids that frame a text: start A end, or start A end ... B end."""

    split: Callable[[str], list[int]]
    size: int
    pad: int
    start: int
    end: int
    between: tuple[int, ...]  # between A and B
    segments: bool  # whether the model is told which tokens are B's

    def frame(self, text: str | tuple[str, str], limit: int) -> tuple[list[int], int]:
        """Return the ids of a text or a pair, at most `limit` of them, and how many of these are of the first segment.

        A pair is cut as transformers' "longest first" does it: from the longer of the two, until both fit.
        """
        a, b = (text, None) if isinstance(text, str) else text
        a = self.split(a)
        if b is None:
            ids = [self.start, *a[: limit - 2], self.end]
            return ids, len(ids)
        b = self.split(b)
        room = limit - 2 - len(self.between)
        short = min(len(a), len(b), room // 2)
        keep_a, keep_b = (short, room - short) if len(a) <= len(b) else (room - short, short)
        first = [self.start, *a[:keep_a], *self.between]
        ids = [*first, *b[:keep_b], self.end]
        return ids, len(first) if self.segments else len(ids)


def _specials(path: Path, vocab: dict[str, int], names: tuple[str, ...]) -> list[int]:
    missing = [name for name in names if name not in vocab]
    if missing:
        raise UserError(f"{path}: expected the special tokens {' '.join(names)}; {' '.join(missing)} not found.\n"
                        "Copy the file again from the model's folder.")  # fmt: skip
    return [vocab[name] for name in names]


def wordpiece(folder: Path) -> Subwords:
    """Return BERT's tokenizer: clean, split at white space and punctuation, then greedily the longest known piece.

    Devlin et al. 2018. `tokenizer_config.json`, where there is one, says whether case, accents and Chinese characters
    are kept together; the default is that of the uncased models.
    """
    path = folder / "vocab.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected UTF-8 text, one token a line. Fetch the file again.") from None
    vocab = {token: i for i, token in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    unknown, pad, start, end = _specials(path, vocab, ("[UNK]", "[PAD]", "[CLS]", "[SEP]"))
    config = read_json(folder / "tokenizer_config.json")
    lower, chinese = config.get("do_lower_case", True), config.get("tokenize_chinese_chars", True)
    plain = config.get("strip_accents")
    plain = lower if plain is None else plain

    @lru_cache(maxsize=2**16)
    def pieces(word: str) -> list[int]:
        ids, begin = [], 0
        while begin < len(word) <= LONGEST:
            for stop in range(len(word), begin, -1):
                piece = vocab.get(("##" if begin else "") + word[begin:stop])
                if piece is not None:
                    break
            else:
                return [unknown]
            ids.append(piece)
            begin = stop
        return ids or [unknown]

    def split(text: str) -> list[int]:
        text = DROPPED.sub("", text)
        if chinese:
            text = CHINESE.sub(r" \g<0> ", text)
        if plain:
            text = regex.sub(r"\p{Mn}", "", unicodedata.normalize("NFD", text))
        if lower:  # character by character: str.lower would write a capital sigma at a word's end in another way
            text = text.replace("Σ", "σ").lower()
        return [i for word in WORD.findall(text) for i in pieces(word)]

    return Subwords(split, max(vocab.values()) + 1, pad, start, end, (end,), segments=True)


def byte_bpe(folder: Path) -> Subwords:
    """Return RoBERTa's tokenizer: GPT-2's byte-level BPE, whose ids were renumbered (Liu et al. 2019, section 4.4).

    tiktoken takes an id for a merge's priority, so it works with the order of merges.txt, and ids are looked up after.
    """
    path = folder / "vocab.json"
    vocab = read_vocab(path)
    pad, start, end = _specials(path, vocab, ("<pad>", "<s>", "</s>"))
    tokens = [*BYTE_TO_CHAR.values(), *(left + right for _, left, right in read_merges(folder / "merges.txt"))]
    missing = [token for token in tokens if token not in vocab]
    if missing:
        raise UserError(f"{path}: expected every byte and every merge of merges.txt; {missing[0]!r} is not there.\n"
                        "The two files belong to different models: copy both from the same model again.")  # fmt: skip
    ranks = {bytes(CHAR_TO_BYTE[char] for char in token): rank for rank, token in enumerate(tokens)}
    encoding = tiktoken.Encoding(folder.name, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    ids = [vocab[token] for token in tokens]
    return Subwords(lambda text: [ids[rank] for rank in encoding.encode_ordinary(text)], len(vocab), pad, start, end,
                    (end, end), segments=False)  # fmt: skip
