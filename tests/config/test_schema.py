"""Where a setting's value comes from, what is written out, and how mistakes are answered."""

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import ValidationError

from marnet.cache import cache_directory
from marnet.config import Config, Section, make_config, read_config, write_config
from marnet.config.errors import explain
from marnet.config.nested import expand_preset
from marnet.config.presets import preset_file, preset_names
from marnet.errors import ConfigError


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("method: match\ntraining: {epochs: 7, lr: 0.5}\ndata: {columns: {label: dish}}\n", encoding="utf-8")
    return path


def refusal(
    values: dict[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: Path | None = None,
    sets: tuple[str, ...] = (),
) -> str:
    with pytest.raises(ConfigError) as refused:
        make_config(values, preset=preset, file=file, sets=sets)
    return str(refused.value)


def test_later_sources_win_and_untouched_values_stay(config_file: Path) -> None:
    values = {"training": {"epochs": 8, "batch_size": 16}}
    config = make_config(values, file=config_file, sets=["training.batch_size=32", "data.columns.text=words"])
    assert config.training.epochs == 8  # values over file
    assert config.training.lr == 0.5  # file over default
    assert config.training.batch_size == 32  # sets over values
    assert config.data.columns.label == "dish"
    assert config.data.columns.text == "words"
    assert config.data.columns.image == "image"  # default
    assert make_config().training.epochs == 60


def test_the_preset_of_the_paper_is_its_literal_reading() -> None:
    config = make_config(preset="paper")
    assert config.losses.model_dump() == {
        "classification": 1, "matching": 1, "reconstruction": 1, "semantic": 1, "text": 1, "visual": 0, "alignment": 0,
        "linear_head": 0, "words": Config().losses.words, "label_smoothing": 0,
    }  # fmt: skip
    assert (config.text.trainable, config.fusion.kind, config.alignment.positives) == (True, "concat", "text")
    section = config.reconstruction
    assert (section.guide, section.condition_noise, section.condition_dropout) == ("features", 0, 0)
    assert config.semantics.dimensions is None
    assert config.method == "marnet"
    assert config.training == Config().training


def test_every_setting_of_the_papers_preset_says_whose_it_is() -> None:
    for line in preset_file("paper").read_text(encoding="utf-8").splitlines():
        assert not line.startswith("  ") or "# [P]" in line or "# [O]" in line, line


def test_the_presets() -> None:
    assert preset_names() == ["0.1", "paper"]
    oldest = make_config(preset="0.1")
    assert (oldest.training.keep, oldest.fusion.kind, oldest.training.calibrate) == ("best", "averaged", False)


def test_everything_wins_over_a_preset_and_the_preset_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("losses: {matching: 2, semantic: 2, text: 2}\n", encoding="utf-8")
    values = {"losses": {"semantic": 3, "text": 3}}
    losses = make_config(values, preset="paper", file=path, sets=["losses.text=4"]).losses
    assert (losses.reconstruction, losses.matching, losses.semantic, losses.text) == (1, 2, 3, 4)
    matching = make_config({"method": "match"}, preset="paper")
    assert (matching.method, matching.fusion.kind) == ("match", "concat")


def test_an_unknown_preset_is_refused() -> None:
    assert refusal(preset="papr") == "Preset 'papr' is not known. Expected 0.1 or paper. Did you mean 'paper'?"
    assert refusal(preset="../config") == "Preset '../config' is not known. Expected 0.1 or paper."


def test_settings_may_name_a_preset() -> None:
    expanded = expand_preset({"preset": "paper", "losses": {"text": 5}})
    assert "preset" not in expanded
    assert make_config(expanded) == make_config({"losses": {"text": 5}}, preset="paper")
    assert expand_preset({"losses": {"text": 5}}) == {"losses": {"text": 5}}


def test_of_two_sets_the_later_wins() -> None:
    assert make_config(sets=["training.epochs=3", "training.epochs=4"]).training.epochs == 4


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("training.lr=1e-3", 0.001),  # which YAML reads as a string
        ("training.gradient_clip=null", None),
        ("data.cache=false", False),
        ("data.max_pixels=1e8", 100_000_000),
        ("training.devices=2", "2"),
        ("training.devices=cpu:2", "cpu:2"),
        ("training.precision=32", "32"),
        ('training.precision="32"', "32"),
        ("data.columns.label='1e3'", "1e3"),
        ("training.precision=16-mixed", "16-mixed"),
        ("data.source=synthetic:classes=12,viewpoint=2", "synthetic:classes=12,viewpoint=2"),
        ("data.columns.label=2020", "2020"),
        ("data.columns.label=nan", "nan"),
        ("data.source=Früchte/名.csv", "Früchte/名.csv"),
    ],
)
def test_set_reads_values_as_people_write_them(assignment: str, value: object) -> None:
    config: Any = make_config(sets=[assignment])
    for key in assignment.partition("=")[0].split("."):
        config = getattr(config, key)
    assert config == value
    assert type(config) is type(value)


