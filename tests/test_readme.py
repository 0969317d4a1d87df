"""The commands of the README run and its links lead somewhere; tests/docs/test_code.py runs its Python lines."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from marnet.cli.app import main
from marnet.data.manifest import read_manifest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The README's `marnet` commands, without `uv run marnet`."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[3:] for line in lines if line.startswith("uv run marnet")]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 80


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_commands_run_in_their_order(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand, on small files under the names that the README uses and with a backbone that needs no download."""
    typed = commands()
    assert [command[0] for command in typed] == [
        "demo",
        "train",
        "predict",
        "explain",
        "add-class",
        "search",
        "export",
        "report",
        "compare",
    ]
    monkeypatch.chdir(tmp_path)
    rows = read_manifest(manifest_file)
    pictures = [record.image for record in rows.split("val")][:2]
    for name, picture in zip(("photo.jpg", "more.jpg"), pictures, strict=True):
        (tmp_path / name).write_bytes(Path(picture).read_bytes())
    header, *lines = manifest_file.read_text().splitlines()
    moved = [f"{manifest_file.parent}/{line}".replace(",val", ",test", int(i % 2)) for i, line in enumerate(lines)]
    (tmp_path / "products.csv").write_text("\n".join([header, *moved]))
    replaced = {"timm:resnet18": "timm:test_resnet", "--pretrained": "--image-size=32"}
    replaced |= {f"configs/{file.name}": str(file) for file in (ROOT / "configs").iterdir()}
    sets = ("backbone.name=timm:test_resnet", "data.image_size=32", "training.epochs=1", "training.batch_size=16")
    smaller = {
        "train": ["--epochs", "1", "--batch-size", "16"],
        "compare": ["--data", "products.csv", "--seeds", "1", "--methods", "image-only,marnet"]
        + [word for assignment in sets for word in ("--set", assignment)],
    }
    for command in typed[1:]:
        words = [replaced.get(word, word) for word in command] + smaller.get(command[0], [])
        monkeypatch.setattr(sys, "argv", ["marnet", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0, capsys.readouterr().err
