"""How classes that were added to a run compete with those that it was trained for."""

from typing import NamedTuple

from torch import Tensor


class NewClassMetrics(NamedTuple):
    """Accuracies among all classes, and among the new ones alone; None where there is no such image."""

    old: float | None  # accuracy on images of trained classes
    new: float | None  # on images of new classes
    harmonic: float | None  # harmonic mean of the two
    among_new: float | None  # on images of new classes if only new classes could be answered


def new_class_metrics(logits: Tensor, labels: Tensor, trained: int) -> NewClassMetrics:
    """Score logits `(N, C + K)` of which the first C = `trained` are of trained classes, against labels `(N,)`.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0], [3.0, 0.0, 2.0, 1.0]])
        >>> new_class_metrics(logits, torch.tensor([0, 3, 2]), trained=2)
        NewClassMetrics(old=1.0, new=0.5, harmonic=0.6666666666666666, among_new=1.0)
    """
    right = (logits.argmax(1) == labels).double()
    of_new = labels >= trained
    old = float(right[~of_new].mean()) if bool((~of_new).any()) else None
    if not bool(of_new.any()):
        return NewClassMetrics(old, None, None, None)
    new = float(right[of_new].mean())
    among_new = float((logits[of_new, trained:].argmax(1) + trained == labels[of_new]).double().mean())
    if old is None:
        return NewClassMetrics(None, new, None, among_new)
    return NewClassMetrics(old, new, 2 * old * new / (old + new) if old + new else 0.0, among_new)
