"""What a failed test shows of the logs."""

from __future__ import annotations

import json
from typing import Any

from missions.testing.log_lines import telling


def line(event: str, level: str = "info", **values: Any) -> str:
    return json.dumps({"event": event, "level": level, "timestamp": "2026-01-01T14:03:00.123456Z", **values})


def test_a_log_without_a_line_says_so() -> None:
    assert telling("\n\n") == ["it said nothing"]


def test_lines_are_shown_as_a_person_reads_them() -> None:
    traceback = "Traceback (most recent call last):\n  File x\nKeyError: 'name'"
    assert telling(line("goal_failed", "warning", goal="g1", service="executor", exception=traceback)) == [
        "14:03:00.123 warning goal_failed KeyError: 'name' goal=g1"
    ]


def test_trouble_is_shown_however_long_ago_it_was() -> None:
    log = "\n".join([line("goal_failed", "warning"), *(line(f"kept_{number}") for number in range(50))])
    shown = telling(log)
    assert shown[0] == "14:03:00.123 warning goal_failed"
    assert shown[1:] == [f"14:03:00.123 info kept_{number}" for number in range(45, 50)]


def test_the_trouble_of_the_broker_and_a_traceback_are_told_from_what_is_usual() -> None:
    usual = ["[7] 2026/01/01 14:03:00.123456 [INF] Server is ready"] * 6
    assert telling("\n".join(["[7] 2026/01/01 14:03:00.123456 [ERR] no space left", *usual]))[0].endswith("space left")
    assert telling("\n".join(["ImportError: no module", *map(line, "abcdef")]))[0] == "ImportError: no module"


def test_a_line_has_an_end() -> None:
    assert len(telling(line("large", value="x" * 10_000))[0]) == 400
