"""Frozen encoders that measure text: sentence embeddings and entailment, BERT and RoBERTa from scratch.

    encoder = sentence_encoder("nano")                # the bundled model's own states: nothing is downloaded
    encoder = sentence_encoder("all-MiniLM-L6-v2")    # or any hub id or folder of a BERT with mean pooling
    similarities = encoder(texts) @ encoder(texts).T  # cosines: rows have length one
    entails = classifier("roberta-large-mnli")        # a BERT or RoBERTa with a classification head
    p = entails([(premise, hypothesis), ...])[:, entails.labels.index("ENTAILMENT")]

Shapes: n texts, B rows of a batch, T tokens, D width, H heads, C classes.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minalign import hub
from minalign.errors import UserError
from minalign.files import read_json
from minalign.model import ACTIVATIONS
from minalign.subwords import Subwords, byte_bpe, wordpiece
from minalign.tokenizer import FILES, Tokenizer

# Each model type's vocabulary files, and how its tokenizer is made of them.
TOKENIZERS = {"bert": (("vocab.txt",), wordpiece), "roberta": (FILES, byte_bpe)}
SETTINGS = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer_config.json")
SHORT = ("all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "bert-large-nli-stsb-mean-tokens")  # without their organisation
UNUSED = ("embeddings.position_ids", "embeddings.token_type_ids", "cls.", "lm_head.", "pooler.")
CENTRE = 16  # training documents of each genre, whose mean is taken off the nano encoder's vectors

Text = str | tuple[str, str]


# ---- the network -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class BertConfig:
    """The fields of Hugging Face's BERT and RoBERTa configs that change the computation."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"  # the exact one, not GPT-2's tanh form
    pad_token_id: int = 0

    @property
    def first_position(self) -> int:
        """Return the first token's position: RoBERTa counts from pad + 1, and leaves the rows below unused."""
        return self.pad_token_id + 1 if self.model_type == "roberta" else 0


class Layer(nn.Module):
    """One post-norm layer (Vaswani et al. 2017, section 3.1): LN(x + f(x)), where GPT-2 has x + f(LN(x))."""

    def __init__(self, config: BertConfig):
        super().__init__()
        D, inner = config.hidden_size, config.intermediate_size
        self.heads, self.activation = config.num_attention_heads, ACTIVATIONS[config.hidden_act]
        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict({name: nn.Linear(D, D) for name in ("query", "key", "value")}),
            "output": _dense_norm(D, config),
        })  # fmt: skip
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(D, inner)})
        self.output = _dense_norm(inner, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        B, T, D = x.shape
        q, k, v = (f(x).view(B, T, self.heads, -1).transpose(1, 2) for f in self.attention["self"].values())
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(B, T, D)  # every token
        out = self.attention["output"]
        x = out["LayerNorm"](x + out["dense"](y))
        inner = self.activation(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](inner))


def _dense_norm(width: int, config: BertConfig) -> nn.ModuleDict:
    D = config.hidden_size
    return nn.ModuleDict({"dense": nn.Linear(width, D), "LayerNorm": nn.LayerNorm(D, eps=config.layer_norm_eps)})


