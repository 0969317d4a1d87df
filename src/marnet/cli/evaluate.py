"""`marnet evaluate`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import print_json
from marnet.errors import ConfigError


def evaluate(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    split: Annotated[str, typer.Option(help="The split to score: train, val or test")] = "val",
    data: Annotated[
        str | None, typer.Option(help="Score another data source; its labels are matched to the run's by name.")
    ] = None,
    corruptions: Annotated[
        bool,
        typer.Option("--corruptions", help="Also score under 22 corruptions at 5 severities; see docs/robustness.md."),
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(help="With --corruptions: another run; errors are given relative to the errors of that run."),
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option(help="Also score prediction sets that miss the true class at this rate, such as 0.05."),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Print the metrics of a run on one split."""
    from marnet.inference import load

    predictor = load(run, allow_code=allow_code)
    if abstain is not None:
        predictor.least_probability(abstain)  # refuses a rate before anything is computed
    if corruptions:
        from marnet.cli.robustness import print_robustness, robustness_json
        from marnet.evaluation.robustness import evaluate_robustness

        found = evaluate_robustness(run, split=split, source=data, baseline=baseline, allow_code=allow_code)
        metrics, content = found.metrics._asdict(), robustness_json(found)
    elif baseline is not None:
        raise ConfigError("--baseline is used under corruptions only. Add --corruptions, or leave --baseline out.")
    else:
        from marnet.evaluation.evaluate import evaluate as score

        metrics = content = score(predictor, data, split=split)._asdict()
    more: dict[str, float | None] = {}
    if abstain is not None:
        from marnet.evaluation.evaluate import evaluate_sets

        more |= evaluate_sets(predictor, data, error=abstain, split=split)._asdict()
    if predictor.added:
        from marnet.evaluation.evaluate import evaluate_new_classes

        more |= evaluate_new_classes(predictor, data, split=split)._asdict()
    known = {name: value for name, value in more.items() if value is not None and not math.isnan(value)}
    metrics, content = metrics | known, content | dict.fromkeys(more) | known  # JSON has no NaN
    if as_json:
        print_json(content)
        return

    from marnet.cli.tables import print_metrics

    print_metrics(metrics, f"{run} on {split}")
    if corruptions:
        from marnet.metrics import capitalised

        print_robustness(
            found, f"{capitalised(found.task.score_title)} (%) of {run} on {split}, corrupted at severity 1 to 5"
        )
