"""The bytes of an image, from a file of its own or from a piece of a tar file.

A manifest names a piece as `SHARD.tar!OFFSET+SIZE!NAME`, so that it is read without a look at the rest of the tar file.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

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
        OSError: the file cannot be opened, or the tar file has something else at that offset.
    """
    piece = parse_piece(image)
    if piece is None:
        return Path(image).open("rb")
    with piece.tar.open("rb") as file:
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
            content = file.read()
    except FileNotFoundError:
        raise UnreadableError("does not exist. Check the path.") from None
    except IsADirectoryError:
        raise UnreadableError("is a folder, not an image file. Name a file in it.") from None
    except (OSError, ValueError) as error:
        if file_of(image).is_dir():  # which Windows calls a lack of permission
            raise UnreadableError("is a folder, not an image file. Name a file in it.") from None
        raise UnreadableError(f"cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    if not content:
        raise UnreadableError("is empty (0 bytes). Replace it by a whole copy.")
    return content


def shard_offsets(images: Sequence[str]) -> np.ndarray | None:
    """Return `(N, 2)` int64, the number of the tar file of each image and its offset there; None if some are files."""
    pieces = [parse_piece(image) for image in images]
    numbers: dict[Path, int] = {}
    offsets = [(numbers.setdefault(each.tar, len(numbers)), each.offset) for each in pieces if each is not None]
    return np.array(offsets, np.int64).reshape(-1, 2) if len(offsets) == len(images) else None
