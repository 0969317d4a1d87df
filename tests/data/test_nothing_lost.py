"""Tables and folders of strangers: read as they mean it, or counted and named once, or refused."""

import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from marnet.data.cells import CellReader
from marnet.data.labels import list_classes
from marnet.data.manifest import Manifest, Record, read_manifest, write_manifest
from marnet.data.options import ReadOptions
from marnet.data.sources import load_source
from marnet.data.splits import split_by_classes
from marnet.data.tables import read_table
from marnet.errors import DataError

NFC, NFD = unicodedata.normalize("NFC", "crème"), unicodedata.normalize("NFD", "crème")
ODD = [
    "nan",
    "NULL",
    "<NA>",
    " apple ",
    "a\rb",
    "a\r\nb",
    'say "x"',
    ', "x',
    "\ufeffa",
    "\u2028",
    "1e3",
    "['a', 'b']",
    "{'a': 1}",
]
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    [*ODD, NFC, NFD, "x" * 140_000]
)
NAMES = TEXTS.map(lambda name: name[:50].replace("\0", "_").replace("/", "_") + ".png")


def put(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(file, format="PNG")
    return file


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8", newline="")
    return file


class TestConvert:
    @pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
    @pytest.mark.parametrize("form", ["single", "multi"])
    @settings(max_examples=40, deadline=None, database=None)
    @given(rows=st.lists(st.tuples(NAMES, TEXTS, TEXTS.filter(bool)), min_size=1, max_size=4))
    def test_a_converted_manifest_is_read_back_equal(
        self, suffix: str, form: str, rows: list[tuple[str, str, str]]
    ) -> None:
        with TemporaryDirectory() as folder:
            labels = [label.replace(",", "").strip() if form == "multi" else label for _, _, label in rows]
            records = tuple(
                Record(f"{folder}/{name}", text, label, "train")
                for (name, text, _), label in zip(rows, labels, strict=True)
            )
            manifest = Manifest(records, list_classes(labels, form), "rows", label_form=form)
            write_manifest(manifest, Path(folder, f"a{suffix}"))
            found = read_manifest(Path(folder, f"a{suffix}"), label_form=form)
        assert (found.records, found.classes) == (records, manifest.classes)

    def test_ordinary_rows_have_no_column_more(self, tmp_path: Path) -> None:
        rows = Manifest((Record("/far/a.png", "red, round", "apple", "train"),), ("apple",), "rows")
        write_manifest(rows, tmp_path / "a.csv")
        assert (tmp_path / "a.csv").read_text().splitlines()[0] == "image,text,label,split"

    def test_half_a_character_is_kept_by_jsonl_and_refused_by_the_others(self, tmp_path: Path) -> None:
        rows = Manifest((Record("/far/a.png", "cut \ud83d", "apple", "train"),), ("apple",), "rows")
        write_manifest(rows, tmp_path / "a.jsonl")
        assert read_manifest(tmp_path / "a.jsonl").records == rows.records
        for suffix in (".csv", ".parquet"):
            with pytest.raises(DataError, match=r"half of a character .* Write a \.jsonl file instead"):
                write_manifest(rows, tmp_path / f"a{suffix}")


class TestCells:
    def test_words_for_missing_can_be_changed_and_are_noted(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image,text,label,split\na,NaN,null,train\nb,x,null,val\n")
        with pytest.raises(DataError, match=r"blank 'label' in line 3.* 'null' counts as missing; for a name, change"):
            read_manifest(file)
        found = load_source(str(file), ReadOptions(missing=("NAN",)))
        assert [(row.text, row.label) for row in found.records] == [("", "null"), ("x", "null")]
        assert found.notes == (
            f"Manifest {file}: 1 cells of the column 'text' hold 'NaN', which counts as missing. If it is a name, list "
            f"in `data.missing` only the words that mean no value.",
        )

    def test_not_a_number_is_missing_whatever_the_words(self) -> None:
        reader = CellReader("a", missing=())
        assert reader.read("x", [float("nan"), "nan", None], numbers=[1, 2, 3], unit="row") == ["", "nan", ""]

    def test_half_a_character_is_replaced_and_noted(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.jsonl", '{"image": "a", "text": "cut \\ud83d", "label": "x", "split": "train"}\n')
        found = read_manifest(file)
        assert found.records[0].text == "cut \N{REPLACEMENT CHARACTER}"
        assert "1 cells of the column 'text' hold half of a character" in found.notes[0]

    def test_a_long_cell_is_read(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", f"image,text,label,split\na,{'red ' * 50_000},x,train\n")
        assert len(read_manifest(file).records[0].text) == 199_999


class TestTables:
    def test_tabs_of_a_tsv_and_utf16_of_a_spreadsheet_are_read(self, tmp_path: Path) -> None:
        text = "image\ttext\tlabel\tsplit\na.png\tred, round\tcrème\ttrain\n"
        write(tmp_path / "a.tsv", text)
        (tmp_path / "b.csv").write_text(text, encoding="utf-16")
        write(tmp_path / "c.csv", "sep=;\r\n" + text.replace("\t", ";").replace("\n", "\r\n"))
        for name in ("a.tsv", "b.csv", "c.csv"):
            assert load_source(str(tmp_path / name)).records[0][1:4] == ("red, round", "crème", "train")
        write(tmp_path / "c.csv", "sep=;\nimage;label\na;b;c\n")
        with pytest.raises(DataError, match="line 3, has 3 cells"):
            read_manifest(tmp_path / "c.csv")

    def test_spaces_before_quotes_are_no_part_of_a_cell(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", 'image, text, label, split\na, "red, round", "apple", train\n')
        found = read_manifest(file)
        assert found.records[0][1:4] == ("red, round", "apple", "train")
        assert found.notes == (f"Manifest {file} has spaces before quotes; they were taken for no part of the cells.",)
        inside = write(tmp_path / "b.csv", 'image,text,label,split\na,"he said, ""red""",apple,train\n')
        assert read_manifest(inside).records[0].text == 'he said, "red"'
        assert read_manifest(inside).notes == ()

    def test_a_column_in_another_case_is_read_and_noted(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "Image,caption,label,SPLIT\na,red,x,test\n")
        found = read_manifest(file)
        assert found.records == (Record(str(tmp_path / "a"), "", "x", "test"),)
        assert found.notes == (
            f"Manifest {file}: the column 'Image' is read as 'image'.",
            f"Manifest {file}: the column 'SPLIT' is read as 'split'.",
            f"{file} has no column 'text': all texts are blank. Columns that are not read: 'caption'; name the one of "
            f"the texts with `data.columns.text=NAME`.",
        )
        with pytest.raises(DataError, match=r"has several columns that may be 'split': 'Split', 'SPLIT'. Rename one."):
            read_table(write(tmp_path / "b.csv", "image,label,Split,SPLIT\na,x,train,test\n"), ["split"])

    def test_a_parquet_column_that_stands_twice_is_refused(self, tmp_path: Path) -> None:
        table = pyarrow.table([["a"], ["x"], ["y"]], names=["image", "text", "text"])
        parquet.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"has the column 'text' more than once; rename or remove one."):
            read_table(tmp_path / "a.parquet", ["image", "text"])
        assert read_table(tmp_path / "a.parquet", ["image"]).columns["image"] == ["a"]

    def test_a_column_that_may_name_splits_is_named(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image,text,label,Subset\na,,x,train\nb,,x,test\n")
        assert read_manifest(file).notes[-1].endswith("If 'Subset' names them, set `data.columns.split=Subset`.")

    def test_images_in_a_parquet_file_name_the_source_that_reads_them(self, tmp_path: Path) -> None:
        parquet.write_table(
            pyarrow.table({"image": [{"bytes": b"x", "path": "a"}], "label": ["x"]}), tmp_path / "a.parquet"
        )
        with pytest.raises(DataError, match=r"a folder of Parquet files that hold images is read as hf-dataset:FOLDER"):
            read_manifest(tmp_path / "a.parquet")


class TestLabels:
    def test_lists_in_brackets_are_taken_apart(self, tmp_path: Path) -> None:
        file = write(
            tmp_path / "a.csv",
            'image;label;split\na;[\'basil\', \'tomato\'];train\nb;"[""l\'ail""]";train\nc;[];val\nd;basil;val\n',
        )
        found = read_manifest(file, label_form="multi")
        assert [row.label for row in found.records] == ["basil, tomato", "l'ail", "", "basil"]
        assert found.classes == ("basil", "l'ail", "tomato")
        assert "3 labels are lists in brackets, such as \"['basil', 'tomato']\"" in found.notes[2]

    @pytest.mark.parametrize("cell", ["['basil' 'tomato']", "[basil, tomato]", "['a', ['b']]"])
    def test_what_only_begins_like_a_list_is_refused(self, tmp_path: Path, cell: str) -> None:
        file = write(tmp_path / "a.csv", f'image,label,split\na,"{cell}",train\n')
        with pytest.raises(DataError, match=r"a.csv, line 2: the label .* begins like a list, but"):
            read_manifest(file, label_form="multi")

    def test_dictionaries_are_refused(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image,label,split\na,{'name': 'x'},train\n")
        with pytest.raises(DataError, match=r"line 2: the label .* is a dictionary, as all others are"):
            read_manifest(file)

    def test_one_dictionary_among_names_is_refused(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image,label,split\na,{'name': 'x'},train\nb,x,train\n")
        with pytest.raises(DataError, match=r"line 2: the label .* is a dictionary, as 1 of 2 labels are"):
            read_manifest(file)

    def test_tuples_and_sets_are_taken_apart(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image;label;split\na;('basil', 'tomato');train\nb;{'basil'};val\nc;(b);val\n")
        found = read_manifest(file, label_form="multi")
        assert [row.label for row in found.records] == ["basil, tomato", "basil", "(b)"]

    def test_lists_of_one_name_and_other_marks_are_noted(self, tmp_path: Path) -> None:
        single = write(tmp_path / "a.csv", "image,text,label,split\na,,['x'],train\nb,,['y'],val\n")
        (note,) = read_manifest(single).notes
        assert "2 labels are lists of one name, such as \"['x']\", and each counts as the name of a class" in note
        multi = write(tmp_path / "b.csv", "image,text,label,split\na,,x|y,train\nb,,y,val\n")
        (note,) = read_manifest(multi, label_form="multi").notes
        assert note.endswith(
            "1 labels hold '|', such as 'x|y', and each counts as one class. If they list several classes, separate "
            "them by commas."
        )

    @pytest.mark.parametrize(
        ("one", "other"), [("1", "01"), ("1", "1.0"), ("a x", "a  x"), ("a x", "a\u00a0x"), ("ax", "a\u200bx")]
    )
    def test_names_that_look_alike_are_noted(self, tmp_path: Path, one: str, other: str) -> None:
        file = write(tmp_path / "a.csv", f"image,text,label,split\na,,{one},train\nb,,{other},val\nc,,2,val\n")
        found = read_manifest(file)
        assert len(found.classes) == 3
        assert "names of 1 classes differ in white space, invisible characters, or how a number" in found.notes[0]
        assert repr(other) in found.notes[0]

    @pytest.mark.parametrize("form", ["single", "multi"])
    def test_two_unicode_forms_of_a_name_are_one_class(self, tmp_path: Path, form: str) -> None:
        file = write(tmp_path / "a.csv", f"image,text,label,split\na,,{NFC},train\nb,,{NFD},val\nc,,x,val\n")
        found = read_manifest(file, label_form=form)
        assert found.classes == (NFC, "x")
        assert found.notes == (
            f"{file}: names of 1 classes stand in two Unicode forms, {NFC!r}; they were made equal in 1 rows.",
        )
        alone = write(tmp_path / "b.csv", f"image,text,label,split\nb,,{NFD},val\n")
        assert read_manifest(alone).classes == (NFD,)

    def test_names_that_differ_in_case_alone_are_noted(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", "image,text,label,split\na,,Apple,train\nb,,apple,val\n")
        found = read_manifest(file)
        assert found.classes == ("Apple", "apple")
        assert (
            "names of 1 classes differ in case alone and count as classes of their own: 'Apple' and 'apple'."
            in found.notes[0]
        )


def test_an_image_in_several_rows_stays_in_one_split() -> None:
    images = [f"{number}.png" for number in range(30) for _ in range(2)]
    names = [[label] for _ in range(30) for label in ("apple", "lime")]
    splits = split_by_classes(images, names, val_share=0.15, test_share=0.15, seed=0)
    assert splits[::2] == splits[1::2]
    assert {name: splits.count(name) // 2 for name in set(splits)} == {"train": 22, "val": 4, "test": 4}


class TestFolders:
    def test_all_photo_suffixes_are_read_and_other_files_counted(self, tmp_path: Path) -> None:
        for name in (
            "plum/a.avif",
            "plum/b.JFIF",
            "plum/c.jp2",
            "lime/d.png",
            "lime/e.png",
            "lime/f.png",
            "lime/g.heic",
        ):
            put(tmp_path / name)
        found = load_source(str(tmp_path))
        assert (len(found.records), found.classes) == (6, ("lime", "plum"))
        assert any(
            "left out 1 files whose suffix is that of no image that is read: .heic 1." in note for note in found.notes
        )

    def test_folders_of_systems_are_no_classes_and_empty_ones_are_named(self, tmp_path: Path) -> None:
        for name in ("__MACOSX/x/a.png", "plum/a.png", "plum/@eaDir/b.png", "lime/c.png", "none/d.txt"):
            put(tmp_path / name)
        found = load_source(str(tmp_path))
        assert (len(found.records), found.classes) == (2, ("lime", "plum"))
        assert any(note.endswith("folders without an image, left out: 1, 'none'.") for note in found.notes)

    def test_links_to_folders_are_followed_without_loops(self, tmp_path: Path) -> None:
        for name in ("t/apple/a.png", "t/apple/deep/b.png", "t/lime/c.png", "else/d.png", "else/more/e.png"):
            put(tmp_path / name)
        (tmp_path / "t" / "apple" / "link").symlink_to(tmp_path / "else")
        (tmp_path / "t" / "apple" / "again").symlink_to(tmp_path / "else")
        (tmp_path / "t" / "apple" / "self").symlink_to(tmp_path / "t" / "apple" / "deep")
        (tmp_path / "t" / "apple" / "up").symlink_to(tmp_path / "t")
        (tmp_path / "else" / "loop").symlink_to(tmp_path / "t" / "apple")
        found = [Path(row.image).name for row in load_source(str(tmp_path / "t")).records]
        assert sorted(found) == ["a.png", "b.png", "c.png", "d.png", "e.png"]

    def test_a_class_called_train_is_no_split(self, tmp_path: Path) -> None:
        lines = ["file_name,label,text"]
        for label in ("bus", "car", "train"):
            for number in range(6):
                put(tmp_path / label / f"{number}.png")
                lines.append(f"{label}/{number}.png,{label},")
        write(tmp_path / "metadata.csv", "\n".join(lines) + "\n")
        found = load_source(str(tmp_path))
        assert found.splits() == {"train": 12, "val": 3, "test": 3}
        assert any("are classes, not splits: 'bus', 'car', 'train'." in note for note in found.notes)

    def test_two_unicode_forms_of_a_folder_are_one_class(self, tmp_path: Path) -> None:
        for name in (NFC, NFD, "x"):
            put(tmp_path / name / "a.png")
        if len(list(tmp_path.iterdir())) < 3:
            pytest.skip("this file system has one form")
        assert load_source(str(tmp_path)).classes == (NFC, "x")

    def test_names_with_spaces_and_words_for_missing_are_classes(self, tmp_path: Path) -> None:
        for name in ("apple ", "apple", "nan"):
            put(tmp_path / name / "a.png")
        assert load_source(str(tmp_path)).classes == ("apple", "apple ", "nan")
