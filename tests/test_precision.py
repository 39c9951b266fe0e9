"""Half precision, activation checkpointing and micro-batches: each against the plain path."""

import copy
import json
import weakref

import pytest
import stages
import torch
from stages import lines, train, weights
from torch import nn

import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import cli, hub, lora, memory, precision
from minalign.errors import UserError
from minalign.generate import score
from minalign.model import GPT2
from minalign.precision import DTYPES, Head, Scaler
from minalign.stage import StageConfig

CPU = torch.device("cpu")
# Half precision rounds to 8 (bf16) or 11 (fp16) binary digits: 2^-9 and 2^-12 of a number at most.
ROUNDING = {"bf16": 2**-9, "fp16": 2**-12}


def adapted(model: GPT2, rank: int = 3, seed: int = 2) -> GPT2:
    """Add an adapter that does something, the same one for each model."""
    torch.manual_seed(seed)
    lora.add_adapter(model, rank=rank, targets=lora.TARGETS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    return model


def batch(seed: int = 3, b: int = 3, n: int = 2, P: int = 6, R: int = 7):
    """Return prompts, their mask, tokens and mask of n responses to each."""
    g = torch.Generator().manual_seed(seed)
    prompts, tokens = (torch.randint(6, 67, shape, generator=g) for shape in ((b, P), (b * n, R)))
    prompt_mask = torch.arange(P) >= torch.tensor([0, 2, 3])[:b, None]
    mask = torch.arange(R) < torch.randint(2, R + 1, (b * n, 1), generator=g)
    return prompts, prompt_mask, tokens, mask


def logprobs(model: GPT2, prompts, prompt_mask, tokens, mask):
    return score(model, prompts, tokens, mask, stop=5, prompt_mask=prompt_mask)[0]


def gradients(model: GPT2, *given) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probs and the gradients of their mean, of everything that is trained."""
    found = logprobs(model, *given)
    found.sum().backward()
    return found.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


# ------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.parametrize("store", [True, False])
def test_half_precision_is_fp32_but_for_rounding(make_model, name, store):
    plain = make_model(std=0.1, n_layer=3)
    half = copy.deepcopy(plain)
    half.compute_in(DTYPES[name], store)
    if store:
        adapted(plain), adapted(half)
    expected, found = gradients(plain, *batch()), gradients(half, *batch())
    assert found[0].dtype == torch.float32 and not torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[0], expected[0], atol=12 * ROUNDING[name], rtol=0)
    assert found[1].keys() == expected[1].keys() and len(found[1]) == (26 if store else 40), len(found[1])
    for key, grad in found[1].items():
        assert grad.dtype == torch.float32
        off = (grad - expected[1][key]).norm() / expected[1][key].norm()
        assert off < 20 * ROUNDING[name], (key, off)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_storing_a_frozen_weight_rounded_changes_nothing(make_model, name):
    """Stored in half precision or cast at every use: the same bits."""
    model = make_model(std=0.1)
    stored, cast = copy.deepcopy(model), copy.deepcopy(model)
    stored.compute_in(DTYPES[name], store=True)
    cast.compute_in(DTYPES[name], store=False)
    assert torch.equal(logprobs(stored, *batch()), logprobs(cast, *batch()))
    kept = {p.dtype for key, p in stored.named_parameters() if ".h." not in key or ".ln_" in key}
    assert kept == {torch.float32} == {p.dtype for p in cast.parameters()}
    assert {layer.weight.dtype for block in stored.transformer.h for layer in block.modules()
            if isinstance(layer, nn.Linear)} == {DTYPES[name]}  # fmt: skip


def test_fp32_is_what_it_was(make_model):
    model = make_model()
    before = logprobs(model, *batch())
    model.compute_in(torch.float32)
    assert torch.equal(before, logprobs(model, *batch()))


def test_logits_far_from_zero_keep_their_differences():
    """Neighbours near -100 are half a nat apart in bf16: log-probs must come from sums in fp32."""
    torch.manual_seed(0)
    head = Head(96, 211, bias=False)
    with torch.no_grad():
        head.weight[:, 0] = 1.0
    x = torch.randn(9, 96).bfloat16().float()
    x[:, 0] = -100.0
    with torch.no_grad():
        head.weight.copy_(head.weight.bfloat16())
    exact = (x.double() @ head.weight.double().T).log_softmax(-1)
    head.dtype = torch.bfloat16
    x.requires_grad_(True)
    found = head(x).log_softmax(-1)
    naive = (x.bfloat16() @ head.weight.bfloat16().T).float().log_softmax(-1)
    assert (naive - exact).abs().max() > 0.1  # what is avoided
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=0)
    # and the gradient is that of a plain product but for rounding it
    want = torch.randn(9, 211)
    found.backward(want)
    y = x.detach().clone().requires_grad_(True)
    nn.functional.linear(y, head.weight.detach()).log_softmax(-1).backward(want)
    assert (x.grad - y.grad).norm() < 4 * ROUNDING["bf16"] * y.grad.norm()
    assert head(x[None])[0].equal(head(x)), "any number of dimensions"


def test_an_adapter_is_merged_in_fp32_and_rounded_once(make_model):
    model = adapted(make_model())
    expected = lora.merge(model)
    half = lora.merge(model)
    half.compute_in(torch.bfloat16)
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(half.get_parameter(name), expected.get_parameter(name).bfloat16())


# ------------------------------------------------------------------------------------------------ which type, and where


@pytest.fixture
def bf16(monkeypatch):
    """A CPU that says it has bf16: torch computes in it everywhere."""
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})


def test_auto_is_what_the_hardware_has(model, monkeypatch):
    large = nn.Linear(1, precision.SMALL // 2 + 1, device="meta")
    for flags, expected in ({"avx512f"}, "fp32"), ({"amx_bf16"}, "bf16"), ({"avx512_bf16"}, "bf16"):
        monkeypatch.setattr(precision, "cpu_flags", lambda flags=flags: flags)
        assert precision.pick_dtype("auto", large, CPU) == expected
        assert precision.pick_dtype("auto", model, CPU) == "fp32", "a small model, as nano"
    assert precision.pick_dtype("auto", hub.from_pretrained("nano"), CPU) == "fp32"
    assert precision.pick_dtype("bf16", model, CPU) == "bf16", "on demand"
    for capability, expected in ((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16"):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert precision.pick_dtype("auto", large, torch.device("cuda", 0)) == expected
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    for device, name, words in ("cuda", "bf16", "capability 8"), ("mps", "fp16", "scaled"), ("mps", "bf16", "no bf16"):
        with pytest.raises(UserError, match=words):
            precision.pick_dtype(name, large, torch.device(device))
    assert precision.pick_dtype("auto", large, torch.device("mps")) == "fp32"


# ---------------------------------------------------------------------------------------------------------- the scripts

DATA = [*stages.OWN, "--steps=2", "--save_every=1", "--eval_every=1"]
SCRIPTS = {
    train_sft: [],
    train_rm: ["--normalise=0"],
    train_dpo: ["--samples=0"],
    train_ppo: ["--reward=my.py:length", "--samples_per_prompt=2", "--epochs=1", "--eval_examples=4"],
    train_gfn: ["--samples_per_prompt=4", "--eval_examples=4", "--probes=0"],
}


@pytest.fixture
def flags(tiny, files, tmp_path, monkeypatch):
    """Return a maker of a script's flags."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text("def length(prompts, responses): return [len(r) / 10 for r in responses]\n")
    rows = [{"prompt": r["prompt"], "completion": r["chosen"]} for r in stages.pairs()]
    sft = stages.write(tmp_path / "sft.jsonl", rows)

    def of(script):
        return ["--model", tiny, "--data", sft if script is train_sft else files[0], *DATA, *SCRIPTS[script]]

    return of


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_scripts_in_half_precision(script, flags, bf16, tmp_path, capsys):
    """Losses are those of fp32 but for rounding; what is saved is fp32; the type is part of the run."""
    found = {}
    for name in ("fp32", "bf16", "fp16"):
        run = train(script, *flags(script), "--dtype", name, out=tmp_path / name)
        assert json.loads((run / "run.json").read_text())["config"]["dtype"] == name
        assert {x.dtype for x in weights(run).values()} == {torch.float32}
        found[name] = lines(run / "metrics.jsonl")
        assert ("loss_scale" in found[name][0]) == (name == "fp16")
    key = "objective/kl" if script is train_ppo else "loss"
    if script not in (train_ppo, train_gfn):  # these sample, and other roundings may draw other tokens
        for name in ("bf16", "fp16"):
            loss, expected = found[name][1]["loss"], found["fp32"][1]["loss"]  # of the second step: after an update
            assert loss == pytest.approx(expected, rel=10 * ROUNDING[name]) and loss != expected, name
    assert all(row[key] is not None for rows in found.values() for row in rows)
    said = stages.refuses(script, *flags(script), "--dtype=fp32", "--resume", "--out", tmp_path / "bf16")
    assert "--dtype is fp32 (was bf16)" in said, said


@pytest.mark.parametrize("more", [["--advantages=rloo"], ["--critic=shared", "--lora_rank=0"]])
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_before_an_update_ratios_are_one_and_the_kl_is_zero(flags, bf16, tmp_path, more, name):
    """Old and new log-probs are of the same kind of pass: what sampled rounds otherwise."""
    more = [*more, "--steps=1", "--micro_batch=4", "--dtype", name]
    run = train(train_ppo, *flags(train_ppo), *more, out=tmp_path / "ppo")
    (row,) = lines(run / "metrics.jsonl")
    assert row["val/ratio"] == pytest.approx(1, abs=1e-6) and row["val/ratio_var"] < 1e-9, row
    assert row["objective/kl"] == pytest.approx(0, abs=1e-6) and row["policy/clipfrac_avg"] == 0, row


def test_dpo_starts_at_ln_2_in_half_precision(flags, bf16, tmp_path):
    run = train(train_dpo, *flags(train_dpo), "--steps=1", "--dtype=bf16", out=tmp_path / "dpo")
    assert lines(run / "metrics.jsonl")[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)


def test_full_fine_tuning_keeps_fp32_weights(flags, bf16, tmp_path):
    """Updates of 1e-5 are far below bf16's steps; the weights still move by them."""
    more = ["--dtype=bf16", "--lora_rank=0", "--learning_rate=1e-5", "--steps=1"]
    run = train(train_sft, *flags(train_sft), *more, out=tmp_path / "full")
    base, after = (hub.read_tensors(folder / "model.safetensors") for folder in (flags(train_sft)[1], run))
    name = "transformer.h.1.mlp.c_fc.weight"
    moved = (after[name] - base[name]).abs()
    assert after[name].dtype == torch.float32 and 0.5e-5 < moved.max() < 2e-5 and (moved > 0).float().mean() > 0.9


# --------------------------------------------------------------------------------------------------------- loss scaling


def test_an_overflow_skips_the_step_and_halves_the_scale():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], 0.1)
    scaler = Scaler("cpu", init_scale=4.0)
    for factor, scale, skipped, expected in ((torch.inf, 2.0, 1, 1.0), (1.0, 2.0, 1, 0.9)):
        optimizer.zero_grad()
        scaler.scale((factor * weight).sum()).backward()
        scaler.unscale_(optimizer)
        assert scaler.guarded(weight.grad.norm()) is None
        scaler.advance(optimizer)
        assert scaler.log() == {"loss_scale": scale, "skipped_steps": skipped}
        assert torch.equal(weight.detach(), torch.full((3,), expected))
    again = Scaler("cpu")
    again.load_state_dict(scaler.state_dict())
    assert again.get_scale() == 2.0
    off = Scaler("cpu", enabled=False)
    assert off.guarded(weight.norm()) is not None and off.log() == {} and off.state_dict() == {}


