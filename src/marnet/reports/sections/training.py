"""How the trainings went: loss, validation accuracy, and the terms of the objective."""

from collections.abc import Mapping, Sequence

from marnet.reports.blocks import Block, Gap, Panel, Plots, Section
from marnet.reports.plots.style import Mark
from marnet.reports.plots.training import loss_terms, training_curves

TITLE = "Training"

History = Sequence[Mapping[str, float]]


def training_section(
    histories: Mapping[str, History], *, marks: Mapping[str, Mark] | None = None, terms_of: Sequence[str] = ()
) -> Section | Gap:
    """Curves of all runs, and the loss terms of some.

    Args:
        histories: by name of the run, the rows of history.csv.
        marks: how each run is drawn; None chooses.
        terms_of: the runs whose loss terms are drawn.
    """
    present = {name: rows for name, rows in histories.items() if rows}
    if not present:
        return Gap(TITLE, "No run has a history of its epochs; training writes it, as history.csv.")
    curves = training_curves(present, marks=marks)
    blocks: list[Block] = [
        Plots(
            panels=[
                Panel(curves.loss, f"Training loss by epoch: {', '.join(present)}.", "training-loss"),
                Panel(curves.accuracy, f"Validation top-1 by epoch: {', '.join(present)}.", "training-accuracy"),
            ],
            caption="Cross-entropy of the fused prediction in training, and top-1 on val. The dot marks the epoch that "
            "was kept.",
            legend=curves.legend,
        )
    ]
    for name in terms_of:
        if name in present:
            figure, legend = loss_terms(present[name], f"Loss terms of {name}")
            panel = Panel(figure, f"Each loss term of {name} by epoch.", f"loss-terms-{name}")
            caption = f"The terms of {name}'s objective by epoch, before weighting."
            blocks.append(Plots(panels=[panel], caption=caption, legend=legend))
    return Section(title=TITLE, blocks=blocks)
