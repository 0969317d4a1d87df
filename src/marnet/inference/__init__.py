"""Prediction from images alone, out of a run directory."""

from marnet.inference.outputs import SplitOutputs, collect_outputs
from marnet.inference.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "SplitOutputs", "collect_outputs", "load"]
