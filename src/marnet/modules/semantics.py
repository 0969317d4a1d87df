"""The semantic space of EMA and CDR: text features, centred, whitened and scaled (docs/method.md)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEGLIGIBLE = 1e-3  # directions whose spread is below this share of the largest carry rounding errors


class SemanticSpace(nn.Module):
    """Map text features x_s to the clean semantics x_0, the variable that is diffused (docs/method.md; ours).

    x_0 = sqrt(d_0) unit(W (x_s - m)) - c, with m the mean of the training texts' features and c what centres the
    result. W whitens the d_0 directions in which the features differ most, as far as the number of texts bears it: as
    they are, a few directions hold most of the variance and the rest of the text hardly counts, but few texts wholly
    whitened are all equally far apart, whatever they say. Where labels are at hand, W also scales each canonical
    variate of text and labels by its correlation, so that what goes with the classes counts, and the choice between
    two words for the same thing does not. `fit` sets m, W and c; they are saved.

    Args:
        text_width: D_s, the width of the text features.
        dimensions: d_0 at most; None leaves the features as they are: x_0 = sqrt(D_s) unit(x_s) - c.
    """

    mean: Tensor
    whitening: Tensor
    centre: Tensor

    def __init__(self, text_width: int, *, dimensions: int | None = 128) -> None:
        super().__init__()
        self.text_width = text_width
        self.whiten = dimensions is not None
        self.width = text_width if dimensions is None else min(dimensions, text_width)
        if self.whiten:
            self.register_buffer("mean", torch.zeros(text_width))
            self.register_buffer("whitening", torch.eye(text_width, self.width))
        self.register_buffer("centre", torch.zeros(self.width))

    @torch.no_grad()
    def fit(self, x_s: Tensor, labels: Tensor | None = None) -> None:
        """Fit the space from the features `(N, D_s)` of all training texts, repeated as often as they occur.

        `labels` are their classes, `(N,)` int64 or `(N, C)` of 0 and 1; None: whiten only.
        """
        if self.whiten:
            self.mean.copy_(x_s.mean(0))
            whitening = whitening_matrix(x_s, self.width)
            spread = shrunk_spread(x_s, whitening)
            if labels is not None:
                whitening = whitening @ canonical_matrix((x_s - self.mean) @ whitening, labels)
            self.whitening.copy_(whitening * spread)
        self.centre.copy_(self._scale(x_s).mean(0))

    def forward(self, x_s: Tensor) -> Tensor:
        """Return x_0 `(B, d_0)` of text features `(B, D_s)`; no gradient reaches the encoder, which would collapse."""
        return self._scale(x_s.detach()) - self.centre

    def _scale(self, x_s: Tensor) -> Tensor:
        projected = (x_s - self.mean) @ self.whitening if self.whiten else x_s
        return functional.normalize(projected, dim=-1) * math.sqrt(self.width)


def whitening_matrix(x_s: Tensor, width: int) -> Tensor:
    """Return the matrix `(D_s, width)` that turns centred features `(N, D_s)` into uncorrelated ones of unit variance.

    Its columns are the directions of largest variance first; where the features vary in fewer directions than `width`,
    the rest is zero.
    """
    x_s, dtype = x_s.double(), x_s.dtype  # in single precision equal rows would differ from their mean
    centred = x_s - x_s.mean(0)
    spread, directions = torch.linalg.eigh(centred.T @ centred / len(x_s))  # ascending
    spread, directions = spread.flip(0).clamp(min=0).sqrt()[:width], directions.flip(1)[:, :width]
    kept = spread > _NEGLIGIBLE * spread[0] if float(spread[0]) > 0 else torch.zeros_like(spread, dtype=torch.bool)
    factors = torch.where(kept, 1 / spread.clamp(min=torch.finfo(spread.dtype).tiny), torch.zeros_like(spread))
    matrix: Tensor = directions * factors
    return matrix.to(dtype)


def shrunk_spread(x_s: Tensor, whitening: Tensor) -> Tensor:
    """Return the standard deviation `(d,)` that each whitened direction of features `(N, D_s)` should keep.

    A covariance that is estimated from few texts overstates what is large and understates what is small, and whitening
    by it blows the small up. Here the estimate is shrunk towards equal variances by the share s of Ledoit and Wolf
    (2004), for the different texts among the rows: a direction of variance v keeps v / ((1 - s) v + s mean(v)) of
    variance. Of many texts s is near 0, and every direction keeps 1; of hardly more texts than directions it is near 1,
    and each keeps v / mean(v). A direction that `whitening` leaves out keeps 0.

    Args:
        x_s: features of the training texts.
        whitening: `(D_s, d)` of `whitening_matrix`.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # here, because prediction has no use for it

    lengths = whitening.double().norm(dim=0)  # 1 / standard deviation
    kept = lengths > 0
    spread = torch.zeros_like(lengths)
    if bool(kept.any()):
        different = torch.unique(x_s, dim=0).double() @ (whitening.double() / lengths.where(kept, 1.0))[:, kept]
        share = float(ledoit_wolf_shrinkage(different.cpu().numpy()))
        variance = lengths[kept] ** -2
        spread[kept] = (variance / ((1 - share) * variance + share * variance.mean())).sqrt()
    return spread.to(whitening.dtype)


def canonical_matrix(white: Tensor, labels: Tensor) -> Tensor:
    """Return the symmetric `(d, d)` that scales each canonical variate of white features `(N, d)` by its correlation.

    This is a canonical correlation analysis of features and labels: a variate is a direction with the share rho^2 of
    its variance that the labels explain. Of few rows labels explain a share of anything by chance; rho^2 is adjusted
    for that, as R^2 is in regression. Where every text belongs to one class, all rho are 1 and nothing changes.

    Args:
        white: uncorrelated features of mean 0 and variance 1 or 0.
        labels: `(N,)` int64 or `(N, C)` of 0 and 1.
    """
    x, dtype = white.double(), white.dtype
    explained, classes = _explained_covariance(x, labels)
    shares, directions = torch.linalg.eigh(explained)
    shares = shares.clamp(0, 1)
    if len(x) > classes + 1:
        shares = (1 - (1 - shares) * (len(x) - 1) / (len(x) - 1 - classes)).clamp(min=0)
    matrix: Tensor = (directions * shares.sqrt()) @ directions.T
    return matrix.to(dtype)


def _explained_covariance(x: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Return the covariance `(d, d)` explained by a linear regression on the labels, and its degrees of freedom."""
    if labels.ndim == 1:  # the prediction is the mean of the class; no (N, C) matrix is needed
        _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        means = torch.zeros(len(counts), x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, labels, x)
        means = means / counts[:, None]
        return means.T @ (means * counts[:, None]) / len(x), len(counts) - 1
    y = labels.to(x.dtype)
    y = y - y.mean(0)
    gram = y.T @ y
    shared = y.T @ x
    rank = int(torch.linalg.matrix_rank(gram, hermitian=True))
    return shared.T @ torch.linalg.pinv(gram, hermitian=True) @ shared / len(x), rank
