"""The contents of a report: the registry of its sections, in the order of the page.

A new section is a file in `sections/` with a function that takes a `ReportContext`, and one line here. A section from
outside the package calls `register_section`.
"""

from collections.abc import Callable
from typing import NamedTuple

from marnet.reports.blocks import Gap, Gaps, Section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.sections import (
    ablation,
    calibration,
    cases,
    classes,
    confidence,
    features,
    metrics,
    robustness,
    settings,
    training,
)

Build = Callable[[ReportContext], Section | None]


class SectionBuilder(NamedTuple):
    """A section of reports on runs and on comparisons."""

    title: str
    build: Build  # returns None if there is nothing to show; raises `Unavailable` if input is missing


SECTIONS: list[SectionBuilder] = [
    SectionBuilder(metrics.TITLE, metrics.build),
    SectionBuilder(ablation.TITLE, ablation.build),
    SectionBuilder(robustness.TITLE, robustness.build),
    SectionBuilder(classes.TITLE, classes.build),
    SectionBuilder(confidence.TITLE, confidence.build),
    SectionBuilder(calibration.TITLE, calibration.build),
    SectionBuilder(features.TITLE, features.build),
    SectionBuilder(cases.TITLE, cases.build),
    SectionBuilder(training.TITLE, training.build),
    SectionBuilder(settings.TITLE, settings.build),
]


def register_section(title: str, build: Build, *, before: str | None = None) -> SectionBuilder:
    """Add a section to every report that is written from now on.

    Args:
        title: its heading, also that of its gap if it cannot be made.
        build: makes it from the context of the report.
        before: the title of the section that it precedes; None puts it at the end.

    Raises:
        ValueError: a section has this title already, or none has the title `before`.
    """
    titles = [section.title for section in SECTIONS]
    if title in titles:
        raise ValueError(f"There is already a section {title!r}. Choose another title.")
    if before is not None and before not in titles:
        raise ValueError(f"There is no section {before!r} to put {title!r} before. Choose one of {', '.join(titles)}.")
    section = SectionBuilder(title, build)
    SECTIONS.insert(len(SECTIONS) if before is None else titles.index(before), section)
    return section


def build_sections(context: ReportContext, *, gaps: tuple[Gap, ...] = ()) -> list[Section]:
    """Build every registered section; the ones that cannot be made are listed in a last section.

    Args:
        context: the input of all sections.
        gaps: further gaps to list.
    """
    sections: list[Section] = []
    missing: list[Gap] = []
    for title, build in SECTIONS:
        try:
            section = build(context)
        except Unavailable as found:
            missing.append(Gap(title, found.reason, found.command))
            continue
        if section is not None:
            sections.append(section)
    missing += gaps
    if missing:
        sections.append(Section(title="Not in this report", blocks=[Gaps(gaps=missing)]))
    return sections
