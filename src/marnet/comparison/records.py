"""The record of one run of a comparison: a small JSON file from which every table and most figures follow.

A record holds no weights; a comparison that is taken up again later needs nothing but its records.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json

FORMAT = 1

Placebo = Literal["shuffled", "random"]


class RunRecord(BaseModel):
    """What one trained arm showed on one split. Lists over images have one entry an image, in the split's order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    arm: str = Field(description="name of the method with its placebo or ablation, such as marnet or marnet-shuffled")
    seed: int
    key: str = Field(description="hash of everything that determines the run: a changed setting makes another run")
    source: str
    split: str
    placebo: Placebo | None = Field(None, description="set where the texts were made meaningless")
    label_budget: float = Field(1.0, description="share of the training rows that was trained on")
    text_budget: float = Field(1.0, description="share of their texts that was kept")
    rows: str = Field("", description="fingerprint of the data source's rows")
    classes: list[str]
    metrics: dict[str, float] = Field(description="of `marnet.metrics`: top1, macro_f1, nll, ece, ...")
    labels: list[int] = Field(description="(N,) true classes")
    predictions: list[int] = Field(description="(N,) predicted classes")
    confidences: list[float] = Field(description="(N,) probability of the predicted class")
    robustness: dict[str, list[float]] | None = Field(
        None, description="top-1 by corruption, one a severity from 1 to 5; null where it was not measured"
    )
    history: list[dict[str, float]] = Field(default_factory=list, description="one row an epoch, as in history.csv")
    config: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, Any] = Field(default_factory=dict)
    seconds: float = Field(0.0, description="of training, wall clock")

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {len(self.labels), len(self.predictions), len(self.confidences)}
        if len(lengths) != 1:
            raise ValueError(f"labels, predictions and confidences have {sorted(lengths)} entries; needed as many each")
        return self


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        RunDirectoryError: the file is missing or damaged.
    """
    try:
        return RunRecord.model_validate(read_json(path))
    except ValidationError as error:
        raise RunDirectoryError(
            f"{path} is not the record of a run: {error}. Delete it to run that arm again."
        ) from None


def read_records(paths: Sequence[Path]) -> list[RunRecord]:
    """Read records, sorted by arm and seed."""
    return sorted((read_record(path) for path in paths), key=lambda record: (record.arm, record.seed))
