"""The limit on what text asks of the backbone."""

import pytest
import torch

from marnet.modules.shared_features import share_features


@pytest.mark.parametrize(("limit", "scale"), [(0.0, 0.0), (0.5, 0.25), (2.0, 1.0), (10.0, 1.0)])
def test_the_gradient_of_the_second_copy_is_scaled_down_to_the_limit(limit: float, scale: float) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    first, second = torch.randn(4, 3), torch.randn(4, 3)
    second *= 2 * first.norm() / second.norm()  # twice as large
    head, text = share_features(x, limit)
    torch.autograd.backward([head, text], [first, second])
    torch.testing.assert_close(x.grad, first + scale * second)


def test_a_copy_that_nobody_reads_and_a_gradient_of_zero_do_no_harm() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    head, _ = share_features(x, 1.0)
    head.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1], [1, 1]]
    head, text = share_features(x, 1.0)
    (0 * head + 0 * text).sum().backward()
    assert bool(torch.isfinite(x.grad).all())


def test_without_a_limit_both_copies_are_the_tensor_itself() -> None:
    x = torch.randn(2, 2)
    head, text = share_features(x, None)
    assert head is x
    assert text is x
