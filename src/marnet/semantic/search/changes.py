"""What has changed since a search index was written: the files of its images, their texts, which images there are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from marnet.errors import ConfigError, list_some
from marnet.semantic.search.collection import Collection
from marnet.semantic.search.index_file import StoredIndex


def describe_changes(file: Path, stored: StoredIndex, named: Collection | None) -> str:
    """Return a sentence on what an index lacks or holds too much, "" if it is up to date.

    Args:
        file: of the index.
        stored: its content.
        named: the images that the user names now; None: those of the index, wherever they are.

    Raises:
        ConfigError: none of the images that are named is in the index.
    """
    own = stored.images + stored.unreadable
    findings: list[tuple[str, list[str]]] = []
    if named is not None:
        held, present = set(own), set(named.images)
        if not held & present:
            raise ConfigError(
                f"{file} holds {len(stored.images)} images of {stored.source}, and none of the {len(named.images)} of "
                f"{named.source}. Name another `index` for these."
            )
        before = dict(zip(stored.images, stored.texts, strict=True))
        texts = zip(named.images, named.texts, strict=True)
        findings += [
            ("not in it", [image for image in named.images if image not in held]),
            (f"in it but not in {named.source}", [image for image in own if image not in present]),
            ("in it with other texts", [image for image, now in texts if now != before.get(image, now)]),
        ]
    now = Collection(own, ((),) * len(own), stored.source, stored.features).stamps()
    other, absent = (now != stored.stamps).any(1), now[:, 0] < 0
    findings += [
        ("other than before", [own[row] for row in np.flatnonzero(other & ~absent)]),
        ("gone", [own[row] for row in np.flatnonzero(other & absent)]),
    ]
    found = [_sentence(images, what) for what, images in findings if images]
    return (
        f"{file} is out of date: {'; '.join(found)}. Delete it, and the next search writes it again." if found else ""
    )


def _sentence(images: Sequence[str], what: str) -> str:
    return f"{len(images)} {'images are' if images[1:] else 'image is'} {what} ({list_some(images, most=2)})"
