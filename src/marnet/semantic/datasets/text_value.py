"""What texts hold that image features do not, measured before any training: for accuracy, for new classes, for search.

Linear models on fixed vectors, scored on rows that they were not fitted on: ridge regression from image features, from
text vectors and from both to the classes; from the texts of some classes to the mean image features of others; and from
image features to text vectors. Each is done again with texts that were shuffled, which shows what chance gives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score

from marnet.data.folds import FOLDS, make_folds, reduced
from marnet.errors import DataError

FEWEST_ROWS, FEWEST_CLASSES = 50, 10  # of rows with text; of classes, to compare them and to hold some out
MOST_ROWS = 5000  # a sample of more takes long and says the same
NEAREST = 10  # texts that a search looks at
_TEXT_WEIGHTS = (0.3, 1.0, 3.0)  # of the text beside the image, of which the best counts
_PERMUTATIONS = 200
_DRAWS = 4  # of the classes that are held out

Array = np.ndarray


class Witness(NamedTuple):
    """A share between 0 and 1 that the texts reach, and what it would be without their meaning."""

    value: float
    shuffled: float  # with the texts of the rows, or of the classes, exchanged
    chance: float


class TextValue(NamedTuple):
    """What the texts of some rows hold. Scores are top-1, or mAP where images have several classes; shares of 1."""

    score: str  # "top1" or "map"
    rows: int  # that were measured: all with text, or a sample of 5,000
    with_text: int
    without_text: int  # left out
    classes: int
    texts: int  # different ones
    image: float  # score of a linear model on image features
    text: float  # on text vectors
    both: float  # on both
    both_shuffled: float  # on image features and the texts of other rows
    explained: Witness  # share of the variance of the text vectors between classes
    geometry: float | None  # rank correlation of the distances of classes, by text and by image; None: few classes
    geometry_p: float | None  # of a permutation test over classes
    new_classes: Witness | None  # share of the images of held-out classes that their texts alone get right
    search: Witness  # share of the images whose own text is among the ten nearest to what the image predicts

    @property
    def one_text_per_class(self) -> bool:
        """Return whether the texts do no more than name the classes."""
        return self.explained.value > 0.999


def measure_text_value(
    features: Array,
    vectors: Array,
    labels: Array,
    *,
    groups: Sequence[str] | None = None,
    without_text: int = 0,
    seed: int = 0,
) -> TextValue:
    """Measure what the texts of N rows hold.

    Args:
        features: of the images, `(N, D)`, of a backbone that has not seen the labels.
        vectors: of the texts, `(N, D_s)`, equal for equal texts.
        labels: `(N,)` from 0; where images have several classes, `(N, C)` of 0 and 1.
        groups: rows of one group stay together in cross-validation; None: each row is its own.
        without_text: number of further rows that have no text.
        seed: of the folds and the shuffling.

    Raises:
        DataError: there are fewer than 50 rows with a text, one class, or one text.
    """
    with_text = len(features)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(features))[:MOST_ROWS])
    features, vectors, labels = features[drawn].astype(float), vectors[drawn].astype(float), labels[drawn]
    texts = len(np.unique(vectors.round(6), axis=0)) if len(vectors) else 0
    targets = labels.astype(float) if labels.ndim == 2 else np.eye(int(labels.max(initial=0)) + 1)[labels]
    present = targets.sum(0) > 0
    targets = targets[:, present]
    if len(drawn) < FEWEST_ROWS or texts < 2 or targets.shape[1] < 2:
        raise DataError(
            f"The value of texts cannot be told from {len(drawn)} rows with text, {texts} different texts and "
            f"{targets.shape[1]} classes. It takes {FEWEST_ROWS} rows, 2 texts and 2 classes at least. Name more rows."
        )
    image, text = reduced(features), reduced(vectors)
    random = np.random.default_rng(seed)
    other = random.permutation(len(text))
    folds = list(make_folds(labels, [groups[row] for row in drawn] if groups else None, seed))
    single = labels.ndim == 1

    def score(inputs: Array) -> float:
        return _score(_predict(inputs, targets, folds), targets, single=single)

    of_image, of_text = _class_means(image, targets), _class_means(text, targets)
    enough = targets.shape[1] >= FEWEST_CLASSES
    geometry, p = _geometry(of_image, of_text, random) if enough else (None, None)
    return TextValue(
        score="top1" if single else "map",
        rows=len(drawn),
        with_text=with_text,
        without_text=without_text,
        classes=targets.shape[1],
        texts=texts,
        image=score(image),
        text=score(text),
        both=max(score(np.hstack([image, weight * text])) for weight in _TEXT_WEIGHTS),
        both_shuffled=max(score(np.hstack([image, weight * text[other]])) for weight in _TEXT_WEIGHTS),
        explained=Witness(
            _explained(text, targets), _explained(text[other], targets), (targets.shape[1] - 1) / (len(text) - 1)
        ),
        geometry=geometry,
        geometry_p=p,
        new_classes=_new_classes(image, of_image, of_text, targets, random) if enough and single else None,
        search=_search(image, text, other, folds),
    )


def _ridge(inputs: Array, targets: Array) -> RidgeCV:
    return RidgeCV(np.logspace(-2, 3, 11)).fit(inputs, targets)


def _predict(inputs: Array, targets: Array, folds: Sequence[tuple[Array, Array]]) -> Array:
    """Return predictions of the targets, each by a model that was fitted without the row."""
    predicted = np.empty(targets.shape)
    for fit, held in folds:
        predicted[held] = _ridge(inputs[fit], targets[fit]).predict(inputs[held]).reshape(len(held), -1)
    return predicted


def _score(predicted: Array, targets: Array, *, single: bool) -> float:
    if single:
        return float((predicted.argmax(1) == targets.argmax(1)).mean())
    return float(average_precision_score(targets, predicted))


def _class_means(vectors: Array, targets: Array) -> Array:
    return np.asarray(targets.T @ vectors / targets.sum(0)[:, None])


def _explained(text: Array, targets: Array) -> float:
    """Return the share of the variance of the text vectors that a linear function of the classes explains."""
    inputs = np.hstack([targets, np.ones((len(targets), 1))])
    fitted = inputs @ np.linalg.lstsq(inputs, text, rcond=None)[0]
    return float((fitted**2).sum() / (text**2).sum())


def _geometry(of_image: Array, of_text: Array, random: np.random.Generator) -> tuple[float, float]:
    """Return Spearman's correlation of the distances between classes, and p of Mantel's permutation test."""
    by_image = _distances(of_image)
    found = float(spearmanr(by_image, _distances(of_text)).statistic)
    shuffled = [
        float(spearmanr(by_image, _distances(of_text[random.permutation(len(of_text))])).statistic)
        for _ in range(_PERMUTATIONS)
    ]
    return found, (1 + sum(each >= found for each in shuffled)) / (1 + _PERMUTATIONS)


def _distances(means: Array) -> Array:
    """Return the cosine distances of all pairs of classes."""
    directions = _unit(means - means.mean(0))
    distances: Array = 1 - directions @ directions.T
    return distances[np.triu_indices(len(means), 1)]


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12))


def _new_classes(image: Array, of_image: Array, of_text: Array, targets: Array, random: np.random.Generator) -> Witness:
    """Hold out a fifth of the classes at a time, and find their images by the means that their texts predict.

    Among the held-out classes the nearest predicted mean wins, by the covariance within the other classes.
    """
    classes, labels = len(of_image), targets.argmax(1)
    hits: list[tuple[float, float, float]] = []
    for _ in range(_DRAWS):
        exchanged = of_text[random.permutation(classes)]
        for new in np.array_split(random.permutation(classes), FOLDS):
            old, rows = np.setdiff1d(np.arange(classes), new), np.isin(labels, new)
            within = image[~rows] - of_image[labels[~rows]]
            covariance = within.T @ within / len(within)
            level = np.trace(covariance) / len(covariance)
            precision = np.linalg.inv((covariance + level * np.eye(len(covariance))) / 2)
            right = []
            for texts in (of_text, exchanged):
                means = _ridge(texts[old], of_image[old]).predict(texts[new])
                scores = 2 * image[rows] @ precision @ means.T - np.einsum("ij,jk,ik->i", means, precision, means)
                right.append(float((new[scores.argmax(1)] == labels[rows]).mean()))
            hits.append((right[0], right[1], 1 / len(new)))
    value, shuffled, chance = np.mean(hits, 0).tolist()
    return Witness(value, shuffled, chance)


def _search(image: Array, text: Array, other: Array, folds: Sequence[tuple[Array, Array]]) -> Witness:
    """Return how often the own text of an image is among the nearest to the predicted one; equal texts count as one."""
    _, first, same = np.unique(text.round(6), axis=0, return_index=True, return_inverse=True)
    directions, same = _unit(text[first]), same.reshape(-1)
    found = []
    for texts, own in ((text, same), (text[other], same[other])):
        similar = _unit(_predict(image, texts, folds)) @ directions.T  # (N, different texts)
        ranks = (similar > similar[np.arange(len(own)), own][:, None]).sum(1)
        found.append(float((ranks < NEAREST).mean()))
    return Witness(found[0], found[1], min(1.0, NEAREST / len(directions)))


def describe_text_value(found: TextValue, score: str) -> tuple[str, str, str]:
    """Return a sentence on accuracy, one on new classes and one on search.

    Args:
        found: the measurements.
        score: name of the score, such as "top-1".
    """
    return _accuracy_sentence(found, score), _new_classes_sentence(found), _search_sentence(found)


def _accuracy_sentence(found: TextValue, score: str) -> str:
    if found.one_text_per_class:
        return (
            "Accuracy: each class has one text, which names the class, so the text of a photo says nothing about that "
            "photo. Training with it can still help; compare with shuffled texts to see whether their meaning does."
        )
    gain = 100 * (found.both - max(found.image, found.both_shuffled))
    if gain < 2:
        return (
            f"Accuracy: the texts hold nothing that the image features lack ({score} {100 * found.both:.1f} % with "
            f"both, {100 * found.image:.1f} % from images). Do not expect training with them to help."
        )
    return (
        f"Accuracy: a classifier that also read the text would gain {gain:.1f} points of {score}, which is the most "
        f"that training with it can keep. On a pretrained backbone with every image labelled, expect about a point, "
        f"and most of it from any text."
    )


def _new_classes_sentence(found: TextValue) -> str:
    if found.new_classes is None:
        few = found.classes < FEWEST_CLASSES
        reason = f"there are {found.classes} classes" if few else "images have several classes"
        return (
            f"New classes: not measured, because {reason}. It takes one class per image, and {FEWEST_CLASSES} classes "
            f"or more."
        )
    value, shuffled, chance = (f"{100 * share:.0f} %" for share in found.new_classes)
    if found.new_classes.value < 2 * max(found.new_classes.shuffled, found.new_classes.chance):
        return (
            f"New classes: the text of a class does not say what it looks like ({value} of the images of new classes "
            f"right, shuffled texts {shuffled}, chance {chance})."
        )
    return (
        f"New classes: the texts say what classes look like. From its text alone, without an image, a new class is "
        f"recognised among the other new ones in {value} of its images (shuffled texts {shuffled}, chance {chance})."
    )


def _search_sentence(found: TextValue) -> str:
    value, chance = f"{100 * found.search.value:.0f} %", f"{100 * found.search.chance:.1f} %"
    counted = f"the own text of an image is among the {NEAREST} nearest of {found.texts} in {value} (chance {chance})"
    if found.search.chance > 0.3:
        return f"Search: not told, with {found.texts} different texts."
    if found.search.value < max(0.1, 3 * found.search.chance):
        return f"Search: images do not lead to their texts; {counted}."
    return f"Search: images and texts find one another; {counted}."
