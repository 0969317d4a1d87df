"""From any source to a manifest file, its images referenced or copied next to it."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import Progress

from marnet.atomic import beside
from marnet.data.image_bytes import UnreadableError, check_regular, name_of, parse_piece, read_bytes
from marnet.data.manifest import Manifest, write_manifest
from marnet.errors import DataError

SUFFIXES = (".csv", ".jsonl", ".parquet")
IMAGES = "images"  # the folder beside the manifest


def convert_manifest(
    manifest: Manifest, out: Path | str, *, copy_images: bool = False, overwrite: bool = False
) -> Manifest:
    """Write a manifest file, and with `copy_images` its images to `images/<split>/<label>/` next to it.

    Copies keep their bytes and times. The manifest is written last; stopped half-way, the same call copies what is
    missing. A copied image named by two rows of one split and label is copied once.

    Args:
        manifest: the rows.
        out: the file to write; its suffix chooses CSV, JSONL or Parquet.
        copy_images: False names the images where they are: by absolute path, or relative to `out` if below its folder.
        overwrite: replace `out`.

    Returns:
        The manifest as written, images at their new places.

    Raises:
        DataError: `out` exists, has another suffix, or an image cannot be copied.
    """
    out = Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{out} has the suffix {out.suffix!r}, but a manifest file must have one of {', '.join(SUFFIXES)}. Choose "
            "such a name, or write a folder of shards with `shards=True`."
        )
    if out.exists() and not overwrite:
        raise DataError(f"{out} already exists. Choose another name, or replace it with `overwrite=True`.")
    if copy_images:
        manifest = _copy_images(manifest, out.absolute().parent)
    write_manifest(manifest, out)
    return manifest


def _copy_images(manifest: Manifest, folder: Path) -> Manifest:
    targets = _choose_targets(manifest)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for (source, *_), target in progress.track(targets.items(), description="Copying images"):
            _copy(source, folder / target)
    records = tuple(
        record._replace(image=str(folder / targets[record.image, record.split, record.label]))
        for record in manifest.records
    )
    return dataclasses.replace(manifest, records=records)


def _choose_targets(manifest: Manifest) -> dict[tuple[str, str, str], str]:
    """Return a relative path per image, split and label; equal names, whatever their case, get numbers."""
    targets: dict[tuple[str, str, str], str] = {}
    taken: set[str] = set()
    for record in manifest.records:
        use = (record.image, record.split, record.label)
        if use in targets:
            continue
        file = Path(name_of(record.image))
        stem, number = f"{IMAGES}/{record.split}/{_folder_name(record.label)}/{file.stem}", 1
        target = stem + file.suffix
        while target.casefold() in taken:
            number += 1
            target = f"{stem}-{number}{file.suffix}"
        taken.add(target.casefold())
        targets[use] = target
    return targets


def _folder_name(label: str) -> str:
    return re.sub(r"[^\w .,()&+-]", "_", label).strip(" .")[:100] or "_"


def _copy(source: str, target: Path) -> None:
    if parse_piece(source) is not None:
        _unpack(source, target)
        return
    try:
        wanted = check_regular(source)
        if target.is_file():
            found = target.stat()
            # copy2 sets the time last: a half copy has another.
            if (found.st_size, int(found.st_mtime)) == (wanted.st_size, int(wanted.st_mtime)):
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target) as part:
            shutil.copy2(source, part)
    except (OSError, UnreadableError, shutil.SameFileError) as error:
        _refuse_copy(source, target, str(getattr(error, "strerror", None) or error))


def _unpack(piece: str, target: Path) -> None:
    """Write an image out of a tar file."""
    try:
        content = read_bytes(piece)
        if target.is_file() and target.read_bytes() == content:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target) as part:
            part.write_bytes(content)
    except (OSError, UnreadableError) as error:
        _refuse_copy(piece, target, str(getattr(error, "strerror", None) or error))


def _refuse_copy(source: str, target: Path, reason: str) -> NoReturn:
    raise DataError(
        f"Image {source} cannot be copied to {target}: {reason}. Mend that and run the same command again; it goes on "
        f"where it stopped."
    ) from None
