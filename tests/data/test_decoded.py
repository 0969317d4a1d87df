"""The cache of decoded images."""

import errno
import os
import re
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marnet.data import decoded
from marnet.data.decoded import clear_cache, decode_images, list_cache
from marnet.data.images import BrokenImage, read_image
from marnet.data.squares import Target, decode_square, fit_square
from marnet.errors import DataError


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save_pictures(folder: Path, count: int = 5) -> list[str]:
    paths = [str(folder / f"{number}.png") for number in range(count)]
    for number, path in enumerate(paths):
        picture(number).save(path)
    return paths


def test_decoded_images_are_the_fitted_squares(tmp_path: Path) -> None:
    paths = save_pictures(tmp_path)
    for cache in (None, tmp_path / "cache"):
        pixels, broken = decode_images(paths, size=16, cache=cache)
        assert broken == []
        assert pixels.shape == (5, 16, 16, 3)
        assert pixels.dtype == np.uint8
        for row, path in zip(pixels, paths, strict=True):
            assert (row.transpose(2, 0, 1) == fit_square(read_image(path, min_side=16), 16).numpy()).all()


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []

    def decode(path: str, target: Target) -> np.ndarray | BrokenImage:
        seen.append(path)
        return decode_square(path, target)

    monkeypatch.setattr(decoded, "decode_square", decode)
    return seen


def test_a_second_call_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    first = decode_images(paths, size=16, cache=tmp_path / "cache")
    seen = count_decoded(monkeypatch)
    second = decode_images(paths, size=16, cache=tmp_path / "cache")
    assert seen == []
    assert isinstance(second.pixels, np.memmap)
    assert (first.pixels == second.pixels).all()
    assert not list((tmp_path / "cache" / "images").glob("*.part"))


