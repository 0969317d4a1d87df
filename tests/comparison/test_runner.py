"""A comparison as a whole: what it writes, and that stopping it at any time loses and repeats nothing."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import marnet
from marnet.building import build_model
from marnet.comparison import single_run
from marnet.comparison.data import ComparisonData
from marnet.comparison.plan import ComparisonConfig, configure, plan_run, read_comparison_config
from marnet.comparison.records import RunRecord, read_record
from marnet.comparison.runner import run_comparison
from marnet.comparison.single_run import training_rows
from marnet.config import Config
from marnet.data.manifest import read_manifest
from marnet.errors import ConfigError, DataError, NonFiniteLossError, RunDirectoryError
from marnet.evaluation.corruptions import CORRUPTIONS, STANDARD
from marnet.training.fit import fit

ARMS = ["image-only", "marnet", "marnet-shuffled"]


@pytest.fixture
def file(manifest_file: Path, tmp_path: Path) -> Path:
    content = {
        "base": {
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"},
        },
        "arms": ARMS,
        "seeds": 2,
    }
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, bool]]:
    """The trainings that start: arm, seed, whether resumed."""
    seen: list[tuple[str, int, bool]] = []

    def noted(config: Config, out: Path, **options: Any) -> Any:
        seen.append((Path(out).parent.name, config.training.seed, options["resume"]))
        return fit(config, out, **options)

    monkeypatch.setattr(single_run, "fit", noted)
    return seen


def read(file: Path, sets: tuple[str, ...] = (), **values: Any) -> ComparisonConfig:
    return read_comparison_config(file, values=values, sets=sets)


def results_of(records: tuple[RunRecord, ...]) -> list[dict[str, Any]]:
    """All that must not depend on when and how often a comparison was stopped."""
    return [record.model_dump(exclude={"seconds", "environment"}) for record in records]


def test_every_run_leaves_a_record_and_the_first_seed_its_weights(
    file: Path, manifest_file: Path, tmp_path: Path, fits: list[tuple[str, int, bool]]
) -> None:
    out = tmp_path / "out"
    result = run_comparison(read(file), out)
    assert [(arm, seed) for arm, seed, _ in fits] == [(arm, seed) for seed in (0, 1) for arm in ARMS]  # seed by seed
    assert (result.trained, result.elsewhere, len(result.records)) == (6, 0, 6)
    assert {path.relative_to(out).as_posix() for path in out.glob("runs/**/*.json")} == {
        f"runs/{arm}/seed-{seed}.json" for arm in ARMS for seed in (0, 1)
    }
    assert {path.relative_to(out / "work").as_posix() for path in out.glob("work/*/*")} == {
        f"{arm}/seed-0" for arm in ARMS
    }
    val = read_manifest(manifest_file).split("val")
    for record in result.records:
        assert len(record.labels) == len(val)
        assert [record.classes[label] for label in record.labels] == [row.label for row in val]
        hits = sum(a == b for a, b in zip(record.labels, record.predictions, strict=True))
        assert record.metrics["top1"] == pytest.approx(hits / len(val))
        assert len(record.history) == 2
        assert record.placebo == ("shuffled" if record.arm == "marnet-shuffled" else None)
        assert record.config["training"]["seed"] == record.seed
        assert record.seconds > 0
    kept = marnet.evaluate(out / "work" / "marnet" / "seed-0")
    own = next(record for record in result.records if (record.arm, record.seed) == ("marnet", 0))
    assert kept.top1 == own.metrics["top1"]
    assert yaml.safe_load((out / "comparison.yaml").read_text())["seeds"] == 2


def test_a_finished_comparison_does_nothing_and_more_seeds_add_only_theirs(
    file: Path, tmp_path: Path, fits: list[tuple[str, int, bool]]
) -> None:
    first = run_comparison(read(file, seeds=1), tmp_path / "out")
    fits.clear()
    again = run_comparison(read(file, seeds=1), tmp_path / "out")
    assert fits == []
    assert again.trained == 0
    assert again.records == first.records
    more = run_comparison(read(file, seeds=2), tmp_path / "out", methods=["image-only"])
    assert fits == [("image-only", 1, False)]
    assert len(more.records) == 4  # the results are of all arms, whichever ran this time


def test_a_comparison_that_is_killed_goes_on_where_it_was(
    file: Path, tmp_path: Path, cache_folder: Path, fits: list[tuple[str, int, bool]]
) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "arms": ["image-only", "match", "multitask"]}))
    epochs = ("training.epochs=12",)
    unbroken = run_comparison(read(file, epochs, seeds=1), tmp_path / "unbroken")
    fits.clear()
    out = tmp_path / "broken"
    command = [sys.executable, "-m", "marnet", "compare", str(file), "--out", str(out), "--seeds", "1"]
    process = subprocess.Popen([*command, "--set", epochs[0]], stderr=subprocess.PIPE, start_new_session=True)
    halfway = out / "work" / "match" / "seed-0" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not halfway.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    _, error = process.communicate()
    assert halfway.exists(), error.decode()
    assert [path.parent.name for path in out.glob("runs/*/*.json")] == ["image-only"]  # killed in the second run
    finished = out / "runs" / "image-only" / "seed-0.json"
    before = (finished.stat().st_mtime_ns, finished.read_bytes())

    result = run_comparison(read(file, epochs, seeds=1), out)
    assert fits == [("match", 0, True), ("multitask", 0, False)]
    assert (finished.stat().st_mtime_ns, finished.read_bytes()) == before
    assert results_of(result.records) == results_of(unbroken.records)
    assert not list(out.glob("work/*/*.json"))
    assert not list(out.glob("work/*/*.lock"))


@pytest.mark.parametrize("damage", ["checkpoint", "state", "key", "fit"])
def test_what_cannot_be_resumed_starts_again(
    file: Path, tmp_path: Path, fits: list[tuple[str, int, bool]], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    comparison, out = read(file, seeds=1), tmp_path / "out"
    expected = run_comparison(comparison, tmp_path / "other", methods=["marnet"])

    def cut_off(*_: Any, device: str) -> None:
        raise OSError("the power went out")

    with monkeypatch.context() as patch:
        patch.setattr(single_run, "Predictor", cut_off)  # trained to the end, and not scored yet
        with pytest.raises(OSError, match="the power went out"):
            run_comparison(comparison, out, methods=["marnet"])
    work = out / "work" / "marnet" / "seed-0"
    state = out / "work" / "marnet" / "seed-0.state.json"
    if damage == "checkpoint":
        for point in (work / "checkpoints").iterdir():
            point.write_bytes(b"cut short")
    elif damage == "state":
        state.write_text("{")
    elif damage == "key":
        state.write_text(json.dumps({**json.loads(state.read_text()), "key": "another"}))
    fits.clear()
    result = run_comparison(comparison, out, methods=["marnet"])
    assert fits == [("marnet", 0, damage == "fit")]  # undamaged, it has only to be scored
    assert results_of(result.records) == results_of(expected.records)


@pytest.mark.parametrize(
    ("values", "sets", "difference"),
    [
        ({}, ("training.lr=0.5", "losses.visual=2"), "losses.visual was 1.0 and is now 2.0, training.lr was 0.001 and"),
        ({"label_budget": 0.5}, (), "label_budget was 1.0 and is now 0.5"),
        ({"split": "train"}, (), "split was 'val' and is now 'train'"),
        ({"corruptions": True}, (), "it was not measured under corruptions, but the comparison now asks for that"),
        ({"arms": [{"name": "image-only", "method": "match", "placebo": "shuffled"}]}, (),
         "method was 'image-only' and is now 'match', placebo was None and is now 'shuffled'"),
    ],
)  # fmt: skip
def test_a_record_of_other_settings_stops_the_comparison_before_any_training(
    file: Path, tmp_path: Path, fits: list[tuple[str, int, bool]],
    values: dict[str, Any], sets: tuple[str, ...], difference: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    run_comparison(read(file, seeds=1), out, methods=["image-only"])
    record = out / "runs" / "image-only" / "seed-0.json"
    before = record.read_bytes()
    fits.clear()
    with pytest.raises(RunDirectoryError) as refused:
        run_comparison(read(file, sets, **values), out)
    assert str(refused.value).startswith(f"{record} is the record of a run with other settings: {difference}")
    assert "Nothing was changed. Choose another `out`, restore the settings, or move" in str(refused.value)
    assert fits == []
    assert record.read_bytes() == before


def test_changed_data_are_noticed(file: Path, manifest_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_comparison(read(file, seeds=1), out, methods=["image-only"])
    other = tmp_path / "other.csv"
    lines = manifest_file.read_text().splitlines()
    rows = [line if position == 0 else f"{manifest_file.parent}/{line}" for position, line in enumerate(lines)]
    other.write_text("\n".join(rows) + "\n")
    same = run_comparison(read(file, seeds=1, base={"data": {"source": str(other)}}), out, methods=["image-only"])
    assert same.trained == 0  # the same rows under another name
    other.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(RunDirectoryError, match=r"the digest of the data's rows was '[0-9a-f]{16}' and is now '"):
        run_comparison(read(file, seeds=1, base={"data": {"source": str(other)}}), out)


@pytest.mark.slow
def test_from_the_file_to_the_report(
    manifest_file: Path,
    file: Path,
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
    look: Callable[[Path, int], Any],
) -> None:
    """Three arms by two seeds under every corruption, as typed; then the report alone, and in a browser."""
    rows = list(csv.reader(manifest_file.open(encoding="utf-8")))
    few = [row for number, row in enumerate(rows) if row[3] != "val" or number % 6 == 0]  # val is scored 111 times
    with manifest_file.with_name("few.csv").open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(few)
    content = yaml.safe_load(file.read_text())
    content["base"]["data"]["source"] = str(manifest_file.with_name("few.csv"))
    content["base"]["training"]["epochs"] = 1
    file.write_text(yaml.safe_dump({**content, "corruptions": True}))
    out = tmp_path / "out"

    code, shown, _ = call("compare", file, "--out", out)
    assert code == 0
    assert shown.endswith(f"6 in all, 6 new\nResults: {out / 'results.md'}\nReport: {out / 'report.html'}\n")
    written = (out / "results.md").read_text(encoding="utf-8")
    assert "| corrupted top-1, % (15 standard) | difference to image-only" in written
    assert "relative error (4 held out)" in written
    assert "marnet minus shuffled text" in written
    found = json.loads((out / "results.json").read_text())
    ours = next(arm for arm in found["arms"] if arm["arm"] == "marnet")
    record = read_record(out / "runs" / "marnet" / "seed-0.json")
    assert set(record.robustness) == set(CORRUPTIONS)
    second = read_record(out / "runs" / "marnet" / "seed-1.json").robustness
    assert ours["metrics"]["mean_corruption_accuracy"]["mean"] == pytest.approx(
        np.mean([each[name] for each in (record.robustness, second) for name in STANDARD])
    )
    placebo = next(arm for arm in found["arms"] if arm["arm"] == "marnet-shuffled")
    assert placebo["role"] == {"kind": "placebo", "of": "marnet", "placebo": "shuffled"}
    for name in ("robustness", "robustness-held-out", "robustness-ours", "robustness-map", "features-marnet-x_CDR"):
        assert (out / "plots" / f"{name}.svg").is_file(), name
    assert (out / "tables" / "corruptions.tex").is_file()

    before = (out / "report.html").read_bytes()
    assert b"What the features look like</h2>" in before
    (out / "report.html").unlink()
    assert call("report", out)[0] == 0
    assert (out / "report.html").read_bytes() == before
    for width in (375, 1280):
        seen = look(out / "report.html", width)
        assert "CONSOLE" not in seen.log, seen.log
        assert seen.too_wide == []
        assert seen.widths[0] == seen.widths[1]


class _Enough(Exception):  # noqa: N818 - not an error: all that is wanted has been seen
    pass


def test_one_seed_gives_every_arm_the_same_backbone_images_and_order(
    file: Path, manifest_file: Path, tmp_path: Path
) -> None:
    arms = [*ARMS, "match", "regress", "reconstruct", "multitask", "late-fusion", "marnet-random", "marnet-no-mse"]
    comparison = read(file, arms=arms, label_budget=0.6, text_budget=0.5)
    data = ComparisonData(read_manifest(manifest_file), "rows")

    def first_step(name: str, seed: int) -> tuple[dict[str, Tensor], Tensor]:
        arm = next(arm for arm in comparison.arms if arm.name == name)
        run = plan_run(comparison, arm, seed, data.fingerprint)
        weights: dict[str, Tensor] = {}
        batches: list[Tensor] = []

        def factory(config: Config, **parts: Any) -> marnet.MARNet:
            model = build_model(config, **parts)
            weights.update({key: value.clone() for key, value in model.backbone.state_dict().items()})

            def look(images: Tensor, texts: list[str]) -> Any:
                batches.append(images)
                raise _Enough

            model.training_outputs = look  # type: ignore[assignment,method-assign]
            return model

        rows = training_rows(run, comparison, data.manifest)
        with pytest.raises(_Enough):
            fit(run.config, tmp_path / f"{name}-{seed}", manifest=rows, model_factory=factory)
        return weights, batches[0]

    weights, images = first_step("image-only", 1)
    for name in arms[1:]:
        other_weights, other_images = first_step(name, 1)
        assert all(torch.equal(weights[key], other_weights[key]) for key in weights), name
        assert torch.equal(images, other_images), name
    other_weights, other_images = first_step("image-only", 2)
    assert any(not torch.equal(weights[key], other_weights[key]) for key in weights)
    assert not torch.equal(images, other_images)


def test_budgets_come_before_the_placebo(file: Path, manifest_file: Path) -> None:
    comparison, manifest = read(file, label_budget=0.5, text_budget=0.5), read_manifest(manifest_file)
    plain, ours, placebo = (
        training_rows(plan_run(comparison, arm, 0, ""), comparison, manifest).split("train") for arm in comparison.arms
    )
    assert len(plain) == 21  # 7 of 14 in each of three classes
    assert plain == ours
    assert [row._replace(text="") for row in placebo] == [row._replace(text="") for row in plain]
    assert [bool(row.text) for row in placebo] == [bool(row.text) for row in plain]
    assert not any(a.text == b.text for a, b in zip(plain, placebo, strict=True) if a.text)


def test_a_run_that_another_process_has_is_left_to_it(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    lock = out / "work" / "marnet" / "seed-0.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run_comparison(read(file, seeds=1), out)
    assert (result.trained, result.elsewhere) == (2, 1)
    assert [record.arm for record in result.records] == ["image-only", "marnet-shuffled"]
    assert run_comparison(read(file, seeds=1), out).trained == 1


def test_a_loss_that_turns_nan_stops_its_run_alone(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(config: Config, out: Path, **options: Any) -> Any:
        if config.method == "marnet" and "shuffled" not in str(out):
            raise NonFiniteLossError("The loss term 'matching' became NaN.")
        return fit(config, out, **options)

    monkeypatch.setattr(single_run, "fit", failing)
    with pytest.raises(NonFiniteLossError, match=r"1 of 3 runs failed\. .*\n  marnet/seed-0: The loss term 'matching'"):
        run_comparison(read(file, seeds=1), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("runs/*/*.json"))) == 2


def test_all_runs_are_kept_when_asked(file: Path, tmp_path: Path) -> None:
    run_comparison(read(file, keep_runs="all"), tmp_path / "out", methods=["image-only"])
    assert len(list((tmp_path / "out").glob("work/image-only/*/model.safetensors"))) == 2


def test_what_cannot_be_compared_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no arm 'marnett'; it has image-only, marnet, .* Did you mean 'marnet'"):
        run_comparison(read(file), tmp_path / "out", methods=["marnett"])
    with pytest.raises(DataError, match="has no rows in split 'test'"):
        run_comparison(read(file, split="test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"trains each run on one device, but `training\.devices` is 'cpu:2'"):
        run_comparison(read(file, ("training.devices=cpu:2",)), tmp_path / "out")
    assert configure(read(file), read(file).arms[0], 0).training.devices == "cpu"


def test_a_record_from_before_a_setting_was_renamed_says_so(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_comparison(read(file, seeds=1), out, methods=["image-only"])
    path = out / "runs" / "image-only" / "seed-0.json"
    record = json.loads(path.read_text())
    record["config"]["training"]["speed"] = record["config"]["training"].pop("lr")
    path.write_text(json.dumps({**record, "key": "of another time"}))
    with pytest.raises(RunDirectoryError, match=r"training\.speed no longer applies, training\.lr is new\."):
        run_comparison(read(file, seeds=1), out, methods=["image-only"])
