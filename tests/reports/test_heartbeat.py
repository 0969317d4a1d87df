"""The heartbeat of long work: it speaks in silence, and only then."""

import logging
import re
import time

import pytest

from marnet.reports.heartbeat import Heartbeat

LOGGER = logging.getLogger("marnet")


def test_it_speaks_in_silence_and_names_the_stage(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "marnet"), Heartbeat("Training", interval=0.1) as heartbeat:
        time.sleep(0.35)
        heartbeat.stage = "Writing"
        time.sleep(0.35)
    lines = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"Training \(\d s so far\)", lines[0])
    assert re.fullmatch(r"Writing \(\d s so far\)", lines[-1])
    assert len(lines) >= 2
    assert heartbeat.seconds >= 0.7
    count = len(LOGGER.handlers)
    time.sleep(0.2)
    assert len(caplog.records) == len(lines)  # it ends with its context
    assert len(LOGGER.handlers) == count


def test_any_line_of_the_log_is_a_sign_of_life(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "marnet"), Heartbeat("Training", interval=1.0):
        for number in range(6):
            time.sleep(0.25)
            LOGGER.info("epoch %d", number)
    assert [record.getMessage() for record in caplog.records] == [f"epoch {number}" for number in range(6)]


def test_it_can_be_switched_off(caplog: pytest.LogCaptureFixture) -> None:
    before = list(LOGGER.handlers)
    with caplog.at_level(logging.INFO, "marnet"), Heartbeat("Training", interval=0.05, enabled=False):
        assert LOGGER.handlers == before
        time.sleep(0.2)
    assert caplog.records == []
