"""Every loss against a slow loop over plain numbers, values worked by hand, and their weighted sum."""

import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.config import LossConfig
from marnet.losses import (
    DEFAULT_WEIGHTS,
    ClassificationLoss,
    LossTerms,
    Objective,
    classification_loss,
    matching_loss,
    positive_pairs,
    reconstruction_loss,
)
from marnet.methods.parts.alignment import Alignment
from marnet.methods.parts.reconstruction import Reconstruction
from marnet.methods.parts.text_head import TextHead
from marnet.modules.alignment import AlignedPair
from marnet.modules.reconstruction import ReconstructionOutput
from marnet.outputs import MARNetOutput, PredictionOutput

WEIGHTS = {
    "classification": 1.0,
    "matching": 0.2,
    "reconstruction": 0.4,
    "linear_head": 7.0,
    "semantic": 0.3,
    "visual": 0.5,
    "alignment": 0.6,
    "text": 0.8,
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return functional.normalize(normal(*shape, seed=seed), dim=-1)


def matching_by_hand(z_v: Tensor, z_s: Tensor, scale: float, mask: list[list[float]]) -> Tensor:
    """Equation 5, entry by entry."""
    n = len(z_v)
    similarity = [[scale * sum(z_v[i, k] * z_s[j, k] for k in range(z_v.shape[1])) for j in range(n)] for i in range(n)]
    total = torch.zeros((), dtype=z_v.dtype)
    for i in range(n):
        image_partition = sum(torch.exp(similarity[i][k]) for k in range(n))
        text_partition = sum(torch.exp(similarity[k][i]) for k in range(n))
        image_weight = sum(mask[i][j] for j in range(n))
        text_weight = sum(mask[j][i] for j in range(n))
        for j in range(n):
            total = total - mask[i][j] / image_weight * torch.log(torch.exp(similarity[i][j]) / image_partition)
            total = total - mask[j][i] / text_weight * torch.log(torch.exp(similarity[j][i]) / text_partition)
    return total / (2 * n)


MASKS = {
    "identity": torch.eye(5, dtype=torch.bool),
    "equal texts": positive_pairs(["a", "b", "a", "c", "a"]),
    "all": torch.ones(5, 5, dtype=torch.bool),
    "soft": torch.rand(5, 5, generator=torch.Generator().manual_seed(0)),  # not symmetric
    "integers": torch.tensor([[1, 0, 0, 0, 2], [0, 1, 0, 3, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]]),
}


@pytest.mark.parametrize("kind", MASKS)
def test_matching_against_a_loop_forward_and_backward(kind: str) -> None:
    mask = MASKS[kind]
    tensors = [unit(5, 3).requires_grad_(), unit(5, 3, seed=1).requires_grad_(), torch.tensor(4.0).double()]
    tensors[2].requires_grad_()
    ours = matching_loss(*tensors, mask)
    reference = matching_by_hand(*tensors, mask.double().tolist())
    torch.testing.assert_close(ours, reference)
    for mine, theirs in zip(torch.autograd.grad(ours, tensors), torch.autograd.grad(reference, tensors), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_matching_passes_gradcheck() -> None:
    inputs = (
        unit(4, 3).requires_grad_(),
        unit(4, 3, seed=1).requires_grad_(),
        torch.tensor(3.0).double().requires_grad_(),
    )
    assert torch.autograd.gradcheck(lambda v, s, scale: matching_loss(v, s, scale, MASKS["soft"][:4, :4]), inputs)


def test_matching_with_the_identity_is_the_loss_of_clip() -> None:
    z_v, z_s, scale = unit(6, 4), unit(6, 4, seed=1), torch.tensor(14.0).double()
    similarities = scale * z_v @ z_s.T
    own = torch.arange(6)
    clip = (functional.cross_entropy(similarities, own) + functional.cross_entropy(similarities.T, own)) / 2
    for mask in (torch.eye(6), torch.eye(6, dtype=torch.bool), positive_pairs(list("abcdef"), "identity")):
        torch.testing.assert_close(matching_loss(z_v, z_s, scale, mask), clip)


def test_matching_of_two_pairs_worked_by_hand() -> None:
    z, one = torch.eye(2), torch.tensor(1.0)
    # S = identity: each row is softmax(1, 0), its own share 1 / (1 + e^-1).
    assert float(matching_loss(z, z, one, torch.eye(2))) == pytest.approx(math.log(1 + math.exp(-1)))
    assert math.log(1 + math.exp(-1)) == pytest.approx(0.3133, abs=1e-4)
    # Both texts equal: half the weight on each, so half of log(1 + 1/e) and half of log(1 + e).
    both = torch.ones(2, 2, dtype=torch.bool)
    assert float(matching_loss(z, z, one, both)) == pytest.approx(0.8133, abs=1e-4)
    # Crossed pairs at tau = 0.5: every row puts 1 / (1 + e^2) on the truth.
    crossed = matching_loss(z, z.flip(0), torch.tensor(2.0), torch.eye(2))
    assert float(crossed) == pytest.approx(math.log(1 + math.exp(2)))


def test_matching_does_not_depend_on_the_order_of_the_pairs() -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    z_v, z_s, scale, mask = unit(5, 3), unit(5, 3, seed=1), torch.tensor(5.0), MASKS["soft"]
    permuted = matching_loss(z_v[order], z_s[order], scale, mask[order][:, order])
    torch.testing.assert_close(permuted, matching_loss(z_v, z_s, scale, mask))


def test_matching_treats_the_two_sides_alike() -> None:
    z_v, z_s, scale, mask = unit(5, 3), unit(5, 3, seed=1), torch.tensor(5.0), MASKS["soft"]
    torch.testing.assert_close(matching_loss(z_s, z_v, scale, mask.T), matching_loss(z_v, z_s, scale, mask))


def test_equal_texts_are_positives() -> None:
    texts = ["red, round", "green", "red, round"]
    assert positive_pairs(texts).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert positive_pairs(texts, "identity").tolist() == torch.eye(3).bool().tolist()
    assert positive_pairs([]).shape == (0, 0)
    with pytest.raises(ValueError, match=r"positives is 'idntity', but it must be one of text, identity, or a mask\."):
        positive_pairs(texts, "idntity")


def test_equal_texts_with_different_vectors_are_not_pushed_apart() -> None:
    """Two rows share a text; their vectors still differ. Only the identity wants the pairs across to be unlike."""
    angle = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    z = torch.stack([angle.cos(), angle.sin()], 1)
    gradients = {}
    for kind in ("text", "identity"):
        z_v = z.clone().requires_grad_()
        mask = positive_pairs(["red", "red", "green"], kind)
        (gradients[kind],) = torch.autograd.grad(matching_loss(z_v, z, torch.tensor(5.0), mask), z_v)
    towards_the_other = z[1] - z[0]
    assert (-gradients["text"][0] @ towards_the_other) > 0
    assert (-gradients["identity"][0] @ towards_the_other) < 0


def test_with_one_vector_a_text_the_text_mask_is_the_identity() -> None:
    """A frozen text encoder gives equal texts equal vectors, and then both masks are the same loss.

    For each text the identity spreads its count over the images that share it, just as the mask of equal texts does.
    """
    texts = ["a", "b", "a", "c", "a", "b"]
    vectors = dict(zip("abc", unit(3, 4), strict=True))
    z_v, scale = unit(6, 4, seed=1).requires_grad_(), torch.tensor(7.0).double()
    z_s = torch.stack([vectors[text] for text in texts])
    by_text = matching_loss(z_v, z_s, scale, positive_pairs(texts))
    by_row = matching_loss(z_v, z_s, scale, positive_pairs(texts, "identity"))
    torch.testing.assert_close(by_text, by_row)
    torch.testing.assert_close(*(torch.autograd.grad(loss, z_v)[0] for loss in (by_text, by_row)))


def test_a_batch_without_texts_has_no_matching_but_a_whole_graph() -> None:
    z_v, z_s = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    scale = torch.tensor(10.0, requires_grad=True)
    loss = matching_loss(z_v, z_s, scale, positive_pairs([]))
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert z_v.grad is not None
    assert z_s.grad is not None
    assert scale.grad is not None
    assert float(scale.grad) == 0.0


def test_masks_that_do_not_fit_are_refused() -> None:
    z, one = unit(3, 2), torch.tensor(1.0)
    sentence = "positives has the shape (3, 2), but a mask of 3 pairs is (3, 3)."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        matching_loss(z, z, one, torch.ones(3, 2))
    empty_row = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 0, 1]])
    sentence = (
        "positives has a negative entry, or a row or a column without any positive. Expected weights of 0 or more"
    )
    negative = torch.tensor([[2, -1, 0], [-1, 2, 0], [0, 0, 1]])
    for mask in (empty_row, empty_row.T, negative):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            matching_loss(z, z, one, mask)


