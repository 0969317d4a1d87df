"""A run directory: the trained model and everything needed to use it again. Weights are safetensors, never pickles.

```
RUN/
  config.yaml         every setting, resolved
  classes.json        class names in the order of the logits
  image.json          size and normalisation of the model's input
  model.safetensors   the weights that predict, of the best epoch so far
  text.safetensors    the weights that only training uses (all that reads the text); prediction never does
  text.json           what the text encoder is: its vocabulary, or its name
  backbone/           the architecture of a backbone of transformers
  text/               the architecture and the tokenizer of a fine-tuned text encoder of transformers
  manifest.csv        the rows and the split that were used
  metrics.json        figures on val, counts of rows and of skipped images
  history.csv         one row an epoch: loss terms, val accuracy, learning rate
  environment.json    versions, device, seed
  checkpoints/last.ckpt   the state that `--resume` continues from, as torch writes it; read as plain tensors
  tensorboard/        the curves, for TensorBoard
```
"""

import csv
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from marnet.building import build_model
from marnet.config import Config, cache_directory, read_config, write_config
from marnet.data.transforms import ImageSpec
from marnet.encoders.hf_backbones import HFBackbone, rebuild_hf_backbone
from marnet.encoders.text import describe_text_encoder, restore_text_encoder
from marnet.errors import RunDirectoryError
from marnet.model import TRAINING_ONLY, MARNet
from marnet.modules.late_fusion import LateFusion

CONFIG, CLASSES, IMAGE, MANIFEST = "config.yaml", "classes.json", "image.json", "manifest.csv"
WEIGHTS, TEXT_WEIGHTS, TEXT_SETTINGS = "model.safetensors", "text.safetensors", "text.json"
BACKBONE, TEXT_FILES = "backbone", "text"
METRICS, HISTORY, ENVIRONMENT = "metrics.json", "history.csv", "environment.json"
RESUME_POINT = Path("checkpoints") / "last.ckpt"
OWN_BACKBONE = "own"  # the name that stands in a configuration for a module handed over in Python


class LoadedRun(NamedTuple):
    """A trained model with what its predictions mean."""

    model: MARNet
    config: Config
    classes: tuple[str, ...]
    spec: ImageSpec


