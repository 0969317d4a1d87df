"""The key of a run: a hash of everything that determines it, so that no run is trained twice and none is mistaken."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from marnet.comparison.records import Placebo, RunRecord
from marnet.config import Config, TextConfig
from marnet.config.legacy import upgrade_settings
from marnet.config.nested import flatten
from marnet.errors import MarnetError
from marnet.methods import FULL, find_method
from marnet.runs.code import is_trusted

# Newer than records that lack them, which were trained as with these values.
_AS_BEFORE = {"training.class_means": "auto", "training.unlabelled": "auto"}

# Settings that do not change what a run learns; and how the source is read, for which the digest of its rows stands.
_WITHOUT_EFFECT = (
    "data.source",
    "data.missing",
    "data.unlabelled",
    "data.columns.group",
    "data.cache",
    "data.workers",
    "training.devices",
)


def learned_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run learns from, by dotted name: those that its method reads.

    If only CDR is set otherwise, the runs of `image-only` need not be repeated. All settings count if the method is
    code from outside the package that no plan of this process names, which is not imported, or cannot be imported.

    Args:
        settings: nested settings of a run, of this version or an older one.
    """
    upgraded = upgrade_settings(settings)
    flat = {
        name: value
        for name, value in flatten(upgraded).items()
        if name not in _WITHOUT_EFFECT and (name not in _AS_BEFORE or value != _AS_BEFORE[name])
    }
    if "data.features" in flat:
        flat["data.features"] = None  # their folder; the digest of the features stands for them
    name = str(upgraded.get("method", FULL))
    if not is_trusted(name):
        return flat
    try:
        method = find_method(name)
    except MarnetError:
        return flat
    read = method.settings(Config(text=TextConfig(trainable=bool(flat.get("text.trainable")))))
    names = {name for name in read if not name.endswith(".")}
    sections = tuple(name for name in read if name.endswith("."))
    return {name: value for name, value in flat.items() if name in names or name.startswith(sections)}


def run_key(
    settings: Mapping[str, Any],
    *,
    placebo: Placebo | None,
    split: str,
    label_budget: float,
    text_budget: float,
    rows: str,
    features: str = "",
    long_tail: float = 1.0,
    leave_classes_out: int = 0,
    new_class_images: Sequence[int] = (),
    keep_unlabelled: bool = False,
) -> str:
    """Return the key of a run with these nested settings on the rows, and the features if any, with these digests."""
    content: dict[str, Any] = {
        "config": learned_settings(settings),
        "placebo": placebo,
        "split": split,
        "label_budget": label_budget,
        "text_budget": text_budget,
        "rows": rows,
        **({"features": features} if features else {}),
    }
    if keep_unlabelled:
        content["keep_unlabelled"] = True
    if long_tail > 1:
        content["long_tail"] = long_tail
    if leave_classes_out:
        content |= {"leave_classes_out": leave_classes_out, "new_class_images": list(new_class_images)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def record_key(record: RunRecord) -> str:
    """Return the key of a recorded run as this version computes it, whichever version wrote the record."""
    return run_key(
        record.config,
        placebo=record.placebo,
        split=record.split,
        label_budget=record.label_budget,
        keep_unlabelled=record.keep_unlabelled,
        text_budget=record.text_budget,
        rows=record.rows_digest,
        features=record.features_digest,
        long_tail=record.long_tail,
        leave_classes_out=record.leave_classes_out,
        new_class_images=record.new_class_images,
    )
