"""`random:NAME`: a placebo for the text encoder NAME. Equal texts stay equal, but their meaning is gone."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from marnet.encoders.text_encoder import TEXT_ENCODERS, TextEncoder, TextOptions, find_family
from marnet.encoders.unique_texts import UniqueTextTable
from marnet.errors import EncoderError

_PREFIX = "random:"


class RandomText(TextEncoder):
    """A random unit vector for each different text, which depends on the text alone.

    Args:
        width: D_s, the width of the encoder that it replaces.

    Example:
        >>> RandomText(4)(["red", "green", "red"]).shape
        torch.Size([3, 4])
    """

    placeholder: ClassVar[str] = "NAME"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.trainable = False
        self.table = UniqueTextTable(self._encode, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, D_s)` of B texts."""
        return self.table(texts)  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """Return the width, from which `restore` rebuilds the encoder."""
        return {"kind": "random", "width": self.width}

    @classmethod
    def build(cls, name: str, texts: Sequence[str], options: TextOptions) -> "RandomText":
        """Build a placebo that is as wide as the encoder that it replaces."""
        if options.trainable:
            raise EncoderError(
                f"Text encoder {name!r} gives fixed vectors, which cannot be trained. Set `text.trainable=false`."
            )
        inner = name.removeprefix(_PREFIX)
        return cls(find_family(inner).build(inner, texts, options).width)

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
    ) -> "RandomText":
        """Rebuild the placebo; its vectors follow from the texts."""
        return cls(settings["width"])

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse a placebo of an encoder that does not exist."""
        find_family(name.removeprefix(_PREFIX))

    @classmethod
    def list_names(cls, family: str) -> list[str]:
        """Return one name for each name of the other families."""
        others = ((inner, found) for inner, found in TEXT_ENCODERS.items() if inner != family)
        return [f"{family}:{name}" for inner, found in others for name in found.list_names(inner)]

    def _encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.stack([random_unit_vector(text, self.width) for text in texts])


def random_unit_vector(text: str, width: int) -> np.ndarray[Any, Any]:
    """Return a vector `(width,)` of length 1 that depends on the text alone; directions are uniformly distributed."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(width)
    return np.asarray(vector / np.linalg.norm(vector))
