"""Reading one image: upright 8-bit RGB."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from marnet.data.formats import open_picture, without_metadata
from marnet.data.image_bytes import UnreadableError, read_bytes
from marnet.errors import ImageError

MAX_PIXELS = 100_000_000
_ORIENTATION = 0x0112  # the EXIF tag
_STRIP = 4_000_000  # pixels that are converted at a time where that takes many bytes each
_LARGE = 16_000_000  # pixels; of larger images one is decoded at a time, so that threads do not multiply the memory
_one_large = threading.Lock()


class BrokenImage(NamedTuple):
    """An image file that cannot be read, and the reason."""

    path: str
    reason: str


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Image.Image:
    """Read one image file as upright 8-bit RGB.

    Transparency is laid over white; 16-bit grey is scaled to 8 bits; the EXIF orientation is applied.

    Args:
        path: the file, or a piece of a tar file as manifests name it.
        max_pixels: refuse an image with more, by its header, before it is decoded.
        min_side: both sides may come out smaller than in the file, but not below twice this; large JPEGs then decode
            several times faster. `decode_images` does the same, so that both give the same pixels.

    Raises:
        ImageError: the file is missing, damaged, not an image, or too large.
    """
    try:
        return decode_bytes(read_bytes(str(path)), max_pixels=max_pixels, min_side=min_side)
    except UnreadableError as error:
        raise ImageError(f"Image {path} {error}") from None


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return any Pillow image as upright 8-bit RGB; see `read_image`."""
    picture.load()  # here, so that damaged pixels are not taken for a damaged EXIF block
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse the pixels
        if picture.getexif().get(_ORIENTATION, 1) != 1:  # else Pillow would copy the picture for nothing
            picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return _grey_to_8_bits(picture).convert("RGB")
    if picture.has_transparency_data:
        return _over_white(picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def decode_bytes(content: bytes, *, max_pixels: int, min_side: int | None) -> Image.Image:
    """Decode the bytes of an image file as `read_image` does.

    Raises:
        UnreadableError: they are damaged, not an image, or an image that is too large.
    """
    try:
        return _decode(content, max_pixels, min_side)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
        plain = without_metadata(content)  # long metadata is no reason to refuse the pixels
        if plain is not None:
            return decode_bytes(plain, max_pixels=max_pixels, min_side=min_side)
        raise UnreadableError(f"is cut short or damaged ({error}). Replace it by a whole copy.") from None


def _decode(content: bytes, max_pixels: int, min_side: int | None) -> Image.Image:
    with without_pillow_limit(), open_picture(content) as picture:
        check_pixels(picture.size, max_pixels)
        if min_side is not None:
            picture.draft(None, (2 * min_side, 2 * min_side))
        large = picture.width * picture.height > _LARGE
        with _one_large if large else contextlib.nullcontext():
            return to_rgb(picture)


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse an image of `size` (width, height) with more than `max_pixels`.

    Raises:
        UnreadableError: it has more.
    """
    width, height = size
    if width * height > max_pixels:
        raise UnreadableError(
            f"has {width} x {height} pixels, {width * height:,} in all; the limit is {max_pixels:,}. "
            f"Make the image smaller, or raise the limit with `data.max_pixels={width * height}`."
        )


class _PillowLimit:
    """The number of threads inside `without_pillow_limit`, and the limit to restore after the last one."""

    lock = threading.Lock()
    inside = 0
    before: int | None = None


@contextlib.contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Switch off Pillow's own limit on pixels, which is a global and would overrule a higher `max_pixels`."""
    with _PillowLimit.lock:
        if _PillowLimit.inside == 0:
            _PillowLimit.before = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = None
        _PillowLimit.inside += 1
    try:
        yield
    finally:
        with _PillowLimit.lock:
            _PillowLimit.inside -= 1
            if _PillowLimit.inside == 0:
                Image.MAX_IMAGE_PIXELS = _PillowLimit.before


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image in strips of full width, each with the row at which it begins."""
    rows = max(1, _STRIP // max(1, picture.width))
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _over_white(picture: Image.Image) -> Image.Image:
    """Lay an image with transparency over white."""
    result = Image.new("RGB", picture.size)
    for top, strip in _strips(picture):
        layer = strip.convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"), (0, top))
    return result


def _grey_to_8_bits(picture: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits by its full range, where Pillow would clip it at 255.

    32-bit integers and floats do not say their range: the smallest of the usual ones that holds all values is taken.
    """
    top = 65535.0
    if picture.mode in ("I", "F"):
        usual = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
        largest = max(float(_finite(strip).max()) for _, strip in _strips(picture))
        top = next((limit for limit in usual if largest <= limit), largest)
    result = Image.new("L", picture.size)
    for row, strip in _strips(picture):
        scaled = np.rint(np.clip(_finite(strip) / top, 0, 1) * 255).astype(np.uint8)
        result.paste(Image.fromarray(scaled), (0, row))
    return result


def _finite(strip: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(strip).astype(np.float64), posinf=0.0, neginf=0.0)
