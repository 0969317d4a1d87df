"""`train`: one call from data in any form to a trained run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from marnet.config import Config, make_config
from marnet.config.nested import merge_settings, unflatten
from marnet.data.sources import open_data
from marnet.encoders.visual import Backbone
from marnet.errors import ConfigError
from marnet.runs.code import AllowCode
from marnet.training.fit import TrainedRun, fit
from marnet.training.lightning import OnEpoch
from marnet.training.resuming import open_moved, run_config


def train(
    data: Any = None,
    *,
    out: Path | str,
    method: str | None = None,
    backbone: str | Backbone | nn.Module | None = None,
    pretrained: bool | None = None,
    preset: str | None = None,
    config: Config | Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    allow_code: AllowCode = False,
) -> TrainedRun:
    """Train a classifier and write a run directory.

    A setting comes from, in rising priority: its default, `preset`, `config`, `settings`, and the other arguments.

    Args:
        data: the rows to learn from: a manifest file, a folder of images or another source by name; a pandas, polars or
            pyarrow table, a `datasets.Dataset`, a sequence of records, or a `Manifest`. None: `data.source` of the
            settings, or when resuming, the rows of the run. Resuming takes `data` where the images of these rows were
            moved.
        out: the run directory to write.
        method: the method to train, see `list_methods`; "marnet" by default.
        backbone: the name of an image model, see `list_backbones`; or a module of yours from images `(B, 3, H, W)` to
            features `(B, D)`, as it is or in a `Backbone` that says which input it expects.
        pretrained: start from the published weights of the named backbone.
        preset: settings to start from, such as "paper".
        config: a `Config`, or a YAML file of settings.
        settings: any settings by name, dotted (`{"training.epochs": 5}`) or nested; see `list_settings`.
        overwrite: replace a run that `out` already holds.
        resume: continue the run that `out` holds with its own settings, of which few may change.
        on_epoch: called after every epoch with its number, from 1, and the number of epochs, in place of a progress
            bar or a line in the log.
        allow_code: when resuming, or with features, import code that the run or the features name
            (`module:PACKAGE.NAME`), and download models that the run names (`hf:NAME`); those that you name for a
            new run need no permission.

    Returns:
        The run: its path, its metrics on val, and `load()` for a `Predictor`.

    Raises:
        MarnetError: the data, the backbone, a setting or `out` cannot be used, or the loss became NaN.

    Example:
        >>> import marnet
        >>> run = marnet.train(
        ...     "products.csv",
        ...     out="runs/small",
        ...     backbone="timm:test_resnet",  # a tiny network, to try things out
        ...     settings={"training.epochs": 1, "data.image_size": 32},
        ... )
        >>> run.path.name, run.metrics.n
        ('small', 9)
    """
    given = _arguments(method, backbone, pretrained)
    over = merge_settings(unflatten(settings or {}), given)
    if isinstance(data, str | os.PathLike):
        over = merge_settings(over, {"data": {"source": os.fspath(data)}})
    module = None if isinstance(backbone, str | None) else _as_backbone(backbone)
    resolved = _resume_config(Path(out), over, preset, config) if resume else _new_config(over, preset, config)
    if resume:
        manifest = open_moved(out, data, resolved)
    else:  # `fit` reads a source by its name
        manifest = None if data is None or isinstance(data, str | os.PathLike) else open_data(data, resolved.data)
    return fit(
        resolved,
        out,
        backbone=module,
        manifest=manifest,
        overwrite=overwrite,
        resume=resume,
        on_epoch=on_epoch,
        allow_code=allow_code,
    )


def _arguments(
    method: str | None, backbone: str | Backbone | nn.Module | None, pretrained: bool | None
) -> dict[str, Any]:
    """Return the nested settings that arguments of their own give."""
    if pretrained and backbone is not None and not isinstance(backbone, str):
        raise ConfigError(
            "`pretrained=True` takes the published weights of a backbone that is named, but `backbone` is a module. "
            "Load its weights yourself, or leave `pretrained` out."
        )
    section = {
        name: value
        for name, value in (("name", backbone if isinstance(backbone, str) else None), ("pretrained", pretrained))
        if value is not None
    }
    return ({} if method is None else {"method": method}) | ({"backbone": section} if section else {})


def _as_backbone(backbone: Backbone | nn.Module) -> Backbone:
    return backbone if isinstance(backbone, Backbone) else Backbone(backbone)


def _new_config(over: Mapping[str, Any], preset: str | None, config: Config | Path | str | None) -> Config:
    if isinstance(config, Config):
        if preset is not None:
            raise ConfigError("A `Config` has every setting, so that `preset` adds nothing. Leave one of the two out.")
        return make_config(merge_settings(config.model_dump(), over))
    return make_config(over, preset=preset, file=config)


def _resume_config(
    out: Path, over: Mapping[str, Any], preset: str | None, config: Config | Path | str | None
) -> Config:
    """Return the settings of the run in `out` with those given over them; `fit` says which may change."""
    if preset is not None or config is not None:
        raise ConfigError(
            f"{out} is resumed with its own settings. Leave `preset` and `config` out; a few settings may be given in "
            f"`settings`, such as `training.epochs`."
        )
    return run_config(out, over)
