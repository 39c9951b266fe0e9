"""Measure how diverse samples are: for each input, across inputs, and overall (Kirk et al. 2024, arXiv 2310.06452).

    python diversity.py runs/sft-sentiment-nano runs/ppo-sentiment-nano       # run folders, or files of samples
    python diversity.py A.jsonl B.jsonl.gz decodes.json --metrics ead,vendi,self_bleu --out runs/mine
    python diversity.py A.jsonl --encoder sentence-transformers/all-MiniLM-L6-v2 --nli roberta-large-mnli
    python diversity.py bon/samples.jsonl --simulate_bon 4 --by gold          # would best of 4 be less diverse?

A file has {"prompt", "response"} a line, or is a .json list of {"input", "output": text or texts}; runs have a
samples.jsonl. With several splits in it each is a row of its own, and so are the human references that it carries.

    per input       the metric on the outputs of one input; mean over inputs, its 95 % bootstrap interval, and std
    across inputs   the metric on a set of one output of each input, the first
    overall         the metric on --overall_size outputs of all inputs, drawn by the seed

    distinct, ead   share of different n-grams, n = 1..5; EAD corrects for their number     0..1
    rarefied        distinct-n at the same number of n-grams for all files: no length bias  0..1
    cosine          1 - cosine of 3-gram counts, mean over pairs                            0..1
    self_bleu       BLEU of each output against the others                                  1..0, low = diverse
    compression     bytes / gzipped bytes                                                   low = diverse
    vendi_ngram     effective number of different outputs, by their 1- and 2-grams          1..outputs
    vendi           the same by sentence embeddings (--encoder)                             1..outputs
    embedding       1 - cosine of sentence embeddings, mean over pairs                      0..2
    nli             P(contradiction) - P(entailment), mean over pairs (--nli)               -1..1
    nli_sentences   the same for 5 random pairs of their sentences                          -1..1

Formulas and sources are in minalign/metrics.py. Compare files with the same inputs, the same number of outputs an
input (--responses) and similar lengths: distinct and EAD fall, self-BLEU and compression rise with length. --words cuts
all outputs to one length. What an embedding says depends on its encoder; nano's is a small one.
Files: diversity.json (all numbers), result.json (the same, flat), per_input.jsonl (of each input), diversity.png.
"""

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from minalign import cli, metrics, plot
from minalign.cli import flag
from minalign.errors import UserError
from minalign.files import atomic_write, plain
from minalign.overlap import self_bleu
from minalign.run import Run, pick_device, run_name
from minalign.samples import by_prompt, read_rows, references, scores_of

METRICS = ("distinct", "ead", "rarefied", "cosine", "self_bleu", "compression", "vendi_ngram")  # of words
EMBEDDED, ENTAILED = ("vendi", "embedding"), ("nli", "nli_sentences")
Pool = dict[str, list[str]]  # the outputs of each input


@dataclass
class Config:
    files: tuple[str, ...] = flag((), "samples: files or run folders; also the first words of the command line")
    metrics: tuple[str, ...] = flag((), "what to measure; default: all, nli and nli_sentences only with --nli",
                                    choices=(*METRICS, *EMBEDDED, *ENTAILED))  # fmt: skip
    encoder: str = flag("nano", "sentence encoder: nano (the bundled model), a hub id or a folder")
    nli: str | None = flag(None, "entailment classifier: a hub id such as roberta-large-mnli, or a folder")
    nli_pairs: int = flag(1000, "pairs of outputs that nli draws from a set that has more, 0 = all")
    ead_vocabulary: int = flag(50257, "V of EAD: words that could occur")
    vendi_order: float = flag(1.0, "order q of the Vendi scores: the larger, the less rare outputs count; inf")
    # which outputs
    prompts: int = flag(0, "inputs of each file that count, the first ones; 0 = all")
    responses: int = flag(0, "outputs an input that count, the first ones; 0 = all")
    words: int = flag(0, "first words of an output that count; 0 = all, -1 = as many as 9 in 10 of every file have")
    overall_size: int = flag(500, "outputs of the overall set; 0 = none")
    references: bool = flag(True, "score the human references that files carry")
    simulate_bon: int = flag(0, "also score best of N: N of an input's outputs drawn, the best kept; 0 = off")
    n_outputs: int = flag(32, "such outputs an input")
    by: str | None = flag(None, "score that says which is best; default: the file's first")
    seed: int = flag(1, "of the overall set, the bootstrap, nli's pairs and simulate_bon")
    device: str = flag("auto", "where encoder and classifier run: auto, cpu, cuda, cuda:1 or mps")
    out: str | None = flag(None, "folder of the result; default runs/diversity, with the next number if taken")
    overwrite: bool = flag(False, "delete the result in --out first")
    plot: bool = flag(True, "draw diversity.png")

    def __post_init__(self):
        if not self.files:
            raise UserError("expected files of samples or run folders\n"
                            "python diversity.py A.jsonl B.jsonl --metrics ead,vendi")
        self.metrics = tuple(dict.fromkeys(self.metrics)) or (*METRICS, *EMBEDDED, *(ENTAILED if self.nli else ()))
        if not self.nli and set(ENTAILED) & set(self.metrics):
            raise UserError("the metrics nli and nli_sentences need --nli, such as --nli roberta-large-mnli")
        cli.check_ranges(self, nli_pairs=(0, 1e9), ead_vocabulary=(2, 1e9), vendi_order=(0, math.inf), prompts=(0, 1e9),
                         responses=(0, 1e9), words=(-1, 1e9), overall_size=(0, 1e9), simulate_bon=(0, 1e6),
                         n_outputs=(1, 1e6), seed=(0, 2**32 - 1))  # fmt: skip


