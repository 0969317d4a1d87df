"""Images per second of marnet's loading against timm's own loader: same files, same operations, same workers.

Both decode, crop at random (scale 0.5 to 1), flip, jitter colours and normalise. marnet decodes once into its cache
(cold: that and the first epoch) and then reads from it. Measured A B A B; the ratios are of medians. The processor's
time (of all processes) says the same where other work disturbs the clock.

Run: uv run python benchmarks/data_loading.py grocery-store:PATH [--image-size 96] [--workers 2]
It prints a table and writes data_loading.json beside this file.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm.data
from PIL import Image
from torch.utils.data import Dataset

from marnet.checkpoint import describe_environment
from marnet.data.dataset import EpochSampler, open_splits
from marnet.data.manifest import Manifest
from marnet.data.sources import load_source
from marnet.data.transforms import ImageSpec, model_input, train_transform
from marnet.inference import make_loader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Files(Dataset[Any]):
    """Image files as timm's loader takes them."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.transform: Any = None  # timm's create_loader sets it

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.paths[index]).convert("RGB")), 0


def read_with_timm(paths: list[str], size: int, batch: int, workers: int) -> int:
    """One epoch of timm's loader."""
    loader = timm.data.create_loader(
        Files(paths),
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        use_prefetcher=False,
        scale=(0.5, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.2,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
        num_workers=workers,
        pin_memory=False,
        persistent_workers=False,
    )
    return sum(len(images) for images, _ in loader)


def read_with_marnet(manifest: Manifest, size: int, batch: int, workers: int, cache: Path) -> int:
    """One epoch of marnet's loader, decoding first where `cache` is empty."""
    spec = ImageSpec(size, MEAN, STD)
    opened = open_splits(manifest, {"train": train_transform("light", spec)}, spec=spec, max_pixels=10**8, cache=cache)[
        "train"
    ]
    sampler = EpochSampler(len(opened.dataset), seed=0, shuffle=True)
    loader = make_loader(opened.dataset, batch_size=batch, workers=workers, sampler=sampler, drop_last=True)
    return sum(len(model_input(each.images, spec)) for each in loader)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    manifest = load_source(arguments.source)
    paths = [record.image for record in manifest.split("train")]
    shape = (arguments.image_size, arguments.batch_size, arguments.workers)
    found: dict[str, list[tuple[float, float]]] = {"timm": [], "marnet, cold": [], "marnet, cached": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            epochs: dict[str, Callable[[], int]] = {
                "timm": lambda: read_with_timm(paths, *shape),
                "marnet, cold": lambda cache=Path(folder): read_with_marnet(manifest, *shape, cache),
                "marnet, cached": lambda cache=Path(folder): read_with_marnet(manifest, *shape, cache),
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
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def processor_seconds() -> float:
    """Time that this process and its finished children computed."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
