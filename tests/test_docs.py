"""The pages of docs/: what they show is what the programs print, and what they name is there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
LINK = re.compile(r"\[(`?)([^`\]]+)\1\]\(([^)#\s]+)\)")


def blocks(text):
    """Return what begins with a line `# 1. title`: {title: lines}."""
    found = re.split(r"(?m)^# (?=\d+\. )", text)[1:]
    return {block.splitlines()[0]: block.strip().splitlines() for block in found}


def shown(page):
    """Return the fenced blocks of a page that a program prints."""
    fenced = re.findall(r"(?ms)^```\n(.*?)^```$", page)
    return blocks("\n".join(fenced))


def allowed(number):
    """Return by how much another CPU may be off: three of the last digit, 5e-4 of a number; a whole one not at all."""
    digits, _, power = number.partition("e")
    if "." not in digits:
        return 0
    last = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return 3 * last + 5e-4 * abs(float(number))


def compare(page, printed):
    """Assert that two blocks are the same but for the last digits of their numbers."""
    assert len(page) == len(printed), (page, printed)
    for a, b in zip(page, printed):
        assert " ".join(NUMBER.sub("N", a).split()) == " ".join(NUMBER.sub("N", b).split()), (a, b)
        for x, y in zip(NUMBER.findall(a), NUMBER.findall(b)):
            assert float(x) == pytest.approx(float(y), abs=allowed(x)), f"{x} is now {y}:\n{a}\n{b}"


def test_the_tutorial_shows_what_its_program_prints(tmp_path):
    program = DOCS / "tutorial.py"
    assert len(program.read_text("utf-8").splitlines()) < 150
    done = subprocess.run([sys.executable, "-W", "error", program], cwd=tmp_path, capture_output=True, encoding="utf-8",
                          timeout=120)  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    page, printed = shown((DOCS / "tutorial.md").read_text("utf-8")), blocks(done.stdout)
    assert list(page) == list(printed) and len(page) == 9
    for title in page:
        compare(page[title], printed[title])
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_number_would_be_seen():
    """The tolerance is of rounding: a number that is 1 % off, a missing line, another token id fail."""
    line = ["7 P 8.2663e-02 log p -2.4653 id 283"]
    compare(line, ["7 P 8.2664e-02 log p -2.4652 id 283"])
    changes = (("283", "284"), ("8.26", "8.35"), ("-2.4", "2.4"), ("P", "Q"))
    wrong = [line * 2] + [[line[0].replace(*change)] for change in changes]
    for other in wrong:
        with pytest.raises(AssertionError):
            compare(line, other)


def defined(path):
    """Return the names of a file's functions, classes and constants, also as Class.method, and with the file's name."""
    tree = ast.parse(path.read_text("utf-8"))
    constants = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
                 if isinstance(target, ast.Name)}  # fmt: skip
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    inside = [f"{c.name}.{f.name}" for c in nodes for f in getattr(c, "body", ()) if isinstance(f, ast.FunctionDef)]
    names = {node.name for node in nodes} | set(inside) | constants
    return names | {f"{path.stem}.{name}" for name in names} | {path.stem, path.name}


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files_and_functions(page):
    """A link [`name`](file.py) names a function or class of the file, [`# word`](file.py) a comment in it."""
    for quoted, name, target in LINK.findall(page.read_text("utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        path = page.parent / target
        assert path.exists(), f"{page.name}: {target}"
        if quoted and path.suffix == ".py" and name.startswith("# "):
            found = re.search(rf"(?m)^ *{re.escape(name)}\b", path.read_text("utf-8"))
            assert found, f"{page.name}: {name} in {target}"
        elif path.suffix == ".py" and (quoted or name.startswith(f"{path.stem}.")):
            assert name in defined(path), f"{page.name}: {name} in {target}"
