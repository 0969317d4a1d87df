"""Reading WebDataset shards: the index, the tar files, and the source `shards:PATH`.

A shard is a plain tar file. An image is `<row>.jpg` or `<row>.png` in it, followed by `<row>.txt` (its text),
`<row>.cls` (its class as a number; absent where images have several classes) and `<row>.json` (row, label, name of the
file that it was). `info.json` beside the shards is the index; its part `splits` is what timm's reader of WebDataset
expects, so that timm reads the folder too.
"""

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from marnet.config import LabelForm
from marnet.data.manifest import Manifest, Record
from marnet.errors import DataError

INDEX = "info.json"
PLAN = ".plan.json"  # which rows belong in which shard; present while the folder is incomplete
RECORDS = "records.json"  # of an unpacked copy, written last
FORMAT = "marnet-shards"
VERSION = 1
_IMAGE_SUFFIXES = ("jpg", "png")
_READ = 1 << 20


class Shard(NamedTuple):
    """One tar file of a split."""

    name: str
    split: str
    images: int
    size: int  # bytes
    sha256: str


class ShardIndex(NamedTuple):
    """What a folder of shards holds, as its `info.json` says."""

    folder: Path
    source: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    notes: tuple[str, ...]
    labels: LabelForm = "single"


class Member(NamedTuple):
    """One image of a shard with what belongs to it."""

    row: int  # its place in the manifest that was written
    image: bytes
    suffix: str  # "jpg" or "png"
    text: str
    label: str
    split: str


