"""sentiment: continue the first sentence of a story (two of three prompts) or of a review so that things go well.

    prompts("train", 1000); completions("train", 1000); gold(prompt, " At last Tom found the key.")

After Ziegler et al. (2019), who continue excerpts of books by 24 tokens with warm words. Here a response runs to the
first sentence end from token 24 on, at most 48 tokens, and how well things go can be computed.
"""

from minalign.generate import StopRule
from minalign.nano.lexicon import VALENCE
from minalign.records import Record
from minalign.tasks import text
from minalign.tasks.text import clauses, words
from minalign.tokenizer import Tokenizer

GENRES = {"story": 2, "review": 1}
MAX_LEN = 48  # tokens; the end of a sentence in the second half ends a response
NEGATIONS = {"not", "no", "never", "nobody", "nothing", "neither", "nor", "without", "hardly", "cannot"}
REACH = 3  # words after a negation that it flips: not at all happy


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None) -> StopRule:
    """Return the task's stop rule: max_len tokens, or the first sentence end in their second half."""
    return text.continuation_rule(tokenizer, max_len or MAX_LEN)


def prompts(split: str, n: int, seed: int = 1) -> list[str]:
    """Return n different first sentences; no sentence is in two splits."""
    return text.first_sentences(GENRES, split, n, seed, "sentiment")


def completions(split: str, n: int, seed: int = 1) -> list[Record]:
    """Return n records of a first sentence and the rest of its document; the stop rule cuts them.

    Those of validation and test were not in pre-training either.
    """
    return text.continuations(GENRES, split, n, seed, "sentiment")


def gold(prompt: str, response: str) -> float:
    """Return how well things go in `response`, in [0, 1]; 0.5 is neutral.

        score = 1/2 + 1/2 mean_i (w_i v_i - (1 - w_i))        i: its clauses, TOLD at least
        v_i   = the valence of the event that clause i tells (+1, 0, -1) where it is read, else `word_valence`
        w_i   = the weight of clause i, see `minalign.tasks.text`, 0 if there is none; that counts like bad news

    The grammar knows what an event means: a lost dog is bad without any sad word, and "the price was a joke" is not
    funny. A response without a clause scores 0.
    """
    told = clauses(prompt, response, "review" if prompt.startswith("Review of the ") else "story")
    values = [clause.valence if clause.read else word_valence(clause.text) for clause in told]
    goes = [clause.weight * v - (1 - clause.weight) for clause, v in zip(told, values)]
    goes += [-1.0] * (text.TOLD - len(goes))
    return 0.5 + 0.5 * sum(goes) / len(goes)


def word_valence(text: str) -> float:
    """Return the mean valence, in [-1, 1], of the words that have one; one up to REACH words after a negation counts
    as its opposite."""
    found, told = [], words(text)
    for i, word in enumerate(told):
        if word in VALENCE:
            negated = any(w in NEGATIONS or w.endswith("n't") for w in told[max(0, i - REACH) : i])
            found.append(-VALENCE[word] if negated else VALENCE[word])
    return sum(found) / len(found) if found else 0.0
