"""The table of flags agrees with the commands, and messages of the library come out in the flags of the command."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from typer.main import get_command

from marnet.cli.app import app
from marnet.cli.flags import COMMANDS, settings_from_flags
from marnet.cli.messages import expand_home, find_command, translate
from marnet.config import Config, list_settings, make_config
from marnet.config.flat import flat_settings
from marnet.errors import ConfigError, MarnetError

Call = Callable[..., tuple[int, str, str]]

NOT_THE_LIBRARYS = {"--help", "--json"}
TRAIN_SETTINGS = COMMANDS["train"].settings


def commands() -> dict[str, click.Command]:
    group = get_command(app)
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if name == "data":
            found |= {f"data {inner}": each for inner, each in command.commands.items()}
        else:
            found[name] = command
    return found


def words_of(command: click.Command) -> set[str]:
    """Flags, and positional arguments in capitals."""
    names = {flag for each in command.params if each.param_type_name == "option" for flag in each.opts}
    return names | {str(each.name).upper() for each in command.params if each.param_type_name == "argument"}


def test_the_table_has_every_command() -> None:
    assert set(COMMANDS) == set(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_and_the_command_have_the_same_flags(name: str) -> None:
    table = COMMANDS[name]
    in_table = {*table.settings.values(), *table.arguments.values()}
    words = words_of(commands()[name])
    assert in_table <= words
    left = words - in_table - NOT_THE_LIBRARYS
    assert {word for word in left if word.startswith("--")} <= ({"--set"} if table.sets else set())
    assert ("--set" in words) == bool(table.sets)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "compare"])
def test_the_settings_of_the_table_exist(name: str) -> None:
    known = {setting.name for setting in list_settings()}
    assert set(COMMANDS[name].settings) <= known
    assert all(any(setting.startswith(each) for setting in known) for each in COMMANDS[name].sets)


@pytest.mark.parametrize(("setting", "flag"), TRAIN_SETTINGS.items())
def test_every_setting_with_a_flag_goes_in_by_it_and_comes_out_as_it(setting: str, flag: str) -> None:
    default = flat_settings(Config())[setting]
    value = {"data.labels": "multi", "data.on_bad_image": "skip", "training.balance": "weights"}.get(setting)
    value = value or {"training.precision": "64", "method": "match", "data.features": "F"}.get(setting)
    value = value or (True if default is False else {str: "cpu", float: 0.5}.get(type(default), 9))
    config = make_config(settings_from_flags("train", {flag: value, "--lr" if flag != "--lr" else "--seed": None}))
    changed = {name for name, found in flat_settings(config, only_given=True).items() if found != default}
    assert setting in changed
    assert translate(f"Try `{setting}`.", "train") == f"Try {flag}."
    shown = flag if value is True else f"{flag} {value}"
    assert translate(f"Try `{setting}={value}`.", "train") == f"Try {shown}."
    assert translate(f"  `{setting}`: found -1", "train").startswith(f"  {flag}")


def test_nested_settings_hold_only_what_was_typed() -> None:
    typed = {"--lr": 0.1, "--epochs": 3, "--method": "match", "--seed": None, "--pretrained": None}
    assert settings_from_flags("train", typed) == {"method": "match", "training": {"lr": 0.1, "epochs": 3}}
    assert settings_from_flags("compare", {"--data": "x.csv"}) == {"base": {"data": {"source": "x.csv"}}}
    assert settings_from_flags("data info", {"SOURCE": "x.csv"}) == {"data": {"source": "x.csv"}}


@pytest.mark.parametrize(
    ("command", "message", "shown"),
    [
        ("train", "choose another `out`, or `overwrite=True`", "choose another --out, or --overwrite"),
        ("train", "(`resume=True`)", "(--resume)"),
        ("train", "leave `backbone.pretrained` out", "leave --pretrained out"),
        ("train", "`backbone.pretrained=True`", "--pretrained"),
        ("train", "`backbone.pretrained=false`", "--set backbone.pretrained=false"),
        ("train", "lower `losses.matching`", "lower --set losses.matching=..."),
        ("train", "name it with `data.columns.label=NAME`.", "name it with --set data.columns.label=NAME."),
        ("train", "`data.columns.label=my dish`", "--set 'data.columns.label=my dish'"),
        ("train", "`data.source=my dishes.csv`", "--data 'my dishes.csv'"),
        ("data convert", "`data.labels=multi`, `shards=True` or `images_per_shard`",
         "--labels multi, --shards or --images-per-shard"),
        ("data convert", "another `out`", "another OUT"),
        ("data info", "raise `data.max_pixels=9`", "raise --set data.max_pixels=9"),
        ("data check", "see `training.balance`", "see 'training.balance'"),
        ("evaluate", "`data.on_bad_image=skip`", "'data.on_bad_image=skip'"),
        ("evaluate", "without `corruptions`, with another `source`", "without --corruptions, with another --data"),
        ("compare", "`base.data.source` or `data.source`", "--data or --data"),
        ("compare", "`base.training.lr=0.1`, `training.lr`", "--set training.lr=0.1, --set training.lr=..."),
        ("compare", "Correct `methods`", "Correct --methods"),
        ("compare", "  `label_budget`: found 2", "  --label-budget: found 2"),
        ("train", "  `losses.matching`: found -1", "  losses.matching: found -1"),
        ("train", "  `training.lr`: found -1", "  --lr (training.lr): found -1"),
        ("demo", "`out`", "--out"),
    ],
)  # fmt: skip
def test_settings_and_arguments_become_flags(command: str, message: str, shown: str) -> None:
    assert translate(message, command) == shown


@pytest.mark.parametrize(
    "message",
    [
        "`training.epoch`: unknown key.",
        "`nonsense` and `a.b=3`",
        "pass `backbone=...` to `load`",
        "a class called '`out`' or \"some `training.lr` of ours\" or 'an `out` too'",
        "photos/`out`/1.jpg and x`out` and `out`y",
        "`out\n`",
        "`marnet train --lr 3`",
    ],
)
def test_other_words_and_text_of_the_user_stay(message: str) -> None:
    assert translate(message, "train") == message


def test_every_line_of_a_message_is_translated_between_apostrophes() -> None:
    message = "The run's settings:\n  `training.lr`: found 'x'\nthe runs' `out`; 'marnet train' takes `training.seed`"
    shown = "The run's settings:\n  --lr (training.lr): found 'x'\nthe runs' --out; 'marnet train' takes --seed"
    assert translate(message, "train") == shown
    assert translate(message, "") == message


def test_an_error_knows_the_names_in_its_message() -> None:
    error = ConfigError("`training.lr=3` and 'the `out`' and `overwrite=True`; `training.lr`, `arms.0.method`: no.")
    assert error.settings == ("training.lr", "overwrite", "arms.0.method")
    assert MarnetError("nothing").settings == ()


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (["train", "--out", "x"], "train"),
        (["data", "check", "train"], "data check"),
        (["data", "--help"], ""),
        (["evaluate", "data", "check"], "evaluate"),
        (["--version"], ""),
        ([], ""),
    ],
)
def test_the_command_that_runs_is_found(typed: list[str], command: str) -> None:
    assert find_command(typed) == command


def test_errors_and_log_lines_speak_in_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call) -> None:
    import marnet.training

    def refuse(*args: object, **options: object) -> None:
        logging.getLogger("marnet").info("Note: `data.labels=multi` is %s.", "`data.max_pixels`")
        raise ConfigError("No.\n  `training.devices=x`\n  `losses.matching=3`")

    monkeypatch.setattr(marnet.training, "fit", refuse)
    code, out, err = call("train", "--data", "x", "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "Note: --labels multi is --set data.max_pixels=....",
        "Error: No.",
        "  --devices x",
        "  --set losses.matching=3",
    ]


def test_help_is_fast_and_flags_stand_in_the_command_line_alone() -> None:
    """Messages are translated without the schema until one needs it."""
    code = (
        "import sys; from marnet.cli.messages import translate; print(translate('`training.lr` `out`', 'train')); "
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--lr", "--out", "False"]


def test_a_home_folder_after_an_equals_sign_is_found() -> None:
    home = str(Path.home())
    given = ["--out=~/a", "--data=~", "~/b", "--out=~x/a", "--set=data.source=~/a", "-o=~/a"]
    assert expand_home(given) == [
        f"--out={home}/a",
        f"--data={home}",
        "~/b",
        "--out=~x/a",
        "--set=data.source=~/a",
        "-o=~/a",
    ]