def test_gradients_that_overflow_at_any_scale_end_the_run():
    weight = nn.Parameter(torch.ones(1))
    optimizer, scaler = torch.optim.SGD([weight], 0.1), Scaler("cpu", init_scale=1.0)
    with pytest.raises(UserError, match="not finite at any loss scale"):
        for _ in range(20):
            scaler.scale((torch.inf * weight).sum()).backward()
            scaler.unscale_(optimizer)
            scaler.advance(optimizer)
    assert weight.item() == 1


def test_the_loss_scale_survives_a_resume(flags, tmp_path, monkeypatch):
    """A step is skipped in the middle; continued after it, the run ends as an uninterrupted one."""
    monkeypatch.setattr(Scaler, "__init__", lambda self, device, enabled: torch.amp.GradScaler.__init__(
        self, device, init_scale=2.0**40, enabled=enabled))  # fmt: skip
    more = [*flags(train_sft), "--dtype=fp16", "--schedule=constant"]
    whole = train(train_sft, *more, "--steps=24", "--save_every=8", out=tmp_path / "whole")
    half = train(train_sft, *more, "--steps=8", out=tmp_path / "half")
    assert lines(half / "metrics.jsonl")[-1]["skipped_steps"] == 8
    train(train_sft, *more, "--steps=24", "--resume", out=half)
    assert stages.same(weights(whole), weights(half))
    assert any(x.any() for key, x in weights(half).items() if "lora_B" in key)


