"""--compile against the plain path: losses, gradients, samples; no breaks in the graphs, few programs."""

import copy
import functools

import pytest
import stages
import torch

import sample_bon
import train_dpo
import train_gfn
import train_ppo
import train_rm
import train_sft
from minalign import compilation, lora
from minalign.cache import KVCache, StaticCache
from minalign.generate import generate, score
from minalign.model import GPT2

STOP = 5


@pytest.fixture(scope="module")
def compiler():
    if not compilation.has_compiler("cpu"):
        pytest.skip("no C++ compiler")


def adapted(model: GPT2) -> GPT2:
    """Add two adapters that do something, policy and value."""
    for name in ("value", "policy"):
        lora.add_adapter(model, name, rank=3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_" in name:
                p.copy_(0.1 * torch.randn_like(p))
    return model


def batch(b: int, n: int, P: int, R: int):
    g = torch.Generator().manual_seed(b * n * P * R)
    prompts, tokens = torch.randint(6, 67, (b, P), generator=g), torch.randint(6, 67, (b * n, R), generator=g)
    prompt_mask = torch.arange(P) >= torch.arange(b)[:, None] % 3
    return prompts, prompt_mask, tokens, torch.arange(R) < torch.randint(2, R + 1, (b * n, 1), generator=g)


def step(model: GPT2, b: int, n: int, P: int, R: int) -> list[torch.Tensor]:
    """Return what a step of PPO computes: samples, the reference's log-probs, those and values with gradients."""
    prompts, prompt_mask, tokens, mask = batch(b, n, P, R)
    model.eval()
    found = generate(model, prompts, STOP, n, R, prompt_mask=prompt_mask, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), lora.disabled(model):
        ref = score(model, prompts, tokens, mask, STOP, prompt_mask=prompt_mask)[0]
    model.train()
    model.zero_grad()
    own = score(model, prompts, tokens, mask, STOP, prompt_mask=prompt_mask)[0]
    with lora.use(model, "value"):
        values = score(model, prompts, tokens, mask, STOP, prompt_mask=prompt_mask)[0]
    (own + 2 * values).sum().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [found.tokens, found.logprobs, ref, own.detach(), values.detach(), *grads]


@pytest.fixture
def traced(monkeypatch):
    """Trace programs and run them as they are: all but the compilation itself, which takes two seconds each."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    compilation.compiled.cache_clear()
    compilation.has_compiler.cache_clear()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield torch._dynamo.utils.counters
    compilation.compiled.cache_clear()
    compilation.has_compiler.cache_clear()
    torch._dynamo.reset()


def test_no_size_makes_a_new_program(make_model, traced):
    """Other lengths and batches run what the first step has made; nothing breaks a graph."""
    plain = adapted(make_model(n_layer=3))
    fast = copy.deepcopy(plain)
    compilation.activate(fast)
    assert fast.compiled and fast.transformer.h[2].compiled
    made = []
    for shape in (3, 2, 6, 7), (4, 3, 9, 5), (2, 5, 7, 11), (7, 2, 8, 6):
        for a, b in zip(step(plain, *shape), step(fast, *shape), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        made.append(traced["stats"]["unique_graphs"])
    assert not traced["graph_break"], traced["graph_break"]
    assert 0 < made[0] <= 2 * compilation.MOST / 4 and made[1:] == made[1:2] * 3 and made[1] - made[0] <= 2, made


@pytest.mark.parametrize("how", ["bf16", "checkpointing"])
def test_compiled_blocks_in_half_precision_and_run_again(make_model, traced, how):
    plain = adapted(make_model(std=0.1))
    plain.compute_in(torch.bfloat16) if how == "bf16" else None
    fast = copy.deepcopy(plain)
    compilation.activate(fast)
    fast.checkpointing = how == "checkpointing"
    found = [step(model, 3, 2, 6, 7)[2:] for model in (plain, fast)]
    torch.testing.assert_close(*found, **(dict(atol=0.1, rtol=0.05) if how == "bf16" else dict(atol=1e-4, rtol=1e-4)))
    assert traced["stats"]["unique_graphs"] and not traced["graph_break"]


def test_machine_code_computes_the_same(model, compiler):
    """The whole way to machine code: a pass of the policy, forward and backward."""
    lora.add_adapter(model, rank=3)
    fast = copy.deepcopy(model)
    compilation.activate(fast)
    prompts, prompt_mask, tokens, mask = batch(3, 2, 6, 7)
    for m in (model, fast):
        score(m, prompts, tokens, mask, STOP, prompt_mask=prompt_mask)[0].sum().backward()
    for (name, p), q in zip(model.named_parameters(), fast.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("script", [train_sft, train_rm, train_dpo, train_ppo, train_gfn], ids=lambda s: s.__name__)
def test_scripts_learn_the_same_compiled(script, tiny, files, tmp_path, traced):
    file = tmp_path / "reward.py"
    file.write_text("def length(prompts, responses): return [len(r) / 10 for r in responses]\n")
    flags = ["--model", tiny, "--data", files[0], *stages.OWN, "--steps=1"]
    flags += {train_sft: [], train_rm: ["--normalise=0"], train_dpo: ["--samples=0"],
              train_ppo: [f"--reward={file}:length", "--samples_per_prompt=2", "--epochs=1", "--eval_examples=4"],
              train_gfn: ["--samples_per_prompt=4", "--eval_examples=4", "--probes=0"]}[script]  # fmt: skip
    if script is train_sft:
        rows = [{"prompt": r["prompt"], "completion": r["chosen"]} for r in stages.pairs()]
        flags[3] = stages.write(tmp_path / "sft.jsonl", rows)
    plain, fast = (stages.lines(stages.train(script, *flags, *more, out=tmp_path / f"run{len(more)}") / "metrics.jsonl")
                   for more in ([], ["--compile"]))  # fmt: skip
    assert traced["stats"]["unique_graphs"] and not traced["graph_break"]
    for key in ("loss", "loss/policy_avg", "grad_norm", "objective/scores", "objective/kl"):
        assert fast[0].get(key) == plain[0].get(key) or fast[0][key] == pytest.approx(plain[0][key], rel=1e-3, abs=1e-5)


def test_best_of_n_samples_the_same_compiled(tiny, tmp_path, traced):
    flags = ["--model", tiny, "--prompt", "Tom has 3 hats.", "--n=4", "--max_response=8", "--device=cpu", "--no-plot"]
    plain, fast = (stages.lines(stages.train(sample_bon, *flags, *more, out=tmp_path / f"run{len(more)}")
                                / "samples.jsonl") for more in ([], ["--compile"]))  # fmt: skip
    assert [row["response"] for row in plain] == [row["response"] for row in fast]
    assert traced["stats"]["unique_graphs"] and not traced["graph_break"]


def test_a_static_cache_decodes_the_same(model):
    tokens = torch.randint(6, 66, (3, 9))
    mask = torch.arange(4) >= torch.tensor([0, 2, 1])[:, None]
    with torch.no_grad():
        for prompts in (None, mask):
            prefix = model.encode_prefix(tokens[:, :4], prompts)[0]
            growing, static = KVCache(prefix.expand(2), 5), StaticCache(prefix.expand(2), 5)
            for t in range(4, 9):
                new = tokens[:, t, None].repeat_interleave(2, 0) + torch.arange(6)[:, None] % 2
                expected, found = model(new, cache=growing), model(new, cache=static)
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
                static.at += 1


def test_without_a_compiler_there_is_one_clear_line(model, monkeypatch, capsys):
    def broken(*args, **named):
        raise RuntimeError("No working C++ compiler found\nmore of it")

    monkeypatch.setattr(torch, "compile", broken)
    compilation.has_compiler.cache_clear()
    compilation.activate(model)
    compilation.activate(model)
    compilation.has_compiler.cache_clear()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No working C++ compiler" in said and "going on without" in said, said
    assert not model.compiled and not model.transformer.h[0].compiled
