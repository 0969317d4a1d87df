"""Train on pictures and texts of your own: name them in rows, train, predict.

Run: uv run python examples/own_dataset.py
"""

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
    rows = []
    for label, (colour, text) in DRINKS.items():
        for number in range(12):
            path = folder / f"{label}-{number}.png"
            draw(colour, number).save(path)
            # A text may be missing. Without a column "split" marnet splits the rows itself, class by class.
            rows.append({"image": str(path), "text": text if number % 3 else "", "label": label})

    run = marnet.train(
        rows,  # a table of pandas, polars or pyarrow or a CSV file with these columns would do as well
        out=folder / "run",
        backbone="timm:resnet10t",
        settings={"data.image_size": 32, "training.epochs": 3, "training.batch_size": 8},
    )
    print(f"val top-1 {run.metrics.top1:.2f} over {run.metrics.n} images")
    for prediction in run.load().predict([folder / "matcha-0.png"], top=3):
        print(Path(prediction.image).name, prediction.labels, [round(p, 2) for p in prediction.probabilities])
