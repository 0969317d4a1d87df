"""The teacher on planted rows: a text that names the class helps, one that says nothing does not."""

import numpy as np
import pytest

from marnet.training.teacher import Taught, teach

CLASSES, LABELLED, UNLABELLED = 5, 60, 400
Array = np.ndarray


def planted(seed: int, *, image_noise: float, text_noise: float) -> tuple[Array, Array, Array]:
    """Return image features, text vectors and the true classes of all rows: a direction per class, and noise."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(LABELLED) % CLASSES, random.integers(CLASSES, size=UNLABELLED)])
    rows = len(labels)
    image = np.eye(CLASSES, 20)[labels] + image_noise * random.normal(size=(rows, 20))
    text = np.eye(CLASSES, 10)[labels] + text_noise * random.normal(size=(rows, 10))
    return image, text, labels


def taught(image: Array, text: Array, labels: Array, **more: object) -> Taught:
    known = np.ones(len(image), bool)
    found = teach(image, text, known, labels[:LABELLED], CLASSES, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_text_that_names_the_class_helps() -> None:
    image, text, labels = planted(0, image_noise=0.5, text_noise=0.1)
    found, outcome = taught(image, text, labels)
    assert found.shape == (UNLABELLED, CLASSES)
    assert found.sum(1) == pytest.approx(np.ones(UNLABELLED), abs=1e-5)
    assert (found.argmax(1) == labels[LABELLED:]).mean() > 0.99
    assert outcome.used
    assert outcome.teacher > 0.98
    assert outcome.with_unlabelled - outcome.without > 2 * outcome.standard_error > 0
    assert (outcome.labelled, outcome.unlabelled, outcome.without_text) == (LABELLED, UNLABELLED, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_text_that_says_nothing_counts_for_nothing(seed: int) -> None:
    image, text, labels = planted(seed, image_noise=0.5, text_noise=0.1)
    other = np.random.default_rng(seed).permutation(text)
    outcome = taught(image, other, labels).outcome
    assert outcome.text_weight <= 0.25
    assert outcome.image_weight >= 0.7


def test_where_neither_says_anything_the_labels_are_not_used() -> None:
    gains = []
    for seed in range(6):
        image, text, labels = planted(seed, image_noise=50.0, text_noise=50.0)
        outcome = taught(image, text, labels).outcome
        gains.append(outcome.used)
        assert outcome.teacher < 0.5
    assert sum(gains) <= 2  # a sixth by chance, beyond one standard error


def test_the_probabilities_are_calibrated() -> None:
    """On rows that the teacher never saw, its mean confidence is its accuracy."""
    gaps = []
    for seed in range(5):
        image, text, labels = planted(seed, image_noise=0.6, text_noise=0.6)
        found = taught(image, text, labels).probabilities
        gaps.append(float(found.max(1).mean() - (found.argmax(1) == labels[LABELLED:]).mean()))
    assert abs(np.mean(gaps)) < 0.06


def test_rows_without_a_text_are_labelled_from_the_image() -> None:
    image, text, labels = planted(0, image_noise=0.3, text_noise=0.1)
    known = np.ones(len(image), bool)
    known[LABELLED : LABELLED + 100] = False
    text[~known] = 1e6  # must not be read
    found = teach(image, text, known, labels[:LABELLED], CLASSES)
    assert found is not None
    assert found.outcome.without_text == 100
    blank = found.probabilities[:100]
    right = (blank.argmax(1) == labels[LABELLED : LABELLED + 100]).mean()
    assert right > 0.85
    assert blank.max(1).mean() < found.probabilities[100:].max(1).mean()  # less certain than with a text


def test_equal_seeds_give_equal_labels_and_groups_stay_together() -> None:
    image, text, labels = planted(0, image_noise=0.5, text_noise=0.3)
    one, two = taught(image, text, labels), taught(image, text, labels)
    assert np.array_equal(one.probabilities, two.probabilities)
    assert one.outcome == two.outcome
    # Four copies of each of fifteen labelled rows: without groups, a held-out row is known from its copies.
    image, text, labels = planted(0, image_noise=3.0, text_noise=3.0)
    rows = np.r_[np.repeat(np.arange(15), 4), np.arange(LABELLED, len(labels))]
    copies = image[rows], text[rows], labels[rows]
    groups = [str(row) for row in rows[:LABELLED]]
    assert taught(*copies).outcome.teacher == 1.0
    assert taught(*copies, groups=groups).outcome.teacher < 0.7


@pytest.mark.parametrize(("labels", "measured"), [([0, 1, 2], False), ([0, 0, 0], False), ([0, 0, 1, 1], True)])
def test_nothing_is_told_from_one_row_per_class(labels: list[int], measured: bool) -> None:
    random = np.random.default_rng(0)
    rows = len(labels) + 5
    found = teach(
        random.normal(size=(rows, 4)), random.normal(size=(rows, 3)), np.ones(rows, bool), np.array(labels), 3
    )
    assert (found is not None) == measured
