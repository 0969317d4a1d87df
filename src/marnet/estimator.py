"""marnet as a scikit-learn classifier: `fit`, `predict`, pipelines, cross-validation and searches."""

import copy
import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from marnet.config.nested import merge_settings, unflatten
from marnet.data.manifest import Manifest, Record
from marnet.data.sources.image_cells import ImageStore
from marnet.data.splits import split_by_classes
from marnet.encoders.text import has_text
from marnet.encoders.visual import Backbone
from marnet.errors import list_some
from marnet.inference import Predictor
from marnet.training.fit import TrainedRun
from marnet.training.train import train

_NOT_PICKLED = ("checkpoints", "tensorboard")  # the folders of a run that prediction does without
_DEVICES = {"auto": "1", "cuda": "cuda:1"}  # one of them: `training.devices` counts


class MARNetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An image classifier with the interface of scikit-learn, which may learn from texts and predicts without any.

    `X` holds one image per row: paths, Pillow images, encoded bytes or arrays `(H, W, 3)`, in a list, an array or a
    Series; or it is a pandas, polars or pyarrow table with a column `image` and, for training, a column `text`.

    Args:
        method: the method to train, see `marnet.list_methods`. "auto" is marnet where `fit` is given texts, and
            image-only where it is not. A method that learns from text refuses to train without any.
        backbone: the name of an image model, or your own module; see `marnet.train`.
        pretrained: start from the published weights of the named backbone.
        image_size: side of the square the model sees, in pixels; None takes the backbone's.
        epochs: passes over the training rows.
        batch_size: images per step.
        lr: peak learning rate.
        validation_fraction: share of the rows that are not trained on; the calibration is fitted on them.
        settings: any other settings by dotted name; they win over the arguments above.
        out: a folder to keep the run in; a run that it holds is replaced. None keeps the run in a temporary folder
            that is removed with the estimator.
        device: where to train and to predict: "auto", "cpu", "cuda" or "mps".
        random_state: fixes weights, order, augmentation, noise and the validation rows.
        verbose: show the progress of training.

    Attributes:
        classes_: the classes, `(C,)`, in the order of the columns of `predict_proba`.
        method_: the method that was trained.
        run_: the trained run, with its path and its metrics on the validation rows.
        predictor_: the `Predictor` of that run.

    A pickle holds the run, so that it can be loaded where the folder of the run does not exist.

    Example:
        >>> import marnet, pandas
        >>> table = pandas.read_csv("products.csv")
        >>> settings = dict(backbone="timm:test_resnet", image_size=32, epochs=1, random_state=0)
        >>> clf = marnet.MARNetClassifier(**settings).fit(table["image"], table["label"], texts=table["text"])
        >>> clf.classes_.tolist(), clf.method_
        (['apple', 'eel', 'lime'], 'marnet')
        >>> clf.predict_proba(["a.jpg", "b.jpg"]).shape
        (2, 3)
    """

    def __init__(
        self,
        *,
        method: str = "auto",
        backbone: str | Backbone | nn.Module = "timm:resnet18",
        pretrained: bool = False,
        image_size: int | None = None,
        epochs: int = 60,
        batch_size: int = 32,
        lr: float = 1e-3,
        validation_fraction: float = 0.15,
        settings: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.pretrained = pretrained
        self.image_size = image_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.settings = settings
        self.out = out
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, texts: Sequence[str | None] | None = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Train on images with their classes and, where there are any, their texts.

        Args:
            X: the N images; see the class.
            y: their classes, `(N,)`: integers or strings.
            texts: one text per image, "" or None for none; they win over a column `text` of `X`. In a pipeline and in
                `cross_validate` they are given as a parameter of `fit`.

        Raises:
            ValueError: X, y and texts do not fit each other, or hold no two classes.
            MarnetError: an image, a setting or the backbone cannot be used.
        """
        images, column = _read_rows(X)
        labels = validate_data(self, X="no_validation", y=y)
        check_classification_targets(labels)
        words = _read_texts(column if texts is None else texts, len(images))
        if len(labels) != len(images):
            raise ValueError(f"X has {len(images)} images, but y has {len(labels)} labels. Give one label per image.")
        classes, numbers = np.unique(labels, return_inverse=True)
        names = _class_names(classes)
        state = self.random_state
        seed = int(state) if isinstance(state, int | np.integer) else check_random_state(state).randint(2**31 - 1)
        method = ("marnet" if any(map(has_text, words)) else "image-only") if self.method == "auto" else self.method
        folder = _TemporaryFolder()
        paths = _as_files(images, folder.path)
        named = [names[number] for number in numbers]
        share = self.validation_fraction
        splits = split_by_classes(paths, [[name] for name in named], val_share=share, test_share=0.0, seed=seed)
        if "val" not in splits:
            raise ValueError(
                f"No row is left to validate on: X has {len(images)} images of {len(names)} classes, and "
                f"`validation_fraction` is {share}. Give two images or more of some class, or a larger fraction."
            )
        rows = zip(paths, words, named, splits, strict=True)
        backbone = copy.deepcopy(self.backbone)  # a module would be trained in place
        run = train(
            Manifest(tuple(Record(*row) for row in rows), tuple(names), source="X"),
            out=folder.path / "run" if self.out is None else self.out,
            method=method,
            backbone=backbone,
            pretrained=self.pretrained,
            settings=self._all_settings(seed, cache=all(isinstance(image, str | Path) for image in images)),
            overwrite=True,
            on_epoch=None if self.verbose else _say_nothing,
        )
        self.classes_ = classes
        self.method_ = method
        self.run_ = run
        self._folder = folder
        self._load()
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most probable class of each image, `(N,)`; texts are not looked at."""
        probabilities = self.predict_proba(X)
        chosen: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probabilities of the classes, `(N, C)` float64, in the order of `classes_`."""
        check_is_fitted(self)
        images, _ = _read_rows(X)
        found: np.ndarray = np.asarray(self.predictor_.predict_proba(images), dtype=np.float64)
        found /= found.sum(axis=1, keepdims=True)  # float32 sums to one less exactly
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "predictor_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True  # of paths
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())  # a copy: it may be the attributes themselves
        if "run_" in state:
            run = self.run_.path
            files = [path for path in run.rglob("*") if path.is_file()]
            named = {path.relative_to(run): path for path in files}
            state["_files"] = {
                name.as_posix(): path.read_bytes() for name, path in named.items() if name.parts[0] not in _NOT_PICKLED
            }
            del state["predictor_"], state["_folder"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is None:
            return
        self._folder = _TemporaryFolder()
        run = self._folder.path / "run"
        for name, content in files.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
        self.run_ = TrainedRun(run, self.run_.metrics)
        self._load()

    def _load(self) -> None:
        own = self.backbone
        module = own.module if isinstance(own, Backbone) else None if isinstance(own, str) else own
        # A copy, because the weights are loaded into it.
        self.predictor_ = Predictor(self.run_.path, backbone=copy.deepcopy(module), device=self.device, allow_code=True)

    def _all_settings(self, seed: int, *, cache: bool) -> dict[str, Any]:
        arguments = {
            "data": {"image_size": self.image_size, "cache": cache},
            "training": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "lr": self.lr,
                "devices": _DEVICES.get(self.device, self.device),
                "seed": seed,
            },
        }
        return merge_settings(arguments, unflatten(self.settings or {}))


