"""`ExportedPredictor`: predicts images with one file that `marnet export` wrote, without torch where it is ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from marnet.data.decoding import ImageLike, decode
from marnet.data.image_spec import ImageSpec, cache_size
from marnet.data.resizing import resize_square
from marnet.errors import ExportError
from marnet.inference.exported.artefact import Artefact
from marnet.inference.image_predictor import ImagePredictor

if TYPE_CHECKING:
    from marnet.metrics import Metrics, MultiLabelMetrics

PROBABILITIES, LOGITS = "probabilities", "logits"  # outputs of a graph; the others but those of branches are features
OF_BRANCH = f"{PROBABILITIES}_"  # begins the names of outputs that are the probabilities of a branch alone


class Session(Protocol):
    """A graph that is ready to run."""

    artefact: Artefact

    def run(self, images: np.ndarray, noise: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return all outputs by name, B rows each, of the normalised input `(B, 3, S, S)` float32.

        `noise` `(B, d_0)` replaces the stored start vector of CDR.
        """
        ...


class ExportedPredictor(ImagePredictor):
    """A trained model out of a file that `marnet export` wrote; `marnet.load` gives one.

    It predicts as a `Predictor` does, and for an ONNX file it takes onnxruntime, numpy and Pillow alone. Text, rows and
    metrics stay with the run.

    Args:
        path: the file.
        session: the graph of it.

    Attributes:
        run: the file.
        artefact: what the file says of itself.
        classes: the C class names; their order numbers the probabilities.
        spec: the input of the model.

    Example:
        >>> import marnet
        >>> marnet.export_run("runs/p", "p.onnx").largest_difference < 1e-4
        True
        >>> clf = marnet.load("p.onnx")
        >>> clf.predict("a.jpg").labels == marnet.load("runs/p").predict("a.jpg").labels
        True
        >>> clf.artefact.description.method, clf.predict_proba(["a.jpg", "b.jpg"]).shape
        ('marnet', (2, 3))
    """

    def __init__(self, path: Path, session: Session) -> None:
        super().__init__(path, session.artefact.description)
        self.artefact = session.artefact
        self.session = session

    def evaluate(self, data: Any, *, split: str = "val") -> "Metrics | MultiLabelMetrics":
        """Return the metrics on a split of some data; this takes torch, as a run does.

        Args:
            data: see `Predictor.evaluate`; the file has no rows of its own.
            split: "train", "val" or "test".

        Raises:
            DataError: the split is empty, or a label or an image of it cannot be used.
        """
        from marnet.inference.exported.scoring import ExportScorer

        scorer = ExportScorer(self)
        outputs = scorer.outputs(scorer.rows(data, split), split)
        return scorer.task.metrics(outputs.logits, outputs.labels)

    def compute(self, pixels: np.ndarray, noise: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return all outputs of the graph by name, of uint8 images `(B, 3, S, S)`.

        Args:
            pixels: the images.
            noise: `(B, d_0)`, in place of the stored start vector of CDR.

        Raises:
            ExportError: a probability is NaN or infinite.
            ValueError: the method has no CDR, or `noise` has another shape.
        """
        if noise is not None:
            self._check_noise(noise, len(pixels))
        found = self.session.run(normalise(pixels, self.spec), noise)
        if not np.isfinite(found[LOGITS]).all():
            raise ExportError(
                f"{self.run} gives predictions that are no numbers (NaN or infinite). Export the run again."
            )
        return found

    def _check_noise(self, noise: np.ndarray, rows: int) -> None:
        start = self.artefact.noise
        if start is None:
            raise ValueError(f"`noise` was given, but the method {self.description.method!r} of {self.run} takes none.")
        if noise.shape != (rows, len(start)):
            raise ValueError(f"`noise` has the shape {noise.shape}, but it must be {(rows, len(start))}.")

    def prepare(self, image: ImageLike, *, name: str | None = None) -> np.ndarray:
        """Return one image as the model sees it, `(3, S, S)` uint8, to `compute` with; `name` is for messages.

        Raises:
            ImageError: see `marnet.data.decoding.decode`.
        """
        return model_pixels(image, self.spec, max_pixels=self.description.max_pixels, name=name)

    def _pixels(self, image: ImageLike, *, name: str | None) -> np.ndarray:
        return self.prepare(image, name=name)

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self.compute(pixels)[PROBABILITIES]

    def _features(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = self.compute(pixels)
        return {n: x for n, x in found.items() if n not in (PROBABILITIES, LOGITS) and not n.startswith(OF_BRANCH)}


def model_pixels(image: ImageLike, spec: ImageSpec, *, max_pixels: int, name: str | None = None) -> np.ndarray:
    """Return an image as the model sees it, `(3, S, S)` uint8; equal to `ImageTransform.pixels`, without torch.

    Raises:
        ImageError: see `decode`.
    """
    size = cache_size(spec)
    picture = decode(image, max_pixels=max_pixels, min_side=size, name=name)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = np.array(picture)[top : top + side, left : left + side]
    resized = resize_square(square, size, interpolation=spec.interpolation)
    margin = round((size - spec.size) / 2)
    cropped = resized[margin : margin + spec.size, margin : margin + spec.size]
    return np.ascontiguousarray(cropped.transpose(2, 0, 1))


def normalise(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Return uint8 images `(B, 3, S, S)` as the float32 input of the model; equal to `transforms.normalise`."""
    mean, std = (np.asarray(each, np.float32)[:, None, None] * np.float32(255) for each in (spec.mean, spec.std))
    found: np.ndarray = (pixels.astype(np.float32) - mean) / std
    return found
