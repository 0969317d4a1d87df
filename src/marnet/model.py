"""MARNet: a backbone, its branches and their fusion. Prediction takes images alone; training takes texts as well."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from marnet.encoders.text import has_text
from marnet.modules.alignment import AlignedPair, EmbeddingMatchingAlignment
from marnet.modules.late_fusion import LateFusion
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction, ReconstructionOutput
from marnet.modules.regression import SemanticRegression
from marnet.modules.semantics import SemanticSpace
from marnet.modules.word_prediction import WordPrediction, WordsOutput

# Parts that only training uses; a run directory keeps them apart from the weights that predict.
TRAINING_ONLY = (
    "text.",
    "text_head.",
    "semantics.",
    "alignment.project_semantic.",
    "alignment.log_scale",
    "words.",
    "fusion.text.",  # of late fusion
    "fusion.text_head.",
)

Reconstruction = CrossModalDiffusionReconstruction | SemanticRegression


class PredictionOutput(NamedTuple):
    """Everything that an image alone gives."""

    logits: Tensor  # (B, C), the fused prediction
    branch_logits: dict[str, Tensor]  # (B, C) each; of "visual", "alignment", "reconstruction" those that exist
    x_v: Tensor  # (B, D_v)
    x_ema: Tensor | None  # (B, d)
    x_cdr: Tensor | None  # (B, d_0)


class MARNetOutput(NamedTuple):
    """Everything that the losses judge. M of the B rows have a text."""

    prediction: PredictionOutput
    text_rows: Tensor  # (M,) int64, the rows that have a text
    x_s: Tensor | None  # (M, D_s)
    aligned: AlignedPair | None  # z_v, z_s (M, d)
    reconstruction: ReconstructionOutput | None  # (M, d_0) each
    text_logits: Tensor | None  # (M, C), where the text encoder learns, and of late fusion
    words: WordsOutput | None = None  # (M, V) each, of multitask
    late_logits: Tensor | None = None  # (B, C), of late fusion: image and text together, judged for the prediction


class MARNet(nn.Module):
    """An image classifier that learns from text.

    Args:
        backbone: maps images `(B, 3, H, W)` to features `(B, D_v)`.
        num_classes: C.
        visual_width: D_v.
        text: maps a list of B texts to `(B, D_s)`; None where there is nothing to learn from text, or at prediction.
        semantics: maps x_s to the clean semantics x_0 `(B, d_0)`, which CDR reconstructs and EMA aligns with.
        alignment: EMA, or None to leave it out.
        align_text: EMA aligns with x_s itself and needs no `semantics`; a text encoder that learns then learns from it.
        reconstruction: CDR or its rival, or None to leave it out.
        fusion: maps the branches' features and logits to logits `(B, C)`; needed where there is more than one branch.
        text_head: maps x_s `(B, D_s)` to logits `(B, C)`; trains a trainable text encoder.
        words: a second task that predicts the words of the text, or None.

    Raises:
        ValueError: there are several branches and no `fusion`, or nothing gives EMA or CDR their semantics.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        visual_width: int,
        text: nn.Module | None = None,
        semantics: SemanticSpace | None = None,
        alignment: EmbeddingMatchingAlignment | None = None,
        align_text: bool = False,
        reconstruction: Reconstruction | None = None,
        fusion: nn.Module | None = None,
        text_head: nn.Module | None = None,
        words: WordPrediction | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self._frozen: list[nn.Parameter] | None = None  # what `freeze_backbone` stopped; None: it is free
        self.text = text
        self.semantics = semantics
        self.alignment = alignment
        self.align_text = align_text
        self.reconstruction = reconstruction
        self.fusion = fusion
        self.text_head = text_head
        self.words = words
        widths = branch_widths(visual_width, alignment, reconstruction)
        self.heads = nn.ModuleDict({name: nn.Linear(width, num_classes) for name, width in widths.items()})
        if len(widths) > 1 and fusion is None:
            raise ValueError(f"A fusion is needed for the branches {', '.join(widths)}; see marnet.modules.fusion.")
        if semantics is None and (reconstruction is not None or (alignment is not None and not align_text)):
            raise ValueError("EMA and CDR learn from the semantics of the text; needed semantics=SemanticSpace(...).")

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Logits `(B, C)` of normalised images `(B, 3, H, W)`; the whole of prediction.

        In place of images, here and in the two methods below, features `(B, D_v)` may stand that the backbone gave
        before.

        `noise` replaces the stored start vector of CDR's reverse process, `(B, d_0)`; see
        `CrossModalDiffusionReconstruction.sample`. Without it the answer is a function of the image.
        """
        return self.prediction_outputs(images, noise).logits

    def prediction_outputs(self, images: Tensor, noise: Tensor | None = None) -> PredictionOutput:
        """The prediction with its branches and features."""
        return self._predict(self._features(images), noise)

    def training_outputs(
        self,
        images: Tensor,
        texts: Sequence[str],
        *,
        noise: Tensor | None = None,
        diffusion_times: Tensor | None = None,
        diffusion_noise: Tensor | None = None,
    ) -> MARNetOutput:
        """What the losses need of images `(B, 3, H, W)` and their B texts; the only place where text enters.

        Rows with a blank text take part in everything that needs no text and are left out of the rest.
        `diffusion_times` `(M,)` and `diffusion_noise` `(M, d_0)` fix CDR's training task, which is otherwise drawn; its
        regularisation in training mode (noise on the condition, dropping it) is always drawn from torch's generator.

        Raises:
            ValueError: the number of texts is not B.
        """
        if len(texts) != len(images):
            raise ValueError(
                f"{len(texts)} texts came with {len(images)} images; needed one text an image ('' is none)."
            )
        x_v = self._features(images)
        prediction = self._predict(x_v, noise)
        rows = torch.tensor([i for i, text in enumerate(texts) if has_text(text)], dtype=torch.long, device=x_v.device)
        if self.text is None:
            return MARNetOutput(prediction, rows, None, None, None, None)
        x_s = self.text([text for text in texts if has_text(text)])  # (M, D_s)
        x0 = self.semantics(x_s) if self.semantics is not None else None  # (M, d_0)
        late = None
        if isinstance(self.fusion, LateFusion):
            features = _present(prediction.x_v, prediction.x_ema, prediction.x_cdr)
            late = self.fusion.with_text(list(features.values()), x_s, rows)
        return MARNetOutput(
            prediction,
            rows,
            x_s,
            self.alignment(x_v[rows], x_s if self.align_text else x0) if self.alignment is not None else None,
            self.reconstruction(x_v[rows], x0, t=diffusion_times, noise=diffusion_noise)
            if self.reconstruction is not None
            else None,
            late.text_logits if late is not None else self.text_head(x_s) if self.text_head is not None else None,
            self.words(x_v[rows], x_s) if self.words is not None else None,
            late.logits if late is not None else None,
        )

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Let the backbone learn nothing and stay in evaluation mode, also while the model is in training mode.

        `frozen=False` takes it back; weights that did not learn before still do not.
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
        """Set training mode, of a frozen backbone evaluation mode."""
        super().train(mode)
        if self._frozen is not None:
            self.backbone.eval()
        return self

    def _features(self, images: Tensor) -> Tensor:
        return images if images.ndim == 2 else self.backbone(images)

    def _predict(self, x_v: Tensor, noise: Tensor | None) -> PredictionOutput:
        x_ema = self.alignment.features(x_v) if self.alignment is not None else None
        x_cdr = self.reconstruction.sample(x_v, noise) if self.reconstruction is not None else None
        features = _present(x_v, x_ema, x_cdr)
        branches = {name: self.heads[name](x) for name, x in features.items()}
        if self.fusion is None:
            logits = branches["visual"]
        else:
            logits = self.fusion(list(features.values()), list(branches.values()))
        return PredictionOutput(logits, branches, x_v, x_ema, x_cdr)


def _present(x_v: Tensor, x_ema: Tensor | None, x_cdr: Tensor | None) -> dict[str, Tensor]:
    """The features of the branches that exist, in the order that fusion takes them."""
    features = {"visual": x_v, "alignment": x_ema, "reconstruction": x_cdr}
    return {name: x for name, x in features.items() if x is not None}


def _learn(parameters: Sequence[nn.Parameter], learns: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(learns)


def branch_widths(
    visual_width: int,
    alignment: EmbeddingMatchingAlignment | None,
    reconstruction: Reconstruction | None,
) -> dict[str, int]:
    """The branches that exist, in the order that fusion takes them, and the widths of their features."""
    widths = {"visual": visual_width}
    if alignment is not None:
        widths["alignment"] = alignment.width
    if reconstruction is not None:
        widths["reconstruction"] = reconstruction.width
    return widths
