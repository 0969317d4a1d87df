"""What linear models on fixed vectors share: shorter vectors, and folds of rows to score models on."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

FOLDS = 5
_DIMENSIONS = 256  # that are kept of the features and of the text vectors

Array = np.ndarray


def reduced(vectors: Array) -> Array:
    """Return the directions of largest variance `(N, d)` of vectors `(N, D)`, centred, of mean squared length 1."""
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    shorter: Array = centred @ directions[:, ::-1][:, :_DIMENSIONS]
    shorter /= max(float(np.sqrt((shorter**2).sum(1).mean())), 1e-12)
    return shorter


def make_folds(
    labels: Array, groups: Sequence[str] | None, seed: int, *, folds: int = FOLDS
) -> Iterator[tuple[Array, Array]]:
    """Yield the rows to fit on and the rows to score, for each fold.

    Where images have one class, the folds are stratified: else a class with many rows in a fold has few to fit on, and
    vectors that say nothing would score below chance.

    Args:
        labels: `(N,)`; where images have several classes, `(N, C)` of 0 and 1.
        groups: rows of one group stay in one fold; None: each row is its own.
        seed: of the shuffling.
        folds: their number; where images have one class, at most the rows of the largest class.
    """
    single, grouped = labels.ndim == 1, groups is not None and len(set(groups)) >= folds
    folder = ((StratifiedGroupKFold if grouped else StratifiedKFold) if single else (GroupKFold if grouped else KFold))(
        folds, shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is in fewer folds, which does no harm
        yield from folder.split(labels, labels if single else None, groups if grouped else None)
