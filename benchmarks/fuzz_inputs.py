"""Hostile and damaged inputs for `fuzz.py`: settings, tables, runs, features, shards, images; from a seeded generator.

Each function changes things only in its own folder and returns the command line to run on them.
"""

import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from PIL import Image
from pyarrow import parquet

from marnet.config.listing import list_settings
from marnet.config.nested import merge_settings

TINY = [
    "--backbone",
    "timm:test_resnet",
    "--image-size",
    "32",
    "--epochs",
    "1",
    "--batch-size",
    "4",
    "--devices",
    "cpu",
]
NUMBERS = [-1, 0, 1, 3, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), True, None]
# Modules that exist nowhere, and one that would do harm; the audit hook of fuzz.py counts their imports.
NAMES = [
    "module:evil_nets.make",
    "module:antigravity.fly",
    "module:",
    "module:a",
    "hf:evil/repo",
    "timm:",
    "timm:x",
    "",
]
TEXTS = [
    *NAMES, "a", "../..", "/dev/zero", "/etc/passwd", "~/x", "s3://b/k.csv", "https://example.org/a.csv", "C:\\a\\b",
    "\x1b]0;owned\x07", "caf\u00e9", "\udcff", "x" * 5000, "nan", "null", "a, b", "[']", "\x00", "\u202eabc", "1e400",
    "2020-99-99", "9" * 5000, "&a [*a]", "!!python/object:os.x {}", "[" * 3000, "{}", "[]", "synthetic:n=x",
]  # fmt: skip
# Sizes within the bounds of single settings, for runs of somebody else.
LARGE = [4096, 8192, 16_384, 65_536, 100_000, 500_000, 10**7]
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "MPO"]
HEADER = ["image", "text", "label", "split"]


class Base(NamedTuple):
    """Sound inputs that are then damaged."""

    data: Path  # pictures and table.csv
    run: Path  # trained on them
    features: Path  # of 'marnet embed'
    shards: Path  # of 'marnet data convert'


