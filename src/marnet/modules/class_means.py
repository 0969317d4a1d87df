"""Means of the classes among image features, as a second opinion beside a head that has seen few images of some."""

from torch import Tensor, nn
from torch.nn import functional


def unit_coordinates(x_v: Tensor, centre: Tensor, projection: Tensor) -> Tensor:
    """Return image features `(B, D_v)` in a space of classes, as unit vectors `(B, r)`.

    Args:
        x_v: `(B, D_v)`.
        centre: `(D_v,)`, subtracted from them.
        projection: `(D_v, r)`, from there into the space.
    """
    return functional.normalize((x_v.to(centre.dtype) - centre) @ projection, dim=-1)


class ClassMeans(nn.Module):
    """Add to the logit of class c: weight * s_c + rarity * r_c.

    s_c is the cosine of an image with the mean of the class in a space of image features, r_c = -log(n_c / N) is high
    for a class with few of the N training rows. Weight and rarity are 0, which changes nothing, until
    `marnet.inference.calibration` fits them on held-out rows. `marnet.inference.class_means` makes the space.

    Args:
        centre: `(D_v,)`, subtracted from image features.
        projection: `(D_v, r)`, from there into the space.
        means: of the classes, as unit vectors `(C, r)`.
        rare: `(C,)`, r.

    Example:
        >>> import torch
        >>> means = ClassMeans(torch.zeros(2), torch.eye(2), torch.eye(2), torch.tensor([0.5, 1.0]))
        >>> means.cosines(torch.tensor([[3.0, 0.0]])).tolist()
        [[1.0, 0.0]]
        >>> means.weight, means.rarity = 10.0, 1.0
        >>> means(torch.zeros(1, 2), torch.tensor([[3.0, 0.0]])).tolist()
        [[10.5, 1.0]]
    """

    centre: Tensor
    projection: Tensor
    means: Tensor
    rare: Tensor

    def __init__(self, centre: Tensor, projection: Tensor, means: Tensor, rare: Tensor) -> None:
        super().__init__()
        # Not among the weights of the model: a run has them in a file of their own.
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("rare", rare, persistent=False)
        self.weight = 0.0
        self.rarity = 0.0

    def cosines(self, x_v: Tensor) -> Tensor:
        """Return s `(B, C)` of image features `(B, D_v)`, on their device."""
        found = unit_coordinates(x_v.to(self.centre.device), self.centre, self.projection) @ self.means.T
        return found.to(x_v.device)

    def forward(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return logits `(B, C)` of the model's logits `(B, C)` and image features `(B, D_v)`."""
        return logits + (self.weight * self.cosines(x_v) + self.rarity * self.rare.to(x_v.device)).to(logits)
