"""The methods that can be trained and compared: one file per method, found by itself.

A file of this folder that defines `METHOD` is a method. One from outside is named `module:PACKAGE.NAME`, where NAME is
a `Method`.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from marnet.config import Config
from marnet.errors import ConfigError, suggest
from marnet.imported import import_object
from marnet.methods.method import Method, TextChoice
from marnet.part import BuiltPart, ModelParts, Part, Scene, Targets, TrainingStep

__all__ = [
    "BuiltPart",
    "Method",
    "ModelParts",
    "Part",
    "Scene",
    "Targets",
    "TextChoice",
    "TrainingStep",
    "built_in_methods",
    "find_method",
    "list_methods",
    "resolve",
]

FULL = "marnet"  # the method of the library; ablations leave out parts of it
_PREFIX = "module:"


@cache
def built_in_methods() -> Mapping[str, Method]:
    """Return the methods of this folder by name, in the order of tables."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    methods: list[Method] = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return MappingProxyType({method.name: method for method in sorted(methods, key=lambda each: each.position)})


def list_methods() -> list[str]:
    """Return the names of the methods.

    Example:
        >>> import marnet
        >>> marnet.list_methods()
        ['image-only', 'match', 'regress', 'reconstruct', 'marnet', 'multitask', 'late-fusion']
    """
    return list(built_in_methods())


def find_method(name: str) -> Method:
    """Return the method of that name, or import it by `module:PACKAGE.NAME`.

    Raises:
        ConfigError: there is none of that name, it cannot be imported, or the import gives something else.
    """
    if name.startswith(_PREFIX):
        found = import_object(name.removeprefix(_PREFIX), what="method")
        if not isinstance(found, Method):
            raise ConfigError(
                f"Method {name!r} is a {type(found).__name__}, but it must be a marnet.methods.Method. Let it name an "
                f"instance, such as METHOD = Method(name=..., summary=..., parts=...)."
            )
        return found
    known = built_in_methods()
    if name not in known:
        raise ConfigError(
            f"`method`: found {name!r}, which is not a method. Expected one of {', '.join(known)}, or "
            f"module:PACKAGE.NAME.{suggest(name, known)}"
        )
    return known[name]


def resolve(config: Config) -> Config:
    """Write out the settings that depend on the configuration's method; see `Method.resolve`."""
    return find_method(config.method).resolve(config)
