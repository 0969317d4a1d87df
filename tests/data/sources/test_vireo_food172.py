"""Vireo Food-172: a miniature of the published layout, and what real copies get wrong."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.data.manifest import read_manifest, write_manifest
from marnet.data.sources import load_source
from marnet.data.trainable import check_trainable
from marnet.encoders.text import build_text_encoder
from marnet.errors import DataError

INGREDIENTS = ("Minced green onion", "Pork, sliced", "Tofu")


@pytest.fixture
def vireo(tmp_path: Path) -> Path:
    """Three foods; lists with and without leading slash, CRLF, and blank lines at the end."""
    root = tmp_path / "VireoFood172"
    lists, images = root / "SplitAndIngreLabel", root / "ready_chinese_food"
    lists.mkdir(parents=True)
    (lists / "FoodList.txt").write_bytes("\ufeffSpicy tofu\r\nCrème\r\nBraised  pork\r\n\r\n".encode())
    (lists / "IngredientList.txt").write_text("\n".join(INGREDIENTS) + "\n")
    (lists / "TR.txt").write_text("/1/1_1.jpg\n/2/2_1.jpg\n/3/3_1.jpg\n\n")
    (lists / "VAL.txt").write_bytes(b"1/1_2.jpg\r\n3/3_2.jpg\r\n")
    (lists / "TE.txt").write_text("/1/1_3.jpg\n")
    (lists / "IngreLabel.txt").write_bytes(
        b"/1/1_1.jpg 1 -1 1\r\n1/1_2.jpg -1 -1 1\r\n/1/1_3.jpg 0 1 0\r\n/2/2_1.jpg -1 -1 -1\r\n"
        b"/3/3_1.jpg\t1 1 -1 \r\n/3/3_2.jpg 0 1 1\r\n\r\n"
    )
    for name in ("1/1_1", "1/1_2", "1/1_3", "2/2_1", "3/3_1", "3/3_2"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / f"{name}.jpg").touch()
    return root


def test_a_miniature(vireo: Path) -> None:
    manifest = load_source(f"vireo-food172:{vireo}")
    images = vireo / "ready_chinese_food"
    assert [tuple(record)[:4] for record in manifest.records] == [
        (f"{images}/1/1_1.jpg", "Minced green onion, Tofu", "Spicy tofu", "train"),
        (f"{images}/2/2_1.jpg", "", "Crème", "train"),
        (f"{images}/3/3_1.jpg", "Minced green onion, Pork sliced", "Braised pork", "train"),
        (f"{images}/1/1_2.jpg", "Tofu", "Spicy tofu", "val"),
        (f"{images}/3/3_2.jpg", "Pork sliced, Tofu", "Braised pork", "val"),
        (f"{images}/1/1_3.jpg", "Pork sliced", "Spicy tofu", "test"),
    ]
    assert manifest.classes == ("Spicy tofu", "Crème", "Braised pork")
    assert manifest.notes == ()
    check_trainable(manifest)
    assert load_source(f"vireo-food172:{vireo.parent}").records == manifest.records


def test_its_numbering_survives_being_written(vireo: Path, tmp_path: Path) -> None:
    manifest = load_source(f"vireo-food172:{vireo}")
    write_manifest(manifest, tmp_path / "manifest.csv")
    found = read_manifest(tmp_path / "manifest.csv")
    assert (found.records, found.classes) == (manifest.records, manifest.classes)


def test_the_texts_are_tags(vireo: Path) -> None:
    texts = [record.text for record in load_source(f"vireo-food172:{vireo}").records if record.text]
    assert build_text_encoder("tags", texts)(texts).shape == (5, len(INGREDIENTS))


def append(file: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / "SplitAndIngreLabel" / file).open("a") as stream:
            stream.write(text)

    return change


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            remove("ready_chinese_food/3/3_2.jpg"),
            "images in a list but not on disk: 1, such as 3/3_2.jpg; reading them will fail.",
        ),
        (
            lambda root: [
                (root / "ready_chinese_food/2" / name).touch() for name in ("x.jpg", "y.JPG", "Thumbs.db", ".z.jpg")
            ],
            "images on disk but in no list: 2, such as 2/x.jpg; left out.",
        ),
        (
            append("TE.txt", "/2/2_9.jpg\n"),
            "images without a line in IngreLabel.txt: 1, such as 2/2_9.jpg; their texts are blank.",
        ),
        (
            append("TE.txt", "3/3_1.jpg\n"),
            "images in more than one split: 1, such as 3/3_1.jpg; metrics on val and test are too optimistic.",
        ),
        (remove("SplitAndIngreLabel/VAL.txt"), "has no VAL.txt: split 'val' is empty."),
    ],
)
def test_what_can_be_tolerated_is_noted(vireo: Path, change: Callable[[Path], None], note: str) -> None:
    change(vireo)
    manifest = load_source(f"vireo-food172:{vireo}")
    assert any(note in each for each in manifest.notes), manifest.notes
    assert all(each.startswith(f"vireo-food172:{vireo}") for each in manifest.notes)


def test_a_listed_image_that_is_not_on_disk_keeps_its_row(vireo: Path) -> None:
    before = load_source(f"vireo-food172:{vireo}").records
    (vireo / "ready_chinese_food" / "3" / "3_2.jpg").unlink()
    assert load_source(f"vireo-food172:{vireo}").records == before


def test_an_image_listed_twice_is_one(vireo: Path) -> None:
    before = load_source(f"vireo-food172:{vireo}").records
    append("TR.txt", "1/1_1.jpg\n")(vireo)
    assert load_source(f"vireo-food172:{vireo}").records == before


def test_classes_of_one_name_stay_apart(vireo: Path) -> None:
    (vireo / "SplitAndIngreLabel" / "FoodList.txt").write_text("Tofu\nCake\nTofu\n")
    manifest = load_source(f"vireo-food172:{vireo}")
    assert manifest.classes == ("Tofu (1)", "Cake", "Tofu (3)")
    source = f"vireo-food172:{vireo}"
    assert manifest.notes == (f"{source} has several classes with the name 'Tofu'; their number is added to it.",)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (
            "TR.txt",
            "/1/1_1.jpg\n/4/4.jpg\n",
            "TR.txt, line 2: found '/4/4.jpg'. Expected '/<class>/<name>.jpg' "
            "with a class "
            "from 1 to 3, the number of lines of FoodList.txt.",
        ),
        ("VAL.txt", "\n1_1.jpg\n", "VAL.txt, line 2: found '1_1.jpg'. Expected '/<class>/<name>.jpg'"),
        ("TE.txt", "/../1.jpg\n", "TE.txt, line 1: found '/../1.jpg'. Expected"),
        ("TE.txt", "/one/1.jpg\n", "TE.txt, line 1: found '/one/1.jpg'. Expected"),
        (
            "IngreLabel.txt",
            "/1/1_1.jpg 1 1 1\n/1/1_2.jpg 1 1\n",
            "IngreLabel.txt, line 2: found 2 flags after "
            "'/1/1_2.jpg'. Expected 3, one per line of IngredientList.txt. One of the two files is cut short or "
            "of another "
            "release.",
        ),
        (
            "IngreLabel.txt",
            "/1/1_1.jpg 1 0 7\n",
            "IngreLabel.txt, line 1: found the flag '7'. Expected -1, 0 or 1; 1 means that the ingredient is present.",
        ),
        (
            "IngreLabel.txt",
            "1_1.jpg 1 0 0\n",
            "IngreLabel.txt, line 1: found the path '1_1.jpg'. Expected '/<class>/<name>.jpg'.",
        ),
        (
            "FoodList.txt",
            "a\n\nb\n",
            "FoodList.txt, line 2, is blank. It must name food 2, because the other files refer to the line's number.",
        ),
        ("IngredientList.txt", "\n\n", "IngredientList.txt is empty. It must name one ingredient per line."),
    ],
)
def test_damaged_files_are_refused(vireo: Path, file: str, content: str, sentence: str) -> None:
    (vireo / "SplitAndIngreLabel" / file).write_text(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(f"vireo-food172:{vireo}")


def test_files_that_cannot_be_read_are_refused(vireo: Path) -> None:
    lists = vireo / "SplitAndIngreLabel"
    (lists / "FoodList.txt").write_bytes(b"Tofu\nCr\xe8me\nc\n")
    with pytest.raises(
        DataError,
        match=r"FoodList.txt, line 2, is not UTF-8 text: found byte 0xE8. Save the "
        r"file as UTF-8",
    ):
        load_source(f"vireo-food172:{vireo}")
    (lists / "FoodList.txt").unlink()
    with pytest.raises(DataError, match=r"FoodList.txt cannot be read: No such file or directory."):
        load_source(f"vireo-food172:{vireo}")


def test_other_folders_are_refused(vireo: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"gone is not a folder. Name the one that holds ready_chinese_food and "
        r"SplitAndIngre",
    ):
        load_source(f"vireo-food172:{tmp_path / 'gone'}")
    with pytest.raises(DataError, match=r"'vireo-food172' names no folder. Write vireo-food172:PATH."):
        load_source("vireo-food172")
    for name in ("TR.txt", "VAL.txt", "TE.txt"):
        (vireo / "SplitAndIngreLabel" / name).unlink()
    with pytest.raises(
        DataError, match=r"holds none of TR.txt, VAL.txt, TE.txt. It must hold at least TR.txt, with one line"
    ):
        load_source(f"vireo-food172:{vireo}")
    (vireo / "ready_chinese_food").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError,
        match=r"has no folder ready_chinese_food. It must hold both ready_chinese_food \(the "
        r"images\)",
    ):
        load_source(f"vireo-food172:{vireo}")


def test_the_full_size_loads_in_seconds(tmp_path: Path) -> None:
    """A tenth of the published number of images, all 353 ingredients."""
    lists = tmp_path / "SplitAndIngreLabel"
    lists.mkdir()
    (tmp_path / "ready_chinese_food").mkdir()
    names = [f"/{number % 172 + 1}/{number}.jpg" for number in range(11_000)]
    flags = " ".join("1" if number % 40 == 0 else "-1" for number in range(353))
    (lists / "FoodList.txt").write_text("".join(f"food {number}\n" for number in range(172)))
    (lists / "IngredientList.txt").write_text("".join(f"ingredient {number}\n" for number in range(353)))
    (lists / "TR.txt").write_text("\n".join(names))
    (lists / "IngreLabel.txt").write_text("".join(f"{name} {flags}\n" for name in names))
    start = time.process_time()
    manifest = load_source(f"vireo-food172:{tmp_path}")
    assert time.process_time() - start < 5  # about 0.5; far more would mean work that grows with the square
    assert len(manifest.records) == 11_000
    assert manifest.records[0].text.count(",") == 8
