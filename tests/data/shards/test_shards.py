"""Shards hold the same rows and pixels as the files, survive a kill, and notice damage."""

import dataclasses
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from marnet.cli import app
from marnet.config import make_config
from marnet.data.images import decode_images
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.shards import INDEX, PLAN, read_index, read_members, read_shards, writing
from marnet.data.shards.writing import write_shards
from marnet.data.sources import load_source
from marnet.errors import DataError

TEXTS = ("red, round", "", "  spaces  and\nlines ", "null", "Crème brûlée, 甜", 'quotes "and", commas')


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (40 + number, 50, 3), np.uint8))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """23 rows in several formats, classes not in natural order, rows of the splits mixed."""
    folder = tmp_path / "files"
    folder.mkdir()
    records = []
    for number in range(23):
        suffix = ("jpg", "png", "webp", "bmp", "gif")[number % 5]
        image, exif = picture(number), Image.Exif()
        exif[0x0112] = 6
        path = folder / f"{number}.{suffix}"
        if suffix == "jpg":
            image.save(path, quality=70, exif=exif)
        elif suffix == "png":
            image.convert("RGBA").save(path)
        elif suffix == "webp":
            image.save(path, exif=exif)
        else:
            image.save(path)
        # The suffix of a file says little: a JPEG named .png must stay one.
        records.append(
            Record(str(path), TEXTS[number % 6], ("lime", "apple")[number % 2], ("train", "train", "val")[number % 3])
        )
    shutil.copy(folder / "0.jpg", folder / "1.png")
    return Manifest(tuple(records), ("lime", "apple"), "rows.csv", ("a note",))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_rows_and_pixels_as_from_the_files(manifest: Manifest, tmp_path: Path) -> None:
    index = write_shards(manifest, tmp_path / "shards", images_per_shard=4)
    assert sorted(contents(tmp_path / "shards")) == [
        "info.json",
        *(f"train-00000{number}.tar" for number in range(4)),
        *(f"val-00000{number}.tar" for number in range(2)),
    ]
    assert [shard.images for shard in index.shards] == [4, 4, 4, 4, 4, 3]

    found = read_shards(tmp_path / "shards", tmp_path / "cache")
    assert found.classes == ("lime", "apple")
    assert found.notes == ("a note",)
    assert [record[1:] for record in found.records] == [record[1:] for record in manifest.records]
    assert all(Path(record.image).is_relative_to(tmp_path / "cache") for record in found.records)
    for split in ("train", "val"):
        ours = decode_images([record.image for record in found.split(split)], size=37)
        theirs = decode_images([record.image for record in manifest.split(split)], size=37)
        assert ours.broken == theirs.broken == []
        assert np.array_equal(ours.pixels, theirs.pixels)


def test_members(manifest: Manifest, tmp_path: Path) -> None:
    """JPEG and PNG files are copied byte for byte, by what they are and not by their names."""
    write_shards(manifest, tmp_path / "shards", images_per_shard=100)
    index = read_index(tmp_path / "shards")
    members = {member.row: member for shard in index.shards for member in read_members(index, shard)}
    assert sorted(members) == list(range(23))
    for row, member in members.items():
        record = manifest.records[row]
        assert (member.text, member.label, member.split) == record[1:]
        content = Path(record.image).read_bytes()
        if row % 5 == 0 or row == 1:
            assert (member.suffix, member.image) == ("jpg", content)
        elif row % 5 == 1:
            assert (member.suffix, member.image) == ("png", content)
        else:
            assert member.suffix == "png"
            assert Image.open(io.BytesIO(member.image)).mode == "RGB"
    rows = [member.row for shard in index.shards[:1] for member in read_members(index, shard)]
    assert rows != sorted(rows)  # shuffled once, so that readers which stream see all classes


def test_the_layout_is_webdataset(manifest: Manifest, tmp_path: Path) -> None:
    """Members of one key in a row, `.cls` a number, and the index's `splits` as timm reads them."""
    write_shards(manifest, tmp_path / "shards", images_per_shard=8)
    with tarfile.open(tmp_path / "shards" / "val-000000.tar") as tar:
        infos = tar.getmembers()
        first = infos[0].name.partition(".")[0]
        assert [info.name.partition(".")[2] for info in infos[:4]][1:] == ["txt", "cls", "json"]
        assert [info.name.partition(".")[0] for info in infos[:4]] == [first] * 4
        assert {(info.mtime, info.uid, info.uname) for info in infos} == {(0, 0, "")}
        label = tar.extractfile(f"{first}.cls")
        assert label is not None
        assert manifest.classes[int(label.read())] == manifest.records[int(first)].label
    splits = json.loads((tmp_path / "shards" / INDEX).read_text())["splits"]
    assert splits["train"] == {
        "name": "train",
        "num_samples": 16,
        "filenames": ["train-000000.tar", "train-000001.tar"],
        "shard_lengths": [8, 8],
    }


