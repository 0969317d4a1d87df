import csv
import dataclasses
import re
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from marnet.data.synthetic import source as synthetic
from marnet.data.synthetic.brush import TURNS, VARIANTS, sprite
from marnet.data.synthetic.ingredients import PIECES
from marnet.data.synthetic.nuisances import PROPS, expose, light
from marnet.data.synthetic.recipes import (
    BASES,
    GARNISHES,
    HARD_TO_SEE,
    KEY_INGREDIENTS,
    MAX_CLASSES,
    Portion,
    Recipe,
    describe,
    dish_classes,
    draw_recipe,
)
from marnet.data.synthetic.serving import lay_table, serve
from marnet.data.synthetic.source import SyntheticOptions, draw_sample, generate, parse_options, synthetic_manifest
from marnet.errors import DataError

SMALL = SyntheticOptions(classes=3, images=2, val_images=1, test_images=1, size=32)
KEYS = frozenset(("egg", "garlic", "peas", "tomato"))


def read_rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names_in(text: str) -> frozenset[str]:
    """Key ingredients that the words of a text name."""
    return frozenset(
        name
        for name, wordings in KEY_INGREDIENTS.items()
        if any(re.search(rf"\b{wording}\b", text, re.IGNORECASE) for wording in wordings)
    )


def test_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = generate(SMALL, tmp_path / "a").parent, generate(SMALL, tmp_path / "b").parent
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 3 * 4 + 1
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_another_seed_gives_other_dishes(tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, seed=1)
    texts = [
        {row["text"] for row in read_rows(generate(options, tmp_path / str(options.seed)))}
        for options in (SMALL, other)
    ]
    assert not texts[0] & texts[1]
    assert set(dish_classes(3, 0).values()) != set(dish_classes(3, 1).values())


@pytest.mark.parametrize("dial", ["viewpoint", "lighting", "clutter", "noise"])
def test_a_dial_changes_pixels_but_neither_recipe_nor_text(dial: str) -> None:
    off = SyntheticOptions(viewpoint=0, lighting=0, clutter=0, noise=0, size=48)
    distances: dict[float, list[float]] = {1.0: [], 3.0: []}
    for index in range(12):
        plain = draw_sample(off, "dish", KEYS, "test", index)
        for strength, found in distances.items():
            harder = draw_sample(dataclasses.replace(off, **{dial: strength}), "dish", KEYS, "test", index)
            assert (harder.text, harder.recipe) == (plain.text, plain.recipe)
            found.append(float(np.abs(np.asarray(plain.image, float) - np.asarray(harder.image, float)).mean()))
    assert min(distances[3.0]) > 0
    assert np.mean(distances[3.0]) > 1.5 * np.mean(distances[1.0]) > 0


def test_a_dial_at_zero_is_off() -> None:
    pixels = np.random.default_rng(0).random((24, 24, 3), dtype=np.float32)
    np.testing.assert_allclose(light(pixels, 0, Random(0)), pixels, rtol=1e-6)
    np.testing.assert_array_equal(expose(pixels, 0, Random(0)), pixels)


def test_counts_and_size_do_not_change_the_dishes_they_share(tmp_path: Path) -> None:
    more = dataclasses.replace(SMALL, classes=5, images=3, size=40)
    few = {row["image"]: (row["text"], row["label"]) for row in read_rows(generate(SMALL, tmp_path / "few"))}
    many = {row["image"]: (row["text"], row["label"]) for row in read_rows(generate(more, tmp_path / "many"))}
    assert few.items() < many.items()


def test_classes_are_distinct_combinations_that_come_in_families() -> None:
    combinations = list(dish_classes(60, 0).values())
    assert len(set(combinations)) == 60
    assert {len(keys) for keys in combinations} == {4}
    for index, keys in enumerate(combinations):
        eldest = combinations[index - index % 3]
        if index % 3:
            assert len(keys & eldest) == 3
        if index % 3 == 1:
            assert keys - eldest <= set(HARD_TO_SEE)
    assert len(dish_classes(MAX_CLASSES, 0)) == MAX_CLASSES


