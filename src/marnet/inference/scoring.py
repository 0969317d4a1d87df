"""The calibrated outputs of a run for rows with labels, honest also on the rows that taught the calibration."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from marnet.data.dataset import ImageTextDataset
from marnet.data.features import FeatureDataset
from marnet.data.image_spec import ImageSpec
from marnet.data.manifest import Record
from marnet.errors import RunDirectoryError
from marnet.inference.batch_size import affordable_batch
from marnet.inference.calibration import cross_fit, uncalibrated_logits
from marnet.inference.outputs import SplitOutputs, collect_outputs
from marnet.model import MARNet
from marnet.runs.directory import WEIGHTS


class Scorer:
    """Computes the outputs of a trained model for rows with labels.

    Args:
        run: the run directory, for messages.
        model: in evaluation mode, on `device`.
        spec: the input of the model.
        device: where to compute.
        fixed_threshold: an image has a class from a probability on that the settings name, not one that was fitted.
    """

    def __init__(
        self, run: Path, model: MARNet, spec: ImageSpec, *, device: torch.device, fixed_threshold: bool
    ) -> None:
        self.run = run
        self.model = model
        self.spec = spec
        self.device = device
        self.fixed_threshold = fixed_threshold

    def outputs(
        self,
        dataset: ImageTextDataset | FeatureDataset,
        records: Sequence[Record],
        *,
        cross_fitted: bool,
        skipped: int = 0,
        batch_size: int,
    ) -> SplitOutputs:
        """Return all outputs for a dataset of N rows; see `Predictor.outputs_of`.

        Args:
            dataset: the rows.
            records: the same rows.
            cross_fitted: the calibration was fitted on them, so that each is predicted by what the others taught.
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
        if cross_fitted:
            balanced = calibration.fitted is not None and calibration.fitted.balanced
            logits, thresholds = cross_fit(self.model, collected, labels, balanced=balanced)
        uncalibrated = None if calibration.fitted is None else uncalibrated_logits(self.model, collected)
        if self.fixed_threshold:  # it wins over those that were fitted
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

    @torch.inference_mode()
    def _with_new_classes(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return logits `(N, C)` on the CPU with those of the classes that were added after training."""
        return self.model.with_new_classes(logits.to(self.device), x_v.to(self.device)).cpu()
