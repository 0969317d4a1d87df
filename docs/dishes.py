"""Draw the README's picture: train the demo for 20 epochs, longer than `marnet demo`, and show some predictions.

Run: uv run python docs/dishes.py [FOLDER OF THE RUNS]
It shows the first test dish of every sixth class, whether the prediction is correct or not. The true class is green.
"""

import sys
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

import marnet
from marnet.data.sources import load_source
from marnet.reports.demo import TEST_DATA, TRAINING_DATA, run_demo

EPOCHS = 20

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "marnet-demo")
print(run_demo(folder, epochs=EPOCHS).verdict)
training, new = load_source(TRAINING_DATA), load_source(TEST_DATA)
predictor = marnet.load(folder / "marnet")

chosen = new.classes[::6]
figure = Figure(figsize=(12, 2.9), dpi=110)
axes = figure.subplots(2, 2 * len(chosen), height_ratios=[1.5, 1.2])
figure.subplots_adjust(left=0.005, right=0.995, top=0.92, bottom=0.02, wspace=0.06, hspace=0.06)
for column, label in enumerate(chosen):
    example = next(record for record in training.split("train") if record.label == label)
    unseen = next(record for record in new.split("test") if record.label == label)
    prediction = predictor.predict(unseen.image, top=3)
    left, right = 2 * column, 2 * column + 1
    for place, record, title in ((left, example, "trained on image + text"), (right, unseen, "predicted from image")):
        axes[0, place].imshow(Image.open(record.image))
        axes[0, place].set_title(title, fontsize=8, color="#666666")
    axes[1, left].text(0.5, 1.0, textwrap.fill(example.text, 24), ha="center", va="top", fontsize=7.5, style="italic")
    bars = axes[1, right]
    colours = ["#2a7f62" if name == label else "#b9c2c9" for name in prediction.labels]
    bars.barh(range(3), prediction.probabilities, color=colours, height=0.35)
    for row, (name, probability) in enumerate(zip(prediction.labels, prediction.probabilities, strict=True)):
        bars.text(0, row - 0.3, f"{name}  {100 * probability:.0f} %", va="bottom", fontsize=7.5)
    bars.set_xlim(0, 1)
    bars.set_ylim(3, -1)
for each in axes.flat:
    each.axis("off")
target = Path(__file__).with_name("dishes.png")
figure.savefig(target)
print(target)