# --------------------------------------------------------------------------------------------- activation checkpointing


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_checkpointing_gives_the_same_gradients(make_model, dtype):
    """Prompts are encoded once and shared; and the adapter of the forward pass is active when a block runs again."""
    plain = adapted(make_model(std=0.1))
    lora.add_adapter(plain, "value", rank=2)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, p in plain.named_parameters():
            if name.endswith("lora_B.value"):
                p.copy_(torch.randn_like(p))
    lora.set_adapter(plain, "policy")
    plain.compute_in(DTYPES[dtype])
    sparing = copy.deepcopy(plain)
    sparing.checkpointing = True
    for model in (plain, sparing):
        a = logprobs(model, *batch()).sum()
        with lora.use(model, "value"):
            b = logprobs(model, *batch(4)).sum()
        with lora.disabled(model):
            (a + 2 * b).backward()
    for (name, p), (_, q) in zip(plain.named_parameters(), sparing.named_parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-5)
    assert any(p.grad is not None for name, p in plain.named_parameters() if "value" in name)


def kept_for_backward(model: GPT2, given) -> int:
    """Return the bytes of activations that a pass keeps."""
    seen = {}

    def pack(x):
        seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = model(given)
    assert found.requires_grad
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(size for pointer, size in seen.items() if pointer not in own)


