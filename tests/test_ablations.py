"""docs/details.md and bench/ablations.py: links that lead somewhere, switches that switch something."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import stages
import torch

from minalign import cli, data, losses, stage
from minalign.generate import StopRule
from minalign.records import Record

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "details.md").read_text(encoding="utf-8")
DETAILS = re.split(r"^(?=### )", PAGE.split("\n## All numbers")[0], flags=re.M)[1:]


def load(name):
    """Return a module of bench/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "bench" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ablations, switches = load("ablations"), load("switches")
ROWS = {row.name: row for row in ablations.ROWS}


# ---------------------------------------------------------------- the page


def test_details_are_numbered_and_say_what_they_must():
    numbers = [int(re.match(r"### (\d+)\. ", text)[1]) for text in DETAILS]
    assert numbers == list(range(1, len(DETAILS) + 1)) and len(DETAILS) >= 30
    for text in DETAILS:
        assert re.search(r"^- (off: .+ <!-- [\w-]+ -->|not measured)", text, re.M), text
        assert "](../" in text, f"no line of ours: {text}"


def test_every_switch_has_its_place_on_the_page_and_no_other():
    assert len(ROWS) == len(ablations.ROWS), "two rows have one name"
    assert sorted(re.findall(r"^- off: .+? <!-- ([\w-]+) -->", PAGE, re.M)) == sorted(ROWS)
    assert all(row.task in ablations.TASKS or row.task in switches.PROBES for row in ROWS.values())