def check_run_directory(run: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """See that a run may be written to `run`; change nothing.

    Raises:
        RunDirectoryError: `run` already holds something and neither option was given, or there is nothing to resume.
    """
    if run.exists() and not run.is_dir():
        raise RunDirectoryError(f"{run} is a file; needed a directory to write the run into. Choose another --out.")
    taken = run.is_dir() and any(run.iterdir())
    holds_run = (run / CONFIG).exists()
    if resume:
        if not (run / RESUME_POINT).exists():
            raise RunDirectoryError(
                f"{run} has no {RESUME_POINT}; needed one to resume from. Check --out, or train without --resume."
            )
        return
    if taken and not overwrite:
        found = "already holds a run" if holds_run else "already holds other files"
        way_out = "add --overwrite to replace it, --resume to continue it" if holds_run else "empty it yourself"
        raise RunDirectoryError(f"{run} {found}; nothing was changed. Choose another --out, or {way_out}.")
    if taken and not holds_run:
        raise RunDirectoryError(
            f"{run} holds files but no {CONFIG}, so it is not a run; --overwrite only replaces runs. "
            f"Nothing was changed. Choose another --out, or empty it yourself."
        )


def start_run_directory(
    run: Path, config: Config, classes: Sequence[str], spec: ImageSpec, *, resume: bool = False
) -> None:
    """Write what is known before training: configuration, classes, input, environment. Clears an older run there."""
    if run.exists() and not resume:
        shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    write_config(config, run / CONFIG)
    write_json(run / CLASSES, list(classes))
    write_json(run / IMAGE, spec._asdict())
    write_json(run / ENVIRONMENT, describe_environment(config.training.seed))


def save_weights(run: Path, model: MARNet) -> None:
    """Write the model's weights, those of prediction and those of training apart; a crash leaves the old ones whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    training_only = {name: tensor for name, tensor in state.items() if name.startswith(TRAINING_ONLY)}
    prediction = {name: tensor for name, tensor in state.items() if name not in training_only}
    metadata = {"format": "marnet", "version": _version("marnet")}
    if isinstance(model.backbone, HFBackbone):
        model.backbone.save_settings(run / BACKBONE)
    if training_only or model.text is not None:
        metadata["semantic_width"] = str(_semantic_width(model))
        _save_tensors(run / TEXT_WEIGHTS, training_only, metadata)
        settings = None if model.text is None else describe_text_encoder(model.text, run / TEXT_FILES)
        if settings is not None:
            write_json(run / TEXT_SETTINGS, settings)
    _save_tensors(run / WEIGHTS, prediction, metadata)


def load_run(run: Path | str, *, backbone: nn.Module | None = None, with_text: bool = False) -> LoadedRun:
    """Rebuild a trained model in evaluation mode, on the CPU.

    Args:
        run: the run directory.
        backbone: the module that the run was trained with, where it was handed over in Python.
        with_text: restore the text encoder too, to train on; prediction needs none.

    Raises:
        RunDirectoryError: a file is missing, damaged, or does not fit the others.
    """
    run = Path(run)
    config, classes, spec = read_run_config(run), _read_classes(run), _read_image_spec(run)
    if config.backbone.name == OWN_BACKBONE and backbone is None:
        raise RunDirectoryError(
            f"{run} was trained with a backbone handed over in Python; needed that module to load it: "
            f"marnet.load({str(run)!r}, backbone=...)."
        )
    state, metadata = _load_tensors(run / WEIGHTS)
    width = int(metadata["semantic_width"]) if "semantic_width" in metadata else None
    untrained = config.model_copy(
        update={"backbone": config.backbone.model_copy(update={"pretrained": False, "weights": None})}
    )
    if backbone is None and (run / BACKBONE).is_dir():
        backbone = rebuild_hf_backbone(run / BACKBONE, image_size=spec.size)
    model = build_model(untrained, num_classes=len(classes), semantic_width=width, backbone=backbone)
    if with_text and config.needs_text:
        training_state, _ = _load_tensors(run / TEXT_WEIGHTS)
        model.text = _restore_text_encoder(run, training_state)
        state |= training_state
    _load_state(model, state, run, with_text=with_text)
    return LoadedRun(model.eval(), config, classes, spec)


def read_run_config(run: Path) -> Config:
    """The configuration of a run directory.

    Raises:
        RunDirectoryError: there is no run there, or the file was cut short.
    """
    path = run / CONFIG
    if not path.is_file():
        what = "does not exist" if not run.exists() else f"has no {CONFIG}"
        raise RunDirectoryError(f"Run directory {run} {what}; needed one written by 'marnet train --out {run}'.")
    if not path.read_text(encoding="utf-8", errors="replace").rstrip().endswith("..."):
        raise RunDirectoryError(
            f"{path} does not end with YAML's end mark '...', so it was cut short; a part of the settings would be "
            f"missing without notice. Restore the file, or train again."
        )
    return read_config(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people can read it, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run directory.

    Raises:
        RunDirectoryError: the file is missing or is not whole JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is missing from the run directory. Restore it, or train again.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path} is damaged ({error}). Restore it, or train again.") from None


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of history.csv, `[]` if there are none yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def describe_environment(seed: int) -> dict[str, Any]:
    """Versions, machine and seed, for the record."""
    packages = ("marnet", "torch", "torchvision", "timm", "lightning", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "processor": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "packages": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _semantic_width(model: MARNet) -> int:
    if model.semantics is not None:
        return model.semantics.semantic_width
    if model.alignment is not None:  # with the text itself
        return model.alignment.project_semantic.in_features
    if model.words is not None:
        return model.words.width
    if isinstance(model.fusion, LateFusion):
        return model.fusion.semantic_width
    raise ValueError("The model learns nothing from text; it has no semantic width.")


def _read_classes(run: Path) -> tuple[str, ...]:
    classes = read_json(run / CLASSES)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise RunDirectoryError(f"{run / CLASSES} is damaged; needed a JSON list of class names.")
    return tuple(classes)


def _read_image_spec(run: Path) -> ImageSpec:
    found = read_json(run / IMAGE)
    try:
        return ImageSpec(
            int(found["size"]), tuple(found["mean"]), tuple(found["std"]), found.get("interpolation", "bicubic")
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise RunDirectoryError(f"{run / IMAGE} is damaged; needed the keys size, mean and std.") from None


def _save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    partial = path.with_name(path.name + ".partial")
    save_file(dict(tensors), partial, dict(metadata))
    partial.replace(path)


def _load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise RunDirectoryError(
            f"{path} is missing from the run directory. Restore it, or train again; if the training was cut off before "
            f"its first epoch ended, nothing was saved yet."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise RunDirectoryError(
            f"{path} is damaged ({error}); its {path.stat().st_size:,} bytes are not a whole safetensors file. "
            f"Restore it, or train again."
        ) from None


def _restore_text_encoder(run: Path, state: Mapping[str, Tensor]) -> nn.Module:
    settings = read_json(run / TEXT_SETTINGS)
    own = {name.removeprefix("text."): tensor for name, tensor in state.items() if name.startswith("text.")}
    try:
        return restore_text_encoder(settings, own, run / TEXT_FILES, cache=cache_directory())
    except (KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"{run / TEXT_SETTINGS} is damaged; it does not say {error}. Restore it, or train again."
        ) from None


def _load_state(model: MARNet, state: dict[str, Tensor], run: Path, *, with_text: bool) -> None:
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise RunDirectoryError(
            f"{run / WEIGHTS} does not fit {run / CONFIG}; both must come from the same run. {error}"
        ) from None
    wanted = [name for name in missing if with_text or not name.startswith(TRAINING_ONLY)]
    if wanted or unexpected:
        raise RunDirectoryError(
            f"{run / WEIGHTS} does not fit {run / CONFIG}: missing {wanted[:3] or 'nothing'}, unexpected "
            f"{list(unexpected)[:3] or 'nothing'}. Both must come from the same run."
        )
