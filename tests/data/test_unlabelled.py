"""Rows without a label become a split of their own, are counted, and come into neither val nor test."""

import re
from pathlib import Path
from typing import Any

import pytest

from marnet.data.groups import groups_across_splits
from marnet.data.manifest import Manifest, Record, label_targets, read_manifest, write_manifest
from marnet.data.moved import rows_without_splits
from marnet.data.options import ReadOptions
from marnet.data.recorded import FILE, read_recorded, write_recorded
from marnet.data.shards import read_shards
from marnet.data.shards.writing import write_shards
from marnet.data.sources import read_data
from marnet.data.tools.audit.check import check_crossings, check_splits
from marnet.errors import DataError

HEAD = "image,text,label,split\n"
ROWS = (
    f"{HEAD}a.jpg,red,apple,train\nb.jpg,green,lime,train\nc.jpg,long,,train\nd.jpg,,null,training\ne.jpg,r,lime,val\n"
)


def write(folder: Path, content: str, name: str = "rows.csv") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def test_blank_labels_of_train_become_a_split_and_are_told_once(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, ROWS))
    assert manifest.splits() == {"train": 2, "val": 1, "unlabelled": 2}
    assert manifest.labelled_splits() == ("train", "val")
    assert manifest.classes == ("apple", "lime")
    assert [record.text for record in manifest.split("unlabelled")] == ["long", ""]
    assert manifest.names(manifest.split("unlabelled")[0]) == ()
    told = [note for note in manifest.notes if "unlabelled" in note]
    assert len(told) == 1
    assert "2 of 5 rows have a blank 'label' (lines 4, 5) and make up the split 'unlabelled'" in told[0]
    assert "set `data.unlabelled=refuse`" in told[0]
    assert "'null' counts as missing; for a name, change `data.missing`" in told[0]
    assert "is the column whole" not in told[0]


def test_a_column_that_is_mostly_blank_raises_a_doubt(tmp_path: Path) -> None:
    rows = HEAD + "a.jpg,,x,train\nb.jpg,,y,train\nc.jpg,,x,val\n" + "".join(f"{i}.jpg,,,train\n" for i in range(9))
    (note,) = read_manifest(write(tmp_path, rows)).notes
    assert "9 of 12 rows" in note
    assert "That is most of them: is the column whole?" in note


