"""A query is the sum of its unit vectors; what the text encoder does not know is said."""

import logging
from pathlib import Path

import numpy as np
import pytest
from torch.nn import functional

import marnet
from marnet.errors import ConfigError, ImageError
from marnet.semantic.search.query import Query, query_vector
from marnet.semantic.space import UnifiedSpace, open_space


@pytest.fixture(scope="module")
def space(trained_run: Path) -> UnifiedSpace:
    return open_space(trained_run, device="cpu")


@pytest.fixture(scope="module")
def picture(trained_run: Path) -> str:
    return marnet.Predictor(trained_run, device="cpu").manifest().split("val")[0].image


def test_what_is_asked_for_is_added_and_what_is_not_subtracted(space: UnifiedSpace, picture: str) -> None:
    text, image, without = space.texts(["green"])[0], space.images(picture)[0], space.texts(["long"])[0]
    assert np.allclose(query_vector(space, Query("green")), text, atol=1e-6)
    assert np.allclose(query_vector(space, Query(image=picture)), image, atol=1e-6)
    change = functional.normalize(text - without, dim=0)
    found = query_vector(space, Query("green", Path(picture), "long"))
    assert np.allclose(found, functional.normalize(image + change, dim=0), atol=1e-6)
    assert np.allclose(query_vector(space, Query("green", None, "long")), change, atol=1e-6)
    less = functional.normalize(image - without, dim=0)
    assert np.allclose(query_vector(space, Query(None, picture, "long")), less, atol=1e-6)
    assert found.dtype == np.float32


def test_words_that_the_encoder_does_not_know(space: UnifiedSpace, caplog: pytest.LogCaptureFixture) -> None:
    assert space.unknown_words("a gren zebra, green zebra") == ("gren", "zebra")
    with caplog.at_level(logging.WARNING):
        found = query_vector(space, Query("gren round"))
    assert np.allclose(found, query_vector(space, Query("round")), atol=1e-6)
    assert [record.message for record in caplog.records] == [
        "Words that the text encoder does not know count for nothing: 'gren'. Did you mean 'green'?"
    ]
    with pytest.raises(ConfigError, match=r"'gren' says nothing .* learned 5 words .*: 'gren'\. Did you mean 'green'"):
        query_vector(space, Query("gren"))
    with pytest.raises(ConfigError, match="as `without`"):
        query_vector(space, Query("green", without="zebra"))
    with pytest.raises(ConfigError, match="says nothing"):
        query_vector(space, Query("a !"))


def test_queries_that_ask_for_nothing(space: UnifiedSpace, picture: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`text`, an `image` or both"):
        query_vector(space, Query(without="green"))
    with pytest.raises(ConfigError, match="`text` of the search is blank"):
        query_vector(space, Query(" "))
    with pytest.raises(ConfigError, match="Nothing is left"):
        query_vector(space, Query("green", without="green"))
    with pytest.raises(ConfigError, match="one `image`, but 2"):
        query_vector(space, Query(image=[picture, picture]))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="does not exist"):
        query_vector(space, Query(image=tmp_path / "none.jpg"))


def test_a_query_in_words() -> None:
    assert Query("green").describe() == "the text 'green'"
    assert Query("green", np.zeros((2, 2), np.uint8)).describe() == "the text 'green' and an image"
    assert Query(image="p/a.jpg", without="red").describe() == "the image a.jpg, without 'red'"
