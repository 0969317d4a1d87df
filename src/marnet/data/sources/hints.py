"""Words for a data source that cannot be found: what it seems to be, and what may be meant."""

import re
from collections.abc import Iterable
from pathlib import Path

from marnet.errors import DataError, shorten, suggest

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_SUFFIXES = (".csv", ".jsonl", ".parquet")
_MOST_NAMES = 1000  # in a folder, that are compared with the one that was given


def refuse_address(source: str) -> None:
    """Refuse the address of something elsewhere.

    Raises:
        DataError: `source` begins as `s3://` and `https://` do.
    """
    address = _ADDRESS.match(source)
    if address is not None:
        raise DataError(
            f"Data source {source!r} is an address ({address['scheme']}://), but marnet does not read addresses yet. "
            f"Copy the data to this computer, and name the file or folder. Datasets of the Hugging Face Hub are named "
            f"hf-dataset:NAME."
        )


def home_of(source: str) -> Path:
    """Return a source as a path, with `~` as the home folder.

    Raises:
        DataError: nobody has the name after `~`, the path holds a null character or is too long, or a folder of it may
            not be read.
    """
    if "\0" in source:
        raise DataError(f"Data source {source!r} holds a null character, which no path can. Check the path.")
    try:
        path = Path(source).expanduser()
        path.exists()  # raises where the name is too long or a folder may not be read
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"Data source {shorten(repr(source))} cannot be used: {reason}. Check the path.") from None
    except RuntimeError:
        raise DataError(
            f"Data source {source!r} begins with the home folder of a user that does not exist here. Check the path; "
            f"a file whose name begins with ~ is named ./~NAME."
        ) from None
    return path


def hint_at_path(path: Path) -> str:
    """Return " Did you mean ...?" for a path that does not exist, or "".

    Example:
        >>> hint_at_path(Path("products"))
        " Did you mean 'products.csv'?"
    """
    text = str(path)
    slashes = Path(text.replace("\\", "/"))
    try:
        if "\\" in text and slashes.exists():
            return f" Did you mean {str(slashes)!r}? Backslashes separate no folders here."
        longer = [each for suffix in _SUFFIXES if (each := path.with_name(path.name + suffix)).is_file()]
        if longer:
            return f" Did you mean {' or '.join(repr(str(each)) for each in longer)}?"
        near = suggest(path.name, _names(path.parent.iterdir())) if path.parent.is_dir() else ""
    except (OSError, ValueError):  # a name that is too long, a folder that may not be read
        return ""
    return near or (" Folders are separated by / here, not by backslashes." if "\\" in text else "")


def _names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path, _ in zip(paths, range(_MOST_NAMES), strict=False)]
