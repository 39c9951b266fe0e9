"""The next-sentence task: its stop rule, its prompts, and prompts made from any text."""

import json
import random
from pathlib import Path

import pytest
import torch

from minalign import cli, hub
from minalign.data import load
from minalign.errors import UserError
from minalign.generate import generate
from minalign.nano.grammar import split_sentences
from minalign.tasks import next_sentence as task
from minalign.tokenizer import Tokenizer

PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "data"  # public files, where somebody has put them


@pytest.fixture(scope="module")
def nano():
    return Tokenizer.from_folder(hub.NANO)


# ------------------------------------------------------------------------------------------------------ the stop rule


def test_a_sentence_ends_once_and_for_good(nano):
    """Whatever a random model says: one end, at the end; no line break; the full stop not before min_len tokens."""
    rule, model = task.stop_rule(nano, 12, min_len=3), hub.from_pretrained("nano")
    prompt = torch.tensor([nano.encode("Tom lost his lantern.")])
    found = generate(model, prompt, n=400, temperature=3.0, generator=torch.Generator().manual_seed(1),
                     **rule.settings())  # fmt: skip
    ends = {i for i in range(nano.n_vocab) if nano.token_bytes(i) in (b".", b'."', b"!", b"?")}
    assert {rule.stop, *rule.ends} == ends
    lengths, seen = found.mask.sum(1).tolist(), set()
    for ids, n, stopped in zip(found.tokens.tolist(), lengths, found.stopped.tolist()):
        late = [token for token in ids[3:n] if token in ends]
        assert late == ([ids[n - 1]] if stopped else []), nano.decode(ids[:n])
        assert rule.stop not in ids[:3] and "\n" not in nano.decode(ids[:n]) and nano.eot not in ids[:n]
        assert stopped or n == 12
        seen |= set(late)
    assert len(seen) > 2 and not found.stopped.all()


def test_the_published_ids_are_those_of_gpt2():
    """149 ids, of which the reference's file lists one twice: its marks, link parts, capitals and abbreviations."""
    folder = PUBLIC / "gpt2_bpe"
    if not folder.is_dir():
        pytest.skip("GPT-2's vocabulary is not here")
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        shutil.copy(folder / "encoder.json", Path(name) / "vocab.json")
        shutil.copy(folder / "vocab.bpe", Path(name) / "merges.txt")
        gpt2 = Tokenizer.from_folder(name)
    rule = task.stop_rule(gpt2, illegal="published")
    assert (len(rule.forbidden), rule.stop, rule.ends, rule.max_new_tokens) == (149, 13, (), 30)
    vocabulary = json.loads((folder / "encoder.json").read_text())
    some = ["!", "?", "...", "M", "Mrs", "http", "--------", '"', "@@", "\u010a"]
    assert {vocabulary[text] for text in some} <= set(rule.forbidden)
    fine = [".", ",", "$", "#", "-", "_", "'", "Tom", "\u0120M", "\u0120Mr"]  # with a space in front all of them may be
    assert not {vocabulary[text] for text in fine} & set(rule.forbidden)


@pytest.mark.parametrize("response, good", [
    (" Tom lost his lantern.", True), (' "I see," said Anna.', True), (" 3 boats left the harbour.", True),
    (' Anna said, "I see."', True), (" Where is it now?", True), (' "Where is it now?', True),
    (" Tom lost.", False), (" tom lost his lantern.", False), (" Tom lost his lantern", False),
    (' "I see, said Anna.', False), (" Tom lost lost it.", False), ("", False), (" . . .", False),
])  # fmt: skip
def test_what_counts_as_a_sentence(response, good):
    assert task.is_sentence(response) == good


def test_invalid_prefixes_are_floored_and_no_other(nano):
    texts = [" Tom lost his hat.", " Tom Tom lost it."]
    rows = [nano.encode(text) for text in texts]
    R = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (R - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (R - len(row)) for row in rows])
    log_ref = -torch.rand(2, R + 1)
    floored = task.floor_invalid(log_ref, tokens, mask, mask.sum(1) - 1, nano)
    for i, row in enumerate(rows):
        for t in range(R + 1):
            prefix = nano.decode(row[:t]) + "."  # what stopping there would say
            bad = t < len(row) and not task.is_sentence(prefix)
            assert floored[i, t] == (task.INVALID if bad else log_ref[i, t]), prefix
    assert (floored == task.INVALID).any() and (floored[0] > -1).any() and (floored[1, : len(rows[1])] == -50).all()


# -------------------------------------------------------------------------------------------------------- the prompts


def test_prompts_are_beginnings_of_stories_and_splits_share_no_story(nano):
    found = {split: task.prompts(split, 300, seed=1) for split in ("train", "validation", "test")}
    firsts = {split: {split_sentences(prompt)[0] for prompt in some} for split, some in found.items()}
    assert not firsts["train"] & firsts["validation"] and not firsts["validation"] & firsts["test"]
    assert all(len(set(some)) == 300 for some in found.values())
    counts = [len(split_sentences(prompt)) for prompt in found["train"]]
    shares = [counts.count(k) / 300 for k in (1, 2, 3)]  # .2, .3, .5; a short story may not have three
    assert all(abs(a - b) < 0.09 for a, b in zip(shares, (0.2, 0.3, 0.5))), shares
    assert all(prompt == prompt.strip() and prompt.endswith((".", "!", "?", '"')) for prompt in found["train"])
    assert task.prompts("train", 20, seed=1) == found["train"][:20] != task.prompts("train", 20, seed=2)


