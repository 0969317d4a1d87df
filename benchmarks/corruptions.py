"""What judging a model under all 22 corruptions at 5 severities costs: CPU seconds by corruption, and in all.

Run: uv run python benchmarks/corruptions.py [--data grocery-store:PATH] [--image-size 64] [--backbone timm:resnet10t]
On one core: OMP_NUM_THREADS=1 taskset -c 0 uv run python benchmarks/corruptions.py
It prints a table and writes corruptions.json beside this file. CPU seconds are what the process computed, summed over
cores, so that other programs on the machine count little. The model's weights are random: they cost the same.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from marnet import make_config
from marnet.building import build_model
from marnet.data.image_spec import ImageSpec
from marnet.data.images import read_image
from marnet.data.sources import load_source
from marnet.data.squares import fit_square
from marnet.data.transforms import normalise
from marnet.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from marnet.runs.directory import describe_environment


def read_images(source: str, split: str, size: int) -> torch.Tensor:
    """Every image of a split, uint8 (N, 3, S, S)."""
    records = load_source(source).split(split)
    return torch.stack([fit_square(read_image(record.image, min_side=size), size) for record in records])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--split", default="val")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--backbone", default="timm:resnet10t")
    arguments = parser.parse_args()
    images = read_images(arguments.data, arguments.split, arguments.image_size)
    config = make_config(
        {"method": "marnet", "backbone": {"name": arguments.backbone}, "data": {"image_size": arguments.image_size}}
    )
    model = build_model(config, num_classes=81, texts=[f"word{i} word{i // 3}" for i in range(81)]).eval()
    spec = ImageSpec(arguments.image_size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    seeds = range(len(images))
    corrupting, judging = dict.fromkeys(CORRUPTIONS, 0.0), 0.0
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            for first in range(0, len(images), arguments.batch_size):
                rows = slice(first, first + arguments.batch_size)
                start = time.process_time()
                corrupted = corrupt(images[rows], name, severity, seeds[rows])
                middle = time.process_time()
                with torch.inference_mode():
                    model(normalise(corrupted, spec))
                corrupting[name] += middle - start
                judging += time.process_time() - middle
    total = sum(corrupting.values()) + judging
    for name, seconds in corrupting.items():
        print(f"{name:<20} {seconds:>7.2f} s")
    print(f"{'the model':<20} {judging:>7.2f} s")
    print(f"{'total':<20} {total:>7.2f} s   {len(images)} images of {arguments.image_size} px, {cores()} core(s)")
    result = {
        "settings": {**vars(arguments), "data": arguments.data.partition(":")[0]},
        "environment": describe_environment(0),
        "images": len(images),
        "cores": cores(),
        "seconds": {**corrupting, "model": judging},
        "total": total,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def cores() -> int:
    """Cores that this process may use, where the system can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
