"""Prediction from a run directory."""

import copy
import io
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import marnet
from marnet.data.image_transform import ImageTransform
from marnet.errors import ConfigError, ImageError
from marnet.inference.device import choose_device


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
    outputs = predictor.outputs(manifest, "train")  # those of val are cross-fitted
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
    width = int(model.branches["reconstruction"].width)
    with torch.no_grad():
        plain = model(images)
        drawn = [model(images, torch.randn(2, width)) for _ in range(2)]
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


def noisy(width: int, height: int) -> np.ndarray:
    """Pixels `(H, W, 3)` with large and small structure, so that another way of decoding would show."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    grain = rng.integers(-20, 20, (height, 1, 3)) + rng.integers(-20, 20, (1, width, 1))
    return np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    pixels = Image.fromarray(noisy(160, 120))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    pixels.save(folder / "plain.png")
    Image.fromarray(noisy(7680, 5220)).save(folder / "large.jpg", quality=80)  # 40.1 megapixels
    pixels.convert("CMYK").save(folder / "print.jpg")
    pixels.save(folder / "turned.jpg", exif=turned)
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["plain", "large", "print", "turned"])
def test_a_path_its_bytes_and_the_opened_picture_give_equal_answers(
    predictor: marnet.Predictor, files: dict[str, Path], name: str
) -> None:
    path = files[name]
    content = path.read_bytes()
    expected = predictor.predict_proba(path)
    assert expected.shape == (len(predictor.classes),)
    with Image.open(path) as picture:
        size = picture.size
        forms = [str(path), content, bytearray(content), memoryview(content), picture, Image.open(io.BytesIO(content))]
        for form in [*forms, picture]:
            assert np.array_equal(predictor.predict_proba(form), expected)
        assert predictor.predict(picture) == predictor.predict(path)
        assert np.asarray(picture).shape[:2] == size[::-1]  # the caller's picture was not drafted
    many = predictor.predict_proba([*forms[:4], Image.open(path)])
    assert (many == many[0]).all()
    assert np.allclose(many[0], expected, atol=1e-6)


def test_a_loaded_picture_and_its_pixels_give_the_answer_of_their_png(
    predictor: marnet.Predictor, files: dict[str, Path], tmp_path: Path
) -> None:
    expected = predictor.predict_proba(files["plain"])
    pixels = noisy(160, 120)
    loaded = Image.open(files["plain"])
    loaded.load()
    for form in (loaded, loaded.copy(), pixels, pixels[:, ::-1][:, ::-1], torch.from_numpy(pixels).permute(2, 0, 1)):
        assert np.array_equal(predictor.predict_proba(form), expected)
    for form in (pixels[..., 0], np.dstack([pixels, pixels[..., :1]])):  # grey, and with transparency
        Image.fromarray(form).save(tmp_path / "form.png")
        assert np.array_equal(predictor.predict_proba(form), predictor.predict_proba(tmp_path / "form.png"))
    upright = Image.open(files["turned"])
    upright.load()
    assert np.array_equal(predictor.predict_proba(upright), predictor.predict_proba(files["turned"]))


def test_a_draft_of_the_callers_own_is_kept(predictor: marnet.Predictor, files: dict[str, Path]) -> None:
    picture = Image.open(files["large"])
    picture.draft("L", (80, 60))
    small = picture.copy()
    assert np.array_equal(predictor.predict_proba(picture), predictor.predict_proba(small))


def test_one_gives_one_and_many_give_a_list(predictor: marnet.Predictor, files: dict[str, Path]) -> None:
    path, pixels = files["plain"], noisy(160, 120)
    one = predictor.predict(path)
    assert isinstance(one, marnet.Prediction)
    assert predictor.predict([path]) == [one] == predictor.predict((path,)) == predictor.predict(iter([path]))
    assert predictor.predict(np.array([str(path)])) == [one]
    batch = np.stack([pixels, pixels])
    for several in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        assert [found.image for found in predictor.predict(several)] == ["image 0", "image 1"]
    names = [found.image for found in predictor.predict([pixels, path, path.read_bytes(), Image.open(path)])]
    assert names == ["image 0", str(path), "image 2", str(path)]
    assert predictor.predict(path.read_bytes()).image == "image 0"


def test_probabilities_and_features_as_arrays(predictor: marnet.Predictor, files: dict[str, Path]) -> None:
    rows = predictor.manifest().split("train")  # those of val are cross-fitted
    images = [record.image for record in rows]
    outputs = predictor.outputs(predictor.manifest(), "train")
    probabilities = predictor.predict_proba(images, batch_size=5)
    assert probabilities.dtype == np.float32
    assert probabilities == pytest.approx(outputs.logits.softmax(-1).numpy(), abs=1e-5)
    assert predictor.encode(images) == pytest.approx(outputs.x_v.numpy(), abs=1e-4)
    assert outputs.x_cdr is not None
    assert predictor.encode(images, kind="x_cdr") == pytest.approx(outputs.x_cdr.numpy(), abs=1e-4)
    assert predictor.encode(images[0], kind="x_ema").shape == predictor.encode(images, kind="x_ema").shape[1:]
    assert predictor.predict_proba([]).shape == (0, len(predictor.classes))
    assert predictor.encode([]).shape == (0, outputs.x_v.shape[1])
    with pytest.raises(ConfigError, match=r"no features 'x_cd'. Choose from x_v, x_ema, x_cdr. Did you mean 'x_cdr'"):
        predictor.encode(images[0], kind="x_cd")


def test_the_transform_gives_the_input_of_the_model(predictor: marnet.Predictor, files: dict[str, Path]) -> None:
    transform = pickle.loads(pickle.dumps(predictor.transform))  # as loader processes get it
    size = predictor.spec.size
    inputs = torch.stack([transform(files["turned"]), predictor.transform(files["turned"].read_bytes())])
    assert (inputs.shape, inputs.dtype) == ((2, 3, size, size), torch.float32)
    assert torch.equal(inputs[0], inputs[1])
    with torch.inference_mode():
        found = predictor.model(inputs[:1]).softmax(-1)[0]
    assert found.numpy() == pytest.approx(predictor.predict_proba(files["turned"]), abs=1e-6)


def test_evaluate_takes_the_runs_rows_or_other_data(predictor: marnet.Predictor) -> None:
    rows = predictor.manifest()
    expected = predictor.evaluate()
    assert expected == marnet.evaluate(predictor.run)
    assert predictor.evaluate(rows) == expected == predictor.evaluate(list(rows.records))
    others = [record._replace(split="test") for record in rows.split("val")[:3]]
    assert predictor.evaluate(others, split="test").n == 3


def test_the_limit_of_the_run_holds_for_every_form(predictor: marnet.Predictor, files: dict[str, Path]) -> None:
    path, pixels = files["plain"], noisy(160, 120)
    limited = copy.copy(predictor)
    limited.transform = ImageTransform(predictor.spec, max_pixels=19_199)
    sentence = "has 160 x 120 pixels, 19,200 in all; the limit is 19,199."
    for form in (path, path.read_bytes(), Image.open(path), Image.fromarray(pixels), pixels):
        with pytest.raises(ImageError, match=sentence):
            limited.predict(form)
    assert predictor.transform.max_pixels == predictor.config.data.max_pixels


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"", "The image at position 1 is empty (0 bytes)."),
        (b"nonsense", "The image at position 1 is not an image: no known format begins with b'nonsense'."),
        (Path("/nowhere/a.jpg"), "Image /nowhere/a.jpg (position 1) does not exist."),
        (np.zeros((4, 4, 3)), "The image at position 1 is an array (4, 4, 3) of float64. Expected uint8 of the shape"),
        (np.zeros((0, 4, 3), np.uint8), "The image at position 1 is an array (0, 4, 3) of uint8."),
        (np.zeros((3, 8, 8), np.uint8), "The image at position 1 is an array (3, 8, 8) of uint8."),
        (torch.zeros(3, 4, 4), "The image at position 1 is a tensor (3, 4, 4) of torch.float32. Expected torch.uint8"),
        (7, "The image at position 1 is of the type int. Expected a path, the bytes of an image file, a Pillow image"),
    ],
)
def test_a_broken_image_among_many_is_named_by_its_position(
    predictor: marnet.Predictor, files: dict[str, Path], image: object, sentence: str
) -> None:
    with pytest.raises(ImageError, match=re.escape(sentence)):
        predictor.predict([files["plain"], image, files["plain"]], batch_size=1)


def test_a_broken_image_alone(predictor: marnet.Predictor, files: dict[str, Path], tmp_path: Path) -> None:
    cut = files["turned"].read_bytes()[:2000]
    (tmp_path / "cut.jpg").write_bytes(cut)
    with pytest.raises(ImageError, match=r"^The image is cut short or damaged"):
        predictor.predict(cut)
    with pytest.raises(ImageError, match=r"^The image is cut short or damaged"):
        predictor.predict(Image.open(tmp_path / "cut.jpg"))
    closed = Image.open(files["plain"])
    closed.close()
    with pytest.raises(ImageError, match=r"^The image is cut short or damaged"):
        predictor.predict(closed)
    with pytest.raises(ImageError, match=r"^The image is of the type int. Expected a path, .*; or several in a list"):
        predictor.predict(7)  # type: ignore[call-overload]


def test_devices(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # as if there were the device
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    monkeypatch.undo()
    for name in ("gpu", "meta:x", "xla"):
        with pytest.raises(ConfigError, match=rf"The device '{name}' cannot be used: .*Expected 'auto', 'cpu'"):
            marnet.load(trained_run, device=name)
