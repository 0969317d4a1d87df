"""Maps of corruption by method and of confusions, and the bars of class changes."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from marnet.reports.plots.cells import STRONGEST, short_name
from marnet.reports.plots.classes import class_changes, confusion_map
from marnet.reports.plots.robustness import corruption_map, severity_curves
from marnet.reports.plots.style import BETTER, WORSE, line_marks
from marnet.reports.plots.svg import svg


def cells_of(figure: Figure) -> dict[tuple[int, int], tuple[str, float]]:
    """Colour and opacity of the drawn cells by (row, column)."""
    (drawn,) = figure.axes[0].collections
    found = {}
    for path, colour in zip(drawn.get_paths(), drawn.get_facecolors(), strict=True):
        column, row = path.vertices.min(axis=0).astype(int)
        found[int(row), int(column)] = (to_hex(colour[:3]), float(colour[3]))
    return found


def test_a_corruption_map_colours_gains_and_losses() -> None:
    accuracies = np.array([[0.5, 0.6, 0.45], [0.4, np.nan, 0.4]])
    figure = corruption_map(accuracies, rows=["fog", "snow"], columns=["a", "b", "c"], reference=0, title="t")
    assert cells_of(figure) == {
        (0, 1): (BETTER, pytest.approx(STRONGEST)),
        (0, 2): (WORSE, pytest.approx(STRONGEST / 2)),
    }
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.0", "60.0", "45.0", "40.0", "", "40.0"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["fog", "snow"]
    assert figure.axes[0].get_ylim() == (2, 0)  # the first row on top


def test_a_corruption_map_without_differences_or_numbers_is_drawn() -> None:
    assert cells_of(corruption_map(np.full((1, 2), 0.5), rows=["fog"], columns=["a", "b"], reference=1, title="")) == {}
    assert cells_of(corruption_map(np.full((1, 1), np.nan), rows=["fog"], columns=["a"], reference=0, title="")) == {}
    with pytest.raises(ValueError, match=r"accuracies \(1, 2\) do not match 1 names of rows and 1"):
        corruption_map(np.zeros((1, 2)), rows=["fog"], columns=["a"], reference=0, title="")


def test_a_confusion_map_tells_errors_from_hits() -> None:
    figure = confusion_map(np.array([[0.75, 0.25], [0.0, 1.0]]), ["eel", "lime"], "t")
    assert cells_of(figure) == {
        (0, 0): (BETTER, pytest.approx(STRONGEST * 0.75**0.5)),
        (0, 1): (WORSE, pytest.approx(STRONGEST * 0.5)),
        (1, 1): (BETTER, pytest.approx(STRONGEST)),
    }
    assert [text.get_text() for text in figure.axes[0].texts] == ["75", "25", "", "100"]
    with pytest.raises(ValueError, match=r"shares \(2, 2\) do not match 3 classes\. Expected \(3, 3\)"):
        confusion_map(np.eye(2), ["a", "b", "c"], "t")


def test_a_large_confusion_map_has_no_numbers_and_stays_small() -> None:
    figure = confusion_map(np.eye(40), [f"class {i}" for i in range(40)], "t")
    assert len(figure.axes[0].texts) == 0
    assert len(svg(figure)) < 150_000


def test_bars_point_to_gains_and_losses() -> None:
    figure = class_changes(["eel (3)", "lime (2)"], [0.25, -0.1], "t")
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([25, -10])
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [BETTER, WORSE]
    assert "$" in svg(class_changes(["$x$ < &"], [0.1], "t"))
    class_changes([], [], "no class changed")


def test_long_names_are_cut() -> None:
    assert short_name("a" * 24) == "a" * 24
    assert short_name("a" * 25) == "a" * 23 + "…"


def test_severity_curves_keep_the_place_of_the_legend() -> None:
    marks = line_marks(["a", "b", "c"])
    figure = severity_curves({"c": [0.9, 0.5], "a": [0.8, 0.4]}, marks, "t", small=True, limits=(0, 1))
    first, second = figure.axes[0].lines
    assert (first.get_gid(), second.get_gid()) == ("mark-2", "mark-0")
    assert first.get_color() == marks["c"].colour
    assert first.get_xydata().tolist() == [[0, 0.9], [1, 0.5]]
    assert figure.axes[0].get_ylim() == (0, 1)
