"""t-SNE, the neighbourhood score and the choice of case studies."""

import numpy as np
import pytest
import torch

from marnet.evaluation.analysis import choose_cases, embed_2d, neighbourhood_score, ranked_predictions


def clusters(per_class: int = 12, classes: int = 3, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(per_class)
    return torch.eye(width)[labels] + 0.05 * torch.randn(len(labels), width, generator=generator), labels


def two_classes(confidence_of_first: list[float]) -> torch.Tensor:
    first = torch.tensor(confidence_of_first)
    return torch.stack([first, 1 - first], dim=1)


def test_embedding_keeps_clusters_together():
    features, labels = clusters()
    plane = embed_2d(features, seed=0)
    assert plane.shape == (36, 2)
    distances = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (labels.numpy()[distances.argmin(1)] == labels.numpy()).all()


def test_embedding_repeats_whatever_the_number_of_threads():
    features, _ = clusters()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = embed_2d(features, seed=3)
        torch.set_num_threads(2)
        assert np.array_equal(one, embed_2d(features, seed=3))
    finally:
        torch.set_num_threads(threads)


def test_embedding_ignores_the_length_of_the_rows():
    features, _ = clusters(per_class=2)
    powers_of_two = 2.0 ** torch.arange(len(features))[:, None]  # exact, so that the layout is the same to the bit
    assert np.allclose(embed_2d(features, seed=0), embed_2d(features * powers_of_two, seed=0), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4), (2, 1), (2, 5), (3, 2), (4, 1), (5, 80)])
def test_embedding_takes_few_points_and_few_dimensions(shape: tuple[int, int]):
    plane = embed_2d(torch.randn(shape, generator=torch.Generator().manual_seed(1)), seed=0)
    assert plane.shape == (shape[0], 2)
    assert np.isfinite(plane).all()


def test_embedding_of_equal_rows_is_one_point():
    assert np.allclose(embed_2d(torch.ones(9, 3), seed=0), 0)


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (torch.ones(3), r"features has the shape \(3,\)\. Expected \(N, D\) with N and D >= 1\."),
        (torch.ones(0, 3), r"features has the shape \(0, 3\)\. Expected \(N, D\) with N and D >= 1\."),
        (torch.tensor([[1.0, float("nan")]]), r"features holds NaN or infinite values\. Expected finite numbers"),
    ],
)
def test_embedding_refuses(features: torch.Tensor, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        embed_2d(features, seed=0)


def test_neighbourhood_score_worked_by_hand():
    # Angles 0, 10, 25, 90 degrees, labels a a b b. Nearest: 0 -> 10 (a), 10 -> 0 (a), 25 -> 10 (a), 90 -> 25 (b).
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 25.0, 90.0]))
    features = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0], [50.0], [3.0], [0.1]])
    labels = torch.tensor([0, 0, 1, 1])
    assert neighbourhood_score(features, labels, k=1) == pytest.approx(3 / 4)
    # k = 2: {10, 25} 1/2; {0, 25} 1/2; {10, 0} 0; {25, 10} 1/2.
    assert neighbourhood_score(features, labels, k=2) == pytest.approx((0.5 + 0.5 + 0 + 0.5) / 4)
    # k beyond N: all three others, of which one has the label.
    assert neighbourhood_score(features, labels, k=99) == pytest.approx(1 / 3)


def test_neighbourhood_score_agrees_with_a_slow_reference_across_blocks():
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(1030, 6, generator=generator)
    labels = torch.randint(0, 4, (1030,), generator=generator)
    unit = (features.double() / features.double().norm(dim=1, keepdim=True)).numpy()
    shares = []
    for i in range(1030):
        similarities = (unit * unit[i]).sum(axis=1).tolist()
        nearest = sorted((j for j in range(1030) if j != i), key=similarities.__getitem__, reverse=True)[:10]
        shares.append(np.mean([labels[j] == labels[i] for j in nearest]))
    assert neighbourhood_score(features, labels) == pytest.approx(np.mean(shares), abs=1e-9)


