"""Judging: verdicts of every judge, the chat judge against a local stub server, and the command line."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from minalign import judge, judges
from minalign.errors import UserError
from minalign.judges import Pair, by_score, chat, human, read_answer
from minalign.metrics import wilson

QUESTION = "Which is better?"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def samples(path, *texts, **more):
    """Write a samples file from (prompt, response) pairs."""
    return write(path, [{"prompt": prompt, "response": response, **more} for prompt, response in texts])


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Stub:
    """A chat endpoint on this machine: `reply(first, second)` is what it answers, `faults` come before that."""

    def __init__(self):
        self.faults, self.requests, self.headers = [], [], []  # faults: (status, headers, body) a request
        self.reply = lambda first, second: "A"
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append((self.path, body))
                stub.headers.append(dict(self.headers))
                text = body["messages"][0]["content"]
                first, second = re.search(
                    r"\[Response A\]\n(.*)\n\n\[Response B\]\n(.*)\n\n\[Question\]", text, re.S
                ).groups()
                message = {"choices": [{"message": {"role": "assistant", "content": stub.reply(first, second)}}]}
                status, headers, body = stub.faults.pop(0) if stub.faults else (200, {}, json.dumps(message))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in judges.KEYS:
        monkeypatch.delenv(name, raising=False)
    server = Stub()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would be waited between tries; nothing is waited for."""
    found = []
    monkeypatch.setattr(judges, "_pause", lambda stop, seconds: found.append(seconds))
    return found


def longer(first, second):
    return "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"


PAIRS = [Pair("p1", "long long", "short"), Pair("p2", "no", "much longer"), Pair("p3", "abcd", "efgh")]


# ---- numbers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wins, n, low, high",
    [
        (8, 10, 0.490, 0.943),
        (0, 10, 0.0, 0.278),  # by hand: 1.96^2 / (10 + 1.96^2)
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3, as are the next three
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_as_published(wins, n, low, high):
    assert wilson(wins, n) == pytest.approx((low, high), abs=5.1e-4 if n == 10 else 5.1e-5)


def test_wilson_is_symmetric_and_takes_halves():
    low, high = wilson(2.5, 7)
    assert wilson(4.5, 7) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert wilson(2, 7)[0] < low < wilson(3, 7)[0] and wilson(5, 5)[1] == 1.0 and wilson(0, 5)[0] == 0.0


def test_summary_by_hand():
    def row(verdict, *views):
        return {"prompt": "p", "verdict": verdict, "views": [{"first": f, "verdict": v} for f, v in views]}

    numbers = judge.summarize([
        row("a", ("a", "a"), ("b", "a")),
        row("b", ("a", "b"), ("b", "b")),
        row("tie", ("a", "a"), ("b", "b")),  # says first twice
        row("tie", ("a", "a"), ("b", "tie")),  # first once
        row("tie", ("a", None), ("b", "tie")),
    ])  # fmt: skip
    assert (numbers["wins"], numbers["ties"], numbers["losses"], numbers["n"]) == (1, 3, 1, 5)
    assert numbers["win_rate"] == 0.5 and (numbers["inconsistent"], numbers["unreadable"]) == (2, 1)
    assert (numbers["position_n"], numbers["position_bias"]) == (7, pytest.approx(5 / 7))


def test_scores_that_are_equal_but_for_rounding_tie():
    scores = {"x": 0.3, "y": 0.1 + 0.2, "z": 0.3 + 1e-6}
    verdicts = by_score([Pair("p", "x", "y"), Pair("p", "z", "x"), Pair("p", "x", "z")],
                        lambda prompts, responses: [scores[r] for r in responses])  # fmt: skip
    assert [v["verdict"] for v in verdicts] == ["tie", "a", "b"] and verdicts[1]["scores"] == [0.3 + 1e-6, 0.3]
    with pytest.raises(UserError, match="finite.*nan.*\n'which prompt'"):
        by_score([Pair("which prompt", "x", "y")], lambda prompts, responses: [1.0, float("nan")])


# ---- the chat judge --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "answer, verdict",
    [
        ("A", "a"), ("B.", "b"), ("**B**", "b"), ("[[A]]", "a"), ("tie", "tie"), ("A tie", "tie"),
        ("It's a tie.", "tie"), ("The winner is: B", "b"),
        ("Answer: **A**", "a"), ("Final verdict: Response B", "b"), ("Response A is better.", "a"), ("b", "b"),
        ("A, because it is longer", "a"), ("A\n\nIt is longer.", "a"), ("B - it is longer", "b"),
        ("", None), ("C", None), ("A good question", None), ("Both", None), ("Neither A nor B", None), ("A/B", None),
        ("A and B are equal", None), ("Compared to A, B is better", None), ("A or B?", None), ("Apples", None),
        ("A is worse than B", None), ("I cannot say.", None), ("tied to a tree", None), ("\u0410", None),
    ],
)  # fmt: skip
def test_verdict_of_an_answer(answer, verdict):
    assert read_answer(answer, "a") == verdict
    assert read_answer(answer, "b") == {"a": "b", "b": "a"}.get(verdict, verdict)


