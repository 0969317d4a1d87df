"""A house for strangers: a method, a text encoder, a corruption, a fusion and a backbone from outside the package.

One module has them all. No file of the package knows any of them; a name alone brings them in.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import marnet
from marnet.evaluation.robustness import evaluate_robustness
from marnet.reports.run_report import write_run_report

STRANGE = '''
import numpy as np
import torch
from torch import nn

import marnet
from marnet.methods import BuiltPart, Method, Part


def backbone():
    layers = nn.Sequential(nn.Conv2d(3, 12, 3, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return marnet.Backbone(layers, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), image_size=32)


class Letters(nn.Module):
    """A text encoder: how often each letter occurs."""

    width = 26

    def forward(self, texts):
        counts = [[float(text.lower().count(chr(97 + i))) for i in range(26)] for text in texts]
        return torch.tensor(counts).reshape(len(texts), 26)


class Squeezed(nn.Module):
    width = 5

    def __init__(self, visual_width):
        super().__init__()
        self.map = nn.Linear(visual_width, 5)

    def features(self, x_v, noise=None):
        return self.map(x_v).relu()


class ReadLetters(Part):
    """A branch that predicts, trained to know the letters of the text as well."""

    name = "letters"
    terms = ("letters_head", "letters")
    branch_term = "letters_head"

    def build(self, scene):
        return BuiltPart(self, branch=Squeezed(scene.visual_width), training=nn.Linear(5, scene.text_width))

    def learn(self, model, step):
        return model.training_part(self.name)(model.branches[self.name].features(step.x_v())), step.x_s

    def losses(self, learned, targets):
        found, letters = learned
        return {"letters": nn.functional.mse_loss(found, letters) if len(found) else found.sum() * 0.0}

    def weights(self, config):
        return {"letters": config.options["weight"], "letters_head": 1.0}


class Sum(nn.Module):
    def __init__(self, widths, num_classes):
        super().__init__()

    def forward(self, features, logits):
        return sum(logits)


class SumPart(Part):
    name = "sum"
    needs_text = False

    def build(self, scene):
        return BuiltPart(self, fusion=Sum([], scene.num_classes))


spelling = Method(
    name="spelling",
    summary="The image also knows the letters of its text.",
    parts=(ReadLetters(), SumPart()),
    options={"weight": 0.1},
)


def negative(image, severity, generator):
    """A corruption: colours move towards their negative."""
    share = severity / 5
    return ((1 - share) * image + share * (1 - image)).astype(np.float32)
'''


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "strange.py").write_text(STRANGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "module:strange"


def test_they_train_evaluate_and_report_by_name_alone(strange: str, manifest_file: Path, tmp_path: Path) -> None:
    run = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method=f"{strange}.spelling",
        backbone=f"{strange}.backbone",
        settings={
            "text.name": f"{strange}.Letters",
            "options.weight": 0.5,
            "training.epochs": 8,
            "training.batch_size": 8,
            "training.lr": 0.02,
            "training.devices": "cpu",
        },
    )
    assert run.metrics.top1 > 0.6  # three classes that colour tells apart
    predicting = json.loads((run.path / "metrics.json").read_text())["val"]
    assert marnet.evaluate(run.path)._asdict() == pytest.approx(predicting)
    assert list(run.load().model.branches) == ["letters"]

    name = f"{strange}.negative"
    robustness = evaluate_robustness(run.path, corruptions=[name, "brightness"], allow_code=True)
    assert set(robustness.corruptions) == {name, "brightness"}
    assert robustness.corruptions[name][4] < robustness.metrics.top1  # in full negative the colours mislead

    page = write_run_report([run.path], tmp_path / "report.html", allow_code=True).read_text(encoding="utf-8")
    for each in ("strange.spelling", "strange.Letters", "strange.backbone"):
        assert each in page

    config = run.load().config
    resumed = marnet.fit(
        config.model_copy(update={"training": config.training.model_copy(update={"epochs": 9})}),
        run.path,
        resume=True,
        allow_code=True,
    )
    assert resumed.path == run.path


def test_they_are_named_on_the_command_line(strange: str, manifest_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "marnet", "train", "--data", str(manifest_file), "--out", str(tmp_path / "run")]
    command += ["--method", f"{strange}.spelling", "--backbone", f"{strange}.backbone", "--epochs", "1"]
    command += ["--set", f"text.name={strange}.Letters", "--set", "options.weight=0.2", "--devices", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert marnet.load(tmp_path / "run", allow_code=True).config.options == {"weight": 0.2}


def test_they_are_compared(strange: str, manifest_file: Path, tmp_path: Path) -> None:
    plan = {
        "base": {
            "data": {"source": str(manifest_file)},
            "backbone": {"name": f"{strange}.backbone"},
            "text": {"name": f"{strange}.Letters"},
            "training": {"epochs": 2, "batch_size": 8, "devices": "cpu"},
        },
        "arms": ["image-only", {"name": "spelling", "method": f"{strange}.spelling"}],
        "seeds": 1,
    }
    comparison = marnet.compare(plan, out=tmp_path / "comparison")
    assert {record.arm for record in comparison.records} == {"image-only", "spelling"}
    assert "spelling" in comparison.results.read_text(encoding="utf-8")