# ---- data ------------------------------------------------------------------------------------------------------------
def read_pools(cfg: Config) -> dict[str, Pool]:
    """Return {row of the table: outputs of each input}: files, their splits, their best of N, and the references."""
    paths = [Path(name).resolve() for name in cfg.files]
    names = [path.name.removesuffix(".gz") for path in paths]
    stems = [path.parent.name if name == "samples.jsonl" else name for path, name in zip(paths, names)]
    pools: dict[str, Pool] = {}
    human: dict[str, dict[str, None]] = {}
    for name, stem in zip(cfg.files, stems):
        rows = read_rows(name)
        splits = list(dict.fromkeys(row.get("split") for row in rows))
        label = name if stems.count(stem) > 1 else stem.removesuffix(".jsonl").removesuffix(".json")
        if label in pools:
            raise UserError(f"{name} is given twice")
        for split in splits:
            key = f"{label} {split}" if len(splits) > 1 else label
            found = by_prompt(row for row in rows if row.get("split") == split)
            found = dict(itertools.islice(found.items(), cfg.prompts or None))
            pools[key] = {p: [row["response"] for row in mine][: cfg.responses or None] for p, mine in found.items()}
            if cfg.simulate_bon:
                pools[f"{key} best of {cfg.simulate_bon}"] = simulate_bon(cfg, name, found)
            for prompt, mine in found.items():
                human.setdefault(prompt, {}).update(dict.fromkeys(itertools.chain(*map(references, mine))))
    if cfg.references and any(human.values()):
        pools["human references"] = {prompt: list(texts) for prompt, texts in human.items() if texts}
    return pools


def simulate_bon(cfg: Config, name: str, found: dict[str, list[dict]]) -> Pool:
    """Return n_outputs outputs of best-of-N an input: the best of N rows drawn without replacement, again and again.

    The draws share rows, so the outputs repeat each other more than independent ones of best-of-N would: the fewer
    rows an input has, the less diverse they look.
    """
    n, pool = cfg.simulate_bon, {}
    by, scores = scores_of(list(itertools.chain(*found.values())), name, cfg.by)
    print(f"{name}: best of {n} by {by}")
    left = iter(scores)
    for prompt, rows in found.items():
        if len(rows) < n:
            raise UserError(f"--simulate_bon {n}: {name} has only {len(rows)} outputs of the input {prompt[:50]!r}")
        choice, scored = random.Random(f"{cfg.seed} {prompt}"), [(next(left), row["response"]) for row in rows]
        drawn = [max(choice.sample(scored, n), key=lambda pair: pair[0]) for _ in range(cfg.n_outputs)]
        pool[prompt] = [text for _, text in drawn]
    return pool


def cut(pools: dict[str, Pool], words: int) -> tuple[dict[str, Pool], int]:
    """Return the pools with outputs of at most `words` words, and that number; -1 finds it."""
    if words == -1:
        lengths = [[len(text.split()) for texts in pool.values() for text in texts] for pool in pools.values()]
        words = max(1, min(int(np.quantile(x, 0.1, method="lower")) for x in lengths))

    def short(text: str) -> str:
        return " ".join(text.split()[:words]) if len(text.split()) > words else text

    return {key: {p: list(map(short, texts)) for p, texts in pool.items()} for key, pool in pools.items()}, words


