"""What the features look like: t-SNE of x_v beside x_CDR, with neighbourhood scores (Figure 3 of the paper)."""

from collections.abc import Mapping, Sequence

import torch

from marnet.evaluation.analysis import embed_2d, neighbourhood_score
from marnet.inference import SplitOutputs
from marnet.metrics import percent
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.plots.embedding import embedding_panels

TITLE = "What the features look like"
MOST_POINTS = 3000  # t-SNE of more takes minutes, and the points would hide one another


def feature_section(outputs: Mapping[str, SplitOutputs], classes: Sequence[str], *, seed: int) -> Section:
    """Layouts of the features of each run, x_CDR where the run has CDR.

    Args:
        outputs: by name of the run, what it makes of the same split.
        classes: names of the classes.
        seed: of the layout, and of the choice of images where there are too many.
    """
    return Section(
        title=TITLE,
        text=["Points are images, colours are classes. Distances within a cloud mean something, those between clouds "
              "and the axes do not."],
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
    what = {"x_v": "the visual features x_v", "x_CDR": "the semantics x_CDR that the diffusion reconstructs from them"}
    return Plots(
        panels=[
            Panel(figure, f"t-SNE of {what[kind]} of {name}, coloured by class.", f"features-{name}-{kind}")
            for figure, kind in zip(panels.figures, features, strict=True)
        ],
        caption=f"{name}: {' beside '.join(what[kind] for kind in features)}, by t-SNE. Of an image's ten nearest "
        f"neighbours, {' and '.join(shares)} share its class. {_sample_note(count)}{panels.note}".rstrip(),
        legend=panels.legend,
    )


def _sample_note(count: int) -> str:
    if count <= MOST_POINTS:
        return ""
    return f"{MOST_POINTS} of {count} images are drawn, chosen at random; the shares are of all. "
