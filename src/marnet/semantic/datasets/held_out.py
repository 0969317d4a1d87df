"""Probabilities of classes from fixed vectors, for rows that the model has not seen: logistic regression in folds."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from marnet.data.folds import make_folds

_STRENGTHS = (1.0, 10.0, 100.0)  # C of the logistic regression, of which the likeliest held-out labels choose
_LEAST = 1e-6  # probability of a class that the rows to fit on lack

Array = np.ndarray


def held_out_probabilities(
    inputs: Array, labels: Array, classes: int, groups: Sequence[str] | None, seed: int
) -> Array:
    """Return the probabilities of the classes `(N, C)`, each row's by a model that was fitted without it.

    A row whose class is in no row that its model was fitted on is NaN.

    Args:
        inputs: `(N, d)`, as `reduced` returns them.
        labels: `(N,)` from 0; one class has five rows at least.
        classes: their number C.
        groups: rows of one group stay in one fold; None: each row is its own.
        seed: of the folds.
    """
    folds = list(make_folds(labels, groups, seed))
    tried = [_at_strength(strength, inputs, labels, classes, folds) for strength in _STRENGTHS]
    own = np.arange(len(labels))
    return max(tried, key=lambda found: float(np.nansum(np.log(found[own, labels]))))


def _at_strength(
    strength: float, inputs: Array, labels: Array, classes: int, folds: Sequence[tuple[Array, Array]]
) -> Array:
    found = np.full((len(labels), classes), np.nan)
    for fit, held in folds:
        if len(np.unique(labels[fit])) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the next digits change no rank
            warnings.filterwarnings("ignore", "The number of unique classes")  # few rows per class are no regression
            model = LogisticRegression(C=strength, max_iter=300).fit(inputs[fit], labels[fit])
        judged = held[np.isin(labels[held], model.classes_)]
        if len(judged):
            probabilities = np.full((len(judged), classes), _LEAST)
            probabilities[:, model.classes_] = model.predict_proba(inputs[judged]).clip(_LEAST)
            found[judged] = probabilities / probabilities.sum(1, keepdims=True)
    return found
