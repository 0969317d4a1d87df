"""Settings under dotted names."""

from marnet.evaluation.flat_settings import flatten, learned_from


def test_settings_are_flattened_as_set_takes_them() -> None:
    assert flatten({"method": "marnet", "training": {"lr": 0.1, "deep": {"x": None}}}) == {
        "method": "marnet",
        "training.lr": 0.1,
        "training.deep.x": None,
    }


def test_what_changes_nothing_about_what_a_run_learns_is_left_out() -> None:
    settings = {"data": {"source": "a.csv", "workers": 2, "image_size": 32}, "training": {"devices": "cpu", "lr": 0.1}}
    assert learned_from(settings) == {"data.image_size": 32, "training.lr": 0.1}
