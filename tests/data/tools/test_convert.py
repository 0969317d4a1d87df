"""From any source to a manifest file."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from marnet.cli.app import app, main
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.tools.convert import convert_manifest
from marnet.errors import DataError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    records = []
    for number, (name, label, split) in enumerate(
        [
            ("a/1.png", "apple", "train"),
            ("b/1.png", "apple", "train"),  # of the same name in another folder
            ("c/1.PNG", "apple", "train"),  # differs in case only
            ("a/2.png", "a/b: c", "train"),  # no name for a folder
            ("a/2.png", "a/b: c", "val"),  # in two splits
            ("a/3.png", "..", "val"),
        ]
    ):
        file = tmp_path / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 8), "red").save(file)
        records.append(Record(str(file), f"text {number}", label, split))
    return Manifest(tuple(records), ("apple", "a/b: c", ".."), "rows")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "deep/er/out.parquet"])
def test_referenced_images(name: str, manifest: Manifest, tmp_path: Path) -> None:
    convert_manifest(manifest, tmp_path / "new" / name)
    found = read_manifest(tmp_path / "new" / name)
    assert (found.records, found.classes) == (manifest.records, manifest.classes)
    assert sum(path.is_file() for path in (tmp_path / "new").rglob("*")) == 1


def test_copied_images(manifest: Manifest, tmp_path: Path) -> None:
    convert_manifest(manifest, tmp_path / "new" / "out.csv", copy_images=True)
    (tmp_path / "new").rename(tmp_path / "moved")  # manifest and images move together
    found = read_manifest(tmp_path / "moved" / "out.csv")
    assert [record[1:] for record in found.records] == [record[1:] for record in manifest.records]
    assert found.classes == manifest.classes
    assert [Path(record.image).relative_to(tmp_path / "moved").as_posix() for record in found.records] == [
        "images/train/apple/1.png",
        "images/train/apple/1-2.png",
        "images/train/apple/1-3.PNG",
        "images/train/a_b_ c/2.png",
        "images/val/a_b_ c/2.png",
        "images/val/_/3.png",
    ]
    for ours, theirs in zip(found.records, manifest.records, strict=True):
        assert Path(ours.image).read_bytes() == Path(theirs.image).read_bytes()


def test_a_stopped_copy_goes_on(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.csv"
    file = Path(manifest.records[5].image)
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(
        DataError, match=r"3\.png cannot be copied to .*: No such file or directory\. Mend that and run"
    ):
        convert_manifest(manifest, out, copy_images=True)
    assert not out.exists()  # written last
    done = tmp_path / "new/images/train/apple/1.png"
    half = tmp_path / "new/images/train/apple/1-2.png"
    half.write_bytes(half.read_bytes()[:20])
    inode = done.stat().st_ino
    done.chmod(0o400)  # a second copy would be refused or change this
    file.write_bytes(content)
    convert_manifest(manifest, out, copy_images=True)
    assert (done.stat().st_ino, done.stat().st_mode & 0o777) == (inode, 0o400)
    assert half.read_bytes() == Path(manifest.records[1].image).read_bytes()


def test_what_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"\.csv, \.jsonl, \.parquet\. Choose such a name, or write a folder of shards",
    ):
        convert_manifest(manifest, tmp_path / "folder", copy_images=True)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(
        DataError, match=r"out\.csv already exists\. Choose another name, or replace it with `overwrite=True`"
    ):
        convert_manifest(manifest, tmp_path / "out.csv", copy_images=True)
    assert not (tmp_path / "images").exists()
    convert_manifest(manifest, tmp_path / "out.csv", overwrite=True)
    assert len(read_manifest(tmp_path / "out.csv").records) == 6


def test_the_command(manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(
        app, ["data", "convert", str(manifest_file), str(tmp_path / "out.parquet"), "--copy-images"]
    )
    assert done.exit_code == 0
    assert f"Wrote {tmp_path / 'out.parquet'}, 60 rows." in done.stdout
    assert len(list((tmp_path / "images").rglob("*.png"))) == 60

    monkeypatch.setattr("sys.argv", ["marnet", "data", "convert", str(manifest_file), str(tmp_path / "out.parquet")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1


def test_settings_reach_the_source(manifest_file: Path, tmp_path: Path) -> None:
    text = manifest_file.read_text().replace("image,text,label,split", "image,text,dish,split", 1)
    (manifest_file.parent / "dishes.csv").write_text(text)
    arguments = [
        str(manifest_file.parent / "dishes.csv"),
        str(tmp_path / "out.csv"),
        "--set",
        "data.columns.label=dish",
    ]
    assert CliRunner().invoke(app, ["data", "convert", *arguments]).exit_code == 0
    assert set(read_manifest(tmp_path / "out.csv").classes) == {"apple", "eel", "lime"}
