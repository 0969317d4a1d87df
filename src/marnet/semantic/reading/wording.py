"""The read-out in plain sentences, as the command line and the page show it."""

from collections.abc import Mapping, Sequence

from marnet.errors import shorten
from marnet.outputs import ALIGNMENT, RECONSTRUCTION
from marnet.semantic.reading.explain import TextChange
from marnet.semantic.reading.training_texts import WordScore

SYMBOLS: Mapping[str, str] = {RECONSTRUCTION: "x_CDR", ALIGNMENT: "x_EMA"}  # of the branch in whose space texts lie
_SEEN = 0.0005  # the least change of a probability that a reader sees


def list_words(words: Sequence[WordScore]) -> str:
    """Return words for a sentence, the first most strongly asked for.

    Example:
        >>> list_words([WordScore("crispy", 0.5, 2), WordScore("red", 0.4, 10)])
        'crispy, red'
        >>> list_words([])
        'no word that several texts share'
    """
    return ", ".join(each.word for each in words) or "no word that several texts share"


def count_texts(number: int) -> str:
    """Return a number of training texts in words.

    Example:
        >>> count_texts(1), count_texts(1200)
        ('1 training text', '1,200 different training texts')
    """
    return f"{number:,} {'training text' if number == 1 else 'different training texts'}"


def change_title(change: TextChange) -> str:
    """Return the question that a change answers.

    Example:
        >>> change_title(TextChange(("garlic",), ("onion",), (0.2, 0.1), ()))
        'Without "garlic", with "onion"'
    """
    parts = [f'without "{shorten(text, most=60)}"' for text in change.removed]
    parts += [f'with "{shorten(text, most=60)}"' for text in change.added]
    title = ", ".join(parts)
    return title[:1].upper() + title[1:]


def describe_change(change: TextChange, branch: str) -> tuple[str, ...]:
    """Return what a reader has to know beside the table of a change: texts that were not there, predictions that stay.

    Args:
        change: of an `ImageExplanation`.
        branch: of the same.
    """
    sentences = [
        f'The image says nothing of "{shorten(text, most=60)}" (cosine {cosine:.2f}), so that nothing is taken out.'
        for text, cosine in zip(change.removed, change.cosines, strict=False)
        if cosine <= 0
    ]
    fused, semantic = (
        max((abs(after - before) for before, after in filter(None, pairs)), default=0.0)
        for pairs in ([each.fused for each in change.classes], [each.semantic for each in change.classes])
    )
    if semantic >= _SEEN > fused:
        sentences.append(f"The fused prediction stays: in this run {SYMBOLS[branch]} hardly weighs in it.")
    return tuple(sentences)
