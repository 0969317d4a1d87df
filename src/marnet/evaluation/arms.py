"""What the names of a comparison's arms mean: the order they are shown in, placebos and ablations."""

from collections.abc import Iterable

# The order of tables and legends; arms that are not named here follow in the order of the alphabet.
ORDER = ("image-only", "match", "regress", "reconstruct", "marnet", "multitask", "late-fusion")
PLACEBOS = {"shuffled": "shuffled text", "random": "random text"}  # by the end of the arm's name

FULL = "marnet"

# Table 2 of the paper: what each row leaves out of the full method.
ABLATIONS = {
    "marnet": "nothing (EMA + CDR)",
    "reconstruct": "EMA",
    "match": "CDR",
    "marnet-no-mse": "MSE in CDR",
    "marnet-no-semantic": "cross-entropy in CDR",
    "image-only": "EMA and CDR (the backbone)",
}


def placebo_of(arm: str) -> str | None:
    """The arm that this one is the placebo of, such as "marnet" of "marnet-shuffled"; None if it is no placebo."""
    method, separator, kind = arm.rpartition("-")
    return method if separator and kind in PLACEBOS else None


def placebo_kind(arm: str) -> str:
    """What a placebo's text is, such as "shuffled text"."""
    return PLACEBOS[arm.rpartition("-")[2]]


def is_variant(arm: str) -> bool:
    """Whether an arm is a placebo or an ablation of another method, and not a method of its own."""
    return placebo_of(arm) is not None or (arm in ABLATIONS and arm not in ORDER)


def in_order(arms: Iterable[str], *, baseline: str) -> list[str]:
    """The names without repeats: the baseline, the methods, their placebos and ablations, and the rest."""

    def key(arm: str) -> tuple[bool, bool, int, str]:
        return arm != baseline, is_variant(arm), ORDER.index(arm) if arm in ORDER else len(ORDER), arm

    return sorted(set(arms), key=key)


def main_arm(arms: Iterable[str], *, baseline: str) -> str | None:
    """The arm that a comparison is about: marnet, or else the last method beside the baseline; None without one."""
    methods = [arm for arm in in_order(arms, baseline=baseline) if arm != baseline and not is_variant(arm)]
    return FULL if FULL in methods else methods[-1] if methods else None
