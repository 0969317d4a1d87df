"""Rows with any text, label and name go through training, evaluating, resuming, reporting, embedding and converting."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import marnet
from marnet.data.manifest import Manifest, Record
from marnet.data.recorded import read_recorded
from marnet.data.sources import open_data
from marnet.data.tools.convert import convert_manifest
from marnet.reports.run_report import write_run_report
from marnet.training.features import open_features

# Any code point but surrogates, which tables cannot hold (tests/data/test_recorded.py has them).
CHARACTERS = st.characters(exclude_categories=("Cs",))
WORDS = st.sampled_from(["nan", "NULL", "<NA>", " apple ", "a\rb", "\x1b[31m", "\ufeff", "\u2028", "1e3", "[]", "{}"])
TEXTS = st.text(CHARACTERS, max_size=20) | WORDS
LABELS = st.lists((st.text(CHARACTERS, min_size=1, max_size=8) | WORDS), min_size=2, max_size=3, unique=True)
FILES = st.text(CHARACTERS, min_size=1, max_size=8).map(lambda name: name.replace("/", "_").replace("\0", "_"))


@pytest.mark.slow
@settings(max_examples=3, deadline=None, derandomize=True)
@given(LABELS, st.lists(TEXTS, min_size=12, max_size=12), FILES)
def test_rows_stay_what_they_are(labels: list[str], texts: list[str], name: str) -> None:
    with TemporaryDirectory() as folder:
        here = Path(folder)
        manifest = draw(here, labels, ["red apple", *texts[1:]], name)
        rows = plain(manifest.records)
        values = {"data": {"image_size": 16}, "backbone": {"name": "timm:test_resnet"}, "training": {"epochs": 1}}
        config = marnet.make_config(values)
        run = marnet.fit(config, here / "run", manifest=manifest).path
        assert plain(read_recorded(run, label_form="single").records) == rows
        predictor = marnet.load(run)
        outputs = predictor.outputs(predictor.manifest(), "val")
        assert plain(outputs.records) == [row for row in rows if row[3] == "val"]
        assert [predictor.classes[number] for number in outputs.labels.tolist()] == [r.label for r in outputs.records]
        marnet.fit(marnet.make_config(values, sets=["training.epochs=2"]), run, resume=True)
        assert plain(read_recorded(run, label_form="single").records) == rows
        assert write_run_report([run], here / "page.html")
        for suffix in ("jsonl", "parquet"):
            convert_manifest(manifest, here / f"rows.{suffix}")
            read = open_data(here / f"rows.{suffix}", marnet.make_config({"data": {"missing": []}}).data)
            assert plain(read.records) == rows


def draw(folder: Path, labels: Sequence[str], texts: Sequence[str], name: str) -> Manifest:
    records = []
    for number, text in enumerate(texts):
        path = folder / "images" / f"{number}{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(path)
        split = "val" if number >= 9 else "train"
        records.append(Record(str(path), text, labels[number % len(labels)], split))
    return Manifest(tuple(records), tuple(sorted(labels)), "drawn rows")


def plain(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    return [(Path(record.image).name, record.text, record.label, record.split) for record in records]


def test_features_keep_the_rows(tmp_path: Path) -> None:
    manifest = draw(tmp_path, ["nan", " 01"], ["a\rb", "NULL", *["\u2028 x"] * 10], "%20 \u00e9")
    convert_manifest(manifest, tmp_path / "rows.jsonl")
    config = marnet.make_config(
        {
            "data": {"source": str(tmp_path / "rows.jsonl"), "image_size": 16, "missing": []},
            "backbone": {"name": "timm:test_resnet"},
        }
    )
    from marnet.training.features import embed

    found = open_features(embed(config, tmp_path / "features"))
    assert plain(found.manifest.records) == plain(manifest.records)


@pytest.mark.parametrize("text", ["x" * 131_073, "line\r\nbreak\r", '"quoted", and; more\t'])
def test_a_table_of_any_text_is_read_back(tmp_path: Path, text: str) -> None:
    manifest = draw(tmp_path, ["a", "b"], [text] * 12, "")
    convert_manifest(manifest, tmp_path / "rows.csv")
    read = open_data(tmp_path / "rows.csv", marnet.make_config().data)
    assert plain(read.records) == plain(manifest.records)