def views(cfg: Config, pool: Pool) -> dict[str, list[list[str]]]:
    """Return the sets that are measured: one an input, one across inputs, one overall; none of fewer than 2."""
    flat = [text for texts in pool.values() for text in texts]
    drawn = random.Random(cfg.seed).sample(flat, min(cfg.overall_size, len(flat)))
    found = {"per_input": list(pool.values()), "across_input": [[texts[0] for texts in pool.values()]],
             "overall": [drawn]}  # fmt: skip
    return {view: [texts for texts in sets if len(texts) > 1] for view, sets in found.items()}


def remarks(cfg: Config, pools: dict[str, Pool]) -> list[str]:
    """Return what a reader of the numbers should know about the data."""
    said, counts = [], {key: sorted(map(len, pool.values())) for key, pool in pools.items()}
    for key, pool in pools.items():
        few = sum(n < 2 for n in counts[key])
        if few == len(pool):
            said.append(f"{key}: one output an input; per-input metrics need two and are left out")
        elif few:
            said.append(f"{key}: {few} of {len(pool)} inputs have one output; per-input metrics need two and skip them")
        if len(pool) < 2:
            said.append(f"{key}: one input; across-input metrics need two and are left out")
        if sum(counts[key]) < cfg.overall_size:
            said.append(f"{key}: overall is all {sum(counts[key])} outputs, not --overall_size {cfg.overall_size}")
        if empty := sum(not text.strip() for texts in pool.values() for text in texts):
            said.append(f"{key}: {empty} of {sum(counts[key])} outputs are empty")
    sampled = [key for key in pools if key != "human references"]
    if len({n for key in sampled for n in counts[key] if n > 1}) > 1:
        least = min(n for key in sampled for n in counts[key] if n > 1)
        flags = f"--responses {least}" + f" --n_outputs {least}" * bool(cfg.simulate_bon)
        said.append(f"inputs differ in their number of outputs, on which most metrics depend; {flags} makes them equal")
    if len({frozenset(pools[key]) for key in sampled}) > 1:
        both = len(set.intersection(*(set(pools[key]) for key in sampled)))
        said.append(f"the files differ in their inputs: {both} are in all of them")
    if cfg.simulate_bon:
        said.append("outputs of the simulated best of N repeat each other: independent ones would be more diverse")
    return said


# ---- metrics ---------------------------------------------------------------------------------------------------------
def common_counts(sets: list[list[list[str]]]) -> dict[int, int]:
    """Return {n: n-grams that 19 in 20 sets of every file have}, 2 at least: at these `rarefied` compares."""
    found = {}
    for n in metrics.ORDERS:
        totals = [[sum(max(0, len(metrics.words(text)) - n + 1) for text in texts) for texts in mine] for mine in sets]
        least = min((int(np.quantile(x, 0.05, method="lower")) for x in totals if x), default=0)
        if least >= 2:
            found[n] = least
    return found


def functions(
    cfg: Config, counts: dict[int, int], embed: Callable[[list[str]], Tensor], classifier: metrics.Classifier | None
) -> dict[str, Callable[[list[str]], float]]:
    """Return the metrics that are asked for, each a function of the texts of a set."""

    def rarefied(texts: list[str]) -> float:
        found = [metrics.rarefied_distinct(texts, n, m) for n, m in counts.items()]
        return sum(found) / len(found) if found else math.nan

    def nli(texts: list[str], sentences: int = 0) -> float:
        return metrics.nli_diversity(texts, classifier, cfg.nli_pairs, sentences, cfg.seed)

    known = {
        "distinct": metrics.averaged_distinct,
        "ead": lambda texts: metrics.averaged_ead(texts, cfg.ead_vocabulary),
        "rarefied": rarefied,
        "cosine": metrics.ngram_diversity,
        "self_bleu": self_bleu,
        "compression": metrics.compression_ratio,
        "vendi_ngram": lambda texts: metrics.vendi(metrics.ngram_kernel(texts), cfg.vendi_order),
        "vendi": lambda texts: metrics.embedding_vendi(embed(texts), cfg.vendi_order),
        "embedding": lambda texts: metrics.embedding_diversity(embed(texts)),
        "nli": nli,
        "nli_sentences": lambda texts: nli(texts, 5),
    }
    return {name: known[name] for name in cfg.metrics}


def summary(view: str, values: list[float], seed: int) -> dict[str, float]:
    """Return the numbers of one metric and view; {} where it is not defined for any set."""
    values = [value for value in values if not math.isnan(value)]
    if not values or view != "per_input":
        return {view: values[0]} if values else {}
    low, high = metrics.bootstrap(values, seed=seed)
    return {view: float(np.mean(values)), f"{view}_low": low, f"{view}_high": high,
            f"{view}_std": float(np.std(values)), f"{view}_n": len(values)}  # fmt: skip


