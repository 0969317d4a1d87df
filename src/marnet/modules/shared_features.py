"""Image features for two readers, of whom the second may pull at the backbone no harder than the first allows."""

from typing import Any

import torch
from torch import Tensor


class _Shared(torch.autograd.Function):
    """Two copies of one tensor; the gradient of the second is scaled down if it is too large."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        ctx.limit = limit
        return features.view_as(features), features.view_as(features)

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> tuple[Tensor, None]:
        largest = ctx.limit * first.norm()
        scale = (largest / second.norm().clamp(min=torch.finfo(second.dtype).tiny)).clamp(max=1.0)
        return first + scale * second, None


def share_features(features: Tensor, limit: float | None) -> tuple[Tensor, Tensor]:
    """Return image features for the head on x_v, and the same for everything that learns from text.

    In the backward pass, the norm of the gradient that the second copy sends back is at most `limit` times that of the
    first, over the whole batch. So text never outweighs the classes, whatever the weights of its losses.

    Args:
        features: `(B, D_v)`.
        limit: 0 or more; None: no limit.

    Example:
        >>> x = torch.zeros(1, 2, requires_grad=True)
        >>> head, text = share_features(x, 0.5)
        >>> (head[0, 0] + 100 * text[0, 1]).backward()
        >>> x.grad.tolist()
        [[1.0, 0.5]]
    """
    if limit is None:
        return features, features
    first, second = _Shared.apply(features, limit)
    return first, second
