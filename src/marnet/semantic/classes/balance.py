"""How new classes compete with those that a classifier was trained for, by leaving some of these out in turn.

A fold of the trained classes plays the new ones: the space, the priors and the means are made without them, and their
images are then looked for among the held-out images of the other classes. A backbone that learned from the training
images draws those of a class together, so that held-out images have to play instead. That shows how far the prior is to
be trusted, how sharp the cosines are to be read, and how large a bias new classes need to compete fairly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from marnet.inference.class_means.fit import sample_rows
from marnet.inference.class_means.space import Array, ClassSpace, Prior, class_directions, make_prior, unit_rows

_FOLDS = 5
_TRUST = (0.25, 0.5, 2.0, 4.0)  # in the prior, beside 1
_BIASES = 200  # that are tried
_NEAR = 0.015  # share of the largest harmonic mean that is given up for the trained classes
_LOG_SCALES = (-3.0, 6.0)  # least and largest


class ClassRows(NamedTuple):
    """Images of the C classes that a model was trained for."""

    features: Array  # (N, D_v)
    labels: Array  # (N,)
    logits: Array  # (N, C), as the model predicts

    def with_rows(self, more: "ClassRows") -> "ClassRows":
        """Return these rows and more."""
        return ClassRows(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))

    def sample(self, random: np.random.Generator) -> "ClassRows":
        """Return at most 100 rows per class."""
        kept = sample_rows(self.labels, random)
        return ClassRows(self.features[kept], self.labels[kept], self.logits[kept])


class Balance(NamedTuple):
    """How new classes compete with trained ones."""

    trust: float  # in the prior
    scale: float  # of cosines
    bias: float


class Fold(NamedTuple):
    """Classes that play the new ones, and the others."""

    out: Array  # numbers of the classes that are left out, in ascending order
    others: Array  # of the others
    space: ClassSpace  # of the others
    known: Array  # (C', d), their means
    images: Array  # (m, d), projected rows of the classes that are left out
    labels: Array  # (m,), theirs among these
    logits: Array  # (m, C'), of the model for the others alone


class _Scores(NamedTuple):
    """Cosines of rows with C' known and K new classes, and the model's logits of the known ones."""

    cosines: Array  # (n, C' + K)
    labels: Array  # (n,), known classes first
    logits: Array  # (n, C')


def make_folds(rows: ClassRows, players: ClassRows, random: np.random.Generator) -> list[Fold]:
    """Leave each class out once, with a fifth of all classes.

    Args:
        rows: rows that make the space.
        players: rows that play those of new classes.
        random: draws the folds.
    """
    classes, folds = rows.logits.shape[1], []
    for part in np.array_split(random.permutation(classes), min(_FOLDS, classes)):
        out = np.sort(part)
        others = np.setdiff1d(np.arange(classes), out)
        inside, plays = np.isin(rows.labels, others), np.isin(players.labels, out)
        space = ClassSpace.fit(rows.features[inside], np.searchsorted(others, rows.labels[inside]), len(others))
        images, labels = space.project(players.features[plays]), np.searchsorted(out, players.labels[plays])
        folds.append(Fold(out, others, space, space.known(), images, labels, players.logits[plays][:, others]))
    return folds


def find_balance(
    folds: Sequence[Fold], held: ClassRows, similarity: Array | None, with_text: bool, images: int, *, seed: int
) -> Balance:
    """Return the balance with which classes that were left out are found best.

    Args:
        folds: of the classes.
        held: rows that the model was not trained on, with the features of the folds.
        similarity: of the texts of all classes, `(C, C)`.
        with_text: new classes have a text.
        images: how many images new classes are made from.
        seed: of the images that play them.
    """
    tests, priors = [], []
    for fold in folds:
        texts = similarity if with_text else None
        within = None if texts is None else texts[np.ix_(fold.others, fold.others)]
        across = None if texts is None else texts[np.ix_(fold.out, fold.others)]
        priors.append(make_prior(fold.space, within, across, len(fold.out)))
        rows = np.isin(held.labels, fold.others)
        projected = fold.space.project(held.features[rows])
        tests.append((projected, np.searchsorted(fold.others, held.labels[rows]), held.logits[rows][:, fold.others]))
    found, scale = [], 0.0
    for trust in (1.0, *_TRUST) if images else (1.0,):
        random = np.random.default_rng(seed)
        scored = [
            _score_fold(fold, prior, test, images=images, trust=trust, random=random)
            for fold, prior, test in zip(folds, priors, tests, strict=True)
            if len(test[0])
        ]
        scale = scale or _fit_scale(scored)  # it hardly depends on the trust
        harmonic, bias = _fit_bias(scored, scale)
        found.append((harmonic, Balance(trust, scale, bias)))
    return max(found, key=lambda each: each[0])[1]


def _score_fold(
    fold: Fold,
    prior: Prior,
    held: tuple[Array, Array, Array],
    *,
    images: int,
    trust: float,
    random: np.random.Generator,
) -> tuple[_Scores, _Scores]:
    """Return the scores of held-out rows of the others, and of rows of the classes that were left out.

    Of the latter, `images` rows per class are shown, at most half of what it has; the rest is looked for.
    """
    shown, looked_for = [], np.ones(len(fold.images), bool)
    for label in range(len(fold.out)):
        rows = random.permutation(np.flatnonzero(fold.labels == label))
        own = rows[: min(images, len(rows) // 2)]
        shown.append(fold.images[own])
        looked_for[own] = False
    basis, known, new = class_directions(fold.known, prior.place(shown, trust=trust))
    units = np.vstack([known, new]).T
    projected, labels, logits = held
    return (
        _Scores(unit_rows(projected @ basis) @ units, labels, logits),
        _Scores(
            unit_rows(fold.images[looked_for] @ basis) @ units,
            fold.labels[looked_for] + len(known),
            fold.logits[looked_for],
        ),
    )


def _fit_scale(scored: Sequence[tuple[_Scores, _Scores]]) -> float:
    """Return the scale of the cosines whose softmax, with a bias for new classes, is most likely.

    Rows of known and of new classes count the same in sum.
    """

    def loss(numbers: Array) -> tuple[float, Array]:
        scale, total, slope = np.exp(numbers[0]), 0.0, np.zeros(2)
        for pair in scored:
            known = pair[0].logits.shape[1]
            for cosines, labels, _ in pair:
                logits = scale * cosines
                logits[:, known:] += numbers[1]
                logits -= logits.max(1, keepdims=True)
                probabilities = np.exp(logits)
                sums = probabilities.sum(1)
                probabilities /= sums[:, None]
                right = np.arange(len(labels)), labels
                total += float((np.log(sums) - logits[right]).mean())
                of_new = probabilities[:, known:].sum(1) - (labels >= known)
                slope += scale * ((probabilities * cosines).sum(1) - cosines[right]).mean(), of_new.mean()
        return total, slope

    return float(
        np.exp(
            minimize(loss, np.array([2.5, 0.0]), jac=True, method="L-BFGS-B", bounds=[_LOG_SCALES, (None, None)]).x[0]
        )
    )


def _fit_bias(scored: Sequence[tuple[_Scores, _Scores]], scale: float) -> tuple[float, float]:
    """Return the largest harmonic mean of the accuracies on known and on new classes, and the bias of new classes.

    Of all biases that come within 1.5 % of it, the smallest is taken: it costs the known classes least.
    """
    leads, rights = [], []
    for pair in scored:
        for rows in pair:
            known = rows.logits.shape[1]
            cosines = scale * rows.cosines
            new = cosines[:, known:].max(1) - logsumexp(cosines[:, :known], axis=1) + logsumexp(rows.logits, axis=1)
            best_known, best_new = rows.logits.argmax(1), cosines[:, known:].argmax(1) + known
            leads.append(new - rows.logits.max(1))  # of the new classes, without a bias
            rights.append(np.stack([best_known == rows.labels, best_new == rows.labels]))
    lead = np.concatenate(leads)
    means = []
    for bias in np.unique(np.quantile(-lead, np.linspace(0, 1, _BIASES))):
        accuracies = [
            np.where(ahead + bias > 0, right[1], right[0]).mean() for ahead, right in zip(leads, rights, strict=True)
        ]
        on_known, on_new = np.mean(accuracies[::2]), np.mean(accuracies[1::2])
        means.append((2 * on_known * on_new / max(on_known + on_new, 1e-12), float(bias)))
    highest = max(means)[0]
    return float(highest), min(bias for mean, bias in means if mean >= (1 - _NEAR) * highest)
