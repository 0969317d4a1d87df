"""MARNet: a backbone, its branches and their fusion. Prediction takes images alone; training takes texts as well."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from marnet.config import Config, ReconstructionConfig, cache_directory, make_config
from marnet.encoders.text import TextOptions, build_text_encoder, has_text
from marnet.encoders.visual import Backbone, adapt_backbone, feature_width, make_backbone
from marnet.errors import ConfigError
from marnet.modules.alignment import AlignedPair, EmbeddingMatchingAlignment
from marnet.modules.fusion import make_fusion
from marnet.modules.late_fusion import LateFusion
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction, ReconstructionOutput
from marnet.modules.regression import SemanticRegression, count_parameters, hidden_as_large_as
from marnet.modules.word_prediction import WordPrediction, WordsOutput

DEFAULT_IMAGE_SIZE = 224  # where neither the user nor the backbone says

# Parts that only training uses; a run directory keeps them apart from the weights that predict.
TRAINING_ONLY = (
    "text.",
    "text_head.",
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
    text_logits: Tensor | None  # (M, C), where the text encoder learns
    words: WordsOutput | None = None  # (M, V) each, of multitask
    late_logits: Tensor | None = None  # (B, C), of late fusion: image and text together, judged for the prediction


class MARNet(nn.Module):
    """An image classifier that learns from text.

    Args:
        backbone: maps images `(B, 3, H, W)` to features `(B, D_v)`.
        num_classes: C.
        visual_width: D_v.
        text: maps a list of B texts to `(B, D_s)`; None where there is nothing to learn from text, or at prediction.
        alignment: EMA, or None to leave it out.
        reconstruction: CDR or its rival, or None to leave it out.
        fusion: maps the branches' features and logits to logits `(B, C)`; needed where there is more than one branch.
        text_head: maps x_s `(B, D_s)` to logits `(B, C)`; trains a trainable text encoder.
        words: a second task that predicts the words of the text, or None.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        visual_width: int,
        text: nn.Module | None = None,
        alignment: EmbeddingMatchingAlignment | None = None,
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
        self.alignment = alignment
        self.reconstruction = reconstruction
        self.fusion = fusion
        self.text_head = text_head
        self.words = words
        widths = branch_widths(visual_width, alignment, reconstruction)
        self.heads = nn.ModuleDict({name: nn.Linear(width, num_classes) for name, width in widths.items()})
        if len(widths) > 1 and fusion is None:
            raise ValueError(f"A fusion is needed for the branches {', '.join(widths)}; see marnet.modules.fusion.")

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
        late = None
        if isinstance(self.fusion, LateFusion):
            late = self.fusion.with_text(list(_branch_features(prediction).values()), x_s, rows)
        return MARNetOutput(
            prediction,
            rows,
            x_s,
            self.alignment(x_v[rows], x_s) if self.alignment is not None else None,
            self.reconstruction(x_v[rows], x_s, t=diffusion_times, noise=diffusion_noise)
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
        features = {"visual": x_v, "alignment": x_ema, "reconstruction": x_cdr}
        present = {name: x for name, x in features.items() if x is not None}
        branches = {name: self.heads[name](x) for name, x in present.items()}
        if self.fusion is None:
            logits = branches["visual"]
        else:
            logits = self.fusion(list(present.values()), list(branches.values()))
        return PredictionOutput(logits, branches, x_v, x_ema, x_cdr)


def _branch_features(prediction: PredictionOutput) -> dict[str, Tensor]:
    features = {"visual": prediction.x_v, "alignment": prediction.x_ema, "reconstruction": prediction.x_cdr}
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


def build_backbone(config: Config) -> Backbone:
    """The backbone that a configuration names, with the input it needs.

    Raises:
        EncoderError: it is unknown, or its weights cannot be had.
    """
    section = config.backbone
    return make_backbone(
        section.name, image_size=config.data.image_size, pretrained=section.pretrained, weights=section.weights
    )


def build_model(
    config: Config,
    *,
    num_classes: int,
    texts: Sequence[str] = (),
    backbone: nn.Module | None = None,
    semantic_width: int | None = None,
) -> MARNet:
    """Build the model that a configuration describes.

    Args:
        config: the configuration.
        num_classes: C.
        texts: the training texts, from which the text encoder learns its vocabulary and CDR its centre.
        backbone: a module to use instead of `config.backbone`.
        semantic_width: D_s, to build for prediction alone: without `texts` there is no text encoder.

    Raises:
        EncoderError: the backbone or the texts cannot be used.
        ConfigError: the configuration learns from text, and neither `texts` nor `semantic_width` is given.
    """
    section, image_size = config.backbone, config.data.image_size
    if backbone is None:
        made = build_backbone(config)
        backbone, image_size = made.module, made.image_size
    backbone = adapt_backbone(
        backbone, freeze_batch_norm=section.freeze_batch_norm, checkpointing=section.gradient_checkpointing
    )
    visual_width = feature_width(backbone, image_size or DEFAULT_IMAGE_SIZE)
    if not config.needs_text:
        return _frozen_where_asked(MARNet(backbone, num_classes, visual_width=visual_width), config)
    text = None
    if semantic_width is None:
        if not texts:
            raise ConfigError(f"Method {config.method!r} learns from text; needed the training texts, found none.")
        text = build_text_encoder(_text_encoder_name(config), texts, _text_options(config))
        semantic_width = int(text.width)  # type: ignore[arg-type]
    alignment = _build_alignment(config, visual_width, semantic_width)
    reconstruction = _build_reconstruction(config, visual_width, semantic_width)
    widths = branch_widths(visual_width, alignment, reconstruction)
    model = MARNet(
        backbone,
        num_classes,
        visual_width=visual_width,
        text=text,
        alignment=alignment,
        reconstruction=reconstruction,
        fusion=_build_fusion(config, list(widths.values()), semantic_width, num_classes),
        text_head=_build_text_head(config, semantic_width, num_classes),
        words=WordPrediction(visual_width, semantic_width) if config.method == "multitask" else None,
    )
    if text is not None and reconstruction is not None:
        with torch.no_grad():
            reconstruction.space.fit(text([t for t in texts if has_text(t)]))
    return _frozen_where_asked(model, config)


def wrap(
    backbone: nn.Module,
    *,
    texts: Sequence[str],
    num_classes: int,
    image_size: int = 224,
    method: str = "marnet",
) -> MARNet:
    """Put MARNet on your own image model, with the library's defaults.

    Args:
        backbone: maps `(B, 3, H, W)` to features `(B, D)`; of a classifier, replace its last layer by `nn.Identity()`.
        texts: the training texts.
        num_classes: C.
        image_size: side of the images in pixels, used once to read the width of the features.
        method: one of the methods of `marnet train --method`.
    """
    config = make_config({"method": method, "data": {"image_size": image_size}})
    return build_model(config, num_classes=num_classes, texts=texts, backbone=backbone)


def _frozen_where_asked(model: MARNet, config: Config) -> MARNet:
    if config.backbone.freeze:
        model.freeze_backbone()
    return model


def _text_options(config: Config) -> TextOptions:
    section = config.text
    return TextOptions(
        trainable=section.trainable and config.method != "multitask",
        dimensions=section.dimensions,
        max_vocabulary=section.max_vocabulary,
        pooling=section.pooling,
        max_length=section.max_length,
        cache=cache_directory(),
    )


def _text_encoder_name(config: Config) -> str:
    """The configured encoder; `multitask` reads of it whether texts are words or tags, and whether they are random."""
    name = config.text.name
    if config.method != "multitask":
        return name
    kind = "tags" if name.removeprefix("random:") == "tags" else "words"
    return f"random:{kind}" if name.startswith("random:") else kind


def _build_fusion(config: Config, widths: list[int], semantic_width: int, num_classes: int) -> nn.Module | None:
    if config.method == "late-fusion":
        section = config.late_fusion
        return LateFusion(widths, semantic_width, num_classes, width=section.width, text_dropout=section.text_dropout)
    return make_fusion(config.fusion.kind, widths, num_classes) if len(widths) > 1 else None


def _build_text_head(config: Config, semantic_width: int, num_classes: int) -> nn.Module | None:
    """For a text encoder that learns; late fusion has a head on the text anyway, and word targets do not learn."""
    learns = config.text.trainable and config.method not in ("late-fusion", "multitask")
    return nn.Linear(semantic_width, num_classes) if learns else None


def _build_alignment(config: Config, visual_width: int, semantic_width: int) -> EmbeddingMatchingAlignment | None:
    section = config.alignment
    if not section.enabled:
        return None
    return EmbeddingMatchingAlignment(
        visual_width, semantic_width, width=section.width, temperature=section.temperature
    )


def _build_reconstruction(config: Config, visual_width: int, semantic_width: int) -> Reconstruction | None:
    section = config.reconstruction
    if not section.enabled:
        return None
    if config.method != "regress":
        return _build_diffusion(section, visual_width, semantic_width)
    with torch.device("meta"):  # only its size is wanted
        rival = _build_diffusion(section, visual_width, semantic_width)

    def regression(hidden: int) -> SemanticRegression:
        return SemanticRegression(
            visual_width,
            semantic_width,
            dimensions=section.dimensions,
            guide=section.guide,
            hidden=hidden,
            depth=section.depth,
            condition_noise=section.condition_noise,
        )

    return regression(hidden_as_large_as(count_parameters(rival), regression))


def _build_diffusion(
    section: ReconstructionConfig, visual_width: int, semantic_width: int
) -> CrossModalDiffusionReconstruction:
    return CrossModalDiffusionReconstruction(
        visual_width,
        semantic_width,
        dimensions=section.dimensions,
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
    )
