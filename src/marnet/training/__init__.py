"""Training: from a configuration to a run directory."""

from marnet.training.features import embed
from marnet.training.fit import FitResult, fit
from marnet.training.lightning_module import is_first_process

__all__ = ["FitResult", "embed", "fit", "is_first_process"]
