"""From a record to the reply that a bot posts. Pure; texts are short and name the goal and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts import artifacts, codec
from contracts.lifecycle import Status
from contracts.messages import Mission, Reply, ReplyKind, StatusRecord, now
from contracts.questions import Asked
from services.orchestrator.origins import Origin

MAX_TEXT = 2_000

_OUTCOMES: dict[Status, tuple[ReplyKind, str]] = {
    Status.COMPLETED: ("result", "Done"),
    Status.FAILED: ("error", "Failed"),
    Status.CANCELLED: ("error", "Cancelled"),
    Status.REJECTED: ("error", "Rejected"),
}


def accepted(mission: Mission, *, unserved: bool = False) -> Reply:
    """Say that a mission is proposed; `unserved`: no executor has announced itself on its queue."""
    goals = f" ({len(mission.goals)} goals)" if len(mission.goals) > 1 else ""
    waits = f"\nNo executor of the queue {mission.queue} is known: it waits until one starts." if unserved else ""
    text = f"Accepted as mission {mission.mission_id}{goals}: {mission.title}{waits}"
    return _reply(mission.mission_id, "accepted", text, Origin.of(mission))


def outcome(record: StatusRecord, origin: Origin) -> Reply:
    """Say how a mission ended; the record is a terminal one."""
    kind, word = _OUTCOMES[record.status]
    text = _result(word, record) if kind == "result" else _failure(word, record)
    return _reply(record.mission_id, kind, text, origin)


def question(record: StatusRecord, asked: Asked, origin: Origin) -> Reply:
    """Ask what a goal asks, and say how to answer. The same record makes the same bytes, so a repeat can be told."""
    about = asked.question
    problem = f"That answer was not taken: {about.problem}\n" if about.problem else ""
    how = f"\nAnswer: /answer {record.mission_id}/{asked.goal_id} {_wanted(about.schema)}"
    until = f"\nUntil {about.expires_at:%Y-%m-%d %H:%M:%S} UTC." if about.expires_at else ""
    text = cut(problem + about.text, MAX_TEXT - len(how) - len(until)) + how + until
    return Reply(
        mission_id=record.mission_id,
        kind="question",
        text=text,
        at=record.at,
        in_reply_to=origin.chat_event_id,
        goal=asked.goal_id,
        question=about,
    )


def _wanted(schema: Mapping[str, Any]) -> str:
    """Say what fits a schema, in one line."""
    if "enum" in schema:
        return cut(" | ".join(_compact(value) for value in schema["enum"]), 200)
    if "const" in schema:
        return cut(_compact(schema["const"]), 200)
    return {"boolean": "yes | no"}.get(schema.get("type", ""), f"<{schema.get('type', 'your answer')}>")


def _reply(mission_id: str, kind: ReplyKind, text: str, origin: Origin) -> Reply:
    return Reply(mission_id=mission_id, kind=kind, text=cut(text), at=now(), in_reply_to=origin.chat_event_id)


def _result(word: str, record: StatusRecord) -> str:
    result = record.result
    if result is None and record.goal is not None:
        result = record.goal.result
    if artifacts.claimed(result):
        return f"{word}. The result is large: missions fetch {record.mission_id} {artifacts.RESULT}"
    return f"{word}." if result is None else f"{word}: {_compact(result)}"


def _failure(word: str, record: StatusRecord) -> str:
    """Name the reason, the goal and the error, as far as the record tells them."""
    goal = record.goal
    error = record.error or (goal.error if goal else None)
    parts = [f"{word} ({record.reason or 'no reason given'})"]
    if goal is not None:
        parts.append(f"goal {goal.id} ({goal.kind})")
    if error is not None:
        parts.append(error.message if error.type in {"Refused", word} else f"{error.type}: {error.message}")
    return ": ".join(parts)


def _compact(result: Any) -> str:
    """Show a text as it is and everything else as compact JSON."""
    return result if isinstance(result, str) else codec.encode(result).decode()


def cut(text: str, most: int = MAX_TEXT) -> str:
    """Shorten a text to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
