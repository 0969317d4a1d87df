"""Files that are written whole or not at all: beside the old one, flushed to the disk, then renamed over it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from marnet.errors import RunDirectoryError

PARTIAL = ".partial"


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to; on leaving, that file takes the place of `path`.

    If the block fails, or the process is killed at any moment, `path` keeps the content that it had.

    Args:
        path: the file to write or replace. Its folder must exist.
        sync: also outlive a power failure, which takes about ten milliseconds on a disk.

    Raises:
        RunDirectoryError: the file cannot be written, because the disk is full for example.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(path) as partial:
        ...     written = partial.write_text("whole")
        >>> path.read_text(), [each.name for each in path.parent.iterdir()]
        ('whole', ['notes.txt'])
    """
    partial = path.with_name(f"{path.stem}{PARTIAL}{path.suffix}")  # with the suffix, by which writers choose a format
    _remove(partial)  # of a writer that was killed; a link in its place must not be followed
    try:
        yield partial
        if sync:
            _flush(partial)
        partial.replace(path)
        if sync:
            _flush(path.parent)
    except OSError as error:
        _remove(partial)
        raise RunDirectoryError(
            f"{path} could not be written: {error.strerror or error}. Its content from before is kept. Free space or "
            f"allow writing there, then start again."
        ) from error
    except BaseException:
        _remove(partial)
        raise


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a text file as UTF-8, whole or not at all; line ends stay as they are. See `replacing` for `sync`.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    with replacing(path, sync=sync) as partial:
        # Names of files that are not UTF-8 hold surrogates.
        partial.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield `PATH.part` to write to; on leaving, that file takes the place of `path`. If the block fails, it goes.

    For data that can be made again: errors stay as they are, and nothing is flushed to the disk. `marnet data cache`
    finds what a killed process left.
    """
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        yield part
        part.replace(path)
    finally:
        _remove(part)


def is_partial(name: str) -> bool:
    """Return whether a file of this name was left by a writer that was killed.

    >>> is_partial("model.partial.safetensors"), is_partial("model.safetensors")
    (True, False)
    """
    return Path(name).stem.endswith(PARTIAL) or name.endswith(PARTIAL)  # the second as marnet 0.1 named them


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(partial: Path) -> None:
    with contextlib.suppress(OSError):
        partial.unlink()
