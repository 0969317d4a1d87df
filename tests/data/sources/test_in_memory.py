"""Tables, datasets and rows in memory give the manifest that a file with the same rows gives."""

import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest
from PIL import Image

from marnet.config import DataConfig, make_config
from marnet.data.images import read_image
from marnet.data.manifest import Manifest, Record, read_manifest, write_manifest
from marnet.data.sources import open_data
from marnet.errors import DataError

COLUMNS: dict[str, list[Any]] = {
    "image": ["/far/a.png", "sub/b.png", "c.png", "d.png"],
    "text": ["red, round", None, "sour", " hot "],
    "label": ["apple", "lime", "lime", "apple"],
    "split": ["train", "training", "Valid", "test"],
    "other": [b"1", b"2", b"3", b"4"],
}
KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "polars": polars.DataFrame,
    "lazy": polars.LazyFrame,
    "pyarrow": pyarrow.table,
    "batch": pyarrow.RecordBatch.from_pydict,
    "tuples": lambda columns: list(zip(*(columns[name] for name in list(columns)[:4]), strict=True)),
    "dictionaries": lambda columns: pyarrow.table(columns).to_pylist(),
}
NAMES = {
    "pandas": "The pandas table",
    "polars": "The polars table",
    "lazy": "The polars table",
    "pyarrow": "The pyarrow table",
    "batch": "The pyarrow table",
    "tuples": "The list of rows",
    "dictionaries": "The list of rows",
}


def config(**values: Any) -> DataConfig:
    return make_config({"data": values}).data


def picture(shade: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(shade).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_a_file_is(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "marnet"):
        manifest = open_data(KINDS[kind](COLUMNS), config(), cache=tmp_path / "cache")
    assert manifest.records == (
        Record("/far/a.png", "red, round", "apple", "train"),
        Record(str(tmp_path / "sub/b.png"), "", "lime", "train"),
        Record(str(tmp_path / "c.png"), "sour", "lime", "val"),
        Record(str(tmp_path / "d.png"), "hot", "apple", "test"),
    )
    assert (manifest.classes, manifest.source, manifest.notes) == (("apple", "lime"), NAMES[kind], ())
    assert not (tmp_path / "cache").exists()


def test_records_and_manifests(tmp_path: Path) -> None:
    manifest = open_data(pd.DataFrame(COLUMNS), config())
    assert open_data(list(manifest.records), config()).records == manifest.records
    assert open_data(manifest, config()) is manifest
    write_manifest(manifest, tmp_path / "rows.csv")
    assert open_data(tmp_path / "rows.csv", config()) == read_manifest(tmp_path / "rows.csv")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tuples"])
def test_other_names_numbers_and_gaps(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"file": [f"{number}.png" for number in range(40)], "dish": [number % 2 for number in range(40)]}
    with caplog.at_level(logging.INFO, "marnet"):
        manifest = open_data(KINDS[kind](columns), config(columns={"image": "file", "label": "dish"}, split_seed=3))
    assert manifest.classes == ("0", "1")
    assert manifest.splits() == {"train": 28, "val": 6, "test": 6}
    assert f"{NAMES[kind]} has no column 'text': all texts are blank." in caplog.text
    assert f"{NAMES[kind]} names no splits: made a stratified one with seed 3" in caplog.text


def test_a_made_split_is_that_of_a_file(tmp_path: Path) -> None:
    rows = [(f"{number}.png", "", "xy"[number % 2]) for number in range(40)]
    (tmp_path / "rows.csv").write_text("image,text,label\n" + "".join(f"{','.join(row)}\n" for row in rows))
    assert open_data(rows, config()).records == read_manifest(tmp_path / "rows.csv").records


def test_gaps_of_pandas_are_blank() -> None:
    table = pd.DataFrame({"image": ["a", "b", "c"], "label": pd.array([1, 2, 2], dtype="Int64")})
    table["text"] = [float("nan"), pd.NA, pd.NaT]
    assert [tuple(record)[1:3] for record in open_data(table, config()).records] == [("", "1"), ("", "2"), ("", "2")]
    gap = pd.DataFrame({"image": ["a", "b"], "label": [3, None], "split": ["train", "val"]})
    with pytest.raises(DataError, match=r"The pandas table has a blank 'label' in row 2, but every row must have one"):
        open_data(gap, config())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("lazy", "batch")])
