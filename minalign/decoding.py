"""Search for the likeliest responses instead of drawing them: beam search and diverse beam search.

Sampling at a temperature, from the top k or the nucleus, and greedy decoding: generate.py, which says what a response,
its stop and its mask are. A search obeys the same rule, and its log-probs are those that `generate` and `score` give.

Shapes: b prompts, each searched by G groups of k beams: S = G * b searches, search g * b + i is group g's of prompt i,
A of them still go on; C candidates a search; n results a prompt, B = b * n rows; R response, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minalign.cache import KVCache
from minalign.errors import UserError
from minalign.generate import Samples, StopRule, id_mask
from minalign.model import GPT2


@dataclass
class Beams(Samples):
    """What `beam_search` returns: the n results of prompt 0 first, the best of them first.

    Where fewer than n responses were found (only where fewer are possible, or too many end at once), the rows that are
    left have an empty mask, length 0 and score -inf.
    """

    scores: Tensor  # (B,) what the search ranked by


@dataclass
class Hypotheses:
    """The beams of S searches, or what these have found: j of each, best first."""

    tokens: Tensor  # (S, j, R)
    logprobs: Tensor  # (S, j, R)
    lengths: Tensor  # (S, j) tokens written, the ending one included
    scores: Tensor  # (S, j), -inf: none

    @staticmethod
    def blank(S: int, j: int, rule: StopRule, score: float, device: torch.device) -> "Hypotheses":
        tokens = torch.full((S, j, rule.max_new_tokens), rule.stop, device=device)
        scores = torch.full((S, j), score, device=device)
        return Hypotheses(tokens, torch.zeros(tokens.shape, device=device), torch.zeros_like(tokens[:, :, 0]), scores)

    def each(self, function: Callable[..., Tensor], *others: "Hypotheses") -> "Hypotheses":
        """Return what `function` makes of each of the four tensors, and of the same one of the others."""
        return Hypotheses(*map(function, *(vars(h).values() for h in (self, *others))))

    def pick(self, index: Tensor) -> "Hypotheses":
        """Return those that index (S, m) names, in its order."""
        search = torch.arange(len(index), device=index.device)[:, None]
        return self.each(lambda x: x[search, index])


def best(scores: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Return the m largest of each row of scores (S, M), largest first, and their indices; at ties the lower first."""
    values, index = scores.topk(min(m + 1, scores.size(1)))
    if (values[:, 1:] == values[:, :-1]).any():  # topk may take any of equals, and a device differs from another
        values, index = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :m], index[:, :m]


