"""A model of your own training loop as a folder: `save` and `load_model`."""

from pathlib import Path

from torch import nn

from marnet.building import DEFAULT_IMAGE_SIZE
from marnet.config import Config
from marnet.data.image_spec import ImageSpec
from marnet.encoders.backbone import IMAGENET_MEAN, IMAGENET_STD
from marnet.errors import ConfigError
from marnet.model import MARNet
from marnet.runs.calibration import write_calibration
from marnet.runs.class_means import write_class_means
from marnet.runs.code import AllowCode
from marnet.runs.lock import claimed
from marnet.runs.overwriting import keeping_replaced
from marnet.runs.starting import check_run_directory, start_run_directory
from marnet.runs.weights import load_run, save_weights


def save(model: MARNet, folder: Path | str, *, spec: ImageSpec | None = None, overwrite: bool = False) -> Path:
    """Write a model that `marnet.wrap` made into a folder, so that `marnet.load_model` and `marnet.load` can read it.

    The folder holds the weights as safetensors, the settings and the names of the classes; no training texts.

    Args:
        model: the model.
        folder: the folder to write.
        spec: size and normalisation of the model's input, for `marnet.load`; None: the image size given to `wrap` and
            the mean and deviation of ImageNet.
        overwrite: replace a model or run that `folder` already holds.

    Returns:
        The folder.

    Raises:
        RunDirectoryError: `folder` already holds something.
        ConfigError: the model was not built by marnet.

    Example:
        >>> import marnet, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = marnet.wrap(net, texts=["red", "green"], labels=["apple", "lime"], image_size=32)
        >>> folder = marnet.save(model, "saved-model")
        >>> marnet.load_model(folder, backbone=net).classes
        ('apple', 'lime')
    """
    folder = Path(folder)
    if model.settings is None:
        raise ConfigError("The model does not say how it was built. Build it with marnet.wrap.")
    check_run_directory(folder, overwrite=overwrite)
    config = Config.model_validate(model.settings)
    classes = model.classes or tuple(str(number) for number in range(model.num_classes))
    input_spec = spec or ImageSpec(config.data.image_size or DEFAULT_IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD)
    with claimed(folder), keeping_replaced(folder):
        start_run_directory(folder, config, classes, input_spec, overwrite=overwrite)
        save_weights(folder, model)
        if model.calibration.fitted is not None:
            write_calibration(folder, model.calibration.fitted)
            if model.calibration.class_means is not None:
                write_class_means(folder, model.calibration.class_means)
    return folder


def load_model(
    folder: Path | str, *, backbone: nn.Module | None = None, with_text: bool = True, allow_code: AllowCode = False
) -> MARNet:
    """Load a model that `marnet.save` wrote, or the model of a run directory, in evaluation mode on the CPU.

    Args:
        folder: the folder.
        backbone: the module that the model was built on, if it was handed over in Python; its weights are replaced.
        with_text: restore the text encoder as well, to go on training; prediction needs none.
        allow_code: import code that the folder names (`module:PACKAGE.NAME`), and download its text model (`hf:NAME`);
            without it, such a run is refused.

    Raises:
        RunDirectoryError: a file is missing, damaged, or does not fit the others.

    Example:
        >>> import marnet, torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = marnet.wrap(net, texts=["red", "green"], labels=[0, 1], image_size=32).eval()
        >>> folder = marnet.save(model, "my-model")
        >>> images = torch.randn(4, 3, 32, 32)
        >>> torch.equal(marnet.load_model(folder, backbone=net)(images), model(images))
        True
    """
    has_text = with_text and (Path(folder) / "text.json").is_file()
    return load_run(folder, backbone=backbone, with_text=has_text, allow_code=allow_code).model
