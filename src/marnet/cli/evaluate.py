"""`marnet evaluate`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.options import AllowCode, AsJson, RunOrFile
from marnet.cli.output import as_json_value, print_json
from marnet.errors import ConfigError


def evaluate(  # noqa: PLR0917 - typer calls it by keyword
    run: RunOrFile,
    split: Annotated[str, typer.Option(help="The split to score: train, val or test")] = "val",
    data: Annotated[
        str | None, typer.Option(help="Score another data source; its labels are matched to the run's by name.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Score the features that 'marnet embed' wrote into this folder; no image is opened."),
    ] = None,
    retrieval: Annotated[
        bool,
        typer.Option("--retrieval", help="Also score how images find their texts and texts their images."),
    ] = False,
    clip: Annotated[
        str | None,
        typer.Option(
            help="With --retrieval: also score this CLIP model of transformers, hf:NAME or hf:FOLDER.",
            metavar="hf:NAME",
        ),
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
    _check_options(features=features, retrieval=retrieval, clip=clip, corruptions=corruptions, baseline=baseline)
    from marnet.evaluation.evaluate import score_sets, split_outputs
    from marnet.evaluation.new_classes import new_class_metrics
    from marnet.inference import Predictor
    from marnet.inference.exported.scoring import open_scorer
    from marnet.semantic.space import UnifiedSpace

    # An exported file has neither texts nor what corruptions need.
    whole = Predictor(run, allow_code=allow_code, with_text=retrieval) if retrieval or corruptions else None
    space = UnifiedSpace(whole) if whole is not None and retrieval else None  # refuses a run before computing anything
    predictor = whole or open_scorer(run, allow_code=allow_code)
    model = None
    if clip is not None:
        from marnet.encoders.hf_clip import load_image_text_model

        model = load_image_text_model(clip, setting="clip")  # likewise
    if abstain is not None:
        predictor.least_probability(abstain)  # refuses a rate likewise
    if whole is not None and corruptions:
        from marnet.cli.robustness import print_robustness, robustness_json
        from marnet.evaluation.robustness import evaluate_robustness

        found = evaluate_robustness(whole, split=split, source=data, baseline=baseline, allow_code=allow_code)
        metrics, content = found.metrics._asdict(), robustness_json(found)
    else:
        outputs = split_outputs(predictor, data, split=split, features=features, allow_code=allow_code)
        scored = predictor.task.metrics(outputs.logits, outputs.labels, thresholds=outputs.thresholds)
        metrics = content = scored._asdict()
    if corruptions and (abstain is not None or predictor.added):
        outputs = split_outputs(predictor, data, split=split)
    more: dict[str, float | None] = {}
    if abstain is not None:
        more |= score_sets(predictor, outputs, abstain)._asdict()
    if predictor.added:
        trained = len(predictor.classes) - len(predictor.added)
        more |= new_class_metrics(outputs.logits, outputs.labels, trained)._asdict()
    known = {name: value for name, value in more.items() if value is not None and not math.isnan(value)}
    metrics, content = metrics | known, content | dict.fromkeys(more) | known  # JSON has no NaN
    if space is not None:
        from marnet.cli.retrieval import print_retrieval
        from marnet.evaluation.retrieval import evaluate_retrieval

        retrieved = evaluate_retrieval(space, data, split=split, features=features, clip=model, allow_code=allow_code)
        content = content | {"retrieval": as_json_value(retrieved)}
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
    if space is not None:
        print_retrieval(retrieved)


def _check_options(
    *, features: Path | None, retrieval: bool, clip: str | None, corruptions: bool, baseline: Path | None
) -> None:
    if baseline is not None and not corruptions:
        raise ConfigError("--baseline is used under corruptions only. Add --corruptions, or leave --baseline out.")
    if clip is not None and not retrieval:
        raise ConfigError("--clip is used for retrieval only. Add --retrieval, or leave --clip out.")
    if features is not None and corruptions:
        raise ConfigError("--features holds no images that could be corrupted. Leave it out, or --corruptions.")
