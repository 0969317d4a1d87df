"""Vectors of texts kept on disk, so that runs with the same frozen encoder encode each text once between them."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

_logger = logging.getLogger("marnet")
_PER_QUERY = 500  # texts; SQLite allows 999 parameters even in old versions
_PATIENCE = 60.0  # seconds to wait for another process that writes
_STORED = np.dtype("<f4")

Vector = np.ndarray[Any, Any]


class EmbeddingCache:
    """The vectors `(D,)` of one encoder by text, in one SQLite file below `folder`.

    The file holds one row per text: the SHA-256 of the text, not the text itself, and its vector. Several processes may
    read and write it at the same time; each append is one transaction. A damaged file is deleted and started again.

    Args:
        folder: the cache folder.
        identity: everything that the vectors depend on besides the text.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.file = folder / "texts" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.sqlite"

    def read(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors of those of `texts` that are in the cache."""
        if not self.file.is_file():
            return {}
        text_of = {_digest(text): text for text in texts}
        try:
            with closing(self._connect()) as connection:
                vectors = {text_of[digest]: vector for digest, vector in _select(connection, text_of)}
        except sqlite3.DatabaseError as error:
            self._give_up(error)
            return {}
        return {text: vectors[text] for text in text_of.values() if text in vectors}

    def append(self, vectors: Mapping[str, Vector]) -> None:
        """Add vectors to the cache. If nothing can be written, log a warning and do nothing else."""
        rows = [(_digest(text), np.asarray(vector, _STORED).tobytes()) for text, vector in vectors.items()]
        try:
            self._insert(rows)
        except (OSError, sqlite3.DatabaseError) as error:
            if not self._give_up(error):
                return
            try:
                self._insert(rows)  # into a new file
            except (OSError, sqlite3.DatabaseError) as again:
                self._give_up(again)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=_PATIENCE, isolation_level=None)  # transactions are begun by hand

    def _insert(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")  # waits for other writers; closing without COMMIT undoes it all
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            connection.execute("COMMIT")

    def _give_up(self, error: Exception) -> bool:
        """Log why the file cannot be used; delete a damaged file, and return True if that was the reason."""
        # A lock, a missing folder or a full disk is an OperationalError, which says nothing against the file's content.
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if damaged:
            _logger.warning("The cache of text vectors %s is damaged (%s); it is started again.", self.file, error)
            for file in (self.file, self.file.with_name(f"{self.file.name}-journal")):
                file.unlink(missing_ok=True)
        else:
            _logger.warning("The text vectors cannot be kept in %s (%s); the next run encodes again.", self.file, error)
        return damaged


def _select(connection: sqlite3.Connection, digests: Iterable[bytes]) -> Iterator[tuple[bytes, Vector]]:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'vectors'").fetchone() is None:
        return  # another process has created the file, and no row yet
    asked = list(digests)
    for first in range(0, len(asked), _PER_QUERY):
        some = asked[first : first + _PER_QUERY]
        marks = ", ".join("?" * len(some))
        for digest, vector in connection.execute(f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", some):
            yield digest, np.frombuffer(vector, _STORED)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
