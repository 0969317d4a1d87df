"""The log that TensorBoard reads, written by the training process itself: a full disk ends it, but not training."""

import io
import logging
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_logger = logging.getLogger("marnet")
_FORMAT = "brain.Event:2"  # the first entry of every such file


class EventLog:
    """Scalars by step in one file of a folder.

    TensorBoard's own writer works in a thread, whose errors reach training late and as a traceback. Here an entry is
    handed to the system before `write` returns. If that fails, a warning names the folder, and no more is written.

    Args:
        folder: the folder, created with the first entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None
        self._ended = False

    def write(self, scalars: Mapping[str, float], step: int | None) -> None:
        """Append scalars of one step."""
        if self._ended:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        summarise: Any = summary.scalar
        now = time.time()
        events = [Event(wall_time=now, step=step, summary=summarise(name, value)) for name, value in scalars.items()]
        if self._handle is None:
            events.insert(0, Event(wall_time=now, file_version=_FORMAT))
        records = io.BytesIO()
        for event in events:
            RecordWriter(records).write(event.SerializeToString())
        try:
            if self._handle is None:
                self._handle = self._open()
            _write_all(self._handle, records.getvalue())
        except OSError as error:
            self.close()
            _logger.warning(
                "The log of TensorBoard in %s cannot be written: %s. It ends here, and training goes on without it.",
                self.folder,
                error.strerror or error,
            )

    def close(self) -> None:
        """Write nothing more."""
        self._ended = True
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}.{time.monotonic_ns()}"
        return os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]
