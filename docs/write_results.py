"""Write the tables of all committed comparisons into docs/results.md, between its two marks.

Run: uv run python docs/write_results.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from marnet.comparison.record_store import read_comparison
from marnet.comparison.summary import BASELINE, Contrast, Results, summarise
from marnet.evaluation.corruption_metrics import MEAN_ACCURACY
from marnet.methods import FULL

PAGE = Path(__file__).parent / "results.md"
COMPARISONS = Path(__file__).parents[1] / "benchmarks" / "comparisons"
BEGIN, END = "<!-- written by docs/write_results.py -->", "<!-- end -->"
ARMS = (FULL, "marnet-shuffled", "marnet-random", "marnet-constant", "regress", "late-fusion")
CONFIDENCE = ("nll", "ece", "aurc", MEAN_ACCURACY)
IN_PERCENT = ("top1", "map", "ece", "aurc", MEAN_ACCURACY)


class Row(NamedTuple):
    """A line of the tables: a folder of records, and what they are of."""

    folder: str
    data: str
    backbone: str


ROWS = (
    Row("synthetic-30", "drawn dishes", "ResNet-10t, from scratch"),
    Row("grocery", "Grocery Store", "ResNet-10t, from scratch"),
    Row("grocery-frozen", "Grocery Store", "Lite0, frozen"),
    Row("ikea-frozen", "IKEA products", "Lite0, frozen"),
    Row("ikea-frozen-tenth-of-texts", "IKEA products, 90 % of the texts blank", "Lite0, frozen"),
    Row("ikea-unlabelled", "IKEA products, 75 % of the labels blank", "Lite0, frozen"),
    Row("grocery-unlabelled", "Grocery Store, 75 % of the labels blank", "Lite0, frozen"),
    Row("posters-frozen", "movie posters (mAP)", "Lite0, frozen"),
    Row("grocery-finetuned", "Grocery Store", "Lite0, fine-tuned"),
    Row("ikea-finetuned", "IKEA products", "Lite0, fine-tuned"),
)


def tables() -> str:
    """Return the tables as Markdown: scores, then confidence and corruption; one line per folder that holds records."""
    found = [
        (row, summarise(read_comparison(COMPARISONS / row.folder)))
        for row in ROWS
        if (COMPARISONS / row.folder / "runs").is_dir()
    ]
    scores = [("comparison", "data", "backbone", "seeds", "image-only", *ARMS), *(_scores(*each) for each in found)]
    names = ("negative log-likelihood", "calibration error, %", "AURC, %", "score under corruption, %")
    confidence = [("comparison", *names), *(_confidence(*each) for each in found)]
    return f"{_markdown(scores)}\n{_markdown(confidence)}"


def written(page: str) -> str:
    """Return the page with the tables between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _scores(row: Row, results: Results) -> tuple[str, ...]:
    score = results.task.score
    against = [results.contrast(arm, BASELINE) for arm in ARMS]
    cells = (_difference(each, score) for each in against)
    seeds = len(against[0].seeds) if against[0] else 0
    return f"`{row.folder}`", row.data, row.backbone, str(seeds), _mean(results, score), *cells


def _confidence(row: Row, results: Results) -> tuple[str, ...]:
    cells = []
    for metric in CONFIDENCE:
        difference = _difference(results.contrast(FULL, BASELINE), metric)
        cells.append(f"{_mean(results, metric)}, {difference}" if difference else "")
    return f"`{row.folder}`", *cells


def _mean(results: Results, metric: str) -> str:
    (baseline,) = (arm for arm in results.arms if arm.arm == BASELINE)
    found = baseline.metrics.get(metric)
    return "" if found is None else f"{_scale(metric) * found.mean:.{_digits(metric)}f}"


def _difference(contrast: Contrast | None, metric: str) -> str:
    """Return a difference with its interval and p; an empty cell where it was not measured."""
    found = contrast.metrics.get(metric) if contrast else None
    if found is None:
        return ""
    digits = _digits(metric)
    mean, low, high = (round(_scale(metric) * value, digits) + 0.0 for value in (found.mean, found.low, found.high))
    return f"{mean:+.{digits}f} ({low:.{digits}f} to {high:.{digits}f}; {found.p:.2f})"


def _scale(metric: str) -> float:
    return 100.0 if metric in IN_PERCENT else 1.0


def _digits(metric: str) -> int:
    return 1 if metric in IN_PERCENT else 2


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rest))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
