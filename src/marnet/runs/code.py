"""A run is inert: code that its files name, `module:PACKAGE.NAME`, is imported only if the caller allows it.

The same holds for models that it names, `hf:NAME`, which are downloaded only then.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from marnet.config import Config
from marnet.errors import RunDirectoryError

AllowCode = bool | Collection[str]  # True: all code; or the names that are allowed, such as {"module:nets.make"}
_MARK = "module:"
_HF = "hf:"
_own: set[str] = set()  # code and models that this process was asked to train with, or that a plan of its user names


def named_code(config: Config) -> dict[str, str]:
    """Return the settings of a configuration that name code outside the package, with the names.

    >>> named_code(Config(method="module:mine.method"))
    {'method': 'module:mine.method'}
    """
    settings = {
        "method": config.method,
        "backbone.name": config.backbone.name,
        "text.name": config.text.name,
        "fusion.kind": config.fusion.kind,
    }
    return {name: value for name, value in settings.items() if _MARK in value}  # also random:module:...


def trust_code(config: Config) -> None:
    """Allow the code and the models that a configuration names while this process lives: its user asked for them."""
    _own.update(named_code(config).values(), named_models(config))


def is_trusted(name: str) -> bool:
    """Return whether `name` is no code from outside the package, or code that this process was asked to use."""
    return _MARK not in name or name in _own


def refuse_code(
    run: Path, named: Mapping[str, str], *, allow_code: AllowCode = False, but: Collection[str] = ()
) -> None:
    """Refuse a run whose files name code that the caller does not allow, and that this process did not train with.

    Args:
        run: the run directory.
        named: names of code by the setting that holds them.
        allow_code: True, or the names that are allowed.
        but: settings that are not read this time.

    Raises:
        RunDirectoryError: there is such code; nothing was imported.
    """
    if allow_code is True:
        return
    allowed = _own | (set() if allow_code is False else set(allow_code))
    refused = {name: value for name, value in named.items() if name not in but and value not in allowed}
    if not refused:
        return
    shown = ", ".join(f"{name} {value}" for name, value in refused.items())
    own = " or hand the module over in Python (`backbone=...`)" if "backbone.name" in refused else ""
    raise RunDirectoryError(
        f"{run} names code outside marnet ({shown}), which would be executed. Nothing was imported. If you trust that "
        f"code, pass `allow_code=True`{own}."
    )


def allows_downloads(named: Iterable[str], *, allow_code: AllowCode) -> bool:
    """Return whether models may be downloaded, `hf:NAME`, because the caller or this process asked for all of them.

    >>> allows_downloads(["hf:organisation/model"], allow_code=False)
    False
    """
    allowed = _own | (set() if isinstance(allow_code, bool) else set(allow_code))
    return allow_code is True or allowed.issuperset(named)


def named_models(config: Config) -> list[str]:
    """Return the names of models that are not part of a package, `hf:NAME`, in a configuration.

    >>> named_models(Config(text={"name": "random:hf:organisation/model"}))
    ['random:hf:organisation/model']
    """
    return [name for name in (config.backbone.name, config.text.name) if _HF in name]


def refuse_download(run: Path, config: Config) -> None:
    """Refuse a run that lacks the architecture of its backbone of transformers, which would be downloaded.

    Raises:
        RunDirectoryError: see above.
    """
    if config.backbone.name.startswith(_HF):
        raise RunDirectoryError(
            f"{run} has no folder 'backbone' with the architecture of {config.backbone.name}, and loading a run "
            f"downloads nothing. Restore that folder, train again, or pass the module: `backbone=...`."
        )
