"""The outputs of a model over a whole dataset."""

from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from marnet.data.dataset import Batch, Sample
from marnet.data.image_spec import ImageSpec
from marnet.data.loading import make_loader
from marnet.data.manifest import Record
from marnet.data.transforms import model_input
from marnet.model import MARNet
from marnet.outputs import PredictionOutput

_SHOW_PROGRESS_FROM = 8  # batches


class SplitOutputs(NamedTuple):
    """The outputs of a model for every image of a split; tensors on the CPU, N rows."""

    logits: Tensor  # (N, C), calibrated; for the rows that taught the calibration, each by what the others taught
    labels: Tensor  # (N,) int64; where images have several classes, (N, C) float32
    branch_logits: dict[str, Tensor]  # (N, C) each
    x_v: Tensor  # (N, D_v)
    x_cdr: Tensor | None  # (N, d_0)
    records: tuple[Record, ...]
    skipped: int  # images that could not be read
    thresholds: Tensor | None = None  # (N, C), for the rows that taught those of the run
    uncalibrated: Tensor | None = None  # (N, C), without a calibration; None if the run has none


@torch.inference_mode()
def collect_outputs(
    model: MARNet,
    dataset: Dataset[Sample],
    spec: ImageSpec,
    *,
    batch_size: int,
    device: torch.device | None = None,
) -> PredictionOutput:
    """Return the model's prediction outputs over a whole dataset, N rows, on the CPU.

    The mode of the model (training or evaluation) is left alone.

    Args:
        model: on `device`.
        dataset: its N rows.
        spec: how images are normalised.
        batch_size: images computed at a time.
        device: where to compute; None is the CPU.
    """
    device = device or torch.device("cpu")
    batches: list[PredictionOutput] = []
    batch: Batch
    console = Console(stderr=True)
    loader = make_loader(dataset, batch_size=batch_size)
    quiet = len(loader) < _SHOW_PROGRESS_FROM or not console.is_terminal
    for batch in track(loader, description="Predicting", console=console, transient=True, disable=quiet):
        batches.append(model.prediction_outputs(model_input(batch.images.to(device), spec)))
    first = batches[0]
    return PredictionOutput(
        torch.cat([each.logits for each in batches]).cpu(),
        {name: torch.cat([each.branch_logits[name] for each in batches]).cpu() for name in first.branch_logits},
        {name: torch.cat([each.features[name] for each in batches]).cpu() for name in first.features},
    )
