"""Files as columns of texts."""

import re
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from marnet.data.tables import Table, read_table, write_table
from marnet.errors import DataError


def test_csv_cells_stay_as_written_and_blanks_are_empty(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(
        b"\xef\xbb\xbfimage, label ,text,other\r\n"
        b'a.jpg,007,NaN,1\r\n\r\nb.jpg,1e3," two\nlines ",2\r\nc.jpg,x,null,3\r\n'
    )
    table = read_table(file, ["image", "label", "text"])
    assert table.columns["image"] == ["a.jpg", "b.jpg", "c.jpg"]
    assert table.columns["label"] == ["007", "1e3", "x"]
    assert table.columns["text"] == ["", "two\nlines", ""]
    assert list(table.columns) == ["image", "label", "text", "other"]
    assert table.numbers == [2, 4, 6]


def test_where_names_five_rows_at_most() -> None:
    table = Table("Manifest a.csv", {}, list(range(2, 12)), "line")
    assert table.where([0]) == "line 2"
    assert table.where([0, 1, 9]) == "lines 2, 3, 11"
    assert table.where(range(10)) == "lines 2, 3, 4, 5, 6 and 5 more"


def test_jsonl_numbers_lists_and_gaps(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"image": "a", "label": 3, "text": ["salt", null, "oil"]}\n\n'
        '{"image": "b", "label": 3.0, "text": NaN}\n{"image": "c", "label": true}\n'
    )
    table = read_table(file, ["image", "label", "text"])
    assert table.columns["label"] == ["3", "3", "True"]
    assert table.columns["text"] == ["salt, oil", "", ""]
    assert table.numbers == [1, 3, 4]


def test_parquet_numbers_lists_and_gaps(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    columns = {"image": ["a", "b"], "label": [3.0, 4.0], "text": [["salt", "oil"], None], "other": [b"1", b"2"]}
    parquet.write_table(pyarrow.table(columns), file)
    table = read_table(file, ["image", "label", "text", "split"])
    assert table.columns["label"] == ["3", "4"]
    assert table.columns["text"] == ["salt, oil", ""]
    assert list(table.columns) == ["image", "label", "text", "other"]
    assert table.where([1]) == "row 2"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_written_table_is_read_back(tmp_path: Path, suffix: str) -> None:
    columns = {"image": ["a,b.jpg", "ü.jpg"], "text": ['he said "hm"\r\nand left', ""], "label": ["01", "x y"]}
    write_table(tmp_path / "new" / f"a{suffix}", columns)
    assert read_table(tmp_path / "new" / f"a{suffix}", list(columns)).columns == columns


BAD_FILES = {
    "latin.csv": (
        "image,label\na.jpg,soup\nb.jpg,crème\n".encode("latin-1"),
        "is not UTF-8 text: found byte 0xE8 in line 3, byte 32 of the file. Save it as UTF-8; spreadsheets call that "
        "'CSV UTF-8'.",
    ),
    "latin.jsonl": ('{"image": "é"}'.encode("latin-1"), "is not UTF-8 text: found byte 0xE9 in line 1, byte 12"),
    "empty.csv": (b"", "is empty. It must have one row per image."),
    "header.csv": (b"image,label\n", "is empty. It must have one row per image."),
    "empty.jsonl": (b"\n\n", "is empty. It must have one row per image."),
    "ragged.csv": (
        b"image,label\na.jpg,soup\nb.jpg,salt, pepper\n",
        "line 3, has 3 cells, but the first line has 2. A text that holds a comma must stand in double quotes",
    ),
    "short.csv": (
        b"image,text,label\na.jpg,,soup\nb.jpg,salad\n",
        "line 3, has 2 cells, but the first line has 3. A blank cell still needs its mark (',') in the line",
    ),
    "repeated.jsonl": (
        b'{"image": "a"}\n{"image": "a", "text": "red", "text": "green"}\n',
        "line 2, has the key 'text' twice in one object, so that it is unknown which value counts. Leave one",
    ),
    "quote.csv": (b'image,label\na.jpg,"soup\n', "line 2, is not CSV: unexpected end of data."),
    "twice.csv": (b"image,label,label\na,b,c\n", "has the column 'label' more than once; rename or remove one."),
    "bad.jsonl": (b'{"image": "a"}\n{"image": \n', "line 2, is not JSON: Expecting value"),
    "list.jsonl": (b"[1, 2]\n", 'line 1, holds a list. It must hold an object such as {"image": "a.jpg"'),
    "nested.jsonl": (
        b'{"image": {"bytes": "xx"}}\n',
        "line 1: column 'image' holds a dict. Expected a text, a number or a list of texts. Images of a file are "
        "named by their path",
    ),
    "bad.parquet": (b"PAR1 not really", "is not a readable Parquet file:"),
    "a.xlsx": (
        b"PK",
        "has the suffix '.xlsx', but it must be one of .csv, .tsv, .jsonl, .parquet. Save it in one of these formats.",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, name: str) -> None:
    content, sentence = BAD_FILES[name]
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"Manifest {re.escape(str(file))},? {re.escape(sentence)}"):
        read_table(file, ["image", "label"])


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").touch()
    with pytest.raises(DataError, match=r"manifst.csv does not exist. Did you mean 'manifest.csv'\? Check the path."):
        read_table(tmp_path / "manifst.csv", [])
    with pytest.raises(DataError, match=r"a.csv does not exist. Check the path."):
        read_table(tmp_path / "nowhere" / "a.csv", [])


def test_unwritable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.txt cannot be written: its suffix must be one of .csv, .jsonl, .parquet."):
        write_table(tmp_path / "a.txt", {"image": []})
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match=r"a.csv could not be written: Is a directory."):
        write_table(tmp_path / "a.csv", {"image": []})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_that_cannot_be_written_keeps_the_old_one(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{suffix}"
    write_table(file, {"image": ["old.png"]})
    old = file.read_bytes()
    with pytest.raises(DataError, match="half of a character"):
        write_table(file, {"image": ["new.png"] * 1000 + ["\ud800"]})
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (old, [file])