def candidates(
    total: Tensor, searches: Tensor, b: int, k: int, width: int, penalty: float, over: Tensor
) -> list[Tensor]:
    """Return the `width` best continuations of each search, and which k of them go on as its beams.

    total: (A, j, V) score of each beam with each token. searches: (A,) their numbers, rising. over: (V,) bool, the
    tokens that end a response here. penalty: of a token for every beam of an earlier group that goes on with it.
    Returns a list of scores (A, C), indices into j * V (A, C), and indices into C (A, k).
    """
    V, found = total.size(2), []
    used = total.new_zeros(b, V) if penalty else None
    sizes = torch.unique_consecutive(searches // b, return_counts=True)[1].tolist()  # of the groups
    for scores, prompt in zip(total.split(sizes), (searches % b).split(sizes)):
        if penalty:
            scores = scores - penalty * used[prompt, None]
        values, index = best(scores.flatten(1), width)
        going, kept = best(values.masked_fill(over[index % V], -torch.inf), k)
        if penalty:
            used.index_put_((prompt[:, None], (index % V).gather(1, kept)), (going > -torch.inf).float(), True)
        found.append((values, index, kept))
    return [torch.cat(part) for part in zip(*found)]


def collect(
    found: Hypotheses, searches: Tensor, grown: Hypotheses, ended: Tensor, length_penalty: float
) -> tuple[Hypotheses, Tensor]:
    """Return found (S, k) with what has ended of the first k of grown (A, C), and its worst scores (A,).

    ended: (A, C) bool. searches: (A,) the numbers of grown's searches.
    """
    k = found.scores.size(1)
    new = grown.each(lambda x: x[:, :k])
    new.scores = (new.scores / new.lengths**length_penalty).masked_fill(~ended[:, :k], -torch.inf)
    both = found.each(lambda old, ours: torch.cat([old[searches], ours], 1), new)
    both = both.pick(best(both.scores, k)[1])
    return found.each(lambda old, ours: old.index_copy(0, searches, ours), both), both.scores[:, -1]


def results(found: Hypotheses, rule: StopRule, ends: Tensor, b: int, n: int) -> Beams:
    """Return the n best that the groups of each prompt have found."""
    found = found.each(lambda x: torch.cat(x.split(b), 1))  # (b, G * k, ...)
    found = found.pick(best(found.scores, n)[1]).each(lambda x: x.flatten(0, 1))
    lengths = found.lengths  # 0 where nothing was found: a blank comes before what has not ended
    mask = torch.arange(rule.max_new_tokens, device=lengths.device) < lengths[:, None]
    last = found.tokens.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    stop = mask[:, 0] & (last == rule.stop)
    stopped = stop | mask[:, 0] & ends[last] & (lengths >= rule.ends_after)
    return Beams(found.tokens, mask, found.logprobs, stopped, lengths - stop.long(), found.scores)


def check(model: GPT2, rule: StopRule, beams: int, n: int, groups: int, penalty: float, early_stopping) -> None:
    """Raise a UserError where a search is impossible."""
    if not 1 <= n <= beams or groups < 1 or beams % groups:
        raise UserError(f"expected 1 <= n <= beams, and groups to divide beams; found {beams} beams, n = {n}, "
                        f"{groups} groups.")  # fmt: skip
    if penalty < 0 or groups > 1 and not penalty:
        raise UserError(f"expected a diversity_penalty > 0 for {groups} groups, found {penalty:g}: without one all "
                        "groups find the same.")  # fmt: skip
    if early_stopping not in (True, False, "never"):
        raise UserError(f"early_stopping: expected True, False or 'never', found {early_stopping!r}.")
    impossible = set(rule.forbidden) | ({rule.stop} if rule.min_new_tokens else set())
    if len(impossible) >= model.config.vocab_size:
        raise UserError(f"the rule forbids all {model.config.vocab_size} tokens: nothing can be written.")


@torch.no_grad()
def beam_search(
    model: GPT2,
    prompts: Tensor,
    rule: StopRule,
    beams: int,
    n: int = 1,
    groups: int = 1,
    diversity_penalty: float = 0.0,
    length_penalty: float = 0.0,
    early_stopping: bool | str = False,
    prompt_mask: Tensor | None = None,
) -> Beams:
    """Return the n best responses to each prompt that a search with `beams` beams finds.

    score(y) = log p(y | prompt) / |y|^length_penalty, |y| counting the token that ends it. At each step the best
    continuations of the k = beams beams are ranked; those of the first k that end there are found, the k best that do
    not are the next beams. At max_new_tokens everything ends. beams = 1 is greedy decoding (length_penalty = 0).
    prompts: (b, P), left-padded where prompt_mask (b, P) is False. rule: as in `generate`: the mass of what it forbids
    goes to the other tokens.
    groups: diverse beam search (Vijayakumar et al. 2016, algorithm 1, Hamming diversity): k = beams / groups beams
    each, which choose one group after the other. A beam's score loses diversity_penalty for each beam of the earlier
    groups that has just gone on with the token it takes. Several groups may find the same response.
    early_stopping: True ends a search once it has found k; False when no beam, at its present length, beats the worst
    of the best k found; "never" when none can at any length: the same unless length_penalty > 0.
    Ties: the better beam goes first, then the lower id; of two that were found, the earlier.
    Errors: UserError where the numbers do not fit or the rule forbids every token.
    Differs from transformers (whose search by groups ended with version 5): length_penalty is 0 unless given, so that
    a score is a log-prob; forbidden mass is redistributed, as there by `renormalize_logits`; a group that is done
    penalises no token of the others, there its padding does.
    """
    check(model, rule, beams, n, groups, diversity_penalty, early_stopping)
    b, k, R, V = prompts.size(0), beams // groups, rule.max_new_tokens, model.config.vocab_size
    never, stop, ends = (id_mask(model, ids) for ids in (rule.forbidden, [rule.stop], [rule.stop, *rule.ends]))
    width = k * (1 + int(ends.sum()))  # a beam may end in each of these ways, and k that do not end must be left
    prefix, hidden = model.encode_prefix(prompts, prompt_mask)
    cache = KVCache(prefix, R - 1)  # one row a prompt until the first choice, then one a beam
    del prefix
    searches = torch.arange(groups * b, device=model.device)  # those that go on; running's row i is searches[i]
    parents = searches % b  # row of the cache of each search's first beam
    running = Hypotheses.blank(groups * b, 1, rule, 0.0, model.device)
    found = Hypotheses.blank(groups * b, k, rule, -torch.inf, model.device)
    for t in range(R):
        logits = model.lm_head(hidden).float()
        logp = logits.masked_fill(never | stop if t < rule.min_new_tokens else never, -torch.inf).log_softmax(-1)
        logp = logp.repeat(groups, 1)[:, None] if t == 0 else logp.view(len(searches), -1, V)  # (A, j, V)
        over = ends if t + 1 >= rule.ends_after else stop
        total = running.scores[..., None] + logp
        scores, index, kept = candidates(total, searches, b, k, width, diversity_penalty, over)  # (A, C), ..., (A, k)
        beam, token = index // V, index % V
        grown = running.pick(beam)
        grown.tokens[:, :, t], grown.logprobs[:, :, t] = token, logp.flatten(1).gather(1, index)
        grown.lengths, grown.scores = grown.lengths + 1, scores
        ended = over[token] if t + 1 < R else torch.ones_like(token, dtype=torch.bool)
        found, worst = collect(found, searches, grown, ended, length_penalty)

        grown.scores = scores.masked_fill(ended, -torch.inf)
        running = grown.pick(kept)
        longest = R if early_stopping == "never" and length_penalty > 0 else t + 1
        done = running.scores[:, 0] / longest**length_penalty <= worst  # true too where no beam is left
        if early_stopping is True:
            done |= worst > -torch.inf
        going = (~done).nonzero().flatten()
        if not len(going):
            break
        rows = (parents[:, None] + beam.gather(1, kept))[going]
        cache.keep(rows.flatten())  # reordered; searches that are done leave the batch
        searches, running = searches[going], Hypotheses(*(x[going] for x in vars(running).values()))
        parents = torch.arange(len(going), device=model.device) * rows.size(1)
        hidden = model(running.tokens[:, :, t].reshape(-1, 1), cache=cache)[:, -1]  # (A * j, D)
    return results(found, rule, ends, b, n)
