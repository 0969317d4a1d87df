"""The Python API as a stranger calls it: every form of data, of labels and of images."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from PIL import Image
from torch import nn

import marnet
from marnet.data.sources import open_data
from marnet.errors import ConfigError, DataError, RunDirectoryError

SMALL: dict[str, Any] = {
    "data.image_size": 32,
    "training.epochs": 1,
    "training.batch_size": 16,
    "training.devices": "cpu",
}
PLAN: dict[str, Any] = {"base": {"backbone.name": "timm:test_resnet", **SMALL}, "arms": ["image-only", "marnet"]}


@pytest.fixture(scope="module")
def products(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """products.csv with splits train, val and test, its images by absolute paths."""
    rows = pandas.read_csv(manifest_file, keep_default_na=False)
    rows["image"] = [str(manifest_file.parent / name) for name in rows["image"]]
    held_out = rows.index[rows["split"] == "val"][1::2]
    rows.loc[held_out, "split"] = "test"
    path = tmp_path_factory.mktemp("products") / "products.csv"
    rows.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(products: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.TrainedRun:
    out = tmp_path_factory.mktemp("runs") / "p"
    return marnet.train(products, out=out, backbone="timm:test_resnet", settings=SMALL)


class Net(nn.Module):
    """An image model of a user: `(B, 3, H, W)` to `(B, 8)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features


# --- the block of the issue ------------------------------------------------------------------------------------------

BLOCK = """
settings = {"losses.guess": 5}
run = marnet.train("products.csv", out="runs/p", backbone="timm:resnet18", pretrained=True, settings=settings)
clf = marnet.load("runs/p", device="cuda")
one = clf.predict("a.jpg")
many = clf.predict([path, pil_image, ndarray, jpeg_bytes])
probabilities = clf.predict_proba(x); encoded = clf.encode(x); transformed = clf.transform("a.jpg")
metrics = clf.evaluate(data, split="test")
model = marnet.wrap(net, texts=t, labels=y, num_classes=10, settings={"losses.guess": 5})
loss = model.loss(images, texts, labels); loss.backward()
marnet.save(model, "m/"); loaded = marnet.load_model("m/", backbone=net)
comparison = marnet.compare("plan.yaml", out="comparisons/p")
listed = marnet.list_methods(), marnet.list_backbones("timm:*"), marnet.list_settings()
"""
SMALLER = {  # what needs a download, a GPU or minutes
    '"timm:resnet18", pretrained=True, settings=settings': '"timm:test_resnet", settings={**SMALL, **settings}',
    ', device="cuda"': ', device="cpu"',
}


def test_the_block_of_calls_runs(products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("products.csv").write_text(products.read_text())
    Path("plan.yaml").write_text(
        'base: {data: {source: products.csv, image_size: 32}, backbone: {name: "timm:test_resnet"}, '
        "training: {epochs: 1, devices: cpu}}\narms: [image-only, marnet]\nseeds: 1\n"
    )
    rows = pandas.read_csv(products, keep_default_na=False)
    picture = Image.open(rows["image"][0]).convert("RGB")
    picture.save("a.jpg", quality=95)
    texts = ["red, round", "green, long"]
    names = {
        "marnet": marnet,
        "SMALL": SMALL,
        "path": Path("a.jpg"),
        "pil_image": Image.open("a.jpg"),
        "ndarray": np.asarray(Image.open("a.jpg")),
        "jpeg_bytes": Path("a.jpg").read_bytes(),
        "x": ["a.jpg", picture],
        "data": rows,
        "net": Net(),
        "t": texts,
        "y": [0, 1],
        "images": torch.randn(2, 3, 32, 32),
        "texts": texts,
        "labels": torch.tensor([0, 1]),
    }
    code = BLOCK
    for said, done in SMALLER.items():
        assert said in code
        code = code.replace(said, done)
    exec(code, names)
    assert names["run"].path == Path("runs/p")
    assert isinstance(names["one"], marnet.Prediction)
    assert len(names["many"]) == 4
    assert {each.labels for each in names["many"]} == {names["one"].labels}
    assert len({each.probabilities for each in names["many"]}) == 1
    assert names["many"][0].probabilities == pytest.approx(names["one"].probabilities, abs=1e-6)  # in another batch
    assert np.shape(names["probabilities"]) == (2, 3)
    assert np.shape(names["encoded"])[0] == 2
    assert tuple(names["transformed"].shape) == (3, 32, 32)
    assert names["metrics"].n == 9
    names["model"].eval()
    assert torch.equal(names["loaded"](names["images"]), names["model"](names["images"]))
    assert len(names["comparison"].records) == 2
    methods, backbones, settings = names["listed"]
    assert {"image-only", "marnet"} <= {str(getattr(method, "name", method)) for method in methods}
    assert "timm:resnet18" in backbones
    assert len(settings) > 40


# --- images ----------------------------------------------------------------------------------------------------------


def picture_files(folder: Path) -> dict[str, Path]:
    """A PNG, a JPEG of 40 megapixels, one of CMYK, and one that EXIF says to rotate."""
    generator = np.random.default_rng(0)
    small = Image.fromarray(generator.integers(0, 255, (8, 10, 3), dtype=np.uint8)).resize(
        (100, 80), Image.Resampling.BICUBIC
    )
    small.save(folder / "plain.png")
    small.resize((8000, 5000), Image.Resampling.BICUBIC).save(folder / "large.jpg", quality=80)
    small.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture is to be turned by 90 degrees
    small.save(folder / "turned.jpg", quality=90, exif=exif)
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["plain", "large", "cmyk", "turned"])
def test_path_bytes_and_picture_have_equal_probabilities(kind: str, run: marnet.TrainedRun, tmp_path: Path) -> None:
    path = picture_files(tmp_path)[kind]
    clf = run.load(device="cpu")
    wanted = np.asarray(clf.predict_proba([path]))
    with Image.open(path) as picture:
        handed = [str(path), path.read_bytes(), io.BytesIO(path.read_bytes()).getvalue(), picture]
        for image in handed:
            assert np.array_equal(np.asarray(clf.predict_proba([image])), wanted), type(image)
    assert clf.predict(path).probabilities == clf.predict([path.read_bytes()])[0].probabilities


def test_a_turned_picture_is_the_upright_one(run: marnet.TrainedRun, tmp_path: Path) -> None:
    """So the equality above is not that of a tag which all forms overlook."""
    path = picture_files(tmp_path)["turned"]
    clf = run.load(device="cpu")
    with Image.open(path) as picture:
        upright, raw = picture.transpose(Image.Transpose.ROTATE_270), np.asarray(picture)
    wanted = np.asarray(clf.predict_proba([path]))
    assert np.array_equal(np.asarray(clf.predict_proba([np.asarray(upright)])), wanted)
    assert not np.array_equal(np.asarray(clf.predict_proba([raw])), wanted)


# --- data ------------------------------------------------------------------------------------------------------------


def tables(products: Path) -> dict[str, Any]:
    """The same rows in every form that is installed here."""
    rows = pandas.read_csv(products, keep_default_na=False)
    found = {
        "path": str(products),
        "Path": products,
        "pandas": rows,
        "pyarrow": pyarrow.Table.from_pandas(rows),
        "dictionaries": rows.to_dict("records"),
        "records": [marnet.Record(*row) for row in rows[["image", "text", "label", "split"]].itertuples(index=False)],
        "manifest": open_data(products, marnet.make_config().data),
    }
    try:
        import polars

        found["polars"] = polars.from_pandas(rows)
    except ImportError:
        pass
    try:
        import datasets

        found["datasets"] = datasets.Dataset.from_pandas(rows)
    except ImportError:
        pass
    return found


def test_every_form_of_data_trains_and_evaluates_alike(products: Path, run: marnet.TrainedRun, tmp_path: Path) -> None:
    wanted = marnet.evaluate(run, split="test")
    for form, data in tables(products).items():
        again = marnet.train(data, out=tmp_path / form, backbone="timm:test_resnet", settings=SMALL)
        assert again.metrics == run.metrics, form
        assert marnet.evaluate(again, split="test") == wanted, form
        assert marnet.evaluate(run, data, split="test") == wanted, form
        assert marnet.evaluate(run.load(), data, split="test") == wanted, form


def test_every_form_of_data_is_compared_alike(products: Path, tmp_path: Path) -> None:
    found = tables(products)
    comparisons = [
        marnet.compare({**PLAN, "arms": ["image-only"]}, data=found[form], seeds=1, out=tmp_path / form)
        for form in ("path", "pandas", "records")
    ]
    assert len({tuple(each.records[0].predictions) for each in comparisons}) == 1
    assert len({each.records[0].key for each in comparisons}) == 1


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_is_fit_with_the_same_settings(products: Path, run: marnet.TrainedRun, tmp_path: Path) -> None:
    nested = {
        "data": {"source": str(products), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"},
    }
    config = marnet.make_config(nested)
    assert marnet.fit(config, tmp_path / "fitted").metrics == run.metrics
    assert marnet.load(run).config == marnet.load(tmp_path / "fitted").config
    by_config = marnet.train(out=tmp_path / "config", config=config)
    assert marnet.load(by_config).config == marnet.load(run).config
    file = tmp_path / "settings.yaml"
    training = "training: {epochs: 9, batch_size: 16, devices: cpu}"
    file.write_text(f"data: {{image_size: 32}}\nbackbone: {{name: 'timm:test_resnet'}}\n{training}\n")
    by_file = marnet.train(products, out=tmp_path / "file", config=file, settings={"training": {"epochs": 1}})
    assert marnet.load(by_file).config == marnet.load(run).config


def test_arguments_win_over_settings_and_settings_over_a_config(products: Path, tmp_path: Path) -> None:
    config = marnet.make_config({"training": {"lr": 0.5, "weight_decay": 0.25}, "losses": {"label_smoothing": 0.0}})
    settings = {**SMALL, "training.lr": 0.01, "method": "match", "backbone": {"name": "timm:resnet10t"}}
    run = marnet.train(
        products,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        config=config,
        settings=settings,
    )
    found = marnet.load(run).config
    assert (found.method, found.backbone.name) == ("image-only", "timm:test_resnet")
    assert (found.training.lr, found.training.weight_decay, found.losses.label_smoothing) == (0.01, 0.25, 0.0)


def test_a_module_of_ones_own_trains(products: Path, tmp_path: Path) -> None:
    for number, backbone in enumerate((Net(), marnet.Backbone(Net(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))):
        run = marnet.train(products, out=tmp_path / str(number), backbone=backbone, settings=SMALL)
        assert run.load(backbone=Net()).spec.mean == getattr(backbone, "mean", marnet.Backbone(Net()).mean)
        assert marnet.evaluate(run.load(backbone=Net()), split="test").n == 9


def test_a_run_is_resumed_with_its_own_settings_and_rows(products: Path, tmp_path: Path) -> None:
    rows = pandas.read_csv(products, keep_default_na=False)
    marnet.train(rows, out=tmp_path / "run", backbone="timm:test_resnet", settings={**SMALL, "training.lr": 0.002})
    resumed = marnet.train(out=tmp_path / "run", resume=True, settings={"training.epochs": 2})
    found = marnet.load(resumed).config.training
    assert (found.epochs, found.lr) == (2, 0.002)
    whole = marnet.train(
        rows,
        out=tmp_path / "whole",
        backbone="timm:test_resnet",
        settings={**SMALL, "training.lr": 0.002, "training.epochs": 2},
    )
    assert len(list((whole.path).iterdir())) == len(list(resumed.path.iterdir()))


def test_epochs_are_told(products: Path, tmp_path: Path) -> None:
    seen = []
    settings = {**SMALL, "training.epochs": 3}
    marnet.train(
        products,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        settings=settings,
        on_epoch=lambda epoch, epochs: seen.append((epoch, epochs)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "No data was named. Name a source with `data.source=SOURCE`"),
        ({"data": "x.csv", "settings": {"training.epoch": 1}}, ConfigError, "`training.epoch`: unknown key"),
        ({"data": "x.csv", "settings": {"": 1}}, ConfigError, "'' is no name of a setting"),
        (
            {"data": "x.csv", "settings": {"training.epochs": 1, "training": {"epochs": 2}}},
            ConfigError,
            "'training' is set twice. Leave one of the two out.",
        ),
        (
            {"data": "x.csv", "settings": {"training": 1, "training.lr": 2}},
            ConfigError,
            "but so is 'training' above it",
        ),
        ({"data": "x.csv", "backbone": Net(), "pretrained": True}, ConfigError, "but `backbone` is a module"),
        ({"data": "x.csv", "config": marnet.make_config(), "preset": "paper"}, ConfigError, "`preset` adds nothing"),
        ({"resume": True, "preset": "paper"}, ConfigError, "resumed with its own settings. Leave `preset`"),
        ({"resume": True}, RunDirectoryError, "does not exist"),
        ({"data": "nowhere.csv"}, DataError, "nowhere.csv"),
        ({"data": 5}, DataError, "int"),
    ],
)
def test_what_train_refuses(arguments: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=re.escape(message)):
        marnet.train(arguments.pop("data", None), out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


# --- compare and evaluate --------------------------------------------------------------------------------------------


def test_a_comparison_prints_the_top1_of_every_arm(products: Path, tmp_path: Path) -> None:
    comparison = marnet.compare(PLAN, data=products, seeds=2, out=tmp_path / "c")
    assert [(record.arm, record.seed) for record in comparison.records] == [
        ("image-only", 0),
        ("image-only", 1),
        ("marnet", 0),
        ("marnet", 1),
    ]
    assert comparison.results == tmp_path / "c" / "results.md"
    printed = str(comparison)
    assert comparison.summary is not None
    assert printed.startswith(comparison.summary.verdict)
    top1 = np.array([record.metrics["top1"] for record in comparison.records]).reshape(2, 2)
    for arm, values in zip(("image-only", "marnet"), top1, strict=True):
        (line,) = [line for line in printed.splitlines()[1:] if line.startswith(f"{arm} ")]
        assert line.split() == [arm, f"{100 * values.mean():.1f}", "±", f"{100 * values.std(ddof=1):.1f}", "2"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "runs").rglob("*.json")}
    again = marnet.compare(PLAN, data=products, seeds=2, out=tmp_path / "c")
    assert str(again) == printed
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_settings_and_methods_of_a_comparison(products: Path, tmp_path: Path) -> None:
    base = {"base.backbone.name": "timm:test_resnet", "base.data.source": str(products), "seeds": 1}
    comparison = marnet.compare(base, methods=["image-only"], settings=SMALL, out=tmp_path / "c")
    assert [record.arm for record in comparison.records] == ["image-only"]
    assert comparison.records[0].config["training"]["epochs"] == 1
    only = marnet.compare({**PLAN, "seeds": 1}, data=products, methods=["image-only"], out=tmp_path / "d")
    assert [record.arm for record in only.records] == ["image-only"]
    arm = {"name": "hot", "method": "image-only", "settings": {"training.lr": 0.25}}
    hot = marnet.compare({**PLAN, "arms": [arm]}, data=products, seeds=1, out=tmp_path / "e")
    assert hot.records[0].config["training"]["lr"] == 0.25


def test_a_comparison_needs_a_folder() -> None:
    with pytest.raises(ConfigError, match=r"no folder to write the comparison into\. Give `out`"):
        marnet.compare(PLAN)


def test_a_run_names_itself_to_every_call(run: marnet.TrainedRun) -> None:
    assert marnet.evaluate(run) == marnet.evaluate(run.path) == marnet.evaluate(run.load())
    assert marnet.evaluate(run)._asdict() == pytest.approx(run.metrics._asdict(), abs=1e-6)  # in other batches
    assert Path(run) == run.path
