"""puns: make a pun about a topic, on its own or as the answer to a first speaker.

    prompts("train", 100); completions("train", 500); preferences("train", 1000); gold(prompt, response)

The two prompts are those of the pun data set; a response begins with a space and ends with the end of the text.
Splits are of topics (train 2/3, validation 1/6, test 1/6), and a joke is told only where the main topic of its word
is: no topic, no word and hence no joke is in two splits. Pre-training has read jokes of all of them, but without
these prompts.
"""

import random
import re
from collections.abc import Iterator
from functools import lru_cache

from minalign.errors import UserError
from minalign.generate import StopRule
from minalign.nano.grammar import Draw
from minalign.nano.jokes import PUNS, TOPICS, generate, pun_score
from minalign.records import Record
from minalign.tasks.text import bucket, check_split, clauses, distinct, labelled, split_first
from minalign.tokenizer import Tokenizer

ALONE = "Human: make a pun about {topic}\n\nAssistant:"
SPEAKERS = "Human: make a pun about {topic}\n\nAssistant: Sure thing!\nA: {line}\nB:"
MAX_LEN = 48  # tokens
NOISE = 0.25  # of the labels of `preferences`
_PROMPT = re.compile(r"Human: make a pun about (.+?)\n\nAssistant:(?: Sure thing!\nA: (.+)\nB:)?")


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None) -> StopRule:
    """Return the task's stop rule: the end of the text, or max_len tokens."""
    return StopRule(tokenizer.eot, max_len or MAX_LEN)


@lru_cache
def topics(split: str) -> tuple[str, ...]:
    """Return the topics of a split, in an order that depends on nothing but their names."""
    check_split(split)
    ordered = sorted(TOPICS, key=lambda topic: bucket(topic, 2**64))
    sixth = len(ordered) // 6
    held_out = {"test": ordered[:sixth], "validation": ordered[sixth : 2 * sixth]}
    return tuple(held_out.get(split, ordered[2 * sixth :]))


def _jokes(split: str, seed: int) -> Iterator[tuple[str, str, str]]:
    """Yield (prompt, pun, rival) for ever; see `preferences` for the rival."""
    own, number = topics(split), 0
    while True:
        draw = Draw(f"puns-{split}-{seed}-{number}")
        number += 1
        topic = draw.pick(own)
        joke = generate(draw, topic)
        # A plain text tells a reward model what a pun is, a text about something else that the topic matters.
        rival = generate(draw, draw.pick(own)) if draw.chance(1 / 3) else generate(draw, topic, "plain")
        told = {document.facts["word"] for document in (joke, rival) if document.facts["word"]}
        if joke.facts["kind"] == "plain" or any(PUNS[word].topic not in own for word in told):
            continue
        if joke.facts["kind"] == "qa" and draw.chance(0.5):
            line, answer = split_first(joke.text)
            # The first speaker has asked already: of a question and its answer only the answer can stand here.
            yield SPEAKERS.format(topic=topic, line=line), answer, split_first(rival.text)[1] or " " + rival.text
        else:
            yield ALONE.format(topic=topic), " " + joke.text, " " + rival.text


def prompts(split: str, n: int, seed: int = 1) -> list[str]:
    """Return n different prompts. There is one a topic, the others are of two speakers."""
    return distinct((prompt for prompt, *_ in _jokes(split, seed)), n, f"prompts of puns ({split})")


def completions(split: str, n: int, seed: int = 1) -> list[Record]:
    """Return n records of a prompt and a pun."""
    found = distinct(((prompt, pun) for prompt, pun, _ in _jokes(split, seed)), n, f"puns ({split})")
    return [Record(prompt, (pun,)) for prompt, pun in found]


def preferences(split: str, n: int, seed: int = 1, noise: float = NOISE) -> list[Record]:
    """Return n pairs (chosen, rejected) of a pun and a rival: two of three are plain statements about the same topic,
    the others puns or statements about any topic of the split.

    Which one is chosen is drawn on their gold scores by `text.label`; noise: in units of the score.
    """
    found = distinct(_jokes(split, seed), n, f"pairs of puns ({split})")
    asked, told = [prompt for prompt, *_ in found], [both for _, *both in found]
    scores = [[gold(prompt, text) for text in both] for prompt, both in zip(asked, told)]
    return labelled(asked, told, scores, noise, random.Random(f"puns-{split}-{seed}"))


def gold(prompt: str, response: str) -> float:
    """Return how good a pun `response` is, in [0, 1].

        score = pun_score(text, topic) * mean_i w_i
        w_i   = the weight of sentence i of the response as part of one joke, see `minalign.tasks.text`

    `nano.jokes.pun_score`: 1 for a two-sense word of the topic with cues of both senses, 0.4 with cues of one, 0
    otherwise; half of it for less than 4 or more than 40 words or without a mark at the end. text: the response; in the
    form of two speakers with the first one's line before it, and the score is 0 if that line alone is no worse.
    Raises UserError if the prompt has neither form.
    """
    found = _PROMPT.fullmatch(prompt)
    if not found:
        raise UserError(
            f"the gold score of puns: expected a prompt like {ALONE.format(topic='fish')!r}, found {prompt[-80:]!r}.\n"
            "Its topic is what the score is about. Use a trained reward model for other prompts."
        )
    topic, line = found.groups()
    told = clauses(line or prompt, response, "joke")
    text = f"{line} {response.strip()}" if line else response
    if not told or (line and pun_score(text, topic) <= pun_score(line, topic)):
        return 0.0
    return pun_score(text, topic) * sum(clause.weight for clause in told) / len(told)