def test_a_consistent_judge_wins_and_shows_no_bias(stub, tmp_path):
    stub.reply = longer
    verdicts = chat(PAIRS, QUESTION, stub.url, "m", tmp_path / "new" / "cache.jsonl")
    assert [v["verdict"] for v in verdicts] == ["a", "b", "tie"]
    numbers = judge.summarize([{"prompt": "", **v} for v in verdicts])
    assert (numbers["position_bias"], numbers["position_n"], numbers["inconsistent"]) == (0.5, 4, 0)
    path, body = stub.requests[0]
    assert path == "/v1/chat/completions" and (body["model"], body["temperature"]) == ("m", 0)
    assert QUESTION in body["messages"][0]["content"] and body["max_tokens"] <= 32
    assert not any("Authorization" in headers for headers in stub.headers)


def test_a_judge_that_prefers_the_first_decides_nothing(stub, tmp_path):
    numbers = judge.summarize(
        [{"prompt": "", **v} for v in chat(PAIRS, QUESTION, stub.url, "m", tmp_path / "c.jsonl")]
    )
    assert (numbers["wins"], numbers["ties"], numbers["win_rate"], numbers["inconsistent"]) == (0, 3, 0.5, 3)
    assert numbers["position_bias"] == numbers["position_bias_high"] == 1.0 and numbers["position_bias_low"] > 0.5


def test_a_second_run_asks_nothing_and_other_questions_do(stub, tmp_path):
    stub.reply, cache = longer, tmp_path / "c.jsonl"
    first = chat(PAIRS, QUESTION, stub.url, "m", cache)
    assert len(stub.requests) == 6
    assert chat(PAIRS, QUESTION, stub.url + "/chat/completions", "m", cache) == first and len(stub.requests) == 6
    chat([*PAIRS, Pair("p1", "new", "short")], QUESTION, stub.url, "m", cache)
    assert len(stub.requests) == 8
    chat(PAIRS[:1], QUESTION, stub.url, "another", cache)
    chat(PAIRS[:1], "Which is worse?", stub.url, "m", cache)
    assert len(stub.requests) == 12
    # A crash in the middle of a line loses that answer only, and the next one is not written behind it.
    cache.write_bytes(cache.read_bytes()[:-20])
    for _ in range(2):
        chat(PAIRS[:1], "Which is worse?", stub.url, "m", cache)
        assert len(stub.requests) == 13


def test_answers_are_kept_when_a_later_request_fails(stub, tmp_path, waits):
    stub.reply = longer
    stub.faults = [(200, {}, json.dumps({"choices": [{"message": {"content": "A"}}]})), (400, {}, "no")]
    with pytest.raises(UserError, match="refuses: status 400: no"):
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)
    assert len(lines(tmp_path / "c.jsonl")) == 1
    chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl")
    assert len(stub.requests) == 3 and waits == []


def test_retries_wait_as_the_endpoint_asks(stub, tmp_path, waits):
    stub.reply = longer
    asks = ("7", None, "100000", "Wed, 21 Oct 2015 07:28:00 GMT", "soon")
    stub.faults = [(429 if ask else 503, {"Retry-After": ask} if ask else {}, "busy") for ask in asks]
    assert chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)[0]["verdict"] == "a"
    assert waits == [7, 2, judges.LONGEST_WAIT, 0, 16] and len(stub.requests) == 7


def test_an_endpoint_that_never_works_is_given_up(stub, tmp_path, waits):
    stub.faults = [(500, {}, "out of memory")] * 100
    with pytest.raises(UserError, match=f"failed {judges.TRIES} times.*500: out of memory\n.*cache"):
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)
    assert len(stub.requests) == judges.TRIES and waits == [1, 2, 4, 8, 16]


