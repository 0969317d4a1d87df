"""Features in the plane: t-SNE of x_v and x_CDR, with neighbourhood scores (Figure 3 of the paper)."""

from collections.abc import Mapping, Sequence

import torch

from marnet.evaluation.analysis import embed_2d, neighbourhood_score
from marnet.inference import SplitOutputs
from marnet.metrics import percent
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext
from marnet.reports.plots.embedding import embedding_panels

TITLE = "Features"
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
        text=["Points are images, colours are classes. Distances within a cluster are meaningful; distances between "
              "clusters and the axes are not."],
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
    panels = embedding_panels(layouts, outputs.labels[chosen].numpy(), classes)
    shares = [f"{percent(neighbourhood_score(rows, outputs.labels))} in {kind}" for kind, rows in features.items()]
    described = {"x_v": "the visual features x_v", "x_CDR": "the semantics x_CDR that CDR reconstructs from them"}
    return Plots(
        panels=[
            Panel(figure, f"t-SNE of {described[kind]} of {name}, coloured by class.", f"features-{name}-{kind}")
            for figure, kind in zip(panels.figures, features, strict=True)
        ],
        caption=f"{name}: {' and '.join(described[kind] for kind in features)}, by t-SNE. Of an image's ten nearest "
        f"neighbours, {' and '.join(shares)} share its class. {_sample_note(count)}{panels.note}".rstrip(),
        legend=panels.legend,
    )


def _sample_note(count: int) -> str:
    if count <= MOST_POINTS:
        return ""
    return f"{MOST_POINTS} of {count} images are shown, chosen at random; the shares are of all images. "
