"""Runs that marnet 0.1 wrote, before methods became files: they load, and give the same figures and predictions.

`written_by_0_1` holds one small run per method, and a few with switches and settings that have other names today. Their
pictures are beside them.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import marnet
from marnet.data.images import read_image
from marnet.runs.directory import read_history, read_run_config
from marnet.runs.weights import load_run

OLD = Path(__file__).parent / "written_by_0_1"
RUNS = sorted(path.parent.name for path in OLD.glob("*/probabilities.json"))
METHOD_OF = {"paper": "marnet", "no-alignment": "reconstruct", "features-guide": "marnet", "tags-trained": "marnet"}


@pytest.fixture(autouse=True)
def _own_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(OLD)  # the runs name module:tiny_backbone.TinyNet


def test_there_is_a_run_of_every_method() -> None:
    assert set(marnet.list_methods()) <= set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_gives_the_figures_that_it_recorded(name: str, tmp_path: Path) -> None:
    recorded = json.loads((OLD / name / "metrics.json").read_text())["val"]
    assert marnet.evaluate(OLD / name, allow_code=True)._asdict() == pytest.approx(recorded, abs=1e-6)
    predictor = marnet.load(OLD / name, device="cpu", allow_code=True)
    assert predictor.config.method == METHOD_OF.get(name, name)
    expected = json.loads((OLD / name / "probabilities.json").read_text())
    pictures = [read_image(OLD / "pictures" / file) for file in expected]
    found = [dict(zip(each.labels, each.probabilities, strict=True)) for each in predictor.predict(pictures)]
    for probabilities, file in zip(found, expected, strict=True):
        in_order = [probabilities[label] for label in predictor.classes]
        assert in_order == pytest.approx(expected[file], abs=1e-5)


@pytest.mark.parametrize("name", [name for name in RUNS if name != "image-only"])
def test_the_text_encoder_of_an_old_run_is_restored(name: str) -> None:
    model = load_run(OLD / name, with_text=True, allow_code=True).model
    assert model.text is not None
    outputs = model.training_outputs(torch.zeros(2, 3, 16, 16), ["red, round fruit", ""])
    assert outputs.x_s is not None
    assert outputs.x_s.shape == (1, model.text_width)
    assert bool(outputs.x_s.abs().sum() > 0)


def test_an_old_run_is_saved_under_the_names_of_today(tmp_path: Path) -> None:
    model = marnet.load_model(OLD / "marnet", allow_code=True)
    marnet.save(model, tmp_path / "saved")
    predicting = load_file(tmp_path / "saved" / "model.safetensors")
    assert not any(name.startswith("training_only.") for name in predicting)
    assert all(name.startswith("training_only.") for name in load_file(tmp_path / "saved" / "text.safetensors"))
    again = marnet.load_model(tmp_path / "saved", allow_code=True)
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), model(images))


def test_an_old_run_can_be_reported(tmp_path: Path) -> None:
    from marnet.reports.run_report import write_run_report

    shutil.copytree(OLD, tmp_path / "old")
    page = write_run_report(
        [tmp_path / "old" / "image-only", tmp_path / "old" / "marnet"], tmp_path / "report.html", allow_code=True
    )
    assert "marnet" in page.read_text(encoding="utf-8")


def test_an_old_run_that_was_stopped_is_resumed(tmp_path: Path) -> None:
    """Its resume point names weights as 0.1 did."""
    shutil.copytree(OLD / "pictures", tmp_path / "pictures")
    shutil.copytree(OLD / "resumable", tmp_path / "run")
    config = read_run_config(tmp_path / "run")
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 4})})
    marnet.fit(longer, tmp_path / "run", resume=True, allow_code=True)
    history = read_history(tmp_path / "run" / "history.csv")
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert history[0] == read_history(OLD / "resumable" / "history.csv")[0]
