"""Seconds that one exact query takes among many vectors, and what an index of them costs to write and to read.

Run: uv run python benchmarks/search.py [--images 1000000] [--width 256] [--top 20]
It prints a table and writes search.json beside this file. The vectors are random; their values do not matter here.

With --clusters, the vectors lie around --centres directions, and faiss puts them into clusters as for an index of more
than a million images. The table, and search-clusters.json, then have what a search by clusters takes and finds as well,
beside the same clusters searched by faiss.
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
from marnet.semantic.search import clustering
from marnet.semantic.search.clusters import ClusteredVectors, Clusters
from marnet.semantic.search.index_file import IMAGES, StoredIndex, read_index, write_index
from marnet.semantic.search.nearest import Nearest, nearest

_CHUNK = 100_000  # vectors that are drawn at a time


def draw_vectors(count: int, width: int, *, seed: int, centres: int, spread: float) -> np.ndarray:
    """Return random unit vectors `(count, width)` float32, around as many random directions, or anywhere.

    Args:
        count: of vectors.
        width: of each.
        seed: of the vectors; the directions are always the same.
        centres: 0 for none.
        spread: how far vectors leave their direction, as a multiple of its length.
    """
    random = np.random.default_rng(seed)
    middles = _unit(np.random.default_rng(99).standard_normal((centres, width), np.float32))
    vectors = np.empty((count, width), np.float32)
    for first in range(0, count, _CHUNK):
        part = random.standard_normal((min(_CHUNK, count - first), width), np.float32)
        if centres:
            part = middles[random.integers(centres, size=len(part))] + part * np.float32(spread / np.sqrt(width))
        vectors[first : first + _CHUNK] = _unit(part)
    return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def seconds_of(work: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each of some calls."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_clusters(stored: StoredIndex, queries: np.ndarray, top: int) -> tuple[StoredIndex, dict[str, float]]:
    """Return the index with clusters, and the seconds and recalls of searches, each query by itself, in turn."""
    clustering.EXACT_UP_TO = 0
    clustered: list[StoredIndex] = []
    (found_in,) = seconds_of(lambda: clustered.append(clustering.add_clusters(stored)), 1)
    clusters = clustered[0].clusters[IMAGES]
    in_clusters = ClusteredVectors(clustered[0].vectors, clusters)
    reference = faiss_index(clustered[0].vectors, clusters, in_clusters.probes)
    ways: dict[str, Callable[[np.ndarray], Nearest]] = {
        "exact": lambda query: nearest(stored.vectors, query, top),
        "clusters": lambda query: in_clusters.nearest(query, top),
        "faiss": lambda query: Nearest(*reversed(reference.search(query, top))),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    rows: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for query in queries:
        for way, search in ways.items():
            start = time.perf_counter()
            found = search(query[None])
            seconds[way].append(time.perf_counter() - start)
            rows[way].append(found.rows[0])
    measured = {f"query_{way}": statistics.median(each) for way, each in seconds.items()}
    measured |= {f"fastest_{way}": min(each) for way, each in seconds.items()}
    for way in ("clusters", "faiss"):
        measured[f"ratio_{way}"] = measured["query_exact"] / measured[f"query_{way}"]
        for count in (10, top):
            shares = [
                np.isin(own[:count], true[:count]).mean() for own, true in zip(rows[way], rows["exact"], strict=True)
            ]
            measured[f"recall_{count}_{way}"] = float(np.mean(shares))
    sizes = {"clusters": len(clusters.centroids), "probes": in_clusters.probes}
    return clustered[0], {"find_clusters": found_in, **measured, **sizes}


def faiss_index(stored: np.ndarray, clusters: Clusters, probes: int) -> object:
    """Return the index of faiss for the same clusters."""
    import faiss  # in the extra of that name

    width = stored.shape[1]
    means = faiss.IndexFlatIP(width)
    means.add(clusters.centroids)
    index = faiss.IndexIVFFlat(means, width, len(clusters.centroids), faiss.METRIC_INNER_PRODUCT)
    members, rows = np.repeat(np.arange(len(clusters.sizes)), clusters.sizes), clusters.rows
    index.add_core(len(rows), faiss.swig_ptr(stored), faiss.swig_ptr(rows), faiss.swig_ptr(members))
    index.nprobe = probes
    return index


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clusters", action="store_true", help="search by clusters as well")
    parser.add_argument("--centres", type=int, default=20_000, help="with --clusters: directions of the vectors")
    parser.add_argument("--spread", type=float, default=1.0, help="with --clusters: how far vectors leave these")
    arguments = parser.parse_args()
    centres = arguments.centres if arguments.clusters else 0
    shape = {"width": arguments.width, "centres": centres, "spread": arguments.spread}
    vectors = draw_vectors(arguments.images, seed=0, **shape)
    query = draw_vectors(1, seed=1, **shape)
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
    measured: dict[str, float] = {}
    if arguments.clusters:
        stored, measured = measure_clusters(stored, draw_vectors(arguments.rounds, seed=2, **shape), arguments.top)
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
        print(f"{name:<15} {value:>9.3f} s")
    for name, number in measured.items():
        print(f"{name:<19} {number:>9.4g}")
    settings = {**vars(arguments), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    result = {"settings": settings, "environment": describe_environment(0), "seconds": seconds, "index_bytes": size}
    if measured:
        result["by_clusters"] = measured
    name = "search-clusters.json" if measured else "search.json"
    Path(__file__).with_name(name).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
