"""`Predictor`: a trained model out of its run directory, which predicts images and scores rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from marnet.config import Config
from marnet.data.dataset import ImageTextDataset, OpenedSplit
from marnet.data.decoding import ImageLike
from marnet.data.features import FeatureDataset
from marnet.data.image_transform import ImageTransform
from marnet.data.manifest import Manifest, Record
from marnet.data.transforms import model_input
from marnet.inference.description import Description
from marnet.inference.device import choose_device
from marnet.inference.image_predictor import BATCH, ImagePredictor
from marnet.inference.outputs import SplitOutputs
from marnet.inference.rows import RunRows
from marnet.inference.scoring import Scorer
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.model import MARNet
from marnet.modules.calibration import FittedCalibration
from marnet.outputs import ALIGNMENT, RECONSTRUCTION, VISUAL
from marnet.runs.code import AllowCode
from marnet.runs.new_classes import AddedClass
from marnet.runs.versions import naming_newer_version
from marnet.runs.weights import LoadedRun, load_run
from marnet.tasks import Task, make_task

# The names of features by branch; those of other branches go by the name of the branch.
FEATURE_NAMES = {VISUAL: "x_v", ALIGNMENT: "x_ema", RECONSTRUCTION: "x_cdr"}


class Predictor(ImagePredictor):
    """A trained model that takes images in any form.

    An image is a path, the bytes of an image file, a Pillow image, a uint8 array `(H, W)`, `(H, W, 3)` or `(H, W, 4)`,
    or a uint8 tensor `(3, H, W)`. All forms of one image give equal answers, and `data.max_pixels` of the run holds for
    all. One image gives one answer; several (a list, a tuple, whatever can be iterated over) give several.

    Args:
        run: the run directory.
        backbone: the module that the run was trained with, where it was handed over in Python.
        device: where to compute, such as "cpu" or "cuda:1"; "auto" takes CUDA if there is any, else MPS, else the CPU.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.
        with_text: restore the text encoder too, for `marnet.semantic`; prediction needs none.

    Attributes:
        config: the settings of the run.
        classes: the C class names; their order numbers the probabilities. Those that were added come last.
        added: the classes that were added after training.
        spec: the input of the model.
        transform: turns one image in any form into the normalised input `(3, S, S)` of the model.
        model: the model, in evaluation mode, on `device`.
        calibration: the numbers that were fitted on val after training; None for a run without.

    Raises:
        RunDirectoryError: the run directory is incomplete or damaged.
        ConfigError: there is no such device.

    Example:
        >>> import marnet
        >>> from pathlib import Path
        >>> clf = marnet.load("runs/p", device="cpu")
        >>> clf.classes
        ('apple', 'eel', 'lime')
        >>> one = clf.predict("a.jpg")
        >>> many = clf.predict(["a.jpg", Path("b.jpg").read_bytes()])
        >>> one.labels == many[0].labels, len(many)
        (True, 2)
        >>> clf.predict_proba(["a.jpg", "b.jpg"]).shape, clf.encode("a.jpg").ndim, clf.transform("a.jpg").shape
        ((2, 3), 1, torch.Size([3, 32, 32]))
        >>> clf.evaluate(split="test").n
        9
    """

    def __init__(
        self,
        run: Path | str,
        *,
        backbone: nn.Module | None = None,
        device: str = "auto",
        allow_code: AllowCode = False,
        with_text: bool = False,
    ) -> None:
        run = Path(run)
        self.device = choose_device(device)
        with naming_newer_version(run):
            loaded = load_run(run, backbone=backbone, with_text=with_text, allow_code=allow_code)
        self.config: Config = loaded.config
        self.task: Task = make_task(loaded.config, len(loaded.classes), thresholds=loaded.model.calibration.thresholds)
        super().__init__(run, _describe(loaded, self.task))
        self.transform = ImageTransform(self.spec, max_pixels=self.config.data.max_pixels)
        self.added: tuple[AddedClass, ...] = loaded.added
        self.calibration: FittedCalibration | None = loaded.model.calibration.fitted
        self.model: MARNet = loaded.model.to(self.device)
        self._rows = RunRows(run, self.config.data, self.classes, self.spec)
        self._scorer = Scorer(
            run,
            self.model,
            self.spec,
            device=self.device,
            fixed_threshold=self.config.data.threshold is not None,
        )

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities `(B, C)` of uint8 images `(B, 3, S, S)` of the size of `self.spec`, on the CPU."""
        logits = self.finite(self.model(model_input(images.to(self.device), self.spec)))
        return self.task.probabilities(logits).cpu()

    def finite(self, logits: Tensor) -> Tensor:
        """Return the logits; refuse those that are no numbers, which would be printed as a prediction.

        Raises:
            RunDirectoryError: a logit is NaN or infinite.
        """
        return self._scorer.finite(logits)

    def evaluate(self, data: Any = None, *, split: str = "val") -> Metrics | MultiLabelMetrics:
        """Return the metrics on a split of the run's own rows, or of other data.

        Args:
            data: None for the rows that the run was trained and validated on; else see
                `marnet.data.sources.open_data`. Columns are named as in the run; labels are matched by name.
            split: "train", "val" or "test".

        Raises:
            DataError: the split is empty, or a label or an image of it cannot be used.
        """
        outputs = self.outputs(self.rows(data, split), split)
        return self.task.metrics(outputs.logits, outputs.labels, thresholds=outputs.thresholds)

    def rows(self, data: Any = None, split: str = "val") -> Manifest:
        """Return the rows to score: those of some data, read with the options of the run, or of None the run's own.

        Where the data names no splits, all its rows are of the split that is scored. If they are those of the run, at a
        new place perhaps, they keep the splits that they have in the run.

        Args:
            data: None, a `Manifest`, or see `marnet.data.sources.open_data`.
            split: the split that is scored.

        Raises:
            DataError: the data cannot be read.
        """
        return self._rows.read(data, split)

    def manifest(self) -> Manifest:
        """Return the rows and the split that the run was trained and validated on."""
        return self._rows.own()

    def open_split(self, manifest: Manifest, split: str) -> OpenedSplit:
        """Return the images of a split as the model sees them, before normalisation; labels are the run's own.

        Raises:
            DataError: the split is empty, its labels are of the other form, one is unknown to the run, or (unless the
                run skips them) an image is broken.
        """
        return self._rows.open(manifest, split)

    def outputs(self, manifest: Manifest, split: str, *, batch_size: int = BATCH) -> SplitOutputs:
        """Return all outputs of the model for a split; labels are matched to the run's classes by name.

        The rows that the calibration of the run was fitted on are predicted by cross-fitting
        (`marnet.inference.calibration`), so that metrics of them are honest.

        Raises:
            DataError: the split is empty, a label is unknown to the run, or (unless the run skips them) an image is
                broken.
        """
        opened = self.open_split(manifest, split)
        return self.outputs_of(opened.dataset, opened.records, skipped=len(opened.skipped), batch_size=batch_size)

    def outputs_of(
        self,
        dataset: ImageTextDataset | FeatureDataset,
        records: Sequence[Record],
        *,
        skipped: int = 0,
        batch_size: int = BATCH,
    ) -> SplitOutputs:
        """Return all outputs of the model for a dataset of images, or of features of the run's backbone.

        The rows that the calibration of the run was fitted on are predicted by cross-fitting
        (`marnet.inference.calibration`), so that metrics of them are honest.

        Args:
            dataset: N rows, whose labels are numbered as in the run.
            records: the same N rows.
            skipped: images that could not be read and are left out.
            batch_size: rows computed at a time.
        """
        fitted = self.calibration
        own = fitted is not None and len(records) == fitted.rows and self._rows.are(records, fitted.split)
        return self._scorer.outputs(dataset, records, cross_fitted=own, skipped=skipped, batch_size=batch_size)

    def _pixels(self, image: ImageLike, *, name: str | None) -> np.ndarray:
        return self.transform.pixels(image, name=name).numpy()

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return self.probabilities(torch.from_numpy(pixels)).numpy()

    @torch.inference_mode()
    def _features(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        images = torch.from_numpy(pixels).to(self.device)
        features = self.model.prediction_outputs(model_input(images, self.spec)).features
        return {FEATURE_NAMES.get(branch, branch): each.float().cpu().numpy() for branch, each in features.items()}


def _describe(loaded: LoadedRun, task: Task) -> Description:
    fitted = loaded.model.calibration.fitted
    return Description(
        method=loaded.config.method,
        classes=loaded.classes,
        added=len(loaded.added),
        spec=loaded.spec,
        max_pixels=loaded.config.data.max_pixels,
        label_form=loaded.config.data.labels,
        thresholds=task.thresholds(),
        scores=None if fitted is None else tuple(fitted.scores),
        confidences=loaded.confidences or (() if fitted is None else tuple(fitted.confidences)),
    )
