"""What a search found."""

from typing import NamedTuple


class ImageHit(NamedTuple):
    """An image that a search found."""

    image: str  # its path
    cosine: float  # with the query, between -1 and 1
    texts: tuple[str, ...]  # those of the image


class TextHit(NamedTuple):
    """A text that a search found."""

    text: str
    cosine: float  # with the query, between -1 and 1
    images: int  # that have this text


class SearchResult(NamedTuple):
    """The nearest images to a query, and the nearest texts of images, the nearest first.

    Example:
        >>> import marnet
        >>> index = marnet.SearchIndex.build("runs/p", split="val", device="cpu")
        >>> found = index.search(image="a.jpg", top=3)
        >>> len(found.images), found.texts[0].text in ("red, round", "green, round", "blue, long")
        (3, True)
    """

    images: tuple[ImageHit, ...]
    texts: tuple[TextHit, ...]
