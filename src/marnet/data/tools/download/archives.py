"""Unpacking zip and tar archives of others: nothing outside the folder, nothing half done under the final name."""

import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from rich.console import Console
from rich.progress import Progress

from marnet.errors import DataError

_DEPTH = 3  # levels below the top of an archive in which its content is looked for


def unpack(archive: Path, folder: Path, *, holds: Sequence[str]) -> None:
    """Unpack the folder of an archive that holds certain files, whatever it is called there, as `folder`.

    Args:
        archive: a zip or tar file, told apart by its content.
        folder: what it becomes; must not exist. Its parent is made.
        holds: paths that must exist below it, which also say which folder of the archive is meant.

    Raises:
        DataError: the file is no whole archive, reaches out of its folder or has another content; or there is too
            little space, or no permission.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
            _unpack_all(archive, Path(temporary))
            found = next((each for each in _folders(Path(temporary)) if holds_all(each, holds)), None)
            if found is None:
                raise DataError(
                    f"{archive} has no folder that holds {', '.join(holds)}; it is not the archive that was meant, or "
                    f"its layout changed. Unpack it by hand to see."
                )
            if found == Path(temporary):  # the files lie at the top of the archive
                found = found / ".content"
                found.mkdir()
                for each in list(Path(temporary).iterdir()):
                    if each != found:
                        each.rename(found / each.name)
            found.rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{archive} is cut short or damaged: {error}. Remove it and fetch it again.") from None
    except OSError as error:
        raise DataError(
            f"{archive} cannot be unpacked to {folder}: {error.strerror or error}. Free some space, or give a folder "
            f"that can be written."
        ) from None


def holds_all(folder: Path, paths: Sequence[str]) -> bool:
    """Return True if all paths exist below a folder."""
    return all((folder / path).exists() for path in paths)


def _folders(root: Path) -> Iterator[Path]:
    """Return the folder itself and those below it, level by level."""
    level = [root]
    for _ in range(_DEPTH + 1):
        yield from level
        level = [each for folder in level for each in sorted(folder.iterdir()) if each.is_dir()]


def _unpack_all(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _unpack_zip(archive, opened, folder)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as opened_tar:
            _unpack_tar(archive, opened_tar, folder)
    else:
        with archive.open("rb") as stream:
            first = stream.read(12)
        raise DataError(
            f"{archive} is neither a zip nor a tar archive: it begins with {first!r}. A server may have sent a page "
            f"with an error instead. Remove it and fetch it again."
        )


def _unpack_zip(archive: Path, opened: zipfile.ZipFile, folder: Path) -> None:
    members = opened.infolist()
    needed = sum(member.file_size for member in members)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{needed:,} bytes are needed and {free:,} are free")
    with _progress() as progress:
        for member in progress.track(members, description="Unpacking"):
            target = folder / _safe(archive, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(archive, member.filename, "is a link")
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with opened.open(member) as source:
                _write(source, target)


def _unpack_tar(archive: Path, opened: tarfile.TarFile, folder: Path) -> None:
    # Not extractall(filter="data"), which Python 3.11 has from its fourth patch release only.
    with _progress() as progress:
        for member in progress.track(opened, description="Unpacking", total=None):
            target = folder / _safe(archive, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                source = opened.extractfile(member)
                if source is not None:
                    with source:
                        _write(source, target)
            else:
                raise _unsafe(archive, member.name, "is a link or a device")


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)


def _safe(archive: Path, name: str) -> PurePosixPath:
    """Return a member's path, which must stay below the folder it is unpacked into."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.partition("/")[0]:
        raise _unsafe(archive, name, "lies outside the folder")
    return path


def _unsafe(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive} was not unpacked: its member {name!r} {why}, which no archive of images needs. Nothing was kept; "
        f"do not use this file."
    )


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
