"""Images that wait for a label or a text, from folders and tables."""

from pathlib import Path

import pytest
from PIL import Image

from marnet.data.candidates import Candidate, read_candidates
from marnet.data.options import ColumnNames, ReadOptions
from marnet.errors import DataError

OPTIONS = ReadOptions()


def test_a_folder_gives_all_images_below_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "marnet")
    for name in ("b.png", "deep/er/a.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("") if path.suffix == ".txt" else Image.new("RGB", (2, 2)).save(path)
    found = read_candidates(tmp_path, OPTIONS, "label")
    assert found == [Candidate(str(tmp_path / "b.png")), Candidate(str(tmp_path / "deep/er/a.jpg"))]
    assert "left out 1 files whose suffix is that of no image that is read: .txt 1" in caplog.text


def test_a_table_gives_the_rows_that_lack_what_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("image,text,dish\na.jpg,red,\nb.jpg,,apple\na.jpg,red,\nc.jpg,NaN,nan\n", encoding="utf-8")
    options = ReadOptions(columns=ColumnNames(label="dish"))
    folder = str(tmp_path)
    assert read_candidates(file, options, "label") == [
        Candidate(f"{folder}/a.jpg", "red"),
        Candidate(f"{folder}/c.jpg"),
    ]
    assert read_candidates(file, options, "text") == [
        Candidate(f"{folder}/b.jpg", "", "apple"),
        Candidate(f"{folder}/c.jpg"),
    ]


def test_columns_of_labels_and_texts_may_be_absent(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("image\na.jpg\n", encoding="utf-8")
    assert read_candidates(file, OPTIONS, "text") == [Candidate(str(tmp_path / "a.jpg"))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image,label\na.jpg,apple\n", "All 1 rows of .* have a label"),
        ("picture\na.jpg\n", "no column 'image' of images; found 'picture'"),
        ("image,label\na.jpg,\n,apple\n", "a blank 'image' in line 3"),
    ],
)
def test_tables_without_candidates_are_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_candidates(file, OPTIONS, "label")


def test_places_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        read_candidates(tmp_path, OPTIONS, "label")
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        read_candidates(tmp_path / "none.csv", OPTIONS, "label")
