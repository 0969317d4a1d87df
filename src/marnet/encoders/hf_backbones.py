"""`hf:NAME`: image models of Hugging Face transformers, by repository or folder."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from marnet.encoders.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneFamily, load_weights, read_weights
from marnet.encoders.hf_models import find_model, import_transformers, load_pretrained
from marnet.errors import EncoderError

_logger = logging.getLogger("marnet")
_BILINEAR = 2  # Pillow's number for it, which image processors store


class HFBackbone(nn.Module):
    """An image model of transformers with pooled features.

    Features are the model's own pooled output, or the class token of token models without one. A pooler with a linear
    layer is dropped and its input, the class token, is used instead: most published weights lack that layer, and it
    would keep random values.

    Args:
        model: from `AutoModel` or `AutoBackbone`.
        image_size: side of the input; positions that the model has for another size are interpolated.
    """

    family = "hf"

    def __init__(self, model: Any, *, image_size: int) -> None:
        super().__init__()
        own_size = getattr(model.config, "image_size", image_size)
        takes_any = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if takes_any and own_size != image_size else {}
        pooler = getattr(model, "pooler", None)
        if isinstance(pooler, nn.Module) and any(isinstance(part, nn.Linear) for part in pooler.modules()):
            model.pooler = None
        mask = getattr(getattr(model, "embeddings", None), "mask_token", None)
        if isinstance(mask, nn.Parameter):
            mask.requires_grad_(False)  # used for pretraining on masked images only
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return features `(B, D)` of images `(B, 3, S, S)`."""
        outputs = self.model(pixel_values=images, **self._options)
        maps = outputs.get("feature_maps")
        features: Tensor | None = maps[-1] if maps is not None else outputs.get("pooler_output")
        if features is None:
            features = outputs["last_hidden_state"]
        if features.ndim == 3:  # (B, tokens, D)
            return features[:, 0]
        return features.mean((-2, -1)) if features.ndim == 4 else features  # (B, D, H, W) -> (B, D)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        word = "enable" if enable else "disable"
        new = getattr(self.model, f"activation_checkpointing_{word}", None)  # transformers 6 drops the old name
        (new or getattr(self.model, f"gradient_checkpointing_{word}"))()

    def save_architecture(self, folder: Path) -> None:
        """Write the model's configuration, without weights."""
        self.model.config.save_pretrained(folder)


def hf_backbone(name: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    """Build an image model of transformers; see `make_backbone`."""
    transformers = import_transformers(name)
    folder = find_model(name, setting="backbone.name")
    config = load_pretrained(transformers.AutoConfig, name, folder)
    config = getattr(config, "vision_config", config)  # the image half of image-text models such as CLIP
    kind = _kind(transformers, config)
    if pretrained and weights is None:
        model = load_pretrained(kind, name, folder, config=config).float()
    else:
        model = _build(kind, name, config)
    own = _read_input(transformers, name, folder, getattr(config, "image_size", None))
    size = image_size or own.image_size
    module = HFBackbone(model, image_size=size)
    if weights is not None:
        state = {
            key if key.startswith("model.") else f"model.{key}": value for key, value in read_weights(weights).items()
        }
        source = f"The weights file {weights}"
        load_weights(module, state, source=source, name=f"hf:{name}", unused=("model.pooler.", "model.classifier."))
    # A pretrained model comes in evaluation mode, and its batch norm and dropout would stay in it.
    return own._replace(module=module.train(), image_size=size)


def rebuild_hf_backbone(folder: Path, image_size: int) -> nn.Module:
    """Build the architecture that `HFBackbone.save_architecture` wrote, with random weights."""
    transformers = import_transformers(str(folder))
    config = load_pretrained(transformers.AutoConfig, str(folder), folder)
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # published weights of another model inside this one
    return HFBackbone(_build(_kind(transformers, config), str(folder), config), image_size=image_size)


HF = BackboneFamily(hf_backbone, rebuild=rebuild_hf_backbone)


def _kind(transformers: Any, config: Any) -> Any:
    return transformers.AutoModel if type(config) in transformers.MODEL_MAPPING else transformers.AutoBackbone


def _build(kind: Any, name: str, config: Any) -> Any:
    try:
        return kind.from_config(config)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise EncoderError(
            f"hf:{name} is not an image model that transformers can build ({type(error).__name__}: {reason}). Choose "
            f"one that its AutoModel or AutoBackbone knows, such as a ViT, Swin, ConvNeXt, ResNet, DINOv2 or CLIP."
        ) from error


def _read_input(transformers: Any, name: str, folder: Path, image_size: Any) -> Backbone:
    """Read the input from the model's image processor; without one, `image_size` and ImageNet's normalisation."""
    size = image_size if isinstance(image_size, int) else 224
    try:
        settings = load_pretrained(transformers.AutoImageProcessor, name, folder).to_dict()
    except EncoderError:
        _logger.warning("hf:%s has no image processor; using the mean and standard deviation of ImageNet.", name)
        return Backbone(nn.Identity(), image_size=size)
    sizes = settings.get("crop_size") if settings.get("do_center_crop") else None
    sizes = sizes or settings.get("size") or {}
    found = [sizes[key] for key in ("height", "shortest_edge") if isinstance(sizes, Mapping) and sizes.get(key)]
    interpolation = "bilinear" if int(settings.get("resample") or 3) == _BILINEAR else "bicubic"
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if settings.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif settings.get("image_mean") and settings.get("image_std"):
        mean, std = _triple(settings["image_mean"]), _triple(settings["image_std"])
    return Backbone(nn.Identity(), mean, std, int(found[0]) if found else size, interpolation)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
