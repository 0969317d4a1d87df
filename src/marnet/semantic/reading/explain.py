"""The read-out of a run: what it sees in an image in the words of its training texts, and what tells classes apart."""

from collections.abc import Sequence
from itertools import zip_longest
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from marnet.data.decoding import ImageLike, image_name
from marnet.data.transforms import model_input
from marnet.errors import ConfigError, shorten, suggest
from marnet.inference import Predictor
from marnet.outputs import VISUAL, PredictionOutput
from marnet.semantic.reading.training_texts import NearText, TrainingTexts, WordScore
from marnet.semantic.space import UnifiedSpace


class ClassScores(NamedTuple):
    """The probabilities of one class; for a class that was added after training, only the fused one."""

    label: str
    fused: float  # the prediction of the run
    semantic: float | None  # of the branch that brings images and texts together: CDR, or EMA for a run without CDR
    basic: float | None  # of the backbone alone


class ClassChange(NamedTuple):
    """The probabilities of one class before and after the semantics were moved."""

    label: str
    fused: tuple[float, float]
    semantic: tuple[float, float] | None  # None for a class that was added after training


class TextChange(NamedTuple):
    """The prediction with semantics that say something less, or something more."""

    removed: tuple[str, ...]
    added: tuple[str, ...]
    cosines: tuple[float, ...]  # of the image, as it is, with each text removed and then with each added
    classes: tuple[ClassChange, ...]  # those that change most first


class ImageExplanation(NamedTuple):
    """The read-out of one image."""

    image: str  # its path, or "image 0"
    branch: str  # in whose space images and texts meet, "reconstruction" or "alignment"
    classes: tuple[ClassScores, ...]  # the most probable first, with the first choice of every branch
    near_texts: tuple[NearText, ...]
    words: tuple[WordScore, ...]  # that the image asks for
    class_words: tuple[WordScore, ...]  # that its most probable class asks for; none if the class has no text
    change: TextChange | None = None  # with `without` or `with_`


class Neighbour(NamedTuple):
    """Another class, and how near its texts are."""

    label: str
    cosine: float  # between the means of their texts


class ClassExplanation(NamedTuple):
    """The read-out of one class, from its training texts."""

    label: str
    texts: int  # different ones
    words: tuple[WordScore, ...]  # that the class asks for
    neighbours: tuple[Neighbour, ...]  # the nearest first
    more: tuple[WordScore, ...]  # of its words, those that tell it from the nearest class
    less: tuple[WordScore, ...]  # of the nearest class's words, those that tell that one from it


