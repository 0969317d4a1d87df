"""Means of classes, on planted features whose classes lie where their texts say."""

import numpy as np
import pytest
import torch

from marnet.errors import EncoderError
from marnet.inference.class_means.fit import MOST_ROWS, fit_class_means, sample_rows, text_similarity

CLASSES, WIDTH = 40, 24


class World:
    """Classes with attributes that both their images and their texts show; half of them have a single image."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        attributes = self.random.normal(size=(CLASSES, 6))
        self.means = 2.0 * attributes @ self.random.normal(size=(6, WIDTH)) / np.sqrt(6)
        self.similarity = attributes @ attributes.T / 6
        self.counts = np.where(np.arange(CLASSES) % 2, 1, 40)

    def images(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(CLASSES), counts)
        return self.means[labels] + self.random.normal(size=(len(labels), WIDTH)), labels

    def accuracy_on_rare(self, similarity: np.ndarray | None) -> float:
        features, labels = self.images(self.counts)
        means = fit_class_means(features, labels, self.counts, similarity)
        shown, truth = self.images(np.full(CLASSES, 20))
        rare = self.counts[truth] == 1
        found = means.cosines(torch.tensor(shown[rare], dtype=torch.float32)).argmax(1).numpy()
        return float((found == truth[rare]).mean())


def test_texts_help_classes_of_one_image_and_those_of_other_classes_do_not() -> None:
    plain = World().accuracy_on_rare(None)
    by_text = World().accuracy_on_rare(World().similarity)
    order = np.random.default_rng(1).permutation(CLASSES)
    shuffled = World().accuracy_on_rare(World().similarity[np.ix_(order, order)])
    assert plain > 0.3  # 0.025 by chance
    assert by_text > plain + 0.1
    assert shuffled < plain + 0.02


def test_rarity_is_the_logarithm_of_the_share() -> None:
    world = World()
    features, labels = world.images(world.counts)
    means = fit_class_means(features, labels, world.counts, None)
    assert means.rare[:2].numpy() == pytest.approx(-np.log(np.array([40, 1]) / world.counts.sum()))
    assert means.means.norm(dim=1).numpy() == pytest.approx(np.ones(CLASSES), abs=1e-5)


def test_a_frequent_class_gives_a_sample_of_its_rows() -> None:
    labels = np.array([0] * 500 + [1] * 3)
    rows = sample_rows(labels, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [MOST_ROWS, 3]
    assert (np.diff(rows) > 0).all()


def test_texts_without_a_word_say_nothing() -> None:
    assert text_similarity({"1": ["", "!"], "2": ["?"], "3": [" "]}, None) is None
    found = text_similarity({"lime": ["green"], "pea": ["green"], "coal": ["black"]}, None)
    assert found is not None
    assert found[0, 1] > found[0, 2]


def test_an_encoder_that_cannot_be_used_is_told_of() -> None:
    with pytest.raises(EncoderError, match="nowhere"):
        text_similarity({"lime": ["green"], "coal": ["black"]}, "hf:nowhere/at-all")