def test_numbers_in_a_file_may_stand_for_words(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training: {precision: 32, devices: 1}\n", encoding="utf-8")
    training = read_config(path).training
    assert (training.precision, training.devices) == ("32", "1")


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "training.=3", ".epochs=3", ""])
def test_a_set_without_key_or_value_is_refused(assignment: str) -> None:
    expected = (
        f"`sets` holds {assignment!r}, which is not of the form section.key=value. An example: training.epochs=40."
    )
    assert refusal(sets=(assignment,)) == expected


def test_a_misspelt_key_is_refused_by_name() -> None:
    sentence = refusal(sets=("training.epocs=3",))
    assert sentence.startswith(
        "The configuration cannot be used:\n  `training.epocs`: unknown key. Did you mean 'epochs'"
    )
    assert "Known keys here: epochs, batch_size, lr," in sentence
    sentence = refusal({"trainin": {"epochs": 3}})
    assert "`trainin`: unknown key. Did you mean 'training'" in sentence
    sentence = refusal({"data": {"columns": {"lable": "x"}}})
    assert (
        "`data.columns.lable`: unknown key. Did you mean 'label'? Known keys here: image, text, label, split, group."
        in sentence
    )


def test_a_key_in_the_wrong_section_is_refused_with_the_right_one() -> None:
    assert "`lr`: unknown key. Did you mean 'training.lr'?" in refusal(sets=("lr=0.1",))
    sentence = refusal(sets=("reconstruction.dimensions=8",))
    assert "unknown key. Did you mean 'text.dimensions' or 'semantics.dimensions'? Known keys here: " in sentence


def test_every_problem_is_named_at_once() -> None:
    sentence = refusal({"training": {"epochs": 0, "lr": -1, "speed": 3}, "data": {"augmentation": "lite"}})
    assert "`training.epochs`: found 0; input should be greater than or equal to 1." in sentence
    assert "`training.lr`: found -1; input should be greater than 0." in sentence
    assert "`training.speed`: unknown key." in sentence
    assert "Did you mean 'light'?" in sentence
    assert sentence.count("\n") == 4


def test_words_are_suggested_from_the_schema_wherever_a_setting_stands() -> None:
    class Choice(Section):
        word: Literal["first", "second"] | None = None

    class Root(Section):
        choices: tuple[Choice, ...] = ()
        one: Choice | None = None

    def refuse(values: dict[str, Any]) -> str:
        with pytest.raises(ValidationError) as refused:
            Root.model_validate(values)
        return explain(refused.value, Root)

    assert refuse({"choices": [{}, {"word": "secnd"}]}) == (
        "The configuration cannot be used:\n"
        "  `choices.1.word`: found 'secnd'; input should be 'first' or 'second'. Did you mean 'second'?"
    )
    assert "`one.word`: found 'frist'; " in refuse({"one": {"word": "frist"}})
    assert refuse({"one": {"word": "frist"}}).endswith("Did you mean 'first'?")
    assert "`one.wrod`: unknown key. Did you mean 'word'? Known keys here: word." in refuse({"one": {"wrod": "first"}})
    assert "`choices.0.wrod`: unknown key. Did you mean 'word'?" in refuse({"choices": [{"wrod": "first"}]})
    assert "`choices`: found 'x'; expected a list." in refuse({"choices": "x"})
    assert "`choices.0`: found 3; expected a mapping of settings." in refuse({"choices": [3]})
    assert "`one`: found [1]; expected a mapping of settings." in refuse({"one": [1]})


