"""Best-of-n sampling, and the plain way to ask any model or run for responses.

    python sample_bon.py --prompt "Anna, a baker, found an old map." --init runs/ppo-sentiment-nano
    python sample_bon.py --data prompts.txt --n 1 --init runs/ppo-sentiment-nano           # prompt >>> response
    python sample_bon.py --task sentiment --reward runs/rm-sentiment-nano --n 64           # best of 1, 2 ... 64
    python sample_bon.py --samples runs/bon-sentiment-nano --reward runs/other-rm          # score them once more

Each prompt gets n responses, which share its encoding; the first --reward, the proxy, ranks them, the others are
scored beside it, and so is the task's gold score. One set of n samples estimates best of 1, 2 ... n, all without bias
(minalign/bon.py). KL(best of n || policy) is at most log n - (n - 1)/n. On rng and grammar, whose responses can be
listed, the exact values stand beside the estimates.

    gold  rouge1 rouge2 rougeL bleu      the task's score; overlap with the reference (a record's completion)
    RUN  file.py:function                a reward model of train_rm.py; score(prompts, responses) -> numbers
    classifier:MODEL:LABEL               probability of LABEL for prompt + response, from a BERT or RoBERTa
    likelihood                           log-prob, nats, under the model that --init was trained from (else --model)

Files: samples.jsonl (rank 1 is the best; logprob: of the response with its end, nats, under the distribution that
sampled it, temperature and top-p included), best.jsonl, best_of_n.json (the curves), result.json, best_of_n.png.
In Python:

    import torch; from minalign.generate import generate; from minalign.stage import load_policy
    model, tokenizer, base = load_policy("nano", init=None)  # init: a run's folder
    prompts = torch.tensor([tokenizer.encode("Anna, a baker, found an old map.")])
    samples = generate(model, prompts, tokenizer.eot, n=2, max_new_tokens=256)
    print([tokenizer.decode(ids[:n]) for ids, n in zip(samples.tokens.tolist(), samples.lengths.tolist())])
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from minalign import bon, cli, compilation, console, data, dist, exact, plot, precision, rewards, scores, stage
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write
from minalign.generate import StopRule, generate, left_pad
from minalign.model import GPT2
from minalign.nano.corpus import SPLITS
from minalign.records import Record
from minalign.respond import text_of
from minalign.run import Run, pick_device, seed_everything
from minalign.samples import finished, read_rows, settings_of
from minalign.scores import OVERLAP, Rows, Score
from minalign.tasks import next_sentence, rng
from minalign.tasks.setting import TEXTS, WORLDS, Setting, World, setting
from minalign.tokenizer import Tokenizer

TASKS = (*WORLDS, "next_sentence", *TEXTS)
TALK = {"n": 1}  # one prompt without a reward
ENDS = ("max_response", "min_response", "illegal", "target", "grammar_reward")
PRESETS = {"sentiment": {"temperature": 0.7}, "descriptiveness": {"temperature": 0.7}}  # of Ziegler et al., as PPO's


@dataclass
class Config:
    task: str | None = flag(None, "its prompts (but for --data, --prompt, --samples), stop rule and gold score",
                            choices=TASKS)  # fmt: skip
    data: tuple[str, ...] = flag((), "prompts: files of records, whose completions are references, or .txt, one a "
                                 "line; or hh, imdb, puns, tldr:FILE, cnndm:FILE")  # fmt: skip
    prompt: str | None = flag(None, "one prompt; without --out nothing is written")
    samples: str | None = flag(None, "score these instead of drawing any: a samples.jsonl, or a run that has one")
    model: str = flag("nano", "nano (bundled), a hub id such as gpt2, or a folder with GPT-2 weights")
    init: str | None = flag(None, "folder of the run that is sampled")
    reward: tuple[str, ...] = flag((), "scores, the first picks the best: gold, a run of train_rm.py, "
                                   f"file.py:function, {', '.join(OVERLAP)}, classifier:MODEL:LABEL, likelihood")
    by: str | None = flag(None, "name of the score that picks instead")
    split: tuple[str, ...] = flag(("test",), "parts of the task's prompts")
    examples: int = flag(100, "prompts of each part or file, 0 = all of a file; rng and grammar: times that their one "
                         "prompt is asked")  # fmt: skip
    # sampling
    n: int = flag(16, "responses to each prompt")
    best_of: tuple[int, ...] = flag((), "the n of the table and of result.json; none = 1, 2, 4 ... n")
    temperature: float = flag(1.0, "divides the logits")
    top_k: int = flag(0, "sample from the k likeliest tokens, 0 = all")
    top_p: float = flag(1.0, "sample from the fewest tokens with this probability (nucleus), 1 = all")
    greedy: bool = flag(False, "take the likeliest token, with --n 1")
    max_response: int = flag(0, "tokens of a response at most, 0 = the task's own limit (own data: 256)")
    min_response: int = flag(1, "next_sentence: tokens before the full stop at least; default: the --init run's")
    illegal: str = flag("basic", "next_sentence: impossible tokens; default: the --init run's",
                        choices=("basic", "published"))  # fmt: skip
    max_prompt: int = flag(0, "tokens of a prompt at most, its end is kept; 0 = what the model's context allows")
    rows: int = flag(256, "responses written at a time, which bounds memory; other numbers draw other samples")
    seed: int = flag(1, "of sampling and of a task's prompts")
    device: str = flag("auto", "auto, cpu, cuda, cuda:1 or mps")
    dtype: str = flag("auto", "of matrix products and weights; auto = bf16 where the hardware has it, but fp32 for "
                      "nano", choices=("auto", *precision.DTYPES))  # fmt: skip
    compile: bool = flag(False, "compile the model's blocks; on a GPU capture decoding; pays off in long runs there")
    # the rng and grammar tasks
    target: str = flag("uniform", f"rng: one of {', '.join(rng.DEFAULTS)}, or a file of lines `text probability`")
    grammar_reward: str = flag("animals", "grammar: its gold reward, animals, happy, length, words:SEED or table:SEED")
    out: str | None = flag(None, "run folder; default runs/bon-TASK-MODEL, with the next number if taken")
    resume: bool = flag(False, "continue the sampling in --out; the result is that of an uninterrupted run")
    overwrite: bool = flag(False, "delete the run in --out first")
    max_seconds: float = flag(0.0, "end after the prompts at which this time is over, go on with --resume; 0 = off")
    plot: bool = flag(True, "draw the figure")
    dry_run = False  # not a flag; stage.open_run asks

    def __post_init__(self):
        cli.check_ranges(self, examples=(0, 1e8), n=(1, 1e6), temperature=(0.01, 100), top_k=(0, 1e9), top_p=(1e-6, 1),
                         max_response=(0, 1e5), min_response=(1, 1e4), max_prompt=(0, 1e6), rows=(1, 1e6),
                         max_seconds=(0, 1e9))  # fmt: skip
        if not (self.task or self.data or self.prompt is not None or self.samples):
            raise UserError(f"give --task, --data FILE, --prompt TEXT or --samples FILE.\n"
                            f"Tasks: {', '.join(TASKS)}.")  # fmt: skip
        if self.prompt is not None and (self.data or self.samples):
            raise UserError("--prompt is all there is to answer: leave out --data and --samples.")
        if self.task in WORLDS and (self.data or self.prompt is not None):
            raise UserError(f"--task {self.task} has one prompt of its own: leave out --data and --prompt.")
        if not self.samples:
            check_best_of(self, self.n)
        if self.greedy and self.n > 1:
            raise UserError(f"--greedy writes one response to a prompt: it needs --n 1, found {self.n}.")
        if not (self.data or self.samples or self.examples):
            raise UserError("--examples 0: a task has prompts without end; give a number.")
        if self.resume and (self.samples or not self.out):
            raise UserError("--resume continues sampling: it needs --out FOLDER, and no --samples.")


def check_best_of(cfg: Config, N: int) -> None:
    """Raise a UserError unless all of --best_of are 1 to N."""
    if bad := [n for n in cfg.best_of if not 1 <= n <= N]:
        raise UserError(f"--best_of {bad[0]}: expected 1 to {N}, as many as there are responses to each prompt.")


def preset(given) -> dict:
    """Return the presets of a task; and where responses end, as the run has it whose samples or whose sentences these
    are, since a likelihood counts the end, and a GFlowNet learned its own."""
    task, run = given.task, settings_of(given.samples or given.init)
    if given.samples and not task and {"likelihood", "gold"} & set(given.reward):
        task = run.get("task") if run.get("task") in TASKS else None
        if not run and not given.max_response and "likelihood" in given.reward:
            raise UserError(f"--reward likelihood counts the end of a response, and no run.json beside {given.samples} "
                            "says where it is.\nGive --task; of own data --max_response, as it was sampled.")
    found = {"task": task} | PRESETS.get(task, {}) | ({"examples": 0} if given.data else {})
    if run.get("task") == task and (given.samples or task == "next_sentence"):
        found |= {name: run[name] for name in ENDS if isinstance(run.get(name), str | int)}
    return found | (TALK if given.prompt is not None and not given.reward else {})


# ---------------------------------------------------------------- prompts


def find_prompts(cfg: Config, here: Setting, tokenizer: Tokenizer) -> dict[str, list[Record]]:
    """Return {split: prompts}; a reference is a record's response. Of own data a file is a split."""
    if cfg.prompt is not None:
        return {"prompt": [Record(cfg.prompt)]}
    if cfg.data:
        found = data.read_prompts(cfg.data, tokenizer)
        return {split: records[: cfg.examples or None] for split, records in found.items()}
    splits = ("test",) if here.world else getattr(here.task, "SPLITS", SPLITS)
    if unknown := [name for name in cfg.split if name not in splits]:
        raise UserError(f"--split {unknown[0]}: {cfg.task} has {', '.join(splits)}.")
    if here.world:
        return {"test": [Record(here.world.prompt)] * cfg.examples}
    if not set(cfg.reward) & set(OVERLAP):
        return {s: [Record(prompt) for prompt in here.task.prompts(s, cfg.examples, cfg.seed)] for s in cfg.split}
    if not hasattr(here.task, "completions"):
        raise UserError(f"--reward {cfg.reward[0]} compares with references, which {cfg.task} has not.")
    return {s: here.task.completions(s, cfg.examples, cfg.seed) for s in cfg.split}


