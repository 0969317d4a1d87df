"""A heartbeat: a line in the log whenever a long piece of work has been silent for a while."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

_logger = logging.getLogger("marnet")


class Heartbeat:
    """A context that keeps the log alive: after `interval` seconds of silence it logs the stage and the time so far.

    Any line that marnet logs counts as a sign of life.

    Args:
        stage: the work that is going on; change it by assignment.
        interval: seconds of silence.
        enabled: False logs nothing, for terminals with progress bars.
    """

    def __init__(self, stage: str = "", *, interval: float = 8.0, enabled: bool = True) -> None:
        self.stage = stage
        self.interval = interval
        self.enabled = enabled
        self.began = time.monotonic()
        self._listener = _Listener()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def seconds(self) -> float:
        """The time since the context was entered."""
        return time.monotonic() - self.began

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        if self.enabled:
            _logger.addHandler(self._listener)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.enabled:
            self._thread.join()
            _logger.removeHandler(self._listener)

    def _run(self) -> None:
        left = self.interval
        while not self._ended.wait(left):
            left = self._listener.last + self.interval - time.monotonic()
            if left <= 0:
                _logger.info("%s (%.0f s so far)", self.stage, self.seconds)
                left = self.interval


class _Listener(logging.Handler):
    """A handler that remembers when the last line was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.last = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time."""
        self.last = time.monotonic()
