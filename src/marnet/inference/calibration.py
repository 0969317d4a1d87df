"""Fitting a calibration on held-out rows: the weights of the branches, a temperature, a line, thresholds.

The numbers are those of `marnet.inference.held_out_fit`: the head on x_v predicts alone, unless the other branches, or
the means of the classes and how rare they are, help on rows that the fit has not seen.

A temperature makes the mean confidence right, but not that of sure and of doubtful predictions, which a line on the
log-odds of the most probable class corrects.

Metrics on the same rows stay honest by cross-fitting: each row is predicted with the numbers fitted on the others.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from marnet.inference.held_out_fit import HeldOut, balanced_weights, cross_fit_numbers, fit_numbers
from marnet.model import MARNet
from marnet.modules.calibration import FittedCalibration
from marnet.modules.fusion.weighted import Weighted
from marnet.outputs import VISUAL, PredictionOutput
from marnet.runs.calibration import apply_calibration

_COSINE_SCALE = 20.0  # of cosines with class means, which as logits are then about as sharp as those of a head


class CrossFitted(NamedTuple):
    """Predictions for the rows of a calibration, each by the numbers that the other rows gave."""

    logits: Tensor  # (N, C)
    thresholds: Tensor | None  # (N, C); None for one class per image


def fit_calibration(
    model: MARNet, outputs: PredictionOutput, labels: Tensor, *, balanced: bool = False
) -> FittedCalibration:
    """Fit the calibration of a model on held-out rows.

    Args:
        model: the model; its `calibration.class_means` join in if it has them.
        outputs: its outputs for N held-out rows, with the calibration off (`Calibration.off`).
        labels: `(N,)` int64; where images have several classes, `(N, C)` of 0 and 1.
        balanced: every class counts the same, with however many rows; not where images have several classes.
    """
    rows = _held_out(model, outputs, labels, balanced=balanced)
    numbers = fit_numbers(rows)
    means = model.calibration.class_means
    weights, added = (numbers.weights, np.zeros(2)) if means is None else np.split(numbers.weights, [-2])
    total = float(weights.sum())
    inverse: float | list[float] = total
    if numbers.class_scale is not None:
        inverse = [float(scale) * total for scale in numbers.class_scale]
    names = list(outputs.branch_logits)
    weighted = isinstance(model.fusion, Weighted)
    scores: list[float] = []
    confidences: list[float] = []
    if labels.ndim == 1:
        probabilities = softmax(cross_fit_numbers(rows)[0], axis=-1)
        scores = np.sort(1 - probabilities[np.arange(len(labels)), rows.targets]).clip(0, 1).tolist()
        confidences = np.sort(probabilities.max(1)).tolist()
    return FittedCalibration(
        rows=len(labels),
        branch_weights=dict(zip(names, (weights / total).tolist(), strict=True)) if weighted else None,
        inverse_temperature=inverse,
        thresholds=None if numbers.thresholds is None else numbers.thresholds.tolist(),
        scores=[round(score, 6) for score in scores],
        top_slope=numbers.line[0],
        top_offset=numbers.line[1],
        confidences=[round(confidence, 6) for confidence in confidences],
        class_means=_COSINE_SCALE * float(added[0]) / total,
        rarity=float(added[1]) / total,
        balanced=rows.row_weights is not None,
    )


def calibrate(model: MARNet, images: Tensor, labels: Any, *, batch_size: int = 64) -> MARNet:
    """Fit the calibration of a model that you trained in a loop of your own, on images that it was not trained on.

    With fusion.kind=weighted, the default, the head on x_v predicts alone before; the other branches join here.
    `marnet.save` keeps the calibration.

    Args:
        model: the model; it is left in evaluation mode.
        images: normalised images `(N, 3, H, W)` of held-out rows; some hundred are enough.
        labels: their labels, as `MARNet.loss` takes them.
        batch_size: images computed at a time.

    Returns:
        The model.

    Raises:
        ValueError: the number of labels is not N, or a label is not known.

    Example:
        >>> import marnet, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = marnet.wrap(net, texts=["red", "green"], labels=["apple", "lime"], image_size=32)
        >>> model = marnet.calibrate(model, torch.randn(20, 3, 32, 32), ["apple", "lime"] * 10)
        >>> sorted(model.calibration.fitted.branch_weights)
        ['alignment', 'reconstruction', 'visual']
    """
    targets = model.label_tensor(labels)
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images came with {len(targets)} labels. Give one label per image.")
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), model.calibration.off():
        found = [model.prediction_outputs(batch.to(device)) for batch in torch.split(images, batch_size)]
    outputs = PredictionOutput(
        torch.cat([each.logits for each in found]).cpu(),
        {name: torch.cat([each.branch_logits[name] for each in found]).cpu() for name in found[0].branch_logits},
        {},
    )
    model.calibration.class_means = None  # those of other weights
    apply_calibration(model, fit_calibration(model, outputs, targets.cpu()))
    return model


def cross_fit(model: MARNet, outputs: PredictionOutput, labels: Tensor, *, balanced: bool = False) -> CrossFitted:
    """Predict each of the rows that a calibration is fitted on by a calibration that was fitted without it.

    The arguments are those of `fit_calibration`.
    """
    logits, thresholds = cross_fit_numbers(_held_out(model, outputs, labels, balanced=balanced))
    found = None if thresholds is None else torch.from_numpy(thresholds).float()
    return CrossFitted(torch.from_numpy(logits).float(), found)


def uncalibrated_logits(model: MARNet, outputs: PredictionOutput) -> Tensor:
    """Return the logits `(N, C)` to compare with: of the head on x_v, if the weights of the fusion are fitted.

    The arguments are those of `fit_calibration`.
    """
    return outputs.branch_logits[VISUAL] if isinstance(model.fusion, Weighted) else outputs.logits


def _held_out(model: MARNet, outputs: PredictionOutput, labels: Tensor, *, balanced: bool) -> HeldOut:
    """Return what is added for each row: logits of the branches, or the one prediction of another fusion, first.

    The cosines with the means of the classes and how rare these are come last, if the run has them.
    """
    weighted = isinstance(model.fusion, Weighted)
    found = list(outputs.branch_logits.values()) if weighted else [uncalibrated_logits(model, outputs)]
    branches = tuple(range(1, len(found)))
    groups = [branches] if branches else []
    signed: tuple[int, ...] = ()
    means = model.calibration.class_means
    if means is not None:
        added = (len(found), len(found) + 1)
        found += [_COSINE_SCALE * means.cosines(outputs.x_v), means.rare.to(found[0]).expand_as(found[0])]
        groups += [added, (*branches, *added)] if branches else [added]
        signed = added[1:]
    targets = labels.numpy()
    row_weights = balanced_weights(targets) if balanced and targets.ndim == 1 else None
    return HeldOut(torch.stack(found).double().numpy(), targets, groups, signed, row_weights)
