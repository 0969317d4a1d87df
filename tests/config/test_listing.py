"""The list of settings says of each what the schema says."""

import json
from collections.abc import Callable
from typing import get_args

import pytest
from pydantic import ValidationError

from marnet.choices import Augmentation, Balance
from marnet.config import Config, list_settings, make_config
from marnet.config.flat import flat_settings
from marnet.config.listing import matching_settings

Call = Callable[..., tuple[int, str, str]]

SETTINGS = {setting.name: setting for setting in list_settings()}


def test_the_list_has_every_setting_once_in_the_order_of_the_schema() -> None:
    assert [setting.name for setting in list_settings()] == list(flat_settings(Config()))


def test_defaults_are_those_of_the_schema() -> None:
    for name, default in flat_settings(Config.model_construct()).items():
        assert SETTINGS[name].default == (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize(
    ("name", "shown", "default"),
    [
        ("data.augmentation", '"none" | "light" | "strong"', "light"),
        ("training.epochs", "int >= 1", 60),
        ("training.lr", "float > 0", 0.001),
        ("data.val_share", "float > 0 and < 1", 0.15),
        ("training.gradient_clip", "float > 0 | null", 1.0),
        ("data.features", "path | null", None),
        ("data.cache", "bool", True),
        ("data.columns.label", "str", "label"),
        ("options", "mapping", {}),
    ],
)
def test_types_are_written_as_people_read_them(name: str, shown: str, default: object) -> None:
    assert (SETTINGS[name].type, SETTINGS[name].default) == (shown, default)


def test_words_are_those_of_the_choices() -> None:
    for name, choices in (("data.augmentation", Augmentation), ("training.balance", Balance)):
        assert SETTINGS[name].type == " | ".join(f'"{word}"' for word in get_args(choices))


def test_every_default_is_taken_back() -> None:
    assigned = [f"{name}={json.dumps(setting.default)}" for name, setting in SETTINGS.items()]
    try:
        config = make_config(sets=assigned)
    except ValidationError as error:  # pragma: no cover
        pytest.fail(str(error))
    assert config == Config()


def test_descriptions_come_from_the_schema() -> None:
    assert (
        SETTINGS["training.lr"].description
        == Config.model_fields["training"]
        .annotation.model_fields[  # type: ignore[union-attr]
            "lr"
        ]
        .description
    )


def test_a_pattern_or_a_part_of_a_name_chooses() -> None:
    assert [each.name for each in matching_settings("data.columns.*")] == [
        f"data.columns.{role}" for role in ("image", "text", "label", "split", "group")
    ]
    assert [each.name for each in matching_settings("probe")] == ["training.probe_epochs"]
    assert matching_settings("nonsense") == []


def test_the_command_prints_them(call: Call) -> None:
    code, out, err = call("settings", "training.*")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    position = lines.index("training.lr = 0.001  (float > 0)")
    assert lines[position + 1].strip() == SETTINGS["training.lr"].description
    assert lines[position + 2].strip() == "flag: --lr"
    assert sum(not line.startswith(" ") for line in lines) == sum(name.startswith("training.") for name in SETTINGS)


def test_the_command_prints_json(call: Call) -> None:
    code, out, _ = call("settings", "--json")
    assert code == 0
    content = json.loads(out)
    assert [each["name"] for each in content] == list(SETTINGS)
    assert {each["name"]: each["flag"] for each in content}["training.batch_size"] == "--batch-size"
    assert content[0]["type"] == SETTINGS["method"].type


def test_a_pattern_without_a_match_is_refused(call: Call) -> None:
    code, out, err = call("settings", "training.epoch_s")
    assert (code, out) == (1, "")
    assert err == (
        "Error: No setting matches 'training.epoch_s'. Did you mean 'training.epochs', 'training.probe_epochs' or "
        "'training.seed'? 'marnet settings' lists all of them.\n"
    ) or err.startswith("Error: No setting matches 'training.epoch_s'. Did you mean 'training.epochs'")
