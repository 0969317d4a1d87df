"""From a configuration to a model: the backbone, the text encoder and the parts that the method adds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from marnet.cache import cache_directory
from marnet.config import OWN_BACKBONE, Config, make_config
from marnet.config.nested import merge_settings, unflatten
from marnet.config.schema import TextConfig
from marnet.encoders.text import TextEncoder, TextOptions, build_text_encoder, has_text
from marnet.encoders.visual import Backbone, adapt_backbone, feature_width, make_backbone
from marnet.errors import ConfigError
from marnet.losses import Objective
from marnet.methods import BuiltPart, Method, Scene, find_method
from marnet.model import MARNet
from marnet.modules.semantics import SemanticSpace

DEFAULT_IMAGE_SIZE = 224  # if neither the user nor the backbone says


def build_backbone(config: Config) -> Backbone:
    """Build the backbone that a configuration names, with the input it needs.

    Raises:
        EncoderError: it is unknown, or its weights are missing.
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
    labels: ArrayLike | Tensor | None = None,
    backbone: nn.Module | None = None,
    text_width: int | None = None,
    visual_width: int | None = None,
) -> MARNet:
    """Build the model that a configuration describes.

    Args:
        config: the configuration.
        num_classes: C.
        texts: the N training texts, from which the text encoder learns its vocabulary and EMA and CDR their semantics.
        labels: their classes, `(N,)` integers or, for several classes per image, `(N, C)` of 0 and 1; None: the
            semantics do not know which part of the text goes with the classes.
        backbone: a module to use instead of `config.backbone`.
        text_width: D_s, to build for prediction alone: without `texts` there is no text encoder.
        visual_width: D_v, if it is known; None: read from one forward pass over a blank image.

    Raises:
        EncoderError: the backbone or the texts cannot be used.
        ConfigError: the configuration learns from text, and neither `texts` nor `text_width` is given.
        ValueError: the number of labels is not that of the texts.
    """
    targets = None if labels is None else torch.as_tensor(labels)
    if targets is not None and len(targets) != len(texts):
        raise ValueError(f"{len(targets)} labels came with {len(texts)} texts. Give one label per text.")
    method = find_method(config.method)
    config = method.resolve(config)
    section, image_size = config.backbone, config.data.image_size
    if backbone is None:
        made = build_backbone(config)
        backbone, image_size = made.module, made.image_size
    backbone = adapt_backbone(
        backbone, freeze_batch_norm=section.freeze_batch_norm, checkpointing=section.gradient_checkpointing
    )
    text = None
    if visual_width is None:
        visual_width = feature_width(backbone, image_size or DEFAULT_IMAGE_SIZE)
    if method.needs_text and text_width is None:
        if not texts:
            raise ConfigError(
                f"Method {config.method!r} learns from text, but there are no training texts. Pass texts."
            )
        text = _build_text_encoder(method, config, texts)
        text_width = text.width
    semantics = None
    if method.needs_semantics(config):
        semantics = SemanticSpace(text_width or 0, dimensions=config.semantics.dimensions)  # one for EMA and CDR
    scene = Scene(config, num_classes, visual_width, text_width or 0, 0 if semantics is None else semantics.width)
    parts = _build_parts(method, scene)
    model = MARNet(
        backbone,
        num_classes,
        visual_width=visual_width,
        parts=parts,
        text=text,
        semantics=semantics,
        objective=_build_objective(method, config),
        several_classes=config.data.labels == "multi",
        text_gradient=limit if isinstance(limit := config.training.text_gradient, float) else None,
    )
    model.settings = config.model_dump(mode="json")
    model.text_width = text_width or 0
    if text is not None and semantics is not None:
        rows = [i for i, each in enumerate(texts) if has_text(each)]
        known = targets[rows] if targets is not None and config.semantics.canonical else None
        with torch.no_grad():
            semantics.fit(text([texts[i] for i in rows]), known)
    if section.freeze:
        model.freeze_backbone()
    return model


def text_vectors(section: TextConfig, texts: Sequence[str]) -> np.ndarray:
    """Return the vectors `(N, D_s)` of N texts by an encoder that learns from them; `(N, 1)` where all are blank."""
    if not any(has_text(text) for text in texts):
        return np.zeros((len(texts), 1))
    options = TextOptions(
        dimensions=section.dimensions,
        max_vocabulary=section.max_vocabulary,
        pooling=section.pooling,
        max_length=section.max_length,
        cache=cache_directory(),
    )
    with torch.inference_mode():
        return np.asarray(build_text_encoder(section.name, texts, options)(list(texts)).numpy())


