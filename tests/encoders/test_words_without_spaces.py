"""Texts in scripts without spaces between words."""

import logging

import pytest
import torch

from marnet.encoders.words import WordEncoder, fit_word_encoder, split_words

CHINESE = ["红苹果", "青苹果和盘子", "叶子", "一个 red 苹果"]


def test_pairs_of_characters_stand_for_words() -> None:
    assert split_words("A fresh 红苹果, x!") == ["fresh", "红苹", "苹果"]
    assert split_words("梨 แมว りんご") == ["梨", "แม", "มว", "りん", "んご"]
    assert split_words("사과 crème brûlée") == ["사과", "crème", "brûlée"]


@pytest.mark.parametrize("kind", ["bow", "words"])
def test_they_are_the_vocabulary_and_noted(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "marnet"):
        encoder = fit_word_encoder(kind, CHINESE)
    assert {"苹果", "红苹", "叶子", "red"} <= set(encoder.vocabulary)
    assert max(map(len, encoder.vocabulary)) == 3
    assert "a script without spaces" in caplog.text
    again = WordEncoder.restore(encoder.settings(), encoder.state_dict(), None, cache=None)
    assert torch.equal(again(["大苹果"]), encoder(["大苹果"]))
    assert encoder(["大苹果"]).abs().sum() > 0


def test_a_foreign_name_among_many_texts_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"a red apple number{number}" for number in range(40)]
    with caplog.at_level(logging.INFO, "marnet"):
        encoder = fit_word_encoder("words", [*texts, "called 红苹果"])
    assert encoder.settings().keys() == {"kind", "vocabulary"}
    assert "红苹果" in encoder.vocabulary
    assert not caplog.text
