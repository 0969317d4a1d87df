"""Published data sets list their images in text files; reading those, and how they agree with the disk."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from marnet.errors import DataError, suggest

# Of the formats in `marnet.data.formats`.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm"}
)


class Location(NamedTuple):
    """A source's argument taken apart: `PATH,key=value,...`."""

    path: str
    options: dict[str, str]


def parse_location(source: str, argument: str, known: Collection[str] = ()) -> Location:
    """Take `PATH,key=value,...` apart; a path that exists may hold commas and equals signs itself.

    Args:
        source: the source's name, for messages.
        argument: what follows `source:`.
        known: the keys that may be given.

    Raises:
        DataError: there is no path, or a key is unknown, repeated or without a value.
    """
    path, options = argument.strip(), dict[str, str]()
    while not Path(path).expanduser().exists() and "=" in path.rpartition(",")[2] and "," in path:
        path, _, part = path.rpartition(",")
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in known:
            keys = f"known keys: {', '.join(known)}" if known else f"{source} has none"
            raise DataError(f"{source}: unknown key {key!r}.{suggest(key, known)} Keys follow the path; {keys}.")
        if key in options:
            raise DataError(f"{source}: {key} is given twice; keep one of them.")
        if not value:
            raise DataError(f"{source}: {key} has no value. Write {key}=VALUE.")
        options[key] = value
    if not path:
        keys = f"[,{','.join(f'{key}=VALUE' for key in known)}]" if known else ""
        raise DataError(f"Data source {source!r} names no folder. Write {source}:PATH{keys}.")
    return Location(path, options)


def read_lines(source: str, file: Path) -> list[str]:
    """Return the lines of a UTF-8 file without surrounding white space; blank lines at its end are dropped.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: {file} cannot be read: {error.strerror or error}.") from None
    try:
        # Not splitlines(): it breaks at characters such as U+2028 too, and line numbers would differ from an editor's.
        lines = [line.strip() for line in content.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{source}: {file}, line {line}, is not UTF-8 text: found byte 0x{content[error.start]:02X}. Save the file "
            f"as UTF-8."
        ) from None
    while lines and not lines[-1]:
        lines.pop()
    return lines


def read_names(source: str, file: Path, *, what: str) -> list[str]:
    """Return the names in a file whose line i names thing i.

    Args:
        source: the source's name, for messages.
        file: the file.
        what: what a line names, for messages.

    Raises:
        DataError: the file cannot be read or is empty, or a line before the last is blank.
    """
    names = [" ".join(line.split()) for line in read_lines(source, file)]
    if not names:
        raise DataError(f"{source}: {file} is empty. It must name one {what} per line.")
    if "" in names:
        raise DataError(
            f"{source}: {file}, line {names.index('') + 1}, is blank. It must name {what} {names.index('') + 1}, "
            f"because the other files refer to the line's number."
        )
    return names


def class_and_file(line: str) -> tuple[str, str] | None:
    """Return `"/12/3_4.jpg"` as `("12", "3_4.jpg")`, with or without leading slash; None for anything else."""
    parts = line.replace("\\", "/").removeprefix("./").lstrip("/").split("/")
    if len(parts) != 2 or any(part.strip() in ("", ".", "..") for part in parts):
        return None
    return parts[0].strip(), parts[1].strip()


def shared_notes(source: str, images: Iterable[tuple[str, str]]) -> list[str]:
    """Return a note if an image, known by any name, is in several splits: `images` are pairs of name and split."""
    splits = Counter(name for name, _ in set(images))
    shared = sorted(name for name, count in splits.items() if count > 1)
    if not shared:
        return []
    return [
        f"{source}: images in more than one split: {len(shared)}, such as {shared[0]}; metrics on val and test are too "
        f"optimistic."
    ]


def disk_notes(source: str, listed: Collection[str], folder: Path) -> list[str]:
    """Return notes on images that are listed or on disk, but not both.

    Args:
        source: the source, for messages.
        listed: the listed images as `class/file`.
        folder: holds one folder per class.

    Raises:
        DataError: a folder cannot be read.
    """
    try:
        present = _two_levels(folder)
    except OSError as error:
        raise DataError(f"{source}: {error.filename} cannot be read: {error.strerror}.") from None
    notes = []
    missing = [name for name in listed if name not in present]
    if missing:
        notes.append(
            f"{source}: images in a list but not on disk: {len(missing)}, such as {missing[0]}; reading them will fail."
        )
    known = set(listed)
    unlisted = sorted(name for name in present if name not in known)
    if unlisted:
        notes.append(f"{source}: images on disk but in no list: {len(unlisted)}, such as {unlisted[0]}; left out.")
    return notes


def is_image(name: str) -> bool:
    """Return True if a file's name says that it is an image; hidden files never are."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (speed)


def _two_levels(folder: Path) -> set[str]:
    found = set()
    with os.scandir(folder) as classes:
        for each in classes:
            if each.is_dir():
                with os.scandir(each.path) as files:
                    found |= {f"{each.name}/{file.name}" for file in files if is_image(file.name)}
    return found
