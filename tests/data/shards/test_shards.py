"""Shards hold the same rows and pixels as the files, survive a kill, and notice damage."""

import dataclasses
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from marnet import MARNet, evaluate, fit
from marnet.cli.app import app
from marnet.config import make_config
from marnet.data.decoded import decode_images
from marnet.data.image_bytes import parse_piece, read_bytes
from marnet.data.manifest import Manifest, Record
from marnet.data.options import ReadOptions
from marnet.data.recorded import read_recorded
from marnet.data.shards import INDEX, PLAN, read_index, read_shard_fields, read_shards, writing
from marnet.data.shards.writing import write_shards
from marnet.data.sources import load_source
from marnet.data.tools.audit.statistics import describe
from marnet.data.tools.convert import convert_manifest
from marnet.errors import ConfigError, DataError

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
    assert all(record.image.startswith(f"{tmp_path / 'shards'}/{record.split}-00000") for record in found.records)
    assert [file.suffix for file in (tmp_path / "cache" / "shards").iterdir()] == [".json"]  # nothing is unpacked
    for split in ("train", "val"):
        ours = decode_images([record.image for record in found.split(split)], size=37)
        theirs = decode_images([record.image for record in manifest.split(split)], size=37)
        assert ours.broken == theirs.broken == []
        assert np.array_equal(ours.pixels, theirs.pixels)


