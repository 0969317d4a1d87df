"""From the arguments that the data commands share to a manifest, and from results to JSON."""

from typing import TYPE_CHECKING, Any

from marnet.cli.flags import settings_from_flags

if TYPE_CHECKING:
    from marnet.config import DataConfig
    from marnet.data.manifest import Manifest


def data_settings(command: str, source: str, labels: str | None, sets: list[str] | None) -> "DataConfig":
    """Return the settings of the data that a command was given."""
    from marnet.config import make_config

    typed = {"SOURCE": source, "--labels": labels}
    return make_config(settings_from_flags(command, typed), sets=sets or []).data


def open_manifest(command: str, source: str, labels: str | None, sets: list[str] | None) -> "Manifest":
    """Return the rows of the source that a command was given."""
    from marnet.data.sources import open_data

    return open_data(source, data_settings(command, source, labels, sets))


def as_json_value(value: Any) -> Any:
    """Return NamedTuples as dicts and tuples as lists, down to the leaves."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: as_json_value(each) for key, each in value.items()}
    return [as_json_value(each) for each in value] if isinstance(value, list | tuple) else value