def draw_data(folder: Path) -> Path:
    """Draw eight pictures of two classes, and return a table of them."""
    rows = [",".join(HEADER)]
    for number in range(8):
        label = "apple" if number % 2 else "lime"
        Image.new("RGB", (40, 40), (200 - 9 * number, 40, 40) if number % 2 else (60, 180, 9 * number)).save(
            folder / f"{number}.png"
        )
        rows.append(f"{number}.png,a {label} {number},{label},{'val' if number > 5 else 'train'}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "table.csv"


def odd(rng: random.Random) -> Any:
    """Return a value that a setting, a cell or an entry of a JSON file hardly expects."""
    plain = rng.choice(NUMBERS if rng.random() < 0.5 else TEXTS)
    return rng.choice([plain, plain, plain, plain, plain, [plain], {"a": plain}, [], {}])


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return bytes cut off, changed, repeated, or put into another encoding."""
    at = rng.randrange(len(content) + 1)
    kinds: list[Callable[[], bytes]] = [
        lambda: content[:at],
        lambda: b"",
        lambda: content + content,
        lambda: content[:at] + rng.randbytes(rng.randint(1, 40)) + content[at:],
        lambda: content[:at] + rng.randbytes(4) + content[at + 4 :],
        lambda: _flip(content, rng),
        lambda: content[:at] + bytes(rng.randint(1, 64)) + content[at:],
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: rng.randbytes(rng.randint(1, 2000)),
    ]
    return rng.choice(kinds)()


def _flip(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.randint(1, 20) if content else 0):
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def settings(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """Odd values for settings: on the command line, in a file, or in the plan of a comparison."""
    chosen: dict[str, Any] = {}
    for setting in rng.sample(list_settings(), rng.choice([1, 1, 1, 2, 3])):
        number = setting.type.startswith(("int", "float")) and rng.random() < 0.8
        chosen[setting.name] = rng.choice(NUMBERS) if number else odd(rng)
    if rng.random() < 0.1:
        chosen[rng.choice(["training", "x", "data.columns", "", "a.b.c.d", "."])] = odd(rng)
    train = ["train", "--data", str(base.data / "table.csv"), "--out", str(folder / "run"), *TINY]
    way = rng.randrange(4)
    if way == 0:
        flag = rng.choice(
            ["--lr", "--seed", "--balance", "--labels", "--method", "--precision", "--preset", "--devices"]
        )
        return [*train, f"{flag}={odd(rng)}".replace("\x00", "")]
    text = "\n".join(f"{name}: {json.dumps(value)}" for name, value in chosen.items())
    if way == 1:
        return [*train, *(f"--set={name}={value}".replace("\x00", "") for name, value in chosen.items())]
    nested: dict[str, Any] = {}
    for name, value in chosen.items():
        section, _, key = name.partition(".")
        nested[section] = {key: value} if key else value
    text = json.dumps(nested) if rng.random() < 0.7 else text
    file = folder / "settings.yaml"
    if way == 3:
        usual = {
            "data": {"source": str(base.data / "table.csv"), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "devices": "cpu"},
        }
        plan: dict[str, Any] = {"base": merge_settings(usual, nested), "arms": ["image-only"], "seeds": 1}
        if rng.random() < 0.6:
            plan[rng.choice([*plan, "split", "label_budget", "out"])] = odd(rng)
        file.write_bytes(json.dumps(plan).encode("utf-8", "surrogatepass"))
        return ["compare", str(file), "--out", str(folder / "out")]
    content = text.encode("utf-8", "surrogatepass")
    file.write_bytes(damage(content, rng) if rng.random() < 0.4 else content)
    return [*train, "--config", str(file)]


def tables(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """A table with odd cells, columns or bytes, given to a command that reads tables."""
    for picture in base.data.glob("*.png"):
        (folder / picture.name).symlink_to(picture)
    lines = (base.data / "table.csv").read_text(encoding="utf-8").splitlines()
    rows: list[list[Any]] = [line.split(",") for line in lines]
    for _ in range(rng.randint(0, 3)):
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = odd(rng)
    if rng.random() < 0.1:
        rows = [row[:-1] for row in rows]
    suffix = rng.choice([".csv", ".csv", ".jsonl", ".parquet", rng.choice([".tsv", ".txt", "", ".xlsx", ".CSV"])])
    file = folder / f"table{suffix}"
    content = _write_table(rows, suffix)
    file.write_bytes(damage(content, rng) if rng.random() < 0.4 else content)
    return rng.choice([
        ["data", "info", str(file)],
        ["data", "info", str(file), "--json", "--labels=multi"],
        ["data", "check", str(file)],
        ["data", "convert", str(file), str(folder / "copy.jsonl")],
        ["data", "convert", str(file), str(folder / "shards"), "--shards"],
        ["evaluate", str(base.run), "--data", str(file)],
        ["embed", str(file), "--out", str(folder / "features"), *TINY[:4]],
        ["train", "--data", str(file), "--out", str(folder / "run"), *TINY],
    ])  # fmt: skip


def _write_table(rows: list[list[Any]], suffix: str) -> bytes:
    header, *body = rows
    names = [str(name) for name in header]
    if suffix == ".jsonl":
        found = [dict(zip(names, row, strict=False)) for row in body]
        return "\n".join(json.dumps(row) for row in found).encode("utf-8", "surrogatepass")
    if suffix == ".parquet":
        buffer = io.BytesIO()
        columns = list(zip(*body, strict=False))
        arrays = [[str(cell).encode("utf-8", "replace").decode() for cell in column] for column in columns]
        table = pyarrow.table([pyarrow.array(each) for each in arrays], names=names[: len(arrays)])
        parquet.write_table(table, buffer)
        return buffer.getvalue()
    return "\n".join(",".join(str(cell) for cell in row) for row in rows).encode("utf-8", "surrogatepass")


def runs(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """A run directory with one file missing, damaged, or holding something odd."""
    run = shutil.copytree(base.run, folder / "run")
    files = sorted(path for path in run.rglob("*") if path.is_file() and "tensorboard" not in path.parts)
    # Half of the time one of those that every command reads.
    central = [path for path in files if path.stem in ("config", "classes", "image", "model")]
    _damage_file(rng.choice(central if rng.random() < 0.5 else files), rng)
    return rng.choice([
        ["predict", str(run), str(base.data / "0.png")],
        ["evaluate", str(run), "--json"],
        ["evaluate", str(run), "--data", str(base.data / "table.csv")],
        ["report", str(run), "--out", str(folder / "page.html")],
        ["train", "--resume", "--epochs", "2", "--out", str(run)],
        ["train", "--data", str(base.data / "table.csv"), "--out", str(run), "--overwrite", *TINY],
    ])  # fmt: skip


def features(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """A folder of features with one file missing, damaged, or holding something odd, to train on."""
    found = shutil.copytree(base.features, folder / "features")
    _damage_file(rng.choice(sorted(path for path in found.rglob("*") if path.is_file())), rng)
    train = ["train", "--features", str(found), "--out", str(folder / "run"), "--epochs", "1", "--devices", "cpu"]
    return [*train, "--method", rng.choice(["image-only", "marnet"])]


def shards(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """Shards with one file missing, damaged, or holding something odd."""
    found = shutil.copytree(base.shards, folder / "shards")
    _damage_file(rng.choice(sorted(path for path in found.iterdir() if path.is_file())), rng)
    source = rng.choice([f"shards:{found}", str(found)])
    return rng.choice([
        ["data", "info", source],
        ["data", "check", source],
        ["data", "convert", source, str(folder / "copy.csv")],
        ["evaluate", str(base.run), "--data", source],
        ["train", "--data", source, "--out", str(folder / "run"), *TINY],
        ["train", "--data", source, "--out", str(folder / "run"), *TINY, "--set=data.stream=true"],
    ])  # fmt: skip


def _damage_file(file: Path, rng: random.Random) -> None:
    """Change a value in a file, damage its bytes, or put something else in its place."""
    way = rng.randrange(12)
    if way < 5 and file.suffix in (".json", ".yaml", ".safetensors"):
        (_change_header if file.suffix == ".safetensors" else _change_value)(file, rng)
    elif way < 7:
        file.write_bytes(damage(file.read_bytes(), rng))
    elif way == 7:
        os.truncate(file, 100 * 2**30)  # a hole, which takes no space
    else:
        file.unlink()
        if way == 8:
            file.mkdir()
        elif way == 9:
            os.mkfifo(file)
        elif rng.random() < 0.5:
            file.symlink_to("/dev/zero")


def _change_header(file: Path, rng: random.Random) -> None:
    """Change the header of a safetensors file: one entry of it, or its length."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.2:
        file.write_bytes(rng.choice([10**8, 2**40, 2**63, 0, length + 1]).to_bytes(8, "little") + content[8:])
        return
    entry = header[rng.choice([name for name in header if header[name]])]
    key = rng.choice(list(entry))
    if key == "shape" and rng.random() < 0.6:  # one that fits its place, but not the model
        entry["shape"] = [*entry["shape"][::-1], *rng.choice([[1], []])]
    elif rng.random() < 0.5:
        entry[key] = [rng.choice(LARGE) for _ in range(2)]
    else:
        entry[key] = str(rng.choice(LARGE)) if isinstance(entry[key], str) else odd(rng)
    written = json.dumps(header).encode("utf-8", "surrogatepass")
    file.write_bytes(len(written).to_bytes(8, "little") + written + body)


def _change_value(file: Path, rng: random.Random) -> None:
    """Change one value somewhere in a JSON or YAML file; JSON is YAML as well. A number may become a large one."""
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    within: Any = content
    while True:
        keys = list(within) if isinstance(within, dict) else list(range(len(within)))
        if not keys:
            break
        key = rng.choice(keys)
        if not isinstance(within[key], dict | list) or rng.random() < 0.2:
            number = type(within[key]) in (int, float, type(None)) and rng.random() < 0.5
            within[key] = rng.choice(LARGE) if number else odd(rng)
            break
        within = within[key]
    text = json.dumps(content) + ("\n...\n" if file.suffix == ".yaml" else "")
    file.write_bytes(text.encode("utf-8", "surrogatepass"))


def images(folder: Path, base: Base, rng: random.Random) -> list[str]:
    """A file that is no sound picture, for prediction or in a table."""
    kind = rng.choice([*FORMATS, "special", "special"])
    file = folder / f"odd.{rng.choice(['jpg', 'png', 'webp', 'gif', 'bmp', 'tif', 'avif', 'jp2', 'ppm'])}"
    if kind == "special":
        _special(file, rng)
    else:
        buffer = io.BytesIO()
        size = (rng.choice([1, 7, 40, 300]), rng.choice([1, 9, 40, 200]))
        mode = rng.choice(["RGB", "L", "P", "1"]) if kind in ("PNG", "GIF", "BMP", "TIFF") else "RGB"
        Image.effect_noise(size, 50).convert(mode).save(buffer, kind)
        content = buffer.getvalue()
        for _ in range(rng.randint(0, 3)):
            content = damage(content, rng) or content
        file.write_bytes(content)
    if rng.random() < 0.6:
        return ["predict", str(base.run), str(file), "--json"]
    rows = (base.data / "table.csv").read_text(encoding="utf-8").replace("\n", f"\n{base.data}/")
    table = folder / "table.csv"
    table.write_text(rows.removesuffix(f"{base.data}/") + f"{file},odd,apple,val\n", encoding="utf-8")
    return rng.choice([["data", "check", str(table)], ["data", "info", str(table)],
                       ["evaluate", str(base.run), "--data", str(table)]])  # fmt: skip


def _special(file: Path, rng: random.Random) -> None:
    way = rng.randrange(8)
    if way == 0:
        os.mkfifo(file)
    elif way == 1:
        file.symlink_to(rng.choice(["/dev/zero", "/dev/tty", "/proc/self/mem", file.name]))
    elif way == 2:
        file.mkdir()
    else:
        contents = [
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"\x00\x00\x00\x18ftypheic" + bytes(64),
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00" + bytes(40),
            b"P6 99999 99999 255\n",
        ]
        file.write_bytes(rng.choice(contents))


KINDS: dict[str, Callable[[Path, Base, random.Random], list[str]]] = {
    "settings": settings,
    "tables": tables,
    "runs": runs,
    "features": features,
    "shards": shards,
    "images": images,
}
