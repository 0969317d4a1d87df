"""The value of texts: planted meanings are found, noise is not, and the sentences say so."""

import numpy as np
import pytest

from marnet.errors import DataError
from marnet.semantic.datasets.text_value import TextValue, Witness, describe_text_value, measure_text_value

CLASSES, ROWS = 20, 600


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


LABELS = np.random.default_rng(1).integers(0, CLASSES, ROWS)


def noisy(means: np.ndarray, random: np.random.Generator, scale: float = 0.3) -> np.ndarray:
    return means[LABELS] + scale * random.normal(size=(ROWS, means.shape[1]))


def test_text_that_tells_what_the_image_cannot_raises_the_ceiling(random: np.random.Generator) -> None:
    image = noisy(np.eye(CLASSES // 2).repeat(2, axis=0), random, 0.1)  # tells pairs of classes apart
    text = noisy(np.kron(np.eye(CLASSES // 2), np.eye(2))[:, 1::2], random, 0.1)  # and the text which of the two it is
    found = measure_text_value(image, text, LABELS)
    assert (found.rows, found.classes, found.texts) == (ROWS, CLASSES, ROWS)
    assert found.image == pytest.approx(0.5, abs=0.08)
    assert found.both > 0.95
    assert found.both_shuffled == pytest.approx(found.image, abs=0.04)
    assert "would gain" in describe_text_value(found, "top-1")[0]


def test_texts_that_place_classes_as_the_images_do_recognise_new_classes_and_are_found(
    random: np.random.Generator,
) -> None:
    attributes = random.normal(size=(CLASSES, 6))
    image = noisy(attributes @ random.normal(size=(6, 30)), random)
    text = noisy(attributes @ random.normal(size=(6, 40)), random)
    found = measure_text_value(image, text, LABELS)
    assert found.new_classes is not None
    assert found.new_classes.value > 0.7
    assert found.new_classes.shuffled < 0.45
    assert found.new_classes.chance == pytest.approx(5 / CLASSES)
    assert found.geometry is not None
    assert found.geometry > 0.5
    assert found.geometry_p == pytest.approx(1 / 201)
    assert found.search.value > 5 * found.search.chance
    assert 0.4 < found.explained.value < 1
    assert found.explained.shuffled < 0.1
    _, new, search = describe_text_value(found, "top-1")
    assert "say what classes look like" in new
    assert "find one another" in search


def test_noise_is_worth_nothing(random: np.random.Generator) -> None:
    found = measure_text_value(noisy(np.eye(CLASSES), random, 0.1), random.normal(size=(ROWS, 12)), LABELS)
    assert found.image > 0.95
    assert found.both == pytest.approx(found.image, abs=0.02)
    assert found.text < 0.12
    assert found.geometry_p is not None
    assert found.geometry_p > 0.05
    accuracy, new, search = describe_text_value(found, "top-1")
    assert accuracy.startswith("Accuracy: the texts hold nothing that the image features lack")
    assert "does not say what it looks like" in new
    assert "do not lead to their texts" in search


def test_one_text_per_class_only_names_the_class(random: np.random.Generator) -> None:
    found = measure_text_value(noisy(np.eye(CLASSES), random), random.normal(size=(CLASSES, 8))[LABELS], LABELS)
    assert found.one_text_per_class
    assert found.texts == CLASSES
    assert "names the class" in describe_text_value(found, "top-1")[0]


def test_several_classes_per_image_are_scored_by_average_precision(random: np.random.Generator) -> None:
    several = (random.random((ROWS, 4)) < 0.3).astype(float)
    image = several[:, :2] + 0.1 * random.normal(size=(ROWS, 2))
    text = several[:, 2:] + 0.1 * random.normal(size=(ROWS, 2))
    found = measure_text_value(image, text, several)
    assert found.score == "map"
    assert found.both > 0.97
    assert found.image < 0.8
    assert (found.new_classes, found.geometry, found.geometry_p) == (None, None, None)
    assert "not measured" in describe_text_value(found, "mAP")[1]


def test_rows_of_a_group_do_not_teach_one_another(random: np.random.Generator) -> None:
    labels = random.integers(0, 2, 100).repeat(2)  # of twins, whose vectors say nothing about the label
    image, text = (random.normal(size=(100, 150)).repeat(2, axis=0) for _ in range(2))
    groups = [str(row // 2) for row in range(200)]
    assert measure_text_value(image, text, labels).image > 0.7
    assert measure_text_value(image, text, labels, groups=groups).image < 0.62


def test_vectors_that_say_nothing_score_at_chance_and_not_below(random: np.random.Generator) -> None:
    labels = np.repeat(np.arange(12), 5)
    scores = [
        measure_text_value(random.normal(size=(60, 20)), random.normal(size=(60, 20)), labels, seed=seed).image
        for seed in range(4)
    ]
    assert 0.04 < np.mean(scores) < 0.16


def test_many_rows_are_sampled(random: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marnet.semantic.datasets.text_value.MOST_ROWS", 100)
    found = measure_text_value(noisy(np.eye(CLASSES), random), noisy(np.eye(CLASSES), random), LABELS)
    assert (found.rows, found.with_text) == (100, ROWS)


def test_the_seed_decides(random: np.random.Generator) -> None:
    image, text = noisy(np.eye(CLASSES), random), noisy(np.eye(CLASSES), random)
    assert measure_text_value(image, text, LABELS, seed=3) == measure_text_value(image, text, LABELS, seed=3)


@pytest.mark.parametrize("rows", [0, 49])
def test_few_rows_are_refused(rows: int, random: np.random.Generator) -> None:
    with pytest.raises(DataError, match=f"cannot be told from {rows} rows with text"):
        measure_text_value(np.ones((rows, 3)), random.normal(size=(rows, 2)), LABELS[:rows])


def test_one_text_and_one_class_are_refused(random: np.random.Generator) -> None:
    with pytest.raises(DataError, match="1 different texts"):
        measure_text_value(random.normal(size=(60, 3)), np.ones((60, 2)), LABELS[:60])
    with pytest.raises(DataError, match="1 classes"):
        measure_text_value(random.normal(size=(60, 3)), random.normal(size=(60, 2)), np.ones(60, int))


def test_few_texts_tell_nothing_about_search() -> None:
    witness = Witness(0.9, 0.5, 0.5)
    found = TextValue("top1", 60, 60, 0, 4, 20, 0.5, 0.5, 0.6, 0.5, witness, None, None, None, witness)
    assert describe_text_value(found, "top-1")[2] == "Search: not told, with 20 different texts."
