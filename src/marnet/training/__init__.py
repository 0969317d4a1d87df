"""Training: from a configuration to a run directory."""

from marnet.training.features import embed
from marnet.training.fit import TrainedRun, fit
from marnet.training.lightning import is_first_process
from marnet.training.train import train

__all__ = ["TrainedRun", "embed", "fit", "is_first_process", "train"]
