"""`marnet train`."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.flags import settings_from_flags
from marnet.cli.options import AllowCode, Backbone, ImageSize, Labels, Pretrained, Sets
from marnet.cli.output import say
from marnet.stopping import telling_way_on


def train(  # noqa: PLR0917 - typer calls it by keyword
    out: Annotated[Path, typer.Option(help="The run directory to write.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="Training data: a CSV, JSONL or Parquet file, a folder of images, NAME:PATH, or synthetic; see "
            "docs/data.md. With --resume: the run's own data, if its images were moved."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Train in seconds on features that 'marnet embed' wrote; the backbone stays frozen."),
    ] = None,
    backbone: Backbone = None,
    labels: Labels = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="marnet, match, reconstruct, image-only, regress, multitask or late-fusion", show_default="marnet"
        ),
    ] = None,
    image_size: ImageSize = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows", show_default="60")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per training step", show_default="32")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW", show_default="0.001")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed for weights, row order, augmentation and noise", show_default="0")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Numeric precision: 32, 16-mixed, bf16-mixed or 64", show_default="32")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="Devices to train on: auto, a count, cpu, cpu:2, cuda:1 or mps", show_default="auto"),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(help="How to balance rare classes: none (the default), weights, sampler or logit-adjust."),
    ] = None,
    on_bad_image: Annotated[
        str | None,
        typer.Option(help="Broken images: stop before training starts, or skip them", show_default="stop"),
    ] = None,
    pretrained: Pretrained = False,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Start from a preset; all other settings override it. paper is the literal reading of the paper."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings; flags override it.")] = None,
    sets: Sets = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that --out holds.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out, with its own settings, where it stopped.")
    ] = False,
    allow_code: AllowCode = False,
) -> None:
    """Train a classifier and write a run directory."""
    values = settings_from_flags(
        "train",
        {
            "--method": method,
            "--data": data,
            "--features": None if features is None else str(features),
            "--labels": labels,
            "--image-size": image_size,
            "--on-bad-image": on_bad_image,
            "--backbone": backbone,
            "--pretrained": pretrained or None,
            "--epochs": epochs,
            "--batch-size": batch_size,
            "--lr": lr,
            "--seed": seed,
            "--precision": precision,
            "--devices": devices,
            "--balance": balance,
        },
    )
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # of several training processes, one speaks
    with telling_way_on(lambda: _way_on(out, resume=resume)) if first else nullcontext():
        from marnet.config import make_config

        moved = None
        if resume:
            from marnet.training.resuming import open_moved, run_config

            settings = run_config(out, values, preset=preset, file=config, sets=sets or [])
            moved = open_moved(out, data, settings)
        else:
            settings = make_config(values, preset=preset, file=config, sets=sets or [])

        from marnet.training import fit, is_first_process

        result = fit(settings, out, manifest=moved, overwrite=overwrite, resume=resume, allow_code=allow_code)
    from marnet.cli.tables import print_metrics

    if not is_first_process():
        return
    print_metrics(result.metrics._asdict(), f"{settings.method} on val")
    say(f"Run directory: {result.path}")


def _way_on(out: Path, *, resume: bool) -> str:
    """Return how to go on if the run was not written to yet."""
    begun = "The run had not been resumed" if resume else "Training had not begun"
    return f"{begun}, and nothing was changed in {out}. Start again."
