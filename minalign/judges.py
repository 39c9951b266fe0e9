"""The judges: which of two responses to a prompt is better, by a score, by a chat model, or by a person.

    verdicts = by_score(pairs, reward)          # any function (prompts, responses) -> list of numbers
    verdicts = chat(pairs, question, "https://api.openai.com/v1", "gpt-4o-mini", Path("cache.jsonl"))
    for verdict in human(pairs, question, seed=1): ...

A verdict is a dict {"verdict": "a", "b" or "tie"} with its reasons: "scores" [of a, of b], or "views", one for each
time that the pair was shown: {"first": which was shown first, "verdict": as above, None where unreadable}.

A chat model prefers a place as well as a response (Zheng et al. 2023, arXiv 2306.05685, 3.3): an evaluation that
always shows the candidate second measures both. So every pair is shown in both orders, and only a response that is
preferred in both wins (their "conservative approach"); the preference for the place is reported by itself.
"""

import contextlib
import email.utils
import hashlib
import http.client
import json
import math
import os
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from minalign.errors import UserError
from minalign.files import disk_errors

EQUAL = 1e-9  # scores that are this close are a tie
TIMEOUT = 60  # seconds for one request
TRIES = 6  # of one request; the waits between them are 1, 2, 4, 8, 16 seconds
LONGEST_WAIT = 60  # seconds, whatever the endpoint's Retry-After asks for
KEYS = ("MINALIGN_JUDGE_KEY", "OPENAI_API_KEY")  # environment variables; the first that is set counts

QUESTIONS = {  # what a chat model or a person is asked
    None: "Which response is better: which one fits the prompt and makes more sense?",
    "sentiment": "Which response continues the prompt in a more positive mood, in sound English?",
    "descriptiveness": "Which response continues the prompt more descriptively (what one sees, hears, smells, feels), "
    "in sound English?",
    "puns": "Which response is the better pun: which one plays on two meanings or on the sound of a word?",
    "summarize": "Which response is the better summary: short, and with the most important facts, none of them wrong?",
}
TEMPLATE = """Compare two responses to the same prompt.

[Prompt]
{prompt}

[Response A]
{first}

[Response B]
{second}

[Question]
{question} Which of the two comes first says nothing about it. Answer with one word: A, B or tie."""
MAX_TOKENS = 16  # of an answer: enough for "**Answer:** Response A"

