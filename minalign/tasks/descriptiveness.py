"""descriptiveness: continue the first sentence of a book-like passage so that one sees, hears and smells the scene.

    prompts("train", 1000); completions("train", 1000); gold(prompt, " The boats creaked like old doors.")

After Ziegler et al. (2019). nano's passages are told at four richnesses, which their first sentence does not betray.
"""

import math
import re

from minalign.generate import StopRule
from minalign.nano.passages import DESCRIPTIVE, SIMILE_MARKERS
from minalign.records import Record
from minalign.tasks import text
from minalign.tasks.text import clauses, words
from minalign.tokenizer import Tokenizer

GENRES = {"passage": 1}
MAX_LEN = 48  # tokens; the end of a sentence in the second half ends a response
SIMILE = 2  # elements that a simile counts for
ENOUGH = 3.0  # elements in a sentence that are worth 1 - 1/e of all that there could be


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None) -> StopRule:
    """Return the task's stop rule: max_len tokens, or the first sentence end in their second half."""
    return text.continuation_rule(tokenizer, max_len or MAX_LEN)


def prompts(split: str, n: int, seed: int = 1) -> list[str]:
    """Return n different first sentences; no sentence is in two splits."""
    return text.first_sentences(GENRES, split, n, seed, "descriptiveness")


def completions(split: str, n: int, seed: int = 1) -> list[Record]:
    """Return n records of a first sentence and the rest of its document; the stop rule cuts them.

    Those of validation and test were not in pre-training either.
    """
    return text.continuations(GENRES, split, n, seed, "descriptiveness")


def gold(prompt: str, response: str) -> float:
    """Return how richly `response` describes, in [0, 1].

        score = mean_i (w_i d_i - (1 - w_i) / 4), not less than 0        i: its clauses, TOLD at least
        d_i   = 1 - exp(-e_i / ENOUGH)
        e_i   = the different descriptive words of clause i (`passages.DESCRIPTIVE`) that were not used before, and
                SIMILE for each simile
        w_i   = the weight of clause i, see `minalign.tasks.text`, 0 if there is none

    A response without a clause scores 0.
    """
    told, used, total = clauses(prompt, response, "passage"), set(words(prompt)), 0.0
    for clause in told:
        fresh = DESCRIPTIVE & set(words(clause.text)) - used
        similes = sum(bool(re.search(marker, clause.text)) for marker in SIMILE_MARKERS)
        used |= fresh
        richness = 1 - math.exp(-(len(fresh) + SIMILE * similes) / ENOUGH)
        total += clause.weight * richness - (1 - clause.weight) / 4
    missing = max(0, text.TOLD - len(told))
    return max(0.0, (total - missing / 4) / (len(told) + missing))
