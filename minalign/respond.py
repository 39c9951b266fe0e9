"""Responses to many prompts, as tokens and as text: what evaluation, labelling and best-of-n are made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from minalign.data import pad_responses
from minalign.generate import StopRule, generate, left_pad, score
from minalign.lora import disabled
from minalign.metrics import embedding_diversity
from minalign.model import GPT2
from minalign.tokenizer import Tokenizer


@dataclass(frozen=True)
class Response:
    """One response: its tokens, the stop among them where it was drawn, and its text."""

    tokens: tuple[int, ...]
    text: str
    stopped: bool  # it ended by itself and was not cut at the maximal length


def text_of(tokenizer: Tokenizer, tokens: list[int]) -> str:
    """Return the text of a response's tokens: with its stop where that is a full stop, without the end of text."""
    return tokenizer.decode(tokens[:-1] if tokens and tokens[-1] == tokenizer.eot else tokens)


def respond(
    model: GPT2,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
    rule: StopRule,
    n: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    rows: int = 256,
) -> list[list[Response]]:
    """Sample n responses to each prompt (token ids), about `rows` at a time; return n of them for each prompt."""
    found: list[list[Response]] = []
    at_once = max(1, rows // n)
    for i in range(0, len(prompts), at_once):
        tokens, mask = left_pad(prompts[i : i + at_once], rule.stop, model.device)
        samples = generate(
            model, tokens, n=n, temperature=temperature, prompt_mask=mask, generator=generator, **rule.settings()
        )
        lengths = samples.mask.sum(1).tolist()
        responses = [
            Response(tuple(ids[:length]), text_of(tokenizer, ids[:length]), stopped)
            for ids, length, stopped in zip(samples.tokens.tolist(), lengths, samples.stopped.tolist())
        ]
        found += [responses[j : j + n] for j in range(0, len(responses), n)]
    return found


@torch.no_grad()
def likelihoods(
    model: GPT2,
    base: GPT2,
    prompts: list[list[int]],
    responses: list[list[Response]],
    rule: StopRule,
    temperature: float = 1.0,
    rows: int = 256,
) -> tuple[list[float], list[float]]:
    """Return log policy(y|x) and log base(y|x) of each response, nats; the mean of their difference estimates the KL.

    base: the model whose bare backbone (no adapter) is the reference; the policy itself where adapters are used.
    """
    own: list[float] = []
    found: list[float] = []
    at_once = max(1, rows // len(responses[0]))
    for i in range(0, len(prompts), at_once):
        tokens, prompt_mask = left_pad(prompts[i : i + at_once], rule.stop, model.device)
        drawn = [list(r.tokens) for answers in responses[i : i + at_once] for r in answers]
        answers, mask = (x.to(model.device) for x in pad_responses(drawn, rule.stop))
        settings = (tokens, answers, mask, rule.stop, rule.min_new_tokens, temperature, prompt_mask, rule.forbidden)
        own += score(model, *settings)[0].sum(1).tolist()
        with disabled(base):
            found += score(base, *settings)[0].sum(1).tolist()
    return own, found


def probe(
    model: GPT2,
    tokenizer: Tokenizer,
    prompts: dict[str, list[list[int]]],
    rule: StopRule,
    step: int,
    temperature: float = 1.0,
    seed: int = 1,
    n: int = 4,
) -> list[dict]:
    """Return n responses to each of a few fixed prompts, {split: prompts}, by the same random numbers at every step."""
    rows = []
    for split, some in prompts.items():
        said = respond(model, tokenizer, some, rule, n, temperature, torch.Generator().manual_seed(seed))
        rows += [
            {"prompt": tokenizer.decode(p), "response": r.text, "step": step, "stopped": r.stopped, "split": split}
            for p, answers in zip(some, said)
            for r in answers
        ]
    return rows


def measure(
    model: GPT2,
    base: GPT2,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
    rule: StopRule,
    rewards: dict[str, Callable[[list[str], list[str]], list[float]]],
    n: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    encoder: Callable[[list[str]], Tensor] | None = None,
) -> tuple[dict[str, float], list[dict]]:
    """Sample n responses to each prompt; return their means, and a row a response.

    rewards: {name: function of texts}. Means: eval/NAME of each reward, its standard error over prompts
    (eval/NAME_se), eval/kl to the base (nats a response), eval/loglik, log base(y|x), also of the likeliest response to
    each prompt (_max) and a token (_token), eval/length (tokens), eval/stop_rate, and eval/distinct, the share of
    responses to a prompt that are different texts; with an encoder of texts eval/diversity, one minus the mean cosine
    of two responses to a prompt. Rows have loglik and own_loglik, log policy(y|x), too.
    """
    responses = respond(model, tokenizer, prompts, rule, n, temperature, generator)
    own, base_loglik = likelihoods(model, base, prompts, responses, rule, temperature)
    asked = [text for prompt in prompts for text in [tokenizer.decode(prompt)] * n]
    flat = [response for answers in responses for response in answers]
    texts = [response.text for response in flat]
    scores = {name: reward(asked, texts) for name, reward in rewards.items()}
    means = {}
    for name, values in scores.items():
        by_prompt = torch.tensor(values, dtype=torch.float64).view(-1, n).mean(1)
        means[f"eval/{name}"] = by_prompt.mean().item()
        drawn = by_prompt if len(prompts) > 1 else torch.tensor(values, dtype=torch.float64)  # of one prompt: its n
        means[f"eval/{name}_se"] = (drawn.std() / len(drawn) ** 0.5).item() if len(drawn) > 1 else math.nan
    means |= {
        "eval/kl": (sum(own) - sum(base_loglik)) / len(flat),
        "eval/loglik": sum(base_loglik) / len(flat),
        "eval/loglik_max": sum(max(base_loglik[i : i + n]) for i in range(0, len(flat), n)) / len(prompts),
        "eval/loglik_token": sum(x / len(r.tokens) for x, r in zip(base_loglik, flat)) / len(flat),
        "eval/length": sum(len(r.tokens) for r in flat) / len(flat),
        "eval/stop_rate": sum(r.stopped for r in flat) / len(flat),
        "eval/distinct": sum(len({r.text for r in answers}) for answers in responses) / len(flat),
    }
    if encoder:
        means["eval/diversity"] = sum(map(embedding_diversity, encoder(texts).split(n))) / len(prompts)
    rows = [
        {"prompt": prompt, "response": r.text, "stopped": r.stopped, "kl": own[i] - base_loglik[i],
         "loglik": base_loglik[i], "own_loglik": own[i], "tokens": len(r.tokens),
         "scores": {name: values[i] for name, values in scores.items()}}
        for i, (prompt, r) in enumerate(zip(asked, flat))
    ]  # fmt: skip
    return means, rows
