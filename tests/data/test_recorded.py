"""The rows of a run are read back as they were written, whatever they hold."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marnet.data.labels import list_classes
from marnet.data.manifest import Manifest, Record, write_manifest
from marnet.data.recorded import FILE, read_recorded, write_recorded
from marnet.errors import DataError

# Any code point, surrogates as well, and what readers of tables tend to interpret.
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    [
        "nan",
        "NULL",
        "<NA>",
        " apple ",
        "a\rb",
        "a\r\nb",
        "\ud83d",
        "\ud83d\ude00",
        "\x00",
        "\ufeff",
        "\u2028",
        "1e3",
        "[]",
    ]
)
NAMES = TEXTS.map(lambda name: name.replace("\0", "_").replace("/", "_")).filter(
    lambda name: name not in ("", ".", "..")
)
SPLITS = st.sampled_from(["train", "val", "test"])


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.tuples(NAMES, TEXTS, TEXTS.filter(bool), SPLITS), max_size=5), st.booleans(), st.booleans())
def test_any_rows_are_read_back_equal(rows: list[tuple[str, str, str, str]], below: bool, several: bool) -> None:
    with TemporaryDirectory() as folder:
        at = folder if below else "/far"
        records = tuple(Record(f"{at}/{name}", text, label, split) for name, text, label, split in rows)
        form = "multi" if several else "single"
        classes = tuple(reversed(list_classes((record.label for record in records), form)))
        write_recorded(Manifest(records, classes, "rows", label_form=form), Path(folder))
        found = read_recorded(Path(folder))
    assert (found.records, found.classes, found.label_form) == (records, classes, form)


@pytest.mark.parametrize("image", ["a.png", "", "./a.png", "https://example.org/a.png", "/x/../a.png", "//x//a.png"])
def test_names_of_images_stand_as_they_are(tmp_path: Path, image: str) -> None:
    rows = Manifest((Record(image, "", "x", "train"),), ("x",), "rows")
    write_recorded(rows, tmp_path)
    assert read_recorded(tmp_path).records == rows.records


def test_images_below_the_folder_move_with_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rows = Manifest((Record(str(tmp_path / "a" / "x" / "1.png"), "", "x", "train"),), ("x",), "rows")
    write_recorded(rows, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_recorded(tmp_path / "b").records[0].image == str(tmp_path / "b" / "x" / "1.png")


def test_a_name_that_is_not_utf8_is_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    write_recorded(Manifest((Record(f"/far/{name}", "", "x", "train"),), ("x",), "rows"), tmp_path)
    assert os.fsencode(read_recorded(tmp_path).records[0].image) == b"/far/caf\xe9.png"


def test_the_table_of_an_older_version_is_read(tmp_path: Path) -> None:
    rows = Manifest((Record("/far/a.png", "red", "x, y", "train"),), ("x", "y"), "rows", label_form="multi")
    write_manifest(rows, tmp_path / "manifest.csv")
    assert read_recorded(tmp_path, label_form="multi").records == rows.records


HEADER = json.dumps({"format": "marnet-rows", "version": 1, "label_form": "single", "classes": ["x"]})
ROW = json.dumps({"image": "/a", "text": "", "label": "x", "split": "train"})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (f"{HEADER}\n{ROW}", "line 2 does not end, so the file was cut short"),
        ("", "line 1 does not end"),
        (f"{ROW}\n", "line 1 does not name the format 'marnet-rows'"),
        (f"{HEADER}\n{ROW}\n{ROW[:9]}\n", r"line 3 is not JSON"),
        (f"{HEADER}\n[1]\n", "line 2 is not a JSON object"),
        (f"{HEADER}\n" + ROW.replace('"x"', "1") + "\n", "line 2 does not hold image, text, label and split as texts"),
        (f"{HEADER}\n" + ROW.replace("image", "file") + "\n", "line 2 does not hold image"),
        (HEADER.replace("single", "double") + "\n", "line 1 does not say the form of labels"),
        (HEADER.replace('["x"]', '"x"') + "\n", "line 1 has no list of class names"),
        (HEADER.replace("1", "7") + "\n", "has version 7 .* this marnet reads version 3. Update marnet."),
        (f"{HEADER}\n" + "[" * 100_000 + "\n", "line 2 is not JSON"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_line(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(DataError, match=sentence):
        read_recorded(tmp_path)


def test_a_file_that_is_not_utf8_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest.jsonl does not exist"):
        read_recorded(tmp_path)
    (tmp_path / FILE).write_bytes(HEADER.encode() + b"\n\xff\n")
    with pytest.raises(DataError, match="line 2 is not UTF-8"):
        read_recorded(tmp_path)
