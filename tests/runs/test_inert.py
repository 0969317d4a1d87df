"""A run is inert: loading one executes nothing that its files name, and what makes no sense is refused."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import marnet
from marnet.cli.app import main
from marnet.errors import MarnetError, RunDirectoryError
from marnet.reports.run_report import write_run_report
from marnet.runs.weights import load_run

EVIL = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"


@pytest.fixture
def run(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run, with a module beside its files that Python would find."""
    folder = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (folder / "strange_code.py").write_text(EVIL)
    monkeypatch.syspath_prepend(folder)
    return folder


def set_line(run: Path, section: str, key: str, value: str) -> None:
    text = (run / "config.yaml").read_text()
    pattern = rf"(?m)^{key}: .*$" if not section else rf"(?m)(^{section}:\n(?:  .*\n)*?  {key}: ).*$"
    written = re.sub(pattern, f"{key}: {value}" if not section else rf"\g<1>{value}", text, count=1)
    assert written != text
    (run / "config.yaml").write_text(written)


NAMED = [
    ("backbone", "name", "module:strange_code.make"),
    ("fusion", "kind", "module:strange_code.make"),
    ("", "method", "module:strange_code.METHOD"),
]


@pytest.mark.parametrize(("section", "key", "name"), NAMED)
@pytest.mark.parametrize(
    "use",
    [
        marnet.load,
        marnet.load_model,
        marnet.evaluate,
        lambda run: write_run_report([run], run / "report.html"),
        lambda run: marnet.train(out=run, resume=True, settings={"training.epochs": 9}),
    ],
    ids=["load", "load_model", "evaluate", "report", "resume"],
)
def test_nothing_that_a_run_names_is_imported(
    use: Callable[[Path], object], section: str, key: str, name: str, run: Path
) -> None:
    set_line(run, section, key, name)
    with pytest.raises(RunDirectoryError) as refused:
        use(run)
    assert f"names code outside marnet ({section}{'.' if section else ''}{key} {name})" in str(refused.value)
    assert "pass `allow_code=True`" in str(refused.value)
    assert ("`backbone=...`" in str(refused.value)) == (section == "backbone")
    assert "strange_code" not in sys.modules
    assert not (run / "executed").exists()


def test_the_text_encoder_that_a_run_names_is_not_imported(run: Path) -> None:
    settings = {"kind": "module", "path": "strange_code.Letters", "trainable": False}
    (run / "text.json").write_text(json.dumps(settings))
    with pytest.raises(RunDirectoryError, match=r"\(text\.json module:strange_code\.Letters\)"):
        marnet.load_model(run)
    set_line(run, "text", "name", "random:module:strange_code.Letters")
    assert marnet.load(run).classes  # prediction reads no text encoder
    with pytest.raises(RunDirectoryError, match=r"\(text\.name random:module:strange_code\.Letters\)"):
        marnet.train(out=run, resume=True, settings={"training.epochs": 9})
    assert "strange_code" not in sys.modules


def test_only_what_the_caller_allows_is_imported(run: Path) -> None:
    set_line(run, "backbone", "name", "module:strange_code.make")
    with pytest.raises(RunDirectoryError, match="names code outside marnet"):
        load_run(run, allow_code={"module:mine.make"})
    assert not (run / "executed").exists()
    with pytest.raises(MarnetError, match="has no 'make'"):  # imported, because it was allowed
        load_run(run, allow_code={"module:strange_code.make"})
    assert (run / "executed").exists()
    del sys.modules["strange_code"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "report", "train"])
def test_the_command_line_names_its_flag(
    command: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_line(run, "backbone", "name", "module:sys.exit")
    more = {"predict": ["a.png"], "train": ["--resume", "--epochs", "9"]}.get(command, [])
    place = ["--out", str(run)] if command == "train" else [str(run)]
    monkeypatch.setattr(sys, "argv", ["marnet", command, *place, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "backbone.name module:sys.exit" in said
    assert "pass --allow-code" in said


def test_a_backbone_of_the_hub_is_not_downloaded(run: Path) -> None:
    set_line(run, "backbone", "name", "hf:evil/repository")
    with pytest.raises(RunDirectoryError, match=r"has no folder 'backbone' .* loading a run downloads nothing"):
        marnet.load(run)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("image.json", '{"size": 1000000000, "mean": [0, 0, 0], "std": [1, 1, 1]}'),
        ("image.json", '{"size": 32, "mean": [0, 0, 0], "std": [0, 1, 1]}'),
        ("image.json", '{"size": 32, "mean": [0, 0], "std": [1, 1, 1]}'),
        ("image.json", '{"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "magic"}'),
        ("image.json", "[" * 100_000),
        ("classes.json", "[]"),
        ("classes.json", "12"),
    ],
)
def test_senseless_files_are_refused(file: str, content: str, run: Path) -> None:
    (run / file).write_text(content)
    with pytest.raises(RunDirectoryError, match=f"{file} is damaged"):
        marnet.load(run)


def test_files_that_are_no_files_are_refused(run: Path) -> None:
    (run / "classes.json").unlink()
    (run / "classes.json").symlink_to("/dev/zero")
    with pytest.raises(RunDirectoryError, match=r"classes\.json is not a regular file"):
        marnet.load(run)
    with (run / "config.yaml").open("ab") as file:
        file.truncate(2**30)
    with pytest.raises(RunDirectoryError, match=r"config\.yaml has 1,073,741,824 bytes, but .* at most"):
        marnet.load(run)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("reconstruction", "timesteps", "1000000000"),
        ("reconstruction", "width", "1000000000"),
        ("reconstruction", "depth", "1000000000"),
        ("alignment", "width", "1000000000"),
        ("semantics", "dimensions", "1000000000"),
        ("late_fusion", "width", "1000000000"),
        ("data", "image_size", "1000000000"),
    ],
)
def test_sizes_of_a_run_are_bounded_before_anything_is_allocated(section: str, key: str, value: str, run: Path) -> None:
    set_line(run, section, key, value)
    with pytest.raises(MarnetError, match=rf"`{section}\.{key}`: found 1000000000; input should be less than or equal"):
        marnet.load(run)


def damage(run: Path, value: float) -> None:
    weights = load_file(run / "model.safetensors")
    with safe_open(run / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    name = next(name for name in weights if "head" in name and name.endswith("weight"))
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, run / "model.safetensors", metadata)


def test_weights_that_are_not_numbers_are_refused(run: Path) -> None:
    damage(run, float("nan"))
    with pytest.raises(RunDirectoryError, match=r"hold NaN \(not a number\) in 1 of \d+ tensors, such as .*head"):
        marnet.load(run)


def test_predictions_that_are_not_numbers_are_refused(run: Path, manifest_file: Path) -> None:
    damage(run, float("inf"))
    predictor = marnet.load(run, device="cpu")
    image = manifest_file.parent / "apple-0.png"
    for ask in (predictor.predict, predictor.predict_proba, lambda _: predictor.evaluate()):
        with pytest.raises(RunDirectoryError, match=r"gives predictions that are no numbers \(NaN or infinite\)"):
            ask(image)
