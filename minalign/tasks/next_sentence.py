"""next_sentence: continue one to three sentences by one more, likely ones and different ones.

    prompts("train", 1000); stop_rule(tokenizer)
    python -m minalign.tasks.next_sentence TEXT.txt ... --out prompts.txt      # prompts from any text

After Hu et al. 2023 (arXiv 2310.04363), section 4.1. A response is a sentence: it ends with a full stop, which is the
GFlowNet's action "stop", or with another end of a sentence. What it should be drawn from is the frozen base, tempered
as a whole: P(w) proportional to p_ref(w|x)^(1/T). Below T = 1 that is *not* what dividing each token's logits by T
gives. Whatever is gained in likelihood has its price in diversity; the question is the rate of exchange.
"""

import itertools
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from minalign import cli, plot
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write
from minalign.generate import StopRule
from minalign.nano.grammar import split_sentences
from minalign.samples import settings_of
from minalign.tasks import text
from minalign.tokenizer import Tokenizer

MAX_LEN = 30  # tokens
INVALID = -50.0  # nats that log p_ref counts at most where a validator says that it is no sentence
SENTENCES, SHARES = (1, 2, 3), (0.2, 0.3, 0.5)  # sentences of a prompt and how often, as in the authors' prompts
# The authors' 149 illegal ids of GPT-2 are those of these texts, of the runs of one mark and of the capital letters:
# what seldom belongs into a sentence, and abbreviations whose full stop would end it.
_TEXTS = ("<|endoftext|> \n \n\n \t \" \"\" \"\"\" http https :// www Â \"? ?\" "
          "US Mr Mrs Ms Dr Prof Jr St Av").split(" ")  # fmt: skip
_RUNS = re.compile(r"([$@#%^&|~!?.*=_-])\1*|[A-Z]")
_SINGLE_MARKS = frozenset("#$%&*-.=@_")  # that are legal on their own

# The settings of next_sentence/configs/task/openwebtext_gpt2.yaml, for train_gfn.py with --data prompts.txt. 950
# prompts in steps of 25 are 38 steps an epoch, of which there are at most 300. Of 100 prompts there, 25 are answered
# from the replay buffer and 50 at another temperature; here these are shares of each prompt's responses. Its dropout
# was 0 in effect.
PUBLISHED = dict(
    model="gpt2-xl", objective="subtb", subtb_lambda=1.0, examples=950, eval_examples=50, eval_fraction=0.05,
    steps=11_400, samples_per_prompt=20, batch_size=500, micro_batch=20, min_response=1, max_response=30,
    illegal="published", learning_rate=1e-4, schedule="constant", warmup_steps=20, weight_decay=0.01, max_grad_norm=0.0,
    clip_log_ratio=0.0, lora_rank=64, lora_alpha=16.0, lora_dropout=0.0, tempered=0.5, replayed=0.25,
    replay_capacity=50, replay_similarity=0.25, reward_temperature=0.8, reward_temperature_start=1.0,
    reward_temperature_steps=750, eval_every=38, eval_samples=20, keep_best="eval/loglik", patience=10, seed=27,
)  # fmt: skip


def illegal_tokens(tokenizer: Tokenizer, published: bool = False) -> tuple[int, ...]:
    """Return the ids that a sentence cannot have: line breaks and the end of the text, or the authors' list."""
    found = []
    for i in range(tokenizer.n_vocab):
        said = tokenizer.token_bytes(i).decode("utf-8", "replace")
        run = _RUNS.fullmatch(said) and said not in _SINGLE_MARKS
        if (said in _TEXTS or run) if published else (i == tokenizer.eot or "\n" in said):
            found.append(i)
    return tuple(found)


