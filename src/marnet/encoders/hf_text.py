"""`hf:NAME`: text models of Hugging Face transformers, frozen or fine-tuned, by repository or folder."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from marnet.choices import TextPooling
from marnet.encoders.downloads import downloads_refused, no_downloads
from marnet.encoders.hf_models import find_model, import_transformers, load_pretrained, quiet_transformers
from marnet.encoders.text_cache import EmbeddingCache, Vector
from marnet.encoders.text_encoder import TextEncoder, TextOptions
from marnet.encoders.unique_texts import UniqueTextTable
from marnet.errors import EncoderError

POOLINGS = get_args(TextPooling)
_BATCH = 32  # texts that go through the model together
_SHOW_PROGRESS_FROM = 200  # texts
_SETTING = "text.name"
_PREFIX = "hf:"


class HFText(TextEncoder):
    """The family `hf:`, a text model of transformers: `HFTextEncoder` if it is fine-tuned, else `FrozenHFText`."""

    placeholder: ClassVar[str] = "NAME"
    name: str
    pooling: TextPooling
    max_length: int

    def settings(self) -> dict[str, Any]:
        """Return the name of the model and how its tokens become one vector."""
        return {
            "kind": "hf",
            "name": self.name,
            "pooling": self.pooling,
            "max_length": self.max_length,
            "trainable": self.trainable,
        }

    @classmethod
    def build(cls, name: str, texts: Sequence[str], options: TextOptions) -> "HFText":
        """Load a model from a repository or a folder."""
        name, pooling, max_length = name.removeprefix(_PREFIX), options.pooling, options.max_length
        if options.trainable:
            return load_hf_text(name, pooling=pooling, max_length=max_length).train()
        return FrozenHFText(name, pooling=pooling, max_length=max_length, cache=options.cache)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
    ) -> "HFText":
        """Rebuild the encoder; a fine-tuned one from the files in `folder`, with random weights."""
        name, pooling, max_length = settings["name"], settings["pooling"], settings["max_length"]
        if not settings["trainable"]:
            return FrozenHFText(name, pooling=pooling, max_length=max_length, cache=cache)
        transformers = import_transformers(name)
        config = load_pretrained(transformers.AutoConfig, str(folder), folder)
        tokenizer = load_pretrained(transformers.AutoTokenizer, str(folder), folder)
        with quiet_transformers():
            model = _encoder_half(transformers.AutoModel.from_config(config))
        return HFTextEncoder(name, model, tokenizer, pooling=pooling, max_length=max_length)


class HFTextEncoder(HFText):
    """A text model of transformers that learns: one vector `(D,)` per text.

    Equal texts of a batch go through the model once, `_BATCH` at a time.

    Args:
        name: the repository or folder that the model comes from, for the record.
        model: from `AutoModel`.
        tokenizer: from `AutoTokenizer`.
        pooling: "mean" of the tokens' last hidden states, or "cls", that of the first token.
        max_length: read at most this many tokens of a text; fewer if the model reads fewer.

    Raises:
        EncoderError: the pooling is unknown, or the tokenizer knows no words.
    """

    def __init__(
        self, name: str, model: Any, tokenizer: Any, *, pooling: TextPooling = "mean", max_length: int = 256
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise EncoderError(f"Text pooling {pooling!r} is not known. Expected {' or '.join(POOLINGS)}.")
        check_tokenizer(tokenizer, f"hf:{name}")
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # not used here, so its weights would never learn
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.trainable = True
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length
        self._limit = min(max_length, tokenizer.model_max_length)
        self.width = int(model.config.hidden_size)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, D)` of B texts."""
        unique = list(dict.fromkeys(texts))
        parts = [self.embed(unique[first : first + _BATCH]) for first in range(0, len(unique), _BATCH)]
        if not parts:
            return torch.zeros(0, self.width, device=next(self.model.parameters()).device)
        row_of = {text: row for row, text in enumerate(unique)}
        rows = torch.tensor([row_of[text] for text in texts], device=parts[0].device)
        return torch.cat(parts).index_select(0, rows)  # (unique texts, D) -> (B, D)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return pooled last hidden states `(n, D)` of n texts in one pass."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self._limit, return_tensors="pt")
        tokens = tokens.to(next(self.model.parameters()).device)
        states: Tensor = self.model(**tokens).last_hidden_state  # (n, L, D)
        if self.pooling == "cls":
            return states[:, 0]
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)  # (n, L, 1)
        mean: Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return mean

    def save_files(self, folder: Path) -> None:
        """Write the tokenizer and the architecture, without weights."""
        self.model.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class FrozenHFText(HFText):
    """A frozen text model of transformers: every different text is encoded once and kept on disk.

    The model is loaded only if there are texts that no earlier run has encoded. It is not part of the state dict.

    Args:
        name: a repository or a folder.
        pooling: see `HFTextEncoder`.
        max_length: see `HFTextEncoder`.
        cache: keep vectors below this folder; None keeps them in memory.
    """

    def __init__(
        self, name: str, *, pooling: TextPooling = "mean", max_length: int = 256, cache: Path | None = None
    ) -> None:
        super().__init__()
        self.trainable = False
        transformers = import_transformers(name)
        self.name = name
        self.pooling = pooling
        self.max_length = max_length
        self._local = downloads_refused()  # texts are encoded later, outside of that context
        self._folder = find_model(name, setting=_SETTING)
        config = _text_config(load_pretrained(transformers.AutoConfig, name, self._folder))
        self.width = int(config.hidden_size)
        identity = _identity(name, self._folder, pooling, max_length)
        self._cache = None if cache is None else EmbeddingCache(cache, identity)
        self.table = UniqueTextTable(self._encode, self.width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, D)` of B texts."""
        return self.table(texts)  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """Return the settings; the path of a local folder is made absolute."""
        settings = super().settings()
        return settings | ({"name": str(self._folder.resolve())} if Path(self.name).expanduser().is_dir() else {})

    def _encode(self, texts: Sequence[str]) -> Vector:
        known = {} if self._cache is None else self._cache.read(texts)
        new = [text for text in texts if text not in known]
        if new:
            with no_downloads(self._local or downloads_refused()):
                encoder = load_hf_text(self.name, pooling=self.pooling, max_length=self.max_length)
            made = dict(zip(new, _embed_all(encoder, new), strict=True))
            if self._cache is not None:
                self._cache.append(made)
            known |= made
        return np.stack([known[text] for text in texts])


def load_hf_text(name: str, *, pooling: TextPooling = "mean", max_length: int = 256) -> HFTextEncoder:
    """Load a text model with its published weights, in evaluation mode.

    Args:
        name: a folder, or a repository, which is read from the local cache or downloaded.
        pooling: see `HFTextEncoder`.
        max_length: see `HFTextEncoder`.

    Raises:
        EncoderError: transformers is not installed, or the model cannot be found or loaded.
    """
    transformers = import_transformers(name)
    folder = find_model(name, setting=_SETTING)
    config = _text_config(load_pretrained(transformers.AutoConfig, name, folder))
    model = load_pretrained(transformers.AutoModel, name, folder, config=config).float()
    tokenizer = load_pretrained(transformers.AutoTokenizer, name, folder)
    return HFTextEncoder(name, _encoder_half(model), tokenizer, pooling=pooling, max_length=max_length)


def check_tokenizer(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer without words, which transformers makes up if the files of the model's own are missing.

    Raises:
        EncoderError: it knows no words.
    """
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise EncoderError(
            f"The tokenizer of {name} knows no words. Its own files, such as tokenizer.json, must be in the "
            f"folder of the model's config.json. Save both with save_pretrained into one folder."
        )


def _text_config(config: Any) -> Any:
    return getattr(config, "text_config", config)  # the text half of image-text models such as CLIP


def _encoder_half(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model  # such as T5


def _embed_all(encoder: HFTextEncoder, texts: Sequence[str]) -> Vector:
    """Return float32 vectors `(n, D)` of n texts; texts of similar length share a batch, which needs little padding."""
    encoder = encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors = np.zeros((len(texts), encoder.width), np.float32)
    console = Console(stderr=True)
    quiet = len(texts) < _SHOW_PROGRESS_FROM or not console.is_terminal
    with torch.no_grad(), Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("Encoding texts", total=len(texts))
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            vectors[rows] = encoder.embed([texts[row] for row in rows]).cpu().numpy()
            progress.advance(task, len(rows))
    return vectors


def _identity(name: str, folder: Path, pooling: str, max_length: int) -> str:
    """Return all that vectors depend on: the revision of a repository, or the sizes and times of a folder's files."""
    if Path(name).expanduser().is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        model = hashlib.sha256(json.dumps(stats).encode()).hexdigest()
    else:
        model = f"{name}@{folder.name}"  # the cache names a folder for the revision
    return json.dumps([1, model, pooling, max_length])
