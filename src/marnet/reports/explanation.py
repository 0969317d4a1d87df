"""The page of 'marnet explain': a section per image with its map, or the sections of one class."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from marnet.comparison.tables import Column, Table
from marnet.inference.activation import ActivationMap
from marnet.metrics import percent
from marnet.reports.blocks import Picture, Pictures, Report, Section
from marnet.reports.page import encode_jpeg, write_report
from marnet.semantic.reading.explain import ClassExplanation, ImageExplanation, TextChange
from marnet.semantic.reading.training_texts import NearText, WordScore
from marnet.semantic.reading.wording import SYMBOLS, change_title, count_texts, describe_change

_DARKEST = 0.15  # the brightness of places that do not speak for a class
_COSINE = "{:.2f}".format


class ExplainedImage(NamedTuple):
    """An image with its read-out."""

    explanation: ImageExplanation
    pixels: np.ndarray  # (S, S, 3) uint8, as the model sees it
    where: ActivationMap | None
    no_map: str = ""  # why there is none


def write_image_page(run: Path, images: Sequence[ExplainedImage], page: Path) -> Path:
    """Write the read-out of images as one HTML file, and return its path.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    report = Report(
        title=f"What {run.resolve().name} sees",
        summary=[
            "The predictions use the image alone. Texts and words are those of the training rows, by their distance to "
            "the image in the space that the run has learned for both."
        ],
        sections=[_image_section(each) for each in images],
    )
    return write_report(report, page)


def write_class_page(run: Path, found: ClassExplanation, page: Path) -> Path:
    """Write the read-out of a class as one HTML file, and return its path.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    nearest = found.neighbours[0].label
    report = Report(
        title=f"{found.label} in {run.resolve().name}",
        summary=[f"{found.label} has {count_texts(found.texts)}. The class whose texts are nearest is {nearest}."],
        sections=[
            Section(
                title=f"{found.label} or {nearest}",
                text=["The words of their training texts that tell the two classes apart."],
                blocks=[
                    _words(f"For {found.label}, against {nearest}", found.more),
                    _words(f"For {nearest}, against {found.label}", found.less),
                ],
            ),
            Section(
                title="Among all classes",
                blocks=[
                    _words(f"Words that {found.label} asks for", found.words),
                    Table(
                        title="Nearest classes",
                        columns=[Column("class"), Column("cosine of their texts", _COSINE)],
                        rows=found.neighbours,
                    ),
                ],
            ),
        ],
    )
    return write_report(report, page)


def _image_section(image: ExplainedImage) -> Section:
    found = image.explanation
    symbol, first = SYMBOLS[found.branch], found.classes[0]
    pictures = [Picture(encode_jpeg(Image.fromarray(image.pixels)), "As the model sees it")]
    if image.where is not None:
        seen = f"Bright: where {first.label} is seen" if image.where.place else f"No place speaks for {first.label}"
        pictures.append(Picture(encode_jpeg(_lit(image.where)), f"{seen} (layer {image.where.layer})"))
    classes = Table(
        title="Predictions",
        columns=[Column("class"), *(Column(title, percent) for title in ("fused", symbol, "backbone alone"))],
        rows=found.classes,
    )
    change = [] if found.change is None else [_change(found.change, found.branch)]
    return Section(
        title=Path(found.image).name,
        text=[f"Most probable: {first.label}, {percent(first.fused)}.", *filter(None, [image.no_map])],
        blocks=[
            Pictures(pictures=pictures),
            classes,
            *change,
            _words("Words that the image asks for", found.words),
            _words(f"Words that {first.label} asks for", found.class_words),
            _texts(found.near_texts),
        ],
    )


def _lit(where: ActivationMap) -> Image.Image:
    """Return the image, dark where nothing speaks for the class."""
    brightness = _DARKEST + (1 - _DARKEST) * where.upscaled()
    return Image.fromarray((where.pixels * brightness[..., None]).astype(np.uint8))


def _words(title: str, words: Sequence[WordScore]) -> Table:
    return Table(
        title=title,
        columns=[Column("word"), Column("correlation", _COSINE), Column("texts with it", "{:,.0f}".format)],
        rows=words,
        note="" if words else "No word that several training texts share.",
    )


def _texts(texts: Sequence[NearText]) -> Table:
    return Table(
        title="Nearest training texts",
        columns=[Column("text"), Column("class"), Column("cosine", _COSINE)],
        rows=[(each.text, ", ".join(each.classes), each.cosine) for each in texts],
    )


def _change(change: TextChange, branch: str) -> Table:
    symbol = SYMBOLS[branch]
    titles = ("fused, before", "after", f"{symbol}, before", "after")
    return Table(
        title=change_title(change),
        columns=[Column("class"), *(Column(title, percent) for title in titles)],
        rows=[(each.label, *each.fused, *(each.semantic or (None, None))) for each in change.classes],
        note=" ".join(describe_change(change, branch)),
    )