def names_of(body):
    """Return {name: the statements below it} of a module's or a class's own names."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found[ast.unparse(target)] = []
    return found


def test_links_lead_to_functions_that_exist():
    links = re.findall(r"\[`([\w.]+)`\]\(\.\./([\w/.]+)\)", PAGE)
    assert len(links) > 60
    for name, path in links:
        module, *rest = name.split(".")
        assert Path(path).stem == module, (name, path)
        body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        for part in rest:
            assert part in names_of(body), f"{path} has no {name}"
            body = names_of(body)[part]
    assert all((ROOT / path).exists() for path in re.findall(r"\b(?:tests|bench|docs)/\w+\.(?:py|md)", PAGE))


def test_numbers_go_behind_their_marks_and_into_the_table():
    page = "### 7. A\n- off: no A: <!-- gelu --> old\n<!-- table -->\nold\n<!-- end -->\nlast"
    found = {"gelu": [("loss", "1 (0.9 to 1.1)", "2"), ("KL", "3", "4")]}
    once = ablations.write(page, found)
    assert once == ablations.write(once, found)
    assert "- off: no A: <!-- gelu --> loss 1 (0.9 to 1.1) → **2**; KL 3 → **4**\n" in once
    assert "| 7 | no A | eval | loss | 1 (0.9 to 1.1) | 2 |\n| 7 | no A | eval | KL | 3 | 4 |\n<!-- end -->\nl" in once
    assert "not run yet" in ablations.write(page, {"gelu": []}) and "old" not in once
    assert ablations.told([1.0, 2.0, 4.5]) == "2.5 (1 to 4.5)" and ablations.told([3.0, 3.0]) == "3"


# ---------------------------------------------------------------- switches


def test_flags_are_flags_and_change_the_configuration():
    """Both sides of each row parse, and they differ in the configuration or in lines."""
    for row in ROWS.values():
        if row.task in switches.PROBES:
            continue
        configs = []
        for side in ("on", "off"):
            spec = ablations.spec_of(row, side, 1, 0)
            script = importlib.import_module(spec["script"])
            presets = getattr(script, "preset", None) or (lambda given, s=script: s.PRESETS[given.task])
            configs.append(cli.parse(script.Config, spec["flags"], presets)[0])
        assert (configs[0] != configs[1]) != bool(row.edits), f"{row.name} switches nothing, or two things"


def test_each_changed_line_stands_in_the_source_once():
    for row in ROWS.values():
        for module, old, new in row.edits:
            source = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
            assert source.count(old) == 1, f"{row.name}: {module} has {source.count(old)} times: {old}"
            ast.parse(source.replace(old, new))


def ours():
    """Return the modules of the product that are loaded."""
    return {key: value for key, value in sys.modules.items() if re.match(r"minalign(\.|$)|train_\w+$", key)}


@pytest.fixture
def off():
    """Return a maker of modules as a row changes them, with all others loaded afresh; in the end all are as before."""
    before = ours()

    def make(name, module):
        for key in ours():
            del sys.modules[key]
        switches.apply(ROWS[name].edits)
        return importlib.import_module(module)

    yield make
    for key in ours():
        del sys.modules[key]
    sys.modules.update(before)


MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_losses_without_their_details(off):
    """By hand: two responses, of three tokens and of one."""
    rewards = torch.tensor([[0.0, 0.0, 1.0], [2.0, 9.0, 9.0]])
    values = torch.tensor([[0.5, 0.25, 0.1], [0.3, 9.0, 9.0]])
    end = off("gae-end", "minalign.losses").gae(rewards, values, MASK, 1.0, 1.0)[1]
    torch.testing.assert_close(end, torch.tensor([[1.1, 1.1, 1.1], [2.3, 0, 0]]))  # returns, the last value twice
    torch.testing.assert_close(losses.gae(rewards, values, MASK, 1.0, 1.0)[1][:, 0], torch.tensor([1.0, 2.0]))
    x = torch.tensor([[1.0, 2.0, 6.0], [3.0, 50.0, 50.0]])
    assert off("masked-means", "minalign.losses").masked_mean(x, MASK) == 2 and losses.masked_mean(x, MASK) == 3
    assert off("whiten-centre", "minalign.losses").whiten(x, MASK)[MASK].mean() == pytest.approx(3, abs=1e-5)
    assert off("whiten-padding", "minalign.losses").whiten(x, MASK)[MASK].max() < 0 < losses.whiten(x, MASK).max()
    one, zero = torch.ones(1), torch.zeros(1)
    assert off("rm-sign", "minalign.losses").pairwise(one, zero) == -losses.pairwise(one, zero)


def test_a_model_without_positions_of_real_tokens_sees_padding(off, make_model):
    tokens, mask = torch.tensor([[0, 0, 5, 9]]), torch.tensor([[False, False, True, True]])
    alone = make_model()(tokens[:, 2:])
    torch.testing.assert_close(make_model()(tokens, mask)[:, 2:], alone, atol=1e-5, rtol=1e-5)
    changed = off("positions", "minalign.model")
    torch.manual_seed(1)
    model = changed.GPT2(changed.GPT2Config(67, 32, 24, 2, 3, initializer_range=0.2))
    assert (model(tokens, mask)[:, 2:] - model(tokens[:, 2:])).abs().max() > 0.1


def test_dpo_s_sum_without_the_stop_and_as_a_mean(off, tiny):
    train_dpo = importlib.import_module("train_dpo")
    model, tokenizer, _ = stage.load_policy(str(tiny))
    rule = StopRule(tokenizer.eot, 12)
    pairs = [Record(row["prompt"], (row["chosen"], row["rejected"]), best=0) for row in stages.pairs(4)]
    records, _ = data.encode(pairs, tokenizer, rule, 96)
    whole, lengths = train_dpo.log_probs(model, records, rule)
    for i, record in enumerate(records):
        for j, ids in enumerate((record.chosen, record.rejected)):
            told = stages.logprobs(model, record.prompt, ids).sum().item()
            assert whole[i, j].item() == pytest.approx(told, abs=1e-3)
    without, _ = off("dpo-stop", "train_dpo").log_probs(model, records, rule)
    for i, record in enumerate(records):
        told = stages.logprobs(model, record.prompt, record.chosen)[:-1].sum().item()
        assert without[i, 0].item() == pytest.approx(told, abs=1e-3)
    cfg = train_dpo.Config(task="sentiment")
    mean = off("dpo-sum", "train_dpo").compared(cfg, whole, whole, lengths)[0]
    torch.testing.assert_close(mean, whole / lengths)
    torch.testing.assert_close(train_dpo.compared(cfg, whole, whole, lengths)[0], whole)


OWN = [*stages.ALIKE, "--lora_rank=4", "--batch_size=8", "--learning_rate=1e-2", "--warmup_steps=0", "--steps=3",
       "--eval_every=0", "--save_every=0"]  # fmt: skip
SMALL = {  # tasks of ablations.py, on a tiny model
    "train_sft": "--data {files} --max_response 8 --samples 2 --eval_fraction 0.3 --batch_size 12",
    "train_rm": "--data {files} --max_response 8 --eval_fraction 0.3 --normalise 4",
    "train_ppo": "--data {files} --max_response 8 --eval_fraction 0.3 --reward {rule} --samples_per_prompt 2 "
                 "--epochs 2 --eval_examples 2 --eval_samples 2 --temperature 0.7 --clip 0.05 --beta 1 "
                 "--batch_size 16",
    "train_dpo": "--data {files} --max_response 8 --eval_fraction 0.3 --temperature 0.7 --samples 2",
    "train_gfn": "--task rng --eval_samples 0 --prefill 32 --clip_log_ratio 4 --batch_size 32 --warmup_steps 1",
}  # fmt: skip
ELSEWHERE = {"after-stop", "dpo-reference"}  # these need a task's stop rule, and an earlier stage
SAME = {"dpo-cache"}  # a question of time


@pytest.fixture(scope="module")
def outcome(tiny, rng_folder, files, tmp_path_factory):
    """Return a maker of weights and logged numbers of a few steps of a script with a row's flags."""
    folder, known = tmp_path_factory.mktemp("runs"), {}
    (folder / "rule.py").write_text("def f(prompts, responses):\n    return [float((len(p) + 3 * len(r)) % 11) - 2 "
                                    "for p, r in zip(prompts, responses)]\n")  # fmt: skip

    def make(script, row, side):
        gae = ["--advantages", "gae", "--whiten", "advantages"] if row.task == "ppo-grammar" else []
        key = side + script.__name__ + row.on + str(gae) + row.name * (side == "off")
        if key not in known:
            flags = SMALL[script.__name__].format(files=files[0], rule=f"{folder}/rule.py:f").split() + gae
            model = rng_folder if script.__name__ == "train_gfn" else tiny
            run = stages.train(script, *OWN, *flags, *row.on.split(), "--model", model, out=folder / str(len(known)))
            rows = [{k: v for k, v in found.items() if k != "lr"} for found in stages.lines(run / "metrics.jsonl")]
            known[key] = stages.weights(run), rows
        return known[key]

    return make


@pytest.mark.parametrize("name", [row.name for row in ablations.ROWS if row.edits and row.name not in ELSEWHERE])
def test_a_changed_line_changes_what_is_learned(name, off, outcome):
    """Each switch that is a line of source, in a run of three steps: weights, or a number in the log."""
    row = ROWS[name]
    script = ablations.TASKS[row.task].split()[0]
    with_it, without = outcome(importlib.import_module(script), row, "on"), outcome(off(name, script), row, "off")
    changed = not stages.same(with_it[0], without[0]) or with_it[1] != without[1]
    assert changed == (name not in SAME)


def test_probes_tell_the_sides_apart(tmp_path):
    """The margin beyond which a loss is infinite, from the command line, and kept for the next time."""
    flags = ["--only", "logsigmoid", "--seeds", "1", "--out", tmp_path]
    command = [sys.executable, ROOT / "bench" / "ablations.py", *flags]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first.startswith("2 runs") and second.startswith("0 runs")
    assert "largest finite margin (of 1000): 1e+03 -> 88" in first.splitlines()[-1] == second.splitlines()[-1]
    rows = [json.loads(line) for line in (tmp_path / "runs.jsonl").open()]
    assert sorted(x for row in rows for x in row["numbers"].values()) == [88, 1000]
