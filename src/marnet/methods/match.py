"""`match`: EMA alone. Images and texts are aligned in one space, much as in CLIP."""

from marnet.methods.method import Method
from marnet.methods.parts.alignment import Alignment
from marnet.methods.parts.fusion import Fusion
from marnet.methods.parts.text_head import TextHead

METHOD = Method(
    name="match",
    summary="EMA alone: aligns image and text embeddings.",
    parts=(Alignment(), Fusion(), TextHead()),
    position=1,
    leaves_out="CDR",
)