def test_a_timeout_is_tried_again(stub, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(judges, "TIMEOUT", 0.2)
    release, slow = threading.Event(), []

    def reply(first, second):
        if not slow:
            slow.append(release.wait(10))
        return longer(first, second)

    stub.reply = reply
    monkeypatch.setattr(judges, "_pause", lambda stop, seconds: release.set())
    assert chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)[0]["verdict"] == "a"
    assert len(stub.requests) == 3


def test_garbage_is_a_tie_and_counted(stub, tmp_path):
    stub.reply = lambda first, second: "As a language model" if first == "short" else None if first == "efgh" else "A"
    verdicts = chat(PAIRS, QUESTION, stub.url, "m", tmp_path / "c.jsonl")
    assert [v["verdict"] for v in verdicts] == ["tie"] * 3
    assert judge.summarize([{"prompt": "", **v} for v in verdicts])["unreadable"] == 2


@pytest.mark.parametrize(
    "fault, words",
    [
        ((401, {}, '{"error": "sk-secret is wrong"}'), ("status 401", "the key that was sent", "MINALIGN_JUDGE_KEY")),
        ((404, {}, "no such model"), ("no such model", "--judge_model", "/v1")),
        ((302, {"Location": "http://127.0.0.1:9/v1"}, ""), ("cannot reach",)),
        ((200, {}, "<html>Welcome</html>"), ("expected a chat completion", "<html>Welcome", "/v1")),
        ((200, {}, '{"choices": []}'), ("expected a chat completion",)),
    ],
)
def test_what_will_not_pass_is_an_error_at_once(stub, tmp_path, waits, monkeypatch, fault, words):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("MINALIGN_JUDGE_KEY", " sk-secret\n")
    stub.faults = [fault]
    with pytest.raises(UserError) as error:
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)
    assert all(word in str(error.value) for word in words) and len(str(error.value).splitlines()) <= 3
    assert "sk-" not in str(error.value) and waits == []
    assert stub.headers[0]["Authorization"] == "Bearer sk-secret"


def test_a_redirection_elsewhere_does_not_take_the_key_along(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("MINALIGN_JUDGE_KEY", "sk-secret")
    taken = []
    other = Stub()
    handler = other.server.RequestHandlerClass
    handler.do_GET = lambda request: taken.append(dict(request.headers)) or request.send_error(404)
    stub.faults = [(302, {"Location": other.url}, "")]
    with pytest.raises(UserError, match="404"):
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)
    other.server.shutdown()
    other.server.server_close()
    assert len(taken) == 1 and "Authorization" not in taken[0]


def test_no_key_and_a_bad_key(stub, tmp_path, monkeypatch):
    stub.faults = [(401, {}, "")]
    with pytest.raises(UserError, match="no key was sent: set MINALIGN_JUDGE_KEY"):
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl", parallel=1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nX-Other: 2")
    with pytest.raises(UserError, match="no key has") as error:
        chat(PAIRS[:1], QUESTION, stub.url, "m", tmp_path / "c.jsonl")
    assert "sk-1" not in str(error.value)


def test_the_key_is_nowhere(stub, tmp_path, waits, monkeypatch, capsys):
    """Neither on the screen, with --debug, nor in a file, though the endpoint repeats it in answers and errors."""
    monkeypatch.setenv("MINALIGN_JUDGE_KEY", "sk-secret")
    a, b = (samples(tmp_path / f"{x}.jsonl", *((f"p{i}", f"{x} {i}") for i in range(3))) for x in "ab")
    stub.reply = lambda first, second: "A (asked with Bearer sk-secret)"
    flags = [a, b, "--judge=chat", "--url", stub.url, "--judge_model=m", "--cache", str(tmp_path / "cache.jsonl")]
    said = ""
    for i, status in enumerate((500, 401, 200)):
        stub.faults = [(status, {}, "no: Bearer sk-secret")]
        (tmp_path / "cache.jsonl").unlink(missing_ok=True)
        monkeypatch.setattr(sys, "argv", ["judge", *flags, "--debug", "--out", str(tmp_path / f"out{i}")])
        with contextlib.suppress(SystemExit):
            judge.cli.main(judge.main)
        said += (found := "".join(capsys.readouterr()))
        assert ("Traceback" in found) == (i > 0) and "***" in found or not i, found
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(kept) > 5 and "sk-secret" not in said and not [path for path, data in kept.items() if b"sk-" in data]
    assert stub.headers[-1]["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize("url", ["https://me:sk-1@h.com/v1", "https://sk-1@h.com/v1", "https://h.com/v1?key=sk-1",
                                 "https://h.com/v1#sk-1"])  # fmt: skip
