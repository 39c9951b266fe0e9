"""minalign.reproduce: what it refuses, and how results get into the pages. Its sections are run by `--quick`."""

import json

import pytest
from stages import refuses

from minalign import reproduce
from minalign.jobs import Job


@pytest.mark.parametrize("flags, said", [
    (["--only=rgn"], "rng"), (["--quick", "--write"], "no results"), (["--seeds="], "--seeds"), (["--jobs=0"], "jobs"),
])  # fmt: skip
def test_what_is_refused(flags, said):
    assert said in refuses(reproduce, *flags)


def test_runs_take_their_seed_and_the_folders_of_earlier_ones(tmp_path, monkeypatch):
    asked: list[Job] = []

    def run_all(jobs, at_once):
        for job in jobs:
            asked.append(job)
            job.out.mkdir(parents=True)
            (job.out / "result.json").write_text(json.dumps({"seconds": 30.0, "x": len(asked)}))
            (job.out / "run.json").write_text(json.dumps({"git": "abc"}))

    monkeypatch.setattr(reproduce, "run_all", run_all)
    section = reproduce.Section("mine", reproduce.Config(seeds=(1, 2), out=str(tmp_path)))
    found = section.run({"sft": "train_sft --task puns"})
    assert found == {"sft": [{"seconds": 30.0, "x": 1}, {"seconds": 30.0, "x": 2}]}
    section.run({"rm": "train_rm --init {sft}"})
    assert asked[3].flags == ["--init", str(tmp_path / "mine" / "sft" / "seed2"), "--seed", "2"]
    section.write("Title", ["| a |", "|---|", "| 1 |", ""])
    page = (tmp_path / "results" / "mine.md").read_text()
    assert "    python train_rm.py --init RUNS/sft\n" in page and "Seeds 1, 2; commit abc; " in page
    assert "; 2 minutes of computing; " in page and page.endswith("| 1 |\n")


def test_tables_replace_what_stands_between_their_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    results = tmp_path / "runs" / "results"
    results.mkdir(parents=True)
    (results / "rng.md").write_text("# T\n\n| a |\n|---|\n| new |\n\n![f](rng-curve.png)\n")
    (results / "rng-curve.png").write_bytes(b"drawn")
    before, after = "x\n<!-- results/rng -->\n", "<!-- end of results/rng -->\ny\n"
    (tmp_path / "README.md").write_text(f"{before}| old |\n{after}")
    reproduce.publish(results, ["rng"])
    assert (tmp_path / "README.md").read_text() == f"{before}| a |\n|---|\n| new |\n{after}"
    assert (tmp_path / "docs" / "results" / "rng-curve.png").read_bytes() == b"drawn"
