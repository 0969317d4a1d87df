"""Time per image of an exported run over that of PyTorch, with the size of the files.

    uv run --group dev python benchmarks/export.py --out benchmarks/export.json

All are measured in turn within one process, on the CPU, so that the ratios hold on a machine of any speed.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import marnet
from marnet.inference import ExportedPredictor, Predictor
from marnet.inference.loading import open_exported

BATCHES = (1, 32)
ROUNDS = 15


def train(folder: Path, backbone: str, side: int) -> Path:
    """Train a run for an epoch on drawn dishes; what it learns makes no difference to its speed."""
    settings = {
        "data.image_size": side,
        "training": {"epochs": 1, "devices": "cpu"},
        "synthetic": {"train_per_class": 4, "val_per_class": 4, "test_per_class": 2},
    }
    return marnet.train("synthetic", out=folder / "run", backbone=backbone, settings=settings).path


def median_seconds(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each call; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each[2:]) for name, each in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="timm:resnet18")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--run", type=Path, help="a run directory, in place of one trained here")
    parser.add_argument("--data", help="its rows, if they are at another place by now")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.run or train(Path(folder), options.backbone, options.side)
        run = Predictor(path, device="cpu")
        files: dict[str, ExportedPredictor] = {}
        found: dict[str, dict[str, float]] = {}
        for precision in ("fp32", "fp16", "int8"):
            out = Path(folder) / f"{precision}.onnx"
            done = marnet.export_run(path, out, precision=precision, data=options.data)  # type: ignore[arg-type]
            files[precision] = open_exported(out)
            found[precision] = {"megabytes": done.size / 1e6, "agreement": done.agreement}
            if done.scores is not None:
                found[precision] |= {"score": done.scores.file, "score of the run": done.scores.run}
        for batch in BATCHES:
            side = run.spec.size
            pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, side, side), np.uint8)
            images = torch.from_numpy(pixels)
            calls: dict[str, Callable[[], object]] = {"torch": lambda images=images: run.probabilities(images)}  # type: ignore[misc]
            calls |= {name: lambda file=file, pixels=pixels: file.compute(pixels) for name, file in files.items()}  # type: ignore[misc]
            seconds = median_seconds(calls)
            found.setdefault("torch", {})[f"ms per image, batch {batch}"] = 1000 * seconds["torch"] / batch
            for name in files:
                found[name][f"time over torch, batch {batch}"] = seconds[name] / seconds["torch"]
    text = json.dumps({"backbone": run.config.backbone.name, "side": run.spec.size, "figures": found}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