def test_an_address_with_a_key_in_it_is_not_written_down(tmp_path, monkeypatch, capsys, url):
    monkeypatch.chdir(tmp_path)
    a, b = (samples(tmp_path / f"{x}.jsonl", ("p", x)) for x in "ab")
    with pytest.raises(UserError, match="--url: .*\nset the key as MINALIGN_JUDGE_KEY") as error:
        judge.main([a, b, "--judge=chat", "--url", url, "--judge_model=m"])
    assert "sk-1" not in str(error.value) + "".join(capsys.readouterr()) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
def test_an_endpoint_that_cannot_be_reached(stub, tmp_path, waits, url):
    with pytest.raises(UserError, match=f"cannot reach {url}.*\ncheck --url"):
        chat(PAIRS[:1], QUESTION, url, "m", tmp_path / "c.jsonl", parallel=1)
    assert waits == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "api.openai.com/v1", "http://a b/v1", "http://h:port/v1"])
def test_addresses_that_are_none(tmp_path, url):
    with pytest.raises(UserError, match="--url"):
        chat(PAIRS[:1], QUESTION, url, "m", tmp_path / "c.jsonl", parallel=1)


# ---- a person --------------------------------------------------------------------------------------------------------
def person(monkeypatch, capsys, prefer):
    """Answer by `prefer(shown as 1, shown as 2)`; return the list of what is shown before each answer."""
    screens = []

    def answer(prompt):
        screens.append(capsys.readouterr().out)
        one, two = re.search(r"-+ 1\n(.*)\n-+ 2\n(.*)\n-+\n$", screens[-1], re.S).groups()
        return prefer(one, two)

    monkeypatch.setattr("builtins.input", answer)
    return screens


def test_a_person_is_shown_no_names_and_either_order(monkeypatch, capsys):
    pairs = [Pair(f"p{i}", f"good {i}", f"bad {i}") for i in range(40)]
    screens = person(monkeypatch, capsys, lambda one, two: "1" if one.startswith("good") else "2")
    verdicts = list(human(pairs, QUESTION, seed=3))
    assert [v["verdict"] for v in verdicts] == ["a"] * 40  # whatever the order
    first = [v["views"][0]["first"] for v in verdicts]
    assert 10 < first.count("a") < 30 and len(screens) == 40
    # The order belongs to the pair, not to how many came before it.
    assert [v["views"][0]["first"] for v in human(pairs[5:], QUESTION, seed=3)] == first[5:]
    assert [v["views"][0]["first"] for v in human(pairs, QUESTION, seed=4)] != first


def test_other_keys_are_asked_again_and_control_characters_are_not_shown(monkeypatch, capsys):
    keys = iter(["", "3", "yes", " 0 "])
    monkeypatch.setattr("builtins.input", lambda prompt: next(keys))
    assert [v["verdict"] for v in human([Pair("p", "x\x1b[2J", "y\x9b\n")], QUESTION)] == ["tie"]
    assert not re.search("[\x1b\x9b]", capsys.readouterr().out)


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt])
def test_the_end_of_the_input_is_quitting(monkeypatch, error):
    keys = iter("1")

    def answer(prompt):
        try:
            return next(keys)
        except StopIteration:
            raise error from None

    monkeypatch.setattr("builtins.input", answer)
    assert len(list(human(PAIRS, QUESTION))) == 1