def read_samples(cfg: Config, tokenizer: Tokenizer) -> list[Rows]:
    """Return the rows of each prompt in --samples, with the references of --data."""
    found = [r for records in data.read_prompts(cfg.data, tokenizer).values() for r in records if r.responses]
    references = {data.as_text(r.prompt, tokenizer): r.responses[0] for r in found}
    groups: dict[str, Rows] = {}
    for row in read_rows(cfg.samples):
        if cfg.data and row["prompt"] not in references:
            raise UserError(f"--samples {cfg.samples} has other prompts than --data, where none has a completion for\n"
                            f"{row['prompt'][:100]!r}.")  # fmt: skip
        row |= {"scores": row.get("scores") or {}} | ({"reference": references[row["prompt"]]} if cfg.data else {})
        # The same prompt may have been asked several times: "id" is its number.
        groups.setdefault(json.dumps([row.get("split"), row.get("id"), row["prompt"]]), []).append(row)
    return list(groups.values())


# ---------------------------------------------------------------- scores


def find_scores(cfg: Config, here: Setting, policy: GPT2, base: str, tokenizer: Tokenizer, known: list[str]):
    """Return {name: score}, those of --reward and then gold where the task has it (not of a --prompt that is only to be
    answered); known: names that samples have."""
    found: dict[str, Score] = {}
    shared = None if cfg.samples else policy  # a backbone lends itself to one reward model
    gold = here.gold and "gold" not in known and (cfg.prompt is None or cfg.reward)
    for spec in dict.fromkeys([*cfg.reward, *(["gold"] if gold else [])]):
        name = Path(spec).expanduser().resolve().name
        name = spec if name in {*found, *known, "gold"} else name
        if name in known:
            raise UserError(f"--reward {spec}: {cfg.samples} has scores of that name; --by {name} picks by them.")
        if spec == "gold":
            if not here.gold:
                lacks = f"{cfg.task} has no gold score" if cfg.task else "the gold score is a task's: give --task"
                raise UserError(f"--reward gold: {lacks}, or another reward.")
            found[name] = scores.of_texts(here.gold)
        elif spec == "likelihood":
            ref = stage.load_policy(*stage.origin(cfg))[0] if cfg.init else policy
            precision.place(ref, cfg.dtype, policy.device)
            found[name] = scores.likelihood(ref.requires_grad_(False), tokenizer, here.rule, cfg.rows)
        elif spec in scores.OVERLAP:
            found[name] = scores.overlap(spec)
        elif spec.startswith("classifier:"):
            found[name] = scores.classified(spec, policy.device)
        elif ".py:" in spec:
            found[name] = scores.of_texts(rewards.from_file(spec))
        else:
            trained = rewards.from_run(spec, shared, "" if cfg.samples else base, policy.device)
            trained.model.compute_in(policy.dtype)
            found[name] = scores.of_texts(trained)
            shared = None
    return found


