"""The words of the text as a second task."""

import math

import pytest
import torch

from marnet.losses import word_loss
from marnet.modules.word_prediction import WordPrediction


def test_targets_are_the_words_that_are_there() -> None:
    module = WordPrediction(6, 3)
    x_s = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, -0.2]])
    found = module(torch.randn(2, 6), x_s)
    assert found.logits.shape == (2, 3)
    assert found.targets.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_the_loss_worked_by_hand() -> None:
    # sigmoid(log 3) = 3/4: a word that is there costs log 4/3, one that is not log 4; sigmoid(0) costs log 2.
    logits = torch.tensor([[math.log(3), math.log(3)], [0.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = (math.log(4 / 3) + math.log(4) + 2 * math.log(2)) / 4
    assert float(word_loss(logits, targets)) == pytest.approx(expected)
    assert float(word_loss(torch.zeros(0, 3), torch.zeros(0, 3))) == 0.0
