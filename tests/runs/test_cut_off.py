"""What a training leaves that was cut off before its first file, or on a full disk."""

import os
from pathlib import Path
from typing import Any

import pytest

from marnet import make_config
from marnet.data.image_spec import ImageSpec
from marnet.errors import RunDirectoryError
from marnet.runs.layout import CONFIG, LOCK, MARKER
from marnet.runs.lock import claimed
from marnet.runs.starting import check_run_directory, start_run_directory

SPEC = ImageSpec(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")


def test_a_folder_with_leftovers_alone_counts_as_empty(tmp_path: Path) -> None:
    for name in (LOCK, ".marnet-run.partial.json"):
        (tmp_path / name).write_text("half")
    check_run_directory(tmp_path)
    start_run_directory(tmp_path, make_config({}), ["apple", "lime"], SPEC)
    assert (tmp_path / MARKER).is_file()
    assert not [path.name for path in tmp_path.iterdir() if ".partial" in path.name]


def test_leftovers_beside_a_file_of_the_user_do_not_make_a_folder_empty(tmp_path: Path) -> None:
    for name in ("notes.partial.json", ".marnet-run.partial.json"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunDirectoryError, match="already holds other files"):
        check_run_directory(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_resuming_removes_what_was_left_half_written(tmp_path: Path) -> None:
    start_run_directory(tmp_path, make_config({}), ["apple", "lime"], SPEC)
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / "model.partial.safetensors", tmp_path / "checkpoints" / "last.partial.ckpt"]
    for path in left:
        path.write_text("half")
    start_run_directory(tmp_path, make_config({}), ["apple", "lime"], SPEC, resume=True)
    assert not [path for path in left if path.exists()]
    assert (tmp_path / CONFIG).is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_neither_hinders_a_lock_nor_hides_another_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def on_a_full_disk(path: Any, *arguments: Any, **options: Any) -> int:
        return real("/dev/full", os.O_RDWR) if str(path).endswith(LOCK) else real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", on_a_full_disk)
    with pytest.raises(ZeroDivisionError), claimed(tmp_path):
        raise ZeroDivisionError
