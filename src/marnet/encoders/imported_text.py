"""`module:PACKAGE.NAME`: your own text encoder by its import path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from marnet.encoders.imported import make_module
from marnet.encoders.text_encoder import TextEncoder, TextOptions
from marnet.encoders.unique_texts import UniqueTextTable
from marnet.errors import EncoderError
from marnet.imported import PREFIX, import_object

_WHAT = "text encoder"


class ImportedText(TextEncoder):
    """A text encoder from outside the package.

    Args:
        path: its import path, with or without the prefix.
        encoder: the encoder: a `torch.nn.Module` with an int attribute `width` that maps B texts to `(B, width)`.
        trainable: train it; otherwise every different text is encoded once, with the weights as they are.

    Raises:
        EncoderError: `encoder` is something else.
    """

    placeholder: ClassVar[str] = "PACKAGE.NAME"

    def __init__(self, path: str, encoder: Any, *, trainable: bool) -> None:
        super().__init__()
        self.path = path.removeprefix(PREFIX)
        width = getattr(encoder, "width", None)
        if not isinstance(encoder, nn.Module) or not isinstance(width, int):
            raise EncoderError(
                f"The text encoder module:{self.path} is a {type(encoder).__name__} whose width is {width!r}. Expected "
                f"a torch.nn.Module with an int attribute `width` that maps a list of B texts to a tensor (B, width)."
            )
        self.trainable = trainable
        self.width = width
        self.encoder = encoder.requires_grad_(trainable)
        self.table = None if trainable else UniqueTextTable(self._encode, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, D_s)` of B texts.

        Raises:
            EncoderError: the encoder returned something else.
        """
        vectors = self.encoder(texts) if self.table is None else self.table(texts)
        if not isinstance(vectors, Tensor) or vectors.shape != (len(texts), self.width):
            found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise EncoderError(
                f"The text encoder module:{self.path} returned {found} for {len(texts)} texts. Expected a tensor "
                f"({len(texts)}, {self.width})."
            )
        return vectors

    def settings(self) -> dict[str, Any]:
        """Return the import path, and of a `TextEncoder` its own settings under "own"."""
        settings = {"kind": "module", "path": self.path, "trainable": self.trainable}
        return settings | ({"own": self.encoder.settings()} if isinstance(self.encoder, TextEncoder) else {})

    def save_files(self, folder: Path) -> None:
        """Let a `TextEncoder` write its files; a plain module has none."""
        if isinstance(self.encoder, TextEncoder):
            self.encoder.save_files(folder)

    @classmethod
    def build(cls, name: str, texts: Sequence[str], options: TextOptions) -> "ImportedText":
        """Import an encoder; a `TextEncoder` class learns from the texts, anything else is called without arguments."""
        found = _import(name)
        family = _family(found)
        encoder = make_module(found, name, what=_WHAT) if family is None else family.build(name, texts, options)
        return cls(name, encoder, trainable=options.trainable)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
    ) -> "ImportedText":
        """Import the encoder again; a `TextEncoder` class restores it from its own settings."""
        path, trainable = settings["path"], settings["trainable"]
        found = _import(path)
        family = _family(found)
        if family is None:
            return cls(path, make_module(found, path, what=_WHAT), trainable=trainable)
        own = {name.removeprefix("encoder."): tensor for name, tensor in state.items()}
        return cls(path, family.restore(settings["own"], own, folder, cache=cache), trainable=trainable)

    def _encode(self, texts: Sequence[str]) -> Any:
        with torch.no_grad():
            return self.encoder.eval()(texts).cpu().numpy()


def _import(path: str) -> Any:
    return import_object(path, what=_WHAT, error=EncoderError)


def _family(found: Any) -> type[TextEncoder] | None:
    return found if isinstance(found, type) and issubclass(found, TextEncoder) else None
