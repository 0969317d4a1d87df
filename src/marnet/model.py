"""MARNet: a backbone, its branches and their fusion. Prediction takes images alone; training takes texts as well."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from marnet.encoders.text import has_text
from marnet.errors import list_some
from marnet.losses import Objective
from marnet.modules.calibration import Calibration
from marnet.modules.new_classes import NewClasses
from marnet.modules.semantics import SemanticSpace
from marnet.modules.shared_features import share_features
from marnet.outputs import VISUAL, MARNetOutput, PredictionOutput
from marnet.part import BuiltPart, Part, TrainingStep

TRAINING_ONLY = "training_only."  # begins the names of all weights that prediction does not use


class TrainingOnly(nn.Module):
    """Everything that only training uses: the text encoder, the space of its semantics, and a module per part.

    Args:
        text: maps a list of B texts to `(B, D_s)`; None in a model for prediction.
        semantics: maps x_s to the semantics x_0 `(B, d_0)`; None if no part needs them.
        parts: modules by name of the part.
    """

    def __init__(self, text: nn.Module | None, semantics: SemanticSpace | None, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.text = text
        self.semantics = semantics
        self.parts = nn.ModuleDict(parts)


class MARNet(nn.Module):
    """An image classifier that learns from text. `marnet.wrap` puts one together.

    Args:
        backbone: maps images `(B, 3, H, W)` to features `(B, D_v)`.
        num_classes: C.
        visual_width: D_v.
        parts: the parts of the method, in their order, with their modules.
        text: maps a list of B texts to `(B, D_s)`; None if there is nothing to learn from text, or for prediction.
        semantics: maps x_s to the semantics x_0 `(B, d_0)`; required by parts that read them.
        objective: scores the outputs; None builds one with default weights.
        classes: names of the classes in the order of the logits, if they have any.
        several_classes: an image may have several classes, so that each has a temperature of its own.
        text_gradient: limit on the gradient that text sends into the backbone, see `share_features`; None: no limit.

    Raises:
        ValueError: there are several branches but no fusion.

    Example:
        >>> import marnet, torch
        >>> from torch import nn
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> marnet.MARNet(backbone, 10, visual_width=8)(torch.randn(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        visual_width: int,
        parts: Sequence[BuiltPart] = (),
        text: nn.Module | None = None,
        semantics: SemanticSpace | None = None,
        objective: Objective | None = None,
        classes: Sequence[str] | None = None,
        several_classes: bool = False,
        text_gradient: float | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.visual_width = visual_width
        self.classes = None if classes is None else tuple(classes)
        self.settings: dict[str, Any] | None = None  # those that it was built from, for `marnet.save`
        self.text_gradient = text_gradient
        self.text_width = 0  # D_s; 0 for a method that needs no text
        self.backbone = backbone
        self._frozen: list[nn.Parameter] | None = None  # stopped by `freeze_backbone`; None: nothing is frozen
        self.parts: dict[str, Part] = {built.part.name: built.part for built in parts}
        trained = {built.part.name: built.training for built in parts if built.training is not None}
        self.training_only: TrainingOnly | None = TrainingOnly(text, semantics, trained)
        self.branches = nn.ModuleDict({built.part.name: built.branch for built in parts if built.branch is not None})
        fusions = [built.fusion for built in parts if built.fusion is not None]
        self.fusion = fusions[0] if fusions else None
        if self.branches and self.fusion is None:
            names = ", ".join([VISUAL, *self.branches])
            raise ValueError(f"The branches {names} have no fusion. Add one to the parts; see marnet.modules.fusion.")
        widths = {VISUAL: visual_width} | {name: int(branch.width) for name, branch in self.branches.items()}  # type: ignore[arg-type]
        self.heads = nn.ModuleDict({name: nn.Linear(width, num_classes) for name, width in widths.items()})
        self.calibration = Calibration(num_classes if several_classes else None)
        self.new_classes: NewClasses | None = None  # added after training, see `marnet.semantic.classes.adding`
        self.objective = objective or Objective(list(self.parts.values()))

    @property
    def text(self) -> nn.Module | None:
        """The text encoder; None in a model for prediction."""
        return None if self.training_only is None else self.training_only.text

    @property
    def semantics(self) -> SemanticSpace | None:
        """The space of the semantics x_0; None if the method does not use them."""
        return None if self.training_only is None else self.training_only.semantics

    def training_part(self, name: str) -> nn.Module | None:
        """Return the module of a part that only training uses; None if it has none."""
        return self.training_only.parts[name] if self.training_only and name in self.training_only.parts else None

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return logits `(B, C)` of normalised images `(B, 3, H, W)`; this is all of prediction.

        K classes that were added after training come last, `(B, C + K)`.

        Instead of images, here and in the methods below, the features `(B, D_v)` of the backbone may be given.

        `noise` replaces the stored start vector of CDR's reverse process, `(B, d_0)`; see
        `CrossModalDiffusionReconstruction.sample`. Without it the result is a function of the image.
        """
        return self.prediction_outputs(images, noise).logits

    def prediction_outputs(self, images: Tensor, noise: Tensor | None = None) -> PredictionOutput:
        """Return the prediction with its branches and features."""
        x_v = self._image_features(images)
        return self._predict(x_v, x_v, noise)

    def _image_features(self, images: Tensor) -> Tensor:
        features: Tensor = images if images.ndim == 2 else self.backbone(images)
        return features

    def _predict(self, x_v: Tensor, x_text: Tensor, noise: Tensor | None) -> PredictionOutput:
        """Return the prediction; `x_text` are the features `(B, D_v)` again, for the branches that learn from text."""
        features = {VISUAL: x_v}
        for name, branch in self.branches.items():
            features[name] = branch.features(x_text, noise)  # type: ignore[operator]
        return self.predict_from(features)

    def predict_from(self, features: dict[str, Tensor]) -> PredictionOutput:
        """Return the prediction of features `(B, width)` of all branches, in the order of `PredictionOutput.features`.

        They are those of images, or some that were changed by hand, such as x_CDR moved away from a word.
        """
        branches = {name: self.heads[name](x) for name, x in features.items()}
        fused = branches[VISUAL]
        if self.fusion is not None:
            fused = self.fusion(list(features.values()), list(branches.values()))
        x_v = features[VISUAL]
        return PredictionOutput(self.with_new_classes(self.calibration(fused, x_v), x_v), branches, features)

    def with_new_classes(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return logits `(B, C)` with those of the K classes that were added after training, `(B, C + K)`."""
        return logits if self.new_classes is None else self.new_classes(logits, x_v)

    def training_outputs(
        self,
        images: Tensor,
        texts: Sequence[str],
        *,
        noise: Tensor | None = None,
        diffusion_times: Tensor | None = None,
        diffusion_noise: Tensor | None = None,
    ) -> MARNetOutput:
        """Return the input of the losses for images `(B, 3, H, W)` and their B texts; text enters nowhere else.

        Rows with a blank text take part in everything that needs no text and are left out of the rest.
        `diffusion_times` `(M,)` and `diffusion_noise` `(M, d_0)` fix CDR's training task, which is otherwise drawn; its
        regularisation in training mode (noise on the condition, dropping it) is always drawn from torch's generator.

        Raises:
            ValueError: the number of texts is not B.
        """
        if len(texts) != len(images):
            raise ValueError(
                f"{len(images)} images came with {len(texts)} texts. Give one text per image; '' stands for none."
            )
        x_v, x_text = share_features(self._image_features(images), self.text_gradient)
        prediction = self._predict(x_v, x_text, noise)
        given = [i for i, text in enumerate(texts) if has_text(text)]
        kept = tuple(texts[i] for i in given)
        rows = torch.tensor(given, dtype=torch.long, device=prediction.x_v.device)
        if self.training_only is None or self.training_only.text is None:
            return MARNetOutput(prediction, rows, kept, None, prediction.logits, {})
        x_s = self.training_only.text(list(kept))  # (M, D_s)
        space = self.training_only.semantics
        x_0 = None if space is None else space(x_s)  # (M, d_0)
        step = TrainingStep(prediction, x_text, rows, x_s, x_0, diffusion_times, diffusion_noise)
        learned = {name: part.learn(self, step) for name, part in self.parts.items()}
        logits = prediction.logits
        for name, part in self.parts.items():
            own = part.logits(learned[name])
            logits = logits if own is None else own
        return MARNetOutput(prediction, rows, kept, x_s, logits, {n: x for n, x in learned.items() if x is not None})

    def loss(self, images: Tensor, texts: Sequence[str], labels: Any) -> Tensor:
        """Return the loss `()` to minimise, for images `(B, 3, H, W)`, their B texts and their B labels.

        Args:
            images: normalised images, or the features `(B, D_v)` of the backbone.
            texts: one text per image; "" for none.
            labels: class numbers `(B,)` or names; for several classes per image 0 and 1 `(B, C)`.

        Raises:
            ValueError: the number of texts is not B, or a label is not known.

        Example:
            See `marnet.wrap`.
        """
        outputs = self.training_outputs(images, texts)
        targets = self.label_tensor(labels).to(outputs.logits.device)
        loss: Tensor = self.objective(outputs, targets).total
        return loss

    def label_tensor(self, labels: Any) -> Tensor:
        """Return labels as the losses take them: `(B,)` int64, or `(B, C)` of 0 and 1.

        Raises:
            ValueError: a label is not known.
        """
        found = labels if isinstance(labels, Tensor) else np.asarray(labels)
        if isinstance(found, np.ndarray) and found.dtype.kind in "OUST":
            positions = {name: number for number, name in enumerate(self.classes or ())}
            unknown = sorted({str(label) for label in found.tolist()} - set(positions))
            if unknown:
                raise ValueError(
                    f"The labels {list_some(unknown)} are not known. Known classes: "
                    f"{list_some(self.classes or ('none',))}."
                )
            found = np.array([positions[str(label)] for label in found.tolist()], np.int64)
        tensor = torch.as_tensor(found)
        if tensor.ndim == 1 and len(tensor) and not 0 <= int(tensor.min()) <= int(tensor.max()) < self.num_classes:
            raise ValueError(
                f"The labels lie between {int(tensor.min())} and {int(tensor.max())}, but the model has "
                f"{self.num_classes} classes, numbered from 0."
            )
        return tensor.long() if tensor.ndim == 1 else tensor

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Let the backbone learn nothing and stay in evaluation mode, even while the model is in training mode.

        `frozen=False` reverts this; weights that did not learn before still do not.
        """
        if frozen == (self._frozen is not None):
            return
        if frozen:
            self._frozen = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
            _learn(self._frozen, False)
        else:
            _learn(self._frozen or [], True)
            self._frozen = None
        self.backbone.train(self.training and not frozen)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self._frozen is not None:
            self.backbone.eval()
        return self

    def ordered_parameters(self) -> Iterator[nn.Parameter]:
        """Yield all parameters, part by part: a part's branch before its half that only training uses.

        Clipping adds up gradient norms in this order, so the last bit of trained weights depends on it.
        """
        only = self.training_only
        trained = {} if only is None else dict(only.parts.items())
        modules: list[nn.Module | None] = [self.backbone, None if only is None else only.text]
        for name, branch in self.branches.items():
            modules += [branch, trained.pop(name, None)]
        modules += [self.fusion, *trained.values(), self.heads]
        for module in modules:
            if module is not None:
                yield from module.parameters()


def _learn(parameters: Sequence[nn.Parameter], learns: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(learns)
