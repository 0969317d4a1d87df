"""Leftovers: files and folders that a killed process left half written."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

_NAMES = ("*.part", "*.partial", ".unpacking-*", ".drawing-*", ".exporting-*")
_HOUR, _DAY = 3600.0, 86_400.0  # seconds


class Leftover(NamedTuple):
    """A half-written file or folder."""

    path: Path
    size: int  # bytes, with everything below
    days: float  # since it was last written to

    @property
    def in_use(self) -> bool:
        """Return whether it is so new that a process may still write to it."""
        return self.days * _DAY < _HOUR


def list_leftovers(cache: Path, folders: Sequence[Path] = ()) -> list[Leftover]:
    """Return the leftovers below the cache folder and directly in other folders, by path. Links are not followed.

    Args:
        cache: the cache folder.
        folders: such as those of downloads and conversions.
    """
    found = {path: None for folder in folders for path in _named(folder, _names_in(folder))}
    for folder, below, files in os.walk(cache):
        here = list(_named(Path(folder), [*below, *files]))
        found |= dict.fromkeys(here)
        below[:] = [name for name in below if Path(folder) / name not in found]
    return sorted(leftover for path in found for leftover in _measure(path))


def remove_leftovers(leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Remove the leftovers that are not in use and return those that are gone."""
    removed = []
    for each in leftovers:
        if each.in_use:
            continue
        with contextlib.suppress(OSError):  # it stays in the list
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink()
            removed.append(each)
    return removed


def _names_in(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir()]
    except OSError:
        return []


def _named(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        if any(fnmatchcase(name, pattern) for pattern in _NAMES):
            yield folder / name


def _measure(path: Path) -> Iterator[Leftover]:
    with contextlib.suppress(OSError):  # gone by now
        states = [path.lstat()]
        if path.is_dir() and not path.is_symlink():
            states += [each.lstat() for each in path.rglob("*")]
        latest = max(state.st_mtime for state in states)
        yield Leftover(path, sum(state.st_size for state in states), (time.time() - latest) / _DAY)
