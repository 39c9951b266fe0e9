"""Where the time of a step goes, phase by phase, beside the arithmetic floor of each: PPO and both GFlowNet steps.

    python bench/phases.py                         # 124M shape, ours and the peers'; see spent.py for what is measured
    python bench/phases.py --cases ppo --dtypes bf16 --write

PPO: 32 episodes of 32 + 32 tokens, 4 epochs in micro-batches of 8, as in run.py, beside trl's; our value network as a
head on the policy and as an adapter of its own. GFN: the steps of rng_gfn.py and next_sentence_gfn.py beside the
reference's. Functions that the scripts call are wrapped; nothing in them is changed.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import report  # noqa: E402
from machine import DTYPES  # noqa: E402
from spent import Spent  # noqa: E402
from work import SHAPES, write_model, write_pairs  # noqa: E402

HERE = Path(__file__).resolve().parent
GFN = {"gfn rng": ("rng_gfn", "64 samples of 5 tokens at most"),
       "gfn next_sentence": ("next_sentence_gfn", "4 prompts, 8 sentences of 30 tokens each")}  # fmt: skip


def ppo(spent: Spent, *flags: str) -> int:
    """Run train_ppo.py; return the episodes of a step."""
    from ours import steps_of

    import train_ppo
    from minalign import dist, lora
    from minalign.rewards import RewardModel

    def of_policy(model, *args, values=False, **settings) -> str:
        if torch.is_grad_enabled():
            return "update: forward"
        reference = lora.active(model) is None
        return "reference" if reference else "values" if values else "old log-probs"

    spent.updates("update: backward")
    spent.wrap(dist, "clip_gradients", "optimizer")
    spent.wrap(train_ppo, "generate", "rollout")
    spent.wrap(train_ppo, "run_policy", of_policy)
    spent.wrap(train_ppo, "run_values", lambda *args: "update: forward" if torch.is_grad_enabled() else "values")
    spent.wrap(RewardModel, "score", "reward model")
    try:
        steps_of("train_ppo", list(flags), spent.steps + 2, spent.tick)
    except SystemExit:
        return 32


def gfn(spent: Spent, module: str, side: str, shape: str, dtype: str) -> int:
    """Do steps of a GFlowNet; return how many make the amount: one."""
    bench = importlib.import_module(module)
    spent.updates("backward")
    if side == "ours":
        import minalign.generate as library
        from minalign import lora
        from minalign.tasks.rng import Condition

        def of_score(model, *args, **settings) -> str:
            return "log-rewards" if lora.active(model) is None else "policy: forward"

        spent.wrap(library, "generate", "sampling")
        spent.wrap(library, "score", of_score)
        spent.wrap(Condition, "log_reward", "log-rewards")
    else:
        from peft import PeftModelForCausalLM

        # Its steps of decoding have gradients; a pass without any is the frozen base's, for the reward.
        spent.wrap(PeftModelForCausalLM, "forward", lambda *a, **k: "sampling: forward" if torch.is_grad_enabled() else
                   "log-rewards")  # fmt: skip
    step = bench.make(side, shape, dtype, spent.device)
    while True:
        step()
        if spent.tick():
            return 1


def child(case: str, steps: str, device: str, dtype: str, *more: str) -> None:
    """Measure our side of PPO, or either side of a GFlowNet's step, in this process."""
    reference = "reference" in more
    rest = "log-softmax, drawing, loss" if reference else "other"
    spent = Spent(int(steps), torch.device(device), DTYPES[dtype], rest)
    spent.report(ppo(spent, *more) if case == "ppo" else gfn(spent, *more, dtype))


def sides(args: argparse.Namespace, dtype: str, work: Path):
    """Yield what is measured, the unit, and the command."""
    from run import ALL, PPO, reward_model

    me, ran = [sys.executable, __file__, "--child"], [args.steps, args.device, dtype]
    python, model, on_cpu = report.peers_python(), work / "model", args.device == "cpu"
    several = [3 * args.steps, *ran[1:]]  # steps of a GFlowNet are short
    if "ppo" in args.cases:
        data, held = write_pairs(work / "data", 32 * (args.steps + 2), 32, 32), write_pairs(work / "held", 2, 32, 32)
        if (report.PEERS / "trl_ppo").exists() and on_cpu:
            yield "PPO, trl 1.12", "episodes", [python, HERE / "peers" / "ppo.py", model, data, args.steps + 2,
                                                "--phases", *["--bf16"] * (dtype == "bf16")]  # fmt: skip
        flags = [*ALL, *PPO, "--model", model, "--data", data, "--eval_data", held, "--dtype", dtype, "--device",
                 args.device, "--out", work / "out", "--reward", reward_model(work, data, dtype)]  # fmt: skip
        for critic, name in (("shared", "value head on the policy"), ("separate", "value network")):
            yield f"PPO, minalign, {name}", "episodes", [*me, "ppo", *ran, *flags, "--critic", critic]
    for case, (module, _) in GFN.items():
        if case in args.cases:
            if python and on_cpu and not (dtype == "bf16" and module == "next_sentence_gfn"):
                yield f"{case}, reference", "steps", [python, *me[1:], case, *several, module, "reference", args.shape]
            yield f"{case}, minalign", "steps", [*me, case, *several, module, "ours", args.shape]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--cases", default="ppo,gfn rng,gfn next_sentence", type=lambda x: x.split(","))
    p.add_argument("--dtypes", default="fp32,bf16")
    p.add_argument("--shape", default="gpt2", choices=SHAPES)
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--steps", type=int, default=1, help="steps of PPO that are timed, after one that is not; three "
                   "times as many of a GFlowNet")  # fmt: skip
    report.flags(p)
    args = p.parse_args()
    section = report.Section(__file__, args)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "model").mkdir()
        if "ppo" in args.cases:
            write_model(work / "model", args.shape)
        for dtype in args.dtypes.split(","):
            for name, unit, command in sides(args, dtype, work):
                found = report.once(command, report.environment(args))
                if found is None:
                    section.say("", f"**{name}, {dtype}**: failed")
                    continue
                total = sum(seconds for seconds, _, _ in found["phases"].values())
                section.say("", f"**{name}, {dtype}**: {report.number(found['amount'] / total)} {unit}/s, peak "
                            f"{found['peak']:,.0f} MB, {found['others']:.2f} cores used by others")  # fmt: skip
                section.head("phase", "seconds", "share", "GFLOP", "floor, s", "floor / seconds")
                rows = sorted(found["phases"].items(), key=lambda item: -item[1][0])
                rows.append(("**step**", map(sum, zip(*found["phases"].values()))))
                for phase, (seconds, products, floor) in rows:
                    section.row(phase, f"{seconds:.3g}", f"{seconds / total:.1%}", f"{products:,.1f}", f"{floor:.3g}",
                                f"{floor / seconds:.0%}" if floor else "-")  # fmt: skip
    section.close()


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
