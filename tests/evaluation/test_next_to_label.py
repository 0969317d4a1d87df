"""`next_to_label` and its command: what a run should get labels or texts for, in words, as JSON and as a table."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import marnet
from marnet.errors import ConfigError, DataError

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of three colours, and a file that is none."""
    folder = tmp_path_factory.mktemp("pool")
    random = np.random.default_rng(0)
    for number in range(30):
        colour = np.array([(200, 40, 40), (60, 180, 60), (50, 60, 200)][number % 3])
        pixels = np.clip(colour + random.normal(0, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "broken.png").write_bytes(b"junk")
    return folder


def test_it_says_what_the_run_says(trained_run: Path, pool: Path) -> None:
    predictor = marnet.Predictor(trained_run, device="cpu")
    found = marnet.next_to_label(predictor, pool, budget=6)
    assert (len(found.images), found.candidates, found.known, found.wanted) == (6, 30, 0, "label")
    assert sum(each.stands_for for each in found.images) == 30
    assert "broken.png is not an image" in found.skipped[0]
    for each in found.images:
        ranked = predictor.predict(each.image, top=2)
        assert each.likely == ranked.labels
        assert each.probabilities == pytest.approx(ranked.probabilities, abs=1e-5)
        assert each.uncertainty == pytest.approx(1 - (ranked.probabilities[0] - ranked.probabilities[1]), abs=1e-5)


def test_images_that_the_run_has_with_a_label_are_left_out(
    trained_run: Path, manifest_file: Path, pool: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    rows = [f"{manifest_file.parent / 'apple-1.png'},", f"{pool / '00.png'},", f"{pool / '01.png'},apple"]
    (folder / "rows.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")
    found = marnet.next_to_label(trained_run, folder / "rows.csv", budget=5)
    assert ([each.image for each in found.images], found.known) == ([str(pool / "00.png")], 1)
    with pytest.raises(DataError, match="have a label for all 60 images"):
        marnet.next_to_label(trained_run, manifest_file.parent)


def test_a_text_is_asked_for_rows_without_one(trained_run: Path, manifest_file: Path) -> None:
    blank = {row.image for row in marnet.read_manifest(manifest_file).records if not row.text}
    found = marnet.next_to_label(trained_run, manifest_file, wanted="text", budget=4)
    assert (found.candidates, found.known, found.wanted) == (len(blank), 0, "text")
    assert {each.image for each in found.images} <= blank
    assert all(each.label in ("apple", "lime", "eel") for each in found.images)


def test_the_table_is_filled_in_and_read_back(trained_run: Path, pool: Path, call: Call, tmp_path: Path) -> None:
    table = tmp_path / "todo.csv"
    code, out, err = call("data", "next", trained_run, pool, "--budget", "4", "--out", table)
    assert code == 0, err
    assert "4 of 30 images that should get a label next" in out
    assert "1 images cannot be read and were left out." in out
    assert "broken.png is not an image" in err
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [""] * 4
    with pytest.raises(DataError, match="blank 'label'"):
        marnet.read_manifest(table)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": row["likely"]} for row in rows)
    filled = marnet.read_manifest(table).records
    assert [(row.image, row.label) for row in filled] == [(row["image"], row["likely"]) for row in rows]
    code, _, err = call("data", "next", trained_run, pool, "--out", table)
    assert code == 1
    assert "already exists; nothing was changed" in err


def test_json(trained_run: Path, pool: Path, call: Call) -> None:
    code, out, _ = call("data", "next", trained_run, pool, "--budget", "2", "--for", "text", "--json")
    told = json.loads(out)
    assert (code, told["for"], told["candidates"], len(told["images"]), len(told["skipped"])) == (0, "text", 30, 2, 1)
    assert set(told["images"][0]) == {
        "image", "text", "label", "likely", "probabilities", "uncertainty", "stands_for"
    }  # fmt: skip


def test_bad_input_is_answered(trained_run: Path, pool: Path, call: Call, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`budget` is 0, but it must be 1 or more"):
        marnet.next_to_label(trained_run, pool, budget=0)
    code, _, err = call("data", "next", trained_run, pool, "--for", "labels")
    assert code == 1
    assert "--for is 'labels', but it must be label or text. Did you mean 'label'?" in err
    (tmp_path / "only").mkdir()
    shutil.copy(pool / "broken.png", tmp_path / "only")
    code, _, err = call("data", "next", trained_run, tmp_path / "only")
    assert code == 1
    assert "None of the 1 images can be read" in err
    code, _, err = call("data", "next", tmp_path, pool)
    assert code == 1
    assert "config.yaml" in err
