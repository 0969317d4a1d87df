"""`text_value` and its command: the same numbers from a source and from its features, in words and as JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import marnet
from marnet.errors import ConfigError

Call = Callable[..., tuple[int, str, str]]
SOURCE = "synthetic:images=6,classes=12,val_images=1,test_images=0"
FLAGS = ("--backbone", "timm:test_resnet", "--image-size", "32")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from marnet.training import embed

    folder = tmp_path_factory.mktemp("text-value") / "features"
    settings = {"data": {"source": SOURCE, "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    return embed(marnet.make_config(settings), folder)


def test_a_source_and_its_features_give_the_same(features: Path, call: Call) -> None:
    found = marnet.text_value(SOURCE, backbone="timm:test_resnet", settings={"data.image_size": 32})
    assert (found.rows, found.classes, found.score) == (72, 12, "top1")
    assert marnet.text_value(features=features) == found
    code, out, err = call("data", "text-value", SOURCE, *FLAGS, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["rows"] == 72
    assert told["both"] == pytest.approx(found.both)
    assert told["explained"]["value"] == pytest.approx(found.explained.value)
    assert [sentence.split(":")[0] for sentence in told["sentences"]] == ["Accuracy", "New classes", "Search"]


def test_the_page_names_numbers_and_says_what_they_mean(features: Path, call: Call) -> None:
    code, out, _ = call("data", "text-value", "--features", features)
    assert code == 0
    for words in ("72 rows with text, 12 classes", "top-1, both", "texts shuffled", "rank correlation", "New classes:"):
        assert words in out


def test_rows_without_text_are_counted(tmp_path: Path, features: Path) -> None:
    rows = [json.loads(line) for line in (features / "manifest.jsonl").read_text().splitlines()]
    blanked = [{**row, "text": ""} if 0 < number <= 10 else row for number, row in enumerate(rows)]
    copy = tmp_path / "features"
    copy.mkdir()
    for path in features.iterdir():
        if path.name != "manifest.jsonl":
            (copy / path.name).symlink_to(path)
    (copy / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in blanked))
    found = marnet.text_value(features=copy)
    assert (found.rows, found.without_text) == (62, 10)


def test_one_set_of_rows_is_measured(features: Path, call: Call) -> None:
    with pytest.raises(ConfigError, match="Give either `data`"):
        marnet.text_value()
    code, _, err = call("data", "text-value", SOURCE, "--features", features)
    assert (code, err) == (
        1,
        "Error: One set of rows is read. Give either SOURCE, a source of rows, or --features, a "
        "folder written by 'marnet embed'.\n",
    )
