"""The table of corruptions and its groups; corruptions from outside the package."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from marnet.errors import ConfigError
from marnet.evaluation.corruptions import CORRUPTIONS, HELD_OUT, OURS, STANDARD, corrupt, find_corruption, random_stream
from marnet.evaluation.corruptions.registry import REGISTERED


@pytest.fixture(autouse=True)
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of corruptions of a user's own, importable as `tiny_weather`."""
    (tmp_path / "tiny_weather.py").write_text(
        "import numpy as np\n"
        "def hail(pixels, severity, stream):\n"
        "    return np.where(stream.random(pixels.shape[1:]) < 0.1 * severity, 1.5, pixels)\n"
        "def two(pixels, severity):\n"
        "    return pixels\n"
        "def small(pixels, severity, stream):\n"
        "    return pixels[:, 1:]\n"
        "def bytes_(pixels, severity, stream):\n"
        "    return (pixels * 255).astype(np.uint8)\n"
        "def broken(pixels, severity, stream):\n"
        "    return pixels * np.float32('nan')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("tiny_weather", None)


def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def refusal(name: str) -> str:
    with pytest.raises(ConfigError) as refused:
        corrupt(images(), name, 1, [0, 1, 2])
    return str(refused.value)


def test_every_corruption_is_in_one_group_and_has_one_name() -> None:
    assert sorted(CORRUPTIONS) == sorted(corruption.name for corruption in REGISTERED)
    assert len(set(CORRUPTIONS)) == len(CORRUPTIONS) == len(STANDARD) + len(HELD_OUT) + len(OURS)
    for corruption in REGISTERED:
        assert find_corruption(corruption.name) is corruption
        assert corruption.apply.__doc__


def test_a_corruption_from_outside_gets_pixels_severity_and_its_own_stream() -> None:
    name = "module:tiny_weather.hail"
    assert find_corruption(name).group == "other"
    for severity in (1, 5):
        found = corrupt(images(), name, severity, [4, 5, 4])
        for row, seed in enumerate((4, 5, 4)):
            hit = random_stream(name, severity, seed).random((24, 24)) < 0.1 * severity
            expected = np.where(hit, 255, images()[row].numpy())
            assert (found[row].numpy() == expected).all()


def test_what_is_wrong_with_a_corruption_from_outside_is_said() -> None:
    assert refusal("module:tiny_weather") == (
        "The corruption module:tiny_weather is not an import path. Expected module:PACKAGE.NAME, such as "
        "module:nets.make."
    )
    assert "Did you mean 'hail'?" in refusal("module:tiny_weather.hial")
    assert "PYTHONPATH=." in refusal("module:no_such_package.rain")
    assert refusal("module:tiny_weather.number").startswith(
        "The corruption module:tiny_weather.number is a int. Expect"
    )
    assert "two cannot be called with three arguments (too many positional arguments). Expected a function of an" in (
        refusal("module:tiny_weather.two")
    )
    assert "returned float32 of shape (3, 23, 24) for float32 of shape (3, 24, 24). Return floats" in (
        refusal("module:tiny_weather.small")
    )
    assert "returned uint8 of shape (3, 24, 24)" in refusal("module:tiny_weather.bytes_")
    assert "returned NaN or infinite values" in refusal("module:tiny_weather.broken")