# ---------------------------------------------------------------- numbers


def curves(told: list[Rows], names: list[str], by: str, N: int) -> dict[str, dict[str, list[float | None]]]:
    """Return {score: {"mean", "se"}} of best of 1 ... N by a score, means and standard errors over prompts."""
    columns = {name: torch.tensor([[row["scores"][name] for row in rows[:N]] for rows in told]) for name in names}
    found = {}
    for name in names:
        of = bon.curve(columns[by], columns[name])  # (prompts, N)
        se = (of.std(0) / len(of) ** 0.5).tolist() if len(of) > 1 else [None] * N
        found[name] = {"mean": of.mean(0).tolist(), "se": se}
    return found


def exact_curve(world: World, model: GPT2, N: int) -> dict[str, list[float]]:
    """Return the exact gold score of best of 1 ... N by itself, and its KL to the policy; all else is one outcome."""
    logprobs = exact.outcomes(world.logprobs(model)).log_softmax(0)  # (K + 1,)
    texts = [*world.texts, ""]
    gold = torch.tensor(world.gold([world.prompt] * len(texts), texts), dtype=torch.float64)
    laws = [bon.law(logprobs, gold, n) for n in range(1, N + 1)]
    return {"exact_gold": [(p.exp() @ gold).item() for p in laws], "exact_kl": [exact.kl(p, logprobs) for p in laws]}


