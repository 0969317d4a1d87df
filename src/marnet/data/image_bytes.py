"""The bytes of an image, from a file of its own or from a piece of a tar file.

A manifest names a piece as `SHARD.tar!OFFSET+SIZE!NAME`, so that it is read without a look at the rest of the tar file.
"""

import io
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from marnet.data.image_paths import is_url, missing_reason

MAX_BYTES = 500_000_000  # of an image file; more is no photo, and would be read into memory
_HEADER, _NAME = 512, 100  # bytes of a member's header in a tar file, and of the name that it begins with
_PIECE = re.compile(r"(?P<tar>.+\.tar)!(?P<offset>\d+)\+(?P<size>\d+)!(?P<name>[^!/]+)", re.DOTALL)


class Piece(NamedTuple):
    """A member of a tar file, by its offset."""

    tar: Path
    offset: int  # in bytes
    size: int
    name: str


class UnreadableError(Exception):
    """A file is no usable picture; the reason is worded to follow its path."""


def name_piece(piece: Piece) -> str:
    """Return a piece as manifests name it."""
    return f"{piece.tar}!{piece.offset}+{piece.size}!{piece.name}"


def parse_piece(image: str) -> Piece | None:
    """Return the piece of a tar file that an image of a manifest names, or None for a file."""
    found = _PIECE.fullmatch(image)
    if found is None:
        return None
    return Piece(Path(found["tar"]), int(found["offset"]), int(found["size"]), found["name"])


def file_of(image: str) -> Path:
    """Return the file on disk that holds an image."""
    piece = parse_piece(image)
    return Path(image) if piece is None else piece.tar


def name_of(image: str) -> str:
    """Return the name of an image without its folders or its tar file."""
    piece = parse_piece(image)
    return Path(image).name if piece is None else piece.name


def open_bytes(image: str) -> IO[bytes]:
    """Open the bytes of an image as a stream from its first to its last one.

    Raises:
        UnreadableError: there is no regular file of a bounded size, or the image is a URL.
        OSError: the file cannot be opened, or the tar file has something else at that offset.
    """
    piece = parse_piece(image)
    if piece is None:
        return _open_file(image, MAX_BYTES)
    if piece.size > MAX_BYTES:
        raise UnreadableError(_too_large(piece.size))
    with _open_file(str(piece.tar), None) as file:
        file.seek(max(0, piece.offset - _HEADER))
        header, content = file.read(_HEADER), file.read(piece.size)
    if header[:_NAME].rstrip(b"\0") != piece.name.encode() or len(content) != piece.size:
        raise OSError(f"{piece.tar} has no {piece.name} there; it seems to have been written anew")
    return io.BytesIO(content)


def read_bytes(image: str) -> bytes:
    """Return the bytes of an image, at least one.

    Raises:
        UnreadableError: there are none.
    """
    try:
        with open_bytes(image) as file:
            content = file.read(MAX_BYTES + 1)  # files of /proc say that they are empty, and may be endless
    except FileNotFoundError:
        raise UnreadableError(missing_reason(image)) from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    if not content:
        raise UnreadableError("is empty (0 bytes). Replace it by a whole copy.")
    if len(content) > MAX_BYTES:
        raise UnreadableError(_too_large(len(content)))
    return content


def check_regular(image: str) -> os.stat_result:
    """Return the status of the file of an image without opening it: opening a pipe or a device may never end.

    Raises:
        UnreadableError: it is no regular file, or a URL. A link to a regular file is one.
        OSError: there is no such file.
    """
    if is_url(image):
        raise UnreadableError(missing_reason(image))
    status = Path(image).stat()
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("is a folder, not an image file. Name a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("is a pipe, a device or a socket, not a regular file. Name an image file.")
    return status


def _open_file(path: str, max_bytes: int | None) -> IO[bytes]:
    status = check_regular(path)
    if max_bytes is not None and status.st_size > max_bytes:
        raise UnreadableError(_too_large(status.st_size))
    return Path(path).open("rb")


def _too_large(size: int) -> str:
    return f"has {size:,} bytes; the limit for an image file is {MAX_BYTES:,}. Save it smaller, or as JPEG."


def shard_offsets(images: Sequence[str]) -> np.ndarray | None:
    """Return `(N, 2)` int64, the number of the tar file of each image and its offset there; None if some are files."""
    pieces = [parse_piece(image) for image in images]
    numbers: dict[Path, int] = {}
    offsets = [(numbers.setdefault(each.tar, len(numbers)), each.offset) for each in pieces if each is not None]
    return np.array(offsets, np.int64).reshape(-1, 2) if len(offsets) == len(images) else None
