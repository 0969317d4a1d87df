"""Datasets, batches, and the seeds of random draws."""

import dataclasses
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marnet.data.dataset import Batch, ImageTextDataset, OpenedSplit, SampleKey, open_splits
from marnet.data.decoded import decode_images
from marnet.data.image_spec import ImageSpec
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, Record
from marnet.data.sampling import EpochSampler, evaluation_sampler, nearby_order, own_rows
from marnet.data.transforms import eval_transform, train_transform
from marnet.errors import DataError, ImageError

SPEC = ImageSpec(14, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def make_dataset(level: str = "light", n: int = 12) -> ImageTextDataset:
    images = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(n) % 3
    return ImageTextDataset(images, [f"text {row}" for row in range(n)], labels, train_transform(level, SPEC))


def load_epoch(epoch: int, *, seed: int = 0, workers: int = 0, level: str = "light") -> list[Batch]:
    dataset = make_dataset(level)
    sampler = EpochSampler(len(dataset), seed=seed, shuffle=True)
    sampler.set_epoch(epoch)
    return list(make_loader(dataset, batch_size=5, sampler=sampler, workers=workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a.indices, b.indices) and torch.equal(a.images, b.images) for a, b in pairs)


def test_the_parts_of_a_batch_belong_together() -> None:
    dataset = make_dataset("none")
    batch = dataset.__getitems__([3, 7])
    assert torch.equal(batch.images, torch.from_numpy(dataset.images[[3, 7], 1:15, 1:15]).permute(0, 3, 1, 2))
    assert batch.images.dtype == torch.uint8
    assert batch.texts == ["text 3", "text 7"]
    assert batch.labels.tolist() == [0, 1]
    assert batch.indices.tolist() == [3, 7]
    assert batch.labels.dtype == batch.indices.dtype == torch.int64


def test_rows_may_leave_images_out() -> None:
    full = make_dataset("none", n=4)
    kept = ImageTextDataset(full.images, ["b", "d"], np.array([1, 0]), full.transform, rows=np.array([1, 3]))
    assert len(kept) == 2
    assert torch.equal(kept[1].image, full[3].image)
    assert kept[1][1:] == ("d", 0, 1)
    with pytest.raises(ValueError, match=r"Found 4 images, 1 texts and 2 labels. Their numbers must be equal"):
        ImageTextDataset(full.images, ["b"], np.array([1, 0]), full.transform)


def test_workers_do_not_change_the_pixels() -> None:
    alone = load_epoch(1)
    assert same(alone, load_epoch(1, workers=2))
    assert sorted(torch.cat([batch.indices for batch in alone]).tolist()) == list(range(12))


def test_order_and_pixels_follow_seed_and_epoch() -> None:
    assert same(load_epoch(2, seed=5, level="strong"), load_epoch(2, seed=5, level="strong"))
    first, later, other = load_epoch(0), load_epoch(1), load_epoch(0, seed=1)
    assert not torch.equal(first[0].indices, later[0].indices)
    assert not torch.equal(first[0].indices, other[0].indices)


def test_a_row_is_augmented_differently_in_every_epoch_and_row() -> None:
    sampler = EpochSampler(1000, seed=0, shuffle=False)
    seeds = set()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert [key.row for key in keys] == list(range(1000))
        seeds |= {key.seed for key in keys}
    assert len(seeds) == 3000
    assert len(sampler) == 1000


@pytest.mark.parametrize("level", ["light", "strong"])
def test_a_row_is_the_same_alone_and_in_a_batch(level: str) -> None:
    dataset = make_dataset(level)
    keys = [SampleKey(row, 100 + row) for row in (4, 0, 11)]
    batch = dataset.__getitems__(keys)
    for key, image, text in zip(keys, batch.images, batch.texts, strict=True):
        alone = dataset[key]
        assert torch.equal(alone.image, image)
        assert (alone.text, alone.row) == (text, key.row)
        assert not torch.equal(dataset[SampleKey(key.row, 1)].image, image)


def test_keys_and_plain_indices_are_not_mixed() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 indices are sample keys. Give keys alone, or rows alone"):
        make_dataset().__getitems__([SampleKey(0, 1), 2])


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("in_shards", [False, True])
def test_training_processes_get_equally_many_rows_of_their_own(processes: int, in_shards: bool) -> None:
    offsets = np.stack([np.arange(41) // 9, np.arange(41)], 1) if in_shards else None
    left_out = set()
    for epoch in range(3):
        samplers = [
            EpochSampler(41, seed=0, shuffle=True, offsets=offsets, buffer=10, process=each, processes=processes)
            for each in range(processes)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [[key.row for key in sampler] for sampler in samplers]
        assert [len(share) for share in shares] == [41 // processes] * processes == [len(each) for each in samplers]
        rows = [row for share in shares for row in share]
        assert len(set(rows)) == len(rows)
        left_out.add(frozenset(set(range(41)) - set(rows)))
    assert len(left_out) == (1 if 41 % processes == 0 else 3)


def test_a_process_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="`process` is 2 of 2 processes, but it must be from 0"):
        EpochSampler(5, seed=0, shuffle=True, process=2, processes=2)


def test_the_order_in_shards_jumps_little() -> None:
    """40 shards of 500 rows: a batch comes from few of them, yet rows are well mixed and every epoch is new."""
    offsets = np.stack([np.repeat(np.arange(40), 500), np.tile(np.arange(500), 40)], 1)
    offsets = offsets[np.random.default_rng(0).permutation(len(offsets))]

    def order(seed: int, buffer: int) -> np.ndarray:
        return nearby_order(offsets, buffer, np.random.default_rng(seed))

    rows = order(0, 1000)
    assert sorted(rows.tolist()) == list(range(20_000))
    in_use = [len(set(batch.tolist())) for batch in offsets[rows, 0].reshape(-1, 50)]
    assert 2 <= np.median(in_use) <= 12
    assert not np.array_equal(order(1, 1000), rows)
    unmixed = order(0, 1)
    assert (np.diff(offsets[unmixed, 0]) != 0).sum() == 39
    assert (np.diff(offsets[unmixed, 1]) == 1).sum() == 20_000 - 40  # front to end


def test_a_memory_map_is_pickled_by_its_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_dataset().images)
    plain = make_dataset("none")
    mapped = ImageTextDataset(np.load(tmp_path / "a.npy", mmap_mode="r"), plain.texts, plain.labels, plain.transform)
    content = pickle.dumps(mapped)
    assert len(content) < mapped.images.nbytes
    found = pickle.loads(content)
    assert isinstance(found.images, np.memmap)
    assert torch.equal(found[5].image, plain[5].image)
    assert torch.equal(pickle.loads(pickle.dumps(plain))[5].image, plain[5].image)


def write_manifest(folder: Path) -> Manifest:
    """Eight pictures of two classes, four in train and four in val."""
    records = []
    for number in range(8):
        file = folder / f"{number}.png"
        Image.fromarray(np.full((20, 20, 3), 20 * number + 1, np.uint8)).save(file)
        records.append(Record(str(file), f"text {number}", "xy"[number % 2], "train" if number < 4 else "val"))
    return Manifest(tuple(records), ("x", "y"), "rows.csv")


def open_both(manifest: Manifest, folder: Path, on_bad_image: str = "stop") -> dict[str, OpenedSplit]:
    transforms = {"train": train_transform("light", SPEC), "val": eval_transform(SPEC)}
    return open_splits(
        manifest, transforms, spec=SPEC, on_bad_image=on_bad_image, max_pixels=1000, cache=folder / "cache"
    )


def test_splits_are_opened(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    opened = open_both(manifest, tmp_path)
    assert opened["train"].records == manifest.records[:4]
    assert opened["val"].skipped == []
    sample = opened["val"].dataset[1]
    assert (sample.text, sample.label, sample.row) == ("text 5", 1, 1)
    assert sample.image.shape == (3, 14, 14)
    assert (sample.image == 101).all()


def test_all_broken_images_of_all_splits_stop_at_once(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "3.png").write_bytes(b"")
    Image.new("RGB", (50, 50)).save(tmp_path / "6.png")
    sentence = (
        f"3 of 8 images of rows.csv cannot be read (train 2, val 1):\n"
        f"  {tmp_path}/1.png does not exist. Check the path.\n"
        f"  {tmp_path}/3.png is empty (0 bytes). Replace it by a whole copy.\n"
        f"  {tmp_path}/6.png has 50 x 50 pixels, 2,500 in all; the limit is 1,000. Make the image smaller, or raise "
        f"the limit with `data.max_pixels=2500`.\n"
        f"Mend or remove them, or go on without them: `data.on_bad_image=skip`."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        open_both(manifest, tmp_path)


def test_a_message_names_five_broken_images_at_most(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    lost = [record._replace(image=f"/gone/{n}.jpg") for n in range(5000) for record in manifest.records[:1]]
    manifest = dataclasses.replace(manifest, records=(*manifest.records, *lost))
    with pytest.raises(DataError, match=r"5000 of 5004 images .* cannot be read") as caught:
        open_splits(manifest, {"train": eval_transform(SPEC)}, spec=SPEC, max_pixels=1000, cache=None)
    assert str(caught.value).count("does not exist") == 5
    assert "... and 4,995 more" in str(caught.value)


def test_broken_images_can_be_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = write_manifest(tmp_path)
    (tmp_path / "1.png").unlink()
    (tmp_path / "4.png").write_text("no image")
    with caplog.at_level(logging.WARNING, "marnet"):
        opened = open_both(manifest, tmp_path, "skip")
    assert "Skipped 2 of 8 images, which cannot be read (train 1, val 1):" in caplog.text
    assert opened["train"].records == (*manifest.records[:1], *manifest.records[2:4])
    assert [each.path for each in opened["val"].skipped] == [manifest.records[4].image]
    assert len(opened["val"].dataset) == 3
    first = opened["val"].dataset[0]
    assert (first.text, first.label) == ("text 5", 1)
    assert (first.image == 101).all()


def test_skipping_must_leave_something_to_learn_from(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    for number in (1, 3):
        (tmp_path / f"{number}.png").unlink()
    sentence = "rows.csv without its broken images has only one class in split 'train': 'x' (2 images)"
    with pytest.raises(DataError, match=re.escape(sentence)):
        open_both(manifest, tmp_path, "skip")
    for number in (4, 5, 6, 7):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"Every image of split 'val' of rows.csv is broken. At least one"):
        open_both(manifest, tmp_path, "skip")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.csv has no rows in split 'test'; found train 4, val 4."):
        open_splits(write_manifest(tmp_path), {"test": eval_transform(SPEC)}, spec=SPEC, max_pixels=1000, cache=None)


def test_the_cache_is_shared_between_runs(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    open_both(manifest, tmp_path)
    files = sorted((tmp_path / "cache" / "images").iterdir())
    opened = open_both(manifest, tmp_path)
    assert sorted((tmp_path / "cache" / "images").iterdir()) == files
    paths = [record.image for record in manifest.split("val")]
    assert (opened["val"].dataset.images == decode_images(paths, size=16).pixels).all()


def test_streamed_images_are_those_of_the_cache_and_are_decoded_when_needed(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    transforms = {"train": train_transform("light", SPEC), "val": eval_transform(SPEC)}
    streamed = open_splits(manifest, transforms, spec=SPEC, max_pixels=1000, cache=tmp_path / "cache", stream=True)
    assert not (tmp_path / "cache").exists()
    cached = open_both(manifest, tmp_path)
    keys = [SampleKey(row, 7 * row) for row in (2, 0, 3)]
    for one, other in ((streamed["train"], cached["train"]), (streamed["val"], cached["val"])):
        found, expected = (each.dataset.__getitems__(keys) for each in (one, other))
        assert torch.equal(found.images, expected.images)
        assert found.texts == expected.texts
    (tmp_path / "5.png").unlink()
    assert len(streamed["val"].dataset[0].image) == 3
    with pytest.raises(ImageError, match=r"5.png does not exist. Check the path. With `data.stream=true` it is met"):
        streamed["val"].dataset[1]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 2, 3, 21, 22, 30])
def test_in_evaluation_each_row_counts_in_one_process_and_all_take_equally_many(rows: int, processes: int) -> None:
    shares = []
    for process in range(processes):
        sampler = evaluation_sampler(range(rows), process=process, processes=processes)
        given = torch.tensor(list(range(rows) if sampler is None else sampler))
        shares.append((given, given[own_rows(given, process=process, processes=processes)]))
    assert len({len(given) for given, _ in shares}) == 1
    assert sorted(torch.cat([own for _, own in shares]).tolist()) == list(range(rows))
