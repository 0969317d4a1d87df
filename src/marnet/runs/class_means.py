"""class_means.safetensors of a run: where its classes lie among image features (`marnet.modules.class_means`).

calibration.json says how much they weigh. A run whose classes have about as many training rows as each other has none.
"""

from pathlib import Path

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.modules.class_means import ClassMeans
from marnet.runs.layout import CLASS_MEANS
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors

_WAY_OUT = "Restore it, or train again."


def write_class_means(run: Path, means: ClassMeans) -> None:
    """Write the file, whole or not at all."""
    with replacing(run / CLASS_MEANS) as partial:
        save_tensors(partial, {name: tensor.contiguous().cpu() for name, tensor in means.named_buffers()}, {})


def read_class_means(run: Path, classes: int, width: int) -> ClassMeans | None:
    """Read the means of the classes of a run; None if it has none.

    Args:
        run: the run directory.
        classes: C.
        width: D_v.

    Raises:
        RunDirectoryError: the file is damaged, or does not fit the run.
    """
    path = run / CLASS_MEANS
    if not path.exists():
        return None
    shapes = read_header(path, way_out=_WAY_OUT).shapes
    span = (shapes.get("projection") or (0, 0))[-1]
    needed = {"centre": (width,), "projection": (width, span), "means": (classes, span), "rare": (classes,)}
    if shapes != needed:
        raise RunDirectoryError(f"{path} has tensors of the shapes {shapes}, but the run needs {needed}. {_WAY_OUT}")
    tensors = load_tensors(path, way_out=_WAY_OUT)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise RunDirectoryError(f"{path} holds NaN or infinite numbers. {_WAY_OUT}")
    return ClassMeans(**tensors)