def read_index(path: Path | str) -> ShardIndex:
    """Read `info.json` in a folder of shards and see that the shards are there.

    Raises:
        DataError: there is no such index, it is of another kind or version, or a shard is missing or cut short.
    """
    file = Path(path).expanduser()
    file = file if file.suffix == ".json" else file / INDEX
    if not file.is_file():
        unfinished = (file.parent / PLAN).is_file()
        todo = (
            "The conversion was not finished: run the same 'marnet data convert ... --shards' again."
            if unfinished
            else f"Needed a folder written by 'marnet data convert SOURCE OUT --shards', with {INDEX} in it."
        )
        raise DataError(f"shards: {file} does not exist. {todo}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
            raise DataError(
                f"shards: {file} is not an index of {FORMAT}, version {VERSION}. Write the shards with "
                f"'marnet data convert SOURCE OUT --shards'."
            )
        shards = tuple(Shard(**each) for each in content["shards"])
        index = ShardIndex(
            file.parent.resolve(),
            content["source"],
            tuple(content["classes"]),
            shards,
            tuple(content["notes"]),
            content.get("labels", "single"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"shards: {file} is damaged ({error}). Run the conversion again.") from None
    for shard in index.shards:
        found = index.folder / shard.name
        size = found.stat().st_size if found.is_file() else None
        if size != shard.size:
            state = "is missing" if size is None else f"has {size} bytes"
            raise DataError(
                f"shards: {found} {state}; needed {shard.size} bytes, as {file} says. Copy it again, or delete {file} "
                f"and run the conversion again."
            )
    return index


def read_members(index: ShardIndex, shard: Shard) -> Iterator[Member]:
    """The images of one shard in the order of the tar file, which is read once from front to end.

    Raises:
        DataError: the shard differs from what the index says.
    """
    file = index.folder / shard.name
    parts: dict[str, bytes] = {}
    key = ""
    try:
        with _HashingReader(file) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for info in tar:
                    name, _, suffix = info.name.partition(".")
                    if name != key and parts:
                        yield _member(parts, shard.split)
                        parts = {}
                    key = name
                    content = tar.extractfile(info)
                    parts[suffix] = content.read() if content else b""
            if parts:
                yield _member(parts, shard.split)
            digest = stream.finish()
    except (OSError, tarfile.TarError, KeyError, ValueError, StopIteration) as error:
        raise _damaged(file, str(error)) from None
    if digest != shard.sha256:
        raise _damaged(file, "its checksum is another")


class Fields(NamedTuple):
    """One image of a shard: where it lies, and what belongs to it."""

    row: int
    image: tarfile.TarInfo
    text: str
    label: str


def read_shard_fields(index: ShardIndex, shard: Shard) -> Iterator[Fields]:
    """Where the images of one shard lie, with texts and labels; the images themselves are skipped.

    Raises:
        DataError: the shard is no tar file, or something is missing in it.
    """
    file = index.folder / shard.name
    count = 0
    try:
        with tarfile.open(file) as tar:
            image: tarfile.TarInfo | None = None
            parts: dict[str, bytes] = {}
            for info in tar:
                suffix = info.name.partition(".")[2]
                if suffix in _IMAGE_SUFFIXES:
                    image, parts = info, {}
                elif (content := tar.extractfile(info)) is not None:
                    parts[suffix] = content.read()
                if suffix == "json" and image is not None:  # the last of an image
                    fields = json.loads(parts["json"])
                    yield Fields(int(fields["row"]), image, parts["txt"].decode(), str(fields["label"]))
                    count += 1
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    if count != shard.images:
        raise _damaged(file, f"it holds {count} images, not {shard.images}")


def read_shards(path: Path | str, cache: Path) -> Manifest:
    """The rows of a folder of shards, in the order of the manifest that was written.

    The images are unpacked below `cache` the first time, checksums verified; from then on training reads what it would
    read from the files, row for row and pixel for pixel. `marnet.data.shards.images` trains without unpacking.

    Raises:
        DataError: see `read_index`; a shard is damaged; or the cache cannot be written.
    """
    index = read_index(path)
    identity = json.dumps([str(index.folder), *index.shards, *index.classes], default=str)
    folder = cache / "shards" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    if not (folder / RECORDS).is_file():
        _unpack(index, folder)
    rows = json.loads((folder / RECORDS).read_text(encoding="utf-8"))
    records = tuple(Record(str(folder / image), text, label, split) for image, text, label, split in rows)
    return Manifest(records, index.classes, f"shards:{path}", index.notes, index.labels)


def member_key(row: int) -> str:
    """The name of all that belongs to one row."""
    return f"{row:09d}"


def _unpack(index: ShardIndex, folder: Path) -> None:
    """Unpack into a folder of another name and rename it; a second process that was faster is left alone."""
    needed = sum(shard.size for shard in index.shards)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.parent).free < needed:
            raise OSError("too little space is free")
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".part"))
        rows: dict[int, tuple[str, str, str, str]] = {}
        with shard_progress("Unpacking shards", sum(shard.images for shard in index.shards)) as progress:
            for shard in index.shards:
                for member in read_members(index, shard):
                    name = f"{member_key(member.row)}.{member.suffix}"
                    (temporary / name).write_bytes(member.image)
                    rows[member.row] = (name, member.text, member.label, member.split)
                    progress.advance(progress.tasks[0].id)
        listing = json.dumps([rows[row] for row in sorted(rows)], ensure_ascii=False)
        (temporary / RECORDS).write_text(listing, encoding="utf-8")
        if not (folder / RECORDS).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    except OSError as error:
        if not (folder / RECORDS).is_file():
            raise DataError(
                f"shards: the images need {needed / 1e6:,.1f} MB below {folder.parent}, and they cannot be written "
                f"there: {error.strerror or error}. Free some space, or point the environment variable MARNET_CACHE to "
                f"another folder."
            ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _member(parts: Mapping[str, bytes], split: str) -> Member:
    suffix = next(name for name in _IMAGE_SUFFIXES if name in parts)
    fields = json.loads(parts["json"])
    return Member(int(fields["row"]), parts[suffix], suffix, parts["txt"].decode(), str(fields["label"]), split)


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(
        f"shards: {file} is damaged ({reason}). Copy it again, or delete it and {file.parent / INDEX} and run the "
        f"conversion again."
    )


class _HashingReader(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self._file.read(size)
        self._hash.update(content)
        return content

    def finish(self) -> str:
        """Read what is left and return the checksum of all."""
        while self.read(_READ):
            pass
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def shard_progress(title: str, total: int) -> Progress:
    """A bar on stderr with one task; silent where stderr is no terminal."""
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(title, total=total)
    return progress
