"""A run directory: the trained model with everything that using it takes. Weights are safetensors, never pickles.

```
RUN/
  config.yaml         every setting, resolved
  classes.json        class names in the order of the logits
  image.json          size and normalisation of the model's input
  model.safetensors   the weights that predict, of the best epoch so far
  text.safetensors    the weights that only training uses, such as those that read the text
  text.json           the text encoder: its vocabulary, or its name
  backbone/           the architecture of a backbone of transformers
  text/               the architecture and the tokenizer of a fine-tuned text encoder of transformers
  manifest.csv        the rows and the split that were used
  metrics.json        metrics on val, counts of rows and of skipped images
  history.csv         one row per epoch: loss terms, val accuracy, learning rate
  environment.json    versions, device, seed
  checkpoints/last.ckpt   the state from which a run resumes, as torch writes it; read as plain tensors
  tensorboard/        the curves, for TensorBoard
```
"""

import csv
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from marnet.config import Config, read_config, write_config
from marnet.data.transforms import ImageSpec
from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json

CONFIG, CLASSES, IMAGE, MANIFEST = "config.yaml", "classes.json", "image.json", "manifest.csv"
WEIGHTS, TEXT_WEIGHTS, TEXT_SETTINGS = "model.safetensors", "text.safetensors", "text.json"
BACKBONE, TEXT_FILES = "backbone", "text"
METRICS, HISTORY, ENVIRONMENT = "metrics.json", "history.csv", "environment.json"
RESUME_POINT = Path("checkpoints") / "last.ckpt"


def check_run_directory(run: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Check that a run may be written to `run`; nothing is changed.

    Raises:
        RunDirectoryError: `run` already holds something and neither option was given, or there is nothing to resume.
    """
    if run.exists() and not run.is_dir():
        raise RunDirectoryError(f"{run} is a file, but a run is a directory. Choose another `out`.")
    taken = run.is_dir() and any(run.iterdir())
    holds_run = (run / CONFIG).exists()
    if resume:
        if not (run / RESUME_POINT).exists():
            raise RunDirectoryError(
                f"{run} has no {RESUME_POINT} to resume from. Check `out`, or train without `resume=True`."
            )
        return
    if taken and not overwrite:
        found = "already holds a run" if holds_run else "already holds other files"
        way_out = "pass `overwrite=True` to replace it, or `resume=True` to continue it" if holds_run else "empty it"
        raise RunDirectoryError(f"{run} {found}. Nothing was changed. Choose another `out`, or {way_out}.")
    if taken and not holds_run:
        raise RunDirectoryError(
            f"{run} holds files but no {CONFIG}, so it is not a run, and `overwrite=True` replaces runs only. "
            f"Nothing was changed. Choose another `out`, or empty it."
        )


def start_run_directory(
    run: Path, config: Config, classes: Sequence[str], spec: ImageSpec, *, resume: bool = False
) -> None:
    """Write the files that are known before training: configuration, classes, input, environment.

    An older run there is removed, unless it is resumed.
    """
    if run.exists() and not resume:
        shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    write_config(config, run / CONFIG)
    write_json(run / CLASSES, list(classes))
    write_json(run / IMAGE, spec._asdict())
    write_json(run / ENVIRONMENT, describe_environment(config.training.seed))


def read_run_config(run: Path) -> Config:
    """Read the configuration of a run directory.

    Raises:
        RunDirectoryError: there is no run there, or the file was cut short.
    """
    path = run / CONFIG
    if not path.is_file():
        what = "does not exist" if not run.exists() else f"has no {CONFIG}"
        raise RunDirectoryError(f"Run directory {run} {what}. Name one that 'marnet train' wrote.")
    if not path.read_text(encoding="utf-8", errors="replace").rstrip().endswith("..."):
        raise RunDirectoryError(
            f"{path} does not end with YAML's end mark '...', so it was cut short, and some settings are "
            f"missing. Restore the file, or train again."
        )
    return read_config(path)


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the rows of history.csv; `[]` if there are none yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


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
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
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
        return ImageSpec(
            int(found["size"]), tuple(found["mean"]), tuple(found["std"]), found.get("interpolation", "bicubic")
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise RunDirectoryError(
            f"{run / IMAGE} is damaged: it lacks size, mean or std. Restore it, or train again."
        ) from None


def package_version(package: str) -> str:
    """Return the installed version of a package, "unknown" if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
