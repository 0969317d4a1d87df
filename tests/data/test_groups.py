"""Rows that belong together come into one split, and what crosses the splits of a source is named."""

import json
import logging
import random
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marnet.config import make_config
from marnet.data.groups import groups_across_splits, split_warnings, texts_across_splits
from marnet.data.manifest import Manifest, Record, read_manifest, write_manifest
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.recorded import FILE, read_recorded, write_recorded
from marnet.data.sources import load_source, open_data
from marnet.data.splits import split_by_classes, units_of
from marnet.data.tools.audit.check import check_crossings
from marnet.data.tools.convert import convert_manifest
from marnet.errors import DataError

SHARES = {"val_share": 0.15, "test_share": 0.15}


def together(images: list[str], groups: list[str]) -> list[set[int]]:
    """Return the rows of each unit by the slow way: join sets of rows as long as two of them share something."""
    units = [({image}, {group} - {""}, {row}) for row, (image, group) in enumerate(zip(images, groups, strict=True))]
    joined = True
    while joined:
        joined = False
        for one in range(len(units)):
            for other in range(one + 1, len(units)):
                if units[one][0] & units[other][0] or units[one][1] & units[other][1]:
                    units[one] = tuple(a | b for a, b in zip(units[one], units.pop(other), strict=True))
                    joined = True
                    break
            if joined:
                break
    return [rows for _, _, rows in units]


ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from(["", "", "p", "q", "r", "s"]), st.sampled_from("xyz"))
)


@settings(max_examples=200, deadline=None, database=None)
@given(ROWS, st.integers(0, 3), st.randoms())
def test_no_split_tears_a_group_or_an_image_apart(
    rows: list[tuple[str, str, str]], seed: int, shuffler: random.Random
) -> None:
    images, groups, labels = ([row[part] for row in rows] for part in range(3))
    found = split_by_classes(images, [[label] for label in labels], groups=groups, seed=seed, **SHARES)
    for unit in together(images, groups):
        assert len({found[row] for row in unit}) == 1
        assert len({units_of(images, groups)[row] for row in unit}) == 1
    assert {label for label, split in zip(labels, found, strict=True) if split == "train"} == set(labels)
    order = shuffler.sample(range(len(rows)), len(rows))
    again = split_by_classes(
        [images[row] for row in order],
        [[labels[row]] for row in order],
        groups=[groups[row] for row in order],
        seed=seed,
        **SHARES,
    )
    assert again == [found[row] for row in order]
    alone = split_by_classes(images, [[label] for label in labels], seed=seed, **SHARES)
    assert split_by_classes(images, [[each] for each in labels], groups=[""] * len(rows), seed=seed, **SHARES) == alone
    own = [f"group of {image}" for image in images]
    assert split_by_classes(images, [[label] for label in labels], groups=own, seed=seed, **SHARES) == alone


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_shares_of_each_class_are_kept_by_groups_of_equal_size(size: int) -> None:
    rows = [(f"{label}{number}.jpg", label, f"{label}{number // size}") for label in "ab" for number in range(60)]
    images, labels, groups = zip(*rows, strict=True)
    found = split_by_classes(images, [[label] for label in labels], groups=groups, seed=0, **SHARES)
    for label in "ab":
        counts = Counter(split for own, split in zip(labels, found, strict=True) if own == label)
        assert abs(counts["val"] - 9) <= size / 2
        assert abs(counts["test"] - 9) <= size / 2


def test_one_large_group_stays_in_train_and_small_classes_keep_val_and_test() -> None:
    groups = ["large"] * 40 + ["one"] * 2 + ["two"] * 3
    images = [f"{number:02d}" for number in range(45)]
    found = split_by_classes(images, [["a"]] * 45, groups=groups, seed=0, **SHARES)
    assert dict(zip(groups, found, strict=True))["large"] == "train"
    assert set(found[40:]) == {"val", "test"}
    alone = split_by_classes(images[:5], [["a"]] * 5, groups=["only"] * 5, seed=0, **SHARES)
    assert alone == ["train"] * 5
    odd = split_by_classes(images[:10], [["a"]] * 10, groups=list("pppppqqqqq"), seed=0, val_share=0.05, test_share=0.4)
    assert Counter(odd) == {"train": 5, "val": 5}
    pair = split_by_classes(images[:4], [["a"]] * 4, groups=list("ppqq"), seed=0, **SHARES)
    assert Counter(pair) == {"train": 2, "val": 2}