class Explainer:
    """Reads out what a run has learned: images and classes in the words of its training texts.

    It reads the texts in the run's manifest; none of the images there is needed. Predictions stay as they are.

    Args:
        predictor: of a run with text, loaded with `with_text=True`.

    Raises:
        ConfigError: the method of the run has no space that images and texts share, or the text encoder was not loaded.
        DataError: the rows of the run are lost, or none of them has a text.

    Example:
        >>> import marnet
        >>> from marnet.semantic.reading.explain import Explainer
        >>> explainer = Explainer(marnet.Predictor("runs/p", device="cpu", with_text=True))
        >>> found = explainer.explain("a.jpg", top=2, without="green")
        >>> len(found.near_texts), found.classes[0].label in ("apple", "eel", "lime"), found.change.removed
        (2, True, ('green',))
        >>> explainer.explain_class("lime").neighbours[0].label in ("apple", "eel")
        True
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.space = UnifiedSpace(predictor)
        self.texts = TrainingTexts(self.space)

    def explain(
        self,
        image: ImageLike,
        *,
        top: int = 5,
        without: str | Sequence[str] = (),
        with_: str | Sequence[str] = (),
    ) -> ImageExplanation:
        """Return the read-out of one image, in any form that `Predictor` takes.

        Args:
            image: the image.
            top: how many classes, texts and words to return of each kind.
            without: a text, or several, whose direction is taken out of the semantics of the image, before those of
                `with_` are put in (`move_semantics`); the classes that change are then returned as well.
            with_: a text, or several, that is put in.

        Raises:
            ImageError: the image cannot be read.
            RunDirectoryError: the run gives predictions that are no numbers.
            ConfigError: a text says nothing to the text encoder of the run.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"`top` is {top}, but it must be 1 or more.")
        texts = [[each] if isinstance(each, str) else list(each) for each in (without, with_)]
        removed, added = map(self._directions, texts)
        output = self._outputs(image)
        (place,) = self.space.from_features(output.features[self.space.branch])
        scores = self._scores(output)
        middle = self.texts.class_place(scores[0].label)
        change = None
        if without or with_:
            moved = self._scores(self._moved(output, removed, added))
            cosines = tuple((torch.cat([removed, added]) @ place).tolist())
            change = TextChange(tuple(texts[0]), tuple(texts[1]), cosines, _changes(scores, moved)[:top])
        return ImageExplanation(
            image=image_name(image, 0),
            branch=self.space.branch,
            classes=_most_telling(scores, top),
            near_texts=self.texts.nearest(place, top),
            words=self.texts.rank_words(place, top),
            class_words=() if middle is None else self.texts.rank_words(middle, top),
            change=change,
        )

    def explain_class(self, label: str, *, top: int = 5) -> ClassExplanation:
        """Return the read-out of a class: what tells it from the class whose texts are nearest to its own.

        Args:
            label: the name of the class.
            top: how many neighbours and words to return of each kind.

        Raises:
            ConfigError: the run has no such class, or no training text for it or for any other class.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"`top` is {top}, but it must be 1 or more.")
        self.predictor.class_number(label)  # refuses one that there is not
        classes = self.predictor.classes
        places = {name: place for name in classes if (place := self.texts.class_place(name)) is not None}
        if label not in places or len(places) < 2:
            lacking = f"the class {label!r}" if label not in places else f"any class but {label!r}"
            raise ConfigError(
                f"{self.predictor.run} has no training text of {lacking}, so that nothing can be compared. "
                f"{len(places)} of its {len(classes)} classes have texts."
            )
        own = places.pop(label)
        neighbours = sorted(
            (Neighbour(name, float(own @ place)) for name, place in places.items()), key=lambda each: -each.cosine
        )
        nearest = neighbours[0].label
        towards = own - places[nearest]
        return ClassExplanation(
            label=label,
            texts=len(self.texts.of_class(label)),
            words=self.texts.rank_words(own, top),
            neighbours=tuple(neighbours[:top]),
            more=self.texts.rank_words(towards, top, among=self.texts.of_class(label)),
            less=self.texts.rank_words(-towards, top, among=self.texts.of_class(nearest)),
        )

    @torch.inference_mode()
    def _outputs(self, image: ImageLike) -> PredictionOutput:
        pixels = self.predictor.transform.pixels(image)[None].to(self.predictor.device)
        output = self.predictor.model.prediction_outputs(model_input(pixels, self.predictor.spec))
        return output._replace(logits=self.predictor.finite(output.logits))

    def _scores(self, output: PredictionOutput) -> list[ClassScores]:
        """Return the probabilities of all classes of one image, the most probable first."""
        logits = (output.logits, output.branch_logits[self.space.branch], output.branch_logits[VISUAL])
        columns = [self.predictor.task.probabilities(each)[0].tolist() for each in logits]
        rows = zip_longest(self.predictor.classes, *columns)  # classes that were added, the last, have no branches
        return sorted((ClassScores(*row) for row in rows), key=lambda each: -each.fused)

    def _directions(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors `(n, width)` of texts of the user, each of which has to say something."""
        vectors = self.space.texts(texts)
        silent = [text for text, vector in zip(texts, vectors, strict=True) if not vector.any()]
        if silent:
            raise ConfigError(
                f"The text {shorten(silent[0])!r} says nothing to the text encoder of {self.predictor.run}: it has no "
                f"word of the training texts. Use words that they have."
                f"{suggest(silent[0], self.texts.words)}"
            )
        return vectors

    @torch.inference_mode()
    def _moved(self, output: PredictionOutput, removed: Tensor, added: Tensor) -> PredictionOutput:
        """Return the prediction with semantics that are moved away from some directions and towards others."""
        branch = self.space.branch
        x = output.features[branch]
        moved = move_semantics(x, without=removed.to(x), with_=added.to(x))
        return self.predictor.model.predict_from({**output.features, branch: moved})


def move_semantics(x: Tensor, *, without: Tensor, with_: Tensor) -> Tensor:
    """Return semantics `(B, width)` moved away from some texts and then towards others.

    What x says of a text of `without` is taken out: its part along that direction, if there is any. A text of `with_`
    is put in as an equal partner: the new direction lies in the middle between x and the text, and the length stays.

    Args:
        x: x_CDR or x_EMA.
        without: unit vectors `(n, width)` of texts.
        with_: unit vectors `(m, width)` of texts.

    Example:
        >>> import torch
        >>> green, long = torch.eye(2)[:1], torch.eye(2)[1:]
        >>> move_semantics(torch.tensor([[3.0, 4.0]]), without=green, with_=long[:0]).tolist()
        [[0.0, 4.0]]
        >>> move_semantics(torch.tensor([[0.0, 4.0]]), without=green, with_=long).tolist()
        [[0.0, 4.0]]
    """
    for direction in without:
        x = x - (x @ direction).clamp(min=0)[:, None] * direction
    for direction in with_:
        middle = functional.normalize(functional.normalize(x, dim=-1) + direction, dim=-1)
        x = middle * x.norm(dim=-1, keepdim=True)
    return x


def _most_telling(scores: Sequence[ClassScores], top: int) -> tuple[ClassScores, ...]:
    """Return the first classes, and the first choices of the branches if they are others."""
    trained = [(each.semantic, each.basic, each) for each in scores if each.semantic is not None]
    choices = (max(trained, key=itemgetter(column))[-1] for column in (0, 1))
    return tuple(dict.fromkeys([*scores[:top], *choices]))


def _changes(before: Sequence[ClassScores], after: Sequence[ClassScores]) -> tuple[ClassChange, ...]:
    """Return what becomes of each class, the largest change of a probability first."""
    new = {each.label: each for each in after}
    changes = []
    for old in before:
        pair = (old.semantic, new[old.label].semantic)
        semantic = None if pair[0] is None or pair[1] is None else (pair[0], pair[1])
        changes.append(ClassChange(old.label, (old.fused, new[old.label].fused), semantic))
    return tuple(
        sorted(changes, key=lambda each: -max(abs(a - b) for a, b in filter(None, (each.fused, each.semantic))))
    )
