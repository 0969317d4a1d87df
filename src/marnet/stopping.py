"""Ctrl-C and SIGTERM: both end a block of code in order, with a sentence in the log that says how to go on."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import FrameType

_logger = logging.getLogger("marnet")
_inside: ContextVar[bool] = ContextVar("_inside", default=False)
_TOLD = "_marnet_told"  # set on the exception once a sentence was logged


class Terminated(SystemExit):
    """The end of a block by SIGTERM; unless it is caught, Python exits with code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that it leaves nothing half written.

    A handler that the program has installed stays. Outside of the main thread, nothing changes.

    Raises:
        Terminated: SIGTERM came.
    """
    in_main = threading.current_thread() is threading.main_thread()
    handled = in_main and signal.getsignal(signal.SIGTERM) in (None, signal.SIG_DFL)
    if handled:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def telling_way_on(way_on: Callable[[], str]) -> Iterator[None]:
    """Log how to go on after Ctrl-C or SIGTERM, unless the block has logged it by itself.

    Args:
        way_on: returns the sentence that says how to go on.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        if not getattr(stop, _TOLD, False):
            _logger.warning("Stopped by %s. %s", "SIGTERM" if isinstance(stop, Terminated) else "Ctrl-C", way_on())
            setattr(stop, _TOLD, True)
        raise


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
    try:
        with ending_on_sigterm(), telling_way_on(way_on):
            yield
    finally:
        _inside.reset(token)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated
