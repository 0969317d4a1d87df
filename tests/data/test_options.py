"""How a source is read: names of columns, form of labels, shares of splits."""

import re

import pytest

from marnet.config import DataConfig, make_config
from marnet.data.options import ColumnNames, ReadOptions, column_names, read_options
from marnet.errors import ConfigError


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert read_options(DataConfig()) == ReadOptions()


def test_every_setting_arrives() -> None:
    values = {"labels": "multi", "val_share": 0.2, "test_share": 0.1, "split_seed": 3, "columns": {"text": "caption"}}
    assert read_options(make_config({"data": values}).data) == ReadOptions(
        columns=ColumnNames(text="caption"), label_form="multi", val_share=0.2, test_share=0.1, split_seed=3
    )


def test_columns_from_a_mapping() -> None:
    names = column_names({"label": "dish"})
    assert names == ("image", "text", "dish", "split", "marnet_group")
    assert [names.is_usual(role) for role in names._fields] == [True, True, False, True, True]
    assert column_names(names) is names
    sentence = (
        "`columns` names the role 'lable'; the known ones are image, text, label, split, group. Did you mean 'label'?"
    )
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        column_names({"lable": "dish"})


def test_an_unknown_form_of_labels_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"form of labels 'multiple' is unknown; .* single, multi. Did you mean 'multi"
    ):
        ReadOptions(label_form="multiple")  # type: ignore[arg-type]
