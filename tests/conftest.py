"""Fixtures that several test files share: tiny random models, their twins in transformers, a tiny vocabulary."""

from dataclasses import asdict

import pytest
import stages
import torch

from minalign.model import GPT2, GPT2Config
from minalign.nano.bpe import number_merges, train_bpe, write_vocab
from minalign.tokenizer import Tokenizer

torch.set_num_threads(
    1
)  # models this small only lose time to a second thread, and results depend on the number of threads


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def make_model():
    """Return a maker of random models, `make_model(n_layer=3, ...)`.

    The weights are ten times larger than GPT-2's at the start, biases and layer norms are random too: with a fresh
    model's small numbers almost any mistake hides below the tolerance.
    """

    def make(std: float = 0.2, seed: int = 1, **settings) -> GPT2:
        torch.manual_seed(seed)
        small = dict(vocab_size=67, n_positions=32, n_embd=24, n_layer=2, n_head=3, initializer_range=std)
        model = GPT2(GPT2Config(**small | settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter += 0.2 * torch.randn_like(parameter)
        return model

    return make


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture(scope="session")
def twin_of():
    """Return a maker of transformers' GPT-2 with the weights of one of ours, copied without minalign.hub."""
    transformers = pytest.importorskip("transformers")

    def make(model: GPT2):
        off = dict(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, attn_implementation="eager")
        twin = transformers.GPT2LMHeadModel(transformers.GPT2Config(**asdict(model.config), **off)).eval()
        matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # Conv1D in transformers: (in, out)
        twin.load_state_dict(
            {
                key: w.t() if key.endswith(matrices) else w
                for key, w in model.state_dict().items()
                if not key.startswith("heads.")
            }
        )
        return twin

    return make


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    """A vocabulary of 500 tokens in which 0..100 are one token each, in a folder as Hugging Face writes it."""
    folder = tmp_path_factory.mktemp("vocabulary")
    texts = ["Tom lost his lantern at the market. Anna found it in the snow, 42 steps away.\n"] * 3
    write_vocab(folder, *train_bpe(texts, 243, number_merges()))
    return Tokenizer.from_folder(folder)


@pytest.fixture(scope="session")
def rng_folder(tmp_path_factory):
    """A model folder for the rng task: one random layer, and a vocabulary in which its prompts are short.

    The head's first dimension makes numbers likely and then the stop, as pre-training would: about 98 % of the base's
    responses are numbers, of a skewed distribution.
    """
    from minalign import hub
    from minalign.nano.numbers import MAIN_PROMPT, TEMPLATES

    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_vocab(folder, *train_bpe([MAIN_PROMPT, *TEMPLATES.values()] * 3, 340, number_merges()))
    vocabulary = Tokenizer.from_folder(folder)
    torch.manual_seed(3)
    model = GPT2(GPT2Config(vocabulary.n_vocab, n_positions=96, n_embd=24, n_layer=1, n_head=2, initializer_range=0.15))
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = 3
        model.transformer.wte.weight[[vocabulary.encode(str(n))[0] for n in range(101)], 0] = 3.0
        model.transformer.wte.weight[vocabulary.eot, 0] = 6.0
    hub.save_pretrained(model, folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a random model of two layers, for runs of the scripts."""
    return stages.write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """The same with room for the prompts of every task."""
    return stages.write_tiny(tmp_path_factory.mktemp("models") / "roomy", 320)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files: 16 pairs to learn from and 8 that are held out."""
    folder, rows = tmp_path_factory.mktemp("data"), stages.pairs()
    return stages.write(folder / "train.jsonl", rows[:16]), stages.write(folder / "eval.jsonl", rows[16:])
