"""Late fusion: what it reads with text and without, and which rows lose theirs."""

import pytest
import torch
from torch import Tensor, nn

from marnet.modules.late_fusion import LateFusion, LateFusionOutput, LateFusionText

X_V = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
X_S = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
ROWS = torch.tensor([0, 2, 3, 5, 7])
WITHOUT = [1, 4, 6]


class Both(nn.Module):
    """The fusion that predicts and the text network of training."""

    def __init__(self, text_dropout: float) -> None:
        super().__init__()
        self.text = LateFusionText(4, 3, width=10, text_dropout=text_dropout)
        self.fusion = LateFusion([6], 3, width=10)

    def forward(self, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        return self.fusion(features, logits)

    def with_text(self, features: list[Tensor], x_s: Tensor, rows: Tensor) -> LateFusionOutput:
        return self.text(self.fusion, features, x_s, rows)


def make(text_dropout: float = 0.0) -> Both:
    torch.manual_seed(2)
    module = Both(text_dropout)
    torch.nn.init.normal_(module.fusion.no_text)
    return module


def test_rows_without_text_are_scored_as_at_prediction() -> None:
    module = make().train()
    found, blank = module.with_text([X_V], X_S, ROWS), module([X_V], [])
    assert found.logits.shape == blank.shape == (8, 3)
    assert found.text_logits.shape == (5, 3)
    torch.testing.assert_close(found.logits[WITHOUT], blank[WITHOUT])
    assert ((found.logits[ROWS] - blank[ROWS]).abs().sum(1) > 1e-3).all()


def test_text_reaches_its_own_row_alone() -> None:
    module = make().eval()
    other = X_S.clone()
    other[1] += 1.0
    changed = (module.with_text([X_V], other, ROWS).logits - module.with_text([X_V], X_S, ROWS).logits).abs().sum(1)
    assert changed.nonzero().flatten().tolist() == [2]  # the row of the second text


def test_the_share_of_texts_is_dropped_in_training_alone() -> None:
    module = make(0.3).train()
    x_v, x_s, rows = X_V[:1].expand(4000, 6), X_S[:1].expand(4000, 4), torch.arange(4000)
    torch.manual_seed(0)
    logits, blank = module.with_text([x_v], x_s, rows).logits, module([x_v], [])
    dropped = (logits - blank).abs().sum(1) < 1e-6
    assert float(dropped.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert not ((module.eval().with_text([x_v], x_s, rows).logits - blank).abs().sum(1) < 1e-6).any()


def test_a_batch_without_text_teaches_what_it_can() -> None:
    module = make(0.5).train()
    found = module.with_text([X_V], torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    torch.testing.assert_close(found.logits, module([X_V], []))
    (found.logits.sum() + found.text_logits.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def test_several_branches_are_read() -> None:
    module = LateFusion([6, 2], 3, width=10).eval()
    extra = torch.randn(8, 2)
    assert not torch.allclose(module([X_V, extra], []), module([X_V, extra + torch.tensor([1.0, -1.0])], []))
