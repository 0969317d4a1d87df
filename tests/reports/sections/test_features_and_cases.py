"""Features and case studies of outputs made up for the purpose."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from marnet.data.manifest import Record
from marnet.errors import ImageError
from marnet.inference import SplitOutputs
from marnet.reports.blocks import CaseStudies, Plots, Section
from marnet.reports.context import Unavailable
from marnet.reports.sections import features
from marnet.reports.sections.cases import case_section
from marnet.reports.sections.features import feature_section


def outputs(folder: Path, *, cdr: bool = True, images: int = 12) -> SplitOutputs:
    """Two classes that x_CDR separates and x_v does not; CDR repairs the image 0 and breaks the image 1."""
    labels = torch.arange(images) % 2
    generator = torch.Generator().manual_seed(0)
    basic = torch.nn.functional.one_hot(labels, 2).float()
    reconstruction = basic.clone()
    basic[0], reconstruction[1] = basic[0].flip(0), basic[1].flip(0)
    for number in range(2):
        Image.new("RGB", (8, 8), "teal").save(folder / f"{number}.png")
    branches = {"visual": basic} | ({"reconstruction": reconstruction} if cdr else {})
    return SplitOutputs(
        logits=basic,
        labels=labels,
        branch_logits=branches,
        x_v=torch.randn(images, 5, generator=generator),
        x_cdr=torch.eye(4)[labels] + 0.01 * torch.randn(images, 4, generator=generator) if cdr else None,
        records=tuple(Record(str(folder / f"{i % 2}.png"), f"text {i}", "ab"[i % 2], "val") for i in range(images)),
        skipped=0,
    )


def test_features_are_drawn_with_their_scores(tmp_path: Path) -> None:
    section = feature_section({"marnet": outputs(tmp_path)}, ["a", "b"], seed=0)
    (plots,) = section.blocks
    assert isinstance(plots, Plots)
    assert [panel.name for panel in plots.panels] == ["features-marnet-x_v", "features-marnet-x_CDR"]
    # With ten neighbours of eleven others, five share the class at best.
    assert "and 50.0 % in x_CDR share its class." in plots.caption
    assert [mark.label for mark in plots.legend] == ["a", "b"]


def test_a_run_without_cdr_shows_x_v_alone(tmp_path: Path) -> None:
    (plots,) = feature_section({"image-only": outputs(tmp_path, cdr=False)}, ["a", "b"], seed=0).blocks
    assert [panel.name for panel in plots.panels] == ["features-image-only-x_v"]
    assert plots.caption.startswith("image-only: the visual features x_v, by t-SNE.")
    assert "x_CDR" not in plots.caption


def test_too_many_points_are_sampled_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "MOST_POINTS", 7)
    (plots,) = feature_section({"marnet": outputs(tmp_path)}, ["a", "b"], seed=0).blocks
    assert "7 of 12 images are shown, chosen at random; the shares are of all images." in plots.caption
    for panel in plots.panels:
        assert sum(len(drawn.get_offsets()) for drawn in panel.figure.axes[0].collections) == 7


def test_cases_show_repairs_and_breaks(tmp_path: Path) -> None:
    section = case_section({"image-only": outputs(tmp_path, cdr=False), "marnet": outputs(tmp_path)}, ["a", "b"])
    assert isinstance(section, Section)
    (block,) = section.blocks
    assert isinstance(block, CaseStudies)
    found = {case.kind: case for case in block.cases}
    assert (found["repaired"].name, found["repaired"].text, found["repaired"].true_label) == (
        "marnet: 0.png", "text 0", "a",
    )  # fmt: skip
    assert found["broken"].name == "marnet: 1.png"


def test_without_cdr_there_are_no_cases(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no run shown here has CDR") as missing:
        case_section({"image-only": outputs(tmp_path, cdr=False)}, ["a", "b"])
    assert missing.value.command == "marnet train"


def test_an_image_that_has_gone_is_reported(tmp_path: Path) -> None:
    found = outputs(tmp_path)
    (tmp_path / "0.png").unlink()
    with pytest.raises(ImageError, match=r"0\.png"):
        case_section({"marnet": found}, ["a", "b"])
