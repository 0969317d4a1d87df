"""The page: one self-contained HTML file, made from the blocks of `blocks.py`.

Everything except a panel's SVG is text and is escaped, because it may come from untrusted files.
"""

import io
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
from PIL import Image
from torch import Tensor

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.evaluation.analysis import Case, ranked_predictions
from marnet.reports.blocks import CaseStudy, NamedPrediction, Plots, Report
from marnet.reports.plots.svg import save_figure

_GENERATOR = b'<meta name="generator" content="marnet">'


def write_report(report: Report, path: Path | str) -> Path:
    """Write one self-contained HTML file, UTF-8, and return its path; create missing folders.

    Raises:
        ValueError: an image is neither a JPEG nor a PNG, or a row of a table has too few or too many cells.
        RunDirectoryError: the file cannot be written.
    """
    target = Path(path)
    html = render_report(report)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # File names that are not UTF-8 reach Python as lone surrogates, which UTF-8 cannot hold.
        with replacing(target) as partial:
            partial.write_text(html, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise RunDirectoryError(
            f"The report {target} cannot be written: {error.strerror or error}. Choose another place with `out`."
        ) from None
    return target


def render_report(report: Report) -> str:
    """Return the report as HTML; see `write_report`."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["confidence"] = format_confidence
    source = files("marnet.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(report=report)


def check_report_target(path: Path) -> None:
    """Check that a report may be written to `path`: only reports are replaced, because they can be made again.

    Raises:
        RunDirectoryError: there is a folder, a file that is not a report of marnet, or no such place.
    """
    try:
        folder, taken = path.is_dir(), os.path.lexists(path)
        page = path.is_file() and _GENERATOR in _beginning(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunDirectoryError(f"{path} cannot be used: {reason}. Choose another `out`.") from None
    if folder:
        raise RunDirectoryError(f"{path} is a folder. Name an HTML file, such as {path / 'report.html'}.")
    if taken and not page:
        raise RunDirectoryError(f"{path} is not a report of marnet. Nothing was changed. Choose another `out`.")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2000)


def write_plots(report: Report, folder: Path) -> list[str]:
    """Write every plot of a report as NAME.svg and NAME.png, with its legend, and return the names.

    A name may hold that of a run, such as A/seed-0; its separators of folders become dashes.

    Raises:
        ValueError: two plots have the same name.
        RunDirectoryError: a file cannot be written.
    """
    blocks = [block for section in report.sections for block in section.blocks if isinstance(block, Plots)]
    panels = [(panel, block.legend) for block in blocks for panel in block.panels]
    names = [panel.name.replace("/", "-").replace("\\", "-") for panel, _ in panels]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"Several plots are called {', '.join(repeated)}. Give each its own name.")
    try:
        for name, (panel, legend) in zip(names, panels, strict=True):
            save_figure(panel.figure, folder, name, legend)
    except OSError as error:
        raise RunDirectoryError(
            f"The plots cannot be written to {folder}: {error.strerror or error}. Choose another folder."
        ) from None
    return names


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
    """Return a case with class names: the `top` classes of each prediction, and the true ones that are not among them.

    Args:
        case: of `analysis.choose_cases`.
        basic, cdr: the probabilities `(N, C)` that it was chosen from.
        classes: names of the C classes.
        image: a JPEG or PNG file; `encode_jpeg` makes one.
        name: of the image, such as its file's.
        text: the text of the image.
        top: number of classes to list.
    """

    def name_predictions(probabilities: Tensor) -> tuple[NamedPrediction, ...]:
        return tuple(
            NamedPrediction(
                classes[prediction.label], prediction.confidence, prediction.rank, prediction.label in case.true_labels
            )
            for prediction in ranked_predictions(probabilities[case.row], case.true_labels, top)
        )

    return CaseStudy(
        kind=case.kind,
        image=image,
        true_label=", ".join(classes[label] for label in case.true_labels) or "none",
        heading="true class" if len(case.true_labels) == 1 else "true classes",
        basic=name_predictions(basic),
        cdr=name_predictions(cdr),
        name=name,
        text=text,
    )


def encode_jpeg(picture: Image.Image, *, side: int = 320) -> bytes:
    """Encode a picture as JPEG of at most `side` pixels in width and height, without metadata."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    bare = Image.new("RGB", small.size)
    bare.paste(small)
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def format_confidence(confidence: float) -> str:
    """Format a probability as in the paper's Figure 4; a value that only rounds to 1 is "> 0.99".

    Example:
        >>> format_confidence(0.64), format_confidence(0.0064), format_confidence(0.999)
        ('0.64', '6.4e-3', '> 0.99')
    """
    if 0.995 <= confidence < 1:
        return "> 0.99"
    if confidence == 0 or confidence >= 0.01:
        return f"{confidence:.2f}"
    mantissa, exponent = f"{confidence:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
