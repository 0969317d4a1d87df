"""Writing an ONNX file. The packages onnx and onnxscript are imported when a file is written."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marnet.errors import ExportError
from marnet.export.graph import trace
from marnet.inference import Predictor

_LARGEST = 2**31 - 2**20  # bytes of a file of protobuf, less some room
_BATCH = "batch"


def check_installed() -> None:
    """Refuse to begin where a package is missing.

    Raises:
        ExportError: onnx, onnxscript or onnxruntime cannot be imported.
    """
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        raise ExportError(
            f"Exporting to ONNX needs the packages onnx, onnxscript and onnxruntime, and one cannot be imported "
            f"({error}). Install them: pip install 'marnet[onnx]'"
        ) from error


def build_onnx(predictor: Predictor) -> Any:
    """Return the graph of a run as a model of ONNX in fp32, which takes `images` and, with CDR, `noise`.

    Raises:
        ExportError: the graph cannot be exported.
    """
    graph = trace(predictor, noise_rows=False)
    with _quiet():
        program = torch.onnx.export(
            graph.program, input_names=list(graph.inputs), output_names=list(graph.outputs), dynamo=True, verbose=False
        )
    if program is None:
        raise ExportError("torch could not turn the model into ONNX. Export to a file with the suffix .pt2.")
    model = program.model_proto
    _forget_origin(model)
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    return model


def save_onnx(model: Any, path: Path, metadata: Mapping[str, str], start: np.ndarray | None) -> None:
    """Write a model of ONNX with its metadata.

    Args:
        model: of `build_onnx`, perhaps in another precision.
        path: the file.
        metadata: text by name.
        start: `(d_0,)`, the noise to take where none is given; None: the model takes none.

    Raises:
        ExportError: the model is larger than a file of ONNX can be.
    """
    import onnx

    _forget_origin(model)
    if start is not None:
        _make_optional(model, start)
    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > _LARGEST:
        raise ExportError(
            f"The model takes {model.ByteSize():,} bytes, but an ONNX file has at most {_LARGEST:,}. Export to a file "
            f"with the suffix .pt2."
        )
    onnx.save(model, path)


def _make_optional(model: Any, start: np.ndarray) -> None:
    """Let noise be `(1, d_0)` or `(B, d_0)`, and default to the start vector: an input with an initialiser is one."""
    import onnx

    noise = next(value for value in model.graph.input if value.name == "noise")
    noise.type.tensor_type.shape.dim[0].dim_param = "noise_rows"
    model.graph.initializer.append(onnx.numpy_helper.from_array(start[None].astype(np.float32), "noise"))


def _forget_origin(model: Any) -> None:
    """Remove where in whose code each node was made: paths of this machine."""
    pieces = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]
    pieces += [*model.graph.initializer, *model.functions]
    for function in model.functions:
        pieces += [*function.node, *function.value_info]
    for piece in pieces:
        piece.doc_string = ""
        del piece.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the notes of the exporter, which concern nobody but its authors, off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
