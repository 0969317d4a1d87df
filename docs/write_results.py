"""Write the table of all committed comparisons into docs/results.md, between its two marks.

Run: uv run python docs/write_results.py
"""

from pathlib import Path
from typing import NamedTuple

from marnet.comparison.record_store import read_comparison
from marnet.comparison.statistics import PairedDifference
from marnet.comparison.summary import BASELINE, Contrast, Results, summarise
from marnet.evaluation.corruption_metrics import MEAN_ACCURACY
from marnet.methods import FULL

PAGE = Path(__file__).parent / "results.md"
COMPARISONS = Path(__file__).parents[1] / "benchmarks" / "comparisons"
BEGIN, END = "<!-- written by docs/write_results.py -->", "<!-- end -->"
PLACEBO, OTHERS = "marnet-shuffled", ("regress", "late-fusion")
HEADER = (
    "comparison", "backbone", "seeds", "image-only", "marnet", "its placebo", "regress", "late-fusion",
    "calibration error", "under corruption",
)  # fmt: skip


class Row(NamedTuple):
    """A line of the table: a folder of records, and what they are of."""

    folder: str
    backbone: str


ROWS = (
    Row("synthetic-30", "ResNet-10t, from scratch"),
    Row("grocery", "ResNet-10t, from scratch"),
    Row("grocery-frozen", "EfficientNet-Lite0, frozen"),
    Row("ikea-frozen", "EfficientNet-Lite0, frozen"),
    Row("posters-frozen", "EfficientNet-Lite0, frozen"),
    Row("grocery-finetuned", "EfficientNet-Lite0, fine-tuned"),
    Row("ikea-finetuned", "EfficientNet-Lite0, fine-tuned"),
    Row("posters-finetuned", "EfficientNet-Lite0, fine-tuned"),
)


def table() -> str:
    """Return the table as Markdown, one line per folder of `ROWS` that holds records."""
    lines = [HEADER, tuple("---" for _ in HEADER)]
    for row in ROWS:
        if (COMPARISONS / row.folder / "runs").is_dir():
            lines.append(_cells(row, summarise(read_comparison(COMPARISONS / row.folder))))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def written(page: str) -> str:
    """Return the page with the table between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def _cells(row: Row, results: Results) -> tuple[str, ...]:
    score = results.task.score
    (baseline,) = (arm for arm in results.arms if arm.arm == BASELINE)
    against = {arm: results.contrast(arm, BASELINE) for arm in (FULL, PLACEBO, *OTHERS)}
    full = against[FULL]
    return (
        f"`{row.folder}`",
        row.backbone,
        str(len(full.seeds) if full else len(baseline.seeds)),
        f"{100 * baseline.metrics[score].mean:.1f}" + (" (mAP)" if score == "map" else ""),
        *(_difference(each, score) for each in against.values()),
        _difference(full, "ece"),
        _difference(full, MEAN_ACCURACY),
    )


def _difference(contrast: Contrast | None, metric: str) -> str:
    """Return a difference in points with its interval and p; an empty cell where it was not measured."""
    found: PairedDifference | None = contrast.metrics.get(metric) if contrast else None
    if found is None:
        return ""
    mean, low, high = (round(100 * value, 1) + 0.0 for value in (found.mean, found.low, found.high))
    return f"{mean:+.1f} ({low:.1f} to {high:.1f}; {found.p:.2f})"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
