"""Classes: confusions, and the gain or loss of each class against the baseline.

Where images have several classes, `decisions.py` makes the section.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from marnet.comparison.records import RunRecord
from marnet.comparison.tables import CellValue, Column, Table
from marnet.metrics import percent
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext
from marnet.reports.plots.classes import FEW_CLASSES, class_changes, confusion_map
from marnet.reports.sections.decisions import decision_section

TITLE = "Classes"
MOST_CLASSES = 40  # of a map; more would be illegible
PAIRS = 12
CHANGES = 10  # classes on each side


def build(context: ReportContext) -> Section:
    """Build the section of the arm that the report is about."""
    build_section = decision_section if context.several_classes else class_section
    return build_section(context.runs, context.arm, context.baseline)


def class_section(runs: Mapping[str, Mapping[int, RunRecord]], arm: str, baseline: str | None) -> Section:
    """Return the confusions of an arm over all its seeds and its change by class against the baseline.

    Args:
        runs: records by arm and seed.
        arm: whose confusions are shown.
        baseline: the arm that the change is measured from, over common seeds; None leaves the change out.
    """
    records = list(runs[arm].values())
    classes = records[0].classes
    counts = confusion_counts(records)
    blocks: list[Block] = [_confusion_block(counts, classes, arm, len(records)), _pair_table(counts, classes, arm)]
    if baseline is not None and baseline != arm and (seeds := sorted(set(runs[arm]) & set(runs[baseline]))):
        before = confusion_counts([runs[baseline][seed] for seed in seeds])
        after = confusion_counts([runs[arm][seed] for seed in seeds])
        blocks.append(_change_block(before, after, classes, (arm, baseline), len(seeds)))
    return Section(title=TITLE, blocks=blocks)


def confusion_counts(records: Sequence[RunRecord]) -> np.ndarray:
    """Count the images of each true class (row) by predicted class (column), `(C, C)`, over all records."""
    count = len(records[0].classes)
    counts = np.zeros((count, count), dtype=np.int64)
    for record in records:
        np.add.at(counts, (np.asarray(record.labels), np.asarray(record.predictions)), 1)
    return counts


def class_accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the accuracy of each class `(C,)`, NaN for a class without images."""
    images = counts.sum(axis=1)
    return np.where(images > 0, np.diag(counts) / np.maximum(images, 1), np.nan)


def _confusion_block(counts: np.ndarray, classes: Sequence[str], arm: str, seeds: int) -> Plots:
    errors = counts.sum(axis=1) + counts.sum(axis=0) - 2 * np.diag(counts)
    shown = list(range(len(classes)))
    which = "all classes"
    if len(classes) > MOST_CLASSES:
        shown = sorted(np.argsort(-errors, kind="stable")[:MOST_CLASSES].tolist())
        which = f"the {MOST_CLASSES} of {len(classes)} classes with the most errors"
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure = confusion_map(
        shares[np.ix_(shown, shown)], [classes[number] for number in shown], f"Confusion of {arm}, % of the true class"
    )
    return Plots(
        panels=[Panel(figure, f"Confusion matrix of {arm}: true classes by predicted classes.", "confusion")],
        caption=f"Rows are true classes, columns the predictions of {arm}; {which}, "
        f"{seeds} seed{'s' if seeds > 1 else ''} together. Colour strength grows with the square root of the share.",
        layout="wide" if len(classes) > FEW_CLASSES else "normal",
    )


def _pair_table(counts: np.ndarray, classes: Sequence[str], arm: str) -> Table:
    """Return the table of the pairs of classes with the most errors between them, in both directions."""
    between = counts + counts.T
    first, second = np.triu_indices(len(classes), k=1)
    order = np.argsort(-between[first, second], kind="stable")[:PAIRS]
    rows: list[list[CellValue]] = []
    for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if between[a, b]:
            images = counts[[a, b]].sum()
            rows.append(
                [f"{classes[a]} and {classes[b]}", int(counts[a, b]), int(counts[b, a]), between[a, b] / images]
            )
    number = "{:.0f}".format
    return Table(
        title=f"Pairs of classes that {arm} confuses most",
        columns=[
            Column("first and second"),
            Column("first predicted as second", number),
            Column("second predicted as first", number),
            Column("share of their images", percent),
        ],
        rows=rows,
        note="" if rows else "It confuses no two classes.",
    )


def _change_block(
    before: np.ndarray, after: np.ndarray, classes: Sequence[str], arms: tuple[str, str], seeds: int
) -> Plots:
    arm, baseline = arms
    changes = class_accuracy(after) - class_accuracy(before)
    images = before.sum(axis=1) // seeds
    order = [number for number in np.argsort(-changes, kind="stable").tolist() if images[number]]
    gains = [number for number in order if changes[number] > 0]
    losses = [number for number in order if changes[number] < 0]
    shown = gains[:CHANGES] + losses[-CHANGES:]
    figure = class_changes(
        [f"{classes[number]} ({images[number]})" for number in shown],
        [float(changes[number]) for number in shown],
        f"{arm} minus {baseline}, by class",
    )
    return Plots(
        panels=[Panel(figure, f"Change of accuracy by class, {arm} against {baseline}.", "class-changes")],
        caption=f"{len(gains)} classes gain, {len(losses)} lose and {len(order) - len(gains) - len(losses)} are "
        f"unchanged, over {seeds} common seed{'s' if seeds > 1 else ''}; at most the {CHANGES} largest changes of each "
        f"kind are shown. The number of images of a class is in parentheses; if there are few, one image is worth many "
        f"points.",
    )
