"""WebDataset shards: plain tar files of images with text and class, and the source `shards:PATH` that reads them.

A shard is written under another name and renamed when it is complete, with nothing in it that depends on time or user:
the same rows give the same bytes, and a killed run goes on after its last whole shard. The index `info.json` is written
last. Its part `splits` is what timm's reader of WebDataset expects, so that timm trains from the folder as well.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

from marnet.data.images import MAX_PIXELS, read_image
from marnet.data.manifest import Manifest, Record, label_indices
from marnet.errors import DataError

INDEX = "info.json"
PLAN = ".plan.json"  # which rows belong in which shard; present while the folder is incomplete
RECORDS = "records.json"  # of an unpacked copy, written last
FORMAT = "marnet-shards"
VERSION = 1
_IMAGE_KINDS = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}  # by the first bytes; these are copied as they are
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


class Member(NamedTuple):
    """One image of a shard with what belongs to it."""

    row: int  # its place in the manifest that was written
    image: bytes
    suffix: str  # "jpg" or "png"
    text: str
    label: str
    split: str


def write_shards(
    manifest: Manifest,
    out: Path | str,
    *,
    images_per_shard: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ShardIndex:
    """Write every split as `<split>-<number>.tar`, its rows in a seeded random order, and `info.json` last.

    JPEG and PNG files are copied byte for byte and not decoded; other formats become PNG, which loses nothing. So the
    shards give the same pixels as the files. Stopped half-way, the same call goes on after the last whole shard.

    Args:
        manifest: the rows.
        out: the folder to write.
        images_per_shard: at most; timm and open_clip share shards out among processes, so have several times as many
            shards as processes.
        seed: of the order within a split. Readers that stream shuffle only nearby rows, and manifests are often sorted
            by class.
        overwrite: replace shards of another conversion in `out`.
        max_pixels: refuse an image with more, if it must be re-encoded.

    Raises:
        DataError: `out` holds something else, an image cannot be read, or the shards cannot be written.
        ValueError: `images_per_shard` is below 1.
    """
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard is {images_per_shard}; needed 1 or more.")
    out = Path(out)
    plan = _make_plan(manifest, images_per_shard, seed)
    identity = {"format": FORMAT, "version": VERSION, "plan": _plan_hash(manifest, plan)}
    labels = label_indices(manifest.records, manifest.classes)
    try:
        _prepare_folder(out, identity, overwrite=overwrite)
        with _progress("Writing shards", len(manifest.records)) as progress:
            task = progress.tasks[0].id
            for name, rows in plan.items():
                if not _is_complete(out / name, rows):
                    _write_shard(out / name, manifest.records, labels, rows, max_pixels)
                progress.advance(task, len(rows))
        index = _make_index(manifest, out, plan)
        _write_index(index, identity)
    except OSError as error:
        raise DataError(
            f"Shards cannot be written to {out}: {error.strerror or error}. Free some space or choose another folder; "
            f"the same command goes on after the last whole shard."
        ) from None
    return index


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
            file.parent.resolve(), content["source"], tuple(content["classes"]), shards, tuple(content["notes"])
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
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    if digest != shard.sha256:
        raise _damaged(file, "its checksum is another")


def read_shards(path: Path | str, cache: Path) -> Manifest:
    """The rows of a folder of shards, in the order of the manifest that was written.

    The images are unpacked below `cache` the first time, checksums verified; from then on training reads what it would
    read from the files, row for row and pixel for pixel. Streaming without unpacking: `marnet.data.streaming`.

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
    return Manifest(records, index.classes, f"shards:{path}", index.notes)