def test_reconstruction_against_a_loop() -> None:
    prediction, target = normal(4, 3).requires_grad_(), normal(4, 3, seed=1)
    squares = [
        (p - t) ** 2
        for row, wanted in zip(prediction.tolist(), target.tolist(), strict=True)
        for p, t in zip(row, wanted, strict=True)
    ]
    loss = reconstruction_loss(prediction, target)
    assert float(loss.detach()) == pytest.approx(sum(squares) / 12)
    (gradient,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(gradient, 2 * (prediction - target).detach() / 12)
    assert float(reconstruction_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]))) == 2.5


def test_empty_batches_cost_nothing() -> None:
    nothing = torch.zeros(0, 3, requires_grad=True)
    for loss in (reconstruction_loss(nothing, nothing), classification_loss(nothing, torch.zeros(0).long())):
        assert float(loss.detach()) == 0.0
        loss.backward()
        assert nothing.grad is not None


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_classification_against_a_loop(smoothing: float) -> None:
    logits, labels = normal(4, 3), torch.tensor([0, 2, 1, 2])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        partition = sum(math.exp(value) for value in row)
        for c, value in enumerate(row):
            share = smoothing / 3 + (1 - smoothing) * (c == label)
            total -= share * math.log(math.exp(value) / partition)
    found = classification_loss(logits, labels, label_smoothing=smoothing)
    assert float(found) == pytest.approx(total / 4)


