"""Features in the plane: t-SNE of x_v and x_CDR, with neighbourhood scores (Figure 3 of the paper)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from marnet.evaluation.analysis import embed_2d, neighbourhood_score
from marnet.inference import SplitOutputs
from marnet.metrics import percent
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext
from marnet.reports.plots.embedding import embedding_panels

TITLE = "Features"
_COLOURS = {  # by the number of dimensions of the labels
    1: "Points are images, colours are classes.",
    2: "Points are images; the colour is the rarest class of an image, and images without a class are left out.",
}
MOST_POINTS = 3000  # t-SNE of more takes minutes, and the points would cover each other


def build(context: ReportContext) -> Section:
    """Build the section from the outputs of the trained runs.

    Raises:
        Unavailable: there are no weights.
    """
    return feature_section(context.outputs, context.classes, seed=context.first_records[context.arm].seed)


def feature_section(outputs: Mapping[str, SplitOutputs], classes: Sequence[str], *, seed: int) -> Section:
    """Return layouts of the features of each run, with x_CDR if the run has CDR.

    Args:
        outputs: by name of the run, its outputs on the same split.
        classes: names of the classes.
        seed: of the layout, and of the choice of images if there are many.
    """
    return Section(
        title=TITLE,
        text=[_COLOURS[next(iter(outputs.values())).labels.ndim],
              "Distances within a cluster are meaningful; distances between clusters and the axes are not."],
        blocks=[_block(name, found, classes, seed) for name, found in outputs.items()],
    )  # fmt: skip


def _block(name: str, outputs: SplitOutputs, classes: Sequence[str], seed: int) -> Block:
    features = {"x_v": outputs.x_v} | ({} if outputs.x_cdr is None else {"x_CDR": outputs.x_cdr})
    count = len(outputs.labels)
    chosen = torch.arange(count)
    if count > MOST_POINTS:
        shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        chosen = shuffled[:MOST_POINTS].sort().values
    layouts = {f"{name}: {kind}": embed_2d(rows[chosen], seed=seed) for kind, rows in features.items()}
    colours = outputs.labels if outputs.labels.ndim == 1 else rarest_class(outputs.labels)
    panels = embedding_panels(layouts, colours[chosen].numpy(), classes)
    shares = [f"{percent(neighbourhood_score(rows, outputs.labels))} in {kind}" for kind, rows in features.items()]
    shown = f"{' and '.join(shares)} share {_shared(outputs.labels)}"
    described = {"x_v": "the visual features x_v", "x_CDR": "the semantics x_CDR that CDR reconstructs from them"}
    return Plots(
        panels=[
            Panel(figure, f"t-SNE of {described[kind]} of {name}, coloured by class.", f"features-{name}-{kind}")
            for figure, kind in zip(panels.figures, features, strict=True)
        ],
        caption=f"{name}: {' and '.join(described[kind] for kind in features)}, by t-SNE. Of an image's ten nearest "
        f"neighbours, {shown}. {_sample_note(count)}{panels.note}".rstrip(),
        legend=panels.legend,
    )


def rarest_class(labels: Tensor) -> Tensor:
    """Return for each image with labels `(N, C)` of 0 and 1 its class with the fewest images, -1 if it has none.

    Example:
        >>> rarest_class(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])).tolist()
        [0, 1, -1]
    """
    images = torch.where(labels > 0, labels.sum(0), torch.inf)  # (N, C)
    return torch.where(labels.any(1), images.argmin(1), -1)


def _shared(labels: Tensor) -> str:
    if labels.ndim == 1:
        return "its class"
    labels = labels[:: -(-len(labels) // MOST_POINTS)]
    together = (labels @ labels.T > 0).double()
    by_chance = (together.sum() - together.diagonal().sum()) / (len(labels) * (len(labels) - 1))
    return f"a class with it; of any two images, {percent(float(by_chance))} do"


def _sample_note(count: int) -> str:
    if count <= MOST_POINTS:
        return ""
    return f"{MOST_POINTS} of {count} images are shown, chosen at random; the shares are of all images. "
