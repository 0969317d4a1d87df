"""Reading image files, and the cache of decoded images that training reads from."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from marnet.errors import DataError, ImageError

MAX_PIXELS = 100_000_000
CACHE_VERSION = 1  # raise it when the same file gives other pixels
_CHUNK = 256  # images decoded before they are written; bounds the memory
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_SHOW_PROGRESS_FROM = 400  # images
_logger = logging.getLogger("marnet")


class BrokenImage(NamedTuple):
    """An image file that cannot be read, and why."""

    path: str
    reason: str


class DecodedImages(NamedTuple):
    """Decoded squares `(N, S, S, 3)` uint8; the rows of broken images are zero."""

    pixels: np.ndarray
    broken: list[BrokenImage]


class _Target(NamedTuple):
    """What images are decoded to."""

    size: int
    interpolation: str
    max_pixels: int


class _UnreadableError(Exception):
    """Why a file is no usable picture, worded to follow its path."""


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Image.Image:
    """Read one image file as upright 8-bit RGB.

    Transparency is laid over white; 16-bit grey is scaled to 8 bits; the EXIF orientation is applied.

    Args:
        path: the file.
        max_pixels: refuse an image with more, by its header, before it is decoded.
        min_side: both sides may come out smaller than in the file, but not below twice this; large JPEGs then decode
            several times faster. `decode_images` does the same, so that both give the same pixels.

    Raises:
        ImageError: the file is missing, damaged, not an image, or too large.
    """
    try:
        return _decode(Path(path), max_pixels, min_side)
    except _UnreadableError as error:
        raise ImageError(f"Image {path} {error}") from None


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow image as upright 8-bit RGB; see `read_image`."""
    picture.load()  # here, so that damaged pixels are not taken for a damaged EXIF block
    with contextlib.suppress(Exception):  # a damaged EXIF block is no reason to refuse the pixels
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def fit_square(picture: Image.Image, size: int, *, interpolation: str = "bicubic") -> Tensor:
    """Resize the short side of an RGB image to `size` and crop the centre: `(3, size, size)` uint8.

    `interpolation` is "bicubic" or "bilinear"; both are antialiased.
    """
    return torch.from_numpy(_square(picture, size, interpolation)).permute(2, 0, 1)  # (S, S, 3) -> (3, S, S)


def decode_images(
    paths: Sequence[str],
    *,
    size: int,
    interpolation: str = "bicubic",
    max_pixels: int = MAX_PIXELS,
    cache: Path | None = None,
) -> DecodedImages:
    """Decode images to squares of side `size`, as `fit_square` does; broken ones are collected, never stopped at.

    Args:
        paths: N image files.
        size: side of the square, in pixels.
        interpolation: how they are resized, "bicubic" or "bilinear".
        max_pixels: images with more are broken.
        cache: keep the pixels in a memory-mapped file below this folder and reuse it as long as no image file
            changes; None keeps them in memory.

    Raises:
        DataError: the cache cannot be written.
    """
    shape = (len(paths), size, size, 3)
    target = _Target(size, interpolation, max_pixels)
    if cache is None:
        pixels = np.zeros(shape, np.uint8)
        broken = []
        for row, decoded in enumerate(_decode_all(paths, target)):
            if isinstance(decoded, BrokenImage):
                broken.append(decoded)
            else:
                pixels[row] = decoded
        return DecodedImages(pixels, broken)
    file = cache / "images" / f"{_cache_key(paths, target)}.npy"
    found = _read_cache(file, shape, target)
    if found is None:
        _write_cache(file, paths, target)
        found = _read_cache(file, shape, target)
    if found is None:
        raise DataError(f"The image cache {file} was damaged while it was written. Delete it and start again.")
    return found


def _decode(path: Path, max_pixels: int, min_side: int | None) -> Image.Image:
    """Raises `_UnreadableError`."""
    _check_file(path)
    try:
        with _without_pillow_limit(), Image.open(path) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise _UnreadableError(
                    f"has {width} x {height} pixels, {width * height:,} in all; the limit is {max_pixels:,}. "
                    f"Make the image smaller, or raise the limit with --set data.max_pixels={width * height}."
                )
            if min_side is not None:
                picture.draft(None, (2 * min_side, 2 * min_side))
            return to_rgb(picture)
    except UnidentifiedImageError:
        raise _UnreadableError(
            f"is not an image: no known format begins with {_first_bytes(path)!r}. Replace it by an image file."
        ) from None
    except (_UnreadableError, MemoryError):
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
        raise _UnreadableError(f"is cut short or damaged ({error}). Replace it by a whole copy.") from None


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise _UnreadableError("is a folder; needed an image file.")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise _UnreadableError("does not exist. Check the path.") from None
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    if size == 0:
        raise _UnreadableError("is empty (0 bytes). Replace it by a whole copy.")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


