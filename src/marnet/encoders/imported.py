"""`module:PACKAGE.NAME`: your own backbone or text encoder by its import path."""

from typing import Any

from torch import nn

from marnet.encoders.backbone import Backbone
from marnet.errors import EncoderError
from marnet.imported import PREFIX, import_object


def import_encoder(path: str, *, what: str) -> nn.Module | Backbone:
    """Return the module that an import path such as "package.nets.make_net" names.

    The name may stand for a module, or for a class or function that returns one when called without arguments.

    Args:
        path: the import path, with or without the prefix `module:`.
        what: "backbone" or "text encoder", for messages.

    Raises:
        EncoderError: the object cannot be imported or called, or it is something else.
    """
    return make_module(import_object(path, what=what, error=EncoderError), path, what=what)


def make_module(found: Any, path: str, *, what: str) -> nn.Module | Backbone:
    """Return `found` if it is a module already, and otherwise what it returns when called without arguments.

    Raises:
        EncoderError: neither is a module.
    """
    name = f"The {what} {PREFIX}{path.removeprefix(PREFIX)}"
    if isinstance(found, (nn.Module, Backbone)):
        return found
    if not callable(found):
        raise EncoderError(
            f"{name} is a {type(found).__name__}. Expected a torch.nn.Module, or a class or function that returns one."
        )
    try:
        made = found()
    except Exception as error:
        raise EncoderError(
            f"{name} failed when called without arguments ({type(error).__name__}: {error}). Expected a class or "
            f"function that returns a torch.nn.Module; write one that fills in its arguments."
        ) from error
    if not isinstance(made, (nn.Module, Backbone)):
        raise EncoderError(f"{name} returned a {type(made).__name__}. Expected a torch.nn.Module.")
    return made
