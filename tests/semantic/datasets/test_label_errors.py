"""Label errors: planted ones are found, the text is heard where it is a witness, and cleanlab's ranking is used."""

import sys

import numpy as np
import pytest

from marnet.data.folds import reduced
from marnet.errors import DataError
from marnet.semantic.datasets.held_out import held_out_probabilities
from marnet.semantic.datasets.label_errors import LabelAudit, audit_labels

CLASSES, ROWS, PLANTED = 8, 320, 16
TRUTH = np.random.default_rng(1).integers(0, CLASSES, ROWS)
WRONG = np.random.default_rng(2).permutation(ROWS)[:PLANTED]
LABELS = TRUTH.copy()
LABELS[WRONG] = (TRUTH[WRONG] + 3) % CLASSES
TEXTS = [f"text {row}" for row in range(ROWS)]
BLANK = [""] * ROWS


def vectors(scale: float, seed: int, truth: np.ndarray = TRUTH) -> np.ndarray:
    """Return vectors around the mean of a class."""
    random = np.random.default_rng(seed)
    return np.eye(CLASSES)[truth] + scale * random.normal(size=(len(truth), CLASSES))


def hits(audit: LabelAudit) -> float:
    return float(np.isin(audit.ranked[:PLANTED], WRONG).mean())


def test_planted_errors_come_first_and_their_true_class_is_named() -> None:
    audit = audit_labels(vectors(0.1, 3), LABELS, np.zeros((ROWS, 1)), BLANK)
    assert hits(audit) == 1.0
    assert (audit.likely[WRONG] == TRUTH[WRONG]).all()
    assert audit.expected == pytest.approx(PLANTED, abs=4)
    assert audit.by_text is None
    assert audit.no_text_because == "0 rows have a text, which is too few to learn from"


def test_a_text_that_errs_elsewhere_finds_more() -> None:
    features, of_text = vectors(0.45, 4), vectors(0.45, 5)
    alone = audit_labels(features, LABELS, of_text, BLANK)
    both = audit_labels(features, LABELS, of_text, TEXTS)
    assert hits(alone) < 0.8
    assert hits(both) >= hits(alone) + 0.1


def test_the_ranking_is_the_self_confidence_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    features, of_text = vectors(0.4, 6), vectors(0.4, 7)
    audit = audit_labels(features, LABELS, of_text, TEXTS, seed=5)
    by_image, by_text = (
        held_out_probabilities(reduced(each), LABELS, CLASSES, None, 5) for each in (features, of_text)
    )
    expected = []
    for row, label in enumerate(LABELS):
        products = [by_image[row][name] * by_text[row][name] for name in range(CLASSES)]
        expected.append(products[label] / sum(products))
    assert audit.score == pytest.approx(np.array(expected))
    assert audit.ranked.tolist() == sorted(range(ROWS), key=lambda row: expected[row])

    import cleanlab.rank

    monkeypatch.setattr(
        cleanlab.rank, "get_label_quality_scores", lambda given, probabilities, method: np.arange(len(given))[::-1]
    )
    assert audit_labels(features, LABELS, of_text, TEXTS, seed=5).ranked.tolist() == list(range(ROWS))[::-1]


def test_no_row_is_judged_by_a_model_that_saw_it() -> None:
    """Features that name the row would let a model learn every wrong label by heart."""
    named = np.hstack([vectors(0.15, 3), 5 * np.eye(ROWS)])
    found = held_out_probabilities(reduced(named), LABELS, CLASSES, None, 0)
    assert found[WRONG, LABELS[WRONG]].max() < 0.5
    assert found.sum(1) == pytest.approx(np.ones(ROWS))


def test_one_text_per_class_is_no_witness() -> None:
    told = [f"class {label}" for label in LABELS]
    audit = audit_labels(vectors(0.3, 8), LABELS, np.eye(CLASSES)[LABELS], told)
    alone = audit_labels(vectors(0.3, 8), LABELS, np.eye(CLASSES)[LABELS], BLANK)
    assert audit.no_text_because == "each class has one text, which repeats the label"
    assert audit.ranked.tolist() == alone.ranked.tolist()


def test_texts_written_from_the_labels_are_no_witness() -> None:
    audit = audit_labels(vectors(0.3, 8), LABELS, vectors(0.05, 9, LABELS), TEXTS)
    assert audit.by_text is None
    assert audit.no_text_because.startswith("they give the given label away in 100.0 % of the rows")


def test_rows_without_text_are_judged_by_their_image() -> None:
    texts = [text if row % 2 else "" for row, text in enumerate(TEXTS)]
    audit = audit_labels(vectors(0.4, 6), LABELS, vectors(0.4, 7), texts)
    assert audit.by_text is not None
    blank = np.arange(ROWS) % 2 == 0
    assert np.isnan(audit.by_text[blank]).all()
    assert not np.isnan(audit.by_text[~blank]).any()
    assert audit.score[blank] == pytest.approx(audit.by_image[blank])


def test_the_only_row_of_a_class_is_not_judged() -> None:
    labels = LABELS.copy()
    labels[7] = 40  # numbers need not be consecutive
    audit = audit_labels(vectors(0.3, 8), labels, np.zeros((ROWS, 1)), BLANK)
    assert np.flatnonzero(np.isnan(audit.score)).tolist() == [7]
    assert 7 not in audit.ranked
    assert len(audit.ranked) == ROWS - 1


def test_rows_of_a_group_do_not_vouch_for_one_another() -> None:
    """Each photo stands there twice, so that its copy would confirm a wrong label."""
    rows = ROWS // 3
    twice = np.tile(np.arange(rows), 2)
    features = np.hstack([vectors(0.4, 3)[:rows], 3 * np.eye(rows)])[twice]
    names = [f"photo {row}" for row in twice]
    blank, none = [""] * len(twice), np.zeros((len(twice), 1))
    grouped = audit_labels(features, LABELS[twice], none, blank, groups=names)
    loose = audit_labels(features, LABELS[twice], none, blank)
    wrong = np.isin(twice, WRONG)
    assert np.median(grouped.by_image[wrong]) < 0.2 < 0.5 < np.median(loose.by_image[wrong])


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        (49, LABELS[:49], "from 49 labelled rows of 8 classes"),
        (60, np.zeros(60, np.int64), "60 labelled rows of 1 classes"),
        (60, np.arange(60), "the largest has 1"),
    ],
)
def test_too_few_rows_are_refused(rows: int, labels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        audit_labels(vectors(0.3, 8)[:rows], labels, np.zeros((rows, 1)), BLANK[:rows])


def test_classes_that_are_one_group_each_are_refused() -> None:
    with pytest.raises(DataError, match=r"each class has all its rows in one group.*`data\.columns\.group`"):
        audit_labels(vectors(0.3, 8), TRUTH, np.zeros((ROWS, 1)), BLANK, groups=[f"shelf {label}" for label in TRUTH])


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(DataError, match=r"cleanlab, which cannot be imported .* pip install 'marnet\[audit\]'"):
        audit_labels(vectors(0.3, 8), LABELS, np.zeros((ROWS, 1)), BLANK)
