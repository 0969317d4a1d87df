"""The rule for resuming: a run goes on with its own settings.

Only settings that change neither the model nor the data nor how it learns may differ: how long to train, on which
devices, and how images are loaded. A file that was moved may be named at its new place.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from marnet.building import DEFAULT_IMAGE_SIZE
from marnet.config import Config, make_config
from marnet.config.flat import flat_settings
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError, RunDirectoryError
from marnet.runs.code import named_code
from marnet.runs.directory import CONFIG, WEIGHTS, read_run_config
from marnet.runs.shapes import byte_count, module_shapes, readable_size
from marnet.runs.untrained import UntrainedRun, read_text_width, read_weights_header
from marnet.runs.versions import naming_newer_version
from marnet.training.resume_points import choose_resume_point, find_resume_point, finished_epochs

CHANGEABLE = (
    "training.epochs",
    "training.patience",  # like epochs, it only decides when training ends
    "training.precision",
    "training.devices",
    "data.workers",
    "data.cache",
)
_MOVABLE = ("data.features", "backbone.weights")  # may be elsewhere by now, if the run has them
_NOT_READ = ("data.source",)  # the rows come from the run's manifest
_FROM_DATA = ("data.labels", "data.image_size")  # the data and the backbone decide them where nobody does


class Change(NamedTuple):
    """A setting that differs from what a run was started with."""

    name: str
    recorded: Any
    given: Any


def run_config(
    run: Path | str,
    values: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: Path | str | None = None,
    sets: Sequence[str] = (),
) -> Config:
    """Return the configuration of a run with other settings over it; the arguments are those of `make_config`.

    Raises:
        RunDirectoryError: there is no run in `run`.
        ConfigError: a setting cannot be used.
    """
    with naming_newer_version(Path(run)):
        recorded = read_run_config(Path(run)).model_dump(mode="json")
    return make_config(values, preset=preset, file=file, sets=sets, base=recorded)


def open_moved(run: Path | str, data: Any, config: Config) -> Manifest | None:
    """Open the rows of a run whose images were moved; None if no other place was named.

    Args:
        run: the run directory.
        data: a source, or rows in memory; None takes `data.source` of the configuration if it is not that of the run.
        config: the configuration to go on with, from `run_config`.

    Raises:
        MarnetError: there is no run in `run`, or the source cannot be used.
    """
    if data is None and config.data.source != read_run_config(Path(run)).data.source:
        data = config.data.source
    return None if data is None else open_data(data, config.data)


def changed_settings(recorded: Config, given: Config) -> list[Change]:
    """Return the settings of `given` that differ from the recorded ones and may not differ when a run is resumed.

    Settings that the data or the features decide count only if somebody set them.
    """
    before, now, typed = flat_settings(recorded), flat_settings(given), flat_settings(given, only_given=True)
    decided = _FROM_DATA if recorded.data.features is None else ("data.", "backbone.")
    changes = []
    for name, old in before.items():
        new = now[name]
        if new == old or name in CHANGEABLE or name in _NOT_READ:
            continue
        if name in _MOVABLE and old is not None and new is not None:
            continue
        if name.startswith(decided) and name != "data.features" and (name not in typed or new is None):
            continue
        changes.append(Change(name, old, new))
    return changes


def resumed_config(run: Path, given: Config) -> Config:
    """Return the configuration to go on with: that of the run, with what may change taken from `given`.

    Raises:
        RunDirectoryError: there is no run in `run`.
        ConfigError: `given` differs in a setting that resuming must not change, or asks for fewer epochs than are
            finished; nothing was written.
    """
    recorded = read_run_config(run)
    changes = changed_settings(recorded, given)
    if changes:
        lines = [f"`{each.name}`: the run has {_shown(each.recorded)}, given {_shown(each.given)}" for each in changes]
        allowed = ", ".join(f"`{name}`" for name in CHANGEABLE[:-1]) + f" and `{CHANGEABLE[-1]}`"
        raise ConfigError(
            f"{run} cannot be resumed with other settings than those in its {CONFIG}; nothing was changed:\n  "
            + "\n  ".join(lines)
            + f"\nLeave them out to resume, or train anew with another `out`. When a run is resumed, only {allowed} "
            "may change."
        )
    if given.training.epochs < recorded.training.epochs:
        _check_epochs(run, given.training.epochs)
    nested: dict[str, Any] = recorded.model_dump()
    values = flat_settings(given)
    for name in (*CHANGEABLE, *_MOVABLE):
        section, _, key = name.partition(".")
        nested[section][key] = values[name]
    return Config.model_validate(nested)


def _check_epochs(run: Path, epochs: int) -> None:
    point = find_resume_point(run)
    finished = 0 if point is None else finished_epochs(point)
    if epochs < finished:
        raise ConfigError(
            f"{run} cannot be resumed with `training.epochs={epochs}`, because {finished} epochs are finished; nothing "
            f"was changed. Give `training.epochs={finished}` or more, or train anew with another `out`."
        )


def check_resumed_size(run: Path, config: Config, num_classes: int, *, backbone: nn.Module | None) -> None:
    """Refuse settings that ask for a larger model than the run's resume point holds, before it is allocated.

    Args:
        run: the run directory.
        config: its configuration.
        num_classes: the number of its classes.
        backbone: the caller's own module, or that of features.

    Raises:
        RunDirectoryError: see above, or there is no whole resume point.
    """
    if backbone is None and named_code(config):
        return  # allowed by now, and trusted with sizes as well
    weights, width, held = run / WEIGHTS, 1, 0  # a run that was cut off early may lack them
    if weights.exists():
        header = read_weights_header(weights)
        width, held = read_text_width(run, header), len(header.shapes)
    size = config.data.image_size or DEFAULT_IMAGE_SIZE
    untrained = UntrainedRun(run, config, num_classes, size, width, backbone)
    needed = byte_count(module_shapes(untrained.skeleton(held=held)).values())
    stored = (find_resume_point(run) or choose_resume_point(run)).stat().st_size
    if needed > stored:
        raise RunDirectoryError(
            f"{run / CONFIG} asks for a model of {readable_size(needed)}, but the resume point has "
            f"{readable_size(stored)}. Both must come from the same run; restore them, or train again."
        )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
