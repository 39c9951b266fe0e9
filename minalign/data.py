"""From records to batches: load, tokenise, put together. The same for every stage.

    train, held_out = load(("mine.jsonl",), (), 0.1, seed=1, tokenizer=tokenizer, wants=("pair",))
    encoded, report = encode(train, tokenizer, rule, n_positions=1024)
    order = Stream([len(e.prompt) for e in encoded], batch_size=32, seed=1)
    batch = [encoded[i] for i in order.next()]

A prompt and its responses are tokenised apart, here and in sampling: joined text could merge across the joint, and
chosen and rejected would no longer share their prompt's tokens.
Shapes: B responses, R tokens of the longest.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from minalign import sources
from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.jsonl import KEYS, read_records
from minalign.records import Record, Text, serve, split
from minalign.tokenizer import EOT, Tokenizer

WINDOW = 16  # batches among which records are sorted by length


# ---------------------------------------------------------------- records


def load(
    data: Sequence[str],
    eval_data: Sequence[str],
    eval_fraction: float,
    seed: int,
    tokenizer: Tokenizer,
    wants: Sequence[str],
) -> tuple[list[Record], list[Record]]:
    """Return records to train on and records held out, all of a kind in `wants` (see `serve`).

    data: files and named sources (`sources.NAMES`). Held out are eval_data; where there are none, a source's own test
    part, and of the files' prompts a share eval_fraction, by a hash of prompt and seed: give the stages of a chain the
    same seed. 0 = nothing. Prints what was left out. Raises UserError for anything that cannot be used.
    """
    train, held, own = _read(data, tokenizer, wants)
    if eval_data:
        train, (_, test, files) = train + own, _read(eval_data, tokenizer, wants)
        held = test + files
    elif own:
        mine, test = split(own, eval_fraction, seed) if eval_fraction else (own, [])
        train, held = train + mine, held + test
    seen = {record.prompt for record in train}
    both = sum(record.prompt in seen for record in held)
    if both:
        print(f"note: {both} of the {len(held)} held-out records have a prompt that is also trained on")
    return train, held


def read_prompts(names: Sequence[str], tokenizer: Tokenizer) -> dict[str, list[Record]]:
    """Return {name: prompts} of files and named sources, each with its reference, where it has one, as a text.

    A reference is the completion or the response that is preferred. Of a source these are the records held out, if it
    holds any out, and a prompt comes once. Names are short, tldr:test:length=in of tldr:data/test.jsonl:length=in.
    """
    found: dict[str, list[Record]] = {}
    skipped = Counter()
    for name in names:
        sides = sources.read(name, tuple(KEYS), tokenizer, skipped)
        records = read_records(name, tuple(KEYS)) if sides is None else sides[1] or sides[0]
        records = [serve(record, ("completion", "prompt")) for record in records]
        if sides:  # there are several comparisons of the responses to a prompt
            records = list({record.prompt: record for record in records}.values())
        short = short_name(name)
        found[name if short in found else short] = [
            replace(r, responses=tuple(as_text(response, tokenizer) for response in r.responses)) for r in records
        ]
    _tell(skipped)
    return found


def short_name(name: str) -> str:
    """Return the name of a file or source without folders and .jsonl.gz."""
    return re.sub(r"[^:]*/|\.[^:]*", "", name)


def as_text(text: Text, tokenizer: Tokenizer) -> str:
    """Return a record's text, decoded if it is given as token ids."""
    return text if isinstance(text, str) else tokenizer.decode(text)


def _read(names, tokenizer, wants) -> tuple[list[Record], list[Record], list[Record]]:
    """Return the sources' records to train on, their test parts, and the records of files."""
    train, held, own, skipped = [], [], [], Counter()
    for name in names:
        found = sources.read(name, wants, tokenizer, skipped)
        if found is None:
            own += read_records(name, wants)
        elif found[1]:
            train, held = train + found[0], held + found[1]
        else:
            own += found[0]
    _tell(skipped)
    return train, held, own


def _tell(skipped: Counter) -> None:
    for name, n in skipped.items():
        print(f"{name}: {n} records left out: there is no response, or the two are the same")


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Encoded:
    """A record in token ids; every response ends as a sampled one would, with its stop."""

    prompt: list[int]
    responses: list[list[int]]
    record: Record | None

    @property
    def name(self) -> str:
        """Return what messages call it: its file and line, else its prompt."""
        return self.record.where or str(self.record.prompt)

    @property
    def chosen(self) -> list[int]:
        """Return the preferred response."""
        return self.responses[self.record.best]

    @property
    def rejected(self) -> list[int]:
        """Return a pair's other response."""
        return self.responses[1 - self.record.best]


@dataclass
class Report:
    """What `encode` had to cut."""

    n: int = 0  # records
    max_prompt: int = 0  # tokens of a prompt at most
    max_response: int = 0  # tokens of a response at most, its stop included
    n_prompts_cut: int = 0
    n_responses_cut: int = 0

    def __str__(self) -> str:
        prompts = f"{self.n_prompts_cut} prompts cut to their last {self.max_prompt} tokens"
        responses = f"{self.n_responses_cut} responses cut by the stop rule (at most {self.max_response} tokens)"
        return f"{self.n} records; {prompts}; {responses}"


