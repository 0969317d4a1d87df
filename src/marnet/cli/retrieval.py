"""The table of `marnet evaluate --retrieval`."""

from typing import TYPE_CHECKING

from marnet.cli.output import say

if TYPE_CHECKING:
    from marnet.evaluation.retrieval import Retrieval

_WAYS = {"image_to_text": "image to text", "text_to_image": "text to image"}
_BY_NAMES = "  by class names"


def print_retrieval(found: "Retrieval") -> None:
    """Print recalls in percent and ranks, beside those of the predicted class names, and what was left out."""
    from marnet.cli.tables import print_table

    rows = []
    for way, title in _WAYS.items():
        for name, metrics in ((title, getattr(found.space, way)), (_BY_NAMES, getattr(found.class_names, way))):
            recalls = (metrics.recall_at_1, metrics.recall_at_5, metrics.recall_at_10)
            ranks = (metrics.mean_rank, metrics.median_rank)
            rows.append((name, *(f"{100 * share:.1f}" for share in recalls), *(f"{rank:.1f}" for rank in ranks)))
    print_table(
        f"{found.images} images, {found.texts} different texts: recall in %",
        ("", "R@1", "R@5", "R@10", "mean rank", "median"),
        rows,
    )
    say("By class names: an image is the name of its predicted class, which TF-IDF compares with the texts.")
    if found.without_text:
        say(f"{found.without_text} rows have no text and were left out.")
    if found.skipped:
        say(f"{found.skipped} images cannot be read and were left out.")
    if found.silent_texts:
        say(f"{found.silent_texts} texts say nothing to the text encoder and rank at chance.")
