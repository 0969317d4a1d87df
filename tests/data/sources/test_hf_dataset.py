"""Hugging Face datasets: saved to disk, and streamed from a folder of data files."""

import builtins
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from marnet.data.images import read_image
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.sources import load_source
from marnet.data.trainable import check_trainable
from marnet.errors import DataError

datasets = pytest.importorskip("datasets", reason="the extra 'hf' is not installed")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")


def picture(colour: tuple[int, int, int], kind: str = "PNG") -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(stream, kind)
    return {"bytes": stream.getvalue(), "path": None}


def part(count: int, *, kind: str = "PNG", **changes: Any) -> Any:
    """Rows of two classes, every third without text."""
    columns: dict[str, Any] = {
        "image": [picture((40 * row, 10, 10), kind) for row in range(count)],
        "text": [None if row % 3 == 0 else f"text\n{row}" for row in range(count)],
        "label": [row % 2 for row in range(count)],
    }
    features = {
        "image": datasets.Image(),
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["soup", "cake"]),
    }
    for name, (values, feature) in changes.items():
        columns[name], features[name] = values, feature
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    splits = {"train": part(4), "validation": part(2, kind="JPEG"), "test": part(2)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_dataset_on_disk(saved: Path, tmp_path: Path) -> None:
    manifest = load_source(f"hf-dataset:{saved}", cache=tmp_path / "cache")
    assert [tuple(record)[1:4] for record in manifest.records] == [
        ("", "soup", "train"),
        ("text 1", "cake", "train"),
        ("text 2", "soup", "train"),
        ("", "cake", "train"),
        ("", "soup", "val"),
        ("text 1", "cake", "val"),
        ("", "soup", "test"),
        ("text 1", "cake", "test"),
    ]
    assert manifest.classes == ("cake", "soup")
    assert manifest.source == f"hf-dataset:{saved}"
    assert manifest.notes == ()
    assert Path(manifest.records[1].image).read_bytes() == picture((40, 10, 10))["bytes"]
    assert [Path(record.image).suffix for record in manifest.records] == [".png"] * 4 + [".jpg"] * 2 + [".png"] * 2
    assert all(Path(record.image).is_relative_to(tmp_path / "cache") for record in manifest.records)
    assert read_image(manifest.records[1].image).getpixel((0, 0)) == (40, 10, 10)
    check_trainable(manifest)


def test_a_second_call_needs_neither_package_nor_export(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = load_source(f"hf-dataset:{saved}", cache=cache)
    without_package(monkeypatch)
    assert load_source(f"hf-dataset:{saved}", cache=cache) == first
    with pytest.raises(DataError, match=re.escape(
        f"hf-dataset: {saved} needs the package 'datasets', which is not installed. Install it with: pip install "
        f"'marnet[hf]'"
    )):  # fmt: skip
        load_source(f"hf-dataset:{saved}", cache=tmp_path / "another")


def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_changed_dataset_is_written_anew(saved: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_source(f"hf-dataset:{saved}", cache=cache)
    datasets.DatasetDict({"train": part(6), "test": part(2)}).save_to_disk(saved)
    assert len(load_source(f"hf-dataset:{saved}", cache=cache).records) == 8 == len(first.records)
    assert len(list((cache / "hf-dataset").iterdir())) == 2


def test_a_folder_of_data_files_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    part(4).to_parquet(tmp_path / "files" / "train-0.parquet")
    part(2).to_parquet(tmp_path / "files" / "test-0.parquet")
    manifest = load_source(f"hf-dataset:{tmp_path}/files", ReadOptions(val_share=0.5), cache=tmp_path / "cache")
    assert manifest.splits() == {"train": 2, "val": 2, "test": 2}
    assert set(manifest.classes) == {"soup", "cake"}
    assert manifest.notes == (
        f"hf-dataset:{tmp_path}/files has no split val: 2 of 4 images of train became it, stratified, with seed 0.",
    )


def test_without_splits_a_stratified_one_is_made(tmp_path: Path) -> None:
    part(40).save_to_disk(tmp_path / "one")
    manifest = load_source(f"hf-dataset:{tmp_path}/one", ReadOptions(split_seed=2), cache=tmp_path / "cache")
    assert set(manifest.splits()) == {"train", "val", "test"}
    assert manifest.notes[0].startswith(
        f"hf-dataset:{tmp_path}/one names no splits: made a stratified one with seed 2,"
    )
    other = load_source(f"hf-dataset:{tmp_path}/one", ReadOptions(split_seed=3), cache=tmp_path / "cache")
    assert other.records != manifest.records


def test_columns_by_name_and_by_type(tmp_path: Path) -> None:
    rows = part(
        4,
        caption=([["red", "hot"], [], ["sweet"], ["a"]], datasets.Sequence(datasets.Value("string"))),
        part=(["train", "train", "valid", "test"], datasets.Value("string")),
    ).rename_columns({"image": "photo", "label": "dish"})
    rows.save_to_disk(tmp_path / "one")
    source = f"hf-dataset:{tmp_path}/one,text=caption,split=part"
    manifest = load_source(source, cache=tmp_path / "cache")
    assert [tuple(record)[1:4] for record in manifest.records] == [
        ("red, hot", "soup", "train"),
        ("", "cake", "train"),
        ("sweet", "soup", "val"),
        ("a", "cake", "test"),
    ]
    same = load_source(
        f"hf-dataset:{tmp_path}/one",
        ReadOptions(columns=ColumnNames(text="caption", split="part")),
        cache=tmp_path / "cache",
    )
    assert same.records == manifest.records


def test_rows_without_label_and_unknown_splits_are_left_out_and_noted(tmp_path: Path) -> None:
    unlabelled = part(3).map(lambda row: {"label": -1})
    parts = {"train": part(4), "test": unlabelled, "unsupervised": part(2)}
    datasets.DatasetDict(parts).remove_columns("text").save_to_disk(tmp_path / "saved")
    manifest = load_source(f"hf-dataset:{tmp_path}/saved", cache=tmp_path / "cache")
    assert "test" not in manifest.splits()
    assert manifest.notes[:2] == (
        f"hf-dataset:{tmp_path}/saved: left out the split 'unsupervised'.",
        "hf-dataset: no column 'text' of split 'train', found 'image', 'label': texts are blank. Name another "
        "column with `data.columns.text=NAME`.",
    )
    assert "hf-dataset: left out 3 rows without label of split 'test'." in manifest.notes


def test_a_damaged_image_is_left_to_the_check(tmp_path: Path) -> None:
    rows = part(2, image=([picture((0, 0, 0)), {"bytes": b"nonsense", "path": None}], datasets.Image()))
    rows.save_to_disk(tmp_path / "one")
    manifest = load_source(f"hf-dataset:{tmp_path}/one", cache=tmp_path / "cache")
    broken = next(record.image for record in manifest.records if record.image.endswith(".img"))
    assert Path(broken).read_bytes() == b"nonsense"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            ",text=txt",
            "no column 'txt' of split 'train'; found 'image', 'text', 'label'. Did you mean 'text'? Name the "
            "column of the texts with `data.columns.text=NAME`.",
        ),
        (
            ",txt=text",
            "unknown key 'txt'. Did you mean 'text'? Keys follow the path; known keys: image, text, "
            "label, split, group, "
            "config.",
        ),
        (
            ",image=text",
            "row 1 of split 'train': the image is NoneType 'None'. Expected a column of the type "
            "Image, or the "
            "bytes of an image file.",
        ),
        (",split=text", "row 2 of split 'train': unknown split 'text\\n1'. Expected train, val, test, unlabelled."),
    ],
)
def test_wrong_columns_are_refused(saved: Path, tmp_path: Path, option: str, sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(f"hf-dataset:{saved}{option}", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_a_dataset_without_labels_or_known_splits_is_refused(tmp_path: Path) -> None:
    part(2).remove_columns("label").save_to_disk(tmp_path / "one")
    with pytest.raises(
        DataError,
        match=r"no column 'label'; found 'image', 'text'. Name the column of the "
        r"labels with",
    ):
        load_source(f"hf-dataset:{tmp_path}/one", cache=tmp_path)
    datasets.DatasetDict({"a": part(2), "b": part(2)}).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"two has the splits 'a', 'b', but it must have some of train, val, test."):
        load_source(f"hf-dataset:{tmp_path}/two", cache=tmp_path)


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError,
        match=r"empty cannot be loaded: \w+: .*Name a folder written by "
        r"save_to_disk, a folder",
    ):
        load_source(f"hf-dataset:{tmp_path}/empty", cache=tmp_path / "cache")
    with pytest.raises(
        DataError,
        match=r"'hf-dataset' names no folder. Write "
        r"hf-dataset:PATH\[,image=VALUE,text=VALUE,",
    ):
        load_source("hf-dataset", cache=tmp_path / "cache")


