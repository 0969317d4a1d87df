"""The one table of flags: which flag of which command gives which setting or argument of the library.

It is read in both directions. `settings_from_flags` turns what was typed into nested settings; `marnet.cli.messages`
turns the settings that an error names back into flags.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CommandFlags(NamedTuple):
    """The flags of one command. A name in capitals is a positional argument, as the help shows it."""

    settings: Mapping[str, str] = {}  # name of a setting -> flag
    arguments: Mapping[str, str] = {}  # name of an argument of the library -> flag; several names may share a flag
    sets: tuple[str, ...] = ()  # beginnings of the settings that the command takes through --set; "" is all
    prefix: str = ""  # stands before the names of settings in the table, where errors may leave it out

    def flag_of(self, name: str) -> str | None:
        """Return the flag for a setting or an argument, None if the command has none."""
        found = self.settings.get(name) or self.settings.get(f"{self.prefix}{name}")
        return found or self.arguments.get(name)

    def can_set(self, setting: str) -> bool:
        """Return whether the command's `--set` takes this setting."""
        return any(setting.startswith(beginning) for beginning in self.sets)


_SOURCE = {"data.source": "SOURCE", "data.labels": "--labels"}
_SOURCE_ARGUMENTS = {"source": "SOURCE", "data": "SOURCE", "labels": "--labels", "sets": "--set"}

