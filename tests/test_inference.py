"""Prediction from a run directory."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import marnet
from marnet.errors import ImageError


@pytest.fixture(scope="module")
def predictor(trained_run: Path) -> marnet.Predictor:
    return marnet.load(trained_run, device="cpu")


def test_probabilities_are_sorted_and_complete(predictor: marnet.Predictor) -> None:
    image = predictor.manifest().split("val")[0].image
    found = predictor.predict([image], top=99)[0]
    assert set(found.labels) == set(predictor.classes)
    assert sum(found.probabilities) == pytest.approx(1.0, abs=1e-5)
    assert list(found.probabilities) == sorted(found.probabilities, reverse=True)


def test_a_file_and_the_same_picture_in_memory_agree(predictor: marnet.Predictor) -> None:
    path = predictor.manifest().split("val")[0].image
    from_file, from_memory = predictor.predict([path])[0], predictor.predict([Image.open(path)])[0]
    assert from_file.labels == from_memory.labels
    assert from_file.probabilities == pytest.approx(from_memory.probabilities)
    assert from_memory.image == path


def test_prediction_sees_what_validation_saw(predictor: marnet.Predictor) -> None:
    manifest = predictor.manifest()
    outputs = predictor.outputs(manifest, "val")
    expected = outputs.logits.softmax(-1)
    found = predictor.predict([record.image for record in outputs.records], top=1)
    assert [row.labels[0] for row in found] == [predictor.classes[i] for i in expected.argmax(-1).tolist()]
    assert [row.probabilities[0] for row in found] == pytest.approx(expected.max(-1).values.tolist(), abs=1e-5)


def test_the_same_image_gives_the_same_answer_whatever_was_drawn_before(predictor: marnet.Predictor) -> None:
    image = predictor.manifest().split("val")[0].image
    first = predictor.predict([image])
    torch.randn(1000)
    assert predictor.predict([image]) == first


def test_the_batch_size_does_not_matter(predictor: marnet.Predictor) -> None:
    images = [record.image for record in predictor.manifest().split("val")]
    one, many = predictor.predict(images, batch_size=1, top=1), predictor.predict(images, batch_size=7, top=1)
    assert [row.labels for row in one] == [row.labels for row in many]
    assert [row.probabilities[0] for row in one] == pytest.approx([row.probabilities[0] for row in many], abs=1e-5)


def test_noise_of_ones_own_moves_the_prediction(predictor: marnet.Predictor) -> None:
    images = torch.randn(2, 3, 32, 32)
    model = predictor.model
    assert model.reconstruction is not None
    with torch.no_grad():
        plain = model(images)
        drawn = [model(images, torch.randn(2, model.reconstruction.width)) for _ in range(2)]
    assert not torch.allclose(plain, drawn[0])
    assert not torch.allclose(drawn[0], drawn[1])


def test_outputs_hold_every_branch(predictor: marnet.Predictor) -> None:
    outputs = predictor.outputs(predictor.manifest(), "val")
    count = len(outputs.records)
    assert outputs.logits.shape == (count, 3)
    assert set(outputs.branch_logits) == {"visual", "alignment", "reconstruction"}
    assert outputs.x_cdr is not None
    assert len(outputs.x_cdr) == len(outputs.x_v) == len(outputs.labels) == count


def test_wrong_input(predictor: marnet.Predictor, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        predictor.predict([tmp_path / "nowhere.jpg"])
    with pytest.raises(ValueError, match="`top` is 0, but it must be 1 or more"):
        predictor.predict([], top=0)
    assert predictor.predict([]) == []
