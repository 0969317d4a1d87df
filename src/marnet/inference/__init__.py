"""Prediction from images alone, out of a run directory or an exported file.

Names are loaded on first use, because an exported file predicts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marnet.inference.exported.predictor import ExportedPredictor
    from marnet.inference.loading import load
    from marnet.inference.outputs import SplitOutputs, collect_outputs
    from marnet.inference.prediction import Prediction
    from marnet.inference.predictor import Predictor

_HOMES = {
    "ExportedPredictor": "exported.predictor",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "SplitOutputs": "outputs",
    "collect_outputs": "outputs",
    "load": "loading",
}

__all__ = ["ExportedPredictor", "Prediction", "Predictor", "SplitOutputs", "collect_outputs", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'marnet.inference' has no attribute {name!r}")
    return getattr(import_module(f"marnet.inference.{_HOMES[name]}"), name)
