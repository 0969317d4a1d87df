"""The source `ingredient-101:PATH`: Ingredients101 (Bolaños et al., 2017), Food-101 with ingredients for each class."""

from collections.abc import Iterator
from pathlib import Path

from marnet.data.manifest import Manifest, Record
from marnet.data.sources.listings import class_and_file, disk_notes, read_lines, read_names, shared_notes
from marnet.data.splits import SPLITS
from marnet.errors import DataError, suggest

_NAME = "ingredient-101"
INGREDIENT_FILES = {"simplified": "ingredients_simplified.txt", "raw": "ingredients.txt"}


def read_ingredient_101(path: Path, *, ingredients: str = "simplified", images: Path | None = None) -> Manifest:
    """Read the 101 dishes; the text of an image is the comma list of its class's ingredients.

    Args:
        path: a folder with `Annotations` (or `annotations`) and Food-101's `images`, each in it or one level below.
        ingredients: "simplified" or "raw", which of the two published lists.
        images: the folder with one folder of images per class, if it lies elsewhere.

    Raises:
        DataError: the folder has another layout, or a file in it is damaged; the message names file and line.
    """
    annotations = _find_annotations(path).resolve()
    source = f"{_NAME}:{path}" + (f",ingredients={ingredients}" if ingredients != "simplified" else "")
    classes = read_names(_NAME, annotations / "classes.txt", what="class")
    _refuse_repeated(annotations / "classes.txt", classes)
    folder = _find_images(path, images, classes).resolve()
    texts = _read_texts(annotations, ingredients, classes)
    present = [split for split in SPLITS if (annotations / f"{split}_images.txt").is_file()]
    if not present:
        raise DataError(
            f"{_NAME}: {annotations} holds none of train_images.txt, val_images.txt, test_images.txt. It must hold "
            f"at least train_images.txt, with one line '<class>/<id>' per image."
        )
    notes = [
        f"{source} has no {split}_images.txt: split {split!r} is empty." for split in SPLITS if split not in present
    ]
    notes += [f"{source} has no ingredients of {name!r}." for name in classes if not texts[name]]
    rows = list(dict.fromkeys((split, *row) for split in present for row in _read_split(annotations, split, classes)))
    records = tuple(Record(f"{folder}/{name}", texts[label], label, split) for split, name, label in rows)
    listed = list(dict.fromkeys(name for _, name, _ in rows))
    notes += shared_notes(source, ((name, split) for split, name, _ in rows)) + disk_notes(source, listed, folder)
    used = {record.label for record in records}
    return Manifest(records, tuple(name for name in classes if name in used), source, tuple(notes))


def _find_annotations(path: Path) -> Path:
    for folder in _folders(path, levels=1):
        for candidate in (folder / "Annotations", folder / "annotations", folder):
            if (candidate / "classes.txt").is_file():
                return candidate
    raise DataError(
        f"{_NAME}: {path} is no copy of Ingredient-101: found no classes.txt in it, nor in Annotations or annotations "
        f"in it or one level below. Get the annotations from http://www.ub.edu/cvub/ingredients101/."
    )


def _find_images(path: Path, given: Path | None, classes: list[str]) -> Path:
    candidates = [given] if given else [folder / "images" for folder in _folders(path, levels=2)]
    for candidate in candidates:
        if any((candidate / name).is_dir() for name in classes):
            return candidate
    where = (
        f"{given} has no folder for any class" if given else f"{path} has no folder 'images' with one for each class"
    )
    raise DataError(
        f"{_NAME}: {where}, such as {classes[0]!r}. The images are those of Food-101: run 'marnet data download "
        f"food-101 {path}', or name their folder with {_NAME}:{path},images=FOLDER."
    )


def _folders(path: Path, *, levels: int) -> Iterator[Path]:
    """Return the folder itself and those below it, level by level."""
    if not path.is_dir():
        raise DataError(f"{_NAME}: {path} is not a folder. Name the one that holds Annotations and Food-101's images.")
    level = [path]
    for _ in range(levels + 1):
        yield from level
        # Not into `images`: its 101 folders hold nothing that is looked for.
        level = [
            each for folder in level for each in sorted(folder.iterdir()) if each.is_dir() and folder.name != "images"
        ]


