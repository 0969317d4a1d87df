"""Downloads of models: loading or resuming a run starts none, unless its user allows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from huggingface_hub import constants

_refused: ContextVar[bool] = ContextVar("downloads_refused", default=False)


def downloads_refused() -> bool:
    """Return True within `no_downloads`."""
    return _refused.get()


@contextmanager
def no_downloads(refused: bool = True) -> Iterator[None]:
    """Let models come from local folders and caches only; `refused=False` changes nothing.

    Hugging Face's own packages are kept offline as well, because the files of a model may name other models.
    """
    if not refused:
        yield
        return
    token, offline = _refused.set(True), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        _refused.reset(token)
