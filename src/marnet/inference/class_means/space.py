"""Where classes lie among image features: known ones by their images, new ones by what their texts and images say.

Image features are whitened: projected to coordinates in which the images of a class spread equally in all directions.
There, the mean of a class is a Gaussian variable, whose prior mean is what its text predicts (ridge regression, from
the similarities of class texts to the means of the known classes), or the mean of all classes where it has no text. Its
prior variance is what is left of the known classes after the same prediction, each predicted without itself. The
images of the class, of which each has variance 1, and the prior are weighed against each other direction by direction.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import eigh, solve_triangular
from sklearn.covariance import ledoit_wolf_shrinkage

Array = np.ndarray

_DIMENSIONS = 512  # of largest variance, that are kept of image features
_RIDGES = np.logspace(-2, 1.5, 15)
_LEAST_VARIANCE = 1e-4


def principal_axes(features: Array) -> Array:
    """Return the up to 512 directions of largest variance `(D, r)` of features `(N, D)`, orthonormal."""
    centred = features - features.mean(0)
    width = centred.shape[1]
    last = [max(0, width - _DIMENSIONS), width - 1]
    variances, directions = eigh(centred.T @ centred, subset_by_index=last)  # in ascending order
    return np.asarray(directions[:, variances > 1e-9 * max(float(variances[-1]), 1e-12)])


class ClassSpace(NamedTuple):
    """Whitened image features, and the C classes that made them."""

    centre: Array  # (D,), the mean of the class means
    projection: Array  # (D, D)
    means: Array  # (C, D), of the classes, projected
    counts: Array  # (C,), images of each

    @classmethod
    def fit(cls, features: Array, labels: Array, classes: int) -> Self:
        """Fit the space to features `(N, D)` of images with labels `(N,)` from 0 to `classes` - 1, all of them there.

        The covariance within the classes is shrunk towards a multiple of the identity (Ledoit and Wolf, 2004).
        """
        counts = np.bincount(labels, minlength=classes).astype(float)
        means = sum_by_class(features, labels, classes) / counts[:, None]
        centre = means.mean(0)
        within = features - means[labels]
        share = float(ledoit_wolf_shrinkage(within, assume_centered=True))
        covariance = within.T @ within / max(1, len(within) - classes)
        level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
        share = max(share, 1e-6)  # so that it can be inverted
        root = np.linalg.cholesky((1 - share) * covariance + share * level * np.eye(len(covariance)))
        projection = solve_triangular(root, np.eye(len(root)), lower=True).T
        return cls(centre, projection, (means - centre) @ projection, counts)

    def known(self) -> Array:
        """Return the means of the known classes `(C, D)`, drawn to that of all as far as they are uncertain."""
        prior = plain_prior(self, 0)
        return prior.posterior(prior.known, self.means, self.counts)

    def project(self, features: Array) -> Array:
        """Return whitened features `(N, D)` of features `(N, D)`; the mean of the class means is 0."""
        return np.asarray((features - self.centre) @ self.projection)


def sum_by_class(rows: Array, labels: Array, classes: int) -> Array:
    """Return the sums `(classes, d)` of rows `(N, d)` by label."""
    sums = np.zeros((classes, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return sums


class Prior(NamedTuple):
    """What is known of the means of classes before their images are looked at, in a `ClassSpace`."""

    known: Array  # (C, d), prior means of the known classes, each without its own images
    new: Array  # (K, d)
    axes: Array  # (d, r), directions of the prior variance
    variance: Array  # (r,), along them
    rest: float  # in all other directions

    def posterior(self, prior: Array, means: Array, counts: Array, *, trust: float = 1.0) -> Array:
        """Return the means of classes given their prior means and their images, `(n, d)`.

        Args:
            prior: `(n, d)`, `known` or `new`.
            means: of the images of each class, `(n, d)`; of any value where there is none.
            counts: images of each class, `(n,)`.
            trust: divides the prior variance.
        """
        counts = counts[:, None]
        along, rest = self.variance / trust, self.rest / trust
        difference = np.where(counts > 0, means - prior, 0.0)
        inside = difference @ self.axes
        outside = difference - inside @ self.axes.T
        moved = (inside * (counts / (counts + 1 / along))) @ self.axes.T + outside * (counts / (counts + 1 / rest))
        return np.asarray(prior + moved)

    def place(self, shown: Sequence[Array], *, trust: float = 1.0) -> Array:
        """Return the means of the new classes `(K, d)`, given the projected images of each, `(k, d)` with k >= 0."""
        means = np.stack([each.mean(0) if len(each) else np.zeros(each.shape[1]) for each in shown])
        return self.posterior(self.new, means, np.array([len(each) for each in shown], float), trust=trust)


def make_prior(space: ClassSpace, similarity: Array | None, similarity_new: Array | None, new: int) -> Prior:
    """Return the prior of `new` classes: by their texts if both similarities are given, else without."""
    if similarity is None or similarity_new is None:
        return plain_prior(space, new)
    return text_prior(space, similarity, similarity_new)


def text_prior(space: ClassSpace, similarity: Array, similarity_new: Array) -> Prior:
    """Predict the means of classes from their texts.

    Args:
        space: of the C known classes.
        similarity: of their texts, `(C, C)`, positive semi-definite.
        similarity_new: of the texts of K new classes with theirs, `(K, C)`.
    """
    inverse, residual = min(
        (_left_out(similarity, space.means, ridge) for ridge in _RIDGES), key=lambda found: float((found[1] ** 2).sum())
    )
    return _prior(space, residual, similarity_new @ inverse @ space.means)


def plain_prior(space: ClassSpace, new: int) -> Prior:
    """Return the prior of `new` classes without texts: the mean of all classes."""
    classes = len(space.means)
    return _prior(space, space.means * classes / max(1, classes - 1), np.zeros((new, space.means.shape[1])))


def _left_out(similarity: Array, means: Array, ridge: float) -> tuple[Array, Array]:
    """Return the inverse of ridge regression, and the errors `(C, d)` in predicting each class from the others."""
    inverse = np.linalg.inv(similarity + ridge * np.eye(len(similarity)))
    return inverse, (inverse @ means) / np.diag(inverse)[:, None]


def _prior(space: ClassSpace, residual: Array, new: Array) -> Prior:
    """Return the prior whose errors are `residual` `(C, d)`, less the part that comes from counting few images."""
    classes, width = residual.shape
    share = float(ledoit_wolf_shrinkage(residual, assume_centered=True))
    variances, directions = np.linalg.eigh(residual @ residual.T / classes)
    kept = variances > 1e-9 * max(float(variances[-1]), 1e-12)
    axes = residual.T @ directions[:, kept] / np.sqrt(variances[kept] * classes)
    level = share * float(variances.sum()) / width
    noise = float((1 / space.counts).mean())
    variance = ((1 - share) * variances[kept] + level - noise).clip(_LEAST_VARIANCE)
    return Prior(space.means - residual, new, axes, variance, max(level - noise, _LEAST_VARIANCE))


def class_directions(known: Array, new: Array) -> tuple[Array, Array, Array]:
    """Return the span of class means and the unit vectors of the classes in it.

    Args:
        known: `(C, d)`.
        new: `(K, d)`.

    Returns:
        An orthonormal basis `(d, r)`, and unit vectors `(C, r)` and `(K, r)`.
    """
    means = np.vstack([known, new])
    squares, combinations = np.linalg.eigh(means @ means.T)  # fewer classes than dimensions
    kept = squares > 1e-12 * max(float(squares[-1]), 1e-12)
    basis = means.T @ combinations[:, kept] / np.sqrt(squares[kept])
    units = unit_rows(means @ basis)
    return basis, units[: len(known)], units[len(known) :]


def unit_rows(rows: Array) -> Array:
    """Return rows of length 1; a row of zeros stays."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12))
