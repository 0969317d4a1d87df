"""The file of a search index: vectors, names and texts, and what they were computed from, as safetensors.

```
images   (N, width) float32   unit vectors
texts    (T, width) float32   unit vectors of the different texts
stamps   (N + U, 2) int64     size and time of change of the files of the images, and of U that could not be read
names    uint8                JSON: the names and the texts of the images, the names of the unreadable ones
```
The metadata say which run and which branch of it the vectors belong to.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors

_FORMAT, _VERSION = "marnet-index", "1"
_TENSORS = {"images": torch.float32, "texts": torch.float32, "stamps": torch.int64, "names": torch.uint8}
_WAY_OUT = "Delete it, and the next search writes it again."


class StoredIndex(NamedTuple):
    """The content of the file."""

    run: str  # the digest of the run, `marnet.runs.identity`
    branch: str
    source: str
    features: str  # the file of stored features, "" where images were read
    images: tuple[str, ...]  # N
    texts: tuple[tuple[str, ...], ...]  # N
    unreadable: tuple[str, ...]  # U
    vectors: np.ndarray  # (N, width) float32
    text_vectors: np.ndarray  # (T, width) float32
    stamps: np.ndarray  # (N + U, 2) int64


def write_index(stored: StoredIndex, file: Path) -> None:
    """Write an index, whole or not at all; create missing folders.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    names = {"images": stored.images, "texts": stored.texts, "unreadable": stored.unreadable}
    content = np.frombuffer(json.dumps(names).encode("ascii"), np.uint8).copy()
    tensors = {"images": stored.vectors, "texts": stored.text_vectors, "stamps": stored.stamps, "names": content}
    metadata = {"format": _FORMAT, "version": _VERSION, "run": stored.run, "branch": stored.branch}
    metadata |= {"source": json.dumps(stored.source), "features": json.dumps(stored.features)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{file.parent} cannot be made: {error.strerror or error}. Choose another `index`."
        ) from None
    with replacing(file) as partial:
        save_tensors(partial, {name: torch.from_numpy(array) for name, array in tensors.items()}, metadata)


def read_index(file: Path) -> StoredIndex:
    """Read an index.

    Raises:
        RunDirectoryError: the file is missing, damaged, of a newer version, or no index.
    """
    header = read_header(file, way_out="Name a file written by 'marnet search', or one that does not exist yet.")
    found = header.metadata
    if found.get("format") != _FORMAT:
        raise RunDirectoryError(
            f"{file} is no index of a search. Nothing was changed. Name one, or a file that does not exist yet."
        )
    if found.get("version") != _VERSION:
        raise RunDirectoryError(
            f"{file} has version {found.get('version')!r} of its format, but this marnet reads version {_VERSION}. "
            f"Update marnet, or delete the file, and the next search writes it again."
        )
    tensors = load_tensors(file, way_out=_WAY_OUT) if header.shapes.keys() == _TENSORS.keys() else {}
    if {name: tensor.dtype for name, tensor in tensors.items()} != _TENSORS:
        raise _damaged(file, "it does not hold the tensors of an index")
    try:
        names = json.loads(tensors["names"].numpy().tobytes())
        stored = StoredIndex(
            found["run"],
            found["branch"],
            _text(json.loads(found["source"])),
            _text(json.loads(found["features"])),
            tuple(map(_text, names["images"])),
            tuple(tuple(map(_text, own)) for own in names["texts"]),
            tuple(map(_text, names["unreadable"])),
            *(tensors[name].numpy() for name in ("images", "texts", "stamps")),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(file, f"its names cannot be read: {error}") from None
    _check(file, stored)
    return stored


def _check(file: Path, stored: StoredIndex) -> None:
    count, known = len(stored.images), {text for own in stored.texts for text in own}
    vectors, texts, stamps = stored.vectors, stored.text_vectors, stored.stamps
    fit = (
        vectors.ndim == texts.ndim == stamps.ndim == 2
        and (len(vectors), len(texts), len(stored.texts)) == (count, len(known), count)
        and vectors.shape[1] == texts.shape[1]
        and stamps.shape == (count + len(stored.unreadable), 2)
    )
    if not fit:
        raise _damaged(file, f"its {count} names do not fit its vectors {vectors.shape}")
    if not (np.isfinite(vectors).all() and np.isfinite(texts).all()):
        raise _damaged(file, "a vector is not finite")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:20]!r} is no text")
    return value


def _damaged(file: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(f"{file} is damaged ({reason}). {_WAY_OUT}")