def test_a_changed_file_size_or_list_decodes_again(tmp_path: Path) -> None:
    paths = save_pictures(tmp_path)
    before = np.array(decode_images(paths, size=16, cache=tmp_path / "cache").pixels)
    picture(99).save(paths[2])
    os.utime(paths[2], ns=(1, 1))
    after = decode_images(paths, size=16, cache=tmp_path / "cache").pixels
    assert [bool((a == b).all()) for a, b in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert decode_images(paths, size=8, cache=tmp_path / "cache").pixels.shape == (5, 8, 8, 3)
    assert decode_images(paths[1:], size=16, cache=tmp_path / "cache").pixels.shape == (4, 16, 16, 3)


def test_every_broken_image_is_listed_and_remembered(tmp_path: Path) -> None:
    good = save_pictures(tmp_path, 2)
    bad = {
        "gone.png": ("does not exist. Check the path.", lambda file: None),
        "empty.png": ("is empty (0 bytes). Replace it by a whole copy.", lambda file: file.touch()),
        "text.png": (
            "is not an image: no known format begins with b'Dear cook'",
            lambda file: file.write_text("Dear cook"),
        ),
    }
    for name, (_, write) in bad.items():
        write(tmp_path / name)
    files = [str(tmp_path / name) for name in bad]
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        pixels, broken = decode_images([good[0], *files, good[1]], size=8, cache=cache)
        assert [each.path for each in broken] == files
        for each, (reason, _) in zip(broken, bad.values(), strict=True):
            assert isinstance(each, BrokenImage)
            assert each.reason.startswith(reason)
        assert [bool(row.any()) for row in pixels] == [True, *[False] * len(files), True]


def test_a_broken_image_that_became_readable_is_decoded(tmp_path: Path) -> None:
    paths = save_pictures(tmp_path)
    (tmp_path / "hidden").mkdir()
    for path in paths:
        shutil.move(path, tmp_path / "hidden")
    assert len(decode_images(paths, size=8, cache=tmp_path / "cache").broken) == 5
    for path in paths:
        shutil.move(tmp_path / "hidden" / Path(path).name, path)
    pixels, broken = decode_images(paths, size=8, cache=tmp_path / "cache")
    assert broken == []
    assert pixels.reshape(5, -1).any(1).all()


@pytest.mark.parametrize("damage", ["cut", "empty", "no listing", "bad listing"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    paths = save_pictures(tmp_path)
    expected = np.array(decode_images(paths, size=16, cache=tmp_path / "cache").pixels)
    (file,) = (tmp_path / "cache" / "images").glob("*.npy")
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "empty":
            file.write_bytes(b"")
        case "no listing":
            file.with_suffix(".json").unlink()
        case "bad listing":
            file.with_suffix(".json").write_text("{")
    assert (decode_images(paths, size=16, cache=tmp_path / "cache").pixels == expected).all()


def test_a_killed_run_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(decoded, "decode_square", killed)
        with pytest.raises(KeyboardInterrupt):
            decode_images(paths, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []
    assert len(decode_images(paths, size=16, cache=tmp_path / "cache").pixels) == 5


def test_a_disk_that_fills_up_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    write = Path.write_text

    def on_a_full_disk(path: Path, *arguments: Any, **options: Any) -> int:
        written = write(path, *arguments, **options)
        if path.name.endswith(".json.part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    monkeypatch.setattr(Path, "write_text", on_a_full_disk)
    with pytest.raises(DataError, match="they cannot be written there: No space left on device"):
        decode_images(paths, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def test_too_little_space_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    seen = count_decoded(monkeypatch)
    sentence = (
        f"The decoded images need 0.0 MB below {tmp_path / 'cache' / 'images'}, and they cannot be written there: too "
        f"little space is free. Free some space, point the environment variable MARNET_CACHE to another folder, or "
        f"decode them anew in every epoch with `data.stream=true`."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        decode_images(paths, size=16, cache=tmp_path / "cache")
    assert seen == []


def test_a_disk_that_fills_up_while_writing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoded, "_write_pixels", full)
    with pytest.raises(DataError, match=r"they cannot be written there: No space left on device. Free some space"):
        decode_images(save_pictures(tmp_path), size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def age(file: Path, days: float) -> None:
    then = file.stat().st_mtime - days * 86_400
    os.utime(file, (then, then))


def test_what_nothing_opened_for_a_month_goes_when_the_next_is_written(tmp_path: Path) -> None:
    paths, cache = save_pictures(tmp_path), tmp_path / "cache"
    names = {}
    for size in (8, 10, 12):
        before = {each.file for each in list_cache(cache)}
        decode_images(paths, size=size, cache=cache)
        (names[size],) = {each.file for each in list_cache(cache)} - before
    for file in (names[8], names[8].with_suffix(".json"), names[10], names[10].with_suffix(".json")):
        age(file, 31)
    age(names[12], 29)
    (cache / "images" / "killed.part").touch()
    age(cache / "images" / "killed.part", 31)
    decode_images(paths, size=10, cache=cache)  # in use again
    assert [each.file for each in list_cache(cache)] == [names[10], names[12], names[8]]
    assert [round(each.days) for each in list_cache(cache)] == [0, 29, 31]
    decode_images(paths, size=16, cache=cache)
    kept = {names[10], names[12], *(each.file for each in list_cache(cache) if each.size > 5 * 16 * 16 * 3)}
    assert len(kept) == 3
    assert set((cache / "images").iterdir()) == kept | {file.with_suffix(".json") for file in kept}
    assert np.array_equal(decode_images(paths, size=10, cache=cache).pixels, decode_images(paths, size=10).pixels)


def test_the_cache_can_be_emptied(tmp_path: Path) -> None:
    paths, cache = save_pictures(tmp_path), tmp_path / "cache"
    assert list_cache(cache) == []
    clear_cache(cache)
    decode_images(paths, size=16, cache=cache)
    (found,) = list_cache(cache)
    assert found.size == found.file.stat().st_size > 5 * 16 * 16 * 3
    clear_cache(cache)
    assert list((cache / "images").iterdir()) == []
    assert decode_images(paths, size=16, cache=cache).broken == []
