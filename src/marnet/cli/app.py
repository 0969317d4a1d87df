"""The command line. Each command parses, calls one function of the library, and prints.

Results go to stdout; progress, notes and errors to stderr. Heavy imports stand inside the commands, so that
`marnet --help` answers at once.
"""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet import __version__
from marnet.cli.compare import compare
from marnet.cli.data import data_app
from marnet.cli.report import report
from marnet.cli.robustness_output import print_robustness, robustness_json
from marnet.errors import ConfigError, MarnetError

if TYPE_CHECKING:
    from marnet.config import Config

app = typer.Typer(
    help="Image classifiers that learn from text at training time and need none at prediction time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data_app, name="data")
app.command()(compare)
app.command()(report)

Run = Annotated[Path, typer.Argument(help="A run directory written by 'marnet train'.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]


def main() -> None:
    """Run the command line; print errors that the user can mend without a traceback, and exit with code 1."""
    _log_to_stderr()
    try:
        app()
    except MarnetError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def train(  # noqa: PLR0917 - typer calls it by keyword
    out: Annotated[Path, typer.Option(help="The run directory to write.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(help="FILE (CSV, JSONL, Parquet), FOLDER, NAME:PATH or synthetic; see docs/data.md."),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Train on the features of 'marnet embed', the backbone frozen, in seconds.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="timm:NAME, torchvision:NAME, hf:NAME or module:PACKAGE.NAME", show_default="timm:resnet18"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="single (the default), or multi: a label is a comma list of classes.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="marnet, match, reconstruct, image-only, regress, multitask or late-fusion", show_default="marnet"
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels", show_default="the backbone's")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows", show_default="60")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step", show_default="32")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW", show_default="0.001")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes weights, order and noise", show_default="0")] = None,
    precision: Annotated[str | None, typer.Option(help="32, 16-mixed, bf16-mixed or 64", show_default="32")] = None,
    devices: Annotated[str | None, typer.Option(help="auto, a count, cpu, cpu:2, cuda:1", show_default="auto")] = None,
    balance: Annotated[
        str | None, typer.Option(help="For rare classes: none (the default), weights, sampler or logit-adjust.")
    ] = None,
    on_bad_image: Annotated[
        str | None, typer.Option(help="stop before training, or skip broken images", show_default="stop")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from the backbone's published weights.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="Settings to start from: paper, the literal reading; all others win over them.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML configuration; flags win over it.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as section.key=value; may be repeated.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that --out already holds.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out from its resume point.")] = False,
) -> None:
    """Train a classifier and write a run directory."""
    flags: dict[str, Any] = {
        "method": method,
        "data": {
            "source": data,
            "features": None if features is None else str(features),
            "labels": labels,
            "image_size": image_size,
            "on_bad_image": on_bad_image,
        },
        "backbone": {"name": backbone, "pretrained": pretrained or None},
        "training": {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "seed": seed,
            "precision": precision,
            "devices": devices,
            "balance": balance,
        },
    }
    if resume:
        resolved = _resume_config(out, {**flags, "preset": preset, "config": config}, sets or [])
    else:
        resolved = _new_config(flags, preset, config, sets or [])

    from marnet.training import fit, is_first_process

    result = fit(resolved, out, overwrite=overwrite, resume=resume)
    if not is_first_process():
        return
    _print_metrics(result.metrics._asdict(), f"{resolved.method} on val, best epoch")
    typer.echo(f"Run directory: {result.run}")


@app.command()
def embed(  # noqa: PLR0917 - typer calls it by keyword
    source: Annotated[str, typer.Argument(help="As for 'marnet train --data'.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    labels: Annotated[str | None, typer.Option(help="As for 'marnet train'.")] = None,
    backbone: Annotated[str | None, typer.Option(help="As for 'marnet train'", show_default="timm:resnet18")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Take the backbone's published weights.")] = False,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels", show_default="the backbone's")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of data and backbone, as section.key=value.")
    ] = None,
) -> None:
    """Compute features once, to train on them with 'marnet train --features'."""
    from marnet.config import make_config
    from marnet.training import embed as compute

    flags = {
        "data": {"source": source, "image_size": image_size, "labels": labels},
        "backbone": {"name": backbone, "pretrained": pretrained or None},
    }
    typer.echo(f"Features: {compute(make_config(_given(flags), sets=sets or []), out)}")


@app.command()
def evaluate(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    split: Annotated[str, typer.Option(help="train, val or test")] = "val",
    data: Annotated[str | None, typer.Option(help="Another source; labels are matched by name.")] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Also judge 22 corruptions at 5 severities; see docs/robustness.md.")
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(help="With --corruptions: the run to set the errors in relation to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the figures of a run on a split."""
    if corruptions:
        from marnet.evaluation.robustness import evaluate_robustness

        found = evaluate_robustness(run, split=split, source=data, baseline=baseline)
        metrics, content = found.metrics._asdict(), robustness_json(found)
    elif baseline is not None:
        raise ConfigError("--baseline is compared under corruptions only. Add --corruptions, or leave --baseline out.")
    else:
        from marnet.evaluation.evaluate import evaluate as judge

        metrics = content = judge(run, split=split, source=data)._asdict()
    if as_json:
        typer.echo(json.dumps(content, indent=2))
        return
    _print_metrics(metrics, f"{run} on {split}")
    if corruptions:
        print_robustness(found, f"Top-1 (%) of {run} on {split}, corrupted at severity 1 to 5")


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Classes to print for each image. Without it 5, or after --labels multi those above the threshold.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the classes of images, the most probable first.

    An image that cannot be read is reported and does not stop the others.
    """
    from marnet.errors import ImageError
    from marnet.inference import load

    predictor = load(run)
    rows, failures = [], 0
    for image in images:
        try:
            rows += predictor.predict([image], top=top)
        except ImageError as error:
            failures += 1
            typer.echo(f"Error: {error}", err=True)
    if as_json:
        content = [
            {
                "image": row.image,
                "predictions": [
                    {"label": label, "probability": probability}
                    for label, probability in zip(row.labels, row.probabilities, strict=True)
                ],
            }
            for row in rows
        ]
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        for row in rows:
            typer.echo(row.image)
            for label, probability in zip(row.labels, row.probabilities, strict=True):
                typer.echo(f"  {100 * probability:5.1f} %  {label}")
            if not row.labels:
                threshold = predictor.config.data.threshold
                typer.echo(f"  none: no class reaches {100 * threshold:g} % (--top 3 shows the most probable)")
    if failures:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to write the two runs and report.html.")] = Path("marnet-demo"),
    seed: Annotated[int, typer.Option(help="Fixes data, weights, order and noise.")] = 0,
) -> None:
    """Train image-only and marnet on procedural dishes, compare them, and write report.html."""
    from rich.console import Console
    from rich.table import Table

    from marnet.comparison.progress import duration
    from marnet.metrics import percent
    from marnet.reports.demo import run_demo

    result = run_demo(out, seed=seed)
    table = Table(title="Top-1 on dishes that neither has seen; one nuisance increased per column")
    table.add_column("method")
    for condition in result.conditions:
        table.add_column(condition, justify="right")
    for method, values in result.top1.items():
        table.add_row(method, *(percent(value) for value in values))
    Console().print(table)
    typer.echo(result.verdict)
    typer.echo(f"Report: {result.report}")
    typer.echo(f"The demo took {duration(result.seconds)}.")


def _new_config(flags: dict[str, Any], preset: str | None, file: Path | None, sets: list[str]) -> "Config":
    from marnet.config import make_config

    config = make_config(_given(flags), preset=preset, file=file, sets=sets)
    if config.data.features is not None:
        _refuse_beside_features(flags)
    elif not config.data.source:
        raise ConfigError(
            "No data was named. Needed --data SOURCE: a manifest file with the columns image, text, label and split, a "
            "folder of images, grocery-store:PATH, synthetic, or another source of docs/data.md."
        )
    return config


def _refuse_beside_features(flags: dict[str, Any]) -> None:
    """Features have fixed their images and their backbone."""
    given = _given(
        {**flags["data"], "backbone": flags["backbone"]["name"], "pretrained": flags["backbone"]["pretrained"]}
    )
    beside = [
        name for name in ("source", "labels", "backbone", "pretrained", "image_size", "on_bad_image") if name in given
    ]
    if beside:
        typed = ", ".join("--data" if name == "source" else f"--{name.replace('_', '-')}" for name in beside)
        raise ConfigError(
            f"--features brings its own data and backbone; found {typed} beside it. Leave that out, or give it to "
            f"'marnet embed'."
        )


def _resume_config(out: Path, flags: dict[str, Any], sets: list[str]) -> "Config":
    """The run's own configuration; only what does not change the model or the data may differ."""
    from marnet.config import make_config
    from marnet.runs.directory import CONFIG, read_run_config

    read_run_config(out)
    given = _given(flags)
    allowed = {"epochs", "precision", "devices"}
    refused = [key for section in given.values() if isinstance(section, dict) for key in section if key not in allowed]
    refused += [key for key, value in given.items() if not isinstance(value, dict)]
    if refused:
        typed = ", ".join(f"--{name.replace('_', '-')}" for name in refused)
        raise ConfigError(
            f"--resume continues {out} with its own settings; found {typed} beside it. Leave that out (only --epochs, "
            f"--precision, --devices and --set may be given), or start a new run."
        )
    return make_config(given, file=out / CONFIG, sets=sets)


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were typed; the others leave the value to the file or the default."""
    pruned = {key: _given(value) if isinstance(value, dict) else value for key, value in flags.items()}
    return {key: value for key, value in pruned.items() if value not in (None, {})}


def _print_metrics(metrics: dict[str, float], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in metrics:
        table.add_column(name, justify="right")
    table.add_row(*(str(value) if isinstance(value, int) else f"{value:.4f}" for value in metrics.values()))
    Console().print(table)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("marnet")
    log.handlers = [handler]  # not added: a second call in one process would print everything twice
    log.setLevel(logging.INFO)
