"""Draw docs/corruptions.png: a drawn dish under every corruption at severities 1 to 5.

Run: uv run python docs/corruptions.py
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from marnet.data.images import read_image
from marnet.data.sources import load_source
from marnet.data.squares import fit_square
from marnet.evaluation.corruptions import CORRUPTIONS, HELD_OUT, OURS, SEVERITIES, corrupt

SIDE, LABEL, GAP, HEAD = 80, 128, 24, 22  # pixels
COLOURS = {
    **dict.fromkeys(CORRUPTIONS, "#222222"),
    **dict.fromkeys(HELD_OUT, "#a05a00"),
    **dict.fromkeys(OURS, "#2a7f62"),
}
DISH = "synthetic:images=0,val_images=0,test_images=1,size=224,viewpoint=0.5,lighting=0.5,noise=0"

record = load_source(DISH).split("test")[6]
dish = fit_square(read_image(record.image), SIDE)[None]
font = ImageFont.load_default(13)
rows = (len(CORRUPTIONS) + 1) // 2
block = LABEL + (1 + len(SEVERITIES)) * SIDE
sheet = Image.new("RGB", (2 * block + GAP, HEAD + rows * SIDE), "white")
draw = ImageDraw.Draw(sheet)
for number, name in enumerate(CORRUPTIONS):
    left, top = number // rows * (block + GAP), HEAD + number % rows * SIDE
    draw.text((left + 2, top + SIDE / 2), name, COLOURS[name], font, anchor="lm")
    strip = torch.cat([dish, *(corrupt(dish, name, severity, [number]) for severity in SEVERITIES)])  # (6, 3, S, S)
    for place, (heading, picture) in enumerate(zip(("clean", *map(str, SEVERITIES)), strip, strict=True)):
        x = left + LABEL + place * SIDE
        sheet.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), (x, top))
        if number % rows == 0:
            draw.text((x + SIDE / 2, HEAD / 2), heading, "#666666", font, anchor="mm")
target = Path(__file__).with_name("corruptions.png")
sheet.quantize(256, kmeans=1).save(target, optimize=True)  # a third of the size
print(target)
