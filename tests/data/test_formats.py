"""Files that are no photo: refused by name, before they can run, block or fill the memory."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from marnet.data.decoding import decode
from marnet.data.image_bytes import read_bytes
from marnet.data.image_paths import image_path, missing_reason
from marnet.data.images import read_image, to_rgb
from marnet.data.sources.image_cells import ImageStore
from marnet.errors import DataError, ImageError

RED = Image.new("RGB", (20, 10), (200, 30, 40))


def encoded(form: str, **save: object) -> bytes:
    file = io.BytesIO()
    RED.save(file, form, **save)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "MPO"])
def test_photo_formats_are_read_whatever_the_suffix(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.img").write_bytes(encoded(form))
    found = np.asarray(read_image(tmp_path / "a.img")).astype(int)
    assert np.abs(found - (200, 30, 40)).max() < 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            "is PostScript, which is not read. Save it",
        ),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "is HEIC, which is not read. Save it as JPEG, PNG"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", "is a video, not an image."),
        (b"%PDF-1.7\n", "is PDF, which is not read."),
        (b"<!DOCTYPE html><title>Not found</title>", "is a web page, not an image: the download seems to have failed."),
        (b'<?xml version="1.0"?><svg width="9">', "is SVG, a drawing without pixels."),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (encoded("ICO"), "is an icon (ICO), which is not read."),
        (encoded("TGA"), "is not an image: no known format begins with"),
    ],
)
def test_other_formats_are_named(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(content)
    assert f"The image {reason}" in str(caught.value)


def test_a_pillow_image_of_another_format_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    file = tmp_path / "a.eps"
    RED.save(file)
    with Image.open(file) as picture, pytest.raises(ImageError, match="is EPS, which is not read"):
        decode(picture)
    with Image.open(file) as picture, pytest.raises(DataError, match="row 1: the image is EPS"):
        ImageStore(tmp_path).path_of(picture, "row 1")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_files_without_an_end_are_refused_unopened_and_links_to_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(ImageError, match=rf"{name} is a pipe, a device or a socket, not a regular file"):
            read_image(tmp_path / name)
    RED.save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert read_image(tmp_path / "link.png").size == (20, 10)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(600_000_000)  # takes no space
    with pytest.raises(ImageError, match="has 600,000,000 bytes; the limit for an image file is 500,000,000"):
        read_image(tmp_path / "a.jpg")


def test_a_long_name_is_refused_as_any_other(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a{250,}\.png cannot be opened: .*name too long"):
        read_image(tmp_path / ("a" * 300 + ".png"))


def test_what_a_missing_file_may_mean_is_told(tmp_path: Path) -> None:
    RED.save(tmp_path / "a.png")
    for name, hint in (
        (str(tmp_path / "a"), "There is a file with '.png' at the end"),
        (str(tmp_path / "x\\a.png"), "folders are separated by '/'"),
        ("~/a.png", "write the path in full"),
        ("s3://bucket/a.png", "s3://bucket/a.png is an address, but images are read from files"),
    ):
        with pytest.raises(ImageError, match=hint):
            read_image(name)


def test_names_are_resolved_as_the_file_system_does(tmp_path: Path) -> None:
    (tmp_path / "store" / "v1").mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "store" / "v1")
    assert image_path(tmp_path / "current", "../a.png") == str(tmp_path / "store" / "a.png")
    assert image_path(tmp_path / "current", "a.png") == str(tmp_path / "current" / "a.png")
    assert image_path(tmp_path / "store" / "v1", "../b/./a.png") == str(tmp_path / "store" / "b" / "a.png")
    assert image_path(tmp_path, "https://example.org/a.png") == "https://example.org/a.png"


@pytest.mark.parametrize("after_the_pixels", [False, True])
def test_large_metadata_is_no_reason_to_refuse_a_png(tmp_path: Path, after_the_pixels: bool) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "x" * 2_400_000, zip=True)
    texts.add(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 2_000_000), after_idat=after_the_pixels)
    content = encoded("PNG", pnginfo=texts)
    if after_the_pixels:  # so that they are met only when the pixels are loaded
        chunk = content.index(b"iTXt") - 4
        size = struct.unpack(">I", content[chunk : chunk + 4])[0] + 12
        content = content[:chunk] + content[chunk + size : -12] + content[chunk : chunk + size] + content[-12:]
    assert np.array_equal(decode(content), RED)


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "RGBA", "LA", "P"])
def test_strips_give_the_pixels_of_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.arange(60, dtype=np.float32).reshape(6, 10) * 1000
    if mode in ("F", "I", "I;16"):
        picture = Image.fromarray(grey.astype({"F": "f4", "I": "i4", "I;16": "u2"}[mode]))
    else:
        picture = Image.fromarray((grey / 250).astype(np.uint8)).convert("RGBA")
        picture.putalpha(Image.fromarray((grey / 300).astype(np.uint8)))
        picture = picture.convert(mode)
        if mode == "P":
            picture.info["transparency"] = 3
    whole = np.asarray(to_rgb(picture))
    monkeypatch.setattr("marnet.data.images._STRIP", 20)
    assert np.array_equal(to_rgb(picture), whole)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from /proc")
def test_a_large_float_image_is_decoded_within_bounded_memory(tmp_path: Path) -> None:
    import subprocess

    Image.fromarray(np.zeros((7_000, 7_000), np.float32)).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    code = (
        "import resource, sys; from marnet.data.images import read_image;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; read_image(sys.argv[1]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.tif"], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 14 * 49_000_000  # 4 bytes per pixel for the values, 1 for grey, 4 for RGB


def test_in_proc_a_file_may_say_that_it_is_empty(tmp_path: Path) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("there is no /proc")
    assert read_bytes("/proc/self/status")
    with pytest.raises(ImageError, match="no known format begins with"):
        read_image("/proc/self/status")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("file:///a/red%20mug.jpg", "is an address. Write the path alone: /a/red mug.jpg"),
        ("red%20mug.jpg", "There is a file 'red mug.jpg': write names as they are, not as in addresses."),
        ("RED MUG.JPG", "There is a file 'red mug.jpg': small and capital letters differ here."),
        ("red mug", "There is a file with '.jpg' at the end"),
        ("s3://bucket/a.jpg", "is an address, but images are read from files."),
        ("blue.jpg", "does not exist. Check the path."),
    ],
)
def test_a_missing_file_names_the_one_that_is_meant(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "red mug.jpg").write_bytes(b"")
    image = name if "://" in name else str(tmp_path / name)
    assert sentence in missing_reason(image)
