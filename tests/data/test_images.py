"""Reading image files."""

import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from marnet.data.images import read_image, to_rgb
from marnet.data.squares import fit_square
from marnet.errors import ImageError


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
    "folder.jpg": "is a folder, not an image file. Name a file in it.",
    "huge.png": "has 30000 x 30000 pixels, 900,000,000 in all; the limit is 100,000,000. "
    "Make the image smaller, or raise the limit with `data.max_pixels=900000000`.",
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
    turned = picture()
    turned.getexif()[0x0112] = 6
    assert np.array_equal(np.asarray(to_rgb(turned)), np.asarray(picture()))


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


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_fit_square_resizes_as_pillow_does(interpolation: str) -> None:
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    for side in (30, 70):  # enlarged and reduced
        square = picture(size=(side, side))
        expected = np.asarray(square.resize((41, 41), filters[interpolation])).transpose(2, 0, 1).astype(int)
        assert np.abs(fit_square(square, 41, interpolation=interpolation).numpy() - expected).max() <= 2
