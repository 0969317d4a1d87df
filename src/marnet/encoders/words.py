"""`bow`, `tags` and `words`: texts as weighted words or as sets of tags or words, learned from the training texts."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from marnet.encoders.text_encoder import TextEncoder, TextOptions
from marnet.encoders.unique_texts import UniqueTextTable, has_text
from marnet.errors import EncoderError

TextKind = Literal["bow", "tags", "words"]
_WORD = re.compile(r"\w+")
# Kana, Han, Thai, Lao, Burmese and Khmer with their marks.
_UNSPACED_RUN = re.compile(
    "([\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff]+)"
)
_UNSPACED_TEXTS = 0.05  # the share of texts from which characters count; below, a foreign name stays one word
_logger = logging.getLogger("marnet")


def split_tags(text: str) -> list[str]:
    """Return the tags of a comma-separated list in lower case, without surrounding space and empty tags.

    Example:
        >>> split_tags("Egg, spring  onion,,")
        ['egg', 'spring onion']
    """
    return [tag for part in text.lower().split(",") if (tag := " ".join(part.split()))]


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; of scripts without spaces, pairs of neighbouring characters.

    A word has two letters or more. Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words, so that
    whole phrases would count as words; a pair of characters is the usual stand-in.

    Example:
        >>> split_words("A fresh \u7ea2\u82f9\u679c") == ["fresh", "\u7ea2\u82f9", "\u82f9\u679c"]
        True
    """
    words = []
    for part in _UNSPACED_RUN.split(text.lower()):
        if _UNSPACED_RUN.fullmatch(part):
            words += [part[at : at + 2] for at in range(max(1, len(part) - 1))]
        else:
            words += [word for word in _WORD.findall(part) if len(word) > 1]
    return words