def _say_nothing(epoch: int, epochs: int) -> None:
    """Take the place of the progress bar."""


def _read_rows(X: Any) -> tuple[list[Any], Sequence[Any] | None]:  # noqa: N803
    """Return the images and, where X is a table that has them, the texts.

    Raises:
        ValueError: X is none of the forms that `MARNetClassifier` takes.
    """
    columns = getattr(X, "column_names", None) or getattr(X, "columns", None)  # of pyarrow; of pandas and polars
    if columns is None:
        images, texts = [_only(row) for row in _as_rows(X)], None
    else:
        names = [str(name) for name in columns]
        if "image" not in names and len(names) != 1:
            raise ValueError(
                f"X has the columns {list_some(names)}, but none is named 'image'. Rename that of the images."
            )
        images = _column(X, "image" if "image" in names else names[0])
        texts = _column(X, "text") if "text" in names else None
    if not images:
        raise ValueError("X has 0 images, while a minimum of 1 is required.")
    strange = next((image for image in images if not _is_image(image)), None)
    if strange is not None:
        raise ValueError(
            f"X holds a value of type {type(strange).__name__}, but every row must be an image: a path, encoded bytes, "
            f"a Pillow image or an array of shape (H, W, 3)."
        )
    return images, texts


def _as_rows(X: Any) -> Any:  # noqa: N803
    if isinstance(X, str | bytes | Path) or not hasattr(X, "__iter__"):
        raise ValueError(
            f"X is a {type(X).__name__}, but it must hold one image per row. Put a single image in a list."
        )
    return X


def _only(row: Any) -> Any:
    """Return the image of a row that is a list or an array of one path, as pipelines of columns make them."""
    of_one = isinstance(row, list | tuple) or (isinstance(row, np.ndarray) and row.ndim == 1)
    return row[0] if of_one and len(row) == 1 else row


def _column(table: Any, name: str) -> list[Any]:
    column = table[name]
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column)


def _is_image(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3) and value.dtype != object
    return isinstance(value, str | Path | bytes | Image.Image)


def _read_texts(texts: Sequence[Any] | None, n: int) -> list[str]:
    found = [""] * n if texts is None else [text if isinstance(text, str) else "" for text in texts]
    if len(found) != n:
        raise ValueError(f"X has {n} images, but there are {len(found)} texts. Give one per image, '' for none.")
    return found


def _class_names(classes: np.ndarray) -> list[str]:
    names = [str(each) for each in classes]
    if len(names) < 2:
        raise ValueError(f"y holds one class only, {names[0]!r}. A classifier needs two or more.")
    if len({name.strip() for name in names} - {""}) != len(names):
        raise ValueError(f"y holds classes that read alike or are blank: {list_some(names)}. Rename them.")
    return names


class _TemporaryFolder:
    """A folder that goes with its object; copies of the object in forked processes leave it alone."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="marnet-"))
        weakref.finalize(self, _remove_own, self.path, os.getpid())


def _remove_own(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _as_files(images: Sequence[Any], folder: Path) -> list[str]:
    """Return the absolute path of each image; those that are not files are written into the folder."""
    store = ImageStore(folder)
    paths = [store.path_of(image, f"X, row {number}") for number, image in enumerate(images, start=1)]
    return [str(Path(path).absolute()) for path in paths]
