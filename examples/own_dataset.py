"""Train on pictures and texts of your own: write a manifest, train, predict.

Run: uv run python examples/own_dataset.py
"""

import csv
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

import marnet

DRINKS = {
    "espresso": ((60, 35, 20), "coffee beans, hot water"),
    "matcha": ((120, 170, 70), "green tea powder, hot water"),
    "lassi": ((240, 225, 200), "yoghurt, mango, ice"),
}


def draw(colour: tuple[int, int, int], shift: int) -> Image.Image:
    """A cup from above."""
    picture = Image.new("RGB", (64, 64), (200 - shift, 190, 180 + shift))
    ImageDraw.Draw(picture).ellipse((10 + shift, 12, 50 + shift, 52), fill=colour, outline="white", width=3)
    return picture


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    with (folder / "drinks.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label"])  # without a split column marnet makes a stratified one
        for label, (colour, text) in DRINKS.items():
            for number in range(12):
                path = f"{label}-{number}.png"
                draw(colour, number).save(folder / path)
                rows.writerow([path, text if number % 3 else "", label])  # a text may be missing

    config = marnet.make_config(
        {
            "data": {"source": str(folder / "drinks.csv"), "image_size": 32},
            "backbone": {"name": "timm:resnet10t"},
            "training": {"epochs": 3, "batch_size": 8},
        }
    )
    result = marnet.fit(config, folder / "run")
    print(f"val top-1 {result.metrics.top1:.2f} over {result.metrics.n} images")
    for prediction in marnet.load(result.run).predict([folder / "matcha-0.png"], top=3):
        print(Path(prediction.image).name, prediction.labels, [round(p, 2) for p in prediction.probabilities])