@pytest.mark.parametrize(
    ("rows", "settings", "sentence"),
    [
        (ROWS, {"unlabelled": "refuse"}, "blank 'label' in lines 4, 5, but every row must have one."),
        (ROWS.replace("lime,val", ",val"), {}, "blank 'label' in line 6, but every row must have one. Fill it in, or "
         "remove that row. Only rows of train may lack a label."),
        (ROWS.replace("lime,val", ",test"), {}, "blank 'label' in line 6"),
        (HEAD + "a.jpg,,,train\nb.jpg,,,\n", {}, "blank 'label' in lines 2, 3, but every row must have one."),
        (ROWS.replace("apple,train", "apple,"), {}, "blank 'split' in line 2, but every row must have one."),
        (ROWS.replace("apple,train", "apple,unlabled"), {}, "Expected train, val, test, unlabelled. Did you mean "
         "'unlabelled'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(tmp_path: Path, rows: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_manifest(write(tmp_path, rows), **settings)


def test_the_column_of_splits_may_say_so(tmp_path: Path) -> None:
    rows = ROWS.replace("apple,train", "apple,Unlabeled").replace("c.jpg,long,,train", "c.jpg,long,apple,train")
    manifest = read_manifest(write(tmp_path, rows))
    assert [Path(record.image).name for record in manifest.split("unlabelled")] == ["a.jpg", "d.jpg"]
    assert {record.label for record in manifest.split("unlabelled")} == {""}
    assert any(
        "the split of 1 rows is 'unlabelled' (line 2), so their labels are not read" in n for n in manifest.notes
    )


def test_where_images_have_several_classes_only_the_split_says_so(tmp_path: Path) -> None:
    file = write(tmp_path, HEAD + 'a.jpg,,"x,y",train\nb.jpg,,,train\nc.jpg,,x,unlabelled\nd.jpg,,y,val\n')
    manifest = read_manifest(file, label_form="multi")
    assert manifest.splits() == {"train": 2, "val": 1, "unlabelled": 1}
    assert manifest.split("train")[1].label == ""
    assert manifest.split("unlabelled")[0].label == ""


class TestGeneratedSplits:
    def test_labelled_rows_are_split_as_without_the_others(self, tmp_path: Path) -> None:
        labelled = [f"{i}.jpg,,{'xy'[i % 2]}\n" for i in range(40)]
        more = [f"u{i}.jpg,,\n" for i in range(25)]
        alone = read_manifest(write(tmp_path, "image,text,label\n" + "".join(labelled), "alone.csv"))
        both = read_manifest(write(tmp_path, "image,text,label\n" + "".join([*more, *labelled]), "both.csv"))
        assert both.splits() == {**alone.splits(), "unlabelled": 25}
        assert [record for record in both.records if record.split != "unlabelled"] == list(alone.records)
        assert both.made_splits

    def test_groups_of_val_and_test_are_left_out_and_counted(self, tmp_path: Path) -> None:
        rows = "".join(f"{i}.jpg,{'xy'[i % 2]},product {i}\nu{i}.jpg,,product {i}\n" for i in range(40))
        manifest = read_manifest(write(tmp_path, "image,label,marnet_group\n" + rows))
        counts = manifest.splits()
        assert counts["val"] + counts["test"] == 12
        assert counts["unlabelled"] == 40 - 12
        assert any("12 rows without a label were left out" in note for note in manifest.notes)
        assert not groups_across_splits(manifest)

    def test_a_folder_with_metadata_and_no_val(self, tmp_path: Path) -> None:
        rows = "".join(f"{i}.jpg,{'xy'[i % 2]},train\n" for i in range(20)) + "u.jpg,,train\nt.jpg,x,test\n"
        write(tmp_path, "file_name,label,split\n" + rows, "metadata.csv")
        manifest = read_data(f"imagefolder:{tmp_path}", ReadOptions(val_share=0.2))
        assert manifest.splits() == {"train": 16, "val": 4, "test": 1, "unlabelled": 1}
        assert any("4 of 20 images of train became it" in note for note in manifest.notes)


def test_rows_in_memory_and_datasets(tmp_path: Path) -> None:
    rows = [("a", "", "x", "train"), ("b", "", "y", "train"), ("c", "t", None, "train"), ("d", "", "x", "val")]
    assert read_data(rows, ReadOptions()).splits() == {"train": 2, "val": 1, "unlabelled": 1}
    datasets = pytest.importorskip("datasets")
    image = {"bytes": b"\x89PNG\r\n\x1a\n", "path": None}
    names = datasets.ClassLabel(names=["x", "y"])
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string"), "label": names})
    train = {"image": [image] * 6, "text": list("abcdef"), "label": [0, 1, 0, 1, -1, -1]}
    parts = {
        "train": datasets.Dataset.from_dict(train, features=features),
        "validation": datasets.Dataset.from_dict(
            {name: values[:3] for name, values in train.items()}, features=features
        ),
    }
    manifest = read_data(datasets.DatasetDict(parts), ReadOptions(), cache=tmp_path)
    assert manifest.splits() == {"train": 4, "val": 3, "unlabelled": 2}
    assert any("2 rows without a label make up the split 'unlabelled'" in note for note in manifest.notes)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    saved = read_data(f"hf-dataset:{tmp_path / 'saved'}", ReadOptions(), cache=tmp_path)
    assert saved.splits() == manifest.splits()
    assert [record.text for record in saved.split("unlabelled")] == ["e", "f"]


@pytest.fixture
def rows(tmp_path: Path) -> Manifest:
    """Classes in an order of their own, a text with odd characters, and an image that is there."""
    from PIL import Image

    for name in "abcd":
        Image.new("RGB", (8, 8), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
    at = str(tmp_path)
    records = (
        Record(f"{at}/a.png", "t", "lime", "train"),
        Record(f"{at}/b.png", ' "é"\n', "", "unlabelled"),
        Record(f"{at}/c.png", "", "", "unlabelled", "g"),
        Record(f"{at}/d.png", "null", "apple", "val"),
    )
    return Manifest(records, ("lime", "apple"), "rows")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables_read_back_equal(rows: Manifest, tmp_path: Path, suffix: str) -> None:
    write_manifest(rows, tmp_path / f"rows{suffix}")
    back = read_manifest(tmp_path / f"rows{suffix}")
    assert (back.records, back.classes) == (rows.records, rows.classes)


def test_the_rows_of_a_run_read_back_equal_and_older_versions_refuse_them(rows: Manifest, tmp_path: Path) -> None:
    write_recorded(rows, tmp_path)
    back = read_recorded(tmp_path)
    assert (back.records, back.classes) == (rows.records, rows.classes)
    assert '"version": 3' in (tmp_path / FILE).read_text(encoding="utf-8").split("\n")[0]


def test_shards_read_back_equal(rows: Manifest, tmp_path: Path) -> None:
    write_shards(rows, tmp_path / "shards")
    back = read_shards(tmp_path / "shards", tmp_path / "cache")
    assert [record[1:] for record in back.records] == [record[1:] for record in rows.records]
    assert back.splits() == rows.splits()


def test_targets_say_that_there_is_no_label(rows: Manifest) -> None:
    assert label_targets(rows.records, rows.classes, "single").tolist() == [0, -1, -1, 1]
    with pytest.raises(DataError, match="not among the 2 classes: 'pear'"):
        label_targets([rows.records[0]._replace(label="pear")], rows.classes, "single")


def test_the_check_counts_them_as_training(rows: Manifest) -> None:
    shared = rows.records[3]._replace(split="unlabelled", label="", group="g2")
    crossing = Manifest((*rows.records[:3], rows.records[3]._replace(group="g2"), shared), rows.classes, "rows")
    assert [finding.code for finding in check_crossings(crossing)] == ["groups-across-splits"]
    assert not list(check_crossings(rows))
    assert "classes-missing-from-split" not in [
        finding.code for finding in check_splits(rows) if "unlabelled" in finding.message
    ]


def test_a_table_to_score_without_splits_scores_the_rows_that_have_a_label(tmp_path: Path) -> None:
    file = write(tmp_path, "image,label\n" + "".join(f"{i}.jpg,{'xy'[i % 2]}\n" for i in range(8)) + "u.jpg,\n")
    nothing = Manifest((), (), "no run")
    scored = rows_without_splits(read_manifest(file), lambda: nothing, "test")
    assert scored.splits() == {"test": 8, "unlabelled": 1}
    assert scored.notes[-1] == f"{file} names no splits: all its 8 rows that have a label are scored."
