"""A teacher that sees image and text labels the training rows without a label, if that helps an image model.

Two logistic regressions, on image features and on text vectors, are weighed so that labelled rows which they were not
fitted on become as likely as possible; so the teacher's probabilities are calibrated, and a text that says nothing
counts for nothing. Whether to learn from them is measured before: a linear probe on image features, fitted with and
without the rows without a label, must get more held-out labelled rows right, by more than the standard error.
"""

import warnings
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV

from marnet.data.folds import FOLDS, make_folds, reduced

MOST_LABELLED, MOST_UNLABELLED = 5_000, 10_000  # rows to fit and to measure on; more take long and say the same
_STRENGTHS = (1.0, 10.0, 100.0)  # C of the logistic regressions
_WEIGHTS = (0.0, 0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)  # of each witness
_LEAST = 1e-6  # probability of a class that the rows to fit on lack

Array = np.ndarray


class Outcome(NamedTuple):
    """Whether the teacher's labels are used, and the measurements that say so. Scores are shares of 1."""

    used: bool
    labelled: int
    unlabelled: int
    without_text: int  # of the unlabelled rows
    image_weight: float  # of the witness in the teacher
    text_weight: float
    teacher: float  # held-out labelled rows that the teacher gets right
    without: float  # held-out labelled rows that a probe on image features gets right, fitted to labelled rows
    with_unlabelled: float  # fitted to both, with the teacher's labels
    standard_error: float  # of the difference of the last two


class Taught(NamedTuple):
    """The labels of the teacher."""

    probabilities: Array  # (U, C) float32
    outcome: Outcome


class _Witness(NamedTuple):
    """The log-probabilities of one kind of vectors."""

    held: Array  # (N, C), of each labelled row by a model that was fitted without it; NaN where its class was missing
    by_fold: list[Array]  # (U, C) each, of the unlabelled rows by the model of each fold
    final: Array  # (U, C), by a model of all labelled rows


class _Rows(NamedTuple):
    labels: Array  # (N,)
    classes: int  # C
    folds: list[tuple[Array, Array]]


