"""New classes for a trained classifier, weighed against the trained ones by leaving some of these out in turn.

A fold of the trained classes plays the new ones: the space, the priors and the means are made without them, and their
images are then looked for among the held-out images of the other classes. That shows how far the prior is to be
trusted, how sharp the cosines are to be read, and how large a bias new classes need to compete fairly.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from marnet.errors import ConfigError
from marnet.modules.new_classes import NewClasses
from marnet.semantic.class_space import (
    Array,
    ClassSpace,
    Prior,
    class_directions,
    plain_prior,
    principal_axes,
    text_prior,
    unit_rows,
)

FEWEST_CLASSES = 3  # that a run must have been trained for
_FOLDS = 5
_TRUST = (0.25, 0.5, 2.0, 4.0)  # in the prior, beside 1
_MOST_IMAGES = 8  # of a class, up to which their number makes a difference to the balance
MOST_ROWS = 100  # of a class; more take long and say the same
_BIASES = 200  # that are tried


class ClassRows(NamedTuple):
    """Images of the C classes that a model was trained for."""

    features: Array  # (N, D_v)
    labels: Array  # (N,)
    logits: Array  # (N, C), as the model predicts

    def sample(self, random: np.random.Generator) -> "ClassRows":
        """Return at most 100 rows per class."""
        order = random.permutation(len(self.labels))
        rank = np.zeros(len(order), int)
        for label in np.unique(self.labels):
            rows = order[self.labels[order] == label]
            rank[rows] = np.arange(len(rows))
        kept = rank < MOST_ROWS
        return ClassRows(self.features[kept], self.labels[kept], self.logits[kept])


class NewClassData(NamedTuple):
    """What is known of a new class: a text, images, or both."""

    similarity: Array | None  # (C,), of its text to those of the trained classes; None: it has no text
    features: Array  # (k, D_v), of its images; k may be 0


class Balance(NamedTuple):
    """How new classes compete with trained ones."""

    trust: float  # in the prior
    scale: float  # of cosines
    bias: float


def fit_new_classes(
    train: ClassRows,
    held: ClassRows,
    similarity: Array | None,
    new: Sequence[NewClassData],
    *,
    axes: Array | None = None,
    seed: int = 0,
) -> NewClasses:
    """Make new classes from texts and images, without training.

    Args:
        train: rows that the model was trained on.
        held: rows of the same classes that it was not trained on.
        similarity: of the texts of the C classes, `(C, C)`; needed if a new class has a text.
        new: the K new classes.
        axes: directions of the features to keep, `(D_v, r)`; None: `principal_axes` of those of `train`.
        seed: of the sample, the folds and the images that play those of new classes.

    Raises:
        ConfigError: there are fewer than three trained classes with rows, or a new class has neither text nor image.
    """
    classes = train.logits.shape[1]
    check_enough(train, held)
    random = np.random.default_rng(seed)
    train, held = train.sample(random), held.sample(random)
    if axes is None:
        axes = principal_axes(train.features)
    train, held = (each._replace(features=each.features @ axes) for each in (train, held))
    space = ClassSpace.fit(train.features, train.labels, classes)
    folds = list(_make_folds(train, held, similarity, random))
    groups = {_group(each): None for each in new}
    balances = {group: _find_balance(folds, *group, seed) for group in groups}
    placed = np.zeros((len(new), space.means.shape[1]))
    for group, balance in balances.items():
        chosen = [number for number, each in enumerate(new) if _group(each) == group]
        shown = [space.project(new[number].features @ axes) for number in chosen]
        texts = [each for number in chosen if (each := new[number].similarity) is not None]
        prior = _make_prior(space, similarity, np.stack(texts) if texts else None, len(chosen))
        placed[chosen] = _place(prior, shown, balance.trust)
    basis, trained, units = class_directions(space.known(), placed)
    found = [balances[_group(each)] for each in new]

    def tensor(values: Array | list[float]) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32)

    return NewClasses(
        tensor(axes @ space.centre),
        tensor(axes @ space.projection @ basis),
        tensor(trained),
        tensor(units),
        tensor([each.scale for each in found]),
        tensor([each.bias for each in found]),
    )


def check_enough(train: ClassRows, held: ClassRows) -> None:
    """Refuse rows that new classes cannot be weighed by.

    Raises:
        ConfigError: a trained class has no row to learn its place from, or there are fewer than three, or nothing is
            held out.
    """
    classes = train.logits.shape[1]
    missing = int((np.bincount(train.labels, minlength=classes) == 0).sum())
    if classes < FEWEST_CLASSES or missing or not len(held.labels):
        raise ConfigError(
            f"New classes are weighed against {FEWEST_CLASSES} trained classes or more, each with images in train, and "
            f"held-out images of them; found {classes} classes, {missing} of them without an image, and "
            f"{len(held.labels)} held-out images. Name the rows that the run was trained on."
        )


def _group(new: NewClassData) -> tuple[bool, int]:
    """Return what the balance depends on: whether there is a text, and how many images."""
    return new.similarity is not None, min(len(new.features), _MOST_IMAGES)


def _make_prior(space: ClassSpace, similarity: Array | None, new: Array | None, count: int) -> Prior:
    """Return the prior of `count` new classes, by their texts if both similarities are given."""
    if similarity is None or new is None:
        return plain_prior(space, count)
    return text_prior(space, similarity, new)


def _place(prior: Prior, shown: Sequence[Array], trust: float) -> Array:
    """Return the means of new classes `(K, d)` by their prior and the projected images of each, `(k, d)`."""
    means = np.stack([each.mean(0) if len(each) else np.zeros(each.shape[1]) for each in shown])
    return prior.posterior(prior.new, means, np.array([len(each) for each in shown], float), trust=trust)


class _Fold(NamedTuple):
    """Classes that play the new ones, and the others."""

    space: ClassSpace  # of the others
    known: Array  # (C', d), their means
    similarity: Array | None  # of their texts
    similarity_new: Array | None  # of the texts of those left out to theirs
    others: Array  # projected held-out rows of the others, with
    others_labels: Array  # their labels among the others, and
    others_logits: Array  # (n, C'), of the model for the others alone
    left_out: Array  # projected rows of those left out, with
    left_out_labels: Array
    left_out_logits: Array  # (m, C')

    @property
    def left_out_classes(self) -> int:
        """How many classes play the new ones."""
        return int(self.left_out_labels.max()) + 1


class _Scores(NamedTuple):
    """Cosines of rows with C' known and K new classes, and the model's logits of the known ones."""

    cosines: Array  # (n, C' + K)
    labels: Array  # (n,), known classes first
    logits: Array  # (n, C')


def _make_folds(
    train: ClassRows, held: ClassRows, similarity: Array | None, random: np.random.Generator
) -> Iterator[_Fold]:
    classes = train.logits.shape[1]
    for part in np.array_split(random.permutation(classes), min(_FOLDS, classes)):
        left_out = np.sort(part)
        others = np.setdiff1d(np.arange(classes), left_out)
        inside, tested = np.isin(train.labels, others), np.isin(held.labels, others)
        space = ClassSpace.fit(train.features[inside], np.searchsorted(others, train.labels[inside]), len(others))
        yield _Fold(
            space,
            space.known(),
            None if similarity is None else similarity[np.ix_(others, others)],
            None if similarity is None else similarity[np.ix_(left_out, others)],
            space.project(held.features[tested]),
            np.searchsorted(others, held.labels[tested]),
            held.logits[tested][:, others],
            space.project(train.features[~inside]),
            np.searchsorted(left_out, train.labels[~inside]),
            train.logits[~inside][:, others],
        )


def _find_balance(folds: Sequence[_Fold], with_text: bool, images: int, seed: int) -> Balance:
    """Return the balance with which classes that were left out are found best."""
    found, scale = [], 0.0
    priors = [
        _make_prior(fold.space, fold.similarity, fold.similarity_new if with_text else None, fold.left_out_classes)
        for fold in folds
    ]
    for trust in (1.0, *_TRUST) if images else (1.0,):
        random = np.random.default_rng(seed)
        scored = [_score_fold(fold, prior, images, trust, random) for fold, prior in zip(folds, priors, strict=True)]
        scale = scale or _fit_scale(scored)  # it hardly depends on the trust
        harmonic, bias = _fit_bias(scored, scale)
        found.append((harmonic, Balance(trust, scale, bias)))
    return max(found, key=lambda each: each[0])[1]


def _score_fold(
    fold: _Fold, prior: Prior, images: int, trust: float, random: np.random.Generator
) -> tuple[_Scores, _Scores]:
    """Return the scores of the held-out rows of the others, and of those of the classes that were left out.

    Of the latter, `images` rows per class are shown, at most half of what it has; the rest is looked for.
    """
    shown, looked_for = [], np.ones(len(fold.left_out), bool)
    for label in range(fold.left_out_classes):
        rows = random.permutation(np.flatnonzero(fold.left_out_labels == label))
        own = rows[: min(images, len(rows) // 2)]
        shown.append(fold.left_out[own])
        looked_for[own] = False
    basis, known, new = class_directions(fold.known, _place(prior, shown, trust))
    units = np.vstack([known, new]).T
    return (
        _Scores(unit_rows(fold.others @ basis) @ units, fold.others_labels, fold.others_logits),
        _Scores(
            unit_rows(fold.left_out[looked_for] @ basis) @ units,
            fold.left_out_labels[looked_for] + len(known),
            fold.left_out_logits[looked_for],
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

    return float(np.exp(minimize(loss, np.array([2.5, 0.0]), jac=True, method="L-BFGS-B").x[0]))


def _fit_bias(scored: Sequence[tuple[_Scores, _Scores]], scale: float) -> tuple[float, float]:
    """Return the largest harmonic mean of the accuracies on known and on new classes, and the bias that gives it."""
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
    near = [bias for mean, bias in means if mean >= highest - 1e-9]
    return float(highest), float(np.median(near))
