"""Features that 'marnet embed' computed, in place of images, for a trained run."""

from pathlib import Path

import torch

from marnet.errors import ConfigError
from marnet.inference import Predictor
from marnet.runs.code import AllowCode
from marnet.training.features import FeatureSet, open_features


def features_for(predictor: Predictor, folder: Path | str, *, allow_code: AllowCode = False) -> FeatureSet:
    """Open a folder of features whose backbone is that of a run, so that the run can go on from them.

    Args:
        predictor: of the run.
        folder: written by 'marnet embed'.
        allow_code: import code that the features name (`module:PACKAGE.NAME`).

    Raises:
        ConfigError: another backbone computed them, or the images had another form.
        RunDirectoryError: a file is missing or damaged.
    """
    found = open_features(folder, allow_code=allow_code)
    own, stored = predictor.model.backbone.state_dict(), found.backbone.state_dict()
    same = own.keys() == stored.keys() and all(torch.equal(own[name].cpu(), stored[name].cpu()) for name in own)
    if not same:
        raise ConfigError(
            f"The features in {folder} are not those of the backbone of {predictor.run}, which is another one or was "
            f"fine-tuned. Leave `features` out, so that they are computed."
        )
    if found.spec != predictor.spec:
        raise ConfigError(
            f"The features in {folder} are of images of the form {found.spec}, but {predictor.run} takes "
            f"{predictor.spec}. Leave `features` out, so that they are computed."
        )
    return found
