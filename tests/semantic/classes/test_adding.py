"""`add_classes` and `remove_class` on a trained run, in Python and on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import marnet
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.runs.new_classes import read_new_classes
from marnet.semantic.classes.table import read_class_table

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of a class that the run does not know: blue."""
    folder = tmp_path_factory.mktemp("blue")
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        pixels[..., 2] += 180
        Image.fromarray(pixels).save(folder / f"blue-{number}.png")
    return folder


def image_files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.png"))]


@pytest.fixture(scope="module")
def added(trained_run: Path, blue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    new = [marnet.NewClass("sky", "blue", image_files(blue)[:2]), marnet.NewClass("moss", "green and round")]
    return marnet.add_classes(trained_run, new, tmp_path_factory.mktemp("added") / "run", text_encoder="tfidf")


def test_trained_classes_keep_their_logits_and_new_ones_are_predicted(
    trained_run: Path, added: Path, blue: Path
) -> None:
    before, after = marnet.load(trained_run, device="cpu"), marnet.load(added, device="cpu")
    assert after.classes == (*before.classes, "sky", "moss")
    own = [record.image for record in before.manifest().split("val")]
    pixels = torch.stack([before.transform(image) for image in own + image_files(blue)])
    with torch.inference_mode():
        assert torch.equal(after.model(pixels)[:, :3], before.model(pixels))
    assert after.predict_proba(own).sum(1) == pytest.approx(np.ones(len(own)), abs=1e-5)
    assert [(each.name, each.text, each.images) for each in after.added] == [
        ("sky", "blue", 2),
        ("moss", "green and round", 0),
    ]


def test_an_image_is_recognised_from_another_of_its_class(trained_run: Path, blue: Path, tmp_path: Path) -> None:
    new = [marnet.NewClass("sky", images=image_files(blue)[:2])]
    predictor = marnet.load(marnet.add_classes(trained_run, new, tmp_path / "run"), device="cpu")
    assert [each.labels[0] for each in predictor.predict(image_files(blue)[2:])] == ["sky", "sky"]


def test_a_run_with_added_classes_takes_more_and_gives_them_back(added: Path, blue: Path, tmp_path: Path) -> None:
    more = marnet.add_classes(added, [marnet.NewClass("night", "black", image_files(blue)[3:])], tmp_path / "more")
    assert marnet.load(more, device="cpu").classes[3:] == ("sky", "moss", "night")
    less = marnet.remove_class(more, "sky", tmp_path / "less")
    kept = read_new_classes(less, marnet.load(less, device="cpu").classes[:3])
    assert kept is not None
    assert [each.name for each in kept.classes] == ["moss", "night"]
    assert len(kept.features) == 1  # that of the image of night
    for name in ("moss", "night"):
        less = marnet.remove_class(less, name, tmp_path / f"without-{name}")
    assert marnet.load(less, device="cpu").classes == marnet.load(added, device="cpu").classes[:3]
    assert not list(less.glob("new_classes*"))


def test_evaluate_tells_old_from_new(added: Path, blue: Path, tmp_path: Path, call: Call) -> None:
    own = marnet.load(added, device="cpu").manifest().split("val")
    lines = [f"{record.image},{record.label}" for record in own] + [f"{path},sky" for path in image_files(blue)]
    (tmp_path / "rows.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    code, out, _ = call("evaluate", str(added), "--data", str(tmp_path / "rows.csv"), "--split", "test", "--json")
    assert code == 0
    found = json.loads(out)
    predictor = marnet.load(added, device="cpu")
    rows = [*((record.image, record.label) for record in own), *((path, "sky") for path in image_files(blue))]
    right = [predictor.predict(image).labels[0] == label for image, label in rows]
    old, new = np.mean(right[: len(own)]), np.mean(right[len(own) :])
    assert (found["old"], found["new"]) == pytest.approx((old, new))
    assert found["harmonic"] == pytest.approx(2 * old * new / (old + new) if old + new else 0.0)
    assert found["among_new"] == pytest.approx(
        np.mean([predictor.predict_proba(path)[3:].argmax() == 0 for path in image_files(blue)])
    )
    code, out, _ = call("evaluate", str(added), "--json")  # of the run's own rows: no new class is there
    assert json.loads(out)["harmonic"] is None


def test_a_table_names_classes_with_texts_and_folders(
    trained_run: Path, blue: Path, tmp_path: Path, call: Call
) -> None:
    shutil.copytree(blue, tmp_path / "pictures")
    (tmp_path / "new.csv").write_text("name,text,images\nsky,blue,pictures\nnan,black,\n")
    code, out, error = call(
        "add-class", str(trained_run), "--table", str(tmp_path / "new.csv"), "--out", str(tmp_path / "run")
    )
    assert (code, out.strip()) == (0, f"Run: {tmp_path / 'run'}"), error
    assert [(each.name, each.images) for each in marnet.load(tmp_path / "run").added] == [("sky", 4), ("nan", 0)]
    code, out, _ = call("remove-class", str(tmp_path / "run"), "--name", "nan", "--out", str(tmp_path / "less"))
    assert code == 0
    assert marnet.load(tmp_path / "less").classes[3:] == ("sky",)


def test_features_of_the_run_stand_for_its_images(trained_run: Path, tmp_path: Path, call: Call) -> None:
    """Features of another backbone are refused; rows at another place are read with --data."""
    source = str(marnet.load(trained_run).manifest().records[0].image)
    features = tmp_path / "features"
    rows = marnet.load(trained_run).manifest().records
    lines = [f"{row.image},{row.label},{row.split}" for row in rows]
    (tmp_path / "rows.csv").write_text("\n".join(["image,label,split", *lines]) + "\n")
    code, _, error = call(
        "embed",
        str(tmp_path / "rows.csv"),
        "--backbone",
        "timm:test_resnet",
        "--image-size",
        "32",
        "--out",
        str(features),
    )
    assert code == 0, error
    code, _, error = call(
        "add-class", str(trained_run), "--name", "sky", "--images", source, "--features", str(features), "--out",
        str(tmp_path / "no"),
    )  # fmt: skip
    assert code == 1
    assert "not those of the backbone" in error
    assert "--features" in error
    assert not (tmp_path / "no").exists()
    frozen = marnet.train(
        out=tmp_path / "frozen",
        method="image-only",
        settings={"data.features": str(features), "training": {"epochs": 1, "devices": "cpu"}},
    )
    new = [marnet.NewClass("sky", None, [source])]
    by_features = marnet.add_classes(frozen.path, new, tmp_path / "a", features=features)
    by_images = marnet.add_classes(frozen.path, new, tmp_path / "b", data=tmp_path / "rows.csv")
    probabilities = [marnet.load(each, device="cpu").predict_proba(source) for each in (by_features, by_images)]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-3)


def test_what_cannot_be_added_or_removed_is_refused_in_words(
    trained_run: Path, added: Path, blue: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "run"
    for new, words in (
        ([], "No class was given"),
        ([marnet.NewClass("apple", "red")], "knows already: 'apple'"),
        ([marnet.NewClass("sky", "blue"), marnet.NewClass("sky", "grey")], "given twice: 'sky'"),
        ([marnet.NewClass("sky"), marnet.NewClass("x", " ")], "neither: 'sky', 'x'"),
        ([marnet.NewClass(" ", "blue")], "blank name"),
    ):
        with pytest.raises(ConfigError, match=words):
            marnet.add_classes(trained_run, new, out)
    with pytest.raises(RunDirectoryError, match="already"):
        marnet.add_classes(trained_run, [marnet.NewClass("sky", "blue")], added)
    with pytest.raises(ConfigError, match="was trained for the class 'apple'"):
        marnet.remove_class(added, "apple", out)
    with pytest.raises(ConfigError, match=r"no added class 'skye'.*Did you mean"):
        marnet.remove_class(added, "skye", out)
    for arguments, words in (
        (["--name", "sky"], "neither"),
        (["--text", "blue"], "--table"),
        (["--name", "sky", "--images", str(tmp_path / "nowhere")], "does not exist"),
        (["--name", "sky", "--images", str(tmp_path)], "holds no image"),
    ):
        code, _, error = call("add-class", str(trained_run), *arguments, "--out", str(out))
        assert code == 1
        assert words in error
        assert "Traceback" not in error
    assert not out.exists()
    (tmp_path / "bad.csv").write_text("class,text\nsky,blue\n")
    with pytest.raises(DataError, match="'name'"):
        read_class_table(tmp_path / "bad.csv")


@pytest.mark.parametrize("damage", ["shape", "nan", "json", "name"])
def test_damaged_files_are_refused(added: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    run = shutil.copytree(added, tmp_path / "run")
    tensors, content = load_file(run / "new_classes.safetensors"), json.loads((run / "new_classes.json").read_text())
    if damage == "shape":
        tensors["bias"] = tensors["bias"][:1]
    elif damage == "nan":
        tensors["bias"] = tensors["bias"] * torch.nan
    elif damage == "json":
        del content["confidences"]
    else:
        content["classes"][0]["name"] = "apple"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, run / "new_classes.safetensors")
    (run / "new_classes.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="new_classes"):
        marnet.load(run)


def test_images_of_no_known_class_are_marked(trained_run: Path, added: Path, blue: Path, call: Call) -> None:
    predictor = marnet.load(added, device="cpu")
    images = [record.image for record in predictor.manifest().split("val")] + image_files(blue)
    threshold = predictor.least_confidence(0.4)
    found = predictor.predict(images, open_set=0.4)
    assert isinstance(found, list)
    assert [each.unknown for each in found] == [
        bool(row.max() < threshold - 1e-6) for row in predictor.predict_proba(images)
    ]
    content = json.loads((added / "new_classes.json").read_text())["confidences"]
    assert sum(each < threshold for each in content) <= 0.4 * len(content)
    code, out, _ = call("predict", str(trained_run), images[0], "--open", "0.4", "--json")
    assert code == 0
    assert json.loads(out)[0]["unknown"] in (True, False)
    code, _, error = call("predict", str(trained_run), images[0], "--open", "1.5")
    assert code == 1
    assert "--open" in error
