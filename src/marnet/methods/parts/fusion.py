"""Fusion as a part: the branches become one prediction."""

from typing import TYPE_CHECKING

from marnet.modules.fusion import find_fusion, make_fusion
from marnet.outputs import VISUAL
from marnet.part import BuiltPart, Part, Scene

if TYPE_CHECKING:
    from marnet.config import Config


class Fusion(Part):
    """The fusion that `fusion.kind` names (equation 12). It stands behind the parts whose branches it fuses."""

    name = "fusion"
    settings = ("fusion.",)
    needs_text = False

    def check(self, config: "Config") -> None:
        """Refuse an unknown fusion."""
        find_fusion(config.fusion.kind)

    def build(self, scene: Scene) -> BuiltPart:
        """Build the fusion of the branches that are there."""
        widths = {VISUAL: scene.visual_width} | scene.branch_widths
        return BuiltPart(self, fusion=make_fusion(scene.config.fusion.kind, list(widths.values()), scene.num_classes))
