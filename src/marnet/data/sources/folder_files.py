"""The files below a folder: images, also behind links, and what is no image."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from marnet.data.sources.listings import is_image

_OF_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # folders that archives and file servers add


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, links to folders as well, without hidden ones."""
    return sorted(each for each in folder.iterdir() if each.is_dir() and not _is_hidden(each.name))


def images_below(folder: Path) -> list[str]:
    """Return the images at any depth below a folder."""
    return [os.path.join(parent, name) for parent, files in _walk(folder) for name in files if is_image(name)]  # noqa: PTH118 (speed)


def other_files_notes(source: str, folders: Sequence[Path]) -> list[str]:
    """Return a note on the files below some folders that are no images by their suffix, hidden ones left aside."""
    suffixes = Counter(
        os.path.splitext(name)[1].lower() or "no suffix"  # noqa: PTH122 (speed)
        for folder in folders
        for _, files in _walk(folder)
        for name in files
        if not is_image(name)
    )
    if not suffixes:
        return []
    shown = ", ".join(f"{suffix} {count}" for suffix, count in suffixes.most_common(5))
    return [
        f"{source}: left out {suffixes.total()} files whose suffix is that of no image that is read: {shown}"
        f"{' ...' if len(suffixes) > 5 else '.'}"
    ]


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder at or below `folder` and the names of the files in it, none of them hidden.

    Links to folders are followed, each target once, but not into what is walked anyway.
    """
    top = os.path.realpath(folder)
    seen = {top}
    for parent, folders, files in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            path = os.path.join(parent, name)  # noqa: PTH118 (speed)
            if _is_hidden(name):
                continue
            if os.path.islink(path):  # noqa: PTH114 (speed)
                target = os.path.realpath(path)
                if target in seen or f"{target}{os.sep}".startswith(f"{top}{os.sep}") or _is_above(target, top):
                    continue
                seen.add(target)
            kept.append(name)
        folders[:] = kept
        yield parent, sorted(name for name in files if not name.startswith("."))


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder in _OF_SYSTEMS


def _is_above(folder: str, other: str) -> bool:
    return f"{other}{os.sep}".startswith(f"{folder.rstrip(os.sep)}{os.sep}")
