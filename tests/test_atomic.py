"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from marnet.atomic import is_partial, replacing, write_text
from marnet.errors import RunDirectoryError


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write_half(path: Path, *, full_disk: bool) -> None:
    with replacing(path) as partial:
        partial.write_text("half of the n")
        if not full_disk:
            raise ZeroDivisionError
        Path("/dev/full").write_text("ew")


def test_a_failure_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path, full_disk=False)
    assert (path.read_text(), names(tmp_path)) == ("old", ["config.yaml"])


def test_a_full_disk_is_told_with_the_file_and_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_text(path, "old")
    with pytest.raises(RunDirectoryError, match=r"config\.yaml could not be written: No space left on device\."):
        write_half(path, full_disk=True)
    assert (path.read_text(), names(tmp_path)) == ("old", ["config.yaml"])


def test_the_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flushed"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("renamed"), rename(path, to))[1])
    write_text(tmp_path / "a.txt", "content")
    assert done == ["flushed", "renamed", "flushed"]  # the last one is the folder


def test_a_link_left_in_the_place_of_a_partial_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "a.partial.txt").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "a.txt", "content")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "content"
    assert not is_partial("a.txt")
