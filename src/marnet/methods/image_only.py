"""`image-only`: a backbone with a linear head, as people train it today; the baseline of every comparison."""

from marnet.methods.method import Method

METHOD = Method(
    name="image-only",
    summary="Backbone and linear head; texts are not used. The baseline.",
    position=0,
    leaves_out="EMA and CDR (the backbone)",
)
