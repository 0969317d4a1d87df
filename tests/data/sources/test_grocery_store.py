"""The Grocery Store layout: a miniature, and the real data where it is at hand."""

import re
from pathlib import Path

import pytest

from marnet.data.manifest import read_manifest, write_manifest
from marnet.data.sources import load_source
from marnet.errors import DataError

HEADER = (
    "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str),"
    "Product Description Path (str)"
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two classes; the one with the larger id comes first in the file and last in the alphabet."""
    root = tmp_path / "store" / "dataset"
    (root / "texts").mkdir(parents=True)
    (root / "texts" / "Lime_Description.txt").write_text("Sour\nand green. ")
    (root / "classes.csv").write_text(f"{HEADER}\nApple,1,Fruit,0,/a.jpg,/texts/Apple_Description.txt\n"
        "Lime,0,Fruit,0,/a.jpg,/texts/Lime_Description.txt\nUnused,2,Fruit,0,/a.jpg,/texts/x.txt\n")  # fmt: skip
    (root / "train.txt").write_text("train/a, b.jpg, 1, 0\ntrain/l.jpg, 0, 0\n\n")
    (root / "val.txt").write_text("val/l.jpg, 0, 0\n")
    return tmp_path / "store"


def test_a_miniature(store: Path) -> None:
    manifest = load_source(f"grocery-store:{store}")
    root = store / "dataset"
    assert [tuple(record)[:4] for record in manifest.records] == [
        (f"{root}/train/a, b.jpg", "", "Apple", "train"),
        (f"{root}/train/l.jpg", "Sour and green.", "Lime", "train"),
        (f"{root}/val/l.jpg", "Sour and green.", "Lime", "val"),
    ]
    assert manifest.classes == ("Lime", "Apple")
    assert manifest.notes == (
        f"grocery-store:{store} has no test.txt: split 'test' is empty.",
        f"grocery-store:{store} has no description of 'Apple'.",
    )
    assert load_source(f"grocery-store:{root}").records == manifest.records


def test_its_class_order_survives_being_written(store: Path, tmp_path: Path) -> None:
    manifest = load_source(f"grocery-store:{store}")
    write_manifest(manifest, tmp_path / "manifest.csv")
    found = read_manifest(tmp_path / "manifest.csv")
    assert (found.records, found.classes) == (manifest.records, manifest.classes)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("train.txt", "a.jpg, 9, 0\n", "train.txt, line 1: found 'a.jpg, 9, 0'. Expected 'path, fine class id, coarse "
         "class id' with a class id of classes.csv."),
        ("val.txt", "a.jpg\n", "val.txt, line 1: found 'a.jpg'. Expected 'path, fine class id, coarse class id'"),
        ("classes.csv", "Name,Id\nx,1\n", "classes.csv has no column 'Class Name (str)'; found ['Name', 'Id']."),
        ("classes.csv", f"{HEADER}\nx,one,,,,\n", "classes.csv, line 2: the class id 'one' is not a number."),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(store: Path, file: str, content: str, sentence: str) -> None:
    (store / "dataset" / file).write_text(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(f"grocery-store:{store}")


def test_text_that_is_not_utf8_is_refused(store: Path) -> None:
    (store / "dataset" / "texts" / "Lime_Description.txt").write_bytes(b"cr\xe8me")
    with pytest.raises(DataError, match=r"Lime_Description.txt cannot be read as UTF-8 text: .*0xe8 in position 2"):
        load_source(f"grocery-store:{store}")


def test_another_folder_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no copy of the Grocery Store data set: found neither dataset/classes.csv"):
        load_source(f"grocery-store:{tmp_path}")
    for name in ("train.txt", "val.txt"):
        (store / "dataset" / name).unlink()
    with pytest.raises(DataError, match=r"holds none of train.txt, val.txt, test.txt. It must hold at least train.txt"):
        load_source(f"grocery-store:{store}")


def test_the_real_data(shared_data: Path) -> None:
    folder = shared_data / "GroceryStoreDataset"
    manifest = load_source(f"grocery-store:{folder}")
    assert manifest.splits() == {"train": 2640, "val": 296}
    assert len(manifest.classes) == 81
    assert manifest.classes[:2] == ("Golden-Delicious", "Granny-Smith")
    assert manifest.classes[-1] == "Zucchini"
    assert manifest.notes == (f"grocery-store:{folder} has no test.txt: split 'test' is empty.",)
    assert len({record.text for record in manifest.records}) > 70
    assert all(record.text and Path(record.image).is_file() for record in manifest.records)
    assert manifest.records[0].text.startswith("Golden Delicious has a white juicy pulp")
