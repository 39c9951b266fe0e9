"""rng: make a language model draw numbers from a stated distribution, and know exactly how far it is from it.

A response is right when it is the canonical token sequence of one string of the support, followed by the stop. The
support of integers is 0..100, both included, here and nowhere else; real-valued distributions live on a grid of two
decimals. Because the support can be enumerated, one batched forward gives the policy's exact distribution over it.

The reward of strings outside the support decides what the exact optimum is. There are about V^l of them at length l,
so a constant penalty is swamped by their number (with -8, a thousand-word vocabulary and three tokens, 99.9 % of the
"target" is junk). Here
    log R(w) = log pmf(w)                      on the support,
               -penalty - log(their number)    where w is the beginning of a string of the support ("-0." of "-0.57"),
               -penalty - |w| * per_token      elsewhere, with per_token >= log V,
and `target_valid_mass` is the closed form of what that leaves to the support. Beginnings are few, so they need no
slope: with one, SubTB would spend itself on driving their stop from e^-15, where nobody ever sees it, to e^-40.

Shapes: K strings of the support, R tokens, B responses, S = R + 1 prefixes, V vocabulary.
"""

import contextlib
import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minalign import dist, exact, plot
from minalign.cli import check_ranges, flag
from minalign.errors import UserError
from minalign.files import atomic_write
from minalign.generate import Samples, StopRule, generate
from minalign.lora import disabled
from minalign.model import GPT2
from minalign.nano.numbers import TEMPLATES
from minalign.records import Record
from minalign.tasks.text import label
from minalign.tokenizer import Tokenizer

MAX_LEN = 5  # tokens of a response before the stop is forced, where --max_response does not say
LOW, HIGH = 0, 100  # the support of every integer target, both ends included
SMALLEST = 1e-8  # a string with less probability than this is lost in float32: it counts as outside the support
MAIN = "The following is a random integer drawn uniformly between {a:g} and {b:g}: "
INVALID = 10.0  # score of a string outside the support, below that of the likeliest one, where the reward is a constant
REAL = ("gaussian", "exponential", "uniform_real")  # targets on the grid of two decimals
LONG_NAMES = {"uniform": "uniform discrete", "uniform_real": "uniform continuous"}
# The authors' parameters (gfn-lm-tuning), but for poisson: its lam = 1 leaves only a handful of numbers.
DEFAULTS = {
    "uniform": {"a": LOW, "b": HIGH},
    "poisson": {"lam": 4.0},
    "binomial": {"n": 10, "p": 0.5},
    "geometric": {"p": 0.5},
    "gaussian": {"mean": 0.0, "std_dev": 1.0},
    "exponential": {"scale": 1.0},
    "uniform_real": {"a": 0.0, "b": 1.0},
}

