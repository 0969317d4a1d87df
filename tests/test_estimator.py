"""`MARNetClassifier`: scikit-learn's own checks on pictures, and what users do with it."""

import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from torch import nn

import marnet
from marnet import MARNetClassifier, make_config
from marnet.errors import MarnetError
from marnet.estimator import _TemporaryFolder

SMALL: dict[str, Any] = {
    "backbone": "timm:test_resnet",
    "image_size": 32,
    "epochs": 1,
    "batch_size": 16,
    "device": "cpu",
    "random_state": 0,
}

# --- scikit-learn's checks -------------------------------------------------------------------------------------------

NUMBERS = "checks how a matrix of numbers is validated; X holds images"
NOT_APPLICABLE = {
    "check_estimators_empty_data_messages": NUMBERS,
    "check_estimators_nan_inf": NUMBERS,
    "check_estimator_sparse_tag": NUMBERS,
    "check_estimator_sparse_array": NUMBERS,
    "check_estimator_sparse_matrix": NUMBERS,
    "check_fit2d_predict1d": NUMBERS,
    "check_n_features_in": "images have no features to count, so there is no n_features_in_",
    "check_n_features_in_after_fitting": "images have no features to count, so there is no n_features_in_",
}
_pictures = Path(tempfile.gettempdir())