def wrap(
    backbone: nn.Module,
    *,
    texts: Sequence[str],
    labels: Any = None,
    num_classes: int | None = None,
    image_size: int = 224,
    method: str = "marnet",
    settings: Mapping[str, Any] | None = None,
) -> MARNet:
    """Put MARNet on your own image model.

    Args:
        backbone: maps `(B, 3, H, W)` to features `(B, D)`; replace the last layer of a classifier by `nn.Identity()`.
        texts: the N training texts; "" for none.
        labels: the classes of the training texts: N class numbers or names, as a list, a tensor, or a column of numpy
            or pandas; for several classes per image 0 and 1 `(N, C)`. Without them the text helps less.
        num_classes: C; None: as many as `labels` has.
        image_size: side of the images in pixels, used once to read the width of the features.
        method: one of `marnet.list_methods()`.
        settings: other settings by dotted name, such as `{"losses.linear_head": 5}`; see `marnet.list_settings()`.

    Returns:
        A plain `nn.Module`: `model.loss(images, texts, labels)` to train, `model(images)` to predict.

    Raises:
        MarnetError: a setting, the backbone or the texts cannot be used.
        ValueError: the labels do not fit the texts or `num_classes`.

    Example:
        >>> import marnet, torch
        >>> from torch import nn
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> texts = ["red and round", "green and sour", "long and blue"]
        >>> model = marnet.wrap(backbone, texts=texts, labels=["apple", "lime", "eel"], image_size=32)
        >>> loss = model.loss(torch.randn(3, 3, 32, 32), texts, ["apple", "lime", "eel"])
        >>> loss.backward()
        >>> model.eval()(torch.randn(5, 3, 32, 32)).shape  # no text from here on
        torch.Size([5, 3])
    """
    texts = [str(text) for text in texts]
    classes, targets = _read_labels(labels, num_classes)
    if num_classes is None:
        if targets is None:
            raise ValueError("The number of classes is not known. Pass num_classes or labels.")
        num_classes = len(classes) if classes else targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    values = {"method": method, "data": {"image_size": image_size}, "backbone": {"name": OWN_BACKBONE}}
    form = {"data": {"labels": "multi"}} if targets is not None and targets.ndim == 2 else {}
    config = make_config(merge_settings(merge_settings(values, form), unflatten(settings or {})))
    model = build_model(config, num_classes=num_classes, texts=texts, labels=targets, backbone=backbone)
    if classes:
        model.classes = (*classes, *(f"class {number}" for number in range(len(classes), num_classes)))
    return model


def _build_text_encoder(method: Method, config: Config, texts: Sequence[str]) -> TextEncoder:
    section, choice = config.text, method.text_encoder(config)
    options = TextOptions(
        trainable=choice.trainable,
        dimensions=section.dimensions,
        max_vocabulary=section.max_vocabulary,
        pooling=section.pooling,
        max_length=section.max_length,
        cache=cache_directory(),
    )
    return build_text_encoder(choice.name, texts, options)


def _build_parts(method: Method, scene: Scene) -> list[BuiltPart]:
    parts = []
    for part in method.parts:
        built = part.build(scene)
        if built.branch is not None:
            scene.branch_widths[part.name] = int(built.branch.width)  # type: ignore[arg-type]
        parts.append(built)
    return parts


def _build_objective(method: Method, config: Config) -> Objective:
    return Objective(
        method.parts,
        weights=method.weights(config),
        positives=config.alignment.positives,
        label_smoothing=config.losses.label_smoothing,
    )


def _read_labels(labels: Any, num_classes: int | None) -> tuple[tuple[str, ...], Tensor | None]:
    """Return the names of the classes, () for numbers, and the targets: `(N,)` int64 or `(N, C)`.

    Raises:
        ValueError: a label is missing, of a mixed kind, or beyond `num_classes`.
    """
    if labels is None:
        return (), None
    found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if found.ndim == 2:
        return (), torch.as_tensor(np.ascontiguousarray(found)).float()
    if found.ndim != 1 or not len(found):
        raise ValueError(f"labels has the shape {found.shape}, but it must be (N,), or (N, C) of 0 and 1.")
    values = found.tolist()
    if all(isinstance(value, str) for value in values):
        names, targets = np.unique(found.astype(str), return_inverse=True)
        classes = tuple(names.tolist())
        if num_classes is not None and len(classes) > num_classes:
            raise ValueError(f"labels names {len(classes)} classes, but num_classes is {num_classes}.")
        return classes, torch.from_numpy(targets.astype(np.int64))
    if not all(isinstance(value, int) or (isinstance(value, float) and value.is_integer()) for value in values):
        odd = next(value for value in values if not isinstance(value, int | str))
        raise ValueError(f"labels holds {odd!r}, but all must be whole numbers from 0, or all names.")
    least, most = min(values), max(values)
    if least < 0 or (num_classes is not None and most >= num_classes):
        limit = "" if num_classes is None else f" to {num_classes - 1}, because num_classes is {num_classes}"
        raise ValueError(f"labels lie between {int(least)} and {int(most)}, but they must be numbers from 0{limit}.")
    return (), torch.from_numpy(found.astype(np.int64))
