"""Prediction sets: against MAPIE, and against the coverage that they promise."""

import numpy as np
import pytest
import torch
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from marnet.errors import ConfigError
from marnet.inference.conformal import least_probability, prediction_sets, read_sets, set_metrics


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (2 * torch.randn(rows, 6, generator=generator)).softmax(-1)
    return probabilities.numpy(), torch.multinomial(probabilities, 1, generator=generator)[:, 0].numpy()


def scores_of(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    scores: list[float] = (1 - probabilities[np.arange(len(labels)), labels]).tolist()
    return scores


class Probabilities(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities are its input."""

    classes_ = np.arange(6)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn calls it so
        return X.argmax(1)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn calls it so
        return X


@pytest.mark.parametrize("error", [0.05, 0.1, 0.3])
def test_sets_are_those_of_mapie(error: float) -> None:
    held, labels = draw(500, 0)
    new, _ = draw(300, 1)
    oracle = SplitConformalClassifier(
        Probabilities(), confidence_level=1 - error, conformity_score="lac", prefit=True
    ).conformalize(held, labels)
    _, expected = oracle.predict_set(new)
    ours = prediction_sets(new, least_probability(scores_of(held, labels), error))
    theirs = expected[:, :, 0].astype(bool)
    empty = ~theirs.any(1)  # where ours name the most probable class
    np.testing.assert_array_equal(ours[~empty], theirs[~empty])
    assert (ours[empty].sum(1) == 1).all()


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_the_promised_rate_holds_on_new_images(error: float) -> None:
    held, labels = draw(2000, 2)
    new, truth = draw(4000, 3)
    found = set_metrics(prediction_sets(new, least_probability(scores_of(held, labels), error)), truth)
    assert found.coverage == pytest.approx(1 - error, abs=0.02)
    assert 1 <= found.set_size <= 6


def test_the_metrics_of_sets_by_hand() -> None:
    sets = np.array([[True, False, False], [True, True, False], [False, False, True], [True, True, True]])
    found = set_metrics(sets, np.array([0, 1, 0, 2]))
    assert found == (0.75, 7 / 4, 0.5, 0.5)
    assert np.isnan(set_metrics(sets[1:2], np.array([0])).error_answered)


def test_the_most_probable_class_is_always_there_and_comes_first() -> None:
    assert read_sets(np.array([[0.2, 0.5, 0.3], [0.4, 0.3, 0.3]]), 0.45) == [[1], [0]]
    assert read_sets(np.array([[0.2, 0.5, 0.3]]), 0.25) == [[1, 2]]


def test_a_rate_that_the_rows_cannot_promise_is_refused() -> None:
    assert least_probability([0.5] * 19, 0.05) == 0.5
    with pytest.raises(ConfigError, match=r"0\.05 cannot be promised from 18 held-out rows; it needs 19 or more"):
        least_probability([0.5] * 18, 0.05)
    for wrong in (0.0, 1.0, -1.0, 5.0, float("nan")):
        with pytest.raises(ConfigError, match="lies between 0 and 1"):
            least_probability([0.5] * 18, wrong)