# The answer must begin with the verdict; "Answer:", "Response" and the like may come before it. What looks like one
# further on does not count ("Compared to A, B is ..."), nor does the article ("A good ...") or "A/B", "A and B".
VERDICT = re.compile(
    r"\W*(?:(?:the|final|better|best|answer|verdict|winner|response|option|is|it|s)\b\W*)*?(?:a\s+)?(?P<which>A|B|tie)\b"
    r"(?![ \t]*[/&|]|[ \t]+(?!(?:wins|because|is (?:the )?(?:better|best|more|winner))\b)\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt."""

    prompt: str
    a: str
    b: str


def by_score(pairs: list[Pair], reward: Callable[[list[str], list[str]], list[float]]) -> list[dict]:
    """Return verdicts for the higher score; scores within 1e-9 are a tie. Raises UserError for NaN or infinity."""
    prompts = [pair.prompt for pair in pairs]
    scores = [float(s) for s in reward(prompts * 2, [pair.a for pair in pairs] + [pair.b for pair in pairs])]
    verdicts = []
    for pair, a, b in zip(pairs, scores[: len(pairs)], scores[len(pairs) :], strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            raise UserError(
                f"the judge's scores must be finite, found {a} and {b} for the responses to\n{pair.prompt[:80]!r}\n"
                "look at what it does with these texts"
            )
        verdict = "tie" if abs(a - b) <= EQUAL else "a" if a > b else "b"
        verdicts.append({"verdict": verdict, "scores": [a, b]})
    return verdicts


# ---- a chat model ----------------------------------------------------------------------------------------------------
def chat(pairs: list[Pair], question: str, url: str, model: str, cache: Path, parallel: int = 4) -> list[dict]:
    """Return verdicts of a model behind an OpenAI-compatible endpoint, each pair in both orders; disagreement is a tie.

    url: up to /v1. cache: JSONL file of all answers so far, so that the same questions to the same model cost nothing.
    An answer without a verdict counts as a tie. Raises UserError where the endpoint cannot be used.
    """
    url = address(url)
    key = next((os.environ[name].strip() for name in KEYS if os.environ.get(name, "").strip()), "")
    if not re.fullmatch(r"[!-~]*", key):
        raise UserError(f"the key in {' or '.join(KEYS)} has a blank or a character that no key has: set it again")

    bodies: dict[str, str] = {}  # of every request by its name in the cache
    names: list[tuple[str, str]] = []  # of each pair's two requests: a shown first, b shown first
    for pair in pairs:
        both = []
        for first, second in ((pair.a, pair.b), (pair.b, pair.a)):
            text = TEMPLATE.format(prompt=pair.prompt, first=first, second=second, question=question)
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            body = json.dumps(body | {"temperature": 0, "max_tokens": MAX_TOKENS})
            both.append(hashlib.sha256(f"{url}\n{body}".encode()).hexdigest())
            bodies[both[-1]] = body
        names.append((both[0], both[1]))
    answers = _read_cache(cache)
    todo = {name: body for name, body in bodies.items() if name not in answers}
    print(f"{len(todo)} requests to {url}; {len(bodies) - len(todo)} answers are in {cache}")
    with disk_errors(cache):
        cache.parent.mkdir(parents=True, exist_ok=True)
        for name, answer in _ask_all(url, todo, key, parallel):
            answers[name] = answer
            with open(cache, "a", encoding="utf-8") as file:
                file.write(json.dumps({"request": name, "model": model, "answer": answer}) + "\n")

    verdicts = []
    for both in names:
        views = [
            {"first": first, "verdict": read_answer(answers[name], first), "answer": answers[name]}
            for first, name in zip("ab", both)
        ]
        agreed = views[0]["verdict"] if views[0]["verdict"] == views[1]["verdict"] else None
        verdicts.append({"verdict": agreed or "tie", "views": views})
    return verdicts


def address(url: str) -> str:
    """Return an endpoint's address up to /v1; UserError where it is none, or holds what must not be written down."""
    url = url.rstrip("/").removesuffix("/chat/completions")
    if re.search(r"//[^/]*@|[?#]", url):
        raise UserError("--url: expected an address without a name, a key or a query in it: it is written to run.json\n"
                        f"set the key as {KEYS[0]} in the environment")  # fmt: skip
    if not re.match(r"https?://[^\s/]+[^\s]*$", url):
        raise UserError(f"--url: expected an address such as https://api.openai.com/v1, found {url!r}")
    return url


def read_answer(answer: str, first: str) -> str | None:
    """Return "a", "b" or "tie" for an answer to a question in which `first` was response A; None if it has none."""
    match = VERDICT.match(answer)
    which = match["which"].lower() if match else None
    return which if which in (None, "tie") or first == "a" else {"a": "b", "b": "a"}[which]


def _read_cache(path: Path) -> dict[str, str]:
    """Return {request: answer}; a line that was cut by a crash is as if it were not there."""
    answers = {}
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        if lines[-1]:  # what comes next must not be written behind half a line
            with disk_errors(path), open(path, "ab") as file:
                file.write(b"\n")
    except OSError as error:
        raise UserError(f"--cache: cannot read {path}: {error.strerror}\nname another file") from None
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            answers[row["request"]] = str(row["answer"])
    return answers


def _ask_all(url: str, todo: dict[str, str], key: str, parallel: int) -> Iterator[tuple[str, str]]:
    """Yield (name, answer) of every request as the answers come; the first error ends all."""
    stop = threading.Event()

    def one(body: str) -> str | None:
        try:
            return _ask(url, body, key, stop)
        except BaseException:
            stop.set()  # here, not where the result is read: by then the next request would be on its way
            raise

    with ThreadPoolExecutor(parallel) as pool:
        try:
            futures = {pool.submit(one, body): name for name, body in todo.items()}
            for future in tqdm(as_completed(futures), total=len(futures), desc="judge", disable=not futures):
                if (answer := future.result()) is not None:
                    yield futures[future], answer
        finally:
            stop.set()  # those that wait for their next try give up
            pool.shutdown(cancel_futures=True)


def _ask(url: str, body: str, key: str, stop: threading.Event) -> str | None:
    """Return the answer to one request, None if `stop` was set before there was one.

    Tries again after what may pass (429, 5xx, timeouts, lost connections), raises UserError for what will not.
    """
    problem = ""
    for attempt in range(TRIES):
        if stop.is_set():
            return None
        request = urllib.request.Request(f"{url}/chat/completions", body.encode())
        request.add_header("Content-Type", "application/json")
        if key:  # unredirected: a redirection to another host must not carry the key there
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        wait = float(2**attempt)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                return _content(url, _without(key, reply.read()))
        except urllib.error.HTTPError as error:
            detail = ""
            with contextlib.suppress(OSError, http.client.HTTPException):
                detail = " ".join(_without(key, error.read(2000)).decode("utf-8", "replace").split())[:300]
            problem = f"status {error.code}: {detail or error.reason}"
            if error.code not in (408, 429) and error.code < 500:
                raise UserError(f"{url} refuses: {problem}\n{_fix(error.code, bool(key))}") from None
            wait = _retry_after(error.headers.get("Retry-After"), wait)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, TimeoutError | ConnectionResetError | BrokenPipeError):
                raise UserError(f"cannot reach {url}: {error.reason}\n"
                                "check --url, the server and the network; answers so far are in the cache") from None
            problem = str(error.reason)
        except http.client.InvalidURL as error:
            raise UserError(f"--url: {url!r} is no address: {error}") from None
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        if attempt < TRIES - 1:
            _pause(stop, min(wait, LONGEST_WAIT))
    raise UserError(f"{url} failed {TRIES} times; the last time: {problem}\n"
                    "wait and run it again: the answers so far are in the cache and cost nothing")  # fmt: skip


def _without(key: str, reply: bytes) -> bytes:
    """Return a reply in which the key, should the endpoint repeat it, is left out: it may be shown and kept."""
    return reply.replace(key.encode(), b"***") if key else reply


def _pause(stop: threading.Event, seconds: float) -> None:
    """Wait, but not longer than until another request has failed for good."""
    stop.wait(seconds)


def _retry_after(header: str | None, wait: float) -> float:
    """Return the seconds that a Retry-After header asks for (a number, or a date), or `wait` without one."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else wait
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    return wait


def _fix(code: int, has_key: bool) -> str:
    """Return what to do about a status that another try will not change."""
    if code in (401, 403):
        found = "the key that was sent is not accepted" if has_key else "no key was sent"
        return f"{found}: set {KEYS[0]} (or {KEYS[1]}) in the environment"
    if code == 404:
        return "check --judge_model, and that --url ends before /chat/completions, as https://api.openai.com/v1 does"
    return "check --url and --judge_model"


def _content(url: str, reply: bytes) -> str:
    """Return the text of a chat completion; raise UserError if the reply is none."""
    try:
        return json.loads(reply)["choices"][0]["message"]["content"] or ""
    except (ValueError, LookupError, TypeError):
        found = " ".join(reply.decode("utf-8", "replace").split())[:100]
        raise UserError(f"{url}: expected a chat completion (JSON with choices[0].message.content), found {found!r}\n"
                        "check that --url is that of an OpenAI-compatible API; most end in /v1") from None  # fmt: skip


# ---- a person --------------------------------------------------------------------------------------------------------
def human(pairs: Iterable[Pair], question: str, seed: int = 1) -> Iterator[dict]:
    """Yield a person's verdicts, asked for in the terminal, until the pairs or the person's patience end.

    Blind: which response is shown first is drawn for each pair from the seed and the texts, so that it is the same
    however many pairs were judged before. Keys: 1, 2, 0 = tie, q (or the end of the input, or Ctrl-C) = quit.
    """
    pairs = list(pairs)
    print(f"\n{question}\n1 or 2 = that response, 0 = tie, q = quit; every answer is kept.")
    for number, pair in enumerate(pairs, 1):
        first = random.Random(f"{seed}\n{pair}").choice("ab")
        shown = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
        print(f"\n{'=' * 20} {number} of {len(pairs)}\n{_visible(pair.prompt)}")
        for name, text in zip("12", shown):
            print(f"{'-' * 20} {name}\n{_visible(text)}")
        print("-" * 20)
        key = ""
        while key not in ("0", "1", "2", "q"):
            try:
                key = input("1, 2, 0 or q: ").strip().lower()
            except (EOFError, KeyboardInterrupt):
                print()
                key = "q"
        if key == "q":
            return
        verdict = {"0": "tie", "1": first, "2": "b" if first == "a" else "a"}[key]
        yield {"verdict": verdict, "views": [{"first": first, "verdict": verdict}]}


def _visible(text: str) -> str:
    """Return a text without control characters, which could change the terminal or hide the text."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