def test_checkpointing_keeps_less(make_model):
    model = adapted(make_model(n_layer=6))
    tokens = torch.randint(6, 67, (4, 30))
    all_of_it = kept_for_backward(model, tokens)
    model.checkpointing = True
    assert kept_for_backward(model, tokens) < all_of_it / 5


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_scripts_with_checkpointing(script, flags, tmp_path):
    dropout = [] if script is train_ppo else ["--lora_dropout=0.2"]
    a, b = (train(script, *flags(script), *dropout, *more, out=tmp_path / f"run{len(more)}")
            for more in ([], ["--checkpoint"]))  # fmt: skip
    torch.testing.assert_close(weights(a), weights(b), atol=1e-6, rtol=0)
    assert stages.lines(a / "metrics.jsonl")[-1].keys() == stages.lines(b / "metrics.jsonl")[-1].keys()


# ------------------------------------------------------------------------------------------------------- micro-batches


def failing(monkeypatch, *calls: int):
    """Let memory run out in these backward passes, counted from 1, when half of the gradients are there."""
    backward, done = torch.Tensor.backward, []

    def run_out(self, *args, **named):
        done.append(1)
        backward(self, *args, **named)
        if len(done) in calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(torch.Tensor, "backward", run_out)
    return done


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_auto_halves_micro_batches_and_learns_the_same(script, flags, tmp_path, monkeypatch, capsys):
    given = [*flags(script), "--steps=1", "--eval_every=0"]
    if script is train_gfn:  # at T = 1 the loss begins at 0, and all gradients are noise
        given += ["--reward_temperature=0.7", "--reward_temperature_steps=0"]
    whole = train(script, *given, out=tmp_path / "whole")
    failing(monkeypatch, 1, 3) if script is not train_gfn else failing(monkeypatch, 1)  # whole, the second half
    parts = train(script, *given, "--micro_batch=auto", out=tmp_path / "parts")
    said = capsys.readouterr().err
    assert "out of memory with 8 records in a forward pass: from now on 4" in said, said
    assert ("from now on 2" in said) == (script is not train_gfn), said
    if script is not train_rm:  # some of its gradients are rounding noise, of which Adam makes steps
        torch.testing.assert_close(weights(whole), weights(parts), atol=2e-5, rtol=0)
    for key in ("loss", "grad_norm"):
        a, b = (lines(run / "metrics.jsonl")[0].get(key) for run in (whole, parts))
        assert a == b or a == pytest.approx(b, rel=1e-3), key


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_an_attempt_that_failed_keeps_no_memory(script, flags, tmp_path, monkeypatch):
    """The pass after it starts without the graph whose backward pass ran out of memory."""
    failed, kept, backward, forward = [], [], torch.Tensor.backward, GPT2.forward

    def run_out(self, *args, **named):
        if not failed:
            failed.append(weakref.ref(self))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        backward(self, *args, **named)

    def watched(self, *args, **named):
        kept.extend(ref() is not None for ref in failed)
        return forward(self, *args, **named)

    monkeypatch.setattr(torch.Tensor, "backward", run_out)
    monkeypatch.setattr(GPT2, "forward", watched)
    train(script, *flags(script), "--steps=1", "--eval_every=0", "--micro_batch=auto", out=tmp_path / "run")
    assert kept and not any(kept)


