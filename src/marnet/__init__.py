"""MARNet: image classifiers that learn from text at training time and need none at prediction time.

The names below are loaded on first use, so that `import marnet` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marnet.building import build_model, wrap
    from marnet.config import Config, make_config
    from marnet.data.manifest import Manifest, Record, read_manifest
    from marnet.data.transforms import ImageSpec
    from marnet.encoders.visual import Backbone
    from marnet.errors import MarnetError
    from marnet.evaluation.evaluate import evaluate
    from marnet.inference import Prediction, Predictor, load
    from marnet.losses import LossTerms, Objective
    from marnet.metrics import Metrics, MultiLabelMetrics, classification_metrics, multi_label_metrics
    from marnet.model import MARNet
    from marnet.outputs import MARNetOutput, PredictionOutput
    from marnet.training.fit import FitResult, fit

__version__ = "0.1.0"

_HOMES = {
    "marnet.building": ("build_model", "wrap"),
    "marnet.config": ("Config", "make_config"),
    "marnet.data.manifest": ("Manifest", "Record", "read_manifest"),
    "marnet.data.transforms": ("ImageSpec",),
    "marnet.encoders.visual": ("Backbone",),
    "marnet.errors": ("MarnetError",),
    "marnet.evaluation.evaluate": ("evaluate",),
    "marnet.inference": ("Prediction", "Predictor", "load"),
    "marnet.losses": ("LossTerms", "Objective"),
    "marnet.metrics": ("Metrics", "MultiLabelMetrics", "classification_metrics", "multi_label_metrics"),
    "marnet.methods": ("Method", "list_methods"),
    "marnet.model": ("MARNet",),
    "marnet.outputs": ("MARNetOutput", "PredictionOutput"),
    "marnet.runs.models": ("load_model", "save"),
    "marnet.training.fit": ("FitResult", "fit"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Backbone",
    "Config",
    "FitResult",
    "ImageSpec",
    "LossTerms",
    "MARNet",
    "MARNetOutput",
    "Manifest",
    "MarnetError",
    "Method",
    "Metrics",
    "MultiLabelMetrics",
    "Objective",
    "Prediction",
    "PredictionOutput",
    "Predictor",
    "Record",
    "__version__",
    "build_model",
    "classification_metrics",
    "evaluate",
    "fit",
    "list_methods",
    "load",
    "load_model",
    "make_config",
    "multi_label_metrics",
    "read_manifest",
    "save",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'marnet' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
