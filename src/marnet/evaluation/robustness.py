"""How a run fares on corrupted copies of a split, alone and against a baseline."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from marnet.data.dataset import ImageTextDataset
from marnet.data.manifest import Manifest
from marnet.errors import ConfigError
from marnet.evaluation.corruptions import CORRUPTIONS, SEVERITIES, check_corruption, corrupt
from marnet.evaluation.evaluate import require_one_class, rows_to_score
from marnet.inference import Predictor, load
from marnet.metrics import Metrics, classification_metrics


class Robustness(NamedTuple):
    """What a run shows on one split, as it is and corrupted."""

    metrics: Metrics  # of the split as it is
    corruptions: dict[str, list[float]]  # top-1 by corruption, one a severity from 1 to 5
    baseline: dict[str, list[float]] | None  # the same of the run to compare with


def evaluate_robustness(
    run: Path | str, *, split: str = "val", source: str | None = None, baseline: Path | str | None = None
) -> Robustness:
    """Judge a run on a split as it is and under every corruption, and a baseline on the same corrupted images.

    Args:
        run: the run directory.
        split: train, val or test.
        source: a data source instead of the rows that the run was trained with; its labels are matched by name.
        baseline: the run directory of another method, trained with the same rows unless there is a `source`.

    Raises:
        MarnetError: a run is damaged or has images with several classes, the split is empty, a label or an image
            cannot be used, or the baseline was trained with other rows.
    """
    predictor = load(run)
    require_one_class(predictor.config.data.labels, f"The run {predictor.run}", "Judging corrupted images")
    manifest = rows_to_score(predictor, source)
    other = None if baseline is None else load(baseline)
    if other is not None and source is None:
        _check_same_rows(predictor, other, split)
    outputs = predictor.outputs(manifest, split)
    return Robustness(
        classification_metrics(outputs.logits, outputs.labels),
        corruption_accuracy(predictor, manifest, split),
        None if other is None else corruption_accuracy(other, manifest, split),
    )


def corruption_accuracy(
    predictor: Predictor,
    manifest: Manifest,
    split: str = "val",
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    batch_size: int = 64,
) -> dict[str, list[float]]:
    """Top-1 accuracy of a model by corruption, one a severity from 1 to 5.

    What is corrupted are the squares that the model sees, before normalisation. An image's seed is the number of its
    row in the split, so that methods of one input size see the same pixels, whatever the batch size.

    Raises:
        ConfigError: a corruption is unknown.
        DataError: the split is empty, or a label or an image cannot be used.
    """
    for name in corruptions:
        check_corruption(name, SEVERITIES[0])
    dataset = predictor.open_split(manifest, split).dataset
    right = {name: [0] * len(SEVERITIES) for name in corruptions}
    with _progress(len(dataset) * len(corruptions) * len(SEVERITIES)) as (progress, task):
        for images, labels, seeds in _batches(dataset, batch_size):
            for name, counts in right.items():
                for place, severity in enumerate(SEVERITIES):
                    predicted = predictor.probabilities(corrupt(images, name, severity, seeds)).argmax(-1)
                    counts[place] += int((predicted == labels).sum())
                    progress.advance(task, len(images))
    return {name: [count / len(dataset) for count in counts] for name, counts in right.items()}


def _batches(dataset: ImageTextDataset, size: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Images `(B, 3, S, S)` uint8, labels `(B,)` and rows of the split, of which broken images leave gaps."""
    for first in range(0, len(dataset), size):
        samples = [dataset[row] for row in range(first, min(first + size, len(dataset)))]
        yield (
            torch.stack([sample.image for sample in samples]),
            torch.tensor([sample.label for sample in samples]),
            [int(dataset.rows[sample.row]) for sample in samples],
        )


@contextmanager
def _progress(total: int) -> Iterator[tuple[Progress, TaskID]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task("Judging corrupted images", total=total)


def _check_same_rows(predictor: Predictor, other: Predictor, split: str) -> None:
    rows, other_rows = (
        [(record.image, record.label) for record in each.manifest().split(split)] for each in (predictor, other)
    )
    if rows != other_rows:
        raise ConfigError(
            f"The baseline {other.run} has other rows in split {split!r} than {predictor.run}, and may have been "
            f"trained on some of these; needed a run with the same data and split. Train one, or name data that is "
            f"new to both with --data."
        )
