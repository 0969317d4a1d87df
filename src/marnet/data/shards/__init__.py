"""Reading WebDataset shards: the index, the tar files, and the source `shards:PATH`.

A shard is a plain tar file. An image is `<row>.jpg` or `<row>.png` in it, followed by `<row>.txt` (its text),
`<row>.cls` (its class as a number; absent where images have several classes) and `<row>.json` (row, label, name of the
file that it was). `info.json` beside the shards is the index; its part `splits` is what timm's reader of WebDataset
expects, so that timm reads the folder too.
"""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from rich.console import Console
from rich.progress import Progress

from marnet.choices import LabelForm
from marnet.data.image_bytes import Piece, name_piece
from marnet.data.manifest import Manifest, Record
from marnet.errors import DataError

INDEX = "info.json"
PLAN = ".plan.json"  # which rows belong in which shard; present while the folder is incomplete
FORMAT = "marnet-shards"
VERSION = 1
_LARGEST_INDEX = 64 * 2**20  # bytes
_LARGEST_PART = 64 * 2**20  # bytes of the text or the label of an image
_IMAGE_SUFFIXES = ("jpg", "png")


class Shard(NamedTuple):
    """One tar file of a split."""

    name: str
    split: str
    images: int
    size: int  # bytes
    sha256: str


class ShardIndex(NamedTuple):
    """The content of a folder of shards, as its `info.json` says."""

    folder: Path
    source: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    notes: tuple[str, ...]
    label_form: LabelForm = "single"


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
            "The conversion was not finished: run the same 'marnet data convert' again."
            if unfinished
            else f"Name a folder of shards written by 'marnet data convert', with {INDEX} in it."
        )
        raise DataError(f"shards: {file} does not exist. {todo}")
    try:
        if file.stat().st_size > _LARGEST_INDEX:
            raise ValueError(f"it has {file.stat().st_size:,} bytes, but an index has at most {_LARGEST_INDEX:,}")
        content = json.loads(file.read_text(encoding="utf-8", errors="surrogatepass"))
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
            raise DataError(
                f"shards: {file} is not an index of {FORMAT}, version {VERSION}. Write the shards with "
                f"'marnet data convert'."
            )
        index = _make_index(file.parent.resolve(), content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"shards: {file} is damaged ({error}). Run the conversion again.") from None
    for shard in index.shards:
        found = index.folder / shard.name
        size = found.stat().st_size if found.is_file() else None
        if size != shard.size:
            state = "is missing" if size is None else f"has {size} bytes"
            raise DataError(
                f"shards: {found} {state}, but it must have {shard.size} bytes, as {file} says. Copy it again, or "
                f"delete {file} and run the conversion again."
            )
    return index


def _make_index(folder: Path, content: dict[str, Any]) -> ShardIndex:
    """Return the index of a JSON object.

    Raises:
        KeyError, TypeError, ValueError: it lacks something, or a value is of another type.
    """
    shards = tuple(Shard(**each) for each in content["shards"])
    for shard in shards:
        # A path would lead out of the folder.
        if not isinstance(shard.name, str) or Path(shard.name).name != shard.name or not isinstance(shard.split, str):
            raise ValueError(f"{shard.name!r} of split {shard.split!r} is not the name of a shard beside it")
        if type(shard.images) is not int or type(shard.size) is not int:
            raise ValueError(f"the images and bytes of {shard.name} are no numbers")
    classes, notes = content["classes"], content["notes"]
    for texts in (classes, notes, [content["source"]]):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("its source, classes and notes are not texts")
    form = content.get("labels", "single")
    if form not in get_args(LabelForm):
        raise ValueError(f"it has labels of the unknown form {form!r}")
    return ShardIndex(folder, content["source"], tuple(classes), shards, tuple(notes), form)


class Fields(NamedTuple):
    """One image of a shard, with its row, text, label and group."""

    row: int
    image: tarfile.TarInfo
    text: str
    label: str
    group: str = ""


