"""Every method on one task, with one budget of samples and one reward: what each should end in, and where it ends.

    python -m minalign.compare                       # rng: SFT, PPO (three ways), DPO and GFN beside their own optima
    python -m minalign.compare --task sentiment      # reward against KL: PPO, DPO and best-of-n
    python -m minalign.compare --task next_sentence  # likelihood against diversity: GFN, sampling and beam search
    python -m minalign.compare --task grammar --init SFT_RUN    # the same, exactly; SFT_RUN of train_sft.py

It starts the scripts as a user would, one after the other, and reads their run folders; a run that is already there is
not repeated. On rng all responses can be listed, so each method's optimum p* and each result are exact distributions.
"""

import json
import math
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from minalign import bon, cli, exact, plot, sentences, tempered
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write, read_json
from minalign.respond import respond
from minalign.rewards import from_run
from minalign.stage import load_policy
from minalign.tasks import next_sentence
from minalign.tasks.setting import setting

TEXTS, SENTENCES = ("sentiment", "descriptiveness"), {"next_sentence": sentences, "grammar": tempered}
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Config:
    task: str = flag("rng", "what to compare on", choices=("rng", *TEXTS, *SENTENCES))
    model: str = flag("nano", "nano (bundled), a hub id such as gpt2, or a folder with GPT-2 weights")
    samples: int = flag(0, "responses that each method trains on; 0 = 100,000 on rng, 10,000 on texts")
    seed: int = flag(1, "of every run")
    out: str = flag("", "folder; default runs/compare-TASK")
    beta: float = flag(1.0, "rng: KL coefficient of PPO; of DPO, with labels at noise 1")
    entropy: float = flag(0.1, "rng: entropy coefficient of the third PPO")
    temperature: float = flag(0.7, "texts: of all sampling and log-probs (that of Ziegler et al.)")
    init: str | None = flag(None, "grammar, next_sentence: folder of a run that is the base; grammar needs one of SFT")
    steps: int = flag(0, "grammar, next_sentence: of each GFN; 0 = those of train_gfn.py")
    prompts: int = flag(64, "next_sentence: held-out prompts")
    n: int = flag(8, "next_sentence: sentences a prompt")
    encoder: str = flag("nano", "next_sentence: of texts, for diversity: nano, a hub id or a folder")