def test_a_wrong_type_or_word_is_refused() -> None:
    assert "`training.epochs`: found 'many'; input should be a valid integer" in refusal(
        {"training": {"epochs": "many"}}
    )
    assert "`data.cache`: found 'perhaps'; input should be a valid boolean" in refusal(sets=("data.cache=perhaps",))
    sentence = refusal({"data": {"augmentation": "lite"}})
    assert "`data.augmentation`: found 'lite'; input should be 'none', 'light' or 'strong'." in sentence
    assert "Did you mean 'light'" in sentence
    assert "`training`: found 5; expected a mapping of settings." in refusal(sets=("training=5",))
    assert refusal(sets=("reconstruction.steps=2000",)).endswith(
        "\n  `reconstruction.steps` (2000) must not exceed `reconstruction.timesteps` (1000)."
    )
    sentence = refusal(sets=("backbone.freeze=true", "training.probe_epochs=3"))
    assert sentence == (
        "The configuration cannot be used:\n  `backbone.freeze` keeps the backbone frozen throughout, so "
        "`training.probe_epochs` (3) has no effect. Leave one of them out."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), ".inf", "nan"])
def test_a_weight_that_is_no_number_is_refused(value: object) -> None:
    sentence = (
        refusal(sets=(f"losses.matching={value}",))
        if isinstance(value, str)
        else refusal({"losses": {"matching": value}})
    )
    assert "`losses.matching`: found" in sentence
    assert "should be a finite number." in sentence


def test_yaml_round_trip_keeps_every_value(tmp_path: Path) -> None:
    config = make_config(
        {
            "method": "reconstruct",
            "data": {"source": "Früchte.csv", "columns": {"label": "名"}},
            "backbone": {"weights": tmp_path / "weights.safetensors"},
            "text": {"dimensions": None},
            "training": {"patience": 3, "precision": "64"},
        }
    )
    path = tmp_path / "config.yaml"
    write_config(config, path)
    assert read_config(path) == config
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(written["losses"]) == set(type(Config().losses).model_fields)  # defaults are written out
    assert path.read_text(encoding="utf-8").rstrip().endswith("...")


def test_weights_of_the_losses_have_one_entry_a_term() -> None:
    weights = make_config({"losses": {"matching": 0.7}}).losses.weights
    assert weights["matching"] == 0.7
    of_predictions = {"semantic", "visual", "alignment", "text", "words"}
    assert set(weights) == of_predictions | {"matching", "reconstruction", "linear_head"}


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert read_config(path) == make_config()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    expected = f"Configuration file {path} does not exist. Check the path."
    assert refusal(file=path) == expected
    path = tmp_path / "broken.yaml"
    path.write_text("training: [1, 2\n", encoding="utf-8")
    assert refusal(file=path).startswith(f"Configuration file {path} is not readable YAML: ")
    path.write_bytes(b"method: \xff\xfe")
    assert refusal(file=path) == (
        f"Configuration file {path} is not UTF-8 text: found byte 0xFF at position 8. Save it as UTF-8."
    )
    path.write_text("- training\n", encoding="utf-8")
    assert refusal(file=path) == (
        f"Configuration file {path} holds a list, but it must be a mapping of sections such as "
        f"'training: {{epochs: 40}}'."
    )
    assert refusal(file=tmp_path) == f"Configuration file {tmp_path} is not a file. Name a YAML file."
    path.write_text("1: 2\n", encoding="utf-8")
    assert "keys should be strings" in refusal(file=path)


def test_a_configuration_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_config().training.epochs = 3  # type: ignore[misc]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARNET_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"
    monkeypatch.setenv("MARNET_CACHE", "")
    assert "marnet" in cache_directory().parts


def test_five_problems_are_listed_and_the_rest_are_counted() -> None:
    said = refusal({"training": {f"key{number}": 1 for number in range(500)}})
    assert (said.count("unknown key"), said.count("\n")) == (5, 6)
    assert said.endswith("... and 495 more")
    long = refusal({"training": {"lr": "x" * 100_000}})
    assert "found 'xxx" in long
    assert len(long) < 1000


def test_a_seed_fits_every_generator() -> None:
    assert make_config({"training": {"seed": 2**32 - 1}}).training.seed == 4294967295
    assert "less than or equal to 4294967295" in refusal({"training": {"seed": 2**32}})