def outputs(
    *, branches: tuple[str, ...] = ("visual", "alignment", "reconstruction"), text: bool = True, linear: bool = True
) -> MARNetOutput:
    """Outputs for four rows, of which 0, 2 and 3 have a text; every tensor is a leaf that may learn."""

    def leaf(*shape: int, seed: int) -> Tensor:
        return normal(*shape, seed=seed).requires_grad_()

    logits = {name: leaf(4, 3, seed=20 + i) for i, name in enumerate(branches)}
    aligned = (
        AlignedPair(unit(3, 5), unit(3, 5, seed=1), torch.tensor(8.0).double()) if "alignment" in branches else None
    )
    denoised = ReconstructionOutput(
        leaf(3, 6, seed=2), normal(3, 6, seed=3), normal(3, 6, seed=7), leaf(3, 6, seed=8) if linear else None
    )
    learned = {
        "alignment": aligned,
        "reconstruction": denoised if "reconstruction" in branches else None,
        "text_head": leaf(3, 3, seed=6) if text else None,
    }
    fused = leaf(4, 3, seed=4) if len(branches) > 1 else logits["visual"]
    return MARNetOutput(
        PredictionOutput(fused, logits, {"visual": normal(4, 7)}),
        torch.tensor([0, 2, 3]),
        ("red", "blue", "red"),
        normal(3, 6, seed=5),
        fused,
        {name: found for name, found in learned.items() if found is not None},
    )


def training_loss(
    outputs: MARNetOutput,
    labels: Tensor,
    *,
    positives: str | Tensor = "text",
    weights: dict[str, float] | None = None,
    label_smoothing: float = 0.1,
    classify: ClassificationLoss = classification_loss,
) -> LossTerms:
    """The objective of a model with all parts of marnet."""
    parts = (Alignment(), Reconstruction(), TextHead())
    objective = Objective(parts, weights=weights, label_smoothing=label_smoothing, classify=classify)
    return objective(outputs, labels, positives=positives)


LABELS = torch.tensor([0, 1, 2, 0])


