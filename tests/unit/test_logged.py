from __future__ import annotations

from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from contracts.messages import LogLine, now
from services.executor.reports.logged import MAX_BYTES, MAX_LINE, HandlerLog, LogBuffer


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Kept:
    """A handler's log, and what was told of it."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.log = HandlerLog(structlog.get_logger().bind(mission_id="m"), self.lines.append)

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(line.level, line.text) for line in self.lines]


def test_a_line_goes_to_the_log_of_the_process_and_is_kept() -> None:
    with capture_logs() as logged:
        kept = Kept()
        kept.log.bind(customer="ann").warning("slow", seconds=3)
    assert logged == [
        {"mission_id": "m", "customer": "ann", "seconds": 3, "event": "slow", "log_level": "warning"},
    ]
    assert kept.texts == [("warning", "slow customer=ann seconds=3")]


@pytest.mark.parametrize("level", ["info", "warning", "error", "critical"])
def test_every_level_but_debug_is_kept(level: str) -> None:
    kept = Kept()
    with capture_logs():
        getattr(kept.log, level)("text")
        kept.log.debug("text")
    assert kept.texts == [(level, "text")]


def test_an_exception_is_named() -> None:
    kept = Kept()
    with capture_logs():
        kept.log.error("failed", exc_info=ValueError("odd"))
        kept.log.unbind("mission_id").info("%d of %d", 1, 2)
    assert kept.texts == [("error", "failed ValueError: odd"), ("info", "1 of 2")]


@pytest.mark.parametrize("value", [Unspeakable(), "x" * 100_000, "\ud800", b"bytes", None])
def test_whatever_is_logged_becomes_a_line_that_a_record_can_carry(value: Any) -> None:
    kept = Kept()
    with capture_logs():
        kept.log.info("text", value=value)
    assert len(kept.lines[0].text) <= MAX_LINE
    assert msgspec.json.encode(kept.lines[0])


def test_the_oldest_lines_go_and_are_counted() -> None:
    buffer = LogBuffer()
    for number in range(500):
        buffer.add(LogLine(at=now(), level="info", text=f"{number} " + "\x00" * 200))
    lines = buffer.take()
    assert lines[0].text.endswith("earlier lines were dropped")
    assert lines[-1].text.startswith("499 ")
    assert sum(len(msgspec.json.encode(line)) for line in lines) <= MAX_BYTES + 200
    assert buffer.take() == ()


def test_what_could_not_be_written_comes_first_the_next_time() -> None:
    buffer = LogBuffer()
    buffer.add(LogLine(at=now(), level="info", text="first"))
    taken = buffer.take()
    buffer.add(LogLine(at=now(), level="info", text="second"))
    buffer.put_back(taken)
    assert [line.text for line in buffer.take()] == ["first", "second"]
