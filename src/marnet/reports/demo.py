"""The demo: two methods on procedural dishes, compared on dishes that neither has seen, with a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from marnet.comparison.tables import Column, Table
from marnet.config import Config, make_config
from marnet.data.manifest import Manifest
from marnet.data.sources import load_source
from marnet.errors import RunDirectoryError
from marnet.inference import load
from marnet.metrics import classification_metrics, percent
from marnet.reports.blocks import KeyFigure, Report, Section
from marnet.reports.page import write_report
from marnet.reports.sections.cases import case_section
from marnet.reports.sections.features import feature_section
from marnet.reports.sections.settings import environment_lines
from marnet.reports.sections.training import training_section
from marnet.runs.directory import CONFIG, HISTORY, describe_environment, read_history, read_run_config
from marnet.training.fit import fit

METHODS = ("image-only", "marnet")
DIALS = ("viewpoint", "lighting", "clutter", "noise")
TURNED_UP = 2.5  # training sees the dials at 1
TRAINING_DATA = "synthetic:images=30,val_images=10,test_images=0"
TEST_DATA = "synthetic:images=0,val_images=0,test_images=20"


class DemoResult(NamedTuple):
    """What the demo found."""

    conditions: tuple[str, ...]
    top1: dict[str, tuple[float, ...]]  # by method, one a condition
    verdict: str
    report: Path


def run_demo(out: Path | str, *, seed: int = 0, epochs: int = 20) -> DemoResult:
    """Train both methods, judge them as trained and under each nuisance turned up, and write `out`/report.html.

    A demo that `out` holds already is replaced. The default number of epochs takes about two minutes on two cores.

    Raises:
        RunDirectoryError: `out` holds something else.
    """
    out = Path(out)
    configs = {method: _configure(method, seed, epochs) for method in METHODS}
    for method, config in configs.items():
        _refuse_what_is_not_a_demo(out / method, config)
    for method, config in configs.items():
        fit(config, out / method, overwrite=True)
    conditions = {"as trained": load_source(f"{TEST_DATA},seed={seed}")} | {
        dial: load_source(f"{TEST_DATA},seed={seed},{dial}={TURNED_UP}") for dial in DIALS
    }
    outputs = {
        method: {name: load(out / method).outputs(manifest, "test") for name, manifest in conditions.items()}
        for method in METHODS
    }
    top1 = {
        method: tuple(classification_metrics(found.logits, found.labels).top1 for found in by_condition.values())
        for method, by_condition in outputs.items()
    }
    verdict = _describe_outcome(top1)
    ours = {"marnet": outputs["marnet"]["as trained"]}
    classes = conditions["as trained"].classes
    made = [
        training_section({method: read_history(out / method / HISTORY) for method in METHODS}, terms_of=["marnet"]),
        feature_section(ours, classes, seed=seed),
        case_section(ours, classes),
    ]
    page = Report(
        title="MARNet on procedural dishes",
        summary=_summarise(conditions["as trained"], verdict),
        key_figures=_key_figures(top1),
        sections=[
            _accuracy_section(tuple(conditions), top1),
            *(section for section in made if isinstance(section, Section)),
        ],
        configuration=(out / "marnet" / CONFIG).read_text(encoding="utf-8"),
        environment=environment_lines(describe_environment(seed)),
    )
    return DemoResult(tuple(conditions), top1, verdict, write_report(page, out / "report.html"))


def _configure(method: str, seed: int, epochs: int) -> Config:
    return make_config(
        {
            "method": method,
            "data": {"source": f"{TRAINING_DATA},seed={seed}", "image_size": 48},
            "backbone": {"name": "timm:resnet10t"},
            "training": {"epochs": epochs, "batch_size": 48, "lr": 2e-3, "seed": seed},
        }
    )


def _refuse_what_is_not_a_demo(run: Path, config: Config) -> None:
    """The demo can be made again at any time; anything else under its name cannot."""
    if run.exists() and any(run.iterdir()):
        if (run / CONFIG).exists() and read_run_config(run).data.source.startswith(TRAINING_DATA):
            return
        raise RunDirectoryError(
            f"{run} holds something that is not a demo of marnet; nothing was changed. Choose another --out, or "
            f"empty it yourself."
        )


def _describe_outcome(top1: Mapping[str, Sequence[float]]) -> str:
    plain, ours = top1["image-only"], top1["marnet"]
    clean = 100 * (ours[0] - plain[0])
    hard = 100 * (sum(ours[1:]) / len(ours[1:]) - sum(plain[1:]) / len(plain[1:]))
    words = [
        f"marnet {'leads' if points > 0 else 'trails'} image-only by {abs(points):.1f} points {where}"
        if abs(points) >= 0.05
        else f"marnet and image-only tie {where}"
        for points, where in ((clean, "as trained"), (hard, "with one nuisance turned up, on average"))
    ]
    return f"{words[0]}; {words[1]}. One seed: a difference of a few points may be chance."


def _summarise(manifest: Manifest, verdict: str) -> list[str]:
    return [
        f"Two classifiers were trained on drawings of {len(manifest.classes)} dishes, from the same first weights and "
        f"the same settings: image-only on the images, marnet on the images and a text that lists their ingredients. "
        f"Both were judged on {len(manifest.records)} new drawings, without any text.",
        verdict,
    ]


def _key_figures(top1: Mapping[str, Sequence[float]]) -> list[KeyFigure]:
    plain, ours = top1["image-only"], top1["marnet"]
    hard_plain, hard_ours = sum(plain[1:]) / len(plain[1:]), sum(ours[1:]) / len(ours[1:])
    return [
        KeyFigure(percent(ours[0]), "marnet, as trained", f"image-only {percent(plain[0])}"),
        KeyFigure(percent(hard_ours), "marnet, a nuisance turned up", f"image-only {percent(hard_plain)}"),
    ]


def _accuracy_section(conditions: Sequence[str], top1: Mapping[str, Sequence[float]]) -> Section:
    columns = [Column("method")]
    columns += [Column(name, show=percent, best="max") for name in conditions]
    table = Table(
        title="Top-1 accuracy on new dishes",
        columns=columns,
        rows=[[method, *values] for method, values in top1.items()],
        note=f"The same dishes in every column; a nuisance stands at 1 in training and at {TURNED_UP} in its column.",
    )
    return Section(title="Accuracy", blocks=[table])
