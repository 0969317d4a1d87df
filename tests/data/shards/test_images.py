"""Training straight from the tar files: the pixels of the files, an order that is a function of seed and epoch."""

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from marnet.data.dataset import Batch, Collate, Draw, EpochSampler, open_splits
from marnet.data.images import decode_images
from marnet.data.manifest import Manifest, Record
from marnet.data.shards import ShardIndex
from marnet.data.shards.images import ShardImages, ShardSampler, ShardSplit, open_shard_split
from marnet.data.shards.writing import write_shards
from marnet.data.transforms import ImageSpec, cache_size, eval_transform, train_transform
from marnet.errors import DataError, ImageError

SPEC = ImageSpec(32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("files")
    records = []
    for number in range(47):
        pixels = np.random.default_rng(number).integers(0, 256, (200, 160 + number, 3), np.uint8)
        path = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
        Image.fromarray(pixels).save(path)
        records.append(
            Record(str(path), f"text {number}", ("a", "b")[number % 3 % 2], "val" if number % 8 == 0 else "train")
        )
    return Manifest(tuple(records), ("a", "b"), "rows")


@pytest.fixture(scope="module")
def index(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return write_shards(manifest, tmp_path_factory.mktemp("shards"), images_per_shard=9)


@pytest.fixture
def opened(index: ShardIndex) -> ShardSplit:
    return open_shard_split(index, "train", train_transform("light", SPEC), spec=SPEC)


def batches(opened: ShardSplit, sampler: Sequence[Draw] | ShardSampler | EpochSampler, workers: int = 0) -> list[Batch]:
    loader: DataLoader[Batch] = DataLoader(
        opened.dataset, batch_size=6, sampler=sampler, num_workers=workers, collate_fn=Collate(SPEC)
    )
    return list(loader)


def test_the_pixels_of_the_files(manifest: Manifest, index: ShardIndex, opened: ShardSplit) -> None:
    rows = manifest.split("train")
    assert [record[1:] for record in opened.records] == [record[1:] for record in rows]
    decoded = decode_images([record.image for record in rows], size=cache_size(SPEC)).pixels
    assert all(np.array_equal(opened.dataset.images[row], decoded[row]) for row in range(len(rows)))
    assert len(open_shard_split(index, "val", eval_transform(SPEC), spec=SPEC).dataset) == 6


def test_the_interpolation_is_heeded(manifest: Manifest, index: ShardIndex) -> None:
    spec = SPEC._replace(interpolation="bilinear")
    images = open_shard_split(index, "val", eval_transform(spec), spec=spec).dataset.images
    paths = [record.image for record in manifest.split("val")]
    decoded = decode_images(paths, size=cache_size(spec), interpolation="bilinear").pixels
    assert np.array_equal(images[3], decoded[3])


def test_the_batches_of_the_files(manifest: Manifest, opened: ShardSplit) -> None:
    """In the order of `EpochSampler`, order, augmentation, texts and labels are those of training on files."""
    from_files = open_splits(
        manifest, {"train": train_transform("light", SPEC)}, spec=SPEC, max_pixels=10**8, cache=None
    )["train"]
    sampler = EpochSampler(len(opened.dataset), seed=3, shuffle=True)
    ours = batches(opened, sampler)
    theirs = list(DataLoader(from_files.dataset, batch_size=6, sampler=sampler, collate_fn=Collate(SPEC)))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.texts == other.texts


def test_the_number_of_loader_processes_changes_nothing(opened: ShardSplit) -> None:
    sampler = ShardSampler(opened.places, seed=0, buffer=10)
    alone = batches(opened, sampler)  # opens files in this process, which the forked ones must not share
    several = batches(opened, sampler, workers=2)
    assert all(torch.equal(one.images, other.images) for one, other in zip(alone, several, strict=True))
    assert [row for batch in alone for row in batch.indices.tolist()] == [draw.row for draw in sampler]


def test_an_epoch_holds_every_row_once_and_depends_on_seed_and_epoch(opened: ShardSplit) -> None:
    sampler = ShardSampler(opened.places, seed=0, buffer=10)
    first = list(sampler)
    assert sorted(draw.row for draw in first) == list(range(41))
    assert list(ShardSampler(opened.places, seed=0, buffer=10)) == first
    assert list(ShardSampler(opened.places, seed=1, buffer=10)) != first
    sampler.set_epoch(1)
    assert [draw.row for draw in sampler] != [draw.row for draw in first]
    seeds = {draw.row: draw.seed for draw in EpochSampler(41, seed=0, shuffle=True)}
    assert {draw.row: draw.seed for draw in first} == seeds


def test_resumed_in_the_middle_of_an_epoch(opened: ShardSplit) -> None:
    sampler = ShardSampler(opened.places, seed=0, buffer=10)
    sampler.set_epoch(2)
    whole = batches(opened, sampler)
    sampler.set_epoch(2, skip=3 * 6)
    assert len(sampler) == 41 - 18
    rest = batches(opened, sampler)
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_processes_get_equally_many_rows_of_their_own(processes: int, opened: ShardSplit) -> None:
    shares = []
    left_out = set()
    for epoch in range(3):
        samplers = [
            ShardSampler(opened.places, seed=0, buffer=10, process=process, processes=processes)
            for process in range(processes)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [[draw.row for draw in sampler] for sampler in samplers]
        assert [len(share) for share in shares] == [41 // processes] * processes == [len(each) for each in samplers]
        rows = [row for share in shares for row in share]
        assert len(set(rows)) == len(rows)
        left_out.add(frozenset(set(range(41)) - set(rows)))
    assert len(left_out) == (1 if 41 % processes == 0 else 3)


def test_without_shuffling_nothing_is_left_out(opened: ShardSplit) -> None:
    samplers = [ShardSampler(opened.places, seed=0, shuffle=False, process=each, processes=4) for each in range(4)]
    assert [draw.row for sampler in samplers for draw in sampler] == list(range(41))
    assert [len(sampler) for sampler in samplers] == [11, 10, 10, 10]


def test_the_order_jumps_little() -> None:
    """40 shards of 500 rows: a batch comes from few of them, yet rows are well mixed and every epoch is new."""
    generator = np.random.default_rng(0)
    places = np.stack([np.repeat(np.arange(40), 500), np.tile(np.arange(500), 40), np.ones(20_000)], 1).astype(np.int64)
    places = places[generator.permutation(len(places))]
    rows = np.array([draw.row for draw in ShardSampler(places, seed=0, buffer=1000)])
    shards = places[rows, 0].reshape(-1, 50)
    in_use = np.array([len(set(batch.tolist())) for batch in shards])
    assert 2 <= np.median(in_use) <= 12
    unmixed = np.array([draw.row for draw in ShardSampler(places, seed=0, buffer=1)])
    assert (np.diff(places[unmixed, 0]) != 0).sum() == 39
    assert (np.diff(places[unmixed, 1]) == 1).sum() == 20_000 - 40  # front to end


def test_a_damaged_image_is_named(manifest: Manifest, tmp_path: Path) -> None:
    index = write_shards(manifest, tmp_path / "shards")
    opened = open_shard_split(index, "train", eval_transform(SPEC), spec=SPEC)
    number, offset, size = opened.places[1].tolist()  # a PNG: JPEG has no checksum
    file = tmp_path / "shards" / index.shards[number].name
    content = bytearray(file.read_bytes())
    content[offset + size // 2 : offset + size] = bytes(size - size // 2)
    file.write_bytes(content)
    with pytest.raises(ImageError, match=rf"The image in row 1, at byte {offset} of .*\.tar, cannot be read"):
        opened.dataset[1]
    small = open_shard_split(index, "train", eval_transform(SPEC), spec=SPEC, max_pixels=100)
    with pytest.raises(ImageError, match="pixels; the limit is 100"):
        small.dataset[1]


def test_what_is_refused(index: ShardIndex, opened: ShardSplit) -> None:
    with pytest.raises(DataError, match=re.escape("have no split 'test'; found train, val.")):
        open_shard_split(index, "test", eval_transform(SPEC), spec=SPEC)
    with pytest.raises(ValueError, match="Found process 2 of 2 and a buffer of 2000; needed"):
        ShardSampler(opened.places, seed=0, process=2, processes=2)


def test_loader_processes_open_files_themselves(opened: ShardSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened.dataset.images[5]
    copy = pickle.loads(pickle.dumps(opened.dataset))
    assert copy.images._open == {}
    assert np.array_equal(copy.images[5], before)

    images = cast(ShardImages, opened.dataset.images)
    file = images._file(0)
    assert images._file(0) is file
    monkeypatch.setattr("os.getpid", lambda: -1)  # as after a fork
    assert images._file(0) is not file
