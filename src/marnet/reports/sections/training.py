"""Training: loss, validation accuracy, and the terms of the objective by epoch."""

from collections.abc import Mapping, Sequence

from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.plots.style import Mark
from marnet.reports.plots.training import loss_terms, training_curves
from marnet.tasks import Task, task_of

TITLE = "Training"

History = Sequence[Mapping[str, float]]


def build(context: ReportContext) -> Section:
    """Build the section from the first seed of each method.

    Raises:
        Unavailable: no run has a history.
    """
    histories = {name: context.first_records[name].history for name in context.methods}
    return training_section(histories, marks=context.marks, terms_of=context.detailed, task=context.task)


def training_section(
    histories: Mapping[str, History],
    *,
    marks: Mapping[str, Mark] | None = None,
    terms_of: Sequence[str] = (),
    task: Task | None = None,
) -> Section:
    """Return the curves of all runs, and the loss terms of some.

    Args:
        histories: by name of the run, the rows of history.csv.
        marks: colour and dashes of each run; None chooses them.
        terms_of: the runs whose loss terms are shown.
        task: names the score on val; None is that of one class per image.

    Raises:
        Unavailable: no run has a history.
    """
    present = {name: rows for name, rows in histories.items() if rows}
    if not present:
        raise Unavailable("No run has a history of its epochs, which training writes as history.csv.")
    task = task or task_of("single")
    curves = training_curves(present, marks=marks, accuracy=f"val/{task.score}")
    blocks: list[Block] = [
        Plots(
            panels=[
                Panel(curves.loss, f"Training loss by epoch: {', '.join(present)}.", "training-loss"),
                Panel(
                    curves.accuracy,
                    f"Validation {task.score_title} by epoch: {', '.join(present)}.",
                    "training-accuracy",
                ),
            ],
            caption=f"Cross-entropy of the fused prediction on the training images, and {task.score_title} on val. The "
            f"dot marks the epoch that was kept.",
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
