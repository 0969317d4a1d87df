"""A run that a newer marnet wrote: the error says so; a run of this version or an older one is not blamed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.runs.directory import package_version
from marnet.runs.versions import written_by

Call = Callable[..., tuple[int, str, str]]


def from_version(run: Path, version: object, folder: Path) -> Path:
    """Copy a run, with a setting of tomorrow, as a version of marnet might have written it."""
    copy = shutil.copytree(run, folder / "copy")
    environment = json.loads((copy / "environment.json").read_text())
    environment["packages"]["marnet"] = version
    (copy / "environment.json").write_text(json.dumps(environment))
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("training:\n", "training:\n  hologram: 1\n"))
    return copy


@pytest.mark.parametrize("command", [["evaluate"], ["report"], ["train", "--resume", "--out"]])
def test_a_newer_version_is_named(command: list[str], trained_run: Path, tmp_path: Path, call: Call) -> None:
    run = from_version(trained_run, "17.3.1", tmp_path)
    code, _, err = call(*command, run)
    assert code == 1
    assert "`training.hologram`: unknown key" in err
    installed = package_version("marnet")
    assert f"{run} was written by marnet 17.3.1, but marnet {installed} is installed. Install marnet 17.3.1" in err


@pytest.mark.parametrize("version", ["0.0.1", package_version("marnet"), "unknown", None, ["9"], "9" * 99])
def test_other_versions_are_not_blamed(version: object, trained_run: Path, tmp_path: Path, call: Call) -> None:
    run = from_version(trained_run, version, tmp_path)
    code, _, err = call("evaluate", run)
    assert (code, "`training.hologram`: unknown key" in err, "was written by" in err) == (1, True, False)


def test_the_version_is_read_from_the_run(trained_run: Path, tmp_path: Path) -> None:
    assert written_by(trained_run) == package_version("marnet")
    assert written_by(tmp_path) is None
