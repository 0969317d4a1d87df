"""The plain baseline of CDR: a network that maps the image to the text's semantics directly, without diffusion."""

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.choices import Guide
from marnet.modules.guide import ImageGuide
from marnet.modules.reconstruction import ReconstructionOutput


class SemanticRegression(nn.Module):
    """Regress the semantic embedding on the image features; takes the place of `CrossModalDiffusionReconstruction`.

    Target, guide and noise on the condition are CDR's; in place of the denoiser there is a residual MLP, which starts
    as the constant 0. All of it is ours.

    Args:
        visual_width: D_v, the width of the image features.
        width: d_0, the width of x_0.
        guide: as in CDR; the MLP corrects the linear prediction, or maps the features.
        hidden, depth: size of the residual MLP; `hidden_as_large_as` finds the width for a number of parameters.
        condition_noise: standard deviation of the noise on the condition in training.
        correction: as in CDR.

    Raises:
        ValueError: `guide` is unknown.
    """

    def __init__(
        self,
        visual_width: int,
        width: int,
        *,
        guide: Guide = "linear",
        hidden: int = 256,
        depth: int = 2,
        condition_noise: float = 1.0,
        correction: float = 0.25,
    ) -> None:
        super().__init__()
        self.width = width
        self.guide = ImageGuide(guide, visual_width, self.width, noise=condition_noise, correction=correction)
        self.inlet = nn.Linear(self.guide.width, hidden)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(depth))
        self.outlet = nn.Linear(hidden, self.width)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(
        self, x_v: Tensor, x0: Tensor, *, t: Tensor | None = None, noise: Tensor | None = None
    ) -> ReconstructionOutput:
        """Return prediction and target for image features `(B, D_v)` and semantics `(B, d_0)`.

        `t` and `noise` belong to diffusion and change nothing here.
        """
        condition, linear_prediction = self.guide.for_training(x_v)
        return ReconstructionOutput(self._regress(condition), x0, x0, linear_prediction)

    def features(self, x_v: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the predicted semantics `(B, d_0)`; see `sample`."""
        return self.sample(x_v, noise)

    def sample(self, x_v: Tensor, noise: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Return the predicted semantics `(B, d_0)` of image features `(B, D_v)`; the rest has no effect."""
        return self.guide.reconstruct(x_v, self._regress)

    def _regress(self, condition: Tensor) -> Tensor:
        h = self.inlet(condition)
        for block in self.blocks:
            h = block(h)
        output: Tensor = self.outlet(functional.layer_norm(h, h.shape[-1:]))
        return condition + output if self.guide.is_linear else output


class _Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.mlp(functional.layer_norm(h, h.shape[-1:]))  # type: ignore[no-any-return]


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights in a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def hidden_as_large_as(parameters: int, make: Callable[[int], nn.Module]) -> int:
    """Return the hidden width with which `make`, a module by its width, comes nearest to that many parameters."""

    def size(hidden: int) -> int:
        with torch.device("meta"):  # nothing is allocated and no random number is drawn
            return count_parameters(make(hidden))

    above = 1 + bisect_left(range(1, 1 << 16), parameters, key=size)
    return min((max(1, above - 1), above), key=lambda hidden: abs(size(hidden) - parameters))
