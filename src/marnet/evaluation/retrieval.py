"""How well the unified space of a run finds the texts of images and the images of texts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from marnet.data.decoding import decode
from marnet.encoders.hf_clip import ImageTextModel, load_image_text_model
from marnet.encoders.text import has_text
from marnet.encoders.words import split_words
from marnet.errors import DataError
from marnet.evaluation.evaluate import open_rows
from marnet.inference import Predictor, collect_outputs
from marnet.inference.batch_size import affordable_batch
from marnet.inference.class_means.texts import readable
from marnet.inference.prediction import read_classes
from marnet.runs.code import AllowCode
from marnet.semantic.search.retrieval import RankMetrics, rank_metrics
from marnet.semantic.space import UnifiedSpace, open_space

_FEWEST_TEXTS = 2
_BATCH = 32  # images or texts that go through another model together


class BothWays(NamedTuple):
    """Retrieval of texts by images and of images by texts."""

    image_to_text: RankMetrics
    text_to_image: RankMetrics


class ClipRetrieval(NamedTuple):
    """Retrieval by the cosines of another model, such as CLIP, on the same images and texts."""

    model: str
    image_to_text: RankMetrics
    text_to_image: RankMetrics
    most_tokens: int  # that the model reads of a text
    truncated_texts: int  # that have more


class Retrieval(NamedTuple):
    """Retrieval on a split. Rows of one image are one image; equal texts are one text, relevant to all their images."""

    space: BothWays  # by cosines in the unified space
    class_names: BothWays  # the baseline: each image is the name of its predicted class, compared by TF-IDF
    images: int  # with a text
    texts: int  # different ones
    without_text: int  # rows that were left out
    silent_texts: int  # that say nothing to the text encoder, so that they rank at chance
    skipped: int  # images that could not be read
    clip: ClipRetrieval | None = None  # where such a model was named


def evaluate_retrieval(
    run: Path | str | UnifiedSpace,
    data: Any = None,
    *,
    split: str = "val",
    features: Path | str | None = None,
    clip: str | ImageTextModel | None = None,
    device: str = "auto",
    allow_code: AllowCode = False,
) -> Retrieval:
    """Return how well a run finds the texts of images, and the images of texts, on a split of its rows or of others.

    Args:
        run: the run directory, or its space.
        data: as for `marnet.evaluate`.
        split: train, val or test.
        features: as for `marnet.evaluate`.
        clip: also score this model of transformers on the same images and texts: "hf:" with a repository or a folder
            of CLIP, SigLIP or the like. It opens the images, with `features` as well.
        device: where to compute; a space has its own.
        allow_code: as for `marnet.evaluate`.

    Raises:
        ConfigError: the run has no space that images and texts share.
        DataError: fewer than two different texts are there.
        EncoderError: `clip` cannot be found or loaded, or does not embed images and texts into one space.
        MarnetError: as for `marnet.evaluate`.

    Example:
        >>> from marnet.evaluation.retrieval import evaluate_retrieval
        >>> found = evaluate_retrieval("runs/p", split="val", device="cpu")
        >>> found.texts, found.space.image_to_text.candidates
        (3, 3)
    """
    space = open_space(run, device=device, allow_code=allow_code)
    predictor = space.predictor
    model = load_image_text_model(clip, setting="clip") if isinstance(clip, str) else clip
    opened = open_rows(predictor, data, split=split, features=features, allow_code=allow_code)
    pairs = [(record.image, record.text) for record in opened.records if has_text(record.text)]
    row_of = {record.image: row for row, record in enumerate(opened.records)}
    images = list(dict.fromkeys(image for image, _ in pairs))
    texts = list(dict.fromkeys(text for _, text in pairs))
    if len(texts) < _FEWEST_TEXTS:
        raise DataError(
            f"Retrieval cannot be told from {len(texts)} different texts in the {len(opened.records)} rows of split "
            f"{split!r}; it takes {_FEWEST_TEXTS} at least. Choose rows with texts."
        )
    size = affordable_batch(64, predictor.spec.size)
    outputs = collect_outputs(predictor.model, opened.dataset, predictor.spec, batch_size=size, device=predictor.device)
    rows = [row_of[image] for image in images]
    vectors = space.from_features(outputs.features[space.branch][rows]).numpy()
    text_vectors = space.texts(texts).numpy()
    relevant = _relevance(pairs, images, texts)
    names, words = _tf_idf(_predicted_names(predictor, outputs.logits[rows]), texts)
    return Retrieval(
        _both_ways(vectors, text_vectors, relevant),
        _both_ways(names, words, relevant),
        images=len(images),
        texts=len(texts),
        without_text=len(opened.records) - len(pairs),
        silent_texts=int((~text_vectors.any(1)).sum()),
        skipped=len(opened.skipped),
        clip=None if model is None else _by_clip(model.to(predictor.device), predictor, images, texts, relevant),
    )


def _by_clip(
    model: ImageTextModel, predictor: Predictor, images: Sequence[str], texts: Sequence[str], relevant: csr_array
) -> ClipRetrieval:
    most_pixels = predictor.config.data.max_pixels

    def embed(batch: Sequence[str]) -> torch.Tensor:
        return model.images([decode(image, max_pixels=most_pixels) for image in batch])

    found = _both_ways(
        _in_batches(embed, images, "Embedding images").numpy(),
        _in_batches(model.texts, texts, "Embedding texts").numpy(),
        relevant,
    )
    return ClipRetrieval(model.name, *found, model.most_tokens, model.count_too_long(texts))


def _in_batches(embed: Callable[[Sequence[str]], torch.Tensor], items: Sequence[str], what: str) -> torch.Tensor:
    console = Console(stderr=True)
    firsts = range(0, len(items), _BATCH)
    quiet = len(firsts) < 2 or not console.is_terminal
    shown = track(firsts, description=what, console=console, transient=True, disable=quiet)
    return torch.cat([embed(items[first : first + _BATCH]) for first in shown])


def _both_ways(images: Any, texts: Any, relevant: csr_array) -> BothWays:
    return BothWays(rank_metrics(images, texts, relevant), rank_metrics(texts, images, relevant.T.tocsr()))


def _relevance(pairs: Sequence[tuple[str, str]], images: Sequence[str], texts: Sequence[str]) -> csr_array:
    """Return a matrix `(images, texts)` that is not zero where an image has a text."""
    row_of = {image: row for row, image in enumerate(images)}
    column_of = {text: column for column, text in enumerate(texts)}
    places = np.array([(row_of[image], column_of[text]) for image, text in pairs])
    return csr_array((np.ones(len(places)), (places[:, 0], places[:, 1])), shape=(len(images), len(texts)))


def _predicted_names(predictor: Predictor, logits: torch.Tensor) -> list[str]:
    """Return the name of the predicted class of each image; where images have several, all of them."""
    top = 1 if predictor.config.data.labels == "single" else None
    probabilities = predictor.task.probabilities(logits).numpy()
    read = read_classes(probabilities, top, thresholds=predictor.description.thresholds)
    return [" ".join(readable(predictor.classes[column]) for column in columns) for columns in read]


def _tf_idf(names: Sequence[str], texts: Sequence[str]) -> tuple[csr_array, csr_array]:
    """Return unit vectors of names and of texts, by the words of the texts; zero for a name without such a word."""
    try:
        vectoriser = TfidfVectorizer(analyzer=split_words, sublinear_tf=True).fit(texts)
    except ValueError:  # no text has a word of two letters or more
        return csr_array((len(names), 1)), csr_array((len(texts), 1))
    return csr_array(vectoriser.transform(names)), csr_array(vectoriser.transform(texts))
