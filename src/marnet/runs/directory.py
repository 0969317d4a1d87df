"""A run directory: the trained model with everything that using it takes. Weights are safetensors, never pickles.

```
RUN/
  config.yaml         every setting, resolved
  classes.json        class names in the order of the logits
  image.json          size and normalisation of the model's input
  model.safetensors   the weights that predict
  calibration.json    branch weights, temperature and thresholds, fitted on val (`marnet.runs.calibration`)
  new_classes.json, new_classes.safetensors   classes that were added after training (`marnet.runs.new_classes`)
  text.safetensors    the weights that only training uses, such as those that read the text
  text.json           the text encoder: its vocabulary, or its name
  backbone/           the architecture of a backbone of transformers
  text/               the architecture and the tokenizer of a fine-tuned text encoder of transformers
  manifest.jsonl      the rows and the split that were used
  metrics.json        metrics on val, counts of rows and of skipped images
  history.csv         one row per epoch: loss terms, val accuracy, learning rate
  environment.json    versions, device, seed
  checkpoints/last.ckpt   the state from which a run resumes, as torch writes it; read as plain tensors
  checkpoints/last.previous.ckpt   the one before, for when the last one is damaged
  tensorboard/        the curves, for TensorBoard
  .marnet-run.json    says that this is a run, which `overwrite=True` may replace, and which files its encoders wrote
  .lock               held by the training that writes here
  .replaced/          the run that was here before, until this one has weights
```

All files but the logs of TensorBoard are written whole or not at all (`marnet.atomic`).
"""

import csv
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from marnet.atomic import replacing
from marnet.config import Config, make_config
from marnet.config.nested import older_settings
from marnet.data.image_spec import ImageSpec
from marnet.errors import RunDirectoryError
from marnet.jsonfile import check_file, read_json
from marnet.runs.layout import (
    BACKBONE,
    CLASSES,
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    IMAGE,
    MANIFEST,
    METRICS,
    RESUME_POINT,
    TEXT_FILES,
    TEXT_SETTINGS,
    TEXT_WEIGHTS,
    WEIGHTS,
)

__all__ = [
    "BACKBONE",
    "CLASSES",
    "CONFIG",
    "ENVIRONMENT",
    "HISTORY",
    "IMAGE",
    "MANIFEST",
    "METRICS",
    "RESUME_POINT",
    "TEXT_FILES",
    "TEXT_SETTINGS",
    "TEXT_WEIGHTS",
    "WEIGHTS",
    "describe_environment",
    "package_version",
    "read_classes",
    "read_history",
    "read_image_spec",
    "read_run_config",
    "write_history",
]

_LARGEST_CONFIG = 2**20  # bytes
_LARGEST_HISTORY = 64 * 2**20  # bytes
_LARGEST_SIDE = 8192  # pixels, as in `data.image_size`


def read_run_config(run: Path) -> Config:
    """Read the configuration of a run directory.

    Raises:
        RunDirectoryError: there is no run there, or the file was cut short.
    """
    path = run / CONFIG
    if run.is_file():
        raise RunDirectoryError(
            f"{run} is a file, but this takes a run directory. An exported file predicts images and is evaluated on "
            f"other data; for all else name the run that it was exported from."
        )
    if not path.is_file():
        what = "does not exist" if not run.exists() else f"has no {CONFIG}"
        raise RunDirectoryError(f"Run directory {run} {what}. Name one that 'marnet train' wrote.")
    check_file(path, largest=_LARGEST_CONFIG)
    if not path.read_text(encoding="utf-8", errors="replace").rstrip().endswith("..."):
        raise RunDirectoryError(
            f"{path} does not end with YAML's end mark '...', so it was cut short, and some settings are "
            f"missing. Restore the file, or train again."
        )
    return make_config(file=path, base=older_settings())


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the rows of history.csv; `[]` if there are none yet.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    if not path.exists():
        return []
    check_file(path, largest=_LARGEST_HISTORY)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (TypeError, ValueError, csv.Error) as error:  # TypeError: a row with more cells than columns
        raise RunDirectoryError(f"{path} is damaged ({error}). Restore it, or remove it.") from None
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}.") from None


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of history.csv, whole or not at all; a column that a row lacks stays blank."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    # Without waiting for the disk, because epochs on features take less time than that.
    with replacing(path, sync=False) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def describe_environment(seed: int) -> dict[str, Any]:
    """Return versions, machine and seed, for the record."""
    packages = ("marnet", "torch", "torchvision", "timm", "lightning", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "processor": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "packages": {name: package_version(name) for name in packages},
    }


def read_classes(run: Path) -> tuple[str, ...]:
    """Read the class names of a run, in the order of the logits.

    Raises:
        RunDirectoryError: the file is missing or damaged.
    """
    classes = read_json(run / CLASSES)
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise RunDirectoryError(
            f"{run / CLASSES} is damaged: it is not a JSON list of class names. Restore it, or train again."
        )
    return tuple(classes)


def read_image_spec(run: Path) -> ImageSpec:
    """Read the size and normalisation of the model's input.

    Raises:
        RunDirectoryError: the file is missing or damaged.
    """
    found = read_json(run / IMAGE)
    try:
        mean, std = _triple(found["mean"]), _triple(found["std"])
        spec = ImageSpec(int(found["size"]), mean, std, found.get("interpolation", "bicubic"))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise RunDirectoryError(
            f"{run / IMAGE} is damaged: it lacks size, mean or std. Restore it, or train again."
        ) from None
    finite = all(math.isfinite(value) for value in (*mean, *std)) and min(std) > 0
    known = spec.interpolation in ("bicubic", "bilinear")
    if not (1 <= spec.size <= _LARGEST_SIDE and finite and known):
        raise RunDirectoryError(
            f"{run / IMAGE} is damaged: found size {spec.size}, mean {mean}, std {std} and interpolation "
            f"{spec.interpolation!r}. Expected a size of 1 to {_LARGEST_SIDE}, three finite numbers each, std above 0, "
            f"and bicubic or bilinear. Restore it, or train again."
        )
    return spec


def package_version(package: str) -> str:
    """Return the installed version of a package, "unknown" if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