PASSAGES = """The harbour was quiet at dawn. Tom rowed out with two nets and a lamp. He caught nothing for an hour.
Then the nets grew heavy, and he smiled. Dr. Brown bought all the fish before noon.

Yes. No. Yes. No.

Anna opened her shop at nine in the morning. A man asked for a blue hat with a feather. She had only red ones today.
He took two of them anyway, and he paid well.

Café owners here never close before ten at night. They say that café life is good for you. It may even be true.
Nobody has ever proved the opposite so far."""


def test_prompts_from_text(nano, tmp_path):
    cfg = task.Config(seed=1)
    passages = PASSAGES.split("\n\n")
    seen = set()
    for seed in range(40):
        cfg.seed = seed
        for prompt, k in task.cut_prompts(passages, nano, 10, cfg):
            told = task.sentences_of(prompt)
            source = next(p for p in passages if prompt in " ".join(p.split()))
            assert len(told) == k and " ".join(source.split()).split(prompt)[1].strip(), "a sentence follows"
            assert all(5 <= len(nano.encode(s)) <= 30 for s in told) and "é" not in prompt
            seen.add((source[:12], k))
    assert len(seen) == 7, seen  # of two passages every number of sentences; of the last only what has no accent
    cfg.seed = 3
    assert task.cut_prompts(passages, nano, 10, cfg) == task.cut_prompts(list(passages), nano, 10, cfg)
    assert "Dr. Brown bought all the fish before noon." in task.sentences_of(passages[0])


def test_the_command_writes_prompts_that_training_reads(nano, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(PASSAGES, encoding="utf-8")
    task.main(["book.txt", "--out", "prompts.txt", "--seed=2"])
    prompts = Path("prompts.txt").read_text().splitlines()
    assert 2 <= len(prompts) <= 3 and f"prompts.txt: {len(prompts)} prompts from 4 passages" in capsys.readouterr().out
    assert Path("prompts.png").stat().st_size > 5_000
    train, held = load(("prompts.txt",), ("prompts.txt",), 0.1, 1, nano, ("prompt",))
    assert [r.prompt for r in train] == prompts == [r.prompt for r in held]


@pytest.mark.parametrize("argv, words", [
    ([], "expected files of text"), (["none.txt"], "No such file"), (["bad.txt"], "UTF-8, found the byte 0xe9"),
    (["few.txt"], "no prompt in 1 passages"), (["few.txt", "--n=0"], "--n: expected 1"),
    (["few.txt", "--out=a.png"], "the figure gets that name"), (["few.txt", "--min_tokens=40"], "--max_tokens: exp"),
])  # fmt: skip
def test_errors_of_the_command(argv, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_bytes(b"caf\xe9")
    Path("few.txt").write_text("One sentence only.")
    with pytest.raises(UserError, match=words):
        task.main(argv)
    assert not Path("prompts.txt").exists()


def test_the_reference_s_own_prompts(nano):
    path = PUBLIC / "prompts" / "openwebtext_prompts.txt"
    if not path.is_file():
        pytest.skip("the reference's prompts are not here")
    train, held = load((str(path),), (), 0.05, 27, nano, ("prompt",))
    assert len(train) + len(held) == 10_000 and not any(r.prompt.endswith(" ") for r in train)
    draw = random.Random(1).sample(train, 200)
    assert all(1 <= len(task.sentences_of(r.prompt)) <= 4 for r in draw)


def test_the_published_preset_value_by_value():
    import train_gfn

    cfg, _ = cli.parse(train_gfn.Config, ["--task=next_sentence", "--preset=paper", "--data=prompts.txt"],
                       preset=train_gfn.preset)  # fmt: skip
    published = dict(
        model="gpt2-xl", lora_rank=64, lora_alpha=16, lora_dropout=0,  # 0.1 in the file, set to 0 by its code
        lora_targets=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"), subtb_lambda=1, objective="subtb",
        learning_rate=1e-4, schedule="constant", warmup_steps=20, weight_decay=0.01, max_grad_norm=0, clip_log_ratio=0,
        samples_per_prompt=20, batch_size=20 * 25, micro_batch=20, examples=950, eval_examples=50, steps=300 * 38,
        reward_temperature_start=1, reward_temperature=0.8, reward_temperature_steps=750, min_response=1,
        max_response=30, illegal="published", replay_capacity=50, replay_similarity=0.25, replayed=0.25,
        tempered=0.5,  # of the other 75 %, 66.6 %
        patience=10, keep_best="eval/loglik", eval_every=38, seed=27, validator="none", reward="likelihood",
    )  # fmt: skip
    assert {key: getattr(cfg, key) for key in published} == published


def test_a_sentence_must_be_able_to_end(nano):
    with pytest.raises(UserError, match="--min_response 30: expected less than --max_response, 30"):
        task.stop_rule(nano, min_len=30)
