"""Prediction from images alone, out of a run directory."""

from marnet.inference.loading import load
from marnet.inference.outputs import SplitOutputs, collect_outputs
from marnet.inference.prediction import Prediction
from marnet.inference.predictor import Predictor

__all__ = ["Prediction", "Predictor", "SplitOutputs", "collect_outputs", "load"]
