"""Reading, writing and checking manifests."""

import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from marnet.data.labels import list_classes, natural_order
from marnet.data.manifest import (
    Manifest,
    Record,
    count_classes,
    label_indices,
    label_targets,
    read_manifest,
    write_manifest,
)
from marnet.data.trainable import check_trainable
from marnet.errors import DataError

ROWS = "image,text,label,split\na.jpg,red,apple,train\nsub/b.jpg,,lime,train\n/far/c.jpg,green,lime,Validation\n"


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def make(*rows: tuple[str, str], classes: tuple[str, ...] | None = None) -> Manifest:
    """A manifest of (label, split) rows."""
    records = tuple(Record(f"/{number}.jpg", "", label, split) for number, (label, split) in enumerate(rows))
    return Manifest(records, classes or natural_order(row[0] for row in rows), "rows.csv")


def test_a_csv_manifest(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, ROWS))
    assert manifest.records == (
        Record(str(tmp_path / "a.jpg"), "red", "apple", "train"),
        Record(str(tmp_path / "sub/b.jpg"), "", "lime", "train"),
        Record("/far/c.jpg", "green", "lime", "val"),
    )
    assert manifest.classes == ("apple", "lime")
    assert manifest.source == str(tmp_path / "manifest.csv")
    assert manifest.notes == ()
    assert manifest.splits() == {"train": 2, "val": 1}
    assert manifest.split("val") == manifest.records[2:]


def test_a_relative_manifest_gives_absolute_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ROWS.replace("a.jpg", "../a.jpg", 1))
    monkeypatch.chdir(tmp_path)
    assert read_manifest("manifest.csv").records[0].image == str(tmp_path.parent / "a.jpg")


def test_other_column_names(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS.replace("image,text,label,split", "file,caption,dish,part"))
    manifest = read_manifest(file, columns={"image": "file", "text": "caption", "label": "dish", "split": "part"})
    assert manifest.records == read_manifest(write(tmp_path, ROWS, "other.csv")).records


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"label": "lable"},
            "has no column 'lable'; found 'image', 'text', 'label', 'split'. Did you mean 'label'? Name the column of "
            "the labels with `data.columns.label=NAME`.",
        ),
        ({"text": "caption"}, "has no column 'caption'; found 'image', 'text', 'label', 'split'. Name the column of "
         "the texts with `data.columns.text=NAME`."),
        ({"split": "spli"}, "Did you mean 'split'? Name the column of the splits with `data.columns.split=NAME`."),
        ({"image": "path"}, "Name the column of the images with `data.columns.image=NAME`."),
    ],
)  # fmt: skip
def test_an_unknown_column_is_refused(tmp_path: Path, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_manifest(write(tmp_path, ROWS), columns=options)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_marks_between_cells_are_recognised(tmp_path: Path, mark: str) -> None:
    table = f"image{mark}text{mark}label{mark}split\na.jpg{mark}red, round{mark}soup{mark}train\n"
    manifest = read_manifest(write(tmp_path, table))
    assert manifest.records == (Record(str(tmp_path / "a.jpg"), "red, round", "soup", "train"),)
    assert "between its cells" in manifest.notes[0]


def test_without_a_text_column_all_texts_are_blank(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "image,label,split\na.jpg,x,train\n"))
    assert manifest.records[0].text == ""
    assert manifest.notes == (f"{tmp_path / 'manifest.csv'} has no column 'text': all texts are blank.",)


def test_without_splits_a_stratified_one_is_made(tmp_path: Path) -> None:
    rows = [f"{label}{number}.jpg,{label}" for label in ("x", "y") for number in range(20)]
    file = write(tmp_path, "\n".join(["image,label", *rows]))
    manifest = read_manifest(file)
    assert manifest.splits() == {"train": 28, "val": 6, "test": 6}
    assert manifest.notes[1] == f"{file} names no splits: made a stratified one with seed 0, train 28, val 6, test 6."
    assert read_manifest(file).records == manifest.records
    assert read_manifest(file, split_seed=1).records != manifest.records
    assert read_manifest(file, val_share=0.5, test_share=0).splits() == {"train": 20, "val": 20}
    backwards = write(tmp_path, "\n".join(["image,label", *reversed(rows)]), "backwards.csv")
    assert set(read_manifest(backwards).records) == set(manifest.records)
    blank = write(tmp_path, "\n".join(["image,label,split", *(f"{row}," for row in rows)]), "blank.csv")
    assert read_manifest(blank).records == manifest.records


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "lime",
            " ",
            "has a blank 'label' in line 4, but every row must have one. Fill it in, or remove that row. Only rows of "
            "train may lack a label.",
        ),
        ("sub/b.jpg", "", "has a blank 'image' in line 3, but every row must have one."),
        ("Validation", "", "has a blank 'split' in line 4, but every row must have one."),
        ("Validation", "vall", "line 4: unknown split 'vall'. Expected train, val, test, unlabelled. Did you"),
    ],
)
def test_bad_cells_are_refused_by_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_manifest(write(tmp_path, ROWS.replace(old, new)))


