"""The unified space of a run: images and texts as unit vectors, in which a cosine compares any two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from marnet.data.dataset import Batch, ImageTextDataset
from marnet.data.decoding import ImageLike
from marnet.data.features import FeatureDataset
from marnet.data.loading import make_loader
from marnet.data.transforms import model_input
from marnet.encoders.text import has_text
from marnet.errors import ConfigError, list_some
from marnet.inference import Predictor
from marnet.inference.batch_size import affordable_batch
from marnet.outputs import ALIGNMENT, RECONSTRUCTION
from marnet.runs.code import AllowCode

BRANCHES = (RECONSTRUCTION, ALIGNMENT)  # that bring images and texts together


class UnifiedSpace:
    """Images and texts in the space that a run has learned.

    An image is where CDR reconstructs its semantics (x_CDR beside x_0), or for a method without CDR where EMA aligns
    it (z_v beside z_s).

    Args:
        predictor: of a run with text, loaded with `with_text=True`.
        branch: "reconstruction" or "alignment"; None: the first of the two that the method has.

    Attributes:
        branch: the one in use.
        width: of the vectors.
        vocabulary: the words that the text encoder knows; empty where it takes any text.

    Raises:
        ConfigError: the method of the run has no such branch, or the text encoder was not loaded.

    Example:
        >>> import marnet
        >>> from marnet.semantic.space import UnifiedSpace
        >>> space = UnifiedSpace(marnet.Predictor("runs/p", device="cpu", with_text=True))
        >>> images, texts = space.images(["a.jpg", "b.jpg"]), space.texts(["sour and green"])
        >>> (images @ texts.T).shape
        torch.Size([2, 1])
    """

    def __init__(self, predictor: Predictor, *, branch: str | None = None) -> None:
        model = predictor.model
        present = [name for name in BRANCHES if name in model.branches]
        if not present or (branch is not None and branch not in present):
            wanted = "no space that images and texts share" if not present else f"no branch {branch!r}"
            found = "marnet, match, reconstruct and regress have one" if not present else f"it has {', '.join(present)}"
            raise ConfigError(
                f"{predictor.run} was trained with the method {predictor.config.method!r}, which has {wanted}; "
                f"{found}. Name such a run."
            )
        if model.text is None:
            raise ConfigError(
                f"{predictor.run} was loaded without its text encoder. Load it with "
                f"marnet.Predictor({str(predictor.run)!r}, with_text=True)."
            )
        self.predictor = predictor
        self.branch = branch or present[0]
        self._model: Any = model  # whose modules are of any kind to a type checker
        branches: Any = model.branches
        self.width: int = branches[self.branch].width
        encoder: Any = model.text
        self.vocabulary: tuple[str, ...] = encoder.vocabulary

    def images(self, images: ImageLike | Sequence[Any], *, batch_size: int = 64) -> Tensor:
        """Return unit vectors `(N, width)` of images in any form that `Predictor` takes; one image is a row as well."""
        kind = "x_cdr" if self.branch == RECONSTRUCTION else "x_ema"
        return self.from_features(torch.from_numpy(self.predictor.encode(images, kind=kind, batch_size=batch_size)))

    def from_features(self, features: Tensor) -> Tensor:
        """Return unit vectors `(N, width)` of x_CDR or x_EMA `(N, width)` or `(width,)`, on the CPU in float32."""
        return functional.normalize(features.float().cpu().reshape(-1, self.width), dim=-1)

    @torch.inference_mode()
    def rows(self, dataset: ImageTextDataset | FeatureDataset, *, batch_size: int = 64) -> Tensor:
        """Return unit vectors `(N, width)` of a dataset of images, or of features of the run's backbone."""
        spec, device = self.predictor.spec, self.predictor.device
        found = [torch.zeros(0, self.width)]
        batch: Batch
        for batch in make_loader(dataset, batch_size=affordable_batch(batch_size, spec.size)):
            outputs = self._model.prediction_outputs(model_input(batch.images.to(device), spec))
            found.append(self.from_features(outputs.features[self.branch]))
        return torch.cat(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors `(N, width)` of N texts; one that says nothing to the text encoder is a row of zeros.

        A text encoder of words says nothing of a text without a word from the training texts.

        Raises:
            ConfigError: a text is blank.
        """
        blank = [position for position, text in enumerate(texts) if not has_text(text)]
        if blank:
            raise ConfigError(
                f"The texts at the positions {list_some([str(each) for each in blank])} are blank, so that they have "
                f"no place in the space. Leave them out."
            )
        if not texts:
            return torch.zeros(0, self.width)
        x_s = self._model.text(list(texts))
        semantics = self._model.semantics
        halves = self._model.training_part(ALIGNMENT)
        if self.branch == RECONSTRUCTION:
            vectors = semantics(x_s)
        else:
            vectors = halves(x_s if halves.reads_text else semantics(x_s))
        silent = x_s.abs().sum(-1, keepdim=True) == 0
        return functional.normalize(vectors.float(), dim=-1).masked_fill(silent, 0.0).cpu()

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that say nothing to the text encoder; only encoders of words have such."""
        unknown: tuple[str, ...] = self._model.text.unknown_words(text)
        return unknown


def open_space(run: Path | str | UnifiedSpace, *, device: str = "auto", allow_code: AllowCode = False) -> UnifiedSpace:
    """Return the unified space of a run directory.

    Raises:
        ConfigError: the method of the run has no space that images and texts share.
        RunDirectoryError: the run directory is incomplete or damaged.
    """
    if isinstance(run, UnifiedSpace):
        return run
    return UnifiedSpace(Predictor(run, device=device, allow_code=allow_code, with_text=True))
