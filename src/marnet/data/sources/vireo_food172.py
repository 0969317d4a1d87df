"""The source `vireo-food172:PATH`: Vireo Food-172 (Chen and Ngo, 2016), each image with its own ingredients."""

from collections import Counter
from pathlib import Path

from marnet.data.manifest import Manifest, Record
from marnet.data.sources.listings import class_and_file, disk_notes, read_lines, read_names, shared_notes
from marnet.errors import DataError, list_some

_NAME = "vireo-food172"
_IMAGES = "ready_chinese_food"
_LISTS = "SplitAndIngreLabel"
_SPLIT_FILES = {"train": "TR.txt", "val": "VAL.txt", "test": "TE.txt"}
_FLAGS = frozenset({"-1", "0", "1"})


def read_vireo_food172(path: Path) -> Manifest:
    """Read the 172 dishes; an image's text is the comma list of the ingredients it shows.

    Args:
        path: the folder that holds `ready_chinese_food` and `SplitAndIngreLabel`, or the folder above it.

    Raises:
        DataError: the folder has another layout, or a file in it is damaged; the message names file and line.
    """
    lists, images = _find(path, _LISTS).resolve(), _find(path, _IMAGES).resolve()
    source = f"{_NAME}:{path}"
    foods, notes = _unique(read_names(_NAME, lists / "FoodList.txt", what="food"), source)
    present = {split: lists / file for split, file in _SPLIT_FILES.items() if (lists / file).is_file()}
    if not present:
        raise DataError(
            f"{_NAME}: {lists} holds none of {', '.join(_SPLIT_FILES.values())}. It must hold at least TR.txt, "
            f"with one line '/<class>/<name>.jpg' per image."
        )
    notes += [
        f"{source} has no {file}: split {split!r} is empty."
        for split, file in _SPLIT_FILES.items()
        if split not in present
    ]
    texts = _read_texts(lists / "IngreLabel.txt", _read_ingredients(lists / "IngredientList.txt"))
    rows = [(split, *row) for split, file in present.items() for row in _read_split(file, len(foods))]
    rows = list(dict.fromkeys(rows))  # an image that a list names twice is one image
    records = tuple(
        Record(f"{images}/{name}", texts.get(name, ""), foods[number - 1], split) for split, name, number in rows
    )
    listed = list(dict.fromkeys(name for _, name, _ in rows))
    unlabelled = [name for name in listed if name not in texts]
    if unlabelled:
        notes.append(
            f"{source}: images without a line in IngreLabel.txt: {len(unlabelled)}, such as {unlabelled[0]}; "
            f"their texts are blank."
        )
    notes += shared_notes(source, ((name, split) for split, name, _ in rows)) + disk_notes(source, listed, images)
    used = {record.label for record in records}
    return Manifest(records, tuple(name for name in foods if name in used), source, tuple(notes))


def _find(path: Path, name: str) -> Path:
    if not path.is_dir():
        raise DataError(f"{_NAME}: {path} is not a folder. Name the one that holds {_IMAGES} and {_LISTS}.")
    for folder in (path, *sorted(each for each in path.iterdir() if each.is_dir())):
        if (folder / name).is_dir():
            return folder / name
    raise DataError(
        f"{_NAME}: {path} has no folder {name}. It must hold both {_IMAGES} (the images) and {_LISTS} (splits "
        f"and ingredients), each unpacked from its own archive, side by side."
    )


def _unique(foods: list[str], source: str) -> tuple[list[str], list[str]]:
    """Tell classes of one name apart by their number, because a label is known by its name."""
    counts = Counter(foods)
    shared = sorted(name for name in counts if counts[name] > 1)
    names = [f"{name} ({number})" if counts[name] > 1 else name for number, name in enumerate(foods, start=1)]
    if not shared:
        return names, []
    return names, [f"{source} has several classes with the name {list_some(shared)}; their number is added to it."]


def _read_ingredients(file: Path) -> list[str]:
    # A comma separates the ingredients of a text, so none may stand inside one.
    return [" ".join(name.replace(",", " ").split()) for name in read_names(_NAME, file, what="ingredient")]


def _read_texts(file: Path, ingredients: list[str]) -> dict[str, str]:
    """Return the text of each image, known by `class/name`."""
    texts = {}
    for number, line in enumerate(read_lines(_NAME, file), start=1):
        if not line:
            continue
        path, *flags = line.split()
        name = class_and_file(path)
        if name is None or len(flags) != len(ingredients) or not _FLAGS.issuperset(flags):
            raise DataError(f"{_NAME}: {file}, line {number}: {_fault(path, flags, len(ingredients))}")
        texts["/".join(name)] = ", ".join(
            dict.fromkeys(ingredient for ingredient, flag in zip(ingredients, flags, strict=True) if flag == "1")
        )
    return texts


def _fault(path: str, flags: list[str], expected: int) -> str:
    if class_and_file(path) is None:
        return f"found the path {path!r}. Expected '/<class>/<name>.jpg'."
    if len(flags) != expected:
        return (
            f"found {len(flags)} flags after {path!r}. Expected {expected}, one per line of IngredientList.txt. One "
            f"of the two files is cut short or of another release."
        )
    other = next(flag for flag in flags if flag not in _FLAGS)
    return f"found the flag {other!r}. Expected -1, 0 or 1; 1 means that the ingredient is present."


def _read_split(file: Path, classes: int) -> list[tuple[str, int]]:
    """Return each image as `class/name` with the number of its class, from 1."""
    rows = []
    for number, line in enumerate(read_lines(_NAME, file), start=1):
        if not line:
            continue
        found = class_and_file(line)
        if found is None or not found[0].isdecimal() or not 1 <= int(found[0]) <= classes:
            raise DataError(
                f"{_NAME}: {file}, line {number}: found {line!r}. Expected '/<class>/<name>.jpg' with a class from 1 "
                f"to {classes}, the number of lines of FoodList.txt."
            )
        rows.append(("/".join(found), int(found[0])))
    return rows
