"""Hugging Face's imagefolder convention: metadata files and class trees."""

import json
import re
from pathlib import Path

import pytest

from marnet.config import make_config
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.sources import load_source, open_data
from marnet.data.trainable import check_trainable
from marnet.errors import DataError


def put(root: Path, *names: str, content: str = "") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")


def rows(manifest: object, root: Path) -> list[tuple[str, str, str, str]]:
    return [(str(Path(each.image).relative_to(root)), *each[1:4]) for each in manifest.records]


def tree(root: Path, *folders: str, images: int = 10) -> None:
    for folder in folders:
        put(root, *(f"{folder}/{number}.jpg" for number in range(images)))


class TestMetadata:
    """`metadata.csv` and `metadata.jsonl`."""

    def test_one_file_whose_names_tell_the_split(self, tmp_path: Path) -> None:
        put(tmp_path, "train/a.jpg", "train/b.jpg", "validation/c.jpg", "test/d.jpg")
        put(tmp_path, "metadata.csv", content="\ufefffile_name,text,label\ntrain/a.jpg,red,apple\n./train/b.jpg,,lime\n"
            "validation/c.jpg,green,lime\ntest/d.jpg,red,apple\n")  # fmt: skip
        manifest = load_source(f"imagefolder:{tmp_path}")
        assert rows(manifest, tmp_path) == [
            ("train/a.jpg", "red", "apple", "train"),
            ("train/b.jpg", "", "lime", "train"),
            ("validation/c.jpg", "green", "lime", "val"),
            ("test/d.jpg", "red", "apple", "test"),
        ]
        assert manifest.classes == ("apple", "lime")
        assert manifest.notes == (f"imagefolder:{tmp_path}: read metadata.csv.",)

    def test_a_file_for_each_split(self, tmp_path: Path) -> None:
        for split, label in {"train": "apple", "dev": "lime", "test": "apple"}.items():
            put(tmp_path, f"{split}/1.jpg")
            line = json.dumps({"file_name": "1.jpg", "text": ["red", "round"], "label": label})
            put(tmp_path, f"{split}/metadata.jsonl", content=line + "\n")
        manifest = load_source(str(tmp_path))
        assert rows(manifest, tmp_path) == [
            ("dev/1.jpg", "red, round", "lime", "val"),
            ("test/1.jpg", "red, round", "apple", "test"),
            ("train/1.jpg", "red, round", "apple", "train"),
        ]

    def test_a_file_of_a_split_may_name_images_elsewhere(self, tmp_path: Path) -> None:
        put(tmp_path, "pictures/1.jpg", "pictures/2.jpg")
        for split, number in {"train": 1, "test": 2}.items():
            put(tmp_path, f"{split}/metadata.csv", content=f"file_name,label\n../pictures/{number}.jpg,a\n")
        assert rows(load_source(str(tmp_path)), tmp_path) == [
            ("pictures/2.jpg", "", "a", "test"),
            ("pictures/1.jpg", "", "a", "train"),
        ]

    def test_the_layout_may_stand_in_a_folder_data(self, tmp_path: Path) -> None:
        put(tmp_path, "README.md", "data/train/1.jpg", "data/val/2.jpg")
        put(tmp_path, "data/metadata.csv", content="file_name,label\ntrain/1.jpg,a\nval/2.jpg,b\n")
        manifest = load_source(str(tmp_path))
        assert rows(manifest, tmp_path / "data") == [("train/1.jpg", "", "a", "train"), ("val/2.jpg", "", "b", "val")]

    def test_a_column_of_splits_wins(self, tmp_path: Path) -> None:
        put(tmp_path, "1.jpg", "2.jpg")
        put(tmp_path, "metadata.csv", content="file_name,label,split\n1.jpg,a,TRAIN\n2.jpg,b,valid\n")
        assert load_source(str(tmp_path)).splits() == {"train": 1, "val": 1}

    def test_without_splits_a_stratified_one_is_made(self, tmp_path: Path) -> None:
        put(tmp_path, *(f"{number}.jpg" for number in range(40)))
        lines = "".join(f"{number}.jpg,{'ab'[number % 2]}\n" for number in range(40))
        put(tmp_path, "metadata.csv", content="file_name,label\n" + lines)
        manifest = load_source(str(tmp_path), ReadOptions(val_share=0.2, test_share=0.1, split_seed=3))
        assert manifest.splits() == {"train": 28, "val": 8, "test": 4}
        assert manifest.notes[-1] == (
            f"imagefolder:{tmp_path} names no splits: made a stratified one with seed 3, train 28, val 8, test 4."
        )
        assert manifest != load_source(str(tmp_path), ReadOptions(val_share=0.2, test_share=0.1, split_seed=4))

    def test_columns_can_have_other_names(self, tmp_path: Path) -> None:
        put(tmp_path, "1.jpg", "2.jpg")
        put(tmp_path, "metadata.csv", content="picture,caption,dish,part\n1.jpg,red,a,train\n2.jpg,green,b,val\n")
        columns = {"image": "picture", "text": "caption", "label": "dish", "split": "part"}
        manifest = open_data(str(tmp_path), make_config({"data": {"columns": columns}}).data)
        assert rows(manifest, tmp_path) == [("1.jpg", "red", "a", "train"), ("2.jpg", "green", "b", "val")]

    def test_folders_name_the_classes_where_no_column_does(self, tmp_path: Path) -> None:
        put(tmp_path, "train/cat/1.jpg", "val/dog/2.jpg")
        put(tmp_path, "metadata.csv", content="file_name,text\ntrain/cat/1.jpg,soft\nval/dog/2.jpg,\n")
        manifest = load_source(str(tmp_path))
        assert rows(manifest, tmp_path) == [
            ("train/cat/1.jpg", "soft", "cat", "train"),
            ("val/dog/2.jpg", "", "dog", "val"),
        ]
        assert (
            f"{tmp_path}/metadata.csv has no column 'label': an image's folder is taken for its class."
            in manifest.notes
        )

    def test_classes_csv_gives_the_texts_that_metadata_has_not(self, tmp_path: Path) -> None:
        put(tmp_path, "1.jpg", "2.jpg")
        put(tmp_path, "metadata.csv", content="file_name,label,split\n1.jpg,cat,train\n2.jpg,dog,val\n")
        put(tmp_path, "classes.csv", content='label,text\ncat,"soft, small"\ndog,\n')
        assert [record.text for record in load_source(str(tmp_path)).records] == ["soft, small", ""]

    def test_what_can_be_tolerated_is_noted(self, tmp_path: Path) -> None:
        put(tmp_path, "train/1.jpg", "val/1.jpg", "val/9.jpg", ".hidden/x.jpg")
        put(tmp_path, "metadata.csv", content="file_name,label\ntrain/1.jpg,a\nval/2.jpg,b\nval/1.jpg,a\n\n")
        source = f"imagefolder:{tmp_path}"
        assert load_source(source).notes == (
            f"{source}: read metadata.csv.",
            f"{tmp_path}/metadata.csv has no column 'text' (found 'file_name', 'label'): all texts are blank.",
            f"{source}: images in the metadata but not on disk: 1, such as {tmp_path}/val/2.jpg.",
            f"{source}: images on disk but not in the metadata: 1, such as {tmp_path}/val/9.jpg; left out.",
        )
        put(tmp_path, "metadata.csv", content="file_name,label,split\n1.jpg,a,train\n1.jpg,a,val\n")
        note = f"{source}: images in more than one split: 1, such as {tmp_path}/1.jpg; metrics on val and test are too"
        assert any(each.startswith(note) for each in load_source(source).notes)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (
                "filename,label\n1.jpg,a\n",
                "metadata.csv has no column 'file_name'; found 'filename', 'label'. "
                "Did you mean "
                "'filename'? Name the column of the images with `data.columns.image=NAME`.",
            ),
            (
                "file_name,label\n1.jpg,a\n,b\n",
                "metadata.csv, line 3: the 'file_name' is blank. It must name an image",
            ),
            (
                "file_name,label,split\n1.jpg,a,train\n2.jpg,,val\n",
                "metadata.csv has a blank 'label' in line 3, but",
            ),
            (
                "file_name,txt\n1.jpg,a\n",
                "metadata.csv, line 2: nothing names the class of '1.jpg'. Expected a "
                "column 'label', "
                "found 'file_name', 'txt'; or an image in a folder with the name of its class. Name the column of "
                "the labels "
                "with `data.columns.label=NAME`.",
            ),
            ("file_name,txt\ntrain/1.jpg,a\n", "metadata.csv, line 2: nothing names the class of 'train/1.jpg'."),
            (
                "file_name,label,split\n1.jpg,a,trian\n",
                "metadata.csv, line 2: unknown split 'trian'. Expected train, val, test, unlabelled. Did you",
            ),
            ("file_name,label\ntrain/1.jpg,a\n2.jpg,b\n", "1 of 2 rows have no split, such as "),
            ("file_name,label\n1.jpg\n", "metadata.csv, line 2, has 1 cells, but the first line has 2"),
        ],
    )
    def test_damaged_metadata_is_refused(self, tmp_path: Path, content: str, sentence: str) -> None:
        put(tmp_path, "metadata.csv", content=content)
        with pytest.raises(DataError, match=re.escape(sentence)):
            load_source(str(tmp_path))

    def test_two_metadata_files_are_refused(self, tmp_path: Path) -> None:
        put(tmp_path, "metadata.csv", "metadata.jsonl", content="file_name,label\n")
        with pytest.raises(
            DataError,
            match=r"holds both metadata.csv and metadata.jsonl. Remove one of them.",
        ):
            load_source(str(tmp_path))
        (tmp_path / "metadata.jsonl").unlink()
        put(tmp_path, "train/metadata.csv")
        with pytest.raises(
            DataError,
            match=r"found metadata.csv both in .* and in train. It must be either in "
            r"the folder its",
        ):
            load_source(str(tmp_path))


