"""Fitting a calibration on held-out rows: the weights of the branches, a temperature, a line, thresholds.

Few numbers are fitted, none of them negative, by the likelihood of the held-out rows; a weak prior holds them where
training left them (the head on x_v alone, at temperature 1), so that few rows change little. The other branches join
only if they improve the likelihood of rows that the fit has not seen by more than its standard error, and get no fewer
of them right.

A temperature makes the mean confidence right, but not that of sure and of doubtful predictions, which a line on the
log-odds of the most probable class corrects.

Metrics on the same rows stay honest by cross-fitting: each row is predicted with the numbers fitted on the others.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from torch import Tensor

from marnet.model import MARNet
from marnet.modules.calibration import FittedCalibration, calibrate_top, top_log_odds
from marnet.modules.fusion.weighted import Weighted
from marnet.outputs import VISUAL, PredictionOutput
from marnet.runs.calibration import apply_calibration

FOLDS = 5
_PRIOR = 1.0  # strength, in rows, with which the numbers are held where training left them
_LINE_PRIOR = 5.0  # the same for the line on the log-odds of the most probable class
_CLASS_PRIOR = 10.0  # the same for the temperature of a class, held at that of all classes
_LEAST = 1e-2  # of the weight that is never zero
_FEWEST_POSITIVES = 5  # rows with a class that its threshold is fitted on

Array = np.ndarray


class CrossFitted(NamedTuple):
    """Predictions for the rows of a calibration, each by the numbers that the other rows gave."""

    logits: Tensor  # (N, C)
    thresholds: Tensor | None  # (N, C); None for one class per image


class _Numbers(NamedTuple):
    weights: Array  # (n,), by which the logits of the sources are added
    class_scale: Array | None  # (C,), factors on the sum; None for one class per image
    thresholds: Array | None  # (C,)
    line: tuple[float, float] = (1.0, 0.0)  # slope and offset of the log-odds of the most probable class

    def logits(self, sources: Array) -> Array:
        """Return calibrated logits `(N, C)` of those of the sources `(n, N, C)`."""
        fused: Array = np.tensordot(self.weights, sources, 1)
        if self.class_scale is not None:
            fused = fused * self.class_scale
        elif fused.shape[1] > 1:
            fused = calibrate_top(torch.from_numpy(fused), *self.line).numpy()
        return fused


def fit_calibration(model: MARNet, outputs: PredictionOutput, labels: Tensor) -> FittedCalibration:
    """Fit the calibration of a model on held-out rows.

    Args:
        model: the model.
        outputs: its outputs for N held-out rows, with the calibration off (`Calibration.off`).
        labels: `(N,)` int64; where images have several classes, `(N, C)` of 0 and 1.
    """
    sources, targets = _sources(model, outputs), labels.numpy()
    numbers = _fit(sources, targets)
    total = float(numbers.weights.sum())
    inverse: float | list[float] = total
    if numbers.class_scale is not None:
        inverse = [float(scale) * total for scale in numbers.class_scale]
    names = list(outputs.branch_logits)
    weighted = isinstance(model.fusion, Weighted)
    scores: list[float] = []
    confidences: list[float] = []
    if labels.ndim == 1:
        probabilities = softmax(_cross_fit(sources, targets)[0], axis=-1)
        scores = np.sort(1 - probabilities[np.arange(len(targets)), targets]).clip(0, 1).tolist()
        confidences = np.sort(probabilities.max(1)).tolist()
    return FittedCalibration(
        rows=len(targets),
        branch_weights=dict(zip(names, (numbers.weights / total).tolist(), strict=True)) if weighted else None,
        inverse_temperature=inverse,
        thresholds=None if numbers.thresholds is None else numbers.thresholds.tolist(),
        scores=[round(score, 6) for score in scores],
        top_slope=numbers.line[0],
        top_offset=numbers.line[1],
        confidences=[round(confidence, 6) for confidence in confidences],
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
    apply_calibration(model, fit_calibration(model, outputs, targets.cpu()))
    return model


def cross_fit(model: MARNet, outputs: PredictionOutput, labels: Tensor) -> CrossFitted:
    """Predict each of the rows that a calibration is fitted on by a calibration that was fitted without it.

    The arguments are those of `fit_calibration`.
    """
    logits, thresholds = _cross_fit(_sources(model, outputs), labels.numpy())
    found = None if thresholds is None else torch.from_numpy(thresholds).float()
    return CrossFitted(torch.from_numpy(logits).float(), found)


def uncalibrated_logits(model: MARNet, outputs: PredictionOutput) -> Tensor:
    """Return the logits `(N, C)` to compare with: of the head on x_v, if the weights of the fusion are fitted.

    The arguments are those of `fit_calibration`.
    """
    return outputs.branch_logits[VISUAL] if isinstance(model.fusion, Weighted) else outputs.logits


def _sources(model: MARNet, outputs: PredictionOutput) -> Array:
    """Return the logits `(n, N, C)` that are added: those of the branches, or the one prediction of another fusion."""
    weighted = isinstance(model.fusion, Weighted)
    found = list(outputs.branch_logits.values()) if weighted else [uncalibrated_logits(model, outputs)]
    return torch.stack(found).double().numpy()


def _cross_fit(sources: Array, targets: Array) -> tuple[Array, Array | None]:
    """Return logits `(N, C)` and thresholds `(N, C)`, those of each row fitted on the other folds."""
    logits = np.empty(sources.shape[1:])
    thresholds = np.empty(sources.shape[1:]) if targets.ndim == 2 else None
    for held, rest in _folds(len(targets)):
        numbers = _fit(sources[:, rest], targets[rest])
        logits[held] = numbers.logits(sources[:, held])
        if thresholds is not None:
            thresholds[held] = numbers.thresholds
    return logits, thresholds


def _folds(rows: int) -> list[tuple[Array, Array]]:
    """Return the rows of each fold, drawn by a fixed seed, and with them all other rows."""
    order = np.random.default_rng(0).permutation(rows)
    held = [np.sort(part) for part in np.array_split(order, min(FOLDS, rows))]
    return [(part, np.setdiff1d(np.arange(rows), part)) for part in held]


def _fit(sources: Array, targets: Array) -> _Numbers:
    weights, unseen = _choose_weights(sources, targets)
    if targets.ndim == 1:
        return _Numbers(weights, None, None, _fit_line(unseen, targets))
    fused = np.tensordot(weights, sources, 1)
    scale = np.array([_class_scale(fused[:, c], targets[:, c]) for c in range(fused.shape[1])])
    thresholds = np.array([_best_threshold(expit(scale[c] * fused[:, c]), targets[:, c]) for c in range(len(scale))])
    return _Numbers(weights, scale, thresholds)


def _choose_weights(sources: Array, targets: Array) -> tuple[Array, Array]:
    """Return weights `(n,)`: of all sources, if that predicts unseen rows better, else of the first one alone.

    With them come the logits `(N, C)` of each row by weights that were fitted without it; of fewer than ten rows none.
    """
    alone = np.zeros(len(sources))
    alone[0] = _fit_weights(sources[:1], targets)[0]
    if len(targets) < 2 * FOLDS:
        return alone, sources[0, :0]
    first = _unseen_logits(sources[:1], targets)
    if len(sources) == 1:
        return alone, first
    every = _unseen_logits(sources, targets)
    gains = _row_losses(first, targets) - _row_losses(every, targets)
    better = gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains))
    if better and _hits(every, targets) >= _hits(first, targets):
        return _fit_weights(sources, targets), every
    return alone, first


def _fit_line(unseen: Array, targets: Array) -> tuple[float, float]:
    """Return slope and offset that make the odds of the most probable class right, for rows that the fit has not seen.

    Args:
        unseen: logits `(N, C)` with the temperature applied; no rows leave the odds as they are.
        targets: `(N,)`.
    """
    rows, classes = unseen.shape
    if not rows or classes < 2:
        return 1.0, 0.0
    odds = top_log_odds(torch.from_numpy(unseen))[0][:, 0].numpy()
    correct = (unseen.argmax(-1) == targets).astype(float)

    def loss(line: Array) -> tuple[float, Array]:
        slope, offset = line
        changed, away = slope * odds + offset, np.array([slope - 1, offset])
        value = (np.logaddexp(0, changed) - correct * changed).mean() + _LINE_PRIOR / rows * (away**2).sum()
        residual = expit(changed) - correct
        slopes = np.array([(residual * odds).mean(), residual.mean()])
        return float(value), slopes + 2 * _LINE_PRIOR / rows * away

    slope, offset = _minimise(loss, np.array([1.0, 0.0]), [(_LEAST, None), (None, None)])
    return float(slope), float(offset)


def _unseen_logits(sources: Array, targets: Array) -> Array:
    """Return summed logits `(N, C)`, those of each row with the weights that the other folds gave."""
    logits = np.empty(sources.shape[1:])
    for held, rest in _folds(len(targets)):
        logits[held] = np.tensordot(_fit_weights(sources[:, rest], targets[rest]), sources[:, held], 1)
    return logits


def _fit_weights(sources: Array, targets: Array) -> Array:
    """Return weights `(n,)` of 0 or more that minimise the loss of their sum; a convex problem."""
    start = np.zeros(len(sources))
    start[0] = 1.0
    rows = len(targets)
    if not rows:
        return start

    def loss(weights: Array) -> tuple[float, Array]:
        fused = np.tensordot(weights, sources, 1)
        away = weights - start
        value = _row_losses(fused, targets).mean() + _PRIOR / rows * (away**2).sum()
        residual = _residuals(fused, targets) / fused.size if targets.ndim == 2 else _residuals(fused, targets) / rows
        return value, np.tensordot(sources, residual, 2) + 2 * _PRIOR / rows * away

    bounds = [(_LEAST, None), *[(0.0, None)] * (len(sources) - 1)]
    return _minimise(loss, start, bounds)


def _class_scale(logits: Array, targets: Array) -> float:
    """Return the factor on the logits `(N,)` of a class that minimises its loss, held near 1."""
    rows = len(targets)
    if not rows:
        return 1.0

    def loss(scale: Array) -> tuple[float, Array]:
        scaled = scale[0] * logits
        value = (np.logaddexp(0, scaled) - targets * scaled).mean() + _CLASS_PRIOR / rows * (scale[0] - 1) ** 2
        slope = ((expit(scaled) - targets) * logits).mean() + 2 * _CLASS_PRIOR / rows * (scale[0] - 1)
        return float(value), np.array([slope])

    return float(_minimise(loss, np.ones(1), [(_LEAST, None)])[0])


def _minimise(
    loss: Callable[[Array], tuple[float, Array]], start: Array, bounds: Sequence[tuple[float | None, float | None]]
) -> Array:
    found: Array = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12}).x
    return found


def _row_losses(logits: Array, targets: Array) -> Array:
    """Return the negative log-likelihood `(N,)` of each row; of several classes their mean."""
    if targets.ndim == 1:
        losses: Array = -log_softmax(logits, axis=-1)[np.arange(len(targets)), targets]
    else:
        losses = (np.logaddexp(0, logits) - targets * logits).mean(-1)
    return losses


def _hits(logits: Array, targets: Array) -> int:
    """Return the number of correct decisions: on rows, or where images have several classes, on rows and classes."""
    correct = logits.argmax(-1) == targets if targets.ndim == 1 else (logits > 0) == (targets > 0.5)
    return int(correct.sum())


def _residuals(logits: Array, targets: Array) -> Array:
    """Return probabilities minus truth `(N, C)`: the slope of the summed losses."""
    if targets.ndim == 1:
        residuals: Array = softmax(logits, axis=-1)
        residuals[np.arange(len(targets)), targets] -= 1
    else:
        residuals = expit(logits) - targets
    return residuals


def _best_threshold(probabilities: Array, targets: Array) -> float:
    """Return the threshold with the best F1 on N rows, of equals the one nearest to 0.5; 0.5 with few positives."""
    positives = int((targets > 0.5).sum())
    if positives < _FEWEST_POSITIVES:
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    hits = np.cumsum(targets[order] > 0.5)
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positives)  # if the k most probable rows have the class
    below = np.append(ranked[1:], 0.0)
    between = (ranked + below) / 2
    f1[ranked == below] = -1.0  # no threshold tells equal probabilities apart
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(between[best[np.argmin(np.abs(between[best] - 0.5))]])
