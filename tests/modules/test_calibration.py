"""The line on the odds of the most probable class changes confidences, and nothing else."""

import pytest
import torch

from marnet.modules.calibration import Calibration, calibrate_top, top_log_odds

LOGITS = 4 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))


def test_the_odds_are_those_of_the_probabilities() -> None:
    top = LOGITS.double().softmax(-1).amax(-1)
    odds, shifted = top_log_odds(LOGITS.double())
    torch.testing.assert_close(odds[:, 0], torch.logit(top))
    torch.testing.assert_close(shifted.softmax(-1), LOGITS.double().softmax(-1))


def test_the_most_probable_class_gets_its_new_odds_and_the_others_share_the_rest_as_before() -> None:
    before, after = LOGITS.softmax(-1), calibrate_top(LOGITS, 0.9, 0.2).softmax(-1)
    top = before.argmax(-1, keepdim=True)
    wanted = torch.sigmoid(0.9 * torch.logit(before.double().gather(-1, top)) + 0.2).float()
    second = before.topk(2).values[:, 1:]
    free = (wanted > second / (1 - before.gather(-1, top) + second) + 1e-3)[:, 0]  # not held above the second
    assert int(free.sum()) > 150
    torch.testing.assert_close(after.gather(-1, top)[free], wanted[free])
    others = before.scatter(-1, top, 0), after.scatter(-1, top, 0)
    torch.testing.assert_close(*(each / each.sum(-1, keepdim=True) for each in others))


@pytest.mark.parametrize("line", [(1.0, 0.0), (0.05, -3.0), (5.0, -20.0), (0.3, 4.0)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_the_most_probable_class_stays_so(line: tuple[float, float], scale: float) -> None:
    calibrated = calibrate_top(scale * LOGITS, *line)
    assert calibrated.isfinite().all()
    assert calibrated.argmax(-1).equal(LOGITS.argmax(-1))


def test_a_line_that_changes_nothing_and_a_single_class_leave_the_probabilities() -> None:
    torch.testing.assert_close(calibrate_top(LOGITS, 1.0, 0.0).softmax(-1), LOGITS.softmax(-1), atol=1e-4, rtol=0)
    alone = Calibration().eval()
    alone.top_odds.copy_(torch.tensor([0.5, 1.0]))
    assert alone(LOGITS[:, :1], LOGITS).equal(LOGITS[:, :1])
