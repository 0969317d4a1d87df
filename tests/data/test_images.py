"""Reading image files and the cache of decoded images."""

import errno
import os
import re
import shutil
import struct
import warnings
import zlib
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from marnet.data import images
from marnet.data.images import BrokenImage, decode_images, fit_square, read_image, to_rgb
from marnet.errors import DataError, ImageError

LIMIT = 100_000_000


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims its size and has hardly any data: a decompression bomb takes little disk."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def broken_files(folder: Path) -> dict[str, Path]:
    """One file of each kind that cannot be read."""
    files = {name: folder / name for name in ("gone.jpg", "empty.jpg", "cut.jpg", "text.jpg", "folder.jpg", "huge.png")}
    files["empty.jpg"].touch()
    whole = folder / "whole.jpg"
    picture(size=(200, 200)).save(whole)
    files["cut.jpg"].write_bytes(whole.read_bytes()[:3000])
    whole.unlink()
    files["text.jpg"].write_text("Dear cook, the photo follows by post.")
    files["folder.jpg"].mkdir()
    files["huge.png"].write_bytes(png_header(30_000, 30_000))
    return files


REASONS = {
    "gone.jpg": "does not exist. Check the path.",
    "empty.jpg": "is empty (0 bytes). Replace it by a whole copy.",
    "cut.jpg": "is cut short or damaged (image file is truncated",
    "text.jpg": "is not an image: no known format begins with b'Dear cook, t'. Replace it by an image file.",
    "folder.jpg": "is a folder; needed an image file.",
    "huge.png": "has 30000 x 30000 pixels, 900,000,000 in all; the limit is 100,000,000. "
    "Make the image smaller, or raise the limit with --set data.max_pixels=900000000.",
}


@pytest.mark.parametrize("name", REASONS)
def test_an_unreadable_file_is_refused_with_its_path_and_the_reason(tmp_path: Path, name: str) -> None:
    file = broken_files(tmp_path)[name]
    with pytest.raises(ImageError, match=re.escape(f"Image {file} {REASONS[name]}")):
        read_image(file)


def test_damage_inside_a_png_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    picture().save(file)
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)
    with pytest.raises(ImageError, match="is cut short or damaged"):
        read_image(file)


def test_an_unreadable_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image("a\0b.jpg")


def test_the_pixel_limit_is_checked_before_decoding_and_can_be_moved(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    picture(size=(40, 30)).save(file)
    assert read_image(file, max_pixels=1200).size == (40, 30)
    with pytest.raises(ImageError, match="has 40 x 30 pixels, 1,200 in all; the limit is 1,199"):
        read_image(file, max_pixels=1199)


def test_a_limit_above_pillows_own_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    file = tmp_path / "a.png"
    picture(size=(40, 30)).save(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(file).size == (40, 30)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        found = np.asarray(read_image(tmp_path / name))
        assert found[0, :, 0].tolist() == [0, 1, 128, 255]
        assert found.shape == (1, 4, 3)
        assert (found == found[..., :1]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0, np.nan]], np.float32), [0, 128, 255, 0]),
        (np.array([[0.0, 51.0, 255.0]], np.float32), [0, 51, 255]),
        (np.array([[-3.0, 65535.0]], np.float32), [0, 255]),
    ],
)
def test_wide_grey_is_scaled_by_the_range_that_holds_it(values: np.ndarray, expected: list[int]) -> None:
    assert np.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == expected


def test_a_palette_gives_its_colours_and_transparency_becomes_white(tmp_path: Path) -> None:
    indexed = Image.new("P", (3, 1))
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    indexed.putdata([0, 1, 2])
    indexed.save(tmp_path / "plain.png")
    indexed.save(tmp_path / "clear.png", transparency=1)
    indexed.save(tmp_path / "clear.gif", transparency=1)
    assert np.asarray(read_image(tmp_path / "plain.png"))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for name in ("clear.png", "clear.gif"):
        assert np.asarray(read_image(tmp_path / name))[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (200, 0, 100, 128)).save(tmp_path / "a.png")
    Image.new("LA", (2, 2), (100, 0)).save(tmp_path / "b.png")
    # 128 / 255 of the colour and the rest white, by hand: 200 * .502 + 255 * .498 = 227.4, 127, 177.2
    assert np.asarray(read_image(tmp_path / "a.png"))[0, 0] == pytest.approx([227.4, 127, 177.2], abs=1)
    assert (np.asarray(read_image(tmp_path / "b.png")) == 255).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.asarray(read_image(tmp_path / "a.jpg"))[8, 8] == pytest.approx([255, 0, 0], abs=3)


