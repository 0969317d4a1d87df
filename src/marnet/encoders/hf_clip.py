"""`hf:NAME`: CLIP and its like of Hugging Face transformers, which embed images and texts into a space of their own."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from marnet.encoders.hf_models import find_model, import_transformers, load_pretrained, quiet_transformers
from marnet.encoders.hf_text import check_tokenizer
from marnet.errors import EncoderError

_PREFIX = "hf:"
_TOWERS = ("get_image_features", "get_text_features")
_MOST_TOKENS = 512  # that are read of a text where neither the model nor its tokenizer says how many


class ImageTextModel:
    """The two towers of a model such as CLIP, with its own preparation of images and texts.

    Args:
        name: with "hf:", for the record.
        model: with `get_image_features` and `get_text_features`.
        processor: of images.
        tokenizer: of texts.

    Attributes:
        most_tokens: that the model reads of a text.

    Raises:
        EncoderError: the tokenizer knows no words.
    """

    def __init__(self, name: str, model: Any, processor: Any, tokenizer: Any) -> None:
        check_tokenizer(tokenizer, name)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.name = name
        self._model = model.eval()
        self._processor = processor
        self._tokenizer = tokenizer
        of_texts = getattr(model.config, "text_config", model.config)
        positions = getattr(of_texts, "max_position_embeddings", _MOST_TOKENS)
        self.most_tokens: int = min(positions, tokenizer.model_max_length, _MOST_TOKENS)

    def to(self, device: torch.device) -> Self:
        """Move the model to a device."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Return unit vectors `(n, D)` of n RGB pictures, on the CPU."""
        prepared = self._processor(images=list(pictures), return_tensors="pt")
        return _unit(self._model.get_image_features(pixel_values=prepared["pixel_values"].to(self._model.device)))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors `(n, D)` of n texts, on the CPU; see `count_too_long`."""
        # Padded to full length, as some of these models, such as SigLIP, were trained without a mask.
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.most_tokens, return_tensors="pt"
        )
        return _unit(self._model.get_text_features(**tokens.to(self._model.device)))

    def count_too_long(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the model reads, so that their ends are cut off."""
        with quiet_transformers():
            tokens: list[list[int]] = self._tokenizer(list(texts))["input_ids"]
        return sum(len(each) > self.most_tokens for each in tokens)


def load_image_text_model(name: str, *, setting: str) -> ImageTextModel:
    """Load a model such as CLIP with its published weights.

    Args:
        name: "hf:" with a folder, or with a repository, which is read from the local cache or downloaded.
        setting: the setting or argument that names the model, for messages.

    Raises:
        EncoderError: transformers is not installed, the model cannot be found or loaded, or it does not embed images
            and texts into one space.
    """
    if not name.startswith(_PREFIX):
        raise EncoderError(
            f"`{setting}` is {name!r}. Expected hf: with a repository or a folder, such as `{setting}=hf:FOLDER`."
        )
    own = name.removeprefix(_PREFIX)
    transformers = import_transformers(own)
    folder = find_model(own, setting=setting)
    config = load_pretrained(transformers.AutoConfig, own, folder)
    kind = transformers.MODEL_MAPPING.get(type(config), None)
    if not all(hasattr(kind, tower) for tower in _TOWERS):
        raise EncoderError(
            f"{name} is a model of the type {config.model_type!r}, which does not embed images and texts into one "
            f"space: that takes {' and '.join(_TOWERS)}. Name a CLIP or SigLIP model as `{setting}`."
        )
    model = load_pretrained(transformers.AutoModel, own, folder).float()
    processor = load_pretrained(transformers.AutoImageProcessor, own, folder)
    tokenizer = load_pretrained(transformers.AutoTokenizer, own, folder)
    return ImageTextModel(name, model, processor, tokenizer)


def _unit(output: Any) -> Tensor:
    vectors: Tensor = output if isinstance(output, Tensor) else output.pooler_output  # since transformers 5
    return functional.normalize(vectors.float(), dim=-1).cpu()