def teach(
    image: Array,
    text: Array,
    with_text: Array,
    labels: Array,
    classes: int,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Taught | None:
    """Label U rows by a teacher that is fitted to N labelled ones, and measure whether its labels help.

    Args:
        image: features `(N + U, D)` of the images, of the labelled rows first.
        text: vectors `(N + U, D_s)` of the texts.
        with_text: `(N + U,)` bool, the rows that have a text; the others are labelled from their image alone.
        labels: `(N,)` int64 from 0.
        classes: C.
        groups: rows of one group stay in one fold, N names; None: each row is its own.
        seed: of the folds and of the rows that are drawn where there are many.

    Returns:
        The labels and the measurements; None if no class has two labelled rows, so that nothing can be held out.
    """
    count = len(labels)
    random = np.random.default_rng(seed)
    kept = np.sort(random.permutation(count)[:MOST_LABELLED])
    labels = labels[kept]
    number = min(FOLDS, int(np.bincount(labels).max()))
    if number < 2 or len(np.unique(labels)) < 2:
        return None
    folds = list(make_folds(labels, None if groups is None else [groups[row] for row in kept], seed, folds=number))
    rows = _Rows(labels, classes, folds)
    drawn = np.sort(random.permutation(len(image) - count)[:MOST_UNLABELLED])  # to measure on
    seen, read = _shorter(image, np.ones(len(image), bool)), _shorter(text, with_text)
    inputs = seen[:count][kept], seen[count:]
    witnesses = [_ask(*inputs, rows, drawn), _ask(read[:count][kept], read[count:], rows, drawn)]
    by_fold = [witness.by_fold for witness in witnesses]
    weights = _weigh([witness.held for witness in witnesses], labels)
    hits = _measure(*inputs, rows, drawn, [_mix(each, weights) for each in zip(*by_fold, strict=True)])
    gain = hits[:, 1] - hits[:, 0]
    error = float(gain.std() / np.sqrt(len(gain)))
    held = _mix([np.nan_to_num(witness.held, nan=np.log(_LEAST)) for witness in witnesses], weights)
    outcome = Outcome(
        used=bool(gain.mean() > error),
        labelled=count,
        unlabelled=len(image) - count,
        without_text=int((~with_text[count:]).sum()),
        image_weight=weights[0],
        text_weight=weights[1],
        teacher=float((held.argmax(1) == labels).mean()),
        without=float(hits[:, 0].mean()),
        with_unlabelled=float(hits[:, 1].mean()),
        standard_error=error,
    )
    return Taught(_mix([witness.final for witness in witnesses], weights).astype(np.float32), outcome)


def _shorter(vectors: Array, known: Array) -> Array:
    """Return `reduced` vectors of the known rows, and zeros for the others."""
    short = reduced(vectors[known].astype(float)) if known.any() else np.zeros((0, 1))
    found = np.zeros((len(vectors), short.shape[1]))
    found[known] = short
    return found


def _ask(labelled: Array, unlabelled: Array, rows: _Rows, drawn: Array) -> _Witness:
    """Fit one kind of vectors, with the strength that makes held-out labels likeliest."""
    own = np.arange(len(rows.labels))
    tried = []
    for strength in _STRENGTHS:
        held = np.full((len(labelled), rows.classes), np.nan)
        by_fold = []
        for fit, out in rows.folds:
            model = _fit(strength, labelled[fit], rows.labels[fit])
            judged = out[np.isin(rows.labels[out], model.classes_)]
            held[judged] = _log_probabilities(model, labelled[judged], rows.classes)
            by_fold.append(_log_probabilities(model, unlabelled[drawn], rows.classes))
        tried.append((float(np.nansum(held[own, rows.labels])), strength, held, by_fold))
    _, strength, held, by_fold = max(tried, key=lambda each: each[0])
    model = _fit(strength, labelled, rows.labels)
    return _Witness(held, by_fold, _log_probabilities(model, unlabelled, rows.classes))


def _fit(strength: float, inputs: Array, labels: Array) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the next digits change no rank
        warnings.filterwarnings("ignore", "The number of unique classes")  # few rows per class are no regression
        return LogisticRegression(C=strength, max_iter=300).fit(inputs, labels)


def _log_probabilities(model: LogisticRegression, inputs: Array, classes: int) -> Array:
    found = np.full((len(inputs), classes), np.log(_LEAST))
    if len(inputs):
        found[:, model.classes_] = model.predict_log_proba(inputs).clip(np.log(_LEAST))
    return found


def _weigh(held: Sequence[Array], labels: Array) -> tuple[float, float]:
    """Return the weights of image and text that make the held-out labels likeliest."""
    judged = ~np.isnan(held[0][:, 0])
    image, text, true = held[0][judged], held[1][judged], labels[judged]
    own = np.arange(len(true))

    def likelihood(weights: tuple[float, float]) -> float:
        return float(log_softmax(weights[0] * image + weights[1] * text, axis=1)[own, true].sum())

    return max((pair for pair in product(_WEIGHTS, _WEIGHTS) if any(pair)), key=likelihood)


def _mix(witnesses: Sequence[Array], weights: tuple[float, float]) -> Array:
    return np.asarray(softmax(weights[0] * witnesses[0] + weights[1] * witnesses[1], axis=1))


def _measure(labelled: Array, unlabelled: Array, rows: _Rows, drawn: Array, taught: Sequence[Array]) -> Array:
    """Return whether probes without and with the unlabelled rows get each held-out labelled row right, `(N, 2)`."""
    hits = np.zeros((len(labelled), 2))
    targets = np.eye(rows.classes)[rows.labels]
    for (fit, out), soft in zip(rows.folds, taught, strict=True):
        more = np.vstack([labelled[fit], unlabelled[drawn]]), np.vstack([targets[fit], soft])
        for column, (inputs, wanted) in enumerate(((labelled[fit], targets[fit]), more)):
            probe = RidgeCV(np.logspace(-2, 3, 11)).fit(inputs, wanted)
            hits[out, column] = probe.predict(labelled[out]).argmax(1) == rows.labels[out]
    return hits
