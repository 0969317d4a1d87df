"""The arms of a comparison: those that marnet knows by name, and their roles.

An arm is a placebo because its record says so; it is the placebo of the arm that is set up the same but for its text.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from marnet.comparison.keys import learned_settings
from marnet.comparison.records import Placebo, RunRecord
from marnet.methods import FULL, built_in_methods

# The order of tables and legends; other arms follow in alphabetical order.
ORDER = tuple(built_in_methods())
PLACEBOS: Mapping[Placebo, str] = {"shuffled": "shuffled text", "random": "random text", "constant": "one text for all"}

RANDOM_TEXT = "random:"  # before the name of a text encoder: see `marnet.encoders.random_text`


class KnownArm(NamedTuple):
    """A method, and the difference of the arm from it."""

    method: str
    placebo: Placebo | None = None
    settings: Mapping[str, Any] = {}  # nested settings of a configuration
    leaves_out: str = ""  # of the full method, for an ablation


def _known_arms() -> dict[str, KnownArm]:
    arms: dict[str, KnownArm] = {}
    for name, method in built_in_methods().items():
        arms[name] = KnownArm(name, leaves_out=method.leaves_out)
        if method.needs_text:
            for placebo in PLACEBOS:
                arms[f"{name}-{placebo}"] = KnownArm(name, placebo)
    # Table 2 of the paper; its rows without EMA and without CDR are the methods reconstruct and match.
    no_mse = {"losses": {"reconstruction": 0.0, "linear_head": 0.0}}
    arms["marnet-no-mse"] = KnownArm(FULL, settings=no_mse, leaves_out="MSE in CDR")
    no_semantic = {"losses": {"semantic": 0.0}}
    arms["marnet-no-semantic"] = KnownArm(FULL, settings=no_semantic, leaves_out="cross-entropy in CDR")
    return arms


KNOWN_ARMS = _known_arms()

# Table 2 of the paper: the thing that each row leaves out of the full method, the row that leaves out most last.
_TABLE_2 = (FULL, "reconstruct", "match", "marnet-no-mse", "marnet-no-semantic", "image-only")
ABLATIONS = {name: KNOWN_ARMS[name].leaves_out for name in _TABLE_2}

# Other methods that learn from text, to compare the full method with.
BASELINES = tuple(name for name, method in built_in_methods().items() if not method.leaves_out)


class Role(NamedTuple):
    """The role of an arm among the others."""

    kind: Literal["method", "placebo", "ablation"] = "method"
    of: str | None = (
        None  # the arm of which it is a placebo or an ablation; None for a method, or if that arm has no run
    )
    placebo: Placebo | None = None

    @property
    def text(self) -> str:
        """The text of a placebo, such as "shuffled text"; "" for other roles."""
        return "" if self.placebo is None else PLACEBOS[self.placebo]


Roles = Mapping[str, Role]


def find_roles(records: Mapping[str, RunRecord]) -> dict[str, Role]:
    """Return the role of each arm by name, from one record of each."""
    treated = {_setup(record): arm for arm, record in records.items() if record.placebo is None}
    found: dict[str, Role] = {}
    for arm, record in records.items():
        if record.placebo is not None:
            found[arm] = Role("placebo", treated.get(_setup(record)), record.placebo)
        elif arm in ABLATIONS and arm not in ORDER:
            found[arm] = Role("ablation", FULL if FULL in records else None)
        else:
            found[arm] = Role()
    return found


def placebos_of(arm: str, roles: Roles) -> list[str]:
    """Return the placebos of an arm, in the order of `roles`."""
    return [name for name, found in roles.items() if found.kind == "placebo" and found.of == arm]


def in_order(roles: Roles, *, baseline: str) -> list[str]:
    """Return the names in order: the baseline, the methods, their placebos and ablations, and the rest."""

    def key(arm: str) -> tuple[bool, bool, int, str]:
        place = ORDER.index(arm) if arm in ORDER else len(ORDER)
        return arm != baseline, roles[arm].kind != "method", place, arm

    return sorted(roles, key=key)


def main_arm(roles: Roles, *, baseline: str) -> str | None:
    """Return the main arm of a comparison: marnet, or else the last method but the baseline; None without one."""
    ordered = in_order(roles, baseline=baseline)
    methods = [arm for arm in ordered if arm != baseline and roles[arm].kind == "method"]
    return FULL if FULL in methods else methods[-1] if methods else None


def _setup(record: RunRecord) -> str:
    """Return everything that the run learned from, except for the seed and the change of a placebo to the text."""
    settings = learned_settings(record.config)
    settings.pop("training.seed", None)
    settings["text.name"] = str(settings.get("text.name", "")).removeprefix(RANDOM_TEXT)
    return repr(sorted(settings.items()))