def encode(
    records: Sequence[Record], tokenizer: Tokenizer, rule: StopRule, n_positions: int, max_prompt: int = 0
) -> tuple[list[Encoded], Report]:
    """Tokenise records.

    A prompt keeps its end: max_prompt tokens (0 = no limit), and at most those that leave room for the longest response
    of the rule, so that every method sees the same prompt. A response gets its stop once, where `StopRule.cut` puts it:
    end-of-text strings at its end are taken off first; token ids end at their first stop. Raises UserError where
    the end-of-text string is anywhere else, or an id is not of this vocabulary.
    """
    room = n_positions - rule.max_new_tokens
    if room < 1:
        raise UserError(
            f"responses of {rule.max_new_tokens} tokens leave no room for a prompt: the model reads {n_positions}.\n"
            f"Set --max_response to at most {n_positions - 1}, better to half of that."
        )
    room = min(room, max_prompt or room)
    encoded, report = [], Report(len(records), room, rule.max_new_tokens)
    for record in records:
        prompt = _ids(record.prompt, tokenizer, record.where)
        report.n_prompts_cut += len(prompt) > room
        responses = []
        for response in record.responses:
            if isinstance(response, str):
                while response.rstrip().endswith(EOT):
                    response = response.rstrip()[: -len(EOT)]
            ids = _ids(response, tokenizer, record.where)
            ids = ids[: ids.index(rule.stop)] if rule.stop in ids else ids
            cut = rule.cut(ids)
            report.n_responses_cut += len(cut) < len(ids)
            responses.append(cut)
        encoded.append(Encoded(prompt[-room:], responses, record))
    return encoded, report


def _ids(text: Text, tokenizer: Tokenizer, where: str) -> list[int]:
    if not isinstance(text, str):
        if text and max(text) >= len(tokenizer):
            n = len(tokenizer)
            raise UserError(f"{where}: expected token ids below {n}, found {max(text)}: they are another vocabulary's.")
        return list(text)
    if EOT in text:
        raise UserError(
            f"{where}: expected {EOT} nowhere but at the end of a response, found it inside a text.\n"
            "It is added by itself: take it out, or split the text into several records."
        )
    return tokenizer.encode(text)


def preview(encoded: Sequence[Encoded], tokenizer: Tokenizer, n: int = 3) -> str:
    """Return the first n records, rendered and tokenised, for `--dry_run`; long ones with their middle left out."""
    lines = []
    for i, e in enumerate(encoded[:n], 1):
        lines.append(f"record {i}" + (f", {e.record.kind}, {e.record.where}" if e.record else ""))
        names = ["response"] if len(e.responses) == 1 else [f"response {j}" for j in range(len(e.responses))]
        if e.record and e.record.kind == "pair":
            names[e.record.best], names[1 - e.record.best] = "chosen", "rejected"
        elif e.record and e.record.best is not None:
            names[e.record.best] += ", best"
        for name, ids in zip(["prompt", *names], [e.prompt, *e.responses]):
            text = repr(tokenizer.decode(ids))
            text = text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"
            shown = [str(x) for x in ids]
            shown = shown if len(ids) <= 24 else [*shown[:12], "...", *shown[-12:]]
            lines.append(f"  {name}, {len(ids)} tokens: {text}\n    {' '.join(shown)}")
    return "\n".join(lines)


# ---------------------------------------------------------------- batches


def pad_responses(responses: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return responses as tokens (B, R) int64, padded on the right, and their mask (B, R), True on real tokens."""
    R = max(map(len, responses))
    tokens = torch.tensor([[*r, *[pad] * (R - len(r))] for r in responses], dtype=torch.int64)
    lengths = torch.tensor([len(r) for r in responses])
    return tokens, torch.arange(R) < lengths[:, None]


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Return the items `size` at a time, the last ones fewer; all at once if size is 0."""
    return [items[i : i + size] for i in range(0, len(items), size)] if size else [items]


def batches(lengths: Sequence[int], batch_size: int, rng: random.Random) -> list[list[int]]:
    """Return one epoch: each index once, in batches of similar length, so that little of a batch is padding.

    Records are shuffled, sorted by length within windows of WINDOW batches, and the batches shuffled: as random as an
    epoch can be whose batches are even in length. The last records may make a smaller batch.
    """
    order = list(range(len(lengths)))
    rng.shuffle(order)
    epoch = []
    for window in chunks(order, WINDOW * batch_size):
        epoch += chunks(sorted(window, key=lambda i: lengths[i]), batch_size)
    rng.shuffle(epoch)
    return epoch


class Stream:
    """Batches of indices without end, an epoch after the other; two numbers say where it stands."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int):
        """Start at the beginning. Raises ValueError where there is nothing to draw from."""
        if not lengths or batch_size < 1:
            raise ValueError("a stream needs records and a batch size of at least 1")
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.restore([0, 0])

    def next(self) -> list[int]:
        """Return the next batch."""
        if self.position == len(self.plan):
            self.restore([self.epoch + 1, 0])
        self.position += 1
        return self.plan[self.position - 1]

    def state(self) -> list[int]:
        """Return the epoch and the batches taken from it."""
        return [self.epoch, self.position]

    def restore(self, state: Sequence[int]) -> None:
        """Go on from a `state` of a stream of the same lengths, batch size and seed."""
        self.epoch, self.position = state
        self.plan = batches(self.lengths, self.batch_size, random.Random(f"{self.seed} {self.epoch}"))
