"""`label_errors` and its command: from a source, its features and a run; as text, JSON, table and page."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marnet
from marnet.data.manifest import Manifest, Record
from marnet.errors import ConfigError, DataError

Call = Callable[..., tuple[int, str, str]]
BACKBONE = ("--backbone", "timm:test_resnet", "--image-size", "32")
OF_KIND = {"apple": "red, round", "lime": "green, round", "eel": "blue, long"}
WRONG = {3: "eel", 20: "apple", 41: "lime"}  # labels that are not those of these rows


@pytest.fixture(scope="module")
def mislabelled(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 60 pictures with a text of their own each, three of them under a wrong label."""
    rows = marnet.read_manifest(manifest_file).records
    file = tmp_path_factory.mktemp("mislabelled") / "rows.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "text", "label", "split"])
        for number, row in enumerate(rows):
            label = WRONG.get(number, row.label)
            writer.writerow([row.image, f"{OF_KIND[row.label]}, number {number}", label, row.split])
    return file


@pytest.fixture(scope="module")
def wrong(mislabelled: Path, manifest_file: Path) -> set[str]:
    right = marnet.read_manifest(manifest_file).records
    given = marnet.read_manifest(mislabelled).records
    found = {new.image for old, new in zip(right, given, strict=True) if old.label != new.label}
    assert len(found) == 3
    return found


def test_planted_errors_of_a_source_come_first(mislabelled: Path, wrong: set[str]) -> None:
    found = marnet.label_errors(mislabelled, backbone="timm:test_resnet", settings={"data.image_size": 32})
    assert {each.record.image for each in found.suspects[:3]} == wrong
    assert (len(found.suspects), found.classes, found.unjudged, found.no_text_because) == (60, 3, (), "")
    first = found.suspects[0]
    assert first.by_text is not None
    assert first.given == first.record.label != first.likely
    assert first.record.text.startswith(OF_KIND[first.likely])


def test_features_give_the_same_as_their_source(mislabelled: Path, tmp_path: Path) -> None:
    from marnet.training import embed

    settings: dict[str, Any] = {"data": {"source": str(mislabelled), "image_size": 32}}
    folder = embed(marnet.make_config({**settings, "backbone": {"name": "timm:test_resnet"}}), tmp_path / "features")
    own = marnet.label_errors(mislabelled, backbone="timm:test_resnet", settings={"data.image_size": 32})
    assert marnet.label_errors(features=folder) == own


