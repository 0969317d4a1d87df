"""ONNX in fewer bits: fp16 and int8, of the backbone alone.

The heads, the branches and the calibration are small and stay in fp32, where a rounded number costs the most.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_BACKBONE = "x_v"  # the output of a graph where the backbone ends


def to_fp16(model: Any) -> Any:
    """Return a model of ONNX whose backbone computes in fp16; inputs and outputs stay in fp32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True, node_block_list=_nodes_behind_backbone(model))


def to_int8(model: Any, images: np.ndarray, start: np.ndarray | None) -> Any:
    """Return a model of ONNX whose backbone computes in int8.

    Args:
        model: in fp32.
        images: `(N, 3, S, S)` float32, inputs by which the range of each layer is found.
        start: `(d_0,)`, for a model that takes noise.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, reduced = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "reduced"))
        onnx.save(model, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        names = _nodes_behind_backbone(onnx.load(prepared))
        quantize_static(
            prepared,
            reduced,
            _Images(images, start),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=names,
        )
        return onnx.load(reduced)


class _Images:
    """Hands the images to onnxruntime's calibration one by one."""

    def __init__(self, images: np.ndarray, start: np.ndarray | None) -> None:
        noise = {} if start is None else {"noise": start[None].astype(np.float32)}
        self._inputs: Iterator[dict[str, np.ndarray]] = iter([{"images": image[None]} | noise for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def _nodes_behind_backbone(model: Any) -> list[str]:
    """Return the names of the nodes that the features of the backbone do not depend on."""
    producer = {name: node for node in model.graph.node for name in node.output}
    waiting, backbone = [_BACKBONE], set()
    while waiting:
        node = producer.get(waiting.pop())
        if node is not None and node.name not in backbone:
            backbone.add(node.name)
            waiting += node.input
    return [node.name for node in model.graph.node if node.name not in backbone]
