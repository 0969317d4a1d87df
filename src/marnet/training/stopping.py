"""Ctrl-C and SIGTERM during training: both end it, with a sentence in the log that says how to go on."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

from marnet.runs.layout import PREVIOUS_RESUME_POINT, REPLACED, RESUME_POINT

_logger = logging.getLogger("marnet")
_inside: ContextVar[bool] = ContextVar("_inside", default=False)


class Terminated(SystemExit):
    """The end of training by SIGTERM; unless it is caught, Python exits with code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextlib.contextmanager
def stoppable(way_on: Callable[[], str]) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and log how to go on after either.

    A handler of SIGTERM that the program has installed stays, and is called. Of nested blocks, the outermost one logs.

    Args:
        way_on: returns the sentence that says how to go on.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        Terminated: SIGTERM came.
    """
    if _inside.get():
        yield
        return
    token = _inside.set(True)
    handled = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) in (
        None,
        signal.SIG_DFL,
    )
    if handled:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        _logger.warning("Stopped by %s. %s", "SIGTERM" if isinstance(stop, Terminated) else "Ctrl-C", way_on())
        raise
    finally:
        if handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _inside.reset(token)


def way_on_of_run(run: Path) -> str:
    """Return how to go on with a run that was stopped."""
    if (run / REPLACED).is_dir():
        return f"The first epoch had not ended, so {run} holds the run that was there before. Start again."
    if any((run / point).is_file() for point in (RESUME_POINT, PREVIOUS_RESUME_POINT)):
        return f"Go on with the run in {run} by `resume=True`; the epochs that were finished are kept."
    return f"The first epoch had not ended, so {run} has nothing to resume. Start again with `overwrite=True`."


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated
