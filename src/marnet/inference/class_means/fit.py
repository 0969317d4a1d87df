"""The means of the classes that a classifier was trained for, by its training rows and their texts.

A class of few images is drawn to what the texts of all classes predict for it, or without texts to the mean of all
classes, as far as that is the better guess (`marnet.inference.class_means.space`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from marnet.inference.class_means.space import Array, ClassSpace, class_directions, make_prior, principal_axes
from marnet.inference.class_means.texts import ClassText, WordlessError, class_similarity
from marnet.modules.class_means import ClassMeans

MOST_ROWS = 100  # of a class; more take long and say the same


def sample_rows(labels: Array, random: np.random.Generator) -> Array:
    """Return the positions of at most 100 rows of each label in labels `(N,)`, in ascending order."""
    order = random.permutation(len(labels))
    rank = np.zeros(len(order), int)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = np.arange(len(rows))
    return np.flatnonzero(rank < MOST_ROWS)


def fit_class_means(features: Array, labels: Array, counts: Array, similarity: Array | None) -> ClassMeans:
    """Return the means of C classes, with a weight of 0.

    Args:
        features: image features `(N, D_v)` of training rows.
        labels: theirs, `(N,)`, from 0 to C - 1, all of them there.
        counts: all training rows of each class, `(C,)`.
        similarity: of the texts of the classes, `(C, C)`; None: there are none.
    """
    features = np.asarray(features, float)
    axes = principal_axes(features)
    space = ClassSpace.fit(features @ axes, labels, len(counts))
    prior = make_prior(space, similarity, None if similarity is None else similarity[:0], 0)
    means = prior.posterior(prior.known, space.means, space.counts)
    basis, units, _ = class_directions(means, means[:0])
    return ClassMeans(
        _tensor(axes @ space.centre),
        _tensor(axes @ space.projection @ basis),
        _tensor(units),
        _tensor(-np.log(counts / counts.sum())),
    )


def text_similarity(texts: Mapping[str, Sequence[str]], encoder: str | None) -> Array | None:
    """Return how alike the texts of C classes are, `(C, C)`; None if they hold no word.

    Args:
        texts: those of the rows of each class, by its name.
        encoder: of sentences, as in `text.name`; None: words alone.

    Raises:
        EncoderError: the encoder cannot be used.
    """
    classes = [ClassText(name, tuple(sorted(set(said)))) for name, said in texts.items()]
    try:
        return class_similarity(classes, [], encoder)[0]
    except WordlessError:
        return None


def _tensor(values: Array) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