def test_read_by_the_library_webdataset(manifest: Manifest, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_shards(manifest, tmp_path / "shards", images_per_shard=8)
    files = sorted(str(path) for path in (tmp_path / "shards").glob("train-*.tar"))
    rows = webdataset.WebDataset(files, shardshuffle=False).decode("pil").to_tuple("jpg;png", "txt", "cls", "json")
    seen = {fields["row"]: (text, label) for _, text, label, fields in rows}
    assert seen == {
        row: (record.text, manifest.classes.index(record.label))
        for row, record in enumerate(manifest.records)
        if record.split == "train"
    }


def test_the_same_rows_give_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "one", images_per_shard=5)
    write_shards(manifest, tmp_path / "two", images_per_shard=5)
    write_shards(manifest, tmp_path / "other", images_per_shard=5, seed=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one")["train-000000.tar"] != contents(tmp_path / "other")["train-000000.tar"]


def test_a_killed_conversion_goes_on(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(manifest, tmp_path / "unbroken", images_per_shard=4)
    read = writing._image_bytes
    calls: list[Path] = []

    def stop_at(limit: int) -> None:
        def counting(path: Path, max_pixels: int) -> tuple[str, bytes]:
            calls.append(path)
            if len(calls) == limit:
                raise KeyboardInterrupt
            return read(path, max_pixels)

        calls.clear()
        monkeypatch.setattr(writing, "_image_bytes", counting)

    stop_at(11)  # within the third shard
    with pytest.raises(KeyboardInterrupt):
        write_shards(manifest, tmp_path / "shards", images_per_shard=4)
    assert sorted(contents(tmp_path / "shards")) == [
        PLAN, "train-000000.tar", "train-000001.tar", "train-000002.part",
    ]  # fmt: skip
    with pytest.raises(DataError, match="The conversion was not finished: run the same 'marnet data convert"):
        read_index(tmp_path / "shards")
    times = {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in ("train-000000.tar", "train-000001.tar")}

    stop_at(0)
    write_shards(manifest, tmp_path / "shards", images_per_shard=4)
    assert len(calls) == 23 - 8
    assert {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in times} == times
    assert contents(tmp_path / "shards") == contents(tmp_path / "unbroken")

    stop_at(0)
    write_shards(manifest, tmp_path / "shards", images_per_shard=4)  # all is there: nothing to read
    assert calls == []
    assert contents(tmp_path / "shards") == contents(tmp_path / "unbroken")


def test_a_half_shard_under_its_final_name_is_written_again(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards", images_per_shard=4)
    before = contents(tmp_path / "shards")
    for name, keep in (("train-000001.tar", 5000), ("train-000002.tar", 0)):
        (tmp_path / "shards" / name).write_bytes(before[name][:keep])
    write_shards(manifest, tmp_path / "shards", images_per_shard=4)
    assert contents(tmp_path / "shards") == before


def test_another_conversion_in_the_folder(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write_shards(manifest, out, images_per_shard=4)
    before = contents(out)
    with pytest.raises(DataError, match=r"holds shards of other rows, other files or another --images-per-shard"):
        write_shards(manifest, out, images_per_shard=10)
    shutil.copy(tmp_path / "files" / "2.webp", tmp_path / "files" / "3.bmp")  # a file has changed
    with pytest.raises(DataError, match=r"or replace them with --overwrite\."):
        write_shards(manifest, out, images_per_shard=4)
    assert contents(out) == before
    write_shards(manifest, out, images_per_shard=10, overwrite=True)
    assert sorted(contents(out)) == ["info.json", "train-000000.tar", "train-000001.tar", "val-000000.tar"]


def test_a_folder_of_something_else_is_left_alone(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not empty: found '0.jpg' and more\. Needed a new or an empty folder"):
        write_shards(manifest, tmp_path / "files", overwrite=True)


def test_an_image_that_cannot_be_packed(manifest: Manifest, tmp_path: Path) -> None:
    Path(manifest.records[4].image).write_bytes(b"GIF89a and no more")
    with pytest.raises(DataError, match=r"4\.gif is"):
        write_shards(manifest, tmp_path / "shards")
    Path(manifest.records[4].image).unlink()
    with pytest.raises(DataError, match=r"4\.gif cannot be read: No such file or directory\. Check the path\."):
        write_shards(manifest, tmp_path / "shards")


def test_a_broken_jpeg_stays_one(manifest: Manifest, tmp_path: Path) -> None:
    """Training must refuse or skip the same images as from the files."""
    file = Path(manifest.records[5].image)
    file.write_bytes(file.read_bytes()[:400])
    write_shards(manifest, tmp_path / "shards")
    found = read_shards(tmp_path / "shards", tmp_path / "cache")
    decoded = decode_images([record.image for record in found.records], size=16)
    assert [each.path for each in decoded.broken] == [found.records[5].image]


def test_damage_is_noticed(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write_shards(manifest, out, images_per_shard=8)
    shard = out / "train-000001.tar"
    whole = shard.read_bytes()

    changed = bytearray(whole)
    changed[600] ^= 1  # within the first image
    shard.write_bytes(changed)
    with pytest.raises(DataError, match=r"train-000001\.tar is damaged \(its checksum is another\)\. Copy it again"):
        read_shards(out, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "shards").iterdir())
    shard.write_bytes(whole[:-512])
    with pytest.raises(
        DataError, match=rf"has {len(whole) - 512} bytes; needed {len(whole)} bytes, as .*info\.json says"
    ):
        read_shards(out, tmp_path / "cache")
    shard.unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar is missing; needed"):
        read_shards(out, tmp_path / "cache")
    (out / INDEX).write_text("{}")
    with pytest.raises(DataError, match="is not an index of marnet-shards, version 1"):
        read_index(out)
    (out / INDEX).write_text('{"format": "marnet-shards", "version": 1}')
    with pytest.raises(DataError, match=r"info\.json is damaged \('shards'\)\. Run the conversion again\."):
        read_index(out)


def test_no_shards_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Needed a folder written by 'marnet data convert SOURCE OUT --shards'"):
        load_source(f"shards:{tmp_path}")


def test_unpacked_once(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    first = load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache")
    changed = Path(first.records[0].image).stat().st_mtime_ns
    assert load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache") == first
    assert Path(first.records[0].image).stat().st_mtime_ns == changed
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == 1


def test_a_run_on_shards_is_the_run_on_files(manifest_file: Path, tmp_path: Path) -> None:
    """Two epochs with all of the method end in the same weights, bit for bit."""
    from marnet import fit

    CliRunner().invoke(
        app,
        ["data", "convert", str(manifest_file), str(tmp_path / "shards"), "--shards", "--images-per-shard", "10"],
        catch_exceptions=False,
    )
    weights, metrics = [], []
    for number, source in enumerate((str(manifest_file), f"shards:{tmp_path / 'shards'}")):
        config = make_config(
            {
                "data": {"source": source, "image_size": 32},
                "backbone": {"name": "timm:test_resnet"},
                "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"},
            }
        )
        result = fit(config, tmp_path / f"run-{number}")
        weights.append(load_file(result.run / "model.safetensors") | load_file(result.run / "text.safetensors"))
        metrics.append((result.metrics, (result.run / "history.csv").read_text()))
        assert read_manifest(result.run / "manifest.csv").splits() == {"train": 42, "val": 18}
    assert metrics[0] == metrics[1]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_several_classes_survive_shards_without_being_asked_for(manifest: Manifest, tmp_path: Path) -> None:
    labels = ("apple, lime", "", "lime")
    records = tuple(row._replace(label=labels[number % 3]) for number, row in enumerate(manifest.records))
    several = dataclasses.replace(manifest, records=records, labels="multi")
    index = write_shards(several, tmp_path / "shards", images_per_shard=5)
    with tarfile.open(tmp_path / "shards" / index.shards[0].name) as tar:
        assert not any(name.endswith(".cls") for name in tar.getnames())
    for asked in ("single", "multi"):
        found = load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache", labels=asked)  # type: ignore[arg-type]
        assert (found.labels, found.classes) == ("multi", ("lime", "apple"))
        assert [row.label for row in found.records] == [row.label for row in records]


def test_shards_of_one_class_an_image_are_not_read_as_lists(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    with pytest.raises(DataError, match="was written with one class an image; found --labels multi beside it"):
        load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache", labels="multi")
