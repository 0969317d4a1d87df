"""`ImagePredictor`: images in any form in, classes, probabilities and features out, whatever computes them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from marnet.data.decoding import ImageLike, image_name, list_images
from marnet.data.image_spec import ImageSpec
from marnet.errors import ConfigError, suggest
from marnet.inference.batch_size import affordable_batch
from marnet.inference.conformal import least_probability, read_sets
from marnet.inference.description import Description
from marnet.inference.open_set import least_confidence
from marnet.inference.prediction import Prediction, read_classes

_Single = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image
BATCH = 64  # images computed at a time, unless the caller says another number


class ImagePredictor(ABC):
    """Predicts images in any form; a subclass says what computes them.

    An image is a path, the bytes of an image file, a Pillow image, a uint8 array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`,
    or a uint8 tensor `(3, H, W)`. All forms of one image give equal answers, and `data.max_pixels` of the run holds for
    all. One image gives one answer; several (a list, a tuple, whatever can be iterated over) give several.

    Args:
        run: the run directory.
        description: the meaning of what goes in and comes out.

    Attributes:
        run: as given.
        description: as given.
        classes: the C class names; their order numbers the probabilities. Those that were added come last.
        spec: the input of the model.
    """

    def __init__(self, run: Path, description: Description) -> None:
        self.run = run
        self.description = description
        self.classes: tuple[str, ...] = description.classes
        self.spec: ImageSpec = description.spec

    @overload
    def predict(
        self,
        images: _Single,
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        images: ImageLike | Iterable[Any],
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self,
        images: ImageLike | Iterable[Any],
        *,
        top: int | None = None,
        abstain: float | None = None,
        open_set: float | None = None,
        batch_size: int = BATCH,
    ) -> Prediction | list[Prediction]:
        """Return the `top` most probable classes of one image, or a list of them for several.

        Without `top` these are five, or where images have several classes, those that reach their threshold.

        Args:
            images: one image or several.
            top: how many classes to return per image.
            abstain: return as many classes as it takes to miss the true one at this rate, such as 0.05 (split conformal
                prediction, `marnet.inference.conformal`). An image that needs more than one is abstained from.
            open_set: tell which images are of none of the classes, so that this share of the images of known classes,
                such as 0.05, is taken for one (`marnet.inference.open_set`).
            batch_size: images computed at a time.

        Raises:
            ImageError: an image cannot be read; of several, the message names its position, from 0.
            ConfigError: the run cannot promise such a rate.
            ValueError: `top` is less than 1, or was given with `abstain`.
        """
        if top is not None and (top < 1 or abstain is not None):
            reason = "it must be 1 or more" if top < 1 else "`abstain` says how many classes there are"
            raise ValueError(f"`top` is {top}, but {reason}.")
        least = None if abstain is None else self.least_probability(abstain)
        surest = None if open_set is None else self.least_confidence(open_set)
        several = list_images(images)
        chosen = [images] if several is None else several
        probabilities = self._compute(chosen, batch_size, self._probabilities)
        if least is None:
            read = read_classes(probabilities, top, thresholds=self.description.thresholds)
        else:
            read = read_sets(probabilities, least)
        predictions = []
        for position, (image, row, columns) in enumerate(zip(chosen, probabilities, read, strict=True)):
            labels = tuple(self.classes[column] for column in columns)
            abstained = None if least is None else len(columns) != 1
            unknown = None if surest is None else float(row.max()) < surest - 1e-6  # kept with six digits
            probable = tuple(row[columns].tolist())
            predictions.append(Prediction(image_name(image, position), labels, probable, abstained, unknown))
        return predictions[0] if several is None else predictions

    def predict_proba(self, images: ImageLike | Iterable[Any], *, batch_size: int = BATCH) -> np.ndarray:
        """Return the probabilities of the classes: `(C,)` of one image, `(N, C)` of several; float32.

        The columns are those of `classes`.

        Raises:
            ImageError: an image cannot be read; of several, the message names its position, from 0.
        """
        return self._answer(images, batch_size, self._probabilities)

    def encode(self, images: ImageLike | Iterable[Any], *, kind: str = "x_v", batch_size: int = BATCH) -> np.ndarray:
        """Return features: `(D,)` of one image, `(N, D)` of several; float32.

        Args:
            images: one image or several.
            kind: "x_v" for the features of the backbone, "x_ema" for those aligned with the text, "x_cdr" for the
                reconstructed semantics, or the name of a branch that the run's method adds.
            batch_size: images computed at a time.

        Raises:
            ConfigError: the method of the run does not compute such features.
            ImageError: an image cannot be read; of several, the message names its position, from 0.
        """
        return self._answer(images, batch_size, lambda pixels: self._features_of(pixels, kind))

    def class_number(self, label: str) -> int:
        """Return the number of a class, which is its column of the probabilities.

        Raises:
            ConfigError: the run has no such class.
        """
        if label not in self.classes:
            raise ConfigError(
                f"{self.run} has no class {label!r}. Name one of its {len(self.classes)} classes as `label`."
                f"{suggest(label, self.classes)}"
            )
        return self.classes.index(label)

    def least_probability(self, error: float) -> float:
        """Return the probability that a class needs to be in a prediction set with this rate of error.

        Raises:
            ConfigError: the rate is not between 0 and 1, or the run's held-out rows cannot promise it.
        """
        if self.description.label_form != "single":
            raise ConfigError(
                f"`abstain` needs one class per image, but {self.run} has images with several classes. Leave it out; "
                f"each class has a threshold of its own."
            )
        if self.description.scores is None:
            raise ConfigError(
                f"{self.run} has no calibration.json, so that it cannot promise a rate of error. Leave `abstain` out, "
                f"or train with `training.calibrate=true`."
            )
        return least_probability(self.description.scores, error)

    def least_confidence(self, rate: float) -> float:
        """Return the probability that the most probable class needs, or the image is of none of the classes.

        Args:
            rate: the share of images of known classes that may fall short of it.

        Raises:
            ConfigError: the rate is not between 0 and 1, or the run's held-out rows cannot keep it.
        """
        if not self.description.confidences:
            raise ConfigError(
                f"{self.run} does not say how sure it is of images of known classes, so that it cannot tell others "
                f"from them. Leave `open_set` out, or train with one class per image and `training.calibrate=true`."
            )
        return least_confidence(self.description.confidences, rate)

    @abstractmethod
    def _pixels(self, image: ImageLike, *, name: str | None) -> np.ndarray:
        """Return one image as the model sees it, `(3, S, S)` uint8; `name` is for messages."""

    @abstractmethod
    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return the probabilities `(B, C)` float32 of uint8 images `(B, 3, S, S)`."""

    @abstractmethod
    def _features(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features `(B, D)` float32 of uint8 images `(B, 3, S, S)`, by the names that `encode` takes."""

    def _features_of(self, pixels: np.ndarray, kind: str) -> np.ndarray:
        present = self._features(pixels)
        if kind not in present:
            raise ConfigError(
                f"{self.run} was trained with the method {self.description.method!r}, which computes no features "
                f"{kind!r}. Choose from {', '.join(present)}.{suggest(kind, present)}"
            )
        return present[kind]

    def _answer(
        self, images: ImageLike | Iterable[Any], batch_size: int, compute: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        several = list_images(images)
        found = self._compute([images] if several is None else several, batch_size, compute)
        return np.asarray(found[0] if several is None else found)

    def _compute(
        self, images: Sequence[Any], batch_size: int, compute: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return the rows `(N, ...)` that `compute` gives of uint8 batches `(B, 3, S, S)`."""
        if not images:  # the width of a row is that of any image
            return compute(np.zeros((1, 3, self.spec.size, self.spec.size), np.uint8))[:0]
        size = affordable_batch(batch_size, self.spec.size)
        return np.concatenate([compute(batch) for batch in self._batches(images, size)])

    def _batches(self, images: Sequence[Any], batch_size: int) -> Iterator[np.ndarray]:
        for first in range(0, len(images), batch_size):
            positions = range(first, min(first + batch_size, len(images)))
            names = {each: _place(images[each], each) if len(images) > 1 else None for each in positions}
            yield np.stack([self._pixels(images[each], name=name) for each, name in names.items()])


def _place(image: Any, position: int) -> str:
    """Return the name of one image among several for messages."""
    if isinstance(image, str | os.PathLike):
        return f"Image {os.fspath(image)} (position {position})"
    return f"The image at position {position}"
