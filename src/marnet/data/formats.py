"""The formats of image files that are read, and the names of those that are not."""

import io
import struct
from typing import IO

from PIL import Image, Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401 (importing them adds formats)

from marnet.data.image_bytes import UnreadableError

# Pillow knows many more. Some start other programs (EPS), others hold no pixels; images come from strangers.
READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PPM"
_LOADED = (*READ, "MPO", "DIB")  # formats of Pillow images that may be loaded; JPEGs with several frames are MPO
_HEAD = 4096  # bytes by which a file is told
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # metadata that Pillow limits in size
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What files that are no photo begin with.
_KNOWN = (
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"gimp xcf", "a GIMP document"),
    (b"SIMPLE  =", "FITS"),
    (b"\x93NUMPY", "a numpy array"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, which stands for a file that was not downloaded"),
)


def open_picture(content: bytes | IO[bytes]) -> Image.Image:
    """Open the bytes, or the stream, of an image file of one of the formats `READ`; nothing is decoded yet.

    Raises:
        UnreadableError: the bytes are of no such format; one that is known is named.
        Exception: whatever Pillow raises for damaged bytes.
    """
    Image.preinit()
    if "AVIF" not in Image.OPEN:
        from PIL import AvifImagePlugin  # noqa: F401 (importing it adds the format, where Pillow has it)
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        return Image.open(stream, formats=[name for name in READ if name in Image.OPEN])
    except UnidentifiedImageError:
        stream.seek(0)
        raise UnreadableError(_describe(stream.read(_HEAD))) from None


def check_loadable(picture: Image.Image) -> None:
    """Refuse a Pillow image that was opened and whose decoder would be none of those that are used here.

    Raises:
        UnreadableError: it is of another format.
    """
    if picture.format is not None and picture.format not in _LOADED:
        raise UnreadableError(f"is {picture.format}, which is not read. Convert it to RGB first, or save it as PNG.")


def without_metadata(content: bytes) -> bytes | None:
    """Return a PNG without its texts and colour profile, whose size is limited by Pillow; None where nothing changes.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (2, 2)).save(file, "PNG")
        >>> without_metadata(file.getvalue()) is None
        True
    """
    if not content.startswith(_PNG):
        return None
    kept, at, left_out = [_PNG], len(_PNG), False
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind in _PNG_TEXTS:
            left_out = True
        else:
            kept.append(content[at : at + size + 12])
        at += size + 12  # length, kind and checksum
    return b"".join(kept) if left_out else None


def _describe(content: bytes) -> str:
    """Return what bytes are that cannot be opened, worded to follow a path."""
    way_out = f"Save it as {NAMES}."
    if content[4:8] == b"ftyp":
        return _describe_boxes(content[8:12], way_out)
    for start, name in _KNOWN:
        if content.startswith(start):
            return f"is {name}, which is not read. {way_out}"
    head = content[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not an image: the download seems to have failed. Download it again."
    if head.startswith(b"<svg") or (head.startswith(b"<?xml") and b"<svg" in content):
        return f"is SVG, a drawing without pixels. {way_out}"
    return f"is not an image: no known format begins with {content[:12]!r}. Replace it by an image file."


def _describe_boxes(brand: bytes, way_out: str) -> str:
    """Return what a file in the container of MP4 is, by the brand that its first box names."""
    if brand in _HEIF_BRANDS:
        return f"is HEIC, which is not read. {way_out} Phones have a setting that takes photos as JPEG."
    if brand in (b"avif", b"avis"):
        return "is AVIF, which the installed Pillow cannot read. Save it as JPEG or PNG, or update Pillow."
    return "is a video, not an image. Replace it by an image file, such as one of its frames."
