"""Text encoders by name: training texts `(B,)` to semantic vectors x_s `(B, D_s)`.

To add a family, write a `TextEncoder` in a file of its own and enter it below.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from marnet.encoders.hf_text import HFTextEncoder
from marnet.encoders.imported_text import ImportedText
from marnet.encoders.random_text import RandomText
from marnet.encoders.text_encoder import TEXT_ENCODERS, TextEncoder, TextOptions, find_family
from marnet.encoders.unique_texts import has_text
from marnet.encoders.words import WordEncoder
from marnet.errors import EncoderError

__all__ = [
    "TEXT_ENCODERS",
    "TextEncoder",
    "TextOptions",
    "build_text_encoder",
    "check_text_encoder_name",
    "has_text",
    "list_text_encoders",
    "restore_text_encoder",
]

TEXT_ENCODERS |= {
    "bow": WordEncoder,
    "tags": WordEncoder,
    "words": WordEncoder,
    "hf": HFTextEncoder,  # its `build` returns a FrozenHFText unless it is fine-tuned
    "module": ImportedText,
    "random": RandomText,
}


def list_text_encoders(pattern: str = "*") -> list[str]:
    """Return the names of text encoders that match `pattern`, with the wildcards of file names.

    The families hf: and module: take any model or class, and are not listed.

    Example:
        >>> list_text_encoders("random:*")
        ['random:bow', 'random:tags', 'random:words']
    """
    names = [name for family, found in TEXT_ENCODERS.items() for name in found.list_names(family)]
    return [name for name in names if fnmatchcase(name, pattern)]


def check_text_encoder_name(name: str) -> None:
    """Refuse a name that no text encoder has.

    Raises:
        EncoderError: the name is unknown, or the part after the prefix is missing, wrong or not allowed.
    """
    find_family(name)


def build_text_encoder(name: str, texts: Sequence[str], options: TextOptions | None = None) -> TextEncoder:
    """Build a text encoder by name.

    Args:
        name: bow, tags, words, hf:REPOSITORY, hf:FOLDER, module:PACKAGE.NAME or random:NAME.
        texts: the training texts, repeats and blanks allowed. Encoders learn from them here, and frozen ones encode
            them ahead of training.
        options: the rest.

    Raises:
        EncoderError: the name is unknown, the model cannot be loaded, or the texts hold nothing to learn from.

    Example:
        >>> encoder = build_text_encoder("tags", ["red, round", "green, round"])
        >>> encoder(["red, green"]).tolist()
        [[1.0, 1.0, 0.0]]
    """
    options = options or TextOptions()
    encoder = find_family(name).build(name, texts, options)
    if not options.trainable:
        encoder(sorted({text for text in texts if has_text(text)}))  # all at once is faster than batch by batch
    return encoder


def restore_text_encoder(
    settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
) -> TextEncoder:
    """Rebuild the encoder that `settings` describes; the caller loads its weights, `state`, afterwards.

    Args:
        settings: as `TextEncoder.settings` returned them.
        state: the weights by name.
        folder: the folder that was given to `TextEncoder.save_files`.
        cache: keep vectors below this folder; None keeps them in memory.

    Raises:
        EncoderError: the kind is unknown, or an optional package or a model that the run does not hold is missing.
        KeyError: the settings are incomplete.
    """
    kind = settings["kind"]
    if kind not in TEXT_ENCODERS:
        raise EncoderError(
            f"The saved text encoder is of the kind {kind!r}, which this version of marnet does not know. Known kinds: "
            f"{', '.join(TEXT_ENCODERS)}. Load it with the version that wrote it."
        )
    return TEXT_ENCODERS[kind].restore(settings, state, folder, cache=cache)
