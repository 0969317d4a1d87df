"""New classes in a table: one row per class with its name, a text and images."""

from pathlib import Path

from marnet.data.image_paths import image_path
from marnet.data.sources.folder_files import images_below
from marnet.data.sources.listings import is_image
from marnet.data.tables import read_table
from marnet.errors import DataError
from marnet.semantic.classes.adding import NewClass

_NAME, _TEXT, _IMAGES = "name", "text", "images"


def read_class_table(path: Path) -> list[NewClass]:
    """Read new classes from a CSV, JSONL or Parquet file with the columns name, and text, images or both.

    `images` names an image, or a folder with images, relative to the table. A cell of either may be blank.

    Raises:
        DataError: the table cannot be read, a name is missing, or there is no image where one is named.
    """
    table = read_table(path, (_NAME, _TEXT, _IMAGES), missing=())
    names, texts, places = (table.columns.get(column) or [] for column in (_NAME, _TEXT, _IMAGES))
    if not names or not (texts or places):
        raise DataError(
            f"{table.name} must have the columns {_NAME!r}, and {_TEXT!r} or {_IMAGES!r} or both, with a row per "
            f"class. Rename its columns."
        )
    blank = [row for row, name in enumerate(names) if not name]
    if blank:
        raise DataError(f"{table.name} has a blank {_NAME!r} in {table.where(blank)}. Name the class there.")
    folder = path.parent.absolute()
    nothing = [""] * len(names)
    return [
        NewClass(name, text or None, tuple(find_images(image_path(folder, place))) if place else ())
        for name, text, place in zip(names, texts or nothing, places or nothing, strict=True)
    ]


def find_images(place: Path | str) -> list[str]:
    """Return an image, or all images below a folder.

    Raises:
        DataError: there is none.
    """
    place = Path(place)
    if place.is_file() and is_image(place.name):
        return [str(place)]
    found = images_below(place) if place.is_dir() else []
    if not found:
        reason = "holds no image" if place.is_dir() else "is no image" if place.exists() else "does not exist"
        raise DataError(f"{place} {reason}. Name an image, or a folder with images.")
    return found
