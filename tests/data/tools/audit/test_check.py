"""What `marnet data check` finds, each fault planted alone into clean data."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from marnet.cli.app import app
from marnet.data.manifest import Manifest, Record, write_manifest
from marnet.data.sources.grocery_store import read_grocery_store
from marnet.data.tools.audit.check import CheckResult, check_manifest, names_label
from marnet.data.tools.audit.findings import Finding
from marnet.errors import DataError

CLASSES = ("apple", "lime")


def clean(folder: Path) -> list[Record]:
    """Four pictures of each class in train, two each in val and test; every text its own."""
    records = []
    for number in range(16):
        split = ("train", "train", "val", "test")[number % 4]
        coarse = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        records.append(Record(str(folder / f"{number}.png"), f"what stands in {number}", CLASSES[number // 8], split))
    return records


def check(records: list[Record], **options: int) -> CheckResult:
    return check_manifest(Manifest(tuple(records), CLASSES, "rows.csv"), **options)


def only(result: CheckResult) -> Finding:
    assert [finding.code for finding in result.findings] == [result.findings[0].code]
    return result.findings[0]


def test_clean_data(tmp_path: Path) -> None:
    assert check(clean(tmp_path)) == ("rows.csv", 16, ())


def test_broken_images(tmp_path: Path) -> None:
    records = clean(tmp_path)
    whole = Path(records[5].image).read_bytes()
    Path(records[5].image).write_bytes(whole[: len(whole) // 2])
    Path(records[7].image).unlink()
    result = check(records)
    finding = only(result)
    assert (finding.severity, finding.code, result.errors) == ("error", "broken-images", 1)
    assert finding.message.startswith("2 of 16 images cannot be read.")
    assert [each["path"] for each in finding.examples] == [records[5].image, records[7].image]
    assert finding.examples[1]["reason"] == "does not exist. Check the path."


def test_equal_images_across_splits(tmp_path: Path) -> None:
    records = clean(tmp_path)
    shutil.copy(records[0].image, records[2].image)  # train, val
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("error", "duplicates-across-splits")
    assert finding.message.startswith("In more than one split with equal pixels: 1 picture.")
    assert [(row["image"], row["split"]) for row in finding.examples[0]["rows"]] == [
        (records[0].image, "train"),
        (records[2].image, "val"),
    ]


def test_one_file_in_two_splits(tmp_path: Path) -> None:
    records = clean(tmp_path)
    records[2] = records[2]._replace(image=records[0].image)
    assert only(check(records)).code == "duplicates-across-splits"


def test_equal_images_with_different_labels(tmp_path: Path) -> None:
    records = clean(tmp_path)
    shutil.copy(records[0].image, records[8].image)  # apple, lime; both train
    codes = {finding.code: finding for finding in check(records).findings}
    assert set(codes) == {"duplicates-with-different-labels", "duplicates-within-a-split"}
    assert codes["duplicates-with-different-labels"].severity == "warning"
    assert {row["label"] for row in codes["duplicates-with-different-labels"].examples[0]["rows"]} == {"apple", "lime"}


def test_near_images_across_splits(tmp_path: Path) -> None:
    records = clean(tmp_path)
    Image.open(records[0].image).resize((40, 33)).save(records[2].image)
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("warning", "near-duplicates-across-splits")
    assert "In val and much like an image of train: 1 image (hashes within 8 of 64 bits, 1 pair)." in finding.message
    assert {row["image"] for row in finding.examples[0]["rows"]} == {records[0].image, records[2].image}
    assert finding.examples[0]["bits"] <= 8


def test_near_images_within_a_split(tmp_path: Path) -> None:
    records = clean(tmp_path)
    Image.open(records[0].image).resize((40, 33)).save(records[1].image)
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("note", "near-duplicates-within-a-split")
    assert "In train and much like another image there: 2 images" in finding.message


def test_pictures_of_one_colour_are_not_near_one_another(tmp_path: Path) -> None:
    records = clean(tmp_path)
    for number, colour in ((0, "red"), (2, "blue")):
        Image.new("RGB", (60, 50), colour).save(records[number].image)
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("warning", "flat-images")
    assert [each["image"] for each in finding.examples] == [records[0].image, records[2].image]


def test_a_class_without_training_images(tmp_path: Path) -> None:
    records = [record for record in clean(tmp_path) if (record.label, record.split) != ("lime", "train")]
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("error", "classes-without-training-images")
    assert finding.message.startswith("1 classes ('lime') without a training image")
    assert finding.examples == ({"label": "lime", "train": 0, "val": 2, "test": 2},)


def test_a_class_missing_from_val(tmp_path: Path) -> None:
    records = [record for record in clean(tmp_path) if (record.label, record.split) != ("lime", "val")]
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("warning", "classes-missing-from-split")
    assert "without an image in val" in finding.message


def test_a_class_in_train_only(tmp_path: Path) -> None:
    records = [record for record in clean(tmp_path) if record.label == "apple" or record.split == "train"]
    assert [finding.code for finding in check(records).findings] == [
        "classes-missing-from-split",
        "classes-missing-from-split",
        "classes-in-one-split",
    ]


@pytest.mark.parametrize(
    ("split", "severity"), [("train", "error"), ("val", "error"), ("test", "note")]
)  # fmt: skip
def test_an_empty_split(split: str, severity: str, tmp_path: Path) -> None:
    found = check([record for record in clean(tmp_path) if record.split != split]).findings
    assert (found[0].severity, found[0].code) == (severity, "empty-split")
    assert f"Split {split!r} has no rows" in found[0].message


def test_imbalance_and_single_images(tmp_path: Path) -> None:
    records = clean(tmp_path)
    more = [
        records[0]._replace(image=str(tmp_path / f"more-{number}.png"), text=f"no. {number}") for number in range(6)
    ]
    for number, record in enumerate(more):
        coarse = np.random.default_rng(100 + number).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((60, 50)).save(record.image)
    limes = [record for record in records if (record.label, record.split) == ("lime", "train")]
    records = [record for record in records if record not in limes[1:]] + more
    found = {finding.code: finding for finding in check(records).findings}
    assert set(found) == {"class-imbalance", "single-image-classes"}
    assert "The largest class, 'apple', has 10 training images, the smallest, 'lime', 1: 10 times" in (
        found["class-imbalance"].message
    )


def test_blank_texts(tmp_path: Path) -> None:
    records = [
        record._replace(text=" " if number % 4 == 0 else record.text) for number, record in enumerate(clean(tmp_path))
    ]
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("note", "blank-texts")
    assert finding.message.startswith("4 of 8 (50.0 %) of the training rows have no text")
    blank = only(check([record._replace(text="") for record in records]))
    assert (blank.severity, blank.code) == ("warning", "blank-texts")


def test_texts_that_name_the_label(tmp_path: Path) -> None:
    records = clean(tmp_path)
    records[0] = records[0]._replace(text="A red Apple.")
    records[2] = records[2]._replace(text="An apple of val, which nothing is learned from.")
    finding = only(check(records))
    assert (finding.severity, finding.code) == ("warning", "label-in-text")
    assert "in 1 of 8 (12.5 %) of the training rows with text, in 1 of 2 classes" in finding.message
    assert finding.examples == ({"label": "apple", "rows": 1, "text": "A red Apple."},)


@pytest.mark.parametrize(
    ("text", "label", "named"),
    [
        ("Golden delicious is sweet", "Golden-Delicious", True),
        ("a golden_delicious", "Golden Delicious", True),
        ("golden, delicious", "Golden-Delicious", False),
        ("pineapple juice", "apple", False),
        ("two apples", "apple", False),
        ("APPLE", "apple", True),
        ("costs 5 (c++ grade)", "c++", True),
        ("anything", "-", False),
        ("Straße", "STRASSE", True),
    ],
)
def test_names_label(text: str, label: str, named: bool) -> None:
    assert names_label(text, label) is named


def test_one_text_a_class_and_false_negatives(tmp_path: Path) -> None:
    records = [record._replace(text={"apple": "red", "lime": "green"}[record.label]) for record in clean(tmp_path)]
    found = {finding.code: finding for finding in check(records, batch_size=4).findings}
    assert set(found) == {"class-level-texts", "false-negatives"}
    assert found["false-negatives"].severity == "note"
    # 8 rows, 4 with each text: 1 - C(4, 3) / C(7, 3) = 31 / 35
    assert "batches of 4, 88.6 % of the rows" in found["false-negatives"].message
    assert found["false-negatives"].examples[0]["rows_share"] == pytest.approx(31 / 35)
    shared = [record._replace(text="the same everywhere") for record in records]
    assert [finding.code for finding in check(shared).findings] == ["false-negatives"]


def test_an_empty_manifest_is_refused() -> None:
    with pytest.raises(DataError, match=r"rows\.csv has no rows"):
        check([])


def test_the_command(tmp_path: Path) -> None:
    records = clean(tmp_path)
    manifest = tmp_path / "manifest.csv"
    write_manifest(Manifest(tuple(records), CLASSES, "rows"), manifest)
    run = CliRunner().invoke
    done = run(app, ["data", "check", str(manifest)])
    assert done.exit_code == 0
    assert re.search(r"16 images read;\s0 errors, 0 warnings, 0 notes\.", done.stdout)

    shutil.copy(records[0].image, records[2].image)
    done = run(app, ["data", "check", str(manifest)])
    assert done.exit_code == 1
    assert "error duplicates-across-splits: In more than one split" in done.stdout
    assert "1 error, 0 warnings, 0 notes." in done.stdout
    done = run(app, ["data", "check", str(manifest), "--json"])
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    assert content["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert content["findings"][0]["examples"][0]["rows"][1]["split"] == "val"

    done = run(app, ["data", "info", str(manifest)])
    assert done.exit_code == 0
    assert "unique texts" in done.stdout
    done = run(app, ["data", "info", str(manifest), "--json"])
    content = json.loads(done.stdout)
    assert content["splits"]["train"]["images_per_class"] == {"min": 4, "median": 4, "max": 4}
    assert content["sizes"]["width"]["max"] == 60


def test_grocery_store(shared_data: Path) -> None:
    """What is in the published data set: one text a class, half of them with the name in it, no image twice."""
    manifest = read_grocery_store(shared_data / "GroceryStoreDataset")
    start = time.perf_counter()
    result = check_manifest(manifest)
    assert time.perf_counter() - start < 60
    found = {finding.code: finding for finding in result.findings}
    assert result.errors == 0
    assert "21 classes" in found["classes-missing-from-split"].message
    assert "1383 of 2640 (52.4 %)" in found["label-in-text"].message
    assert "in 38 of 81 classes" in found["label-in-text"].message
    assert "55.8 % of the rows" in found["false-negatives"].message
    assert "class-level-texts" in found
    assert "near-duplicates-within-a-split" in found
    assert "near-duplicates-across-splits" not in found


def test_several_classes_an_image(tmp_path: Path) -> None:
    """Each class counts for itself; an image without one is no fault."""
    records = clean(tmp_path)
    labels = {0: "apple, lime", 1: "apple", 3: "apple, fig", 4: ""}
    changed = [row._replace(label=labels.get(number, row.label)) for number, row in enumerate(records)]
    result = check_manifest(Manifest(tuple(changed), ("apple", "fig", "lime"), "rows.csv", label_form="multi"))
    codes = [finding.code for finding in result.findings]
    assert codes == ["classes-without-training-images", "classes-missing-from-split", "classes-in-one-split"]
    assert result.findings[0].examples == ({"label": "fig", "train": 0, "val": 0, "test": 1},)


def test_a_split_in_which_no_image_has_a_class(tmp_path: Path) -> None:
    records = [row._replace(label="") if row.split == "val" else row for row in clean(tmp_path)]
    result = check_manifest(Manifest(tuple(records), CLASSES, "rows.csv", label_form="multi"))
    assert result.errors == 1
    assert result.findings[0].message == "No image of split 'val' has a class: nothing to learn or score."


def test_any_name_of_a_list_may_stand_in_the_text(tmp_path: Path) -> None:
    records = clean(tmp_path)
    records[0] = records[0]._replace(label="apple, lime", text="a lime and more")
    finding = only(check_manifest(Manifest(tuple(records), CLASSES, "rows.csv", label_form="multi")))
    assert finding.message.startswith("The text contains the name of the label in 1 of 8 (12.5 %) of the training rows")
    assert finding.examples == ({"label": "lime", "rows": 1, "text": "a lime and more"},)
