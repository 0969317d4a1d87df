"""Locks between processes that write into the same folder."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from marnet.errors import RunDirectoryError
from marnet.runs.layout import LOCK

_held: set[IO[bytes]] = set()


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file; yield False if another process holds it.

    A process that dies releases its locks, even if its loader processes live on for a while. Systems without such locks
    (Windows) always yield True.

    Args:
        path: the lock file. It is created with its folder and left in place, and says who held it last.
        wait: wait for the other process instead of yielding False.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link, which could make this truncate another file.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "r+b", buffering=0) as file:  # unbuffered, so that closing it writes nothing
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        with contextlib.suppress(OSError):  # a full disk; the name of the holder is only for messages
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        _held.add(file)
        try:
            yield True
        finally:
            _held.discard(file)


@contextlib.contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Let only this training write into a run directory; the folder is created.

    Raises:
        RunDirectoryError: another training writes there, or the folder cannot be created.
    """
    with contextlib.ExitStack() as stack:
        try:
            free = stack.enter_context(locked(run / LOCK))
        except OSError as error:
            raise RunDirectoryError(
                f"{run} cannot be written to: {error.strerror or error}. Choose another `out`."
            ) from error
        if not free:
            raise _taken(run)
        yield


def check_unclaimed(run: Path) -> None:
    """Refuse a run directory into which another training writes.

    Raises:
        RunDirectoryError: one does; the message names it.
    """
    if (run / LOCK).is_file():
        with contextlib.suppress(OSError), locked(run / LOCK) as free:
            if not free:
                raise _taken(run)


def _taken(run: Path) -> RunDirectoryError:
    try:
        holder = (run / LOCK).read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        holder = "another process"
    return RunDirectoryError(
        f"{run} is being written by another training: {holder}. Nothing was changed. Choose another `out`, or wait "
        f"until that one has ended."
    )


def _close_in_child() -> None:
    """Close the files of locks in a forked process: they would stay locked as long as it lives."""
    for file in _held:
        with contextlib.suppress(OSError):
            os.close(file.fileno())
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
