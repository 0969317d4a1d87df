"""CDR as a part: the semantics of the text are reconstructed from the image."""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from marnet.losses import reconstruction_loss
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction, ReconstructionOutput
from marnet.outputs import RECONSTRUCTION
from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep

if TYPE_CHECKING:
    from marnet.config import Config


class Reconstruction(Part):
    """The cross-modal diffusion reconstruction (equations 7 to 11, 13)."""

    name = RECONSTRUCTION
    settings = ("reconstruction.", "losses.reconstruction", "losses.linear_head", "losses.semantic")
    terms = ("semantic", "reconstruction", "linear_head")
    branch_term = "semantic"  # L_sem of equation 11

    def needs_semantics(self, config: "Config") -> bool:
        """Return True: x_0 is the variable that is reconstructed."""
        return True

    def build(self, scene: Scene) -> BuiltPart:
        """Build the module, all of which predicts."""
        return BuiltPart(self, branch=self.build_branch(scene))

    def build_branch(self, scene: Scene) -> nn.Module:
        """Build CDR from the settings."""
        section = scene.config.reconstruction
        return CrossModalDiffusionReconstruction(
            scene.visual_width,
            scene.semantics_width,
            guide=section.guide,
            hidden=section.width,
            depth=section.depth,
            timesteps=section.timesteps,
            schedule=section.schedule,
            prediction=section.prediction,
            sampler=section.sampler,
            steps=section.steps,
            guidance_scale=section.guidance_scale,
            condition_dropout=section.condition_dropout,
            condition_noise=section.condition_noise,
            correction=section.correction,
        )

    def learn(self, model: ModelParts, step: TrainingStep) -> ReconstructionOutput:
        """Return the denoiser's output and its target, `(M, d_0)` each."""
        branch: Any = model.branches[self.name]
        found: ReconstructionOutput = branch(step.x_v(), step.x_0, t=step.diffusion_times, noise=step.diffusion_noise)
        return found

    def losses(self, learned: ReconstructionOutput, targets: Targets) -> dict[str, Tensor]:
        """Return the mean squared errors of the denoiser (equation 9) and of the linear head (13)."""
        terms = {"reconstruction": reconstruction_loss(learned.prediction, learned.target)}
        if learned.linear_prediction is not None:
            terms["linear_head"] = reconstruction_loss(learned.linear_prediction, learned.x0)
        return terms
