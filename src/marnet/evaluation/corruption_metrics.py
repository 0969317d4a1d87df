"""Metrics of scores under corruption: means, and errors in relation to a baseline, by group of corruptions.

Pure functions of a score by corruption, one value per severity: top-1, called accuracy here, or mAP where images have
several classes; the error is 1 minus the score. The groups are never mixed: `STANDARD` alone gives the
mean corruption accuracy; the held-out corruptions, ours and those from outside the package have means of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from marnet.evaluation.corruptions import CORRUPTIONS, HELD_OUT, OURS, SEVERITIES, STANDARD

Accuracies = Mapping[str, Sequence[float]]

MEAN_ACCURACY, RELATIVE_ERROR = "mean_corruption_accuracy", "relative_corruption_error"


class CorruptionGroup(NamedTuple):
    """Corruptions that are averaged together."""

    ending: str  # of the names of its metrics
    title: str
    names: tuple[str, ...]


GROUPS = (  # of marnet; `groups_of` adds the corruptions from outside
    CorruptionGroup("", f"{len(STANDARD)} standard", STANDARD),
    CorruptionGroup("_held_out", f"{len(HELD_OUT)} held out", HELD_OUT),
    CorruptionGroup("_ours", f"{len(OURS)} ours", OURS),
)
OTHER_ENDING = "_other"


def groups_of(names: Iterable[str]) -> tuple[CorruptionGroup, ...]:
    """Return the groups of marnet, and one more if some of the corruptions `names` come from outside the package.

    Example:
        >>> [group.title for group in groups_of(["fog", "module:weather.hail"])]
        ['15 standard', '4 held out', '3 ours', '1 other']
    """
    others = tuple(name for name in dict.fromkeys(names) if name not in CORRUPTIONS)
    return (*GROUPS, CorruptionGroup(OTHER_ENDING, f"{len(others)} other", others)) if others else GROUPS


def corruption_metrics(
    accuracies: Accuracies, baseline: Accuracies | None = None, *, mean: str = MEAN_ACCURACY
) -> dict[str, float | None]:
    """Return the metrics of all groups by name: `mean`, and with a baseline `RELATIVE_ERROR`, with its ending.

    The metrics of a group are None if one of its corruptions or severities was not measured; there is no mean of the
    rest.
    """
    groups = groups_of(accuracies)
    metrics: dict[str, float | None] = {}
    for group in groups:
        measured = is_measured(accuracies, group.names)
        metrics[f"{mean}{group.ending}"] = mean_accuracy(accuracies, group.names) if measured else None
    if baseline is None:
        return metrics
    for group in groups:
        measured = is_measured(accuracies, group.names) and is_measured(baseline, group.names)
        ratio = relative_corruption_error(accuracies, baseline, group.names) if measured else None
        metrics[f"{RELATIVE_ERROR}{group.ending}"] = ratio
    return metrics


def is_measured(accuracies: Mapping[str, Sequence[object]], names: Sequence[str]) -> bool:
    """Return True if there is a value for each of the corruptions at every severity."""
    return all(len(accuracies.get(name, ())) == len(SEVERITIES) for name in names)


def mean_accuracy(accuracies: Accuracies, names: Sequence[str] = STANDARD) -> float:
    """Return the mean over the corruptions `names` and all severities; over `STANDARD`, the mean corruption accuracy.

    Raises:
        ValueError: a name was not measured.
    """
    _check_measured(accuracies, names)
    return sum(sum(accuracies[name]) / len(accuracies[name]) for name in names) / len(names)


def relative_errors(accuracies: Accuracies, baseline: Accuracies) -> dict[str, float | None]:
    """Return by corruption the error of a method over that of the baseline, both summed over the severities.

    1 is as good as the baseline, less is better; None if the baseline makes no error.

    Raises:
        ValueError: the baseline lacks a corruption, or has other severities of it.
    """
    _check_measured(baseline, list(accuracies))
    ratios: dict[str, float | None] = {}
    for name, values in accuracies.items():
        if len(values) != len(baseline[name]):
            raise ValueError(
                f"{name} was measured at {len(values)} and {len(baseline[name])} severities. Measure the same ones."
            )
        allowed = sum(1 - value for value in baseline[name])
        ratios[name] = sum(1 - value for value in values) / allowed if allowed > 0 else None
    return ratios


def relative_corruption_error(
    accuracies: Accuracies, baseline: Accuracies, names: Sequence[str] = STANDARD
) -> float | None:
    """Return the mean of `relative_errors` over the corruptions `names`; None if one of them is None.

    The published "mCE" is this quotient with AlexNet on ImageNet as the baseline; other quotients are not called mCE.

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
            f"Accuracies were measured under {', '.join(accuracies) or 'no corruption'}, but "
            f"{', '.join(names) or 'at least one corruption'} must be among them."
        )
