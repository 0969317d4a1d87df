"""new_classes.json and new_classes.safetensors of a run: classes that were added after training.

```json
{
  "classes": [{"name": "blood orange", "text": "A small orange with red flesh.", "images": 0}, ...],
  "confidences": [0.31, ...]
}
```

`text` is null for a class that was made from images alone; `images` counts those that it was made from. `confidences`
are the probabilities of the most probable class for held-out images of trained classes, in ascending order. The tensors
are those of `marnet.modules.new_classes.NewClasses`, and the features of the images, by which further classes can be
added later.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json
from marnet.modules.new_classes import NewClasses
from marnet.runs.layout import NEW_CLASSES, NEW_CLASSES_WEIGHTS, WEIGHTS
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors

_HEAD = "heads.visual.weight"  # among the weights of the model, (C, D_v)
_WAY_OUT = "Restore it, or remove both files to have the trained classes alone."


class AddedClass(NamedTuple):
    """A class that was added after training."""

    name: str
    text: str | None
    images: int


class AddedClasses(NamedTuple):
    """The classes that were added to a run, in the order of their logits."""

    classes: tuple[AddedClass, ...]
    module: NewClasses
    features: Tensor  # (images of all of them, D_v), in their order
    confidences: tuple[float, ...]


def write_new_classes(run: Path, added: AddedClasses) -> None:
    """Write both files; without classes, remove them."""
    if not added.classes:
        remove_new_classes(run)
        return
    with replacing(run / NEW_CLASSES_WEIGHTS) as partial:
        tensors = dict(added.module.named_buffers()) | {"features": added.features}
        save_tensors(partial, {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, {})
    content = {"classes": [each._asdict() for each in added.classes], "confidences": list(added.confidences)}
    write_json(run / NEW_CLASSES, content)


def remove_new_classes(run: Path) -> None:
    """Remove both files, which were made for other weights or have no classes left."""
    (run / NEW_CLASSES).unlink(missing_ok=True)
    (run / NEW_CLASSES_WEIGHTS).unlink(missing_ok=True)


def read_new_classes(run: Path, classes: Sequence[str]) -> AddedClasses | None:
    """Read the classes that were added to a run; None if there are none.

    Args:
        run: the run directory.
        classes: the classes that it was trained for.

    Raises:
        RunDirectoryError: a file is missing or damaged, or does not fit the run.
    """
    path = run / NEW_CLASSES
    if not path.exists():
        return None
    content = read_json(path)
    try:
        added = tuple(AddedClass(**each) for each in content["classes"])
        confidences = tuple(float(each) for each in content["confidences"])
        names = [*classes, *(each.name for each in added)]
        sound = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or not added:
        raise RunDirectoryError(f"{path} is damaged: a key is missing, or a name is. {_WAY_OUT}")
    weights = run / NEW_CLASSES_WEIGHTS
    shapes = read_header(weights, way_out=_WAY_OUT).shapes
    width = read_header(run / WEIGHTS).shapes.get(_HEAD, (0, 0))[-1]
    span = (shapes.get("projection") or (0, 0))[-1]
    needed = {
        "centre": (width,),
        "projection": (width, span),
        "trained": (len(classes), span),
        "new": (len(added), span),
        "scale": (len(added),),
        "bias": (len(added),),
        "features": (sum(each.images for each in added), width),
    }
    if shapes != needed:
        raise RunDirectoryError(
            f"{weights} has tensors of the shapes {shapes}, but the run and {NEW_CLASSES} need {needed}. {_WAY_OUT}"
        )
    tensors: dict[str, Tensor] = load_tensors(weights, way_out=_WAY_OUT)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise RunDirectoryError(f"{weights} holds NaN or infinite numbers. {_WAY_OUT}")
    features = tensors.pop("features")
    return AddedClasses(added, NewClasses(**tensors), features, confidences)
