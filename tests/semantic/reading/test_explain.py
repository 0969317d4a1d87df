"""The read-out of a run: ingredients that are in a picture are asked for, and taking one out takes its class out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import marnet
from marnet.errors import ConfigError
from marnet.outputs import RECONSTRUCTION, VISUAL
from marnet.semantic.reading.explain import ClassScores, Explainer, move_semantics
from marnet.semantic.reading.training_texts import TrainingTexts

INGREDIENTS = {"basil", "blueberry", "tomato"}


@pytest.fixture(scope="module")
def explainer(salad_run: Path) -> Explainer:
    return Explainer(marnet.Predictor(salad_run, device="cpu", with_text=True))


def rows_with_text(explainer: Explainer) -> list[tuple[str, str]]:
    return [(row.image, row.text) for row in explainer.predictor.manifest().split("val") if row.text]


def shuffled_auc(texts: TrainingTexts, places: torch.Tensor, own: list[str]) -> float:
    """The mean over shifts, each of which gives every image the text of another one."""
    return float(np.mean([texts.own_words_auc(places.roll(shift, 0), own) for shift in range(1, len(own))]))


def test_images_ask_for_what_is_in_them_and_shuffling_destroys_it(explainer: Explainer) -> None:
    images, texts = zip(*rows_with_text(explainer), strict=True)
    places = explainer.space.images(list(images))
    assert explainer.texts.own_words_auc(places, texts) > 0.9
    assert shuffled_auc(explainer.texts, places, list(texts)) < 0.65
    hits = [
        set(text.split()) & INGREDIENTS == {each.words[0].word}
        for image, text in zip(images, texts, strict=True)
        if len(set(text.split()) & INGREDIENTS) == 1 and (each := explainer.explain(image)).words
    ]
    assert len(hits) >= 4
    assert np.mean(hits) > 0.7


def test_an_explanation_holds_what_the_model_computes(explainer: Explainer) -> None:
    image, _ = rows_with_text(explainer)[1]
    predictor = explainer.predictor
    found = explainer.explain(image, top=2)
    assert (found.image, found.branch, found.change) == (image, RECONSTRUCTION, None)
    probabilities = dict(zip(predictor.classes, predictor.predict_proba(image).tolist(), strict=True))
    with torch.inference_mode():
        output = predictor.model.prediction_outputs(predictor.transform(image)[None])
    for each in found.classes:
        column = predictor.classes.index(each.label)
        assert each.fused == pytest.approx(probabilities[each.label], abs=1e-5)
        assert each.semantic == pytest.approx(
            float(output.branch_logits[RECONSTRUCTION][0, column].sigmoid()), abs=1e-5
        )
        assert each.basic == pytest.approx(float(output.branch_logits[VISUAL][0, column].sigmoid()), abs=1e-5)
    assert [each.label for each in found.classes[:2]] == sorted(probabilities, key=lambda name: -probabilities[name])[
        :2
    ]
    (place,) = explainer.space.images(image)
    assert found.near_texts == explainer.texts.nearest(place, 2)
    assert found.words == explainer.texts.rank_words(place, 2)
    middle = explainer.texts.class_place(found.classes[0].label)
    assert middle is not None
    assert found.class_words == explainer.texts.rank_words(middle, 2)


def test_the_first_choice_of_every_branch_is_shown(explainer: Explainer) -> None:
    for image, _ in rows_with_text(explainer):
        everything = explainer.explain(image, top=3).classes
        shown = {each.label for each in explainer.explain(image, top=1).classes}
        firsts = {max(everything, key=lambda each: getattr(each, kind)).label for kind in ClassScores._fields[1:]}
        assert shown == firsts


def test_taking_an_ingredient_out_takes_its_class_out_and_putting_one_in_brings_it(explainer: Explainer) -> None:
    changes = 0
    for image, text in rows_with_text(explainer):
        inside = set(text.split()) & INGREDIENTS
        for name in INGREDIENTS:
            given = {"without": name} if name in inside else {"with_": [name]}
            change = explainer.explain(image, **given).change  # type: ignore[arg-type]
            assert change is not None
            before, after = next(each.semantic for each in change.classes if each.label == name)
            changes += (after < before) if name in inside else (after > before)
            assert (change.removed, change.added) == (((name,), ()) if name in inside else ((), (name,)))
    assert changes / (3 * len(rows_with_text(explainer))) > 0.9


def test_the_largest_change_comes_first_and_the_cosines_are_those_before(explainer: Explainer) -> None:
    image, _ = rows_with_text(explainer)[2]
    change = explainer.explain(image, without=["basil", "tomato"], with_="blueberry").change
    assert change is not None
    (place,) = explainer.space.images(image)
    assert change.cosines == pytest.approx(
        (explainer.space.texts(["basil", "tomato", "blueberry"]) @ place).tolist(), abs=1e-5
    )
    sizes = [max(abs(a - b) for a, b in (each.fused, each.semantic)) for each in change.classes]
    assert sizes == sorted(sizes, reverse=True)


def test_what_moves_semantics() -> None:
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    a, b = functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)), dim=-1).split(1)
    none = a[:0]
    gone = move_semantics(x, without=a, with_=none)
    assert torch.allclose((gone @ a[0]).clamp(min=0), torch.zeros(5), atol=1e-6)
    against = (x @ a[0]) <= 0
    assert against.any()
    assert torch.equal(gone[against], x[against])
    assert torch.allclose((gone - x) @ (b[0] - (b[0] @ a[0]) * a[0]), torch.zeros(5), atol=1e-5)  # no other direction
    there = move_semantics(x, without=none, with_=b)
    assert torch.allclose(there.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    equal = functional.normalize(x, dim=-1) * functional.normalize(there, dim=-1)
    assert torch.allclose(equal.sum(-1), functional.normalize(there, dim=-1) @ b[0], atol=1e-5)
    assert torch.equal(move_semantics(x, without=none, with_=none), x)


def test_a_class_against_its_nearest_neighbour(explainer: Explainer) -> None:
    found = explainer.explain_class("tomato")
    texts = explainer.texts
    assert found.texts == len([text for text in texts.texts if "tomato" in text])
    places = {name: texts.class_place(name) for name in INGREDIENTS}
    own = places.pop("tomato")
    cosines = {name: float(own @ place) for name, place in places.items() if own is not None and place is not None}
    assert [each.label for each in found.neighbours] == sorted(cosines, key=lambda name: -cosines[name])
    assert found.neighbours[0].cosine == pytest.approx(max(cosines.values()))
    assert found.words[0].word == "tomato"
    assert found.more[0].word == "tomato"
    assert found.less[0].word == found.neighbours[0].label


def test_predictions_are_those_of_before(salad_run: Path, explainer: Explainer) -> None:
    images = [image for image, _ in rows_with_text(explainer)]
    before = marnet.load(salad_run, device="cpu").predict_proba(images)
    for image in images[:3]:
        explainer.explain(image, without="basil", with_="tomato")
    assert np.array_equal(explainer.predictor.predict_proba(images), before)
    model = explainer.predictor.model
    with torch.inference_mode():
        output = model.prediction_outputs(explainer.predictor.transform(images[0])[None])
        assert torch.equal(model.predict_from(output.features).logits, output.logits)


def test_the_space_of_the_alignment_serves_as_well(manifest_file: Path, tmp_path: Path) -> None:
    run = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method="match",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 2, "devices": "cpu"}},
    )
    found = Explainer(marnet.Predictor(run.path, device="cpu", with_text=True)).explain(
        manifest_file.parent / "lime-0.png", with_="red"
    )
    assert found.branch == "alignment"
    assert found.change is not None


def test_a_class_that_was_added_has_its_description_and_a_fused_probability(
    trained_run: Path, manifest_file: Path, tmp_path: Path
) -> None:
    image = manifest_file.parent / "eel-0.png"
    run = marnet.add_classes(trained_run, [marnet.NewClass("snake", "green, long", [image])], tmp_path / "run")
    explainer = Explainer(marnet.Predictor(run, device="cpu", with_text=True))
    found = explainer.explain(image, top=4, with_="green")
    snake = next(each for each in found.classes if each.label == "snake")
    columns = explainer.predictor.predict_proba(image)
    assert snake.fused == pytest.approx(float(columns[explainer.predictor.classes.index("snake")]), abs=1e-6)
    assert (snake.semantic, snake.basic) == (None, None)
    assert all(each.semantic is not None and each.basic is not None for each in found.classes if each.label != "snake")
    assert ("green, long", ("snake",)) in [each[:2] for each in found.near_texts]
    assert found.change is not None
    assert next(each.semantic for each in found.change.classes if each.label == "snake") is None
    assert explainer.explain_class("snake").texts == 1


def test_mistakes_are_refused(explainer: Explainer, salad_run: Path, tmp_path: Path) -> None:
    image, _ = rows_with_text(explainer)[0]
    with pytest.raises(ConfigError, match=r"'basill' says nothing to the text encoder.*Did you mean 'basil'"):
        explainer.explain(image, without="basill")
    with pytest.raises(ConfigError, match="blank"):
        explainer.explain(image, with_=" ")
    with pytest.raises(ConfigError, match=r"has no class 'tomatoe'.*Did you mean 'tomato'"):
        explainer.explain_class("tomatoe")
    for call in (lambda: explainer.explain(image, top=0), lambda: explainer.explain_class("tomato", top=0)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            call()
    run = shutil.copytree(salad_run, tmp_path / "run")
    rows = run / "manifest.jsonl"
    lines = [line for line in rows.read_text().splitlines(keepends=True) if "tomato" not in line or "classes" in line]
    rows.write_text("".join(lines))
    without_texts = Explainer(marnet.Predictor(run, device="cpu", with_text=True))
    with pytest.raises(ConfigError, match=r"no training text of the class 'tomato'.*2 of its 3 classes"):
        without_texts.explain_class("tomato")


@pytest.mark.slow
def test_drawn_dishes_ask_for_their_ingredients(tmp_path: Path) -> None:
    """The texts also name what is hidden, and say things that cannot be seen."""
    run = marnet.train(
        "synthetic:images=30,val_images=10,test_images=0",
        out=tmp_path / "run",
        backbone="timm:resnet10t",
        settings={"data.image_size": 48, "training": {"epochs": 10, "batch_size": 24, "lr": 3e-3, "devices": "cpu"}},
    )
    explainer = Explainer(marnet.Predictor(run.path, device="cpu", with_text=True))
    images, texts = zip(*rows_with_text(explainer), strict=True)
    places = explainer.space.images(list(images))
    auc = explainer.texts.own_words_auc(places, texts)
    others = [explainer.texts.own_words_auc(places.roll(shift, 0), texts) for shift in range(20, len(texts) - 10, 20)]
    assert auc > 0.65
    assert auc > np.mean(others) + 0.1