def read_shard_fields(index: ShardIndex, shard: Shard) -> Iterator[Fields]:
    """Yield the offset of each image of one shard, with its text and label; the images themselves are skipped.

    Raises:
        DataError: the shard is no tar file, or something is missing in it.
    """
    file = index.folder / shard.name
    count = 0
    try:
        with tarfile.open(file, "r:") as tar:  # never compressed, so that it holds no more than its size
            image: tarfile.TarInfo | None = None
            parts: dict[str, bytes] = {}
            for info in tar:
                suffix = info.name.partition(".")[2]
                if suffix in _IMAGE_SUFFIXES:
                    image, parts = info, {}
                elif info.size > _LARGEST_PART:
                    raise ValueError(f"{info.name} has {info.size:,} bytes, but a text has at most {_LARGEST_PART:,}")
                elif (content := tar.extractfile(info)) is not None:
                    parts[suffix] = content.read()
                if suffix == "json" and image is not None:  # the last of an image
                    fields = json.loads(parts["json"].decode("utf-8", "surrogatepass"))
                    yield Fields(
                        int(fields["row"]),
                        image,
                        parts["txt"].decode("utf-8", "surrogatepass"),
                        str(fields["label"]),
                        str(fields.get("group", "")),
                    )
                    count += 1
    except (OSError, OverflowError, RecursionError, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise _damaged(file, str(error)) from None
    if count != shard.images:
        raise _damaged(file, f"it holds {count} images, not {shard.images}")


def read_shards(path: Path | str, cache: Path) -> Manifest:
    """Return the rows of a folder of shards, in the order of the manifest that was written.

    The images stay where they are: a row names its piece of a tar file (`marnet.data.image_bytes`), whose pixels are
    those of the file that was packed. The offsets of the pieces are read from the tar files' headers the first time and
    kept below `cache`.

    Raises:
        DataError: see `read_index`; a shard is damaged; or the cache cannot be written.
    """
    index = read_index(path)
    identity = json.dumps([VERSION, str(index.folder), *index.shards, *index.classes], default=str)
    file = cache / "shards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
    if not file.is_file():
        _write_listing(index, file)
    rows = json.loads(file.read_text(encoding="utf-8", errors="surrogatepass"))
    return Manifest(tuple(Record(*row) for row in rows), index.classes, f"shards:{path}", index.notes, index.label_form)


def member_key(row: int) -> str:
    """Return the name shared by the members of one row."""
    return f"{row:09d}"


def _write_listing(index: ShardIndex, file: Path) -> None:
    rows: dict[int, Record] = {}
    with shard_progress("Reading headers", sum(shard.images for shard in index.shards)) as progress:
        for shard in index.shards:
            tar = index.folder / shard.name
            for row, image, text, label, group in read_shard_fields(index, shard):
                piece = Piece(tar, image.offset_data, image.size, image.name)
                rows[row] = Record(name_piece(piece), text, label, shard.split, group)
                progress.advance(progress.tasks[0].id)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a second process may be doing the same.
        with tempfile.NamedTemporaryFile(
            "w", dir=file.parent, suffix=".part", delete=False, encoding="utf-8", errors="surrogatepass"
        ) as part:
            json.dump([rows[row] for row in sorted(rows)], part, ensure_ascii=False)
        Path(part.name).replace(file)
    except OSError as error:
        raise DataError(
            f"shards: the list of images cannot be written below {file.parent}: {error.strerror or error}. Free some "
            f"space, or point the environment variable MARNET_CACHE to another folder."
        ) from None


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(
        f"shards: {file} is damaged ({reason}). Copy it again, or delete it and {file.parent / INDEX} and run the "
        f"conversion again."
    )


def shard_progress(title: str, total: int) -> Progress:
    """Return a bar on stderr with one task; silent where stderr is no terminal."""
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(title, total=total)
    return progress
