"""Settings of older versions in the names of today."""

import pytest

from marnet.config import make_config
from marnet.config.legacy import upgrade_settings
from marnet.errors import ConfigError


def test_settings_of_today_come_back_as_they_are() -> None:
    settings = {"method": "match", "losses": {"linear_head": 2.0}, "reconstruction": {"guide": "linear"}, "x": 1}
    assert upgrade_settings(settings) == settings


def test_the_linear_head_was_called_a_guess() -> None:
    settings = {"losses": {"guess": 5.0, "text": 1.0}, "reconstruction": {"guide": "guess"}}
    assert upgrade_settings(settings) == {
        "losses": {"text": 1.0, "linear_head": 5.0},
        "reconstruction": {"guide": "linear"},
    }
    assert settings["losses"] == {"guess": 5.0, "text": 1.0}  # the caller's own are left alone
    assert make_config(sets=["losses.guess=5"]).losses.linear_head == 5.0
    assert make_config({"losses": {"linear_head": 3}}, sets=["losses.guess=5"]).losses.linear_head == 5.0
    with pytest.raises(ConfigError, match=r"`losses\.guess` is the old name of `losses\.linear_head`; both are set\."):
        upgrade_settings({"losses": {"guess": 5.0, "linear_head": 1.0}})


@pytest.mark.parametrize(
    ("method", "alignment", "reconstruction", "today"),
    [
        ("marnet", True, True, "marnet"),
        ("marnet", False, True, "reconstruct"),
        ("marnet", True, False, "match"),
        ("marnet", False, False, "image-only"),
        ("image-only", True, False, "match"),
        ("image-only", None, None, "image-only"),
        ("match", None, True, "marnet"),
        ("regress", False, True, "regress"),
        ("late-fusion", False, False, "late-fusion"),
    ],
)
def test_the_switches_of_a_method_name_the_method_that_they_made(
    method: str, alignment: bool | None, reconstruction: bool | None, today: str
) -> None:
    settings = {
        "method": method,
        "alignment": {"enabled": alignment, "width": 7},
        "reconstruction": {"enabled": reconstruction},
    }
    assert upgrade_settings(settings) == {"method": today, "alignment": {"width": 7}, "reconstruction": {}}


def test_another_method_over_an_old_file_is_that_method(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("method: marnet\nalignment: {enabled: true}\nreconstruction: {enabled: true, steps: 2}\n")
    config = make_config({"method": "image-only"}, file=path)
    assert (config.method, config.reconstruction.steps) == ("image-only", 2)
    assert make_config(file=path, sets=["alignment.enabled=false"]).method == "reconstruct"


def test_a_mixture_that_no_method_is_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method 'late-fusion' with \(True, False\) for them cannot be built\."):
        make_config({"method": "late-fusion", "alignment": {"enabled": True}})
