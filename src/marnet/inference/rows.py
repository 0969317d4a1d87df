"""The rows that a run is scored on: its own, or those of other data, with labels matched to its classes by name."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marnet.cache import cache_directory
from marnet.config.schema import DataConfig
from marnet.data.dataset import OpenedSplit, open_splits
from marnet.data.image_spec import ImageSpec
from marnet.data.manifest import Manifest, Record
from marnet.data.moved import refuse_missing_images, rows_without_splits
from marnet.data.options import GROUP, read_options
from marnet.data.recorded import read_recorded
from marnet.data.sources import log_notes, read_data
from marnet.data.transforms import eval_transform
from marnet.errors import DataError
from marnet.runs.directory import MANIFEST


class RunRows:
    """Finds the rows to score, and opens their images as the model sees them.

    Args:
        run: the run directory.
        config: how the run reads data.
        classes: the classes of the run, in the order of its logits.
        spec: the input of the model.
    """

    def __init__(self, run: Path, config: DataConfig, classes: Sequence[str], spec: ImageSpec) -> None:
        self.run = run
        self.config = config
        self.classes = tuple(classes)
        self.spec = spec
        self._own: Manifest | None = None

    def own(self) -> Manifest:
        """Return the rows and the split that the run was trained and validated on."""
        if self._own is None:
            self._own = read_recorded(self.run, label_form=self.config.labels)
        return self._own

    def read(self, data: Any, split: str) -> Manifest:
        """Return the rows of some data, or of None the run's own; see `Predictor.rows`."""
        if data is None or isinstance(data, Manifest):
            return self.own() if data is None else data
        options = read_options(self.config)  # groups are of no use here, and new data need not have any
        manifest = read_data(data, dataclasses.replace(options, columns=options.columns._replace(group=GROUP)))
        if manifest.made_splits:
            manifest = rows_without_splits(manifest, self.own, split)
        log_notes(manifest)
        return manifest

    def open(self, manifest: Manifest, split: str) -> OpenedSplit:
        """Return the images of a split; see `Predictor.open_split`."""
        data = self.config
        if manifest.label_form != data.labels:
            raise DataError(
                f"{manifest.source} has labels of the form {manifest.label_form!r}, but {self.run} was trained with "
                f"{data.labels!r}. Choose another source, or train a run on this one."
            )
        check_labels_known(manifest, split, self.classes)
        if manifest is self._own:
            subject = f"The run {self.run}, split {split!r}"
            refuse_missing_images(manifest.split(split), subject, skip=data.on_bad_image == "skip")
        return open_splits(
            dataclasses.replace(manifest, classes=self.classes),
            {split: eval_transform(self.spec)},
            spec=self.spec,
            on_bad_image=data.on_bad_image,
            max_pixels=data.max_pixels,
            cache=cache_directory() if data.cache else None,
            stream=data.stream,
        )[split]

    def are(self, records: Sequence[Record], split: str) -> bool:
        """Return whether rows are of a split of the run's own, wherever their images are by now."""
        if not (self.run / MANIFEST).is_file():
            return False
        own = {_without_folder(record) for record in self.own().records if record.split == split}
        return all(_without_folder(record) in own for record in records)


def _without_folder(record: Record) -> Record:
    return record._replace(image=Path(record.image).name)


def check_labels_known(manifest: Manifest, split: str, classes: Sequence[str]) -> None:
    """Refuse a split that cannot be scored.

    Raises:
        DataError: it names no class, or one that is not among the classes.
    """
    rows = manifest.split(split)
    named = {name for record in rows for name in manifest.names(record)}
    if not named:
        raise DataError(
            f"{manifest.source} names no class in any of the {len(rows)} rows of split {split!r}, so there is nothing "
            f"to score. Choose another split, or fill in the labels."
        )
    unknown = sorted(named - set(classes))
    if unknown:
        raise DataError(
            f"{manifest.source}, split {split!r}, has labels that the run does not know: {', '.join(unknown[:5])}"
            f"{' ...' if len(unknown) > 5 else ''}; the run knows {len(classes)} classes, such as "
            f"{', '.join(list(classes)[:3])}. Remove those rows, or train a run that has the classes."
        )
