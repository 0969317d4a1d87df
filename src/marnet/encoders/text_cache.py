"""Vectors of texts kept on disk, so that runs with one frozen encoder encode a text once between them."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

_logger = logging.getLogger("marnet")
_DIGEST = 32  # bytes of a SHA-256

Vector = np.ndarray[Any, Any]


class EmbeddingCache:
    """The vectors `(D,)` of one encoder by text, in one safetensors file below `folder`.

    The file holds hashes of texts, not the texts. It is only ever replaced by a whole new one, so it is never half
    written; where two processes write at the same time, what one of them adds is lost and encoded again later.

    Args:
        folder: the cache folder.
        identity: everything the vectors depend on besides the text.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.file = folder / "texts" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.safetensors"

    def read(self, texts: Sequence[str]) -> dict[str, Vector]:
        """The vectors of those of `texts` that are kept."""
        digests, vectors = self._load()
        rows = {bytes(digest): row for row, digest in enumerate(digests)}
        found = ((text, rows.get(_digest(text))) for text in texts)
        return {text: vectors[row] for text, row in found if row is not None}

    def append(self, vectors: Mapping[str, Vector]) -> None:
        """Keep these too. Where nothing can be written, that is logged and nothing else happens."""
        old = self._load()
        digests = np.frombuffer(b"".join(_digest(text) for text in vectors), np.uint8).reshape(-1, _DIGEST)
        stacked = np.stack(list(vectors.values())).astype(np.float32)
        if len(old[0]):
            digests, stacked = np.concatenate([old[0], digests]), np.concatenate([old[1], stacked])
        partial: str | None = None
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=self.file.parent, suffix=".part")
            os.close(handle)
            save_file({"digests": np.ascontiguousarray(digests), "vectors": stacked}, partial)
            Path(partial).replace(self.file)
        except (OSError, SafetensorError) as error:
            _logger.warning("The text vectors cannot be kept in %s (%s); the next run encodes again.", self.file, error)
        finally:
            if partial is not None:
                Path(partial).unlink(missing_ok=True)

    def _load(self) -> tuple[Vector, Vector]:
        """Digests `(n, 32)` uint8 and vectors `(n, D)`; a damaged file counts as empty."""
        try:
            content = load_file(self.file)
            digests, vectors = content["digests"], content["vectors"]
        except (OSError, SafetensorError, KeyError):
            return np.zeros((0, _DIGEST), np.uint8), np.zeros((0, 0), np.float32)
        return digests, vectors


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