def best_of_n(cfg: Config, run: Run, groups: dict[str, list[Rows]], by: str, law: dict) -> dict[str, float]:
    """Write best.jsonl and best_of_n.json, print the table; return its numbers, flat."""
    told = [answers for part in groups.values() for answers in part]
    run.rows("best.jsonl", [min(answers, key=lambda row: row["rank"]) for answers in told])
    N = min(map(len, told))
    if N < max(map(len, told)):
        print(f"some prompts have only {N} responses: the curves use the first {N} of each")
    rows = [row for answers in told for row in answers]
    names = scores.numbers_of(rows)
    every = range(1, N + 1)
    bounds = {"kl_bound": list(map(bon.kl_bound, every)), "win_rate_bound": list(map(bon.win_rate_bound, every))}
    found = {split: curves(part, names, by, N) for split, part in groups.items()}
    if run.writes:
        atomic_write(run.path / "best_of_n.json",
                     json.dumps({"by": by, "n": list(every), **bounds, **law, "splits": found}) + "\n")  # fmt: skip
    shown, numbers = cfg.best_of or sorted({2**i for i in range(N.bit_length())} | {N}), {}
    print(f"\nbest of n by {by}, mean and standard error over prompts")
    for split, of in found.items():
        print(f"{split:12} {'n':>5} {'KL <=':>7}", *(f"{name[-18:]:>18}" for name in names), *(f"{x:>12}" for x in law))
        for n in shown:
            cells = [(name, of[name]["mean"][n - 1], of[name]["se"][n - 1]) for name in names]
            print(f"{'':12} {n:5} {bon.kl_bound(n):7.3f}",
                  *(f"{mean:9.4f}" + (" " * 9 if se is None else f" +-{se:6.4f}") for _, mean, se in cells),
                  *(f"{x[n - 1]:12.4f}" for x in law.values()))  # fmt: skip
            for name, mean, se in cells:
                numbers |= {f"{split}/{name}/best_of_{n}": mean, f"{split}/{name}/best_of_{n}_se": se}
    return numbers | {f"{key}/best_of_{n}": x[n - 1] for key, x in (bounds | law).items() for n in shown}


