"""Writing a file of torch.export."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from marnet.export.graph import trace
from marnet.inference import Predictor
from marnet.inference.exported.artefact import PT2_METADATA


def write_pt2(predictor: Predictor, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the graph of a run, on the CPU, with its metadata as an extra file of the archive."""
    graph = trace(predictor, noise_rows=True)
    content = dict(metadata) | {"outputs": json.dumps(graph.outputs)}
    program = graph.program
    program._example_inputs = None  # they are of no use to anybody who loads it
    torch.export.save(program, path, extra_files={PT2_METADATA: json.dumps(content, ensure_ascii=False)})
