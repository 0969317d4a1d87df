"""A moving average of the weights, which predicts more evenly than the weights of any one step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import get_ema_multi_avg_fn

_MAY_BE_FIXED = ("backbone.", "training_only.text.")  # parts of a model that may not learn at all


class AveragedWeights:
    """The exponential moving average of a model's weights and of the statistics of its norms, step by step.

    Parts that do not learn are left out. In the first steps the average reaches less far back, so that it soon forgets
    the initial weights.

    Args:
        model: the model that is trained, on its device.
        steps: how many steps the training has.
        share: the reach of the average (1 / (1 - decay)) as a share of these steps.
    """

    def __init__(self, model: nn.Module, *, steps: int, share: float) -> None:
        fixed = tuple(part for part in _MAY_BE_FIXED if not _learns(model, part))
        self._current = {
            name: tensor
            for name, tensor in model.state_dict().items()  # these share the memory of the model
            if tensor.is_floating_point() and not name.startswith(fixed or ("\0",))
        }
        self._model = model
        self.tensors = {name: tensor.clone() for name, tensor in self._current.items()}
        self.decay = 1.0 - 1.0 / max(1.0, share * steps)
        self.steps = 0

    def update(self) -> None:
        """Take in the weights after a step of the optimiser."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self.tensors.values()), list(self._current.values()), 0)
        self.steps += 1

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits of the model with averaged weights; the model itself stays as it is."""
        logits: Tensor = functional_call(self._model, self.tensors, (images,))
        return logits

    def weights(self) -> dict[str, Tensor]:
        """Return all weights of the model, averaged where they learn."""
        return {**self._model.state_dict(), **self.tensors}

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {"tensors": self.tensors, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(state["tensors"][name])
        self.steps = int(state["steps"])


def _learns(model: nn.Module, part: str) -> bool:
    return any(parameter.requires_grad for name, parameter in model.named_parameters() if name.startswith(part))
