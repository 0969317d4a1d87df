"""Equal and near pictures."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from marnet.data.tools.audit import fingerprints
from marnet.data.tools.audit.fingerprints import NEAR_BITS, equal_groups, fingerprint, near_pairs, perceptual_hashes


def scene(seed: int, size: tuple[int, int] = (192, 160)) -> Image.Image:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def jpeg(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda picture: picture.resize((96, 80)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
        lambda picture: picture.crop((2, 2, 190, 158)),
    ],
    ids=["compressed", "halved", "darker", "cropped"],
)
def test_changed_copies_are_near_and_other_pictures_are_not(
    change: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    paths = []
    for seed in range(12):
        scene(seed).save(tmp_path / f"{seed}.png")
        change(scene(seed)).save(tmp_path / f"{seed}-changed.png")
        paths += [str(tmp_path / f"{seed}.png"), str(tmp_path / f"{seed}-changed.png")]
    prints = fingerprint(paths)
    assert prints.broken == []
    assert equal_groups(prints.exact) == []
    found = near_pairs(prints.hashes[0::2], prints.hashes[1::2])
    assert sorted((pair.first, pair.second) for pair in found.pairs) == [(seed, seed) for seed in range(12)]
    within = near_pairs(prints.hashes)
    assert sorted((pair.first, pair.second) for pair in within.pairs) == [
        (2 * seed, 2 * seed + 1) for seed in range(12)
    ]


def test_equal_pixels_in_other_files(tmp_path: Path) -> None:
    """Equal pixels count, whatever the format; equal bytes of another shape do not; broken files are no group."""
    picture = scene(0)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    Image.new("RGB", (10, 20), "red").save(tmp_path / "tall.png")
    Image.new("RGB", (20, 10), "red").save(tmp_path / "wide.png")
    for name in ("broken-1.jpg", "broken-2.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
    names = ["a.png", "tall.png", "b.bmp", "broken-1.jpg", "wide.png", "broken-2.jpg"]
    prints = fingerprint([str(tmp_path / name) for name in names])
    assert equal_groups(prints.exact) == [[0, 2]]
    assert prints.flat.tolist() == [False, True, False, False, True, False]
    assert [Path(each.path).name for each in prints.broken] == ["broken-1.jpg", "broken-2.jpg"]
    assert prints.broken[0].reason.startswith("is not an image")


def test_pairs_against_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks so small that pairs lie within, between and across them."""
    monkeypatch.setattr(fingerprints, "_CHUNK", 7)
    monkeypatch.setattr(fingerprints, "_BLOCK", 10)
    generator = np.random.default_rng(0)
    base = generator.random((6, 64)) < 0.5
    hashes = base[generator.integers(6, size=45)] ^ (generator.random((45, 64)) < 0.05)
    distances = (hashes[:, None] != hashes[None]).sum(2)
    found = near_pairs(hashes)
    expected = {
        (i, j, int(distances[i, j])) for i in range(45) for j in range(i + 1, 45) if distances[i, j] <= NEAR_BITS
    }
    assert 20 < len(expected) < 900
    assert {tuple(pair) for pair in found.pairs} == expected
    assert found.number == len(expected)
    assert [pair.bits for pair in found.pairs] == sorted(pair.bits for pair in found.pairs)
    assert np.flatnonzero(found.first).tolist() == sorted({i for i, _, _ in expected})
    assert np.flatnonzero(found.second).tolist() == sorted({j for _, j, _ in expected})

    across = near_pairs(hashes[:20], hashes[20:])
    expected = {
        (i, j, int(distances[i, 20 + j])) for i in range(20) for j in range(25) if distances[i, 20 + j] <= NEAR_BITS
    }
    assert {tuple(pair) for pair in across.pairs} == expected


def test_only_the_nearest_pairs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "LISTED_PAIRS", 5)
    found = near_pairs(np.zeros((40, 64), bool))
    assert (found.number, len(found.pairs)) == (40 * 39 // 2, 5)


def test_hashes_of_no_images() -> None:
    assert perceptual_hashes(np.zeros((0, 32, 32), np.uint8)).shape == (0, 64)
    assert near_pairs(np.zeros((0, 64), bool)).number == 0
