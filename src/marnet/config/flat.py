"""The settings of a configuration under dotted names."""

from typing import Any

from pydantic import BaseModel


def flat_settings(section: BaseModel, *, only_given: bool = False, prefix: str = "") -> dict[str, Any]:
    """Return the settings of a section and of the sections in it, in their order, such as "training.lr".

    Args:
        section: a configuration or a part of it.
        only_given: leave out what nobody set, so that it has its default.
        prefix: stands before every name.
    """
    flat: dict[str, Any] = {}
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            flat |= flat_settings(value, only_given=only_given, prefix=f"{prefix}{key}.")
        elif not only_given or key in section.model_fields_set:
            flat[f"{prefix}{key}"] = value
    return flat
