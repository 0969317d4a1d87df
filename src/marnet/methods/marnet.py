"""`marnet`: the full method, EMA and CDR and a fusion of both."""

from marnet.methods.method import Method
from marnet.methods.parts.alignment import Alignment
from marnet.methods.parts.fusion import Fusion
from marnet.methods.parts.reconstruction import Reconstruction
from marnet.methods.parts.text_head import TextHead

METHOD = Method(
    name="marnet",
    summary="EMA, CDR and a fusion of both: the full method.",
    parts=(Alignment(), Reconstruction(), Fusion(), TextHead()),
    position=4,
    leaves_out="nothing (EMA + CDR)",
)