class OnPicturesOfNumbers(MARNetClassifier):
    """scikit-learn's checks make matrices of numbers: each row is drawn as a picture, and handed over by its path."""

    def fit(self, X: Any, y: Any) -> "OnPicturesOfNumbers":  # noqa: N803
        self._width = np.asarray(X).shape[-1:]
        return super().fit(draw(X), y)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        return super().predict_proba(draw(X) if np.asarray(X).shape[1:] == getattr(self, "_width", None) else X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Else no check would run.
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        return tags


def draw(rows: Any) -> Any:
    """A picture per row, its colours the first three numbers; the same numbers give the same file."""
    numbers = np.nan_to_num(np.real(np.asarray(rows)).astype(np.float64))
    if numbers.ndim != 2:
        return rows
    paths = []
    for row in numbers:
        path = _pictures / f"{hashlib.sha256(row.tobytes()).hexdigest()[:20]}.png"
        if not path.exists():
            colour = np.resize(127.5 + 127.5 * np.sin(row / 2), 3).astype(np.uint8)
            Image.fromarray(np.broadcast_to(colour, (16, 16, 3)).copy()).save(path)
        paths.append([str(path)])
    return np.array(paths, dtype=object)


@pytest.fixture(scope="module", autouse=True)
def pictures(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _pictures  # noqa: PLW0603 - the checks clone the estimator, and know no fixture
    _pictures = tmp_path_factory.mktemp("numbers")


@parametrize_with_checks(
    [
        OnPicturesOfNumbers(
            **{**SMALL, "image_size": 16, "epochs": 2, "lr": 5e-3}, settings={"training.warmup_epochs": 0}
        )
    ],
    expected_failed_checks=lambda _: NOT_APPLICABLE,
)
def test_scikit_learns_checks(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def test_scikit_learn_itself_has_no_check_for_images() -> None:
    """It says so by a warning, which is why the checks above draw their numbers."""
    with pytest.warns(SkipTestWarning, match="requires input  of type"):
        check_estimator(MARNetClassifier())


# --- what users do ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(manifest_file: Path) -> pandas.DataFrame:
    """The rows of the small manifest with absolute paths; a fourth of the texts are blank."""
    rows = pandas.read_csv(manifest_file, keep_default_na=False)
    rows["image"] = [str(manifest_file.parent / name) for name in rows["image"]]
    return rows.sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def fitted(table: pandas.DataFrame) -> MARNetClassifier:
    return MARNetClassifier(**{**SMALL, "epochs": 3, "lr": 5e-3}).fit(table[["image", "text"]], table["label"])


def test_it_learns_from_the_texts_of_a_table_and_predicts_from_images_alone(
    fitted: MARNetClassifier, table: pandas.DataFrame
) -> None:
    assert fitted.method_ == "marnet"
    assert fitted.classes_.tolist() == ["apple", "eel", "lime"]
    assert fitted.score(table["image"], table["label"]) > 0.6
    assert fitted.predict(table["image"][:4]).shape == (4,)
    swapped = table.assign(text="nonsense")
    assert np.array_equal(fitted.predict_proba(swapped), fitted.predict_proba(table["image"].tolist()))


def test_texts_beside_x_are_those_of_a_column(table: pandas.DataFrame) -> None:
    one = MARNetClassifier(**SMALL).fit(table[["image", "text"]], table["label"])
    other = MARNetClassifier(**SMALL).fit(table["image"].to_numpy(), table["label"], texts=list(table["text"]))
    assert np.array_equal(one.predict_proba(table["image"]), other.predict_proba(table["image"]))


def test_without_texts_it_trains_image_only_unless_a_method_was_asked_for_that_needs_some(
    table: pandas.DataFrame,
) -> None:
    assert MARNetClassifier(**SMALL).fit(table["image"], table["label"]).method_ == "image-only"
    assert MARNetClassifier(**SMALL).fit(table[["image"]], table["label"], texts=[None] * 60).method_ == "image-only"
    with pytest.raises(MarnetError, match="'match' learns from text"):
        MARNetClassifier(method="match", **SMALL).fit(table["image"], table["label"])


@pytest.mark.parametrize("labels", [[3, 7, 5], ["c", "a", "b"], [True, False], [0.0, 1.0, 2.0]])
def test_predictions_are_the_labels_that_were_given(table: pandas.DataFrame, labels: list[Any]) -> None:
    wanted = np.array(labels)[np.arange(60) % len(labels)]
    found = [
        MARNetClassifier(**SMALL).fit(table["image"], y)
        for y in (wanted.tolist(), pandas.Series(wanted, index=range(5, 65)))
    ]
    for clf in found:
        assert clf.classes_.tolist() == sorted(set(labels))
        assert set(clf.predict(table["image"][:5]).tolist()) <= set(labels)


def test_the_columns_of_the_probabilities_are_the_classes_whatever_their_order_as_names(
    table: pandas.DataFrame,
) -> None:
    """-1, 10, 9 as numbers; as names they would sort otherwise."""
    numbers = table["label"].map({"apple": 10, "lime": -1, "eel": 9}).to_numpy()
    clf = MARNetClassifier(**{**SMALL, "epochs": 3, "lr": 5e-3}).fit(table["image"], numbers)
    assert clf.classes_.tolist() == [-1, 9, 10]
    assert clf.score(table["image"], numbers) > 0.6
    found = clf.predictor_.predict([table["image"][0]])[0]
    assert int(found.labels[0]) == clf.predict(table["image"][:1])[0]


def test_images_may_be_arrays_pictures_and_bytes(fitted: MARNetClassifier, table: pandas.DataFrame) -> None:
    paths = table["image"][:6].tolist()
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = np.stack([np.asarray(picture) for picture in pictures])  # (6, 40, 40, 3)
    wanted = fitted.predict_proba(paths)
    for images in (pictures, arrays, [Path(path).read_bytes() for path in paths], [Path(path) for path in paths]):
        assert np.array_equal(fitted.predict_proba(images), wanted)
    every = [np.asarray(Image.open(path).convert("RGB")) for path in table["image"]]
    by_path = MARNetClassifier(**SMALL, validation_fraction=0.3).fit(table["image"], table["label"])
    by_array = MARNetClassifier(**SMALL, validation_fraction=0.3).fit(np.stack(every), table["label"])
    assert by_array.run_.metrics.n == by_path.run_.metrics.n == 18
    assert by_array.predict_proba(paths).shape == (6, 3)


def test_other_tables(fitted: MARNetClassifier, table: pandas.DataFrame) -> None:
    wanted = fitted.predict_proba(table["image"])
    assert np.array_equal(fitted.predict_proba(pyarrow.Table.from_pandas(table)), wanted)
    polars = pytest.importorskip("polars")
    assert np.array_equal(fitted.predict_proba(polars.from_pandas(table)), wanted)


def test_one_seed_gives_one_classifier_and_the_global_state_is_left_alone(table: pandas.DataFrame) -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first, second, other = (
        MARNetClassifier(**{**SMALL, "random_state": seed}).fit(table["image"], table["label"])
        for seed in (1, 1, np.random.RandomState(1))
    )
    one = first.predict_proba(table["image"])
    assert np.array_equal(one, second.predict_proba(table["image"]))
    assert not np.array_equal(one, other.predict_proba(table["image"]))
    assert MARNetClassifier(**{**SMALL, "random_state": None}).fit(table["image"], table["label"]).run_.metrics.n
    assert before.shape == np.random.get_state()[1].shape


def test_a_pickle_holds_the_run(fitted: MARNetClassifier, table: pandas.DataFrame, tmp_path: Path) -> None:
    """It is read by another process, which predicts the same."""
    wanted = fitted.predict_proba(table["image"])
    (tmp_path / "clf.pickle").write_bytes(pickle.dumps(fitted))
    assert np.array_equal(fitted.predict_proba(table["image"]), wanted)  # what was pickled still works
    script = (
        "import pickle, sys, numpy, torch; torch.set_num_threads(1); clf = pickle.load(open(sys.argv[1], 'rb')); "
        "numpy.save(sys.argv[2], clf.predict_proba(sys.argv[3:])); "
        "print(clf.run_.path.is_dir(), clf.method_, clf.run_.metrics.n)"
    )
    command = [sys.executable, "-c", script, tmp_path / "clf.pickle", tmp_path / "found.npy", *table["image"]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "marnet", str(fitted.run_.metrics.n)]
    assert np.array_equal(np.load(tmp_path / "found.npy"), wanted)


def test_the_run_is_a_run_like_any_other_and_goes_with_the_estimator(table: pandas.DataFrame, tmp_path: Path) -> None:
    clf = MARNetClassifier(**SMALL, out=tmp_path / "run").fit(table[["image", "text"]], table["label"])
    assert clf.run_.path == tmp_path / "run"
    assert marnet.evaluate(clf.run_) == clf.run_.metrics
    clf.fit(table["image"], table["label"])  # replaces it
    assert marnet.load(tmp_path / "run").config.method == "image-only"
    temporary = MARNetClassifier(**SMALL).fit(table["image"], table["label"])
    folder = temporary.run_.path
    assert folder.is_dir()
    del temporary
    assert not folder.exists()


def test_cross_validation_splits_the_texts_with_the_rows(table: pandas.DataFrame) -> None:
    clf = MARNetClassifier(**SMALL)
    found = cross_validate(
        clf, table["image"], table["label"], cv=3, params={"texts": table["text"]}, return_estimator=True
    )
    assert found["test_score"].shape == (3,)
    assert {each.method_ for each in found["estimator"]} == {"marnet"}


def test_a_search_over_settings_in_a_pipeline(table: pandas.DataFrame) -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda rows: rows[["image", "text"]]), MARNetClassifier(**SMALL))
    grid = {"marnetclassifier__settings": [{"losses.matching": 0.0}, {"losses": {"matching": 0.5}}]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(table, table["label"])
    assert len(search.cv_results_["mean_test_score"]) == 2
    best = search.best_estimator_[-1]
    assert best.method_ == "marnet"
    assert best.predictor_.config.losses.matching in (0.0, 0.5)
    assert search.predict(table[:3]).shape == (3,)


class OwnNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Any) -> Any:
        return self.layers(images)


def test_a_module_of_ones_own_is_copied_not_trained(table: pandas.DataFrame) -> None:
    net = OwnNet()
    before = [weights.clone() for weights in net.parameters()]
    clf = clone(MARNetClassifier(**{**SMALL, "backbone": net})).fit(table[["image", "text"]], table["label"])
    kept = MARNetClassifier(**{**SMALL, "backbone": net}).fit(table[["image", "text"]], table["label"])
    assert kept.backbone is net
    assert all(bool((one == other).all()) for one, other in zip(before, net.parameters(), strict=True))
    wanted = clf.predict_proba(table["image"])
    assert np.array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(table["image"]), wanted)
    assert np.array_equal(kept.predict_proba(table["image"]), wanted)