def describe(part: list[Rows], tokenizer: Tokenizer) -> dict[str, float]:
    """Return a split's numbers of prompts and responses, mean length (tokens), share of different texts, stop rate."""
    rows = [row for answers in part for row in answers]
    found = {"prompts": len(part), "responses": len(rows),
             "length": sum(len(tokenizer.encode(row["response"])) for row in rows) / len(rows),
             "distinct": sum(len({row["response"] for row in answers}) for answers in part) / len(rows)}  # fmt: skip
    if all("stopped" in row for row in rows):
        found["stop_rate"] = sum(row["stopped"] for row in rows) / len(rows)
    return found


# ---------------------------------------------------------------- sampling


def answer(cfg: Config, policy: GPT2, tokenizer: Tokenizer, rule: StopRule, split: str, batch: list) -> Rows:
    """Sample cfg.n responses to each prompt of a batch: (its id, record, token ids); return rows with token ids."""
    # A generator of its own: what was drawn before, in this process or another one, does not matter.
    noise = torch.Generator().manual_seed(random.Random(f"{cfg.seed} {split} {batch[0][0]}").getrandbits(32))
    prompts, prompt_mask = left_pad([ids for *_, ids in batch], rule.stop, policy.device)
    found: list[Rows] = [[] for _ in batch]
    for start in range(0, cfg.n, cfg.rows):  # one prompt's samples may need several passes; a batch of several one
        n = min(cfg.rows, cfg.n - start)
        drawn = generate(policy, prompts, n=n, temperature=cfg.temperature, top_k=cfg.top_k, top_p=cfg.top_p,
                         greedy=cfg.greedy, prompt_mask=prompt_mask, generator=noise, **rule.settings())  # fmt: skip
        columns = drawn.tokens, drawn.mask.sum(1), drawn.stopped, drawn.logprobs.sum(1)
        for i, (tokens, length, stopped, logprob) in enumerate(zip(*(x.tolist() for x in columns))):
            number, record, ids = batch[i // n]
            prompt = record.prompt if isinstance(record.prompt, str) else tokenizer.decode(ids)
            row = {"prompt": prompt, "response": text_of(tokenizer, tokens[:length]), "stopped": stopped, "scores": {},
                   "split": split, "id": number, "logprob": logprob, "tokens": tokens[:length]}  # fmt: skip
            found[i // n].append(row | ({"reference": record.responses[0]} if record.responses else {}))
    return [row for rows in found for row in rows]


def main(argv: list[str]) -> None:
    cfg, changed = cli.parse(Config, argv, preset)
    stage.refuse_unused(cfg, argv)
    talk = cfg.prompt is not None and not cfg.out
    if not talk:
        cli.show(cfg, changed)
    device = pick_device(cfg.device)
    seed_everything(cfg.seed)
    policy, tokenizer, base = stage.load_policy(cfg.model, cfg.init)
    cfg.dtype = precision.place(policy.eval().requires_grad_(False), cfg.dtype, device)
    compilation.activate(policy) if cfg.compile else None
    here = setting(cfg.task, tokenizer, cfg.max_response, device, cfg.target, cfg.grammar_reward)
    if cfg.task == "next_sentence":
        here.rule = next_sentence.stop_rule(tokenizer, cfg.max_response, cfg.min_response, cfg.illegal)

    # data: prompts, or samples that are there already
    old = read_samples(cfg, tokenizer) if cfg.samples else []
    if here.world and (other := [rows[0]["prompt"] for rows in old if rows[0]["prompt"] != here.world.prompt]):
        raise UserError(f"--samples {cfg.samples} has other prompts than --task {cfg.task}: {other[0][:100]!r}.")
    known = scores.numbers_of([row for rows in old for row in rows])
    wanted = find_scores(cfg, here, policy, base, tokenizer, known)
    # Of samples with scores the first one has picked before.
    names = [*known, *wanted] if known and not cfg.reward else [*wanted, *known]
    by = cfg.by or (names[0] if names else None)
    if cfg.by:
        cli.check_choice("by", cfg.by, names)
    if old:
        check_best_of(cfg, min(map(len, old)))
        if not by:
            raise UserError(f"--samples {cfg.samples}: these have no scores; give --reward to add one.")
    batches: list[tuple[str, list]] = []
    for split, records in () if old else find_prompts(cfg, here, tokenizer).items():
        encoded, cut = data.encode([Record(r.prompt, where=r.where) for r in records], tokenizer, here.rule,
                                   policy.config.n_positions, cfg.max_prompt)  # fmt: skip
        if cut.n_prompts_cut or not talk:
            print(f"{split}: {cut.n} prompts, {cut.n_prompts_cut} cut to their last {cut.max_prompt} tokens")
        asked = [(i, r, e.prompt or [tokenizer.eot]) for i, (r, e) in enumerate(zip(records, encoded))]
        batches += [(split, part) for part in data.chunks(asked, max(1, cfg.rows // cfg.n))]

    if talk:
        run = Run(Path("nothing"), writes=False)
    elif cfg.resume:
        run = Run(cfg.out, resumed=True)
        if not (run.path / "run.json").is_file():
            raise UserError(f"--resume: {run.path} is no run folder\nstart it without --resume")
    else:
        run = stage.open_run(cfg, "bon", cfg.task, [cfg.samples, *cfg.data, *cfg.reward])
    run.max_seconds = cfg.max_seconds
    run.start(cfg, device, free=("best_of",))

    # rollout: sample, score, rank and write a batch of prompts
    done = finished(run.path / "samples.jsonl", [cfg.n * len(part) for _, part in batches]) if cfg.resume else []
    rows = [row for batch in [*old, *done] for row in batch]
    for group in old:
        scores.add(group, wanted)
        scores.rank(group, by)
    if old:
        run.rows("samples.jsonl", rows)
    progress = tqdm(total=len(batches), initial=len(done), desc="best of n", disable=dist.rank() or len(batches) < 2)
    with progress, run.graceful_signals():
        for number, (split, part) in enumerate(batches[len(done) :], len(done) + 1):
            batch = answer(cfg, policy, tokenizer, here.rule, split, part)
            scores.add(batch, wanted)
            for group in data.chunks(batch, cfg.n) if by else ():
                scores.rank(group, by)
            batch = [{key: x for key, x in row.items() if key != "tokens"} for row in batch]
            run.append("samples.jsonl", batch)
            rows += batch
            progress.update()
            run.listen()
            if run.stopping:
                run.leave(number, progress)

    # log, evaluate, save
    groups: dict[str, list[Rows]] = {}
    for group in old or data.chunks(rows, cfg.n):
        groups.setdefault(str(group[0].get("split", "samples")), []).append(group)
    shown = [{"stopped": True} | row | {"scores": {name: row["scores"][name] for name in names}}
             for row in rows if row.get("rank", 1) == 1]  # fmt: skip
    for part in data.chunks(shown, 1) if talk else [shown]:
        console.samples(part, 4 if cfg.task or old else len(part))
    numbers = {f"{split}/{key}": x for split, part in groups.items() for key, x in describe(part, tokenizer).items()}
    if not talk:
        print(", ".join(f"{key} {value:.4g}" for key, value in numbers.items()))
    if by:
        drawn_plainly = not (old or cfg.top_k or cfg.greedy) and cfg.temperature == cfg.top_p == 1
        law = exact_curve(here.world, policy, cfg.n) if here.world and drawn_plainly and by == "gold" else {}
        numbers |= best_of_n(cfg, run, groups, by, law)
        if cfg.plot and run.writes:
            print("figure:", plot.best_of_n(run.path))
    result = run.result(numbers)
    print(f"{run.path}: {result['seconds']:.0f} s, {result['peak_memory_mb']:.0f} MB peak")


if __name__ == "__main__":
    cli.main(main)
