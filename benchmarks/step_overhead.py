"""What one training step of `marnet` costs over one of `image-only`: the ratio of medians, measured A B A B.

Run: uv run python benchmarks/step_overhead.py [--backbone timm:resnet18] [--image-size 96] [--batch-size 64]
It prints a table and writes step_overhead.json beside this file.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from marnet import make_config
from marnet.building import build_model
from marnet.runs.directory import describe_environment

METHODS = ("image-only", "match", "reconstruct", "marnet")


def make_step(method: str, backbone: str, size: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One whole optimisation step of a method, on random images with 81 different texts."""
    texts = [f"word{i} word{i // 3} word{i // 9} for class {i}" for i in range(81)]
    config = make_config({"method": method, "backbone": {"name": backbone}, "data": {"image_size": size}})
    model = build_model(config, num_classes=81, texts=texts).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 81
    captions = [texts[i % 81] for i in range(batch)]

    def step() -> None:
        loss = model.loss(images, captions, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int, warmup: int = 3) -> dict[str, float]:
    """Median seconds of each step, taken in turns so that a slow moment of the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warmup + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="timm:resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    steps = {
        name: make_step(name, arguments.backbone, arguments.image_size, arguments.batch_size, device)
        for name in METHODS
    }
    medians = measure(steps, arguments.rounds)
    ratios = {name: seconds / medians["image-only"] for name, seconds in medians.items()}
    print(f"{'method':<12} {'median s':>9} {'ratio':>6}")
    for name in METHODS:
        print(f"{name:<12} {medians[name]:>9.3f} {ratios[name]:>6.3f}")
    result = {"settings": vars(arguments), "environment": describe_environment(0), "seconds": medians, "ratios": ratios}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