def test_an_image_in_two_splits_is_noted(tmp_path: Path) -> None:
    file = write(tmp_path, "image,text,label,split\na.jpg,,x,train\n./a.jpg,,x,val\nb.jpg,,y,train\nb.jpg,,y,train\n")
    assert read_manifest(file).notes == (
        f"{file} has 1 images in more than one split, so metrics on val and test are too optimistic: "
        f"{tmp_path / 'a.jpg'}.",
    )


def test_natural_order() -> None:
    names = ["dish 10", "dish 2", "10", "9", "apple", "Dish", "dish 2", "02", "2", "dish 2b"]
    assert natural_order(names) == ("02", "2", "9", "10", "Dish", "apple", "dish 2", "dish 2b", "dish 10")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_written_manifest_is_read_back(tmp_path: Path, suffix: str) -> None:
    manifest = read_manifest(write(tmp_path, ROWS))
    for classes in (manifest.classes, ("lime", "apple")):
        changed = dataclasses.replace(manifest, classes=classes)
        write_manifest(changed, tmp_path / f"copy{suffix}")
        found = read_manifest(tmp_path / f"copy{suffix}")
        assert (found.records, found.classes, found.notes) == (changed.records, classes, ())


def test_eleven_classes_in_an_order_of_their_own_are_read_back(tmp_path: Path) -> None:
    classes = tuple("kjihgfedcba")
    manifest = make(*((name, "train") for name in classes), classes=classes)
    write_manifest(manifest, tmp_path / "a.csv")
    assert read_manifest(tmp_path / "a.csv").classes == classes


def test_written_images_are_relative_where_they_lie_below(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, ROWS))
    write_manifest(manifest, tmp_path / "copy.csv")
    lines = (tmp_path / "copy.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["image", "a.jpg", "sub/b.jpg", "/far/c.jpg"]
    write_manifest(manifest, tmp_path / "sub" / "copy.csv")
    assert (tmp_path / "sub" / "copy.csv").read_text().splitlines()[1].startswith(f"{tmp_path}/a.jpg,")
    assert read_manifest(tmp_path / "sub" / "copy.csv").records == manifest.records


@pytest.mark.parametrize("numbers", ["0,0", "0,x", "0,"])
def test_a_contradictory_label_index_is_refused(tmp_path: Path, numbers: str) -> None:
    first, second = numbers.split(",")
    file = write(tmp_path, f"image,label,split,label_index\na,x,train,{first}\nb,y,train,{second}\n")
    with pytest.raises(
        DataError, match="the column 'label_index' does not number the labels; it must hold one whole number per class"
    ):
        read_manifest(file)


def test_an_empty_split_is_refused_with_those_that_exist() -> None:
    manifest = make(("x", "train"), ("y", "train"), ("x", "val"))
    with pytest.raises(DataError, match=r"rows.csv has no rows in split 'test'; found train 2, val 1.$"):
        manifest.split("test")
    with pytest.raises(DataError, match=r"no rows in split 'vale'; found train 2, val 1. Did you mean 'val'\?"):
        manifest.split("vale")


def test_label_indices() -> None:
    records = make(("x", "train"), ("y", "train"), ("x", "val")).records
    indices = label_indices(records, ("y", "x"))
    assert indices.tolist() == [1, 0, 1]
    assert indices.dtype == np.int64
    sentence = "Some labels are not among the 2 classes: 'x' (2 rows). Expected labels such as 'y', 'z'."
    with pytest.raises(DataError, match=re.escape(sentence)):
        label_indices(records, ("y", "z"))


GOOD = [("x", "train"), ("x", "train"), ("y", "train"), ("y", "train"), ("x", "val")]


def test_a_trainable_manifest_passes_silently(caplog: pytest.LogCaptureFixture) -> None:
    check_trainable(make(*GOOD))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (GOOD[:4], "rows.csv has no rows in split 'val'; found train 4. Training needs train and val: give some rows "
         "that split, or leave the split column out and let a stratified split be made."),
        (GOOD[4:], "rows.csv has no rows in split 'train'; found val 1."),
        ([], "rows.csv has no rows in split 'train'; found no rows at all."),
        ([GOOD[0], GOOD[1], GOOD[4]], "rows.csv has only one class in split 'train': 'x' (2 images). A classifier "
         "needs two or more. Check the label column."),
        ([*GOOD, ("z", "val"), ("z", "val"), ("q", "test"), ("z", "test")], "rows.csv has labels without a training "
         "image: 'q' (test 1), 'z' (val 2, test 1). Move images of these classes to train, or remove their rows."),
    ],
)  # fmt: skip
def test_an_untrainable_manifest_is_refused(rows: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        check_trainable(make(*rows))


def test_a_class_without_any_row_is_refused() -> None:
    with pytest.raises(DataError, match=re.escape("labels without a training image: 'z' (no rows).")):
        check_trainable(make(*GOOD, classes=("x", "y", "z")))


def test_a_class_with_one_image_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "marnet"):
        check_trainable(make(*GOOD, ("solo", "train")))
    assert "rows.csv has classes with a single training image, from which little can be learned: 'solo'." in caplog.text


