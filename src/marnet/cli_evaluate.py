"""What `marnet evaluate --corruptions` prints: a table for people, JSON for programs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marnet.evaluation.robustness import Robustness


def robustness_json(found: "Robustness") -> dict[str, Any]:
    """Return everything under flat names; `_held_out` and `_ours` end those of the other two groups of corruptions."""
    from marnet.evaluation.robustness import mean_accuracy, relative_corruption_error, relative_errors

    content: dict[str, Any] = {**found.metrics._asdict(), "corruptions": found.corruptions}
    for ending, names in _groups().items():
        content[f"mean_corruption_accuracy{ending}"] = mean_accuracy(found.corruptions, names)
    if found.baseline is not None:
        content["baseline_corruptions"] = found.baseline
        content["relative_errors"] = relative_errors(found.corruptions, found.baseline)
        for ending, names in _groups().items():
            ratio = relative_corruption_error(found.corruptions, found.baseline, names)
            content[f"relative_corruption_error{ending}"] = ratio
    return content


def print_robustness(found: "Robustness", title: str) -> None:
    """Print top-1 by corruption and severity, with the means of each group, in percent."""
    from rich.console import Console
    from rich.table import Table

    content = robustness_json(found)
    table = Table(title=title)
    table.add_column("corruption")
    for heading in ("1", "2", "3", "4", "5", "mean"):
        table.add_column(heading, justify="right")
    if found.baseline is not None:
        table.add_column("relative error", justify="right")
    table.add_row("none", *[""] * 5, _number(100 * found.metrics.top1, 1), end_section=True)
    for ending, names in _groups().items():
        for name in names:
            values = found.corruptions[name]
            cells = [_number(100 * value, 1) for value in (*values, sum(values) / len(values))]
            if found.baseline is not None:
                cells.append(_number(content["relative_errors"][name], 3))
            table.add_row(name, *cells)
        mean = [_number(100 * content[f"mean_corruption_accuracy{ending}"], 1)]
        if found.baseline is not None:
            mean.append(_number(content[f"relative_corruption_error{ending}"], 3))
        table.add_row(f"mean, {_TITLES[ending]}", *[""] * 5, *mean, style="bold", end_section=True)
    Console().print(table)


_TITLES = {"": "standard", "_held_out": "held out", "_ours": "ours"}


def _groups() -> dict[str, tuple[str, ...]]:
    """The corruptions by the ending of their group's figures."""
    from marnet.evaluation.corruptions import HELD_OUT, OURS, STANDARD

    return {"": STANDARD, "_held_out": HELD_OUT, "_ours": OURS}


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
