"""A head on the text as a part: it trains a text encoder that learns."""

from torch import Tensor, nn

from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep


class TextHead(Part):
    """A linear head on x_s, built if `text.trainable` is on (ours)."""

    name = "text_head"
    settings = ("losses.text",)
    terms = ("text",)

    def build(self, scene: Scene) -> BuiltPart:
        """Build the head; nothing for a text encoder that does not learn."""
        learns = scene.config.text.trainable
        return BuiltPart(self, training=nn.Linear(scene.text_width, scene.num_classes) if learns else None)

    def learn(self, model: ModelParts, step: TrainingStep) -> Tensor | None:
        """Return logits `(M, C)` of the texts."""
        head = model.training_part(self.name)
        return None if head is None else head(step.x_s)

    def losses(self, learned: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Return the classification loss of the texts."""
        return {"text": targets.text_classification(learned)}