def test_a_run_judges_its_own_rows_and_warns_if_its_backbone_has_seen_the_labels(
    trained_run: Path, mislabelled: Path, wrong: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    own = marnet.label_errors(run=trained_run)
    assert len(own.suspects) == 60
    assert own.no_text_because == "45 rows have a text, which is too few to learn from"
    assert "may have learned wrong ones by heart" in caplog.text
    other = marnet.label_errors(mislabelled, run=trained_run)
    assert {each.record.image for each in other.suspects[:3]} == wrong


def test_a_run_takes_no_settings_of_data_and_backbone(trained_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"brings its own data and backbone, but `backbone\.name` was given"):
        marnet.label_errors(run=trained_run, backbone="timm:test_resnet")


def test_the_text_encoder_of_a_run_can_be_replaced(trained_run: Path, mislabelled: Path) -> None:
    words = marnet.label_errors(mislabelled, run=trained_run)
    tags = marnet.label_errors(mislabelled, run=trained_run, settings={"text.name": "tags"})
    assert {each.by_text for each in words.suspects} != {each.by_text for each in tags.suspects}


def test_several_classes_per_image_are_refused_before_anything_is_computed(
    salads: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marnet.evaluation.feature_rows.embed", None)
    code, _, err = call("data", "label-errors", salads, *BACKBONE, "--set", "data.labels=multi")
    assert code == 1
    assert "has images with several classes" in err


def test_the_command_prints_writes_and_draws(
    mislabelled: Path, wrong: set[str], call: Call, tmp_path: Path, look: Callable[[Path, int], Any]
) -> None:
    table, page = tmp_path / "suspects.csv", tmp_path / "suspects.html"
    arguments = ("data", "label-errors", mislabelled, *BACKBONE, "--top", "3", "--csv", table, "--html", page)
    code, out, err = call(*arguments)
    assert code == 0, err
    for words in ("The most suspicious labels of 60 rows, 3 classes", "by text", "wrong labels. The score", "Page:"):
        assert words in out
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == wrong
    assert all(row["likely"] != row["label"] for row in rows)
    assert len(marnet.read_manifest(table).records) == 3  # marnet reads it back
    html = page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg;base64,') == 3
    assert "red, round, number" in html
    for width in (1200, 400):
        seen = look(page, width)
        assert not seen.too_wide
        assert "Error" not in seen.log


def test_json_holds_the_listed_rows(mislabelled: Path, wrong: set[str], call: Call) -> None:
    code, out, err = call("data", "label-errors", mislabelled, *BACKBONE, "--top", "3", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert {each["image"] for each in told["suspects"]} == wrong
    assert (told["rows"], told["classes"], told["unjudged"]) == (60, 3, [])
    assert told["text_is_no_witness_because"] is None
    assert set(told["suspects"][0]) == {
        "image", "split", "label", "likely", "score", "by_image", "by_text", "text"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either SOURCE or --features"),
        (("nowhere.csv", "--features", "there"), "Give either SOURCE or --features"),
        (("nowhere.csv", "--data", "other.csv"), "SOURCE is no run"),
        (("nowhere.csv",), "nowhere.csv does not exist"),
    ],
)
def test_bad_input_is_answered(call: Call, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = call("data", "label-errors", *arguments)
    assert code == 1
    assert words in " ".join(err.split())


def test_an_unwritable_page_and_a_missing_package_are_told_before_anything_is_computed(
    mislabelled: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marnet.evaluation.feature_rows.embed", None)
    code, _, err = call("data", "label-errors", mislabelled, *BACKBONE, "--html", tmp_path)
    assert code == 1
    assert "is a folder" in err
    code, _, err = call("data", "label-errors", mislabelled, *BACKBONE, "--csv", tmp_path / "rows.xlsx")
    assert code == 1
    assert "rows.xlsx cannot be written: its suffix must be one of .csv" in err
    code, _, err = call("data", "label-errors", mislabelled, *BACKBONE, "--csv", mislabelled)
    assert code == 1
    assert "already exists; nothing was changed" in err
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    code, _, err = call("data", "label-errors", mislabelled, *BACKBONE)
    assert code == 1
    assert "pip install 'marnet[audit]'" in err


def test_rows_that_cannot_be_judged_are_named(mislabelled: Path, call: Call, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = mislabelled.read_text(encoding="utf-8").splitlines()
    lines[5] = ",".join([lines[5].split(",")[0], "orange", "carrot", "train"])
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, out, err = call("data", "label-errors", file, *BACKBONE)
    assert code == 0, err
    assert "1 rows could not be judged, because no other row has their class" in " ".join(out.split())


def test_a_run_whose_images_were_moved_asks_for_data(trained_run: Path, call: Call, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained_run, copy)
    rows = (copy / "manifest.jsonl").read_text(encoding="utf-8")
    (copy / "manifest.jsonl").write_text(rows.replace(".png", ".jpg"), encoding="utf-8")
    code, _, err = call("data", "label-errors", copy)
    assert code == 1
    assert "name the data at its new place with --data" in err


def test_a_run_whose_images_were_moved_names_the_data_at_its_new_place(
    trained_run: Path, manifest_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(manifest_file.parent, tmp_path / "moved")
    found = marnet.label_errors(tmp_path / "moved" / manifest_file.name, run=trained_run)
    assert {Path(each.record.image).parent for each in found.suspects} == {tmp_path / "moved"}


def test_a_manifest_in_memory_is_read(trained_run: Path, manifest_file: Path) -> None:
    rows = marnet.read_manifest(manifest_file)
    few = Manifest(tuple(Record(*row) for row in rows.records[:40]), rows.classes, "few rows")
    with pytest.raises(DataError, match="from 40 labelled rows"):
        marnet.label_errors(few, run=trained_run)
