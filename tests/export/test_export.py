"""Exported files predict as their run does, for every method and form of labels, or there is no file."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import marnet
from marnet.data.recorded import read_recorded
from marnet.encoders.words import WordEncoder
from marnet.errors import ConfigError, DataError, ExportError, RunDirectoryError
from marnet.export import onnx_file
from marnet.export.export import describe
from marnet.inference.exported.artefact import from_metadata, to_metadata

pytest.importorskip("onnxruntime")
METHODS = ("image-only", "match", "reconstruct", "regress", "multitask", "late-fusion")  # marnet is that of trained_run


def images_of(run: Path) -> list[str]:
    return [record.image for record in marnet.Predictor(run, device="cpu").manifest().records]


def assert_same(run: Path, file: Path) -> None:
    """Compare a file with its run on rows of the run, at three sizes of batches, from the image files on."""
    theirs, ours = marnet.Predictor(run, device="cpu"), marnet.load(file, allow_code=True)
    images = images_of(run)[:66]
    expected = theirs.predict_proba(images)
    for size in (1, 5, 64):
        found = ours.predict_proba(images, batch_size=size)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.dtype == np.float32
    named = [each.labels for each in theirs.predict(images)]
    assert [each.labels for each in ours.predict(images)] == named


@pytest.fixture(scope="module")
def file(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return marnet.export_run(trained_run, tmp_path_factory.mktemp("exported") / "run.onnx").path


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, manifest_file: Path, tmp_path: Path) -> None:
    settings = {"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu", "batch_size": 16}}
    run = marnet.train(
        manifest_file, out=tmp_path / "run", backbone="timm:test_resnet", settings={"method": method, **settings}
    )
    done = marnet.export_run(run.path, tmp_path / "run.onnx")
    assert done.largest_difference < 1e-4
    assert (done.images, done.origin, done.agreement) == (18, "of split val", 1.0)
    assert_same(run.path, done.path)
    kinds = (
        {"x_v"}
        | ({"x_ema"} if method == "match" else set())
        | ({"x_cdr"} if method in ("reconstruct", "regress") else set())
    )
    image, file = images_of(run.path)[0], marnet.load(done.path)
    for kind in kinds:
        expected = marnet.Predictor(run.path, device="cpu").encode(image, kind=kind)
        np.testing.assert_allclose(file.encode(image, kind=kind), expected, atol=1e-4)
    with pytest.raises(ConfigError, match=f"trained with the method '{method}', which computes no features 'x_s'"):
        file.encode(image, kind="x_s")


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".pt2", marks=pytest.mark.slow)])
def test_several_classes_per_image(suffix: str, salad_run: Path, tmp_path: Path) -> None:
    done = marnet.export_run(salad_run, tmp_path / f"salads{suffix}")
    assert_same(salad_run, done.path)
    theirs, ours = marnet.Predictor(salad_run, device="cpu"), marnet.load(done.path, allow_code=True)
    assert ours.description == theirs.description
    assert ours.description.thresholds is not None


def test_marnet_in_both_formats(trained_run: Path, file: Path, tmp_path: Path) -> None:
    assert_same(trained_run, file)
    other = marnet.export_run(trained_run, tmp_path / "run.pt2").path
    assert_same(trained_run, other)
    with pytest.raises(ExportError, match="pass `allow_code=True` if you trust the file"):
        marnet.load(other)


@pytest.mark.slow
def test_noise_replaces_the_start_vector(trained_run: Path, file: Path, tmp_path: Path) -> None:
    run = marnet.Predictor(trained_run, device="cpu")
    images = images_of(trained_run)[:3]
    pixels = np.stack([run.transform.pixels(image).numpy() for image in images])
    inputs = torch.stack([run.transform(image) for image in images])
    other = marnet.export_run(trained_run, tmp_path / "run.pt2").path
    for exported in (marnet.load(file), marnet.load(other, allow_code=True)):
        assert isinstance(exported, marnet.ExportedPredictor)
        assert exported.artefact.noise is not None
        noise = np.random.default_rng(0).normal(size=(3, len(exported.artefact.noise))).astype(np.float32)
        with torch.inference_mode():
            expected = run.model.prediction_outputs(inputs, torch.from_numpy(noise))
        found = exported.compute(pixels, noise)
        assert expected.x_cdr is not None
        np.testing.assert_allclose(found["x_cdr"], expected.x_cdr.numpy(), atol=1e-4)
        branch = expected.branch_logits["reconstruction"].softmax(-1).numpy()
        np.testing.assert_allclose(found["probabilities_reconstruction"], branch, atol=1e-5)
        assert np.abs(exported.compute(pixels)["x_cdr"] - found["x_cdr"]).max() > 1e-3
        with pytest.raises(ValueError, match=r"`noise` has the shape \(2, 2\), but it must be"):
            exported.compute(pixels, np.zeros((2, 2), np.float32))


def test_the_metadata_read_back_equal(trained_run: Path, file: Path) -> None:
    import onnx

    run = marnet.Predictor(trained_run, device="cpu")
    written = {each.key: each.value for each in onnx.load(file).metadata_props}
    artefact = describe(run, "fp32")
    assert from_metadata(written, file) == artefact
    assert written == to_metadata(artefact)
    assert artefact.description.scores
    assert json.loads(written["classes"]) == list(run.classes)
    assert json.loads(written["image"])["cache_size"] == 37
    assert json.loads(written["calibration"])["inverse_temperature"] == run.calibration.inverse_temperature  # type: ignore[union-attr]


def test_prediction_sets_and_unknown_images_are_those_of_the_run(trained_run: Path, file: Path) -> None:
    theirs, ours = marnet.Predictor(trained_run, device="cpu"), marnet.load(file)
    assert ours.least_probability(0.2) == theirs.least_probability(0.2)
    assert ours.least_confidence(0.2) == theirs.least_confidence(0.2)
    images = images_of(trained_run)
    for mine, his in zip(
        ours.predict(images, abstain=0.2, open_set=0.2), theirs.predict(images, abstain=0.2, open_set=0.2), strict=True
    ):
        assert (mine.labels, mine.abstained, mine.unknown) == (his.labels, his.abstained, his.unknown)


def test_added_classes_are_exported(trained_run: Path, tmp_path: Path) -> None:
    images = images_of(trained_run)[:4]
    added = marnet.add_classes(trained_run, [marnet.NewClass("plum", images=images)], tmp_path / "more")
    done = marnet.export_run(added, tmp_path / "more.onnx")
    assert_same(Path(added), done.path)
    assert marnet.load(done.path).classes[-1] == "plum"


@pytest.fixture(scope="module")
def told_run(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose texts have words that occur nowhere else."""
    words = {"apple": "glimquax rotundelle", "lime": "verdopple rotundelle", "eel": "blauwisk longaresque"}
    found = marnet.read_manifest(manifest_file)
    rows = tuple(row._replace(text=words[row.label]) for row in found.records)
    settings = {"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu", "batch_size": 16}}
    told = dataclasses.replace(found, records=rows)
    out = tmp_path_factory.mktemp("told") / "run"
    return marnet.train(told, out=out, backbone="timm:test_resnet", settings=settings).path


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".pt2", marks=pytest.mark.slow)])
def test_a_file_holds_no_text_and_no_path(suffix: str, told_run: Path, tmp_path: Path) -> None:
    run = marnet.Predictor(told_run, device="cpu", with_text=True)
    content = marnet.export_run(told_run, tmp_path / f"run{suffix}").path.read_bytes()
    encoder = run.model.text
    assert isinstance(encoder, WordEncoder)
    assert {"glimquax", "rotundelle"} <= set(encoder.vocabulary)
    for word in ("glimquax", "rotundelle", "verdopple", "blauwisk", "longaresque"):
        for coding in ("utf-8", "utf-16-le"):
            assert word.encode(coding) not in content, word
    for name, tensor in run.model.state_dict().items():
        if name.startswith("training_only.") and tensor.unique().numel() >= 8:
            assert tensor.numpy().tobytes() not in content, name
    assert run.model.heads["visual"].weight.detach().numpy().tobytes() in content  # the search finds what is there
    assert b"apple" in content
    assert b"training_only" not in content
    for place in (marnet.__file__, torch.__file__, str(told_run)):
        assert str(Path(place).parent).encode() not in content


