"""Resizing without torch gives the bits of torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from marnet.data.resizing import resize_square


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_bit_is_that_of_torch(interpolation: str) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        side, size = int(generator.integers(1, 400)), int(generator.integers(1, 200))
        pixels = generator.integers(0, 256, (side, side, 3)).astype(np.uint8)
        if number % 3 == 0:  # black and white, where a cubic overshoots
            pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        expected = functional.interpolate(tensor, (size, size), mode=interpolation, antialias=True)
        found = resize_square(pixels, size, interpolation=interpolation)
        np.testing.assert_array_equal(found, expected[0].permute(1, 2, 0).numpy(), err_msg=f"{side} to {size}")
