"""Scores of samples beside the rewards that policies train on: references, classifiers, likelihood; and ranks.

    add(rows, {"rouge1": overlap("rouge1"), "likelihood": likelihood(base, tokenizer, rule)})
    rank(rows, "rouge1")                                # rows[i]["rank"] = 1 for the best

A row is a line of samples.jsonl: {"prompt", "response", "scores": {name: number}}, perhaps "reference" and others.
"""

import itertools
import math
from collections.abc import Callable

import torch

from minalign import console, dist
from minalign.data import chunks, encode, pad_responses
from minalign.encoders import classifier
from minalign.errors import UserError
from minalign.generate import StopRule, score
from minalign.model import GPT2
from minalign.overlap import bleu, rouge
from minalign.records import Record
from minalign.samples import references
from minalign.tokenizer import Tokenizer

OVERLAP = ("rouge1", "rouge2", "rougeL", "bleu")

Rows = list[dict]
Score = Callable[[Rows], list[float]]


def of_texts(reward: Callable[[list[str], list[str]], list[float]]) -> Score:
    """Return a reward, f(prompts, responses), as a score of rows."""
    return lambda rows: reward([row["prompt"] for row in rows], [row["response"] for row in rows])


def likelihood(base: GPT2, tokenizer: Tokenizer, rule: StopRule, batch: int = 256) -> Score:
    """Return the score log p_base(y|x), nats: of a response with its stop, where the rule would not cut it.

    Of a row's `tokens`, where they are known, else of its text, which may come out in other, far less likely tokens.
    Everything is allowed there, also before the rule's least length: so that every response has one, however it was
    sampled, and these can be compared. batch: rows of a prompt in one forward pass.
    """

    @torch.no_grad()
    def of(rows: Rows) -> list[float]:
        found: list[float] = []
        records = [Record(row["prompt"], (row.get("tokens", row["response"]),)) for row in rows]
        encoded, report = encode(records, tokenizer, rule, base.config.n_positions)
        if report.n_responses_cut or report.n_prompts_cut:
            console.warn("likelihood", f"the likelihood counts what the stop rule leaves of a text: {report}.")
        for prompt, same in itertools.groupby(encoded, key=lambda e: e.prompt):  # which is encoded once
            asked = torch.tensor([prompt or [tokenizer.eot]], device=base.device)
            for part in chunks([e.responses[0] for e in same], batch):
                tokens, mask = (x.to(base.device) for x in pad_responses(part, rule.stop))
                found += score(base, asked, tokens, mask, rule.stop)[0].sum(1).tolist()
        return found

    return of


def classified(spec: str, device: torch.device) -> Score:
    """Return the probability of LABEL for prompt + response by a sequence classifier; spec: classifier:MODEL:LABEL.

    The whole text, as such a model was trained on whole texts (and as TRL's sentiment example does).
    """
    name, _, label = spec.partition(":")[2].rpartition(":")
    if not name or not label:
        raise UserError(f"--reward {spec}: expected classifier:MODEL:LABEL, a hub id or folder and one of its labels.")
    model = classifier(name, device, flag="--reward classifier:")
    if label.upper() not in model.labels:
        raise UserError(f"--reward {spec}: expected a label of {name}: {', '.join(model.labels)}.")
    column = model.labels.index(label.upper())
    return lambda rows: dist.spread(lambda texts: model(texts)[:, column].tolist(),
                                    [row["prompt"] + row["response"] for row in rows])  # fmt: skip


def overlap(name: str) -> Score:
    """Return the overlap of a response with its row's references: BLEU-4, or the highest F1 of `rouge`."""

    def of(rows: Rows) -> list[float]:
        if missing := [row["prompt"] for row in rows if not references(row)]:
            raise UserError(f"--reward {name} compares with references, but there is none for\n{missing[0][:100]!r}\n"
                            'give --data with records {"prompt", "completion"}.')  # fmt: skip
        if name == "bleu":
            return [bleu(row["response"], references(row)) for row in rows]
        return [max(rouge(row["response"], text)[name] for text in references(row)) for row in rows]

    return of


def numbers_of(rows: Rows) -> list[str]:
    """Return the names of the scores that are a finite number in every row."""
    return [name for name in (rows[0]["scores"] if rows else ())
            if all(type(x := row["scores"].get(name)) in (int, float) and math.isfinite(x) for row in rows)]


def add(rows: Rows, scores: dict[str, Score]) -> None:
    """Score rows in place; UserError for a number that is not finite."""
    for name, of in scores.items():
        for row, value in zip(rows, of(rows), strict=True):
            if not math.isfinite(value):
                raise UserError(f"--reward {name}: expected a finite number, found {value} for the response\n"
                                f"{row['response'][:100]!r}\nto the prompt {row['prompt'][:100]!r}.")  # fmt: skip
            row["scores"][name] = value


def rank(rows: Rows, by: str) -> None:
    """Give the responses to one prompt their ranks, 1 for the best; of equals the one drawn first is better.

    The score that ranks becomes the first of a row's scores: the one that a reader takes who names none.
    """
    for place, row in enumerate(sorted(rows, key=lambda row: -row["scores"][by]), 1):
        row |= {"scores": {by: row["scores"][by]} | row["scores"], "rank": place}
