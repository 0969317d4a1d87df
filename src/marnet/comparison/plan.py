"""The plan of a comparison: its configuration file, and from it the runs, each with its own configuration and key."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from marnet.comparison.arms import KNOWN_ARMS, RANDOM_TEXT
from marnet.comparison.data import SharedFeatures
from marnet.comparison.keys import run_key
from marnet.comparison.records import Placebo
from marnet.config import Config, Section, make_config
from marnet.config.errors import explain
from marnet.config.nested import expand_preset, merge_settings, parse_assignment, read_yaml
from marnet.encoders.text import check_text_encoder_name
from marnet.errors import ConfigError, suggest
from marnet.methods import find_method, resolve
from marnet.runs.code import trust_code
from marnet.training.features import config_on_features


class Arm(Section):
    """One thing to compare. A name that marnet knows comes with its method and placebo."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also the name of a folder")
    method: str = Field(description="one of marnet.list_methods(), or module:PACKAGE.NAME")
    placebo: Placebo | None = Field(
        None,
        description="shuffled: texts of other classes; random: random text vectors; constant: one text for all rows",
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="nested settings over those of base")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        values = {"name": values} if isinstance(values, str) else values
        if not isinstance(values, Mapping):
            return values
        known = KNOWN_ARMS.get(str(values.get("name")))
        if known is None:
            if "name" in values and "method" not in values:
                raise ValueError(
                    f"arm {values['name']!r} is not known and names no method. Expected one of "
                    f"{', '.join(KNOWN_ARMS)}, or a mapping with name, method and settings."
                    f"{suggest(str(values['name']), KNOWN_ARMS)}"
                )
            return values
        filled = {"method": known.method, "placebo": known.placebo, **values}
        if isinstance(values.get("settings", {}), Mapping):
            filled["settings"] = merge_settings(known.settings, values.get("settings", {}))
        return filled


class ComparisonConfig(Section):
    """The plan of a comparison, as its file has it."""

    base: dict[str, Any] = Field(description="settings of every run; `preset` names a preset to start from")
    arms: list[Arm] = Field(min_length=1)
    seeds: int = Field(6, ge=1, le=1000, description="number of seeds, from 0; fewer than 6 cannot reach p < 0.05")
    split: Literal["train", "val", "test"] = Field("val", description="the split on which the arms are scored")
    corruptions: bool = Field(False, description="also measure accuracy under corruptions of the images")
    label_budget: float = Field(1.0, gt=0, le=1, description="share of training rows to train on, class by class")
    keep_unlabelled: bool = Field(
        False,
        description="keep the training rows beyond label_budget, without their labels",
    )
    text_budget: float = Field(1.0, gt=0, le=1, description="share of training texts to keep")
    long_tail: float = Field(
        1.0, ge=1, description="rows of the most frequent class over those of the rarest, by a power law; 1: all rows"
    )
    leave_classes_out: int = Field(
        0, ge=0, description="classes that a run is not trained for, drawn by its seed, and then takes in untrained"
    )
    new_class_images: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0, 1, 2, 4], min_length=1, description="numbers of images from which each of them is made"
    )
    keep_runs: Literal["first-seed", "all"] = Field("first-seed", description="the runs whose weights stay in OUT/work")
    out: Path | None = Field(None, description="the folder of the results; the argument `out` wins")

    @model_validator(mode="after")
    def _there_are_rows_to_keep(self) -> "ComparisonConfig":
        if self.keep_unlabelled and self.label_budget == 1:
            raise ValueError(
                "`keep_unlabelled` keeps the rows beyond `label_budget` without their labels, but the budget of 1 "
                "leaves none. Lower it"
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> "ComparisonConfig":
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"arms {', '.join(twice)} occur more than once. Give each arm a name of its own")
        return self


class PlannedRun(NamedTuple):
    """One training that a comparison needs."""

    arm: Arm
    seed: int
    config: Config
    key: str

    @property
    def name(self) -> str:
        """The run's place in OUT/runs and OUT/work, without a suffix."""
        return f"{self.arm.name}/seed-{self.seed}"


def read_comparison_config(
    file: Path, *, values: Mapping[str, Any] | None = None, sets: Sequence[str] = ()
) -> ComparisonConfig:
    """Read the configuration of a comparison.

    Args:
        file: YAML with the keys of `ComparisonConfig`.
        values: settings over those of the file; a source of rows or features among them replaces that of the file.
        sets: settings of `base`, as "a.b=c".

    Raises:
        ConfigError: a key is unknown or a value does not fit; both for the comparison and for the runs of each arm.
    """
    over = dict(values or {})
    for assignment in sets:
        over = merge_settings(over, {"base": parse_assignment(assignment)})
    return make_comparison_config(merge_settings(without_rows(read_yaml(file), over), over))


