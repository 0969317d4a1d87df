"""A long tail: training rows that a power law leaves of each class, and accuracy on frequent and on rare ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from marnet.comparison.cells import show_difference, show_p
from marnet.comparison.records import RunRecord
from marnet.comparison.statistics import MeanSD, PairedDifference
from marnet.comparison.tables import CellValue, Column, Shown, Table
from marnet.comparison.verdict import format_p, points
from marnet.data.manifest import Manifest, count_classes
from marnet.errors import ConfigError

PARTS = ("head", "middle", "tail")  # thirds of the classes, those with the most training rows first


def keep_long_tail(manifest: Manifest, imbalance: float, seed: int) -> Manifest:
    """Keep as many training rows of each class as a power law leaves, at least one; drop the others.

    The seed orders the classes at random. The r-th of C classes, from 0, keeps n imbalance^(-r / (C - 1)) rows, where n
    is the median number of rows of a class; one that has fewer keeps all of them.

    Raises:
        ConfigError: images have several classes.
    """
    if manifest.label_form != "single":
        raise ConfigError(
            f"{manifest.source} has labels of the form {manifest.label_form!r}, but a long tail takes one class per "
            f"image. Leave out `long_tail`."
        )
    counts = count_classes(manifest, "train")
    classes = sorted(counts)
    Random(f"long tail {seed}").shuffle(classes)
    most = float(np.median(list(counts.values())))
    wanted = {
        name: max(1, round(most * imbalance ** (-rank / max(1, len(classes) - 1)))) for rank, name in enumerate(classes)
    }
    positions = [position for position, record in enumerate(manifest.records) if record.split == "train"]
    Random(f"long tail rows {seed}").shuffle(positions)
    dropped = set()
    for position in positions:
        name = manifest.records[position].label
        wanted[name] -= 1
        if wanted[name] < 0:
            dropped.add(position)
    kept = tuple(record for position, record in enumerate(manifest.records) if position not in dropped)
    return replace(manifest, records=kept)


def score_parts(record: RunRecord, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the accuracy on images of each third of the classes, by `part_name`.

    Args:
        record: of the run.
        counts: training rows by class.
    """
    order = sorted(range(len(record.classes)), key=lambda number: -counts.get(record.classes[number], 0))
    right = np.asarray(record.labels) == np.asarray(record.predictions)
    found = {}
    for part, classes in zip(PARTS, np.array_split(order, len(PARTS)), strict=True):
        own = np.isin(record.labels, classes)
        if own.any():
            found[part_name(part)] = float(right[own].mean())
    return found


def part_name(part: str) -> str:
    """Return the name of the accuracy on a part of the classes in records.

    Example:
        >>> part_name("tail")
        'top1_tail'
    """
    return f"top1_{part}"


def long_tail_table(
    arms: Sequence[tuple[str, Mapping[str, MeanSD]]], differences: Mapping[str, Mapping[str, PairedDifference]]
) -> Table:
    """Return the accuracies on frequent and on rare classes.

    Args:
        arms: names and metrics.
        differences: from the baseline, by arm and metric.
    """
    columns = [Column("arm"), *(Column(f"{part}, %", points) for part in PARTS)]
    for part in ("head", "tail"):
        columns += [Column(f"{part}, from the baseline, points [95 %]", points), Column("p", format_p)]
    rows: list[list[CellValue]] = []
    for arm, metrics in arms:
        if part_name(PARTS[0]) not in metrics:
            continue
        means = [metrics.get(part_name(part)) for part in PARTS]
        row: list[CellValue] = [arm, *(None if each is None else Shown(each.mean, points(each.mean)) for each in means)]
        for part in ("head", "tail"):
            difference = differences.get(arm, {}).get(part_name(part))
            row += [show_difference(difference), show_p(difference)]
        rows.append(row)
    return Table(
        title="Frequent and rare classes",
        columns=columns,
        rows=rows,
        note="Head, middle and tail are thirds of the classes, by how many training rows a power law leaves them. Each "
        "seed orders the classes anew.",
    )
