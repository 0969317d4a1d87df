"""Labels that are probably wrong: cleanlab on the probabilities that images, and their texts, give to held-out rows.

Logistic regression on image features gives each row the probabilities of its classes without having seen the row. A
second one does so on the text vectors. The two witnesses are combined by multiplying their probabilities, as if they
erred independently; cleanlab ranks the labels and estimates how many are wrong.

Source: Northcutt, Jiang, Chuang, Confident Learning (2021). The second witness is ours.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from marnet.data.folds import FOLDS, reduced
from marnet.encoders.unique_texts import has_text
from marnet.errors import DataError
from marnet.semantic.datasets.held_out import held_out_probabilities

FEWEST_ROWS = 50
_REPEATING = 0.99  # texts that give the given label away more often than this were written from it

Array = np.ndarray


class LabelAudit(NamedTuple):
    """What held-out probabilities say about the labels of N rows; rows that nothing can be said about are NaN.

    `score` is cleanlab's quality of a label: low where it is probably wrong.
    """

    score: Array  # (N,), by all witnesses
    likely: Array  # (N,) int64, the most probable class
    expected: int  # number of wrong labels, by cleanlab's estimate
    by_image: Array  # (N,), the probability of the given label by the image alone
    by_text: Array | None  # (N,), by the text alone, NaN for a row without text; None: the texts are no witness
    no_text_because: str  # why the texts are no witness, "" if they are

    @property
    def ranked(self) -> Array:
        """Return the rows that were judged, the most suspicious first, `(M,)` int64."""
        return np.argsort(self.score, kind="stable")[: int(np.isfinite(self.score).sum())]


def audit_labels(
    features: Array,
    labels: Array,
    vectors: Array,
    texts: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> LabelAudit:
    """Score the labels of N rows.

    A label is not judged where its class has no row in the other folds, such as the only row of a class.

    Args:
        features: of the images, `(N, D)`, of a backbone that has not seen the labels.
        labels: `(N,)` from 0.
        vectors: of the texts, `(N, D_s)`; those of blank texts are not read.
        texts: N texts, "" for none.
        groups: rows of one group stay together in cross-validation; None: each row is its own.
        seed: of the folds.

    Raises:
        DataError: there are fewer than 50 rows, fewer than two classes, or no class has five rows; cleanlab is missing.
    """
    count, rank = import_cleanlab()
    known, given = np.unique(labels, return_inverse=True)
    largest = int(np.bincount(given).max()) if len(given) else 0
    if len(labels) < FEWEST_ROWS or len(known) < 2 or largest < FOLDS:
        raise DataError(
            f"Label errors cannot be told from {len(labels)} labelled rows of {len(known)} classes, of which the "
            f"largest has {largest}. It takes {FEWEST_ROWS} rows, 2 classes, and {FOLDS} rows of one class. Name more "
            f"rows."
        )
    by_image = held_out_probabilities(reduced(features.astype(float)), given, len(known), groups, seed)
    by_text, reason = _text_witness(vectors, texts, given, groups, seed)
    both = by_image if by_text is None else _product(by_image, by_text)
    own = np.arange(len(given))
    judged = np.isfinite(both[:, 0])
    if not judged.any():
        raise DataError(
            "Label errors cannot be told, because each class has all its rows in one group. Name rows with several "
            "groups per class, or leave `data.columns.group` out."
        )
    score = np.full(len(given), np.nan)
    score[judged] = rank.get_label_quality_scores(given[judged], both[judged], method="self_confidence")
    return LabelAudit(
        score=score,
        likely=known[both.argmax(1)],
        expected=_count_wrong(count, given[judged], both[judged]),
        by_image=by_image[own, given],
        by_text=None if by_text is None else by_text[own, given],
        no_text_because=reason,
    )


def import_cleanlab() -> tuple[Any, Any]:
    """Return the modules count and rank of the optional package cleanlab, which takes seconds to import.

    Raises:
        DataError: it is not installed.
    """
    try:
        from cleanlab import count, rank
    except ImportError as error:
        raise DataError(
            f"Label errors are found with the package cleanlab, which cannot be imported ({error}). Install it: "
            f"pip install 'marnet[audit]'"
        ) from error
    return count, rank


def _count_wrong(count: Any, given: Array, probabilities: Array) -> int:
    """Return the number of wrong labels among `(M,)` by the confident joint."""
    present, given = np.unique(given, return_inverse=True)  # cleanlab wants each class to have a row
    if len(present) < 2:
        return 0
    columns = probabilities[:, present]
    return int(count.num_label_issues(given, columns / columns.sum(1, keepdims=True)))


def _text_witness(
    vectors: Array, texts: Sequence[str], given: Array, groups: Sequence[str] | None, seed: int
) -> tuple[Array | None, str]:
    """Return the probabilities by the texts `(N, C)`, NaN without text; or None, and why they are no witness."""
    rows = [row for row, text in enumerate(texts) if has_text(text)]
    classes = int(given.max()) + 1
    pairs = {(texts[row], int(given[row])) for row in rows}
    counts = np.bincount(given[rows], minlength=classes)
    if len(rows) < FEWEST_ROWS or counts.max(initial=0) < FOLDS or len({text for text, _ in pairs}) < 2:
        return None, f"{len(rows)} rows have a text, which is too few to learn from"
    if len(pairs) == (counts > 0).sum():
        return None, "each class has one text, which repeats the label"
    chosen = None if groups is None else [groups[row] for row in rows]
    found = np.full((len(given), classes), np.nan)
    found[rows] = held_out_probabilities(reduced(vectors[rows].astype(float)), given[rows], classes, chosen, seed)
    judged = np.flatnonzero(np.isfinite(found[:, 0]))
    if not len(judged):
        return None, "each class has all its texts in one group"
    agreeing = float((found[judged].argmax(1) == given[judged]).mean())
    if agreeing > _REPEATING:
        return None, f"they give the given label away in {100 * agreeing:.1f} % of the rows, so they repeat it"
    return found, ""


def _product(by_image: Array, by_text: Array) -> Array:
    """Return the normalised product of two witnesses; where the text says nothing, the image alone."""
    product = by_image * np.where(np.isnan(by_text), 1.0, by_text)
    return np.asarray(product / product.sum(1, keepdims=True))
