"""The names of all files of a run directory; `marnet.runs.directory` says what they hold."""

from pathlib import Path

from marnet.data import recorded

MARKER = ".marnet-run.json"  # says that the folder is a run, which may be replaced
LOCK = ".lock"  # held by the training that writes into the folder
REPLACED = ".replaced"  # the old run, until the one that replaces it has weights

CONFIG, CLASSES, IMAGE, MANIFEST = "config.yaml", "classes.json", "image.json", recorded.FILE
WEIGHTS, TEXT_WEIGHTS, TEXT_SETTINGS = "model.safetensors", "text.safetensors", "text.json"
BACKBONE, TEXT_FILES = "backbone", "text"
CALIBRATION, CLASS_MEANS = "calibration.json", "class_means.safetensors"
NEW_CLASSES, NEW_CLASSES_WEIGHTS = "new_classes.json", "new_classes.safetensors"
UNLABELLED = "unlabelled.safetensors"  # the labels that a teacher gave to rows without one
METRICS, HISTORY, ENVIRONMENT = "metrics.json", "history.csv", "environment.json"
TENSORBOARD = "tensorboard"
REPORT = "report.html"  # where 'marnet report RUN' writes
RESUME_POINT = Path("checkpoints") / "last.ckpt"
PREVIOUS_RESUME_POINT = RESUME_POINT.with_name("last.previous.ckpt")

FILES = frozenset(
    {
        MARKER,
        LOCK,
        CONFIG,
        CLASSES,
        IMAGE,
        MANIFEST,
        recorded.OLD_FILE,
        WEIGHTS,
        TEXT_WEIGHTS,
        TEXT_SETTINGS,
        CALIBRATION,
        CLASS_MEANS,
        NEW_CLASSES,
        NEW_CLASSES_WEIGHTS,
        UNLABELLED,
        METRICS,
        HISTORY,
        ENVIRONMENT,
        REPORT,
    }
)
FOLDERS = frozenset({BACKBONE, TEXT_FILES, TENSORBOARD, str(RESUME_POINT.parent), REPLACED})
