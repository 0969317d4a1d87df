"""`bow`, `tags` and `words`: texts as weighted words or as sets of tags or words, learned from the training texts."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from marnet.encoders.unique_texts import UniqueTextTable, has_text
from marnet.errors import EncoderError

TextKind = Literal["bow", "tags", "words"]


def split_tags(text: str) -> list[str]:
    """The tags of a comma list, in lower case, without the space around them and without empty ones."""
    return [tag for part in text.lower().split(",") if (tag := " ".join(part.split()))]


class WordEncoder(nn.Module):
    """Texts as weighted words ("bow": TF-IDF) or as a multi-hot vector of tags ("tags") or words ("words").

    Args:
        kind: "bow", "tags" or "words".
        vocabulary: the words or tags, in the order of the columns.
        idf: inverse document frequencies `(V,)` for "bow"; None for the others.
        components: projection `(V, D)` from an SVD; None keeps all V columns.
        projection_width: learn a two-layer projection to this width; None leaves the encoder frozen.

    Source: ours; the paper names no text network in what is public.
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
    ) -> None:
        super().__init__()
        self.kind = kind
        self.vocabulary = tuple(vocabulary)
        self.register_buffer("idf", _as_tensor(idf))  # (V,)
        self.register_buffer("components", _as_tensor(components))  # (V, D)
        self._vectoriser = _make_vectoriser(kind, vocabulary=self.vocabulary)
        if idf is not None:
            self._vectoriser.idf_ = np.asarray(idf, dtype=np.float64)
        fixed = components.shape[1] if components is not None else len(self.vocabulary)
        self.table = UniqueTextTable(self._encode, fixed)
        self.width = projection_width or fixed
        self.projection = nn.Identity() if projection_width is None else _projection(fixed, projection_width)

    @property
    def trainable(self) -> bool:
        """Whether the encoder has weights to learn."""
        return not isinstance(self.projection, nn.Identity)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """x_s `(B, D_s)` of B texts."""
        return self.projection(self.table(texts))  # type: ignore[no-any-return]

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
    """Learn the vocabulary, the weights and (for "bow") the SVD from the training texts; blanks are left out.

    Args:
        kind: "bow", "tags" or "words".
        texts: training texts, repeats allowed; each unique one counts once.
        dimensions: for "bow", reduce to at most this many by SVD; for a trainable encoder, its output width.
        max_vocabulary: keep this many of the most frequent words or tags.
        trainable: add a projection that is learned with the model.

    Raises:
        EncoderError: no text holds a word or a tag.
    """
    from sklearn.decomposition import TruncatedSVD

    unique = sorted({text for text in texts if has_text(text)})
    vectoriser = _make_vectoriser(kind, max_features=max_vocabulary)
    try:
        weights = vectoriser.fit_transform(unique)  # sparse (n, V)
    except ValueError as error:  # scikit-learn's "empty vocabulary"
        needed = "a comma-separated tag" if kind == "tags" else "a word of two letters or more"
        raise EncoderError(
            f"The text encoder {kind!r} found nothing to learn in {len(unique)} different training texts ({error}); "
            f"needed at least one with {needed}. Check the text column, or train with --method image-only."
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
    )


def _make_vectoriser(
    kind: TextKind, *, vocabulary: Sequence[str] | None = None, max_features: int | None = None
) -> Any:
    # Imported here and not above: it takes seconds, and prediction has no use for it.
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    if kind == "tags":
        return CountVectorizer(analyzer=split_tags, binary=True, vocabulary=vocabulary, max_features=max_features)
    if kind == "words":
        return CountVectorizer(binary=True, vocabulary=vocabulary, max_features=max_features)
    return TfidfVectorizer(sublinear_tf=True, vocabulary=vocabulary, max_features=max_features)


def _as_tensor(array: np.ndarray[Any, Any] | None) -> Tensor | None:
    return None if array is None else torch.tensor(array, dtype=torch.float32)


def _projection(width_in: int, width_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width_in, width_out), nn.GELU(), nn.Linear(width_out, width_out))
