"""The configuration of the runs and the settings that differ."""

from collections.abc import Mapping
from typing import Any

import yaml

from marnet.comparison.tables import CellValue, Column, Table
from marnet.config.nested import flatten
from marnet.reports.blocks import Section
from marnet.reports.context import ReportContext

TITLE = "Differences between the runs"


def build(context: ReportContext) -> Section | None:
    """Build the section of all arms; None if nothing differs."""
    return settings_section({name: record.config for name, record in context.first_records.items()})


def settings_section(configs: Mapping[str, Mapping[str, Any]]) -> Section | None:
    """Return the settings that differ between runs, apart from the seed; None if none does.

    Args:
        configs: by name of the run, its configuration as nested mappings.
    """
    flat = {name: flatten(config) for name, config in configs.items()}
    keys = list(dict.fromkeys(key for found in flat.values() for key in found if key != "training.seed"))
    rows: list[list[CellValue]] = []
    for key in keys:
        values = [_word(found.get(key)) for found in flat.values()]
        if len(set(values)) > 1:
            rows.append([key, *values])
    if not rows:
        return None
    table = Table(
        title="Settings that differ",
        columns=[Column("setting"), *(Column(name) for name in flat)],
        rows=rows,
        note="All other settings are the same in every run.",
    )
    return Section(title=TITLE, blocks=[table])


def configuration_text(config: Mapping[str, Any]) -> str:
    """Return a configuration as YAML, "" if it is empty."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True) if config else ""


def environment_lines(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return an environment of `runs.directory.describe_environment` as lines of a report, packages included."""
    packages = environment.get("packages")
    rest = {name: value for name, value in environment.items() if name != "packages"}
    return {name: str(value) for name, value in (rest | (packages if isinstance(packages, dict) else {})).items()}


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
