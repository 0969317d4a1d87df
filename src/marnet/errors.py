"""Errors that marnet raises when a user can mend the cause.

Every message begins with what is wrong, says what was found and expected, and ends with what to do. It names settings
and Python arguments in backticks: `` `training.lr` ``, `` `data.on_bad_image=skip` ``, `` `overwrite=True` ``. The
command line shows the flags for them, prints the message without a traceback and exits with code 1; in Python these are
ordinary exceptions.
"""

import difflib
import re
from collections.abc import Iterable

# A name in backticks, possibly with a value, in the groups "name" and "value". A stretch in quotes matches as a whole
# without these groups: it is text of the user, in which a backtick means nothing.
NAMES = re.compile(
    r"(?<!\w)'[^'\n]*'(?!\w)"
    r'|"[^"\n]*"'
    r"|(?<![^\s(\[])`(?P<name>[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*)(?:=(?P<value>[^`\n]*))?`(?![^\s.,;:)\]'])"
)


class MarnetError(Exception):
    """Base of every error that marnet raises on purpose.

    Example:
        >>> import marnet
        >>> try:
        ...     marnet.make_config({"training": {"epochs": 0}})
        ... except marnet.MarnetError as error:
        ...     print(error)
        ...     print(error.settings)
        The configuration cannot be used:
          `training.epochs`: found 0; input should be greater than or equal to 1.
        ('training.epochs',)
    """

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the settings and arguments that the message names in backticks, each once, in their order.

        >>> MarnetError("`training.lr` is -1, but it must be > 0. Try `training.lr=0.001`.").settings
        ('training.lr',)
        """
        names = [match["name"] for match in NAMES.finditer(str(self)) if match["name"] is not None]
        return tuple(dict.fromkeys(names))


class ConfigError(MarnetError):
    """A configuration value or key that cannot be used."""


class DataError(MarnetError):
    """A data source, manifest, label, split or text that cannot be used."""


class ImageError(DataError):
    """An image file that cannot be read as a picture."""


class EncoderError(MarnetError):
    """A backbone or text encoder that is unknown or cannot be loaded."""


class RunDirectoryError(MarnetError):
    """A run directory that is missing, incomplete, damaged or already taken."""


class ExportError(MarnetError):
    """A run that cannot be exported, or an exported file that cannot be used."""


class NonFiniteLossError(MarnetError):
    """A loss term that became NaN or infinite during training."""


class TrainingProcessError(MarnetError):
    """One of several training processes that was killed or failed."""


def list_some(names: Iterable[object], *, most: int = 5) -> str:
    """Return the first names for a message, in quotes, and the number of the others.

    >>> list_some("abcdefg")
    "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(shorten(repr(name)) for name in every[:most]) + more


def shorten(text: str, *, most: int = 200) -> str:
    """Return a text for a message, cut off where it is long.

    >>> shorten("a" * 300, most=10)
    'aaaaaaa...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def suggest(name: str, known: Iterable[str], *, limit: int = 3, cutoff: float = 0.5) -> str:
    """Return the names in `known` that are nearest to `name` as a question, or "" if none is near.

    `cutoff` is the least similarity, from 0 to 1.

    >>> suggest("epoch", ["epochs", "seed"])
    " Did you mean 'epochs'?"
    """
    near = difflib.get_close_matches(name, list(known), n=limit, cutoff=cutoff)
    return f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
