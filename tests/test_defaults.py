"""One set of defaults: the constructor of a module and the configuration agree."""

import inspect
from typing import Any

import pytest

from marnet.config import Config
from marnet.config.nested import flatten
from marnet.encoders.text import TextOptions
from marnet.losses import DEFAULT_WEIGHTS, Objective
from marnet.methods import resolve
from marnet.modules.alignment import EmbeddingMatchingAlignment, TextAlignment
from marnet.modules.late_fusion import LateFusion, LateFusionText
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction
from marnet.modules.regression import SemanticRegression
from marnet.modules.semantics import SemanticSpace

CONFIG = flatten(resolve(Config()).model_dump(mode="json"))
REQUIRED = {"visual_width", "width_in", "text_width", "semantic_width", "num_classes", "widths", "cache"}
MODULES: list[tuple[Any, str, dict[str, str]]] = [  # a constructor, its section, and arguments with another name there
    (EmbeddingMatchingAlignment, "alignment", {}),
    (TextAlignment, "alignment", {"reads_text": ""}),
    (CrossModalDiffusionReconstruction, "reconstruction", {"hidden": "width", "width": ""}),
    (SemanticRegression, "reconstruction", {"hidden": "width", "width": ""}),
    (SemanticSpace, "semantics", {}),
    (LateFusion, "late_fusion", {}),
    (LateFusionText, "late_fusion", {}),
    (TextOptions, "text", {}),
]


@pytest.mark.parametrize(
    ("constructor", "section", "renamed"), MODULES, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_defaults_of_a_constructor_are_those_of_its_section(
    constructor: Any, section: str, renamed: dict[str, str]
) -> None:
    compared = 0
    for name, argument in inspect.signature(constructor).parameters.items():
        setting = renamed.get(name, name)
        if name in REQUIRED or not setting:
            continue
        assert argument.default == CONFIG[f"{section}.{setting}"], name
        compared += 1
    assert compared


def test_the_defaults_of_the_objective_are_those_of_the_configuration() -> None:
    assert {name: CONFIG[f"losses.{name}"] for name in DEFAULT_WEIGHTS} == DEFAULT_WEIGHTS
    objective = Objective()
    assert objective.label_smoothing == CONFIG["losses.label_smoothing"]
    assert objective.positives == CONFIG["alignment.positives"]
