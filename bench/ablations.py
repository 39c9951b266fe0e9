"""What each implementation detail is worth: runs with it and without it on nano, for docs/details.md.

    python bench/ablations.py --write              # all, 3 seeds, 2 at a time: under an hour on two cores
    python bench/ablations.py --only dpo-sum --seeds 1
    python bench/ablations.py --steps 2 --seeds 1  # does every switch still work?

TASKS are scripts with flags that take about 20 seconds on a core. A row of ROWS says what is changed: flags, or lines
of the source, (module, old, new), where `old` stands just once. Lines are changed in the memory of the process that
runs them (switches.py), no file is touched. Rows of one task share the runs with everything on. Finished runs are in
OUT/runs.jsonl, known by their flags and lines, and not repeated: remove that file when anything else has changed.
"""

import argparse
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "details.md"
QUIET = "--no-plot --eval_every 0 --save_every 0 --device cpu"
SFT = "--task grammar --steps 100 --batch_size 128 --eval_examples 64 --samples 8"
TASKS = {  # {sft}: a run of train_sft with these flags
    "eval": "train_sft --task sentiment --eval_only --samples 1",
    "sft-text": "train_sft --task sentiment --steps 30 --samples 1",
    "sft-grammar": "train_sft --task grammar --steps 40 --batch_size 64 --eval_examples 64 --samples 8",
    "rm": "train_rm --task puns --steps 30 --examples 1024 --eval_examples 256",
    "ppo-rng": "train_ppo --task rng --target geometric:p=0.05 --steps 100 --eval_examples 8",
    "ppo-grammar": "train_ppo --task grammar --init {sft} --beta 0.5 --steps 12 --batch_size 96 --eval_examples 8 "
                   "--samples_per_prompt 96 --warmup_steps 2 --advantages gae --whiten advantages --epochs 4",
    "ppo-text": "train_ppo --task sentiment --steps 10 --batch_size 64 --eval_examples 40 --warmup_steps 2",
    "dpo-grammar": "train_dpo --task grammar --init {sft} --steps 50 --batch_size 48 --examples 2400 "
                   "--eval_examples 64 --samples 8",
    "dpo-text": "train_dpo --task sentiment --steps 30 --examples 320 --eval_examples 128 --samples 48",
    "gfn-rng": "train_gfn --task rng --steps 150 --eval_samples 0",
    "gfn-real": "train_gfn --task rng --target uniform_real --steps 80 --batch_size 128 --eval_samples 0",
    "gfn-grammar": "train_gfn --task grammar --init {sft} --steps 25 --batch_size 96 --samples_per_prompt 96 "
                   "--eval_examples 4 --objective subtb+vargrad",
}  # fmt: skip
EXACT, TEXT, GFN = ("exact/tv", "exact/valid_mass"), ("eval/gold", "eval/kl"), ("kl_target_policy", "min_ratio")
NUMBERS = {  # of a task, unless a row names its own
    "eval": ("eval/loss",), "sft-text": ("eval/loss",), "rm": ("eval/accuracy",), "ppo-text": TEXT,
    "sft-grammar": EXACT, "ppo-rng": EXACT, "ppo-grammar": EXACT, "dpo-grammar": EXACT,
    "dpo-text": ("eval/rewards/accuracies", *TEXT), "gfn-rng": GFN, "gfn-real": GFN, "gfn-grammar": ("exact/tv_valid",),
}  # fmt: skip
UNITS = {
    "eval/loss": "held-out loss, nats a token", "eval/accuracy": "held-out accuracy", "exact/tv": "TV to the optimum",
    "exact/valid_mass": "valid mass", "exact/tv_valid": "TV to the optimum, given a sentence",
    "eval/gold": "gold score", "eval/kl": "KL, nats", "eval/rewards/accuracies": "held-out accuracy",
    "kl_target_policy": "KL to the target, nats", "min_ratio": "least policy/target", "eval/stop_rate": "stop rate",
    "cpu_seconds": "CPU seconds", "first/val/ratio_var": "variance of ratios, first step", "first/loss": "first loss",
    "last/val/ratio_var": "variance of ratios, last step", "reward_std": "standard deviation of rewards",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    name: str  # docs/details.md has <!-- name -->
    task: str  # of TASKS, or a probe of switches.py
    off: str | tuple = ()  # flags, or (module, old, new), one or several
    on: str = ""  # flags of both sides
    numbers: tuple[str, ...] = ()

    @property
    def edits(self) -> tuple:
        """Lines that are changed: ((module, old, new), ...)."""
        off = () if isinstance(self.off, str) else self.off
        return (off,) if off and isinstance(off[0], str) else off


MASKED = ("minalign.model", "own = (mask.long().cumsum(1) - 1).clamp(min=0)",
          "own = torch.arange(tokens.size(1), device=tokens.device).expand_as(tokens)")  # fmt: skip
COLUMNS = ("minalign.cache", "if self.mask is None:\n            return self.written + (", "if True:\n            "
           "return self.written + (")  # fmt: skip
MIN_0 = ("train_gfn", "prefix_logprobs(model, rule, *part, cfg.temperature)",
         "prefix_logprobs(model, __import__('dataclasses').replace(rule, min_new_tokens=0), *part, cfg.temperature)")
GELU = '"gelu_new": lambda x: F.gelu(x, approximate="tanh")'
RM_TRAINED = 'stage.make_trainable(model, cfg, "reward")'
FLAT = "log_reward = (x.flatten(0, 1) for x in columns)"
PLACED = "non_score.scatter_add(1, lengths[:, None] - 1, scores[:, None])"
AVERAGED = 'if cfg.loss != "sigmoid":\n        policy'
ROWS = (
    # ---- model, masks, tokens
    Row("gelu", "eval", ("minalign.model", GELU, '"gelu_new": F.gelu')),
    Row("positions", "eval", (COLUMNS, MASKED)),
    Row("pad-mask", "eval", ("minalign.generate", "[[False] * (P - len(s))", "[[True] * (P - len(s))")),
    Row("prompt-end", "eval", ("minalign.data", "Encoded(prompt[-room:]", "Encoded(prompt[:room]"), "--max_prompt 8"),
    Row("joint", "joint"),
    Row("cdf64", "inverse_cdf"),
    Row("fp32-logits", "half_logits"),
    Row("logsigmoid", "extreme_margin"),
    # ---- optimisation
    Row("accumulate", "sft-grammar", ("train_sft", "(logprobs, mask, count)",
        "(logprobs, mask) * len(micro) / len(batch)"), "--micro_batch 8"),
    Row("clip-order", "gfn-rng", "--max_grad_norm 0"),
    Row("schedule", "gfn-rng", "--schedule constant"),
    Row("warmup", "gfn-rng", "--warmup_steps 0"),
    Row("adam-eps", "ppo-rng", "--adam_eps 1e-5"),
    Row("tf-adam", "ppo-rng", "--adam_eps 1e-5 --tf_adam"),
    Row("dropout", "ppo-rng", ("minalign.lora", "self.dropout[name], self.training", "0.1, torch.is_grad_enabled()"),
        numbers=(*EXACT, "last/val/ratio_var")),
    Row("lora-layers", "sft-grammar", "--lora_targets attn.c_attn"),
    Row("lora-head", "gfn-rng", "--lora_targets attn.c_attn"),
    # ---- SFT
    Row("stop-trained", "sft-grammar", ("train_sft", "tokens.to(device), mask.to(device)",
        "tokens.to(device), (mask & F.pad(mask[:, 1:], (0, 1))).to(device)")),
    Row("prompt-loss", "sft-grammar", "--loss_on all"),
    Row("token-mean", "sft-grammar", ("train_sft", "-losses.masked_mean(logprobs, mask, count)",
        "-(logprobs.sum(1) / mask.sum(1)).mean()")),
    Row("buckets", "sft-text", ("minalign.data", "sorted(window, key=lambda i: lengths[i])", "window"),
        numbers=("cpu_seconds", "eval/loss")),
    # ---- reward models
    Row("rm-sign", "rm", ("minalign.losses", "-F.logsigmoid(_full(chosen)", "F.logsigmoid(_full(chosen)")),
    Row("rm-head-trained", "rm", ("train_rm", "trained = stage.make",
        'model.heads["reward"].requires_grad_(False); trained = stage.make')),
    Row("rm-adapter", "rm", ("train_rm", RM_TRAINED, f'{{k: p for k, p in {RM_TRAINED}.items() if "heads" in k}}')),
    Row("rm-last", "rm", ("minalign.rewards", "last = mask.sum(1)[", "last = torch.full_like(mask.sum(1), longest)[")),
    Row("rm-pooled", "rm", ("minalign.rewards", ".gather(1, last)[:, 0])", ".float().mean(1))")),
    Row("rm-init", "rm", ("minalign.rewards", "(device) / math.sqrt(width + 1)", "(device)"), "--normalise 0"),
    Row("rm-normalise", "rm", "--normalise 0", numbers=("eval/accuracy", "reward_std")),
    # ---- PPO
    Row("temperature", "ppo-text", ("train_ppo", "cfg.temperature, rule.forbidden", "1.0, rule.forbidden"),
        numbers=(*TEXT, "first/val/ratio_var")),
    Row("top-k", "ppo-rng", (("train_ppo", "generate(model, prompts, n=N,", "generate(model, prompts, n=N, top_k=50,"),
        ("train_ppo", 'if shared or cfg.dtype != "fp32":', "if True:"))),
    Row("after-stop", "ppo-text", (("train_ppo", "**rule.settings())", "**rule.settings() | {'ends': ()})"),
        ("train_ppo", "text_of(tokenizer, ids[:n])",
         "text_of(tokenizer, rule.cut([i for i in ids[:n] if i != rule.stop]))")), "--missing_stop_penalty 0"),
    Row("masked-means", "ppo-text", ("minalign.losses", "mask.sum() if count is None else count", "mask.numel()")),
    Row("kl-sum", "ppo-grammar", ("train_ppo", "= -beta * kl if", "= -beta * kl / lengths[:, None] if")),
    Row("kl-k2", "ppo-rng", "--kl_estimator k2"),
    Row("kl-k3", "ppo-rng", "--kl_estimator k3"),
    Row("kl-loss-k2", "ppo-rng", "--kl_in loss --kl_estimator k2"),
    Row("kl-loss-k3", "ppo-rng", "--kl_in loss --kl_estimator k3"),
    Row("adaptive-kl", "ppo-text", "--kl_target 0.5 --kl_horizon 640"),
    Row("score-place", "ppo-grammar", ("train_ppo", PLACED, "non_score + scores[:, None] * mask")),
    Row("missing-stop", "ppo-text", "--missing_stop_penalty 0", numbers=("eval/stop_rate", "eval/gold")),
    Row("whiten", "ppo-grammar", "--whiten none"),
    Row("whiten-rewards", "ppo-grammar", "--whiten rewards"),
    Row("whiten-centre", "ppo-grammar", ("minalign.losses", "whitened if shift_mean else", "")),
    Row("whiten-padding", "ppo-grammar", (("minalign.losses", "mean = masked_mean(x, mask)\n", "mean = x.mean()\n"),
        ("minalign.losses", "masked_mean((x - mean).square(), mask)", "(x - mean).square().mean()"))),
    Row("gae-end", "ppo-grammar", ("minalign.losses", "    advantage = following =",
        "    rewards = rewards + gamma * values * (mask & ~F.pad(mask[:, 1:], (0, 1)))\n    advantage = following =")),
    Row("lambda", "ppo-grammar", "--lam 1"),
    Row("value-init", "ppo-grammar", ("train_ppo", '"value", 0.0', '"value", (model.config.n_embd + 1) ** -0.5')),
    Row("value-clip", "ppo-grammar", "--value_clip 0"),
    Row("critic", "ppo-grammar", "--critic shared", numbers=(*EXACT, "cpu_seconds")),
    Row("rloo", "ppo-grammar", "--advantages rloo", numbers=(*EXACT, "cpu_seconds")),
    Row("group", "ppo-rng", "--advantages group"),
    Row("ratio-clip", "ppo-grammar", "--clip 1e9"),
    Row("epochs", "ppo-grammar", "--epochs 1"),
    Row("minibatches", "ppo-text", ("train_ppo", ".chunk(cfg.minibatches):",
        ".unfold(0, len(batch) // cfg.minibatches, 1)[:cfg.minibatches]:"), "--minibatches 4"),
    # ---- DPO
    Row("dpo-sum", "dpo-grammar", ("train_dpo", AVERAGED, "if True:\n        policy")),
    Row("dpo-stop", "dpo-grammar", ("train_dpo", "return logprobs.sum(1)",
        "return (logprobs * torch.nn.functional.pad(mask[:, 1:], (0, 1))).sum(1)")),
    Row("dpo-reference", "dpo-grammar", (("train_dpo", "ref = stage.reference(model, cfg)",
        "ref = stage.load_policy(cfg.model)[0]"), ("train_dpo", "base_logprobs = world.logprobs(ref)",
        "base_logprobs = world.logprobs(model)")), numbers=(*EXACT, "first/loss")),
    Row("dpo-reference-free", "dpo-text", "--reference_free"),
    Row("dpo-cache", "dpo-text", ("train_dpo", "if ref_train[i, 0].isnan()]", "]"), numbers=("cpu_seconds",)),
    Row("dpo-smoothing", "dpo-text", "--label_smoothing 0.1"),
    Row("dpo-temperature", "dpo-text", ("train_dpo", "tokens, temperature, prompt", "tokens, 1.0, prompt")),
    Row("ipo-mean", "dpo-text", ("train_dpo", AVERAGED, "if False:\n        policy"), "--loss ipo"),
    # ---- GFlowNets
    Row("gfn-vargrad", "gfn-rng", "--objective vargrad"),
    Row("gfn-subtb", "gfn-rng", "--objective subtb"),
    Row("gfn-tb", "gfn-rng", "--objective tb"),
    Row("log-z-rate", "gfn-rng", "--log_z_learning_rate 5e-3", "--objective tb"),
    Row("gfn-lambda", "gfn-grammar", "--subtb_lambda 0.5", "--objective subtb"),
    Row("clip-ratio", "gfn-rng", "--clip_log_ratio 0"),
    Row("replay", "gfn-rng", "--replayed 0"),
    Row("prefill", "gfn-rng", "--prefill 0"),
    Row("tempered", "gfn-rng", "--tempered 0"),
    Row("explored", "gfn-rng", "--explored 0"),
    Row("wander", "gfn-rng", ("train_gfn", "factor if step >= cfg.warmup_steps else 1.0)", "1.0)")),
    Row("replay-similarity", "gfn-real", "--replay_similarity 0.25"),
    Row("junk-reward", "junk"),
    Row("floor", "gfn-rng", (MIN_0, ("train_gfn", "device=device), rule.min_new_tokens", "device=device), 0"),
        ("train_gfn", FLAT, f"{FLAT}; log_reward[:, 0] = -99")), "--clip_log_ratio 0", (*GFN, "first/loss")),
    Row("min-length", "gfn-rng", MIN_0),
    Row("reward-schedule", "gfn-grammar", "--reward_temperature_steps 0", "--reward_temperature_steps 10"),
    # ---- best of n, diversity
    Row("bon-estimator", "best_of_n"),
    Row("bon-kl", "best_of_n_kl"),
    Row("rarefied", "length_bias"),
    Row("ead", "count_bias"),
    Row("pairs", "self_pairs"),
)  # fmt: skip


# ---------------------------------------------------------------- runs


def spec_of(row: Row, side: str, seed: int, steps: int) -> dict:
    """Return what a process has to do: script, flags, lines; and a key by which its result is known."""
    if row.task not in TASKS:
        spec = {"script": "probe", "flags": [row.task], "edits": [], "side": side, "seed": seed}
    else:
        script, *flags = f"{TASKS[row.task]} {QUIET} --seed {seed} {row.on}".split()
        if side == "off" and isinstance(row.off, str):
            flags += row.off.split()
        if steps:
            flags += ["--steps", str(steps)] + ["--warmup_steps", "0"] * ("--warmup_steps" not in flags)
        spec = {"script": script, "flags": flags, "edits": row.edits if side == "off" else []}
    return spec | {"key": hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:16]}