def show(files: dict[str, dict], names: tuple[str, ...]) -> None:
    """Print one line a metric and file."""
    wide = max(map(len, files))
    print(f"\n{'':14} {'':{wide}}  per input  95 % interval           std  across inputs  overall")
    for name in names:
        for i, (key, file) in enumerate(files.items()):
            found = {k: f"{x:.4g}" for k, x in file["metrics"][name].items() if not math.isnan(x)}
            between = f"{found['per_input_low']} to {found['per_input_high']}" if "per_input_low" in found else ""
            cells = (found.get(view, "-") for view in ("per_input", "per_input_std", "across_input", "overall"))
            value, std, across, overall = cells
            print(f"{name if i == 0 else '':14} {key:{wide}}  {value:>9}  {between:18} {std:>8}  {across:>13}  "
                  f"{overall:>7}")  # fmt: skip
    print("\n" + ", ".join(f"{key}: {file['words']:.1f}" for key, file in files.items()) + " words an output")


def main(argv: list[str]) -> None:
    # The files are the only words without a flag.
    given = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    cfg, changed = cli.parse(Config, (["--files", *given] if given else []) + argv[len(given) :])
    cli.show(cfg, changed)

    # data
    pools, words = read_pools(cfg), cfg.words
    if words:
        pools, words = cut(pools, words)
        print(f"outputs are cut to {words} words")
    for remark in (said := remarks(cfg, pools)):
        print(f"note: {remark}")
    sets = {key: views(cfg, pool) for key, pool in pools.items()}

    # models, before a folder is made
    encoder, classifier, device = None, None, pick_device(cfg.device)
    if set(EMBEDDED) & set(cfg.metrics):
        from minalign.encoders import sentence_encoder  # only here: not every metric needs a model

        encoder = sentence_encoder(cfg.encoder, device)
    if cfg.nli and set(ENTAILED) & set(cfg.metrics):
        from minalign.encoders import classifier as load_classifier

        classifier = load_classifier(cfg.nli, device)
        metrics.nli_columns(classifier.labels)  # an unfit one is an error now, not after the other metrics
    reads = [*cfg.files, cfg.encoder, cfg.nli or ""]
    run = Run.create(cfg.out, run_name("diversity"), None, cfg.overwrite, reads)
    run.start(cfg, device)

    # measure: every text is encoded once, in however many sets it is
    texts = list(dict.fromkeys(text for pool in pools.values() for outputs in pool.values() for text in outputs))
    place, vectors = {text: i for i, text in enumerate(texts)}, None
    if encoder:
        print(f"encoding {len(texts)} texts: {encoder.label}")
        vectors = encoder(texts)  # (texts, D)
    files = {}
    for key, pool in pools.items():
        lengths = [len(metrics.words(text)) for outputs in pool.values() for text in outputs]
        files[key] = {"inputs": len(pool), "outputs": len(lengths), "words": float(np.mean(lengths)),
                      "metrics": {name: {} for name in cfg.metrics}}  # fmt: skip
    alone = {key: [{"file": key, "prompt": prompt} for prompt, outputs in pool.items() if len(outputs) > 1]
             for key, pool in pools.items()}  # fmt: skip
    rarefied_at = {}
    for view in ("per_input", "across_input", "overall"):
        rarefied_at[view] = common_counts([sets[key][view] for key in pools])
        measures = functions(cfg, rarefied_at[view], lambda found: vectors[[place[text] for text in found]], classifier)
        for key, (name, measure) in itertools.product(pools, measures.items()):
            quick = name not in ENTAILED or not run.writes
            slow = tqdm(sets[key][view], f"{name} {view} {key}", disable=quick, leave=False)
            values = [measure(found) for found in slow]
            files[key]["metrics"][name] |= summary(view, values, cfg.seed)
            for row, value in zip(alone[key], values) if view == "per_input" else ():
                row[name] = value

    # report
    show(files, cfg.metrics)
    about = {"encoder": encoder.label if encoder else None, "nli": cfg.nli, "words": words, "notes": said,
             "rarefied_at": rarefied_at}  # fmt: skip
    atomic_write(run.path / "diversity.json", json.dumps(plain(about | {"files": files}), indent=1) + "\n")
    run.rows("per_input.jsonl", [row for rows in alone.values() for row in rows])
    flat = {f"{key}/{name}/{view}": x for key, file in files.items() for name, found in file["metrics"].items()
            for view, x in found.items()}  # fmt: skip
    run.result(flat | {f"{key}/words": file["words"] for key, file in files.items()})
    print(f"{run.path}: diversity.json, per_input.jsonl, result.json")
    if cfg.plot and run.writes:
        print("figure:", plot.diversity(run.path))


if __name__ == "__main__":
    cli.main(main)
