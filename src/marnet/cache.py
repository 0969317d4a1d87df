"""The cache folder, which holds only files that marnet can make again."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """Return `$MARNET_CACHE` if it is set, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("MARNET_CACHE") or platformdirs.user_cache_dir("marnet"))
