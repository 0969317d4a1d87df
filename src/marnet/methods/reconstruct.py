"""`reconstruct`: CDR alone. The semantics of the text are reconstructed from the image by diffusion."""

from marnet.methods.method import Method
from marnet.methods.parts.fusion import Fusion
from marnet.methods.parts.reconstruction import Reconstruction
from marnet.methods.parts.text_head import TextHead

METHOD = Method(
    name="reconstruct",
    summary="CDR alone: reconstructs the text's semantics from the image by diffusion.",
    parts=(Reconstruction(), Fusion(), TextHead()),
    position=3,
    leaves_out="EMA",
)
