"""Texts to vectors: against scikit-learn and by hand, once a unique text, and what happens with odd texts."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from marnet.encoders.text import build_text_encoder
from marnet.encoders.unique_texts import UniqueTextTable, has_text
from marnet.encoders.words import fit_word_encoder, split_tags
from marnet.errors import EncoderError

CORPUS = [
    "tomato, basil and mozzarella on bread",
    "tomato soup with cream",
    "rice with egg and spring onion",
    "egg noodles, pork and spring onion",
    "bread with butter and butter and butter",
    "tomato soup with cream",
]


def reference_tf_idf(texts: Sequence[str], corpus: Sequence[str]) -> np.ndarray:
    return TfidfVectorizer(sublinear_tf=True).fit(sorted(set(corpus))).transform(texts).toarray()


def test_bow_without_reduction_is_tf_idf() -> None:
    encoder = fit_word_encoder("bow", CORPUS, dimensions=None)
    found = encoder([*CORPUS, "onion of an unseen kind"])
    expected = reference_tf_idf([*CORPUS, "onion of an unseen kind"], CORPUS)
    assert encoder.width == expected.shape[1]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("dimensions", [2, 3, 5])
def test_bow_with_svd_is_the_best_reduction(dimensions: int) -> None:
    """Compared by inner products: an SVD fixes its axes up to sign only."""
    texts = sorted(set(CORPUS))
    encoder = fit_word_encoder("bow", CORPUS, dimensions=dimensions)
    found = encoder(texts)
    left, singular, _ = np.linalg.svd(reference_tf_idf(texts, CORPUS))
    reduced = left[:, :dimensions] * singular[:dimensions]
    assert encoder.width == dimensions
    torch.testing.assert_close(
        found @ found.T, torch.tensor(reduced @ reduced.T, dtype=torch.float32), atol=1e-5, rtol=1e-4
    )


def test_bow_keeps_every_difference_where_texts_are_few() -> None:
    """One text a class is common. With room for all directions the reduction must lose none of them."""
    texts = ["apple pie", "apple tart", "lime soup"]
    found = fit_word_encoder("bow", texts, dimensions=128)(texts)
    expected = reference_tf_idf(texts, texts)
    torch.testing.assert_close(found @ found.T, torch.tensor(expected @ expected.T, dtype=torch.float32))


@pytest.mark.parametrize("texts", [["apple pie"], ["apple pie", "lime pie"], ["apple", "apple"]])
def test_bow_works_with_hardly_any_text(texts: list[str]) -> None:
    encoder = fit_word_encoder("bow", texts)
    assert encoder(texts).shape == (len(texts), encoder.width)
    torch.testing.assert_close(encoder(texts).norm(dim=1), torch.ones(len(texts)))


def test_the_vocabulary_does_not_depend_on_repeats_or_order() -> None:
    """A text that many rows share counts once."""
    once = fit_word_encoder("bow", CORPUS, dimensions=3)
    again = fit_word_encoder("bow", [*reversed(CORPUS), *CORPUS[:2] * 5, "", " "], dimensions=3)
    assert once.vocabulary == again.vocabulary
    torch.testing.assert_close(once(CORPUS), again(CORPUS))


def test_tags_by_hand() -> None:
    texts = ["Egg, rice ,spring  onion", "rice", "egg,egg,, EGG", "tofu"]
    encoder = fit_word_encoder("tags", texts)
    assert encoder.vocabulary == ("egg", "rice", "spring onion", "tofu")
    assert encoder(texts).tolist() == [[1, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert split_tags(" Egg ,, spring \t onion,") == ["egg", "spring onion"]


def test_only_the_most_frequent_words_are_kept() -> None:
    texts = ["egg, rice", "egg, tofu", "egg, rice, leek", "egg, yam"]
    assert fit_word_encoder("tags", texts, max_vocabulary=2).vocabulary == ("egg", "rice")
    expected = CountVectorizer(max_features=3).fit(sorted(set(CORPUS))).get_feature_names_out()
    assert fit_word_encoder("bow", CORPUS, max_vocabulary=3).vocabulary == tuple(expected)


@pytest.mark.parametrize("kind", ["bow", "tags", "words"])
def test_unseen_and_blank_texts_are_zero(kind: str) -> None:
    encoder = fit_word_encoder(kind, CORPUS)
    assert torch.equal(encoder(["zzz qqq", "", "  \t"]), torch.zeros(3, encoder.width))
    assert encoder([]).shape == (0, encoder.width)
    # A known word beside unknown ones still counts.
    assert encoder(["tomato zzz" if kind == "bow" else "zzz, tomato soup with cream"]).abs().sum() > 0


def test_blank_means_white_space_only() -> None:
    assert [has_text(text) for text in ("", " ", "\t\n", "\u3000", " a ", "0", "豆腐")] == [False] * 4 + [True] * 3


@pytest.mark.parametrize("kind", ["bow", "tags", "words"])
def test_texts_in_other_scripts_and_cases(kind: str) -> None:
    texts = ["crème brûlée, Äpfel", "豆腐, 豚肉", "борщ, хлеб", "Äpfel, хлеб"]
    encoder = fit_word_encoder(kind, texts, dimensions=None)
    assert {"äpfel", "豆腐", "хлеб"} <= set(encoder.vocabulary)
    assert torch.equal(encoder(["ÄPFEL, ХЛЕБ"]), encoder(["Äpfel, хлеб"]))
    vectors = encoder(texts)
    assert (vectors.abs().sum(1) > 0).all()
    assert float(vectors[0] @ vectors[1]) == 0.0
    assert float(vectors[0] @ vectors[3]) > 0.0


def test_each_unique_text_is_encoded_once() -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), text.count("a")] for text in texts], dtype=np.float64)

    table = UniqueTextTable(encode, 2)
    assert table(["banana", "kiwi", "banana"]).tolist() == [[6, 3], [4, 0], [6, 3]]
    assert table(["kiwi", "pear", "kiwi"]).tolist() == [[4, 0], [4, 1], [4, 0]]
    for _ in range(3):
        table(["pear", "banana", "kiwi"])
    assert seen == ["banana", "kiwi", "pear"]
    assert table([]).shape == (0, 2)
    assert not table.state_dict()


def test_the_word_encoder_goes_through_that_table(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = fit_word_encoder("bow", CORPUS, dimensions=3)
    counted: list[int] = []
    original = TfidfVectorizer.transform

    def transform(self: TfidfVectorizer, texts: Sequence[str]) -> object:
        counted.append(len(texts))
        return original(self, texts)

    monkeypatch.setattr(TfidfVectorizer, "transform", transform)
    first = encoder(CORPUS)
    for _ in range(4):
        assert torch.equal(encoder(CORPUS[::-1]), first.flip(0))
    assert sum(counted) == len(set(CORPUS))


def test_a_copy_keeps_working_on_its_own() -> None:
    encoder = fit_word_encoder("bow", CORPUS, dimensions=3)
    before = encoder(CORPUS[:2])
    twin = copy.deepcopy(encoder)
    assert torch.equal(twin(CORPUS), encoder(CORPUS))
    assert torch.equal(twin(CORPUS[:2]), before)


@pytest.mark.parametrize("kind", ["bow", "tags", "words"])
def test_frozen_encoders_have_nothing_to_learn(kind: str) -> None:
    encoder = fit_word_encoder(kind, CORPUS)
    assert not encoder.trainable
    assert list(encoder.parameters()) == []
    assert not encoder(CORPUS).requires_grad


@pytest.mark.parametrize("kind", ["bow", "tags", "words"])
def test_trainable_encoders_learn_a_projection(kind: str) -> None:
    encoder = fit_word_encoder(kind, CORPUS, dimensions=7, trainable=True)
    assert encoder.trainable
    assert encoder.width == 7
    found = encoder(CORPUS)
    assert found.shape == (6, 7)
    found.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    assert not torch.allclose(encoder(CORPUS), found)  # the table holds the fixed part only
    assert fit_word_encoder(kind, CORPUS, dimensions=None, trainable=True).width == 128


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(EncoderError) as refused:
        fit_word_encoder("bow", ["a", "b", "a"])
    sentence = str(refused.value)
    assert sentence.startswith("The text encoder 'bow' found nothing to learn in 2 different training texts (")
    assert sentence.endswith(
        "At least one needs a word of two letters or more. Check the text column, or train with `method=image-only`."
    )
    with pytest.raises(EncoderError, match=r"'tags' found nothing to learn in 1 different .* a comma-separated tag"):
        fit_word_encoder("tags", [",,,", ""])
    for kind in ("bow", "tags"):
        with pytest.raises(EncoderError, match=f"'{kind}' found nothing to learn in 0 different training texts"):
            fit_word_encoder(kind, ["", "  "])


def test_words_that_an_encoder_does_not_know() -> None:
    assert build_text_encoder("bow", ["a red apple", "green"]).unknown_words("Red lime, a green LIME!") == ("lime",)
    assert build_text_encoder("tags", ["red, round"]).unknown_words("red,square , round") == ("square",)
    assert build_text_encoder("random:bow", ["red apple"]).unknown_words("anything") == ()
