"""The rule for resuming: what may change, what is refused, and that a refusal changes nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import marnet
from marnet import Config, fit, make_config
from marnet.config import read_config
from marnet.config.flat import flat_settings
from marnet.config.nested import merge_settings
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.runs.directory import read_history
from marnet.training import embed
from marnet.training.resuming import CHANGEABLE, changed_settings, resumed_config, run_config


def settings(manifest_file: Path, **training: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(manifest_file)},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 16, "devices": "cpu", **training},
    }


@pytest.fixture(scope="module")
def finished(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = merge_settings(settings(manifest_file, patience=1), {"data": {"image_size": 32}})
    return fit(make_config(values), tmp_path_factory.mktemp("resuming") / "run").path


def assign(name: str, value: Any) -> dict[str, Any]:
    nested: Any = value
    for key in reversed(name.split(".")):
        nested = {key: nested}
    return dict(nested)


OTHER = {  # a value of each kind of setting that no run here was trained with
    "method": "match",
    "options": {"x": 1},
    "data.labels": "multi",
    "data.augmentation": "strong",
    "data.on_bad_image": "skip",
    "data.unlabelled": "refuse",
    "training.unlabelled": "never",
    "training.class_means": "never",
    "text.name": "tags",
    "text.pooling": "cls",
    "alignment.positives": "identity",
    "reconstruction.guide": "features",
    "reconstruction.schedule": "linear",
    "reconstruction.prediction": "v",
    "reconstruction.sampler": "ddpm",
    "fusion.kind": "concat",
    "training.clip_by": "model",
    "training.keep": "last",
    "training.text_gradient": 0.5,
    "training.balance": "weights",
    "training.precision": "64",
    "training.devices": "auto",
    "backbone.name": "timm:resnet18",
    "data.split_seed": 4,
    "data.threshold": 0.4,
    "losses.label_smoothing": 0.3,
    "training.layer_decay": 0.75,
}


def other(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return [*value, "other"]
    if isinstance(value, int | float):
        return value / 2 if isinstance(value, float) and 0 < value < 1 else value + 1
    return "other" if isinstance(value, str) or (value is None and name.endswith(("weights", "features"))) else 3


@pytest.mark.parametrize("name", [name for name in flat_settings(Config()) if name != "data.source"])
def test_every_setting_is_refused_but_those_that_change_no_learning(name: str, finished: Path) -> None:
    recorded = read_config(finished / "config.yaml")
    value = other(name, flat_settings(recorded)[name])
    given = make_config(merge_settings(recorded.model_dump(), assign(name, value)))
    assert flat_settings(given)[name] != flat_settings(recorded)[name]
    if name in CHANGEABLE:
        assert flat_settings(resumed_config(finished, given))[name] == flat_settings(given)[name]
    else:
        with pytest.raises(ConfigError) as refused:
            resumed_config(finished, given)
        assert name in refused.value.settings
        assert f"  `{name}`: the run has " in str(refused.value)


def test_a_refusal_names_every_setting_and_changes_nothing(manifest_file: Path, finished: Path) -> None:
    written = (finished / "config.yaml").read_bytes()
    values = merge_settings(settings(manifest_file, lr=0.1, seed=99, patience=1), {"data": {"image_size": 32}})
    with pytest.raises(ConfigError) as refused:
        fit(make_config(values), finished, resume=True)
    assert str(refused.value) == (
        f"{finished} cannot be resumed with other settings than those in its config.yaml; nothing was changed:\n"
        f"  `training.lr`: the run has 0.001, given 0.1\n"
        f"  `training.seed`: the run has 0, given 99\n"
        f"Leave them out to resume, or train anew with another `out`. When a run is resumed, only `training.epochs`, "
        f"`training.patience`, `training.precision`, `training.devices`, `data.workers` and `data.cache` may change."
    )
    assert (finished / "config.yaml").read_bytes() == written


def test_what_the_data_decided_need_not_be_given(manifest_file: Path, finished: Path, tmp_path: Path) -> None:
    """The recorded size of the images and the source stay, whatever the source is called by now."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    moved = make_config(merge_settings(settings(manifest_file, epochs=2), {"data": {"source": "moved.csv"}}))
    fit(moved, run, resume=True)
    recorded = read_config(run / "config.yaml")
    assert (recorded.data.source, recorded.data.image_size) == (str(manifest_file), 32)
    assert (recorded.training.epochs, recorded.training.patience) == (2, None)
    assert len(read_history(run / "history.csv")) == 2


def test_another_patience_holds_after_resuming(manifest_file: Path, tmp_path: Path) -> None:
    """A learning rate of next to nothing: no epoch is better than the first."""
    config = make_config(
        merge_settings(settings(manifest_file, epochs=30, lr=1e-9, patience=1), {"data": {"image_size": 32}})
    )
    run = fit(config, tmp_path / "run").path
    before = len(read_history(run / "history.csv"))
    fit(run_config(run, {"training": {"patience": 4}}), run, resume=True)
    assert len(read_history(run / "history.csv")) == before + 3
    assert read_config(run / "config.yaml").training.patience == 4