def test_lists_of_classes(kind: str) -> None:
    columns = {**COLUMNS, "text": [["a", "b"], [], ["c"], None], "label": [["b", "a"], [], ["c"], ["a"]]}
    manifest = open_data(KINDS[kind](columns), config(labels="multi"))
    assert [record.label for record in manifest.records] == ["a, b", "", "c", "a"]
    assert [record.text for record in manifest.records] == ["a, b", "", "c", ""]
    assert (manifest.classes, manifest.label_form) == (("a", "b", "c"), "multi")
    columns["label"] = [["b"], ["a, c"], [], []]
    sentence = f"{NAMES[kind]}, row 2: column 'label' lists 'a, c', but commas separate the classes"
    with pytest.raises(DataError, match=re.escape(sentence)):
        open_data(KINDS[kind](columns), config(labels="multi"))


def test_arrays_and_sets_in_cells_are_lists() -> None:
    table = pd.DataFrame({"image": ["a", "b"], "label": [np.array(["y", "x"]), {"x"}], "split": ["train", "val"]})
    assert [record.label for record in open_data(table, config(labels="multi")).records] == ["x, y", "x"]


def test_images_of_any_form_become_files_named_by_their_content(tmp_path: Path) -> None:
    plain = picture(1)
    picture(2).save(tmp_path / "two.jpg")
    opened = Image.open(tmp_path / "two.jpg")
    images = [
        plain,
        np.asarray(plain),
        encoded(plain),
        {"bytes": encoded(plain), "path": None},
        {"bytes": None, "path": "two.jpg"},
        opened,
        picture(3, "CMYK"),
        bytearray(b"nonsense"),
        Path("two.jpg"),
    ]
    rows = [(image, "", "xy"[number % 2], "train") for number, image in enumerate(images)]
    found = [record.image for record in open_data(rows, config(), cache=tmp_path / "cache").records]
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[4] == found[8] == str(tmp_path / "two.jpg")
    assert Path(found[2]).read_bytes() == encoded(plain)
    assert Path(found[5]).read_bytes() == (tmp_path / "two.jpg").read_bytes()
    assert opened.tile  # still unloaded
    assert [Path(image).suffix for image in found[5:8]] == [".jpg", ".png", ".img"]
    assert Path(found[7]).read_bytes() == b"nonsense"  # for the check of images to report
    for image in (found[0], found[2]):
        assert np.array_equal(np.asarray(read_image(image)), np.asarray(plain))
    assert np.array_equal(np.asarray(read_image(found[6])), np.asarray(picture(3, "CMYK").convert("RGB")))
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.*")}
    assert [record.image for record in open_data(rows, config(), cache=tmp_path / "cache").records] == found
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.*")} == written


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_bytes_in_the_cells_of_a_table(kind: str, tmp_path: Path) -> None:
    columns = {"image": [encoded(picture(1)), encoded(picture(2), "JPEG")], "label": ["x", "y"]}
    manifest = open_data(KINDS[kind](columns), config(), cache=tmp_path)
    assert [Path(record.image).read_bytes() for record in manifest.records] == columns["image"]
    nested = {**columns, "image": [{"bytes": each, "path": "x.jpg"} for each in columns["image"]]}
    assert open_data(KINDS[kind](nested), config(), cache=tmp_path).records == manifest.records


def hf_dataset(images: list[Any], **columns: tuple[list[Any], Any]) -> datasets.Dataset:
    count = len(images)
    data: dict[str, tuple[list[Any], Any]] = {
        "photo": (images, datasets.Image()),
        "text": ([f"text {number}" for number in range(count)], datasets.Value("string")),
        "dish": ([number % 2 for number in range(count)], datasets.ClassLabel(names=["soup", "cake"])),
        **columns,
    }
    features = datasets.Features({name: feature for name, (_, feature) in data.items()})
    return datasets.Dataset.from_dict({name: values for name, (values, _) in data.items()}, features=features)


