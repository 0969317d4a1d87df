"""What guides the reconstruction: the image's features, or a linear prediction of the semantics."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.modules.guide import ImageGuide

X_V = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def trained(kind: str, *, noise: float) -> ImageGuide:
    guide = ImageGuide(kind, 6, 4, noise=noise)
    torch.manual_seed(1)
    for parameter in guide.parameters():
        torch.nn.init.normal_(parameter)
    return guide


def test_a_linear_prediction_is_linear_and_starts_at_zero() -> None:
    assert torch.equal(ImageGuide("linear", 6, 4, noise=0.5).eval()(X_V), torch.zeros(5, 4))
    guide = trained("linear", noise=0.5)
    assert guide.width == 4
    by_hand = torch.tensor([[(w @ x + b).item() for w, b in zip(*guide.parameters(), strict=True)] for x in X_V])
    torch.testing.assert_close(guide(X_V), by_hand)


def test_features_are_their_layer_norm() -> None:
    guide = ImageGuide("features", 6, 4, noise=0.5)
    assert guide.width == 6
    torch.testing.assert_close(guide(X_V), functional.layer_norm(X_V, (6,)))
    assert guide.for_training(X_V).linear_prediction is None


@pytest.mark.parametrize("kind", ["linear", "features"])
def test_noise_has_the_given_spread_in_training_alone(kind: str) -> None:
    guide = trained(kind, noise=0.5).train()
    x_v = X_V[:1].expand(4000, 6)
    noise = guide.for_training(x_v).condition - guide(x_v)
    assert float(noise.std().detach()) == pytest.approx(0.5, rel=0.03)
    assert float(noise.mean().detach()) == pytest.approx(0.0, abs=0.02)
    assert torch.equal(guide.eval().for_training(X_V).condition, guide(X_V))
    assert torch.equal(trained(kind, noise=0.0).train().for_training(X_V).condition, guide(X_V))


def test_only_the_linear_prediction_itself_learns_in_training() -> None:
    def learns(tensor: Tensor) -> bool:
        return tensor.requires_grad

    condition, linear = trained("linear", noise=0.5).for_training(X_V)
    assert (learns(condition), learns(linear)) == (False, True)
    assert learns(trained("features", noise=0.5).for_training(X_V).condition)
    assert learns(trained("linear", noise=0.5)(X_V))  # at prediction, what is asked of x_CDR reaches it


def test_an_unknown_guide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"guide is 'image', but it must be one of linear, features\."):
        ImageGuide("image", 6, 4, noise=0.0)
