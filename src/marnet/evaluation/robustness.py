"""The score of a run, top-1 or mAP, on corrupted copies of a split, alone and in relation to a baseline."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from marnet.choices import LabelForm
from marnet.data.dataset import ImageTextDataset
from marnet.data.manifest import Manifest
from marnet.errors import ConfigError
from marnet.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, find_corruption
from marnet.inference import Predictor
from marnet.inference.batch_size import affordable_batch
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.runs.code import AllowCode
from marnet.tasks import Task, task_of
from marnet.tasks.answers import Tally


class Robustness(NamedTuple):
    """Results of a run on one split, uncorrupted and corrupted."""

    metrics: Metrics | MultiLabelMetrics  # of the uncorrupted split
    corruptions: dict[str, list[float]]  # the score, top-1 or mAP, by corruption, one per severity from 1 to 5
    baseline: dict[str, list[float]] | None  # the same for the baseline run
    label_form: LabelForm = "single"

    @property
    def task(self) -> Task:
        """The task of the run, which names the score."""
        return task_of(self.label_form)


def evaluate_robustness(
    run: Path | str | Predictor,
    *,
    split: str = "val",
    source: str | None = None,
    baseline: Path | str | None = None,
    corruptions: Sequence[str] | None = None,
    allow_code: AllowCode = False,
) -> Robustness:
    """Evaluate a run on a split, uncorrupted and corrupted, and a baseline on the same corrupted images.

    Args:
        run: the run directory, or a `Predictor`.
        split: train, val or test.
        source: a data source to use instead of the run's own rows; its labels are matched by name.
        baseline: the run directory of another method, trained with the same rows unless there is a `source`.
        corruptions: names of corruptions, your own as module:PACKAGE.NAME; None for the 22 of marnet.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        MarnetError: a run is damaged, the split is empty, a label or an image cannot be used, a corruption is unknown,
            or the baseline was trained with other rows.
    """
    names = CORRUPTIONS if corruptions is None else tuple(dict.fromkeys(corruptions))
    for name in names:
        find_corruption(name)  # a wrong name is refused before anything is loaded
    predictor = run if isinstance(run, Predictor) else Predictor(run, allow_code=allow_code)
    manifest = predictor.rows(source, split)
    other = None if baseline is None else Predictor(baseline, allow_code=allow_code)
    if other is not None and source is None:
        _check_same_rows(predictor, other, split)
    outputs = predictor.outputs(manifest, split)
    return Robustness(
        predictor.task.metrics(outputs.logits, outputs.labels),
        corruption_scores(predictor, manifest, split, corruptions=names),
        None if other is None else corruption_scores(other, manifest, split, corruptions=names),
        predictor.config.data.labels,
    )


def corruption_scores(
    predictor: Predictor,
    manifest: Manifest,
    split: str = "val",
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    batch_size: int = 64,
) -> dict[str, list[float]]:
    """Return the score of a model, top-1 or mAP, by corruption, one value per severity from 1 to 5.

    The squares that the model sees are corrupted, before normalisation. An image's seed is the number of its row in the
    split, so that methods with one input size see the same pixels, whatever the batch size.

    Raises:
        ConfigError: a corruption is unknown.
        DataError: the split is empty, or a label or an image cannot be used.
    """
    for name in corruptions:
        find_corruption(name)
    dataset = predictor.open_split(manifest, split).dataset
    tallies: dict[str, list[Tally]] = {name: [predictor.task.tally() for _ in SEVERITIES] for name in corruptions}
    with _progress(len(dataset) * len(corruptions) * len(SEVERITIES)) as (progress, task):
        for images, labels, seeds in _batches(dataset, affordable_batch(batch_size, predictor.spec.size)):
            for name, by_severity in tallies.items():
                for severity, tally in zip(SEVERITIES, by_severity, strict=True):
                    tally.add(predictor.probabilities(corrupt(images, name, severity, seeds)), labels)
                    progress.advance(task, len(images))
    return {name: [tally.score() for tally in by_severity] for name, by_severity in tallies.items()}


def _batches(dataset: ImageTextDataset, size: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Yield images `(B, 3, S, S)` uint8, targets and rows of the split, which have gaps for broken images."""
    for first in range(0, len(dataset), size):
        samples = [dataset[row] for row in range(first, min(first + size, len(dataset)))]
        yield (
            torch.stack([sample.image for sample in samples]),
            torch.stack([torch.as_tensor(sample.label) for sample in samples]),
            [int(dataset.rows[sample.row]) for sample in samples],
        )


@contextmanager
def _progress(total: int) -> Iterator[tuple[Progress, TaskID]]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task("Evaluating corrupted images", total=total)


def _check_same_rows(predictor: Predictor, other: Predictor, split: str) -> None:
    rows, other_rows = (
        [(record.image, record.label) for record in each.manifest().split(split)] for each in (predictor, other)
    )
    if rows != other_rows:
        raise ConfigError(
            f"The baseline {other.run} has other rows in split {split!r} than {predictor.run}, and may have been "
            f"trained on some of these. Use a run with the same data and split, or name data that is new to both with "
            f"`source`."
        )
