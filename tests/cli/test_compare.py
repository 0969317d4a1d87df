"""`marnet compare` as it is typed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    content = {
        "base": {
            "data": {"source": "nowhere.csv", "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 9, "batch_size": 16, "devices": "cpu"},
        },
        "arms": ["image-only", "match", "marnet"],
        "seeds": 4,
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_flags_win_over_the_file_and_every_run_is_told_of(
    file: Path, manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [
        "--data", manifest_file, "--seeds", "1", "--methods", "marnet, image-only", "--label-budget", "0.5",
        "--text-budget", "0.5", "--split", "train", "--set", "training.epochs=1",
    ]  # fmt: skip
    code, out, err = call("compare", file, *flags)
    assert code == 0, err
    records = tmp_path / "comparisons" / "small" / "runs"
    assert {path.relative_to(records).as_posix() for path in records.rglob("*.json")} == {
        "image-only/seed-0.json",
        "marnet/seed-0.json",
    }
    record = json.loads((records / "marnet" / "seed-0.json").read_text())
    assert (record["label_budget"], record["text_budget"], record["split"]) == (0.5, 0.5, "train")
    assert record["source"] == str(manifest_file)
    assert len(record["labels"]) == 42  # judged on all rows of the split: a budget is for training
    assert len(record["history"]) == 1
    assert "2 runs, 0 of them recorded already." in err
    assert "1 of 2: image-only, seed 0: top-1 " in err
    assert " left" in err.splitlines()[-2]
    assert "2 of 2: marnet, seed 0: top-1 " in err.splitlines()[-1]
    assert "epoch 1 of 1" not in err
    folder = tmp_path / "comparisons" / "small"
    assert out.endswith(
        "2 in all, 2 new\nResults: comparisons/small/results.md\nReport: comparisons/small/report.html\n"
    )
    for name in ("results.md", "results.json", "report.html", "tables/main.tex", "plots/confusion.svg"):
        assert (folder / name).is_file(), name
    page = (folder / "report.html").read_bytes()
    assert call("report", folder)[0] == 0
    again = (folder / "report.html").read_bytes()
    assert b"marnet against image-only" in page
    assert b"marnet against image-only" in again


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.yaml"], "nowhere.yaml does not exist"),
        (["small.yaml"], "nowhere.csv"),
        (["small.yaml", "--seeds", "0"], "--seeds: found 0"),
        (["small.yaml", "--label-budget", "2"], "--label-budget: found 2"),
        (["small.yaml", "--set", "training.epoch=1"], "Did you mean 'epochs'"),
        (["small.yaml", "--set", "method=match"], "base of the comparison sets method"),
        (["small.yaml", "--methods", "mtach"], "The comparison has no arm 'mtach'; it has image-only, match, marnet."),
    ],
)
def test_mistakes_are_answered_before_anything_is_written(
    arguments: list[str], sentence: str, file: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(file.parent)
    code, out, err = call("compare", *arguments)
    assert code == 1
    assert out == ""
    assert "Error: " in err
    assert sentence in err
    assert "Traceback" not in err
    assert [path.name for path in file.parent.iterdir()] == ["small.yaml"]
