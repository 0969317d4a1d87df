"""The space that CDR reconstructs: by hand and against slow references, and what may never happen to it."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor
from torch.nn import functional

from marnet.modules.semantics import SemanticSpace, canonical_matrix, shrunk_spread, whitening_matrix


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(x_s: Tensor, dimensions: int | None) -> SemanticSpace:
    space = SemanticSpace(x_s.shape[1], dimensions=dimensions)
    space.fit(x_s)
    return space


CROSS = torch.tensor([[7.0, 5.0], [-1.0, 5.0], [3.0, 6.0], [3.0, 4.0]])  # mean (3, 5), spread sqrt(8) and sqrt(1/2)


def test_whitening_worked_by_hand() -> None:
    """Around (3, 5) the rows lie at (+-4, 0) and (0, +-1): variances 8 and 1/2, the first axis first."""
    matrix = whitening_matrix(CROSS, 2)
    torch.testing.assert_close(matrix.abs(), torch.tensor([[1 / math.sqrt(8), 0.0], [0.0, math.sqrt(2)]]))
    torch.testing.assert_close(whitening_matrix(CROSS, 1).abs(), torch.tensor([[1 / math.sqrt(8)], [0.0]]))


def test_clean_semantics_worked_by_hand() -> None:
    """Whitened rows are (+-sqrt 2, 0) and (0, +-sqrt 2); a length of sqrt 2 is that of x_0, and their mean is 0."""
    space = fitted(CROSS, 2)
    found = space(CROSS)
    root = math.sqrt(2)
    torch.testing.assert_close(found.abs(), torch.tensor([[root, 0.0], [root, 0.0], [0.0, root], [0.0, root]]))
    torch.testing.assert_close(found[0], -found[1])
    torch.testing.assert_close(found[2], -found[3])
    # (4, 1) from the mean: the variances shrunk by 257/450 towards their mean of 17/4 are 703/120 and 317/120.
    shrunk = torch.tensor([[4 / math.sqrt(703 / 120), 1 / math.sqrt(317 / 120)]])
    torch.testing.assert_close(space(torch.tensor([[7.0, 6.0]])).abs(), root * shrunk / shrunk.norm())
    torch.testing.assert_close(space.mean, torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(space.centre, torch.zeros(2), atol=1e-6, rtol=0)


def clean_by_hand(fit_to: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    """From the singular vectors of the centred rows; only up to the sign of each coordinate."""
    mean = fit_to.mean(axis=0)
    _, singular, directions = np.linalg.svd(fit_to - mean, full_matrices=False)
    shrunk = np.diag(LedoitWolf().fit((fit_to - mean) @ directions[:width].T).covariance_)

    def scaled(x: np.ndarray) -> np.ndarray:
        result = np.zeros((len(x), width))
        for i, row in enumerate(x - mean):
            for j in range(min(width, len(singular))):
                if singular[j] > 1e-3 * singular[0]:
                    result[i, j] = row @ directions[j] / math.sqrt(shrunk[j])
            result[i] *= math.sqrt(width) / np.linalg.norm(result[i])
        return result

    return scaled(rows) - scaled(fit_to).mean(axis=0)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_clean_semantics_against_a_slow_reference(width: int) -> None:
    train = normal(40, 5) @ torch.diag(torch.tensor([9.0, 0.2, 4.0, 1.0, 0.05])) + 3
    others = normal(7, 5, seed=1)
    found = fitted(train, width)(others).double()
    expected = torch.tensor(clean_by_hand(train.double().numpy(), others.double().numpy(), width))
    signs = (found * expected).sum(0).sign()
    torch.testing.assert_close(found * signs, expected, rtol=1e-3, atol=1e-3)


def test_whitened_features_are_uncorrelated_with_unit_variance() -> None:
    x_s = normal(200, 6) @ normal(6, 6, seed=1) + 5
    white = (x_s - x_s.mean(0)) @ whitening_matrix(x_s, 4)
    torch.testing.assert_close(white.T @ white / 200, torch.eye(4), rtol=1e-3, atol=1e-3)


def test_how_far_whitening_may_go_worked_by_hand() -> None:
    """Ledoit and Wolf's share of the four rows: 257/32 by 225/16, both over the two dimensions, is 257/450."""
    share = 257 / 450
    expected = [math.sqrt(v / ((1 - share) * v + share * 4.25)) for v in (8.0, 0.5)]
    torch.testing.assert_close(shrunk_spread(CROSS, whitening_matrix(CROSS, 2)), torch.tensor(expected))
    repeated = CROSS.repeat(50, 1)  # the same four texts say no more about their variances
    torch.testing.assert_close(shrunk_spread(repeated, whitening_matrix(repeated, 2)), torch.tensor(expected))


