"""Features computed once with a frozen backbone, on which EMA, CDR and fusion train in seconds.

```
FOLDER/
  features.safetensors   x_v by split, (N, D_v) each, in the order of the manifest's rows
  manifest.jsonl         the rows
  encoder/               the backbone with its weights and its input, as a run directory
```
"""

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from marnet.atomic import is_partial, replacing
from marnet.building import build_backbone, build_model
from marnet.cache import cache_directory
from marnet.config import Config
from marnet.config.flat import flat_settings
from marnet.data.dataset import ImageTextDataset, open_splits
from marnet.data.features import FeatureDataset
from marnet.data.image_spec import ImageSpec
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, label_targets
from marnet.data.recorded import read_recorded, write_recorded
from marnet.data.sources import open_data
from marnet.data.splits import UNLABELLED, trained_on
from marnet.data.transforms import eval_transform, model_input
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.outputs import VISUAL
from marnet.runs.code import AllowCode
from marnet.runs.layout import HISTORY, MANIFEST, METRICS, RESUME_POINT
from marnet.runs.lock import claimed
from marnet.runs.starting import start_run_directory
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors
from marnet.runs.weights import load_run, save_weights

FEATURES, ENCODER = "features.safetensors", "encoder"
# Settings that are not those of the features.
_NEXT_TO_FEATURES = ("data.features", "data.workers", "data.threshold", "data.cache")
_WAY_OUT = "Embed the source again."
_logger = logging.getLogger("marnet")


class FeatureSet(NamedTuple):
    """Features, the rows they belong to and the backbone they came from."""

    manifest: Manifest
    splits: dict[str, Tensor]  # (N, D_v) each
    backbone: nn.Module
    config: Config  # of the encoder: what `backbone` and `data` were
    spec: ImageSpec

    def with_rows(self, manifest: Manifest) -> "FeatureSet":
        """Return the features of some rows: some of the own ones, which may have other texts and labels.

        A row may have lost its label, or been given one: its image may be in "train" or "unlabelled" here.

        Raises:
            DataError: a row has an image without a feature in its split.
        """
        numbers = {
            (name, record.image): (name, row)
            for name in self.splits
            for row, record in reversed(list(enumerate(self.manifest.split(name))))
        }
        chosen: dict[str, list[Tensor]] = {name: [] for name in manifest.splits()}
        for record in manifest.records:
            names = dict.fromkeys([record.split, *(("train", UNLABELLED) if trained_on(record.split) else ())])
            found = next((numbers[name, record.image] for name in names if (name, record.image) in numbers), None)
            if found is None:
                raise DataError(
                    f"{manifest.source} has the image {record.image} in split {record.split!r}, of which there is no "
                    f"feature. Name rows that 'marnet embed' computed features of, or leave out `data.features`."
                )
            name, row = found
            chosen[record.split].append(self.splits[name][row])
        return self._replace(manifest=manifest, splits={name: torch.stack(rows) for name, rows in chosen.items()})

    def dataset(self, split: str) -> FeatureDataset:
        """Return the features of a split as a dataset."""
        records = self.manifest.split(split)
        labels = label_targets(records, self.manifest.classes, self.manifest.label_form)
        return FeatureDataset(self.splits[split], [record.text for record in records], labels)


def embed(config: Config, out: Path | str) -> Path:
    """Compute the features of every image of `config.data` with `config.backbone`, without augmentation.

    Returns:
        The folder `out`.

    Raises:
        ConfigError: no data was named.
        RunDirectoryError: `out` holds something already.
        MarnetError: the data or the backbone cannot be used.
    """
    out = Path(out)
    if out.exists() and not _may_hold_features(out):
        raise RunDirectoryError(f"{out} already holds something; nothing was changed. Choose another `out`.")
    data = config.data
    manifest = open_data(data.source, data)
    torch.manual_seed(config.training.seed)  # for a backbone that starts from random weights
    backbone = build_backbone(config)
    size = data.image_size or backbone.image_size
    spec = ImageSpec(size, backbone.mean, backbone.std, backbone.interpolation)
    opened = open_splits(
        manifest,
        dict.fromkeys(manifest.splits(), eval_transform(spec)),
        spec=spec,
        on_bad_image=data.on_bad_image,
        max_pixels=data.max_pixels,
        cache=cache_directory() if data.cache else None,
        stream=data.stream,
    )
    features = {name: compute_features(backbone.module, each.dataset, spec, name) for name, each in opened.items()}
    kept = tuple(record for each in opened.values() for record in each.records)
    plain = Config.model_validate(
        {**config.model_dump(), "method": "image-only", "alignment": {}, "reconstruction": {}, "options": {}}
        | {"data": {**data.model_dump(), "image_size": size, "labels": manifest.label_form}}
    )
    model = build_model(plain, num_classes=len(manifest.classes), backbone=backbone.module)
    with claimed(out / ENCODER):
        start_run_directory(out / ENCODER, plain, manifest.classes, spec, overwrite=True)  # of an unfinished call
        save_weights(out / ENCODER, model)
    write_recorded(dataclasses.replace(manifest, records=kept), out)
    with replacing(out / FEATURES) as partial:
        save_tensors(partial, features, {})
    width = next(iter(features.values())).shape[1]
    _logger.info("Wrote %d features of width %d into %s.", len(kept), width, out)
    return out