def start(script: str, out: Path, *flags: str) -> dict:
    """Run a script into the folder `out`, unless its result is there with the same flags; return its result.json."""
    command = [sys.executable, str(ROOT / f"{script}.py"), *flags, "--out", str(out), "--overwrite"]
    ran = read_json(out / "run.json").get("command", "")
    if not (out / "result.json").is_file() or not ran.endswith(shlex.join(command[2:])):
        print("\n$", " ".join(["python", f"{script}.py", *command[2:]]), flush=True)
        (out.parent).mkdir(parents=True, exist_ok=True)
        with open(out.parent / f"{out.name}.log", "w", encoding="utf-8") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode:
            tail = (out.parent / f"{out.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise UserError(f"{script}.py failed (exit code {done.returncode}); see {log.name}:\n" + "\n".join(tail))
    return read_json(out / "result.json")


# ---------------------------------------------------------------- rng: exact distributions


def rng_runs(cfg: Config) -> dict[str, tuple[str, list[str]]]:
    """Return {name: (script, flags)}; every method trains on cfg.samples responses."""

    def steps(batch: int) -> list[str]:
        return ["--task", "rng", "--steps", str(max(1, cfg.samples // batch))]

    ppo = [*steps(256), "--batch_size", "256", "--samples_per_prompt", "256"]
    return {
        # Eight passes: imitation may look at its samples as often as it likes.
        "SFT": ("train_sft", [*steps(64), "--examples", str(cfg.samples), "--batch_size", "512"]),
        "PPO, KL": ("train_ppo", [*ppo, "--beta", str(cfg.beta)]),
        "PPO, no KL": ("train_ppo", [*ppo, "--beta", "0"]),
        "PPO, entropy": ("train_ppo", [*ppo, "--beta", "0", "--entropy_coef", str(cfg.entropy)]),
        "DPO": ("train_dpo", [*steps(256), "--examples", str(cfg.samples // 2), "--batch_size", "128", "--beta",
                              str(cfg.beta), "--label_noise", "1"]),
        "GFN": ("train_gfn", [*steps(128), "--batch_size", "128"]),
    }  # fmt: skip


def compare_rng(cfg: Config, out: Path) -> None:
    """Run all methods on rng; print, write and draw what each should reach and what it reached."""
    rows, drawn = {}, {}
    for name, (script, flags) in rng_runs(cfg).items():
        folder = out / name.lower().replace(", ", "-").replace(" ", "-")
        result = start(script, folder, *flags, "--model", cfg.model, "--seed", str(cfg.seed), "--no-plot")
        found = json.loads((folder / "distribution.json").read_text())
        if "base" not in drawn:
            drawn["base"] = (found["base"], None)
            rows["base"] = describe(found["base"], found["base"], found["base"])
        optimum = found["target"]
        if name == "PPO, entropy":  # argmax E[r] + c H: every valid string has the same reward, so they are even
            optimum = [1 / len(found["texts"])] * len(found["texts"])
        rows[name] = describe(found["policy"], optimum, found["base"]) | {"seconds": result["seconds"]}
        drawn[name] = (found["policy"], optimum)
    texts = found["texts"]
    print(f"\n{'':14} {'valid':>8} {'entropy':>8} {'max p':>8} {'KL(u,p)':>9} {'TV to p*':>9} {'KL(p*,p)':>9} {'s':>6}")
    for name, row in rows.items():
        print(f"{name:14} {row['valid_mass']:8.5f} {row['entropy']:8.3f} {row['largest']:8.3f} "
              f"{row['kl_uniform']:9.2g} {row['tv_optimum']:9.2g} {row['kl_optimum']:9.2g} "
              f"{row.get('seconds', 0):6.0f}")  # fmt: skip
    atomic_write(out / "compare.json", json.dumps({"texts": texts, "rows": rows, "distributions": drawn}, indent=1))
    print("figure:", plot.compare_distributions(out))


def describe(policy: list[float], optimum: list[float], base: list[float]) -> dict[str, float]:
    """Compare a distribution over the valid strings with uniform, with its method's optimum and with the base.

    entropy (nats; log 101 = 4.615 is uniform) and largest: given a valid response; kl_uniform: KL(uniform, policy);
    tv_optimum, kl_optimum: given a valid response.
    """
    p, t, b = (torch.tensor(x, dtype=torch.float64).log() for x in (policy, optimum, base))
    q = p.log_softmax(0)
    uniform = torch.full_like(q, -math.log(len(q)))
    return {
        "valid_mass": p.exp().sum().item(),
        "entropy": -exact.kl(q, torch.zeros_like(q)),
        "largest": q.max().exp().item(),
        "kl_uniform": exact.kl(uniform, p),
        "tv_optimum": exact.tv(t.log_softmax(0), q),
        "kl_optimum": exact.kl(t.log_softmax(0), q),
        "kl_base": exact.kl(q, b.log_softmax(0)),
    }


# ---------------------------------------------------------------- texts: the price of reward in KL


def compare_texts(cfg: Config, out: Path) -> None:
    """Run PPO and DPO at several strengths, and best-of-n; print, write and draw gold score against KL."""
    common = ["--task", cfg.task, "--model", cfg.model, "--seed", str(cfg.seed), "--temperature", str(cfg.temperature)]
    rm = start("train_rm", out / "rm", *common)
    steps = {batch: ["--steps", str(max(1, cfg.samples // batch))] for batch in (64, 128)}  # responses a step
    # Gold scores of the base spread by about a quarter, rewards of the model by 1.
    ppo = {"PPO, RM": ["--reward", str(out / "rm")], "PPO, gold": ["--reward", "gold", "--reward_scale", "4"]}
    dpo = [*common, *steps[64], "--data", str(out / "rm" / "preferences.jsonl")]
    runs = [(name, "train_ppo", beta, f"ppo-{name[5:].lower()}", [*common, *steps[128], *flags])
            for name, flags in ppo.items() for beta in (0.4, 0.2, 0.1, 0.05, 0.02)]  # fmt: skip
    runs += [("DPO", "train_dpo", beta, "dpo", dpo) for beta in (1.0, 0.5, 0.2, 0.1, 0.05)]
    points = []
    for name, script, beta, folder, flags in runs:
        result = start(script, out / f"{folder}-{beta:g}", *flags, "--beta", str(beta))
        points.append({"method": name, "beta": beta, "kl": result["eval/kl"], "gold": result["eval/gold"]})
    best = best_of_n(cfg, out)
    print(f"\nreward model: held-out accuracy {rm['eval/accuracy']:.3f}, label ceiling {rm['label_ceiling']:.3f}")
    print(f"{'method':12} {'beta or n':>9} {'KL':>7} {'gold':>7}")
    for point in points + best:
        print(f"{point['method']:12} {point.get('beta', point.get('n')):9g} {point['kl']:7.2f} {point['gold']:7.3f}")
    atomic_write(out / "compare.json", json.dumps({"points": points + best, "task": cfg.task}, indent=1))
    print("figure:", plot.frontier(out))


def best_of_n(cfg: Config, out: Path, n_max: int = 64, prompts: int = 128) -> list[dict]:
    """Return gold score and KL of best-of-n by gold score and by reward, n = 1, 2, 4 ... n_max, of the base's samples.

    The KL is the analytic bound, each mean is over all subsets of n of the n_max samples: see `bon`.
    """
    model, tokenizer, base = load_policy(cfg.model)
    model.requires_grad_(False)
    here = setting(cfg.task, tokenizer, 0, model.device)
    asked = here.task.prompts("validation", prompts, cfg.seed)
    noise, encoded = torch.Generator().manual_seed(cfg.seed), [tokenizer.encode(prompt) for prompt in asked]
    sampled = respond(model, tokenizer, encoded, here.rule, n_max, cfg.temperature, noise)
    texts = [response.text for answers in sampled for response in answers]
    repeated = [prompt for prompt in asked for _ in range(n_max)]
    gold = torch.tensor(here.gold(repeated, texts), dtype=torch.float64).view(-1, n_max)
    reward = torch.tensor(from_run(str(out / "rm"), model, base)(repeated, texts)).view(-1, n_max)
    found = []
    for method, by in (("best of n by gold", gold), ("best of n by RM", reward)):
        means = bon.curve(by, gold).mean(0).tolist()  # (n_max,)
        for n in (2**i for i in range(n_max.bit_length())):
            found.append({"method": method, "n": n, "kl": bon.kl_bound(n), "gold": means[n - 1]})
    return found


# ---------------------------------------------------------------- sentences: the price of likelihood in diversity


def compare_sentences(cfg: Config, out: Path) -> None:
    """Compare GFlowNets, at several temperatures of their reward, with decoding: see `sentences` and `tempered`."""
    flags = ["--task", cfg.task, "--model", cfg.model, "--seed", str(cfg.seed)]
    flags += ["--init", cfg.init] if cfg.init else []
    flags += ["--steps", str(cfg.steps)] if cfg.steps else []
    if cfg.task == "next_sentence":  # all end sentences as the base does, where it has learned it
        own = next_sentence.flags_of(cfg.init)
        flags += [word for name in own for word in (f"--{name}", str(own[name]))]

    def train(T: float) -> Path:
        start("train_gfn", out / f"gfn-{T:g}", *flags, "--reward_temperature", str(T))
        return out / f"gfn-{T:g}"

    SENTENCES[cfg.task].compare(cfg, out, train)


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv)
    cfg.samples = cfg.samples or (100_000 if cfg.task == "rng" else 10_000)
    cli.check_ranges(cfg, samples=(512, 1e9), beta=(1e-6, 1e6), entropy=(0, 1e3), temperature=(0.01, 100),
                     steps=(0, 1e9), prompts=(2, 1e6), n=(2, 1e4))  # fmt: skip
    if cfg.init and cfg.task not in SENTENCES or cfg.task == "grammar" and not cfg.init:
        raise UserError("--init SFT_RUN goes with --task grammar, which needs it: the bare base says none of its "
                        "sentences.\npython train_sft.py --task grammar --out SFT_RUN")  # fmt: skip
    cli.show(cfg, changed)
    out = Path(cfg.out or f"runs/compare-{cfg.task}")
    (compare_rng if cfg.task == "rng" else compare_texts if cfg.task in TEXTS else compare_sentences)(cfg, out)


if __name__ == "__main__":
    cli.main(main)
