"""What a check finds, and how it says it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing that a user should know.

    An error makes training impossible or metrics wrong: no training or validation rows, classes without a training
    image, broken images, equal images in several splits. A warning may well spoil a result; a note is for information.
    """

    severity: Severity
    code: str  # a fixed name such as "broken-images"
    message: str
    examples: tuple[dict[str, Any], ...] = ()  # all of them, save near duplicates beyond the nearest 1000


def count_of(count: int, noun: str) -> str:
    """Return `"1 image"`, `"2 images"`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return `"3 of 12 (25.0 %)"`."""
    return f"{part} of {whole} ({100 * part / whole:.1f} %)"


def some(names: Sequence[str], noun: str) -> str:
    """Return `"3 classes ('a', 'b', 'c')"`, the first few by name."""
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {noun} ({shown})"
