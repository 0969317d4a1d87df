"""The unified space of a run: images and texts as unit vectors, equal to what the model computes."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

import marnet
from marnet.errors import ConfigError
from marnet.semantic.space import UnifiedSpace


@pytest.fixture(scope="module")
def predictor(trained_run: Path) -> marnet.Predictor:
    return marnet.Predictor(trained_run, device="cpu", with_text=True)


def val_rows(predictor: marnet.Predictor) -> tuple[list[str], list[str]]:
    rows = [row for row in predictor.manifest().split("val") if row.text.strip()]
    return [row.image for row in rows], [row.text for row in rows]


def test_images_are_where_the_branch_places_them(predictor: marnet.Predictor) -> None:
    images, _ = val_rows(predictor)
    for branch, kind in (("reconstruction", "x_cdr"), ("alignment", "x_ema")):
        space = UnifiedSpace(predictor, branch=branch)
        expected = functional.normalize(torch.from_numpy(predictor.encode(images, kind=kind)), dim=-1)
        assert torch.equal(space.images(images), expected)
        assert torch.allclose(space.images(images[0]), expected[:1], atol=1e-6)
        assert space.width == expected.shape[1]
    assert UnifiedSpace(predictor).branch == "reconstruction"


def test_texts_are_where_training_places_them(predictor: marnet.Predictor) -> None:
    images, texts = val_rows(predictor)
    model, batch = predictor.model, torch.randn(len(images), 3, 32, 32)
    with torch.inference_mode():
        trained = model.training_outputs(batch, texts)
        assert trained.x_s is not None
        assert model.semantics is not None
        x_0 = functional.normalize(model.semantics(trained.x_s), dim=-1)
    assert torch.allclose(UnifiedSpace(predictor).texts(texts), x_0)
    aligned = UnifiedSpace(predictor, branch="alignment").texts(texts)
    assert torch.allclose(aligned, trained.learned["alignment"].z_s)


def test_a_text_of_unknown_words_is_zero_and_a_blank_one_is_refused(predictor: marnet.Predictor) -> None:
    space = UnifiedSpace(predictor)
    _, texts = val_rows(predictor)
    vectors = space.texts(["qwxyz zzyx", texts[0]])
    assert vectors.norm(dim=-1).tolist() == pytest.approx([0.0, 1.0])
    assert space.texts([]).shape == (0, space.width)
    with pytest.raises(ConfigError, match="blank"):
        space.texts([texts[0], " "])


def test_a_run_without_such_a_space_or_without_text_is_refused(
    trained_run: Path, manifest_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="with_text=True"):
        UnifiedSpace(marnet.load(trained_run, device="cpu"))
    plain = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu"}},
    )
    with pytest.raises(ConfigError, match=r"image-only.*marnet, match, reconstruct and regress"):
        UnifiedSpace(marnet.Predictor(plain.path, device="cpu", with_text=True))