class Bert(nn.Module):
    """BERT (Devlin et al. 2018) or RoBERTa (Liu et al. 2019), with a head for `classes` classes where that is not 0."""

    def __init__(self, config: BertConfig, classes: int = 0):
        super().__init__()
        self.config = config
        D = config.hidden_size
        rows = {"word": config.vocab_size, "position": config.max_position_embeddings,
                "token_type": config.type_vocab_size}  # fmt: skip
        # Not nn.Embedding(n, D): to draw its weights without memory imports torch's compiler, which takes seconds.
        self.embeddings = nn.ModuleDict({
            **{f"{name}_embeddings": nn.Embedding.from_pretrained(torch.empty(n, D)) for name, n in rows.items()},
            "LayerNorm": nn.LayerNorm(D, eps=config.layer_norm_eps),
        })  # fmt: skip
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))})
        if classes and config.model_type == "roberta":
            self.classifier = nn.ModuleDict({"dense": nn.Linear(D, D), "out_proj": nn.Linear(D, classes)})
        elif classes:
            self.pooler, self.classifier = nn.ModuleDict({"dense": nn.Linear(D, D)}), nn.Linear(D, classes)

    def forward(self, tokens: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """Return the hidden states (B, T, D). tokens, segments: (B, T) int64. mask: (B, T) bool, padding right."""
        e = self.embeddings
        positions = torch.arange(tokens.size(1), device=tokens.device) + self.config.first_position
        x = e["word_embeddings"](tokens) + e["position_embeddings"](positions) + e["token_type_embeddings"](segments)
        x = e["LayerNorm"](x)  # (B, T, D)
        seen = None if bool(mask.all()) else mask[:, None, None]  # (B, 1, 1, T): padding is no key
        for layer in self.encoder["layer"]:
            x = layer(x, seen)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the classes' logits (B, C), read at the first token."""
        if self.config.model_type == "roberta":
            return self.classifier["out_proj"](self.classifier["dense"](hidden[:, 0]).tanh())
        return self.classifier(self.pooler["dense"](hidden[:, 0]).tanh())


# ---- files -----------------------------------------------------------------------------------------------------------
def _read_config(folder: Path) -> tuple[BertConfig, dict]:
    """Return the config and all of config.json; UserError where it is no BERT or RoBERTa that is computed as here."""
    path = folder / "config.json"
    raw = read_json(path)
    if not raw:
        raise UserError(f"{path}: expected a JSON object with model_type bert or roberta; it is missing or damaged.\n"
                        "Give a folder with config.json, model.safetensors and the vocabulary files.")  # fmt: skip

    def refuse(key: str, expected: str):
        raise UserError(f"{path}: {key} is {json.dumps(raw.get(key))}; expected {expected}.\n"
                        "Encoders are BERT or RoBERTa models; the bundled nano embeds sentences too.")  # fmt: skip

    if raw.get("model_type") not in list(TOKENIZERS):
        refuse("model_type", " or ".join(TOKENIZERS))
    if (raw.get("position_embedding_type") or "absolute") != "absolute":
        refuse("position_embedding_type", "absolute")
    if raw.get("hidden_act", "gelu") not in list(ACTIVATIONS):
        refuse("hidden_act", "one of " + ", ".join(ACTIVATIONS))
    if raw["model_type"] == "roberta":
        raw = {"pad_token_id": 1} | raw
    for field in fields(BertConfig):
        value = raw.get(field.name, field.default)
        most = 1000 if field.name == "num_hidden_layers" else 10**9  # layers are made one by one
        if field.type is int and (type(value) is not int or not (field.name != "pad_token_id") <= value <= most):
            refuse(field.name, f"a positive whole number, at most {most}")
        if field.type is float and type(value) is not float:
            refuse(field.name, "a number such as 1e-12")
    config = BertConfig(**{field.name: raw[field.name] for field in fields(BertConfig) if field.name in raw})
    if config.hidden_size % config.num_attention_heads:
        refuse("num_attention_heads", f"a divisor of hidden_size = {config.hidden_size}")
    return config, raw


def _find(name: str, flag: str, or_nano: str) -> Path:
    """Return the folder of an encoder: a local one, or a download from the hub; checked to hold a vocabulary."""
    def needed(folder: Path) -> Sequence[str]:
        return TOKENIZERS[_read_config(folder)[0].model_type][0]

    folder = Path(name).expanduser()
    if not folder.is_dir():
        hint = f"Give a folder with config.json, model.safetensors and the vocabulary files ({flag} PATH){or_nano}."
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise UserError(f"{flag} {name}: there is no such folder.\n{hint}")
        repo = f"sentence-transformers/{name}" if name in SHORT else name
        folder = hub.download(repo, flag, hint, lambda folder: (needed(folder), SETTINGS))
    for file in needed(folder):
        if not (folder / file).is_file():
            raise UserError(f"{folder}: expected {' and '.join(needed(folder))}; {file} is missing.\n"
                            "Copy it from the model that this one was trained from.")  # fmt: skip
    return folder


def _load(folder: Path, device: torch.device | str, classes: int = 0) -> tuple[Bert, Subwords, int]:
    """Return an encoder in fp32, its tokenizer, and the number of tokens that it reads of a text."""
    config, _ = _read_config(folder)
    tokenizer = TOKENIZERS[config.model_type][1](folder)
    if tokenizer.size > config.vocab_size:
        raise UserError(f"{folder}: the vocabulary has {tokenizer.size} tokens, config.json says {config.vocab_size}.\n"
                        "The files must come from the same model.")  # fmt: skip
    path = hub.weights_file(folder)
    # Some files say bert.encoder..., others encoder...; the oldest call a layer norm's weight and bias gamma and beta.
    prefix = f"{config.model_type}."
    tensors = {key.removeprefix(prefix).replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias"): tensor
               for part in hub.parts(path) for key, tensor in hub.read_tensors(part).items()}  # fmt: skip
    with torch.device("meta"):
        model = Bert(config, classes)
    wanted = model.state_dict().keys()
    if classes and not any(key.startswith("classifier.") for key in tensors):
        raise UserError(f"{path}: expected the weights of a classifier; there is no classification head in it.\n"
                        "Give a model that was fine-tuned to classify, such as roberta-large-mnli.")  # fmt: skip
    state = {key: tensor.to(device, torch.float32, copy=True) for key, tensor in tensors.items()
             if key in wanted or not key.startswith(UNUSED)}  # fmt: skip
    hub.check_tensors(path, state, model, f"{config.model_type} with {config.num_hidden_layers} layers")
    model.load_state_dict(state, assign=True)
    limit = config.max_position_embeddings - config.first_position
    told = (read_json(folder / "sentence_bert_config.json").get("max_seq_length")
            or read_json(folder / "tokenizer_config.json").get("model_max_length") or limit)  # fmt: skip
    if type(told) not in (int, float) or not told >= 4:
        raise UserError(f"{folder}: expected max_seq_length or model_max_length of 4 or more, found {str(told)[:40]}.")
    return model.requires_grad_(False), tokenizer, int(min(told, limit))


def _check_pooling(folder: Path) -> None:
    """Refuse what sentence-transformers would do after BERT, unless it is a mean over the tokens."""
    # Older files have a flag for each mode, newer ones its name.
    pooling = read_json(folder / "1_Pooling" / "config.json")
    modes = {value if isinstance(value, str) else key.removeprefix("pooling_mode_").removesuffix("_tokens")
             for key, value in pooling.items() if key.startswith("pooling_mode") and value}  # fmt: skip
    path = folder / "modules.json"
    modules = path.read_text(encoding="utf-8") if path.is_file() else ""
    layers = set(re.findall(r'"type": *"[\w.]*?(\w+)"', modules)) - {"Transformer", "Pooling", "Normalize"}
    if further := modes - {"mean"} | layers:
        raise UserError(f"{folder}: expected mean pooling and no more layers, found {' and '.join(sorted(further))}.\n"
                        "Use an encoder with mean pooling, such as all-MiniLM-L6-v2, or nano.")  # fmt: skip


# ---- texts to vectors ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Rows:
    """Run a network on texts: each once, beside others of about its length, so that little is padding."""

    frame: Callable[[Text], tuple[list[int], int]]  # a text's ids, and how many of them come before its second part
    run: Callable[[Tensor, Tensor, Tensor], Tensor]  # tokens, mask, second: (B, T), two of them bool -> (B, width)
    width: int
    pad: int
    device: torch.device | str
    batch_size: int

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        """Return run's rows (n, width), float32 on the CPU, in the order of the texts."""
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        framed = [self.frame(text) for text in place]
        order = sorted(range(len(framed)), key=lambda i: len(framed[i][0]))
        out = torch.empty(len(framed), self.width)
        for begin in range(0, len(order), self.batch_size):
            batch = order[begin : begin + self.batch_size]
            ids, first = zip(*(framed[i] for i in batch))
            column = torch.arange(len(ids[-1]), device=self.device)
            tokens = torch.tensor([row + [self.pad] * (len(column) - len(row)) for row in ids], device=self.device)
            mask = column < torch.tensor([[len(row)] for row in ids], device=self.device)  # (B, T)
            second = mask & (column >= torch.tensor(first, device=self.device)[:, None])
            with torch.inference_mode():
                out[batch] = self.run(tokens, mask, second).float().cpu()
        return out[[place[text] for text in texts]]


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of hidden (B, T, D) over the tokens of the mask (B, T)."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@dataclass(frozen=True)
class SentenceEncoder:
    """Embed texts: `encoder(texts)` is (n, D) float32 on the CPU, rows of length one. Made by `sentence_encoder`."""

    label: str  # for tables
    rows: _Rows
    centre: Tensor | float = 0.0

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(self.rows(texts) - self.centre, dim=1)


@dataclass(frozen=True)
class Classifier:
    """Classify texts or pairs: `model(texts)` is (n, C) probabilities, float32 on the CPU. Made by `classifier`."""

    labels: list[str]  # upper case, in the order of the columns
    rows: _Rows

    def __call__(self, texts: Sequence[Text]) -> Tensor:
        return self.rows(texts).softmax(1)


def sentence_encoder(name: str, device: torch.device | str = "cpu", batch_size: int = 64) -> SentenceEncoder:
    """Return a frozen sentence encoder: the mean of the last hidden states over all tokens, scaled to length one.

    Reimers & Gurevych 2019 (1908.10084), section 3. name: "nano" (see `_nano`), or a hub id or folder of a BERT or
    RoBERTa, in sentence-transformers' layout or Hugging Face's. Texts are cut at the model's own `max_seq_length`.
    Raises UserError where a model pools otherwise or has further layers, and where files are missing or damaged.
    """
    if name == "nano":
        return _nano(device, batch_size)
    folder = _find(name, "--encoder", ", or use the bundled --encoder nano")
    _check_pooling(folder)
    model, tokenizer, limit = _load(folder, device)
    label = folder.resolve().name if Path(name).expanduser().is_dir() else name.split("/")[-1]
    return SentenceEncoder(label, _Rows(
        frame=lambda text: tokenizer.frame(text, limit),
        run=lambda tokens, mask, second: _mean(model(tokens, mask, second.long()), mask),
        width=model.config.hidden_size, pad=tokenizer.pad, device=device, batch_size=batch_size,
    ))  # fmt: skip


def _nano(device: torch.device | str, batch_size: int) -> SentenceEncoder:
    """Return the bundled model as a sentence encoder: the mean of its last hidden states, less a fixed mean of such.

    A language model's states share a large common part (Ethayarajh 2019, 1909.00512), so that all texts look alike;
    taken off is the mean of CENTRE documents of each genre from nano's own training data, of a fixed seed.
    Measured on held-out text: stories of different kinds have a mean cosine of 0.21 (0.52 with the mean left in), of
    one kind 0.74. The summary of a post or report is nearer to it than another's with probability 0.91 (MiniLM 0.98).
    The diversities of 24 sets of 8 responses have a rank correlation of 0.90 (0.83) with MiniLM's. It sees kinds and
    wording, hardly who did what: two halves of a story are told from others with probability 0.74 (MiniLM 0.99).
    """
    model, tokenizer = hub.from_pretrained("nano").to(device).requires_grad_(False), Tokenizer.from_folder(hub.NANO)

    def frame(text: str) -> tuple[list[int], int]:
        ids = tokenizer.encode(text)[: model.config.n_positions - 1]
        return [tokenizer.eot, *ids], min(1, len(ids))  # an empty text is the state of the end-of-text token alone

    rows = _Rows(frame, lambda tokens, mask, second: _mean(model(tokens, mask), second), model.config.n_embd,
                 tokenizer.eot, device, batch_size)  # fmt: skip
    from minalign.nano.corpus import GENRES, documents  # only here: the generators are large

    known = [document for genre in GENRES for document, _ in islice(documents("train", 0, genre), CENTRE)]
    centre = rows(["".join(document.parts) for document in known]).mean(0)
    return SentenceEncoder("nano hidden states", rows, centre)


def classifier(name: str, device: torch.device | str = "cpu", batch_size: int = 32, flag: str = "--nli") -> Classifier:
    """Return a frozen classifier of texts or pairs of texts, such as roberta-large-mnli.

    name: a hub id or folder of a BERT or RoBERTa with a classification head. flag: what messages call it. The labels,
    and their order, are those of config.json's `id2label`. Pairs are cut at the model's length, the longer text first.
    Raises UserError where there is no such head, where it is not for one of several classes, and as `sentence_encoder`.
    """
    if name == "nano":
        raise UserError(f"{flag} nano: the bundled model is no classifier.\nGive a hub id such as roberta-large-mnli, "
                        "or a folder with a BERT or RoBERTa and its classification head.")  # fmt: skip
    folder = _find(name, flag, "")
    _, raw = _read_config(folder)
    names = raw.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # transformers writes no names where it has two
    labels = [str(names.get(str(i))).upper() for i in range(len(names))]
    if "NONE" in labels or len(labels) < 2 or raw.get("problem_type") not in (None, "single_label_classification"):
        raise UserError(f"{folder}/config.json: expected id2label of two or more classes from 0, of which one holds.\n"
                        f"Found id2label {json.dumps(names)[:60]}, problem_type {raw.get('problem_type')}")  # fmt: skip
    model, tokenizer, limit = _load(folder, device, len(labels))
    run = lambda tokens, mask, second: model.logits(model(tokens, mask, second.long()))  # noqa: E731
    return Classifier(labels, _Rows(lambda text: tokenizer.frame(text, limit), run, len(labels), tokenizer.pad, device,
                                    batch_size))  # fmt: skip
