"""The training texts of a run: distances and words against slow computations by hand, from the rows alone."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import marnet
from marnet.data.manifest import Manifest, Record
from marnet.encoders.words import split_words
from marnet.errors import DataError
from marnet.runs.new_classes import AddedClass
from marnet.semantic.reading.training_texts import NearText, TrainingTexts, WordScore
from marnet.semantic.space import UnifiedSpace

TEXTS = ["red apple", "green apple", "green pear", "blue plum", "red plum", "spring onion, red"]


def place_texts(texts: list[str]) -> Tensor:
    """Random unit vectors that depend on the text alone."""
    seeds = [sum(text.encode()) for text in texts]
    rows = [torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return functional.normalize(torch.stack(rows), dim=-1)


def known_texts(
    rows: list[tuple[str, str]], *, encoder: str = "bow", form: str = "single", added: tuple[AddedClass, ...] = ()
) -> TrainingTexts:
    """The texts of rows of text and label, in a space of random vectors."""
    records = tuple(Record(f"{number}.png", text, label, "train") for number, (text, label) in enumerate(rows))
    records += (Record("held-out.png", "held out apple", "a", "val"),)
    manifest = Manifest(records, ("a", "b"), "rows", label_form=form)  # type: ignore[arg-type]
    config = SimpleNamespace(text=SimpleNamespace(name=encoder))
    space: Any = SimpleNamespace(
        predictor=SimpleNamespace(manifest=lambda: manifest, config=config, added=added),
        texts=lambda texts: place_texts(list(texts)),
    )
    return TrainingTexts(space)


@pytest.fixture
def known() -> TrainingTexts:
    return known_texts([(text, "ab"[number % 2]) for number, text in enumerate(TEXTS)])


def test_different_texts_of_the_training_rows_count_once_with_all_their_classes() -> None:
    known = known_texts([("red", "a"), ("red", "b"), (" ", "a"), ("blue", "b"), ("red", "a")])
    assert known.texts == ("red", "blue")
    assert known.classes == (("a", "b"), ("b",))
    assert known.of_class("b") == [0, 1]
    added = (AddedClass("new", "blue", 0), AddedClass("seen", None, 3), AddedClass("other", "green", 0))
    assert known_texts([("red", "a"), ("blue", "b")], added=added).classes == (("a",), ("b", "new"), ("other",))
    several = known_texts([("red", "a,b"), ("blue", "")], form="multi")
    assert several.classes == (("a", "b"), ())


def test_words_are_those_that_not_all_texts_have(known: TrainingTexts) -> None:
    assert known.words == ("apple", "blue", "green", "onion", "pear", "plum", "red", "spring")
    tags = known_texts([("spring onion, egg", "a"), ("Spring  onion, rice", "a"), ("rice", "b")], encoder="tags")
    assert tags.words == ("egg", "rice", "spring onion")
    assert known_texts([("a salad", "a"), ("green salad", "b")]).words == ("green",)


def test_the_nearest_texts_come_first(known: TrainingTexts) -> None:
    place = known.vectors[3]
    cosines = {text: float(place_texts([text])[0] @ place) for text in TEXTS}
    expected = sorted(TEXTS, key=lambda text: -cosines[text])[:3]
    found = known.nearest(place, 3)
    assert [each.text for each in found] == expected
    assert found[0] == NearText("blue plum", ("b",), pytest.approx(1.0))
    assert [each.cosine for each in found] == pytest.approx([cosines[text] for text in expected])
    assert len(known.nearest(place, 99)) == len(TEXTS)


def test_scores_of_words_are_correlations_over_the_texts(known: TrainingTexts) -> None:
    places = functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(7)), dim=-1)
    scores = known.correlations(places)
    for row, place in enumerate(places):
        cosines = [float(vector @ place) for vector in place_texts(TEXTS)]
        for column, word in enumerate(known.words):
            has = [word in split_words(text) for text in TEXTS]
            assert scores[row, column] == pytest.approx(np.corrcoef(cosines, has)[0, 1], abs=1e-5)
    assert np.allclose(scores, known.correlations(10 * places))


def test_words_of_several_texts_are_ranked_and_those_not_asked_for_left_out(known: TrainingTexts) -> None:
    (found_scores,) = known.correlations(known.vectors[:1])
    scores = dict(zip(known.words, found_scores.tolist(), strict=True))
    shared = ("apple", "green", "plum", "red")
    expected = sorted((word for word in shared if scores[word] > 0), key=lambda word: -scores[word])
    assert 0 < len(expected) < len(shared)
    found = known.rank_words(known.vectors[0], 9)
    assert [each.word for each in found] == expected
    assert found[0] == WordScore(
        expected[0], pytest.approx(scores[expected[0]]), sum(expected[0] in text for text in TEXTS)
    )
    assert len(known.rank_words(known.vectors[0], 1)) == 1
    assert [each.word for each in known.rank_words(known.vectors[2], 9, among=[2])] == ["green"]
    assert known.rank_words(torch.zeros(4), 9) == ()


def test_the_middle_of_a_class(known: TrainingTexts) -> None:
    mean = torch.stack([vector for number, vector in enumerate(place_texts(TEXTS)) if number % 2 == 0]).mean(0)
    place = known.class_place("a")
    assert place is not None
    assert torch.allclose(place, mean / mean.norm())
    assert known.class_place("no such class") is None


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(known: TrainingTexts) -> None:
    places, texts = known.vectors[:2], ["a red plum", "nothing known"]
    scores = dict(zip(known.words, known.correlations(places)[0], strict=True))
    pairs = [(own, other) for own in ("red", "plum") for other in set(known.words) - {"red", "plum"}]
    expected = np.mean([(scores[own] > scores[other]) + 0.5 * (scores[own] == scores[other]) for own, other in pairs])
    assert known.own_words_auc(places, texts) == pytest.approx(expected)
    with pytest.raises(DataError, match="None of the 1 texts has a word"):
        known.own_words_auc(places[:1], ["nothing known"])


def test_the_rows_are_enough_and_the_images_may_be_gone(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    rows = run / "manifest.jsonl"
    rows.write_text(rows.read_text().replace('"image": "', '"image": "/gone'))
    before, after = (
        TrainingTexts(UnifiedSpace(marnet.Predictor(each, device="cpu", with_text=True))) for each in (trained_run, run)
    )
    assert before.texts == after.texts
    assert set(after.texts) == {"red, round", "green, round", "blue, long"}
    assert torch.equal(before.vectors, after.vectors)


def test_rows_without_a_text_and_lost_rows_are_refused(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    rows = run / "manifest.jsonl"
    for text in ("red, round", "green, round", "blue, long"):
        rows.write_text(rows.read_text().replace(f'"text": "{text}"', '"text": ""'))
    with pytest.raises(DataError, match="no training row with a text"):
        TrainingTexts(UnifiedSpace(marnet.Predictor(run, device="cpu", with_text=True)))
    rows.unlink()
    with pytest.raises(DataError, match=r"manifest\.jsonl does not exist"):
        TrainingTexts(UnifiedSpace(marnet.Predictor(run, device="cpu", with_text=True)))
