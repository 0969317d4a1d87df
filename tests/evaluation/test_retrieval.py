"""Retrieval of a run: what is counted, what is left out, and a baseline whose chance is known."""

import dataclasses
import json
from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pytest

import marnet
from marnet.errors import ConfigError, DataError
from marnet.evaluation.retrieval import evaluate_retrieval
from marnet.semantic.space import UnifiedSpace, open_space

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def space(trained_run: Path) -> UnifiedSpace:
    return open_space(trained_run, device="cpu")


def test_equal_texts_are_one_and_rows_without_are_left_out(space: UnifiedSpace) -> None:
    found = evaluate_retrieval(space)
    assert (found.images, found.texts, found.without_text, found.silent_texts, found.skipped) == (15, 3, 3, 0, 0)
    rows = [row for row in space.predictor.manifest().split("val") if row.text]
    texts = list(dict.fromkeys(row.text for row in rows))
    similar = (space.images([row.image for row in rows]) @ space.texts(texts).T).numpy()
    own = np.array([texts.index(row.text) for row in rows])
    ranks = 1 + (similar > similar[np.arange(15), own][:, None]).sum(1)
    one_way, other_way = found.space
    assert one_way.recall_at_1 == pytest.approx((ranks == 1).mean())
    assert one_way.mean_rank == pytest.approx(ranks.mean())
    firsts = np.array([1 + (similar[own != text, text] > similar[own == text, text].max()).sum() for text in range(3)])
    assert other_way.recall_at_5 == pytest.approx((firsts <= 5).mean())
    assert other_way.mean_rank == pytest.approx(firsts.mean())
    assert (other_way.queries, other_way.candidates) == (3, 15)


def test_class_names_that_no_text_holds_find_nothing_but_by_chance(space: UnifiedSpace) -> None:
    one_way, other_way = evaluate_retrieval(space).class_names
    assert one_way.recall_at_1 == pytest.approx(1 / 3)
    assert one_way.mean_rank == pytest.approx(2)
    assert other_way.recall_at_1 == pytest.approx(5 / 15)
    assert other_way.recall_at_5 == pytest.approx(1 - comb(10, 5) / comb(15, 5))


def test_class_names_that_the_texts_hold_find_what_was_predicted_right(
    space: UnifiedSpace, manifest_file: Path
) -> None:
    own = space.predictor.manifest().split("val")
    rows = [(row.image, f"one {row.label}, number {number}", row.label, "val") for number, row in enumerate(own)]
    found = evaluate_retrieval(space, rows)
    top1 = marnet.evaluate(space.predictor, rows).top1  # type: ignore[union-attr]
    assert found.texts == 18
    assert found.class_names.image_to_text.recall_at_1 == pytest.approx(top1 / 6)  # six texts of a class tie
    assert found.silent_texts == 18


def test_rows_of_one_image_are_one_image(space: UnifiedSpace) -> None:
    own = space.predictor.manifest().split("val")
    rows = [(row.image, text, row.label, "val") for row in own for text in ("red, round", "green", "blue", "")]
    found = evaluate_retrieval(space, rows)
    assert (found.images, found.texts, found.without_text) == (18, 3, 18)
    assert found.space.image_to_text.mean_rank == found.space.text_to_image.recall_at_1 == 1  # all is relevant


def test_several_classes_are_all_named(salad_run: Path) -> None:
    space = open_space(salad_run, device="cpu")
    own = space.predictor.manifest().split("val")
    predicted = space.predictor.predict([row.image for row in own])
    rows = [row._replace(text=" ".join(sorted(each.labels))) for row, each in zip(own, predicted, strict=True)]
    found = evaluate_retrieval(space, dataclasses.replace(space.predictor.manifest(), records=tuple(rows)))
    assert found.texts > 3
    assert found.without_text == sum(not each.labels for each in predicted)
    assert found.class_names.image_to_text.recall_at_1 == found.class_names.text_to_image.recall_at_1 == 1


def test_rows_that_tell_nothing_are_refused(space: UnifiedSpace) -> None:
    own = space.predictor.manifest().split("val")
    with pytest.raises(DataError, match=r"from 1 different texts in the 18 rows of split 'val'"):
        evaluate_retrieval(space, [row._replace(text="red") for row in own])


def test_from_the_command_line(trained_run: Path, call: Call) -> None:
    code, out, err = call("evaluate", trained_run, "--retrieval", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["n"] == 18
    assert content["retrieval"]["without_text"] == 3
    assert content["retrieval"]["class_names"]["image_to_text"]["recall_at_1"] == pytest.approx(1 / 3)
    assert set(content["retrieval"]["space"]) == {"image_to_text", "text_to_image"}
    code, out, err = call("evaluate", trained_run, "--retrieval")
    assert code == 0, err
    assert "15 images, 3 different texts: recall in %" in out
    assert "3 rows have no text and were left out." in out
    lines = [line for line in out.splitlines() if "by class names" in line]
    assert ["33.3" in line for line in lines] == [True, True]


def test_mistakes_on_the_command_line(trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call) -> None:
    code, _, err = call("evaluate", trained_run, "--features", tmp_path, "--corruptions")
    assert code == 1
    assert "Leave it out, or --corruptions." in err
    code, _, err = call("evaluate", trained_run, "--features", tmp_path)
    assert code == 1
    assert "has no features.safetensors" in err
    run = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu"}},
    )
    code, out, err = call("evaluate", run.path, "--retrieval")
    assert (code, out) == (1, "")
    assert "no space that images and texts share" in err
    with pytest.raises(ConfigError):
        evaluate_retrieval(run.path)
