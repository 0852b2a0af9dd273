"""A deadline is a chat event of the future: a schedule that fires the command `expire`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from contracts import codec, ids, subjects
from contracts import headers as names
from contracts.messages import ChatEvent, Command, Mission
from contracts.questions import Asked

REASON = "deadline_exceeded"
#: The owner of a mission ends it at its deadline; only where nobody does, this much later, the schedule does.
GRACE = timedelta(seconds=1)


class Schedule(NamedTuple):
    """A message for the stream SCHEDULES."""

    subject: str
    data: bytes
    headers: dict[str, str]


def schedule_name(mission_id: str) -> str:
    """Return the name of the schedule that ends a mission."""
    return f"expire-{mission_id}"


def expiry(mission: Mission, deadline: datetime) -> Schedule:
    """Return the schedule that lets a mission expire at its deadline; it must survive the stream's max_age."""
    command = Command(kind="expire", mission_id=mission.mission_id, reason=REASON)
    return _schedule(schedule_name(mission.mission_id), command, deadline + GRACE, mission.conversation)


def question_expiry(mission_id: str, asked: Asked, expires_at: datetime, conversation: str) -> Schedule:
    """Return the schedule that lets this very question expire: a later one of the same goal has another name."""
    command = Command(kind="expire", mission_id=mission_id, goal=asked.goal_id, about=asked.event_id)
    name = f"question-{mission_id}-{ids.mission_id(mission_id, asked.event_id)}"
    return _schedule(name, command, expires_at, conversation)


def _schedule(name: str, command: Command, at: datetime, conversation: str) -> Schedule:
    event = ChatEvent(conversation=conversation, sender="deadline", command=command)
    headers = {
        names.SCHEDULE: f"@at {at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}",
        names.SCHEDULE_TARGET: subjects.chat_due(conversation),
        names.TTL: "never",
        names.EXPECTED_LAST_SUBJECT_SEQ: "0",
    }
    return Schedule(subjects.chat_schedule(name), codec.encode(event), headers)
