"""The means of the classes of a trained run, for classes with few training rows (`marnet.inference.class_means`)."""

import numpy as np

from marnet.config import Config
from marnet.data.dataset import ImageTextDataset
from marnet.data.features import FeatureDataset
from marnet.data.transforms import eval_transform
from marnet.inference import collect_outputs
from marnet.inference.class_means.fit import fit_class_means, sample_rows, text_similarity
from marnet.methods import find_method
from marnet.model import MARNet
from marnet.modules.class_means import ClassMeans
from marnet.training.training_data import TrainingData

IMBALANCE = 20  # training rows of the most frequent class for one of the rarest, from which `auto` means always
_FEWEST_CLASSES = 3
_SEED = 0  # of the rows that are used where a class has many


def wants_class_means(config: Config, labels: np.ndarray, classes: int) -> bool:
    """Return whether a run of these training labels `(N,)` gets the means of its classes."""
    wanted = config.training.class_means
    if wanted == "never" or not config.training.calibrate or labels.ndim != 1 or classes < _FEWEST_CLASSES:
        return False
    counts = np.bincount(labels, minlength=classes)
    return bool(counts.min() > 0) and (wanted == "always" or bool(counts.max() >= IMBALANCE * counts.min()))


def make_class_means(model: MARNet, config: Config, data: TrainingData) -> ClassMeans | None:
    """Return the means of the classes, with a weight of 0; None if the run gets none.

    Args:
        model: with the weights that are kept and without a calibration.
        config: of the run.
        data: its rows.
    """
    train, classes = data.labelled(), data.manifest.classes
    labels = train.labels
    if not wants_class_means(config, labels, len(classes)):
        return None
    rows = sample_rows(labels, np.random.default_rng(_SEED))
    if isinstance(train, ImageTextDataset):
        shown: ImageTextDataset | FeatureDataset = train.select(
            rows, labels[rows], transform=eval_transform(data.spec)
        )  # without augmentation
    else:
        shown = train.select(rows, labels[rows])
    features = collect_outputs(model, shown, data.spec, batch_size=config.training.batch_size).x_v.numpy()
    similarity = None
    method = find_method(config.method)
    if method.needs_text:
        said: dict[str, list[str]] = {name: [] for name in classes}
        for label, text in zip(labels.tolist(), train.texts, strict=True):
            said[classes[label]].append(text)
        encoder = method.text_encoder(config).name
        similarity = text_similarity(said, encoder if encoder.startswith("hf:") else None)
    return fit_class_means(features, labels[rows], np.bincount(labels, minlength=len(classes)), similarity)
