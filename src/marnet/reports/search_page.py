"""The page of 'marnet search': a sheet of the images that were found, and the texts."""

import os
from pathlib import Path

from PIL import Image

from marnet.comparison.tables import Column, Table
from marnet.data.decoding import ImageLike, decode
from marnet.errors import ImageError
from marnet.reports.blocks import Picture, Pictures, Report, Section
from marnet.reports.page import encode_jpeg, write_report
from marnet.semantic.search.index import SearchIndex
from marnet.semantic.search.query import Query
from marnet.semantic.search.result import ImageHit, SearchResult

_SIDE = 240  # pixels of a thumbnail
_COSINE = "{:.2f}".format
_ABSENT = "#9a9fa8"


def write_search_page(query: Query, index: SearchIndex, found: SearchResult, page: Path) -> Path:
    """Write what a search found as one HTML file, and return its path.

    The texts are shown where the query has an image.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    run, collection = index.space.predictor.run.resolve().name, index.collection
    sections = [_images_section(found)]
    if query.image is not None:
        asked = Picture(_thumbnail(query.image), "The image of the query")
        sections.insert(0, Section(title="Query", blocks=[Pictures(pictures=[asked])]))
        sections.append(_texts_section(found))
    report = Report(
        title=f"Nearest to {query.describe()}",
        summary=[
            f"The {len(found.images)} nearest of {len(collection.images)} images of "
            f"{os.path.basename(os.path.normpath(collection.source))}, by their cosine with the query in the space "  # noqa: PTH119 (any text)
            f"that the run {run} has learned for images and texts. Images are placed by what they show; their texts, "
            f"shown below them, do not count."
        ],
        sections=sections,
    )
    return write_report(report, page)


def _images_section(found: SearchResult) -> Section:
    return Section(
        title="Images",
        text=["The number is the cosine with the query: 1 for the same direction, 0 for unrelated."],
        blocks=[Pictures(pictures=[_picture(hit) for hit in found.images], layout="many")],
    )


def _picture(hit: ImageHit) -> Picture:
    caption, texts = f"{_COSINE(hit.cosine)} \N{MIDDLE DOT} {Path(hit.image).name}", " / ".join(hit.texts)
    try:
        return Picture(_thumbnail(hit.image), caption, texts)
    except ImageError:
        blank = encode_jpeg(Image.new("RGB", (_SIDE, _SIDE), _ABSENT))
        return Picture(blank, f"{caption} (the image can no longer be read)", texts)


def _thumbnail(image: ImageLike) -> bytes:
    return encode_jpeg(decode(image, min_side=_SIDE), side=_SIDE)


def _texts_section(found: SearchResult) -> Section:
    table = Table(
        title="Nearest texts",
        columns=[Column("text"), Column("images with it", "{:,.0f}".format), Column("cosine", _COSINE)],
        rows=[(hit.text, hit.images, hit.cosine) for hit in found.texts],
        note="" if found.texts else "These images have no texts.",
    )
    return Section(title="Texts", blocks=[table])
