"""Comparing, reporting and corrupting where images have several classes or none."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

import marnet
from marnet.comparison.records import RunRecord, read_record, write_record
from marnet.comparison.result_tables import result_tables
from marnet.comparison.scoring import score_run
from marnet.comparison.statistics import paired_difference
from marnet.comparison.summary import summarise
from marnet.comparison.training_rows import keep_labels, shuffle_texts
from marnet.data.image_spec import cache_size
from marnet.data.images import read_image
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.squares import fit_square
from marnet.data.transforms import eval_transform
from marnet.errors import ConfigError, RunDirectoryError
from marnet.evaluation.corruption_metrics import relative_errors
from marnet.evaluation.corruptions import STANDARD, corrupt
from marnet.evaluation.robustness import corruption_scores, evaluate_robustness
from marnet.reports.run_report import write_run_report
from marnet.reports.sections.decisions import class_decisions, predicted_shares

Call = Callable[..., tuple[int, str, str]]
ARMS = ["image-only", "marnet", "marnet-shuffled"]
SOME = ("gaussian_noise", "contrast")


def plan(salads: Path, **more: Any) -> dict[str, Any]:
    base = {
        "data": {"source": str(salads), "image_size": 32, "labels": "multi", "threshold": 0.5},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 3, "batch_size": 16, "lr": 4e-3, "devices": "cpu"},
    }
    return {"base": base, "arms": ARMS, "seeds": 2, **more}


@pytest.fixture(scope="module")
def found(salads: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.Comparison:
    return marnet.compare(plan(salads), out=tmp_path_factory.mktemp("comparison") / "out")


@pytest.fixture(scope="module")
def predictor(found: marnet.Comparison) -> marnet.Predictor:
    return marnet.load(found.path / "work" / "marnet" / "seed-0", device="cpu")


def scores_and_truth(record: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    truth = MultiLabelBinarizer(classes=range(len(record.classes))).fit_transform(record.labels)
    return np.array(record.confidences), truth


def test_a_record_holds_every_answer_and_its_metrics_follow_from_them(found: marnet.Comparison, salads: Path) -> None:
    val = read_manifest(salads, label_form="multi")
    for record in found.records:
        assert record.label_form == "multi"
        named = [tuple(record.classes[number] for number in row) for row in record.labels]  # type: ignore[union-attr]
        assert named == [val.names(row) for row in val.split("val")]
        scores, truth = scores_and_truth(record)
        chosen = MultiLabelBinarizer(classes=range(3)).fit_transform(record.predictions)
        assert np.array_equal(chosen, scores >= 0.5)
        assert record.metrics["map"] == pytest.approx(average_precision_score(truth, scores, average="macro"))
        assert record.metrics["micro_f1"] == pytest.approx(f1_score(truth, chosen, average="micro", zero_division=0))


def test_a_record_is_read_back_equal_and_its_form_is_checked(found: marnet.Comparison, tmp_path: Path) -> None:
    record = found.records[0]
    write_record(record, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == record
    content = json.loads((tmp_path / "record.json").read_text())
    del content["label_form"]
    (tmp_path / "record.json").write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="do not have the form 'single'"):
        read_record(tmp_path / "record.json")


def test_arms_differ_in_map_paired_by_seed(found: marnet.Comparison) -> None:
    results = summarise(found.records)
    assert results.task.score == "map"
    values = {arm: [each.metrics["map"] for each in found.records if each.arm == arm] for arm in ARMS}
    contrast = results.contrast("marnet", "image-only")
    assert contrast is not None
    assert contrast.metrics["map"] == paired_difference(values["marnet"], values["image-only"])
    assert contrast.mcnemar is None
    assert "points of mAP" in results.verdict or "are level" in results.verdict
    assert "McNemar's test is left out" in " ".join(results.notes)
    tables = result_tables(results)
    titles = [column.title for column in tables["main"].columns]
    assert titles[2:6] == ["mAP, %", "difference to image-only, points [95 %]", "p", "micro F1, %"]
    assert [column.title for column in tables["text"].columns][2] == "mAP, points [95 %]"
    assert "mcnemar" not in tables
    assert str(found).splitlines()[2].split()[:2] == ["arm", "mAP,"]
    written = found.results
    assert written is not None
    assert "top-1" not in written.read_text(encoding="utf-8")


def test_records_of_both_forms_are_not_compared(
    found: marnet.Comparison, make_records: Callable[..., list[RunRecord]]
) -> None:
    other = make_records(1, {"match": 0.0})[0].model_copy(update={"split": "val"})
    with pytest.raises(RunDirectoryError, match="differ in their form of labels: 'single' and 'multi'"):
        summarise([*found.records, other])


def test_the_model_sees_the_corrupted_square(predictor: marnet.Predictor) -> None:
    """mAP is computed again from the files, image by image."""
    manifest = predictor.manifest()
    scored = corruption_scores(predictor, manifest, "val", corruptions=SOME, batch_size=7)
    crop, interpolation = eval_transform(predictor.spec), predictor.spec.interpolation
    rows = manifest.split("val")
    truth = MultiLabelBinarizer(classes=predictor.classes).fit_transform([manifest.names(row) for row in rows])
    for name in SOME:
        for severity in (1, 5):
            probabilities = []
            for number, row in enumerate(rows):
                whole = fit_square(read_image(row.image), cache_size(predictor.spec), interpolation=interpolation)
                probabilities.append(predictor.probabilities(corrupt(crop(whole)[None], name, severity, [number])))
            expected = average_precision_score(truth, torch.cat(probabilities).numpy(), average="macro")
            assert scored[name][severity - 1] == pytest.approx(expected, abs=1e-6)


def test_evaluate_under_corruptions(found: marnet.Comparison, predictor: marnet.Predictor, call: Call) -> None:
    plain = found.path / "work" / "image-only" / "seed-0"
    robust = evaluate_robustness(predictor.run, baseline=plain, corruptions=SOME)
    assert robust.baseline is not None
    ratio = relative_errors(robust.corruptions, robust.baseline)["contrast"]
    assert ratio == pytest.approx(
        sum(1 - value for value in robust.corruptions["contrast"]) / sum(1 - v for v in robust.baseline["contrast"])
    )
    code, out, _ = call("evaluate", predictor.run, "--corruptions", "--json")
    content = json.loads(out)
    assert code == 0
    assert content["map"] == robust.metrics.map  # type: ignore[union-attr]
    standard = [sum(content["corruptions"][name]) / 5 for name in STANDARD]
    assert content["mean_corruption_map"] == pytest.approx(sum(standard) / len(STANDARD))
    assert "mean_corruption_accuracy" not in content


def test_the_report_of_runs(found: marnet.Comparison, tmp_path: Path, look: Callable[[Path, int], Any]) -> None:
    runs = [
        Path(shutil.copytree(found.path / "work" / arm / "seed-0", tmp_path / arm)) for arm in ("image-only", "marnet")
    ]
    page = write_run_report(runs, tmp_path / "page.html", plots=tmp_path / "plots")
    text = page.read_text(encoding="utf-8")
    for title in ("Metrics", "Classes", "Confidence", "Features", "Case studies", "Training"):
        assert f">{title}</h2>" in text, title
    assert "images of whose classes CDR decides more correctly" in text
    assert "Precision against recall" in text
    assert "Validation mAP" in text
    assert "top-1" not in text
    assert {"precision-recall", "confusion", "class-changes"} <= {path.stem for path in (tmp_path / "plots").iterdir()}
    seen = look(page, 375)
    assert "CONSOLE" not in seen.log, seen.log
    assert seen.too_wide == []


def test_the_report_of_a_comparison_with_corruptions(found: marnet.Comparison, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "robust"
    for number, record in enumerate(found.records):
        robustness = {name: [record.metrics["map"] - 0.01 * number - 0.02 * s for s in range(5)] for name in STANDARD}
        write_record(
            record.model_copy(update={"robustness": robustness}),
            out / "runs" / record.arm / f"seed-{record.seed}.json",
        )
    code, _, error = call("report", out)
    assert code == 0, error
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "mAP under corruption (15 standard)" in text
    assert "corrupted mAP, % (15 standard)" in text
    assert "1 minus mAP, divided by that of image-only" in text
    assert not re.search("top-1", text)
    results = json.loads((out / "results.json").read_text())
    assert "mean_corruption_map" in results["arms"][0]["metrics"]


def test_runs_of_both_forms_share_no_report(found: marnet.Comparison, trained_run: Path, tmp_path: Path) -> None:
    run = found.path / "work" / "marnet" / "seed-0"
    with pytest.raises(ConfigError, match=r"differ in `data.labels`.*seed-0 \(multi\), run \(single\)"):
        write_run_report([run, trained_run], tmp_path / "page.html")


def hand_made(labels: list[list[int]], predictions: list[list[int]], confidences: list[list[float]]) -> RunRecord:
    return RunRecord(
        arm="a", seed=0, key="", source="s", split="val", label_form="multi", classes=["x", "y", "z"], metrics={},
        labels=labels, predictions=predictions, confidences=confidences,
    )  # fmt: skip


def test_decisions_by_class_by_hand() -> None:
    record = hand_made(
        [[0], [0, 1], [], [1]],
        [[0, 1], [0], [0], []],
        [[0.9, 0.6, 0.1], [0.8, 0.4, 0.1], [0.85, 0.2, 0.1], [0.1, 0.3, 0.2]],
    )
    found = class_decisions([record])
    assert found.images.tolist() == [2, 2, 0]
    assert found.precision[:2].tolist() == [2 / 3, 0.0]
    assert np.isnan(found.precision[2])
    assert found.recall[:2].tolist() == [1.0, 0.0]
    # x: ranks 1 and 3 of (0.9, 0.85, 0.8); y: ranks 2 and 3 of (0.6, 0.4, 0.3)
    assert found.average_precision[:2] == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2])
    # of the two images with x, one lacks y, which is predicted there
    assert predicted_shares([record]).tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def several(count: int = 200) -> Manifest:
    generator = np.random.default_rng(0)
    records = []
    for number in range(count):
        names = [name for name, share in (("a", 0.8), ("b", 0.3), ("c", 0.1)) if generator.random() < share]
        split = "train" if number % 4 else "val"
        records.append(Record(f"/{number}.png", f"text {number}", ", ".join(names), split))
    return Manifest(tuple(records), ("a", "b", "c"), "made up", label_form="multi")


def test_a_label_budget_keeps_every_class_and_is_nested() -> None:
    manifest = several()
    train = set(manifest.split("train"))
    kept = [set(keep_labels(manifest, share, 3).split("train")) for share in (0.01, 0.25, 0.5)]
    assert kept[0] < kept[1] < kept[2] < train
    for rows, share in zip(kept, (0.01, 0.25, 0.5), strict=True):
        assert {name for row in rows for name in manifest.names(row)} == {"a", "b", "c"}
        assert abs(len(rows) - share * len(train)) <= 4  # one for each class, and rounding
    before, after = (Counter(name for row in rows for name in manifest.names(row)) for rows in (train, kept[2]))
    assert all(abs(after[name] / before[name] - 0.5) < 0.12 for name in "abc")
    assert keep_labels(manifest, 1.0, 3) == manifest


def test_shuffled_texts_come_from_one_other_set_of_classes() -> None:
    manifest = several()
    label_of = {row.text: row.label for row in manifest.records}
    givers: dict[str, set[str]] = {}
    for row in shuffle_texts(manifest, 0).split("train"):
        givers.setdefault(row.label, set()).add(label_of[row.text])
    assert all(len(found) == 1 and label not in found for label, found in givers.items())
    assert len(givers) > 4


@pytest.mark.slow
def test_movie_posters_are_compared(shared_data: Path, tmp_path: Path) -> None:
    """Real posters, research use only: some of the rows, two genres of which are rare."""
    source = shared_data / "movie_posters" / "manifest.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    content = plan(source, seeds=1, label_budget=0.1, corruptions=False)
    content["base"]["training"]["epochs"] = 1
    found = marnet.compare(content, out=tmp_path / "posters")
    assert len(found.records[0].classes) == 18
    assert all(0.1 < record.metrics["map"] < 0.5 for record in found.records)
    scores, truth = scores_and_truth(found.records[0])
    assert score_run(
        marnet.load(tmp_path / "posters" / "work" / "marnet" / "seed-0"),
        read_manifest(source, label_form="multi"), "val", arm="marnet",
    ).record.metrics == pytest.approx(next(each.metrics for each in found.records if each.arm == "marnet"))  # fmt: skip
    assert found.records[0].metrics["map"] == pytest.approx(average_precision_score(truth, scores), abs=1e-3)
