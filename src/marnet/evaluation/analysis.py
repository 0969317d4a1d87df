"""Analysis of features and predictions: t-SNE, neighbourhoods and case studies.

Pure functions of tensors, without run directories or files.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

_HALF = 0.5  # a probability from which a branch decides for a class
CaseKind = Literal["repaired", "broken", "changed"]

# Shown with the cases, so that readers know that nobody picked them by hand.
CASE_RULE = (
    "Chosen by rule: half are images whose wrong basic prediction CDR repaired, with the largest gain in the "
    "confidence of the true class; half are images whose correct basic prediction CDR broke, with the largest loss. If "
    "there are too few of one kind, the images with the largest change of that confidence fill the list."
)


DECISION_RULE = (
    "Chosen by rule: half are images of whose classes CDR decides more correctly than the basic prediction (a class is "
    "predicted from a probability of one half), with the largest gain in the mean probability of the correct "
    "decisions; half are images of which it decides more wrongly, with the largest loss. If there are too few of one "
    "kind, the images with the largest change of that mean fill the list."
)


class Case(NamedTuple):
    """One image as the basic module (x_v) and CDR (x_CDR) predict it; labels are class indices.

    The predicted class is the most probable one, also where images have several.
    """

    row: int  # of the image in the split
    kind: CaseKind
    basic_label: int
    basic_confidence: float  # probability of basic_label
    cdr_label: int
    cdr_confidence: float  # probability of cdr_label
    true_labels: tuple[int, ...]  # one, or any number where images have several classes


class RankedPrediction(NamedTuple):
    """A class with the probability that a prediction gives it."""

    label: int
    confidence: float
    rank: int  # 1 for the most probable class


def embed_2d(features: Tensor, *, seed: int) -> np.ndarray:
    """Return a layout of features `(N, D)` in the plane `(N, 2)` by t-SNE (Figure 3 of the paper; settings ours).

    Rows are scaled to unit length, so that distance means cosine distance as in `neighbourhood_score`. The layout
    starts from the principal components; the perplexity is 30, or (N - 1) / 3 if that is less. Fewer than four
    points get their principal components. The same features and seed give the same layout, with any number of threads.

    Raises:
        ValueError: `features` is not `(N, D)` with N, D >= 1, or holds NaN or infinite values.
    """
    rows = _unit_rows(features).numpy()
    count, width = rows.shape
    # With so few points, or all equal, t-SNE would divide by zero.
    if count < 4 or np.allclose(rows, rows[0]):
        centred = rows - rows.mean(axis=0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
        plane = np.zeros((count, 2))
        plane[:, : len(directions)] = centred @ directions.T
        return plane
    if width > 50:  # as the authors of t-SNE advise: faster, and with less noise in the distances
        rows = PCA(min(50, count), svd_solver="full").fit_transform(rows)
    rows = np.pad(rows, ((0, 0), (0, max(0, 2 - rows.shape[1]))))
    tsne = TSNE(perplexity=min(30.0, (count - 1) / 3), init="pca", learning_rate="auto", random_state=seed)
    # Threads sum the gradient in random order, and t-SNE amplifies the rounding errors.
    with threadpool_limits(limits=1):
        return np.asarray(tsne.fit_transform(rows), dtype=np.float64)


def neighbourhood_score(features: Tensor, labels: Tensor, k: int = 10) -> float:
    """Return the mean share of an image's `k` nearest neighbours that have its label, between 0 and 1 (ours).

    Where images have several classes, a neighbour counts if the two have a class in common.

    Neighbours are the other images with the largest cosine similarity; of equal ones, the first. If N <= k, all other
    images count.

    Args:
        features: `(N, D)`, as the model gives them, not the plane of `embed_2d`.
        labels: `(N,)` int64, or `(N, C)` of 0 and 1.
        k: neighbours per image, 1 or more.

    Raises:
        ValueError: the shapes disagree, there are fewer than two images, k < 1, or a feature is NaN or infinite.
    """
    if k < 1:
        raise ValueError(f"k is {k}. Expected 1 or more neighbours.")
    unit = _unit_rows(features)
    if len(unit) < 2 or labels.ndim not in (1, 2) or len(labels) != len(unit):
        raise ValueError(
            f"features {tuple(features.shape)} and labels {tuple(labels.shape)} do not match. "
            f"Expected (N, D) and (N,) or (N, C), with N >= 2."
        )
    labels = labels.cpu()
    shares = []
    for first in range(0, len(unit), 1024):  # in blocks, because N x N similarities of a large split exceed the memory
        block = unit[first : first + 1024]
        similarities = block @ unit.T  # (b, N)
        own = torch.arange(len(block))
        similarities[own, own + first] = -torch.inf
        nearest = similarities.argsort(dim=1, descending=True, stable=True)[:, : min(k, len(unit) - 1)]  # (b, k)
        theirs, its = labels[nearest], labels[first : first + 1024, None]  # (b, k) and (b, 1), or each x C
        same = theirs == its if labels.ndim == 1 else ((theirs > 0) & (its > 0)).any(-1)
        shares.append(same.double().mean(1))
    return float(torch.cat(shares).mean())


def choose_cases(basic: Tensor, final: Tensor, labels: Tensor, n: int = 6) -> list[Case]:
    """Choose up to `n` case studies by rule, failures as well as successes (Figure 4 of the paper; the rule is ours).

    The gain of an image is the confidence of its true class under `final` minus that under `basic`. Where images have
    several classes, every class is a decision: the gain is that of the mean probability of the correct decisions, and
    an image is repaired if it has fewer wrong ones, broken if it has more.

    1. Take up to `ceil(n / 2)` repaired images (basic wrong, final correct), the largest gain first.
    2. Take up to `floor(n / 2)` broken images (basic correct, final wrong), the largest loss first.
    3. Fill up with the remaining images with the largest change in either direction; those that are neither repaired
       nor broken are called "changed".

    Of equal images, the first comes first. The cases are returned in the order repaired, broken, changed.

    Args:
        basic: probabilities `(N, C)` of the basic module, from x_v.
        final: probabilities `(N, C)` to compare with it, from x_CDR.
        labels: `(N,)` int64, or `(N, C)` of 0 and 1.
        n: the number of cases.

    Raises:
        ValueError: the shapes disagree.
    """
    if basic.ndim != 2 or basic.shape != final.shape or labels.shape not in (basic.shape[:1], basic.shape):
        raise ValueError(
            f"basic {tuple(basic.shape)}, final {tuple(final.shape)} and labels {tuple(labels.shape)} do not match. "
            f"Expected (N, C), (N, C) and (N,) or (N, C)."
        )
    (before, wrong_before), (after, wrong_after) = (_confidence_and_errors(each, labels) for each in (basic, final))
    gain = after - before  # (N,)
    by_gain = gain.argsort(descending=True, stable=True).tolist()
    by_loss = gain.argsort(stable=True).tolist()
    by_change = gain.abs().argsort(descending=True, stable=True).tolist()

    repaired = [i for i in by_gain if wrong_after[i] < wrong_before[i]]
    broken = [i for i in by_loss if wrong_after[i] > wrong_before[i]]
    chosen = repaired[: (n + 1) // 2] + broken[: n // 2]
    chosen += [i for i in by_change if i not in set(chosen)][: max(0, n - len(chosen))]

    kinds: dict[int, CaseKind] = {**dict.fromkeys(repaired, "repaired"), **dict.fromkeys(broken, "broken")}
    cases = [_make_case(i, kinds.get(i, "changed"), basic[i], final[i], labels[i]) for i in chosen]
    order: tuple[CaseKind, ...] = ("repaired", "broken", "changed")
    return sorted(cases, key=lambda case: order.index(case.kind))


def ranked_predictions(probabilities: Tensor, true_labels: int | Collection[int], k: int = 3) -> list[RankedPrediction]:
    """Return the `k` most probable classes of one image `(C,)`, then the true ones that are not among them.

    Of equal classes, the one with the lower index comes first.

    Example:
        >>> [(each.label, each.rank) for each in ranked_predictions(torch.tensor([0.1, 0.2, 0.7]), 0, k=1)]
        [(2, 1), (0, 3)]
    """
    true = {true_labels} if isinstance(true_labels, int) else set(true_labels)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    predictions = [
        RankedPrediction(label, float(probabilities[label]), rank) for rank, label in enumerate(order, start=1)
    ]
    return [prediction for prediction in predictions if prediction.rank <= k or prediction.label in true]


def _confidence_and_errors(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(N,)` each: the mean probability of an image's correct decisions, and the number of wrong ones."""
    if labels.ndim == 1:  # one decision
        rows = torch.arange(len(labels), device=labels.device)
        return probabilities[rows, labels].double(), (probabilities.argmax(1) != labels).long()
    true = labels > 0
    of_correct = torch.where(true, probabilities, 1 - probabilities).double()
    return of_correct.mean(1), ((probabilities >= _HALF) != true).sum(1)


def _make_case(row: int, kind: CaseKind, basic: Tensor, final: Tensor, label: Tensor) -> Case:
    before, after = int(basic.argmax()), int(final.argmax())
    true = (int(label),) if label.ndim == 0 else tuple(torch.nonzero(label).flatten().tolist())
    return Case(row, kind, before, float(basic[before]), after, float(final[after]), true)


def _unit_rows(features: Tensor) -> Tensor:
    """Return rows `(N, D)` scaled to unit length, in float64 on the CPU; a row of zeros is unchanged."""
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features has the shape {tuple(features.shape)}. Expected (N, D) with N and D >= 1.")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features holds NaN or infinite values. Expected finite numbers.")
    return functional.normalize(features.detach().cpu().double(), dim=1)
