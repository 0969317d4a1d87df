"""calibration.json of a run: the numbers that held-out rows taught the trained model.

```json
{
  "split": "val", "rows": 296,
  "branch_weights": {"visual": 0.7, "alignment": 0.0, "reconstruction": 0.3},
  "inverse_temperature": 1.4,
  "thresholds": null,
  "scores": [0.01, ...],
  "top_slope": 0.8, "top_offset": 0.1,
  "confidences": [0.2, ...],
  "class_means": 0.0, "rarity": 0.0, "balanced": false
}
```

`branch_weights` is null for a fusion that has none; for several classes per image `inverse_temperature` and
`thresholds` are lists with one entry per class. `scores` are 1 - p(true class) of each row, in ascending order, for
prediction sets; `confidences` are the probabilities of the most probable class of each row, in ascending order, by
which images of no known class are told. `top_slope` and `top_offset` correct the log-odds of the most probable class.
`class_means` and `rarity` are the weights of class_means.safetensors (`marnet.modules.class_means`); where `balanced`
is true, every class counted the same. A file of an earlier version lacks the last six.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json
from marnet.model import MARNet
from marnet.modules.calibration import FittedCalibration
from marnet.modules.fusion.weighted import Weighted
from marnet.outputs import VISUAL
from marnet.runs.layout import CALIBRATION, CLASS_MEANS

_LARGEST = 1e6  # of a weight or an inverse temperature


def apply_calibration(model: MARNet, fitted: FittedCalibration | None) -> None:
    """Let a model predict with a calibration; None: with none."""
    calibration, fusion = model.calibration, model.fusion
    weights = {VISUAL: 1.0} if fitted is None or fitted.branch_weights is None else fitted.branch_weights
    with torch.no_grad():
        if isinstance(fusion, Weighted):
            fusion.weights.copy_(torch.tensor([weights.get(name, 0.0) for name in (VISUAL, *model.branches)]))
        inverse: Any = 1.0 if fitted is None else fitted.inverse_temperature
        calibration.inverse_temperature.copy_(torch.as_tensor(inverse))
        line = (1.0, 0.0) if fitted is None else (fitted.top_slope, fitted.top_offset)
        calibration.top_odds.copy_(torch.tensor(line))
        if calibration.thresholds is not None:
            thresholds: Any = 0.5 if fitted is None or fitted.thresholds is None else fitted.thresholds
            calibration.thresholds.copy_(torch.as_tensor(thresholds))
    if calibration.class_means is not None:
        calibration.class_means.weight = 0.0 if fitted is None else fitted.class_means
        calibration.class_means.rarity = 0.0 if fitted is None else fitted.rarity
    calibration.fitted = fitted


def write_calibration(run: Path, fitted: FittedCalibration) -> None:
    """Write calibration.json, whole or not at all."""
    write_json(run / CALIBRATION, fitted._asdict())


def read_calibration(run: Path, model: MARNet) -> FittedCalibration | None:
    """Read calibration.json for a model; None if the run has none.

    Raises:
        RunDirectoryError: the file is damaged, or does not fit the model.
    """
    path = run / CALIBRATION
    if not path.exists():
        return None
    found = read_json(path)
    try:
        fitted = FittedCalibration(**found)
    except TypeError:
        raise RunDirectoryError(f"{path} is damaged: it lacks a key, or has one of its own. {_WAY_OUT}") from None
    classes = None if model.calibration.thresholds is None else len(model.calibration.thresholds)
    names = {VISUAL, *model.branches} if isinstance(model.fusion, Weighted) else None
    weights = fitted.branch_weights
    fits = (
        _are_numbers(fitted.inverse_temperature, classes, least=1e-6)
        and (fitted.thresholds is None if classes is None else _are_numbers(fitted.thresholds, classes, least=0.0))
        and (weights is None if names is None else isinstance(weights, dict) and set(weights) == names)
        and (weights is None or _are_numbers(list(weights.values()), len(weights), least=0.0))
        and _are_numbers(fitted.top_slope, None, least=1e-6)
        and _are_numbers(fitted.top_offset, None, least=-_LARGEST)
        and _are_numbers(fitted.class_means, None, least=0.0)
        and _are_numbers(fitted.rarity, None, least=-_LARGEST)
        and isinstance(fitted.balanced, bool)
        and isinstance(fitted.scores, list)
        and _are_numbers(fitted.scores, len(fitted.scores), least=0.0)
        and isinstance(fitted.confidences, list | tuple)
        and _are_numbers(list(fitted.confidences), len(fitted.confidences), least=0.0)
    )
    if not fits:
        raise RunDirectoryError(f"{path} does not fit the model: a number is missing or out of range. {_WAY_OUT}")
    if (fitted.class_means or fitted.rarity) and model.calibration.class_means is None:
        raise RunDirectoryError(f"{run} has no {CLASS_MEANS}, whose weight {path} gives. Restore it, or train again.")
    return fitted


_WAY_OUT = "Restore it, or remove it to predict without a calibration."


def _are_numbers(values: Any, count: int | None, *, least: float) -> bool:
    """Return whether `values` is a number, or if there is a `count` a list of as many, from `least` to a million."""
    if (count is not None) != isinstance(values, list):
        return False
    numbers: Sequence[Any] = values if isinstance(values, list) else [values]
    right = (type(each) in (int, float) and math.isfinite(each) and least <= each <= _LARGEST for each in numbers)
    return (count is None or len(numbers) == count) and all(right)
