"""Training: loss, validation accuracy, and the terms of the objective by epoch."""

from collections.abc import Mapping, Sequence

from marnet.comparison.records import RunRecord
from marnet.comparison.verdict import points
from marnet.metrics import capitalised
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
    records = {name: context.first_records[name] for name in context.methods}
    return training_section(
        {name: record.history for name, record in records.items()},
        marks=context.marks,
        terms_of=context.detailed,
        task=context.task,
        kept={name: record for name, record in records.items() if record.history},
        unlabelled=context.unlabelled,
    )


def describe_kept(record: RunRecord) -> str:
    """Return which weights a run kept, and by how much choosing an epoch by its val score flatters that score."""
    title, keep = record.task.score_title, record.config.get("training", {}).get("keep")
    if record.chose_epoch:
        best = max((row.get(f"val/{record.task.score}", 0.0) for row in record.history), default=0.0)
        return (
            f"The weights of the epoch with the best {title} on val were kept. Its {title} there is flattered by that "
            f"choice: it is {points(best - record.score_at_the_end())} points above the mean over the last quarter of "
            f"the epochs."
        )
    weights = "The moving average of the weights" if keep == "averaged" else "The state of the weights"
    return f"{weights} at the end of training was kept. No epoch was chosen, so no choice flatters {title} on val."


def training_section(
    histories: Mapping[str, History],
    *,
    marks: Mapping[str, Mark] | None = None,
    terms_of: Sequence[str] = (),
    task: Task | None = None,
    kept: Mapping[str, RunRecord] | None = None,
    unlabelled: Mapping[str, str] | None = None,
) -> Section:
    """Return the curves of all runs, and the loss terms of some.

    Args:
        histories: by name of the run, the rows of history.csv.
        marks: colour and dashes of each run; None chooses them.
        terms_of: the runs whose loss terms are shown.
        task: names the score on val; None is that of one class per image.
        kept: the records that say which weights the runs kept; None: those of the last epoch.
        unlabelled: how runs used rows without a label, in a sentence each; None: no run had such rows.

    Raises:
        Unavailable: no run has a history.
    """
    present = {name: rows for name, rows in histories.items() if rows}
    if not present:
        raise Unavailable("No run has a history of its epochs, which training writes as history.csv.")
    task = task or task_of("single")
    kept = kept or {}
    chosen = [name for name, record in kept.items() if record.chose_epoch]
    curves = training_curves(present, marks=marks, accuracy=f"val/{task.score}", chosen=chosen)
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
            caption=f"Cross-entropy on the training images: of the fused prediction if it has a loss, else of the head "
            f"on x_v. {capitalised(task.score_title)} on val, without calibration; with averaged weights, that of the "
            f"average so far. The dot marks the epoch that was kept.",
            legend=curves.legend,
        )
    ]
    for name in terms_of:
        if name in present:
            figure, legend = loss_terms(present[name], f"Loss terms of {name}")
            panel = Panel(figure, f"Each loss term of {name} by epoch.", f"loss-terms-{name}")
            caption = f"The terms of {name}'s objective by epoch, before weighting."
            blocks.append(Plots(panels=[panel], caption=caption, legend=legend))
    found: dict[str, list[str]] = {}
    for name, record in kept.items():
        found.setdefault(describe_kept(record), []).append(name)
    text = [sentence if len(found) == 1 else f"{', '.join(names)}: {sentence}" for sentence, names in found.items()]
    text += [sentence if len(present) == 1 else f"{name}: {sentence}" for name, sentence in (unlabelled or {}).items()]
    return Section(title=TITLE, text=text, blocks=blocks)
