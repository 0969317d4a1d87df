"""`module:PACKAGE.NAME`: an object from outside the package, named by its import path."""

from importlib import import_module
from typing import Any

from marnet.errors import ConfigError, MarnetError, suggest

PREFIX = "module:"


def import_object(path: str, *, what: str, error: type[MarnetError] = ConfigError) -> Any:
    """Return the object that an import path such as "package.nets.make_net" names.

    Args:
        path: the import path, with or without the prefix `module:`.
        what: the role of the object in a message, such as "backbone".
        error: the kind of error to raise.

    Raises:
        MarnetError: the path is incomplete, or the object cannot be imported; of the kind `error`.

    Example:
        >>> import_object("module:math.sqrt", what="corruption")(9.0)
        3.0
    """
    path = path.removeprefix(PREFIX)
    home, _, attribute = path.rpartition(".")
    if not home or not attribute:
        raise error(
            f"The {what} {PREFIX}{path} is not an import path. Expected module:PACKAGE.NAME, such as module:nets.make."
        )
    try:
        module = import_module(home)
    except ImportError as reason:
        raise error(
            f"The {what} {PREFIX}{path} cannot be imported ({reason}). Python looked for {home!r} in the folders of "
            f"sys.path. Install that package, or name its folder in the environment variable PYTHONPATH (PYTHONPATH=. "
            f"for the current folder)."
        ) from reason
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = [name for name in dir(module) if not name.startswith("_")]
        raise error(
            f"The {what} {PREFIX}{path} does not exist: the module {home} has no {attribute!r}."
            f"{suggest(attribute, known) or ' Check the name.'}"
        ) from None
