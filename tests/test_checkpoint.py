"""Checkpoints: bit-exact round trips; what is left after a kill, a full disk or a flipped bit is a good checkpoint."""

import errno
import json
import os
import random
import signal
import stat
import time
from pathlib import Path
from pprint import pformat

import numpy as np
import pytest
import safetensors.torch
import torch

from minalign import checkpoint, files
from minalign.checkpoint import load_state, pack_optimizer, pack_rng, save_state, unpack_optimizer, unpack_rng
from minalign.errors import UserError

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DTYPES = (*FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def bits(t):
    return t.dtype, t.shape, t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def state_at(step):
    """Return the tensors that a checkpoint of `step` must hold: large enough for several writes."""
    g = torch.Generator().manual_seed(step)
    h = torch.randn(33, generator=g).bfloat16()
    return {"w": torch.randn(64, 64, generator=g), "h": h, "n": torch.tensor(step)}


def same(a, b):
    return a.keys() == b.keys() and all(bits(a[k]) == bits(b[k]) for k in a)


def fork(child):
    """Run `child` in a forked process (torch is imported already, so a start takes milliseconds); return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(7)
    return pid


# -------------------------------------------------------------------------------------------------- round trips


def test_tensors_round_trip_bit_for_bit_and_safetensors_reads_them(tmp_path):
    g = torch.Generator().manual_seed(0)
    tensors = {str(d): (torch.randn(3, 5, generator=g) * 9).to(d) for d in DTYPES}
    odd = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45])
    tensors |= {"odd": odd, "scalar": torch.tensor(3), "empty": torch.zeros(0, 4)}
    tensors |= {"transposed": torch.arange(12).view(3, 4).t()}
    meta = {"lr": 0.1 + 0.2, "none": None, "list": [1, 2.5, "ü"]}
    path = save_state(tmp_path, 7, tensors, meta)
    step, loaded, found = load_state(tmp_path)
    assert (step, found) == (7, meta) and same(loaded, tensors)
    assert same(safetensors.torch.load_file(path / "state.safetensors"), tensors)
    with safetensors.safe_open(path / "state.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # transformers and peft refuse files without it


def test_every_tensor_lies_at_a_multiple_of_its_width(tmp_path):
    tensors = {str(d): torch.zeros(3, dtype=d) for d in DTYPES}  # older readers map the file and need this
    data = (save_state(tmp_path, 1, tensors, {}) / "state.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert all(header[name]["data_offsets"][0] % t.element_size() == 0 for name, t in tensors.items())


def test_file_mode_obeys_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        files.atomic_write(tmp_path / "a", b"x")
        path = save_state(tmp_path, 1, state_at(1), {})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((path / "state.safetensors").stat().st_mode) == 0o640


def test_keeps_the_last_two_and_a_step_saved_twice_is_the_later(tmp_path):
    for step in (1, 2, 3, 10, 9999999):
        save_state(tmp_path, step, state_at(step), {})
    assert [s for s, _ in checkpoint.checkpoints(tmp_path)] == [10, 9999999]
    save_state(tmp_path, 9999999, state_at(5), {"again": True})
    step, tensors, meta = load_state(tmp_path)
    assert (step, meta) == (9999999, {"again": True}) and same(tensors, state_at(5))
    assert len(list((tmp_path / "state").iterdir())) == 2


def test_a_run_that_steps_back_forgets_the_later_step(tmp_path):
    for step in (10, 20):
        save_state(tmp_path, step, state_at(step), {})
    save_state(tmp_path, 11, state_at(11), {})
    assert load_state(tmp_path)[0] == 11
    assert [s for s, _ in checkpoint.checkpoints(tmp_path)] == [10, 11]


def make(kind, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 3))
    decay, rest = list(model.parameters())[::2], list(model.parameters())[1::2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0, "lr": 0.02}]
    kinds = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.95)),
        "amsgrad": lambda: torch.optim.AdamW(groups, lr=0.01, amsgrad=True),
        "tensor_lr": lambda: torch.optim.AdamW(groups, lr=torch.tensor(0.01)),
        "sgd": lambda: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    }
    return model, kinds[kind]()


def train(model, optimizer, generator, first, last):
    losses = []
    for step in range(first, last):
        for group in optimizer.param_groups[:1]:
            group["weight_decay"] = 0.1 / (1 + step)  # a schedule is a function of the step
        x = torch.randn(4, 6, generator=generator) + random.random() + np.random.randn()
        loss = model(x).square().mean()  # with dropout: torch's global generator counts too
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["adamw", "amsgrad", "tensor_lr", "sgd"])
def test_resume_equals_the_uninterrupted_run_bit_for_bit(tmp_path, kind):
    def seeds():
        random.seed(1), np.random.seed(2)
        return torch.Generator().manual_seed(3)

    model, optimizer = make(kind)
    generator = seeds()
    want = train(model, optimizer, generator, 0, 12)
    want_weights = {k: v.clone() for k, v in model.state_dict().items()}

    model, optimizer = make(kind)
    generator = seeds()
    got = train(model, optimizer, generator, 0, 5)
    optim_tensors, optim_meta = pack_optimizer(optimizer)
    rng_tensors, rng_meta = pack_rng(data=generator)
    before = optimizer.state_dict()
    save_state(tmp_path, 5, {**model.state_dict(), **optim_tensors, **rng_tensors}, {"o": optim_meta, "r": rng_meta})

    model, optimizer = make(kind, seed=99)  # another process: other weights, other generators
    random.seed(8), np.random.seed(8)
    generator = torch.Generator().manual_seed(8)
    step, tensors, meta = load_state(tmp_path)
    model.load_state_dict({k: tensors[k] for k in model.state_dict()})
    unpack_optimizer(optimizer, tensors, meta["o"])
    unpack_rng(tensors, meta["r"], data=generator)
    assert pformat(optimizer.state_dict()) == pformat(before)  # types too: betas are a tuple again
    kept = {k: v.clone() for k, v in tensors.items()}
    got += train(model, optimizer, generator, step, 12)
    assert got == want and same(model.state_dict(), want_weights)
    assert same({k: v for k, v in tensors.items() if k.startswith("optimizer.")},
                {k: v for k, v in kept.items() if k.startswith("optimizer.")})  # fmt: skip


def test_an_optimizer_that_does_not_fit_is_a_user_error():
    model, optimizer = make("adamw")
    train(model, optimizer, torch.Generator(), 0, 1)
    tensors, meta = pack_optimizer(optimizer, "a")
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(4)])
    for wrong in (other, torch.optim.AdamW([torch.nn.Parameter(torch.zeros(8, 6))])):
        with pytest.raises(UserError, match="cannot resume"):
            unpack_optimizer(wrong, tensors, meta, "a")


@pytest.mark.parametrize("used", [0, 1, 3])
def test_every_generator_continues_where_it_was(used):
    own, python = torch.Generator().manual_seed(5), random.Random(6)

    def draw():
        return (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist(),
                torch.randn(17).tolist(), torch.rand(2, generator=own).tolist(), python.gauss(0, 1))  # fmt: skip

    for _ in range(used):  # gauss() and randn() keep a second value back: an odd number of draws must be kept too
        draw()
    tensors, meta = pack_rng(own=own, python=python)
    meta = json.loads(json.dumps(meta))
    want = [draw(), draw()]
    draw()
    unpack_rng(tensors, meta, own=own, python=python)
    assert [draw(), draw()] == want


# -------------------------------------------------------------------------------------------------- damage


def damage(kind, path):
    weights = path / "state.safetensors"
    data = bytearray(weights.read_bytes())
    if kind == "flipped bit":
        data[-5] ^= 4
    elif kind == "cut short":
        del data[len(data) // 2 :]
    elif kind == "git-lfs pointer":
        data = b"version https://git-lfs.github.com/spec/v1\n"
    elif kind == "empty":
        data = b""
    weights.write_bytes(data)
    if kind == "missing file":
        weights.unlink()
    elif kind == "no manifest":
        (path / "manifest.json").unlink()
    elif kind == "manifest is a list":
        (path / "manifest.json").write_text("[]")
    elif kind == "flipped bit in state.json":
        (path / "state.json").write_text((path / "state.json").read_text().replace("20", "21"))


DAMAGES = ("flipped bit", "cut short", "git-lfs pointer", "empty", "missing file", "no manifest", "manifest is a list",
           "flipped bit in state.json")  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_and_the_checkpoint_before_it_is_used(tmp_path, capsys, kind):
    save_state(tmp_path, 10, state_at(10), {})
    path = save_state(tmp_path, 20, state_at(20), {})
    damage(kind, path)
    step, tensors, _ = load_state(tmp_path)
    assert step == 10 and same(tensors, state_at(10))
    assert "step_000020 is damaged" in capsys.readouterr().err
    damage("flipped bit", tmp_path / "state/step_000010")
    with pytest.raises(UserError, match="all 2 checkpoints are damaged"):
        load_state(tmp_path)


def test_a_checkpoint_of_a_newer_version_is_refused_and_not_passed_over(tmp_path):
    for step in (10, 20):
        path = save_state(tmp_path, step, state_at(step), {})
    manifest = json.loads((path / "manifest.json").read_text())
    for version in (checkpoint.VERSION, checkpoint.VERSION + 1):
        (path / "manifest.json").write_text(json.dumps(manifest | {"version": version}))
        if version == checkpoint.VERSION:
            assert load_state(tmp_path)[0] == 20
    with pytest.raises(UserError, match=rf"step_000020 is of version {checkpoint.VERSION + 1}, .* up to"):
        load_state(tmp_path)
    del manifest["version"]  # from before there was one
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert load_state(tmp_path)[0] == 20


def test_no_checkpoint_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint\nstart again"):
        load_state(tmp_path)


# -------------------------------------------------------------------------------------------------- full disk


class Full:
    """A disk that fails at its n-th call of any kind that can find it full."""

    def __init__(self, monkeypatch, n, code):
        self.left, self.code = n, code
        for name in ("open", "fsync", "rename", "replace", "mkdir"):
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name)))
        monkeypatch.setattr(files._Sum, "write", self.wrap(files._Sum.write, half=True))

    def wrap(self, call, half=False):
        def wrapped(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                if half:  # a disk takes what still fits before it refuses
                    args[0].file.write(bytes(args[1])[: len(args[1]) // 2])
                raise OSError(self.code, os.strerror(self.code))
            return call(*args, **kwargs)

        return wrapped


def test_a_full_disk_at_any_call_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    n, failures = 0, 0
    while True:
        n += 1
        folder = tmp_path / str(n)
        save_state(folder, 1, state_at(1), {"a": 1})
        with monkeypatch.context() as patch:
            disk = Full(patch, n, random.choice([errno.ENOSPC, errno.EDQUOT]))
            try:
                save_state(folder, 2, state_at(2), {"a": 2})
            except UserError as error:
                failures += 1
                assert "cannot write" in str(error) and "free some space" in str(error)
        step, tensors, meta = load_state(folder)
        assert same(tensors, state_at(step)) and meta == {"a": step}
        assert not list((folder / "state").glob(".tmp*"))
        if disk.left > 0:  # the save made fewer than n calls
            assert step == 2
            break
        save_state(folder, 3, state_at(3), {})  # and once there is space again, all is well
        assert load_state(folder)[0] == 3
    assert failures >= 15


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_atomic_write_leaves_the_old_content_or_the_new(tmp_path, monkeypatch, code):
    path = tmp_path / "run.json"
    for n in range(1, 10):
        path.write_text("old")
        with monkeypatch.context() as patch:
            disk = Full(patch, n, code)
            try:
                files.atomic_write(path, lambda f: (f.write(b"ne"), f.write(b"w")))
            except UserError as error:
                assert "--out" in str(error)
        assert path.read_text() in ("old", "new")
        assert os.listdir(tmp_path) == ["run.json"]
    assert disk.left > 0 and path.read_text() == "new"


def test_a_real_file_size_limit(tmp_path):
    resource = pytest.importorskip("resource")
    save_state(tmp_path, 1, {"w": torch.zeros(10)}, {})

    def child():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            save_state(tmp_path, 2, {"w": torch.zeros(1 << 18)}, {})
        except UserError:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(fork(child), 0)[1]) == 2
    assert load_state(tmp_path)[0] == 1 and len(os.listdir(tmp_path / "state")) == 1


def test_an_exception_that_is_no_disk_error_passes_and_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        files.atomic_write(tmp_path / "a", lambda f: 1 / 0)
    with pytest.raises(TypeError):
        save_state(tmp_path, 1, {}, {"not JSON": object()})
    assert [p.name for p in Path(tmp_path).rglob("*")] == ["state"]


# -------------------------------------------------------------------------------------------------- kill -9


def test_sigkill_at_random_moments_always_leaves_a_good_checkpoint(tmp_path):
    save_state(tmp_path, 0, state_at(0), {})
    rng, last = random.Random(0), 0

    def saves():
        torch.set_num_threads(1)
        for step in range(last + 1, last + 10000):
            save_state(tmp_path, step, state_at(step), {"step": step})

    for kills in range(500):
        if kills >= 20 and last > 5:
            break
        pid = fork(saves)
        time.sleep(rng.uniform(0.005, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        step, tensors, _ = load_state(tmp_path)
        assert step >= last and same(tensors, state_at(step))
        last = step
    assert last > 5


def test_sigkill_before_every_call_of_a_save(tmp_path, capsys):
    names = ("open", "fsync", "rename", "mkdir", "rmdir", "unlink", "close")
    calls = [*((os, name) for name in names), (files._Sum, "write")]

    def child(folder, n):
        left = n

        def wrap(call):
            def wrapped(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapped

        for module, name in calls:
            setattr(module, name, wrap(getattr(module, name)))
        save_state(folder, 3, state_at(3), {})
        os._exit(0)

    seen, n = set(), 0
    while True:
        n += 1
        folder = tmp_path / str(n)
        for step in (1, 2):
            save_state(folder, step, state_at(step), {})
        code = os.waitstatus_to_exitcode(os.waitpid(fork(lambda f=folder, n=n: child(f, n)), 0)[1])
        step, tensors, _ = load_state(folder)
        assert step in (2, 3) and same(tensors, state_at(step))
        seen.add(step)
        save_state(folder, 4, state_at(4), {})  # what the killed one left behind is cleared away
        assert len(list((folder / "state").iterdir())) == 2
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert seen == {2, 3} and n > 20
    assert "damaged" not in capsys.readouterr().err
