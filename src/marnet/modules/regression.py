"""The plain rival of CDR: a network that maps the image to the text's semantics directly, without any diffusion."""

import math
from bisect import bisect_left

import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.modules.reconstruction import ReconstructionOutput


class SemanticRegression(nn.Module):
    """Regress the semantic embedding on the image features; takes the place of `CrossModalDiffusionReconstruction`.

    The target is CDR's x_0: sqrt(d_0) unit(x_s) minus its mean over the training texts, and in training the normalised
    image features get the same noise. Like CDR it starts as the constant 0. All of it is ours.

    Args:
        visual_width: D_v, the width of the image features.
        semantic_width: d_0 = D_s, the width of the semantics.
        hidden, depth: size of the residual MLP; `hidden_as_large_as` finds the width for a number of parameters.
        condition_noise: standard deviation of the noise on the normalised image features in training.
    """

    centre: Tensor

    def __init__(
        self,
        visual_width: int,
        semantic_width: int,
        *,
        hidden: int = 256,
        depth: int = 2,
        condition_noise: float = 0.1,
    ) -> None:
        super().__init__()
        self.width = semantic_width
        self.condition_noise = condition_noise
        self.normalise = nn.LayerNorm(visual_width)
        self.inlet = nn.Linear(visual_width, hidden)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(depth))
        self.outlet = nn.Linear(hidden, semantic_width)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        self.register_buffer("centre", torch.zeros(semantic_width))

    def fit_centre(self, x_s: Tensor) -> None:
        """Set the centre to the mean of the training texts' semantics, x_s `(N, D_s)`."""
        self.centre.copy_(self._scale(x_s).mean(0))

    def clean(self, x_s: Tensor) -> Tensor:
        """x_0 `(B, d_0)` of text features `(B, D_s)`; no gradient flows to the text encoder, which would collapse."""
        return self._scale(x_s.detach()) - self.centre

    def forward(
        self, x_v: Tensor, x_s: Tensor, *, t: Tensor | None = None, noise: Tensor | None = None
    ) -> ReconstructionOutput:
        """Prediction and target for image features `(B, D_v)` and text features `(B, D_s)`.

        `t` and `noise` belong to diffusion and change nothing here.
        """
        condition: Tensor = self.normalise(x_v)
        if self.training and self.condition_noise:
            condition = condition + self.condition_noise * torch.randn_like(condition)
        x0 = self.clean(x_s)
        return ReconstructionOutput(self._regress(condition), x0, x0)

    def sample(self, x_v: Tensor, noise: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """The predicted semantics `(B, d_0)` of image features `(B, D_v)`; `noise` and `steps` change nothing here."""
        return self._regress(self.normalise(x_v))

    def _regress(self, condition: Tensor) -> Tensor:
        h = self.inlet(condition)
        for block in self.blocks:
            h = block(h)
        return self.outlet(functional.layer_norm(h, h.shape[-1:]))  # type: ignore[no-any-return]

    def _scale(self, x_s: Tensor) -> Tensor:
        return functional.normalize(x_s, dim=-1) * math.sqrt(self.width)


class _Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.mlp(functional.layer_norm(h, h.shape[-1:]))  # type: ignore[no-any-return]


def count_parameters(module: nn.Module) -> int:
    """The number of weights in a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def hidden_as_large_as(parameters: int, visual_width: int, semantic_width: int, *, depth: int) -> int:
    """The hidden width with which a `SemanticRegression` comes nearest to that many parameters."""

    def size(hidden: int) -> int:
        with torch.device("meta"):  # nothing is allocated and no random number is drawn
            return count_parameters(SemanticRegression(visual_width, semantic_width, hidden=hidden, depth=depth))

    above = 1 + bisect_left(range(1, 1 << 16), parameters, key=size)
    return min((max(1, above - 1), above), key=lambda hidden: abs(size(hidden) - parameters))
