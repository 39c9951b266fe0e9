"""What the tests of the training scripts share: a tiny model, records, readers of a run folder, and what every script
must do alike. Scripts run in this process, `train(train_sft, "--steps=2", ...)`, on a model of two random layers.
"""

import ast
import contextlib
import functools
import json
import signal
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minalign import checkpoint, hub, optim, stage
from minalign.errors import UserError
from minalign.model import GPT2, Block, GPT2Config
from minalign.run import NonFiniteError
from minalign.tokenizer import Tokenizer

ALIKE = ["--device=cpu", "--no-plot"]
OWN = [*ALIKE, "--lora_rank=4", "--batch_size=8", "--max_response=8", "--eval_fraction=0.3", "--learning_rate=1e-2",
       "--warmup_steps=0"]  # fmt: skip


def write_tiny(folder: Path, n_positions: int = 96) -> Path:
    """Write a random GPT-2 of two layers with nano's vocabulary; about one in six of its tokens is the stop."""
    tokenizer = Tokenizer.from_folder(hub.NANO)
    torch.manual_seed(5)
    model = GPT2(GPT2Config(tokenizer.n_vocab, n_positions, n_embd=32, n_layer=2, n_head=2, initializer_range=0.15))
    with torch.no_grad():
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0, 3  # one dimension is constant: the stop's
        model.transformer.wte.weight[:, 0], model.transformer.wte.weight[tokenizer.eot] = 0, 0
        model.transformer.wte.weight[tokenizer.eot, 0] = 2.2
    hub.save_pretrained(model, folder)
    tokenizer.save(folder)
    return folder


def pairs(n: int = 24) -> list[dict]:
    """Return pairs with prompts and responses of different lengths, told apart by one word."""
    rows = []
    for i in range(n):
        name = ("Tom", "Anna", "Mira", "Oskar")[i % 4]
        prompt = f"At the market {name} lost {i} small lanterns." if i % 3 else f"{name} has {i} hats."
        end = " and bread." if i % 2 else "."
        rows.append({"prompt": prompt, "chosen": f" It is good{end}",
                     "rejected": f" It is bad{' today' if i % 5 == 0 else ''}{end}"})  # fmt: skip
    return rows


def write(path: Path, rows: list[dict]) -> Path:
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True, scope="module")
def one_encoder():
    """The encoder of texts is made once, not once a run, in a file of tests that imports this."""
    import train_gfn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_gfn, "sentence_encoder", functools.cache(train_gfn.sentence_encoder))
        yield


# ---------------------------------------------------------------------------------------------------------- a run


def train(script, *flags, out: Path | None = None) -> Path | None:
    """Run a script in this process; return its run folder."""
    script.main([*map(str, flags), *(["--out", str(out)] if out else [])])
    return out


def refuses(script, *flags) -> str:
    """Return the message of a script that must refuse; one to three lines."""
    with pytest.raises(UserError) as error:
        train(script, *flags)
    assert 1 <= len(str(error.value).splitlines()) <= 3, str(error.value)
    return str(error.value)


def lines(path) -> list[dict]:
    """Return the rows of a JSONL file; NaN is no JSON."""
    return [json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} in {path}"))
            for line in Path(path).read_text().splitlines()]  # fmt: skip


def result_of(run) -> dict:
    return json.loads((Path(run) / "result.json").read_text())


def inside(folder) -> set[str]:
    """Return the files of a run but for its checkpoints."""
    names = {path.name for path in Path(folder).iterdir()}
    return names - {"state"}


def weights(run) -> dict[str, torch.Tensor]:
    """Return the tensors that a run has written: adapter, head, or whole model."""
    names = ("adapter_model.safetensors", "model.safetensors", "head.safetensors")
    return {f"{name} {key}": x for name in names if (Path(run) / name).exists()
            for key, x in load_file(Path(run) / name).items()}  # fmt: skip


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(x, b[key]) for key, x in a.items())


def logprobs(model: GPT2, prompt: list[int], response: list[int]) -> torch.Tensor:
    """Return the log-probs of a response's tokens, (R,), from one plain pass over one row: no cache, no padding."""
    with torch.no_grad():
        logits = model.eval().lm_head(model(torch.tensor([prompt + response])))[0].double()
    predicted = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return predicted.gather(1, torch.tensor(response)[:, None])[:, 0]


# ------------------------------------------------------------------------------- what every script must do alike


def check_every_flag_is_read(script):
    """Each field of the Config is read somewhere in the script, or in the library on its behalf."""
    from minalign import memory, rewards
    from minalign.tasks import setting

    files = [Path(module.__file__) for module in (script, stage, rewards, setting, memory)]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if ast.unparse(node.value) in ("cfg", "given")}
    unread = script.Config.__dataclass_fields__.keys() - read
    assert not unread, unread