def _refuse_repeated(file: Path, classes: list[str]) -> None:
    for line, name in enumerate(classes, start=1):
        if name in classes[: line - 1]:
            raise DataError(
                f"{_NAME}: {file}, line {line}: the class {name!r} stands in line {classes.index(name) + 1} already."
            )


def _read_texts(annotations: Path, ingredients: str, classes: list[str]) -> dict[str, str]:
    if ingredients not in INGREDIENT_FILES:
        raise DataError(
            f"{_NAME}: found ingredients={ingredients}. Expected {' or '.join(INGREDIENT_FILES)}."
            f"{suggest(ingredients, INGREDIENT_FILES)}"
        )
    file = annotations / INGREDIENT_FILES[ingredients]
    if not file.is_file():
        other = next((name for name, each in INGREDIENT_FILES.items() if (annotations / each).is_file()), None)
        hint = f" The other list is there: {_NAME}:PATH,ingredients={other}." if other else ""
        raise DataError(f"{_NAME}: {annotations} has no {file.name}, a comma list for each line of classes.txt.{hint}")
    lines = read_lines(_NAME, file)
    if len(lines) != len(classes):
        raise DataError(
            f"{_NAME}: {file} has {len(lines)} lines and classes.txt {len(classes)}. There must be one line of "
            f"ingredients per class. One of the two files is cut short."
        )
    return {name: _comma_list(line) for name, line in zip(classes, lines, strict=True)}


def _comma_list(line: str) -> str:
    parts = (" ".join(part.split()) for part in line.split(","))
    return ", ".join(dict.fromkeys(part for part in parts if part))


def _read_split(annotations: Path, split: str, classes: list[str]) -> list[tuple[str, str]]:
    """Return each image as `class/id.jpg` with its class."""
    file = annotations / f"{split}_images.txt"
    known = set(classes)
    rows, lines = [], []
    for number, line in enumerate(read_lines(_NAME, file), start=1):
        if not line:
            continue
        found = class_and_file(line)
        if found is None or found[0] not in known:
            near = suggest(found[0], classes) if found else ""
            raise DataError(
                f"{_NAME}: {file}, line {number}: found {line!r}. Expected '<class>/<id>' with a class of "
                f"classes.txt.{near}"
            )
        label, name = found
        rows.append((f"{label}/{name if name.lower().endswith('.jpg') else f'{name}.jpg'}", label))
        lines.append(number)
    _check_labels(annotations / f"{split}_labels.txt", file, [label for _, label in rows], lines, classes)
    return rows


def _check_labels(file: Path, images: Path, labels: list[str], lines: list[int], classes: list[str]) -> None:
    """Refuse a file of labels that contradicts the folders of the images, which name their classes."""
    if not file.is_file():
        return
    found = [(number, line) for number, line in enumerate(read_lines(_NAME, file), start=1) if line]
    if len(found) != len(labels):
        raise DataError(
            f"{_NAME}: {file} has {len(found)} labels and {images.name} {len(labels)} images. There must be one "
            f"label per image. One of the two files is cut short."
        )
    numbers = {name: index for index, name in enumerate(classes)}
    wrong = next(((number, line) for number, line in found if not line.isdecimal()), None)
    if wrong:
        raise DataError(f"{_NAME}: {file}, line {wrong[0]}: found {wrong[1]!r}. Expected the number of a class.")
    # Copies count the classes from 0 or from 1; either will do, as long as it is the same throughout.
    first = {int(line) - numbers[label] for (_, line), label in zip(found[:1], labels[:1], strict=True)}
    base = 1 if first == {1} else 0
    for (number, line), label, image_line in zip(found, labels, lines, strict=True):
        if int(line) - base != numbers[label]:
            raise DataError(
                f"{_NAME}: {file}, line {number}: found {line}. Expected {numbers[label] + base}, the number of "
                f"{label!r}, which {images.name} names in line {image_line}. The two files do not belong together."
            )
