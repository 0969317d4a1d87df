"""One way from any form of an image to upright 8-bit RGB.

An image is a path, the bytes of an image file, a Pillow image, a numpy array or a torch tensor. All forms of one image
give equal pixels.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, Union

import numpy as np
from PIL import Image, ImageFile

from marnet.data.formats import check_loadable, open_picture
from marnet.data.image_bytes import MAX_BYTES, UnreadableError, read_bytes
from marnet.data.images import MAX_PIXELS, check_pixels, decode_bytes, to_rgb, without_pillow_limit
from marnet.errors import ImageError

if TYPE_CHECKING:  # an exported model predicts without torch
    from torch import Tensor

ImageLike = Union[str, os.PathLike[str], bytes, bytearray, memoryview, Image.Image, np.ndarray, "Tensor"]
_FORMS = (
    "a path, the bytes of an image file, a Pillow image, a uint8 array (H, W), (H, W, 3) or (H, W, 4), or a uint8 "
    "tensor (3, H, W)"
)


def decode(
    image: ImageLike, *, max_pixels: int = MAX_PIXELS, min_side: int | None = None, name: str | None = None
) -> Image.Image:
    """Decode an image in any form as upright 8-bit RGB.

    A Pillow image that was opened and not yet loaded is read again from its file, so that it gives the pixels that its
    path gives; the image itself is left as it is.

    Args:
        image: a path, the bytes of an image file, a Pillow image, a uint8 array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`,
            or a uint8 tensor `(3, H, W)`.
        max_pixels: refuse an image with more, where possible before it is decoded.
        min_side: both sides may come out smaller than in the image, but not below twice this; see `read_image`.
        name: of the image, at the beginning of messages; None is its path, or "The image".

    Raises:
        ImageError: the image cannot be read, is too large, or has another form.

    Example:
        >>> decode(np.zeros((2, 3), np.uint8)).size
        (3, 2)
    """
    try:
        if isinstance(image, Image.Image):
            return _decode_pillow(image, max_pixels, min_side)
        if isinstance(image, np.ndarray):
            return _decode_array(image, max_pixels)
        if _is_tensor(image):
            return _decode_tensor(image, max_pixels)
        return decode_bytes(_content(image), max_pixels=max_pixels, min_side=min_side)
    except UnreadableError as error:
        path = f"Image {os.fspath(image)}" if isinstance(image, str | os.PathLike) else "The image"
        raise ImageError(f"{name or path} {error}") from None


def list_images(images: Any) -> list[Any] | None:
    """Return several images as a list; None where `images` is one image.

    A list, a tuple, an array `(N, H, W, C)`, a tensor `(N, 3, H, W)` and whatever else can be iterated over are
    several.

    Raises:
        ImageError: `images` is neither one image nor several.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return None
    if _is_tensor(images):
        return None if images.ndim <= 3 else list(images)
    if isinstance(images, np.ndarray):
        return None if images.dtype.kind not in "OSU" and images.ndim <= 3 else list(images)
    if isinstance(images, Iterable) and not isinstance(images, Mapping):
        return list(images)
    raise ImageError(f"The image is of the type {type(images).__name__}. Expected {_FORMS}; or several in a list.")


def image_name(image: Any, position: int) -> str:
    """Return the name of an image for a list of results: its path where it has one, else "image 3" by position."""
    if isinstance(image, str | os.PathLike):
        return str(image)
    name = os.fsdecode(image.filename) if isinstance(image, ImageFile.ImageFile) and image.filename else ""
    return name or f"image {position}"


def encoded_content(picture: Image.Image) -> bytes | None:
    """Return the bytes of the file from which a Pillow image was opened; None where it is loaded or has no such file.

    The image stays as it is, unloaded and its file at the same position.
    """
    if not (
        isinstance(picture, ImageFile.ImageFile) and picture.tile and picture.fp is not None and not picture.tell()
    ):
        return None
    try:
        position = picture.fp.tell()
        picture.fp.seek(0)
        content = picture.fp.read(MAX_BYTES + 1)
        picture.fp.seek(position)
        with without_pillow_limit(), open_picture(content) as again:
            same = (again.size, again.mode) == (picture.size, picture.mode)  # not after a `draft` of the caller's
    except Exception:  # a file that is closed or damaged is met again when the picture is loaded
        return None
    return content if same and len(content) <= MAX_BYTES else None


def _content(image: object) -> bytes:
    if isinstance(image, str | os.PathLike):
        return read_bytes(os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        if not len(image):
            raise UnreadableError("is empty (0 bytes). Replace it by a whole copy.")
        return bytes(image)
    raise UnreadableError(f"is of the type {type(image).__name__}. Expected {_FORMS}.")


def _decode_pillow(picture: Image.Image, max_pixels: int, min_side: int | None) -> Image.Image:
    check_pixels(picture.size, max_pixels)
    if isinstance(picture, ImageFile.ImageFile) and picture.tile:  # not loaded yet
        check_loadable(picture)
    content = encoded_content(picture)
    if content is not None:
        return decode_bytes(content, max_pixels=max_pixels, min_side=min_side)
    try:
        return to_rgb(picture)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
        raise UnreadableError(f"is cut short or damaged ({error}). Replace it by a whole copy.") from None


def _decode_array(pixels: np.ndarray, max_pixels: int) -> Image.Image:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise UnreadableError(
            f"is an array {shape} of {pixels.dtype}. Expected uint8 of the shape (H, W), (H, W, 3) or (H, W, 4)."
        )
    check_pixels((shape[1], shape[0]), max_pixels)
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _is_tensor(image: object) -> "TypeGuard[Tensor]":
    """Return whether an image is a tensor, which nobody has who has not imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _decode_tensor(pixels: "Tensor", max_pixels: int) -> Image.Image:
    shape = tuple(pixels.shape)
    if str(pixels.dtype) != "torch.uint8" or len(shape) != 3 or shape[0] != 3:
        raise UnreadableError(f"is a tensor {shape} of {pixels.dtype}. Expected torch.uint8 of the shape (3, H, W).")
    return _decode_array(pixels.detach().cpu().permute(1, 2, 0).numpy(), max_pixels)
