"""Ingredient-101: a miniature of the published layout, and what real copies get wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.data.sources import load_source
from marnet.data.trainable import check_trainable
from marnet.errors import DataError


@pytest.fixture
def food(tmp_path: Path) -> Path:
    """Three classes; CRLF, blank lines at the end, a leading slash and an extension where there should be none."""
    root = tmp_path / "food"
    notes = root / "Annotations"
    notes.mkdir(parents=True)
    (notes / "classes.txt").write_bytes(b"apple_pie\r\nramen\r\nbibimbap\r\n\r\n")
    (notes / "ingredients_simplified.txt").write_bytes(b"apple,flour, butter\r\nnoodle,egg,,egg\r\nrice\r\n")
    (notes / "ingredients.txt").write_text("sliced  apples,white flour\nnoodles\nrice,kimchi\n\n")
    (notes / "train_images.txt").write_text("apple_pie/1\nramen/2\nbibimbap/3\n")
    (notes / "train_labels.txt").write_text("0\n1\n2\n")
    (notes / "val_images.txt").write_bytes(b"/apple_pie/4\r\nramen/5.jpg\r\n\r\n")
    (notes / "val_labels.txt").write_bytes(b"0\r\n1\r\n")
    (notes / "test_images.txt").write_text("bibimbap/6")
    (notes / "test_labels.txt").write_text("2")
    for name in ("apple_pie/1", "apple_pie/4", "ramen/2", "ramen/5", "bibimbap/3", "bibimbap/6"):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / f"{name}.jpg").touch()
    return root


def test_a_miniature(food: Path) -> None:
    manifest = load_source(f"ingredient-101:{food}")
    assert [tuple(record)[:4] for record in manifest.records] == [
        (f"{food}/images/apple_pie/1.jpg", "apple, flour, butter", "apple_pie", "train"),
        (f"{food}/images/ramen/2.jpg", "noodle, egg", "ramen", "train"),
        (f"{food}/images/bibimbap/3.jpg", "rice", "bibimbap", "train"),
        (f"{food}/images/apple_pie/4.jpg", "apple, flour, butter", "apple_pie", "val"),
        (f"{food}/images/ramen/5.jpg", "noodle, egg", "ramen", "val"),
        (f"{food}/images/bibimbap/6.jpg", "rice", "bibimbap", "test"),
    ]
    assert manifest.classes == ("apple_pie", "ramen", "bibimbap")
    assert manifest.source == f"ingredient-101:{food}"
    assert manifest.notes == ()
    check_trainable(manifest)


def test_the_raw_ingredients_can_be_had(food: Path) -> None:
    manifest = load_source(f"ingredient-101:{food},ingredients=raw")
    assert manifest.records[0].text == "sliced apples, white flour"
    assert manifest.source == f"ingredient-101:{food},ingredients=raw"
    assert load_source(f"ingredient-101:{food},ingredients=simplified").records[0].text == "apple, flour, butter"


@pytest.mark.parametrize(
    "annotations", ["annotations", "Ingredients101/Annotations", "ingredients-101/annotations", "."]
)
@pytest.mark.parametrize("images", ["images", "food-101/images", "food-101/food-101/images"])
def test_both_halves_are_found_where_copies_put_them(food: Path, annotations: str, images: str, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    (root / images).parent.mkdir(parents=True)
    (food / "images").rename(root / images)
    if annotations == ".":
        for file in (food / "Annotations").iterdir():
            file.rename(root / file.name)
    else:
        (root / annotations).parent.mkdir(parents=True, exist_ok=True)
        (food / "Annotations").rename(root / annotations)
    manifest = load_source(f"ingredient-101:{root}")
    assert all(Path(record.image).is_file() for record in manifest.records)
    assert manifest.splits() == {"train": 3, "val": 2, "test": 1}


def test_the_images_can_lie_elsewhere(food: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a, b=c"
    (food / "images").rename(elsewhere)
    with pytest.raises(
        DataError,
        match=re.escape(
            f"{food} has no folder 'images' with one for each class, such as 'apple_pie'. The images are those of "
            f"Food-101: run "
            f"'marnet data download food-101 {food}', or name their folder with ingredient-101:{food},images=FOLDER."
        ),
    ):
        load_source(f"ingredient-101:{food}")
    elsewhere = elsewhere.rename(tmp_path / "elsewhere")
    manifest = load_source(f"ingredient-101:{food},images={elsewhere},ingredients=raw")
    assert manifest.records[0].image == f"{elsewhere}/apple_pie/1.jpg"
    with pytest.raises(
        DataError,
        match=r"Annotations has no folder for any class, such as 'apple_pie'. The "
        r"images are",
    ):
        load_source(f"ingredient-101:{food},images={food}/Annotations")


@pytest.mark.parametrize("first", [0, 1])
def test_labels_count_from_0_or_1(food: Path, first: int) -> None:
    for split, labels in {"train": (0, 1, 2), "val": (0, 1), "test": (2,)}.items():
        (food / "Annotations" / f"{split}_labels.txt").write_text("\n".join(str(each + first) for each in labels))
    assert load_source(f"ingredient-101:{food}").splits() == {"train": 3, "val": 2, "test": 1}


def change(file: str, content: str | None) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink() if content is None else (root / file).write_text(content)


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (
            change("images/ramen/5.jpg", None),
            ": images in a list but not on disk: 1, such as ramen/5.jpg; reading them will fail.",
        ),
        (change("images/ramen/9.jpg", ""), ": images on disk but in no list: 1, such as ramen/9.jpg; left out."),
        (change("Annotations/test_images.txt", None), " has no test_images.txt: split 'test' is empty."),
        (change("Annotations/ingredients_simplified.txt", "apple\n\nrice\n"), " has no ingredients of 'ramen'."),
        (
            change("Annotations/test_images.txt", "ramen/2\n"),
            ": images in more than one split: 1, such as ramen/2.jpg; metrics on val and test are too optimistic.",
        ),
    ],
)
def test_what_can_be_tolerated_is_noted(food: Path, damage: Callable[[Path], None], note: str) -> None:
    (food / "Annotations" / "test_labels.txt").unlink()
    damage(food)
    assert f"ingredient-101:{food}{note}" in load_source(f"ingredient-101:{food}").notes


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (
            "train_images.txt",
            "apple_pie/1\nramn/2\n",
            "train_images.txt, line 2: found 'ramn/2'. Expected "
            "'<class>/<id>' with "
            "a class of classes.txt. Did you mean 'ramen'?",
        ),
        (
            "val_images.txt",
            "4\n",
            "val_images.txt, line 1: found '4'. Expected '<class>/<id>' with a class of classes.txt.",
        ),
        ("val_images.txt", "ramen/../4\n", "val_images.txt, line 1: found 'ramen/../4'. Expected"),
        (
            "classes.txt",
            "apple_pie\nramen\nramen\n",
            "classes.txt, line 3: the class 'ramen' stands in line 2 already.",
        ),
        ("classes.txt", "apple_pie\n\nramen\n", "classes.txt, line 2, is blank. It must name class 2"),
        (
            "ingredients_simplified.txt",
            "apple\nnoodle\n",
            "ingredients_simplified.txt has 2 lines and "
            "classes.txt 3. There must be "
            "one line of ingredients per class. One of the two files is cut short.",
        ),
        (
            "train_labels.txt",
            "0\n1\n",
            "train_labels.txt has 2 labels and train_images.txt 3 images. There must be one "
            "label per image. One of the two files is cut short.",
        ),
        (
            "train_labels.txt",
            "0\n2\n2\n",
            "train_labels.txt, line 2: found 2. Expected 1, the number of 'ramen', which "
            "train_images.txt names in line 2. The two files do not belong together.",
        ),
        ("val_labels.txt", "0\none\n", "val_labels.txt, line 2: found 'one'. Expected the number of a class."),
    ],
)
def test_damaged_files_are_refused(food: Path, file: str, content: str, sentence: str) -> None:
    (food / "Annotations" / file).write_text(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(f"ingredient-101:{food}")


def test_other_folders_and_options_are_refused(food: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, sentence in {
        f"ingredient-101:{tmp_path}/empty": "is no copy of Ingredient-101: found no classes.txt in it, nor in "
        "Annotations",
        f"ingredient-101:{tmp_path}/gone": "gone is not a folder. Name the one that holds Annotations and "
        "Food-101's images.",
        "ingredient-101:": "names no folder. Write ingredient-101:PATH[,ingredients=VALUE,images=VALUE].",
        f"ingredient-101:{food},ingredients=row": "found ingredients=row. Expected simplified or raw. Did you mean "
        "'raw'?",
        f"ingredient-101:{food},ingredient=raw": "unknown key 'ingredient'. Did you mean 'ingredients'? Keys "
        "follow the "
        "path; known keys: ingredients, images.",
        f"ingredient-101:{food},images=": "images has no value. Write images=VALUE.",
        f"ingredient-101:{food},ingredients=raw,ingredients=raw": "ingredients is given twice; keep one of them.",
    }.items():
        with pytest.raises(DataError, match=re.escape(sentence)):
            load_source(source)
    (food / "Annotations" / "ingredients_simplified.txt").unlink()
    sentence = "has no ingredients_simplified.txt, a comma list for each line of classes.txt. The other list is there:"
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(f"ingredient-101:{food}")
    for split in ("train", "val", "test"):
        (food / "Annotations" / f"{split}_images.txt").unlink()
    with pytest.raises(
        DataError,
        match=r"holds none of train_images.txt, val_images.txt, test_images.txt. "
        r"It must hold at least",
    ):
        load_source(f"ingredient-101:{food},ingredients=raw")