def expected_terms(found: MARNetOutput, smoothing: float) -> dict[str, Tensor]:
    def entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    branch, aligned = found.prediction.branch_logits, found.learned["alignment"]
    with_text = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]  # rows 0, 2, 3: red, blue, red
    return {
        "classification": entropy(found.prediction.logits, LABELS),
        "visual": entropy(branch["visual"], LABELS),
        "alignment": entropy(branch["alignment"], LABELS),
        "semantic": entropy(branch["reconstruction"], LABELS),
        "matching": matching_by_hand(aligned.z_v, aligned.z_s, 8.0, with_text),
        "reconstruction": (found.learned["reconstruction"].prediction - found.learned["reconstruction"].target)
        .square()
        .mean(),
        "linear_head": (found.learned["reconstruction"].linear_prediction - found.learned["reconstruction"].x0)
        .square()
        .mean(),
        "text": entropy(found.learned["text_head"], torch.tensor([0, 2, 0])),
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_objective_is_the_weighted_sum_of_its_terms(smoothing: float) -> None:
    found = outputs()
    loss = training_loss(found, LABELS, weights=WEIGHTS, label_smoothing=smoothing)
    expected = expected_terms(found, smoothing)
    assert set(loss.terms) == set(WEIGHTS)
    for name, term in loss.terms.items():
        torch.testing.assert_close(term, expected[name])
    torch.testing.assert_close(loss.total, sum(WEIGHTS[name] * expected[name] for name in WEIGHTS))


@pytest.mark.parametrize("removed", WEIGHTS)
def test_a_weight_of_zero_removes_its_term(removed: str) -> None:
    found = outputs()
    loss = training_loss(found, LABELS, weights={**WEIGHTS, removed: 0.0})
    assert set(loss.terms) == set(WEIGHTS) - {removed}
    expected = expected_terms(found, 0.1)
    torch.testing.assert_close(loss.total, sum(WEIGHTS[name] * expected[name] for name in WEIGHTS if name != removed))


def test_a_missing_weight_is_that_of_the_configuration() -> None:
    given = training_loss(outputs(), LABELS, weights=DEFAULT_WEIGHTS)
    total = float(given.total.detach())
    assert set(given.terms) == {name for name in WEIGHTS if DEFAULT_WEIGHTS[name]}
    for weights in (None, {}, {"visual": LossConfig().visual}):
        assert float(training_loss(outputs(), LABELS, weights=weights).total.detach()) == total


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_scales_its_term_alone(name: str) -> None:
    found = outputs()
    once = training_loss(found, LABELS, weights={name: 1.0})
    thrice = training_loss(found, LABELS, weights={name: 3.0})
    torch.testing.assert_close(thrice.total - once.total, 2 * once.terms[name])


def test_a_term_that_is_removed_sends_no_gradient() -> None:
    found = outputs()
    training_loss(found, LABELS, weights={"reconstruction": 0.0, "semantic": 0.0, "linear_head": 0.0}).total.backward()
    assert found.learned["reconstruction"].prediction.grad is None
    assert found.learned["reconstruction"].linear_prediction.grad is None
    assert found.prediction.branch_logits["reconstruction"].grad is None
    assert found.prediction.branch_logits["visual"].grad is not None


def test_a_branch_that_is_alone_has_the_weight_of_its_own_and_of_the_fused_prediction() -> None:
    found = outputs(branches=("visual",), text=False)
    loss = training_loss(found, LABELS, weights={"classification": 0.5, "visual": 2.0})
    torch.testing.assert_close(loss.total, 2.5 * loss.terms["classification"])


def test_only_the_terms_of_existing_parts_appear() -> None:
    assert set(training_loss(outputs(branches=("visual",), text=False), LABELS).terms) == {"classification"}
    terms = training_loss(outputs(branches=("visual", "alignment"), text=False), LABELS).terms
    assert set(terms) == {"visual", "alignment", "matching"}
    for linear in (True, False):
        found = outputs(branches=("visual", "reconstruction"), text=False, linear=linear)
        terms = set(training_loss(found, LABELS, weights=WEIGHTS).terms)
        assert terms == {"classification", "visual", "semantic", "reconstruction", *(["linear_head"] if linear else [])}


def test_the_positives_are_an_argument() -> None:
    found = outputs()
    aligned = found.learned["alignment"]
    identity = torch.eye(3).tolist()
    by_name = training_loss(found, LABELS, positives="identity").terms["matching"]
    torch.testing.assert_close(by_name, matching_by_hand(aligned.z_v, aligned.z_s, 8.0, identity))
    own = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    by_mask = training_loss(found, LABELS, positives=own).terms["matching"]
    torch.testing.assert_close(by_mask, matching_by_hand(aligned.z_v, aligned.z_s, 8.0, own.tolist()))
    with pytest.raises(ValueError, match=re.escape("positives has the shape (4, 4), but a mask of 3 pairs is (3, 3).")):
        training_loss(found, LABELS, positives=torch.eye(4))


def test_an_unknown_weight_is_refused() -> None:
    known = "classification, matching, reconstruction, linear_head, semantic, visual, alignment, text, words"
    with pytest.raises(ValueError, match=rf"The loss terms contrast, mse are not known\. Known terms: {known}\."):
        training_loss(outputs(), LABELS, weights={"mse": 1.0, "contrast": 0.0, "text": 1.0})


def test_every_classification_term_is_the_one_that_was_handed_in() -> None:
    """A loss that counts its rows instead: B for the branches, M for the text's own prediction."""
    terms = training_loss(outputs(), LABELS, weights={"classification": 0.2}, classify=count_rows).terms
    rows = {name: float(term.detach()) for name, term in terms.items()}
    assert {name: rows[name] for name in ("classification", "visual", "alignment", "semantic", "text")} == {
        "classification": 4, "visual": 4, "alignment": 4, "semantic": 4, "text": 3,
    }  # fmt: skip


def count_rows(logits: Tensor, targets: Tensor, /, *, label_smoothing: float = 0.0) -> Tensor:
    assert len(logits) == len(targets)
    assert label_smoothing == 0.1
    return torch.tensor(float(len(logits)))
