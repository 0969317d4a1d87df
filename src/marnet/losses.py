"""The losses: pure functions of tensors, and their weighted sum (docs/method.md)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional

from marnet.choices import Positives
from marnet.config import LossConfig
from marnet.model import MARNetOutput

# The term that judges each branch's own prediction; "semantic" is L_sem of equation 11.
BRANCH_TERMS = {"visual": "visual", "alignment": "alignment", "reconstruction": "semantic"}


class LossTerms(NamedTuple):
    """The loss and what it is made of."""

    total: Tensor  # (), the weighted sum
    terms: dict[str, Tensor]  # () each, before weighting


class ClassificationLoss(Protocol):
    """Judges logits `(B, C)` against targets, `()`; `classification_loss` is the default."""

    def __call__(self, logits: Tensor, targets: Tensor, /, *, label_smoothing: float = 0.0) -> Tensor:
        """The loss; 0 where B is 0."""
        ...


def matching_loss(z_v: Tensor, z_s: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """The symmetric contrastive loss `()` of M pairs (equation 5; the mask is ours).

    Args:
        z_v, z_s: unit vectors `(M, d)` of images and texts.
        scale: 1 / tau, `()`.
        positives: `(M, M)`, bool or non-negative weights; entry (i, j) says that image i matches text j. Every row
            and every column needs one. The identity gives the loss of CLIP.

    Raises:
        ValueError: the mask has another shape, a negative entry, or a row or column without a positive.
    """
    count = len(z_v)
    if tuple(positives.shape) != (count, count):
        raise ValueError(
            f"positives has the shape {tuple(positives.shape)}; needed ({count}, {count}), a mask of pairs."
        )
    if count == 0:
        return (z_v.sum() + z_s.sum()) * 0.0 * scale  # keeps the graph whole where a batch holds no text
    mask = positives.to(z_v.dtype)
    rows, columns = mask.sum(1, keepdim=True), mask.sum(0)[:, None]
    if not bool((mask >= 0).all() & (rows > 0).all() & (columns > 0).all()):
        raise ValueError(
            "positives has a negative entry, or a row or a column without any positive; needed weights of 0 or more, "
            "and for each image its own text at least."
        )
    similarities = scale * z_v @ z_s.T  # (M, M)
    image_to_text = functional.cross_entropy(similarities, mask / rows)
    text_to_image = functional.cross_entropy(similarities.T, mask.T / columns)
    return (image_to_text + text_to_image) / 2


def reconstruction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error `()` over rows and coordinates of `(M, d_0)` (equations 9 and 13)."""
    if len(prediction) == 0:
        return prediction.sum() * 0.0
    return functional.mse_loss(prediction, target)


def classification_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy `()` of logits `(B, C)` against labels `(B,)` int64."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def word_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy `()` of logits `(M, V)` against multi-hot targets `(M, V)`, the mean over both."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits, targets)


def positive_pairs(texts: Sequence[str], kind: Positives = "text", *, device: torch.device | None = None) -> Tensor:
    """The mask `(M, M)` bool of the pairs that match among M texts: those with equal text, or only each with itself.

    Raises:
        ValueError: `kind` is unknown.
    """
    if kind not in get_args(Positives):
        raise ValueError(f"positives is {kind!r}; needed one of {', '.join(get_args(Positives))}, or a mask.")
    if kind == "identity":
        return torch.eye(len(texts), dtype=torch.bool, device=device)
    numbers: dict[str, int] = {}
    codes = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts], dtype=torch.long, device=device)
    return codes[:, None] == codes[None, :]


def training_loss(
    outputs: MARNetOutput,
    labels: Tensor,
    texts: Sequence[str],
    *,
    positives: Positives | Tensor = "text",
    weights: Mapping[str, float] | None = None,
    label_smoothing: float = 0.1,
    classify: ClassificationLoss = classification_loss,
) -> LossTerms:
    """The objective of docs/method.md, with a classification loss for each branch (ours).

    Args:
        outputs: of `MARNet.training_outputs`.
        labels: `(B,)` int64, or what `classify` takes.
        texts: the B texts that `outputs` were computed from.
        positives: a kind of `positive_pairs`, or a mask `(M, M)` over the rows that have a text.
        weights: by name of the term; a missing one has the library's default, that of "classification" for an average
            of branches: give 1 where the fusion learns. 0 leaves the term out.
        label_smoothing: of every cross-entropy.
        classify: the cross-entropy of all these terms; another for several labels an image or for rare classes.

    Raises:
        ValueError: a weight or a kind of positives has an unknown name, or a mask does not fit.
    """
    weights = _complete(weights or {})
    prediction = outputs.prediction
    fused = prediction.logits if outputs.late_logits is None else outputs.late_logits
    terms = {"classification": classify(fused, labels, label_smoothing=label_smoothing)}
    if len(prediction.branch_logits) > 1 or outputs.late_logits is not None:
        for branch, logits in prediction.branch_logits.items():
            terms[BRANCH_TERMS[branch]] = classify(logits, labels, label_smoothing=label_smoothing)
    else:  # the one branch is the prediction: one term with the weight of both
        weights["classification"] += weights["visual"]
    if outputs.aligned is not None and weights["matching"]:
        if not isinstance(positives, Tensor):
            with_text = [texts[i] for i in outputs.text_rows.tolist()]
            positives = positive_pairs(with_text, positives, device=labels.device)
        terms["matching"] = matching_loss(*outputs.aligned, positives)
    if outputs.reconstruction is not None:
        found = outputs.reconstruction
        terms["reconstruction"] = reconstruction_loss(found.prediction, found.target)
        if found.guess is not None:
            terms["guess"] = reconstruction_loss(found.guess, found.x0)
    if outputs.words is not None:
        terms["words"] = word_loss(*outputs.words)
    if outputs.text_logits is not None:
        own = labels[outputs.text_rows]
        terms["text"] = classify(outputs.text_logits, own, label_smoothing=label_smoothing)
    used = {name: term for name, term in terms.items() if weights[name]}
    total = sum((weights[name] * term for name, term in used.items()), torch.zeros((), device=labels.device))
    return LossTerms(total, used)


def _complete(weights: Mapping[str, float]) -> dict[str, float]:
    defaults = LossConfig().weights
    unknown = sorted(set(weights) - set(defaults))
    if unknown:
        raise ValueError(f"Unknown loss terms {', '.join(unknown)}; known: {', '.join(defaults)}.")
    return {**defaults, **weights}
