"""The context of a report: everything that its sections may show, made once and shared by all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from marnet.comparison.records import RunRecord
from marnet.comparison.summary import Results
from marnet.comparison.tables import Table
from marnet.inference import SplitOutputs
from marnet.modules.calibration import FittedCalibration
from marnet.reports.plots.style import Mark
from marnet.tasks import Task


class Unavailable(Exception):  # noqa: N818 - a reason that the page shows, not an error
    """A section cannot be made; the report lists it as a gap.

    Args:
        reason: a sentence that says what is missing.
        command: the command that makes it, "" if there is none.
    """

    def __init__(self, reason: str, command: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.command = command


@dataclass(frozen=True, kw_only=True)
class ComparisonOutcome:
    """The parts of a comparison that runs alone do not have."""

    results: Results
    tables: Mapping[str, Table]  # of `result_tables`
    plan: Path  # the file of the comparison
    command: str  # that trains the arms of the file which have no run yet


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """The input of every section.

    Read `comparison` and `outputs` where a section needs them: they raise `Unavailable` if the report has none, and the
    page then lists the section as a gap.
    """

    runs: Mapping[str, Mapping[int, RunRecord]]  # records by arm and seed; runs without a comparison have the key 0
    arm: str  # the arm that the report is about
    baseline: str | None  # the arm that it is compared with, if that has a run
    split: str
    marks: Mapping[str, Mark]  # the colour and dashes of each arm
    methods: Sequence[str]  # the arms of line plots
    placebos: Sequence[str] = ()  # of `arm`
    reliability_of: Sequence[str]  # the few arms in the reliability diagram
    detailed: Sequence[str]  # the arms whose loss terms and case studies are shown
    load_outputs: Callable[[], Mapping[str, SplitOutputs]]  # may raise `Unavailable`
    calibrations: Mapping[str, FittedCalibration | None] = field(default_factory=dict)  # of runs, by name
    unlabelled: Mapping[str, str] = field(default_factory=dict)  # how runs used rows without a label, in a sentence
    outcome: ComparisonOutcome | None = None

    @property
    def first_records(self) -> dict[str, RunRecord]:
        """The record of the first seed of each arm."""
        return {name: found[min(found)] for name, found in self.runs.items()}

    @property
    def classes(self) -> list[str]:
        """The class names of the arm that the report is about."""
        return self.first_records[self.arm].classes

    @property
    def task(self) -> Task:
        """The task of the arm that the report is about, which names the score."""
        return self.first_records[self.arm].task

    @property
    def several_classes(self) -> bool:
        """True if images have several classes or none, for which some sections have another form."""
        return self.first_records[self.arm].label_form == "multi"

    @property
    def comparison(self) -> ComparisonOutcome:
        """The results of the comparison; raises `Unavailable` in a report of runs."""
        if self.outcome is None:
            raise Unavailable("It requires a comparison of several methods over several seeds:", "marnet compare")
        return self.outcome

    @property
    def outputs(self) -> Mapping[str, SplitOutputs]:
        """The outputs of trained runs on the split, by arm; raises `Unavailable` if there are no weights."""
        loaded = self._loaded
        if isinstance(loaded, Unavailable):
            raise loaded
        return loaded

    def marks_of(self, arms: Sequence[str]) -> dict[str, Mark]:
        """Return the marks of some arms, in their order."""
        return {name: self.marks[name] for name in arms}

    @cached_property
    def _loaded(self) -> Mapping[str, SplitOutputs] | Unavailable:
        """The outputs, or the reason why there are none: loading is tried once, whichever section asks first."""
        try:
            return self.load_outputs()
        except Unavailable as reason:
            return reason
