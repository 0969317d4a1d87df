"""`module:package.attr`: your own module by its import path."""

from importlib import import_module
from typing import Any

from torch import nn

from marnet.encoders.backbone import Backbone
from marnet.errors import EncoderError, suggest


def import_encoder(path: str) -> nn.Module | Backbone:
    """The module that an import path such as "package.nets.make_net" names.

    The name may stand for a module, or for a class or function that returns one when called without arguments.

    Raises:
        EncoderError: it cannot be imported or called, or is something else.
    """
    found = _look_up(path)
    if isinstance(found, (nn.Module, Backbone)):
        return found
    if not callable(found):
        raise EncoderError(f"module:{path} is a {type(found).__name__}; needed a torch.nn.Module, or what returns one.")
    try:
        made = found()
    except Exception as error:
        raise EncoderError(
            f"module:{path} failed when called without arguments: {type(error).__name__}: {error}. Needed a class or a "
            f"function that returns a torch.nn.Module; write one that fills in its arguments."
        ) from error
    if not isinstance(made, (nn.Module, Backbone)):
        raise EncoderError(f"module:{path} returned a {type(made).__name__}; needed a torch.nn.Module.")
    return made


def _look_up(path: str) -> Any:
    home, _, attribute = path.rpartition(".")
    if not home or not attribute:
        raise EncoderError(
            f"module:{path} is not an import path; needed module:PACKAGE.NAME, such as module:nets.make."
        )
    try:
        module = import_module(home)
    except ImportError as error:
        raise EncoderError(
            f"module:{path} cannot be imported ({error}); Python looked for {home!r} in the folders of sys.path. "
            f"Install that package, or name its folder in the environment variable PYTHONPATH (PYTHONPATH=. for here)."
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = [name for name in dir(module) if not name.startswith("_")]
        raise EncoderError(f"The module {home} has no {attribute!r}.{suggest(attribute, known)}") from None
