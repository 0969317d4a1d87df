"""Locks between processes that write into the same folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file; yield False if another process holds it.

    A process that dies releases its locks. Systems without such locks (Windows) always yield True.

    Args:
        path: the lock file. It is created with its folder and left in place.
        wait: wait for the other process instead of yielding False.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
