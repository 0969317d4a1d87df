"""Unpacking archives that are whole, damaged or hostile."""

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from marnet.data.tools.download import archives
from marnet.data.tools.download.archives import unpack
from marnet.errors import DataError

FILES = {"Top-master/images/a/1.jpg": b"picture", "Top-master/list.txt": b"a/1\n"}


def make_zip(file: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file


def make_tar(file: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("prefix", ["Top-master/", "deep/er/", ""])
def test_the_folder_is_found_by_what_it_holds(tmp_path: Path, make: object, prefix: str) -> None:
    files = {name.replace("Top-master/", prefix): content for name, content in FILES.items()}
    archive = make(tmp_path / "no-suffix", {**files, "__MACOSX/x": b""})
    unpack(archive, tmp_path / "out" / "data", holds=("images", "list.txt"))
    assert {"images/a/1.jpg", "list.txt"} <= set(names(tmp_path / "out" / "data"))
    assert (tmp_path / "out" / "data" / "images" / "a" / "1.jpg").read_bytes() == b"picture"
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["data"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "a", {**FILES, name: b"evil"})
    with pytest.raises(DataError, match=r"was not unpacked: its member '.*evil.txt' lies outside the folder, which no"):
        unpack(archive, tmp_path / "out" / "data", holds=("list.txt",))
    assert list((tmp_path / "out").iterdir()) == []
    assert not list(tmp_path.glob("evil.txt"))


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("images")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        entry = zipfile.ZipInfo("images")
        entry.external_attr = 0o120777 << 16
        zipped.writestr(entry, "/etc")
    for name in ("a.tar", "a.zip"):
        with pytest.raises(DataError, match=r"was not unpacked: its member 'images' is a link"):
            unpack(tmp_path / name, tmp_path / "out", holds=("images",))
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<!DOCTYPE html><p>404", "is neither a zip nor a tar archive: it begins with b'<!DOCTYPE ht'. A server may"),
        (b"", "is neither a zip nor a tar archive: it begins with b''."),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        unpack(tmp_path / "a.zip", tmp_path / "out", holds=("list.txt",))


def test_damaged_archives_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    files = {"images/1.jpg": bytes(range(256)) * 100, "list.txt": b"1"}
    zipped, tarred = make_zip(tmp_path / "a.zip", files), make_tar(tmp_path / "a.tgz", files)
    content = bytearray(zipped.read_bytes())
    content[60] ^= 0xFF
    zipped.write_bytes(content)
    tarred.write_bytes(tarred.read_bytes()[:-40])
    for file in (zipped, tarred):
        with pytest.raises(DataError, match=rf"{file.name} is cut short or damaged: .* Remove it and fetch it again."):
            unpack(file, tmp_path / "out" / "data", holds=("list.txt",))
        assert list((tmp_path / "out").iterdir()) == []


def test_another_content_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(
        DataError, match=r"has no folder that holds classes.txt, list.txt; it is not the archive that was"
    ):
        unpack(archive, tmp_path / "out" / "data", holds=("classes.txt", "list.txt"))
    assert list((tmp_path / "out").iterdir()) == []


def test_too_little_space_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", FILES)
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        DataError, match=r"a.zip cannot be unpacked to .*out: 11 bytes are needed and 3 are free. Free some"
    ):
        unpack(archive, tmp_path / "out", holds=("list.txt",))
