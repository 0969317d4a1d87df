"""The part of a model that predicts, as a graph with named inputs and outputs, without anything that reads text."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from marnet.inference import Predictor
from marnet.inference.exported.predictor import LOGITS, OF_BRANCH, PROBABILITIES
from marnet.inference.predictor import FEATURE_NAMES
from marnet.losses import Objective
from marnet.model import MARNet
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction
from marnet.outputs import RECONSTRUCTION

_EXAMPLES = 2  # images in the example input; 1 would be taken for a constant


class Graph(NamedTuple):
    """A graph with the names of its inputs and outputs."""

    program: ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class PredictionGraph(nn.Module):
    """Everything that an image gives, as a tuple of tensors.

    Args:
        model: in evaluation mode; a copy is taken, without what only training uses.
        probabilities: turns logits into probabilities.
    """

    def __init__(self, model: MARNet, probabilities: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = _without_training(model)
        self.probabilities = probabilities

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the outputs `(B, ...)` for normalised images `(B, 3, S, S)` and noise `(1, d_0)` or `(B, d_0)`."""
        start = None if noise is None else noise.expand(images.shape[0], -1)
        found = self.model.prediction_outputs(images, start)
        branches = [self.probabilities(logits) for logits in found.branch_logits.values()]
        return (self.probabilities(found.logits), found.logits, *branches, *found.features.values())

    def names(self) -> tuple[str, ...]:
        """Return the names of the outputs, in their order."""
        branches = tuple(self.model.heads)
        return (
            PROBABILITIES,
            LOGITS,
            *(f"{OF_BRANCH}{name}" for name in branches),
            *(FEATURE_NAMES.get(name, name) for name in branches),
        )


def start_of(model: MARNet) -> Tensor | None:
    """Return the start vector `(d_0,)` of CDR's reverse process; None for a method that starts from none."""
    branch = dict(model.branches.items()).get(RECONSTRUCTION)
    return branch.start if isinstance(branch, CrossModalDiffusionReconstruction) else None


def trace(predictor: Predictor, *, noise_rows: bool) -> Graph:
    """Return the graph of a run, for batches of any size.

    Args:
        predictor: of the run, on the CPU.
        noise_rows: noise is `(B, d_0)`; otherwise `(1, d_0)`, which the graph repeats.
    """
    graph = PredictionGraph(predictor.model, predictor.task.probabilities).eval()
    spec = predictor.spec
    inputs = [torch.zeros(_EXAMPLES, 3, spec.size, spec.size)]
    dims: list[dict[int, Any]] = [{0: Dim.DYNAMIC}]
    start = start_of(predictor.model)
    if start is not None:
        inputs.append(start.expand(_EXAMPLES if noise_rows else 1, -1).clone())
        dims.append({0: Dim.DYNAMIC} if noise_rows else {})
    program = torch.export.export(graph, tuple(inputs), dynamic_shapes=tuple(dims))
    for module in program.graph_module.modules():  # blocks without gradients are graphs of their own
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # where the code lies on this machine is nobody's business
    return Graph(program, ("images", "noise")[: len(inputs)], graph.names())


def _without_training(model: MARNet) -> MARNet:
    """Return a copy that predicts the same and holds nothing that only training uses."""
    own, model.training_only = model.training_only, None
    try:
        plain = copy.deepcopy(model)
    finally:
        model.training_only = own
    plain.objective = Objective()
    return plain
