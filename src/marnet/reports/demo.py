"""The demo: two methods on procedural dishes, compared on dishes that neither has seen, with a report."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from marnet.comparison.tables import Column, Table
from marnet.config import Config, make_config
from marnet.data.manifest import Manifest
from marnet.data.sources import load_source
from marnet.encoders.packaged_weights import BACKBONE, packaged_weights_file
from marnet.errors import RunDirectoryError
from marnet.inference import Predictor, SplitOutputs
from marnet.metrics import classification_metrics, percent
from marnet.reports.blocks import KeyMetric, Report, Section
from marnet.reports.heartbeat import Heartbeat
from marnet.reports.page import write_report
from marnet.reports.sections.cases import case_section
from marnet.reports.sections.features import feature_section
from marnet.reports.sections.settings import environment_lines
from marnet.reports.sections.training import training_section
from marnet.runs.directory import CONFIG, HISTORY, describe_environment, read_history, read_run_config
from marnet.training.fit import fit

_logger = logging.getLogger("marnet")

METHODS = ("image-only", "marnet")
DIALS = ("viewpoint", "lighting", "clutter", "noise")
INCREASED = 2.5  # training sees the dials at 1
TRAINING_DATA = "synthetic:images=30,val_images=10,test_images=0"
TEST_DATA = "synthetic:images=0,val_images=0,test_images=20"


class _Start(NamedTuple):
    """The backbone that both methods start from, and the settings that suit it."""

    backbone: Mapping[str, str | Path]
    image_size: int
    epochs: int
    warmup_epochs: float


class DemoResult(NamedTuple):
    """The results of the demo."""

    conditions: tuple[str, ...]
    top1: dict[str, tuple[float, ...]]  # by method, one value per condition
    verdict: str
    report: Path
    seconds: float


def run_demo(out: Path | str, *, seed: int = 0, epochs: int | None = None, pretrained: bool = False) -> DemoResult:
    """Train both methods, evaluate them as trained and with each nuisance increased, and write `out`/report.html.

    A demo that `out` already holds is replaced. Progress is logged at least every ten seconds, unless the program runs
    at a terminal, which shows bars.

    Args:
        out: the folder for the two runs and the report.
        seed: fixes data, weights, order and noise.
        epochs: of each training; None takes 8, or 4 if `pretrained`.
        pretrained: start from ImageNet weights, which a Python package holds, in place of random ones.

    Raises:
        EncoderError: that package is not installed; the error names it.
        RunDirectoryError: `out` holds something else.
    """
    out = Path(out)
    start = _choose_start(pretrained)
    epochs = start.epochs if epochs is None else epochs
    configs = {method: _configure(method, seed, epochs, start) for method in METHODS}
    for method, config in configs.items():
        _refuse_other_content(out / method, config)
    with Heartbeat("Starting", enabled=not sys.stderr.isatty()) as heartbeat:
        for method, config in configs.items():
            heartbeat.stage = f"Training {method}"
            _logger.info("Training %s for %d epochs.", method, epochs)
            fit(config, out / method, overwrite=True)
        heartbeat.stage = "Drawing the test dishes"
        conditions = {"as trained": load_source(f"{TEST_DATA},seed={seed}")} | {
            dial: load_source(f"{TEST_DATA},seed={seed},{dial}={INCREASED}") for dial in DIALS
        }
        heartbeat.stage = "Predicting the test dishes"
        outputs = {
            method: {name: Predictor(out / method).outputs(manifest, "test") for name, manifest in conditions.items()}
            for method in METHODS
        }
        top1 = {
            method: tuple(classification_metrics(found.logits, found.labels).top1 for found in by_condition.values())
            for method, by_condition in outputs.items()
        }
        heartbeat.stage = "Writing the report"
        report = _make_report(out, top1, conditions, outputs["marnet"]["as trained"], seed)
        page = write_report(report, out / "report.html")
    return DemoResult(tuple(conditions), top1, _describe_outcome(top1), page, heartbeat.seconds)


def _make_report(
    out: Path,
    top1: Mapping[str, Sequence[float]],
    conditions: Mapping[str, Manifest],
    ours: SplitOutputs,
    seed: int,
) -> Report:
    outputs, manifest = {"marnet": ours}, conditions["as trained"]
    histories = {method: read_history(out / method / HISTORY) for method in METHODS}
    return Report(
        title="MARNet on procedural dishes",
        summary=_summarise(manifest, _describe_outcome(top1), read_run_config(out / "marnet")),
        key_metrics=_key_metrics(top1),
        sections=[
            _accuracy_section(tuple(conditions), top1),
            training_section(histories, terms_of=["marnet"]),
            feature_section(outputs, manifest.classes, seed=seed),
            case_section(outputs, manifest.classes),
        ],
        configuration=(out / "marnet" / CONFIG).read_text(encoding="utf-8"),
        environment=environment_lines(describe_environment(seed)),
    )


def _choose_start(pretrained: bool) -> _Start:
    if pretrained:
        return _Start({"name": BACKBONE, "weights": packaged_weights_file()}, image_size=64, epochs=4, warmup_epochs=1)
    return _Start({"name": "timm:resnet10t"}, image_size=48, epochs=8, warmup_epochs=2)


def _configure(method: str, seed: int, epochs: int, start: _Start) -> Config:
    return make_config(
        {
            "method": method,
            "data": {"source": f"{TRAINING_DATA},seed={seed}", "image_size": start.image_size},
            "backbone": start.backbone,
            "training": {
                "epochs": epochs,
                "warmup_epochs": start.warmup_epochs,
                "batch_size": 24,
                "lr": 3e-3,
                "seed": seed,
            },
        }
    )


def _refuse_other_content(run: Path, config: Config) -> None:
    """Raise RunDirectoryError if a folder holds anything but a demo, which can be made again at any time."""
    if run.exists() and any(run.iterdir()):
        if (run / CONFIG).exists() and read_run_config(run).data.source.startswith(TRAINING_DATA):
            return
        raise RunDirectoryError(
            f"{run} holds something that is not a demo of marnet. Nothing was changed. Choose another `out`, or "
            f"empty the folder."
        )


def _describe_outcome(top1: Mapping[str, Sequence[float]]) -> str:
    plain, ours = top1["image-only"], top1["marnet"]
    clean = 100 * (ours[0] - plain[0])
    hard = 100 * (sum(ours[1:]) / len(ours[1:]) - sum(plain[1:]) / len(plain[1:]))
    words = [
        f"marnet {'leads' if points > 0 else 'trails'} image-only by {abs(points):.1f} points {where}"
        if abs(points) >= 0.05
        else f"marnet and image-only tie {where}"
        for points, where in ((clean, "as trained"), (hard, "with one nuisance increased, on average"))
    ]
    return f"{words[0]}; {words[1]}. With one seed, a difference of a few points may be chance."


def _summarise(manifest: Manifest, verdict: str, config: Config) -> list[str]:
    initial = "ImageNet weights" if config.backbone.weights else "initial weights"
    return [
        f"Two classifiers were trained on drawings of {len(manifest.classes)} dishes, with the same {initial} "
        f"and settings: image-only on the images, marnet on the images and on texts that list their ingredients. "
        f"Both were evaluated on {len(manifest.records)} new drawings, without any text.",
        verdict,
    ]


def _key_metrics(top1: Mapping[str, Sequence[float]]) -> list[KeyMetric]:
    plain, ours = top1["image-only"], top1["marnet"]
    hard_plain, hard_ours = sum(plain[1:]) / len(plain[1:]), sum(ours[1:]) / len(ours[1:])
    return [
        KeyMetric(percent(ours[0]), "marnet, as trained", f"image-only {percent(plain[0])}"),
        KeyMetric(percent(hard_ours), "marnet, one nuisance increased", f"image-only {percent(hard_plain)}"),
    ]


def _accuracy_section(conditions: Sequence[str], top1: Mapping[str, Sequence[float]]) -> Section:
    columns = [Column("method")]
    columns += [Column(name, show=percent, best="max") for name in conditions]
    table = Table(
        title="Top-1 accuracy on new dishes",
        columns=columns,
        rows=[[method, *values] for method, values in top1.items()],
        note=f"Every column shows the same dishes. Each nuisance is 1 in training and {INCREASED} in its own column.",
    )
    return Section(title="Accuracy", blocks=[table])
