"""Classes that a trained classifier learns afterwards, from a description or a few images, without training."""

import torch
from torch import Tensor, nn

from marnet.modules.class_means import unit_coordinates


class NewClasses(nn.Module):
    """Append K classes to the C that a model was trained for; its own logits stay as they are, to the last bit.

    Every class, trained or new, is a direction in a space of image features, and an image is as near to it as their
    cosine s says. The odds of new class k against all trained ones are exp(scale_k s_k + bias_k) over the sum of
    exp(scale_k s_c) over the trained classes c; how the trained ones share the rest is left to the model. So the logit
    of k is the logarithm of these odds, plus the logarithm of the sum of the exponentials of the model's logits.

    `marnet.inference.class_means.space` makes the space and the directions, `marnet.semantic.classes.balance` the
    scales and biases.

    Args:
        centre: `(D_v,)`, subtracted from image features.
        projection: `(D_v, r)`, from there into the space.
        trained: unit vectors of the trained classes, `(C, r)`.
        new: unit vectors of the new classes, `(K, r)`.
        scale: `(K,)`, above 0.
        bias: `(K,)`.

    Example:
        >>> import torch
        >>> axes = torch.eye(2)
        >>> added = NewClasses(torch.zeros(2), axes, axes[:1], axes[1:], torch.tensor([5.0]), torch.tensor([0.0]))
        >>> added(torch.tensor([[2.0]]), torch.tensor([[0.0, 3.0]])).tolist()  # wholly like the new class
        [[2.0, 7.0]]
    """

    centre: Tensor
    projection: Tensor
    trained: Tensor
    new: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(  # noqa: PLR0917 - one tensor per name in the file of a run
        self, centre: Tensor, projection: Tensor, trained: Tensor, new: Tensor, scale: Tensor, bias: Tensor
    ) -> None:
        super().__init__()
        # Not among the weights of the model: a run has them in a file of their own.
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("trained", trained, persistent=False)
        self.register_buffer("new", new, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return logits `(B, C + K)` of the model's logits `(B, C)` and image features `(B, D_v)`."""
        x = unit_coordinates(x_v, self.centre, self.projection)
        ahead = self.scale * (x @ self.new.T) + self.bias  # (B, K)
        against = (self.scale[:, None, None] * (x @ self.trained.T)).logsumexp(-1).T  # (K, B, C) -> (B, K)
        added = logits.logsumexp(-1, keepdim=True) + (ahead - against).to(logits.dtype)
        return torch.cat([logits, added], dim=-1)

    def without(self, position: int) -> "NewClasses":
        """Return the same classes but one; the others are as probable against the trained ones as before."""
        kept = [row for row in range(len(self.new)) if row != position]
        return NewClasses(self.centre, self.projection, self.trained, self.new[kept], self.scale[kept], self.bias[kept])
