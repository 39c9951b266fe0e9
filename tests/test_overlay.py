"""Curves of several runs over each other: which runs are one curve, what it is called, what is drawn."""

import json
import runpy
import sys

import numpy as np
import pytest
from test_plot import pixels_of, share

import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import overlay, plot
from minalign.errors import UserError

SCRIPTS = {"sft": train_sft, "rm": train_rm, "ppo": train_ppo, "dpo": train_dpo, "gfn": train_gfn}


def write(folder, method, values, seed=1, key="loss", **settings):
    """Write a run of a script with its default settings, and `values` of a metric in steps 1, 2, ..."""
    config = {name: field.default for name, field in SCRIPTS[method].Config.__dataclass_fields__.items()}
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"config": config | {"seed": seed, "out": str(folder)} | settings}))
    rows = [{"step": i + 1, key: value, "lr": 0.1} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_each_method_is_known_by_a_flag_that_no_other_script_has():
    for method, mark in overlay.MARKS.items():
        assert [name for name, script in SCRIPTS.items() if mark in script.Config.__dataclass_fields__] == [method]
    assert overlay.MARKS.keys() == overlay.KEYS.keys() == SCRIPTS.keys() and SCRIPTS.keys() <= plot.COLORS.keys()


def test_runs_that_differ_only_in_their_seed_are_one_curve(tmp_path):
    runs = [write(tmp_path / f"a{seed}", "dpo", values, seed, save_every=seed)
            for seed, values in ((1, [4.0, 2.0, 1.0]), (2, [2.0, None, 3.0, 9.0]))]  # fmt: skip
    other = write(tmp_path / "b", "dpo", [1.0, 1.0], beta=0.25, learning_rate=2e-3)
    groups = overlay.load((*runs, other, runs[0]))  # a run that is given twice counts once
    assert [len(group.runs) for group in groups] == [2, 1]
    steps, values = groups[0].curve("loss")  # where all have it
    assert steps.tolist() == [1, 3] and values.tolist() == [[4.0, 1.0], [2.0, 3.0]]
    names = ["DPO learning_rate 0.001, beta 0.1", "DPO learning_rate 0.002, beta 0.25"]
    assert [group.label for group in groups] == names


def test_the_seed_of_the_runs_that_they_started_from_does_not_matter(tmp_path):
    for seed in (1, 2):
        write(tmp_path / f"sft{seed}", "sft", [1.0], seed)
    write(tmp_path / "sft-long", "sft", [1.0], steps=999)
    (tmp_path / "sft1" / "preferences.jsonl").touch(), (tmp_path / "sft2" / "preferences.jsonl").touch()
    runs = [write(tmp_path / f"dpo{name}", "dpo", [1.0], seed=i, init=str(tmp_path / f"sft{name}"))
            for i, name in enumerate(("1", "2", "-long"))]  # fmt: skip
    assert [len(group.runs) for group in overlay.load(tuple(runs))] == [2, 1]
    runs = [write(tmp_path / f"data{i}", "dpo", [1.0], data=[str(tmp_path / f"sft{i}" / "preferences.jsonl")])
            for i in (1, 2)]  # fmt: skip
    assert [len(group.runs) for group in overlay.load(tuple(runs))] == [2]


def test_methods_and_tasks_have_names_and_no_run_json_is_the_folder_s(tmp_path):
    runs = (write(tmp_path / "g", "gfn", [1.0], task="rng"), write(tmp_path / "s", "sft", [1.0], task="puns"))
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n')
    assert [group.label for group in overlay.load((*runs, str(plain)))] == ["SFT task puns", "GFN task rng", "plain"]


def test_the_metrics_are_what_the_methods_share_or_what_one_is_about(tmp_path):
    ppo = write(tmp_path / "p", "ppo", [0.5], key="exact/tv")
    gfn = write(tmp_path / "g", "gfn", [0.5], key="tv")  # rng's own name for it
    dpo = write(tmp_path / "d", "dpo", [0.5])
    assert overlay.choose((), overlay.load((ppo, gfn))) == ["exact/tv"]
    assert overlay.choose((), overlay.load((dpo,))) == ["loss"]
    assert overlay.choose(("lr", "loss"), overlay.load((dpo, ppo))) == ["lr", "loss"]
    with pytest.raises(UserError, match="'los' is not one of loss, lr\nDid you mean loss?"):
        overlay.choose(("los",), overlay.load((dpo,)))


def draw(tmp_path, *argv):
    overlay.main([*map(str, argv), "--out", str(tmp_path / "new folder" / "x.png")])
    return pixels_of(tmp_path / "new folder" / "x.png")


def test_the_figure_has_the_methods_colours_and_a_band(tmp_path):
    low, high, same = ([x] * 9 for x in (1.0, 3.0, 2.0))
    a, b, c = (write(tmp_path / name, "ppo", values, i, "objective/kl")
               for i, (name, values) in enumerate(zip("abc", (low, high, same))))  # fmt: skip
    gfn = write(tmp_path / "g", "gfn", low)
    pixels = draw(tmp_path, a, b)
    assert 0.01 < (pixels != 255).any(1).mean() < 0.9 and share(pixels, "ppo") > 1e-4 and share(pixels, "gfn") == 0
    assert share(pixels, "base") < 1e-4

    def band(pixels):  # the colour of 22 % of PPO's red on white
        color = [round(255 - 0.22 * (255 - int(plot.COLORS["ppo"][i : i + 2], 16))) for i in (1, 3, 5)]
        return (np.abs(pixels.astype(int) - color) <= 1).all(1).mean()

    assert band(pixels) > 0.2 and band(draw(tmp_path, c)) == 0
    both = draw(tmp_path, a, gfn, "--keys", "lr")
    assert share(both, "ppo") > 1e-4 and share(both, "gfn") > 1e-4
    assert len(draw(tmp_path, a, "--keys", "lr,objective/kl")) > len(draw(tmp_path, a, "--keys", "lr"))


def test_the_command(tmp_path, monkeypatch, capsys):
    """`python -m minalign.plot`, and what it says of folders and names that are none."""
    def command(*argv):
        monkeypatch.setattr(sys, "argv", ["plot.py", *map(str, argv)])
        monkeypatch.delitem(sys.modules, "minalign.plot", raising=False)  # runpy would warn
        runpy.run_module("minalign.plot", run_name="__main__")
        return capsys.readouterr().out

    run = write(tmp_path / "a", "rm", [0.7, 0.6], key="accuracy")
    monkeypatch.chdir(tmp_path)
    assert command(run) == "curves.png: accuracy; RM\n" and (tmp_path / "curves.png").is_file()
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").touch()
    for text, bad in (('[1]\n', "bad"), ('{"step": 1}\n{"st', "cut"), ('{"loss": 1}\n', "stepless")):
        (tmp_path / bad).mkdir()
        (tmp_path / bad / "metrics.jsonl").write_text(text)
    for argv, words in (([], "RUN..."), (["nowhere"], "no such folder"), (["hollow"], "it has none"),
                        (["empty"], "empty"), (["bad"], "JSON object"), (["cut"], "JSON object"),
                        (["stepless"], "JSON object"),
                        ([run, "--out", "x.pdf"], "ends with .png"), ([run, "--keys", "acuracy"], "mean accuracy?"),
                        ([run, "--kes", "loss"], "mean --keys?")):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            command(*argv)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.startswith("error: ") and words in said and said.count("\n") <= 3, said