def test_no_wording_names_two_ingredients() -> None:
    owners = [
        (name, wording) for table in (KEY_INGREDIENTS, GARNISHES, BASES) for name in table for wording in table[name]
    ]
    for name, wording in owners:
        for other, longer in owners:
            assert name == other or not re.search(rf"\b{wording}\b", longer), (wording, longer)


def test_the_key_ingredients_in_a_text_decide_the_class_and_the_text_never_names_it() -> None:
    classes = dish_classes(120, 3)
    by_keys = {keys: label for label, keys in classes.items()}
    names = re.compile("|".join(classes), re.IGNORECASE)
    for label, keys in classes.items():
        for index in range(5):
            rng = Random(f"{label} {index}")
            text = describe(draw_recipe(keys, rng), rng)
            assert by_keys[names_in(text)] == label, text
            assert not names.search(text), text


def test_texts_differ_within_a_class_and_name_base_and_garnishes() -> None:
    rng = Random(0)
    recipes = [draw_recipe(KEYS, rng) for _ in range(60)]
    texts = [describe(recipe, rng) for recipe in recipes]
    assert len(set(texts)) == 60
    assert len({recipe.base for recipe in recipes}) == len(BASES)
    assert any("hidden garlic" in text for text in texts)
    for recipe, text in zip(recipes, texts, strict=True):
        for name in (recipe.base, *(portion.ingredient for portion in recipe.portions)):
            wordings = (KEY_INGREDIENTS | GARNISHES | BASES)[name]
            assert any(wording in text.lower() for wording in wordings), (name, text)


def test_a_linear_classifier_on_the_texts_finds_the_class() -> None:
    data: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    for label, keys in dish_classes(24, 0).items():
        for split, count in (("train", 30), ("val", 10)):
            for index in range(count):
                rng = Random(f"{split} {label} {index}")
                data[split].append((describe(draw_recipe(keys, rng), rng), label))
    vectorizer = TfidfVectorizer()
    texts, labels = zip(*data["train"], strict=True)
    classifier = LogisticRegression(C=10, max_iter=300).fit(vectorizer.fit_transform(texts), labels)
    texts, labels = zip(*data["val"], strict=True)
    assert classifier.score(vectorizer.transform(texts), labels) > 0.85  # chance is 1 / 24


@pytest.mark.parametrize("ingredient", sorted(KEY_INGREDIENTS | GARNISHES))
def test_every_ingredient_shows_in_the_picture(ingredient: str) -> None:
    def trace(hidden: bool) -> int:
        """Pixels that differ from the bare base, over ten dishes of rice."""
        count = 0
        for seed in range(10):
            pictures = []
            for portions in ((), (Portion(ingredient, 1, hidden),)):
                rng = Random(seed)
                canvas = lay_table(rng, 96)
                serve(canvas, Recipe("bowl", "rice", portions), rng, 96)
                pictures.append(np.asarray(canvas, dtype=float))
            count += int((np.abs(pictures[0] - pictures[1]).max(axis=2) > 20).sum())
        return count

    assert trace(hidden=False) > 1.2 * trace(hidden=True) > 0


def test_every_ingredient_of_a_recipe_can_be_drawn() -> None:
    assert set(PIECES) == set(KEY_INGREDIENTS) | set(GARNISHES)


@pytest.mark.parametrize("prop", sorted(PROPS))
def test_props_are_drawn_in_every_variant(prop: str) -> None:
    for variant in range(VARIANTS):
        alpha = np.asarray(sprite(PROPS[prop], variant, variant % TURNS, 48).getchannel("A"))
        assert 0.01 < (alpha > 200).mean() < 1


