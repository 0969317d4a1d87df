"""Prediction from images alone, out of a run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from marnet.checkpoint import MANIFEST, load_run
from marnet.config import Config, cache_directory
from marnet.data.dataset import Batch, Sample, open_splits
from marnet.data.images import fit_square, read_image, to_rgb
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.transforms import ImageSpec, cache_size, eval_transform, model_input
from marnet.errors import DataError
from marnet.model import MARNet, PredictionOutput


class Prediction(NamedTuple):
    """The most probable classes of one image, the best first."""

    image: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


class SplitOutputs(NamedTuple):
    """What the model makes of every image of a split; tensors on the CPU, N rows."""

    logits: Tensor  # (N, C)
    labels: Tensor  # (N,) int64
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
        self.device = _choose_device(device)
        self.model: MARNet = loaded.model.to(self.device)

    def predict(
        self, images: Sequence[str | Path | Image.Image], *, top: int = 5, batch_size: int = 64
    ) -> list[Prediction]:
        """The `top` most probable classes of each image.

        Raises:
            ImageError: an image cannot be read.
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"top is {top}; needed 1 or more.")
        predictions = []
        for first in range(0, len(images), batch_size):
            chosen = images[first : first + batch_size]
            probabilities = self.probabilities(torch.stack([self._prepare(image) for image in chosen]))
            values, indices = probabilities.topk(min(top, len(self.classes)))
            for image, row, columns in zip(chosen, values.tolist(), indices.tolist(), strict=True):
                name = getattr(image, "filename", "") or "image" if isinstance(image, Image.Image) else str(image)
                predictions.append(Prediction(name, tuple(self.classes[i] for i in columns), tuple(row)))
        return predictions

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `(B, C)` of uint8 images `(B, 3, S, S)` of the size of `self.spec`."""
        return self.model(model_input(images.to(self.device), self.spec)).softmax(-1).cpu()  # type: ignore[no-any-return]

    def manifest(self) -> Manifest:
        """The rows and the split that the run was trained and validated on."""
        return read_manifest(self.run / MANIFEST)

    def outputs(self, manifest: Manifest, split: str, *, batch_size: int = 64) -> SplitOutputs:
        """Everything the model makes of a split; labels are matched to the run's classes by name.

        Raises:
            DataError: the split is empty, a label is unknown to the run, or (unless the run skips them) an image is
                broken.
        """
        data = self.config.data
        _check_labels_known(manifest, split, self.classes)
        opened = open_splits(
            Manifest(manifest.records, self.classes, manifest.source, manifest.notes),
            {split: eval_transform(self.spec)},
            spec=self.spec,
            on_bad_image=data.on_bad_image,
            max_pixels=data.max_pixels,
            cache=cache_directory() if data.cache else None,
            stream=data.stream,
        )[split]
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


def make_loader(
    dataset: Dataset[Sample],
    *,
    batch_size: int,
    workers: int = 0,
    sampler: Sampler[Any] | None = None,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """Batches of a dataset in the order of `sampler`, or in its own; loader processes live as long as the loader."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_whole,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # of its own: a loader otherwise draws from the one that the noise comes from
    )


def _whole(batch: Any) -> Any:
    """Our datasets give whole batches, with nothing left to collate."""
    return batch


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
        torch.cat([each.x_v for each in batches]).cpu(),
        _concatenate([each.x_ema for each in batches]),
        _concatenate([each.x_cdr for each in batches]),
    )


def _concatenate(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present).cpu() if present else None


def _check_labels_known(manifest: Manifest, split: str, classes: Sequence[str]) -> None:
    unknown = sorted({record.label for record in manifest.split(split)} - set(classes))
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