COMMANDS: Mapping[str, CommandFlags] = {
    "train": CommandFlags(
        settings={
            "method": "--method",
            "data.source": "--data",
            "data.features": "--features",
            "data.labels": "--labels",
            "data.image_size": "--image-size",
            "data.on_bad_image": "--on-bad-image",
            "backbone.name": "--backbone",
            "backbone.pretrained": "--pretrained",
            "training.epochs": "--epochs",
            "training.batch_size": "--batch-size",
            "training.lr": "--lr",
            "training.seed": "--seed",
            "training.precision": "--precision",
            "training.devices": "--devices",
            "training.balance": "--balance",
        },
        arguments={
            "out": "--out",
            "data": "--data",
            "source": "--data",
            "manifest": "--data",
            "labels": "--labels",
            "preset": "--preset",
            "file": "--config",
            "sets": "--set",
            "overwrite": "--overwrite",
            "resume": "--resume",
            "allow_code": "--allow-code",
        },
        sets=("",),
    ),
    "embed": CommandFlags(
        settings={
            **_SOURCE,
            "data.image_size": "--image-size",
            "backbone.name": "--backbone",
            "backbone.pretrained": "--pretrained",
        },
        arguments={**_SOURCE_ARGUMENTS, "out": "--out"},
        sets=("data.", "backbone.", "training.seed"),
    ),
    "evaluate": CommandFlags(
        arguments={
            "run": "RUN",
            "split": "--split",
            "source": "--data",
            "data": "--data",
            "features": "--features",
            "corruptions": "--corruptions",
            "retrieval": "--retrieval",
            "clip": "--clip",
            "allow_code": "--allow-code",
            "baseline": "--baseline",
            "abstain": "--abstain",
        },
    ),
    "predict": CommandFlags(
        arguments={
            "run": "RUN",
            "images": "IMAGES",
            "top": "--top",
            "abstain": "--abstain",
            "open_set": "--open",
            "allow_code": "--allow-code",
        }
    ),
    "add-class": CommandFlags(
        arguments={
            "run": "RUN",
            "name": "--name",
            "text": "--text",
            "images": "--images",
            "table": "--table",
            "out": "--out",
            "data": "--data",
            "source": "--data",
            "features": "--features",
            "text_encoder": "--text-encoder",
            "allow_code": "--allow-code",
        }
    ),
    "remove-class": CommandFlags(arguments={"run": "RUN", "name": "--name", "out": "--out"}),
    "explain": CommandFlags(
        arguments={
            "run": "RUN",
            "images": "IMAGES",
            "label": "--class",
            "without": "--without",
            "with_": "--with",
            "top": "--top",
            "out": "--html",
            "allow_code": "--allow-code",
        }
    ),
    "search": CommandFlags(
        arguments={
            "run": "RUN",
            "text": "QUERY",
            "image": "--image",
            "without": "--without",
            "images": "--images",
            "data": "--data",
            "source": "--data",
            "features": "--features",
            "split": "--split",
            "index": "--index",
            "top": "--top",
            "out": "--html",
            "allow_code": "--allow-code",
        }
    ),
    "demo": CommandFlags(arguments={"out": "--out", "seed": "--seed", "pretrained": "--pretrained"}),
    "compare": CommandFlags(
        settings={
            "base.data.source": "--data",
            "base.data.features": "--features",
            "seeds": "--seeds",
            "split": "--split",
            "label_budget": "--label-budget",
            "text_budget": "--text-budget",
        },
        arguments={"out": "--out", "methods": "--methods", "sets": "--set"},
        sets=("",),
        prefix="base.",
    ),
    "report": CommandFlags(
        arguments={
            "out": "--out",
            "page": "--out",
            "data": "--data",
            "source": "--data",
            "split": "--split",
            "baseline": "--baseline",
            "plots": "--plots",
            "allow_code": "--allow-code",
        },
    ),
    "settings": CommandFlags(arguments={"pattern": "PATTERN"}),
    "data info": CommandFlags(settings=_SOURCE, arguments=_SOURCE_ARGUMENTS, sets=("data.",)),
    "data check": CommandFlags(
        settings=_SOURCE,
        arguments={**_SOURCE_ARGUMENTS, "batch_size": "--batch-size", "near_bits": "--near-bits"},
        sets=("data.",),
    ),
    "data text-value": CommandFlags(
        settings={
            **_SOURCE,
            "data.features": "--features",
            "data.image_size": "--image-size",
            "backbone.name": "--backbone",
            "backbone.pretrained": "--pretrained",
        },
        arguments={**_SOURCE_ARGUMENTS, "features": "--features", "allow_code": "--allow-code"},
        sets=("data.", "backbone.", "text.", "training.seed"),
    ),
    "data label-errors": CommandFlags(
        settings={
            "data.source": "SOURCE",
            "data.features": "--features",
            "data.image_size": "--image-size",
            "backbone.name": "--backbone",
            "backbone.pretrained": "--pretrained",
        },
        arguments={
            "run": "SOURCE",
            "source": "SOURCE",
            "data": "--data",
            "features": "--features",
            "sets": "--set",
            "top": "--top",
            "csv": "--csv",
            "out": "--html",
            "allow_code": "--allow-code",
        },
        sets=("data.", "backbone.", "text.", "training.seed"),
    ),
    "data next": CommandFlags(
        arguments={
            "run": "RUN",
            "source": "SOURCE",
            "wanted": "--for",
            "budget": "--budget",
            "out": "--out",
            "seed": "--seed",
            "allow_code": "--allow-code",
        },
    ),
    "export": CommandFlags(
        arguments={
            "run": "RUN",
            "out": "OUT",
            "precision": "--precision",
            "data": "--data",
            "images": "--images",
            "overwrite": "--overwrite",
            "allow_code": "--allow-code",
        },
    ),
    "data convert": CommandFlags(
        settings=_SOURCE,
        arguments={
            **_SOURCE_ARGUMENTS,
            "out": "OUT",
            "shards": "--shards",
            "copy_images": "--copy-images",
            "images_per_shard": "--images-per-shard",
            "seed": "--seed",
            "overwrite": "--overwrite",
        },
        sets=("data.",),
    ),
    "data download": CommandFlags(arguments={"name": "NAME", "folder": "FOLDER", "url": "--url"}),
    "data cache": CommandFlags(arguments={"folders": "FOLDERS", "clear": "--clear"}),
}


def settings_from_flags(command: str, typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested settings that flags give; a flag that was not typed (None) leaves its setting alone.

    Args:
        command: a key of `COMMANDS`.
        typed: the value of each flag, such as `{"--lr": 0.1, "--epochs": None}`.
    """
    setting_of = {flag: name for name, flag in COMMANDS[command].settings.items()}
    nested: dict[str, Any] = {}
    for flag, value in typed.items():
        if value is None:
            continue
        *sections, key = setting_of[flag].split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return nested
