"""Weights of a run directory: those that predict, and apart from them those that only training uses."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from marnet.atomic import replacing
from marnet.cache import cache_directory
from marnet.config import OWN_BACKBONE, Config
from marnet.data.image_spec import ImageSpec
from marnet.encoders.downloads import no_downloads
from marnet.encoders.text import TextEncoder, restore_text_encoder
from marnet.encoders.visual import save_architecture
from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json
from marnet.methods import find_method
from marnet.model import TRAINING_ONLY, MARNet
from marnet.runs.calibration import apply_calibration, read_calibration
from marnet.runs.class_means import read_class_means
from marnet.runs.code import AllowCode, allows_downloads, named_code, refuse_code, refuse_download
from marnet.runs.directory import (
    BACKBONE,
    CONFIG,
    TEXT_FILES,
    TEXT_SETTINGS,
    TEXT_WEIGHTS,
    WEIGHTS,
    package_version,
    read_classes,
    read_image_spec,
    read_run_config,
)
from marnet.runs.layout import CALIBRATION, CLASS_MEANS
from marnet.runs.legacy import upgrade_names
from marnet.runs.new_classes import AddedClass, read_new_classes, remove_new_classes
from marnet.runs.overwriting import forget_replaced
from marnet.runs.shapes import build_without_memory, check_shapes, module_shapes
from marnet.runs.starting import record_encoder_files
from marnet.runs.tensor_files import load_tensors, save_tensors
from marnet.runs.untrained import TEXT_ENCODER as _TEXT
from marnet.runs.untrained import UntrainedRun, read_text_width, read_weights_header


class LoadedRun(NamedTuple):
    """A trained model with the meaning of its predictions."""

    model: MARNet
    config: Config
    classes: tuple[str, ...]  # those that it was trained for, then those that were added
    spec: ImageSpec
    added: tuple[AddedClass, ...] = ()
    confidences: tuple[float, ...] = ()  # of held-out images, with the added classes


def save_weights(run: Path, model: MARNet, *, state: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights that predict, and apart from them those that only training uses; a crash keeps the old ones.

    A run that this one replaces is removed afterwards. Equal weights make equal bytes.

    Args:
        run: the run directory.
        model: the model.
        state: weights to write instead of those that the model has now, by the same names.

    Raises:
        RunDirectoryError: a file cannot be written.
    """
    found = model.state_dict() if state is None else state
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}
    training_only = {name: tensor for name, tensor in state.items() if name.startswith(TRAINING_ONLY)}
    prediction = {name: tensor for name, tensor in state.items() if name not in training_only}
    metadata = {"format": "marnet", "version": package_version("marnet")}
    _save_folder(run / BACKBONE, partial(save_architecture, model.backbone))
    for made_for_others in (CALIBRATION, CLASS_MEANS):
        (run / made_for_others).unlink(missing_ok=True)
    remove_new_classes(run)
    with ExitStack() as files:  # both are written before either gets its name
        if model.text_width:
            metadata["text_width"] = str(model.text_width)
            save_tensors(files.enter_context(replacing(run / TEXT_WEIGHTS)), training_only, metadata)
            if isinstance(model.text, TextEncoder):  # a plain module handed over in Python cannot be rebuilt
                _save_folder(run / TEXT_FILES, model.text.save_files)
                write_json(run / TEXT_SETTINGS, model.text.settings())
        save_tensors(files.enter_context(replacing(run / WEIGHTS)), prediction, metadata)
    record_encoder_files(run)
    forget_replaced(run)


