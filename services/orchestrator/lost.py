"""Whether a mission is lost, and what to do about it: a table over its head and its work item. Pure.

    head                  work item            then
    terminal              any                  nothing: it has ended
    none, active, waiting any                  its deadline is over: what the command `expire` does
    waiting, asking       any                  nothing; its question is over: what `expire` does about that
    none, goals none      any                  rejected: why was to be written down next, and never was
    waiting, answered     not of this answer   put back
    none, active          not done with        nothing: it waits for an executor, or has one
    active, cancelling    done with            the outcome that was wished for
    none, active          done with            put back
    none, active          put back in vain     failed, once its owner has been silent for longer than any goal may take
    active                gone                 likewise

A work item is done with when the consumer of its queue has acknowledged or given up all up to it: nobody will be given
it again. Nothing here guesses from silence that an owner is dead; the broker redelivers what one holds that is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from contracts import ids
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Command, Failure, Mission, StatusRecord, status_record
from contracts.questions import ANSWERED
from contracts.subjects import REFUSED_QUEUE
from contracts.topology import ORCHESTRATOR
from services.orchestrator import deadlines
from services.orchestrator.commands import CANCELLING, ENDINGS
from services.orchestrator.found import Found

WORK_ITEM_LOST = "work_item_lost"
REFUSED = "refused"

#: An item is put back, and a mission given up, only when nothing was written of it for so many leases.
_LEASES = 3


class Limits(NamedTuple):
    """How long an owner may be silent."""

    lease_s: float
    goal_timeout_s: float

    @property
    def silence_s(self) -> float:
        """How long nothing must have been written of a mission before it is put back or ended."""
        return _LEASES * self.lease_s


class Verdict(Struct, frozen=True):
    """What to do: one of the three, or nothing. `did` names it in the log and the metric."""

    did: str = ""
    command: Command | None = None
    again: Mission | None = None
    outcome: StatusRecord | None = None


NOTHING = Verdict()


def verdict(found: Found, limits: Limits) -> Verdict:
    """Return what to do about a mission."""
    if found.record is not None and found.record.status in TERMINAL:
        return NOTHING
    if command := _overdue(found, limits):
        return Verdict("expired", command=command)
    if found.silent_s < limits.silence_s or not _is_lost(found):
        return NOTHING
    return _mended(found, limits)


def _mended(found: Found, limits: Limits) -> Verdict:
    """Return what becomes of a mission that is lost."""
    record = found.record
    if record is not None and record.phase == CANCELLING:
        return Verdict("stopped", outcome=_wished(found, record))
    if _was_refused(found):
        return Verdict("rejected", outcome=_rejected(found))
    if found.mission is not None and not _put_back_in_vain(found):
        return Verdict("put_back", again=_again(found, found.mission))
    return Verdict("failed", outcome=_failed(found)) if found.silent_s > _patience_s(found, limits) else NOTHING


def _overdue(found: Found, limits: Limits) -> Command | None:
    """Return the command that a schedule should have given by now."""
    before = overdue_before(found.now, limits)
    mission = found.mission
    if found.head is not None and (found.record is None or found.record.phase == CANCELLING):
        return None  # nobody can tell where it stands, or it was told already
    if mission is not None and mission.deadline is not None and mission.deadline < before:
        return Command(kind="expire", mission_id=found.mission_id, reason=deadlines.REASON)
    for goal_id, asked in found.questions.items():
        if asked.question.expires_at is not None and asked.question.expires_at < before:
            return Command(kind="expire", mission_id=found.mission_id, goal=goal_id, about=asked.event_id)
    return None


def overdue_before(now: datetime, limits: Limits) -> datetime:
    """Return what must have been over by now: an owner, or the next one, gets a lease to end it itself."""
    return now - deadlines.GRACE - timedelta(seconds=limits.lease_s)


def _is_lost(found: Found) -> bool:
    """Tell whether nobody has the mission, and nobody will be given it."""
    record = found.record
    waits = record is not None and record.status is Status.WAITING
    if record is not None and waits and record.phase != ANSWERED:
        return False
    if _was_refused(found) or found.item is None or found.item.seq <= found.done_to:
        return True
    return record is not None and waits and found.item.seq < found.last_seq


def _was_refused(found: Found) -> bool:
    """Tell a mission that stands for what was refused; its outcome is written next, or was to be."""
    mission = found.mission
    return mission is not None and not mission.goals and mission.queue == REFUSED_QUEUE and found.head is None


def _put_back_in_vain(found: Found) -> bool:
    """Tell whether the last work item took the place of a lost one, and nobody has written anything since."""
    item, head = found.item, found.head
    return item is not None and ids.is_sweep_id(item.event_id) and (head is None or head.seq < item.seq)


def _patience_s(found: Found, limits: Limits) -> float:
    """Return the longest silence of an owner that still lives, though its work item is lost."""
    goals = found.mission.goals if found.mission else ()
    longest = max([limits.goal_timeout_s, *(goal.timeout_s or 0.0 for goal in goals)])
    return longest + limits.silence_s


def _again(found: Found, mission: Mission) -> Mission:
    """Return the work item anew; where the mission was answered, it is for that answer."""
    record = found.record
    after = record.event_id if record is not None and record.status is Status.WAITING else mission.after
    lost = found.item.seq if found.item else 0
    return replace(mission, after=after, event_id=ids.sweep_id(found.mission_id, lost), at=found.now)


def _wished(found: Found, record: StatusRecord) -> StatusRecord:
    """Return the outcome that its owner was asked for, and never wrote."""
    expired = record.reason == deadlines.REASON
    ending = ENDINGS["expire" if expired else "cancel"]
    return _outcome(found, ending.status, record.reason or ending.reason, record.error)


def _rejected(found: Found) -> StatusRecord:
    message = "It was refused; what was wrong with it was not written down.\nSay it again."
    return _outcome(found, Status.REJECTED, REFUSED, Failure(type="Refused", message=message))


def _failed(found: Found) -> StatusRecord:
    how = "was lost, and lost again when it was put back" if found.mission else "is gone"
    message = f"its work item {how}: see missions deadletters; to do it once more, retry it"
    return _outcome(found, Status.FAILED, WORK_ITEM_LOST, Failure(type="WorkItemLost", message=message))


def _outcome(found: Found, status: Status, reason: str, error: Failure | None) -> StatusRecord:
    attempt = found.head.attempt if found.head else 0
    return status_record(
        event_id=f"{found.mission_id}.{attempt}.swept",
        mission_id=found.mission_id,
        status=status,
        actor=ORCHESTRATOR,
        reason=reason,
        attempt=attempt,
        error=error,
        causation_id=found.mission.causation_id if found.mission else "",
    )
