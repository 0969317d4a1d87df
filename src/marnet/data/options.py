"""Options that say how a source is read: its columns, the form of its labels, and the split made where it has none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, get_args

from marnet.choices import LabelForm, Unlabelled
from marnet.data.cells import MISSING
from marnet.errors import ConfigError, suggest

if TYPE_CHECKING:  # so that reading a table loads no pydantic
    from marnet.config import DataConfig


GROUP = "marnet_group"  # the column of groups that 'marnet data convert' writes; a "group" may mean anything


class ColumnNames(NamedTuple):
    """Names of the columns of a source.

    A name that equals its default is the source's usual one: "file_name" for the images of an image folder, and for a
    Hugging Face dataset the only column of the fitting type.
    """

    image: str = "image"
    text: str = "text"
    label: str = "label"
    split: str = "split"
    group: str = GROUP

    def is_usual(self, role: str) -> bool:
        """Return True where the column of a role ("image", "text", ...) has its default name."""
        return bool(getattr(self, role) == ColumnNames._field_defaults[role])


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """The options with which a source is read.

    Args:
        columns: names of the columns.
        label_form: "single" for one class per image; "multi" reads a label as a comma list of classes, possibly empty.
        missing: words that count as a missing value in a cell, in any case.
        val_share: share of val in a split made here; or of train, where a source brings train and test alone.
        test_share: share of test in a split made here.
        split_seed: seed of a split made here.
        unlabelled: "use" makes training rows with a blank label rows of the split "unlabelled"; "refuse" stops at them.

    Raises:
        ConfigError: the form of labels is unknown.

    Example:
        >>> ReadOptions(columns=ColumnNames(label="dish")).columns.label
        'dish'
    """

    columns: ColumnNames = ColumnNames()  # noqa: RUF009 (immutable)
    label_form: LabelForm = "single"
    missing: tuple[str, ...] = MISSING
    val_share: float = 0.15
    test_share: float = 0.15
    split_seed: int = 0
    unlabelled: Unlabelled = "use"

    def __post_init__(self) -> None:
        forms = get_args(LabelForm)
        if self.label_form not in forms:
            raise ConfigError(
                f"The form of labels {self.label_form!r} is unknown; the known ones are {', '.join(forms)}."
                f"{suggest(str(self.label_form), forms)}"
            )


def column_names(names: ColumnNames | Mapping[str, str]) -> ColumnNames:
    """Return names of columns from a mapping such as `{"label": "dish"}`; roles that it leaves out keep theirs.

    Raises:
        ConfigError: a role is unknown.

    Example:
        >>> column_names({"label": "dish"})
        ColumnNames(image='image', text='text', label='dish', split='split', group='marnet_group')
    """
    if isinstance(names, ColumnNames):
        return names
    unknown = [role for role in names if role not in ColumnNames._fields]
    if unknown:
        raise ConfigError(
            f"`columns` names the role {unknown[0]!r}; the known ones are {', '.join(ColumnNames._fields)}."
            f"{suggest(str(unknown[0]), ColumnNames._fields)}"
        )
    return ColumnNames()._replace(**names)


def read_options(config: "DataConfig") -> ReadOptions:
    """Return how the section `data` of a configuration says that sources are read."""
    columns = config.columns
    return ReadOptions(
        columns=ColumnNames(*(getattr(columns, role) for role in ColumnNames._fields)),
        label_form=config.labels,
        missing=config.missing,
        val_share=config.val_share,
        test_share=config.test_share,
        split_seed=config.split_seed,
        unlabelled=config.unlabelled,
    )
