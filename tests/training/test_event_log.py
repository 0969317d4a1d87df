"""The log for TensorBoard: TensorBoard reads it, and a full disk ends it without ending training."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from marnet import fit, make_config
from marnet.training.event_log import EventLog


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "tensorboard")
    for step in range(3):
        log.write({"loss": 1.5 - step, "val/top1": 0.25 * step}, step)
    log.close()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(found.Tags()["scalars"]) == {"loss", "val/top1"}
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [(0, 1.5), (1, 0.5), (2, -0.5)]


def test_a_full_disk_ends_the_log_and_not_the_training(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.open

    def on_a_full_disk(path: Any, *args: Any, **options: Any) -> int:
        return real("/dev/full", os.O_WRONLY) if "tfevents" in str(path) else real(path, *args, **options)

    monkeypatch.setattr(os, "open", on_a_full_disk)
    config = make_config(
        {
            "method": "image-only",
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"},
        }
    )
    with caplog.at_level(logging.WARNING, "marnet"):
        run = fit(config, tmp_path / "run")
    assert run.load().classes == ("apple", "eel", "lime")
    said = f"The log of TensorBoard in {tmp_path / 'run' / 'tensorboard'} cannot be written: No space left on device."
    assert [record.message.startswith(said) for record in caplog.records] == [True]