def test_many_texts_are_whitened_and_few_keep_their_shape() -> None:
    """Wholly whitened, n texts in n - 1 directions are a regular simplex: all equally far apart, whatever they say."""
    scale = torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0, 0.5, 0.5]))
    many, few = normal(20_000, 6) @ scale, normal(7, 6) @ scale
    torch.testing.assert_close(shrunk_spread(many, whitening_matrix(many, 6)), torch.ones(6), rtol=0, atol=0.02)
    white = (few - few.mean(0)) @ whitening_matrix(few, 6)
    torch.testing.assert_close(torch.pdist(white), torch.full((21,), math.sqrt(14.0)), rtol=1e-3, atol=1e-3)
    apart, meant = torch.pdist(fitted(few, 6)(few)), torch.pdist(functional.normalize(few - few.mean(0), dim=-1))
    assert apart.std() > 0.15 * apart.mean()
    assert torch.corrcoef(torch.stack([apart, meant]))[0, 1] > 0.8


def test_features_that_vary_in_few_directions_leave_the_rest_at_zero() -> None:
    """Three directions in eight dimensions, as few texts with many words give them; nothing is amplified from noise."""
    x_s = normal(30, 3) @ normal(3, 8, seed=1) + normal(8, seed=2)
    matrix = whitening_matrix(x_s, 6)
    assert matrix.shape == (8, 6)
    assert torch.equal(matrix[:, 3:], torch.zeros(8, 3))
    assert (matrix[:, :3].norm(dim=0) > 0.01).all()
    found = fitted(x_s, 6)(x_s)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 3:], torch.zeros(30, 3))


@pytest.mark.parametrize("rows", [1, 7])
def test_a_single_text_has_nothing_to_tell(rows: int) -> None:
    only = normal(1, 5).expand(rows, 5)
    space = fitted(only, 4)
    torch.testing.assert_close(space(only), torch.zeros(rows, 4), rtol=0, atol=0)
    assert torch.isfinite(space(normal(3, 5, seed=1))).all()


@pytest.mark.parametrize("dimensions", [None, 3, 64])
def test_before_centring_every_text_has_the_same_length(dimensions: int | None) -> None:
    """|x_0 + c| is sqrt(d_0), so that no coordinate of x_0 leaves the bound of CDR, 2 sqrt(d_0)."""
    x_s = normal(50, 5) + 1
    space = fitted(x_s, dimensions)
    assert space.width == (3 if dimensions == 3 else 5)
    assert space.text_width == 5
    lengths = (space(x_s) + space.centre).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((50,), math.sqrt(space.width)))
    torch.testing.assert_close(space(x_s).mean(0), torch.zeros(space.width), atol=1e-5, rtol=0)


def test_without_dimensions_only_the_direction_of_a_text_counts() -> None:
    x_s = normal(20, 5) + 1
    space = fitted(x_s, None)
    unit = math.sqrt(5) * x_s / x_s.norm(dim=1, keepdim=True)
    torch.testing.assert_close(space(x_s), unit - unit.mean(0))
    torch.testing.assert_close(space(100 * x_s), space(x_s))
    assert set(space.state_dict()) == {"centre"}


@pytest.mark.parametrize("dimensions", [None, 4])
def test_no_gradient_reaches_the_text_encoder(dimensions: int | None) -> None:
    x_s = normal(9, 5).requires_grad_()
    space = SemanticSpace(5, dimensions=dimensions)
    space.fit(x_s)
    assert not space(x_s).requires_grad
    assert not any(value.requires_grad for value in space.state_dict().values())
    assert list(space.parameters()) == []


def test_repeated_texts_count_as_often_as_they_occur() -> None:
    rows = normal(4, 3)
    often = torch.cat([rows, rows[:1].expand(20, 3)])
    once, repeated = fitted(rows, 3), fitted(often, 3)
    torch.testing.assert_close(repeated.mean, often.mean(0))
    assert not torch.allclose(once.mean, repeated.mean, atol=0.05)
    assert not torch.allclose(once.whitening.abs(), repeated.whitening.abs(), atol=0.05)
    torch.testing.assert_close(repeated(often).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert repeated(rows).mean(0).abs().max() > 0.05


def test_equal_texts_have_equal_semantics_whatever_stands_beside_them() -> None:
    x_s = normal(10, 6)
    space = fitted(x_s, 4)
    found = space(x_s[[3, 0, 3, 3]])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[0], found[3])
    torch.testing.assert_close(found[0], space(x_s)[3])
    assert functional.cosine_similarity(found[:1], found[1:2]) < 0.99


@pytest.mark.parametrize("dimensions", [None, 4])
def test_state_dict_round_trip(dimensions: int | None) -> None:
    x_s = normal(12, 6) + 2
    space, twin = fitted(x_s, dimensions), SemanticSpace(6, dimensions=dimensions)
    assert not torch.allclose(twin(x_s), space(x_s))
    twin.load_state_dict(space.state_dict())
    assert torch.equal(twin(x_s), space(x_s))


def test_precision_is_that_of_the_features() -> None:
    assert whitening_matrix(normal(9, 4).double(), 3).dtype == torch.float64
    assert fitted(normal(9, 4), 3)(normal(2, 4)).dtype == torch.float32
    assert SemanticSpace(4, dimensions=3).double()(normal(2, 4).double()).dtype == torch.float64


