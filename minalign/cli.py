"""A dataclass as a command line: `cfg, changed = parse(Config)`.

Each script writes its hyperparameters as one dataclass, one line a flag:

    lr: float = flag(3e-4, "learning rate of AdamW")
    targets: tuple[str, ...] = flag(("c_attn",), "weights that get an adapter", choices=("c_attn", "c_proj", "c_fc"))

Precedence: the dataclass default < the script's preset for (task, model) < the command line. A flag that does not exist
stops the program and names the nearest one that does: a misspelt hyperparameter must never run with its default.
argparse is not used because it accepts abbreviations (`--l 1` for `--lr 1`), reads `--x -1e-3` as two flags, and cannot
suggest a name.
"""

import dataclasses
import difflib
import math
import os
import sys
import time
import traceback
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

from minalign import dist
from minalign.errors import UserError
from minalign.memory import ADVICE, ran_out

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def flag(default: Any, help: str, choices: Sequence | None = None) -> Any:
    """Declare one field of a Config: its default and one line of help (meaning, unit, "0 = off")."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices and tuple(choices)})


def check_choice(name: str, value: Any, choices: Sequence) -> None:
    """Raise a UserError that lists the choices and names the nearest one, unless `value` is among them."""
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1, cutoff=0.5)
    hint = f"\nDid you mean {near[0]}?" if near else ""
    raise UserError(f"--{name}: {value!r} is not one of {', '.join(str(c) for c in choices)}{hint}")


def check_ranges(config: Any, **ranges: tuple[float, float]) -> None:
    """Raise a UserError for the first value outside its (least, greatest)."""
    for name, (low, high) in ranges.items():
        if not low <= getattr(config, name) <= high:
            raise UserError(f"--{name}: expected {low:g} to {high:g}, found {getattr(config, name):g}.")


def parse(
    Config: type, argv: Sequence[str] | None = None, preset: Callable[[Any], dict] | None = None
) -> tuple[Any, set[str]]:
    """Read a command line into Config.

    `preset` gets the given values over the defaults (a plain namespace: Config's own checks have not run yet) and
    returns the values that it wants instead; what the command line gave wins over it.
    Returns the Config, and the names that the user gave or whose value is not the default.
    Raises UserError for an unknown flag, a missing, malformed or impossible value, and whatever Config checks itself.
    """
    kinds = _kinds(Config)
    argv = list(sys.argv[1:] if argv is None else argv)
    if "-h" in argv or "--help" in argv:
        print(usage(Config))
        raise SystemExit(0)
    given = _read(argv, Config, kinds)
    values = {f.name: f.default for f in dataclasses.fields(Config)}
    overrides = preset(types.SimpleNamespace(**{**values, **given})) if preset else {}
    assert overrides.keys() <= values.keys(), f"the preset sets unknown fields {set(overrides) - set(values)}"
    resolved = {**values, **overrides, **given}
    changed = {name for name in values if name in given or resolved[name] != values[name]}
    return Config(**resolved), changed


def refuse_unused(Config: type, argv: Sequence[str], why: dict[str, str | bool]) -> None:
    """Raise a UserError for a flag on the command line that nothing would read; why: the reason, False if it is."""
    for name in _read(list(argv), Config, _kinds(Config)):
        if why.get(name):
            raise UserError(f"--{name} would have no effect: {why[name]}.")


def show(config: Any, changed: Sequence[str] | set[str] = ()) -> None:
    """Print the resolved config, one aligned line a field; `*` marks what differs from the default."""
    fields = dataclasses.fields(config)
    wide = max(len(f.name) for f in fields)
    for f in fields:
        value = getattr(config, f.name)
        differs = f.name in changed and value != f.default
        note = f"  (default {_text(f.default)})" if differs else ""
        print(f"{'*' if differs else ' '} {f.name:<{wide}}  {_text(value)}{note}")


def usage(Config: type) -> str:
    """Return the text of `--help`: the script's own docstring, then one line a flag."""
    rows = []
    for f, (kind, _, many) in zip(dataclasses.fields(Config), _kinds(Config).values(), strict=True):
        choices = f.metadata.get("choices")
        shape = "" if kind is bool else ",".join(map(str, choices)) if choices else kind.__name__.upper()
        left = f"--{f.name}/--no-{f.name}" if kind is bool else f"--{f.name} {shape}{' ...' if many else ''}"
        rows.append((left, f"{f.metadata.get('help', '')} (default {_text(f.default)})"))
    wide = min(34, max(len(left) for left, _ in rows))
    # A flag with many choices is wider than the column: its help starts on the next line.
    lines = [f"  {a:<{wide}}  {b}" if len(a) <= wide else f"  {a}\n  {'':<{wide}}  {b}" for a, b in rows]
    intro = (sys.modules[Config.__module__].__doc__ or "").strip()
    lines.append(f"  {'--debug':<{wide}}  show where in the program an error came from (of every command)")
    return "\n".join([intro, "", "flags (- and _ are the same in names; lists take commas or spaces):", *lines]).strip()


def main(fn: Callable[[list[str]], Any]) -> None:
    """Run `fn(argv)`; a UserError becomes a message on stderr and exit code 2, Ctrl-C exit code 130.

    With --debug, which fn does not get to see, the message comes with its traceback.
    """
    argv = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        dist.start()
        try:
            fn(argv)
        except SystemExit:  # all processes leave: after --help, or a signal
            dist.stop()
            raise
        sys.stdout.flush()
        dist.stop()
    except UserError as error:
        sys.stdout.flush()
        if len(argv) < len(sys.argv) - 1:
            traceback.print_exc()
        if dist.rank():  # an error of all processes is told by the first one: torchrun then ends the others meanwhile
            time.sleep(3)
        print(f"error: {f'process {dist.rank()}: ' * (dist.rank() > 0)}{error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        sys.stdout.flush()
        first = (str(error).splitlines() or ["of the process"])[0][:160]
        print(f"error: out of memory: {first}\n{ADVICE}\n--resume continues from the last checkpoint.", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `... --help | head`: the reader has left, and Python would complain again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def _kinds(Config: type) -> dict[str, tuple[type, bool, bool]]:
    """Return {field: (type of one value, None allowed, is a list)} from the annotations."""
    kinds = {}
    hints = typing.get_type_hints(Config)
    for f in dataclasses.fields(Config):
        hint, optional = hints[f.name], False
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            rest = [t for t in typing.get_args(hint) if t is not type(None)]
            assert len(rest) == 1, f"{f.name}: of unions only `X | None` can be a flag"
            hint, optional = rest[0], True
        many = typing.get_origin(hint) is tuple
        kind = typing.get_args(hint)[0] if many else hint
        assert kind in (str, int, float, bool), f"{f.name}: {kind} cannot be a flag"
        assert f.default is not dataclasses.MISSING, f"{f.name}: a flag needs a default"
        kinds[f.name] = (kind, optional, many)
    return kinds


def _read(argv: list[str], Config: type, kinds: dict) -> dict[str, Any]:
    """Return {name: value} of what the command line gives; the last of a repeated flag counts."""
    choices = {f.name: f.metadata.get("choices") for f in dataclasses.fields(Config)}
    given, i = {}, 0
    while i < len(argv):
        word, i = argv[i], i + 1
        if not word.startswith("--"):
            near = word[1:].partition("=")[0].replace("-", "_") if word.startswith("-") else ""
            hint = f"\nDid you mean --{near}?" if near in kinds else ""
            raise UserError(f"unexpected argument {word!r}: flags begin with two dashes and are followed by a value"
                            + hint)  # fmt: skip
        spelt, equals, value = word[2:].partition("=")
        name, negated = _find(spelt, kinds)
        words = [value] if equals else []
        # Whatever does not begin with two dashes is a value, so negative numbers need no `=`.
        while not equals and i < len(argv) and not argv[i].startswith("--"):
            words.append(argv[i])
            i += 1
        given[name] = _value(name, words, *kinds[name], negated, choices[name])
    return given


def _find(spelt: str, kinds: dict) -> tuple[str, bool]:
    """Return (field, whether it was spelt --no-field), or raise a UserError that names the nearest flag."""
    name = spelt.replace("-", "_")
    if name in kinds:
        return name, False
    if name.startswith("no_") and kinds.get(name[3:], (None,))[0] is bool:
        return name[3:], True
    known = [*kinds, *(f"no_{n}" for n, (kind, _, _) in kinds.items() if kind is bool)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    raise UserError(f"unknown flag --{spelt}\n" + (f"Did you mean --{near[0]}?" if near else "--help lists the flags."))


def _value(name, words, kind, optional, many, negated, choices) -> Any:
    """Convert the words after one flag to its value."""
    if negated or (kind is bool and not words):
        if words:
            raise UserError(f"--no-{name} takes no value, found {' '.join(words)}")
        return not negated
    if not words:
        raise UserError(f"--{name} needs a value ({kind.__name__})")
    if words == ["none"] and (optional or many) and "none" not in (choices or ()):
        return None if optional else ()
    if not many and len(words) > 1:
        raise UserError(f"--{name} takes one value, found {len(words)}: {' '.join(words)}")
    if many:
        # Spaces inside one word are kept for strings: it may be the name of a file.
        words = [part.strip() for word in words for part in word.split(",")]
        words = [part for word in words for part in ([word] if kind is str and not choices else word.split()) if part]
    values = tuple(_convert(name, word, kind) for word in words)
    for value in values if choices else ():
        check_choice(name, value, choices)
    return values if many else values[0]


def _convert(name: str, word: str, kind: type) -> Any:
    """Convert one word; `1e5` is an int where an int is due, NaN is no number."""
    try:
        if kind is bool:
            return (True, False)[(*YES, *NO).index(word.lower()) >= len(YES)]
        if kind is int:
            try:
                return int(word)
            except ValueError:
                number = float(word)
                if number != math.trunc(number):
                    raise
                return int(number)
        if kind is float and math.isnan(float(word)):
            raise ValueError
        return kind(word)
    except (ValueError, OverflowError):
        what = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise UserError(f"--{name}: expected {what}, found {word!r}") from None


def _text(value: Any) -> str:
    """Return a value as one would type it."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
