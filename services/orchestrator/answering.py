"""What an answer does, or the time that ran out without one: a table over the command and the mission's records. Pure.

the question      the mission   then
is open           waiting       waiting/answered, and its work item is published again
is open           active        active/answered, and its owner is woken: it goes on by itself
is answered by this very command, and nothing followed: the work item is published again, should it not be
is not open       any           an answer is refused, an expiry does nothing
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts import codec, ids
from contracts.errors import TooLarge
from contracts.lifecycle import TERMINAL, Status
from contracts.messages import Answer, ChatEvent, Command, GoalStatus, StatusRecord, status_record
from contracts.questions import ANSWERED, Asked, open_questions
from contracts.topology import ORCHESTRATOR
from services.orchestrator.commands import CANCELLING, NOTHING, Step
from services.orchestrator.verdict import NotDone, Refused

MAX_ANSWER_BYTES = 64 * 1024
#: Records and views hold an answer some levels further down.
MAX_ANSWER_DEPTH = codec.MAX_DEPTH - 8


def step(event: ChatEvent, command: Command, records: Sequence[StatusRecord]) -> Step:
    """Return what the command does to a mission with these records; raises `NotDone` for an answer nobody waits for."""
    event_id = f"{command.mission_id}.{command.kind}.{ids.mission_id(event.conversation, event.id)}"
    if any(record.event_id == event_id for record in records):
        head = records[-1]
        return Step(proposes=event_id if head.event_id == event_id and head.status is Status.WAITING else "")
    asked = _expired(command, records) if command.kind == "expire" else _answered(command, records)
    if asked is None:
        return NOTHING
    head = records[-1]
    record = status_record(
        event_id=event_id,
        mission_id=command.mission_id,
        status=head.status,
        actor=ORCHESTRATOR,
        phase=ANSWERED,
        attempt=head.attempt,
        goal=GoalStatus(
            id=asked.goal_id,
            kind=asked.kind,
            status=ANSWERED,
            attempt=asked.attempt,
            answer=_answer(event, command, asked),
        ),
        causation_id=event.id,
    )
    waits = head.status is Status.WAITING
    return Step(record=record, signal=not waits, proposes=event_id if waits else "")


def _answer(event: ChatEvent, command: Command, asked: Asked) -> Answer:
    if command.kind == "expire":
        return Answer(key=asked.question.key, expired=True)
    return Answer(key=asked.question.key, value=command.answer, by=event.sender)


def _expired(command: Command, records: Sequence[StatusRecord]) -> Asked | None:
    """Return the question whose time is over, where it is that very question which is open."""
    asked = None if _closed(records) else open_questions(records).get(command.goal)
    return asked if asked is not None and asked.event_id == command.about else None


def _answered(command: Command, records: Sequence[StatusRecord]) -> Asked:
    """Return the question that is answered; raises `NotDone` naming those that are open."""
    _check_size(command)
    found = {} if _closed(records) else open_questions(records)
    if not found:
        raise NotDone(
            Refused("no_question", f"Mission {command.mission_id} waits for no answer: it is {_is(records)}.")
        )
    if command.goal in found:
        return found[command.goal]
    if not command.goal and len(found) == 1:
        return next(iter(found.values()))
    said = f"Goal {command.goal} asks nothing." if command.goal else f"{len(found)} questions are open."
    listed = "\n".join(f"{goal_id}: {asked.question.text}" for goal_id, asked in found.items())
    raise NotDone(Refused("which_question", said, f"Name the goal that you answer:\n{listed}"))


def _check_size(command: Command) -> None:
    data = codec.encode(command.answer)
    try:
        codec.check_limits(data, MAX_ANSWER_DEPTH)
    except TooLarge as error:
        raise NotDone(Refused("answer_too_large", f"The answer cannot be kept: {error}.")) from error
    if len(data) > MAX_ANSWER_BYTES:
        text = f"The answer has {len(data)} bytes, {MAX_ANSWER_BYTES} are allowed."
        raise NotDone(Refused("answer_too_large", text, "Store it, and answer where it is."))


def _closed(records: Sequence[StatusRecord]) -> bool:
    """Tell a mission that is over or about to be: nothing it asked matters any more."""
    return not records or records[-1].status in TERMINAL or records[-1].phase == CANCELLING


def _is(records: Sequence[StatusRecord]) -> str:
    if not records:
        return Status.PROPOSED.value
    return CANCELLING if records[-1].phase == CANCELLING else records[-1].status.value