NAMED = datasets.Features({"label": datasets.Sequence(datasets.ClassLabel(names=["soup", "cake"]))})["label"]


def test_lists_of_classes(tmp_path: Path) -> None:
    lists = part(4, label=([[1, 0], [], [0], [1]], NAMED))
    datasets.DatasetDict({"train": lists, "validation": part(2)}).save_to_disk(tmp_path / "saved")
    manifest = load_source(
        f"hf-dataset:{tmp_path / 'saved'}", ReadOptions(label_form="multi"), cache=tmp_path / "cache"
    )
    assert [manifest.names(record) for record in manifest.records] == [
        ("cake", "soup"), (), ("soup",), ("cake",), ("soup",), ("cake",),
    ]  # fmt: skip
    assert manifest.classes == ("cake", "soup")


def test_lists_and_comma_lists_of_names(tmp_path: Path) -> None:
    lists = (["a", None, "b"], ["a"], [], None)
    for name, values, feature in (
        ("lists", lists, datasets.Sequence(datasets.Value("string"))),
        ("texts", ["b, a", "a", " ,", None], datasets.Value("string")),
    ):
        rows = part(4, label=(list(values), feature))
        rows.save_to_disk(tmp_path / name)
        manifest = load_source(
            f"hf-dataset:{tmp_path / name}", ReadOptions(label_form="multi"), cache=tmp_path / "cache"
        )
        assert [record.label for record in manifest.records] == ["a, b", "a", ""]
        assert manifest.notes[0] == "hf-dataset: left out 1 rows without label."


def test_a_list_is_no_single_class(tmp_path: Path) -> None:
    part(2, label=([[1, 0], [0]], NAMED)).save_to_disk(tmp_path / "saved")
    with pytest.raises(
        DataError, match=r"row 1: the label is the list \[1, 0\], but it must be one class per image. If an"
    ):
        load_source(f"hf-dataset:{tmp_path / 'saved'}", cache=tmp_path / "cache")


def test_a_comma_in_a_name_of_a_list_is_refused(tmp_path: Path) -> None:
    part(2, label=([["a, b"], ["c"]], datasets.Sequence(datasets.Value("string")))).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="row 1: the label lists 'a, b', but commas separate the classes of a label"):
        load_source(f"hf-dataset:{tmp_path / 'saved'}", ReadOptions(label_form="multi"), cache=tmp_path / "cache")
