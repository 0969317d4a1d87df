"""Which classes of an image are named."""

import numpy as np

from marnet.inference.prediction import read_classes


def test_several_classes_per_image_are_those_that_reach_their_threshold() -> None:
    probabilities = np.array([[0.5, 0.2, 0.9], [0.1, 0.2, 0.3]], np.float32)
    assert read_classes(probabilities, None, thresholds=0.5) == [[2, 0], []]
    assert read_classes(probabilities, 1, thresholds=0.5) == [[2], [2]]
    assert read_classes(probabilities, None, thresholds=(0.25, 0.25, 0.25)) == [[2, 0], [2]]
    assert read_classes(probabilities, None, thresholds=(0.6, 0.2, 1.0)) == [[1], [1]]


def test_a_threshold_is_compared_in_the_precision_of_the_probabilities() -> None:
    assert float(np.float32(0.7)) < 0.7  # so that a comparison in double precision would miss it
    assert read_classes(np.array([[0.7]], np.float32), None, thresholds=0.7) == [[0]]


def test_of_one_class_per_image_the_most_probable_are_shown() -> None:
    probabilities = np.array([[0.1, 0.3, 0.6]])
    assert read_classes(probabilities, 2, thresholds=None) == [[2, 1]]
    assert read_classes(probabilities, None, thresholds=None) == [[2, 1, 0]]
    assert read_classes(np.eye(9)[:1], None, thresholds=None) == [[0, 1, 2, 3, 4]]
