"""The command `retry`: a new mission with the goals of one that ended without success. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts import ids
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import ChatEvent, Mission, StatusRecord
from services.orchestrator.verdict import NotDone, Refused


def mission(event: ChatEvent, old: Mission, head: StatusRecord | None, *, now: datetime) -> Mission:
    """Return the new mission: its id is that of the chat event, its time as long as the old one's was.

    Raises `NotDone` for a mission that completed, has not ended, or never had goals.
    """
    _check(old, head)
    mission_id = ids.mission_id(event.conversation, event.id)
    return replace(
        old,
        mission_id=mission_id,
        event_id=ids.record_id(mission_id, 0, 1),
        at=now,
        conversation=event.conversation,
        requested_by=event.sender,
        deadline=old.deadline and now + (old.deadline - old.at),
        causation_id=event.id,
        retry_of=old.mission_id,
        after="",
    )


def _check(old: Mission, head: StatusRecord | None) -> None:
    status = head.status if head else Status.PROPOSED
    if status not in TERMINAL:
        text = f"Mission {old.mission_id} has not ended: it is {status.value}."
        raise NotDone(Refused("not_ended", text, f"Cancel it first: /cancel {old.mission_id}"))
    if status is Status.COMPLETED:
        raise NotDone(Refused("completed", f"Mission {old.mission_id} completed: there is nothing to retry."))
    if not old.goals:
        raise NotDone(Refused("no_goals", f"Mission {old.mission_id} never had goals: say it in another way."))
