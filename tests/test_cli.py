"""The command line: precedence, spellings, and errors that name the flag that was meant."""

import dataclasses
import subprocess
import sys

import pytest

from minalign import cli
from minalign.cli import flag
from minalign.errors import UserError


@dataclasses.dataclass
class Config:
    task: str = flag("rng", "which task", choices=("rng", "puns", "summarize"))
    model: str = flag("nano", "which model")
    steps: int = flag(100, "optimizer steps")
    lr: float = flag(1e-3, "learning rate")
    max_kl: float | None = flag(None, "stop above this KL, none = off")
    batch_size: int = flag(8, "prompts a step")
    plot: bool = flag(True, "draw figures")
    compile: bool = flag(False, "torch.compile")
    data: tuple[str, ...] = flag((), "files")
    temperatures: tuple[float, ...] = flag((0.5, 1.0), "sampling temperatures")
    targets: tuple[str, ...] = flag(("c_attn",), "LoRA targets", choices=("c_attn", "c_proj", "lm_head"))

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"--steps must be at least 1, found {self.steps}")


def preset(cfg):
    return {"lr": 5e-4, "batch_size": 32} if cfg.task == "puns" else {}


def parse(line, **kwargs):
    return cli.parse(Config, line.split(), **kwargs)


def test_defaults_and_every_type():
    assert parse("") == (Config(), set())
    cfg, changed = parse(
        "--steps 1e3 --lr -2e-4 --max-kl 0.5 --batch_size=16 --no-plot --compile --data a.jsonl b.jsonl,c.jsonl"
        " --temperatures 0.1,-1 2 --targets lm_head --model=x=y"
    )
    assert (cfg.steps, cfg.lr, cfg.max_kl, cfg.batch_size, cfg.plot, cfg.compile) == (1000, -2e-4, 0.5, 16, False, True)
    assert type(cfg.steps) is int
    assert cfg.data == ("a.jsonl", "b.jsonl", "c.jsonl")
    assert cfg.temperatures == (0.1, -1.0, 2.0) and cfg.targets == ("lm_head",) and cfg.model == "x=y"
    assert changed == set(f.name for f in dataclasses.fields(Config)) - {"task"}


@pytest.mark.parametrize(
    "line", ["--batch-size 3", "--batch_size 3", "--batch-size=3", "--batch_size 1 --batch-size 3"]
)
def test_spellings_and_the_last_wins(line):
    assert parse(line)[0].batch_size == 3


def test_bools_none_and_lists():
    assert parse("--plot false")[0].plot is False and parse("--no_plot")[0].plot is False
    assert parse("--plot")[0].plot is True and parse("--compile=on")[0].compile is True
    assert parse("--max_kl none")[0].max_kl is None and parse("--targets none")[0].targets == ()
    assert cli.parse(Config, ["--data", "my file.jsonl"])[0].data == ("my file.jsonl",)
    assert cli.parse(Config, ["--temperatures", "1 2, 3"])[0].temperatures == (1.0, 2.0, 3.0)


def test_precedence_default_preset_command_line():
    assert parse("--task rng", preset=preset)[0].lr == 1e-3
    cfg, changed = parse("--task puns --batch_size 4", preset=preset)
    assert (cfg.lr, cfg.batch_size) == (5e-4, 4)
    assert changed == {"task", "lr", "batch_size"}
    cfg, changed = parse("--task puns --batch_size 8", preset=preset)  # given, though it is the default: it wins
    assert cfg.batch_size == 8 and "batch_size" in changed


@pytest.mark.parametrize(
    "line, words",
    [
        ("--stepz 3", ("--stepz", "Did you mean --steps?")),
        ("--batchsize 3", ("Did you mean --batch_size?",)),
        ("--no-compil", ("Did you mean --no_compile?",)),
        ("--l 3", ("unknown flag --l",)),  # no abbreviations
        ("--no-lr", ("unknown flag --no-lr",)),
        ("--task pun", ("--task", "'pun'", "rng, puns, summarize", "Did you mean puns?")),
        ("--targets c_attn,lm_haed", ("--targets", "Did you mean lm_head?")),
        ("--steps many", ("--steps", "whole number", "'many'")),
        ("--steps 1.5", ("whole number",)),
        ("--steps inf", ("whole number",)),
        ("--lr nan", ("--lr", "a number")),
        ("--lr", ("--lr needs a value",)),
        ("--lr 1 2", ("--lr takes one value, found 2: 1 2",)),
        ("--plot maybe", ("true or false",)),
        ("--no-plot 3", ("takes no value",)),
        ("rng", ("unexpected argument 'rng'",)),
        ("--steps 0", ("--steps must be at least 1",)),
    ],
)
def test_errors_say_what_and_how(line, words):
    with pytest.raises(UserError) as error:
        parse(line)
    text = str(error.value)
    assert all(word in text for word in words), text
    assert len(text.splitlines()) <= 3


def test_a_preset_may_not_invent_fields():
    with pytest.raises(AssertionError, match="learning_rate"):
        parse("", preset=lambda cfg: {"learning_rate": 1})


def test_show_marks_what_differs(capsys):
    cli.show(*parse("--task puns --steps 100", preset=preset))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(dataclasses.fields(Config))
    assert [line.split()[1] for line in lines if line[0] == "*"] == ["task", "lr", "batch_size"]
    assert any(line.startswith("* lr") and "0.0005" in line and "(default 0.001)" in line for line in lines)


def test_help_has_a_line_for_every_flag(capsys):
    with pytest.raises(SystemExit) as end:
        parse("--task nonsense --help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("The command line: precedence")
    for field in dataclasses.fields(Config):
        assert f"--{field.name}" in text and field.metadata["help"] in text
    assert "--plot/--no-plot" in text


def test_main_exit_codes(capsys):
    def fails(argv):
        raise UserError("expected a, found b\nuse a")

    def interrupted(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        cli.main(fails)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: expected a, found b\nuse a\n"
    with pytest.raises(SystemExit) as end:
        cli.main(interrupted)
    assert end.value.code == 130
    assert cli.main(lambda argv: 3) is None


def test_debug_shows_where_an_error_came_from(monkeypatch, capsys):
    def fails(argv):
        assert argv == ["--lr", "1"]
        raise UserError("expected a, found b")

    monkeypatch.setattr(sys, "argv", ["x", "--lr", "1", "--debug"])
    with pytest.raises(SystemExit) as end:
        cli.main(fails)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("Traceback") and "in fails" in said
    assert said.endswith("\nerror: expected a, found b\n")


def test_help_into_a_closed_pipe_is_silent():
    code = "from minalign import cli; cli.main(lambda argv: print('x\\n' * 100000))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
