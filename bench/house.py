"""How the code is kept: what training scripts share, comments, lengths of files and functions.

    python bench/house.py

Shared: lines (without blanks) that a pair of scripts has in common, in order, beyond the skeleton, which is what all
five have; as a share of the shorter script's. Comments: lines of comments and docstrings, and lines with a comment
behind code, of all lines that are not blank. Budgets are those of CONTRIBUTING.md.
"""

import ast
import difflib
import io
import itertools
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [f"train_{kind}.py" for kind in ("sft", "rm", "ppo", "dpo", "gfn")]
CORE = [f"minalign/{name}.py" for name in (
    "model", "lora", "losses", "generate", "cache", "rewards", "replay", "exact", "bon", "metrics", "encoders", "data",
    "respond", "stage", "precision", "dist")]  # fmt: skip
LONGEST = {"script": 400, "module": 350, "function": 60}


def lines_of(path: str) -> list[str]:
    """Return a file's lines without blanks, indentation and comments behind code."""
    return [line.strip().partition("  #")[0] for line in (ROOT / path).read_text().splitlines() if line.strip()]


def common(a: list[str], b: list[str]) -> list[str]:
    """Return the lines that two lists share, in order."""
    found = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [line for block in found for line in a[block.a : block.a + block.size]]


def shared() -> list[tuple[str, str, float]]:
    """Return (script, script, share of the shorter one's lines that only the skeleton does not explain)."""
    texts = {name: lines_of(name) for name in SCRIPTS}
    skeleton = set.intersection(*map(set, texts.values()))
    bodies = {name: [line for line in lines if line not in skeleton] for name, lines in texts.items()}
    return [(a, b, len(common(bodies[a], bodies[b])) / min(len(texts[a]), len(texts[b])))
            for a, b in itertools.combinations(SCRIPTS, 2)]  # fmt: skip


def comments(path: str) -> float:
    """Return the share of a file's lines that say something about the code: comments and docstrings."""
    text = (ROOT / path).read_text()
    told = {token.start[0] for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT and not token.string.startswith("# fmt")}  # fmt: skip
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            told |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = text.splitlines()
    return sum(bool(lines[i - 1].strip()) for i in told) / sum(bool(line.strip()) for line in lines)


def too_long() -> list[str]:
    """Return files and functions over their budget; tasks, nano and a script's main have none."""
    found = []
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("minalign/*.py")]):
        text, script = path.read_text(), path.parent == ROOT
        n, most = len(text.splitlines()), LONGEST["script" if script else "module"]
        found += [f"{path.relative_to(ROOT)}: {n} lines of {most}"] if n > most else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and not (script and node.name == "main"):
                n = node.end_lineno - node.lineno + 1
                found += [f"{path.relative_to(ROOT)}, {node.name}: {n} lines of {LONGEST['function']}"
                          ] if n > LONGEST["function"] else []  # fmt: skip
    return found


def main() -> None:
    print("lines that two scripts share beyond the skeleton")
    for a, b, share in shared():
        print(f"  {a:13} {b:13} {share:6.1%}")
    print("comments and docstrings")
    for path in [*SCRIPTS, "sample_bon.py", "diversity.py", *CORE]:
        print(f"  {path:24} {comments(path):6.1%}")
    print("over budget:", *(too_long() or ["nothing"]), sep="\n  ")


if __name__ == "__main__":
    main()
