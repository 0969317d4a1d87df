"""`marnet data download`: published data sets, fetched, checked and unpacked into the layout that the sources read."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from marnet.data.tools.download.archives import holds_all, unpack
from marnet.data.tools.download.transfer import Remote, fetch, has_checksum
from marnet.errors import DataError, suggest


class Archive(NamedTuple):
    """One file of a data set, and the folder that it becomes."""

    url: str  # "" where it has no address that is known to last
    file: str  # its name where it is put by hand
    checksum: str  # "md5:..." or "sha256:...", "" where none is published
    folder: str  # below the folder that the user names
    holds: tuple[str, ...]  # paths below `folder` by which it is known


class DataSet(NamedTuple):
    """A published data set: its archives, and the source that reads them."""

    archives: tuple[Archive, ...]
    page: str  # where people read about it
    source: str  # to train on; {folder} is the folder that the user names


class Downloaded(NamedTuple):
    """A data set that is there."""

    source: str  # to train on, for `data.source`
    notes: tuple[str, ...]


# The address and the checksum are those of torchvision.datasets.Food101.
_FOOD_101 = Archive(
    url="http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
    file="food-101.tar.gz",
    checksum="md5:85eeb15f3717b99a5da872d97d918f87",
    folder="food-101",
    holds=("images", "meta"),
)
# The authors give their archive neither a checksum nor an address that is known to last: a page links to it.
_INGREDIENT_101 = Archive(
    url="", file="ingredients101.zip", checksum="", folder="Annotations", holds=("classes.txt", "train_images.txt")
)
# GitHub packs this archive anew on demand, so it has no checksum.
_GROCERY_STORE = Archive(
    url="https://github.com/marcusklasson/GroceryStoreDataset/archive/refs/heads/master.zip",
    file="GroceryStoreDataset.zip",
    checksum="",
    folder="GroceryStoreDataset",
    holds=("dataset/classes.csv", "dataset/train.txt"),
)

DATA_SETS: Mapping[str, DataSet] = {
    "food-101": DataSet(
        (_FOOD_101,),
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        "imagefolder:{folder}/food-101/images",
    ),
    "grocery-store": DataSet(
        (_GROCERY_STORE,),
        "https://github.com/marcusklasson/GroceryStoreDataset",
        "grocery-store:{folder}/GroceryStoreDataset",
    ),
    # The small file first, so that what is missing shows before five gigabytes are fetched.
    "ingredient-101": DataSet(
        (_INGREDIENT_101, _FOOD_101), "http://www.ub.edu/cvub/ingredients101/", "ingredient-101:{folder}"
    ),
}


def download(
    name: str, folder: Path, *, url: str | None = None, data_sets: Mapping[str, DataSet] = DATA_SETS
) -> Downloaded:
    """Fetch and unpack a data set; what is there already is left as it is.

    Args:
        name: one of `data_sets`.
        folder: where it goes; archives that were put there by hand are used instead of the network.
        url: another address of the data set's first archive; its checksum stays in force.
        data_sets: what can be fetched.

    Raises:
        DataError: the name is unknown, or see `fetch` and `unpack`.
    """
    if name not in data_sets:
        raise DataError(
            f"No data set {name!r} can be fetched.{suggest(name, data_sets)} Expected {', '.join(data_sets)}. "
            f"Vireo Food-172 is available at http://vireo.cs.cityu.edu.hk/VireoFood172/; docs/data.md shows the layout."
        )
    chosen = data_sets[name]
    first = chosen.archives[0]._replace(url=url) if url else chosen.archives[0]
    notes = []
    for archive in (first, *chosen.archives[1:]):
        notes += _get(archive, folder, chosen.page)
    return Downloaded(chosen.source.format(folder=folder), tuple(notes))


def _get(archive: Archive, folder: Path, page: str) -> list[str]:
    target, file = folder / archive.folder, folder / archive.file
    if target.exists():
        if holds_all(target, archive.holds):
            return [f"{target} is there already."]
        raise DataError(
            f"{target} exists but does not hold {', '.join(archive.holds)}. Move it away, so that a whole copy can "
            f"take its place."
        )
    if file.is_file():
        if archive.checksum and not has_checksum(file, archive.checksum):
            raise DataError(
                f"{file} has another checksum than the published one, {archive.checksum}: it is cut short or another "
                f"release. Remove it; it is fetched anew then."
            )
        unpack(file, target, holds=archive.holds)
        return [f"{file} was there: unpacked it to {target}.", *_unchecked(archive, file)]
    by_hand = (
        f"By hand: get the file from {page} and put it at {file}, or unpack it to {target}, and run the command again."
    )
    if not archive.url:
        raise DataError(
            f"{archive.file} has no address that is known to last: {page} links to it. Give that link as `url`. "
            f"{by_hand}"
        )
    if not archive.url.startswith(("http://", "https://")):
        raise DataError(f"The address {archive.url!r} does not begin with https:// or http://. Give one that does.")
    fetch(Remote(archive.url, archive.checksum, by_hand), file)
    unpack(file, target, holds=archive.holds)
    notes = [f"{archive.url} was fetched and unpacked to {target}.", *_unchecked(archive, file)]
    file.unlink()
    return notes


def _unchecked(archive: Archive, file: Path) -> list[str]:
    if archive.checksum:
        return []
    return [f"No checksum of {file.name} is published: it was checked by the files it holds, not byte by byte."]