def without_rows(plan: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan without its source of rows if `over` names features, and without its features if it names a source.

    Both say which rows to train on, so that one replaces the other.
    """
    given = _data_section(over)
    replaced = {"features": "source", "source": "features"}
    gone = {other for name, other in replaced.items() if given.get(name) is not None and other not in given}
    kept = {name: value for name, value in _data_section(plan).items() if name not in gone}
    return {**plan, "base": {**plan["base"], "data": kept}} if _data_section(plan) else dict(plan)


def _data_section(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    base = plan.get("base")
    data = base.get("data") if isinstance(base, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def results_folder(
    comparison: ComparisonConfig, *, out: Path | str | None, plan: Path | str | Mapping[str, Any]
) -> Path:
    """Return the folder of a comparison: `out`, else that of the plan, else comparisons/NAME of a plan's file.

    Raises:
        ConfigError: there is none of these.
    """
    named = None if isinstance(plan, Mapping) else Path("comparisons") / Path(plan).stem
    folder = out or comparison.out or named
    if folder is None:
        raise ConfigError("There is no folder to write the comparison into. Give `out`, or `out` in the plan.")
    return Path(folder)


def make_comparison_config(values: Mapping[str, Any]) -> ComparisonConfig:
    """Build the configuration of a comparison from nested settings; see `read_comparison_config`."""
    try:
        comparison = ComparisonConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, ComparisonConfig)) from None
    _check_base(comparison.base)
    shared = base_config(comparison).data.features
    for arm in comparison.arms:
        if configure(comparison, arm, seed=0).data.features != shared:
            raise ConfigError(
                f"In arm {arm.name!r} of the comparison: the arm sets `data.features`, but all arms train on the same "
                f"rows. Set it in base."
            )
    return comparison


def base_config(comparison: ComparisonConfig) -> Config:
    """Return the settings that all arms share."""
    try:
        return make_config(expand_preset(comparison.base))
    except ConfigError as error:
        raise ConfigError(f"In 'base' of the comparison: {error}") from None


def configure(comparison: ComparisonConfig, arm: Arm, seed: int, features: SharedFeatures | None = None) -> Config:
    """Return the configuration of one run; with features, with their backbone and data.

    Raises:
        ConfigError: the arm's settings do not fit or contradict the features, or its placebo has no text to act on.
    """
    try:
        values = merge_settings(expand_preset(comparison.base), expand_preset(arm.settings))
        values = merge_settings(values, {"method": arm.method, "training": {"seed": seed}})
        config = make_config(values)
        trust_code(config)  # the file of a comparison is its user's own; the records of one are not
        config = resolve(config)
        method = find_method(config.method)
        if arm.placebo is not None and not method.needs_text:
            raise ConfigError(f"method {arm.method!r} learns from no text, so a placebo for texts says nothing.")
        if arm.placebo == "random":
            config = resolve(
                make_config(merge_settings(values, {"text": {"name": f"{RANDOM_TEXT}{config.text.name}"}}))
            )
            trust_code(config)
        if features is not None:
            config = config_on_features(config, features.encoder)
    except ConfigError as error:
        raise ConfigError(f"In arm {arm.name!r} of the comparison: {error}") from None
    if method.needs_text:
        check_text_encoder_name(method.text_encoder(config).name)
    return config


def plan_run(
    comparison: ComparisonConfig, arm: Arm, seed: int, rows: str, features: SharedFeatures | None = None
) -> PlannedRun:
    """Plan one run with its key, a hash of everything that determines it; `rows` is the digest of the data's rows."""
    config = configure(comparison, arm, seed, features)
    key = run_key(
        config.model_dump(mode="json"),
        placebo=arm.placebo,
        split=comparison.split,
        label_budget=comparison.label_budget,
        keep_unlabelled=comparison.keep_unlabelled,
        text_budget=comparison.text_budget,
        long_tail=comparison.long_tail,
        leave_classes_out=comparison.leave_classes_out,
        new_class_images=comparison.new_class_images,
        rows=rows,
        features="" if features is None else features.digest,
    )
    return PlannedRun(arm, seed, config, key)


def plan_runs(comparison: ComparisonConfig, rows: str, features: SharedFeatures | None = None) -> list[PlannedRun]:
    """Plan every run, seed by seed, so that a comparison that is stopped has about as many seeds of each arm."""
    return [
        plan_run(comparison, arm, seed, rows, features) for seed in range(comparison.seeds) for arm in comparison.arms
    ]


def _check_base(base: Mapping[str, Any]) -> None:
    """Refuse settings in `base` that each run gets from its arm and seed."""
    named = [name for name in ("method", "training.seed") if _has(base, name)]
    if named:
        raise ConfigError(
            f"base of the comparison sets {', '.join(named)}, which each arm and seed decide. Leave that out of base; "
            f"an arm may have settings of its own."
        )


def _has(settings: Mapping[str, Any], dotted: str) -> bool:
    value: Any = settings
    for name in dotted.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return value is not None
