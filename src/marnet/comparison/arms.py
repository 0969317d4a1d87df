"""The arms of a comparison: those that marnet knows by name, and what each is to the others.

An arm is a placebo because its record says so; it is the placebo of the arm that is set up the same but for its text.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from marnet.choices import Method
from marnet.comparison.flat_settings import learned_from
from marnet.comparison.records import Placebo, RunRecord
from marnet.config import METHODS, make_config

# The order of tables and legends; arms that are not named here follow in the order of the alphabet.
ORDER = ("image-only", "match", "regress", "reconstruct", "marnet", "multitask", "late-fusion")
PLACEBOS: Mapping[Placebo, str] = {"shuffled": "shuffled text", "random": "random text"}

RANDOM_TEXT = "random:"  # before the name of a text encoder: see `marnet.encoders.random_text`
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

RIVALS = tuple(name for name in METHODS if name not in ABLATIONS)  # other methods that learn from text


class KnownArm(NamedTuple):
    """A method with what sets the arm apart from it."""

    method: Method
    placebo: Placebo | None = None
    settings: Mapping[str, Any] = {}  # nested settings of a configuration


def _known_arms() -> dict[str, KnownArm]:
    arms: dict[str, KnownArm] = {}
    for name in METHODS:
        config = make_config({"method": name})
        arms[name] = KnownArm(config.method)
        if config.needs_text:
            arms[f"{name}-shuffled"] = KnownArm(config.method, "shuffled")
            arms[f"{name}-random"] = KnownArm(config.method, "random")
    # Table 2 of the paper; its rows without EMA and without CDR are the methods reconstruct and match.
    arms["marnet-no-mse"] = KnownArm("marnet", settings={"losses": {"reconstruction": 0.0, "guess": 0.0}})
    arms["marnet-no-semantic"] = KnownArm("marnet", settings={"losses": {"semantic": 0.0}})
    return arms


KNOWN_ARMS = _known_arms()


class Standing(NamedTuple):
    """What an arm is among the others."""

    kind: Literal["method", "placebo", "ablation"] = "method"
    of: str | None = None  # the arm it is a placebo or an ablation of; None for a method, or where that has no run
    placebo: Placebo | None = None

    @property
    def text(self) -> str:
        """What a placebo's text is, such as "shuffled text"; "" for what is no placebo."""
        return "" if self.placebo is None else PLACEBOS[self.placebo]


Standings = Mapping[str, Standing]


def find_standings(records: Mapping[str, RunRecord]) -> dict[str, Standing]:
    """What each arm is, by name, of one record of each."""
    treated = {_setup(record): arm for arm, record in records.items() if record.placebo is None}
    found: dict[str, Standing] = {}
    for arm, record in records.items():
        if record.placebo is not None:
            found[arm] = Standing("placebo", treated.get(_setup(record)), record.placebo)
        elif arm in ABLATIONS and arm not in ORDER:
            found[arm] = Standing("ablation", FULL if FULL in records else None)
        else:
            found[arm] = Standing()
    return found


def placebos_of(arm: str, standings: Standings) -> list[str]:
    """The placebos of an arm, in the order of `standings`."""
    return [name for name, found in standings.items() if found.kind == "placebo" and found.of == arm]


def in_order(standings: Standings, *, baseline: str) -> list[str]:
    """The names: the baseline, the methods, their placebos and ablations, and the rest."""

    def key(arm: str) -> tuple[bool, bool, int, str]:
        place = ORDER.index(arm) if arm in ORDER else len(ORDER)
        return arm != baseline, standings[arm].kind != "method", place, arm

    return sorted(standings, key=key)


def main_arm(standings: Standings, *, baseline: str) -> str | None:
    """The arm that a comparison is about: marnet, or else the last method beside the baseline; None without one."""
    ordered = in_order(standings, baseline=baseline)
    methods = [arm for arm in ordered if arm != baseline and standings[arm].kind == "method"]
    return FULL if FULL in methods else methods[-1] if methods else None


def _setup(record: RunRecord) -> str:
    """All that the run learned from but for the seed and what a placebo does to the text."""
    settings = learned_from(record.config)
    settings.pop("training.seed", None)
    settings["text.name"] = str(settings.get("text.name", "")).removeprefix(RANDOM_TEXT)
    return repr(sorted(settings.items()))
