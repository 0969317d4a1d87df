"""The numbers of a calibration, by the likelihood of held-out rows: weights of sources, a line, scales, thresholds.

A source is a prediction of every row: the logits of a branch, the cosines with the means of the classes, how rare each
class is. Few numbers are fitted; a weak prior holds them where training left them (the head on x_v alone, at
temperature 1), so that few rows change little. Further sources join only if they improve the likelihood of rows that
the fit has not seen by more than its standard error, and get no fewer of them right.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from marnet.modules.calibration import calibrate_top, top_log_odds

FOLDS = 5
_PRIOR = 1.0  # strength, in rows, with which the numbers are held where training left them
_LINE_PRIOR = 5.0  # the same for the line on the log-odds of the most probable class
_CLASS_PRIOR = 10.0  # the same for the temperature of a class, held at that of all classes
_LEAST = 1e-2  # of the weight that is never zero
_FEWEST_POSITIVES = 5  # rows with a class that its threshold is fitted on

Array = np.ndarray


class HeldOut(NamedTuple):
    """N held-out rows with what n sources predict for them."""

    sources: Array  # (n, N, C) logits; the first one predicts alone if no other helps
    targets: Array  # (N,); where images have several classes, (N, C) of 0 and 1
    groups: Sequence[Sequence[int]]  # sources that may join the first one, in the order in which they are tried
    signed: Sequence[int] = ()  # sources whose weight may be negative
    row_weights: Array | None = None  # (N,), of mean 1; None: every row counts the same

    def take(self, rows: Array) -> Self:
        """Return some of the rows."""
        weights = None if self.row_weights is None else self.row_weights[rows]
        return self._replace(sources=self.sources[:, rows], targets=self.targets[rows], row_weights=weights)

    def mean(self, values: Array) -> float:
        """Return the mean `()` of one value per row `(N,)`."""
        return float(values.mean() if self.row_weights is None else (self.row_weights * values).mean())


class Numbers(NamedTuple):
    """The numbers that were fitted."""

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


def fit_numbers(rows: HeldOut) -> Numbers:
    """Fit all numbers on the rows."""
    weights, unseen = _choose_weights(rows)
    targets = rows.targets
    if targets.ndim == 1:
        return Numbers(weights, None, None, _fit_line(unseen, rows))
    fused = np.tensordot(weights, rows.sources, 1)
    scale = np.array([_class_scale(fused[:, c], targets[:, c]) for c in range(fused.shape[1])])
    thresholds = np.array([_best_threshold(expit(scale[c] * fused[:, c]), targets[:, c]) for c in range(len(scale))])
    return Numbers(weights, scale, thresholds)


def cross_fit_numbers(rows: HeldOut) -> tuple[Array, Array | None]:
    """Return logits `(N, C)` and thresholds `(N, C)`, those of each row fitted on the other folds."""
    logits = np.empty(rows.sources.shape[1:])
    thresholds = np.empty(rows.sources.shape[1:]) if rows.targets.ndim == 2 else None
    for held, rest in _folds(len(rows.targets)):
        numbers = fit_numbers(rows.take(rest))
        logits[held] = numbers.logits(rows.sources[:, held])
        if thresholds is not None:
            thresholds[held] = numbers.thresholds
    return logits, thresholds


def balanced_weights(targets: Array) -> Array:
    """Return weights `(N,)` of rows with targets `(N,)`, by which every class counts the same; their mean is 1.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1])).tolist()
        [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    _, numbers, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return np.asarray(len(targets) / (len(counts) * counts[numbers]))


def _folds(rows: int) -> list[tuple[Array, Array]]:
    """Return the rows of each fold, drawn by a fixed seed, and with them all other rows."""
    order = np.random.default_rng(0).permutation(rows)
    held = [np.sort(part) for part in np.array_split(order, min(FOLDS, rows))]
    return [(part, np.setdiff1d(np.arange(rows), part)) for part in held]


def _choose_weights(rows: HeldOut) -> tuple[Array, Array]:
    """Return weights `(n,)`: of the first source alone, and of a group with it if that predicts unseen rows better.

    With them come the logits `(N, C)` of each row by weights that were fitted without it; of fewer than ten rows none.
    """
    alone: tuple[int, ...] = (0,)
    if len(rows.targets) < 2 * FOLDS:
        return _fit_weights(rows, alone), rows.sources[0, :0]
    chosen, best = alone, _unseen_logits(rows, alone)
    for group in rows.groups:
        wider = (0, *group)
        every = _unseen_logits(rows, wider)
        if _is_better(every, best, rows):
            chosen, best = wider, every
    return _fit_weights(rows, chosen), best


def _is_better(every: Array, best: Array, rows: HeldOut) -> bool:
    """Return whether logits `(N, C)` are likelier than others by more than chance, and not less often right."""
    gains = _row_losses(best, rows.targets) - _row_losses(every, rows.targets)
    weighted = gains if rows.row_weights is None else gains * rows.row_weights
    likelier = weighted.mean() > weighted.std(ddof=1) / np.sqrt(len(gains))
    return bool(likelier) and _hits(every, rows) >= _hits(best, rows)


def _fit_line(unseen: Array, rows: HeldOut) -> tuple[float, float]:
    """Return slope and offset that make the odds of the most probable class right, for rows that the fit has not seen.

    Args:
        unseen: logits `(N, C)` with the temperature applied; no rows leave the odds as they are.
        rows: the rows, one class per image.
    """
    count, classes = unseen.shape
    if not count or classes < 2:
        return 1.0, 0.0
    odds = top_log_odds(torch.from_numpy(unseen))[0][:, 0].numpy()
    correct = (unseen.argmax(-1) == rows.targets).astype(float)

    def loss(line: Array) -> tuple[float, Array]:
        slope, offset = line
        changed, away = slope * odds + offset, np.array([slope - 1, offset])
        value = rows.mean(np.logaddexp(0, changed) - correct * changed) + _LINE_PRIOR / count * (away**2).sum()
        residual = expit(changed) - correct
        slopes = np.array([rows.mean(residual * odds), rows.mean(residual)])
        return float(value), slopes + 2 * _LINE_PRIOR / count * away

    slope, offset = _minimise(loss, np.array([1.0, 0.0]), [(_LEAST, None), (None, None)])
    return float(slope), float(offset)


def _unseen_logits(rows: HeldOut, chosen: Sequence[int]) -> Array:
    """Return summed logits `(N, C)`, those of each row with the weights that the other folds gave."""
    logits = np.empty(rows.sources.shape[1:])
    for held, rest in _folds(len(rows.targets)):
        logits[held] = np.tensordot(_fit_weights(rows.take(rest), chosen), rows.sources[:, held], 1)
    return logits


def _fit_weights(rows: HeldOut, chosen: Sequence[int]) -> Array:
    """Return weights `(n,)` that minimise the loss of the sum of the chosen sources; a convex problem.

    They are 0 or more, but for those that are signed, and 0 for all sources that were not chosen.
    """
    found = np.zeros(len(rows.sources))
    found[0] = 1.0
    sources, targets = rows.sources[list(chosen)], rows.targets
    start, count = found[list(chosen)], len(targets)
    if not count:
        return found

    def loss(weights: Array) -> tuple[float, Array]:
        fused = np.tensordot(weights, sources, 1)
        away = weights - start
        value = rows.mean(_row_losses(fused, targets)) + _PRIOR / count * (away**2).sum()
        residual = _residuals(fused, targets)
        if targets.ndim == 2:
            residual /= fused.size
        else:
            residual /= count
            if rows.row_weights is not None:
                residual *= rows.row_weights[:, None]
        return value, np.tensordot(sources, residual, 2) + 2 * _PRIOR / count * away

    bounds = [(None if each in rows.signed else 0.0, None) for each in chosen]
    found[list(chosen)] = _minimise(loss, start, [(_LEAST, None), *bounds[1:]])
    return found


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


def _hits(logits: Array, rows: HeldOut) -> float:
    """Return the share of correct decisions: on rows, or where images have several classes, on rows and classes."""
    if rows.targets.ndim == 1:
        return rows.mean((logits.argmax(-1) == rows.targets).astype(float))
    return float(((logits > 0) == (rows.targets > 0.5)).mean())


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
