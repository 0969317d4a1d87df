"""The processes that train together: the first starts the others, and none outlives another that was killed.

With several devices the whole program runs once per process, as is usual with Lightning. The first process (rank 0)
writes the run and handles signals; the others pass theirs on to it.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from marnet.errors import MarnetError, TrainingProcessError

_RANK, _FIRST = "LOCAL_RANK", "MARNET_FIRST_PROCESS"  # environment variables: the rank, and the id of the first process
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SECONDS = 0.5  # between two looks at the other processes
_PATIENCE = 10.0  # seconds that a process has to notice by itself that another one is gone

_logger = logging.getLogger("marnet")


class _Others:
    """The processes that this one started: ranks 1, 2 and so on. If one fails, the rest are killed."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.failure: str | None = None
        self._lock = threading.Lock()

    def find_failure(self) -> str | None:
        """Return what happened to the first process that failed; None while all run or have ended well."""
        with self._lock:
            for rank, process in enumerate(self.processes, 1):
                if self.failure is None and process.poll():
                    self.failure = _describe(rank, process.returncode)
                    self.kill()
            return self.failure

    def kill(self) -> None:
        for process in self.processes:
            process.kill()


_others = _Others()
_over = threading.Event()  # not set while a process that is not the first must not outlive the first


def start_others(count: int, *, address: str, port: int) -> None:
    """Start this program again as processes 1 to `count` - 1 of a training, of which this one becomes process 0.

    A signal reaches them only after they have called `follow_first`, and Ctrl-C of the terminal reaches this one alone.

    Args:
        count: processes, this one included.
        address: the host name of process 0, for the others.
        port: where it listens.
    """
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    os.environ |= {_RANK: "0", _FIRST: str(os.getpid())}
    main = sys.modules["__main__"].__spec__
    program = [str(Path(sys.argv[0]).absolute())] if main is None else ["-m", main.name]
    group = 0 if os.name == "posix" else None
    _hold_signals(True)  # the others inherit this
    try:
        for rank in range(1, count):
            environment = {**os.environ, _RANK: str(rank)}
            command = [sys.executable, *program, *sys.argv[1:]]
            _others.processes.append(subprocess.Popen(command, env=environment, process_group=group))
    finally:
        _hold_signals(False)


def started_by_first() -> bool:
    """Return True in a training process that the first one started, so that the run directory is there by now."""
    return os.environ.get(_RANK, "0") != "0" and _FIRST in os.environ


def follow_first(way_on: Callable[[], str]) -> None:
    """Bind a process to the first one: it ends soon after that one, and passes signals on to it.

    The first process does nothing here.

    Args:
        way_on: returns the sentence that says how to go on with the run.
    """
    rank = int(os.environ.get(_RANK, "0"))
    if rank == 0:
        return
    _over.clear()
    if any(thread.name == _FIRST for thread in threading.enumerate()):
        return
    first = int(os.environ.get(_FIRST, os.getppid()))
    if threading.current_thread() is threading.main_thread():
        _pass_signals_on(first)

    def watch() -> None:
        while os.getppid() == first:
            time.sleep(_SECONDS)
        if rank == 1 and not _over.is_set():
            _logger.error("The first of the training processes was killed, and the others ended. %s", way_on())
        os._exit(1)

    threading.Thread(target=watch, name=_FIRST, daemon=True).start()


@contextlib.contextmanager
def together(way_on: Callable[[], str]) -> Iterator[None]:
    """Let the processes of a training end together if one fails in the block.

    Args:
        way_on: returns the sentence that says how to go on with the run.

    Raises:
        TrainingProcessError: in the first process, another one was killed or failed. If the first one does not notice
            within ten seconds, because it waits for the other, it logs the sentence and exits with code 1.
    """
    is_first = os.environ.get(_RANK, "0") == "0"
    ended = threading.Event()
    if is_first:
        threading.Thread(target=_watch_others, args=(ended, way_on), daemon=True).start()
    try:
        yield
    except Exception as error:
        if is_first and not _others.processes:
            raise
        failure = None if isinstance(error, MarnetError) else _wait_for_failure()
        ended.set()
        _others.kill()
        if failure is None:
            raise
        raise TrainingProcessError(f"{failure} {way_on()}") from error
    except BaseException:
        _others.kill()
        raise
    finally:
        ended.set()
        _over.set()


def _wait_for_failure() -> str | None:
    """Return what happened to another process, which may become known only seconds after the connection broke.

    A process that is not the first is killed while it waits, if it was not the one that failed.
    """
    deadline = time.monotonic() + _PATIENCE
    while (failure := _others.find_failure()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return failure


def _watch_others(ended: threading.Event, way_on: Callable[[], str]) -> None:
    while not ended.wait(_SECONDS):
        failure = _others.find_failure()
        if failure is not None:
            if not ended.wait(_PATIENCE):
                _logger.error("%s %s", failure, way_on())
                os._exit(1)
            return


def _pass_signals_on(first: int) -> None:
    """Send what a user or a system sends to this process to the first one, unless the program handles it itself."""
    own = os.getpid()

    def pass_on(number: int, frame: FrameType | None) -> None:
        if os.getpid() == own:  # not in processes of loaders
            os.kill(first, number)

    for number in _SIGNALS:
        if signal.getsignal(number) in (None, signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, pass_on)
    _hold_signals(False)


def _hold_signals(held: bool) -> None:
    """Let signals wait, or let them through; systems without this (Windows) let them through."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if held else signal.SIG_UNBLOCK, _SIGNALS)


def _describe(rank: int, code: int) -> str:
    if code > 0:
        how = f"ended with exit code {code}; its own message is above"
    elif -code == signal.SIGKILL:
        how = "was killed (SIGKILL), as the system does where memory runs out"
    else:
        how = f"was killed ({signal.Signals(-code).name})"
    return f"The training process with rank {rank} {how}. The others ended with it."
