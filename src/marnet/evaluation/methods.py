"""The arms that a comparison can name: every method, its placebos, and the ablations of marnet."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from marnet.config import METHODS, Method, make_config

Placebo = Literal["shuffled", "random"]


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
