"""Classes that runs were not trained for, from the records of a comparison: per arm and number of images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from marnet.comparison.cells import show_difference, show_p
from marnet.comparison.new_classes import VARIANTS, metric_name
from marnet.comparison.records import RunRecord
from marnet.comparison.statistics import MeanSD, PairedDifference, mean_sd, paired_difference
from marnet.comparison.tables import CellValue, Column, Shown, Table
from marnet.comparison.verdict import format_p, points

METRICS = {
    "among_new": "among new",
    "harmonic": "harmonic",
    "old": "trained",
    "new": "new",
}


class NewClassResult(NamedTuple):
    """One metric of the runs of an arm, with new classes made from a number of images each."""

    arm: str
    images: int
    metric: str  # a key of `METRICS`
    by_variant: dict[str, MeanSD]  # a key of `VARIANTS` that was measured
    of_text: dict[str, PairedDifference]  # by variant: with the text minus that


def summarise_new_classes(runs: Mapping[str, Mapping[int, RunRecord]]) -> tuple[NewClassResult, ...]:
    """Return the results of all arms, of runs by arm and seed; () if no class was left out."""
    found = []
    for arm, by_seed in runs.items():
        records = list(by_seed.values())
        for images in records[0].new_class_images:
            for metric in METRICS:
                values = {
                    variant: [record.metrics[name] for record in records]
                    for variant in VARIANTS
                    if (name := metric_name(variant, images, metric)) in records[0].metrics
                }
                others = {variant: each for variant, each in values.items() if variant != "text"}
                found.append(
                    NewClassResult(
                        arm,
                        images,
                        metric,
                        {variant: mean_sd(each) for variant, each in values.items()},
                        {variant: paired_difference(values["text"], each) for variant, each in others.items()},
                    )
                )
    return tuple(found)


def new_class_table(results: Sequence[NewClassResult]) -> Table:
    """Return the accuracies of each arm, and what the text adds to images and to a wrong text."""
    columns = [
        Column("arm"),
        Column("images per class", "{:.0f}".format),
        Column("accuracy, %"),
        *(Column(title, points) for title in ("by images", "with the text", "with a wrong text")),
        Column("text adds, points [95 %]", points),
        Column("p", format_p),
        Column("over a wrong text", points),
        Column("p", format_p),
    ]
    rows: list[list[CellValue]] = []
    for each in results:
        row: list[CellValue] = [each.arm, each.images, METRICS[each.metric]]
        row += [_mean(each.by_variant.get(variant)) for variant in VARIANTS]
        for variant in ("images", "shuffled"):
            difference = each.of_text.get(variant)
            row += [show_difference(difference), show_p(difference)]
        rows.append(row)
    return Table(
        title="Classes that were added without training",
        columns=columns,
        rows=rows,
        note="Accuracy among the new classes alone; the harmonic mean of those on images of trained and of new "
        "classes; and these two. Each seed leaves other classes out of training. They are added afterwards from some "
        "of their images, with their text, or with that of another class as a placebo; their other images are scored, "
        "and held-out images of the trained ones.",
    )


def _mean(found: MeanSD | None) -> CellValue:
    return None if found is None else Shown(found.mean, f"{100 * found.mean:.1f}")
