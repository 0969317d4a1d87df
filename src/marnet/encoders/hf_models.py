"""Finding models of Hugging Face transformers: the optional package, local folders, the local cache, the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from marnet.encoders.downloads import downloads_refused
from marnet.errors import EncoderError


def import_transformers(name: str) -> Any:
    """Import the optional package transformers; it is imported nowhere else, because that takes seconds.

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
    """Return the folder with the config.json of a model: a local folder, or the cache, after a download if needed.

    Args:
        name: a path, or a repository such as "org/model".
        setting: the setting that names the model, for the message.

    Raises:
        EncoderError: the model is not found, or the folder holds no model.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError

    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise EncoderError(
                f"The folder {folder} holds no config.json. Expected a model saved by save_pretrained; name its folder."
            )
        return folder
    try:
        cached = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached, str) and not downloads_refused():
            cached = hf_hub_download(name, "config.json")
    except HFValidationError:
        looked = "and the name is not a repository of the form ORGANISATION/MODEL either"
        error_name = ""
    except Exception as error:
        looked = f"it is not in the local cache {HF_HUB_CACHE}, and it could not be downloaded"
        error_name = f" ({type(error).__name__})"
    else:
        if isinstance(cached, str):
            return Path(cached).parent
        raise EncoderError(
            f"hf:{name} is neither a folder nor in the local cache {HF_HUB_CACHE}, and loading or resuming a run "
            f"downloads nothing that the run names. If you trust the run, pass `allow_code=True`, or copy that cache "
            f"from a machine that has it."
        )
    raise EncoderError(
        f"hf:{name} was not found: there is no folder {folder.absolute()}, {looked}{error_name}. Check the "
        f"name, run once with a network, copy that cache from a machine that has it, or name a folder with the model: "
        f"`{setting}=hf:FOLDER`."
    )


def load_pretrained(kind: Any, name: str, folder: Path, *, config: Any = None) -> Any:
    """Call `kind.from_pretrained` for a model that `find_model` found, without the network if its files are complete.

    Args:
        kind: one of transformers' `Auto` classes.
        name: the name that was given to `find_model`.
        folder: the folder that `find_model` returned.
        config: the configuration to build from; None takes the model's own.

    Raises:
        EncoderError: files are missing and cannot be downloaded, or they do not fit.
    """
    # Code that comes with a model is never executed.
    options = {} if config is None else {"config": config}
    local = Path(name).expanduser().is_dir()
    source = str(folder) if local else name
    with quiet_transformers():
        try:
            return kind.from_pretrained(source, local_files_only=True, trust_remote_code=False, **options)
        except Exception as first:
            error = first
        if not local and not downloads_refused():
            try:
                return kind.from_pretrained(source, trust_remote_code=False, **options)
            except Exception as second:
                error = second
    reason = str(error).partition("\n")[0]
    raise EncoderError(
        f"hf:{name} cannot be loaded by transformers' {kind.__name__} from {folder} ({type(error).__name__}: "
        f"{reason}). Expected a complete model of a kind that it knows: config.json and the weights in one folder, and "
        f"for texts also the tokenizer."
    ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and messages, and keep its random draws from changing ours."""
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