class _PillowLimit:
    """How many threads are inside `_without_pillow_limit`, and the limit to restore after the last one."""

    lock = threading.Lock()
    inside = 0
    before: int | None = None


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
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


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale grey `(H, W)` of more than 8 bits by its full range, where Pillow would clip it at 255.

    32-bit integers and floats do not say their range: the smallest of the usual ones that holds all values is taken.
    """
    if values.dtype.itemsize == 2:
        top = 65535.0
    else:
        usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
        values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        top = next((limit for limit in usual if values.max() <= limit), float(values.max()))
    return np.rint(np.clip(values.astype(np.float64) / top, 0, 1) * 255).astype(np.uint8)


def _square(picture: Image.Image, size: int, interpolation: str) -> np.ndarray:
    fitted = ImageOps.fit(picture, (size, size), _RESAMPLING[interpolation])
    return np.array(fitted)  # a copy: torch needs it writable


def _decode_all(paths: Sequence[str], target: _Target) -> Iterator[np.ndarray | BrokenImage]:
    """Yield each image's square, or why there is none, in order; Pillow lets threads decode side by side."""

    def decode(path: str) -> np.ndarray | BrokenImage:
        try:
            return _square(_decode(Path(path), target.max_pixels, target.size), target.size, target.interpolation)
        except _UnreadableError as error:
            return BrokenImage(path, str(error))

    console = Console(stderr=True)
    quiet = len(paths) < _SHOW_PROGRESS_FROM or not console.is_terminal
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(console=console, transient=True, disable=quiet) as progress,
    ):
        task = progress.add_task("Decoding images", total=len(paths))
        for first in range(0, len(paths), _CHUNK):
            for decoded in pool.map(decode, paths[first : first + _CHUNK]):
                progress.advance(task)
                yield decoded


def _cache_key(paths: Sequence[str], target: _Target) -> str:
    """A hash of everything that the pixels depend on."""
    key = hashlib.sha256(repr((CACHE_VERSION, PIL.__version__, *target)).encode())
    for path in paths:
        try:
            status = Path(path).stat()
            state = (status.st_size, status.st_mtime_ns)
        except (OSError, ValueError):
            state = (-1, -1)
        key.update(repr((path, *state)).encode("utf-8", "surrogatepass"))
    return key.hexdigest()[:32]


def _read_cache(file: Path, shape: tuple[int, ...], target: _Target) -> DecodedImages | None:
    """None where there is no cache, or it is damaged, or a formerly broken image can be read by now."""
    try:
        pixels = np.load(file, mmap_mode="r")
        listed = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        broken = [BrokenImage(path, reason) for path, reason in listed["broken"]]
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        return None
    retried = _decode_all([each.path for each in broken], target)
    if not all(isinstance(decoded, BrokenImage) for decoded in retried):
        return None
    return DecodedImages(pixels, broken)


def _write_cache(file: Path, paths: Sequence[str], target: _Target) -> None:
    """Write under a temporary name and rename, so that a killed run leaves no half file under the final one."""
    needed = len(paths) * target.size**2 * 3
    temporary: str | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(file.parent).free < needed:
            raise OSError("too little space is free")
        # Plain writes, not a writable memory map: on a full disk that would kill the process instead of raising.
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as stream:
            temporary = stream.name
            broken = _write_pixels(stream, paths, target)
        listing = Path(temporary).with_suffix(".json.part")
        listing.write_text(json.dumps({"broken": broken}), encoding="utf-8")
        listing.replace(file.with_suffix(".json"))
        Path(temporary).replace(file)
    except OSError as error:
        _refuse_cache(file.parent, needed, error)
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    _logger.info("Decoded %d images into %s (%.1f MB).", len(paths), file, needed / 1e6)


def _write_pixels(stream: IO[bytes], paths: Sequence[str], target: _Target) -> list[BrokenImage]:
    size = target.size
    header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), size, size, 3)}
    np.lib.format.write_array_header_2_0(stream, header)
    broken = []
    for decoded in _decode_all(paths, target):
        if isinstance(decoded, BrokenImage):
            broken.append(decoded)
            stream.write(bytes(size * size * 3))
        else:
            stream.write(decoded.tobytes())
    return broken


def _refuse_cache(folder: Path, needed: int, error: OSError) -> NoReturn:
    raise DataError(
        f"The decoded images need {needed / 1e6:,.1f} MB below {folder}, and they cannot be written there: "
        f"{error.strerror or error}. Free some space, point the environment variable MARNET_CACHE to another folder, "
        f"or keep the images in memory with --set data.cache=false."
    ) from None