def test_the_manifest_has_the_counts_and_sizes_asked_for(tmp_path: Path) -> None:
    manifest = synthetic_manifest(parse_options("classes=4,images=3,val_images=2,test_images=1,size=40"), tmp_path)
    assert manifest.splits() == {"train": 12, "val": 8, "test": 4}
    assert set(manifest.classes) == set(dish_classes(4, 0))
    assert set(Counter((record.label, record.split) for record in manifest.records).values()) == {3, 2, 1}
    assert manifest.source == "synthetic:classes=4,images=3,val_images=2,test_images=1,size=40"
    assert parse_options(manifest.source.partition(":")[2]).size == 40
    assert manifest.notes == ()
    for record in manifest.records:
        with Image.open(record.image) as image:
            assert (image.size, image.mode) == ((40, 40), "RGB")
    assert {path.name for path in (tmp_path / "synthetic").iterdir()} == {Path(manifest.records[0].image).parts[-4]}


def test_a_data_set_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthetic_manifest(SMALL, tmp_path)
    monkeypatch.setattr(synthetic, "draw_sample", None)  # drawing again would fail
    assert synthetic_manifest(dataclasses.replace(SMALL, noise=1), tmp_path) == first
    monkeypatch.undo()
    harder = synthetic_manifest(dataclasses.replace(SMALL, noise=2), tmp_path)
    assert harder.records[0].image != first.records[0].image
    assert [record[1:] for record in harder.records] == [record[1:] for record in first.records]
    monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
    assert synthetic_manifest(SMALL, tmp_path).records[0].image != first.records[0].image


def test_a_drawing_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stop_at_third(*arguments: object) -> synthetic.Sample:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw_sample(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "draw_sample", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        synthetic_manifest(SMALL, tmp_path)
    assert list((tmp_path / "synthetic").iterdir()) == []
    monkeypatch.undo()
    assert synthetic_manifest(SMALL, tmp_path).splits() == {"train": 6, "val": 3, "test": 3}


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "synthetic").write_text("a file in the way")
    with pytest.raises(DataError, match=r"the images cannot be written to .*synthetic.* MARNET_CACHE to a folder"):
        synthetic_manifest(SMALL, tmp_path)


def test_only_test_dishes_can_be_drawn_again_under_harder_conditions(tmp_path: Path) -> None:
    harder = synthetic_manifest(
        parse_options("classes=2,images=0,val_images=0,test_images=2,size=32,viewpoint=3"), tmp_path
    )
    assert harder.splits() == {"test": 4}


def test_parse_options_reads_numbers_and_defaults() -> None:
    assert parse_options("") == SyntheticOptions()
    assert parse_options(" classes=12, viewpoint=2.5 ,seed=1") == SyntheticOptions(classes=12, viewpoint=2.5, seed=1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "view_point=2",
            "synthetic: unknown key 'view_point'. Did you mean 'viewpoint'? Known keys: classes, images, val_images, "
            "test_images, size, seed, viewpoint, lighting, clutter, noise.",
        ),
        ("classes", "synthetic: 'classes' is not of the form key=value, such as classes=12."),
        ("seed=1,seed=2", "synthetic: seed is given twice; keep one of them."),
        ("images=2.5", "synthetic: images='2.5' is not a whole number, such as 10."),
        ("noise=much", "synthetic: noise='much' is not a number, such as 1.5."),
        ("noise=nan", "synthetic: noise='nan' is not a number, such as 1.5."),
        ("classes=1", "synthetic: classes=1, but it must be a whole number from 2 to 400."),
        ("size=4", "synthetic: size=4, but it must be a whole number from 16 to 512."),
        ("images=-1", "synthetic: images=-1, but it must be a whole number from 0 to 100000."),
        ("clutter=9", "synthetic: clutter=9.0, but it must be a number from 0 to 4."),
        (
            "images=0,val_images=0,test_images=0",
            "synthetic: images, val_images and test_images are all 0. There must be at least one image per class.",
        ),
    ],
)
def test_a_wrong_option_is_explained(text: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_options(text)
    assert sentence in str(caught.value)
