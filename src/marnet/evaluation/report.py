"""The report: one HTML file that needs nothing else, from tables, figures and case studies.

A report is sections of blocks. A new kind of block is a dataclass with a `kind` and a macro of that name in
`report.html.j2`. Everything but `Panel.svg` is text and is escaped; it may come from anybody's files.
"""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import jinja2
from PIL import Image
from torch import Tensor

from marnet.evaluation.analysis import CASE_RULE, Case, CaseKind, top_guesses
from marnet.evaluation.figures import Mark


class Shown(NamedTuple):
    """A number that is shown by words of its own, such as a mean with its deviation; the number ranks it."""

    value: float
    text: str


CellValue = str | float | int | Shown | None

_MIME_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}


class Column(NamedTuple):
    """A column of a table. `show` turns its numbers into text and makes it a column of numbers."""

    title: str
    show: Callable[[float], str] | None = None  # such as `marnet.metrics.percent` or "{:.3f}".format
    best: Literal["max", "min"] | None = None  # which value to mark; None marks none


class Cell(NamedTuple):
    """What the page shows of a value."""

    text: str
    numeric: bool
    best: bool


class KeyFigure(NamedTuple):
    """A figure to see first."""

    value: str
    label: str
    note: str = ""


class Panel(NamedTuple):
    """One drawing. `svg` is put into the page as it is: it must come from `figures.svg`."""

    svg: str
    alt: str  # what it shows, for those who cannot see it


class NamedGuess(NamedTuple):
    """A class as a case study lists it."""

    label: str
    confidence: float  # between 0 and 1
    rank: int  # 1 for the most probable class
    is_true: bool


@dataclass(frozen=True, kw_only=True)
class CaseStudy:
    """One image, the basic prediction and CDR's (Figure 4 of the paper). `image` holds a JPEG or PNG file."""

    kind: CaseKind
    image: bytes
    true_label: str
    basic: tuple[NamedGuess, ...]
    cdr: tuple[NamedGuess, ...]
    name: str = ""  # such as the file's
    text: str = ""  # what the data says of the image; no prediction saw it

    @property
    def source(self) -> str:
        """The image as a data URI.

        Raises:
            ValueError: the image is neither a JPEG nor a PNG.
        """
        for beginning, mime_type in _MIME_TYPES.items():
            if self.image.startswith(beginning):
                return f"data:{mime_type};base64,{base64.b64encode(self.image).decode('ascii')}"
        raise ValueError(f"The image of case {self.name!r} begins with {self.image[:8]!r}; needed a JPEG or PNG file.")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of values under columns; the first column names the row. None and NaN are shown as a dash."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[CellValue]]
    note: str = ""

    def cells(self) -> list[list[Cell]]:
        """The rows as text. Values that read the same as the best one of a column are marked as well."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"A row of table {self.title!r} has {len(row)} cells; needed {len(self.columns)}, one for each "
                    f"column: {row}"
                )
        columns = [
            _column_cells(column, [row[number] for row in self.rows]) for number, column in enumerate(self.columns)
        ]
        return [list(row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Plots:
    """Panels side by side under one legend and one caption."""

    kind: ClassVar[str] = "plots"
    panels: Sequence[Panel]
    caption: str
    legend: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class CaseStudies:
    """Cards of case studies and the rule that chose them."""

    kind: ClassVar[str] = "cases"
    cases: Sequence[CaseStudy]
    note: str = CASE_RULE


Block = Table | Plots | CaseStudies


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a few sentences and what they speak of."""

    title: str
    blocks: Sequence[Block]
    text: Sequence[str] = ()  # paragraphs


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page shows, in its order."""

    title: str
    summary: Sequence[str] = ()  # sentences
    key_figures: Sequence[KeyFigure] = ()
    sections: Sequence[Section] = ()
    configuration: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, path: Path | str) -> Path:
    """Write one self-contained HTML file, UTF-8, and return its path; missing folders are made.

    Raises:
        ValueError: an image is neither a JPEG nor a PNG, or a row of a table has too few or too many cells.
        OSError: the file cannot be written.
    """
    target = Path(path)
    html = render_report(report)
    target.parent.mkdir(parents=True, exist_ok=True)
    # File names that are not UTF-8 reach Python as lone surrogates, which UTF-8 cannot hold.
    target.write_text(html, encoding="utf-8", errors="backslashreplace")
    return target


def render_report(report: Report) -> str:
    """The report as HTML; see `write_report`."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["confidence"] = format_confidence
    source = files("marnet.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(report=report)


def make_case_study(
    case: Case,
    *,
    basic: Tensor,
    cdr: Tensor,
    classes: Sequence[str],
    image: bytes,
    name: str = "",
    text: str = "",
    top: int = 3,
) -> CaseStudy:
    """Put the names to a case: the `top` classes of each prediction, and the true class where it is not among them.

    Args:
        case: of `analysis.choose_cases`.
        basic, cdr: the probabilities `(N, C)` that it was chosen from.
        classes: names of the C classes.
        image: a JPEG or PNG file; `encode_jpeg` makes one.
        name: of the image, such as its file's.
        text: what the data says of the image.
        top: classes to list.
    """

    def name_guesses(probabilities: Tensor) -> tuple[NamedGuess, ...]:
        return tuple(
            NamedGuess(classes[guess.label], guess.confidence, guess.rank, guess.label == case.true_label)
            for guess in top_guesses(probabilities[case.row], case.true_label, top)
        )

    return CaseStudy(
        kind=case.kind,
        image=image,
        true_label=classes[case.true_label],
        basic=name_guesses(basic),
        cdr=name_guesses(cdr),
        name=name,
        text=text,
    )


def encode_jpeg(picture: Image.Image, *, side: int = 320) -> bytes:
    """A picture as a JPEG file of at most `side` pixels in width and height, without the metadata of its file."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def format_confidence(confidence: float) -> str:
    """A probability as the paper's Figure 4 writes it: "0.64", and small ones "6.4e-3"; "> 0.99" is not yet 1."""
    if 0.995 <= confidence < 1:
        return "> 0.99"
    if confidence == 0 or confidence >= 0.01:
        return f"{confidence:.2f}"
    mantissa, exponent = f"{confidence:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _column_cells(column: Column, values: Sequence[CellValue]) -> list[Cell]:
    numbers = [_number(value) for value in values]
    finite = [number for number in numbers if number is not None]
    best = None
    if column.show is not None and column.best is not None and len(finite) > 1:
        best = column.show(max(finite) if column.best == "max" else min(finite))
    return [
        Cell(
            _cell_text(column, value),
            column.show is not None,
            best is not None and number is not None and column.show is not None and column.show(number) == best,
        )
        for value, number in zip(values, numbers, strict=True)
    ]


def _number(value: CellValue) -> float | None:
    number = value.value if isinstance(value, Shown) else value
    return number if isinstance(number, int | float) and math.isfinite(number) else None


def _cell_text(column: Column, value: CellValue) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, Shown):
        return value.text
    return str(value) if column.show is None or isinstance(value, str) else column.show(value)
