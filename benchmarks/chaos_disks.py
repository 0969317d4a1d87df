"""Disks that are full when a certain file is about to be written: small file systems in memory, filled up."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from chaos_commands import Change, Ended, run_command
from chaos_kills import TRAIN_OPTIONS, Undisturbed, differences, go_on, is_left_over

SIZE = 200 * 2**20  # bytes of a disk
_KEPT = ("*.safetensors", "last*.ckpt", "runs/*/*.json", "table.csv")


class Site(NamedTuple):
    """A place to which marnet writes."""

    kind: str  # train, overwrite, compare, embed, convert or report
    target: str  # a part of the path
    number: int = 1  # of the change to such a path at which the disk fills up
    options: tuple[str, ...] = ()
    free: int = 0  # bytes that stay free, so that the file is cut short
    cache: bool = False  # the cache lies on the disk, too


SITES = {
    "the lock": Site("train", "out/.lock"),
    "the marker": Site("train", ".marnet-run.partial"),
    "config.yaml": Site("train", "config.partial"),
    "classes.json": Site("train", "classes.partial"),
    "environment.json": Site("train", "environment.partial"),
    "the manifest": Site("train", "manifest.partial"),
    "the log of TensorBoard": Site("train", "events.out.tfevents"),
    "the text encoder's settings": Site("train", "/text.partial.json"),
    "the first weights": Site("train", "/model.partial", free=8192),
    "the first weights of training alone": Site("train", "/text.partial.safetensors", free=4096),
    "later weights": Site("train", "/model.partial", number=5),
    "the first resume point": Site("train", "last.partial", free=65536),
    "a later resume point": Site("train", "last.partial", number=9, free=65536),
    "the first row of the history": Site("train", "history.partial"),
    "a later row of the history": Site("train", "history.partial", number=5),
    "metrics.json": Site("train", "metrics.partial"),
    "config.yaml of a run that replaces one": Site("overwrite", "config.partial", number=2),
    "first weights of a run that replaces one": Site("overwrite", "/model.partial"),
    "the plan of a comparison": Site("compare", "comparison.partial"),
    "the lock of a compared run": Site("compare", "seed-0.lock"),
    "the state of a compared run": Site("compare", "seed-0.state", number=4),
    "weights of a compared run": Site("compare", "seed-1/model.partial"),
    "a resume point of a compared run": Site("compare", "seed-1/checkpoints/last.partial", number=5),
    "a record": Site("compare", "runs/marnet/seed-0.partial", free=4096),
    "results.json": Site("compare", "results.partial.json"),
    "a table of results": Site("compare", "tables/runs.partial"),
    "the report of a comparison": Site("compare", "report.partial", free=8192),
    "the cache of decoded images": Site("train", ".part", cache=True, free=4096),
    "the list of the cache": Site("train", ".json.part", cache=True),
    "drawn dishes": Site("draw", ".drawing-", number=4, cache=True, free=8192),
    "features": Site("embed", "features.partial"),
    "rows of features": Site("embed", "out/manifest.partial"),
    "the encoder of features": Site("embed", "encoder/model.partial"),
    "a converted table": Site("convert", "table.", options=("out/table.csv",)),
    "a converted table that replaces one": Site("convert", "table.", options=("out/table.csv", "--overwrite")),
    "converted rows as JSON": Site("convert", "table.", options=("out/table.jsonl",)),
    "converted rows as Parquet": Site("convert", "table.", options=("out/table.parquet",)),
    "copied images": Site("convert", ".png", number=5, options=("out/table.csv", "--copy-images")),
    "a shard": Site("convert", ".tar.part", options=("out", "--shards")),
    "the plan of shards": Site("convert", ".plan.json.part", options=("out", "--shards")),
    "the list of shards": Site("convert", "info.json.part", options=("out", "--shards")),
    "the report of a run": Site("report", "report.partial", free=4096),
}


def run_site(site: Site, place: Path, table: Path, known: dict[str, Undisturbed]) -> tuple[list[str], str]:
    """Fill the disk at a write site, free it again and go on; return the faults, and the message of marnet.

    Args:
        site: the place.
        place: an empty folder.
        table: the data.
        known: of `chaos_kills.make_undisturbed`.
    """
    disk, note = place / "disk", place / "note.json"
    with mounted(disk):
        line, whole = _prepare(site, disk, place, table, known)
        environment = {"TMPDIR": str(place), "MARNET_CACHE": str(disk / "cache" if site.cache else place / "cache")}
        start = partial(run_command, log=place / "log", environment=environment, every_epoch=True)
        ended = start(line, on_change=_filling(site, disk, note))
        if not note.is_file():
            return [f"{site.target} was not written {site.number} times"], ended.output[-500:]
        faults = ended.unclear()
        message = ended.output[ended.output.find("Error: ") :].strip()
        message = message.replace(str(disk), "DISK").replace(str(table.parent), "DATA")
        if "DISK/" not in message:
            faults.append("the message names no file")
        if len(message.splitlines()) > 1:
            faults.append("the message is no single line")
        faults += _lost(json.loads(note.read_text(encoding="utf-8")), disk)
        faults += [f"left over: {path.relative_to(disk)}" for path in disk.rglob("*") if is_left_over(path)]
        (disk / "filler").unlink()
        if ended.code:
            again = _again(site, line, start, faults)
            if again.code == 0:
                faults += _compare(site, whole, disk / "out")
    return faults, message


@contextlib.contextmanager
def mounted(disk: Path) -> Iterator[None]:
    """Mount a small file system in memory on a new folder."""
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _prepare(
    site: Site, disk: Path, place: Path, table: Path, known: dict[str, Undisturbed]
) -> tuple[list[str], Path | None]:
    """Return the command line, and the results of an undisturbed one."""
    out = disk / "out"
    if site.kind in ("train", "compare"):
        return [*known[site.kind].arguments, *site.options, "--out", str(out)], known[site.kind].out
    if site.kind == "overwrite":
        shutil.copytree(known["old"].out, out)
        return [*known["train"].arguments, "--overwrite", "--out", str(out)], known["train"].out
    if site.kind == "report":
        return ["report", str(shutil.copytree(known["train"].out, out))], None
    if site.kind == "draw":
        data = "synthetic:classes=2,images=3,val_images=1,test_images=1,size=32"
        return ["train", "--data", data, *TRAIN_OPTIONS, "--epochs", "1", "--out", str(out)], None
    if site.kind == "embed":
        lines = [["embed", str(table), "--image-size", "32", "--backbone", "timm:test_resnet", "--out"]]
        return [*lines[0], str(out)], _undisturbed([*lines[0], str(place / "whole")], place)
    name, *flags = site.options
    out.mkdir()
    if "--overwrite" in flags:
        (disk / name).write_text(table.read_text(encoding="utf-8"), encoding="utf-8")
    whole = place / "whole"
    whole.mkdir()
    line = ["data", "convert", str(table), *flags]
    _undisturbed([*line, str(whole / Path(name).relative_to("out"))], place)
    return [*line, str(disk / name)], whole


def _undisturbed(line: list[str], place: Path) -> Path:
    environment = {"TMPDIR": str(place), "MARNET_CACHE": str(place / "other-cache")}
    ended = run_command(line, place / "whole.log", environment=environment)
    if ended.code:
        raise RuntimeError(f"An undisturbed command failed: {ended.output}")
    return place / "whole"


def _filling(site: Site, disk: Path, note: Path) -> Change:
    """Return a hook that fills the disk when the file is about to be written, and notes the files to keep."""
    seen = 0

    def on_change(path: str) -> None:
        nonlocal seen
        if site.target not in path or not path.startswith(str(disk)):
            return
        seen += 1
        if seen == site.number:
            note.write_text(json.dumps(_digests(disk)), encoding="utf-8")
            with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):  # noqa: PTH123
                while file.write(bytes(4096)):
                    pass
            os.truncate(disk / "filler", (disk / "filler").stat().st_size - site.free)

    return on_change


def _digests(disk: Path) -> dict[str, str]:
    files = [path for pattern in _KEPT for path in (disk / "out").rglob(pattern) if ".partial" not in path.name]
    return {str(path.relative_to(disk)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _lost(before: dict[str, str], disk: Path) -> list[str]:
    """Return the files that are gone or changed; a resume point may have become the one before."""
    now = set(_digests(disk).values())
    return [f"lost: {name}" for name, digest in before.items() if digest not in now]


def _again(site: Site, line: list[str], start: partial[Ended], faults: list[str]) -> Ended:
    kind = site.kind if site.kind in ("train", "overwrite", "compare") else "compare"
    if kind == "overwrite":
        line = [argument for argument in line if argument != "--overwrite"]
    return go_on(kind, line, start, faults)


def _compare(site: Site, whole: Path | None, out: Path) -> list[str]:
    if whole is None:
        return []
    if site.kind in ("train", "overwrite", "compare"):
        return differences(site.kind, whole, out)
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    skipped = ("environment.json", ".lock", "manifest.jsonl")
    return [
        f"{name} differs"
        for name in names
        if name.name not in skipped
        and not ((out / name).is_file() and (whole / name).read_bytes() == (out / name).read_bytes())
    ]
