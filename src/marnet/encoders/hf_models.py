"""Finding models of Hugging Face transformers: the optional package, local folders, the local cache, the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from marnet.errors import EncoderError


def import_transformers(name: str) -> Any:
    """The package transformers; imported here alone, because it is optional and takes seconds.

    Raises:
        EncoderError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise EncoderError(
            f"hf:{name} needs the package transformers, which cannot be imported ({error}). "
            f"Install it: pip install 'marnet[hf]'"
        ) from error
    return transformers


def find_model(name: str, *, setting: str) -> Path:
    """The folder with the config.json of a model: a local folder, the local cache, or after a download the cache.

    Args:
        name: a path, or a repository such as "org/model".
        setting: what to change when it is not to be had, for the message.

    Raises:
        EncoderError: it is nowhere, or the folder holds no model.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError

    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise EncoderError(f"The folder {folder} holds no config.json; needed a model saved by save_pretrained.")
        return folder
    try:
        cached = try_to_load_from_cache(name, "config.json")
        return Path(cached if isinstance(cached, str) else hf_hub_download(name, "config.json")).parent
    except HFValidationError:
        looked = "and that is no repository name of the form ORGANISATION/MODEL either"
        error_name = ""
    except Exception as error:
        looked = f"it is not in the local cache {HF_HUB_CACHE}, and could not be downloaded"
        error_name = f" ({type(error).__name__})"
    raise EncoderError(
        f"hf:{name} was not found: there is no folder {folder.absolute()}, {looked}{error_name}. To go on: check the "
        f"name, run once with a network, copy that cache from a machine that has it, or name a folder with the model "
        f"with {setting}=hf:FOLDER."
    )


def load_pretrained(kind: Any, name: str, folder: Path, *, config: Any = None) -> Any:
    """`kind.from_pretrained` of a model that `find_model` found, from disk where it is whole.

    Args:
        kind: one of transformers' `Auto` classes.
        name: as it was given to `find_model`.
        folder: as `find_model` returned it.
        config: the configuration to build from, where it is not the model's own.

    Raises:
        EncoderError: files are missing and cannot be downloaded, or do not fit.
    """
    options = {} if config is None else {"config": config}
    local = Path(name).expanduser().is_dir()
    source = str(folder) if local else name
    with quiet_transformers():
        try:
            return kind.from_pretrained(source, local_files_only=True, **options)
        except Exception as first:
            error = first
        if not local:
            try:
                return kind.from_pretrained(source, **options)
            except Exception as second:
                error = second
    reason = str(error).partition("\n")[0]
    raise EncoderError(
        f"hf:{name} cannot be loaded by transformers' {kind.__name__} from {folder} ({type(error).__name__}: "
        f"{reason}). Needed a whole model of a kind that it knows: config.json beside its weights, and for texts its "
        f"tokenizer."
    ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' bars and remarks off the screen, and its random draws out of ours."""
    logging: Any = import_module("transformers.utils.logging")

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
