"""Train a backbone of your own with the whole of the library: run directory, best epoch, evaluation, prediction.

Run: uv run python examples/own_backbone.py
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import marnet


class TinyNet(nn.Module):
    """Any module that maps images (B, 3, H, W) to features (B, D) will do."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


with tempfile.TemporaryDirectory() as folder:
    # The mean and std are those that your network expects of its input.
    run = marnet.train(
        "synthetic:classes=4,images=8,val_images=4,test_images=0",
        out=Path(folder) / "run",
        backbone=marnet.Backbone(TinyNet(), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        settings={"data.image_size": 32, "training.epochs": 2, "training.batch_size": 16},
    )
    print(f"val top-1 {run.metrics.top1:.2f} over {run.metrics.n} images")

    # The weights are in the run directory; the code of the backbone is yours, so it is handed over again.
    predictor = run.load(backbone=TinyNet())
    image = predictor.manifest().split("val")[0].image
    best = predictor.predict([image], top=2)[0]
    print(best.labels, [round(p, 2) for p in best.probabilities])
