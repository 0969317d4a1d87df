"""What an exported file says of itself: its metadata, text by name, which every reader of ONNX can read as well.

| name | content |
|---|---|
| `format`, `format_version` | `marnet`, and the version of this table |
| `marnet_version`, `method`, `precision` | of the run, and `fp32`, `fp16` or `int8` |
| `classes`, `added` | names in the order of the probabilities; how many of them were added after training |
| `image` | the input: `size`, `mean`, `std`, `interpolation`, `cache_size`, `max_pixels` |
| `label_form`, `thresholds` | `single` or `multi`; of several classes per image, the least probability of each |
| `scores`, `confidences` | of held-out rows, for prediction sets and for images of no known class |
| `calibration` | the temperature and the other fitted numbers, which the graph has applied already |
| `data` | how the run names columns and missing values, to read other rows like its own |
| `noise` | the start vector of CDR that the graph takes where no noise is given; null without CDR |

An image is laid over white if it has transparency, turned upright, cut to its central square, resized to `cache_size`
with antialiasing, and cut to the central `size` pixels; these, in fractions of 255, less `mean` and divided by `std`,
are the input `images` `(B, 3, size, size)`.

All but the first line are JSON. There is no text but the names of classes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from marnet.data.image_spec import ImageSpec, cache_size
from marnet.errors import ExportError
from marnet.inference.description import Description

FORMAT, VERSION = "marnet", 1
PT2_METADATA = "marnet.json"  # the file in a .pt2 archive that holds the metadata, in JSON
_OF_FILE = ("marnet_version", "precision", "calibration", "data", "noise")
_OF_MODEL = ("method", "classes", "added", "label_form", "thresholds", "scores", "confidences")


class Artefact(NamedTuple):
    """The metadata of an exported file."""

    description: Description
    marnet_version: str
    precision: str  # of the weights
    calibration: dict[str, Any] | None = None  # for the record: the graph has applied it
    data: dict[str, Any] | None = None  # settings with which the run reads data
    noise: tuple[float, ...] | None = None  # (d_0,), the start vector; None: the method has no CDR


def to_metadata(artefact: Artefact) -> dict[str, str]:
    """Return metadata as text by name."""
    found = artefact.description
    image = found.spec._asdict() | {"cache_size": cache_size(found.spec), "max_pixels": found.max_pixels}
    content = {"image": image} | {name: getattr(artefact, name) for name in _OF_FILE}
    content |= {name: getattr(found, name) for name in _OF_MODEL}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in content.items()}
    return {"format": FORMAT, "format_version": str(VERSION)} | texts


def from_metadata(metadata: Mapping[str, str], path: Path) -> Artefact:
    """Return what the metadata of a file says; the inverse of `to_metadata`.

    Raises:
        ExportError: marnet has not written the file, or a newer marnet has, or the metadata are damaged.
    """
    if metadata.get("format") != FORMAT:
        raise ExportError(f"{path} was not written by 'marnet export': it does not say what its classes are.")
    if metadata.get("format_version") != str(VERSION):
        raise ExportError(
            f"{path} has the format {metadata.get('format_version')} of exported files, but this version of marnet "
            f"reads {VERSION}. Update marnet, or export the run again."
        )
    try:
        found = {name: json.loads(metadata[name]) for name in ("image", *_OF_FILE, *_OF_MODEL)}
        image = found["image"]
        description = Description(
            method=found["method"],
            classes=tuple(map(str, found["classes"])),
            added=int(found["added"]),
            spec=ImageSpec(int(image["size"]), _three(image["mean"]), _three(image["std"]), image["interpolation"]),
            max_pixels=int(image["max_pixels"]),
            label_form=found["label_form"],
            thresholds=_numbers(found["thresholds"]),
            scores=_numbers(found["scores"]),
            confidences=_numbers(found["confidences"]) or (),
        )
        return Artefact(
            description,
            found["marnet_version"],
            found["precision"],
            found["calibration"],
            found["data"],
            _numbers(found["noise"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{path} is damaged: its metadata lack {error}. Export the run again.") from None


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(float, values))


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
