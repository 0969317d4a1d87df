"""Answers image by image, and scores of batches: the same numbers as of all images at once."""

import pytest
import torch

from marnet.metrics import mean_average_precision
from marnet.tasks import task_of


def test_answers_of_one_class() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    found = task_of("single", 2).answers(logits, torch.tensor([0, 0]))
    assert (found.labels, found.predictions) == ([0, 0], [0, 1])
    assert found.confidences == pytest.approx([0.880797, 0.731059], abs=1e-6)


def test_answers_of_several_classes() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0], [-3.0, -2.0, -1.0]])
    found = task_of("multi", 3).answers(logits, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert (found.labels, found.predictions) == ([[0, 1], []], [[0, 2], []])
    assert found.confidences[0] == pytest.approx([0.880797, 0.268941, 0.5], abs=1e-6)


def test_scores_of_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(50, 4, generator=generator)
    labels = torch.randint(0, 4, (50,), generator=generator)
    truth = (torch.rand(50, 4, generator=generator) < 0.3).float()
    one, several = task_of("single", 4).tally(), task_of("multi", 4).tally()
    for first in range(0, 50, 8):
        one.add(probabilities[first : first + 8], labels[first : first + 8])
        several.add(probabilities[first : first + 8], truth[first : first + 8])
    assert one.score() == int((probabilities.argmax(1) == labels).sum()) / 50
    assert several.score() == mean_average_precision(probabilities, truth)
