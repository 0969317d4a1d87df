"""A query as one vector of the unified space: a text, an image, both together, and without what another text says."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marnet.data.decoding import ImageLike
from marnet.errors import ConfigError, list_some, suggest
from marnet.semantic.space import UnifiedSpace

_logger = logging.getLogger("marnet")
_LEAST_LENGTH = 1e-3  # of a sum of unit vectors; a shorter one points nowhere


class Query(NamedTuple):
    """What a search asks for: a text, an image, or both."""

    text: str | None = None
    image: ImageLike | None = None  # what it is like, in any form that `Predictor` takes
    without: str | None = None  # a text that is subtracted

    def describe(self) -> str:
        """Return the query in words.

        Example:
            >>> Query("green", "photos/a.jpg", without="round").describe()
            "the text 'green' and the image a.jpg, without 'round'"
        """
        asked = [] if self.text is None else [f"the text {self.text!r}"]
        if isinstance(self.image, str | os.PathLike):
            asked.append(f"the image {Path(self.image).name}")
        elif self.image is not None:
            asked.append("an image")
        return " and ".join(asked) + ("" if self.without is None else f", without {self.without!r}")


def query_vector(space: UnifiedSpace, query: Query) -> np.ndarray:
    """Return the unit vector `(width,)` of a query.

    The text less what is to be left out is a direction, which counts as much as the image. Short texts have much in
    common in such a space, so that their difference would be lost beside the image at its own length.

    Words that the text encoder does not know are logged.

    Raises:
        ConfigError: there is neither a text nor an image, a text says nothing to the text encoder, or what is
            subtracted is all that is asked for.
        ImageError: the image cannot be read.
    """
    text, image, without = query
    if text is None and image is None:
        raise ConfigError("A search asks for a `text`, an `image` or both. Give one of them.")
    direction = np.zeros(space.width, np.float32)
    if text is not None:
        direction += _text_vector(space, text, "text")
    if without is not None:
        direction -= _text_vector(space, without, "without")
    if text is not None or without is not None:
        direction = _unit(direction, query)
    if image is None:
        return direction
    found = space.images(image).numpy()
    if len(found) != 1:
        raise ConfigError(f"A search takes one `image`, but {len(found)} were given. Search for each by itself.")
    return _unit(found[0] + direction, query)


def _unit(vector: np.ndarray, query: Query) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < _LEAST_LENGTH:
        raise ConfigError(
            f"Nothing is left of the query {query.describe()}: its parts cancel out. Ask for something else."
        )
    return np.asarray(vector / length, np.float32)


def _text_vector(space: UnifiedSpace, text: str, name: str) -> np.ndarray:
    """Return the unit vector `(width,)` of a text, which was given as the argument `name`.

    Raises:
        ConfigError: it says nothing to the text encoder.
    """
    if not text.strip():
        raise ConfigError(f"The `{name}` of the search is blank. Say something in it, or leave it out.")
    vector = space.texts([text])[0].numpy()
    unknown = space.unknown_words(text)
    near = "".join(suggest(word, space.vocabulary, limit=1, cutoff=0.8) for word in unknown[:1])
    if not vector.any():
        known = f", which learned {len(space.vocabulary):,} words from the training texts" if space.vocabulary else ""
        raise ConfigError(
            f"The text {text!r} says nothing to the text encoder of {space.predictor.run}{known}. It knows none of its "
            f"words{f': {list_some(unknown)}' if unknown else ''}.{near} Use words of the training texts as `{name}`."
        )
    if unknown:
        _logger.warning("Words that the text encoder does not know count for nothing: %s.%s", list_some(unknown), near)
    return vector
