"""Train a byte-level BPE vocabulary in GPT-2's format: nano's own, in pure Python.

The merges that make every integer 0..100 one token come first; the rest are learned from pair counts.
Tokens are strings of the printable characters in which Hugging Face's files write bytes (`tokenizer.BYTE_TO_CHAR`).
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import regex  # comes with tiktoken, which uses the same pattern language

from minalign.tokenizer import BYTE_TO_CHAR, EOT, PATTERN

SPACE = BYTE_TO_CHAR[ord(" ")]


def number_merges() -> list[tuple[str, str]]:
    """Return the merges that make 0..100 one token each, bare ("57") and after a space (" 57"), and "00".."09" bare.

    Their order matters, because a lower merge always wins: "10" + "0" must come before "0" + "0", or "100" would be
    "1" + "00"; two digits must join before a space takes the first of them.
    """
    digits = "0123456789"
    pairs = [(a, b) for a in digits[1:] for b in digits]
    return pairs + [("10", "0")] + [("0", d) for d in digits] + [(SPACE, str(n)) for n in range(101)]


def count_words(texts: Iterable[str]) -> dict[str, int]:
    """Return how often each pre-token occurs: {word in byte characters: count}. BPE never merges across pre-tokens."""
    find, counts = regex.compile(PATTERN).findall, Counter()
    for text in texts:
        counts.update(find(text))
    return {"".join(BYTE_TO_CHAR[byte] for byte in word.encode("utf-8")): n for word, n in counts.items()}


def merge_word(symbols: list[str], left: str, right: str) -> list[str]:
    """Return `symbols` with every (left, right), from the left, replaced by the joined symbol."""
    merged, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and symbols[i] == left and symbols[i + 1] == right:
            merged.append(left + right)
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


class _Pairs:
    """Pair counts over a word list, kept up to date as pairs are merged (only words that hold the pair are touched)."""

    def __init__(self, word_counts):
        # Sorted: the result depends on what the texts hold and not on the order in which they came.
        self.words = [(list(word), n) for word, n in sorted(word_counts.items())]
        self.counts, self.where = Counter(), defaultdict(set)
        for index, (symbols, n) in enumerate(self.words):
            for pair in pairwise(symbols):
                self.counts[pair] += n
                self.where[pair].add(index)
        self.heap = [(-n, pair) for pair, n in self.counts.items()]
        heapq.heapify(self.heap)

    def best(self):
        """Return (pair, count) of the most frequent pair; among equals the first in alphabetical order."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.counts[pair]:
                return pair, -count
            heapq.heappop(self.heap)  # an outdated entry: the pair's true count is elsewhere in the heap
        return None, 0

    def merge(self, pair):
        changed = set()
        for index in sorted(self.where.pop(pair, ())):
            old, n = self.words[index]
            new = merge_word(old, *pair)
            if len(new) == len(old):
                continue  # `where` is not cleaned when a pair disappears from a word
            for p in pairwise(old):
                self.counts[p] -= n
                changed.add(p)
            for p in pairwise(new):
                self.counts[p] += n
                self.where[p].add(index)
                changed.add(p)
            self.words[index] = (new, n)
        for p in changed:
            if self.counts[p] > 0:
                heapq.heappush(self.heap, (-self.counts[p], p))


def train_bpe(texts: Iterable[str], n_merges: int, forced: Iterable[tuple[str, str]] = ()) -> tuple[dict, list]:
    """Train byte-level BPE; return (vocab, merges) as `write_vocab` takes them.

    texts: iterable of str. n_merges: number of merges in all; `forced`, a list of (left, right), are the first of them
    whatever their counts. Fewer merges are returned if no pair is left that occurs twice. Ids follow GPT-2: 256 bytes,
    then one token a merge, then <|endoftext|>.
    """
    pairs, merges, made = _Pairs(count_words(texts)), [], set(BYTE_TO_CHAR.values())
    for left, right in forced:
        if left not in made or right not in made or left + right in made:
            raise ValueError(f"forced merge {left!r} + {right!r}: its parts must be made before it, and it only once")
        made.add(left + right)
        merges.append((left, right))
        pairs.merge((left, right))
    while len(merges) < n_merges:
        pair, count = pairs.best()
        if count < 2:
            break
        pairs.merge(pair)
        # One token has one way to be made (tiktoken finds merges by the joined token, transformers by its two parts).
        if pair[0] + pair[1] not in made:
            made.add(pair[0] + pair[1])
            merges.append(pair)
    tokens = list(BYTE_TO_CHAR.values()) + [left + right for left, right in merges] + [EOT]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_vocab(folder: str | Path, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json as transformers' GPT-2 tokenizer reads them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "model_max_length": 512}
    config |= {"bos_token": EOT, "eos_token": EOT, "unk_token": EOT}
    lines = ["#version: 0.2"] + [f"{left} {right}" for left, right in merges]
    for name, text in (("vocab.json", json.dumps(vocab, ensure_ascii=False)), ("merges.txt", "\n".join(lines)),
                       ("tokenizer_config.json", json.dumps(config, indent=2))):
        (folder / name).write_text(text + "\n", encoding="utf-8", newline="\n")
