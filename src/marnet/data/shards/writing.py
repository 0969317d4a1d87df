"""Writing WebDataset shards.

A shard is written under another name and renamed when it is complete, with nothing in it that depends on time or user:
the same rows give the same bytes, and a killed run goes on after its last whole shard. The index is written last.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from marnet.atomic import beside
from marnet.data.image_bytes import UnreadableError, file_of, name_of, read_bytes
from marnet.data.images import MAX_PIXELS, read_image
from marnet.data.manifest import Manifest, Record, label_targets
from marnet.data.shards import FORMAT, INDEX, PLAN, VERSION, Shard, ShardIndex, member_key, shard_progress
from marnet.errors import DataError

_IMAGE_KINDS = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}  # by the first bytes; these are copied as they are


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
        seed: for shuffling images into shards. Readers that stream shuffle only nearby rows, and manifests are often
            sorted by class.
        overwrite: replace shards of another conversion in `out`.
        max_pixels: refuse an image with more, if it must be re-encoded.

    Raises:
        DataError: `out` holds something else, an image cannot be read, or the shards cannot be written.
        ValueError: `images_per_shard` is below 1.
    """
    if images_per_shard < 1:
        raise ValueError(f"`images_per_shard` is {images_per_shard}, but it must be 1 or more.")
    out = Path(out)
    plan = _make_plan(manifest, images_per_shard, seed)
    identity = {"format": FORMAT, "version": VERSION, "plan": _plan_hash(manifest, plan)}
    targets = label_targets(manifest.records, manifest.classes, manifest.label_form)  # refuses unknown classes
    numbers = None if manifest.label_form == "multi" else targets  # readers expect one number
    try:
        _prepare_folder(out, identity, overwrite=overwrite)
        with shard_progress("Writing shards", len(manifest.records)) as progress:
            task = progress.tasks[0].id
            for name, rows in plan.items():
                if not _is_complete(out / name, rows):
                    _write_shard(out / name, manifest.records, numbers, rows, max_pixels)
                progress.advance(task, len(rows))
        index = _make_index(manifest, out, plan)
        _write_index(index, identity)
    except OSError as error:
        raise DataError(
            f"Shards cannot be written to {out}: {error.strerror or error}. Free some space or choose another folder; "
            f"the same command goes on after the last whole shard."
        ) from None
    return index


def _make_plan(manifest: Manifest, images_per_shard: int, seed: int) -> dict[str, list[int]]:
    """Return the rows of each shard by its file name; shards of a split differ by one row at most."""
    plan = {}
    for number, split in enumerate(manifest.splits()):
        rows = np.array([row for row, record in enumerate(manifest.records) if record.split == split])
        np.random.default_rng((seed, number)).shuffle(rows)
        pieces = np.array_split(rows, -(-len(rows) // images_per_shard))
        plan.update({f"{split}-{piece:06d}.tar": part.tolist() for piece, part in enumerate(pieces)})
    return plan


def _plan_hash(manifest: Manifest, plan: Mapping[str, Sequence[int]]) -> str:
    """Return a hash of everything that the shards' bytes depend on; of images the path, size and time of change."""
    key = hashlib.sha256(json.dumps([manifest.label_form, manifest.classes, plan]).encode())
    for record in manifest.records:
        try:
            status = file_of(record.image).stat()
        except OSError as error:
            raise DataError(
                f"Image {record.image} cannot be read: {error.strerror or error}. Check the path."
            ) from None
        fields = record if record.group else record[:-1]  # as before there were groups
        key.update(json.dumps([*fields, status.st_size, status.st_mtime_ns]).encode())
    return key.hexdigest()


def _prepare_folder(out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Leave in the folder nothing but whole shards of this very conversion."""
    out.mkdir(parents=True, exist_ok=True)
    begun = next((name for name in (INDEX, PLAN) if (out / name).is_file()), None)
    if begun is None:
        foreign = sorted(path.name for path in out.iterdir() if path.name != f"{PLAN}.part")
        if foreign:
            raise DataError(
                f"{out} is not empty: found {foreign[0]!r}{' and more' if len(foreign) > 1 else ''}. Choose a new "
                f"or an empty folder for shards."
            )
    else:
        found = _read_json(out / begun)
        if not all(found.get(name) == value for name, value in identity.items()):
            if found.get("format") != FORMAT or not overwrite:
                raise DataError(
                    f"{out} holds shards of other rows, other files or another `images_per_shard`. Choose another "
                    f"folder, or replace them with `overwrite=True`."
                )
            for path in (*out.glob("*.tar"), *out.glob("*.part")):
                path.unlink()
    with beside(out / PLAN) as part:  # a plan that was cut short would be refused as that of other rows
        part.write_text(json.dumps(identity), encoding="utf-8")
    (out / INDEX).unlink(missing_ok=True)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_complete(file: Path, rows: Sequence[int]) -> bool:
    """Return True if a shard that an earlier run left holds the rows of the plan."""
    if not file.is_file():
        return False
    try:
        with tarfile.open(file) as tar:
            names = tar.getnames()
    except (OSError, tarfile.TarError):
        return False
    return list(dict.fromkeys(name.partition(".")[0] for name in names)) == [member_key(row) for row in rows]


def _write_shard(
    file: Path, records: Sequence[Record], numbers: np.ndarray | None, rows: Sequence[int], limit: int
) -> None:
    with beside(file) as part, part.open("wb") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows:
                record = records[row]
                suffix, image = _image_bytes(record.image, limit)
                fields = {"row": row, "label": record.label, "file": name_of(record.image)}
                fields |= {"group": record.group} if record.group else {}
                parts = {suffix: image, "txt": record.text.encode("utf-8", "surrogatepass")}
                if numbers is not None and numbers[row] >= 0:
                    parts["cls"] = str(numbers[row]).encode()
                parts["json"] = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
                for name, content in parts.items():
                    info = tarfile.TarInfo(f"{member_key(row)}.{name}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        stream.flush()
        os.fsync(stream.fileno())


def _image_bytes(image: str, max_pixels: int) -> tuple[str, bytes]:
    """Return the suffix and the bytes of an image; other formats than JPEG and PNG as PNG."""
    try:
        content = read_bytes(image)
    except UnreadableError as error:
        raise DataError(f"Image {image} {error}") from None
    for start, suffix in _IMAGE_KINDS.items():
        if content.startswith(start):
            return suffix, content
    buffer = io.BytesIO()
    read_image(image, max_pixels=max_pixels).save(buffer, "PNG")
    return "png", buffer.getvalue()


def _make_index(manifest: Manifest, out: Path, plan: Mapping[str, Sequence[int]]) -> ShardIndex:
    shards = []
    for name, rows in plan.items():
        with (out / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shards.append(Shard(name, manifest.records[rows[0]].split, len(rows), (out / name).stat().st_size, digest))
    return ShardIndex(out, manifest.source, manifest.classes, tuple(shards), manifest.notes, manifest.label_form)


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
        "labels": index.label_form,
        "notes": index.notes,
        "splits": splits,
        "shards": [shard._asdict() for shard in index.shards],
    }
    with beside(index.folder / INDEX) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    (index.folder / PLAN).unlink()
