"""The placebo for text encoders: what it keeps of the texts, and that nothing else is left."""

from pathlib import Path

import numpy as np
import pytest
import torch

from marnet.encoders.random_text import RandomText, random_unit_vector
from marnet.encoders.text import TextOptions, build_text_encoder, restore_text_encoder
from marnet.errors import EncoderError

TEXTS = ["red, round apple", "", "long blue eel", "green lime", "red, round apple", "red, round apples"]


@pytest.mark.parametrize("inner", ["bow", "tags", "words"])
def test_it_is_as_wide_as_the_encoder_whose_place_it_takes(inner: str) -> None:
    options = TextOptions(dimensions=3)
    placebo = build_text_encoder(f"random:{inner}", TEXTS, options)
    real = build_text_encoder(inner, TEXTS, options)
    assert placebo.width == real.width
    assert placebo(TEXTS).shape == real(TEXTS).shape


def test_equal_texts_stay_equal_in_every_process_and_others_are_unrelated() -> None:
    x_s = build_text_encoder("random:bow", TEXTS)(TEXTS)
    again = RandomText(x_s.shape[1])(TEXTS[::-1])
    torch.testing.assert_close(x_s, again.flip(0))
    assert torch.equal(x_s[0], x_s[4])
    torch.testing.assert_close(x_s.norm(dim=-1), torch.ones(len(TEXTS)))
    # "apple" and "apples" share nearly all their letters and words; their vectors share nothing.
    wide = RandomText(4096)(TEXTS)
    cosines = wide @ wide.T
    others = ~torch.eye(len(TEXTS), dtype=torch.bool)
    others[0, 4] = others[4, 0] = False
    assert cosines[others].abs().max() < 5 / np.sqrt(4096)  # five standard deviations of a random cosine


def test_directions_are_spread_evenly() -> None:
    vectors = np.stack([random_unit_vector(str(number), 8) for number in range(4000)])
    assert np.abs(vectors.mean(0)).max() < 5 * np.sqrt(1 / 8 / 4000)
    assert np.abs((vectors**2).mean(0) - 1 / 8).max() < 0.01


def test_it_comes_back_from_its_description(tmp_path: Path) -> None:
    encoder = build_text_encoder("random:bow", TEXTS, TextOptions(dimensions=3))
    settings = encoder.settings()
    assert settings == {"kind": "random", "width": 3}
    assert torch.equal(restore_text_encoder(settings, {}, tmp_path, cache=None)(TEXTS), encoder(TEXTS))


def test_names_that_make_no_placebo_are_refused() -> None:
    with pytest.raises(
        EncoderError, match=r"Text encoder 'random' names no encoder after the prefix\. Expected random:NAME"
    ):
        build_text_encoder("random", TEXTS)
    with pytest.raises(EncoderError, match=r"Text encoder 'bwo' is not known\. .* Did you mean 'bow'"):
        build_text_encoder("random:bwo", TEXTS)
    with pytest.raises(EncoderError, match=r"'random:bow' gives fixed vectors, .*\. Set `text\.trainable=false`"):
        build_text_encoder("random:bow", TEXTS, TextOptions(trainable=True))
