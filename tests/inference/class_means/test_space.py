"""Where classes lie among image features: against closed forms, scikit-learn and planted truth."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.kernel_ridge import KernelRidge

from marnet.inference.class_means.space import (
    ClassSpace,
    class_directions,
    plain_prior,
    principal_axes,
    text_prior,
    unit_rows,
)

CLASSES, WIDTH = 12, 8


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def make_rows(random: np.random.Generator, each: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and the true means of classes whose images spread unequally."""
    means = 3 * random.normal(size=(CLASSES, WIDTH))
    labels = np.repeat(np.arange(CLASSES), each)
    spread = np.linspace(0.2, 2, WIDTH)
    return means[labels] + spread * random.normal(size=(len(labels), WIDTH)), labels, means


def test_images_of_a_class_spread_equally_as_ledoit_and_wolf_estimate_it(random: np.random.Generator) -> None:
    features, labels, _ = make_rows(random)
    space = ClassSpace.fit(features, labels, CLASSES)
    means = np.stack([features[labels == label].mean(0) for label in range(CLASSES)])
    within = features - means[labels]
    share = LedoitWolf(assume_centered=True).fit(within).shrinkage_
    covariance = within.T @ within / (len(features) - CLASSES)
    covariance = (1 - share) * covariance + share * np.trace(covariance) / WIDTH * np.eye(WIDTH)
    assert space.projection.T @ covariance @ space.projection == pytest.approx(np.eye(WIDTH), abs=1e-9)
    assert space.project(means) == pytest.approx(space.means)
    assert space.means.mean(0) == pytest.approx(np.zeros(WIDTH), abs=1e-9)
    assert space.counts.tolist() == [40] * CLASSES


def test_text_predicts_means_as_kernel_ridge_does_and_leaves_each_class_out(random: np.random.Generator) -> None:
    features, labels, means = make_rows(random)
    texts = unit_rows(means @ random.normal(size=(WIDTH, 30)))
    space = ClassSpace.fit(features, labels, CLASSES)
    new = unit_rows(random.normal(size=(2, 30)))
    prior = text_prior(space, texts @ texts.T, new @ texts.T)
    errors = {}
    for ridge in np.logspace(-2, 1.5, 15):
        left_out = [
            KernelRidge(alpha=ridge)
            .fit(np.delete(texts, row, 0), np.delete(space.means, row, 0))
            .predict(texts[row : row + 1])[0]
            for row in range(CLASSES)
        ]
        errors[ridge] = (float(((space.means - left_out) ** 2).sum()), np.stack(left_out))
    best = min(errors, key=lambda ridge: errors[ridge][0])
    assert prior.known == pytest.approx(errors[best][1])
    assert prior.new == pytest.approx(KernelRidge(alpha=best).fit(texts, space.means).predict(new))


def test_images_and_prior_are_weighed_as_gaussians_are(random: np.random.Generator) -> None:
    features, labels, _ = make_rows(random)
    space = ClassSpace.fit(features, labels, CLASSES)
    prior = plain_prior(space, 1)
    covariance = prior.rest * np.eye(WIDTH) + prior.axes @ np.diag(prior.variance - prior.rest) @ prior.axes.T
    seen, count = random.normal(size=(1, WIDTH)), 3
    for trust in (1.0, 4.0):
        precision = np.linalg.inv(covariance / trust)
        expected = np.linalg.solve(precision + count * np.eye(WIDTH), precision @ prior.new[0] + count * seen[0])
        found = prior.posterior(prior.new, seen, np.array([float(count)]), trust=trust)
        assert found[0] == pytest.approx(expected)
    nothing = prior.posterior(prior.new, np.full((1, WIDTH), 7.0), np.zeros(1))
    assert nothing == pytest.approx(prior.new)  # without an image, the value of the mean does not matter


def test_the_prior_variance_is_what_the_means_vary_by_less_what_few_images_add(random: np.random.Generator) -> None:
    variance, each, classes, width = 4.0, 2, 300, 5
    true = np.sqrt(variance) * random.normal(size=(classes, width))
    labels = np.repeat(np.arange(classes), each)
    features = true[labels] + random.normal(size=(len(labels), width))
    prior = plain_prior(ClassSpace.fit(features, labels, classes), 1)
    assert prior.variance.mean() == pytest.approx(variance, rel=0.15)


def test_directions_are_those_of_the_means_in_their_span(random: np.random.Generator) -> None:
    known, new = random.normal(size=(3, WIDTH)), random.normal(size=(1, WIDTH))
    basis, units, added = class_directions(known, new)
    assert basis.T @ basis == pytest.approx(np.eye(4))
    assert units @ basis.T == pytest.approx(unit_rows(known))
    assert added @ basis.T == pytest.approx(unit_rows(new))


def test_axes_leave_out_directions_in_which_nothing_varies(random: np.random.Generator) -> None:
    features = random.normal(size=(50, 3)) @ random.normal(size=(3, WIDTH)) + 5
    axes = principal_axes(features)
    assert axes.shape == (WIDTH, 3)
    centred = features - features.mean(0)
    assert centred @ axes @ axes.T == pytest.approx(centred)
