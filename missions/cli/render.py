"""Missions and records as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from contracts.lifecycle import TERMINAL
from missions.cli.output import clean, clock, compact, paint, program, short_id, table

if TYPE_CHECKING:
    from missions.records import Record

_LINE = 160
_LOG_LINE = 1_200
_STATUS_WIDTH = 9
_WORDS = ("phase", "reason", "title", "queue", "conversation", "requested_by", "retry_of")
_TIMES = ("proposed_at", "started_at", "finished_at", "deadline")


def record_line(record: Record, *, with_id: bool = False) -> str:
    """Return one record as a line: time, status, what it says."""
    name = f"{short_id(record.mission_id)}  " if with_id else ""
    return _line(record, _says(record), name)


def record_lines(record: Record) -> list[str]:
    """Return one record as lines: first what its goal logged until then, then the record itself.

    An outcome's error of several lines, or a long one, stands whole below the first.
    """
    line = record_line(record)
    said = [f"    {_logged(one)}" for one in _log_of(record.data)]
    return [*said, *_outcome_lines(record, line)]


def _outcome_lines(record: Record, line: str) -> list[str]:
    if asked := _asked(record.data.get("goal") if isinstance(record.data, dict) else None):
        return [line, *asked_lines(asked, record.mission_id, str(record.data["goal"].get("id")))]
    error = _outcome(record.data).splitlines() if record.terminal and record.data.get("error") else []
    if not error or (len(error) == 1 and not line.endswith("…")):
        return [line]
    return [_line(record, clean(_why(record.data), _LINE)), *(f"    {clean(part)}".rstrip() for part in error)]


def _asked(goal: Any) -> Mapping[str, Any] | None:
    question = goal.get("question") if isinstance(goal, dict) else None
    return question if isinstance(question, dict) else None


def asked_lines(question: Mapping[str, Any], mission_id: str, goal_id: str) -> list[str]:
    """Return an open question whole, why the answer before was not taken, and what to type."""
    problem = question.get("problem")
    lines = [f"that answer was not taken: {problem}"] if problem else []
    lines += str(question.get("text", "")).splitlines()
    until = f"   (until {question['expires_at']})" if question.get("expires_at") else ""
    how = f"{program()} answer {mission_id[:10]} {_wanted(question.get('schema') or {})} --goal {goal_id}{until}"
    return [f"    {clean(line)}" for line in [*lines, how]]


def _wanted(schema: Mapping[str, Any]) -> str:
    """Show what fits, as one would type it."""
    if isinstance(options := schema.get("enum"), list):
        return "|".join(option if isinstance(option, str) else compact(option) for option in options)[:_LINE]
    return "yes|no" if schema.get("type") == "boolean" else "VALUE"


def _line(record: Record, says: str, name: str = "") -> str:
    return f"{clock(record.time)}  {name}{paint(record.status, _STATUS_WIDTH)}  {says}".rstrip()


def _says(record: Record) -> str:
    data = record.data if isinstance(record.data, dict) else {}
    if record.status == "proposed":
        kinds = ", ".join(str(goal.get("kind")) for goal in data.get("goals", ()))
        return clean(f"{kinds or 'no goals'} on queue {data.get('queue', 'default')}", _LINE)
    told = _outcome(data) if record.terminal else _goal(data.get("goal") or {}) or _claim(data)
    return clean("; ".join(part for part in (told, _why(data)) if part), _LINE)


def _why(data: Mapping[str, Any]) -> str:
    return " ".join(str(data[name]) for name in ("phase", "reason") if data.get(name) not in (None, "", "ok"))


def _claim(data: Mapping[str, Any]) -> str:
    claimed = data.get("status") == "active" and not data.get("phase")
    return f"attempt {data.get('attempt', 0)} by {data.get('actor', '?')}" if claimed else ""


def _goal(goal: Mapping[str, Any]) -> str:
    if not goal:
        return ""
    said = f"goal {goal.get('id')} ({goal.get('kind')}) {goal.get('status')}"
    tries = f", try {goal['attempt']}" if goal.get("attempt", 1) > 1 else ""
    return f"{said}{tries}{_colon(_outcome(goal) or _progress(goal) or _dialogue(goal))}"


def _dialogue(goal: Mapping[str, Any]) -> str:
    """Return the first line of a question, or the answer and who gave it."""
    if question := _asked(goal):
        return (str(question.get("text", "")).splitlines() or [""])[0]
    answer = goal.get("answer")
    if not isinstance(answer, dict):
        return ""
    by = f" by {answer['by']}" if answer.get("by") else ""
    return "nobody answered in time" if answer.get("expired") else f"{compact(answer.get('value'))}{by}"


def _progress(goal: Mapping[str, Any]) -> str:
    progress = goal.get("progress")
    if not isinstance(progress, dict):
        return ""
    total = f" of {progress['total']:g}" if progress.get("total") else ""
    return f"{progress.get('done', 0):g}{total}{_left(progress)} {progress.get('note', '')}".rstrip()


def _log_of(data: Any) -> Sequence[Mapping[str, Any]]:
    """Return the lines of log that a record brings."""
    goal = data.get("goal") if isinstance(data, dict) else None
    log = goal.get("log") if isinstance(goal, dict) else None
    return [one for one in log if isinstance(one, dict)] if isinstance(log, list) else []


def _logged(one: Mapping[str, Any]) -> str:
    level = str(one.get("level", ""))
    return clean(f"{clock(str(one.get('at', '')))}  {level:<7}  {one.get('text', '')}", _LOG_LINE)


def _left(progress: Mapping[str, Any]) -> str:
    """Say how long the rest will take."""
    seconds = progress.get("eta_s")
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f" ({hours}:{minutes:02}:{rest:02} left)" if hours else f" ({minutes}:{rest:02} left)"


def _outcome(said: Mapping[str, Any]) -> str:
    if error := said.get("error"):
        return f"{error.get('type')}: {error.get('message')}"
    return "" if said.get("result") is None else compact(said["result"])


def _colon(text: str) -> str:
    return f": {text}" if text else ""


def mission_table(missions: Sequence[Mapping[str, Any]]) -> None:
    """Print missions as a table."""
    columns = ("MISSION", "STATUS", "PROPOSED", "QUEUE", "CONVERSATION", "TITLE")
    table(columns, [_row(mission) for mission in missions])


def _row(mission: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        short_id(mission["mission_id"]),
        mission["status"],
        _date(mission["proposed_at"]),
        mission["queue"],
        mission["conversation"],
        clean(mission.get("title") or "", 60),
    )


def _date(time: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def mission_page(mission: Mapping[str, Any]) -> None:
    """Print everything about one mission; what has several lines keeps them."""
    for name, value in _facts(mission):
        click.echo(f"{name:<13}{value}".replace("\n", f"\n{'':<13}"))
    if goals := mission.get("goals"):
        click.echo()
        table(("GOAL", "KIND", "STATUS", "TRIES", "RESULT"), [_goal_row(goal) for goal in goals])
        _print_logs(goals)
    for goal in goals or () if mission["status"] not in TERMINAL else ():
        if question := _asked(goal):
            click.echo(f"\ngoal {goal['id']} asks")
            click.echo("\n".join(asked_lines(question, mission["mission_id"], goal["id"])))


def _print_logs(goals: Sequence[Mapping[str, Any]]) -> None:
    """Print what the goals logged, each under its name."""
    for goal in goals:
        if log := _log_of({"goal": goal}):
            click.echo(f"\nLog of {goal['id']}")
            for one in log:
                click.echo(f"  {_logged(one)}")


def _facts(mission: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known, under the names it is shown by."""
    facts = {"mission": mission["mission_id"], "status": paint(mission["status"])}
    facts |= {name: clean(str(mission.get(name) or "")) for name in _WORDS}
    facts |= {"attempt": str(mission.get("attempt", 0))}
    facts |= {name.removesuffix("_at"): str(mission.get(name) or "") for name in _TIMES}
    outcome = "\n".join(clean(line) for line in _outcome(mission).splitlines())
    if mission["status"] == "proposed":
        facts |= {"waits for": f"an executor of the queue {mission['queue']}; is there one? {program()} doctor"}
    facts |= {"error" if mission.get("error") else "result": outcome}
    return [(name, value) for name, value in facts.items() if value]


def _goal_row(goal: Mapping[str, Any]) -> tuple[str, ...]:
    return (goal["id"], goal["kind"], goal["status"], str(goal.get("attempt", 0)), clean(_outcome(goal), 80))