class TestTree:
    """One folder for each class."""

    def test_classes_without_splits(self, tmp_path: Path) -> None:
        tree(tmp_path, "dish 2", "dish 10")
        put(tmp_path, "dish 2/deeper/x.PNG", "dish 2/notes.txt", "dish 2/.x.jpg", "empty/readme.txt")
        manifest = load_source(f"imagefolder:{tmp_path}")
        assert manifest.classes == ("dish 2", "dish 10")
        assert len(manifest.records) == 21
        assert manifest.splits() == {"train": 13, "val": 4, "test": 4}
        check_trainable(manifest)
        assert manifest.notes[:3] == (
            f"imagefolder:{tmp_path}: read as a tree ROOT/<class>.",
            f"imagefolder:{tmp_path}: left out 2 files whose suffix is that of no image that is read: .txt 2.",
            f"imagefolder:{tmp_path} has no classes.csv and no metadata file: all texts are blank.",
        )

    def test_splits_and_classes_with_texts(self, tmp_path: Path) -> None:
        tree(tmp_path, "train/cat", "train/dog", "valid/cat", "testing/dog", images=1)
        put(tmp_path, "classes.csv", content='label,text\ndog,"loud, loyal"\ncat,\nfish,wet\n')
        put(tmp_path, "train/loose.jpg", "old/cat/1.jpg")
        manifest = load_source(str(tmp_path))
        assert rows(manifest, tmp_path) == [
            ("testing/dog/0.jpg", "loud, loyal", "dog", "test"),
            ("train/cat/0.jpg", "", "cat", "train"),
            ("train/dog/0.jpg", "loud, loyal", "dog", "train"),
            ("valid/cat/0.jpg", "", "cat", "val"),
        ]
        source = f"imagefolder:{tmp_path}"
        assert manifest.notes == (
            f"{source}: read as a tree ROOT/<split>/<class>.",
            f"{source}: left out 'old', which name no split.",
            f"{source}: images beside the folders of the classes, left out: 1.",
            f"{source}: classes.csv has no text of 'cat'; theirs are blank.",
            f"{source}: classes.csv describes classes that have no folder: 'fish'.",
        )

    def test_columns_of_classes_csv_can_have_other_names(self, tmp_path: Path) -> None:
        tree(tmp_path, "cat", "dog")
        put(tmp_path, "classes.csv", content="name,about\ncat,soft\ndog,loud\n")
        manifest = load_source(str(tmp_path), ReadOptions(columns=ColumnNames(label="name", text="about")))
        assert {record.text for record in manifest.records} == {"soft", "loud"}

    def test_train_and_test_alone_give_up_a_val(self, tmp_path: Path) -> None:
        tree(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
        manifest = load_source(str(tmp_path), ReadOptions(val_share=0.2, split_seed=5))
        assert manifest.splits() == {"train": 16, "val": 4, "test": 20}
        assert all("/test/" in record.image for record in manifest.split("test"))
        assert all("/train/" in record.image for record in manifest.split("val"))
        assert manifest.notes[-1] == (
            f"imagefolder:{tmp_path} has no split val: 4 of 20 images of train became it, stratified, with seed 5."
        )
        check_trainable(manifest)

    def test_a_class_may_be_called_test(self, tmp_path: Path) -> None:
        tree(tmp_path, "test", "train", "bus")
        assert load_source(str(tmp_path)).classes == ("bus", "test", "train")

    def test_without_train_no_folder_is_a_split(self, tmp_path: Path) -> None:
        tree(tmp_path, "test/first", "test/second", "bus/first")
        assert load_source(str(tmp_path)).classes == ("bus", "test")

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (
                "label/text\ncat/soft\n",
                "classes.csv has no column 'label'; found 'label/text'. It must have the "
                "columns 'label' and 'text', and one row per class.",
            ),
            (
                "label,text\ncat,soft\ndog,x\ncat,hard\n",
                "classes.csv names 'cat' more than once, in lines 2, 4. It must have one row per class.",
            ),
            ("label,text\n,soft\n", "classes.csv has a blank 'label', in line 2. It must have one row per class."),
        ],
    )
    def test_damaged_texts_are_refused(self, tmp_path: Path, content: str, sentence: str) -> None:
        tree(tmp_path, "cat", "dog")
        put(tmp_path, "classes.csv", content=content)
        with pytest.raises(DataError, match=re.escape(sentence)):
            load_source(str(tmp_path))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"gone is not a folder. Name one with a metadata file or one folder per class.",
    ):
        load_source(f"imagefolder:{tmp_path}/gone")
    put(tmp_path, "flat.jpg")
    sentence = (
        f"{tmp_path} holds neither metadata.csv (or .jsonl, .parquet) nor one folder of images per class; found "
        f"'flat.jpg'. Expected ROOT/<class>/*.jpg, ROOT/<split>/<class>/*.jpg or a metadata file with the column "
        f"'file_name'; "
        f"images end in .avif, .bmp, .gif, "
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(str(tmp_path))


class TestSeveralClasses:
    """`data.labels=multi`."""

    def test_metadata_lists_them(self, tmp_path: Path) -> None:
        put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
        lines = [("a.jpg", ["lime", "apple"], "train"), ("b.jpg", [], "train"), ("c.jpg", ["lime"], "val")]
        content = "\n".join(json.dumps({"file_name": a, "label": b, "split": c}) for a, b, c in lines)
        put(tmp_path, "metadata.jsonl", content=content)
        manifest = load_source(f"imagefolder:{tmp_path}", ReadOptions(label_form="multi"))
        assert [manifest.names(record) for record in manifest.records] == [("apple", "lime"), (), ("lime",)]
        assert manifest.classes == ("apple", "lime")
        with pytest.raises(DataError, match=r"metadata\.jsonl has a blank 'label' in line 2"):
            load_source(f"imagefolder:{tmp_path}", ReadOptions(unlabelled="refuse"))

    def test_folders_do_not(self, tmp_path: Path) -> None:
        tree(tmp_path, "apple", "lime, cut")
        with pytest.raises(
            DataError, match=r"so its folders give each image one class, but `data.labels=multi` is set"
        ):
            load_source(str(tmp_path), ReadOptions(label_form="multi"))
        put(tmp_path, "metadata.csv", content="file_name,text\napple/0.jpg,red\n")
        with pytest.raises(
            DataError, match=r"has no column 'label'; found .* `data.labels=multi` needs the column that"
        ):
            load_source(str(tmp_path), ReadOptions(label_form="multi"))

    def test_a_split_made_here_is_by_class(self, tmp_path: Path) -> None:
        names = [f"{number}.jpg" for number in range(40)]
        put(tmp_path, *names)
        rows = [f'{name},"{"a, b" if number < 4 else "a"}"' for number, name in enumerate(names)]
        put(tmp_path, "metadata.csv", content="\n".join(["file_name,label", *rows]))
        manifest = load_source(str(tmp_path), ReadOptions(label_form="multi"))
        assert [record.split for record in manifest.records if "b" in record.label].count("train") == 2
