"""Every command of README and docs names a script that is there and flags that it takes; commands.py runs them."""

import importlib
import sys

import commands
import pytest

from minalign import cli, dist
from minalign.errors import UserError

OURS = [(page, command) for page, command in commands.shown()
        if not any(part in command for part in ("bench/", "tests/", "docs/", "pytest", "nano.", "minalign.export",
                                                   "minalign.plot"))
        and commands.words(command)[1]]  # fmt: skip


class Parsed(Exception):
    pass


def test_the_pages_have_commands():
    assert len(OURS) > 40 and {page for page, _ in commands.shown()} >= {"README.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize("page, command", OURS, ids=[command[:60] for _, command in OURS])
def test_a_command_has_flags_that_its_script_takes(page, command, monkeypatch, tmp_path):
    def parsed(*args):
        raise Parsed

    script, flags = commands.words(command)
    module = importlib.import_module(script.removesuffix(".py"))
    if command.startswith("torchrun"):
        monkeypatch.setattr(dist, "world", lambda: 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "show", parsed)
    if hasattr(module, "pick_device"):  # what a --prompt alone reaches instead
        monkeypatch.setattr(module, "pick_device", parsed)
    with pytest.raises(Parsed):
        module.main(flags)


def test_a_mistake_in_a_command_is_seen(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(UserError, match="--lorarank"):
        importlib.import_module("train_sft").main(["--task", "sentiment", "--lorarank", "3"])
