"""Decoded images: the cache that training reads from, and images that are decoded whenever they are asked for."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
import PIL
from rich.console import Console
from rich.progress import Progress

from marnet.data.image_bytes import file_of
from marnet.data.images import MAX_PIXELS, BrokenImage
from marnet.data.squares import Target, decode_square
from marnet.errors import DataError, ImageError

CACHE_VERSION = 2  # raise it when the same file gives other pixels
KEPT_DAYS = 30  # a cache that nothing opened for so long is removed when the next one is written
_CHUNK = 256  # images decoded before they are written; bounds the memory
_TASK = 16  # images that a thread decodes at a time; handing out single ones takes a tenth of the time
_SHOW_PROGRESS_FROM = 400  # images
_DAY = 86_400.0  # seconds
_logger = logging.getLogger("marnet")


class DecodedImages(NamedTuple):
    """Decoded squares `(N, S, S, 3)` uint8; the rows of broken images are zero."""

    pixels: np.ndarray
    broken: list[BrokenImage]


class CachedImages(NamedTuple):
    """One file of the cache."""

    file: Path
    size: int  # bytes
    days: float  # since it was last opened


class StreamedImages:
    """Images as an array `(N, S', S', 3)` uint8 that decodes rows when it is asked for them and keeps nothing.

    The pixels are those of `decode_images`.

    Args:
        images: N images as manifests name them.
        target: what they are decoded to.
    """

    def __init__(self, images: Sequence[str], target: Target) -> None:
        self.images = list(images)
        self.target = target

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return the squares `(B, S', S', 3)` of B rows.

        Raises:
            ImageError: an image cannot be read.
        """
        return np.stack([self._decode(self.images[row]) for row in rows.tolist()])

    def _decode(self, image: str) -> np.ndarray:
        decoded = decode_square(image, self.target)
        if isinstance(decoded, BrokenImage):
            raise ImageError(
                f"Image {image} {decoded.reason} With `data.stream=true` it is met only now. Find all such images with "
                f"'marnet data check', and mend them or leave them out."
            )
        return decoded


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
        paths: N images as manifests name them.
        size: side of the square, in pixels.
        interpolation: how they are resized, "bicubic" or "bilinear".
        max_pixels: images with more are broken.
        cache: keep the pixels in a memory-mapped file below this folder and reuse it as long as no image file
            changes; None keeps them in memory.

    Raises:
        DataError: the cache cannot be written.
    """
    shape = (len(paths), size, size, 3)
    target = Target(size, interpolation, max_pixels)
    if cache is None:
        pixels = np.zeros(shape, np.uint8)
        broken = []
        for row, decoded in enumerate(_decode_all(paths, target)):
            if isinstance(decoded, BrokenImage):
                broken.append(decoded)
            else:
                pixels[row] = decoded
        return DecodedImages(pixels, broken)
    file = _cache_folder(cache) / f"{_cache_key(paths, target)}.npy"
    found = _read_cache(file, shape, target)
    if found is None:
        _remove_unused(cache)
        _write_cache(file, paths, target)
        found = _read_cache(file, shape, target)
    if found is None:
        raise DataError(f"The image cache {file} was damaged while it was written. Delete it and start again.")
    return found


def list_cache(cache: Path) -> list[CachedImages]:
    """Return the files of decoded images below a cache folder, the one that was opened last first."""
    found = []
    for file in _cache_folder(cache).glob("*.npy"):
        status = file.stat()
        found.append(CachedImages(file, status.st_size, (time.time() - status.st_mtime) / _DAY))
    return sorted(found, key=lambda each: each.days)


def clear_cache(cache: Path) -> None:
    """Remove all decoded images below a cache folder. They are decoded again when they are needed."""
    for file in _cache_folder(cache).glob("*"):
        file.unlink(missing_ok=True)


def _cache_folder(cache: Path) -> Path:
    return cache / "images"


def _remove_unused(cache: Path) -> None:
    """Remove files that nothing opened for `KEPT_DAYS`, and those that killed runs left half written."""
    oldest = time.time() - KEPT_DAYS * _DAY
    for file in _cache_folder(cache).glob("*"):
        listing = file.suffix == ".json"  # goes with its pixels, whose time says when they were opened
        timed = file.with_suffix(".npy") if listing and file.with_suffix(".npy").is_file() else file
        try:
            if timed.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
        except OSError as error:  # another process was faster, or still reads it where that forbids removing it
            _logger.debug("%s stays in the cache: %s", file, error)


def _decode_all(paths: Sequence[str], target: Target) -> Iterator[np.ndarray | BrokenImage]:
    """Yield each image's square, or why there is none, in order; Pillow lets threads decode side by side."""

    def decode(task: Sequence[str]) -> list[np.ndarray | BrokenImage]:
        return [decode_square(path, target) for path in task]

    console = Console(stderr=True)
    quiet = len(paths) < _SHOW_PROGRESS_FROM or not console.is_terminal
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Progress(console=console, transient=True, disable=quiet) as progress,
    ):
        bar = progress.add_task("Decoding images", total=len(paths))
        for first in range(0, len(paths), _CHUNK):
            chunk = paths[first : first + _CHUNK]
            for decoded in pool.map(decode, [chunk[start : start + _TASK] for start in range(0, len(chunk), _TASK)]):
                progress.advance(bar, len(decoded))
                yield from decoded


def _cache_key(paths: Sequence[str], target: Target) -> str:
    """Return a hash of everything that the pixels depend on."""
    key = hashlib.sha256(repr((CACHE_VERSION, PIL.__version__, *target)).encode())
    states: dict[Path, tuple[int, int]] = {}  # a tar file holds many images
    for path in paths:
        file = file_of(path)
        if file not in states:
            states[file] = _file_state(file)
        key.update(repr((path, *states[file])).encode("utf-8", "surrogatepass"))
    return key.hexdigest()[:32]


def _file_state(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _read_cache(file: Path, shape: tuple[int, ...], target: Target) -> DecodedImages | None:
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
    try:
        os.utime(file)  # it is in use: see `_remove_unused`
    except OSError as error:  # somebody else's cache may be read, but not touched
        _logger.debug("%s keeps its time: %s", file, error)
    return DecodedImages(pixels, broken)


def _write_cache(file: Path, paths: Sequence[str], target: Target) -> None:
    """Write under a temporary name and rename, so that a killed run leaves no half file under the final one."""
    needed = len(paths) * target.size**2 * 3
    temporary: str | None = None
    listing: Path | None = None
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
        if listing is not None:
            listing.unlink(missing_ok=True)
    _logger.info("Decoded %d images into %s (%.1f MB).", len(paths), file, needed / 1e6)


def _write_pixels(stream: IO[bytes], paths: Sequence[str], target: Target) -> list[BrokenImage]:
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
        f"or decode them anew in every epoch with `data.stream=true`."
    ) from None