def test_no_text_in_a_batch_is_no_row() -> None:
    assert fitted(normal(9, 4), 3)(torch.zeros(0, 4)).shape == (0, 3)


SQUARE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def test_canonical_variates_worked_by_hand() -> None:
    """The first coordinate is the class, the second is the same in both: shares of 1 and 0."""
    matrix = canonical_matrix(SQUARE, torch.tensor([5, 5, 2, 2]))
    torch.testing.assert_close(matrix.abs(), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    diagonal = canonical_matrix(SQUARE, torch.tensor([0, 1, 1, 2]))  # all that the classes explain is along (1, 1)
    torch.testing.assert_close(diagonal, torch.full((2, 2), 0.5))


def canonical_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of two sets of centred columns, by the singular values between orthonormal bases of both."""

    def basis(columns: np.ndarray) -> np.ndarray:
        left, singular, _ = np.linalg.svd(columns - columns.mean(0), full_matrices=False)
        return left[:, singular > 1e-9 * singular[0]]

    return np.linalg.svd(basis(x).T @ basis(y), compute_uv=False)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("several", [False, True])
def test_canonical_variates_against_a_slow_reference(classes: int, several: bool) -> None:
    rows, width = 60, 5
    labels = torch.arange(rows) % classes
    targets = functional.one_hot(labels, classes).double()
    if several:
        targets = (torch.rand(rows, classes, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    x = normal(rows, width) + targets @ normal(classes, width, seed=2).double()
    x = (x - x.mean(0)) @ whitening_matrix(x, width)
    matrix = canonical_matrix(x, targets if several else labels)
    correlations = canonical_correlations(x.numpy(), targets.numpy())
    freedom = classes if several else classes - 1
    shares = np.zeros(width)
    shares[: len(correlations)] = correlations**2
    adjusted = np.clip(1 - (1 - shares) * (rows - 1) / (rows - 1 - freedom), 0, None)
    np.testing.assert_allclose(torch.linalg.eigvalsh(matrix).flip(0).numpy(), np.sqrt(adjusted), atol=1e-6)
    torch.testing.assert_close(matrix, matrix.T)


def test_labels_and_their_indicators_say_the_same() -> None:
    x_s, labels = normal(50, 6), torch.arange(50) % 7
    indicators = functional.one_hot(labels, 9)  # two classes have no row
    first, second = canonical_matrix(x_s - x_s.mean(0), labels), canonical_matrix(x_s - x_s.mean(0), indicators)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_one_text_a_class_needs_no_labels() -> None:
    labels = torch.arange(40) % 8
    x_s = normal(8, 6)[labels]
    plain, canonical = fitted(x_s, 5), SemanticSpace(6, dimensions=5)
    canonical.fit(x_s, labels)
    found, expected = canonical(x_s) @ canonical(x_s).T, plain(x_s) @ plain(x_s).T
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [4, 6])
def test_with_a_class_a_row_nothing_is_known_of_what_goes_with_the_class(rows: int) -> None:
    x_s = normal(rows, 5)
    matrix = canonical_matrix((x_s - x_s.mean(0)) @ whitening_matrix(x_s, 3), torch.arange(rows))
    torch.testing.assert_close(matrix, torch.eye(3), rtol=1e-3, atol=1e-3)


def test_labels_that_have_nothing_to_do_with_the_text_explain_nothing() -> None:
    x_s = normal(600, 8)
    labels = torch.randint(30, (600,), generator=torch.Generator().manual_seed(3))
    white = (x_s - x_s.mean(0)) @ whitening_matrix(x_s, 8)
    assert canonical_matrix(white, labels).square().sum() / 8 < 0.02  # without adjustment about 29 / 600 = 0.05


def test_two_words_for_one_thing_mean_the_same_where_labels_tell() -> None:
    """Four things, two words each chosen by chance; a class is two things."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (400,), generator=generator)
    things = torch.stack([labels, (labels + 1) % 4], dim=1)
    words = 2 * things + torch.randint(2, (400, 2), generator=generator)
    x_s = torch.zeros(400, 8).scatter_(1, words, 1.0)
    space, blind = SemanticSpace(8, dimensions=8), fitted(x_s, 8)
    space.fit(x_s, labels)

    def likeness(of: SemanticSpace) -> Tensor:
        one, other = torch.zeros(2, 8), torch.zeros(2, 8)
        one[0, [0, 2]] = one[1, [0, 2]] = 1.0
        other[0, [1, 3]] = 1.0  # the same two things in other words
        other[1, [4, 6]] = 1.0  # two other things
        return functional.cosine_similarity(of(one) + of.centre, of(other) + of.centre)

    same, different = likeness(space)
    assert same > 0.9
    assert different < 0
    assert likeness(blind)[0] < 0.5


def test_multi_label_without_any_label_is_no_error() -> None:
    x_s = normal(30, 4)
    assert torch.isfinite(canonical_matrix(x_s - x_s.mean(0), torch.zeros(30, 5))).all()
