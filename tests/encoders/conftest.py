"""A small text model of transformers, and packages of a user's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT at random with a tokenizer of few words, as `save_pretrained` leaves them."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "round", "long", ","]
    words += ["a", "yellow", "fruit", "that", "is", "peeled"]
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ends = [(word, words.index(word)) for word in ("[CLS]", "[SEP]")]
    rules.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    special = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=32, **shape)
    transformers.utils.logging.disable_progress_bar()
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=rules, model_max_length=32, **special)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def tiny_texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package of text encoders from outside marnet, importable as `tiny_texts`."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "tiny_texts.py").write_text(_TINY_TEXTS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("tiny_texts", None)


_TINY_TEXTS = """
import json
import torch
from marnet.encoders.text_encoder import TextEncoder


class Lengths(torch.nn.Module):
    width = 3

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 3)

    def forward(self, texts):
        return self.layer(torch.tensor([[float(len(text))] for text in texts]).reshape(len(texts), 1))


class Wrong(Lengths):
    width = 4


class Letters(TextEncoder):
    # How often each letter of the training texts occurs, weighted: learns from the texts, has weights, writes a file.

    def __init__(self, letters, trainable):
        super().__init__()
        self.letters, self.trainable, self.width = letters, trainable, len(letters)
        self.weights = torch.nn.Parameter(torch.ones(len(letters)))

    def forward(self, texts):
        counts = [[float(text.count(letter)) for letter in self.letters] for text in texts]
        return torch.tensor(counts).reshape(len(texts), self.width) * self.weights

    def settings(self):
        return {"kind": "letters", "trainable": self.trainable}

    def save_files(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / "letters.json").write_text(json.dumps(self.letters))

    @classmethod
    def build(cls, name, texts, options):
        assert name == "module:tiny_texts.Letters"
        return cls(sorted(set("".join(texts))), options.trainable)

    @classmethod
    def restore(cls, settings, state, folder, *, cache):
        letters = json.loads((folder / "letters.json").read_text())
        assert len(state["weights"]) == len(letters)
        return cls(letters, settings["trainable"])
"""