def test_a_file_that_predicts_something_else_is_not_written(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bias of one layer is another one in the graph than in the run."""
    build = onnx_file.build_onnx

    def poisoned(predictor: marnet.Predictor) -> object:
        bias = predictor.model.heads["visual"].bias.data
        bias[0] += 0.5
        try:
            return build(predictor)
        finally:
            bias[0] -= 0.5

    monkeypatch.setattr(onnx_file, "build_onnx", poisoned)
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=r"largest difference of a probability is 0\.\d+ \(at most 0\.0001"):
        marnet.export_run(trained_run, tmp_path / "out" / "run.onnx")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_images_to_compare_on(trained_run: Path, manifest_file: Path, tmp_path: Path) -> None:
    done = marnet.export_run(trained_run, tmp_path / "a.onnx", images=manifest_file.parent)
    assert (done.images, done.origin) == (60, f"in {manifest_file.parent}")
    lost = shutil.copytree(trained_run, tmp_path / "lost")
    (lost / "manifest.jsonl").unlink()
    done = marnet.export_run(lost, tmp_path / "b.onnx")
    assert (done.images, done.origin) == (200, "drawn at random, since none of the run's split val can be read")
    with pytest.raises(ExportError, match=r"none of those of .*lost can be read\. Name the rows at their new place"):
        marnet.export_run(lost, tmp_path / "c.onnx", precision="int8")
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize("precision", [pytest.param("fp16", marks=pytest.mark.slow), "int8"])
def test_fewer_bits(precision: str, trained_run: Path, file: Path, tmp_path: Path) -> None:
    done = marnet.export_run(trained_run, tmp_path / "small.onnx", precision=precision)  # type: ignore[arg-type]
    assert done.scores is not None
    assert (done.scores.rows, done.scores.title) == (18, "top-1")
    assert done.agreement >= 0.8
    assert done.largest_difference < 0.2
    assert done.size < file.stat().st_size
    exported = marnet.load(done.path)
    assert isinstance(exported, marnet.ExportedPredictor)
    assert exported.artefact.precision == precision
    right = [each.labels[0] for each in exported.predict(images_of(trained_run)[-18:], top=1)]
    assert len(right) == 18


def test_a_file_is_evaluated_on_other_rows(trained_run: Path, file: Path, manifest_file: Path) -> None:
    run = marnet.Predictor(trained_run, device="cpu")
    outputs = run.outputs(run.manifest(), "train")  # those of val are cross-fitted
    expected = run.task.metrics(outputs.logits, outputs.labels)
    for found in (
        marnet.evaluate(file, str(manifest_file), split="train"),
        marnet.load(file).evaluate(str(manifest_file), split="train"),
    ):
        assert found._asdict() == pytest.approx(expected._asdict(), abs=1e-5)
    with pytest.raises(DataError, match=r"is an exported file, which has no rows of its own\. Name some with `data`"):
        marnet.evaluate(file)
    with pytest.raises(ConfigError, match="Name `data`, not `features`"):
        marnet.evaluate(file, features="features")
    unknown = read_recorded(trained_run, label_form="single")
    rows = tuple(row._replace(label="durian") for row in unknown.records)
    with pytest.raises(DataError, match="has labels that the run does not know: durian"):
        marnet.evaluate(file, dataclasses.replace(unknown, records=rows, classes=("durian",)))


def test_what_cannot_be_exported_is_refused(trained_run: Path, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has the suffix '\.zip', which says the format\. Choose \.onnx or \.pt2"):
        marnet.export_run(trained_run, tmp_path / "x.zip")
    with pytest.raises(ConfigError, match=r"`precision` is 'fp61', .* Did you mean 'fp16'"):
        marnet.export_run(trained_run, tmp_path / "x.onnx", precision="fp61")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"`precision=int8` needs an ONNX file"):
        marnet.export_run(trained_run, tmp_path / "x.pt2", precision="int8")
    with pytest.raises(RunDirectoryError, match="does not exist"):
        marnet.export_run(tmp_path / "nothing", tmp_path / "x.onnx")
    with pytest.raises(DataError, match="holds no image"):
        marnet.export_run(trained_run, tmp_path / "x.onnx", images=tmp_path)
    before = file.read_bytes()
    with pytest.raises(ExportError, match=r"run\.onnx already exists\. Choose another name, or replace it"):
        marnet.export_run(trained_run, file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install 'marnet\[onnx\]'"):
        marnet.export_run(trained_run, tmp_path / "x.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'marnet\[runtime\]'"):
        marnet.load(tmp_path / "x.onnx")


def test_files_that_cannot_be_used(file: Path, tmp_path: Path) -> None:
    import onnx

    with pytest.raises(ExportError, match=r"no\.onnx does not exist"):
        marnet.load(tmp_path / "no.onnx")
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ExportError, match=r"cut\.onnx is no ONNX file, or damaged"):
        marnet.load(tmp_path / "cut.onnx")
    (tmp_path / "cut.pt2").write_bytes(b"PK")
    with pytest.raises(ExportError, match=r"cut\.pt2 is no file of torch\.export, or damaged"):
        marnet.load(tmp_path / "cut.pt2", allow_code=True)
    model = onnx.load(file)
    for changes, message in (
        ({"format_version": "2"}, r"has the format 2 of exported files, but this version of marnet reads 1"),
        ({"classes": "7"}, "is damaged"),
        ({"format": "other"}, "was not written by 'marnet export'"),
    ):
        written = {each.key: each.value for each in model.metadata_props}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, written | changes)
        onnx.save(model, tmp_path / "changed.onnx")
        with pytest.raises(ExportError, match=message):
            marnet.load(tmp_path / "changed.onnx")
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, written)
    with pytest.raises(ConfigError, match=r"device 'cuda:x' cannot be used: onnxruntime has .*CPUExecutionProvider"):
        marnet.load(file, device="cuda:x")
    with pytest.raises(ConfigError, match="holds its backbone"):
        marnet.load(file, backbone=torch.nn.Identity())
    with pytest.raises(RunDirectoryError, match="is a file, but this takes a run directory"):
        marnet.add_classes(file, [marnet.NewClass("plum", "A plum.")], tmp_path / "more")
