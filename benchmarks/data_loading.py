"""Images per second of marnet's loading against timm's own loader: same files, same operations, same workers.

Both decode, crop at random (scale 0.5 to 1), flip, jitter colours and normalise. marnet decodes once into its cache
(cold: that and the epochs) and then reads from it. Both start their loader processes once and keep them over --epochs.
Measured A B A B; the ratios are of medians. The processor's time (of all processes) says the same where other work
disturbs the clock.

Run: uv run python benchmarks/data_loading.py grocery-store:PATH [--image-size 96] [--workers 2] [--epochs 1]
It prints a table and writes it into data_loading.json beside this file, under the number of epochs.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm.data
import torch
from PIL import Image
from torch.utils.data import Dataset

from marnet.data.dataset import open_splits
from marnet.data.image_spec import ImageSpec
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest
from marnet.data.sampling import EpochSampler
from marnet.data.sources import load_source
from marnet.data.transforms import model_input, train_transform
from marnet.runs.directory import describe_environment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading(NamedTuple):
    """What both loaders read."""

    size: int
    batch: int
    workers: int
    epochs: int


class Files(Dataset[Any]):
    """Image files as timm's loader takes them."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.transform: Any = None  # timm's create_loader sets it

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.paths[index]).convert("RGB")), 0


def read_with_timm(paths: list[str], reading: Reading) -> int:
    """Epochs of timm's loader."""
    loader = timm.data.create_loader(
        Files(paths),
        input_size=(3, reading.size, reading.size),
        batch_size=reading.batch,
        is_training=True,
        use_prefetcher=False,
        scale=(0.5, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.2,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        num_workers=reading.workers,
        pin_memory=False,
        persistent_workers=True,
    )
    return sum(len(images) for _ in range(reading.epochs) for images, _ in loader)


def read_with_marnet(manifest: Manifest, reading: Reading, cache: Path) -> int:
    """Epochs of marnet's loader, decoding first where `cache` is empty."""
    spec = ImageSpec(reading.size, MEAN, STD)
    opened = open_splits(manifest, {"train": train_transform("light", spec)}, spec=spec, max_pixels=10**8, cache=cache)[
        "train"
    ]
    sampler = EpochSampler(len(opened.dataset), seed=0, shuffle=True)
    loader = make_loader(
        opened.dataset, batch_size=reading.batch, workers=reading.workers, sampler=sampler, drop_last=True
    )
    images = 0
    for epoch in range(reading.epochs):
        sampler.set_epoch(epoch)
        images += sum(len(model_input(batch.images, spec)) for batch in loader)
    return images


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the cores belong to the workers
    manifest = load_source(arguments.source)
    paths = [record.image for record in manifest.split("train")]
    reading = Reading(arguments.image_size, arguments.batch_size, arguments.workers, arguments.epochs)
    found: dict[str, list[tuple[float, float]]] = {"timm": [], "marnet, cold": [], "marnet, cached": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            epochs: dict[str, Callable[[], int]] = {
                "timm": lambda: read_with_timm(paths, reading),
                "marnet, cold": lambda cache=Path(folder): read_with_marnet(manifest, reading, cache),
                "marnet, cached": lambda cache=Path(folder): read_with_marnet(manifest, reading, cache),
            }
            for name, read in epochs.items():
                start, used = time.perf_counter(), processor_seconds()
                images = read()
                found[name].append((images / (time.perf_counter() - start), images / (processor_seconds() - used)))
    speeds, per_processor = (
        {name: statistics.median(each[i] for each in values) for name, values in found.items()} for i in (0, 1)
    )
    ratios = {name: speed / speeds["timm"] for name, speed in speeds.items()}
    processor_ratios = {name: speed / per_processor["timm"] for name, speed in per_processor.items()}
    print(f"{'loader':<15} {'images/s':>9} {'ratio':>6}  {'images/s of one core':>20} {'ratio':>6}")
    for name in found:
        print(
            f"{name:<15} {speeds[name]:>9.0f} {ratios[name]:>6.2f}  {per_processor[name]:>20.0f} "
            f"{processor_ratios[name]:>6.2f}"
        )
    settings = {**vars(arguments), "source": arguments.source.partition(":")[0], "images": len(paths)}
    result = {
        "settings": settings,
        "environment": describe_environment(0),
        "images/s": speeds,
        "ratio": ratios,
        "images/s of one core": per_processor,
        "ratio of one core": processor_ratios,
    }
    file = Path(__file__).with_suffix(".json")
    results = json.loads(file.read_text()) if file.is_file() else {}
    results[f"{arguments.epochs} epochs"] = result
    file.write_text(json.dumps(results, indent=2) + "\n")


def processor_seconds() -> float:
    """Time that this process and its finished children computed."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
