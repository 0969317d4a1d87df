"""Images in files and as pieces of tar files."""

import io
import tarfile
from pathlib import Path

import pytest

from marnet.data.image_bytes import (
    Piece,
    UnreadableError,
    file_of,
    name_of,
    name_piece,
    open_bytes,
    parse_piece,
    read_bytes,
    shard_offsets,
)


def pack(folder: Path, **members: bytes) -> dict[str, str]:
    """A tar file of these members, and the name of each as a piece."""
    tar = folder / "a.tar"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    with tarfile.open(tar) as file:
        return {Path(info.name).stem: name_piece(Piece(tar, info.offset_data, info.size, info.name)) for info in file}


def test_a_piece_and_its_name() -> None:
    piece = Piece(Path("/data/odd! name/train-000001.tar"), 1536, 20480, "000000012.jpg")
    name = "/data/odd! name/train-000001.tar!1536+20480!000000012.jpg"
    assert name_piece(piece) == name
    assert parse_piece(name) == piece
    assert (file_of(name), name_of(name)) == (piece.tar, "000000012.jpg")
    for file in ("/data/a.jpg", "/data/a.tar", "a.tar!1+2", "a.tar!x+2!b.jpg", "a!1+2!b.jpg", "a.tar!1+2!b/c.jpg"):
        assert parse_piece(file) is None
        assert file_of(file) == Path(file)
    assert name_of("/data/a.jpg") == "a.jpg"


def test_pieces_and_files_are_read(tmp_path: Path) -> None:
    pieces = pack(tmp_path, one=b"first", two=b"the second")
    assert read_bytes(pieces["one"]) == b"first"
    assert read_bytes(pieces["two"]) == b"the second"
    with open_bytes(pieces["two"]) as stream:
        assert stream.read(3) == b"the"
    (tmp_path / "b.jpg").write_bytes(b"a file")
    assert read_bytes(str(tmp_path / "b.jpg")) == b"a file"


def test_what_is_not_there(tmp_path: Path) -> None:
    pieces = pack(tmp_path, one=b"first", none=b"")
    with pytest.raises(UnreadableError, match=r"^is empty \(0 bytes\)\. Replace it by a whole copy\.$"):
        read_bytes(pieces["none"])
    for moved in (pieces["one"].replace("512+", "513+"), pieces["one"].replace("one.jpg", "two.jpg")):
        with pytest.raises(
            UnreadableError, match=r"^cannot be opened: .*a\.tar has no .* there; it seems to have been"
        ):
            read_bytes(moved)
    with pytest.raises(UnreadableError, match="there; it seems to have been written anew"):
        read_bytes(pieces["one"].replace("+5!", "+90000!"))
    (tmp_path / "a.tar").unlink()
    with pytest.raises(UnreadableError, match=r"^does not exist\. Check the path\.$"):
        read_bytes(pieces["one"])
    with pytest.raises(UnreadableError, match=r"^is a folder, not an image file\. Name a file in it\.$"):
        read_bytes(str(tmp_path))


def test_shard_offsets() -> None:
    images = ["/b.tar!512+9!1.jpg", "/a.tar!2048+9!2.jpg", "/b.tar!4096+9!3.jpg"]
    found = shard_offsets(images)
    assert found is not None
    assert found.tolist() == [[0, 512], [1, 2048], [0, 4096]]
    assert shard_offsets([*images, "/c.jpg"]) is None