def test_a_fixed_micro_batch_that_does_not_fit_is_an_error(flags, tmp_path, monkeypatch):
    """Nothing is corrupted: the run is continued from its checkpoint, in smaller parts, and ends as the whole one."""
    given = [*flags(train_sft), "--schedule=constant"]
    whole = train(train_sft, *given, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        failing(patch, 4)  # in the second step
        said = stages.refuses(train_sft, *given, "--micro_batch=4", "--out", tmp_path / "broken")
    assert "out of memory with 4 records" in said and "auto" in said and "--checkpoint" in said, said
    assert len(lines(tmp_path / "broken" / "metrics.jsonl")) == 1
    train(train_sft, *given, "--micro_batch=2", "--resume", out=tmp_path / "broken")
    torch.testing.assert_close(weights(whole), weights(tmp_path / "broken"), atol=2e-5, rtol=0)


def test_one_record_that_does_not_fit_is_an_error(flags, tmp_path, monkeypatch):
    failing(monkeypatch, *range(1, 99))
    said = stages.refuses(train_sft, *flags(train_sft), "--micro_batch=auto", "--out", tmp_path / "run")
    assert "out of memory with 1 records" in said, said


def test_what_counts_as_running_out_of_memory():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**52)
    assert memory.ran_out(error.value) and memory.ran_out(MemoryError()) and memory.ran_out(torch.OutOfMemoryError())
    assert not memory.ran_out(RuntimeError("shapes differ")) and not memory.ran_out(None)


def test_running_out_elsewhere_ends_with_one_message(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(lambda argv: torch.empty(2**52))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "out of memory" in said and "--micro_batch" in said and "--resume" in said, said
    assert len(said.splitlines()) == 3, said
    with pytest.raises(RuntimeError, match="other"):
        cli.main(lambda argv: (_ for _ in ()).throw(RuntimeError("other")))


def test_micro_batch_is_a_number_or_auto():
    assert [StageConfig(micro_batch=x).micro_batch for x in ("0", "7", 7, "auto")] == [0, 7, 7, 0]
    assert StageConfig(micro_batch="auto").auto_micro_batch and not StageConfig(micro_batch="7").auto_micro_batch
    for wrong in ("-1", "half", "1.5", ""):
        with pytest.raises(UserError, match="micro_batch"):
            StageConfig(micro_batch=wrong)
