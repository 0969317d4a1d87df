"""`module:PACKAGE.NAME`: your own backbone by its import path."""

from pathlib import Path

from marnet.encoders.backbone import Backbone, BackboneFamily, load_weights, read_weights
from marnet.encoders.imported import import_encoder
from marnet.errors import EncoderError


def imported_backbone(path: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    """Import a backbone; see `make_backbone`."""
    if pretrained and weights is None:
        raise EncoderError(
            f"marnet knows no published weights for module:{path}. Load them inside {path}, or name a local file "
            f"(`backbone.weights=FILE`), and leave out `backbone.pretrained`."
        )
    made = import_encoder(path, what="backbone")
    backbone = made if isinstance(made, Backbone) else Backbone(made)
    if weights is not None:
        state = read_weights(weights)
        load_weights(backbone.module, state, source=f"The weights file {weights}", name=f"module:{path}")
    return backbone._replace(image_size=image_size or backbone.image_size)


IMPORTED = BackboneFamily(imported_backbone)
