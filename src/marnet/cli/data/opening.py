"""From the arguments that the data commands share to a manifest."""

from typing import TYPE_CHECKING

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