def products(classes: str = "ab", each: int = 6, photos: int = 3) -> list[dict[str, str]]:
    return [
        {"image": f"{label}{product}-{photo}.jpg", "text": f"Mug {label}{product}", "label": label, "sku": f"{product}"}
        for label in classes
        for product in range(each)
        for photo in range(photos)
    ]


def grouped(manifest: Manifest) -> dict[str, set[str]]:
    found = defaultdict(set)
    for record in manifest.records:
        found[record.group].add(record.split)
    return dict(found)


NAMED = ReadOptions(columns=ColumnNames(group="sku"))


class TestSources:
    """Every source with columns reads groups, and what is written keeps them."""

    @pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
    def test_tables(self, tmp_path: Path, suffix: str) -> None:
        table, file = pandas.DataFrame(products()), tmp_path / f"a{suffix}"
        match suffix:
            case ".csv":
                table.to_csv(file, index=False)
            case ".jsonl":
                table.to_json(file, orient="records", lines=True)
            case _:
                table.to_parquet(file)
        found = load_source(str(file), NAMED)
        assert grouped(found).keys() == set("012345")
        assert all(len(splits) == 1 for splits in grouped(found).values())
        assert found.splits().keys() == {"train", "val", "test"}
        same = open_data(table, make_config({"data": {"columns": {"group": "sku"}}}).data)
        assert [row[1:] for row in same.records if row.group] == [row[1:] for row in found.records]

    def test_a_folder_with_metadata(self, tmp_path: Path) -> None:
        table = pandas.DataFrame(products()).rename(columns={"image": "file_name"})
        table.to_csv(tmp_path / "metadata.csv", index=False)
        found = load_source(str(tmp_path), NAMED)
        assert all(len(splits) == 1 for splits in grouped(found).values())
        split = ["test" if row["sku"] == "0" else "train" for row in products()]
        table.assign(split=split).to_csv(tmp_path / "metadata.csv", index=False)
        held_out = grouped(load_source(str(tmp_path), NAMED))  # val is made of train
        assert held_out["0"] == {"test"}
        assert sorted(len(splits) for splits in held_out.values()) == [1] * 6
        assert {"val"} in held_out.values()

    def test_datasets_of_hugging_face(self, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        content = (tmp_path / "x").read_bytes() if (tmp_path / "x").is_file() else b"no image"
        columns = {name: [row[name] for row in products()] for name in ("text", "label", "sku")}
        rows = datasets.Dataset.from_dict({"image": [content] * len(products()), **columns})
        rows.save_to_disk(tmp_path / "saved")
        found = load_source(f"hf-dataset:{tmp_path}/saved,group=sku", cache=tmp_path / "cache")
        assert grouped(found).keys() == set("012345")
        assert all(len(splits) == 1 for splits in grouped(found).values())
        with_names = rows.map(lambda _, row: {"image": f"{row}.jpg"}, with_indices=True, remove_columns=["image"])
        config = make_config({"data": {"columns": {"group": "sku"}}}).data
        assert grouped(open_data(with_names, config, cache=tmp_path)).keys() == set("012345")

    def test_a_column_that_is_missing_is_refused_and_a_blank_one_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pandas.DataFrame(products()).assign(other="").to_csv(tmp_path / "a.csv", index=False)
        with pytest.raises(DataError, match=r"no column 'sk'.* Name the column of the groups with `data.columns.group"):
            load_source(str(tmp_path / "a.csv"), ReadOptions(columns=ColumnNames(group="sk")))
        open_data(tmp_path / "a.csv", make_config({"data": {"columns": {"group": "other"}}}).data)
        assert "has no groups, although `data.columns.group` is 'other': each image stands alone." in caplog.text

    def test_a_column_called_group_is_not_read_unless_it_is_named(self, tmp_path: Path) -> None:
        pandas.DataFrame(products()).rename(columns={"sku": "group"}).to_csv(tmp_path / "a.csv", index=False)
        assert {row.group for row in read_manifest(tmp_path / "a.csv").records} == {""}


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), max_size=5))
def test_groups_are_read_back_as_they_were_written(names: list[str]) -> None:
    rows = tuple(Record(f"/far/{row}.png", "", "x", "train", name) for row, name in enumerate(["mug", *names]))
    manifest = Manifest(rows, ("x",), "rows")
    with TemporaryDirectory() as folder:
        write_recorded(manifest, Path(folder))
        assert read_recorded(Path(folder)).records == rows
        for suffix in (".csv", ".jsonl", ".parquet"):
            write_manifest(manifest, Path(folder) / f"a{suffix}")
            assert read_manifest(Path(folder) / f"a{suffix}").records == rows


