"""The parts of a report: sections of blocks, which are tables, plots, case studies and gaps.

A new kind of block is a dataclass with a `kind` and a macro of that name in `page.html.j2`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from matplotlib.figure import Figure

from marnet.comparison.tables import Table
from marnet.evaluation.analysis import CASE_RULE, CaseKind
from marnet.reports.plots.style import Mark
from marnet.reports.plots.svg import svg

_MIME_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


class KeyMetric(NamedTuple):
    """A number at the top of the page."""

    value: str
    label: str
    note: str = ""


class Panel(NamedTuple):
    """One plot."""

    figure: Figure
    alt: str  # a description for readers who cannot see it
    name: str  # of its files, such as "training-loss"

    @property
    def svg(self) -> str:
        """The plot as an element of the page."""
        return svg(self.figure)


class NamedPrediction(NamedTuple):
    """A class in the list of a case study."""

    label: str
    confidence: float  # between 0 and 1
    rank: int  # 1 for the most probable class
    is_true: bool


@dataclass(frozen=True, kw_only=True)
class CaseStudy:
    """One image with the basic prediction and CDR's (Figure 4 of the paper). `image` holds a JPEG or PNG file."""

    kind: CaseKind
    image: bytes
    true_label: str  # of several classes, all of them
    basic: tuple[NamedPrediction, ...]
    cdr: tuple[NamedPrediction, ...]
    name: str = ""  # such as the file's
    text: str = ""  # the text of the image; no prediction used it
    heading: str = "true class"

    @property
    def source(self) -> str:
        """The image as a data URI.

        Raises:
            ValueError: the image is neither a JPEG nor a PNG.
        """
        return _data_uri(self.image, f"case {self.name!r}")


class Picture(NamedTuple):
    """An image with a caption. `image` holds a JPEG or PNG file."""

    image: bytes
    caption: str
    text: str = ""  # below the caption

    @property
    def source(self) -> str:
        """The image as a data URI.

        Raises:
            ValueError: the image is neither a JPEG nor a PNG.
        """
        return _data_uri(self.image, f"the picture {self.caption!r}")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Images side by side: a few large ones, or many small ones."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]
    layout: Literal["few", "many"] = "few"


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Panels side by side under one legend and one caption.

    `layout` sets the width of a panel: "normal" puts two in a row, "small" four; "wide" is a row of its own, which
    scrolls on narrow screens.
    """

    kind: ClassVar[str] = "plots"
    panels: Sequence[Panel]
    caption: str
    legend: Sequence[Mark] = ()
    layout: Literal["normal", "small", "wide"] = "normal"


@dataclass(frozen=True, kw_only=True)
class CaseStudies:
    """Cards of case studies, with the rule that chose them."""

    kind: ClassVar[str] = "cases"
    cases: Sequence[CaseStudy]
    note: str = CASE_RULE


class Gap(NamedTuple):
    """A section that could not be made."""

    title: str
    reason: str  # a sentence that says what is missing
    command: str = ""  # that makes it


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The sections that the report lacks, and how to get them."""

    kind: ClassVar[str] = "gaps"
    gaps: Sequence[Gap]


Block = Table | Plots | Pictures | CaseStudies | Gaps


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a few sentences and blocks."""

    title: str
    blocks: Sequence[Block]
    text: Sequence[str] = ()  # paragraphs


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of a page, in its order."""

    title: str
    summary: Sequence[str] = ()  # sentences
    key_metrics: Sequence[KeyMetric] = ()
    sections: Sequence[Section] = ()
    configuration: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def _data_uri(image: bytes, owner: str) -> str:
    for beginning, mime_type in _MIME_TYPES.items():
        if image.startswith(beginning):
            return f"data:{mime_type};base64,{base64.b64encode(image).decode('ascii')}"
    raise ValueError(f"The image of {owner} begins with {image[:8]!r}, but must be a JPEG or PNG file.")
