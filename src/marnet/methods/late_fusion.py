"""`late-fusion`: one network reads image and text features; a stand-in replaces the text at prediction."""

from typing import Any

from torch import Tensor

from marnet.config import Config
from marnet.methods.method import Method
from marnet.modules.late_fusion import LateFusion, LateFusionOutput, LateFusionText
from marnet.outputs import VISUAL
from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep


class TextFusion(Part):
    """A fusion with the text in training, and with a learned stand-in for it at prediction."""

    name = "late_fusion"
    settings = ("late_fusion.", "losses.text")
    terms = ("visual", "text")

    def build(self, scene: Scene) -> BuiltPart:
        """Build the network for the text, then the fusion."""
        section = scene.config.late_fusion
        widths = {VISUAL: scene.visual_width} | scene.branch_widths
        training = LateFusionText(
            scene.text_width, scene.num_classes, width=section.width, text_dropout=section.text_dropout
        )
        fusion = LateFusion(list(widths.values()), scene.num_classes, width=section.width)
        return BuiltPart(self, fusion=fusion, training=training)

    def learn(self, model: ModelParts, step: TrainingStep) -> LateFusionOutput:
        """Return logits of image and text together `(B, C)`, and of the text alone `(M, C)`."""
        text: Any = model.training_part(self.name)
        found: LateFusionOutput = text(model.fusion, list(step.prediction.features.values()), step.x_s, step.rows)
        return found

    def logits(self, learned: LateFusionOutput) -> Tensor:
        """Return the logits with the text at hand: they are trained, not those with the stand-in."""
        return learned.logits

    def losses(self, learned: LateFusionOutput, targets: Targets) -> dict[str, Tensor]:
        """Return the classification loss of the texts alone."""
        return {"text": targets.text_classification(learned.text_logits)}


class LateFusionMethod(Method):
    """Its fusion always learns."""

    def classification_weight(self, config: Config) -> float:
        """Return 1: the fusion learns from this loss alone."""
        return 1.0


METHOD = LateFusionMethod(
    name="late-fusion",
    summary="Baseline: image and text fused in training, a stand-in for the text at prediction.",
    parts=(TextFusion(),),
    position=6,
)
