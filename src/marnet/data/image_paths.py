"""From the name of an image in a table to its path, and hints for a path at which there is none."""

import os
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # tried for a name without one


def is_url(image: str) -> bool:
    """Return True for an address such as `https://...` or `s3://...`.

    Example:
        >>> is_url("s3://bucket/a.jpg"), is_url("C:/pictures/a.jpg")
        (True, False)
    """
    return _URL.match(image) is not None


def image_path(folder: Path, name: str) -> str:
    """Return the absolute path of an image that a table in `folder` names; a URL comes back as it is.

    Dots are resolved: `..` after a link means the folder above the one that is linked, as the file system reads it.

    Args:
        folder: absolute.
        name: a path, absolute or relative to `folder`, or a URL.
    """
    if is_url(name):
        return name
    path = os.path.join(folder, name)  # noqa: PTH118 (speed)
    plain = os.path.normpath(path)
    if ".." not in path:
        return plain
    parent, last = os.path.split(path)
    if last in ("", ".", "..") or _real(parent) == _real(os.path.dirname(plain)):  # noqa: PTH120 (speed)
        return plain
    return os.path.join(_real(parent), last)  # noqa: PTH118 (speed)


def missing_reason(image: str) -> str:
    """Return why there is no file at a path, worded to follow it, with what may be meant."""
    if image.startswith("file://"):
        return f"is an address. Write the path alone: {unquote(image.removeprefix('file://'))}"
    if is_url(image):
        return "is an address, but images are read from files. Download it, and name the file."
    hint = ""
    if "\\" in image and os.sep != "\\":
        hint = " It holds backslashes; on this system folders are separated by '/'."
    elif "/~" in image or image.startswith("~"):
        hint = " '~' is not replaced by your home folder; write the path in full."
    elif "%" in image and os.path.isfile(unquote(image)):  # noqa: PTH113 (speed)
        hint = f" There is a file {os.path.basename(unquote(image))!r}: write names as they are, not as in addresses."  # noqa: PTH119
    elif (other := _in_other_case(image)) is not None:
        hint = f" There is a file {other!r}: small and capital letters differ here."
    elif not os.path.splitext(image)[1]:  # noqa: PTH122 (speed)
        found = next((suffix for suffix in _SUFFIXES if os.path.isfile(image + suffix)), None)  # noqa: PTH113 (speed)
        hint = f" There is a file with {found!r} at the end: give the names with their suffix." if found else ""
    return f"does not exist. Check the path.{hint}"


def _in_other_case(image: str) -> str | None:
    """Return the name of a file in the same folder that differs from the image's in case alone."""
    folder, name = os.path.split(image)
    return _names_in(folder).get(name.casefold())


@lru_cache(maxsize=16)
def _names_in(folder: str) -> dict[str, str]:
    try:
        return {name.casefold(): name for name in os.listdir(folder)}  # noqa: PTH208 (speed)
    except OSError:
        return {}


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
