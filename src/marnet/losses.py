"""The losses: pure functions of tensors, and the objective, their weighted sum (docs/method.md)."""

from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.choices import Positives
from marnet.outputs import VISUAL, LossTerms, MARNetOutput
from marnet.part import ClassificationLoss, Part, Targets

__all__ = [
    "DEFAULT_WEIGHTS",
    "ClassificationLoss",
    "LossTerms",
    "Objective",
    "classification_loss",
    "matching_loss",
    "positive_pairs",
    "reconstruction_loss",
    "soft_classification_loss",
    "word_loss",
]

# The weights of the loss terms; those of the configuration are the same.
DEFAULT_WEIGHTS = {
    "classification": 0.0,  # of the fused prediction; the branches have losses of their own. See `Method`
    "matching": 0.1,
    "reconstruction": 1.0,
    "linear_head": 10.0,
    "semantic": 0.25,
    "visual": 1.0,
    "alignment": 0.1,
    "text": 0.3,
    "words": 10.0,
}


def matching_loss(z_v: Tensor, z_s: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """Return the symmetric contrastive loss `()` of M pairs (equation 5; the mask is ours).

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
            f"positives has the shape {tuple(positives.shape)}, but a mask of {count} pairs is ({count}, {count})."
        )
    if count == 0:
        return (z_v.sum() + z_s.sum()) * 0.0 * scale  # keeps the graph whole where a batch holds no text
    mask = positives.to(z_v.dtype)
    rows, columns = mask.sum(1, keepdim=True), mask.sum(0)[:, None]
    if not bool((mask >= 0).all() & (rows > 0).all() & (columns > 0).all()):
        raise ValueError(
            "positives has a negative entry, or a row or a column without any positive. Expected weights of 0 or more, "
            "and for each image at least its own text."
        )
    similarities = scale * z_v @ z_s.T  # (M, M)
    image_to_text = functional.cross_entropy(similarities, mask / rows)
    text_to_image = functional.cross_entropy(similarities.T, mask.T / columns)
    return (image_to_text + text_to_image) / 2


def reconstruction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error `()` over rows and coordinates of `(M, d_0)` (equations 9 and 13)."""
    if len(prediction) == 0:
        return prediction.sum() * 0.0
    return functional.mse_loss(prediction, target)


def classification_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy `()` of logits `(B, C)` against labels `(B,)` int64."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def soft_classification_loss(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy `()` of logits `(B, C)` against the shares `(B, C)` that classes have in a row (ours).

    It is divided by the mass of the targets, so that rows of zeros count for nothing; with one class per row it is
    `classification_loss`.

    Args:
        logits: `(B, C)`.
        targets: 0 or more, with the sum 1 or, for a row without a label, 0.
        label_smoothing: share of each row's mass that is spread over all classes.
        weights: `(B,)`, of the rows.

    Example:
        >>> import torch
        >>> targets = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
        >>> round(float(soft_classification_loss(torch.zeros(2, 2), targets)), 3)  # log 2, the second row is left out
        0.693
    """
    targets = targets.to(logits.dtype)
    mass = targets.sum(1, keepdim=True)  # (B, 1)
    smooth = targets * (1 - label_smoothing) + mass * label_smoothing / logits.shape[1]
    rows = -(smooth * logits.log_softmax(1)).sum(1)  # (B,)
    weighted = rows if weights is None else rows * weights
    return weighted.sum() / mass.sum().clamp(min=torch.finfo(mass.dtype).tiny)


def word_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy `()` of logits `(M, V)` against multi-hot targets `(M, V)`."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits, targets)


def positive_pairs(texts: Sequence[str], kind: Positives = "text", *, device: torch.device | None = None) -> Tensor:
    """Return the mask `(M, M)` bool of the pairs that match among M texts: equal texts, or only each with itself.

    Raises:
        ValueError: `kind` is unknown.
    """
    if kind not in get_args(Positives):
        raise ValueError(f"positives is {kind!r}, but it must be one of {', '.join(get_args(Positives))}, or a mask.")
    if kind == "identity":
        return torch.eye(len(texts), dtype=torch.bool, device=device)
    numbers: dict[str, int] = {}
    codes = torch.tensor([numbers.setdefault(text, len(numbers)) for text in texts], dtype=torch.long, device=device)
    return codes[:, None] == codes[None, :]


class Objective(nn.Module):
    """The objective of docs/method.md, with a classification loss for the head of each branch (ours).

    Args:
        parts: the parts of the model, which have loss terms of their own.
        weights: weight by name of the loss term; a missing one has its default, 0 leaves the term out.
        positives: which pairs in a batch match: a kind of `positive_pairs`.
        label_smoothing: smoothing of every cross-entropy.
        classify: the classification loss of all heads; another one for several classes per image or for rare classes.

    Raises:
        ValueError: a weight has an unknown name.
    """

    def __init__(
        self,
        parts: Sequence[Part] = (),
        *,
        weights: Mapping[str, float] | None = None,
        positives: Positives = "text",
        label_smoothing: float = 0.1,
        classify: ClassificationLoss = classification_loss,
    ) -> None:
        super().__init__()
        self.parts = {part.name: part for part in parts}
        known = list(dict.fromkeys([*DEFAULT_WEIGHTS, *(term for part in parts for term in part.terms)]))
        unknown = sorted(set(weights or {}) - set(known))
        if unknown:
            raise ValueError(f"The loss terms {', '.join(unknown)} are not known. Known terms: {', '.join(known)}.")
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        self.positives = positives
        self.label_smoothing = label_smoothing
        self.classify = classify

    def forward(
        self, outputs: MARNetOutput, labels: Tensor, *, positives: Positives | Tensor | None = None
    ) -> LossTerms:
        """Return the loss and its terms.

        Args:
            outputs: from `MARNet.training_outputs`.
            labels: `(B,)` int64, or the form that `classify` takes.
            positives: a kind, or a mask `(M, M)` over the rows that have a text, instead of the objective's own.

        Raises:
            ValueError: a kind of positives has an unknown name, a mask does not fit, or a term has no weight.
        """
        targets = Targets(
            labels,
            outputs.text_rows,
            outputs.texts,
            self.positives if positives is None else positives,
            self.classify,
            self.label_smoothing,
        )
        weights = dict(self.weights)
        terms = {"classification": targets.classification(outputs.logits)}
        prediction = outputs.prediction
        if len(prediction.branch_logits) > 1 or outputs.logits is not prediction.logits:
            for branch, logits in prediction.branch_logits.items():
                terms[self._branch_term(branch)] = targets.classification(logits)
        else:  # the one branch is the prediction: one term with the weight of both
            weights["classification"] += weights[VISUAL]
        for name, learned in outputs.learned.items():
            terms |= self.parts[name].losses(learned, targets)
        without = sorted(set(terms) - set(weights))
        if without:
            raise ValueError(f"The loss terms {', '.join(without)} have no weight. Let `Part.weights` return one.")
        used = {name: term for name, term in terms.items() if weights[name]}
        total = sum((weights[name] * term for name, term in used.items()), torch.zeros((), device=labels.device))
        return LossTerms(total, used)

    def _branch_term(self, branch: str) -> str:
        return VISUAL if branch == VISUAL else self.parts[branch].branch_term or branch
