"""The interface of a text encoder, and the table of the families that implement it.

A family is one class in one file; `encoders/text.py` enters it into the table.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from marnet.choices import TextPooling
from marnet.errors import EncoderError, suggest


class TextOptions(NamedTuple):
    """Options of text encoders besides the name; each family reads those that concern it."""

    trainable: bool = False  # fine-tune the encoder; bow, tags and words learn a projection
    dimensions: int | None = 128  # bow: of the SVD; bow, tags and words: width of a learned projection
    max_vocabulary: int = 4096  # bow, tags, words
    pooling: TextPooling = "mean"  # hf
    max_length: int = 256  # hf: tokens
    cache: Path | None = None  # hf, frozen: keep vectors below this folder


class TextEncoder(nn.Module, ABC):
    """A text encoder: B strings to semantic vectors x_s `(B, width)`.

    Only `MARNet.training_outputs` calls it; prediction never does. A class outside the package may implement this
    interface too, and is named `module:PACKAGE.CLASS`; it then learns from the training texts as the built-in ones do.
    """

    width: int  # D_s
    trainable: bool
    vocabulary: tuple[str, ...] = ()  # the words that it knows; empty where it takes any text
    placeholder: ClassVar[str] = ""  # stands for the part of the name after the prefix; "" where there is none

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, width)` of B texts."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return JSON values from which `restore` rebuilds the encoder; "kind" is the family's name."""

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that say nothing to the encoder, each once; by default there are none."""
        return ()

    def save_files(self, folder: Path) -> None:
        """Write the files that `restore` needs besides the settings and the weights; most encoders need none."""

    @classmethod
    @abstractmethod
    def build(cls, name: str, texts: Sequence[str], options: TextOptions) -> "TextEncoder":
        """Build an encoder.

        Args:
            name: the whole name, such as "bow" or "hf:FOLDER".
            texts: the training texts, repeats and blanks allowed.
            options: the rest.

        Raises:
            EncoderError: the encoder cannot be built.
        """

    @classmethod
    @abstractmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
    ) -> "TextEncoder":
        """Rebuild the encoder that `settings` describes; the caller loads its weights afterwards.

        Args:
            settings: as the method `settings` returned them.
            state: the weights by name, from which an encoder may read the sizes of its parts.
            folder: the folder that was given to `save_files`; it may be missing.
            cache: keep vectors below this folder; None keeps them in memory.

        Raises:
            EncoderError: an optional package or a model that the run does not hold is missing.
            KeyError: the settings are incomplete.
        """

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse a name of the family that is wrong after its prefix; by default none is."""

    @classmethod
    def list_names(cls, family: str) -> list[str]:
        """Return the family's names; an empty list if anything may follow the prefix."""
        return [] if cls.placeholder else [family]


TEXT_ENCODERS: dict[str, type[TextEncoder]] = {}  # by family; filled by encoders/text.py


def find_family(name: str) -> type[TextEncoder]:
    """Return the class that builds the text encoder `name`.

    Raises:
        EncoderError: the name is unknown, or the part after the prefix is missing, wrong or not allowed.
    """
    family, separator, rest = name.partition(":")
    if family not in TEXT_ENCODERS:
        raise EncoderError(
            f"Text encoder {name!r} is not known. Expected {_all_forms()}.{suggest(family, TEXT_ENCODERS)}"
        )
    found = TEXT_ENCODERS[family]
    if bool(rest) != bool(found.placeholder) or bool(separator) != bool(rest):
        expected = _form(family) if found.placeholder else f"{family} alone"
        wrong = "names no encoder after the prefix" if found.placeholder else "says more than its family takes"
        raise EncoderError(f"Text encoder {name!r} {wrong}. Expected {expected}.")
    found.check_name(name)
    return found


def _form(family: str) -> str:
    placeholder = TEXT_ENCODERS[family].placeholder
    return f"{family}:{placeholder}" if placeholder else family


def _all_forms() -> str:
    *most, last = map(_form, TEXT_ENCODERS)
    return f"{', '.join(most)} or {last}"
