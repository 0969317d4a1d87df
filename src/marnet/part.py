"""The parts that a method adds to a backbone with a linear head, and what passes between a part and its surroundings.

A part is stateless: it builds modules, which live in the model, computes with them in training, and scores the result.
`marnet.methods` puts parts together; the model and the losses know this interface alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn

from marnet.choices import Positives
from marnet.outputs import PredictionOutput

if TYPE_CHECKING:
    from marnet.config import Config


class Branch(Protocol):
    """A module that turns image features into features of its own; a linear head predicts from them."""

    width: int

    def features(self, x_v: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return features `(B, width)` of image features `(B, D_v)`."""
        ...


class ModelParts(Protocol):
    """The modules of a model, as a part sees them."""

    branches: nn.ModuleDict  # by name of the part
    fusion: nn.Module | None

    def training_part(self, name: str) -> nn.Module | None:
        """Return the module of a part that only training uses; None if it has none."""
        ...


class ClassificationLoss(Protocol):
    """A loss of logits `(B, C)` against targets, `()`; `marnet.losses.classification_loss` is the default."""

    def __call__(self, logits: Tensor, targets: Tensor, /, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the loss; 0 if B is 0."""
        ...


@dataclass
class Scene:
    """The surroundings in which a part is built. `branch_widths` grows while the parts are built in their order."""

    config: "Config"
    num_classes: int  # C
    visual_width: int  # D_v
    text_width: int  # D_s; 0 for a method that needs no text
    semantics_width: int  # d_0; 0 for a method that needs no semantics
    branch_widths: dict[str, int] = field(default_factory=dict)


class BuiltPart(NamedTuple):
    """The modules of a part. A part may have any of them, or none."""

    part: "Part"
    branch: nn.Module | None = None  # a `Branch`; used in prediction
    fusion: nn.Module | None = None  # fusion(features, logits) -> (B, C); used in prediction
    training: nn.Module | None = None  # used in training only


class TrainingStep(NamedTuple):
    """The input of a part in training. M of the B rows have a text."""

    prediction: PredictionOutput  # of all B rows
    x_text: Tensor  # (B, D_v), the image features for all that learns from text; see `share_features`
    rows: Tensor  # (M,) int64, the rows that have a text
    x_s: Tensor  # (M, D_s)
    x_0: Tensor | None  # (M, d_0), the semantics; None if no part needs them
    diffusion_times: Tensor | None = None  # (M,) int64; None: drawn
    diffusion_noise: Tensor | None = None  # (M, d_0); None: drawn

    def x_v(self) -> Tensor:
        """Return the image features `(M, D_v)` of the rows that have a text.

        Each part selects them anew: gradients then add up in a fixed order, part by part.
        """
        return self.x_text[self.rows]


class Targets(NamedTuple):
    """The truth that the losses compare with."""

    labels: Tensor  # (B,) int64; for several classes per image (B, C)
    text_rows: Tensor  # (M,) int64
    texts: tuple[str, ...]  # the M texts
    positives: Positives | Tensor  # which pairs match: a kind, or a mask (M, M)
    classify: ClassificationLoss
    label_smoothing: float

    def classification(self, logits: Tensor) -> Tensor:
        """Return the classification loss `()` of logits `(B, C)`."""
        return self.classify(logits, self.labels, label_smoothing=self.label_smoothing)

    def text_classification(self, logits: Tensor) -> Tensor:
        """Return the classification loss `()` of logits `(M, C)` of the rows that have a text."""
        return self.classify(logits, self.labels[self.text_rows], label_smoothing=self.label_smoothing)


class Part:
    """One thing that a method adds. Subclasses override what concerns them; the defaults add nothing.

    Attributes:
        name: key of its modules in the model, and of its output in `MARNetOutput.learned`.
        settings: dotted names of the settings that it reads; one that ends in "." is a whole section.
        terms: names of its loss terms.
        branch_term: the one of them that scores its branch's own head.
        needs_text: it learns from text.
    """

    name: str = ""
    settings: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    branch_term: str = ""
    needs_text: bool = True

    def needs_semantics(self, config: "Config") -> bool:
        """Return True if the part reads x_0, the semantics of the text."""
        return False

    def check(self, config: "Config") -> None:
        """Refuse settings that cannot be used, before any data is read.

        Raises:
            MarnetError: a setting cannot be used.
        """

    def build(self, scene: Scene) -> BuiltPart:
        """Build the modules of the part."""
        return BuiltPart(self)

    def learn(self, model: ModelParts, step: TrainingStep) -> Any:
        """Return the output of the part in training, which `losses` scores; None if it has none."""
        return None

    def logits(self, learned: Any) -> Tensor | None:
        """Return logits `(B, C)` to score in place of the fused prediction; None for most parts."""
        return None

    def losses(self, learned: Any, targets: Targets) -> dict[str, Tensor]:
        """Return the loss terms `()` of the output of `learn`, by name."""
        return {}

    def weights(self, config: "Config") -> Mapping[str, float]:
        """Return the weights of loss terms that the section `losses` of the configuration does not have."""
        return {}