def test_judging_by_hand_can_be_continued(monkeypatch, capsys, tmp_path):
    prompts = [f"p{i}" for i in range(6)]
    a = samples(tmp_path / "a.jsonl", *((p, f"good of {p}") for p in prompts))
    b = samples(tmp_path / "b.jsonl", *((p, f"bad of {p}") for p in prompts))
    out = tmp_path / "mine"
    seen = []

    def prefer(one, two):
        seen.append(one.split()[-1])
        return "q" if len(seen) == 4 else "0" if len(seen) == 2 else "1" if one.startswith("good") else "2"

    person(monkeypatch, capsys, prefer)
    command = [a, b, "--judge", "human", "--out", str(out)]
    judge.main(command)
    assert "--resume" in capsys.readouterr().out
    assert len(lines(out / "verdicts.jsonl")) == 3 and json.loads((out / "judge.json").read_text())["n"] == 3
    with open(out / "verdicts.jsonl", "a") as file:
        file.write('{"prompt": "p')  # killed in the middle of a line
    judge.main([*command, "--resume"])
    assert seen[3] == seen[4] and sorted(seen[:3] + seen[4:]) == prompts  # the one that was left, then the others
    result = json.loads((out / "judge.json").read_text())
    assert (result["wins"], result["ties"], result["losses"], result["n"]) == (5, 1, 0, 6)
    assert result["win_rate"] == pytest.approx(5.5 / 6) and result["position_n"] == 5
    preferences = lines(out / "preferences.jsonl")
    assert sorted(row["prompt"] for row in preferences) == sorted(set(prompts) - {seen[1]})
    assert all(row.keys() == {"prompt", "chosen", "rejected"} for row in preferences)
    assert all(row["chosen"].startswith("good") and row["rejected"].startswith("bad") for row in preferences)
    with pytest.raises(UserError, match="--seed is 2"):
        judge.main([*command, "--resume", "--seed", "2"])


# ---- files and the command line --------------------------------------------------------------------------------------
def test_pairs_are_matched_by_prompt_and_number(tmp_path):
    (tmp_path / "run").mkdir()
    samples(tmp_path / "run" / "samples.jsonl", ("p", "a1"), ("only a", "x"), ("q", "a3"), ("p", "a2"))
    texts = ("q", "b1"), ("p", "b2"), ("q", "b3"), ("p", "b4"), ("only b", "y"), ("also b", "z")
    b = samples(tmp_path / "b.jsonl", *texts)
    pairs, left = judge.match(judge.read_samples(str(tmp_path / "run")), judge.read_samples(b))
    assert pairs == [Pair("p", "a1", "b2"), Pair("p", "a2", "b4"), Pair("q", "a3", "b1")]
    assert left == {"prompts_only_in_a": 1, "prompts_only_in_b": 2, "responses_left_over": 1}


def test_only_samples_of_the_last_step_count(tmp_path, capsys):
    rows = [{"prompt": "p", "response": f"r{step}", "step": step} for step in (0, 50, 9)]
    assert judge.read_samples(write(tmp_path / "a.jsonl", rows)) == {"p": ["r50"]}
    assert "1 of 3 samples are of the last step, 50" in capsys.readouterr().out


def length_task(monkeypatch):
    """Stand in for the task: its gold score is the length."""
    gold = types.SimpleNamespace(gold=lambda prompt, response: float(len(response)))
    monkeypatch.setitem(sys.modules, "minalign.tasks.sentiment", gold)


def test_gold_from_files_to_files(monkeypatch, tmp_path, capsys):
    length_task(monkeypatch)
    monkeypatch.chdir(tmp_path)
    a = samples(tmp_path / "a.jsonl", ("p", "abc"), ("q", "abcd"), ("r", "a"), ("s", "same"))
    b = samples(tmp_path / "b.jsonl", ("p", "ab"), ("q", "abc"), ("r", "ab"), ("s", "same"), ("t", ""))
    judge.main([a, b, "--judge", "gold", "--task", "sentiment"])
    out = tmp_path / "runs" / "judge-gold-sentiment"
    result = json.loads((out / "judge.json").read_text())
    assert (result["wins"], result["ties"], result["losses"], result["win_rate"]) == (2, 1, 1, 0.625)
    assert (result["win_rate_low"], result["win_rate_high"]) == pytest.approx(wilson(2.5, 4))
    assert result["prompts_only_in_b"] == 1 and "position_bias" not in result
    assert json.loads((out / "result.json").read_text())["win_rate"] == 0.625
    verdicts = {row["prompt"]: row for row in lines(out / "verdicts.jsonl")}
    assert verdicts["r"] == {"prompt": "r", "a": "a", "b": "ab", "verdict": "b", "scores": [1.0, 2.0]}
    shown = capsys.readouterr().out
    assert "0.625" in shown and "1 prompts only in b" in shown
    judge.main([b, a, "--judge", "gold", "--task", "sentiment"])
    other = json.loads((tmp_path / "runs" / "judge-gold-sentiment-2" / "judge.json").read_text())
    assert other["win_rate"] == pytest.approx(1 - 0.625)


