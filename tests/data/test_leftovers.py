"""What killed processes left half written is listed and removed, and nothing else."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.data.leftovers import list_leftovers, remove_leftovers

Call = Callable[..., tuple[int, str, str]]


def old(path: Path, *, days: float = 2) -> Path:
    """Let a path have been written to some days ago."""
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment), follow_symlinks=False)
    return path


@pytest.fixture
def left(tmp_path: Path) -> dict[str, Path]:
    """Leftovers in a cache and in the folder of a download, next to what must stay."""
    cache, downloads = tmp_path / "cache", tmp_path / "downloads"
    for folder in (cache / "images", cache / "memory" / "ab", cache / "synthetic" / ".drawing-x" / "dishes", downloads):
        folder.mkdir(parents=True)
    (cache / "images" / "tmp1.part").write_bytes(b"x" * 1000)
    (cache / "memory" / "ab" / "tmp2.part").write_bytes(b"x" * 10)
    (cache / "synthetic" / ".drawing-x" / "dishes" / "a.part").write_bytes(b"x" * 10)
    (downloads / ".unpacking-abc").mkdir()
    (downloads / ".unpacking-abc" / "a.jpg").write_bytes(b"x" * 500)
    (downloads / "food.zip.part").write_bytes(b"x")
    (downloads / "deep").mkdir()
    (downloads / "deep" / "mine.part").write_bytes(b"x")
    (downloads / "thesis").mkdir()
    (downloads / "thesis" / "a.txt").write_text("years of work")
    (downloads / "link.part").symlink_to(downloads / "thesis")
    (cache / "images" / "kept.npy").write_bytes(b"x")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        old(path)
    (cache / "images" / "now.part").write_bytes(b"x")
    return {"cache": cache, "downloads": downloads}


def test_they_are_found_with_their_sizes(left: dict[str, Path]) -> None:
    cache, downloads = left["cache"], left["downloads"]
    assert [each.path.name for each in list_leftovers(cache)] == ["now.part", "tmp1.part", "tmp2.part", ".drawing-x"]
    found = {each.path.name: each for each in list_leftovers(cache, [downloads, downloads, cache / "nowhere"])}
    assert {*found} == {
        "now.part", "tmp1.part", "tmp2.part", ".drawing-x", ".unpacking-abc", "food.zip.part", "link.part",
    }  # fmt: skip
    assert found["tmp1.part"].size == 1000
    assert found[".unpacking-abc"].size >= 500
    assert round(found["tmp1.part"].days) == 2
    assert [name for name, each in found.items() if each.in_use] == ["now.part"]


def test_the_command_lists_and_removes_them(left: dict[str, Path], monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    cache, downloads = left["cache"], left["downloads"]
    monkeypatch.setenv("MARNET_CACHE", str(cache))
    code, out, _ = call("data", "cache", downloads)
    assert code == 0
    assert f"perhaps in use  {cache / 'images' / 'now.part'}" in out
    assert f"left     2.0 days ago  {downloads / '.unpacking-abc'}" in out
    assert "7 leftovers of killed processes, 0.0 MB; --clear removes them." in out
    assert (downloads / "food.zip.part").exists()

    code, out, _ = call("data", "cache", downloads, "--clear")
    assert (code, "Removed 6 leftovers" in out) == (0, True)
    assert list_leftovers(cache, [downloads]) == []
    assert (downloads / "thesis" / "a.txt").read_text() == "years of work"
    assert (downloads / "deep" / "mine.part").exists()


def test_what_is_in_use_stays(left: dict[str, Path]) -> None:
    found = list_leftovers(left["cache"])
    assert [each.path.name for each in remove_leftovers(found)] == ["tmp1.part", "tmp2.part", ".drawing-x"]
    assert [each.path.name for each in list_leftovers(left["cache"])] == ["now.part"]