def check_dry_run(script, flags, tmp_path, monkeypatch, capsys):
    """It prints settings and three records, takes a step and writes nothing."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    train(script, *flags, "--steps=50", "--dry_run")
    said = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before, "a dry run wrote something"
    assert "* steps" in said and [f"record {i}" in said for i in range(1, 5)] == [True] * 3 + [False], said
    assert "tokens: " in said and "dry run: one step" in said and "nothing was saved" in said, said


def check_schedule(script, flags, tmp_path):
    """Learning rates in the log: by hand; and the first step moves the weights by its own rate."""
    flags = [*flags, "--steps=4", "--warmup_steps=2", "--schedule=linear", "--learning_rate=0.01", "--save_every=0"]
    rows = lines(train(script, *flags, out=tmp_path / "linear") / "metrics.jsonl")
    assert [row["lr"] for row in rows] == pytest.approx([0.005, 0.01, 0.01, 0.005])
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    still = train(script, *flags, "--learning_rate=0", out=tmp_path / "still")
    B = [x for key, x in weights(still).items() if "lora_B" in key]
    assert B and not any(x.any() for x in B), "a rate of 0 moves nothing"


@contextlib.contextmanager
def graphs():
    """Record of each block that runs outside no_grad whether there is a graph behind it: {number: {True, False}}."""
    found = defaultdict(set)

    def see(module, args, output):
        if isinstance(module, Block) and torch.is_grad_enabled():
            found[module.attn.layer].add(output.requires_grad)

    handle = torch.nn.modules.module.register_module_forward_hook(see)
    try:
        yield found
    finally:
        handle.remove()


def check_full_fine_tuning(script, flags, tiny, tmp_path, unmoved=frozenset()):
    """--lora_rank 0 writes a whole model that loads again; --freeze_layers leaves the lowest blocks bit-identical.

    unmoved: weights on which the loss does not depend.
    """
    base = load_file(tiny / "model.safetensors")
    full = [*flags, "--lora_rank=0", "--steps=2"]
    for frozen in (0, 0.5):
        with graphs() as behind:
            run = train(script, *full, "--freeze_layers", frozen, out=tmp_path / f"frozen-{frozen}")
        assert (True in behind[0]) == (not frozen) and True in behind[1], behind
        assert {"config.json", "model.safetensors", "vocab.json", "merges.txt"} <= inside(run), inside(run)
        assert "adapter_config.json" not in inside(run)
        after = load_file(run / "model.safetensors")
        low = {k for k in base if ".h.0." in k or "wte" in k or "wpe" in k}
        moved = {key for key in base if not torch.equal(base[key], after[key])}
        assert base.keys() == after.keys() and moved & low == (set() if frozen else low), moved & low
        assert moved - low == base.keys() - low - unmoved, (base.keys() - low) ^ (moved - low)
    model, _, name = stage.load_policy("nano", str(run), reward_model=True)
    assert name == str(run) and torch.equal(model.transformer.ln_f.weight, after["transformer.ln_f.weight"])


def check_frozen_adapters(script, flags, tmp_path):
    """With LoRA, --freeze_layers leaves the lowest blocks without adapters, and without a graph."""
    with graphs() as behind:
        run = train(script, *flags, "--steps=2", "--freeze_layers=0.5", out=tmp_path / "frozen")
    assert behind[0] == {False} and True in behind[1], behind
    B = {key: x.any().item() for key, x in weights(run).items() if "lora_B" in key}
    assert len(B) == 4 and all(trained and ".h.1." in key for key, trained in B.items()), B


def check_micro_batches(script, flags, tmp_path, size, *more, constant=()):
    """A step made of micro-batches is the step of the whole batch.

    constant: weights whose first number multiplies the tiny model's constant dimension, which cancels in the loss:
    its gradient is rounding noise, of which Adam makes a step.
    """
    whole, parts = (train(script, *flags, *more, "--steps=1", f"--micro_batch={n}", out=tmp_path / f"micro{n}")
                    for n in (0, size))  # fmt: skip
    assert not same(weights(whole), weights(parts)) or size == 0  # another order of adding, so the flag does something
    after = weights(whole), weights(parts)
    for name in constant:
        after[0][name][0] = after[1][name][0]
    torch.testing.assert_close(*after, atol=2e-5, rtol=0)
    for a, b in zip(lines(whole / "metrics.jsonl"), lines(parts / "metrics.jsonl")):
        for key in ("loss", "grad_norm"):
            assert key not in a or a[key] == pytest.approx(b[key], rel=1e-3), key


def check_resume(script, flags, tmp_path, monkeypatch):
    """SIGTERM in step 2 and a crash in step 4, each continued: every file ends as that of an uninterrupted run."""
    flags = [*flags, "--steps=5", "--save_every=3", "--eval_every=2"]
    whole, broken = train(script, *flags, out=tmp_path / "whole"), tmp_path / "broken"
    guard, calls = script.check_finite, []

    def interrupted(step, *args, **named):
        guard(step, *args, **named)
        calls.append(step)
        if "grad_norm" in named and step == 2 and "TERM" not in calls:
            calls.append("TERM")
            signal.raise_signal(signal.SIGTERM)
        elif "grad_norm" in named and step == 4:
            raise RuntimeError("the machine went down")

    patch = monkeypatch.setattr
    patch(script, "check_finite", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train(script, *flags, out=broken)
    assert stopped.value.code == 143 and [row["step"] for row in lines(broken / "metrics.jsonl")] == [1, 2]
    assert not (broken / "result.json").exists()
    torch.manual_seed(99)  # whatever the process had drawn
    with pytest.raises(RuntimeError, match="went down"):
        train(script, *flags, "--resume", out=broken)
    assert [row["step"] for row in lines(broken / "metrics.jsonl")] == [1, 2, 3]
    patch(script, "check_finite", guard)
    train(script, *flags, "--resume", out=broken)
    assert inside(whole) == inside(broken)
    for name in inside(whole) - {"run.json", "result.json", "adapter_config.json"}:
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
    times = {"seconds": 0, "peak_memory_mb": 0}
    assert result_of(whole) | times == result_of(broken) | times
    states = [sorted((run / "state").iterdir())[-1] / "state.safetensors" for run in (whole, broken)]
    assert same(*map(load_file, states))


def check_max_seconds(script, flags, tmp_path):
    """A run whose time is up after each of its steps, continued until it ends, is the run without a limit."""
    flags = [*flags, "--steps=3", "--save_every=0", "--eval_every=2"]
    whole, timed = train(script, *flags, out=tmp_path / "whole"), tmp_path / "timed"
    for more in ([], ["--resume"], ["--resume"]):
        with pytest.raises(SystemExit) as stopped:
            train(script, *flags, "--max_seconds=1e-3", *more, out=timed)
        assert stopped.value.code == 0 and not (timed / "result.json").exists()
    train(script, *flags, "--resume", out=timed)
    for name in inside(whole) - {"run.json", "result.json", "adapter_config.json"}:
        assert (whole / name).read_bytes() == (timed / name).read_bytes(), name


def check_keep_best(script, flags, tmp_path, monkeypatch, metric, values, best):
    """The weights that are kept are those of the best evaluation: here step `best` of three."""
    flags = [*flags, "--schedule=constant", "--eval_every=1"]
    early = train(script, *flags, "--steps", best, out=tmp_path / "early")
    evaluate, calls = checkpoint.Best.see, []

    def told(self, step, metrics):
        calls.append(step)
        evaluate(self, step, {**metrics, metric: values[step - 1]})

    monkeypatch.setattr(checkpoint.Best, "see", told)
    kept = train(script, *flags, "--steps=3", "--keep_best", metric, out=tmp_path / "kept")
    last = train(script, *flags, "--steps=3", out=tmp_path / "last")
    assert calls == [1, 2, 3] * 2
    adapters = [{k: x for k, x in weights(run).items() if "lora" in k} for run in (early, kept, last)]
    assert same(adapters[0], adapters[1]) and not same(adapters[1], adapters[2])


def check_unknown_metric(script, flags, tmp_path):
    """--keep_best of a metric that does not exist is an error that lists those that do, before any training."""
    out = tmp_path / "unknown"
    said = refuses(script, *flags, "--steps=2", "--eval_every=2", "--keep_best=nonsense", "--out", out)
    assert "--keep_best nonsense" in said and "eval/" in said, said
    assert not (out / "metrics.jsonl").exists(), "steps were taken before the error"


def check_finite_guard(script, flags, tmp_path, monkeypatch):
    """A gradient that is not finite stops the run before the weights change; nothing is saved."""
    steps = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: torch.tensor(float("nan")))
    monkeypatch.setattr(optim.AdamW, "step", lambda *args: steps.append(1))
    with pytest.raises(NonFiniteError, match="step 1: grad_norm is nan.*stopped before the weights changed"):
        train(script, *flags, "--steps=2", out=tmp_path / "nan")
    assert not steps and not weights(tmp_path / "nan") and "result.json" not in inside(tmp_path / "nan")


def check_effects(script, flags, tmp_path, settings, more=()):
    """Each setting changes what is learned: the weights, or else a number in the log."""
    def outcome(name, *flag):
        run = train(script, *flags, *more, *flag, out=tmp_path / name)
        rows = [{k: v for k, v in row.items() if k != "lr"} for row in lines(run / "metrics.jsonl")]
        return weights(run), rows

    plain, rows = outcome("plain")
    without = [flag for i, flag in enumerate(settings) if same(plain, (found := outcome(f"s{i}", flag))[0])
               and rows == found[1]]  # fmt: skip
    assert not without, f"no effect: {without}"
