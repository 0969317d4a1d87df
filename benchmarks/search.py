"""Seconds that one exact query takes among many vectors, and what an index of them costs to write and to read.

Run: uv run python benchmarks/search.py [--images 1000000] [--width 256] [--top 20]
It prints a table and writes search.json beside this file. The vectors are random; their values do not matter here.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from marnet.runs.directory import describe_environment
from marnet.semantic.search.index_file import StoredIndex, read_index, write_index
from marnet.semantic.search.nearest import nearest


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    """Return random unit vectors `(count, width)` float32."""
    vectors = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def seconds_of(work: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each of some calls."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    vectors = unit_vectors(arguments.images, arguments.width, seed=0)
    query = unit_vectors(1, arguments.width, seed=1)
    start = time.process_time()
    queries = seconds_of(lambda: nearest(vectors, query, arguments.top), arguments.rounds)
    processor = (time.process_time() - start) / arguments.rounds
    names = tuple(f"/pictures/{number:07d}.jpg" for number in range(arguments.images))
    stored = StoredIndex(
        run="",
        branch="reconstruction",
        source="random",
        features="",
        images=names,
        texts=((),) * arguments.images,
        unreadable=(),
        vectors=vectors,
        text_vectors=vectors[:0],
        stamps=np.zeros((arguments.images, 2), np.int64),
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.safetensors"
        (written,) = seconds_of(lambda: write_index(stored, file), 1)
        (read,) = seconds_of(lambda: read_index(file), 1)
        size = file.stat().st_size
    seconds = {
        "query_fastest": min(queries),
        "query_median": statistics.median(queries),
        "query_slowest": max(queries),
        "query_processor": processor,  # of all threads together, which a busy machine disturbs less
        "write_index": written,
        "read_index": read,
    }
    for name, value in seconds.items():
        print(f"{name:<14} {value:>8.3f} s")
    settings = {**vars(arguments), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    result = {"settings": settings, "environment": describe_environment(0), "seconds": seconds, "index_bytes": size}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
