"""The output of `marnet evaluate --corruptions`: a table for people, JSON for programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marnet.evaluation.robustness import Robustness


def robustness_json(found: "Robustness") -> dict[str, Any]:
    """Return everything under flat names; those of the groups end with `_held_out`, `_ours` or `_other`."""
    from marnet.evaluation.corruption_metrics import corruption_metrics, relative_errors

    content: dict[str, Any] = {**found.metrics._asdict(), "corruptions": found.corruptions}
    if found.baseline is not None:
        content["baseline_corruptions"] = found.baseline
        content["relative_errors"] = relative_errors(found.corruptions, found.baseline)
    return content | corruption_metrics(found.corruptions, found.baseline, mean=found.task.corrupted_score)


def print_robustness(found: "Robustness", title: str) -> None:
    """Print the score, top-1 or mAP, by corruption and severity, with the means of each group, in percent."""
    from marnet.cli.tables import new_table, show
    from marnet.evaluation.corruption_metrics import RELATIVE_ERROR, groups_of

    content = robustness_json(found)
    headings = ["corruption", "1", "2", "3", "4", "5", "mean"]
    table = new_table(title, [*headings, "relative error"] if found.baseline is not None else headings)
    table.columns[0].no_wrap = True  # the heading "relative error" gives way
    table.add_row("none", *[""] * 5, _number(100 * content[found.task.score], 1), end_section=True)
    for group in groups_of(found.corruptions):
        for name in (name for name in group.names if name in found.corruptions):
            values = found.corruptions[name]
            cells = [_number(100 * value, 1) for value in (*values, sum(values) / len(values))]
            if found.baseline is not None:
                cells.append(_number(content["relative_errors"][name], 3))
            table.add_row(name, *cells)
        mean_score = content[f"{found.task.corrupted_score}{group.ending}"]
        if mean_score is None:  # not all of the group was measured
            table.add_section()
            continue
        mean = [_number(100 * mean_score, 1)]
        if found.baseline is not None:
            mean.append(_number(content[f"{RELATIVE_ERROR}{group.ending}"], 3))
        table.add_row(f"mean of {group.title}", *[""] * 5, *mean, style="bold", end_section=True)
    show(table)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
