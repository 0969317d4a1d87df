"""`regress`: a plain regression of the semantics in place of CDR; the honest baseline for the diffusion."""

import torch
from torch import nn

from marnet.methods.method import Method
from marnet.methods.parts.fusion import Fusion
from marnet.methods.parts.reconstruction import Reconstruction
from marnet.methods.parts.text_head import TextHead
from marnet.modules.regression import SemanticRegression, count_parameters, hidden_as_large_as
from marnet.part import Scene


class Regression(Reconstruction):
    """A residual MLP of the size of CDR's denoiser, trained by the same losses."""

    def build_branch(self, scene: Scene) -> nn.Module:
        """Build the MLP with as many weights as CDR would have."""
        section = scene.config.reconstruction
        with torch.device("meta"):  # only its size is wanted
            diffusion = super().build_branch(scene)

        def regression(hidden: int) -> SemanticRegression:
            return SemanticRegression(
                scene.visual_width,
                scene.semantics_width,
                guide=section.guide,
                hidden=hidden,
                depth=section.depth,
                condition_noise=section.condition_noise,
                correction=section.correction,
            )

        return regression(hidden_as_large_as(count_parameters(diffusion), regression))


METHOD = Method(
    name="regress",
    summary="Baseline: an MLP of the same size in CDR's place, without diffusion.",
    parts=(Regression(), Fusion(), TextHead()),
    position=2,
)