def _may_hold_features(out: Path) -> bool:
    """Return whether a path is a folder that is empty, or that holds only parts of a call that was cut off."""
    if not out.is_dir():
        return False
    names = {entry.name for entry in out.iterdir() if not is_partial(entry.name)}
    trained = any((out / ENCODER / name).exists() for name in (HISTORY, METRICS, RESUME_POINT))
    return names <= {ENCODER, MANIFEST} and not trained


def open_features(folder: Path | str, *, allow_code: AllowCode = False) -> FeatureSet:
    """Open a folder that `embed` wrote; `allow_code` lets it name a backbone as `module:PACKAGE.NAME`.

    Raises:
        RunDirectoryError: a file is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / FEATURES).is_file():
        raise RunDirectoryError(
            f"{folder} has no {FEATURES}. Name a folder written by 'marnet embed', or write one there with it."
        )
    shapes = read_header(folder / FEATURES, way_out=_WAY_OUT).shapes
    encoder = load_run(folder / ENCODER, allow_code=allow_code)
    manifest = read_recorded(folder, label_form=encoder.config.data.labels)
    width = int(encoder.model.heads[VISUAL].in_features)  # type: ignore[arg-type]
    needed = {name: (count, width) for name, count in manifest.splits().items()}
    if shapes != needed:
        raise RunDirectoryError(
            f"{folder / FEATURES} holds features of the shapes {shapes}, but the rows of "
            f"{Path(manifest.source).name} and the backbone give {needed}; they must be equal. {_WAY_OUT}"
        )
    splits = load_tensors(folder / FEATURES, way_out=_WAY_OUT)
    return FeatureSet(manifest, splits, encoder.model.backbone, encoder.config, encoder.spec)


def features_digest(folder: Path) -> str:
    """Return a hash of the features in a folder that `embed` wrote; another encoder gives another one."""
    with (folder / FEATURES).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def config_on_features(config: Config, encoder: Config) -> Config:
    """Return a configuration with the frozen backbone and the data of features, to whose folder it points.

    Args:
        config: `data.features` is their folder.
        encoder: the configuration of their encoder.

    Raises:
        ConfigError: settings of data or backbone contradict those of the encoder; it names all that do.
    """
    check_next_to_features(config, encoder)
    own = {name: getattr(config.data, name) for name in ("features", "workers", "threshold")}
    return config.model_copy(
        update={
            "backbone": encoder.backbone.model_copy(update={"freeze": True}),
            "data": encoder.data.model_copy(update=own),
        }
    )


def check_next_to_features(config: Config, encoder: Config) -> None:
    """Refuse settings of data and backbone that contradict those of the encoder of features.

    Settings that nobody gave do not count; nor do those that reading features does not need.

    Raises:
        ConfigError: one or several do, all of which it names.
    """
    brought = flat_settings(encoder) | {"backbone.freeze": True}
    given = flat_settings(config, only_given=True)
    refused = [
        f"`{name}={value}`"
        for name, value in given.items()
        if name.startswith(("data.", "backbone.")) and name not in _NEXT_TO_FEATURES
        if value not in (None, "") and value != brought[name]
    ]
    if refused:
        raise ConfigError(
            f"`data.features` brings its own data and backbone, but {', '.join(refused)} was given as well. Leave that "
            f"out, or give it to 'marnet embed'."
        )


@torch.no_grad()  # in inference mode the backbone's weights would become tensors that cannot learn any more
def compute_features(backbone: nn.Module, dataset: ImageTextDataset, spec: ImageSpec, split: str) -> Tensor:
    """Return the features `(N, D_v)` of the images of a dataset; the backbone is in evaluation mode afterwards.

    Args:
        backbone: maps images `(B, 3, H, W)` to features `(B, D_v)`.
        dataset: its transform should draw nothing.
        spec: how images are normalised.
        split: names them in the progress bar.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = backbone.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    console = Console(stderr=True)
    batches = track(
        make_loader(dataset, batch_size=64),
        description=f"Embedding {split}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    features = torch.cat([backbone(model_input(batch.images.to(device), spec)).float().cpu() for batch in batches])
    backbone.to("cpu")
    return features
