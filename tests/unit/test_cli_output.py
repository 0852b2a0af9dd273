"""What the command line prints."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from missions.cli import output, render
from missions.cli.output import clean, clock, program, table
from missions.cli.parameters import Moment
from missions.records import Record
from tests.support.documented import put_missions_in

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


def test_an_outcome_keeps_the_lines_of_its_error_where_there_is_room() -> None:
    error = {"type": "Refused", "message": "where\n  a b\n    ^\x1b"}
    told = render.record_lines(record("status", status="rejected", reason="bad_plan", error=error))
    assert told[0].split()[1:] == ["rejected", "bad_plan"]
    assert told[1:] == ["    Refused: where", "      a b", "        ^"]

    long = {"type": "ValueError", "message": "x" * 500}
    assert render.record_lines(record("status", status="failed", error=long))[1].endswith("x" * 500)
    assert len(render.record_lines(record("status", status="failed", error={**long, "message": "no"}))) == 1


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    assert clean("\x1b]0;evil\x07ok\n") == " ]0;evil ok "
    assert clean("abcdef", 4) == "abc…"


def test_a_time_may_be_so_long_ago() -> None:
    for text, ago in {"90s": 90, "30m": 1_800, "1h": 3_600, "2d": 172_800, "1w": 604_800}.items():
        moment = datetime.fromisoformat(Moment().convert(text, None, None))
        assert 0 <= (datetime.now(UTC) - moment).total_seconds() - ago < 60
    assert Moment().convert("2026-01-31T14:03:00Z", None, None) == "2026-01-31T14:03:00Z"
    with pytest.raises(click.BadParameter, match="too long ago"):
        Moment().convert("9999999999w", None, None)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_to_type_is_a_path_where_the_shell_would_find_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, elsewhere: bool
) -> None:
    command = put_missions_in(tmp_path) / "missions"
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setenv("PATH", "/nowhere" if elsewhere else str(tmp_path))

    assert program() == (str(command) if elsewhere else "missions")


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert clock("soon") == "soon"
    assert clock(TIME).endswith(":00:00.123")


def test_a_table_is_aligned_and_carries_no_colours_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table(("ID", "STATUS"), [("a", "completed"), ("bcd", "failed")])

    assert capsys.readouterr().out == "ID   STATUS\na    completed\nbcd  failed\n"


def test_a_narrow_terminal_takes_room_from_wide_columns_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="without it a table is as wide as it is")
    monkeypatch.setattr(output, "coloured", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    table(
        ("KIND", "QUEUE", "PARAMS", "DESCRIPTION"),
        [("report.build", "default", "rates:object " * 9, "Build it. " * 20)],
    )

    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["KIND", "QUEUE", "PARAMS", "DESCRIPTION"]
    assert row.startswith("report.build  default  rates:object")
    assert row.count("…") == 2
    assert len(row) <= 60


def test_a_mission_page_leaves_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    goal = {"id": "g1", "kind": "echo", "status": "completed", "attempt": 1, "result": "hi"}
    render.mission_page({"mission_id": MISSION, "status": "completed", "reason": None, "goals": [goal], "result": "hi"})

    shown = capsys.readouterr().out
    assert 'result       "hi"' in shown
    assert "reason" not in shown
    assert "echo" in shown


def test_a_mission_that_waits_says_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    render.mission_page({"mission_id": MISSION, "status": "proposed", "queue": "gpu"})

    assert "waits for    an executor of the queue gpu" in capsys.readouterr().out
