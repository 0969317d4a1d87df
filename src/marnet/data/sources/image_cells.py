"""Images in the cells of a table in memory: paths stay, all else becomes a file named by its content."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile
from torch import Tensor

from marnet.data.decoding import decode, encoded_content
from marnet.data.formats import check_loadable, open_picture
from marnet.data.image_bytes import UnreadableError
from marnet.data.images import to_rgb, without_pillow_limit
from marnet.errors import DataError, ImageError

_FOLDER = "in-memory"
_NO_LIMIT = 2**62  # pixels; `data.max_pixels` holds when the file is read


class ImageStore:
    """Image files below a cache folder, named by a hash of their content, so that equal images are one file.

    Args:
        cache: the cache folder.
    """

    def __init__(self, cache: Path) -> None:
        self.folder = cache / _FOLDER

    def path_of(self, cell: Any, place: str) -> Any:
        """Return the path of the image in a cell; text, numbers and gaps come back as they are.

        Bytes are written as they are, a Pillow image that was opened and not yet loaded as the bytes of its file, and
        other pixels as PNG, which loses nothing.

        Args:
            cell: a path; the bytes of an image file; a Pillow image; an array or tensor of pixels; or
                `{"bytes": ..., "path": ...}`, as `datasets` and Parquet files of the Hub hold images.
            place: of the cell, at the beginning of messages.

        Raises:
            DataError: the pixels cannot be read, or the file cannot be written.
        """
        if isinstance(cell, os.PathLike):
            return os.fspath(cell)
        if isinstance(cell, Mapping):
            content = cell.get("bytes")
            return self.path_of(cell.get("path") if content is None else content, place)
        if isinstance(cell, bytes | bytearray | memoryview):
            return self._write(hashlib.sha256(cell).hexdigest(), bytes(cell))
        if not isinstance(cell, Image.Image | np.ndarray | Tensor):
            return cell
        content = encoded_content(cell) if isinstance(cell, Image.Image) else None
        if content is not None:
            return self._write(hashlib.sha256(content).hexdigest(), content)
        try:
            if isinstance(cell, ImageFile.ImageFile) and cell.tile:  # not loaded yet
                check_loadable(cell)
            picture = to_rgb(cell) if isinstance(cell, Image.Image) else decode(cell, max_pixels=_NO_LIMIT)
        except (ImageError, UnreadableError, OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{place}: {_reason(error)}") from None
        return self._write(hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest(), picture)

    def _write(self, name: str, content: bytes | Image.Image) -> str:
        """Write under a temporary name and rename, so that a file is complete or absent."""
        suffix = ".png" if isinstance(content, Image.Image) else image_suffix(content)
        file = self.folder / name[:2] / f"{name[2:34]}{suffix}"
        if file.is_file():
            return str(file)
        part = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as stream:
                part = Path(stream.name)
                if isinstance(content, Image.Image):
                    content.save(stream, "PNG", compress_level=1)
                else:
                    stream.write(content)
            part.replace(file)
        except OSError as error:
            if part is not None:
                part.unlink(missing_ok=True)
            raise DataError(
                f"The images in memory cannot be written below {self.folder}: {error.strerror or error}. Free some "
                f"space, or point the environment variable MARNET_CACHE to a folder that can be written."
            ) from None
        return str(file)


def image_suffix(content: bytes) -> str:
    """Return the suffix of a file by its content, such as ".jpg"; ".img" for bytes that are no image."""
    try:
        with without_pillow_limit(), open_picture(content) as picture:
            return f".{(picture.format or 'img').lower()}".replace(".jpeg", ".jpg")
    except Exception:  # damaged bytes make Pillow raise almost anything; they are reported when the image is decoded
        return ".img"


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnreadableError):
        return f"the image {text}"
    return f"{text[0].lower()}{text[1:]}" if isinstance(error, ImageError) else f"the image is damaged ({error})."
