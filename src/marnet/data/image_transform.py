"""From an image in any form to the input of a model."""

from torch import Tensor

from marnet.data.decoding import ImageLike, decode
from marnet.data.image_spec import ImageSpec, cache_size
from marnet.data.images import MAX_PIXELS
from marnet.data.squares import fit_square
from marnet.data.transforms import eval_transform, normalise


class ImageTransform:
    """Turns one image in any form into the input of a model; see `decode` for the forms.

    Args:
        spec: the input of the model.
        max_pixels: refuse an image with more.
    """

    def __init__(self, spec: ImageSpec, *, max_pixels: int = MAX_PIXELS) -> None:
        self.spec = spec
        self.max_pixels = max_pixels

    def __call__(self, image: ImageLike) -> Tensor:
        """Return the normalised input `(3, S, S)` float32.

        Raises:
            ImageError: see `decode`.
        """
        return normalise(self.pixels(image)[None], self.spec)[0]

    def pixels(self, image: ImageLike, *, name: str | None = None) -> Tensor:
        """Return the input before normalisation, `(3, S, S)` uint8; `name` is for messages.

        Raises:
            ImageError: see `decode`.
        """
        size = cache_size(self.spec)
        picture = decode(image, max_pixels=self.max_pixels, min_side=size, name=name)
        return eval_transform(self.spec)(fit_square(picture, size, interpolation=self.spec.interpolation))
