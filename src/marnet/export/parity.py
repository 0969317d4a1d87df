"""Does an exported file predict what its run predicts?"""

from typing import NamedTuple

import numpy as np
import torch

from marnet.errors import ExportError
from marnet.export.check_images import CheckImages
from marnet.inference import ExportedPredictor, Predictor
from marnet.inference.batch_size import affordable_batch
from marnet.inference.exported.predictor import PROBABILITIES
from marnet.inference.image_predictor import BATCH

TOLERANCE = 1e-4  # of a probability
BATCHES = (1, 5, 64)  # sizes at which the file is tried


class Parity(NamedTuple):
    """How near the predictions of a file and of its run are."""

    largest_difference: float  # of a probability, over all images and classes
    agreement: float  # share of the images whose most probable class is the same
    other_pixels: int  # images that the file turns into other pixels than the run

    def check(self, run: Predictor) -> None:
        """Refuse a file that predicts something else.

        Raises:
            ExportError: a probability differs by more than `TOLERANCE`, a most probable class differs, or a pixel.
        """
        if self.largest_difference > TOLERANCE or self.agreement < 1 or self.other_pixels:
            raise ExportError(
                f"The exported model does not predict what {run.run} predicts: the largest difference of a probability "
                f"is {self.largest_difference:.2g} (at most {TOLERANCE:g} is allowed), the most probable class is the "
                f"same for {100 * self.agreement:.1f} % of the images, and {self.other_pixels} images were prepared "
                f"differently. No file was written. Export to the other format (.onnx or .pt2), or report this with "
                f"the name of the backbone."
            )


def compare_predictions(run: Predictor, file: ExportedPredictor, check: CheckImages) -> Parity:
    """Compare a file with its run on images, in batches of all sizes of `BATCHES`."""
    parts = torch.split(torch.from_numpy(check.pixels), affordable_batch(BATCH, run.spec.size))
    expected = np.concatenate([run.probabilities(part).numpy() for part in parts])
    prepared = np.stack([file.prepare(image) for image in check.images])
    largest, agreement = 0.0, 1.0
    for size in BATCHES:
        found = np.concatenate(
            [file.compute(prepared[first : first + size])[PROBABILITIES] for first in range(0, len(prepared), size)]
        )
        largest = max(largest, float(np.abs(found - expected).max()))
        agreement = min(agreement, float((found.argmax(1) == expected.argmax(1)).mean()))
    other = int((prepared != check.pixels).any((1, 2, 3)).sum())
    return Parity(largest, agreement, other)
