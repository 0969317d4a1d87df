"""The sizes that a strange run asks for are compared with its files before anything of them is allocated."""

import json
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import marnet
from marnet.building import build_model
from marnet.errors import DataError, MarnetError, RunDirectoryError
from marnet.runs.directory import read_history
from marnet.runs.tensor_files import read_header, save_tensors
from marnet.runs.weights import load_run
from marnet.training import embed


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that a test may damage."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def set_values(run: Path, **values: object) -> None:
    """Change settings in config.yaml by key, each of which stands there once below the section that comes first."""
    text = (run / "config.yaml").read_text()
    for name, value in values.items():
        section, _, key = name.partition("__")
        pattern = rf"(?m)(^{section}:\n(?:  .*\n)*?  {key}: ).*$"
        text, count = re.subn(pattern, rf"\g<1>{value}", text, count=1)
        assert count == 1
    (run / "config.yaml").write_text(text)


@pytest.fixture
def no_large_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a large tensor is allocated, and not only described on the device "meta"."""
    empty = torch.empty

    def small(*sizes: Any, **options: Any) -> Any:
        made = empty(*sizes, **options)
        assert made.is_meta or made.numel() < 10**7
        return made

    monkeypatch.setattr(torch, "empty", small)


LARGE: dict[str, dict[str, object]] = {
    "a product of widths": {"reconstruction__depth": 256, "reconstruction__width": 16_384},
    "a wide projection": {"alignment__width": 16_384},
    "another backbone": {"backbone__name": "timm:vit_giant_patch14_dinov2"},
    "another backbone of torchvision": {"backbone__name": "torchvision:vgg19"},
}


@pytest.mark.usefixtures("no_large_tensors")
@pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("use", [marnet.load, marnet.load_model], ids=["load", "load_model"])
def test_a_model_that_the_file_does_not_hold_is_refused_with_names_and_sizes(
    use: Callable[[Path], object], values: dict[str, object], run: Path
) -> None:
    set_values(run, **values)
    with pytest.raises(RunDirectoryError, match=r"does not fit .*[Bb]oth must come from the same run") as refused:
        use(run)
    assert re.search(r"\w+\.\w+ \d+(x\d+)*", str(refused.value))
    assert len(str(refused.value)) < 1500


@pytest.mark.usefixtures("no_large_tensors")
def test_a_large_model_is_not_built_to_resume(run: Path) -> None:
    set_values(run, reconstruction__depth=256, reconstruction__width=16_384)
    with pytest.raises(RunDirectoryError, match=r"asks for a model of [\d,.]+ GiB, but the resume point has"):
        marnet.train(out=run, resume=True, settings={"training.epochs": 9})
    (run / "model.safetensors").unlink()  # which a run that was cut off early lacks
    with pytest.raises(RunDirectoryError, match=r"asks for a model of [\d,.]+ GiB"):
        marnet.train(out=run, resume=True, settings={"training.epochs": 9})


@pytest.mark.usefixtures("no_large_tensors")
def test_many_classes_need_many_weights(run: Path) -> None:
    (run / "classes.json").write_text(json.dumps([f"class {number}" for number in range(200_000)]))
    with pytest.raises(
        RunDirectoryError, match=r"have another size: found heads\.\w+\.weight 3x\d+ instead of 200000x"
    ):
        marnet.load(run)


@pytest.mark.parametrize(
    ("width", "reason"),
    [
        ("90000000", r"text\.safetensors does not fit"),
        ("9" * 30, "names '9+' as the width of texts"),
        ("-1", "names '-1' as"),
        ("five", "names 'five' as"),
    ],
)
def test_the_width_of_texts_is_bounded(width: str, reason: str, run: Path) -> None:
    set_values(run, semantics__dimensions=3)  # as many as the texts of this run have
    tensors = load_file(run / "model.safetensors")
    save_tensors(run / "model.safetensors", tensors, {"text_width": width})
    with pytest.raises(RunDirectoryError, match=reason):
        marnet.load(run)


def header(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


def tensor(shape: list[int], place: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "its header would have 0 bytes"),
    "a header longer than the file": (struct.pack("<Q", 10**8) + b"{}", r"header would have 100,000,000 bytes"),
    "a negative length": (b"\xff" * 8 + b"{}", "at most 16,777,216 are read"),
    "a list": (header([]), "not a JSON object"),
    "no JSON": (header(b"{nonsense"), "is damaged"),
    "deep": (header(b"[" * 100_000), "is damaged"),
    "a tensor larger than the file": (header({"a": tensor([10**9], [0, 4 * 10**9])}), "do not fill the 0 bytes"),
    "another size": (header({"a": tensor([3], [0, 8])}) + bytes(8), r"'a' has 8 bytes, which are not \[3\] of F32"),
    "a product over 64 bits": (header({"a": tensor([2**40, 2**40], [0, 8])}) + bytes(8), "which are not"),
    "negative": (header({"a": tensor([-2], [0, -8])}), "does not say the shape and the place of 'a'"),
    "overlapping": (header({"a": tensor([2], [0, 8]), "b": tensor([2], [0, 8])}) + bytes(8), "do not fill the 8"),
    "bytes left over": (header({"a": tensor([2], [0, 8])}) + bytes(9), "do not fill the 9 bytes"),
    "an unknown type": (header({"a": tensor([2], [0, 8], "F33")}) + bytes(8), "unknown type 'F33'"),
    "metadata of numbers": (header({"__metadata__": {"a": 1}}), "metadata are not texts"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_header_is_refused(content: bytes, reason: str, tmp_path: Path, run: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=reason):
        read_header(tmp_path / "a.safetensors")
    (run / "model.safetensors").write_bytes(content)
    with pytest.raises(RunDirectoryError, match="Restore it, or train again"):
        marnet.load(run)


def test_a_header_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.tensor(5), "c": torch.zeros(0, 4, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "a.safetensors", {"format": "x"})
    assert read_header(tmp_path / "a.safetensors") == ({"a": (2, 3), "b": (), "c": (0, 4)}, {"format": "x"})


@pytest.mark.parametrize(
    "name", ["model.safetensors", "text.safetensors", "manifest.jsonl", "history.csv", "text.json"]
)
def test_files_with_holes_of_100_gigabytes_are_refused(name: str, run: Path) -> None:
    os.truncate(run / name, 100 * 2**30)
    read: dict[str, Callable[[], object]] = {
        "manifest.jsonl": lambda: marnet.load(run).manifest(),
        "history.csv": lambda: read_history(run / name),
    }
    with pytest.raises(MarnetError, match=re.escape(name)):
        read.get(name, lambda: marnet.load_model(run))()


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.jsonl", "history.csv"])
def test_a_pipe_is_refused_unopened(name: str, run: Path) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(
        (RunDirectoryError, DataError), match=f"{re.escape(name)} is not a regular file|it is not a reg"
    ):
        read_history(run / name) if name == "history.csv" else marnet.load(run).manifest()


@pytest.mark.parametrize("content", ["epoch,loss\n1,0.5,7\n", "epoch\nepoch\n", "epoch\n\x00\n", "epoch\n\xff"])
def test_a_damaged_history_is_named(content: str, run: Path) -> None:
    (run / "history.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunDirectoryError, match=r"history\.csv is damaged"):
        read_history(run / "history.csv")


def test_a_resume_point_that_unpacks_to_any_size_is_refused(run: Path) -> None:
    for name in ("last.ckpt", "last.previous.ckpt"):
        with zipfile.ZipFile(run / "checkpoints" / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", os.urandom(10**7))
    with pytest.raises(RunDirectoryError, match=r"no whole checkpoints.last\.ckpt"):
        marnet.train(out=run, resume=True, settings={"training.epochs": 9})


def test_features_are_compared_with_the_rows_before_they_are_read(manifest_file: Path, tmp_path: Path) -> None:
    config = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    folder = embed(marnet.make_config(config), tmp_path / "features")
    os.truncate(folder / "features.safetensors", 100 * 2**30)
    settings = {"data.features": str(folder), "training.epochs": 1}
    with pytest.raises(RunDirectoryError, match=r"features\.safetensors is damaged .* Embed the source again"):
        marnet.train(out=tmp_path / "run", settings=settings)
    save_tensors(folder / "features.safetensors", {"train": torch.zeros(42, 5), "val": torch.zeros(18, 5)}, {})
    with pytest.raises(RunDirectoryError, match=r"shapes .*\(42, 5\).* give .*\(42, 96\)"):
        marnet.train(out=tmp_path / "run", settings=settings)


def test_the_layers_of_a_model_of_transformers_are_bounded(run: Path) -> None:
    pytest.importorskip("transformers")
    (run / "backbone").mkdir()
    config = {"model_type": "vit", "architectures": ["ViTModel"], "num_hidden_layers": 10**9, "hidden_size": 16}
    (run / "backbone" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2}))
    set_values(run, backbone__name="hf:strange/model")
    with pytest.raises(MarnetError, match=r"model of more than [0-9,]+ tensors, but its files hold far fewer"):
        marnet.load(run)


def test_sizes_are_checked_without_drawing_random_numbers(run: Path) -> None:
    torch.manual_seed(3)
    expected = load_run(run)  # draws for the weights that are then replaced
    after = torch.rand(1)
    torch.manual_seed(3)
    build_model(expected.config, num_classes=3, text_width=expected.model.text_width, visual_width=96)
    assert torch.equal(torch.rand(1), after)


def test_an_image_size_is_no_reason_to_compute_on_it(run: Path) -> None:
    set_values(run, data__image_size=8192)
    assert marnet.load(run, device="cpu").predict_proba([]).shape == (0, 3)


def test_a_batch_of_large_images_is_refused_in_the_settings() -> None:
    marnet.make_config({"data": {"image_size": 224}, "training": {"batch_size": 4096}})
    with pytest.raises(MarnetError, match=r"`training\.batch_size` \(4096\) images of `data\.image_size` \(8192\)"):
        marnet.make_config({"data": {"image_size": 8192}, "training": {"batch_size": 4096}})
