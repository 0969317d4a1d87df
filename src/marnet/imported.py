"""`module:PACKAGE.NAME`: a thing of your own by its import path."""

from importlib import import_module
from typing import Any

from marnet.errors import EncoderError, suggest


def import_object(path: str, *, what: str) -> Any:
    """Return the object that an import path such as "package.nets.make_net" names.

    Args:
        path: the import path.
        what: what it is to be, for messages, such as "backbone".

    Raises:
        EncoderError: it cannot be imported.
    """
    home, _, attribute = path.rpartition(".")
    if not home or not attribute:
        raise EncoderError(f"The {what} module:{path} is not an import path. Expected module:PACKAGE.NAME.")
    try:
        module = import_module(home)
    except ImportError as error:
        raise EncoderError(f"The {what} module:{path} cannot be imported ({error}).") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = [name for name in dir(module) if not name.startswith("_")]
        raise EncoderError(f"The module {home} has no {attribute!r}.{suggest(attribute, known)}") from None
