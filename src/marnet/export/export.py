"""`export_run`: one file that predicts what a run predicts, or no file."""

from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from marnet.atomic import replacing
from marnet.choices import Precision
from marnet.errors import ConfigError, ExportError, suggest
from marnet.export import onnx_file, reduced
from marnet.export.check_images import find_check_images, split_images
from marnet.export.graph import start_of
from marnet.export.parity import compare_predictions
from marnet.export.pt2_file import write_pt2
from marnet.export.scores import Scores, compare_scores
from marnet.inference import Predictor
from marnet.inference.exported.artefact import Artefact, to_metadata
from marnet.inference.exported.predictor import normalise
from marnet.inference.loading import ONNX, PT2, open_exported
from marnet.runs.code import AllowCode
from marnet.runs.directory import package_version

_CHECKED = 200  # images on which the file is compared with the run
_CALIBRATED_ON = 200  # training images by which int8 finds the range of each layer


class Export(NamedTuple):
    """A file that was written, and how near to the run it predicts.

    Example:
        >>> import marnet
        >>> done = marnet.export_run("runs/p", "p.onnx")
        >>> done.path.name, done.precision, done.agreement
        ('p.onnx', 'fp32', 1.0)
    """

    path: Path
    size: int  # bytes
    precision: Precision
    images: int  # that it was compared on
    origin: str  # of these images, in words
    largest_difference: float  # of a probability
    agreement: float  # share of the images whose most probable class is that of the run
    scores: Scores | None = None  # of run and file on val, for fp16 and int8; None if no image of val can be read


def export_run(
    run: Path | str,
    out: Path | str,
    *,
    precision: Precision = "fp32",
    data: Any = None,
    images: Path | str | None = None,
    overwrite: bool = False,
    allow_code: AllowCode = False,
) -> Export:
    """Export a run as one file that predicts images elsewhere, and check that it predicts the same.

    In fp32 the file must agree with the run on 200 images at batches of 1, 5 and 64: all probabilities to 1e-4, and
    every most probable class. Otherwise no file is left. The file holds no text but the names of the classes.

    Args:
        run: the run directory, or a `TrainedRun`.
        out: the file: .onnx, which onnxruntime runs without torch, or .pt2 for torch.export.
        precision: "fp32"; "fp16" or "int8" for a smaller backbone in ONNX, whose loss is measured and not limited.
        data: the rows of the run, if they are at another place by now; see `Predictor.rows`.
        images: a folder of images to compare on, in place of the rows of val.
        overwrite: replace `out`.
        allow_code: import code that the run names (`module:PACKAGE.NAME`).

    Raises:
        ExportError: the file would predict something else, a package is missing, or `out` exists.
        ConfigError: the suffix of `out` or the precision is unknown.
        RunDirectoryError: the run is incomplete or damaged, or the file cannot be written.
        DataError: `data` or `images` cannot be read.

    Example:
        >>> import marnet
        >>> marnet.export_run("runs/p", "apples.onnx").path.suffix
        '.onnx'
    """
    out = Path(out)
    _check_arguments(out, precision, overwrite=overwrite)
    predictor = Predictor(run, device="cpu", allow_code=allow_code)
    check = find_check_images(predictor, None if images is None else Path(images), data, count=_CHECKED)
    metadata = to_metadata(describe(predictor, precision))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        if out.suffix == PT2:
            write_pt2(predictor, partial, metadata)
        else:
            _write_onnx(predictor, partial, metadata, precision, data)
        file = open_exported(partial, device="cpu", trusted=True)
        parity = compare_predictions(predictor, file, check)
        if precision == "fp32":
            parity.check(predictor)
        scores = None if precision == "fp32" else compare_scores(predictor, file, data)
    return Export(
        path=out,
        size=out.stat().st_size,
        precision=precision,
        images=len(check.images),
        origin=check.origin,
        largest_difference=parity.largest_difference,
        agreement=parity.agreement,
        scores=scores,
    )


def describe(predictor: Predictor, precision: Precision) -> Artefact:
    """Return the metadata of the file of a run."""
    fitted, start, data = predictor.calibration, start_of(predictor.model), predictor.config.data
    lists = ("scores", "confidences", "thresholds")  # which the description has
    return Artefact(
        predictor.description,
        package_version("marnet"),
        precision,
        calibration=None if fitted is None else {k: v for k, v in fitted._asdict().items() if k not in lists},
        data=data.model_dump(mode="json", include={"columns", "labels", "missing", "threshold", "max_pixels"}),
        noise=None if start is None else tuple(start.tolist()),
    )


def _check_arguments(out: Path, precision: Precision, *, overwrite: bool) -> None:
    if out.suffix not in (ONNX, PT2):
        raise ConfigError(f"{out} has the suffix {out.suffix!r}, which says the format. Choose {ONNX} or {PT2}.")
    if precision not in get_args(Precision):
        raise ConfigError(
            f"`precision` is {precision!r}, but it must be one of {', '.join(get_args(Precision))}."
            f"{suggest(precision, get_args(Precision))}"
        )
    if precision != "fp32" and out.suffix == PT2:
        raise ConfigError(f"`precision={precision}` needs an ONNX file. Choose a name with the suffix {ONNX}.")
    if out.is_dir() or (out.exists() and not overwrite):
        way_out = "" if out.is_dir() else ", or replace it with `overwrite=True`"
        raise ExportError(f"{out} already exists. Choose another name{way_out}.")
    if out.suffix == ONNX:
        onnx_file.check_installed()


def _write_onnx(predictor: Predictor, path: Path, metadata: dict[str, str], precision: Precision, data: Any) -> None:
    found = start_of(predictor.model)
    start = None if found is None else np.asarray(found.tolist(), np.float32)
    model = onnx_file.build_onnx(predictor)
    if precision == "fp16":
        model = reduced.to_fp16(model)
    if precision == "int8":
        training = split_images(predictor, data, "train", count=_CALIBRATED_ON)
        if training is None:
            raise ExportError(
                f"`precision=int8` is calibrated on training images, but none of those of {predictor.run} can be read. "
                f"Name the rows at their new place with `data`."
            )
        model = reduced.to_int8(model, normalise(training.pixels, predictor.spec), start)
    onnx_file.save_onnx(model, path, metadata, start)
