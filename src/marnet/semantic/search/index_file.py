"""The file of a search index: vectors, names and texts, and what they were computed from, as safetensors.

```
images   (N, width) float32   unit vectors
texts    (T, width) float32   unit vectors of the different texts
stamps   (N + U, 2) int64     size and time of change of the files of the images, and of U that could not be read
names    uint8                JSON: the names and the texts of the images, the names of the unreadable ones
```
Where the images or the texts are in clusters, their vectors are in that order, and
```
images.centroids  texts.centroids  (L, width) float32
images.sizes      texts.sizes      (L,) int64            how many vectors each cluster has
images.rows       texts.rows       (N,) or (T,) int64    the image or the text of each vector
```
The metadata say which run and which branch of it the vectors belong to.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors
from marnet.semantic.search.clusters import Clusters

_FORMAT, _VERSION = "marnet-index", "1"
IMAGES, TEXTS = "images", "texts"
_TENSORS = {IMAGES: torch.float32, TEXTS: torch.float32, "stamps": torch.int64, "names": torch.uint8}
_PARTS = {"centroids": torch.float32, "sizes": torch.int64, "rows": torch.int64}  # of clusters
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
    vectors: np.ndarray  # (N, width) float32, by cluster where there are any
    text_vectors: np.ndarray  # (T, width) float32, likewise
    stamps: np.ndarray  # (N + U, 2) int64
    clusters: Mapping[str, Clusters] = {}  # of the vectors of "images" and "texts", where they are in any

    @property
    def searched(self) -> dict[str, np.ndarray]:
        """The vectors of "images" and of "texts"."""
        return {IMAGES: self.vectors, TEXTS: self.text_vectors}

    def with_clusters(self, name: str, vectors: np.ndarray, clusters: Clusters) -> Self:
        """Return the index with the vectors of "images" or of "texts" in clusters."""
        both = {**self.clusters, name: clusters}
        if name == IMAGES:
            return self._replace(vectors=vectors, clusters=both)
        return self._replace(text_vectors=vectors, clusters=both)


def write_index(stored: StoredIndex, file: Path) -> None:
    """Write an index, whole or not at all; create missing folders.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    names = {"images": stored.images, "texts": stored.texts, "unreadable": stored.unreadable}
    content = np.frombuffer(json.dumps(names).encode("ascii"), np.uint8).copy()
    tensors = {"images": stored.vectors, "texts": stored.text_vectors, "stamps": stored.stamps, "names": content}
    for name, clusters in stored.clusters.items():
        tensors |= {f"{name}.{part}": array for part, array in clusters._asdict().items()}
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
    clustered = [name for name in (IMAGES, TEXTS) if f"{name}.centroids" in header.shapes]
    expected = _TENSORS | {f"{name}.{part}": dtype for name in clustered for part, dtype in _PARTS.items()}
    tensors = load_tensors(file, way_out=_WAY_OUT) if header.shapes.keys() == expected.keys() else {}
    if {name: tensor.dtype for name, tensor in tensors.items()} != expected:
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
            vectors=tensors[IMAGES].numpy(),
            text_vectors=tensors[TEXTS].numpy(),
            stamps=tensors["stamps"].numpy(),
            clusters={
                name: Clusters(*[tensors[f"{name}.{part}"].numpy() for part in Clusters._fields]) for name in clustered
            },
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
    for name, clusters in stored.clusters.items():
        _check_clusters(file, clusters, stored.searched[name])


def _check_clusters(file: Path, clusters: Clusters, vectors: np.ndarray) -> None:
    (centroids, sizes, rows), count = clusters, len(vectors)
    fit = (
        centroids.ndim == 2
        and len(centroids) > 0
        and centroids.shape[1:] == vectors.shape[1:]
        and sizes.shape == centroids.shape[:1]
        and rows.shape == (count,)
        and np.isfinite(centroids).all()
        and ((sizes >= 0) & (sizes <= count)).all()
        and sizes.sum() <= count
        and ((rows >= 0) & (rows < count)).all()
        and (np.bincount(rows, minlength=count) == 1).all()  # each once
    )
    if not fit:
        raise _damaged(file, f"its clusters {centroids.shape} do not fit its vectors {vectors.shape}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:20]!r} is no text")
    return value


def _damaged(file: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(f"{file} is damaged ({reason}). {_WAY_OUT}")
