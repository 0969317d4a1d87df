"""Search in the unified space of a run: by text, by image, by both, among images and among their texts."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from marnet.data.decoding import ImageLike
from marnet.errors import ConfigError
from marnet.runs.code import AllowCode
from marnet.runs.identity import run_digest
from marnet.semantic.search.changes import describe_changes
from marnet.semantic.search.clustering import add_clusters, describe_unclustered
from marnet.semantic.search.clusters import ClusteredVectors, Clusters
from marnet.semantic.search.collection import Collection, list_collection, place_collection
from marnet.semantic.search.index_file import IMAGES, TEXTS, StoredIndex, read_index, write_index
from marnet.semantic.search.nearest import ExactVectors
from marnet.semantic.search.query import Query, query_vector
from marnet.semantic.search.result import ImageHit, SearchResult, TextHit
from marnet.semantic.space import UnifiedSpace, open_space

_TEXTS = 16384  # that are encoded at a time
_logger = logging.getLogger("marnet")


class SearchIndex:
    """Images and their texts in the unified space of a run, to be searched. `build` makes one, `load` reads one.

    The search is exact, every image is compared with the query, unless there are more than a million and `save` has
    found clusters of them; see `marnet.semantic.search.clusters`.

    Attributes:
        space: of the run.
        collection: the N images, with their texts.
        texts: the T different texts.
        unreadable: images that were left out.
        clusters: of the vectors of "images" and of "texts", where they are too many for an exact search; the
            constructor takes such vectors in the order of their clusters.

    Example:
        >>> import marnet
        >>> index = marnet.SearchIndex.build("runs/p", split="val", device="cpu")
        >>> len(index.collection.images), sorted(index.texts)
        (9, ['blue, long', 'green, round', 'red, round'])
        >>> found = index.search(image=index.collection.images[0])
        >>> found.images[0].image == index.collection.images[0]  # it is most like itself
        True
        >>> like_this_but_green = index.search("green", image="a.jpg", without="red")
        >>> path = index.save("val.index")
        >>> again = marnet.SearchIndex.load(path, "runs/p", device="cpu")
        >>> again.search("green") == index.search("green")
        True
    """

    def __init__(
        self,
        space: UnifiedSpace,
        collection: Collection,
        vectors: np.ndarray,
        text_vectors: np.ndarray,
        *,
        unreadable: Sequence[str] = (),
        clusters: Mapping[str, Clusters] | None = None,
    ) -> None:
        self.space = space
        self.collection = collection
        self.texts = collection.unique_texts()
        self.unreadable = tuple(unreadable)
        numbers = {text: number for number, text in enumerate(self.texts)}
        own = [numbers[text] for texts in collection.texts for text in texts]
        self._images_of = np.bincount(np.array(own, np.int64), minlength=len(self.texts))  # (T,)
        self._use(vectors, text_vectors, clusters or {})

    @property
    def vectors(self) -> np.ndarray:
        """Unit vectors of the images, `(N, width)` float32; a copy where they are in clusters."""
        return self._near_images.vectors

    @property
    def text_vectors(self) -> np.ndarray:
        """Unit vectors of the texts, `(T, width)` float32; zero for a text that says nothing to the encoder."""
        return self._near_texts.vectors

    @classmethod
    def build(
        cls,
        run: Path | str | UnifiedSpace,
        *,
        images: Path | str | Sequence[Path | str] | None = None,
        data: Any = None,
        features: Path | str | None = None,
        split: str | None = None,
        device: str = "auto",
        allow_code: AllowCode = False,
    ) -> Self:
        """Return an index of the run's own rows, or of other images.

        Args:
            run: the run directory, or its space.
            images: a folder, which is searched at any depth, or paths of images; they have no texts.
            data: rows, in any form that `train` takes; their labels are not read.
            features: a folder written by 'marnet embed' with the backbone of the run; no image is opened.
            split: of the rows, "train", "val" or "test"; None: all.
            device: where to compute; a space has its own.
            allow_code: import code that the run names (`module:PACKAGE.NAME`).

        Raises:
            ConfigError: the run has no space that images and texts share, or more than one collection is named.
            MarnetError: the run is damaged, or the collection is empty or cannot be read.
        """
        space = open_space(run, device=device, allow_code=allow_code)
        collection = list_collection(
            space.predictor, images=images, data=data, features=features, split=split, allow_code=allow_code
        )
        return cls._of_collection(space, collection)

    @classmethod
    def load(
        cls, file: Path | str, run: Path | str | UnifiedSpace, *, device: str = "auto", allow_code: AllowCode = False
    ) -> Self:
        """Read an index that `save` wrote; log what has changed since in the files of its images.

        Args:
            file: the index.
            run: the run directory that it belongs to, or its space.
            device: where to compute; a space has its own.
            allow_code: import code that the run names (`module:PACKAGE.NAME`).

        Raises:
            ConfigError: the index belongs to another run, or to other weights of this one.
            RunDirectoryError: the file is missing, damaged, or no index.
        """
        return cls._of_file(Path(file), open_space(run, device=device, allow_code=allow_code), None)

    @classmethod
    def open(
        cls,
        file: Path | str,
        run: Path | str | UnifiedSpace,
        *,
        images: Path | str | Sequence[Path | str] | None = None,
        data: Any = None,
        features: Path | str | None = None,
        split: str | None = None,
        device: str = "auto",
        allow_code: AllowCode = False,
    ) -> Self:
        """Read an index if there is one, else build and save it. The arguments are those of `build`.

        Where the images are named, an index that was read is compared with them, and what differs is logged.

        Raises:
            ConfigError: the index belongs to another run, or holds none of the images that are named.
            MarnetError: as for `build` and `load`.
        """
        file, space = Path(file), open_space(run, device=device, allow_code=allow_code)
        exists = os.path.lexists(file)
        if exists and images is None and data is None and features is None and split is None:
            return cls._of_file(file, space, None)
        collection = list_collection(
            space.predictor, images=images, data=data, features=features, split=split, allow_code=allow_code
        )
        if exists:
            return cls._of_file(file, space, collection)
        index = cls._of_collection(space, collection)
        index.save(file)
        return index

    def save(self, file: Path | str) -> Path:
        """Write the index, whole or not at all, and return its path; an index that is there is replaced.

        More than a million images or texts are put into clusters first, which takes minutes and the extra `faiss`.
        From then on a search compares the query with the nearest clusters only.

        Raises:
            RunDirectoryError: the file cannot be written, or is something other than an index.
        """
        file = Path(file)
        if os.path.lexists(file):
            read_index(file)  # refuses what is none
        found, run = self.collection, self.space.predictor.run
        every = found._replace(images=found.images + self.unreadable)
        stored = StoredIndex(
            run=run_digest(run),
            branch=self.space.branch,
            source=found.source,
            features=found.features,
            images=found.images,
            texts=found.texts,
            unreadable=self.unreadable,
            vectors=self._near_images.stored,
            text_vectors=self._near_texts.stored,
            stamps=every.stamps(),
            clusters=self.clusters,
        )
        stored = add_clusters(stored)
        write_index(stored, file)
        self._use(stored.vectors, stored.text_vectors, stored.clusters)
        return file

    def search(
        self, text: str | None = None, *, image: ImageLike | None = None, without: str | None = None, top: int = 20
    ) -> SearchResult:
        """Return the nearest images and texts to a text, an image or both.

        Args:
            text: what is asked for, in words; words that the run's text encoder does not know are logged.
            image: what it is like, in any form that `Predictor` takes.
            without: a text that is subtracted from the query.
            top: how many images, and how many texts.

        Raises:
            ConfigError: there is neither a text nor an image, or a text says nothing to the text encoder of the run.
            ImageError: the image cannot be read.
            ValueError: `top` is less than 1.
        """
        return self.nearest_to(query_vector(self.space, Query(text, image, without)), top=top)

    def nearest_to(self, vector: np.ndarray, *, top: int = 20) -> SearchResult:
        """Return the nearest images and texts to a unit vector `(width,)` float32 of the space.

        Raises:
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"`top` is {top}, but it must be 1 or more.")
        images = self._near_images.nearest(vector[None], top)
        texts = self._near_texts.nearest(vector[None], top)
        return SearchResult(
            tuple(
                ImageHit(self.collection.images[row], float(cosine), self.collection.texts[row])
                for row, cosine in zip(images.rows[0].tolist(), images.cosines[0], strict=True)
            ),
            tuple(
                TextHit(self.texts[row], float(cosine), int(self._images_of[row]))
                for row, cosine in zip(texts.rows[0].tolist(), texts.cosines[0], strict=True)
            ),
        )

    def _use(self, vectors: np.ndarray, text_vectors: np.ndarray, clusters: Mapping[str, Clusters]) -> None:
        """Search these vectors, by cluster where there are any."""
        self.clusters = dict(clusters)
        self._near_images = _searched(vectors, clusters.get(IMAGES))
        self._near_texts = _searched(text_vectors, clusters.get(TEXTS))

    @classmethod
    def _of_collection(cls, space: UnifiedSpace, collection: Collection) -> Self:
        found = place_collection(space, collection)
        texts = found.collection.unique_texts()
        parts = [space.texts(texts[at : at + _TEXTS]).numpy() for at in range(0, max(len(texts), 1), _TEXTS)]
        text_vectors = np.concatenate(parts)
        silent = int((~text_vectors.any(1)).sum())
        if silent:
            _logger.warning(
                "%d of %d texts say nothing to the text encoder, so that no search finds them.",
                silent,
                len(text_vectors),
            )
        kept = found.collection._replace(x_v=None)
        return cls(space, kept, found.vectors, text_vectors, unreadable=found.unreadable)

    @classmethod
    def _of_file(cls, file: Path, space: UnifiedSpace, named: Collection | None) -> Self:
        """Read an index, check that it belongs to the run, and log how it differs from the images that are named."""
        stored, run = read_index(file), space.predictor.run
        if (stored.run, stored.branch, stored.vectors.shape[1]) != (run_digest(run), space.branch, space.width):
            raise ConfigError(
                f"{file} was computed with other weights than those of {run}, or with another branch. Name another "
                f"`index`, or delete it, and the next search writes it again."
            )
        for changes in filter(None, (describe_changes(file, stored, named), describe_unclustered(file, stored))):
            _logger.warning("%s", changes)
        collection = Collection(stored.images, stored.texts, stored.source, stored.features)
        return cls(
            space,
            collection,
            stored.vectors,
            stored.text_vectors,
            unreadable=stored.unreadable,
            clusters=stored.clusters,
        )


def _searched(vectors: np.ndarray, clusters: Clusters | None) -> ExactVectors | ClusteredVectors:
    return ExactVectors(vectors) if clusters is None else ClusteredVectors(vectors, clusters)