def stop_rule(tokenizer: Tokenizer, max_len: int | None = None, min_len: int = 1, illegal: str = "basic") -> StopRule:
    """Return the task's stop rule: a sentence of min_len tokens at least before its full stop, of max_len at most.

    illegal: "basic", or "published", the authors' ids; there the full stop is the only end, ! and ? are illegal.
    """
    if min_len >= (max_len or MAX_LEN):
        raise UserError(f"--min_response {min_len}: expected less than --max_response, {max_len or MAX_LEN} tokens.")
    stop, banned = tokenizer.encode(".")[0], illegal_tokens(tokenizer, illegal == "published")
    ends = tuple(i for i in text.sentence_ends(tokenizer) if i != stop and illegal == "basic")
    return StopRule(stop, max_len or MAX_LEN, min_len, ends, min_len + 1, banned)


def flags_of(init: str | None) -> dict[str, int | str]:
    """Return what decides the stop rule of the run in `init`, {flag: value}, where it is one of this task; else {}."""
    run = settings_of(init)
    names = ("max_response", "min_response", "illegal") if run.get("task") == "next_sentence" else ()
    return {name: run[name] for name in names if name in run}


def prompts(split: str, n: int, seed: int = 1) -> list[str]:
    """Return n different beginnings of stories, 1 to 3 sentences with at least one after them.

    Splits are by story: by its first sentence, which is in one split only.
    """

    def beginnings() -> Iterator[str]:
        draw = random.Random(f"next_sentence-{split}-{seed}")
        for first, rest in text.tellings({"story": 1}, split, seed):
            told = split_sentences(first + rest)
            k = draw.choices(SENTENCES, SHARES)[0]
            if len(told) > k:
                yield " ".join(told[:k])

    return text.distinct(beginnings(), n, f"prompts of next_sentence ({split})")


def is_sentence(response: str) -> bool:
    """Return whether a response looks like one whole sentence: `train_gfn.py --validator rule`.

    Three words at least, the first with a capital (or a number, or a quotation), a mark at the end, quotation marks in
    pairs, no word twice in a row. Differs from the authors' code, which asks spaCy for a subject and a verb.
    """
    said = response.strip()
    spoken = re.findall(r"[\w']+", said.lower())
    return (
        len(spoken) >= 3
        and re.match(r"[\"'(]?[A-Z0-9]", said) is not None
        and re.search(r"[.!?][\"')]?$", said) is not None
        and (said.count('"') % 2 == 0 or said[-1] in "!?")  # a spoken question ends before its quotation does
        and all(a != b for a, b in zip(spoken, spoken[1:]))
    )


def floor_invalid(
    log_ref: Tensor, tokens: Tensor, mask: Tensor, lengths: Tensor, tokenizer: Tokenizer, stop: int | None = None
) -> Tensor:
    """Return log_ref with INVALID nats at most for each prefix that is no sentence, with its stop.

    log_ref: (B, S) log-probs of prefixes as whole responses. tokens, mask: (B, R), lengths: (B,) as `generate` returns.
    stop: the full stop (default), or the end of the text, which is not part of a response's text.
    """
    worth, full_stop = log_ref.clone(), "" if stop == tokenizer.eot else "."
    for i, (ids, n, end) in enumerate(zip(tokens.tolist(), lengths.tolist(), mask.sum(1).tolist())):
        for t in range(n + 1):
            said = tokenizer.decode(ids[:t]) + (full_stop if t < n or end > n else "")
            if not is_sentence(said):
                worth[i, t] = worth[i, t].clamp(max=INVALID)
    return worth


# ---------------------------------------------------------------- prompts from any text

_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Jr|Sr|St|Av|vs|etc|No|Inc|Co|Ltd|Gen|Sen|Rep|Gov)|\b[A-Z])\.$")
_PLAIN = re.compile(r"[a-zA-Z0-9,.!? ]*")  # characters of a prompt, as in the authors' code


@dataclass
class Config:
    text: tuple[str, ...] = flag((), "files of text, passages separated by a blank line; also the first words of the "
                                 "command line")  # fmt: skip
    n: int = flag(10_000, "prompts at most; one from each passage")
    model: str = flag("nano", "whose tokens are counted: nano, a hub id such as gpt2, or a folder")
    min_tokens: int = flag(5, "of each sentence of a prompt")
    max_tokens: int = flag(30, "of each sentence of a prompt")
    seed: int = flag(27, "of the choice")
    out: str = flag("prompts.txt", "file of the prompts, one a line; the figure is beside it, with .png")


