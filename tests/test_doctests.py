"""The examples in docstrings run as they stand, beside the small files that they name; every public name has one."""

import csv
import doctest
import importlib
import inspect
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import marnet

NAMES = [name for name in marnet.__all__ if name != "__version__"]
PACKAGE = Path(marnet.__file__).parent
MODULES = sorted(
    ".".join(("marnet", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PLAN = """\
base:
  data: {image_size: 32}
  backbone: {name: "timm:test_resnet"}
  training: {epochs: 1, devices: cpu}
arms: [image-only, marnet]
seeds: 1
"""


@pytest.fixture(scope="module")
def files(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that examples name: products.csv with its pictures, a.jpg, b.jpg, plan.yaml and the run runs/p."""
    folder = tmp_path_factory.mktemp("examples")
    with manifest_file.open(newline="") as file:
        rows = list(csv.reader(file))
    with (folder / "products.csv").open("w", newline="") as file:  # without splits
        csv.writer(file).writerows([row[:3] for row in rows])
    for row in rows[1:]:
        shutil.copy(manifest_file.parent / row[0], folder)
    for name, picture in (("a.jpg", "apple-0.png"), ("b.jpg", "eel-0.png")):
        Image.open(folder / picture).save(folder / name)
    (folder / "plan.yaml").write_text(PLAN)
    marnet.train(
        folder / "products.csv",
        out=folder / "runs" / "p",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu"}},
    )
    return folder


@pytest.fixture
def workplace(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files, as the working directory."""
    shutil.copytree(files, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    torch.manual_seed(0)
    return tmp_path / "work"


def run(examples: doctest.DocTest) -> str:
    """What does not come out as the example says."""
    found: list[str] = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    doctest.DocTestRunner(optionflags=flags).run(examples, out=found.append)
    return "".join(found)


def examples_of(name: str) -> list[doctest.DocTest]:
    """Those of a public name, and of the methods of a class."""
    target = getattr(marnet, name)
    finder = doctest.DocTestFinder(exclude_empty=False)
    return finder.find(target, name, module=sys.modules[target.__module__], globs={})


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    target = getattr(marnet, name)
    assert inspect.getdoc(target)
    assert [each.name for each in examples_of(name) if each.name == name and each.examples] == [name]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str, workplace: Path) -> None:
    """Each for itself: what one writes or imports, the next does not see."""
    tests = [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]
    assert tests
    for test in tests:
        assert run(test) == ""


def test_an_example_that_does_not_come_out_is_noticed(workplace: Path) -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert "Expected:\n    3\nGot:\n    2" in run(wrong)
