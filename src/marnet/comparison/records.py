"""The record of one run of a comparison: a small JSON file from which every table and most plots follow.

A record holds no weights. A comparison that is continued later needs only its records.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from marnet.choices import LabelForm
from marnet.config.nested import merge_settings, older_settings
from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json
from marnet.tasks import Task, task_of
from marnet.tasks.answers import Confidences, Labels

FORMAT = 2  # 1 called rows_digest "rows"
_ADDED = (
    "features_digest",
    "label_form",
    "long_tail",
    "leave_classes_out",
    "new_class_images",
    "keep_unlabelled",
)  # since then: absent in a file where nothing sets them

Placebo = Literal["shuffled", "random", "constant"]


class RunRecord(BaseModel):
    """The results of one trained arm on one split. Lists over images have one entry per image, in the split's order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    arm: str = Field(description="name of the method with its placebo or ablation, such as marnet or marnet-shuffled")
    seed: int
    key: str = Field(
        description="hash of everything that determines the run, so that a changed setting gives another key"
    )
    source: str
    split: str
    placebo: Placebo | None = Field(None, description="set if the texts were made meaningless")
    label_budget: float = Field(1.0, description="share of the training rows that were used")
    keep_unlabelled: bool = Field(False, description="the other training rows were kept without their labels")
    text_budget: float = Field(1.0, description="share of their texts that were kept")
    long_tail: float = Field(1.0, description="rows of the most frequent class over those of the rarest")
    leave_classes_out: int = Field(0, description="number of classes that it was not trained for, drawn by the seed")
    new_class_images: list[int] = Field(default=[], description="numbers of images from which these were then added")
    rows_digest: str = Field(
        "", description="hash of the data source's rows", validation_alias=AliasChoices("rows_digest", "rows")
    )
    features_digest: str = Field("", description="hash of the features that it was trained on; '' for images")
    label_form: LabelForm = Field("single", description="multi where images have several classes or none")
    classes: list[str]
    metrics: dict[str, float] = Field(description="of `marnet.metrics`: top1, macro_f1, nll, ece, ...")
    labels: Labels = Field(description="(N,) true classes; of form multi a list of them per image")
    predictions: Labels = Field(description="(N,) predicted classes; of form multi a list of them per image")
    confidences: Confidences = Field(
        description="(N,) probability of the predicted class; of form multi (N, C), of every class"
    )
    robustness: dict[str, list[float]] | None = Field(
        None, description="top-1 or mAP by corruption, one value per severity from 1 to 5; null if it was not measured"
    )
    history: list[dict[str, float]] = Field(default_factory=list, description="one row per epoch, as in history.csv")
    config: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: float = Field(0.0, description="of training, wall clock")

    @property
    def chose_epoch(self) -> bool:
        """True if the run kept the weights of the epoch with the best score on val, as all runs of version 0.1 did."""
        keep: str = self.config.get("training", {}).get("keep", "best")
        return keep == "best"

    def score_at_the_end(self) -> float:
        """Return the mean score on val over the last quarter of the epochs; NaN without a history."""
        column = f"val/{self.task.score}"
        scores = [row[column] for row in self.history if column in row]
        end = scores[-max(1, len(scores) // 4) :]
        return sum(end) / len(end) if end else math.nan

    @field_validator("config")
    @classmethod
    def _fill_in(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Add the settings that the version of the record did not have."""
        return merge_settings(older_settings(), config) if config else config

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {len(self.labels), len(self.predictions), len(self.confidences)}
        if len(lengths) != 1:
            raise ValueError(
                f"labels, predictions and confidences have {sorted(lengths)} entries, but must all have as many"
            )
        several = self.label_form == "multi"
        if any(isinstance(entry, list) != several for each in self._by_image for entry in each):
            raise ValueError(f"labels, predictions and confidences do not have the form {self.label_form!r}")
        return self

    @property
    def task(self) -> Task:
        """The task of its form of labels, which names the score."""
        return task_of(self.label_form, len(self.classes))

    @property
    def _by_image(self) -> tuple[Labels, Labels, Confidences]:
        return self.labels, self.predictions, self.confidences


def indicators(values: Labels, classes: int) -> np.ndarray:
    """Return `(N, C)` bool: which of C classes each image has, from the labels or predictions of a record."""
    found = np.zeros((len(values), classes), dtype=bool)
    for row, value in enumerate(values):
        found[row, np.asarray(value, dtype=np.int64)] = True
    return found


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record in one step, so that no partial file is left; create missing folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unset = {name for name in _ADDED if getattr(record, name) == RunRecord.model_fields[name].default}
    write_json(path, record.model_dump(mode="json", exclude=unset))


def read_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        RunDirectoryError: the file is missing or damaged.
    """
    try:
        return RunRecord.model_validate(read_json(path))
    except ValidationError as error:
        raise RunDirectoryError(
            f"{path} is not a valid record of a run: {error}. Delete it to train that arm again."
        ) from None


def read_records(paths: Sequence[Path]) -> list[RunRecord]:
    """Read records, sorted by arm and seed."""
    return sorted((read_record(path) for path in paths), key=lambda record: (record.arm, record.seed))