def test_one_bit_images_work(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = (255, 0, 0)  # the left half is red
    upright[:8, 16:] = (0, 0, 255)  # the upper right quarter is blue
    stored = {  # what a camera stores where the reader must turn it as the EXIF standard says
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    found = np.asarray(read_image(tmp_path / "a.jpg")).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 5


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("block", [b"MM\0*\0\0\0\x08\xff\xff garbage", b"garbage", b"MM\0*\xff"])
def test_a_damaged_exif_block_is_passed_over(tmp_path: Path, block: bytes) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + block)
    assert read_image(tmp_path / "a.jpg").size == (40, 30)


def test_an_exif_block_that_pillow_stumbles_over_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(image: Image.Image) -> Image.Image:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(ImageOps, "exif_transpose", stumble)
    assert np.array_equal(np.asarray(to_rgb(picture())), np.asarray(picture()))


def test_min_side_decodes_a_large_jpeg_smaller(tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((1600, 800)).convert("RGB").save(tmp_path / "a.jpg")
    small = read_image(tmp_path / "a.jpg", min_side=50)
    assert small.size == (200, 100)
    whole = fit_square(read_image(tmp_path / "a.jpg"), 50).numpy().astype(int)
    assert np.abs(whole - fit_square(small, 50).numpy()).max() <= 2


def test_fit_square_resizes_the_short_side_and_crops_the_centre() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (10, 20, 30)
    square = fit_square(Image.fromarray(pixels), 20)
    assert square.shape == (3, 20, 20)
    assert square.flatten(1).unique(dim=1).tolist() == [[10], [20], [30]]
    assert fit_square(Image.fromarray(pixels).resize((120, 40)), 20)[:, 10, 10].tolist() == [10, 20, 30]
    assert fit_square(Image.new("RGB", (1, 9)), 4).shape == (3, 4, 4)


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


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    decoded: list[Path] = []
    real = images._decode

    def decode(path: Path, max_pixels: int, min_side: int | None) -> Image.Image:
        decoded.append(path)
        return real(path, max_pixels, min_side)

    monkeypatch.setattr(images, "_decode", decode)
    return decoded


def test_a_second_call_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    first = decode_images(paths, size=16, cache=tmp_path / "cache")
    decoded = count_decoded(monkeypatch)
    second = decode_images(paths, size=16, cache=tmp_path / "cache")
    assert decoded == []
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
    files = [str(file) for file in broken_files(tmp_path).values()]
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        pixels, broken = decode_images([good[0], *files, good[1]], size=8, max_pixels=LIMIT, cache=cache)
        assert [each.path for each in broken] == files
        for each in broken:
            assert isinstance(each, BrokenImage)
            assert each.reason.startswith(REASONS[Path(each.path).name])
        assert [bool(row.any()) for row in pixels] == [True, *[False] * len(files), True]


def test_a_broken_image_that_became_readable_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    real = images._decode

    def offline(path: Path, max_pixels: int, min_side: int | None) -> Image.Image:
        raise images._UnreadableError("cannot be opened: the drive is offline.")

    monkeypatch.setattr(images, "_decode", offline)
    assert len(decode_images(paths, size=8, cache=tmp_path / "cache").broken) == 5
    monkeypatch.setattr(images, "_decode", real)
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
        patched.setattr(images, "_square", killed)
        with pytest.raises(KeyboardInterrupt):
            decode_images(paths, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []
    assert len(decode_images(paths, size=16, cache=tmp_path / "cache").pixels) == 5


def test_too_little_space_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = save_pictures(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 0))
    decoded = count_decoded(monkeypatch)
    sentence = (
        f"The decoded images need 0.0 MB below {tmp_path / 'cache' / 'images'}, and they cannot be written there: too "
        f"little space is free. Free some space, point the environment variable MARNET_CACHE to another folder, or "
        f"keep the images in memory with --set data.cache=false."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        decode_images(paths, size=16, cache=tmp_path / "cache")
    assert decoded == []


def test_a_disk_that_fills_up_while_writing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images, "_write_pixels", full)
    with pytest.raises(DataError, match=r"they cannot be written there: No space left on device. Free some space"):
        decode_images(save_pictures(tmp_path), size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache" / "images").iterdir()) == []
