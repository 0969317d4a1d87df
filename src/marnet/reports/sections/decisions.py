"""Classes where images have several: each is a decision of its own, with its average precision and its errors."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from marnet.comparison.records import RunRecord, indicators
from marnet.comparison.tables import CellValue, Column, Table
from marnet.metrics import average_precisions, percent
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.plots.classes import FEW_CLASSES, class_changes, confusion_map

TITLE = "Classes"
MOST_CLASSES = 40  # of the table and the map; more would be illegible
CHANGES = 10  # classes on each side


class ClassDecisions(NamedTuple):
    """The decisions on each of C classes, over all images of one or several runs."""

    images: np.ndarray  # (C,) int64, images that have the class, mean over the runs
    precision: np.ndarray  # (C,), of the images that are said to have it, the share that does; NaN if there are none
    recall: np.ndarray  # (C,), of the images that have it, the share that is found; NaN if there are none
    average_precision: np.ndarray  # (C,), mean over the runs; NaN for a class without images


def decision_section(runs: Mapping[str, Mapping[int, RunRecord]], arm: str, baseline: str | None) -> Section:
    """Return the decisions of an arm by class over all its seeds, and their change against the baseline.

    Args:
        runs: records by arm and seed.
        arm: whose decisions are shown.
        baseline: the arm that the change is measured from, over common seeds; None leaves the change out.
    """
    records = list(runs[arm].values())
    classes = records[0].classes
    found = class_decisions(records)
    order = np.argsort(-found.images, kind="stable")
    shown = order[:MOST_CLASSES]
    blocks: list[Block] = [
        _table(found, classes, shown, arm, len(records)),
        _map_block(records, classes, np.sort(shown), arm),
    ]
    if baseline is not None and baseline != arm and (seeds := sorted(set(runs[arm]) & set(runs[baseline]))):
        before, after = (class_decisions([runs[name][seed] for seed in seeds]) for name in (baseline, arm))
        blocks.append(_change_block(before, after, classes, (arm, baseline), len(seeds)))
    return Section(title=TITLE, blocks=blocks)


def class_decisions(records: Sequence[RunRecord]) -> ClassDecisions:
    """Count the decisions of runs class by class; the counts of all runs are added."""
    count = len(records[0].classes)
    hits, predicted, present = (np.zeros(count) for _ in range(3))
    precisions = []
    for record in records:
        true, chosen = (indicators(values, count) for values in (record.labels, record.predictions))
        hits, predicted, present = hits + (true & chosen).sum(0), predicted + chosen.sum(0), present + true.sum(0)
        scores = torch.tensor(record.confidences, dtype=torch.float64)
        precisions.append(average_precisions(scores, torch.from_numpy(true)))
    precision, recall = (
        np.divide(hits, total, out=np.full(count, np.nan), where=total > 0) for total in (predicted, present)
    )
    images = np.rint(present / len(records)).astype(np.int64)
    return ClassDecisions(images, precision, recall, np.mean(precisions, axis=0))


def predicted_shares(records: Sequence[RunRecord]) -> np.ndarray:
    """Return `(C, C)`: of the images with a class (row), the share for which another (column) is predicted wrongly.

    The diagonal is the recall. Images that have both classes do not count for the column; a share of none is 0.
    """
    count = len(records[0].classes)
    wrong, without, hits, present = np.zeros((count, count)), np.zeros((count, count)), np.zeros(count), np.zeros(count)
    for record in records:
        true, chosen = (indicators(values, count) for values in (record.labels, record.predictions))
        wrong += true.T.astype(np.int64) @ (chosen & ~true)
        without += true.T.astype(np.int64) @ ~true
        hits, present = hits + (true & chosen).sum(0), present + true.sum(0)
    shares = wrong / np.maximum(without, 1)
    np.fill_diagonal(shares, hits / np.maximum(present, 1))
    return shares


def _table(found: ClassDecisions, classes: Sequence[str], shown: np.ndarray, arm: str, seeds: int) -> Table:
    rows: list[list[CellValue]] = []
    for number in shown.tolist():
        precision, recall = float(found.precision[number]), float(found.recall[number])
        # As in `metrics`: F1 is 0 where nothing is found.
        f1 = 0.0 if np.isnan(precision) or precision + recall == 0 else 2 * precision * recall / (precision + recall)
        values = [float(found.average_precision[number]), precision, recall, f1]
        rows.append([classes[number], int(found.images[number]), *values])
    together = f"{seeds} seeds together. " if seeds > 1 else ""
    left_out = f"The {len(shown)} of {len(classes)} classes with the most images. " if len(shown) < len(classes) else ""
    return Table(
        title=f"Decisions of {arm} by class",
        columns=[
            Column("class"),
            Column("images", "{:.0f}".format),
            *(Column(title, percent) for title in ("average precision", "precision", "recall", "F1")),
        ],
        rows=rows,
        note=f"{together}{left_out}The average precision ranks images by the probability of the class, whatever the "
        f"threshold; the other columns count the decisions.",
    )


def _map_block(records: Sequence[RunRecord], classes: Sequence[str], shown: np.ndarray, arm: str) -> Plots:
    shares = predicted_shares(records)[np.ix_(shown, shown)]
    figure = confusion_map(shares, [classes[number] for number in shown], f"False alarms of {arm}, % of the images")
    return Plots(
        panels=[Panel(figure, f"Map of {arm}: true classes by classes predicted wrongly.", "confusion")],
        caption="Of the images that have the class of a row, and not that of the column, the share for which the "
        "column's class is predicted. The diagonal shows the share that is found. Colour strength grows with the "
        "square root of the share.",
        layout="wide" if len(shown) > FEW_CLASSES else "normal",
    )


def _change_block(
    before: ClassDecisions, after: ClassDecisions, classes: Sequence[str], arms: tuple[str, str], seeds: int
) -> Plots:
    arm, baseline = arms
    changes = after.average_precision - before.average_precision
    order = [number for number in np.argsort(-changes, kind="stable").tolist() if after.images[number]]
    gains = [number for number in order if changes[number] > 0]
    losses = [number for number in order if changes[number] < 0]
    shown = gains[:CHANGES] + losses[-CHANGES:]
    figure = class_changes(
        [f"{classes[number]} ({after.images[number]})" for number in shown],
        [float(changes[number]) for number in shown],
        f"{arm} minus {baseline}, by class",
        of="average precision",
    )
    return Plots(
        panels=[Panel(figure, f"Change of average precision by class, {arm} against {baseline}.", "class-changes")],
        caption=f"{len(gains)} classes gain and {len(losses)} lose, over {seeds} common "
        f"seed{'s' if seeds > 1 else ''}; at most the {CHANGES} largest changes of each kind are shown. The number of "
        f"images of a class is in parentheses; if there are few, one image is worth many points.",
    )
