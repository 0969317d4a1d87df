"""Prediction from images alone, out of a run directory."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from marnet.cache import cache_directory
from marnet.config import Config
from marnet.data.dataset import Batch, OpenedSplit, Sample, open_splits
from marnet.data.images import fit_square, read_image, to_rgb
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.transforms import ImageSpec, cache_size, eval_transform, model_input
from marnet.errors import DataError
from marnet.model import MARNet
from marnet.outputs import PredictionOutput
from marnet.runs.directory import MANIFEST
from marnet.runs.weights import load_run
from marnet.tasks import Task, make_task


class Prediction(NamedTuple):
    """Classes of one image, the most probable first; where images have several classes, possibly none."""

    image: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


class SplitOutputs(NamedTuple):
    """What the model makes of every image of a split; tensors on the CPU, N rows."""

    logits: Tensor  # (N, C)
    labels: Tensor  # (N,) int64; where images have several classes, (N, C) float32
    branch_logits: dict[str, Tensor]  # (N, C) each
    x_v: Tensor  # (N, D_v)
    x_cdr: Tensor | None  # (N, d_0)
    records: tuple[Record, ...]
    skipped: int  # images that could not be read


class Predictor:
    """A trained model that takes image files or Pillow images.

    Args:
        run: the run directory.
        backbone: the module that the run was trained with, where it was handed over in Python.
        device: where to compute; "auto" takes a GPU if there is one.

    Raises:
        RunDirectoryError: the run directory is incomplete or damaged.
    """

    def __init__(self, run: Path | str, *, backbone: nn.Module | None = None, device: str = "auto") -> None:
        self.run = Path(run)
        loaded = load_run(self.run, backbone=backbone)
        self.config: Config = loaded.config
        self.classes: tuple[str, ...] = loaded.classes
        self.spec: ImageSpec = loaded.spec
        self.task: Task = make_task(loaded.config, len(loaded.classes))
        self.device = _choose_device(device)
        self.model: MARNet = loaded.model.to(self.device)

    def predict(
        self, images: Sequence[str | Path | Image.Image], *, top: int | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """The `top` most probable classes of each image.

        Without `top` these are five, or where images have several classes, those that reach `data.threshold`.

        Raises:
            ImageError: an image cannot be read.
            ValueError: `top` is less than 1.
        """
        if top is not None and top < 1:
            raise ValueError(f"top is {top}; needed 1 or more.")
        predictions = []
        for first in range(0, len(images), batch_size):
            chosen = images[first : first + batch_size]
            probabilities = self.probabilities(torch.stack([self._prepare(image) for image in chosen]))
            for image, row, columns in zip(chosen, probabilities, self.task.read(probabilities, top), strict=True):
                name = getattr(image, "filename", "") or "image" if isinstance(image, Image.Image) else str(image)
                labels = tuple(self.classes[column] for column in columns)
                predictions.append(Prediction(name, labels, tuple(row[columns].tolist())))
        return predictions

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `(B, C)` of uint8 images `(B, 3, S, S)` of the size of `self.spec`."""
        return self.task.probabilities(self.model(model_input(images.to(self.device), self.spec))).cpu()

    def manifest(self) -> Manifest:
        """The rows and the split that the run was trained and validated on."""
        return read_manifest(self.run / MANIFEST, labels=self.config.data.labels)

    def open_split(self, manifest: Manifest, split: str) -> OpenedSplit:
        """The images of a split as the model sees them, before normalisation; labels are the run's own.

        Raises:
            DataError: the split is empty, its labels are of the other form, one is unknown to the run, or (unless the
                run skips them) an image is broken.
        """
        data = self.config.data
        if manifest.labels != data.labels:
            raise DataError(
                f"{manifest.source} has labels of the form {manifest.labels!r}; needed {data.labels!r}, as {self.run} "
                f"was trained with. Choose another source, or train a run on this one."
            )
        _check_labels_known(manifest, split, self.classes)
        return open_splits(
            dataclasses.replace(manifest, classes=self.classes),
            {split: eval_transform(self.spec)},
            spec=self.spec,
            on_bad_image=data.on_bad_image,
            max_pixels=data.max_pixels,
            cache=cache_directory() if data.cache else None,
            stream=data.stream,
        )[split]

    def outputs(self, manifest: Manifest, split: str, *, batch_size: int = 64) -> SplitOutputs:
        """Everything the model makes of a split; labels are matched to the run's classes by name.

        Raises:
            DataError: the split is empty, a label is unknown to the run, or (unless the run skips them) an image is
                broken.
        """
        opened = self.open_split(manifest, split)
        collected = collect_outputs(self.model, opened.dataset, self.spec, batch_size=batch_size, device=self.device)
        labels = torch.as_tensor(opened.dataset.labels)
        return SplitOutputs(
            collected.logits,
            labels,
            collected.branch_logits,
            collected.x_v,
            collected.x_cdr,
            tuple(opened.records),
            len(opened.skipped),
        )

    def _prepare(self, image: str | Path | Image.Image) -> Tensor:
        size = cache_size(self.spec)
        if isinstance(image, Image.Image):
            picture = to_rgb(image)
        else:
            picture = read_image(image, max_pixels=self.config.data.max_pixels, min_side=size)
        return eval_transform(self.spec)(fit_square(picture, size, interpolation=self.spec.interpolation))


def load(run: Path | str, *, backbone: nn.Module | None = None, device: str = "auto") -> Predictor:
    """Load a run directory for prediction; see `Predictor`."""
    return Predictor(run, backbone=backbone, device=device)


@torch.inference_mode()
def collect_outputs(
    model: MARNet,
    dataset: Dataset[Sample],
    spec: ImageSpec,
    *,
    batch_size: int,
    device: torch.device | None = None,
) -> PredictionOutput:
    """The model's prediction outputs over a whole dataset, N rows, on the CPU; the model's mode is left alone.

    `spec` is how images are normalised.
    """
    device = device or torch.device("cpu")
    batches: list[PredictionOutput] = []
    batch: Batch
    for batch in make_loader(dataset, batch_size=batch_size):
        batches.append(model.prediction_outputs(model_input(batch.images.to(device), spec)))
    first = batches[0]
    return PredictionOutput(
        torch.cat([each.logits for each in batches]).cpu(),
        {name: torch.cat([each.branch_logits[name] for each in batches]).cpu() for name in first.branch_logits},
        {name: torch.cat([each.features[name] for each in batches]).cpu() for name in first.features},
    )


def _check_labels_known(manifest: Manifest, split: str, classes: Sequence[str]) -> None:
    rows = manifest.split(split)
    named = {name for record in rows for name in manifest.names(record)}
    if not named:
        raise DataError(
            f"{manifest.source} names no class in any of the {len(rows)} rows of split {split!r}; needed some to judge."
        )
    unknown = sorted(named - set(classes))
    if unknown:
        raise DataError(
            f"{manifest.source}, split {split!r}, has labels that the run does not know: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; the run knows {len(classes)} classes, such as "
            f"{', '.join(list(classes)[:3])}. Remove those rows, or train a run that has the classes."
        )


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
