"""Training: from a configuration to a run directory."""

from marnet.training.fit import FitResult, fit

__all__ = ["FitResult", "fit"]