# The settings published with the paper (rng/configs/config.yaml and the notebook; gpt2 is an option there). The reward
# stays ours: 0.6 % of the optimum of theirs (+8 for 0..99, -8 a token for junk) is invalid.
PUBLISHED = dict(
    model="gpt2", objective="subtb", subtb_lambda=1.0, steps=2560, batch_size=64, max_response=5, learning_rate=5e-4,
    schedule="linear", warmup_steps=10, weight_decay=0.01, max_grad_norm=0.0, clip_log_ratio=0.0, lora_rank=512,
    lora_alpha=32.0, lora_dropout=0.1, lora_targets=("attn.c_attn",), tempered=0.0, explored=0.0, replayed=0.0,
    prefill=0, seed=42,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A distribution over strings: texts[k] has probability probs[k] > 0, and they sum to one."""

    name: str
    texts: list[str]
    probs: np.ndarray
    params: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short name for files and tables: `poisson-lam4`."""
        given = {} if self.params == DEFAULTS.get(self.name) else self.params
        return "-".join([self.name, *(f"{key}{value:g}" for key, value in given.items())])


def parse_target(spec: str, low: int = LOW, high: int = HIGH) -> Target:
    """Read `poisson`, `poisson:lam=20`, `uniform:a=0:b=50`, ... or the path of a pmf file.

    low, high: uniform's default bounds. A pmf file has a line `text probability` for each string; entries of
    probability 0 count as outside the support. Raises UserError where the spec is neither, or out of range.
    """
    name, *pairs = spec.split(":")
    if name not in DEFAULTS:
        if Path(spec).is_file():
            return _from_file(Path(spec))
        raise UserError(
            f"--target {spec}: expected one of {', '.join(DEFAULTS)} or the path of a pmf file; it is neither."
        )
    params = dict(DEFAULTS[name])
    if name == "uniform":
        params.update(a=low, b=high)
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            if key not in params or not math.isfinite(float(value)):
                raise ValueError
            params[key] = float(value)
        except ValueError:
            form = name + "".join(f":{k}=NUMBER" for k in DEFAULTS[name])
            raise UserError(f"--target {spec}: expected {form}; found {pair!r}.") from None
    texts, weights = _weights(name, params, spec)
    return _normalised(name, texts, np.array(weights, dtype=np.float64), params, spec)


def _weights(name: str, params: dict, spec: str) -> tuple[list[str], list[float]]:
    """Return the strings of the support and their unnormalised probabilities."""

    def need(ok: bool, what: str):
        if not ok:
            found = ", ".join(f"{key} = {value:g}" for key, value in params.items())
            raise UserError(f"--target {spec}: expected {what}; found {found}.")

    integers = range(LOW, HIGH + 1)
    if name == "uniform":
        a, b = params["a"], params["b"]
        need(a == int(a) and b == int(b) and 0 <= a < b <= 9999, "whole numbers 0 <= a < b <= 9999")
        return [str(n) for n in range(int(a), int(b) + 1)], [1.0] * (int(b) - int(a) + 1)
    if name == "poisson":
        lam = params["lam"]
        need(0 < lam <= HIGH, f"0 < lam <= {HIGH}")
        return list(map(str, integers)), [math.exp(n * math.log(lam) - lam - math.lgamma(n + 1)) for n in integers]
    if name == "binomial":
        n, p = int(params["n"]), params["p"]
        need(n == params["n"] and 1 <= n <= HIGH and 0 < p < 1, f"a whole number 1 <= n <= {HIGH} and 0 < p < 1")
        return list(map(str, range(n + 1))), [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    if name == "geometric":
        p = params["p"]
        need(0.01 <= p < 1, "0.01 <= p < 1")
        trials = integers[1:]  # up to the first success, itself included
        return list(map(str, trials)), [p * (1 - p) ** (n - 1) for n in trials]
    # Real numbers: the probability of a grid point is that of the interval of width 0.01 around it.
    if name == "gaussian":
        mean, std = params["mean"], params["std_dev"]
        need(0.01 <= std <= 20 and abs(mean) <= 100, "0.01 <= std_dev <= 20 and -100 <= mean <= 100")
        low, high = mean - 6 * std, mean + 6 * std
        cdf = lambda x: 0.5 * math.erfc((mean - x) / (std * math.sqrt(2)))  # noqa: E731
    elif name == "exponential":
        need(0.05 <= params["scale"] <= 10, "0.05 <= scale <= 10")
        low, high = 0.0, 20 * params["scale"]
        cdf = lambda x: -math.expm1(-max(x, 0.0) / params["scale"])  # noqa: E731
    else:
        low, high = params["a"], params["b"]
        need(-100 <= low < high <= 100, "-100 <= a < b <= 100")
        cdf = lambda x: min(max((x - low) / (high - low), 0.0), 1.0)  # noqa: E731
    grid = range(math.ceil(round(low * 100, 6)), math.floor(round(high * 100, 6)) + 1)
    return [f"{n / 100:.2f}" for n in grid], [cdf(n / 100 + 0.005) - cdf(n / 100 - 0.005) for n in grid]


def _from_file(path: Path) -> Target:
    """Read a pmf file; its name without the suffix is the target's."""
    texts, weights = [], []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected UTF-8 text, a line `text probability` each; found other bytes.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        text, _, value = line.strip().rpartition(" ")
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not text.strip() or not 0 <= weight < math.inf or text.strip() in texts:
            raise UserError(
                f"{path}:{number}: expected `text probability` (each text once, probability >= 0), "
                f"found {line.strip()[:60]!r}."
            )
        texts.append(text.strip())
        weights.append(weight)
    return _normalised(path.stem, texts, np.array(weights, dtype=np.float64), {}, str(path))


def _normalised(name: str, texts: list[str], weights: np.ndarray, params: dict, spec: str) -> Target:
    if not len(weights) or weights.sum() <= 0:
        raise UserError(f"--target {spec}: expected at least one string with a positive probability; found none.")
    keep = weights / weights.sum() >= SMALLEST
    return Target(name, [text for text, k in zip(texts, keep) if k], weights[keep] / weights[keep].sum(), params)


def of_real_numbers(specs: tuple[str, ...]) -> bool:
    """Return whether one of the targets has strings of several tokens."""
    return any(spec.split(":")[0] in REAL for spec in specs)


@dataclass
class Flags:
    """What train_gfn.py asks of this task."""

    target: tuple[str, ...] = flag(("uniform",), f"rng: one or several of {', '.join(DEFAULTS)}, parameters as in "
                                   "poisson:lam=20; or a file with a line `text probability` each")  # fmt: skip
    template: tuple[str, ...] = flag(("main",), "rng: prompts; each is combined with each target",
                                     choices=("main", *TEMPLATES))  # fmt: skip
    low: int = flag(LOW, "rng: least integer of the uniform target")
    high: int = flag(HIGH, "rng: greatest integer of the uniform target, included")
    invalid_penalty: float = flag(14.0, "rng: nats that a response outside the support loses at once")
    invalid_per_token: float = flag(0.0, "rng: nats that it loses for each of its tokens, 0 = log V")


def prompt_of(target: Target, template: str = "main") -> str:
    """Return the prompt: `main`, the authors' only active one, or one of its templates.

    For other targets than uniform, `main` is the template `following`.
    """
    if template == "main" and target.name == "uniform" and target.params:  # not a file of that name
        return MAIN.format(**target.params)
    name = "following" if template == "main" else template
    kind = "real number" if any("." in text for text in target.texts) else "integer"
    parameters = ", ".join(f"{key}={value:g}" for key, value in target.params.items()) or "pmf=custom"
    return TEMPLATES[name].format(
        type_of_number=kind, distribution=LONG_NAMES.get(target.name, target.name), parameters=parameters
    )


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None) -> StopRule:
    """Return when a response ends, whatever the target: at the end of text, after one token at least."""
    return StopRule(tokenizer.eot, max_len or MAX_LEN, min_new_tokens=1)


class Condition:
    """A target under a prompt: the reward of any response to it, and the exact evaluation of any policy."""

    def __init__(
        self,
        target: Target,
        template: str,
        tokenizer: Tokenizer,
        max_len: int,
        penalty: float,
        per_token: float = 0.0,
        device: torch.device | str = "cpu",
    ):
        """Tokenise prompt and support; check that the reward's own optimum is the target.

        penalty, per_token: nats, see the module's docstring; per_token 0 = log V, the least that keeps junk in check.
        Raises UserError where a string needs more than max_len tokens, or where the reward leaves less than 0.99999
        to the support.
        """
        self.target, self.template, self.tokenizer = target, template, tokenizer
        self.max_len, self.stop = max_len, tokenizer.eot
        self.rule = stop_rule(tokenizer, max_len)
        self.label = f"{target.label}/{template}"
        self.text = prompt_of(target, template)
        # Prompt and response are tokenised apart: their concatenation is what the policy sees and writes.
        self.prompt = torch.tensor([tokenizer.encode(self.text)], device=device)  # (1, P)
        self.penalty, self.per_token = penalty, per_token or math.log(tokenizer.n_vocab)
        encoded = [tokenizer.encode(text) for text in target.texts]
        longest = max(encoded, key=len)
        if len(longest) > max_len:
            raise UserError(
                f"{target.texts[encoded.index(longest)]!r} needs {len(longest)} tokens in this vocabulary, "
                f"--max_response allows {max_len}.\n"
                f"Set --max_response {len(longest)}, or use a model whose vocabulary has tokens for these numbers."
            )
        self.log_pmf = {tuple(ids): math.log(p) for ids, p in zip(encoded, target.probs)}
        # R = max_len: a string of so many tokens needs no stop.
        padded = [ids + [self.stop] * (max_len - len(ids)) for ids in encoded]
        self.tokens = torch.tensor(padded, device=device)  # (K, R)
        lengths = torch.tensor([len(ids) for ids in encoded], device=device)
        self.mask = torch.arange(max_len, device=device) <= lengths[:, None]  # (K, R)
        self.probs = torch.tensor(target.probs)  # (K,) float64, on the CPU: MPS has no float64

        beginnings = {tuple(ids[:t]) for ids in encoded for t in range(1, len(ids))} - self.log_pmf.keys()
        self.log_beginning = dict.fromkeys(beginnings, -penalty - math.log(max(1, len(beginnings))))
        invalid = math.exp(-penalty) if beginnings else 0.0
        for length in range(1, max_len + 1):
            known = sum(len(ids) == length for ids in [*self.log_pmf, *beginnings])
            invalid += ((tokenizer.n_vocab - 1) ** length - known) * math.exp(-penalty - length * self.per_token)
        self.target_valid_mass = 1 / (1 + invalid)
        if self.target_valid_mass < 0.99999:
            raise UserError(
                f"this reward leaves only {self.target_valid_mass:.6f} of its own optimum to the support (at least "
                f"0.99999 is needed): there are {tokenizer.n_vocab - 1:,}^length others.\nRaise --invalid_penalty "
                f"(now {penalty:g}), or --invalid_per_token (now {self.per_token:.2f}, "
                f"0 = log V = {math.log(tokenizer.n_vocab):.2f})."
            )

    def log_reward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return log R of every prefix of every response: (B, S) float32, entry t is that of the first t tokens.

        tokens: (B, R) int64. lengths: (B,) tokens before the stop. Entries beyond lengths are 0, and so is the empty
        prefix's: the stop is impossible there, nothing reads it.
        """
        rewards = torch.zeros(tokens.size(0), tokens.size(1) + 1)
        for row, (ids, n) in enumerate(zip(tokens.tolist(), lengths.tolist())):
            for t in range(1, n + 1):
                prefix = tuple(ids[:t])
                junk = self.log_beginning.get(prefix, -self.penalty - t * self.per_token)
                rewards[row, t] = self.log_pmf.get(prefix, junk)
        return rewards.to(tokens.device)

    # ---- the same task for methods that learn from samples, from a reward or from comparisons

    def records(self, n: int, draw: random.Random) -> list[Record]:
        """Return n samples of the target, for imitation."""
        return [Record(self.text, (text,)) for text in draw.choices(self.target.texts, self.target.probs, k=n)]

    def gold(self, prompts: list[str], responses: list[str]) -> list[float]:
        """Return the reward for methods that see no prefixes: log pmf - max log pmf; -INVALID outside the support.

        prompts are not read: there is one.
        """
        log_pmf = dict(zip(self.target.texts, np.log(self.target.probs / self.target.probs.max()).tolist()))
        return [log_pmf.get(response, -INVALID) for response in responses]

    def preferences(self, responses: list[str], n: int, noise: float, draw: random.Random) -> list[Record]:
        """Return n pairs labelled by `gold` with the given noise: half from the target, half from what a model said.

        responses: samples of the base, some of them invalid. Pairs valid/valid therefore occur as well as
        valid/invalid; of two equal responses nothing can be learned, so they are drawn again.
        """
        pool, records = self.target.texts, []
        while len(records) < n:
            pair = [
                draw.choice(responses) if draw.random() < 0.5 else draw.choices(pool, self.target.probs)[0]
                for _ in range(2)
            ]
            if pair[0] != pair[1] and all(pair):
                best = label(self.gold([], pair), noise, draw)
                records.append(Record(self.text, (pair[best], pair[1 - best]), 0))
        return records

    @torch.no_grad()
    def probabilities(self, model: GPT2) -> Tensor:
        """Return the policy's exact probability of every string of the support, by one batched forward.

        Returns (K,) float64 on the CPU.
        """
        return exact.string_logprobs(model, self.prompt, self.tokens, self.mask, self.stop, min_new_tokens=1).exp()

    def evaluate(self, model: GPT2) -> dict[str, float]:
        """Return the exact distances of a policy to the target, nats; see `distances`."""
        return distances(self.probs, self.probabilities(model), 1 - self.target_valid_mass)

    @torch.no_grad()
    def sample(self, model: GPT2, n: int, generator: torch.Generator, batch: int = 1024) -> list[Samples]:
        """Draw n responses, `batch` at a time."""
        sizes = [min(batch, n - i) for i in range(0, n, batch)]
        return [generate(model, self.prompt, self.stop, size, self.max_len, 1, generator=generator) for size in sizes]

    def evaluate_sampled(self, model: GPT2, n: int, generator: torch.Generator) -> dict[str, float]:
        """Return what n samples say, for a cross-check of the exact numbers, with the noise floor of so many samples.

        A sample counts only if it is exactly a string of the support and its stop; `sampled_nan` is the number of the
        others (the authors' word for them). Expected under perfect sampling of K strings: KL(empirical || target)
        about (K - 1) / 2n, TV about sum sqrt(t / (2 pi n)).
        """
        index = {ids: k for k, ids in enumerate(self.log_pmf)}
        counts = np.zeros(len(index))
        for batch in self.sample(model, n, generator):
            for ids, length, stopped in zip(batch.tokens.tolist(), batch.mask.sum(1).tolist(), batch.stopped.tolist()):
                k = index.get(tuple(ids[: length - stopped]))
                if k is not None:
                    counts[k] += 1
        valid = counts.sum()
        q, t = counts / max(valid, 1), self.target.probs
        seen = q > 0
        kl = float((q[seen] * np.log(q[seen] / t[seen])).sum()) if valid else math.nan
        return {
            "sampled_n": n,
            "sampled_nan": int(n - valid),
            "sampled_valid_mass": valid / n,
            "sampled_support": int(seen.sum()),
            "sampled_kl_policy_target_valid": kl,
            "sampled_tv_valid": float(abs(q - t).sum() / 2),
            "sampled_kl_noise_floor": (len(t) - 1) / (2 * n),
            "sampled_tv_noise_floor": float(np.sqrt(t / (2 * np.pi * n)).sum()),
        }

    def decode(self, samples: Samples) -> list[str]:
        """Return the text of each response, without its stop."""
        return [self.tokenizer.decode(ids[:n]) for ids, n in zip(samples.tokens.tolist(), samples.lengths.tolist())]

    def head_floor(self, model: GPT2, steps: int = 200) -> float:
        """Return the least KL(target, policy) of the first token that the model's frozen output head allows, nats.

        The last hidden state itself is optimised, through the final layer norm, by L-BFGS: whatever the blocks do,
        they cannot do better. With tokens beyond the first this is a lower bound. An adapter on lm_head removes the
        floor. Call it with adapters disabled.
        """
        mass: dict[int, float] = {}  # first token -> its probability under the target
        for token, p in zip(self.tokens[:, 0].tolist(), self.probs.tolist()):
            mass[token] = mass.get(token, 0.0) + p
        tokens = torch.tensor(list(mass), device=model.device)
        p = torch.tensor(list(mass.values()), dtype=torch.float32, device=model.device)
        weight, norm = model.lm_head.weight.detach().float(), model.transformer.ln_f
        allowed = torch.arange(len(weight), device=model.device) != self.stop  # the stop is impossible as a first token
        with torch.no_grad():
            _, start = model.encode_prefix(self.prompt)
        # Start from the model's own state, before the layer norm's gain and bias.
        x = ((start[0].float() - norm.bias) / norm.weight).detach().requires_grad_(True)
        optimizer = torch.optim.LBFGS(
            [x], max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-10
        )

        def closure():
            optimizer.zero_grad()
            hidden = torch.nn.functional.layer_norm(
                x, x.shape, norm.weight.detach().float(), norm.bias.detach().float(), norm.eps
            )
            logits = weight @ hidden
            loss = (p * (p.log() - logits[tokens] + logits[allowed].logsumexp(0))).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return closure().item()


def condition(target: Target, template: str, cfg, tokenizer: Tokenizer, device: torch.device) -> Condition:
    """Return a target under a prompt with the rewards of train_gfn.py's flags."""
    return Condition(target, template, tokenizer, cfg.max_response or MAX_LEN, cfg.invalid_penalty,
                     cfg.invalid_per_token, device)  # fmt: skip


def conditions(cfg, tokenizer: Tokenizer, n_positions: int, device: torch.device) -> list[Condition]:
    """Return every combination of --target and --template. Raises UserError where they cannot be trained together."""
    if not cfg.target or not cfg.template:
        raise UserError("--target and --template need at least one value.")
    check_ranges(cfg, invalid_penalty=(0, 1e6), invalid_per_token=(0, 1e6))
    targets = [parse_target(spec, cfg.low, cfg.high) for spec in cfg.target]
    found = [condition(target, template, cfg, tokenizer, device) for target in targets for template in cfg.template]
    if cfg.batch_size < 2 * len(found):
        raise UserError(f"--batch_size {cfg.batch_size}: expected at least 2 responses for each of the {len(found)} "
                        "prompts.")  # fmt: skip
    texts = [c.text for c in found]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise UserError(f"two combinations of --target and --template have the same prompt:\n{twice[0]!r}\n"
                        "Leave one of them out.")  # fmt: skip
    longest = max(c.prompt.size(1) for c in found)
    if longest + found[0].max_len > n_positions:
        raise UserError(f"the prompt's {longest} tokens and --max_response {found[0].max_len} exceed the model's "
                        f"{n_positions} positions.\nLower --max_response.")  # fmt: skip
    return found


def finish(run, cfg, step: int, model: GPT2, ref: GPT2, found: list[Condition], noise: torch.Generator) -> None:
    """End a run of train_gfn.py: print and write the exact result, a cross-check by samples, and the figures."""
    first, after = found[0], [c.evaluate(model) for c in found]
    with disabled(ref), dist.whole(ref):
        before, base_probs, floor = [c.evaluate(ref) for c in found], first.probabilities(ref), first.head_floor(ref)
    unseen = held_out(found, lambda target, template: condition(target, template, cfg, first.tokenizer, model.device))
    result = report(found, before, after, unseen, [c.evaluate(model) for c in unseen])
    result |= {"steps": step, "target_valid_mass": first.target_valid_mass, "head_floor": floor}
    if cfg.eval_samples:
        result |= first.evaluate_sampled(model, cfg.eval_samples, noise)
        samples = first.sample(model, min(cfg.eval_samples, 200), noise)[0]
        run.samples(step, [first.text] * len(samples.tokens), first.decode(samples), samples.stopped)
        print(f"of {cfg.eval_samples} samples {result['sampled_nan']} are invalid; KL(p, t) of the valid ones "
              f"{result['sampled_kl_policy_target_valid']:.1e}, noise floor {result['sampled_kl_noise_floor']:.1e}")
    atomic_write(run.path / "distribution.json", json.dumps({
        "prompt": first.text, "texts": first.target.texts, "target": first.probs.tolist(), "base": base_probs.tolist(),
        "policy": first.probabilities(model).tolist(), "base_kl": before[0]["kl_target_policy"],
        "policy_kl": after[0]["kl_target_policy"]}))  # fmt: skip
    if cfg.plot:
        figures = [plot.distribution(run.path)]
        if not cfg.eval_only:
            figures.append(plot.curves(run.path, ["kl_target_policy", "tv", "loss"]))
        print("figures:", *figures)
    result = run.result(result)
    print(f"{run.path}: {result['seconds']:.0f} s, {result['peak_memory_mb']:.0f} MB peak")


def distances(target: Tensor, policy: Tensor, target_invalid: float) -> dict[str, float]:
    """Compare two distributions over the support, exactly.

    target, policy: (K,) float64, the target t sums to one, the policy p to its valid mass. target_invalid: what the
    reward's own optimum leaves outside. Returns, KL and JS in nats:
    kl_target_policy: sum t log(t / p), with the policy's p as it is. kl_policy_target, js, tv: all invalid responses
    are one more outcome, of probability target_invalid under the target, so that KL(policy, target) is finite.
    *_valid: given a valid response. support: strings with at least a fifth of their due. min_ratio, max_ratio: of
    p / t. These three are over the support_size strings with t >= 1e-4 (half the largest t where that is less).
    """
    valid = policy.sum()
    q = policy / valid
    p_all = torch.cat([policy, (1 - valid).clamp(min=0)[None]])
    t_all = torch.cat([target * (1 - target_invalid), target.new_tensor([target_invalid])])

    def kl(a, b):
        return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum().item()  # 0 log 0 = 0; infinite where b is 0 and a is not

    middle = (p_all + t_all) / 2
    ratio = policy / target
    common = target >= min(1e-4, target.max().item() / 2)
    return {
        "kl_target_policy": kl(target, policy),
        "kl_policy_target": kl(p_all, t_all),
        "js": (kl(p_all, middle) + kl(t_all, middle)) / 2,
        "tv": (p_all - t_all).abs().sum().item() / 2,
        "kl_target_policy_valid": kl(target, q),
        "kl_policy_target_valid": kl(q, target),
        "tv_valid": (q - target).abs().sum().item() / 2,
        "valid_mass": valid.item(),
        "support": int((ratio >= 0.2)[common].sum()),
        "support_size": int(common.sum()),
        "min_ratio": ratio[common].min().item(),
        "max_ratio": ratio[common].max().item(),
    }


def evaluate(found: list[Condition], model: GPT2) -> dict[str, float]:
    """Return the exact distances of a policy to its targets, the mean over the conditions."""
    each = [c.evaluate(model) for c in found]
    return {key: sum(numbers[key] for numbers in each) / len(each) for key in each[0]}


def describe(found: list[Condition], ref: GPT2, cfg) -> None:
    """Print what the policy is asked for, and a run's two limits: the reward's invalid mass and the head's floor."""
    first = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    removed = cfg.lora_rank == 0 or "lm_head" in cfg.lora_targets  # the head is trained: its floor does not bind
    with disabled(ref), dist.whole(ref):
        floor = first.head_floor(ref)
    print(
        f"\nprompt        {first.text!r}{more}\n"
        f"target        {first.target.label}, {len(first.target.texts)} strings; the reward's own optimum has "
        f"{1 - first.target_valid_mass:.1e} outside them\n"
        f"head's floor  KL {floor:.1e}, the least that the frozen output head allows"
        f"{' (training it, as here, removes the floor)' if removed else ''}"
    )


def held_out(conditions: list[Condition], build) -> list[Condition]:
    """Return conditions that were not trained on: the other templates, and other bounds of a uniform target.

    build: function of a Target and a template that returns a Condition.
    """
    target, seen = conditions[0].target, {condition.text for condition in conditions}
    unseen = [build(target, template) for template in ("main", *TEMPLATES)]
    for high in (50, 520) if target.name == "uniform" else ():
        with contextlib.suppress(UserError):  # 520 may need more tokens than --max_response
            unseen.append(build(parse_target(f"uniform:a=0:b={high}"), "main"))
    # By text: for other targets than uniform, `main` and `following` are one prompt.
    return list({condition.text: condition for condition in unseen if condition.text not in seen}.values())


def report(
    conditions: list[Condition], before: list[dict], after: list[dict], unseen: list[Condition], on_unseen: list[dict]
) -> dict[str, float]:
    """Print the table before/after; return the flat numbers of result.json, the first condition's without a prefix."""
    print(
        f"\n{'target / prompt':28} {'':6} {'KL(t,p)':>8} {'KL(p,t)':>8} {'TV':>8} {'valid':>8} {'support':>9} "
        f"{'ratio':>11}"
    )

    def row(label: str, who: str, e: dict) -> None:
        print(
            f"{label:28} {who:6} {e['kl_target_policy']:8.1e} {e['kl_policy_target']:8.1e} {e['tv']:8.1e} "
            f"{e['valid_mass']:8.5f} {e['support']:>4}/{e['support_size']:<4} "
            f"{e['min_ratio']:5.2f}-{e['max_ratio']:.2f}"
        )

    result = {**after[0], **{f"base_{key}": value for key, value in before[0].items()}}
    for condition, base, policy in zip(conditions, before, after):
        row(condition.label, "base", base)
        row("", "policy", policy)
        if len(conditions) > 1:
            result |= {f"{condition.label}/{key}": value for key, value in policy.items()}
    print("not trained on:")
    for condition, policy in zip(unseen, on_unseen):
        row(condition.label, "policy", policy)
        result |= {f"held_out/{condition.label}/{key}": value for key, value in policy.items()}
    return result