def run(spec: dict, out: Path, known: dict, lock: threading.Lock) -> None:
    """Run a spec in a process of its own; keep its numbers, or say why there are none."""
    task = json.dumps(spec | {"out": str(out / spec["key"])}).replace("{sft}", str(out / "sft"))
    done = subprocess.run([sys.executable, ROOT / "bench" / "switches.py", task], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, env={"OMP_NUM_THREADS": "1"} | os.environ)  # fmt: skip
    with lock:
        if done.returncode:
            return print("failed:", spec["script"], *spec["flags"], f"\n{done.stderr.strip()[-600:]}", flush=True)
        numbers = known[spec["key"]] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
        with (out / "runs.jsonl").open("a") as file:
            file.write(json.dumps(spec | {"numbers": numbers}) + "\n")
        print(f"  {spec['script']} {' '.join(spec['flags'])}: {numbers.get('cpu_seconds', 0):.0f} CPU s", flush=True)


# ---------------------------------------------------------------- the page


def told(values: list[float]) -> str:
    """Return a mean and a range."""
    low, mean, high = (f"{x:.3g}" for x in (min(values), sum(values) / len(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def effects(row: Row, specs, known: dict) -> list[tuple[str, str, str]]:
    """Return (unit, on, off) of each number of a row; [] while a run is missing."""
    sides = {side: [known.get(spec["key"]) for spec in specs(row, side)] for side in ("on", "off")}
    if None in (*sides["on"], *sides["off"]):
        return []
    names = row.numbers or NUMBERS.get(row.task) or tuple(sides["on"][0])
    return [(UNITS.get(name, name), *(told([x[name] for x in runs]) for runs in sides.values())) for name in names]


def write(page: str, found: dict[str, list]) -> str:
    """Return the page with the numbers of each row behind its mark, and the table of all."""
    number, lines, table = "", [], ["| | off | task | number | on | off |", "|---|---|---|---|---|---|"]
    for line in page.split("\n"):
        number = (re.match(r"### (\d+)\.", line) or [None, number])[1]
        if mark := re.match(r"(- off: (.*?):? <!-- ([\w-]+) -->)", line):
            what, got = mark[2], found[mark[3]]
            task = next(row.task for row in ROWS if row.name == mark[3])
            line = mark[1] + " " + ("; ".join(f"{unit} {on} → **{off}**" for unit, on, off in got) or "not run yet")
            table += [f"| {number} | {what} | {task} | {unit} | {on} | {off} |" for unit, on, off in got]
        lines.append(line)
    between = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.S)
    return between.sub(lambda _: "\n".join(table) + "\n", "\n".join(lines))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--only", nargs="+", default=[], choices=[row.name for row in ROWS], metavar="NAME")
    p.add_argument("--seeds", type=int, default=3, help="runs a side")
    p.add_argument("--jobs", type=int, default=2, help="runs at a time, a thread each")
    p.add_argument("--steps", type=int, default=0, help="of each run, to try the switches; 0 = those of its task")
    p.add_argument("--out", type=Path, default=ROOT / "runs" / "ablations")
    p.add_argument("--write", action="store_true", help="put the numbers into docs/details.md")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "runs.jsonl").touch()
    known = {row["key"]: row["numbers"] for row in map(json.loads, (args.out / "runs.jsonl").open())}
    rows = [row for row in ROWS if not args.only or row.name in args.only]

    def specs(row: Row, side: str) -> list[dict]:
        return [spec_of(row, side, seed, args.steps) for seed in range(1, args.seeds + 1)]

    missing = {spec["key"]: spec for row in rows for side in ("on", "off") for spec in specs(row, side)
               if spec["key"] not in known}  # fmt: skip
    print(f"{len(missing)} runs", flush=True)
    if any("{sft}" in spec["flags"] for spec in missing.values()) and not (args.out / "sft" / "result.json").exists():
        flags = f"{SFT} {QUIET} --overwrite --out {args.out / 'sft'}".split()
        subprocess.run([sys.executable, ROOT / "train_sft.py", *flags], check=True, capture_output=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(functools.partial(run, out=args.out, known=known, lock=threading.Lock()), missing.values()))
    found = {row.name: effects(row, specs, known) for row in ROWS}
    for row in rows:
        print(f"{row.name:18}", "; ".join(f"{unit}: {on} -> {off}" for unit, on, off in found[row.name]) or "-")
    if args.write and not args.steps:
        PAGE.write_text(write(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    sys.exit(any(not found[row.name] for row in rows))  # 1: some runs failed; start it again to go on


if __name__ == "__main__":
    main()
