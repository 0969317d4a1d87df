"""Objects named by an import path: what is found, and what is said when nothing is."""

import math

import pytest

from marnet.errors import ConfigError, EncoderError
from marnet.imported import import_object


def test_the_object_itself_is_returned_with_or_without_the_prefix() -> None:
    assert import_object("math.tau", what="number") == math.tau
    assert import_object("module:os.path.join", what="function")("a", "b").startswith("a")


def test_each_mistake_has_its_sentence_and_the_kind_of_error_that_was_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^The method module:math is not an import path\. Expected module:PACK"):
        import_object("module:math", what="method")
    with pytest.raises(
        EncoderError, match=r"^The backbone module:no_such\.net cannot be imported \(No module .*PYTHON"
    ):
        import_object("no_such.net", what="backbone", error=EncoderError)
    with pytest.raises(
        ConfigError, match=r"module:math\.sqr does not exist: the module math has no 'sqr'\. Did you mean"
    ):
        import_object("math.sqr", what="method")
    with pytest.raises(ConfigError, match=r"the module math has no 'zzzzzz'\. Check the name\.$"):
        import_object("math.zzzzzz", what="method")
