"""What marnet raises when a user can mend the cause.

Every message says what was found, what was needed and what to do. The command line prints the message without a
traceback and exits with code 1; in Python they are ordinary exceptions.
"""

import difflib
from collections.abc import Iterable


class MarnetError(Exception):
    """Base of every error that marnet raises on purpose."""


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


class NonFiniteLossError(MarnetError):
    """A loss term became NaN or infinite during training."""


def suggest(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Return `" Did you mean 'a' or 'b'?"` for the names in `known` nearest to `name`, or `""` if none is near."""
    near = difflib.get_close_matches(name, list(known), n=limit, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
