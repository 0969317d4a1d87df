"""The table of `marnet evaluate --retrieval`."""

from typing import TYPE_CHECKING

from marnet.cli.output import on_one_line, say

if TYPE_CHECKING:
    from marnet.evaluation.retrieval import Retrieval

_WAYS = {"image_to_text": "image to text", "text_to_image": "text to image"}
_BY_NAMES, _BY_CLIP = "  by class names", "  by CLIP"


def print_retrieval(found: "Retrieval") -> None:
    """Print recalls in percent and ranks, beside those of class names and of CLIP, and what was left out."""
    from marnet.cli.tables import print_table

    rows = []
    for way, title in _WAYS.items():
        scored = {title: found.space, _BY_NAMES: found.class_names, _BY_CLIP: found.clip}
        for name, metrics in ((name, getattr(each, way)) for name, each in scored.items() if each is not None):
            recalls = (metrics.recall_at_1, metrics.recall_at_5, metrics.recall_at_10)
            ranks = (metrics.mean_rank, metrics.median_rank)
            rows.append((name, *(f"{100 * share:.1f}" for share in recalls), *(f"{rank:.1f}" for rank in ranks)))
    print_table(
        f"{found.images} images, {found.texts} different texts: recall in %",
        ("", "R@1", "R@5", "R@10", "mean rank", "median"),
        rows,
    )
    say("By class names: an image is the name of its predicted class, which TF-IDF compares with the texts.")
    if found.clip is not None:
        clip = found.clip
        say(f"By CLIP: the cosines of {on_one_line(clip.model)} for the same images and texts.")
        if clip.truncated_texts:
            say(f"{clip.truncated_texts} texts have more than the {clip.most_tokens} tokens that it reads of each.")
    if found.without_text:
        say(f"{found.without_text} rows have no text and were left out.")
    if found.skipped:
        say(f"{found.skipped} images cannot be read and were left out.")
    if found.silent_texts:
        say(f"{found.silent_texts} texts say nothing to the text encoder and rank at chance.")
