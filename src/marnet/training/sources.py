"""The rows that a training was asked for, and the refusal where nobody named any."""

from marnet.config import DataConfig
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError


def open_named_source(data: DataConfig) -> Manifest:
    """Return the rows of `data.source`.

    Raises:
        ConfigError: no source was named.
        DataError: the source cannot be used.
    """
    if not data.source:
        raise ConfigError(
            "No data was named. Name a source with `data.source=SOURCE`: a manifest file with the columns image, text, "
            "label and split, a folder of images, grocery-store:PATH, synthetic, or another source of docs/data.md."
        )
    return open_data(data.source, data)