def test_the_defaults_are_those_of_the_configuration() -> None:
    clf, config = MARNetClassifier(), make_config({})
    assert (clf.epochs, clf.batch_size, clf.lr) == (
        config.training.epochs,
        config.training.batch_size,
        config.training.lr,
    )
    assert (clf.backbone, clf.pretrained, clf.image_size) == (
        config.backbone.name,
        config.backbone.pretrained,
        config.data.image_size,
    )
    assert clf.validation_fraction == config.data.val_share


def test_settings_win_over_arguments(table: pandas.DataFrame) -> None:
    clf = MARNetClassifier(**SMALL, settings={"training.lr": 0.01, "training": {"balance": "weights"}})
    training = clf.fit(table["image"], table["label"]).predictor_.config.training
    assert (training.lr, training.balance, training.epochs) == (0.01, "weights", 1)


@pytest.mark.parametrize(
    ("x", "y", "texts", "message"),
    [
        ("a.png", ["a"], None, "X is a str, but it must hold one image per row. Put a single image in a list."),
        ([], [], None, "0 images, while a minimum of 1 is required"),
        ([1.5, 2.5], [0, 1], None, "X holds a value of type float, but every row must be an image"),
        (["a", "b"], [0], None, "X has 2 images, but y has 1 labels"),
        (["a", "b"], [0, 1], ["x"], "X has 2 images, but there are 1 texts"),
        (["a", "b"], [0, 0], None, "y holds one class only, '0'. A classifier needs two or more."),
        (["a", "b"], ["", "x"], None, "y holds classes that read alike or are blank: '', 'x'"),
        (["a", "b"], [0, 1], None, "No row is left to validate on: X has 2 images of 2 classes"),
        (["a", "b"], [0.5, 1.5], None, "Unknown label type: continuous"),
        (
            pandas.DataFrame({"photo": ["a"], "words": ["b"]}),
            [0],
            None,
            "columns 'photo', 'words', but none is named 'image'",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(x: Any, y: Any, texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.").replace("(", r"\(")):
        MARNetClassifier(**SMALL).fit(x, y, texts=texts)


def test_before_fit_it_says_so() -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        MARNetClassifier().predict(["a.png"])


def test_the_temporary_folder_goes_with_its_object_but_not_in_a_forked_process() -> None:
    folder = _TemporaryFolder()
    path = folder.path
    child = os.fork()
    if child == 0:
        del folder  # as when a worker of a data loader collects its garbage
        os._exit(0)
    os.waitpid(child, 0)
    assert path.is_dir()
    del folder
    assert not path.exists()
