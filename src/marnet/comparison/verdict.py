"""The outcome of a comparison in plain words, no more certain than its numbers."""

from collections.abc import Mapping

from marnet.comparison.arms import Roles, main_arm, placebos_of
from marnet.comparison.statistics import PairedDifference, smallest_p_value

SIGNIFICANT = 0.05

Differences = Mapping[tuple[str, str], tuple[PairedDifference | None, tuple[int, ...]]]


def describe_outcome(arms: Roles, differences: Differences, baseline: str, *, unit: str = "points") -> str:
    """Describe which arm leads in the score, by how much and with which certainty, and the contribution of the text.

    Args:
        arms: the role of each arm, in the order of the tables.
        differences: by (arm, against), the paired difference in the score as a fraction, and the seeds of the pairs.
        baseline: the arm that the main arm (`arms.main_arm`) is compared with.
        unit: of the differences in words, such as "points of mAP".
    """
    arm = main_arm(arms, baseline=baseline)
    if arm is None:
        return f"Only {baseline} has runs, so there is nothing to compare it with."
    if baseline not in arms:
        return f"{baseline} has no run, so there is nothing to compare {arm} with."
    difference, seeds = differences.get((arm, baseline), (None, ()))
    if difference is None:
        return f"{arm} and {baseline} have no seed in common, so their difference is unknown."
    words = _describe_lead(arm, baseline, difference, unit)
    placebos = placebos_of(arm, arms)
    if not placebos:
        return f"{words}. No placebo was run, so it is unknown what the text contributed."
    split_up = difference.p < SIGNIFICANT and difference.mean > 0
    same_seeds = all(differences[arm, name][1] == seeds for name in placebos)
    parts = []
    for name in placebos:
        found, _ = differences[arm, name]
        parts.append(_describe_part(arms[name].text, found, unit, whole=split_up and same_seeds))
    if split_up and same_seeds:
        shown = "its placebo shows" if len(placebos) == 1 else "the placebos show"
        return f"{words}; of that, the text accounts for {' and '.join(parts)} ({shown} the rest)."
    return f"{words}. The text contributed {' and '.join(parts)}."


def points(fraction: float, *, sign: bool = False) -> str:
    """Format a difference of fractions in percentage points, with a plus sign if `sign` is True.

    Example:
        >>> points(0.021), points(0.021, sign=True)
        ('2.1', '+2.1')
    """
    rounded = f"{100 * fraction:{'+' if sign else ''}.1f}"
    if float(rounded) == 0:
        return "0.0"
    return rounded.replace("-", "\N{MINUS SIGN}")


def format_p(p: float) -> str:
    """Format a p-value.

    Example:
        >>> format_p(0.0078125), format_p(0.3125), format_p(0.0001)
        ('0.008', '0.31', '< 0.001')
    """
    if p < 0.001:
        return "< 0.001"
    p += 1e-9  # rounds 0.0625 to 0.063, not to the even digit
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _describe_lead(arm: str, baseline: str, difference: PairedDifference, unit: str) -> str:
    evidence = _evidence(difference, seeds=True)
    mean, size = difference.mean, points(abs(difference.mean))
    if difference.p < SIGNIFICANT:
        return f"{arm} {'leads' if mean > 0 else 'trails'} {baseline} by {size} {unit} {evidence}"
    level = f"{arm} and {baseline} are level {evidence}"
    side = "ahead of" if mean > 0 else "behind"
    words = level if size == "0.0" else f"{arm} is {size} {unit} {side} {baseline} {evidence}, which may be chance"
    least = smallest_p_value(difference.n)
    if least >= SIGNIFICANT:
        runs = f"{difference.n} seed{'s' if difference.n > 1 else ''}"
        words += f". With {runs} the smallest possible two-sided p is 2/2^{difference.n} = {least:.4g}, so no "
        words += "difference could have been significant; at least 6 seeds are needed"
    return words


def _describe_part(text: str, difference: PairedDifference | None, unit: str, *, whole: bool) -> str:
    if difference is None:
        return f"an unknown part against {text} (no seed in common)"
    beyond = "" if difference.p < SIGNIFICANT else ", which may be chance"
    evidence = _evidence(difference, seeds=not whole)[:-1]
    return f"{points(difference.mean)} {unit} against {text} {evidence}{beyond})"


def _evidence(difference: PairedDifference, *, seeds: bool) -> str:
    if difference.n == 1:
        return "(one seed)"
    equals = "" if difference.p < 0.001 else "= "
    low, high = points(difference.low), points(difference.high)
    runs = f", {difference.n} seeds" if seeds else ""
    return f"(95 % interval {low} to {high}, p {equals}{format_p(difference.p)}{runs})"