def sentences_of(passage: str) -> list[str]:
    """Split plain English into sentences: at a mark before a space and a capital, but not after an abbreviation."""
    found: list[str] = []
    for piece in split_sentences(" ".join(passage.split())):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return found


def cut_prompts(passages: Iterable[str], tokenizer: Tokenizer, n: int, cfg: Config) -> list[tuple[str, int]]:
    """Return at most n different prompts of a seed, each with its number of sentences.

    As the authors' generator: of each passage (of four sentences or more, so that one follows) a run of 1, 2 or 3
    sentences, drawn with .2, .3, .5, of min_tokens to max_tokens each and of plain characters only; the first that fits
    from a random order of places. Differs: no language detector (the characters must do), no space at the end.
    """
    draw, found = random.Random(cfg.seed), {}
    passages = list(passages)
    draw.shuffle(passages)
    for passage in passages:
        told = sentences_of(passage)
        if len(told) < SENTENCES[-1] + 1:
            continue
        k = draw.choices(SENTENCES, SHARES)[0]
        fits = [cfg.min_tokens <= len(tokenizer.encode(s)) <= cfg.max_tokens and _PLAIN.fullmatch(s) for s in told]
        for i in draw.sample(range(len(told) - k), len(told) - k):
            if all(fits[i:i + k]) and (prompt := " ".join(told[i:i + k])) not in found:
                found[prompt] = k
                break
        if len(found) == n:
            break
    return list(found.items())


def read_passages(path: str) -> list[str]:
    """Return the passages of a text file. Raises UserError where it cannot be read."""
    try:
        said = Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8, found the byte {error.object[error.start]:#x}.") from None
    except OSError as error:
        raise UserError(f"{path}: expected a file of text; it cannot be read: {error.strerror}.") from None
    said = unicodedata.normalize("NFC", said.removeprefix("\ufeff"))
    return re.split(r"\n\s*\n", said)


def main(argv: list[str]) -> None:
    """Make prompts as the command line says."""
    from minalign.hub import find_model

    files = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    cfg, changed = cli.parse(Config, (["--text", *files] if files else []) + argv[len(files):])
    cli.check_ranges(cfg, n=(1, 1e9), min_tokens=(1, 1e4), max_tokens=(cfg.min_tokens, 1e4))
    if Path(cfg.out).suffix == ".png":
        raise UserError(f"--out {cfg.out}: the figure gets that name; give the prompts another, such as prompts.txt.")
    if not cfg.text:
        raise UserError("expected files of text:  python -m minalign.tasks.next_sentence FILE ... --out prompts.txt")
    cli.show(cfg, changed)
    tokenizer = Tokenizer.from_folder(find_model(cfg.model))
    passages = [passage for path in cfg.text for passage in read_passages(path)]
    found = cut_prompts(passages, tokenizer, cfg.n, cfg)
    if not found:
        raise UserError(f"no prompt in {len(passages)} passages: expected passages of {SENTENCES[-1] + 1} sentences at "
                        f"least, separated by a blank line,\nwith sentences of {cfg.min_tokens} to {cfg.max_tokens} "
                        "tokens of letters, digits, commas and full stops.")  # fmt: skip
    atomic_write(cfg.out, "".join(f"{prompt}\n" for prompt, _ in found))
    lengths = [len(tokenizer.encode(prompt)) for prompt, _ in found]
    figure = plot.prompt_statistics(Path(cfg.out).with_suffix(".png"), [k for _, k in found], lengths)
    print(f"{cfg.out}: {len(found)} prompts from {len(passages)} passages, {min(lengths)} to {max(lengths)} tokens, "
          f"mean {sum(lengths) / len(lengths):.1f}\nfigure: {figure}")  # fmt: skip


if __name__ == "__main__":
    cli.main(main)
