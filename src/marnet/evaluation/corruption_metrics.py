"""Figures of accuracies under corruption: means and errors in relation to a baseline, by group of corruptions.

Pure functions of top-1 by corruption, one a severity. The three groups are never mixed: `STANDARD` alone gives the mean
corruption accuracy; the corruptions held out and ours have means of their own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from marnet.evaluation.corruptions import HELD_OUT, OURS, SEVERITIES, STANDARD

Accuracies = Mapping[str, Sequence[float]]

MEAN_ACCURACY, RELATIVE_ERROR = "mean_corruption_accuracy", "relative_corruption_error"


class CorruptionGroup(NamedTuple):
    """Corruptions that are averaged together."""

    ending: str  # of the names of its figures
    title: str
    names: tuple[str, ...]


GROUPS = (
    CorruptionGroup("", f"{len(STANDARD)} standard", STANDARD),
    CorruptionGroup("_held_out", f"{len(HELD_OUT)} held out", HELD_OUT),
    CorruptionGroup("_ours", f"{len(OURS)} ours", OURS),
)


def corruption_figures(accuracies: Accuracies, baseline: Accuracies | None = None) -> dict[str, float | None]:
    """The figures of all groups by name, `MEAN_ACCURACY` and with a baseline `RELATIVE_ERROR`, each with its ending.

    A group of which a corruption or a severity was not measured has the figure None, and no mean of the rest.
    """
    figures: dict[str, float | None] = {}
    for group in GROUPS:
        measured = is_measured(accuracies, group.names)
        figures[f"{MEAN_ACCURACY}{group.ending}"] = mean_accuracy(accuracies, group.names) if measured else None
    if baseline is None:
        return figures
    for group in GROUPS:
        measured = is_measured(accuracies, group.names) and is_measured(baseline, group.names)
        ratio = relative_corruption_error(accuracies, baseline, group.names) if measured else None
        figures[f"{RELATIVE_ERROR}{group.ending}"] = ratio
    return figures


def is_measured(accuracies: Mapping[str, Sequence[object]], names: Sequence[str]) -> bool:
    """Whether there is something for each of the corruptions at every severity."""
    return all(len(accuracies.get(name, ())) == len(SEVERITIES) for name in names)


def mean_accuracy(accuracies: Accuracies, names: Sequence[str] = STANDARD) -> float:
    """Mean over the corruptions `names` and all severities; over `STANDARD` it is the mean corruption accuracy.

    Raises:
        ValueError: a name was not measured.
    """
    _check_measured(accuracies, names)
    return sum(sum(accuracies[name]) / len(accuracies[name]) for name in names) / len(names)


def relative_errors(accuracies: Accuracies, baseline: Accuracies) -> dict[str, float | None]:
    """By corruption, the error of a method over the error of the baseline, both summed over the severities.

    1 is as good as the baseline, less is better; None where the baseline makes no error.

    Raises:
        ValueError: the baseline lacks a corruption, or has other severities of it.
    """
    _check_measured(baseline, list(accuracies))
    ratios: dict[str, float | None] = {}
    for name, values in accuracies.items():
        if len(values) != len(baseline[name]):
            raise ValueError(
                f"{name} was measured at {len(values)} and {len(baseline[name])} severities; needed the same."
            )
        allowed = sum(1 - value for value in baseline[name])
        ratios[name] = sum(1 - value for value in values) / allowed if allowed > 0 else None
    return ratios


def relative_corruption_error(
    accuracies: Accuracies, baseline: Accuracies, names: Sequence[str] = STANDARD
) -> float | None:
    """Mean of `relative_errors` over the corruptions `names`; None where one of them is.

    The publication's "mCE" is this quotient with AlexNet on ImageNet as the baseline; no other may bear the name.

    Raises:
        ValueError: a name was not measured.
    """
    _check_measured(accuracies, names)
    ratios = relative_errors({name: accuracies[name] for name in names}, baseline)
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return sum(known) / len(names) if len(known) == len(names) else None


def _check_measured(accuracies: Accuracies, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in accuracies]
    if missing or not names:
        raise ValueError(
            f"Found accuracies under {', '.join(accuracies) or 'no corruption'}; needed {', '.join(names) or 'a name'}."
        )
