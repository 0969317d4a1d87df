"""`compare`: one call from a plan and data in any form to the results of a comparison."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marnet.comparison.plan import base_config, make_comparison_config, results_folder, without_rows
from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import metric_format
from marnet.comparison.runner import run_comparison
from marnet.comparison.summary import Results, summarise
from marnet.config.nested import merge_settings, read_yaml, unflatten
from marnet.data.sources import open_data


class Comparison(NamedTuple):
    """What a comparison found; printed, it is the verdict and the top-1 or mAP of every arm.

    Example:
        >>> import marnet
        >>> comparison = marnet.compare(
        ...     {"base.backbone.name": "timm:test_resnet", "base.training.epochs": 1, "base.data.image_size": 32},
        ...     data="products.csv", methods=["image-only", "marnet"], seeds=1, out="comparisons/one",
        ... )
        >>> [(record.arm, record.seed) for record in comparison.records]
        [('image-only', 0), ('marnet', 0)]
        >>> [line.split()[0] for line in str(comparison).splitlines()[-2:]]  # print(comparison) shows it
        ['image-only', 'marnet']
        >>> comparison.results.name
        'results.md'
    """

    path: Path  # the folder of the comparison
    records: tuple[RunRecord, ...]  # of the finished runs
    summary: Results | None  # means, paired differences and the verdict; None before a run is finished
    results: Path | None  # results.md, with the tables
    elsewhere: int  # runs that another process is training

    def __str__(self) -> str:
        if self.summary is None:
            return f"Comparison in {self.path}: no run is finished."
        width = max(len(arm.arm) for arm in self.summary.arms)
        score = self.summary.task.score
        shown = metric_format(score)
        rows = [(arm.arm, arm.metrics[score], len(arm.seeds)) for arm in self.summary.arms if score in arm.metrics]
        lines = [self.summary.verdict, "", f"{'arm':{width}}  {shown.title:>12}  runs"]
        for name, found, runs in rows:
            mean = shown.show(found.mean)
            deviation = f" ± {shown.show(found.sd)}" if runs > 1 else ""
            lines.append(f"{name:{width}}  {mean + deviation:>12}  {runs:4}")
        return "\n".join(lines)


def compare(
    plan: Path | str | Mapping[str, Any],
    *,
    out: Path | str | None = None,
    data: Any = None,
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    features: Path | str | None = None,
) -> Comparison:
    """Train every arm of a plan with every seed, score the runs, and write the results.

    It may be stopped at any time and called again: a finished run is not repeated, an unfinished one resumes.

    Args:
        plan: a YAML file or a mapping with `arms`, `seeds`, `base` (the settings of every run) and more, see
            docs/comparing.md; names may be dotted.
        out: the folder of the comparison; by default that of the plan, or comparisons/NAME of a plan's file.
        data: the rows, as for `train`, in place of `base.data.source`.
        methods: the arms to run this time; those of the plan by default. Where the plan has none, these are its arms.
        seeds: the number of seeds, in place of the plan's.
        settings: settings of every run over those of the plan, dotted or nested.
        features: a folder that `embed` wrote, in place of the plan's rows: every arm trains on these features of a
            frozen backbone.

    Raises:
        MarnetError: the plan, the data or an arm cannot be used, or `out` holds a run with other settings.

    Example:
        >>> import marnet
        >>> comparison = marnet.compare("plan.yaml", data="products.csv", seeds=2, out="comparisons/two")
        >>> sorted({record.arm for record in comparison.records}), len(comparison.records)
        (['image-only', 'marnet'], 4)
    """
    values = unflatten(plan if isinstance(plan, Mapping) else read_yaml(Path(plan)))
    base = unflatten(settings or {})
    if isinstance(data, str | os.PathLike):
        base = merge_settings(base, {"data": {"source": os.fspath(data)}})
    if features is not None:
        base = merge_settings(base, {"data": {"features": os.fspath(features)}})
    values = merge_settings({"base": {}}, merge_settings(without_rows(values, {"base": base}), {"base": base}))
    if seeds is not None:
        values["seeds"] = seeds
    if "arms" not in values and methods:
        values["arms"] = list(methods)
    if isinstance(values.get("arms"), Sequence):
        values["arms"] = [unflatten(arm) if isinstance(arm, Mapping) else arm for arm in values["arms"]]
    comparison = make_comparison_config(values)
    folder = results_folder(comparison, out=out, plan=plan)
    rows = (
        None if data is None or isinstance(data, str | os.PathLike) else open_data(data, base_config(comparison).data)
    )
    found = run_comparison(comparison, folder, methods=methods or (), manifest=rows)
    summary = summarise(found.records) if found.records else None
    return Comparison(found.out, found.records, summary, found.results, found.elsewhere)
