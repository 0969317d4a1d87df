"""From the name of a source to its manifest."""

import logging
import re
from pathlib import Path

import pytest

from marnet.config import make_config
from marnet.data.options import ReadOptions
from marnet.data.sources import READERS, SOURCES, load_source, open_data
from marnet.errors import DataError

NEEDED = (
    "Expected FILE (.csv, .tsv, .jsonl, .parquet), FOLDER, imagefolder:PATH, hf-dataset:PATH_OR_NAME, "
    "grocery-store:PATH, ingredient-101:PATH, vireo-food172:PATH, shards:PATH, synthetic or synthetic:key=value,..."
)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "grocery-stroe:x",
            "'grocery-stroe:x' is neither a file nor a folder nor a known source. Did you mean 'grocery-store'? ",
        ),
        ("synthetc", "'synthetc' is neither a file nor a folder nor a known source. Did you mean 'synthetic'? "),
        ("C:photos", "'C:photos' is neither a file nor a folder nor a known source. "),
    ],
)
def test_an_unknown_source_is_refused(source: str, sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"Data source {sentence}{NEEDED}")):
        load_source(source)


def test_a_folder_is_an_image_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"imagefolder: .* holds neither metadata.csv \(or .jsonl, .parquet\) nor one folder"
    ):
        load_source(str(tmp_path))
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").touch()
    assert load_source(str(tmp_path)) == load_source(f"imagefolder:{tmp_path}")


def test_every_source_is_named_in_the_message() -> None:
    listed = {name.partition(":")[0] for name in SOURCES}
    assert listed - {"FILE (.csv, .tsv, .jsonl, .parquet)", "FOLDER"} == set(READERS)


def test_a_missing_file_is_refused_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Manifest .*gone.csv does not exist. Check the path."):
        load_source(str(tmp_path / "gone.csv"))


def test_grocery_store_needs_a_path() -> None:
    with pytest.raises(DataError, match=r"'grocery-store' names no folder. Write grocery-store:PATH."):
        load_source("grocery-store")


def test_synthetic_goes_below_the_cache(tmp_path: Path) -> None:
    manifest = load_source("synthetic:classes=2,images=1,val_images=1,test_images=0,size=16", cache=tmp_path)
    assert manifest.splits() == {"train": 2, "val": 2}
    assert all(Path(record.image).is_relative_to(tmp_path) for record in manifest.records)
    with pytest.raises(DataError, match="clases"):
        load_source("synthetic:clases=2", cache=tmp_path)


def test_the_configuration_reaches_the_manifest_and_notes_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{number}.jpg,red,{'xy'[number % 2]}\n" for number in range(40))
    (tmp_path / "a.csv").write_text("file,caption,dish\n" + rows)
    columns = {"image": "file", "text": "caption", "label": "dish"}
    data = {"source": str(tmp_path / "a.csv"), "columns": columns, "val_share": 0.4, "test_share": 0.1, "split_seed": 3}
    with caplog.at_level(logging.INFO, "marnet"):
        config = make_config({"data": data}).data
        manifest = open_data(config.source, config)
    assert manifest.splits() == {"train": 20, "val": 16, "test": 4}
    assert manifest.records[0].text == "red"
    assert "names no splits: made a stratified one with seed 3, train 20, val 16, test 4." in caplog.text


@pytest.mark.parametrize("source", ["synthetic", "grocery-store:x", "vireo-food172:x", "ingredient-101:x"])
def test_sources_of_one_class_an_image_refuse_lists(source: str) -> None:
    sentence = f"{source} gives each image one class, but `data.labels=multi` is set, which needs a column of lists"
    with pytest.raises(DataError, match=re.escape(sentence)):
        load_source(source, ReadOptions(label_form="multi"))


def test_the_configuration_says_that_labels_are_lists(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('image,label,split\na.jpg,"x, y",train\nb.jpg,,val\n')
    manifest = open_data(tmp_path / "rows.csv", make_config(sets=["data.labels=multi"]).data)
    assert manifest.classes == ("x", "y")
