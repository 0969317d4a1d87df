"""The page of 'marnet data label-errors': the pictures of suspicious labels, with what image and text say."""

from collections.abc import Sequence
from pathlib import Path

from marnet.comparison.tables import Column, Table
from marnet.data.images import read_image
from marnet.evaluation.label_errors import LabelErrors, LabelSuspect, describe_label_errors
from marnet.reports.blocks import Picture, Pictures, Report, Section
from marnet.reports.page import encode_jpeg, write_report


def write_label_sheet(found: LabelErrors, listed: Sequence[LabelSuspect], page: Path) -> Path:
    """Write the listed rows as one HTML file with thumbnails, and return its path.

    Raises:
        ImageError: the image of a row can no longer be read.
        RunDirectoryError: the file cannot be written.
    """
    pictures = [
        Picture(
            encode_jpeg(read_image(each.record.image), side=240), f"{each.given} → {each.likely}?", each.record.text
        )
        for each in listed
    ]
    report = Report(
        title="Labels that are probably wrong",
        summary=[f"{len(listed)} of {len(found.suspects)} rows.", *describe_label_errors(found)],
        sections=[
            Section(
                title="The most suspicious first",
                text=["The given label → what image and text make more probable. Look before you change one."],
                blocks=[Pictures(pictures=pictures, layout="many")],
            ),
            Section(title="Witnesses", blocks=[_table(listed)]),
        ],
    )
    return write_report(report, page)


def _table(listed: Sequence[LabelSuspect]) -> Table:
    return Table(
        title="Probabilities of the given label",
        columns=[
            Column("image"),
            Column("split"),
            Column("given label"),
            Column("likely label"),
            *(Column(title, "{:.4f}".format) for title in ("score", "by image", "by text")),
        ],
        rows=[
            (
                Path(each.record.image).name,
                each.record.split,
                each.given,
                each.likely,
                each.score,
                each.by_image,
                each.by_text,
            )
            for each in listed
        ],
    )
