"""The model of a run before it gets its weights, and its sizes, checked against the weights files beforehand."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from marnet.building import DEFAULT_IMAGE_SIZE, build_model
from marnet.config import Config
from marnet.encoders.visual import feature_width, rebuild_backbone
from marnet.errors import RunDirectoryError
from marnet.model import TRAINING_ONLY, MARNet
from marnet.outputs import VISUAL
from marnet.runs.layout import BACKBONE, TEXT_WEIGHTS, WEIGHTS
from marnet.runs.legacy import upgrade_names
from marnet.runs.shapes import build_without_memory, byte_count, check_shapes, module_shapes
from marnet.runs.tensor_files import Header, Shape, read_header

TEXT_ENCODER = f"{TRAINING_ONLY}text."  # begins the names of its tensors
_BACKBONE = "backbone."
_MOST_DIGITS = 9
# Bytes of tensors that only training uses, which prediction does not read; above, the file has to hold them.
_LARGEST_NOT_HELD = 2**30


class UntrainedRun(NamedTuple):
    """Everything from which the model of a run is built before it gets its weights."""

    run: Path
    config: Config
    num_classes: int
    image_size: int
    text_width: int
    backbone: nn.Module | None = None  # the caller's own

    def build(self, visual_width: int | None) -> MARNet:
        """Return the model with random weights; nothing is downloaded for it."""
        section = self.config.backbone.model_copy(update={"pretrained": False, "weights": None})
        backbone = self.backbone
        if backbone is None and (self.run / BACKBONE).is_dir():
            backbone = rebuild_backbone(self.run / BACKBONE, image_size=self.image_size)
        return build_model(
            self.config.model_copy(update={"backbone": section}),
            num_classes=self.num_classes,
            text_width=self.text_width,
            backbone=backbone,
            visual_width=visual_width,
        )

    def check_sizes(self, held: Header, *, with_text: bool) -> int:
        """Compare the shapes of the model that the settings describe with those in the files, and return D_v.

        Args:
            held: the header of the weights that predict.
            with_text: the weights that only training uses are needed, too.

        Raises:
            RunDirectoryError: the files do not hold that model; nothing was allocated.
        """
        skeleton = self.skeleton(held=len(held.shapes))
        shapes, needed = upgrade_names(held.shapes), module_shapes(skeleton)
        if self.backbone is not None:  # which is there already
            shapes, needed = _without(_BACKBONE, shapes), _without(_BACKBONE, needed)
        training = {
            name: each for name, each in needed.items() if name.startswith(TRAINING_ONLY) and name not in shapes
        }
        predicting = {name: each for name, each in needed.items() if name not in training}
        check_shapes(predicting, shapes, self.run / WEIGHTS)
        file = self.run / TEXT_WEIGHTS
        if with_text or byte_count(training.values()) > _LARGEST_NOT_HELD:
            own = upgrade_names(read_weights_header(file).shapes)
            check_shapes(training, _without(TEXT_ENCODER, own), file)
        return int(skeleton.heads[VISUAL].in_features)  # type: ignore[arg-type]

    def skeleton(self, *, held: int) -> MARNet:
        """Return the model without values; `held` is the number of tensors that its files hold."""
        width = None
        if self.backbone is not None:
            width = feature_width(self.backbone, self.config.data.image_size or DEFAULT_IMAGE_SIZE)
        return build_without_memory(lambda: self.build(width), held=held)


def read_weights_header(path: Path) -> Header:
    """Return the header of a weights file of a run.

    Raises:
        RunDirectoryError: the file is missing or damaged.
    """
    if not path.exists():
        raise RunDirectoryError(
            f"{path} is missing from the run directory. Restore it, or train again; if the training was cut off before "
            f"its first epoch ended, nothing was saved yet."
        )
    return read_header(path)


def read_text_width(run: Path, header: Header) -> int:
    """Return D_s as the weights that predict record it, 0 for a run without text.

    Raises:
        RunDirectoryError: it is not a whole number that a text encoder may have.
    """
    written = header.metadata.get("text_width", header.metadata.get("semantic_width", "0"))  # in runs of marnet 0.1
    if not (written.isascii() and written.isdigit() and len(written) < _MOST_DIGITS):
        raise RunDirectoryError(
            f"{run / WEIGHTS} is damaged: it names {written[:50]!r} as the width of texts. Restore it, or train again."
        )
    return int(written)


def _without(prefix: str, values: dict[str, Shape]) -> dict[str, Shape]:
    return {name: value for name, value in values.items() if not name.startswith(prefix)}
