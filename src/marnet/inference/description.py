"""The meaning of what goes into a model and what comes out, apart from the run directory that says so."""

from typing import NamedTuple

from marnet.choices import LabelForm
from marnet.data.image_spec import ImageSpec


class Description(NamedTuple):
    """Everything but the weights that predicting images takes."""

    method: str
    classes: tuple[str, ...]  # C, in the order of the probabilities; those that were added after training come last
    added: int  # how many were added
    spec: ImageSpec
    max_pixels: int  # images with more are refused
    label_form: LabelForm
    thresholds: tuple[float, ...] | None  # (C,), the least probability of a class; None for one class per image
    scores: tuple[float, ...] | None  # 1 - p(true class) of held-out rows, in ascending order; None: not calibrated
    confidences: tuple[float, ...]  # of the most probable class of held-out rows, in ascending order; () if not known