def test_neighbourhood_score_refuses():
    with pytest.raises(
        ValueError, match=r"features \(3, 2\) and labels \(2,\) do not match\. Expected \(N, D\) and \(N,\)"
    ):
        neighbourhood_score(torch.ones(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"k is 0\. Expected 1 or more neighbours"):
        neighbourhood_score(torch.ones(3, 2), torch.zeros(3), k=0)
    with pytest.raises(ValueError, match="N >= 2"):
        neighbourhood_score(torch.ones(1, 2), torch.zeros(1))


def test_cases_are_the_largest_repairs_and_the_largest_breaks():
    # All of class 0.  row:   0    1    2    3    4    5    6
    basic = two_classes([0.40, 0.20, 0.45, 0.90, 0.60, 0.80, 0.10])
    final = two_classes([0.60, 0.90, 0.70, 0.10, 0.45, 0.95, 0.20])
    # gains:              +0.2 +0.7 +0.25 -0.8 -0.15 +0.15 +0.1; repaired 0 1 2, broken 3 4, neither 5 6
    labels = torch.zeros(7, dtype=torch.long)
    assert [(case.row, case.kind) for case in choose_cases(basic, final, labels, n=3)] == [
        (1, "repaired"),
        (2, "repaired"),
        (3, "broken"),
    ]
    # Three places a side, but only two broken: the place goes to the largest remaining change, row 5.
    assert [(case.row, case.kind) for case in choose_cases(basic, final, labels, n=6)] == [
        (1, "repaired"),
        (2, "repaired"),
        (0, "repaired"),
        (3, "broken"),
        (4, "broken"),
        (5, "changed"),
    ]
    assert len(choose_cases(basic, final, labels, n=50)) == 7
    assert choose_cases(basic, final, labels, n=0) == []


def test_a_case_says_what_both_predict():
    case = choose_cases(torch.tensor([[0.1, 0.7, 0.2]]), torch.tensor([[0.1, 0.3, 0.6]]), torch.tensor([2]), n=1)[0]
    assert (case.row, case.kind, case.basic_label, case.cdr_label, case.true_labels) == (0, "repaired", 1, 2, (2,))
    assert (case.basic_confidence, case.cdr_confidence) == (pytest.approx(0.7), pytest.approx(0.6))


def test_equal_changes_come_in_the_order_of_the_rows():
    basic, final = two_classes([0.25] * 5 + [0.75] * 5), two_classes([0.75] * 5 + [0.25] * 5)
    cases = choose_cases(basic, final, torch.zeros(10, dtype=torch.long), n=4)
    assert [case.row for case in cases] == [0, 1, 5, 6]
    unchanged = choose_cases(basic, basic, torch.zeros(10, dtype=torch.long), n=3)
    assert [(case.row, case.kind) for case in unchanged] == [(0, "changed"), (1, "changed"), (2, "changed")]


def test_cases_refuse_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"basic \(2, 3\), final \(2, 4\) and labels \(2,\) do not match"):
        choose_cases(torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2))


def test_top_guesses_add_the_true_class_with_its_rank():
    probabilities = torch.tensor([0.05, 0.4, 0.1, 0.4, 0.05])
    assert [(prediction.label, prediction.rank) for prediction in ranked_predictions(probabilities, 1, k=2)] == [
        (1, 1),
        (3, 2),
    ]
    assert [(prediction.label, prediction.rank) for prediction in ranked_predictions(probabilities, 4, k=2)] == [
        (1, 1),
        (3, 2),
        (4, 5),
    ]
    assert ranked_predictions(probabilities, 4, k=2)[-1].confidence == pytest.approx(0.05)


def test_cases_of_images_with_several_classes() -> None:
    """The first image gains a correct decision, the second loses one, the third only changes its confidence."""
    truth = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    basic = torch.tensor([[0.9, 0.6, 0.8], [0.2, 0.7, 0.4], [0.1, 0.1, 0.4]])
    final = torch.tensor([[0.9, 0.3, 0.7], [0.2, 0.4, 0.4], [0.1, 0.1, 0.2]])
    cases = choose_cases(basic, final, truth, n=3)
    assert [(case.row, case.kind, case.true_labels) for case in cases] == [
        (0, "repaired", (0, 2)),
        (1, "broken", (1,)),
        (2, "changed", ()),
    ]
    ranked = ranked_predictions(final[0], cases[0].true_labels, k=1)
    assert [(each.label, each.rank) for each in ranked] == [(0, 1), (2, 2)]


def test_neighbours_of_images_with_several_classes_share_one() -> None:
    features = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99]])
    truth = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert neighbourhood_score(features, truth, k=1) == 0.5  # the first two share a class, the last two do not