class WordEncoder(TextEncoder):
    """Texts as weighted words ("bow": TF-IDF) or as a multi-hot vector of tags ("tags") or words ("words").

    Args:
        kind: "bow", "tags" or "words".
        vocabulary: the words or tags, in the order of the columns.
        idf: inverse document frequencies `(V,)` for "bow"; None for the others.
        components: projection `(V, D)` from an SVD; None keeps all V columns.
        projection_width: learn a two-layer projection to this width; None leaves the encoder frozen.
        unspaced: take pairs of characters for words in scripts without spaces, as `split_words` does.

    Source: ours; the published part of the paper names no text network.
    """

    idf: Tensor | None
    components: Tensor | None

    def __init__(
        self,
        kind: TextKind,
        vocabulary: Sequence[str],
        *,
        idf: np.ndarray[Any, Any] | None = None,
        components: np.ndarray[Any, Any] | None = None,
        projection_width: int | None = None,
        unspaced: bool = False,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.unspaced = unspaced
        self.vocabulary = tuple(vocabulary)
        self.register_buffer("idf", _as_tensor(idf))  # (V,)
        self.register_buffer("components", _as_tensor(components))  # (V, D)
        self._vectoriser = _make_vectoriser(kind, unspaced=unspaced, vocabulary=self.vocabulary)
        if idf is not None:
            self._vectoriser.idf_ = np.asarray(idf, dtype=np.float64)
        fixed = components.shape[1] if components is not None else len(self.vocabulary)
        self.table = UniqueTextTable(self._encode, fixed)
        self.width = projection_width or fixed
        self.trainable = projection_width is not None
        self.projection = nn.Identity() if projection_width is None else _projection(fixed, projection_width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return x_s `(B, D_s)` of B texts."""
        return self.projection(self.table(texts))  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """Return the kind and the vocabulary; the rest follows from the weights."""
        settings: dict[str, Any] = {"kind": self.kind, "vocabulary": list(self.vocabulary)}
        return settings | {"unspaced": True} if self.unspaced else settings

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words, or the tags, of a text that the vocabulary lacks.

        Example:
            >>> fit_word_encoder("words", ["a red apple"]).unknown_words("Red lime, green lime")
            ('lime', 'green')
        """
        known = set(self.vocabulary)
        return tuple(dict.fromkeys(word for word in self._vectoriser.build_analyzer()(text) if word not in known))

    @classmethod
    def build(cls, name: str, texts: Sequence[str], options: TextOptions) -> "WordEncoder":
        """Learn the encoder from the training texts; see `fit_word_encoder`."""
        return fit_word_encoder(
            _kind(name),
            texts,
            dimensions=options.dimensions,
            max_vocabulary=options.max_vocabulary,
            trainable=options.trainable,
        )

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, *, cache: Path | None
    ) -> "WordEncoder":
        """Rebuild the encoder from its vocabulary; IDF, SVD and the width of a projection come from the weights."""
        projection = state.get("projection.2.weight")
        tables = {name: state[name].numpy() if name in state else None for name in ("idf", "components")}
        return cls(
            _kind(settings["kind"]),
            settings["vocabulary"],
            idf=tables["idf"],
            components=tables["components"],
            projection_width=None if projection is None else len(projection),
            unspaced=bool(settings.get("unspaced", False)),
        )

    def _encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        weights = self._vectoriser.transform(texts)  # sparse (n, V)
        return np.asarray(weights.toarray() if self.components is None else weights @ self.components.cpu().numpy())


def fit_word_encoder(
    kind: TextKind,
    texts: Sequence[str],
    *,
    dimensions: int | None = 128,
    max_vocabulary: int = 4096,
    trainable: bool = False,
) -> WordEncoder:
    """Learn the vocabulary, the weights and (for "bow") the SVD from the training texts; blank texts are left out.

    Args:
        kind: "bow", "tags" or "words".
        texts: training texts, repeats allowed; each unique one counts once.
        dimensions: for "bow", reduce to at most this many by SVD; for a trainable encoder, its output width.
        max_vocabulary: keep this many of the most frequent words or tags.
        trainable: add a projection that is learned with the model.

    Raises:
        EncoderError: no text holds a word or a tag.

    Example:
        >>> encoder = fit_word_encoder("words", ["a red apple", "a green lime"])
        >>> encoder.vocabulary
        ('apple', 'green', 'lime', 'red')
        >>> encoder(["green apple"]).tolist()
        [[1.0, 1.0, 0.0, 0.0]]
    """
    from sklearn.decomposition import TruncatedSVD

    unique = sorted({text for text in texts if has_text(text)})
    unspaced = kind != "tags" and _are_unspaced(unique)
    if unspaced:
        _logger.info(
            "Note: many training texts are in a script without spaces: pairs of characters count as their words."
        )
    vectoriser = _make_vectoriser(kind, unspaced=unspaced, max_features=max_vocabulary)
    try:
        weights = vectoriser.fit_transform(unique)  # sparse (n, V)
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        needed = "a comma-separated tag" if kind == "tags" else "a word of two letters or more"
        raise EncoderError(
            f"The text encoder {kind!r} found nothing to learn in {len(unique)} different training texts ({error}). "
            f"At least one needs {needed}. Check the text column, or train with `method=image-only`."
        ) from None
    vocabulary = [str(word) for word in vectoriser.get_feature_names_out()]
    components = None
    rank = min(len(unique), len(vocabulary))
    if kind == "bow" and dimensions is not None and rank >= 2:
        svd = TruncatedSVD(min(dimensions, rank), random_state=0).fit(weights)
        components = svd.components_.T
    return WordEncoder(
        kind,
        vocabulary,
        idf=vectoriser.idf_ if kind == "bow" else None,
        components=components,
        projection_width=(dimensions or 128) if trainable else None,
        unspaced=unspaced,
    )


def _are_unspaced(texts: Sequence[str]) -> bool:
    """Return True where a share of the texts worth minding holds phrases of a script without spaces."""
    return sum(_UNSPACED_RUN.search(text) is not None for text in texts) > _UNSPACED_TEXTS * len(texts)


def _kind(name: str) -> TextKind:
    for kind in get_args(TextKind):
        if kind == name:
            return kind  # type: ignore[no-any-return]
    raise EncoderError(f"Text encoder {name!r} is not known. Expected {', '.join(get_args(TextKind))}.")


def _make_vectoriser(
    kind: TextKind,
    *,
    unspaced: bool = False,
    vocabulary: Sequence[str] | None = None,
    max_features: int | None = None,
) -> Any:
    # Imported here because it takes seconds and prediction does not use it.
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    if kind == "tags":
        return CountVectorizer(analyzer=split_tags, binary=True, vocabulary=vocabulary, max_features=max_features)
    analyzer = split_words if unspaced else "word"
    if kind == "words":
        return CountVectorizer(analyzer=analyzer, binary=True, vocabulary=vocabulary, max_features=max_features)
    return TfidfVectorizer(analyzer=analyzer, sublinear_tf=True, vocabulary=vocabulary, max_features=max_features)


def _as_tensor(array: np.ndarray[Any, Any] | None) -> Tensor | None:
    return None if array is None else torch.tensor(array, dtype=torch.float32)


def _projection(width_in: int, width_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width_in, width_out), nn.GELU(), nn.Linear(width_out, width_out))
