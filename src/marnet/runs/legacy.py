"""Names of tensors as older versions of marnet wrote them, in the names of today."""

from collections.abc import Mapping
from typing import TypeVar

_Value = TypeVar("_Value")  # the tensor, or its shape

# The beginning of a name until 0.1, and today; the first one that fits counts.
_RENAMED = {
    "alignment.project_visual.": "branches.alignment.project.",
    "alignment.project_semantic.": "training_only.parts.alignment.project.",
    "alignment.log_scale": "training_only.parts.alignment.log_scale",
    "reconstruction.": "branches.reconstruction.",
    "fusion.text.": "training_only.parts.late_fusion.text.",
    "fusion.text_head.": "training_only.parts.late_fusion.text_head.",
    "semantics.": "training_only.semantics.",
    "text.": "training_only.text.",
    "text_head.": "training_only.parts.text_head.",
    "words.": "training_only.parts.words.",
}


def upgrade_names(state: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the tensors under the names of today; names of today come back as they are."""
    return {_upgrade(name): tensor for name, tensor in state.items()}


def _upgrade(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
