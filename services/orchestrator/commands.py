"""What a command does to a mission that exists: a table over the command and the mission's head. Pure.

    command   nobody started   waiting      active                        terminal
    cancel    cancelled        cancelled    active/cancelling + signal    nothing
    expire    failed           failed       active/cancelling + signal    nothing

(`answer`, and `expire` about a question: `answering`; `retry`: `retrying`.)

`cancelling` keeps the owner's attempt: the owner stays the owner, stops the handler and writes the outcome on top.
"""

from __future__ import annotations

from msgspec import Struct

from contracts.errors import ContractError
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Command, Failure, StatusRecord, status_record
from contracts.topology import ORCHESTRATOR
from services.orchestrator import deadlines

CANCELLING = "cancelling"


class Ending(Struct, frozen=True):
    """How a command ends a mission that nobody owns, and the reason it gives an owner."""

    status: Status
    reason: str
    failure: str
    message: str


ENDINGS: dict[str, Ending] = {
    "cancel": Ending(Status.CANCELLED, "user", "Cancelled", "cancelled on request"),
    "expire": Ending(Status.FAILED, deadlines.REASON, "DeadlineExceeded", "the deadline passed before it was done"),
}


class Step(Struct, frozen=True):
    """What to do now: a record to write on top of the head, whether to wake the owner, what to propose again after."""

    record: StatusRecord | None = None
    signal: bool = False
    proposes: str = ""  #: the record after which the work item is published again; empty: it is not


NOTHING = Step()


def step(command: Command, head: StatusRecord | None, *, causation_id: str) -> Step:
    """Return what the command does, given the mission's last status record (None: nobody has started it)."""
    ending = ENDINGS.get(command.kind)
    if ending is None:
        raise ContractError(f"the command {command.kind!r} is not understood; known: {', '.join(ENDINGS)}")
    if head is not None and head.status in TERMINAL:
        return NOTHING
    if head is None or head.status is Status.WAITING:
        return Step(record=_final(command, ending, head, causation_id))
    if head.phase == CANCELLING:
        return Step(signal=True)
    return Step(record=_cancelling(command, ending, head, causation_id), signal=True)


def _final(command: Command, ending: Ending, head: StatusRecord | None, causation_id: str) -> StatusRecord:
    attempt = head.attempt if head else 0
    return status_record(
        event_id=_event_id(command, attempt),
        mission_id=command.mission_id,
        status=ending.status,
        actor=ORCHESTRATOR,
        reason=ending.reason,
        attempt=attempt,
        error=_why(command, ending),
        causation_id=causation_id,
    )


def _cancelling(command: Command, ending: Ending, head: StatusRecord, causation_id: str) -> StatusRecord:
    return status_record(
        event_id=_event_id(command, head.attempt),
        mission_id=command.mission_id,
        status=Status.ACTIVE,
        actor=ORCHESTRATOR,
        phase=CANCELLING,
        reason=ending.reason,
        attempt=head.attempt,
        error=_why(command, ending),
        causation_id=causation_id,
    )


def _why(command: Command, ending: Ending) -> Failure:
    """Return the error of the outcome: what was said with a cancel, where something was."""
    said = command.reason if command.kind == "cancel" else ""
    return Failure(type=ending.failure, message=said or ending.message)


def _event_id(command: Command, attempt: int) -> str:
    """Name the record by its command: it can be confused with none of an executor's numbered ones."""
    return f"{command.mission_id}.{attempt}.{command.kind}"
