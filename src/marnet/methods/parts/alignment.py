"""EMA as a part: image and text meet in one space."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from marnet.losses import matching_loss, positive_pairs
from marnet.modules.alignment import AlignedPair, EmbeddingMatchingAlignment, TextAlignment
from marnet.outputs import ALIGNMENT
from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep

if TYPE_CHECKING:
    from marnet.config import Config


class Alignment(Part):
    """The embedding matching alignment (equations 3 to 6).

    It aligns with the semantics x_0, or with the text features x_s if their encoder learns, so that it learns from it.
    """

    name = ALIGNMENT
    settings = ("alignment.", "losses.matching", "losses.alignment")
    terms = ("alignment", "matching")
    branch_term = "alignment"

    def needs_semantics(self, config: "Config") -> bool:
        """Return True if the text encoder does not learn."""
        return not config.text.trainable

    def build(self, scene: Scene) -> BuiltPart:
        """Build both halves of EMA."""
        section = scene.config.alignment
        reads_text = not self.needs_semantics(scene.config)
        branch = EmbeddingMatchingAlignment(scene.visual_width, width=section.width)
        training = TextAlignment(
            scene.text_width if reads_text else scene.semantics_width,
            width=section.width,
            reads_text=reads_text,
            temperature=section.temperature,
        )
        return BuiltPart(self, branch=branch, training=training)

    def learn(self, model: ModelParts, step: TrainingStep) -> AlignedPair:
        """Return the unit vectors of images and texts, `(M, d)` each."""
        branch: Any = model.branches[self.name]
        texts: Any = model.training_part(self.name)
        return AlignedPair(branch(step.x_v()), texts(step.x_s if texts.reads_text else step.x_0), texts.scale())

    def losses(self, learned: AlignedPair, targets: Targets) -> dict[str, Tensor]:
        """Return the contrastive loss (equation 5)."""
        mask = targets.positives
        if not isinstance(mask, Tensor):
            mask = positive_pairs(targets.texts, mask, device=learned.z_v.device)
        return {"matching": matching_loss(*learned, mask)}
