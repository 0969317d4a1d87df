"""Progress of a comparison: bars with the time left on a terminal, log lines elsewhere."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from marnet.comparison.plan import PlannedRun
from marnet.comparison.records import RunRecord
from marnet.metrics import percent

_logger = logging.getLogger("marnet")


class ComparisonProgress:
    """Progress over all runs and over the epochs of the current one.

    The bars are shown from the first epoch of a run to its last: loading data and scoring have bars of their own.

    Args:
        runs: all runs to make.
        records: the records that exist already, by name of the run.
    """

    def __init__(self, runs: Sequence[PlannedRun], records: Mapping[str, RunRecord]) -> None:
        self.runs = list(runs)
        self.seconds = {
            run.name: (run.arm.name, records[run.name].seconds) for run in runs if run.name in records
        }  # of finished runs; for runs before this call, of training alone
        self.began = time.monotonic()
        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.overall = self.bars.add_task("runs", total=len(self.runs), completed=len(self.seconds), note=self._note())
        self.current = self.bars.add_task("epochs", total=None, note="")

    def __enter__(self) -> Self:
        self._say(f"{len(self.runs)} runs, {len(self.seconds)} of them recorded already.")
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, run: PlannedRun) -> None:
        """Show that a run begins."""
        self.began = time.monotonic()
        self.bars.reset(self.current, description=f"{run.arm.name}, seed {run.seed}", total=run.config.training.epochs)

    def epoch(self, epoch: int, epochs: int) -> None:
        """Show that an epoch of the current run ended."""
        self.bars.start()  # does nothing if they are shown already
        self.bars.update(self.current, completed=epoch, total=epochs)

    def trained(self) -> None:
        """Hide the bars: the current run finished its last epoch."""
        self.bars.stop()

    def finished(self, run: PlannedRun, record: RunRecord) -> None:
        """Show that a run is recorded."""
        taken = time.monotonic() - self.began  # with scoring
        self.seconds[run.name] = (run.arm.name, max(taken, record.seconds))
        self.bars.update(self.overall, completed=len(self.seconds), note=self._note())
        note = self._note()
        score = f"{record.task.score_title} {percent(record.metrics[record.task.score])}"
        self._say(
            f"{len(self.seconds)} of {len(self.runs)}: {run.arm.name}, seed {run.seed}: {score} on {record.split}, "
            f"{duration(taken)}{note and '; '}{note}"
        )

    def recorded(self, run: PlannedRun, record: RunRecord) -> None:
        """Count a run that another process recorded."""
        self.seconds[run.name] = (run.arm.name, record.seconds)

    def _note(self) -> str:
        left = seconds_left([run.arm.name for run in self.runs if run.name not in self.seconds], self.seconds.values())
        return "" if left is None else f"about {duration(left)} left"

    def _say(self, line: str) -> None:
        if self.bars.disable:
            _logger.info("%s", line)
        else:
            self.bars.console.print(line, highlight=False, markup=False)


def seconds_left(arms: Sequence[str], done: Iterable[tuple[str, float]]) -> float | None:
    """Estimate the time that the remaining runs will take.

    Args:
        arms: the arm of each remaining run.
        done: arm and seconds of each finished run; an arm without any counts as the mean of the others.

    Returns:
        Seconds, or None if no run remains or none is finished.

    Example:
        >>> seconds_left(["marnet", "marnet", "match"], [("marnet", 10.0), ("image-only", 4.0)])
        27.0
    """
    taken: dict[str, list[float]] = defaultdict(list)
    for arm, seconds in done:
        taken[arm].append(seconds)
    if not arms or not taken:
        return None
    means = {arm: fmean(seconds) for arm, seconds in taken.items()}
    typical = fmean(means.values())
    return sum(means.get(arm, typical) for arm in arms)


def duration(seconds: float) -> str:
    """Format a time for people.

    Example:
        >>> duration(40), duration(7500)
        ('40 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def quiet_log(quiet: bool) -> Iterator[None]:
    """Hide notes and warnings in the log, which would repeat for every run."""
    level = _logger.level
    if quiet:
        _logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _logger.setLevel(level)
