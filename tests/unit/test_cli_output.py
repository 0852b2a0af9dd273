"""What the command line prints."""

from __future__ import annotations

from typing import Any

import pytest

from missions.cli import render
from missions.cli.output import clean, clock, table
from missions.records import Record

MISSION = "a" * 26
TIME = "2026-01-01T12:00:00.123456789Z"


def record(family: str, **data: Any) -> Record:
    return Record(7, TIME, f"missions.{family}.default.{MISSION}", data)


def line(one: Record) -> str:
    return render.record_line(one).split("  ", 1)[1]


def test_a_proposal_names_its_goals_and_where_they_run() -> None:
    assert line(record("proposed", goals=[{"kind": "echo"}, {"kind": "sleep"}], queue="gpu")).split() == [
        *("proposed", "echo,", "sleep", "on", "queue", "gpu")
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"status": "completed", "reason": "ok", "result": "hi", "goal": {"id": "g1", "kind": "echo"}}, '"hi"'),
        ({"status": "active", "attempt": 2, "actor": "me"}, "attempt 2 by me"),
        ({"status": "active", "phase": "cancelling", "reason": "user", "actor": "me"}, "cancelling user"),
        (
            {"status": "failed", "reason": "handler_error", "error": {"type": "ValueError", "message": "no"}},
            "ValueError: no; handler_error",
        ),
        (
            {"status": "active", "phase": "progress", "goal": {"id": "g1", "kind": "sleep", "status": "active",
                                                              "progress": {"done": 3.0, "total": 20.0}}},
            "goal g1 (sleep) active: 3 of 20; progress",
        ),
    ],
)  # fmt: skip
def test_a_status_record_says_what_matters_most(data: dict[str, Any], said: str) -> None:
    assert line(record("status", **data)).split("  ", 1)[1].strip() == said


def test_whatever_a_record_holds_it_is_one_line() -> None:
    told: tuple[Any, ...] = (
        None,
        [],
        {"status": "failed", "error": {"message": "\x1b[2J\r\nboo\u2028\x00"}},
        {"goal": None},
    )
    for data in told:
        one = Record(7, "no time", f"missions.status.default.{MISSION}", data)
        assert render.record_line(one).isprintable()


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert clean("\x1b]0;evil\x07ok\n") == " ]0;evil ok "
    assert clean("abcdef", 4) == "abc…"


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert clock("soon") == "soon"
    assert clock(TIME).endswith(":00:00.123")


def test_a_table_is_aligned_and_carries_no_colours_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table(("ID", "STATUS"), [("a", "completed"), ("bcd", "failed")])

    assert capsys.readouterr().out == "ID   STATUS\na    completed\nbcd  failed\n"


def test_a_mission_page_leaves_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    goal = {"id": "g1", "kind": "echo", "status": "completed", "attempt": 1, "result": "hi"}
    render.mission_page({"mission_id": MISSION, "status": "completed", "reason": None, "goals": [goal], "result": "hi"})

    shown = capsys.readouterr().out
    assert 'result       "hi"' in shown
    assert "reason" not in shown
    assert "echo" in shown
