"""The texts that a run was trained on, placed in its unified space: which are near, and which words they share."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from marnet.encoders.text import has_text
from marnet.encoders.words import split_tags, split_words
from marnet.errors import DataError
from marnet.semantic.space import UnifiedSpace

_SPLIT = "train"
_FEWEST = 2  # texts that share a word that is listed; what a single text has of its own is read in that text


class NearText(NamedTuple):
    """A training text and its distance."""

    text: str
    classes: tuple[str, ...]  # of the training rows that have it
    cosine: float


class WordScore(NamedTuple):
    """A word and how strongly a place in the space asks for it."""

    word: str
    correlation: float  # over the training texts, of having the word and lying near the place; -1 to 1
    texts: int  # different training texts that have it


class TrainingTexts:
    """The different texts of a run's training rows as unit vectors of its unified space, and the words in them.

    A place in the space, such as that of an image, asks for a word if the training texts with the word lie nearer to it
    than those without. The score is the correlation of the two, over the texts: it tells a word that many near texts
    share from one that a few have by chance, and a word that stands everywhere correlates with no place. Words are not
    encoded one by one, so that any text encoder serves. This is ours.

    Args:
        space: of the run. Its images are not needed, but the rows that it has recorded are.

    Attributes:
        texts: the T different texts, in the order of the rows; then the descriptions of classes that were added.
        classes: of each text, the classes of the rows that have it.
        vectors: `(T, width)`.
        words: the V words that some, but not all of the texts have, sorted; tags for a run with `text.name=tags`.

    Raises:
        DataError: the rows are lost, or none of them has a text.

    Example:
        >>> import marnet
        >>> from marnet.semantic.space import UnifiedSpace
        >>> space = UnifiedSpace(marnet.Predictor("runs/p", device="cpu", with_text=True))
        >>> known = TrainingTexts(space)
        >>> known.words
        ('blue', 'green', 'long', 'red', 'round')
        >>> (place,) = space.texts(["green, round"])
        >>> known.nearest(place, 1)[0].text, known.rank_words(place, 1)[0].word
        ('green, round', 'round')
    """

    def __init__(self, space: UnifiedSpace) -> None:
        predictor = space.predictor
        manifest = predictor.manifest()
        classes: dict[str, dict[str, None]] = {}
        for record in manifest.split(_SPLIT):
            if has_text(record.text):
                classes.setdefault(record.text, {}).update(dict.fromkeys(manifest.names(record)))
        for added in predictor.added:
            if added.text is not None and has_text(added.text):
                classes.setdefault(added.text, {})[added.name] = None
        if not classes:
            raise DataError(f"{manifest.source} has no training row with a text, so that there is nothing to compare.")
        self.texts = tuple(classes)
        self.classes = tuple(map(tuple, classes.values()))
        self.vectors = space.texts(self.texts)
        tags = predictor.config.text.name.removeprefix("random:") == "tags"
        self.split = split_tags if tags else split_words
        contents = [set(self.split(text)) for text in self.texts]
        counts = Counter(word for content in contents for word in content)
        self.words = tuple(sorted(word for word, count in counts.items() if count < len(self.texts)))
        columns = {word: column for column, word in enumerate(self.words)}
        self._counts = np.array([counts[word] for word in self.words])
        pairs = [(row, columns[word]) for row, content in enumerate(contents) for word in content if word in columns]
        rows, chosen = np.array(pairs, np.int64).reshape(-1, 2).T
        self._has = csr_matrix((np.ones(len(rows)), (rows, chosen)), (len(self.texts), len(self.words)))

    def nearest(self, place: Tensor, top: int) -> tuple[NearText, ...]:
        """Return the `top` texts with the largest cosine to a unit vector `(width,)`."""
        cosines = self.vectors @ place
        order = cosines.argsort(descending=True, stable=True)[:top].tolist()
        return tuple(NearText(self.texts[row], self.classes[row], float(cosines[row])) for row in order)

    def of_class(self, label: str) -> list[int]:
        """Return the numbers of the texts of a class."""
        return [row for row, names in enumerate(self.classes) if label in names]

    def class_place(self, label: str) -> Tensor | None:
        """Return the unit vector `(width,)` in the middle of the texts of a class; None if it has no text."""
        rows = self.of_class(label)
        return functional.normalize(self.vectors[rows].mean(0), dim=0) if rows else None

    def correlations(self, places: Tensor) -> np.ndarray:
        """Return how strongly places `(N, width)` ask for each word, `(N, V)`: the score of `WordScore`."""
        cosines = (self.vectors @ places.T).double().numpy()  # (T, N)
        centred = cosines - cosines.mean(0)
        spread = centred.std(0)
        known = spread > np.finfo(np.float32).eps  # texts that all lie at the same distance ask for no word
        share = self._counts / len(self.texts)
        with_word = (self._has.T @ centred) / self._counts[:, None]  # (V, N), mean over the texts with the word
        scores = with_word * np.sqrt(share / (1 - share))[:, None] / np.where(known, spread, 1.0)
        return np.asarray(np.where(known, scores, 0.0).T)

    def rank_words(self, place: Tensor, top: int, *, among: Collection[int] | None = None) -> tuple[WordScore, ...]:
        """Return the `top` words that a place `(width,)`, or a direction, asks for; fewer if it asks for fewer.

        A word of a single text is left out: it says no more than that text.

        Args:
            place: a vector of any length.
            top: how many words.
            among: only words of the texts of these numbers; None: of all.
        """
        (scores,) = self.correlations(place[None])
        listed = self._counts >= _FEWEST
        if among is not None:
            listed &= np.asarray(self._has[list(among)].sum(0)).ravel() > 0
        scores = np.where(listed, scores, 0.0)
        order = np.argsort(-scores, kind="stable")[:top]
        return tuple(
            WordScore(self.words[column], float(scores[column]), int(self._counts[column]))
            for column in order
            if scores[column] > 0
        )

    def own_words_auc(self, places: Tensor, texts: Sequence[str]) -> float:
        """Return how well places tell the words of their own texts from all others: the mean area under the ROC curve.

        0.5 is chance, 1 is perfect. Texts without a known word are left out.

        Args:
            places: `(N, width)`, such as those of images that were not trained on.
            texts: the N texts that belong to them.

        Raises:
            DataError: no text has a known word.
        """
        areas = []
        for place, text in zip(places, texts, strict=True):
            own = set(self.split(text))
            truth = [word in own for word in self.words]
            if any(truth) and not all(truth):
                areas.append(roc_auc_score(truth, self.correlations(place[None])[0]))
        if not areas:
            raise DataError(f"None of the {len(texts)} texts has a word of the training texts. Score other texts.")
        return float(np.mean(areas))
