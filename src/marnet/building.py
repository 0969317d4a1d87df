"""From a configuration to a model: the backbone, the text encoder and the parts that the method uses."""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import nn

from marnet.cache import cache_directory
from marnet.config import Config, ReconstructionConfig, make_config
from marnet.encoders.text import TextOptions, build_text_encoder, has_text
from marnet.encoders.visual import Backbone, adapt_backbone, feature_width, make_backbone
from marnet.errors import ConfigError
from marnet.model import MARNet, Reconstruction, branch_widths
from marnet.modules.alignment import EmbeddingMatchingAlignment
from marnet.modules.fusion import make_fusion
from marnet.modules.late_fusion import LateFusion
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction
from marnet.modules.regression import SemanticRegression, count_parameters, hidden_as_large_as
from marnet.modules.semantics import SemanticSpace
from marnet.modules.word_prediction import WordPrediction

DEFAULT_IMAGE_SIZE = 224  # where neither the user nor the backbone says


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
    labels: ArrayLike | None = None,
    backbone: nn.Module | None = None,
    semantic_width: int | None = None,
) -> MARNet:
    """Build the model that a configuration describes.

    Args:
        config: the configuration.
        num_classes: C.
        texts: the N training texts, from which the text encoder learns its vocabulary and EMA and CDR their semantics.
        labels: their classes, `(N,)` integers or, of several labels an image, `(N, C)` of 0 and 1; None: the semantics
            do not tell what of the text goes with the classes.
        backbone: a module to use instead of `config.backbone`.
        semantic_width: D_s, to build for prediction alone: without `texts` there is no text encoder.

    Raises:
        EncoderError: the backbone or the texts cannot be used.
        ConfigError: the configuration learns from text, and neither `texts` nor `semantic_width` is given.
        ValueError: `labels` are not one for each text.
    """
    targets = None if labels is None else torch.as_tensor(labels)
    if targets is not None and len(targets) != len(texts):
        raise ValueError(f"{len(targets)} labels came with {len(texts)} texts; needed one for each text.")
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
    semantics = SemanticSpace(semantic_width, dimensions=config.semantics.dimensions)  # one for EMA and CDR
    alignment = _build_alignment(config, visual_width, semantic_width if config.text.trainable else semantics.width)
    reconstruction = _build_reconstruction(config, visual_width, semantics.width)
    widths = branch_widths(visual_width, alignment, reconstruction)
    model = MARNet(
        backbone,
        num_classes,
        visual_width=visual_width,
        text=text,
        semantics=semantics if config.needs_semantics else None,
        alignment=alignment,
        align_text=config.text.trainable,
        reconstruction=reconstruction,
        fusion=_build_fusion(config, list(widths.values()), semantic_width, num_classes),
        text_head=_build_text_head(config, semantic_width, num_classes),
        words=WordPrediction(visual_width, semantic_width) if config.method == "multitask" else None,
    )
    if text is not None and model.semantics is not None:
        rows = [i for i, each in enumerate(texts) if has_text(each)]
        known = targets[rows] if targets is not None and config.semantics.canonical else None
        with torch.no_grad():
            semantics.fit(text([texts[i] for i in rows]), known)
    return _frozen_where_asked(model, config)


def wrap(
    backbone: nn.Module,
    *,
    texts: Sequence[str],
    num_classes: int,
    labels: ArrayLike | None = None,
    image_size: int = 224,
    method: str = "marnet",
) -> MARNet:
    """Put MARNet on your own image model, with the library's defaults.

    Args:
        backbone: maps `(B, 3, H, W)` to features `(B, D)`; of a classifier, replace its last layer by `nn.Identity()`.
        texts: the training texts.
        num_classes: C.
        labels: the classes of the training texts, as in `build_model`; without them the text helps less.
        image_size: side of the images in pixels, used once to read the width of the features.
        method: one of the methods of `marnet train --method`.
    """
    config = make_config({"method": method, "data": {"image_size": image_size}})
    return build_model(config, num_classes=num_classes, texts=texts, labels=labels, backbone=backbone)


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
        visual_width,
        semantic_width,
        width=section.width,
        temperature=section.temperature,
    )


def _build_reconstruction(config: Config, visual_width: int, width: int) -> Reconstruction | None:
    section = config.reconstruction
    if not section.enabled:
        return None
    if config.method != "regress":
        return _build_diffusion(section, visual_width, width)
    with torch.device("meta"):  # only its size is wanted
        rival = _build_diffusion(section, visual_width, width)

    def regression(hidden: int) -> SemanticRegression:
        return SemanticRegression(
            visual_width,
            width,
            guide=section.guide,
            hidden=hidden,
            depth=section.depth,
            condition_noise=section.condition_noise,
            correction=section.correction,
        )

    return regression(hidden_as_large_as(count_parameters(rival), regression))


def _build_diffusion(section: ReconstructionConfig, visual_width: int, width: int) -> CrossModalDiffusionReconstruction:
    return CrossModalDiffusionReconstruction(
        visual_width,
        width,
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