SEVERAL = 'image,text,label,split\na.jpg,,"b, a",train\nb.jpg,,,train\nc.jpg,,"a,c , b",train\nd.jpg,,c,val\n'


def test_several_classes_an_image(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, SEVERAL), label_form="multi")
    assert [record.label for record in manifest.records] == ["a, b", "", "a, b, c", "c"]
    assert [manifest.names(record) for record in manifest.records] == [("a", "b"), (), ("a", "b", "c"), ("c",)]
    assert manifest.classes == ("a", "b", "c")
    assert manifest.label_form == "multi"
    assert count_classes(manifest, "train") == {"a": 2, "b": 2, "c": 1}
    targets = label_targets(manifest.records, manifest.classes, "multi")
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]]
    check_trainable(manifest)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("classes", [("a", "b", "c"), ("c", "a", "b")])
def test_several_classes_survive_writing_in_their_order(tmp_path: Path, suffix: str, classes: tuple[str, ...]) -> None:
    manifest = dataclasses.replace(read_manifest(write(tmp_path, SEVERAL), label_form="multi"), classes=classes)
    write_manifest(manifest, tmp_path / f"copy.{suffix}")
    again = read_manifest(tmp_path / f"copy.{suffix}", label_form="multi")
    assert (again.records, again.classes, again.label_form) == (manifest.records, classes, "multi")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_of_classes(tmp_path: Path, suffix: str) -> None:
    rows = [{"image": f"{number}.jpg", "label": label} for number, label in enumerate([["b", "a"], [], ["c"]])]
    if suffix == "jsonl":
        file = write(tmp_path, "\n".join(map(json.dumps, rows)), "rows.jsonl")
    else:
        file = tmp_path / "rows.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    assert [record.label for record in read_manifest(file, label_form="multi").records] == ["a, b", "", "c"]


def test_a_comma_within_a_name_of_a_list_is_refused(tmp_path: Path) -> None:
    row = json.dumps({"image": "a.jpg", "label": ["oil", "salt, pepper"]})
    sentence = "line 1: column 'label' lists 'salt, pepper', but commas separate the classes of a label"
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_manifest(write(tmp_path, row, "rows.jsonl"), label_form="multi")


def test_commas_in_labels_of_one_class_are_noted_and_kept(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, SEVERAL.replace("b.jpg,,,", "b.jpg,,c,")))
    assert manifest.classes == ("a,c , b", "b, a", "c")
    (note,) = manifest.notes
    assert "2 of 4 labels hold a comma, such as 'b, a'" in note
    assert "set `data.labels=multi`" in note


def test_a_blank_label_of_one_class_is_refused_with_the_way_out(tmp_path: Path) -> None:
    sentence = (
        "blank 'label' in line 3, but every row must have one. Fill it in, or remove that row. If a cell may list"
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_manifest(write(tmp_path, SEVERAL), unlabelled="refuse")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [("", "train"), ("a", "val")],
            "rows.csv names no class in any of the 1 rows of split 'train'. Training needs classes",
        ),
        (
            [("a, b", "train"), ("", "val")],
            "rows.csv names no class in any of the 1 rows of split 'val'. Training needs classes",
        ),
        ([("a, b", "train"), ("b, c", "val")], "labels without a training image: 'c' (val 1)"),
        ([("a", "train"), ("a", "val")], "has only one class in split 'train': 'a' (1 images)"),
    ],
)
def test_untrainable_lists_of_classes_are_refused(rows: list[tuple[str, str]], sentence: str) -> None:
    records = make(*rows).records
    manifest = Manifest(records, list_classes((row[0] for row in rows), "multi"), "rows.csv", label_form="multi")
    with pytest.raises(DataError, match=re.escape(sentence)):
        check_trainable(manifest)