def test_n_draws_the_same_first_pairs(monkeypatch, tmp_path):
    length_task(monkeypatch)
    a = samples(tmp_path / "a.jsonl", *((f"p{i}", "ab") for i in range(30)))
    b = samples(tmp_path / "b.jsonl", *((f"p{i}", "a") for i in range(30)))
    drawn = {}
    for n, seed in ((5, 1), (8, 1), (5, 2), (0, 1)):
        out = tmp_path / f"{n}-{seed}"
        judge.main([a, b, "--task", "sentiment", "--n", str(n), "--seed", str(seed), "--out", str(out)])
        drawn[n, seed] = [row["prompt"] for row in lines(out / "verdicts.jsonl")]
    assert drawn[8, 1][:5] == drawn[5, 1] != drawn[5, 2] and len(drawn[0, 1]) == 30
    assert drawn[5, 1] != [f"p{i}" for i in range(5)]  # not simply the first of the file


def test_agreement_with_labels(monkeypatch, tmp_path, capsys):
    length_task(monkeypatch)
    rows = [("p", "abc", "a"), ("p", "ab", "a"), ("q", "a", "ab"), ("r", "ab", "cd"), ("r", "no", "no")]
    labels = write(tmp_path / "l.jsonl", [dict(zip(("prompt", "chosen", "rejected"), row)) for row in rows])
    judge.main(["--labels", labels, "--judge", "gold", "--task", "sentiment", "--out", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert (result["wins"], result["ties"], result["losses"], result["n"]) == (2, 1, 1, 4)
    assert result["accuracy"] == 0.625 and result["same_chosen_and_rejected"] == 1
    assert (result["accuracy_low"], result["accuracy_high"]) == pytest.approx(wilson(2.5, 4))


def test_a_reward_run_and_a_file_judge(monkeypatch, tmp_path):
    asked = []

    def from_run(folder, device):
        asked.append((folder, str(device)))
        return lambda prompts, responses: [len(p) - len(r) for p, r in zip(prompts, responses, strict=True)]

    def from_file(spec, flag):
        asked.append(spec)
        return lambda prompts, responses: [len(r) for r in responses]

    stand_in = types.SimpleNamespace(from_run=from_run, from_file=from_file)
    monkeypatch.setitem(sys.modules, "minalign.rewards", stand_in)
    a, b = samples(tmp_path / "a.jsonl", ("p", "ab")), samples(tmp_path / "b.jsonl", ("p", "a"))
    rates = []
    for i, flags in enumerate((["rm", "--reward", "runs/rm", "--device", "cpu"], ["my/own.py:f"])):
        judge.main([a, b, "--out", str(tmp_path / str(i)), "--judge", *flags])
        rates.append(json.loads((tmp_path / str(i) / "judge.json").read_text())["win_rate"])
    assert rates == [0.0, 1.0] and asked == [("runs/rm", "cpu"), "my/own.py:f"]


def test_chat_from_the_command_line(stub, tmp_path, capsys):
    stub.reply = longer
    a = samples(tmp_path / "a.jsonl", ("p {braces}", "ab {0}"), ("q", "a"), ("r", "same"))
    b = samples(tmp_path / "b.jsonl", ("p {braces}", "a"), ("q", "abc"), ("r", "same"))
    cache = tmp_path / "cache.jsonl"
    command = [a, b, "--judge", "chat", "--url", stub.url, "--judge_model", "m", "--cache", str(cache)]
    judge.main([*command, "--task", "puns", "--out", str(tmp_path / "1")])
    assert "no bias" in capsys.readouterr().out
    result = json.loads((tmp_path / "1" / "judge.json").read_text())
    assert (result["wins"], result["ties"], result["losses"], result["position_bias"]) == (1, 1, 1, 0.5)
    assert len(stub.requests) == 4  # equal responses are not asked about
    assert judges.QUESTIONS["puns"] in stub.requests[0][1]["messages"][0]["content"]
    judge.main([*command, "--task", "puns", "--out", str(tmp_path / "2")])
    assert len(stub.requests) == 4
    assert (tmp_path / "2" / "verdicts.jsonl").read_bytes() == (tmp_path / "1" / "verdicts.jsonl").read_bytes()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["a.jsonl"], ("two files",)),
        ([], ("two files", "--labels")),
        (["a.jsonl", "b.jsonl", "--labels", "a.jsonl"], ("--labels",)),
        (["a.jsonl", "b.jsonl"], ("--judge gold needs --task", "sentiment, descriptiveness, puns")),
        (["a.jsonl", "b.jsonl", "--judge", "rm"], ("--reward",)),
        (["a.jsonl", "b.jsonl", "--judge", "chat", "--url", "http://x"], ("--judge_model",)),
        (["a.jsonl", "b.jsonl", "--judge", "huma"], ("Did you mean human?",)),
        (["a.jsonl", "b.jsonl", "--task", "sentiment", "--resume"], ("--judge human",)),
        (["a.jsonl", "b.jsonl", "--judge", "human", "--resume", "--out", "nothing"], ("no run folder",)),
        (["a.jsonl", "b.jsonl", "--task", "sentiment", "--n", "-1"], ("--n",)),
        (["a.jsonl", "missing.jsonl", "--task", "sentiment"], ("missing.jsonl", "no such file")),
        (["a.jsonl", ".", "--task", "sentiment"], ("samples.jsonl", "no such file")),
        (["a.jsonl", "b.jsonl", "--task", "sentiment"], ("no prompt in common", "'p'", "'q'")),
        (["a.jsonl", "empty.jsonl", "--task", "sentiment"], ("empty.jsonl", "found none")),
        (["a.jsonl", "bad.jsonl", "--task", "sentiment"], ("bad.jsonl:3", "JSON object")),
        (["a.jsonl", "pairs.jsonl", "--task", "sentiment"], ("pairs.jsonl:1", "response", "only prompt, chosen")),
        (["a.jsonl", "number.jsonl", "--task", "sentiment"], ("number.jsonl:1", "for response it has a int")),
        (["a.jsonl", "list.jsonl", "--task", "sentiment"], ("list.jsonl:1", "found list")),
        (["a.jsonl", "latin.jsonl", "--task", "sentiment"], ("latin.jsonl:1", "utf-8")),
        (["a.jsonl", "not.jsonl.gz", "--task", "sentiment"], ("not.jsonl.gz", "gzip")),
        (["--labels", "same.jsonl", "--task", "sentiment"], ("same.jsonl", "there is none to learn from")),
        (["--labels", "nowhere.jsonl", "--task", "sentiment"], ("nowhere.jsonl", "there is no such file")),
    ],
)
def test_what_the_user_got_wrong(monkeypatch, tmp_path, flags, words):
    length_task(monkeypatch)
    monkeypatch.chdir(tmp_path)
    samples(tmp_path / "a.jsonl", ("p", "x"))
    samples(tmp_path / "b.jsonl", ("q", "x"))
    write(tmp_path / "pairs.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "y"}])
    write(tmp_path / "same.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "x"}])
    write(tmp_path / "number.jsonl", [{"prompt": "p", "response": 3}])
    write(tmp_path / "list.jsonl", [["p", "r"]])
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p", "response": "r"}\n\n{"prompt": "p",\n')
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "p", "response": "é"}\n'.encode("latin-1"))
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "not.jsonl.gz").write_text("plain")
    if words[0] == "no run folder":
        samples(tmp_path / "b.jsonl", ("p", "y"))
    with pytest.raises(UserError) as error:
        judge.main(flags)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert len(str(error.value).splitlines()) <= 3 and not (tmp_path / "runs").exists()


def test_the_module_and_the_real_gold_score(tmp_path):
    pytest.importorskip("minalign.tasks.sentiment")
    texts = [(" It was wonderful and she was very happy.", " It was terrible and she was very sad.")] * 3
    a = samples(tmp_path / "a.jsonl", *((f"Anna opened box {i}.", good) for i, (good, _) in enumerate(texts)))
    b = samples(tmp_path / "b.jsonl", *((f"Anna opened box {i}.", bad) for i, (_, bad) in enumerate(texts)))
    command = [sys.executable, "-m", "minalign.judge", a, b, "--task", "sentiment", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out" / "judge.json").read_text())["wins"] == 3
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--overwrite" in done.stderr and "Traceback" not in done.stderr
