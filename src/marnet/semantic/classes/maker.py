"""Make new classes for a trained classifier from texts and images, without training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from marnet.errors import ConfigError
from marnet.inference.class_means.space import Array, ClassSpace, class_directions, make_prior, principal_axes
from marnet.modules.new_classes import NewClasses
from marnet.semantic.classes.balance import ClassRows, find_balance, make_folds

FEWEST_CLASSES = 3  # that a run must have been trained for
_MOST_IMAGES = 8  # of a class, up to which their number makes a difference to the balance


class NewClassData(NamedTuple):
    """What is known of a new class: a text, images, or both."""

    similarity: Array | None  # (C,), of its text to those of the trained classes; None: it has no text
    features: Array  # (k, D_v), of its images; k may be 0


class NewClassMaker:
    """Places new classes beside the C trained ones of a classifier.

    Args:
        train: rows that the classifier was trained on.
        held: rows of the trained classes that it was not trained on.
        learned: the backbone learned from the training rows. It draws the images of a class together there, so that
            the space is made from the held-out ones as well, and these alone play the new classes.
        seed: of the sample, the folds and the images that play those of new classes.

    Raises:
        ConfigError: a trained class has no row, there are fewer than three classes, or nothing is held out.
    """

    def __init__(self, train: ClassRows, held: ClassRows, *, learned: bool, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        classes = train.logits.shape[1]
        missing = int((np.bincount(train.labels, minlength=classes) == 0).sum())
        if classes < FEWEST_CLASSES or missing:
            raise ConfigError(
                f"New classes are weighed against {FEWEST_CLASSES} trained classes or more, each with images in train; "
                f"found {classes} classes, {missing} of them without an image. Name the rows that the run was trained "
                f"on."
            )
        if not len(held.labels):
            raise ConfigError(
                "New classes are weighed against held-out images of the trained ones, but there is none. Name rows "
                "with a split 'val'."
            )
        train = train.sample(random)
        held = held.sample(np.random.default_rng(seed))
        rows = train.with_rows(held) if learned else train
        self._axes = principal_axes(rows.features)
        rows, held = (each._replace(features=each.features @ self._axes) for each in (rows, held))
        self._space = ClassSpace.fit(rows.features, rows.labels, classes)
        self._folds = make_folds(rows, held if learned else rows, random)
        self._held = held
        self._seed = seed

    def make(self, similarity: Array | None, new: Sequence[NewClassData]) -> NewClasses:
        """Make K new classes.

        Args:
            similarity: of the texts of the C classes, `(C, C)`; needed if a new class has a text.
            new: the new classes.
        """
        axes, space = self._axes, self._space
        groups = dict.fromkeys(map(_group, new))
        balances = {
            group: find_balance(self._folds, self._held, similarity, *group, seed=self._seed) for group in groups
        }
        placed = np.zeros((len(new), space.means.shape[1]))
        for group, balance in balances.items():
            chosen = [number for number, each in enumerate(new) if _group(each) == group]
            shown = [space.project(new[number].features @ axes) for number in chosen]
            texts = [each for number in chosen if (each := new[number].similarity) is not None]
            prior = make_prior(space, similarity, np.stack(texts) if texts else None, len(chosen))
            placed[chosen] = prior.place(shown, trust=balance.trust)
        basis, trained, units = class_directions(space.known(), placed)
        found = [balances[_group(each)] for each in new]
        return NewClasses(
            _tensor(axes @ space.centre),
            _tensor(axes @ space.projection @ basis),
            _tensor(trained),
            _tensor(units),
            _tensor([each.scale for each in found]),
            _tensor([each.bias for each in found]),
        )


def _group(new: NewClassData) -> tuple[bool, int]:
    """Return what the balance depends on: whether there is a text, and how many images."""
    return new.similarity is not None, min(len(new.features), _MOST_IMAGES)


def _tensor(values: Array | list[float]) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)
