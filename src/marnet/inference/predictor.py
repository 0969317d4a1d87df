"""`Predictor`: a trained model that takes images in any form and gives classes, probabilities and features."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from marnet.cache import cache_directory
from marnet.config import Config
from marnet.data.dataset import ImageTextDataset, OpenedSplit, open_splits
from marnet.data.decoding import ImageLike, ImageTransform, image_name, list_images
from marnet.data.features import FeatureDataset
from marnet.data.manifest import Manifest, Record
from marnet.data.moved import refuse_missing_images, rows_without_splits
from marnet.data.options import GROUP, read_options
from marnet.data.recorded import read_recorded
from marnet.data.sources import log_notes, read_data
from marnet.data.transforms import ImageSpec, eval_transform, model_input
from marnet.errors import ConfigError, DataError, RunDirectoryError, suggest
from marnet.inference.calibration import cross_fit, uncalibrated_logits
from marnet.inference.conformal import least_probability, read_sets
from marnet.inference.device import choose_device
from marnet.inference.open_set import least_confidence
from marnet.inference.outputs import SplitOutputs, affordable_batch, collect_outputs
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.model import MARNet
from marnet.modules.calibration import FittedCalibration
from marnet.outputs import ALIGNMENT, RECONSTRUCTION, VISUAL
from marnet.runs.code import AllowCode
from marnet.runs.directory import MANIFEST, WEIGHTS
from marnet.runs.layout import CALIBRATION
from marnet.runs.new_classes import AddedClass
from marnet.runs.versions import naming_newer_version
from marnet.runs.weights import load_run
from marnet.tasks import Task, make_task

_FEATURES = {"x_v": VISUAL, "x_ema": ALIGNMENT, "x_cdr": RECONSTRUCTION}
_Single = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image
_BATCH = 64


class Prediction(NamedTuple):
    """Classes of one image, the most probable first; where images have several classes, possibly none.

    Example:
        >>> import marnet
        >>> prediction = marnet.load("runs/p").predict("a.jpg", top=2)
        >>> prediction.image, len(prediction.labels), prediction.probabilities[0] >= prediction.probabilities[1]
        ('a.jpg', 2, True)
    """

    image: str  # its path, or "image 3" by its position where it has none
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    abstained: bool | None = None  # with `abstain`: the set has not exactly one class, so that a person should look
    unknown: bool | None = None  # with `open_set`: the image is of none of the classes


class Predictor:
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
        self.run = Path(run)
        self.device = choose_device(device)
        with naming_newer_version(self.run):
            loaded = load_run(self.run, backbone=backbone, with_text=with_text, allow_code=allow_code)
        self.config: Config = loaded.config
        self.classes: tuple[str, ...] = loaded.classes
        self.spec: ImageSpec = loaded.spec
        self.transform = ImageTransform(self.spec, max_pixels=self.config.data.max_pixels)
        self.added: tuple[AddedClass, ...] = loaded.added
        self._confidences = loaded.confidences
        self.calibration: FittedCalibration | None = loaded.model.calibration.fitted
        self.task: Task = make_task(loaded.config, len(loaded.classes), thresholds=loaded.model.calibration.thresholds)
        self.model: MARNet = loaded.model.to(self.device)
        self._own_rows: Manifest | None = None

    @overload
    def predict(
        self,
        images: _Single,
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: list[Any] | tuple[Any, ...],
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        images: ImageLike | Iterable[Any],
        *,
        top: int | None = ...,
        abstain: float | None = ...,
        open_set: float | None = ...,
        batch_size: int = ...,
    ) -> Prediction | list[Prediction]: ...

    def predict(
        self,
        images: ImageLike | Iterable[Any],
        *,
        top: int | None = None,
        abstain: float | None = None,
        open_set: float | None = None,
        batch_size: int = _BATCH,
    ) -> Prediction | list[Prediction]:
        """Return the `top` most probable classes of one image, or a list of them for several.

        Without `top` these are five, or where images have several classes, those that reach their threshold.

        Args:
            images: one image or several.
            top: how many classes to return per image.
            abstain: return as many classes as it takes to miss the true one at this rate, such as 0.05 (split conformal
                prediction, `marnet.inference.conformal`). An image that needs more than one is abstained from.
            open_set: tell which images are of none of the classes, so that this share of the images of known classes,
                such as 0.05, is taken for one (`marnet.inference.open_set`).
            batch_size: images computed at a time.

        Raises:
            ImageError: an image cannot be read; of several, the message names its position, from 0.
            ConfigError: the run cannot promise such a rate.
            ValueError: `top` is less than 1, or was given with `abstain`.
        """
        if top is not None and (top < 1 or abstain is not None):
            reason = "it must be 1 or more" if top < 1 else "`abstain` says how many classes there are"
            raise ValueError(f"`top` is {top}, but {reason}.")
        least = None if abstain is None else self.least_probability(abstain)
        surest = None if open_set is None else self.least_confidence(open_set)
        several = list_images(images)
        chosen = [images] if several is None else several
        probabilities = self._compute(chosen, batch_size, self.probabilities)
        read = self.task.read(probabilities, top) if least is None else read_sets(probabilities, least)
        predictions = []
        for position, (image, row, columns) in enumerate(zip(chosen, probabilities, read, strict=True)):
            labels = tuple(self.classes[column] for column in columns)
            abstained = None if least is None else len(columns) != 1
            unknown = None if surest is None else float(row.max()) < surest - 1e-6  # kept with six digits
            probable = tuple(row[columns].tolist())
            predictions.append(Prediction(image_name(image, position), labels, probable, abstained, unknown))
        return predictions[0] if several is None else predictions

    def class_number(self, label: str) -> int:
        """Return the number of a class, which is its column of the probabilities.

        Raises:
            ConfigError: the run has no such class.
        """
        if label not in self.classes:
            raise ConfigError(
                f"{self.run} has no class {label!r}. Name one of its {len(self.classes)} classes as `label`."
                f"{suggest(label, self.classes)}"
            )
        return self.classes.index(label)

    def least_probability(self, error: float) -> float:
        """Return the probability that a class needs to be in a prediction set with this rate of error.

        Raises:
            ConfigError: the rate is not between 0 and 1, or the run's held-out rows cannot promise it.
        """
        if self.config.data.labels != "single":
            raise ConfigError(
                f"`abstain` needs one class per image, but {self.run} has images with several classes. Leave it out; "
                f"each class has a threshold of its own."
            )
        if self.calibration is None:
            raise ConfigError(
                f"{self.run} has no {CALIBRATION}, so that it cannot promise a rate of error. Leave `abstain` out, or "
                f"train with `training.calibrate=true`."
            )
        return least_probability(self.calibration.scores, error)

    def least_confidence(self, rate: float) -> float:
        """Return the probability that the most probable class needs, or the image is of none of the classes.

        Args:
            rate: the share of images of known classes that may fall short of it.

        Raises:
            ConfigError: the rate is not between 0 and 1, or the run's held-out rows cannot keep it.
        """
        found = self._confidences or ([] if self.calibration is None else self.calibration.confidences)
        if not found:
            raise ConfigError(
                f"{self.run} does not say how sure it is of images of known classes, so that it cannot tell others "
                f"from them. Leave `open_set` out, or train with one class per image and `training.calibrate=true`."
            )
        return least_confidence(found, rate)

    def predict_proba(self, images: ImageLike | Iterable[Any], *, batch_size: int = _BATCH) -> np.ndarray:
        """Return the probabilities of the classes: `(C,)` of one image, `(N, C)` of several; float32.

        The columns are those of `classes`.

        Raises:
            ImageError: an image cannot be read; of several, the message names its position, from 0.
        """
        return self._answer(images, batch_size, self.probabilities)

    def encode(self, images: ImageLike | Iterable[Any], *, kind: str = "x_v", batch_size: int = _BATCH) -> np.ndarray:
        """Return features: `(D,)` of one image, `(N, D)` of several; float32.

        Args:
            images: one image or several.
            kind: "x_v" for the features of the backbone, "x_ema" for those aligned with the text, "x_cdr" for the
                reconstructed semantics, or the name of a branch that the run's method adds.
            batch_size: images computed at a time.

        Raises:
            ConfigError: the method of the run does not compute such features.
            ImageError: an image cannot be read; of several, the message names its position, from 0.
        """
        return self._answer(images, batch_size, lambda pixels: self._features(pixels, kind))

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities `(B, C)` of uint8 images `(B, 3, S, S)` of the size of `self.spec`, on the CPU."""
        logits = self.finite(self.model(model_input(images.to(self.device), self.spec)))
        return self.task.probabilities(logits).cpu()

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
        if data is None or isinstance(data, Manifest):
            return self.manifest() if data is None else data
        options = read_options(self.config.data)  # groups are of no use here, and new data need not have any
        manifest = read_data(data, dataclasses.replace(options, columns=options.columns._replace(group=GROUP)))
        if manifest.made_splits:
            manifest = rows_without_splits(manifest, self.manifest, split)
        log_notes(manifest)
        return manifest

    def manifest(self) -> Manifest:
        """Return the rows and the split that the run was trained and validated on."""
        if self._own_rows is None:
            self._own_rows = read_recorded(self.run, label_form=self.config.data.labels)
        return self._own_rows

    def open_split(self, manifest: Manifest, split: str) -> OpenedSplit:
        """Return the images of a split as the model sees them, before normalisation; labels are the run's own.

        Raises:
            DataError: the split is empty, its labels are of the other form, one is unknown to the run, or (unless the
                run skips them) an image is broken.
        """
        data = self.config.data
        if manifest.label_form != data.labels:
            raise DataError(
                f"{manifest.source} has labels of the form {manifest.label_form!r}, but {self.run} was trained with "
                f"{data.labels!r}. Choose another source, or train a run on this one."
            )
        check_labels_known(manifest, split, self.classes)
        if manifest is self._own_rows:
            subject = f"The run {self.run}, split {split!r}"
            refuse_missing_images(manifest.split(split), subject, skip=data.on_bad_image == "skip")
        return open_splits(
            dataclasses.replace(manifest, classes=self.classes),
            {split: eval_transform(self.spec)},
            spec=self.spec,
            on_bad_image=data.on_bad_image,
            max_pixels=data.max_pixels,
            cache=cache_directory() if data.cache else None,
            stream=data.stream,
        )[split]

    def outputs(self, manifest: Manifest, split: str, *, batch_size: int = _BATCH) -> SplitOutputs:
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
        batch_size: int = _BATCH,
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
        size = affordable_batch(batch_size, self.spec.size)
        calibration = self.model.calibration
        with calibration.off():
            collected = collect_outputs(self.model, dataset, self.spec, batch_size=size, device=self.device)
        collected = collected._replace(logits=collected.logits[:, : self.model.num_classes])  # those it was trained for
        labels = torch.as_tensor(dataset.labels)
        logits, thresholds = self.finite(calibration(collected.logits, collected.x_v)), None
        if self._calibrated_on(records):
            balanced = self.calibration is not None and self.calibration.balanced
            logits, thresholds = cross_fit(self.model, collected, labels, balanced=balanced)
        uncalibrated = None if self.calibration is None else uncalibrated_logits(self.model, collected)
        if self.config.data.threshold is not None:  # it wins over those that were fitted
            thresholds = None
        return SplitOutputs(
            logits=self._with_new_classes(logits, collected.x_v),
            labels=labels,
            branch_logits=collected.branch_logits,
            x_v=collected.x_v,
            x_cdr=collected.x_cdr,
            records=tuple(records),
            skipped=skipped,
            thresholds=thresholds,
            uncalibrated=None if uncalibrated is None else self._with_new_classes(uncalibrated, collected.x_v),
        )

    @torch.inference_mode()
    def _with_new_classes(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return logits `(N, C)` on the CPU with those of the classes that were added after training."""
        return self.model.with_new_classes(logits.to(self.device), x_v.to(self.device)).cpu()

    def _calibrated_on(self, records: Sequence[Record]) -> bool:
        """Return whether the calibration was fitted on these rows, wherever their images are by now."""
        fitted = self.calibration
        if fitted is None or len(records) != fitted.rows or not (self.run / MANIFEST).is_file():
            return False
        own = {_without_folder(record) for record in self.manifest().records if record.split == fitted.split}
        return all(_without_folder(record) in own for record in records)

    def finite(self, logits: Tensor) -> Tensor:
        """Return the logits; refuse those that are no numbers, which would be printed as a prediction.

        Raises:
            RunDirectoryError: a logit is NaN or infinite.
        """
        if not bool(torch.isfinite(logits).all()):
            raise RunDirectoryError(
                f"{self.run} gives predictions that are no numbers (NaN or infinite): its weights are damaged, or its "
                f"training failed. Restore {self.run / WEIGHTS}, or train again."
            )
        return logits

    def _answer(
        self, images: ImageLike | Iterable[Any], batch_size: int, compute: Callable[[Tensor], Tensor]
    ) -> np.ndarray:
        several = list_images(images)
        found = self._compute([images] if several is None else several, batch_size, compute).numpy()
        return np.asarray(found[0] if several is None else found)

    def _compute(self, images: Sequence[Any], batch_size: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the rows `(N, ...)` that `compute` gives of uint8 batches `(B, 3, S, S)`."""
        if not images:  # the width of a row is that of any image
            return compute(torch.zeros(1, 3, self.spec.size, self.spec.size, dtype=torch.uint8))[:0]
        size = affordable_batch(batch_size, self.spec.size)
        return torch.cat([compute(batch) for batch in self._batches(images, size)])

    def _batches(self, images: Sequence[Any], batch_size: int) -> Iterator[Tensor]:
        for first in range(0, len(images), batch_size):
            positions = range(first, min(first + batch_size, len(images)))
            names = {each: _place(images[each], each) if len(images) > 1 else None for each in positions}
            yield torch.stack([self.transform.pixels(images[each], name=name) for each, name in names.items()])

    @torch.inference_mode()
    def _features(self, pixels: Tensor, kind: str) -> Tensor:
        features = self.model.prediction_outputs(model_input(pixels.to(self.device), self.spec)).features
        names = {branch: name for name, branch in _FEATURES.items()}
        present = {names.get(branch, branch): each for branch, each in features.items()}
        if kind not in present:
            raise ConfigError(
                f"{self.run} was trained with the method {self.config.method!r}, which computes no features {kind!r}. "
                f"Choose from {', '.join(present)}.{suggest(kind, present)}"
            )
        return present[kind].float().cpu()


def _without_folder(record: Record) -> Record:
    return record._replace(image=Path(record.image).name)


def load(
    run: Path | str, *, backbone: nn.Module | None = None, device: str = "auto", allow_code: AllowCode = False
) -> Predictor:
    """Load a run directory for prediction.

    Args:
        run: the run directory, or a `TrainedRun`.
        backbone: the module that the run was trained with, where it was handed over in Python.
        device: where to compute, such as "cpu" or "cuda:1"; "auto" takes CUDA if there is any, else MPS, else the CPU.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        RunDirectoryError: the run directory is incomplete or damaged, or names code that is not allowed.
        ConfigError: there is no such device.

    Example:
        >>> import marnet
        >>> marnet.load("runs/p").predict("a.jpg").labels[0] in ("apple", "eel", "lime")
        True
    """
    return Predictor(run, backbone=backbone, device=device, allow_code=allow_code)


def _place(image: Any, position: int) -> str:
    """Return the name of one image among several for messages."""
    if isinstance(image, str | os.PathLike):
        return f"Image {os.fspath(image)} (position {position})"
    return f"The image at position {position}"


def check_labels_known(manifest: Manifest, split: str, classes: Sequence[str]) -> None:
    """Refuse a split that cannot be scored.

    Raises:
        DataError: it names no class, or one that is not among the classes.
    """
    rows = manifest.split(split)
    named = {name for record in rows for name in manifest.names(record)}
    if not named:
        raise DataError(
            f"{manifest.source} names no class in any of the {len(rows)} rows of split {split!r}, so there is nothing "
            f"to score. Choose another split, or fill in the labels."
        )
    unknown = sorted(named - set(classes))
    if unknown:
        raise DataError(
            f"{manifest.source}, split {split!r}, has labels that the run does not know: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; the run knows {len(classes)} classes, such as "
            f"{', '.join(list(classes)[:3])}. Remove those rows, or train a run that has the classes."
        )
