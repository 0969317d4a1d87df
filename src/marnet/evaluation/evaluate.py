"""The metrics of one run on one split."""

from pathlib import Path
from typing import Any

from marnet.evaluation.new_classes import NewClassMetrics, new_class_metrics
from marnet.inference import Predictor, load
from marnet.inference.conformal import SetMetrics, prediction_sets, set_metrics
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.runs.code import AllowCode


def evaluate(
    run: Path | str | Predictor,
    data: Any = None,
    *,
    split: str = "val",
    device: str = "auto",
    allow_code: AllowCode = False,
) -> Metrics | MultiLabelMetrics:
    """Return how good a run is on a split of its own rows, or of other data.

    Args:
        run: the run directory, a `TrainedRun`, or a `Predictor`.
        data: rows instead of those that the run was trained with, in any form that `train` takes; their labels are
            matched by name. Where they name no splits, all of them are scored (rows of the run keep their split).
        split: train, val or test.
        device: where to compute; "auto" takes a GPU if there is one. A `Predictor` has its own.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        MarnetError: the run is damaged, the split is empty, or a label or an image cannot be used.

    Example:
        >>> import marnet
        >>> marnet.evaluate("runs/p", split="val").n
        9
        >>> marnet.evaluate("runs/p", "products.csv", split="test").n
        9
    """
    predictor = run if isinstance(run, Predictor) else load(run, device=device, allow_code=allow_code)
    return predictor.evaluate(data, split=split)


def evaluate_sets(
    run: Path | str | Predictor,
    data: Any = None,
    *,
    error: float,
    split: str = "val",
    device: str = "auto",
    allow_code: AllowCode = False,
) -> SetMetrics:
    """Return how prediction sets with a rate of error do on a split; see `marnet.inference.conformal`.

    Args:
        run: as for `evaluate`.
        data: as for `evaluate`.
        error: the rate at which the true class may be missing from a set, such as 0.05.
        split: train, val or test. The sets are made from val, so that their coverage there says little.
        device: as for `evaluate`.
        allow_code: as for `evaluate`.

    Raises:
        ConfigError: the run's held-out rows cannot promise this rate, or its images have several classes.
        MarnetError: as for `evaluate`.
    """
    predictor = run if isinstance(run, Predictor) else load(run, device=device, allow_code=allow_code)
    least = predictor.least_probability(error)
    outputs = predictor.outputs(predictor.rows(data, split), split)
    return set_metrics(prediction_sets(predictor.task.probabilities(outputs.logits), least), outputs.labels)


def evaluate_new_classes(predictor: Predictor, data: Any = None, *, split: str = "val") -> NewClassMetrics:
    """Return how the classes that were added to a run compete with those that it was trained for.

    Args:
        predictor: of a run with added classes.
        data: as for `evaluate`; rows of new classes come from other data than the run's own.
        split: train, val or test.

    Raises:
        MarnetError: as for `evaluate`.
    """
    outputs = predictor.outputs(predictor.rows(data, split), split)
    return new_class_metrics(outputs.logits, outputs.labels, len(predictor.classes) - len(predictor.added))
