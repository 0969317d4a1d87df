"""Classes added to a trained classifier, on planted features whose classes lie where their texts say."""

import numpy as np
import pytest
import torch

from marnet.errors import ConfigError
from marnet.inference.class_means.space import unit_rows
from marnet.modules.new_classes import NewClasses
from marnet.semantic.classes.balance import ClassRows
from marnet.semantic.classes.maker import NewClassData, NewClassMaker

CLASSES, NEW, WIDTH, EACH = 40, 8, 24, 30


class World:
    """Classes with attributes that both their images and their texts show."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        attributes = self.random.normal(size=(CLASSES + NEW, 6))
        self.means = 2.5 * attributes @ self.random.normal(size=(6, WIDTH)) / np.sqrt(6)
        self.texts = unit_rows(attributes @ self.random.normal(size=(6, 20)))

    def images(self, classes: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(classes, each)
        return self.means[labels] + self.random.normal(size=(len(labels), WIDTH)), labels

    def rows(self, each: int) -> ClassRows:
        features, labels = self.images(np.arange(CLASSES), each)
        return ClassRows(features, labels, self.logits(features))

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits of a classifier that knows the truth about the trained classes."""
        means = self.means[:CLASSES]
        return features @ means.T - (means**2).sum(1) / 2

    def fit(self, images: int, *, order: np.ndarray | None = None, text: bool = True) -> NewClasses:
        texts = self.texts if order is None else self.texts[order]
        similarity = texts @ texts[:CLASSES].T
        shown = [self.images(np.array([CLASSES + number]), images)[0] for number in range(NEW)]
        new = [NewClassData(similarity[CLASSES + k] if text else None, own) for k, own in enumerate(shown)]
        maker = NewClassMaker(self.rows(EACH), self.rows(10), learned=False)
        return maker.make(similarity[:CLASSES] if text else None, new)

    def accuracies(self, added: NewClasses) -> tuple[float, float, float]:
        """Return the accuracy on old classes, on new ones, and on new ones among themselves."""
        answers = []
        for classes in (np.arange(CLASSES), np.arange(CLASSES, CLASSES + NEW)):
            features, labels = self.images(classes, 20)
            logits = added(torch.tensor(self.logits(features)), torch.tensor(features)).numpy()
            answers.append((logits, labels))
        (old, of_old), (new, of_new) = answers
        among = float((new[:, CLASSES:].argmax(1) + CLASSES == of_new).mean())
        return float((old.argmax(1) == of_old).mean()), float((new.argmax(1) == of_new).mean()), among


def test_a_class_without_an_image_is_found_by_its_text_and_not_by_that_of_another() -> None:
    world = World()
    old, new, among = world.accuracies(world.fit(0))
    assert among > 0.8
    assert new > 0.5
    assert old > 0.6
    order = world.random.permutation(CLASSES + NEW)
    assert world.accuracies(world.fit(0, order=order))[2] < 0.4  # chance is 1 in 8


def test_images_do_without_a_text_and_better_with_one() -> None:
    found = {text: [] for text in (False, True)}
    for seed in range(3):
        for text, results in found.items():
            world = World(seed)
            results.append(world.accuracies(world.fit(1, text=text)))
    without, with_text = (np.mean(found[text], 0) for text in (False, True))
    assert without[2] > 0.5
    assert (with_text > without).all()


def test_a_backbone_that_learned_from_the_training_images_hides_no_new_class() -> None:
    """It draws the training images of a class together, as no other image is."""
    world = World()
    seen = world.rows(EACH)
    seen = seen._replace(features=world.means[seen.labels] + 0.1 * (seen.features - world.means[seen.labels]))
    held = world.rows(10)
    new = [NewClassData(None, world.images(np.array([CLASSES + number]), 2)[0]) for number in range(NEW)]
    found = {}
    for learned in (False, True):
        world.random = np.random.default_rng(5)
        old, right, _ = world.accuracies(NewClassMaker(seen, held, learned=learned).make(None, new))
        found[learned] = 2 * old * right / (old + right)
    assert found[True] > 0.7
    assert found[True] > found[False] + 0.1


def test_old_and_new_compete_fairly() -> None:
    """The bias comes from classes that were left out, and is near the best that one could have chosen."""
    world = World()
    added = world.fit(2)
    before = added.bias.clone()
    found = {}
    for shift in (-6.0, -3.0, 0.0, 3.0, 6.0):
        added.bias = before + shift
        world.random = np.random.default_rng(5)
        old, new, _ = world.accuracies(added)
        found[shift] = 2 * old * new / (old + new)
    assert found[0.0] > max(found.values()) - 0.03
    assert found[0.0] > min(found.values()) + 0.05


def test_the_logits_of_trained_classes_stay_to_the_last_bit() -> None:
    world = World()
    features, _ = world.images(np.arange(CLASSES), 2)
    logits = torch.tensor(world.logits(features), dtype=torch.float32)
    assert torch.equal(world.fit(1)(logits, torch.tensor(features, dtype=torch.float32))[:, :CLASSES], logits)


def test_what_is_left_keeps_its_odds_when_a_class_is_taken_out() -> None:
    world = World()
    added = world.fit(1)
    features, _ = world.images(np.arange(CLASSES + NEW), 2)
    logits, x_v = torch.tensor(world.logits(features)), torch.tensor(features)
    both, left = added(logits, x_v), added.without(3)(logits, x_v)
    kept = [column for column in range(CLASSES + NEW) if column != CLASSES + 3]
    assert torch.allclose(left, both[:, kept], atol=1e-3)


def test_text_and_images_may_differ_between_new_classes_and_order_does_not_matter() -> None:
    world = World()
    similarity = world.texts @ world.texts[:CLASSES].T
    own = world.images(np.array([CLASSES + 1]), 3)[0]
    new = [NewClassData(similarity[CLASSES], np.zeros((0, WIDTH))), NewClassData(None, own)]
    train, held = world.rows(EACH), world.rows(10)
    features = torch.tensor(world.images(np.arange(CLASSES + 2), 2)[0])
    logits = torch.tensor(world.logits(features.numpy()))
    maker = NewClassMaker(train, held, learned=False)
    forth = maker.make(similarity[:CLASSES], new)(logits, features)
    back = maker.make(similarity[:CLASSES], new[::-1])(logits, features)
    assert torch.allclose(forth[:, [CLASSES, CLASSES + 1]], back[:, [CLASSES + 1, CLASSES]], atol=1e-4)


def test_too_few_classes_classes_without_images_and_nothing_held_out_are_refused() -> None:
    world = World()
    rows = world.rows(3)
    two = ClassRows(rows.features[:6], rows.labels[:6], rows.logits[:6, :2])
    with pytest.raises(ConfigError, match="3 trained classes"):
        NewClassMaker(two, two, learned=False)
    some = ClassRows(rows.features[3:], rows.labels[3:], rows.logits[3:])
    with pytest.raises(ConfigError, match="1 of them without an image"):
        NewClassMaker(some, rows, learned=False)
    nothing = ClassRows(rows.features[:0], rows.labels[:0], rows.logits[:0])
    with pytest.raises(ConfigError, match="held-out"):
        NewClassMaker(rows, nothing, learned=False)