def test_a_dataset_is_read_by_names_and_types(tmp_path: Path) -> None:
    picture(9).save(tmp_path / "nine.png")
    images = [picture(number) for number in range(4)] + [str(tmp_path / "nine.png")]
    manifest = open_data(hf_dataset(images), config(val_share=0.4, test_share=0.2), cache=tmp_path / "cache")
    assert [record.label for record in manifest.records] == ["soup", "cake", "soup", "cake", "soup"]
    assert manifest.source == "The Hugging Face dataset"
    for number, record in enumerate(manifest.records[:4]):
        assert np.array_equal(np.asarray(read_image(record.image)), np.asarray(picture(number)))
    assert manifest.records[4].image == str(tmp_path / "nine.png")
    assert set(manifest.splits()) == {"train", "val", "test"}
    streamed = open_data(hf_dataset(images).to_iterable_dataset(), config(), cache=tmp_path / "cache")
    assert [record.image for record in streamed.records] == [record.image for record in manifest.records]


def test_a_dict_of_datasets_keeps_its_splits(tmp_path: Path) -> None:
    parts = datasets.DatasetDict(
        {
            "train": hf_dataset([picture(number) for number in range(6)]),
            "test": hf_dataset([picture(7), picture(8)], dish=([-1, 1], datasets.ClassLabel(names=["soup", "cake"]))),
            "unsupervised": hf_dataset([picture(9)]),
        }
    )
    manifest = open_data(parts, config(val_share=0.3), cache=tmp_path)
    assert manifest.splits() == {"train": 4, "val": 2, "test": 1}
    assert manifest.notes[:2] == (
        "The Hugging Face dataset: left out the split 'unsupervised'.",
        "The Hugging Face dataset: left out 1 rows without label of split 'test'.",
    )
    with pytest.raises(DataError, match=r"The Hugging Face dataset: no column 'name' of split 'train'; found 'photo'"):
        open_data(parts, config(columns={"label": "name"}), cache=tmp_path)


class Tables:
    """A table of another library, of which only the Arrow interface is known."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pyarrow.table(COLUMNS).__arrow_c_stream__(requested_schema)


def test_any_table_with_the_arrow_interface(tmp_path: Path) -> None:
    manifest = open_data(Tables(), config())
    assert manifest.records == open_data(pd.DataFrame(COLUMNS), config()).records
    assert manifest.source.startswith("The ")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (pd.DataFrame({"image": ["a"], "lable": ["x"]}), "The pandas table has no column 'label'; found 'image', "
         "'lable'. Did you mean 'lable'? Name the column of the labels with `data.columns.label=NAME`."),
        (pd.DataFrame({"image": [], "label": []}), "The pandas table is empty. It must have one row per image."),
        (pd.DataFrame([["a", "b", "x"]], columns=["image", "image", "label"]),
         "The pandas table has the column 'image' more than once; rename or remove one."),
        (polars.DataFrame({**COLUMNS, "label": [["x"], [], [], []]}), "The polars table has a blank 'label' in row"),
        (pyarrow.table({**COLUMNS, "split": ["train", "val", "tset", "val"]}),
         "The pyarrow table, row 3: unknown split 'tset'. Expected train, val, test, unlabelled. Did"),
        (pd.DataFrame({**COLUMNS, "text": ["", "", b"x", ""]}), "pandas table, row 3: column 'text' holds a bytes."),
        (pd.DataFrame({**COLUMNS, "image": ["a", "b", np.zeros((2, 2, 7)), "c"]}), "The pandas table, row 3, column "
         "'image': the image is an array (2, 2, 7) of float64. Expected uint8 of the shape (H, W)"),
        (pd.DataFrame({**COLUMNS, "image": ["a", object(), "b", "c"]}),
         "The pandas table, row 2: column 'image' holds a object."),
        ([("a", "", "x"), ("b", "x")], "The list of rows, row 2: found 2 entries. Expected a tuple (image,"),
        (["a.jpg"], "The list of rows, row 1: found the type str. Expected a tuple"),
        ([], "The list of rows is empty."),
        (7, "Data of the type int cannot be read. Expected a path or the name of a source; a table of pandas"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_kind_row_and_column(data: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        open_data(data, config(), cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"images in memory cannot be written below .*cache/in-memory: Not a directory"):
        open_data([(picture(1), "", "x")], config(), cache=tmp_path / "cache")


def test_a_table_with_an_order_of_classes_keeps_it() -> None:
    table = {**COLUMNS, "label_index": [1, 0, 0, 1]}
    manifest = open_data(pyarrow.table(table), config())
    assert isinstance(manifest, Manifest)
    assert manifest.classes == ("lime", "apple")
