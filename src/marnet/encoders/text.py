"""Text encoders: training texts `(B,)` to semantic vectors x_s `(B, D_s)`.

A text encoder is any `nn.Module` that has an int `width` and maps a list of B strings to `(B, width)`. Only
`MARNet.training_outputs` calls it; prediction never does. Named ones come from the table `TEXT_ENCODERS`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from marnet.encoders.hf_text import FrozenHFText, HFTextEncoder, load_hf_text, restore_hf_text
from marnet.encoders.imported import import_encoder
from marnet.encoders.random_text import RandomText
from marnet.encoders.unique_texts import UniqueTextTable, has_text
from marnet.encoders.words import TextKind, WordEncoder, fit_word_encoder, split_tags
from marnet.errors import EncoderError, suggest

__all__ = [
    "TEXT_ENCODERS",
    "TextEncoder",
    "TextKind",
    "TextOptions",
    "UniqueTextTable",
    "WordEncoder",
    "build_text_encoder",
    "check_text_encoder_name",
    "describe_text_encoder",
    "fit_word_encoder",
    "has_text",
    "restore_text_encoder",
    "split_tags",
]


class TextEncoder(Protocol):
    """What MARNet needs of a text encoder; it must also be an `nn.Module`."""

    width: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """x_s `(B, width)` of B texts."""


class TextOptions(NamedTuple):
    """What can be chosen beside the name; each encoder takes what concerns it."""

    trainable: bool = False  # fine-tune it; of bow and tags, learn a projection
    dimensions: int | None = 128  # bow: of the SVD
    max_vocabulary: int = 4096  # bow, tags
    pooling: str = "mean"  # hf: mean or cls
    max_length: int = 256  # hf: tokens
    cache: Path | None = None  # hf, frozen: keep vectors below this folder


class ImportedText(nn.Module):
    """Somebody's own text encoder, `module:package.attr`.

    Args:
        path: its import path.
        trainable: train it; otherwise every different text is encoded once, with the weights as they are.
    """

    def __init__(self, path: str, *, trainable: bool) -> None:
        super().__init__()
        encoder = import_encoder(path)
        width = getattr(encoder, "width", None)
        if not isinstance(encoder, nn.Module) or not isinstance(width, int):
            raise EncoderError(
                f"module:{path} gave a {type(encoder).__name__} whose width is {width!r}; needed a torch.nn.Module "
                f"with an int attribute `width`, that maps a list of B texts to a tensor (B, width)."
            )
        self.path = path
        self.trainable = trainable
        self.width = width
        self.encoder = encoder.requires_grad_(trainable)
        self.table = None if trainable else UniqueTextTable(self._encode, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """x_s `(B, D_s)` of B texts."""
        vectors = self.encoder(texts) if self.table is None else self.table(texts)
        if not isinstance(vectors, Tensor) or vectors.shape != (len(texts), self.width):
            found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise EncoderError(f"module:{self.path} returned {found}; needed ({len(texts)}, {self.width}).")
        return vectors

    def _encode(self, texts: Sequence[str]) -> Any:
        with torch.no_grad():
            return self.encoder.eval()(texts).cpu().numpy()


def build_text_encoder(name: str, texts: Sequence[str], options: TextOptions | None = None) -> nn.Module:
    """Build a text encoder by name.

    Args:
        name: bow, tags, words, hf:REPOSITORY, hf:FOLDER, module:PACKAGE.NAME or random:NAME.
        texts: the training texts, repeats and blanks allowed; what learns from them or encodes ahead does it here.
        options: the rest.

    Raises:
        EncoderError: the name is unknown, the model cannot be had, or the texts hold nothing to learn from.
    """
    check_text_encoder_name(name)
    options = options or TextOptions()
    family, _, rest = name.partition(":")
    encoder = TEXT_ENCODERS[family](rest, texts, options)
    if not options.trainable:
        encoder(sorted({text for text in texts if has_text(text)}))  # all at once is faster than batch by batch
    return encoder


def check_text_encoder_name(name: str) -> None:
    """Refuse a name that no text encoder has.

    Raises:
        EncoderError: it is unknown, or a name beside the prefix is missing or too much.
    """
    family, separator, rest = name.partition(":")
    if family not in TEXT_ENCODERS:
        raise EncoderError(
            f"Text encoder {name!r} is not known; needed bow, tags, words, hf:NAME, module:PACKAGE.NAME or "
            f"random:NAME.{suggest(family, TEXT_ENCODERS)}"
        )
    if bool(rest) != (family in _PREFIXES) or bool(separator) != bool(rest):
        needed = f"{family}:NAME" if family in _PREFIXES else f"{family} alone"
        raise EncoderError(f"Text encoder {name!r} is not complete or says too much; needed {needed}.")
    if family == "random":
        check_text_encoder_name(rest)


def describe_text_encoder(encoder: nn.Module, folder: Path) -> dict[str, Any] | None:
    """What `restore_text_encoder` needs beside the weights; files go into `folder`. None for an encoder it cannot."""
    if isinstance(encoder, WordEncoder):
        return {"kind": encoder.kind, "vocabulary": list(encoder.vocabulary)}
    if isinstance(encoder, HFTextEncoder):
        encoder.save_files(folder)
        return encoder.settings()
    if isinstance(encoder, FrozenHFText):
        return encoder.settings()
    if isinstance(encoder, RandomText):
        return {"kind": "random", "width": encoder.width}
    if isinstance(encoder, ImportedText):
        return {"kind": "module", "path": encoder.path, "trainable": encoder.trainable}
    return None


def restore_text_encoder(
    settings: dict[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
) -> nn.Module:
    """Build what `describe_text_encoder` described; the caller loads its weights, `state`, afterwards.

    Raises:
        EncoderError: an optional package or a model that the run does not hold cannot be had.
        KeyError: the settings are not whole.
    """
    if settings["kind"] == "hf":
        return restore_hf_text(settings, folder, cache=cache)
    if settings["kind"] == "random":
        return RandomText(settings["width"])
    if settings["kind"] == "module":
        return ImportedText(settings["path"], trainable=settings["trainable"])
    projection = state.get("projection.2.weight")
    tables = {name: state[name].numpy() if name in state else None for name in ("idf", "components")}
    return WordEncoder(
        settings["kind"],
        settings["vocabulary"],
        idf=tables["idf"],
        components=tables["components"],
        projection_width=None if projection is None else len(projection),
    )


def _words(kind: TextKind) -> Callable[[str, Sequence[str], TextOptions], nn.Module]:
    def build(_: str, texts: Sequence[str], options: TextOptions) -> nn.Module:
        return fit_word_encoder(
            kind,
            texts,
            dimensions=options.dimensions,
            max_vocabulary=options.max_vocabulary,
            trainable=options.trainable,
        )

    return build


def _hf(name: str, _: Sequence[str], options: TextOptions) -> nn.Module:
    if options.trainable:
        return load_hf_text(name, pooling=options.pooling, max_length=options.max_length).train()
    return FrozenHFText(name, pooling=options.pooling, max_length=options.max_length, cache=options.cache)


def _imported(path: str, _: Sequence[str], options: TextOptions) -> nn.Module:
    return ImportedText(path, trainable=options.trainable)


def _random(name: str, texts: Sequence[str], options: TextOptions) -> nn.Module:
    if options.trainable:
        raise EncoderError(
            f"Text encoder 'random:{name}' gives fixed vectors, which cannot be trained; needed text.trainable=false."
        )
    family, _, rest = name.partition(":")
    return RandomText(int(TEXT_ENCODERS[family](rest, texts, options).width))  # type: ignore[arg-type]


TEXT_ENCODERS: dict[str, Callable[[str, Sequence[str], TextOptions], nn.Module]] = {
    "bow": _words("bow"),
    "tags": _words("tags"),
    "words": _words("words"),
    "hf": _hf,
    "module": _imported,
    "random": _random,
}
_PREFIXES = ("hf", "module", "random")