def test_jpeg_and_png_files_are_packed_byte_for_byte_by_what_they_are(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards", images_per_shard=100)
    for row, packed in enumerate(read_shards(tmp_path / "shards", tmp_path / "cache").records):
        record = manifest.records[row]
        content, found = Path(record.image).read_bytes(), read_bytes(packed.image)
        suffix = Path(packed.image).suffix
        if row % 5 == 0 or row == 1:
            assert (suffix, found) == (".jpg", content)
        elif row % 5 == 1:
            assert (suffix, found) == (".png", content)
        else:
            assert suffix == ".png"
            assert Image.open(io.BytesIO(found)).mode == "RGB"
    index = read_index(tmp_path / "shards")
    rows = [fields.row for fields in read_shard_fields(index, index.shards[0])]
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
        PLAN, "train-000000.tar", "train-000001.tar",
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
    with pytest.raises(DataError, match=r"holds shards of other rows, other files or another `images_per_shard`"):
        write_shards(manifest, out, images_per_shard=10)
    shutil.copy(tmp_path / "files" / "2.webp", tmp_path / "files" / "3.bmp")  # a file has changed
    with pytest.raises(DataError, match=r"or replace them with `overwrite=True`\."):
        write_shards(manifest, out, images_per_shard=4)
    assert contents(out) == before
    write_shards(manifest, out, images_per_shard=10, overwrite=True)
    assert sorted(contents(out)) == ["info.json", "train-000000.tar", "train-000001.tar", "val-000000.tar"]


def test_a_folder_of_something_else_is_left_alone(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not empty: found '0.jpg' and more\. Choose a new or an empty folder"):
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

    shard.write_bytes(bytes(len(whole)))
    with pytest.raises(DataError, match=r"train-000001\.tar is damaged \(it holds 0 images, not 8\)\. Copy it again"):
        read_shards(out, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    shard.write_bytes(whole[:-512])
    with pytest.raises(
        DataError, match=rf"has {len(whole) - 512} bytes, but it must have {len(whole)} bytes, as .*info\.json says"
    ):
        read_shards(out, tmp_path / "cache")
    shard.unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar is missing, but it must have"):
        read_shards(out, tmp_path / "cache")
    (out / INDEX).write_text("{}")
    with pytest.raises(DataError, match="is not an index of marnet-shards, version 1"):
        read_index(out)
    (out / INDEX).write_text('{"format": "marnet-shards", "version": 1}')
    with pytest.raises(DataError, match=r"info\.json is damaged \('shards'\)\. Run the conversion again\."):
        read_index(out)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("classes", [{"a": 1}], "its source, classes and notes are not texts"),
        ("notes", "abc", "its source, classes and notes are not texts"),
        ("source", 5, "its source, classes and notes are not texts"),
        ("labels", "none", "labels of the unknown form 'none'"),
        ("name", "../elsewhere.tar", "is not the name of a shard beside it"),
        ("name", "/etc/passwd", "is not the name of a shard beside it"),
        ("split", None, "of split None is not"),
        ("size", 1.5, "are no numbers"),
        ("images", "many", "are no numbers"),
    ],
)
def test_a_strange_index_is_refused(name: str, value: object, reason: str, manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    index = json.loads((tmp_path / "shards" / "info.json").read_text())
    place = index if name in index else index["shards"][0]
    place[name] = value
    (tmp_path / "shards" / "info.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=f"info.json is damaged .*{reason}"):
        read_shards(tmp_path / "shards", tmp_path / "cache")


def test_an_index_with_a_hole_is_not_read(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    os.truncate(tmp_path / "shards" / "info.json", 100 * 2**30)
    with pytest.raises(DataError, match=r"info\.json is damaged \(it has 107,374,182,400 bytes"):
        read_shards(tmp_path / "shards", tmp_path / "cache")


def test_no_shards_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Name a folder of shards written by 'marnet data convert'"):
        load_source(f"shards:{tmp_path}")


def test_headers_are_read_once(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(manifest, tmp_path / "shards")
    first = load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache")
    monkeypatch.delattr(tarfile, "open")
    assert load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache") == first
    assert len(list((tmp_path / "cache" / "shards").iterdir())) == 1


def test_shards_that_were_written_anew_are_not_taken_for_the_old_ones(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    before = load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache")
    write_shards(manifest, tmp_path / "shards", seed=1, overwrite=True)
    broken = decode_images([record.image for record in before.records], size=16).broken
    assert len(broken) >= 20  # as good as all lie elsewhere
    piece = parse_piece(broken[0].path)
    assert piece is not None
    assert broken[0].reason == (
        f"cannot be opened: {piece.tar} has no {piece.name} there; it seems to have been written anew."
    )
    after = load_source(f"shards:{tmp_path / 'shards'}", cache=tmp_path / "cache")
    assert decode_images([record.image for record in after.records], size=16).broken == []


def test_shards_are_converted_as_files_are(manifest: Manifest, tmp_path: Path) -> None:
    """To other shards of the same bytes, and to a manifest with copies of the images beside it."""
    write_shards(manifest, tmp_path / "one")
    again = load_source(f"shards:{tmp_path / 'one'}", cache=tmp_path / "cache")
    write_shards(again, tmp_path / "two")
    for image in load_source(f"shards:{tmp_path / 'two'}", cache=tmp_path / "cache").records:
        assert read_bytes(image.image)
    for _ in range(2):  # the second time, all is there
        copied = convert_manifest(again, tmp_path / "copies" / "rows.csv", copy_images=True, overwrite=True)
        for record, source in zip(copied.records, again.records, strict=True):
            assert Path(record.image).read_bytes() == read_bytes(source.image)
            assert Path(record.image).suffix == Path(source.image).suffix
    assert describe(again).sizes == describe(copied).sizes


@pytest.fixture(scope="module")
def shards(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "shards"
    CliRunner().invoke(
        app,
        ["data", "convert", str(manifest_file), str(out), "--shards", "--images-per-shard", "10"],
        catch_exceptions=False,
    )
    return out


def train(source: str, out: Path, *, epochs: int = 2, resume: bool = False, **data: object) -> Path:
    config = make_config(
        {
            "data": {"source": source, "image_size": 32, **data},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": epochs, "batch_size": 16, "devices": "cpu"},
        }
    )
    return fit(config, out, resume=resume).path


def assert_equal_runs(one: Path, other: Path) -> None:
    """In every weight, bit for bit, and in every figure of every epoch."""
    for name in ("model.safetensors", "text.safetensors"):
        a, b = load_file(one / name), load_file(other / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()


def test_a_run_on_shards_is_the_run_on_files(manifest_file: Path, shards: Path, tmp_path: Path) -> None:
    files = train(str(manifest_file), tmp_path / "files")
    assert_equal_runs(files, train(f"shards:{shards}", tmp_path / "shards"))
    assert read_recorded(tmp_path / "shards").splits() == {"train": 42, "val": 18}
    assert evaluate(tmp_path / "shards") == evaluate(files)


def test_a_streamed_run_on_files_is_the_run_on_the_cache(manifest_file: Path, tmp_path: Path) -> None:
    cached = train(str(manifest_file), tmp_path / "cached")
    assert_equal_runs(cached, train(str(manifest_file), tmp_path / "streamed", stream=True))


def test_a_streamed_run_on_shards_depends_on_no_process_and_resumes(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its order is another one than that of files, so its weights are; it learns all the same."""
    source = f"shards:{shards}"
    alone = train(source, tmp_path / "alone", epochs=4, stream=True)
    assert_equal_runs(alone, train(source, tmp_path / "helped", epochs=4, stream=True, workers=2))
    real, steps = MARNet.training_outputs, 0

    def break_off(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 5:  # two steps an epoch: in the third epoch
            raise OSError("the power went out")
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MARNet, "training_outputs", break_off)
        with pytest.raises(OSError, match="the power went out"):
            train(source, tmp_path / "broken", epochs=4, stream=True)
    assert_equal_runs(alone, train(source, tmp_path / "broken", epochs=4, stream=True, resume=True))
    assert evaluate(alone).top1 > 0.6  # of three classes


def test_streaming_and_skipping_exclude_each_other(manifest_file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"`data.stream` meets broken images only during training, so `data.on_bad_image` cannot"
    ):
        train(str(manifest_file), tmp_path / "run", stream=True, on_bad_image="skip")


def test_several_classes_survive_shards_without_being_asked_for(manifest: Manifest, tmp_path: Path) -> None:
    labels = ("apple, lime", "", "lime")
    records = tuple(row._replace(label=labels[number % 3]) for number, row in enumerate(manifest.records))
    several = dataclasses.replace(manifest, records=records, label_form="multi")
    index = write_shards(several, tmp_path / "shards", images_per_shard=5)
    with tarfile.open(tmp_path / "shards" / index.shards[0].name) as tar:
        assert not any(name.endswith(".cls") for name in tar.getnames())
    for asked in ("single", "multi"):
        found = load_source(f"shards:{tmp_path / 'shards'}", ReadOptions(label_form=asked), cache=tmp_path / "cache")  # type: ignore[arg-type]
        assert (found.label_form, found.classes) == ("multi", ("lime", "apple"))
        assert [row.label for row in found.records] == [row.label for row in records]


def test_shards_of_one_class_an_image_are_not_read_as_lists(manifest: Manifest, tmp_path: Path) -> None:
    write_shards(manifest, tmp_path / "shards")
    with pytest.raises(DataError, match=r"was written with one class per image, but `data.labels=multi` is set"):
        load_source(f"shards:{tmp_path / 'shards'}", ReadOptions(label_form="multi"), cache=tmp_path / "cache")


def test_groups_and_halves_of_characters_are_read_back(manifest: Manifest, tmp_path: Path) -> None:
    first, *others = manifest.records
    rows = dataclasses.replace(manifest, records=(first._replace(group="mug \ud83d", text="\udce9"), *others))
    write_shards(rows, tmp_path / "shards")
    found = read_shards(tmp_path / "shards", tmp_path / "cache")
    assert [record[1:] for record in found.records] == [record[1:] for record in rows.records]
    assert read_shards(tmp_path / "shards", tmp_path / "cache").records == found.records
