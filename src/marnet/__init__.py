"""MARNet: image classifiers that learn from text at training time and need none at prediction time.

`__all__` is the public API. Its names are loaded on first use, so that `import marnet` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marnet.building import wrap
    from marnet.comparison.compare import Comparison, compare
    from marnet.config import Config, make_config
    from marnet.config.listing import list_settings
    from marnet.data.image_spec import ImageSpec
    from marnet.data.manifest import Manifest, Record, read_manifest
    from marnet.encoders.text import list_text_encoders
    from marnet.encoders.visual import Backbone, list_backbones
    from marnet.errors import MarnetError
    from marnet.estimator import MARNetClassifier
    from marnet.evaluation.evaluate import evaluate
    from marnet.evaluation.label_errors import label_errors
    from marnet.evaluation.next_to_label import next_to_label
    from marnet.evaluation.text_value import text_value
    from marnet.export.export import Export, export_run
    from marnet.inference import ExportedPredictor, Prediction, Predictor, load
    from marnet.inference.calibration import calibrate
    from marnet.methods import list_methods
    from marnet.metrics import Metrics, MultiLabelMetrics
    from marnet.model import MARNet
    from marnet.runs.models import load_model, save
    from marnet.semantic.classes.adding import NewClass, add_classes, remove_class
    from marnet.semantic.search.index import SearchIndex
    from marnet.semantic.search.result import SearchResult
    from marnet.training.fit import TrainedRun, fit
    from marnet.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "marnet.building": ("wrap",),
    "marnet.comparison.compare": ("Comparison", "compare"),
    "marnet.config": ("Config", "make_config"),
    "marnet.config.listing": ("list_settings",),
    "marnet.data.manifest": ("Manifest", "Record", "read_manifest"),
    "marnet.data.image_spec": ("ImageSpec",),
    "marnet.encoders.text": ("list_text_encoders",),
    "marnet.encoders.visual": ("Backbone", "list_backbones"),
    "marnet.errors": ("MarnetError",),
    "marnet.estimator": ("MARNetClassifier",),
    "marnet.evaluation.evaluate": ("evaluate",),
    "marnet.evaluation.label_errors": ("label_errors",),
    "marnet.evaluation.next_to_label": ("next_to_label",),
    "marnet.evaluation.text_value": ("text_value",),
    "marnet.export.export": ("Export", "export_run"),
    "marnet.inference": ("ExportedPredictor", "Prediction", "Predictor", "load"),
    "marnet.inference.calibration": ("calibrate",),
    "marnet.methods": ("list_methods",),
    "marnet.metrics": ("Metrics", "MultiLabelMetrics"),
    "marnet.model": ("MARNet",),
    "marnet.runs.models": ("load_model", "save"),
    "marnet.semantic.classes.adding": ("NewClass", "add_classes", "remove_class"),
    "marnet.semantic.search.index": ("SearchIndex",),
    "marnet.semantic.search.result": ("SearchResult",),
    "marnet.training.fit": ("TrainedRun", "fit"),
    "marnet.training.train": ("train",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Backbone",
    "Comparison",
    "Config",
    "Export",
    "ExportedPredictor",
    "ImageSpec",
    "MARNet",
    "MARNetClassifier",
    "Manifest",
    "MarnetError",
    "Metrics",
    "MultiLabelMetrics",
    "NewClass",
    "Prediction",
    "Predictor",
    "Record",
    "SearchIndex",
    "SearchResult",
    "TrainedRun",
    "__version__",
    "add_classes",
    "calibrate",
    "compare",
    "evaluate",
    "export_run",
    "fit",
    "label_errors",
    "list_backbones",
    "list_methods",
    "list_settings",
    "list_text_encoders",
    "load",
    "load_model",
    "make_config",
    "next_to_label",
    "read_manifest",
    "remove_class",
    "save",
    "text_value",
    "train",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'marnet' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
