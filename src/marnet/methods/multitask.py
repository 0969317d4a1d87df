"""`multitask`: the image also predicts the words of its text, as papers on food recognition do for ingredients."""

from typing import Any

from torch import Tensor

from marnet.config import Config
from marnet.losses import word_loss
from marnet.methods.method import Method, TextChoice
from marnet.modules.word_prediction import WordPrediction, WordsOutput
from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep


class Words(Part):
    """A multi-label head for the words or tags of the text."""

    name = "words"
    settings = ("losses.words",)
    terms = ("words",)

    def build(self, scene: Scene) -> BuiltPart:
        """Build the head."""
        return BuiltPart(self, training=WordPrediction(scene.visual_width, scene.text_width))

    def learn(self, model: ModelParts, step: TrainingStep) -> WordsOutput:
        """Return logits and targets of the words, `(M, V)` each."""
        head: Any = model.training_part(self.name)
        found: WordsOutput = head(step.x_v(), step.x_s)
        return found

    def losses(self, learned: WordsOutput, targets: Targets) -> dict[str, Tensor]:
        """Return the binary cross-entropy of the words."""
        return {"words": word_loss(*learned)}


class Multitask(Method):
    """The method needs a text encoder whose features are words or tags."""

    def text_encoder(self, config: Config) -> TextChoice:
        """Return `words`, or `tags` if the configuration names those; random vectors stay random."""
        name = config.text.name
        kind = "tags" if name.removeprefix("random:") == "tags" else "words"
        return TextChoice(f"random:{kind}" if name.startswith("random:") else kind, trainable=False)

    def text_settings(self) -> tuple[str, ...]:
        """Return the name and the size of the vocabulary."""
        return ("text.name", "text.max_vocabulary")


METHOD = Multitask(
    name="multitask",
    summary="Baseline: the image also predicts the words of its text.",
    parts=(Words(),),
    position=5,
)