def _make_plan(manifest: Manifest, images_per_shard: int, seed: int) -> dict[str, list[int]]:
    """The rows of each shard by its file name; shards of a split differ by one row at most."""
    plan = {}
    for number, split in enumerate(manifest.splits()):
        rows = np.array([row for row, record in enumerate(manifest.records) if record.split == split])
        np.random.default_rng((seed, number)).shuffle(rows)
        pieces = np.array_split(rows, -(-len(rows) // images_per_shard))
        plan.update({f"{split}-{piece:06d}.tar": part.tolist() for piece, part in enumerate(pieces)})
    return plan


def _plan_hash(manifest: Manifest, plan: Mapping[str, Sequence[int]]) -> str:
    """Of everything that the shards' bytes depend on; the images count by path, size and time of change."""
    key = hashlib.sha256(json.dumps([manifest.classes, plan]).encode())
    for record in manifest.records:
        try:
            status = Path(record.image).stat()
        except OSError as error:
            raise DataError(f"Image {record.image} cannot be read: {error.strerror or error}. Check the path.") from None
        key.update(json.dumps([*record, status.st_size, status.st_mtime_ns]).encode())
    return key.hexdigest()


def _prepare_folder(out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Leave in the folder nothing but whole shards of this very conversion."""
    out.mkdir(parents=True, exist_ok=True)
    begun = next((name for name in (INDEX, PLAN) if (out / name).is_file()), None)
    if begun is None:
        foreign = sorted(path.name for path in out.iterdir())
        if foreign:
            raise DataError(
                f"{out} is not empty: found {foreign[0]!r}{' and more' if len(foreign) > 1 else ''}. Needed a new or an "
                f"empty folder for shards."
            )
    else:
        found = _read_json(out / begun)
        if not all(found.get(name) == value for name, value in identity.items()):
            if found.get("format") != FORMAT or not overwrite:
                raise DataError(
                    f"{out} holds shards of other rows, other files or another --images-per-shard. Choose another "
                    f"folder, or replace them with --overwrite."
                )
            for path in (*out.glob("*.tar"), *out.glob("*.part")):
                path.unlink()
    (out / PLAN).write_text(json.dumps(identity), encoding="utf-8")
    (out / INDEX).unlink(missing_ok=True)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_complete(file: Path, rows: Sequence[int]) -> bool:
    """Whether a shard that an earlier run left holds what the plan says."""
    if not file.is_file():
        return False
    try:
        with tarfile.open(file) as tar:
            names = tar.getnames()
    except (OSError, tarfile.TarError):
        return False
    return list(dict.fromkeys(name.partition(".")[0] for name in names)) == [_key(row) for row in rows]


def _write_shard(file: Path, records: Sequence[Record], labels: np.ndarray, rows: Sequence[int], limit: int) -> None:
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows:
                record = records[row]
                suffix, image = _image_bytes(Path(record.image), limit)
                fields = {"row": row, "label": record.label, "file": Path(record.image).name}
                for name, content in (
                    (suffix, image),
                    ("txt", record.text.encode()),
                    ("cls", str(labels[row]).encode()),
                    ("json", json.dumps(fields, ensure_ascii=False).encode()),
                ):
                    info = tarfile.TarInfo(f"{_key(row)}.{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _key(row: int) -> str:
    return f"{row:09d}"


def _image_bytes(path: Path, max_pixels: int) -> tuple[str, bytes]:
    """The suffix and the bytes of an image; other formats than JPEG and PNG as PNG."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Image {path} cannot be read: {error.strerror or error}. Check the path.") from None
    for start, suffix in _IMAGE_KINDS.items():
        if content.startswith(start):
            return suffix, content
    buffer = io.BytesIO()
    read_image(path, max_pixels=max_pixels).save(buffer, "PNG")
    return "png", buffer.getvalue()


def _make_index(manifest: Manifest, out: Path, plan: Mapping[str, Sequence[int]]) -> ShardIndex:
    shards = []
    for name, rows in plan.items():
        with (out / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shards.append(Shard(name, manifest.records[rows[0]].split, len(rows), (out / name).stat().st_size, digest))
    return ShardIndex(out, manifest.source, manifest.classes, tuple(shards), manifest.notes)


def _write_index(index: ShardIndex, identity: Mapping[str, Any]) -> None:
    splits = {}
    for split in dict.fromkeys(shard.split for shard in index.shards):
        own = [shard for shard in index.shards if shard.split == split]
        splits[split] = {
            "name": split,
            "num_samples": sum(shard.images for shard in own),
            "filenames": [shard.name for shard in own],
            "shard_lengths": [shard.images for shard in own],
        }
    content = {
        **identity,
        "source": index.source,
        "classes": index.classes,
        "notes": index.notes,
        "splits": splits,
        "shards": [shard._asdict() for shard in index.shards],
    }
    part = index.folder / f"{INDEX}.part"
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(index.folder / INDEX)
    (index.folder / PLAN).unlink()


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
        with _progress("Unpacking shards", sum(shard.images for shard in index.shards)) as progress:
            for shard in index.shards:
                for member in read_members(index, shard):
                    name = f"{_key(member.row)}.{member.suffix}"
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
    suffix = "jpg" if "jpg" in parts else "png"
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


def _progress(title: str, total: int) -> Progress:
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(title, total=total)
    return progress
