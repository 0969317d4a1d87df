"""Seconds to train on the features of a frozen backbone, and how many of them the model itself takes.

The plain loop does the same steps without Lightning, validation, logging and files: what `fit` takes beyond it is
overhead. Its time for a whole training is reckoned from 60 steps.

Run: uv run python benchmarks/feature_training.py grocery-store:PATH [--epochs 100] [--batch-size 64]
It prints a table and writes feature_training.json beside this file.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from marnet import fit, make_config
from marnet.building import build_model
from marnet.config import Config
from marnet.data.dataset import SampleKey
from marnet.data.sampling import EpochSampler
from marnet.runs.directory import describe_environment
from marnet.training import embed
from marnet.training.features import open_features

STEPS, WARMUP = 60, 5


def plain_step_seconds(config: Config, features: Path) -> float:
    """The median time of a step of the plain loop."""
    found = open_features(features)
    train = found.dataset("train")
    model = build_model(
        config, num_classes=len(found.manifest.classes), texts=train.texts, backbone=found.backbone
    ).train()
    model.freeze_backbone()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)
    keys: list[int | SampleKey] = list(EpochSampler(len(train), seed=0, shuffle=True))
    size = config.training.batch_size
    seconds = []
    for number in range(WARMUP + STEPS):
        first = number % (len(keys) // size) * size
        start = time.perf_counter()
        batch = train.__getitems__(keys[first : first + size])
        loss = model.loss(batch.images, batch.texts, batch.labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARMUP:])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--method", default="marnet")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--backbone", default="timm:resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        backbone, data = {"name": arguments.backbone}, {"source": arguments.source, "image_size": arguments.image_size}
        features = embed(make_config({"backbone": backbone, "data": data}), Path(folder) / "features")
        embedded = time.perf_counter()
        training = {"epochs": arguments.epochs, "batch_size": arguments.batch_size, "devices": "cpu"}
        config = make_config({"method": arguments.method, "data": {"features": str(features)}, "training": training})
        fit(config, Path(folder) / "run")
        trained = time.perf_counter()
        steps = arguments.epochs * (len(open_features(features).dataset("train")) // arguments.batch_size)
        plain = steps * plain_step_seconds(config, features)
    seconds = {"embed": embedded - start, "train": trained - embedded, "plain loop": plain}
    print(f"{'what':<12} {'seconds':>8}")
    for name, value in seconds.items():
        print(f"{name:<12} {value:>8.1f}")
    print(f"{'overhead':<12} {100 * (seconds['train'] / plain - 1):>7.0f} %")
    settings = {**vars(arguments), "source": arguments.source.partition(":")[0], "steps": steps}
    result = {
        "settings": settings,
        "environment": describe_environment(0),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
