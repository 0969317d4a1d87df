"""One optimisation step and one validation step, as Lightning calls them."""

from collections.abc import Callable
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from marnet.config import LossConfig, TrainingConfig
from marnet.data.dataset import Batch
from marnet.data.image_spec import ImageSpec
from marnet.data.sampling import own_rows
from marnet.data.transforms import model_input
from marnet.errors import NonFiniteLossError
from marnet.losses import LossTerms
from marnet.model import MARNet
from marnet.runs.legacy import upgrade_names
from marnet.tasks import Task
from marnet.training.averaging import AveragedWeights
from marnet.training.parameter_groups import clipped_together, parameter_groups
from marnet.training.schedule import warmup_cosine

Loader = DataLoader[Any]
OnEpoch = Callable[[int, int], None]  # the epoch that ended, from 1, and the number of epochs
MakeLoader = Callable[[int, int], Loader]  # takes the number of a training process (rank) and how many there are


class TrainingModule(lightning.LightningModule):
    """One optimisation step and one validation step of a MARNet."""

    def __init__(
        self,
        model: MARNet,
        train: MakeLoader,
        val: MakeLoader,
        *,
        task: Task,
        spec: ImageSpec,
        settings: TrainingConfig,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_train_loader = train
        self.make_val_loader = val
        self.spec = spec
        self.task = task
        self.settings = settings
        self.score = task.score_metric()
        self.nll = MeanMetric()
        self.sums: dict[str, Tensor | int] = {}
        self.steps = 0
        self.average: AveragedWeights | None = None
        self._average_so_far: dict[str, Any] | None = None  # of a resume point

    def on_fit_start(self) -> None:
        if self.settings.keep == "averaged":
            steps = int(self.trainer.estimated_stepping_batches)
            self.average = AveragedWeights(self.model, steps=steps, share=self.settings.averaged_share)
            if self._average_so_far is not None:
                self.average.load_state_dict(self._average_so_far)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:
            checkpoint["averaged_weights"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Resume points of older versions name the weights differently.
        prefix = "model."
        state = {name.removeprefix(prefix): tensor for name, tensor in checkpoint["state_dict"].items()}
        checkpoint["state_dict"] = {f"{prefix}{name}": tensor for name, tensor in upgrade_names(state).items()}
        self._average_so_far = checkpoint.get("averaged_weights")

    def train_dataloader(self) -> Loader:
        return self.make_train_loader(self.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> Loader:
        return self.make_val_loader(self.global_rank, self.trainer.world_size)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        images = model_input(batch.images, self.spec)
        return batch._replace(images=images.double() if self.settings.precision == "64" else images)

    def on_train_start(self) -> None:
        # Of a resumed run with another number of processes, an epoch has another number of steps.
        schedule, steps = self.lr_schedulers(), self.current_epoch * int(self.trainer.num_training_batches)
        if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR) and schedule.last_epoch != steps:
            schedule.last_epoch = steps - 1
            schedule.step()

    def on_train_epoch_start(self) -> None:
        # Random draws depend on seed and epoch alone, so that a resumed run repeats what an unbroken one does.
        torch.manual_seed((self.settings.seed + 1) * 1_000_003 + self.current_epoch * 1_009 + self.global_rank)
        self.sums, self.steps = {}, 0
        if self.settings.probe_epochs:
            self.model.freeze_backbone(self.current_epoch < self.settings.probe_epochs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        outputs = self.model.training_outputs(batch.images, batch.texts)
        loss: LossTerms = self.model.objective(outputs, batch.labels)
        if not bool(torch.isfinite(loss.total)):
            self._refuse(loss.terms, batch_idx)
        for name, term in {"loss": loss.total, **loss.terms}.items():
            self.sums[name] = self.sums.get(name, 0) + term.detach()
        self.steps += 1
        return loss.total

    def means(self) -> dict[str, Tensor]:
        """Return the mean of each loss over the steps of this epoch so far, by its name in the history.

        Lightning's own log would do the same, but it takes a tenth of the time of training on features.
        """
        return {f"train/{name}": torch.as_tensor(total / self.steps) for name, total in self.sums.items()}

    def on_validation_epoch_start(self) -> None:
        if self.average is not None and self.trainer.world_size > 1:  # the statistics of norms differ by process
            for tensor in self.average.tensors.values():
                torch.distributed.broadcast(tensor, 0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.model(batch.images) if self.average is None else self.average.predict(batch.images)
        if not bool(torch.isfinite(logits).all()):
            self._refuse({"validation prediction": logits.sum()}, batch_idx)
        labels = batch.labels
        if self.trainer.world_size > 1:
            own = own_rows(batch.indices, process=self.global_rank, processes=self.trainer.world_size)
            logits, labels = logits[own], labels[own]
        if len(labels):
            self.score.update(logits, labels)
            self.nll(self.task.loss(logits, labels), len(labels))
        self.log(f"val/{self.task.score}", self.score, prog_bar=True, on_step=False, on_epoch=True)
        self.log("val/nll", self.nll, on_epoch=True)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.average is not None:
            self.average.update()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.settings.clip_by == "model" or gradient_clip_val is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parameters in clipped_together(self.model):
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        groups = parameter_groups(
            self.model, lr=settings.lr, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay
        )
        # The fused step takes a fraction of the time on small models; in mixed precision it cannot be clipped.
        fused = not settings.precision.endswith("-mixed")
        optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.999), fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.settings.warmup_epochs * steps / self.settings.epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, steps, self.settings.min_lr_share)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _refuse(self, terms: dict[str, Tensor], step: int) -> None:
        broken = [name for name, term in terms.items() if not bool(torch.isfinite(term))] or ["total"]
        weighted = [name for name in broken if name in LossConfig.model_fields]
        smaller = f", or a smaller weight with `losses.{weighted[0]}`" if weighted else ""
        raise NonFiniteLossError(
            f"The loss term {', '.join(repr(name) for name in broken)} became NaN or infinite in epoch "
            f"{self.current_epoch + 1}, step {step + 1}; training stopped. The weights that were last "
            f"saved are kept. Try a lower `training.lr`, `training.precision=32`{smaller}."
        )