def test_rows_without_groups_are_written_as_before(tmp_path: Path) -> None:
    record = Record("/far/a.png", "", "x", "train")
    for version, group in ((1, ""), (2, "mug")):
        write_recorded(Manifest((record._replace(group=group),), ("x",), "rows"), tmp_path)
        header, row = map(json.loads, (tmp_path / FILE).read_text().splitlines())
        assert (header["version"], "group" in row) == (version, bool(group))
    convert_manifest(Manifest((record,), ("x",), "rows"), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "image,text,label,split"


def crossing(count: int, **changes: str) -> Manifest:
    """Return products of two photos, of which the first `count` stand in train and val."""
    rows = []
    for product in range(12):
        for photo in range(2):
            split = "val" if photo and product < count else "train"
            row = Record(f"{product}-{photo}", f"Mug  {product}", "ab"[product % 2], split)
            rows.append(row._replace(**{name: value.format(product) for name, value in changes.items()}))
    return Manifest(tuple(rows), ("a", "b"), "rows")


class TestCrossings:
    def test_groups_in_several_splits_are_counted_and_five_named(self) -> None:
        (warning,) = split_warnings(crossing(7, group="p{:02d}"))
        assert warning.startswith("rows: 7 groups have rows in more than one split, so metrics on val and test are")
        assert warning.endswith(
            "Found: 'p00' (train, val); 'p01' (train, val); 'p02' (train, val); 'p03' (train, val); 'p04' (train, val)"
            "; and 2 more."
        )
        (finding,) = check_crossings(crossing(7, group="p{:02d}"))
        assert (finding.severity, finding.code, len(finding.examples)) == ("warning", "groups-across-splits", 7)
        assert finding.examples[0] == {"group": "p00", "train": 1, "val": 1}
        assert "1 group has rows in" in split_warnings(crossing(1, group="p{}"))[0]

    def test_equal_texts_of_different_images_name_the_way_out(self) -> None:
        (warning,) = split_warnings(crossing(3))
        assert warning.startswith("rows: 3 texts are that of different images in more than one split. If these are")
        assert "name the column that says which rows belong together with `data.columns.group=NAME`" in warning
        assert warning.endswith("Found: 'mug 0' (train, val); 'mug 1' (train, val); 'mug 2' (train, val).")
        (finding,) = check_crossings(crossing(3))
        assert (finding.code, finding.examples[2]) == ("texts-across-splits", {"text": "mug 2", "train": 1, "val": 1})

    def test_texts_are_compared_without_case_and_white_space(self) -> None:
        rows = list(crossing(1).records)
        rows[1] = rows[1]._replace(text=" mug\n0 ")
        assert [each.name for each in texts_across_splits(Manifest(tuple(rows), ("a", "b"), "rows"))] == ["mug 0"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"text": ""},
            {"text": "all alike"},
            {"text": "Mug {}", "label": "{}"},  # one text per class
            {"image": "one"},  # equal images are reported as such
        ],
    )
    def test_nothing_is_said_where_texts_cross_by_nature(self, changes: dict[str, str]) -> None:
        assert split_warnings(crossing(5, **changes)) == []

    def test_nothing_is_said_of_texts_where_groups_tell_the_products_apart(self) -> None:
        rows = crossing(5)
        named = tuple(row._replace(group=f"p{number}") for number, row in enumerate(rows.records))
        assert split_warnings(Manifest(named, rows.classes, "rows")) == []
        assert groups_across_splits(crossing(0, group="p{}")) == []

    def test_reading_logs_the_warnings(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_manifest(crossing(2), tmp_path / "a.csv")
        with caplog.at_level(logging.INFO):
            open_data(tmp_path / "a.csv", make_config().data)
        (record,) = (each for each in caplog.records if "2 texts are that of" in each.getMessage())
        assert record.levelname == "WARNING"