def test_settings_over_those_of_a_run(finished: Path, tmp_path: Path) -> None:
    recorded = read_config(finished / "config.yaml")
    assert run_config(finished) == recorded
    file = tmp_path / "more.yaml"
    file.write_text("training: {epochs: 5, lr: 0.5}\n")
    given = run_config(finished, {"training": {"epochs": 6}}, file=file, sets=["training.seed=7"])
    assert [(each.name, each.recorded, each.given) for each in changed_settings(recorded, given)] == [
        ("training.lr", 0.001, 0.5),
        ("training.seed", 0, 7),
    ]
    assert given.training.epochs == 6
    with pytest.raises(RunDirectoryError, match="does not exist"):
        run_config(tmp_path / "nowhere")


def test_features_may_have_moved_but_must_be_the_same(manifest_file: Path, tmp_path: Path) -> None:
    source = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = embed(make_config(source), tmp_path / "F")
    values = {"data": {"features": str(features)}, "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"}}
    run = fit(make_config(values), tmp_path / "run").path
    again = make_config(merge_settings(values, {"training": {"epochs": 2}}))
    fit(again, run, resume=True)  # what the features brought need not be given
    values = merge_settings(values, {"training": {"epochs": 2}})
    moved = shutil.move(features, tmp_path / "G")
    fit(make_config(merge_settings(values, {"data": {"features": str(moved)}})), run, resume=True)
    assert read_config(run / "config.yaml").data.features == Path(moved)

    rows = (Path(moved) / "manifest.jsonl").read_text()
    (Path(moved) / "manifest.jsonl").write_text(rows.replace("red, round", "square"))
    with pytest.raises(ConfigError, match=r"60 rows that are not the 60 rows of .*manifest.jsonl\. Name the features"):
        fit(make_config(merge_settings(values, {"data": {"features": str(moved)}})), run, resume=True)
    other_backbone = merge_settings(values, {"backbone": {"name": "timm:resnet18"}})
    with pytest.raises(ConfigError, match=r'`backbone.name`: the run has "timm:test_resnet", given "timm:resnet18"'):
        fit(make_config(other_backbone), run, resume=True)


def test_nobody_named_data(tmp_path: Path) -> None:
    for call in (lambda: fit(Config(), tmp_path / "run"), lambda: embed(Config(), tmp_path / "F")):
        with pytest.raises(ConfigError, match=r"^No data was named\. Name a source with `data.source=SOURCE`: ") as no:
            call()
        assert no.value.settings == ("data.source",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("over", "refused"),
    [
        ({"data": {"source": "other.csv"}}, "`data.source=other.csv`"),
        ({"backbone": {"name": "timm:resnet18"}}, "`backbone.name=timm:resnet18`"),
        ({"backbone": {"pretrained": True}, "data": {"image_size": 64}}, "`data.image_size=64`, `backbone.pretrained="),
        ({"data": {"augmentation": "strong", "workers": 1}}, "`data.augmentation=strong`"),
        ({"backbone": {"freeze": False}}, "`backbone.freeze=False`"),
    ],
)
def test_features_bring_their_own_data_and_backbone(
    over: dict[str, Any], refused: str, manifest_file: Path, tmp_path: Path
) -> None:
    source = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = embed(make_config(source), tmp_path / "F")
    values = merge_settings({"data": {"features": str(features)}}, over)
    with pytest.raises(ConfigError) as caught:
        fit(make_config(values), tmp_path / "run")
    assert str(caught.value).startswith(f"`data.features` brings its own data and backbone, but {refused}")
    assert not (tmp_path / "run").exists()


def test_what_agrees_with_the_features_may_stand_next_to_them(manifest_file: Path, tmp_path: Path) -> None:
    """Such as in the config.yaml of a run on them."""
    source = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = embed(make_config(source), tmp_path / "F")
    training = {"epochs": 1, "batch_size": 16, "devices": "cpu"}
    values = merge_settings(source, {"data": {"features": str(features)}, "training": training})
    run = fit(make_config(values), tmp_path / "run").path
    again = fit(read_config(run / "config.yaml"), tmp_path / "again")
    assert marnet.load(again.path).config == marnet.load(run).config


def test_fewer_epochs_than_are_finished_are_refused(manifest_file: Path, tmp_path: Path) -> None:
    config = make_config(merge_settings(settings(manifest_file, epochs=3), {"data": {"image_size": 32}}))
    run = fit(config, tmp_path / "run").path
    written = (run / "config.yaml").read_bytes()
    with pytest.raises(ConfigError) as refused:
        fit(run_config(run, {"training": {"epochs": 2}}), run, resume=True)
    assert str(refused.value) == (
        f"{run} cannot be resumed with `training.epochs=2`, because 3 epochs are finished; nothing was changed. Give "
        f"`training.epochs=3` or more, or train anew with another `out`."
    )
    assert (run / "config.yaml").read_bytes() == written


def test_a_source_given_as_a_setting_is_the_new_place_of_the_images(
    manifest_file: Path, finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        marnet.train(out=run, resume=True, settings={"data.source": "nowhere.csv"})
    moved = Path(shutil.copytree(manifest_file.parent, tmp_path / "moved")) / "manifest.csv"
    marnet.train(out=run, resume=True, settings={"data.source": str(moved), "training.epochs": 2})
    assert {Path(record.image).parent for record in marnet.load(run).manifest().records} == {moved.parent}
    assert len(read_history(run / "history.csv")) == 2
