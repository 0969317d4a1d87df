"""`marnet data label-errors`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.flags import settings_from_flags
from marnet.cli.options import AllowCode, AsJson, Backbone, ImageSize, Pretrained
from marnet.cli.output import print_json, say
from marnet.errors import ConfigError

if TYPE_CHECKING:
    from marnet.evaluation.label_errors import LabelErrors, LabelSuspect


def label_errors(  # noqa: PLR0917 - typer calls it by keyword
    source: Annotated[
        str | None,
        typer.Argument(
            help="A data source, see docs/data.md, or a run directory, whose rows and backbone are taken; or leave it "
            "out for --features.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="A folder written by 'marnet embed', in place of SOURCE.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With a run: another data source, or the run's own data at its new place.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many rows to list, the most suspicious first.")] = 20,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Also write them as a table (.csv, .jsonl or .parquet).", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write them as a page with pictures.", show_default=False)
    ] = None,
    backbone: Backbone = None,
    pretrained: Pretrained = False,
    image_size: ImageSize = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the data, the backbone or the text, as section.key=value; with a run, of the text.",
        ),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """List the labels that are probably wrong, by images and texts. It needs cleanlab, which the extra audit installs.

    Each row of every split is judged by models that were fitted without it.
    """
    from marnet.config import make_config
    from marnet.data.tables import check_new_table
    from marnet.evaluation.label_errors import label_errors_of, label_errors_of_run, write_label_errors
    from marnet.reports.label_sheet import write_label_sheet
    from marnet.reports.page import check_report_target
    from marnet.runs.layout import CONFIG

    if (source is None) == (features is None):
        raise ConfigError("One set of rows is judged. Give either SOURCE or --features.")
    run = Path(source) if source is not None and (Path(source) / CONFIG).is_file() else None
    if data is not None and run is None:
        raise ConfigError("--data names other rows for a run, but SOURCE is no run. Leave --data out.")
    if csv is not None:
        check_new_table(csv)
    if html is not None:
        check_report_target(html)
    typed = {
        "SOURCE": source if run is None else None,
        "--features": features,
        "--backbone": backbone,
        "--pretrained": pretrained or None,
        "--image-size": image_size,
    }
    config = make_config(settings_from_flags("data label-errors", typed), sets=sets or [])
    if run is None:
        found = label_errors_of(config, allow_code=allow_code)
    else:
        found = label_errors_of_run(run, config, data=data, allow_code=allow_code)
    listed = found.suspects[:top]
    if as_json:
        print_json(
            {
                "rows": len(found.suspects),
                "classes": found.classes,
                "expected": found.expected,
                "unjudged": [record.image for record in found.unjudged],
                "text_is_no_witness_because": found.no_text_because or None,
                "suspects": [_as_dict(each) for each in listed],
            }
        )
    else:
        _print(found, listed)
    if csv is not None:
        write_label_errors(listed, csv)
        say(f"Table: {csv}", error=as_json)
    if html is not None:
        say(f"Page: {write_label_sheet(found, listed, html)}", error=as_json)


def _as_dict(suspect: "LabelSuspect") -> dict[str, Any]:
    record = suspect.record
    return {
        "image": record.image,
        "split": record.split,
        "label": record.label,
        "likely": suspect.likely,
        "score": suspect.score,
        "by_image": suspect.by_image,
        "by_text": suspect.by_text,
        "text": record.text,
    }


def _print(found: "LabelErrors", listed: "tuple[LabelSuspect, ...]") -> None:
    from marnet.cli.tables import print_table
    from marnet.evaluation.label_errors import describe_label_errors

    print_table(
        f"The most suspicious labels of {len(found.suspects)} rows, {found.classes} classes",
        ("image", "split", "given label", "likely label", "score", "by image", "by text"),
        [
            (
                Path(each.record.image).name,
                each.record.split,
                each.record.label,
                each.likely,
                *("-" if value is None else f"{value:.4f}" for value in (each.score, each.by_image, each.by_text)),
            )
            for each in listed
        ],
    )
    for sentence in describe_label_errors(found):
        say(sentence)