def load_run(
    run: Path | str, *, backbone: nn.Module | None = None, with_text: bool = False, allow_code: AllowCode = False
) -> LoadedRun:
    """Rebuild a trained model in evaluation mode, on the CPU.

    Args:
        run: the run directory.
        backbone: the module that the run was trained with, if it was handed over in Python.
        with_text: restore the text encoder too, to train on; prediction needs none.
        allow_code: import code that the run names, `module:PACKAGE.NAME`: all of it, or the given names.

    Raises:
        RunDirectoryError: a file is missing, damaged, or does not fit the others, or the run names code that is not
            allowed.
    """
    run = Path(run)
    config = read_run_config(run)
    not_read = {"text.name"} if backbone is None else {"text.name", "backbone.name"}  # text.json has the encoder
    refuse_code(run, named_code(config), allow_code=allow_code, but=not_read)
    classes, spec = read_classes(run), read_image_spec(run)
    if config.backbone.name == OWN_BACKBONE and backbone is None:
        raise RunDirectoryError(
            f"{run} was trained with a backbone that was handed over in Python, and does not hold it. Pass it: "
            f"marnet.load({str(run)!r}, backbone=...)."
        )
    if backbone is None and not (run / BACKBONE).is_dir():
        refuse_download(run, config)
    header = read_weights_header(run / WEIGHTS)
    untrained = UntrainedRun(
        run,
        config,
        num_classes=len(classes),
        image_size=spec.size,
        text_width=read_text_width(run, header),
        backbone=backbone,
    )
    reads_text = with_text and find_method(config.method).needs_text
    with no_downloads():
        visual_width = None
        if not set(named_code(config)) - not_read:  # code that its user allows is trusted with sizes as well
            visual_width = untrained.check_sizes(header, with_text=reads_text)
        model = untrained.build(visual_width)
    model.classes = classes
    state = load_tensors(run / WEIGHTS)
    if reads_text and model.training_only is not None:
        training_state = upgrade_names(load_tensors(run / TEXT_WEIGHTS))
        model.training_only.text = _restore_text_encoder(run, training_state, allow_code=allow_code)
        state |= training_state
    _load_state(model, upgrade_names(state), run, with_text=with_text)
    model.calibration.class_means = read_class_means(run, len(classes), model.visual_width)
    apply_calibration(model, read_calibration(run, model))
    added = read_new_classes(run, classes)
    if added is None:
        return LoadedRun(model.eval(), config, classes, spec)
    model.new_classes = added.module
    model.classes = classes = (*classes, *(each.name for each in added.classes))
    return LoadedRun(model.eval(), config, classes, spec, added.classes, added.confidences)


def _save_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder that is not there yet; it gets its name when it is whole."""
    if folder.is_dir():
        return  # architectures and tokenizers do not change in training
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write(unfinished)
        if unfinished.is_dir():
            unfinished.rename(folder)
    except OSError as error:
        raise RunDirectoryError(
            f"{folder} could not be written: {error.strerror or error}. Free space or allow writing there, then start "
            f"again."
        ) from error


def _restore_text_encoder(run: Path, state: Mapping[str, Tensor], *, allow_code: AllowCode) -> nn.Module:
    settings = read_json(run / TEXT_SETTINGS)
    named = settings if isinstance(settings, dict) else {}
    is_code = named.get("kind") == "module"
    if is_code:
        path = str(named.get("path")).removeprefix("module:")
        refuse_code(run, {TEXT_SETTINGS: f"module:{path}"}, allow_code=allow_code)
    own = {name.removeprefix(_TEXT): tensor for name, tensor in state.items() if name.startswith(_TEXT)}

    def restore() -> TextEncoder:
        return restore_text_encoder(settings, own, run / TEXT_FILES, cache=cache_directory())

    try:
        with no_downloads(refused=not allows_downloads([f"hf:{named.get('name')}"], allow_code=allow_code)):
            if not is_code:  # which is trusted with sizes as well
                needed = module_shapes(build_without_memory(restore, held=len(own)))
                check_shapes(needed, {name: tuple(tensor.shape) for name, tensor in own.items()}, run / TEXT_WEIGHTS)
            return restore()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = "does not say" if isinstance(error, KeyError) else "holds a wrong value:"
        raise RunDirectoryError(
            f"{run / TEXT_SETTINGS} is damaged; it {reason} {error}. Restore it, or train again."
        ) from None


def _load_state(model: MARNet, state: dict[str, Tensor], run: Path, *, with_text: bool) -> None:
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and bool(tensor.isnan().any())]
    if broken:
        raise RunDirectoryError(
            f"The weights of {run} hold NaN (not a number) in {len(broken)} of {len(state)} tensors, such as "
            f"{broken[0]}, so that it cannot predict. Restore {WEIGHTS}, or train again with a lower `training.lr`."
        )
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
